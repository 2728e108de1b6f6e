/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Binary32 operations with AVX-512: one vector is the 16 lanes of arith.h. */

#include "../kernels.h"
#include "avx512.h"

#define ROUND_EVEN (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

static inline __mmask16 tail(uint64_t n)
{
    return (__mmask16)((1u << (n & 15u)) - 1u);
}

static void rescale_avx512(const int32_t *acc, const float *scales, float token_scale,
                           const float *bias, uint32_t n, float *y)
{
    __m512 t = _mm512_set1_ps(token_scale);
    uint32_t i;
    for (i = 0; i < n; i += 16) {
        __mmask16 m = n - i < 16 ? tail(n) : 0xffffu;
        __m512 s = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, scales + i), t);
        __m512 v = _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(m, acc + i));
        v = _mm512_mul_ps(v, s);
        if (bias)
            v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(m, bias + i));
        _mm512_mask_storeu_ps(y + i, m, v);
    }
}

/* ---- rotation -------------------------------------------------------------------------------- */

/* Butterflies of distance 1, 2, 4 and 8 inside a vector: partner lanes are added, and in the upper
 * lane of each pair the difference lower - upper is kept. */
static inline __m512 butterfly(__m512 x, __m512 partner, __mmask16 upper)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(x, partner), upper, partner, x);
}

static inline __m512 hadamard16(__m512 x)
{
    x = butterfly(x, _mm512_permute_ps(x, 0xb1), 0xaaaa);
    x = butterfly(x, _mm512_permute_ps(x, 0x4e), 0xcccc);
    x = butterfly(x, _mm512_shuffle_f32x4(x, x, 0xb1), 0xf0f0);
    return butterfly(x, _mm512_shuffle_f32x4(x, x, 0x4e), 0xff00);
}

/* Butterflies between 8 vectors at distance `gap` floats: three levels at once. */
static inline void hadamard8(__m512 v[8])
{
    int h, s, i;
    UNROLL
    for (h = 1; h < 8; h <<= 1)
        UNROLL
    for (s = 0; s < 8; s += 2 * h)
        UNROLL
    for (i = s; i < s + h; i++) {
        __m512 a = v[i], b = v[i + h];
        v[i] = _mm512_add_ps(a, b);
        v[i + h] = _mm512_sub_ps(a, b);
    }
}

/* Distances 1 to 64 inside 128 values, then three levels at
 * a time, then what is left one by one. */
static void hadamard_avx512(float *x, uint32_t n, uint32_t block)
{
    uint32_t h, s, i, j;
    __m512 v[8];
    if (block < 128) {
        struct kernels plain;
        q35_cpu_install_c(&plain);
        plain.hadamard(x, n, block);
        return;
    }
    for (s = 0; s < n; s += 128) {
        UNROLL
        for (j = 0; j < 8; j++)
            v[j] = hadamard16(_mm512_loadu_ps(x + s + 16 * j));
        hadamard8(v);
        UNROLL
        for (j = 0; j < 8; j++)
            _mm512_storeu_ps(x + s + 16 * j, v[j]);
    }
    for (h = 128; 8 * h <= block; h *= 8)
        for (s = 0; s < n; s += 8 * h)
            for (i = s; i < s + h; i += 16) {
                UNROLL
                for (j = 0; j < 8; j++)
                    v[j] = _mm512_loadu_ps(x + i + j * h);
                hadamard8(v);
                UNROLL
                for (j = 0; j < 8; j++)
                    _mm512_storeu_ps(x + i + j * h, v[j]);
            }
    for (; h < block; h *= 2)
        for (s = 0; s < n; s += 2 * h)
            for (i = s; i < s + h; i += 16) {
                __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + h);
                _mm512_storeu_ps(x + i, _mm512_add_ps(a, b));
                _mm512_storeu_ps(x + i + h, _mm512_sub_ps(a, b));
            }
}

/* Rows of a large batch come from memory, and at the pace of plain loads only a few lines at a
 * time: what is 4 KB ahead is asked for. */
