/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/bench_accuracy.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/model/gguf.h"
#include "core/model/roles.h"
#include "core/quant/accuracy.h"
#include "core/quant/convert.h"

enum { MAX_TEXT = 1 << 30 };

/* What is switched off of calibration, as bits. */
enum {
    ROUND = 1,
    NO_ROTATE = 2,
    NO_AWQ = 4,
    NO_FEEDBACK = 8,
    NO_PROPAGATE = 16,
    NO_SWEEPS = 32,
    TABLES = 64 /* the other way round: refined, or shipped */
};

struct format {
    const char *name;
    uint32_t scheme; /* 0: a grid */
    uint32_t off;
    enum q35_grid grid;
};

#define WITH_OPTIONS(name, scheme)                                                                 \
    {name, scheme, ROUND, 0}, {name "-unrotated", scheme, ROUND | NO_ROTATE, 0},                   \
        {name "+calibrate", scheme, 0, 0}, {name "+calibrate-rotation", scheme, NO_ROTATE, 0},     \
        {name "+calibrate-awq", scheme, NO_AWQ, 0}, {name "-refined", scheme, ROUND | TABLES, 0},  \
        {name "+calibrate+refined", scheme, TABLES, 0},                                            \
        {name "+calibrate-sweeps", scheme, NO_SWEEPS, 0},                                          \
        {name "+calibrate-feedback", scheme, NO_FEEDBACK, 0},                                      \
    {                                                                                              \
        name "+calibrate-propagation", scheme, NO_PROPAGATE, 0                                     \
    }

static const struct format formats[] = {
    {"int8-absmax", 0, 0, Q35_GRID_INT8_ABSMAX},     {"int4-absmax", 0, 0, Q35_GRID_INT4_ABSMAX},
    {"uniform4-best", 0, 0, Q35_GRID_UNIFORM4_BEST}, {"alt43", Q35_SCHEME_ALT43, ROUND, 0},
    {"alt43+calibrate", Q35_SCHEME_ALT43, 0, 0},     {"vq2", Q35_SCHEME_VQ2, ROUND, 0},
    {"vq2+calibrate", Q35_SCHEME_VQ2, 0, 0},         WITH_OPTIONS("trellis", Q35_SCHEME_TRELLIS),
    WITH_OPTIONS("trellis2", Q35_SCHEME_TRELLIS2),   {"triple", Q35_SCHEME_TRIPLE, ROUND, 0},
    {"triple+calibrate", Q35_SCHEME_TRIPLE, 0, 0},
};

struct ladder {
    const struct accuracy_text *t;
    char *text;
    size_t len;
    struct evaluator base;
    char dir[64]; /* for packed models */
    void (*row)(void *ctx, const struct accuracy_row *r);
    void *ctx;
};

static void report(struct ladder *l, const char *name, double bits, double seconds,
                   const struct measure *m)
{
    double n = (double)m->scored, ppl = exp(m->nll / n);
    struct accuracy_row r = {
        .name = name,
        .bits = bits,
        .perplexity = ppl,
        .perplexity_error = ppl * measure_deviation(m->nll, m->nll2, m->scored),
        .kl = m->kl / n,
        .kl_error = measure_deviation(m->kl, m->kl2, m->scored),
        .top1 = (double)m->agree / n,
        .seconds = seconds,
    };
    l->row(l->ctx, &r);
}

/* ---- plain grids: the float evaluator on rounded weights ---- */

struct grid_weights {
    const struct q35_source *source;
    float **data; /* [n_layers][Q35_ROLE_INFO_COUNT] */
};

static bool lookup(void *user, uint32_t layer, uint32_t role, struct q35_source_tensor *out)
{
    const struct grid_weights *g = user;
    const struct q35_role_info *r = &q35_role_infos[role < Q35_ROLE_INFO_COUNT ? role : 0];
    const float *data;
    if (!r->per_layer || r->rows == Q35_DIM_ONE)
        return false;
    data = g->data[(size_t)layer * Q35_ROLE_INFO_COUNT + role];
    if (!data || q35_source_tensor(g->source, layer, role, out) != Q35_OK)
        return false;
    out->dtype = Q35_GGML_F32;
    out->data = (const uint8_t *)data;
    out->row_bytes = sizeof(float) * (uint64_t)out->cols;
    out->first_row = 0;
    return true;
}

static enum q35_status round_matrices(struct grid_weights *g, enum q35_grid grid, double *bits,
                                      struct q35_error *err)
{
    uint32_t layers = q35_source_params(g->source)->n_layers, layer, role;
    double weights = 0;
    enum q35_status st = Q35_OK;
    *bits = 0;
    for (layer = 0; layer < layers && !st; layer++)
        for (role = 0; role < Q35_ROLE_INFO_COUNT && !st; role++) {
            const struct q35_role_info *r = &q35_role_infos[role];
            struct q35_source_tensor t;
            float *w;
            double n;
            if (!r->per_layer || r->rows == Q35_DIM_ONE ||
                q35_source_tensor(g->source, layer, role, &t) != Q35_OK)
                continue;
            n = (double)t.rows * t.cols;
            w = malloc(sizeof(*w) * t.rows * (size_t)t.cols);
            g->data[(size_t)layer * Q35_ROLE_INFO_COUNT + role] = w;
            if (!w)
                return q35_fail(err, Q35_E_NOMEM, "no memory for %s", t.name);
            st = q35_source_rows(&t, 0, t.rows, w, err);
            q35_accuracy_round(grid, t.rows, t.cols, w);
            *bits += q35_accuracy_grid_bits(grid, t.cols) * n;
            weights += n;
        }
    *bits = weights > 0 ? *bits / weights : 0;
    return st;
}

