/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Upload: begin, put in any order, commit after completeness and hashes have been checked. */

#include "soft_impl.h"

enum { TENSOR_TAIL = 64 }; /* readable bytes after a copied tensor */

static void weights_release(struct soft_object *o)
{
    struct q35_weights *w = (struct q35_weights *)(void *)o;
    uint32_t i, role;
    for (i = 0; w->layers && i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            struct soft_tensor *t = &w->layers[i].tensors[role];
            if (w->layers[i].prepared >> role & 1u)
                o->dev->ops.matrix_release(o->dev->user, &w->layers[i].mats[role]);
            free(t->owned);
            free(t->arrived.list);
        }
    free(w->layers);
    w->layers = NULL;
    w->layer_count = 0;
}

static enum q35_status read_layers(struct q35_weights *w, const struct q35_layer *layers,
                                   uint32_t stride, uint32_t features, struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    uint32_t i, role, type;
    for (i = 0; i < w->layer_count; i++) {
        struct soft_layer *l = &w->layers[i];
        const void *in = (const uint8_t *)layers + (uint64_t)i * stride;
        enum q35_status st = soft_layer_read(in, features, &l->desc, tensors, err);
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
        soft_dims_add(&w->dims, &l->desc, tensors);
        l->kv_index = w->decoder_count;
        for (type = 0; type < SOFT_KV_TYPES; type++) {
            l->kv_offset[type] = w->page_bytes[type];
            w->page_bytes[type] += soft_layer_page_bytes(&l->desc, type);
        }
        w->decoder_count += l->desc.kind == Q35_LAYER_DECODER;
    }
    return Q35_OK;
}

enum q35_status q35_soft_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                       uint32_t layer_count, uint32_t layer_stride,
                                       struct q35_weights **out, struct q35_error *err)
{
    struct q35_weights *w;
    enum q35_status st;

    *out = NULL;
    if (dev->lost)
        return soft_lost(err);
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
    st = read_layers(w, layers, layer_stride, dev->features, err);
    if (st) {
        free(w->layers);
        free(w);
        return st;
    }
    soft_object_add(dev, &w->object, weights_release);
    *out = w;
    return Q35_OK;
}

/* q35_hash_chunk for whole words at a time; the layout is little-endian by definition. */
static uint64_t hash_part(const uint8_t *data, uint64_t bytes, uint64_t first)
{
    uint64_t h = 0, i, whole = bytes & ~(uint64_t)7;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (i = 0; i < whole; i += 8) {
        uint64_t w;
        memcpy(&w, data + i, 8);
        h += q35_mix64(w ^ ((first + i) / 8 + 1) * 0x9e3779b97f4a7c15u);
    }
#else
    i = whole = 0;
#endif
    return h + q35_hash_chunk(data + i, bytes - whole, first + whole);
}

static enum q35_status tensor_own(struct soft_tensor *t, struct q35_error *err)
{
    uint64_t bytes = (t->desc.bytes + TENSOR_TAIL + 63) & ~(uint64_t)63;
    if (t->owned)
        return Q35_OK;
    t->owned = aligned_alloc(Q35_SOFT_ALIGNMENT, bytes);
    if (!t->owned)
        return q35_soft_fail(err, Q35_E_CAPACITY, "no memory for tensor %s of %llu bytes",
                             soft_role_name(t->desc.role), (unsigned long long)t->desc.bytes);
    memset(t->owned + t->desc.bytes, 0, bytes - t->desc.bytes);
    t->data = t->owned;
    return Q35_OK;
}

static enum q35_status put(struct q35_device *dev, struct soft_tensor *t, uint64_t offset,
                           const void *data, uint64_t bytes, uint32_t lifetime,
                           struct q35_error *err)
{
    enum q35_status st =
        soft_extents_put(&t->arrived, &t->desc, offset, data, bytes, lifetime, err);
    if (st || !bytes)
        return st;
    if (lifetime == Q35_UNTIL_FREE) {
        t->data = data;
    } else {
        st = tensor_own(t, err);
        if (st)
            return st;
        memcpy(t->owned + offset, data, bytes);
    }
    t->hash += dev->hash ? dev->hash(dev->user, t->data + offset, bytes, offset)
                         : hash_part(t->data + offset, bytes, offset);
    return Q35_OK;
}

enum q35_status q35_soft_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                     uint64_t offset, const void *data, uint64_t bytes,
                                     uint32_t lifetime, struct q35_error *err)
{
    enum q35_status st = soft_object_check(w ? &w->object : NULL, "weights", err);
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
    st = put(w->object.dev, &w->layers[layer].tensors[role], offset, data, bytes, lifetime, err);
    if (st && err)
        err->layer = w->layers[layer].desc.index;
    return st;
}