static void signs_avx512(const float *x, uint32_t n, uint32_t padded, uint64_t seed, float *out)
{
    const __m512i minus = _mm512_set1_epi32((int)0x80000000u);
    uint32_t k, j;
    for (k = 0; k < padded; k += 64) {
        uint64_t bits = q35_mix64(seed + 0x9e3779b97f4a7c15u * (k / 64u + 1u));
        for (j = k; j < k + 64; j += 16, bits >>= 16) {
            __mmask16 m = j + 16 <= n ? 0xffffu : j < n ? tail(n) : 0;
            __m512i v = _mm512_castps_si512(_mm512_maskz_loadu_ps(m, x + (m ? j : 0)));
            _mm_prefetch((const char *)(x + j) + 4096, _MM_HINT_T0);
            v = _mm512_mask_xor_epi32(v, (__mmask16)bits, v, minus);
            _mm512_storeu_ps(out + j, _mm512_castsi512_ps(v));
        }
    }
}

/* ---- quantization ---------------------------------------------------------------------------- */

static float quantize_avx512(const float *x, uint32_t n, int8_t *q)
{
    const __m512 abs = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff));
    const __m512 lo = _mm512_set1_ps(-127.0f), hi = _mm512_set1_ps(127.0f);
    __m512 top = _mm512_setzero_ps(), top1 = top, scale;
    uint32_t i;
    float max;
    /* max_ps(a, b) is a > b ? a : b, so a NaN leaves the running maximum alone */
    for (i = 0; i < n; i += 32) {
        top = _mm512_max_ps(_mm512_and_ps(_mm512_loadu_ps(x + i), abs), top);
        top1 = _mm512_max_ps(_mm512_and_ps(_mm512_loadu_ps(x + i + 16), abs), top1);
    }
    max = _mm512_reduce_max_ps(_mm512_max_ps(top, top1));
    if (!(max > 1e-30f)) {
        memset(q, 0, n);
        return 0.0f;
    }
    scale = _mm512_set1_ps(127.0f / max);
    for (i = 0; i < n; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), scale);
        __mmask16 ordered = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
        v = _mm512_min_ps(_mm512_max_ps(_mm512_roundscale_ps(v, ROUND_EVEN), lo), hi);
        _mm_storeu_si128((__m128i *)(q + i),
                         _mm512_cvtepi32_epi8(_mm512_maskz_cvtps_epi32(ordered, v)));
    }
    return max / 127.0f;
}

/* ---- norms, rope, elementwise ------------------------------------------------------------------
 */

static void rms_norm_avx512(const float *x, const float *w, uint32_t n, float eps, float *y)
{
    __m512 sum = _mm512_setzero_ps(), f;
    uint32_t i;
    float mean;
    for (i = 0; i + 16 <= n; i += 16) {
        __m512 v = _mm512_loadu_ps(x + i);
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    if (i < n) {
        __m512 v = _mm512_maskz_loadu_ps(tail(n), x + i);
        sum = _mm512_mask3_fmadd_ps(v, v, sum, tail(n));
    }
    mean = tree16_one(sum) / (float)n;
    f = _mm512_set1_ps(1.0f / sqrtf(mean + eps));
    for (i = 0; i < n; i += 16) {
        __mmask16 m = n - i < 16 ? tail(n) : 0xffffu;
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), f);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, w + i)));
    }
}

static void rope_halves(float *x, uint32_t half, const float *cos_sin)
{
    uint32_t i;
    for (i = 0; i < half; i += 16) {
        __mmask16 m = half - i < 16 ? tail(half) : 0xffffu;
        __m512 a = _mm512_maskz_loadu_ps(m, x + i), b = _mm512_maskz_loadu_ps(m, x + half + i);
        __m512 c = _mm512_maskz_loadu_ps(m, cos_sin + i);
        __m512 s = _mm512_maskz_loadu_ps(m, cos_sin + half + i);
        _mm512_mask_storeu_ps(x + i, m, _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, m,
                              _mm512_add_ps(_mm512_mul_ps(a, s), _mm512_mul_ps(b, c)));
    }
}

/* Eight pairs (x0, x1) in a vector: x0 c - x1 s and x1 c + x0 s, sums being commutative. */
static void rope_pairs(float *x, uint32_t half, const float *cos_sin)
{
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    uint32_t i;
    for (i = 0; i < half; i += 8) {
        uint32_t left = half - i < 8 ? half - i : 8;
        __mmask16 m1 = (__mmask16)((1u << left) - 1u), m2 = (__mmask16)((1u << 2 * left) - 1u);
        __m512 v = _mm512_maskz_loadu_ps(m2, x + 2 * i), w = _mm512_permute_ps(v, 0xb1), a, b;
        __m512 c = _mm512_maskz_loadu_ps(m1, cos_sin + i);
        __m512 s = _mm512_maskz_loadu_ps(m1, cos_sin + half + i);
        a = _mm512_mul_ps(v, _mm512_permutexvar_ps(twice, c));
        b = _mm512_mul_ps(w, _mm512_permutexvar_ps(twice, s));
        _mm512_mask_storeu_ps(x + 2 * i, m2, _mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b));
    }
}

