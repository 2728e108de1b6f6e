/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention, in the order that arith.h specifies: blocks (pages) of 64 positions, merged in
 * ascending order.
 *
 * A block of 4 warps has 16 query rows, that is (token, head) of one piece and KV head; a warp has
 * 4 of them whole. Scores: lane i has positions i and i + 32 of the page, 4 rows each. How keys and
 * values are held is a matter of S, attn_f16 or attn_int8. */

/* Pieces of a row: which token and head, which positions it sees. */
struct attn_row {
    uint32_t token, head, lo, hi; /* lo above hi: no such row */
};

FN attn_row attn_row_of(const struct q35_cu_attn *a, const struct q35_cu_piece *p, uint32_t kv_head,
                        uint32_t i)
{
    uint32_t group = a->n_heads / a->n_kv_heads;
    attn_row r;
    bool valid = i / group < p->count;
    r.token = p->first + (valid ? i / group : 0u);
    r.head = kv_head * group + i % group;
    r.hi = a->tokens[r.token].position;
    r.lo = a->window && r.hi + 1u > a->window ? r.hi + 1u - a->window : 0u;
    if (!valid) {
        r.lo = 1u;
        r.hi = 0u;
    }
    return r;
}

/* Scores of a row -> probabilities in p[64], times v_scales[64] if there are; returns m and l in
 * all lanes. Positions first .. last of the page count. */
FN struct q35_attn_state attn_softmax(float s0, float s1, uint32_t first, uint32_t last,
                                      const float *v_scales, float *p)
{
    uint32_t lane = lane_id();
    bool in0 = lane >= first && lane <= last, in1 = lane + 32u >= first && lane + 32u <= last;
    struct q35_attn_state st;
    float top = in0 && s0 == s0 ? s0 : -INFINITY, begin, p0, p1, sum, a0, a1;
    top = warp_max(in1 && s1 > top ? s1 : top);
    begin = __shfl_sync(WARP, first < 32u ? s0 : s1, (int)(first & 31u));
    st.m = begin == begin ? top : begin; /* NaN in front stays, elsewhere it is passed over */
    p0 = in0 ? q35_exp(s0 - st.m) : 0.0f;
    p1 = in1 ? q35_exp(s1 - st.m) : 0.0f;
    p[lane] = v_scales ? p0 * v_scales[lane] : p0;
    p[lane + 32u] = v_scales ? p1 * v_scales[lane + 32u] : p1;
    a0 = __shfl_down_sync(WARP, p0, 16u);
    a1 = __shfl_down_sync(WARP, p1, 16u);
    sum = ((p0 + a0) + p1) + a1;
    st.l = __shfl_sync(WARP, warp_tree16(sum), 0);
    return st;
}

/* o[row][..] = sum of p v over the positions of each row, ascending. Lane i has values 4i .. 4i+3
 * of every 128. */
template <class S, int G>
FN void attn_values(const S *s, const float *p, const uint32_t first[4], const uint32_t last[4],
                    uint32_t d, float o[4][4 * G])
{
    uint32_t lane = lane_id(), from = 64u, to = 0, j;
    int r, g, e;
#pragma unroll
    for (r = 0; r < 4; r++) {
        from = first[r] < from ? first[r] : from;
        to = last[r] + 1u > to && first[r] < 64u ? last[r] + 1u : to;
#pragma unroll
        for (e = 0; e < 4 * G; e++)
            o[r][e] = 0.0f;
    }
    for (j = from; j < to; j++) {
        float x[4 * G];
#pragma unroll
        for (g = 0; g < G; g++) {
            uint32_t at = 128u * (uint32_t)g + 4u * lane;
            x[4 * g] = x[4 * g + 1] = x[4 * g + 2] = x[4 * g + 3] = 0.0f;
            if (at < d)
                attn_value(s, j, at, x + 4 * g);
        }
#pragma unroll
        for (r = 0; r < 4; r++) {
            float w = p[r * 64 + (int)j];
            bool in = j >= first[r] && j <= last[r];
#pragma unroll
            for (e = 0; e < 4 * G; e++)
                o[r][e] = in ? Q35_FMAF(w, x[e], o[r][e]) : o[r][e];
        }
    }
}

