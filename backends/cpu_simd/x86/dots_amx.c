/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Many tokens with AMX int8. A decoded tile's rows are two A-tiles (16 rows x 64 columns) as they
 * are; activations are packed once per product as B-tiles (16 groups of 4 columns x 16 tokens). Two
 * row blocks times two groups of tokens use four C-tiles. Weights carry +128 as in
 * dots_avx512vbmi.c. */

#include "amx_tile.h"
#include "vbmi.h"

#if defined(Q35_AMX_EMULATED)
#define INSTALL q35_cpu_install_amx_emulated
void q35_cpu_install_amx_emulated(struct kernels *k);
#else
#define INSTALL q35_cpu_install_amx
#endif

#define CHUNK 4096u /* columns decoded at once */
#define TILE 1024u  /* bytes */

/* packed[token / 16][column / 64] tiles. */
static uint64_t pack_bytes_amx(uint32_t n_tokens, uint32_t cols_padded)
{
    return (uint64_t)((n_tokens + 15) / 16) * 16 * cols_padded;
}

static void pack_q_amx(const int8_t *q, uint32_t n_tokens, uint32_t cols_padded, uint32_t first,
                       uint32_t count, void *packed)
{
    uint32_t t, k, i;
    for (t = first; t < first + count && t < n_tokens; t += 16)
        for (k = 0; k < cols_padded; k += 64) {
            __m512i rows[16], tile[16];
            uint8_t *to = (uint8_t *)packed + (uint64_t)t * cols_padded + (uint64_t)k / 64 * TILE;
            for (i = 0; i < 16; i++)
                rows[i] = t + i < n_tokens
                              ? _mm512_loadu_si512(q + (uint64_t)(t + i) * cols_padded + k)
                              : _mm512_setzero_si512();
            transpose16(rows, tile);
            for (i = 0; i < 16; i++)
                _mm512_store_si512(to + 64 * i, tile[i]);
        }
}

/* n tiles of a row block as A-tiles: w[n * weights][16][64]. */
INLINE void decode_a(const struct tables *t, const uint8_t *tile, uint32_t n, uint8_t *w,
                     const int weights, const int has_b, const int ring)
{
    __m512i of_row[3];
    uint32_t i, r, c;
    for (i = 0; i < n; i++, tile += Q35_TILE_BYTES, w += (uint32_t)weights * TILE) {
        struct above up = {t->high, t->high};
        decode_seam(t, tile, &up, has_b, ring);
        UNROLL
        for (r = 0; r < 16; r++) { /* what is decoded next follows the n tiles */
            _mm_prefetch((const char *)tile + (uint64_t)n * Q35_TILE_BYTES + Q35_ROW_BYTES * r,
                         _MM_HINT_T1);
            decode(t, tile + Q35_ROW_BYTES * r, &up, weights, has_b, ring, of_row);
            for (c = 0; c < (uint32_t)weights; c++)
                _mm512_store_si512(w + c * TILE + 64 * r, of_row[c]);
        }
    }
}

/* C-tile c, [row][token], is added to acc[token][stride]. */
#define ADD_TILE(c, to, tokens, stride)                                                            \
    do {                                                                                           \
        __m512i in_[16], out_[16];                                                                 \
        uint32_t i_;                                                                               \
        tile_store(c, in_, 64);                                                                    \
        transpose16(in_, out_);                                                                    \
        for (i_ = 0; i_ < (tokens); i_++) {                                                        \
            int32_t *y_ = (to) + i_ * (stride);                                                    \
            _mm512_storeu_si512(y_, _mm512_add_epi32(_mm512_loadu_si512(y_), out_[i_]));           \
        }                                                                                          \
    } while (0)

