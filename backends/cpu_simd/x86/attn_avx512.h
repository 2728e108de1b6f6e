/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_ATTN_AVX512_H
#define Q35_CPU_ATTN_AVX512_H

/* What attention over binary16 and over int8 share. Every product is one multiply-add, and the CPU
 * does two in a cycle: all else has to fit beside them. Lines of memory are asked for one by one
 * through the whole page: its values during the scores, the next page's keys during the values. */

#include "../kernels.h"
#include "avx512.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void prefetch(const void *line)
{
    _mm_prefetch((const char *)line, _MM_HINT_NTA); /* read once */
}

/* s[group][64]: scores become probabilities, times factors[64] unless NULL; positions outside
 * become 0. False if a score is NaN. Step by step over all heads, as each step waits for its own
 * results. */
static inline int softmax64(const struct attn_args *a, float *s, const float *factors)
{
    const __m512 low = _mm512_set1_ps(-INFINITY);
    uint64_t in = (a->n == 64 ? ~0ull : (1ull << a->n) - 1u) << a->first;
    __mmask16 m[4] = {(__mmask16)in, (__mmask16)(in >> 16), (__mmask16)(in >> 32),
                      (__mmask16)(in >> 48)};
    __m512 sums[ATTN_GROUP];
    uint32_t h, i;
    int nan = 0;
    for (h = 0; h < a->group; h++) {
        __m512 v[4];
        UNROLL
        for (i = 0; i < 4; i++)
            v[i] = _mm512_mask_loadu_ps(low, m[i], s + 64 * h + 16 * i);
        nan |= _mm512_cmp_ps_mask(v[0], v[1], _CMP_UNORD_Q) |
               _mm512_cmp_ps_mask(v[2], v[3], _CMP_UNORD_Q);
        a->state[h].m = _mm512_reduce_max_ps(
            _mm512_max_ps(_mm512_max_ps(v[0], v[1]), _mm512_max_ps(v[2], v[3])));
    }
    if (nan)
        return 0;
    for (h = 0; h < a->group; h++) {
        __m512 max = _mm512_set1_ps(a->state[h].m);
        sums[h] = _mm512_setzero_ps();
        UNROLL
        for (i = 0; i < 4; i++) { /* -inf outside: the probability is 0 */
            float *at = s + 64 * h + 16 * i;
            __m512 p = exp_ps(_mm512_sub_ps(_mm512_mask_loadu_ps(low, m[i], at), max));
            sums[h] = _mm512_add_ps(sums[h], p);
            if (factors)
                p = _mm512_mul_ps(p, _mm512_loadu_ps(factors + 16 * i));
            _mm512_storeu_ps(at, p);
        }
    }
    for (h = 0; h < a->group; h++)
        a->state[h].l = tree16_one(sums[h]);
    return 1;
}

/* 16 values of a page, widened. */
typedef __m512 load_fn(const void *values);

/* o of `heads` heads from h on, `vectors` times 16 values of it from column d on. p[group][64]. */
INLINE void values_of(const struct attn_args *a, load_fn *load, const uint32_t width,
                      const float *p, uint32_t h, uint32_t d, const uint32_t heads,
                      const uint32_t vectors)
{
    __m512 o[8][2];
    uint32_t i, j, c, end = a->first + a->n;
    UNROLL
    for (i = 0; i < heads; i++)
        UNROLL
    for (c = 0; c < vectors; c++)
        o[i][c] = _mm512_setzero_ps();
    for (j = a->first; j < end; j++) {
        const uint8_t *row = (const uint8_t *)a->v + ((uint64_t)j * a->head_dim + d) * width;
        const float *pj = p + 64 * (uint64_t)h + j;
        __m512 v[2];
        UNROLL
        for (c = 0; c < vectors; c++)
            v[c] = load(row + 16 * width * c);
        if (a->next_k && h == 0 && 2 * d + j < a->head_dim * width) /* a line of the next keys */
            prefetch((const uint8_t *)a->next_k + 64 * (2 * d + j));
        UNROLL
        for (i = 0; i < heads; i++) {
            __m512 w = _mm512_set1_ps(pj[64 * i]);
            UNROLL
            for (c = 0; c < vectors; c++)
                o[i][c] = _mm512_fmadd_ps(w, v[c], o[i][c]);
        }
    }
    UNROLL
    for (i = 0; i < heads; i++)
        UNROLL
    for (c = 0; c < vectors; c++)
        _mm512_storeu_ps(a->o + (uint64_t)(h + i) * a->head_dim + d + 16 * c, o[i][c]);
}

/* o of all heads. `load` widens 16 values of `width` bytes. */
INLINE void attn_values(const struct attn_args *a, load_fn *load, const uint32_t width,
                        const float *p)
{
    uint32_t d, h;
    for (d = 0; d + 32 <= a->head_dim; d += 32) {
        for (h = 0; h + 8 <= a->group; h += 8)
            values_of(a, load, width, p, h, d, 8, 2);
        for (; h + 4 <= a->group; h += 4)
            values_of(a, load, width, p, h, d, 4, 2);
        for (; h < a->group; h++)
            values_of(a, load, width, p, h, d, 1, 2);
    }
    for (h = 0; d < a->head_dim && h < a->group; h++)
        values_of(a, load, width, p, h, d, 1, 1);
}

#endif
