/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_FLOAT_EVAL_H
#define Q35_CORE_FLOAT_EVAL_H

/* A float source model evaluated in binary32, without quantizing anything: what perplexity and
 * calibration compare with. The layers compute what backend.h says of them, but for two things:
 * matrix products are float, and keys and values are kept as f32. Results do not depend on the
 * number of threads, on how tokens are cut into calls, or on the CPU.
 *
 * Weights stay in the source's file and are converted a few rows at a time. */

#include "core/base/base.h"
#include "core/model/source.h"

struct q35_float; /* one sequence; use from one thread at a time */

/* max_context: positions kept, 4 * n_layers * n_kv_heads * head_dim * 2 bytes each. threads 0: as
 * many as processors. The source must outlive *out. */
enum q35_status q35_float_create(struct q35_float **out, const struct q35_source *s,
                                 uint32_t max_context, uint32_t threads, struct q35_error *err);
/* Keeps keys and values of one layer alone: for going through sequence after sequence in one layer
 * before the next. A sequence that is begun at position 0 must be ended before another one or
 * another layer. */
enum q35_status q35_float_create_layerwise(struct q35_float **out, const struct q35_source *s,
                                           uint32_t max_context, uint32_t threads,
                                           struct q35_error *err);
void q35_float_destroy(struct q35_float *f);

/* Sees the input of linear layers, x[n][cols], before each product: for role Q (the same input goes
 * to K and V), O, GATE (and UP), DOWN of a 0-based decoder layer, and HEAD with layer n_layers.
 * Called on the evaluating thread. NULL takes the hook away. */
typedef void (*q35_float_hook)(void *user, uint32_t layer, uint32_t role, uint32_t n, uint32_t cols,
                               const float *x);
void q35_float_set_hook(struct q35_float *f, q35_float_hook hook, void *user);

/* Other tensors of decoder layers than the source's: fills *out (shapes as in the source) and
 * returns true, or returns false for the source's own. NULL takes it away. */
typedef bool (*q35_float_lookup)(void *user, uint32_t layer, uint32_t role,
                                 struct q35_source_tensor *out);
void q35_float_set_lookup(struct q35_float *f, q35_float_lookup lookup, void *user);

/* Tokens at positions start .. start + n - 1; what was evaluated at start and beyond is forgotten.
 * logits[n][vocab] of every token, or NULL. INVALID for a token out of range or a gap, CAPACITY
 * beyond max_context. */
enum q35_status q35_float_eval(struct q35_float *f, const int32_t *tokens, uint32_t n,
                               uint32_t start, float *logits, struct q35_error *err);

/* The same in steps, for going through a model layer by layer with many sequences: each layer keeps
 * keys and values of its own, so one layer can be run for all sequences before the next. x is
 * [n][d_model], read and written. */
enum q35_status q35_float_embed(struct q35_float *f, const int32_t *tokens, uint32_t n, float *x,
                                struct q35_error *err);
enum q35_status q35_float_layer(struct q35_float *f, uint32_t layer, uint32_t n, uint32_t start,
                                float *x, struct q35_error *err);
/* One half of a layer: attention, or what follows it. */
enum q35_float_part { Q35_FLOAT_WHOLE, Q35_FLOAT_ATTENTION, Q35_FLOAT_MLP };
enum q35_status q35_float_half(struct q35_float *f, uint32_t layer, enum q35_float_part part,
                               uint32_t n, uint32_t start, float *x, struct q35_error *err);
/* A half only as far as the hook has seen the input of `role`: Q or O of the first half, GATE or
 * DOWN of the second. x is the half's input, undefined afterwards. */
enum q35_status q35_float_inputs(struct q35_float *f, uint32_t layer, uint32_t role, uint32_t n,
                                 uint32_t start, float *x, struct q35_error *err);
enum q35_status q35_float_head(struct q35_float *f, uint32_t n, const float *x, float *logits,
                               struct q35_error *err);

#endif
