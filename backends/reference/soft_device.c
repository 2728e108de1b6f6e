/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Opening and closing, objects, buffers, small helpers. */

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "soft_impl.h"

enum q35_status q35_soft_fail(struct q35_error *err, enum q35_status status, const char *format,
                              ...)
{
    va_list args;
    if (!err)
        return status;
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    err->status = (int32_t)status;
    err->radius = Q35_RADIUS_REQUEST;
    err->layer = Q35_NO_LAYER;
    err->native_code = 0;
    return status;
}

void q35_soft_memory(uint64_t *total, uint64_t *available)
{
    long page = sysconf(_SC_PAGESIZE), all = sysconf(_SC_PHYS_PAGES);
    long now = sysconf(_SC_AVPHYS_PAGES);
    char line[128];
    FILE *f;

    *total = page > 0 && all > 0 ? (uint64_t)page * (uint64_t)all : 0;
    *available = page > 0 && now > 0 ? (uint64_t)page * (uint64_t)now : 0;
    f = fopen("/proc/meminfo", "re"); /* counts reclaimable caches, sysconf does not */
    if (!f)
        return;
    while (fgets(line, sizeof(line), f)) {
        unsigned long long kib;
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            *available = (uint64_t)kib * 1024;
    }
    fclose(f);
}

enum q35_status q35_soft_enumerate(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t *count, struct q35_error *err)
{
    (void)host;
    (void)options;
    (void)err;
    *count = 1;
    return Q35_OK;
}

enum q35_status q35_soft_device_info(uint32_t index, const char *name, uint32_t features,
                                     struct q35_device_info *info, struct q35_error *err)
{
    struct q35_device_info own = {.size = info->size,
                                  .determinism = Q35_CLASS_EXACT,
                                  .id = "cpu0",
                                  .max_batch = Q35_SOFT_MAX_BATCH,
                                  .max_sequences = Q35_SOFT_MAX_SEQUENCES,
                                  .buffer_alignment = Q35_SOFT_ALIGNMENT,
                                  .features = features};
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    snprintf(own.name, sizeof(own.name), "%s", name);
    q35_soft_memory(&own.memory_total, &own.memory_free);
    memcpy(info, &own, info->size < sizeof(own) ? info->size : sizeof(own));
    return Q35_OK;
}

const char *q35_soft_option(const struct q35_options *options, const char *key)
{
    const char *value = NULL;
    uint32_t i;
    for (i = 0; options && i < options->count; i++)
        if (!strcmp(options->items[i].key, key))
            value = options->items[i].value;
    return value;
}

/* The given table, completed. Fields beyond its size count as absent. */
static void ops_complete(struct q35_ops *out, const struct q35_ops *in)
{
    struct q35_ops own = {0};
    const struct q35_ops *ref = &q35_reference_ops;
    if (in)
        memcpy(&own, in, in->size < sizeof(own) ? in->size : sizeof(own));
    *out = *ref;
#define TAKE(slot)                                                                                 \
    if (own.slot)                                                                                  \
    out->slot = own.slot
    TAKE(matrix_prepare);
    TAKE(matrix_release);
    TAKE(matmul);
    TAKE(rms_norm);
    TAKE(quantize);
    TAKE(rope);
    TAKE(attention);
    TAKE(swiglu);
    TAKE(add);
    TAKE(embed);
#undef TAKE
}

static uint32_t plain_greedy(void *user, const float *x, uint32_t n)
{
    (void)user;
    return q35_greedy(x, n);
}

static float plain_quantize_head(void *user, const float *x, uint32_t n, int8_t *q)
{
    (void)user;
    return q35_quantize(x, n, q);
}

uint32_t q35_soft_features(const struct q35_soft_config *config)
{
    const struct q35_ops *ops = config->ops;
    bool own_attention = ops && Q35_HAS(ops, struct q35_ops, attention) && ops->attention;
    bool own_weights =
        ops && ((Q35_HAS(ops, struct q35_ops, matmul) && (ops->matrix_prepare || ops->matmul)) ||
                (Q35_HAS(ops, struct q35_ops, embed) && ops->embed));
    uint32_t features = config->features | Q35_FEATURE_GREEDY;
    if (!own_attention && !config->layer)
        features |= Q35_FEATURE_KV_INT8;
    if (!own_weights && !config->layer)
        features |= Q35_FEATURE_TRIPLE;
    return features;
}

enum q35_status soft_kv_type_check(const struct q35_device *dev, uint32_t type,
                                   struct q35_error *err)
{
    if (type == Q35_KV_F16 || (type == Q35_KV_INT8 && (dev->features & Q35_FEATURE_KV_INT8)))
        return Q35_OK;
    return q35_soft_fail(err, Q35_E_UNSUPPORTED, "a KV cache of type %u%s", type,
                         type == Q35_KV_INT8 ? ": this device has no int8" : "");
}

enum q35_status q35_soft_open(const struct q35_soft_config *config, struct q35_device **out,
                              struct q35_error *err)
{
    struct q35_device *dev = calloc(1, sizeof(*dev));
    uint64_t available;
    enum q35_status st;