/* Two row blocks w0, w1 times 32 tokens over `steps` tiles; acc of the first block and token. */
static void product22(const uint8_t *w0, const uint8_t *w1, const uint8_t *q0, const uint8_t *q1,
                      uint32_t steps, uint32_t tokens, int32_t *acc, uint64_t stride)
{
    uint32_t k, second = tokens - 16;
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
    for (k = 0; k < steps; k++, w0 += TILE, w1 += TILE, q0 += TILE, q1 += TILE) {
        tile_load(4, w0, 64);
        tile_load(6, q0, 64);
        tile_dot(0, 4, 6);
        tile_load(5, w1, 64);
        tile_dot(1, 5, 6);
        tile_load(7, q1, 64);
        tile_dot(2, 4, 7);
        tile_dot(3, 5, 7);
    }
    ADD_TILE(0, acc, 16u, stride);
    ADD_TILE(1, acc + 16, 16u, stride);
    ADD_TILE(2, acc + 16 * stride, second, stride);
    ADD_TILE(3, acc + 16 * stride + 16, second, stride);
}

static void product11(const uint8_t *w, const uint8_t *q, uint32_t steps, uint32_t tokens,
                      int32_t *acc, uint64_t stride)
{
    uint32_t k;
    tile_zero(0);
    for (k = 0; k < steps; k++, w += TILE, q += TILE) {
        tile_load(4, w, 64);
        tile_load(6, q, 64);
        tile_dot(0, 4, 6);
    }
    ADD_TILE(0, acc, tokens, stride);
}

/* One or two decoded row blocks times all tokens. q: the packed tile of token 0 and the chunk's
 * first column; q_stride: bytes from one group of 16 tokens to the next. */
static void product(const uint8_t *w0, const uint8_t *w1, const uint8_t *q, uint64_t q_stride,
                    uint32_t steps, uint32_t n_tokens, int32_t *acc, uint64_t stride)
{
    uint32_t t = 0, n;
    for (; w1 && t + 16 < n_tokens; t += 32, q += 2 * q_stride) {
        n = n_tokens - t < 32 ? n_tokens - t : 32;
        product22(w0, w1, q, q + q_stride, steps, n, acc + t * stride, stride);
    }
    for (; t < n_tokens; t += 16, q += q_stride) {
        n = n_tokens - t < 16 ? n_tokens - t : 16;
        product11(w0, q, steps, n, acc + t * stride, stride);
        if (w1)
            product11(w1, q, steps, n, acc + t * stride + 16, stride);
    }
}

INLINE void many_tokens(const struct dots_args *a, const int weights, const int has_b,
                        const int ring)
{
    uint64_t block = (uint64_t)a->tiles * Q35_TILE_BYTES, stride = (uint64_t)a->blocks * 16;
    uint32_t per_tile = (uint32_t)weights, per_chunk = CHUNK / 64 / per_tile, k, s, i, r;
    uint8_t *w = a->scratch; /* [2][16 * CHUNK] */
    struct tables t;
    load_tables(&t, a->tables);
    for (i = 0; i < a->n_tokens; i++)
        for (r = 0; r < stride; r++)
            a->acc[i * stride + r] = (int32_t)(0u - ((uint32_t)a->q_sums[i] << 7));
    tiles_begin();
    for (s = 0; s < a->blocks; s += 2)
        for (k = 0; k < a->tiles; k += per_chunk) {
            uint32_t n = a->tiles - k < per_chunk ? a->tiles - k : per_chunk;
            uint32_t left = a->cols / 64 - k * per_tile;
            uint32_t steps = n * per_tile < left ? n * per_tile : left;
            const uint8_t *tile = a->codes + s * block + (uint64_t)k * Q35_TILE_BYTES;
            uint8_t *w1 = s + 1 < a->blocks ? w + 16 * CHUNK : NULL;
            decode_a(&t, tile, n, w, weights, has_b, ring);
            if (w1)
                decode_a(&t, tile + block, n, w1, weights, has_b, ring);
            product(w, w1, (const uint8_t *)a->packed + (uint64_t)k * per_tile * TILE,
                    16 * a->q_stride, steps, a->n_tokens, a->acc + 16 * s, stride);
        }
    tiles_end();
}

INSTANCES(many_tokens)

void INSTALL(struct kernels *k)
{
    k->dots_many = many_tokens_any;
    k->many_finishes = false;
    k->few_most = DOTS_FEW;
    k->pack_bytes = pack_bytes_amx;
    k->pack_q = pack_q_amx;
    k->many_blocks = 2;
}
