/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV cache: pages of 64 positions on the device, shared by fork and copied when written. A page
 * has its place in the pool of every decoder layer, so a sequence needs one table of pages, which
 * the host keeps. How far a sequence reaches is kept per layer: spans may run in submits of their
 * own. */

#include <stdlib.h>
#include <string.h>

#include "opencl.h"

uint64_t ocl_kv_pages(uint32_t kv_tokens, uint32_t max_sequences)
{
    return ((uint64_t)kv_tokens + (PAGE - 1) * (uint64_t)max_sequences) / PAGE;
}

/* Words of the host's arrays, in the order carve() lays them out. */
static uint64_t host_words(uint64_t pages, uint64_t n, uint64_t decoders)
{
    return 3 * n * pages + 2 * (2 * pages + 1) + n * (3 + decoders) +
           n * sizeof(struct ocl_row) / 4;
}

uint64_t ocl_kv_tables(uint64_t pages, uint32_t max_sequences, uint32_t decoders)
{
    if (pages >= UINT32_MAX / 2 || pages * max_sequences >= (uint64_t)1 << 40)
        return 0;
    return 4 * host_words(pages, max_sequences, decoders) + 4 * pages * max_sequences;
}

static void carve(struct q35_kv *kv)
{
    uint64_t n = kv->max_sequences, pages = kv->page_count;
    uint32_t *at = (uint32_t *)(void *)kv->block;
    kv->table = at;
    kv->blocks = kv->table + n * pages;
    kv->refs = kv->blocks + n;
    kv->free = kv->refs + pages + 1;
    kv->lengths = kv->free + pages;
    kv->active = kv->lengths + n * kv->weights->decoder_count;
    kv->sent = kv->active + n;
    kv->saved = kv->sent + n * pages;
    kv->rows = (struct ocl_row *)(void *)(kv->saved + 2 * pages + 1 + n + n * pages);
}

static void kv_release(struct ocl_object *o)
{
    struct q35_kv *kv = (struct q35_kv *)(void *)o;
    uint32_t i;
    if (o->dev->queue)
        clFinish(o->dev->queue);
    for (i = 0; kv->pools && i < kv->decoders; i++)
        if (kv->pools[i])
            clReleaseMemObject(kv->pools[i]);
    if (kv->device_table)
        clReleaseMemObject(kv->device_table);
    kv->device_table = NULL;
    free(kv->pools);
    free(kv->block);
    kv->pools = NULL;
    kv->block = NULL;
}

static enum q35_status kv_alloc(struct q35_kv *kv, struct q35_device *dev, struct q35_error *err)
{
    const struct q35_weights *w = kv->weights;
    uint64_t pages = kv->page_count, total = 0;
    uint64_t tables = ocl_kv_tables(pages, kv->max_sequences, w->decoder_count);
    enum q35_status st = Q35_OK;
    uint32_t i;

    for (i = 0; i < w->layer_count; i++) {
        uint64_t bytes;
        if (__builtin_mul_overflow(pages, ocl_page_bytes(&w->layers[i].desc, kv->type), &bytes) ||
            __builtin_add_overflow(total, bytes, &total) || bytes > dev->limits.max_alloc)
            total = UINT64_MAX / 2;
    }
    if (!tables || total > dev->limits.memory || tables > dev->limits.memory)
        return ocl_fail(err, Q35_E_CAPACITY, "a KV cache of %llu pages exceeds the device",
                        (unsigned long long)pages);
    kv->block = calloc(1, 4 * host_words(pages, kv->max_sequences, w->decoder_count));
    kv->pools = calloc(w->decoder_count + 1, sizeof(*kv->pools));
    if (!kv->block || !kv->pools)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for the tables of a KV cache");
    carve(kv);
    for (i = 0; !st && i < w->layer_count; i++)
        if (w->layers[i].desc.kind == Q35_LAYER_DECODER)
            st = ocl_mem_create(dev, CL_MEM_READ_WRITE,
                                pages * ocl_page_bytes(&w->layers[i].desc, kv->type), NULL,
                                &kv->pools[w->layers[i].kv_index], "a KV cache", err);
    if (!st)
        st = ocl_mem_create(dev, CL_MEM_READ_ONLY, 4 * pages * kv->max_sequences, NULL,
                            &kv->device_table, "a KV cache", err);
    for (i = 0; i < kv->page_count; i++)
        kv->free[i] = kv->page_count - i; /* the first page is taken first */
    kv->free_count = kv->page_count;
    return st;
}

