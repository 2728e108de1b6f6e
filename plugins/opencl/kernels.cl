/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A decoder layer on the device, bit for bit as arith.h says. The host puts the common part first,
 * then the kernel of packed products once for every value of TOKENS, between lines "#define" and
 * "#undef". GROUP: work-items of a group that works on one token.
 *
 * Products:
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
#define FLAG_ADD 16u /* add to what y holds */

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

/* ---- reductions in the order of arith.h ---------------------------------------------------- */

static float tree16(float16 v)
{
    float8 a = v.lo + v.hi;
    float4 b = a.lo + a.hi;
    float2 c = b.lo + b.hi;
    return c.x + c.y;
}

static float exp_q35(float x)
{
    float n, r, p;
    if (!(x >= -87.0f))
        return 0.0f;
    x = x > 88.0f ? 88.0f : x;
    n = rint(x * 1.44269504088896341f);
    r = fma(n, -0.693359375f, x);
    r = fma(n, 2.12194440e-4f, r);
    p = 1.9875691500e-4f;
    p = fma(p, r, 1.3981999507e-3f);
    p = fma(p, r, 8.3334519073e-3f);
    p = fma(p, r, 4.1665795894e-2f);
    p = fma(p, r, 1.6666665459e-1f);
    p = fma(p, r, 5.0000001201e-1f);
    p = fma(p, r * r, r) + 1.0f;
    return p * as_float(((int)n + 127) << 23);
}

/* binary32 -> binary16, half to even; as in arith.h. */
static ushort half_bits(float f)
{
    uint u = as_uint(f), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (ushort)(sign | 0x7e00u);
    if (a >= 0x477ff000u)
        return (ushort)(sign | 0x7c00u);
    if (a < 0x38800000u)
        return (ushort)(sign | (as_uint(as_float(a) + 0.5f) - 0x3f000000u));
    a += 0xc8000fffu + ((a >> 13) & 1u);
    return (ushort)(sign | (a >> 13));
}

/* y[row] = norm of row from[mapped - 1 + row] of x, or of the row itself if `mapped` is 0. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
rms_norm(__global const float *x, __global const float *w, __global float *y, uint d, float eps,
         __global const uint *from, uint mapped)
{
    __local float lane[16], factor;
    uint l = get_local_id(0), row = get_group_id(0), i;
    x += (size_t)(mapped ? from[mapped - 1u + row] : row) * d;
    y += (size_t)row * d;
    if (l < 16u) {
        float sum = 0.0f;
        for (i = l; i < d; i += 16u)
            sum = fma(x[i], x[i], sum);
        lane[l] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (l == 0u) {
        float mean = tree16(vload16(0, lane)) / (float)d;
        factor = 1.0f / sqrt(mean + eps);
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    for (i = l; i < d; i += GROUP)
        y[i] = (x[i] * factor) * w[i];
}

/* ---- rotation and quantization ------------------------------------------------------------- */

static ulong mix64(ulong z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
    return z ^ (z >> 31);
}

static uint rot_sign(ulong seed, uint k)
{
    return (uint)(mix64(seed + 0x9e3779b97f4a7c15UL * (ulong)(k / 64u + 1u)) >> (k % 64u)) & 1u;
}

#define BUTTERFLY(a, b)                                                                            \
    {                                                                                              \
        float u = a, w = b;                                                                        \
        a = u + w;                                                                                 \
        b = u - w;                                                                                 \
    }

/* Butterflies of distance 1, 2 ... block / 2 on v[n] by one group, three distances in one pass. */
static void hadamard(__global float *v, uint n, uint block, uint l)
{
    uint h = 1u, i;
    while (h < block) {
        if (8u * h <= block) {
            for (i = l; i < n / 8u; i += GROUP) {
                __global float *p = v + (i / h) * 8u * h + i % h;
                float a0 = p[0], a1 = p[h], a2 = p[2u * h], a3 = p[3u * h], a4 = p[4u * h],
                      a5 = p[5u * h], a6 = p[6u * h], a7 = p[7u * h];
                BUTTERFLY(a0, a1)
                BUTTERFLY(a2, a3)
                BUTTERFLY(a4, a5)
                BUTTERFLY(a6, a7)
                BUTTERFLY(a0, a2)
                BUTTERFLY(a1, a3)
                BUTTERFLY(a4, a6)
                BUTTERFLY(a5, a7)
                BUTTERFLY(a0, a4)
                BUTTERFLY(a1, a5)
                BUTTERFLY(a2, a6)
                BUTTERFLY(a3, a7)
                p[0] = a0;
                p[h] = a1;
                p[2u * h] = a2;
                p[3u * h] = a3;
                p[4u * h] = a4;
                p[5u * h] = a5;
                p[6u * h] = a6;
                p[7u * h] = a7;
            }
            h *= 8u;
        } else {
            for (i = l; i < n / 2u; i += GROUP) {
                __global float *p = v + (i / h) * 2u * h + i % h;
                float a = p[0], b = p[h];
                BUTTERFLY(a, b)
                p[0] = a;
                p[h] = b;
            }
            h *= 2u;
        }
        barrier(CLK_GLOBAL_MEM_FENCE);
    }
}

