/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The KV pages: storing K and V, and attention over them. */

#include "emit.h"

#include <stdio.h>

#define POOL "memref<?xi16>"

/* Calls body for every 16 values of n, the last time under a mask if 16 does not divide n. */
typedef void (*chunk_body)(struct gen *g, void *ctx, val i, val mask);

static void emit_chunks(struct gen *g, uint32_t n, chunk_body body, void *ctx)
{
    uint32_t full = n & ~15u;
    if (full) {
        val i = open_scf(g, emit_index(g, 0), emit_index(g, full), emit_index(g, 16));
        body(g, ctx, i, NO_MASK);
        text_close(&g->m);
    }
    if (n & 15u) {
        val i = emit_index(g, full);
        body(g, ctx, i, emit_mask(g, n & 15u));
    }
}

/* 16 values of the pool from base + i on, as f32. */
static val load_pool(struct gen *g, val pool, val base, val i, val mask)
{
    struct ref r = {pool, POOL};
    char index[24];
    snprintf(index, sizeof(index), V, emit_bin(g, "arith.addi", base, i, "index"));
    return emit_f16_to_f32(g, &ty_lanes, emit_load16(g, &r, index, "i16", mask));
}

/* Position of token t, as index. */
static val emit_position(struct gen *g, val pos, val t)
{
    val p = text_op(&g->m, "memref.load " V "[" V "] : memref<?xi32>", pos, t);
    return emit_cast(g, "arith.index_castui", p, "i32", "index");
}

/* Where K of block b of head h begins in the pool. */
static val emit_page(struct gen *g, const struct q35_layer *l, val pages, val t, val b, val h)
{
    val p = text_op(&g->m, "memref.load " V "[" V ", " V "] : memref<?x?xi64>", pages, t, b);
    p = emit_cast(g, "arith.index_cast", p, "i64", "index");
    h = emit_bin(g, "arith.muli", h, emit_index(g, (uint64_t)Q35_ATTN_BLOCK * l->head_dim),
                 "index");
    return emit_bin(g, "arith.addi", p, h, "index");
}

/* From K of a page to V. */
static uint64_t page_half(const struct q35_layer *l)
{
    return (uint64_t)l->n_kv_heads * Q35_ATTN_BLOCK * l->head_dim;
}

/* ---- store ------------------------------------------------------------------------------- */

struct store_ctx {
    struct ref from;
    val t, h, pool, base;
};

static void store_chunk(struct gen *g, void *ctx, val i, val mask)
{
    const struct store_ctx *c = ctx;
    struct ref pool = {c->pool, POOL};
    char index[48];
    val v;
    snprintf(index, sizeof(index), V ", " V ", " V, c->t, c->h, i);
    v = emit_f32_to_f16(g, &ty_lanes, emit_load16(g, &c->from, index, "f32", mask));
    snprintf(index, sizeof(index), V, emit_bin(g, "arith.addi", c->base, i, "index"));
    emit_store16(g, &pool, index, "i16", mask, v);
}

