/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_EMIT_H
#define Q35_GROQ_MLIR_EMIT_H

/* What the files of the generator share. Functions named emit_* write operations into the function
 * under way and return the value; those named func_* write a whole private function. */

#include "gen.h"
#include "text.h"

struct gen {
    struct mlir_text m;
    const struct groq_number *numbers;
    uint64_t tile_bytes; /* the largest seen */
};

/* Element-wise code is written once for scalars and for 16 lanes. */
struct ty {
    const char *f;   /* f32 */
    const char *i;   /* i32 */
    const char *h;   /* i16 */
    const char *sel; /* what arith.select prints before its type */
    bool vec;
};
extern const struct ty ty_scalar, ty_lanes;

#define LANES "vector<16xf32>"

/* ---- emit.c: constants, selects, loops ---- */
val emit_index(struct gen *g, uint64_t v);
val emit_i32(struct gen *g, const struct ty *t, uint32_t v);
val emit_i64(struct gen *g, uint64_t v);
val emit_f32(struct gen *g, const struct ty *t, float v);
val emit_f32_n(struct gen *g, const struct ty *t, enum groq_number_id id);
val emit_f64_n(struct gen *g, enum groq_number_id id);
uint64_t gen_u(const struct gen *g, enum groq_number_id id);
/* op a, b : type */
val emit_bin(struct gen *g, const char *op, val a, val b, const char *type);
val emit_un(struct gen *g, const char *op, val a, const char *type);
val emit_cast(struct gen *g, const char *op, val a, const char *from, const char *to);
val emit_fma(struct gen *g, val a, val b, val c, const char *type);
/* op: "arith.cmpf oge" */
val emit_select_if(struct gen *g, const char *op, val a, val b, const char *cmp_type, val yes,
                   val no, const struct ty *t, const char *type);
val emit_select(struct gen *g, val cond, val yes, val no, const struct ty *t, const char *type);
/* vector<16xi1>, true in the lanes below n. */
val emit_mask(struct gen *g, uint32_t n);
/* Opens "scf.for %i = lo to hi step s" and returns i. */
val open_scf(struct gen *g, val lo, val hi, val step);
/* Opens "affine.for %i = 0 to n", resp. to the value n. */
val open_affine(struct gen *g, uint64_t n);
val open_affine_to(struct gen *g, val n);
/* An scf.for that carries one value. *carried is its value inside, the result is returned by
 * close_carry, which yields `next`. */
struct carry {
    val result, i, carried;
    const char *type;
};
struct carry open_carry(struct gen *g, val lo, val hi, val step, val init, const char *type);
val close_carry(struct gen *g, const struct carry *c, val next);

/* ---- math.c: functions of arith.h ---- */
val emit_exp(struct gen *g, const struct ty *t, val x);
val emit_f16_to_f32(struct gen *g, const struct ty *t, val h);
val emit_f32_to_f16(struct gen *g, const struct ty *t, val x);
/* The tree of q35_tree16 over vector<16xf32>; op is arith.addf, or NULL for the maximum. */
val emit_tree16(struct gen *g, val lanes);
val emit_max16(struct gen *g, val lanes);
/* Sum of products of n pairs. load emits 16 of each from element i on, under a mask unless it is
 * NO_MASK. */
#define NO_MASK UINT32_MAX
typedef void (*load_pair)(struct gen *g, void *ctx, val i, val mask, val *x, val *y);
val emit_dot(struct gen *g, uint32_t n, load_pair load, void *ctx);
/* 64 sign bits of columns 64 * block .. of a rotation. */
val emit_sign_bits(struct gen *g, val seed, val block);

/* A memref with its type; index is what stands in the brackets. */
struct ref {
    val v;
    char type[80];
};
val emit_load16(struct gen *g, const struct ref *r, const char *index, const char *element,
                val mask);
void emit_store16(struct gen *g, const struct ref *r, const char *index, const char *element,
                  val mask, val v);

/* ---- func_*.c ---- */
void func_rms_norm(struct gen *g, uint32_t heads, uint32_t d, float eps);
void func_quantize(struct gen *g, uint32_t cols, uint32_t rot_block);
void func_unrotate(struct gen *g, uint32_t cols_padded, uint32_t rot_block);
void func_decode(struct gen *g, uint32_t scheme);
void func_matmul(struct gen *g, const struct q35_tensor_desc *t, bool bias, bool residual);
void func_rope_table(struct gen *g, uint32_t half);
void func_rope(struct gen *g, const struct q35_layer *l, uint32_t heads);
void func_kv_store(struct gen *g, const struct q35_layer *l);
void func_attention(struct gen *g, const struct q35_layer *l);
void func_swiglu(struct gen *g, uint32_t d_ffn);
void func_embed(struct gen *g, const struct q35_layer *l, const struct q35_tensor_desc *t);

/* ---- gen_funcs.c ---- */
void gen_funcs(struct gen *g, const struct groq_layer *l);
/* Does the product of this role add a bias, or its result to the layer's input? */
bool gen_has_bias(const struct groq_layer *l, uint32_t role);
bool gen_has_residual(uint32_t role);

/* Opens "func.func private @NAME(...)" whose code only this module calls. */
void open_func(struct gen *g, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;
void close_func(struct gen *g);

#endif
