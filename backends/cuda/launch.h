/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_LAUNCH_H
#define Q35_CUDA_LAUNCH_H

/* The rules of args.h: grid, block and dynamic shared memory of every launch. The *_set functions
 * also fill the fields of the arguments that are marked so. Host side, any thread. */

#include <stdbool.h>

#include "args.h"

#ifdef __cplusplus
#define Q35_CU_HOST static inline
#else
#define Q35_CU_HOST __attribute__((unused)) static inline
#endif

/* "q35_cu_<name>" */
Q35_CU_HOST const char *q35_cu_name(uint32_t kernel)
{
    static const char *const names[] = {
#define Q35_CU_NAME(name, args) "q35_cu_" #name,
        Q35_CU_KERNELS(Q35_CU_NAME)
#undef Q35_CU_NAME
    };
    return names[kernel];
}

Q35_CU_HOST struct q35_cu_launch q35_cu_launch_of(uint32_t kernel, uint32_t x, uint32_t y,
                                                  uint32_t z, uint32_t block, uint32_t shared)
{
    struct q35_cu_launch l;
    l.kernel = kernel;
    l.grid[0] = x;
    l.grid[1] = y;
    l.grid[2] = z;
    l.block = block;
    l.shared = shared;
    return l;
}

Q35_CU_HOST uint32_t q35_cu_up(uint64_t n, uint32_t by)
{
    return (uint32_t)((n + by - 1) / by);
}

Q35_CU_HOST struct q35_cu_launch q35_cu_repack_set(const struct q35_cu_repack *a)
{
    return q35_cu_launch_of(Q35_CU_repack, q35_cu_up(a->tiles, 8), 1, 1, 256, 0);
}

Q35_CU_HOST struct q35_cu_launch q35_cu_hash_set(const struct q35_cu_hash *a)
{
    uint32_t grid = q35_cu_up(a->bytes, 8 * 256 * 8);
    return q35_cu_launch_of(Q35_CU_hash, !grid ? 1 : grid < 2048 ? grid : 2048, 1, 1, 256, 0);
}

/* Columns that one block of threads rotates: all of them if they are not many, else a multiple of
 * the rotation's block. */
Q35_CU_HOST uint32_t q35_cu_chunk(uint32_t cols_padded, uint32_t rot_block)
{
    if (cols_padded <= 8192u)
        return cols_padded;
    return rot_block > 4096u ? rot_block : 4096u;
}

/* Shared memory of a chunk: 8 words of padding after every 64. Beside it there are the signs. */
Q35_CU_HOST uint64_t q35_cu_chunk_bytes(uint32_t chunk)
{
    return ((uint64_t)chunk + chunk / 8u) * 4u;
}

Q35_CU_HOST uint32_t q35_cu_in_shared(uint32_t chunk, const struct q35_cu_limits *lim)
{
    return q35_cu_chunk_bytes(chunk) + 9216 <= lim->shared_per_block;
}

/* Floats of scratch for n tokens. */
Q35_CU_HOST uint64_t q35_cu_rotate_scratch(uint64_t n_tokens, uint32_t cols_padded)
{
    return n_tokens * ((uint64_t)cols_padded + cols_padded / 128);
}

/* Fills out[0] and perhaps out[1] (quantize); returns how many. */
Q35_CU_HOST uint32_t q35_cu_rotate_set(struct q35_cu_rotate *a, const struct q35_cu_limits *lim,
                                       struct q35_cu_launch out[2])
{
    uint32_t chunks, threads;
    a->chunk = q35_cu_chunk(a->cols_padded, a->rot_block);
    a->in_shared = q35_cu_in_shared(a->chunk, lim);
    chunks = q35_cu_up(a->cols_padded, a->chunk);
    threads = a->chunk >= 8192u   ? 1024u
              : a->chunk >= 4096u ? 512u
              : a->chunk >= 1024u ? 256u
                                  : 128u;
    out[0] = q35_cu_launch_of(Q35_CU_rotate, a->n_tokens, chunks, 1, threads,
                              a->in_shared ? (uint32_t)q35_cu_chunk_bytes(a->chunk) : 0);
    if (chunks == 1)
        return 1;
    out[1] =
        q35_cu_launch_of(Q35_CU_quantize, a->n_tokens, q35_cu_up(a->cols_padded, 4096), 1, 256, 0);
    return 2;
}