/* x[n][cols] -> q[n][cols_padded] and scales; rot[n][cols_padded] is scratch. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
quantize(__global const float *x, uint cols, uint cols_padded, uint block, ulong seed,
         __global float *rot, __global char *q, uint scales_at)
{
    __local float tops[GROUP];
    uint l = get_local_id(0), token = get_group_id(0), k;
    float top = 0.0f, inv;
    x += (size_t)token * cols;
    rot += (size_t)token * cols_padded;
    for (k = l; k < cols_padded; k += GROUP) {
        float v = k < cols ? x[k] : 0.0f;
        rot[k] = block && rot_sign(seed, k) ? -v : v;
    }
    barrier(CLK_GLOBAL_MEM_FENCE);
    if (block)
        hadamard(rot, cols_padded, block, l);
    for (k = l; k < cols_padded; k += GROUP) {
        float a = fabs(rot[k]);
        top = a > top ? a : top;
    }
    tops[l] = top;
    for (k = GROUP / 2u; k > 0u; k >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < k)
            tops[l] = tops[l + k] > tops[l] ? tops[l + k] : tops[l];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    top = tops[0];
    if (l == 0u)
        ((__global float *)q)[scales_at + token] = top > 1e-30f ? top / 127.0f : 0.0f;
    q += (size_t)token * cols_padded;
    inv = top > 1e-30f ? 127.0f / top : 0.0f;
    for (k = l; k < cols_padded; k += GROUP) {
        float v = rint(rot[k] * inv);
        v = v > 127.0f ? 127.0f : v;
        v = v < -127.0f ? -127.0f : v;
        q[k] = v == v && top > 1e-30f ? (char)(int)v : (char)0;
    }
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
    uint pair = flags & FLAG_PAIR, width = pair ? 128u : 64u, r = id & 15u;
    __global const uchar *codes = blob + 512 + 4u * ((rows + 15u) & ~15u) +
                                  (size_t)(id >> 4) * (cols_padded / width) * 896u;
    float row_scale = ((__global const float *)(blob + 512))[id];
    rot += (size_t)token * cols_padded;
    x += (size_t)token * d;
    for (k = l; k < cols_padded; k += GROUP) {
        __global const uchar *tile = codes + (size_t)(k / width) * 896u;
        uint j = k & 63u, second = pair && (k & 64u), b = 0u;
        int w = (char)blob[(second ? 128u : 0u) + code_at(tile, r, j)];
        if (flags & FLAG_B) {
            uint h = code_before(tile, flags & FLAG_RING, r, j, 1u);
            if (flags & FLAG_RING)
                h ^= code_before(tile, 1u, r, j, 2u);
            b = blob[256u + h];
            w += 8 * (int)(second ? b & 15u : b >> 4);
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

/* ---- attention ----------------------------------------------------------------------------- */

