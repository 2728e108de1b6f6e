/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV cache: fork, truncate, rewrite, capacity. */

#include <stdlib.h>
#include <string.h>

#include "core/verify/kit.h"

static bool fork_both(struct vfy *v, struct vfy_rig *r, uint32_t src, uint32_t dst, uint32_t n)
{
    if (!vfy_ok(v, VFY_CALL(&v->d, kv_fork, r->kv, src, dst, n, &v->err), VFY_KV_FORK, "kv_fork"))
        return false;
    return vfy_oracle_fork(r->o, src, dst, n) || vfy_skip(v, "the kit has no memory");
}

static bool truncate_both(struct vfy *v, struct vfy_rig *r, uint32_t sequence, uint32_t n)
{
    vfy_oracle_truncate(r->o, sequence, n);
    return vfy_ok(v, VFY_CALL(&v->d, kv_truncate, r->kv, sequence, n, &v->err), VFY_KV_TRUNCATE,
                  "kv_truncate");
}

/* Spans of layers in submits of their own give what one submit gives. */
static bool split_spans(struct vfy *v, struct vfy_rig *r, uint32_t sequence, uint32_t position)
{
    uint32_t d = r->m->shape.d_model, vocab = r->m->shape.vocab, cut, n = 6;
    struct q35_token t[6];
    float hidden[6 * 128], got[6 * 100], want[6 * 100];
    enum q35_status st;
    if (d > 128 || vocab > 100)
        return true;
    for (cut = 1; cut < r->m->layer_count; cut++, position += n) {
        vfy_tokens(t, n, sequence, position, vocab, true, &v->rng);
        if (!vfy_rig_device(v, r, 0, cut, t, n, NULL, hidden, &st) ||
            !vfy_ok(v, st, VFY_KV, "the first layers alone") ||
            !vfy_rig_device(v, r, cut, r->m->layer_count - cut, t, n, hidden, got, &st) ||
            !vfy_ok(v, st, VFY_KV, "the last layers alone"))
            return false;
        vfy_oracle_run(r->o, 0, r->m->layer_count, t, n, NULL, want);
        if (!vfy_same(v, &(struct vfy_results){got, want, n, vocab, t, n}, false, VFY_CLASS,
                      "layers run in two submits"))
            return false;
    }
    return true;
}

bool vfy_check_kv(struct vfy *v)
{
    struct vfy_rig r;
    if (!vfy_open(v))
        return false;
    if (v->info.max_sequences < 3)
        return vfy_skip(v, "the device takes %u sequences", v->info.max_sequences);
    if (!vfy_rig_any(v, &r, 6, 2048) || r.sequences < 3)
        return false;
#define FEED(sequence, position, n, rule, what)                                                    \
    vfy_rig_feed(v, &r, sequence, position, n, rule, what)
    if (!FEED(0, 0, 100, VFY_CLASS, "100 tokens") || !fork_both(v, &r, 0, 1, 90) ||
        !FEED(1, 90, 3, VFY_KV_FORK, "a fork that goes on in the middle of a block") ||
        !FEED(0, 100, 3, VFY_KV_FORK, "the source of a fork, after the fork has written") ||
        !FEED(1, 93, 60, VFY_KV_FORK, "a fork that goes on over a block border") ||
        !fork_both(v, &r, 0, 2, 64) ||
        !FEED(0, 60, 8, VFY_KV_FORK, "the source rewriting what a fork shares") ||
        !FEED(2, 64, 5, VFY_KV_FORK, "a fork whose source was rewritten") ||
        !truncate_both(v, &r, 1, 70) ||
        !FEED(1, 70, 5, VFY_KV_TRUNCATE, "a sequence after truncation") ||
        !truncate_both(v, &r, 1, 0) || !FEED(1, 0, 5, VFY_KV_TRUNCATE, "a forgotten sequence") ||
        !FEED(2, 10, 2, VFY_KV_REWRITE, "a sequence rewritten from position 10") ||
        !FEED(2, 12, 1, VFY_KV_REWRITE, "the position after a rewrite") ||
        !FEED(2, 12, 1, VFY_KV_REWRITE, "the same position once more") ||
        !fork_both(v, &r, 0, 1, 68) ||
        !FEED(1, 68, 2, VFY_KV_FORK, "a fork over a used sequence") || !fork_both(v, &r, 1, 2, 1) ||
        !FEED(2, 1, 2, VFY_KV_FORK, "a fork of one position") || !fork_both(v, &r, 1, 2, 0) ||
        !FEED(2, 0, 2, VFY_KV_FORK, "a fork of no position"))
        return false;
#undef FEED
    if (!split_spans(v, &r, 0, 68))
        return false;
    vfy_rig_close(v, &r);
    vfy_close(v);
    return true;
}

/* ---- random ------------------------------------------------------------------------------- */

