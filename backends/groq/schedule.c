/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Products: from jobs to instructions. */

#include "schedule.h"

#include <stdlib.h>
#include <string.h>

#include "builder.h"

/* Streams of a direction. */
enum {
    S_RAW = 0,     /* 7 byte vectors of codes */
    S_EIGHTH = 7,  /* the code made of them */
    S_WEIGHT = 8,  /* 16 rows of weights, 8 for each plane; decoded: 30 from 0 on */
    S_TABLE = 24,  /* 2, inwards */
    S_RESULT = 26, /* 4 */
    S_X = 30,      /* 2 */
    S_LINK = 31,   /* to the links, westwards */
    S_ACC = 0,     /* inwards: 16 of sums, then scales, token scales, biases */
    S_SCALE = 16,
    S_TOKEN = 20,
    S_BIAS = 24
};

/* Tokens of a program that go together. */
struct span {
    uint32_t first, n;
};

/* A job is interrupted where something else needs its units, but not for fewer issues. */
#define LEAST_STEPS 4u

/* What one hemisphere of one chip is doing. */
struct lane {
    uint32_t next_base;    /* of the next job's reads */
    uint32_t next_job;     /* index from matrix.first_job on */
    uint32_t phases;       /* parts of jobs so far */
    uint32_t installed[2]; /* when each weight buffer was taken over last */
    uint32_t dotted;       /* when the planes are free again */
    uint32_t sums[2];      /* when the sums of even and odd blocks had been emitted */
    uint32_t blocks;
};

struct sched {
    struct builder b;
    struct tsp_program *p;
    const struct tsp *t;
    struct lane lanes[2 * 16]; /* [chips][2] */
    uint16_t *seg_weights, *seg_store, *seg_scale, *seg_bias;
    uint32_t *block_base;
    uint16_t seg_result;
};

static uint32_t half_of(const struct sched *s)
{
    return s->t->mem_slices / 2;
}

/* Number of a stream: along the hemisphere's outward direction, or inwards. */
static uint16_t outward(const struct sched *s, uint32_t hemi, uint32_t id)
{
    return (uint16_t)(hemi == HEMI_E ? id : s->t->streams + id);
}

static uint16_t inward(const struct sched *s, uint32_t hemi, uint32_t id)
{
    return outward(s, 1 - hemi, id);
}

/* Way of a unit along the outward or inward direction of a hemisphere. */
static int32_t way_out(const struct sched *s, uint32_t hemi, uint32_t kind, uint32_t unit)
{
    return builder_way(s->t, hemi == HEMI_E ? DIR_EAST : DIR_WEST, kind, unit);
}

static int32_t way_in(const struct sched *s, uint32_t hemi, uint32_t kind, uint32_t unit)
{
    return way_out(s, 1 - hemi, kind, unit);
}

static struct tsp_instr instr(uint32_t chip, uint32_t kind, uint32_t unit, uint32_t op, uint32_t n,
                              uint32_t stride)
{
    struct tsp_instr i = {.chip = (uint16_t)chip,
                          .kind = (uint8_t)kind,
                          .unit = (uint16_t)unit,
                          .op = (uint8_t)op,
                          .segment = TSP_NO_SEGMENT,
                          .n = (uint16_t)n,
                          .stride = (uint16_t)stride,
                          .in = {TSP_NO_STREAM, TSP_NO_STREAM},
                          .out = TSP_NO_STREAM};
    return i;
}

/* A read whose data is on slot `slot` of a stream. */
static void add_read(struct sched *s, uint32_t chip, uint32_t slice, int32_t slot, int32_t way,
                     uint16_t out, uint16_t segment, uint32_t addr, uint32_t step, uint32_t n,
                     uint32_t stride)
{
    struct tsp_instr i = instr(chip, TSP_U_READ, slice, TSP_READ, n, stride);
    i.out = out;
    i.segment = segment;
    i.addr = addr;
    i.step = (uint16_t)step;
    builder_add(&s->b, slot + way - (int32_t)s->t->mem_latency, i);
}

