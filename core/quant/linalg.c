/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/variants.h"

enum { STRIPE = 16, LANES = 16, PANEL = 64, SOLVE = 8 };

/* Any alignment; the compiler splits them where registers are shorter. */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef double wide __attribute__((vector_size(8 * SOLVE), aligned(8)));

/* ---- sums of outer products ---- */

struct outer {
    uint32_t n, cols, stride;
    const float *a, *b;
    bool lower;
    double *h;
};

/* s[4][LANES]: columns j .. j + 15 of rows i .. i + 3 */
BODY void outer_tile_body(const float *a, const float *b, uint32_t n, uint32_t stride,
                          float s[4][LANES])
{
    lanes v[4] = {{0}, {0}, {0}, {0}};
    uint32_t t, r;
    for (t = 0; t < n; t++) {
        lanes bt = *(const lanes *)(b + (size_t)t * stride);
        for (r = 0; r < 4; r++)
            v[r] += a[(size_t)t * stride + r] * bt;
    }
    memcpy(s, v, sizeof(v));
}
VARIANTS(outer_tile,
         (const float *a, const float *b, uint32_t n, uint32_t stride, float s[4][LANES]),
         (a, b, n, stride, s))

static void outer_stripe(void *user, uint32_t thread, uint32_t item)
{
    const struct outer *o = user;
    uint32_t first = item * STRIPE, j, i, r, c;
    uint32_t end = first + STRIPE < o->cols ? first + STRIPE : o->cols;
    (void)thread;
    for (j = 0; j < (o->lower ? end : o->cols); j += LANES)
        for (i = first; i < end; i += 4) {
            float s[4][LANES];
            outer_tile(o->a + i, o->b + j, o->n, o->stride, s);
            for (r = 0; r < 4 && i + r < end; r++)
                for (c = 0; c < LANES && j + c < o->cols; c++)
                    o->h[(size_t)(i + r) * o->cols + j + c] += (double)s[r][c];
        }
}

void q35_linalg_outer(struct q35_float_pool *p, uint32_t n, uint32_t cols, uint32_t stride,
                      const float *a, const float *b, bool lower, double *h)
{
    struct outer o = {n, cols, stride, a, b, lower, h};
    q35_float_pool_run(p, (cols + STRIPE - 1) / STRIPE, outer_stripe, &o);
}

/* ---- Cholesky ---- */

/* The diagonal block at `at`, of `size` columns, once all columns before are done. */
static bool factor_diagonal(uint32_t n, double *a, uint32_t at, uint32_t size)
{
    uint32_t i, j, k;
    for (i = at; i < at + size; i++)
        for (j = at; j <= i; j++) {
            double sum = a[(size_t)i * n + j];
            for (k = at; k < j; k++)
                sum -= a[(size_t)i * n + k] * a[(size_t)j * n + k];
            if (i == j) {
                if (!(sum > 0) || !isfinite(sum))
                    return false;
                a[(size_t)i * n + i] = sqrt(sum);
            } else {
                a[(size_t)i * n + j] = sum / a[(size_t)j * n + j];
            }
        }
    return true;
}

struct panel {
    uint32_t n, at, size, next; /* columns at .. next - 1 */
    double *a;
    double *t; /* [PANEL][n]: the panel below the diagonal, transposed */
};

/* Rows of the panel below the diagonal block. */
static void solve_panel(void *user, uint32_t thread, uint32_t item)
{
    const struct panel *p = user;
    uint32_t i, j, k, end = p->next + (item + 1) * STRIPE;
    (void)thread;
    for (i = p->next + item * STRIPE; i < end && i < p->n; i++) {
        double *row = p->a + (size_t)i * p->n;
        for (j = p->at; j < p->next; j++) {
            const double *l = p->a + (size_t)j * p->n;
            double sum = row[j];
            for (k = p->at; k < j; k++)
                sum -= row[k] * l[k];
            row[j] = sum / l[j];
            p->t[(size_t)(j - p->at) * p->n + i] = row[j];
        }
    }
}

