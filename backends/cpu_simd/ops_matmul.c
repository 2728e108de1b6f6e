/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "ops.h"

#include <stdbool.h>
#include <stdlib.h>

#include "soft.h"

#define SUM_PIECE 8u            /* tokens whose sums one piece takes */
#define PACK_PIECE 48u          /* tokens that one piece packs */
#define PIECE_BYTES (48u << 10) /* of codes, about, for a few tokens: some microseconds */

/* Up to DOTS_MANY tokens of a matmul; its pieces are groups of adjacent row blocks. */
struct matmul_job {
    struct cpu *cpu;
    const struct q35_matmul_args *args;
    uint32_t first, n_tokens; /* tokens */
    uint32_t n_mats;          /* that are cut into pieces; of two for SWIGLU the first */
    uint32_t then;            /* enum dots_then: not STORE where dots_many finishes */
    float *into;              /* unless STORE */
    uint32_t blocks[4];       /* row blocks of a piece of each matrix */
    uint32_t pieces[4];       /* of each matrix */
    void *packed;             /* NULL: the kernel reads q */
    bool few;                 /* by dots_few, DOTS_FEW tokens at a time */
};

static void sum_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct matmul_job *j = ctx;
    uint32_t t, end = (piece + 1) * SUM_PIECE;
    (void)worker;
    for (t = piece * SUM_PIECE; t < end && t < j->n_tokens; t++)
        j->cpu->q_sums[t] = j->cpu->k.sum_q(
            j->args->q + (uint64_t)(j->first + t) * j->args->cols_padded, j->args->cols_padded);
}

static void pack_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct matmul_job *j = ctx;
    (void)worker;
    j->cpu->k.pack_q(j->args->q + (uint64_t)j->first * j->args->cols_padded, j->n_tokens,
                     j->args->cols_padded, piece * PACK_PIECE, PACK_PIECE, j->packed);
}

/* Rescales a piece's sums into y. */
static void store(const struct dots_args *d, const struct kernels *k)
{
    uint32_t t;
    for (t = 0; t < d->n_tokens; t++)
        k->rescale(d->acc + (uint64_t)t * d->blocks * 16, d->scales, d->token_scales[t], d->bias,
                   d->rows, d->y + t * d->y_stride);
}

/* The bytes of `packed` for each DOTS_FEW tokens. */
static uint64_t packed_few(const struct matmul_job *j)
{
    return (uint64_t)DOTS_FEW * (j->args->cols_padded + 128);
}

/* The tokens of a piece by dots_few. Its codes come from memory for the first of them only. */
static void few_tokens(const struct matmul_job *j, struct dots_args *d)
{
    const struct kernels *k = &j->cpu->k;
    uint32_t t, n = j->n_tokens;
    for (t = 0; t < n; t += DOTS_FEW) {
        d->n_tokens = n - t < DOTS_FEW ? n - t : DOTS_FEW;
        k->dots_few(d);
        store(d, k);
        d->q += DOTS_FEW * d->q_stride;
        d->q_sums += DOTS_FEW;
        d->token_scales += DOTS_FEW;
        d->y += DOTS_FEW * d->y_stride;
        if (d->packed)
            d->packed = (const uint8_t *)d->packed + packed_few(j);
    }
}

/* Pieces of a matrix that belong to nodes before `node`. */
static uint32_t pieces_before(const struct matmul_job *j, uint32_t mat, uint32_t node)
{
    const struct places *p = &j->cpu->places;
    return (uint32_t)((uint64_t)j->pieces[mat] * p->first[node] / p->threads);
}

/* The matrix that a piece is of, and its number there. Pieces go node by node, so that each node
 * has its part of every matrix, not some of the matrices. */
static void locate(const struct matmul_job *j, uint32_t *piece, uint32_t *mat)
{
    uint32_t node, i, from, n;
    for (node = 0;; node++)
        for (i = 0; i < j->n_mats; i++) {
            from = pieces_before(j, i, node);
            n = pieces_before(j, i, node + 1) - from;
            if (*piece < n) {
                *piece += from;
                *mat = i;
                return;
            }
            *piece -= n;
        }
}

