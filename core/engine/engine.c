/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/engine/step.h"

/* KV by default: enough for many usual requests or one that fills the context, not for
 * max_sequences such ones, which would take tens of gigabytes with a context of 131,072. */
#define DEFAULT_KV_TOKENS 32768u
#define MAX_RESETS 3u /* of one device in the engine's life: one that keeps failing is left out */

static void request_free(struct q35_request *r)
{
    q35_sampler_destroy(r->sampler);
    q35_draft_fini(&r->draft);
    free(r->tokens);
    free(r);
}

static void drop_ref(struct q35_request *r)
{
    if (--r->refs == 0)
        request_free(r);
}

/* Mutex held. Tells the submitter that the request is over; the engine forgets it. */
void q35_request_end(struct q35_engine *e, struct q35_request *r, enum q35_finish finish,
                     const struct q35_error *error)
{
    struct q35_event ev = {.token = -1,
                           .finish = finish,
                           .cached_tokens = r->cached,
                           .drafted_tokens = r->drafted,
                           .accepted_tokens = r->accepted};
    switch (finish) {
    case Q35_FINISH_CANCELLED:
        e->stats.cancelled++;
        break;
    case Q35_FINISH_ERROR:
        e->stats.failed++;
        break;
    default:
        e->stats.completed++;
        break;
    }
    ev.error = error;
    ev.time_ns = q35_now_ns();
    r->finished = true;
    pthread_mutex_unlock(&e->mutex);
    r->p.event(r->p.user, &ev);
    pthread_mutex_lock(&e->mutex);
    drop_ref(r);
}

static void unlink_waiting(struct q35_engine *e, struct q35_request *r)
{
    struct q35_request **at = &e->waiting, *prev = NULL;
    while (*at != r) {
        prev = *at;
        at = &prev->next;
    }
    *at = r->next;
    if (e->waiting_tail == r)
        e->waiting_tail = prev;
    e->stats.waiting--;
}

/* Mutex held. Moves waiting requests into slots, in order, while there is room. */
static void admit(struct q35_engine *e)
{
    struct q35_request *r = e->waiting;
    while (r) {
        struct q35_request *next = r->next;
        if (r->cancelled) {
            unlink_waiting(e, r);
            q35_request_end(e, r, Q35_FINISH_CANCELLED, NULL);
            next = e->waiting; /* the list may have changed meanwhile */
        } else if (e->ready && q35_slot_take(e, r)) {
            unlink_waiting(e, r);
            e->stats.running++;
        } else {
            break;
        }
        r = next;
    }
}

static void fail_all(struct q35_engine *e, const struct q35_error *err)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        if (!r)
            continue;
        e->slots[i].length = 0;
        q35_slot_leave(e, r);
        e->stats.running--;
        q35_request_end(e, r, Q35_FINISH_ERROR, err);
    }
    while (e->waiting) {
        struct q35_request *r = e->waiting;
        unlink_waiting(e, r);
        q35_request_end(e, r, Q35_FINISH_ERROR, err);
    }
}

/* A lost device may come back by a reset, so often and no more; otherwise it is closed for good. */
static void reset_or_close(struct q35_engine *e, uint32_t index)
{
    struct q35_device_entry *d = &e->registry->devices[index];
    struct q35_error err = Q35_ERROR_INIT;
    if (d->dev && d->plugin->api.reset && e->resets[index] < MAX_RESETS) {
        e->resets[index]++;
        if (q35_call(d, reset, &err) == Q35_OK) {
            q35_log(1, "device %s was lost and has been reset (%u of %u)", d->info.name,
                    e->resets[index], MAX_RESETS);
            return;
        }
        q35_log(1, "device %s cannot be reset: %s", d->info.name, err.message);
    }
    q35_log(1, "device %s is lost; planning over the rest", d->info.name);
    e->lost[index] = true;
    q35_device_close(d);
}

/* A device is gone: reset it or plan over the rest, upload, and start every request's KV anew;
 * their tokens stay, so they go on where they were. */
