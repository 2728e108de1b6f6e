/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Memory of a batch, and plan, which must know it beforehand. */

#include <stdlib.h>
#include <string.h>

#include "opencl.h"

uint32_t ocl_scales_at(uint64_t cols_padded, uint32_t n)
{
    uint64_t rows = (n + MOST_TOKENS - 1) & ~(uint32_t)(MOST_TOKENS - 1);
    return (uint32_t)(rows * cols_padded / sizeof(float));
}

/* Batches are rounded up to a power of two, so that growing ones do not reallocate each time. */
static uint32_t rounded(uint32_t n)
{
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static uint64_t part_bytes(const struct ocl_dims *d, uint32_t n, enum ocl_part part)
{
    uint64_t words[P_COUNT];
    n = rounded(n);
    words[P_X] = words[P_H] = n * d->d_model;
    words[P_Q] = words[P_ATT] = n * d->q_dim;
    words[P_K] = words[P_V] = n * d->kv_dim;
    words[P_GATE] = words[P_UP] = n * d->d_ffn;
    words[P_ROT] = n * d->cols_padded;
    words[P_Q8] = ocl_scales_at(d->cols_padded, n) + (uint64_t)n;
    words[P_ROPE] = n * d->rope_dim;
    words[P_META] = 5 * (uint64_t)n;
    words[P_BEST] = n;
    words[P_OUT] = d->vocab * (n < MOST_TOKENS ? n : MOST_TOKENS);
    return 4 * words[part];
}

/* Both sides: two parts have a copy on the host. */
uint64_t ocl_scratch_bytes(const struct ocl_dims *dims, uint32_t n)
{
    uint64_t total = part_bytes(dims, n, P_ROPE) + part_bytes(dims, n, P_META);
    uint32_t i;
    for (i = 0; i < P_COUNT; i++)
        total += part_bytes(dims, n, i);
    return total;
}

void ocl_scratch_free(struct q35_device *dev)
{
    uint32_t i;
    for (i = 0; i < P_COUNT; i++) {
        if (dev->parts[i])
            clReleaseMemObject(dev->parts[i]);
        dev->parts[i] = NULL;
        dev->part_bytes[i] = 0;
    }
    free(dev->rope);
    free(dev->meta);
    dev->rope = NULL;
    dev->meta = NULL;
    dev->rope_bytes = dev->meta_bytes = 0;
}

static enum q35_status host_reserve(void **at, uint64_t *have, uint64_t bytes,
                                    struct q35_error *err)
{
    void *grown;
    if (bytes <= *have)
        return Q35_OK;
    grown = malloc(bytes);
    if (!grown)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a batch");
    free(*at);
    *at = grown;
    *have = bytes;
    return Q35_OK;
}

enum q35_status ocl_scratch_reserve(struct q35_device *dev, const struct ocl_dims *dims, uint32_t n,
                                    struct q35_error *err)
{
    enum q35_status st;
    void *rope = dev->rope, *meta = dev->meta;
    uint32_t i;

    st = host_reserve(&rope, &dev->rope_bytes, part_bytes(dims, n, P_ROPE), err);
    dev->rope = rope;
    if (!st)
        st = host_reserve(&meta, &dev->meta_bytes, part_bytes(dims, n, P_META), err);
    dev->meta = meta;
    for (i = 0; !st && i < P_COUNT; i++) {
        uint64_t bytes = part_bytes(dims, n, i);
        if (bytes <= dev->part_bytes[i])
            continue;
        if (dev->parts[i])
            clReleaseMemObject(dev->parts[i]);
        dev->part_bytes[i] = 0;
        st = ocl_mem_create(dev, CL_MEM_READ_WRITE, bytes, NULL, &dev->parts[i], "a batch", err);
        dev->part_bytes[i] = st ? 0 : bytes;
    }
    return st;
}

/* ---- supports, plan ------------------------------------------------------------------------ */

enum q35_status ocl_supports(struct q35_device *dev, const struct q35_layer *layer,
                             struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer own;
    return ocl_layer_read(&dev->limits, layer, &own, tensors, err);
}

static uint32_t kv_type_of(const struct q35_plan_request *r)
{
    return Q35_HAS(r, struct q35_plan_request, kv_type) ? r->kv_type : Q35_KV_F16;
}

static enum q35_status plan_layers(const struct q35_device *dev, const struct q35_plan_request *r,
                                   struct ocl_dims *dims, struct q35_plan_result *own,
                                   uint64_t *page, uint32_t *decoders, struct q35_error *err)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer l;
    uint32_t i, role;
    for (i = 0; i < r->layer_count; i++) {
        const void *in = (const uint8_t *)r->layers + (uint64_t)i * r->layer_stride;
        enum q35_status st = ocl_layer_read(&dev->limits, in, &l, tensors, err);
        if (st)
            return st;
        for (role = 0; role < Q35_ROLE_COUNT; role++)
            *(dev->zero_copy ? &own->host_bytes : &own->weight_bytes) += tensors[role].bytes;
        ocl_dims_add(dims, &l, tensors);
        *page += ocl_page_bytes(&l, kv_type_of(r));
        *decoders += l.kind == Q35_LAYER_DECODER;
    }
    return Q35_OK;
}

