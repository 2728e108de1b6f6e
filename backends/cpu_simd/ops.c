/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "ops.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "soft.h"

#define ACC_BYTES (DOTS_MANY * DOTS_STREAMS * 16u * sizeof(int32_t))
#define HASH_PIECE (256u << 10)
#define PIECE_FLOATS 8192u /* elementwise work worth handing to another thread */

static void *aligned(uint64_t bytes)
{
    return aligned_alloc(64, (bytes + 63) & ~(uint64_t)63);
}

void cpu_destroy(void *arg)
{
    struct cpu *c = arg;
    uint32_t i;
    if (!c)
        return;
    cpu_profile_end(c);
    for (i = 0; c->workers && i < pool_threads(c->pool); i++) {
        free(c->workers[i].scratch);
        free(c->workers[i].acc);
        free(c->workers[i].row);
    }
    free(c->workers);
    free(c->q_sums);
    free(c->packed);
    free(c->parts.merged);
    free(c->q8.values);
    pool_destroy(c->pool);
    places_fini(&c->places);
    free(c);
}

struct cpu *cpu_create(unsigned features, unsigned variant, uint32_t threads, enum cpu_pin pin)
{
    struct cpu *c = calloc(1, sizeof *c);
    uint32_t i, cpus = q35_cpu_count();
    if (!c)
        return NULL;
    q35_cpu_kernels_init(&c->k, features, variant);
    if (!places_init(&c->places, threads == 0 || threads > cpus ? cpus : threads))
        goto fail;
    c->pool = pool_create(&c->places,
                          pin == CPU_PIN_CORES || (pin == CPU_PIN_AUTO && c->places.nodes > 1));
    c->streams = q35_cpu_streams();
    c->q_sums = aligned(DOTS_MANY * sizeof *c->q_sums);
    if (!c->pool || !c->q_sums)
        goto fail;
    c->workers = calloc(pool_threads(c->pool), sizeof *c->workers);
    if (!c->workers)
        goto fail;
    for (i = 0; i < pool_threads(c->pool); i++) {
        c->workers[i].scratch = aligned(SCRATCH_BYTES);
        c->workers[i].acc = aligned(ACC_BYTES);
        if (!c->workers[i].scratch || !c->workers[i].acc)
            goto fail;
    }
    return c;
fail:
    cpu_destroy(c);
    return NULL;
}

/* Makes every thread's row at least n long. Only grows: nothing is allocated per token. */
static enum q35_status rows_reserve(struct cpu *c, uint32_t n, struct q35_error *err)
{
    uint32_t i;
    if (n <= c->row_len)
        return Q35_OK;
    for (i = 0; i < pool_threads(c->pool); i++) {
        float *row = aligned((uint64_t)n * sizeof *row);
        if (!row)
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for rows of %u values", n);
        free(c->workers[i].row);
        c->workers[i].row = row;
    }
    c->row_len = n;
    return Q35_OK;
}

/* ---- token by token ------------------------------------------------------------------------ */

/* One operation over the tokens of a batch, `per_piece` tokens at a time. */
struct token_job {
    struct cpu *cpu;
    uint32_t n_tokens, per_piece;
    uint32_t d, cols_padded, rot_block, n_heads, rope_dim, style;
    uint64_t x_stride, rot_seed;
    const float *x, *w;
    float *y;
    float eps;
    int8_t *q;
    float *scales;
};

static void run_tokens(struct token_job *j, uint32_t floats_per_token, pool_fn fn)
{
    uint32_t per = floats_per_token ? PIECE_FLOATS / floats_per_token : 1;
    j->per_piece = per ? per : 1;
    pool_run(j->cpu->pool, fn, j, (j->n_tokens + j->per_piece - 1) / j->per_piece);
}

static uint32_t piece_end(const struct token_job *j, uint32_t piece)
{
    uint32_t end = (piece + 1) * j->per_piece;
    return end < j->n_tokens ? end : j->n_tokens;
}

static void rms_norm_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct token_job *j = ctx;
    uint64_t t;
    (void)worker;
    for (t = piece * j->per_piece; t < piece_end(j, piece); t++)
        j->cpu->k.rms_norm(j->x + t * j->d, j->w, j->d, j->eps, j->y + t * j->d);
}

