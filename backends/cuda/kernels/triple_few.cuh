/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A tile of a triple scheme for 1 to 16 tokens. */

/* The words of codes 8S .. 8S+7 of both rows, as the matrix instruction takes them. */
template <int S>
FN void few_look3(shared_at table, const uint32_t lo[4], const uint32_t hi[4], uint32_t e[4][4])
{
    strip_look4<2 * S>(table, lo, e[0]);
    strip_look4<2 * S>(table, hi, e[1]);
    strip_look4<2 * S + 1>(table, lo, e[2]);
    strip_look4<2 * S + 1>(table, hi, e[3]);
}

/* Codes 8S .. 8S+7 of a triple scheme: three times as a single one. x: the activations of this
 * lane's strip in the first segment, NULL where no token is; n: segments of the tile that count. */
template <int NB, int KIND, int S>
FN void few_triple(shared_at table, const uint32_t lo[4], const uint32_t hi[4],
                   const uint32_t lo2[4], const uint32_t hi2[4], const int8_t *const x[NB],
                   uint32_t n, int32_t acc[NB][4], int32_t accb[NB][4])
{
    uint32_t e[4][4], b[4] = {0, 0, 0, 0}, w[4], k, s;
    int i;
    if (KIND == 2) {
        few_look3<S>(table, lo2, hi2, e);
#pragma unroll
        for (k = 0; k < 4; k++)
            b[k] = pack4(e[k], 3u);
    }
    few_look3<S>(table, lo, hi, e);
#pragma unroll
    for (k = 0; k < 4; k++)
        if (KIND == 1)
            b[k] = pack4(e[k], 3u);
#pragma unroll
    for (s = 0; s < 3u; s++) {
        uint2 y[NB];
#pragma unroll
        for (i = 0; i < NB; i++) {
            y[i].x = y[i].y = 0;
            if (x[i] && s < n)
                y[i] = *(const uint2 *)(x[i] + 64u * s + 8u * S);
        }
#pragma unroll
        for (k = 0; k < 4; k++)
            w[k] = pack4(e[k], s);
#pragma unroll
        for (i = 0; i < NB; i++)
            mma(acc[i], w, y[i].x, y[i].y);
        if (KIND) {
#pragma unroll
            for (k = 0; k < 4; k++)
                w[k] = triple_b(b[k], s);
#pragma unroll
            for (i = 0; i < NB; i++)
                mma(accb[i], w, y[i].x, y[i].y);
        }
    }
}

/* Tile `tile` of a triple scheme for the tokens token, token + 8 ... */
template <int NB, int KIND>
FN void few_tile3(shared_at table, const tile_words *w, const struct q35_cu_matmul *a,
                  uint32_t token, uint32_t tile, int32_t acc[NB][4], int32_t accb[NB][4])
{
    uint32_t lo[4], hi[4], lo2[4], hi2[4], n = (a->cols_padded - tile * 192u) / 64u, i;
    const int8_t *x[NB];
#pragma unroll
    for (i = 0; i < NB; i++)
        x[i] = token + 8u * i < a->n_tokens ? a->q + (uint64_t)(token + 8u * i) * a->cols_padded +
                                                  tile * 192u + 16u * (lane_id() & 3u)
                                            : NULL;
    tile_all_strips(w, KIND, lo, hi, lo2, hi2);
    few_triple<NB, KIND, 0>(table, lo, hi, lo2, hi2, x, n, acc, accb);
    few_triple<NB, KIND, 1>(table, lo, hi, lo2, hi2, x, n, acc, accb);
}
