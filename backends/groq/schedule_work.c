/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Vector work and transfers between layers. */

#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "schedule.h"

enum { S_IN = 0, S_SECOND = 4, S_OUT = 8, PASS_SLICES = 4 };

/* Memory of one pass: four slices of the eastern hemisphere. */
struct area {
    uint16_t segment;
    uint32_t slice;
};

static void read4(struct builder *b, uint32_t chip, const struct area *a, uint32_t stream,
                  int32_t slot, const struct groq_pass *p, uint32_t n)
{
    uint32_t k;
    for (k = 0; k < 4; k++) {
        struct tsp_instr i = builder_instr(chip, TSP_U_READ, a->slice + k, TSP_READ, n, p->stride);
        i.out = (uint16_t)(b->t.streams + stream + k); /* inwards of E: west */
        i.segment = a->segment;
        i.step = 1;
        builder_add(
            b, slot + builder_way(&b->t, DIR_WEST, TSP_U_READ, i.unit) - (int32_t)b->t.mem_latency,
            i);
    }
}

/* Slot 0: of the operands at the VXM. A permuted operand goes out to the SXM first and back. */
static void add_pass(struct builder *b, uint32_t chip, const struct groq_pass *p,
                     const struct area *in, const struct area *second, const struct area *out,
                     uint32_t n)
{
    const struct tsp *t = &b->t;
    uint16_t chain = (uint16_t)(2 * t->streams);
    int32_t v = builder_way(t, DIR_WEST, TSP_U_ALU, 0), at = v, slot;
    uint32_t k;
    if (p->permute) {
        int32_t back = -(int32_t)t->sxm_latency + builder_way(t, DIR_WEST, TSP_U_SXM, 4);
        for (k = 0; k < 4; k++) { /* out east, through the SXM, back west */
            struct tsp_instr r =
                builder_instr(chip, TSP_U_READ, in->slice + k, TSP_READ, n, p->stride);
            r.out = (uint16_t)(S_IN + k);
            r.segment = in->segment;
            r.step = 1;
            builder_add(b,
                        back - builder_way(t, DIR_EAST, TSP_U_SXM, 4) +
                            builder_way(t, DIR_EAST, TSP_U_READ, r.unit) - (int32_t)t->mem_latency,
                        r);
        }
        struct tsp_instr s = builder_instr(chip, TSP_U_SXM, 4, TSP_ROTATE, n, p->stride);
        s.in[0] = S_IN;
        s.out = (uint16_t)(t->streams + S_IN);
        s.imm = 4;
        builder_add(b, back, s);
    } else {
        read4(b, chip, in, S_IN, 0, p, n);
    }
    if (p->operands > 1)
        read4(b, chip, second, S_SECOND, 0, p, n);
    for (k = 0; k < p->ops; k++) {
        struct tsp_instr i = builder_instr(chip, TSP_U_ALU, k, TSP_WORK, n, p->stride);
        i.in[0] = k ? (uint16_t)(chain + k - 1) : (uint16_t)(t->streams + S_IN);
        i.in[1] = !k && p->operands > 1 ? (uint16_t)(t->streams + S_SECOND) : TSP_NO_STREAM;
        i.out = k + 1 == p->ops ? (uint16_t)S_OUT : (uint16_t)(chain + k);
        builder_add(b, at, i);
        at += (int32_t)t->vxm_latency;
    }
    slot = at - builder_way(t, DIR_EAST, TSP_U_ALU, 0);
    for (k = 0; k < 4; k++) {
        struct tsp_instr w =
            builder_instr(chip, TSP_U_WRITE, out->slice + k, TSP_WRITE, n, p->stride);
        w.in[0] = (uint16_t)(S_OUT + k);
        w.segment = out->segment;
        w.step = 1;
        builder_add(b, slot + builder_way(t, DIR_EAST, TSP_U_WRITE, w.unit), w);
    }
}

static int by_cycle(const void *a, const void *b)
{
    const struct tsp_instr *x = a, *y = b;
    if (x->cycle != y->cycle)
        return x->cycle < y->cycle ? -1 : 1;
    return memcmp(x, y, sizeof(*x));
}

void groq_program_sort(struct tsp_program *p)
{
    if (p->count)
        qsort(p->instrs, p->count, sizeof(*p->instrs), by_cycle);
}

