/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_SERVE_H
#define Q35_CORE_SERVE_H

/* The HTTP server: one libuv loop for sockets, timers and signals. It listens before the model is
 * loaded (/health answers, /ready says 503), and never waits for a device: the engine's thread
 * queues events, and wakes the loop. */

#include "core/base/base.h"
#include "core/config/config.h"
#include "core/engine/engine.h"
#include "core/text/tokenizer.h"

/* What loading yields. Everything is borrowed and must stay valid until q35_server_run returned;
 * the engine must be destroyed before q35_server_destroy. */
struct q35_serve_model {
    struct q35_engine *engine;
    const struct q35_tokenizer *tokenizer;
    const struct q35_chat *chat; /* NULL: the model has no chat template */
    const struct q35_plan *plan; /* may be NULL, as may registry: no per-device figures then */
    const struct q35_registry *registry;
    char name[128]; /* the id in /v1/models */
    /* The same as long as answers to the same request, with a seed, are; "": not known. */
    char fingerprint[48];
    uint32_t context; /* tokens of prompt and output together */
};

/* Called once, on a thread of its own. The configuration outlives it. */
typedef enum q35_status (*q35_serve_load_fn)(void *user, const struct q35_config *config,
                                             struct q35_serve_model *out, struct q35_error *err);

struct q35_server;

/* Reads the configuration and the API keys; opens no socket. Messages name file and line. */
enum q35_status q35_server_create(struct q35_server **out, const char *config_path,
                                  q35_serve_load_fn load, void *user, struct q35_error *err);
/* Listens, loads, serves until SIGTERM or SIGINT and the drain are over. OK: drained.
 * CANCELLED: a second signal or the drain's end cut requests off. Otherwise: why it could not
 * start. Call it once. */
enum q35_status q35_server_run(struct q35_server *s, struct q35_error *err);
/* After q35_server_run: a device never came back with some request. The engine cannot be destroyed,
 * which would wait for it; only the process can end. */
bool q35_server_abandoned(const struct q35_server *s);
/* After the engine was destroyed. NULL is fine. */
void q35_server_destroy(struct q35_server *s);

/* What `q35d -t` checks of the server's own part: address, key file, origins. */
enum q35_status q35_server_check(const struct q35_config *config, struct q35_error *err);

#endif
