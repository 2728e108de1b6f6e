/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/quant/encode.h"
#include "q35/arith.h"

/* Row `row` of a blob, still rotated. line[cols_padded]. */
static void decode_row(uint32_t scheme, uint32_t rows, uint32_t cols, const uint8_t *blob,
                       uint32_t row, float *line)
{
    const struct q35_tables *t = (const struct q35_tables *)blob;
    uint32_t tiles = q35_tiles_per_row(scheme, cols), width = q35_tile_cols(scheme), i, c;
    uint32_t padded = q35_pad_cols(cols);
    const uint8_t *tile =
        blob + q35_codes_offset(rows) + (uint64_t)(row / Q35_TILE_ROWS) * tiles * Q35_TILE_BYTES;
    int8_t w[Q35_MAX_TILE_COLS];
    float scale;
    memcpy(&scale, blob + Q35_BLOB_TABLES + 4 * (uint64_t)row, 4);
    for (i = 0; i < tiles; i++, tile += Q35_TILE_BYTES) {
        q35_decode_row(scheme, t, tile, row % Q35_TILE_ROWS, w);
        for (c = 0; c < q35_tile_used(scheme, padded, i); c++)
            line[(size_t)i * width + c] = w[c] * scale;
    }
}

enum q35_status q35_decode_rows(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t rot_block,
                                uint64_t rot_seed, const uint8_t *blob, uint32_t first,
                                uint32_t count, float *out, struct q35_error *err)
{
    uint32_t padded = q35_pad_cols(cols), r;
    float *line = malloc(sizeof(float) * padded);
    if (!line)
        return q35_fail(err, Q35_E_NOMEM, "no memory to decode %u columns", cols);
    for (r = 0; r < count; r++) {
        decode_row(scheme, rows, cols, blob, first + r, line);
        if (rot_block)
            q35_unrotate(line, padded, rot_block, rot_seed);
        memcpy(out + (size_t)r * cols, line, sizeof(float) * cols);
    }
    free(line);
    return Q35_OK;
}

enum q35_status q35_decode_matrix(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t rot_block,
                                  uint64_t rot_seed, const uint8_t *blob, float *out,
                                  struct q35_error *err)
{
    return q35_decode_rows(scheme, rows, cols, rot_block, rot_seed, blob, 0, rows, out, err);
}
