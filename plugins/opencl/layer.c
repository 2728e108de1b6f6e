/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What a layer descriptor must look like to be run here. */

#include <string.h>

#include <q35/arith.h>

#include "opencl.h"

enum dim { ONE, D_MODEL, Q_DIM, KV_DIM, HEAD_DIM, D_FFN, VOCAB, PAIRS, DIMS };
enum need { OPTIONAL, REQUIRED, WITH_ROPE };

/* By enum q35_role. */
static const struct rule {
    const char *name;
    uint32_t kind, type;
    enum need need;
    enum dim rows, cols;
} rules[Q35_ROLE_COUNT] = {
#define EMBED Q35_LAYER_EMBED
#define LAYER Q35_LAYER_DECODER
#define HEAD Q35_LAYER_HEAD
#define F32 Q35_TENSOR_F32
#define CODES Q35_TENSOR_PACKED
    [Q35_ROLE_TOKEN_EMBED] = {"TOKEN_EMBED", EMBED, CODES, REQUIRED, VOCAB, D_MODEL},
    [Q35_ROLE_ATTN_NORM] = {"ATTN_NORM", LAYER, F32, REQUIRED, ONE, D_MODEL},
    [Q35_ROLE_Q] = {"Q", LAYER, CODES, REQUIRED, Q_DIM, D_MODEL},
    [Q35_ROLE_K] = {"K", LAYER, CODES, REQUIRED, KV_DIM, D_MODEL},
    [Q35_ROLE_V] = {"V", LAYER, CODES, REQUIRED, KV_DIM, D_MODEL},
    [Q35_ROLE_O] = {"O", LAYER, CODES, REQUIRED, D_MODEL, Q_DIM},
    [Q35_ROLE_Q_BIAS] = {"Q_BIAS", LAYER, F32, OPTIONAL, ONE, Q_DIM},
    [Q35_ROLE_K_BIAS] = {"K_BIAS", LAYER, F32, OPTIONAL, ONE, KV_DIM},
    [Q35_ROLE_V_BIAS] = {"V_BIAS", LAYER, F32, OPTIONAL, ONE, KV_DIM},
    [Q35_ROLE_O_BIAS] = {"O_BIAS", LAYER, F32, OPTIONAL, ONE, D_MODEL},
    [Q35_ROLE_Q_NORM] = {"Q_NORM", LAYER, F32, OPTIONAL, ONE, HEAD_DIM},
    [Q35_ROLE_K_NORM] = {"K_NORM", LAYER, F32, OPTIONAL, ONE, HEAD_DIM},
    [Q35_ROLE_FFN_NORM] = {"FFN_NORM", LAYER, F32, REQUIRED, ONE, D_MODEL},
    [Q35_ROLE_GATE] = {"GATE", LAYER, CODES, REQUIRED, D_FFN, D_MODEL},
    [Q35_ROLE_UP] = {"UP", LAYER, CODES, REQUIRED, D_FFN, D_MODEL},
    [Q35_ROLE_DOWN] = {"DOWN", LAYER, CODES, REQUIRED, D_MODEL, D_FFN},
    [Q35_ROLE_OUT_NORM] = {"OUT_NORM", HEAD, F32, REQUIRED, ONE, D_MODEL},
    [Q35_ROLE_HEAD] = {"HEAD", HEAD, CODES, REQUIRED, VOCAB, D_MODEL},
    [Q35_ROLE_ROPE_FREQ] = {"ROPE_FREQ", LAYER, F32, WITH_ROPE, ONE, PAIRS},
#undef EMBED
#undef LAYER
#undef HEAD
#undef F32
#undef CODES
};

const char *ocl_role_name(uint32_t role)
{
    return role < Q35_ROLE_COUNT ? rules[role].name : "of an unknown role";
}

static enum q35_status bad_tensor(struct q35_error *err, enum q35_status st,
                                  const struct q35_layer *l, uint32_t role, const char *what)
{
    ocl_fail(err, st, "layer %d, tensor %s: %s", (int)l->index, ocl_role_name(role), what);
    err->layer = l->index;
    return st;
}

