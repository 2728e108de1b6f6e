/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Calling a compiled layer through MLIR's C interface. */

#include "run.h"

#include <stdlib.h>
#include <string.h>

/* MLIR's descriptors of memrefs of rank 1 and 2. */
struct memref1 {
    void *base, *data;
    int64_t offset, size, stride;
};
struct memref2 {
    void *base, *data;
    int64_t offset, size[2], stride[2];
};

static struct memref1 ref1(const void *data, uint64_t n)
{
    void *p = (void *)(uintptr_t)data;
    return (struct memref1){p, p, 0, (int64_t)n, 1};
}

static struct memref2 ref2(void *data, uint64_t rows, uint64_t cols)
{
    return (struct memref2){data, data, 0, {(int64_t)rows, (int64_t)cols}, {(int64_t)cols, 1}};
}

typedef void (*embed_fn)(struct memref1 *ids, struct memref1 *arena, struct memref1 *numbers,
                         struct memref1 *weights, struct memref2 *out);
typedef void (*head_fn)(struct memref2 *x, struct memref1 *arena, struct memref1 *numbers,
                        struct memref1 *norm, struct memref1 *weights, struct memref2 *logits);
typedef struct memref1 *m1;
typedef void (*decoder_fn)(struct memref2 *x, m1 positions, struct memref2 *pages, m1 pool,
                           m1 arena, m1 numbers, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1,
                           m1, m1, m1);

/* One call of a layer over up to GROQ_TILE_TOKENS tokens. */
struct part {
    struct groq_runner *r;
    const struct q35_soft_layer_call *c;
    void *entry;
    struct memref1 arena, numbers, roles[Q35_ROLE_COUNT];
};

static void run_embed(struct part *p, uint32_t first, uint32_t n)
{
    const struct q35_soft_layer_call *c = p->c;
    int32_t list[GROQ_TILE_TOKENS];
    struct memref1 ids = ref1(list, n);
    struct memref2 out = ref2(c->x + (uint64_t)first * c->layer->d_model, n, c->layer->d_model);
    uint32_t i;
    for (i = 0; i < n; i++) {
        const void *at = (const uint8_t *)c->tokens + (uint64_t)(first + i) * c->token_stride;
        list[i] = ((const struct q35_token *)at)->id;
    }
    ((embed_fn)(uintptr_t)p->entry)(&ids, &p->arena, &p->numbers, &p->roles[Q35_ROLE_TOKEN_EMBED],
                                    &out);
}

static void run_head(struct part *p, uint32_t first, uint32_t n)
{
    const struct q35_layer *l = p->c->layer;
    struct memref2 x = ref2(p->c->x + (uint64_t)first * l->d_model, n, l->d_model);
    struct memref2 logits = ref2(p->c->logits + (uint64_t)first * l->vocab, n, l->vocab);
    ((head_fn)(uintptr_t)p->entry)(&x, &p->arena, &p->numbers, &p->roles[Q35_ROLE_OUT_NORM],
                                   &p->roles[Q35_ROLE_HEAD], &logits);
}

/* Where the pages of n tokens lie, relative to one of them, in values. */
static enum q35_status point(struct part *p, uint32_t first, uint32_t n, struct memref2 *pages,
                             struct memref1 *pool, struct q35_error *err)
{
    const struct q35_soft_layer_call *c = p->c;
    const uint16_t *base = c->pages[first][c->positions[first] / Q35_ATTN_BLOCK];
    uint32_t window = c->layer->window, i, b;
    uint64_t blocks = 0;
    for (i = first; i < first + n; i++)
        if (c->positions[i] / Q35_ATTN_BLOCK >= blocks)
            blocks = c->positions[i] / Q35_ATTN_BLOCK + 1;
    if (blocks > p->r->page_room) {
        int64_t *more = malloc(2 * blocks * GROQ_TILE_TOKENS * sizeof(*more));
        if (!more)
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a table of pages");
        free(p->r->pages);
        p->r->pages = more;
        p->r->page_room = 2 * blocks;
    }
    *pages = ref2(p->r->pages, n, p->r->page_room);
    *pool = ref1(base, INT64_MAX / 4);
    for (i = 0; i < n; i++) {
        uint32_t hi = c->positions[first + i];
        uint32_t lo = window && hi + 1 > window ? hi + 1 - window : 0;
        for (b = lo / Q35_ATTN_BLOCK; b <= hi / Q35_ATTN_BLOCK; b++)
            p->r->pages[i * p->r->page_room + b] =
                ((intptr_t)c->pages[first + i][b] - (intptr_t)base) / (intptr_t)sizeof(*base);
    }
    return Q35_OK;
}

