/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/feedback.h"

#include <stdlib.h>
#include <string.h>

#include "core/quant/linalg.h"
#include "core/graph/variants.h"

enum { LANES = 16 };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

/* Rows and columns of h[n][n] by signs and Hadamard blocks, as q35_rotate does to activations. */
static void rotate_rows(double *h, uint32_t n, uint32_t block, uint64_t seed)
{
    uint32_t r, k, step, s, i;
    for (r = 0; r < n; r++) {
        double *x = h + (size_t)r * n;
        for (k = 0; k < n; k++)
            if (q35_rot_sign(seed, k))
                x[k] = -x[k];
        for (step = 1; step < block; step <<= 1)
            for (s = 0; s < n; s += 2 * step)
                for (i = s; i < s + step; i++) {
                    double a = x[i], b = x[i + step];
                    x[i] = a + b;
                    x[i + step] = a - b;
                }
    }
}

static void transpose(double *h, uint32_t n)
{
    uint32_t i, j;
    for (i = 0; i < n; i++)
        for (j = 0; j < i; j++) {
            double t = h[(size_t)i * n + j];
            h[(size_t)i * n + j] = h[(size_t)j * n + i];
            h[(size_t)j * n + i] = t;
        }
}

/* The moments of what the matrix is multiplied by: padded, scaled and rotated, of mean diagonal 1.
 */
static double *prepare(uint32_t cols, uint32_t n, const double *h, const float *scale,
                       const struct q35_encode_params *p, double damp)
{
    double *a = calloc((size_t)n * n, sizeof(*a)), trace = 0;
    uint32_t i, j, block = p->rotate ? q35_rot_block(cols) : 0;
    if (!a)
        return NULL;
    for (i = 0; i < cols; i++)
        for (j = 0; j < cols; j++) {
            double s = scale ? (double)scale[i] * (double)scale[j] : 1;
            a[(size_t)i * n + j] = h[(size_t)i * cols + j] / s;
        }
    if (block) {
        rotate_rows(a, n, block, p->rot_seed);
        transpose(a, n);
        rotate_rows(a, n, block, p->rot_seed);
    }
    for (i = 0; i < n; i++)
        trace += a[(size_t)i * n + i];
    for (i = 0; i < n; i++) {
        for (j = 0; j < n && trace > 0; j++)
            a[(size_t)i * n + j] *= n / trace;
        a[(size_t)i * n + i] += trace > 0 ? damp : 1;
    }
    return a;
}

/* Reversed order of steps: row i of the result is step n - 1 - i. */
static double *reorder(double *a, const struct q35_feedback *fb)
{
    uint32_t n = fb->n, i, j;
    double *b = malloc(sizeof(*b) * n * n);
    for (i = 0; i < n && b; i++) {
        const double *row = a + (size_t)q35_feedback_column(fb, n - 1 - i) * n;
        for (j = 0; j <= i; j++)
            b[(size_t)i * n + j] = row[q35_feedback_column(fb, n - 1 - j)];
    }
    free(a);
    return b;
}

/* F and D from the Cholesky factor. */
static void fill(struct q35_feedback *fb, const double *l)
{
    uint32_t n = fb->n, s, t;
    for (s = 0; s < n; s++) {
        uint32_t k = n - 1 - s; /* column of L */
        double top = l[(size_t)k * n + k];
        fb->d[s] = (float)(top * top);
        for (t = 0; t < s; t++)
            fb->f[(size_t)s * n + t] = (float)(l[(size_t)(n - 1 - t) * n + k] / top);
    }
    /* What a step takes from those of its own code goes to `inner`, and with it what they take. */
    for (s = 0; s < n; s++) {
        float *row = fb->f + (size_t)s * n;
        uint32_t at, k;
        (void)q35_feedback_code(fb, s, &at);
        for (k = 0; k < at; k++) {
            const float *before = row - (size_t)(at - k) * n;
            float inner = row[s - at + k];
            fb->inner[2 * s + k] = inner;
            row[s - at + k] = 0;
            for (t = 0; t < s - at; t++)
                row[t] -= inner * before[t];
        }
    }
}