static void recover(struct q35_engine *e)
{
    struct q35_plan *plan = NULL;
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t lost = e->stages.lost;
    enum q35_status st;
    e->ready = false;
    e->recovering = true;
    while (lost != UINT32_MAX) {
        pthread_mutex_unlock(&e->mutex);
        q35_stages_destroy(&e->stages);
        reset_or_close(e, lost);
        st = q35_plan_create(&plan, e->config, e->model, e->registry, e->lost, &err);
        if (st == Q35_OK)
            st = q35_stages_create(&e->stages, e->model, e->registry, plan, e->config,
                                   e->kv_pages * Q35_PAGE, e->max_sequences, &err);
        pthread_mutex_lock(&e->mutex);
        lost = e->stages.lost;
        if (st == Q35_OK) {
            q35_plan_destroy(e->replan);
            e->replan = plan;
            e->ready = true;
            e->recovering = false;
            q35_slots_forget(e);
            memset(&e->draft_cost, 0, sizeof(e->draft_cost)); /* other devices, other times */
            return;
        }
        q35_plan_destroy(plan);
        plan = NULL;
    }
    e->recovering = false;
    err.message[strcspn(err.message, "\n")] = '\0'; /* the plan's reasons are lines */
    q35_log(0, "no device can serve: %s", err.message);
    q35_slots_forget(e);
    q35_error_prefix(&err, "no device can serve");
    err.status = Q35_E_DEVICE_LOST;
    fail_all(e, &err);
}

