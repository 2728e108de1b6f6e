/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over keys and values in int8: how a page lies in shared memory, and what is read of it.
 * Dot products are exact sums of four products at a time. */

/* A head to int8 with one scale, by one warp: q35_quantize. x: [d], NULL for zeros. to: [d].
 * Returns the scale in all lanes. */
FN float quantize_head(const float *x, uint32_t d, int8_t *to)
{
    float top = 0.0f, inv;
    uint32_t i;
    for (i = lane_id(); x && i < d; i += 32u) {
        float m = Q35_FABSF(x[i]);
        top = m > top ? m : top;
    }
    top = warp_max(top);
    inv = top > 1e-30f ? Q35_DIVF(127.0f, top) : 0.0f;
    for (i = lane_id(); i < d; i += 32u)
        to[i] = top > 1e-30f ? (int8_t)quantize1(x[i], inv) : (int8_t)0;
    return scale_of(top);
}

/* What lies in dynamic shared memory. D: head_dim, padded with zeros in q and k. Rows of k are 16
 * bytes longer, so that 8 lanes read 16 bytes each from different banks. */
template <int D> struct attn_int8 {
    float *p;        /* [16 rows][64] */
    float *q_scales; /* [16 rows] */
    float *k_scales; /* [64] */
    float *v_scales; /* [64] */
    int8_t *q;       /* [16 rows][D] */
    int8_t *k;       /* [64][D + 16] */
    int8_t *v;       /* [64][head_dim up to 16] */
    uint32_t v_pitch;
};

template <int D> FN void attn_layout(attn_int8<D> *s, uint32_t d)
{
    s->p = (float *)dynamic_shared();
    s->q_scales = s->p + Q35_CU_ATTN_ROWS * 64u;
    s->k_scales = s->q_scales + Q35_CU_ATTN_ROWS;
    s->v_scales = s->k_scales + 64u;
    s->q = (int8_t *)(s->v_scales + 64u);
    s->k = s->q + Q35_CU_ATTN_ROWS * D;
    s->v = s->k + 64u * (D + 16u);
    s->v_pitch = (d + 15u) & ~15u;
}

/* Zeros where others do not write: q and k are one piece. All threads. */
template <int D> FN void attn_clear(const attn_int8<D> *s)
{
    uint32_t i;
    for (i = threadIdx.x; i < (Q35_CU_ATTN_ROWS * D + 64u * (D + 16u)) / 4u; i += blockDim.x)
        ((uint32_t *)s->q)[i] = 0;
    __syncthreads();
}

template <int D> FN void attn_query(const attn_int8<D> *s, uint32_t row, const float *q, uint32_t d)
{
    float scale = quantize_head(q, d, s->q + row * D);
    if (lane_id() == 0)
        s->q_scales[row] = scale;
}

template <int D>
FN void attn_load(const attn_int8<D> *s, const uint8_t *page, uint32_t heads, uint32_t h,
                  uint32_t d)
{
    uint64_t half = (uint64_t)heads * Q35_ATTN_BLOCK * d;
    const int8_t *k = (const int8_t *)page + (uint64_t)h * Q35_ATTN_BLOCK * d, *v = k + half;
    const float *scales = (const float *)(page + 2u * half) + h * Q35_ATTN_BLOCK;
    uint32_t i;
    if (d % 16u == 0u) {
        uint32_t parts = d / 16u;
        for (i = threadIdx.x; i < 64u * parts; i += blockDim.x) {
            uint32_t row = i / parts, p = i % parts * 16u;
            *(uint4 *)(s->k + row * (D + 16u) + p) = *(const uint4 *)(k + row * d + p);
            *(uint4 *)(s->v + row * s->v_pitch + p) = *(const uint4 *)(v + row * d + p);
        }
    } else {
        for (i = threadIdx.x; i < 64u * d; i += blockDim.x) {
            s->k[i / d * (D + 16u) + i % d] = k[i];
            s->v[i / d * s->v_pitch + i % d] = v[i];
        }
    }
    if (threadIdx.x < 64u) {
        s->k_scales[threadIdx.x] = scales[threadIdx.x];
        s->v_scales[threadIdx.x] = scales[heads * Q35_ATTN_BLOCK + threadIdx.x];
    }
}

FN int32_t dot16(uint4 x, uint4 y, int32_t sum)
{
    sum = dot4(x.x, y.x, sum);
    sum = dot4(x.y, y.y, sum);
    sum = dot4(x.z, y.z, sum);
    return dot4(x.w, y.w, sum);
}

template <int D>
FN void attn_scores(const attn_int8<D> *s, uint32_t warp, float scale, float score[4][2])
{
    uint32_t lane = lane_id(), i;
    const int8_t *k = s->k + lane * (D + 16u), *q = s->q + warp * (4u * D);
    int32_t sum[4][2] = {};
    int r;
#pragma unroll 4
    for (i = 0; i < D; i += 16u) {
        uint4 k0 = *(const uint4 *)(k + i), k1 = *(const uint4 *)(k + 32u * (D + 16u) + i);
#pragma unroll
        for (r = 0; r < 4; r++) {
            uint4 x = *(const uint4 *)(q + r * D + i);
            sum[r][0] = dot16(x, k0, sum[r][0]);
            sum[r][1] = dot16(x, k1, sum[r][1]);
        }
    }
#pragma unroll
    for (r = 0; r < 4; r++) {
        float q_scale = s->q_scales[warp * 4u + r];
        score[r][0] = q35_attn_score8(sum[r][0], q_scale, s->k_scales[lane], scale);
        score[r][1] = q35_attn_score8(sum[r][1], q_scale, s->k_scales[lane + 32u], scale);
    }
}

/* (float) of a byte: 2^23 + 128 + x has x in its last bits. */
template <int D> FN void attn_value(const attn_int8<D> *s, uint32_t j, uint32_t at, float x[4])
{
    uint32_t w = *(const uint32_t *)(s->v + j * s->v_pitch + at) ^ 0x80808080u;
    union {
        uint32_t bits[4];
        float f[4];
    } u;
    int e;
    u.bits[0] = __byte_perm(w, 0x4b000000u, 0x7440u);
    u.bits[1] = __byte_perm(w, 0x4b000000u, 0x7441u);
    u.bits[2] = __byte_perm(w, 0x4b000000u, 0x7442u);
    u.bits[3] = __byte_perm(w, 0x4b000000u, 0x7443u);
#pragma unroll
    for (e = 0; e < 4; e++)
        x[e] = u.f[e] - 8388736.0f;
}

template <int D> FN const float *attn_value_scales(const attn_int8<D> *s)
{
    return s->v_scales;
}