enum q35_status ocl_kv_create(struct q35_device *dev, struct q35_weights *w,
                              const struct q35_kv_spec *spec, struct q35_kv **out,
                              struct q35_error *err)
{
    enum q35_status st = ocl_object_check(w ? &w->object : NULL, dev, "weights", err);
    struct q35_kv *kv;

    *out = NULL;
    if (st)
        return st;
    if (!spec || !Q35_HAS(spec, struct q35_kv_spec, kv_tokens) || !spec->max_sequences ||
        !spec->kv_tokens)
        return ocl_fail(err, Q35_E_INVALID, "a KV cache without sequences or tokens");
    if (Q35_HAS(spec, struct q35_kv_spec, type) && spec->type > Q35_KV_INT8)
        return ocl_fail(err, Q35_E_UNSUPPORTED, "a KV cache of type %u", spec->type);
    if (spec->max_sequences > MAX_SEQUENCES)
        return ocl_fail(err, Q35_E_CAPACITY, "%u sequences, at most %d", spec->max_sequences,
                        MAX_SEQUENCES);
    kv = calloc(1, sizeof(*kv));
    if (!kv)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a KV cache");
    kv->weights = w;
    kv->decoders = w->decoder_count;
    kv->object.dev = dev;
    kv->max_sequences = spec->max_sequences;
    kv->type = Q35_HAS(spec, struct q35_kv_spec, type) ? spec->type : Q35_KV_F16;
    kv->page_count = (uint32_t)ocl_kv_pages(spec->kv_tokens, spec->max_sequences);
    st = kv_alloc(kv, dev, err);
    if (st) {
        kv_release(&kv->object);
        free(kv);
        return st;
    }
    ocl_object_add(dev, &kv->object, kv_release);
    *out = kv;
    return Q35_OK;
}

void ocl_kv_free(struct q35_kv *kv)
{
    if (kv)
        ocl_object_remove(&kv->object);
}

/* ---- tables -------------------------------------------------------------------------------- */

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
    return (uint32_t)(((uint64_t)length + PAGE - 1) / PAGE);
}

static void page_drop(struct q35_kv *kv, uint32_t page)
{
    if (--kv->refs[page] == 0)
        kv->free[kv->free_count++] = page;
}

/* Gives back a sequence's pages from block `keep` on. */
static void drop_from(struct q35_kv *kv, uint32_t sequence, uint32_t keep)
{
    while (kv->blocks[sequence] > keep)
        page_drop(kv, table_of(kv, sequence)[--kv->blocks[sequence]]);
}

static void cut(struct q35_kv *kv, uint32_t sequence, uint32_t length)
{
    uint32_t *lengths = lengths_of(kv, sequence), i;
    for (i = 0; i < kv->weights->decoder_count; i++)
        lengths[i] = lengths[i] < length ? lengths[i] : length;
    drop_from(kv, sequence, blocks_for(length));
}

enum q35_status ocl_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                struct q35_error *err)
{
    enum q35_status st = ocl_object_check(kv ? &kv->object : NULL, NULL, "KV cache", err);
    if (st)
        return st;
    if (sequence >= kv->max_sequences)
        return ocl_fail(err, Q35_E_INVALID, "sequence %u of %u", sequence, kv->max_sequences);
    cut(kv, sequence, length);
    return Q35_OK;
}

