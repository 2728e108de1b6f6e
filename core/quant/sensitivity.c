/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/sensitivity.h"

#include <stdlib.h>
#include <string.h>

#include "core/model/gguf.h"
#include "core/quant/calibrate_internal.h"

enum { SAMPLE = 1024 }; /* tokens */

struct trial {
    const struct q35_source *source;
    const struct q35_calibrate_params *p;
    struct q35_calib_text text;
    struct q35_float *f;
    float *x, *after, *moved; /* hidden states: [tokens][d_model] */
    uint32_t role;            /* whose matrix is `dense` */
    float *dense;             /* or NULL */
};

static bool lookup(void *user, uint32_t layer, uint32_t role, struct q35_source_tensor *out)
{
    const struct trial *t = user;
    if (!t->dense || role != t->role || q35_source_tensor(t->source, layer, role, out) != Q35_OK)
        return false;
    out->dtype = Q35_GGML_F32;
    out->data = (const uint8_t *)t->dense;
    out->row_bytes = sizeof(float) * (uint64_t)out->cols;
    out->first_row = 0;
    return true;
}

/* The matrix of `role` packed and decoded as t->dense; stays NULL if there is none. */
static enum q35_status pack(struct trial *t, uint32_t layer, uint32_t role, uint32_t scheme,
                            struct q35_error *err)
{
    struct q35_encode_params e = t->p->encode;
    struct q35_calib_rows rows = {.cancel = t->p->cancel};
    uint8_t *blob;
    enum q35_status st;
    if (q35_source_tensor(t->source, layer, role, &rows.from) != Q35_OK)
        return Q35_OK;
    e.scheme = scheme;
    e.effort = Q35_EFFORT_FAST;
    blob = malloc(q35_blob_bytes(scheme, rows.from.rows, rows.from.cols));
    t->dense = malloc(sizeof(float) * rows.from.rows * (size_t)rows.from.cols);
    t->role = role;
    if (!blob || !t->dense)
        st = q35_fail(err, Q35_E_NOMEM, "no memory for %s", rows.from.name);
    else
        st = q35_encode_matrix(&e, rows.from.rows, rows.from.cols, q35_calib_rows_read, &rows, blob,
                               NULL, err);
    if (!st)
        st = q35_decode_matrix(scheme, rows.from.rows, rows.from.cols,
                               e.rotate ? q35_rot_block(rows.from.cols) : 0, e.rot_seed, blob,
                               t->dense, err);
    free(blob);
    return st;
}

/* to = one half of the layer of t->x */
static enum q35_status half(struct trial *t, uint32_t layer, enum q35_float_part part, float *to,
                            struct q35_error *err)
{
    uint32_t d = q35_source_params(t->source)->d_model, i;
    size_t token = 0;
    enum q35_status st = Q35_OK;
    memcpy(to, t->x, sizeof(float) * t->text.tokens * d);
    for (i = 0; i < t->text.count && !st; token += t->text.lengths[i], i++)
        st = q35_float_half(t->f, layer, part, t->text.lengths[i], 0, to + token * d, err);
    return st;
}

static double moved_by(const struct trial *t)
{
    size_t n = t->text.tokens * q35_source_params(t->source)->d_model, i;
    double moved = 0, size = 0;
    for (i = 0; i < n; i++) {
        double e = (double)t->moved[i] - (double)t->after[i];
        moved += e * e;
        size += (double)t->after[i] * (double)t->after[i];
    }
    return size > 0 ? moved / size : 0;
}

static enum q35_status try_half(struct trial *t, uint32_t layer, enum q35_float_part part,
                                const uint32_t *roles, uint32_t n, uint32_t scheme, double *out,
                                struct q35_error *err)
{
    uint32_t i;
    float *swap;
    enum q35_status st = half(t, layer, part, t->after, err);
    for (i = 0; i < n && !st; i++) {
        st = pack(t, layer, roles[i], scheme, err);
        if (!st && t->dense)
            st = half(t, layer, part, t->moved, err);
        if (!st && t->dense)
            out[roles[i]] = moved_by(t);
        free(t->dense);
        t->dense = NULL;
    }
    swap = t->x;
    t->x = t->after;
    t->after = swap;
    return st;
}

static enum q35_status embed(struct trial *t, struct q35_error *err)
{
    uint32_t d = q35_source_params(t->source)->d_model, i;
    size_t at = 0, bytes = sizeof(float) * t->text.tokens * d;
    enum q35_status st = Q35_OK;
    t->x = malloc(bytes);
    t->after = malloc(bytes);
    t->moved = malloc(bytes);
    if (!t->x || !t->after || !t->moved)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %llu tokens",
                        (unsigned long long)t->text.tokens);
    for (i = 0; i < t->text.count && !st; i++) {
        st = q35_float_embed(t->f, t->text.ids + (size_t)i * t->text.window, t->text.lengths[i],
                             t->x + at * d, err);
        at += t->text.lengths[i];
    }
    return st;
}

