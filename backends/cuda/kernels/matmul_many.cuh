/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Matrix products for many tokens: bound by the int8 matrix units.
 *
 * A block of 8 warps computes 128 rows x NT tokens, a tile of columns at a time. Warp w decodes row
 * block w into shared memory, already in the order of the matrix instruction's fragments; then each
 * warp multiplies 4 row blocks with NT / 4 tokens. Two buffers: while one tile is multiplied, the
 * next one's activations arrive and its codes are decoded. */

#define ROW_BLOCKS (Q35_CU_MANY_ROWS / 16u) /* = warps */

/* Bytes of a and b added without carry into the next byte; a has 128 added to each, the result not.
 */
FN uint32_t add_bytes(uint32_t a, uint32_t b)
{
    return (a + b) ^ 0x80808080u;
}

/* Weights of 4 codes of lo and hi (pair schemes), A in aw, B in bw where it is looked up. */
template <int S>
FN void many_look(shared_at table, const uint32_t strip[4], const uint32_t strip2[4], uint32_t kind,
                  uint32_t aw[2], uint32_t bw[2])
{
    uint32_t e[4];
    strip_look4<S>(table, strip, e);
    aw[0] = __byte_perm(e[0], e[1], LOW_HALVES);
    aw[1] = __byte_perm(e[2], e[3], LOW_HALVES);
    if (!kind)
        return;
    if (kind == 2u)
        strip_look4<S>(table, strip2, e);
    bw[0] = __byte_perm(e[0], e[1], HIGH_HALVES);
    bw[1] = __byte_perm(e[2], e[3], HIGH_HALVES);
}

/* The same for 8 codes of a single scheme. */
template <int S>
FN void many_look_single(shared_at table, const uint32_t strip[4], const uint32_t strip2[4],
                         uint32_t kind, uint32_t aw[2], uint32_t bw[2])
{
    uint32_t e[4], f[4];
    strip_look4<2 * S>(table, strip, e);
    strip_look4<2 * S + 1>(table, strip, f);
    aw[0] = pack4(e, 0x0040u);
    aw[1] = pack4(f, 0x0040u);
    if (!kind)
        return;
    if (kind == 2u) {
        strip_look4<2 * S>(table, strip2, e);
        strip_look4<2 * S + 1>(table, strip2, f);
    }
    bw[0] = pack4(e, 0x0062u);
    bw[1] = pack4(f, 0x0062u);
}

/* Step S of a tile: 8 weights in a row of each of the lane's two rows, as strips have them. */
template <int S, bool PAIR>
FN void many_weights(shared_at table, const uint32_t lo[4], const uint32_t hi[4],
                     const uint32_t lo2[4], const uint32_t hi2[4], uint32_t kind, uint32_t alo[2],
                     uint32_t ahi[2])
{
    uint32_t blo[2] = {0, 0}, bhi[2] = {0, 0}, above = (lane_id() + 28u) & 31u;
    if (PAIR) {
        many_look<S>(table, lo, lo2, kind, alo, blo);
        many_look<S>(table, hi, hi2, kind, ahi, bhi);
    } else {
        many_look_single<S>(table, lo, lo2, kind, alo, blo);
        many_look_single<S>(table, hi, hi2, kind, ahi, bhi);
    }
    if (kind) {
        uint32_t b0 = __shfl_sync(WARP, bhi[0], (int)above);
        uint32_t b1 = __shfl_sync(WARP, bhi[1], (int)above);
        alo[0] = add_bytes(alo[0], b0);
        alo[1] = add_bytes(alo[1], b1);
        ahi[0] = add_bytes(ahi[0], blo[0]);
        ahi[1] = add_bytes(ahi[1], blo[1]);
    }
}

/* The same as the fragment a0 .. a3 of the matrix instruction. */
template <int S, bool PAIR>
FN void many_step(shared_at table, const uint32_t lo[4], const uint32_t hi[4],
                  const uint32_t lo2[4], const uint32_t hi2[4], uint32_t kind, uint8_t *out)
{
    uint32_t alo[2], ahi[2];
    many_weights<S, PAIR>(table, lo, hi, lo2, hi2, kind, alo, ahi);
    *(uint4 *)(out + 512u * S + 16u * lane_id()) = make_uint4(alo[0], ahi[0], alo[1], ahi[1]);
}

