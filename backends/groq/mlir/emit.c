/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Constants, selects, loops. */

#include "emit.h"

#include <stdio.h>
#include <string.h>

const struct groq_number groq_numbers[GROQ_NUMBER_COUNT] = {
#define F(x)                                                                                       \
    {                                                                                              \
        .f = (x)                                                                                   \
    }
#define D(x)                                                                                       \
    {                                                                                              \
        .d = (x)                                                                                   \
    }
#define U(x)                                                                                       \
    {                                                                                              \
        .u = (x)                                                                                   \
    }
#define GROQ_NUMBER_ROW(name, kind, value) {#name, #kind[0], kind(value)},
    GROQ_NUMBER_MAP(GROQ_NUMBER_ROW)
#undef GROQ_NUMBER_ROW
#undef F
#undef D
#undef U
};

const struct ty ty_scalar = {"f32", "i32", "i16", "", false};
const struct ty ty_lanes = {LANES, "vector<16xi32>", "vector<16xi16>", "vector<16xi1>, ", true};

val emit_index(struct gen *g, uint64_t v)
{
    return text_op(&g->m, "arith.constant %llu : index", (unsigned long long)v);
}

val emit_i32(struct gen *g, const struct ty *t, uint32_t v)
{
    if (t->vec)
        return text_op(&g->m, "arith.constant dense<%d> : %s", (int)v, t->i);
    return text_op(&g->m, "arith.constant %d : i32", (int)v);
}

val emit_i64(struct gen *g, uint64_t v)
{
    return text_op(&g->m, "arith.constant %lld : i64", (long long)v);
}

val emit_f32(struct gen *g, const struct ty *t, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    if (t->vec)
        return text_op(&g->m, "arith.constant dense<0x%08X> : %s", bits, t->f);
    return text_op(&g->m, "arith.constant 0x%08X : f32", bits);
}

val emit_f32_n(struct gen *g, const struct ty *t, enum groq_number_id id)
{
    return emit_f32(g, t, g->numbers[id].is.f);
}

val emit_f64_n(struct gen *g, enum groq_number_id id)
{
    uint64_t bits;
    memcpy(&bits, &g->numbers[id].is.d, sizeof(bits));
    return text_op(&g->m, "arith.constant 0x%016llX : f64", (unsigned long long)bits);
}

uint64_t gen_u(const struct gen *g, enum groq_number_id id)
{
    return g->numbers[id].is.u;
}

val emit_bin(struct gen *g, const char *op, val a, val b, const char *type)
{
    return text_op(&g->m, "%s " V ", " V " : %s", op, a, b, type);
}

val emit_un(struct gen *g, const char *op, val a, const char *type)
{
    return text_op(&g->m, "%s " V " : %s", op, a, type);
}

val emit_cast(struct gen *g, const char *op, val a, const char *from, const char *to)
{
    return text_op(&g->m, "%s " V " : %s to %s", op, a, from, to);
}

val emit_fma(struct gen *g, val a, val b, val c, const char *type)
{
    return text_op(&g->m, "math.fma " V ", " V ", " V " : %s", a, b, c, type);
}

val emit_select(struct gen *g, val cond, val yes, val no, const struct ty *t, const char *type)
{
    return text_op(&g->m, "arith.select " V ", " V ", " V " : %s%s", cond, yes, no, t->sel, type);
}

val emit_select_if(struct gen *g, const char *op, val a, val b, const char *cmp_type, val yes,
                   val no, const struct ty *t, const char *type)
{
    val cond = text_op(&g->m, "%s, " V ", " V " : %s", op, a, b, cmp_type);
    return emit_select(g, cond, yes, no, t, type);
}

val emit_mask(struct gen *g, uint32_t n)
{
    char list[16 * 7 + 1] = "";
    size_t at = 0;
    uint32_t i;
    for (i = 0; i < 16; i++)
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "",
                               i < n ? "true" : "false");
    return text_op(&g->m, "arith.constant dense<[%s]> : vector<16xi1>", list);
}

val open_scf(struct gen *g, val lo, val hi, val step)
{
    val i = text_new(&g->m);
    text_open(&g->m, "scf.for " V " = " V " to " V " step " V, i, lo, hi, step);
    return i;
}

val open_affine(struct gen *g, uint64_t n)
{
    val i = text_new(&g->m);
    text_open(&g->m, "affine.for " V " = 0 to %llu", i, (unsigned long long)n);
    return i;
}

val open_affine_to(struct gen *g, val n)
{
    val i = text_new(&g->m);
    text_open(&g->m, "affine.for " V " = 0 to " V, i, n);
    return i;
}

struct carry open_carry(struct gen *g, val lo, val hi, val step, val init, const char *type)
{
    struct carry c = {text_new(&g->m), text_new(&g->m), text_new(&g->m), type};
    text_open(&g->m,
              V " = scf.for " V " = " V " to " V " step " V " iter_args(" V " = " V ") -> (%s)",
              c.result, c.i, lo, hi, step, c.carried, init, type);
    return c;
}

val close_carry(struct gen *g, const struct carry *c, val next)
{
    text_line(&g->m, "scf.yield " V " : %s", next, c->type);
    text_close(&g->m);
    return c->result;
}

val emit_load16(struct gen *g, const struct ref *r, const char *index, const char *element,
                val mask)
{
    val pass;
    if (mask == NO_MASK)
        return text_op(&g->m, "vector.load " V "[%s] : %s, vector<16x%s>", r->v, index, r->type,
                       element);
    pass = text_op(&g->m, "arith.constant dense<%s> : vector<16x%s>",
                   element[0] == 'f' ? "0.0" : "0", element);
    return text_op(&g->m,
                   "vector.maskedload " V "[%s], " V ", " V
                   " : %s, vector<16xi1>, vector<16x%s> into vector<16x%s>",
                   r->v, index, mask, pass, r->type, element, element);
}

void emit_store16(struct gen *g, const struct ref *r, const char *index, const char *element,
                  val mask, val v)
{
    if (mask == NO_MASK)
        text_line(&g->m, "vector.store " V ", " V "[%s] : %s, vector<16x%s>", v, r->v, index,
                  r->type, element);
    else
        text_line(&g->m,
                  "vector.maskedstore " V "[%s], " V ", " V " : %s, vector<16xi1>, vector<16x%s>",
                  r->v, index, mask, v, r->type, element);
}

void open_func(struct gen *g, const char *format, ...)
{
    char head[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(head, sizeof(head), format, args);
    va_end(args);
    text_open(&g->m, "func.func private @%s attributes {llvm.linkage = #llvm.linkage<internal>}",
              head);
}

void close_func(struct gen *g)
{
    text_line(&g->m, "return");
    text_close(&g->m);
}
