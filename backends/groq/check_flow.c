/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What streams carry and planes hold, followed from instruction to instruction. */

#include <string.h>

#include "check_impl.h"

/* ---- streams ----------------------------------------------------------------------------------
 */

static uint64_t trace_key(uint32_t chip, uint32_t stream, int64_t slot)
{
    return (uint64_t)chip << 48 | (uint64_t)stream << 36 | (uint64_t)(slot + 4096);
}

static struct trace *slot_of(const struct checker *c, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    uint32_t at = (uint32_t)(h >> 32) & c->trace_mask;
    while (c->traces[at].n && c->traces[at].key != key)
        at = (at + 1) & c->trace_mask;
    return &c->traces[at];
}

static bool leave(struct checker *c, const struct tsp_instr *i, uint32_t chip, uint32_t stream,
                  int64_t slot, uint32_t source, struct fact f)
{
    struct trace *t = slot_of(c, trace_key(chip, stream, slot));
    if (++c->trace_count > c->trace_mask - c->trace_mask / 8)
        return check_fail(c, TSP_CHECK_NOMEM, "too many values");
    *t = (struct trace){trace_key(chip, stream, slot), f, i->n, i->stride, source, 1};
    return true;
}

static bool is_chain(const struct checker *c, uint32_t stream)
{
    return stream >= 2 * c->t->streams;
}

/* The output: bytes of one fact on adjacent streams, or a whole word in a chain. */
bool check_put(struct checker *c, const struct tsp_instr *i, struct fact f, uint32_t width)
{
    int64_t at = (int64_t)i->cycle + tsp_latency(c->t, i->op);
    uint32_t k, way;
    if (i->out == TSP_NO_STREAM)
        return check_fail(c, TSP_NO_SUCH_STREAM, "no output");
    if (is_chain(c, i->out))
        return leave(c, i, i->chip, i->out, at, 0, f);
    way = check_way(c->t, i->out >= c->t->streams, i);
    for (k = 0; k < width; k++) {
        if (width > 1)
            f.b = (uint8_t)k;
        if (!leave(c, i, i->chip, i->out + k, at - way, way, f))
            return false;
    }
    return true;
}

/* What passes the unit on a stream, all through the burst. */
bool check_get(struct checker *c, const struct tsp_instr *i, uint32_t stream, struct fact *f)
{
    uint32_t way = is_chain(c, stream) ? 1 : check_way(c->t, stream >= c->t->streams, i);
    const struct trace *t;
    if (stream == TSP_NO_STREAM)
        return check_fail(c, TSP_NO_SUCH_STREAM, "an operand is missing");
    t = slot_of(
        c, trace_key(i->chip, stream, is_chain(c, stream) ? i->cycle : (int64_t)i->cycle - way));
    if (!t->n || t->n < i->n || (t->stride != i->stride && i->n > 1) || t->source >= way)
        return check_fail(c, TSP_LATE_OPERAND, "stream %u", stream);
    *f = t->fact;
    return true;
}

/* A word of four bytes, low one first, of those that the mask keeps. */
static bool get_wide(struct checker *c, const struct tsp_instr *i, uint32_t stream, struct fact *f)
{
    struct fact part;
    uint32_t k;
    if (!check_get(c, i, stream, f))
        return false;
    for (k = 0; k < 4 && !is_chain(c, stream); k++) {
        if (!check_get(c, i, stream + k, &part))
            return false;
        if (part.b != k || part.kind != f->kind || part.matrix != f->matrix || part.job != f->job ||
            part.step != f->step || part.a != f->a || part.c != f->c)
            return check_fail(c, TSP_WRONG_OPERAND, "byte %u of a word", k);
    }
    f->b = 0;
    return true;
}

bool check_wrong(struct checker *c, const char *what)
{
    return check_fail(c, TSP_WRONG_OPERAND, "%s", what);
}

/* ---- planes ------------------------------------------------------------------------------------
 */

