/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for CPUs without a byte shuffle across a whole register. A template: the
 * including file defines SUFFIX and, where the instructions allow it, WIDE (512-bit registers) and
 * VNNI (vpdpbusd).
 *
 * Look-up of 7-bit codes with a shuffle of 16 bytes: with T_i the i-th 16 entries of a table, put
 * D_0 = T_0 and D_i = T_i ^ T_(i-1). A shuffle gives 0 where its index is negative, so the xor over
 * i of shuffle(D_i, c - 16 i) is T_(c / 16)[c % 16].
 *
 * Without VNNI, |w| times q with w's sign fits the 16-bit sums of vpmaddubsw: 2 * 127 * 127. With
 * it, weights carry +128 and 128 * sum(q) is taken off at the end, modulo 2^32. */

#include <immintrin.h>
#include <string.h>

#include "../kernels.h"

#define GLUE2(a, b) a##b
#define GLUE(a, b) GLUE2(a, b)
#define INLINE static inline __attribute__((always_inline))

#if defined(WIDE)
typedef __m512i vec;
#define BYTES 64u
#define v_load(p) _mm512_loadu_si512(p)
#define v_store(p, v) _mm512_storeu_si512(p, v)
#define v_zero() _mm512_setzero_si512()
#define v_set8(x) _mm512_set1_epi8((char)(x))
#define v_set16(x) _mm512_set1_epi16((short)(x))
#define v_set64(x) _mm512_set1_epi64((long long)(x))
#define v_and(a, b) _mm512_and_si512(a, b)
#define v_or(a, b) _mm512_or_si512(a, b)
#define v_xor(a, b) _mm512_xor_si512(a, b)
#define v_add8(a, b) _mm512_add_epi8(a, b)
#define v_add16(a, b) _mm512_add_epi16(a, b)
#define v_sub8(a, b) _mm512_sub_epi8(a, b)
#define v_add32(a, b) _mm512_add_epi32(a, b)
#define v_shl16(a, n) _mm512_slli_epi16(a, n)
#define v_shr16(a, n) _mm512_srli_epi16(a, n)
#define v_shl32(a, n) _mm512_slli_epi32(a, n)
#define v_shl64(a, n) _mm512_slli_epi64(a, n)
#define v_shuffle(t, i) _mm512_shuffle_epi8(t, i)
#define v_table(p) _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(p)))
#define v_odd32(a, b) _mm512_mask_blend_epi32(0xaaaa, a, b)
#define v_sum(a) _mm512_reduce_add_epi32(a)
#define v_madd8(u, s) _mm512_maddubs_epi16(u, s)
#define v_madd16(a, b) _mm512_madd_epi16(a, b)
#define v_abs8(a) _mm512_abs_epi8(a)
#define v_sign8(q, w) _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(w), _mm512_setzero_si512(), q)
#define v_dot(s, u, q) _mm512_dpbusd_epi32(s, u, q)

/* 16 groups of 7 bytes, two in each 128 bits. */
INLINE vec load_groups(const uint8_t *p)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 14)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 28)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 42)), 3);
}
#else
typedef __m256i vec;
#define BYTES 32u
#define v_load(p) _mm256_loadu_si256((const __m256i *)(p))
#define v_store(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define v_zero() _mm256_setzero_si256()
#define v_set8(x) _mm256_set1_epi8((char)(x))
#define v_set16(x) _mm256_set1_epi16((short)(x))
#define v_set64(x) _mm256_set1_epi64x((long long)(x))
#define v_and(a, b) _mm256_and_si256(a, b)
#define v_or(a, b) _mm256_or_si256(a, b)
#define v_xor(a, b) _mm256_xor_si256(a, b)
#define v_add8(a, b) _mm256_add_epi8(a, b)
#define v_add16(a, b) _mm256_add_epi16(a, b)
#define v_sub8(a, b) _mm256_sub_epi8(a, b)
#define v_add32(a, b) _mm256_add_epi32(a, b)
#define v_shl16(a, n) _mm256_slli_epi16(a, n)
#define v_shr16(a, n) _mm256_srli_epi16(a, n)
#define v_shl32(a, n) _mm256_slli_epi32(a, n)
#define v_shl64(a, n) _mm256_slli_epi64(a, n)
#define v_shuffle(t, i) _mm256_shuffle_epi8(t, i)
#define v_table(p) _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(p)))
#define v_odd32(a, b) _mm256_blend_epi32(a, b, 0xaa)
#define v_madd8(u, s) _mm256_maddubs_epi16(u, s)
#define v_madd16(a, b) _mm256_madd_epi16(a, b)
#define v_abs8(a) _mm256_abs_epi8(a)
#define v_sign8(q, w) _mm256_sign_epi8(q, w)
#define v_dot(s, u, q) _mm256_dpbusd_avx_epi32(s, u, q)