static void rope_avx512(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim,
                        uint32_t style, const float *cos_sin)
{
    uint32_t h;
    for (h = 0; h < n_heads; h++, x += head_dim) {
        if (style == Q35_ROPE_PAIRS)
            rope_pairs(x, rope_dim / 2, cos_sin);
        else
            rope_halves(x, rope_dim / 2, cos_sin);
    }
}

static void swiglu_avx512(uint64_t n, const float *gate, const float *up, float *out)
{
    uint64_t i;
    for (i = 0; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, swiglu16(_mm512_loadu_ps(gate + i), _mm512_loadu_ps(up + i)));
    if (i < n)
        _mm512_mask_storeu_ps(out + i, tail(n),
                              swiglu16(_mm512_maskz_loadu_ps(tail(n), gate + i),
                                       _mm512_maskz_loadu_ps(tail(n), up + i)));
}

static void add_avx512(uint64_t n, float *x, const float *y)
{
    uint64_t i;
    for (i = 0; i + 16 <= n; i += 16)
        _mm512_storeu_ps(x + i, _mm512_add_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
    if (i < n)
        _mm512_mask_storeu_ps(x + i, tail(n),
                              _mm512_add_ps(_mm512_maskz_loadu_ps(tail(n), x + i),
                                            _mm512_maskz_loadu_ps(tail(n), y + i)));
}

/* q35_mix64 of 8 words. */
static inline __m512i mix_epi64(__m512i z)
{
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 30));
    z = _mm512_mullo_epi64(z, _mm512_set1_epi64((long long)0xbf58476d1ce4e5b9ull));
    z = _mm512_xor_si512(z, _mm512_srli_epi64(z, 27));
    z = _mm512_mullo_epi64(z, _mm512_set1_epi64((long long)0x94d049bb133111ebull));
    return _mm512_xor_si512(z, _mm512_srli_epi64(z, 31));
}

static uint64_t hash_avx512(const uint8_t *data, uint64_t bytes, uint64_t first_byte)
{
    const uint64_t step = 0x9e3779b97f4a7c15u; /* of a word's number, times it */
    __m512i at = _mm512_mullo_epi64(_mm512_setr_epi64(1, 2, 3, 4, 5, 6, 7, 8),
                                    _mm512_set1_epi64((long long)step));
    __m512i next = _mm512_set1_epi64((long long)(8 * step)), h0 = _mm512_setzero_si512(), h1 = h0;
    uint64_t i, lanes[8], sum = 0; /* unsigned: sums wrap */
    at = _mm512_add_epi64(at, _mm512_set1_epi64((long long)(first_byte / 8 * step)));
    for (i = 0; i + 128 <= bytes; i += 128) {
        __m512i after = _mm512_add_epi64(at, next);
        _mm_prefetch((const char *)data + i + 4096, _MM_HINT_T0);
        _mm_prefetch((const char *)data + i + 4160, _MM_HINT_T0);
        h0 = _mm512_add_epi64(h0, mix_epi64(_mm512_xor_si512(at, _mm512_loadu_si512(data + i))));
        h1 = _mm512_add_epi64(
            h1, mix_epi64(_mm512_xor_si512(after, _mm512_loadu_si512(data + i + 64))));
        at = _mm512_add_epi64(after, next);
    }
    _mm512_storeu_si512(lanes, _mm512_add_epi64(h0, h1));
    for (uint32_t lane = 0; lane < 8; lane++)
        sum += lanes[lane];
    return sum + q35_hash_chunk(data + i, bytes - i, first_byte + i);
}

void q35_cpu_install_avx512(struct kernels *k)
{
    k->hash = hash_avx512;
    k->rescale = rescale_avx512;
    k->hadamard = hadamard_avx512;
    k->signs = signs_avx512;
    k->quantize = quantize_avx512;
    k->rms_norm = rms_norm_avx512;
    k->rope = rope_avx512;
    k->swiglu = swiglu_avx512;
    k->add = add_avx512;
    q35_cpu_install_avx512_attn(k);
    q35_cpu_install_avx512_dots(k);
}
