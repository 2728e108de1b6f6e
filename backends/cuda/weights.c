/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Upload: one allocation for a span of layers. Chunks leave through pinned staging as the file has
 * them; commit lets the device hash what has arrived and put the tiles into its own order. */

#include "impl.h"

#define SMALL ((uint64_t)1 << 20)
#define SMALL_GRAIN ((uint64_t)512) /* cuMemAlloc carves small blocks from larger ones */
#define LARGE_GRAIN ((uint64_t)2 << 20)

uint64_t cuda_rounded(uint64_t bytes)
{
    uint64_t grain = bytes < SMALL ? SMALL_GRAIN : LARGE_GRAIN;
    return (bytes + grain - 1) & ~(grain - 1);
}

uint64_t cuda_place(uint64_t at, const struct q35_tensor_desc *t, uint64_t *end)
{
    uint64_t lead = t->type == Q35_TENSOR_PACKED ? q35_codes_offset(t->rows) : 0;
    if (!t->bytes) {
        *end = at;
        return at;
    }
    at = (at + lead + CUDA_ALIGNMENT - 1) & ~(uint64_t)(CUDA_ALIGNMENT - 1);
    *end = at - lead + t->bytes;
    return at - lead;
}

static void weights_release(struct cuda_object *o)
{
    struct q35_weights *w = (struct q35_weights *)(void *)o;
    uint32_t i, role;
    cuda_graphs_destroy(o->dev); /* they know the addresses */
    for (i = 0; w->layers && i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            free(w->layers[i].tensors[role].arrived.list);
    free(w->layers);
    w->layers = NULL;
    if (w->block)
        (void)o->dev->cu->MemFree(w->block);
    w->block = 0;
}

static enum q35_status read_layers(struct q35_weights *w, const struct q35_layer *layers,
                                   uint32_t stride, struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    uint32_t i, role, type;
    for (i = 0; i < w->layer_count; i++) {
        struct cuda_layer *l = &w->layers[i];
        const void *in = (const uint8_t *)layers + (uint64_t)i * stride;
        enum q35_status st = soft_layer_read(in, CUDA_FEATURES, &l->desc, tensors, err);
        if (!st)
            st = cuda_supports(w->object.dev, in, err);
        if (st)
            return st;
        if (l->desc.d_model != w->layers[0].desc.d_model)
            return q35_soft_fail(err, Q35_E_INVALID, "layer %d: d_model %u differs from %u",
                                 (int)l->desc.index, l->desc.d_model, w->layers[0].desc.d_model);
        if ((l->desc.kind == Q35_LAYER_EMBED && i > 0) ||
            (l->desc.kind == Q35_LAYER_HEAD && i + 1 < w->layer_count))
            return q35_soft_fail(err, Q35_E_INVALID, "layer %d: EMBED comes first, HEAD last",
                                 (int)l->desc.index);
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            l->tensors[role].desc = tensors[role];
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            cuda_place(w->bytes, &tensors[role], &w->bytes);
        cuda_dims_add(&w->dims, &l->desc, tensors);
        l->kv_index = w->decoder_count;
        for (type = 0; type < CUDA_KV_TYPES; type++) {
            l->kv_offset[type] = w->page_bytes[type];
            w->page_bytes[type] += soft_layer_page_bytes(&l->desc, type);
        }
        w->decoder_count += l->desc.kind == Q35_LAYER_DECODER;
    }
    return Q35_OK;
}

static enum q35_status allocate(struct q35_weights *w, struct q35_error *err)
{
    struct q35_device *dev = w->object.dev;
    enum q35_status st;
    uint64_t at = 0;
    uint32_t i, role;
    w->bytes = cuda_rounded(w->bytes + CUDA_WEIGHTS_TAIL);
    if (w->bytes > dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "weights of %llu bytes exceed this GPU",
                             (unsigned long long)w->bytes);
    cuda_enter(dev);
    st = cuda_check(dev, dev->cu->MemAlloc(&w->block, w->bytes), "allocating weights", err);
    cuda_leave(dev);
    if (st) {
        w->block = 0;
        return st;
    }
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            struct cuda_tensor *t = &w->layers[i].tensors[role];
            uint64_t from = cuda_place(at, &t->desc, &at);
            t->at = t->desc.bytes ? w->block + from : 0;
        }
    return Q35_OK;
}

