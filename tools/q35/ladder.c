/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/ladder.h"

#include <string.h>

void ladder_f32(const float *w, const float *x, uint32_t rows, uint32_t cols, float *y)
{
    uint32_t r, k;
    for (r = 0; r < rows; r++, w += cols) {
        float sum = 0.0f;
        for (k = 0; k < cols; k++)
            sum += w[k] * x[k];
        y[r] = sum;
    }
}

void ladder_i8(const int8_t *w, const int8_t *q, uint32_t rows, uint32_t cols, int32_t *acc)
{
    uint32_t r, k;
    for (r = 0; r < rows; r++, w += cols) {
        int32_t sum = 0;
        for (k = 0; k < cols; k++)
            sum += w[k] * q[k];
        acc[r] = sum;
    }
}

void ladder_i4(const uint8_t *w, const int8_t *q, uint32_t rows, uint32_t cols, int32_t *acc)
{
    uint32_t r, k;
    for (r = 0; r < rows; r++, w += cols / 2) {
        int32_t sum = 0;
        for (k = 0; k < cols / 2; k++)
            sum += ((w[k] & 15) - 8) * q[2 * k] + ((w[k] >> 4) - 8) * q[2 * k + 1];
        acc[r] = sum;
    }
}

void ladder_scalar(const struct q35_tables *t, const uint8_t *codes, const int8_t *q, uint32_t rows,
                   uint32_t cols, int32_t *acc)
{
    uint32_t tiles = cols / 128, b, i, r, k;
    int8_t w[128];
    for (b = 0; b < rows / 16; b++)
        for (r = 0; r < 16; r++) {
            int32_t sum = 0;
            for (i = 0; i < tiles; i++) {
                q35_decode_row(Q35_SCHEME_TRELLIS, t,
                               codes + ((uint64_t)b * tiles + i) * Q35_TILE_BYTES, r, w);
                for (k = 0; k < 128; k++)
                    sum += w[k] * q[128 * i + k];
            }
            acc[16 * b + r] = sum;
        }
}

/* Terms of a code for both weights: a of its own row, b of the row below, times 8. */
struct terms {
    int8_t a0[128], a1[128], b0[128], b1[128];
};

static void make_terms(struct terms *m, const struct q35_tables *t)
{
    int i;
    for (i = 0; i < 128; i++) {
        m->a0[i] = t->a0[i];
        m->a1[i] = t->a1[i];
        m->b0[i] = (int8_t)(Q35_B_STEP * (t->b[i] >> 4));
        m->b1[i] = (int8_t)(Q35_B_STEP * (t->b[i] & 15));
    }
}

/* The 8 codes of a group of 7 bytes; one byte more is read. */
static inline uint64_t group_of(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static void unpack_row(const uint8_t *row, uint8_t code[64])
{
    uint32_t g, i;
    for (g = 0; g < 8; g++) {
        uint64_t v = group_of(row + 7 * g);
        for (i = 0; i < 8; i++, v >>= 7)
            code[8 * g + i] = v & 127;
    }
}

void ladder_table(const struct q35_tables *t, const uint8_t *codes, const int8_t *q, uint32_t rows,
                  uint32_t cols, int32_t *acc)
{
    uint32_t tiles = cols / 128, b, i, r, k;
    uint8_t code[2][64];
    int8_t w[128];
    struct terms m;
    make_terms(&m, t);
    memset(acc, 0, rows * sizeof(*acc));
    for (b = 0; b < rows / 16; b++, acc += 16)
        for (i = 0; i < tiles; i++, codes += Q35_TILE_BYTES) {
            unpack_row(codes + 15 * Q35_ROW_BYTES, code[1]);
            for (r = 0; r < 16; r++) {
                const uint8_t *c = code[r & 1], *up = code[~r & 1];
                int32_t sum = 0;
                unpack_row(codes + r * Q35_ROW_BYTES, code[r & 1]);
                for (k = 0; k < 64; k++) {
                    w[k] = (int8_t)(m.a0[c[k]] + m.b0[up[k]]);
                    w[k + 64] = (int8_t)(m.a1[c[k]] + m.b1[up[k]]);
                }
                for (k = 0; k < 128; k++)
                    sum += w[k] * q[128 * i + k];
                acc[r] += sum;
            }
        }
}

#define CODE(i)                                                                                    \
    {                                                                                              \
        uint32_t c = (uint32_t)(v >> (7 * (i))) & 127u, p = (uint32_t)(u >> (7 * (i))) & 127u;     \
        s0 += (m->a0[c] + m->b0[p]) * q[i];                                                        \
        s1 += (m->a1[c] + m->b1[p]) * q[(i) + 64];                                                 \
    }

static int32_t fused_row(const struct terms *m, const uint8_t *row, const uint8_t *up,
                         const int8_t *q)
{
    int32_t s0 = 0, s1 = 0;
    uint32_t g;
    for (g = 0; g < 8; g++, row += 7, up += 7, q += 8) {
        uint64_t v = group_of(row), u = group_of(up);
        CODE(0) CODE(1) CODE(2) CODE(3) CODE(4) CODE(5) CODE(6) CODE(7)
    }
    return s0 + s1;
}

void ladder_fused(const struct q35_tables *t, const uint8_t *codes, const int8_t *q, uint32_t rows,
                  uint32_t cols, int32_t *acc)
{
    uint32_t tiles = cols / 128, b, i, r;
    struct terms m;
    make_terms(&m, t);
    memset(acc, 0, rows * sizeof(*acc));
    for (b = 0; b < rows / 16; b++, acc += 16)
        for (i = 0; i < tiles; i++, codes += Q35_TILE_BYTES)
            for (r = 0; r < 16; r++)
                acc[r] += fused_row(&m, codes + r * Q35_ROW_BYTES,
                                    codes + ((r + 15) & 15) * Q35_ROW_BYTES, q + 128 * i);
}
