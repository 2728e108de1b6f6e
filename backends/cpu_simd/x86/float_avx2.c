/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Binary32 operations with AVX2. Tails go through arith.h's own functions. */

#include "../kernels.h"
#include "avx2.h"

static void rescale_avx2(const int32_t *acc, const float *scales, float token_scale,
                         const float *bias, uint32_t n, float *y)
{
    __m256 t = _mm256_set1_ps(token_scale);
    uint32_t i;
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 s = _mm256_mul_ps(_mm256_loadu_ps(scales + i), t);
        __m256 v = _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(acc + i)));
        v = _mm256_mul_ps(v, s);
        if (bias)
            v = _mm256_add_ps(v, _mm256_loadu_ps(bias + i));
        _mm256_storeu_ps(y + i, v);
    }
    for (; i < n; i++) {
        y[i] = q35_rescale(acc[i], scales[i], token_scale);
        if (bias)
            y[i] = y[i] + bias[i];
    }
}

/* Butterflies of distance 1, 2 and 4 inside a vector: partner lanes are added, and in the upper
 * lane of each pair the difference lower - upper is kept. */
static inline __m256 hadamard8(__m256 x)
{
    __m256 y = _mm256_permute_ps(x, 0xb1);
    x = _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xaa);
    y = _mm256_permute_ps(x, 0x4e);
    x = _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xcc);
    y = _mm256_permute2f128_ps(x, x, 1);
    return _mm256_blend_ps(_mm256_add_ps(x, y), _mm256_sub_ps(y, x), 0xf0);
}

/* Two levels at a time from distance h on: a quarter of the loads and stores. */
static void butterflies4(float *x, uint32_t n, uint32_t h)
{
    uint32_t s, i;
    for (s = 0; s < n; s += 4 * h)
        for (i = s; i < s + h; i += 8) {
            __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + h);
            __m256 c = _mm256_loadu_ps(x + i + 2 * h), d = _mm256_loadu_ps(x + i + 3 * h);
            __m256 ab = _mm256_add_ps(a, b), ba = _mm256_sub_ps(a, b);
            __m256 cd = _mm256_add_ps(c, d), dc = _mm256_sub_ps(c, d);
            _mm256_storeu_ps(x + i, _mm256_add_ps(ab, cd));
            _mm256_storeu_ps(x + i + h, _mm256_add_ps(ba, dc));
            _mm256_storeu_ps(x + i + 2 * h, _mm256_sub_ps(ab, cd));
            _mm256_storeu_ps(x + i + 3 * h, _mm256_sub_ps(ba, dc));
        }
}

static void hadamard_avx2(float *x, uint32_t n, uint32_t block)
{
    uint32_t h, s, i;
    if (block < 8) {
        struct kernels plain;
        q35_cpu_install_c(&plain);
        plain.hadamard(x, n, block);
        return;
    }
    for (s = 0; s < n; s += 8)
        _mm256_storeu_ps(x + s, hadamard8(_mm256_loadu_ps(x + s)));
    for (h = 8; 4 * h <= block; h *= 4)
        butterflies4(x, n, h);
    for (; h < block; h *= 2)
        for (s = 0; s < n; s += 2 * h)
            for (i = s; i < s + h; i += 8) {
                __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + h);
                _mm256_storeu_ps(x + i, _mm256_add_ps(a, b));
                _mm256_storeu_ps(x + i + h, _mm256_sub_ps(a, b));
            }
}

static void signs_avx2(const float *x, uint32_t n, uint32_t padded, uint64_t seed, float *out)
{
    const __m256i bit = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
    uint32_t k, j;
    for (k = 0; k < padded; k += 64) {
        uint64_t bits = q35_mix64(seed + 0x9e3779b97f4a7c15u * (k / 64u + 1u));
        for (j = k; j < k + 64; j += 8, bits >>= 8) {
            __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)(bits & 255u)), bit);
            __m256i sign = _mm256_slli_epi32(_mm256_cmpeq_epi32(set, bit), 31);
            float v[8] = {0};
            uint32_t left = j < n ? n - j : 0;
            if (left >= 8) {
                _mm256_storeu_ps(v, _mm256_loadu_ps(x + j));
            } else {
                for (uint32_t i = 0; i < left; i++)
                    v[i] = x[j + i];
            }
            _mm256_storeu_ps(out + j, _mm256_xor_ps(_mm256_loadu_ps(v), _mm256_castsi256_ps(sign)));
        }
    }
}

