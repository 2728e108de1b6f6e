/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* supports, plan and run_layers. */

#include "impl.h"

enum q35_status cuda_supports(struct q35_device *dev, const struct q35_layer *layer,
                              struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer own;
    enum q35_status st = soft_layer_read(layer, CUDA_FEATURES, &own, tensors, err);
    if (st || own.kind != Q35_LAYER_DECODER)
        return st;
    if (own.head_dim > Q35_CU_MAX_HEAD_DIM ||
        q35_cu_attn_shared(own.head_dim, Q35_KV_F16) > dev->limits.shared_per_block)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "layer %d: heads of %u values are too wide",
                             (int)own.index, own.head_dim);
    return Q35_OK;
}

static enum q35_status plan_layers(struct q35_device *dev, const struct q35_plan_request *r,
                                   uint32_t kv_type, struct cuda_dims *dims, uint64_t *weights,
                                   uint64_t *page_bytes, struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer l;
    uint32_t i, role;
    for (i = 0; i < r->layer_count; i++) {
        const void *in = (const uint8_t *)r->layers + (uint64_t)i * r->layer_stride;
        enum q35_status st = soft_layer_read(in, CUDA_FEATURES, &l, tensors, err);
        if (!st)
            st = cuda_supports(dev, in, err);
        if (st)
            return st;
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            cuda_place(*weights, &tensors[role], weights);
        cuda_dims_add(dims, &l, tensors);
        *page_bytes += soft_layer_page_bytes(&l, kv_type);
    }
    *weights = cuda_rounded(*weights + CUDA_WEIGHTS_TAIL);
    return Q35_OK;
}

enum q35_status cuda_plan(struct q35_device *dev, const struct q35_plan_request *request,
                          struct q35_plan_result *result, struct q35_error *err)
{
    struct q35_plan_result own = {.size = sizeof(own)};
    const struct q35_plan_request *r = request;
    struct cuda_dims dims = {0};
    uint64_t page_bytes = 0, pages = 1;
    uint32_t size = result ? result->size : 0, type;
    enum q35_status st;

    if (!r || !result || !Q35_HAS(r, struct q35_plan_request, layers) || !r->layers ||
        !r->layer_count || r->layer_stride < offsetof(struct q35_layer, tensors) + sizeof(void *))
        return q35_soft_fail(err, Q35_E_INVALID, "a plan request without layers");
    if (r->max_batch > CUDA_MAX_BATCH || r->max_sequences > CUDA_MAX_SEQUENCES)
        return q35_soft_fail(err, Q35_E_CAPACITY, "batch %u of at most %u, sequences %u of %u",
                             r->max_batch, CUDA_MAX_BATCH, r->max_sequences, CUDA_MAX_SEQUENCES);
    type = Q35_HAS(r, struct q35_plan_request, kv_type) ? r->kv_type : Q35_KV_F16;
    if (type >= CUDA_KV_TYPES)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "a KV cache of type %u", type);
    st = plan_layers(dev, r, type, &dims, &own.weight_bytes, &page_bytes, err);
    if (st)
        return st;
    if (page_bytes && r->kv_tokens && r->max_sequences) {
        pages = soft_pages_count(r->kv_tokens, r->max_sequences);
        own.kv_bytes = cuda_kv_pool_bytes(pages, page_bytes);
        if (!own.kv_bytes)
            return q35_soft_fail(err, Q35_E_CAPACITY, "a KV cache of %u tokens overflows",
                                 r->kv_tokens);
        own.kv_token_bytes = page_bytes / Q35_ATTN_BLOCK;
    }
    own.scratch_bytes = cuda_scratch_bytes(dev, &dims, r->max_batch, pages);
    if (size > sizeof(own))
        size = sizeof(own);
    own.size = result->size;
    memcpy(result, &own, size);
    return Q35_OK;
}

/* ---- run_layers: arguments ------------------------------------------------------------------ */

static enum q35_status check_span(struct q35_device *dev, const struct q35_span *s, uint64_t bytes,
                                  const char *what, struct q35_error *err)
{
    if (!bytes)
        return Q35_OK;
    if (!s->host && s->buffer) {
        enum q35_status st = cuda_object_check(&s->buffer->object, "buffer", err);
        if (st)
            return st;
        if (s->buffer->object.dev->cu != dev->cu)
            return q35_soft_fail(err, Q35_E_INVALID, "%s is a buffer of another driver", what);
        if (s->offset > s->buffer->bytes || s->bytes > s->buffer->bytes - s->offset)
            return q35_soft_fail(err, Q35_E_INVALID, "%s runs beyond its buffer", what);
    }
    if ((!s->host && !s->buffer) || (s->host && (uintptr_t)s->host % sizeof(float)) ||
        (!s->host && s->offset % sizeof(float)))
        return q35_soft_fail(err, Q35_E_INVALID, "%s is NULL or not aligned", what);
    if (s->bytes < bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "%s has %llu bytes, needs %llu", what,
                             (unsigned long long)s->bytes, (unsigned long long)bytes);
    return Q35_OK;
}

