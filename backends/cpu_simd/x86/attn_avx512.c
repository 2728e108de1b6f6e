/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page with AVX-512. K and V are widened from binary16 once for all query heads
 * of the group. */

#include "attn_avx512.h"

INLINE __m512 load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

/* sums[4 * head] of `heads` queries get the first half of tree16 of their products with four rows,
 * 4 rows apart. */
INLINE void dots4(const uint16_t *k, const float *q, uint32_t head_dim, __m512 *sums,
                  const uint32_t heads)
{
    __m512 s[4][4];
    uint64_t row = 4 * (uint64_t)head_dim;
    uint32_t i, h, r;
    UNROLL
    for (h = 0; h < heads; h++)
        UNROLL
    for (r = 0; r < 4; r++)
        s[h][r] = _mm512_setzero_ps();
    for (i = 0; i < head_dim; i += 16) {
        __m512 x[4];
        UNROLL
        for (r = 0; r < 4; r++)
            x[r] = load_f16(k + r * row + i);
        UNROLL
        for (h = 0; h < heads; h++) {
            __m512 y = _mm512_loadu_ps(q + (uint64_t)h * head_dim + i);
            UNROLL
            for (r = 0; r < 4; r++)
                s[h][r] = _mm512_fmadd_ps(y, x[r], s[h][r]);
        }
    }
    UNROLL
    for (h = 0; h < heads; h++)
        sums[4 * h] = tree16_first(s[h][0], s[h][1], s[h][2], s[h][3]);
}

/* scores[head][64]: q . k of 16 positions from `from` on, times the scale. Positions past the page
 * are not asked for: pages are whole, their unused positions only give scores nobody reads. */
INLINE void scores16(const struct attn_args *a, uint32_t from, const uint32_t head_dim,
                     __m512 *sums, float *scores)
{
    const uint16_t *k = (const uint16_t *)a->k + (uint64_t)from * head_dim;
    const uint16_t *v = (const uint16_t *)a->v + (uint64_t)from * head_dim;
    uint32_t h, e, i;
    for (e = 0; e < 4; e++) {
        const float *q = a->q;
        for (i = 0; i < head_dim / 8; i++) /* a quarter of the lines of 16 rows */
            prefetch(v + 32 * ((uint64_t)e * head_dim / 8 + i));
        for (h = 0; h + 4 <= a->group; h += 4, q += 4 * head_dim)
            dots4(k + (uint64_t)e * head_dim, q, head_dim, sums + 4 * h + e, 4);
        for (; h < a->group; h++, q += head_dim)
            dots4(k + (uint64_t)e * head_dim, q, head_dim, sums + 4 * h + e, 1);
    }
    for (h = 0; h < a->group; h++)
        _mm512_storeu_ps(scores + 64 * h + from,
                         _mm512_mul_ps(tree16_last(sums + 4 * h), _mm512_set1_ps(a->scale)));
}

static void attn_block_avx512(const struct attn_args *a)
{
    __m512 *sums = a->scratch;                   /* [group][4] */
    float *s = (float *)(sums + 4 * ATTN_GROUP); /* [group][64] */
    uint32_t from;
    struct kernels plain;
    if (a->head_dim % 16)
        goto plain_c;
    for (from = a->first & ~15u; from < a->first + a->n; from += 16) {
        if (a->head_dim == 64)
            scores16(a, from, 64, sums, s);
        else
            scores16(a, from, a->head_dim, sums, s);
    }
    if (!softmax64(a, s, NULL))
        goto plain_c;
    attn_values(a, load_f16, sizeof(uint16_t), s);
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn_block(a);
}

/* All heads' factors at once: exp is most of the work. */
static void attn_merge_avx512(struct q35_attn_state *st, float *o, const struct q35_attn_state *sb,
                              const float *ob, uint32_t group, uint32_t head_dim)
{
    __mmask32 in = (__mmask32)((1ull << (2 * group)) - 1u); /* m and l take turns */
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512 s0 = _mm512_maskz_loadu_ps((__mmask16)in, st);
    __m512 s1 = _mm512_maskz_loadu_ps((__mmask16)(in >> 16), st + 8);
    __m512 b0 = _mm512_maskz_loadu_ps((__mmask16)in, sb);
    __m512 b1 = _mm512_maskz_loadu_ps((__mmask16)(in >> 16), sb + 8);
    __m512 sm = _mm512_permutex2var_ps(s0, even, s1), sl = _mm512_permutex2var_ps(s0, odd, s1);
    __m512 bm = _mm512_permutex2var_ps(b0, even, b1), bl = _mm512_permutex2var_ps(b0, odd, b1);
    __m512 m = _mm512_max_ps(bm, sm); /* bm > sm ? bm : sm, also with NaN */
    __m512 a = exp_ps(_mm512_sub_ps(sm, m)), c = exp_ps(_mm512_sub_ps(bm, m));
    __m512 l = _mm512_fmadd_ps(bl, c, _mm512_mul_ps(sl, a));
    float fa[16], fc[16], fm[16], fl[16];
    uint32_t h, d;
    _mm512_storeu_ps(fa, a);
    _mm512_storeu_ps(fc, c);
    _mm512_storeu_ps(fm, m);
    _mm512_storeu_ps(fl, l);
    for (h = 0; h < group; h++, o += head_dim, ob += head_dim) {
        __m512 va = _mm512_set1_ps(fa[h]), vc = _mm512_set1_ps(fc[h]);
        st[h] = (struct q35_attn_state){fm[h], fl[h]};
        for (d = 0; d + 16 <= head_dim; d += 16)
            _mm512_storeu_ps(o + d, _mm512_fmadd_ps(_mm512_loadu_ps(ob + d), vc,
                                                    _mm512_mul_ps(_mm512_loadu_ps(o + d), va)));
        for (; d < head_dim; d++)
            o[d] = fmaf(ob[d], fc[h], o[d] * fa[h]);
    }
}

void q35_cpu_install_avx512_attn(struct kernels *k)
{
    k->attn_block = attn_block_avx512;
    k->attn_merge = attn_merge_avx512;
}
