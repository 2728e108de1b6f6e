/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The layers themselves, as sequences of operations on scratch. */

#include "soft_impl.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum q35_status try_status = (call);                                                       \
        if (try_status)                                                                            \
            return try_status;                                                                     \
    } while (0)

/* ---- scratch ------------------------------------------------------------------------------- */

/* With base NULL only adds up. Every part is 64-byte aligned. */
static uint64_t carve(struct soft_scratch *s, const struct soft_dims *d, uint64_t n, uint8_t *base)
{
    uint64_t at = 0;
#define PART(field, count)                                                                         \
    do {                                                                                           \
        if (base)                                                                                  \
            s->field = (void *)(base + at);                                                        \
        at += ((count) * sizeof(*s->field) + 63) & ~(uint64_t)63;                                  \
    } while (0)
    PART(x, n * d->d_model);
    PART(h, n * d->d_model);
    PART(q, n * d->q_dim);
    PART(k, n * d->kv_dim);
    PART(v, n * d->kv_dim);
    PART(att, n * d->q_dim);
    PART(gate, n * d->d_ffn);
    PART(up, n * d->d_ffn);
    PART(cos_sin, n * d->rope_dim);
    PART(token_scales, n);
    PART(q8, n * d->cols_padded);
    PART(positions, n);
    PART(pages, n);
    PART(logits, (n < SOFT_GREEDY_ROWS ? n : SOFT_GREEDY_ROWS) * d->vocab);
#undef PART
    return at;
}

/* Batches are rounded up to a power of two, so that growing ones do not reallocate each time. */
static uint64_t rounded_batch(uint32_t n_tokens)
{
    uint64_t n = 1;
    while (n < n_tokens)
        n *= 2;
    return n;
}

uint64_t soft_scratch_bytes(const struct soft_dims *dims, uint32_t n_tokens)
{
    struct soft_scratch s = {0};
    return carve(&s, dims, rounded_batch(n_tokens), NULL);
}

enum q35_status soft_scratch_carve(struct soft_scratch *s, const struct soft_dims *dims,
                                   uint32_t n_tokens, struct q35_error *err)
{
    uint64_t bytes = soft_scratch_bytes(dims, n_tokens);
    if (bytes > s->bytes) {
        void *block = aligned_alloc(Q35_SOFT_ALIGNMENT, bytes);
        if (!block)
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for %llu bytes of scratch",
                                 (unsigned long long)bytes);
        free(s->block);
        s->block = block;
        s->bytes = bytes;
    }
    carve(s, dims, rounded_batch(n_tokens), s->block);
    return Q35_OK;
}

/* ---- pieces of a layer --------------------------------------------------------------------- */

static const float *vector(const struct soft_layer *l, uint32_t role)
{
    return (const float *)(const void *)l->tensors[role].data;
}

static bool same_input(const struct q35_matrix *a, const struct q35_matrix *b)
{
    return a->rot_block == b->rot_block && (!a->rot_block || a->rot_seed == b->rot_seed);
}

/* y[i] = mats[i] x for n tokens; x[n][cols]. Matrices with the same rotation share one
 * quantization of x. Then `into` becomes what `then` says. */
static enum q35_status linear_then(struct soft_batch *b, uint32_t n, uint32_t n_mats,
                                   const struct q35_matrix *const *mats, const float *x,
                                   float *const *y, enum q35_soft_then then, float *into,
                                   struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    uint32_t first, i;
    for (first = 0; first < n_mats; first += i) {
        const struct q35_matrix *m = mats[first];
        struct q35_matmul_args a = {.size = sizeof(a),
                                    .n_tokens = n,
                                    .cols_padded = m->cols_padded,
                                    .q = b->s->q8,
                                    .token_scales = b->s->token_scales};
        TRY(dev->ops.quantize(dev->user, n, m->cols, m->cols_padded, m->rot_block, m->rot_seed, x,
                              m->cols, b->s->q8, b->s->token_scales, err));
        for (i = 0; first + i < n_mats && same_input(m, mats[first + i]); i++) {
            a.mats[i] = mats[first + i];
            a.y[i] = y[first + i];
            a.y_stride[i] = a.mats[i]->rows;
        }
        a.n_mats = i;
        if (then && i == n_mats && dev->matmul_then)
            return dev->matmul_then(dev->user, &a, then, into, err);
        TRY(dev->ops.matmul(dev->user, &a, err));
    }
    if (then == Q35_SOFT_ADD)
        return dev->ops.add(dev->user, (uint64_t)n * mats[0]->rows, into, y[0], err);
    if (then == Q35_SOFT_SWIGLU)
        return dev->ops.swiglu(dev->user, (uint64_t)n * mats[0]->rows, y[0], y[1], into, err);
    return Q35_OK;
}

