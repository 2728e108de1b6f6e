/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_MODEL_INTERNAL_H
#define Q35_CORE_MODEL_INTERNAL_H

/* Shared by model.c (the graph), model_open.c (files) and synthetic.c (made-up weights). */

#include "core/model/gguf.h"
#include "core/model/model.h"

/* Most tensors a layer can have: all roles of a decoder layer, and rope frequencies. */
#define MODEL_LAYER_TENSORS 16u

struct q35_model {
    char *path;
    char scheme[64];
    struct q35_params params;
    struct q35_gguf *gguf;         /* NULL: synthetic */
    struct q35_layer *layers;      /* [n_layers + 2] */
    struct q35_tensor_desc *descs; /* [n_layers + 2][MODEL_LAYER_TENSORS] */
    const uint8_t **data;          /* the same; NULL without data */
    uint8_t *rope;                 /* frequencies, 64-byte aligned; shared by all layers */
    void *arena;                   /* synthetic weights, mapped */
    uint64_t arena_bytes;
};

/* Allocates the layers from m->params, without tensors but with rope frequencies. */
enum q35_status q35_model_graph(struct q35_model *m, struct q35_error *err);

/* Appends a tensor to a layer of the graph. */
void q35_model_add(struct q35_model *m, uint32_t layer, const struct q35_tensor_desc *desc,
                   const uint8_t *data);

#endif
