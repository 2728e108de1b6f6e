/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/accuracy.h"

#include <math.h>
#include <stdlib.h>

/* Squared error of a row on a grid of step `step`: levels (i + offset) * step, i in [lo, hi]. */
static double grid_error(const float *w, uint32_t n, double step, double offset, double lo,
                         double hi)
{
    double sum = 0;
    uint32_t i;
    for (i = 0; i < n && step > 0; i++) {
        double q = rint((double)w[i] / step - offset), e;
        q = q < lo ? lo : q > hi ? hi : q;
        e = (double)w[i] - (q + offset) * step;
        sum += e * e;
    }
    return sum;
}

struct row_grid {
    double step, offset, lo, hi;
};

/* The grid of a row. *error: its squared error. */
static struct row_grid row_grid(enum q35_grid grid, const float *w, uint32_t n, double *error)
{
    struct row_grid g = {0, 0, -127, 127}, best;
    double top = 0, f;
    uint32_t i;
    for (i = 0; i < n; i++)
        top = fabs((double)w[i]) > top ? fabs((double)w[i]) : top;
    if (grid == Q35_GRID_INT8_ABSMAX)
        g.step = top / 127;
    else
        g = (struct row_grid){top / 7, 0, -8, 7};
    if (grid != Q35_GRID_UNIFORM4_BEST) {
        *error = grid_error(w, n, g.step, g.offset, g.lo, g.hi);
        return g;
    }
    best = g;
    for (f = 1.0; f > 0.2; f *= 0.97) { /* from no clipping to much */
        double e = grid_error(w, n, f * top / 7.5, 0.5, -8, 7);
        if (f == 1.0 || e < *error) {
            *error = e;
            best = (struct row_grid){f * top / 7.5, 0.5, -8, 7};
        }
    }
    return best;
}

void q35_accuracy_round(enum q35_grid grid, uint32_t rows, uint32_t cols, float *w)
{
    uint32_t r, i;
    for (r = 0; r < rows; r++, w += cols) {
        double error;
        struct row_grid g = row_grid(grid, w, cols, &error);
        for (i = 0; i < cols; i++) {
            double q = g.step > 0 ? rint((double)w[i] / g.step - g.offset) : 0;
            q = q < g.lo ? g.lo : q > g.hi ? g.hi : q;
            w[i] = g.step > 0 ? (float)((q + g.offset) * g.step) : 0;
        }
    }
}

double q35_accuracy_grid(enum q35_grid grid, uint32_t rows, uint32_t cols, const float *w)
{
    double error = 0, norm = 0;
    uint32_t r, c;
    for (r = 0; r < rows; r++) {
        const float *row = w + (size_t)r * cols;
        double e = 0;
        row_grid(grid, row, cols, &e);
        error += e;
        for (c = 0; c < cols; c++)
            norm += (double)row[c] * (double)row[c];
    }
    return norm > 0 ? sqrt(error / norm) : 0;
}

double q35_accuracy_grid_bits(enum q35_grid grid, uint32_t cols)
{
    return (grid == Q35_GRID_INT8_ABSMAX ? 8.0 : 4.0) + 32.0 / cols;
}

static enum q35_status compare(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                               const float *w, const uint8_t *blob, double *rmse,
                               struct q35_error *err)
{
    uint32_t block = p->rotate ? q35_rot_block(cols) : 0, r, c;
    double error = 0, norm = 0;
    enum q35_status st = Q35_OK;
    float *line = malloc(sizeof(float) * cols);
    if (!line)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u columns", cols);
    for (r = 0; r < rows && st == Q35_OK; r++) {
        st = q35_decode_rows(p->scheme, rows, cols, block, p->rot_seed, blob, r, 1, line, err);
        for (c = 0; c < cols && st == Q35_OK; c++) {
            double a = (double)w[(size_t)r * cols + c], e = a - (double)line[c];
            error += e * e;
            norm += a * a;
        }
    }
    free(line);
    *rmse = norm > 0 ? sqrt(error / norm) : 0;
    return st;
}

enum q35_status q35_accuracy_packed(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                                    const float *w, double *rmse, double *bits,
                                    struct q35_error *err)
{
    struct q35_dense_rows dense = {w, cols};
    uint64_t bytes = q35_blob_bytes(p->scheme, rows, cols);
    uint8_t *blob = malloc(bytes);
    enum q35_status st;
    if (!blob)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a packed matrix of %u x %u", rows, cols);
    st = q35_encode_matrix(p, rows, cols, q35_dense_rows_read, &dense, blob, NULL, err);
    if (st == Q35_OK)
        st = compare(p, rows, cols, w, blob, rmse, err);
    *bits = 8.0 * (double)bytes / ((double)rows * (double)cols);
    free(blob);
    return st;
}

static double uniform(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return ((double)(q35_mix64(*state) >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(uint64_t *state)
{
    double u = uniform(state), v = uniform(state);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

void q35_accuracy_draw(enum q35_distribution d, uint64_t seed, uint64_t n, float *out)
{
    uint64_t state = q35_mix64(seed), i;
    int k;
    for (i = 0; i < n; i++) {
        double x = gaussian(&state), chi2 = 0;
        for (k = 0; k < 5 && d == Q35_DIST_STUDENT_T5; k++) {
            double g = gaussian(&state);
            chi2 += g * g;
        }
        out[i] = (float)(d == Q35_DIST_STUDENT_T5 ? x / sqrt(chi2 / 5) : x);
    }
}
