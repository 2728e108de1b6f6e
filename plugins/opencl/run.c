/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* run_layers: checks, transfers, and layers queued a little ahead of the device. */

#include <string.h>

#include "opencl.h"

enum { AHEAD = 3 }; /* layers in the queue: so long does a cancel take */

static enum q35_status check_run(struct q35_device *dev, const struct q35_run *r,
                                 struct q35_error *err)
{
    const uint32_t least = offsetof(struct q35_token, flags) + sizeof(uint32_t);
    enum q35_status st;
    if (!r || !Q35_HAS(r, struct q35_run, signal))
        return ocl_fail(err, Q35_E_INVALID, "a run that is NULL or too short");
    if (r->flags & ~(uint32_t)Q35_RUN_GREEDY)
        return ocl_fail(err, Q35_E_UNSUPPORTED, "run flags 0x%x", r->flags);
    st = ocl_object_check(r->weights ? &r->weights->object : NULL, dev, "weights", err);
    if (st)
        return st;
    if (!r->weights->committed)
        return ocl_fail(err, Q35_E_INVALID, "weights that are not committed");
    if (!r->count || r->first >= r->weights->layer_count ||
        r->count > r->weights->layer_count - r->first)
        return ocl_fail(err, Q35_E_INVALID, "layers %u + %u of %u", r->first, r->count,
                        r->weights->layer_count);
    if (!r->n_tokens || r->n_tokens > MAX_BATCH)
        return ocl_fail(err, Q35_E_INVALID, "%u tokens, at most %d", r->n_tokens, MAX_BATCH);
    if (!r->tokens || r->token_stride < least || r->token_stride % 4)
        return ocl_fail(err, Q35_E_INVALID, "tokens are NULL or their stride is bad");
    if (r->signal <= dev->time.completed)
        return ocl_fail(err, Q35_E_INVALID, "signal %llu does not ascend, the last was %llu",
                        (unsigned long long)r->signal, (unsigned long long)dev->time.completed);
    return Q35_OK;
}

static enum q35_status check_span(struct q35_device *dev, const struct q35_span *s, uint64_t bytes,
                                  const char *what, struct q35_error *err)
{
    enum q35_status st;
    if (!bytes)
        return Q35_OK;
    if (s->bytes < bytes)
        return ocl_fail(err, Q35_E_INVALID, "%s has %llu bytes, needs %llu", what,
                        (unsigned long long)s->bytes, (unsigned long long)bytes);
    if (s->host)
        return (uintptr_t)s->host % sizeof(float)
                   ? ocl_fail(err, Q35_E_INVALID, "%s is not aligned", what)
                   : Q35_OK;
    st = ocl_object_check(s->buffer ? &s->buffer->object : NULL, dev, what, err);
    if (!st && (s->offset % sizeof(float) || s->offset > s->buffer->bytes ||
                s->bytes > s->buffer->bytes - s->offset))
        st = ocl_fail(err, Q35_E_INVALID, "%s runs beyond its buffer", what);
    return st;
}

