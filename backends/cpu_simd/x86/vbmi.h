/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_VBMI_H
#define Q35_CPU_VBMI_H

/* Decoding tiles with AVX-512 VBMI and GFNI, for the kernels of that variant and of AMX. See
 * dots_avx512vbmi.c for how it works. */

#include "../kernels.h"
#include "avx512.h"

#define INLINE static inline __attribute__((always_inline))
#define BIT(row, bit) (1ull << (8 * (7 - (row)) + (bit)))

/* 16 x 16 matrix of 32-bit elements: out row i is column i of in. */
INLINE void transpose16(const __m512i in[16], __m512i out[16])
{
    __m512i a[16], b[16];
    int i, j;
    UNROLL
    for (i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_epi32(in[2 * i], in[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(in[2 * i], in[2 * i + 1]);
    }
    UNROLL
    for (i = 0; i < 4; i++) /* b[4 i + c]: column c of each group of four, rows 4 i .. 4 i + 3 */
        for (j = 0; j < 2; j++) {
            b[4 * i + 2 * j] = _mm512_unpacklo_epi64(a[4 * i + j], a[4 * i + 2 + j]);
            b[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a[4 * i + j], a[4 * i + 2 + j]);
        }
    UNROLL
    for (i = 0; i < 4; i++) {
        __m512i lo = _mm512_shuffle_i32x4(b[i], b[4 + i], 0x88);
        __m512i hi = _mm512_shuffle_i32x4(b[i], b[4 + i], 0xdd);
        __m512i lo2 = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0x88);
        __m512i hi2 = _mm512_shuffle_i32x4(b[8 + i], b[12 + i], 0xdd);
        out[i] = _mm512_shuffle_i32x4(lo, lo2, 0x88);
        out[8 + i] = _mm512_shuffle_i32x4(lo, lo2, 0xdd);
        out[4 + i] = _mm512_shuffle_i32x4(hi, hi2, 0x88);
        out[12 + i] = _mm512_shuffle_i32x4(hi, hi2, 0xdd);
    }
}

/* sum + u * v in groups of four bytes, u unsigned. As assembly because gcc 12 copies the sum at
 * each use of the intrinsic and then runs out of registers. */
static inline __m512i dot(__m512i sum, __m512i u, __m512i v)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(u), "v"(v));
    return sum;
}

void q35_cpu_install_many_avx512vbmi(struct kernels *k);

struct tables {
    __m512i a0[2], a1[2], a2[2], b[2];
    __m512i spread, shifts, high, low, column; /* column: moves codes up by one */
};

static inline void load_table(__m512i out[2], const void *table, int bias)
{
    __m512i add = _mm512_set1_epi8((char)bias);
    out[0] = _mm512_add_epi8(_mm512_loadu_si512(table), add);
    out[1] = _mm512_add_epi8(_mm512_loadu_si512((const uint8_t *)table + 64), add);
}

/* Every byte turned left by 3 bits. */
static inline void load_nibbles(__m512i out[2], const uint8_t *table)
{
    __m512i turn = _mm512_set1_epi64((long long)(BIT(0, 5) | BIT(1, 6) | BIT(2, 7) | BIT(3, 0) |
                                                 BIT(4, 1) | BIT(5, 2) | BIT(6, 3) | BIT(7, 4)));
    out[0] = _mm512_gf2p8affine_epi64_epi8(_mm512_loadu_si512(table), turn, 0);
    out[1] = _mm512_gf2p8affine_epi64_epi8(_mm512_loadu_si512(table + 64), turn, 0);
}

/* Seven bytes into each eight; bytes moved up by one place, in a ring. */
static const uint8_t vbmi_spread[64] = {
    0,  1,  2,  3,  4,  5,  6,  6,  7,  8,  9,  10, 11, 12, 13, 13, 14, 15, 16, 17, 18, 19,
    20, 20, 21, 22, 23, 24, 25, 26, 27, 27, 28, 29, 30, 31, 32, 33, 34, 34, 35, 36, 37, 38,
    39, 40, 41, 41, 42, 43, 44, 45, 46, 47, 48, 48, 49, 50, 51, 52, 53, 54, 55, 55};
static const uint8_t vbmi_column[64] = {
    63, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
    21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42,
    43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62};

static inline void load_tables(struct tables *t, const struct q35_tables *from)
{
    load_table(t->a0, from->a0, 128);
    load_table(t->a1, from->a1, 128);
    load_table(t->a2, from->a2, 128);
    load_nibbles(t->b, from->b);
    t->spread = _mm512_loadu_si512(vbmi_spread);
    t->column = _mm512_loadu_si512(vbmi_column);
    t->shifts = _mm512_set1_epi64(0x312a231c150e0700ll);
    /* the high nibble's bits lie in 7, 0, 1, 2 and go to 3..6 */
    t->high = _mm512_set1_epi64((long long)(BIT(3, 7) | BIT(4, 0) | BIT(5, 1) | BIT(6, 2)));
    t->low = _mm512_set1_epi8(0x78);
}

