/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_ACCURACY_H
#define Q35_CORE_QUANT_ACCURACY_H

/* Weight error of the packed schemes beside plain integer formats with one scale per row. */

#include "core/quant/encode.h"

enum q35_grid {
    Q35_GRID_INT8_ABSMAX,  /* round(w * 127 / max|w|) */
    Q35_GRID_INT4_ABSMAX,  /* round(w * 7 / max|w|), -8 .. 7 */
    Q35_GRID_UNIFORM4_BEST /* 16 uniform levels without zero, the step that errs least */
};

/* Relative RMSE of w[rows][cols] on a grid, one scale per row. */
double q35_accuracy_grid(enum q35_grid grid, uint32_t rows, uint32_t cols, const float *w);

/* Rounds w[rows][cols] to a grid, in place. */
void q35_accuracy_round(enum q35_grid grid, uint32_t rows, uint32_t cols, float *w);

/* Stored bits per weight of a grid: its codes and one binary32 per row. */
double q35_accuracy_grid_bits(enum q35_grid grid, uint32_t cols);

/* Encodes, decodes and compares in unrotated coordinates: *rmse relative, *bits of the whole blob
 * (tables, scales and padding included) per weight. */
enum q35_status q35_accuracy_packed(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                                    const float *w, double *rmse, double *bits,
                                    struct q35_error *err);

/* Test data: unit Gaussian, or Student's t with 5 degrees of freedom. */
enum q35_distribution { Q35_DIST_GAUSSIAN, Q35_DIST_STUDENT_T5 };
void q35_accuracy_draw(enum q35_distribution d, uint64_t seed, uint64_t n, float *out);

#endif
