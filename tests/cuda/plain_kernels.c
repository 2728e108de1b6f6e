/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What every kernel of backends/cuda/args.h must do, in plain C over the reference operations,
 * behind the interface of emu.h. It is no emulation of the kernels but hundreds of times as fast as
 * one, for tests of the host's half: daemon, faults, several GPUs. `repack` leaves tiles as they
 * are and `rotate` the order of columns; `quantize` and `attn_merge` find their work done. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "emu.h"
#include "q35/arith.h"
#include "soft.h"

static const struct q35_ops *const ops = &q35_reference_ops;
static _Thread_local char message[200];

static int no_memory(void)
{
    snprintf(message, sizeof(message), "no memory");
    return -1;
}

static int failed(enum q35_status st, const struct q35_error *err)
{
    if (st)
        snprintf(message, sizeof(message), "%.190s", err->message);
    return st ? -1 : 0;
}

static int run_repack(const struct q35_cu_repack *a)
{
    (void)a;
    return 0;
}

static int run_hash(const struct q35_cu_hash *a)
{
    *a->sum += q35_hash_chunk(a->data, a->bytes, a->first_byte);
    return 0;
}

static int run_rotate(const struct q35_cu_rotate *a)
{
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st = Q35_OK;
    float *row = malloc(4 * (size_t)a->cols);
    uint32_t t, i;
    if (!row)
        return no_memory();
    for (t = 0; t < a->n_tokens && !st; t++) {
        const float *x = a->x + (a->rows ? a->rows[t] : t) * a->x_stride;
        memcpy(row, x, 4 * (size_t)a->cols);
        if (a->norm)
            q35_rms_norm(x, a->norm, a->cols, a->eps, row);
        for (i = 0; a->up && i < a->cols; i++)
            row[i] = q35_silu(x[i]) * a->up[t * a->x_stride + i];
        st = ops->quantize(NULL, 1, a->cols, a->cols_padded, a->rot_block, a->rot_seed, row,
                           a->cols, a->q + (uint64_t)t * a->cols_padded, a->scales + t, &err);
    }
    free(row);
    return failed(st, &err);
}

static int run_quantize(const struct q35_cu_rotate *a)
{
    (void)a;
    return 0;
}

static int product(const struct q35_cu_matmul *a, const struct q35_cu_matrix *in)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_matrix m = {.size = sizeof(m),
                           .scheme = in->scheme,
                           .rows = in->rows,
                           .cols = a->cols_padded,
                           .rows_padded = q35_pad_rows(in->rows),
                           .cols_padded = a->cols_padded,
                           .tables = in->tables,
                           .scales = in->scales,
                           .codes = in->codes,
                           .bias = in->bias};
    float *y = malloc(4 * (size_t)a->n_tokens * in->rows);
    struct q35_matmul_args args = {.size = sizeof(args),
                                   .n_tokens = a->n_tokens,
                                   .n_mats = 1,
                                   .cols_padded = a->cols_padded,
                                   .q = a->q,
                                   .token_scales = a->token_scales,
                                   .mats = {&m},
                                   .y = {y},
                                   .y_stride = {in->rows}};
    enum q35_status st;
    uint32_t t, i;
    if (!y)
        return no_memory();
    st = ops->matmul(NULL, &args, &err);
    for (t = 0; t < a->n_tokens && !st; t++)
        for (i = 0; i < in->rows; i++) {
            float *to = in->y + t * in->y_stride + i, v = y[(uint64_t)t * in->rows + i];
            *to = in->add ? *to + v : v;
        }
    free(y);
    return failed(st, &err);
}

static int run_matmul(const struct q35_cu_matmul *a)
{
    uint32_t i;
    for (i = 0; i < a->n_mats; i++)
        if (product(a, &a->mats[i]))
            return -1;
    return 0;
}
#define run_matmul_few8 run_matmul
#define run_matmul_few16 run_matmul
#define run_triple_few8 run_matmul
#define run_triple_few16 run_matmul
#define run_matmul_many64 run_matmul
#define run_matmul_many128 run_matmul
#define run_matmul_many256 run_matmul

static int run_decode(const struct q35_cu_decode *a)
{
    uint32_t rows = a->blocks * Q35_TILE_ROWS, cols = q35_tile_cols(a->scheme), r, k;
    int8_t w[Q35_MAX_TILE_COLS];
    for (r = 0; r < rows; r++)
        for (k = 0; k < a->tiles; k++) {
            uint64_t tile = (uint64_t)(r / Q35_TILE_ROWS) * a->tiles + k;
            q35_decode_row(a->scheme, a->tables, a->codes + tile * Q35_TILE_BYTES,
                           r % Q35_TILE_ROWS, w);
            memcpy(a->out + (uint64_t)r * a->cols_padded + k * cols, w,
                   q35_tile_used(a->scheme, a->cols_padded, k));
        }
    return 0;
}

