/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "ops.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "soft.h"

#define PART_PAGES 8u  /* pages that one piece of a split item takes */
#define SPLIT_BELOW 4u /* items for a thread that are enough without splitting */
#define QUANTIZE_TOKENS 16u

/* An item is one token with the query heads of one KV head, or a part of them if they are many.
 * With enough items each is a piece that goes through its pages in order; with few of them (decode)
 * a piece is some of an item's pages, so that threads can help each other. */
struct attn_job {
    struct cpu *cpu;
    const struct q35_attn_args *args;
    uint32_t group;  /* query heads of a KV head */
    uint32_t sub;    /* query heads of an item */
    uint32_t per_kv; /* items of a KV head */
    uint32_t items;
    uint32_t max_pages; /* of any token */
    uint32_t parts;     /* pieces of an item when split */
};

struct item {
    uint32_t lo, hi; /* positions */
    uint32_t pages;
    uint32_t heads;
    float *out;
    const uint16_t *const *page;
    /* Where its keys, values and their scales are in a page, in bytes. */
    uint64_t k, v, k_scales, v_scales;
    struct attn_args args; /* for the kernel; all but what changes from page to page */
};

static void place(struct item *it, const struct q35_attn_args *a, uint32_t kv_head)
{
    uint64_t width = a->kv_type == Q35_KV_INT8 ? sizeof(int8_t) : sizeof(uint16_t);
    uint64_t keys = Q35_ATTN_BLOCK * (uint64_t)a->head_dim * width;
    uint64_t scales = Q35_ATTN_BLOCK * sizeof(float);
    it->k = kv_head * keys;
    it->v = it->k + a->n_kv_heads * keys;
    it->k_scales = 2 * a->n_kv_heads * keys + kv_head * scales;
    it->v_scales = it->k_scales + a->n_kv_heads * scales;
}

static struct item item_of(const struct attn_job *j, uint32_t i, uint32_t worker)
{
    const struct q35_attn_args *a = j->args;
    const struct queries8 *q = &j->cpu->q8;
    uint32_t per_token = a->n_kv_heads * j->per_kv;
    uint32_t t = a->n_tokens - 1 - i / per_token; /* the longest first */
    uint32_t part = i % per_token % j->per_kv, kv_head = i % per_token / j->per_kv, first;
    struct item it = {.hi = a->positions[t]};
    uint64_t head = (uint64_t)t * a->n_heads + kv_head * j->group + part * j->sub;
    it.lo = a->window && it.hi + 1 > a->window ? it.hi + 1 - a->window : 0;
    first = it.lo / Q35_ATTN_BLOCK;
    it.pages = it.hi / Q35_ATTN_BLOCK - first + 1;
    it.heads = j->group - part * j->sub < j->sub ? j->group - part * j->sub : j->sub;
    it.out = a->out + head * a->head_dim;
    it.page = a->pages[t] + first;
    place(&it, a, kv_head);
    it.args = (struct attn_args){.group = it.heads,
                                 .head_dim = a->head_dim,
                                 .scale = a->scale,
                                 .q_stride = q->stride,
                                 .q = a->q + head * a->head_dim,
                                 .scratch = j->cpu->workers[worker].scratch};
    if (a->kv_type == Q35_KV_INT8) {
        it.args.q8 = q->values + head * q->stride;
        it.args.q_scales = q->scales + head;
        it.args.q_sums = q->sums + head;
    }
    return it;
}

/* Page p (0 .. pages - 1) of an item. */
static void one_page(const struct attn_job *j, struct item *it, uint32_t p,
                     struct q35_attn_state *state, float *o)
{
    const uint8_t *page = (const uint8_t *)it->page[p];
    const uint8_t *next = p + 1 < it->pages ? (const uint8_t *)it->page[p + 1] : NULL;
    uint32_t last = next ? Q35_ATTN_BLOCK - 1 : it->hi % Q35_ATTN_BLOCK;
    struct attn_args *k = &it->args;
    k->first = p == 0 ? it->lo % Q35_ATTN_BLOCK : 0;
    k->n = last - k->first + 1;
    k->k = page + it->k;
    k->v = page + it->v;
    k->next_k = next ? next + it->k : NULL;
    k->state = state;
    k->o = o;
    if (j->args->kv_type == Q35_KV_F16) {
        j->cpu->k.attn_block(k);
        return;
    }
    k->k_scales = (const float *)(const void *)(page + it->k_scales);
    k->v_scales = (const float *)(const void *)(page + it->v_scales);
    k->next_k_scales = next ? (const float *)(const void *)(next + it->k_scales) : NULL;
    j->cpu->k.attn8_block(k);
}