INLINE int32_t v_sum(vec a)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* 8 groups of 7 bytes, two in each 128 bits. */
INLINE vec load_groups(const uint8_t *p)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                   _mm_loadu_si128((const __m128i *)(p + 14)), 1);
}
#endif

#define PARTS (64u / BYTES) /* vectors in a row of codes */
#define STEP_BYTES (BYTES * 7u / 8u)
#define CHUNK 1024u             /* columns decoded at once */
#define ROW_BYTES (CHUNK + 64u) /* of a decoded row: rows must not share cache sets */

/* The tables in the form of the look-up. */
struct deltas {
    uint8_t d[4][8][16]; /* a0, a1, b, a2 */
};

static void make_deltas(struct deltas *out, const struct q35_tables *t)
{
    const uint8_t *from[4] = {(const uint8_t *)t->a0, (const uint8_t *)t->a1, t->b,
                              (const uint8_t *)t->a2};
    int i, j, k;
    for (i = 0; i < 4; i++)
        for (j = 0; j < 8; j++)
            for (k = 0; k < 16; k++)
                out->d[i][j][k] =
                    (uint8_t)(from[i][16 * j + k] ^ (j ? from[i][16 * (j - 1) + k] : 0));
}

/* Codes of BYTES columns: 7-bit fields are moved apart in three steps. */
INLINE vec codes_of(const uint8_t *p)
{
    static const uint8_t spread[16] = {0, 1, 2, 3, 4, 5, 6, 0x80, 7, 8, 9, 10, 11, 12, 13, 0x80};
    vec v = v_shuffle(load_groups(p), v_table(spread));
    v = v_and(v_odd32(v, v_shl64(v, 4)), v_set64(0x0fffffff0fffffffull));
    v = v_or(v_and(v, v_set64(0x00003fff00003fffull)),
             v_and(v_shl32(v, 2), v_set64(0x3fff00003fff0000ull)));
    return v_add16(v, v_and(v, v_set16(0x3f80)));
}

INLINE vec look(const uint8_t (*d)[16], const vec *index)
{
    vec r = v_shuffle(v_table(d[0]), index[0]);
    r = v_xor(r, v_shuffle(v_table(d[1]), index[1]));
    r = v_xor(r, v_shuffle(v_table(d[2]), index[2]));
    r = v_xor(r, v_shuffle(v_table(d[3]), index[3]));
    r = v_xor(r, v_shuffle(v_table(d[4]), index[4]));
    r = v_xor(r, v_shuffle(v_table(d[5]), index[5]));
    r = v_xor(r, v_shuffle(v_table(d[6]), index[6]));
    return v_xor(r, v_shuffle(v_table(d[7]), index[7]));
}

INLINE void indices(vec code, vec *index)
{
    index[0] = code;
    index[1] = v_sub8(index[0], v_set8(16));
    index[2] = v_sub8(index[1], v_set8(16));
    index[3] = v_sub8(index[2], v_set8(16));
    index[4] = v_sub8(index[3], v_set8(16));
    index[5] = v_sub8(index[4], v_set8(16));
    index[6] = v_sub8(index[5], v_set8(16));
    index[7] = v_sub8(index[6], v_set8(16));
}

INLINE vec high_term(vec b)
{
    return v_and(v_shr16(b, 1), v_set8(0x78));
}

INLINE vec low_term(vec b)
{
    return v_and(v_shl16(b, 3), v_set8(0x78));
}

