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

#define GROUP 8u    /* tiles of one row block before the next stream's turn, at most */
#define AHEAD 8u    /* tiles from use to prefetch */
#define CHUNK 2048u /* columns decoded at once by dots_many */
/* sum + u * v in groups of four bytes, u unsigned. As assembly because gcc 12 copies the sum at
 * each use of the intrinsic and then runs out of registers. */
static inline __m512i dot(__m512i sum, __m512i u, __m512i v)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(v));
    return sum;
}

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
    struct above up[GROUP];
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
#define FEW_LOAD(i) __m512i s##i = (i) < rows * n ? sums[i] : t->high;
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

/* sums[n][rows] += rows r .. r + rows - 1 of `tiles` tiles. */
static inline __attribute__((always_inline)) void
few_rows(const struct tables *t, const uint8_t *tile, uint32_t tiles, const uint32_t rows,
         const uint32_t n, const __m512i *q, struct few *f, __m512i *sums, const int pair,
         const int has_b, const int ring)
{
    uint32_t i;
    SIXTEEN(FEW_LOAD)
    for (i = 0; i < tiles; i++, tile += Q35_TILE_BYTES) {
        struct above up = f->up[i];
        FOUR(FEW_ROW, 0, 1, 2, 3)
        f->up[i] = up;
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
    const uint32_t group = n > 4 ? GROUP / 2 : GROUP; /* codes, tokens and sums stay in L1 */
    struct few *f = a->scratch;
    uint32_t k, s, i, r;
    for (i = 0; i < set * 16 * n; i++)
        f->sums[i] = _mm512_setzero_si512();
    for (k = 0; k < a->tiles; k += group) {
        uint32_t tiles = a->tiles - k < group ? a->tiles - k : group;
        const __m512i *q = (const __m512i *)a->packed + (uint64_t)k * n * (pair ? 2 : 1);
        for (s = 0; s < set; s++) {
            const uint8_t *tile = a->codes + (first + s) * stride + (uint64_t)k * Q35_TILE_BYTES;
            for (i = 0; i < tiles; i++) {
                f->up[i] = (struct above){t->high, t->high};
                decode_seam(t, tile + i * Q35_TILE_BYTES, &f->up[i], has_b, ring);
            }
            for (r = 0; r < 16; r += rows)
                few_rows(t, tile + Q35_ROW_BYTES * r, tiles, rows, n, q, f,
                         f->sums + ((uint64_t)s * 16 + r) * n, pair, has_b, ring);
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

/* ---- many tokens: decode into scratch, then a matrix product ----------------------------------
 */

/* n tiles of a row block as rows of unsigned weights: w[16][row_bytes]. */
static inline __attribute__((always_inline)) void
decode_tiles(const struct tables *t, const uint8_t *tile, uint32_t n, uint8_t *w,
             uint64_t row_bytes, const int pair, const int has_b, const int ring)
{
    uint32_t i, r;
    for (i = 0; i < n; i++, tile += Q35_TILE_BYTES, w += pair ? 128 : 64) {
        struct above up = {t->high, t->high};
        decode_seam(t, tile, &up, has_b, ring);
        UNROLL
        for (r = 0; r < 16; r++) {
            __m512i x, y = t->high;
            decode(t, tile + Q35_ROW_BYTES * r, &up, pair, has_b, ring, &x, &y);
            _mm512_store_si512(w + r * row_bytes, x);
            if (pair)
                _mm512_store_si512(w + r * row_bytes + 64, y);
        }
    }
}

/* The sums of 4 rows times 6 tokens, as named variables so that they stay in registers. */
#define SUMS_OF(t) __m512i s##t##0, s##t##1, s##t##2, s##t##3;
#define SUMS_ZERO(t) s##t##0 = s##t##1 = s##t##2 = s##t##3 = _mm512_setzero_si512();
#define SUMS_STEP(t)                                                                               \
    if ((t) < n) {                                                                                 \
        __m512i v = _mm512_loadu_si512(q + (t)*q_stride);                                          \
        s##t##0 = dot(s##t##0, x0, v);                                                             \
        s##t##1 = dot(s##t##1, x1, v);                                                             \
        s##t##2 = dot(s##t##2, x2, v);                                                             \
        s##t##3 = dot(s##t##3, x3, v);                                                             \
    }
#define SUMS_REDUCE(t)                                                                             \
    if ((t) < n) {                                                                                 \
        __m128i *y = (__m128i *)(out + (t)*out_stride);                                            \
        __m128i sum = reduce4_i32(s##t##0, s##t##1, s##t##2, s##t##3);                             \
        _mm_storeu_si128(y, _mm_add_epi32(_mm_loadu_si128(y), sum));                               \
    }
#define EACH_TOKEN(m) m(0) m(1) m(2) m(3) m(4) m(5)

/* 4 rows of w times n tokens of q over `steps` 64-column steps. */
#define MICRO()                                                                                    \
    for (k = 0; k < steps; k++, w += 64, q += 64) {                                                \
        __m512i x0 = _mm512_load_si512(w), x1 = _mm512_load_si512(w + row_bytes);                  \
        __m512i x2 = _mm512_load_si512(w + 2 * row_bytes);                                         \
        __m512i x3 = _mm512_load_si512(w + 3 * row_bytes);                                         \
        EACH_TOKEN(SUMS_STEP)                                                                      \
    }

/* 4 rows times n tokens over a chunk, added to out[token][out_stride]. */
static inline __attribute__((always_inline)) void micro_many(const uint8_t *w, uint64_t row_bytes,
                                                             const int8_t *q, uint64_t q_stride,
                                                             uint32_t steps, const uint64_t n,
                                                             int32_t *out, uint64_t out_stride)
{
    uint32_t k;
    EACH_TOKEN(SUMS_OF)
    EACH_TOKEN(SUMS_ZERO)
    MICRO()
    EACH_TOKEN(SUMS_REDUCE)
}

static void product_many(const uint8_t *w, uint64_t row_bytes, const int8_t *q, uint64_t q_stride,
                         uint32_t steps, uint32_t n, int32_t *out, uint64_t out_stride)
{
    uint32_t r, t, c;
    for (t = 0; t < n; t += c) {
        c = n - t > 6 ? 6 : n - t;
        for (r = 0; r < 16; r += 4) {
            const uint8_t *x = w + r * row_bytes;
            const int8_t *v = q + t * q_stride;
            int32_t *y = out + t * out_stride + r;
            switch (c) {
            case 1:
                micro_many(x, row_bytes, v, q_stride, steps, 1, y, out_stride);
                break;
            case 2:
                micro_many(x, row_bytes, v, q_stride, steps, 2, y, out_stride);
                break;
            case 3:
                micro_many(x, row_bytes, v, q_stride, steps, 3, y, out_stride);
                break;
            case 4:
                micro_many(x, row_bytes, v, q_stride, steps, 4, y, out_stride);
                break;
            case 5:
                micro_many(x, row_bytes, v, q_stride, steps, 5, y, out_stride);
                break;
            default:
                micro_many(x, row_bytes, v, q_stride, steps, 6, y, out_stride);
                break;
            }
        }
    }
}

static inline __attribute__((always_inline)) void
many_tokens(const struct dots_args *a, const int pair, const int has_b, const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES, out_stride = (uint64_t)a->blocks * 16;
    uint32_t width = pair ? 128 : 64, per_chunk = CHUNK / width, k, s, i, r;
    uint8_t *w = a->scratch; /* [16][CHUNK + 64]: rows must not all fall into the same cache sets */
    uint64_t row_bytes = CHUNK + 64;
    struct tables t;
    load_tables(&t, a->tables);
    for (i = 0; i < a->n_tokens; i++)
        for (r = 0; r < out_stride; r++)
            a->acc[i * out_stride + r] = (int32_t)(0u - ((uint32_t)a->q_sums[i] << 7));
    for (s = 0; s < a->blocks; s++)
        for (k = 0; k < a->tiles; k += per_chunk) {
            uint32_t n = a->tiles - k < per_chunk ? a->tiles - k : per_chunk;
            decode_tiles(&t, a->codes + s * stride + (uint64_t)k * Q35_TILE_BYTES, n, w, row_bytes,
                         pair, has_b, ring);
            product_many(w, row_bytes, a->q + (uint64_t)k * width, a->q_stride, n * (width / 64),
                         a->n_tokens, a->acc + 16 * s, out_stride);
        }
}

INSTANCES(one_token)
INSTANCES(many_tokens)

static void dots_few_avx512vbmi(const struct dots_args *a)
{
    int pair = Q35_SCHEME_WEIGHTS(a->scheme) == 2u, b = uses(a->tables->b);
    if (a->n_tokens == 1)
        one_token_any(a);
    else if (!pair && b) /* no scheme has these */
        many_tokens_any(a);
    else if (!pair)
        few_single[a->n_tokens](a);
    else
        (!b ? few_pair : Q35_SCHEME_RING(a->scheme) ? few_pair_ring : few_pair_b)[a->n_tokens](a);
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
    k->dots_many = many_tokens_any;
    k->pack_few = pack_few_avx512vbmi;
    k->sum_q = sum_q_avx512vbmi;
}