/* The warp's 4 rows over one page. */
template <class S, int G>
FN void attn_page(const struct q35_cu_attn *a, const S *s, uint32_t warp, const uint32_t first[4],
                  const uint32_t last[4], struct q35_attn_state st[4], float o[4][4 * G])
{
    float score[4][2], *p = s->p + warp * (4u * 64u);
    int r;
    attn_scores(s, warp, a->scale, score);
#pragma unroll
    for (r = 0; r < 4; r++)
        if (first[r] < 64u)
            st[r] = attn_softmax(score[r][0], score[r][1], first[r], last[r], attn_value_scales(s),
                                 p + r * 64);
    __syncwarp();
    attn_values<S, G>(s, p, first, last, a->head_dim, o);
    __syncwarp();
}

template <int G> FN void attn_put(float *to, uint32_t d, const float o[4 * G], float factor)
{
    uint32_t lane = lane_id();
    int e;
#pragma unroll
    for (e = 0; e < 4 * G; e++) {
        uint32_t at = 128u * (uint32_t)(e / 4) + 4u * lane + (uint32_t)(e & 3);
        if (at < d)
            to[at] = o[e] * factor;
    }
}

/* Positions of row r in page b: first > 63 if there are none. */
FN void attn_bounds(const attn_row *r, uint32_t b, uint32_t *first, uint32_t *last)
{
    bool none = r->lo > r->hi || b < r->lo / 64u || b > r->hi / 64u;
    *first = none ? 64u : b == r->lo / 64u ? r->lo % 64u : 0u;
    *last = none ? 0u : b == r->hi / 64u ? r->hi % 64u : 63u;
}

FN float *attn_part(const struct q35_cu_attn *a, uint32_t token, uint32_t head, uint32_t page)
{
    return a->parts +
           (((uint64_t)token * a->n_heads + head) * a->max_pages + page) * (a->head_dim + 2u);
}

/* Joins a page into the rows' running sums, or keeps it as the first one. */
template <int G>
FN void attn_join(const uint32_t first[4], const struct q35_attn_state next[4],
                  const float part[4][4 * G], bool begun[4], struct q35_attn_state st[4],
                  float o[4][4 * G])
{
    int r, e;
#pragma unroll
    for (r = 0; r < 4; r++) {
        if (first[r] > 63u)
            continue;
        if (!begun[r]) {
            st[r] = next[r];
#pragma unroll
            for (e = 0; e < 4 * G; e++)
                o[r][e] = part[r][e];
            begun[r] = true;
        } else {
            q35_attn_merge(&st[r], o[r], next[r], part[r], 4 * G);
        }
    }
}

/* What stays in shared memory over all pages. */
template <class S>
FN void attn_begin(const struct q35_cu_attn *a, const S *s, const struct q35_cu_piece *piece,
                   uint32_t first, uint32_t warp)
{
    uint32_t r;
    attn_clear(s);
    for (r = 0; r < 4; r++) {
        attn_row row = attn_row_of(a, piece, blockIdx.y, first + r);
        const float *q = a->q + ((uint64_t)row.token * a->n_heads + row.head) * a->head_dim;
        attn_query(s, warp * 4u + r, row.lo <= row.hi ? q : NULL, a->head_dim);
    }
    __syncthreads();
}