static enum q35_status check_run(struct q35_device *dev, const struct q35_run *r,
                                 struct q35_error *err)
{
    enum q35_status st;
    if (atomic_load(&dev->lost))
        return cuda_lost(err);
    if (!r || !Q35_HAS(r, struct q35_run, signal))
        return q35_soft_fail(err, Q35_E_INVALID, "a run that is NULL or too short");
    st = cuda_object_check(r->weights ? &r->weights->object : NULL, "weights", err);
    if (st)
        return st;
    if (r->weights->object.dev != dev || !r->weights->committed)
        return q35_soft_fail(err, Q35_E_INVALID, "weights not committed, or of another device");
    if (!r->count || r->first >= r->weights->layer_count ||
        r->count > r->weights->layer_count - r->first)
        return q35_soft_fail(err, Q35_E_INVALID, "layers %u + %u of %u", r->first, r->count,
                             r->weights->layer_count);
    if (!r->n_tokens || r->n_tokens > CUDA_MAX_BATCH)
        return q35_soft_fail(err, Q35_E_INVALID, "%u tokens, at most %u", r->n_tokens,
                             CUDA_MAX_BATCH);
    if (r->flags & ~(uint32_t)Q35_RUN_GREEDY)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "run flags %#x", r->flags);
    if (!r->tokens || r->token_stride < sizeof(struct q35_token) || r->token_stride % 4)
        return q35_soft_fail(err, Q35_E_INVALID, "tokens are NULL or their stride is bad");
    return Q35_OK;
}

static bool has_decoder(const struct q35_run *r)
{
    uint32_t i;
    for (i = 0; i < r->count; i++)
        if (r->weights->layers[r->first + i].desc.kind == Q35_LAYER_DECODER)
            return true;
    return false;
}

static enum q35_status check_kv(struct q35_device *dev, const struct q35_run *r,
                                struct q35_error *err)
{
    enum q35_status st = cuda_object_check(r->kv ? &r->kv->object : NULL, "KV cache", err);
    if (!st && (r->kv->object.dev != dev || r->kv->weights != r->weights))
        st = q35_soft_fail(err, Q35_E_INVALID, "a KV cache of other weights");
    return st;
}

/* What the run is made of, apart from its memory. */
struct shape {
    const struct cuda_layer *first, *last;
    bool kv, graph;
    uint64_t in_bytes, out_bytes, header_bytes, table_at, pieces_at, rows_at;
};

/* Tokens of one sequence that follow each other, at most Q35_CU_ATTN_TOKENS. */
static void count_pieces(struct cuda_batch *b)
{
    uint32_t i, count = 0;
    for (i = 0; i < b->n_tokens; i++) {
        bool goes_on = i && count < Q35_CU_ATTN_TOKENS &&
                       cuda_token(b->run, i)->sequence == cuda_token(b->run, i - 1)->sequence;
        count = goes_on ? count + 1 : 1;
        b->n_pieces += !goes_on;
        if (count > b->max_count)
            b->max_count = count;
    }
}

/* Checks everything of the run, changing nothing but the KV's notes about it. */
static enum q35_status inspect(struct cuda_batch *b, struct shape *s, struct q35_error *err)
{
    const struct q35_run *r = b->run;
    enum q35_status st = Q35_OK;
    uint64_t row;
    uint32_t i;
    s->first = &r->weights->layers[r->first];
    s->last = s->first + r->count - 1;
    s->kv = has_decoder(r);
    row = 4 * (uint64_t)s->first->desc.d_model;
    for (i = 0; i < r->n_tokens; i++) {
        const struct q35_token *t = cuda_token(r, i);
        b->n_logits += (t->flags & Q35_TOKEN_LOGITS) != 0;
        if (s->first->desc.kind == Q35_LAYER_EMBED &&
            (t->id < 0 || (uint32_t)t->id >= s->first->desc.vocab))
            return q35_soft_fail(err, Q35_E_INVALID, "token %u: id %d of a vocabulary of %u", i,
                                 (int)t->id, s->first->desc.vocab);
    }
    s->in_bytes = s->first->desc.kind == Q35_LAYER_EMBED ? 0 : row * r->n_tokens;
    b->greedy = r->flags & Q35_RUN_GREEDY;
    s->out_bytes = row * r->n_tokens;
    if (s->last->desc.kind == Q35_LAYER_HEAD)
        s->out_bytes = 4 * (uint64_t)(b->greedy ? 1 : s->last->desc.vocab) * b->n_logits;
    st = check_span(b->dev, &r->in, s->in_bytes, "in", err);
    if (!st)
        st = check_span(b->dev, &r->out, s->out_bytes, "out", err);
    if (!st && s->kv)
        st = check_kv(b->dev, r, err);
    if (!st && s->kv)
        st = cuda_kv_admit(r->kv, r, err);
    return st;
}

