/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Rope, the KV cache and attention. */

//CACHE
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

/* The same in int8: a page is K[kv head][64][head_dim], V, then scales K[kv head][64], V. A group for
 * each kv head of each token. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
store8(__global const float *k, __global const float *v, __global uchar *pool,
       __global const uint *meta, uint n, uint kv_heads, uint head_dim)
{
    __local float tops[64];
    uint l = get_local_id(0), g = get_group_id(0), t = get_group_id(1), i, kind;
    uint place = g * 64u + (meta[n + t] & 63u);
    size_t part = (size_t)kv_heads * 64u * head_dim, page = 2u * part + 512u * (size_t)kv_heads;
    pool += (meta[2u * n + t] - 1u) * page;
    for (kind = 0; kind < 2u; kind++) {
        __global const float *x = (kind ? v : k) + ((size_t)t * kv_heads + g) * head_dim;
        __global char *to = (__global char *)pool + kind * part + (size_t)place * head_dim;
        float top = 0.0f;
        for (i = l; i < head_dim; i += 64u)
            top = fabs(x[i]) > top ? fabs(x[i]) : top;
        barrier(CLK_LOCAL_MEM_FENCE);
        tops[l] = top;
        top = greatest(tops, 64u, l);
        for (i = l; i < head_dim; i += 64u)
            to[i] = quantized(x[i], top);
        if (l == 0u)
            ((__global float *)(pool + 2u * part))[kind * kv_heads * 64u + place] = scale_of(top);
    }
}

static int dot_char(__local const char *q, __global const char *key, uint d)
{
    int8 sum = (int8)(0);
    uint i, whole = d & ~7u;
    int rest = 0;
    for (i = 0; i < whole; i += 8u)
        sum += convert_int8(vload8(0, q + i)) * convert_int8(vload8(0, key + i));
    for (; i < d; i++)
        rest += q[i] * key[i];
    int4 half_sum = sum.lo + sum.hi;
    return rest + ((half_sum.x + half_sum.y) + (half_sum.z + half_sum.w));
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
//ATTEND
/* One head of one token over its positions, in blocks of 64. table: [rows][width] pages. */
__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void
NAME(__global const float *q, __global float *out, __global const uchar *pool,
     __global const uint *table, uint width, __global const uint *meta, uint n, uint heads,
     uint kv_heads, uint head_dim, uint window, float scale, __local float *qv, __local float *o)
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
#if INT8
    size_t page = 2u * part + 512u * (size_t)kv_heads;
    __local char *q8 = (__local char *)qv;
    float top = 0.0f;
    for (i = l; i < head_dim; i += 64u)
        top = fabs(q[i]) > top ? fabs(q[i]) : top;
    s[l] = top;
    top = greatest(s, 64u, l);
    for (i = l; i < head_dim; i += 64u)
        q8[i] = quantized(q[i], top);
#else
    size_t page = 4u * part;
    for (i = l; i < head_dim; i += 64u)
        qv[i] = q[i];
#endif
    for (b = lo / 64u; b <= hi / 64u; b++) {
        uint first = b == lo / 64u ? lo & 63u : 0u, last = b == hi / 64u ? hi & 63u : 63u;
        __global const uchar *at = pool + (size_t)(table[b] - 1u) * page;
        float mb, lb, m2, old, new;
        barrier(CLK_LOCAL_MEM_FENCE);
#if INT8
        __global const char *keys = (__global const char *)at + (size_t)g * 64u * head_dim;
        __global const char *values = keys + part;
        __global const float *scales = (__global const float *)(at + 2u * part) + g * 64u;
        if (l >= first && l <= last) {
            int acc = dot_char(q8, keys + (size_t)l * head_dim, head_dim);
            float both = scale_of(top) * scales[l];
            s[l] = (convert_float_rte(acc) * both) * scale;
        }
#else
        __global const half *keys = (__global const half *)at + (size_t)g * 64u * head_dim;
        __global const half *values = keys + part;
        if (l >= first && l <= last)
            s[l] = dot_half(qv, keys + (size_t)l * head_dim, head_dim) * scale;
#endif
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
#if INT8
        if (l >= first && l <= last)
            s[l] = s[l] * scales[64u * kv_heads + l];
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
        lb = sum;
        m2 = mb > m ? mb : m;
        old = exp_q35(m - m2);
        new = exp_q35(mb - m2);
        for (i = l; i < head_dim; i += 64u) {
            float ob = 0.0f;
            for (j = first; j <= last; j++)
#if INT8
                ob = fma(s[j], convert_float(values[(size_t)j * head_dim + i]), ob);
#else
                ob = fma(s[j], vload_half((size_t)j * head_dim + i, values), ob);
#endif
            o[i] = b == lo / 64u ? ob : fma(ob, new, o[i] * old);
        }
        total = b == lo / 64u ? lb : fma(lb, new, total * old);
        m = b == lo / 64u ? mb : m2;
    }
    for (i = l; i < head_dim; i += 64u)
        out[i] = o[i] * (1.0f / total);
}
