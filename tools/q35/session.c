/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/session.h"

#include <string.h>

const char *const session_backends[] = {"cpu_simd", "reference", "cuda", "opencl", "groq", NULL};

enum q35_status session_open_model(struct session *s, const struct session_options *o,
                                   struct q35_error *err)
{
    enum q35_status st;
    const char *path = o->model_path;
    memset(s, 0, sizeof(*s));
    st = o->config_path ? q35_config_load(&s->config, o->config_path, err)
                        : q35_config_default(&s->config, o->backend ? o->backend : "cpu_simd", err);
    if (st != Q35_OK)
        return st;
    if (o->context)
        s->config->context = o->context;
    if (o->max_sequences)
        s->config->max_sequences = o->max_sequences;
    if (o->max_batch)
        s->config->max_batch = o->max_batch;
    st = o->kv_type ? q35_config_set(s->config, "kv_type", o->kv_type, err) : Q35_OK;
    if (st == Q35_OK && o->draft)
        st = q35_config_set(s->config, "draft", o->draft, err);
    if (st != Q35_OK) {
        session_close(s);
        return st;
    }
    if (o->synthetic) {
        st = q35_model_synthetic(&s->model, o->synthetic, true, err);
    } else {
        path = path ? path : s->config->model_path;
        st = path ? q35_model_open(&s->model, path, err)
                  : q35_fail(err, Q35_E_INVALID,
                             "no model: give -m FILE or [model] path in the INI");
        if (st == Q35_OK)
            st = q35_tokenizer_from_gguf(&s->tokenizer, q35_model_gguf(s->model), err);
    }
    if (st == Q35_OK && o->context_most && !s->config->context &&
        q35_model_params(s->model)->context > o->context_most)
        s->config->context = o->context_most;
    if (st != Q35_OK)
        session_close(s);
    return st;
}

enum q35_status session_open(struct session *s, const struct session_options *o,
                             struct q35_error *err)
{
    enum q35_status st = session_open_model(s, o, err);
    if (st == Q35_OK)
        st = q35_registry_create(&s->registry, s->config, err);
    if (st == Q35_OK)
        st = q35_plan_create(&s->plan, s->config, s->model, s->registry, NULL, err);
    if (st == Q35_OK)
        st = q35_engine_create(&s->engine, s->config, s->model, s->registry, s->plan, err);
    if (st != Q35_OK)
        session_close(s);
    return st;
}

void session_close(struct session *s)
{
    q35_engine_destroy(s->engine);
    if (s->plan)
        q35_plan_destroy(s->plan);
    if (s->registry)
        q35_registry_destroy(s->registry);
    q35_tokenizer_destroy(s->tokenizer);
    if (s->model)
        q35_model_close(s->model);
    if (s->config)
        q35_config_free(s->config);
    memset(s, 0, sizeof(*s));
}