enum q35_status cuda_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                   uint32_t layer_count, uint32_t layer_stride,
                                   struct q35_weights **out, struct q35_error *err)
{
    struct q35_weights *w;
    enum q35_status st;

    *out = NULL;
    if (atomic_load(&dev->lost))
        return cuda_lost(err);
    if (!layers || !layer_count || layer_stride < offsetof(struct q35_layer, tensors) + 8)
        return q35_soft_fail(err, Q35_E_INVALID, "weights of no layers, or a bad stride");
    w = calloc(1, sizeof(*w));
    if (w)
        w->layers = calloc(layer_count, sizeof(*w->layers));
    if (!w || !w->layers) {
        free(w);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for %u layers", layer_count);
    }
    w->layer_count = layer_count;
    w->object.dev = dev;
    st = read_layers(w, layers, layer_stride, err);
    if (!st)
        st = allocate(w, err);
    if (st) {
        free(w->layers);
        free(w);
        return st;
    }
    cuda_object_add(dev, &w->object, weights_release);
    *out = w;
    return Q35_OK;
}

static enum q35_status put(struct q35_device *dev, struct cuda_tensor *t, uint64_t offset,
                           const uint8_t *data, uint64_t bytes, uint32_t lifetime,
                           struct q35_error *err)
{
    enum q35_status st =
        soft_extents_put(&t->arrived, &t->desc, offset, data, bytes, lifetime, err);
    return st || !bytes ? st : cuda_upload(dev, t->at + offset, data, bytes, err);
}

enum q35_status cuda_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                 uint64_t offset, const void *data, uint64_t bytes,
                                 uint32_t lifetime, struct q35_error *err)
{
    enum q35_status st = cuda_object_check(w ? &w->object : NULL, "weights", err);
    if (st)
        return st;
    if (w->committed)
        return q35_soft_fail(err, Q35_E_INVALID, "put after commit");
    if (layer >= w->layer_count)
        return q35_soft_fail(err, Q35_E_INVALID, "layer %u of %u", layer, w->layer_count);
    if (role >= Q35_ROLE_COUNT || !w->layers[layer].tensors[role].desc.bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "layer %d has no tensor of role %u",
                             (int)w->layers[layer].desc.index, role);
    if (!data && bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "tensor data is NULL");
    if (lifetime > Q35_UNTIL_FREE)
        return q35_soft_fail(err, Q35_E_INVALID, "unknown lifetime %u", lifetime);
    cuda_enter(w->object.dev);
    st = put(w->object.dev, &w->layers[layer].tensors[role], offset, data, bytes, lifetime, err);
    cuda_leave(w->object.dev);
    if (st && err)
        err->layer = w->layers[layer].desc.index;
    return st;
}

static enum q35_status check_complete(const struct cuda_layer *l, const struct cuda_tensor *t,
                                      struct q35_error *err)
{
    uint64_t gap;
    if (soft_extents_whole(&t->arrived, t->desc.bytes, &gap))
        return Q35_OK;
    q35_soft_fail(err, Q35_E_INVALID, "layer %d, tensor %s: byte %llu of %llu is missing",
                  (int)l->desc.index, soft_role_name(t->desc.role), (unsigned long long)gap,
                  (unsigned long long)t->desc.bytes);
    if (err)
        err->layer = l->desc.index;
    return Q35_E_INVALID;
}

static enum q35_status check_hash(const struct cuda_layer *l, const struct cuda_tensor *t,
                                  uint64_t hash, struct q35_error *err)
{
    if (hash == t->desc.hash)
        return Q35_OK;
    q35_soft_fail(err, Q35_E_HASH, "layer %d, tensor %s: hash %016llx instead of %016llx",
                  (int)l->desc.index, soft_role_name(t->desc.role), (unsigned long long)hash,
                  (unsigned long long)t->desc.hash);
    if (err)
        err->layer = l->desc.index;
    return Q35_E_HASH;
}

