/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_BENCH_ACCURACY_H
#define Q35_TOOLS_BENCH_ACCURACY_H

/* The part of `bench accuracy` that predicts a text with a model in every format. */

#include "tools/q35/measure.h"

struct accuracy_text {
    const char *model;     /* float */
    const char *text;      /* to predict: a file */
    const char *calibrate; /* another one, or NULL: rounding alone */
    const char *only;      /* fnmatch pattern of rows, or NULL */
    uint32_t calibrate_tokens;
    uint32_t effort;
    struct measure_options measure;
};

struct accuracy_row {
    const char *name;
    double bits; /* of the decoder layers' matrices, all that is stored */
    double perplexity, perplexity_error;
    double kl, kl_error, top1;
    double seconds; /* to convert */
};

/* Calls row() for each format. */
enum q35_status accuracy_text(const struct accuracy_text *t,
                              void (*row)(void *ctx, const struct accuracy_row *r), void *ctx,
                              struct q35_error *err);

#endif
