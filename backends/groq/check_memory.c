/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What memory gives and gets, tables among it, and whether the results are there at the end. */

#include <stdlib.h>

#include "check_impl.h"

/* Where things lie before the start: slices counted from the VXM, as program.h's segments say. */
enum { BIAS_AT = 28, SCALE_AT = 36, TOKEN_AT = 32, X_AT = 42, TABLE_WORDS = 128 };

static const struct stored *find_stored(const struct checker *c, uint32_t chip, uint32_t slice,
                                        uint32_t segment, uint32_t addr, uint32_t n)
{
    uint32_t at = c->last_stored[chip * c->t->mem_slices + slice];
    for (; at; at = c->prev_stored[at - 1]) {
        const struct stored *s = &c->stored[at - 1];
        if (s->segment == segment && addr >= s->addr && addr + n <= s->addr + s->n)
            return s;
    }
    return NULL;
}

static bool store(struct checker *c, const struct tsp_instr *i, struct fact f)
{
    uint32_t *last = &c->last_stored[i->chip * c->t->mem_slices + i->unit], at;
    for (at = *last; at && f.kind == F_RESULT; at = c->prev_stored[at - 1]) {
        const struct stored *s = &c->stored[at - 1];
        if (s->segment == i->segment && i->addr < s->addr + s->n && s->addr < i->addr + i->n)
            return check_fail(c, TSP_OVERLAP, "a result lies there already");
    }
    if (c->stored_count == c->stored_cap) {
        uint32_t cap = c->stored_cap ? 2 * c->stored_cap : 1024;
        struct stored *s = realloc(c->stored, cap * sizeof(*s));
        uint32_t *prev;
        if (s)
            c->stored = s;
        prev = realloc(c->prev_stored, cap * sizeof(*prev));
        if (prev)
            c->prev_stored = prev;
        if (!s || !prev)
            return check_fail(c, TSP_CHECK_NOMEM, "no memory");
        c->stored_cap = cap;
    }
    c->stored[c->stored_count] =
        (struct stored){i->unit, i->chip, i->segment, i->addr, i->n, i->cycle, i->stride, f};
    c->prev_stored[c->stored_count] = *last;
    *last = ++c->stored_count;
    return true;
}

static bool in_segment(struct checker *c, const struct tsp_instr *i)
{
    const struct tsp_segment *s = &c->p->segments[i->segment];
    if ((uint64_t)i->addr + (uint64_t)(i->n - 1u) * i->step >= s->words)
        return check_fail(c, TSP_BAD_ADDRESS, "word %u of %u", i->addr + (i->n - 1u) * i->step,
                          s->words);
    return true;
}

/* What was written earlier in the program, word for word. */
static bool read_back(struct checker *c, const struct tsp_instr *i, struct fact *f)
{
    const struct stored *s = NULL;
    uint32_t k;
    for (k = 0; k < i->n; k++) {
        uint32_t addr = i->addr + k * i->step;
        if (!s || addr < s->addr || addr >= s->addr + s->n)
            s = find_stored(c, i->chip, i->unit, i->segment, addr, 1);
        if (!s ||
            s->cycle + (uint64_t)(addr - s->addr) * s->stride >= i->cycle + (uint64_t)k * i->stride)
            return check_fail(c, TSP_UNWRITTEN, "word %u", addr);
        if (!k) {
            *f = s->fact;
            f->step += addr - s->addr;
        }
        if (s->fact.kind != f->kind || s->fact.matrix != f->matrix || s->fact.job != f->job ||
            s->fact.b != f->b ||
            (f->kind == F_RESULT && s->fact.step + addr - s->addr != f->step + k))
            return check_wrong(c, "words of different things");
    }
    return true;
}

