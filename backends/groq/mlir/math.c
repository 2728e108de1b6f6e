/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The functions of arith.h, operation by operation. */

#include "emit.h"

#include <stdio.h>

/* q35_exp. Arguments outside the valid range are replaced before the conversion to an integer,
 * which would otherwise be undefined. */
val emit_exp(struct gen *g, const struct ty *t, val x)
{
    static const enum groq_number_id p_ids[] = {GROQ_N_EXP_P4, GROQ_N_EXP_P3, GROQ_N_EXP_P2,
                                                GROQ_N_EXP_P1, GROQ_N_EXP_P0};
    val zero = emit_f32(g, t, 0.0f), one = emit_f32(g, t, 1.0f);
    val low = emit_f32_n(g, t, GROQ_N_EXP_LOW), high = emit_f32_n(g, t, GROQ_N_EXP_HIGH);
    val ok = text_op(&g->m, "arith.cmpf oge, " V ", " V " : %s", x, low, t->f);
    val n, r, p, s, i;
    uint32_t k;

    x = emit_select(g, ok, x, zero, t, t->f);
    x = emit_select_if(g, "arith.cmpf ogt", x, high, t->f, high, x, t, t->f);
    n = emit_bin(g, "arith.mulf", x, emit_f32_n(g, t, GROQ_N_EXP_LOG2E), t->f);
    n = emit_un(g, "math.roundeven", n, t->f);
    r = emit_fma(g, n, emit_f32_n(g, t, GROQ_N_EXP_LN2_A), x, t->f);
    r = emit_fma(g, n, emit_f32_n(g, t, GROQ_N_EXP_LN2_B), r, t->f);
    p = emit_f32_n(g, t, GROQ_N_EXP_P5);
    for (k = 0; k < sizeof(p_ids) / sizeof(p_ids[0]); k++)
        p = emit_fma(g, p, r, emit_f32_n(g, t, p_ids[k]), t->f);
    p = emit_fma(g, p, emit_bin(g, "arith.mulf", r, r, t->f), r, t->f);
    p = emit_bin(g, "arith.addf", p, one, t->f);
    i = emit_cast(g, "arith.fptosi", n, t->f, t->i);
    i = emit_bin(g, "arith.addi", i, emit_i32(g, t, (uint32_t)gen_u(g, GROQ_N_EXP_BIAS)), t->i);
    i = emit_bin(g, "arith.shli", i, emit_i32(g, t, 23), t->i);
    s = emit_cast(g, "arith.bitcast", i, t->i, t->f);
    p = emit_bin(g, "arith.mulf", p, s, t->f);
    return emit_select(g, ok, p, zero, t, t->f);
}

/* q35_f16_to_f32; h is i16. */
val emit_f16_to_f32(struct gen *g, const struct ty *t, val h)
{
    val w = emit_cast(g, "arith.extui", h, t->h, t->i);
    val c16 = emit_i32(g, t, 16), c10 = emit_i32(g, t, 10), c13 = emit_i32(g, t, 13);
    val c23 = emit_i32(g, t, 23), c31 = emit_i32(g, t, 31), zero = emit_i32(g, t, 0);
    val sign = emit_bin(g, "arith.andi", w, emit_i32(g, t, 0x8000), t->i);
    val e = emit_bin(g, "arith.andi", emit_bin(g, "arith.shrui", w, c10, t->i), c31, t->i);
    val frac = emit_bin(g, "arith.andi", w, emit_i32(g, t, 1023), t->i), high, u, tiny;

    sign = emit_bin(g, "arith.shli", sign, c16, t->i);
    high = emit_bin(g, "arith.shli", frac, c13, t->i);
    u = emit_bin(g, "arith.addi", e, emit_i32(g, t, (uint32_t)gen_u(g, GROQ_N_HALF_REBIAS)), t->i);
    u = emit_bin(g, "arith.shli", u, c23, t->i);
    u = emit_select_if(g, "arith.cmpi eq", e, c31, t->i, emit_i32(g, t, 0x7f800000), u, t, t->i);
    u = emit_bin(g, "arith.ori", u, high, t->i);
    tiny = emit_cast(g, "arith.uitofp", frac, t->i, t->f);
    tiny = emit_bin(g, "arith.mulf", tiny, emit_f32_n(g, t, GROQ_N_HALF_SUBNORMAL), t->f);
    tiny = emit_cast(g, "arith.bitcast", tiny, t->f, t->i);
    u = emit_select_if(g, "arith.cmpi eq", e, zero, t->i, tiny, u, t, t->i);
    u = emit_bin(g, "arith.ori", u, sign, t->i);
    return emit_cast(g, "arith.bitcast", u, t->i, t->f);
}

