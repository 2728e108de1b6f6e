/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV cache: a pool of pages of 64 positions on the device, shared by fork, copied there when
 * written. The tables are the host's; a run takes along those of its sequences.
 *
 * A page holds its positions of all decoder layers, so a sequence needs one table of pages. How far
 * a sequence reaches is kept per layer, since spans of the layers may run in separate submits. */

#include "impl.h"

#define NO_PAGE 0u

#define MARK 0x80000000u /* on a table entry: its reference was given up, see kv_plan_writes */

uint64_t cuda_kv_pages(uint32_t kv_tokens, uint32_t max_sequences)
{
    return ((uint64_t)kv_tokens + (Q35_ATTN_BLOCK - 1) * (uint64_t)max_sequences) / Q35_ATTN_BLOCK;
}

/* Bytes of the host's arrays in the order kv_carve lays them out; 0 on overflow. */
static uint64_t tables_bytes(uint64_t pages, uint32_t max_sequences, uint32_t decoders)
{
    uint64_t n = max_sequences, cells;
    if (pages >= MARK || __builtin_mul_overflow(n, pages, &cells) || cells >= (uint64_t)1 << 40)
        return 0;
    return (cells + 2 * pages + 1 + n * (1 + (uint64_t)decoders)) * sizeof(uint32_t) +
           n * sizeof(struct cuda_kv_row);
}

static void kv_carve(struct q35_kv *kv)
{
    uint64_t n = kv->max_sequences, pages = kv->page_count;
    kv->table = (uint32_t *)(void *)kv->block;
    kv->refs = kv->table + n * pages;
    kv->free_list = kv->refs + pages + 1;
    kv->active = kv->free_list + pages;
    kv->lengths = kv->active + n;
    kv->rows = (struct cuda_kv_row *)(void *)(kv->lengths + n * kv->weights->decoder_count);
}

static void kv_release(struct cuda_object *o)
{
    struct q35_kv *kv = (struct q35_kv *)(void *)o;
    cuda_graphs_destroy(o->dev); /* they know its address */
    if (kv->pool)
        (void)o->dev->cu->MemFree(kv->pool);
    kv->pool = 0;
    free(kv->block);
    kv->block = NULL;
}

uint64_t cuda_kv_pool_bytes(uint64_t pages, uint64_t page_bytes)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(pages, page_bytes, &bytes) || bytes > UINT64_MAX / 2)
        return 0;
    return cuda_rounded(bytes);
}

static enum q35_status kv_alloc(struct q35_kv *kv, struct q35_error *err)
{
    struct q35_device *dev = kv->weights->object.dev;
    uint64_t pages = kv->page_count;
    uint64_t tables = tables_bytes(pages, kv->max_sequences, kv->weights->decoder_count);
    enum q35_status st;

    kv->pool_bytes = cuda_kv_pool_bytes(pages, kv->page_bytes);
    if (!tables || (!kv->pool_bytes && kv->page_bytes) || kv->pool_bytes > dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "a KV cache of %llu pages exceeds this GPU",
                             (unsigned long long)pages);
    kv->block = calloc(1, tables); /* untouched where it is not used */
    if (!kv->block)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for tables of %llu pages",
                             (unsigned long long)pages);
    if (kv->pool_bytes) {
        cuda_enter(dev);
        st = cuda_check(dev, dev->cu->MemAlloc(&kv->pool, kv->pool_bytes), "allocating a KV cache",
                        err);
        cuda_leave(dev);
        if (st) {
            free(kv->block);
            return st;
        }
    }
    kv_carve(kv);
    return Q35_OK;
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
    kv->max_sequences = spec->max_sequences;
    kv->page_count = (uint32_t)cuda_kv_pages(spec->kv_tokens, spec->max_sequences);
    st = kv_alloc(kv, err);
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

static uint32_t *table_of(const struct q35_kv *kv, uint32_t sequence)
{
    return kv->table + (uint64_t)sequence * kv->page_count;
}

static uint32_t *lengths_of(const struct q35_kv *kv, uint32_t sequence)
{
    return kv->lengths + (uint64_t)sequence * kv->weights->decoder_count;
}

static cu_ptr page_data(const struct q35_kv *kv, uint32_t page)
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
    for (b = cuda_kv_blocks(length); b < kv->page_count && table[b] != NO_PAGE; b++) {
        page_unref(kv, table[b]);
        table[b] = NO_PAGE;
    }
}

