/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_EVENTS_H
#define Q35_SERVE_EVENTS_H

/* From the engine's thread to the loop: a locked queue of copied events. */

#include <pthread.h>

#include "core/engine/engine.h"
#include "core/serve/api_params.h"

/* A q35_event without pointers. */
struct q35_queued {
    void *user;
    int32_t token;
    enum q35_finish finish;
    uint64_t time_ns;
    uint32_t cached_tokens, drafted_tokens, accepted_tokens;
    bool has_logprob;
    uint32_t n_top;
    struct q35_logprob logprob;
    struct q35_logprob top[Q35_API_TOP_MAX];
    int error_status;
    char *error; /* with FINISH_ERROR; the queue's; may be NULL */
};

struct q35_events {
    pthread_mutex_t mutex;
    struct q35_queued *in, *out; /* swapped by take */
    size_t in_count, in_cap, out_count, out_cap;
    bool closed;
    pthread_cond_t room;      /* only if memory for more has run out */
    void (*wake)(void *user); /* with the mutex held; must not block */
    void *wake_user;
};

enum q35_status q35_events_init(struct q35_events *q, void (*wake)(void *user), void *wake_user,
                                struct q35_error *err);
void q35_events_fini(struct q35_events *q);
/* [any] Copies and wakes the loop. */
void q35_events_push(struct q35_events *q, void *user, const struct q35_event *ev);
/* All events since the last call, in order; valid until the next call. */
const struct q35_queued *q35_events_take(struct q35_events *q, size_t *count);
/* From here on pushes are dropped and nobody is woken. */
void q35_events_close(struct q35_events *q);

#endif