/* The device hashes what has arrived there. sums: [layer_count][Q35_ROLE_COUNT] on the device. */
static enum q35_status hash_all(struct q35_weights *w, cu_ptr sums, uint64_t *host,
                                struct q35_error *err)
{
    struct q35_device *dev = w->object.dev;
    uint64_t n = (uint64_t)w->layer_count * Q35_ROLE_COUNT, i;
    enum q35_status st =
        cuda_check(dev, dev->cu->MemsetD8Async(sums, 0, n * 8, dev->stream), "hashing", err);
    for (i = 0; i < n && !st; i++) {
        const struct cuda_tensor *t = &w->layers[i / Q35_ROLE_COUNT].tensors[i % Q35_ROLE_COUNT];
        struct q35_cu_hash a = {cuda_at(t->at), t->desc.bytes, 0, cuda_at(sums + 8 * i)};
        struct q35_cu_launch l = q35_cu_hash_set(&a);
        if (t->desc.bytes)
            st = cuda_launch(dev, &l, &a, err);
    }
    if (!st)
        st = cuda_download(dev, host, sums, n * 8, err);
    for (i = 0; i < n && !st; i++) {
        const struct cuda_layer *l = &w->layers[i / Q35_ROLE_COUNT];
        const struct cuda_tensor *t = &l->tensors[i % Q35_ROLE_COUNT];
        if (t->desc.bytes)
            st = check_hash(l, t, host[i], err);
    }
    return st;
}

static enum q35_status check_hashes(struct q35_weights *w, struct q35_error *err)
{
    struct q35_device *dev = w->object.dev;
    uint64_t bytes = (uint64_t)w->layer_count * Q35_ROLE_COUNT * 8;
    uint64_t *host = malloc(bytes);
    cu_ptr sums = 0;
    enum q35_status st;
    if (!host)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for hashes");
    st = cuda_check(dev, dev->cu->MemAlloc(&sums, bytes), "allocating hashes", err);
    if (!st) {
        st = hash_all(w, sums, host, err);
        (void)dev->cu->StreamSynchronize(dev->stream);
        (void)dev->cu->MemFree(sums);
    }
    free(host);
    return st;
}

/* Tiles into the order that kernels read. */
static enum q35_status repack(struct q35_weights *w, struct q35_error *err)
{
    struct q35_device *dev = w->object.dev;
    enum q35_status st = Q35_OK;
    uint32_t i, role;
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT && !st; role++) {
            const struct q35_tensor_desc *d = &w->layers[i].tensors[role].desc;
            struct q35_cu_repack a = {0};
            struct q35_cu_launch l;
            if (!d->bytes || d->type != Q35_TENSOR_PACKED)
                continue;
            a.codes = cuda_at(w->layers[i].tensors[role].at + q35_codes_offset(d->rows));
            a.tiles = (uint64_t)(q35_pad_rows(d->rows) / Q35_TILE_ROWS) *
                      q35_tiles_per_row(d->scheme, d->cols);
            l = q35_cu_repack_set(&a);
            st = cuda_launch(dev, &l, &a, err);
        }
    return st ? st : cuda_check(dev, dev->cu->StreamSynchronize(dev->stream), "repacking", err);
}

/* What was repacked in part must be put again; what was repacked never. */
static void forget_extents(struct q35_weights *w, enum q35_status st)
{
    uint32_t i, role;
    for (i = 0; st && i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            w->layers[i].tensors[role].arrived.count = 0;
}

enum q35_status cuda_weights_commit(struct q35_weights *w, struct q35_error *err)
{
    enum q35_status st = cuda_object_check(w ? &w->object : NULL, "weights", err);
    uint32_t i, role;
    if (st)
        return st;
    if (w->committed)
        return q35_soft_fail(err, Q35_E_INVALID, "weights are committed already");
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            const struct cuda_tensor *t = &w->layers[i].tensors[role];
            st = t->desc.bytes ? check_complete(&w->layers[i], t, err) : Q35_OK;
            if (st)
                return st;
        }
    cuda_enter(w->object.dev);
    st = check_hashes(w, err);
    if (!st) {
        st = repack(w, err);
        forget_extents(w, st);
    }
    cuda_leave(w->object.dev);
    w->committed = !st;
    return st;
}

void cuda_weights_free(struct q35_weights *w)
{
    if (w)
        cuda_object_remove(&w->object);
}
