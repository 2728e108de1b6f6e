/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_SAMPLER_H
#define Q35_CORE_SAMPLER_H

/* From logits to a token. Order: penalties, then temperature 0 takes the first maximum; otherwise
 * top-k, temperature, top-p, min-p, and a draw from the request's own seeded generator. */

#include "core/base/base.h"

struct q35_sampling {
    float temperature;       /* 0: greedy; 0 .. 2 */
    uint32_t top_k;          /* 0: off */
    float top_p;             /* 1: off */
    float min_p;             /* 0: off */
    float repeat_penalty;    /* 1: off */
    float frequency_penalty; /* -2 .. 2, 0: off */
    float presence_penalty;  /* -2 .. 2, 0: off */
    uint32_t penalty_window; /* last tokens that count; 0: all */
    uint64_t seed;
};

void q35_sampling_default(struct q35_sampling *s);
/* INVALID naming the field. */
enum q35_status q35_sampling_check(const struct q35_sampling *s, struct q35_error *err);

/* True if a sampler of these takes the greatest logit as it is, q35_greedy of arith.h: then a
 * device may as well. */
bool q35_sampling_is_greedy(const struct q35_sampling *s);

struct q35_sampler;
enum q35_status q35_sampler_create(struct q35_sampler **out, const struct q35_sampling *s,
                                   uint32_t vocab, struct q35_error *err);
void q35_sampler_destroy(struct q35_sampler *s);
/* A token of prompt or output, for the penalties. */
void q35_sampler_accept(struct q35_sampler *s, int32_t id);
/* logits[vocab] are modified. */
int32_t q35_sampler_next(struct q35_sampler *s, float *logits);

struct q35_logprob {
    int32_t id;
    float logprob;
};
/* Natural-log probabilities of unmodified logits: of `id`, and the n most likely, descending. */
void q35_logprobs(const float *logits, uint32_t vocab, int32_t id, struct q35_logprob *chosen,
                  struct q35_logprob *top, uint32_t n);

#endif
