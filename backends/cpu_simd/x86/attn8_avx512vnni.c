/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page of keys and values in int8 with AVX-512 VNNI. */

#include "attn_avx512.h"

#define INLINE static inline __attribute__((always_inline))

/* A 16 x 16 matrix of 32-bit words: afterwards t[i] has word i of each row. */
INLINE void transpose16(const __m512i r[16], __m512i t[16])
{
    __m512i a[16], b[16], c[16];
    int i;
    UNROLL
    for (i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    UNROLL
    for (i = 0; i < 16; i += 4) { /* b[i + k]: word k of each quarter of rows i .. i + 3 */
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL
    for (i = 0; i < 4; i++) { /* quarters 0, 2 and 1, 3 of rows 0 .. 7 and 8 .. 15 */
        c[i] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88);
        c[i + 4] = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
        c[i + 8] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
        c[i + 12] = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
    }
    UNROLL
    for (i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(c[i], c[i + 8], 0x88);
        t[i + 8] = _mm512_shuffle_i32x4(c[i], c[i + 8], 0xdd);
        t[i + 4] = _mm512_shuffle_i32x4(c[i + 4], c[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(c[i + 4], c[i + 12], 0xdd);
    }
}

/* sums[head] of `heads` heads from h on gets the products of 64 values of 16 keys with those of the
 * queries; t: the keys plus 128, by words. */
INLINE void dots16(const struct attn8_args *a, const __m512i t[16], uint32_t h, uint32_t from,
                   __m512i *sums, const uint32_t heads)
{
    __m512i acc[4];
    uint32_t i, w;
    UNROLL
    for (i = 0; i < heads; i++)
        acc[i] = sums[h + i];
    UNROLL
    for (w = 0; w < 16; w++)
        UNROLL
    for (i = 0; i < heads; i++) {
        int32_t q;
        memcpy(&q, a->q + (uint64_t)(h + i) * a->q_stride + from + 4 * w, sizeof q);
        acc[i] = _mm512_dpbusd_epi32(acc[i], t[w], _mm512_set1_epi32(q));
    }
    UNROLL
    for (i = 0; i < heads; i++)
        sums[h + i] = acc[i];
}

/* scores[head][64] of 16 positions from `at` on. */
static void scores16(const struct attn8_args *a, uint32_t at, __m512i *sums, float *scores)
{
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    __m512 scales = _mm512_loadu_ps(a->k_scales + at);
    uint32_t from, h, j;
    if (a->next_k) {
        _mm_prefetch((const char *)(a->next_k_scales + at), _MM_HINT_T0);
        _mm_prefetch((const char *)(a->next_v_scales + at), _MM_HINT_T0);
    }
    for (h = 0; h < a->group; h++) /* the keys are 128 too large */
        sums[h] = _mm512_set1_epi32(-128 * a->q_sums[h]);
    for (from = 0; from < a->head_dim; from += 64) {
        uint32_t left = a->head_dim - from;
        __mmask64 in = left < 64 ? (1ull << left) - 1u : ~0ull;
        __m512i r[16], t[16];
        UNROLL
        for (j = 0; j < 16; j++) {
            uint64_t offset = (uint64_t)(at + j) * a->head_dim + from;
            r[j] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(in, a->k + offset), sign);
            if (a->next_k)
                _mm_prefetch((const char *)(a->next_k + offset), _MM_HINT_T0);
        }
        transpose16(r, t);
        for (h = 0; h + 4 <= a->group; h += 4)
            dots16(a, t, h, from, sums, 4);
        for (; h < a->group; h++)
            dots16(a, t, h, from, sums, 1);
    }
    for (h = 0; h < a->group; h++) {
        __m512 factor = _mm512_mul_ps(_mm512_set1_ps(a->q_scales[h]), scales);
        __m512 s = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[h]), factor);
        _mm512_storeu_ps(scores + 64 * h + at, _mm512_mul_ps(s, _mm512_set1_ps(a->scale)));
    }
}

INLINE __m512 load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

/* o of `heads` heads from h on, `vectors` times 16 values of it from column d on. p: probabilities
 * times the scales of the values. */
INLINE void values_of(const struct attn8_args *a, const float *p, uint32_t h, uint32_t d,
                      const uint32_t heads, const uint32_t vectors)
{
    __m512 o[8][2];
    uint32_t i, j, c, end = a->first + a->n;
    UNROLL
    for (i = 0; i < heads; i++)
        UNROLL
    for (c = 0; c < vectors; c++)
        o[i][c] = _mm512_setzero_ps();
    for (j = a->first; j < end; j++) {
        const int8_t *row = a->v + (uint64_t)j * a->head_dim + d;
        const float *pj = p + 64 * (uint64_t)h + j;
        __m512 v[2];
        UNROLL
        for (c = 0; c < vectors; c++)
            v[c] = load_i8(row + 16 * c);
        if (a->next_v && h == 0 && d % 64 == 0)
            _mm_prefetch((const char *)(a->next_v + (row - a->v)), _MM_HINT_T0);
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

INLINE void values(const struct attn8_args *a, const float *p, uint32_t d, const uint32_t vectors)
{
    uint32_t h = 0;
    for (; h + 8 <= a->group; h += 8)
        values_of(a, p, h, d, 8, vectors);
    for (; h + 4 <= a->group; h += 4)
        values_of(a, p, h, d, 4, vectors);
    for (; h < a->group; h++)
        values_of(a, p, h, d, 1, vectors);
}

static void attn8_block_avx512vnni(const struct attn8_args *a)
{
    __m512i *sums = a->scratch;              /* [group] */
    float *s = (float *)(sums + ATTN_GROUP); /* [group][64] */
    uint32_t at, h, d, i;
    struct kernels plain;
    if (a->head_dim % 16)
        goto plain_c;
    for (at = a->first & ~15u; at < a->first + a->n; at += 16)
        scores16(a, at, sums, s);
    for (h = 0; h < a->group; h++) {
        if (!softmax64(a->first, a->n, s + 64 * h, &a->state[h]))
            goto plain_c;
        for (i = 0; i < 64; i += 16)
            _mm512_storeu_ps(s + 64 * h + i, _mm512_mul_ps(_mm512_loadu_ps(s + 64 * h + i),
                                                           _mm512_loadu_ps(a->v_scales + i)));
    }
    for (d = 0; d + 32 <= a->head_dim; d += 32)
        values(a, s, d, 2);
    if (d < a->head_dim)
        values(a, s, d, 1);
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn8_block(a);
}

void q35_cpu_install_avx512vnni_attn(struct kernels *k)
{
    k->attn8_block = attn8_block_avx512vnni;
}
