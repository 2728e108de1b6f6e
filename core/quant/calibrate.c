/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "core/model/gguf.h"
#include "core/quant/calibrate_internal.h"
#include "core/quant/linalg.h"

enum { CHUNK = 128 };

static const struct site sites[] = {
    {{Q35_ROLE_Q, Q35_ROLE_K, Q35_ROLE_V}, 3, Q35_ROLE_ATTN_NORM},
    {{Q35_ROLE_O}, 1, Q35_ROLE_V},
    {{Q35_ROLE_GATE, Q35_ROLE_UP}, 2, Q35_ROLE_FFN_NORM},
    {{Q35_ROLE_DOWN}, 1, Q35_ROLE_UP},
};

/* ---- creation ---- */

static void drop_layer(struct q35_calib *c)
{
    uint32_t i;
    for (i = 0; i < Q35_ROLE_INFO_COUNT; i++) {
        free(c->out[i].blob);
        free(c->out[i].vector);
        free(c->dense[i]);
        c->dense[i] = NULL;
    }
    memset(c->out, 0, sizeof(c->out));
}

void q35_calib_destroy(struct q35_calib *c)
{
    if (!c)
        return;
    drop_layer(c);
    q35_calib_text_free(&c->text);
    q35_float_destroy(c->ref);
    q35_float_destroy(c->packed);
    q35_float_pool_destroy(c->pool);
    free(c->x_ref);
    free(c->x_packed);
    free(c->x);
    free(c->in[0]);
    free(c->in[1]);
    free(c);
}

/* The float evaluator's view of the layer being packed. */
static bool lookup(void *user, uint32_t layer, uint32_t role, struct q35_source_tensor *out)
{
    const struct q35_calib *c = user;
    if (role >= Q35_ROLE_INFO_COUNT || !c->dense[role] ||
        q35_source_tensor(c->source, layer, role, out) != Q35_OK)
        return false;
    out->dtype = Q35_GGML_F32;
    out->data = (const uint8_t *)c->dense[role];
    out->row_bytes = sizeof(float) * (uint64_t)out->cols;
    out->first_row = 0;
    return true;
}

struct seen {
    float *to; /* [CHUNK][stride] */
    uint32_t stride;
};

static void see(void *user, uint32_t layer, uint32_t role, uint32_t n, uint32_t cols,
                const float *x)
{
    const struct seen *s = user;
    uint32_t t;
    (void)layer;
    (void)role;
    for (t = 0; t < n; t++)
        memcpy(s->to + (size_t)t * s->stride, x + (size_t)t * cols, sizeof(float) * cols);
}

static enum q35_status embed(struct q35_calib *c, struct q35_error *err)
{
    uint32_t d = c->params->d_model, i;
    size_t at = 0;
    enum q35_status st = Q35_OK;
    for (i = 0; i < c->text.count && !st; i++) {
        st = q35_float_embed(c->ref, c->text.ids + (size_t)i * c->text.window, c->text.lengths[i],
                             c->x_ref + at * d, err);
        at += c->text.lengths[i];
    }
    memcpy(c->x_packed, c->x_ref, sizeof(float) * at * d);
    return st;
}

static enum q35_status allocate(struct q35_calib *c, struct q35_error *err)
{
    const struct q35_params *p = c->params;
    uint32_t q = p->n_heads * p->head_dim, widest = p->d_model, i;
    uint64_t hidden;
    widest = q > widest ? q : widest;
    widest = p->d_ffn > widest ? p->d_ffn : widest;
    c->stride = (widest + 15) / 16 * 16;
    if (q35_mul_size(c->text.tokens * sizeof(float), p->d_model, &hidden) && hidden <= SIZE_MAX) {
        c->x_ref = malloc(hidden);
        c->x_packed = malloc(hidden);
    }
    c->x = malloc(sizeof(float) * CHUNK * (size_t)p->d_model);
    for (i = 0; i < 2; i++)
        c->in[i] = calloc(CHUNK * (size_t)c->stride, sizeof(float));
    if (!c->x_ref || !c->x_packed || !c->x || !c->in[0] || !c->in[1])
        return q35_fail(err, Q35_E_NOMEM, "no memory to calibrate with %llu tokens",
                        (unsigned long long)c->text.tokens);
    return Q35_OK;
}

