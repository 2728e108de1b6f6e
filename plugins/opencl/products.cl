/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed matrices.
 * A work-group takes 16 rows of one matrix and TOKENS tokens. Work-item (slice, row, group) decodes
 * the 8 codes of one 7-byte group in every SLICES-th tile and multiplies them with all tokens; a
 * code's neighbours are the same group one and two rows up, so nothing is shared but the tables. */

//CODES
#define GROUP_MASK 0x00ffffffffffffffUL
#define FLAG_WEIGHTS 3u /* of a code: 1, 2 or 3 */
#define FLAG_B 4u
#define FLAG_RING 8u
#define FLAG_BIAS 16u
#define FLAG_ADD 32u /* add to what y holds */

/* The 56 bits of one 7-byte group; a row is 14 words. */
static ulong group_bits(__global const uint *row, uint g)
{
    uint bit = 56u * g, at = bit >> 5, shift = bit & 31u;
    ulong lo = (ulong)row[at] | (ulong)row[at + 1u] << 32;
    uint hi = row[min(at + 2u, 13u)];
    return ((lo >> shift) | (shift ? (ulong)hi << (64u - shift) : 0UL)) & GROUP_MASK;
}

/* The codes `back` places before those of (r, g), 7 bits each. */
static ulong before_bits(__global const uint *tile, uint ring, uint r, uint g, uint back)
{
    __global const uint *row = tile + 14u * ((r + 16u - back) & 15u);
    ulong bits = group_bits(row, g);
    if (ring && r < back) /* one column to the left; column 0 goes on from column 63 */
        bits = ((bits << 7) | (group_bits(row, (g + 7u) & 7u) >> 49)) & GROUP_MASK;
    return bits;
}

static uint pick(uint4 v, uint i)
{
    return i < 2u ? (i ? v.y : v.x) : (i < 3u ? v.z : v.w);
}

/* Step 3 of the contract. The product of the scales comes first and nothing is fused. */
static float rescale(int acc, float row_scale, float token_scale)
{
    float s = row_scale * token_scale;
    return convert_float_rte(acc) * s;
}

/* ---- embedding ----------------------------------------------------------------------------- */

static uint code_at(__global const uchar *tile, uint r, uint j)
{
    uint bit = 7u * j, at = 56u * r + (bit >> 3), shift = bit & 7u, v = tile[at];
    if (shift > 1u)
        v |= (uint)tile[at + 1u] << 8;
    return (v >> shift) & 127u;
}

static uint code_before(__global const uchar *tile, uint ring, uint r, uint j, uint back)
{
    return code_at(tile, (r + 16u - back) & 15u, ring && r < back ? (j + 63u) & 63u : j);
}

/* x[token][d] = row id of the matrix, decoded, unrotated and scaled. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
embed(__global const uchar *blob, uint rows, uint flags, __global const uint *ids, uint d,
      uint cols_padded, uint block, ulong seed, float scale, __global float *rot,
      __global float *x)
{
    uint l = get_local_id(0), token = get_group_id(0), id = ids[token], k;
    uint width = 64u * (flags & FLAG_WEIGHTS), tiles = (cols_padded + width - 1u) / width;
    uint r = id & 15u;
    __global const uchar *codes =
        blob + 512 + 4u * ((rows + 15u) & ~15u) + (size_t)(id >> 4) * tiles * 896u;
    float row_scale = ((__global const float *)(blob + 512))[id];
    rot += (size_t)token * cols_padded;
    x += (size_t)token * d;
    for (k = l; k < cols_padded; k += GROUP) {
        __global const uchar *tile = codes + (size_t)(k / width) * 896u;
        uint j = k & 63u, part = k % width / 64u, b;
        int w = (char)blob[(part < 2u ? 128u * part : 384u) + code_at(tile, r, j)];
        if (flags & FLAG_B) {
            uint h = code_before(tile, flags & FLAG_RING, r, j, 1u);
            if (flags & FLAG_RING)
                h ^= code_before(tile, 1u, r, j, 2u);
            b = blob[256u + h];
            w += 8 * (int)(part == 0u ? b >> 4 : part == 1u ? b & 15u : (b >> 4) ^ (b & 15u));
        }
        rot[k] = (float)w * row_scale;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (block)
        hadamard(rot, cols_padded, block, l);
    for (k = l; k < d; k += GROUP) {
        float v = rot[k];
        x[k] = (block && rot_sign(seed, k) ? -v : v) * scale;
    }
}
//MATMUL
/* blobs: as in format.h. first: row block at which each matrix begins. y0 .. y3: [n_tokens][rows].
 * q: [n_tokens][cols_padded], readable up to a multiple of TOKENS, and the tokens' scales from float
 * scales_at on. */
