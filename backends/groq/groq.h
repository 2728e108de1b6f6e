/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_H
#define GROQ_H

/* groq.so: a backend for Groq's Tensor Streaming Processor without the hardware. Everything that is
 * not arithmetic of layers (weights, KV cache, timeline) is the software device's of
 * backends/reference/soft.h; a mode says how layers are computed.
 *
 *   sim    (default) a static schedule per layer, checked, executed, and timed
 *   mlir   layers compiled from generated MLIR and run natively (mlir/) */

#include <stdbool.h>

#include "q35/measure.h"
#include "soft.h"
#include "tsp.h"

enum groq_pace { GROQ_PACE_NONE, GROQ_PACE_REAL };
enum groq_weights { GROQ_WEIGHTS_PACKED, GROQ_WEIGHTS_DECODED };

/* The [backend] section, checked. */
struct groq_config {
    uint32_t chips;
    uint32_t chips_per_layer; /* 0: as few as the layer fits on */
    enum groq_pace pace;
    enum groq_weights weights;
    struct tsp tsp;
};

struct groq_mode;

/* What lies behind an open device; the first argument of all operations. */
struct groq_device {
    const struct groq_mode *mode;
    struct groq_config config;
    void *state; /* the mode's own */
};

static inline void *groq_state(void *user)
{
    return ((struct groq_device *)user)->state;
}

/* One way of computing layers. A mode is constant; what it keeps of one device is its `state`. */
struct groq_mode {
    const char *name;   /* value of `mode` in the INI */
    const char *device; /* name of the device, for device_info */
    bool simulated;     /* its speed says nothing of the machine it runs on */
    /* Operations of the software device; NULL slots are the reference's. Their first argument is
     * the struct groq_device. */
    const struct q35_ops *ops;
    /* Or whole layers, instead of ops; NULL: ops. Its first argument is the struct groq_device. */
    q35_soft_layer_fn layer;
    /* May be NULL. UNSUPPORTED if what the mode needs is missing: then there is no device. [any] */
    enum q35_status (*available)(const struct q35_options *options, struct q35_error *err);
    /* NULL: nothing to open. options are the whole [backend] section, for the mode's own keys (add
     * their specs to plugin.c). A tool that is missing is UNSUPPORTED, with its name and where it
     * was looked for in err->message. */
    enum q35_status (*open)(const struct groq_config *config, const struct q35_options *options,
                            const struct q35_host *host, void **state, struct q35_error *err);
    void (*close)(void *state);
    /* May be NULL. Called with each span of layers before it is uploaded. [device] */
    enum q35_status (*layers)(void *state, const struct q35_layer *layers, uint32_t count,
                              uint32_t stride, struct q35_error *err);
    /* May be NULL. Completes what the software device answered: *result is filled. [any] */
    enum q35_status (*plan)(void *state, const struct q35_plan_request *request,
                            struct q35_plan_result *result, struct q35_error *err);
    /* May be NULL: instead of q35_soft_run_layers, which it may call. [device] */
    enum q35_status (*run_layers)(void *state, struct q35_device *dev, const struct q35_run *run,
                                  struct q35_error *err);
    /* May be NULL: the measure extension. [any] */
    enum q35_status (*seconds)(void *state, const struct q35_layer *layers, uint32_t count,
                               uint32_t stride, uint32_t n_tokens, uint32_t context, double *out,
                               struct q35_error *err);
    /* May be NULL: q35/measure.h. [any] */
    enum q35_status (*report)(void *state, const struct q35_layer *layers, uint32_t count,
                              uint32_t stride, uint32_t n_tokens, uint32_t context, uint32_t json,
                              char *text, uint64_t size, struct q35_error *err);
};

extern const struct groq_mode groq_mode_sim;
extern const struct groq_mode groq_mode_mlir; /* mlir/mode.c */

/* Reads and checks the options that all modes share. CONFIG names the key. */
enum q35_status groq_config_read(struct groq_config *c, const struct q35_options *options,
                                 struct q35_error *err);

#endif
