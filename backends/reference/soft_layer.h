/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SOFT_LAYER_H
#define Q35_SOFT_LAYER_H

/* Reading and checking layer descriptors, for the software device and for plugins with a device of
 * their own that link it. */

#include "q35/backend.h"

/* Widths that decide about scratch: maxima over layers. */
struct soft_dims {
    uint64_t d_model, q_dim, kv_dim, d_ffn, rope_dim, cols_padded, vocab;
};

/* Copies what the writer of *in knows; then checks shapes and roles. features (enum q35_features):
 * what the device has; a tensor that needs more is UNSUPPORTED.
 * tensors[Q35_ROLE_COUNT] receives the descriptors by role, bytes 0 where absent. */
enum q35_status soft_layer_read(const struct q35_layer *in, uint32_t features,
                                struct q35_layer *out, struct q35_tensor_desc *tensors,
                                struct q35_error *err);
void soft_dims_add(struct soft_dims *dims, const struct q35_layer *l,
                   const struct q35_tensor_desc *tensors);
uint64_t soft_layer_kv_values(const struct q35_layer *l);
/* Bytes of one page of 64 positions of the layer, by enum q35_kv_type. */
uint64_t soft_layer_page_bytes(const struct q35_layer *l, uint32_t kv_type);
const char *soft_role_name(uint32_t role);

#endif