/* What lies there at the start, by slice. */
static bool read_given(struct checker *c, const struct tsp_instr *i, struct fact *f)
{
    const struct tsp_segment *s = &c->p->segments[i->segment];
    uint32_t local = i->unit % (c->t->mem_slices / 2), groups = c->p->matrices[0].groups;
    uint32_t first = s->kind == TSP_SEG_X       ? X_AT
                     : s->kind == TSP_SEG_TOKEN ? TOKEN_AT
                     : s->kind == TSP_SEG_STORE ? X_AT
                     : s->kind == TSP_SEG_BIAS  ? BIAS_AT
                                                : SCALE_AT;
    uint32_t slices = s->kind == TSP_SEG_X || s->kind == TSP_SEG_STORE ? 2 : 4;
    bool once = s->kind == TSP_SEG_SCALE || s->kind == TSP_SEG_BIAS;
    if (local < first || local >= first + slices ||
        (i->n > 1 && i->step != (once                   ? 0
                                 : s->kind == TSP_SEG_X ? groups
                                                        : 1u)))
        return check_fail(c, TSP_BAD_ADDRESS, "no such data in slice %u", i->unit);
    local -= first;
    f->matrix = s->matrix;
    f->step = i->addr;
    switch (s->kind) {
    case TSP_SEG_STORE:
        f->kind = F_STORED;
        f->a = (uint8_t)(i->addr / TABLE_WORDS);
        f->b = (uint8_t)local;
        f->step = i->addr % TABLE_WORDS;
        return f->step + i->n <= TABLE_WORDS ||
               check_fail(c, TSP_BAD_ADDRESS, "beyond a table at word %u", i->addr);
    case TSP_SEG_X:
        f->kind = F_X;
        f->a = (uint8_t)local;
        f->matrix = 0;
        f->job = i->addr % groups;
        f->step = i->addr / groups;
        return true;
    case TSP_SEG_TOKEN:
        f->kind = F_TOKEN;
        f->matrix = 0;
        break;
    default:
        f->kind = s->kind == TSP_SEG_SCALE ? F_SCALE : F_BIAS;
        f->job = i->addr;
        f->step = 0;
    }
    f->b = (uint8_t)local;
    return true;
}

bool check_read(struct checker *c, const struct tsp_instr *i)
{
    const struct tsp_segment *s = &c->p->segments[i->segment];
    struct fact f = {0};
    bool ok;
    if (!in_segment(c, i))
        return false;
    switch (s->kind) {
    case TSP_SEG_CODES:
    case TSP_SEG_BYTES:
        ok = check_words(c, i, &f) || check_fail(c, TSP_BAD_ADDRESS, "no weights of one job");
        break;
    case TSP_SEG_RESULT:
    case TSP_SEG_TEMP:
        ok = read_back(c, i, &f);
        break;
    case TSP_SEG_INPUT:
        f.kind = F_WORK;
        f.b = (uint8_t)(i->unit % 4);
        ok = true;
        break;
    case TSP_SEG_TABLE:
        ok = check_fail(c, TSP_BAD_ADDRESS, "tables are looked up, not read");
        break;
    default:
        ok = read_given(c, i, &f);
    }
    return ok && check_put(c, i, f, 1);
}

static struct check_table *table_of(const struct checker *c, const struct tsp_instr *i,
                                    uint32_t part)
{
    return &c->tables[2 * (i->chip * c->t->mem_slices + i->unit) + part];
}

bool check_gather(struct checker *c, const struct tsp_instr *i)
{
    struct check_table *t;
    struct fact f;
    uint32_t part = i->addr / TABLE_WORDS, end = i->cycle + (i->n - 1u) * i->stride;
    if (i->n > 1 && i->stride < c->t->lanes / c->t->gather_lanes)
        return check_fail(c, TSP_GATHER_RATE, "every %u cycles", i->stride);
    if (!check_get(c, i, i->in[0], &f))
        return false;
    if (f.kind != F_RAW && f.kind != F_EIGHTH)
        return check_wrong(c, "not codes");
    if (c->p->segments[i->segment].kind != TSP_SEG_TABLE || i->addr % TABLE_WORDS ||
        i->imm != TABLE_WORDS - 1 || part >= c->p->matrices[f.matrix].parts)
        return check_fail(c, TSP_BAD_ADDRESS, "word %u is not the first of a table", i->addr);
    t = table_of(c, i, part);
    if (!t->filled || t->matrix != f.matrix || t->ready >= i->cycle)
        return check_fail(c, TSP_WRONG_TABLE, "matrix %u, part %u", f.matrix, part);
    t->used = end > t->used ? end : t->used;
    f.c = f.kind == F_RAW ? f.a : 7;
    f.kind = F_WEIGHT;
    f.a = (uint8_t)part;
    f.b = t->half;
    return check_put(c, i, f, 1);
}