static enum q35_status bad_layer(struct q35_error *err, enum q35_status st,
                                 const struct q35_layer *l, const char *what)
{
    ocl_fail(err, st, "layer %d: %s", (int)l->index, what);
    err->layer = l->index;
    return st;
}

static enum q35_status check_numbers(const struct q35_layer *l, struct q35_error *err)
{
    const enum q35_status invalid = Q35_E_INVALID, unsupported = Q35_E_UNSUPPORTED;
    if (l->kind < Q35_LAYER_EMBED || l->kind > Q35_LAYER_HEAD)
        return bad_layer(err, unsupported, l, "unknown kind");
    if (!l->d_model || l->d_model > Q35_MAX_COLS)
        return bad_layer(err, invalid, l, "d_model is 0 or too large");
    if (l->kind != Q35_LAYER_DECODER)
        return l->vocab && l->vocab <= Q35_MAX_ROWS
                   ? Q35_OK
                   : bad_layer(err, invalid, l, "vocab is 0 or too large");
    if (!l->n_heads || !l->n_kv_heads || l->n_heads % l->n_kv_heads)
        return bad_layer(err, invalid, l, "n_kv_heads does not divide n_heads");
    if (!l->head_dim || (uint64_t)l->n_heads * l->head_dim > Q35_MAX_COLS)
        return bad_layer(err, invalid, l, "heads are empty or too wide");
    if (!l->d_ffn || l->d_ffn > Q35_MAX_COLS)
        return bad_layer(err, invalid, l, "d_ffn is 0 or too large");
    if (l->rope_dim > l->head_dim || l->rope_dim % 2)
        return bad_layer(err, invalid, l, "rope_dim is odd or above head_dim");
    if (l->head_dim > MAX_HEAD_DIM)
        return bad_layer(err, unsupported, l, "head_dim above 1024");
    if (l->rope_style > Q35_ROPE_HALVES)
        return bad_layer(err, unsupported, l, "unknown rope_style");
    if (l->activation != Q35_ACT_SILU)
        return bad_layer(err, unsupported, l, "unknown activation");
    return Q35_OK;
}

static enum q35_status check_tensor(const struct q35_layer *l, const struct q35_tensor_desc *t,
                                    struct q35_error *err)
{
    const struct rule *r = &rules[t->role];
    const uint64_t dims[DIMS] = {[ONE] = 1,
                                 [D_MODEL] = l->d_model,
                                 [Q_DIM] = (uint64_t)l->n_heads * l->head_dim,
                                 [KV_DIM] = (uint64_t)l->n_kv_heads * l->head_dim,
                                 [HEAD_DIM] = l->head_dim,
                                 [D_FFN] = l->d_ffn,
                                 [VOCAB] = l->vocab,
                                 [PAIRS] = l->rope_dim / 2};
    uint32_t weights = Q35_SCHEME_WEIGHTS(t->scheme), block = t->rot_block;

    if (r->kind != l->kind)
        return bad_tensor(err, Q35_E_INVALID, l, t->role, "is not of this kind of layer");
    if (t->type != r->type)
        return bad_tensor(err, Q35_E_UNSUPPORTED, l, t->role, "has another type than expected");
    if (t->type == Q35_TENSOR_F32)
        return (uint64_t)t->rows * t->cols == dims[r->cols] && t->bytes == 4 * dims[r->cols]
                   ? Q35_OK
                   : bad_tensor(err, Q35_E_INVALID, l, t->role, "has the wrong shape");
    if (t->rows != dims[r->rows] || t->cols != dims[r->cols])
        return bad_tensor(err, Q35_E_INVALID, l, t->role, "has the wrong shape");
    if (weights < 1 || weights > 3 || t->scheme >> 18)
        return bad_tensor(err, Q35_E_UNSUPPORTED, l, t->role, "has an unknown scheme");
    if (block && (block & (block - 1) || q35_pad_cols(t->cols) % block))
        return bad_tensor(err, Q35_E_INVALID, l, t->role, "has a bad rotation block");
    if (t->bytes != q35_blob_bytes(t->scheme, t->rows, t->cols))
        return bad_tensor(err, Q35_E_INVALID, l, t->role, "has the wrong number of bytes");
    return Q35_OK;
}

