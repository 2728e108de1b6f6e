/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SOFT_PAGES_H
#define Q35_SOFT_PAGES_H

/* The page tables of a KV cache: a pool of pages of 64 positions, shared by fork and copied when
 * written. For the software device and for plugins with a device of their own that link it; the
 * pages themselves are the caller's, wherever they lie.
 *
 * A page holds its positions of all decoder layers, so a sequence needs one table of pages. How far
 * a sequence reaches is kept per layer, since spans of the layers may run in separate submits. */

#include "q35/backend.h"

#define SOFT_NO_PAGE 0u /* pages count from 1, so that fresh memory is an empty table */

struct soft_row {
    uint32_t start, end; /* positions of one sequence in the current run */
    uint32_t count;      /* 0: not in the run */
    uint32_t index;      /* in `active` */
};

struct soft_pages {
    uint32_t max_sequences, page_count, decoder_count;
    uint32_t *table;       /* [max_sequences][page_count] page of a block or SOFT_NO_PAGE */
    uint32_t *refs;        /* [page_count + 1] */
    uint32_t *free_list;   /* [page_count] pages given back */
    uint32_t *active;      /* [max_sequences] sequences of the current run */
    uint32_t *lengths;     /* [max_sequences][decoder_count] */
    struct soft_row *rows; /* [max_sequences] */
    uint32_t used;         /* pages 1 .. used have been handed out at some time */
    uint32_t free_count, active_count;
    uint32_t run_first, run_end; /* decoder layers of the current run */
};

/* Pages that kv_tokens need however they are spread. */
uint64_t soft_pages_count(uint32_t kv_tokens, uint32_t max_sequences);
/* Bytes of the tables; 0 on overflow. */
uint64_t soft_pages_bytes(uint64_t pages, uint32_t max_sequences, uint32_t decoders);
static inline uint32_t soft_pages_blocks(uint32_t length)
{
    return (uint32_t)(((uint64_t)length + 63) / 64);
}
static inline uint32_t *soft_pages_of(const struct soft_pages *p, uint32_t sequence)
{
    return p->table + (uint64_t)sequence * p->page_count;
}

/* Tables of `pages` pages, all free. NOMEM, CAPACITY. */
enum q35_status soft_pages_init(struct soft_pages *p, uint64_t pages, uint32_t max_sequences,
                                uint32_t decoders, struct q35_error *err);
void soft_pages_fini(struct soft_pages *p);

/* The slots kv_truncate and kv_fork. */
enum q35_status soft_pages_truncate(struct soft_pages *p, uint32_t sequence, uint32_t length,
                                    struct q35_error *err);
enum q35_status soft_pages_fork(struct soft_pages *p, uint32_t src, uint32_t dst, uint32_t length,
                                struct q35_error *err);

/* Groups the tokens of a run of decoder layers first .. end-1 by sequence and checks their
 * positions against what those layers hold. */
enum q35_status soft_pages_admit(struct soft_pages *p, const struct q35_token *tokens,
                                 uint32_t token_stride, uint32_t n_tokens, uint32_t first,
                                 uint32_t end, struct q35_error *err);
/* Copies page `from` to page `to`, before the run writes to it. */
typedef enum q35_status (*soft_pages_copy)(void *user, uint32_t to, uint32_t from,
                                           struct q35_error *err);
/* Makes every page that the admitted run writes present and unshared, or changes nothing
 * (CAPACITY). A copy that fails is the result too. */
enum q35_status soft_pages_reserve(struct soft_pages *p, soft_pages_copy copy, void *user,
                                   struct q35_error *err);
/* The run's sequences now end where its tokens end, in this decoder layer. */
void soft_pages_advance(struct soft_pages *p, uint32_t kv_index);

#endif