static void lay_out(struct cuda_batch *b, struct shape *s)
{
    const struct soft_pages *p = s->kv ? &b->run->kv->pages : NULL;
    uint32_t i;
    count_pieces(b);
    b->active = p ? p->active_count : 0;
    for (i = 0; i < b->active; i++) {
        uint32_t blocks = soft_pages_blocks(p->rows[p->active[i]].end);
        b->max_pages = blocks > b->max_pages ? blocks : b->max_pages;
    }
    s->graph =
        b->dev->use_graphs && s->kv && b->n_pieces == b->n_tokens && b->n_tokens <= CUDA_LOGITS;
    if (s->graph) /* so that not every 64 tokens want a graph of their own */
        while (b->max_pages & (b->max_pages - 1))
            b->max_pages++;
    s->pieces_at = sizeof(struct q35_token) * b->n_tokens;
    s->rows_at = s->pieces_at + sizeof(struct q35_cu_piece) * b->n_pieces;
    s->table_at = s->rows_at + 4 * (uint64_t)b->n_logits;
    s->header_bytes = s->table_at + 4 * (uint64_t)b->active * b->max_pages;
    s->header_bytes = (s->header_bytes + CUDA_ALIGNMENT - 1) & ~(uint64_t)(CUDA_ALIGNMENT - 1);
}

/* All memory of the run. Nothing has changed if it fails. */
static enum q35_status reserve(struct cuda_batch *b, const struct shape *s, struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    uint64_t header = 4096;
    enum q35_status st = cuda_pinned_reserve(
        dev, &b->slot->head, s->header_bytes + (b->run->in.host ? s->in_bytes : 0), err);
    while (header < s->header_bytes)
        header *= 2;
    if (!st && b->run->out.host)
        st = cuda_pinned_reserve(dev, &b->slot->result, s->out_bytes, err);
    if (!st)
        st = cuda_block_reserve(dev, &dev->header, header, "allocating page tables", err);
    if (!st)
        st = cuda_scratch_carve(b, &b->run->weights->dims, err);
    if (!st && s->kv)
        st = cuda_kv_reserve(b->run->kv, err);
    b->tokens = dev->header.at;
    b->pieces = b->tokens + s->pieces_at;
    b->rows = b->tokens + s->rows_at;
    b->table = b->tokens + s->table_at;
    return st;
}

/* ---- run_layers: submission ----------------------------------------------------------------- */

/* What the kernels read about the batch, into pinned memory. */
static void fill_header(struct cuda_batch *b, const struct shape *s)
{
    uint8_t *head = b->slot->head.data;
    struct q35_token *tokens = (void *)head;
    struct q35_cu_piece *pieces = (void *)(head + s->pieces_at);
    uint32_t *rows = (void *)(head + s->rows_at), *table = (void *)(head + s->table_at);
    const struct soft_pages *kv = s->kv ? &b->run->kv->pages : NULL;
    uint32_t i, p, n = 0, logits = 0;
    for (i = 0; i < b->n_tokens; i++) {
        const struct q35_token *t = cuda_token(b->run, i);
        tokens[i] = *t;
        if (kv)
            tokens[i].sequence = kv->rows[t->sequence].index;
        if (t->flags & Q35_TOKEN_LOGITS)
            rows[logits++] = i;
        if (i && pieces[n - 1].count < Q35_CU_ATTN_TOKENS &&
            t->sequence == cuda_token(b->run, i - 1)->sequence)
            pieces[n - 1].count++;
        else
            pieces[n++] = (struct q35_cu_piece){i, 1};
    }
    for (i = 0; i < b->active; i++) {
        const uint32_t *from = soft_pages_of(kv, kv->active[i]);
        uint32_t blocks = soft_pages_blocks(kv->rows[kv->active[i]].end);
        for (p = 0; p < b->max_pages; p++)
            table[(uint64_t)i * b->max_pages + p] = p < blocks ? from[p] - 1 : 0;
    }
}

static enum q35_status enqueue_in(struct cuda_batch *b, const struct shape *s,
                                  struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    uint8_t *head = b->slot->head.data;
    const struct q35_span *in = &b->run->in;
    enum q35_status st;
    fill_header(b, s);
    st = cuda_check(dev,
                    dev->cu->MemcpyHtoDAsync(dev->header.at, head, s->header_bytes, dev->stream),
                    "sending a batch", err);
    if (st || !s->in_bytes)
        return st;
    if (!in->host)
        return cuda_buffer_copy(dev, in->buffer, in->offset, b->s.x, s->in_bytes, true, err);
    memcpy(head + s->header_bytes, in->host, s->in_bytes);
    return cuda_check(
        dev, dev->cu->MemcpyHtoDAsync(b->s.x, head + s->header_bytes, s->in_bytes, dev->stream),
        "sending hidden states", err);
}

