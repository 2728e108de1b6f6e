/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_ARITH_H
#define Q35_ARITH_H

/* The arithmetic contract, as code. A backend of class EXACT gives bit for bit what these functions
 * give. They use IEEE binary32/binary64 add, subtract, multiply, fma, divide, sqrt, compare and
 * round-to-even only. Compile with contraction off (-ffp-contract=off) and never with fast-math.
 *
 * The steps of a matrix product y = W x for one token:
 *   1. q35_rotate (if the tensor is rotated), then q35_quantize: int8 values and one scale;
 *   2. acc[m] = sum over k of w[m][k] * q[k] in int32: exact in any order;
 *   3. y[m] = (float)acc[m] * (row_scale[m] * token_scale); then + bias[m] if there is one.
 *
 * Reductions in binary32 use 16 lanes: element i goes to lane i mod 16, in ascending i, starting
 * from zero; then the tree of q35_tree16. A token's result never depends on the rest of its batch. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "format.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef Q35_FMAF /* a device's compiler defines all of them as its own, each rounded once */
#define Q35_FMAF fmaf
#define Q35_FMA fma
#define Q35_RINTF rintf
#define Q35_RINT rint
#define Q35_SQRTF sqrtf
#define Q35_DIVF(a, b) ((a) / (b))
#define Q35_FABSF fabsf
#endif

#define Q35_LANES 16
#define Q35_ATTN_BLOCK 64 /* positions in one softmax block, counted from position 0 */

/* Sum of 16 lanes: pairs at distance 8, 4, 2, 1. Destroys the lanes. */
Q35_FN float q35_tree16(float *lane)
{
    int h, i;
    for (h = 8; h > 0; h >>= 1)
        for (i = 0; i < h; i++)
            lane[i] = lane[i] + lane[i + h];
    return lane[0];
}

/* sum of x[i]*y[i]: lane = fma(x, y, lane). */
Q35_FN float q35_dot(const float *x, const float *y, uint32_t n)
{
    float lane[Q35_LANES] = {0};
    uint32_t i;
    for (i = 0; i < n; i++)
        lane[i & 15u] = Q35_FMAF(x[i], y[i], lane[i & 15u]);
    return q35_tree16(lane);
}

/* 1 / sqrt(mean(x^2) + eps), the factor of RMSNorm. */
Q35_FN float q35_rms_factor(const float *x, uint32_t n, float eps)
{
    float mean = Q35_DIVF(q35_dot(x, x, n), (float)n);
    return Q35_DIVF(1.0f, Q35_SQRTF(mean + eps));
}

/* y = (x * factor) * w. y may be x. */
Q35_FN void q35_rms_norm(const float *x, const float *w, uint32_t n, float eps, float *y)
{
    float f = q35_rms_factor(x, n, eps);
    uint32_t i;
    for (i = 0; i < n; i++)
        y[i] = (x[i] * f) * w[i];
}

/* In place on x[cols_padded]: signs, then an unnormalised Hadamard transform of every block of
 * `block` values. Butterflies of distance 1, 2, 4 ... block/2 in that order: (a, b) -> (a+b, a-b). */
