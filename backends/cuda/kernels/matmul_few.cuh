/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Matrix products for 1 to 16 tokens: bound by reading the codes, once.
 *
 * The tiles of a matrix lie in a row; each block of threads takes `span` of them and each warp an
 * equal run of those, reading ahead. A code is looked up once, and the word found holds what it
 * adds to its own row (A) and to the row below (B): both go to the tensor cores as they are, into
 * sums of their own, which meet when the row block ends. Sums are integers, so any order is exact:
 * warps add theirs in shared memory, and blocks of threads that share a row block theirs in global
 * memory, where the last to arrive finishes the row block and leaves zeros for the next launch. */

/* A warp has one tile in registers, the next one on its way there, and so many after that on their
 * way into the L2 cache: by itself the one in flight, 28 KB of a multiprocessor's 32 warps, is less
 * than fast memory delivers while it is waited for. */
#define FEW_AHEAD 2u
#define SUM_WORDS (16u * Q35_CU_FEW + 1u) /* of one row block, the last one counts arrivals */

/* The activations of one tile for tokens 8i .. 8i+7: of token g the 16 codes of strip t. */
struct few_x {
    uint4 a, b;
};

FN few_x few_x_load(const int8_t *q, uint32_t token, uint32_t n_tokens, uint32_t cols_padded,
                    uint32_t tile, uint32_t pair)
{
    few_x x;
    uint32_t t = lane_id() & 3u;
    x.a = x.b = make_uint4(0, 0, 0, 0);
    if (token < n_tokens) {
        const int8_t *row = q + (uint64_t)token * cols_padded;
        if (pair) {
            x.a = *(const uint4 *)(row + tile * 128u + 32u * t);
            x.b = *(const uint4 *)(row + tile * 128u + 32u * t + 16u);
        } else {
            x.a = *(const uint4 *)(row + tile * 64u + 16u * t);
        }
    }
    return x;
}

/* Codes 4s .. 4s+3 of pairs: 16 x 32 weights of A, and of B, with x0, x1 of each 8 tokens. */
template <int NB>
FN void few_pairs(const uint32_t e[4], const uint32_t f[4], uint32_t select, const uint32_t x0[NB],
                  const uint32_t x1[NB], int32_t acc[NB][4])
{
    uint32_t w[4];
    int i;
    w[0] = __byte_perm(e[0], e[1], select);
    w[1] = __byte_perm(f[0], f[1], select);
    w[2] = __byte_perm(e[2], e[3], select);
    w[3] = __byte_perm(f[2], f[3], select);
#pragma unroll
    for (i = 0; i < NB; i++)
        mma(acc[i], w, x0[i], x1[i]);
}

#define LOW_HALVES 0x5410u
#define HIGH_HALVES 0x7632u

/* kind: 0 A only, 1 with B by the code above, 2 with B by the ring. */
template <int NB, int KIND, int S>
FN void few_step(shared_at table, const uint32_t lo[4], const uint32_t hi[4], const uint32_t lo2[4],
                 const uint32_t hi2[4], const few_x x[NB], int32_t acc[NB][4], int32_t accb[NB][4])
{
    uint32_t e[4], f[4], x0[NB], x1[NB];
    int i;
    strip_look4<S>(table, lo, e);
    strip_look4<S>(table, hi, f);
#pragma unroll
    for (i = 0; i < NB; i++) {
        x0[i] = S == 0 ? x[i].a.x : S == 1 ? x[i].a.z : S == 2 ? x[i].b.x : x[i].b.z;
        x1[i] = S == 0 ? x[i].a.y : S == 1 ? x[i].a.w : S == 2 ? x[i].b.y : x[i].b.w;
    }
    few_pairs<NB>(e, f, LOW_HALVES, x0, x1, acc);
    if (KIND == 2) {
        strip_look4<S>(table, lo2, e);
        strip_look4<S>(table, hi2, f);
    }
    if (KIND)
        few_pairs<NB>(e, f, HIGH_HALVES, x0, x1, accb);
}

/* Codes 8S .. 8S+7 of a single scheme. */
template <int NB, int KIND, int S>
FN void few_single(shared_at table, const uint32_t lo[4], const uint32_t hi[4],
                   const uint32_t lo2[4], const uint32_t hi2[4], const few_x x[NB],
                   int32_t acc[NB][4], int32_t accb[NB][4])
{
    uint32_t e[4], f[4], g[4], h[4], w[4];
    int i, b;
#pragma unroll
    for (b = 0; b < (KIND ? 2 : 1); b++) {
        if (b == 0 || KIND == 2) {
            strip_look4<2 * S>(table, b ? lo2 : lo, e);
            strip_look4<2 * S>(table, b ? hi2 : hi, f);
            strip_look4<2 * S + 1>(table, b ? lo2 : lo, g);
            strip_look4<2 * S + 1>(table, b ? hi2 : hi, h);
        }
        w[0] = pack4(e, b ? 2u : 0u);
        w[1] = pack4(f, b ? 2u : 0u);
        w[2] = pack4(g, b ? 2u : 0u);
        w[3] = pack4(h, b ? 2u : 0u);
#pragma unroll
        for (i = 0; i < NB; i++)
            mma(b ? accb[i] : acc[i], w, S ? x[i].a.z : x[i].a.x, S ? x[i].a.w : x[i].a.y);
    }
}