/* Codes of rows 14 and 15 moved up by one column: out[row][column]. */
INLINE void ring_codes(const uint8_t *tile, uint8_t out[2][64])
{
    uint8_t code[1 + 64];
    uint32_t r, part;
    for (r = 0; r < 2; r++) {
        for (part = 0; part < PARTS; part++)
            v_store(code + 1 + part * BYTES,
                    codes_of(tile + (14 + r) * Q35_ROW_BYTES + part * STEP_BYTES));
        code[0] = code[64];
        memcpy(out[r], code, 64);
    }
}

/* One tile into w[16][ROW_BYTES]. */
INLINE void decode_tile(const struct deltas *d, const uint8_t *tile, uint8_t *w, const int weights,
                        const int has_b, const int ring)
{
#if defined(VNNI)
    const vec bias = v_set8(0x80);
#else
    const vec bias = v_zero();
#endif
    uint8_t seam[2][64];
    uint32_t part, r;
    if (ring)
        ring_codes(tile, seam);
    for (part = 0; part < PARTS; part++, tile += STEP_BYTES, w += BYTES) {
        vec b = bias, above = bias, index[8];
        if (has_b) { /* what stands above row 0 */
            above = ring ? v_load(seam[1] + part * BYTES) : codes_of(tile + 15 * Q35_ROW_BYTES);
            indices(ring ? v_xor(above, v_load(seam[0] + part * BYTES)) : above, index);
            b = look(d->d[2], index);
        }
        for (r = 0; r < 16; r++) {
            vec code = codes_of(tile + r * Q35_ROW_BYTES), x, y = bias, z = bias;
            indices(code, index);
            x = v_xor(look(d->d[0], index), bias);
            if (weights > 1)
                y = v_xor(look(d->d[1], index), bias);
            if (weights > 2)
                z = v_xor(look(d->d[3], index), bias);
            if (has_b) {
                x = v_add8(x, high_term(b));
                y = v_add8(y, low_term(b));
                z = v_add8(z, v_xor(high_term(b), low_term(b)));
                if (ring) {
                    indices(v_xor(code, above), index);
                    above = code;
                }
                b = look(d->d[2], index);
            }
            v_store(w + r * ROW_BYTES, x);
            if (weights > 1)
                v_store(w + r * ROW_BYTES + 64, y);
            if (weights > 2)
                v_store(w + r * ROW_BYTES + 128, z);
        }
    }
}

/* sum + w . q; u is |w| without VNNI and w + 128 with it. */
INLINE vec dot(vec sum, vec w, vec u, vec q)
{
#if defined(VNNI)
    (void)w;
    return v_dot(sum, u, q);
#else
    return v_add32(sum, v_madd16(v_madd8(u, v_sign8(q, w)), v_set16(1)));
#endif
}

#define SUMS(t)                                                                                    \
    if ((t) < n) {                                                                                 \
        vec v = v_load(q + (t)*q_stride);                                                          \
        s##t##0 = dot(s##t##0, x0, u0, v);                                                         \
        s##t##1 = dot(s##t##1, x1, u1, v);                                                         \
    }
