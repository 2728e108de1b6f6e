/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Uploading: hashes and the device's order of tiles. And argmax. */

/* One warp per tile. */
KERNEL(256, repack, q35_cu_repack)
{
    __shared__ uint16_t tiles[8][448];
    uint32_t warp = threadIdx.x >> 5, i;
    uint64_t tile = (uint64_t)blockIdx.x * 8u + warp;
    uint16_t *codes = (uint16_t *)(a.codes + tile * Q35_TILE_BYTES), *copy = tiles[warp];

    if (tile < a.tiles)
        for (i = lane_id(); i < 448u; i += 32u)
            copy[i] = codes[i];
    __syncwarp();
    if (tile < a.tiles)
        for (i = lane_id(); i < 448u; i += 32u) {
            uint32_t row = i / 28u, t = i % 28u / 7u, h = i % 7u;
            uint32_t to = tile_half((row >> 1) * 4u + t, row & 1u, h);
            if (a.undo)
                codes[i] = copy[to];
            else
                codes[to] = copy[i];
        }
}

FN uint64_t hash_word(const uint8_t *data, uint64_t bytes, uint64_t at)
{
    uint64_t w = 0, b;
    if (at + 8u <= bytes)
        return *(const uint64_t *)(data + at);
    for (b = at; b < bytes; b++)
        w |= (uint64_t)data[b] << (8u * (b - at));
    return w;
}

KERNEL(256, hash, q35_cu_hash)
{
    uint64_t at = ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x) * 8u;
    uint64_t step = (uint64_t)gridDim.x * blockDim.x * 8u, h = 0;
    for (; at < a.bytes; at += step)
        h += q35_mix64(hash_word(a.data, a.bytes, at) ^
                       ((a.first_byte + at) / 8u + 1u) * 0x9e3779b97f4a7c15u);
    if (h)
        atomicAdd((unsigned long long *)a.sum, (unsigned long long)h);
}

/* Larger, or equal and first. */
FN bool beats(float x, uint32_t i, float y, uint32_t j)
{
    return x > y || (x == y && i < j);
}

KERNEL(512, argmax, q35_cu_argmax)
{
    __shared__ float tops[16];
    __shared__ uint32_t at[16];
    const float *x;
    float top = -INFINITY;
    uint32_t best = 0xffffffffu, i, d;

    launch_next();
    launch_wait();
    x = a.logits + (uint64_t)blockIdx.x * a.vocab;
    for (i = threadIdx.x; i < a.vocab; i += blockDim.x)
        if (beats(x[i], i, top, best)) {
            top = x[i];
            best = i;
        }
#pragma unroll
    for (d = 16; d; d >>= 1) {
        float y = __shfl_xor_sync(WARP, top, (int)d);
        uint32_t j = __shfl_xor_sync(WARP, best, (int)d);
        if (beats(y, j, top, best)) {
            top = y;
            best = j;
        }
    }
    if (lane_id() == 0) {
        tops[threadIdx.x >> 5] = top;
        at[threadIdx.x >> 5] = best;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (i = 1; i < blockDim.x / 32u; i++)
            if (beats(tops[i], at[i], top, best)) {
                top = tops[i];
                best = at[i];
            }
        a.ids[blockIdx.x] = best == 0xffffffffu ? 0u : best;
    }
}
