/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_AVX512_H
#define Q35_CPU_AVX512_H

/* Pieces that all AVX-512 kernels use. Included only by files compiled for AVX-512. */

#include <immintrin.h>
#include <stdint.h>

struct kernels;
void q35_cpu_install_avx512_attn(struct kernels *k);
void q35_cpu_install_avx512_dots(struct kernels *k);

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Lane r of the result is the sum of the lanes of a[r]. */
static inline __m512i reduce16_i32(const __m512i a[16])
{
    __m512i t[8], u[4], v0, v1;
    int i;
    UNROLL
    for (i = 0; i < 8; i++)
        t[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]),
                                _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]));
    UNROLL
    for (i = 0; i < 4; i++)
        u[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(t[2 * i], t[2 * i + 1]),
                                _mm512_unpackhi_epi64(t[2 * i], t[2 * i + 1]));
    v0 = _mm512_add_epi32(_mm512_shuffle_i32x4(u[0], u[1], 0x88),
                          _mm512_shuffle_i32x4(u[0], u[1], 0xdd));
    v1 = _mm512_add_epi32(_mm512_shuffle_i32x4(u[2], u[3], 0x88),
                          _mm512_shuffle_i32x4(u[2], u[3], 0xdd));
    return _mm512_add_epi32(_mm512_shuffle_i32x4(v0, v1, 0x88), _mm512_shuffle_i32x4(v0, v1, 0xdd));
}

/* The same for four vectors. */
static inline __m128i reduce4_i32(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i t = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i u = _mm512_add_epi32(_mm512_unpacklo_epi64(s, t), _mm512_unpackhi_epi64(s, t));
    __m256i v = _mm256_add_epi32(_mm512_castsi512_si256(u), _mm512_extracti64x4_epi64(u, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* q35_tree16 of 16 vectors, pairs at distance 8, 4, 2, 1: the first two steps of four of them, and
 * the last two. b[e] holds rows e, e + 4, e + 8, e + 12; lane r of the result is row r. */
static inline __m512 tree16_first(__m512 r0, __m512 r4, __m512 r8, __m512 r12)
{
    __m512 x =
        _mm512_add_ps(_mm512_shuffle_f32x4(r0, r4, 0x44), _mm512_shuffle_f32x4(r0, r4, 0xee));
    __m512 y =
        _mm512_add_ps(_mm512_shuffle_f32x4(r8, r12, 0x44), _mm512_shuffle_f32x4(r8, r12, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
}

static inline __m512 tree16_last(const __m512 b[4])
{
    __m512d b0 = _mm512_castps_pd(b[0]), b1 = _mm512_castps_pd(b[1]);
    __m512d b2 = _mm512_castps_pd(b[2]), b3 = _mm512_castps_pd(b[3]);
    __m512 r = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(b0, b1)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(b0, b1)));
    __m512 s = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(b2, b3)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(b2, b3)));
    return _mm512_add_ps(_mm512_shuffle_ps(r, s, 0x88), _mm512_shuffle_ps(r, s, 0xdd));
}

/* q35_tree16 of one vector. */
static inline float tree16_one(__m512 a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* q35_exp of 16 values. */
static inline __m512 exp_ps(__m512 x)
{
    __mmask16 in = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_GE_OQ);
    __m512 n, r, p;
    x = _mm512_min_ps(x, _mm512_set1_ps(88.0f));
    n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)),
                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_maskz_scalef_ps(in, p, n); /* times 2^n */
}

/* q35_silu(g) * u */
static inline __m512 swiglu16(__m512 g, __m512 u)
{
    __m512 minus = _mm512_xor_ps(g, _mm512_set1_ps(-0.0f));
    __m512 d = _mm512_add_ps(_mm512_set1_ps(1.0f), exp_ps(minus));
    return _mm512_mul_ps(_mm512_div_ps(g, d), u);
}

#endif
