/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* groq.so: one device, all chips together, computed by the mode that the INI names. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "groq.h"

/* Modes of this build; the first is the default. */
static const struct groq_mode *const modes[] = {
    &groq_mode_sim,
#ifdef GROQ_HAVE_MLIR
    &groq_mode_mlir,
#endif
};

#define STRING(x) STRING2(x)
#define STRING2(x) #x

/* General keys, those of the modes, and one for each constant of tsp.h. */
static const struct q35_option_spec option_specs[] = {
    {"mode", "enum:sim|mlir", "simulate a static schedule, or compile layers with MLIR", "sim"},
    {"chips", "int", "simulated chips", "1"},
    {"chips_per_layer", "int", "chips a layer is spread over, 0 for as few as it fits on", "0"},
    {"pace", "enum:none|real", "real: a run takes the time that the schedule says", "none"},
    {"weights", "enum:packed|decoded", "how weights lie in SRAM: 3.5 bits, or int8", "packed"},
    {"mlir_tools", "string", "folders of mlir-opt, mlir-translate, opt and llc (mode = mlir)",
     "PATH"},
    {"mlir_cache", "string", "folder of compiled layers (mode = mlir)", "~/.cache/q35/mlir"},
    {"mlir_cpu", "string", "CPU that layers are compiled for (mode = mlir)", "this one"},
    {"mlir_timeout", "int", "seconds that one tool may take (mode = mlir)", "120"},
    {"dump_mlir", "string", "folder to write each layer's MLIR to (mode = mlir)", ""},
#define X(field, value, low, high, source, help)                                                   \
    {#field, "int", help " (source: " source ")", STRING(value)},
    TSP_CONSTANTS(X)
#undef X
};

static enum q35_status find_mode(const struct q35_options *options, const struct groq_mode **out,
                                 struct q35_error *err)
{
    const char *name = q35_soft_option(options, "mode");
    size_t i;
    *out = modes[0];
    for (i = 0; name && i < sizeof(modes) / sizeof(*modes); i++)
        if (strcmp(modes[i]->name, name) == 0) {
            *out = modes[i];
            return Q35_OK;
        }
    return name ? q35_soft_fail(err, Q35_E_UNSUPPORTED,
                                "mode = %s: this groq.so was built without it", name)
                : Q35_OK;
}

static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    const struct groq_mode *mode;
    enum q35_status st = find_mode(options, &mode, err);
    (void)host;
    *count = 0;
    if (!st && mode->available)
        st = mode->available(options, err);
    if (!st)
        *count = 1;
    return st == Q35_E_UNSUPPORTED ? Q35_OK : st;
}

static void device_destroy(void *user)
{
    struct groq_device *g = user;
    if (g && g->mode->close && g->state)
        g->mode->close(g->state);
    free(g);
}

/* The software device of a mode, but for `user`. */
static struct q35_soft_config soft_config(const struct groq_mode *mode)
{
    return (struct q35_soft_config){.ops = mode->ops,
                                    .layer = mode->layer,
                                    .user_close = device_destroy,
                                    .features = Q35_FEATURE_TRIPLE};
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    struct q35_device_info own = {.determinism = Q35_CLASS_EXACT,
                                  .max_batch = Q35_SOFT_MAX_BATCH,
                                  .max_sequences = Q35_SOFT_MAX_SEQUENCES,
                                  .buffer_alignment = Q35_SOFT_ALIGNMENT};
    struct q35_soft_config soft;
    struct groq_config c;
    const struct groq_mode *mode;
    enum q35_status st;
    (void)host;
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    st = groq_config_read(&c, options, err);
    if (!st)
        st = find_mode(options, &mode, err);
    if (st)
        return st;
    own.simulated = mode->simulated;
    soft = soft_config(mode);
    own.features = q35_soft_features(&soft);
    if (mode->simulated) {
        snprintf(own.name, sizeof(own.name), "%s, %u chip%s", mode->device, c.chips,
                 c.chips == 1 ? "" : "s");
        own.memory_total = own.memory_free = c.chips * tsp_sram_bytes(&c.tsp);
        own.memory_bandwidth = c.chips * (tsp_sram_bytes(&c.tsp) / c.tsp.slice_words) *
                               c.tsp.clock_mhz * UINT64_C(1000000);
    } else {
        snprintf(own.name, sizeof(own.name), "%s", mode->device);
        q35_soft_memory(&own.memory_total, &own.memory_free);
    }
    snprintf(own.id, sizeof(own.id), "groq-%s0", mode->name);
    own.size = info->size;
    memcpy(info, &own, info->size < sizeof(own) ? info->size : sizeof(own));
    return Q35_OK;
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct q35_soft_config config;
    struct groq_device *g;
    enum q35_status st;
    *out = NULL;
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    g = calloc(1, sizeof(*g));
    if (!g)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a device");
    st = groq_config_read(&g->config, options, err);
    if (!st)
        st = find_mode(options, &g->mode, err);
    if (!st && g->mode->open)
        st = g->mode->open(&g->config, options, host, &g->state, err);
    if (st) {
        free(g);
        return st;
    }
    config = soft_config(g->mode);
    config.user = g;
    return q35_soft_open(&config, out, err);
}

