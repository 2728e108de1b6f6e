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
    aw[0] = pack4(e, 0);
    aw[1] = pack4(f, 0);
    if (!kind)
        return;
    if (kind == 2u) {
        strip_look4<2 * S>(table, strip2, e);
        strip_look4<2 * S + 1>(table, strip2, f);
    }
    bw[0] = pack4(e, 2);
    bw[1] = pack4(f, 2);
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

/* 8 codes of a triple scheme: of segments FIRST .. FIRST + N - 1 8 weights in a row of each of the
 * lane's two rows. */
template <int S, int FIRST, int N>
FN void many_triple(shared_at table, const uint32_t lo[4], const uint32_t hi[4],
                    const uint32_t lo2[4], const uint32_t hi2[4], uint32_t kind, uint32_t alo[N][2],
                    uint32_t ahi[N][2])
{
    uint32_t e[4][4], b[4] = {0, 0, 0, 0}, above = (lane_id() + 28u) & 31u;
    int s, k;
    strip_look4<2 * S>(table, lo, e[0]);
    strip_look4<2 * S + 1>(table, lo, e[1]);
    strip_look4<2 * S>(table, hi, e[2]);
    strip_look4<2 * S + 1>(table, hi, e[3]);
#pragma unroll
    for (s = 0; s < N; s++)
#pragma unroll
        for (k = 0; k < 2; k++) {
            alo[s][k] = pack4(e[k], (uint32_t)(FIRST + s));
            ahi[s][k] = pack4(e[2 + k], (uint32_t)(FIRST + s));
        }
    if (!kind)
        return;
    if (kind == 2u) {
        strip_look4<2 * S>(table, lo2, e[0]);
        strip_look4<2 * S + 1>(table, lo2, e[1]);
        strip_look4<2 * S>(table, hi2, e[2]);
        strip_look4<2 * S + 1>(table, hi2, e[3]);
    }
#pragma unroll
    for (k = 0; k < 4; k++)
        b[k] = pack4(e[k], 3u);
    b[2] = __shfl_sync(WARP, b[2], (int)above);
    b[3] = __shfl_sync(WARP, b[3], (int)above);
#pragma unroll
    for (s = 0; s < N; s++)
#pragma unroll
        for (k = 0; k < 2; k++) {
            alo[s][k] = add_bytes(alo[s][k], triple_b(b[2 + k], (uint32_t)(FIRST + s)));
            ahi[s][k] = add_bytes(ahi[s][k], triple_b(b[k], (uint32_t)(FIRST + s)));
        }
}

template <int S, int FIRST, int N>
FN void many_step3(shared_at table, const uint32_t lo[4], const uint32_t hi[4],
                   const uint32_t lo2[4], const uint32_t hi2[4], uint32_t kind, uint8_t *out)
{
    uint32_t alo[N][2], ahi[N][2];
    int s;
    many_triple<S, FIRST, N>(table, lo, hi, lo2, hi2, kind, alo, ahi);
#pragma unroll
    for (s = 0; s < N; s++)
        *(uint4 *)(out + 512u * (2u * (uint32_t)s + S) + 16u * lane_id()) =
            make_uint4(alo[s][0], ahi[s][0], alo[s][1], ahi[s][1]);
}

/* A warp decodes one tile into out[fragments][32 lanes][16]; of triple schemes the first two
 * segments, or with `part` the third. */
template <int WEIGHTS>
FN void many_decode(shared_at table, const tile_words *w, uint32_t kind, uint32_t part,
                    uint8_t *out)
{
    uint32_t lo[4], hi[4], lo2[4], hi2[4];
    tile_all_strips(w, kind, lo, hi, lo2, hi2);
    if (WEIGHTS == 3) {
        if (part == 0u) {
            many_step3<0, 0, 2>(table, lo, hi, lo2, hi2, kind, out);
            many_step3<1, 0, 2>(table, lo, hi, lo2, hi2, kind, out);
        } else {
            many_step3<0, 2, 1>(table, lo, hi, lo2, hi2, kind, out);
            many_step3<1, 2, 1>(table, lo, hi, lo2, hi2, kind, out);
        }
        return;
    }
    many_step<0, WEIGHTS == 2>(table, lo, hi, lo2, hi2, kind, out);
    many_step<1, WEIGHTS == 2>(table, lo, hi, lo2, hi2, kind, out);
    if (WEIGHTS == 2) {
        many_step<2, true>(table, lo, hi, lo2, hi2, kind, out);
        many_step<3, true>(table, lo, hi, lo2, hi2, kind, out);
    }
}

/* Where 16 bytes of a token's activations of one step lie. The exclusive or keeps the 8 lanes that
 * read at a time (2 tokens, every second part of pair schemes, or 4 parts in a row) in different
 * banks. */
template <bool PAIR> FN uint32_t many_x(uint32_t token, uint32_t part)
{
    return token * 128u + 16u * (part ^ (token & 1u) * (PAIR ? 1u : 4u));
}

