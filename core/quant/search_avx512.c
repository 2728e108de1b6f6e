/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi")))

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

static const int16_t iota[32]
    __attribute__((aligned(64))) = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

AVX512 static inline __m512i load(const void *p)
{
    return _mm512_load_si512(p);
}

/* What the costs are taken for: the pair, the third weight, half of their squares. */
struct point {
    __m512i x, z, half;
    bool third;
};

/* 32 branch costs from entry i of a table of pairs, t2 the third: (norm - 2 t.x + half) >> 7,
 * saturated. */
AVX512 static inline __m512i branch(const int16_t *t, const int16_t *t2, const int32_t *norm,
                                    uint32_t i, const struct point *p)
{
    const __m512i half = p->half;
    __m512i d0 = _mm512_madd_epi16(load(t + 2 * i), p->x);
    __m512i d1 = _mm512_madd_epi16(load(t + 2 * i + 32), p->x);
    if (p->third) {
        d0 = _mm512_add_epi32(d0, _mm512_madd_epi16(load(t2 + 2 * i), p->z));
        d1 = _mm512_add_epi32(d1, _mm512_madd_epi16(load(t2 + 2 * i + 32), p->z));
    }
    d0 = _mm512_slli_epi32(d0, 1);
    d1 = _mm512_slli_epi32(d1, 1);
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

AVX512 static inline struct point point(const int16_t *x, bool third)
{
    int32_t z = third ? x[2] : 0;
    return (struct point){pair(x), _mm512_set1_epi32(z & 0xffff),
                          _mm512_set1_epi32((x[0] * x[0] + x[1] * x[1] + z * z) >> 1), third};
}

AVX512 static inline int16_t least(__m512i v)
{
    __m256i a = _mm256_min_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i b = _mm_min_epi16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    /* phminposuw is unsigned: shift the range */
    b = _mm_minpos_epu16(_mm_xor_si128(b, _mm_set1_epi16(INT16_MIN)));
    return (int16_t)(_mm_extract_epi16(b, 0) ^ 0x8000);
}

AVX512 static void step_avx512(const struct q35_search *s, const int16_t *x, const int16_t *cost,
                               int16_t *trans, int16_t *next)
{
    const struct point at = point(x, s->third);
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
        c = _mm512_adds_epi16(c, branch(s->b[0], s->b2[0], s->b_norm, i, &at));
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
    m0 = _mm512_adds_epi16(m0, branch(s->a[0], s->a2[0], s->a_norm, 0, &at));
    m1 = _mm512_adds_epi16(m1, branch(s->a[0], s->a2[0], s->a_norm, 32, &at));
    m2 = _mm512_adds_epi16(m2, branch(s->a[0], s->a2[0], s->a_norm, 64, &at));
    m3 = _mm512_adds_epi16(m3, branch(s->a[0], s->a2[0], s->a_norm, 96, &at));
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
        if (s->third) {
            __m512i z = pair(s->a2[code]);
            d0 = _mm512_add_epi32(d0, _mm512_madd_epi16(load(s->b2 + 32 * i), z));
            d1 = _mm512_add_epi32(d1, _mm512_madd_epi16(load(s->b2 + 32 * i + 16), z));
        }
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
    const struct point at = point(x, false);
    uint32_t i;
    for (i = 0; i < 128; i += 32)
        _mm512_storeu_si512(out + i, branch(table, table, norm, i, &at));
}

/* States of a ring as the way from them is looked for: trans = cost + u[h], and those that go on.
 */
struct ring_from {
    int16_t trans[Q35_RING_WAYS][128];
    uint16_t h[Q35_RING_WAYS][128];
    uint8_t list[Q35_RING_WAYS + 1][128]; /* [n]: codes of which n states go on */
    uint32_t count[Q35_RING_WAYS + 1];
};

AVX512 static void ring_from(const struct q35_search *s, const int16_t *u, const uint16_t *now,
                             uint32_t low, struct ring_from *f)
{
    const __m512i lows = _mm512_set1_epi16((int16_t)(low << 7)), seven = _mm512_set1_epi16(127);
    const __m512i prune = _mm512_set1_epi16(Q35_RING_PRUNE), half = _mm512_set1_epi16(64);
    __m512i u0 = load(u), u1 = load(u + 32), u2 = load(u + 64), u3 = load(u + 96), p;
    uint64_t mask[Q35_RING_WAYS + 1][2] = {{0}}, bits;
    uint32_t k, q;
    for (q = 0; q < 4; q++) {
        p = _mm512_add_epi16(load(iota), _mm512_set1_epi16((int16_t)(32 * q)));
        for (k = 0; k < s->ways; k++) {
            __m512i state = _mm512_subs_epu16(_mm512_loadu_si512(now + 128 * k + 32 * q), lows);
            __m512i cost = _mm512_srli_epi16(state, 7);
            __m512i h = _mm512_xor_si512(_mm512_and_si512(state, seven), p);
            __m512i t = _mm512_mask_blend_epi16(_mm512_test_epi16_mask(h, half),
                                                _mm512_permutex2var_epi16(u0, h, u1),
                                                _mm512_permutex2var_epi16(u2, h, u3));
            _mm512_storeu_si512(f->trans[k] + 32 * q, _mm512_adds_epi16(cost, t));
            _mm512_storeu_si512(f->h[k] + 32 * q, h);
            bits = (uint32_t)_mm512_cmple_epi16_mask(cost, prune);
            mask[k][q / 2] |= bits << 32 * (q & 1);
        }
    }
    for (k = 1; k <= s->ways; k++)
        for (f->count[k] = 0, q = 0; q < 2; q++)
            for (bits = mask[k - 1][q] & ~mask[k][q]; bits; bits &= bits - 1)
                f->list[k][f->count[k]++] = (uint8_t)(64 * q + (uint32_t)__builtin_ctzll(bits));
}

/* next[.][c] of 32 * width codes c from `from` on; returns the least of them. Inlined for each
 * number of ways, so that the lists stay in 16 registers. */
AVX512 static inline __attribute__((always_inline)) __m512i
ring_codes(const struct q35_search *s, const struct ring_from *f, const int16_t *v, int32_t base,
           const uint32_t ways, const uint32_t width, uint32_t from, uint16_t *next)
{
    const __m512i top = _mm512_set1_epi16(Q35_RING_TOP);
    const __m512i less = _mm512_set1_epi16((int16_t)(base - Q35_RING_FLOOR));
    __m512i best[Q35_RING_WAYS][4], m[4], add[4], low = _mm512_set1_epi16(-1);
    uint32_t n, i, k, q;
    UNROLL for (q = 0; q < width; q++)
    {
        add[q] = _mm512_subs_epi16(load(v + from + 32 * q), less);
        UNROLL for (k = 0; k < ways; k++) best[k][q] = low;
    }
    UNROLL for (n = 1; n <= ways; n++) for (i = 0; i < f->count[n]; i++)
    {
        uint32_t p = f->list[n][i];
        __m512i code = _mm512_set1_epi16((int16_t)p), t;
        UNROLL for (k = 0; k < n; k++)
        {
            const int16_t *row = s->cross[f->h[k][p]] + from;
            t = _mm512_set1_epi16(f->trans[k][p]);
            UNROLL for (q = 0; q < width; q++)
            {
                __m512i a = _mm512_adds_epi16(t, load(row + 32 * q));
                m[q] = k ? _mm512_min_epi16(m[q], a) : a;
            }
        }
        UNROLL for (q = 0; q < width; q++)
        {
            t = _mm512_min_epu16(_mm512_adds_epi16(m[q], add[q]), top);
            t = _mm512_or_si512(_mm512_slli_epi16(t, 7), code);
            UNROLL for (k = 0; k < ways; k++)
            {
                __m512i old = best[k][q];
                best[k][q] = _mm512_min_epu16(old, t);
                t = _mm512_max_epu16(old, t);
            }
        }
    }
    UNROLL for (q = 0; q < width; q++)
    {
        low = _mm512_min_epu16(low, best[0][q]);
        UNROLL for (k = 0; k < ways; k++)
            _mm512_storeu_si512(next + 128 * k + from + 32 * q, best[k][q]);
    }
    return low;
}

AVX512 static uint32_t ring_avx512(const struct q35_search *s, const int16_t x[2],
                                   const uint16_t *now, uint32_t low, int32_t base, uint16_t *next)
{
    struct ring_from f;
    int16_t u[128] __attribute__((aligned(64))), v[128] __attribute__((aligned(64)));
    __m512i all = _mm512_set1_epi16(-1);
    __m256i half;
    __m128i a;
    uint32_t c;
    terms_avx512(s->b[0], s->b_norm, x, u);
    terms_avx512(s->a[0], s->a_norm, x, v);
    ring_from(s, u, now, low, &f);
    if (s->ways == 4)
        all = ring_codes(s, &f, v, base, 4, 4, 0, next);
    for (c = 0; c < 128 && s->ways == 8; c += 64)
        all = _mm512_min_epu16(all, ring_codes(s, &f, v, base, 8, 2, c, next));
    for (c = 0; c < 128 && s->ways == 12; c += 64)
        all = _mm512_min_epu16(all, ring_codes(s, &f, v, base, 12, 2, c, next));
    for (c = 0; c < 128 && s->ways == 16; c += 32)
        all = _mm512_min_epu16(all, ring_codes(s, &f, v, base, 16, 1, c, next));
    half = _mm256_min_epu16(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    a = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return (uint32_t)_mm_extract_epi16(_mm_minpos_epu16(a), 0) >> 7;
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
    .ring = ring_avx512,
    .nearest = nearest_avx512,
};
#endif