static bool flow_load(struct checker *c, const struct tsp_instr *i)
{
    uint32_t plane = i->unit / 16, k, width, end = i->cycle + (i->n - 1u) * i->stride;
    const struct tsp_matrix *m;
    const struct tsp_job *j;
    struct held *h;
    struct fact f;
    if (!check_get(c, i, i->in[0], &f))
        return false;
    if (f.kind != F_WEIGHT)
        return check_wrong(c, "not weights");
    if (i->imm >= c->t->weight_buffers)
        return check_fail(c, TSP_BAD_ADDRESS, "buffer %u", i->imm);
    j = &c->p->jobs[f.job];
    m = &c->p->matrices[f.matrix];
    width = m->packed ? 8 : j->members / m->halves;
    if (j->chip != i->chip || plane / 2 != j->hemisphere ||
        plane % 2 != (m->halves == 2 ? f.b : j->group & 1))
        return check_wrong(c, "weights of another plane");
    if (i->addr != width * f.step + f.c || (i->n > 1 && i->step != width))
        return check_fail(c, TSP_BAD_COLUMN, "column %u for row %u", i->addr, width * f.step + f.c);
    h = &c->planes[i->chip * c->t->planes + plane].buffer[i->imm];
    if (h->used && (h->job != f.job || h->part != f.a))
        return check_fail(c, TSP_BUFFER_LOST, "buffer %u", i->imm);
    if (!h->used) {
        memset(h->column, 0, c->t->plane_size);
        h->used = true;
        h->count = h->end = 0;
        h->job = f.job;
        h->part = f.a;
    }
    for (k = 0; k < i->n; k++) {
        uint32_t column = i->addr + k * width;
        if (column >= j->rows)
            continue;
        if (h->column[column])
            return check_fail(c, TSP_BUFFER_LOST, "column %u again", column);
        h->column[column] = 1;
        h->count++;
    }
    h->end = end > h->end ? end : h->end;
    return true;
}

static bool flow_install(struct checker *c, const struct tsp_instr *i)
{
    struct check_plane *p = &c->planes[i->chip * c->t->planes + i->unit];
    struct held *h;
    if (i->imm >= c->t->weight_buffers)
        return check_fail(c, TSP_BAD_ADDRESS, "buffer %u", i->imm);
    h = &p->buffer[i->imm];
    if (!h->used || h->count != c->p->jobs[h->job].rows || h->end >= i->cycle)
        return check_fail(c, TSP_NOT_LOADED, "%u columns", h->used ? h->count : 0);
    p->installed.job = h->job;
    p->installed.part = h->part;
    p->installed.used = true;
    h->used = false;
    return true;
}

static bool overlaps(const struct sums *s, const struct tsp_instr *i)
{
    return s->live && i->addr < s->addr + s->n && s->addr < i->addr + i->n;
}

static struct sums *begin_sums(struct checker *c, struct check_plane *p, const struct tsp_instr *i)
{
    struct sums *empty = NULL;
    uint32_t k;
    for (k = 0; k < CHECK_SUMS; k++) {
        if (overlaps(&p->sums[k], i)) {
            check_fail(c, TSP_SUMS_LOST, "sums %u + %u", i->addr, i->n);
            return NULL;
        }
        if (!p->sums[k].live)
            empty = &p->sums[k];
    }
    if (!empty)
        check_fail(c, TSP_SUMS_LOST, "too many at once");
    return empty;
}

static bool flow_dot(struct checker *c, const struct tsp_instr *i)
{
    struct check_plane *p = &c->planes[i->chip * c->t->planes + i->unit];
    const struct tsp_job *j = &c->p->jobs[p->installed.job];
    const struct tsp_matrix *m = &c->p->matrices[j->matrix];
    uint32_t block = j->row / c->t->plane_size, k;
    struct sums *s = NULL;
    struct fact f;
    if (!p->installed.used)
        return check_fail(c, TSP_NOT_LOADED, "nothing is installed");
    if (!check_get(c, i, i->in[0], &f))
        return false;
    if (f.kind != F_X || f.job != j->group || f.step || i->n != c->p->tokens ||
        f.a != (m->halves == 2 ? i->unit % 2 : 0))
        return check_wrong(c, "not the activations of this group");
    if (i->addr + i->n > c->t->acc_vectors)
        return check_fail(c, TSP_SUMS_LOST, "sums %u + %u of %u", i->addr, i->n, c->t->acc_vectors);
    if (i->imm) {
        s = begin_sums(c, p, i);
        if (!s)
            return false;
        *s = (struct sums){.addr = i->addr,
                           .n = i->n,
                           .matrix = j->matrix,
                           .block = block,
                           .part = p->installed.part,
                           .groups = 1,
                           .last_group = j->group,
                           .last = i->cycle,
                           .live = true};
        return true;
    }
    for (k = 0; k < CHECK_SUMS && !s; k++)
        if (p->sums[k].live && p->sums[k].addr == i->addr && p->sums[k].n == i->n)
            s = &p->sums[k];
    if (!s || s->matrix != j->matrix || s->block != block || s->part != p->installed.part ||
        s->last_group >= j->group)
        return check_wrong(c, "sums of something else");
    s->groups++;
    s->last_group = j->group;
    s->last = i->cycle;
    return true;
}

