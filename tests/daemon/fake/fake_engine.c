/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/engine/engine.h"
#include "q35/format.h"
#include "tests/daemon/fake/fake.h"

enum script {
    SCRIPT_LETTERS,
    SCRIPT_SAY,
    SCRIPT_SLOW,
    SCRIPT_HANG,
    SCRIPT_FAIL,
    SCRIPT_LOST,
    SCRIPT_STUCK
};

struct q35_request {
    struct q35_request *next;
    struct q35_request_params p;
    char *text; /* the prompt's bytes */
    const char *say;
    enum script script;
    size_t at;
    uint32_t generated;
    uint64_t state, next_ns;
    bool running, cancelled, finished, released;
};

struct q35_engine {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    struct q35_request *requests;
    struct q35_engine_stats stats;
    uint32_t max_sequences, max_queue, context;
    bool stop;
};

static bool is_lost(void)
{
    const char *path = getenv("Q35_FAKE_LOST");
    return path && access(path, F_OK) == 0;
}

static void parse_script(struct q35_request *r)
{
    static const char *const words[] = {"", "say:", "slow:", "hang:", "fail:", "lost:", "stuck:"};
    const char *at = r->text, *last = NULL;
    size_t i;
    while ((at = strstr(at, "do:")) != NULL)
        last = at += 3;
    for (i = 1; last && i < Q35_COUNT(words); i++)
        if (strncmp(last, words[i], strlen(words[i])) == 0) {
            r->script = (enum script)i;
            r->say = last + strlen(words[i]);
        }
}

static void request_free(struct q35_request *r)
{
    free(r->text);
    free(r);
}

/* Mutex held. Unlinks; the request is freed when its owner has released it too. */
static void request_end(struct q35_engine *e, struct q35_request *r, enum q35_finish finish,
                        const struct q35_error *error)
{
    struct q35_event ev = {.token = -1, .finish = finish, .error = error};
    struct q35_request **at;
    for (at = &e->requests; *at != r; at = &(*at)->next)
        ;
    *at = r->next;
    *(r->running ? &e->stats.running : &e->stats.waiting) -= 1;
    e->stats.kv_used -= r->running ? (uint32_t)r->p.prompt_len : 0;
    if (finish == Q35_FINISH_CANCELLED)
        e->stats.cancelled++;
    else if (finish == Q35_FINISH_ERROR)
        e->stats.failed++;
    else
        e->stats.completed++;
    ev.time_ns = q35_now_ns();
    r->p.event(r->p.user, &ev);
    r->finished = true;
    if (r->released)
        request_free(r);
}

static int32_t next_token(struct q35_request *r)
{
    if (r->script == SCRIPT_LETTERS)
        return (int32_t)('a' + (r->state = q35_mix64(r->state + 1)) % 26);
    if (r->say[r->at])
        return (unsigned char)r->say[r->at++];
    if (r->script == SCRIPT_SAY || r->script == SCRIPT_SLOW) {
        r->at = 0;
        return FAKE_END;
    }
    return -1;
}

static void emit(struct q35_engine *e, struct q35_request *r, int32_t token)
{
    struct q35_logprob chosen = {token, -0.5f}, top[32];
    struct q35_event ev = {.token = token, .time_ns = q35_now_ns()};
    uint32_t i;
    for (i = 0; i < r->p.top_logprobs && i < 32; i++) {
        top[i].id = (token + (int32_t)i) % 256;
        top[i].logprob = i == 19 ? -1.0f / 0.0f : -0.5f - (float)i;
    }
    if (r->p.logprobs) {
        ev.logprob = &chosen;
        ev.top = top;
        ev.n_top = i;
    }
    r->generated++;
    e->stats.output_tokens++;
    r->p.event(r->p.user, &ev);
}

/* Mutex held. One step of one request. */
static void step(struct q35_engine *e, struct q35_request *r)
{
    struct q35_error err = Q35_ERROR_INIT;
    int32_t token;
    if (r->cancelled) {
        request_end(e, r, Q35_FINISH_CANCELLED, NULL);
        return;
    }
    if (!r->running || q35_now_ns() < r->next_ns)
        return;
    token = next_token(r);
    r->next_ns = q35_now_ns() + (r->script == SCRIPT_SLOW ? 20000000u : 0);
    if (token < 0 && r->script == SCRIPT_STUCK) {
        e->stats.run_since_ns = q35_now_ns();
        pthread_mutex_unlock(&e->mutex);
        for (;;)
            pause();
    } else if (token < 0 && r->script != SCRIPT_HANG) {
        q35_fail(&err, r->script == SCRIPT_LOST ? Q35_E_DEVICE_LOST : Q35_E_INTERNAL,
                 "the script says so");
        request_end(e, r, Q35_FINISH_ERROR, &err);
    } else if (token >= 0 && !r->p.ignore_end && r->p.is_end(r->p.user, token)) {
        request_end(e, r, Q35_FINISH_END, NULL);
    } else if (token >= 0) {
        emit(e, r, token);
        if (r->generated == r->p.max_tokens)
            request_end(e, r, Q35_FINISH_LENGTH, NULL);
    }
}

