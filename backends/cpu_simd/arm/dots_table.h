/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products with NEON. A template: the including file defines SUFFIX and, where the CPU
 * has it, DOTPROD (sdot).
 *
 * A table of 128 bytes is two of 64: tbl looks up the codes below 64 and gives 0 for the others,
 * tbx those from 64 on. Without sdot, two products of int8 fit 16 bits: 2 * 127 * 127. */

#include <arm_neon.h>

#include "../kernels.h"

#define GLUE2(a, b) a##b
#define GLUE(a, b) GLUE2(a, b)
#define INLINE static inline __attribute__((always_inline))

#define CHUNK 1024u             /* columns decoded at once */
#define ROW_BYTES (CHUNK + 64u) /* of a decoded row: rows must not share cache sets */

struct table {
    uint8x16x4_t low, high;
};

static void load_table(struct table *t, const void *from)
{
    int i;
    for (i = 0; i < 4; i++) {
        t->low.val[i] = vld1q_u8((const uint8_t *)from + 16 * i);
        t->high.val[i] = vld1q_u8((const uint8_t *)from + 64 + 16 * i);
    }
}

INLINE uint8x16_t look(const struct table *t, uint8x16_t code)
{
    return vqtbx4q_u8(vqtbl4q_u8(t->low, code), t->high, vsubq_u8(code, vdupq_n_u8(64)));
}

/* 16 codes: two groups of 7 bytes into the halves, then 7-bit fields moved apart in three steps. */
INLINE uint8x16_t codes_of(const uint8_t *p)
{
    static const uint8_t spread[16] = {0, 1, 2, 3, 4, 5, 6, 255, 7, 8, 9, 10, 11, 12, 13, 255};
    uint64x2_t v = vreinterpretq_u64_u8(vqtbl1q_u8(vld1q_u8(p), vld1q_u8(spread)));
    uint32x4_t w;
    uint16x8_t x;
    v = vorrq_u64(vandq_u64(v, vdupq_n_u64(0x000000000fffffffull)),
                  vandq_u64(vshlq_n_u64(v, 4), vdupq_n_u64(0x0fffffff00000000ull)));
    w = vreinterpretq_u32_u64(v);
    w = vorrq_u32(vandq_u32(w, vdupq_n_u32(0x3fffu)),
                  vandq_u32(vshlq_n_u32(w, 2), vdupq_n_u32(0x3fff0000u)));
    x = vreinterpretq_u16_u32(w);
    return vreinterpretq_u8_u16(vaddq_u16(x, vandq_u16(x, vdupq_n_u16(0x3f80))));
}

struct tables {
    struct table a0, a1, a2, b;
};

/* The B terms that row 0 gets from the rows above it, 64 columns; for rings also their codes. */
INLINE void seam(const struct tables *t, const uint8_t *tile, const int ring, uint8x16_t b[4],
                 uint8x16_t up[4])
{
    uint8x16_t c15[4], c14[4];
    int i;
    for (i = 0; i < 4; i++) {
        c15[i] = codes_of(tile + 15 * Q35_ROW_BYTES + 14 * i);
        c14[i] = codes_of(tile + 14 * Q35_ROW_BYTES + 14 * i);
    }
    for (i = 0; i < 4; i++) { /* in a ring the column before stands above */
        up[i] = ring ? vextq_u8(c15[(i + 3) & 3], c15[i], 15) : c15[i];
        b[i] = look(&t->b, ring ? veorq_u8(up[i], vextq_u8(c14[(i + 3) & 3], c14[i], 15)) : up[i]);
    }
}

/* One tile into w[16][ROW_BYTES]. */
INLINE void decode_tile(const struct tables *t, const uint8_t *tile, uint8_t *w, const int weights,
                        const int has_b, const int ring)
{
    uint8x16_t b[4], up[4];
    uint32_t part, r;
    if (has_b)
        seam(t, tile, ring, b, up);
    for (part = 0; part < 4; part++, tile += 14, w += 16)
        for (r = 0; r < 16; r++) {
            uint8x16_t code = codes_of(tile + r * Q35_ROW_BYTES), x = look(&t->a0, code);
            uint8x16_t y = weights > 1 ? look(&t->a1, code) : x;
            uint8x16_t z = weights > 2 ? look(&t->a2, code) : x;
            if (has_b) {
                uint8x16_t high = vshlq_n_u8(vshrq_n_u8(b[part], 4), 3);
                uint8x16_t low = vshrq_n_u8(vshlq_n_u8(b[part], 4), 1);
                x = vaddq_u8(x, high);
                y = vaddq_u8(y, low);
                z = vaddq_u8(z, veorq_u8(high, low));
                b[part] = look(&t->b, ring ? veorq_u8(code, up[part]) : code);
                up[part] = code;
            }
            vst1q_u8(w + r * ROW_BYTES, x);
            if (weights > 1)
                vst1q_u8(w + r * ROW_BYTES + 64, y);
            if (weights > 2)
                vst1q_u8(w + r * ROW_BYTES + 128, z);
        }
}