template <int NB, int KIND, bool PAIR>
FN void few_tile(shared_at table, const tile_words *w, const few_x x[NB], int32_t acc[NB][4],
                 int32_t accb[NB][4])
{
    uint32_t lo[4], hi[4], lo2[4], hi2[4];
    tile_all_strips(w, KIND, lo, hi, lo2, hi2);
    if (PAIR) {
        few_step<NB, KIND, 0>(table, lo, hi, lo2, hi2, x, acc, accb);
        few_step<NB, KIND, 1>(table, lo, hi, lo2, hi2, x, acc, accb);
        few_step<NB, KIND, 2>(table, lo, hi, lo2, hi2, x, acc, accb);
        few_step<NB, KIND, 3>(table, lo, hi, lo2, hi2, x, acc, accb);
    } else {
        few_single<NB, KIND, 0>(table, lo, hi, lo2, hi2, x, acc, accb);
        few_single<NB, KIND, 1>(table, lo, hi, lo2, hi2, x, acc, accb);
    }
}

/* Adds a warp's sums of one row block to sums[16][8 NB] in shared memory, and clears them. */
template <int NB, int KIND>
FN void few_flush(int32_t *sums, uint32_t n_tokens, int32_t acc[NB][4], int32_t accb[NB][4])
{
    uint32_t g = lane_id() >> 2, t = lane_id() & 3u;
    int i, k;
#pragma unroll
    for (i = 0; i < NB; i++)
#pragma unroll
        for (k = 0; k < 4; k++) {
            uint32_t row = 2u * g + (uint32_t)k / 2u, token = 8u * i + 2u * t + ((uint32_t)k & 1u);
            if (token < n_tokens) {
                atomicAdd(sums + row * (8u * NB) + token, acc[i][k]);
                if (KIND)
                    atomicAdd(sums + ((row + 1u) & 15u) * (8u * NB) + token, accb[i][k]);
            }
            acc[i][k] = accb[i][k] = 0;
        }
}

/* One warp's run of tiles first .. end-1 of matrix m; base: the row block of sums[0]. */
template <int NB, int KIND, int WEIGHTS>
FN void few_run(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, shared_at table,
                const tile_words *ahead, uint32_t first, uint32_t end, uint32_t base, int32_t *sums)
{
    uint32_t block = first / m->tiles, k = first - block * m->tiles, i, token = lane_id() >> 2, n;
    int32_t acc[NB][4] = {}, accb[NB][4] = {};
    tile_words next = *ahead;
    few_x x[NB];

    if (first >= end)
        return;
    for (i = first; i < end; i++) {
        tile_words w = next;
#pragma unroll
        for (n = 0; n < NB && WEIGHTS < 3; n++)
            x[n] = few_x_load(a->q, token + 8u * n, a->n_tokens, a->cols_padded, k, WEIGHTS == 2);
        if (i + 1u < end)
            tile_load(&next, m->codes + (uint64_t)(i + 1u) * Q35_TILE_BYTES);
        if (WEIGHTS < 3) /* whose kernels have no register left for it */
            tile_prefetch(m->codes, i + 1u + FEW_AHEAD, 1, end);
        if (WEIGHTS == 3)
            few_tile3<NB, KIND>(table, &w, a, token, k, acc, accb);
        else
            few_tile<NB, KIND, WEIGHTS == 2>(table, &w, x, acc, accb);
        k = k + 1u == m->tiles ? 0u : k + 1u;
        if (k == 0u || i + 1u == end) {
            few_flush<NB, KIND>(sums + (block - base) * (128u * NB), a->n_tokens, acc, accb);
            block++;
        }
    }
}

FN void finish_value(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, uint32_t row,
                     uint32_t token, int32_t sum)
{
    float v = q35_rescale(sum, m->scales[row], a->token_scales[token]);
    float *y = m->y + token * m->y_stride + row;
    if (m->bias)
        v = v + m->bias[row];
    *y = m->add ? *y + v : v;
}

/* How many blocks of threads have tiles of row block b. */
FN uint32_t few_sharers(const struct q35_cu_matrix *m, uint32_t b)
{
    uint64_t first = (uint64_t)b * m->tiles, last = first + m->tiles - 1u;
    return (uint32_t)(last / m->span - first / m->span) + 1u;
}

