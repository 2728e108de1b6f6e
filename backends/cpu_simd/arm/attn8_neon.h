/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_ATTN8_NEON_H
#define Q35_CPU_ATTN8_NEON_H

/* Attention over one page of keys and values in int8 with NEON; what includes this defines
 * mla16(sum, k, q), which adds 16 products to four words, and NAME(). */

#include "attn_neon.h"

/* s[head][64] of position j. */
static void scores8(const struct attn_args *a, uint32_t j, float *s)
{
    const int8_t *k = (const int8_t *)a->k + (uint64_t)j * a->head_dim, *q = a->q8;
    uint32_t h, i;
    for (h = 0; h < a->group; h++, q += a->q_stride) {
        int32x4_t sum = vdupq_n_s32(0);
        for (i = 0; i < a->head_dim; i += 16)
            sum = mla16(sum, vld1q_s8(k + i), vld1q_s8(q + i));
        s[64 * h + j] = q35_attn_score8(vaddvq_s32(sum), a->q_scales[h], a->k_scales[j], a->scale);
    }
}

/* 16 values of o of head h from column d on. p: probabilities times the scales of the values. */
static void values8(const struct attn_args *a, const float *p, uint32_t h, uint32_t d)
{
    float32x4_t o[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    uint32_t j, v;
    for (j = a->first; j < a->first + a->n; j++) {
        int8x16_t row = vld1q_s8((const int8_t *)a->v + (uint64_t)j * a->head_dim + d);
        int16x8_t lo = vmovl_s8(vget_low_s8(row)), hi = vmovl_s8(vget_high_s8(row));
        float32x4_t w = vdupq_n_f32(p[64 * h + j]);
        o[0] = vfmaq_f32(o[0], w, vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))));
        o[1] = vfmaq_f32(o[1], w, vcvtq_f32_s32(vmovl_s16(vget_high_s16(lo))));
        o[2] = vfmaq_f32(o[2], w, vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))));
        o[3] = vfmaq_f32(o[3], w, vcvtq_f32_s32(vmovl_s16(vget_high_s16(hi))));
    }
    for (v = 0; v < 4; v++)
        vst1q_f32(a->o + (uint64_t)h * a->head_dim + d + 4 * v, o[v]);
}

static void NAME(attn8_block)(const struct attn_args *a)
{
    float *s = a->scratch; /* [group][64] */
    struct kernels plain;
    uint32_t h, j, d;
    if (a->head_dim % 16)
        goto plain_c;
    for (j = a->first; j < a->first + a->n; j++)
        scores8(a, j, s);
    for (h = 0; h < a->group; h++) {
        if (!softmax(a->first, a->n, s + 64 * h, &a->state[h]))
            goto plain_c;
        for (j = a->first; j < a->first + a->n; j++)
            s[64 * h + j] = s[64 * h + j] * a->v_scales[j];
    }
    for (h = 0; h < a->group; h++)
        for (d = 0; d < a->head_dim; d += 16)
            values8(a, s, h, d);
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn8_block(a);
}

#endif
