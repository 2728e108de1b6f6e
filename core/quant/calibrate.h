/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_CALIBRATE_H
#define Q35_CORE_QUANT_CALIBRATE_H

/* Packs decoder layers one after another with the help of a text.
 *
 * The text's tokens go through the float model and through the model packed so far, side by side
 * and layer by layer. In a layer the inputs of q, k and v come first; once these are packed those
 * of o, then of gate and up, then of down. At each of these sites the second moments of the inputs
 * decide how errors of one column are made good in later ones (feedback.h), activation-aware scales
 * (smooth.h), and how the weights should change because their inputs have: W X X'^T (X' X'^T)^-1,
 * with X the float model's inputs and X' those of the packed one, is what comes closest.
 *
 * Memory: the hidden states of all tokens, twice; of one layer the packed tensors and their decoded
 * floats; 36 bytes times the square of the widest input. */

#include <stdatomic.h>

#include "core/model/roles.h"
#include "core/quant/encode.h"

struct q35_calibrate_params {
    const char *text; /* a file; borrowed */
    uint32_t tokens;  /* of it at most */
    bool feedback;    /* feed errors into later columns */
    bool awq;         /* activation-aware scales */
    bool propagate;   /* inputs as the packed layers before make them, not the float ones */
    float correct;    /* 0 .. 1: how far the weights make up for changed inputs */
    double damp;      /* added to the moments' diagonal, of its mean */
    struct q35_encode_params encode; /* all but scheme, tables, feedback and progress */
    const atomic_bool *cancel;       /* may be NULL */
};

struct q35_calib;
struct q35_source;

/* One packed matrix or changed vector of the layer just packed. */
struct q35_calib_tensor {
    uint8_t *blob; /* of a matrix; NULL for vectors */
    float *vector; /* of a vector that changed, else NULL */
    struct q35_encode_stats stats;
};

/* The source and p must outlive *out. */
enum q35_status q35_calib_create(struct q35_calib **out, const struct q35_source *source,
                                 const struct q35_calibrate_params *p, struct q35_error *err);
void q35_calib_destroy(struct q35_calib *c);
/* Tokens that are used. */
uint32_t q35_calib_tokens(const struct q35_calib *c);

/* Packs the next layer, 0 first. schemes[role] of its matrices. done is called from any thread with
 * a role and the rows of its matrix that are packed. */
enum q35_status q35_calib_layer(struct q35_calib *c, uint32_t layer,
                                const uint32_t schemes[Q35_ROLE_INFO_COUNT],
                                void (*done)(void *ctx, uint32_t role, uint32_t rows), void *ctx,
                                struct q35_error *err);
/* The same from what an earlier run has packed: tensors[role] as q35_calib_tensor gave them,
 * copied; a vector that did not change may be given or not. */
enum q35_status q35_calib_restore(struct q35_calib *c, uint32_t layer,
                                  const uint32_t schemes[Q35_ROLE_INFO_COUNT],
                                  const struct q35_calib_tensor tensors[Q35_ROLE_INFO_COUNT],
                                  struct q35_error *err);
/* Of the layer just packed; valid until the next one. */
const struct q35_calib_tensor *q35_calib_tensor(const struct q35_calib *c, uint32_t role);

#endif
