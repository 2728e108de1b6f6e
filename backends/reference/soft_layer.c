/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What a layer descriptor must look like: which tensors, of which type and shape. */

#include "soft_impl.h"

enum dim { ONE, D_MODEL, Q_DIM, KV_DIM, HEAD_DIM, D_FFN, VOCAB, ROPE_PAIRS, DIM_COUNT };
enum need { OPTIONAL, REQUIRED, IF_ROPE };

/* By enum q35_role. */
static const struct role_rule {
    const char *name;
    uint32_t kind, type;
    enum need need;
    enum dim rows, cols;
} roles[Q35_ROLE_COUNT] = {
    {"TOKEN_EMBED", Q35_LAYER_EMBED, Q35_TENSOR_PACKED, REQUIRED, VOCAB, D_MODEL},
    {"ATTN_NORM", Q35_LAYER_DECODER, Q35_TENSOR_F32, REQUIRED, ONE, D_MODEL},
    {"Q", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, Q_DIM, D_MODEL},
    {"K", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, KV_DIM, D_MODEL},
    {"V", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, KV_DIM, D_MODEL},
    {"O", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, D_MODEL, Q_DIM},
    {"Q_BIAS", Q35_LAYER_DECODER, Q35_TENSOR_F32, OPTIONAL, ONE, Q_DIM},
    {"K_BIAS", Q35_LAYER_DECODER, Q35_TENSOR_F32, OPTIONAL, ONE, KV_DIM},
    {"V_BIAS", Q35_LAYER_DECODER, Q35_TENSOR_F32, OPTIONAL, ONE, KV_DIM},
    {"O_BIAS", Q35_LAYER_DECODER, Q35_TENSOR_F32, OPTIONAL, ONE, D_MODEL},
    {"Q_NORM", Q35_LAYER_DECODER, Q35_TENSOR_F32, OPTIONAL, ONE, HEAD_DIM},
    {"K_NORM", Q35_LAYER_DECODER, Q35_TENSOR_F32, OPTIONAL, ONE, HEAD_DIM},
    {"FFN_NORM", Q35_LAYER_DECODER, Q35_TENSOR_F32, REQUIRED, ONE, D_MODEL},
    {"GATE", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, D_FFN, D_MODEL},
    {"UP", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, D_FFN, D_MODEL},
    {"DOWN", Q35_LAYER_DECODER, Q35_TENSOR_PACKED, REQUIRED, D_MODEL, D_FFN},
    {"OUT_NORM", Q35_LAYER_HEAD, Q35_TENSOR_F32, REQUIRED, ONE, D_MODEL},
    {"HEAD", Q35_LAYER_HEAD, Q35_TENSOR_PACKED, REQUIRED, VOCAB, D_MODEL},
    {"ROPE_FREQ", Q35_LAYER_DECODER, Q35_TENSOR_F32, IF_ROPE, ONE, ROPE_PAIRS},
};

const char *soft_role_name(uint32_t role)
{
    return role < Q35_ROLE_COUNT ? roles[role].name : "unknown role";
}

static enum q35_status fail_layer(struct q35_error *err, enum q35_status st,
                                  const struct q35_layer *l, uint32_t role, const char *what)
{
    if (role == Q35_ROLE_COUNT)
        q35_soft_fail(err, st, "layer %d: %s", (int)l->index, what);
    else
        q35_soft_fail(err, st, "layer %d, tensor %s: %s", (int)l->index, soft_role_name(role),
                      what);
    if (err)
        err->layer = l->index;
    return st;
}

/* The layer's own numbers. */
static enum q35_status check_numbers(const struct q35_layer *l, struct q35_error *err)
{
    const char *bad = NULL;
    enum q35_status st = Q35_E_INVALID;

    if (!l->d_model || l->d_model > Q35_MAX_COLS)
        bad = "d_model is 0 or too large";
    else if (l->kind != Q35_LAYER_DECODER && (!l->vocab || l->vocab > Q35_MAX_ROWS))
        bad = "vocab is 0 or too large";
    if (l->kind == Q35_LAYER_EMBED || l->kind == Q35_LAYER_HEAD || bad)
        return bad ? fail_layer(err, st, l, Q35_ROLE_COUNT, bad) : Q35_OK;

