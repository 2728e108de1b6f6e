/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_CALIBRATE_INTERNAL_H
#define Q35_CORE_QUANT_CALIBRATE_INTERNAL_H

#include "core/graph/float_eval.h"
#include "core/quant/calibrate.h"
#include "core/quant/feedback.h"

/* Tokens in sequences that are evaluated apart from each other. */
struct q35_calib_text {
    int32_t *ids; /* [count][window] */
    uint32_t *lengths;
    uint32_t count, window;
    uint64_t tokens;
};
enum q35_status q35_calib_text_load(struct q35_calib_text *text, const struct q35_source *s,
                                    const char *path, uint32_t most, struct q35_error *err);
void q35_calib_text_free(struct q35_calib_text *text);

/* What is known of the inputs of a site. */
struct q35_moments {
    uint32_t cols;
    double *h; /* [cols][cols] of the inputs, symmetric once gathered */
    double *c; /* [cols][cols] or NULL: of the float model's inputs with them */
};
enum q35_status q35_moments_init(struct q35_moments *m, uint32_t cols, bool cross,
                                 struct q35_error *err);
void q35_moments_fini(struct q35_moments *m);

/* The matrix P with which W + W P comes closest to the float model's outputs: correct * (C - H)
 * (H + damp)^-1 as floats [cols][stride]; stride: cols rounded up to 16. Takes m->c. */
enum q35_status q35_moments_correction(struct q35_moments *m, struct q35_float_pool *pool,
                                       double damp, float correct, float **out,
                                       struct q35_error *err);

/* A q35_rows_fn: rows of a source tensor, corrected and scaled. */
struct q35_calib_rows {
    struct q35_source_tensor from;
    const float *correction; /* P, or NULL */
    const float *scale;      /* of columns, or NULL */
    const atomic_bool *cancel;
};
enum q35_status q35_calib_rows_read(void *ctx, uint32_t first, uint32_t count, float *out,
                                    struct q35_error *err);

#endif