/* In place on x[token][heads][head_dim]. One item for each pair; `count` of them. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
rope(__global float *x, __global const float *cos_sin, uint heads, uint head_dim, uint rope_dim,
     uint halves, uint count)
{
    uint id = get_global_id(0), half_dim = rope_dim / 2u, i = id % half_dim;
    uint h = id / half_dim % heads, t = id / half_dim / heads;
    if (id >= count)
        return;
    __global float *head = x + ((size_t)t * heads + h) * head_dim;
    uint a = halves ? i : 2u * i, b = halves ? i + half_dim : 2u * i + 1u;
    float c = cos_sin[(size_t)t * rope_dim + i], s = cos_sin[(size_t)t * rope_dim + half_dim + i];
    float x0 = head[a], x1 = head[b];
    float p = x0 * c, q = x1 * s, u = x0 * s, v = x1 * c;
    head[a] = p - q;
    head[b] = u + v;
}

/* k, v [token][kv_dim] to pages of binary16 K[kv head][64][head_dim], then V. meta: n token ids, n
 * positions, n pages to write, n rows of the table. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
store(__global const float *k, __global const float *v, __global ushort *pool,
      __global const uint *meta, uint n, uint kv_heads, uint head_dim)
{
    uint kv_dim = kv_heads * head_dim, i = get_global_id(0) % kv_dim, t = get_global_id(0) / kv_dim;
    if (t >= n)
        return;
    uint position = meta[n + t], page = meta[2u * n + t];
    size_t part = (size_t)kv_heads * 64u * head_dim;
    __global ushort *to = pool + (size_t)(page - 1u) * 2u * part +
                          ((size_t)(i / head_dim) * 64u + (position & 63u)) * head_dim +
                          i % head_dim;
    to[0] = half_bits(k[(size_t)t * kv_dim + i]);
    to[part] = half_bits(v[(size_t)t * kv_dim + i]);
}

static float dot_half(__local const float *q, __global const half *key, uint d)
{
    float16 sum = (float16)(0.0f);
    float lane[16];
    uint i, whole = d & ~15u;
    for (i = 0; i < whole; i += 16u)
        sum = fma(vload16(0, q + i), vload_half16(0, key + i), sum);
    if (whole == d)
        return tree16(sum);
    vstore16(sum, 0, lane);
    for (i = whole; i < d; i++)
        lane[i & 15u] = fma(q[i], vload_half(i, key), lane[i & 15u]);
    return tree16(vload16(0, lane));
}

/* One head of one token over its positions, in blocks of 64. table: [rows][width] pages. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
attend(__global const float *q, __global float *out, __global const half *pool,
       __global const uint *table, uint width, __global const uint *meta, uint n, uint heads, uint kv_heads, uint head_dim, uint window,
       float scale, __local float *qv, __local float *o)
{
    __local float s[64], lane[16], sum;
    uint l = get_local_id(0), head = get_group_id(0), t = get_group_id(1), i, j, b;
    uint hi = meta[n + t], lo = window && hi + 1u > window ? hi + 1u - window : 0u;
    uint g = head / (heads / kv_heads);
    size_t part = (size_t)kv_heads * 64u * head_dim;
    float m = 0.0f, total = 0.0f;

    q += ((size_t)t * heads + head) * head_dim;
    out += ((size_t)t * heads + head) * head_dim;
    table += (size_t)meta[3u * n + t] * width;
    for (i = l; i < head_dim; i += 64u)
        qv[i] = q[i];
    for (b = lo / 64u; b <= hi / 64u; b++) {
        uint first = b == lo / 64u ? lo & 63u : 0u, last = b == hi / 64u ? hi & 63u : 63u;
        __global const half *keys =
            pool + (size_t)(table[b] - 1u) * 2u * part + (size_t)g * 64u * head_dim;
        __global const half *values = keys + part;
        float mb, lb, m2, old, new;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l >= first && l <= last)
            s[l] = dot_half(qv, keys + (size_t)l * head_dim, head_dim) * scale;
        barrier(CLK_LOCAL_MEM_FENCE);
        mb = s[first];
        for (j = first + 1u; j <= last; j++)
            mb = s[j] > mb ? s[j] : mb;
        barrier(CLK_LOCAL_MEM_FENCE);
        s[l] = l >= first && l <= last ? exp_q35(s[l] - mb) : 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < 16u)
            lane[l] = ((s[l] + s[l + 16u]) + s[l + 32u]) + s[l + 48u];
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l == 0u)
            sum = tree16(vload16(0, lane));
        barrier(CLK_LOCAL_MEM_FENCE);
        lb = sum;
        m2 = mb > m ? mb : m;
        old = exp_q35(m - m2);
        new = exp_q35(mb - m2);
        for (i = l; i < head_dim; i += 64u) {
            float ob = 0.0f;
            for (j = first; j <= last; j++)
                ob = fma(s[j], vload_half((size_t)j * head_dim + i, values), ob);
            o[i] = b == lo / 64u ? ob : fma(ob, new, o[i] * old);
        }
        total = b == lo / 64u ? lb : fma(lb, new, total * old);
        m = b == lo / 64u ? mb : m2;
    }
    for (i = l; i < head_dim; i += 64u)
        out[i] = o[i] * (1.0f / total);
}

/* gate = silu(gate) * up */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
swiglu(__global float *gate, __global const float *up, uint count)
{
    uint i = get_global_id(0);
    if (i >= count)
        return;
    float g = gate[i], e = 1.0f + exp_q35(-g);
    gate[i] = (g / e) * up[i];
}
//KERNEL
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
        __global float *y = m < 2u ? (m ? y1 : y0) : (m < 3u ? y2 : y3);
        y += (size_t)(token + t) * rows + row;
        *y = flags & FLAG_ADD ? *y + v : v;
    }
}