enum q35_status ocl_layer_read(const struct ocl_limits *limits, const struct q35_layer *in,
                               struct q35_layer *out, struct q35_tensor_desc *tensors,
                               struct q35_error *err)
{
    const uint32_t least = offsetof(struct q35_tensor_desc, hash) + sizeof(tensors->hash);
    enum q35_status st;
    uint32_t i;

    memset(out, 0, sizeof(*out));
    memset(tensors, 0, Q35_ROLE_COUNT * sizeof(*tensors));
    if (!in || !Q35_HAS(in, struct q35_layer, tensors))
        return ocl_fail(err, Q35_E_INVALID, "a layer is NULL or its size too small");
    memcpy(out, in, in->size < sizeof(*out) ? in->size : sizeof(*out));
    st = check_numbers(out, err);
    if (st)
        return st;
    if (out->tensor_count && (!out->tensors || out->tensor_stride < least))
        return bad_layer(err, Q35_E_INVALID, out, "bad array of tensors");
    for (i = 0; i < out->tensor_count; i++) {
        struct q35_tensor_desc t = {0};
        memcpy(&t, (const uint8_t *)out->tensors + (uint64_t)i * out->tensor_stride, least);
        if (t.role >= Q35_ROLE_COUNT)
            return bad_tensor(err, Q35_E_UNSUPPORTED, out, t.role, "is not known here");
        if (tensors[t.role].bytes)
            return bad_tensor(err, Q35_E_INVALID, out, t.role, "is listed twice");
        st = check_tensor(out, &t, err);
        if (!st && t.bytes > limits->max_alloc)
            st = bad_tensor(err, Q35_E_UNSUPPORTED, out, t.role,
                            "is larger than what the device allocates at once");
        if (st)
            return st;
        tensors[t.role] = t;
    }
    out->tensors = NULL;
    for (i = 0; i < Q35_ROLE_COUNT; i++)
        if (rules[i].kind == out->kind && !tensors[i].bytes &&
            (rules[i].need == REQUIRED || (rules[i].need == WITH_ROPE && out->rope_dim)))
            return bad_tensor(err, Q35_E_INVALID, out, i, "is missing");
    return Q35_OK;
}

static void widen(uint64_t *to, uint64_t v)
{
    *to = v > *to ? v : *to;
}

void ocl_dims_add(struct ocl_dims *dims, const struct q35_layer *l,
                  const struct q35_tensor_desc *tensors)
{
    uint32_t i;
    widen(&dims->d_model, l->d_model);
    for (i = 0; i < Q35_ROLE_COUNT; i++)
        if (tensors[i].bytes && tensors[i].type == Q35_TENSOR_PACKED)
            widen(&dims->cols_padded, q35_pad_cols(tensors[i].cols));
    if (l->kind == Q35_LAYER_HEAD)
        widen(&dims->vocab, l->vocab);
    if (l->kind != Q35_LAYER_DECODER)
        return;
    widen(&dims->q_dim, (uint64_t)l->n_heads * l->head_dim);
    widen(&dims->kv_dim, (uint64_t)l->n_kv_heads * l->head_dim);
    widen(&dims->d_ffn, l->d_ffn);
    widen(&dims->rope_dim, l->rope_dim);
}

uint64_t ocl_page_bytes(const struct q35_layer *l, uint32_t type)
{
    if (l->kind != Q35_LAYER_DECODER)
        return 0;
    return type == Q35_KV_INT8 ? q35_kv8_page_bytes(l->n_kv_heads, l->head_dim)
                               : 4 * (uint64_t)l->n_kv_heads * PAGE * l->head_dim;
}