static inline __m256i quantize8(const float *x, __m256 scale)
{
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x), scale);
    __m256 ordered = _mm256_cmp_ps(v, v, _CMP_ORD_Q);
    v = _mm256_max_ps(_mm256_round_ps(v, ROUND_EVEN), _mm256_set1_ps(-127.0f));
    v = _mm256_min_ps(v, _mm256_set1_ps(127.0f));
    return _mm256_cvtps_epi32(_mm256_and_ps(v, ordered));
}

static float quantize_avx2(const float *x, uint32_t n, int8_t *q)
{
    const __m256 abs = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
    __m256 top = _mm256_setzero_ps(), scale;
    float lane[8], max = 0.0f;
    uint32_t i;
    for (i = 0; i < n; i += 8) /* a NaN leaves the maximum alone */
        top = _mm256_max_ps(_mm256_and_ps(_mm256_loadu_ps(x + i), abs), top);
    _mm256_storeu_ps(lane, top);
    for (i = 0; i < 8; i++)
        max = lane[i] > max ? lane[i] : max;
    if (!(max > 1e-30f)) {
        memset(q, 0, n);
        return 0.0f;
    }
    scale = _mm256_set1_ps(127.0f / max);
    for (i = 0; i < n; i += 32) {
        __m256i a = _mm256_packs_epi32(quantize8(x + i, scale), quantize8(x + i + 8, scale));
        __m256i b = _mm256_packs_epi32(quantize8(x + i + 16, scale), quantize8(x + i + 24, scale));
        __m256i c = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
        _mm256_storeu_si256((__m256i *)(q + i), c);
    }
    return max / 127.0f;
}

static void rms_norm_avx2(const float *x, const float *w, uint32_t n, float eps, float *y)
{
    __m256 lo = _mm256_setzero_ps(), hi = lo, f;
    float lane[16], factor;
    uint32_t i;
    for (i = 0; i + 16 <= n; i += 16) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        lo = _mm256_fmadd_ps(a, a, lo);
        hi = _mm256_fmadd_ps(b, b, hi);
    }
    _mm256_storeu_ps(lane, lo);
    _mm256_storeu_ps(lane + 8, hi);
    for (; i < n; i++)
        lane[i & 15u] = fmaf(x[i], x[i], lane[i & 15u]);
    factor = 1.0f / sqrtf(q35_tree16(lane) / (float)n + eps);
    f = _mm256_set1_ps(factor);
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            y + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), f), _mm256_loadu_ps(w + i)));
    for (; i < n; i++)
        y[i] = (x[i] * factor) * w[i];
}

/* Pairs (i, i + half) eight at a time; the other style and tails in plain C. */
static void rope_avx2(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim,
                      uint32_t style, const float *cos_sin)
{
    uint32_t h, i, half = rope_dim / 2;
    const float *sin = cos_sin + half;
    for (h = 0; h < n_heads; h++, x += head_dim) {
        i = 0;
        for (; style == Q35_ROPE_HALVES && i + 8 <= half; i += 8) {
            __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
            __m256 c = _mm256_loadu_ps(cos_sin + i), s = _mm256_loadu_ps(sin + i);
            _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
            _mm256_storeu_ps(x + half + i, _mm256_add_ps(_mm256_mul_ps(a, s), _mm256_mul_ps(b, c)));
        }
        for (; i < half; i++) {
            if (style == Q35_ROPE_HALVES)
                q35_rope_pair(x + i, x + half + i, cos_sin[i], sin[i]);
            else
                q35_rope_pair(x + 2 * i, x + 2 * i + 1, cos_sin[i], sin[i]);
        }
    }
}

static void swiglu_avx2(uint64_t n, const float *gate, const float *up, float *out)
{
    uint64_t i;
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 g = _mm256_loadu_ps(gate + i);
        __m256 e = exp_avx2(_mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
        __m256 s = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(s, _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++)
        out[i] = q35_silu(gate[i]) * up[i];
}

static void add_avx2(uint64_t n, float *x, const float *y)
{
    uint64_t i;
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        x[i] = x[i] + y[i];
}

void q35_cpu_install_avx2(struct kernels *k)
{
    k->rescale = rescale_avx2;
    k->hadamard = hadamard_avx2;
    k->signs = signs_avx2;
    k->quantize = quantize_avx2;
    k->rms_norm = rms_norm_avx2;
    k->rope = rope_avx2;
    k->swiglu = swiglu_avx2;
    k->add = add_avx2;
    q35_cpu_install_avx2_attn(k);
    q35_cpu_install_avx2_dots(k);
}