bool check_write(struct checker *c, const struct tsp_instr *i)
{
    const struct tsp_segment *s = &c->p->segments[i->segment];
    struct check_table *t;
    struct fact f;
    if (!in_segment(c, i) || !check_get(c, i, i->in[0], &f))
        return false;
    if (i->step != 1)
        return check_fail(c, TSP_BAD_ADDRESS, "words %u apart", i->step);
    if (s->kind == TSP_SEG_RESULT)
        return f.kind == F_RESULT ? store(c, i, f) : check_wrong(c, "not a result");
    if (s->kind == TSP_SEG_TEMP)
        return f.kind == F_WORK ? store(c, i, f) : check_wrong(c, "not vector work");
    if (s->kind != TSP_SEG_TABLE)
        return check_fail(c, TSP_BAD_ADDRESS, "a place that is not written to");
    if (f.kind != F_STORED || f.a != i->addr / TABLE_WORDS || f.step != i->addr % TABLE_WORDS)
        return check_wrong(c, "not the words of this table");
    t = table_of(c, i, f.a);
    if (t->filled && t->used >= i->cycle)
        return check_fail(c, TSP_WRONG_TABLE, "it is still looked up");
    *t = (struct check_table){f.matrix, f.b, i->n == TABLE_WORDS,
                              i->cycle + (i->n - 1u) * i->stride, 0};
    return true;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

/* A result segment is there once; -1: this is no product. */
static int result_segment(const struct tsp_program *p)
{
    uint32_t i;
    for (i = 0; i < p->segment_count; i++)
        if (p->segments[i].kind == TSP_SEG_RESULT)
            return (int)i;
    return -1;
}

static bool block_is_there(struct checker *c, uint32_t chip, uint32_t all, uint32_t matrix,
                           uint32_t block)
{
    const struct tsp_place *r = &c->p->results[all];
    uint32_t k, n;
    for (k = 0; k < 4; k++)
        for (n = 0; n < c->p->tokens; n++) {
            const struct stored *s =
                r->slice + k < c->t->mem_slices
                    ? find_stored(c, chip, r->slice + k, (uint32_t)result_segment(c->p),
                                  r->addr + n, 1)
                    : NULL;
            if (!s || s->fact.matrix != matrix || s->fact.job != block || s->fact.b != k ||
                s->fact.step + (r->addr + n - s->addr) != n)
                return check_fail(c, TSP_NO_RESULT,
                                  "matrix %u, block %u, byte %u, token %u on chip %u", matrix,
                                  block, k, n, chip);
        }
    return true;
}

static bool work_is_there(struct checker *c)
{
    uint32_t i, k;
    for (i = 0; i < c->p->segment_count; i++) {
        bool found = c->p->segments[i].kind != TSP_SEG_TEMP;
        for (k = 0; k < c->stored_count && !found; k++)
            found = c->stored[k].segment == i && !c->stored[k].addr &&
                    c->stored[k].n >= c->p->segments[i].words;
        if (!found)
            return check_fail(c, TSP_NO_RESULT, "segment %u", i);
    }
    return true;
}

bool check_results(struct checker *c)
{
    uint32_t chip, i, b, all;
    for (chip = 0; chip < c->p->chips; chip++)
        for (i = 0, all = 0; i < c->p->matrix_count; i++)
            for (b = 0; b < c->p->matrices[i].blocks; b++, all++)
                if (!block_is_there(c, chip, all, i, b))
                    return false;
    return work_is_there(c);
}
