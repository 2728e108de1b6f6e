/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_ARGS_H
#define Q35_CUDA_ARGS_H

/* What host and kernels agree on: the kernels by name, one struct of arguments each, passed by
 * value as the only parameter, and how each is launched. Plain C, also read by the device
 * compilers.
 *
 * All pointers are device addresses. Rows of activations are f32 and dense unless a stride is
 * given. A kernel's launch depends only on its arguments and the limits of the device, so a
 * captured graph can be replayed as long as those stay (tokens, positions and page tables are read
 * from memory).
 *
 * A tensor's codes are uploaded as they are and then put into the device's order in place, once, by
 * `repack`; every other kernel expects that order.
 *
 * A DECODER layer, with n tokens in x[n][d_model]:
 *     rotate (norm = ATTN_NORM), [quantize]  -> q, scales          once per distinct rotation
 *     matmul of Q, K, V with their biases    -> qf, kf, vf
 *     rope_store (q and k norms, rope)       -> qf, KV pages
 *     attn or attn8, [attn_merge]            -> att[n][q_dim]
 *     rotate, [quantize]; matmul of O with add = 1     x += O att + bias
 *     rotate (norm = FFN_NORM), [quantize]; matmul of GATE, UP
 *     rotate (up: silu(gate) * up), [quantize]; matmul of DOWN with add = 1
 * rope_table comes once per run and set of frequencies. EMBED is embed; HEAD is rotate (rows = the
 * tokens that want logits, norm = OUT_NORM), [quantize], matmul, and argmax for greedy tokens.
 * [quantize] is left out when rotate has done it: q35_cu_rotate_set says so. For many tokens a
 * matmul may be replaced by decode, a library's product of int8 matrices, rescale. */

#include "q35/backend.h"

#define Q35_CU_FEW 16u            /* most tokens of matmul_few16 */
#define Q35_CU_FEW_WARPS 16u      /* at most, of one block of threads of *_few* */
#define Q35_CU_FEW_BLOCKS 32u     /* most row blocks in the span of one block of threads */
#define Q35_CU_MANY_ROWS 128u     /* rows of one block of threads of matmul_many */
#define Q35_CU_TABLE_BYTES 16384u /* aligned to as much; of compute capability 8.0 and later */
                                  /* dynamic shared memory does not begin at address 0 */

/* name, struct of arguments */
#define Q35_CU_KERNELS(X)                                                                          \
    X(repack, q35_cu_repack)                                                                       \
    X(hash, q35_cu_hash)                                                                           \
    X(rotate, q35_cu_rotate)                                                                       \
    X(quantize, q35_cu_rotate)                                                                     \
    X(matmul_few8, q35_cu_matmul)                                                                  \
    X(matmul_few16, q35_cu_matmul)                                                                 \
    X(triple_few8, q35_cu_matmul)                                                                  \
    X(triple_few16, q35_cu_matmul)                                                                 \
    X(matmul_many64, q35_cu_matmul)                                                                \
    X(matmul_many128, q35_cu_matmul)                                                               \
    X(matmul_many256, q35_cu_matmul)                                                               \
    X(decode, q35_cu_decode)                                                                       \
    X(rescale, q35_cu_rescale)                                                                     \
    X(rope_table, q35_cu_rope_table)                                                               \
    X(rope_store, q35_cu_rope_store)                                                               \
    X(attn, q35_cu_attn)                                                                           \
    X(attn_wide, q35_cu_attn)                                                                      \
    X(attn8, q35_cu_attn)                                                                          \
    X(attn8_wide, q35_cu_attn)                                                                     \
    X(attn_merge, q35_cu_attn)                                                                     \
    X(embed, q35_cu_embed)                                                                         \
    X(argmax, q35_cu_argmax)

/* Q35_CU_<name> numbers a kernel, q35_cu_names[] has its symbol "q35_cu_<name>". */
enum q35_cu_kernel {
#define Q35_CU_ENUM(name, args) Q35_CU_##name,
    Q35_CU_KERNELS(Q35_CU_ENUM)
#undef Q35_CU_ENUM
        Q35_CU_KERNEL_COUNT
};

/* What the rules need to know of a device. */
struct q35_cu_limits {
    uint32_t sm_count;
    uint32_t cc;               /* compute capability, 10 * major + minor */
    uint32_t shared_per_block; /* bytes, after opting in */
};

