/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_ATTN_AVX512_H
#define Q35_CPU_ATTN_AVX512_H

/* What attention over binary16 and over int8 share. */

#include "../kernels.h"
#include "avx512.h"

/* Scores of one head become probabilities; positions outside become 0. False if one is NaN. */
static inline int softmax64(uint32_t first, uint32_t n, float *s, struct q35_attn_state *state)
{
    const __m512 low = _mm512_set1_ps(-INFINITY);
    uint64_t in = (n == 64 ? ~0ull : (1ull << n) - 1u) << first;
    __m512 v[4], max = low, sum = _mm512_setzero_ps();
    int i, nan = 0;
    for (i = 0; i < 4; i++) {
        __mmask16 m = (__mmask16)(in >> (16 * i));
        v[i] = _mm512_mask_loadu_ps(low, m, s + 16 * i);
        nan |= _mm512_cmp_ps_mask(v[i], v[i], _CMP_UNORD_Q);
        max = _mm512_max_ps(max, v[i]);
    }
    if (nan)
        return 0;
    state->m = _mm512_reduce_max_ps(max);
    for (i = 0; i < 4; i++) { /* positions outside hold -inf: their probability is 0 */
        __m512 p = exp_ps(_mm512_sub_ps(v[i], _mm512_set1_ps(state->m)));
        _mm512_storeu_ps(s + 16 * i, p);
        sum = _mm512_add_ps(sum, p);
    }
    state->l = tree16_one(sum);
    return 1;
}

#endif