static void add_write(struct sched *s, uint32_t chip, uint32_t slice, int32_t slot, int32_t way,
                      uint16_t in, uint16_t segment, uint32_t addr, uint32_t n, uint32_t stride)
{
    struct tsp_instr i = instr(chip, TSP_U_WRITE, slice, TSP_WRITE, n, stride);
    i.in[0] = in;
    i.segment = segment;
    i.addr = addr;
    i.step = 1;
    builder_add(&s->b, slot + way, i);
}

static void add_alu(struct sched *s, uint32_t chip, uint32_t alu, uint32_t op, int32_t at,
                    uint16_t in0, uint16_t in1, uint32_t imm, uint16_t out, uint32_t n,
                    uint32_t stride)
{
    struct tsp_instr i = instr(chip, TSP_U_ALU, alu, op, n, stride);
    i.in[0] = in0;
    i.in[1] = in1;
    i.imm = imm;
    i.out = out;
    builder_add(&s->b, at, i);
}

/* ---- tables --------------------------------------------------------------------------------- */

/* Copies A0 and A1 (pass 0) or B0 and B1 from the store to every slice that looks them up. */
static void copy_tables(struct sched *s, uint32_t mi, uint32_t chip, uint32_t hemi, uint32_t pass)
{
    uint32_t h, set, k, base = hemi * half_of(s), n = 128;
    uint64_t done = 0;
    for (h = 0; h < s->p->matrices[mi].halves; h++) {
        uint32_t from = base + GROQ_X_SLICE + h;
        add_read(s, chip, from, 0, way_in(s, hemi, TSP_U_READ, from), inward(s, hemi, S_TABLE + h),
                 s->seg_store[mi], 128 * pass, 1, n, 1);
        for (set = 0; set < 3; set++)
            for (k = 0; k < 8; k++) {
                uint32_t local = groq_gather_sets[set][8 * h + k];
                if (done >> local & 1)
                    continue;
                done |= UINT64_C(1) << local;
                add_write(s, chip, base + local, 0, way_in(s, hemi, TSP_U_WRITE, base + local),
                          inward(s, hemi, S_TABLE + h), s->p->seg_table, 128 * pass, n, 1);
            }
    }
}

static void load_tables(struct sched *s, uint32_t mi, uint32_t chip, uint32_t hemi)
{
    struct lane *l = &s->lanes[2 * chip + hemi];
    uint32_t pass, at = l->next_base + 128; /* the last look-ups are over */
    for (pass = 0; pass < s->p->matrices[mi].parts; pass++) {
        copy_tables(s, mi, chip, hemi, pass);
        at = builder_commit(&s->b, at) + 128;
    }
    l->next_base = at + 64; /* the last word has arrived everywhere */
}

/* ---- one part of a job ---------------------------------------------------------------------- */