/* Starts copying the activations of one step, columns `from` and on: x[NT][128]. */
template <int NT, int WEIGHTS>
FN void many_copy_x(const struct q35_cu_matmul *a, uint32_t token0, uint32_t from, uint8_t *x)
{
    const uint32_t parts = WEIGHTS == 1 ? 4u : 8u; /* of 16 bytes */
    uint32_t i;
    for (i = threadIdx.x; i < NT * parts; i += 32u * ROW_BLOCKS) {
        uint32_t token = i / parts, p = i % parts, at = from + 16u * p;
        bool valid = token0 + token < a->n_tokens && (WEIGHTS < 3 || at < a->cols_padded);
        const int8_t *q = a->q;
        if (valid)
            q += (uint64_t)(token0 + token) * a->cols_padded + at;
        copy16(x + many_x<WEIGHTS == 2>(token, p), q, valid);
    }
    copy_commit();
}

/* 4 row blocks times NT / 4 tokens over one step. w: fragments of the first of the 4 row blocks;
 * x: of the first token; n: fragments, 2 or 4. */
template <int NT, bool PAIR>
FN void many_multiply(const uint8_t *w, const uint8_t *x, int n_fragments,
                      int32_t acc[4][NT / 32][4])
{
    uint32_t lane = lane_id(), g = lane >> 2, t = lane & 3u;
    int s, i, n;
#pragma unroll
    for (s = 0; s < 4; s += 2) {
        uint4 b[NT / 32], f;
        uint32_t part = PAIR ? 2u * t + (uint32_t)s / 2u : 2u * (uint32_t)s + t;
        if (s >= n_fragments)
            break;
#pragma unroll
        for (n = 0; n < NT / 32; n++)
            b[n] = *(const uint4 *)(x + many_x<PAIR>(8u * (uint32_t)n + g, part));
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

/* Rows 128 * group .. of m, tokens token0 .. token0 + NT - 1. A step is a tile; of a triple scheme
 * a tile is two steps, of 128 and of 64 columns, since three segments would not fit twice. Shared
 * memory: table, w[2][128 rows][128], x[2][NT][128]. */
template <int NT, int WEIGHTS>
FN void many_group(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, uint32_t group,
                   uint32_t token0)
{
    uint8_t *table = table_place(dynamic_shared());
    uint8_t *w = table_end(dynamic_shared()), *x = w + 32768u;
    shared_at look = shared_address(table) + 4u * lane_id();
    const uint32_t x_bytes = NT * 128u, w_bytes = 16384u, halves = WEIGHTS == 3 ? 2u : 1u;
    uint32_t warp = threadIdx.x >> 5, steps = m->tiles, block = group * ROW_BLOCKS + warp, k;
    uint32_t kind = kind_of(m->scheme);
    uint32_t rows_at = (warp >> 2) * 4u, tokens_at = (warp & 3u) * (NT / 4);
    const uint8_t *codes;
    int32_t acc[4][NT / 32][4] = {};
    tile_words now_words, next;

    if (block >= m->blocks) /* decodes something that is not used */
        block = m->blocks - 1u;
    codes = m->codes + (uint64_t)block * m->tiles * Q35_TILE_BYTES;
    if (WEIGHTS == 3) /* the last tile's third segment may not count */
        steps = 2u * steps - (a->cols_padded <= steps * 192u - 64u ? 1u : 0u);
    tile_load(&now_words, codes);
    next = now_words;
    table_fill(table, m->tables, m->scheme, kind != 0u);
    launch_wait();
    many_copy_x<NT, WEIGHTS>(a, token0, 0, x);
    __syncthreads();
    many_decode<WEIGHTS>(look, &now_words, kind, 0, w + warp * 2048u);
    if (m->tiles > 1u)
        tile_load(&next, codes + Q35_TILE_BYTES);
    for (k = 0; k < steps; k++) {
        uint32_t now = k & 1u, then = now ^ 1u, tile = (k + 1u) / halves, part = (k + 1u) % halves;
        copy_wait<0>();
        __syncthreads(); /* step k is there; buffer `then` has been read */
        if (k + 1u < steps)
            many_copy_x<NT, WEIGHTS>(a, token0, tile * (64u * WEIGHTS) + 128u * part,
                                     x + then * x_bytes);
        many_multiply<NT, WEIGHTS == 2>(w + now * w_bytes + rows_at * 2048u,
                                        x + now * x_bytes + tokens_at * 128u,
                                        WEIGHTS == 1 || (WEIGHTS == 3 && k % 2u) ? 2 : 4, acc);
        if (k + 1u < steps) {
            if (part == 0u) {
                now_words = next;
                if (tile + 1u < m->tiles)
                    tile_load(&next, codes + (uint64_t)(tile + 1u) * Q35_TILE_BYTES);
            }
            many_decode<WEIGHTS>(look, &now_words, kind, part, w + then * w_bytes + warp * 2048u);
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
    if (Q35_SCHEME_WEIGHTS(m->scheme) == 3u)
        many_group<NT, 3>(a, m, cta - m->first_cta, token0);
    else if (Q35_SCHEME_WEIGHTS(m->scheme) == 2u)
        many_group<NT, 2>(a, m, cta - m->first_cta, token0);
    else
        many_group<NT, 1>(a, m, cta - m->first_cta, token0);
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