static bool flow_emit(struct checker *c, const struct tsp_instr *i)
{
    struct check_plane *p = &c->planes[i->chip * c->t->planes + i->unit];
    struct sums *s = NULL;
    struct fact f = {.kind = F_SUM};
    uint32_t k, groups, plane = i->unit % 2;
    for (k = 0; k < CHECK_SUMS; k++)
        if (p->sums[k].live && i->addr >= p->sums[k].addr &&
            i->addr + i->n <= p->sums[k].addr + p->sums[k].n)
            s = &p->sums[k];
    if (!s)
        return check_fail(c, TSP_SUMS_EARLY, "no sums there");
    groups = c->p->matrices[s->matrix].groups;
    if (c->p->matrices[s->matrix].halves == 1)
        groups = (groups + 1 - plane) / 2;
    f.step = i->addr - s->addr;
    if (s->groups != groups || s->last + f.step + c->t->mxm_latency > i->cycle || i->stride != 1)
        return check_fail(c, TSP_SUMS_EARLY, "%u of %u groups", s->groups, groups);
    s->emitted += i->n; /* in any order: results are checked one by one */
    s->live = s->emitted < s->n;
    f.matrix = (uint16_t)s->matrix;
    f.job = s->block;
    f.a = (uint8_t)(1u << (2 * s->part + plane));
    return check_put(c, i, f, 4);
}

/* ---- vectors ------------------------------------------------------------------------------------
 */

static bool flow_rotate(struct checker *c, const struct tsp_instr *i)
{
    struct fact f;
    if (i->imm != 4)
        return check_fail(c, TSP_BAD_OP, "%u streams", i->imm);
    if (!get_wide(c, i, i->in[0], &f))
        return false;
    if (f.kind == F_SUM && !f.c)
        f.c = 1;
    else if (f.kind != F_WORK)
        return check_wrong(c, "not sums");
    return check_put(c, i, f, 4);
}

/* B is one row down, A is not; c 2: both, added up. */
static bool in_place(const struct fact *f)
{
    bool a = f->a & 3, b = f->a & 12;
    return f->c == (a && b ? 2 : b ? 1 : 0);
}

static bool same(const struct fact *a, const struct fact *b)
{
    return a->matrix == b->matrix && a->job == b->job && a->step == b->step;
}

static bool flow_and(struct checker *c, const struct tsp_instr *i)
{
    uint32_t first = i->imm == 0x80808080u ? 0 : 4, n = first ? 3 : 4, k;
    struct fact f = {0}, part;
    if (i->imm != 0x80808080u && i->imm != 0x00808080u)
        return check_wrong(c, "not the mask of the eighth code");
    for (k = 0; k < n; k++) {
        if (!check_get(c, i, i->in[0] + k, &part))
            return false;
        if (part.kind != F_RAW || part.a != first + k || (k && !same(&part, &f)))
            return check_wrong(c, "not the bytes of one step");
        f = part;
    }
    f.kind = F_MASKED;
    f.a = first != 0;
    return check_put(c, i, f, 4);
}

static bool full(const struct tsp_matrix *m, uint32_t set)
{
    uint32_t planes = m->halves == 2 || m->groups > 1 ? 3 : 1;
    return set == (m->parts == 2 ? planes | planes << 2 : planes);
}

/* Operations of one operand. */
static bool flow_one(struct checker *c, const struct tsp_instr *i, struct fact f)
{
    switch (i->op) {
    case TSP_MUL:
        if (f.kind != F_MASKED || i->imm != 0x00204081u)
            return check_wrong(c, "not masked codes");
        f.kind = F_SPREAD;
        break;
    case TSP_SHIFT:
        if (f.kind != F_SPREAD || i->imm != (f.a ? 24u : 28u))
            return check_wrong(c, "not spread codes");
        f.kind = F_BITS;
        break;
    default:
        if (f.kind != F_SUM || !in_place(&f) || !full(&c->p->matrices[f.matrix], f.a))
            return check_wrong(c, "not complete sums");
        f.kind = F_FLOAT;
        f.a = f.c = 0;
    }
    return check_put(c, i, f, 4);
}