#define SUMS_OUT(t)                                                                                \
    if ((t) < n) {                                                                                 \
        out[(t)*out_stride] += v_sum(s##t##0);                                                     \
        out[(t)*out_stride + 1] += v_sum(s##t##1);                                                 \
    }

/* 2 rows of w times n <= 4 tokens over `cols` columns, added to out[token][out_stride]. */
INLINE void micro(const uint8_t *w, const int8_t *q, uint64_t q_stride, uint32_t cols,
                  const uint32_t n, int32_t *out, uint64_t out_stride)
{
    vec s00 = v_zero(), s01 = s00, s10 = s00, s11 = s00;
    vec s20 = s00, s21 = s00, s30 = s00, s31 = s00;
    uint32_t k;
    for (k = 0; k < cols; k += BYTES, w += BYTES, q += BYTES) {
        vec x0 = v_load(w), x1 = v_load(w + ROW_BYTES);
#if defined(VNNI)
        vec u0 = x0, u1 = x1;
#else
        vec u0 = v_abs8(x0), u1 = v_abs8(x1);
#endif
        SUMS(0) SUMS(1) SUMS(2) SUMS(3)
    }
    SUMS_OUT(0) SUMS_OUT(1) SUMS_OUT(2) SUMS_OUT(3)
}

static void product(const uint8_t *w, const int8_t *q, uint64_t q_stride, uint32_t cols, uint32_t n,
                    int32_t *out, uint64_t out_stride)
{
    uint32_t r, t, c;
    for (t = 0; t < n; t += c) {
        const int8_t *v = q + t * q_stride;
        c = n - t < 4 ? n - t : 4;
        for (r = 0; r < 16; r += 2) {
            const uint8_t *x = w + r * ROW_BYTES;
            int32_t *y = out + t * out_stride + r;
            switch (c) {
            case 1:
                micro(x, v, q_stride, cols, 1, y, out_stride);
                break;
            case 2:
                micro(x, v, q_stride, cols, 2, y, out_stride);
                break;
            case 3:
                micro(x, v, q_stride, cols, 3, y, out_stride);
                break;
            default:
                micro(x, v, q_stride, cols, 4, y, out_stride);
                break;
            }
        }
    }
}

INLINE void dots(const struct dots_args *a, const int weights, const int has_b, const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES, out_stride = (uint64_t)a->blocks * 16;
    uint32_t width = 64 * (uint32_t)weights, per_chunk = CHUNK / width, k, s, i, r;
    uint8_t *w = a->scratch; /* [16][ROW_BYTES] */
    struct deltas d;
    make_deltas(&d, a->tables);
    for (i = 0; i < a->n_tokens; i++)
        for (r = 0; r < out_stride; r++)
#if defined(VNNI)
            a->acc[i * out_stride + r] = (int32_t)(0u - ((uint32_t)a->q_sums[i] << 7));
#else
            a->acc[i * out_stride + r] = 0;
#endif
    for (s = 0; s < a->blocks; s++)
        for (k = 0; k < a->tiles; k += per_chunk) {
            uint32_t n = a->tiles - k < per_chunk ? a->tiles - k : per_chunk;
            uint32_t left = a->cols - k * width, cols = n * width < left ? n * width : left;
            const uint8_t *tile = a->codes + s * stride + (uint64_t)k * Q35_TILE_BYTES;
            for (i = 0; i < n; i++, tile += Q35_TILE_BYTES)
                decode_tile(&d, tile, w + i * width, weights, has_b, ring);
            product(w, a->q + (uint64_t)k * width, a->q_stride, cols, a->n_tokens, a->acc + 16 * s,
                    out_stride);
        }
}

#define INSTANCE(weights, b, ring)                                                                 \
    static __attribute__((noinline)) void dots_##weights##b##ring(const struct dots_args *a)       \
    {                                                                                              \
        dots(a, weights, b, ring);                                                                 \
    }
INSTANCE(1, 0, 0)
INSTANCE(1, 1, 0)
INSTANCE(1, 1, 1)
INSTANCE(2, 0, 0)
INSTANCE(2, 1, 0)
INSTANCE(2, 1, 1)
INSTANCE(3, 0, 0)
INSTANCE(3, 1, 0)
INSTANCE(3, 1, 1)

static void GLUE(dots_, SUFFIX)(const struct dots_args *a)
{
    static void (*const of[3][3])(const struct dots_args *) = {{dots_100, dots_110, dots_111},
                                                               {dots_200, dots_210, dots_211},
                                                               {dots_300, dots_310, dots_311}};
    of[Q35_SCHEME_WEIGHTS(a->scheme) - 1][dots_kind(a)](a);
}

/* n is a multiple of 128: no group of four bytes straddles a vector. */
static int32_t GLUE(sum_q_, SUFFIX)(const int8_t *q, uint32_t n)
{
    vec sum = v_zero();
    uint32_t i;
    for (i = 0; i < n; i += BYTES)
        sum = v_add32(sum, v_madd16(v_madd8(v_set8(1), v_load(q + i)), v_set16(1)));
    return v_sum(sum);
}

INLINE void install_dots(struct kernels *k)
{
    k->dots_few = k->dots_many = GLUE(dots_, SUFFIX);
    k->sum_q = GLUE(sum_q_, SUFFIX);
}
