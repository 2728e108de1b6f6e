/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The operations in plain C: the executable specification. Every one is a loop over arith.h. */

#include <stdlib.h>

#include "q35/arith.h"
#include "soft.h"

enum { TOKEN_CHUNK = 64, STACK_FLOATS = 4096 };

static enum q35_status matrix_prepare(void *user, struct q35_matrix *m, struct q35_error *err)
{
    (void)user;
    (void)m;
    (void)err;
    return Q35_OK;
}

static void matrix_release(void *user, struct q35_matrix *m)
{
    (void)user;
    (void)m;
}

/*@ logic integer dot_sum{L}(int8_t *w, int8_t *x, integer n) =
      n <= 0 ? 0 : dot_sum(w, x, n - 1) + w[n - 1] * x[n - 1]; */

/* Sum of w[k] * x[k] for k < n. */
/*@ requires n <= Q35_MAX_COLS && \valid_read(w + (0 .. n - 1)) && \valid_read(x + (0 .. n - 1));
    requires \forall integer k; 0 <= k < n ==>
      -Q35_W_MAX <= w[k] <= Q35_W_MAX && -Q35_W_MAX <= x[k] <= Q35_W_MAX;
    assigns \nothing;
    ensures \result == dot_sum(w, x, n) && -16129 * n <= \result <= 16129 * n; */
static int32_t row_dot(const int8_t *w, const int8_t *x, uint32_t n)
{
    int32_t sum = 0;
    uint32_t k;
    /*@ loop invariant 0 <= k <= n && sum == dot_sum(w, x, k);
        loop invariant -16129 * k <= sum <= 16129 * k;
        loop assigns k, sum;
        loop variant n - k; */
    for (k = 0; k < n; k++) {
        //@ assert -16129 <= w[k] * x[k] <= 16129;
        sum += w[k] * x[k];
    }
    return sum;
}

/* acc[r][t] += row r of one tile times token t, for the `n` tokens from q on. cols: of the tile
 * that lie inside the matrix. */
static void tile_dot(const struct q35_matrix *m, const uint8_t *tile, uint32_t cols,
                     const int8_t *q, uint32_t q_stride, uint32_t n,
                     int32_t acc[Q35_TILE_ROWS][TOKEN_CHUNK])
{
    int8_t w[Q35_MAX_TILE_COLS];
    uint32_t r, t;

    for (r = 0; r < Q35_TILE_ROWS; r++) {
        q35_decode_row(m->scheme, m->tables, tile, r, w);
        for (t = 0; t < n; t++)
            acc[r][t] += row_dot(w, q + (uint64_t)t * q_stride, cols);
    }
}

/* y[n][y_stride] = m x for up to TOKEN_CHUNK tokens. */
static void matmul_chunk(const struct q35_matrix *m, const int8_t *q, uint32_t q_stride,
                         const float *token_scales, uint32_t n, float *y, uint64_t y_stride)
{
    uint32_t tile_cols = q35_tile_cols(m->scheme), padded = m->cols_padded;
    uint32_t tiles = q35_tiles_per_row(m->scheme, padded);
    const uint8_t *tile = m->codes;
    uint32_t block, k, r, t;

    for (block = 0; block < m->rows_padded; block += Q35_TILE_ROWS) {
        int32_t acc[Q35_TILE_ROWS][TOKEN_CHUNK] = {{0}};
        for (k = 0; k < tiles; k++, tile += Q35_TILE_BYTES)
            tile_dot(m, tile, q35_tile_used(m->scheme, padded, k), q + (uint64_t)k * tile_cols,
                     q_stride, n, acc);
        for (r = block; r < block + Q35_TILE_ROWS && r < m->rows; r++)
            for (t = 0; t < n; t++) {
                float v = q35_rescale(acc[r - block][t], m->scales[r], token_scales[t]);
                y[t * y_stride + r] = m->bias ? v + m->bias[r] : v;
            }
    }
}

static enum q35_status matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    uint32_t i, t;
    (void)user;
    (void)err;
    for (i = 0; i < a->n_mats; i++)
        for (t = 0; t < a->n_tokens; t += TOKEN_CHUNK) {
            uint32_t n = a->n_tokens - t < TOKEN_CHUNK ? a->n_tokens - t : TOKEN_CHUNK;
            matmul_chunk(a->mats[i], a->q + (uint64_t)t * a->cols_padded, a->cols_padded,
                         a->token_scales + t, n, a->y[i] + t * a->y_stride[i], a->y_stride[i]);
        }
    return Q35_OK;
}

