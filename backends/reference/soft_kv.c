/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV cache: a pool of pages of 64 positions, shared by fork, copied when written.
 *
 * A page holds its positions of all decoder layers, so a sequence needs one table of pages. How far
 * a sequence reaches is kept per layer, since spans of the layers may run in separate submits. */

#include <sys/mman.h>

#include "soft_impl.h"

#define HUGE_PAGE (2u << 20)
#define HUGE_FROM (16u << 20) /* of a pool: what is not used of a huge page is lost */
#define MARK 0x80000000u      /* on a table entry: its reference was given up, see kv_plan_writes */

uint64_t soft_kv_pages(uint32_t kv_tokens, uint32_t max_sequences)
{
    return ((uint64_t)kv_tokens + (Q35_ATTN_BLOCK - 1) * (uint64_t)max_sequences) / Q35_ATTN_BLOCK;
}

/* Bytes of the arrays in the order kv_carve lays them out. */
uint64_t soft_kv_tables_bytes(uint64_t pages, uint32_t max_sequences, uint32_t decoders)
{
    uint64_t n = max_sequences, cells;
    if (pages >= MARK || __builtin_mul_overflow(n, pages, &cells) || cells >= (uint64_t)1 << 56)
        return 0;
    return cells * (sizeof(void *) + sizeof(uint32_t)) + (2 * pages + 1) * sizeof(uint32_t) +
           n * (sizeof(struct soft_kv_row) + sizeof(uint32_t) + decoders * sizeof(uint32_t));
}

static void kv_carve(struct q35_kv *kv)
{
    uint64_t n = kv->max_sequences, pages = kv->page_count;
    uint8_t *at = kv->block;
    kv->addresses = (const uint16_t **)(void *)at;
    at += n * pages * sizeof(*kv->addresses);
    kv->table = (uint32_t *)(void *)at;
    kv->refs = kv->table + n * pages;
    kv->free_list = kv->refs + pages + 1;
    kv->active = kv->free_list + pages;
    kv->lengths = kv->active + n;
    kv->rows = (struct soft_kv_row *)(void *)(kv->lengths + n * kv->weights->decoder_count);
}

static void kv_release(struct soft_object *o)
{
    struct q35_kv *kv = (struct q35_kv *)(void *)o;
    if (kv->map)
        munmap(kv->map, kv->map_bytes);
    kv->map = NULL;
    free(kv->block);
    kv->block = NULL;
}

static enum q35_status kv_alloc(struct q35_kv *kv, struct q35_error *err)
{
    uint64_t pages = kv->page_count;
    uint64_t tables = soft_kv_tables_bytes(pages, kv->max_sequences, kv->weights->decoder_count);
    void *pool;

