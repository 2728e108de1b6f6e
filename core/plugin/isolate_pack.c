/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate.h"

#include <stdlib.h>
#include <string.h>

static const struct q35_layer *layer_at(const struct q35_layer *layers, uint32_t i, uint32_t stride)
{
    const void *p = (const char *)layers + (size_t)i * stride;
    return p;
}

uint64_t iso_layers_bytes(const struct q35_layer *layers, uint32_t count, uint32_t stride)
{
    uint64_t n = (uint64_t)count * sizeof(*layers);
    for (uint32_t i = 0; i < count; i++)
        n += (uint64_t)layer_at(layers, i, stride)->tensor_count * sizeof(struct q35_tensor_desc);
    return n;
}

void iso_layers_pack(void *out, const struct q35_layer *layers, uint32_t count, uint32_t stride)
{
    char *tensors = (char *)out + (size_t)count * sizeof(*layers);
    for (uint32_t i = 0; i < count; i++) {
        const struct q35_layer *l = layer_at(layers, i, stride);
        struct q35_layer copy = *l;
        copy.size = (uint32_t)sizeof(copy);
        copy.tensor_stride = (uint32_t)sizeof(struct q35_tensor_desc);
        copy.tensors = NULL;
        memcpy((char *)out + i * sizeof(copy), &copy, sizeof(copy));
        for (uint32_t t = 0; t < l->tensor_count; t++) {
            memcpy(tensors, (const char *)l->tensors + (size_t)t * l->tensor_stride,
                   sizeof(struct q35_tensor_desc));
            tensors += sizeof(struct q35_tensor_desc);
        }
    }
}

struct q35_layer *iso_layers_unpack(const void *in, uint64_t bytes, uint32_t count)
{
    struct q35_layer *layers;
    struct q35_tensor_desc *tensors;
    uint64_t need = (uint64_t)count * sizeof(*layers);
    if (need > bytes || bytes > ISO_ARENA_BYTES)
        return NULL;
    layers = malloc((size_t)bytes + 1);
    if (!layers)
        return NULL;
    memcpy(layers, in, (size_t)bytes);
    tensors = (void *)(layers + count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t part = (uint64_t)layers[i].tensor_count * sizeof(*tensors);
        need += part;
        if (need > bytes) {
            free(layers);
            return NULL;
        }
        layers[i].tensors = tensors;
        tensors += layers[i].tensor_count;
    }
    return layers;
}
