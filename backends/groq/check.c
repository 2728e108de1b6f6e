/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The machine: units, streams, banks. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_impl.h"

const char *tsp_rule_text(enum tsp_rule rule)
{
    static const char *const texts[TSP_RULE_COUNT] = {
        "legal",
        "there is no such chip or unit",
        "not an instruction of that unit",
        "issued 0 times, or 0 cycles apart",
        "a unit is used twice in a cycle",
        "two values in one slot of a stream",
        "a stream that does not exist",
        "an operand does not pass in the cycle of issue",
        "something else passes than the instruction is for",
        "an address outside of its segment",
        "read and write in one bank of a slice in one cycle",
        "read before it was written",
        "more words than a slice has",
        "two things in one word of memory",
        "look-ups faster than the memory gives them",
        "a look-up in a table that is not there, or not yet",
        "weights overwritten before they were installed",
        "weights installed before every column had arrived",
        "a column that the plane or the job does not have",
        "sums lost before they were emitted",
        "sums emitted before they were complete",
        "a link that leads nowhere",
        "received what was not sent, or in the wrong cycle",
        "a result that is not produced on every chip",
        "a part of a matrix that has no place, or two",
        "the program takes longer than it says",
        "no memory to check a program",
    };
    return rule < TSP_RULE_COUNT ? texts[rule] : "?";
}

bool check_fail(struct checker *c, enum tsp_rule rule, const char *format, ...)
{
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    c->v->rule = rule;
    c->v->instr = c->at;
    if (c->at < c->p->count) {
        const struct tsp_instr *i = &c->p->instrs[c->at];
        snprintf(c->v->text, sizeof(c->v->text), "cycle %u, chip %u, %s %u, %s: %s", i->cycle,
                 i->chip, tsp_unit_name(i->kind), i->unit, tsp_op_name(i->op), what);
    } else {
        snprintf(c->v->text, sizeof(c->v->text), "%s", what);
    }
    return false;
}

/* Steps from the upstream end of a direction to the unit. */
uint32_t check_way(const struct tsp *t, bool west, const struct tsp_instr *i)
{
    uint32_t per_side = t->mem_slices / 2;
    uint32_t places = (per_side + t->slices_per_hop - 1) / t->slices_per_hop;
    uint32_t middle = places + 2, end = 2 * middle, from_west = 0;
    bool east_side;
    switch (i->kind) {
    case TSP_U_READ:
    case TSP_U_WRITE:
        east_side = i->unit >= per_side;
        from_west = east_side ? middle + 1 + (i->unit - per_side) / t->slices_per_hop
                              : middle - 1 - i->unit / t->slices_per_hop;
        break;
    case TSP_U_ALU:
        from_west = middle;
        break;
    case TSP_U_SXM:
        from_west = i->unit / 4 ? end - 1 : 1;
        break;
    case TSP_U_LOAD:
        from_west = i->unit / 16 < t->planes / 2 ? 0 : end;
        break;
    case TSP_U_PLANE:
    case TSP_U_EMIT:
        from_west = i->unit < t->planes / 2 ? 0 : end;
        break;
    default:
        break;
    }
    return west ? end - from_west : from_west;
}

static bool op_of_unit(uint32_t kind, uint32_t op)
{
    switch (kind) {
    case TSP_U_READ:
        return op == TSP_READ || op == TSP_GATHER;
    case TSP_U_WRITE:
        return op == TSP_WRITE;
    case TSP_U_LOAD:
        return op == TSP_LOAD;
    case TSP_U_PLANE:
        return op == TSP_INSTALL || op == TSP_DOT;
    case TSP_U_EMIT:
        return op == TSP_EMIT;
    case TSP_U_SXM:
        return op == TSP_ROTATE || op == TSP_WORK;
    case TSP_U_ALU:
        return op >= TSP_AND && op <= TSP_WORK;
    case TSP_U_SEND:
        return op == TSP_SEND;
    case TSP_U_RECEIVE:
        return op == TSP_RECEIVE;
    default:
        return false;
    }
}

static bool shape(struct checker *c, const struct tsp_instr *i)
{
    const struct tsp *t = c->t;
    uint32_t k, all = 2 * t->streams;
    if (i->chip >= c->p->chips || !i->kind || i->kind >= TSP_U_COUNT ||
        i->unit >= tsp_unit_count(t, i->kind))
        return check_fail(c, TSP_BAD_UNIT, "chip %u of %u", i->chip, c->p->chips);
    if (!op_of_unit(i->kind, i->op))
        return check_fail(c, TSP_BAD_OP, "%s", tsp_op_name(i->op));
    if (!i->n || !i->stride)
        return check_fail(c, TSP_BAD_REPEAT, "%u times, %u apart", i->n, i->stride);
    for (k = 0; k < 2; k++)
        if (i->in[k] != TSP_NO_STREAM && i->in[k] >= all + (i->kind == TSP_U_ALU ? t->vxm_alus : 0))
            return check_fail(c, TSP_NO_SUCH_STREAM, "operand on %u", i->in[k]);
    if (i->out == TSP_NO_STREAM)
        return true;
    if (i->out >= all && (i->kind != TSP_U_ALU || i->out != all + i->unit))
        return check_fail(c, TSP_NO_SUCH_STREAM, "output on %u", i->out);
    if (i->out < all && i->out / t->streams != (i->out + tsp_out_streams(t, i) - 1) / t->streams)
        return check_fail(c, TSP_NO_SUCH_STREAM, "output on %u and on", i->out);
    return true;
}

