/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over one page with AVX2. Each key is widened from binary16 once for the group. */

#include "attn_avx2.h"

static inline __m256 load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

/* s[head][64] of position j. */
static void scores(const struct attn_args *a, uint32_t j, float *s)
{
    float k[ATTN_HEAD_DIM];
    const float *q = a->q;
    uint32_t h, i;
    for (i = 0; i < a->head_dim; i += 32)
        _mm_prefetch((const char *)a->v + 2 * ((uint64_t)j * a->head_dim + i), _MM_HINT_T0);
    for (i = 0; i < a->head_dim; i += 8)
        _mm256_storeu_ps(k + i, load_f16((const uint16_t *)a->k + (uint64_t)j * a->head_dim + i));
    for (h = 0; h < a->group; h++, q += a->head_dim) {
        __m256 lo = _mm256_setzero_ps(), hi = lo;
        for (i = 0; i < a->head_dim; i += 16) {
            lo = _mm256_fmadd_ps(_mm256_loadu_ps(q + i), _mm256_loadu_ps(k + i), lo);
            hi = _mm256_fmadd_ps(_mm256_loadu_ps(q + i + 8), _mm256_loadu_ps(k + i + 8), hi);
        }
        s[64 * h + j] = tree16_avx2(lo, hi) * a->scale;
    }
}

/* o of 1 or 2 heads from head h on, 32 values of it from column d on. */
static inline __attribute__((always_inline)) void
values32(const struct attn_args *a, const float *s, uint32_t h, uint32_t d, const int two)
{
    __m256 o0 = _mm256_setzero_ps(), o1 = o0, o2 = o0, o3 = o0;
    __m256 r0 = o0, r1 = o0, r2 = o0, r3 = o0;
    float *to = a->o + (uint64_t)h * a->head_dim + d;
    uint32_t j;
    for (j = a->first; j < a->first + a->n; j++) {
        uint64_t at = (uint64_t)j * a->head_dim + d;
        const uint16_t *row = (const uint16_t *)a->v + at;
        __m256 p = _mm256_set1_ps(s[64 * h + j]), r = two ? _mm256_set1_ps(s[64 * h + 64 + j]) : p;
        __m256 v0 = load_f16(row), v1 = load_f16(row + 8);
        __m256 v2 = load_f16(row + 16), v3 = load_f16(row + 24);
        if (a->next_k && h == 0)
            _mm_prefetch((const char *)a->next_k + 2 * at, _MM_HINT_T0);
        o0 = _mm256_fmadd_ps(p, v0, o0);
        o1 = _mm256_fmadd_ps(p, v1, o1);
        o2 = _mm256_fmadd_ps(p, v2, o2);
        o3 = _mm256_fmadd_ps(p, v3, o3);
        if (two) {
            r0 = _mm256_fmadd_ps(r, v0, r0);
            r1 = _mm256_fmadd_ps(r, v1, r1);
            r2 = _mm256_fmadd_ps(r, v2, r2);
            r3 = _mm256_fmadd_ps(r, v3, r3);
        }
    }
    _mm256_storeu_ps(to, o0);
    _mm256_storeu_ps(to + 8, o1);
    _mm256_storeu_ps(to + 16, o2);
    _mm256_storeu_ps(to + 24, o3);
    if (two) {
        _mm256_storeu_ps(to + a->head_dim, r0);
        _mm256_storeu_ps(to + a->head_dim + 8, r1);
        _mm256_storeu_ps(to + a->head_dim + 16, r2);
        _mm256_storeu_ps(to + a->head_dim + 24, r3);
    }
}

static void values8(const struct attn_args *a, const float *s, uint32_t h, uint32_t d)
{
    __m256 o = _mm256_setzero_ps();
    uint32_t j;
    for (j = a->first; j < a->first + a->n; j++)
        o = _mm256_fmadd_ps(_mm256_set1_ps(s[64 * h + j]),
                            load_f16((const uint16_t *)a->v + (uint64_t)j * a->head_dim + d), o);
    _mm256_storeu_ps(a->o + (uint64_t)h * a->head_dim + d, o);
}

static void attn_block_avx2(const struct attn_args *a)
{
    float *s = a->scratch; /* [group][64] */
    struct kernels plain;
    uint32_t h, j, d;
    if (a->head_dim % 16)
        goto plain_c;
    for (j = a->first; j < a->first + a->n; j++)
        scores(a, j, s);
    for (h = 0; h < a->group; h++)
        if (!softmax(a->first, a->n, s + 64 * h, &a->state[h]))
            goto plain_c;
    for (d = 0; d + 32 <= a->head_dim; d += 32) {
        for (h = 0; h + 2 <= a->group; h += 2)
            values32(a, s, h, d, 1);
        if (h < a->group)
            values32(a, s, h, d, 0);
    }
    for (; d < a->head_dim; d += 8)
        for (h = 0; h < a->group; h++)
            values8(a, s, h, d);
    return;
plain_c: /* odd sizes, and NaN whose order matters */
    q35_cpu_install_c(&plain);
    plain.attn_block(a);
}

static void attn_merge_avx2(struct q35_attn_state *st, float *o, const struct q35_attn_state *sb,
                            const float *ob, uint32_t group, uint32_t head_dim)
{
    float fa[ATTN_GROUP] = {0}, fc[ATTN_GROUP] = {0};
    uint32_t h, d;
    for (h = 0; h < group; h++) {
        float m = sb[h].m > st[h].m ? sb[h].m : st[h].m;
        fa[h] = st[h].m - m;
        fc[h] = sb[h].m - m;
        st[h].m = m;
    }
    for (h = 0; h < group; h += 8) {
        _mm256_storeu_ps(fa + h, exp_avx2(_mm256_loadu_ps(fa + h)));
        _mm256_storeu_ps(fc + h, exp_avx2(_mm256_loadu_ps(fc + h)));
    }
    for (h = 0; h < group; h++, o += head_dim, ob += head_dim) {
        __m256 va = _mm256_set1_ps(fa[h]), vc = _mm256_set1_ps(fc[h]);
        st[h].l = fmaf(sb[h].l, fc[h], st[h].l * fa[h]);
        for (d = 0; d + 8 <= head_dim; d += 8)
            _mm256_storeu_ps(o + d, _mm256_fmadd_ps(_mm256_loadu_ps(ob + d), vc,
                                                    _mm256_mul_ps(_mm256_loadu_ps(o + d), va)));
        for (; d < head_dim; d++)
            o[d] = fmaf(ob[d], fc[h], o[d] * fa[h]);
    }
}

void q35_cpu_install_avx2_attn(struct kernels *k)
{
    k->attn_block = attn_block_avx2;
    k->attn_merge = attn_merge_avx2;
    q35_cpu_install_avx2_attn8(k);
}
