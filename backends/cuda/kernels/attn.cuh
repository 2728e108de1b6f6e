/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Attention, in the order that arith.h specifies: blocks (pages) of 64 positions, merged in
 * ascending order.
 *
 * A block of 4 warps has 16 query rows, that is (token, head) of one piece and KV head; a warp has
 * 4 of them whole. Scores: lane i has positions i and i + 32 of the page, 4 rows each. A dot
 * product runs over 16 lanes of the specification; they are taken one after another, the tree's
 * additions done as soon as both sides are there, so that few sums are alive. For this K lies in
 * shared memory with the elements i, i + 16, i + 32 ... of a row side by side, as does q. */

#define ATTN_WARP_ROWS 4

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

/* Where element i of a row goes; c: elements per lane of the specification, padded. */
FN uint32_t attn_place(uint32_t i, uint32_t c)
{
    return (i & 15u) * c + (i >> 4);
}

/* What lies in dynamic shared memory. */
struct attn_shared {
    float *q;    /* [16 rows][16 * C], by attn_place */
    uint16_t *k; /* [64][16 * C + 8], by attn_place */
    uint16_t *v; /* [64][head_dim up to 4] */
    float *p;    /* [16 rows][64] */
    uint32_t k_pitch, v_pitch;
};

template <int C> FN attn_shared attn_layout(uint32_t d)
{
    attn_shared s;
    s.k_pitch = 16u * C + 8u;
    s.v_pitch = (d + 7u) & ~7u;
    s.q = (float *)dynamic_shared();
    s.p = s.q + Q35_CU_ATTN_ROWS * 16u * C;
    s.k = (uint16_t *)(s.p + Q35_CU_ATTN_ROWS * 64u);
    s.v = s.k + 64u * s.k_pitch;
    return s;
}

