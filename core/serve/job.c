/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/serve/router.h"
#include "core/serve/server.h"

static void job_free(struct q35_job *j)
{
    struct q35_server *s = j->server;
    uint32_t i;
    if (j->prev)
        j->prev->next = j->next;
    else
        s->jobs = j->next;
    if (j->next)
        j->next->prev = j->prev;
    s->job_count--;
    for (i = 0; i < j->choice_count; i++)
        q35_choice_fini(&j->choices[i]);
    free(j->choices);
    q35_api_params_fini(&j->params);
    s->body_bytes -= j->body.len;
    q35_str_fini(&j->body);
    q35_str_fini(&j->scratch);
    q35_str_fini(&j->reply);
    free(j);
}

static void maybe_free(struct q35_job *j)
{
    struct q35_server *s = j->server;
    if (j->conn || j->live || j->in_work || j->held)
        return;
    job_free(j);
    q35_server_maybe_stop(s);
}

/* While a job is worked on, closing its connection must not free it. */
static void hold(struct q35_job *j)
{
    j->held = true;
}

static void unhold(struct q35_job *j)
{
    j->held = false;
    maybe_free(j);
}

static void cancel_choices(struct q35_job *j)
{
    uint32_t i;
    for (i = 0; i < j->choice_count; i++)
        if (j->choices[i].request)
            q35_engine_cancel(j->server->model.engine, j->choices[i].request);
}

void q35_job_abandon(struct q35_job *j)
{
    q35_access_job(j, true);
    j->conn = NULL;
    cancel_choices(j);
    maybe_free(j);
}

struct q35_conn *q35_job_detach(struct q35_job *j)
{
    struct q35_conn *c = j->conn;
    if (c)
        c->job = NULL;
    j->conn = NULL;
    return c;
}

/* Held. Answers with j->error, and ends what still runs. */
static void fail_job(struct q35_job *j)
{
    if (j->conn && j->conn->streaming) {
        q35_access_job(j, false);
        q35_job_stream_end(j);
    } else if (j->conn) {
        q35_conn_error(q35_job_detach(j), &j->error);
    }
    cancel_choices(j);
}

static void send_reply(struct q35_job *j)
{
    struct q35_conn *c = q35_job_detach(j);
    if (c)
        q35_conn_reply_str(c, "application/json", &j->reply);
}

/* [worker] All choices have ended: nobody changes the job now. */
static void build_reply(uv_work_t *w)
{
    q35_job_reply(w->data);
}

static void reply_built(uv_work_t *w, int status)
{
    struct q35_job *j = w->data;
    hold(j);
    j->in_work = false;
    if (status == 0)
        send_reply(j);
    else if (j->conn)
        q35_conn_close(j->conn);
    unhold(j);
}

/* Held. All choices have ended for the client. */
static void finish_job(struct q35_job *j)
{
    if (!j->conn)
        return;
    q35_histogram_add(&j->server->metrics.request, q35_now_ns() - j->start_ns);
    q35_access_job(j, false);
    if (j->params.stream) {
        q35_job_stream_end(j);
    } else if (q35_job_reply_size(j) > Q35_INLINE_REPLY_BYTES &&
               uv_queue_work(&j->server->loop, &j->work, build_reply, reply_built) == 0) {
        j->in_work = true;
    } else {
        q35_job_reply(j);
        send_reply(j);
    }
    cancel_choices(j);
}

/* ---- starting ---- */

/* [worker] */
static void job_parse(uv_work_t *w)
{
    struct q35_job *j = w->data;
    j->parsed = q35_api_params_parse(&j->params, j->params.chat, j->body.data ? j->body.data : "",
                                     j->body.len, &j->limits, &j->error);
}

static bool is_end(void *user, int32_t token)
{
    const struct q35_choice *c = user;
    return q35_tokenizer_is_end(c->job->server->model.tokenizer, token);
}

static void on_event(void *user, const struct q35_event *ev)
{
    const struct q35_choice *c = user;
    q35_events_push(&c->job->server->events, user, ev);
}

/* When to come back: the queue's length at the pace of late. */
static uint32_t retry_after(struct q35_server *s)
{
    struct q35_engine_stats st;
    double seconds;
    q35_engine_stats(s->model.engine, &st);
    seconds = q35_histogram_mean(&s->metrics.request, 1.0) * (st.waiting + 1) /
              (st.running ? st.running : 1);
    return seconds < 1 ? 1 : seconds > 60 ? 60 : (uint32_t)ceil(seconds);
}

static void submit_error(struct q35_job *j, enum q35_status st, const char *message)
{
    struct q35_server *s = j->server;
    switch (st) {
    case Q35_E_BUSY:
        s->metrics.rejected_queue++;
        q35_api_fail(&j->error, 429, "queue_full", NULL, "%s", message);
        j->error.retry_after = retry_after(s);
        break;
    case Q35_E_CAPACITY:
        q35_api_fail(&j->error, 400, "context_length_exceeded",
                     j->params.chat ? "messages" : "prompt", "%s", message);
        break;
    case Q35_E_INVALID:
        q35_api_fail(&j->error, 400, "invalid_value", NULL, "%s", message);
        break;
    case Q35_E_DEVICE_LOST:
        q35_api_fail(&j->error, 503, "no_device", NULL, "%s", message);
        j->error.retry_after = 5;
        break;
    default:
        q35_api_fail(&j->error, 500, NULL, NULL, "%s", message);
        break;
    }
}

