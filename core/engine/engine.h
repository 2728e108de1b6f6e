/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_ENGINE_H
#define Q35_CORE_ENGINE_H

/* The engine: uploads a planned model, keeps KV, batches requests continuously, prefills in chunks,
 * guesses ahead if told to, and hands tokens to callbacks from its own thread. */

#include "core/base/base.h"
#include "core/config/config.h"
#include "core/engine/sampler.h"
#include "core/model/model.h"
#include "core/plan/plan.h"
#include "core/plugin/registry.h"

struct q35_engine;
struct q35_request;

enum q35_finish {
    Q35_FINISH_NONE = 0,
    Q35_FINISH_LENGTH,
    Q35_FINISH_END,
    Q35_FINISH_CANCELLED,
    Q35_FINISH_ERROR
};

/* One step of a request. Called on the engine's thread; must not block. After finish != NONE no
 * more calls come and the engine has dropped the request. */
struct q35_event {
    int32_t token;                     /* -1 with finish != NONE */
    const struct q35_logprob *logprob; /* NULL unless asked for */
    const struct q35_logprob *top;     /* [n_top] */
    uint32_t n_top;
    enum q35_finish finish;
    const struct q35_error *error; /* with FINISH_ERROR */
    uint32_t cached_tokens;        /* prompt tokens found in the prefix cache */
    uint32_t drafted_tokens;       /* guessed ahead so far */
    uint32_t accepted_tokens;      /* of these: came true and were told */
    uint64_t time_ns;
};
typedef void (*q35_event_fn)(void *user, const struct q35_event *event);

struct q35_request_params {
    const int32_t *prompt; /* copied */
    size_t prompt_len;
    uint32_t max_tokens;
    struct q35_sampling sampling;
    bool logprobs;
    uint32_t top_logprobs;
    bool ignore_end; /* go on past end tokens */
    bool (*is_end)(void *user, int32_t token);
    q35_event_fn event;
    void *user;
};

struct q35_engine_stats {
    uint32_t running, waiting;
    uint32_t kv_used, kv_total; /* tokens */
    uint64_t prompt_tokens, output_tokens;
    uint64_t device_tokens;                   /* of output_tokens: chosen by the device, greedily */
    uint64_t drafted_tokens, accepted_tokens; /* guessed ahead; of these, came true */
    uint64_t rejected, failed, cancelled, completed;
    bool ready;            /* a device can serve */
    uint64_t run_since_ns; /* devices are at work on a batch since then; 0: they are not */
};

enum q35_status q35_engine_create(struct q35_engine **out, const struct q35_config *config,
                                  const struct q35_model *model, struct q35_registry *registry,
                                  const struct q35_plan *plan, struct q35_error *err);
/* Cancels what runs, joins the thread. NULL is fine. */
void q35_engine_destroy(struct q35_engine *e);

/* [any] Queues a request. BUSY: queue full. CAPACITY: prompt and max_tokens exceed the context. */
enum q35_status q35_engine_submit(struct q35_engine *e, const struct q35_request_params *p,
                                  struct q35_request **out, struct q35_error *err);
/* [any] Ends with FINISH_CANCELLED within one step, unless it has ended already. */
void q35_engine_cancel(struct q35_engine *e, struct q35_request *r);
/* [any] Must be called once for every submitted request, after its last event or before. */
void q35_request_release(struct q35_engine *e, struct q35_request *r);
void q35_engine_stats(struct q35_engine *e, struct q35_engine_stats *out); /* [any] */

/* Positions a sequence may have, and KV tokens over all sequences, as the engine will use them. */
uint32_t q35_engine_context(const struct q35_config *config, const struct q35_model *model);
uint32_t q35_engine_kv_tokens(const struct q35_config *config, const struct q35_model *model);

/* Direct evaluation for perplexity and benchmarks; not while requests run. Tokens at positions
 * start .. start+n-1 of sequence 0; logits of every token if out != NULL: [n][vocab]. */
enum q35_status q35_engine_eval(struct q35_engine *e, const int32_t *tokens, uint32_t n,
                                uint32_t start, float *logits, struct q35_error *err);

#endif
