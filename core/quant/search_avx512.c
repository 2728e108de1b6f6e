/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi")))

AVX512 static inline __m512i load(const void *p)
{
    return _mm512_load_si512(p);
}

/* 32 branch costs from entry i of a table of pairs: (norm - 2 t.x + half) >> 7, saturated. */
AVX512 static inline __m512i branch(const int16_t *t, const int32_t *norm, uint32_t i, __m512i x,
                                    __m512i half)
{
    __m512i d0 = _mm512_slli_epi32(_mm512_madd_epi16(load(t + 2 * i), x), 1);
    __m512i d1 = _mm512_slli_epi32(_mm512_madd_epi16(load(t + 2 * i + 32), x), 1);
    d0 = _mm512_add_epi32(_mm512_sub_epi32(load(norm + i), d0), half);
    d1 = _mm512_add_epi32(_mm512_sub_epi32(load(norm + i + 16), d1), half);
    return _mm512_inserti64x4(
        _mm512_castsi256_si512(_mm512_cvtsepi32_epi16(_mm512_srai_epi32(d0, 7))),
        _mm512_cvtsepi32_epi16(_mm512_srai_epi32(d1, 7)), 1);
}

AVX512 static inline __m512i pair(const int16_t x[2])
{
    int32_t v;
    memcpy(&v, x, 4);
    return _mm512_set1_epi32(v);
}

AVX512 static inline int16_t least(__m512i v)
{
    __m256i a = _mm256_min_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i b = _mm_min_epi16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    /* phminposuw is unsigned: shift the range */
    b = _mm_minpos_epu16(_mm_xor_si128(b, _mm_set1_epi16(INT16_MIN)));
    return (int16_t)(_mm_extract_epi16(b, 0) ^ 0x8000);
}

AVX512 static void step_avx512(const struct q35_search *s, const int16_t x[2], const int16_t *cost,
                               int16_t *trans, int16_t *next)
{
    __m512i xv = pair(x), half = _mm512_set1_epi32((x[0] * x[0] + x[1] * x[1]) >> 1);
    __m512i top = _mm512_set1_epi16(INT16_MAX), prune = _mm512_set1_epi16(s->prune);
    __m512i m0 = top, m1 = top, m2 = top, m3 = top, low;
    uint32_t i;
    for (i = 0; i < 128; i += 32) {
        __m512i c = _mm512_loadu_si512(cost + i);
        __mmask32 keep = _mm512_cmple_epi16_mask(c, prune);
        uint32_t bits = (uint32_t)keep;
        if (!bits) {
            _mm512_storeu_si512(trans + i, top);
            continue;
        }
        c = _mm512_adds_epi16(c, branch(s->b[0], s->b_norm, i, xv, half));
        _mm512_storeu_si512(trans + i, _mm512_mask_blend_epi16(keep, top, c));
        for (; bits; bits &= bits - 1) {
            uint32_t p = i + (uint32_t)__builtin_ctz(bits);
            const int16_t *row = s->cross[p];
            __m512i t = _mm512_set1_epi16(trans[p]);
            m0 = _mm512_min_epi16(m0, _mm512_adds_epi16(t, load(row)));
            m1 = _mm512_min_epi16(m1, _mm512_adds_epi16(t, load(row + 32)));
            m2 = _mm512_min_epi16(m2, _mm512_adds_epi16(t, load(row + 64)));
            m3 = _mm512_min_epi16(m3, _mm512_adds_epi16(t, load(row + 96)));
        }
    }
    m0 = _mm512_adds_epi16(m0, branch(s->a[0], s->a_norm, 0, xv, half));
    m1 = _mm512_adds_epi16(m1, branch(s->a[0], s->a_norm, 32, xv, half));
    m2 = _mm512_adds_epi16(m2, branch(s->a[0], s->a_norm, 64, xv, half));
    m3 = _mm512_adds_epi16(m3, branch(s->a[0], s->a_norm, 96, xv, half));
    low = _mm512_min_epi16(_mm512_min_epi16(m0, m1), _mm512_min_epi16(m2, m3));
    low = _mm512_set1_epi16(least(low));
    _mm512_storeu_si512(next, _mm512_subs_epi16(m0, low));
    _mm512_storeu_si512(next + 32, _mm512_subs_epi16(m1, low));
    _mm512_storeu_si512(next + 64, _mm512_subs_epi16(m2, low));
    _mm512_storeu_si512(next + 96, _mm512_subs_epi16(m3, low));
}

/* The index of the first of the 128 least values. */
AVX512 static inline uint32_t first_least(const __m512i v[4])
{
    __m512i low = _mm512_min_epi16(_mm512_min_epi16(v[0], v[1]), _mm512_min_epi16(v[2], v[3]));
    uint32_t i, bits;
    low = _mm512_set1_epi16(least(low));
    for (i = 0; i < 3; i++) {
        bits = (uint32_t)_mm512_cmpeq_epi16_mask(v[i], low);
        if (bits)
            return 32 * i + (uint32_t)__builtin_ctz(bits);
    }
    return 96 + (uint32_t)__builtin_ctz((uint32_t)_mm512_cmpeq_epi16_mask(v[3], low));
}

