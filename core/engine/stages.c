/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/internal.h"

#include <stdlib.h>
#include <string.h>

/* A run on a device may take long (a large chunk on one slow core); only a hang takes an hour. */
#define RUN_TIMEOUT_NS (3600ull * 1000000000ull)

static enum q35_status upload(struct stage *st, const struct q35_model *model,
                              struct q35_error *err)
{
    const struct q35_layer *layers = q35_model_layers(model) + st->first;
    enum q35_status status;
    uint32_t i, t;
    status = q35_call(st->device, weights_begin, layers, st->count, (uint32_t)sizeof(*layers),
                      &st->weights, err);
    if (status != Q35_OK)
        return status;
    for (i = 0; i < st->count; i++)
        for (t = 0; t < layers[i].tensor_count; t++) {
            const struct q35_tensor_desc *d = &layers[i].tensors[t];
            const uint8_t *data = q35_model_data(model, st->first + i, t);
            status = st->device->plugin->api.weights_put(st->weights, i, d->role, 0, data, d->bytes,
                                                         Q35_UNTIL_FREE, err);
            if (status != Q35_OK)
                return status;
        }
    return st->device->plugin->api.weights_commit(st->weights, err);
}

static bool has_decoder(const struct q35_model *model, const struct stage *st)
{
    uint32_t i;
    for (i = 0; i < st->count; i++)
        if (q35_model_layers(model)[st->first + i].kind == Q35_LAYER_DECODER)
            return true;
    return false;
}

static enum q35_status stage_create(struct stage *st, const struct q35_model *model,
                                    const struct q35_kv_spec *kv, struct q35_error *err)
{
    enum q35_status status = q35_device_open(st->device, err);
    if (status == Q35_OK)
        status = upload(st, model, err);
    if (status == Q35_OK && has_decoder(model, st))
        status = q35_call(st->device, kv_create, st->weights, kv, &st->kv, err);
    if (status != Q35_OK)
        q35_error_prefix(err, "device %s, layers %u to %u", st->device->info.name, st->first,
                         st->first + st->count - 1);
    return status;
}

enum q35_status q35_stages_create(struct stages *s, const struct q35_model *model,
                                  struct q35_registry *registry, const struct q35_plan *plan,
                                  const struct q35_config *config, uint32_t kv_tokens,
                                  uint32_t max_sequences, struct q35_error *err)
{
    const struct q35_kv_spec kv = {sizeof(kv), max_sequences, kv_tokens,
                                   q35_config_kv_type(config)};
    uint64_t d_model = q35_model_params(model)->d_model;
    enum q35_status status = Q35_OK;
    uint32_t i;
    memset(s, 0, sizeof(*s));
    s->lost = UINT32_MAX;
    s->list = calloc(plan->stage_count, sizeof(*s->list));
    s->signals = calloc(registry->device_count, sizeof(*s->signals));
    if (!s->list || !s->signals) {
        q35_stages_destroy(s);
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u stages", plan->stage_count);
    }
    s->max_batch = config->max_batch;
    s->micro_batch = config->micro_batch;
    for (i = 0; i < plan->stage_count && status == Q35_OK; i++) {
        struct stage *st = &s->list[i];
        st->index = plan->stages[i].device;
        st->device = &registry->devices[st->index];
        st->first = plan->stages[i].first;
        st->count = plan->stages[i].count;
        s->count = i + 1;
        if (st->device->info.max_batch && st->device->info.max_batch < s->max_batch)
            s->max_batch = st->device->info.max_batch;
        status = stage_create(st, model, &kv, err);
        if (status == Q35_E_DEVICE_LOST)
            s->lost = st->index;
    }
    s->greedy = s->count && s->list[s->count - 1].device->info.features & Q35_FEATURE_GREEDY;
    for (i = 0; i < 2 && status == Q35_OK; i++) {
        s->hidden[i] = aligned_alloc(64, ((size_t)s->max_batch * d_model * 4 + 63) / 64 * 64);
        if (!s->hidden[i])
            status = q35_fail(err, Q35_E_NOMEM, "no memory for a batch of %u", s->max_batch);
    }
    if (status != Q35_OK) {
        uint32_t lost = s->lost;
        q35_stages_destroy(s);
        s->lost = lost;
        return status;
    }
    for (i = 0; i < registry->device_count; i++) {
        struct q35_device_entry *d = &registry->devices[i];
        if (d->dev && d->plugin->api.poll)
            (void)d->plugin->api.poll(d->dev, &s->signals[i], err);
    }
    return Q35_OK;
}

void q35_stages_destroy(struct stages *s)
{
    uint32_t i;
    for (i = 0; i < s->count; i++) {
        struct stage *st = &s->list[i];
        if (st->kv)
            st->device->plugin->api.kv_free(st->kv);
        if (st->weights)
            st->device->plugin->api.weights_free(st->weights);
    }
    free(s->list);
    free(s->signals);
    free(s->hidden[0]);
    free(s->hidden[1]);
    memset(s, 0, sizeof(*s));
    s->lost = UINT32_MAX;
}