    if (!tables || __builtin_mul_overflow(pages, kv->page_bytes, &kv->pool_bytes) ||
        kv->pool_bytes > kv->weights->object.dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "a KV cache of %llu pages exceeds this machine",
                             (unsigned long long)pages);
    kv->block = calloc(1, tables); /* untouched where it is not used */
    if (kv->pool_bytes) {
        kv->map_bytes = kv->pool_bytes + (kv->pool_bytes >= HUGE_FROM ? HUGE_PAGE : 0);
        pool =
            mmap(NULL, kv->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        kv->map = pool == MAP_FAILED ? NULL : pool;
        kv->pool = kv->map;
    }
    if (kv->map_bytes > kv->pool_bytes && kv->map) {
        /* Every head of every page lies in small pages of its own: attention would miss the TLB
         * each time. */
        kv->pool = (uint8_t *)(((uintptr_t)kv->map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
        (void)madvise(kv->pool, kv->pool_bytes, MADV_HUGEPAGE); /* it works without as well */
    }
    if (!kv->block || (kv->pool_bytes && !kv->map)) {
        kv_release(&kv->object);
        return q35_soft_fail(err, Q35_E_CAPACITY, "no memory for a KV cache of %llu bytes",
                             (unsigned long long)(kv->pool_bytes + tables));
    }
    kv_carve(kv);
    return Q35_OK;
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
    kv->max_sequences = spec->max_sequences;
    kv->page_count = (uint32_t)soft_kv_pages(spec->kv_tokens, spec->max_sequences);
    st = kv_alloc(kv, err);
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

static uint32_t *table_of(const struct q35_kv *kv, uint32_t sequence)
{
    return kv->table + (uint64_t)sequence * kv->page_count;
}

static uint32_t *lengths_of(const struct q35_kv *kv, uint32_t sequence)
{
    return kv->lengths + (uint64_t)sequence * kv->weights->decoder_count;
}

static uint32_t blocks_for(uint32_t length)
{
    return (uint32_t)(((uint64_t)length + Q35_ATTN_BLOCK - 1) / Q35_ATTN_BLOCK);
}

static uint8_t *page_data(const struct q35_kv *kv, uint32_t page)
{
    return kv->pool + (uint64_t)(page - 1) * kv->page_bytes;
}

static uint32_t pages_free(const struct q35_kv *kv)
{
    return kv->free_count + (kv->page_count - kv->used);
}

static uint32_t page_take(struct q35_kv *kv)
{
    uint32_t page = kv->free_count ? kv->free_list[--kv->free_count] : ++kv->used;
    kv->refs[page] = 1;
    return page;
}

static void page_unref(struct q35_kv *kv, uint32_t page)
{
    if (--kv->refs[page] == 0)
        kv->free_list[kv->free_count++] = page;
}

/* Shortens a sequence in all layers and gives back the pages beyond. */
static void cut(struct q35_kv *kv, uint32_t sequence, uint32_t length)
{
    uint32_t *table = table_of(kv, sequence), *lengths = lengths_of(kv, sequence), i, b;
    for (i = 0; i < kv->weights->decoder_count; i++)
        if (lengths[i] > length)
            lengths[i] = length;
    for (b = blocks_for(length); b < kv->page_count && table[b] != SOFT_NO_PAGE; b++) {
        page_unref(kv, table[b]);
        table[b] = SOFT_NO_PAGE;
    }
}

enum q35_status q35_soft_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                     struct q35_error *err)
{
    enum q35_status st = soft_object_check(kv ? &kv->object : NULL, "KV cache", err);
    if (st)
        return st;
    if (sequence >= kv->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u of %u", sequence, kv->max_sequences);
    cut(kv, sequence, length);
    return Q35_OK;
}

enum q35_status q35_soft_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                                 struct q35_error *err)
{
    enum q35_status st = soft_object_check(kv ? &kv->object : NULL, "KV cache", err);
    uint32_t i, b;
    if (st)
        return st;
    if (src >= kv->max_sequences || dst >= kv->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequences %u, %u of %u", src, dst,
                             kv->max_sequences);
    if (src == dst)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u forked into itself", src);
    for (i = 0; i < kv->weights->decoder_count; i++)
        if (lengths_of(kv, src)[i] < length)
            return q35_soft_fail(err, Q35_E_INVALID, "sequence %u holds %u positions, not %u", src,
                                 lengths_of(kv, src)[i], length);
    cut(kv, dst, 0);
    for (i = 0; i < kv->weights->decoder_count; i++)
        lengths_of(kv, dst)[i] = length;
    for (b = 0; b < blocks_for(length); b++) {
        table_of(kv, dst)[b] = table_of(kv, src)[b];
        kv->refs[table_of(kv, src)[b]]++;
    }
    return Q35_OK;
}

/* ---- a run --------------------------------------------------------------------------------- */

static enum q35_status admit_token(struct q35_kv *kv, const struct q35_token *t,
                                   struct q35_error *err)
{
    struct soft_kv_row *row;
    if (t->sequence >= kv->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u of %u", t->sequence,
                             kv->max_sequences);
    row = &kv->rows[t->sequence];
    if (!row->count) {
        row->start = row->end = t->position;
        kv->active[kv->active_count++] = t->sequence;
    }
    if (t->position != row->end || t->position == UINT32_MAX)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u: position %u where %u was due",
                             t->sequence, t->position, row->end);
    row->end++;
    row->count++;
    return Q35_OK;
}

enum q35_status soft_kv_admit(struct q35_kv *kv, const struct soft_batch *b, uint32_t first,
                              uint32_t count, struct q35_error *err)
{
    const struct soft_layer *layers = kv->weights->layers;
    uint32_t i, l;
    for (i = 0; i < kv->active_count; i++)
        kv->rows[kv->active[i]].count = 0;
    kv->active_count = 0;
    for (i = 0; i < b->n_tokens; i++) {
        enum q35_status st = admit_token(kv, soft_token(b, i), err);
        if (st)
            return st;
    }
    kv->run_first = layers[first].kv_index;
    kv->run_end = layers[first + count - 1].kv_index +
                  (layers[first + count - 1].desc.kind == Q35_LAYER_DECODER);
    for (i = 0; i < kv->active_count; i++)
        for (l = kv->run_first; l < kv->run_end; l++) {
            uint32_t s = kv->active[i], held = lengths_of(kv, s)[l];
            if (kv->rows[s].start > held)
                return q35_soft_fail(err, Q35_E_INVALID,
                                     "sequence %u starts at position %u, but %u are held", s,
                                     kv->rows[s].start, held);
        }
    return Q35_OK;
}

/* Blocks that sequence s keeps once the run has written: layers outside the run keep theirs. */
static uint32_t blocks_after(const struct q35_kv *kv, uint32_t s)
{
    const uint32_t *lengths = lengths_of(kv, s);
    uint32_t longest = kv->rows[s].end, i;
    for (i = 0; i < kv->weights->decoder_count; i++)
        if ((i < kv->run_first || i >= kv->run_end) && lengths[i] > longest)
            longest = lengths[i];
    return blocks_for(longest);
}

/* Decides about every block that the run touches, without changing what the KV holds: entries whose
 * reference is given up (discarded, or to be replaced by a copy) are marked and counted down.
 * Discards come first, so that a page shared by two sequences of the batch is copied only for the
 * first writer. Returns false if the pages do not suffice. */
static bool kv_plan_writes(struct q35_kv *kv)
{
    uint64_t needed = 0, freed = 0;
    uint32_t i, b;
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        for (b = blocks_after(kv, s); b < kv->page_count && table[b] != SOFT_NO_PAGE; b++) {
            freed += --kv->refs[table[b]] == 0;
            table[b] |= MARK;
        }
    }
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s), end = blocks_for(kv->rows[s].end);
        if (end > kv->page_count)
            return false;
        for (b = kv->rows[s].start / Q35_ATTN_BLOCK; b < end; b++) {
            if (table[b] == SOFT_NO_PAGE) {
                needed++;
            } else if (kv->refs[table[b]] > 1) {
                needed++;
                kv->refs[table[b]]--;
                table[b] |= MARK;
            }
        }
    }
    return needed <= pages_free(kv) + freed;
}

