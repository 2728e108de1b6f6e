/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "soft_pages.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "q35/arith.h"
#include "soft.h"

#define MARK 0x80000000u /* on a table entry: its reference was given up, see plan_writes */

uint64_t soft_pages_count(uint32_t kv_tokens, uint32_t max_sequences)
{
    return ((uint64_t)kv_tokens + (Q35_ATTN_BLOCK - 1) * (uint64_t)max_sequences) / Q35_ATTN_BLOCK;
}

/* Of the arrays in the order soft_pages_init lays them out. */
uint64_t soft_pages_bytes(uint64_t pages, uint32_t max_sequences, uint32_t decoders)
{
    uint64_t n = max_sequences, cells;
    if (pages >= MARK || __builtin_mul_overflow(n, pages, &cells) || cells >= (uint64_t)1 << 56)
        return 0;
    return (cells + 2 * pages + 1 + n * (1 + (uint64_t)decoders)) * sizeof(uint32_t) +
           n * sizeof(struct soft_row);
}

enum q35_status soft_pages_init(struct soft_pages *p, uint64_t pages, uint32_t max_sequences,
                                uint32_t decoders, struct q35_error *err)
{
    uint64_t bytes = soft_pages_bytes(pages, max_sequences, decoders), n = max_sequences;
    memset(p, 0, sizeof(*p));
    if (!bytes)
        return q35_soft_fail(err, Q35_E_CAPACITY, "tables of %llu pages for %u sequences",
                             (unsigned long long)pages, max_sequences);
    p->table = calloc(1, bytes); /* untouched where it is not used */
    if (!p->table)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for tables of %llu pages",
                             (unsigned long long)pages);
    p->refs = p->table + n * pages;
    p->free_list = p->refs + pages + 1;
    p->active = p->free_list + pages;
    p->lengths = p->active + n;
    p->rows = (struct soft_row *)(void *)(p->lengths + n * decoders);
    p->max_sequences = max_sequences;
    p->page_count = (uint32_t)pages;
    p->decoder_count = decoders;
    return Q35_OK;
}

void soft_pages_fini(struct soft_pages *p)
{
    free(p->table);
    memset(p, 0, sizeof(*p));
}

static uint32_t *lengths_of(const struct soft_pages *p, uint32_t sequence)
{
    return p->lengths + (uint64_t)sequence * p->decoder_count;
}

static uint32_t pages_free(const struct soft_pages *p)
{
    return p->free_count + (p->page_count - p->used);
}

static uint32_t page_take(struct soft_pages *p)
{
    uint32_t page = p->free_count ? p->free_list[--p->free_count] : ++p->used;
    p->refs[page] = 1;
    return page;
}

static void page_unref(struct soft_pages *p, uint32_t page)
{
    if (--p->refs[page] == 0)
        p->free_list[p->free_count++] = page;
}

/* Shortens a sequence in all layers and gives back the pages beyond. */
static void cut(struct soft_pages *p, uint32_t sequence, uint32_t length)
{
    uint32_t *table = soft_pages_of(p, sequence), *lengths = lengths_of(p, sequence), i, b;
    for (i = 0; i < p->decoder_count; i++)
        if (lengths[i] > length)
            lengths[i] = length;
    for (b = soft_pages_blocks(length); b < p->page_count && table[b] != SOFT_NO_PAGE; b++) {
        page_unref(p, table[b]);
        table[b] = SOFT_NO_PAGE;
    }
}

enum q35_status soft_pages_truncate(struct soft_pages *p, uint32_t sequence, uint32_t length,
                                    struct q35_error *err)
{
    if (sequence >= p->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u of %u", sequence, p->max_sequences);
    cut(p, sequence, length);
    return Q35_OK;
}

enum q35_status soft_pages_fork(struct soft_pages *p, uint32_t src, uint32_t dst, uint32_t length,
                                struct q35_error *err)
{
    uint32_t i, b;
    if (src >= p->max_sequences || dst >= p->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequences %u, %u of %u", src, dst,
                             p->max_sequences);
    if (src == dst)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u forked into itself", src);
    for (i = 0; i < p->decoder_count; i++)
        if (lengths_of(p, src)[i] < length)
            return q35_soft_fail(err, Q35_E_INVALID, "sequence %u holds %u positions, not %u", src,
                                 lengths_of(p, src)[i], length);
    cut(p, dst, 0);
    for (i = 0; i < p->decoder_count; i++)
        lengths_of(p, dst)[i] = length;
    for (b = 0; b < soft_pages_blocks(length); b++) {
        soft_pages_of(p, dst)[b] = soft_pages_of(p, src)[b];
        p->refs[soft_pages_of(p, src)[b]]++;
    }
    return Q35_OK;
}

/* ---- a run --------------------------------------------------------------------------------- */

static enum q35_status admit_token(struct soft_pages *p, const struct q35_token *t,
                                   struct q35_error *err)
{
    struct soft_row *row;
    if (t->sequence >= p->max_sequences)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u of %u", t->sequence,
                             p->max_sequences);
    row = &p->rows[t->sequence];
    if (!row->count) {
        row->start = row->end = t->position;
        row->index = p->active_count;
        p->active[p->active_count++] = t->sequence;
    }
    if (t->position != row->end || t->position == UINT32_MAX)
        return q35_soft_fail(err, Q35_E_INVALID, "sequence %u: position %u where %u was due",
                             t->sequence, t->position, row->end);
    row->end++;
    row->count++;
    return Q35_OK;
}