static enum q35_status run_stage(struct stages *s, struct stage *st, struct q35_run *run,
                                 struct q35_error *err)
{
    uint32_t device = st->index;
    enum q35_status status;
    run->weights = st->weights;
    run->kv = st->kv;
    run->first = 0;
    run->count = st->count;
    run->signal = ++s->signals[device];
    status = q35_call(st->device, run_layers, run, err);
    if (status == Q35_OK)
        status = q35_call(st->device, wait, run->signal, RUN_TIMEOUT_NS, err);
    if (status == Q35_E_DEVICE_LOST || status == Q35_E_PLUGIN || status == Q35_E_TIMEOUT) {
        s->lost = device;
        return Q35_E_DEVICE_LOST;
    }
    return status;
}

static uint64_t count_logits(const struct q35_token *tokens, uint32_t n)
{
    uint64_t rows = 0;
    uint32_t i;
    for (i = 0; i < n; i++)
        rows += tokens[i].flags & Q35_TOKEN_LOGITS ? 1u : 0u;
    return rows;
}

/* The last stage, which chooses tokens. What it chose is looked at before anybody uses it. */
static enum q35_status run_greedy(const struct batch *b, struct q35_run *run, uint32_t from,
                                  uint32_t n, struct q35_error *err)
{
    struct stage *last = &b->stages->list[b->stages->count - 1];
    uint32_t *ids = b->ids + count_logits(b->tokens, from), i;
    uint32_t rows = (uint32_t)count_logits(b->tokens + from, n);
    uint32_t vocab = q35_model_params(b->model)->vocab;
    enum q35_status status;
    run->flags = Q35_RUN_GREEDY;
    run->out.bytes = rows * sizeof(*ids);
    run->out.host = ids;
    status = run_stage(b->stages, last, run, err);
    for (i = 0; i < rows && status == Q35_OK; i++)
        if (ids[i] >= vocab) {
            b->stages->lost = last->index;
            q35_log(Q35_LOG_ERROR, "device %s chose token %u of a vocabulary of %u",
                    last->device->info.name, ids[i], vocab);
            status = q35_fail(err, Q35_E_DEVICE_LOST, "%s chose token %u of a vocabulary of %u",
                              last->device->info.name, ids[i], vocab);
        }
    return status;
}

enum q35_status q35_stage_slice(const struct batch *b, uint32_t stage, uint32_t from, uint32_t n,
                                struct q35_error *err)
{
    struct stages *s = b->stages;
    const struct q35_params *p = q35_model_params(b->model);
    uint64_t at = (uint64_t)from * p->d_model, bytes = (uint64_t)n * p->d_model * 4;
    struct q35_run run = {.size = sizeof(run),
                          .n_tokens = n,
                          .token_stride = sizeof(*b->tokens),
                          .tokens = b->tokens + from};
    if (stage > 0) {
        run.in.host = s->hidden[(stage - 1) & 1] + at;
        run.in.bytes = bytes;
    }
    if (stage + 1 < s->count) {
        run.out.host = s->hidden[stage & 1] + at;
        run.out.bytes = bytes;
        return run_stage(s, &s->list[stage], &run, err);
    }
    if (b->ids)
        return run_greedy(b, &run, from, n, err);
    run.out.bytes = count_logits(b->tokens + from, n) * p->vocab * 4;
    if (b->logits)
        run.out.host = b->logits + count_logits(b->tokens, from) * p->vocab;
    return run_stage(s, &s->list[stage], &run, err);
}

enum q35_status q35_stages_run(struct stages *s, const struct q35_model *model,
                               const struct q35_token *tokens, uint32_t n, float *logits,
                               uint32_t *ids, struct q35_error *err)
{
    const struct batch b = {s, model, tokens, n, logits, ids};
    enum q35_status status = Q35_OK;
    uint32_t i;
    if (s->count > 1 && s->micro_batch && n / s->micro_batch >= 2)
        return q35_pipeline_run(&b, err);
    for (i = 0; i < s->count && status == Q35_OK; i++)
        status = q35_stage_slice(&b, i, 0, n, err);
    return status;
}

enum q35_status q35_stages_truncate(struct stages *s, uint32_t sequence, uint32_t length,
                                    struct q35_error *err)
{
    uint32_t i;
    for (i = 0; i < s->count; i++)
        if (s->list[i].kv) {
            struct stage *st = &s->list[i];
            enum q35_status status =
                st->device->plugin->api.kv_truncate(st->kv, sequence, length, err);
            if (status != Q35_OK)
                return status;
        }
    return Q35_OK;
}

enum q35_status q35_stages_fork(struct stages *s, uint32_t src, uint32_t dst, uint32_t length,
                                struct q35_error *err)
{
    uint32_t i;
    for (i = 0; i < s->count; i++)
        if (s->list[i].kv) {
            struct stage *st = &s->list[i];
            enum q35_status status = st->device->plugin->api.kv_fork(st->kv, src, dst, length, err);
            if (status != Q35_OK)
                return status;
        }
    return Q35_OK;
}
