/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The layers as launches of kernels. */

#include <string.h>

#include <q35/arith.h>

#include "opencl.h"

enum { FLAG_B = 4, FLAG_RING = 8, FLAG_BIAS = 16, FLAG_ADD = 32 }; /* products.cl */

struct arg {
    size_t size;
    const void *value; /* NULL: local memory */
};
#define ARG(v)                                                                                     \
    {                                                                                              \
        sizeof(v), &(v)                                                                            \
    }
#define LAUNCH(b, kernel, dims, global, local, ...)                                                \
    do {                                                                                           \
        const struct arg list[] = {__VA_ARGS__};                                                   \
        launch(b, kernel, dims, global, local, list, sizeof(list) / sizeof(list[0]));              \
    } while (0)

static void launch(struct ocl_batch *b, uint32_t kernel, cl_uint dims, const size_t *global,
                   const size_t *local, const struct arg *args, uint32_t count)
{
    struct q35_device *dev = b->dev;
    uint32_t i;
    for (i = 0; !b->code && i < count; i++)
        b->code = clSetKernelArg(dev->kernels[kernel], i, args[i].size, args[i].value);
    if (!b->code)
        b->code = clEnqueueNDRangeKernel(dev->queue, dev->kernels[kernel], dims, NULL, global,
                                         local, 0, NULL, NULL);
    if (b->code && !b->what)
        b->what = ocl_kernel_names[kernel];
}

/* Items of element-wise kernels, in groups of 64. One shape of group: some drivers compile anew for
 * each. */
static size_t whole_groups(uint64_t count)
{
    return (size_t)((count + 63) & ~(uint64_t)63);
}

static cl_mem tensor(const struct ocl_layer *l, uint32_t role)
{
    return l->tensors[role].mem;
}

/* A row of P_META. */
static cl_mem meta(const struct ocl_batch *b)
{
    return b->dev->parts[P_META];
}

/* y[rows][d] = norm of x; with `mapped` row i is that of the i-th token with LOGITS. */
static void norm(struct ocl_batch *b, cl_mem x, cl_mem w, cl_mem y, uint32_t rows, uint32_t d,
                 float eps, cl_mem from, cl_uint mapped)
{
    const size_t local[1] = {b->dev->shared->group}, global[1] = {rows * local[0]};
    LAUNCH(b, K_NORM, 1, global, local, ARG(x), ARG(w), ARG(y), ARG(d), ARG(eps), ARG(from),
           ARG(mapped));
}

/* ---- products ------------------------------------------------------------------------------ */

/* One matrix and where its product goes. */
struct product {
    const struct ocl_tensor *matrix;
    cl_mem bias, y;
};

static uint32_t scheme_flags(uint32_t scheme)
{
    return Q35_SCHEME_WEIGHTS(scheme) | (Q35_SCHEME_HAS_B(scheme) ? FLAG_B : 0) |
           (Q35_SCHEME_RING(scheme) ? FLAG_RING : 0);
}

/* All products of one input in one launch. */
static void multiply(struct ocl_batch *b, uint32_t n, const struct product *p, uint32_t count,
                     uint32_t more_flags)
{
    struct q35_device *dev = b->dev;
    cl_uint cols = q35_pad_cols(p[0].matrix->desc.cols), scales_at = ocl_scales_at(cols, n), at = 0;
    cl_uint4 first, rows = {{0}}, flags = {{0}};
    uint32_t variant = 0, tokens, i;
    size_t local[2] = {128 * (size_t)dev->slices, 1}, global[2];
    cl_mem blob[4], bias[4], y[4];

    for (i = 0; i < 4; i++) {
        const struct product *q = i < count ? &p[i] : &p[0];
        blob[i] = q->matrix->mem;
        bias[i] = q->bias ? q->bias : q->matrix->mem; /* never read without FLAG_BIAS */
        y[i] = q->y;
        first.s[i] = i < count ? at : UINT32_MAX;
        if (i >= count)
            continue;
        rows.s[i] = q->matrix->desc.rows;
        flags.s[i] = scheme_flags(q->matrix->desc.scheme) | (q->bias ? FLAG_BIAS : 0) | more_flags;
        at += q35_pad_rows(q->matrix->desc.rows) / Q35_TILE_ROWS;
    }
    while (K_MATMUL + variant < K_MATMUL_LAST && 1u << variant < n && 2u << variant <= dev->tokens)
        variant++;
    tokens = 1u << variant;
    global[0] = local[0] * at;
    global[1] = (n + tokens - 1) / tokens;
    LAUNCH(b, K_MATMUL + variant, 2, global, local, ARG(blob[0]), ARG(blob[1]), ARG(blob[2]),
           ARG(blob[3]), ARG(bias[0]), ARG(bias[1]), ARG(bias[2]), ARG(bias[3]), ARG(y[0]),
           ARG(y[1]), ARG(y[2]), ARG(y[3]), ARG(first), ARG(rows), ARG(flags), ARG(cols), ARG(n),
           ARG(scales_at), ARG(dev->parts[P_Q8]));
}