Q35_FN void q35_rotate(float *x, uint32_t cols_padded, uint32_t block, uint64_t seed)
{
    uint32_t k, h, s, i;
    for (k = 0; k < cols_padded; k++)
        if (q35_rot_sign(seed, k))
            x[k] = -x[k];
    for (h = 1; h < block; h <<= 1)
        for (s = 0; s < cols_padded; s += 2 * h)
            for (i = s; i < s + h; i++) {
                float a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
}

/* Inverse of q35_rotate up to the factor `block`: Hadamard first, then signs. */
Q35_FN void q35_unrotate(float *x, uint32_t cols_padded, uint32_t block, uint64_t seed)
{
    uint32_t k, h, s, i;
    for (h = 1; h < block; h <<= 1)
        for (s = 0; s < cols_padded; s += 2 * h)
            for (i = s; i < s + h; i++) {
                float a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
    for (k = 0; k < cols_padded; k++)
        if (q35_rot_sign(seed, k))
            x[k] = -x[k];
}

/* A rounded value as int8: clamped to [-127, 127], NaN is 0. */
/*@ assigns \nothing;
    ensures -127 <= \result <= 127; */
Q35_FN int8_t q35_clamp_int8(float v)
{
    v = v > 127.0f ? 127.0f : v;
    v = v < -127.0f ? -127.0f : v;
    return v == v ? (int8_t)(int)v : (int8_t)0;
}

/* Quantizes one token to int8 with one scale: scale = max|x| / 127, q = round_half_even(x * (127 /
 * max|x|)) clamped to [-127, 127]. max|x| not above 1e-30 (or NaN throughout) gives zeros and
 * scale 0; a NaN element gives 0. Returns the scale. */
/*@ requires \valid_read(x + (0 .. n - 1)) && \valid(q + (0 .. n - 1));
    requires \separated(x + (0 .. n - 1), q + (0 .. n - 1));
    assigns q[0 .. n - 1];
    ensures \forall integer k; 0 <= k < n ==> -127 <= q[k] <= 127; */
Q35_FN float q35_quantize(const float *x, uint32_t n, int8_t *q)
{
    float top = 0.0f, inv;
    uint32_t i;
    /*@ loop invariant 0 <= i <= n;
        loop assigns i, top;
        loop variant n - i; */
    for (i = 0; i < n; i++) {
        float a = Q35_FABSF(x[i]);
        top = a > top ? a : top;
    }
    if (!(top > 1e-30f)) {
        /*@ loop invariant 0 <= i <= n && \forall integer k; 0 <= k < i ==> q[k] == 0;
            loop assigns i, q[0 .. n - 1];
            loop variant n - i; */
        for (i = 0; i < n; i++)
            q[i] = 0;
        return 0.0f;
    }
    inv = Q35_DIVF(127.0f, top);
    /*@ loop invariant 0 <= i <= n && \forall integer k; 0 <= k < i ==> -127 <= q[k] <= 127;
        loop assigns i, q[0 .. n - 1];
        loop variant n - i; */
    for (i = 0; i < n; i++)
        q[i] = q35_clamp_int8(Q35_RINTF(x[i] * inv));
    return Q35_DIVF(top, 127.0f);
}

/* Step 3 of the matrix product. */
Q35_FN float q35_rescale(int32_t acc, float row_scale, float token_scale)
{
    return (float)acc * (row_scale * token_scale);
}

/* e^x. Below -87 (and for NaN) 0, above 88 as for 88. n = round(x log2 e); r = x - n ln 2 in two
 * parts; a degree-5 polynomial for (e^r - 1 - r) / r^2 (coefficients of Cephes expf); times 2^n. */
Q35_FN float q35_exp(float x)
{
    float n, r, p, s;
    int32_t bits;
    if (!(x >= -87.0f))
        return 0.0f;
    x = x > 88.0f ? 88.0f : x;
    n = Q35_RINTF(x * 1.44269504088896341f);
    r = Q35_FMAF(n, -0.693359375f, x);
    r = Q35_FMAF(n, 2.12194440e-4f, r);
    p = 1.9875691500e-4f;
    p = Q35_FMAF(p, r, 1.3981999507e-3f);
    p = Q35_FMAF(p, r, 8.3334519073e-3f);
    p = Q35_FMAF(p, r, 4.1665795894e-2f);
    p = Q35_FMAF(p, r, 1.6666665459e-1f);
    p = Q35_FMAF(p, r, 5.0000001201e-1f);
    p = Q35_FMAF(p, r * r, r) + 1.0f;
    bits = ((int32_t)n + 127) << 23;
    memcpy(&s, &bits, 4);
    return p * s;
}

/* x / (1 + e^-x) */
Q35_FN float q35_silu(float x)
{
    return Q35_DIVF(x, 1.0f + q35_exp(-x));
}

/* sin and cos of position * inv_freq, both exact in binary64 before the product is rounded once.
 * Reduction by pi/2 in three parts (fdlibm's), polynomials of fdlibm's __kernel_sin and
 * __kernel_cos with fma. Valid for |angle| < 2^27. */
Q35_FN void q35_rope_angle(uint32_t position, float inv_freq, float *cos_out, float *sin_out)
{
    double a = (double)position * (double)inv_freq;
    double k = Q35_RINT(a * 6.36619772367581382433e-01);
    double r = Q35_FMA(k, -1.57079632673412561417e+00, a);
    double z, s, c;
    int32_t q = (int32_t)((int64_t)k & 3);
    r = Q35_FMA(k, -6.07710050630396597660e-11, r);
    r = Q35_FMA(k, -2.02226624879595063154e-21, r);
    z = r * r;
    s = Q35_FMA(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08);
    s = Q35_FMA(z, s, 2.75573137070700676789e-06);
    s = Q35_FMA(z, s, -1.98412698298579493134e-04);
    s = Q35_FMA(z, s, 8.33333333332248946124e-03);
    s = Q35_FMA(z, s, -1.66666666666666324348e-01);
    s = Q35_FMA(z * r, s, r);
    c = Q35_FMA(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09);
    c = Q35_FMA(z, c, -2.75573143513906633035e-07);
    c = Q35_FMA(z, c, 2.48015872894767294178e-05);
    c = Q35_FMA(z, c, -1.38888888888741095749e-03);
    c = Q35_FMA(z, c, 4.16666666666666019037e-02);
    c = Q35_FMA(z, c, -0.5);
    c = Q35_FMA(z, c, 1.0);
    *cos_out = (float)(q == 0 ? c : q == 1 ? -s : q == 2 ? -c : s);
    *sin_out = (float)(q == 0 ? s : q == 1 ? c : q == 2 ? -s : -c);
}

/* Rotates the pair (x0, x1): two products and one add or subtract each, no fma. */
Q35_FN void q35_rope_pair(float *x0, float *x1, float c, float s)
{
    float a = *x0, b = *x1;
    *x0 = a * c - b * s;
    *x1 = a * s + b * c;
}

/* binary16 -> binary32, exact. */
Q35_FN float q35_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 1023u, u;
    float f;
    if (e == 31u) {
        u = sign | 0x7f800000u | m << 13;
    } else if (e) {
        u = sign | (e + 112u) << 23 | m << 13;
    } else {
        f = (float)m * 5.9604644775390625e-08f; /* 2^-24 */
        memcpy(&u, &f, 4);
        u |= sign;
    }
    memcpy(&f, &u, 4);
    return f;
}

/* binary32 -> binary16, round half to even; overflow gives infinity, NaN a quiet NaN. */
Q35_FN uint16_t q35_f32_to_f16(float f)
{
    uint32_t u, sign, a;
    memcpy(&u, &f, 4);
    sign = (u >> 16) & 0x8000u;
    a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) { /* subnormal or zero: adding 0.5 rounds at 2^-24 */
        float g;
        memcpy(&g, &a, 4);
        g += 0.5f;
        memcpy(&a, &g, 4);
        return (uint16_t)(sign | (a - 0x3f000000u));
    }
    a += 0xc8000fffu + ((a >> 13) & 1u); /* rebias the exponent and round */
    return (uint16_t)(sign | (a >> 13));
}