/* q35_f32_to_f16; the result is i16. */
val emit_f32_to_f16(struct gen *g, const struct ty *t, val x)
{
    val u = emit_cast(g, "arith.bitcast", x, t->f, t->i);
    val c13 = emit_i32(g, t, 13), c1 = emit_i32(g, t, 1);
    val add = emit_i32(g, t, (uint32_t)gen_u(g, GROQ_N_HALF_ADD));
    val sign = emit_bin(g, "arith.shrui", u, emit_i32(g, t, 16), t->i);
    val a = emit_bin(g, "arith.andi", u, emit_i32(g, t, 0x7fffffff), t->i);
    val half = emit_f32_n(g, t, GROQ_N_HALF_ROUND), r, s, odd;

    sign = emit_bin(g, "arith.andi", sign, emit_i32(g, t, 0x8000), t->i);
    odd = emit_bin(g, "arith.andi", emit_bin(g, "arith.shrui", a, c13, t->i), c1, t->i);
    r = emit_bin(g, "arith.addi", a, emit_bin(g, "arith.addi", add, odd, t->i), t->i);
    r = emit_bin(g, "arith.shrui", r, c13, t->i);
    s = emit_cast(g, "arith.bitcast", a, t->i, t->f);
    s = emit_bin(g, "arith.addf", s, half, t->f);
    s = emit_cast(g, "arith.bitcast", s, t->f, t->i);
    s = emit_bin(g, "arith.subi", s, emit_i32(g, t, 0x3f000000), t->i);
    r = emit_select_if(g, "arith.cmpi ult", a,
                       emit_i32(g, t, (uint32_t)gen_u(g, GROQ_N_HALF_NORMAL)), t->i, s, r, t, t->i);
    r = emit_select_if(g, "arith.cmpi uge", a,
                       emit_i32(g, t, (uint32_t)gen_u(g, GROQ_N_HALF_OVERFLOW)), t->i,
                       emit_i32(g, t, 0x7c00), r, t, t->i);
    r = emit_select_if(g, "arith.cmpi ugt", a, emit_i32(g, t, 0x7f800000), t->i,
                       emit_i32(g, t, 0x7e00), r, t, t->i);
    r = emit_bin(g, "arith.ori", r, sign, t->i);
    return emit_cast(g, "arith.trunci", r, t->i, t->h);
}

/* Lower and upper half of a vector of n f32. */
static val half_of(struct gen *g, val v, uint32_t n, bool upper)
{
    return text_op(&g->m,
                   "vector.extract_strided_slice " V
                   " {offsets = [%u], sizes = [%u], strides = [1]} : vector<%uxf32> to "
                   "vector<%uxf32>",
                   v, upper ? n / 2 : 0, n / 2, n, n / 2);
}

static val tree(struct gen *g, val v, bool max)
{
    uint32_t n;
    for (n = 16; n > 1; n /= 2) {
        val lo = half_of(g, v, n, false), hi = half_of(g, v, n, true), c;
        char type[32];
        snprintf(type, sizeof(type), "vector<%uxf32>", n / 2);
        if (max) {
            c = text_op(&g->m, "arith.cmpf ogt, " V ", " V " : %s", hi, lo, type);
            v = text_op(&g->m, "arith.select " V ", " V ", " V " : vector<%uxi1>, %s", c, hi, lo,
                        n / 2, type);
        } else {
            v = emit_bin(g, "arith.addf", lo, hi, type);
        }
    }
    return text_op(&g->m, "vector.extract " V "[0] : f32 from vector<1xf32>", v);
}

val emit_tree16(struct gen *g, val lanes)
{
    return tree(g, lanes, false);
}

val emit_max16(struct gen *g, val lanes)
{
    return tree(g, lanes, true);
}

val emit_dot(struct gen *g, uint32_t n, load_pair load, void *ctx)
{
    val sum = emit_f32(g, &ty_lanes, 0.0f), x, y, next;
    uint32_t full = n & ~15u;
    if (full) {
        struct carry c =
            open_carry(g, emit_index(g, 0), emit_index(g, full), emit_index(g, 16), sum, LANES);
        load(g, ctx, c.i, NO_MASK, &x, &y);
        sum = close_carry(g, &c, emit_fma(g, x, y, c.carried, LANES));
    }
    if (n & 15u) {
        val mask = emit_mask(g, n & 15u);
        load(g, ctx, emit_index(g, full), mask, &x, &y);
        next = emit_fma(g, x, y, sum, LANES);
        sum = emit_select(g, mask, next, sum, &ty_lanes, LANES);
    }
    return emit_tree16(g, sum);
}

/* q35_mix64(seed + golden * (block + 1)) */
val emit_sign_bits(struct gen *g, val seed, val block)
{
    val b = emit_cast(g, "arith.index_cast", block, "index", "i64"), z;
    b = emit_bin(g, "arith.addi", b, emit_i64(g, 1), "i64");
    b = emit_bin(g, "arith.muli", b, emit_i64(g, gen_u(g, GROQ_N_SIGN_GOLDEN)), "i64");
    z = emit_bin(g, "arith.addi", seed, b, "i64");
    b = emit_bin(g, "arith.shrui", z, emit_i64(g, gen_u(g, GROQ_N_SIGN_SHIFT)), "i64");
    z = emit_bin(g, "arith.xori", z, b, "i64");
    z = emit_bin(g, "arith.muli", z, emit_i64(g, gen_u(g, GROQ_N_SIGN_MUL_1)), "i64");
    b = emit_bin(g, "arith.shrui", z, emit_i64(g, 27), "i64");
    z = emit_bin(g, "arith.xori", z, b, "i64");
    z = emit_bin(g, "arith.muli", z, emit_i64(g, gen_u(g, GROQ_N_SIGN_MUL_2)), "i64");
    b = emit_bin(g, "arith.shrui", z, emit_i64(g, 31), "i64");
    return emit_bin(g, "arith.xori", z, b, "i64");
}