/* A warp decodes one tile into out[steps][32 lanes][16]. */
template <bool PAIR>
FN void many_decode(shared_at table, const tile_words *w, uint32_t kind, uint8_t *out)
{
    uint32_t lo[4], hi[4], lo2[4], hi2[4];
    tile_all_strips(w, kind, lo, hi, lo2, hi2);
    many_step<0, PAIR>(table, lo, hi, lo2, hi2, kind, out);
    many_step<1, PAIR>(table, lo, hi, lo2, hi2, kind, out);
    if (PAIR) {
        many_step<2, true>(table, lo, hi, lo2, hi2, kind, out);
        many_step<3, true>(table, lo, hi, lo2, hi2, kind, out);
    }
}

/* Where 16 bytes of a token's tile of activations lie. The exclusive or keeps the 8 lanes that read
 * at a time (2 tokens, every second part, or every one of 4) in different banks. */
template <bool PAIR> FN uint32_t many_x(uint32_t token, uint32_t part)
{
    return token * 128u + 16u * (part ^ (token & 1u) * (PAIR ? 1u : 4u));
}

/* Starts copying the activations of one tile: x[NT][128]. */
template <int NT, bool PAIR>
FN void many_copy_x(const struct q35_cu_matmul *a, uint32_t token0, uint32_t tile, uint8_t *x)
{
    const uint32_t parts = PAIR ? 8u : 4u; /* of 16 bytes */
    uint32_t i;
    for (i = threadIdx.x; i < NT * parts; i += 32u * ROW_BLOCKS) {
        uint32_t token = i / parts, p = i % parts;
        bool valid = token0 + token < a->n_tokens;
        const int8_t *from = a->q + (uint64_t)(valid ? token0 + token : 0u) * a->cols_padded +
                             tile * (16u * parts) + 16u * p;
        copy16(x + many_x<PAIR>(token, p), from, valid);
    }
    copy_commit();
}

/* 4 row blocks times NT / 4 tokens over one tile. w: fragments of the first of the 4 row blocks;
 * x: of the first token. */
template <int NT, bool PAIR>
FN void many_multiply(const uint8_t *w, const uint8_t *x, int32_t acc[4][NT / 32][4])
{
    uint32_t lane = lane_id(), g = lane >> 2, t = lane & 3u;
    int s, i, n;
#pragma unroll
    for (s = 0; s < (PAIR ? 4 : 2); s += 2) {
        uint4 b[NT / 32], f;
#pragma unroll
        for (n = 0; n < NT / 32; n++)
            b[n] = *(const uint4 *)(x + many_x<PAIR>(8u * (uint32_t)n + g,
                                                     (PAIR ? 2u : 1u) * t + (uint32_t)s / 2u));
#pragma unroll
        for (i = 0; i < 4; i++) {
            uint32_t word[4];
            f = *(const uint4 *)(w + (uint32_t)i * 2048u + (uint32_t)s * 512u + 16u * lane);
            word[0] = f.x, word[1] = f.y, word[2] = f.z, word[3] = f.w;
#pragma unroll
            for (n = 0; n < NT / 32; n++)
                mma(acc[i][n], word, b[n].x, b[n].y);
            f = *(const uint4 *)(w + (uint32_t)i * 2048u + (uint32_t)s * 512u + 512u + 16u * lane);
            word[0] = f.x, word[1] = f.y, word[2] = f.z, word[3] = f.w;
#pragma unroll
            for (n = 0; n < NT / 32; n++)
                mma(acc[i][n], word, b[n].z, b[n].w);
        }
    }
}