enum q35_status q35_feedback_init(struct q35_feedback *fb, struct q35_float_pool *pool,
                                  uint32_t cols, const double *h, const float *scale, double damp,
                                  const struct q35_encode_params *p, struct q35_error *err)
{
    uint32_t n = q35_pad_cols(cols);
    double *a;
    uint32_t i, j;
    enum q35_status st = Q35_OK;
    memset(fb, 0, sizeof(*fb));
    fb->n = n;
    fb->halves = Q35_SCHEME_WEIGHTS(p->scheme);
    a = prepare(cols, n, h, scale, p, damp);
    if (a)
        a = reorder(a, fb);
    fb->f = calloc((size_t)n * n, sizeof(float));
    fb->h = malloc((size_t)n * n * sizeof(float));
    fb->d = calloc(3 * (size_t)n, sizeof(float));
    for (i = 0; i < n && a && fb->h; i++)
        for (j = 0; j <= i; j++) {
            float v = (float)a[(size_t)i * n + j];
            fb->h[(size_t)(n - 1 - i) * n + n - 1 - j] = v;
            fb->h[(size_t)(n - 1 - j) * n + n - 1 - i] = v;
        }
    if (!a || !fb->f || !fb->h || !fb->d)
        st = q35_fail(err, Q35_E_NOMEM, "no memory for the moments of %u columns", cols);
    else if (!q35_linalg_cholesky(pool, n, a))
        st = q35_fail(
            err, Q35_E_INVALID,
            "the moments of %u columns have no Cholesky factor, or no memory is left for it", cols);
    if (st) {
        free(a);
        q35_feedback_fini(fb);
        return st;
    }
    fb->inner = fb->d + n;
    fill(fb, a);
    free(a);
    return Q35_OK;
}

void q35_feedback_fini(struct q35_feedback *fb)
{
    free(fb->f);
    free(fb->h);
    free(fb->d);
    memset(fb, 0, sizeof(*fb));
}

double q35_feedback_gain(const struct q35_feedback *fb)
{
    double sum = 0;
    uint32_t s;
    for (s = 0; s < fb->n; s++)
        sum += (double)fb->d[s];
    return sum / fb->n;
}

BODY void sum_body(const float *f0, const float *f1, uint32_t from, uint32_t to, const float *e,
                   float out[2][16])
{
    lanes a[2][2] = {{{0}, {0}}, {{0}, {0}}};
    uint32_t t = from;
    for (; t + 2 <= to; t += 2) {
        lanes u = *(const lanes *)(e + (size_t)t * LANES);
        lanes v = *(const lanes *)(e + (size_t)(t + 1) * LANES);
        a[0][0] += f0[t] * u;
        a[1][0] += f1[t] * u;
        a[0][1] += f0[t + 1] * v;
        a[1][1] += f1[t + 1] * v;
    }
    for (; t < to; t++) {
        lanes u = *(const lanes *)(e + (size_t)t * LANES);
        a[0][0] += f0[t] * u;
        a[1][0] += f1[t] * u;
    }
    *(lanes *)out[0] += a[0][0] + a[0][1];
    *(lanes *)out[1] += a[1][0] + a[1][1];
}
VARIANTS(sum,
         (const float *f0, const float *f1, uint32_t from, uint32_t to, const float *e,
          float out[2][16]),
         (f0, f1, from, to, e, out))

/* With the rows of m that belong to the code at step s. */
static void sum_rows(const struct q35_feedback *fb, const float *m, uint32_t s, uint32_t from,
                     uint32_t to, const float *e, float out[4][16])
{
    const float *row = m + (size_t)s * fb->n, *third = row + 2 * (size_t)fb->n;
    uint32_t at, n = q35_feedback_code(fb, s, &at);
    sum(row, n > 1 ? row + fb->n : row, from, to, e, out);
    if (n > 2)
        sum(third, third, from, to, e, out + 2);
}

void q35_feedback_sum(const struct q35_feedback *fb, uint32_t s, uint32_t from, uint32_t to,
                      const float *e, float out[4][16])
{
    sum_rows(fb, fb->f, s, from, to, e, out);
}

void q35_feedback_moments(const struct q35_feedback *fb, uint32_t s, uint32_t from, uint32_t to,
                          const float *e, float out[4][16])
{
    sum_rows(fb, fb->h, s, from, to, e, out);
}
