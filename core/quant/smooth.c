/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/smooth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Error of int8 activations beside that of 3.5-bit weights, squared: feedback does not help it. */
#define ACTIVATIONS 0.005
#define RANGE 64.0 /* scales stay within this factor of their mean */

/* Means over tied columns of the diagonal of h and of norm2, floored. */
struct means {
    double *h, *n; /* [cols] */
};

static void tie_means(const struct q35_smooth *s, struct means *m, double *count)
{
    double mean_h = 0, mean_n = 0;
    uint32_t k;
    memset(m->h, 0, sizeof(double) * s->cols);
    memset(m->n, 0, sizeof(double) * s->cols);
    memset(count, 0, sizeof(double) * s->cols);
    for (k = 0; k < s->cols; k++) {
        uint32_t t = s->tie ? s->tie[k] : k;
        m->h[t] += s->h[(size_t)k * s->cols + k];
        m->n[t] += s->norm2[k];
        count[t]++;
        mean_h += s->h[(size_t)k * s->cols + k] / s->cols;
        mean_n += s->norm2[k] / s->cols;
    }
    for (k = 0; k < s->cols; k++)
        if (count[k] > 0) {
            m->h[k] = fmax(m->h[k] / count[k], 1e-8 * mean_h);
            m->n[k] = fmax(m->n[k] / count[k], 1e-8 * mean_n);
        }
}

/* s_k = h^(a/2) n^(-b/2), n squared norms, of geometric mean 1. */
static void candidate(const struct q35_smooth *s, const struct means *m, double a, double b,
                      float *scale)
{
    double mean = 0;
    uint32_t k;
    for (k = 0; k < s->cols; k++) {
        uint32_t t = s->tie ? s->tie[k] : k;
        mean += (0.5 * a * log(m->h[t]) - 0.5 * b * log(m->n[t])) / s->cols;
    }
    for (k = 0; k < s->cols; k++) {
        uint32_t t = s->tie ? s->tie[k] : k;
        double v = exp(0.5 * a * log(m->h[t]) - 0.5 * b * log(m->n[t]) - mean);
        scale[k] = (float)(v > RANGE ? RANGE : v < 1 / RANGE ? 1 / RANGE : v);
    }
}

static enum q35_status cost(const struct q35_smooth *s, struct q35_float_pool *pool,
                            const float *scale, double *out, struct q35_error *err)
{
    double inputs = 0, weights = 0, gain = 1;
    uint32_t k;
    for (k = 0; k < s->cols; k++) {
        double v = (double)scale[k] * (double)scale[k];
        inputs += s->h[(size_t)k * s->cols + k] / v;
        weights += s->norm2[k] * v;
    }
    if (s->feedback) {
        struct q35_feedback fb;
        enum q35_status st =
            q35_feedback_init(&fb, pool, s->cols, s->h, scale, s->damp, s->encode, err);
        if (st)
            return st;
        gain = q35_feedback_gain(&fb);
        q35_feedback_fini(&fb);
    }
    *out = inputs * weights * (gain + ACTIVATIONS);
    return Q35_OK;
}

enum q35_status q35_smooth_search(const struct q35_smooth *s, struct q35_float_pool *pool,
                                  float *scale, struct q35_error *err)
{
    static const double powers[][2] = {{0, 0},     {0.25, 0},   {0.5, 0},     {0, 0.5}, {0, 1},
                                       {0.5, 0.5}, {0.25, 0.5}, {0.25, 0.25}, {0.5, 1}, {0.25, 1}};
    struct means m;
    float *trial = malloc(sizeof(float) * s->cols);
    double *room = calloc(3 * (size_t)s->cols, sizeof(double)), best = 0, c;
    enum q35_status st = Q35_OK;
    size_t i;
    if (!trial || !room)
        st = q35_fail(err, Q35_E_NOMEM, "no memory for %u scales", s->cols);
    m.h = room;
    m.n = room + s->cols;
    if (!st)
        tie_means(s, &m, room + 2 * (size_t)s->cols);
    for (i = 0; !st && i < Q35_COUNT(powers); i++) {
        if (i && !(m.h[0] > 0 && m.n[0] > 0))
            break;
        if (i)
            candidate(s, &m, powers[i][0], powers[i][1], trial);
        else
            for (uint32_t k = 0; k < s->cols; k++)
                trial[k] = 1;
        st = cost(s, pool, trial, &c, err);
        if (!st && (i == 0 || c < best)) {
            best = c;
            memcpy(scale, trial, sizeof(float) * s->cols);
        }
    }
    free(trial);
    free(room);
    return st;
}