static enum q35_status rms_norm(void *user, uint32_t n_tokens, uint32_t d, const float *x,
                                const float *w, float eps, float *y, struct q35_error *err)
{
    struct token_job j = {
        .cpu = user, .n_tokens = n_tokens, .d = d, .x = x, .w = w, .eps = eps, .y = y};
    (void)err;
    run_tokens(&j, d, rms_norm_piece);
    return Q35_OK;
}

static void quantize_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct token_job *j = ctx;
    const struct kernels *k = &j->cpu->k;
    float *row = j->cpu->workers[worker].row;
    uint64_t t;
    for (t = piece * j->per_piece; t < piece_end(j, piece); t++) {
        const float *x = j->x + t * j->x_stride;
        if (j->rot_block) {
            k->signs(x, j->d, j->cols_padded, j->rot_seed, row);
            k->hadamard(row, j->cols_padded, j->rot_block);
        } else {
            memcpy(row, x, j->d * sizeof *row);
            memset(row + j->d, 0, (j->cols_padded - j->d) * sizeof *row);
        }
        j->scales[t] = k->quantize(row, j->cols_padded, j->q + t * j->cols_padded);
    }
}

static enum q35_status quantize(void *user, uint32_t n_tokens, uint32_t cols, uint32_t cols_padded,
                                uint32_t rot_block, uint64_t rot_seed, const float *x,
                                uint64_t x_stride, int8_t *q, float *scales, struct q35_error *err)
{
    struct token_job j = {.cpu = user,
                          .n_tokens = n_tokens,
                          .d = cols,
                          .cols_padded = cols_padded,
                          .rot_block = rot_block,
                          .rot_seed = rot_seed,
                          .x = x,
                          .x_stride = x_stride,
                          .q = q,
                          .scales = scales};
    enum q35_status st = rows_reserve(user, cols_padded, err);
    if (st)
        return st;
    run_tokens(&j, cols_padded, quantize_piece);
    return Q35_OK;
}

static void rope_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct token_job *j = ctx;
    uint64_t t, width = (uint64_t)j->n_heads * j->d;
    (void)worker;
    for (t = piece * j->per_piece; t < piece_end(j, piece); t++)
        j->cpu->k.rope(j->y + t * width, j->n_heads, j->d, j->rope_dim, j->style,
                       j->x + t * j->rope_dim);
}

static enum q35_status rope(void *user, uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim,
                            uint32_t rope_dim, uint32_t rope_style, const float *cos_sin, float *x,
                            struct q35_error *err)
{
    struct token_job j = {.cpu = user,
                          .n_tokens = n_tokens,
                          .n_heads = n_heads,
                          .d = head_dim,
                          .rope_dim = rope_dim,
                          .style = rope_style,
                          .x = cos_sin,
                          .y = x};
    (void)err;
    run_tokens(&j, n_heads * head_dim, rope_piece);
    return Q35_OK;
}

/* ---- element by element -------------------------------------------------------------------- */

struct element_job {
    struct cpu *cpu;
    uint64_t n;
    const float *a, *b;
    float *out;
};

static uint64_t element_count(const struct element_job *j, uint64_t at)
{
    return j->n - at < PIECE_FLOATS ? j->n - at : PIECE_FLOATS;
}

static void swiglu_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct element_job *j = ctx;
    uint64_t at = (uint64_t)piece * PIECE_FLOATS;
    (void)worker;
    j->cpu->k.swiglu(element_count(j, at), j->a + at, j->b + at, j->out + at);
}

static void add_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct element_job *j = ctx;
    uint64_t at = (uint64_t)piece * PIECE_FLOATS;
    (void)worker;
    j->cpu->k.add(element_count(j, at), j->out + at, j->b + at);
}

static enum q35_status swiglu(void *user, uint64_t n, const float *gate, const float *up,
                              float *out, struct q35_error *err)
{
    struct element_job j = {user, n, gate, up, out};
    (void)err;
    pool_run(j.cpu->pool, swiglu_piece, &j, (uint32_t)((n + PIECE_FLOATS - 1) / PIECE_FLOATS));
    return Q35_OK;
}

