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
    for (j = 0; j < 16; j++) {
        const uint16_t *row = a->k + (uint64_t)(from + j) * a->head_dim;
        const float *q = a->q;
        __m512 k[MAX_VECTORS];
        if (a->next_k)
            prefetch_row(a->next_k + (row - a->k), vectors);
        for (i = 0; i < vectors; i++)
            k[i] = load_f16(row + 16 * i);
        for (h = 0; h < a->group; h++, q += a->head_dim) {
            __m512 sum = _mm512_setzero_ps();
            for (i = 0; i < vectors; i++)
                sum = _mm512_fmadd_ps(_mm512_loadu_ps(q + 16 * i), k[i], sum);
            sums[h][j] = sum;
        }
    }
    for (h = 0; h < a->group; h++)
        _mm512_storeu_ps(scores + 64 * h + from,
                         _mm512_mul_ps(tree16_ps(sums[h]), _mm512_set1_ps(a->scale)));
}

/* o of `heads` heads from head h on, 4 vectors of it from column d on. */
static inline __attribute__((always_inline)) void
values4(const struct attn_args *a, const float *p, uint32_t h, uint32_t d, const uint32_t heads)
{
    __m512 o[4][4];
    uint32_t i, j, c, end = a->first + a->n;
    UNROLL
    for (i = 0; i < heads; i++)
        UNROLL
    for (c = 0; c < 4; c++)
        o[i][c] = _mm512_setzero_ps();
    for (j = a->first; j < end; j++) {
        const uint16_t *row = a->v + (uint64_t)j * a->head_dim + d;
        __m512 v0 = load_f16(row), v1 = load_f16(row + 16);
        __m512 v2 = load_f16(row + 32), v3 = load_f16(row + 48);
        if (a->next_v && h == 0)
            prefetch_row(a->next_v + (row - a->v), 4);
        UNROLL
        for (i = 0; i < heads; i++) {
            __m512 w = _mm512_set1_ps(p[64 * i + j]);
            o[i][0] = _mm512_fmadd_ps(w, v0, o[i][0]);
            o[i][1] = _mm512_fmadd_ps(w, v1, o[i][1]);
            o[i][2] = _mm512_fmadd_ps(w, v2, o[i][2]);
            o[i][3] = _mm512_fmadd_ps(w, v3, o[i][3]);
        }
    }
    UNROLL
    for (i = 0; i < heads; i++)
        UNROLL
    for (c = 0; c < 4; c++)
        _mm512_storeu_ps(a->o + (uint64_t)(h + i) * a->head_dim + d + 16 * c, o[i][c]);
}

/* One vector of o of one head, for head sizes that are no multiple of 64. */
static void values1(const struct attn_args *a, const float *p, uint32_t h, uint32_t d)
{
    __m512 o = _mm512_setzero_ps();
    uint32_t j;
    for (j = a->first; j < a->first + a->n; j++)
        o = _mm512_fmadd_ps(_mm512_set1_ps(p[j]), load_f16(a->v + (uint64_t)j * a->head_dim + d),
                            o);
    _mm512_storeu_ps(a->o + (uint64_t)h * a->head_dim + d, o);
}

static void values(const struct attn_args *a, const float *p)
{
    uint32_t h, d;
    for (d = 0; d + 64 <= a->head_dim; d += 64) {
        for (h = 0; h + 4 <= a->group; h += 4)
            values4(a, p + 64 * h, h, d, 4);
        for (; h < a->group; h++)
            values4(a, p + 64 * h, h, d, 1);
    }
    for (; d < a->head_dim; d += 16)
        for (h = 0; h < a->group; h++)
            values1(a, p + 64 * h, h, d);
}

static void attn_block_avx512(const struct attn_args *a)
{
    __m512(*sums)[16] = a->scratch;          /* [group][16] */
    float *s = (float *)(sums + ATTN_GROUP); /* [group][64] */
    uint32_t from, h, vectors = a->head_dim / 16;
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
    values(a, s);
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
