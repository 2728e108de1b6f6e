/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "attn_neon.h"

#define NAME(op) op##_neon

static inline int32x4_t mla16(int32x4_t sum, int8x16_t k, int8x16_t q)
{
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(k), vget_low_s8(q)));
    return vpadalq_s16(sum, vmull_high_s8(k, q));
}

#include "attn8_neon.h"

/* The greatest value first, then where it stands. */
static uint32_t greedy_neon(const float *x, uint32_t n)
{
    float32x4_t top4 = vdupq_n_f32(-INFINITY);
    float lane[4], top = -INFINITY;
    uint32_t i, whole = n & ~3u;
    for (i = 0; i < whole; i += 4) {
        float32x4_t v = vld1q_f32(x + i);
        top4 = vbslq_f32(vcgtq_f32(v, top4), v, top4); /* a NaN is left out */
    }
    vst1q_f32(lane, top4);
    for (i = 0; i < 4; i++)
        top = lane[i] > top ? lane[i] : top;
    for (i = whole; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (i = 0; i < whole; i += 4)
        if (vmaxvq_u32(vceqq_f32(vld1q_f32(x + i), vdupq_n_f32(top))))
            break;
    for (; i < n; i++)
        if (x[i] == top)
            return i;
    return 0; /* nothing but NaN */
}

void q35_cpu_install_neon_attn8(struct kernels *k)
{
    k->attn8_block = attn8_block_neon;
    k->greedy = greedy_neon;
}