__kernel void NAME(__global const uchar *blob0, __global const uchar *blob1,
                   __global const uchar *blob2, __global const uchar *blob3,
                   __global const float *bias0, __global const float *bias1,
                   __global const float *bias2, __global const float *bias3, __global float *y0,
                   __global float *y1, __global float *y2, __global float *y3, uint4 first,
                   uint4 all_rows, uint4 all_flags, uint cols_padded, uint n_tokens,
                   uint scales_at, __global const char *q)
{
    __local short2 table_a[128], table_b[128];
    __local short third_a[128], third_b[128];
    __local int sums[TOKENS][SLICES * 128];
    uint l = get_local_id(0), g = l & 7u, r = (l >> 3) & 15u, slice = l >> 7;
    uint block = get_group_id(0), token = get_group_id(1) * TOKENS;
    uint m = (block >= first.y) + (block >= first.z) + (block >= first.w);
    uint rows = pick(all_rows, m), flags = pick(all_flags, m), weights = flags & FLAG_WEIGHTS;
    __global const uchar *blob = m < 2u ? (m ? blob1 : blob0) : (m < 3u ? blob2 : blob3);
    __global const float *scales = (__global const float *)(blob + 512);
    __global const float *token_scales = (__global const float *)q + scales_at;
    uint tile_cols = 64u * weights, tiles = (cols_padded + tile_cols - 1u) / tile_cols, k, i, t;
    __global const uint *codes;
    int acc[TOKENS];

    block -= pick(first, m);
    codes = (__global const uint *)(blob + 512 + 4u * ((rows + 15u) & ~15u)) +
            (size_t)block * tiles * 224u;
    for (i = l; i < 128u; i += SLICES * 128u) {
        uchar b = blob[256u + i];
        table_a[i] = (short2)((char)blob[i], (char)blob[128u + i]);
        table_b[i] = flags & FLAG_B ? (short2)(8 * (b >> 4), 8 * (b & 15)) : (short2)(0, 0);
        third_a[i] = (char)blob[384u + i];
        third_b[i] = flags & FLAG_B ? (short)(8 * ((b >> 4) ^ (b & 15))) : (short)0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    for (t = 0; t < TOKENS; t++)
        acc[t] = 0;
    for (k = slice; k < tiles; k += SLICES) {
        __global const uint *tile = codes + (size_t)k * 224u;
        ulong c = group_bits(tile + 14u * r, g), h = 0;
        uint parts = min(weights, cols_padded / 64u - k * weights); /* the last tile may be cut */
        short8 w0, w1, w2;
        if (flags & FLAG_B) {
            h = before_bits(tile, flags & FLAG_RING, r, g, 1u);
            if (flags & FLAG_RING)
                h ^= before_bits(tile, flags & FLAG_RING, r, g, 2u);
        }
#define DECODE(n)                                                                                  \
    {                                                                                              \
        uint code = (uint)(c >> (7 * n)) & 127u, memory = (uint)(h >> (7 * n)) & 127u;             \
        short2 w = table_a[code] + table_b[memory];                                                \
        w0.s##n = w.x;                                                                             \
        w1.s##n = w.y;                                                                             \
        if (weights > 2u)                                                                          \
            w2.s##n = third_a[code] + third_b[memory];                                             \
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
            if (parts > 1u)
                p += convert_int8(w1) * convert_int8(vload8(0, x + 64));
            if (parts > 2u)
                p += convert_int8(w2) * convert_int8(vload8(0, x + 128));
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
        __global float *y = m < 2u ? (m ? y1 : y0) : (m < 3u ? y2 : y3);
        y += (size_t)(token + t) * rows + row;
        *y = flags & FLAG_ADD ? *y + v : v;
    }
}
