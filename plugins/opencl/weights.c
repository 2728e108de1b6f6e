/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Upload: chunks in any order, every byte once, hashes checked. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl.h"

static void weights_release(struct ocl_object *o)
{
    struct q35_weights *w = (struct q35_weights *)(void *)o;
    uint32_t i, role;
    if (o->dev->queue) /* uploads read the host's memory until they are done */
        clFinish(o->dev->queue);
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            struct ocl_tensor *t = &w->layers[i].tensors[role];
            if (t->mem)
                clReleaseMemObject(t->mem);
            free(t->copy);
            free(t->extents);
        }
    free(w->layers);
    w->layers = NULL;
    w->layer_count = 0;
}

static enum q35_status read_layers(struct q35_weights *w, const struct ocl_limits *limits,
                                   const struct q35_layer *layers, uint32_t stride,
                                   struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    uint32_t i, role;
    for (i = 0; i < w->layer_count; i++) {
        struct ocl_layer *l = &w->layers[i];
        const void *in = (const uint8_t *)layers + (uint64_t)i * stride;
        enum q35_status st = ocl_layer_read(limits, in, &l->desc, tensors, err);
        if (st)
            return st;
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            l->tensors[role].desc = tensors[role];
        ocl_dims_add(&w->dims, &l->desc, tensors);
        l->kv_index = w->decoder_count;
        w->decoder_count += l->desc.kind == Q35_LAYER_DECODER;
    }
    return Q35_OK;
}

enum q35_status ocl_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                  uint32_t layer_count, uint32_t layer_stride,
                                  struct q35_weights **out, struct q35_error *err)
{
    struct q35_weights *w;
    enum q35_status st;

    *out = NULL;
    if (dev->lost)
        return ocl_lost(err);
    if (!layers || !layer_count ||
        layer_stride < offsetof(struct q35_layer, tensors) + sizeof(layers->tensors))
        return ocl_fail(err, Q35_E_INVALID, "weights of no layers, or a bad stride");
    w = calloc(1, sizeof(*w));
    if (w)
        w->layers = calloc(layer_count, sizeof(*w->layers));
    if (!w || !w->layers) {
        free(w);
        return ocl_fail(err, Q35_E_NOMEM, "no memory for %u layers", layer_count);
    }
    w->layer_count = layer_count;
    st = read_layers(w, &dev->limits, layers, layer_stride, err);
    if (st) {
        free(w->layers);
        free(w);
        return st;
    }
    ocl_object_add(dev, &w->object, weights_release);
    *out = w;
    return Q35_OK;
}

void ocl_weights_free(struct q35_weights *w)
{
    if (w)
        ocl_object_remove(&w->object);
}

/* Notes that [lo, hi) has arrived. INVALID if a part of it had already. */
static enum q35_status extent_add(struct ocl_tensor *t, uint64_t lo, uint64_t hi,
                                  struct q35_error *err)
{
    uint32_t i = t->extent_count, n;
    struct ocl_extent *e;

    if (t->extent_count == t->extent_cap) {
        n = t->extent_cap ? 2 * t->extent_cap : 4;
        e = realloc(t->extents, n * sizeof(*e));
        if (!e)
            return ocl_fail(err, Q35_E_NOMEM, "no memory for an upload");
        t->extents = e;
        t->extent_cap = n;
    }
    e = t->extents;
    while (i > 0 && e[i - 1].lo >= lo)
        i--; /* i: the first extent at or after lo */
    if ((i < t->extent_count && e[i].lo < hi) || (i > 0 && e[i - 1].hi > lo))
        return ocl_fail(err, Q35_E_INVALID, "tensor %s: bytes of %llu .. %llu were put before",
                        ocl_role_name(t->desc.role), (unsigned long long)lo,
                        (unsigned long long)hi);
    memmove(e + i + 1, e + i, (t->extent_count - i) * sizeof(*e));
    e[i] = (struct ocl_extent){lo, hi};
    t->extent_count++;
    for (n = i ? i - 1 : 0; n < i + 2 && n + 1 < t->extent_count;) /* join what touches */
        if (e[n].hi == e[n + 1].lo) {
            e[n].hi = e[n + 1].hi;
            t->extent_count--;
            memmove(e + n + 1, e + n + 2, (t->extent_count - n - 1) * sizeof(*e));
        } else {
            n++;
        }
    return Q35_OK;
}

/* q35_hash_chunk, whole words at a time. */
static uint64_t hash(const uint8_t *data, uint64_t bytes, uint64_t first)
{
    uint64_t h = 0, i = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; i + 8 <= bytes; i += 8) {
        uint64_t w;
        memcpy(&w, data + i, 8);
        h += q35_mix64(w ^ ((first + i) / 8 + 1) * 0x9e3779b97f4a7c15u);
    }
#endif
    return h + q35_hash_chunk(data + i, bytes - i, first + i);
}

