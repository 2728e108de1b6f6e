/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Whether what was created is gone when it was freed. */

#include <malloc.h>

#include "core/verify/kit.h"

enum { ROUNDS = 30, WINDOW = 5 };

static bool one_life(struct vfy *v, bool tidy)
{
    struct vfy_rig r;
    struct q35_buffer *b = NULL;
    vfy_enter(&v->d, "open");
    if (!vfy_ok(v,
                v->entry.api.open(&v->entry.host, &v->entry.options, v->device, &v->d.dev, &v->err),
                VFY_OPEN, "open") ||
        !vfy_rig_any(v, &r, 4, 2048) || !vfy_rig_feed(v, &r, 0, 0, 70, VFY_CLASS, "a first run"))
        return false;
    if (!VFY_CALL(&v->d, buffer_alloc, v->d.dev, 1 << 20, &b, &v->err))
        VFY_CALL(&v->d, buffer_write, b, 0, r.m->tensors[0].data ? r.m->tensors[0].data : NULL, 64,
                 &v->err);
    if (tidy) {
        if (b)
            VFY_CALL(&v->d, buffer_free, b);
        vfy_rig_close(v, &r);
        vfy_close(v);
        return true;
    }
    vfy_close(v); /* frees everything the device still holds */
    r.kv = NULL;
    r.w = NULL;
    vfy_rig_close(v, &r);
    return true;
}

/* What is in use, whether or not it was touched. */
static uint64_t heap_bytes(void)
{
    struct mallinfo2 i = mallinfo2();
    return i.uordblks + i.hblkhd;
}

/* Lives of a device; *grown is by how much the heap grew. */
static bool lives(struct vfy *v, uint32_t n, int64_t *grown)
{
    uint64_t before = heap_bytes();
    uint32_t i;
    for (i = 0; i < n; i++)
        if (!one_life(v, i & 1))
            return false;
    *grown = (int64_t)(heap_bytes() - before);
    return true;
}

/* The middle one of the last WINDOW rounds: the allocator's caches, and those of a driver's
 * threads, make some rounds grow and others shrink; a leak moves all of them. */
static int64_t usual_growth(const int64_t *grown, uint32_t rounds)
{
    int64_t sorted[WINDOW];
    uint32_t i, k;
    for (i = 0; i < WINDOW; i++) {
        int64_t g = grown[rounds - WINDOW + i];
        for (k = i; k > 0 && sorted[k - 1] > g; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = g;
    }
    return sorted[WINDOW / 2];
}

bool vfy_check_leaks(struct vfy *v)
{
    uint32_t fds, threads, i, n = v->quick ? 6 : 16;
    int64_t grown[ROUNDS], usual = INT64_MAX;
    uint64_t memory;

    if (!vfy_open(v))
        return false;
    vfy_close(v);
    if (!lives(v, 4, &grown[0])) /* what is made once and kept */
        return false;
    malloc_trim(0);
    fds = vfy_count_fds();
    threads = vfy_count_threads();
    memory = vfy_resident_bytes();
    for (i = 0; i < ROUNDS && usual >= (int64_t)n * 16;) {
        if (!lives(v, n, &grown[i]))
            return false;
        if (++i >= WINDOW)
            usual = usual_growth(grown, i);
    }
    malloc_trim(0);
    EXPECT(v, vfy_count_fds() <= fds, VFY_LEAK, "%u descriptors more after %u lives of a device",
           vfy_count_fds() - fds, i * n);
    EXPECT(v, vfy_count_threads() <= threads, VFY_LEAK,
           "%u threads more after %u lives of a device", vfy_count_threads() - threads, i * n);
    EXPECT(v, usual < (int64_t)n * 16, VFY_LEAK, "every life of a device leaves %lld bytes of heap",
           (long long)usual / n);
    if (VFY_SANITIZED) { /* which keeps what was freed */
        vfy_note(v, "memory is not measured under a sanitizer");
        return true;
    }
    EXPECT(v, vfy_resident_bytes() < memory + i * n * 128 * 1024, VFY_LEAK,
           "%llu bytes of memory more after %u lives of a device",
           (unsigned long long)(vfy_resident_bytes() - memory), i * n);
    return true;
}