/* Pages first .. end - 1 of an item after what *state and its output hold; page 0 begins them. */
static void run_pages(const struct attn_job *j, struct item *it, uint32_t first, uint32_t end,
                      struct q35_attn_state *state)
{
    struct q35_attn_state next[ATTN_GROUP];
    float o[ATTN_GROUP * ATTN_HEAD_DIM];
    uint32_t p = first;
    if (p == 0) {
        one_page(j, it, 0, state, it->out);
        p = 1;
    }
    for (; p < end; p++) {
        one_page(j, it, p, next, o);
        j->cpu->k.attn_merge(state, it->out, next, o, it->heads, j->args->head_dim);
    }
}

static void finish(const struct attn_job *j, const struct item *it,
                   const struct q35_attn_state *state)
{
    uint32_t hd = j->args->head_dim, h, d;
    for (h = 0; h < it->heads; h++) {
        float inv = 1.0f / state[h].l, *out = it->out + (uint64_t)h * hd;
        for (d = 0; d < hd; d++)
            out[d] = out[d] * inv;
    }
}

static void item_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct attn_job *j = ctx;
    struct item it = item_of(j, piece, worker);
    struct q35_attn_state state[ATTN_GROUP];
    run_pages(j, &it, 0, it.pages, state);
    finish(j, &it, state);
}

/* ---- few items: their pages in parts --------------------------------------------------------- */

/* Blocks are merged in order. A part whose turn has come goes on from the item's state; one that is
 * early leaves its pages' results, and whoever ends the part before it merges them. */
enum { PART_OPEN, PART_READY, PART_TAKEN };

/* Of an item: what of its parts is merged. */
struct attn_merged {
    _Alignas(64) _Atomic uint32_t parts;
    struct q35_attn_state state[ATTN_GROUP];
};

/* Where page p of an item is kept: states of `sub` heads (2 floats each), then their values. */
static float *page_results(const struct attn_job *j, uint32_t item, uint32_t p)
{
    uint64_t len = (uint64_t)j->sub * (2 + j->args->head_dim);
    return j->cpu->parts.pages + ((uint64_t)item * j->max_pages + p) * len;
}

static uint32_t part_end(const struct item *it, uint32_t part)
{
    return (part + 1) * PART_PAGES < it->pages ? (part + 1) * PART_PAGES : it->pages;
}

static void keep_part(const struct attn_job *j, struct item *it, uint32_t i, uint32_t part)
{
    struct q35_attn_state state[ATTN_GROUP];
    uint32_t p;
    for (p = part * PART_PAGES; p < part_end(it, part); p++) {
        float *to = page_results(j, i, p);
        one_page(j, it, p, state, to + 2 * j->sub);
        memcpy(to, state, it->heads * sizeof *state);
    }
}

static void merge_part(const struct attn_job *j, struct item *it, uint32_t i, uint32_t part,
                       struct q35_attn_state *state)
{
    struct q35_attn_state next[ATTN_GROUP];
    uint32_t p;
    for (p = part * PART_PAGES; p < part_end(it, part); p++) {
        const float *from = page_results(j, i, p);
        memcpy(next, from, it->heads * sizeof *next);
        j->cpu->k.attn_merge(state, it->out, next, from + 2 * j->sub, it->heads, j->args->head_dim);
    }
}

/* All parts before `part` are merged: that is made known, and those that are ready follow. */
static void advance(const struct attn_job *j, struct item *it, uint32_t i, uint32_t part)
{
    struct attn_merged *m = &j->cpu->parts.merged[i];
    for (;; part++) {
        uint32_t ready = PART_READY;
        if (part * PART_PAGES >= it->pages) {
            finish(j, it, m->state);
            return;
        }
        atomic_store(&m->parts, part);
        if (!atomic_compare_exchange_strong(&j->cpu->parts.ready[(uint64_t)i * j->parts + part],
                                            &ready, PART_TAKEN))
            return; /* whose it is will find its turn come */
        merge_part(j, it, i, part, m->state);
    }
}

static void part_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct attn_job *j = ctx;
    uint32_t i = piece / j->parts, part = piece % j->parts, ready = PART_READY;
    struct item it = item_of(j, i, worker);
    struct attn_merged *m = &j->cpu->parts.merged[i];
    _Atomic uint32_t *mine = &j->cpu->parts.ready[piece];
    if (part * PART_PAGES >= it.pages)
        return;
    if (atomic_load(&m->parts) == part) {
        run_pages(j, &it, part * PART_PAGES, part_end(&it, part), m->state);
        advance(j, &it, i, part + 1);
        return;
    }
    keep_part(j, &it, i, part);
    atomic_store(mine, PART_READY);
    if (atomic_load(&m->parts) == part &&
        atomic_compare_exchange_strong(mine, &ready, PART_TAKEN)) {
        merge_part(j, &it, i, part, m->state);
        advance(j, &it, i, part + 1);
    }
}

