/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A layer's public function, made of calls of the private ones. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emit.h"

void groq_program_free(struct groq_program *p)
{
    free(p->text);
    *p = (struct groq_program){0};
}

/* ---- the entry under way ----------------------------------------------------------------- */

struct entry {
    struct gen *g;
    const struct groq_layer *l;
    val n, x, arena, numbers, pos, pages, pool, out;
    val roles[Q35_ROLE_COUNT];
    uint64_t arena_bytes;
    char arena_type[40];
    val c, w[3], acc, q8, buf, scales; /* w by weights per code - 1; q8, acc: byte offsets */
    uint64_t q8_at, acc_at, buf_at;
};

static const struct q35_tensor_desc *tensor(const struct entry *e, uint32_t role)
{
    const struct q35_tensor_desc *t = &e->l->tensors[role];
    return t->bytes ? t : NULL;
}

/* A role's type as an argument; absent ones are memref<0xf32>. */
static void role_type(const struct entry *e, uint32_t role, char *out, size_t room)
{
    const struct q35_tensor_desc *t = tensor(e, role);
    if (t && t->type == Q35_TENSOR_PACKED)
        snprintf(out, room, "memref<%lluxi8>", (unsigned long long)t->bytes);
    else
        snprintf(out, room, "memref<%uxf32>", t ? t->rows * t->cols : 0);
}

/* Room in the arena; 64-byte aligned. */
static uint64_t take(struct entry *e, uint64_t bytes)
{
    uint64_t at = e->arena_bytes;
    e->arena_bytes += (bytes + 63) & ~(uint64_t)63;
    return at;
}

/* A view of the arena, of a static type, or of n rows of "?x..." */
static val view(struct entry *e, uint64_t at, bool rows, const char *type)
{
    val offset = emit_index(e->g, at);
    if (rows)
        return text_op(&e->g->m, "memref.view " V "[" V "][" V "] : %s to %s", e->arena, offset,
                       e->n, e->arena_type, type);
    return text_op(&e->g->m, "memref.view " V "[" V "][] : %s to %s", e->arena, offset,
                   e->arena_type, type);
}

/* [n][heads * d] f32, as rows or, by the same memory, as heads. */
struct rows {
    uint64_t at;
    uint32_t width;
    val flat;
};

static struct rows take_rows(struct entry *e, uint32_t width)
{
    struct rows r = {.width = width};
    r.at = take(e, (uint64_t)GROQ_TILE_TOKENS * width * sizeof(float));
    return r;
}

static void view_rows(struct entry *e, struct rows *r)
{
    char type[48];
    snprintf(type, sizeof(type), "memref<?x%uxf32>", r->width);
    r->flat = view(e, r->at, true, type);
}

static val view_heads(struct entry *e, const struct rows *r, uint32_t heads, char type[64])
{
    snprintf(type, 64, "memref<?x%ux%uxf32>", heads, r->width / heads);
    return view(e, r->at, true, type);
}

static val seed_of(struct entry *e, uint32_t role)
{
    val i = emit_index(e->g, role);
    return text_op(&e->g->m, "memref.load " V "[" V "] : memref<%uxi64>", e->numbers, i,
                   GROQ_MLIR_NUMBERS);
}

/* ---- calls ------------------------------------------------------------------------------- */

static void call_norm(struct entry *e, uint32_t heads, uint32_t d, val x, uint32_t role, val y)
{
    char type[64];
    if (heads > 1)
        snprintf(type, sizeof(type), "memref<?x%ux%uxf32>", heads, d);
    else
        snprintf(type, sizeof(type), "memref<?x%uxf32>", d);
    text_line(&e->g->m,
              "func.call @rms_%u_%u(" V ", " V ", " V ", " V
              ") : (index, %s, memref<%uxf32>, %s) -> ()",
              heads, d, e->n, x, e->roles[role], y, type, d, type);
}

static void call_head_norm(struct entry *e, const struct rows *r, uint32_t heads, uint32_t role)
{
    char type[64];
    val x = r->flat;
    if (!tensor(e, role))
        return;
    if (heads > 1)
        x = view_heads(e, r, heads, type);
    call_norm(e, heads, r->width / heads, x, role, x);
}

