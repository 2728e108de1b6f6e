/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/bench.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CHUNK 2048u
#define WAIT_NS (3600ull * 1000000000ull)

/* The configuration as text, so that options are checked as those of a file are. */
static enum q35_status make_config(struct bench_device *b, const struct bench_options *o,
                                   struct q35_error *err)
{
    struct q35_str s = {0};
    enum q35_status st;
    q35_str_addf(&s, "[backend bench]\npath = %s\nrequired = true\n", o->backend);
    if (o->threads)
        q35_str_addf(&s, "threads = %s\n", o->threads);
    if (o->isa)
        q35_str_addf(&s, "isa = %s\n", o->isa);
    if (o->profile)
        q35_str_addf(&s, "profile = on\n");
    for (const char *at = o->set; at && *at; at += at[strcspn(at, ",")] == ',') {
        int n = (int)strcspn(at, ",");
        q35_str_addf(&s, "%.*s\n", n, at);
        at += n;
    }
    st = s.failed ? q35_fail(err, Q35_E_NOMEM, "no memory for a configuration")
                  : q35_config_parse(&b->config, s.data, "<bench>", err);
    q35_str_fini(&s);
    return st;
}

static enum q35_status upload(struct bench_device *b, struct q35_error *err)
{
    const struct q35_layer *layers = q35_model_layers(b->model);
    uint32_t n = q35_model_layer_count(b->model), i, t;
    enum q35_status st =
        q35_call(b->device, weights_begin, layers, n, (uint32_t)sizeof(*layers), &b->weights, err);
    for (i = 0; i < n && st == Q35_OK; i++)
        for (t = 0; t < layers[i].tensor_count && st == Q35_OK; t++) {
            const struct q35_tensor_desc *d = &layers[i].tensors[t];
            st = b->device->plugin->api.weights_put(b->weights, i, d->role, 0,
                                                    q35_model_data(b->model, i, t), d->bytes,
                                                    Q35_UNTIL_FREE, err);
        }
    return st == Q35_OK ? b->device->plugin->api.weights_commit(b->weights, err) : st;
}

enum q35_status bench_open_device(struct bench_device *b, const struct bench_options *o,
                                  struct q35_error *err)
{
    enum q35_status st = make_config(b, o, err);
    if (st == Q35_OK)
        st = q35_registry_create(&b->registry, b->config, err);
    if (st == Q35_OK)
        st = q35_device_open(&b->registry->devices[0], err);
    if (st == Q35_OK)
        b->device = &b->registry->devices[0];
    else
        bench_close(b);
    return st;
}

enum q35_status bench_open(struct bench_device *b, const struct q35_model *model,
                           const struct bench_options *o, struct q35_error *err)
{
    const struct q35_kv_spec kv = {sizeof(kv), o->sequences, o->sequences * o->context, o->kv_type};
    uint64_t start;
    enum q35_status st;
    memset(b, 0, sizeof(*b));
    b->model = model;
    b->sequences = o->sequences;
    b->tokens = calloc(MAX_CHUNK, sizeof(*b->tokens));
    b->logits = malloc(sizeof(float) * o->sequences * q35_model_params(model)->vocab);
    if (b->tokens && b->logits)
        st = bench_open_device(b, o, err);
    else
        st = q35_fail(err, Q35_E_NOMEM, "no memory for a benchmark");
    if (st == Q35_OK && o->kv_type == Q35_KV_INT8 &&
        !(b->device->info.features & Q35_FEATURE_KV_INT8))
        st =
            q35_fail(err, Q35_E_UNSUPPORTED, "%s offers no KV cache in int8", b->device->info.name);
    start = q35_now_ns();
    if (st == Q35_OK)
        st = upload(b, err);
    if (st == Q35_OK)
        st = q35_call(b->device, kv_create, b->weights, &kv, &b->kv, err);
    b->load_seconds = (double)(q35_now_ns() - start) * 1e-9;
    if (st != Q35_OK)
        bench_close(b);
    return st;
}

void bench_close(struct bench_device *b)
{
    if (b->kv)
        b->device->plugin->api.kv_free(b->kv);
    if (b->weights)
        b->device->plugin->api.weights_free(b->weights);
    if (b->device)
        q35_device_close(b->device);
    q35_registry_destroy(b->registry);
    q35_config_free(b->config);
    free(b->tokens);
    free(b->logits);
    memset(b, 0, sizeof(*b));
}

static int32_t token_id(const struct bench_device *b, uint32_t sequence, uint32_t position)
{
    uint64_t r = q35_mix64((uint64_t)sequence << 32 | position);
    return (int32_t)(r % q35_model_params(b->model)->vocab);
}

static enum q35_status run(struct bench_device *b, uint32_t n, uint32_t n_logits,
                           struct q35_error *err)
{
    struct q35_run r = {.size = sizeof(r),
                        .count = q35_model_layer_count(b->model),
                        .n_tokens = n,
                        .token_stride = sizeof(*b->tokens),
                        .weights = b->weights,
                        .kv = b->kv,
                        .tokens = b->tokens,
                        .signal = ++b->signal};
    enum q35_status st;
    r.out.host = b->logits;
    r.out.bytes = (uint64_t)n_logits * q35_model_params(b->model)->vocab * sizeof(float);
    st = q35_call(b->device, run_layers, &r, err);
    return st == Q35_OK ? q35_call(b->device, wait, b->signal, WAIT_NS, err) : st;
}

enum q35_status bench_prefill(struct bench_device *b, uint32_t sequence, uint32_t start, uint32_t n,
                              struct q35_error *err)
{
    uint32_t max = b->device->info.max_batch, done, i, c;
    enum q35_status st = Q35_OK;
    if (max == 0 || max > MAX_CHUNK)
        max = MAX_CHUNK;
    for (done = 0; done < n && st == Q35_OK; done += c) {
        c = n - done < max ? n - done : max;
        for (i = 0; i < c; i++) {
            uint32_t p = start + done + i;
            b->tokens[i] = (struct q35_token){token_id(b, sequence, p), sequence, p, 0};
        }
        if (done + c == n)
            b->tokens[c - 1].flags = Q35_TOKEN_LOGITS;
        st = run(b, c, done + c == n ? 1 : 0, err);
    }
    return st;
}

enum q35_status bench_decode(struct bench_device *b, uint32_t n, uint32_t position,
                             struct q35_error *err)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        b->tokens[i] = (struct q35_token){token_id(b, i, position), i, position, Q35_TOKEN_LOGITS};
    return run(b, n, n, err);
}

enum q35_status bench_fork(struct bench_device *b, uint32_t n, uint32_t length,
                           struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    uint32_t i;
    for (i = 1; i < n && st == Q35_OK; i++)
        st = b->device->plugin->api.kv_fork(b->kv, 0, i, length, err);
    return st;
}

uint64_t bench_kv_bytes(const struct q35_model *model, uint32_t kv_type, uint32_t position)
{
    const struct q35_params *p = q35_model_params(model);
    uint32_t seen = p->window && position + 1 > p->window ? p->window : position + 1;
    uint64_t head = kv_type == Q35_KV_INT8 ? p->head_dim + sizeof(float) : 2ull * p->head_dim;
    return (uint64_t)p->n_layers * 2 * p->n_kv_heads * head * seen;
}