/* @kv_store(n, k, v, positions, pages, pool) */
void func_kv_store(struct gen *g, const struct q35_layer *l)
{
    val n = text_new(&g->m), k = text_new(&g->m), v = text_new(&g->m), pos = text_new(&g->m);
    val pages = text_new(&g->m), pool = text_new(&g->m), zero, one, p, b, j;
    struct store_ctx c = {.pool = pool};

    snprintf(c.from.type, sizeof(c.from.type), "memref<?x%ux%uxf32>", l->n_kv_heads, l->head_dim);
    open_func(g,
              "kv_store(" V ": index, " V ": %s, " V ": %s, " V ": memref<?xi32>, " V
              ": memref<?x?xi64>, " V ": " POOL ")",
              n, k, c.from.type, v, c.from.type, pos, pages, pool);
    zero = emit_index(g, 0);
    one = emit_index(g, 1);
    c.t = open_scf(g, zero, n, one);
    p = emit_position(g, pos, c.t);
    b = emit_bin(g, "arith.shrui", p, emit_index(g, 6), "index");
    j = emit_bin(g, "arith.andi", p, emit_index(g, Q35_ATTN_BLOCK - 1), "index");
    j = emit_bin(g, "arith.muli", j, emit_index(g, l->head_dim), "index");
    c.h = open_scf(g, zero, emit_index(g, l->n_kv_heads), one);
    c.base = emit_bin(g, "arith.addi", emit_page(g, l, pages, c.t, b, c.h), j, "index");
    c.from.v = k;
    emit_chunks(g, l->head_dim, store_chunk, &c);
    c.base = emit_bin(g, "arith.addi", c.base, emit_index(g, page_half(l)), "index");
    c.from.v = v;
    emit_chunks(g, l->head_dim, store_chunk, &c);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* ---- attention --------------------------------------------------------------------------- */

struct attn_ctx {
    const struct q35_layer *l;
    struct ref q, out, s, o; /* out like q; s: scores [64], o: a block's result [head_dim] */
    val n, pos, pages, pool, t, h;
    val zero, one;
    val first, last; /* positions of the block: first <= j < last */
    val row;         /* of K or V, in the pool */
    val a, c;        /* factors of a merge, or the final one in a */
    val m, sum;      /* of the block */
};

static void head_index(const struct attn_ctx *c, char *out, size_t room, val i)
{
    snprintf(out, room, V ", " V ", " V, c->t, c->h, i);
}

static void load_query_key(struct gen *g, void *ctx, val i, val mask, val *x, val *y)
{
    struct attn_ctx *c = ctx;
    char index[48];
    head_index(c, index, sizeof(index), i);
    *x = emit_load16(g, &c->q, index, "f32", mask);
    *y = load_pool(g, c->pool, c->row, i, mask);
}

static val load_score(struct gen *g, const struct attn_ctx *c, val j)
{
    return text_op(&g->m, "memref.load " V "[" V "] : %s", c->s.v, j, c->s.type);
}

static val emit_row(struct gen *g, const struct attn_ctx *c, val base, val j)
{
    val r = emit_bin(g, "arith.muli", j, emit_index(g, c->l->head_dim), "index");
    return emit_bin(g, "arith.addi", base, r, "index");
}

/* s[j] = q.k_j * scale and their maximum. */
static void emit_scores(struct gen *g, struct attn_ctx *c, val k_base)
{
    val scale = emit_f32(g, &ty_scalar, c->l->attn_scale), j, s;
    struct carry m;
    j = open_scf(g, c->first, c->last, c->one);
    c->row = emit_row(g, c, k_base, j);
    s = emit_dot(g, c->l->head_dim, load_query_key, c);
    s = emit_bin(g, "arith.mulf", s, scale, "f32");
    text_line(&g->m, "memref.store " V ", " V "[" V "] : %s", s, c->s.v, j, c->s.type);
    text_close(&g->m);
    s = load_score(g, c, c->first);
    j = emit_bin(g, "arith.addi", c->first, c->one, "index");
    m = open_carry(g, j, c->last, c->one, s, "f32");
    s = load_score(g, c, m.i);
    s = emit_select_if(g, "arith.cmpf ogt", s, m.carried, "f32", s, m.carried, &ty_scalar, "f32");
    c->m = close_carry(g, &m, s);
}

/* p = exp(s - m) in place, and their sum in 16 lanes. What lies outside the block is left out. */
static void emit_softmax(struct gen *g, struct attn_ctx *c)
{
    val top = emit_cast(g, "vector.broadcast", c->m, "f32", LANES);
    val lane = text_op(&g->m, "arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, "
                              "13, 14, 15]> : vector<16xi32>");
    val lo = emit_cast(g, "arith.index_cast", c->first, "index", "i32");
    val hi = emit_cast(g, "arith.index_cast", c->last, "index", "i32"), j, p, in, below;
    struct carry sum;
    char index[24];

    lo = emit_cast(g, "vector.broadcast", lo, "i32", ty_lanes.i);
    hi = emit_cast(g, "vector.broadcast", hi, "i32", ty_lanes.i);
    sum = open_carry(g, c->zero, emit_index(g, Q35_ATTN_BLOCK), emit_index(g, 16),
                     emit_f32(g, &ty_lanes, 0.0f), LANES);
    snprintf(index, sizeof(index), V, sum.i);
    p = emit_bin(g, "arith.subf", emit_load16(g, &c->s, index, "f32", NO_MASK), top, LANES);
    p = emit_exp(g, &ty_lanes, p);
    emit_store16(g, &c->s, index, "f32", NO_MASK, p);
    j = emit_cast(g, "arith.index_cast", sum.i, "index", "i32");
    j = emit_cast(g, "vector.broadcast", j, "i32", ty_lanes.i);
    j = emit_bin(g, "arith.addi", j, lane, ty_lanes.i);
    in = text_op(&g->m, "arith.cmpi sge, " V ", " V " : %s", j, lo, ty_lanes.i);
    below = text_op(&g->m, "arith.cmpi slt, " V ", " V " : %s", j, hi, ty_lanes.i);
    in = emit_bin(g, "arith.andi", in, below, "vector<16xi1>");
    p = emit_bin(g, "arith.addf", sum.carried, p, LANES);
    p = emit_select(g, in, p, sum.carried, &ty_lanes, LANES);
    c->sum = emit_tree16(g, close_carry(g, &sum, p));
}

/* o[i ..] = sum over j of p_j v_j; c->row: V of the page. */
static void weigh_chunk(struct gen *g, void *ctx, val i, val mask)
{
    const struct attn_ctx *c = ctx;
    struct carry acc =
        open_carry(g, c->first, c->last, c->one, emit_f32(g, &ty_lanes, 0.0f), LANES);
    val p = emit_cast(g, "vector.broadcast", load_score(g, c, acc.i), "f32", LANES);
    val v = load_pool(g, c->pool, emit_row(g, c, c->row, acc.i), i, mask), o;
    char index[24];
    o = close_carry(g, &acc, emit_fma(g, p, v, acc.carried, LANES));
    snprintf(index, sizeof(index), V, i);
    emit_store16(g, &c->o, index, "f32", mask, o);
}

static void copy_chunk(struct gen *g, void *ctx, val i, val mask)
{
    const struct attn_ctx *c = ctx;
    char index[48];
    val o;
    snprintf(index, sizeof(index), V, i);
    o = emit_load16(g, &c->o, index, "f32", mask);
    head_index(c, index, sizeof(index), i);
    emit_store16(g, &c->out, index, "f32", mask, o);
}

static void merge_chunk(struct gen *g, void *ctx, val i, val mask)
{
    const struct attn_ctx *c = ctx;
    val a = emit_cast(g, "vector.broadcast", c->a, "f32", LANES);
    val f = emit_cast(g, "vector.broadcast", c->c, "f32", LANES), o, x;
    char index[48];
    snprintf(index, sizeof(index), V, i);
    o = emit_load16(g, &c->o, index, "f32", mask);
    head_index(c, index, sizeof(index), i);
    x = emit_load16(g, &c->out, index, "f32", mask);
    x = emit_fma(g, o, f, emit_bin(g, "arith.mulf", x, a, LANES), LANES);
    emit_store16(g, &c->out, index, "f32", mask, x);
}

static void final_chunk(struct gen *g, void *ctx, val i, val mask)
{
    const struct attn_ctx *c = ctx;
    val a = emit_cast(g, "vector.broadcast", c->a, "f32", LANES), x;
    char index[48];
    head_index(c, index, sizeof(index), i);
    x = emit_load16(g, &c->out, index, "f32", mask);
    emit_store16(g, &c->out, index, "f32", mask, emit_bin(g, "arith.mulf", x, a, LANES));
}

/* The block's (m, sum, o) into the running (m, l, out); yields the new m and l. */
static void emit_merge(struct gen *g, struct attn_ctx *c, val first_block, val m_old, val l_old,
                       val m_new, val l_new)
{
    const struct ty *t = &ty_scalar;
    val m, l;
    text_open(&g->m, V ", " V " = scf.if " V " -> (f32, f32)", m_new, l_new, first_block);
    emit_chunks(g, c->l->head_dim, copy_chunk, c);
    text_line(&g->m, "scf.yield " V ", " V " : f32, f32", c->m, c->sum);
    text_reopen(&g->m, "} else {");
    m = emit_select_if(g, "arith.cmpf ogt", c->m, m_old, "f32", c->m, m_old, t, "f32");
    c->a = emit_exp(g, t, emit_bin(g, "arith.subf", m_old, m, "f32"));
    c->c = emit_exp(g, t, emit_bin(g, "arith.subf", c->m, m, "f32"));
    l = emit_fma(g, c->sum, c->c, emit_bin(g, "arith.mulf", l_old, c->a, "f32"), "f32");
    emit_chunks(g, c->l->head_dim, merge_chunk, c);
    text_line(&g->m, "scf.yield " V ", " V " : f32, f32", m, l);
    text_close(&g->m);
}

/* lo .. hi of the token, with the window. */
static val emit_low(struct gen *g, val window, val hi, val zero, val one)
{
    val end = emit_bin(g, "arith.addi", hi, one, "index");
    val limited = text_op(&g->m, "arith.cmpi ne, " V ", " V " : index", window, zero);
    val longer = text_op(&g->m, "arith.cmpi ugt, " V ", " V " : index", end, window);
    val lo = emit_bin(g, "arith.subi", end, window, "index");
    limited = emit_bin(g, "arith.andi", limited, longer, "i1");
    return emit_select(g, limited, lo, zero, &ty_scalar, "index");
}

/* One head over all its blocks. */
static void emit_head(struct gen *g, struct attn_ctx *c, val lo, val hi)
{
    uint32_t group = c->l->n_heads / c->l->n_kv_heads;
    val c6 = emit_index(g, 6), c63 = emit_index(g, 63), c64 = emit_index(g, 64);
    val none = emit_f32(g, &ty_scalar, 0.0f);
    val kv_head = emit_bin(g, "arith.divui", c->h, emit_index(g, group), "index");
    val b0 = emit_bin(g, "arith.shrui", lo, c6, "index");
    val b1 = emit_bin(g, "arith.shrui", hi, c6, "index");
    val end = emit_bin(g, "arith.addi", b1, c->one, "index"), is_first, is_last, k_base, x;
    val r = text_new(&g->m), b = text_new(&g->m), m = text_new(&g->m), l = text_new(&g->m);
    val m_new = text_new(&g->m), l_new = text_new(&g->m);

    text_open(&g->m,
              V ":2 = scf.for " V " = " V " to " V " step " V " iter_args(" V " = " V ", " V " = " V
                ") -> (f32, f32)",
              r, b, b0, end, c->one, m, none, l, none);
    is_first = text_op(&g->m, "arith.cmpi eq, " V ", " V " : index", b, b0);
    is_last = text_op(&g->m, "arith.cmpi eq, " V ", " V " : index", b, b1);
    x = emit_bin(g, "arith.andi", lo, c63, "index");
    c->first = emit_select(g, is_first, x, c->zero, &ty_scalar, "index");
    x = emit_bin(g, "arith.andi", hi, c63, "index");
    x = emit_bin(g, "arith.addi", x, c->one, "index");
    c->last = emit_select(g, is_last, x, c64, &ty_scalar, "index");
    k_base = emit_page(g, c->l, c->pages, c->t, b, kv_head);
    emit_scores(g, c, k_base);
    emit_softmax(g, c);
    c->row = emit_bin(g, "arith.addi", k_base, emit_index(g, page_half(c->l)), "index");
    emit_chunks(g, c->l->head_dim, weigh_chunk, c);
    emit_merge(g, c, is_first, m, l, m_new, l_new);
    text_line(&g->m, "scf.yield " V ", " V " : f32, f32", m_new, l_new);
    text_close(&g->m);
    c->a = text_op(&g->m, "arith.divf " V ", " V "#1 : f32", emit_f32(g, &ty_scalar, 1.0f), r);
    emit_chunks(g, c->l->head_dim, final_chunk, c);
}

/* @attention(n, q, out, positions, pages, pool, s, o, window) */
void func_attention(struct gen *g, const struct q35_layer *l)
{
    struct attn_ctx c = {.l = l};
    val window = text_new(&g->m), hi, lo;

    if (groq_attn_bytes(l->head_dim) > g->tile_bytes)
        g->tile_bytes = groq_attn_bytes(l->head_dim);
    snprintf(c.q.type, sizeof(c.q.type), "memref<?x%ux%uxf32>", l->n_heads, l->head_dim);
    c.out = c.q;
    snprintf(c.s.type, sizeof(c.s.type), "memref<%uxf32>", Q35_ATTN_BLOCK);
    snprintf(c.o.type, sizeof(c.o.type), "memref<%uxf32>", l->head_dim);
    c.n = text_new(&g->m), c.q.v = text_new(&g->m), c.out.v = text_new(&g->m);
    c.pos = text_new(&g->m), c.pages = text_new(&g->m), c.pool = text_new(&g->m);
    c.s.v = text_new(&g->m), c.o.v = text_new(&g->m);
    open_func(g,
              "attention(" V ": index, " V ": %s, " V ": %s, " V ": memref<?xi32>, " V
              ": memref<?x?xi64>, " V ": " POOL ", " V ": %s, " V ": %s, " V ": index)",
              c.n, c.q.v, c.q.type, c.out.v, c.out.type, c.pos, c.pages, c.pool, c.s.v, c.s.type,
              c.o.v, c.o.type, window);
    c.zero = emit_index(g, 0);
    c.one = emit_index(g, 1);
    c.t = open_scf(g, c.zero, c.n, c.one);
    hi = emit_position(g, c.pos, c.t);
    lo = emit_low(g, window, hi, c.zero, c.one);
    c.h = open_scf(g, c.zero, emit_index(g, l->n_heads), c.one);
    emit_head(g, &c, lo, hi);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}
