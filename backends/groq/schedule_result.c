/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Products: what becomes of the sums of a block. */

#include "schedule_impl.h"

/* Tokens of a program that go together. */
struct span {
    uint32_t first, n;
};

/* EMIT of a plane's sums so that they are on slot `slot` at the VXM's side; B passes the SXM. */
static void add_sums(struct sched *s, const struct tsp_job *j, uint32_t plane, uint32_t part,
                     uint32_t id, const struct span *tokens)
{
    const struct lane *l = &s->lanes[2 * j->chip + j->hemisphere];
    uint32_t hemi = j->hemisphere, n = tokens->n, unit = 2 * hemi + plane;
    int32_t slot = part ? -(int32_t)s->t->sxm_latency : 0;
    struct tsp_instr e = builder_instr(j->chip, TSP_U_EMIT, unit, TSP_EMIT, n, 1);
    struct tsp_instr r = builder_instr(j->chip, TSP_U_SXM, 4 * hemi + plane, TSP_ROTATE, n, 1);
    e.out = groq_inward(s, hemi, S_ACC + id);
    e.addr = groq_sums_of(s, l, part) + tokens->first;
    builder_add(&s->b, slot + groq_way_in(s, hemi, TSP_U_EMIT, unit) - 1, e);
    if (!part)
        return;
    r.in[0] = r.out = e.out;
    r.imm = 4;
    builder_add(&s->b, slot + groq_way_in(s, hemi, TSP_U_SXM, 4 * hemi), r);
}

/* Four bytes of an f32 operand, to be at the VXM `late` cycles after slot 0. */
static void add_f32(struct sched *s, const struct tsp_job *j, uint32_t slice, uint32_t id,
                    uint16_t segment, uint32_t addr, uint32_t step, uint32_t n, int32_t late)
{
    uint32_t k, hemi = j->hemisphere, base = hemi * groq_half_of(s) + slice;
    for (k = 0; k < 4; k++)
        groq_add_read(s, j->chip, base + k, late, groq_way_in(s, hemi, TSP_U_READ, base + k),
                      groq_inward(s, hemi, id + k), segment, addr, step, n, 1);
}

/* Adds up the sums; returns the stream or chain that has them, and moves *at. */
static uint16_t add_up(struct sched *s, const struct tsp_job *j, const struct span *tokens,
                       int32_t *at)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    uint32_t planes = m->halves == 2 || m->groups > 1 ? 2 : 1, part, alu = 8u * j->hemisphere;
    uint16_t chain = (uint16_t)(2 * s->t->streams + alu), in[2];
    for (part = 0; part < m->parts; part++) {
        uint32_t k;
        for (k = 0; k < planes; k++)
            add_sums(s, j, k, part, 8 * part + 4 * k, tokens);
        in[part] = groq_inward(s, j->hemisphere, S_ACC + 8 * part);
        if (planes == 2) {
            groq_add_alu(s, j->chip, alu + part, TSP_ADD, *at, in[part], (uint16_t)(in[part] + 4),
                         0, (uint16_t)(chain + part), tokens->n, 1);
            in[part] = (uint16_t)(chain + part);
        }
    }
    *at += planes == 2 ? (int32_t)s->t->vxm_latency : 0;
    if (m->parts == 1)
        return in[0];
    groq_add_alu(s, j->chip, alu + 2, TSP_ADD, *at, in[0], in[1], 0, (uint16_t)(chain + 2),
                 tokens->n, 1);
    *at += (int32_t)s->t->vxm_latency;
    return (uint16_t)(chain + 2);
}

/* Four bytes of a result, from the ALUs to memory; `at` as the ALUs count. */
static int32_t add_result(struct sched *s, uint32_t chip, uint32_t hemi, uint32_t block, int32_t at,
                          const struct span *tokens)
{
    int32_t slot = at - groq_way_out(s, hemi, TSP_U_ALU, 0);
    uint32_t k;
    for (k = 0; k < 4; k++) {
        uint32_t slice = s->p->results[block].slice + k;
        groq_add_write(s, chip, slice, slot, groq_way_out(s, hemi, TSP_U_WRITE, slice),
                       groq_outward(s, hemi, S_RESULT + k), s->seg_result,
                       s->p->results[block].addr + tokens->first, tokens->n, 1);
    }
    return slot;
}