/* One launch. Set CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES of every kernel to what
 * q35_cu_max_shared gives before its first launch. */
struct q35_cu_launch {
    uint32_t kernel; /* enum q35_cu_kernel */
    uint32_t grid[3];
    uint32_t block;  /* threads, along x */
    uint32_t shared; /* dynamic, in bytes */
};

/* ---- arguments ----------------------------------------------------------------------------- */

/* Puts tiles into the device's order, in place. codes: 128-byte aligned. */
struct q35_cu_repack {
    uint8_t *codes;
    uint64_t tiles;
    uint32_t undo; /* 1: back to the order of format.h */
    uint32_t reserved;
};

/* *sum += q35_hash_chunk(data, bytes, first_byte); data 8-byte aligned, first_byte % 8 == 0. */
struct q35_cu_hash {
    const uint8_t *data;
    uint64_t bytes;
    uint64_t first_byte;
    uint64_t *sum;
};

/* Input of a matrix product: row t of x (rows[t] if rows is set), normalised if norm is set, or
 * silu(x) * up if up is set; padded with zeros, rotated if rot_block, quantized. q comes in the
 * order of the product: within 128 columns (x0, x64, x1, x65 ...) if pair, else as it is. */
struct q35_cu_rotate {
    const float *x;       /* [..][x_stride] */
    const float *up;      /* [..][x_stride] or NULL */
    const float *norm;    /* [cols] or NULL */
    const uint32_t *rows; /* [n_tokens] or NULL */
    int8_t *q;            /* [n_tokens][cols_padded], 16-byte aligned */
    float *scales;        /* [n_tokens] */
    float *scratch;       /* q35_cu_rotate_scratch() floats */
    uint64_t x_stride;    /* floats */
    uint64_t rot_seed;
    uint32_t n_tokens;
    uint32_t cols;
    uint32_t cols_padded;
    uint32_t rot_block; /* 0: no rotation */
    uint32_t pair;      /* Q35_SCHEME_WEIGHTS(scheme) == 2 of the matrices that follow */
    float eps;
    uint32_t chunk;     /* columns of one block; by q35_cu_rotate_set */
    uint32_t in_shared; /* by q35_cu_rotate_set */
};

struct q35_cu_matrix {
    const uint8_t *codes; /* repacked tiles */
    const struct q35_tables *tables;
    const float *scales; /* [rows_padded] */
    const float *bias;   /* [rows] or NULL */
    float *y;            /* [n_tokens][y_stride] */
    uint64_t y_stride;   /* floats */
    uint32_t scheme;
    uint32_t rows;
    uint32_t add;       /* 1: y += W x + bias instead of y = */
    uint32_t tiles;     /* along K; this and below by q35_cu_matmul_set */
    uint32_t blocks;    /* row blocks */
    uint32_t first_cta; /* of this matrix in the grid */
    uint32_t first_sum; /* its first row block in sums and arrived */
    uint32_t span;      /* tiles of one block of threads (few) */
};

/* Up to 4 matrices with the same input: same padded columns, rotation and weights per code. */
struct q35_cu_matmul {
    const int8_t *q;           /* [n_tokens][cols_padded], 16-byte aligned */
    const float *token_scales; /* [n_tokens] */
    int32_t *sums;             /* q35_cu_matmul_sums() words, zero before the first use; the */
                               /* kernels leave them zero. One launch at a time may use them. */
    uint32_t n_tokens;
    uint32_t n_mats;
    uint32_t cols_padded;
    uint32_t reserved;
    struct q35_cu_matrix mats[4];
};

/* Weights as bytes, for a matrix product by a library: rows of cols_padded, in the order in which
 * q35_cu_rotate has the input. */
struct q35_cu_decode {
    const uint8_t *codes; /* repacked tiles of the first row block */
    const struct q35_tables *tables;
    int8_t *out; /* [16 * blocks][cols_padded], 16-byte aligned */
    uint32_t scheme;
    uint32_t blocks; /* row blocks */
    uint32_t cols_padded;
    uint32_t tiles; /* along K; by q35_cu_decode_set */
};

/* The library's sums -> results, as in a product by matmul_*. */
struct q35_cu_rescale {
    const int32_t *sums;       /* [n_tokens][stride] */
    const float *token_scales; /* [n_tokens] */
    const float *scales;       /* [rows] */
    const float *bias;         /* [rows] or NULL */
    float *y;                  /* [n_tokens][y_stride] */
    uint64_t y_stride;         /* floats */
    uint32_t n_tokens;         /* up to 65,535 */
    uint32_t rows;
    uint32_t stride;
    uint32_t add;
};

