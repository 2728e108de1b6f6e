/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define ISA __attribute__((target("avx2,bmi")))
#define ISA_NAME "avx2"
#define NAME(x) x##_avx2
#define LANES 16u
#define PER_LANE 2u
#define RING_WIDTH(ways) 1u

typedef __m256i vec;

ISA static inline vec load(const void *p)
{
    return _mm256_load_si256((const __m256i *)p);
}

ISA static inline vec loadu(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

ISA static inline void storeu(void *p, vec v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

#define set16 _mm256_set1_epi16
#define set32 _mm256_set1_epi32
#define min16 _mm256_min_epi16
#define min32 _mm256_min_epi32
#define minu16 _mm256_min_epu16
#define maxu16 _mm256_max_epu16
#define adds16 _mm256_adds_epi16
#define subs16 _mm256_subs_epi16
#define or16 _mm256_or_si256
#define madd16 _mm256_madd_epi16
#define add32 _mm256_add_epi32
#define sub32 _mm256_sub_epi32
#define SHL16 _mm256_slli_epi16
#define SHL32 _mm256_slli_epi32
#define SAR32 _mm256_srai_epi32

ISA static inline vec narrow(vec a, vec b)
{
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
}

ISA static inline vec where_gt(vec a, vec b, vec yes, vec no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_cmpgt_epi16(a, b));
}

ISA static inline vec where_eq(vec a, vec b, vec yes, vec no)
{
    return _mm256_blendv_epi8(no, yes, _mm256_cmpeq_epi16(a, b));
}

ISA static inline uint32_t lanes_le(vec a, vec b)
{
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi16(a, b)) & 0x55555555u;
}

ISA static inline uint32_t lanes_eq(vec a, vec b)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi16(a, b)) & 0x55555555u;
}

ISA static inline uint32_t lanes32_eq(vec a, vec b)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)));
}

ISA static inline uint32_t leastu16(vec v)
{
    __m128i a = _mm_min_epu16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return (uint32_t)_mm_extract_epi16(_mm_minpos_epu16(a), 0);
}

ISA static inline int16_t least16(vec v) /* phminposuw is unsigned: shift the range */
{
    return (int16_t)(leastu16(_mm256_xor_si256(v, set16(INT16_MIN))) ^ 0x8000);
}

ISA static inline int32_t least32(vec v)
{
    __m128i a = _mm_min_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    a = _mm_min_epi32(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(_mm_min_epi32(a, _mm_shuffle_epi32(a, 0xb1)));
}

#include "core/quant/search_simd.h"

ISA static void ring_from(const struct q35_search *s, const int16_t *u, const uint16_t *now,
                          uint32_t low, struct ring_from *f)
{
    uint32_t p, k;
    memset(f->count, 0, sizeof(f->count));
    for (p = 0; p < 128; p++) {
        for (k = 0; k < s->ways; k++) {
            uint32_t state = now[128 * k + p], cost = state >> 7 > low ? (state >> 7) - low : 0;
            uint32_t h = (state & 127) ^ p;
            int32_t t = (int32_t)cost + u[h];
            if (cost > Q35_RING_PRUNE)
                break;
            f->trans[k][p] = (int16_t)(t > INT16_MAX ? INT16_MAX : t);
            f->h[k][p] = (uint16_t)h;
        }
        f->list[k][f->count[k]++] = (uint8_t)p;
    }
}
#endif