enum q35_status q35_calib_create(struct q35_calib **out, const struct q35_source *source,
                                 const struct q35_calibrate_params *p, struct q35_error *err)
{
    struct q35_calib *c = calloc(1, sizeof(*c));
    uint32_t threads = p->encode.threads > 64 ? 64 : p->encode.threads;
    enum q35_status st;
    *out = NULL;
    if (!c)
        return q35_fail(err, Q35_E_NOMEM, "no memory to calibrate");
    c->source = source;
    c->params = q35_source_params(source);
    c->p = p;
    st = q35_calib_text_load(&c->text, source, p->text, p->tokens, err);
    if (!st)
        st = q35_float_pool_create(&c->pool, threads, err);
    if (!st)
        st = q35_float_create_layerwise(&c->ref, source, c->text.window, threads, err);
    if (!st)
        st = q35_float_create_layerwise(&c->packed, source, c->text.window, threads, err);
    if (!st)
        st = allocate(c, err);
    if (!st)
        st = embed(c, err);
    if (st) {
        q35_calib_destroy(c);
        return st;
    }
    q35_float_set_lookup(c->packed, lookup, c);
    *out = c;
    return Q35_OK;
}

uint32_t q35_calib_tokens(const struct q35_calib *c)
{
    return (uint32_t)c->text.tokens;
}

const struct q35_calib_tensor *q35_calib_tensor(const struct q35_calib *c, uint32_t role)
{
    return &c->out[role];
}

/* ---- inputs of a site ---- */

static enum q35_status cancelled(const struct q35_calib *c, struct q35_error *err)
{
    if (c->p->cancel && atomic_load(c->p->cancel))
        return q35_fail(err, Q35_E_CANCELLED, "the conversion was cancelled");
    return Q35_OK;
}

/* in[which][n][stride]: the inputs of `role` for n tokens at `start` of a sequence. */
static enum q35_status inputs(struct q35_calib *c, uint32_t which, uint32_t layer, uint32_t role,
                              const float *hidden, uint32_t n, uint32_t start,
                              struct q35_error *err)
{
    struct q35_float *f = which ? c->packed : c->ref;
    struct seen seen = {c->in[which], c->stride};
    enum q35_status st;
    memcpy(c->x, hidden, sizeof(float) * n * c->params->d_model);
    q35_float_set_hook(f, see, &seen);
    st = q35_float_inputs(f, layer, role, n, start, c->x, err);
    q35_float_set_hook(f, NULL, NULL);
    return st;
}

static enum q35_status gather(struct q35_calib *c, uint32_t layer, uint32_t role,
                              struct q35_moments *m, struct q35_error *err)
{
    uint32_t d = c->params->d_model, cols = m->cols, from = c->p->propagate, i, j, at, n;
    size_t token = 0;
    enum q35_status st = Q35_OK;
    for (i = 0; i < 2; i++) /* columns beyond the last stay zero */
        memset(c->in[i], 0, sizeof(float) * CHUNK * c->stride);
    for (i = 0; i < c->text.count && !st; i++)
        for (at = 0; at < c->text.lengths[i] && !st; at += n, token += n) {
            n = c->text.lengths[i] - at < CHUNK ? c->text.lengths[i] - at : CHUNK;
            st = cancelled(c, err);
            if (!st && (m->c || !from))
                st = inputs(c, 0, layer, role, c->x_ref + token * d, n, at, err);
            if (!st && from)
                st = inputs(c, 1, layer, role, c->x_packed + token * d, n, at, err);
            if (st)
                break;
            q35_linalg_outer(c->pool, n, cols, c->stride, c->in[from], c->in[from], true, m->h);
            if (m->c)
                q35_linalg_outer(c->pool, n, cols, c->stride, c->in[0], c->in[1], false, m->c);
        }
    for (i = 0; i < cols; i++)
        for (j = 0; j < i; j++)
            m->h[(size_t)j * cols + i] = m->h[(size_t)i * cols + j];
    return st;
}

