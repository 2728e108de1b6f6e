/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,bmi")))

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

AVX2 static inline __m256i load(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

AVX2 static inline __m256i loadu(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

AVX2 static inline void storeu(void *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

/* Two vectors of int32 to one of int16, in order, saturated. */
AVX2 static inline __m256i narrow(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

/* What the costs are taken for: the pair, the third weight, half of their squares. */
struct point {
    __m256i x, z, half;
    bool third;
};

/* 16 branch costs from entry i of a table of pairs, t2 the third: (norm - 2 t.x + half) >> 7,
 * saturated. */
AVX2 static inline __m256i branch(const int16_t *t, const int16_t *t2, const int32_t *norm,
                                  uint32_t i, const struct point *p)
{
    const __m256i half = p->half;
    __m256i d0 = _mm256_madd_epi16(load(t + 2 * i), p->x);
    __m256i d1 = _mm256_madd_epi16(load(t + 2 * i + 16), p->x);
    if (p->third) {
        d0 = _mm256_add_epi32(d0, _mm256_madd_epi16(load(t2 + 2 * i), p->z));
        d1 = _mm256_add_epi32(d1, _mm256_madd_epi16(load(t2 + 2 * i + 16), p->z));
    }
    d0 = _mm256_slli_epi32(d0, 1);
    d1 = _mm256_slli_epi32(d1, 1);
    d0 = _mm256_add_epi32(_mm256_sub_epi32(load(norm + i), d0), half);
    d1 = _mm256_add_epi32(_mm256_sub_epi32(load(norm + i + 8), d1), half);
    return narrow(_mm256_srai_epi32(d0, 7), _mm256_srai_epi32(d1, 7));
}

AVX2 static inline __m256i pair(const int16_t x[2])
{
    int32_t v;
    memcpy(&v, x, 4);
    return _mm256_set1_epi32(v);
}

AVX2 static inline struct point point(const int16_t *x, bool third)
{
    int32_t z = third ? x[2] : 0;
    return (struct point){pair(x), _mm256_set1_epi32(z & 0xffff),
                          _mm256_set1_epi32((x[0] * x[0] + x[1] * x[1] + z * z) >> 1), third};
}

AVX2 static inline int16_t least(__m256i a)
{
    __m128i b = _mm_min_epi16(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    b = _mm_minpos_epu16(_mm_xor_si128(b, _mm_set1_epi16(INT16_MIN)));
    return (int16_t)(_mm_extract_epi16(b, 0) ^ 0x8000);
}

AVX2 static void step_avx2(const struct q35_search *s, const int16_t *x, const int16_t *cost,
                           int16_t *trans, int16_t *next)
{
    const struct point at = point(x, s->third);
    __m256i top = _mm256_set1_epi16(INT16_MAX), prune = _mm256_set1_epi16(s->prune);
    __m256i m[8], low;
    uint32_t i, k, n = 0;
    uint8_t list[128];
    for (i = 0; i < 128; i += 16) {
        __m256i c = loadu(cost + i), drop = _mm256_cmpgt_epi16(c, prune);
        uint32_t bits = ~(uint32_t)_mm256_movemask_epi8(drop) & 0x55555555u;
        c = _mm256_adds_epi16(c, branch(s->b[0], s->b2[0], s->b_norm, i, &at));
        storeu(trans + i, _mm256_blendv_epi8(c, top, drop));
        for (; bits; bits &= bits - 1)
            list[n++] = (uint8_t)(i + (uint32_t)__builtin_ctz(bits) / 2);
    }
    for (i = 0; i < 8; i++)
        m[i] = top;
    for (k = 0; k < n; k++) {
        const int16_t *row = s->cross[list[k]];
        __m256i t = _mm256_set1_epi16(trans[list[k]]);
        for (i = 0; i < 8; i++)
            m[i] = _mm256_min_epi16(m[i], _mm256_adds_epi16(t, load(row + 16 * i)));
    }
    for (i = 0; i < 8; i++)
        m[i] = _mm256_adds_epi16(m[i], branch(s->a[0], s->a2[0], s->a_norm, 16 * i, &at));
    low = m[0];
    for (i = 1; i < 8; i++)
        low = _mm256_min_epi16(low, m[i]);
    low = _mm256_set1_epi16(least(low));
    for (i = 0; i < 8; i++)
        storeu(next + 16 * i, _mm256_subs_epi16(m[i], low));
}

AVX2 static uint32_t back_avx2(const struct q35_search *s, const int16_t *trans, uint32_t code)
{
    __m256i xv = pair(s->a[code]), top = _mm256_set1_epi16(INT16_MAX), v[8], low;
    uint32_t i;
    for (i = 0; i < 8; i++) { /* cross[p][code] afresh: its column would be 128 strided loads */
        __m256i t = loadu(trans + 16 * i);
        __m256i d0 = _mm256_madd_epi16(load(s->b + 16 * i), xv);
        __m256i d1 = _mm256_madd_epi16(load(s->b + 16 * i + 8), xv);
        if (s->third) {
            __m256i z = pair(s->a2[code]);
            d0 = _mm256_add_epi32(d0, _mm256_madd_epi16(load(s->b2 + 16 * i), z));
            d1 = _mm256_add_epi32(d1, _mm256_madd_epi16(load(s->b2 + 16 * i + 8), z));
        }
        __m256i d = narrow(_mm256_srai_epi32(d0, 6), _mm256_srai_epi32(d1, 6));
        v[i] = _mm256_blendv_epi8(_mm256_adds_epi16(t, d), top, _mm256_cmpeq_epi16(t, top));
    }
    low = v[0];
    for (i = 1; i < 8; i++)
        low = _mm256_min_epi16(low, v[i]);
    low = _mm256_set1_epi16(least(low));
    for (i = 0; i < 7; i++) {
        uint32_t bits = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(v[i], low));
        if (bits)
            return 16 * i + (uint32_t)__builtin_ctz(bits) / 2;
    }
    return 112 +
           (uint32_t)__builtin_ctz((uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(v[7], low))) /
               2;
}

AVX2 static void terms_avx2(const int16_t *table, const int32_t *norm, const int16_t x[2],
                            int16_t *out)
{
    const struct point at = point(x, false);
    uint32_t i;
    for (i = 0; i < 128; i += 16)
        storeu(out + i, branch(table, table, norm, i, &at));
}

/* States of a ring as the way from them is looked for: trans = cost + u[h], and those that go on.
 */
struct ring_from {
    int16_t trans[Q35_RING_WAYS][128];
    uint8_t h[Q35_RING_WAYS][128];
    uint8_t list[128], ways[128]; /* codes of which states go on, and of how many */
    uint32_t count;
};

static void ring_from(const struct q35_search *s, const int16_t *u, const uint16_t *now,
                      uint32_t low, struct ring_from *f)
{
    uint32_t p, k;
    f->count = 0;
    for (p = 0; p < 128; p++) {
        for (k = 0; k < s->ways; k++) {
            uint32_t state = now[128 * k + p], cost = state >> 7 > low ? (state >> 7) - low : 0;
            uint32_t h = (state & 127) ^ p;
            int32_t t = (int32_t)cost + u[h];
            if (cost > Q35_RING_PRUNE)
                break;
            f->trans[k][p] = (int16_t)(t > INT16_MAX ? INT16_MAX : t);
            f->h[k][p] = (uint8_t)h;
        }
        f->list[f->count] = (uint8_t)p;
        f->ways[f->count] = (uint8_t)k;
        f->count += k > 0;
    }
}

/* next[.][c] of 16 codes c from `from` on; returns the least of them. Inlined for each number of
 * ways. */
AVX2 static inline __attribute__((always_inline)) __m256i
ring_codes(const struct q35_search *s, const struct ring_from *f, const int16_t *v, int32_t base,
           const uint32_t ways, uint32_t from, uint16_t *next)
{
    const __m256i top = _mm256_set1_epi16(Q35_RING_TOP);
    const __m256i less = _mm256_set1_epi16((int16_t)(base - Q35_RING_FLOOR));
    __m256i best[Q35_RING_WAYS], add = _mm256_subs_epi16(loadu(v + from), less);
    uint32_t i, k;
    UNROLL for (k = 0; k < ways; k++) best[k] = _mm256_set1_epi16(-1);
    for (i = 0; i < f->count; i++) {
        uint32_t p = f->list[i];
        __m256i m = _mm256_set1_epi16(INT16_MAX), t;
        for (k = 0; k < f->ways[i]; k++) {
            t = _mm256_set1_epi16(f->trans[k][p]);
            m = _mm256_min_epi16(m, _mm256_adds_epi16(t, load(s->cross[f->h[k][p]] + from)));
        }
        t = _mm256_min_epu16(_mm256_adds_epi16(m, add), top);
        t = _mm256_or_si256(_mm256_slli_epi16(t, 7), _mm256_set1_epi16((int16_t)p));
        UNROLL for (k = 0; k < ways; k++)
        {
            __m256i old = best[k];
            best[k] = _mm256_min_epu16(old, t);
            t = _mm256_max_epu16(old, t);
        }
    }
    UNROLL for (k = 0; k < ways; k++) storeu(next + 128 * k + from, best[k]);
    return best[0];
}

AVX2 static uint32_t ring_avx2(const struct q35_search *s, const int16_t x[2], const uint16_t *now,
                               uint32_t low, int32_t base, uint16_t *next)
{
    struct ring_from f;
    int16_t u[128], v[128];
    __m256i all = _mm256_set1_epi16(-1);
    __m128i a;
    uint32_t c;
    terms_avx2(s->b[0], s->b_norm, x, u);
    terms_avx2(s->a[0], s->a_norm, x, v);
    ring_from(s, u, now, low, &f);
    for (c = 0; c < 128 && s->ways == 4; c += 16)
        all = _mm256_min_epu16(all, ring_codes(s, &f, v, base, 4, c, next));
    for (c = 0; c < 128 && s->ways == 8; c += 16)
        all = _mm256_min_epu16(all, ring_codes(s, &f, v, base, 8, c, next));
    for (c = 0; c < 128 && s->ways == 12; c += 16)
        all = _mm256_min_epu16(all, ring_codes(s, &f, v, base, 12, c, next));
    for (c = 0; c < 128 && s->ways == 16; c += 16)
        all = _mm256_min_epu16(all, ring_codes(s, &f, v, base, 16, c, next));
    a = _mm_min_epu16(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    return (uint32_t)_mm_extract_epi16(_mm_minpos_epu16(a), 0) >> 7;
}

AVX2 static uint32_t nearest_avx2(const struct q35_search *s, const int16_t x[2])
{
    __m256i xv = pair(x), best, index, at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    int32_t value[8], where[8];
    uint32_t i, k = 0;
    best = _mm256_set1_epi32(INT32_MAX);
    index = at;
    for (i = 0; i < 16; i++) {
        __m256i d = _mm256_slli_epi32(_mm256_madd_epi16(load(s->a + 8 * i), xv), 1);
        __m256i v = _mm256_sub_epi32(load(s->a_norm + 8 * i), d),
                less = _mm256_cmpgt_epi32(best, v);
        best = _mm256_blendv_epi8(best, v, less);
        index = _mm256_blendv_epi8(index, at, less);
        at = _mm256_add_epi32(at, _mm256_set1_epi32(8));
    }
    storeu(value, best);
    storeu(where, index);
    for (i = 1; i < 8; i++)
        if (value[i] < value[k] || (value[i] == value[k] && where[i] < where[k]))
            k = i;
    return (uint32_t)where[k];
}

const struct q35_search_kernels q35_search_kernels_avx2 = {
    .name = "avx2",
    .step = step_avx2,
    .back = back_avx2,
    .terms = terms_avx2,
    .ring = ring_avx2,
    .nearest = nearest_avx2,
};
#endif