static enum q35_status cancelled(const struct cuda_layer *l, struct q35_error *err)
{
    q35_soft_fail(err, Q35_E_CANCELLED, "cancelled before layer %d", (int)l->desc.index);
    err->layer = l->desc.index;
    return Q35_E_CANCELLED;
}

/* Lets the device finish all but the last few layers, so that a cancel has something to stop. */
static enum q35_status keep_pace(struct q35_device *dev, uint32_t group, struct q35_error *err)
{
    enum q35_status st = cuda_check(dev, dev->cu->EventRecord(dev->pace[group % 2], dev->stream),
                                    "marking layers", err);
    if (st || !group)
        return st;
    return cuda_check(dev, dev->cu->EventSynchronize(dev->pace[(group + 1) % 2]), "running layers",
                      err);
}

static enum q35_status enqueue_layers(struct cuda_batch *b, const struct shape *s,
                                      struct q35_error *err)
{
    const struct q35_run *r = b->run;
    enum q35_status st = Q35_OK;
    uint32_t i;
    if (cuda_cancelled(b->dev, r->signal))
        return cancelled(s->first, err);
    if (s->graph) {
        st = cuda_graph_run(b, err);
        for (i = 0; i < r->count && !st; i++)
            if (s->first[i].desc.kind == Q35_LAYER_DECODER)
                soft_pages_advance(&r->kv->pages, s->first[i].kv_index);
        return st;
    }
    for (i = 0; i < r->count && !st; i++) {
        if (cuda_cancelled(b->dev, r->signal))
            return cancelled(&s->first[i], err);
        st = cuda_exec_layer(b, &s->first[i], err);
        if (st)
            err->layer = s->first[i].desc.index;
        else if (s->first[i].desc.kind == Q35_LAYER_DECODER)
            soft_pages_advance(&r->kv->pages, s->first[i].kv_index);
        if (!st && b->n_tokens >= CUDA_CANCEL_TOKENS && i % CUDA_CANCEL_LAYERS == 0)
            st = keep_pace(b->dev, i / CUDA_CANCEL_LAYERS, err);
    }
    return st;
}

/* From here on the run completes, with whatever comes of it. */
static void submit(struct cuda_batch *b, const struct shape *s)
{
    struct q35_device *dev = b->dev;
    struct cuda_slot *slot = b->slot;
    struct q35_error *err = &slot->err;
    enum q35_status st = enqueue_in(b, s, err);
    cu_result code;
    if (!st)
        st = enqueue_layers(b, s, err);
    if (!st && s->last->desc.kind != Q35_LAYER_HEAD)
        st = cuda_copy_out(b, b->s.x, 0, s->out_bytes, err);
    if (st)
        err->status = (int32_t)st;
    if (!st && b->run->out.host && s->out_bytes) {
        slot->out = b->run->out.host;
        slot->out_bytes = s->out_bytes;
    }
    code = dev->cu->EventRecord(slot->done, dev->stream);
    slot->recorded = !code;
    if (code && !st)
        (void)cuda_check(dev, code, "marking the end of a run", err);
    cuda_slot_submit(dev, slot, b->run->signal);
}

static enum q35_status check_signal(struct q35_device *dev, uint64_t value, struct q35_error *err)
{
    uint64_t last;
    pthread_mutex_lock(&dev->time.lock);
    last = dev->time.submitted;
    pthread_mutex_unlock(&dev->time.lock);
    if (value > last)
        return Q35_OK;
    return q35_soft_fail(err, Q35_E_INVALID, "signal %llu does not ascend, the last was %llu",
                         (unsigned long long)value, (unsigned long long)last);
}

enum q35_status cuda_run_layers(struct q35_device *dev, const struct q35_run *run,
                                struct q35_error *err)
{
    struct cuda_batch b = {.dev = dev, .run = run};
    struct shape s = {0};
    enum q35_status st = check_run(dev, run, err);
    if (st)
        return st;
    b.n_tokens = run->n_tokens;
    st = inspect(&b, &s, err);
    if (!st)
        st = check_signal(dev, run->signal, err);
    if (st)
        return st;
    if (!run->out.host && s.out_bytes) {
        b.out = run->out.buffer;
        b.out_offset = run->out.offset;
    }
    lay_out(&b, &s);
    cuda_enter(dev);
    b.slot = cuda_slot_take(dev);
    st = reserve(&b, &s, err);
    if (!st)
        submit(&b, &s);
    cuda_leave(dev);
    return st;
}
