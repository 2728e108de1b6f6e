/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed matrix products. The host puts the common part first and then the kernel once for every
 * value of TOKENS, between lines "#define" and "#undef".
 *
 * A work-group takes 16 rows of one matrix and TOKENS tokens. Work-item (slice, row, group) decodes
 * the 8 codes of one 7-byte group in every SLICES-th tile and multiplies them with all tokens; a
 * code's neighbours are the same group one and two rows up, so nothing is shared but the tables. */

//COMMON
#pragma OPENCL FP_CONTRACT OFF

#define GROUP_MASK 0x00ffffffffffffffUL
#define FLAG_PAIR 1u
#define FLAG_B 2u
#define FLAG_RING 4u
#define FLAG_BIAS 8u

/* The 56 bits of one 7-byte group; a row is 14 words. */
inline ulong group_bits(__global const uint *row, uint g)
{
    uint bit = 56u * g, at = bit >> 5, shift = bit & 31u;
    ulong lo = (ulong)row[at] | (ulong)row[at + 1u] << 32;
    uint hi = row[min(at + 2u, 13u)];
    return ((lo >> shift) | (shift ? (ulong)hi << (64u - shift) : 0UL)) & GROUP_MASK;
}

/* The codes `back` places before those of (r, g), 7 bits each. */
inline ulong before_bits(__global const uint *tile, uint ring, uint r, uint g, uint back)
{
    __global const uint *row = tile + 14u * ((r + 16u - back) & 15u);
    ulong bits = group_bits(row, g);
    if (ring && r < back) /* one column to the left; column 0 goes on from column 63 */
        bits = ((bits << 7) | (group_bits(row, (g + 7u) & 7u) >> 49)) & GROUP_MASK;
    return bits;
}

inline uint pick(uint4 v, uint i)
{
    return i < 2u ? (i ? v.y : v.x) : (i < 3u ? v.z : v.w);
}

/* Step 3 of the contract. The product of the scales comes first and nothing is fused. */
inline float rescale(int acc, float row_scale, float token_scale)
{
    float s = row_scale * token_scale;
    return convert_float_rte(acc) * s;
}
//KERNEL
/* blobs: as in format.h. first: row block at which each matrix begins. y: the matrices one after
 * the other, [n_tokens][rows] each, matrix i from y_at[i] on. q: [n_tokens][cols_padded], readable up
 * to a multiple of TOKENS, and the tokens' scales from float scales_at on. */
__kernel void NAME(__global const uchar *blob0, __global const uchar *blob1,
                   __global const uchar *blob2, __global const uchar *blob3,
                   __global const float *bias0, __global const float *bias1,
                   __global const float *bias2, __global const float *bias3, uint4 first,
                   uint4 all_rows, uint4 all_flags, uint4 y_at, uint cols_padded, uint n_tokens,
                   uint scales_at, __global const char *q, __global float *y)
{
    __local short2 table_a[128], table_b[128];
    __local int sums[TOKENS][SLICES * 128];
    uint l = get_local_id(0), g = l & 7u, r = (l >> 3) & 15u, slice = l >> 7;
    uint block = get_group_id(0), token = get_group_id(1) * TOKENS;
    uint m = (block >= first.y) + (block >= first.z) + (block >= first.w);
    uint rows = pick(all_rows, m), flags = pick(all_flags, m), pair = flags & FLAG_PAIR, k, i, t;
    __global const uchar *blob = m < 2u ? (m ? blob1 : blob0) : (m < 3u ? blob2 : blob3);
    __global const float *scales = (__global const float *)(blob + 512);
    __global const float *token_scales = (__global const float *)q + scales_at;
    uint tile_cols = pair ? 128u : 64u, tiles = cols_padded / tile_cols;
    __global const uint *codes;
    int acc[TOKENS];

    block -= pick(first, m);
    codes = (__global const uint *)(blob + 512 + 4u * ((rows + 15u) & ~15u)) +
            (size_t)block * tiles * 224u;
    for (i = l; i < 128u; i += SLICES * 128u) {
        uchar b = blob[256u + i];
        table_a[i] = (short2)((char)blob[i], (char)blob[128u + i]);
        table_b[i] = flags & FLAG_B ? (short2)(8 * (b >> 4), 8 * (b & 15)) : (short2)(0, 0);
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    for (t = 0; t < TOKENS; t++)
        acc[t] = 0;
    for (k = slice; k < tiles; k += SLICES) {
        __global const uint *tile = codes + (size_t)k * 224u;
        ulong c = group_bits(tile + 14u * r, g), h = 0;
        short8 w0, w1;
        if (flags & FLAG_B) {
            h = before_bits(tile, flags & FLAG_RING, r, g, 1u);
            if (flags & FLAG_RING)
                h ^= before_bits(tile, flags & FLAG_RING, r, g, 2u);
        }
#define DECODE(n)                                                                                  \
    {                                                                                              \
        short2 w = table_a[(uint)(c >> (7 * n)) & 127u] + table_b[(uint)(h >> (7 * n)) & 127u];    \
        w0.s##n = w.x;                                                                             \
        w1.s##n = w.y;                                                                             \
    }
        DECODE(0)
        DECODE(1)
        DECODE(2)
        DECODE(3)
        DECODE(4)
        DECODE(5)
        DECODE(6)
        DECODE(7)
#undef DECODE
        for (t = 0; t < TOKENS; t++) {
            __global const char *x = q + (size_t)(token + t) * cols_padded + k * tile_cols + 8u * g;
            int8 p = convert_int8(w0) * convert_int8(vload8(0, x));
            if (pair)
                p += convert_int8(w1) * convert_int8(vload8(0, x + 64));
            acc[t] += p.s0 + p.s1 + p.s2 + p.s3 + p.s4 + p.s5 + p.s6 + p.s7;
        }
    }

    for (t = 0; t < TOKENS; t++)
        sums[t][l] = acc[t];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (i = l; i < 16u * TOKENS; i += SLICES * 128u) {
        uint row = 16u * block + (i & 15u);
        int sum = 0;
        t = i >> 4;
        if (row >= rows || token + t >= n_tokens)
            continue;
        for (k = 0; k < SLICES * 8u; k++)
            sum += sums[t][(k >> 3) * 128u + (i & 15u) * 8u + (k & 7u)];
        float v = rescale(sum, scales[row], token_scales[token + t]);
        if (flags & FLAG_BIAS) {
            __global const float *bias = m < 2u ? (m ? bias1 : bias0) : (m < 3u ? bias2 : bias3);
            v = v + bias[row];
        }
        y[pick(y_at, m) + (size_t)(token + t) * rows + row] = v;
    }
}
