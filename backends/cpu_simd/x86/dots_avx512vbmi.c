/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products with AVX-512 VBMI and VNNI.
 *
 * A row of a tile is one load: vpermb puts 7 bytes into each 64-bit lane, vpmultishiftqb cuts them
 * into 8 codes, vpermi2b looks up 64 codes in a table of 128 bytes (it ignores bit 7, so the codes
 * need no mask). A nibble of B times 8 is the nibble in bits 3..6: B's bytes are turned by 3 bits
 * so that the low nibble lies there, and GFNI moves the high one.
 *
 * vpdpbusd wants one unsigned factor: weights carry +128, put into the A tables, and 128 * sum(q)
 * is taken off at the end, modulo 2^32. */

#include "vbmi.h"

#define GROUP 8u /* tiles of one row block before the next stream's turn, at most */
#define AHEAD 8u /* tiles from use to prefetch */
/* 64 columns from column `col` on, zeros past the end: of a tile's last segments. */
INLINE __m512i segment(const struct dots_args *a, const int8_t *q, uint32_t col)
{
    return _mm512_maskz_loadu_epi8(col < a->cols ? ~0ull : 0, q + col);
}

/* ---- one token: the sums of 16 rows stay in registers -------------------------------------- */

/* acc[16] += tiles first .. end - 1 of a row block whose first tile is `tile`. */
INLINE void one_block(const struct dots_args *a, const struct tables *t, const uint8_t *tile,
                      uint32_t first, uint32_t end, __m512i acc[16], const int weights,
                      const int has_b, const int ring)
{
    uint32_t i, r;
    tile += (uint64_t)first * Q35_TILE_BYTES;
    for (i = first; i < end; i++, tile += Q35_TILE_BYTES) {
        uint32_t col = i * 64 * (uint32_t)weights;
        __m512i q0 = _mm512_loadu_si512(a->q + col), q1 = q0, q2 = q0, w[3];
        struct above up = {q0, q0};
        if (weights == 2)
            q1 = _mm512_loadu_si512(a->q + col + 64);
        if (weights == 3) {
            q1 = segment(a, a->q, col + 64);
            q2 = segment(a, a->q, col + 128);
        }
        prefetch_tile(tile + AHEAD * Q35_TILE_BYTES);
        decode_seam(t, tile, &up, has_b, ring);
        UNROLL
        for (r = 0; r < 16; r++) {
            decode(t, tile + Q35_ROW_BYTES * r, &up, weights, has_b, ring, w);
            acc[r] = dot(acc[r], w[0], q0);
            if (weights > 1)
                acc[r] = dot(acc[r], w[1], q1);
            if (weights > 2)
                acc[r] = dot(acc[r], w[2], q2);
        }
    }
}

INLINE void one_token(const struct dots_args *a, const int weights, const int has_b, const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES;
    uint32_t group = a->streams > 1 ? GROUP : a->tiles; /* else each block at one go */
    __m512i(*sums)[16] = a->scratch;                    /* [blocks][16] */
    __m512i bias = _mm512_set1_epi32((int32_t)((uint32_t)a->q_sums[0] << 7));
    struct tables t;
    uint32_t k, s, r;
    load_tables(&t, a->tables);
    for (k = 0; k < a->tiles; k += group) {
        uint32_t end = k + group < a->tiles ? k + group : a->tiles;
        for (s = 0; s < a->blocks; s++) {
            __m512i acc[16];
            UNROLL
            for (r = 0; r < 16; r++)
                acc[r] = k ? sums[s][r] : _mm512_setzero_si512();
            one_block(a, &t, a->codes + s * stride, k, end, acc, weights, has_b, ring);
            if (end == a->tiles) {
                _mm512_storeu_si512(a->acc + 16 * s, _mm512_sub_epi32(reduce16_i32(acc), bias));
                continue;
            }
            UNROLL
            for (r = 0; r < 16; r++)
                sums[s][r] = acc[r];
        }
    }
}

/* ---- 2 to 8 tokens: a few rows at a time, so that rows x tokens sums stay in registers ------- */

/* What the passes over a group of tiles share: what the rows of the last pass hand down in each
 * tile, and the sums so far. */
struct few {
    __m512i b[GROUP], code[GROUP];
    __m512i sums[]; /* [blocks][16][n] */
};

/* Columns that the kernel for n tokens works with. */
static uint32_t few_columns(uint32_t n)
{
    return n + (n == 5 || n == 7);
}

/* The tokens side by side: packed[cols / 64 + 2][columns][64]; columns past n repeat the last one,
 * and 128 columns of zeros follow for tiles of 192 columns. */
