/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/graph/float_eval.h"

#include <stdlib.h>
#include <string.h>

#include "core/graph/float_attention.h"
#include "core/graph/float_matmul.h"
#include "q35/arith.h"

enum { MAX_TOKENS = 128 }; /* evaluated at once */
#define NO_STOP UINT32_MAX

struct q35_float {
    const struct q35_source *source;
    const struct q35_params *p;
    struct q35_float_pool *pool;
    uint32_t max_context;
    uint32_t kv_layers;   /* n_layers, or 1: what is kept is of one layer at a time */
    float *keys, *values; /* [kv_layers][max_context][kv_dim] */
    uint32_t *lengths;    /* [n_layers] */
    float *x;             /* [MAX_TOKENS][d_model] */
    float *h;             /* [MAX_TOKENS][max(d_model, q_dim)] */
    float *q;             /* [MAX_TOKENS][q_dim] */
    float *gate, *up;     /* [MAX_TOKENS][d_ffn] */
    float *cos_sin;       /* [MAX_TOKENS][rope_dim] */
    float *scores;        /* [threads][max_context] */
    float *vector;        /* norms and biases: [max of all widths] */
    q35_float_hook hook;
    void *hook_user;
    q35_float_lookup lookup;
    void *lookup_user;
    enum q35_float_part part;
    uint32_t stop; /* role whose input is the last thing computed, or NO_STOP */
};

static uint32_t q_dim(const struct q35_params *p)
{
    return p->n_heads * p->head_dim;
}

