/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A libcublasLt.so.12 for the fake driver: products of int8 matrices on the host, as the layouts
 * say, with the demands of the real one on int8: A transposed, B not, leading dimensions and the
 * sizes of A and K multiples of 4, sums of 32 bits, addresses that are aligned. What a product
 * reads or writes must lie in device memory; columns beyond the rows of a layout are filled with
 * rubbish by nobody, so a wrong leading dimension gives wrong sums or ends the process. */

#include <stdbool.h>
#include <stdlib.h>

#include "blas.h"
#include "fake.h"

struct blas_context {
    int unused;
};

struct blas_matmul_object {
    int compute, scale_type, transposed;
};

struct blas_layout_object {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};

struct blas_preference_object {
    uint64_t workspace;
};

enum { INVALID = 7 };
static const uint64_t MARK = 0x35;

/* What is called when its turn comes. */
struct product {
    const int8_t *a, *b;
    int32_t *d;
    uint64_t m, n, k, lda, ldb, ldd;
};

static int run(const void *args)
{
    const struct product *p = args;
    uint64_t i, j, l;
    for (j = 0; j < p->n; j++)
        for (i = 0; i < p->m; i++) {
            const int8_t *a = p->a + i * p->lda, *b = p->b + j * p->ldb;
            int32_t sum = 0;
            for (l = 0; l < p->k; l++)
                sum += a[l] * b[l];
            p->d[j * p->ldd + i] = sum;
        }
    return 0;
}

#define ENTRY(name, params)                                                                        \
    FAKE_API blas_status name params;                                                              \
    FAKE_API blas_status name params

#define CREATE(name, type)                                                                         \
    ENTRY(name, (type * out))                                                                      \
    {                                                                                              \
        *out = calloc(1, sizeof(**out));                                                           \
        return *out ? 0 : 3;                                                                       \
    }

#define DESTROY(name, type)                                                                        \
    ENTRY(name, (type object))                                                                     \
    {                                                                                              \
        free(object);                                                                              \
        return 0;                                                                                  \
    }

CREATE(cublasLtCreate, blas_handle)
DESTROY(cublasLtDestroy, blas_handle)
DESTROY(cublasLtMatmulDescDestroy, blas_matmul)
DESTROY(cublasLtMatrixLayoutDestroy, blas_layout)
CREATE(cublasLtMatmulPreferenceCreate, blas_preference)
DESTROY(cublasLtMatmulPreferenceDestroy, blas_preference)

ENTRY(cublasLtMatmulDescCreate, (blas_matmul * out, int compute, int scale_type))
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return 3;
    (*out)->compute = compute;
    (*out)->scale_type = scale_type;
    return 0;
}

ENTRY(cublasLtMatmulDescSetAttribute,
      (blas_matmul m, int attribute, const void *value, size_t bytes))
{
    if (attribute != BLAS_MATMUL_TRANSA || bytes != sizeof(int32_t))
        return INVALID;
    m->transposed = *(const int32_t *)value == BLAS_OP_T;
    return 0;
}

ENTRY(cublasLtMatmulPreferenceSetAttribute,
      (blas_preference p, int attribute, const void *value, size_t bytes))
{
    if (attribute != BLAS_PREF_WORKSPACE || bytes != sizeof(uint64_t))
        return INVALID;
    p->workspace = *(const uint64_t *)value;
    return 0;
}

ENTRY(cublasLtMatrixLayoutCreate,
      (blas_layout * out, int type, uint64_t rows, uint64_t cols, int64_t ld))
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return 3;
    **out = (struct blas_layout_object){type, rows, cols, ld};
    return ld < (int64_t)rows ? INVALID : 0;
}

/* As the library's manual demands of int8 products. */
static bool possible(blas_matmul m, blas_layout a, blas_layout b, blas_layout d)
{
    return m->compute == BLAS_COMPUTE_32I && m->scale_type == BLAS_TYPE_32I && m->transposed &&
           a->type == BLAS_TYPE_8I && b->type == BLAS_TYPE_8I && d->type == BLAS_TYPE_32I &&
           a->rows == b->rows && a->cols == d->rows && b->cols == d->cols && a->rows % 4 == 0 &&
           a->cols % 4 == 0 && a->ld % 4 == 0 && b->ld % 4 == 0 && d->ld % 4 == 0;
}

ENTRY(cublasLtMatmulAlgoGetHeuristic,
      (blas_handle h, blas_matmul m, blas_layout a, blas_layout b, blas_layout c, blas_layout d,
       blas_preference p, int wanted, struct blas_heuristic *out, int *found))
{
    *found = 0;
    if (!h || c != d || wanted < 1)
        return INVALID;
    if (!possible(m, a, b, d))
        return BLAS_NOT_SUPPORTED;
    *out = (struct blas_heuristic){.workspace = p->workspace < 1024 ? 0 : 1024};
    out->algo.data[0] = MARK;
    *found = 1;
    return 0;
}

static uint64_t span(blas_layout l)
{
    return (l->cols - 1) * (uint64_t)l->ld + l->rows;
}

ENTRY(cublasLtMatmul,
      (blas_handle h, blas_matmul m, const void *alpha, const void *a, blas_layout al,
       const void *b, blas_layout bl, const void *beta, const void *c, blas_layout cl, void *d,
       blas_layout dl, const struct blas_algo *algo, void *workspace, size_t workspace_bytes,
       cu_stream s))
{
    struct product p = {a, b, d, al->cols, bl->cols, al->rows, al->ld, bl->ld, dl->ld};
    if (!h || !possible(m, al, bl, dl) || c != d || cl != dl || algo->data[0] != MARK ||
        *(const int32_t *)alpha != 1 || *(const int32_t *)beta != 0)
        return INVALID;
    if ((uintptr_t)a % 256 || (uintptr_t)b % 256 || (uintptr_t)d % 256)
        return INVALID;
    q35_fake_range(a, span(al), "A of a product");
    q35_fake_range(b, span(bl), "B of a product");
    q35_fake_range(d, 4 * span(dl), "D of a product");
    q35_fake_range(workspace, workspace_bytes, "the workspace of a product");
    return q35_fake_enqueue(s, run, &p, sizeof(p)) ? 0 : 13;
}
