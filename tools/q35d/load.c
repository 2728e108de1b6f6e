/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35d/load.h"

#include "q35/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "q35_version.h"

struct q35d_loaded {
    struct q35_registry *registry;
    struct q35_model *model;
    struct q35_plan *plan;
    struct q35_engine *engine;
    struct q35_tokenizer *tokenizer;
    struct q35_chat *chat;
};

struct q35d_loaded *q35d_loaded_create(void)
{
    return calloc(1, sizeof(struct q35d_loaded));
}

static enum q35_status load_text(struct q35d_loaded *l, struct q35_error *err)
{
    const char *chat;
    enum q35_status st;
    if (!q35_model_gguf(l->model))
        return q35_fail(err, Q35_E_CONFIG, "this model has no tokenizer");
    st = q35_tokenizer_from_gguf(&l->tokenizer, q35_model_gguf(l->model), err);
    if (st != Q35_OK)
        return st;
    chat = q35_tokenizer_chat_template(l->tokenizer);
    return chat ? q35_chat_create(&l->chat, chat, err) : Q35_OK;
}

/* All that -t checks; the engine's upload is what is left. */
static enum q35_status prepare(struct q35d_loaded *l, const struct q35_config *config,
                               struct q35_error *err)
{
    enum q35_status st;
    if (!config->model_path)
        return q35_fail(err, Q35_E_CONFIG, "%s: [model] has no path", config->path);
    st = q35_model_open(&l->model, config->model_path, err);
    if (st != Q35_OK) {
        q35_error_prefix(err, "%s: [model] path", config->path);
        return st;
    }
    st = load_text(l, err);
    if (st != Q35_OK) {
        q35_error_prefix(err, "%s", config->model_path);
        return st;
    }
    st = q35_registry_create(&l->registry, config, err);
    if (st == Q35_OK)
        st = q35_plan_create(&l->plan, config, l->model, l->registry, NULL, err);
    return st;
}

static const char *model_name(const struct q35d_loaded *l, const struct q35_config *config)
{
    const char *file = strrchr(config->model_path, '/');
    if (config->model_name)
        return config->model_name;
    if (q35_model_params(l->model)->name[0])
        return q35_model_params(l->model)->name;
    return file ? file + 1 : config->model_path;
}

/* What answers depend on: this program, the tensors, how KV is kept, and the devices that are not
 * bit-exact. */
static void fingerprint(const struct q35d_loaded *l, char *out, size_t size)
{
    uint64_t h = q35_hash_data((const uint8_t *)Q35_VERSION, strlen(Q35_VERSION));
    const struct q35_layer *layers = q35_model_layers(l->model);
    uint32_t i, t;
    for (i = 0; i < q35_model_layer_count(l->model); i++)
        for (t = 0; t < layers[i].tensor_count; t++)
            h = q35_mix64(h ^ layers[i].tensors[t].hash);
    h = q35_mix64(h ^ l->plan->kv_type);
    for (i = 0; i < l->plan->stage_count; i++) {
        const struct q35_device_info *d = &l->registry->devices[l->plan->stages[i].device].info;
        if (d->determinism != Q35_CLASS_EXACT)
            h = q35_mix64(h ^ q35_hash_data((const uint8_t *)d->name, strlen(d->name)));
    }
    snprintf(out, size, "q35-" Q35_VERSION "-%08x", (unsigned)(h >> 32));
}

enum q35_status q35d_load(void *user, const struct q35_config *config, struct q35_serve_model *out,
                          struct q35_error *err)
{
    struct q35d_loaded *l = user;
    enum q35_status st = prepare(l, config, err);
    if (st == Q35_OK)
        st = q35_engine_create(&l->engine, config, l->model, l->registry, l->plan, err);
    if (st != Q35_OK)
        return st;
    snprintf(out->name, sizeof(out->name), "%s", model_name(l, config));
    fingerprint(l, out->fingerprint, sizeof(out->fingerprint));
    out->engine = l->engine;
    out->tokenizer = l->tokenizer;
    out->chat = l->chat;
    out->plan = l->plan;
    out->registry = l->registry;
    out->context = q35_engine_context(config, l->model);
    return Q35_OK;
}

enum q35_status q35d_check(struct q35d_loaded *l, const struct q35_config *config,
                           struct q35_error *err)
{
    enum q35_status st = prepare(l, config, err);
    char *text = st == Q35_OK ? q35_plan_text(l->plan, l->registry, false) : NULL;
    if (text)
        fputs(text, stdout);
    free(text);
    return st;
}

void q35d_loaded_destroy(struct q35d_loaded *l)
{
    if (!l)
        return;
    q35_engine_destroy(l->engine);
    q35_plan_destroy(l->plan);
    q35_registry_destroy(l->registry);
    q35_chat_destroy(l->chat);
    q35_tokenizer_destroy(l->tokenizer);
    q35_model_close(l->model);
    free(l);
}