/* Bytes of the input and the output; checks ids and counts logits. */
static enum q35_status measure(struct ocl_batch *b, const struct q35_run *r, uint64_t *in,
                               uint64_t *out, struct q35_error *err)
{
    const struct ocl_layer *first = &r->weights->layers[r->first], *last = first + r->count - 1;
    uint64_t hidden = 4 * (uint64_t)first->desc.d_model * r->n_tokens;
    uint32_t i;
    for (i = 0; i < r->n_tokens; i++) {
        const struct q35_token *t = ocl_token(r, i);
        b->n_logits += (t->flags & Q35_TOKEN_LOGITS) != 0;
        if (first->desc.kind == Q35_LAYER_EMBED &&
            (t->id < 0 || (uint32_t)t->id >= first->desc.vocab))
            return ocl_fail(err, Q35_E_INVALID, "token %u: id %d of a vocabulary of %u", i,
                            (int)t->id, first->desc.vocab);
    }
    *in = first->desc.kind == Q35_LAYER_EMBED ? 0 : hidden;
    b->greedy = last->desc.kind == Q35_LAYER_HEAD && r->flags & Q35_RUN_GREEDY;
    *out = hidden;
    if (last->desc.kind == Q35_LAYER_HEAD)
        *out = 4 * (b->greedy ? 1 : (uint64_t)last->desc.vocab) * b->n_logits;
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

/* Between a span and device memory, `at` bytes into the span. */
static void move_in(struct ocl_batch *b, const struct q35_span *s, uint64_t bytes)
{
    cl_command_queue q = b->dev->queue;
    cl_mem x = b->dev->parts[P_X];
    if (!b->code && bytes)
        b->code =
            s->host ? clEnqueueWriteBuffer(q, x, CL_FALSE, 0, bytes, s->host, 0, NULL, NULL)
                    : clEnqueueCopyBuffer(q, s->buffer->mem, x, s->offset, 0, bytes, 0, NULL, NULL);
}

static void move_out(struct ocl_batch *b, cl_mem from, const struct q35_span *s, uint64_t at,
                     uint64_t bytes)
{
    cl_command_queue q = b->dev->queue;
    if (!b->code && bytes)
        b->code = s->host ? clEnqueueReadBuffer(q, from, CL_FALSE, 0, bytes,
                                                (uint8_t *)s->host + at, 0, NULL, NULL)
                          : clEnqueueCopyBuffer(q, from, s->buffer->mem, 0, s->offset + at, bytes,
                                                0, NULL, NULL);
}

/* Token ids, positions, pages, rows of the table, and which tokens want logits. */
static void send_meta(struct ocl_batch *b, const struct q35_run *r)
{
    uint32_t *ids = b->dev->meta, *positions = ids + b->n, *pages = positions + b->n;
    uint32_t *rows = pages + b->n, *logits = rows + b->n, i, k = 0;
    memset(ids, 0, 5 * (size_t)b->n * sizeof(*ids));
    for (i = 0; i < b->n; i++) {
        const struct q35_token *t = ocl_token(r, i);
        ids[i] = (uint32_t)t->id;
        positions[i] = t->position;
        if (t->flags & Q35_TOKEN_LOGITS)
            logits[k++] = i;
    }
    if (b->kv)
        b->code = ocl_kv_send(b->kv, r, pages, rows);
    if (!b->code)
        b->code = clEnqueueWriteBuffer(b->dev->queue, b->dev->parts[P_META], CL_FALSE, 0,
                                       20 * (uint64_t)b->n, ids, 0, NULL, NULL);
}

static void head(struct ocl_batch *b, const struct ocl_layer *l, const struct q35_span *out)
{
    uint64_t row = 4 * (uint64_t)l->desc.vocab;
    uint32_t first, n;
    for (first = 0; first < b->n_logits; first += n) {
        n = b->n_logits - first < MOST_TOKENS ? b->n_logits - first : MOST_TOKENS;
        ocl_exec_head(b, l, first, n);
        if (b->greedy)
            ocl_exec_greedy(b, l, first, n);
        else
            move_out(b, b->dev->parts[P_OUT], out, first * row, n * row);
    }
    if (b->greedy)
        move_out(b, b->dev->parts[P_BEST], out, 0, 4 * (uint64_t)b->n_logits);
}

/* Queues all layers, at most AHEAD before the device; false if a cancel came. */
static bool queue_layers(struct ocl_batch *b, const struct q35_run *r, struct q35_error *result)
{
    const struct ocl_layer *layers = r->weights->layers + r->first;
    cl_event marks[AHEAD] = {NULL};
    bool cancelled = false;
    uint32_t i;

    for (i = 0; i < r->count && !b->code && !cancelled; i++) {
        cl_event *mark = &marks[i % AHEAD];
        if (*mark) {
            b->code = clWaitForEvents(1, mark);
            clReleaseEvent(*mark);
            *mark = NULL;
        }
        cancelled = r->signal <= atomic_load(&b->dev->time.cancelled);
        if (cancelled || b->code)
            break;
        if (layers[i].desc.kind == Q35_LAYER_EMBED)
            ocl_exec_embed(b, &layers[i]);
        else if (layers[i].desc.kind == Q35_LAYER_DECODER)
            ocl_exec_decoder(b, &layers[i]);
        else
            head(b, &layers[i], &r->out);
        if (!b->code)
            b->code = clEnqueueMarkerWithWaitList(b->dev->queue, 0, NULL, mark);
        if (!b->code)
            b->code = clFlush(b->dev->queue);
        result->layer = layers[i].desc.index;
    }
    if (cancelled) {
        ocl_fail(result, Q35_E_CANCELLED, "cancelled before layer %d", (int)layers[i].desc.index);
        result->layer = layers[i].desc.index;
    }
    for (i = 0; i < AHEAD; i++)
        if (marks[i])
            clReleaseEvent(marks[i]);
    return !cancelled;
}

/* The computation itself; *result is the submit's. */
static void execute(struct ocl_batch *b, const struct q35_run *r, uint64_t in, uint64_t out,
                    struct q35_error *result)
{
    const struct ocl_layer *last = &r->weights->layers[r->first + r->count - 1];
    cl_int finished;
    bool complete;

    b->dev->rope_of = NULL;
    move_in(b, &r->in, in);
    if (!b->code)
        send_meta(b, r);
    complete = queue_layers(b, r, result);
    if (complete && last->desc.kind != Q35_LAYER_HEAD)
        move_out(b, b->dev->parts[P_X], &r->out, 0, out);
    finished = clFinish(b->dev->queue); /* also after an error: memory of the host is in use */
    b->code = b->code ? b->code : finished;
    if (b->code) {
        int32_t layer = result->layer;
        ocl_status(result, b->code, b->what ? b->what : "running layers");
        result->layer = layer;
        b->dev->lost |= result->radius >= Q35_RADIUS_DEVICE_LOST;
    } else if (complete) {
        result->status = Q35_OK;
    }
}

enum q35_status ocl_run_layers(struct q35_device *dev, const struct q35_run *run,
                               struct q35_error *err)
{
    struct q35_error result = Q35_ERROR_INIT;
    struct ocl_batch b = {.dev = dev, .code = CL_SUCCESS};
    uint64_t in = 0, out = 0;
    enum q35_status st = check_run(dev, run, err);

    if (!st)
        st = ocl_room(err);
    if (st)
        return st;
    b.n = run->n_tokens;
    st = measure(&b, run, &in, &out, err);
    if (!st)
        st = check_span(dev, &run->in, in, "in", err);
    if (!st)
        st = check_span(dev, &run->out, out, "out", err);
    if (!st && has_decoder(run)) {
        b.kv = run->kv;
        st = ocl_object_check(b.kv ? &b.kv->object : NULL, dev, "KV cache", err);
        if (!st && b.kv->weights != run->weights)
            st = ocl_fail(err, Q35_E_INVALID, "a KV cache of other weights");
        if (!st)
            st = ocl_kv_admit(b.kv, run, err);
    }
    if (!st)
        st = ocl_scratch_reserve(dev, &run->weights->dims, run->n_tokens, err);
    if (!st && b.kv)
        st = ocl_kv_reserve(b.kv, err);
    if (st)
        return st;
    execute(&b, run, in, out, &result);
    ocl_time_complete(&dev->time, run->signal, &result);
    return Q35_OK;
}
