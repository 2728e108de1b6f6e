/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed decode, the int8 product and its scaling, embedding rows. */

#include "emit.h"

#include <stdio.h>

/* ---- decode ------------------------------------------------------------------------------ */

/* Unpacks codes 8 at a time: 7 bytes make a word of 8 codes. */
static void emit_unpack(struct gen *g, val codes, val at, val c)
{
    val zero = emit_index(g, 0), one = emit_index(g, 1), r, q, off, word, b, i;
    uint32_t k;
    r = open_scf(g, zero, emit_index(g, Q35_TILE_ROWS), one);
    q = open_scf(g, zero, emit_index(g, Q35_TILE_CODES / 8), one);
    off = emit_bin(g, "arith.muli", r, emit_index(g, Q35_ROW_BYTES), "index");
    off = emit_bin(g, "arith.addi", at, off, "index");
    b = emit_bin(g, "arith.muli", q, emit_index(g, 7), "index");
    off = emit_bin(g, "arith.addi", off, b, "index");
    word = emit_i64(g, 0);
    for (k = 0; k < 7; k++) {
        i = emit_bin(g, "arith.addi", off, emit_index(g, k), "index");
        b = text_op(&g->m, "memref.load " V "[" V "] : memref<?xi8>", codes, i);
        b = emit_cast(g, "arith.extui", b, "i8", "i64");
        b = emit_bin(g, "arith.shli", b, emit_i64(g, 8 * k), "i64");
        word = emit_bin(g, "arith.ori", word, b, "i64");
    }
    off = emit_bin(g, "arith.muli", q, emit_index(g, 8), "index");
    for (k = 0; k < 8; k++) {
        b = emit_bin(g, "arith.shrui", word, emit_i64(g, gen_u(g, GROQ_N_CODE_STEP) * k), "i64");
        b = emit_bin(g, "arith.andi", b, emit_i64(g, gen_u(g, GROQ_N_CODE_MASK)), "i64");
        b = emit_cast(g, "arith.trunci", b, "i64", "i8");
        i = emit_bin(g, "arith.addi", off, emit_index(g, k), "index");
        text_line(&g->m, "memref.store " V ", " V "[" V ", " V "] : memref<16x64xi8>", b, c, r, i);
    }
    text_close(&g->m);
    text_close(&g->m);
}

static val emit_table(struct gen *g, val tables, uint32_t which, val code)
{
    val i = emit_bin(g, "arith.addi", code, emit_index(g, 128 * which), "index");
    return text_op(&g->m, "memref.load " V "[" V "] : memref<512xi8>", tables, i);
}

/* The code `back` places before code (r, j), as index. */
static val emit_before(struct gen *g, uint32_t scheme, val c, val r, val j, uint64_t back)
{
    val up = emit_bin(g, "arith.addi", r, emit_index(g, 16 - back), "index"), turn;
    val row = emit_bin(g, "arith.andi", up, emit_index(g, 15), "index"), v;
    if (Q35_SCHEME_RING(scheme)) { /* above row 0 stands the column before */
        turn = emit_bin(g, "arith.shrui", up, emit_index(g, 4), "index");
        turn = emit_bin(g, "arith.addi", turn, emit_index(g, gen_u(g, GROQ_N_RING_TURN)), "index");
        j = emit_bin(g, "arith.addi", j, turn, "index");
        j = emit_bin(g, "arith.andi", j, emit_index(g, 63), "index");
    }
    v = text_op(&g->m, "memref.load " V "[" V ", " V "] : memref<16x64xi8>", c, row, j);
    return emit_cast(g, "arith.index_castui", v, "i8", "index");
}

/* What the byte b of table B says for weight k of a code: its high four bits, its low ones, or the
 * exclusive or of both. */
static val emit_nibble(struct gen *g, val b, uint32_t k)
{
    val four = text_op(&g->m, "arith.constant 4 : i8"), low = 0, high = 0;
    if (k != 1)
        high = emit_bin(g, "arith.shrui", b, four, "i8");
    if (k)
        low = emit_bin(g, "arith.andi", b, text_op(&g->m, "arith.constant 15 : i8"), "i8");
    return k < 2 ? (k ? low : high) : emit_bin(g, "arith.xori", high, low, "i8");
}

