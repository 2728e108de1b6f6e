/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_SENSITIVITY_H
#define Q35_CORE_QUANT_SENSITIVITY_H

/* What packing a matrix does to a model, measured matrix by matrix, and what to do about it. */

#include "core/quant/calibrate.h"

/* For each matrix of the decoder layers: how far the hidden state behind its half of the layer
 * (attention, or what follows) moves when this matrix alone is packed by `scheme`, as |dx|^2 /
 * |x|^2 over a sample of p->text. out[n_layers][Q35_ROLE_INFO_COUNT], 0 where there is no matrix.
 * Takes about four evaluations of the sample and one packing of the model. */
enum q35_status q35_sensitivity(const struct q35_source *source,
                                const struct q35_calibrate_params *p, uint32_t scheme, double *out,
                                struct q35_error *err);

enum { Q35_BUDGET_OPTIONS = 3 };

struct q35_budget_item {
    uint32_t n; /* options: 0, the item takes nothing, to Q35_BUDGET_OPTIONS */
    struct {
        double cost;
        uint64_t bytes;
    } option[Q35_BUDGET_OPTIONS]; /* in any order */
    uint32_t chosen;              /* out */
};

/* Chooses an option of each item so that the sum of costs is the least that a sum of bytes within
 * `budget` allows: exactly, where the differences of bytes are multiples of a number that goes into
 * what is left to spend at most 65536 times, else for bytes rounded up to such multiples. INVALID
 * if not even the fewest bytes fit; NOMEM. */
enum q35_status q35_budget_spend(struct q35_budget_item *items, uint32_t n, uint64_t budget,
                                 struct q35_error *err);

#endif