static uint32_t kv_dim(const struct q35_params *p)
{
    return p->n_kv_heads * p->head_dim;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static float *floats(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t n, bytes;
    if (!q35_mul_size(a, b, &n) || !q35_mul_size(n, c, &n) || !q35_mul_size(n, 4, &bytes) ||
        bytes > SIZE_MAX)
        return NULL;
    return malloc(bytes ? (size_t)bytes : 4);
}

static bool allocate(struct q35_float *f)
{
    const struct q35_params *p = f->p;
    uint32_t wide = larger(larger(p->d_model, q_dim(p)), larger(p->d_ffn, kv_dim(p)));
    f->keys = floats(f->kv_layers, f->max_context, kv_dim(p));
    f->values = floats(f->kv_layers, f->max_context, kv_dim(p));
    f->lengths = calloc(p->n_layers, sizeof(*f->lengths));
    f->x = floats(MAX_TOKENS, p->d_model, 1);
    f->h = floats(MAX_TOKENS, larger(p->d_model, q_dim(p)), 1);
    f->q = floats(MAX_TOKENS, q_dim(p), 1);
    f->gate = floats(MAX_TOKENS, p->d_ffn, 1);
    f->up = floats(MAX_TOKENS, p->d_ffn, 1);
    f->cos_sin = floats(MAX_TOKENS, p->rope_dim, 1);
    f->scores = floats(q35_float_pool_threads(f->pool), f->max_context, 1);
    f->vector = floats(wide, 1, 1);
    return f->keys && f->values && f->lengths && f->x && f->h && f->q && f->gate && f->up &&
           f->cos_sin && f->scores && f->vector;
}

static enum q35_status create(struct q35_float **out, const struct q35_source *s, bool layerwise,
                              uint32_t max_context, uint32_t threads, struct q35_error *err)
{
    struct q35_float *f = calloc(1, sizeof(*f));
    enum q35_status st;
    *out = NULL;
    if (!f)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a float model");
    f->source = s;
    f->p = q35_source_params(s);
    f->max_context = max_context;
    f->kv_layers = layerwise ? 1 : f->p->n_layers;
    f->stop = NO_STOP;
    st = max_context ? q35_float_pool_create(&f->pool, threads, err)
                     : q35_fail(err, Q35_E_INVALID, "a context of 0");
    if (!st && !allocate(f))
        st = q35_fail(err, Q35_E_NOMEM, "no memory for a context of %u positions", max_context);
    if (st) {
        q35_float_destroy(f);
        return st;
    }
    *out = f;
    return Q35_OK;
}

enum q35_status q35_float_create(struct q35_float **out, const struct q35_source *s,
                                 uint32_t max_context, uint32_t threads, struct q35_error *err)
{
    return create(out, s, false, max_context, threads, err);
}

enum q35_status q35_float_create_layerwise(struct q35_float **out, const struct q35_source *s,
                                           uint32_t max_context, uint32_t threads,
                                           struct q35_error *err)
{
    return create(out, s, true, max_context, threads, err);
}

void q35_float_destroy(struct q35_float *f)
{
    if (!f)
        return;
    q35_float_pool_destroy(f->pool);
    free(f->keys);
    free(f->values);
    free(f->lengths);
    free(f->x);
    free(f->h);
    free(f->q);
    free(f->gate);
    free(f->up);
    free(f->cos_sin);
    free(f->scores);
    free(f->vector);
    free(f);
}

void q35_float_set_hook(struct q35_float *f, q35_float_hook hook, void *user)
{
    f->hook = hook;
    f->hook_user = user;
}

void q35_float_set_lookup(struct q35_float *f, q35_float_lookup lookup, void *user)
{
    f->lookup = lookup;
    f->lookup_user = user;
}

/* ---- pieces of a layer ---- */

static enum q35_status tensor(const struct q35_float *f, uint32_t layer, uint32_t role,
                              struct q35_source_tensor *out)
{
    if (f->lookup && f->lookup(f->lookup_user, layer, role, out))
        return Q35_OK;
    return q35_source_tensor(f->source, layer, role, out);
}

/* The vector of a role into f->vector; *found false if the model has none. */
static enum q35_status vector(struct q35_float *f, uint32_t layer, uint32_t role, bool *found,
                              struct q35_error *err)
{
    struct q35_source_tensor t;
    enum q35_status s = tensor(f, layer, role, &t);
    *found = s == Q35_OK;
    return s ? Q35_OK : q35_source_rows(&t, 0, 1, f->vector, err);
}

/* y[n][d_model] = rms_norm(x); without a norm x itself. */
static enum q35_status norm(struct q35_float *f, uint32_t layer, uint32_t role, uint32_t n,
                            const float *x, float *y, struct q35_error *err)
{
    uint32_t d = f->p->d_model, t;
    bool found;
    enum q35_status s = vector(f, layer, role, &found, err);
    for (t = 0; t < n && !s; t++) {
        if (found)
            q35_rms_norm(x + (size_t)t * d, f->vector, d, f->p->norm_eps, y + (size_t)t * d);
        else
            memcpy(y + (size_t)t * d, x + (size_t)t * d, d * sizeof(*y));
    }
    return s;
}

/* y[n][rows] = W x (+ bias) */
static enum q35_status linear(struct q35_float *f, uint32_t layer, uint32_t role, int bias_role,
                              uint32_t n, const float *x, float *y, struct q35_error *err)
{
    struct q35_source_tensor w;
    bool bias = false;
    enum q35_status s = tensor(f, layer, role, &w);
    if (s)
        return q35_fail(err, s, "the model has no tensor of role %u in layer %u", role, layer);
    if (bias_role >= 0)
        s = vector(f, layer, (uint32_t)bias_role, &bias, err);
    return s ? s : q35_float_matmul(f->pool, &w, bias ? f->vector : NULL, n, x, y, err);
}

static void see(struct q35_float *f, uint32_t layer, uint32_t role, uint32_t n, uint32_t cols,
                const float *x)
{
    if (f->hook)
        f->hook(f->hook_user, layer, role, n, cols, x);
}

/* In place on x[n][heads][head_dim]. */
static enum q35_status head_norm(struct q35_float *f, uint32_t layer, uint32_t role, uint32_t n,
                                 uint32_t heads, float *x, struct q35_error *err)
{
    uint32_t d = f->p->head_dim;
    size_t i;
    bool found;
    enum q35_status s = vector(f, layer, role, &found, err);
    for (i = 0; !s && found && i < (size_t)n * heads; i++)
        q35_rms_norm(x + i * d, f->vector, d, f->p->norm_eps, x + i * d);
    return s;
}

/* ---- attention ---- */

/* f->h[n][q_dim] = attention of f->h[n][d_model], the normed input. */
static enum q35_status attention(struct q35_float *f, uint32_t layer, uint32_t n, uint32_t start,
                                 struct q35_error *err)
{
    const struct q35_params *p = f->p;
    size_t base = (size_t)(layer % f->kv_layers) * f->max_context * kv_dim(p);
    float *k = f->keys + base + (size_t)start * kv_dim(p);
    float *v = f->values + base + (size_t)start * kv_dim(p);
    const struct q35_float_attention a = {.p = p,
                                          .max_context = f->max_context,
                                          .n = n,
                                          .start = start,
                                          .q = f->q,
                                          .keys = f->keys + base,
                                          .values = f->values + base,
                                          .cos_sin = f->cos_sin,
                                          .scores = f->scores,
                                          .out = f->h};
    enum q35_status s;
    see(f, layer, Q35_ROLE_Q, n, p->d_model, f->h);
    if (f->stop == Q35_ROLE_Q)
        return Q35_OK;
    s = linear(f, layer, Q35_ROLE_Q, Q35_ROLE_Q_BIAS, n, f->h, f->q, err);
    if (!s)
        s = linear(f, layer, Q35_ROLE_K, Q35_ROLE_K_BIAS, n, f->h, k, err);
    if (!s)
        s = linear(f, layer, Q35_ROLE_V, Q35_ROLE_V_BIAS, n, f->h, v, err);
    if (!s)
        s = head_norm(f, layer, Q35_ROLE_Q_NORM, n, p->n_heads, f->q, err);
    if (!s)
        s = head_norm(f, layer, Q35_ROLE_K_NORM, n, p->n_kv_heads, k, err);
    if (s)
        return s;
    q35_float_attend(f->pool, &a);
    return Q35_OK;
}

/* x += y, both [n][d_model] */
static void add(const struct q35_float *f, uint32_t n, float *x, const float *y)
{
    size_t i, count = (size_t)n * f->p->d_model;
    for (i = 0; i < count; i++)
        x[i] += y[i];
}

/* f->gate is free as scratch once its product is done: f->up takes the result of DOWN. */
static enum q35_status mlp(struct q35_float *f, uint32_t layer, uint32_t n, float *x,
                           struct q35_error *err)
{
    size_t i, count = (size_t)n * f->p->d_ffn;
    enum q35_status s = norm(f, layer, Q35_ROLE_FFN_NORM, n, x, f->h, err);
    if (s)
        return s;
    see(f, layer, Q35_ROLE_GATE, n, f->p->d_model, f->h);
    if (f->stop == Q35_ROLE_GATE)
        return Q35_OK;
    s = linear(f, layer, Q35_ROLE_GATE, -1, n, f->h, f->gate, err);
    if (!s)
        s = linear(f, layer, Q35_ROLE_UP, -1, n, f->h, f->up, err);
    if (s)
        return s;
    for (i = 0; i < count; i++)
        f->gate[i] = q35_silu(f->gate[i]) * f->up[i];
    see(f, layer, Q35_ROLE_DOWN, n, f->p->d_ffn, f->gate);
    if (f->stop == Q35_ROLE_DOWN)
        return Q35_OK;
    s = linear(f, layer, Q35_ROLE_DOWN, -1, n, f->gate, f->h, err);
    if (!s)
        add(f, n, x, f->h);
    return s;
}

static enum q35_status attention_half(struct q35_float *f, uint32_t layer, uint32_t n,
                                      uint32_t start, float *x, struct q35_error *err)
{
    enum q35_status s = norm(f, layer, Q35_ROLE_ATTN_NORM, n, x, f->h, err);
    if (!s)
        s = attention(f, layer, n, start, err);
    if (s || f->stop == Q35_ROLE_Q)
        return s;
    see(f, layer, Q35_ROLE_O, n, q_dim(f->p), f->h);
    if (f->stop == Q35_ROLE_O)
        return Q35_OK;
    memcpy(f->q, f->h, (size_t)n * q_dim(f->p) * sizeof(*f->q));
    s = linear(f, layer, Q35_ROLE_O, Q35_ROLE_O_BIAS, n, f->q, f->h, err);
    if (!s)
        add(f, n, x, f->h);
    return s;
}

static enum q35_status layer_some(struct q35_float *f, uint32_t layer, uint32_t n, uint32_t start,
                                  float *x, struct q35_error *err)
{
    enum q35_status s = Q35_OK;
    if (f->part != Q35_FLOAT_MLP)
        s = attention_half(f, layer, n, start, x, err);
    return s || f->part == Q35_FLOAT_ATTENTION ? s : mlp(f, layer, n, x, err);
}

/* ---- the graph ---- */

enum q35_status q35_float_embed(struct q35_float *f, const int32_t *tokens, uint32_t n, float *x,
                                struct q35_error *err)
{
    struct q35_source_tensor t;
    uint32_t d = f->p->d_model, i, k;
    enum q35_status s = q35_source_tensor(f->source, 0, Q35_ROLE_TOKEN_EMBED, &t);
    if (s)
        return q35_fail(err, s, "the model has no token embedding");
    for (i = 0; i < n && !s; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= f->p->vocab)
            return q35_fail(err, Q35_E_INVALID, "token %d of a vocabulary of %u", tokens[i],
                            f->p->vocab);
        s = q35_source_rows(&t, (uint32_t)tokens[i], 1, x + (size_t)i * d, err);
        for (k = 0; k < d; k++)
            x[(size_t)i * d + k] *= f->p->embed_scale;
    }
    return s;
}