static bool submit(struct q35_choice *c)
{
    struct q35_job *j = c->job;
    const struct q35_api_prompt *p = &j->params.prompts[c->prompt];
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_request_params rp = {
        .prompt = p->ids,
        .prompt_len = p->count,
        .max_tokens = j->params.budget,
        .sampling = j->params.sampling,
        .logprobs = j->params.logprobs,
        .top_logprobs = j->params.n_top,
        .ignore_end = j->params.ignore_eos,
        .is_end = is_end,
        .event = on_event,
        .user = c,
    };
    enum q35_status st;
    /* choices of one prompt differ, can be repeated, and do not depend on other prompts */
    rp.sampling.seed += c->index % (uint32_t)j->params.n;
    st = q35_engine_submit(j->server->model.engine, &rp, &c->request, &err);
    if (st == Q35_OK) {
        j->live++;
        j->open++;
        j->server->metrics.prompt_tokens += p->count;
        return true;
    }
    c->request = NULL;
    submit_error(j, st, err.message);
    return false;
}

static bool make_choices(struct q35_job *j)
{
    uint32_t i, n = (uint32_t)j->params.n;
    uint32_t count = (uint32_t)j->params.prompt_count * n;
    j->choices = calloc(count, sizeof(*j->choices));
    if (!j->choices)
        return q35_api_fail(&j->error, 500, NULL, NULL, "out of memory");
    j->choice_count = count;
    for (i = 0; i < count; i++) {
        j->choices[i].job = j;
        j->choices[i].index = i;
        j->choices[i].detok.started = !j->params.chat; /* a completion goes on from its prompt */
        j->choices[i].prompt = i / n;
    }
    for (i = 0; i < count; i++)
        if (!submit(&j->choices[i]))
            return false;
    return true;
}

/* Parsed, one way or the other. */
static void job_start(struct q35_job *j)
{
    struct q35_server *s = j->server;
    s->body_bytes -= j->body.len;
    q35_str_fini(&j->body);
    hold(j);
    if (j->parsed && s->phase > Q35_PHASE_SERVING)
        j->parsed =
            q35_api_fail(&j->error, 503, "shutting_down", NULL, "the server is shutting down");
    if (!j->parsed || !j->conn || !make_choices(j))
        fail_job(j);
    else if (j->params.stream)
        q35_job_stream_begin(j);
    unhold(j);
}

static void job_parsed(uv_work_t *w, int status)
{
    struct q35_job *j = w->data;
    struct q35_server *s = j->server;
    j->in_work = false;
    if (status != 0 && !j->error.status)
        q35_api_fail(&j->error, 500, NULL, NULL, "the request was not parsed");
    job_start(j);
    q35_server_flush(s);
}

static bool can_begin(struct q35_conn *c)
{
    struct q35_server *s = c->server;
    struct q35_api_error e;
    if (s->phase == Q35_PHASE_SERVING)
        return true;
    if (s->phase == Q35_PHASE_LOADING)
        q35_api_fail(&e, 503, "loading", NULL, "the model is being loaded");
    else
        q35_api_fail(&e, 503, "shutting_down", NULL, "the server is shutting down");
    e.retry_after = 5;
    q35_conn_error(c, &e);
    return false;
}

static void begin(struct q35_conn *c, bool chat)
{
    struct q35_server *s = c->server;
    struct q35_job *j;
    if (!can_begin(c))
        return;
    j = calloc(1, sizeof(*j));
    if (!j) {
        q35_conn_close(c);
        return;
    }
    j->server = s;
    j->conn = c;
    c->job = j;
    j->next = s->jobs;
    if (s->jobs)
        s->jobs->prev = j;
    s->jobs = j;
    s->job_count++;
    j->params.chat = chat;
    snprintf(j->id, sizeof(j->id), "%s-%016llx", chat ? "chatcmpl" : "cmpl",
             (unsigned long long)c->id);
    j->created = (int64_t)time(NULL);
    j->start_ns = q35_now_ns();
    j->limits.model = &s->model;
    j->limits.max_queue = s->settings.max_queue;
    j->body = c->body; /* its bytes stay accounted for */
    memset(&c->body, 0, sizeof(c->body));
    j->work.data = j;
    if (j->body.len > Q35_INLINE_BYTES &&
        uv_queue_work(&s->loop, &j->work, job_parse, job_parsed) == 0) {
        j->in_work = true;
        return;
    }
    job_parse(&j->work);
    job_start(j);
}

void q35_handle_completions(struct q35_conn *c)
{
    begin(c, false);
}

void q35_handle_chat(struct q35_conn *c)
{
    begin(c, true);
}