static int run_rescale(const struct q35_cu_rescale *a)
{
    uint32_t t, i;
    for (t = 0; t < a->n_tokens; t++)
        for (i = 0; i < a->rows; i++) {
            float *y = a->y + t * a->y_stride + i;
            float v =
                q35_rescale(a->sums[(uint64_t)t * a->stride + i], a->scales[i], a->token_scales[t]);
            v = a->bias ? v + a->bias[i] : v;
            *y = a->add ? *y + v : v;
        }
    return 0;
}

static int run_rope_table(const struct q35_cu_rope_table *a)
{
    uint32_t t, i, half = a->rope_dim / 2;
    for (t = 0; t < a->n_tokens; t++)
        for (i = 0; i < half; i++)
            q35_rope_angle(a->tokens[t].position, a->freq[i], a->cos_sin + t * a->rope_dim + i,
                           a->cos_sin + t * a->rope_dim + half + i);
    return 0;
}

static uint8_t *page_of(const struct q35_cu_kv *kv, const struct q35_token *t, uint32_t block)
{
    uint64_t page = kv->table[(uint64_t)t->sequence * kv->table_stride + block];
    return kv->pool + page * kv->page_bytes + kv->layer_offset;
}

/* norm and rope of n heads, in place */
static void head_step(const struct q35_cu_rope_store *a, uint32_t t, uint32_t n, const float *norm,
                      float *x)
{
    struct q35_error err = Q35_ERROR_INIT;
    if (norm)
        (void)ops->rms_norm(NULL, n, a->head_dim, x, norm, a->eps, x, &err);
    if (a->rope_dim)
        (void)ops->rope(NULL, 1, n, a->head_dim, a->rope_dim, a->rope_style,
                        a->cos_sin + (uint64_t)t * a->rope_dim, x, &err);
}

/* k, v: [n_kv_heads][head_dim] of one token, to position `at` of a page. */
static void store(const struct q35_cu_rope_store *a, const float *k, const float *v, uint32_t at,
                  uint8_t *page)
{
    uint64_t slots = (uint64_t)a->n_kv_heads * Q35_ATTN_BLOCK;
    uint32_t h, i, d = a->head_dim;
    for (h = 0; h < a->n_kv_heads; h++, k += d, v += d) {
        uint64_t slot = (uint64_t)h * Q35_ATTN_BLOCK + at;
        if (a->kv.type == Q35_KV_INT8) {
            int8_t *to = (int8_t *)page + slot * d;
            float *scales = (float *)(void *)(page + 2 * slots * d) + slot;
            scales[0] = q35_quantize(k, d, to);
            scales[slots] = q35_quantize(v, d, to + slots * d);
        } else {
            uint16_t *to = (uint16_t *)(void *)page + slot * d;
            for (i = 0; i < d; i++) {
                to[i] = q35_f32_to_f16(k[i]);
                to[slots * d + i] = q35_f32_to_f16(v[i]);
            }
        }
    }
}

static int run_rope_store(const struct q35_cu_rope_store *a)
{
    uint32_t t, width = a->n_kv_heads * a->head_dim;
    float *k = malloc(4 * (size_t)width);
    if (!k)
        return no_memory();
    for (t = 0; t < a->n_tokens; t++) {
        const struct q35_token *token = &a->tokens[t];
        head_step(a, t, a->n_heads, a->q_norm, a->q + (uint64_t)t * a->n_heads * a->head_dim);
        memcpy(k, a->k + (uint64_t)t * width, 4 * (size_t)width);
        head_step(a, t, a->n_kv_heads, a->k_norm, k);
        store(a, k, a->v + (uint64_t)t * width, token->position % Q35_ATTN_BLOCK,
              page_of(&a->kv, token, token->position / Q35_ATTN_BLOCK));
    }
    free(k);
    return 0;
}