/* Reads, the eighth code, look-ups; slot 0 is that of the raw codes. */
static void decode(struct sched *s, const struct tsp_job *j, uint32_t part, uint32_t first,
                   uint32_t stride)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    uint32_t hemi = j->hemisphere, k, h, n = j->steps - first, alu = 8 * hemi;
    int32_t vl = (int32_t)s->t->vxm_latency, ml = (int32_t)s->t->mem_latency;
    int32_t v = way_out(s, hemi, TSP_U_ALU, 0);
    uint16_t chain = (uint16_t)(2 * s->t->streams + alu), none = TSP_NO_STREAM;
    const uint8_t *gather = groq_gather_sets[groq_gather_set(s->p, j)];

    for (k = 0; k < 7; k++) {
        const struct tsp_place *from = &s->p->places[j->places + k];
        add_read(s, j->chip, from->slice, 0, way_out(s, hemi, TSP_U_READ, from->slice),
                 outward(s, hemi, S_RAW + k), s->seg_weights[j->matrix], from->addr + first, 1, n,
                 stride);
    }
    add_alu(s, j->chip, alu, TSP_AND, v, outward(s, hemi, 0), none, 0x80808080u, chain, n, stride);
    add_alu(s, j->chip, alu + 1, TSP_MUL, v + vl, chain, none, 0x00204081u, chain + 1, n, stride);
    add_alu(s, j->chip, alu + 2, TSP_SHIFT, v + 2 * vl, chain + 1, none, 28, chain + 2, n, stride);
    add_alu(s, j->chip, alu + 3, TSP_AND, v, outward(s, hemi, 4), none, 0x00808080u, chain + 3, n,
            stride);
    add_alu(s, j->chip, alu + 4, TSP_MUL, v + vl, chain + 3, none, 0x00204081u, chain + 4, n,
            stride);
    add_alu(s, j->chip, alu + 5, TSP_SHIFT, v + 2 * vl, chain + 4, none, 24, chain + 5, n, stride);
    add_alu(s, j->chip, alu + 6, TSP_OR, v + 3 * vl, chain + 2, chain + 5, 0,
            outward(s, hemi, S_EIGHTH), n, stride);
    for (h = 0; h < m->halves; h++)
        for (k = 0; k < 8; k++) {
            uint32_t slice = hemi * half_of(s) + gather[8 * h + k];
            int32_t slot = k == 7 ? 4 * vl : 0;
            uint32_t plane = 2 * hemi + (m->halves == 2 ? h : j->group & 1);
            struct tsp_instr g = instr(j->chip, TSP_U_READ, slice, TSP_GATHER, n, stride);
            struct tsp_instr l = instr(j->chip, TSP_U_LOAD, plane * 16 + k, TSP_LOAD, n, stride);
            g.in[0] = outward(s, hemi, k == 7 ? S_EIGHTH : S_RAW + k);
            g.out = outward(s, hemi, S_WEIGHT + 8 * h + k);
            g.segment = s->p->seg_table;
            g.addr = 128 * part;
            g.imm = 127;
            builder_add(&s->b, slot + way_out(s, hemi, TSP_U_READ, slice), g);
            l.in[0] = g.out;
            l.addr = 8 * first + k;
            l.step = 8;
            l.imm = s->lanes[2 * j->chip + hemi].phases & 1;
            builder_add(&s->b, slot + ml + way_out(s, hemi, TSP_U_LOAD, plane * 16), l);
        }
}

/* Decoded weights: from the slices straight to the planes. */
static void stream(struct sched *s, const struct tsp_job *j, uint32_t first)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    uint32_t hemi = j->hemisphere, k, h, n = j->steps - first;
    for (h = 0; h < m->halves; h++)
        for (k = 0; k < GROQ_DECODED_WIDTH; k++) {
            uint32_t member = h * GROQ_DECODED_WIDTH + k;
            const struct tsp_place *from = &s->p->places[j->places + member];
            uint32_t plane = 2 * hemi + (m->halves == 2 ? h : j->group & 1);
            struct tsp_instr l = instr(j->chip, TSP_U_LOAD, plane * 16 + k, TSP_LOAD, n, 1);
            if (k >= j->rows)
                continue;
            add_read(s, j->chip, from->slice, 0, way_out(s, hemi, TSP_U_READ, from->slice),
                     outward(s, hemi, member), s->seg_weights[j->matrix], from->addr + first, 1, n,
                     1);
            l.in[0] = outward(s, hemi, member);
            l.addr = GROQ_DECODED_WIDTH * first + k;
            l.step = GROQ_DECODED_WIDTH;
            l.imm = s->lanes[2 * j->chip + hemi].phases & 1;
            builder_add(&s->b, way_out(s, hemi, TSP_U_LOAD, plane * 16), l);
        }
}

/* First vector of the sums of a part of the hemisphere's current block. */
static uint32_t sums_of(const struct sched *s, const struct lane *l, uint32_t part)
{
    return ((l->blocks & 1) * 2 + part) * s->p->tokens;
}

