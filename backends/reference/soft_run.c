/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* supports, plan and run_layers. */

#include "soft_impl.h"

enum q35_status q35_soft_supports(struct q35_device *dev, const struct q35_layer *layer,
                                  struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer own;
    enum q35_status st = soft_layer_read(layer, dev->features, &own, tensors, err);
    if (!st && dev->own_supports)
        st = dev->own_supports((struct q35_device *)dev->user, layer, err);
    return st;
}

static enum q35_status plan_layers(const struct q35_plan_request *r, uint32_t features,
                                   uint32_t kv_type, struct soft_dims *dims,
                                   struct q35_plan_result *out, uint64_t *page_bytes,
                                   uint32_t *decoders, struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer l;
    uint32_t i, role;
    for (i = 0; i < r->layer_count; i++) {
        const void *in = (const uint8_t *)r->layers + (uint64_t)i * r->layer_stride;
        enum q35_status st = soft_layer_read(in, features, &l, tensors, err);
        if (st)
            return st;
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            out->host_bytes += tensors[role].bytes;
        soft_dims_add(dims, &l, tensors);
        *page_bytes += soft_layer_page_bytes(&l, kv_type);
        *decoders += l.kind == Q35_LAYER_DECODER;
    }
    return Q35_OK;
}

enum q35_status q35_soft_plan(struct q35_device *dev, const struct q35_plan_request *request,
                              struct q35_plan_result *result, struct q35_error *err)
{
    struct q35_plan_result own = {.size = sizeof(own)};
    const struct q35_plan_request *r = request;
    struct soft_dims dims = {0};
    uint64_t page_bytes = 0, pages, tables;
    uint32_t decoders = 0, kv_type, size = result ? result->size : 0;
    enum q35_status st;

    if (!r || !result || !Q35_HAS(r, struct q35_plan_request, layers) || !r->layers ||
        !r->layer_count || r->layer_stride < offsetof(struct q35_layer, tensors) + sizeof(void *))
        return q35_soft_fail(err, Q35_E_INVALID, "a plan request without layers");
    if (r->max_batch > dev->max_batch || r->max_sequences > dev->max_sequences)
        return q35_soft_fail(err, Q35_E_CAPACITY, "batch %u of at most %u, sequences %u of %u",
                             r->max_batch, dev->max_batch, r->max_sequences, dev->max_sequences);
    kv_type = Q35_HAS(r, struct q35_plan_request, kv_type) ? r->kv_type : Q35_KV_F16;
    st = soft_kv_type_check(dev, kv_type, err);
    if (!st)
        st = plan_layers(r, dev->features, kv_type, &dims, &own, &page_bytes, &decoders, err);
    if (st)
        return st;
    if (page_bytes && r->kv_tokens && r->max_sequences) {
        pages = soft_pages_count(r->kv_tokens, r->max_sequences);
        tables = soft_kv_tables_bytes(pages, r->max_sequences, decoders);
        if (!tables || __builtin_mul_overflow(pages, page_bytes, &own.kv_bytes))
            return q35_soft_fail(err, Q35_E_CAPACITY, "a KV cache of %u tokens overflows",
                                 r->kv_tokens);
        own.kv_bytes += tables;
        own.kv_token_bytes = page_bytes / Q35_ATTN_BLOCK;
    }
    own.scratch_bytes = soft_scratch_bytes(&dims, r->max_batch);
    if (dev->own_plan) {
        st = dev->own_plan((struct q35_device *)dev->user, request, &own, err);
        if (st)
            return st;
    }
    if (size > sizeof(own))
        size = sizeof(own);
    own.size = result->size;
    memcpy(result, &own, size);
    return Q35_OK;
}

/* ---- run_layers ---------------------------------------------------------------------------- */

