/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Contexts and batches. */

#include <stdlib.h>

#include "core/verify/kit.h"

/* ---- contexts ------------------------------------------------------------------------------ */

/* One sequence in chunks of the given size, with single tokens around the borders of blocks. */
static bool one_context(struct vfy *v, const struct vfy_shape *s, uint32_t length, uint32_t chunk)
{
    struct vfy_rig r;
    uint32_t at = 0;
    bool supported = false;
    char what[120];
    if (!vfy_rig_open(v, &r, s, v->seed + length, 2, length + 64, &supported) || !supported)
        return supported;
    while (at < length) {
        uint32_t k = at % 64 >= 62 || at % 64 < 2 ? 1 : chunk;
        k = k < length - at ? k : length - at;
        snprintf(what, sizeof(what), "positions %u .. %u of a context, window %u", at, at + k - 1,
                 s->window);
        if (!vfy_rig_feed(v, &r, 0, at, k, VFY_CLASS, what))
            return false;
        at += k;
    }
    vfy_rig_close(v, &r);
    return true;
}

bool vfy_check_contexts(struct vfy *v)
{
    static const uint32_t windows[] = {0, 1, 2, 63, 64, 65, 100, 128, 129};
    struct vfy_shape s = vfy_shape_small();
    uint32_t i;
    if (!vfy_open(v))
        return false;
    s.embed = s.head = true;
    for (i = 0; i < Q35_COUNT(windows); i++) {
        s.window = windows[i];
        s.rope_style = i & 1;
        if (!one_context(v, &s, v->quick ? 140 : 200, 7 + i * 13))
            return false;
    }
    s.window = 0;
    return one_context(v, &s, v->quick ? 700 : 2000, 61) && (vfy_close(v), true);
}

/* ---- batches ------------------------------------------------------------------------------- */

/* Tokens of several sequences in another order; those of one stay in theirs. */
static void mix(struct vfy *v, struct q35_token *t, uint32_t n)
{
    uint32_t i, k;
    for (k = 0; k < n; k++)
        for (i = 0; i + 1 < n; i++)
            if (t[i].sequence != t[i + 1].sequence && vfy_below(&v->rng, 2)) {
                struct q35_token swap = t[i];
                t[i] = t[i + 1];
                t[i + 1] = swap;
            }
}

/* The same tokens at the same places of 4 sequences, alone and together with others. */
bool vfy_check_batch(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_rig alone, together;
    struct q35_token t[64];
    float a[100], *b = malloc(64 * 100 * sizeof(float));
    enum q35_status st;
    uint32_t round, i, n, pos[4] = {0};
    bool supported = false;

    if (!b || !vfy_open(v))
        return false;
    if (!vfy_rig_open(v, &alone, &s, v->seed, 4, 512, &supported) || !supported ||
        !vfy_rig_open(v, &together, &s, v->seed, 4, 512, &supported))
        return supported;
    for (round = 0; round < (v->quick ? 12u : 30u); round++) {
        n = 0;
        for (i = 0; i < together.sequences; i++) {
            uint32_t k = round == 0 && i == 3 ? 40 : vfy_below(&v->rng, 4);
            if (n + k > v->info.max_batch || n + k > 64)
                continue;
            vfy_tokens(t + n, k, i, pos[i], s.vocab, true, &v->rng);
            pos[i] += k;
            n += k;
        }
        if (!n)
            continue;
        if (round & 1)
            mix(v, t, n);
        if (!vfy_rig_device(v, &together, 0, together.m->layer_count, t, n, NULL, b, &st) ||
            !vfy_ok(v, st, VFY_BATCH, "a batch of several sequences"))
            return false;
        for (i = 0; i < n; i++)
            if (!vfy_rig_device(v, &alone, 0, alone.m->layer_count, &t[i], 1, NULL, a, &st) ||
                !vfy_ok(v, st, VFY_BATCH, "a token alone") ||
                !vfy_same(v, &(struct vfy_results){b + i * 100, a, 1, 100, &t[i], 1}, true,
                          VFY_BATCH, "a token in a batch compared with the same token alone"))
                return false;
    }
    vfy_rig_close(v, &alone);
    vfy_rig_close(v, &together);
    free(b);
    vfy_close(v);
    return true;
}