/* The planes that a job fills: all of its hemisphere's, or the one of its group. */
static bool in_use(const struct tsp_matrix *m, const struct tsp_job *j, uint32_t plane)
{
    return m->halves == 2 || (j->group & 1) == plane;
}

static void install(struct sched *s, const struct tsp_job *j, uint32_t part, uint32_t loaded)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    struct lane *l = &s->lanes[2 * j->chip + j->hemisphere];
    uint32_t at = loaded > l->dotted ? loaded : l->dotted, k, n = s->p->tokens;
    int32_t mxm = way_out(s, j->hemisphere, TSP_U_PLANE, 2u * j->hemisphere);
    for (k = 0; k < 2; k++) {
        uint32_t plane = 2u * j->hemisphere + k;
        struct tsp_instr i = instr(j->chip, TSP_U_PLANE, plane, TSP_INSTALL, 1, 1);
        i.imm = l->phases & 1;
        if (in_use(m, j, k))
            builder_add(&s->b, 0, i);
    }
    at = builder_commit(&s->b, at);
    l->installed[l->phases & 1] = at + 1;
    for (k = 0; k < 2; k++) {
        uint32_t plane = 2u * j->hemisphere + k, half = m->halves == 2 ? k : 0;
        uint32_t slice = j->hemisphere * half_of(s) + GROQ_X_SLICE + half;
        struct tsp_instr d = instr(j->chip, TSP_U_PLANE, plane, TSP_DOT, n, 1);
        if (!in_use(m, j, k))
            continue;
        add_read(s, j->chip, slice, -mxm, way_out(s, j->hemisphere, TSP_U_READ, slice),
                 outward(s, j->hemisphere, S_X + half), s->p->seg_x, j->group, m->groups, n, 1);
        d.in[0] = outward(s, j->hemisphere, S_X + half);
        d.addr = sums_of(s, l, part);
        d.imm = m->halves == 2 ? j->group == 0 : j->group < 2;
        builder_add(&s->b, 0, d);
    }
    l->dotted = builder_commit(&s->b, at + 1) + n;
}

static void part_of_job(struct sched *s, const struct tsp_job *j, uint32_t part)
{
    const struct tsp_matrix *m = &s->p->matrices[j->matrix];
    struct lane *l = &s->lanes[2 * j->chip + j->hemisphere];
    uint32_t stride = m->packed ? s->t->lanes / s->t->gather_lanes : 1, base;
    uint32_t at = l->next_base, step, n;
    int32_t mxm = way_out(s, j->hemisphere, TSP_U_LOAD, j->hemisphere * 32u);
    uint32_t lag = (uint32_t)mxm + (m->packed ? s->t->mem_latency : 0);
    /* Loads begin `lag` after the base: not before the buffer has been taken over. */
    if (l->phases >= 2 && l->installed[l->phases & 1] > at + lag)
        at = l->installed[l->phases & 1] - lag;
    for (step = 0; step < j->steps && !s->b.failed; step += n) {
        if (m->packed)
            decode(s, j, part, step, stride);
        else
            stream(s, j, step);
        base = builder_commit_some(&s->b, at, LEAST_STEPS, &n);
        at = l->next_base = base + n * stride;
    }
    install(s, j, part, l->next_base + lag + (m->packed ? 4 * s->t->vxm_latency : 0));
    l->phases++;
}

/* ---- results -------------------------------------------------------------------------------- */

/* EMIT of a plane's sums so that they are on slot `slot` at the VXM's side; B passes the SXM. */
static void add_sums(struct sched *s, const struct tsp_job *j, uint32_t plane, uint32_t part,
                     uint32_t id, const struct span *tokens)
{
    const struct lane *l = &s->lanes[2 * j->chip + j->hemisphere];
    uint32_t hemi = j->hemisphere, n = tokens->n, unit = 2 * hemi + plane;
    int32_t slot = part ? -(int32_t)s->t->sxm_latency : 0;
    struct tsp_instr e = instr(j->chip, TSP_U_EMIT, unit, TSP_EMIT, n, 1);
    struct tsp_instr r = instr(j->chip, TSP_U_SXM, 4 * hemi + plane, TSP_ROTATE, n, 1);
    e.out = inward(s, hemi, S_ACC + id);
    e.addr = sums_of(s, l, part) + tokens->first;
    builder_add(&s->b, slot + way_in(s, hemi, TSP_U_EMIT, unit) - 1, e);
    if (!part)
        return;
    r.in[0] = r.out = e.out;
    r.imm = 4;
    builder_add(&s->b, slot + way_in(s, hemi, TSP_U_SXM, 4 * hemi), r);
}

