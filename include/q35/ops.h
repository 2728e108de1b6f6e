/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_OPS_H
#define Q35_OPS_H

/* The operations of a layer, for plugins that inherit the host's software device (backend.h,
 * INHERITING). It keeps weights and KV caches in host memory, walks through the layers, and calls
 * struct q35_ops for the arithmetic. A plugin overrides what it does better, `matmul` first of all.
 *
 * All memory here is the host's and valid during the call unless its field says otherwise. Arrays
 * are row-major without gaps where no stride is given; counts are above 0; floats are aligned to 4
 * bytes, q and codes to 64. */

#include "format.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A packed matrix. What it points to is UNTIL_FREE of its weights: until matrix_release. */
struct q35_matrix {
    uint32_t size;
    uint32_t scheme; /* enum q35_scheme; its bits say how to decode, see format.h */
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_padded; /* q35_pad_rows(rows) */
    uint32_t cols_padded; /* q35_pad_cols(cols) */
    uint32_t rot_block;   /* 0: not rotated. Of use to embed alone: matmul gets x rotated */
    uint32_t reserved;
    uint64_t rot_seed;
    const struct q35_tables *tables;
    const float *scales;  /* [rows_padded]; of padding rows they mean nothing */
    const uint8_t *codes; /* [rows_padded / 16][q35_tiles_per_row] tiles, then 64 readable bytes */
    const float *bias;    /* [rows] or NULL */
    void *user;           /* what matrix_prepare stored, else NULL */
};

/* Steps 2 and 3 of arith.h for up to 4 matrices that share their input: y_i = W_i x + bias_i. */
struct q35_matmul_args {
    uint32_t size;
    uint32_t n_tokens;
    uint32_t n_mats;
    uint32_t cols_padded;      /* of every mats[i] */
    const int8_t *q;           /* [n_tokens][cols_padded]: x, rotated and quantized; padding zero */
    const float *token_scales; /* [n_tokens] */
    const struct q35_matrix *mats[4];
    float *y[4];          /* [n_tokens][y_stride[i]]; only mats[i]->rows of a row are written */
    uint64_t y_stride[4]; /* in floats */
};

/* How a KV cache holds the heads of keys and values, after rope.
 * F16:  q35_f32_to_f16 of each value.
 * INT8: each head (head_dim values of one position) through q35_quantize: int8 values and one
 *       binary32 scale. Queries are quantized in the same way when they meet the keys. arith.h has
 *       both forms of attention. Needs Q35_FEATURE_KV_INT8. (ABI 1.1) */
enum q35_kv_type { Q35_KV_F16 = 0, Q35_KV_INT8 = 1 };

struct q35_attn_args {
    uint32_t size;
    uint32_t n_tokens;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t window;           /* as in q35_layer */
    float scale;               /* attn_scale of q35_layer */
    uint32_t kv_type;          /* enum q35_kv_type: what the pages hold */
    const float *q;            /* [n_tokens][n_heads * head_dim], rope applied */
    float *out;                /* like q */
    const uint32_t *positions; /* [n_tokens]; a token attends to positions up to its own */
    /* pages[t][b]: address of the page of positions 64b .. 64b+63 of token t's sequence, for every
     * b up to positions[t] / 64; K and V of this batch's tokens are in. A page of type F16 is K
     * then V, each binary16 [n_kv_heads][64][head_dim]. A page of type INT8 is K then V, each int8
     * [n_kv_heads][64][head_dim], then the scales of K and then those of V, each binary32
     * [n_kv_heads][64]; only its address is cast to uint16_t. */
    const uint16_t *const *const *pages;
};

/* Called inside the host's [device] calls, so for one device one at a time, but on changing
 * threads. `user` is what the plugin's `open` gave as device, NULL without an `open`. A NULL slot
 * is served by the host. All obey arith.h when the device's class is EXACT. Errors:
 * matrix_prepare's is the result of weights_commit, any other that of the run. After one with
 * radius DEVICE_LOST the host's `reset` releases every matrix; weights are then prepared anew. */
struct q35_ops {
    uint32_t size;
    uint32_t reserved;
    /* A matrix was committed: convert or upload it if you like and set m->user. */
    enum q35_status (*matrix_prepare)(void *user, struct q35_matrix *m, struct q35_error *err);
    /* Once for every matrix that matrix_prepare took; always before `close`. */
    void (*matrix_release)(void *user, struct q35_matrix *m);
    enum q35_status (*matmul)(void *user, const struct q35_matmul_args *a, struct q35_error *err);
    /* q35_rms_norm of each row: x[n_tokens][d] -> y[n_tokens][d], weight w[d]; y may be x. For
     * norms of heads n_tokens counts the heads of all tokens. */
    enum q35_status (*rms_norm)(void *user, uint32_t n_tokens, uint32_t d, const float *x,
                                const float *w, float eps, float *y, struct q35_error *err);
    /* x[n_tokens][x_stride], of each row `cols` -> q[n_tokens][cols_padded], scales[n_tokens]: pad
     * with zeros, q35_rotate if rot_block > 0, q35_quantize. x_stride is in floats. */
    enum q35_status (*quantize)(void *user, uint32_t n_tokens, uint32_t cols, uint32_t cols_padded,
                                uint32_t rot_block, uint64_t rot_seed, const float *x,
                                uint64_t x_stride, int8_t *q, float *scales, struct q35_error *err);
    /* q35_rope_pair on each pair of the first rope_dim values of each head, in place on
     * x[n_tokens][n_heads * head_dim]. cos_sin[n_tokens][rope_dim]: rope_dim / 2 cosines, then as
     * many sines. rope_style: enum q35_rope_style. */
    enum q35_status (*rope)(void *user, uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim,
                            uint32_t rope_dim, uint32_t rope_style, const float *cos_sin, float *x,
                            struct q35_error *err);
    enum q35_status (*attention)(void *user, const struct q35_attn_args *a, struct q35_error *err);
    /* out[i] = q35_silu(gate[i]) * up[i]; out may be gate. n = n_tokens * d_ffn */
    enum q35_status (*swiglu)(void *user, uint64_t n, const float *gate, const float *up,
                              float *out, struct q35_error *err);
    /* x[i] = x[i] + y[i]; n = n_tokens * d_model */
    enum q35_status (*add)(void *user, uint64_t n, float *x, const float *y, struct q35_error *err);
    /* Row `row` of m decoded, times its scale, q35_unrotate if rotated: out[cols]. The host applies
     * embed_scale. */
    enum q35_status (*embed)(void *user, const struct q35_matrix *m, uint32_t row, float *out,
                             struct q35_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
