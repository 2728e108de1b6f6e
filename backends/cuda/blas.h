/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_BLAS_H
#define Q35_CUDA_BLAS_H

/* The part of NVIDIA's cuBLASLt that the plugin uses, opened at run time like the driver: types and
 * numbers are written down here. They have been the same from version 11 on. */

#include <stddef.h>
#include <stdint.h>

#include "driver.h"

typedef int blas_status; /* 0: success */
typedef struct blas_context *blas_handle;
typedef struct blas_matmul_object *blas_matmul;
typedef struct blas_layout_object *blas_layout;
typedef struct blas_preference_object *blas_preference;

enum {
    BLAS_NOT_SUPPORTED = 15,
    BLAS_COMPUTE_32I = 72,  /* cublasComputeType_t */
    BLAS_TYPE_8I = 3,       /* cudaDataType_t */
    BLAS_TYPE_32I = 10,     /* cudaDataType_t */
    BLAS_OP_T = 1,          /* cublasOperation_t, int32 */
    BLAS_MATMUL_TRANSA = 3, /* cublasLtMatmulDescAttributes_t */
    BLAS_PREF_WORKSPACE = 1 /* cublasLtMatmulPreferenceAttributes_t, uint64: most bytes */
};

/* How a product is computed: the library's own notes. */
struct blas_algo {
    uint64_t data[8];
};

struct blas_heuristic {
    struct blas_algo algo;
    size_t workspace;
    blas_status state;
    float waves;
    int reserved[4];
};
_Static_assert(sizeof(struct blas_heuristic) == 96 && offsetof(struct blas_heuristic, state) == 72,
               "as in cublasLt.h");

/* X(member, exported name, parameters). Layouts are column-major: rows, columns and the distance of
 * columns. */
#define BLAS_FUNCTIONS(X)                                                                          \
    X(Create, cublasLtCreate, (blas_handle * out))                                                 \
    X(Destroy, cublasLtDestroy, (blas_handle h))                                                   \
    X(MatmulCreate, cublasLtMatmulDescCreate, (blas_matmul * out, int compute, int scale_type))    \
    X(MatmulDestroy, cublasLtMatmulDescDestroy, (blas_matmul m))                                   \
    X(MatmulSet, cublasLtMatmulDescSetAttribute,                                                   \
      (blas_matmul m, int attribute, const void *value, size_t bytes))                             \
    X(LayoutCreate, cublasLtMatrixLayoutCreate,                                                    \
      (blas_layout * out, int type, uint64_t rows, uint64_t cols, int64_t ld))                     \
    X(LayoutDestroy, cublasLtMatrixLayoutDestroy, (blas_layout l))                                 \
    X(PreferenceCreate, cublasLtMatmulPreferenceCreate, (blas_preference * out))                   \
    X(PreferenceDestroy, cublasLtMatmulPreferenceDestroy, (blas_preference p))                     \
    X(PreferenceSet, cublasLtMatmulPreferenceSetAttribute,                                         \
      (blas_preference p, int attribute, const void *value, size_t bytes))                         \
    X(Heuristic, cublasLtMatmulAlgoGetHeuristic,                                                   \
      (blas_handle h, blas_matmul m, blas_layout a, blas_layout b, blas_layout c, blas_layout d,   \
       blas_preference p, int wanted, struct blas_heuristic *out, int *found))                     \
    X(Matmul, cublasLtMatmul,                                                                      \
      (blas_handle h, blas_matmul m, const void *alpha, const void *a, blas_layout a_layout,       \
       const void *b, blas_layout b_layout, const void *beta, const void *c, blas_layout c_layout, \
       void *d, blas_layout d_layout, const struct blas_algo *algo, void *workspace,               \
       size_t workspace_bytes, cu_stream s))

struct blas {
#define BLAS_MEMBER(member, name, params) blas_status(*member) params;
    BLAS_FUNCTIONS(BLAS_MEMBER)
#undef BLAS_MEMBER
    char path[512]; /* what was opened */
};

/* Opens the library at `path`, or with NULL the newest that the system has and a driver of that
 * version (12040 is 12.4) can run, which no later major one is; once for each path. NULL if it
 * cannot be used; then err->message says why. The library stays loaded. [any] */
const struct blas *blas_open(const char *path, int driver, struct q35_error *err);

#endif
