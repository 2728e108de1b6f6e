/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What of a layer decides about its program. */

#include <string.h>

#include "gen.h"

uint32_t groq_role_kind(uint32_t role)
{
    if (role == Q35_ROLE_TOKEN_EMBED)
        return Q35_LAYER_EMBED;
    return role == Q35_ROLE_OUT_NORM || role == Q35_ROLE_HEAD ? Q35_LAYER_HEAD : Q35_LAYER_DECODER;
}

void groq_layer_read(const struct q35_layer *layer, struct groq_layer *out)
{
    uint32_t i;
    memset(out, 0, sizeof(*out));
    out->desc = *layer;
    out->desc.tensors = NULL;
    for (i = 0; i < layer->tensor_count; i++) {
        struct q35_tensor_desc t;
        memcpy(&t, (const uint8_t *)layer->tensors + (uint64_t)i * layer->tensor_stride, sizeof(t));
        if (t.role < Q35_ROLE_COUNT)
            out->tensors[t.role] = t;
    }
}

void groq_layer_key(struct groq_layer *l)
{
    uint64_t seeds[Q35_ROLE_COUNT];
    uint32_t i, k;
    l->desc.size = 0;
    l->desc.index = 0;
    l->desc.tensor_count = l->desc.tensor_stride = 0;
    l->desc.tensors = NULL;
    l->desc.window = 0;
    for (i = 0; i < Q35_ROLE_COUNT; i++) {
        seeds[i] = l->tensors[i].rot_seed;
        for (k = 0; seeds[k] != seeds[i]; k++)
            ;
        l->tensors[i].rot_seed = k; /* only which seeds are equal matters */
        l->tensors[i].hash = 0;
    }
}

const char *groq_kind_name(uint32_t kind)
{
    return kind == Q35_LAYER_EMBED ? "embedding" : kind == Q35_LAYER_HEAD ? "head" : "decoder";
}