/* 32-bit words of `sums` for matrices of `blocks` row blocks (rows padded / 16) together. */
Q35_CU_HOST uint64_t q35_cu_matmul_sums(uint64_t blocks)
{
    return blocks * (16u * Q35_CU_FEW + 1u);
}

Q35_CU_HOST uint32_t q35_cu_table_room(const struct q35_cu_limits *lim)
{
    return lim->cc >= 80u ? 2u * Q35_CU_TABLE_BYTES : Q35_CU_TABLE_BYTES;
}

Q35_CU_HOST uint32_t q35_cu_few_shared(uint32_t row_blocks, uint32_t tokens,
                                       const struct q35_cu_limits *lim)
{
    return q35_cu_table_room(lim) + Q35_CU_FEW_BLOCKS * 4u + row_blocks * 16u * tokens * 4u;
}

Q35_CU_HOST struct q35_cu_launch q35_cu_few_set(struct q35_cu_matmul *a,
                                                const struct q35_cu_limits *lim)
{
    uint32_t i, ctas = 0, slots = lim->sm_count * 2u, most = a->n_tokens > 8u ? 16u : 8u;
    uint32_t rows = 1, shared;
    uint64_t total = 0, span;
    for (i = 0; i < a->n_mats; i++)
        total += (uint64_t)a->mats[i].tiles * a->mats[i].blocks;
    /* Each matrix rounds up to whole blocks of threads; one wave holds all of them. */
    span = (total + slots - 1) / slots;
    if (slots > a->n_mats)
        span = (total + slots - a->n_mats - 1) / (slots - a->n_mats);
    if (span < Q35_CU_FEW_WARPS)
        span = Q35_CU_FEW_WARPS;
    for (i = 0; i < a->n_mats; i++) {
        struct q35_cu_matrix *m = &a->mats[i];
        uint64_t top = (uint64_t)m->tiles * (Q35_CU_FEW_BLOCKS - 2u);
        uint32_t touched;
        m->span = (uint32_t)(span < top ? span : top);
        m->first_cta = ctas;
        ctas += q35_cu_up((uint64_t)m->tiles * m->blocks, m->span);
        touched = q35_cu_up(m->span - 1u, m->tiles) + 1u; /* row blocks, however they lie */
        rows = touched > rows ? touched : rows;
    }
    shared = q35_cu_few_shared(rows, most, lim);
    if (Q35_SCHEME_WEIGHTS(a->mats[0].scheme) == 3u)
        return q35_cu_launch_of(most == 8u ? Q35_CU_triple_few8 : Q35_CU_triple_few16, ctas, 1, 1,
                                most == 8u ? 384u : 256u, shared);
    return q35_cu_launch_of(most == 8u ? Q35_CU_matmul_few8 : Q35_CU_matmul_few16, ctas, 1, 1,
                            most == 8u ? 512u : 384u, shared);
}

/* Shared memory of matmul_many: tables, two stages of decoded rows, two of activations. */
Q35_CU_HOST uint32_t q35_cu_many_shared(uint32_t tokens, const struct q35_cu_limits *lim)
{
    return q35_cu_table_room(lim) + 2u * Q35_CU_MANY_ROWS * 128u + 2u * tokens * 128u;
}

Q35_CU_HOST struct q35_cu_launch q35_cu_many_set(struct q35_cu_matmul *a,
                                                 const struct q35_cu_limits *lim)
{
    uint32_t i, ctas = 0, tokens = 64, kernel = Q35_CU_matmul_many64;
    for (i = 0; i < a->n_mats; i++) {
        a->mats[i].first_cta = ctas;
        ctas += q35_cu_up(a->mats[i].blocks, Q35_CU_MANY_ROWS / 16u);
    }
    if (a->n_tokens > 64u && q35_cu_many_shared(128, lim) <= lim->shared_per_block) {
        tokens = 128;
        kernel = Q35_CU_matmul_many128;
    }
    /* The more tokens share what is decoded the better, while there is work for all processors. */
    if (a->n_tokens > 128u && q35_cu_many_shared(256, lim) <= lim->shared_per_block &&
        (uint64_t)ctas * q35_cu_up(a->n_tokens, 256) >= lim->sm_count) {
        tokens = 256;
        kernel = Q35_CU_matmul_many256;
    }
    return q35_cu_launch_of(kernel, ctas * q35_cu_up(a->n_tokens, tokens), 1, 1, 256,
                            q35_cu_many_shared(tokens, lim));
}

