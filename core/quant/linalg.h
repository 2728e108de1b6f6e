/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_LINALG_H
#define Q35_CORE_QUANT_LINALG_H

/* The little linear algebra that calibration needs, on all threads of a pool. Each element is
 * computed by one thread in one order, so results do not depend on the number of threads. */

#include "core/graph/float_matmul.h"

/* h[cols][cols] += sum over t < n of a[t][i] * b[t][j]; n <= 128. a and b have rows of `stride`
 * floats, a multiple of 16 and not less than cols. lower: only elements j <= i (and some more). */
void q35_linalg_outer(struct q35_float_pool *p, uint32_t n, uint32_t cols, uint32_t stride,
                      const float *a, const float *b, bool lower, double *h);

/* a[n][n] symmetric, lower triangle read, becomes its Cholesky factor L (the upper triangle is
 * left as it was). False if a is not positive definite or memory is short. */
bool q35_linalg_cholesky(struct q35_float_pool *p, uint32_t n, double *a);

/* Rows x[rows][n] become x (L L^T)^-1. False without memory. */
bool q35_linalg_solve(struct q35_float_pool *p, uint32_t n, const double *l, uint32_t rows,
                      double *x);

#endif
