/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/generate.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the engine's thread hands to the one that waits. */
struct sink {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    const struct q35_tokenizer *tokenizer;
    struct q35_detok detok;
    struct q35_str pending; /* text not yet printed */
    struct answer *answer;
    struct q35_error error;
};

static void on_event(void *user, const struct q35_event *ev)
{
    struct sink *s = user;
    struct answer *a = s->answer;
    pthread_mutex_lock(&s->mutex);
    a->drafted = ev->drafted_tokens;
    a->accepted = ev->accepted_tokens;
    if (ev->finish != Q35_FINISH_NONE) {
        q35_detok_finish(&s->detok, &s->pending);
        a->finish = ev->finish;
        if (ev->error)
            s->error = *ev->error;
    } else {
        if (!a->tokens) {
            a->first_ns = ev->time_ns;
            a->cached = ev->cached_tokens;
        }
        a->last_ns = ev->time_ns;
        a->ids[a->tokens++] = ev->token;
        q35_detok_push(&s->detok, s->tokenizer, ev->token, &s->pending);
    }
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

static bool is_end(void *user, int32_t token)
{
    const struct sink *s = user;
    return q35_tokenizer_is_end(s->tokenizer, token);
}

/* A signal handler cannot wake a waiting thread, so with `stop` the wait is short. */
static void wait_a_little(struct sink *s, const atomic_bool *stop)
{
    struct timespec until;
    if (!stop) {
        pthread_cond_wait(&s->wake, &s->mutex);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&s->wake, &s->mutex, &until);
}

/* Prints text as it comes; returns when the request has ended. */
static void follow(struct session *session, struct q35_request *r, struct sink *s,
                   const struct generate_options *o)
{
    bool over = false;
    while (!over) {
        struct q35_str text;
        if (o->stop && atomic_load(o->stop))
            q35_engine_cancel(session->engine, r);
        pthread_mutex_lock(&s->mutex);
        if (!s->pending.len && s->answer->finish == Q35_FINISH_NONE)
            wait_a_little(s, o->stop);
        text = s->pending;
        memset(&s->pending, 0, sizeof(s->pending));
        over = s->answer->finish != Q35_FINISH_NONE;
        pthread_mutex_unlock(&s->mutex);
        if (o->out && text.len) {
            fwrite(text.data, 1, text.len, o->out);
            fflush(o->out);
        }
        q35_str_add(&s->answer->text, text.data ? text.data : "", text.len);
        q35_str_fini(&text);
    }
}

enum q35_status generate(struct session *s, const int32_t *ids, size_t n,
                         const struct generate_options *o, struct answer *out,
                         struct q35_error *err)
{
    struct sink k = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                     .wake = PTHREAD_COND_INITIALIZER,
                     .tokenizer = s->tokenizer,
                     .detok.started = !o->starts_text,
                     .answer = out,
                     .error = Q35_ERROR_INIT};
    struct q35_request_params p = {.prompt = ids,
                                   .prompt_len = n,
                                   .max_tokens = o->tokens,
                                   .sampling = o->sampling,
                                   .event = on_event,
                                   .is_end = is_end,
                                   .user = &k,
                                   .ignore_end = o->ignore_end};
    struct q35_request *r = NULL;
    enum q35_status st;
    *out = (struct answer){.prompt_tokens = n, .start_ns = q35_now_ns()};
    out->ids = malloc(o->tokens * sizeof(*out->ids));
    if (!out->ids)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u tokens", o->tokens);
    st = q35_engine_submit(s->engine, &p, &r, err);
    if (st != Q35_OK)
        return st;
    follow(s, r, &k, o);
    q35_request_release(s->engine, r);
    q35_str_fini(&k.pending);
    if (out->finish != Q35_FINISH_ERROR)
        return Q35_OK;
    if (err)
        *err = k.error;
    return Q35_E_INTERNAL;
}

void answer_fini(struct answer *a)
{
    q35_str_fini(&a->text);
    free(a->ids);
    memset(a, 0, sizeof(*a));
}

double answer_prefill(const struct answer *a)
{
    return a->tokens ? (double)(a->first_ns - a->start_ns) * 1e-9 : 0.0;
}

double answer_speed(const struct answer *a)
{
    double seconds = (double)(a->last_ns - a->first_ns) * 1e-9;
    return a->tokens > 1 && seconds > 0.0 ? (a->tokens - 1) / seconds : 0.0;
}

void answer_tell(const struct answer *a, FILE *f)
{
    fprintf(f, "%zu prompt tokens", a->prompt_tokens);
    if (a->cached)
        fprintf(f, " (%u of them known)", a->cached);
    fprintf(f, " in %.3f s, %u tokens at %.1f tokens/s", answer_prefill(a), a->tokens,
            answer_speed(a));
    if (a->drafted)
        fprintf(f, ", %u of %u guessed ahead came true", a->accepted, a->drafted);
    fputc('\n', f);
}
