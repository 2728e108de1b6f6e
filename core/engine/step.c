/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/step.h"

#include <string.h>

#define MAX_TOP_LOGPROBS 20

static void leave(struct q35_engine *e, struct q35_request *r, enum q35_finish finish,
                  const struct q35_error *error)
{
    q35_slot_leave(e, r);
    e->stats.running--;
    q35_request_end(e, r, finish, error);
}

static void drop_cancelled(struct q35_engine *e)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        if (r && r->cancelled)
            leave(e, r, Q35_FINISH_CANCELLED, NULL);
    }
}

/* Adds up to `room` tokens of r to the batch; logits only for its last known token. */
static uint32_t add_tokens(struct q35_engine *e, struct q35_request *r, uint32_t at, uint32_t room,
                           uint32_t *rows)
{
    uint32_t n = r->length - r->done, i;
    n = n > room ? room : n;
    for (i = 0; i < n; i++) {
        struct q35_token *t = &e->batch[at + i];
        t->id = r->tokens[r->done + i];
        t->sequence = r->slot;
        t->position = r->done + i;
        t->flags = 0;
    }
    r->batch_tokens = n;
    r->batch_at = UINT32_MAX;
    if (n && r->done + n == r->length) {
        e->batch[at + n - 1].flags = Q35_TOKEN_LOGITS;
        r->batch_at = (*rows)++;
        e->greedy = e->greedy && r->greedy;
    }
    return n;
}

/* Decoding requests come first, one token each; prompts share what room is left, a chunk each. */
static uint32_t form_batch(struct q35_engine *e, const struct q35_request *only)
{
    uint32_t pass, i, n = 0, rows = 0;
    e->greedy = e->stages.greedy;
    for (i = 0; i < e->max_sequences; i++)
        if (e->slots[i].request)
            e->slots[i].request->batch_tokens = 0;
    for (pass = 0; pass < 2; pass++)
        for (i = 0; i < e->max_sequences; i++) {
            struct q35_request *r = e->slots[i].request;
            bool decoding;
            if (!r || (only && r != only))
                continue;
            decoding = r->length - r->done == 1;
            if (decoding == (pass == 0))
                n += add_tokens(e, r, n, e->stages.max_batch - n, &rows);
        }
    e->greedy = e->greedy && rows;
    return n;
}

/* Samples r's next token and tells. Returns what ends the request, or NONE. */
static enum q35_finish next_token(struct q35_engine *e, struct q35_request *r)
{
    uint32_t vocab = q35_model_params(e->model)->vocab;
    const float *logits = e->logits + (uint64_t)r->batch_at * vocab; /* [vocab] */
    struct q35_logprob chosen, top[MAX_TOP_LOGPROBS];
    struct q35_event ev = {.cached_tokens = r->cached};
    if (e->greedy) {
        ev.token = (int32_t)e->ids[r->batch_at];
    } else {
        memcpy(e->scratch, logits, (size_t)vocab * 4);
        ev.token = q35_sampler_next(r->sampler, e->scratch);
    }
    q35_sampler_accept(r->sampler, ev.token);
    r->tokens[r->length++] = ev.token;
    if (!r->p.ignore_end && r->p.is_end && r->p.is_end(r->p.user, ev.token))
        return Q35_FINISH_END;
    if (r->p.logprobs) {
        ev.n_top = r->p.top_logprobs > MAX_TOP_LOGPROBS ? MAX_TOP_LOGPROBS : r->p.top_logprobs;
        ev.n_top = ev.n_top > vocab ? vocab : ev.n_top;
        q35_logprobs(logits, vocab, ev.token, &chosen, top, ev.n_top);
        ev.logprob = &chosen;
        ev.top = top;
    }
    ev.time_ns = q35_now_ns();
    r->p.event(r->p.user, &ev);
    return r->length == r->limit ? Q35_FINISH_LENGTH : Q35_FINISH_NONE;
}

/* The batch has run: its KV counts, tokens come out, without the mutex while callbacks work. */
static void deliver(struct q35_engine *e)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        enum q35_finish finish = Q35_FINISH_NONE;
        struct slot *s = &e->slots[i];
        if (!r || !r->batch_tokens)
            continue;
        memcpy(s->tokens + r->done, r->tokens + r->done, r->batch_tokens * sizeof(*s->tokens));
        r->done += r->batch_tokens;
        s->length = r->done;
        if (r->batch_at == UINT32_MAX || r->cancelled)
            continue;
        pthread_mutex_unlock(&e->mutex);
        finish = next_token(e, r);
        pthread_mutex_lock(&e->mutex);
        e->stats.output_tokens += finish != Q35_FINISH_END;
        e->stats.device_tokens += finish != Q35_FINISH_END && e->greedy;
        if (finish != Q35_FINISH_NONE)
            leave(e, r, finish, NULL);
    }
}

static enum q35_status run_batch(struct q35_engine *e, uint32_t n, struct q35_error *err)
{
    enum q35_status st;
    pthread_mutex_unlock(&e->mutex);
    st = q35_stages_run(&e->stages, e->model, e->batch, n, e->greedy ? NULL : e->logits,
                        e->greedy ? e->ids : NULL, err);
    pthread_mutex_lock(&e->mutex);
    return st;
}

/* A batch failed although no device is lost: each request runs alone, so only the cause of the
 * failure ends. */
static enum q35_status run_one_by_one(struct q35_engine *e)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        struct q35_error err = Q35_ERROR_INIT;
        enum q35_status st;
        uint32_t n;
        if (!r)
            continue;
        n = form_batch(e, r);
        st = run_batch(e, n, &err);
        if (st == Q35_E_DEVICE_LOST)
            return st;
        if (st == Q35_OK) {
            deliver(e);
        } else {
            e->slots[i].length = 0;
            leave(e, r, Q35_FINISH_ERROR, &err);
        }
    }
    return Q35_OK;
}

enum q35_status q35_step(struct q35_engine *e)
{
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st;
    uint32_t n;
    drop_cancelled(e);
    n = form_batch(e, NULL);
    if (!n)
        return Q35_OK;
    st = run_batch(e, n, &err);
    if (st == Q35_OK)
        deliver(e);
    else if (st != Q35_E_DEVICE_LOST)
        st = run_one_by_one(e);
    return st;
}

enum q35_status q35_engine_eval(struct q35_engine *e, const int32_t *tokens, uint32_t n,
                                uint32_t start, float *logits, struct q35_error *err)
{
    uint32_t vocab = q35_model_params(e->model)->vocab, at, i, chunk;
    enum q35_status st = Q35_OK;
    if ((uint64_t)start + n > e->context)
        return q35_fail(err, Q35_E_CAPACITY, "%u tokens exceed the context of %u", start + n,
                        e->context);
    pthread_mutex_lock(&e->mutex);
    if (e->stats.running || e->waiting)
        st = q35_fail(err, Q35_E_BUSY, "requests are running");
    for (at = 0; st == Q35_OK && at < n; at += chunk) {
        chunk = n - at > e->stages.max_batch ? e->stages.max_batch : n - at;
        for (i = 0; i < chunk; i++) {
            const struct q35_token t = {tokens[at + i], 0, start + at + i,
                                        logits ? Q35_TOKEN_LOGITS : 0u};
            e->batch[i] = t;
        }
        st = q35_stages_run(&e->stages, e->model, e->batch, chunk,
                            logits ? logits + (uint64_t)at * vocab : NULL, NULL, err);
    }
    e->slots[0].length = 0;
    pthread_mutex_unlock(&e->mutex);
    return st;
}
