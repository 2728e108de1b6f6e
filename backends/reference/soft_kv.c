/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV cache: the pages that soft_pages.h keeps tables of, in one map. */

#include <sys/mman.h>

#include "soft_impl.h"

#define HUGE_PAGE (2u << 20)
#define HUGE_FROM (16u << 20) /* of a pool: what is not used of a huge page is lost */

uint64_t soft_kv_tables_bytes(uint64_t pages, uint32_t max_sequences, uint32_t decoders)
{
    uint64_t tables = soft_pages_bytes(pages, max_sequences, decoders);
    return tables ? tables + pages * max_sequences * sizeof(void *) : 0;
}

static void kv_release(struct soft_object *o)
{
    struct q35_kv *kv = (struct q35_kv *)(void *)o;
    if (kv->map)
        munmap(kv->map, kv->map_bytes);
    kv->map = NULL;
    soft_pages_fini(&kv->pages);
    free(kv->addresses);
    kv->addresses = NULL;
}

/* The pool; NULL if there is no memory. */
static void pool_map(struct q35_kv *kv)
{
    void *map;
    kv->map_bytes = kv->pool_bytes + (kv->pool_bytes >= HUGE_FROM ? HUGE_PAGE : 0);
    map = mmap(NULL, kv->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kv->map = map == MAP_FAILED ? NULL : map;
    kv->pool = kv->map;
    if (!kv->map || kv->map_bytes == kv->pool_bytes)
        return;
    /* Every head of every page lies in small pages of its own: attention would miss the TLB each
     * time. */
    kv->pool = (uint8_t *)(((uintptr_t)kv->map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    (void)madvise(kv->pool, kv->pool_bytes, MADV_HUGEPAGE); /* it works without as well */
}

static enum q35_status kv_alloc(struct q35_kv *kv, const struct q35_kv_spec *spec,
                                struct q35_error *err)
{
    uint64_t pages = soft_pages_count(spec->kv_tokens, spec->max_sequences);
    enum q35_status st;

    if (__builtin_mul_overflow(pages, kv->page_bytes, &kv->pool_bytes) ||
        kv->pool_bytes > kv->weights->object.dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "a KV cache of %llu pages exceeds this machine",
                             (unsigned long long)pages);
    st = soft_pages_init(&kv->pages, pages, spec->max_sequences, kv->weights->decoder_count, err);
    if (st)
        return st;
    kv->addresses = calloc(pages * spec->max_sequences, sizeof(*kv->addresses));
    if (kv->pool_bytes)
        pool_map(kv);
    if (kv->addresses && (kv->map || !kv->pool_bytes))
        return Q35_OK;
    kv_release(&kv->object);
    return q35_soft_fail(err, Q35_E_CAPACITY, "no memory for a KV cache of %llu bytes",
                         (unsigned long long)kv->pool_bytes);
}

enum q35_status q35_soft_kv_create(struct q35_device *dev, struct q35_weights *w,
                                   const struct q35_kv_spec *spec, struct q35_kv **out,
                                   struct q35_error *err)
{
    enum q35_status st = soft_object_check(w ? &w->object : NULL, "weights", err);
    struct q35_kv *kv;

    *out = NULL;
    if (st)
        return st;
    if (w->object.dev != dev)
        return q35_soft_fail(err, Q35_E_INVALID, "weights of another device");
    if (!spec || !Q35_HAS(spec, struct q35_kv_spec, type) || !spec->max_sequences ||
        !spec->kv_tokens)
        return q35_soft_fail(err, Q35_E_INVALID, "a KV cache without sequences or tokens");
    if (spec->max_sequences > dev->max_sequences)
        return q35_soft_fail(err, Q35_E_CAPACITY, "%u sequences, at most %u", spec->max_sequences,
                             dev->max_sequences);
    st = soft_kv_type_check(dev, spec->type, err);
    if (st)
        return st;
    kv = calloc(1, sizeof(*kv));
    if (!kv)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a KV cache");
    kv->weights = w;
    kv->type = spec->type;
    kv->page_bytes = w->page_bytes[kv->type];
    st = kv_alloc(kv, spec, err);
    if (st) {
        free(kv);
        return st;
    }
    soft_object_add(dev, &kv->object, kv_release);
    *out = kv;
    return Q35_OK;
}

void q35_soft_kv_free(struct q35_kv *kv)
{
    if (kv)
        soft_object_remove(&kv->object);
}

static uint8_t *page_data(const struct q35_kv *kv, uint32_t page)
{
    return kv->pool + (uint64_t)(page - 1) * kv->page_bytes;
}

enum q35_status q35_soft_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                     struct q35_error *err)
{
    enum q35_status st = soft_object_check(kv ? &kv->object : NULL, "KV cache", err);
    return st ? st : soft_pages_truncate(&kv->pages, sequence, length, err);
}

enum q35_status q35_soft_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                                 struct q35_error *err)
{
    enum q35_status st = soft_object_check(kv ? &kv->object : NULL, "KV cache", err);
    return st ? st : soft_pages_fork(&kv->pages, src, dst, length, err);
}

/* ---- a run --------------------------------------------------------------------------------- */

enum q35_status soft_kv_admit(struct q35_kv *kv, const struct soft_batch *b, uint32_t first,
                              uint32_t count, struct q35_error *err)
{
    const struct soft_layer *layers = kv->weights->layers;
    const struct soft_layer *last = &layers[first + count - 1];
    return soft_pages_admit(&kv->pages, soft_token(b, 0), b->token_stride, b->n_tokens,
                            layers[first].kv_index,
                            last->kv_index + (last->desc.kind == Q35_LAYER_DECODER), err);
}

static enum q35_status copy_page(void *user, uint32_t to, uint32_t from, struct q35_error *err)
{
    struct q35_kv *kv = user;
    (void)err;
    memcpy(page_data(kv, to), page_data(kv, from), kv->page_bytes);
    return Q35_OK;
}

enum q35_status soft_kv_reserve(struct q35_kv *kv, struct q35_error *err)
{
    return soft_pages_reserve(&kv->pages, copy_page, kv, err);
}

void soft_kv_point(const struct soft_batch *b, const struct soft_layer *l)
{
    struct q35_kv *kv = b->kv;
    const struct soft_pages *p = &kv->pages;
    uint32_t i, k;

    for (i = 0; i < p->active_count; i++) {
        uint32_t s = p->active[i], *table = soft_pages_of(p, s);
        const uint16_t **addresses = kv->addresses + (uint64_t)s * p->page_count;
        for (k = 0; k < soft_pages_blocks(p->rows[s].end); k++)
            addresses[k] =
                (const uint16_t *)(const void *)(page_data(kv, table[k]) + l->kv_offset[kv->type]);
    }
    soft_pages_advance(&kv->pages, l->kv_index);
    for (i = 0; i < b->n_tokens; i++)
        b->s->pages[i] = kv->addresses + (uint64_t)soft_token(b, i)->sequence * p->page_count;
}

/* k, v: [heads][d] of one token; page: the layer's part of it; at: the position in the page. */
static void store_f16(const float *k, const float *v, uint32_t heads, uint32_t d, uint32_t at,
                      uint8_t *page)
{
    uint64_t half = (uint64_t)heads * Q35_ATTN_BLOCK * d;
    uint16_t *to = (uint16_t *)(void *)page + (uint64_t)at * d;
    uint32_t h, i;
    for (h = 0; h < heads; h++, k += d, v += d, to += (uint64_t)Q35_ATTN_BLOCK * d)
        for (i = 0; i < d; i++) {
            to[i] = q35_f32_to_f16(k[i]);
            to[half + i] = q35_f32_to_f16(v[i]);
        }
}

static void store_int8(const struct q35_device *dev, const float *k, const float *v, uint32_t heads,
                       uint32_t d, uint32_t at, uint8_t *page)
{
    uint64_t half = (uint64_t)heads * Q35_ATTN_BLOCK * d;
    int8_t *to = (int8_t *)page + (uint64_t)at * d;
    float *scales = (float *)(void *)(page + 2 * half) + at;
    uint32_t h;
    for (h = 0; h < heads; h++, k += d, v += d, to += (uint64_t)Q35_ATTN_BLOCK * d) {
        scales[h * Q35_ATTN_BLOCK] = dev->quantize_head(dev->user, k, d, to);
        scales[(heads + h) * Q35_ATTN_BLOCK] = dev->quantize_head(dev->user, v, d, to + half);
    }
}

void soft_kv_store(const struct soft_batch *b, const struct soft_layer *l)
{
    struct q35_kv *kv = b->kv;
    uint32_t d = l->desc.head_dim, heads = l->desc.n_kv_heads, i;

    soft_kv_point(b, l);
    for (i = 0; i < b->n_tokens; i++) {
        const struct q35_token *t = soft_token(b, i);
        uint32_t page = soft_pages_of(&kv->pages, t->sequence)[t->position / Q35_ATTN_BLOCK];
        uint8_t *to = page_data(kv, page) + l->kv_offset[kv->type];
        const float *k = b->s->k + (uint64_t)i * heads * d, *v = b->s->v + (uint64_t)i * heads * d;
        if (kv->type == Q35_KV_INT8)
            store_int8(b->dev, k, v, heads, d, t->position % Q35_ATTN_BLOCK, to);
        else
            store_f16(k, v, heads, d, t->position % Q35_ATTN_BLOCK, to);
    }
}