static enum q35_status check_arrived(const struct soft_layer *l, const struct soft_tensor *t,
                                     struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    const char *name = soft_role_name(t->desc.role);
    uint64_t gap;
    if (!soft_extents_whole(&t->arrived, t->desc.bytes, &gap)) {
        st = q35_soft_fail(err, Q35_E_INVALID, "layer %d, tensor %s: byte %llu of %llu is missing",
                           (int)l->desc.index, name, (unsigned long long)gap,
                           (unsigned long long)t->desc.bytes);
    } else if (t->hash != t->desc.hash) {
        st = q35_soft_fail(err, Q35_E_HASH, "layer %d, tensor %s: hash %016llx instead of %016llx",
                           (int)l->desc.index, name, (unsigned long long)t->hash,
                           (unsigned long long)t->desc.hash);
    }
    if (st && err)
        err->layer = l->desc.index;
    return st;
}

static const float *vector(const struct soft_layer *l, uint32_t role)
{
    return (const float *)(const void *)l->tensors[role].data;
}

static void matrix_init(struct q35_matrix *m, const struct soft_tensor *t, const float *bias)
{
    memset(m, 0, sizeof(*m));
    m->size = sizeof(*m);
    m->scheme = t->desc.scheme;
    m->rows = t->desc.rows;
    m->cols = t->desc.cols;
    m->rows_padded = q35_pad_rows(t->desc.rows);
    m->cols_padded = q35_pad_cols(t->desc.cols);
    m->rot_block = t->desc.rot_block;
    m->rot_seed = t->desc.rot_seed;
    m->tables = (const struct q35_tables *)(const void *)t->data;
    m->scales = (const float *)(const void *)(t->data + Q35_BLOB_TABLES);
    m->codes = t->data + q35_codes_offset(t->desc.rows);
    m->bias = bias;
}

static const float *bias_of(const struct soft_layer *l, uint32_t role)
{
    switch (role) {
    case Q35_ROLE_Q:
        return vector(l, Q35_ROLE_Q_BIAS);
    case Q35_ROLE_K:
        return vector(l, Q35_ROLE_K_BIAS);
    case Q35_ROLE_V:
        return vector(l, Q35_ROLE_V_BIAS);
    case Q35_ROLE_O:
        return vector(l, Q35_ROLE_O_BIAS);
    default:
        return NULL;
    }
}

static enum q35_status prepare(struct q35_weights *w, struct q35_error *err)
{
    struct q35_device *dev = w->object.dev;
    uint32_t i, role;
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            struct soft_layer *l = &w->layers[i];
            enum q35_status st;
            if (!l->tensors[role].desc.bytes || l->tensors[role].desc.type != Q35_TENSOR_PACKED ||
                l->prepared >> role & 1u)
                continue;
            matrix_init(&l->mats[role], &l->tensors[role], bias_of(l, role));
            st = dev->ops.matrix_prepare(dev->user, &l->mats[role], err);
            if (st) {
                if (err)
                    err->layer = l->desc.index;
                return st;
            }
            l->prepared |= 1u << role;
        }
    return Q35_OK;
}

enum q35_status q35_soft_weights_commit(struct q35_weights *w, struct q35_error *err)
{
    enum q35_status st = soft_object_check(w ? &w->object : NULL, "weights", err);
    uint32_t i, role;
    if (st)
        return st;
    if (w->committed)
        return q35_soft_fail(err, Q35_E_INVALID, "weights are committed already");
    for (i = 0; i < w->layer_count; i++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            const struct soft_tensor *t = &w->layers[i].tensors[role];
            st = t->desc.bytes ? check_arrived(&w->layers[i], t, err) : Q35_OK;
            if (st)
                return st;
        }
    st = prepare(w, err);
    if (!st)
        w->committed = true;
    return st;
}

void q35_soft_weights_free(struct q35_weights *w)
{
    if (w)
        soft_object_remove(&w->object);
}

bool q35_soft_layer_of(struct q35_weights *w, uint32_t i, struct q35_layer *out,
                       struct q35_tensor_desc tensors[Q35_ROLE_COUNT])
{
    uint32_t role, n = 0;
    if (!w || i >= w->layer_count)
        return false;
    for (role = 0; role < Q35_ROLE_COUNT; role++)
        if (w->layers[i].tensors[role].desc.bytes)
            tensors[n++] = w->layers[i].tensors[role].desc;
    *out = w->layers[i].desc;
    out->tensors = tensors;
    out->tensor_count = n;
    out->tensor_stride = sizeof(*tensors);
    return true;
}
