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
/* ---- one token: the sums of 16 rows stay in registers -------------------------------------- */

static inline __attribute__((always_inline)) void
one_token(const struct dots_args *a, const int pair, const int has_b, const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES;
    uint32_t group = a->streams > 1 ? GROUP : a->tiles;
    __m512i(*sums)[16] = a->scratch; /* [blocks][16] */
    struct tables t;
    uint32_t k, s, r;
    load_tables(&t, a->tables);
    for (s = 0; s < a->blocks; s++)
        for (r = 0; r < 16; r++)
            sums[s][r] = _mm512_setzero_si512();
    for (k = 0; k < a->tiles; k += group) {
        uint32_t end = k + group < a->tiles ? k + group : a->tiles, i;
        for (s = 0; s < a->blocks; s++) {
            const uint8_t *tile = a->codes + s * stride + (uint64_t)k * Q35_TILE_BYTES;
            __m512i acc[16];
            UNROLL
            for (r = 0; r < 16; r++)
                acc[r] = sums[s][r];
            for (i = k; i < end; i++, tile += Q35_TILE_BYTES) {
                const int8_t *q = a->q + (uint64_t)i * (pair ? 128 : 64);
                __m512i q0 = _mm512_loadu_si512(q), q1 = pair ? _mm512_loadu_si512(q + 64) : q0;
                struct above up = {q0, q0};
                prefetch_tile(tile + AHEAD * Q35_TILE_BYTES);
                decode_seam(&t, tile, &up, has_b, ring);
                UNROLL
                for (r = 0; r < 16; r++) {
                    __m512i x, y = q0;
                    decode(&t, tile + Q35_ROW_BYTES * r, &up, pair, has_b, ring, &x, &y);
                    acc[r] = dot(acc[r], x, q0);
                    if (pair)
                        acc[r] = dot(acc[r], y, q1);
                }
            }
            UNROLL
            for (r = 0; r < 16; r++)
                sums[s][r] = acc[r];
        }
    }
    for (s = 0; s < a->blocks; s++)
        _mm512_storeu_si512(
            a->acc + 16 * s,
            _mm512_sub_epi32(reduce16_i32(sums[s]),
                             _mm512_set1_epi32((int32_t)((uint32_t)a->q_sums[0] << 7))));
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

/* The tokens side by side: packed[cols / 64][columns][64]; columns past n repeat the last one. */
static void pack_few_avx512vbmi(const int8_t *q, uint64_t q_stride, uint32_t n, uint32_t cols,
                                void *packed)
{
    uint32_t columns = few_columns(n), t, i;
    __m512i *to = packed;
    for (i = 0; i < cols; i += 64)
        for (t = 0; t < columns; t++)
            *to++ = _mm512_loadu_si512(q + (t < n ? t : n - 1) * q_stride + i);
}

/* Up to 4 rows and 16 sums as named variables, sum i of row i % rows and token i / rows: clang
 * leaves arrays in memory here. */
#define FEW_ROW(r)                                                                                 \
    __m512i x##r = t->high, y##r = t->high;                                                        \
    if ((r) < rows) {                                                                              \
        const uint8_t *row = tile + Q35_ROW_BYTES * (r);                                           \
        _mm_prefetch((const char *)row + AHEAD * Q35_TILE_BYTES, _MM_HINT_T0);                     \
        decode(t, row, &up, pair, has_b, ring, &x##r, &y##r);                                      \
    }
#define FEW_PICK(v, i)                                                                             \
    ((i) % rows == 0 ? v##0 : (i) % rows == 1 ? v##1 : (i) % rows == 2 ? v##2 : v##3)
#define FEW_LOAD(i)                                                                                \
    __m512i s##i = (i) < rows * n ? _mm512_maskz_load_epi32(keep, &sums[i]) : t->high;
#define FEW_X(i)                                                                                   \
    if ((i) < rows * n)                                                                            \
        s##i = dot(s##i, FEW_PICK(x, i), q[(i) / rows]);
#define FEW_Y(i)                                                                                   \
    if (pair && (i) < rows * n)                                                                    \
        s##i = dot(s##i, FEW_PICK(y, i), q[n + (i) / rows]);
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
         const int pair, const int has_b, const int ring)
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
        FOUR(FEW_X, 0, 1, 2, 3)
        FOUR(FEW_Y, 0, 1, 2, 3)
        FOUR(FEW_X, 4, 5, 6, 7)
        FOUR(FEW_Y, 4, 5, 6, 7)
        FOUR(FEW_X, 8, 9, 10, 11)
        FOUR(FEW_Y, 8, 9, 10, 11)
        FOUR(FEW_X, 12, 13, 14, 15)
        FOUR(FEW_Y, 12, 13, 14, 15)
        q += pair ? 2 * n : n;
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
        const uint32_t n, const uint32_t rows, const int pair, const int has_b, const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES;
    struct few *f = a->scratch;
    uint32_t k, s, i, r;
    for (k = 0; k < a->tiles; k += GROUP) {
        uint32_t tiles = a->tiles - k < GROUP ? a->tiles - k : GROUP;
        const __m512i *q = (const __m512i *)a->packed + (uint64_t)k * n * (pair ? 2 : 1);
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
                         f->sums + ((uint64_t)s * 16 + r) * n, k ? 0xffff : 0, pair, has_b, ring);
        }
    }
    for (s = 0; s < set; s++)
        few_store(a, first + s, f->sums + (uint64_t)s * 16 * n, n, rows);
}