/* A span as memory of at least `bytes`; *out NULL if bytes is 0. */
static enum q35_status resolve(struct q35_device *dev, const struct q35_span *s, uint64_t bytes,
                               const char *what, float **out, struct q35_error *err)
{
    uint8_t *p = s->host;
    uint64_t have = s->bytes;
    *out = NULL;
    if (!bytes)
        return Q35_OK;
    if (!p && s->buffer) {
        enum q35_status st = soft_object_check(&s->buffer->object, "buffer", err);
        if (st)
            return st;
        if (s->buffer->object.dev != dev)
            return q35_soft_fail(err, Q35_E_INVALID, "%s is a buffer of another device", what);
        if (s->offset > s->buffer->bytes || have > s->buffer->bytes - s->offset)
            return q35_soft_fail(err, Q35_E_INVALID, "%s runs beyond its buffer", what);
        p = s->buffer->data + s->offset;
    }
    if (!p || (uintptr_t)p % sizeof(float))
        return q35_soft_fail(err, Q35_E_INVALID, "%s is NULL or not aligned", what);
    if (have < bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "%s has %llu bytes, needs %llu", what,
                             (unsigned long long)have, (unsigned long long)bytes);
    *out = (float *)(void *)p;
    return Q35_OK;
}

static enum q35_status check_run(struct q35_device *dev, const struct q35_run *r,
                                 struct q35_error *err)
{
    enum q35_status st;
    if (dev->lost)
        return soft_lost(err);
    if (!r || !Q35_HAS(r, struct q35_run, signal))
        return q35_soft_fail(err, Q35_E_INVALID, "a run that is NULL or too short");
    if (r->flags & ~(uint32_t)Q35_RUN_GREEDY)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "run flags %#x", r->flags);
    st = soft_object_check(r->weights ? &r->weights->object : NULL, "weights", err);
    if (st)
        return st;
    if (r->weights->object.dev != dev || !r->weights->committed)
        return q35_soft_fail(err, Q35_E_INVALID, "weights not committed, or of another device");
    if (!r->count || r->first >= r->weights->layer_count ||
        r->count > r->weights->layer_count - r->first)
        return q35_soft_fail(err, Q35_E_INVALID, "layers %u + %u of %u", r->first, r->count,
                             r->weights->layer_count);
    if (!r->n_tokens || r->n_tokens > dev->max_batch)
        return q35_soft_fail(err, Q35_E_INVALID, "%u tokens, at most %u", r->n_tokens,
                             dev->max_batch);
    if (!r->tokens || r->token_stride < SOFT_UP_TO(struct q35_token, flags) || r->token_stride % 4)
        return q35_soft_fail(err, Q35_E_INVALID, "tokens are NULL or their stride is bad");
    return Q35_OK;
}

static enum q35_status check_kv(struct q35_device *dev, const struct q35_run *r,
                                struct q35_error *err)
{
    enum q35_status st = soft_object_check(r->kv ? &r->kv->object : NULL, "KV cache", err);
    if (!st && (r->kv->object.dev != dev || r->kv->weights != r->weights))
        st = q35_soft_fail(err, Q35_E_INVALID, "a KV cache of other weights");
    return st;
}

/* Checks everything of the run and finds its memory, changing nothing. */
static enum q35_status batch_init(struct soft_batch *b, struct q35_device *dev,
                                  const struct q35_run *r, float **in, float **out,
                                  struct q35_error *err)
{
    const struct soft_layer *first = &r->weights->layers[r->first], *last = first + r->count - 1;
    uint64_t row = 4 * (uint64_t)first->desc.d_model, i, out_bytes = row * r->n_tokens;
    enum q35_status st = Q35_OK;
    bool greedy;