/* One page of a KV head to shared memory. Padding of K is zero. All threads. */
template <int C>
FN void attn_load(const attn_shared *s, const uint16_t *k, const uint16_t *v, uint32_t d)
{
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

/* Scores of a row -> probabilities in p[64]; returns m and l in all lanes. Positions first .. last
 * of the page count. */
FN struct q35_attn_state attn_softmax(float s0, float s1, uint32_t first, uint32_t last, float *p)
{
    uint32_t lane = lane_id();
    bool in0 = lane >= first && lane <= last, in1 = lane + 32u >= first && lane + 32u <= last;
    struct q35_attn_state st;
    float top = in0 ? s0 : -INFINITY, begin, p0, p1, sum, a0, a1;
    top = in1 && s1 > top ? s1 : top;
    top = top == top ? top : -INFINITY;
    top = warp_max(top);
    begin = __shfl_sync(WARP, first < 32u ? s0 : s1, (int)(first & 31u));
    st.m = begin == begin ? top : begin; /* NaN in front stays, elsewhere it is passed over */
    p0 = in0 ? q35_exp(s0 - st.m) : 0.0f;
    p1 = in1 ? q35_exp(s1 - st.m) : 0.0f;
    p[lane] = p0;
    p[lane + 32u] = p1;
    a0 = __shfl_down_sync(WARP, p0, 16u);
    a1 = __shfl_down_sync(WARP, p1, 16u);
    sum = ((p0 + a0) + p1) + a1;
    st.l = __shfl_sync(WARP, warp_tree16(sum), 0);
    return st;
}

/* o[row][..] = sum of p v over the positions of each row, ascending. Lane i has values 4i .. 4i+3
 * of every 128. */
template <int G>
FN void attn_values(const attn_shared *s, const float *p, const uint32_t first[4],
                    const uint32_t last[4], uint32_t d, float o[4][4 * G])
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
            union {
                uint2 words;
                uint16_t h[4];
            } u;
            u.words.x = u.words.y = 0;
            if (at < d)
                u.words = *(const uint2 *)(s->v + j * s->v_pitch + at);
#pragma unroll
            for (e = 0; e < 4; e++)
                x[4 * g + e] = half_to_float(u.h[e]);
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
template <int C, int G>
FN void attn_page(const struct q35_cu_attn *a, const attn_shared *s, uint32_t warp,
                  const uint32_t first[4], const uint32_t last[4], struct q35_attn_state st[4],
                  float o[4][4 * G])
{
    uint32_t lane = lane_id();
    float score[4][2], *p = s->p + warp * (4u * 64u);
    int r;
    attn_dots<C>(s->q + warp * (4u * 16u * C), s->k + lane * s->k_pitch,
                 s->k + (lane + 32u) * s->k_pitch, score);
#pragma unroll
    for (r = 0; r < 4; r++)
        if (first[r] < 64u)
            st[r] = attn_softmax(score[r][0] * a->scale, score[r][1] * a->scale, first[r], last[r],
                                 p + r * 64);
    __syncwarp();
    attn_values<G>(s, p, first, last, a->head_dim, o);
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

/* Zeros where attn_load and the rows' q do not write, then q. */
template <int C>
FN void attn_begin(const struct q35_cu_attn *a, const attn_shared *s,
                   const struct q35_cu_piece *piece, uint32_t first, uint32_t warp)
{
    uint32_t d = a->head_dim, i, r;
    for (i = threadIdx.x; i < 32u * s->k_pitch; i += blockDim.x)
        ((uint32_t *)s->k)[i] = 0;
    for (r = 0; r < 4; r++) {
        float *to = s->q + (warp * 4u + r) * (16u * C);
        attn_row row = attn_row_of(a, piece, blockIdx.y, first + r);
        const float *q = a->q + ((uint64_t)row.token * a->n_heads + row.head) * d;
        for (i = lane_id(); i < 16u * C; i += 32u)
            to[attn_place(i, C)] = i < d && row.lo <= row.hi ? q[i] : 0.0f;
    }
    __syncthreads();
}

template <int C, int G>
FN void attn_run(const struct q35_cu_attn *a, const struct q35_cu_piece *piece, uint32_t sub)
{
    uint32_t warp = threadIdx.x >> 5, d = a->head_dim, group = a->n_heads / a->n_kv_heads, b, end;
    uint64_t head_values = (uint64_t)Q35_ATTN_BLOCK * d;
    uint32_t first[4], last[4], seq = a->tokens[piece->first].sequence;
    uint32_t last_token = (sub * Q35_CU_ATTN_ROWS + Q35_CU_ATTN_ROWS - 1u) / group;
    attn_shared s = attn_layout<C>(d);
    attn_row row[4], edge;
    struct q35_attn_state st[4], next[4];
    float o[4][4 * G], part[4][4 * G];
    bool begun[4] = {false, false, false, false};
    int r;
    uint32_t at = sub * Q35_CU_ATTN_ROWS + warp * 4u; /* the warp's first row */

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
    attn_begin<C>(a, &s, piece, at, warp);
    for (; b <= end; b++) {
        const uint16_t *k =
            a->kv.pool + a->kv.layer_offset +
            a->kv.table[(uint64_t)seq * a->kv.table_stride + b] * a->kv.page_values +
            blockIdx.y * head_values;
        attn_load<C>(&s, k, k + a->n_kv_heads * head_values, d);
        __syncthreads();
#pragma unroll
        for (r = 0; r < 4; r++)
            attn_bounds(&row[r], b, &first[r], &last[r]);
        if (first[0] < 64u || first[1] < 64u || first[2] < 64u || first[3] < 64u)
            attn_page<C, G>(a, &s, warp, first, last, next, part);
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

/* So many blocks of threads on a multiprocessor that nothing is spilled. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define ATTN_BLOCKS 3
#else
#define ATTN_BLOCKS 2
#endif

KERNEL2(128, ATTN_BLOCKS, attn, q35_cu_attn)
{
    uint32_t sub;
    const struct q35_cu_piece *piece;
    launch_next();
    launch_wait();
    piece = attn_piece(&a, &sub);
    if (piece && a.head_dim <= 64u)
        attn_run<4, 1>(&a, piece, sub);
    else if (piece)
        attn_run<8, 1>(&a, piece, sub);
}

/* head_dim above 128. */
KERNEL(128, attn_wide, q35_cu_attn)
{
    uint32_t sub;
    const struct q35_cu_piece *piece;
    launch_next();
    launch_wait();
    piece = attn_piece(&a, &sub);
    if (piece)
        attn_run<16, 2>(&a, piece, sub);
}

/* The parts of one token and head, in order. 32 pages at a time: lane i works out the factors of
 * page i, then all go through the 32 pages, each thread for its values. */
KERNEL(128, attn_merge, q35_cu_attn)
{
    uint32_t lane = lane_id(), d = a.head_dim, at[2], b, end, i, k;
    float o[2] = {0.0f, 0.0f}, m = 0.0f, l = 0.0f, inv;
    attn_row row;
    const float *parts;
    bool begun = false;

    launch_next();
    launch_wait();
    row.hi = a.tokens[blockIdx.x].position;
    row.lo = a.window && row.hi + 1u > a.window ? row.hi + 1u - a.window : 0u;
    end = row.hi / 64u;
    at[0] = threadIdx.x;
    at[1] = threadIdx.x + 128u;
    for (b = row.lo / 64u; b <= end; b += 32u) {
        uint32_t n = end - b + 1u < 32u ? end - b + 1u : 32u;
        float mb = -INFINITY, lb = 0.0f, top, before, fa, fc;
        parts = attn_part(&a, blockIdx.x, blockIdx.y, b);
        if (lane < n) {
            mb = parts[(uint64_t)lane * (d + 2u)];
            lb = parts[(uint64_t)lane * (d + 2u) + 1u];
        }
        if (!begun)
            m = __shfl_sync(WARP, mb, 0); /* the first page is taken as it is */
        top = mb == mb ? mb : -INFINITY;
#pragma unroll
        for (k = 1; k < 32u; k *= 2u) {
            float y = __shfl_up_sync(WARP, top, k);
            top = lane >= k && y > top ? y : top;
        }
        top = top > m || m != m ? (m == m ? top : m) : m;
        before = __shfl_up_sync(WARP, top, 1u);
        before = lane ? before : m;
        fa = q35_exp(before - top);
        fc = q35_exp(mb - top);
        for (i = 0; i < n; i++) {
            float ai = __shfl_sync(WARP, fa, (int)i), ci = __shfl_sync(WARP, fc, (int)i);
            float li = __shfl_sync(WARP, lb, (int)i);
            const float *v = parts + (uint64_t)i * (d + 2u) + 2u;
            l = begun ? Q35_FMAF(li, ci, l * ai) : li;
#pragma unroll
            for (k = 0; k < 2; k++)
                if (at[k] < d)
                    o[k] = begun ? Q35_FMAF(v[at[k]], ci, o[k] * ai) : v[at[k]];
            begun = true;
        }
        m = __shfl_sync(WARP, top, (int)(n - 1u));
    }
    inv = Q35_DIVF(1.0f, l);
    for (k = 0; k < 2; k++)
        if (at[k] < d)
            a.out[((uint64_t)blockIdx.x * a.n_heads + blockIdx.y) * d + at[k]] = o[k] * inv;
}