static inline __attribute__((always_inline)) void few_tokens(const struct dots_args *a,
                                                             const uint32_t n, const uint32_t rows,
                                                             const int pair, const int has_b,
                                                             const int ring)
{
    uint32_t set = a->streams > 1 ? a->blocks : 1, s;
    struct tables t;
    load_tables(&t, a->tables);
    for (s = 0; s < a->blocks; s += set)
        few_set(a, &t, s, set, n, rows, pair, has_b, ring);
}

#define FEW(kind, n, rows, pair, b, ring)                                                          \
    static __attribute__((noinline)) void few_##kind##_##n(const struct dots_args *a)              \
    {                                                                                              \
        few_tokens(a, n, rows, pair, b, ring);                                                     \
    }
#define FEW_ALL(kind, pair, b, ring)                                                               \
    FEW(kind, 2, 4, pair, b, ring)                                                                 \
    FEW(kind, 3, 4, pair, b, ring)                                                                 \
    FEW(kind, 4, 4, pair, b, ring)                                                                 \
    FEW(kind, 6, 2, pair, b, ring)                                                                 \
    FEW(kind, 8, 2, pair, b, ring)                                                                 \
    static void (*const few_##kind[DOTS_FEW + 1])(const struct dots_args *) = {                    \
        NULL,           NULL,           few_##kind##_2, few_##kind##_3, few_##kind##_4,            \
        few_##kind##_6, few_##kind##_6, few_##kind##_8, few_##kind##_8}; /* by tokens */

FEW_ALL(pair, 1, 0, 0)
FEW_ALL(pair_b, 1, 1, 0)
FEW_ALL(pair_ring, 1, 1, 1)
FEW_ALL(single, 0, 0, 0)
FEW_ALL(single_b, 0, 1, 0)
FEW_ALL(single_ring, 0, 1, 1)

INSTANCES(one_token)

static void dots_few_avx512vbmi(const struct dots_args *a)
{
    int b = uses(a->tables->b), ring = Q35_SCHEME_RING(a->scheme) != 0;
    if (a->n_tokens == 1)
        one_token_any(a);
    else if (Q35_SCHEME_WEIGHTS(a->scheme) == 1u)
        (!b ? few_single : ring ? few_single_ring : few_single_b)[a->n_tokens](a);
    else
        (!b ? few_pair : ring ? few_pair_ring : few_pair_b)[a->n_tokens](a);
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
