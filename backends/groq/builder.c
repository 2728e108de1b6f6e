/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "builder.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_OFFSET                                                                                \
    256 /* slots begin before cycle 0: what starts at the far end has a way to go                  \
         */
#define LATEST (1u << 27)

static const uint32_t kinds = TSP_U_COUNT;

bool builder_init(struct builder *b, struct tsp_program *p)
{
    uint32_t k, at = 0;
    memset(b, 0, sizeof(*b));
    b->t = p->tsp;
    b->p = p;
    for (k = 1; k < kinds; k++) {
        b->first[k] = at;
        at += tsp_unit_count(&b->t, k);
    }
    b->first_bank = at;
    at += 2 * b->t.mem_slices;
    b->first_stream = at;
    at += 2 * b->t.streams;
    b->per_chip = at;
    b->busy = calloc((size_t)at * p->chips, sizeof(*b->busy));
    return b->busy != NULL;
}

void builder_fini(struct builder *b)
{
    uint32_t i;
    for (i = 0; b->busy && i < b->per_chip * b->p->chips; i++)
        free(b->busy[i].bits);
    free(b->busy);
    b->busy = NULL;
}

uint32_t builder_place(const struct tsp *t, uint32_t kind, uint32_t unit)
{
    uint32_t half = t->mem_slices / 2, hops = (half + t->slices_per_hop - 1) / t->slices_per_hop;
    uint32_t vxm = 2 + hops, east;
    switch (kind) {
    case TSP_U_READ:
    case TSP_U_WRITE:
        return unit < half ? vxm - 1 - unit / t->slices_per_hop
                           : vxm + 1 + (unit - half) / t->slices_per_hop;
    case TSP_U_ALU:
        return vxm;
    case TSP_U_SEND:
    case TSP_U_RECEIVE:
        return 0;
    case TSP_U_SXM:
        return unit < 4 ? 1 : 2 * vxm - 1;
    default:
        east = kind == TSP_U_LOAD ? unit / 16 : unit;
        return east < t->planes / 2 ? 0 : 2 * vxm;
    }
}

int32_t builder_way(const struct tsp *t, uint32_t dir, uint32_t kind, uint32_t unit)
{
    uint32_t place = builder_place(t, kind, unit), end = 2 * builder_place(t, TSP_U_ALU, 0);
    return (int32_t)(dir == DIR_EAST ? place : end - place);
}

/* ---- busy bits ------------------------------------------------------------------------------ */

static bool test(const struct busy *r, uint32_t i)
{
    return i / 64 < r->words && (r->bits[i / 64] >> (i % 64) & 1);
}

/* The first of n cycles, stride apart, that is busy; n if none is. */
static uint32_t free_for(const struct busy *r, uint32_t from, uint32_t n, uint32_t stride)
{
    uint32_t i;
    if (from / 64 >= r->words)
        return n;
    for (i = 0; i < n; i++) {
        uint32_t at = from + i * stride;
        if (test(r, at))
            return i;
    }
    return n;
}

static bool take(struct busy *r, uint32_t from, uint32_t n, uint32_t stride)
{
    uint32_t i, need = (from + (n - 1) * stride) / 64 + 1;
    if (need > r->words) {
        uint32_t words = 160; /* not of the sizes that allocators keep */
        uint64_t *bits;
        while (words < need)
            words *= 2;
        bits = realloc(r->bits, words * sizeof(*bits));
        if (!bits)
            return false;
        memset(bits + r->words, 0, (words - r->words) * sizeof(*bits));
        r->bits = bits;
        r->words = words;
    }
    for (i = 0; i < n; i++) {
        uint32_t at = from + i * stride;
        r->bits[at / 64] |= UINT64_C(1) << (at % 64);
    }
    return true;
}

/* What one instruction occupies, one after the other: *r and its first busy cycle. */
struct claims {
    struct busy *r[8];
    uint32_t from[8], n[8], stride[8];
    uint32_t count;
};

static void claim(struct claims *c, struct busy *r, uint32_t from, const struct tsp_instr *i)
{
    c->r[c->count] = r;
    c->n[c->count] = i->n;
    c->stride[c->count] = i->stride;
    c->from[c->count++] = from;
}

