/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page of keys and values in int8 with AVX2, and the greatest of many logits. */

#include "attn_avx2.h"

/* The sum of 16 products in 8 words. */
static inline __m256i madd16(const int8_t *k, const int8_t *q)
{
    return _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)k)),
                             _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)q)));
}

static inline int32_t sum8(__m256i a)
{
    __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(b, _mm_shuffle_epi32(b, 0xb1)));
}

/* s[head][64] of position j. */
static void scores(const struct attn_args *a, uint32_t j, float *s)
{
    const int8_t *k = (const int8_t *)a->k + (uint64_t)j * a->head_dim, *q = a->q8;
    uint32_t h, i;
    for (i = 0; i < a->head_dim; i += 64)
        _mm_prefetch((const char *)a->v + (uint64_t)j * a->head_dim + i, _MM_HINT_T0);
    for (h = 0; h < a->group; h++, q += a->q_stride) {
        __m256i sum = madd16(k, q);
        for (i = 16; i < a->head_dim; i += 16)
            sum = _mm256_add_epi32(sum, madd16(k + i, q + i));
        s[64 * h + j] = q35_attn_score8(sum8(sum), a->q_scales[h], a->k_scales[j], a->scale);
    }
}

static inline __m256 load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

/* o of `heads` heads from head h on, 16 values of it from column d on. p: probabilities times the
 * scales of the values. */
static inline __attribute__((always_inline)) void
values16(const struct attn_args *a, const float *p, uint32_t h, uint32_t d, const uint32_t heads)
{
    __m256 o[4][2];
    uint32_t i, j;
    for (i = 0; i < heads; i++)
        o[i][0] = o[i][1] = _mm256_setzero_ps();
    for (j = a->first; j < a->first + a->n; j++) {
        uint64_t at = (uint64_t)j * a->head_dim + d;
        const int8_t *row = (const int8_t *)a->v + at;
        __m256 v0 = load_i8(row), v1 = load_i8(row + 8);
        if (a->next_k && h == 0 && d % 64 == 0)
            _mm_prefetch((const char *)a->next_k + at, _MM_HINT_T0);
        for (i = 0; i < heads; i++) {
            __m256 w = _mm256_set1_ps(p[64 * (h + i) + j]);
            o[i][0] = _mm256_fmadd_ps(w, v0, o[i][0]);
            o[i][1] = _mm256_fmadd_ps(w, v1, o[i][1]);
        }
    }
    for (i = 0; i < heads; i++) {
        float *to = a->o + (uint64_t)(h + i) * a->head_dim + d;
        _mm256_storeu_ps(to, o[i][0]);
        _mm256_storeu_ps(to + 8, o[i][1]);
    }
}

static void attn8_block_avx2(const struct attn_args *a)
{
    float *s = a->scratch; /* [group][64] */
    struct kernels plain;
    uint32_t h, j, d;
    if (a->head_dim % 16)
        goto plain_c;
    for (j = a->first; j < a->first + a->n; j++)
        scores(a, j, s);
    for (h = 0; h < a->group; h++) {
        if (!softmax(a->first, a->n, s + 64 * h, &a->state[h]))
            goto plain_c;
        for (j = a->first; j < a->first + a->n; j++)
            s[64 * h + j] = s[64 * h + j] * a->v_scales[j];
    }
    for (d = 0; d < a->head_dim; d += 16) {
        for (h = 0; h + 4 <= a->group; h += 4)
            values16(a, s, h, d, 4);
        for (; h < a->group; h++)
            values16(a, s, h, d, 1);
    }
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn8_block(a);
}

/* The greatest value first, then where it stands. */
static uint32_t greedy_avx2(const float *x, uint32_t n)
{
    __m256 top0 = _mm256_set1_ps(-INFINITY), top1 = top0;
    float lane[8], top = -INFINITY;
    uint32_t i, whole = n & ~15u;
    for (i = 0; i < whole; i += 16) { /* max_ps(a, b) is a > b ? a : b: a NaN is left out */
        top0 = _mm256_max_ps(_mm256_loadu_ps(x + i), top0);
        top1 = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), top1);
    }
    _mm256_storeu_ps(lane, _mm256_max_ps(top0, top1));
    for (i = 0; i < 8; i++)
        top = lane[i] > top ? lane[i] : top;
    for (i = whole; i < n; i++)
        top = x[i] > top ? x[i] : top;
    for (i = 0; i < whole; i += 8) {
        __m256 same = _mm256_cmp_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(top), _CMP_EQ_OQ);
        int bits = _mm256_movemask_ps(same);
        if (bits)
            return i + (uint32_t)__builtin_ctz((unsigned)bits);
    }
    for (; i < n; i++)
        if (x[i] == top)
            return i;
    return 0; /* nothing but NaN */
}

void q35_cpu_install_avx2_attn8(struct kernels *k)
{
    k->attn8_block = attn8_block_avx2;
    k->greedy = greedy_avx2;
}
