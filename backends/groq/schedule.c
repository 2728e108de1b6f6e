/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Products: from jobs to instructions. */

#include "schedule_impl.h"

/* A job is interrupted where something else needs its units, but not for fewer issues. */
#define LEAST_STEPS 4u

uint32_t groq_half_of(const struct sched *s)
{
    return s->t->mem_slices / 2;
}

/* Number of a stream: along the hemisphere's outward direction, or inwards. */
uint16_t groq_outward(const struct sched *s, uint32_t hemi, uint32_t id)
{
    return (uint16_t)(hemi == HEMI_E ? id : s->t->streams + id);
}

uint16_t groq_inward(const struct sched *s, uint32_t hemi, uint32_t id)
{
    return groq_outward(s, 1 - hemi, id);
}

/* Way of a unit along the outward or inward direction of a hemisphere. */
int32_t groq_way_out(const struct sched *s, uint32_t hemi, uint32_t kind, uint32_t unit)
{
    return builder_way(s->t, hemi == HEMI_E ? DIR_EAST : DIR_WEST, kind, unit);
}

int32_t groq_way_in(const struct sched *s, uint32_t hemi, uint32_t kind, uint32_t unit)
{
    return groq_way_out(s, 1 - hemi, kind, unit);
}

/* A read whose data is on slot `slot` of a stream. */
void groq_add_read(struct sched *s, uint32_t chip, uint32_t slice, int32_t slot, int32_t way,
                   uint16_t out, uint16_t segment, uint32_t addr, uint32_t step, uint32_t n,
                   uint32_t stride)
{
    struct tsp_instr i = builder_instr(chip, TSP_U_READ, slice, TSP_READ, n, stride);
    i.out = out;
    i.segment = segment;
    i.addr = addr;
    i.step = (uint16_t)step;
    builder_add(&s->b, slot + way - (int32_t)s->t->mem_latency, i);
}

void groq_add_write(struct sched *s, uint32_t chip, uint32_t slice, int32_t slot, int32_t way,
                    uint16_t in, uint16_t segment, uint32_t addr, uint32_t n, uint32_t stride)
{
    struct tsp_instr i = builder_instr(chip, TSP_U_WRITE, slice, TSP_WRITE, n, stride);
    i.in[0] = in;
    i.segment = segment;
    i.addr = addr;
    i.step = 1;
    builder_add(&s->b, slot + way, i);
}