    *out = NULL;
    if (!dev) {
        if (config->user_close)
            config->user_close(config->user);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a device");
    }
    dev->objects.prev = dev->objects.next = &dev->objects;
    dev->user = config->user;
    dev->user_close = config->user_close;
    dev->max_batch = config->max_batch ? config->max_batch : Q35_SOFT_MAX_BATCH;
    dev->max_sequences = config->max_sequences ? config->max_sequences : Q35_SOFT_MAX_SEQUENCES;
    dev->layer = config->layer;
    dev->hash = config->hash;
    dev->greedy = config->greedy ? config->greedy : plain_greedy;
    dev->quantize_head = config->quantize_head ? config->quantize_head : plain_quantize_head;
    dev->matmul_then = config->matmul_then;
    dev->features = q35_soft_features(config);
    ops_complete(&dev->ops, config->ops);
    q35_soft_memory(&dev->memory, &available);
    if (!dev->memory)
        dev->memory = SIZE_MAX / 2;
    st = soft_timeline_init(&dev->time, err);
    if (st) {
        q35_soft_close(dev);
        return st;
    }
    *out = dev;
    return Q35_OK;
}

void *q35_soft_user(struct q35_device *dev)
{
    return dev->user;
}

void q35_soft_close(struct q35_device *dev)
{
    struct soft_object *o, *next;
    if (!dev)
        return;
    /* KV objects look at their weights when released: newest first. */
    for (o = dev->objects.prev; o && o != &dev->objects; o = next) {
        next = o->prev;
        if (!o->dead)
            o->release(o);
        free(o); /* every object begins with its head */
    }
    soft_timeline_fini(&dev->time);
    free(dev->scratch.block);
    if (dev->own_close)
        dev->own_close((struct q35_device *)dev->user);
    else if (dev->user_close)
        dev->user_close(dev->user);
    free(dev);
}

enum q35_status q35_soft_reset(struct q35_device *dev, struct q35_error *err)
{
    struct soft_object *o;
    (void)err;
    for (o = dev->objects.prev; o != &dev->objects; o = o->prev) {
        if (!o->dead)
            o->release(o);
        o->dead = true;
    }
    dev->lost = false;
    return Q35_OK;
}

void soft_object_add(struct q35_device *dev, struct soft_object *o,
                     void (*release)(struct soft_object *o))
{
    o->dev = dev;
    o->release = release;
    o->prev = dev->objects.prev;
    o->next = &dev->objects;
    o->prev->next = o;
    o->next->prev = o;
}

void soft_object_remove(struct soft_object *o)
{
    o->prev->next = o->next;
    o->next->prev = o->prev;
    if (!o->dead)
        o->release(o);
    free(o);
}

enum q35_status soft_lost(struct q35_error *err)
{
    q35_soft_fail(err, Q35_E_DEVICE_LOST, "the device is lost, reset it");
    if (err)
        err->radius = Q35_RADIUS_DEVICE_LOST;
    return Q35_E_DEVICE_LOST;
}

enum q35_status soft_object_check(const struct soft_object *o, const char *what,
                                  struct q35_error *err)
{
    if (!o)
        return q35_soft_fail(err, Q35_E_INVALID, "%s is NULL", what);
    if (o->dev->lost)
        return soft_lost(err);
    if (o->dead) {
        q35_soft_fail(err, Q35_E_DEVICE_LOST, "%s was lost in a reset", what);
        if (err)
            err->radius = Q35_RADIUS_DEVICE_LOST;
        return Q35_E_DEVICE_LOST;
    }
    return Q35_OK;
}

/* ---- buffers ------------------------------------------------------------------------------- */

static void buffer_release(struct soft_object *o)
{
    struct q35_buffer *b = (struct q35_buffer *)(void *)o;
    free(b->data);
    b->data = NULL;
}

enum q35_status q35_soft_buffer_alloc(struct q35_device *dev, uint64_t bytes,
                                      struct q35_buffer **out, struct q35_error *err)
{
    struct q35_buffer *b;
    *out = NULL;
    if (dev->lost)
        return soft_lost(err);
    if (!bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "a buffer of 0 bytes");
    if (bytes > dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "a buffer of %llu bytes exceeds this machine",
                             (unsigned long long)bytes);
    b = calloc(1, sizeof(*b));
    if (b)
        b->data = aligned_alloc(Q35_SOFT_ALIGNMENT, (bytes + 63) & ~(uint64_t)63);
    if (!b || !b->data) {
        free(b);
        return q35_soft_fail(err, Q35_E_CAPACITY, "no memory for a buffer of %llu bytes",
                             (unsigned long long)bytes);
    }
    b->bytes = bytes;
    soft_object_add(dev, &b->object, buffer_release);
    *out = b;
    return Q35_OK;
}

void q35_soft_buffer_free(struct q35_buffer *buffer)
{
    if (buffer)
        soft_object_remove(&buffer->object);
}

static enum q35_status buffer_range(const struct q35_buffer *b, uint64_t offset, uint64_t bytes,
                                    const void *host, struct q35_error *err)
{
    enum q35_status st = soft_object_check(b ? &b->object : NULL, "buffer", err);
    if (st)
        return st;
    if (!host && bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "buffer transfer with data NULL");
    if (offset > b->bytes || bytes > b->bytes - offset)
        return q35_soft_fail(err, Q35_E_INVALID, "bytes %llu + %llu of a buffer of %llu",
                             (unsigned long long)offset, (unsigned long long)bytes,
                             (unsigned long long)b->bytes);
    return Q35_OK;
}

enum q35_status q35_soft_buffer_write(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                      uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = buffer_range(buffer, offset, bytes, data, err);
    if (!st && bytes)
        memcpy(buffer->data + offset, data, bytes);
    return st;
}

enum q35_status q35_soft_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = buffer_range(buffer, offset, bytes, data, err);
    if (!st && bytes)
        memcpy(data, buffer->data + offset, bytes);
    return st;
}