enum q35_status q35_float_layer(struct q35_float *f, uint32_t layer, uint32_t n, uint32_t start,
                                float *x, struct q35_error *err)
{
    enum q35_status s = Q35_OK;
    uint32_t at, some;
    if (layer >= f->p->n_layers || start > f->lengths[layer])
        return q35_fail(err, Q35_E_INVALID, "layer %u at position %u: not evaluated up to there",
                        layer, start);
    if ((uint64_t)start + n > f->max_context)
        return q35_fail(err, Q35_E_CAPACITY, "%llu positions in a context of %u",
                        (unsigned long long)start + n, f->max_context);
    f->lengths[layer] = start;
    for (at = 0; at < n && !s; at += some) {
        some = n - at < MAX_TOKENS ? n - at : MAX_TOKENS;
        s = layer_some(f, layer, some, start + at, x + (size_t)at * f->p->d_model, err);
        if (!s)
            f->lengths[layer] = start + at + some;
    }
    return s;
}

enum q35_status q35_float_half(struct q35_float *f, uint32_t layer, enum q35_float_part part,
                               uint32_t n, uint32_t start, float *x, struct q35_error *err)
{
    enum q35_status s;
    f->part = part;
    s = q35_float_layer(f, layer, n, start, x, err);
    f->part = Q35_FLOAT_WHOLE;
    return s;
}