/* Views that a matrix needs, sized for it. */
static val view_q8(struct entry *e, const struct q35_tensor_desc *t)
{
    char type[48];
    snprintf(type, sizeof(type), "memref<?x%uxi8>", q35_pad_cols(t->cols));
    return view(e, e->q8_at, true, type);
}

static val view_buf(struct entry *e, const struct q35_tensor_desc *t)
{
    char type[48];
    snprintf(type, sizeof(type), "memref<%uxf32>", q35_pad_cols(t->cols));
    return view(e, e->buf_at, false, type);
}

static void call_quantize(struct entry *e, uint32_t role, val x)
{
    const struct q35_tensor_desc *t = tensor(e, role);
    uint32_t padded = q35_pad_cols(t->cols);
    val seed = seed_of(e, role), buf = view_buf(e, t), q8 = view_q8(e, t);
    text_line(&e->g->m,
              "func.call @quant_%u_%u(" V ", " V ", " V ", " V ", " V ", " V
              ") : (index, memref<?x%uxf32>, i64, memref<%uxf32>, memref<?x%uxi8>, memref<?xf32>) "
              "-> ()",
              t->cols, t->rot_block, e->n, x, seed, buf, q8, e->scales, t->cols, padded, padded);
}

/* y = W x, resp. y += W x where the layer adds it to its input. */
static void call_matmul(struct entry *e, uint32_t role, val y)
{
    const struct q35_tensor_desc *t = tensor(e, role);
    uint32_t weights = Q35_SCHEME_WEIGHTS(t->scheme), cols = q35_tile_cols(t->scheme);
    uint32_t tiles = q35_tiles_per_row(t->scheme, t->cols), padded = q35_pad_cols(t->cols);
    struct groq_tile tile = groq_tile_choose(q35_pad_rows(t->rows), tiles, cols);
    bool bias = gen_has_bias(e->l, role);
    uint32_t bias_role = role == Q35_ROLE_O ? Q35_ROLE_O_BIAS : role + Q35_ROLE_Q_BIAS - Q35_ROLE_Q;
    val none, acc, q8 = view_q8(e, t);
    char type[48];

    if (bias) {
        none = e->roles[bias_role];
    } else {
        val zero = emit_index(e->g, 0);
        none = text_op(&e->g->m, "memref.view " V "[" V "][] : %s to memref<0xf32>", e->arena, zero,
                       e->arena_type);
    }
    snprintf(type, sizeof(type), "memref<?x%uxi32>", tile.rows);
    acc = view(e, e->acc_at, true, type);
    text_line(&e->g->m,
              "func.call @matmul_%u_%u_%u_%d_%d(" V ", " V ", " V ", " V ", " V ", " V ", " V ", " V
              ", " V ") : (index, memref<?x%uxi8>, memref<?xf32>, memref<%lluxi8>, "
              "memref<%uxf32>, memref<?x%uxf32>, memref<16x64xi8>, memref<16x%uxi8>, %s) -> ()",
              t->rows, t->cols, t->scheme, bias, gen_has_residual(role), e->n, q8, e->scales,
              e->roles[role], none, y, e->c, e->w[weights - 1], acc, padded,
              (unsigned long long)t->bytes, bias ? t->rows : 0, t->rows, cols, type);
}

static bool same_input(const struct entry *e, uint32_t a, uint32_t b)
{
    const struct q35_tensor_desc *x = tensor(e, a), *y = tensor(e, b);
    return x->rot_block == y->rot_block && (!x->rot_block || x->rot_seed == y->rot_seed);
}

/* y[i] = W_i x for `count` roles from `role` on. */
static void call_linear(struct entry *e, uint32_t role, uint32_t count, val x, const val *y)
{
    uint32_t i;
    for (i = 0; i < count; i++) {
        if (!i || !same_input(e, role + i - 1, role + i))
            call_quantize(e, role + i, x);
        call_matmul(e, role + i, y[i]);
    }
}

/* ---- bodies ------------------------------------------------------------------------------ */