static inline __m512i codes_of(const struct tables *t, const uint8_t *row)
{
    __m512i x = _mm512_permutexvar_epi8(t->spread, _mm512_loadu_si512(row));
    return _mm512_multishift_epi64_epi8(t->shifts, x);
}

static inline __m512i look(const __m512i table[2], __m512i codes)
{
    return _mm512_permutex2var_epi8(table[0], codes, table[1]);
}

/* What rows of a tile hand down to the next one. */
struct above {
    __m512i b, code; /* its B term; the codes above it, for rings */
};

/* 64 times 1 to 3 weights (+128) of codes and the B terms above them: w[0] for the first columns of
 * a tile, w[1] for the second, w[2] for the third. */
INLINE void weights_of(const struct tables *t, __m512i code, __m512i b, const int weights,
                       const int has_b, __m512i w[3])
{
    __m512i high, low;
    w[0] = look(t->a0, code);
    if (weights > 1)
        w[1] = look(t->a1, code);
    if (weights > 2)
        w[2] = look(t->a2, code);
    if (has_b) {
        high = _mm512_gf2p8affine_epi64_epi8(b, t->high, 0);
        low = _mm512_and_si512(b, t->low);
        w[0] = _mm512_add_epi8(w[0], high);
        if (weights > 1)
            w[1] = _mm512_add_epi8(w[1], low);
        if (weights > 2)
            w[2] = _mm512_add_epi8(w[2], _mm512_xor_si512(high, low));
    }
}

/* The weights of the row at `row`. */
INLINE void decode(const struct tables *t, const uint8_t *row, struct above *up, const int weights,
                   const int has_b, const int ring, __m512i w[3])
{
    __m512i code = codes_of(t, row);
    weights_of(t, code, up->b, weights, has_b, w);
    if (has_b) {
        up->b = look(t->b, ring ? _mm512_xor_si512(code, up->code) : code);
        up->code = code;
    }
}

/* Above row 0 stands row 15: of the same column, or in a ring of the column before. */
static inline void decode_seam(const struct tables *t, const uint8_t *tile, struct above *up,
                               const int has_b, const int ring)
{
    __m512i code, before;
    if (!has_b)
        return;
    code = codes_of(t, tile + 15 * Q35_ROW_BYTES);
    if (ring) {
        before = codes_of(t, tile + 14 * Q35_ROW_BYTES);
        before = _mm512_permutexvar_epi8(t->column, _mm512_xor_si512(code, before));
        up->code = _mm512_permutexvar_epi8(t->column, code);
        up->b = look(t->b, before);
    } else {
        up->b = look(t->b, code);
    }
}

INLINE void prefetch_tile(const uint8_t *tile)
{
    int i;
    UNROLL
    for (i = 0; i < 14; i++)
        _mm_prefetch((const char *)tile + 64 * i, _MM_HINT_T0);
}

/* fn##_any: one instance of fn for each kind of table. */
#define INSTANCE(fn, weights, b, ring)                                                             \
    static __attribute__((noinline)) void fn##_##weights##b##ring(const struct dots_args *a)       \
    {                                                                                              \
        fn(a, weights, b, ring);                                                                   \
    }
#define INSTANCES(fn)                                                                              \
    INSTANCE(fn, 1, 0, 0)                                                                          \
    INSTANCE(fn, 1, 1, 0)                                                                          \
    INSTANCE(fn, 1, 1, 1)                                                                          \
    INSTANCE(fn, 2, 0, 0)                                                                          \
    INSTANCE(fn, 2, 1, 0)                                                                          \
    INSTANCE(fn, 2, 1, 1)                                                                          \
    INSTANCE(fn, 3, 0, 0)                                                                          \
    INSTANCE(fn, 3, 1, 0)                                                                          \
    INSTANCE(fn, 3, 1, 1)                                                                          \
    static void fn##_any(const struct dots_args *a)                                                \
    {                                                                                              \
        static void (*const of[3][3])(const struct dots_args *) = {                                \
            {fn##_100, fn##_110, fn##_111},                                                        \
            {fn##_200, fn##_210, fn##_211},                                                        \
            {fn##_300, fn##_310, fn##_311},                                                        \
        };                                                                                         \
        of[Q35_SCHEME_WEIGHTS(a->scheme) - 1][dots_kind(a)](a);                                    \
    }

#endif