/* row[j] -= sum over k of l[k] * t[k][j], j from `from` to `to` */
BODY void subtract_body(double *row, const double *l, const double *t, uint32_t n, uint32_t size,
                        uint32_t from, uint32_t to)
{
    uint32_t j = from, k;
    for (; j + 2 * SOLVE <= to; j += 2 * SOLVE) {
        wide u = *(const wide *)(row + j), v = *(const wide *)(row + j + SOLVE);
        for (k = 0; k < size; k++) {
            u -= l[k] * *(const wide *)(t + (size_t)k * n + j);
            v -= l[k] * *(const wide *)(t + (size_t)k * n + j + SOLVE);
        }
        *(wide *)(row + j) = u;
        *(wide *)(row + j + SOLVE) = v;
    }
    for (; j < to; j++)
        for (k = 0; k < size; k++)
            row[j] -= l[k] * t[(size_t)k * n + j];
}
VARIANTS(subtract,
         (double *row, const double *l, const double *t, uint32_t n, uint32_t size, uint32_t from,
          uint32_t to),
         (row, l, t, n, size, from, to))

static void update_rows(void *user, uint32_t thread, uint32_t item)
{
    const struct panel *p = user;
    uint32_t i, end = p->next + (item + 1) * STRIPE;
    (void)thread;
    for (i = p->next + item * STRIPE; i < end && i < p->n; i++)
        subtract(p->a + (size_t)i * p->n, p->a + (size_t)i * p->n + p->at, p->t, p->n, p->size,
                 p->next, i + 1);
}

bool q35_linalg_cholesky(struct q35_float_pool *pool, uint32_t n, double *a)
{
    struct panel p = {.n = n, .a = a, .t = malloc(sizeof(double) * PANEL * (size_t)n)};
    bool ok = p.t != NULL;
    for (p.at = 0; ok && p.at < n; p.at += PANEL) {
        uint32_t items;
        p.size = n - p.at < PANEL ? n - p.at : PANEL;
        p.next = p.at + p.size;
        ok = factor_diagonal(n, a, p.at, p.size);
        items = (n - p.next + STRIPE - 1) / STRIPE;
        if (!ok || !items)
            continue;
        q35_float_pool_run(pool, items, solve_panel, &p);
        q35_float_pool_run(pool, items, update_rows, &p);
    }
    free(p.t);
    return ok;
}

/* ---- solving ---- */

struct solve {
    uint32_t n, rows;
    const double *l;
    double *x, *scratch; /* [threads][n][SOLVE] */
};

/* y[n][SOLVE]: L y = x, then L^T z = y, in place. */
BODY void solve_eight_body(const double *l, uint32_t n, double *y)
{
    uint32_t i, k, r;
    for (i = 0; i < n; i++) {
        wide sum = *(wide *)(y + (size_t)i * SOLVE);
        for (k = 0; k < i; k++)
            sum -= l[(size_t)i * n + k] * *(wide *)(y + (size_t)k * SOLVE);
        *(wide *)(y + (size_t)i * SOLVE) = sum / l[(size_t)i * n + i];
    }
    for (i = n; i-- > 0;) { /* by rows of L: what z[i] takes from those above */
        wide z = *(wide *)(y + (size_t)i * SOLVE) / l[(size_t)i * n + i];
        *(wide *)(y + (size_t)i * SOLVE) = z;
        for (r = 0; r < i; r++)
            *(wide *)(y + (size_t)r * SOLVE) -= l[(size_t)i * n + r] * z;
    }
}
VARIANTS(solve_eight, (const double *l, uint32_t n, double *y), (l, n, y))

static void solve_rows(void *user, uint32_t thread, uint32_t item)
{
    const struct solve *s = user;
    uint32_t first = item * SOLVE, count, r, i;
    double *y = s->scratch + (size_t)thread * s->n * SOLVE;
    count = s->rows - first < SOLVE ? s->rows - first : SOLVE;
    for (i = 0; i < s->n; i++)
        for (r = 0; r < SOLVE; r++)
            y[(size_t)i * SOLVE + r] = r < count ? s->x[(size_t)(first + r) * s->n + i] : 0;
    solve_eight(s->l, s->n, y);
    for (i = 0; i < s->n; i++)
        for (r = 0; r < count; r++)
            s->x[(size_t)(first + r) * s->n + i] = y[(size_t)i * SOLVE + r];
}

bool q35_linalg_solve(struct q35_float_pool *p, uint32_t n, const double *l, uint32_t rows,
                      double *x)
{
    struct solve s = {n, rows, l, x, NULL};
    s.scratch = malloc(sizeof(double) * q35_float_pool_threads(p) * SOLVE * (size_t)n);
    if (!s.scratch)
        return false;
    q35_float_pool_run(p, (rows + SOLVE - 1) / SOLVE, solve_rows, &s);
    free(s.scratch);
    return true;
}