enum q35_status ocl_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                            struct q35_error *err)
{
    enum q35_status st = ocl_object_check(kv ? &kv->object : NULL, NULL, "KV cache", err);
    uint32_t i;
    if (st)
        return st;
    if (src >= kv->max_sequences || dst >= kv->max_sequences || src == dst)
        return ocl_fail(err, Q35_E_INVALID, "a fork of sequence %u to %u of %u", src, dst,
                        kv->max_sequences);
    for (i = 0; i < kv->weights->decoder_count; i++)
        if (lengths_of(kv, src)[i] < length)
            return ocl_fail(err, Q35_E_INVALID, "sequence %u holds %u positions, not %u", src,
                            lengths_of(kv, src)[i], length);
    cut(kv, dst, 0);
    for (i = 0; i < kv->weights->decoder_count; i++)
        lengths_of(kv, dst)[i] = length;
    for (i = 0; i < blocks_for(length); i++) {
        table_of(kv, dst)[i] = table_of(kv, src)[i];
        kv->refs[table_of(kv, src)[i]]++;
    }
    kv->blocks[dst] = i;
    return Q35_OK;
}

/* ---- a run --------------------------------------------------------------------------------- */

static enum q35_status admit_token(struct q35_kv *kv, const struct q35_token *t,
                                   struct q35_error *err)
{
    struct ocl_row *row;
    if (t->sequence >= kv->max_sequences)
        return ocl_fail(err, Q35_E_INVALID, "sequence %u of %u", t->sequence, kv->max_sequences);
    row = &kv->rows[t->sequence];
    if (!row->count) {
        row->start = row->end = t->position;
        row->number = kv->active_count;
        kv->active[kv->active_count++] = t->sequence;
    }
    if (t->position != row->end || t->position == UINT32_MAX)
        return ocl_fail(err, Q35_E_INVALID, "sequence %u: position %u where %u was due",
                        t->sequence, t->position, row->end);
    row->end++;
    row->count++;
    return Q35_OK;
}

enum q35_status ocl_kv_admit(struct q35_kv *kv, const struct q35_run *run, struct q35_error *err)
{
    const struct ocl_layer *first = &kv->weights->layers[run->first],
                           *last = first + run->count - 1;
    uint32_t i, l;
    for (i = 0; i < kv->active_count; i++)
        kv->rows[kv->active[i]].count = 0;
    kv->active_count = 0;
    for (i = 0; i < run->n_tokens; i++) {
        enum q35_status st = admit_token(kv, ocl_token(run, i), err);
        if (st)
            return st;
    }
    kv->run_first = first->kv_index;
    kv->run_end = last->kv_index + (last->desc.kind == Q35_LAYER_DECODER);
    for (i = 0; i < kv->active_count; i++)
        for (l = kv->run_first; l < kv->run_end; l++) {
            uint32_t s = kv->active[i], held = lengths_of(kv, s)[l];
            if (kv->rows[s].start > held)
                return ocl_fail(err, Q35_E_INVALID,
                                "sequence %u starts at position %u, but %u are held", s,
                                kv->rows[s].start, held);
        }
    return Q35_OK;
}

/* Blocks that sequence s keeps once the run has written: layers outside the run keep theirs. */
static uint32_t blocks_after(const struct q35_kv *kv, uint32_t s)
{
    uint32_t longest = kv->rows[s].end, i;
    for (i = 0; i < kv->weights->decoder_count; i++)
        if ((i < kv->run_first || i >= kv->run_end) && lengths_of(kv, s)[i] > longest)
            longest = lengths_of(kv, s)[i];
    return blocks_for(longest);
}

/* Copies state to kv->saved, or back. */
static void save(struct q35_kv *kv, bool back)
{
    uint32_t *at = kv->saved, i;
#define ARRAY(array, count)                                                                        \
    do {                                                                                           \
        memcpy(back ? (array) : at, back ? at : (array), (count) * sizeof(*at));                   \
        at += (count);                                                                             \
    } while (0)
    ARRAY(kv->refs, kv->page_count + 1);
    ARRAY(kv->free, kv->page_count);
    for (i = 0; i < kv->active_count; i++) {
        uint32_t s = kv->active[i];
        ARRAY(&kv->blocks[s], 1);
        ARRAY(table_of(kv, s), kv->blocks[s]);
    }
#undef ARRAY
}

