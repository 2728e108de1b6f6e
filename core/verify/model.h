/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_VERIFY_MODEL_H
#define Q35_CORE_VERIFY_MODEL_H

/* Small random models for the conformance kit, and an oracle that computes them.
 *
 * The oracle follows the words of backend.h and arith.h one token at a time, over decoded weights
 * and plain growing arrays of K and V. It shares no code with the software device. */

#include "core/base/base.h"
#include "q35/backend.h"

/* A reproducible generator. */
struct vfy_rng {
    uint64_t state;
};
uint64_t vfy_u64(struct vfy_rng *r);
uint32_t vfy_below(struct vfy_rng *r, uint32_t n); /* 0 .. n-1; n > 0 */
float vfy_f32(struct vfy_rng *r);                  /* uniform in [-1, 1) */

struct vfy_shape {
    uint32_t decoders; /* 0 is fine */
    bool embed, head;
    uint32_t d_model, n_heads, n_kv_heads, head_dim, d_ffn, vocab;
    uint32_t rope_dim, rope_style, window;
    uint32_t scheme;             /* of the decoder's matrices */
    uint32_t embed_scheme;       /* of TOKEN_EMBED and HEAD */
    bool rotate, mixed_rotation; /* mixed: Q, K, V differ in their seeds */
    bool biases, qk_norm;
    float embed_scale;
};

/* A shape that every backend should take: 2 decoders, d_model 128, 4 heads on 2 of 32. */
struct vfy_shape vfy_shape_small(void);

struct vfy_tensor {
    uint8_t *data; /* 64-byte aligned, desc->bytes long */
    int8_t *w;     /* decoded [rows_padded][cols_padded], NULL for F32 */
};

struct vfy_model {
    struct vfy_shape shape;
    uint32_t layer_count;
    struct q35_layer *layers;      /* [layer_count] */
    struct q35_tensor_desc *descs; /* [layer_count][Q35_ROLE_COUNT], packed to the front */
    struct vfy_tensor *tensors;    /* [layer_count][Q35_ROLE_COUNT], by role */
};

/* NULL only without memory. The same shape and seed give the same bits. */
struct vfy_model *vfy_model_create(const struct vfy_shape *shape, uint64_t seed);
void vfy_model_destroy(struct vfy_model *m);
const struct q35_tensor_desc *vfy_desc(const struct vfy_model *m, uint32_t layer, uint32_t role);
const struct vfy_tensor *vfy_tensor(const struct vfy_model *m, uint32_t layer, uint32_t role);
/* Recomputes hash and decoded values after a test has changed a tensor's data. */
void vfy_model_refresh(struct vfy_model *m, uint32_t layer, uint32_t role);

struct vfy_oracle;

struct vfy_oracle *vfy_oracle_create(const struct vfy_model *m, uint32_t max_sequences);
void vfy_oracle_destroy(struct vfy_oracle *o);
/* How it keeps K and V: enum q35_kv_type, F16 at first. Before the first run. */
void vfy_oracle_set_kv(struct vfy_oracle *o, uint32_t kv_type);
/* Layers first .. first+count-1 over n tokens, as q35_run says. in: [n][d_model] unless the first
 * layer is EMBED. out: [n][d_model], or [tokens with LOGITS][vocab] after HEAD. */
bool vfy_oracle_run(struct vfy_oracle *o, uint32_t first, uint32_t count,
                    const struct q35_token *tokens, uint32_t n, const float *in, float *out);
bool vfy_oracle_fork(struct vfy_oracle *o, uint32_t src, uint32_t dst, uint32_t length);
void vfy_oracle_truncate(struct vfy_oracle *o, uint32_t sequence, uint32_t length);

#endif