/* ---- everything once ------------------------------------------------------------------------- */

/* One bit for each cycle of each resource. */
struct marks {
    uint64_t **rows;
    uint32_t count, cycles;
};

static bool marks_init(struct marks *m, uint32_t count, uint32_t cycles)
{
    m->rows = calloc(count, sizeof(*m->rows));
    m->count = count;
    m->cycles = cycles;
    return m->rows != NULL;
}

static void marks_fini(struct marks *m)
{
    uint32_t i;
    for (i = 0; m->rows && i < m->count; i++)
        free(m->rows[i]);
    free(m->rows);
}

/* Sets n bits; 1: one was set, -1: no memory. */
static int mark(struct marks *m, uint32_t row, uint32_t from, uint32_t n, uint32_t stride)
{
    uint32_t k;
    if (!m->rows[row])
        m->rows[row] = calloc(m->cycles / 64 + 1, sizeof(uint64_t));
    if (!m->rows[row])
        return -1;
    for (k = 0; k < n; k++) {
        uint32_t at = from + k * stride;
        uint64_t bit = UINT64_C(1) << (at & 63);
        if (m->rows[row][at >> 6] & bit)
            return 1;
        m->rows[row][at >> 6] |= bit;
    }
    return 0;
}

static bool marked(const struct marks *m, uint32_t row, uint32_t from, uint32_t n, uint32_t stride)
{
    uint32_t k;
    for (k = 0; m->rows[row] && k < n; k++) {
        uint32_t at = from + k * stride;
        if (m->rows[row][at >> 6] >> (at & 63) & 1)
            return true;
    }
    return false;
}

static uint32_t units_per_chip(const struct tsp *t)
{
    uint32_t k, n = 0;
    for (k = 1; k < TSP_U_COUNT; k++)
        n += tsp_unit_count(t, k);
    return n;
}

static uint32_t unit_row(const struct checker *c, const struct tsp_instr *i)
{
    uint32_t k, n = i->chip * units_per_chip(c->t);
    for (k = 1; k < i->kind; k++)
        n += tsp_unit_count(c->t, k);
    return n + i->unit;
}

static bool units_once(struct checker *c, struct marks *units)
{
    for (c->at = 0; c->at < c->p->count; c->at++) {
        const struct tsp_instr *i = &c->p->instrs[c->at];
        int r = mark(units, unit_row(c, i), i->cycle, i->n, i->stride);
        if (r)
            return check_fail(c, r < 0 ? TSP_CHECK_NOMEM : TSP_UNIT_BUSY, "it is busy");
    }
    return true;
}

static bool streams_once(struct checker *c, struct marks *slots, uint32_t offset)
{
    for (c->at = 0; c->at < c->p->count; c->at++) {
        const struct tsp_instr *i = &c->p->instrs[c->at];
        uint32_t k, width = tsp_out_streams(c->t, i);
        uint32_t way = check_way(c->t, i->out >= c->t->streams, i);
        for (k = 0; k < width; k++) {
            uint32_t row = i->chip * 2 * c->t->streams + i->out + k;
            int r = mark(slots, row, i->cycle + tsp_latency(c->t, i->op) + offset - way, i->n,
                         i->stride);
            if (r)
                return check_fail(c, r < 0 ? TSP_CHECK_NOMEM : TSP_STREAM_TAKEN, "stream %u",
                                  i->out + k);
        }
    }
    return true;
}

/* Bits 1 << bank of the banks that an access may touch. */
static uint32_t banks_of(const struct checker *c, const struct tsp_instr *i)
{
    const struct tsp_segment *s = &c->p->segments[i->segment];
    uint32_t half = c->t->slice_words / 2, last = i->addr + (i->n - 1u) * i->step;
    if (!s->placed)
        return 3;
    if (i->op == TSP_GATHER)
        last = i->addr + i->imm;
    return (s->base + i->addr < half ? 1u : 0u) | (s->base + last >= half ? 2u : 0u);
}

static bool banks_once(struct checker *c, struct marks *reads)
{
    uint32_t pass, b;
    for (pass = 0; pass < 2; pass++)
        for (c->at = 0; c->at < c->p->count; c->at++) {
            const struct tsp_instr *i = &c->p->instrs[c->at];
            uint32_t row = 2 * (i->chip * c->t->mem_slices + i->unit);
            if (i->kind != (pass ? TSP_U_WRITE : TSP_U_READ))
                continue;
            if (i->segment >= c->p->segment_count)
                return check_fail(c, TSP_BAD_ADDRESS, "segment %u", i->segment);
            for (b = 0; b < 2; b++) {
                if (!(banks_of(c, i) >> b & 1))
                    continue;
                if (!pass && mark(reads, row + b, i->cycle, i->n, i->stride) < 0)
                    return check_fail(c, TSP_CHECK_NOMEM, "no memory");
                if (pass && marked(reads, row + b, i->cycle, i->n, i->stride))
                    return check_fail(c, TSP_BANK_CONFLICT, "bank %u", b);
            }
        }
    return true;
}