/* A page for block b of sequence s; the old one's contents with it if others share it. */
static cl_int own_block(struct q35_kv *kv, uint32_t s, uint32_t b)
{
    const struct q35_weights *w = kv->weights;
    uint32_t *entry = table_of(kv, s) + b, old = *entry, i;
    bool copy = b < kv->blocks[s];
    cl_int code = CL_SUCCESS;

    if (copy && kv->refs[old] == 1)
        return code;
    *entry = kv->free[--kv->free_count];
    kv->refs[*entry] = 1;
    if (!copy) {
        kv->blocks[s] = b + 1;
        return code;
    }
    page_drop(kv, old);
    for (i = 0; !code && i < w->layer_count; i++) {
        uint64_t bytes = ocl_page_bytes(&w->layers[i].desc, kv->type);
        cl_mem pool = bytes ? kv->pools[w->layers[i].kv_index] : NULL;
        if (pool)
            code = clEnqueueCopyBuffer(kv->object.dev->queue, pool, pool, (old - 1) * bytes,
                                       (*entry - 1) * bytes, bytes, 0, NULL, NULL);
    }
    return code;
}

enum q35_status ocl_kv_reserve(struct q35_kv *kv, struct q35_error *err)
{
    uint32_t free_before = kv->free_count, i, b, l;
    cl_int code = CL_SUCCESS;
    bool full = false;

    save(kv, false);
    for (i = 0; i < kv->active_count; i++)
        drop_from(kv, kv->active[i], blocks_after(kv, kv->active[i]));
    for (i = 0; i < kv->active_count && !full && !code; i++) {
        uint32_t s = kv->active[i], end = blocks_for(kv->rows[s].end);
        full = end > kv->page_count;
        for (b = kv->rows[s].start / PAGE; b < end && !full && !code; b++) {
            full = !kv->free_count && (b >= kv->blocks[s] || kv->refs[table_of(kv, s)[b]] > 1);
            code = full ? CL_SUCCESS : own_block(kv, s, b);
        }
    }
    if (full || code) {
        save(kv, true);
        kv->free_count = free_before;
        return full ? ocl_fail(err, Q35_E_CAPACITY, "the KV cache is full: %u of %u pages are free",
                               free_before, kv->page_count)
                    : ocl_status(err, code, "copying a page of the KV cache");
    }
    for (i = 0; i < kv->active_count; i++)
        for (l = kv->run_first; l < kv->run_end; l++)
            if (lengths_of(kv, kv->active[i])[l] > kv->rows[kv->active[i]].start)
                lengths_of(kv, kv->active[i])[l] = kv->rows[kv->active[i]].start;
    return Q35_OK;
}

cl_int ocl_kv_send(struct q35_kv *kv, const struct q35_run *run, uint32_t *pages, uint32_t *rows)
{
    uint32_t i;
    kv->width = 0;
    for (i = 0; i < kv->active_count; i++)
        if (kv->blocks[kv->active[i]] > kv->width)
            kv->width = kv->blocks[kv->active[i]];
    for (i = 0; i < kv->active_count; i++)
        memcpy(kv->sent + (uint64_t)i * kv->width, table_of(kv, kv->active[i]),
               kv->blocks[kv->active[i]] * sizeof(uint32_t));
    for (i = 0; i < run->n_tokens; i++) {
        const struct q35_token *t = ocl_token(run, i);
        pages[i] = table_of(kv, t->sequence)[t->position / PAGE];
        rows[i] = kv->rows[t->sequence].number;
    }
    return clEnqueueWriteBuffer(kv->object.dev->queue, kv->device_table, CL_FALSE, 0,
                                4 * (uint64_t)kv->active_count * kv->width, kv->sent, 0, NULL,
                                NULL);
}

void ocl_kv_written(struct q35_kv *kv, uint32_t kv_index)
{
    uint32_t i;
    for (i = 0; i < kv->active_count; i++)
        lengths_of(kv, kv->active[i])[kv_index] = kv->rows[kv->active[i]].end;
}