/* Four bytes of an f32 operand, to be at the VXM `late` cycles after slot 0. */
static void add_f32(struct sched *s, const struct tsp_job *j, uint32_t slice, uint32_t id,
                    uint16_t segment, uint32_t addr, uint32_t step, uint32_t n, int32_t late)
{
    uint32_t k, hemi = j->hemisphere, base = hemi * half_of(s) + slice;
    for (k = 0; k < 4; k++)
        add_read(s, j->chip, base + k, late, way_in(s, hemi, TSP_U_READ, base + k),
                 inward(s, hemi, id + k), segment, addr, step, n, 1);
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
        in[part] = inward(s, j->hemisphere, S_ACC + 8 * part);
        if (planes == 2) {
            add_alu(s, j->chip, alu + part, TSP_ADD, *at, in[part], (uint16_t)(in[part] + 4), 0,
                    (uint16_t)(chain + part), tokens->n, 1);
            in[part] = (uint16_t)(chain + part);
        }
    }
    *at += planes == 2 ? (int32_t)s->t->vxm_latency : 0;
    if (m->parts == 1)
        return in[0];
    add_alu(s, j->chip, alu + 2, TSP_ADD, *at, in[0], in[1], 0, (uint16_t)(chain + 2), tokens->n,
            1);
    *at += (int32_t)s->t->vxm_latency;
    return (uint16_t)(chain + 2);
}

