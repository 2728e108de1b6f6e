/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_LADDER_H
#define Q35_TOOLS_LADDER_H

/* One matrix-vector product in plain C, one rung after the other: wider formats first, then the
 * 3.5-bit format decoded ever more cleverly. All 3.5-bit rungs give the same sums. */

#include <stdint.h>

#include "q35/format.h"

/* y[rows] = W x in formats that need 32, 8 and 4 bits. W row-major; int4: two columns in a byte,
 * the even one in the low nibble, values -8 .. 7 stored with 8 added. */
void ladder_f32(const float *w, const float *x, uint32_t rows, uint32_t cols, float *y);
void ladder_i8(const int8_t *w, const int8_t *q, uint32_t rows, uint32_t cols, int32_t *acc);
void ladder_i4(const uint8_t *w, const int8_t *q, uint32_t rows, uint32_t cols, int32_t *acc);

/* A packed trellis matrix; rows a multiple of 16, cols of 128. */
typedef void (*ladder_fn)(const struct q35_tables *t, const uint8_t *codes, const int8_t *q,
                          uint32_t rows, uint32_t cols, int32_t *acc);
/* Every code is fetched bit by bit position and every term looked up, as format.h says it. */
void ladder_scalar(const struct q35_tables *t, const uint8_t *codes, const int8_t *q, uint32_t rows,
                   uint32_t cols, int32_t *acc);
/* Tables of finished terms, 8 codes from one 64-bit word, decoded rows in a buffer. */
void ladder_table(const struct q35_tables *t, const uint8_t *codes, const int8_t *q, uint32_t rows,
                  uint32_t cols, int32_t *acc);
/* The same without the buffer: decoded, multiplied and added in one unrolled step. */
void ladder_fused(const struct q35_tables *t, const uint8_t *codes, const int8_t *q, uint32_t rows,
                  uint32_t cols, int32_t *acc);

#endif