enum { RANDOM_SEQUENCES = 8, RANDOM_LIMIT = 200 };

static bool random_batch(struct vfy *v, struct vfy_rig *r, uint32_t *length)
{
    struct q35_token t[96];
    uint32_t n = 0, s;
    for (s = 0; s < r->sequences; s++) {
        uint32_t k = vfy_below(&v->rng, 12), from = length[s];
        if (vfy_below(&v->rng, 6) == 0 && from) /* rewrite */
            from = vfy_below(&v->rng, from);
        if (!k || from + k > RANDOM_LIMIT || n + k > v->info.max_batch)
            continue;
        vfy_tokens(t + n, k, s, from, r->m->shape.vocab, true, &v->rng);
        n += k;
        length[s] = from + k;
    }
    return !n || vfy_rig_step(v, r, t, n, VFY_KV, "a batch after random forks and truncations");
}

bool vfy_check_kv_random(struct vfy *v)
{
    uint32_t length[RANDOM_SEQUENCES] = {0}, i, rounds = v->quick ? 60 : 200;
    struct vfy_rig r;
    if (!vfy_open(v) ||
        !vfy_rig_any(v, &r, RANDOM_SEQUENCES, RANDOM_SEQUENCES * (RANDOM_LIMIT + 64)))
        return false;
    for (i = 0; i < rounds; i++) {
        uint32_t a = vfy_below(&v->rng, r.sequences), b = vfy_below(&v->rng, r.sequences);
        bool fine = true;
        switch (vfy_below(&v->rng, 4)) {
        case 0:
            length[a] = length[a] ? vfy_below(&v->rng, length[a] + 1) : 0;
            fine = truncate_both(v, &r, a, length[a]);
            break;
        case 1:
            if (a != b) {
                length[b] = length[a] ? vfy_below(&v->rng, length[a] + 1) : 0;
                fine = fork_both(v, &r, a, b, length[b]);
            }
            break;
        default:
            fine = random_batch(v, &r, length);
        }
        if (!fine)
            return false;
    }
    vfy_rig_close(v, &r);
    vfy_close(v);
    return true;
}

/* ---- capacity ------------------------------------------------------------------------------ */

/* Feeds a sequence from *held on, without logits, until CAPACITY or `limit`. */
static bool fill(struct vfy *v, struct vfy_rig *r, uint32_t sequence, uint32_t chunk,
                 uint32_t limit, uint32_t *held)
{
    struct q35_token t[64];
    enum q35_status st;
    for (; *held < limit; *held += chunk) {
        float out[1];
        vfy_tokens(t, chunk, sequence, *held, r->m->shape.vocab, false, &v->rng);
        if (!vfy_rig_device(v, r, 0, r->m->layer_count, t, chunk, NULL, out, &st))
            return false;
        if (st == Q35_E_CAPACITY) {
            v->d.signal--; /* a refused submit uses up no value */
            return vfy_refused(v, st, Q35_E_CAPACITY, VFY_KV_CAPACITY, "a token too many");
        }
        if (!vfy_ok(v, st, VFY_KV_CAPACITY, "a token within the KV"))
            return false;
    }
    return true;
}

/* A shared page that cannot be copied for its writer stays shared, and both stay right. */
static bool full_and_shared(struct vfy *v, struct vfy_rig *r, uint32_t length)
{
    struct q35_token t[1];
    float out[100];
    enum q35_status st;
    vfy_tokens(t, 1, 2, length - 1, r->m->shape.vocab, true, &v->rng);
    if (!vfy_rig_device(v, r, 0, r->m->layer_count, t, 1, NULL, out, &st))
        return false;
    if (st == Q35_E_CAPACITY)
        v->d.signal--;
    else if (!vfy_ok(v, st, VFY_KV_CAPACITY, "a write to a shared position"))
        return false;
    else if (!vfy_oracle_run(r->o, 0, r->m->layer_count, t, 1, NULL, out))
        return vfy_skip(v, "the kit has no memory");
    v->err = (struct q35_error)Q35_ERROR_INIT;
    if (!vfy_ok(v, VFY_CALL(&v->d, kv_truncate, r->kv, 1, 0, &v->err), VFY_KV_TRUNCATE,
                "kv_truncate"))
        return false;
    vfy_tokens(t, 1, 2, length, r->m->shape.vocab, true, &v->rng);
    return vfy_rig_device(v, r, 0, r->m->layer_count, t, 1, NULL, out, &st) &&
           vfy_ok(v, st, VFY_KV_TRUNCATE, "a token after another sequence was forgotten") &&
           vfy_rig_feed(v, r, 2, length, 3, VFY_KV_CAPACITY, "a fork, once there is room") &&
           vfy_rig_feed(v, r, 0, length, 3, VFY_KV_CAPACITY, "its source, once there is room") &&
           vfy_rig_feed(v, r, 2, length + 3, 3, VFY_KV_CAPACITY, "the fork again");
}

