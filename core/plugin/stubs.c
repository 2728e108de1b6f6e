/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/load.h"

/* One stub for each slot of struct q35_plugin that a plugin may leave out. */

#define STUB(slot, clear, ...)                                                                     \
    static enum q35_status no_##slot(__VA_ARGS__)                                                  \
    {                                                                                              \
        clear;                                                                                     \
        return q35_fail(err, Q35_E_UNSUPPORTED, "the plugin has no " #slot);                       \
    }

#define DEV (void)dev
#define ERR struct q35_error *err

STUB(enumerate, ((void)host, (void)options, *count = 0), const struct q35_host *host,
     const struct q35_options *options, uint32_t *count, ERR)
STUB(device_info, ((void)host, (void)options, (void)index, (void)info), const struct q35_host *host,
     const struct q35_options *options, uint32_t index, struct q35_device_info *info, ERR)
STUB(open, ((void)host, (void)options, (void)index, *out = NULL), const struct q35_host *host,
     const struct q35_options *options, uint32_t index, struct q35_device **out, ERR)
STUB(supports, (DEV, (void)layer), struct q35_device *dev, const struct q35_layer *layer, ERR)
STUB(plan, (DEV, (void)request, (void)result), struct q35_device *dev,
     const struct q35_plan_request *request, struct q35_plan_result *result, ERR)
STUB(buffer_alloc, (DEV, (void)bytes, *out = NULL), struct q35_device *dev, uint64_t bytes,
     struct q35_buffer **out, ERR)
STUB(buffer_write, ((void)buffer, (void)offset, (void)data, (void)bytes), struct q35_buffer *buffer,
     uint64_t offset, const void *data, uint64_t bytes, ERR)
STUB(buffer_read, ((void)buffer, (void)offset, (void)data, (void)bytes), struct q35_buffer *buffer,
     uint64_t offset, void *data, uint64_t bytes, ERR)
STUB(weights_begin, (DEV, (void)layers, (void)count, (void)stride, *out = NULL),
     struct q35_device *dev, const struct q35_layer *layers, uint32_t count, uint32_t stride,
     struct q35_weights **out, ERR)
STUB(weights_put,
     ((void)w, (void)layer, (void)role, (void)offset, (void)data, (void)bytes, (void)lifetime),
     struct q35_weights *w, uint32_t layer, uint32_t role, uint64_t offset, const void *data,
     uint64_t bytes, uint32_t lifetime, ERR)
STUB(weights_commit, (void)w, struct q35_weights *w, ERR)
STUB(kv_create, (DEV, (void)w, (void)spec, *out = NULL), struct q35_device *dev,
     struct q35_weights *w, const struct q35_kv_spec *spec, struct q35_kv **out, ERR)
STUB(kv_truncate, ((void)kv, (void)sequence, (void)length), struct q35_kv *kv, uint32_t sequence,
     uint32_t length, ERR)
STUB(kv_fork, ((void)kv, (void)src, (void)dst, (void)length), struct q35_kv *kv, uint32_t src,
     uint32_t dst, uint32_t length, ERR)
STUB(run_layers, (DEV, (void)run), struct q35_device *dev, const struct q35_run *run, ERR)
STUB(wait, (DEV, (void)value, (void)timeout), struct q35_device *dev, uint64_t value,
     uint64_t timeout, ERR)
STUB(poll, (DEV, (void)value), struct q35_device *dev, uint64_t *value, ERR)
STUB(cancel, (DEV, (void)value), struct q35_device *dev, uint64_t value, ERR)
STUB(reset, DEV, struct q35_device *dev, ERR)

static void no_close(struct q35_device *dev)
{
    DEV;
}

static void no_buffer_free(struct q35_buffer *buffer)
{
    (void)buffer;
}

static void no_weights_free(struct q35_weights *w)
{
    (void)w;
}

static void no_kv_free(struct q35_kv *kv)
{
    (void)kv;
}

static const void *no_get_extension(const char *id, uint32_t version)
{
    (void)id;
    (void)version;
    return NULL;
}

#define FILL(slot)                                                                                 \
    if (!api->slot)                                                                                \
        api->slot = no_##slot;

void q35_stubs_fill(struct q35_plugin *api)
{
    FILL(enumerate)
    FILL(device_info)
    FILL(open)
    FILL(close)
    FILL(supports)
    FILL(plan)
    FILL(buffer_alloc)
    FILL(buffer_free)
    FILL(buffer_write)
    FILL(buffer_read)
    FILL(weights_begin)
    FILL(weights_put)
    FILL(weights_commit)
    FILL(weights_free)
    FILL(kv_create)
    FILL(kv_free)
    FILL(kv_truncate)
    FILL(kv_fork)
    FILL(run_layers)
    FILL(wait)
    FILL(poll)
    FILL(cancel)
    FILL(reset)
    FILL(get_extension)
}

#define NEED(slot)                                                                                 \
    if (!api->slot)                                                                                \
        return #slot;

const char *q35_stubs_missing(const struct q35_plugin *api)
{
    NEED(open)
    NEED(close)
    NEED(supports)
    NEED(plan)
    NEED(weights_begin)
    NEED(weights_put)
    NEED(weights_commit)
    NEED(weights_free)
    NEED(kv_create)
    NEED(kv_free)
    NEED(kv_truncate)
    NEED(run_layers)
    NEED(wait)
    NEED(poll)
    return NULL;
}
