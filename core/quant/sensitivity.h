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

struct q35_budget_item {
    double sensitivity;
    uint64_t bytes, more_bytes; /* with few bits and with many */
    bool more;                  /* out: many */
};

/* Gives more bits where the sensitivity per byte is highest, as long as the sum of bytes stays
 * within `budget`. False if not even the few bits fit. */
bool q35_budget_spend(struct q35_budget_item *items, uint32_t n, uint64_t budget);

#endif