static enum q35_status add(void *user, uint64_t n, float *x, const float *y, struct q35_error *err)
{
    struct element_job j = {user, n, NULL, y, x};
    (void)err;
    pool_run(j.cpu->pool, add_piece, &j, (uint32_t)((n + PIECE_FLOATS - 1) / PIECE_FLOATS));
    return Q35_OK;
}

/* ---- embedding ------------------------------------------------------------------------------ */

/* A row of a tile without B and with one weight a code: 8 codes from 7 bytes at a time. The last
 * read runs one byte over the row, at most into the blob's tail. */
static void embed_single(const struct q35_tables *t, const uint8_t *row, int8_t *w)
{
    uint32_t g, i;
    for (g = 0; g < 8; g++, row += 7, w += 8)
        for (i = 0; i < 8; i++) {
            uint32_t bit = 7 * i, at = bit / 8;
            w[i] = t->a0[((uint32_t)(row[at] | row[at + 1] << 8) >> bit % 8) & 127u];
        }
}

static enum q35_status embed(void *user, const struct q35_matrix *m, uint32_t row, float *out,
                             struct q35_error *err)
{
    struct cpu *c = user;
    uint32_t width = q35_tile_cols(m->scheme), k, j;
    uint32_t tiles = q35_tiles_per_row(m->scheme, m->cols_padded);
    const uint8_t *tile = m->codes + (uint64_t)(row / Q35_TILE_ROWS) * tiles * Q35_TILE_BYTES;
    enum q35_status st = rows_reserve(c, m->cols_padded, err);
    static const uint8_t none[128];
    int single = Q35_SCHEME_WEIGHTS(m->scheme) == 1 && memcmp(m->tables->b, none, 128) == 0;
    float *v = c->workers[0].row;
    if (st)
        return st;
    for (k = 0; k < tiles; k++, tile += Q35_TILE_BYTES) {
        int8_t w[Q35_MAX_TILE_COLS];
        uint32_t used = q35_tile_used(m->scheme, m->cols_padded, k);
        if (single)
            embed_single(m->tables, tile + row % Q35_TILE_ROWS * Q35_ROW_BYTES, w);
        else
            q35_decode_row(m->scheme, m->tables, tile, row % Q35_TILE_ROWS, w);
        for (j = 0; j < used; j++)
            v[k * width + j] = (float)w[j] * m->scales[row];
    }
    if (m->rot_block) {
        c->k.hadamard(v, m->cols_padded, m->rot_block);
        c->k.signs(v, m->cols_padded, m->cols_padded, m->rot_seed, v);
    }
    memcpy(out, v, m->cols * sizeof *out);
    return Q35_OK;
}

uint32_t cpu_greedy(void *cpu, const float *x, uint32_t n)
{
    const struct cpu *c = cpu;
    return c->k.greedy(x, n);
}

float cpu_quantize_head(void *cpu, const float *x, uint32_t n, int8_t *q)
{
    const struct cpu *c = cpu;
    return n % 32 ? q35_quantize(x, n, q) : c->k.quantize(x, n, q);
}

/* ---- hashes --------------------------------------------------------------------------------- */

struct hash_job {
    const struct kernels *k;
    const uint8_t *data;
    uint64_t bytes, first_byte;
    _Atomic uint64_t sum;
};

static void hash_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    struct hash_job *j = ctx;
    uint64_t at = (uint64_t)piece * HASH_PIECE, left = j->bytes - at;
    (void)worker;
    atomic_fetch_add(&j->sum, j->k->hash(j->data + at, left < HASH_PIECE ? left : HASH_PIECE,
                                         j->first_byte + at));
}

uint64_t cpu_hash(void *cpu, const uint8_t *data, uint64_t bytes, uint64_t first_byte)
{
    struct cpu *c = cpu;
    struct hash_job j = {.k = &c->k, .data = data, .bytes = bytes, .first_byte = first_byte};
    pool_run(c->pool, hash_piece, &j, (uint32_t)((bytes + HASH_PIECE - 1) / HASH_PIECE));
    return j.sum;
}

const struct q35_ops cpu_ops = {
    .size = sizeof cpu_ops,
    .matmul = cpu_matmul,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .rope = rope,
    .attention = cpu_attention,
    .swiglu = swiglu,
    .add = add,
    .embed = embed,
};