static enum q35_status plan(struct q35_device *dev, const struct q35_plan_request *request,
                            struct q35_plan_result *result, struct q35_error *err)
{
    struct groq_device *g = q35_soft_user(dev);
    struct q35_plan_result own = {.size = sizeof(own)};
    uint32_t size = result ? result->size : 0;
    enum q35_status st;
    if (!g->mode->plan || !result)
        return q35_soft_plan(dev, request, result, err);
    st = q35_soft_plan(dev, request, &own, err);
    if (!st)
        st = g->mode->plan(g->state, request, &own, err);
    if (st)
        return st;
    own.size = size;
    memcpy(result, &own, size < sizeof(own) ? size : sizeof(own));
    return Q35_OK;
}

static enum q35_status weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                     uint32_t layer_count, uint32_t layer_stride,
                                     struct q35_weights **out, struct q35_error *err)
{
    struct groq_device *g = q35_soft_user(dev);
    enum q35_status st = q35_soft_weights_begin(dev, layers, layer_count, layer_stride, out, err);
    if (!st && g->mode->layers) {
        st = g->mode->layers(g->state, layers, layer_count, layer_stride, err);
        if (st) {
            q35_soft_weights_free(*out);
            *out = NULL;
        }
    }
    return st;
}

static enum q35_status run_layers(struct q35_device *dev, const struct q35_run *run,
                                  struct q35_error *err)
{
    struct groq_device *g = q35_soft_user(dev);
    return g->mode->run_layers ? g->mode->run_layers(g->state, dev, run, err)
                               : q35_soft_run_layers(dev, run, err);
}

static enum q35_status seconds(struct q35_device *dev, const struct q35_layer *layers,
                               uint32_t layer_count, uint32_t layer_stride, uint32_t n_tokens,
                               uint32_t context, double *out, struct q35_error *err)
{
    struct groq_device *g = q35_soft_user(dev);
    if (!g->mode->seconds)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "mode %s does not know its speed",
                             g->mode->name);
    return g->mode->seconds(g->state, layers, layer_count, layer_stride, n_tokens, context, out,
                            err);
}

static enum q35_status report(struct q35_device *dev, const struct q35_layer *layers,
                              uint32_t layer_count, uint32_t layer_stride, uint32_t n_tokens,
                              uint32_t context, uint32_t json, char *text, uint64_t size,
                              struct q35_error *err)
{
    struct groq_device *g = q35_soft_user(dev);
    if (!g->mode->report)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "mode %s has no report", g->mode->name);
    return g->mode->report(g->state, layers, layer_count, layer_stride, n_tokens, context, json,
                           text, size, err);
}

static const void *get_extension(const char *id, uint32_t version)
{
    static const struct q35_measure measure = {sizeof(measure), 0, seconds, report};
    return version == 1 && strcmp(id, Q35_EXT_MEASURE) == 0 ? &measure : NULL;
}

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .name = "groq",
    .version = "1.0.0",
    .description = "Groq TSP, simulated or as MLIR",
    .licence = "MIT",
    .options = option_specs,
    .option_count = sizeof(option_specs) / sizeof(*option_specs),
    .option_stride = sizeof(*option_specs),
    .enumerate = enumerate,
    .device_info = device_info,
    .open = open_device,
    .close = q35_soft_close,
    .supports = q35_soft_supports,
    .plan = plan,
    .buffer_alloc = q35_soft_buffer_alloc,
    .buffer_free = q35_soft_buffer_free,
    .buffer_write = q35_soft_buffer_write,
    .buffer_read = q35_soft_buffer_read,
    .weights_begin = weights_begin,
    .weights_put = q35_soft_weights_put,
    .weights_commit = q35_soft_weights_commit,
    .weights_free = q35_soft_weights_free,
    .kv_create = q35_soft_kv_create,
    .kv_free = q35_soft_kv_free,
    .kv_truncate = q35_soft_kv_truncate,
    .kv_fork = q35_soft_kv_fork,
    .run_layers = run_layers,
    .wait = q35_soft_wait,
    .poll = q35_soft_poll,
    .cancel = q35_soft_cancel,
    .reset = q35_soft_reset,
    .get_extension = get_extension,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor;
    return host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
