/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV cache: the pages that soft_pages.h keeps tables of, on the device and copied there. The
 * tables are the host's; a run takes along those of its sequences. */

#include "impl.h"

static void kv_release(struct cuda_object *o)
{
    struct q35_kv *kv = (struct q35_kv *)(void *)o;
    cuda_graphs_destroy(o->dev); /* they know its address */
    if (kv->pool)
        (void)o->dev->cu->MemFree(kv->pool);
    kv->pool = 0;
    soft_pages_fini(&kv->pages);
}

uint64_t cuda_kv_pool_bytes(uint64_t pages, uint64_t page_bytes)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(pages, page_bytes, &bytes) || bytes > UINT64_MAX / 2)
        return 0;
    return cuda_rounded(bytes);
}

static enum q35_status kv_alloc(struct q35_kv *kv, const struct q35_kv_spec *spec,
                                struct q35_error *err)
{
    struct q35_device *dev = kv->weights->object.dev;
    uint64_t pages = soft_pages_count(spec->kv_tokens, spec->max_sequences);
    enum q35_status st;

    kv->pool_bytes = cuda_kv_pool_bytes(pages, kv->page_bytes);
    if ((!kv->pool_bytes && kv->page_bytes) || kv->pool_bytes > dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "a KV cache of %llu pages exceeds this GPU",
                             (unsigned long long)pages);
    st = soft_pages_init(&kv->pages, pages, spec->max_sequences, kv->weights->decoder_count, err);
    if (st || !kv->pool_bytes)
        return st;
    cuda_enter(dev);
    st =
        cuda_check(dev, dev->cu->MemAlloc(&kv->pool, kv->pool_bytes), "allocating a KV cache", err);
    cuda_leave(dev);
    if (st)
        soft_pages_fini(&kv->pages);
    return st;
}

enum q35_status cuda_kv_create(struct q35_device *dev, struct q35_weights *w,
                               const struct q35_kv_spec *spec, struct q35_kv **out,
                               struct q35_error *err)
{
    enum q35_status st = cuda_object_check(w ? &w->object : NULL, "weights", err);
    struct q35_kv *kv;
    uint32_t type;

    *out = NULL;
    if (st)
        return st;
    if (w->object.dev != dev)
        return q35_soft_fail(err, Q35_E_INVALID, "weights of another device");
    if (!spec || !Q35_HAS(spec, struct q35_kv_spec, kv_tokens) || !spec->max_sequences ||
        !spec->kv_tokens)
        return q35_soft_fail(err, Q35_E_INVALID, "a KV cache without sequences or tokens");
    type = Q35_HAS(spec, struct q35_kv_spec, type) ? spec->type : Q35_KV_F16;
    if (type >= CUDA_KV_TYPES)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "a KV cache of type %u", type);
    if (spec->max_sequences > CUDA_MAX_SEQUENCES)
        return q35_soft_fail(err, Q35_E_CAPACITY, "%u sequences, at most %u", spec->max_sequences,
                             CUDA_MAX_SEQUENCES);
    kv = calloc(1, sizeof(*kv));
    if (!kv)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a KV cache");
    kv->weights = w;
    kv->type = type;
    kv->page_bytes = w->page_bytes[type];
    st = kv_alloc(kv, spec, err);
    if (st) {
        free(kv);
        return st;
    }
    cuda_object_add(dev, &kv->object, kv_release);
    *out = kv;
    return Q35_OK;
}

void cuda_kv_free(struct q35_kv *kv)
{
    if (kv)
        cuda_object_remove(&kv->object);
}

static cu_ptr page_data(const struct q35_kv *kv, uint32_t page)
{
    return kv->pool + (uint64_t)(page - 1) * kv->page_bytes;
}

enum q35_status cuda_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                 struct q35_error *err)
{
    enum q35_status st = cuda_object_check(kv ? &kv->object : NULL, "KV cache", err);
    return st ? st : soft_pages_truncate(&kv->pages, sequence, length, err);
}

enum q35_status cuda_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                             struct q35_error *err)
{
    enum q35_status st = cuda_object_check(kv ? &kv->object : NULL, "KV cache", err);
    return st ? st : soft_pages_fork(&kv->pages, src, dst, length, err);
}

/* ---- a run --------------------------------------------------------------------------------- */

enum q35_status cuda_kv_admit(struct q35_kv *kv, const struct q35_run *run, struct q35_error *err)
{
    const struct cuda_layer *first = &kv->weights->layers[run->first];
    const struct cuda_layer *last = first + run->count - 1;
    return soft_pages_admit(&kv->pages, run->tokens, run->token_stride, run->n_tokens,
                            first->kv_index,
                            last->kv_index + (last->desc.kind == Q35_LAYER_DECODER), err);
}

static enum q35_status copy_page(void *user, uint32_t to, uint32_t from, struct q35_error *err)
{
    struct q35_kv *kv = user;
    struct q35_device *dev = kv->object.dev;
    return cuda_check(dev,
                      dev->cu->MemcpyDtoDAsync(page_data(kv, to), page_data(kv, from),
                                               kv->page_bytes, dev->stream),
                      "copying a shared page", err);
}

enum q35_status cuda_kv_reserve(struct q35_kv *kv, struct q35_error *err)
{
    return soft_pages_reserve(&kv->pages, copy_page, kv, err);
}
