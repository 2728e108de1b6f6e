/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_TILING_H
#define Q35_GROQ_MLIR_TILING_H

/* How a packed product is cut so that what one tile touches fits GROQ_TILE_BYTES.
 *
 * A tile is `rows` rows (a multiple of 16) of `k_tiles` packed tiles for up to GROQ_TILE_TOKENS
 * tokens. Together it touches
 *
 *     tables           512
 *     unpacked codes   16 * 64                one packed tile at a time
 *     weights          16 * tile_cols         the same, decoded
 *     token scales     4 * tokens
 *     activations      tokens * k_tiles * tile_cols
 *     per 16 rows      896 * k_tiles          packed codes
 *                      2 * 4 * 16             row scales and biases
 *                      2 * 4 * 16 * tokens    int32 sums; results
 *
 * k_tiles is as large as GROQ_ACT_BYTES of activations allow, rows as large as the rest allows.
 * With the numbers below 16 rows always fit. */

#include <stdint.h>

#include "q35/format.h"

#define GROQ_TILE_BYTES (220u * 1024u) /* what one tile may touch */
#define GROQ_ACT_BYTES (64u * 1024u)   /* of them activations */
#define GROQ_TILE_TOKENS 16u

struct groq_tile {
    uint32_t rows;    /* multiple of 16, at most the padded rows */
    uint32_t k_tiles; /* packed tiles along K, at most those of a row */
};

/* Bytes that do not depend on the number of rows. */
/*@ requires tile_cols <= 192 && k_tiles <= 65536;
    assigns \nothing;
    ensures \result == 1600 + 16 * tile_cols + 16 * k_tiles * tile_cols; */
static inline uint64_t groq_tile_fixed_bytes(uint32_t tile_cols, uint32_t k_tiles)
{
    return Q35_BLOB_TABLES + 16u * 64u + 16u * (uint64_t)tile_cols + 4u * GROQ_TILE_TOKENS +
           (uint64_t)GROQ_TILE_TOKENS * k_tiles * tile_cols;
}

/* Bytes of 16 rows. */
/*@ requires k_tiles <= 65536;
    assigns \nothing;
    ensures \result == 896 * k_tiles + 2176; */
static inline uint64_t groq_tile_block_bytes(uint32_t k_tiles)
{
    return (uint64_t)Q35_TILE_BYTES * k_tiles + 128u + 128u * (uint64_t)GROQ_TILE_TOKENS;
}

/*@ requires tile_cols <= 192 && t.k_tiles <= 65536;
    assigns \nothing;
    ensures \result == 1600 + 16 * tile_cols + 16 * t.k_tiles * tile_cols +
      t.rows / 16 * (896 * t.k_tiles + 2176); */
static inline uint64_t groq_tile_bytes(uint32_t tile_cols, struct groq_tile t)
{
    return groq_tile_fixed_bytes(tile_cols, t.k_tiles) +
           t.rows / 16u * groq_tile_block_bytes(t.k_tiles);
}

/* rows_padded: multiple of 16, not 0. tiles: packed tiles in a row, not 0. tile_cols: 64, 128 or
 * 192. */
/*@ requires rows_padded >= 16 && tiles >= 1 && (tile_cols == 64 || tile_cols == 128 || tile_cols ==
   192); assigns \nothing; ensures 1 <= \result.k_tiles <= tiles && 16 <= \result.rows <=
   rows_padded; ensures 1600 + 16 * tile_cols + 16 * \result.k_tiles * tile_cols + \result.rows / 16
   * (896 * \result.k_tiles + 2176) <= GROQ_TILE_BYTES; */
static inline struct groq_tile groq_tile_choose(uint32_t rows_padded, uint32_t tiles,
                                                uint32_t tile_cols)
{
    uint32_t most = GROQ_ACT_BYTES / (GROQ_TILE_TOKENS * tile_cols);
    struct groq_tile t;
    uint64_t blocks;
    t.k_tiles = tiles < most ? tiles : most;
    blocks = (GROQ_TILE_BYTES - groq_tile_fixed_bytes(tile_cols, t.k_tiles)) /
             groq_tile_block_bytes(t.k_tiles);
    if (blocks > rows_padded / 16u)
        blocks = rows_padded / 16u;
    t.rows = 16u * (uint32_t)blocks;
    return t;
}

/* Attention touches one block of 64 positions of K, then of V, in binary16, with a query, the
 * running and the block's result, and the scores. */
static inline uint64_t groq_attn_bytes(uint32_t head_dim)
{
    return 64u * 2u * (uint64_t)head_dim + 3u * 4u * (uint64_t)head_dim + 64u * 4u;
}

#endif
