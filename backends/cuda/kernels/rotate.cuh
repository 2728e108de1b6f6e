/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Norm, activation, rotation and quantization of the input of a matrix product; and embedding rows,
 * which are rotated back. One block of threads has one token and a chunk of columns, in shared
 * memory if it fits, else in place in global memory. */

#define SIGN_WORDS 1024u /* columns / 64 that the block keeps signs of */

/* In shared memory 8 words of padding follow every 64, which frees the passes of bank conflicts. */
template <bool S> FN uint32_t place(uint32_t i)
{
    return S ? i + ((i >> 6) << 3) : i;
}

/* log2(R) stages of butterflies, of distance h, 2h ..., on v[len]; h * R divides the block. */
template <bool S, int R> FN void butterflies(float *v, uint32_t len, uint32_t h)
{
    uint32_t p;
    for (p = threadIdx.x; p < len / R; p += blockDim.x) {
        uint32_t base = p / h * (h * R) + p % h;
        float x[R];
        int d, i;
#pragma unroll
        for (i = 0; i < R; i++)
            x[i] = v[place<S>(base + (uint32_t)i * h)];
#pragma unroll
        for (d = 1; d < R; d *= 2)
#pragma unroll
            for (i = 0; i < R; i++)
                if (!(i & d)) {
                    float s = x[i], t = x[i + d];
                    x[i] = s + t;
                    x[i + d] = s - t;
                }
#pragma unroll
        for (i = 0; i < R; i++)
            v[place<S>(base + (uint32_t)i * h)] = x[i];
    }
    __syncthreads();
}

/* Hadamard transforms of every `block` values of v[len]; all threads have seen v written. */
template <bool S> FN void hadamard(float *v, uint32_t len, uint32_t block)
{
    uint32_t h = 1;
    for (; h * 8u <= block; h *= 8u)
        butterflies<S, 8>(v, len, h);
    if (h * 4u <= block)
        butterflies<S, 4>(v, len, h);
    else if (h * 2u <= block)
        butterflies<S, 2>(v, len, h);
}

/* Signs of columns from..from+len-1, both multiples of 64, kept for sign_of. Caller synchronises.
 */
FN void signs_fill(uint64_t *signs, uint64_t seed, uint32_t from, uint32_t len)
{
    uint32_t i;
    for (i = threadIdx.x; i < len / 64u && i < SIGN_WORDS; i += blockDim.x)
        signs[i] = q35_mix64(seed + 0x9e3779b97f4a7c15u * (from / 64u + i + 1u));
}

FN bool sign_of(const uint64_t *signs, uint64_t seed, uint32_t from, uint32_t i)
{
    return i / 64u < SIGN_WORDS ? (signs[i / 64u] >> (i & 63u)) & 1u : q35_rot_sign(seed, from + i);
}

/* The factor of RMSNorm by the first 16 threads of a warp, right in lane 0: lane i has the elements
 * i, i + 16 ... */
template <class T> FN float rms_factor(T get, uint32_t n, float eps)
{
    uint32_t lane = lane_id(), i = lane, k;
    float sum = 0.0f;
    if (lane < 16u) {
        float next[16];
        if (i + 15u * 16u < n)
#pragma unroll
            for (k = 0; k < 16; k++)
                next[k] = get(i + 16u * k);
        for (; i + 15u * 16u < n; i += 256u) {
            float x[16];
#pragma unroll
            for (k = 0; k < 16; k++)
                x[k] = next[k];
            if (i + 31u * 16u < n)
#pragma unroll
                for (k = 0; k < 16; k++)
                    next[k] = get(i + 256u + 16u * k);
#pragma unroll
            for (k = 0; k < 16; k++)
                sum = Q35_FMAF(x[k], x[k], sum);
        }
        for (; i < n; i += 16u)
            sum = Q35_FMAF(get(i), get(i), sum);
    }
    sum = warp_tree16(sum);
    return Q35_DIVF(1.0f, Q35_SQRTF(Q35_DIVF(sum, (float)n) + eps));
}

/* Largest magnitude over the block of threads, in all of them. NaN does not count. */
FN float block_max(float top, float *tops)
{
    uint32_t i;
    top = warp_max(top);
    if (lane_id() == 0)
        tops[threadIdx.x >> 5] = top;
    __syncthreads();
    for (i = 0; i < blockDim.x / 32u; i++)
        top = tops[i] > top ? tops[i] : top;
    return top;
}

