/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/verify/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t vfy_u64(struct vfy_rng *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return q35_mix64(r->state);
}

uint32_t vfy_below(struct vfy_rng *r, uint32_t n)
{
    return (uint32_t)(vfy_u64(r) % n);
}

float vfy_f32(struct vfy_rng *r)
{
    return (float)((double)(vfy_u64(r) >> 40) * 0x1p-23 - 1.0);
}

struct vfy_shape vfy_shape_small(void)
{
    return (struct vfy_shape){.decoders = 2,
                              .embed = true,
                              .head = true,
                              .d_model = 128,
                              .n_heads = 4,
                              .n_kv_heads = 2,
                              .head_dim = 32,
                              .d_ffn = 256,
                              .vocab = 100,
                              .rope_dim = 32,
                              .rope_style = Q35_ROPE_HALVES,
                              .scheme = Q35_SCHEME_TRELLIS,
                              .embed_scheme = Q35_SCHEME_SINGLE,
                              .rotate = true,
                              .embed_scale = 1.0f};
}

const struct q35_tensor_desc *vfy_desc(const struct vfy_model *m, uint32_t layer, uint32_t role)
{
    const struct q35_layer *l = &m->layers[layer];
    uint32_t i;
    for (i = 0; i < l->tensor_count; i++)
        if (l->tensors[i].role == role)
            return &l->tensors[i];
    return NULL;
}

const struct vfy_tensor *vfy_tensor(const struct vfy_model *m, uint32_t layer, uint32_t role)
{
    return &m->tensors[layer * Q35_ROLE_COUNT + role];
}

/* ---- values -------------------------------------------------------------------------------- */

/* Random tables of which every sum lies in [-127, 127]; unused terms are zero. */
static void make_tables(struct q35_tables *t, uint32_t scheme, struct vfy_rng *r)
{
    uint32_t b_max = Q35_SCHEME_HAS_B(scheme) ? 1 + vfy_below(r, 15) : 0;
    int lowest = -127, highest = 127 - Q35_B_STEP * (int)b_max, i;
    uint32_t b_ones = b_max | b_max >> 1 | b_max >> 2 | b_max >> 3; /* the greatest of the xors */
    int highest2 = 127 - Q35_B_STEP * (int)b_ones;

    memset(t, 0, sizeof(*t));
    for (i = 0; i < 128; i++) {
        uint32_t k0 = scheme == Q35_SCHEME_ALT43 ? (uint32_t)i >> 3 : (uint32_t)i;
        uint32_t k1 = scheme == Q35_SCHEME_ALT43 ? (uint32_t)i & 7u : (uint32_t)i;
        struct vfy_rng h0 = {r->state + k0}, h1 = {~r->state + k1},
                       h2 = {(r->state ^ 1ull << 40) + k0};
        t->a0[i] = (int8_t)(lowest + (int)vfy_below(&h0, (uint32_t)(highest - lowest + 1)));
        if (Q35_SCHEME_WEIGHTS(scheme) >= 2)
            t->a1[i] = (int8_t)(lowest + (int)vfy_below(&h1, (uint32_t)(highest - lowest + 1)));
        if (Q35_SCHEME_WEIGHTS(scheme) == 3)
            t->a2[i] = (int8_t)(lowest + (int)vfy_below(&h2, (uint32_t)(highest2 - lowest + 1)));
        t->b[i] = (uint8_t)(vfy_below(r, b_max + 1) << 4 | vfy_below(r, b_max + 1));
    }
    vfy_u64(r);
}

static void decode_all(struct vfy_tensor *t, const struct q35_tensor_desc *d)
{
    const struct q35_tables *tables = (const struct q35_tables *)(const void *)t->data;
    const uint8_t *tile = t->data + q35_codes_offset(d->rows);
    uint32_t cols = q35_pad_cols(d->cols), step = q35_tile_cols(d->scheme), r, k, i;
    uint32_t tiles = q35_tiles_per_row(d->scheme, cols);
    int8_t w[Q35_MAX_TILE_COLS];
    for (r = 0; r < q35_pad_rows(d->rows); r += Q35_TILE_ROWS)
        for (k = 0; k < tiles; k++, tile += Q35_TILE_BYTES)
            for (i = 0; i < Q35_TILE_ROWS; i++) {
                q35_decode_row(d->scheme, tables, tile, i, w);
                memcpy(t->w + (uint64_t)(r + i) * cols + (uint64_t)k * step, w,
                       q35_tile_used(d->scheme, cols, k));
            }
}

