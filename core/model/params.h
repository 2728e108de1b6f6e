/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_PARAMS_H
#define Q35_CORE_PARAMS_H

/* The numbers that define a LLaMA-family model, whatever file they came from. */

#include <stdbool.h>
#include <stdint.h>

struct q35_params {
    char arch[32]; /* "llama", "mistral", "qwen2", "qwen3" ... */
    char name[128];
    uint32_t n_layers; /* decoder layers */
    uint32_t d_model;
    uint32_t d_ffn;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t rope_dim;
    uint32_t rope_style; /* enum q35_rope_style */
    uint32_t vocab;
    uint32_t context; /* positions trained for */
    uint32_t window;  /* 0: full attention */
    float norm_eps;
    float attn_scale; /* 1 / sqrt(head_dim) unless the file says otherwise */
    float embed_scale;
    bool tied;         /* the head is the embedding */
    float *rope_freqs; /* [rope_dim / 2] inverse frequencies, scaling applied; free() */
};

#endif