enum q35_status soft_pages_admit(struct soft_pages *p, const struct q35_token *tokens,
                                 uint32_t token_stride, uint32_t n_tokens, uint32_t first,
                                 uint32_t end, struct q35_error *err)
{
    uint32_t i, l;
    for (i = 0; i < p->active_count; i++)
        p->rows[p->active[i]].count = 0;
    p->active_count = 0;
    for (i = 0; i < n_tokens; i++) {
        const uint8_t *t = (const uint8_t *)tokens + (uint64_t)i * token_stride;
        enum q35_status st = admit_token(p, (const struct q35_token *)(const void *)t, err);
        if (st)
            return st;
    }
    p->run_first = first;
    p->run_end = end;
    for (i = 0; i < p->active_count; i++)
        for (l = first; l < end; l++) {
            uint32_t s = p->active[i], held = lengths_of(p, s)[l];
            if (p->rows[s].start > held)
                return q35_soft_fail(err, Q35_E_INVALID,
                                     "sequence %u starts at position %u, but %u are held", s,
                                     p->rows[s].start, held);
        }
    return Q35_OK;
}

/* Blocks that sequence s keeps once the run has written: layers outside the run keep theirs. */
static uint32_t blocks_after(const struct soft_pages *p, uint32_t s)
{
    const uint32_t *lengths = lengths_of(p, s);
    uint32_t longest = p->rows[s].end, i;
    for (i = 0; i < p->decoder_count; i++)
        if ((i < p->run_first || i >= p->run_end) && lengths[i] > longest)
            longest = lengths[i];
    return soft_pages_blocks(longest);
}

/* Decides about every block that the run touches, without changing what the KV holds: entries whose
 * reference is given up (discarded, or to be replaced by a copy) are marked and counted down.
 * Discards come first, so that a page shared by two sequences of the batch is copied only for the
 * first writer. Returns false if the pages do not suffice. */
static bool plan_writes(struct soft_pages *p)
{
    uint64_t needed = 0, freed = 0;
    uint32_t i, b;
    for (i = 0; i < p->active_count; i++) {
        uint32_t s = p->active[i], *table = soft_pages_of(p, s);
        for (b = blocks_after(p, s); b < p->page_count && table[b] != SOFT_NO_PAGE; b++) {
            freed += --p->refs[table[b]] == 0;
            table[b] |= MARK;
        }
    }
    for (i = 0; i < p->active_count; i++) {
        uint32_t s = p->active[i], *table = soft_pages_of(p, s);
        uint32_t end = soft_pages_blocks(p->rows[s].end);
        if (end > p->page_count)
            return false;
        for (b = p->rows[s].start / Q35_ATTN_BLOCK; b < end; b++) {
            if (table[b] == SOFT_NO_PAGE) {
                needed++;
            } else if (p->refs[table[b]] > 1) {
                needed++;
                p->refs[table[b]]--;
                table[b] |= MARK;
            }
        }
    }
    return needed <= pages_free(p) + freed;
}

static void undo(struct soft_pages *p)
{
    uint32_t i, b;
    for (i = 0; i < p->active_count; i++) {
        uint32_t *table = soft_pages_of(p, p->active[i]);
        for (b = 0; b < p->page_count && table[b] != SOFT_NO_PAGE; b++)
            if (table[b] & MARK) {
                table[b] &= ~MARK;
                p->refs[table[b]]++;
            }
    }
}

/* Gives back what the plan discards. Marked entries were counted down by the plan, so first up. */
static void discard(struct soft_pages *p)
{
    uint32_t i, b;
    for (i = 0; i < p->active_count; i++) {
        uint32_t s = p->active[i], *table = soft_pages_of(p, s);
        for (b = blocks_after(p, s); b < p->page_count && table[b] != SOFT_NO_PAGE; b++) {
            table[b] &= ~MARK;
            p->refs[table[b]]++;
        }
    }
    for (i = 0; i < p->active_count; i++) {
        uint32_t s = p->active[i], *table = soft_pages_of(p, s);
        for (b = blocks_after(p, s); b < p->page_count && table[b] != SOFT_NO_PAGE; b++) {
            page_unref(p, table[b]);
            table[b] = SOFT_NO_PAGE;
        }
    }
}

static enum q35_status take_pages(struct soft_pages *p, soft_pages_copy copy, void *user,
                                  struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    uint32_t i, b;
    for (i = 0; i < p->active_count; i++) {
        const struct soft_row *row = &p->rows[p->active[i]];
        uint32_t *table = soft_pages_of(p, p->active[i]);
        for (b = row->start / Q35_ATTN_BLOCK; b < soft_pages_blocks(row->end); b++) {
            uint32_t old = table[b];
            if (old != SOFT_NO_PAGE && !(old & MARK))
                continue;
            table[b] = page_take(p);
            if (old != SOFT_NO_PAGE && !st)
                st = copy(user, table[b], old & ~MARK, err);
        }
    }
    return st;
}

enum q35_status soft_pages_reserve(struct soft_pages *p, soft_pages_copy copy, void *user,
                                   struct q35_error *err)
{
    enum q35_status st;
    uint32_t i, l;
    if (!plan_writes(p)) {
        undo(p);
        return q35_soft_fail(err, Q35_E_CAPACITY, "the KV cache is full: %u of %u pages are free",
                             pages_free(p), p->page_count);
    }
    discard(p);
    st = take_pages(p, copy, user, err);
    for (i = 0; i < p->active_count; i++) {
        uint32_t *lengths = lengths_of(p, p->active[i]);
        for (l = p->run_first; l < p->run_end; l++)
            if (lengths[l] > p->rows[p->active[i]].start)
                lengths[l] = p->rows[p->active[i]].start;
    }
    return st;
}

void soft_pages_advance(struct soft_pages *p, uint32_t kv_index)
{
    uint32_t i;
    for (i = 0; i < p->active_count; i++)
        lengths_of(p, p->active[i])[kv_index] = p->rows[p->active[i]].end;
}
