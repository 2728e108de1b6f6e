/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Weights on the device, and products with them. */

#include <stdlib.h>
#include <string.h>

#include "opencl.h"

enum { MOST_TOKENS = 16, CHUNK_FLOATS = 2 << 20 };

/* One matrix on the device, as a blob of format.h. */
struct ocl_matrix {
    cl_mem blob, bias;
};

uint64_t ocl_matrix_bytes(uint32_t scheme, uint32_t rows, uint32_t cols)
{
    return q35_blob_bytes(scheme, rows, cols);
}

/* Whether the matrix lies in host memory just as in a file, so that it can be used in place. */
static bool is_blob(const struct q35_matrix *m)
{
    const uint8_t *base = (const uint8_t *)m->tables;
    return (const uint8_t *)m->scales == base + Q35_BLOB_TABLES &&
           m->codes == base + q35_codes_offset(m->rows) && (uintptr_t)base % Q35_BLOB_ALIGN == 0;
}

static cl_int upload(struct ocl_device *d, const struct q35_matrix *m, cl_mem blob)
{
    uint64_t codes = q35_codes_offset(m->rows);
    uint64_t tiles = ocl_matrix_bytes(m->scheme, m->rows, m->cols) - codes;
    cl_int code = clEnqueueWriteBuffer(d->queue, blob, CL_FALSE, 0, Q35_BLOB_TABLES, m->tables, 0,
                                       NULL, NULL);
    if (!code)
        code = clEnqueueWriteBuffer(d->queue, blob, CL_FALSE, Q35_BLOB_TABLES,
                                    codes - Q35_BLOB_TABLES, m->scales, 0, NULL, NULL);
    if (!code)
        code =
            clEnqueueWriteBuffer(d->queue, blob, CL_FALSE, codes, tiles, m->codes, 0, NULL, NULL);
    return code ? code : clFinish(d->queue);
}

static cl_int create(struct ocl_device *d, const struct q35_matrix *m, struct ocl_matrix *o)
{
    uint64_t bytes = ocl_matrix_bytes(m->scheme, m->rows, m->cols);
    cl_context context = d->shared->context;
    cl_int code = CL_SUCCESS;

    if (d->zero_copy && is_blob(m)) {
        o->blob = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes,
                                 (void *)(uintptr_t)m->tables, &code);
    } else {
        o->blob =
            clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_HOST_WRITE_ONLY, bytes, NULL, &code);
        if (!code)
            code = upload(d, m, o->blob);
    }
    if (!code && m->bias)
        o->bias = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                 m->rows * sizeof(float), (void *)(uintptr_t)m->bias, &code);
    return code;
}

static void matrix_free(struct ocl_matrix *o)
{
    if (o->blob)
        clReleaseMemObject(o->blob);
    if (o->bias)
        clReleaseMemObject(o->bias);
    free(o);
}

enum q35_status ocl_matrix_prepare(void *user, struct q35_matrix *m, struct q35_error *err)
{
    struct ocl_device *d = user;
    struct ocl_matrix *o;
    cl_int code;

    if (d->lost) {
        enum q35_status st = ocl_revive(d, err);
        if (st)
            return st;
    }
    o = calloc(1, sizeof(*o));
    if (!o)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a matrix");
    code = create(d, m, o);
    if (code) {
        matrix_free(o);
        /* Many drivers find out that memory is short when it is first used. */
        if (code == CL_OUT_OF_RESOURCES)
            code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        return ocl_status(err, code, "uploading a matrix");
    }
    m->user = o;
    return Q35_OK;
}

void ocl_matrix_release(void *user, struct q35_matrix *m)
{
    (void)user;
    if (m->user)
        matrix_free(m->user);
    m->user = NULL;
}

/* ---- staging ------------------------------------------------------------------------------- */

static void staged_free(struct ocl_device *d, struct ocl_staged *s)
{
    if (s->pinned && s->host)
        clEnqueueUnmapMemObject(d->queue, s->pinned, s->host, 0, NULL, NULL);
    if (s->pinned)
        clReleaseMemObject(s->pinned);
    if (s->device)
        clReleaseMemObject(s->device);
    memset(s, 0, sizeof(*s));
}

void ocl_scratch_free(struct ocl_device *d)
{
    staged_free(d, &d->in);
    staged_free(d, &d->out);
    if (d->queue)
        clFinish(d->queue);
}

static cl_int staged_make(struct ocl_device *d, struct ocl_staged *s, uint64_t bytes)
{
    cl_context context = d->shared->context;
    cl_mem_flags host = d->zero_copy ? CL_MEM_ALLOC_HOST_PTR : 0;
    cl_int code;
    s->device = clCreateBuffer(context, CL_MEM_READ_WRITE | host, bytes, NULL, &code);
    if (!code && !d->zero_copy) {
        s->pinned =
            clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL, &code);
        if (!code)
            s->host = clEnqueueMapBuffer(d->queue, s->pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE,
                                         0, bytes, 0, NULL, NULL, &code);
    }
    s->bytes = bytes;
    return code;
}

