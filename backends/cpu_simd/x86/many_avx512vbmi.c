/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Many tokens with AVX-512 VBMI and VNNI. Decoded tiles are turned so that a vector holds four
 * columns of each of 16 rows, and tokens are packed so that four columns of 12 of them lie side by
 * side. Two such vectors times 12 broadcast tokens fill 24 sums whose lanes are rows: nothing is
 * added across lanes. Two row blocks' weights of a chunk stay in L1 while the tokens pass by, and
 * all tokens' chunk stays in L2 while the piece's row blocks take their turns. */

#include "vbmi.h"

#define CHUNK 768u          /* columns decoded at once: whole tiles of every scheme */
#define GROUP 12u           /* tokens side by side */
#define PANEL (CHUNK * 16u) /* bytes of a decoded row block's chunk */

/* packed[tokens / 12][cols / 4][12][4]; the last group has 4, 8 or 12 tokens, zeros past the end.
 */
static uint64_t pack_bytes_avx512vbmi(uint32_t n_tokens, uint32_t cols_padded)
{
    return (uint64_t)((n_tokens + 3) / 4) * 4 * cols_padded;
}

/* Tokens of the group that begins at token t of n. 13 to 16 are better off as two of 8; only ahead
 * of groups that no other call packs. */
static uint32_t group_of(uint32_t t, uint32_t n)
{
    uint32_t left = n - t;
    if (left > 12 && left <= 16 && t % 48 == 0)
        return 8;
    return left >= GROUP ? GROUP : (left + 3) / 4 * 4;
}

static void pack_q_avx512vbmi(const int8_t *q, uint32_t n_tokens, uint32_t cols_padded,
                              uint32_t first, uint32_t count, void *packed)
{
    uint32_t t, k, i, group;
    for (t = first; t < first + count && t < n_tokens; t += group) {
        group = group_of(t, n_tokens);
        uint8_t *to = (uint8_t *)packed + (uint64_t)t * cols_padded;
        for (k = 0; k < cols_padded; k += 64) {
            __m512i rows[16], turned[16];
            for (i = 0; i < 16; i++)
                rows[i] = i < group && t + i < n_tokens
                              ? _mm512_loadu_si512(q + (uint64_t)(t + i) * cols_padded + k)
                              : _mm512_setzero_si512();
            transpose16(rows, turned);
            for (i = 0; i < 16; i++, to += 4 * group)
                _mm512_mask_storeu_epi32(to, (__mmask16)((1u << group) - 1), turned[i]);
        }
    }
}

/* Bytes of what stands above, in rings: the lane of the row above; above row 0 row 15 of the column
 * before, which for the first column is in the vector before (64 up). */
static const uint8_t ring_above[64] = {
    127, 60, 61, 62, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17,
    18,  19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
    40,  41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59};

/* From 16 vectors of 16 rows x 4 columns the i-th of what stands above each. */
INLINE __m512i above_of(const __m512i v[16], uint32_t i, const int ring)
{
    if (ring)
        return _mm512_permutex2var_epi8(v[i], _mm512_loadu_si512(ring_above), v[(i + 15) % 16]);
    return _mm512_alignr_epi32(v[i], v[i], 15);
}

/* One tile into w[weights][16][16 rows][4 columns]: the codes are turned, so that the row above is
 * the next lane. */
INLINE void decode_turned(const struct tables *t, const uint8_t *tile, __m512i *w,
                          const int weights, const int has_b, const int ring)
{
    __m512i codes[16], turned[16], b[16], of_code[3];
    uint32_t i, c;
    UNROLL
    for (i = 0; i < 16; i++)
        codes[i] = codes_of(t, tile + Q35_ROW_BYTES * i);
    transpose16(codes, turned);
    if (has_b) {
        UNROLL
        for (i = 0; i < 16; i++)
            b[i] = look(t->b,
                        ring ? _mm512_xor_si512(turned[i], above_of(turned, i, ring)) : turned[i]);
    }
    UNROLL
    for (i = 0; i < 16; i++) {
        weights_of(t, turned[i], has_b ? above_of(b, i, ring) : t->high, weights, has_b, of_code);
        for (c = 0; c < (uint32_t)weights; c++)
            w[16 * c + i] = of_code[c];
    }
}

/* n tiles of a row block into w[n * weights * 16][16 rows][4 columns]; fetches those at `next`. */
INLINE void decode_panel(const struct tables *t, const uint8_t *tile, const uint8_t *next,
                         uint32_t n, __m512i *w, const int weights, const int has_b, const int ring)
{
    uint32_t i, r;
    for (i = 0; i < n; i++, tile += Q35_TILE_BYTES, next += Q35_TILE_BYTES) {
        UNROLL
        for (r = 0; r < Q35_TILE_BYTES; r += 64)
            _mm_prefetch((const char *)next + r, _MM_HINT_T1);
        decode_turned(t, tile, w, weights, has_b, ring);
        w += 16 * (uint32_t)weights;
    }
}