static enum q35_status done(struct builder *b, struct q35_error *err)
{
    bool failed = b->failed;
    builder_fini(b);
    groq_program_sort(b->p);
    if (!failed)
        return Q35_OK;
    tsp_program_free(b->p);
    return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule, or one that fits nowhere");
}

/* Each pass begins when the one before has been written, and works on what that wrote unless it is
 * about more. Beyond the words of a bank memory is used again. */
static void add_passes(struct builder *b, const struct groq_work *w)
{
    const struct tsp *t = &b->t;
    uint32_t i, c, half = t->mem_slices / 2, most = t->slice_words / 2, have = UINT32_MAX;
    const struct tsp_segment input = {TSP_SEG_INPUT, 1, 0, 0, most};
    struct area in = {builder_segment(b, input), half}, first = {in.segment, half + 36};
    struct area given = {in.segment, half + 40};
    for (i = 0; i < w->count && !b->failed; i++) {
        const struct groq_pass *p = &w->passes[i];
        const struct tsp_segment temp = {TSP_SEG_TEMP, 1, 0, (i & 1) ? 0 : most,
                                         p->vectors < most ? p->vectors : most};
        uint32_t ready = b->p->cycles + 64, from, n;
        struct area out = {builder_segment(b, temp), half + PASS_SLICES * (1 + i % 8)};
        for (from = 0; from < p->vectors; from += n) {
            n = p->vectors - from < most ? p->vectors - from : most;
            for (c = 0; c < w->chips; c++) {
                add_pass(b, c, p, p->vectors <= have ? &in : &given, &first, &out, n);
                builder_commit(b, ready);
            }
        }
        in = out;
        have = p->vectors;
    }
}

enum q35_status groq_schedule_work(struct tsp_program *p, const struct tsp *t,
                                   const struct groq_work *w, struct q35_error *err)
{
    struct builder b;
    memset(p, 0, sizeof(*p));
    p->tsp = *t;
    p->chips = w->chips;
    if (!builder_init(&b, p))
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule");
    add_passes(&b, w);
    return done(&b, err);
}

enum q35_status groq_schedule_handover(struct tsp_program *p, const struct tsp *t, uint32_t vectors,
                                       struct q35_error *err)
{
    const struct tsp_segment from = {TSP_SEG_INPUT, 1, 0, 0, t->slice_words / 2};
    uint32_t gap = t->link_vector_cycles, at, n, most = t->slice_words / 2;
    const struct tsp_segment to = {TSP_SEG_TEMP, 1, 0, most, vectors < most ? vectors : most};
    uint16_t seg_from, seg_to;
    struct builder b;
    memset(p, 0, sizeof(*p));
    p->tsp = *t;
    p->chips = 2;
    if (!builder_init(&b, p))
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule");
    seg_from = builder_segment(&b, from);
    seg_to = builder_segment(&b, to);
    for (at = 0; at < vectors; at += n) {
        struct tsp_instr r, s, x, w;
        int32_t sent = builder_way(t, DIR_WEST, TSP_U_SEND, 0);
        int32_t got = sent + (int32_t)(t->hop_cycles + gap);
        n = vectors - at < most ? vectors - at : most;
        r = builder_instr(0, TSP_U_READ, 0, TSP_READ, n, gap);
        s = builder_instr(0, TSP_U_SEND, 0, TSP_SEND, n, gap);
        x = builder_instr(1, TSP_U_RECEIVE, 0, TSP_RECEIVE, n, gap);
        w = builder_instr(1, TSP_U_WRITE, 0, TSP_WRITE, n, gap);
        r.out = s.in[0] = (uint16_t)t->streams;
        x.out = w.in[0] = 0;
        r.segment = seg_from;
        w.segment = seg_to;
        r.step = w.step = 1;
        builder_add(&b, builder_way(t, DIR_WEST, TSP_U_READ, 0) - (int32_t)t->mem_latency, r);
        builder_add(&b, sent, s);
        builder_add(&b, got, x);
        builder_add(&b,
                    got + 1 - builder_way(t, DIR_EAST, TSP_U_RECEIVE, 0) +
                        builder_way(t, DIR_EAST, TSP_U_WRITE, 0),
                    w);
        builder_commit(&b, b.p->cycles + 64);
    }
    return done(&b, err);
}