static enum q35_status rms_norm(void *user, uint32_t n_tokens, uint32_t d, const float *x,
                                const float *w, float eps, float *y, struct q35_error *err)
{
    uint64_t t;
    (void)user;
    (void)err;
    for (t = 0; t < n_tokens; t++)
        q35_rms_norm(x + t * d, w, d, eps, y + t * d);
    return Q35_OK;
}

static enum q35_status quantize(void *user, uint32_t n_tokens, uint32_t cols, uint32_t cols_padded,
                                uint32_t rot_block, uint64_t rot_seed, const float *x,
                                uint64_t x_stride, int8_t *q, float *scales, struct q35_error *err)
{
    float small[STACK_FLOATS];
    float *v = cols_padded <= STACK_FLOATS ? small : malloc((uint64_t)cols_padded * sizeof(float));
    uint64_t t;
    (void)user;
    if (!v)
        return q35_soft_fail(err, Q35_E_NOMEM, "quantize: no memory for %u columns", cols_padded);
    for (t = 0; t < n_tokens; t++) {
        memcpy(v, x + t * x_stride, cols * sizeof(float));
        memset(v + cols, 0, (cols_padded - cols) * sizeof(float));
        if (rot_block)
            q35_rotate(v, cols_padded, rot_block, rot_seed);
        scales[t] = q35_quantize(v, cols_padded, q + t * cols_padded);
    }
    if (v != small)
        free(v);
    return Q35_OK;
}

static enum q35_status rope(void *user, uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim,
                            uint32_t rope_dim, uint32_t rope_style, const float *cos_sin, float *x,
                            struct q35_error *err)
{
    uint32_t t, h, i, half = rope_dim / 2;
    (void)user;
    (void)err;
    for (t = 0; t < n_tokens; t++, cos_sin += rope_dim)
        for (h = 0; h < n_heads; h++, x += head_dim)
            for (i = 0; i < half; i++) {
                float *x0 = rope_style == Q35_ROPE_PAIRS ? x + 2 * i : x + i;
                float *x1 = rope_style == Q35_ROPE_PAIRS ? x + 2 * i + 1 : x + i + half;
                q35_rope_pair(x0, x1, cos_sin[i], cos_sin[half + i]);
            }
    return Q35_OK;
}

/* A query head: as it is, and in int8 for keys in int8. */
struct query {
    const float *q;                   /* [head_dim] */
    int8_t q8[Q35_SOFT_MAX_HEAD_DIM]; /* [head_dim] */
    float scale;                      /* of q8 */
};

/* Positions first .. first+n-1 of one page of kv head g; o: [head_dim]. */
static struct q35_attn_state block_f16(const struct q35_attn_args *a, const uint16_t *page,
                                       uint32_t g, uint32_t first, uint32_t n,
                                       const struct query *q, float *o)
{
    uint32_t d = a->head_dim, j, k;
    uint64_t page_half = (uint64_t)a->n_kv_heads * Q35_ATTN_BLOCK * d;
    const uint16_t *kp = page + ((uint64_t)g * Q35_ATTN_BLOCK + first) * d;
    float s[Q35_ATTN_BLOCK] = {0}, key[Q35_SOFT_MAX_HEAD_DIM];
    for (j = 0; j < n; j++) {
        for (k = 0; k < d; k++)
            key[k] = q35_f16_to_f32(kp[(uint64_t)j * d + k]);
        s[j] = q35_dot(q->q, key, d) * a->scale;
    }
    return q35_attn_block(s, first, n, kp + page_half, d, d, o);
}

static struct q35_attn_state block_int8(const struct q35_attn_args *a, const uint16_t *page,
                                        uint32_t g, uint32_t first, uint32_t n,
                                        const struct query *q, float *o)
{
    uint32_t d = a->head_dim, j, k;
    uint64_t page_half = (uint64_t)a->n_kv_heads * Q35_ATTN_BLOCK * d;
    const int8_t *kp = (const int8_t *)page + ((uint64_t)g * Q35_ATTN_BLOCK + first) * d;
    const float *scales = (const float *)(const void *)((const int8_t *)page + 2 * page_half);
    const float *k_scales = scales + g * Q35_ATTN_BLOCK + first;
    float s[Q35_ATTN_BLOCK] = {0};
    for (j = 0; j < n; j++) {
        int32_t acc = 0;
        for (k = 0; k < d; k++)
            acc += q->q8[k] * kp[(uint64_t)j * d + k];
        s[j] = q35_attn_score8(acc, q->scale, k_scales[j], a->scale);
    }
    return q35_attn_block8(s, first, n, kp + page_half, d,
                           k_scales + (uint64_t)a->n_kv_heads * Q35_ATTN_BLOCK, d, o);
}