    if (l->kind != Q35_LAYER_DECODER) {
        bad = "unknown kind";
        st = Q35_E_UNSUPPORTED;
    } else if (!l->n_heads || !l->n_kv_heads || l->n_heads % l->n_kv_heads) {
        bad = "n_kv_heads does not divide n_heads";
    } else if (!l->head_dim || (uint64_t)l->n_heads * l->head_dim > Q35_MAX_COLS) {
        bad = "heads are empty or too wide";
    } else if (!l->d_ffn || l->d_ffn > Q35_MAX_COLS) {
        bad = "d_ffn is 0 or too large";
    } else if (l->rope_dim > l->head_dim || l->rope_dim % 2) {
        bad = "rope_dim is odd or above head_dim";
    } else if (l->head_dim > Q35_SOFT_MAX_HEAD_DIM) {
        bad = "head_dim above 1024";
        st = Q35_E_UNSUPPORTED;
    } else if (l->rope_style > Q35_ROPE_HALVES) {
        bad = "unknown rope_style";
        st = Q35_E_UNSUPPORTED;
    } else if (l->activation != Q35_ACT_SILU) {
        bad = "unknown activation";
        st = Q35_E_UNSUPPORTED;
    }
    return bad ? fail_layer(err, st, l, Q35_ROLE_COUNT, bad) : Q35_OK;
}

static void dims_of(const struct q35_layer *l, uint64_t dims[DIM_COUNT])
{
    dims[ONE] = 1;
    dims[D_MODEL] = l->d_model;
    dims[Q_DIM] = (uint64_t)l->n_heads * l->head_dim;
    dims[KV_DIM] = (uint64_t)l->n_kv_heads * l->head_dim;
    dims[HEAD_DIM] = l->head_dim;
    dims[D_FFN] = l->d_ffn;
    dims[VOCAB] = l->vocab;
    dims[ROPE_PAIRS] = l->rope_dim / 2;
}

static enum q35_status check_tensor(const struct q35_layer *l, const struct q35_tensor_desc *t,
                                    uint32_t features, struct q35_error *err)
{
    const struct role_rule *r = &roles[t->role];
    uint64_t dims[DIM_COUNT];
    uint32_t padded = q35_pad_cols(t->cols), weights = Q35_SCHEME_WEIGHTS(t->scheme);

    dims_of(l, dims);
    if (r->kind != l->kind)
        return fail_layer(err, Q35_E_INVALID, l, t->role, "does not belong to this kind of layer");
    if (t->type != r->type)
        return fail_layer(err, Q35_E_UNSUPPORTED, l, t->role, "has another type than expected");
    if (t->type == Q35_TENSOR_F32) { /* a vector, however it lies */
        if ((uint64_t)t->rows * t->cols != dims[r->cols])
            return fail_layer(err, Q35_E_INVALID, l, t->role, "has the wrong shape");
        if (t->bytes != 4 * dims[r->cols])
            return fail_layer(err, Q35_E_INVALID, l, t->role, "has the wrong number of bytes");
        return Q35_OK;
    }
    if (t->rows != dims[r->rows] || t->cols != dims[r->cols])
        return fail_layer(err, Q35_E_INVALID, l, t->role, "has the wrong shape");
    if (weights < 1 || weights > 3 || t->scheme >> 18)
        return fail_layer(err, Q35_E_UNSUPPORTED, l, t->role, "has an unknown scheme");
    if (weights == 3 && !(features & Q35_FEATURE_TRIPLE))
        return fail_layer(err, Q35_E_UNSUPPORTED, l, t->role,
                          "has three weights a code, which this device does not decode");
    if (t->rot_block && ((t->rot_block & (t->rot_block - 1)) || padded % t->rot_block))
        return fail_layer(err, Q35_E_INVALID, l, t->role, "has a bad rotation block");
    if (t->bytes != q35_blob_bytes(t->scheme, t->rows, t->cols))
        return fail_layer(err, Q35_E_INVALID, l, t->role, "has the wrong number of bytes");
    return Q35_OK;
}