static void claims_of(struct builder *b, const struct tsp_instr *i, uint32_t cycle,
                      struct claims *c)
{
    struct busy *all = b->busy + (size_t)i->chip * b->per_chip;
    uint32_t k, width = tsp_out_streams(&b->t, i);
    c->count = 0;
    claim(c, &all[b->first[i->kind] + i->unit], cycle, i);
    if (i->op == TSP_SEND) { /* a link is busy until the vector has left */
        c->n[0] = (i->n - 1u) * i->stride + b->t.link_vector_cycles;
        c->stride[0] = 1;
    }
    if (i->kind == TSP_U_READ || i->kind == TSP_U_WRITE) {
        const struct tsp_segment *s = &b->p->segments[i->segment];
        uint32_t bank = (s->base + i->addr) / (b->t.slice_words / 2);
        for (k = 0; k < 2; k++)
            if (!s->placed || k == bank)
                claim(c, &all[b->first_bank + 2 * i->unit + k], cycle, i);
    }
    for (k = 0; k < width; k++) {
        uint32_t dir = i->out >= b->t.streams;
        int32_t way = builder_way(&b->t, dir, i->kind, i->unit);
        claim(c, &all[b->first_stream + i->out + k],
              (uint32_t)((int32_t)(cycle + tsp_latency(&b->t, i->op)) - way + SLOT_OFFSET), i);
    }
}

void builder_add(struct builder *b, int32_t at, struct tsp_instr i)
{
    if (b->count == BUILDER_GROUP || !i.n) {
        b->failed = true;
        return;
    }
    b->at[b->count] = at;
    b->group[b->count++] = i;
}

/* How many of the group's issues fit from this base on: at most what the first says. */
static uint32_t fits(struct builder *b, uint32_t base)
{
    struct claims c;
    uint32_t i, k, n = b->count ? b->group[0].n : 0;
    for (i = 0; i < b->count && n; i++) {
        const struct tsp_instr *g = &b->group[i];
        if ((int32_t)base + b->at[i] < 0)
            return 0;
        claims_of(b, g, base + (uint32_t)b->at[i], &c);
        for (k = 0; k < c.count; k++) {
            uint32_t free = free_for(c.r[k], c.from[k], c.n[k], c.stride[k]);
            if (free < c.n[k])
                n = c.n[k] != g->n ? 0 : free < n ? free : n;
        }
    }
    return n;
}

static bool append(struct builder *b, const struct tsp_instr *i)
{
    struct tsp_program *p = b->p;
    uint32_t end = i->cycle + (uint32_t)(i->n - 1) * i->stride + 1;
    if (p->count == p->cap) {
        uint32_t cap = p->cap ? 2 * p->cap : 256;
        struct tsp_instr *grown = realloc(p->instrs, cap * sizeof(*grown));
        if (!grown)
            return false;
        p->instrs = grown;
        p->cap = cap;
    }
    p->instrs[p->count++] = *i;
    if (end > p->cycles)
        p->cycles = end;
    return true;
}

static void commit(struct builder *b, uint32_t base)
{
    struct claims c;
    uint32_t i, k;
    for (i = 0; i < b->count && !b->failed; i++) {
        struct tsp_instr *g = &b->group[i];
        g->cycle = base + (uint32_t)b->at[i];
        claims_of(b, g, g->cycle, &c);
        for (k = 0; k < c.count; k++)
            if (free_for(c.r[k], c.from[k], c.n[k], c.stride[k]) < c.n[k] || /* of this group */
                !take(c.r[k], c.from[k], c.n[k], c.stride[k]))
                b->failed = true;
        if (!append(b, g))
            b->failed = true;
    }
    b->count = 0;
}

uint32_t builder_commit(struct builder *b, uint32_t earliest)
{
    uint32_t base = earliest;
    while (!b->failed && b->count && fits(b, base) < b->group[0].n)
        if (++base > LATEST)
            b->failed = true;
    commit(b, base);
    return base;
}

uint32_t builder_commit_some(struct builder *b, uint32_t earliest, uint32_t least, uint32_t *n)
{
    uint32_t base = earliest, i;
    *n = b->count ? b->group[0].n : 0;
    least = least < *n ? least : *n;
    while (!b->failed && (*n = fits(b, base)) < least)
        if (++base > LATEST)
            b->failed = true;
    for (i = 0; i < b->count; i++)
        b->group[i].n = (uint16_t)*n;
    commit(b, base);
    return base;
}

uint16_t builder_segment(struct builder *b, struct tsp_segment s)
{
    struct tsp_program *p = b->p;
    if (p->segment_count == TSP_MAX_SEGMENTS) {
        b->failed = true;
        return 0;
    }
    p->segments[p->segment_count] = s;
    return (uint16_t)p->segment_count++;
}

struct tsp_instr builder_instr(uint32_t chip, uint32_t kind, uint32_t unit, uint32_t op, uint32_t n,
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
