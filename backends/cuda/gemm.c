/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Products of many tokens by cuBLASLt: weights are decoded to int8 in a bounded room, some rows at
 * a time, multiplied into 32-bit sums, which are exact by whatever kernel, and rescaled. With
 * prefill = auto the library and the own kernel take turns at the first products of a shape, as
 * they come; then the faster one stays. As both give the same bits, nobody can tell from the
 * results.
 *
 * For the library all matrices are column-major: weights [rows][k] are a matrix k x rows, to be
 * transposed, inputs [n][k] one of k x n, sums [n][rows] one of rows x n. */

#include <stdio.h>

#include "impl.h"

#define ROOM ((uint64_t)64 << 20) /* most bytes of decoded weights, and of sums, at a time */
#define WORKSPACE ((uint64_t)16 << 20)
#define TRIALS 6u /* by turns; the first of either is not counted */

static void say(const struct q35_device *dev, uint32_t level, const char *text)
{
    if (dev->host && dev->host->log)
        dev->host->log(dev->host->ctx, level, text);
}

/* From here on the own kernels compute everything. */
static void give_up(struct q35_device *dev, const char *why)
{
    char text[400];
    if (!dev->gemm.off) {
        snprintf(text, sizeof(text), "cuda: cuBLASLt is not used any more: %.300s", why);
        say(dev, Q35_LOG_WARN, text);
    }
    dev->gemm.off = true;
}

static enum q35_status refused(struct q35_error *err, const char *what, blas_status status)
{
    q35_soft_fail(err, Q35_E_INTERNAL, "cuBLASLt: %s: status %d", what, status);
    if (err)
        err->native_code = status;
    return Q35_E_INTERNAL;
}

/* ---- shapes -------------------------------------------------------------------------------- */

static void shape_fini(const struct blas *lib, struct cuda_gemm_shape *s)
{
    if (s->w)
        (void)lib->LayoutDestroy(s->w);
    if (s->x)
        (void)lib->LayoutDestroy(s->x);
    if (s->y)
        (void)lib->LayoutDestroy(s->y);
    *s = (struct cuda_gemm_shape){0};
}

static blas_status shape_init(struct cuda_gemm *g, struct cuda_gemm_shape *s)
{
    const struct blas *lib = g->lib;
    struct blas_heuristic best = {0};
    int found = 0;
    blas_status status = lib->LayoutCreate(&s->w, BLAS_TYPE_8I, s->k, s->rows, s->k);
    if (!status)
        status = lib->LayoutCreate(&s->x, BLAS_TYPE_8I, s->k, s->n, s->k);
    if (!status)
        status = lib->LayoutCreate(&s->y, BLAS_TYPE_32I, s->rows, s->n, s->rows);
    if (!status)
        status = lib->Heuristic(g->handle, g->matmul, s->w, s->x, s->y, s->y, g->preference, 1,
                                &best, &found);
    if (!status && !found)
        status = BLAS_NOT_SUPPORTED;
    if (!status)
        status = best.state;
    s->algo = best.algo;
    s->workspace = best.workspace;
    return status;
}

/* NULL if the library has no way to compute it. */
static const struct cuda_gemm_shape *shape_of(struct q35_device *dev, uint32_t rows, uint32_t n,
                                              uint32_t k)
{
    struct cuda_gemm *g = &dev->gemm;
    struct cuda_gemm_shape *s;
    blas_status status;
    char why[80];
    uint32_t i;
    for (i = 0; i < CUDA_SHAPES; i++) {
        s = &g->shapes[i];
        if (s->w && s->rows == rows && s->n == n && s->k == k)
            return s;
    }
    s = &g->shapes[g->next_shape];
    g->next_shape = (g->next_shape + 1) % CUDA_SHAPES;
    shape_fini(g->lib, s);
    *s = (struct cuda_gemm_shape){.rows = rows, .n = n, .k = k};
    status = shape_init(g, s);
    if (!status && s->workspace <= WORKSPACE)
        return s;
    shape_fini(g->lib, s);
    snprintf(why, sizeof(why), "no algorithm for %u x %u x %u, status %d", rows, n, k, status);
    give_up(dev, why);
    return NULL;
}

