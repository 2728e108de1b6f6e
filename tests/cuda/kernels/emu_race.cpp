/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Races on shared memory. The kernels are compiled with -fsanitize=thread, which calls a function
 * before every access to memory; here these functions look at shared memory alone. Two accesses of
 * different threads to a byte, one of them a write, need a barrier between them, or a __syncwarp if
 * both threads are of one warp. As on the device shuffles and matrix instructions order nothing. */

#include "emu_fibre.h"

#define MAX_BYTES (256u << 10)
#define WARPS 32u
#define ATOMIC 0xfffeu /* "thread" of atomics, which do not race with each other */
#define SEVERAL 0xfffdu

struct access {
    uint32_t epoch;     /* barriers of all blocks so far; 0: none yet */
    uint32_t warp_sync; /* of the thread's warp */
    uint16_t thread, warp;
};

struct cell {
    struct access write, read; /* the last ones */
};

static struct cell cells[MAX_BYTES];
static struct {
    uintptr_t at;
    size_t bytes, first; /* first: of its cells */
} areas[2];
static uint32_t epoch = 1, syncs[WARPS];

void emu_race_begin(const void *dynamic, size_t bytes, const void *fixed, size_t fixed_bytes)
{
    epoch++;
    areas[0].at = (uintptr_t)dynamic;
    areas[0].bytes = bytes;
    areas[1].at = (uintptr_t)fixed;
    areas[1].bytes = fixed_bytes;
    areas[1].first = bytes;
    if (bytes + fixed_bytes > MAX_BYTES)
        areas[0].bytes = areas[1].bytes = 0;
}

void emu_race_barrier(void)
{
    epoch++;
}

void emu_race_warp_sync(uint32_t warp)
{
    syncs[warp]++;
}

/* NULL if it is not shared memory. */
static struct cell *cells_of(const void *p, size_t bytes)
{
    uintptr_t at = (uintptr_t)p;
    for (const auto &a : areas)
        if (at - a.at < a.bytes && bytes <= a.bytes - (at - a.at))
            return &cells[a.first + (at - a.at)];
    return NULL;
}

/* Whether an earlier access may still be under way for thread t. */
static bool races(const struct access *a, uint32_t t)
{
    if (a->epoch != epoch || a->thread == t)
        return false;
    return a->warp != t / 32u || a->thread == ATOMIC || a->warp_sync == syncs[t / 32u];
}

static void complain(const struct access *a, const char *was, const char *is, uint32_t t)
{
    emu_die("a race: thread %u %s shared memory that thread %u%s %s since the last barrier, and no "
            "__syncwarp lies between them",
            t, is, a->thread < ATOMIC - 1u ? a->thread : a->warp * 32u,
            a->thread == SEVERAL ? " or another of its warp" : "", was);
}

static void touch(const void *p, size_t bytes, bool write, bool atomic)
{
    struct cell *c = emu_self ? cells_of(p, bytes) : NULL;
    uint32_t t = c ? emu_self->thread.x : 0;
    const struct access now = {epoch, syncs[t / 32u], (uint16_t)(atomic ? ATOMIC : t),
                               (uint16_t)(t / 32u)};
    for (; c && bytes; bytes--, c++) {
        if (races(&c->write, t) && !(atomic && c->write.thread == ATOMIC))
            complain(&c->write, "wrote", write ? "writes" : "reads", t);
        if (write && races(&c->read, t))
            complain(&c->read, "read", "writes", t);
        if (write) {
            c->write = now;
        } else {
            bool other = races(&c->read, t); /* else this read comes after all earlier ones */
            bool far = other && c->read.warp != t / 32u;
            c->read = now;
            if (other) /* several readers: of one warp, or of more than can be told apart */
                c->read.thread = SEVERAL;
            if (far)
                c->read.warp = 0xffffu;
        }
    }
}

void emu_race_atomic(const void *p, size_t bytes)
{
    touch(p, bytes, true, true);
}

void emu_race_read(const void *p, size_t bytes)
{
    touch(p, bytes, false, false);
}

void emu_race_write(const void *p, size_t bytes)
{
    touch(p, bytes, true, false);
}

/* ---- what the compiler calls ----------------------------------------------------------------- */

#ifndef __SANITIZE_THREAD__ /* else all is built for the real one */
extern "C" {
#define ACCESS(n)                                                                                  \
    void __tsan_read##n(void *p);                                                                  \
    void __tsan_read##n(void *p)                                                                   \
    {                                                                                              \
        touch(p, n, false, false);                                                                 \
    }                                                                                              \
    void __tsan_write##n(void *p);                                                                 \
    void __tsan_write##n(void *p)                                                                  \
    {                                                                                              \
        touch(p, n, true, false);                                                                  \
    }                                                                                              \
    void __tsan_unaligned_read##n(void *p);                                                        \
    void __tsan_unaligned_read##n(void *p)                                                         \
    {                                                                                              \
        touch(p, n, false, false);                                                                 \
    }                                                                                              \
    void __tsan_unaligned_write##n(void *p);                                                       \
    void __tsan_unaligned_write##n(void *p)                                                        \
    {                                                                                              \
        touch(p, n, true, false);                                                                  \
    }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

void __tsan_read_range(void *p, size_t n);
void __tsan_read_range(void *p, size_t n)
{
    touch(p, n, false, false);
}
void __tsan_write_range(void *p, size_t n);
void __tsan_write_range(void *p, size_t n)
{
    touch(p, n, true, false);
}
void __tsan_init(void);
void __tsan_init(void)
{
}
void __tsan_func_entry(void *);
void __tsan_func_entry(void *)
{
}
void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}
}
#endif
