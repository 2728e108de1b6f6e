/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page with AVX-512. K and V are widened from binary16 once for all query heads
 * of the group. */

#include "attn_avx512.h"

#define MAX_VECTORS (ATTN_HEAD_DIM / 16u)

static inline __m512 load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

/* `vectors` times 16 values of a page that comes next. */
static inline __attribute__((always_inline)) void prefetch_row(const uint16_t *row,
                                                               const uint32_t vectors)
{
    uint32_t i;
    for (i = 0; i < vectors; i += 2)
        _mm_prefetch((const char *)(row + 16 * i), _MM_HINT_T0);
}

/* scores[head][64]: q . k of 16 positions from `from` on, times the scale. Positions past the page
 * are not asked for: pages are whole, their unused positions only give scores nobody reads. */
static inline __attribute__((always_inline)) void scores16(const struct attn_args *a, uint32_t from,
                                                           const uint32_t vectors,
                                                           __m512 (*sums)[16], float *scores)
{
    uint32_t h, j, i;
    for (j = 0; j < 16; j += 2) { /* two rows share the loads of a query */
        const uint16_t *row = a->k + (uint64_t)(from + j) * a->head_dim, *row1 = row + a->head_dim;
        const float *q = a->q;
        __m512 k[MAX_VECTORS], k1[MAX_VECTORS];
        if (a->next_k) {
            prefetch_row(a->next_k + (row - a->k), vectors);
            prefetch_row(a->next_k + (row1 - a->k), vectors);
        }
        for (i = 0; i < vectors; i++) {
            k[i] = load_f16(row + 16 * i);
            k1[i] = load_f16(row1 + 16 * i);
        }
        for (h = 0; h < a->group; h++, q += a->head_dim) {
            __m512 sum = _mm512_setzero_ps(), sum1 = sum;
            for (i = 0; i < vectors; i++) {
                __m512 x = _mm512_loadu_ps(q + 16 * i);
                sum = _mm512_fmadd_ps(x, k[i], sum);
                sum1 = _mm512_fmadd_ps(x, k1[i], sum1);
            }
            sums[h][j] = sum;
            sums[h][j + 1] = sum1;
        }
    }
    for (h = 0; h < a->group; h++)
        _mm512_storeu_ps(scores + 64 * h + from,
                         _mm512_mul_ps(tree16_ps(sums[h]), _mm512_set1_ps(a->scale)));
}

/* o of `heads` heads from head h on, `vectors` times 16 values of it from column d on. */
static inline __attribute__((always_inline)) void values_of(const struct attn_args *a,
                                                            const float *p, uint32_t h, uint32_t d,
                                                            const uint32_t heads,
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
        const uint16_t *row = a->v + (uint64_t)j * a->head_dim + d;
        const float *pj = p + 64 * (uint64_t)h + j;
        __m512 v[2];
        UNROLL
        for (c = 0; c < vectors; c++)
            v[c] = load_f16(row + 16 * c);
        if (a->next_v && h == 0)
            prefetch_row(a->next_v + (row - a->v), vectors);
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

static inline __attribute__((always_inline)) void values(const struct attn_args *a, const float *p,
                                                         uint32_t d, const uint32_t vectors)
{
    uint32_t h = 0;
    for (; h + 8 <= a->group; h += 8)
        values_of(a, p, h, d, 8, vectors);
    for (; h + 4 <= a->group; h += 4)
        values_of(a, p, h, d, 4, vectors);
    for (; h < a->group; h++)
        values_of(a, p, h, d, 1, vectors);
}

static void attn_block_avx512(const struct attn_args *a)
{
    __m512(*sums)[16] = a->scratch;          /* [group][16] */
    float *s = (float *)(sums + ATTN_GROUP); /* [group][64] */
    uint32_t from, h, d, vectors = a->head_dim / 16;
    struct kernels plain;
    if (a->head_dim % 16)
        goto plain_c;
    for (from = a->first & ~15u; from < a->first + a->n; from += 16) {
        if (vectors == 8)
            scores16(a, from, 8, sums, s);
        else if (vectors == 4)
            scores16(a, from, 4, sums, s);
        else
            scores16(a, from, vectors, sums, s);
    }
    for (h = 0; h < a->group; h++)
        if (!softmax64(a->first, a->n, s + 64 * h, &a->state[h]))
            goto plain_c;
    for (d = 0; d + 32 <= a->head_dim; d += 32)
        values(a, s, d, 2);
    if (d < a->head_dim)
        values(a, s, d, 1);
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