/* A batch that rewrites one sequence from its beginning and needs too much for another is refused
 * as a whole: the first still holds what it held. */
static bool refused_rewrite(struct vfy *v, struct vfy_rig *r, uint32_t rewritten, uint32_t length,
                            uint32_t growing, uint32_t held)
{
    struct q35_token t[VFY_MAX_TOKENS];
    uint32_t n = v->info.max_batch < 256 ? v->info.max_batch : 256;
    enum q35_status st;
    float out[1];
    if (n < 128) /* not enough to fill two pages that the rewrite gives back */
        return true;
    vfy_tokens(t, 1, rewritten, 0, r->m->shape.vocab, false, &v->rng);
    vfy_tokens(t + 1, n - 1, growing, held, r->m->shape.vocab, false, &v->rng);
    if (!vfy_rig_device(v, r, 0, r->m->layer_count, t, n, NULL, out, &st))
        return false;
    if (st != Q35_E_CAPACITY) { /* room for all that: the KV is larger than it had to be */
        if (!vfy_ok(v, st, VFY_KV_CAPACITY, "a batch of two sequences"))
            return false;
        vfy_oracle_truncate(r->o, rewritten, 0);
        vfy_oracle_truncate(r->o, growing, 0);
        return vfy_ok(v, VFY_CALL(&v->d, kv_truncate, r->kv, rewritten, 0, &v->err),
                      VFY_KV_TRUNCATE, "kv_truncate") &&
               vfy_ok(v, VFY_CALL(&v->d, kv_truncate, r->kv, growing, 0, &v->err), VFY_KV_TRUNCATE,
                      "kv_truncate");
    }
    v->d.signal--;
    v->err = (struct q35_error)Q35_ERROR_INIT;
    return vfy_ok(v, VFY_CALL(&v->d, kv_truncate, r->kv, growing, 0, &v->err), VFY_KV_TRUNCATE,
                  "kv_truncate") &&
           vfy_rig_feed(v, r, rewritten, length, 3, VFY_KV_CAPACITY,
                        "a sequence that a refused batch would have rewritten");
}

/* Three pages of one sequence, the rest of another. */
static bool capacity_of_two(struct vfy *v, uint32_t tokens, uint32_t chunk)
{
    uint32_t held = 0;
    struct vfy_rig r;
    if (!vfy_rig_any(v, &r, 3, tokens) ||
        !vfy_rig_feed(v, &r, 0, 0, 150, VFY_KV_CAPACITY, "150 tokens") ||
        !fill(v, &r, 1, chunk, 32 * tokens, &held))
        return false;
    vfy_oracle_truncate(r.o, 1, 0); /* it was filled without the oracle */
    if (held < 32 * tokens && !refused_rewrite(v, &r, 0, 150, 1, held))
        return false;
    vfy_rig_close(v, &r);
    return true;
}

bool vfy_check_capacity(struct vfy *v)
{
    const uint32_t tokens = 512, limit = 32 * tokens;
    uint32_t chunk, held = 0, other = 73;
    struct vfy_rig r;
    uint64_t last;

    if (!vfy_open(v))
        return false;
    if (v->info.max_sequences < 3)
        return vfy_skip(v, "the device takes %u sequences", v->info.max_sequences);
    chunk = v->info.max_batch < 64 ? v->info.max_batch : 64;
    if (!vfy_rig_any(v, &r, 3, tokens) ||
        !vfy_rig_feed(v, &r, 0, 0, 70, VFY_KV_CAPACITY, "70 tokens") ||
        !fork_both(v, &r, 0, 2, 70) || !fill(v, &r, 1, chunk, limit, &held))
        return false;
    EXPECT(v, held + 256 + chunk > tokens, VFY_KV_CAPACITY,
           "a KV of %u tokens is full with 70 and %u", tokens, held);
    if (held >= limit) {
        vfy_note(v, "a KV of %u tokens took %u and was not full", tokens, held);
    } else {
        if (!vfy_ok(v, VFY_CALL(&v->d, poll, v->d.dev, &last, &v->err), VFY_TIME_ERROR, "poll"))
            return false;
        EXPECT(v, last <= v->d.signal, VFY_TIME_ERROR,
               "a submit refused with CAPACITY has completed as %llu", (unsigned long long)last);
        /* Nothing has changed; then one sequence's room serves the other. */
        if (!full_and_shared(v, &r, 70) || !fill(v, &r, 0, chunk, limit, &other))
            return false;
        EXPECT(v, other + 256 > held, VFY_KV_TRUNCATE,
               "forgetting a sequence of %u tokens makes room for %u of another", held, other);
    }
    vfy_rig_close(v, &r);
    if (!capacity_of_two(v, tokens, chunk))
        return false;
    vfy_close(v);
    return true;
}