static enum q35_status multiply(struct q35_device *dev, const struct cuda_gemm_shape *s, cu_ptr w,
                                const void *x, cu_ptr sums, struct q35_error *err)
{
    const int32_t one = 1, zero = 0;
    struct cuda_gemm *g = &dev->gemm;
    void *y = cuda_at(sums);
    blas_status status =
        g->lib->Matmul(g->handle, g->matmul, &one, cuda_at(w), s->w, x, s->x, &zero, y, s->y, y,
                       s->y, &s->algo, cuda_at(g->room.at), WORKSPACE, dev->stream);
    return status ? refused(err, "a product", status) : Q35_OK;
}

/* ---- the library and its handle ------------------------------------------------------------- */

void cuda_gemm_open(struct q35_device *dev, const struct cuda_config *config)
{
    struct q35_error err = Q35_ERROR_INIT;
    char text[400];
    dev->gemm.mode = config->prefill;
    if (config->prefill == CUDA_PREFILL_KERNEL)
        return;
    dev->gemm.lib = blas_open(config->cublaslt, dev->cu->version, &err);
    if (dev->gemm.lib)
        return;
    snprintf(text, sizeof(text), "cuda: no cuBLASLt, prefill is left to the own kernels: %.300s",
             err.message);
    say(dev, config->prefill == CUDA_PREFILL_AUTO ? Q35_LOG_INFO : Q35_LOG_WARN, text);
}

/* A small product whose result is known: numbers of the library may not be what blas.h says. */
static enum q35_status prove(struct q35_device *dev, struct q35_error *err)
{
    enum { ROWS = 16, N = 24, K = 128, W = ROWS * K, X = N * K, Y = ROWS * N };
    struct cuda_gemm *g = &dev->gemm;
    const struct cuda_gemm_shape *s = shape_of(dev, ROWS, N, K);
    int8_t in[W + X];
    int32_t out[Y], sum;
    uint32_t i, j, k;
    enum q35_status st;
    cu_ptr at;
    for (i = 0; i < W + X; i++)
        in[i] = (int8_t)((int)(i * i * 31 % 255) - 127);
    if (!s)
        return refused(err, "no algorithm", BLAS_NOT_SUPPORTED);
    st = cuda_block_reserve(dev, &g->room, WORKSPACE + W + X + sizeof(out), "room for cuBLASLt",
                            err);
    at = g->room.at + WORKSPACE;
    if (!st)
        st = cuda_upload(dev, at, in, sizeof(in), err);
    if (!st)
        st = multiply(dev, s, at, cuda_at(at + W), at + W + X, err);
    if (!st)
        st = cuda_download(dev, out, at + W + X, sizeof(out), err);
    for (j = 0; j < N && !st; j++)
        for (i = 0; i < ROWS && !st; i++) {
            for (sum = 0, k = 0; k < K; k++)
                sum += in[i * K + k] * in[W + j * K + k];
            if (out[j * ROWS + i] != sum)
                st = q35_soft_fail(err, Q35_E_INTERNAL, "a product of it is wrong");
        }
    return st;
}

static enum q35_status handle_init(struct cuda_gemm *g, struct q35_error *err)
{
    const int32_t transposed = BLAS_OP_T;
    const uint64_t workspace = WORKSPACE;
    const struct blas *lib = g->lib;
    blas_status status = lib->Create(&g->handle);
    if (!status)
        status = lib->MatmulCreate(&g->matmul, BLAS_COMPUTE_32I, BLAS_TYPE_32I);
    if (!status)
        status = lib->MatmulSet(g->matmul, BLAS_MATMUL_TRANSA, &transposed, sizeof(transposed));
    if (!status)
        status = lib->PreferenceCreate(&g->preference);
    if (!status)
        status =
            lib->PreferenceSet(g->preference, BLAS_PREF_WORKSPACE, &workspace, sizeof(workspace));
    return status ? refused(err, "a handle", status) : Q35_OK;
}

void cuda_gemm_init(struct q35_device *dev)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct cuda_gemm *g = &dev->gemm;
    enum q35_status st;
    if (!g->lib)
        return;
    st = handle_init(g, &err);
    if (!st)
        st = cuda_check(dev, dev->cu->EventCreate(&g->begin, 0), "creating an event", &err);
    if (!st)
        st = cuda_check(dev, dev->cu->EventCreate(&g->end, 0), "creating an event", &err);
    if (!st)
        st = prove(dev, &err);
    if (!st)
        return;
    give_up(dev, err.message);
    (void)dev->cu->StreamSynchronize(dev->stream);
    cuda_gemm_fini(dev);
    g->off = true;
}