enum q35_status soft_layer_read(const struct q35_layer *in, uint32_t features,
                                struct q35_layer *out, struct q35_tensor_desc *tensors,
                                struct q35_error *err)
{
    enum q35_status st;
    uint32_t i, role;

    memset(out, 0, sizeof(*out));
    memset(tensors, 0, Q35_ROLE_COUNT * sizeof(*tensors));
    if (!in || !Q35_HAS(in, struct q35_layer, tensors))
        return q35_soft_fail(err, Q35_E_INVALID, "a layer is NULL or its size too small");
    memcpy(out, in, in->size < sizeof(*out) ? in->size : sizeof(*out));
    out->size = sizeof(*out);
    st = check_numbers(out, err);
    if (st)
        return st;
    if (out->tensor_count &&
        (!out->tensors || out->tensor_stride < SOFT_UP_TO(struct q35_tensor_desc, hash)))
        return fail_layer(err, Q35_E_INVALID, out, Q35_ROLE_COUNT, "bad array of tensors");
    for (i = 0; i < out->tensor_count; i++) {
        struct q35_tensor_desc t = {0};
        memcpy(&t, (const uint8_t *)out->tensors + (uint64_t)i * out->tensor_stride,
               out->tensor_stride < sizeof(t) ? out->tensor_stride : sizeof(t));
        if (t.role >= Q35_ROLE_COUNT)
            return fail_layer(err, Q35_E_UNSUPPORTED, out, t.role, "is not known here");
        if (tensors[t.role].bytes)
            return fail_layer(err, Q35_E_INVALID, out, t.role, "is listed twice");
        st = check_tensor(out, &t, features, err);
        if (st)
            return st;
        tensors[t.role] = t;
    }
    out->tensors = NULL;
    for (role = 0; role < Q35_ROLE_COUNT; role++) {
        bool needed =
            roles[role].need == REQUIRED || (roles[role].need == IF_ROPE && out->rope_dim);
        if (needed && roles[role].kind == out->kind && !tensors[role].bytes)
            return fail_layer(err, Q35_E_INVALID, out, role, "is missing");
    }
    return Q35_OK;
}

static void widen(uint64_t *to, uint64_t v)
{
    if (v > *to)
        *to = v;
}

void soft_dims_add(struct soft_dims *dims, const struct q35_layer *l,
                   const struct q35_tensor_desc *tensors)
{
    uint32_t role;
    widen(&dims->d_model, l->d_model);
    if (l->kind == Q35_LAYER_HEAD)
        widen(&dims->vocab, l->vocab);
    for (role = 0; role < Q35_ROLE_COUNT; role++)
        if (tensors[role].bytes && tensors[role].type == Q35_TENSOR_PACKED)
            widen(&dims->cols_padded, q35_pad_cols(tensors[role].cols));
    if (l->kind != Q35_LAYER_DECODER)
        return;
    widen(&dims->q_dim, (uint64_t)l->n_heads * l->head_dim);
    widen(&dims->kv_dim, (uint64_t)l->n_kv_heads * l->head_dim);
    widen(&dims->d_ffn, l->d_ffn);
    widen(&dims->rope_dim, l->rope_dim);
}

uint64_t soft_layer_kv_values(const struct q35_layer *l)
{
    if (l->kind != Q35_LAYER_DECODER)
        return 0;
    return 2 * (uint64_t)l->n_kv_heads * Q35_ATTN_BLOCK * l->head_dim;
}

uint64_t soft_layer_page_bytes(const struct q35_layer *l, uint32_t kv_type)
{
    if (l->kind != Q35_LAYER_DECODER)
        return 0;
    return kv_type == Q35_KV_INT8 ? q35_kv8_page_bytes(l->n_kv_heads, l->head_dim)
                                  : 2 * soft_layer_kv_values(l);
}