template <class S, int G>
FN void attn_run(const struct q35_cu_attn *a, const struct q35_cu_piece *piece, uint32_t sub)
{
    uint32_t warp = threadIdx.x >> 5, d = a->head_dim, group = a->n_heads / a->n_kv_heads, b, end;
    uint32_t first[4], last[4], seq = a->tokens[piece->first].sequence;
    uint32_t last_token = (sub * Q35_CU_ATTN_ROWS + Q35_CU_ATTN_ROWS - 1u) / group;
    S s;
    attn_row row[4], edge;
    struct q35_attn_state st[4], next[4];
    float o[4][4 * G], part[4][4 * G];
    bool begun[4] = {false, false, false, false};
    int r;
    uint32_t at = sub * Q35_CU_ATTN_ROWS + warp * 4u; /* the warp's first row */

    attn_layout(&s, d);
#pragma unroll
    for (r = 0; r < 4; r++) {
        row[r] =
            attn_row_of(a, piece, blockIdx.y, sub * Q35_CU_ATTN_ROWS + warp * 4u + (uint32_t)r);
        st[r].m = st[r].l = next[r].m = next[r].l = 0.0f;
    }
    edge = attn_row_of(a, piece, blockIdx.y, sub * Q35_CU_ATTN_ROWS);
    b = edge.lo / 64u;
    last_token = last_token < piece->count ? last_token : piece->count - 1u;
    end = a->tokens[piece->first + last_token].position / 64u;
    if (a->parts) {
        if (blockIdx.z < b || blockIdx.z > end)
            return;
        b = end = blockIdx.z;
    }
    attn_begin(a, &s, piece, at, warp);
    for (; b <= end; b++) {
        const uint8_t *page =
            a->kv.pool + a->kv.layer_offset +
            a->kv.table[(uint64_t)seq * a->kv.table_stride + b] * a->kv.page_bytes;
        attn_load(&s, page, a->n_kv_heads, blockIdx.y, d);
        __syncthreads();
#pragma unroll
        for (r = 0; r < 4; r++)
            attn_bounds(&row[r], b, &first[r], &last[r]);
        if (first[0] < 64u || first[1] < 64u || first[2] < 64u || first[3] < 64u)
            attn_page<S, G>(a, &s, warp, first, last, next, part);
        attn_join<G>(first, next, part, begun, st, o);
        __syncthreads();
    }
#pragma unroll
    for (r = 0; r < 4; r++) {
        attn_row where;
        if (!begun[r])
            continue;
        where = attn_row_of(a, piece, blockIdx.y, at + (uint32_t)r);
        if (a->parts) {
            float *to = attn_part(a, where.token, where.head, blockIdx.z);
            attn_put<G>(to + 2, d, o[r], 1.0f);
            if (lane_id() == 0) {
                to[0] = st[r].m;
                to[1] = st[r].l;
            }
        } else {
            attn_put<G>(a->out + ((uint64_t)where.token * a->n_heads + where.head) * d, d, o[r],
                        Q35_DIVF(1.0f, st[r].l));
        }
    }
}

/* The piece of this block of threads; *sub: which 16 of its rows. NULL if it has no so many. */
FN const struct q35_cu_piece *attn_piece(const struct q35_cu_attn *a, uint32_t *sub)
{
    uint32_t group = a->n_heads / a->n_kv_heads;
    uint32_t subs = (a->max_count * group + Q35_CU_ATTN_ROWS - 1u) / Q35_CU_ATTN_ROWS;
    const struct q35_cu_piece *piece = a->pieces + blockIdx.x / subs;
    *sub = blockIdx.x % subs;
    return *sub * Q35_CU_ATTN_ROWS < piece->count * group ? piece : NULL;
}

template <class S, int G> FN void attn_start(const struct q35_cu_attn *a)
{
    uint32_t sub;
    const struct q35_cu_piece *piece;
    launch_next();
    launch_wait();
    piece = attn_piece(a, &sub);
    if (piece)
        attn_run<S, G>(a, piece, sub);
}

/* So many blocks of threads on a multiprocessor that nothing is spilled. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define ATTN_BLOCKS 3
#else
#define ATTN_BLOCKS 2
#endif

KERNEL2(128, ATTN_BLOCKS, attn, q35_cu_attn)
{
    if (a.head_dim <= 64u)
        attn_start<attn_f16<4>, 1>(&a);
    else
        attn_start<attn_f16<8>, 1>(&a);
}

/* head_dim above 128. */
KERNEL(128, attn_wide, q35_cu_attn)
{
    attn_start<attn_f16<16>, 2>(&a);
}

KERNEL2(128, ATTN_BLOCKS, attn8, q35_cu_attn)
{
    if (a.head_dim <= 64u)
        attn_start<attn_int8<64>, 1>(&a);
    else
        attn_start<attn_int8<128>, 1>(&a);
}

KERNEL(128, attn8_wide, q35_cu_attn)
{
    attn_start<attn_int8<256>, 2>(&a);
}