void cuda_gemm_fini(struct q35_device *dev)
{
    struct cuda_gemm *g = &dev->gemm;
    const struct cu *cu = dev->cu;
    uint32_t i;
    for (i = 0; i < CUDA_SHAPES; i++)
        shape_fini(g->lib, &g->shapes[i]);
    if (g->preference)
        (void)g->lib->PreferenceDestroy(g->preference);
    if (g->matmul)
        (void)g->lib->MatmulDestroy(g->matmul);
    if (g->handle)
        (void)g->lib->Destroy(g->handle);
    if (g->begin)
        (void)cu->EventDestroy(g->begin);
    if (g->end)
        (void)cu->EventDestroy(g->end);
    if (g->room.at)
        (void)cu->MemFree(g->room.at);
    *g = (struct cuda_gemm){.lib = g->lib, .mode = g->mode};
}

uint64_t cuda_gemm_bytes(const struct q35_device *dev, const struct cuda_dims *dims, uint64_t n)
{
    uint64_t weights = dims->weights, sums = 4 * n * dims->rows;
    if (!dev->gemm.lib || dev->gemm.off || n <= Q35_CU_FEW)
        return 0;
    return WORKSPACE + (weights < ROOM ? weights : ROOM) + (sums < ROOM ? sums : ROOM) +
           CUDA_ALIGNMENT;
}

/* ---- products ------------------------------------------------------------------------------- */

/* Rows at a time. */
static uint32_t rows_of(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m)
{
    uint64_t rows = m->blocks * (uint64_t)Q35_TILE_ROWS, most = ROOM / a->cols_padded;
    if (ROOM / (4 * (uint64_t)a->n_tokens) < most)
        most = ROOM / (4 * (uint64_t)a->n_tokens);
    most &= ~(uint64_t)(Q35_TILE_ROWS - 1);
    return (uint32_t)(rows < most ? rows : most);
}

/* Whether the library takes part, down to every shape. */
static bool usable(struct q35_device *dev, const struct q35_cu_matmul *a)
{
    uint32_t i;
    if (!dev->gemm.lib || dev->gemm.off || a->n_tokens <= Q35_CU_FEW)
        return false;
    for (i = 0; i < a->n_mats; i++) {
        uint32_t all = a->mats[i].blocks * Q35_TILE_ROWS, rows = rows_of(a, &a->mats[i]);
        if (!shape_of(dev, rows, a->n_tokens, a->cols_padded) ||
            (all % rows && !shape_of(dev, all % rows, a->n_tokens, a->cols_padded)))
            return false;
    }
    return true;
}

/* Rows first .. first + rows - 1 of m, both multiples of 16. */
static enum q35_status some_rows(struct q35_device *dev, const struct q35_cu_matmul *a,
                                 const struct q35_cu_matrix *m, uint32_t first, uint32_t rows,
                                 struct q35_error *err)
{
    const struct cuda_gemm_shape *s = shape_of(dev, rows, a->n_tokens, a->cols_padded);
    uint64_t weights = (uint64_t)rows * a->cols_padded;
    cu_ptr w = dev->gemm.room.at + WORKSPACE;
    cu_ptr sums = (w + weights + CUDA_ALIGNMENT - 1) & ~(cu_ptr)(CUDA_ALIGNMENT - 1);
    struct q35_cu_decode d = {.codes = m->codes +
                                       (uint64_t)first / Q35_TILE_ROWS * m->tiles * Q35_TILE_BYTES,
                              .tables = m->tables,
                              .out = cuda_at(w),
                              .scheme = m->scheme,
                              .blocks = rows / Q35_TILE_ROWS,
                              .cols_padded = a->cols_padded};
    struct q35_cu_rescale r = {.sums = cuda_at(sums),
                               .token_scales = a->token_scales,
                               .scales = m->scales + first,
                               .bias = m->bias ? m->bias + first : NULL,
                               .y = m->y + first,
                               .y_stride = m->y_stride,
                               .n_tokens = a->n_tokens,
                               .rows = m->rows - first < rows ? m->rows - first : rows,
                               .stride = rows,
                               .add = m->add};
    struct q35_cu_launch decode = q35_cu_decode_set(&d, &dev->limits);
    struct q35_cu_launch rescale = q35_cu_rescale_set(&r);
    enum q35_status st;
    if (!s)
        return q35_soft_fail(err, Q35_E_INTERNAL, "cuBLASLt: a shape was lost");
    st = cuda_launch(dev, &decode, &d, err);
    if (!st) {
        st = multiply(dev, s, w, a->q, sums, err);
        if (st)
            give_up(dev, err ? err->message : "a product failed");
    }
    return st ? st : cuda_launch(dev, &rescale, &r, err);
}