static enum q35_status staged_reserve(struct ocl_device *d, struct ocl_staged *s, uint64_t bytes,
                                      struct q35_error *err)
{
    uint64_t rounded = 4096;
    cl_int code;
    if (bytes <= s->bytes)
        return Q35_OK;
    while (rounded < bytes)
        rounded *= 2;
    clFinish(d->queue);
    staged_free(d, s);
    code = staged_make(d, s, rounded);
    if (code)
        staged_free(d, s);
    return ocl_status(err, code, "memory for activations");
}

/* Where the host writes what staged_send sends, or reads what staged_receive received. */
static void *staged_map(struct ocl_device *d, struct ocl_staged *s, cl_map_flags flags,
                        uint64_t bytes, cl_int *code)
{
    *code = CL_SUCCESS;
    if (d->zero_copy)
        s->host =
            clEnqueueMapBuffer(d->queue, s->device, CL_TRUE, flags, 0, bytes, 0, NULL, NULL, code);
    return s->host;
}

static cl_int staged_unmap(struct ocl_device *d, struct ocl_staged *s)
{
    return d->zero_copy ? clEnqueueUnmapMemObject(d->queue, s->device, s->host, 0, NULL, NULL)
                        : CL_SUCCESS;
}

static cl_int staged_send(struct ocl_device *d, struct ocl_staged *s, uint64_t bytes)
{
    return d->zero_copy ? staged_unmap(d, s)
                        : clEnqueueWriteBuffer(d->queue, s->device, CL_FALSE, 0, bytes, s->host, 0,
                                               NULL, NULL);
}

static cl_int staged_receive(struct ocl_device *d, struct ocl_staged *s, uint64_t bytes)
{
    cl_int code;
    if (!d->zero_copy)
        return clEnqueueReadBuffer(d->queue, s->device, CL_TRUE, 0, bytes, s->host, 0, NULL, NULL);
    staged_map(d, s, CL_MAP_READ, bytes, &code);
    return code;
}

/* ---- products ------------------------------------------------------------------------------ */

/* Tokens of one launch: results of about 8 MiB, but never few tokens. */
static uint32_t chunk(uint32_t n_tokens, uint64_t rows)
{
    uint64_t most = CHUNK_FLOATS / (rows ? rows : 1) / MOST_TOKENS * MOST_TOKENS;
    most = most < MOST_TOKENS ? MOST_TOKENS : most;
    return n_tokens < most ? n_tokens : (uint32_t)most;
}

/* Activations of n tokens, rounded up to whole work-groups. */
static uint64_t in_scales(uint32_t n, uint32_t cols_padded)
{
    return (uint64_t)((n + MOST_TOKENS - 1) & ~(uint32_t)(MOST_TOKENS - 1)) * cols_padded;
}

static uint64_t power_of_two(uint64_t n)
{
    uint64_t p = 4096;
    while (p < n)
        p *= 2;
    return p;
}

uint64_t ocl_scratch_bytes(uint32_t n_tokens, uint64_t rows, uint32_t cols_padded)
{
    uint64_t n = chunk(n_tokens, rows);
    return 2 *
           (power_of_two(in_scales((uint32_t)n, cols_padded) + 4 * n) + power_of_two(4 * n * rows));
}

struct launch {
    const struct q35_matmul_args *args;
    uint32_t first, n; /* tokens */
    uint64_t scales_at, out_bytes;
    cl_uint4 blocks, rows, flags, y_at;
    uint32_t groups;
};

static void launch_init(struct launch *l, const struct q35_matmul_args *a)
{
    uint32_t i, at = 0;
    memset(l, 0, sizeof(*l));
    l->args = a;
    for (i = 0; i < 4; i++) {
        const struct q35_matrix *m = i < a->n_mats ? a->mats[i] : NULL;
        l->blocks.s[i] = m ? at : UINT32_MAX;
        if (!m)
            continue;
        l->rows.s[i] = m->rows;
        l->flags.s[i] = (Q35_SCHEME_WEIGHTS(m->scheme) == 2) | Q35_SCHEME_HAS_B(m->scheme) << 1 |
                        Q35_SCHEME_RING(m->scheme) << 2 | (uint32_t)(m->bias != NULL) << 3;
        at += m->rows_padded / Q35_TILE_ROWS;
    }
    l->groups = at;
}