/* Four bytes of a result, from the ALUs to memory; `at` as the ALUs count. */
static int32_t add_result(struct sched *s, uint32_t chip, uint32_t hemi, uint32_t block, int32_t at,
                          const struct span *tokens)
{
    int32_t slot = at - way_out(s, hemi, TSP_U_ALU, 0);
    uint32_t k;
    for (k = 0; k < 4; k++) {
        uint32_t slice = s->p->results[block].slice + k;
        add_write(s, chip, slice, slot, way_out(s, hemi, TSP_U_WRITE, slice),
                  outward(s, hemi, S_RESULT + k), s->seg_result,
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
    int32_t v = way_in(s, hemi, TSP_U_ALU, 0), at = v, vl = (int32_t)s->t->vxm_latency, slot;
    uint16_t chain = (uint16_t)(2 * s->t->streams + alu), sum = add_up(s, j, tokens, &at);
    uint16_t out = outward(s, hemi, S_RESULT), none = TSP_NO_STREAM;
    add_f32(s, j, GROQ_SCALE_SLICE, S_SCALE, s->seg_scale[j->matrix], own, 0, n, at - v);
    add_f32(s, j, GROQ_TOKEN_SLICE, S_TOKEN, s->p->seg_token, tokens->first, 1, n, at - v);
    add_alu(s, j->chip, alu + 3, TSP_FLOAT, at, sum, none, 0, (uint16_t)(chain + 3), n, 1);
    add_alu(s, j->chip, alu + 4, TSP_FMUL, at, inward(s, hemi, S_SCALE), inward(s, hemi, S_TOKEN),
            0, (uint16_t)(chain + 4), n, 1);
    at += vl;
    add_alu(s, j->chip, alu + 5, TSP_FMUL, at, (uint16_t)(chain + 3), (uint16_t)(chain + 4), 0,
            m->bias ? (uint16_t)(chain + 5) : out, n, 1);
    at += vl;
    if (m->bias) {
        add_f32(s, j, GROQ_BIAS_SLICE, S_BIAS, s->seg_bias[j->matrix], own, 0, n, at - v);
        add_alu(s, j->chip, alu + 6, TSP_FADD, at, (uint16_t)(chain + 5), inward(s, hemi, S_BIAS),
                0, out, n, 1);
        at += vl;
    }
    slot = add_result(s, j->chip, hemi, block, at, tokens);
    base = builder_commit(&s->b, earliest);
    l->sums[l->blocks & 1] = base + (uint32_t)way_in(s, hemi, TSP_U_EMIT, 2 * hemi) + n;
    return base + (uint32_t)(slot + way_out(s, hemi, TSP_U_WRITE, hemi * half_of(s) + 43)) + n;
}

/* A plane emits one vector a cycle and those of B come sxm_latency earlier, so of two parts no more
 * than that at once. */
static uint32_t result(struct sched *s, const struct tsp_job *j, uint32_t block)
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
static void exchange(struct sched *s, const struct tsp_job *j, uint32_t block, uint32_t ready)
{
    uint32_t k, c, n = s->p->tokens, gap = s->t->link_vector_cycles, at = ready;
    for (k = 0; k < 4 && s->p->chips > 1; k++) {
        uint32_t slice = s->p->results[block].slice + k;
        add_read(s, j->chip, slice, 0, builder_way(s->t, DIR_WEST, TSP_U_READ, slice),
                 (uint16_t)(s->t->streams + S_LINK), s->seg_result, s->p->results[block].addr, 1, n,
                 gap);
        for (c = 0; c < s->p->chips; c++) {
            uint32_t to = c < j->chip ? c : c - 1, from = j->chip < c ? j->chip : j->chip - 1u;
            struct tsp_instr tx = instr(j->chip, TSP_U_SEND, to, TSP_SEND, n, gap);
            struct tsp_instr rx = instr(c, TSP_U_RECEIVE, from, TSP_RECEIVE, n, gap);
            int32_t sent = builder_way(s->t, DIR_WEST, TSP_U_SEND, to);
            int32_t got = sent + (int32_t)(s->t->hop_cycles + gap);
            if (c == j->chip)
                continue;
            tx.in[0] = (uint16_t)(s->t->streams + S_LINK);
            builder_add(&s->b, sent, tx);
            rx.out = (uint16_t)(24 + from % 8);
            builder_add(&s->b, got, rx);
            add_write(s, c, slice, got + 1 - builder_way(s->t, DIR_EAST, TSP_U_RECEIVE, from),
                      builder_way(s->t, DIR_EAST, TSP_U_WRITE, slice), rx.out, s->seg_result,
                      s->p->results[block].addr, n, gap);
        }
        at = builder_commit(&s->b, at) + gap;
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

/* The next job of a hemisphere, if it has one left of this matrix. */
static bool next_job(struct sched *s, uint32_t mi, uint32_t chip, uint32_t hemi)
{
    const struct tsp_matrix *m = &s->p->matrices[mi];
    struct lane *l = &s->lanes[2 * chip + hemi];
    while (l->next_job < m->job_count) {
        const struct tsp_job *j = &s->p->jobs[m->first_job + l->next_job++];
        uint32_t part, block;
        if (j->chip != chip || j->hemisphere != hemi) {
            l->next_job += m->groups - 1; /* the rest of that block is not ours either */
            continue;
        }
        if (j->group == 0 && l->blocks >= 2 && l->dotted < l->sums[l->blocks & 1])
            l->dotted = l->sums[l->blocks & 1];
        for (part = 0; part < m->parts; part++)
            part_of_job(s, j, part);
        if (j->group + 1 == m->groups) {
            block = s->block_base[mi] + j->row / s->t->plane_size;
            exchange(s, j, block, result(s, j, block));
            l->blocks++;
        }
        return true;
    }
    return false;
}

static bool has_job(const struct tsp_program *p, uint32_t mi, uint32_t chip, uint32_t hemi)
{
    const struct tsp_matrix *m = &p->matrices[mi];
    uint32_t b;
    for (b = 0; b < m->blocks; b++) {
        const struct tsp_job *j = &p->jobs[m->first_job + b * m->groups];
        if (j->chip == chip && j->hemisphere == hemi)
            return true;
    }
    return false;
}

static void schedule_matrix(struct sched *s, uint32_t mi)
{
    uint32_t c, h;
    bool more = true;
    for (c = 0; c < s->p->chips; c++)
        for (h = 0; h < 2; h++) {
            s->lanes[2 * c + h].next_job = 0;
            if (s->p->matrices[mi].packed && has_job(s->p, mi, c, h))
                load_tables(s, mi, c, h);
        }
    while (more && !s->b.failed) {
        more = false;
        for (c = 0; c < s->p->chips; c++)
            for (h = 0; h < 2; h++)
                more |= next_job(s, mi, c, h);
    }
}

/* Memory: the lower bank has what is there before, the upper one results. */
static void segments(struct sched *s)
{
    struct tsp_program *p = s->p;
    uint32_t i, blocks = 0, half = s->t->slice_words / 2, n = p->tokens, groups = 1;
    for (i = 0; i < p->matrix_count; i++) {
        struct tsp_matrix *m = &p->matrices[i];
        uint16_t mi = (uint16_t)i;
        s->block_base[i] = blocks;
        s->seg_weights[i] =
            builder_segment(&s->b, (struct tsp_segment){m->packed ? TSP_SEG_CODES : TSP_SEG_BYTES,
                                                        0, mi, 0, p->slice_words});
        s->seg_store[i] =
            builder_segment(&s->b, (struct tsp_segment){TSP_SEG_STORE, 0, mi, 0, 256});
        s->seg_scale[i] = builder_segment(
            &s->b, (struct tsp_segment){TSP_SEG_SCALE, 1, mi, 256 + 2 * blocks, m->blocks});
        s->seg_bias[i] =
            builder_segment(&s->b, (struct tsp_segment){TSP_SEG_BIAS, 1, mi,
                                                        256 + 2 * blocks + m->blocks, m->blocks});
        blocks += m->blocks;
        groups = m->groups > groups ? m->groups : groups;
    }
    p->seg_table = builder_segment(&s->b, (struct tsp_segment){TSP_SEG_TABLE, 1, 0, 0, 256});
    p->seg_x = builder_segment(&s->b, (struct tsp_segment){TSP_SEG_X, 1, 0, 256, n * groups});
    p->seg_token = builder_segment(&s->b, (struct tsp_segment){TSP_SEG_TOKEN, 1, 0, 256, n});
    s->seg_result = builder_segment(
        &s->b, (struct tsp_segment){TSP_SEG_RESULT, 1, 0, half, (blocks + 7) / 8 * n});
}

enum q35_status groq_schedule_product(struct tsp_program *p, const struct tsp *t,
                                      const struct groq_product *g, struct q35_error *err)
{
    struct sched s = {.p = p, .t = t};
    enum q35_status st;
    uint16_t segs[4][4];
    uint32_t bases[4], i;
    if (!g->tokens || g->tokens > groq_product_tokens(t, g) || g->chips > t->node_chips)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "a product of %u tokens on %u chips",
                             g->tokens, g->chips);
    st = groq_place_product(p, t, g, err);
    if (st)
        return st;
    s.seg_weights = segs[0];
    s.seg_store = segs[1];
    s.seg_scale = segs[2];
    s.seg_bias = segs[3];
    s.block_base = bases;
    if (builder_init(&s.b, p)) {
        segments(&s);
        for (i = 0; i < p->matrix_count && !s.b.failed; i++)
            schedule_matrix(&s, i);
    } else {
        s.b.failed = true;
    }
    builder_fini(&s.b);
    if (!s.b.failed) {
        groq_program_sort(p);
        return Q35_OK;
    }
    tsp_program_free(p);
    return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule, or one that fits nowhere");
}
