/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_ROLES_H
#define Q35_CORE_ROLES_H

/* The tensors of a LLaMA-family model: what each is for, how large it is, what files call it. */

#include <stddef.h>

#include "core/model/params.h"
#include "q35/backend.h"

enum q35_dim {
    Q35_DIM_ONE,
    Q35_DIM_MODEL,
    Q35_DIM_FFN,
    Q35_DIM_Q,
    Q35_DIM_KV,
    Q35_DIM_HEAD,
    Q35_DIM_VOCAB
};

struct q35_role_info {
    uint32_t role;
    bool per_layer;
    bool optional;           /* in a packed file */
    enum q35_dim rows, cols; /* rows ONE: a vector */
    const char *gguf;        /* of a layer's tensor: without "blk.N." */
    const char *hf;          /* of a layer's tensor: without "model.layers.N." */
};

/* In the order of backend.h; ROPE_FREQ is not among them, as no file keeps it as a tensor. */
#define Q35_ROLE_INFO_COUNT 18
extern const struct q35_role_info q35_role_infos[Q35_ROLE_INFO_COUNT];

uint32_t q35_dim_size(const struct q35_params *p, enum q35_dim d);

#define Q35_TENSOR_NAME_MAX 64
/* The GGUF name of a role's tensor. role != ROPE_FREQ. Returns out. */
const char *q35_role_name(uint32_t role, uint32_t layer, char out[Q35_TENSOR_NAME_MAX]);

#endif
