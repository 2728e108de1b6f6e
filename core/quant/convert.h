/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_CONVERT_H
#define Q35_CORE_CONVERT_H

/* A float model (core/model/source.h) to a packed one (core/model/model.h). */

#include <stdatomic.h>

#include "core/quant/encode.h"

#define Q35_REFINE_DEFAULT UINT32_MAX

struct q35_convert_params {
    uint32_t scheme; /* of the decoder layers' matrices, enum q35_scheme */
    bool rotate;
    uint64_t rot_seed; /* one for the model, so that q, k and v share their quantized input */
    uint32_t threads;  /* 0: as many as the process may run on */
    uint32_t effort;   /* enum q35_effort */
    /* "PATTERN=SCHEME,...": fnmatch patterns of GGUF tensor names, the first that fits decides;
     * other matrices get `scheme`, embedding and head "single". May be NULL. */
    const char *tensor_types;
    /* NULL: rounding alone. A text file: decoder layers are packed as calibrate.h says, with these
     * switches. */
    const char *calibrate;
    uint32_t calibrate_tokens;
    bool feedback, awq, propagate;
    float correct, damp;
    uint32_t refine; /* of encode.h, or Q35_REFINE_DEFAULT: 2 without calibration, with it 0 */
    uint32_t sweeps; /* of encode.h */
    /* 0, or bits a weight that the decoder layers' matrices may take on average, all that is stored
     * counted (codes, row scales, tables, padding): each gets 7 bits, those of `scheme` (of trellis
     * if that has no pairs) or 2.33, as it is sensitive (sensitivity.h). Needs calibrate. Tensors
     * that tensor_types names keep their type. */
    float target_bits;
    /* With calibrate: each layer is kept in a file, OUT.layers, until OUT is whole. A start with
     * the same model, text and options goes on from there and writes the same OUT. */
    bool resume;
    /* Weights done of all weights, after each tensor and often between; any thread, never two at
     * once. May be NULL. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    /* Each packed tensor when it is done: relative RMSE of its weights and, if calibrated with
     * feedback, of its outputs (else 0). May be NULL. */
    void (*tensor)(void *ctx, const char *name, uint32_t scheme, double rmse, double output_rmse);
    void *ctx;
    const atomic_bool
        *cancel; /* set it from anywhere, a signal handler too: CANCELLED. May be NULL */
};

/* {TRELLIS, rotate, seed 1, all threads, DEFAULT effort}; no calibration, all its switches on. */
#define Q35_CONVERT_PARAMS_INIT                                                                    \
    {                                                                                              \
        .scheme = Q35_SCHEME_TRELLIS, .rotate = true, .rot_seed = 1, .effort = Q35_EFFORT_DEFAULT, \
        .calibrate_tokens = 32768, .feedback = true, .awq = true, .propagate = true, .correct = 1, \
        .damp = 0.01f, .sweeps = 2, .refine = Q35_REFINE_DEFAULT,                                  \
    }

struct q35_convert_stats {
    uint64_t weights;         /* of packed tensors, without padding */
    uint64_t packed_bytes;    /* of their blobs */
    uint64_t decoder_weights; /* of the decoder layers' matrices alone */
    uint64_t decoder_bytes;
    uint64_t file_bytes;
    uint32_t resumed; /* layers that an earlier start had packed */
    double rmse;      /* relative, over all packed tensors */
};

/* Writes `out` from the model at `in`. The file appears only when it is whole; a failure or a
 * cancel leaves nothing behind, or what p->resume keeps. The same input and parameters give the
 * same bytes at any number of threads. Refuses to write over a file of the input. stats may be
 * NULL. */
enum q35_status q35_convert(const char *in, const char *out, const struct q35_convert_params *p,
                            struct q35_convert_stats *stats, struct q35_error *err);

#endif