    memset(b, 0, sizeof(*b));
    b->dev = dev;
    b->s = &dev->scratch;
    b->kv = r->kv;
    b->tokens = (const uint8_t *)r->tokens;
    b->token_stride = r->token_stride;
    b->n_tokens = r->n_tokens;
    for (i = 0; i < r->n_tokens; i++) {
        const struct q35_token *t = soft_token(b, (uint32_t)i);
        b->n_logits += (t->flags & Q35_TOKEN_LOGITS) != 0;
        if (first->desc.kind == Q35_LAYER_EMBED &&
            (t->id < 0 || (uint32_t)t->id >= first->desc.vocab))
            return q35_soft_fail(err, Q35_E_INVALID, "token %llu: id %d of a vocabulary of %u",
                                 (unsigned long long)i, (int)t->id, first->desc.vocab);
    }
    greedy = last->desc.kind == Q35_LAYER_HEAD && (r->flags & Q35_RUN_GREEDY);
    if (last->desc.kind == Q35_LAYER_HEAD)
        out_bytes = 4 * (greedy ? 1 : (uint64_t)last->desc.vocab) * b->n_logits;
    if (first->desc.kind != Q35_LAYER_EMBED)
        st = resolve(dev, &r->in, row * r->n_tokens, "in", in, err);
    if (!st)
        st = resolve(dev, &r->out, out_bytes, "out", out, err);
    b->logits = greedy ? NULL : *out;
    b->ids = greedy ? (uint32_t *)(void *)*out : NULL;
    return st;
}

static bool has_decoder(const struct q35_run *r)
{
    uint32_t i;
    for (i = 0; i < r->count; i++)
        if (r->weights->layers[r->first + i].desc.kind == Q35_LAYER_DECODER)
            return true;
    return false;
}

/* The computation itself; *err is the submit's result. */
static void execute(struct soft_batch *b, const struct q35_run *r, const float *in, float *out,
                    struct q35_error *err)
{
    const struct soft_layer *layers = r->weights->layers + r->first;
    uint64_t bytes = 4 * (uint64_t)layers[0].desc.d_model * b->n_tokens;
    uint32_t i;

    for (i = 0; i < b->n_tokens; i++)
        b->s->positions[i] = soft_token(b, i)->position;
    if (in)
        memcpy(b->s->x, in, bytes);
    for (i = 0; i < r->count; i++) {
        enum q35_status st;
        if (soft_timeline_cancelled(&b->dev->time, r->signal)) {
            q35_soft_fail(err, Q35_E_CANCELLED, "cancelled before layer %d",
                          (int)layers[i].desc.index);
            err->layer = layers[i].desc.index;
            return;
        }
        st = soft_exec_layer(b, &layers[i], err);
        if (st) {
            err->status = (int32_t)st;
            err->layer = layers[i].desc.index;
            if (err->radius >= Q35_RADIUS_DEVICE_LOST)
                b->dev->lost = true;
            return;
        }
    }
    if (layers[r->count - 1].desc.kind != Q35_LAYER_HEAD)
        memcpy(out, b->s->x, bytes);
    err->status = Q35_OK;
}

enum q35_status q35_soft_run_layers(struct q35_device *dev, const struct q35_run *run,
                                    struct q35_error *err)
{
    struct q35_error result = Q35_ERROR_INIT;
    struct soft_batch b;
    float *in = NULL, *out = NULL;
    enum q35_status st = check_run(dev, run, err);
    bool kv;

    if (st)
        return st;
    kv = has_decoder(run);
    st = batch_init(&b, dev, run, &in, &out, err);
    if (!st && kv)
        st = check_kv(dev, run, err);
    if (!st && kv)
        st = soft_kv_admit(run->kv, &b, run->first, run->count, err);
    if (!st)
        st = soft_scratch_carve(&dev->scratch, &run->weights->dims, run->n_tokens, err);
    if (!st)
        st = soft_timeline_check(&dev->time, run->signal, err);
    if (!st && kv)
        st = soft_kv_reserve(run->kv, err);
    if (st)
        return st;
    execute(&b, run, in, out, &result);
    soft_timeline_complete(&dev->time, run->signal, &result);
    return Q35_OK;
}