static enum q35_status linear(struct soft_batch *b, uint32_t n, uint32_t n_mats,
                              const struct q35_matrix *const *mats, const float *x, float *const *y,
                              struct q35_error *err)
{
    return linear_then(b, n, n_mats, mats, x, y, Q35_SOFT_NOTHING, NULL, err);
}

/* cos_sin[n][rope_dim] of the batch's positions, kept while layers use the same frequencies. */
static void rope_table(struct soft_batch *b, const struct soft_layer *l)
{
    const float *freq = vector(l, Q35_ROLE_ROPE_FREQ);
    uint32_t dim = l->desc.rope_dim, half = dim / 2, t, i;
    if (b->rope_freq && b->rope_dim == dim && !memcmp(b->rope_freq, freq, half * sizeof(*freq)))
        return;
    for (t = 0; t < b->n_tokens; t++) {
        float *to = b->s->cos_sin + (uint64_t)t * dim;
        for (i = 0; i < half; i++)
            q35_rope_angle(b->s->positions[t], freq[i], to + i, to + half + i);
    }
    b->rope_freq = freq;
    b->rope_dim = dim;
}

/* att[n][q_dim] from the normalised h[n][d_model]. */
static enum q35_status attention(struct soft_batch *b, const struct soft_layer *l,
                                 struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    struct soft_scratch *s = b->s;
    const struct q35_layer *d = &l->desc;
    const struct q35_matrix *mats[3] = {&l->mats[Q35_ROLE_Q], &l->mats[Q35_ROLE_K],
                                        &l->mats[Q35_ROLE_V]};
    float *const y[3] = {s->q, s->k, s->v};
    const float *q_norm = vector(l, Q35_ROLE_Q_NORM), *k_norm = vector(l, Q35_ROLE_K_NORM);
    struct q35_attn_args a = {.size = sizeof(a),
                              .n_tokens = b->n_tokens,
                              .n_heads = d->n_heads,
                              .n_kv_heads = d->n_kv_heads,
                              .head_dim = d->head_dim,
                              .window = d->window,
                              .scale = d->attn_scale,
                              .kv_type = b->kv->type,
                              .q = s->q,
                              .out = s->att,
                              .positions = s->positions,
                              .pages = s->pages};

    TRY(linear(b, b->n_tokens, 3, mats, s->h, y, err));
    if (q_norm)
        TRY(dev->ops.rms_norm(dev->user, b->n_tokens * d->n_heads, d->head_dim, s->q, q_norm,
                              d->norm_eps, s->q, err));
    if (k_norm)
        TRY(dev->ops.rms_norm(dev->user, b->n_tokens * d->n_kv_heads, d->head_dim, s->k, k_norm,
                              d->norm_eps, s->k, err));
    if (d->rope_dim) {
        rope_table(b, l);
        TRY(dev->ops.rope(dev->user, b->n_tokens, d->n_heads, d->head_dim, d->rope_dim,
                          d->rope_style, s->cos_sin, s->q, err));
        TRY(dev->ops.rope(dev->user, b->n_tokens, d->n_kv_heads, d->head_dim, d->rope_dim,
                          d->rope_style, s->cos_sin, s->k, err));
    }
    soft_kv_store(b, l);
    return dev->ops.attention(dev->user, &a, err);
}

static enum q35_status decoder(struct soft_batch *b, const struct soft_layer *l,
                               struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    struct soft_scratch *s = b->s;
    const struct q35_layer *d = &l->desc;
    uint32_t n = b->n_tokens;
    const struct q35_matrix *o[1] = {&l->mats[Q35_ROLE_O]}, *down[1] = {&l->mats[Q35_ROLE_DOWN]};
    const struct q35_matrix *gate_up[2] = {&l->mats[Q35_ROLE_GATE], &l->mats[Q35_ROLE_UP]};
    float *const h[1] = {s->h}, *const gu[2] = {s->gate, s->up};

    TRY(dev->ops.rms_norm(dev->user, n, d->d_model, s->x, vector(l, Q35_ROLE_ATTN_NORM),
                          d->norm_eps, s->h, err));
    TRY(attention(b, l, err));
    TRY(linear_then(b, n, 1, o, s->att, h, Q35_SOFT_ADD, s->x, err));

    TRY(dev->ops.rms_norm(dev->user, n, d->d_model, s->x, vector(l, Q35_ROLE_FFN_NORM), d->norm_eps,
                          s->h, err));
    TRY(linear_then(b, n, 2, gate_up, s->h, gu, Q35_SOFT_SWIGLU, s->gate, err));
    return linear_then(b, n, 1, down, s->gate, h, Q35_SOFT_ADD, s->x, err);
}

