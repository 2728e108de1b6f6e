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

/* Adds up to `room` tokens of r to the batch, and behind its last known token the guesses that were
 * given room before; logits for that token and for each guess. */
static uint32_t add_tokens(struct q35_engine *e, struct q35_request *r, uint32_t at, uint32_t room,
                           uint32_t *rows)
{
    uint32_t n = r->length - r->done, i;
    n = n > room ? room : n;
    r->batch_tokens = n;
    r->batch_at = UINT32_MAX;
    if (n && r->done + n == r->length) {
        r->batch_at = *rows;
        *rows += 1 + r->draft.take;
        n += r->draft.take;
        e->guesses += r->draft.take;
        e->greedy = e->greedy && r->greedy;
    }
    for (i = 0; i < n; i++) {
        struct q35_token *t = &e->batch[at + i];
        uint32_t p = r->done + i;
        t->id = p < r->length ? r->tokens[p] : r->draft.guess[p - r->length];
        t->sequence = r->slot;
        t->position = p;
        t->flags = p + 1 >= r->length ? Q35_TOKEN_LOGITS : 0;
    }
    return n;
}

/* Gives guesses what room a small batch leaves; none beside prompts, which would wait for them. */
static void share_room(struct q35_engine *e)
{
    struct q35_draft *drafts[Q35_DRAFT_MAX];
    uint32_t most[Q35_DRAFT_MAX], room = e->draft_tokens + 1, n = 0, i;
    room = room > e->stages.max_batch ? e->stages.max_batch : room;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        if (!r)
            continue;
        if (r->length - r->done != 1 || n + 1 >= room)
            return;
        drafts[n] = &r->draft;
        most[n++] = r->limit - r->length - 1;
    }
    if (n)
        q35_draft_share(&e->draft_cost, drafts, most, n, room - n);
}

/* The prompt that is due first, of those not in the batch yet; NULL: none. */
static struct q35_request *next_prompt(const struct q35_engine *e, const struct q35_request *only)
{
    struct q35_request *best = NULL;
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        if (r && (!only || r == only) && r->length - r->done != 1 && !r->batch_tokens &&
            (!best || r->due < best->due))
            best = r;
    }
    return best;
}

/* Decoding requests come first, one token and its guesses each; then prompts, as far as there is
 * room for them. */
static uint32_t form_batch(struct q35_engine *e, const struct q35_request *only)
{
    struct q35_request *r;
    uint32_t i, n = 0, rows = 0, end = e->stages.max_batch, decode;
    e->greedy = e->stages.greedy;
    e->guesses = 0;
    for (i = 0; i < e->max_sequences; i++)
        if (e->slots[i].request)
            e->slots[i].request->batch_tokens = e->slots[i].request->draft.take = 0;
    if (!only)
        share_room(e);
    for (i = 0; i < e->max_sequences; i++) {
        r = e->slots[i].request;
        if (r && (!only || r == only) && r->length - r->done == 1)
            n += add_tokens(e, r, n, end - n, &rows);
    }
    decode = n;
    if (n && n < end)
        end = n + q35_prompt_room(&e->prompt_cost, end - n);
    while (n < end && (r = next_prompt(e, only)) != NULL)
        n += add_tokens(e, r, n, end - n, &rows);
    e->prompt_tokens = n - decode;
    e->greedy = e->greedy && rows;
    e->decoding = n == decode;
    return n;
}

/* Samples r's next token from the logits behind `row` right guesses and tells. Returns what ends
 * the request, or NONE. */
static enum q35_finish next_token(struct q35_engine *e, struct q35_request *r, uint32_t row)
{
    uint32_t vocab = q35_model_params(e->model)->vocab;
    const float *logits = e->logits + ((uint64_t)r->batch_at + row) * vocab; /* [vocab] */
    struct q35_logprob chosen, top[MAX_TOP_LOGPROBS];
    struct q35_event ev = {.cached_tokens = r->cached, .drafted_tokens = r->drafted};
    if (e->greedy) {
        ev.token = (int32_t)e->ids[r->batch_at + row];
    } else {
        memcpy(e->scratch, logits, (size_t)vocab * 4);
        ev.token = q35_sampler_next(r->sampler, e->scratch);
    }
    q35_sampler_accept(r->sampler, ev.token);
    r->tokens[r->length++] = ev.token;
    q35_draft_push(&r->draft, r->tokens, r->length);
    if (!r->p.ignore_end && r->p.is_end && r->p.is_end(r->p.user, ev.token))
        return Q35_FINISH_END;
    r->accepted += row < r->draft.take && ev.token == r->draft.guess[row];
    ev.accepted_tokens = r->accepted;
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

/* The KV of r's next n tokens is there. */
static void computed(struct slot *s, struct q35_request *r, uint32_t n)
{
    memcpy(s->tokens + r->done, r->tokens + r->done, n * sizeof(*s->tokens));
    r->done += n;
    s->length = r->done;
}

/* Tokens of r come out, without the mutex while the callback works: the one that its own logits
 * give, and one more for each guess that was right. The KV behind a wrong guess is written over by
 * the next run, which begins there. */
static void next_tokens(struct q35_engine *e, struct slot *s, struct q35_request *r)
{
    uint32_t row = 0, accepted = r->accepted;
    enum q35_finish finish;
    for (;; row++) {
        pthread_mutex_unlock(&e->mutex);
        finish = next_token(e, r, row);
        pthread_mutex_lock(&e->mutex);
        e->stats.output_tokens += finish != Q35_FINISH_END;
        e->stats.device_tokens += finish != Q35_FINISH_END && e->greedy;
        if (finish != Q35_FINISH_NONE || r->cancelled || row == r->draft.take ||
            r->tokens[r->length - 1] != r->draft.guess[row])
            break;
        computed(s, r, 1);
    }
    e->stats.accepted_tokens += r->accepted - accepted;
    if (finish != Q35_FINISH_NONE)
        leave(e, r, finish, NULL);
    else
        q35_draft_guess(&r->draft, r->tokens, r->length);
}

/* The batch has run: its KV counts, and tokens come out. */
static void deliver(struct q35_engine *e)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        if (!r || !r->batch_tokens)
            continue;
        computed(&e->slots[i], r, r->batch_tokens);
        r->drafted += r->draft.take;
        e->stats.drafted_tokens += r->draft.take;
        if (r->batch_at != UINT32_MAX && !r->cancelled)
            next_tokens(e, &e->slots[i], r);
    }
}

static enum q35_status run_batch(struct q35_engine *e, uint32_t n, struct q35_error *err)
{
    enum q35_status st;
    uint64_t start;
    e->stats.run_since_ns = q35_now_ns();
    pthread_mutex_unlock(&e->mutex);
    start = e->now();
    st = q35_stages_run(&e->stages, e->model, e->batch, n, e->greedy ? NULL : e->logits,
                        e->greedy ? e->ids : NULL, err);
    if (st == Q35_OK && e->decoding)
        q35_draft_ran(&e->draft_cost, n, e->guesses, e->now() - start);
    if (st == Q35_OK)
        q35_prompt_ran(&e->prompt_cost, e->prompt_tokens, n > e->prompt_tokens, e->now() - start);
    if (st == Q35_E_DEVICE_LOST)
        q35_log(Q35_LOG_WARN, "%s", err->message);
    pthread_mutex_lock(&e->mutex);
    e->stats.run_since_ns = 0;
    e->prompt_done += st == Q35_OK ? e->prompt_tokens : 0;
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
