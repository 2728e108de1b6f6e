/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_ENGINE_INTERNAL_H
#define Q35_CORE_ENGINE_INTERNAL_H

/* The engine's parts: stages.c puts layers on devices and runs batches through them, slots.c
 * keeps sequences and their KV, engine.c owns requests and the thread. */

#include <pthread.h>

#include "core/engine/draft.h"
#include "core/engine/engine.h"
#include "core/engine/prompts.h"

#define Q35_PAGE 64u /* positions in a KV page: the ABI's attention block */

/* A span of layers on its device. */
struct stage {
    struct q35_device_entry *device;
    uint32_t index; /* of the device in the registry */
    struct q35_weights *weights;
    struct q35_kv *kv; /* NULL if the span has no decoder layer */
    uint32_t first, count;
};

struct stages {
    struct stage *list;
    uint32_t count;
    uint32_t max_batch;    /* tokens in one run, as every device allows */
    float *hidden[2];      /* [max_batch][d_model] each */
    uint64_t *signals;     /* [registry devices] last timeline value used */
    uint32_t micro_batch;  /* least tokens in a part of a batch; 0: batches are not parted */
    bool greedy;           /* the head's device offers Q35_RUN_GREEDY */
    _Atomic uint32_t lost; /* registry index of the device that was lost, or UINT32_MAX */
};

/* One call of q35_stages_run. */
struct batch {
    struct stages *stages;
    const struct q35_model *model;
    const struct q35_token *tokens; /* [n] */
    uint32_t n;
    float *logits; /* [tokens with LOGITS][vocab], or */
    uint32_t *ids; /* [tokens with LOGITS] of a greedy run, else NULL */
};

/* A sequence id of the KV caches and what they hold for it. A slot without a request keeps its
 * tokens as a prefix cache until somebody needs the room. */
struct slot {
    int32_t *tokens; /* [context] whose KV is on the devices */
    uint32_t length;
    uint32_t pages; /* reserved: for the request's whole life, or for `length` when cached */
    uint64_t used_at;
    struct q35_request *request;
};

struct q35_request {
    struct q35_request *next; /* waiting list */
    struct q35_request_params p;
    struct q35_sampler *sampler;
    int32_t *tokens; /* prompt, then output */
    uint32_t length, prompt_len, limit;
    uint32_t done;   /* tokens whose KV is computed */
    uint32_t cached; /* of these, taken from the prefix cache */
    uint32_t slot;
    uint32_t batch_at;     /* this step: index of its first logits row, UINT32_MAX without */
    uint32_t batch_tokens; /* known ones; draft.take guesses follow them */
    uint64_t due;          /* prompts are computed in ascending order of this */
    struct q35_draft draft;
    uint32_t drafted, accepted;
    bool greedy; /* a device may choose its tokens */
    int refs;    /* engine and submitter; guarded by the engine's mutex */
    bool cancelled, finished;
};

struct q35_engine {
    const struct q35_config *config;
    const struct q35_model *model;
    struct q35_registry *registry;
    struct q35_plan *replan; /* after a device was lost; NULL: the plan given */
    struct stages stages;
    bool *lost;       /* [registry devices] */
    uint32_t *resets; /* [registry devices] how often each was lost and reset */
    uint32_t context, max_sequences, max_queue, kv_pages, pages_used;
    struct slot *slots;      /* [max_sequences] */
    struct q35_token *batch; /* [max_batch] */
    uint32_t draft_tokens;   /* guesses in one run at most, 0: none */
    struct q35_draft_cost draft_cost;
    struct q35_prompt_cost prompt_cost;
    uint64_t prompt_done;   /* tokens of prompts computed so far */
    uint32_t prompt_tokens; /* of these in this step's batch */
    uint64_t (*now)(void);  /* for the costs; tests have their own */
    float *logits;          /* [rows][vocab], rows: max_sequences or draft_tokens + 1 if more */
    uint32_t *ids;          /* [rows] of a greedy batch */
    bool greedy;            /* this step's batch: ids instead of logits */
    bool decoding;          /* this step's batch: no part of a prompt */
    uint32_t guesses;       /* in this step's batch */
    float *scratch;         /* [vocab] the copy a sampler may change */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t thread;
    bool has_mutex, has_thread, stop, ready;
    bool recovering; /* a device was lost; requests queue until the rest is planned */
    struct q35_request *waiting, *waiting_tail;
    struct q35_engine_stats stats;
};

/* stages.c. kv_tokens and max_sequences as in q35_kv_spec. On failure everything is freed. */
enum q35_status q35_stages_create(struct stages *s, const struct q35_model *model,
                                  struct q35_registry *registry, const struct q35_plan *plan,
                                  const struct q35_config *config, uint32_t kv_tokens,
                                  uint32_t max_sequences, struct q35_error *err);
void q35_stages_destroy(struct stages *s);
/* Runs n tokens through all stages. logits: [tokens with LOGITS][vocab]; or, if s->greedy, ids:
 * [tokens with LOGITS], the greatest of each, below vocab: a device that gives others is lost. One
 * of the two is NULL. With DEVICE_LOST, s->lost names the device. */
enum q35_status q35_stages_run(struct stages *s, const struct q35_model *model,
                               const struct q35_token *tokens, uint32_t n, float *logits,
                               uint32_t *ids, struct q35_error *err);
/* Tokens from .. from+n-1 of a batch through one stage; the stages before must have had them. */
enum q35_status q35_stage_slice(const struct batch *b, uint32_t stage, uint32_t from, uint32_t n,
                                struct q35_error *err);
/* pipeline.c. The whole batch in parts, so that the devices of several stages work at once. */
enum q35_status q35_pipeline_run(const struct batch *b, struct q35_error *err);
enum q35_status q35_stages_truncate(struct stages *s, uint32_t sequence, uint32_t length,
                                    struct q35_error *err);
enum q35_status q35_stages_fork(struct stages *s, uint32_t src, uint32_t dst, uint32_t length,
                                struct q35_error *err);

/* slots.c. Gives r a slot with as much of its prompt cached as there is; false: no room now. */
bool q35_slot_take(struct q35_engine *e, struct q35_request *r);
/* The request is over; its tokens stay as a prefix cache. */
void q35_slot_leave(struct q35_engine *e, struct q35_request *r);
/* All KV is gone: requests start over, caches are empty. */
void q35_slots_forget(struct q35_engine *e);

#endif
