/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kit.h"

/* A maximum of zeros may have either sign: nothing that follows depends on it. */
static void same_states(struct q35_attn_state *want, struct q35_attn_state *have, uint32_t group,
                        const char *what)
{
    uint32_t h;
    for (h = 0; h < group; h++) {
        want[h].m = want[h].m + 0.0f;
        have[h].m = have[h].m + 0.0f;
    }
    kit_same_floats((const float *)want, (const float *)have, 2u * group, what);
}

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
    struct q35_attn_state sb[ATTN_GROUP];
    uint32_t h;
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
    a.next_k = a.k; /* only to prefetch */
    k->attn_block(&a);
    snprintf(what, sizeof what, "%u heads of %u, positions %u + %u, kind %d", group, head_dim,
             first, n, kind);
    same_states(sw, sh, group, what);
    kit_same_floats(want, have, values, what);

    /* the results merged into other states */
    memcpy(q, have, 4 * values);
    memcpy(sb, sh, sizeof *sb * group);
    for (h = 0; h < group; h++)
        sw[h] = sh[h] = (struct q35_attn_state){kind == 2 && kit_below(4) == 0 ? NAN
                                                : kind == 1 ? kit_float() * 200.0f
                                                            : kit_float() * 3.0f,
                                                1.0f + kit_float()};
    kit_fill(want, values, 0);
    memcpy(have, want, 4 * values);
    c->attn_merge(sw, want, sb, q, group, head_dim);
    k->attn_merge(sh, have, sb, q, group, head_dim);
    same_states(sw, sh, group, "merged states");
    kit_same_floats(want, have, values, "merged values");
    kit_free(q);
    kit_free(kv);
    kit_free(want);
    kit_free(have);
    kit_free(sw);
    kit_free(sh);
    kit_free(a.scratch);
}

/* The same over int8. kind: 0 usual, 1 scores all over exp's range, 2 with infinite and NaN scales,
 * 3 extremes. */
static void one8(const struct kernels *c, const struct kernels *k, uint32_t group,
                 uint32_t head_dim, uint32_t first, uint32_t n, int kind)
{
    uint64_t page = 64u * head_dim, values = (uint64_t)group * head_dim, i;
    uint32_t stride = (head_dim + 63) & ~63u, h;
    int8_t *q = kit_alloc((uint64_t)group * stride, 0), *kv = kit_alloc(2 * page, group % 3);
    float *want = kit_alloc(4 * values, 4), *have = kit_alloc(4 * values, 4);
    float *scales = kit_alloc(4 * 128, 4), *q_scales = kit_alloc(4 * group, 4);
    int32_t *sums = kit_alloc(4 * group, 4);
    struct q35_attn_state *sw = kit_alloc(sizeof *sw * group, 0);
    struct q35_attn_state *sh = kit_alloc(sizeof *sh * group, 0);
    struct attn_args a = {.group = group,
                          .head_dim = head_dim,
                          .first = first,
                          .n = n,
                          .scale = (kind == 1 ? 40.0f : 1.0f) / sqrtf((float)head_dim),
                          .q_stride = stride,
                          .q8 = q,
                          .q_scales = q_scales,
                          .q_sums = sums,
                          .k = kv,
                          .v = kv + page,
                          .k_scales = scales,
                          .v_scales = scales + 64,
                          .state = sw,
                          .o = want,
                          .scratch = kit_alloc(SCRATCH_BYTES, 0)};
    char what[80];
    memset(q, 0, (uint64_t)group * stride);
    for (h = 0; h < group; h++) {
        sums[h] = 0;
        q_scales[h] = 0.01f * (1.5f + kit_float());
        for (i = 0; i < head_dim; i++) {
            q[h * stride + i] = (int8_t)(kind == 3 ? 127 : (int)kit_below(255) - 127);
            sums[h] += q[h * stride + i];
        }
    }
    for (i = 0; i < 2 * page; i++)
        kv[i] = (int8_t)(kind == 3 ? (kit_below(2) ? 127 : -127) : (int)kit_below(255) - 127);
    for (i = 0; i < 128; i++)
        scales[i] = 0.01f * kit_float();
    if (kind == 2)
        scales[64 * kit_below(2) + first + kit_below(n)] = kit_below(2) ? INFINITY : NAN;
    c->attn8_block(&a);
    a.o = have;
    a.state = sh;
    a.next_k = a.k; /* only to prefetch */
    a.next_k_scales = a.k_scales;
    k->attn8_block(&a);
    snprintf(what, sizeof what, "int8, %u heads of %u, positions %u + %u, kind %d", group, head_dim,
             first, n, kind);
    same_states(sw, sh, group, what);
    kit_same_floats(want, have, values, what);
    kit_free(q);
    kit_free(kv);
    kit_free(want);
    kit_free(have);
    kit_free(scales);
    kit_free(q_scales);
    kit_free(sums);
    kit_free(sw);
    kit_free(sh);
    kit_free(a.scratch);
}

void test_greedy(const struct kernels *c, const struct kernels *k)
{
    uint32_t i, n, j;
    for (i = 0; i < 200; i++) {
        float *x;
        kit_start("greedy");
        for (j = 0; j < i; j++)
            kit_u64();
        n = 1 + kit_below(i % 3 ? 70 : 3000);
        x = kit_alloc(4u * n, 4 * (i % 5));
        kit_fill(x, n, (int)(i % KIT_FILLS));
        for (j = 0; j < n && i % 4 == 1; j++) /* many equals, of both signs of zero */
            x[j] = kit_below(3) ? (float)kit_below(2) : -0.0f;
        for (j = 0; j < n && i % 4 == 2; j++)
            x[j] = kit_below(9) ? NAN : kit_below(2) ? -INFINITY : x[j];
        for (j = 0; j < n && i % 16 == 3; j++)
            x[j] = NAN;
        if (k->greedy(x, n) != c->greedy(x, n))
            kit_fail("greedy over %u, case %u: %u instead of %u", n, i, k->greedy(x, n),
                     c->greedy(x, n));
        kit_free(x);
    }
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
                one8(c, k, group, dims[d], first, n, (int)(i + group) % 4);
            }
}
