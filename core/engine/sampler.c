/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "q35/arith.h"

struct candidate {
    float logit, p;
    int32_t id;
};

struct q35_sampler {
    struct q35_sampling s;
    uint32_t vocab;
    uint64_t rng;
    uint32_t *counts; /* [vocab] occurrences inside the penalty window */
    int32_t *recent;  /* ring of the last penalty_window tokens, NULL if the window is unbounded */
    uint32_t recent_len, recent_at;
    struct candidate *cand; /* [vocab] */
};

void q35_sampling_default(struct q35_sampling *s)
{
    memset(s, 0, sizeof(*s));
    s->temperature = 1.0f;
    s->top_p = 1.0f;
    s->repeat_penalty = 1.0f;
}

enum q35_status q35_sampling_check(const struct q35_sampling *s, struct q35_error *err)
{
    const struct {
        const char *name;
        float value, min, max;
    } fields[] = {
        {"temperature", s->temperature, 0.0f, 2.0f},
        {"top_p", s->top_p, 0.0f, 1.0f},
        {"min_p", s->min_p, 0.0f, 1.0f},
        {"repeat_penalty", s->repeat_penalty, 0.01f, 10.0f},
        {"frequency_penalty", s->frequency_penalty, -2.0f, 2.0f},
        {"presence_penalty", s->presence_penalty, -2.0f, 2.0f},
    };
    size_t i;
    for (i = 0; i < Q35_COUNT(fields); i++)
        if (!(fields[i].value >= fields[i].min && fields[i].value <= fields[i].max))
            return q35_fail(err, Q35_E_INVALID, "%s must lie between %g and %g", fields[i].name,
                            (double)fields[i].min, (double)fields[i].max);
    return Q35_OK;
}

static bool has_penalties(const struct q35_sampling *s)
{
    return s->repeat_penalty != 1.0f || s->frequency_penalty != 0.0f || s->presence_penalty != 0.0f;
}

bool q35_sampling_is_greedy(const struct q35_sampling *s)
{
    return (s->temperature <= 0.0f || s->top_k == 1) && !has_penalties(s);
}

enum q35_status q35_sampler_create(struct q35_sampler **out, const struct q35_sampling *sampling,
                                   uint32_t vocab, struct q35_error *err)
{
    struct q35_sampler *s;
    enum q35_status st = q35_sampling_check(sampling, err);
    *out = NULL;
    if (st != Q35_OK)
        return st;
    s = calloc(1, sizeof(*s));
    if (!s)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a sampler");
    s->s = *sampling;
    s->vocab = vocab;
    s->rng = sampling->seed;
    s->cand = sampling->temperature > 0.0f ? calloc(vocab, sizeof(*s->cand)) : NULL;
    s->counts = has_penalties(sampling) ? calloc(vocab, sizeof(*s->counts)) : NULL;
    s->recent = s->counts && sampling->penalty_window
                    ? calloc(sampling->penalty_window, sizeof(*s->recent))
                    : NULL;
    if ((sampling->temperature > 0.0f && !s->cand) || (has_penalties(sampling) && !s->counts) ||
        (s->counts && sampling->penalty_window && !s->recent)) {
        q35_sampler_destroy(s);
        return q35_fail(err, Q35_E_NOMEM, "no memory for a sampler");
    }
    *out = s;
    return Q35_OK;
}

void q35_sampler_destroy(struct q35_sampler *s)
{
    if (!s)
        return;
    free(s->cand);
    free(s->counts);
    free(s->recent);
    free(s);
}

void q35_sampler_accept(struct q35_sampler *s, int32_t id)
{
    if (!s->counts || id < 0 || (uint32_t)id >= s->vocab)
        return;
    if (s->recent) {
        if (s->recent_len == s->s.penalty_window)
            s->counts[s->recent[s->recent_at]]--;
        else
            s->recent_len++;
        s->recent[s->recent_at] = id;
        s->recent_at = (s->recent_at + 1) % s->s.penalty_window;
    }
    s->counts[id]++;
}

static void penalize(const struct q35_sampler *s, float *logits)
{
    uint32_t i;
    for (i = 0; i < s->vocab; i++) {
        float n = (float)s->counts[i];
        if (!s->counts[i])
            continue;
        logits[i] =
            logits[i] > 0.0f ? logits[i] / s->s.repeat_penalty : logits[i] * s->s.repeat_penalty;
        logits[i] -= n * s->s.frequency_penalty + s->s.presence_penalty;
    }
}

