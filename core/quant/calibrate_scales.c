/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/quant/calibrate_internal.h"
#include "core/quant/smooth.h"

/* norm2[cols] += squared column norms of a matrix. */
static enum q35_status column_norms(const struct q35_source_tensor *t, double *norm2,
                                    struct q35_error *err)
{
    float *row = malloc(sizeof(float) * t->cols);
    enum q35_status st = Q35_OK;
    uint32_t r, k;
    if (!row)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a row of %s", t->name);
    for (r = 0; r < t->rows && !st; r++) {
        st = q35_source_rows(t, r, 1, row, err);
        for (k = 0; k < t->cols && !st; k++)
            norm2[k] += (double)row[k] * (double)row[k];
    }
    free(row);
    return st;
}

enum q35_status q35_calib_own_vector(struct q35_calib *c, uint32_t layer, uint32_t role,
                                     bool *found, struct q35_error *err)
{
    struct q35_source_tensor t;
    *found = q35_source_tensor(c->source, layer, role, &t) == Q35_OK;
    if (!*found || c->out[role].vector)
        return Q35_OK;
    c->out[role].vector = malloc(sizeof(float) * t.cols);
    c->dense[role] = malloc(sizeof(float) * t.cols);
    if (!c->out[role].vector || !c->dense[role])
        return q35_fail(err, Q35_E_NOMEM, "no memory for %s", t.name);
    return q35_source_rows(&t, 0, 1, c->out[role].vector, err);
}

/* Divides what makes the input by the scales. Rows of a packed matrix have scales of their own, so
 * that is exact. kv: the first column that row r of v leads to, in o. */
static enum q35_status fold(struct q35_calib *c, uint32_t layer, const struct site *site,
                            const float *scale, struct q35_error *err)
{
    uint32_t role = site->maker, vector = role == Q35_ROLE_V ? Q35_ROLE_V_BIAS : role, r;
    const struct q35_params *p = c->params;
    struct q35_source_tensor t;
    bool found = false;
    enum q35_status st = Q35_OK;
    if (role != Q35_ROLE_UP)
        st = q35_calib_own_vector(c, layer, vector, &found, err);
    if (st || q35_source_tensor(c->source, layer, role, &t) != Q35_OK)
        return st;
    for (r = 0; r < (t.rows == 1 ? t.cols : t.rows); r++) {
        uint32_t to =
            role == Q35_ROLE_V
                ? r / p->head_dim * (p->n_heads / p->n_kv_heads) * p->head_dim + r % p->head_dim
                : r;
        if (found)
            c->out[vector].vector[r] /= scale[to];
        if (c->out[role].blob)
            ((float *)(void *)(c->out[role].blob + Q35_BLOB_TABLES))[r] /= scale[to];
    }
    if (c->out[role].blob && (st = q35_calib_decode(c, &t, role, err)) != Q35_OK)
        return st;
    if (found) {
        q35_source_tensor(c->source, layer, vector, &t);
        memcpy(c->dense[vector], c->out[vector].vector, sizeof(float) * t.cols);
    }
    return Q35_OK;
}

/* tie[cols]: columns of o that one row of v leads to. */
static uint32_t *ties_of_heads(const struct q35_params *p)
{
    uint32_t cols = p->n_heads * p->head_dim, group = p->n_heads / p->n_kv_heads, k;
    uint32_t *tie = malloc(sizeof(*tie) * cols);
    for (k = 0; k < cols && tie; k++)
        tie[k] = k / p->head_dim / group * group * p->head_dim + k % p->head_dim;
    return tie;
}

enum q35_status q35_calib_scales(struct q35_calib *c, uint32_t layer, const struct site *site,
                                 const struct q35_moments *m, struct q35_encode_params *e,
                                 float *scale, struct q35_error *err)
{
    double *norm2 = calloc(m->cols, sizeof(*norm2));
    uint32_t *tie = site->maker == Q35_ROLE_V ? ties_of_heads(c->params) : NULL, i;
    struct q35_smooth s = {m->cols, m->h, norm2, tie, c->p->feedback, c->p->damp, e};
    enum q35_status st = Q35_OK;
    if (!norm2 || (site->maker == Q35_ROLE_V && !tie))
        st = q35_fail(err, Q35_E_NOMEM, "no memory for %u scales", m->cols);
    for (i = 0; i < site->count && !st; i++) {
        struct q35_source_tensor t;
        if (q35_source_tensor(c->source, layer, site->roles[i], &t) == Q35_OK)
            st = column_norms(&t, norm2, err);
    }
    if (!st)
        st = q35_smooth_search(&s, c->pool, scale, err);
    if (!st)
        st = fold(c, layer, site, scale, err);
    free(norm2);
    free(tie);
    return st;
}