FN uint32_t quantize1(float x, float inv)
{
    float v = Q35_RINTF(x * inv);
    v = v > 127.0f ? 127.0f : v;
    v = v < -127.0f ? -127.0f : v;
    return v == v ? (uint32_t)(int32_t)v & 255u : 0u;
}

/* Word i of q, that is 4 values in the order of the product, of v[..]. */
template <bool S> FN uint32_t quantize4(const float *v, uint32_t i, uint32_t pair, float inv)
{
    uint32_t k = 4u * i, step = 1u, one, two;
    if (pair) {
        k = (i & ~31u) * 4u + (i & 31u) * 2u;
        step = 64u;
    }
    one = pair ? 1u : 2u;
    two = step + one;
    return quantize1(v[place<S>(k)], inv) | quantize1(v[place<S>(k + step)], inv) << 8 |
           quantize1(v[place<S>(k + one)], inv) << 16 | quantize1(v[place<S>(k + two)], inv) << 24;
}

/* v[len] -> q; top is the largest magnitude of the whole row. */
template <bool S>
FN void quantize_all(const float *v, uint32_t len, uint32_t pair, float top, int8_t *q)
{
    uint32_t i;
    float inv = top > 1e-30f ? Q35_DIVF(127.0f, top) : 0.0f;
    for (i = threadIdx.x; i < len / 4u; i += blockDim.x)
        ((uint32_t *)q)[i] = top > 1e-30f ? quantize4<S>(v, i, pair, inv) : 0u;
}

FN float scale_of(float top)
{
    return top > 1e-30f ? Q35_DIVF(top, 127.0f) : 0.0f;
}

/* Column k of the input, before rotation. x: its value. */
FN float input_of(const struct q35_cu_rotate *a, float x, const float *up, uint32_t k, float factor)
{
    if (k >= a->cols)
        return 0.0f;
    if (a->norm)
        return (x * factor) * a->norm[k];
    return a->up ? q35_silu(x) * up[k] : x;
}

/* The norm's factor, in all threads. The row is in v if that holds all of it: 16 threads add up in
 * a row of dependent steps, so what they read must be near. */
template <bool S>
FN float row_factor(const struct q35_cu_rotate *a, const float *x, const float *v, float *shared)
{
    if (threadIdx.x < 32u) {
        float factor;
        if (gridDim.y == 1)
            factor = rms_factor([v](uint32_t k) { return v[place<S>(k)]; }, a->cols, a->eps);
        else
            factor = rms_factor([x](uint32_t k) { return x[k]; }, a->cols, a->eps);
        if (threadIdx.x == 0)
            *shared = factor;
    }
    __syncthreads();
    return *shared;
}

template <bool S>
FN void rotate_chunk(const struct q35_cu_rotate *a, float *v, uint64_t *signs, float *tops)
{
    uint32_t from = blockIdx.y * a->chunk, i;
    uint32_t len = a->cols_padded - from < a->chunk ? a->cols_padded - from : a->chunk;
    uint64_t row = a->rows ? a->rows[blockIdx.x] : blockIdx.x;
    const float *x = a->x + row * a->x_stride, *up = a->up ? a->up + row * a->x_stride : x;
    float factor = 0.0f, top = 0.0f;

    if (a->rot_block)
        signs_fill(signs, a->rot_seed, from, len);
    for (i = threadIdx.x; i < len; i += blockDim.x)
        v[place<S>(i)] = from + i < a->cols ? x[from + i] : 0.0f;
    __syncthreads();
    if (a->norm)
        factor = row_factor<S>(a, x, v, tops + 32);
    for (i = threadIdx.x; i < len; i += blockDim.x) {
        float y = input_of(a, v[place<S>(i)], up, from + i, factor);
        if (a->rot_block && sign_of(signs, a->rot_seed, from, i))
            y = -y;
        v[place<S>(i)] = y;
    }
    __syncthreads();
    if (a->rot_block)
        hadamard<S>(v, len, a->rot_block);
    for (i = threadIdx.x; i < len; i += blockDim.x) {
        float m = Q35_FABSF(v[place<S>(i)]);
        top = m > top ? m : top;
    }
    top = block_max(top, tops);
    if (gridDim.y == 1) {
        quantize_all<S>(v, len, a->pair, top, a->q + (uint64_t)blockIdx.x * a->cols_padded);
        if (threadIdx.x == 0)
            a->scales[blockIdx.x] = scale_of(top);
        return;
    }
    if (threadIdx.x == 0)
        a->scratch[(uint64_t)a->n_tokens * a->cols_padded +
                   (uint64_t)blockIdx.x * (a->cols_padded / 128u) + blockIdx.y] = top;
    if (S)
        for (i = threadIdx.x; i < len; i += blockDim.x)
            a->scratch[(uint64_t)blockIdx.x * a->cols_padded + from + i] = v[place<S>(i)];
}