static void matmul_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    const struct matmul_job *j = ctx;
    const struct q35_matmul_args *a = j->args;
    const struct kernels *k = &j->cpu->k;
    struct worker *w = &j->cpu->workers[worker];
    const struct q35_matrix *m;
    uint32_t mat = 0, block, total, i;
    struct dots_args d;
    locate(j, &piece, &mat);
    m = a->mats[mat];
    block = piece * j->blocks[mat];
    total = m->rows_padded / 16;
    d = (struct dots_args){
        .scheme = m->scheme,
        .tiles = q35_tiles_per_row(m->scheme, m->cols_padded),
        .cols = m->cols_padded,
        .blocks = total - block < j->blocks[mat] ? total - block : j->blocks[mat],
        .streams = j->cpu->streams,
        .n_tokens = j->n_tokens,
        .tables = m->tables,
        .q = a->q + (uint64_t)j->first * a->cols_padded,
        .q_stride = a->cols_padded,
        .q_sums = j->cpu->q_sums,
        .packed = j->packed,
        .acc = w->acc,
        .scratch = w->scratch,
        .then = j->then,
        .scales = m->scales + 16 * block,
        .token_scales = a->token_scales + j->first,
        .bias = m->bias ? m->bias + 16 * block : NULL,
        .y = (j->then ? j->into : a->y[mat]) + j->first * a->y_stride[mat] + 16 * block,
        .y_stride = a->y_stride[mat],
    };
    d.rows = m->rows - 16 * block < 16 * d.blocks ? m->rows - 16 * block : 16 * d.blocks;
    d.codes = m->codes + (uint64_t)block * d.tiles * Q35_TILE_BYTES;
    if (j->then == DOTS_SWIGLU) {
        const struct q35_matrix *up = a->mats[1];
        d.up_tables = up->tables;
        d.up_codes = up->codes + (uint64_t)block * d.tiles * Q35_TILE_BYTES;
        d.up_scales = up->scales + 16 * block;
        d.up_bias = up->bias ? up->bias + 16 * block : NULL;
    }
    for (i = 0; i < d.blocks; i++) /* what store() reads comes meanwhile */
        __builtin_prefetch(d.scales + 16 * i);
    if (j->few) {
        few_tokens(j, &d);
        return;
    }
    k->dots_many(&d);
    if (!k->many_finishes)
        store(&d, k);
}

/* Room in c->packed. Only grows: nothing is allocated per token. */
static enum q35_status pack_reserve(struct cpu *c, uint64_t bytes, struct q35_error *err)
{
    void *packed;
    if (bytes <= c->packed_bytes)
        return Q35_OK;
    packed = aligned_alloc(64, (bytes + 63) & ~(uint64_t)63);
    if (!packed)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory to pack %llu bytes of activations",
                             (unsigned long long)bytes);
    free(c->packed);
    c->packed = packed;
    c->packed_bytes = bytes;
    return Q35_OK;
}

static enum q35_status pack(struct matmul_job *j, struct q35_error *err)
{
    struct cpu *c = j->cpu;
    uint32_t n = j->n_tokens, cols = j->args->cols_padded, t;
    bool few = j->few && n > 1 && c->k.pack_few, many = !j->few && c->k.pack_q;
    const int8_t *q = j->args->q + (uint64_t)j->first * cols;
    enum q35_status st;
    j->packed = NULL;
    if (!few && !many)
        return Q35_OK;
    st = pack_reserve(
        c, few ? (n + DOTS_FEW - 1) / DOTS_FEW * packed_few(j) : c->k.pack_bytes(n, cols), err);
    if (st)
        return st;
    j->packed = c->packed;
    for (t = 0; few && t + 1 < n; t += DOTS_FEW) /* a single one is read as it is */
        c->k.pack_few(q + (uint64_t)t * cols, cols, n - t < DOTS_FEW ? n - t : DOTS_FEW, cols,
                      (uint8_t *)c->packed + t / DOTS_FEW * packed_few(j));
    if (many)
        pool_run(c->pool, pack_piece, j, (n + PACK_PIECE - 1) / PACK_PIECE);
    return Q35_OK;
}