/* ---- events ---- */

/* The choice is over for the client. */
static void choice_ended(struct q35_choice *c, enum q35_outcome outcome)
{
    struct q35_job *j = c->job;
    j->server->metrics.outcomes[outcome]++;
    j->open--;
    if (j->conn && j->params.stream && c->reason != Q35_REASON_ERROR)
        q35_job_stream_choice(j, c);
}

static void note_counts(struct q35_choice *c, const struct q35_queued *ev)
{
    c->cached = ev->cached_tokens;
    c->drafted = ev->drafted_tokens;
    c->accepted = ev->accepted_tokens;
}

static void take_token(struct q35_choice *c, const struct q35_queued *ev)
{
    struct q35_job *j = c->job;
    struct q35_metrics *m = &j->server->metrics;
    m->output_tokens++;
    if (c->reason != Q35_REASON_NONE || !j->conn)
        return; /* a worker may be reading it */
    note_counts(c, ev);
    if (!j->first_ns)
        q35_histogram_add(&m->first_token,
                          ev->time_ns > j->start_ns ? ev->time_ns - j->start_ns : 0);
    else if (c->last_ns && ev->time_ns > c->last_ns)
        q35_histogram_add(&m->inter_token, ev->time_ns - c->last_ns);
    if (!j->first_ns)
        j->first_ns = ev->time_ns > j->start_ns ? ev->time_ns : j->start_ns;
    c->last_ns = ev->time_ns;
    if (!q35_choice_token(c, j->server->model.tokenizer, ev)) {
        q35_api_fail(&j->error, 500, NULL, NULL, "out of memory");
        c->reason = Q35_REASON_ERROR;
        q35_engine_cancel(j->server->model.engine, c->request);
        choice_ended(c, Q35_DONE_ERROR);
    } else if (c->reason == Q35_REASON_STOP) {
        q35_engine_cancel(j->server->model.engine, c->request);
        choice_ended(c, Q35_DONE_STOP);
    } else if (j->conn && j->params.stream) {
        q35_job_stream_choice(j, c);
    }
}

static void take_finish(struct q35_choice *c, const struct q35_queued *ev)
{
    struct q35_job *j = c->job;
    struct q35_server *s = j->server;
    q35_request_release(s->model.engine, c->request);
    c->request = NULL;
    j->live--;
    s->metrics.cached_tokens += ev->cached_tokens;
    if (c->reason != Q35_REASON_NONE)
        return;
    note_counts(c, ev);
    if (ev->finish == Q35_FINISH_END || ev->finish == Q35_FINISH_LENGTH) {
        q35_choice_flush(c);
        if (c->reason == Q35_REASON_NONE)
            c->reason = ev->finish == Q35_FINISH_END ? Q35_REASON_STOP : Q35_REASON_LENGTH;
        choice_ended(c, c->reason == Q35_REASON_STOP ? Q35_DONE_STOP : Q35_DONE_LENGTH);
        return;
    }
    c->reason = Q35_REASON_ERROR;
    if (ev->finish == Q35_FINISH_ERROR) {
        bool lost = ev->error_status == Q35_E_DEVICE_LOST;
        q35_log(Q35_LOG_ERROR, "%s: %s", j->id, ev->error ? ev->error : "unknown");
        q35_api_fail(&j->error, lost ? 503 : 500, lost ? "device_lost" : NULL, NULL, "%s",
                     ev->error ? ev->error : "the generation failed");
    } else if (!j->error.status) {
        q35_api_fail(&j->error, 503, "cancelled", NULL, "the generation was cancelled");
    }
    choice_ended(c, ev->finish == Q35_FINISH_ERROR ? Q35_DONE_ERROR : Q35_DONE_CANCELLED);
}

static void take_event(struct q35_choice *c, const struct q35_queued *ev)
{
    struct q35_job *j = c->job;
    uint32_t open = j->open;
    hold(j);
    if (ev->token >= 0)
        take_token(c, ev);
    if (ev->finish != Q35_FINISH_NONE)
        take_finish(c, ev);
    if (c->reason == Q35_REASON_ERROR)
        fail_job(j);
    else if (open && j->open == 0)
        finish_job(j);
    unhold(j);
}

void q35_jobs_events(struct q35_server *s)
{
    size_t i, count;
    const struct q35_queued *list = q35_events_take(&s->events, &count);
    for (i = 0; i < count; i++)
        take_event(list[i].user, &list[i]);
    q35_server_flush(s);
}

void q35_jobs_stop(struct q35_server *s)
{
    struct q35_job *j, *next;
    for (j = s->jobs; j; j = next) {
        next = j->next;
        if (j->in_work)
            continue; /* job_start will see */
        hold(j);
        q35_api_fail(&j->error, 503, "shutting_down", NULL, "the server is shutting down");
        fail_job(j);
        unhold(j);
    }
    q35_server_flush(s);
}

void q35_jobs_destroy(struct q35_server *s)
{
    while (s->jobs)
        job_free(s->jobs);
}