static void fill_packed(struct vfy_tensor *t, const struct q35_tensor_desc *d, struct vfy_rng *r)
{
    float *scales = (float *)(void *)(t->data + Q35_BLOB_TABLES);
    uint8_t *codes = t->data + q35_codes_offset(d->rows);
    uint8_t *end = t->data + d->bytes - Q35_BLOB_TAIL;
    float unit = 1.0f / (60.0f * sqrtf((float)d->cols));
    uint32_t i;

    make_tables((struct q35_tables *)(void *)t->data, d->scheme, r);
    if (d->rot_block)
        unit /= sqrtf((float)d->rot_block);
    for (i = 0; i < q35_pad_rows(d->rows); i++) /* a padding row's scale must not be used */
        scales[i] = i < d->rows ? unit * (1.0f + 0.5f * vfy_f32(r)) : 1e30f;
    for (; codes < end; codes += 8) {
        uint64_t v = vfy_u64(r);
        memcpy(codes, &v, 8);
    }
    memset(end, 0, Q35_BLOB_TAIL);
    decode_all(t, d);
}

static void fill_vector(struct vfy_tensor *t, const struct q35_tensor_desc *d, struct vfy_rng *r)
{
    float *v = (float *)(void *)t->data;
    uint32_t i, n = d->cols;
    for (i = 0; i < n; i++) {
        switch (d->role) {
        case Q35_ROLE_ROPE_FREQ:
            v[i] = (float)pow(10000.0, -(double)i / n);
            break;
        case Q35_ROLE_Q_BIAS:
        case Q35_ROLE_K_BIAS:
        case Q35_ROLE_V_BIAS:
        case Q35_ROLE_O_BIAS:
            v[i] = 0.3f * vfy_f32(r);
            break;
        default:
            v[i] = 1.0f + 0.4f * vfy_f32(r);
        }
    }
}

void vfy_model_refresh(struct vfy_model *m, uint32_t layer, uint32_t role)
{
    struct q35_tensor_desc *d = (struct q35_tensor_desc *)(uintptr_t)vfy_desc(m, layer, role);
    struct vfy_tensor *t = &m->tensors[layer * Q35_ROLE_COUNT + role];
    d->hash = q35_hash_chunk(t->data, d->bytes, 0);
    if (t->w)
        decode_all(t, d);
}

/* ---- shapes -------------------------------------------------------------------------------- */

struct builder {
    struct vfy_model *m;
    struct vfy_rng rng;
    uint32_t layer;
    bool failed;
};

static void put_tensor(struct builder *b, uint32_t role, uint32_t rows, uint32_t cols,
                       uint32_t scheme)
{
    struct vfy_model *m = b->m;
    struct q35_layer *l = &m->layers[b->layer];
    struct q35_tensor_desc *d = &m->descs[b->layer * Q35_ROLE_COUNT + l->tensor_count];
    struct vfy_tensor *t = &m->tensors[b->layer * Q35_ROLE_COUNT + role];

    *d = (struct q35_tensor_desc){.role = role, .rows = rows, .cols = cols, .scheme = scheme};
    d->type = scheme ? Q35_TENSOR_PACKED : Q35_TENSOR_F32;
    d->bytes = scheme ? q35_blob_bytes(scheme, rows, cols) : 4u * (uint64_t)rows * cols;
    if (scheme && m->shape.rotate) {
        bool other = m->shape.mixed_rotation && role == Q35_ROLE_K;
        d->rot_block = q35_rot_block(cols);
        d->rot_seed = other ? 77 : 1234567 + cols;
    }
    t->data = aligned_alloc(64, (d->bytes + 63) & ~(uint64_t)63);
    if (scheme)
        t->w = malloc((uint64_t)q35_pad_rows(rows) * q35_pad_cols(cols));
    if (!t->data || (scheme && !t->w)) {
        b->failed = true;
        return;
    }
    if (scheme)
        fill_packed(t, d, &b->rng);
    else
        fill_vector(t, d, &b->rng);
    d->hash = q35_hash_chunk(t->data, d->bytes, 0);
    l->tensor_count++;
}