static void kv_undo(struct q35_kv *kv)
{
    uint32_t i, b;
    for (i = 0; i < kv->active_count; i++) {
        uint32_t *table = table_of(kv, kv->active[i]);
        for (b = 0; b < kv->page_count && table[b] != SOFT_NO_PAGE; b++)
            if (table[b] & MARK) {
                table[b] &= ~MARK;
                kv->refs[table[b]]++;
            }
    }
}

/* Gives back what the plan discards. Marked entries were counted down by the plan, so first up. */
static void kv_discard(struct q35_kv *kv)
{
    uint32_t i, b;
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        for (b = blocks_after(kv, s); b < kv->page_count && table[b] != SOFT_NO_PAGE; b++) {
            table[b] &= ~MARK;
            kv->refs[table[b]]++;
        }
    }
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        for (b = blocks_after(kv, s); b < kv->page_count && table[b] != SOFT_NO_PAGE; b++) {
            page_unref(kv, table[b]);
            table[b] = SOFT_NO_PAGE;
        }
    }
}

static void kv_take_pages(struct q35_kv *kv)
{
    uint32_t i, b;
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        for (b = kv->rows[s].start / Q35_ATTN_BLOCK; b < blocks_for(kv->rows[s].end); b++) {
            uint32_t old = table[b];
            if (old != SOFT_NO_PAGE && !(old & MARK))
                continue;
            table[b] = page_take(kv);
            if (old != SOFT_NO_PAGE)
                memcpy(page_data(kv, table[b]), page_data(kv, old & ~MARK), kv->page_bytes);
        }
    }
}

enum q35_status soft_kv_reserve(struct q35_kv *kv, struct q35_error *err)
{
    uint32_t i, l;
    if (!kv_plan_writes(kv)) {
        kv_undo(kv);
        return q35_soft_fail(err, Q35_E_CAPACITY, "the KV cache is full: %u of %u pages are free",
                             pages_free(kv), kv->page_count);
    }
    kv_discard(kv);
    kv_take_pages(kv);
    for (i = 0; i < kv->active_count; i++) {
        uint32_t *lengths = lengths_of(kv, kv->active[i]);
        for (l = kv->run_first; l < kv->run_end; l++)
            if (lengths[l] > kv->rows[kv->active[i]].start)
                lengths[l] = kv->rows[kv->active[i]].start;
    }
    return Q35_OK;
}

void soft_kv_point(const struct soft_batch *b, const struct soft_layer *l)
{
    struct q35_kv *kv = b->kv;
    uint32_t i, p;

    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        const uint16_t **addresses = kv->addresses + (uint64_t)s * kv->page_count;
        for (p = 0; p < blocks_for(kv->rows[s].end); p++)
            addresses[p] =
                (const uint16_t *)(const void *)(page_data(kv, table[p]) + l->kv_offset[kv->type]);
        lengths_of(kv, s)[l->kv_index] = kv->rows[s].end;
    }
    for (i = 0; i < b->n_tokens; i++)
        b->s->pages[i] = kv->addresses + (uint64_t)soft_token(b, i)->sequence * kv->page_count;
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
        uint32_t page = table_of(kv, t->sequence)[t->position / Q35_ATTN_BLOCK];
        uint8_t *to = page_data(kv, page) + l->kv_offset[kv->type];
        const float *k = b->s->k + (uint64_t)i * heads * d, *v = b->s->v + (uint64_t)i * heads * d;
        if (kv->type == Q35_KV_INT8)
            store_int8(b->dev, k, v, heads, d, t->position % Q35_ATTN_BLOCK, to);
        else
            store_f16(k, v, heads, d, t->position % Q35_ATTN_BLOCK, to);
    }
}