/* Chooses the kernel by the number of tokens. */
Q35_CU_HOST struct q35_cu_launch q35_cu_matmul_set(struct q35_cu_matmul *a,
                                                   const struct q35_cu_limits *lim)
{
    uint32_t i, sums = 0;
    for (i = 0; i < a->n_mats; i++) {
        struct q35_cu_matrix *m = &a->mats[i];
        m->tiles = q35_tiles_per_row(m->scheme, a->cols_padded);
        m->blocks = q35_pad_rows(m->rows) / Q35_TILE_ROWS;
        m->first_sum = sums;
        sums += m->blocks;
    }
    return a->n_tokens <= Q35_CU_FEW ? q35_cu_few_set(a, lim) : q35_cu_many_set(a, lim);
}

Q35_CU_HOST struct q35_cu_launch q35_cu_decode_set(struct q35_cu_decode *a,
                                                   const struct q35_cu_limits *lim)
{
    uint32_t most = lim->sm_count * 6u, grid;
    a->tiles = q35_tiles_per_row(a->scheme, a->cols_padded);
    grid = q35_cu_up((uint64_t)a->tiles * a->blocks, 8);
    return q35_cu_launch_of(Q35_CU_decode, grid < most ? grid : most, 1, 1, 256,
                            q35_cu_table_room(lim));
}

Q35_CU_HOST struct q35_cu_launch q35_cu_rescale_set(const struct q35_cu_rescale *a)
{
    return q35_cu_launch_of(Q35_CU_rescale, q35_cu_up(a->rows, 256), a->n_tokens, 1, 256, 0);
}

Q35_CU_HOST struct q35_cu_launch q35_cu_rope_table_set(const struct q35_cu_rope_table *a)
{
    return q35_cu_launch_of(
        Q35_CU_rope_table, q35_cu_up((uint64_t)a->n_tokens * (a->rope_dim / 2), 128), 1, 1, 128, 0);
}

/* A warp per token and head, of q, then of k (with v). */
Q35_CU_HOST struct q35_cu_launch q35_cu_rope_store_set(const struct q35_cu_rope_store *a)
{
    return q35_cu_launch_of(Q35_CU_rope_store, a->n_tokens,
                            q35_cu_up((uint64_t)a->n_heads + a->n_kv_heads, 4), 1, 128,
                            4 * a->head_dim * 4);
}

/* Floats of `parts`. */
Q35_CU_HOST uint64_t q35_cu_attn_parts(uint64_t n_tokens, uint32_t n_heads, uint32_t max_pages,
                                       uint32_t head_dim)
{
    return n_tokens * n_heads * max_pages * ((uint64_t)head_dim + 2u);
}

/* Blocks of threads for one piece and KV head. */
Q35_CU_HOST uint32_t q35_cu_attn_subs(const struct q35_cu_attn *a)
{
    return q35_cu_up((uint64_t)a->max_count * (a->n_heads / a->n_kv_heads), Q35_CU_ATTN_ROWS);
}

/* Whether to compute pages apart; the host still needs room for the parts. */
Q35_CU_HOST uint32_t q35_cu_attn_wants_parts(const struct q35_cu_attn *a,
                                             const struct q35_cu_limits *lim)
{
    uint64_t ctas = (uint64_t)a->n_pieces * a->n_kv_heads * q35_cu_attn_subs(a);
    return a->max_pages > 1u && ctas < 4u * (uint64_t)lim->sm_count;
}

/* head_dim, padded for the kernel that has it. */
Q35_CU_HOST uint32_t q35_cu_attn_width(uint32_t head_dim)
{
    return head_dim <= 64u ? 64u : head_dim <= 128u ? 128u : Q35_CU_MAX_HEAD_DIM;
}

