/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define ISA __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,bmi")))
#define ISA_NAME "avx512"
#define NAME(x) x##_avx512
#define LANES 32u
#define PER_LANE 1u
#define RING_WIDTH(ways) ((ways) == 4 ? 4u : (ways) == 16 ? 1u : 2u)

typedef __m512i vec;

ISA static inline vec load(const void *p)
{
    return _mm512_load_si512(p);
}

ISA static inline vec loadu(const void *p)
{
    return _mm512_loadu_si512(p);
}

ISA static inline void storeu(void *p, vec v)
{
    _mm512_storeu_si512(p, v);
}

#define set16 _mm512_set1_epi16
#define set32 _mm512_set1_epi32
#define min16 _mm512_min_epi16
#define min32 _mm512_min_epi32
#define minu16 _mm512_min_epu16
#define maxu16 _mm512_max_epu16
#define adds16 _mm512_adds_epi16
#define subs16 _mm512_subs_epi16
#define or16 _mm512_or_si512
#define madd16 _mm512_madd_epi16
#define add32 _mm512_add_epi32
#define sub32 _mm512_sub_epi32
#define SHL16 _mm512_slli_epi16
#define SHL32 _mm512_slli_epi32
#define SAR32 _mm512_srai_epi32

ISA static inline vec narrow(vec a, vec b)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtsepi32_epi16(a)),
                              _mm512_cvtsepi32_epi16(b), 1);
}

ISA static inline vec where_gt(vec a, vec b, vec yes, vec no)
{
    return _mm512_mask_blend_epi16(_mm512_cmpgt_epi16_mask(a, b), no, yes);
}

ISA static inline vec where_eq(vec a, vec b, vec yes, vec no)
{
    return _mm512_mask_blend_epi16(_mm512_cmpeq_epi16_mask(a, b), no, yes);
}

ISA static inline uint32_t lanes_le(vec a, vec b)
{
    return _mm512_cmple_epi16_mask(a, b);
}

ISA static inline uint32_t lanes_eq(vec a, vec b)
{
    return _mm512_cmpeq_epi16_mask(a, b);
}

ISA static inline uint32_t lanes32_eq(vec a, vec b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}

ISA static inline uint32_t leastu16(vec v)
{
    __m256i h = _mm256_min_epu16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i a = _mm_min_epu16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    return (uint32_t)_mm_extract_epi16(_mm_minpos_epu16(a), 0);
}

ISA static inline int16_t least16(vec v) /* phminposuw is unsigned: shift the range */
{
    return (int16_t)(leastu16(_mm512_xor_si512(v, set16(INT16_MIN))) ^ 0x8000);
}

ISA static inline int32_t least32(vec v)
{
    return _mm512_reduce_min_epi32(v);
}

#include "core/quant/search_simd.h"

static const int16_t iota[32]
    __attribute__((aligned(64))) = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

ISA static void ring_from(const struct q35_search *s, const int16_t *u, const uint16_t *now,
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
#endif