/* Products of x[n][cols] with `count` matrices. Those of one rotation share a quantization. */
static void linear(struct ocl_batch *b, uint32_t n, cl_mem x, const struct product *p,
                   uint32_t count, uint32_t more_flags)
{
    struct q35_device *dev = b->dev;
    const size_t local[1] = {dev->shared->group}, global[1] = {n * local[0]};
    uint32_t i, k;
    for (i = 0; i < count; i = k) {
        const struct q35_tensor_desc *d = &p[i].matrix->desc;
        cl_uint cols = d->cols, padded = q35_pad_cols(cols), block = d->rot_block;
        cl_uint scales_at = ocl_scales_at(padded, n);
        cl_ulong seed = d->rot_seed;
        LAUNCH(b, K_QUANTIZE, 1, global, local, ARG(x), ARG(cols), ARG(padded), ARG(block),
               ARG(seed), ARG(dev->parts[P_ROT]), ARG(dev->parts[P_Q8]), ARG(scales_at));
        for (k = i + 1; k < count && p[k].matrix->desc.rot_block == block &&
                        (!block || p[k].matrix->desc.rot_seed == seed);
             k++)
            ;
        multiply(b, n, p + i, k - i, more_flags);
    }
}

/* ---- layers -------------------------------------------------------------------------------- */

void ocl_exec_embed(struct ocl_batch *b, const struct ocl_layer *l)
{
    const struct ocl_tensor *t = &l->tensors[Q35_ROLE_TOKEN_EMBED];
    const struct q35_tensor_desc *d = &t->desc;
    cl_uint rows = d->rows, flags = scheme_flags(d->scheme), cols = d->cols,
            padded = q35_pad_cols(d->cols), block = d->rot_block;
    cl_ulong seed = d->rot_seed;
    const size_t local[1] = {b->dev->shared->group}, global[1] = {b->n * local[0]};
    cl_mem ids = meta(b); /* its first row */
    LAUNCH(b, K_EMBED, 1, global, local, ARG(t->mem), ARG(rows), ARG(flags), ARG(ids), ARG(cols),
           ARG(padded), ARG(block), ARG(seed), ARG(l->desc.embed_scale), ARG(b->dev->parts[P_ROT]),
           ARG(b->dev->parts[P_X]));
}

/* cos and sin of the batch's positions on the device; kept while layers use the same frequencies.
 */
static void rope_table(struct ocl_batch *b, const struct ocl_layer *l)
{
    struct q35_device *dev = b->dev;
    const float *freq = l->tensors[Q35_ROLE_ROPE_FREQ].copy;
    uint32_t dim = l->desc.rope_dim, half = dim / 2, t, i;
    if (dev->rope_of && dev->rope_dim == dim && !memcmp(dev->rope_of, freq, half * sizeof(*freq)))
        return;
    if (dev->rope_of && !b->code) /* the last one may still be on its way */
        b->code = clFinish(dev->queue);
    for (t = 0; t < b->n; t++)
        for (i = 0; i < half; i++) {
            float *to = dev->rope + (uint64_t)t * dim + i;
            q35_rope_angle(dev->meta[b->n + t], freq[i], to, to + half);
        }
    dev->rope_of = freq;
    dev->rope_dim = dim;
    if (!b->code)
        b->code = clEnqueueWriteBuffer(dev->queue, dev->parts[P_ROPE], CL_FALSE, 0,
                                       4 * (uint64_t)b->n * dim, dev->rope, 0, NULL, NULL);
}

static void rope(struct ocl_batch *b, const struct ocl_layer *l, cl_mem x, cl_uint heads)
{
    const struct q35_layer *d = &l->desc;
    cl_uint count = b->n * heads * (d->rope_dim / 2);
    const size_t local[1] = {64}, global[1] = {whole_groups(count)};
    cl_uint halves = d->rope_style == Q35_ROPE_HALVES;
    LAUNCH(b, K_ROPE, 1, global, local, ARG(x), ARG(b->dev->parts[P_ROPE]), ARG(heads),
           ARG(d->head_dim), ARG(d->rope_dim), ARG(halves), ARG(count));
}