static void *engine_thread(void *arg)
{
    struct q35_engine *e = arg;
    pthread_mutex_lock(&e->mutex);
    while (!e->stop) {
        admit(e);
        if (!e->stats.running) {
            struct q35_error err = Q35_ERROR_INIT;
            if (e->waiting && !e->ready) {
                q35_fail(&err, Q35_E_DEVICE_LOST, "no device can serve");
                fail_all(e, &err);
            }
            if (!e->stop && !e->waiting)
                pthread_cond_wait(&e->wake, &e->mutex);
            continue;
        }
        if (q35_step(e) == Q35_E_DEVICE_LOST)
            recover(e);
    }
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

static enum q35_status allocate(struct q35_engine *e, struct q35_error *err)
{
    const struct q35_params *p = q35_model_params(e->model);
    uint32_t i, rows = e->draft_tokens + 1;
    rows = rows > e->max_sequences ? rows : e->max_sequences;
    e->slots = calloc(e->max_sequences, sizeof(*e->slots));
    /* A later plan may allow more tokens than the first. */
    e->batch = calloc(e->config->max_batch, sizeof(*e->batch));
    e->logits = aligned_alloc(64, ((size_t)rows * p->vocab * 4 + 63) / 64 * 64);
    e->ids = calloc(rows, sizeof(*e->ids));
    e->scratch = malloc((size_t)p->vocab * 4);
    e->lost = calloc(e->registry->device_count, sizeof(*e->lost));
    for (i = 0; e->slots && i < e->max_sequences; i++) {
        e->slots[i].tokens = malloc((size_t)e->context * sizeof(int32_t));
        if (!e->slots[i].tokens)
            return q35_fail(err, Q35_E_NOMEM, "no memory for %u sequences", e->max_sequences);
    }
    e->resets = calloc(e->registry->device_count, sizeof(*e->resets));
    if (!e->slots || !e->batch || !e->logits || !e->ids || !e->scratch || !e->lost || !e->resets)
        return q35_fail(err, Q35_E_NOMEM, "no memory for the engine");
    return Q35_OK;
}

uint32_t q35_engine_context(const struct q35_config *config, const struct q35_model *model)
{
    uint32_t trained = q35_model_params(model)->context;
    return config->context ? config->context : trained ? trained : 2048;
}

uint32_t q35_engine_kv_tokens(const struct q35_config *config, const struct q35_model *model)
{
    uint64_t n = config->kv_tokens;
    uint64_t page = Q35_PAGE;
    if (!n) {
        uint64_t one = q35_engine_context(config, model), all = one * config->max_sequences;
        uint64_t some = one > DEFAULT_KV_TOKENS ? one : DEFAULT_KV_TOKENS;
        n = all < some ? all : some;
    }
    n = (n + page - 1) / page * page;
    return n > UINT32_MAX - page ? (uint32_t)(UINT32_MAX / page * page - page) : (uint32_t)n;
}

enum q35_status q35_engine_create(struct q35_engine **out, const struct q35_config *config,
                                  const struct q35_model *model, struct q35_registry *registry,
                                  const struct q35_plan *plan, struct q35_error *err)
{
    struct q35_engine *e = calloc(1, sizeof(*e));
    enum q35_status st;
    *out = NULL;
    if (!e)
        return q35_fail(err, Q35_E_NOMEM, "no memory for the engine");
    e->config = config;
    e->model = model;
    e->registry = registry;
    e->max_sequences = config->max_sequences;
    e->max_queue = config->max_queue;
    e->draft_tokens = q35_config_drafts(config);
    e->now = q35_now_ns;
    e->context = q35_engine_context(config, model);
    e->kv_pages = q35_engine_kv_tokens(config, model) / Q35_PAGE;
    st = q35_stages_create(&e->stages, model, registry, plan, config, e->kv_pages * Q35_PAGE,
                           e->max_sequences, err);
    if (st == Q35_OK)
        st = allocate(e, err);
    if (st == Q35_OK) {
        e->ready = true;
        e->has_mutex = !pthread_mutex_init(&e->mutex, NULL) && !pthread_cond_init(&e->wake, NULL);
        e->has_thread = e->has_mutex && !pthread_create(&e->thread, NULL, engine_thread, e);
        if (!e->has_thread)
            st = q35_fail(err, Q35_E_NOMEM, "cannot start the engine's thread");
    }
    if (st != Q35_OK) {
        q35_engine_destroy(e);
        return st;
    }
    *out = e;
    return Q35_OK;
}

static void end_everything(struct q35_engine *e)
{
    uint32_t i;
    for (i = 0; i < e->max_sequences; i++) {
        struct q35_request *r = e->slots[i].request;
        if (r) {
            q35_slot_leave(e, r);
            q35_request_end(e, r, Q35_FINISH_CANCELLED, NULL);
        }
    }
    while (e->waiting) {
        struct q35_request *r = e->waiting;
        unlink_waiting(e, r);
        q35_request_end(e, r, Q35_FINISH_CANCELLED, NULL);
    }
}

void q35_engine_destroy(struct q35_engine *e)
{
    uint32_t i;
    if (!e)
        return;
    if (e->has_thread) {
        pthread_mutex_lock(&e->mutex);
        e->stop = true;
        pthread_cond_signal(&e->wake);
        pthread_mutex_unlock(&e->mutex);
        pthread_join(e->thread, NULL);
        pthread_mutex_lock(&e->mutex);
        end_everything(e);
        pthread_mutex_unlock(&e->mutex);
    }
    if (e->has_mutex) {
        pthread_mutex_destroy(&e->mutex);
        pthread_cond_destroy(&e->wake);
    }
    q35_stages_destroy(&e->stages);
    for (i = 0; e->slots && i < e->max_sequences; i++)
        free(e->slots[i].tokens);
    q35_plan_destroy(e->replan);
    free(e->slots);
    free(e->batch);
    free(e->logits);
    free(e->ids);
    free(e->scratch);
    free(e->lost);
    free(e->resets);
    free(e);
}

static enum q35_status check_request(const struct q35_engine *e, const struct q35_request_params *p,
                                     struct q35_error *err)
{
    uint32_t vocab = q35_model_params(e->model)->vocab;
    uint64_t total = (uint64_t)p->prompt_len + p->max_tokens;
    size_t i;
    if (!p->prompt_len)
        return q35_fail(err, Q35_E_INVALID, "the prompt has no tokens");
    if (!p->max_tokens)
        return q35_fail(err, Q35_E_INVALID, "max_tokens must be at least 1");
    if (total > e->context || total > (uint64_t)e->kv_pages * Q35_PAGE)
        return q35_fail(err, Q35_E_CAPACITY,
                        "%zu prompt tokens and %u to generate exceed the context of %u tokens",
                        p->prompt_len, p->max_tokens, e->context);
    for (i = 0; i < p->prompt_len; i++)
        if (p->prompt[i] < 0 || (uint32_t)p->prompt[i] >= vocab)
            return q35_fail(err, Q35_E_INVALID, "prompt token %zu is %d, outside the vocabulary", i,
                            p->prompt[i]);
    return Q35_OK;
}

static enum q35_status request_create(struct q35_request **out, const struct q35_engine *e,
                                      const struct q35_request_params *p, struct q35_error *err)
{
    struct q35_request *r = calloc(1, sizeof(*r));
    enum q35_status st = Q35_E_NOMEM;
    size_t i;
    if (r) {
        r->p = *p;
        r->p.prompt = NULL;
        r->refs = 2;
        r->greedy = q35_sampling_is_greedy(&p->sampling) && !p->logprobs;
        r->limit = (uint32_t)p->prompt_len + p->max_tokens;
        r->tokens = malloc((size_t)r->limit * sizeof(*r->tokens));
        st = q35_sampler_create(&r->sampler, &p->sampling, q35_model_params(e->model)->vocab, err);
        if (st == Q35_OK && e->draft_tokens)
            st = q35_draft_init(&r->draft, r->limit, err);
    }
    if (!r || !r->tokens || st != Q35_OK) {
        if (r)
            request_free(r);
        return st == Q35_E_INVALID ? st : q35_fail(err, Q35_E_NOMEM, "no memory for a request");
    }
    memcpy(r->tokens, p->prompt, p->prompt_len * sizeof(*r->tokens));
    r->length = r->prompt_len = (uint32_t)p->prompt_len;
    for (i = 0; i < p->prompt_len; i++) {
        q35_sampler_accept(r->sampler, p->prompt[i]);
        q35_draft_push(&r->draft, r->tokens, (uint32_t)i + 1);
    }
    *out = r;
    return Q35_OK;
}

enum q35_status q35_engine_submit(struct q35_engine *e, const struct q35_request_params *p,
                                  struct q35_request **out, struct q35_error *err)
{
    struct q35_request *r = NULL;
    enum q35_status st = check_request(e, p, err);
    *out = NULL;
    if (st == Q35_OK)
        st = request_create(&r, e, p, err);
    if (st != Q35_OK)
        return st;
    pthread_mutex_lock(&e->mutex);
    if (!e->ready && !e->recovering)
        st = q35_fail(err, Q35_E_DEVICE_LOST, "no device can serve");
    else if (e->stats.waiting >= e->max_queue)
        st = q35_fail(err, Q35_E_BUSY, "the queue is full (%u requests wait)", e->stats.waiting);
    if (st != Q35_OK) {
        e->stats.rejected++;
        r->refs = 1;
        drop_ref(r);
        pthread_mutex_unlock(&e->mutex);
        return st;
    }
    if (e->waiting_tail)
        e->waiting_tail->next = r;
    else
        e->waiting = r;
    e->waiting_tail = r;
    e->stats.waiting++;
    e->stats.prompt_tokens += r->prompt_len;
    *out = r;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    return Q35_OK;
}

void q35_engine_cancel(struct q35_engine *e, struct q35_request *r)
{
    pthread_mutex_lock(&e->mutex);
    r->cancelled = true;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->mutex);
}

void q35_request_release(struct q35_engine *e, struct q35_request *r)
{
    pthread_mutex_lock(&e->mutex);
    drop_ref(r);
    pthread_mutex_unlock(&e->mutex);
}

void q35_engine_stats(struct q35_engine *e, struct q35_engine_stats *out)
{
    pthread_mutex_lock(&e->mutex);
    *out = e->stats;
    out->kv_used = e->pages_used * Q35_PAGE;
    out->kv_total = e->kv_pages * Q35_PAGE;
    out->ready = e->ready;
    pthread_mutex_unlock(&e->mutex);
}
