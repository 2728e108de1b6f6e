/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_ATTN_NEON_H
#define Q35_CPU_ATTN_NEON_H

/* What attention over binary16 and over int8 share. */

#include "../kernels.h"
#include "neon.h"

void q35_cpu_install_neon_attn8(struct kernels *k);

/* Scores of one head become probabilities; positions outside become 0. False if one is NaN. */
static inline int softmax(uint32_t first, uint32_t n, float *s, struct q35_attn_state *state)
{
    float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    uint32_t j, v, end = first + n;
    state->m = s[first];
    for (j = first; j < end; j++) {
        if (s[j] != s[j])
            return 0;
        state->m = s[j] > state->m ? s[j] : state->m;
    }
    for (j = 0; j < first; j++)
        s[j] = -INFINITY;
    for (j = end; j < 64; j++)
        s[j] = -INFINITY;
    for (j = 0; j < 64; j += 16)
        for (v = 0; v < 4; v++) {
            float32x4_t p = vsubq_f32(vld1q_f32(s + j + 4 * v), vdupq_n_f32(state->m));
            p = exp_neon(p);
            vst1q_f32(s + j + 4 * v, p);
            sum[v] = vaddq_f32(sum[v], p);
        }
    state->l = tree16_neon(sum);
    return 1;
}

#endif