/* Room for all pages of all items, none of them done; grows by doubling. */
static enum q35_status parts_reserve(struct attn_job *j, struct q35_error *err)
{
    struct attn_parts *parts = &j->cpu->parts;
    uint64_t pages = (uint64_t)j->items * j->max_pages * j->sub * (2 + j->args->head_dim);
    uint64_t merged = (j->items * sizeof *parts->merged), n = (uint64_t)j->items * j->parts;
    uint64_t bytes = merged + pages * sizeof *parts->pages + n * sizeof *parts->ready, i;
    if (bytes > parts->bytes) {
        void *memory = aligned_alloc(64, (2 * bytes + 63) & ~(uint64_t)63);
        if (!memory)
            return q35_soft_fail(err, Q35_E_NOMEM, "attention: no memory for %u pages",
                                 j->max_pages);
        free(parts->merged);
        parts->merged = memory;
        parts->bytes = 2 * bytes;
    }
    parts->pages = (float *)(void *)(parts->merged + j->items);
    parts->ready = (_Atomic uint32_t *)(void *)(parts->pages + pages);
    for (i = 0; i < j->items; i++)
        atomic_init(&parts->merged[i].parts, 0);
    for (i = 0; i < n; i++)
        atomic_init(&parts->ready[i], PART_OPEN);
    return Q35_OK;
}

/* ---- queries in int8 ---------------------------------------------------------------------- */

static void quantize_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct attn_job *j = ctx;
    const struct q35_attn_args *a = j->args;
    const struct queries8 *q = &j->cpu->q8;
    uint64_t at = (uint64_t)piece * QUANTIZE_TOKENS * a->n_heads, all;
    uint64_t end = at + (uint64_t)QUANTIZE_TOKENS * a->n_heads;
    uint32_t i;
    (void)worker;
    all = (uint64_t)a->n_tokens * a->n_heads;
    for (end = end < all ? end : all; at < end; at++) {
        int8_t *to = q->values + at * q->stride;
        int32_t sum = 0;
        q->scales[at] = cpu_quantize_head(j->cpu, a->q + at * a->head_dim, a->head_dim, to);
        for (i = 0; i < a->head_dim; i++)
            sum += to[i];
        memset(to + a->head_dim, 0, q->stride - a->head_dim);
        q->sums[at] = sum;
    }
}

/* Each query head once; grows by doubling. */
static enum q35_status quantize_queries(struct attn_job *j, struct q35_error *err)
{
    const struct q35_attn_args *a = j->args;
    struct queries8 *q = &j->cpu->q8;
    uint64_t heads = (uint64_t)a->n_tokens * a->n_heads, bytes;
    q->stride = (a->head_dim + 63) & ~63u;
    bytes = heads * (q->stride + sizeof *q->scales + sizeof *q->sums);
    if (bytes > q->bytes) {
        int8_t *values = aligned_alloc(64, (2 * bytes + 63) & ~(uint64_t)63);
        if (!values)
            return q35_soft_fail(err, Q35_E_NOMEM, "attention: no memory for %u tokens",
                                 a->n_tokens);
        free(q->values);
        q->values = values;
        q->bytes = 2 * bytes;
    }
    q->scales = (float *)(void *)(q->values + heads * q->stride);
    q->sums = (int32_t *)(void *)(q->scales + heads);
    pool_run(j->cpu->pool, quantize_piece, j,
             (a->n_tokens + QUANTIZE_TOKENS - 1) / QUANTIZE_TOKENS);
    return Q35_OK;
}

enum q35_status cpu_attention(void *user, const struct q35_attn_args *a, struct q35_error *err)
{
    struct cpu *c = user;
    struct attn_job j = {.cpu = c, .args = a, .group = a->n_heads / a->n_kv_heads};
    uint32_t threads = pool_threads(c->pool), t;
    enum q35_status st;
    if (a->head_dim > ATTN_HEAD_DIM || a->kv_type > Q35_KV_INT8)
        return q35_reference_ops.attention(NULL, a, err);
    j.sub = j.group < ATTN_GROUP ? j.group : ATTN_GROUP;
    j.per_kv = (j.group + j.sub - 1) / j.sub;
    j.items = a->n_tokens * a->n_kv_heads * j.per_kv;
    st = a->kv_type == Q35_KV_INT8 ? quantize_queries(&j, err) : Q35_OK;
    if (st)
        return st;
    for (t = 0; t < a->n_tokens; t++) {
        uint32_t pages = a->positions[t] / Q35_ATTN_BLOCK + 1;
        j.max_pages = pages > j.max_pages ? pages : j.max_pages;
    }
    if (threads == 1 || j.items >= SPLIT_BELOW * threads || j.max_pages <= PART_PAGES) {
        pool_run(c->pool, item_piece, &j, j.items);
        return Q35_OK;
    }
    j.parts = (j.max_pages + PART_PAGES - 1) / PART_PAGES;
    st = parts_reserve(&j, err);
    if (!st)
        pool_run(c->pool, part_piece, &j, j.items * j.parts);
    return st;
}
