/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPIN_NS                                                                                    \
    20000u /* of waiting awake, then asleep: a sleeper's core is free for the others               \
            */

/* Every thread has a range of adjacent pieces, so that it walks through memory in order; a thread
 * without work takes the far half of another's range. A range is one word: the loop's number (high
 * half), its first piece and its end (16 bits each). It is cut by compare-and-swap; success proves
 * that the fields read before belong to that loop, and they stay until its pieces are done. */
struct range {
    _Alignas(64) _Atomic uint64_t word;
};

struct pool {
    _Alignas(64) _Atomic uint32_t epoch; /* the loop's number: the futex of sleeping threads */
    _Atomic uint32_t sleepers;
    _Atomic(pool_fn) fn;
    _Atomic(void *) ctx;
    _Atomic uint32_t base;              /* piece 0 of the ranges */
    _Atomic uint32_t pieces;            /* in this loop */
    _Alignas(64) _Atomic uint32_t done; /* pieces finished: the futex of the waiting caller */
    _Atomic uint32_t caller_sleeps;
    _Atomic uint32_t stop;
    uint32_t threads; /* the caller included */
    uint32_t started;
    struct range *ranges; /* [threads] */
    struct pool_thread {
        struct pool *pool;
        pthread_t handle;
        uint32_t id;
        uint32_t first, end; /* the threads of its node */
        int cpu;             /* -1: not pinned */
    } * thread;              /* [threads]; the caller's has no handle */
};

#define MAX_PIECES 0xffffu

static uint64_t range_word(uint32_t epoch, uint32_t first, uint32_t end)
{
    return (uint64_t)epoch << 32 | first << 16 | end;
}

static uint32_t range_first(uint64_t word)
{
    return (uint32_t)word >> 16;
}

static uint32_t range_end(uint64_t word)
{
    return (uint32_t)word & MAX_PIECES;
}

static bool range_empty(uint64_t word)
{
    return range_first(word) == range_end(word);
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

uint64_t pool_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, uint32_t count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count > INT_MAX ? INT_MAX : (int)count, NULL, NULL,
            0);
}

/* Whether *word differs from `seen`: 1 yes, 0 not within SPIN_NS of *start, -1 not yet. */
static int wait_awake(_Atomic uint32_t *word, uint32_t seen, uint64_t *start)
{
    int i;
    for (i = 0; i < 32; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen)
            return 1;
        cpu_relax();
    }
    if (*start == 0)
        *start = pool_now_ns();
    return pool_now_ns() - *start > SPIN_NS ? 0 : -1;
}

/* What is read before a range is cut, and holds if that succeeds. */
struct loop {
    pool_fn fn;
    void *ctx;
    uint32_t base, pieces;
};

static struct loop loop_of(struct pool *p)
{
    return (struct loop){atomic_load_explicit(&p->fn, memory_order_relaxed),
                         atomic_load_explicit(&p->ctx, memory_order_relaxed),
                         atomic_load_explicit(&p->base, memory_order_relaxed),
                         atomic_load_explicit(&p->pieces, memory_order_relaxed)};
}

