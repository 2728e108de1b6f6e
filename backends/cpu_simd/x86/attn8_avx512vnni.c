/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page of keys and values in int8 with AVX-512 VNNI. */

#include "attn_avx512.h"

/* Word e of quarter g of the result is the sum of quarter g of a[e]. */
INLINE __m512i reduce4x4_i32(const __m512i a[4])
{
    __m512i s =
        _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]), _mm512_unpackhi_epi32(a[0], a[1]));
    __m512i t =
        _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]), _mm512_unpackhi_epi32(a[2], a[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(s, t), _mm512_unpackhi_epi64(s, t));
}

/* 16 values of four keys, 4 rows apart, plus 128. */
INLINE __m512i keys4(const int8_t *k, uint64_t row)
{
    __m512i x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)k));
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(k + 4 * row)), 1);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(k + 8 * row)), 2);
    x = _mm512_inserti32x4(x, _mm_loadu_si128((const __m128i *)(k + 12 * row)), 3);
    return _mm512_xor_si512(x, _mm512_set1_epi8((char)0x80));
}

/* The scores of a head's 16 keys: word w of quarter g of sums[e] belongs to key 4 g + e. */
INLINE __m512 scores_of(const struct attn_args *a, uint32_t h, const __m512i sums[4], __m512 scales)
{
    __m512i sum = _mm512_sub_epi32(reduce4x4_i32(sums), _mm512_set1_epi32(128 * a->q_sums[h]));
    __m512 factor = _mm512_mul_ps(_mm512_set1_ps(a->q_scales[h]), scales);
    return _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor), _mm512_set1_ps(a->scale));
}

/* Products of `chunks` times 16 values of the queries with those of 16 keys from column `from` on,
 * added to sums[head][4]; behind the last columns they become scores[head][64]. */
INLINE void dots16(const struct attn_args *a, uint32_t at, uint32_t from, __m512i (*sums)[4],
                   float *scores, const uint32_t chunks, const int last)
{
    uint64_t row = a->head_dim;
    const int8_t *k = (const int8_t *)a->k + at * row + from, *q = a->q8 + from;
    __m512 scales = _mm512_loadu_ps(a->k_scales + at);
    __m512i x[4][4];
    uint32_t h, e, c;
    UNROLL
    for (e = 0; e < 4; e++)
        UNROLL
    for (c = 0; c < chunks; c++)
        x[e][c] = keys4(k + e * row + 16 * c, row);
    for (h = 0; h < a->group; h++, q += a->q_stride) {
        __m512i acc[4];
        UNROLL
        for (e = 0; e < 4; e++)
            acc[e] = from ? sums[h][e] : _mm512_setzero_si512();
        UNROLL
        for (c = 0; c < chunks; c++) {
            __m512i y = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(q + 16 * c)));
            UNROLL
            for (e = 0; e < 4; e++)
                acc[e] = _mm512_dpbusd_epi32(acc[e], x[e][c], y);
        }
        if (last)
            _mm512_storeu_ps(scores + 64 * h + at, scores_of(a, h, acc, scales));
        UNROLL
        for (e = 0; e < 4 && !last; e++)
            sums[h][e] = acc[e];
    }
}

/* scores[head][64] of 16 positions from `at` on. */
INLINE void scores16(const struct attn_args *a, uint32_t at, __m512i (*sums)[4], float *scores)
{
    uint32_t from, i;
    prefetch(a->v_scales + at);
    if (a->next_k)
        prefetch(a->next_k_scales + at);
    for (i = 0; i < a->head_dim / 4; i++)
        prefetch((const int8_t *)a->v + (uint64_t)at * a->head_dim + 64 * i);
    for (from = 0; from + 64 < a->head_dim; from += 64)
        dots16(a, at, from, sums, scores, 4, 0);
    if (from + 64 == a->head_dim) {
        dots16(a, at, from, sums, scores, 4, 1);
        return;
    }
    for (; from + 16 < a->head_dim; from += 16)
        dots16(a, at, from, sums, scores, 1, 0);
    dots16(a, at, from, sums, scores, 1, 1);
}

INLINE __m512 load_i8(const void *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p)));
}

static void attn8_block_avx512vnni(const struct attn_args *a)
{
    __m512i(*sums)[4] = a->scratch;          /* [group][4] */
    float *s = (float *)(sums + ATTN_GROUP); /* [group][64] */
    uint32_t at;
    struct kernels plain;
    if (a->head_dim % 16)
        goto plain_c;
    for (at = a->first & ~15u; at < a->first + a->n; at += 16)
        scores16(a, at, sums, s);
    if (!softmax64(a, s, a->v_scales))
        goto plain_c;
    attn_values(a, load_i8, sizeof(int8_t), s);
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn8_block(a);
}

void q35_cpu_install_avx512vnni_attn(struct kernels *k)
{
    k->attn8_block = attn8_block_avx512vnni;
}
