/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "client.h"

#include "core/engine/internal.h"

void client_event(void *user, const struct q35_event *ev)
{
    struct client *c = user;
    bool cancel;
    pthread_mutex_lock(&c->mutex);
    c->drafted = ev->drafted_tokens;
    c->accepted = ev->accepted_tokens;
    if (ev->finish != Q35_FINISH_NONE) {
        c->finish = ev->finish;
        if (ev->error)
            c->error = *ev->error;
    } else {
        c->out[c->n++] = ev->token;
        c->cached = ev->cached_tokens;
        if (ev->logprob) {
            c->logprob = c->logprobs[c->n - 1] = ev->logprob->logprob;
            c->top_logprob = ev->top[0].logprob;
        }
    }
    cancel = c->cancel_at && c->n == c->cancel_at && c->finish == Q35_FINISH_NONE;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
    if (cancel)
        q35_engine_cancel(c->engine, c->request);
}

bool client_is_end(void *user, int32_t token)
{
    return token == ((struct client *)user)->end_token;
}

void client_init(struct client *c)
{
    memset(c, 0, sizeof(*c));
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->wake, NULL);
    c->end_token = -1;
}

void client_wait_end(struct client *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->finish == Q35_FINISH_NONE)
        pthread_cond_wait(&c->wake, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

void client_wait_tokens(struct client *c, uint32_t n)
{
    pthread_mutex_lock(&c->mutex);
    while (c->n < n && c->finish == Q35_FINISH_NONE)
        pthread_cond_wait(&c->wake, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

void engine_start_config(struct setup *s, bool split)
{
    struct q35_error err;
    assert_int_equal(
        q35_engine_create(&s->e, &s->config, fake_model(), fake_registry(), fake_plan(split), &err),
        Q35_OK);
    s->e->now = fake_now;
}

void engine_start_with(struct setup *s, bool split, uint32_t sequences, uint32_t max_batch,
                       uint32_t features, const char *kv_type)
{
    fake_reset();
    fake_features(features);
    memset(s, 0, sizeof(*s));
    s->config.kv_type = (char *)(uintptr_t)kv_type;
    s->config.max_sequences = sequences;
    s->config.max_batch = max_batch;
    s->config.max_queue = sequences > 4 ? sequences : 4;
    s->config.micro_batch =
        max_batch >= 16 ? 4 : 0; /* chunks of prompts go over devices in parts */
    engine_start_config(s, split);
}

void engine_start(struct setup *s, bool split, uint32_t sequences, uint32_t max_batch)
{
    engine_start_with(s, split, sequences, max_batch, 0, NULL);
}

void engine_stop(struct setup *s)
{
    q35_engine_destroy(s->e);
    assert_int_equal(atomic_load(&fake_faults.open_objects), 0);
}

enum q35_status client_submit(struct setup *s, struct client *c, const int32_t *prompt, size_t len,
                              uint32_t max_tokens, struct q35_request **r)
{
    struct q35_error err;
    struct q35_request_params p = {.prompt = prompt,
                                   .prompt_len = len,
                                   .max_tokens = max_tokens,
                                   .event = client_event,
                                   .is_end = client_is_end,
                                   .user = c,
                                   .logprobs = true,
                                   .top_logprobs = 3};
    q35_sampling_default(&p.sampling);
    p.sampling.temperature = 0.0f;
    return q35_engine_submit(s->e, &p, r, &err);
}

void client_assert_continues(const struct client *c, const int32_t *prompt, uint32_t len,
                             uint32_t want)
{
    int32_t h[FAKE_CONTEXT];
    uint32_t i;
    assert_int_equal(c->n, want);
    memcpy(h, prompt, len * sizeof(*h));
    for (i = 0; i < want; i++) {
        h[len + i] = fake_next(h, len + i);
        assert_int_equal(c->out[i], h[len + i]);
    }
}

void fill_prompt(int32_t *prompt, uint32_t n, int32_t seed)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        prompt[i] = (int32_t)((uint32_t)seed * 7 + i * i) % 90;
}