static enum q35_status plan_kv(const struct q35_device *dev, const struct q35_plan_request *r,
                               uint64_t page, uint32_t decoders, struct q35_plan_result *own,
                               struct q35_error *err)
{
    uint64_t pages = ocl_kv_pages(r->kv_tokens, r->max_sequences);
    uint64_t tables = ocl_kv_tables(pages, r->max_sequences, decoders);
    if (!page || !r->kv_tokens || !r->max_sequences)
        return Q35_OK;
    if (!tables || __builtin_mul_overflow(pages, page, &own->kv_bytes) ||
        own->kv_bytes / decoders > dev->limits.max_alloc)
        return ocl_fail(err, Q35_E_CAPACITY, "a KV cache of %u tokens", r->kv_tokens);
    own->kv_bytes += tables;
    own->kv_token_bytes = page / PAGE;
    return Q35_OK;
}

enum q35_status ocl_plan(struct q35_device *dev, const struct q35_plan_request *request,
                         struct q35_plan_result *result, struct q35_error *err)
{
    struct q35_plan_result own = {.size = sizeof(own)};
    const struct q35_plan_request *r = request;
    uint32_t decoders = 0, size = result ? result->size : 0;
    struct ocl_dims dims = {0};
    uint64_t page = 0;
    enum q35_status st;

    if (!r || !result || !Q35_HAS(r, struct q35_plan_request, layers) || !r->layers ||
        !r->layer_count ||
        r->layer_stride < offsetof(struct q35_layer, tensors) + sizeof(r->layers->tensors))
        return ocl_fail(err, Q35_E_INVALID, "a plan request without layers");
    if (kv_type_of(r) > Q35_KV_INT8)
        return ocl_fail(err, Q35_E_UNSUPPORTED, "a KV cache of type %u", kv_type_of(r));
    if (r->max_batch > MAX_BATCH || r->max_sequences > MAX_SEQUENCES)
        return ocl_fail(err, Q35_E_CAPACITY, "batch %u of at most %d, sequences %u of %d",
                        r->max_batch, MAX_BATCH, r->max_sequences, MAX_SEQUENCES);
    st = plan_layers(dev, r, &dims, &own, &page, &decoders, err);
    if (!st)
        st = plan_kv(dev, r, page, decoders, &own, err);
    if (st)
        return st;
    own.scratch_bytes = ocl_scratch_bytes(&dims, r->max_batch);
    if (own.weight_bytes + own.kv_bytes + own.scratch_bytes > dev->limits.memory)
        return ocl_fail(err, Q35_E_CAPACITY, "%llu bytes on a device of %llu",
                        (unsigned long long)(own.weight_bytes + own.kv_bytes + own.scratch_bytes),
                        (unsigned long long)dev->limits.memory);
    own.size = size;
    memcpy(result, &own, size < sizeof(own) ? size : sizeof(own));
    return Q35_OK;
}