/* Attention of one query head over cached positions lo .. hi (inclusive), in blocks of 64 absolute
 * positions. For block b, over its positions j inside [lo, hi]:
 *     s_j = q35_dot(q, k_j, head_dim) * scale;   m_b = max s_j;   p_j = q35_exp(s_j - m_b)
 *     l_b = 16 lanes by j mod 16, ascending, then the tree
 *     o_b[d] = fma(p_j, v_j[d], o_b[d]) over ascending j from zero
 * Blocks are merged in ascending order into (m, l, o), the first one as it is:
 *     m' = max(m, m_b);  a = q35_exp(m - m');  c = q35_exp(m_b - m')
 *     l = fma(l_b, c, l * a);   o[d] = fma(o_b[d], c, o[d] * a)
 * Finally out[d] = o[d] * (1 / l).
 * The functions below are the steps; block results can be computed anywhere.
 *
 * With keys and values in int8 each head of q, k_j, v_j is int8 with a scale from q35_quantize over
 * its head_dim values, and two lines differ:
 *     s_j = q35_attn_score8(sum of q8[d] * k8_j[d], q_scale, k_scale_j, scale)
 *     o_b[d] = fma(p_j * v_scale_j, (float)v8_j[d], o_b[d]) */
struct q35_attn_state {
    float m, l;
};