static enum q35_status embed(struct soft_batch *b, const struct soft_layer *l,
                             struct q35_error *err)
{
    uint32_t d = l->desc.d_model, t, i;
    for (t = 0; t < b->n_tokens; t++) {
        float *x = b->s->x + (uint64_t)t * d;
        TRY(b->dev->ops.embed(b->dev->user, &l->mats[Q35_ROLE_TOKEN_EMBED],
                              (uint32_t)soft_token(b, t)->id, x, err));
        for (i = 0; i < d; i++)
            x[i] = x[i] * l->desc.embed_scale;
    }
    return Q35_OK;
}

/* Moves the hidden states of tokens that want logits to the front and counts them. */
static uint32_t gather_logits(struct soft_batch *b, uint64_t d)
{
    uint32_t t, n = 0;
    for (t = 0; t < b->n_tokens; t++)
        if (soft_token(b, t)->flags & Q35_TOKEN_LOGITS)
            memmove(b->s->x + n++ * d, b->s->x + t * d, d * sizeof(float));
    return n;
}

/* Logits of n tokens from the hidden states x[n][d_model]. */
static enum q35_status head(struct soft_batch *b, const struct soft_layer *l, uint32_t n, float *x,
                            float *logits, struct q35_error *err)
{
    const struct q35_matrix *m[1] = {&l->mats[Q35_ROLE_HEAD]};
    struct soft_scratch *s = b->s;
    float *const y[1] = {logits};

    TRY(b->dev->ops.rms_norm(b->dev->user, n, l->desc.d_model, x, vector(l, Q35_ROLE_OUT_NORM),
                             l->desc.norm_eps, s->h, err));
    return linear(b, n, 1, m, s->h, y, err);
}

/* The whole layer over n tokens by the device's own function. */
static enum q35_status whole(struct soft_batch *b, const struct soft_layer *l, uint32_t n, float *x,
                             float *logits, struct q35_error *err)
{
    struct q35_soft_layer_call c = {.layer = &l->desc,
                                    .n_tokens = n,
                                    .token_stride = b->token_stride,
                                    .tokens = soft_token(b, 0),
                                    .x = x,
                                    .logits = logits,
                                    .positions = b->s->positions,
                                    .pages = b->s->pages,
                                    .kv_type = b->kv ? b->kv->type : Q35_KV_F16};
    uint32_t role;
    for (role = 0; role < Q35_ROLE_COUNT; role++)
        if (l->tensors[role].desc.bytes) {
            c.tensors[role] = &l->tensors[role].desc;
            c.data[role] = l->tensors[role].data;
        }
    if (l->desc.kind == Q35_LAYER_DECODER)
        soft_kv_point(b, l);
    return b->dev->layer(b->dev->user, &c, err);
}

/* HEAD: logits of the tokens that want them, or the greatest of each, some rows at a time. */
static enum q35_status finish(struct soft_batch *b, const struct soft_layer *l,
                              struct q35_error *err)
{
    enum q35_status (*step)(struct soft_batch *, const struct soft_layer *, uint32_t, float *,
                            float *, struct q35_error *) = b->dev->layer ? whole : head;
    uint32_t n = gather_logits(b, l->desc.d_model), rows = n, at, i;

    if (n && !b->ids)
        return step(b, l, n, b->s->x, b->logits, err);
    for (at = 0; at < n; at += rows) {
        rows = n - at < SOFT_GREEDY_ROWS ? n - at : SOFT_GREEDY_ROWS;
        TRY(step(b, l, rows, b->s->x + (uint64_t)at * l->desc.d_model, b->s->logits, err));
        for (i = 0; i < rows; i++)
            b->ids[at + i] = b->dev->greedy(
                b->dev->user, b->s->logits + (uint64_t)i * l->desc.vocab, l->desc.vocab);
    }
    return Q35_OK;
}

enum q35_status soft_exec_layer(struct soft_batch *b, const struct soft_layer *l,
                                struct q35_error *err)
{
    if (l->desc.kind == Q35_LAYER_HEAD)
        return finish(b, l, err);
    if (b->dev->layer)
        return whole(b, l, b->n_tokens, b->s->x, NULL, err);
    return l->desc.kind == Q35_LAYER_EMBED ? embed(b, l, err) : decoder(b, l, err);
}
