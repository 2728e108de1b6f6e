/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_ATTN_AVX2_H
#define Q35_CPU_ATTN_AVX2_H

/* What attention over binary16 and over int8 share. */

#include "../kernels.h"
#include "avx2.h"

void q35_cpu_install_avx2_attn8(struct kernels *k);

/* Scores of one head become probabilities; positions outside become 0. False if one is NaN. */
static inline int softmax(uint32_t first, uint32_t n, float *s, struct q35_attn_state *state)
{
    uint32_t j, end = first + n;
    __m256 lo = _mm256_setzero_ps(), hi = lo, m;
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
    m = _mm256_set1_ps(state->m);
    for (j = 0; j < 64; j += 16) {
        __m256 p = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(s + j), m));
        __m256 r = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(s + j + 8), m));
        _mm256_storeu_ps(s + j, p);
        _mm256_storeu_ps(s + j + 8, r);
        lo = _mm256_add_ps(lo, p);
        hi = _mm256_add_ps(hi, r);
    }
    state->l = tree16_avx2(lo, hi);
    return 1;
}

#endif