/* Scratch of the products: one tile's buffers, then a row and the quantized tokens. */
static void take_scratch(struct entry *e)
{
    uint32_t role, widest = 0, tile_rows = 0;
    for (role = 0; role < Q35_ROLE_COUNT; role++) {
        const struct q35_tensor_desc *t = tensor(e, role);
        struct groq_tile tile;
        if (!t || t->type != Q35_TENSOR_PACKED)
            continue;
        tile = groq_tile_choose(q35_pad_rows(t->rows), q35_tiles_per_row(t->scheme, t->cols),
                                q35_tile_cols(t->scheme));
        tile_rows = tile.rows > tile_rows ? tile.rows : tile_rows;
        widest = q35_pad_cols(t->cols) > widest ? q35_pad_cols(t->cols) : widest;
    }
    e->acc_at = take(e, (uint64_t)GROQ_TILE_TOKENS * tile_rows * sizeof(int32_t));
    e->q8_at = take(e, (uint64_t)GROQ_TILE_TOKENS * widest);
    e->buf_at = take(e, (uint64_t)widest * sizeof(float));
}

/* Views of the tile's buffers, which lie first. */
static void view_tile(struct entry *e)
{
    e->c = view(e, 0, false, "memref<16x64xi8>");
    e->w[0] = view(e, 1024, false, "memref<16x64xi8>");
    e->w[1] = view(e, 1024, false, "memref<16x128xi8>");
    e->w[2] = view(e, 1024, false, "memref<16x192xi8>");
    e->scales = view(e, 4096, true, "memref<?xf32>");
}

enum { TILE_BUFFERS = 4096 + 64 }; /* codes 16x64, weights 16x192, scales of 16 tokens */

static void body_embed(struct entry *e)
{
    const struct q35_tensor_desc *t = tensor(e, Q35_ROLE_TOKEN_EMBED);
    uint32_t padded = q35_pad_cols(t->cols);
    val seed = seed_of(e, Q35_ROLE_TOKEN_EMBED), buf = view_buf(e, t);
    text_line(&e->g->m,
              "func.call @embed(" V ", " V ", " V ", " V ", " V ", " V ", " V ", " V
              ") : (index, memref<?xi32>, memref<%lluxi8>, i64, memref<16x64xi8>, "
              "memref<16x%uxi8>, memref<%uxf32>, memref<?x%uxf32>) -> ()",
              e->n, e->pos, e->roles[Q35_ROLE_TOKEN_EMBED], seed, e->c,
              e->w[Q35_SCHEME_WEIGHTS(t->scheme) - 1], buf, e->out, (unsigned long long)t->bytes,
              q35_tile_cols(t->scheme), padded, t->cols);
}

static void body_head(struct entry *e, struct rows *h)
{
    view_rows(e, h);
    call_norm(e, 1, h->width, e->x, Q35_ROLE_OUT_NORM, h->flat);
    call_linear(e, Q35_ROLE_HEAD, 1, h->flat, &e->out);
}

struct decoder_rows {
    struct rows h, q, k, v, att, gate, up, cos_sin;
    uint64_t s_at, o_at;
};

static void call_rope(struct entry *e, struct decoder_rows *r, val q, const char *q_type, val k,
                      const char *k_type)
{
    const struct q35_layer *d = &e->l->desc;
    view_rows(e, &r->cos_sin);
    text_line(&e->g->m,
              "func.call @rope_table(" V ", " V ", " V ", " V
              ") : (index, memref<?xi32>, memref<%uxf32>, memref<?x%uxf32>) -> ()",
              e->n, e->pos, e->roles[Q35_ROLE_ROPE_FREQ], r->cos_sin.flat, d->rope_dim / 2,
              d->rope_dim);
    text_line(&e->g->m,
              "func.call @rope_%u(" V ", " V ", " V ") : (index, %s, memref<?x%uxf32>) -> ()",
              d->n_heads, e->n, q, r->cos_sin.flat, q_type, d->rope_dim);
    text_line(&e->g->m,
              "func.call @rope_%u(" V ", " V ", " V ") : (index, %s, memref<?x%uxf32>) -> ()",
              d->n_kv_heads, e->n, k, r->cos_sin.flat, k_type, d->rope_dim);
}