/* All tokens through one half of the layer. */
static enum q35_status advance(struct q35_calib *c, uint32_t layer, enum q35_float_part half,
                               struct q35_error *err)
{
    uint32_t d = c->params->d_model, i;
    size_t token = 0;
    enum q35_status st = Q35_OK;
    for (i = 0; i < c->text.count && !st; token += c->text.lengths[i], i++) {
        uint32_t n = c->text.lengths[i];
        st = cancelled(c, err);
        if (!st)
            st = q35_float_half(c->ref, layer, half, n, 0, c->x_ref + token * d, err);
        if (!st && c->p->propagate)
            st = q35_float_half(c->packed, layer, half, n, 0, c->x_packed + token * d, err);
    }
    return st;
}

/* ---- packed tensors ---- */

enum q35_status q35_calib_decode(struct q35_calib *c, const struct q35_source_tensor *t,
                                 uint32_t role, struct q35_error *err)
{
    const struct q35_encode_params *e = &c->p->encode;
    uint32_t block = e->rotate ? q35_rot_block(t->cols) : 0;
    if (!c->dense[role])
        c->dense[role] = malloc(sizeof(float) * t->rows * (size_t)t->cols);
    if (!c->dense[role])
        return q35_fail(err, Q35_E_NOMEM, "no memory for %s", t->name);
    return q35_decode_matrix(c->schemes[role], t->rows, t->cols, block, e->rot_seed,
                             c->out[role].blob, c->dense[role], err);
}

static enum q35_status new_blob(struct q35_calib *c, const struct q35_source_tensor *t,
                                uint32_t role, uint64_t *bytes, struct q35_error *err)
{
    *bytes = q35_blob_bytes(c->schemes[role], t->rows, t->cols);
    c->out[role].blob = aligned_alloc(64, (size_t)((*bytes + 63) & ~63ull));
    if (!c->out[role].blob)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %s", t->name);
    return Q35_OK;
}

/* ---- packing ---- */

struct rows_done {
    const struct q35_calib *c;
    uint32_t role;
};

static void on_rows(void *ctx, uint32_t rows)
{
    const struct rows_done *d = ctx;
    if (d->c->done)
        d->c->done(d->c->done_ctx, d->role, rows);
}

/* Packs one matrix into c->out and decodes it into c->dense. */
static enum q35_status pack(struct q35_calib *c, uint32_t role, struct q35_calib_rows *rows,
                            struct q35_encode_params *e, struct q35_error *err)
{
    const struct q35_source_tensor *t = &rows->from;
    struct q35_calib_tensor *out = &c->out[role];
    struct rows_done done = {c, role};
    uint64_t bytes;
    enum q35_status st = new_blob(c, t, role, &bytes, err);
    e->scheme = c->schemes[role];
    e->progress = on_rows;
    e->progress_ctx = &done;
    if (!st)
        st = q35_encode_matrix(e, t->rows, t->cols, q35_calib_rows_read, rows, out->blob,
                               &out->stats, err);
    return st ? st : q35_calib_decode(c, t, role, err);
}

