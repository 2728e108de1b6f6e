/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_Q35D_LOAD_H
#define Q35_TOOLS_Q35D_LOAD_H

#include "core/serve/serve.h"

/* Everything between a configuration and a running engine. Zero-initialise. */
struct q35d_loaded;

struct q35d_loaded *q35d_loaded_create(void);
/* A q35_serve_load_fn; user is the struct q35d_loaded. */
enum q35_status q35d_load(void *user, const struct q35_config *config, struct q35_serve_model *out,
                          struct q35_error *err);
/* -t: plugins load, the model opens, a plan exists; nothing is uploaded. Prints the plan. */
enum q35_status q35d_check(struct q35d_loaded *l, const struct q35_config *config,
                           struct q35_error *err);
/* The engine goes first. NULL is fine. */
void q35d_loaded_destroy(struct q35d_loaded *l);

#endif