AVX512 static uint32_t back_avx512(const struct q35_search *s, const int16_t *trans, uint32_t code)
{
    __m512i xv = pair(s->a[code]), top = _mm512_set1_epi16(INT16_MAX), v[4];
    uint32_t i;
    for (i = 0; i < 4; i++) { /* cross[p][code] afresh: its column would be 128 strided loads */
        __m512i t = _mm512_loadu_si512(trans + 32 * i);
        __m512i d0 = _mm512_madd_epi16(load(s->b + 32 * i), xv);
        __m512i d1 = _mm512_madd_epi16(load(s->b + 32 * i + 16), xv);
        __m512i d = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm512_cvtsepi32_epi16(_mm512_srai_epi32(d0, 6))),
            _mm512_cvtsepi32_epi16(_mm512_srai_epi32(d1, 6)), 1);
        v[i] =
            _mm512_mask_blend_epi16(_mm512_cmpeq_epi16_mask(t, top), _mm512_adds_epi16(t, d), top);
    }
    return first_least(v);
}

AVX512 static void terms_avx512(const int16_t *table, const int32_t *norm, const int16_t x[2],
                                int16_t *out)
{
    __m512i xv = pair(x), half = _mm512_set1_epi32((x[0] * x[0] + x[1] * x[1]) >> 1);
    uint32_t i;
    for (i = 0; i < 128; i += 32)
        _mm512_storeu_si512(out + i, branch(table, norm, i, xv, half));
}

AVX512 static void expand_avx512(const struct q35_search *s, const uint8_t *h, const int16_t *trans,
                                 uint32_t n, const int16_t *v, int16_t *low, int16_t prune,
                                 int16_t *next, uint32_t mask[4])
{
    __m512i m0 = _mm512_set1_epi16(INT16_MAX), m1 = m0, m2 = m0, m3 = m0, all, limit;
    uint32_t i;
    int16_t least_here;
    for (i = 0; i < n; i++) {
        const int16_t *row = s->cross[h[i]];
        __m512i t = _mm512_set1_epi16(trans[i]);
        m0 = _mm512_min_epi16(m0, _mm512_adds_epi16(t, load(row)));
        m1 = _mm512_min_epi16(m1, _mm512_adds_epi16(t, load(row + 32)));
        m2 = _mm512_min_epi16(m2, _mm512_adds_epi16(t, load(row + 64)));
        m3 = _mm512_min_epi16(m3, _mm512_adds_epi16(t, load(row + 96)));
    }
    m0 = _mm512_adds_epi16(m0, _mm512_loadu_si512(v));
    m1 = _mm512_adds_epi16(m1, _mm512_loadu_si512(v + 32));
    m2 = _mm512_adds_epi16(m2, _mm512_loadu_si512(v + 64));
    m3 = _mm512_adds_epi16(m3, _mm512_loadu_si512(v + 96));
    all = _mm512_min_epi16(_mm512_min_epi16(m0, m1), _mm512_min_epi16(m2, m3));
    least_here = least(all);
    *low = least_here < *low ? least_here : *low;
    limit = _mm512_adds_epi16(_mm512_set1_epi16(*low), _mm512_set1_epi16(prune));
    mask[0] = (uint32_t)_mm512_cmple_epi16_mask(m0, limit);
    mask[1] = (uint32_t)_mm512_cmple_epi16_mask(m1, limit);
    mask[2] = (uint32_t)_mm512_cmple_epi16_mask(m2, limit);
    mask[3] = (uint32_t)_mm512_cmple_epi16_mask(m3, limit);
    _mm512_storeu_si512(next, m0);
    _mm512_storeu_si512(next + 32, m1);
    _mm512_storeu_si512(next + 64, m2);
    _mm512_storeu_si512(next + 96, m3);
}

AVX512 static uint32_t nearest_avx512(const struct q35_search *s, const int16_t x[2])
{
    __m512i xv = pair(x), v[8], low;
    uint32_t i;
    for (i = 0; i < 8; i++) {
        __m512i d = _mm512_slli_epi32(_mm512_madd_epi16(load(s->a + 16 * i), xv), 1);
        v[i] = _mm512_sub_epi32(load(s->a_norm + 16 * i), d);
    }
    low = v[0];
    for (i = 1; i < 8; i++)
        low = _mm512_min_epi32(low, v[i]);
    low = _mm512_set1_epi32(_mm512_reduce_min_epi32(low));
    for (i = 0; i < 7; i++) {
        uint32_t bits = (uint32_t)_mm512_cmpeq_epi32_mask(v[i], low);
        if (bits)
            return 16 * i + (uint32_t)__builtin_ctz(bits);
    }
    return 112 + (uint32_t)__builtin_ctz((uint32_t)_mm512_cmpeq_epi32_mask(v[7], low));
}

const struct q35_search_kernels q35_search_kernels_avx512 = {
    .name = "avx512",
    .step = step_avx512,
    .back = back_avx512,
    .terms = terms_avx512,
    .expand = expand_avx512,
    .nearest = nearest_avx512,
};
#endif
