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

/* Matrices that share an input, and what makes that input. */
struct site {
    uint32_t roles[3], count;
    uint32_t maker; /* its values, or rows, are divided by the columns' scales */
};

struct q35_calib {
    const struct q35_source *source;
    const struct q35_params *params;
    const struct q35_calibrate_params *p;
    struct q35_float_pool *pool;
    struct q35_calib_text text;
    struct q35_float *ref, *packed; /* the float model and the model packed so far */
    float *x_ref, *x_packed;        /* hidden states: [tokens][d_model] */
    float *x;                       /* [chunk of tokens][d_model] */
    uint32_t stride;                /* of inputs: a multiple of 16 */
    float *in[2];                   /* inputs seen: [chunk][stride], float model's and packed */
    struct q35_calib_tensor out[Q35_ROLE_INFO_COUNT];
    uint32_t schemes[Q35_ROLE_INFO_COUNT];
    float *dense[Q35_ROLE_INFO_COUNT]; /* what the packed model's tensors decode to */
    void (*done)(void *ctx, uint32_t role, uint32_t rows);
    void *done_ctx;
};

/* calibrate.c: dense[role] becomes what out[role].blob decodes to. */
enum q35_status q35_calib_decode(struct q35_calib *c, const struct q35_source_tensor *t,
                                 uint32_t role, struct q35_error *err);

/* calibrate_scales.c */

/* A plain vector of the model becomes one of ours; *found: whether the model has it. */
enum q35_status q35_calib_own_vector(struct q35_calib *c, uint32_t layer, uint32_t role,
                                     bool *found, struct q35_error *err);
/* Finds the activation-aware scales[m->cols] of a site and divides what makes its input by them. */
enum q35_status q35_calib_scales(struct q35_calib *c, uint32_t layer, const struct site *site,
                                 const struct q35_moments *m, struct q35_encode_params *e,
                                 float *scale, struct q35_error *err);

#endif
