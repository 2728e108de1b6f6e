/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Binary32 operations with NEON. Tails go through arith.h's own functions. */

#include "../kernels.h"
#include "neon.h"

static void rescale_neon(const int32_t *acc, const float *scales, float token_scale,
                         const float *bias, uint32_t n, float *y)
{
    float32x4_t t = vdupq_n_f32(token_scale);
    uint32_t i;
    for (i = 0; i + 4 <= n; i += 4) {
        float32x4_t v =
            vmulq_f32(vcvtq_f32_s32(vld1q_s32(acc + i)), vmulq_f32(vld1q_f32(scales + i), t));
        vst1q_f32(y + i, bias ? vaddq_f32(v, vld1q_f32(bias + i)) : v);
    }
    for (; i < n; i++) {
        y[i] = q35_rescale(acc[i], scales[i], token_scale);
        if (bias)
            y[i] = y[i] + bias[i];
    }
}

/* Butterflies of distance 1 and 2 inside a vector. */
static inline float32x4_t hadamard4(float32x4_t x)
{
    float32x4_t a = vtrn1q_f32(x, x), b = vtrn2q_f32(x, x);
    float32x4_t y = vtrn1q_f32(vaddq_f32(a, b), vsubq_f32(a, b));
    float64x2_t z = vreinterpretq_f64_f32(y);
    a = vreinterpretq_f32_f64(vtrn1q_f64(z, z));
    b = vreinterpretq_f32_f64(vtrn2q_f64(z, z));
    return vreinterpretq_f32_f64(
        vtrn1q_f64(vreinterpretq_f64_f32(vaddq_f32(a, b)), vreinterpretq_f64_f32(vsubq_f32(a, b))));
}

/* Two levels at a time from distance h on. */
static void butterflies4(float *x, uint32_t n, uint32_t h)
{
    uint32_t s, i;
    for (s = 0; s < n; s += 4 * h)
        for (i = s; i < s + h; i += 4) {
            float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + h);
            float32x4_t c = vld1q_f32(x + i + 2 * h), d = vld1q_f32(x + i + 3 * h);
            float32x4_t ab = vaddq_f32(a, b), ba = vsubq_f32(a, b);
            float32x4_t cd = vaddq_f32(c, d), dc = vsubq_f32(c, d);
            vst1q_f32(x + i, vaddq_f32(ab, cd));
            vst1q_f32(x + i + h, vaddq_f32(ba, dc));
            vst1q_f32(x + i + 2 * h, vsubq_f32(ab, cd));
            vst1q_f32(x + i + 3 * h, vsubq_f32(ba, dc));
        }
}

static void hadamard_neon(float *x, uint32_t n, uint32_t block)
{
    uint32_t h, s, i;
    if (block < 4) {
        struct kernels plain;
        q35_cpu_install_c(&plain);
        plain.hadamard(x, n, block);
        return;
    }
    for (s = 0; s < n; s += 4)
        vst1q_f32(x + s, hadamard4(vld1q_f32(x + s)));
    for (h = 4; 4 * h <= block; h *= 4)
        butterflies4(x, n, h);
    for (; h < block; h *= 2)
        for (s = 0; s < n; s += 2 * h)
            for (i = s; i < s + h; i += 4) {
                float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + h);
                vst1q_f32(x + i, vaddq_f32(a, b));
                vst1q_f32(x + i + h, vsubq_f32(a, b));
            }
}

static inline int32x4_t quantize4(const float *x, float32x4_t scale)
{
    float32x4_t v = vmulq_f32(vld1q_f32(x), scale);
    v = vminnmq_f32(vmaxnmq_f32(vrndnq_f32(v), vdupq_n_f32(-127.0f)), vdupq_n_f32(127.0f));
    v = vreinterpretq_f32_u32(
        vandq_u32(vreinterpretq_u32_f32(v), /* NaN gives 0 */
                  vceqq_f32(vmulq_f32(vld1q_f32(x), scale), vmulq_f32(vld1q_f32(x), scale))));
    return vcvtnq_s32_f32(v);
}