static bool machine(struct checker *c)
{
    const struct tsp *t = c->t;
    struct marks units = {0}, slots = {0}, reads = {0};
    uint32_t span = c->p->cycles + 4096, offset = 1024;
    bool ok;
    for (c->at = 0; c->at < c->p->count; c->at++) {
        const struct tsp_instr *i = &c->p->instrs[c->at];
        if (!shape(c, i))
            return false;
        if (i->cycle >= c->p->cycles ||
            (uint64_t)i->cycle + (uint64_t)(i->n - 1u) * i->stride >= c->p->cycles)
            return check_fail(c, TSP_BAD_CYCLES, "it says %u", c->p->cycles);
    }
    if (!marks_init(&units, c->p->chips * units_per_chip(t), span) ||
        !marks_init(&slots, c->p->chips * 2 * t->streams, span + offset) ||
        !marks_init(&reads, c->p->chips * 2 * t->mem_slices, span))
        ok = check_fail(c, TSP_CHECK_NOMEM, "no memory");
    else
        ok = units_once(c, &units) && streams_once(c, &slots, offset) && banks_once(c, &reads);
    marks_fini(&units);
    marks_fini(&slots);
    marks_fini(&reads);
    return ok;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static int by_cycle(const void *a, const void *b, void *program)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const struct tsp_instr *all = ((const struct tsp_program *)program)->instrs;
    if (all[x].cycle != all[y].cycle)
        return all[x].cycle < all[y].cycle ? -1 : 1;
    return (x > y) - (x < y);
}

static bool ordered(const struct tsp_program *p)
{
    uint32_t i;
    for (i = 1; i < p->count; i++)
        if (p->instrs[i].cycle < p->instrs[i - 1].cycle)
            return false;
    return true;
}

static void checker_fini(struct checker *c)
{
    uint32_t i, b;
    for (i = 0; c->planes && i < c->p->chips * c->t->planes; i++) {
        for (b = 0; b < 2; b++)
            free(c->planes[i].buffer[b].column);
        free(c->planes[i].installed.column);
    }
    free(c->planes);
    free(c->order);
    free(c->traces);
    free(c->tables);
    free(c->stored);
    free(c->last_stored);
    free(c->prev_stored);
    free(c->word_keys);
    free(c->word_jobs);
    free(c->sent);
}

static bool checker_init(struct checker *c)
{
    const struct tsp *t = c->t;
    uint32_t i, b, size = 1024;
    while (size < 6 * c->p->count)
        size *= 2;
    c->trace_mask = size - 1;
    c->order = malloc((c->p->count + 1) * sizeof(*c->order));
    c->traces = calloc(size, sizeof(*c->traces));
    c->planes = calloc((size_t)c->p->chips * t->planes, sizeof(*c->planes));
    c->tables = calloc((size_t)c->p->chips * t->mem_slices * 2, sizeof(*c->tables));
    c->sent = calloc((size_t)c->p->chips * t->links, sizeof(*c->sent));
    c->last_stored = calloc((size_t)c->p->chips * t->mem_slices, sizeof(*c->last_stored));
    for (i = 0; c->planes && i < c->p->chips * t->planes; i++) {
        for (b = 0; b < 2; b++)
            c->planes[i].buffer[b].column = calloc(t->plane_size, 1);
        c->planes[i].installed.column = calloc(t->plane_size, 1);
        if (!c->planes[i].buffer[0].column || !c->planes[i].buffer[1].column ||
            !c->planes[i].installed.column)
            return false;
    }
    return c->order && c->traces && c->planes && c->tables && c->sent && c->last_stored;
}

bool tsp_check(const struct tsp_program *p, struct tsp_verdict *v)
{
    struct checker c = {.p = p, .t = &p->tsp, .v = v, .at = UINT32_MAX};
    uint32_t k;
    bool ok;
    memset(v, 0, sizeof(*v));
    v->instr = UINT32_MAX;
    if (!checker_init(&c)) {
        checker_fini(&c);
        return check_fail(&c, TSP_CHECK_NOMEM, "no memory");
    }
    ok = check_placement(&c) && machine(&c);
    for (k = 0; k < p->count; k++)
        c.order[k] = k;
    if (!ordered(p)) /* scheduled programs are; broken ones need not be */
        qsort_r(c.order, p->count, sizeof(*c.order), by_cycle, (void *)(uintptr_t)p);
    for (k = 0; k < p->count && ok; k++) {
        c.at = c.order[k];
        ok = check_flow(&c, &p->instrs[c.at]);
    }
    c.at = UINT32_MAX;
    ok = ok && check_results(&c);
    checker_fini(&c);
    return ok;
}