/* Row blocks base .. : whole ones are finished, of the others the sums are passed on. */
template <int NB>
FN void few_finish(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, uint32_t base,
                   uint32_t blocks, const int32_t *sums, uint32_t *last)
{
    uint32_t n = a->n_tokens, i, b;
    for (i = threadIdx.x; i < blocks * 16u * n; i += blockDim.x) {
        uint32_t row = i & 15u, token = (i >> 4) % n;
        int32_t sum;
        b = (i >> 4) / n;
        sum = sums[(b * 16u + row) * (8u * NB) + token];
        if (few_sharers(m, base + b) > 1u)
            atomicAdd(a->sums + (uint64_t)(m->first_sum + base + b) * SUM_WORDS + token * 16u + row,
                      sum);
        else if ((base + b) * 16u + row < m->rows)
            finish_value(a, m, (base + b) * 16u + row, token, sum);
    }
    __syncthreads();
    /* The barrier puts the block's additions before the fence of the thread that counts them as
     * arrived, and the fence behind the count puts others' additions before the next barrier. */
    if (threadIdx.x < blocks) {
        uint32_t sharers = few_sharers(m, base + threadIdx.x);
        int32_t *arrived =
            a->sums + (uint64_t)(m->first_sum + base + threadIdx.x + 1u) * SUM_WORDS - 1u;
        bool complete = false;
        if (sharers > 1u) {
            __threadfence();
            complete = atomicAdd(arrived, 1) == (int32_t)sharers - 1;
            __threadfence();
        }
        last[threadIdx.x] = complete;
        if (complete)
            *arrived = 0;
    }
    __syncthreads();
    for (b = 0; b < blocks; b++) {
        int32_t *from = a->sums + (uint64_t)(m->first_sum + base + b) * SUM_WORDS;
        if (!last[b])
            continue;
        for (i = threadIdx.x; i < 16u * n; i += blockDim.x) {
            uint32_t row = (base + b) * 16u + (i & 15u);
            int32_t sum = load_shared_sum(from + i);
            from[i] = 0;
            if (row < m->rows)
                finish_value(a, m, row, i >> 4, sum);
        }
    }
}

template <int NB, int WEIGHTS>
FN void few_kind(const struct q35_cu_matmul *a, const struct q35_cu_matrix *m, shared_at table,
                 const tile_words *w, uint32_t first, uint32_t end, uint32_t base, int32_t *sums)
{
    uint32_t kind = kind_of(m->scheme);
    if (kind == 0)
        few_run<NB, 0, WEIGHTS>(a, m, table, w, first, end, base, sums);
    else if (kind == 1)
        few_run<NB, 1, WEIGHTS>(a, m, table, w, first, end, base, sums);
    else
        few_run<NB, 2, WEIGHTS>(a, m, table, w, first, end, base, sums);
}

/* Dynamic shared memory: the table, last[FEW_BLOCKS], sums[row blocks][16][8 NB]. */
template <int NB, bool TRIPLE> FN void matmul_few(const struct q35_cu_matmul *a)
{
    uint8_t *table = table_place(dynamic_shared());
    uint32_t *last = (uint32_t *)table_end(dynamic_shared());
    int32_t *sums = (int32_t *)last + Q35_CU_FEW_BLOCKS;
    uint32_t i = 0, warp = threadIdx.x >> 5, total, from, end, run, base, blocks, first, stop;
    const struct q35_cu_matrix *m;
    shared_at look;
    tile_words w;

    launch_next();
    while (i + 1u < a->n_mats && blockIdx.x >= a->mats[i + 1u].first_cta)
        i++;
    m = &a->mats[i];
    total = m->tiles * m->blocks;
    from = (blockIdx.x - m->first_cta) * m->span;
    end = total - from < m->span ? total : from + m->span;
    base = from / m->tiles;
    blocks = (end - 1u) / m->tiles - base + 1u;
    run = (end - from + (blockDim.x >> 5) - 1u) / (blockDim.x >> 5);
    first = from + warp * run;
    stop = first + run < end ? first + run : end;

    w.a = make_uint4(0, 0, 0, 0);
    w.b.x = w.b.y = w.c = 0;
    if (first < stop)
        tile_load(&w, m->codes + (uint64_t)first * Q35_TILE_BYTES);
    tile_prefetch(m->codes, first + 1u, FEW_AHEAD, stop);
    table_fill(table, m->tables, m->scheme, false);
    for (i = threadIdx.x; i < blocks * (128u * NB); i += blockDim.x)
        sums[i] = 0;
    launch_wait();
    __syncthreads();
    look = shared_address(table) + 4u * lane_id();
    if (TRIPLE)
        few_kind<NB, 3>(a, m, look, &w, first, stop, base, sums);
    else if (Q35_SCHEME_WEIGHTS(m->scheme) == 2u)
        few_kind<NB, 2>(a, m, look, &w, first, stop, base, sums);
    else
        few_kind<NB, 1>(a, m, look, &w, first, stop, base, sums);
    __syncthreads();
    few_finish<NB>(a, m, base, blocks, sums, last);
}

KERNEL2(512, 2, matmul_few8, q35_cu_matmul)
{
    matmul_few<1, false>(&a);
}

KERNEL2(384, 2, matmul_few16, q35_cu_matmul)
{
    matmul_few<2, false>(&a);
}

/* Triple schemes apart, since they need more registers. */
KERNEL2(384, 2, triple_few8, q35_cu_matmul)
{
    matmul_few<1, true>(&a);
}

KERNEL2(256, 2, triple_few16, q35_cu_matmul)
{
    matmul_few<2, true>(&a);
}