enum q35_status q35_float_inputs(struct q35_float *f, uint32_t layer, uint32_t role, uint32_t n,
                                 uint32_t start, float *x, struct q35_error *err)
{
    bool first = role == Q35_ROLE_Q || role == Q35_ROLE_O;
    enum q35_status s;
    f->stop = role;
    s = q35_float_half(f, layer, first ? Q35_FLOAT_ATTENTION : Q35_FLOAT_MLP, n, start, x, err);
    f->stop = NO_STOP;
    return s;
}

enum q35_status q35_float_head(struct q35_float *f, uint32_t n, const float *x, float *logits,
                               struct q35_error *err)
{
    uint32_t role = f->p->tied ? Q35_ROLE_TOKEN_EMBED : Q35_ROLE_HEAD, at, some, d = f->p->d_model;
    enum q35_status s = Q35_OK;
    for (at = 0; at < n && !s; at += some) {
        some = n - at < MAX_TOKENS ? n - at : MAX_TOKENS;
        s = norm(f, 0, Q35_ROLE_OUT_NORM, some, x + (size_t)at * d, f->h, err);
        if (s)
            break;
        see(f, f->p->n_layers, Q35_ROLE_HEAD, some, d, f->h);
        s = linear(f, 0, role, -1, some, f->h, logits + (size_t)at * f->p->vocab, err);
    }
    return s;
}

enum q35_status q35_float_eval(struct q35_float *f, const int32_t *tokens, uint32_t n,
                               uint32_t start, float *logits, struct q35_error *err)
{
    enum q35_status s = Q35_OK;
    uint32_t at, some, layer;
    for (at = 0; at < n && !s; at += some) {
        some = n - at < MAX_TOKENS ? n - at : MAX_TOKENS;
        s = q35_float_embed(f, tokens + at, some, f->x, err);
        for (layer = 0; layer < f->p->n_layers && !s; layer++)
            s = q35_float_layer(f, layer, some, start + at, f->x, err);
        if (!s && logits)
            s = q35_float_head(f, some, f->x, logits + (size_t)at * f->p->vocab, err);
    }
    return s;
}