/* Row blocks of a piece. */
static uint32_t blocks_of(const struct matmul_job *j, const struct q35_matrix *m)
{
    uint32_t bytes = q35_tiles_per_row(m->scheme, m->cols_padded) * Q35_TILE_BYTES, n;
    if (!j->few) { /* fewer where there are many threads to share them */
        n = j->cpu->k.many_blocks;
        if (j->then == DOTS_SWIGLU && n > 1)
            n /= 2;
        while (n > 1 && m->rows_padded / 16 < 4 * n * pool_threads(j->cpu->pool))
            n /= 2;
        return n;
    }
    if (j->cpu->streams > 1)
        return DOTS_STREAMS;
    n = (PIECE_BYTES + bytes / 2) / bytes;
    return n < 1 ? 1 : n > DOTS_STREAMS ? DOTS_STREAMS : n;
}

/* The tokens a->first .. in turns of up to DOTS_MANY. */
static enum q35_status run(struct matmul_job *j, struct q35_error *err)
{
    const struct q35_matmul_args *a = j->args;
    struct cpu *c = j->cpu;
    uint32_t i;
    for (j->first = 0; j->first < a->n_tokens; j->first += j->n_tokens) {
        enum q35_status st;
        uint32_t pieces = 0;
        j->n_tokens = a->n_tokens - j->first < DOTS_MANY ? a->n_tokens - j->first : DOTS_MANY;
        j->few = j->n_tokens <= c->k.few_most;
        for (i = 0; i < j->n_mats; i++) {
            uint32_t blocks = a->mats[i]->rows_padded / 16;
            j->blocks[i] = blocks_of(j, a->mats[i]);
            j->pieces[i] = (blocks + j->blocks[i] - 1) / j->blocks[i];
            pieces += j->pieces[i];
        }
        pool_run(c->pool, sum_piece, j, (j->n_tokens + SUM_PIECE - 1) / SUM_PIECE);
        st = pack(j, err);
        if (st)
            return st;
        pool_run(c->pool, matmul_piece, j, pieces);
    }
    return Q35_OK;
}

enum q35_status cpu_matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    struct matmul_job j = {.cpu = user, .args = a, .n_mats = a->n_mats};
    return run(&j, err);
}

/* Whether dots_many can do the operation itself. */
static bool in_one(const struct cpu *c, const struct q35_matmul_args *a, enum q35_soft_then then)
{
    const struct q35_matrix *x = a->mats[0], *y = a->mats[1];
    uint32_t last = a->n_tokens % DOTS_MANY; /* tokens of the last turn */
    if (!c->k.many_finishes || (last ? last : DOTS_MANY) <= c->k.few_most)
        return false;
    if (then == Q35_SOFT_ADD)
        return a->n_mats == 1;
    return a->n_mats == 2 && x->scheme == y->scheme && x->rows == y->rows &&
           tables_kind(x->scheme, x->tables) == tables_kind(y->scheme, y->tables);
}

enum q35_status cpu_matmul_then(void *user, const struct q35_matmul_args *a,
                                enum q35_soft_then then, float *into, struct q35_error *err)
{
    struct matmul_job j = {.cpu = user, .args = a, .n_mats = 1, .into = into};
    uint64_t n = a->n_tokens * a->y_stride[0];
    enum q35_status st;
    if (in_one(user, a, then)) {
        j.then = then == Q35_SOFT_ADD ? DOTS_ADD : DOTS_SWIGLU;
        return run(&j, err);
    }
    st = cpu_matmul(user, a, err);
    if (st)
        return st;
    return then == Q35_SOFT_ADD ? cpu_ops.add(user, n, into, a->y[0], err)
                                : cpu_ops.swiglu(user, n, a->y[0], a->y[1], into, err);
}