/* @decode(tables, codes, at, c, w): the tile at byte `at`; c: unpacked codes, w: weights. */
void func_decode(struct gen *g, uint32_t scheme)
{
    uint32_t cols = q35_tile_cols(scheme);
    val tables = text_new(&g->m), codes = text_new(&g->m), at = text_new(&g->m);
    val c = text_new(&g->m), w = text_new(&g->m), zero, one, r, j, code, b = 0, h, v, col, n;
    uint32_t k;

    open_func(g,
              "decode_%u(" V ": memref<512xi8>, " V ": memref<?xi8>, " V ": index, " V
              ": memref<16x64xi8>, " V ": memref<16x%uxi8>)",
              scheme, tables, codes, at, c, w, cols);
    emit_unpack(g, codes, at, c);
    zero = emit_index(g, 0);
    one = emit_index(g, 1);
    r = open_scf(g, zero, emit_index(g, Q35_TILE_ROWS), one);
    j = open_scf(g, zero, emit_index(g, Q35_TILE_CODES), one);
    code = text_op(&g->m, "memref.load " V "[" V ", " V "] : memref<16x64xi8>", c, r, j);
    code = emit_cast(g, "arith.index_castui", code, "i8", "index");
    if (Q35_SCHEME_HAS_B(scheme)) {
        h = emit_before(g, scheme, c, r, j, gen_u(g, GROQ_N_BACK_ONE));
        if (Q35_SCHEME_RING(scheme))
            h = emit_bin(g, "arith.xori", h,
                         emit_before(g, scheme, c, r, j, gen_u(g, GROQ_N_BACK_TWO)), "index");
        b = emit_table(g, tables, 2, h);
    }
    for (k = 0; k < Q35_SCHEME_WEIGHTS(scheme); k++) {
        v = emit_table(g, tables, k < 2 ? k : 3, code);
        if (Q35_SCHEME_HAS_B(scheme)) {
            n = emit_nibble(g, b, k);
            h = text_op(&g->m, "arith.constant %u : i8", (unsigned)gen_u(g, GROQ_N_B_STEP));
            v = emit_bin(g, "arith.addi", v, emit_bin(g, "arith.muli", n, h, "i8"), "i8");
        }
        col = emit_bin(g, "arith.addi", j, emit_index(g, 64 * k), "index");
        text_line(&g->m, "memref.store " V ", " V "[" V ", " V "] : memref<16x%uxi8>", v, w, r, col,
                  cols);
    }
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* ---- product ----------------------------------------------------------------------------- */

/* Columns that one call of @dot takes: a tile, or one of the three parts of a triple tile, the last
 * of which may lie beyond the padded columns. */
static uint32_t dot_cols(uint32_t scheme)
{
    return Q35_SCHEME_WEIGHTS(scheme) == 3 ? Q35_TILE_CODES : q35_tile_cols(scheme);
}

/* @dot_NAME(n, q, k0, w, w0, acc, r0): `count` columns of 16 decoded rows, from column w0 on, times
 * the activations from column k0 on. */
static void func_dot(struct gen *g, const char *name, uint32_t padded, uint32_t cols,
                     uint32_t count, uint32_t rows)
{
    val n = text_new(&g->m), q = text_new(&g->m), k0 = text_new(&g->m), w = text_new(&g->m);
    val w0 = text_new(&g->m);
    val acc = text_new(&g->m), r0 = text_new(&g->m), t, r, k, a, b, zero, sum, next, out;
    open_func(g,
              "dot_%s(" V ": index, " V ": memref<?x%uxi8>, " V ": index, " V
              ": memref<16x%uxi8>, " V ": index, " V ": memref<?x%uxi32>, " V ": index)",
              name, n, q, padded, k0, w, cols, w0, acc, rows, r0);
    zero = emit_i32(g, &ty_scalar, 0);
    t = open_affine_to(g, n);
    r = open_affine(g, Q35_TILE_ROWS);
    out = text_new(&g->m);
    k = text_new(&g->m);
    sum = text_new(&g->m);
    text_open(&g->m, V " = affine.for " V " = 0 to %u iter_args(" V " = " V ") -> (i32)", out, k,
              count, sum, zero);
    a = text_op(&g->m, "affine.load " V "[" V ", " V " + " V "] : memref<?x%uxi8>", q, t, k, k0,
                padded);
    b = text_op(&g->m, "affine.load " V "[" V ", " V " + " V "] : memref<16x%uxi8>", w, r, k, w0,
                cols);
    a = emit_cast(g, "arith.extsi", a, "i8", "i32");
    b = emit_cast(g, "arith.extsi", b, "i8", "i32");
    next = emit_bin(g, "arith.muli", a, b, "i32");
    next = emit_bin(g, "arith.addi", sum, next, "i32");
    text_line(&g->m, "affine.yield " V " : i32", next);
    text_close(&g->m);
    a = text_op(&g->m, "affine.load " V "[" V ", " V " + " V "] : memref<?x%uxi32>", acc, t, r, r0,
                rows);
    a = emit_bin(g, "arith.addi", a, out, "i32");
    text_line(&g->m, "affine.store " V ", " V "[" V ", " V " + " V "] : memref<?x%uxi32>", a, acc,
              t, r, r0, rows);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* @finish_NAME(n, acc, token_scales, scales, bias, y, r0, rows): step 3 of the matrix product for
 * `rows` rows from r0 on. */
static void func_finish(struct gen *g, const char *name, const struct q35_tensor_desc *d,
                        uint32_t tile_rows, bool bias, bool residual)
{
    uint32_t padded = q35_pad_rows(d->rows);
    val n = text_new(&g->m), acc = text_new(&g->m), ts = text_new(&g->m), sc = text_new(&g->m);
    val bi = text_new(&g->m), y = text_new(&g->m), r0 = text_new(&g->m), rows = text_new(&g->m);
    val t, r, a, b, s;
    open_func(g,
              "finish_%s(" V ": index, " V ": memref<?x%uxi32>, " V ": memref<?xf32>, " V
              ": memref<%uxf32>, " V ": memref<%uxf32>, " V ": memref<?x%uxf32>, " V ": index, " V
              ": index)",
              name, n, acc, tile_rows, ts, sc, padded, bi, bias ? d->rows : 0, y, d->rows, r0,
              rows);
    t = open_affine_to(g, n);
    r = open_affine_to(g, rows);
    a = text_op(&g->m, "affine.load " V "[" V ", " V "] : memref<?x%uxi32>", acc, t, r, tile_rows);
    a = emit_cast(g, "arith.sitofp", a, "i32", "f32");
    s = text_op(&g->m, "affine.load " V "[" V " + " V "] : memref<%uxf32>", sc, r, r0, padded);
    b = text_op(&g->m, "affine.load " V "[" V "] : memref<?xf32>", ts, t);
    a = emit_bin(g, "arith.mulf", a, emit_bin(g, "arith.mulf", s, b, "f32"), "f32");
    if (bias) {
        b = text_op(&g->m, "affine.load " V "[" V " + " V "] : memref<%uxf32>", bi, r, r0, d->rows);
        a = emit_bin(g, "arith.addf", a, b, "f32");
    }
    if (residual) {
        b = text_op(&g->m, "affine.load " V "[" V ", " V " + " V "] : memref<?x%uxf32>", y, t, r,
                    r0, d->rows);
        a = emit_bin(g, "arith.addf", b, a, "f32");
    }
    text_line(&g->m, "affine.store " V ", " V "[" V ", " V " + " V "] : memref<?x%uxf32>", a, y, t,
              r, r0, d->rows);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* memref.view of a blob: tables, row scales, codes. */
static void emit_blob(struct gen *g, const struct q35_tensor_desc *d, val blob, val *tables,
                      val *scales, val *codes)
{
    uint64_t offset = q35_codes_offset(d->rows);
    val at = emit_index(g, 0), size;
    *tables = text_op(&g->m, "memref.view " V "[" V "][] : memref<%lluxi8> to memref<512xi8>", blob,
                      at, (unsigned long long)d->bytes);
    at = emit_index(g, Q35_BLOB_TABLES);
    *scales = text_op(&g->m, "memref.view " V "[" V "][] : memref<%lluxi8> to memref<%uxf32>", blob,
                      at, (unsigned long long)d->bytes, q35_pad_rows(d->rows));
    at = emit_index(g, offset);
    size = emit_index(g, d->bytes - offset);
    *codes = text_op(&g->m, "memref.view " V "[" V "][" V "] : memref<%lluxi8> to memref<?xi8>",
                     blob, at, size, (unsigned long long)d->bytes);
}

static val emit_min(struct gen *g, val a, val b)
{
    return text_op(&g->m, "arith.minui " V ", " V " : index", a, b);
}

/* acc[n][rows] = 0 */
static void emit_clear(struct gen *g, val n, val acc, uint32_t rows)
{
    struct ref r = {.v = acc};
    val zero = emit_index(g, 0), none = emit_i32(g, &ty_lanes, 0), t, i;
    char index[48];
    snprintf(r.type, sizeof(r.type), "memref<?x%uxi32>", rows);
    t = open_scf(g, zero, n, emit_index(g, 1));
    i = open_scf(g, zero, emit_index(g, rows), emit_index(g, 16));
    snprintf(index, sizeof(index), V ", " V, t, i);
    emit_store16(g, &r, index, "i32", NO_MASK, none);
    text_close(&g->m);
    text_close(&g->m);
}

/* One step of the innermost loops: decode a tile and multiply. */
struct tile_args {
    const char *name;
    const struct q35_tensor_desc *d;
    struct groq_tile tile;
    val n, q, tables, codes, c, w, acc;
};

/* w = tile k of a row block; c is scratch. */
static void emit_decode(struct gen *g, const struct tile_args *a, val block, val k)
{
    uint32_t tiles = q35_tiles_per_row(a->d->scheme, a->d->cols);
    val at = emit_bin(g, "arith.muli", block, emit_index(g, tiles), "index");
    at = emit_bin(g, "arith.addi", at, k, "index");
    at = emit_bin(g, "arith.muli", at, emit_index(g, Q35_TILE_BYTES), "index");
    text_line(&g->m,
              "func.call @decode_%u(" V ", " V ", " V ", " V ", " V
              ") : (memref<512xi8>, memref<?xi8>, index, memref<16x64xi8>, memref<16x%uxi8>) -> ()",
              a->d->scheme, a->tables, a->codes, at, a->c, a->w, q35_tile_cols(a->d->scheme));
}

static void emit_tile(struct gen *g, const struct tile_args *a, val row, val r0, val k)
{
    uint32_t cols = q35_tile_cols(a->d->scheme), count = dot_cols(a->d->scheme);
    uint32_t padded = q35_pad_cols(a->d->cols);
    val block = emit_bin(g, "arith.divui", row, emit_index(g, Q35_TILE_ROWS), "index"), k0, r;
    val w0 = emit_index(g, 0);
    emit_decode(g, a, block, k);
    k0 = emit_bin(g, "arith.muli", k, emit_index(g, cols), "index");
    r = emit_bin(g, "arith.subi", row, r0, "index");
    if (count < cols) { /* those parts of the tile that lie inside the matrix */
        val left = emit_bin(g, "arith.subi", emit_index(g, padded), k0, "index");
        left = emit_min(g, left, emit_index(g, cols));
        w0 = open_scf(g, w0, left, emit_index(g, count));
        k0 = emit_bin(g, "arith.addi", k0, w0, "index");
    }
    text_line(&g->m,
              "func.call @dot_%s(" V ", " V ", " V ", " V ", " V ", " V ", " V
              ") : (index, memref<?x%uxi8>, index, memref<16x%uxi8>, index, memref<?x%uxi32>, "
              "index) -> ()",
              a->name, a->n, a->q, k0, a->w, w0, a->acc, r, padded, cols, a->tile.rows);
    if (count < cols)
        text_close(&g->m);
}

/* @matmul_ROWS_COLS_SCHEME_BIAS_RESIDUAL(n, q, token_scales, blob, bias, y, c, w, acc): tiles of
 * tiling.h, for each all of K in blocks, then the scaling. */
void func_matmul(struct gen *g, const struct q35_tensor_desc *d, bool bias, bool residual)
{
    uint32_t cols = q35_tile_cols(d->scheme), tiles = q35_tiles_per_row(d->scheme, d->cols);
    uint32_t padded = q35_pad_rows(d->rows);
    char name[80];
    struct tile_args a = {.name = name, .d = d, .tile = groq_tile_choose(padded, tiles, cols)};
    val ts, blob, bi, y, scales, zero, step, all, count, r0, r1, k0, row, k;

    snprintf(name, sizeof(name), "%u_%u_%u_%d_%d", d->rows, d->cols, d->scheme, bias, residual);
    if (groq_tile_bytes(cols, a.tile) > g->tile_bytes)
        g->tile_bytes = groq_tile_bytes(cols, a.tile);
    func_dot(g, name, q35_pad_cols(d->cols), cols, dot_cols(d->scheme), a.tile.rows);
    func_finish(g, name, d, a.tile.rows, bias, residual);
    a.n = text_new(&g->m), a.q = text_new(&g->m), ts = text_new(&g->m), blob = text_new(&g->m);
    bi = text_new(&g->m), y = text_new(&g->m), a.c = text_new(&g->m), a.w = text_new(&g->m);
    a.acc = text_new(&g->m);
    text_line(&g->m, "// %u rows by %u tiles by %u tokens: %llu bytes", a.tile.rows, a.tile.k_tiles,
              GROQ_TILE_TOKENS, (unsigned long long)groq_tile_bytes(cols, a.tile));
    open_func(g,
              "matmul_%s(" V ": index, " V ": memref<?x%uxi8>, " V ": memref<?xf32>, " V
              ": memref<%lluxi8>, " V ": memref<%uxf32>, " V ": memref<?x%uxf32>, " V
              ": memref<16x64xi8>, " V ": memref<16x%uxi8>, " V ": memref<?x%uxi32>)",
              name, a.n, a.q, q35_pad_cols(d->cols), ts, blob, (unsigned long long)d->bytes, bi,
              bias ? d->rows : 0, y, d->rows, a.c, a.w, cols, a.acc, a.tile.rows);
    emit_blob(g, d, blob, &a.tables, &scales, &a.codes);
    zero = emit_index(g, 0);
    step = emit_index(g, a.tile.rows);
    all = emit_index(g, padded);
    count = emit_index(g, tiles);
    r0 = open_scf(g, zero, all, step);
    r1 = emit_min(g, emit_bin(g, "arith.addi", r0, step, "index"), all);
    emit_clear(g, a.n, a.acc, a.tile.rows);
    k0 = open_scf(g, zero, count, emit_index(g, a.tile.k_tiles));
    k = emit_bin(g, "arith.addi", k0, emit_index(g, a.tile.k_tiles), "index");
    k = emit_min(g, k, count);
    row = open_scf(g, r0, r1, emit_index(g, Q35_TILE_ROWS));
    k0 = open_scf(g, k0, k, emit_index(g, 1));
    emit_tile(g, &a, row, r0, k0);
    text_close(&g->m);
    text_close(&g->m);
    text_close(&g->m);
    r1 = emit_min(g, r1, emit_index(g, d->rows));
    r1 = emit_bin(g, "arith.subi", r1, r0, "index");
    text_line(&g->m,
              "func.call @finish_%s(" V ", " V ", " V ", " V ", " V ", " V ", " V ", " V
              ") : (index, memref<?x%uxi32>, memref<?xf32>, memref<%uxf32>, memref<%uxf32>, "
              "memref<?x%uxf32>, index, index) -> ()",
              name, a.n, a.acc, ts, scales, bi, y, r0, r1, a.tile.rows, padded, bias ? d->rows : 0,
              d->rows);
    text_close(&g->m);
    close_func(g);
}

/* ---- embedding --------------------------------------------------------------------------- */

/* out[t] = row[0 .. d_model) of the buffer, times embed_scale */
static void emit_scaled_copy(struct gen *g, const struct ref *buf, const struct ref *out, val t,
                             uint32_t n, float scale)
{
    val s = emit_f32(g, &ty_lanes, scale), full = emit_index(g, n & ~15u), i, v, mask = NO_MASK;
    char at[24], to[48];
    i = open_scf(g, emit_index(g, 0), full, emit_index(g, 16));
    snprintf(at, sizeof(at), V, i);
    snprintf(to, sizeof(to), V ", " V, t, i);
    v = emit_bin(g, "arith.mulf", emit_load16(g, buf, at, "f32", NO_MASK), s, LANES);
    emit_store16(g, out, to, "f32", NO_MASK, v);
    text_close(&g->m);
    if (!(n & 15u))
        return;
    mask = emit_mask(g, n & 15u);
    snprintf(at, sizeof(at), V, full);
    snprintf(to, sizeof(to), V ", " V, t, full);
    v = emit_bin(g, "arith.mulf", emit_load16(g, buf, at, "f32", NO_MASK), s, LANES);
    emit_store16(g, out, to, "f32", mask, v);
}

/* @embed(n, ids, blob, seed, c, w, buf, out) */
void func_embed(struct gen *g, const struct q35_layer *l, const struct q35_tensor_desc *d)
{
    uint32_t cols = q35_tile_cols(d->scheme), tiles = q35_tiles_per_row(d->scheme, d->cols);
    uint32_t padded = q35_pad_cols(d->cols);
    val n = text_new(&g->m), ids = text_new(&g->m), blob = text_new(&g->m), seed = text_new(&g->m);
    struct tile_args a = {.d = d, .c = text_new(&g->m), .w = text_new(&g->m)};
    val scales, zero, one, c16, t, id, s;
    val block, row, k, j, at, v;
    struct ref buf = {.v = text_new(&g->m)}, out = {.v = text_new(&g->m)};

    snprintf(buf.type, sizeof(buf.type), "memref<%uxf32>", padded);
    snprintf(out.type, sizeof(out.type), "memref<?x%uxf32>", d->cols);
    if (groq_tile_bytes(cols, (struct groq_tile){16, 1}) > g->tile_bytes)
        g->tile_bytes = groq_tile_bytes(cols, (struct groq_tile){16, 1});
    open_func(g,
              "embed(" V ": index, " V ": memref<?xi32>, " V ": memref<%lluxi8>, " V ": i64, " V
              ": memref<16x64xi8>, " V ": memref<16x%uxi8>, " V ": %s, " V ": %s)",
              n, ids, blob, (unsigned long long)d->bytes, seed, a.c, a.w, cols, buf.v, buf.type,
              out.v, out.type);
    emit_blob(g, d, blob, &a.tables, &scales, &a.codes);
    zero = emit_index(g, 0);
    one = emit_index(g, 1);
    c16 = emit_index(g, 16);
    t = open_scf(g, zero, n, one);
    id = text_op(&g->m, "memref.load " V "[" V "] : memref<?xi32>", ids, t);
    id = emit_cast(g, "arith.index_castui", id, "i32", "index");
    s = text_op(&g->m, "memref.load " V "[" V "] : memref<%uxf32>", scales, id,
                q35_pad_rows(d->rows));
    block = emit_bin(g, "arith.divui", id, c16, "index");
    row = emit_bin(g, "arith.remui", id, c16, "index");
    k = open_scf(g, zero, emit_index(g, tiles), one);
    emit_decode(g, &a, block, k);
    at = emit_bin(g, "arith.muli", k, emit_index(g, cols), "index");
    v = emit_bin(g, "arith.subi", emit_index(g, padded), at, "index");
    j = open_scf(g, zero, emit_min(g, v, emit_index(g, cols)), one);
    v = text_op(&g->m, "memref.load " V "[" V ", " V "] : memref<16x%uxi8>", a.w, row, j, cols);
    v = emit_cast(g, "arith.sitofp", v, "i8", "f32");
    v = emit_bin(g, "arith.mulf", v, s, "f32");
    j = emit_bin(g, "arith.addi", at, j, "index");
    text_line(&g->m, "memref.store " V ", " V "[" V "] : %s", v, buf.v, j, buf.type);
    text_close(&g->m);
    text_close(&g->m);
    if (d->rot_block)
        text_line(&g->m, "func.call @unrotate_%u(" V ", " V ") : (%s, i64) -> ()", padded, buf.v,
                  seed, buf.type);
    emit_scaled_copy(g, &buf, &out, t, d->cols, l->embed_scale);
    text_close(&g->m);
    close_func(g);
}
