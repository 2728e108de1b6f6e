/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_FLOAT_ATTENTION_H
#define Q35_CORE_FLOAT_ATTENTION_H

/* Attention over float keys and values. */

#include "core/graph/float_matmul.h"
#include "core/model/params.h"

/* n tokens at positions start .. start + n - 1, whose keys and values are there, before rope. */
struct q35_float_attention {
    const struct q35_params *p;
    uint32_t max_context, n, start;
    float *q;            /* [n][n_heads * head_dim] */
    float *keys;         /* [max_context][n_kv_heads * head_dim] */
    const float *values; /* like keys */
    float *cos_sin;      /* scratch: [n][rope_dim] */
    float *scores;       /* scratch: [threads of the pool][max_context] */
    float *out;          /* like q */
};

/* Rotates q and the tokens' own keys in place; out = attention. The sums have a fixed shape, so
 * results do not depend on threads, on how tokens are cut into calls, or on the CPU. */
void q35_float_attend(struct q35_float_pool *pool, const struct q35_float_attention *a);

#endif
