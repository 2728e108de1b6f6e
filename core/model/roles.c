/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/roles.h"

#include <stdio.h>

const struct q35_role_info q35_role_infos[Q35_ROLE_INFO_COUNT] = {
    {Q35_ROLE_TOKEN_EMBED, false, false, Q35_DIM_VOCAB, Q35_DIM_MODEL, "token_embd.weight",
     "model.embed_tokens.weight"},
    {Q35_ROLE_ATTN_NORM, true, false, Q35_DIM_ONE, Q35_DIM_MODEL, "attn_norm.weight",
     "input_layernorm.weight"},
    {Q35_ROLE_Q, true, false, Q35_DIM_Q, Q35_DIM_MODEL, "attn_q.weight", "self_attn.q_proj.weight"},
    {Q35_ROLE_K, true, false, Q35_DIM_KV, Q35_DIM_MODEL, "attn_k.weight",
     "self_attn.k_proj.weight"},
    {Q35_ROLE_V, true, false, Q35_DIM_KV, Q35_DIM_MODEL, "attn_v.weight",
     "self_attn.v_proj.weight"},
    {Q35_ROLE_O, true, false, Q35_DIM_MODEL, Q35_DIM_Q, "attn_output.weight",
     "self_attn.o_proj.weight"},
    {Q35_ROLE_Q_BIAS, true, true, Q35_DIM_ONE, Q35_DIM_Q, "attn_q.bias", "self_attn.q_proj.bias"},
    {Q35_ROLE_K_BIAS, true, true, Q35_DIM_ONE, Q35_DIM_KV, "attn_k.bias", "self_attn.k_proj.bias"},
    {Q35_ROLE_V_BIAS, true, true, Q35_DIM_ONE, Q35_DIM_KV, "attn_v.bias", "self_attn.v_proj.bias"},
    {Q35_ROLE_O_BIAS, true, true, Q35_DIM_ONE, Q35_DIM_MODEL, "attn_output.bias",
     "self_attn.o_proj.bias"},
    {Q35_ROLE_Q_NORM, true, true, Q35_DIM_ONE, Q35_DIM_HEAD, "attn_q_norm.weight",
     "self_attn.q_norm.weight"},
    {Q35_ROLE_K_NORM, true, true, Q35_DIM_ONE, Q35_DIM_HEAD, "attn_k_norm.weight",
     "self_attn.k_norm.weight"},
    {Q35_ROLE_FFN_NORM, true, false, Q35_DIM_ONE, Q35_DIM_MODEL, "ffn_norm.weight",
     "post_attention_layernorm.weight"},
    {Q35_ROLE_GATE, true, false, Q35_DIM_FFN, Q35_DIM_MODEL, "ffn_gate.weight",
     "mlp.gate_proj.weight"},
    {Q35_ROLE_UP, true, false, Q35_DIM_FFN, Q35_DIM_MODEL, "ffn_up.weight", "mlp.up_proj.weight"},
    {Q35_ROLE_DOWN, true, false, Q35_DIM_MODEL, Q35_DIM_FFN, "ffn_down.weight",
     "mlp.down_proj.weight"},
    {Q35_ROLE_OUT_NORM, false, false, Q35_DIM_ONE, Q35_DIM_MODEL, "output_norm.weight",
     "model.norm.weight"},
    {Q35_ROLE_HEAD, false, false, Q35_DIM_VOCAB, Q35_DIM_MODEL, "output.weight", "lm_head.weight"},
};

uint32_t q35_dim_size(const struct q35_params *p, enum q35_dim d)
{
    switch (d) {
    case Q35_DIM_MODEL:
        return p->d_model;
    case Q35_DIM_FFN:
        return p->d_ffn;
    case Q35_DIM_Q:
        return p->n_heads * p->head_dim;
    case Q35_DIM_KV:
        return p->n_kv_heads * p->head_dim;
    case Q35_DIM_HEAD:
        return p->head_dim;
    case Q35_DIM_VOCAB:
        return p->vocab;
    default:
        return 1;
    }
}

const char *q35_role_name(uint32_t role, uint32_t layer, char out[Q35_TENSOR_NAME_MAX])
{
    const struct q35_role_info *r = &q35_role_infos[role];
    if (r->per_layer)
        snprintf(out, Q35_TENSOR_NAME_MAX, "blk.%u.%s", layer, r->gguf);
    else
        snprintf(out, Q35_TENSOR_NAME_MAX, "%s", r->gguf);
    return out;
}