INLINE int32x4_t dot(int32x4_t sum, int8x16_t w, int8x16_t q)
{
#if defined(DOTPROD)
    return vdotq_s32(sum, w, q);
#else
    int16x8_t p = vmull_s8(vget_low_s8(w), vget_low_s8(q));
    return vpadalq_s16(sum, vmlal_s8(p, vget_high_s8(w), vget_high_s8(q)));
#endif
}

/* 4 rows of w times n <= 4 tokens over `cols` columns, added to out[token][out_stride]. */
INLINE void micro(const uint8_t *w, const int8_t *q, uint64_t q_stride, uint32_t cols,
                  const uint32_t n, int32_t *out, uint64_t out_stride)
{
    int32x4_t sum[4][4];
    uint32_t k, r, t;
    for (t = 0; t < n; t++)
        for (r = 0; r < 4; r++)
            sum[t][r] = vdupq_n_s32(0);
    for (k = 0; k < cols; k += 16) {
        int8x16_t x[4];
        for (r = 0; r < 4; r++)
            x[r] = vreinterpretq_s8_u8(vld1q_u8(w + r * ROW_BYTES + k));
        for (t = 0; t < n; t++) {
            int8x16_t v = vld1q_s8(q + t * q_stride + k);
            for (r = 0; r < 4; r++)
                sum[t][r] = dot(sum[t][r], x[r], v);
        }
    }
    for (t = 0; t < n; t++)
        for (r = 0; r < 4; r++)
            out[t * out_stride + r] += vaddvq_s32(sum[t][r]);
}

static void product(const uint8_t *w, const int8_t *q, uint64_t q_stride, uint32_t cols, uint32_t n,
                    int32_t *out, uint64_t out_stride)
{
    uint32_t r, t, c;
    for (t = 0; t < n; t += c) {
        const int8_t *v = q + t * q_stride;
        c = n - t < 4 ? n - t : 4;
        for (r = 0; r < 16; r += 4) {
            const uint8_t *x = w + r * ROW_BYTES;
            int32_t *y = out + t * out_stride + r;
            if (c == 4)
                micro(x, v, q_stride, cols, 4, y, out_stride);
            else if (c == 3)
                micro(x, v, q_stride, cols, 3, y, out_stride);
            else if (c == 2)
                micro(x, v, q_stride, cols, 2, y, out_stride);
            else
                micro(x, v, q_stride, cols, 1, y, out_stride);
        }
    }
}

INLINE void dots(const struct dots_args *a, const int weights, const int has_b, const int ring)
{
    uint64_t stride = (uint64_t)a->tiles * Q35_TILE_BYTES, out_stride = (uint64_t)a->blocks * 16;
    uint32_t width = 64 * (uint32_t)weights, per_chunk = CHUNK / width, k, s, i;
    uint8_t *w = a->scratch; /* [16][ROW_BYTES] */
    struct tables t;
    load_table(&t.a0, a->tables->a0);
    load_table(&t.a1, a->tables->a1);
    load_table(&t.a2, a->tables->a2);
    load_table(&t.b, a->tables->b);
    memset(a->acc, 0, a->n_tokens * out_stride * sizeof(int32_t));
    for (s = 0; s < a->blocks; s++)
        for (k = 0; k < a->tiles; k += per_chunk) {
            uint32_t n = a->tiles - k < per_chunk ? a->tiles - k : per_chunk;
            uint32_t left = a->cols - k * width, cols = n * width < left ? n * width : left;
            const uint8_t *tile = a->codes + s * stride + (uint64_t)k * Q35_TILE_BYTES;
            for (i = 0; i < n; i++, tile += Q35_TILE_BYTES)
                decode_tile(&t, tile, w + i * width, weights, has_b, ring);
            product(w, a->q + (uint64_t)k * width, a->q_stride, cols, a->n_tokens, a->acc + 16 * s,
                    out_stride);
        }
}

#define KINDS(weights)                                                                             \
    (kind == 0   ? dots(a, weights, 0, 0)                                                          \
     : kind == 1 ? dots(a, weights, 1, 0)                                                          \
                 : dots(a, weights, 1, 1))

static void GLUE(dots_, SUFFIX)(const struct dots_args *a)
{
    int kind = dots_kind(a);
    if (Q35_SCHEME_WEIGHTS(a->scheme) == 1u)
        KINDS(1);
    else if (Q35_SCHEME_WEIGHTS(a->scheme) == 2u)
        KINDS(2);
    else
        KINDS(3);
}

static int32_t GLUE(sum_q_, SUFFIX)(const int8_t *q, uint32_t n)
{
    int32x4_t sum = vdupq_n_s32(0);
    uint32_t i;
    for (i = 0; i < n; i += 16)
        sum = vpadalq_s16(sum, vpaddlq_s8(vld1q_s8(q + i)));
    return vaddvq_s32(sum);
}

INLINE void install_dots(struct kernels *k)
{
    k->dots_few = k->dots_many = GLUE(dots_, SUFFIX);
    k->sum_q = GLUE(sum_q_, SUFFIX);
}