/* A product of 1 or 2 row blocks' panels with a group of tokens. */
struct micro {
    const __m512i *w[2];
    const int32_t *q;    /* [steps][group] */
    uint64_t next_q;     /* bytes from q to the next group's */
    uint32_t steps;      /* of 4 columns */
    uint32_t tokens;     /* of the group that are stored */
    const int32_t *sums; /* what acc starts from, per token; NULL: from what is there */
    int32_t *acc;        /* [token][stride] */
    uint64_t stride;
};

#define TWELVE(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11)
#define ZERO(t) __m512i s##t##0 = zero, s##t##1 = zero;
#define STEP(t)                                                                                    \
    if ((t) < group) {                                                                             \
        __m512i v = _mm512_set1_epi32(q[t]);                                                       \
        s##t##0 = dot(s##t##0, x0, v);                                                             \
        if (blocks > 1)                                                                            \
            s##t##1 = dot(s##t##1, x1, v);                                                         \
    }
#define STORE(t)                                                                                   \
    if ((t) < group && (t) < m->tokens) {                                                          \
        __m512i *y = (__m512i *)(m->acc + (t)*m->stride), c = zero;                                \
        if (m->sums)                                                                               \
            c = _mm512_set1_epi32(m->sums[t]);                                                     \
        _mm512_storeu_si512(y, _mm512_add_epi32(s##t##0, m->sums ? c : _mm512_loadu_si512(y)));    \
        if (blocks > 1)                                                                            \
            _mm512_storeu_si512(                                                                   \
                y + 1, _mm512_add_epi32(s##t##1, m->sums ? c : _mm512_loadu_si512(y + 1)));        \
    }

INLINE void product(const struct micro *m, const uint32_t group, const uint32_t blocks)
{
    const __m512i zero = _mm512_setzero_si512(), *w0 = m->w[0], *w1 = m->w[1];
    const int32_t *q = m->q;
    const uint64_t next_q = m->next_q;
    uint32_t k;
    TWELVE(ZERO)
    for (k = 0; k < m->steps; k++, q += group) {
        __m512i x0 = w0[k], x1 = blocks > 1 ? w1[k] : x0;
        _mm_prefetch((const char *)q + next_q, _MM_HINT_T0);
        TWELVE(STEP)
    }
    TWELVE(STORE)
}

#define PRODUCT(group, blocks)                                                                     \
    static __attribute__((noinline)) void product_##group##_##blocks(const struct micro *m)        \
    {                                                                                              \
        product(m, group, blocks);                                                                 \
    }
PRODUCT(4, 1)
PRODUCT(8, 1)
PRODUCT(12, 1)
PRODUCT(4, 2)
PRODUCT(8, 2)
PRODUCT(12, 2)

static void (*const products[2][3])(const struct micro *) = {
    {product_4_1, product_8_1, product_12_1}, {product_4_2, product_8_2, product_12_2}};

/* A pass over all tokens: two row blocks of a matrix, or the same block of two (SWIGLU). */
struct pass {
    uint32_t block;  /* the first */
    uint32_t panels; /* 1 or 2: decoded row blocks */
    uint32_t rows;   /* of y that come of them */
    int32_t *acc;    /* of token 0 */
};

/* The lines of y that a group's sums go to, while these are added up: y is not in any cache, and
 * its rows are far apart. */
INLINE void fetch_y(const struct dots_args *a, const struct pass *p, uint32_t t, uint32_t tokens)
{
    const float *y = a->y + t * a->y_stride + 16 * (uint64_t)p->block;
    uint32_t i;
    for (i = 0; i < tokens; i++, y += a->y_stride) {
        __builtin_prefetch(y, 1);
        if (p->rows > 16)
            __builtin_prefetch(y + 16, 1);
    }
}

/* The scales or biases of 16 rows (fewer: m) and a token's 16 sums: q35_rescale, and the bias. */
INLINE __m512 rescaled(const int32_t *acc, __m512 scales, __m512 token_scale, __m512 bias,
                       const int has_bias)
{
    __m512 v = _mm512_cvtepi32_ps(_mm512_loadu_si512(acc));
    v = _mm512_mul_ps(v, _mm512_mul_ps(scales, token_scale));
    return has_bias ? _mm512_add_ps(v, bias) : v;
}

INLINE __m512 row_values(const float *values, uint64_t row, __mmask16 m)
{
    return values ? _mm512_maskz_loadu_ps(m, values + row) : _mm512_setzero_ps();
}

/* y from a group's sums, which are still in L1. */
INLINE void finish(const struct dots_args *a, const struct pass *p, uint32_t t, uint32_t tokens,
                   const int32_t *acc, uint64_t stride)
{
    uint32_t at, i;
    for (at = 0; at < p->rows; at += 16) {
        uint64_t row = 16 * (uint64_t)p->block + at;
        __mmask16 m = p->rows - at < 16 ? (__mmask16)((1u << (p->rows - at)) - 1u) : 0xffff;
        __m512 scales = row_values(a->scales, row, m), bias = row_values(a->bias, row, m);
        __m512 up_scales = row_values(a->up_scales, row, m);
        __m512 up_bias = row_values(a->up_bias, row, m);
        for (i = 0; i < tokens; i++) {
            const int32_t *sums = acc + i * stride + at;
            float *y = a->y + (t + i) * a->y_stride + row;
            __m512 s = _mm512_set1_ps(a->token_scales[t + i]);
            __m512 v = rescaled(sums, scales, s, bias, a->bias != NULL);
            if (a->then == DOTS_ADD)
                v = _mm512_add_ps(_mm512_maskz_loadu_ps(m, y), v);
            else if (a->then == DOTS_SWIGLU)
                v = swiglu16(v, rescaled(sums + 16, up_scales, s, up_bias, a->up_bias != NULL));
            _mm512_mask_storeu_ps(y, m, v);
        }
    }
}

/* Columns k .. k + cols - 1 of a pass's panels, decoded to w, times all tokens. */
static void all_tokens(const struct dots_args *a, const struct pass *p, const __m512i *w,
                       uint64_t stride, uint32_t k, uint32_t cols)
{
    uint32_t t, group, i, tokens;
    bool last = k + cols == a->cols;
    int32_t sums[GROUP];
    struct micro m = {.w = {w, w + PANEL / 64}, .steps = cols / 4, .stride = stride};
    for (t = 0; t < a->n_tokens; t += group) {
        group = group_of(t, a->n_tokens);
        m.tokens = a->n_tokens - t;
        tokens = m.tokens < group ? m.tokens : group;
        m.next_q = (uint64_t)group * a->q_stride;
        m.q = (const int32_t *)a->packed + ((uint64_t)t * a->q_stride + (uint64_t)k * group) / 4;
        m.acc = p->acc + t * stride;
        m.sums = k ? NULL : sums;
        for (i = 0; i < group; i++)
            sums[i] = i < m.tokens ? (int32_t)(0u - ((uint32_t)a->q_sums[t + i] << 7)) : 0;
        if (last)
            fetch_y(a, p, t, tokens);
        products[p->panels - 1][group / 4 - 1](&m);
        if (last)
            finish(a, p, t, tokens, m.acc, stride);
    }
}

INLINE void many(const struct dots_args *a, const int weights, const int has_b, const int ring)
{
    bool two = a->then == DOTS_SWIGLU; /* matrices */
    uint64_t of_block = (uint64_t)a->tiles * Q35_TILE_BYTES, stride = (two ? 32u : 16u) * a->blocks;
    uint32_t width = 64 * (uint32_t)weights, per_chunk = CHUNK / width, step = two ? 1 : 2, k, s, i;
    __m512i *w = a->scratch; /* [2][PANEL / 64] */
    struct tables t[2];
    load_tables(&t[0], a->tables);
    load_tables(&t[1], two ? a->up_tables : a->tables);
    for (k = 0; k < a->tiles; k += per_chunk) {
        uint32_t n = a->tiles - k < per_chunk ? a->tiles - k : per_chunk;
        uint32_t left = a->cols - k * width, cols = n * width < left ? n * width : left;
        for (s = 0; s < a->blocks; s += step) {
            struct pass p = {.block = s,
                             .panels = two || a->blocks - s > 1 ? 2 : 1,
                             .rows = a->rows - 16 * s < 16 * step ? a->rows - 16 * s : 16 * step,
                             .acc = a->acc + (two ? 32 : 16) * s};
            for (i = 0; i < p.panels; i++) {
                const uint8_t *first = two && i ? a->up_codes : a->codes;
                const uint8_t *block = first + (s + (two ? 0 : i)) * of_block;
                const uint8_t *next =
                    s + step < a->blocks ? block + step * of_block + k * Q35_TILE_BYTES
                    : k + n < a->tiles ? first + (two ? 0 : i) * of_block + (k + n) * Q35_TILE_BYTES
                                       : block + step * of_block;
                decode_panel(&t[i], block + (uint64_t)k * Q35_TILE_BYTES, next, n,
                             w + i * (PANEL / 64), weights, has_b, ring);
            }
            all_tokens(a, &p, w, stride, k * width, cols);
        }
    }
}

INSTANCES(many)

void q35_cpu_install_many_avx512vbmi(struct kernels *k)
{
    k->dots_many = many_any;
    k->many_finishes = true;
    k->few_most = 14;
    k->pack_bytes = pack_bytes_avx512vbmi;
    k->pack_q = pack_q_avx512vbmi;
    k->many_blocks = 4;
}