static int attend(const struct q35_cu_attn *a, uint32_t t, const uint16_t **pages)
{
    struct q35_error err = Q35_ERROR_INIT;
    const uint16_t *const *list = pages;
    uint64_t width = (uint64_t)a->n_heads * a->head_dim;
    struct q35_attn_args args = {.size = sizeof(args),
                                 .n_tokens = 1,
                                 .n_heads = a->n_heads,
                                 .n_kv_heads = a->n_kv_heads,
                                 .head_dim = a->head_dim,
                                 .window = a->window,
                                 .scale = a->scale,
                                 .kv_type = a->kv.type,
                                 .q = a->q + t * width,
                                 .out = a->out + t * width,
                                 .positions = &a->tokens[t].position,
                                 .pages = &list};
    uint32_t b, n = a->tokens[t].position / Q35_ATTN_BLOCK + 1;
    if (n > a->max_pages) {
        snprintf(message, sizeof(message), "token %u has %u pages, at most %u", t, n, a->max_pages);
        return -1;
    }
    for (b = 0; b < n; b++)
        pages[b] = (const uint16_t *)(void *)page_of(&a->kv, &a->tokens[t], b);
    return failed(ops->attention(NULL, &args, &err), &err);
}

/* Goes by the pieces, as the kernel does, and checks what is promised of them. */
static int run_attn(const struct q35_cu_attn *a)
{
    const uint16_t **pages = malloc(sizeof(*pages) * a->max_pages);
    uint32_t p, i, done = 0;
    int rc = pages ? 0 : no_memory();
    for (p = 0; p < a->n_pieces && !rc; p++) {
        const struct q35_cu_piece *piece = &a->pieces[p];
        if (piece->first != done || !piece->count || piece->count > Q35_CU_ATTN_TOKENS ||
            piece->count > a->max_count) {
            snprintf(message, sizeof(message), "piece %u: tokens %u + %u", p, piece->first,
                     piece->count);
            rc = -1;
        }
        for (i = 0; i < piece->count && !rc; i++)
            rc = attend(a, piece->first + i, pages);
        done += piece->count;
    }
    if (!rc && done != a->n_tokens) {
        snprintf(message, sizeof(message), "%u tokens in pieces, %u in all", done, a->n_tokens);
        rc = -1;
    }
    free(pages);
    return rc;
}

static int run_attn_wide(const struct q35_cu_attn *a)
{
    return run_attn(a);
}

static int run_attn8(const struct q35_cu_attn *a)
{
    return run_attn(a);
}

static int run_attn8_wide(const struct q35_cu_attn *a)
{
    return run_attn(a);
}

static int run_attn_merge(const struct q35_cu_attn *a)
{
    (void)a;
    return 0;
}

static int run_embed(const struct q35_cu_embed *a)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_matrix m = {.size = sizeof(m),
                           .scheme = a->scheme,
                           .rows = UINT32_MAX,
                           .cols = a->cols,
                           .cols_padded = a->cols_padded,
                           .rot_block = a->rot_block,
                           .rot_seed = a->rot_seed,
                           .tables = a->tables,
                           .scales = a->scales,
                           .codes = a->codes};
    enum q35_status st = Q35_OK;
    uint32_t t, i;
    for (t = 0; t < a->n_tokens && !st; t++) {
        float *out = a->out + (uint64_t)t * a->cols;
        st = ops->embed(NULL, &m, (uint32_t)a->tokens[t].id, out, &err);
        for (i = 0; i < a->cols; i++)
            out[i] = out[i] * a->embed_scale;
    }
    return failed(st, &err);
}

static int run_argmax(const struct q35_cu_argmax *a)
{
    uint32_t i, k;
    for (i = 0; i < a->n; i++) {
        const float *l = a->logits + (uint64_t)i * a->vocab;
        a->ids[i] = 0;
        for (k = 1; k < a->vocab; k++)
            if (l[k] > l[a->ids[i]] || (l[k] == l[k] && l[a->ids[i]] != l[a->ids[i]]))
                a->ids[i] = k;
    }
    return 0;
}

void emu_capability(uint32_t cc)
{
    (void)cc;
}

size_t emu_args(const char *name)
{
    static const size_t sizes[] = {
#define SIZE(kernel, args) sizeof(struct args),
        Q35_CU_KERNELS(SIZE)
#undef SIZE
    };
    uint32_t i;
    for (i = 0; i < Q35_CU_KERNEL_COUNT; i++)
        if (!strcmp(name, q35_cu_name(i)))
            return sizes[i];
    return 0;
}

int emu_launch(const char *name, const uint32_t grid[3], const uint32_t block[3], size_t shared,
               void **params)
{
    (void)grid;
    (void)block;
    (void)shared;
#define RUN(kernel, args)                                                                          \
    if (!strcmp(name, "q35_cu_" #kernel))                                                          \
        return run_##kernel((const struct args *)params[0]);
    Q35_CU_KERNELS(RUN)
#undef RUN
    snprintf(message, sizeof(message), "no such kernel");
    return -1;
}

const char *emu_error(void)
{
    return message;
}