/* P_ATT from P_Q, P_K, P_V. */
static void attend(struct ocl_batch *b, const struct ocl_layer *l)
{
    const struct q35_layer *d = &l->desc;
    cl_mem *part = b->dev->parts, pool = b->kv->pools[l->kv_index];
    const size_t stored[1] = {whole_groups((uint64_t)b->n * d->n_kv_heads * d->head_dim)};
    const size_t heads[2] = {64 * (size_t)d->n_kv_heads, b->n};
    bool int8 = b->kv->type == Q35_KV_INT8;
    const size_t local[2] = {64, 1}, global[2] = {64 * (size_t)d->n_heads, b->n};
    size_t head_bytes = d->head_dim * sizeof(float);
    cl_uint width = b->kv->width, n = b->n;

    LAUNCH(b, int8 ? K_STORE8 : K_STORE, int8 ? 2 : 1, int8 ? heads : stored, local, ARG(part[P_K]),
           ARG(part[P_V]), ARG(pool), ARG(part[P_META]), ARG(n), ARG(d->n_kv_heads),
           ARG(d->head_dim));
    ocl_kv_written(b->kv, l->kv_index);
    LAUNCH(b, int8 ? K_ATTEND8 : K_ATTEND, 2, global, local, ARG(part[P_Q]), ARG(part[P_ATT]),
           ARG(pool), ARG(b->kv->device_table), ARG(width), ARG(part[P_META]), ARG(n),
           ARG(d->n_heads), ARG(d->n_kv_heads), ARG(d->head_dim), ARG(d->window),
           ARG(d->attn_scale), {head_bytes, NULL}, {head_bytes, NULL});
}

void ocl_exec_decoder(struct ocl_batch *b, const struct ocl_layer *l)
{
    const struct q35_layer *d = &l->desc;
    const struct ocl_tensor *t = l->tensors;
    cl_mem *part = b->dev->parts;
    const struct product qkv[3] = {
        {&t[Q35_ROLE_Q], tensor(l, Q35_ROLE_Q_BIAS), part[P_Q]},
        {&t[Q35_ROLE_K], tensor(l, Q35_ROLE_K_BIAS), part[P_K]},
        {&t[Q35_ROLE_V], tensor(l, Q35_ROLE_V_BIAS), part[P_V]},
    };
    const struct product o = {&t[Q35_ROLE_O], tensor(l, Q35_ROLE_O_BIAS), part[P_X]};
    const struct product gate_up[2] = {{&t[Q35_ROLE_GATE], NULL, part[P_GATE]},
                                       {&t[Q35_ROLE_UP], NULL, part[P_UP]}};
    const struct product down = {&t[Q35_ROLE_DOWN], NULL, part[P_X]};
    cl_uint ffn = b->n * d->d_ffn;
    const size_t local[1] = {64}, global[1] = {whole_groups(ffn)};
    uint32_t n = b->n;

    norm(b, part[P_X], tensor(l, Q35_ROLE_ATTN_NORM), part[P_H], n, d->d_model, d->norm_eps,
         part[P_META], 0);
    linear(b, n, part[P_H], qkv, 3, 0);
    if (tensor(l, Q35_ROLE_Q_NORM))
        norm(b, part[P_Q], tensor(l, Q35_ROLE_Q_NORM), part[P_Q], n * d->n_heads, d->head_dim,
             d->norm_eps, part[P_META], 0);
    if (tensor(l, Q35_ROLE_K_NORM))
        norm(b, part[P_K], tensor(l, Q35_ROLE_K_NORM), part[P_K], n * d->n_kv_heads, d->head_dim,
             d->norm_eps, part[P_META], 0);
    if (d->rope_dim) {
        rope_table(b, l);
        rope(b, l, part[P_Q], d->n_heads);
        rope(b, l, part[P_K], d->n_kv_heads);
    }
    attend(b, l);
    linear(b, n, part[P_ATT], &o, 1, FLAG_ADD);
    norm(b, part[P_X], tensor(l, Q35_ROLE_FFN_NORM), part[P_H], n, d->d_model, d->norm_eps,
         part[P_META], 0);
    linear(b, n, part[P_H], gate_up, 2, 0);
    LAUNCH(b, K_SWIGLU, 1, global, local, ARG(part[P_GATE]), ARG(part[P_UP]), ARG(ffn));
    linear(b, n, part[P_GATE], &down, 1, FLAG_ADD);
}

void ocl_exec_greedy(struct ocl_batch *b, const struct ocl_layer *l, uint32_t first, uint32_t count)
{
    cl_mem *part = b->dev->parts;
    const size_t local[1] = {b->dev->shared->group}, global[1] = {count * local[0]};
    LAUNCH(b, K_GREEDY, 1, global, local, ARG(part[P_OUT]), ARG(l->desc.vocab), ARG(part[P_BEST]),
           ARG(first));
}

void ocl_exec_head(struct ocl_batch *b, const struct ocl_layer *l, uint32_t first, uint32_t count)
{
    cl_mem *part = b->dev->parts;
    const struct product head = {&l->tensors[Q35_ROLE_HEAD], NULL, part[P_OUT]};
    cl_uint at = 4 * b->n + first + 1; /* of P_META, one more so that 0 means no map */
    norm(b, part[P_X], tensor(l, Q35_ROLE_OUT_NORM), part[P_H], count, l->desc.d_model,
         l->desc.norm_eps, part[P_META], at);
    linear(b, count, part[P_H], &head, 1, 0);
}