/* cos_sin[t][rope_dim]: cosines, then sines, of tokens[t].position. */
struct q35_cu_rope_table {
    const struct q35_token *tokens;
    const float *freq; /* [rope_dim / 2] */
    float *cos_sin;    /* [n_tokens][rope_dim] */
    uint32_t n_tokens;
    uint32_t rope_dim;
};

/* Where the keys and values of one layer lie. Block b (positions 64b ..) of sequence s is page
 * table[s * table_stride + b]; page p is pool + p * page_bytes + layer_offset, laid out as in
 * q35_attn_args. The offsets are multiples of 128. */
struct q35_cu_kv {
    uint8_t *pool;
    const uint32_t *table;
    uint64_t page_bytes;
    uint64_t layer_offset; /* bytes */
    uint32_t table_stride;
    uint32_t type; /* enum q35_kv_type */
};

/* In place on q: norm and rope. On k: norm, rope, store; v: store. */
struct q35_cu_rope_store {
    float *q;                       /* [n_tokens][n_heads * head_dim] */
    const float *k;                 /* [n_tokens][n_kv_heads * head_dim] */
    const float *v;                 /* like k */
    const float *q_norm;            /* [head_dim] or NULL */
    const float *k_norm;            /* [head_dim] or NULL */
    const float *cos_sin;           /* [n_tokens][rope_dim] */
    const struct q35_token *tokens; /* [n_tokens] */
    struct q35_cu_kv kv;
    uint32_t n_tokens;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t rope_dim; /* 0: none */
    uint32_t rope_style;
    float eps;
    uint32_t reserved;
};

/* Tokens first .. first + count - 1 of the batch: one sequence, adjacent ascending positions,
 * 1 <= count <= Q35_CU_ATTN_TOKENS. Every token lies in exactly one piece. */
struct q35_cu_piece {
    uint32_t first;
    uint32_t count;
};
#define Q35_CU_ATTN_TOKENS 16u /* most tokens of a piece */
#define Q35_CU_ATTN_ROWS 16u   /* query rows (token, head) of one block of threads */
#define Q35_CU_MAX_HEAD_DIM 256u

/* With parts, blocks of 64 positions are computed apart and attn_merge joins them in order; this
 * fills the device when there are few tokens. Without, each block of threads goes through all
 * positions of its rows. Same bits. */
struct q35_cu_attn {
    const float *q; /* [n_tokens][n_heads * head_dim], rope applied */
    float *out;     /* like q */
    const struct q35_token *tokens;
    const struct q35_cu_piece *pieces;
    float *parts; /* q35_cu_attn_parts() floats, or NULL */
    struct q35_cu_kv kv;
    uint32_t n_pieces;
    uint32_t n_tokens;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;  /* up to Q35_CU_MAX_HEAD_DIM */
    uint32_t window;    /* 0: all */
    uint32_t max_pages; /* no token has more pages: max position / 64 + 1, or anything above */
    uint32_t max_count; /* no piece has more tokens */
    float scale;
    uint32_t reserved;
};

/* out[t][cols] = decoded row tokens[t].id times its scale, unrotated, times embed_scale. Ids must
 * have been checked. */
struct q35_cu_embed {
    const uint8_t *codes; /* repacked */
    const struct q35_tables *tables;
    const float *scales;
    const struct q35_token *tokens;
    float *out;     /* [n_tokens][cols] */
    float *scratch; /* q35_cu_embed_scratch() floats */
    uint64_t rot_seed;
    uint32_t n_tokens;
    uint32_t scheme;
    uint32_t cols;
    uint32_t cols_padded;
    uint32_t rot_block;
    float embed_scale;
    uint32_t chunk;     /* by q35_cu_embed_set */
    uint32_t in_shared; /* by q35_cu_embed_set */
};

/* ids[i] = index of the largest of logits[i][vocab], the first of equals; NaN counts as below all.
 */
struct q35_cu_argmax {
    const float *logits;
    uint32_t *ids;
    uint32_t n;
    uint32_t vocab;
};

#ifndef Q35_CU_DEVICE /* the rules are the host's */
#include "launch.h"
#endif

#endif