enum q35_status cuda_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                 struct q35_error *err)
{
    enum q35_status st = cuda_object_check(kv ? &kv->object : NULL, "KV cache", err);
    if (st)
        return st;
    if (sequence >= kv->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u of %u", sequence, kv->max_sequences);
    cut(kv, sequence, length);
    return Q35_OK;
}

enum q35_status cuda_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                             struct q35_error *err)
{
    enum q35_status st = cuda_object_check(kv ? &kv->object : NULL, "KV cache", err);
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
    for (b = 0; b < cuda_kv_blocks(length); b++) {
        table_of(kv, dst)[b] = table_of(kv, src)[b];
        kv->refs[table_of(kv, src)[b]]++;
    }
    return Q35_OK;
}

/* ---- a run --------------------------------------------------------------------------------- */

static enum q35_status admit_token(struct q35_kv *kv, const struct q35_token *t,
                                   struct q35_error *err)
{
    struct cuda_kv_row *row;
    if (t->sequence >= kv->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u of %u", t->sequence,
                             kv->max_sequences);
    row = &kv->rows[t->sequence];
    if (!row->count) {
        row->start = row->end = t->position;
        row->index = kv->active_count;
        kv->active[kv->active_count++] = t->sequence;
    }
    if (t->position != row->end || t->position == UINT32_MAX)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u: position %u where %u was due",
                             t->sequence, t->position, row->end);
    row->end++;
    row->count++;
    return Q35_OK;
}

enum q35_status cuda_kv_admit(struct q35_kv *kv, const struct q35_run *run, struct q35_error *err)
{
    const struct cuda_layer *layers = kv->weights->layers;
    uint32_t i, l, first = run->first, count = run->count;
    for (i = 0; i < kv->active_count; i++)
        kv->rows[kv->active[i]].count = 0;
    kv->active_count = 0;
    for (i = 0; i < run->n_tokens; i++) {
        enum q35_status st = admit_token(kv, cuda_token(run, i), err);
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
    return cuda_kv_blocks(longest);
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
        for (b = blocks_after(kv, s); b < kv->page_count && table[b] != NO_PAGE; b++) {
            freed += --kv->refs[table[b]] == 0;
            table[b] |= MARK;
        }
    }
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s), end = cuda_kv_blocks(kv->rows[s].end);
        if (end > kv->page_count)
            return false;
        for (b = kv->rows[s].start / Q35_ATTN_BLOCK; b < end; b++) {
            if (table[b] == NO_PAGE) {
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
        for (b = 0; b < kv->page_count && table[b] != NO_PAGE; b++)
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
        for (b = blocks_after(kv, s); b < kv->page_count && table[b] != NO_PAGE; b++) {
            table[b] &= ~MARK;
            kv->refs[table[b]]++;
        }
    }
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        for (b = blocks_after(kv, s); b < kv->page_count && table[b] != NO_PAGE; b++) {
            page_unref(kv, table[b]);
            table[b] = NO_PAGE;
        }
    }
}

static enum q35_status kv_take_pages(struct q35_kv *kv, struct q35_error *err)
{
    struct q35_device *dev = kv->object.dev;
    enum q35_status st = Q35_OK;
    uint32_t i, b;
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i], *table = table_of(kv, s);
        for (b = kv->rows[s].start / Q35_ATTN_BLOCK; b < cuda_kv_blocks(kv->rows[s].end); b++) {
            uint32_t old = table[b];
            if (old != NO_PAGE && !(old & MARK))
                continue;
            table[b] = page_take(kv);
            if (old != NO_PAGE && !st)
                st = cuda_check(dev,
                                dev->cu->MemcpyDtoDAsync(page_data(kv, table[b]),
                                                         page_data(kv, old & ~MARK), kv->page_bytes,
                                                         dev->stream),
                                "copying a shared page", err);
        }
    }
    return st;
}

enum q35_status cuda_kv_reserve(struct q35_kv *kv, struct q35_error *err)
{
    enum q35_status st;
    uint32_t i, l;
    if (!kv_plan_writes(kv)) {
        kv_undo(kv);
        return q35_soft_fail(err, Q35_E_CAPACITY, "the KV cache is full: %u of %u pages are free",
                             pages_free(kv), kv->page_count);
    }
    kv_discard(kv);
    st = kv_take_pages(kv, err);
    for (i = 0; i < kv->active_count; i++) {
        uint32_t *lengths = lengths_of(kv, kv->active[i]);
        for (l = kv->run_first; l < kv->run_end; l++)
            if (lengths[l] > kv->rows[kv->active[i]].start)
                lengths[l] = kv->rows[kv->active[i]].start;
    }
    return st;
}

void cuda_kv_advance(struct q35_kv *kv, uint32_t kv_index)
{
    uint32_t i;
    for (i = 0; i < kv->active_count; i++)
        lengths_of(kv, kv->active[i])[kv_index] = kv->rows[kv->active[i]].end;
}
