/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_SMOOTH_H
#define Q35_CORE_QUANT_SMOOTH_H

/* Activation-aware scales (after AWQ, Lin et al. 2023): matrix columns are multiplied by s and what
 * makes their inputs divided by it, so that nothing changes but where the rounding errors fall.
 *
 * With h the second moments of the inputs and n the column norms of the weights, the error of the
 * outputs is in proportion to  sum(h_k / s_k^2) * sum(n_k^2 s_k^2) * gain(s),  where gain is what
 * error feedback leaves (1 without it). Candidates are s_k = h_k^a / n_k^b. */

#include "core/quant/feedback.h"

struct q35_smooth {
    uint32_t cols;
    const double *h;     /* [cols][cols] moments of the inputs */
    const double *norm2; /* [cols] squared column norms, of all matrices that share the input */
    const uint32_t *tie; /* [cols]: columns of one number get one scale; NULL: each its own */
    bool feedback;
    double damp;
    const struct q35_encode_params *encode;
};

/* Fills scale[cols]; 1 throughout where nothing is better. */
enum q35_status q35_smooth_search(const struct q35_smooth *s, struct q35_float_pool *pool,
                                  float *scale, struct q35_error *err);

#endif