void groq_add_alu(struct sched *s, uint32_t chip, uint32_t alu, uint32_t op, int32_t at,
                  uint16_t in0, uint16_t in1, uint32_t imm, uint16_t out, uint32_t n,
                  uint32_t stride)
{
    struct tsp_instr i = builder_instr(chip, TSP_U_ALU, alu, op, n, stride);
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
    uint32_t h, set, k, base = hemi * groq_half_of(s), n = 128;
    uint64_t done = 0;
    for (h = 0; h < s->p->matrices[mi].halves; h++) {
        uint32_t from = base + GROQ_X_SLICE + h;
        groq_add_read(s, chip, from, 0, groq_way_in(s, hemi, TSP_U_READ, from),
                      groq_inward(s, hemi, S_TABLE + h), s->seg_store[mi], 128 * pass, 1, n, 1);
        for (set = 0; set < 3; set++)
            for (k = 0; k < 8; k++) {
                uint32_t local = groq_gather_sets[set][8 * h + k];
                if (done >> local & 1)
                    continue;
                done |= UINT64_C(1) << local;
                groq_add_write(
                    s, chip, base + local, 0, groq_way_in(s, hemi, TSP_U_WRITE, base + local),
                    groq_inward(s, hemi, S_TABLE + h), s->p->seg_table, 128 * pass, n, 1);
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
    int32_t v = groq_way_out(s, hemi, TSP_U_ALU, 0);
    uint16_t chain = (uint16_t)(2 * s->t->streams + alu), none = TSP_NO_STREAM;
    const uint8_t *gather = groq_gather_sets[groq_gather_set(s->p, j)];

    for (k = 0; k < 7; k++) {
        const struct tsp_place *from = &s->p->places[j->places + k];
        groq_add_read(s, j->chip, from->slice, 0, groq_way_out(s, hemi, TSP_U_READ, from->slice),
                      groq_outward(s, hemi, S_RAW + k), s->seg_weights[j->matrix],
                      from->addr + first, 1, n, stride);
    }
    groq_add_alu(s, j->chip, alu, TSP_AND, v, groq_outward(s, hemi, 0), none, 0x80808080u, chain, n,
                 stride);
    groq_add_alu(s, j->chip, alu + 1, TSP_MUL, v + vl, chain, none, 0x00204081u, chain + 1, n,
                 stride);
    groq_add_alu(s, j->chip, alu + 2, TSP_SHIFT, v + 2 * vl, chain + 1, none, 28, chain + 2, n,
                 stride);
    groq_add_alu(s, j->chip, alu + 3, TSP_AND, v, groq_outward(s, hemi, 4), none, 0x00808080u,
                 chain + 3, n, stride);
    groq_add_alu(s, j->chip, alu + 4, TSP_MUL, v + vl, chain + 3, none, 0x00204081u, chain + 4, n,
                 stride);
    groq_add_alu(s, j->chip, alu + 5, TSP_SHIFT, v + 2 * vl, chain + 4, none, 24, chain + 5, n,
                 stride);
    groq_add_alu(s, j->chip, alu + 6, TSP_OR, v + 3 * vl, chain + 2, chain + 5, 0,
                 groq_outward(s, hemi, S_EIGHTH), n, stride);
    for (h = 0; h < m->halves; h++)
        for (k = 0; k < 8; k++) {
            uint32_t slice = hemi * groq_half_of(s) + gather[8 * h + k];
            int32_t slot = k == 7 ? 4 * vl : 0;
            uint32_t plane = 2 * hemi + (m->halves == 2 ? h : j->group & 1);
            struct tsp_instr g = builder_instr(j->chip, TSP_U_READ, slice, TSP_GATHER, n, stride);
            struct tsp_instr l =
                builder_instr(j->chip, TSP_U_LOAD, plane * 16 + k, TSP_LOAD, n, stride);
            g.in[0] = groq_outward(s, hemi, k == 7 ? S_EIGHTH : S_RAW + k);
            g.out = groq_outward(s, hemi, S_WEIGHT + 8 * h + k);
            g.segment = s->p->seg_table;
            g.addr = 128 * part;
            g.imm = 127;
            builder_add(&s->b, slot + groq_way_out(s, hemi, TSP_U_READ, slice), g);
            l.in[0] = g.out;
            l.addr = 8 * first + k;
            l.step = 8;
            l.imm = s->lanes[2 * j->chip + hemi].phases & 1;
            builder_add(&s->b, slot + ml + groq_way_out(s, hemi, TSP_U_LOAD, plane * 16), l);
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
            struct tsp_instr l = builder_instr(j->chip, TSP_U_LOAD, plane * 16 + k, TSP_LOAD, n, 1);
            if (k >= j->rows)
                continue;
            groq_add_read(s, j->chip, from->slice, 0,
                          groq_way_out(s, hemi, TSP_U_READ, from->slice),
                          groq_outward(s, hemi, member), s->seg_weights[j->matrix],
                          from->addr + first, 1, n, 1);
            l.in[0] = groq_outward(s, hemi, member);
            l.addr = GROQ_DECODED_WIDTH * first + k;
            l.step = GROQ_DECODED_WIDTH;
            l.imm = s->lanes[2 * j->chip + hemi].phases & 1;
            builder_add(&s->b, groq_way_out(s, hemi, TSP_U_LOAD, plane * 16), l);
        }
}

/* First vector of the sums of a part of the hemisphere's current block. */
uint32_t groq_sums_of(const struct sched *s, const struct lane *l, uint32_t part)
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
    int32_t mxm = groq_way_out(s, j->hemisphere, TSP_U_PLANE, 2u * j->hemisphere);
    for (k = 0; k < 2; k++) {
        uint32_t plane = 2u * j->hemisphere + k;
        struct tsp_instr i = builder_instr(j->chip, TSP_U_PLANE, plane, TSP_INSTALL, 1, 1);
        i.imm = l->phases & 1;
        if (in_use(m, j, k))
            builder_add(&s->b, 0, i);
    }
    at = builder_commit(&s->b, at);
    l->installed[l->phases & 1] = at + 1;
    for (k = 0; k < 2; k++) {
        uint32_t plane = 2u * j->hemisphere + k, half = m->halves == 2 ? k : 0;
        uint32_t slice = j->hemisphere * groq_half_of(s) + GROQ_X_SLICE + half;
        struct tsp_instr d = builder_instr(j->chip, TSP_U_PLANE, plane, TSP_DOT, n, 1);
        if (!in_use(m, j, k))
            continue;
        groq_add_read(s, j->chip, slice, -mxm, groq_way_out(s, j->hemisphere, TSP_U_READ, slice),
                      groq_outward(s, j->hemisphere, S_X + half), s->p->seg_x, j->group, m->groups,
                      n, 1);
        d.in[0] = groq_outward(s, j->hemisphere, S_X + half);
        d.addr = groq_sums_of(s, l, part);
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
    int32_t mxm = groq_way_out(s, j->hemisphere, TSP_U_LOAD, j->hemisphere * 32u);
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
            groq_exchange(s, j, block, groq_result(s, j, block));
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