static void admit(struct q35_engine *e)
{
    struct q35_request *r, *oldest = NULL;
    for (r = e->requests; r; r = r->next)
        if (!r->running && !r->cancelled)
            oldest = r;
    if (!oldest || e->stats.running >= e->max_sequences)
        return;
    oldest->running = true;
    e->stats.waiting--;
    e->stats.running++;
    e->stats.kv_used += (uint32_t)oldest->p.prompt_len;
}

static void *work(void *user)
{
    struct q35_engine *e = user;
    struct q35_request *r, *next;
    pthread_mutex_lock(&e->mutex);
    while (!e->stop) {
        admit(e);
        for (r = e->requests; r; r = next) {
            next = r->next;
            step(e, r);
        }
        if (e->requests) {
            pthread_mutex_unlock(&e->mutex);
            usleep(100);
            pthread_mutex_lock(&e->mutex);
        } else {
            pthread_cond_wait(&e->wake, &e->mutex);
        }
    }
    while (e->requests)
        request_end(e, e->requests, Q35_FINISH_CANCELLED, NULL);
    pthread_mutex_unlock(&e->mutex);
    return NULL;
}

enum q35_status q35_engine_create(struct q35_engine **out, const struct q35_config *config,
                                  const struct q35_model *model, struct q35_registry *registry,
                                  const struct q35_plan *plan, struct q35_error *err)
{
    struct q35_engine *e = calloc(1, sizeof(*e));
    (void)model;
    (void)registry;
    (void)plan;
    *out = e;
    if (!e)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    e->max_sequences = config->max_sequences;
    e->max_queue = config->max_queue;
    e->context = config->context;
    e->stats.kv_total = config->context * config->max_sequences;
    pthread_mutex_init(&e->mutex, NULL);
    pthread_cond_init(&e->wake, NULL);
    pthread_create(&e->thread, NULL, work, e);
    return Q35_OK;
}

void q35_engine_destroy(struct q35_engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->mutex);
    e->stop = true;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->thread, NULL);
    pthread_mutex_destroy(&e->mutex);
    pthread_cond_destroy(&e->wake);
    free(e);
}

static struct q35_request *request_new(const struct q35_request_params *p)
{
    struct q35_request *r = calloc(1, sizeof(*r));
    size_t i;
    if (r)
        r->text = calloc(1, p->prompt_len + 1);
    if (!r || !r->text) {
        free(r);
        return NULL;
    }
    r->p = *p;
    r->p.prompt = NULL;
    r->state = p->sampling.temperature > 0 ? p->sampling.seed : 0;
    for (i = 0; i < p->prompt_len; i++) {
        /* control tokens separate: a byte that no script has */
        r->text[i] = (char)(p->prompt[i] > 0 && p->prompt[i] < 256 ? p->prompt[i] : '\x01');
        r->state = q35_mix64(r->state ^ (uint64_t)p->prompt[i]);
    }
    while (i > 0 && r->text[i - 1] == '\x01') /* the generation prompt */
        r->text[--i] = '\0';
    parse_script(r);
    return r;
}

enum q35_status q35_engine_submit(struct q35_engine *e, const struct q35_request_params *p,
                                  struct q35_request **out, struct q35_error *err)
{
    struct q35_request *r;
    enum q35_status st = Q35_OK;
    *out = NULL;
    if (p->prompt_len + p->max_tokens > e->context)
        return q35_fail(err, Q35_E_CAPACITY, "too long");
    r = request_new(p);
    if (!r)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    pthread_mutex_lock(&e->mutex);
    if (is_lost())
        st = q35_fail(err, Q35_E_DEVICE_LOST, "no device can serve");
    else if (e->stats.waiting >= e->max_queue)
        st = q35_fail(err, Q35_E_BUSY, "the queue is full");
    if (st == Q35_OK) {
        r->next = e->requests;
        e->requests = r;
        e->stats.waiting++;
        e->stats.prompt_tokens += p->prompt_len;
        admit(e);
        *out = r;
        pthread_cond_signal(&e->wake);
    } else {
        e->stats.rejected++;
        request_free(r);
    }
    pthread_mutex_unlock(&e->mutex);
    return st;
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
    bool finished;
    pthread_mutex_lock(&e->mutex);
    finished = r->finished;
    r->released = true;
    pthread_mutex_unlock(&e->mutex);
    if (finished)
        request_free(r);
}

void q35_engine_stats(struct q35_engine *e, struct q35_engine_stats *out)
{
    pthread_mutex_lock(&e->mutex);
    *out = e->stats;
    out->ready = !is_lost();
    pthread_mutex_unlock(&e->mutex);
}