/* One query head q[head_dim] of kv head g over positions lo .. hi; out[head_dim]. */
static void attend(const struct q35_attn_args *a, const uint16_t *const *pages, uint32_t g,
                   uint32_t lo, uint32_t hi, const float *q, float *out)
{
    uint32_t d = a->head_dim, b, k;
    struct q35_attn_state st = {0}, sb;
    float o[Q35_SOFT_MAX_HEAD_DIM];
    struct query query;

    query.q = q;
    if (a->kv_type == Q35_KV_INT8)
        query.scale = q35_quantize(q, d, query.q8);
    for (b = lo / Q35_ATTN_BLOCK; b <= hi / Q35_ATTN_BLOCK; b++) {
        uint32_t first = b == lo / Q35_ATTN_BLOCK ? lo % Q35_ATTN_BLOCK : 0;
        uint32_t last = b == hi / Q35_ATTN_BLOCK ? hi % Q35_ATTN_BLOCK : Q35_ATTN_BLOCK - 1;
        sb = (a->kv_type == Q35_KV_INT8 ? block_int8 : block_f16)(a, pages[b], g, first,
                                                                  last - first + 1, &query, o);
        if (b == lo / Q35_ATTN_BLOCK) {
            st = sb;
            memcpy(out, o, d * sizeof(float));
        } else {
            q35_attn_merge(&st, out, sb, o, d);
        }
    }
    for (k = 0; k < d; k++)
        out[k] = out[k] * Q35_DIVF(1.0f, st.l);
}

static enum q35_status attention(void *user, const struct q35_attn_args *a, struct q35_error *err)
{
    uint32_t group = a->n_heads / a->n_kv_heads, t, h;
    (void)user;
    if (a->head_dim > Q35_SOFT_MAX_HEAD_DIM)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "attention: head_dim %u above %u", a->head_dim,
                             Q35_SOFT_MAX_HEAD_DIM);
    if (a->kv_type > Q35_KV_INT8)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "attention: KV of type %u", a->kv_type);
    for (t = 0; t < a->n_tokens; t++) {
        uint32_t hi = a->positions[t];
        uint32_t lo = a->window && hi + 1 > a->window ? hi + 1 - a->window : 0;
        for (h = 0; h < a->n_heads; h++) {
            uint64_t at = ((uint64_t)t * a->n_heads + h) * a->head_dim;
            attend(a, a->pages[t], h / group, lo, hi, a->q + at, a->out + at);
        }
    }
    return Q35_OK;
}

static enum q35_status swiglu(void *user, uint64_t n, const float *gate, const float *up,
                              float *out, struct q35_error *err)
{
    uint64_t i;
    (void)user;
    (void)err;
    for (i = 0; i < n; i++)
        out[i] = q35_silu(gate[i]) * up[i];
    return Q35_OK;
}

static enum q35_status add(void *user, uint64_t n, float *x, const float *y, struct q35_error *err)
{
    uint64_t i;
    (void)user;
    (void)err;
    for (i = 0; i < n; i++)
        x[i] = x[i] + y[i];
    return Q35_OK;
}

static enum q35_status embed(void *user, const struct q35_matrix *m, uint32_t row, float *out,
                             struct q35_error *err)
{
    uint32_t tile_cols = q35_tile_cols(m->scheme), k, j;
    uint32_t tiles = q35_tiles_per_row(m->scheme, m->cols_padded);
    const uint8_t *tile = m->codes + (uint64_t)(row / Q35_TILE_ROWS) * tiles * Q35_TILE_BYTES;
    float small[STACK_FLOATS];
    float *v =
        m->cols_padded <= STACK_FLOATS ? small : malloc((uint64_t)m->cols_padded * sizeof(float));
    (void)user;
    if (!v)
        return q35_soft_fail(err, Q35_E_NOMEM, "embed: no memory for %u columns", m->cols_padded);
    for (k = 0; k < tiles; k++, tile += Q35_TILE_BYTES) {
        int8_t w[Q35_MAX_TILE_COLS];
        uint32_t used = q35_tile_used(m->scheme, m->cols_padded, k);
        q35_decode_row(m->scheme, m->tables, tile, row % Q35_TILE_ROWS, w);
        for (j = 0; j < used; j++)
            v[k * tile_cols + j] = (float)w[j] * m->scales[row];
    }
    if (m->rot_block)
        q35_unrotate(v, m->cols_padded, m->rot_block, m->rot_seed);
    memcpy(out, v, m->cols * sizeof(float));
    if (v != small)
        free(v);
    return Q35_OK;
}

const struct q35_ops q35_reference_ops = {
    .size = sizeof(struct q35_ops),
    .matrix_prepare = matrix_prepare,
    .matrix_release = matrix_release,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .rope = rope,
    .attention = attention,
    .swiglu = swiglu,
    .add = add,
    .embed = embed,
};
