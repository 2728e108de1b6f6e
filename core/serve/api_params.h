/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_API_PARAMS_H
#define Q35_SERVE_API_PARAMS_H

/* A generation request, parsed, checked and tokenized. */

#include <jansson.h>

#include "core/engine/engine.h"
#include "core/serve/api_error.h"
#include "core/serve/serve.h"
#include "core/serve/stop.h"

#define Q35_API_CHOICES_MAX 128 /* prompts times n */
#define Q35_API_TOP_MAX 20
#define Q35_API_LOGPROBS_MAX (1u << 19) /* choices * max_tokens * (1 + alternatives) */

struct q35_api_prompt {
    int32_t *ids;
    size_t count;
    char *text; /* with echo only */
    size_t text_len;
};

struct q35_api_params {
    bool chat;
    /* fields of the request, at their defaults where not given */
    int64_t n, max_tokens, max_completion_tokens, logprobs_n, top_logprobs, top_k, seed, best_of;
    double temperature, top_p, min_p, frequency_penalty, presence_penalty, repeat_penalty;
    bool stream, include_usage, echo, ignore_eos, logprobs;
    struct q35_stops stops;
    /* derived */
    struct q35_api_prompt *prompts;
    size_t prompt_count;
    uint32_t budget; /* tokens to generate at most, same for all choices */
    uint32_t n_top;  /* alternatives per token; logprobs says whether any are wanted */
    struct q35_sampling sampling;
};

/* What the body is checked against. */
struct q35_api_limits {
    const struct q35_serve_model *model;
    uint32_t max_queue;
};

/* False with *e on failure; *p can be given to q35_api_params_fini either way. Any thread: does all
 * of the parsing and tokenizing, so long bodies go to a worker. */
bool q35_api_params_parse(struct q35_api_params *p, bool chat, const char *body, size_t len,
                          const struct q35_api_limits *limits, struct q35_api_error *e);
void q35_api_params_fini(struct q35_api_params *p);

/* Parts of the above, one file each. */
bool q35_api_prompt_parse(struct q35_api_params *p, const json_t *root,
                          const struct q35_api_limits *limits, struct q35_api_error *e);
bool q35_api_messages_parse(struct q35_api_params *p, const json_t *root,
                            const struct q35_api_limits *limits, struct q35_api_error *e);

#endif