static enum q35_status grid_row(struct ladder *l, const struct format *f, struct q35_error *err)
{
    struct evaluator e = {0};
    struct grid_weights g = {0};
    struct measure m;
    uint32_t n = 0, i;
    double bits = 0;
    enum q35_status st = evaluator_open(&e, l->t->model, &l->t->measure, err);
    if (!st) {
        g.source = e.source;
        n = q35_source_params(e.source)->n_layers * Q35_ROLE_INFO_COUNT;
        g.data = calloc(n, sizeof(*g.data));
        st = g.data ? round_matrices(&g, f->grid, &bits, err)
                    : q35_fail(err, Q35_E_NOMEM, "no memory for %s", l->t->model);
    }
    if (!st) {
        q35_float_set_lookup(e.floating, lookup, &g);
        st = measure_text(&e, &l->base, l->text, l->len, &l->t->measure, &m, err);
    }
    if (!st)
        report(l, f->name, bits, 0, &m);
    for (i = 0; g.data && i < n; i++)
        free(g.data[i]);
    free(g.data);
    evaluator_close(&e);
    return st;
}

/* ---- packed models on a backend ---- */

static enum q35_status packed_row(struct ladder *l, const struct format *f, struct q35_error *err)
{
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    struct q35_convert_stats stats;
    struct evaluator e = {0};
    struct measure m;
    char path[96];
    uint64_t start = q35_now_ns(), end;
    enum q35_status st;
    snprintf(path, sizeof(path), "%s/model.q35.gguf", l->dir);
    p.scheme = f->scheme;
    p.effort = l->t->effort;
    p.threads = l->t->measure.threads;
    p.calibrate = f->off & ROUND ? NULL : l->t->calibrate;
    p.calibrate_tokens = l->t->calibrate_tokens;
    p.rotate = !(f->off & NO_ROTATE);
    p.awq = !(f->off & NO_AWQ);
    p.feedback = !(f->off & NO_FEEDBACK);
    p.propagate = !(f->off & NO_PROPAGATE);
    p.sweeps = f->off & NO_SWEEPS ? 0 : p.sweeps;
    if (f->off & TABLES)
        p.refine = f->off & ROUND ? 0 : 2;
    st = q35_convert(l->t->model, path, &p, &stats, err);
    end = q35_now_ns();
    if (!st)
        st = evaluator_open(&e, path, &l->t->measure, err);
    if (!st)
        st = measure_text(&e, &l->base, l->text, l->len, &l->t->measure, &m, err);
    if (!st)
        report(l, f->name, 8.0 * (double)stats.decoder_bytes / (double)stats.decoder_weights,
               (double)(end - start) * 1e-9, &m);
    evaluator_close(&e);
    unlink(path);
    return st;
}

static enum q35_status float_row(struct ladder *l, struct q35_error *err)
{
    struct evaluator e = {0};
    struct measure m;
    enum q35_status st = evaluator_open(&e, l->t->model, &l->t->measure, err);
    if (!st)
        st = measure_text(&e, &l->base, l->text, l->len, &l->t->measure, &m, err);
    if (!st)
        report(l, "float", 32, 0, &m);
    evaluator_close(&e);
    return st;
}

static bool wanted(const struct accuracy_text *t, const struct format *f)
{
    if (f->scheme && !(f->off & ROUND) && !t->calibrate)
        return false;
    return !t->only || fnmatch(t->only, f->name, 0) == 0;
}

enum q35_status accuracy_text(const struct accuracy_text *t,
                              void (*row)(void *ctx, const struct accuracy_row *r), void *ctx,
                              struct q35_error *err)
{
    struct ladder l = {.t = t, .row = row, .ctx = ctx};
    const char *tmp = getenv("TMPDIR");
    size_t i;
    enum q35_status st = q35_file_read(t->text, MAX_TEXT, &l.text, &l.len, err);
    snprintf(l.dir, sizeof(l.dir), "%.40s/q35-accuracy-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!st && !mkdtemp(l.dir)) {
        free(l.text);
        return q35_fail(err, Q35_E_IO, "cannot make a directory %s", l.dir);
    }
    if (!st)
        st = evaluator_open(&l.base, t->model, &t->measure, err);
    if (!st && l.base.packed)
        st = q35_fail(err, Q35_E_INVALID, "%s is packed; a float model is needed", t->model);
    if (!st && !t->only)
        st = float_row(&l, err);
    for (i = 0; i < Q35_COUNT(formats) && !st; i++)
        if (wanted(t, &formats[i]))
            st = formats[i].scheme ? packed_row(&l, &formats[i], err)
                                   : grid_row(&l, &formats[i], err);
    evaluator_close(&l.base);
    free(l.text);
    rmdir(l.dir);
    return st;
}
