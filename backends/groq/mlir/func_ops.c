/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* RMSNorm, rotation and quantization, rope, SwiGLU. */

#include "emit.h"

#include <stdio.h>

/* ---- RMSNorm ----------------------------------------------------------------------------- */

struct norm_ctx {
    struct ref x;
    val t, h;
    uint32_t heads;
};

static void norm_index(const struct norm_ctx *c, char *out, size_t room, val i)
{
    if (c->heads > 1)
        snprintf(out, room, V ", " V ", " V, c->t, c->h, i);
    else
        snprintf(out, room, V ", " V, c->t, i);
}

static void load_square(struct gen *g, void *ctx, val i, val mask, val *x, val *y)
{
    struct norm_ctx *c = ctx;
    char index[64];
    norm_index(c, index, sizeof(index), i);
    *x = *y = emit_load16(g, &c->x, index, "f32", mask);
}

/* @rms_HEADS_D(n, x, w, y): every head of d values by itself; y may be x. */
void func_rms_norm(struct gen *g, uint32_t heads, uint32_t d, float eps)
{
    struct norm_ctx c = {.heads = heads};
    val n = text_new(&g->m), w = text_new(&g->m), y = text_new(&g->m), s, f, i, a, b;
    char index[64];

    c.x.v = text_new(&g->m);
    if (heads > 1)
        snprintf(c.x.type, sizeof(c.x.type), "memref<?x%ux%uxf32>", heads, d);
    else
        snprintf(c.x.type, sizeof(c.x.type), "memref<?x%uxf32>", d);
    open_func(g, "rms_%u_%u(" V ": index, " V ": %s, " V ": memref<%uxf32>, " V ": %s)", heads, d,
              n, c.x.v, c.x.type, w, d, y, c.x.type);
    c.t = open_affine_to(g, n);
    if (heads > 1)
        c.h = open_affine(g, heads);
    s = emit_dot(g, d, load_square, &c);
    s = emit_bin(g, "arith.divf", s, emit_f32(g, &ty_scalar, (float)d), "f32");
    s = emit_bin(g, "arith.addf", s, emit_f32(g, &ty_scalar, eps), "f32");
    s = emit_un(g, "math.sqrt", s, "f32");
    f = emit_bin(g, "arith.divf", emit_f32(g, &ty_scalar, 1.0f), s, "f32");
    i = open_affine(g, d);
    norm_index(&c, index, sizeof(index), i);
    a = text_op(&g->m, "affine.load " V "[%s] : %s", c.x.v, index, c.x.type);
    b = text_op(&g->m, "affine.load " V "[" V "] : memref<%uxf32>", w, i, d);
    a = emit_bin(g, "arith.mulf", emit_bin(g, "arith.mulf", a, f, "f32"), b, "f32");
    text_line(&g->m, "affine.store " V ", " V "[%s] : %s", a, y, index, c.x.type);
    text_close(&g->m);
    if (heads > 1)
        text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* ---- rotation ---------------------------------------------------------------------------- */

static val load_buf(struct gen *g, const struct ref *buf, val i)
{
    char index[24];
    snprintf(index, sizeof(index), V, i);
    return emit_load16(g, buf, index, "f32", NO_MASK);
}

static void store_buf(struct gen *g, const struct ref *buf, val i, val v)
{
    char index[24];
    snprintf(index, sizeof(index), V, i);
    emit_store16(g, buf, index, "f32", NO_MASK, v);
}

/* Negates where the rotation's sign bit is set. */
static void emit_signs(struct gen *g, const struct ref *buf, uint32_t cols_padded, val seed)
{
    val c64 = emit_index(g, 64), c31 = emit_i32(g, &ty_lanes, 31);
    val block = open_scf(g, emit_index(g, 0), emit_index(g, cols_padded / 64), emit_index(g, 1));
    val bits = emit_sign_bits(g, seed, block),
        first = emit_bin(g, "arith.muli", block, c64, "index"), all, s, i, x;
    uint32_t k;
    all = emit_cast(g, "vector.broadcast", bits, "i64", "vector<16xi64>");
    for (k = 0; k < 64; k += 16) {
        s = text_op(&g->m,
                    "arith.constant dense<[%u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, %u, "
                    "%u, %u, %u]> : vector<16xi64>",
                    k, k + 1, k + 2, k + 3, k + 4, k + 5, k + 6, k + 7, k + 8, k + 9, k + 10,
                    k + 11, k + 12, k + 13, k + 14, k + 15);
        s = emit_bin(g, "arith.shrui", all, s, "vector<16xi64>");
        s = emit_cast(g, "arith.trunci", s, "vector<16xi64>", ty_lanes.i);
        s = emit_bin(g, "arith.shli", s, c31, ty_lanes.i);
        i = emit_bin(g, "arith.addi", first, emit_index(g, k), "index");
        x = emit_cast(g, "arith.bitcast", load_buf(g, buf, i), LANES, ty_lanes.i);
        x = emit_bin(g, "arith.xori", x, s, ty_lanes.i);
        store_buf(g, buf, i, emit_cast(g, "arith.bitcast", x, ty_lanes.i, LANES));
    }
    text_close(&g->m);
}

/* Butterflies of distance 1, 2, 4, 8 inside 16 values. */
static val emit_butterflies(struct gen *g, val x, uint32_t block)
{
    uint32_t h, i;
    for (h = 1; h < 16 && h < block; h *= 2) {
        char order[80], upper[160];
        size_t a = 0, b = 0;
        val p, sum, diff, mask;
        for (i = 0; i < 16; i++) {
            a += (size_t)snprintf(order + a, sizeof(order) - a, "%s%u", i ? ", " : "", i ^ h);
            b += (size_t)snprintf(upper + b, sizeof(upper) - b, "%s%s", i ? ", " : "",
                                  i & h ? "true" : "false");
        }
        p = text_op(&g->m, "vector.shuffle " V ", " V " [%s] : %s, %s", x, x, order, LANES, LANES);
        sum = emit_bin(g, "arith.addf", x, p, LANES);
        diff = emit_bin(g, "arith.subf", p, x, LANES);
        mask = text_op(&g->m, "arith.constant dense<[%s]> : vector<16xi1>", upper);
        x = emit_select(g, mask, diff, sum, &ty_lanes, LANES);
    }
    return x;
}

/* The Hadamard transform of every block of the buffer. */
static void emit_hadamard(struct gen *g, const struct ref *buf, uint32_t cols_padded,
                          uint32_t block)
{
    val zero = emit_index(g, 0), one = emit_index(g, 1), c16 = emit_index(g, 16), i, k, a, b;
    val cols = emit_index(g, cols_padded), stage, h, s;
    uint32_t stages = 0;

    while (block >> (stages + 5))
        stages++;
    i = open_scf(g, zero, cols, c16);
    store_buf(g, buf, i, emit_butterflies(g, load_buf(g, buf, i), block));
    text_close(&g->m);
    if (!stages)
        return;
    stage = open_scf(g, zero, emit_index(g, stages), one); /* distance 16 << stage */
    h = emit_bin(g, "arith.shli", c16, stage, "index");
    s = open_scf(g, zero, cols, emit_bin(g, "arith.shli", h, one, "index"));
    i = open_scf(g, s, emit_bin(g, "arith.addi", s, h, "index"), c16);
    k = emit_bin(g, "arith.addi", i, h, "index");
    a = load_buf(g, buf, i);
    b = load_buf(g, buf, k);
    store_buf(g, buf, i, emit_bin(g, "arith.addf", a, b, LANES));
    store_buf(g, buf, k, emit_bin(g, "arith.subf", a, b, LANES));
    text_close(&g->m);
    text_close(&g->m);
    text_close(&g->m);
}

/* @unrotate_PADDED(buf, seed) */
void func_unrotate(struct gen *g, uint32_t cols_padded, uint32_t rot_block)
{
    struct ref buf = {.v = text_new(&g->m)};
    val seed = text_new(&g->m);
    snprintf(buf.type, sizeof(buf.type), "memref<%uxf32>", cols_padded);
    open_func(g, "unrotate_%u(" V ": %s, " V ": i64)", cols_padded, buf.v, buf.type, seed);
    emit_hadamard(g, &buf, cols_padded, rot_block);
    emit_signs(g, &buf, cols_padded, seed);
    close_func(g);
}

/* ---- quantization ------------------------------------------------------------------------ */

/* The largest magnitude of the buffer, NaN aside. */
static val emit_top(struct gen *g, const struct ref *buf, uint32_t cols_padded)
{
    struct carry c = open_carry(g, emit_index(g, 0), emit_index(g, cols_padded), emit_index(g, 16),
                                emit_f32(g, &ty_lanes, 0.0f), LANES);
    val a = emit_un(g, "math.absf", load_buf(g, buf, c.i), LANES), lanes;
    a = emit_select_if(g, "arith.cmpf ogt", a, c.carried, LANES, a, c.carried, &ty_lanes, LANES);
    lanes = close_carry(g, &c, a);
    return emit_max16(g, lanes);
}

/* q35_quantize's value as i8, from x and 127 / top. */
static val emit_int8(struct gen *g, val x, val inv, val ok)
{
    val max = emit_f32_n(g, &ty_scalar, GROQ_N_QUANT_MAX);
    val min = emit_un(g, "arith.negf", max, "f32"), zero = emit_f32(g, &ty_scalar, 0.0f);
    val v = emit_un(g, "math.roundeven", emit_bin(g, "arith.mulf", x, inv, "f32"), "f32");
    v = emit_select_if(g, "arith.cmpf ogt", v, max, "f32", max, v, &ty_scalar, "f32");
    v = emit_select_if(g, "arith.cmpf olt", v, min, "f32", min, v, &ty_scalar, "f32");
    v = emit_select_if(g, "arith.cmpf ord", v, v, "f32", v, zero, &ty_scalar, "f32");
    v = emit_select(g, ok, v, zero, &ty_scalar, "f32");
    v = emit_cast(g, "arith.fptosi", v, "f32", "i32");
    return emit_cast(g, "arith.trunci", v, "i32", "i8");
}

/* @quant_COLS_BLOCK(n, x, seed, buf, q, token_scales) */
void func_quantize(struct gen *g, uint32_t cols, uint32_t rot_block)
{
    uint32_t padded = q35_pad_cols(cols);
    val n = text_new(&g->m), x = text_new(&g->m), seed = text_new(&g->m), q = text_new(&g->m);
    val scales = text_new(&g->m), t, i, a, top, ok, max, zero;
    struct ref buf = {.v = text_new(&g->m)};

    snprintf(buf.type, sizeof(buf.type), "memref<%uxf32>", padded);
    open_func(g,
              "quant_%u_%u(" V ": index, " V ": memref<?x%uxf32>, " V ": i64, " V ": %s, " V
              ": memref<?x%uxi8>, " V ": memref<?xf32>)",
              cols, rot_block, n, x, cols, seed, buf.v, buf.type, q, padded, scales);
    t = open_affine_to(g, n);
    i = open_affine(g, cols);
    a = text_op(&g->m, "affine.load " V "[" V ", " V "] : memref<?x%uxf32>", x, t, i, cols);
    text_line(&g->m, "affine.store " V ", " V "[" V "] : %s", a, buf.v, i, buf.type);
    text_close(&g->m);
    zero = emit_f32(g, &ty_scalar, 0.0f);
    if (padded > cols) {
        i = open_affine(g, padded - cols);
        text_line(&g->m, "affine.store " V ", " V "[" V " + %u] : %s", zero, buf.v, i, cols,
                  buf.type);
        text_close(&g->m);
    }
    if (rot_block) {
        emit_signs(g, &buf, padded, seed);
        emit_hadamard(g, &buf, padded, rot_block);
    }
    top = emit_top(g, &buf, padded);
    ok = text_op(&g->m, "arith.cmpf ogt, " V ", " V " : f32", top,
                 emit_f32_n(g, &ty_scalar, GROQ_N_QUANT_FLOOR));
    max = emit_f32_n(g, &ty_scalar, GROQ_N_QUANT_MAX);
    a = emit_bin(g, "arith.divf", top, max, "f32");
    a = emit_select(g, ok, a, zero, &ty_scalar, "f32");
    text_line(&g->m, "affine.store " V ", " V "[" V "] : memref<?xf32>", a, scales, t);
    a = emit_bin(g, "arith.divf", max, top, "f32");
    i = open_affine(g, padded);
    x = text_op(&g->m, "affine.load " V "[" V "] : %s", buf.v, i, buf.type);
    x = emit_int8(g, x, a, ok);
    text_line(&g->m, "affine.store " V ", " V "[" V ", " V "] : memref<?x%uxi8>", x, q, t, i,
              padded);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* ---- rope -------------------------------------------------------------------------------- */

static val emit_poly(struct gen *g, val z, val top, const enum groq_number_id *ids, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        top = emit_fma(g, z, top, emit_f64_n(g, ids[i]), "f64");
    return top;
}

/* q35_rope_angle: cosine and sine of a, binary64 in, binary32 out. */
static void emit_angle(struct gen *g, val a, val *cos_out, val *sin_out)
{
    static const enum groq_number_id sin_ids[] = {GROQ_N_SIN_4, GROQ_N_SIN_3, GROQ_N_SIN_2,
                                                  GROQ_N_SIN_1, GROQ_N_SIN_0};
    static const enum groq_number_id cos_ids[] = {GROQ_N_COS_4, GROQ_N_COS_3, GROQ_N_COS_2,
                                                  GROQ_N_COS_1, GROQ_N_COS_0, GROQ_N_COS_HALF};
    const struct ty *t = &ty_scalar;
    val one = text_op(&g->m, "arith.constant 1.0 : f64"), k, r, z, s, c, q, ns, nc, is[3], i;

    k = emit_bin(g, "arith.mulf", a, emit_f64_n(g, GROQ_N_ANGLE_2_PI), "f64");
    k = emit_un(g, "math.roundeven", k, "f64");
    r = emit_fma(g, k, emit_f64_n(g, GROQ_N_ANGLE_PI2_A), a, "f64");
    r = emit_fma(g, k, emit_f64_n(g, GROQ_N_ANGLE_PI2_B), r, "f64");
    r = emit_fma(g, k, emit_f64_n(g, GROQ_N_ANGLE_PI2_C), r, "f64");
    z = emit_bin(g, "arith.mulf", r, r, "f64");
    s = emit_poly(g, z, emit_f64_n(g, GROQ_N_SIN_5), sin_ids, 5);
    s = emit_fma(g, emit_bin(g, "arith.mulf", z, r, "f64"), s, r, "f64");
    c = emit_poly(g, z, emit_f64_n(g, GROQ_N_COS_5), cos_ids, 6);
    c = emit_fma(g, z, c, one, "f64");
    q = emit_cast(g, "arith.fptosi", k, "f64", "i64");
    q = emit_bin(g, "arith.andi", q, emit_i64(g, 3), "i64");
    ns = emit_un(g, "arith.negf", s, "f64");
    nc = emit_un(g, "arith.negf", c, "f64");
    for (i = 0; i < 3; i++)
        is[i] = text_op(&g->m, "arith.cmpi eq, " V ", " V " : i64", q, emit_i64(g, i));
    k = emit_select(g, is[2], nc, s, t, "f64");
    k = emit_select(g, is[1], ns, k, t, "f64");
    k = emit_select(g, is[0], c, k, t, "f64");
    *cos_out = emit_cast(g, "arith.truncf", k, "f64", "f32");
    k = emit_select(g, is[2], ns, nc, t, "f64");
    k = emit_select(g, is[1], c, k, t, "f64");
    k = emit_select(g, is[0], s, k, t, "f64");
    *sin_out = emit_cast(g, "arith.truncf", k, "f64", "f32");
}

/* @rope_table(n, positions, freq, cos_sin) */
void func_rope_table(struct gen *g, uint32_t half)
{
    val n = text_new(&g->m), pos = text_new(&g->m), freq = text_new(&g->m), cs = text_new(&g->m);
    val zero, one, chalf, t, i, p, f, c, s;
    open_func(g,
              "rope_table(" V ": index, " V ": memref<?xi32>, " V ": memref<%uxf32>, " V
              ": memref<?x%uxf32>)",
              n, pos, freq, half, cs, 2 * half);
    zero = emit_index(g, 0);
    one = emit_index(g, 1);
    chalf = emit_index(g, half);
    t = open_scf(g, zero, n, one);
    p = text_op(&g->m, "memref.load " V "[" V "] : memref<?xi32>", pos, t);
    p = emit_cast(g, "arith.uitofp", p, "i32", "f64");
    i = open_scf(g, zero, chalf, one);
    f = text_op(&g->m, "memref.load " V "[" V "] : memref<%uxf32>", freq, i, half);
    f = emit_cast(g, "arith.extf", f, "f32", "f64");
    emit_angle(g, emit_bin(g, "arith.mulf", p, f, "f64"), &c, &s);
    text_line(&g->m, "memref.store " V ", " V "[" V ", " V "] : memref<?x%uxf32>", c, cs, t, i,
              2 * half);
    i = emit_bin(g, "arith.addi", i, chalf, "index");
    text_line(&g->m, "memref.store " V ", " V "[" V ", " V "] : memref<?x%uxf32>", s, cs, t, i,
              2 * half);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* @rope_HEADS(n, x, cos_sin), in place */
void func_rope(struct gen *g, const struct q35_layer *l, uint32_t heads)
{
    bool pairs = l->rope_style == Q35_ROPE_PAIRS;
    uint32_t half = l->rope_dim / 2;
    val n = text_new(&g->m), x = text_new(&g->m), cs = text_new(&g->m);
    val zero, one, two, chalf, t, h, i, at[2], c, s, a, b, u, w;
    char type[64];
    snprintf(type, sizeof(type), "memref<?x%ux%uxf32>", heads, l->head_dim);
    open_func(g, "rope_%u(" V ": index, " V ": %s, " V ": memref<?x%uxf32>)", heads, n, x, type, cs,
              l->rope_dim);
    zero = emit_index(g, 0);
    one = emit_index(g, 1);
    two = emit_index(g, 2);
    chalf = emit_index(g, half);
    t = open_scf(g, zero, n, one);
    h = open_scf(g, zero, emit_index(g, heads), one);
    i = open_scf(g, zero, chalf, one);
    at[0] = pairs ? emit_bin(g, "arith.muli", i, two, "index") : i;
    at[1] = emit_bin(g, "arith.addi", at[0], pairs ? one : chalf, "index");
    c = text_op(&g->m, "memref.load " V "[" V ", " V "] : memref<?x%uxf32>", cs, t, i, l->rope_dim);
    i = emit_bin(g, "arith.addi", i, chalf, "index");
    s = text_op(&g->m, "memref.load " V "[" V ", " V "] : memref<?x%uxf32>", cs, t, i, l->rope_dim);
    a = text_op(&g->m, "memref.load " V "[" V ", " V ", " V "] : %s", x, t, h, at[0], type);
    b = text_op(&g->m, "memref.load " V "[" V ", " V ", " V "] : %s", x, t, h, at[1], type);
    u = emit_bin(g, "arith.mulf", a, c, "f32");
    u = emit_bin(g, "arith.subf", u, emit_bin(g, "arith.mulf", b, s, "f32"), "f32");
    w = emit_bin(g, "arith.mulf", a, s, "f32");
    w = emit_bin(g, "arith.addf", w, emit_bin(g, "arith.mulf", b, c, "f32"), "f32");
    text_line(&g->m, "memref.store " V ", " V "[" V ", " V ", " V "] : %s", u, x, t, h, at[0],
              type);
    text_line(&g->m, "memref.store " V ", " V "[" V ", " V ", " V "] : %s", w, x, t, h, at[1],
              type);
    text_close(&g->m);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}

/* ---- SwiGLU ------------------------------------------------------------------------------ */

/* @swiglu(n, gate, up): gate = silu(gate) * up */
void func_swiglu(struct gen *g, uint32_t d_ffn)
{
    const struct ty *ty = &ty_scalar;
    val n = text_new(&g->m), gate = text_new(&g->m), up = text_new(&g->m), t, i, x, e, u;
    open_func(g, "swiglu(" V ": index, " V ": memref<?x%uxf32>, " V ": memref<?x%uxf32>)", n, gate,
              d_ffn, up, d_ffn);
    t = open_affine_to(g, n);
    i = open_affine(g, d_ffn);
    x = text_op(&g->m, "affine.load " V "[" V ", " V "] : memref<?x%uxf32>", gate, t, i, d_ffn);
    u = text_op(&g->m, "affine.load " V "[" V ", " V "] : memref<?x%uxf32>", up, t, i, d_ffn);
    e = emit_exp(g, ty, emit_un(g, "arith.negf", x, "f32"));
    e = emit_bin(g, "arith.addf", emit_f32(g, ty, 1.0f), e, "f32");
    e = emit_bin(g, "arith.divf", x, e, "f32");
    e = emit_bin(g, "arith.mulf", e, u, "f32");
    text_line(&g->m, "affine.store " V ", " V "[" V ", " V "] : memref<?x%uxf32>", e, gate, t, i,
              d_ffn);
    text_close(&g->m);
    text_close(&g->m);
    close_func(g);
}