static bool flow_two(struct checker *c, const struct tsp_instr *i, struct fact f, struct fact g)
{
    bool fits = false;
    uint32_t width = 4;
    switch (i->op) {
    case TSP_OR:
        fits = f.kind == F_BITS && g.kind == F_BITS && !f.a && g.a && same(&f, &g);
        f.kind = F_EIGHTH;
        f.a = 7;
        width = 1;
        break;
    case TSP_ADD:
        fits = f.kind == F_SUM && g.kind == F_SUM && same(&f, &g) && !(f.a & g.a) && in_place(&f) &&
               in_place(&g);
        f.c = (f.a | g.a) & 3 ? ((f.a | g.a) & 12 ? 2 : 0) : 1;
        f.a |= g.a;
        break;
    case TSP_FMUL:
        if (f.kind == F_SCALE) {
            fits = g.kind == F_TOKEN;
            f.kind = F_BOTH;
            f.step = g.step;
        } else {
            fits = f.kind == F_FLOAT && g.kind == F_BOTH && same(&f, &g);
            f.kind = c->p->matrices[f.matrix].bias ? F_PLAIN : F_RESULT;
        }
        break;
    default:
        fits = f.kind == F_PLAIN && g.kind == F_BIAS && f.matrix == g.matrix && f.job == g.job;
        f.kind = F_RESULT;
    }
    return fits ? check_put(c, i, f, width) : check_wrong(c, "not two that belong together");
}

static bool flow_alu(struct checker *c, const struct tsp_instr *i)
{
    struct fact f, g;
    if (i->op == TSP_AND)
        return flow_and(c, i);
    if (!get_wide(c, i, i->in[0], &f))
        return false;
    if (i->op == TSP_WORK) {
        if (i->in[1] != TSP_NO_STREAM && !get_wide(c, i, i->in[1], &g))
            return false;
        return f.kind == F_WORK ? check_put(c, i, f, 4) : check_wrong(c, "not vector work");
    }
    if (i->op == TSP_MUL || i->op == TSP_SHIFT || i->op == TSP_FLOAT)
        return flow_one(c, i, f);
    return get_wide(c, i, i->in[1], &g) && flow_two(c, i, f, g);
}

/* Link l leads to the l-th of the other chips. */
static bool flow_link(struct checker *c, const struct tsp_instr *i)
{
    uint32_t peer = i->unit < i->chip ? i->unit : i->unit + 1u, gap = c->t->link_vector_cycles;
    uint32_t streams = 2 * c->t->streams + c->t->vxm_alus, *busy;
    struct trace *t;
    struct fact f;
    if (peer >= c->p->chips)
        return check_fail(c, TSP_BAD_LINK, "chip %u of %u", peer, c->p->chips);
    if (i->op == TSP_SEND) {
        uint32_t back = i->chip < peer ? i->chip : i->chip - 1u;
        busy = &c->sent[i->chip * c->t->links + i->unit];
        if (*busy > i->cycle || (i->n > 1 && i->stride < gap))
            return check_fail(c, TSP_BAD_LINK, "a vector takes %u cycles", gap);
        *busy = i->cycle + (i->n - 1u) * i->stride + gap;
        return check_get(c, i, i->in[0], &f) &&
               leave(c, i, peer, streams + back, (int64_t)i->cycle + c->t->hop_cycles + gap, 0, f);
    }
    t = slot_of(c, trace_key(i->chip, streams + i->unit, i->cycle));
    if (!t->n || t->n < i->n || (t->stride != i->stride && i->n > 1))
        return check_fail(c, TSP_NOT_SENT, "from chip %u", peer);
    return check_put(c, i, t->fact, 1);
}

bool check_flow(struct checker *c, const struct tsp_instr *i)
{
    switch (i->op) {
    case TSP_READ:
        return check_read(c, i);
    case TSP_GATHER:
        return check_gather(c, i);
    case TSP_WRITE:
        return check_write(c, i);
    case TSP_LOAD:
        return flow_load(c, i);
    case TSP_INSTALL:
        return flow_install(c, i);
    case TSP_DOT:
        return flow_dot(c, i);
    case TSP_EMIT:
        return flow_emit(c, i);
    case TSP_ROTATE:
        return flow_rotate(c, i);
    case TSP_SEND:
    case TSP_RECEIVE:
        return flow_link(c, i);
    default:
        return flow_alu(c, i);
    }
}