/* s: scores in, probabilities out, n > 0 values for positions first .. first+n-1 of one block;
 * first counts from position 0 or from the block's: 64 is a multiple of the lanes. */
Q35_FN struct q35_attn_state q35_attn_softmax(float *s, uint32_t first, uint32_t n)
{
    struct q35_attn_state st;
    float lane[Q35_LANES] = {0};
    uint32_t j;
    st.m = s[0];
    for (j = 1; j < n; j++)
        st.m = s[j] > st.m ? s[j] : st.m;
    for (j = 0; j < n; j++) {
        s[j] = q35_exp(s[j] - st.m);
        lane[(first + j) & 15u] = lane[(first + j) & 15u] + s[j];
    }
    st.l = q35_tree16(lane);
    return st;
}

/* s, first, n as above. v: row-major [n][stride] values in binary16. o: [head_dim], overwritten. */
Q35_FN struct q35_attn_state q35_attn_block(float *s, uint32_t first, uint32_t n, const uint16_t *v,
                                            uint64_t stride, uint32_t head_dim, float *o)
{
    struct q35_attn_state st = q35_attn_softmax(s, first, n);
    uint32_t j, d;
    for (d = 0; d < head_dim; d++)
        o[d] = 0.0f;
    for (j = 0; j < n; j++)
        for (d = 0; d < head_dim; d++)
            o[d] = Q35_FMAF(s[j], q35_f16_to_f32(v[j * stride + d]), o[d]);
    return st;
}

/* Bytes of one layer's page of 64 positions in int8: K and V, then their scales. */
Q35_FN uint64_t q35_kv8_page_bytes(uint32_t n_kv_heads, uint32_t head_dim)
{
    return 2 * (uint64_t)n_kv_heads * Q35_ATTN_BLOCK * ((uint64_t)head_dim + sizeof(float));
}

/* The score of a key in int8; acc: the exact sum of products of n = head_dim values. */
Q35_FN float q35_attn_score8(int32_t acc, float q_scale, float k_scale, float scale)
{
    return ((float)acc * (q_scale * k_scale)) * scale;
}

/* q35_attn_block with values in int8. v: [n][stride], v_scales: [n]. */
Q35_FN struct q35_attn_state q35_attn_block8(float *s, uint32_t first, uint32_t n, const int8_t *v,
                                             uint64_t stride, const float *v_scales,
                                             uint32_t head_dim, float *o)
{
    struct q35_attn_state st = q35_attn_softmax(s, first, n);
    uint32_t j, d;
    for (d = 0; d < head_dim; d++)
        o[d] = 0.0f;
    for (j = 0; j < n; j++) {
        float p = s[j] * v_scales[j];
        for (d = 0; d < head_dim; d++)
            o[d] = Q35_FMAF(p, (float)v[j * stride + d], o[d]);
    }
    return st;
}

/* Merges block (sb, ob) into the running (st, o), which the first block's were copied to. */
Q35_FN void q35_attn_merge(struct q35_attn_state *st, float *o, struct q35_attn_state sb,
                           const float *ob, uint32_t head_dim)
{
    float m = sb.m > st->m ? sb.m : st->m;
    float a = q35_exp(st->m - m), c = q35_exp(sb.m - m);
    uint32_t d;
    st->l = Q35_FMAF(sb.l, c, st->l * a);
    for (d = 0; d < head_dim; d++)
        o[d] = Q35_FMAF(ob[d], c, o[d] * a);
    st->m = m;
}

/* The greedy choice: the index of the greatest value, the lowest among equals. NaN is never
 * chosen; if all are NaN, 0. */
Q35_FN uint32_t q35_greedy(const float *x, uint32_t n)
{
    uint32_t best = 0, i;
    for (i = 1; i < n; i++)
        if (x[i] > x[best] || (x[best] != x[best] && x[i] == x[i]))
            best = i;
    return best;
}

#ifdef __cplusplus
}
#endif
#endif