/* To the device, or, where it shares the host's memory and the host keeps the data, nowhere. */
static enum q35_status send(struct q35_device *dev, struct ocl_tensor *t, uint64_t offset,
                            const void *data, uint64_t bytes, bool keep, struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    char name[40];

    snprintf(name, sizeof(name), "tensor %s", ocl_role_name(t->desc.role));
    if (t->desc.role == Q35_ROLE_ROPE_FREQ) {
        if (!t->copy)
            t->copy = malloc(t->desc.bytes);
        if (!t->copy)
            return ocl_fail(err, Q35_E_NOMEM, "no memory for %s", name);
        memcpy((uint8_t *)t->copy + offset, data, bytes);
        return Q35_OK;
    }
    if (keep && dev->zero_copy)
        return ocl_mem_create(dev, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, bytes,
                              (void *)(uintptr_t)data, &t->mem, name, err);
    if (!t->mem)
        st = ocl_mem_create(dev, CL_MEM_READ_ONLY, t->desc.bytes, NULL, &t->mem, name, err);
    if (!st) /* kept data can be read later: the upload runs while the host goes on */
        st = ocl_status(err,
                        clEnqueueWriteBuffer(dev->queue, t->mem, keep ? CL_FALSE : CL_TRUE, offset,
                                             bytes, data, 0, NULL, NULL),
                        "uploading weights");
    return st;
}

static enum q35_status put(struct q35_device *dev, struct ocl_tensor *t, uint64_t offset,
                           const void *data, uint64_t bytes, bool keep, struct q35_error *err)
{
    const char *name = ocl_role_name(t->desc.role);
    uint64_t all = t->desc.bytes;
    enum q35_status st;

    if (offset > all || bytes > all - offset)
        return ocl_fail(err, Q35_E_INVALID, "tensor %s: bytes %llu + %llu of %llu", name,
                        (unsigned long long)offset, (unsigned long long)bytes,
                        (unsigned long long)all);
    if (offset % 8 || (bytes % 8 && offset + bytes != all))
        return ocl_fail(err, Q35_E_INVALID, "tensor %s: a chunk not at multiples of 8", name);
    if (keep && (bytes != all || (uintptr_t)data % Q35_BLOB_ALIGN))
        return ocl_fail(err, Q35_E_INVALID,
                        "tensor %s: kept data must be whole and 64-byte aligned", name);
    if (!bytes)
        return Q35_OK;
    st = extent_add(t, offset, offset + bytes, err);
    if (!st)
        st = send(dev, t, offset, data, bytes, keep, err);
    if (!st)
        t->hash += hash(data, bytes, offset);
    return st;
}

enum q35_status ocl_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                uint64_t offset, const void *data, uint64_t bytes,
                                uint32_t lifetime, struct q35_error *err)
{
    enum q35_status st = ocl_object_check(w ? &w->object : NULL, NULL, "weights", err);
    if (st)
        return st;
    if (w->committed)
        return ocl_fail(err, Q35_E_INVALID, "put after commit");
    if (layer >= w->layer_count)
        return ocl_fail(err, Q35_E_INVALID, "layer %u of %u", layer, w->layer_count);
    if (role >= Q35_ROLE_COUNT || !w->layers[layer].tensors[role].desc.bytes)
        return ocl_fail(err, Q35_E_INVALID, "layer %d has no tensor %s",
                        (int)w->layers[layer].desc.index, ocl_role_name(role));
    if (!data && bytes)
        return ocl_fail(err, Q35_E_INVALID, "tensor data is NULL");
    if (lifetime > Q35_UNTIL_FREE)
        return ocl_fail(err, Q35_E_INVALID, "unknown lifetime %u", lifetime);
    st = put(w->object.dev, &w->layers[layer].tensors[role], offset, data, bytes,
             lifetime == Q35_UNTIL_FREE, err);
    if (st)
        err->layer = w->layers[layer].desc.index;
    return st;
}

static enum q35_status check_arrived(const struct ocl_layer *l, const struct ocl_tensor *t,
                                     struct q35_error *err)
{
    const char *name = ocl_role_name(t->desc.role);
    enum q35_status st = Q35_OK;
    if (t->extent_count != 1 || t->extents[0].lo || t->extents[0].hi != t->desc.bytes) {
        uint64_t gap = t->extent_count && !t->extents[0].lo ? t->extents[0].hi : 0;
        st = ocl_fail(err, Q35_E_INVALID, "layer %d, tensor %s: byte %llu of %llu is missing",
                      (int)l->desc.index, name, (unsigned long long)gap,
                      (unsigned long long)t->desc.bytes);
    } else if (t->hash != t->desc.hash) {
        st = ocl_fail(err, Q35_E_HASH, "layer %d, tensor %s: hash %016llx instead of %016llx",
                      (int)l->desc.index, name, (unsigned long long)t->hash,
                      (unsigned long long)t->desc.hash);
    }
    if (st)
        err->layer = l->desc.index;
    return st;
}

enum q35_status ocl_weights_commit(struct q35_weights *w, struct q35_error *err)
{
    enum q35_status st = ocl_object_check(w ? &w->object : NULL, NULL, "weights", err);
    uint32_t i, role;
    if (st)
        return st;
    if (w->committed)
        return ocl_fail(err, Q35_E_INVALID, "weights are committed already");
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            const struct ocl_tensor *t = &w->layers[i].tensors[role];
            st = t->desc.bytes ? check_arrived(&w->layers[i], t, err) : Q35_OK;
            if (st)
                return st;
        }
    st = ocl_status(err, clFinish(w->object.dev->queue), "uploading weights");
    if (!st)
        w->committed = true;
    return st;
}