static enum q35_status by_library(struct q35_device *dev, const struct q35_cu_matmul *a,
                                  struct q35_error *err)
{
    uint32_t i, first, n;
    for (i = 0; i < a->n_mats; i++) {
        const struct q35_cu_matrix *m = &a->mats[i];
        uint32_t all = m->blocks * Q35_TILE_ROWS, rows = rows_of(a, m);
        for (first = 0; first < all; first += n) {
            enum q35_status st;
            n = all - first < rows ? all - first : rows;
            st = some_rows(dev, a, m, first, n, err);
            if (st)
                return st;
        }
    }
    return Q35_OK;
}

/* ---- which of the two ----------------------------------------------------------------------- */

/* NULL when there are too many shapes to keep account of. */
static struct cuda_trial *trial_of(struct cuda_gemm *g, const struct q35_cu_matmul *a)
{
    struct cuda_trial key = {.cols = a->cols_padded, .tokens = 32};
    uint32_t i;
    while (key.tokens < a->n_tokens)
        key.tokens *= 2;
    for (i = 0; i < a->n_mats; i++) {
        key.rows[i] = a->mats[i].rows;
        key.scheme[i] = a->mats[i].scheme;
    }
    for (i = 0; i < g->trial_count; i++)
        if (!memcmp(&g->trials[i], &key, CUDA_TRIAL_KEY))
            return &g->trials[i];
    if (g->trial_count == CUDA_SHAPES)
        return NULL;
    g->trials[g->trial_count] = key;
    return &g->trials[g->trial_count++];
}

static void decided(const struct q35_device *dev, const struct cuda_trial *t)
{
    char text[200];
    snprintf(text, sizeof(text),
             "cuda: %u%s x %u, up to %u tokens: %.3f ms by the kernel, %.3f ms by cuBLASLt",
             t->rows[0], t->rows[1] ? " ..." : "", t->cols, t->tokens, (double)t->ms[0],
             (double)t->ms[1]);
    say(dev, Q35_LOG_INFO, text);
}

/* Computes the product by the one whose turn it is, and waits for it. */
static enum q35_status trial(struct cuda_batch *b, struct cuda_trial *t,
                             const struct q35_cu_matmul *a, const struct q35_cu_launch *own,
                             struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    struct cuda_gemm *g = &dev->gemm;
    uint32_t library = t->count & 1u;
    float ms = 0.0f;
    enum q35_status st =
        cuda_check(dev, dev->cu->EventRecord(g->begin, dev->stream), "timing", err);
    if (!st)
        st = library ? by_library(dev, a, err) : cuda_launch(dev, own, a, err);
    if (!st)
        st = cuda_check(dev, dev->cu->EventRecord(g->end, dev->stream), "timing", err);
    if (!st)
        st = cuda_check(dev, dev->cu->EventSynchronize(g->end), "running layers", err);
    if (!st)
        st = cuda_check(dev, dev->cu->EventElapsedTime(&ms, g->begin, g->end), "timing", err);
    if (st)
        return st;
    if (t->count < 4 || ms < t->ms[library])
        t->ms[library] = ms;
    g->measured = true;
    if (++t->count == TRIALS)
        decided(dev, t);
    return Q35_OK;
}

enum q35_status cuda_product(struct cuda_batch *b, const struct q35_cu_matmul *a,
                             const struct q35_cu_launch *own, struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    bool library = usable(dev, a);
    if (library && dev->gemm.mode == CUDA_PREFILL_AUTO) {
        struct cuda_trial *t = trial_of(&dev->gemm, a);
        if (t && t->count < TRIALS && !b->capturing)
            return trial(b, t, a, own, err);
        library = t && t->count == TRIALS && t->ms[1] < t->ms[0];
    }
    return library ? by_library(dev, a, err) : cuda_launch(dev, own, a, err);
}