template <int NT>
FN void many_finish(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, uint32_t row0,
                    uint32_t token0, int32_t acc[4][NT / 32][4])
{
    uint32_t g = lane_id() >> 2, t = lane_id() & 3u;
    int i, n, k;
#pragma unroll
    for (i = 0; i < 4; i++)
#pragma unroll
        for (n = 0; n < NT / 32; n++)
#pragma unroll
            for (k = 0; k < 4; k++) {
                uint32_t row = row0 + 16u * (uint32_t)i + 2u * g + (uint32_t)k / 2u;
                uint32_t token = token0 + 8u * (uint32_t)n + 2u * t + ((uint32_t)k & 1u);
                if (row < m->rows && token < a->n_tokens)
                    finish_value(a, m, row, token, acc[i][n][k]);
            }
}

/* Rows 128 * group .. of m, tokens token0 .. token0 + NT - 1.
 * Shared memory: table, w[2][128 rows][128], x[2][NT][128]. */
template <int NT, bool PAIR>
FN void many_group(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, uint32_t group,
                   uint32_t token0)
{
    uint8_t *table = table_place(dynamic_shared());
    uint8_t *w = table_end(dynamic_shared()), *x = w + 32768u;
    shared_at look = shared_address(table) + 4u * lane_id();
    const uint32_t x_bytes = NT * 128u, w_bytes = 16384u;
    uint32_t warp = threadIdx.x >> 5, tiles = m->tiles, block = group * ROW_BLOCKS + warp, k;
    uint32_t kind = kind_of(m->scheme);
    uint32_t rows_at = (warp >> 2) * 4u, tokens_at = (warp & 3u) * (NT / 4);
    const uint8_t *codes;
    int32_t acc[4][NT / 32][4] = {};
    tile_words next;

    if (block >= m->blocks) /* decodes something that is not used */
        block = m->blocks - 1u;
    codes = m->codes + (uint64_t)block * tiles * Q35_TILE_BYTES;
    tile_load(&next, codes);
    table_fill(table, m->tables, m->scheme, kind ? 0x00008080u : 0u);
    launch_wait();
    many_copy_x<NT, PAIR>(a, token0, 0, x);
    __syncthreads();
    many_decode<PAIR>(look, &next, kind, w + warp * 2048u);
    if (tiles > 1u)
        tile_load(&next, codes + Q35_TILE_BYTES);
    for (k = 0; k < tiles; k++) {
        uint32_t now = k & 1u, then = now ^ 1u;
        copy_wait<0>();
        __syncthreads(); /* tile k is there; buffer `then` has been read */
        if (k + 1u < tiles)
            many_copy_x<NT, PAIR>(a, token0, k + 1u, x + then * x_bytes);
        many_multiply<NT, PAIR>(w + now * w_bytes + rows_at * 2048u,
                                x + now * x_bytes + tokens_at * 128u, acc);
        if (k + 1u < tiles) {
            tile_words now_words = next;
            if (k + 2u < tiles)
                tile_load(&next, codes + (uint64_t)(k + 2u) * Q35_TILE_BYTES);
            many_decode<PAIR>(look, &now_words, kind, w + then * w_bytes + warp * 2048u);
        }
    }
    many_finish<NT>(a, m, (group * ROW_BLOCKS + rows_at) * 16u, token0 + tokens_at, acc);
}

template <int NT> FN void matmul_many(const struct q35_cu_matmul *a)
{
    uint32_t groups = (a->n_tokens + NT - 1u) / NT, cta = blockIdx.x / groups, i = 0;
    uint32_t token0 = (blockIdx.x - cta * groups) * NT;
    const struct q35_cu_matrix *m;
    launch_next();
    while (i + 1u < a->n_mats && cta >= a->mats[i + 1u].first_cta)
        i++;
    m = &a->mats[i];
    if (Q35_SCHEME_WEIGHTS(m->scheme) == 2u)
        many_group<NT, true>(a, m, cta - m->first_cta, token0);
    else
        many_group<NT, false>(a, m, cta - m->first_cta, token0);
}

KERNEL(256, matmul_many64, q35_cu_matmul)
{
    matmul_many<64>(&a);
}

KERNEL(256, matmul_many128, q35_cu_matmul)
{
    matmul_many<128>(&a);
}

KERNEL(256, matmul_many256, q35_cu_matmul)
{
    matmul_many<256>(&a);
}
