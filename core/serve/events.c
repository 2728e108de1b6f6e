/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/events.h"

#include <stdlib.h>
#include <string.h>

#define INITIAL 256

enum q35_status q35_events_init(struct q35_events *q, void (*wake)(void *user), void *wake_user,
                                struct q35_error *err)
{
    memset(q, 0, sizeof(*q));
    pthread_mutex_init(&q->mutex, NULL);
    pthread_cond_init(&q->room, NULL);
    q->wake = wake;
    q->wake_user = wake_user;
    q->in = malloc(INITIAL * sizeof(*q->in));
    q->out = malloc(INITIAL * sizeof(*q->out));
    q->in_cap = q->out_cap = INITIAL;
    if (q->in && q->out)
        return Q35_OK;
    q35_events_fini(q);
    return q35_fail(err, Q35_E_NOMEM, "no memory for the event queue");
}

static void free_errors(struct q35_queued *list, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        free(list[i].error);
}

void q35_events_fini(struct q35_events *q)
{
    if (!q->wake)
        return;
    free_errors(q->in, q->in_count);
    free_errors(q->out, q->out_count);
    free(q->in);
    free(q->out);
    pthread_cond_destroy(&q->room);
    pthread_mutex_destroy(&q->mutex);
    memset(q, 0, sizeof(*q));
}

static void copy_event(struct q35_queued *to, void *user, const struct q35_event *ev)
{
    to->user = user;
    to->token = ev->token;
    to->finish = ev->finish;
    to->time_ns = ev->time_ns ? ev->time_ns : q35_now_ns();
    to->cached_tokens = ev->cached_tokens;
    to->drafted_tokens = ev->drafted_tokens;
    to->accepted_tokens = ev->accepted_tokens;
    to->has_logprob = ev->logprob != NULL;
    to->n_top = ev->n_top < Q35_API_TOP_MAX ? ev->n_top : Q35_API_TOP_MAX;
    if (ev->logprob)
        to->logprob = *ev->logprob;
    if (to->n_top)
        memcpy(to->top, ev->top, to->n_top * sizeof(*to->top));
    to->error_status = ev->error ? ev->error->status : Q35_OK;
    to->error = ev->error ? strdup(ev->error->message) : NULL;
}

/* Mutex held. No event may be lost, a request would never end: without memory to grow, the engine
 * waits for the loop, which always comes. */
static bool make_room(struct q35_events *q)
{
    while (q->in_count == q->in_cap && !q->closed) {
        struct q35_queued *grown = realloc(q->in, 2 * q->in_cap * sizeof(*q->in));
        if (grown) {
            q->in = grown;
            q->in_cap *= 2;
        } else {
            pthread_cond_wait(&q->room, &q->mutex);
        }
    }
    return !q->closed;
}

void q35_events_push(struct q35_events *q, void *user, const struct q35_event *ev)
{
    pthread_mutex_lock(&q->mutex);
    if (make_room(q)) {
        copy_event(&q->in[q->in_count++], user, ev);
        if (q->in_count == 1)
            q->wake(q->wake_user);
    }
    pthread_mutex_unlock(&q->mutex);
}

const struct q35_queued *q35_events_take(struct q35_events *q, size_t *count)
{
    struct q35_queued *list;
    size_t cap;
    pthread_mutex_lock(&q->mutex);
    free_errors(q->out, q->out_count);
    list = q->in;
    cap = q->in_cap;
    *count = q->in_count;
    q->in = q->out;
    q->in_cap = q->out_cap;
    q->in_count = 0;
    q->out = list;
    q->out_cap = cap;
    q->out_count = *count;
    pthread_cond_signal(&q->room);
    pthread_mutex_unlock(&q->mutex);
    return list;
}

void q35_events_close(struct q35_events *q)
{
    pthread_mutex_lock(&q->mutex);
    q->closed = true;
    pthread_cond_broadcast(&q->room);
    pthread_mutex_unlock(&q->mutex);
}