static void pack_few_avx512vbmi(const int8_t *q, uint64_t q_stride, uint32_t n, uint32_t cols,
                                void *packed)
{
    uint32_t columns = few_columns(n), t, i;
    __m512i *to = packed;
    for (i = 0; i < cols; i += 64)
        for (t = 0; t < columns; t++)
            *to++ = _mm512_loadu_si512(q + (t < n ? t : n - 1) * q_stride + i);
    for (i = 0; i < 2 * columns; i++)
        *to++ = _mm512_setzero_si512();
}

/* Up to 4 rows and 16 sums as named variables, sum i of row i % rows and token i / rows: clang
 * leaves arrays in memory here. */
#define FEW_ROW(r)                                                                                 \
    __m512i w##r[3] = {t->high, t->high, t->high};                                                 \
    if ((r) < rows) {                                                                              \
        const uint8_t *row = tile + Q35_ROW_BYTES * (r);                                           \
        _mm_prefetch((const char *)row + AHEAD * Q35_TILE_BYTES, _MM_HINT_T0);                     \
        decode(t, row, &up, weights, has_b, ring, w##r);                                           \
    }
#define FEW_PICK(g, i)                                                                             \
    ((i) % rows == 0 ? w0[g] : (i) % rows == 1 ? w1[g] : (i) % rows == 2 ? w2[g] : w3[g])
#define FEW_LOAD(i)                                                                                \
    __m512i s##i = (i) < rows * n ? _mm512_maskz_load_epi32(keep, &sums[i]) : t->high;
#define FEW_DOT(g, i)                                                                              \
    if ((g) < weights && (i) < rows * n)                                                           \
        s##i = dot(s##i, FEW_PICK(g, i), q[(g)*n + (i) / rows]);
#define FEW_DOTS(a, b, c, d)                                                                       \
    FEW_DOT(0, a)                                                                                  \
    FEW_DOT(0, b)                                                                                  \
    FEW_DOT(0, c)                                                                                  \
    FEW_DOT(0, d) FEW_DOT(1, a) FEW_DOT(1, b) FEW_DOT(1, c) FEW_DOT(1, d) FEW_DOT(2, a)            \
        FEW_DOT(2, b) FEW_DOT(2, c) FEW_DOT(2, d)
#define FEW_SAVE(i)                                                                                \
    if ((i) < rows * n)                                                                            \
        sums[i] = s##i;
#define FOUR(m, a, b, c, d) m(a) m(b) m(c) m(d)
#define SIXTEEN(m)                                                                                 \
    FOUR(m, 0, 1, 2, 3) FOUR(m, 4, 5, 6, 7) FOUR(m, 8, 9, 10, 11) FOUR(m, 12, 13, 14, 15)

/* sums[n][rows] += rows r .. r + rows - 1 of `tiles` tiles; keep = 0: what was there is not used.
 */
static inline __attribute__((always_inline)) void
few_rows(const struct tables *t, const uint8_t *tile, uint32_t tiles, const uint32_t rows,
         const uint32_t n, const __m512i *q, struct few *f, __m512i *sums, __mmask16 keep,
         const uint32_t weights, const int has_b, const int ring)
{
    uint32_t i;
    SIXTEEN(FEW_LOAD)
    for (i = 0; i < tiles; i++, tile += Q35_TILE_BYTES) {
        struct above up = {f->b[i], ring ? f->code[i] : t->high};
        FOUR(FEW_ROW, 0, 1, 2, 3)
        if (has_b) /* stores are dear */
            f->b[i] = up.b;
        if (ring)
            f->code[i] = up.code;
        FEW_DOTS(0, 1, 2, 3)
        FEW_DOTS(4, 5, 6, 7)
        FEW_DOTS(8, 9, 10, 11)
        FEW_DOTS(12, 13, 14, 15)
        q += weights * n;
    }
    SIXTEEN(FEW_SAVE)
}

/* Adds up the lanes of one row block's sums[16 / rows][n][rows]. */
static inline __attribute__((always_inline)) void few_store(const struct dots_args *a, uint32_t s,
                                                            const __m512i *sums, const uint32_t n,
                                                            const uint32_t rows)
{
    uint32_t i, r;
    for (i = 0; i < a->n_tokens; i++) {
        __m512i column[16];
        UNROLL
        for (r = 0; r < 16; r++)
            column[r] = sums[r / rows * rows * n + i * rows + r % rows];
        _mm512_storeu_si512(
            a->acc + ((uint64_t)i * a->blocks + s) * 16,
            _mm512_sub_epi32(reduce16_i32(column),
                             _mm512_set1_epi32((int32_t)((uint32_t)a->q_sums[i] << 7))));
    }
}

/* Row blocks first .. first + set - 1, in turn. */
static inline __attribute__((always_inline)) void
few_set(const struct dots_args *a, const struct tables *t, uint32_t first, uint32_t set,
        const uint32_t n, const uint32_t rows, const uint32_t weights, const int has_b,
        const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES;
    struct few *f = a->scratch;
    uint32_t k, s, i, r;
    for (k = 0; k < a->tiles; k += GROUP) {
        uint32_t tiles = a->tiles - k < GROUP ? a->tiles - k : GROUP;
        const __m512i *q = (const __m512i *)a->packed + (uint64_t)k * n * weights;
        for (s = 0; s < set; s++) {
            const uint8_t *tile = a->codes + (first + s) * stride + (uint64_t)k * Q35_TILE_BYTES;
            for (i = 0; i < tiles; i++) {
                struct above up = {t->high, t->high};
                decode_seam(t, tile + i * Q35_TILE_BYTES, &up, has_b, ring);
                f->b[i] = up.b;
                f->code[i] = up.code;
            }
            for (r = 0; r < 16; r += rows)
                few_rows(t, tile + Q35_ROW_BYTES * r, tiles, rows, n, q, f,
                         f->sums + ((uint64_t)s * 16 + r) * n, k ? 0xffff : 0, weights, has_b,
                         ring);
        }
    }
    for (s = 0; s < set; s++)
        few_store(a, first + s, f->sums + (uint64_t)s * 16 * n, n, rows);
}

static inline __attribute__((always_inline)) void few_tokens(const struct dots_args *a,
                                                             const uint32_t n, const uint32_t rows,
                                                             const uint32_t weights,
                                                             const int has_b, const int ring)
{
    uint32_t set = a->streams > 1 ? a->blocks : 1, s;
    struct tables t;
    load_tables(&t, a->tables);
    for (s = 0; s < a->blocks; s += set)
        few_set(a, &t, s, set, n, rows, weights, has_b, ring);
}

#define FEW(n, rows, weights, b, ring)                                                             \
    static __attribute__((noinline)) void few_##n##_##weights##b##ring(const struct dots_args *a)  \
    {                                                                                              \
        few_tokens(a, n, rows, weights, b, ring);                                                  \
    }
#define FEW_ALL(weights, b, ring, most)                                                            \
    FEW(2, most, weights, b, ring)                                                                 \
    FEW(3, most, weights, b, ring)                                                                 \
    FEW(4, most, weights, b, ring)                                                                 \
    FEW(6, 2, weights, b, ring)                                                                    \
    FEW(8, 2, weights, b, ring)
#define FEW_OF(kind)                                                                               \
    {                                                                                              \
        few_2_##kind, few_3_##kind, few_4_##kind, few_6_##kind, few_6_##kind, few_8_##kind,        \
            few_8_##kind                                                                           \
    }

FEW_ALL(1, 0, 0, 4)
FEW_ALL(2, 0, 0, 4)
FEW_ALL(2, 1, 0, 4)
FEW_ALL(2, 1, 1, 4)
FEW_ALL(3, 1, 0, 2)

/* By weights, kind and tokens; kinds that no scheme has are done token by token. */
static void (*const few[3][3][DOTS_FEW - 1])(const struct dots_args *) = {
    {FEW_OF(100), {NULL}, {NULL}},
    {FEW_OF(200), FEW_OF(210), FEW_OF(211)},
    {{NULL}, FEW_OF(310), {NULL}},
};

INSTANCES(one_token)

static void dots_few_avx512vbmi(const struct dots_args *a)
{
    void (*const *by_tokens)(const struct dots_args *) =
        few[Q35_SCHEME_WEIGHTS(a->scheme) - 1][dots_kind(a)];
    struct dots_args one = *a;
    uint32_t t;
    if (a->n_tokens > 1 && by_tokens[0]) {
        by_tokens[a->n_tokens - 2](a);
        return;
    }
    for (t = 0; t < a->n_tokens; t++) {
        one.q = a->q + t * a->q_stride;
        one.q_sums = a->q_sums + t;
        one.acc = a->acc + (uint64_t)t * a->blocks * 16;
        one_token_any(&one);
    }
}

static int32_t sum_q_avx512vbmi(const int8_t *q, uint32_t n)
{
    __m512i ones = _mm512_set1_epi8(1), s0 = _mm512_setzero_si512(), s1 = s0;
    uint32_t i;
    for (i = 0; i < n; i += 128) {
        s0 = dot(s0, ones, _mm512_loadu_si512(q + i));
        s1 = dot(s1, ones, _mm512_loadu_si512(q + i + 64));
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(s0, s1));
}

void q35_cpu_install_avx512vbmi(struct kernels *k)
{
    k->dots_few = dots_few_avx512vbmi;
    k->pack_few = pack_few_avx512vbmi;
    k->sum_q = sum_q_avx512vbmi;
    q35_cpu_install_many_avx512vbmi(k);
}
