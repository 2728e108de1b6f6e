/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Whether what was created is gone when it was freed. */

#include <malloc.h>

#include "core/verify/kit.h"

enum { ROUNDS = 150, WINDOW = 5, LEAST = 16 };

/* How far a life goes, each with all before it, and who frees what was made in it. */
enum part { OPENED, UPLOADED, CACHED, RUN, BUFFERED, PARTS };
static const char *const parts[PARTS] = {"open and close", "weights", "a KV cache", "a run",
                                         "a buffer"};
enum freeing { BY_TURNS, BY_HOST, BY_CLOSE };

static bool make_buffer(struct vfy *v, const struct vfy_rig *r, bool tidy)
{
    struct q35_buffer *b = NULL;
    if (VFY_CALL(&v->d, buffer_alloc, v->d.dev, 1 << 20, &b, &v->err))
        return true; /* it need not have any */
    VFY_CALL(&v->d, buffer_write, b, 0, r->m->tensors[Q35_ROLE_TOKEN_EMBED].data, 64, &v->err);
    if (tidy)
        VFY_CALL(&v->d, buffer_free, b);
    return true;
}

static bool one_life(struct vfy *v, enum part last, bool tidy)
{
    const struct vfy_shape s = vfy_shape_small();
    struct vfy_rig r = {.sequences = v->info.max_sequences < 4 ? v->info.max_sequences : 4,
                        .kv_tokens = 2048};
    bool fine = true;
    vfy_enter(&v->d, "open");
    if (!vfy_ok(v,
                v->entry.api.open(&v->entry.host, &v->entry.options, v->device, &v->d.dev, &v->err),
                VFY_OPEN, "open"))
        return false;
    v->d.signal = 0;
    r.m = vfy_model_create(&s, v->seed);
    r.o = r.m ? vfy_oracle_create(r.m, r.sequences) : NULL;
    if (!r.o)
        return vfy_skip(v, "the kit has no memory");
    if (last >= UPLOADED)
        fine = vfy_ok(v, vfy_upload(&v->d, r.m, Q35_UNTIL_FREE, &r.w, &v->err), VFY_UPLOAD,
                      "uploading the smallest model of the kit");
    if (fine && last >= CACHED)
        fine = vfy_ok(v, vfy_kv(&v->d, r.w, r.sequences, r.kv_tokens, &r.kv, &v->err), VFY_KV,
                      "kv_create");
    if (fine && last >= RUN)
        fine = vfy_rig_feed(v, &r, 0, 0, 70, VFY_CLASS, "a first run");
    if (fine && last >= BUFFERED)
        fine = make_buffer(v, &r, tidy);
    if (!fine)
        return false;
    if (!tidy) { /* close frees everything the device still holds */
        vfy_close(v);
        r.kv = NULL;
        r.w = NULL;
    }
    vfy_rig_close(v, &r);
    if (tidy)
        vfy_close(v);
    return true;
}

/* What is in use, whether or not it was touched. */
static uint64_t heap_bytes(void)
{
    struct mallinfo2 i = mallinfo2();
    return i.uordblks + i.hblkhd;
}

/* Lives of a device; *grown is by how much the heap grew. */
static bool lives(struct vfy *v, uint32_t n, enum part last, enum freeing who, int64_t *grown)
{
    uint64_t before = heap_bytes();
    uint32_t i;
    for (i = 0; i < n; i++)
        if (!one_life(v, last, who == BY_TURNS ? i & 1 : who == BY_HOST))
            return false;
    *grown = (int64_t)(heap_bytes() - before);
    return true;
}

/* The last WINDOW rounds, sorted. */
static void last_rounds(const int64_t *grown, uint32_t rounds, int64_t sorted[WINDOW])
{
    uint32_t i, k;
    for (i = 0; i < WINDOW; i++) {
        int64_t g = grown[rounds - WINDOW + i];
        for (k = i; k > 0 && sorted[k - 1] > g; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = g;
    }
}

/* What n such lives usually leave: the middle one of the last rounds. The allocator's caches, and
 * those of a driver's threads, make some rounds grow and others shrink, and take hundreds of lives
 * to fill; a leak moves all of them. So it takes many rounds to call it one, unless they are
 * alike. */
static bool growth(struct vfy *v, uint32_t n, enum part last, enum freeing who, uint32_t *rounds,
                   int64_t *usual)
{
    const int64_t least = (int64_t)n * LEAST;
    int64_t grown[ROUNDS], sorted[WINDOW];
    uint32_t i;
    for (i = 0; i < ROUNDS;) {
        if (!lives(v, n, last, who, &grown[i]))
            return false;
        if (++i < WINDOW)
            continue;
        last_rounds(grown, i, sorted);
        *usual = sorted[WINDOW / 2];
        if (*usual < least || (i >= 2 * WINDOW && sorted[WINDOW - 1] - sorted[0] < least))
            break;
    }
    *rounds = i;
    return true;
}

/* What has to be in a life for the leak, and who frees it. If whole lives leave nothing any more,
 * it was a cache that filled evenly, and there is none. */
static bool find_leak(struct vfy *v, uint32_t n, int64_t usual)
{
    uint32_t rounds, last;
    int64_t least = 0, by_host = 0;
    for (last = OPENED; last <= BUFFERED; last++)
        if (!growth(v, n, last, BY_TURNS, &rounds, &least))
            return false;
        else if (least >= (int64_t)n * LEAST)
            break;
    if (last > BUFFERED)
        return true;
    if (!growth(v, n, last, BY_HOST, &rounds, &by_host))
        return false;
    vfy_fail(v, VFY_LEAK, "every life of a device leaves %lld bytes of heap, from %s on%s",
             (long long)usual / n, parts[last],
             by_host >= (int64_t)n * LEAST ? "" : "; none where the host frees all before close");
    return false;
}

bool vfy_check_leaks(struct vfy *v)
{
    uint32_t fds, threads, rounds, n = v->quick ? 6 : 16;
    uint64_t memory;
    int64_t usual;

    if (!vfy_open(v))
        return false;
    vfy_close(v);
    if (!lives(v, 4, BUFFERED, BY_TURNS, &usual)) /* what is made once and kept */
        return false;
    malloc_trim(0);
    fds = vfy_count_fds();
    threads = vfy_count_threads();
    memory = vfy_resident_bytes();
    if (!growth(v, n, BUFFERED, BY_TURNS, &rounds, &usual))
        return false;
    malloc_trim(0);
    EXPECT(v, vfy_count_fds() <= fds, VFY_LEAK, "%u descriptors more after %u lives of a device",
           vfy_count_fds() - fds, rounds * n);
    EXPECT(v, vfy_count_threads() <= threads, VFY_LEAK,
           "%u threads more after %u lives of a device", vfy_count_threads() - threads, rounds * n);
    if (usual >= (int64_t)n * LEAST)
        return find_leak(v, n, usual);
    if (VFY_SANITIZED) { /* which keeps what was freed */
        vfy_note(v, "memory is not measured under a sanitizer");
        return true;
    }
    EXPECT(v, vfy_resident_bytes() < memory + rounds * n * 128 * 1024, VFY_LEAK,
           "%llu bytes of memory more after %u lives of a device",
           (unsigned long long)(vfy_resident_bytes() - memory), rounds * n);
    return true;
}
