/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention over keys and values in binary16: how a page lies in shared memory, and what is read of
 * it. A dot product runs over 16 lanes of the specification; they are taken one after another, the
 * tree's additions done as soon as both sides are there, so that few sums are alive. For this K
 * lies in shared memory with the elements i, i + 16, i + 32 ... of a row side by side, as does q.
 */

/* Where element i of a row goes; c: elements per lane of the specification, padded. */
FN uint32_t attn_place(uint32_t i, uint32_t c)
{
    return (i & 15u) * c + (i >> 4);
}

/* What lies in dynamic shared memory. */
template <int C> struct attn_f16 {
    float *q;    /* [16 rows][16 * C], by attn_place */
    uint16_t *k; /* [64][16 * C + 4], by attn_place */
    uint16_t *v; /* [64][head_dim up to 4] */
    float *p;    /* [16 rows][64] */
    uint32_t k_pitch, v_pitch;
};

template <int C> FN void attn_layout(attn_f16<C> *s, uint32_t d)
{
    s->k_pitch = 16u * C + 4u; /* 2 banks on from row to row: 16 lanes read 8 bytes at a time */
    s->v_pitch = (d + 7u) & ~7u;
    s->q = (float *)dynamic_shared();
    s->p = s->q + Q35_CU_ATTN_ROWS * 16u * C;
    s->k = (uint16_t *)(s->p + Q35_CU_ATTN_ROWS * 64u);
    s->v = s->k + 64u * s->k_pitch;
}

/* Zeros where attn_load does not write. All threads. */
template <int C> FN void attn_clear(const attn_f16<C> *s)
{
    uint32_t i;
    for (i = threadIdx.x; i < 32u * s->k_pitch; i += blockDim.x)
        ((uint32_t *)s->k)[i] = 0;
}

/* Row `row` of q, zeros if q is NULL. One warp. */
template <int C> FN void attn_query(const attn_f16<C> *s, uint32_t row, const float *q, uint32_t d)
{
    float *to = s->q + row * (16u * C);
    uint32_t i;
    for (i = lane_id(); i < 16u * C; i += 32u)
        to[attn_place(i, C)] = q && i < d ? q[i] : 0.0f;
}

/* KV head h of a page to shared memory. All threads. */
template <int C>
FN void attn_load(const attn_f16<C> *s, const uint8_t *page, uint32_t heads, uint32_t h, uint32_t d)
{
    const uint16_t *k = (const uint16_t *)page + (uint64_t)h * Q35_ATTN_BLOCK * d;
    const uint16_t *v = k + (uint64_t)heads * Q35_ATTN_BLOCK * d;
    uint32_t i, j;
    if (d % 8u == 0u) {
        uint32_t parts = d / 8u;
        for (i = threadIdx.x; i < 64u * parts; i += blockDim.x) {
            uint32_t row = i / parts, p = i % parts;
            union {
                uint4 words;
                uint16_t h[8];
            } u;
            u.words = *(const uint4 *)(k + row * d + 8u * p);
#pragma unroll
            for (j = 0; j < 8; j++)
                s->k[row * s->k_pitch + attn_place(8u * p + j, C)] = u.h[j];
            *(uint4 *)(s->v + row * s->v_pitch + 8u * p) = *(const uint4 *)(v + row * d + 8u * p);
        }
    } else {
        for (i = threadIdx.x; i < 64u * d; i += blockDim.x) {
            s->k[i / d * s->k_pitch + attn_place(i % d, C)] = k[i];
            s->v[i / d * s->v_pitch + i % d] = v[i];
        }
    }
}

/* Dot products of one lane of the specification: 4 rows, 2 positions, C elements. */
template <int C>
FN void attn_lane(const float *q, const uint16_t *k0, const uint16_t *k1, float sum[4][2])
{
    int r, c, e;
#pragma unroll
    for (r = 0; r < 4; r++)
        sum[r][0] = sum[r][1] = 0.0f;
#pragma unroll
    for (c = 0; c < C; c += 4) {
        union {
            uint2 words;
            uint16_t h[4];
        } u0, u1;
        u0.words = *(const uint2 *)(k0 + c);
        u1.words = *(const uint2 *)(k1 + c);
#pragma unroll
        for (r = 0; r < 4; r++) {
            float4 x = *(const float4 *)(q + r * (16 * C) + c);
            const float y[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
            for (e = 0; e < 4; e++) {
                sum[r][0] = Q35_FMAF(y[e], half_to_float(u0.h[e]), sum[r][0]);
                sum[r][1] = Q35_FMAF(y[e], half_to_float(u1.h[e]), sum[r][1]);
            }
        }
    }
}

/* Lanes l, l + 8, l + 4, l + 12, joined as the tree does. */
template <int C>
FN void attn_four(const float *q, const uint16_t *k0, const uint16_t *k1, float sum[4][2])
{
    float s[4][2], t[4][2];
    int r, i, far;
#pragma unroll 1
    for (far = 0; far < 2; far++, q += 4 * C, k0 += 4 * C, k1 += 4 * C) {
        attn_lane<C>(q, k0, k1, s);
        attn_lane<C>(q + 8 * C, k0 + 8 * C, k1 + 8 * C, t);
#pragma unroll
        for (r = 0; r < 4; r++)
            for (i = 0; i < 2; i++) {
                s[r][i] = s[r][i] + t[r][i];
                sum[r][i] = far ? sum[r][i] + s[r][i] : s[r][i];
            }
    }
}

/* All 16 lanes. The loops stay loops: unrolled, the sums would not fit into registers. */
template <int C>
FN void attn_dots(const float *q, const uint16_t *k0, const uint16_t *k1, float sum[4][2])
{
    float even[4][2], t[4][2];
    int r, l, odd;
#pragma unroll 1
    for (odd = 0; odd < 2; odd++, q += C, k0 += C, k1 += C) {
        attn_four<C>(q, k0, k1, sum);
        attn_four<C>(q + 2 * C, k0 + 2 * C, k1 + 2 * C, t);
#pragma unroll
        for (r = 0; r < 4; r++)
            for (l = 0; l < 2; l++) {
                sum[r][l] = sum[r][l] + t[r][l];
                if (odd)
                    sum[r][l] = even[r][l] + sum[r][l];
                else
                    even[r][l] = sum[r][l];
            }
    }
}

/* Scores of the warp's 4 rows with positions lane and lane + 32. */
template <int C>
FN void attn_scores(const attn_f16<C> *s, uint32_t warp, float scale, float score[4][2])
{
    uint32_t lane = lane_id();
    int r;
    attn_dots<C>(s->q + warp * (4u * 16u * C), s->k + lane * s->k_pitch,
                 s->k + (lane + 32u) * s->k_pitch, score);
#pragma unroll
    for (r = 0; r < 4; r++) {
        score[r][0] = score[r][0] * scale;
        score[r][1] = score[r][1] * scale;
    }
}

/* Values at .. at + 3 of position j. */
template <int C> FN void attn_value(const attn_f16<C> *s, uint32_t j, uint32_t at, float x[4])
{
    union {
        uint2 words;
        uint16_t h[4];
    } u;
    int e;
    u.words = *(const uint2 *)(s->v + j * s->v_pitch + at);
#pragma unroll
    for (e = 0; e < 4; e++)
        x[e] = half_to_float(u.h[e]);
}

/* What probabilities are multiplied by: nothing. */
template <int C> FN const float *attn_value_scales(const attn_f16<C> *)
{
    return NULL;
}