static void body_attention(struct entry *e, struct decoder_rows *r)
{
    const struct q35_layer *d = &e->l->desc;
    char q_type[64], k_type[64], o_type[48];
    val q, k, v, att, s, o, window, three[3] = {r->q.flat, r->k.flat, r->v.flat};

    call_linear(e, Q35_ROLE_Q, 3, r->h.flat, three);
    call_head_norm(e, &r->q, d->n_heads, Q35_ROLE_Q_NORM);
    call_head_norm(e, &r->k, d->n_kv_heads, Q35_ROLE_K_NORM);
    q = view_heads(e, &r->q, d->n_heads, q_type);
    k = view_heads(e, &r->k, d->n_kv_heads, k_type);
    v = view_heads(e, &r->v, d->n_kv_heads, k_type);
    att = view_heads(e, &r->att, d->n_heads, q_type);
    if (d->rope_dim)
        call_rope(e, r, q, q_type, k, k_type);
    text_line(&e->g->m,
              "func.call @kv_store(" V ", " V ", " V ", " V ", " V ", " V
              ") : (index, %s, %s, memref<?xi32>, memref<?x?xi64>, memref<?xi16>) -> ()",
              e->n, k, v, e->pos, e->pages, e->pool, k_type, k_type);
    s = view(e, r->s_at, false, "memref<64xf32>");
    snprintf(o_type, sizeof(o_type), "memref<%uxf32>", d->head_dim);
    o = view(e, r->o_at, false, o_type);
    window = emit_cast(e->g, "arith.index_cast", seed_of(e, Q35_ROLE_COUNT), "i64", "index");
    text_line(&e->g->m,
              "func.call @attention(" V ", " V ", " V ", " V ", " V ", " V ", " V ", " V ", " V
              ") : (index, %s, %s, memref<?xi32>, memref<?x?xi64>, memref<?xi16>, "
              "memref<64xf32>, %s, index) -> ()",
              e->n, q, att, e->pos, e->pages, e->pool, s, o, window, q_type, q_type, o_type);
}

static void body_decoder(struct entry *e, struct decoder_rows *r)
{
    const struct q35_layer *d = &e->l->desc;
    struct rows *const all[] = {&r->h, &r->q, &r->k, &r->v, &r->att, &r->gate, &r->up};
    val two[2];
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(*all); i++)
        view_rows(e, all[i]);
    call_norm(e, 1, d->d_model, e->x, Q35_ROLE_ATTN_NORM, r->h.flat);
    body_attention(e, r);
    call_linear(e, Q35_ROLE_O, 1, r->att.flat, &e->x);
    call_norm(e, 1, d->d_model, e->x, Q35_ROLE_FFN_NORM, r->h.flat);
    two[0] = r->gate.flat;
    two[1] = r->up.flat;
    call_linear(e, Q35_ROLE_GATE, 2, r->h.flat, two);
    text_line(&e->g->m,
              "func.call @swiglu(" V ", " V ", " V
              ") : (index, memref<?x%uxf32>, memref<?x%uxf32>) -> ()",
              e->n, r->gate.flat, r->up.flat, d->d_ffn, d->d_ffn);
    call_linear(e, Q35_ROLE_DOWN, 1, r->gate.flat, &e->x);
}

static void take_decoder(struct entry *e, struct decoder_rows *r)
{
    const struct q35_layer *d = &e->l->desc;
    r->h = take_rows(e, d->d_model);
    r->q = take_rows(e, d->n_heads * d->head_dim);
    r->k = take_rows(e, d->n_kv_heads * d->head_dim);
    r->v = take_rows(e, d->n_kv_heads * d->head_dim);
    r->att = take_rows(e, d->n_heads * d->head_dim);
    r->gate = take_rows(e, d->d_ffn);
    r->up = take_rows(e, d->d_ffn);
    r->cos_sin = take_rows(e, d->rope_dim);
    r->s_at = take(e, Q35_ATTN_BLOCK * sizeof(float));
    r->o_at = take(e, (uint64_t)d->head_dim * sizeof(float));
}

/* ---- the module -------------------------------------------------------------------------- */

