/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_MEASURE_H
#define Q35_TOOLS_MEASURE_H

/* How well a model predicts a text, and how far it is from a float model: what perplexity and bench
 * accuracy share. */

#include "core/graph/float_eval.h"
#include "core/model/source.h"
#include "tools/q35/session.h"

struct measure_options {
    const char *config, *backend; /* for packed models; may be NULL */
    const char *kv_type;          /* the same */
    uint32_t threads;             /* of float models, 0: all */
    uint32_t context;             /* of a window; see measure_context */
    uint32_t stride;              /* from one window to the next; 0: no overlap */
    uint32_t max_tokens;          /* 0: all */
    bool half;                    /* whole windows, of which the second half is scored */
    void (*progress)(uint64_t done, uint64_t total); /* may be NULL */
};

/* Either a packed model on its devices or a float model. */
struct evaluator {
    bool packed;
    struct session session;
    struct q35_source *source;
    struct q35_float *floating;
    struct q35_tokenizer *own; /* of a float model */
    const struct q35_tokenizer *tokenizer;
    uint32_t vocab, trained;
    float *logits; /* [CHUNK][vocab] */
};

struct measure {
    uint32_t context, stride, windows;
    uint64_t scored;
    double nll, nll2; /* sums over tokens, squares for the standard error */
    double kl, kl2, kl_most;
    uint64_t agree;
    double seconds;
};

/* e->packed says which kind of model it is. Close it in any case. */
enum q35_status evaluator_open(struct evaluator *e, const char *path,
                               const struct measure_options *o, struct q35_error *err);
void evaluator_close(struct evaluator *e);

/* 512, or what the model was trained for if that is less. */
enum q35_status measure_context(const char *path, uint32_t *context, struct q35_error *err);

/* base: a model of the same vocabulary to compare with, or NULL. Fills *m. */
enum q35_status measure_text(struct evaluator *e, struct evaluator *base, const char *text,
                             size_t len, const struct measure_options *o, struct measure *m,
                             struct q35_error *err);

/* Standard error of the mean of n values from their sum and sum of squares. */
double measure_deviation(double sum, double squares, uint64_t n);

#endif
