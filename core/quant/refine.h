/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_REFINE_H
#define Q35_CORE_QUANT_REFINE_H

/* Tables fitted to one matrix: they lie in each blob, so they cost nothing. Some row blocks, spread
 * over the matrix, are encoded; then the A of each code becomes the mean of what it stood for
 * (Lloyd's step), B stays. Of schemes whose codes stand for pairs, but not of alt43, whose tables
 * are separable. */

#include "core/quant/block.h"

/* What codes stood for, in search units less the term of B. */
struct q35_refine_sums {
    double sum[128][2];
    uint64_t count[128];
};

/* Goes through p->refine rounds; then j->tables is *tables and j->search follows. Does nothing
 * where it does not apply or the caller gave tables of its own. Errors of `read` are passed on,
 * NOMEM. */
enum q35_status q35_refine_tables(const struct q35_encode_params *p, struct q35_block_job *j,
                                  q35_rows_fn read, void *read_ctx, struct q35_tables *tables,
                                  struct q35_error *err);

#endif
