/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Plain C: the specification's own functions behind the kernel table. */

#include "kernels.h"

#include <math.h>

static uint64_t hash_c(const uint8_t *data, uint64_t bytes, uint64_t first_byte)
{
    uint64_t h = 0, i, whole = bytes & ~(uint64_t)7;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (i = 0; i < whole; i += 8) {
        uint64_t w;
        memcpy(&w, data + i, 8);
        h += q35_mix64(w ^ ((first_byte + i) / 8 + 1) * 0x9e3779b97f4a7c15u);
    }
#else
    i = whole = 0;
#endif
    return h + q35_hash_chunk(data + i, bytes - whole, first_byte + whole);
}

static void dots_c(const struct dots_args *a)
{
    uint32_t width = q35_tile_cols(a->scheme), b, r, i, t, k;
    int8_t w[Q35_MAX_TILE_COLS];
    for (b = 0; b < a->blocks; b++) {
        const uint8_t *codes = a->codes + (uint64_t)b * a->tiles * Q35_TILE_BYTES;
        for (r = 0; r < 16; r++) {
            for (t = 0; t < a->n_tokens; t++)
                a->acc[((uint64_t)t * a->blocks + b) * 16 + r] = 0;
            for (i = 0; i < a->tiles; i++) {
                uint32_t cols = q35_tile_used(a->scheme, a->cols, i);
                q35_decode_row(a->scheme, a->tables, codes + (uint64_t)i * Q35_TILE_BYTES, r, w);
                for (t = 0; t < a->n_tokens; t++) {
                    const int8_t *q = a->q + t * a->q_stride + (uint64_t)i * width;
                    int32_t sum = 0;
                    for (k = 0; k < cols; k++)
                        sum += w[k] * q[k];
                    a->acc[((uint64_t)t * a->blocks + b) * 16 + r] += sum;
                }
            }
        }
    }
}

static int32_t sum_q_c(const int8_t *q, uint32_t n)
{
    int32_t sum = 0;
    uint32_t i;
    for (i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

static void rescale_c(const int32_t *acc, const float *scales, float token_scale, const float *bias,
                      uint32_t n, float *y)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        y[i] = q35_rescale(acc[i], scales[i], token_scale);
    if (bias)
        for (i = 0; i < n; i++)
            y[i] = y[i] + bias[i];
}

static void hadamard_c(float *x, uint32_t n, uint32_t block)
{
    uint32_t h, s, i;
    for (h = 1; h < block; h <<= 1)
        for (s = 0; s < n; s += 2 * h)
            for (i = s; i < s + h; i++) {
                float a = x[i], b = x[i + h];
                x[i] = a + b;
                x[i + h] = a - b;
            }
}

static void signs_c(const float *x, uint32_t n, uint32_t padded, uint64_t seed, float *out)
{
    uint32_t k;
    for (k = 0; k < n; k++)
        out[k] = q35_rot_sign(seed, k) ? -x[k] : x[k];
    for (k = n; k < padded; k++)
        out[k] = q35_rot_sign(seed, k) ? -0.0f : 0.0f;
}

static float quantize_c(const float *x, uint32_t n, int8_t *q)
{
    return q35_quantize(x, n, q);
}

static void rms_norm_c(const float *x, const float *w, uint32_t n, float eps, float *y)
{
    q35_rms_norm(x, w, n, eps, y);
}

static void rope_c(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim, uint32_t style,
                   const float *cos_sin)
{
    uint32_t h, i, half = rope_dim / 2;
    for (h = 0; h < n_heads; h++, x += head_dim)
        for (i = 0; i < half; i++) {
            uint32_t a = style == Q35_ROPE_PAIRS ? 2 * i : i;
            uint32_t b = style == Q35_ROPE_PAIRS ? 2 * i + 1 : i + half;
            q35_rope_pair(&x[a], &x[b], cos_sin[i], cos_sin[half + i]);
        }
}

static void swiglu_c(uint64_t n, const float *gate, const float *up, float *out)
{
    uint64_t i;
    for (i = 0; i < n; i++)
        out[i] = q35_silu(gate[i]) * up[i];
}

static void add_c(uint64_t n, float *x, const float *y)
{
    uint64_t i;
    for (i = 0; i < n; i++)
        x[i] = x[i] + y[i];
}

static void attn_block_c(const struct attn_args *a)
{
    uint32_t h, j, i;
    float s[64], k[ATTN_HEAD_DIM];
    for (h = 0; h < a->group; h++) {
        for (j = 0; j < a->n; j++) {
            const uint16_t *row = (const uint16_t *)a->k + (uint64_t)(a->first + j) * a->head_dim;
            for (i = 0; i < a->head_dim; i++)
                k[i] = q35_f16_to_f32(row[i]);
            s[j] = q35_dot(a->q + (uint64_t)h * a->head_dim, k, a->head_dim) * a->scale;
        }
        a->state[h] = q35_attn_block(s, a->first, a->n,
                                     (const uint16_t *)a->v + (uint64_t)a->first * a->head_dim,
                                     a->head_dim, a->head_dim, a->o + (uint64_t)h * a->head_dim);
    }
}

static void attn8_block_c(const struct attn_args *a)
{
    uint32_t h, j, i;
    float s[64];
    for (h = 0; h < a->group; h++) {
        for (j = 0; j < a->n; j++) {
            const int8_t *row = (const int8_t *)a->k + (uint64_t)(a->first + j) * a->head_dim;
            const int8_t *q = a->q8 + (uint64_t)h * a->q_stride;
            int32_t acc = 0;
            for (i = 0; i < a->head_dim; i++)
                acc += q[i] * row[i];
            s[j] = q35_attn_score8(acc, a->q_scales[h], a->k_scales[a->first + j], a->scale);
        }
        a->state[h] = q35_attn_block8(
            s, a->first, a->n, (const int8_t *)a->v + (uint64_t)a->first * a->head_dim, a->head_dim,
            a->v_scales + a->first, a->head_dim, a->o + (uint64_t)h * a->head_dim);
    }
}

static void attn_merge_c(struct q35_attn_state *st, float *o, const struct q35_attn_state *sb,
                         const float *ob, uint32_t group, uint32_t head_dim)
{
    uint32_t h;
    for (h = 0; h < group; h++)
        q35_attn_merge(&st[h], o + (uint64_t)h * head_dim, sb[h], ob + (uint64_t)h * head_dim,
                       head_dim);
}

void q35_cpu_install_c(struct kernels *k)
{
    *k = (struct kernels){
        .dots_few = dots_c,
        .dots_many = dots_c,
        .many_blocks = 1,
        .few_most = DOTS_FEW,
        .hash = hash_c,
        .sum_q = sum_q_c,
        .rescale = rescale_c,
        .hadamard = hadamard_c,
        .signs = signs_c,
        .quantize = quantize_c,
        .greedy = q35_greedy,
        .rms_norm = rms_norm_c,
        .rope = rope_c,
        .swiglu = swiglu_c,
        .add = add_c,
        .attn_block = attn_block_c,
        .attn8_block = attn8_block_c,
        .attn_merge = attn_merge_c,
    };
}
