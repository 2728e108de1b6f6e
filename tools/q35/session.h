/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_SESSION_H
#define Q35_TOOLS_SESSION_H

/* What run, perplexity and bench share: configuration, devices, packed model, plan, engine. */

#include "core/config/config.h"
#include "core/engine/engine.h"
#include "core/model/model.h"
#include "core/plan/plan.h"
#include "core/plugin/registry.h"
#include "core/text/tokenizer.h"

struct session {
    struct q35_config *config;
    struct q35_registry *registry;
    struct q35_model *model;
    struct q35_tokenizer *tokenizer; /* NULL for a synthetic model */
    struct q35_plan *plan;
    struct q35_engine *engine;
};

/* The plugins that come with q35, whether or not they were built; ends in NULL. */
extern const char *const session_backends[];

struct session_options {
    const char *config_path; /* NULL: one backend */
    const char *backend;     /* without a configuration; NULL: cpu_simd */
    const char *model_path;  /* NULL: the configuration's */
    const char *synthetic;   /* a shape instead of a model file */
    uint32_t context;        /* 0: the configuration's */
    uint32_t max_sequences;  /* 0: the configuration's */
    uint32_t max_batch;      /* 0: the configuration's */
    const char *kv_type;     /* "f16" or "int8"; NULL: the configuration's */
    const char *draft;       /* "none" or "lookup"; NULL: the configuration's */
    uint32_t context_most;   /* of the model's context, if nothing else is said; 0: all of it */
};

/* Opens everything up to the engine. On failure everything is closed again. */
enum q35_status session_open(struct session *s, const struct session_options *o,
                             struct q35_error *err);
/* The same without plan and engine. */
enum q35_status session_open_model(struct session *s, const struct session_options *o,
                                   struct q35_error *err);
void session_close(struct session *s);

#endif
