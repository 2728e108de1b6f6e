/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/model/model_internal.h"

uint64_t q35_hash_data(const uint8_t *data, uint64_t bytes)
{
    uint64_t whole = bytes & ~(uint64_t)7, i, h = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (i = 0; i < whole; i += 8) {
        uint64_t w;
        memcpy(&w, data + i, 8);
        h += q35_mix64(w ^ (i / 8 + 1) * 0x9e3779b97f4a7c15u);
    }
#else
    h = q35_hash_chunk(data, whole, 0);
#endif
    return h + q35_hash_chunk(data + whole, bytes - whole, whole);
}

/* ---- the graph ---------------------------------------------------------------------------- */

static void layer_init(struct q35_model *m, uint32_t i)
{
    const struct q35_params *p = &m->params;
    struct q35_layer *l = &m->layers[i];
    l->size = (uint32_t)(offsetof(struct q35_layer, tensors) + sizeof(l->tensors));
    l->kind = i == 0 ? Q35_LAYER_EMBED : i == p->n_layers + 1 ? Q35_LAYER_HEAD : Q35_LAYER_DECODER;
    l->index = (int32_t)i;
    l->tensor_stride = (uint32_t)sizeof(struct q35_tensor_desc);
    l->d_model = p->d_model;
    l->n_heads = p->n_heads;
    l->n_kv_heads = p->n_kv_heads;
    l->head_dim = p->head_dim;
    l->d_ffn = p->d_ffn;
    l->vocab = p->vocab;
    l->rope_dim = p->rope_dim;
    l->rope_style = p->rope_style;
    l->activation = Q35_ACT_SILU;
    l->window = p->window;
    l->norm_eps = p->norm_eps;
    l->attn_scale = p->attn_scale;
    l->embed_scale = p->embed_scale;
    l->tensors = m->descs + (size_t)i * MODEL_LAYER_TENSORS;
}

void q35_model_add(struct q35_model *m, uint32_t layer, const struct q35_tensor_desc *desc,
                   const uint8_t *data)
{
    size_t at = (size_t)layer * MODEL_LAYER_TENSORS + m->layers[layer].tensor_count++;
    m->descs[at] = *desc;
    m->data[at] = data;
}

enum q35_status q35_model_graph(struct q35_model *m, struct q35_error *err)
{
    const struct q35_params *p = &m->params;
    size_t n = (size_t)p->n_layers + 2;
    struct q35_tensor_desc rope = {.role = Q35_ROLE_ROPE_FREQ, .type = Q35_TENSOR_F32, .rows = 1};
    uint32_t i;
    m->layers = calloc(n, sizeof(*m->layers));
    m->descs = calloc(n * MODEL_LAYER_TENSORS, sizeof(*m->descs));
    m->data = calloc(n * MODEL_LAYER_TENSORS, sizeof(*m->data));
    rope.cols = p->rope_dim / 2;
    rope.bytes = 4ull * rope.cols;
    m->rope = aligned_alloc(64, (size_t)((rope.bytes + 127) & ~63ull));
    if (!m->layers || !m->descs || !m->data || !m->rope)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u layers", p->n_layers);
    memset(m->rope, 0, (size_t)((rope.bytes + 127) & ~63ull));
    if (rope.bytes)
        memcpy(m->rope, p->rope_freqs, (size_t)rope.bytes);
    rope.hash = q35_hash_data(m->rope, rope.bytes);
    for (i = 0; i < n; i++)
        layer_init(m, i);
    for (i = 1; i <= p->n_layers && rope.cols; i++)
        q35_model_add(m, i, &rope, m->rope);
    return Q35_OK;
}

/* ---- accessors ---------------------------------------------------------------------------- */

void q35_model_close(struct q35_model *m)
{
    if (!m)
        return;
    free(m->layers);
    free(m->descs);
    free(m->data);
    free(m->rope);
    free(m->params.rope_freqs);
    free(m->path);
    if (m->arena)
        munmap(m->arena, (size_t)m->arena_bytes);
    q35_gguf_close(m->gguf);
    free(m);
}

const struct q35_params *q35_model_params(const struct q35_model *m)
{
    return &m->params;
}

const struct q35_gguf *q35_model_gguf(const struct q35_model *m)
{
    return m->gguf;
}

const char *q35_model_path(const struct q35_model *m)
{
    return m->path;
}

const char *q35_model_scheme(const struct q35_model *m)
{
    return m->scheme;
}

uint32_t q35_model_layer_count(const struct q35_model *m)
{
    return m->params.n_layers + 2;
}

const struct q35_layer *q35_model_layers(const struct q35_model *m)
{
    return m->layers;
}

const uint8_t *q35_model_data(const struct q35_model *m, uint32_t layer, uint32_t t)
{
    if (!m->gguf && !m->arena)
        return NULL;
    return m->data[(size_t)layer * MODEL_LAYER_TENSORS + t];
}

/* Bytes of the layers' tensors. The rope frequencies are one and the same for all layers. */
static uint64_t layer_bytes(const struct q35_model *m, uint32_t layer, bool rope)
{
    const struct q35_layer *l = &m->layers[layer];
    uint64_t bytes = 0;
    uint32_t t;
    for (t = 0; t < l->tensor_count; t++)
        if (rope || l->tensors[t].role != Q35_ROLE_ROPE_FREQ)
            bytes += l->tensors[t].bytes;
    return bytes;
}

uint64_t q35_model_bytes(const struct q35_model *m)
{
    uint64_t bytes = 0;
    uint32_t i;
    for (i = m->params.tied ? 1 : 0; i < m->params.n_layers + 2; i++)
        bytes += layer_bytes(m, i, i == 1);
    return bytes;
}

/* Of the embedding one row is read: its codes and its scale. */
uint64_t q35_model_bytes_per_token(const struct q35_model *m)
{
    const struct q35_tensor_desc *e = &m->layers[0].tensors[0];
    uint64_t bytes = (uint64_t)Q35_ROW_BYTES * q35_tiles_per_row(e->scheme, e->cols) + 4;
    uint32_t i;
    for (i = 1; i < m->params.n_layers + 2; i++)
        bytes += layer_bytes(m, i, true);
    return bytes;
}

enum q35_status q35_model_verify(const struct q35_model *m, struct q35_error *err)
{
    uint32_t i, t;
    for (i = 0; i < m->params.n_layers + 2; i++)
        for (t = 0; t < m->layers[i].tensor_count; t++) {
            const struct q35_tensor_desc *d = &m->layers[i].tensors[t];
            const uint8_t *data = q35_model_data(m, i, t);
            if (data && q35_hash_data(data, d->bytes) != d->hash)
                return q35_fail(err, Q35_E_HASH,
                                "%s: layer %u, role %u: the data does not match its hash", m->path,
                                i, d->role);
        }
    return Q35_OK;
}
