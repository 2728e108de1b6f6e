/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kit.h"

/* kind: 0 usual, 1 scores all over exp's range, 2 with infinities and NaN, 3 all equal. */
static void one(const struct kernels *c, const struct kernels *k, uint32_t group, uint32_t head_dim,
                uint32_t first, uint32_t n, int kind)
{
    uint64_t page = 64u * head_dim, values = (uint64_t)group * head_dim, i;
    float *q = kit_alloc(4 * values, 4 * (group % 3));
    uint16_t *kv = kit_alloc(4 * page, 0);
    float *want = kit_alloc(4 * values, 4), *have = kit_alloc(4 * values, 4);
    struct q35_attn_state *sw = kit_alloc(sizeof *sw * group, 0);
    struct q35_attn_state *sh = kit_alloc(sizeof *sh * group, 0);
    struct attn_args a = {.group = group,
                          .head_dim = head_dim,
                          .first = first,
                          .n = n,
                          .q = q,
                          .k = kv,
                          .v = kv + page,
                          .state = sw,
                          .o = want,
                          .scratch = kit_alloc(SCRATCH_BYTES, 0)};
    struct q35_attn_state sb;
    char what[80];
    kit_fill(q, values, kind == 3 ? 1 : 0);
    for (i = 0; i < 2 * page; i++)
        kv[i] = q35_f32_to_f16(kit_float());
    if (kind == 2)
        kv[((uint64_t)first + kit_below(n)) * head_dim + kit_below(head_dim)] =
            kit_below(2) ? 0x7c00 : 0x7e00;
    a.scale = (kind == 1 ? 40.0f : 1.0f) / sqrtf((float)head_dim);
    c->attn_block(&a);
    a.o = have;
    a.state = sh;
    k->attn_block(&a);
    snprintf(what, sizeof what, "%u heads of %u, positions %u + %u, kind %d", group, head_dim,
             first, n, kind);
    kit_same_floats((const float *)sw, (const float *)sh, 2u * group, what);
    kit_same_floats(want, have, values, what);

    /* the first head's result merged into another state */
    memcpy(q, have, 4u * head_dim);
    sb = sh[0];
    sw[0] = sh[0] = (struct q35_attn_state){kit_float() * 3.0f, 1.0f + kit_float()};
    kit_fill(want, head_dim, 0);
    memcpy(have, want, 4u * head_dim);
    c->attn_merge(&sw[0], want, sb, q, head_dim);
    k->attn_merge(&sh[0], have, sb, q, head_dim);
    kit_same_floats((const float *)sw, (const float *)sh, 2, "merged state");
    kit_same_floats(want, have, head_dim, "merged values");
    kit_free(q);
    kit_free(kv);
    kit_free(want);
    kit_free(have);
    kit_free(sw);
    kit_free(sh);
    kit_free(a.scratch);
}

void test_attention(const struct kernels *c, const struct kernels *k)
{
    static const uint32_t dims[] = {64, 128, 16, 32, 48, 80, 96, 112, 192, 256, 40, 8};
    uint32_t d, group, i;
    for (d = 0; d < sizeof dims / sizeof *dims; d++)
        for (group = 1; group <= ATTN_GROUP; group += group < 9 ? 1 : 7)
            for (i = 0; i < 6; i++) {
                static const char *const names[] = {"attention a", "attention b", "attention c",
                                                    "attention d", "attention e", "attention f"};
                uint32_t first, n;
                kit_start(names[i]);
                first = i < 2 ? 0 : kit_below(64);
                n = i == 0 ? 64 : 1 + kit_below(64 - first);
                one(c, k, group, dims[d], first, n, (int)(i + group) % 4);
            }
}
