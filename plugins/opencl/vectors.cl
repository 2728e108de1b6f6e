/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A decoder layer on the device, bit for bit as arith.h says: work on vectors. The host puts the parts
 * of these files one after the other: COMMON, CODES, CACHE, then ATTEND for each type of KV cache and
 * MATMUL for each number of tokens, between lines "#define" and "#undef". GROUP: work-items of a group
 * that works on one token. */

//COMMON
#pragma OPENCL FP_CONTRACT OFF

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

static float scale_of(float top)
{
    return top > 1e-30f ? top / 127.0f : 0.0f;
}

/* x, where the greatest |x| is top. */
static char quantized(float x, float top)
{
    float v = rint(x * (top > 1e-30f ? 127.0f / top : 0.0f));
    v = v > 127.0f ? 127.0f : v;
    v = v < -127.0f ? -127.0f : v;
    return v == v && top > 1e-30f ? (char)(int)v : (char)0;
}

/* The greatest of top[0 .. n), n a power of two, to all items of the group; top is overwritten. */
static float greatest(__local float *top, uint n, uint l)
{
    for (uint k = n / 2u; k > 0u; k >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < k)
            top[l] = top[l + k] > top[l] ? top[l + k] : top[l];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return top[0];
}

/* x[n][cols] -> q[n][cols_padded] and scales; rot[n][cols_padded] is scratch. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
quantize(__global const float *x, uint cols, uint cols_padded, uint block, ulong seed,
         __global float *rot, __global char *q, uint scales_at)
{
    __local float tops[GROUP];
    uint l = get_local_id(0), token = get_group_id(0), k;
    float top = 0.0f;
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
    top = greatest(tops, GROUP, l);
    if (l == 0u)
        ((__global float *)q)[scales_at + token] = scale_of(top);
    q += (size_t)token * cols_padded;
    for (k = l; k < cols_padded; k += GROUP)
        q[k] = quantized(rot[k], top);
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

/* ---- the greedy choice --------------------------------------------------------------------- */

/* Whether value x at i goes before y at k. */
static bool before(float x, uint i, float y, uint k)
{
    return x > y || (x == x && (y != y || (x == y && i < k)));
}

/* best[at + row] = where the greatest of x[row][n] is, the lowest such place; never a NaN's. */
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
greedy(__global const float *x, uint n, __global uint *best, uint at)
{
    __local float tops[GROUP];
    __local uint places[GROUP];
    uint l = get_local_id(0), row = get_group_id(0), place = l < n ? l : 0u, i;
    x += (size_t)row * n;
    float top = x[place];
    for (i = l; i < n; i += GROUP)
        if (before(x[i], i, top, place)) {
            top = x[i];
            place = i;
        }
    tops[l] = top;
    places[l] = place;
    for (i = GROUP / 2u; i > 0u; i >>= 1) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (l < i && before(tops[l + i], places[l + i], tops[l], places[l])) {
            tops[l] = tops[l + i];
            places[l] = places[l + i];
        }
    }
    if (l == 0u) /* all NaN: nothing went before item 0's first, which is place 0 */
        best[at + row] = places[0];
}
