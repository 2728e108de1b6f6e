/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_ISOLATE_H
#define Q35_CORE_ISOLATE_H

/* isolate = process: a plugin in a process of its own, behind the same struct q35_plugin.
 *
 * Every opened device has its own worker process. Calls travel as small messages over socket pairs,
 * one for each call under way; data lies in an arena, memory that both processes map and that this
 * side alone hands out. Weights inside a mapped file are not copied: the worker is given the file's
 * descriptor and maps it too. Nothing a worker says is trusted further than a number or a text.
 *
 * A worker that dies, or lets a call or a submit take longer than hang_seconds, is killed; all its
 * calls then return DEVICE_LOST with what happened. reset() starts a new one. */

#include "core/plugin/load.h"

/* Fills p->api with proxies and learns the plugin's name, options and devices from a worker that
 * runs for that purpose. p->path, p->config and p->options are set and stay in place. */
enum q35_status q35_isolate_load(struct q35_plugin_entry *p, const char *worker,
                                 struct q35_error *err);
void q35_isolate_unload(struct q35_plugin_entry *p);

/* The worker's main loop: serves plugin `path` on the descriptors that q35_isolate_load prepared,
 * until the other end is gone. Returns the exit status. */
int q35_isolate_serve(const char *path, const struct q35_options *options);

/* ---- what travels ------------------------------------------------------------------------- */

#define ISO_CHANNELS 8
#define ISO_WAIT_CHANNELS 6 /* so that waiting never keeps a cancel out */
#define ISO_FD_LIFE 3       /* closed when the host is gone */
#define ISO_FD_CHANNEL 4    /* the first of ISO_CHANNELS */
#define ISO_FD_ARENA (ISO_FD_CHANNEL + ISO_CHANNELS)
#define ISO_FDS (2 + ISO_CHANNELS)
#define ISO_ARENA_BYTES (1ull << 32) /* address space; memory is taken when touched */
#define ISO_CHUNK (8u << 20)         /* of data copied through the arena */
#define ISO_TEXT_BYTES (256u << 10)

#define ISO_CALLS(X)                                                                               \
    X(DESCRIBE)                                                                                    \
    X(ENUMERATE)                                                                                   \
    X(OPEN)                                                                                        \
    X(CLOSE)                                                                                       \
    X(SUPPORTS)                                                                                    \
    X(PLAN)                                                                                        \
    X(MEASURE)                                                                                     \
    X(REPORT) X(BUFFER_ALLOC) X(BUFFER_FREE) X(BUFFER_WRITE) X(BUFFER_READ) X(MAP_FILE)            \
        X(WEIGHTS_BEGIN) X(WEIGHTS_PUT) X(WEIGHTS_COMMIT) X(WEIGHTS_FREE) X(KV_CREATE) X(KV_FREE)  \
            X(KV_TRUNCATE) X(KV_FORK) X(RUN_LAYERS) X(WAIT) X(POLL) X(CANCEL)
enum iso_call {
#define ISO_ENUM(name) ISO_##name,
    ISO_CALLS(ISO_ENUM)
#undef ISO_ENUM
        ISO_CALL_COUNT
};

/* Offsets are into the arena. Ids are the worker's, 0 is none. */
struct iso_request {
    uint32_t call;
    uint32_t a, b, c;
    uint64_t id;
    uint64_t offset, bytes;
    uint64_t x, y;
};

struct iso_reply {
    int32_t status;
    uint32_t n;
    uint64_t id;
    uint64_t x;
    double seconds;
    struct q35_plan_result plan;
    struct q35_error err;
};

/* One side of a run's hidden states. */
struct iso_span {
    uint64_t buffer; /* id, or 0 */
    uint64_t offset; /* into the buffer, else into the arena */
    uint64_t bytes;  /* 0: unused */
};

/* At the request's offset, followed by n_tokens struct q35_token. */
struct iso_run {
    uint32_t first, count, n_tokens, flags;
    uint64_t weights, kv, signal;
    struct iso_span in, out;
};

/* Which functions of "q35.measure" the plugin has; a DESCRIBE is answered with them. */
enum iso_measure { ISO_HAS_SECONDS = 1, ISO_HAS_REPORT = 2 };

/* isolate_measure.c, the worker's part. data: the request's bytes in the arena. */
uint32_t iso_measure_has(const struct q35_plugin *api);
enum q35_status iso_measure_serve(const struct q35_plugin *api, struct q35_device *device,
                                  const struct iso_request *q, uint8_t *data, struct iso_reply *r);

/* Layers as the array, then all their tensor descriptors. */
uint64_t iso_layers_bytes(const struct q35_layer *layers, uint32_t count, uint32_t stride);
void iso_layers_pack(void *out, const struct q35_layer *layers, uint32_t count, uint32_t stride);
/* A copy with pointers, free() it; NULL if the bytes do not hold `count` layers, or no memory. */
struct q35_layer *iso_layers_unpack(const void *in, uint64_t bytes, uint32_t count);

#endif
