/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page with NEON. Each key is widened from binary16 once for the group. */

#include "attn_neon.h"

static inline float32x4_t load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

/* s[head][64] of position j. */
static void scores(const struct attn_args *a, uint32_t j, float *s)
{
    float k[ATTN_HEAD_DIM];
    const float *q = a->q;
    uint32_t h, i, v;
    for (i = 0; i < a->head_dim; i += 4)
        vst1q_f32(k + i, load_f16((const uint16_t *)a->k + (uint64_t)j * a->head_dim + i));
    for (h = 0; h < a->group; h++, q += a->head_dim) {
        float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
        for (i = 0; i < a->head_dim; i += 16)
            for (v = 0; v < 4; v++)
                sum[v] = vfmaq_f32(sum[v], vld1q_f32(q + i + 4 * v), vld1q_f32(k + i + 4 * v));
        s[64 * h + j] = tree16_neon(sum) * a->scale;
    }
}

/* 16 values of o of head h from column d on. */
static void values16(const struct attn_args *a, const float *s, uint32_t h, uint32_t d)
{
    float32x4_t o[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    uint32_t j, v;
    for (j = a->first; j < a->first + a->n; j++) {
        const uint16_t *row = (const uint16_t *)a->v + (uint64_t)j * a->head_dim + d;
        float32x4_t p = vdupq_n_f32(s[64 * h + j]);
        for (v = 0; v < 4; v++)
            o[v] = vfmaq_f32(o[v], p, load_f16(row + 4 * v));
    }
    for (v = 0; v < 4; v++)
        vst1q_f32(a->o + (uint64_t)h * a->head_dim + d + 4 * v, o[v]);
}

static void attn_block_neon(const struct attn_args *a)
{
    float *s = a->scratch; /* [group][64] */
    struct kernels plain;
    uint32_t h, j, d;
    if (a->head_dim % 16)
        goto plain_c;
    for (j = a->first; j < a->first + a->n; j++)
        scores(a, j, s);
    for (h = 0; h < a->group; h++)
        if (!softmax(a->first, a->n, s + 64 * h, &a->state[h]))
            goto plain_c;
    for (h = 0; h < a->group; h++)
        for (d = 0; d < a->head_dim; d += 16)
            values16(a, s, h, d);
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn_block(a);
}

static void attn_merge_neon(struct q35_attn_state *st, float *o, const struct q35_attn_state *sb,
                            const float *ob, uint32_t group, uint32_t head_dim)
{
    uint32_t h, d;
    for (h = 0; h < group; h++, o += head_dim, ob += head_dim) {
        float m = sb[h].m > st[h].m ? sb[h].m : st[h].m;
        const float off[4] = {st[h].m - m, sb[h].m - m, 0, 0};
        float32x4_t e = exp_neon(vld1q_f32(off));
        float a = vgetq_lane_f32(e, 0), c = vgetq_lane_f32(e, 1);
        st[h].l = fmaf(sb[h].l, c, st[h].l * a);
        st[h].m = m;
        for (d = 0; d + 4 <= head_dim; d += 4)
            vst1q_f32(o + d, vfmaq_f32(vmulq_f32(vld1q_f32(o + d), vdupq_n_f32(a)),
                                       vld1q_f32(ob + d), vdupq_n_f32(c)));
        for (; d < head_dim; d++)
            o[d] = fmaf(ob[d], c, o[d] * a);
    }
}

void q35_cpu_install_neon_attn(struct kernels *k)
{
    k->attn_block = attn_block_neon;
    k->attn_merge = attn_merge_neon;
    q35_cpu_install_neon_attn8(k);
}
