/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef TEST_ENGINE_CLIENT_H
#define TEST_ENGINE_CLIENT_H

/* An engine over the fake devices, and one who asks it. */
#include "../test.h"

#include <pthread.h>

#include "fake.h"

struct client {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int32_t out[FAKE_CONTEXT];
    uint32_t n, cached;
    int32_t end_token;
    enum q35_finish finish;
    float logprob, top_logprob;
    float logprobs[FAKE_CONTEXT]; /* of out, if asked for */
    uint32_t drafted, accepted;
    uint32_t cancel_at; /* cancels `request` from the callback of this many tokens, 0: never */
    struct q35_engine *engine;
    struct q35_request *request;
    struct q35_error error;
};

struct setup {
    struct q35_config config;
    struct q35_engine *e;
};

/* What to give a request as its event and is_end; user is the client. */
void client_event(void *user, const struct q35_event *ev);
bool client_is_end(void *user, int32_t token);
void client_init(struct client *c);
void client_wait_end(struct client *c);
void client_wait_tokens(struct client *c, uint32_t n);
/* With s->config as it is. Runs take as long as the fake clock says. */
void engine_start_config(struct setup *s, bool split);
void engine_start_with(struct setup *s, bool split, uint32_t sequences, uint32_t max_batch,
                       uint32_t features, const char *kv_type);
void engine_start(struct setup *s, bool split, uint32_t sequences, uint32_t max_batch);
void engine_stop(struct setup *s);
enum q35_status client_submit(struct setup *s, struct client *c, const int32_t *prompt, size_t len,
                              uint32_t max_tokens, struct q35_request **r);
/* What the fake network says, computed here from the whole history. */
void client_assert_continues(const struct client *c, const int32_t *prompt, uint32_t len,
                             uint32_t want);
void fill_prompt(int32_t *prompt, uint32_t n, int32_t seed);

#endif
