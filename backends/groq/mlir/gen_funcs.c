/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The private functions that a layer needs, each once. */

#include "emit.h"

static bool same_shape(const struct q35_tensor_desc *a, const struct q35_tensor_desc *b)
{
    return a->rows == b->rows && a->cols == b->cols && a->scheme == b->scheme;
}

bool gen_has_residual(uint32_t role)
{
    return role == Q35_ROLE_O || role == Q35_ROLE_DOWN;
}

bool gen_has_bias(const struct groq_layer *l, uint32_t role)
{
    uint32_t bias = role == Q35_ROLE_O ? Q35_ROLE_O_BIAS : role + Q35_ROLE_Q_BIAS - Q35_ROLE_Q;
    return role >= Q35_ROLE_Q && role <= Q35_ROLE_O && l->tensors[bias].bytes;
}

/* Is this the first packed tensor with that property? */
enum property { SCHEME, QUANT, PRODUCT };
static bool is_first(const struct groq_layer *l, uint32_t role, enum property what)
{
    const struct q35_tensor_desc *t = &l->tensors[role], *o;
    uint32_t i;
    for (i = 0; i < role; i++) {
        o = &l->tensors[i];
        if (!o->bytes || o->type != Q35_TENSOR_PACKED)
            continue;
        if ((what == SCHEME && o->scheme == t->scheme) ||
            (what == QUANT && o->cols == t->cols && o->rot_block == t->rot_block) ||
            (what == PRODUCT && same_shape(o, t) && gen_has_bias(l, i) == gen_has_bias(l, role) &&
             gen_has_residual(i) == gen_has_residual(role)))
            return false;
    }
    return true;
}

static void funcs_of_matrices(struct gen *g, const struct groq_layer *l)
{
    uint32_t role;
    for (role = 0; role < Q35_ROLE_COUNT; role++) {
        const struct q35_tensor_desc *t = &l->tensors[role];
        if (!t->bytes || t->type != Q35_TENSOR_PACKED)
            continue;
        if (is_first(l, role, SCHEME))
            func_decode(g, t->scheme);
        if (role == Q35_ROLE_TOKEN_EMBED) {
            if (t->rot_block)
                func_unrotate(g, q35_pad_cols(t->cols), t->rot_block);
            func_embed(g, &l->desc, t);
            continue;
        }
        if (is_first(l, role, QUANT))
            func_quantize(g, t->cols, t->rot_block);
        if (is_first(l, role, PRODUCT))
            func_matmul(g, t, gen_has_bias(l, role), gen_has_residual(role));
    }
}

static void funcs_of_decoder(struct gen *g, const struct groq_layer *l)
{
    const struct q35_layer *d = &l->desc;
    bool q_norm = l->tensors[Q35_ROLE_Q_NORM].bytes, k_norm = l->tensors[Q35_ROLE_K_NORM].bytes;
    bool one_head = (q_norm && d->n_heads == 1) || (k_norm && d->n_kv_heads == 1);
    func_rms_norm(g, 1, d->d_model, d->norm_eps);
    if (one_head && d->head_dim != d->d_model)
        func_rms_norm(g, 1, d->head_dim, d->norm_eps);
    if (q_norm && d->n_heads > 1)
        func_rms_norm(g, d->n_heads, d->head_dim, d->norm_eps);
    if (k_norm && d->n_kv_heads > 1 && !(q_norm && d->n_kv_heads == d->n_heads))
        func_rms_norm(g, d->n_kv_heads, d->head_dim, d->norm_eps);
    if (d->rope_dim) {
        func_rope_table(g, d->rope_dim / 2);
        func_rope(g, d, d->n_heads);
        if (d->n_kv_heads != d->n_heads)
            func_rope(g, d, d->n_kv_heads);
    }
    func_kv_store(g, d);
    func_attention(g, d);
    func_swiglu(g, d->d_ffn);
}

void gen_funcs(struct gen *g, const struct groq_layer *l)
{
    funcs_of_matrices(g, l);
    if (l->desc.kind == Q35_LAYER_DECODER)
        funcs_of_decoder(g, l);
    if (l->desc.kind == Q35_LAYER_HEAD)
        func_rms_norm(g, 1, l->desc.d_model, l->desc.norm_eps);
}