/* y = float(sum) * (row scale * token scale) [+ bias], written to memory. Returns when. */
static uint32_t result_of(struct sched *s, const struct tsp_job *j, uint32_t block,
                          const struct span *tokens, uint32_t earliest)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    struct lane *l = &s->lanes[2 * j->chip + j->hemisphere];
    uint32_t hemi = j->hemisphere, n = tokens->n, alu = 8 * hemi, base;
    uint32_t own = j->row / s->t->plane_size;
    int32_t v = groq_way_in(s, hemi, TSP_U_ALU, 0), at = v, vl = (int32_t)s->t->vxm_latency, slot;
    uint16_t chain = (uint16_t)(2 * s->t->streams + alu), sum = add_up(s, j, tokens, &at);
    uint16_t out = groq_outward(s, hemi, S_RESULT), none = TSP_NO_STREAM;
    add_f32(s, j, GROQ_SCALE_SLICE, S_SCALE, s->seg_scale[j->matrix], own, 0, n, at - v);
    add_f32(s, j, GROQ_TOKEN_SLICE, S_TOKEN, s->p->seg_token, tokens->first, 1, n, at - v);
    groq_add_alu(s, j->chip, alu + 3, TSP_FLOAT, at, sum, none, 0, (uint16_t)(chain + 3), n, 1);
    groq_add_alu(s, j->chip, alu + 4, TSP_FMUL, at, groq_inward(s, hemi, S_SCALE),
                 groq_inward(s, hemi, S_TOKEN), 0, (uint16_t)(chain + 4), n, 1);
    at += vl;
    groq_add_alu(s, j->chip, alu + 5, TSP_FMUL, at, (uint16_t)(chain + 3), (uint16_t)(chain + 4), 0,
                 m->bias ? (uint16_t)(chain + 5) : out, n, 1);
    at += vl;
    if (m->bias) {
        add_f32(s, j, GROQ_BIAS_SLICE, S_BIAS, s->seg_bias[j->matrix], own, 0, n, at - v);
        groq_add_alu(s, j->chip, alu + 6, TSP_FADD, at, (uint16_t)(chain + 5),
                     groq_inward(s, hemi, S_BIAS), 0, out, n, 1);
        at += vl;
    }
    slot = add_result(s, j->chip, hemi, block, at, tokens);
    base = builder_commit(&s->b, earliest);
    l->sums[l->blocks & 1] = base + (uint32_t)groq_way_in(s, hemi, TSP_U_EMIT, 2 * hemi) + n;
    return base +
           (uint32_t)(slot + groq_way_out(s, hemi, TSP_U_WRITE, hemi * groq_half_of(s) + 43)) + n;
}

/* A plane emits one vector a cycle and those of B come sxm_latency earlier, so of two parts no more
 * than that at once. */
uint32_t groq_result(struct sched *s, const struct tsp_job *j, uint32_t block)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    uint32_t n = s->p->tokens, most = m->parts == 2 ? s->t->sxm_latency : n, ready = 0;
    struct span tokens = {0, most < n ? most : n};
    /* The first sum of B is emitted sxm_latency + 1 before the base. */
    uint32_t at = s->lanes[2 * j->chip + j->hemisphere].dotted - n + s->t->mxm_latency +
                  s->t->sxm_latency + 1;
    for (; tokens.first < n && !s->b.failed; tokens.first += tokens.n) {
        tokens.n = n - tokens.first < most ? n - tokens.first : most;
        ready = result_of(s, j, block, &tokens, at + tokens.first);
    }
    return ready;
}

/* Every other chip of the layer gets the block: one link each, byte after byte. */
void groq_exchange(struct sched *s, const struct tsp_job *j, uint32_t block, uint32_t ready)
{
    uint32_t k, c, n = s->p->tokens, gap = s->t->link_vector_cycles, at = ready;
    for (k = 0; k < 4 && s->p->chips > 1; k++) {
        uint32_t slice = s->p->results[block].slice + k;
        groq_add_read(s, j->chip, slice, 0, builder_way(s->t, DIR_WEST, TSP_U_READ, slice),
                      (uint16_t)(s->t->streams + S_LINK), s->seg_result, s->p->results[block].addr,
                      1, n, gap);
        for (c = 0; c < s->p->chips; c++) {
            uint32_t to = c < j->chip ? c : c - 1, from = j->chip < c ? j->chip : j->chip - 1u;
            struct tsp_instr tx = builder_instr(j->chip, TSP_U_SEND, to, TSP_SEND, n, gap);
            struct tsp_instr rx = builder_instr(c, TSP_U_RECEIVE, from, TSP_RECEIVE, n, gap);
            int32_t sent = builder_way(s->t, DIR_WEST, TSP_U_SEND, to);
            int32_t got = sent + (int32_t)(s->t->hop_cycles + gap);
            if (c == j->chip)
                continue;
            tx.in[0] = (uint16_t)(s->t->streams + S_LINK);
            builder_add(&s->b, sent, tx);
            rx.out = (uint16_t)(24 + from % 8);
            builder_add(&s->b, got, rx);
            groq_add_write(s, c, slice, got + 1 - builder_way(s->t, DIR_EAST, TSP_U_RECEIVE, from),
                           builder_way(s->t, DIR_EAST, TSP_U_WRITE, slice), rx.out, s->seg_result,
                           s->p->results[block].addr, n, gap);
        }
        at = builder_commit(&s->b, at) + gap;
    }
}