static cl_int set_args(cl_kernel kernel, struct ocl_device *d, const struct launch *l)
{
    const struct q35_matmul_args *a = l->args;
    const struct ocl_matrix *any = a->mats[0]->user;
    cl_uint cols = a->cols_padded, n = l->n, scales_at = (cl_uint)(l->scales_at / 4), i, at = 0;
    cl_int code = CL_SUCCESS;
#define ARG(value)                                                                                 \
    if (!code)                                                                                     \
    code = clSetKernelArg(kernel, at++, sizeof(value), &(value))
    for (i = 0; i < 4; i++) {
        const struct ocl_matrix *o = i < a->n_mats ? a->mats[i]->user : any;
        ARG(o->blob);
    }
    for (i = 0; i < 4; i++) { /* never read without FLAG_BIAS */
        const struct ocl_matrix *o = i < a->n_mats ? a->mats[i]->user : any;
        const cl_mem bias = o->bias ? o->bias : o->blob;
        ARG(bias);
    }
    ARG(l->blocks);
    ARG(l->rows);
    ARG(l->flags);
    ARG(l->y_at);
    ARG(cols);
    ARG(n);
    ARG(scales_at);
    ARG(d->in.device);
    ARG(d->out.device);
#undef ARG
    return code;
}

static cl_int enqueue(struct ocl_device *d, const struct launch *l)
{
    uint32_t variant = 0, tokens;
    size_t local[2], global[2];
    cl_int code;
    while (variant + 1 < VARIANTS && 1u << variant < l->n && 2u << variant <= d->tokens)
        variant++;
    tokens = 1u << variant;
    local[0] = 128 * (size_t)d->slices;
    local[1] = 1;
    global[0] = local[0] * l->groups;
    global[1] = (l->n + tokens - 1) / tokens;
    code = set_args(d->kernels[variant], d, l);
    return code ? code
                : clEnqueueNDRangeKernel(d->queue, d->kernels[variant], 2, NULL, global, local, 0,
                                         NULL, NULL);
}

static cl_int send(struct ocl_device *d, const struct launch *l)
{
    const struct q35_matmul_args *a = l->args;
    uint64_t q_bytes = (uint64_t)l->n * a->cols_padded, bytes = l->scales_at + 4 * (uint64_t)l->n;
    cl_int code;
    uint8_t *in = staged_map(d, &d->in, CL_MAP_WRITE_INVALIDATE_REGION, bytes, &code);
    if (code)
        return code;
    memcpy(in, a->q + (uint64_t)l->first * a->cols_padded, q_bytes);
    memset(in + q_bytes, 0, l->scales_at - q_bytes);
    memcpy(in + l->scales_at, a->token_scales + l->first, 4 * (uint64_t)l->n);
    return staged_send(d, &d->in, bytes);
}

static void scatter(const struct launch *l, const float *out)
{
    const struct q35_matmul_args *a = l->args;
    uint32_t i, t;
    for (i = 0; i < a->n_mats; i++)
        for (t = 0; t < l->n; t++)
            memcpy(a->y[i] + (l->first + t) * a->y_stride[i],
                   out + l->y_at.s[i] + (uint64_t)t * a->mats[i]->rows,
                   4 * (uint64_t)a->mats[i]->rows);
}

static cl_int multiply(struct ocl_device *d, const struct launch *l)
{
    cl_int code = send(d, l);
    if (!code)
        code = enqueue(d, l);
    if (!code)
        code = staged_receive(d, &d->out, l->out_bytes);
    if (code)
        return code;
    scatter(l, d->out.host);
    return staged_unmap(d, &d->out);
}

/* All matrices in one launch. */
enum q35_status ocl_matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    struct ocl_device *d = user;
    struct launch l;
    uint64_t rows = 0, at;
    uint32_t i, most;
    enum q35_status st;

    if (d->lost)
        return ocl_status(err, CL_DEVICE_NOT_AVAILABLE, "the device was lost earlier");
    launch_init(&l, a);
    for (i = 0; i < a->n_mats; i++)
        rows += a->mats[i]->rows;
    most = chunk(a->n_tokens, rows);
    for (l.first = 0; l.first < a->n_tokens; l.first += l.n) {
        l.n = a->n_tokens - l.first < most ? a->n_tokens - l.first : most;
        l.scales_at = in_scales(l.n, a->cols_padded);
        for (i = 0, at = 0; i < a->n_mats; i++) {
            l.y_at.s[i] = (cl_uint)at;
            at += (uint64_t)l.n * a->mats[i]->rows;
        }
        l.out_bytes = 4 * at;
        st = staged_reserve(d, &d->in, l.scales_at + 4 * (uint64_t)l.n, err);
        if (!st)
            st = staged_reserve(d, &d->out, l.out_bytes, err);
        if (!st)
            st = ocl_status(err, multiply(d, &l), "a matrix product");
        if (st) {
            d->lost |= err->radius >= Q35_RADIUS_DEVICE_LOST;
            return st;
        }
    }
    return Q35_OK;
}