static struct q35_layer *begin_layer(struct builder *b, uint32_t kind)
{
    const struct vfy_shape *s = &b->m->shape;
    struct q35_layer *l = &b->m->layers[b->layer];
    *l = (struct q35_layer){.size = sizeof(*l),
                            .kind = kind,
                            .index = (int32_t)b->layer,
                            .tensor_stride = sizeof(struct q35_tensor_desc),
                            .d_model = s->d_model,
                            .n_heads = s->n_heads,
                            .n_kv_heads = s->n_kv_heads,
                            .head_dim = s->head_dim,
                            .d_ffn = s->d_ffn,
                            .vocab = s->vocab,
                            .rope_dim = s->rope_dim,
                            .rope_style = s->rope_style,
                            .activation = Q35_ACT_SILU,
                            .window = s->window,
                            .norm_eps = 1e-5f,
                            .attn_scale = 1.0f / sqrtf((float)s->head_dim),
                            .embed_scale = s->embed_scale,
                            .tensors = b->m->descs + b->layer * Q35_ROLE_COUNT};
    return l;
}

static void build_decoder(struct builder *b)
{
    const struct vfy_shape *s = &b->m->shape;
    uint32_t q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim, d = s->d_model;
    begin_layer(b, Q35_LAYER_DECODER);
    put_tensor(b, Q35_ROLE_ATTN_NORM, 1, d, 0);
    put_tensor(b, Q35_ROLE_Q, q, d, s->scheme);
    put_tensor(b, Q35_ROLE_K, kv, d, s->scheme);
    put_tensor(b, Q35_ROLE_V, kv, d, s->scheme);
    put_tensor(b, Q35_ROLE_O, d, q, s->scheme);
    if (s->biases) {
        put_tensor(b, Q35_ROLE_Q_BIAS, 1, q, 0);
        put_tensor(b, Q35_ROLE_K_BIAS, 1, kv, 0);
        put_tensor(b, Q35_ROLE_V_BIAS, 1, kv, 0);
        put_tensor(b, Q35_ROLE_O_BIAS, 1, d, 0);
    }
    if (s->qk_norm) {
        put_tensor(b, Q35_ROLE_Q_NORM, 1, s->head_dim, 0);
        put_tensor(b, Q35_ROLE_K_NORM, 1, s->head_dim, 0);
    }
    put_tensor(b, Q35_ROLE_FFN_NORM, 1, d, 0);
    put_tensor(b, Q35_ROLE_GATE, s->d_ffn, d, s->scheme);
    put_tensor(b, Q35_ROLE_UP, s->d_ffn, d, s->scheme);
    put_tensor(b, Q35_ROLE_DOWN, d, s->d_ffn, s->scheme);
    if (s->rope_dim)
        put_tensor(b, Q35_ROLE_ROPE_FREQ, 1, s->rope_dim / 2, 0);
    b->layer++;
}

struct vfy_model *vfy_model_create(const struct vfy_shape *shape, uint64_t seed)
{
    struct vfy_model *m = calloc(1, sizeof(*m));
    struct builder b = {.m = m, .rng = {seed}};
    uint32_t i;

    if (!m)
        return NULL;
    m->shape = *shape;
    m->layer_count = shape->decoders + shape->embed + shape->head;
    m->layers = calloc(m->layer_count, sizeof(*m->layers));
    m->descs = calloc((size_t)m->layer_count * Q35_ROLE_COUNT, sizeof(*m->descs));
    m->tensors = calloc((size_t)m->layer_count * Q35_ROLE_COUNT, sizeof(*m->tensors));
    b.failed = !m->layers || !m->descs || !m->tensors;
    if (shape->embed && !b.failed) {
        begin_layer(&b, Q35_LAYER_EMBED);
        put_tensor(&b, Q35_ROLE_TOKEN_EMBED, shape->vocab, shape->d_model, shape->embed_scheme);
        b.layer++;
    }
    for (i = 0; i < shape->decoders && !b.failed; i++)
        build_decoder(&b);
    if (shape->head && !b.failed) {
        begin_layer(&b, Q35_LAYER_HEAD);
        put_tensor(&b, Q35_ROLE_OUT_NORM, 1, shape->d_model, 0);
        put_tensor(&b, Q35_ROLE_HEAD, shape->vocab, shape->d_model, shape->embed_scheme);
    }
    if (b.failed) {
        vfy_model_destroy(m);
        return NULL;
    }
    return m;
}

void vfy_model_destroy(struct vfy_model *m)
{
    uint32_t i;
    if (!m)
        return;
    for (i = 0; m->tensors && i < m->layer_count * Q35_ROLE_COUNT; i++) {
        free(m->tensors[i].data);
        free(m->tensors[i].w);
    }
    free(m->tensors);
    free(m->descs);
    free(m->layers);
    free(m);
}
