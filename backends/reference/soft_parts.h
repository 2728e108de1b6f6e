/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SOFT_PARTS_H
#define Q35_SOFT_PARTS_H

/* Bookkeeping that every device needs, for the software device and for plugins with a device of
 * their own that link it: what has arrived of a tensor, and what became of submits. */

#include <stdbool.h>

#include "q35/backend.h"

/* ---- chunks of a tensor --------------------------------------------------------------------- */

/* Which bytes have arrived: sorted, disjoint, not adjacent. Begins zeroed; free(list) at the end.
 */
struct soft_extents {
    struct soft_extent {
        uint64_t lo, hi; /* [lo, hi) */
    } * list;
    uint32_t count, cap;
};

/* Checks a weights_put of `bytes` at `offset` of tensor t and notes it. INVALID if it is not a
 * chunk of the tensor, or a part of it has arrived before. */
enum q35_status soft_extents_put(struct soft_extents *e, const struct q35_tensor_desc *t,
                                 uint64_t offset, const void *data, uint64_t bytes,
                                 uint32_t lifetime, struct q35_error *err);
/* Whether all of `bytes` has arrived; else *missing is the first byte that has not. */
bool soft_extents_whole(const struct soft_extents *e, uint64_t bytes, uint64_t *missing);

/* ---- results of submits --------------------------------------------------------------------- */

#define SOFT_RESULTS 64u

/* The last ones. Begins zeroed; the caller's lock guards it. */
struct soft_results {
    struct soft_result {
        uint64_t value;
        struct q35_error err; /* err.status is the result */
    } list[SOFT_RESULTS];
    uint32_t next;
};

void soft_results_add(struct soft_results *r, uint64_t value, const struct q35_error *err);
/* The status of the submit with this value, its message in *err (may be NULL); NOT_FOUND. */
enum q35_status soft_results_find(const struct soft_results *r, uint64_t value,
                                  struct q35_error *err);

#endif