enum q35_status q35_sensitivity(const struct q35_source *source,
                                const struct q35_calibrate_params *p, uint32_t scheme, double *out,
                                struct q35_error *err)
{
    static const uint32_t first[] = {Q35_ROLE_Q, Q35_ROLE_K, Q35_ROLE_V, Q35_ROLE_O};
    static const uint32_t second[] = {Q35_ROLE_GATE, Q35_ROLE_UP, Q35_ROLE_DOWN};
    struct trial t = {.source = source, .p = p};
    uint32_t layers = q35_source_params(source)->n_layers, i;
    uint32_t most = p->tokens && p->tokens < SAMPLE ? p->tokens : SAMPLE;
    enum q35_status st = q35_calib_text_load(&t.text, source, p->text, most, err);
    memset(out, 0, sizeof(*out) * layers * Q35_ROLE_INFO_COUNT);
    if (!st)
        st = q35_float_create_layerwise(&t.f, source, t.text.window,
                                        p->encode.threads > 64 ? 64 : p->encode.threads, err);
    if (!st)
        st = embed(&t, err);
    if (!st)
        q35_float_set_lookup(t.f, lookup, &t);
    for (i = 0; i < layers && !st; i++) {
        double *row = out + (size_t)i * Q35_ROLE_INFO_COUNT;
        st = try_half(&t, i, Q35_FLOAT_ATTENTION, first, 4, scheme, row, err);
        if (!st)
            st = try_half(&t, i, Q35_FLOAT_MLP, second, 3, scheme, row, err);
    }
    q35_float_destroy(t.f);
    q35_calib_text_free(&t.text);
    free(t.x);
    free(t.after);
    free(t.moved);
    return st;
}

/* The least bytes; of two that take the same, the cheaper. */
static uint32_t smallest(const struct q35_budget_item *item)
{
    uint32_t k, best = 0;
    for (k = 1; k < item->n; k++)
        if (item->option[k].bytes < item->option[best].bytes ||
            (item->option[k].bytes == item->option[best].bytes &&
             item->option[k].cost < item->option[best].cost))
            best = k;
    return best;
}

static uint64_t divisor(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* The bytes of option k beyond the fewest. */
static uint64_t extra(const struct q35_budget_item *item, uint32_t k)
{
    return item->option[k].bytes - item->option[smallest(item)].bytes;
}

enum { MAX_UNITS = 65536 };

/* Least costs of items so far, by what they may spend: cost[units + 1], pick[units + 1] the option
 * of this item. */
static void add_item(const struct q35_budget_item *item, uint64_t unit, uint32_t units,
                     double *cost, uint8_t *pick)
{
    uint32_t k, u, need[Q35_BUDGET_OPTIONS], least = smallest(item);
    for (k = 0; k < item->n; k++) {
        uint64_t n = (extra(item, k) + unit - 1) / unit;
        need[k] = n > units ? units + 1 : (uint32_t)n;
    }
    for (u = units + 1; u-- > 0;) { /* from the top: below, the costs are still without this item */
        double best = cost[u] + item->option[least].cost;
        pick[u] = (uint8_t)least;
        for (k = 0; k < item->n; k++)
            if (need[k] <= u && cost[u - need[k]] + item->option[k].cost < best) {
                best = cost[u - need[k]] + item->option[k].cost;
                pick[u] = (uint8_t)k;
            }
        cost[u] = best;
    }
}

enum q35_status q35_budget_spend(struct q35_budget_item *items, uint32_t n, uint64_t budget,
                                 struct q35_error *err)
{
    uint64_t spent = 0, unit = 0;
    uint32_t i, k, units, left;
    size_t stride;
    double *cost;
    uint8_t *pick;
    for (i = 0; i < n; i++)
        for (k = 0; k < items[i].n; k++) {
            spent += k ? 0 : items[i].option[smallest(&items[i])].bytes;
            unit = divisor(unit, extra(&items[i], k));
        }
    if (spent > budget)
        return q35_fail(err, Q35_E_INVALID, "%llu bytes are needed, %llu may be spent",
                        (unsigned long long)spent, (unsigned long long)budget);
    unit = unit ? unit : 1;
    if ((budget - spent) / unit > MAX_UNITS)
        unit = (budget - spent + MAX_UNITS - 1) / MAX_UNITS;
    units = left = (uint32_t)((budget - spent) / unit);
    stride = (size_t)units + 1;
    cost = calloc(stride, sizeof(*cost));
    pick = malloc(stride * (n ? n : 1));
    if (!cost || !pick) {
        free(cost);
        free(pick);
        return q35_fail(err, Q35_E_NOMEM, "no memory to spend %u units", units);
    }
    for (i = 0; i < n; i++)
        if (items[i].n)
            add_item(&items[i], unit, units, cost, pick + i * stride);
    for (i = n; i-- > 0;)
        if (items[i].n) {
            items[i].chosen = pick[i * stride + left];
            left -= (uint32_t)((extra(&items[i], items[i].chosen) + unit - 1) / unit);
        }
    free(cost);
    free(pick);
    return Q35_OK;
}
