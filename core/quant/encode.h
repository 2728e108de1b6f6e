/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_ENCODE_H
#define Q35_CORE_QUANT_ENCODE_H

/* Float matrices to packed blobs (include/q35/format.h) and back.
 *
 * The same input, parameters and seed give the same bytes at any number of threads and on every
 * CPU: searches compare integers, and floating point is used element by element only. */

#include "core/base/base.h"
#include "q35/format.h"

struct q35_feedback;

/* How hard to look. Each level includes the ones below it. */
enum q35_effort {
    /* trellis2 keeps 4, 8 or 16 states of each code */
    Q35_EFFORT_FAST = 0,    /* one search, scale from the row's RMS, refitted by least squares */
    Q35_EFFORT_DEFAULT = 1, /* a second seam; without rotation, row scales by search */
    Q35_EFFORT_HIGH = 2 /* further seams for the tail-biting search and a second round of scales */
};

struct q35_encode_params {
    uint32_t scheme;   /* enum q35_scheme */
    bool rotate;       /* multiply rows by signs and Hadamard blocks of q35_rot_block(cols) first */
    uint64_t rot_seed; /* seed of the signs; unused without rotation */
    uint32_t threads;  /* 0: as many as the process may run on */
    uint32_t effort;   /* enum q35_effort */
    const struct q35_tables *tables; /* NULL: the shipped ones. Borrowed */
    /* Called after row blocks are done, by any worker but never by two at once; may be NULL.
     * rows_done grows to the padded number of rows. */
    void (*progress)(void *ctx, uint32_t rows_done);
    void *progress_ctx;
    /* NULL, or how errors feed into later columns: feedback.h, made for the same columns, rotation
     * and number of weights a code stands for. Borrowed */
    const struct q35_feedback *feedback;
    uint32_t refine;     /* rounds of fitting the tables to the matrix: refine.h */
    uint32_t sweeps;     /* with feedback: how often all columns are gone through once more */
    const char *kernels; /* NULL, or one of q35_search_kernels_get(): "c", "avx2", "avx512" */
};

/* Trellis, rotated with seed 1, all threads, default effort, shipped tables. */
#define Q35_ENCODE_PARAMS_INIT                                                                     \
    {                                                                                              \
        .scheme = Q35_SCHEME_TRELLIS, .rotate = true, .rot_seed = 1, .effort = Q35_EFFORT_DEFAULT, \
    }

struct q35_encode_stats {
    double error2;  /* sum of squared differences to the input (in rotated coordinates) */
    double weight2; /* sum of squared weights */
    /* With feedback: the same of the outputs, up to a common factor; else 0. */
    double output_error2, output2;
};

/* sqrt(error2 / weight2); 0 for a zero matrix. */
double q35_encode_rmse(const struct q35_encode_stats *s);

/* Yields rows [first, first + count) of the matrix as binary32 at out[count][cols]. Called from
 * several threads at once, for blocks of up to 16 rows. */
typedef enum q35_status (*q35_rows_fn)(void *ctx, uint32_t first, uint32_t count, float *out,
                                       struct q35_error *err);

/* Encodes a matrix of rows x cols into blob, which holds q35_blob_bytes(scheme, rows, cols) bytes
 * and is written whole. The stored rotation block is q35_rot_block(cols) when p->rotate, else 0.
 * Memory beyond the blob: 128 * cols bytes per thread, 40 KB of search tables and, for trellis2, up
 * to 4 MB per thread.
 * stats may be NULL. FORMAT names row and column of a value that is NaN or infinite; INVALID for an
 * unknown scheme or sizes beyond the format's; errors of `read` are passed on. After a failure the
 * contents of blob are undefined. */
enum q35_status q35_encode_matrix(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                                  q35_rows_fn read, void *read_ctx, uint8_t *blob,
                                  struct q35_encode_stats *stats, struct q35_error *err);

/* A q35_rows_fn over a dense matrix in memory. */
struct q35_dense_rows {
    const float *data; /* [rows][cols] */
    uint32_t cols;
};
enum q35_status q35_dense_rows_read(void *ctx, uint32_t first, uint32_t count, float *out,
                                    struct q35_error *err);

/* Decodes a blob back to out[rows][cols] with the rotation undone: for tests and metrics, one
 * thread, plain C. rot_block: 0 or q35_rot_block(cols). NOMEM or OK. */
enum q35_status q35_decode_matrix(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t rot_block,
                                  uint64_t rot_seed, const uint8_t *blob, float *out,
                                  struct q35_error *err);

/* Decodes rows [first, first + count) only. out[count][cols]. */
enum q35_status q35_decode_rows(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t rot_block,
                                uint64_t rot_seed, const uint8_t *blob, uint32_t first,
                                uint32_t count, float *out, struct q35_error *err);

/* The shipped tables of a scheme, NULL if there are none. */
const struct q35_tables *q35_shipped_tables(uint32_t scheme);

#endif