/* Descending by logit, ascending by id: a total order, so results do not depend on qsort. */
static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static double uniform(struct q35_sampler *s)
{
    s->rng += 0x9e3779b97f4a7c15u;
    return (double)(q35_mix64(s->rng) >> 11) * 0x1p-53;
}

/* Heap of the m first, the last of them in order at its root. */
static void sift(struct candidate *c, uint32_t m, uint32_t i)
{
    for (;;) {
        uint32_t worst = i, k;
        for (k = 2 * i + 1; k <= 2 * i + 2 && k < m; k++)
            if (by_logit(&c[k], &c[worst]) > 0)
                worst = k;
        if (worst == i)
            return;
        struct candidate swap = c[i];
        c[i] = c[worst];
        c[worst] = swap;
        i = worst;
    }
}

/* Puts the m first of n candidates in front, in order. A vocabulary is long and m is mostly short.
 */
static void put_first(struct candidate *c, uint32_t n, uint32_t m)
{
    uint32_t i;
    for (i = m / 2; i-- > 0;)
        sift(c, m, i);
    for (i = m; i < n; i++)
        if (by_logit(&c[i], &c[0]) < 0) {
            struct candidate swap = c[i];
            c[i] = c[0];
            c[0] = swap;
            sift(c, m, 0);
        }
    qsort(c, m, sizeof(*c), by_logit);
}

/* Keeps those candidates that top-k, top-p and min-p leave; p is set relative to the largest. */
static uint32_t keep(struct q35_sampler *s, uint32_t n, float top)
{
    double sum = 0.0, run = 0.0;
    uint32_t i, sorted = 0;
    if (s->s.top_k) {
        sorted = n > s->s.top_k ? s->s.top_k : n;
        put_first(s->cand, n, sorted);
        n = sorted;
    }
    for (i = 0; i < n; i++) {
        s->cand[i].p = q35_exp((s->cand[i].logit - top) / s->s.temperature);
        sum += (double)s->cand[i].p;
    }
    if (s->s.top_p < 1.0f) {
        for (i = 0; i < n && (i == 0 || run < (double)s->s.top_p * sum); i++) {
            if (i == sorted) {
                sorted = sorted ? sorted * 8 : 16;
                sorted = sorted > n ? n : sorted;
                put_first(s->cand, n, sorted);
            }
            run += (double)s->cand[i].p;
        }
        n = i;
    }
    for (i = 0; i < n; i++)
        if (s->cand[i].p < s->s.min_p)
            s->cand[i].p = 0.0f;
    return n;
}

int32_t q35_sampler_next(struct q35_sampler *s, float *logits)
{
    int32_t best;
    uint32_t i, n = 0;
    double sum = 0.0, at;
    if (s->counts)
        penalize(s, logits);
    best = (int32_t)q35_greedy(logits, s->vocab);
    if (s->s.temperature <= 0.0f || s->s.top_k == 1)
        return best;
    for (i = 0; i < s->vocab; i++) {
        float d = (logits[i] - logits[best]) / s->s.temperature;
        if (!(d >= -87.0f)) /* its probability is 0 in binary32 */
            continue;
        s->cand[n].logit = logits[i];
        s->cand[n++].id = (int32_t)i;
    }
    n = keep(s, n, logits[best]);
    for (i = 0; i < n; i++)
        sum += (double)s->cand[i].p;
    at = uniform(s) * sum;
    for (i = 0; i < n; i++) {
        at -= (double)s->cand[i].p;
        if (at < 0.0 && s->cand[i].p > 0.0f)
            return s->cand[i].id;
    }
    return best;
}

void q35_logprobs(const float *logits, uint32_t vocab, int32_t id, struct q35_logprob *chosen,
                  struct q35_logprob *top, uint32_t n)
{
    float max = logits[q35_greedy(logits, vocab)];
    double sum = 0.0, log_sum;
    uint32_t i, k, used = 0;
    for (i = 0; i < vocab; i++)
        sum += (double)q35_exp(logits[i] - max);
    log_sum = log(sum) + (double)max;
    chosen->id = id;
    chosen->logprob = (float)((double)logits[id] - log_sum);
    for (i = 0; i < vocab && n; i++) {
        float lp = (float)((double)logits[i] - log_sum);
        if (used == n && lp <= top[n - 1].logprob)
            continue;
        k = used < n ? used++ : n - 1;
        for (; k > 0 && top[k - 1].logprob < lp; k--)
            top[k] = top[k - 1];
        top[k].id = (int32_t)i;
        top[k].logprob = lp;
    }
}
