/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/quant/calibrate_internal.h"
#include "core/quant/linalg.h"
#include "core/graph/variants.h"

enum { LANES = 16, ROWS = 16 };

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

enum q35_status q35_moments_init(struct q35_moments *m, uint32_t cols, bool cross,
                                 struct q35_error *err)
{
    size_t n = (size_t)cols * cols;
    m->cols = cols;
    m->h = calloc(n, sizeof(*m->h));
    m->c = cross ? calloc(n, sizeof(*m->c)) : NULL;
    if (m->h && (m->c || !cross))
        return Q35_OK;
    q35_moments_fini(m);
    return q35_fail(err, Q35_E_NOMEM, "no memory for the moments of %u columns", cols);
}

void q35_moments_fini(struct q35_moments *m)
{
    free(m->h);
    free(m->c);
    memset(m, 0, sizeof(*m));
}

enum q35_status q35_moments_correction(struct q35_moments *m, struct q35_float_pool *pool,
                                       double damp, float correct, float **out,
                                       struct q35_error *err)
{
    uint32_t n = m->cols, stride = (n + LANES - 1) / LANES * LANES, i, j;
    double *l = malloc(sizeof(double) * n * n), trace = 0;
    bool ok = l != NULL;
    *out = NULL;
    for (i = 0; i < n; i++)
        trace += m->h[(size_t)i * n + i] / n;
    for (i = 0; ok && i < n; i++)
        for (j = 0; j < n; j++) {
            size_t at = (size_t)i * n + j;
            l[at] = m->h[at] + (i == j ? trace > 0 ? damp * trace : 1 : 0);
            m->c[at] -= m->h[at];
        }
    ok = ok && q35_linalg_cholesky(pool, n, l) && q35_linalg_solve(pool, n, l, n, m->c);
    free(l);
    if (ok)
        *out = calloc((size_t)n * stride, sizeof(float));
    if (!*out)
        return q35_fail(err, Q35_E_NOMEM, "no memory to invert the moments of %u columns", n);
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++)
            (*out)[(size_t)i * stride + j] = correct * (float)m->c[(size_t)i * n + j];
    free(m->c);
    m->c = NULL;
    return Q35_OK;
}

/* y[ROWS][LANES] = columns at p of w P; w[ROWS][cols] */
BODY void times_body(const float *w, const float *p, uint32_t cols, uint32_t stride,
                     float y[ROWS][LANES])
{
    lanes a[ROWS];
    uint32_t j, r;
    memset(a, 0, sizeof(a));
    for (j = 0; j < cols; j++) {
        lanes v = *(const lanes *)(p + (size_t)j * stride);
        for (r = 0; r < ROWS; r++)
            a[r] += w[(size_t)r * cols + j] * v;
    }
    memcpy(y, a, sizeof(a));
}
VARIANTS(times,
         (const float *w, const float *p, uint32_t cols, uint32_t stride, float y[ROWS][LANES]),
         (w, p, cols, stride, y))

/* out[count][cols] += w P */
static enum q35_status add_correction(const float *p, uint32_t cols, uint32_t count, float *out,
                                      struct q35_error *err)
{
    uint32_t stride = (cols + LANES - 1) / LANES * LANES, k, r, c;
    float *w = calloc((size_t)ROWS * cols, sizeof(*w));
    if (!w)
        return q35_fail(err, Q35_E_NOMEM, "no memory for rows of %u columns", cols);
    memcpy(w, out, sizeof(*w) * count * cols);
    for (k = 0; k < cols; k += LANES) {
        float y[ROWS][LANES];
        times(w, p + k, cols, stride, y);
        for (r = 0; r < count; r++)
            for (c = 0; c < LANES && k + c < cols; c++)
                out[(size_t)r * cols + k + c] += y[r][c];
    }
    free(w);
    return Q35_OK;
}

enum q35_status q35_calib_rows_read(void *ctx, uint32_t first, uint32_t count, float *out,
                                    struct q35_error *err)
{
    const struct q35_calib_rows *s = ctx;
    uint32_t cols = s->from.cols, r, c;
    enum q35_status st;
    if (s->cancel && atomic_load(s->cancel))
        return q35_fail(err, Q35_E_CANCELLED, "the conversion was cancelled");
    st = q35_source_rows(&s->from, first, count, out, err);
    if (!st && s->correction)
        st = add_correction(s->correction, cols, count, out, err);
    for (r = 0; !st && s->scale && r < count; r++)
        for (c = 0; c < cols; c++)
            out[(size_t)r * cols + c] *= s->scale[c];
    return st;
}