static bool cut(struct range *r, uint64_t *seen, uint64_t to)
{
    return atomic_compare_exchange_strong_explicit(&r->word, seen, to, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* The first piece of a thread's own range. */
static bool take_own(struct pool *p, uint32_t id, struct loop *l, uint32_t *piece)
{
    struct range *r = &p->ranges[id];
    uint64_t w = atomic_load_explicit(&r->word, memory_order_acquire);
    while (!range_empty(w)) {
        *l = loop_of(p);
        *piece = range_first(w);
        if (cut(r, &w, range_word((uint32_t)(w >> 32), *piece + 1, range_end(w))))
            return true;
    }
    return false;
}

/* The i-th thread that `id` takes from, i = 1, 2 ...: its node's, then the others. */
static uint32_t victim_of(const struct pool *p, uint32_t id, uint32_t i)
{
    const struct pool_thread *t = &p->thread[id];
    uint32_t size = t->end - t->first;
    return i < size ? t->first + (id - t->first + i) % size : (t->end + i - size) % p->threads;
}

/* The far half of another's range becomes one's own, but for its first piece. While the next loop
 * is being set up the own range may be about to be written, or have been just now: then it is one
 * piece that is taken. */
static bool steal(struct pool *p, uint32_t id, struct loop *l, uint32_t *piece)
{
    uint32_t i;
    for (i = 1; i < p->threads; i++) {
        struct range *victim = &p->ranges[victim_of(p, id, i)];
        uint64_t own = atomic_load_explicit(&p->ranges[id].word, memory_order_acquire);
        uint64_t w = atomic_load_explicit(&victim->word, memory_order_acquire);
        while (!range_empty(w)) {
            uint32_t epoch = (uint32_t)(w >> 32), first = range_first(w), end = range_end(w);
            bool same = (uint32_t)(own >> 32) == epoch && range_empty(own);
            *l = loop_of(p);
            *piece = same ? end - (end - first + 1) / 2 : end - 1;
            if (!cut(victim, &w, range_word(epoch, first, *piece)))
                continue;
            if (same)
                atomic_store_explicit(&p->ranges[id].word, range_word(epoch, *piece + 1, end),
                                      memory_order_release);
            return true;
        }
    }
    return false;
}

/* Takes and runs pieces of the current loop until none is left. */
static void work(struct pool *p, uint32_t id)
{
    struct loop l;
    uint32_t piece;
    while (take_own(p, id, &l, &piece) || steal(p, id, &l, &piece)) {
        l.fn(l.ctx, l.base + piece, id);
        if (atomic_fetch_add(&p->done, 1) + 1 == l.pieces && atomic_load(&p->caller_sleeps))
            futex_wake(&p->done, 1);
    }
}

static void *thread_main(void *arg)
{
    struct pool_thread *self = arg;
    struct pool *p = self->pool;
    uint32_t seen = 0;
    char name[16];
    snprintf(name, sizeof name, "q35-cpu-%u", self->id % 1000u);
    pthread_setname_np(pthread_self(), name);
    if (self->cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)self->cpu, &set);
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    for (;;) {
        uint64_t start = 0;
        int awake;
        while ((awake = wait_awake(&p->epoch, seen, &start)) < 0)
            ;
        if (!awake) {
            atomic_fetch_add(&p->sleepers, 1);
            futex_wait(&p->epoch, seen);
            atomic_fetch_sub(&p->sleepers, 1);
        }
        if (atomic_load(&p->stop))
            return NULL;
        seen = atomic_load_explicit(&p->epoch, memory_order_acquire);
        work(p, self->id);
    }
}

struct pool *pool_create(const struct places *places, int pin)
{
    struct pool *p = NULL;
    uint32_t i;
    sigset_t all, before;
    if (posix_memalign((void **)&p, 64, sizeof *p) != 0)
        return NULL;
    *p = (struct pool){0};
    p->threads = places->threads;
    p->thread = calloc(p->threads, sizeof *p->thread);
    p->ranges = aligned_alloc(64, p->threads * sizeof *p->ranges);
    if (!p->thread || !p->ranges)
        goto fail;
    memset(p->ranges, 0, p->threads * sizeof *p->ranges);
    for (i = 0; i < p->threads; i++) {
        uint32_t node = places_node(places, i);
        p->thread[i] = (struct pool_thread){
            p, 0, i, places->first[node], places->first[node + 1], pin ? places->cpu[i] : -1};
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the host's */
    while (p->started + 1 < p->threads) {
        struct pool_thread *t = &p->thread[p->started + 1];
        if (pthread_create(&t->handle, NULL, thread_main, t) != 0)
            break;
        p->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (p->started + 1 == p->threads)
        return p;
fail:
    pool_destroy(p);
    return NULL;
}

void pool_destroy(struct pool *p)
{
    uint32_t i;
    if (!p)
        return;
    atomic_store(&p->stop, 1);
    atomic_fetch_add(&p->epoch, 1);
    futex_wake(&p->epoch, INT_MAX);
    for (i = 0; i < p->started; i++)
        pthread_join(p->thread[i + 1].handle, NULL);
    free(p->thread);
    free(p->ranges);
    free(p);
}

uint32_t pool_threads(const struct pool *p)
{
    return p->threads;
}

static void wait_done(struct pool *p, uint32_t pieces)
{
    uint32_t seen;
    uint64_t start = 0;
    while ((seen = atomic_load(&p->done)) != pieces) {
        if (wait_awake(&p->done, seen, &start) != 0)
            continue;
        atomic_store(&p->caller_sleeps, 1);
        seen = atomic_load(&p->done);
        if (seen != pieces)
            futex_wait(&p->done, seen);
        atomic_store(&p->caller_sleeps, 0);
    }
}

/* Up to MAX_PIECES pieces from `base` on. */
static void run_loop(struct pool *p, pool_fn fn, void *ctx, uint32_t base, uint32_t pieces)
{
    uint32_t i, epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed) + 1, sleepers;
    atomic_store_explicit(&p->fn, fn, memory_order_relaxed);
    atomic_store_explicit(&p->ctx, ctx, memory_order_relaxed);
    atomic_store_explicit(&p->base, base, memory_order_relaxed);
    atomic_store_explicit(&p->pieces, pieces, memory_order_relaxed);
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    for (i = 0; i < p->threads; i++) {
        uint32_t first = (uint32_t)((uint64_t)pieces * i / p->threads);
        uint32_t end = (uint32_t)((uint64_t)pieces * (i + 1) / p->threads);
        atomic_store_explicit(&p->ranges[i].word, range_word(epoch, first, end),
                              memory_order_release);
    }
    atomic_store(&p->epoch, epoch);
    sleepers = atomic_load(&p->sleepers);
    if (sleepers)
        futex_wake(&p->epoch, sleepers < pieces - 1 ? sleepers : pieces - 1);
    work(p, 0);
    wait_done(p, pieces);
}

void pool_run(struct pool *p, pool_fn fn, void *ctx, uint32_t pieces)
{
    uint32_t i;
    if (p->threads == 1 || pieces <= 1) {
        for (i = 0; i < pieces; i++)
            fn(ctx, i, 0);
        return;
    }
    for (i = 0; i < pieces; i += MAX_PIECES)
        run_loop(p, fn, ctx, i, pieces - i < MAX_PIECES ? pieces - i : MAX_PIECES);
}