/* Packs all matrices of a site with what is known of their input. */
static enum q35_status pack_site(struct q35_calib *c, uint32_t layer, const struct site *site,
                                 struct q35_moments *m, struct q35_error *err)
{
    struct q35_encode_params e = c->p->encode;
    struct q35_calib_rows rows = {.cancel = c->p->cancel};
    struct q35_feedback fb = {0};
    float *correction = NULL, *scale = NULL;
    uint32_t i;
    enum q35_status st = Q35_OK;
    e.scheme = c->schemes[site->roles[0]];
    if (m->c)
        st = q35_moments_correction(m, c->pool, c->p->damp, c->p->correct, &correction, err);
    if (!st && c->p->awq && !(scale = malloc(sizeof(float) * m->cols)))
        st = q35_fail(err, Q35_E_NOMEM, "no memory for %u scales", m->cols);
    if (!st && c->p->awq)
        st = q35_calib_scales(c, layer, site, m, &e, scale, err);
    rows.correction = correction;
    rows.scale = scale;
    for (i = 0; i < site->count && !st; i++) {
        e.scheme = c->schemes[site->roles[i]];
        if (q35_source_tensor(c->source, layer, site->roles[i], &rows.from) != Q35_OK)
            continue;
        if (c->p->feedback && fb.halves != Q35_SCHEME_WEIGHTS(e.scheme)) {
            q35_feedback_fini(&fb);
            st = q35_feedback_init(&fb, c->pool, m->cols, m->h, scale, c->p->damp, &e, err);
        }
        e.feedback = c->p->feedback ? &fb : NULL;
        if (!st)
            st = pack(c, site->roles[i], &rows, &e, err);
    }
    q35_feedback_fini(&fb);
    free(correction);
    free(scale);
    return st;
}

enum q35_status q35_calib_layer(struct q35_calib *c, uint32_t layer,
                                const uint32_t schemes[Q35_ROLE_INFO_COUNT],
                                void (*done)(void *ctx, uint32_t role, uint32_t rows), void *ctx,
                                struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    size_t i;
    drop_layer(c);
    memcpy(c->schemes, schemes, sizeof(c->schemes));
    c->done = done;
    c->done_ctx = ctx;
    for (i = 0; i < Q35_COUNT(sites) && !st; i++) {
        struct q35_moments m = {0};
        struct q35_source_tensor t;
        uint32_t role = sites[i].roles[0];
        st = q35_source_tensor(c->source, layer, role, &t);
        if (st)
            return q35_fail(err, st, "layer %u has no tensor of role %u", layer, role);
        st = q35_moments_init(&m, t.cols, c->p->propagate && c->p->correct > 0, err);
        if (!st)
            st = gather(c, layer, role, &m, err);
        if (!st)
            st = pack_site(c, layer, &sites[i], &m, err);
        q35_moments_fini(&m);
        if (!st && role == Q35_ROLE_O)
            st = advance(c, layer, Q35_FLOAT_ATTENTION, err);
        if (!st && role == Q35_ROLE_DOWN)
            st = advance(c, layer, Q35_FLOAT_MLP, err);
    }
    return st;
}

enum q35_status q35_calib_restore(struct q35_calib *c, uint32_t layer,
                                  const uint32_t schemes[Q35_ROLE_INFO_COUNT],
                                  const struct q35_calib_tensor tensors[Q35_ROLE_INFO_COUNT],
                                  struct q35_error *err)
{
    uint32_t role;
    uint64_t bytes;
    bool found;
    enum q35_status st = Q35_OK;
    drop_layer(c);
    memcpy(c->schemes, schemes, sizeof(c->schemes));
    for (role = 0; role < Q35_ROLE_INFO_COUNT && !st; role++) {
        const struct q35_calib_tensor *from = &tensors[role];
        struct q35_source_tensor t;
        if ((!from->blob && !from->vector) ||
            q35_source_tensor(c->source, layer, role, &t) != Q35_OK)
            continue;
        if (from->blob) {
            c->out[role].stats = from->stats;
            st = new_blob(c, &t, role, &bytes, err);
            if (!st)
                memcpy(c->out[role].blob, from->blob, (size_t)bytes);
            st = st ? st : q35_calib_decode(c, &t, role, err);
            continue;
        }
        st = q35_calib_own_vector(c, layer, role, &found, err);
        if (!st) {
            memcpy(c->out[role].vector, from->vector, sizeof(float) * t.cols);
            memcpy(c->dense[role], from->vector, sizeof(float) * t.cols);
        }
    }
    if (!st)
        st = advance(c, layer, Q35_FLOAT_ATTENTION, err);
    return st ? st : advance(c, layer, Q35_FLOAT_MLP, err);
}