/* Opens @q35_layer; its arguments are in gen.h. */
static void open_entry(struct entry *e)
{
    const struct q35_layer *d = &e->l->desc;
    struct mlir_text *m = &e->g->m;
    char args[3072], type[40];
    size_t at = 0;
    uint32_t role;
    val zero;
#define ARG(...) at += (size_t)snprintf(args + at, sizeof(args) - at, __VA_ARGS__)
    e->x = text_new(m), e->pos = text_new(m), e->pages = text_new(m), e->pool = text_new(m);
    e->arena = text_new(m), e->numbers = text_new(m), e->out = text_new(m);
    if (d->kind != Q35_LAYER_EMBED)
        ARG(V ": memref<?x%uxf32>, ", e->x, d->d_model);
    if (d->kind != Q35_LAYER_HEAD)
        ARG(V ": memref<?xi32>, ", e->pos);
    if (d->kind == Q35_LAYER_DECODER)
        ARG(V ": memref<?x?xi64>, " V ": memref<?xi16>, ", e->pages, e->pool);
    ARG(V ": %s, " V ": memref<%uxi64>", e->arena, e->arena_type, e->numbers, GROQ_MLIR_NUMBERS);
    for (role = 0; role < Q35_ROLE_COUNT; role++) {
        if (groq_role_kind(role) != d->kind)
            continue;
        e->roles[role] = text_new(m);
        role_type(e, role, type, sizeof(type));
        ARG(", " V ": %s", e->roles[role], type);
    }
    if (d->kind != Q35_LAYER_DECODER)
        ARG(", " V ": memref<?x%uxf32>", e->out,
            d->kind == Q35_LAYER_EMBED ? d->d_model : d->vocab);
#undef ARG
    text_open(m, "func.func @" GROQ_MLIR_ENTRY "(%s) attributes {llvm.emit_c_interface}", args);
    zero = emit_index(e->g, 0);
    if (d->kind == Q35_LAYER_EMBED)
        e->n = text_op(m, "memref.dim " V ", " V " : memref<?xi32>", e->pos, zero);
    else
        e->n = text_op(m, "memref.dim " V ", " V " : memref<?x%uxf32>", e->x, zero, d->d_model);
}

static void write_module(struct gen *g, const struct groq_layer *l, struct groq_program *out)
{
    const struct q35_layer *d = &l->desc;
    struct entry e = {.g = g, .l = l};
    struct decoder_rows rows;
    struct rows h = {0};

    text_line(&g->m, "// %s: d_model %u, heads %u/%u of %u, ffn %u, vocabulary %u, rope %u",
              groq_kind_name(d->kind), d->d_model, d->n_heads, d->n_kv_heads, d->head_dim, d->d_ffn,
              d->vocab, d->rope_dim);
    text_open(&g->m, "module");
    gen_funcs(g, l);
    take(&e, TILE_BUFFERS);
    take_scratch(&e);
    if (d->kind == Q35_LAYER_DECODER)
        take_decoder(&e, &rows);
    if (d->kind == Q35_LAYER_HEAD)
        h = take_rows(&e, d->d_model);
    snprintf(e.arena_type, sizeof(e.arena_type), "memref<%lluxi8>",
             (unsigned long long)e.arena_bytes);
    open_entry(&e);
    view_tile(&e);
    if (d->kind == Q35_LAYER_EMBED)
        body_embed(&e);
    else if (d->kind == Q35_LAYER_HEAD)
        body_head(&e, &h);
    else
        body_decoder(&e, &rows);
    close_func(g);
    text_close(&g->m);
    out->arena_bytes = e.arena_bytes;
}

bool groq_mlir_generate(const struct groq_layer *layer, const struct groq_number *numbers,
                        struct groq_program *out)
{
    struct gen g = {.numbers = numbers ? numbers : groq_numbers};
    memset(out, 0, sizeof(*out));
    write_module(&g, layer, out);
    if (g.m.failed) {
        text_free(&g.m);
        return false;
    }
    out->text = g.m.data;
    out->length = g.m.length;
    out->tile_bytes = g.tile_bytes;
    return true;
}