/* q and probabilities of 16 rows, K and V of 64 positions. */
Q35_CU_HOST uint32_t q35_cu_attn_shared(uint32_t head_dim, uint32_t kv_type)
{
    uint32_t width = q35_cu_attn_width(head_dim);
    if (kv_type == Q35_KV_INT8)
        return Q35_CU_ATTN_ROWS * (64u * 4u + 4u + width) +
               64u * (4u + 4u + width + 16u + ((head_dim + 15u) & ~15u));
    return Q35_CU_ATTN_ROWS * (width + 64u) * 4u + 64u * (width + 4u) * 2u +
           64u * ((head_dim + 7u) & ~7u) * 2u;
}

/* Fills out[0] and, with parts, out[1] (attn_merge); returns how many. */
Q35_CU_HOST uint32_t q35_cu_attn_set(const struct q35_cu_attn *a, struct q35_cu_launch out[2])
{
    bool wide = a->head_dim > 128u;
    uint32_t kernel = wide ? Q35_CU_attn_wide : Q35_CU_attn;
    if (a->kv.type == Q35_KV_INT8)
        kernel = wide ? Q35_CU_attn8_wide : Q35_CU_attn8;
    out[0] = q35_cu_launch_of(kernel, a->n_pieces * q35_cu_attn_subs(a), a->n_kv_heads,
                              a->parts ? a->max_pages : 1u, 128,
                              q35_cu_attn_shared(a->head_dim, a->kv.type));
    if (!a->parts)
        return 1;
    out[1] = q35_cu_launch_of(Q35_CU_attn_merge, a->n_tokens, a->n_heads, 1, 128, 0);
    return 2;
}

Q35_CU_HOST uint64_t q35_cu_embed_scratch(uint64_t n_tokens, uint32_t cols_padded)
{
    return n_tokens * cols_padded;
}

Q35_CU_HOST struct q35_cu_launch q35_cu_embed_set(struct q35_cu_embed *a,
                                                  const struct q35_cu_limits *lim)
{
    a->chunk = q35_cu_chunk(a->cols_padded, a->rot_block);
    a->in_shared = q35_cu_in_shared(a->chunk, lim);
    return q35_cu_launch_of(Q35_CU_embed, a->n_tokens, q35_cu_up(a->cols_padded, a->chunk), 1, 256,
                            a->in_shared ? (uint32_t)q35_cu_chunk_bytes(a->chunk) : 0);
}

Q35_CU_HOST struct q35_cu_launch q35_cu_argmax_set(const struct q35_cu_argmax *a)
{
    return q35_cu_launch_of(Q35_CU_argmax, a->n, 1, 1, 512, 0);
}

/* The most dynamic shared memory that any launch of this kernel takes on this device. */
Q35_CU_HOST uint32_t q35_cu_max_shared(uint32_t kernel, const struct q35_cu_limits *lim)
{
    uint32_t need = 0;
    switch (kernel) {
    case Q35_CU_rotate:
    case Q35_CU_embed:
        return lim->shared_per_block - 9216u;
    case Q35_CU_matmul_few8:
    case Q35_CU_triple_few8:
        return q35_cu_few_shared(Q35_CU_FEW_BLOCKS, 8, lim);
    case Q35_CU_matmul_few16:
    case Q35_CU_triple_few16:
        return q35_cu_few_shared(Q35_CU_FEW_BLOCKS, 16, lim);
    case Q35_CU_matmul_many64:
        need = q35_cu_many_shared(64, lim);
        break;
    case Q35_CU_matmul_many128:
        need = q35_cu_many_shared(128, lim);
        break;
    case Q35_CU_matmul_many256:
        need = q35_cu_many_shared(256, lim);
        break;
    case Q35_CU_decode:
        return q35_cu_table_room(lim);
    case Q35_CU_rope_store:
        return 16u * Q35_CU_MAX_HEAD_DIM;
    case Q35_CU_attn:
        return q35_cu_attn_shared(128, Q35_KV_F16);
    case Q35_CU_attn8:
        return q35_cu_attn_shared(128, Q35_KV_INT8);
    case Q35_CU_attn8_wide:
        return q35_cu_attn_shared(Q35_CU_MAX_HEAD_DIM, Q35_KV_INT8);
    case Q35_CU_attn_wide: /* does not fit everywhere: q35_cu_attn_shared(head_dim) says so */
        need = q35_cu_attn_shared(Q35_CU_MAX_HEAD_DIM, Q35_KV_F16);
        break;
    default:
        break;
    }
    return need < lim->shared_per_block ? need : lim->shared_per_block;
}

#endif
