/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_NEON_H
#define Q35_CPU_NEON_H

/* Pieces that all NEON kernels use. The 16 lanes of arith.h are four vectors. */

#include <arm_neon.h>
#include <stdint.h>

struct kernels;
void q35_cpu_install_neon_attn(struct kernels *k);
void q35_cpu_install_neon_dots(struct kernels *k);

/* q35_tree16 of the lanes a[0], a[1], a[2], a[3]. */
static inline float tree16_neon(const float32x4_t a[4])
{
    float32x4_t b = vaddq_f32(vaddq_f32(a[0], a[2]), vaddq_f32(a[1], a[3]));
    float32x2_t c = vadd_f32(vget_low_f32(b), vget_high_f32(b));
    return vget_lane_f32(c, 0) + vget_lane_f32(c, 1);
}

/* q35_exp of 4 values. */
static inline float32x4_t exp_neon(float32x4_t x)
{
    uint32x4_t in = vcgeq_f32(x, vdupq_n_f32(-87.0f));
    float32x4_t n, r, p;
    int32x4_t bits;
    x = vminq_f32(x, vdupq_n_f32(88.0f));
    n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(1.44269504088896341f)));
    r = vfmaq_f32(x, n, vdupq_n_f32(-0.693359375f));
    r = vfmaq_f32(r, n, vdupq_n_f32(2.12194440e-4f));
    p = vdupq_n_f32(1.9875691500e-4f);
    p = vfmaq_f32(vdupq_n_f32(1.3981999507e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(8.3334519073e-3f), p, r);
    p = vfmaq_f32(vdupq_n_f32(4.1665795894e-2f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.6666665459e-1f), p, r);
    p = vfmaq_f32(vdupq_n_f32(5.0000001201e-1f), p, r);
    p = vaddq_f32(vfmaq_f32(r, p, vmulq_f32(r, r)), vdupq_n_f32(1.0f));
    bits = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23);
    p = vmulq_f32(p, vreinterpretq_f32_s32(bits));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), in));
}

#endif