static enum q35_status run_decoder(struct part *p, uint32_t first, uint32_t n,
                                   struct q35_error *err)
{
    const struct q35_soft_layer_call *c = p->c;
    struct memref2 x = ref2(c->x + (uint64_t)first * c->layer->d_model, n, c->layer->d_model);
    struct memref1 positions = ref1(c->positions + first, n), pool, *r = p->roles;
    struct memref2 pages;
    enum q35_status st = point(p, first, n, &pages, &pool, err);
    if (st)
        return st;
    ((decoder_fn)(uintptr_t)p->entry)(
        &x, &positions, &pages, &pool, &p->arena, &p->numbers, &r[Q35_ROLE_ATTN_NORM],
        &r[Q35_ROLE_Q], &r[Q35_ROLE_K], &r[Q35_ROLE_V], &r[Q35_ROLE_O], &r[Q35_ROLE_Q_BIAS],
        &r[Q35_ROLE_K_BIAS], &r[Q35_ROLE_V_BIAS], &r[Q35_ROLE_O_BIAS], &r[Q35_ROLE_Q_NORM],
        &r[Q35_ROLE_K_NORM], &r[Q35_ROLE_FFN_NORM], &r[Q35_ROLE_GATE], &r[Q35_ROLE_UP],
        &r[Q35_ROLE_DOWN], &r[Q35_ROLE_ROPE_FREQ]);
    return Q35_OK;
}

enum q35_status groq_run_layer(struct groq_runner *r, void *entry,
                               const struct q35_soft_layer_call *c, struct q35_error *err)
{
    struct part p = {.r = r, .c = c, .entry = entry};
    int64_t numbers[GROQ_MLIR_NUMBERS] = {0};
    enum q35_status st = Q35_OK;
    uint32_t role, first, n;

    for (role = 0; role < Q35_ROLE_COUNT; role++) {
        const struct q35_tensor_desc *t = c->tensors[role];
        p.roles[role] = ref1(r->arena, 0);
        if (!t)
            continue;
        numbers[role] = (int64_t)t->rot_seed;
        p.roles[role] = ref1(c->data[role], t->type == Q35_TENSOR_F32 ? t->bytes / 4 : t->bytes);
    }
    numbers[Q35_ROLE_COUNT] = c->layer->window;
    p.arena = ref1(r->arena, r->arena_bytes);
    p.numbers = ref1(numbers, GROQ_MLIR_NUMBERS);
    for (first = 0; !st && first < c->n_tokens; first += n) {
        n = c->n_tokens - first < GROQ_TILE_TOKENS ? c->n_tokens - first : GROQ_TILE_TOKENS;
        if (c->layer->kind == Q35_LAYER_EMBED)
            run_embed(&p, first, n);
        else if (c->layer->kind == Q35_LAYER_HEAD)
            run_head(&p, first, n);
        else
            st = run_decoder(&p, first, n, err);
    }
    return st;
}

/* The arena starts as zeros, so that nothing undefined is ever read. */
enum q35_status groq_runner_grow(struct groq_runner *r, uint64_t bytes, struct q35_error *err)
{
    uint8_t *arena;
    if (bytes <= r->arena_bytes)
        return Q35_OK;
    arena = aligned_alloc(64, (bytes + 63) & ~UINT64_C(63));
    if (!arena)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for %llu bytes of scratch",
                             (unsigned long long)bytes);
    memset(arena, 0, bytes);
    free(r->arena);
    r->arena = arena;
    r->arena_bytes = bytes;
    return Q35_OK;
}

void groq_runner_fini(struct groq_runner *r)
{
    free(r->arena);
    free(r->pages);
    memset(r, 0, sizeof(*r));
}