KERNEL(1024, rotate, q35_cu_rotate)
{
    __shared__ uint64_t signs[SIGN_WORDS];
    __shared__ float tops[33];
    launch_next();
    launch_wait();
    if (a.in_shared)
        rotate_chunk<true>(&a, (float *)dynamic_shared(), signs, tops);
    else
        rotate_chunk<false>(
            &a, a.scratch + (uint64_t)blockIdx.x * a.cols_padded + (uint64_t)blockIdx.y * a.chunk,
            signs, tops);
}

/* After rotate in several chunks: 4096 columns of one token. */
KERNEL(256, quantize, q35_cu_rotate)
{
    __shared__ float tops[33];
    uint32_t from = blockIdx.y * 4096u, i, chunks = (a.cols_padded + a.chunk - 1u) / a.chunk;
    uint32_t len = a.cols_padded - from < 4096u ? a.cols_padded - from : 4096u;
    uint64_t at = (uint64_t)blockIdx.x * a.cols_padded;
    const float *chunk_tops = a.scratch + (uint64_t)a.n_tokens * a.cols_padded +
                              (uint64_t)blockIdx.x * (a.cols_padded / 128u);
    float top = 0.0f;

    launch_next();
    launch_wait();
    for (i = threadIdx.x; i < chunks; i += blockDim.x)
        top = chunk_tops[i] > top ? chunk_tops[i] : top;
    top = block_max(top, tops);
    quantize_all<false>(a.scratch + at + from, len, a.pair, top, a.q + at + from);
    if (blockIdx.y == 0 && threadIdx.x == 0)
        a.scales[blockIdx.x] = scale_of(top);
}

template <bool S> FN void embed_chunk(const struct q35_cu_embed *a, float *v, uint64_t *signs)
{
    uint32_t from = blockIdx.y * a->chunk, i, tile_cols = q35_tile_cols(a->scheme);
    uint32_t len = a->cols_padded - from < a->chunk ? a->cols_padded - from : a->chunk;
    uint32_t row = (uint32_t)a->tokens[blockIdx.x].id;
    const uint8_t *codes =
        a->codes + (uint64_t)(row / 16u) * q35_tiles_per_row(a->scheme, a->cols_padded) * 896u;
    float *out = a->out + (uint64_t)blockIdx.x * a->cols, scale = a->scales[row];

    if (a->rot_block)
        signs_fill(signs, a->rot_seed, from, len);
    for (i = threadIdx.x; i < len; i += blockDim.x) {
        uint32_t k = from + i, j = k % tile_cols;
        int32_t w = tile_weight(a->scheme, a->tables, codes + (uint64_t)(k / tile_cols) * 896u,
                                row & 15u, j & 63u, j >> 6);
        v[place<S>(i)] = (float)w * scale;
    }
    __syncthreads();
    if (a->rot_block)
        hadamard<S>(v, len, a->rot_block);
    for (i = threadIdx.x; i < len && from + i < a->cols; i += blockDim.x) {
        float y = v[place<S>(i)];
        if (a->rot_block && sign_of(signs, a->rot_seed, from, i))
            y = -y;
        out[from + i] = y * a->embed_scale;
    }
}

KERNEL(256, embed, q35_cu_embed)
{
    __shared__ uint64_t signs[SIGN_WORDS];
    launch_next();
    launch_wait();
    if (a.in_shared)
        embed_chunk<true>(&a, (float *)dynamic_shared(), signs);
    else
        embed_chunk<false>(
            &a, a.scratch + (uint64_t)blockIdx.x * a.cols_padded + (uint64_t)blockIdx.y * a.chunk,
            signs);
}
