/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/source_internal.h"
#include "q35/arith.h"

/* The block formats of GGUF with four bits a value or more, as ggml's dequantize_row_* read them.
 * What has fewer bits has lost more than packing would, so it is no source. */

static float half(const uint8_t *p)
{
    return q35_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

/* ---- blocks of 32: a scale, perhaps a minimum, low four bits of i and i + 16 in one byte ---- */

static void read_q8_0(const uint8_t *p, float *out)
{
    float d = half(p);
    for (uint32_t i = 0; i < 32; i++)
        out[i] = d * (float)(int8_t)p[2 + i];
}

/* high: a fifth bit for each value; zero is subtracted before, minimum added after scaling. */
static void read_nibbles(const uint8_t *q, uint32_t high, float d, int zero, float minimum,
                         float *out)
{
    for (uint32_t i = 0; i < 16; i++) {
        int low = (int)((q[i] & 15u) | (high >> i & 1u) << 4);
        int top = (int)((uint32_t)q[i] >> 4 | (high >> (i + 16) & 1u) << 4);
        out[i] = d * (float)(low - zero) + minimum;
        out[i + 16] = d * (float)(top - zero) + minimum;
    }
}

static uint32_t word(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void read_q4_0(const uint8_t *p, float *out)
{
    read_nibbles(p + 2, 0, half(p), 8, 0, out);
}

static void read_q4_1(const uint8_t *p, float *out)
{
    read_nibbles(p + 4, 0, half(p), 0, half(p + 2), out);
}

static void read_q5_0(const uint8_t *p, float *out)
{
    read_nibbles(p + 6, word(p + 2), half(p), 16, 0, out);
}

static void read_q5_1(const uint8_t *p, float *out)
{
    read_nibbles(p + 8, word(p + 4), half(p), 0, half(p + 2), out);
}

/* ---- blocks of 256: eight or sixteen scales of their own ----------------------------------- */

/* Scale and minimum i of eight, six bits each, in 12 bytes. */
static void scale_min(const uint8_t *s, uint32_t i, uint32_t *scale, uint32_t *minimum)
{
    if (i < 4) {
        *scale = s[i] & 63u;
        *minimum = s[i + 4] & 63u;
    } else {
        *scale = (s[i + 4] & 15u) | (uint32_t)(s[i - 4] >> 6) << 4;
        *minimum = (uint32_t)s[i + 4] >> 4 | (uint32_t)(s[i] >> 6) << 4;
    }
}

/* high: 32 bytes, bit g the fifth bit of group g's values; NULL: there is none. */
static void read_k(const uint8_t *p, const uint8_t *high, const uint8_t *q, float *out)
{
    float d = half(p), dmin = half(p + 2);
    for (uint32_t g = 0; g < 8; g++, out += 32) {
        const uint8_t *from = q + g / 2 * 32;
        uint32_t scale, minimum;
        scale_min(p + 4, g, &scale, &minimum);
        for (uint32_t i = 0; i < 32; i++) {
            uint32_t v = g & 1 ? (uint32_t)from[i] >> 4 : from[i] & 15u;
            v |= high ? ((uint32_t)high[i] >> g & 1u) << 4 : 0;
            out[i] = d * (float)scale * (float)v - dmin * (float)minimum;
        }
    }
}

static void read_q4_k(const uint8_t *p, float *out)
{
    read_k(p, NULL, p + 16, out);
}

static void read_q5_k(const uint8_t *p, float *out)
{
    read_k(p, p + 16, p + 48, out);
}

/* Two halves of 128 values: four groups of 32 share 64 bytes of low bits and 32 of high ones. */
static void read_q6_k(const uint8_t *p, float *out)
{
    float d = half(p + 208);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t h = i / 128, g = i % 128 / 32, l = i % 32;
        uint32_t low = p[64 * h + 32 * (g & 1) + l], high = p[128 + 32 * h + l];
        int v = (int)((low >> 4 * (g >> 1) & 15u) | (high >> 2 * g & 3u) << 4) - 32;
        out[i] = d * (float)(int8_t)p[192 + i / 16] * (float)v;
    }
}

static const struct q35_block_reader readers[] = {
    {Q35_GGML_Q8_0, 32, 34, read_q8_0},   {Q35_GGML_Q4_0, 32, 18, read_q4_0},
    {Q35_GGML_Q4_1, 32, 20, read_q4_1},   {Q35_GGML_Q5_0, 32, 22, read_q5_0},
    {Q35_GGML_Q5_1, 32, 24, read_q5_1},   {Q35_GGML_Q4_K, 256, 144, read_q4_k},
    {Q35_GGML_Q5_K, 256, 176, read_q5_k}, {Q35_GGML_Q6_K, 256, 210, read_q6_k},
};

const struct q35_block_reader *q35_block_reader(uint32_t type)
{
    for (size_t i = 0; i < Q35_COUNT(readers); i++)
        if (readers[i].type == type)
            return &readers[i];
    return NULL;
}
