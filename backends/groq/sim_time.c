/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What layers cost in mode sim: memory on the chips, and simulated time. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sim.h"

#define CONTEXT_STEP 64u /* times are for contexts rounded up to this */

static const struct q35_layer *layer_at(const struct q35_layer *layers, uint32_t i, uint32_t stride)
{
    return (const void *)((const uint8_t *)layers + (size_t)i * stride);
}

void groq_sim_times_free(struct groq_sim *s)
{
    struct groq_layer_time *t, *next;
    for (t = s->times; t; t = next) {
        next = t->next;
        free(t);
    }
    s->times = NULL;
}

enum q35_status groq_sim_layer(struct groq_sim *s, const struct q35_layer *layer, uint32_t tokens,
                               uint32_t context, uint32_t chips, enum groq_weights weights,
                               const struct groq_layer_time **out, struct q35_error *err)
{
    struct groq_cost_key key;
    struct groq_layer_time *t;
    enum q35_status st;
    if (context > 1)
        context = (context + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    st = groq_cost_key(&key, layer, tokens, context, chips, weights, err);
    if (st)
        return st;
    pthread_mutex_lock(&s->lock);
    for (t = s->times; t && memcmp(&t->key, &key, sizeof(key)) != 0; t = t->next)
        ;
    if (!t) {
        t = calloc(1, sizeof(*t));
        st = t ? groq_layer_time(t, &s->config.tsp, &key, err)
               : q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule");
        if (st) {
            free(t);
            t = NULL;
        } else {
            t->next = s->times;
            s->times = t;
        }
    }
    pthread_mutex_unlock(&s->lock);
    *out = t;
    return st;
}

/* ---- plan
 * ------------------------------------------------------------------------------------------ */

/* Chips that compute one layer; an embedding alone takes one. */
static uint32_t chips_of(const struct groq_placement *p)
{
    uint32_t n = p->chips_per_layer ? p->chips_per_layer : p->end_chips;
    return n ? n : 1;
}

enum q35_status groq_sim_plan(void *state, const struct q35_plan_request *r,
                              struct q35_plan_result *result, struct q35_error *err)
{
    struct groq_sim *s = state;
    struct groq_placement p;
    /* A KV cache is made in pages of 64 positions for each sequence. */
    const struct groq_kv kv = {
        (uint64_t)r->kv_tokens + (r->kv_tokens ? 63ull * r->max_sequences : 0),
        Q35_HAS(r, struct q35_plan_request, kv_type) ? r->kv_type : Q35_KV_F16};
    enum q35_status st =
        groq_place_layers(&p, &s->config, r->layers, r->layer_count, r->layer_stride, kv, err);
    if (st)
        return st;
    result->weight_bytes = p.bytes;
    result->host_bytes = p.host_bytes;
    return Q35_OK;
}

enum q35_status groq_sim_layers(void *state, const struct q35_layer *layers, uint32_t count,
                                uint32_t stride, struct q35_error *err)
{
    struct groq_sim *s = state;
    struct groq_placement p;
    enum q35_status st =
        groq_place_layers(&p, &s->config, layers, count, stride, (struct groq_kv){0}, err);
    if (!st)
        s->chips_per_layer = chips_of(&p);
    return st;
}

/* ---- time
 * ------------------------------------------------------------------------------------------ */

static enum q35_status cycles_of(struct groq_sim *s, const struct q35_layer *layers, uint32_t count,
                                 uint32_t stride, uint32_t tokens, uint32_t context, uint32_t chips,
                                 uint64_t *out, struct q35_error *err)
{
    const struct groq_layer_time *t;
    enum q35_status st = Q35_OK;
    uint32_t i;
    *out = 0;
    for (i = 0; i < count && !st; i++) {
        st = groq_sim_layer(s, layer_at(layers, i, stride), tokens, context, chips,
                            s->config.weights, &t, err);
        if (!st)
            *out += t->cycles;
    }
    return st;
}

enum q35_status groq_sim_seconds(void *state, const struct q35_layer *layers, uint32_t count,
                                 uint32_t stride, uint32_t n_tokens, uint32_t context, double *out,
                                 struct q35_error *err)
{
    struct groq_sim *s = state;
    struct groq_placement p;
    uint64_t cycles = 0;
    enum q35_status st =
        groq_place_layers(&p, &s->config, layers, count, stride, (struct groq_kv){0}, err);
    if (!st)
        st = cycles_of(s, layers, count, stride, n_tokens, context, chips_of(&p), &cycles, err);
    if (!st)
        *out = (double)cycles / (1e6 * s->config.tsp.clock_mhz);
    return st;
}

/* Not before `start` plus so many seconds. */
static void wait_until(const struct timespec *start, double seconds)
{
    struct timespec until = *start;
    time_t whole = (time_t)seconds;
    until.tv_sec += whole;
    until.tv_nsec += (long)(1e9 * (seconds - (double)whole));
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

/* Positions that the last token of the batch looks back on, itself included. */
static uint32_t context_of(const struct q35_run *run)
{
    uint32_t i, context = 1;
    for (i = 0; i < run->n_tokens; i++) {
        const struct q35_token *t =
            (const void *)((const uint8_t *)run->tokens + (size_t)i * run->token_stride);
        context = t->position + 1 > context ? t->position + 1 : context;
    }
    return context;
}

enum q35_status groq_sim_run(void *state, struct q35_device *dev, const struct q35_run *run,
                             struct q35_error *err)
{
    struct groq_sim *s = state;
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer layer;
    struct timespec start;
    uint64_t cycles = 0, own;
    uint32_t i;
    bool real = s->config.pace == GROQ_PACE_REAL && run && Q35_HAS(run, struct q35_run, signal) &&
                run->weights && run->tokens && run->token_stride >= sizeof(struct q35_token) &&
                run->n_tokens && run->n_tokens <= Q35_SOFT_MAX_BATCH;
    enum q35_status st;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (i = 0; real && i < run->count; i++) {
        struct q35_error ignored = Q35_ERROR_INIT; /* what is wrong with the run is said below */
        if (!q35_soft_layer_of(run->weights, run->first + i, &layer, tensors))
            break;
        if (cycles_of(s, &layer, 1, sizeof(layer), run->n_tokens, context_of(run),
                      s->chips_per_layer, &own, &ignored) == Q35_OK)
            cycles += own;
    }
    st = q35_soft_run_layers(dev, run, err);
    if (!st && real)
        wait_until(&start, (double)cycles / (1e6 * s->config.tsp.clock_mhz));
    return st;
}