static float quantize_neon(const float *x, uint32_t n, int8_t *q)
{
    float32x4_t top = vdupq_n_f32(0.0f), scale;
    float max;
    uint32_t i;
    for (i = 0; i < n; i += 4) { /* a NaN leaves the maximum alone */
        float32x4_t a = vabsq_f32(vld1q_f32(x + i));
        top = vbslq_f32(vcgtq_f32(a, top), a, top);
    }
    max = vmaxvq_f32(top);
    if (!(max > 1e-30f)) {
        memset(q, 0, n);
        return 0.0f;
    }
    scale = vdupq_n_f32(127.0f / max);
    for (i = 0; i < n; i += 16) {
        int16x8_t a = vcombine_s16(vmovn_s32(quantize4(x + i, scale)),
                                   vmovn_s32(quantize4(x + i + 4, scale)));
        int16x8_t b = vcombine_s16(vmovn_s32(quantize4(x + i + 8, scale)),
                                   vmovn_s32(quantize4(x + i + 12, scale)));
        vst1q_s8(q + i, vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
    }
    return max / 127.0f;
}

static void rms_norm_neon(const float *x, const float *w, uint32_t n, float eps, float *y)
{
    float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    float lane[16], factor;
    uint32_t i, j;
    for (i = 0; i + 16 <= n; i += 16)
        for (j = 0; j < 4; j++) {
            float32x4_t v = vld1q_f32(x + i + 4 * j);
            sum[j] = vfmaq_f32(sum[j], v, v);
        }
    for (j = 0; j < 4; j++)
        vst1q_f32(lane + 4 * j, sum[j]);
    for (; i < n; i++)
        lane[i & 15u] = fmaf(x[i], x[i], lane[i & 15u]);
    factor = 1.0f / sqrtf(q35_tree16(lane) / (float)n + eps);
    for (i = 0; i + 4 <= n; i += 4)
        vst1q_f32(y + i,
                  vmulq_f32(vmulq_f32(vld1q_f32(x + i), vdupq_n_f32(factor)), vld1q_f32(w + i)));
    for (; i < n; i++)
        y[i] = (x[i] * factor) * w[i];
}

/* Pairs (i, i + half) four at a time; the other style and tails in plain C. */
static void rope_neon(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim,
                      uint32_t style, const float *cos_sin)
{
    uint32_t h, i, half = rope_dim / 2;
    const float *sin = cos_sin + half;
    for (h = 0; h < n_heads; h++, x += head_dim) {
        i = 0;
        for (; style == Q35_ROPE_HALVES && i + 4 <= half; i += 4) {
            float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + half + i);
            float32x4_t c = vld1q_f32(cos_sin + i), s = vld1q_f32(sin + i);
            vst1q_f32(x + i, vsubq_f32(vmulq_f32(a, c), vmulq_f32(b, s)));
            vst1q_f32(x + half + i, vaddq_f32(vmulq_f32(a, s), vmulq_f32(b, c)));
        }
        for (; i < half; i++) {
            if (style == Q35_ROPE_HALVES)
                q35_rope_pair(x + i, x + half + i, cos_sin[i], sin[i]);
            else
                q35_rope_pair(x + 2 * i, x + 2 * i + 1, cos_sin[i], sin[i]);
        }
    }
}

static void swiglu_neon(uint64_t n, const float *gate, const float *up, float *out)
{
    uint64_t i;
    for (i = 0; i + 4 <= n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i);
        float32x4_t d = vaddq_f32(vdupq_n_f32(1.0f), exp_neon(vnegq_f32(g)));
        vst1q_f32(out + i, vmulq_f32(vdivq_f32(g, d), vld1q_f32(up + i)));
    }
    for (; i < n; i++)
        out[i] = q35_silu(gate[i]) * up[i];
}

static void add_neon(uint64_t n, float *x, const float *y)
{
    uint64_t i;
    for (i = 0; i + 4 <= n; i += 4)
        vst1q_f32(x + i, vaddq_f32(vld1q_f32(x + i), vld1q_f32(y + i)));
    for (; i < n; i++)
        x[i] = x[i] + y[i];
}

void q35_cpu_install_neon(struct kernels *k)
{
    k->rescale = rescale_neon;
    k->hadamard = hadamard_neon;
    k->quantize = quantize_neon;
    k->rms_norm = rms_norm_neon;
    k->rope = rope_neon;
    k->swiglu = swiglu_neon;
    k->add = add_neon;
    q35_cpu_install_neon_attn(k);
    q35_cpu_install_neon_dots(k);
}
