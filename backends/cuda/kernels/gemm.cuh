/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What surrounds a product by a library: weights as int8 in memory before it, results from its sums
 * behind it. */

/* One tile to rows of out. A lane has 16 codes of two rows, that is 16 or 32 bytes of each. */
template <bool PAIR>
FN void decode_tile(shared_at table, const tile_words *w, uint32_t kind, uint32_t pitch,
                    int8_t *out)
{
    uint32_t lo[4], hi[4], lo2[4], hi2[4], row = lane_id() >> 2, part = lane_id() & 3u;
    uint32_t l[8], h[8];
    int8_t *to = out + (uint64_t)(2u * row) * pitch + part * (PAIR ? 32u : 16u);
    tile_all_strips(w, kind, lo, hi, lo2, hi2);
    many_weights<0, PAIR>(table, lo, hi, lo2, hi2, kind, l, h);
    many_weights<1, PAIR>(table, lo, hi, lo2, hi2, kind, l + 2, h + 2);
    *(uint4 *)to = make_uint4(l[0], l[1], l[2], l[3]);
    *(uint4 *)(to + pitch) = make_uint4(h[0], h[1], h[2], h[3]);
    if (PAIR) {
        many_weights<2, true>(table, lo, hi, lo2, hi2, kind, l + 4, h + 4);
        many_weights<3, true>(table, lo, hi, lo2, hi2, kind, l + 6, h + 6);
        *(uint4 *)(to + 16) = make_uint4(l[4], l[5], l[6], l[7]);
        *(uint4 *)(to + pitch + 16) = make_uint4(h[4], h[5], h[6], h[7]);
    }
}

/* The same of a triple scheme: 16 bytes of up to three segments. */
FN void decode_tile3(shared_at table, const tile_words *w, uint32_t kind, uint32_t pitch,
                     uint32_t segments, int8_t *out)
{
    uint32_t lo[4], hi[4], lo2[4], hi2[4], l[3][2], h[3][2], l1[3][2], h1[3][2], s;
    int8_t *to = out + (uint64_t)(lane_id() >> 2) * 2u * pitch + (lane_id() & 3u) * 16u;
    tile_all_strips(w, kind, lo, hi, lo2, hi2);
    many_triple<0, 0, 3>(table, lo, hi, lo2, hi2, kind, l, h);
    many_triple<1, 0, 3>(table, lo, hi, lo2, hi2, kind, l1, h1);
#pragma unroll
    for (s = 0; s < 3u; s++)
        if (s < segments) {
            *(uint4 *)(to + 64u * s) = make_uint4(l[s][0], l[s][1], l1[s][0], l1[s][1]);
            *(uint4 *)(to + 64u * s + pitch) = make_uint4(h[s][0], h[s][1], h1[s][0], h1[s][1]);
        }
}

template <int WEIGHTS> FN void decode_all(const struct q35_cu_decode *a, shared_at table)
{
    uint32_t kind = kind_of(a->scheme), total = a->tiles * a->blocks;
    uint32_t i = blockIdx.x * 8u + (threadIdx.x >> 5), step = gridDim.x * 8u;
    for (; i < total; i += step) {
        uint32_t block = i / a->tiles, col = (i - block * a->tiles) * (64u * WEIGHTS);
        int8_t *out = a->out + (uint64_t)block * 16u * a->cols_padded + col;
        tile_words w;
        tile_load(&w, a->codes + (uint64_t)i * Q35_TILE_BYTES);
        if (WEIGHTS == 3)
            decode_tile3(table, &w, kind, a->cols_padded, (a->cols_padded - col) / 64u, out);
        else
            decode_tile<WEIGHTS == 2>(table, &w, kind, a->cols_padded, out);
    }
}

/* Dynamic shared memory: the table. A warp per tile. */
KERNEL(256, decode, q35_cu_decode)
{
    uint8_t *table = table_place(dynamic_shared());
    shared_at look = shared_address(table) + 4u * lane_id();
    launch_next();
    table_fill(table, a.tables, a.scheme, Q35_SCHEME_HAS_B(a.scheme));
    launch_wait(); /* what is overwritten has been read */
    __syncthreads();
    if (Q35_SCHEME_WEIGHTS(a.scheme) == 3u)
        decode_all<3>(&a, look);
    else if (Q35_SCHEME_WEIGHTS(a.scheme) == 2u)
        decode_all<2>(&a, look);
    else
        decode_all<1>(&a, look);
}

/* A thread per row; blockIdx.y: the token. */
KERNEL(256, rescale, q35_cu_rescale)
{
    uint32_t row = blockIdx.x * blockDim.x + threadIdx.x, token = blockIdx.y;
    float v, *y;
    launch_next();
    launch_wait();
    if (row >= a.rows)
        return;
    v = q35_rescale(a.sums[(uint64_t)token * a.stride + row], a.scales[row], a.token_scales[token]);
    y = a.y + token * a.y_stride + row;
    if (a.bias)
        v = v + a.bias[row];
    *y = a.add ? *y + v : v;
}
