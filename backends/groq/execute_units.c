/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What the units of a chip do, and what passes between them on streams. */

#include "execute_impl.h"

#include <stdlib.h>
#include <string.h>

#include "builder.h"

/* ---- streams --------------------------------------------------------------------------------- */

/* The slot of what passes a unit in a cycle; ALU outputs and links stay where they are. */
static int64_t slot_of(const struct groq_exec *x, const struct tsp_instr *i, uint32_t stream,
                       int64_t cycle)
{
    const struct tsp *t = &x->p->tsp;
    if (stream >= 2 * t->streams)
        return cycle;
    return cycle - builder_way(t, stream >= t->streams, i->kind, i->unit);
}

static struct burst *entry(struct groq_exec *x, uint32_t chip, uint32_t stream, int64_t slot)
{
    const struct tsp *t = &x->p->tsp;
    struct lane_fifo *f = &x->streams[(size_t)chip * x->per_chip + stream];
    if (stream >= 2 * t->streams + t->vxm_alus)
        slot /= t->link_vector_cycles;
    return &f->kept[(uint64_t)slot % KEPT];
}

/* Space for the output on one stream; NULL without memory. */
static uint8_t *put(struct groq_exec *x, uint32_t chip, uint32_t stream, int64_t slot, uint32_t n,
                    uint32_t stride, uint32_t width)
{
    struct burst *b = entry(x, chip, stream, slot);
    uint64_t bytes = (uint64_t)n * width * x->lanes;
    if (bytes > b->room) {
        uint64_t room = 4096;
        while (room < bytes)
            room *= 2;
        free(b->data);
        b->data = malloc(room);
        b->room = b->data ? room : 0;
    }
    b->slot = slot;
    b->n = b->data ? n : 0;
    b->stride = stride;
    return b->data;
}

static uint8_t *put_out(struct groq_exec *x, const struct tsp_instr *i, uint32_t k, uint32_t width)
{
    int64_t at = (int64_t)i->cycle + tsp_latency(&x->p->tsp, i->op);
    uint32_t stream = i->out + k;
    return put(x, i->chip, stream, slot_of(x, i, stream, at), i->n, i->stride, width);
}

/* What passes the unit on a stream while the instruction is issued; NULL: something else. */
static const uint8_t *get(struct groq_exec *x, const struct tsp_instr *i, uint32_t stream)
{
    int64_t slot = slot_of(x, i, stream, i->cycle);
    const struct burst *b = entry(x, i->chip, stream, slot);
    return b->n >= i->n && b->slot == slot && (b->stride == i->stride || i->n == 1) ? b->data
                                                                                    : NULL;
}

static bool is_chain(const struct groq_exec *x, uint32_t stream)
{
    return stream >= 2 * x->p->tsp.streams;
}

/* One int32 vector of an operand, `mask` telling which bytes matter. False: it is not there. */
struct wide {
    const uint8_t *byte[4];
    const uint32_t *whole;
};

static bool get_wide(struct groq_exec *x, const struct tsp_instr *i, uint32_t stream, uint32_t mask,
                     struct wide *w)
{
    uint32_t k;
    memset(w, 0, sizeof(*w));
    if (is_chain(x, stream)) {
        w->whole = (const uint32_t *)(const void *)get(x, i, stream);
        return w->whole != NULL;
    }
    for (k = 0; k < 4; k++)
        if (mask >> (8 * k) & 255u) {
            w->byte[k] = get(x, i, stream + k);
            if (!w->byte[k])
                return false;
        }
    return true;
}

static void read_wide(const struct groq_exec *x, const struct wide *w, uint32_t issue,
                      uint32_t *out)
{
    uint32_t l, k, lanes = x->lanes;
    if (w->whole) {
        memcpy(out, w->whole + (size_t)issue * lanes, lanes * sizeof(*out));
        return;
    }
    memset(out, 0, lanes * sizeof(*out));
    for (k = 0; k < 4; k++) {
        const uint8_t *b = w->byte[k] + (w->byte[k] ? (size_t)issue * lanes : 0);
        for (l = 0; w->byte[k] && l < lanes; l++)
            out[l] |= (uint32_t)b[l] << (8 * k);
    }
}

/* Where an ALU or plane leaves a vector of int32. */
struct wide_out {
    uint8_t *byte[4];
    uint32_t *whole;
};

static bool put_wide(struct groq_exec *x, const struct tsp_instr *i, uint32_t width,
                     struct wide_out *w)
{
    uint32_t k;
    memset(w, 0, sizeof(*w));
    if (is_chain(x, i->out)) {
        w->whole = (uint32_t *)(void *)put_out(x, i, 0, 4);
        return w->whole != NULL;
    }
    for (k = 0; k < width; k++)
        if (!(w->byte[k] = put_out(x, i, k, 1)))
            return false;
    return true;
}

static void write_wide(const struct groq_exec *x, const struct wide_out *w, uint32_t issue,
                       const uint32_t *v)
{
    uint32_t l, k, lanes = x->lanes;
    if (w->whole) {
        memcpy(w->whole + (size_t)issue * lanes, v, lanes * sizeof(*v));
        return;
    }
    for (k = 0; k < 4 && w->byte[k]; k++) {
        uint8_t *b = w->byte[k] + (size_t)issue * lanes;
        for (l = 0; l < lanes; l++)
            b[l] = (uint8_t)(v[l] >> (8 * k));
    }
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static const char *do_read(struct groq_exec *x, const struct tsp_instr *i)
{
    const struct tsp_segment *s = &x->p->segments[i->segment];
    uint8_t *out = put_out(x, i, 0, 1);
    uint32_t k, lanes = 0;
    const uint8_t *from;
    if (!out)
        return "no memory";
    if (s->kind == TSP_SEG_CODES || s->kind == TSP_SEG_BYTES) {
        from = groq_map_find(x->map, x->p, x->images, i, &lanes);
        for (k = 0; from && k < i->n; k++) {
            memcpy(out + (size_t)k * x->lanes, from + (size_t)k * lanes, lanes);
            memset(out + (size_t)k * x->lanes + lanes, 0, x->lanes - lanes);
        }
        return from ? NULL : "these words hold no weights of one job";
    }
    for (k = 0; k < i->n; k++) {
        from = groq_exec_word(x, i, i->addr + k * i->step);
        if (!from)
            return "nothing lies there";
        memcpy(out + (size_t)k * x->lanes, from, x->lanes);
    }
    return NULL;
}

static const char *do_gather(struct groq_exec *x, const struct tsp_instr *i)
{
    const uint8_t *map = get(x, i, i->in[0]), *table;
    uint8_t *out = put_out(x, i, 0, 1);
    size_t k, all = (size_t)i->n * x->lanes;
    if (!map || !out)
        return "no addresses on the stream";
    if (x->p->segments[i->segment].kind != TSP_SEG_TABLE || i->addr + i->imm >= 256)
        return "not a table";
    table = x->tables + ((size_t)i->chip * x->p->tsp.mem_slices + i->unit) * 256 + i->addr;
    for (k = 0; k < all; k++)
        out[k] = table[map[k] & i->imm];
    return NULL;
}

static const char *do_write(struct groq_exec *x, const struct tsp_instr *i)
{
    const struct tsp_segment *s = &x->p->segments[i->segment];
    const uint8_t *in = get(x, i, i->in[0]);
    size_t slice = (size_t)i->chip * x->p->tsp.mem_slices + i->unit;
    uint32_t k;
    if (!in)
        return "nothing to write on the stream";
    if (i->addr + (i->n - 1u) * i->step >= s->words)
        return "beyond its segment";
    for (k = 0; k < i->n; k++) {
        uint32_t addr = i->addr + k * i->step;
        if (s->kind == TSP_SEG_TABLE)
            x->tables[slice * 256 + addr] = in[(size_t)k * x->lanes];
        else if (s->kind == TSP_SEG_RESULT)
            memcpy(x->results + (slice * x->words + addr) * x->lanes, in + (size_t)k * x->lanes,
                   x->lanes);
        else
            return "not a place to write to";
    }
    return NULL;
}

/* ---- planes -----------------------------------------------------------------------------------
 */

static const char *do_load(struct groq_exec *x, const struct tsp_instr *i)
{
    struct plane *p = &x->planes[i->chip * x->p->tsp.planes + i->unit / 16];
    const uint8_t *in = get(x, i, i->in[0]);
    uint32_t k;
    if (!in)
        return "no weights on the stream";
    for (k = 0; k < i->n; k++) {
        uint32_t column = i->addr + k * i->step;
        if (column < x->p->tsp.plane_size)
            memcpy(p->weights[i->imm & 1] + (size_t)column * x->lanes, in + (size_t)k * x->lanes,
                   x->lanes);
    }
    return NULL;
}

static uint32_t dot(const int8_t *w, const int8_t *v, uint32_t n)
{
    int32_t sum = 0;
    uint32_t l;
    for (l = 0; l < n; l++)
        sum += w[l] * v[l];
    return (uint32_t)sum;
}

static const char *do_dot(struct groq_exec *x, const struct tsp_instr *i)
{
    const struct tsp *t = &x->p->tsp;
    struct plane *p = &x->planes[i->chip * t->planes + i->unit];
    const uint8_t *in = get(x, i, i->in[0]);
    uint32_t k, c, columns = t->plane_size < x->lanes ? t->plane_size : x->lanes;
    if (!in || i->addr + i->n > t->acc_vectors)
        return "no activations on the stream";
    for (k = 0; k < i->n; k++) {
        uint32_t *sums = p->sums + (size_t)(i->addr + k) * t->plane_size;
        const int8_t *v = (const int8_t *)in + (size_t)k * x->lanes;
        for (c = 0; c < columns; c++)
            sums[c] =
                (i->imm ? 0 : sums[c]) + dot(p->weights[2] + (size_t)c * x->lanes, v, x->lanes);
    }
    return NULL;
}

static const char *do_plane(struct groq_exec *x, const struct tsp_instr *i)
{
    const struct tsp *t = &x->p->tsp;
    struct plane *p = &x->planes[i->chip * t->planes + i->unit];
    struct wide_out out;
    int8_t *taken;
    uint32_t k;
    if (i->op == TSP_DOT)
        return do_dot(x, i);
    if (i->op == TSP_INSTALL) {
        taken = p->weights[i->imm & 1];
        p->weights[i->imm & 1] = p->weights[2];
        p->weights[2] = taken;
        return NULL;
    }
    if (i->addr + i->n > t->acc_vectors || !put_wide(x, i, 4, &out))
        return "no such sums";
    for (k = 0; k < i->n; k++) {
        uint32_t v[1024] = {0}, columns = t->plane_size < x->lanes ? t->plane_size : x->lanes;
        memcpy(v, p->sums + (size_t)(i->addr + k) * t->plane_size, columns * sizeof(*v));
        write_wide(x, &out, k, v);
    }
    return NULL;
}

/* ---- permutation, vector unit, links -----------------------------------------------------------
 */

static const char *do_rotate(struct groq_exec *x, const struct tsp_instr *i)
{
    uint32_t k, l, b;
    for (b = 0; b < i->imm; b++) {
        const uint8_t *in = get(x, i, i->in[0] + b);
        uint8_t *out = put_out(x, i, b, 1);
        if (!in || !out)
            return "nothing to permute on the stream";
        for (k = 0; k < i->n; k++)
            for (l = 0; l < x->lanes; l++)
                out[(size_t)k * x->lanes + l] =
                    in[(size_t)k * x->lanes + ((l & ~15u) | ((l - 1) & 15u))];
    }
    return NULL;
}

static void alu(const struct tsp_instr *i, uint32_t *a, const uint32_t *b, uint32_t lanes)
{
    uint32_t l, imm = i->imm;
    switch (i->op) {
    case TSP_AND:
        for (l = 0; l < lanes; l++)
            a[l] &= imm;
        break;
    case TSP_MUL:
        for (l = 0; l < lanes; l++)
            a[l] *= imm;
        break;
    case TSP_SHIFT:
        for (l = 0; l < lanes; l++)
            a[l] >>= imm & 31u;
        break;
    case TSP_OR:
        for (l = 0; l < lanes; l++)
            a[l] |= b[l];
        break;
    case TSP_ADD:
        for (l = 0; l < lanes; l++)
            a[l] += b[l];
        break;
    case TSP_FLOAT:
        for (l = 0; l < lanes; l++)
            a[l] = groq_bits_of((float)(int32_t)a[l]);
        break;
    case TSP_FMUL:
        for (l = 0; l < lanes; l++)
            a[l] = groq_bits_of(groq_float_of(a[l]) * groq_float_of(b[l]));
        break;
    default:
        for (l = 0; l < lanes; l++)
            a[l] = groq_bits_of(groq_float_of(a[l]) + groq_float_of(b[l]));
    }
}

static const char *do_alu(struct groq_exec *x, const struct tsp_instr *i)
{
    bool two = i->op == TSP_OR || i->op == TSP_ADD || i->op == TSP_FMUL || i->op == TSP_FADD;
    uint32_t a[1024], b[1024], k, mask = i->op == TSP_AND ? i->imm : UINT32_MAX;
    struct wide in[2];
    struct wide_out out;
    if (i->op == TSP_WORK)
        return "timing alone";
    if (!get_wide(x, i, i->in[0], mask, &in[0]) ||
        (two && !get_wide(x, i, i->in[1], UINT32_MAX, &in[1])))
        return "an operand is not on its stream";
    if (!put_wide(x, i, i->op == TSP_OR ? 1 : 4, &out))
        return "no memory";
    for (k = 0; k < i->n; k++) {
        read_wide(x, &in[0], k, a);
        if (two)
            read_wide(x, &in[1], k, b);
        alu(i, a, b, x->lanes);
        write_wide(x, &out, k, a);
    }
    return NULL;
}

/* Link l of a chip leads to the l-th other chip of the layer. */
static const char *do_link(struct groq_exec *x, const struct tsp_instr *i)
{
    const struct tsp *t = &x->p->tsp;
    uint32_t base = 2 * t->streams + t->vxm_alus;
    uint32_t peer = i->unit < i->chip ? i->unit : i->unit + 1u;
    uint32_t back = i->chip < peer ? i->chip : i->chip - 1u;
    size_t bytes = (size_t)i->n * x->lanes;
    const uint8_t *in = NULL;
    uint8_t *out;
    if (peer >= x->p->chips)
        return "this link leads nowhere";
    if (i->op == TSP_SEND) {
        in = get(x, i, i->in[0]);
        out = put(x, peer, base + back, (int64_t)i->cycle + t->hop_cycles + t->link_vector_cycles,
                  i->n, i->stride, 1);
    } else {
        const struct burst *b = entry(x, i->chip, base + i->unit, i->cycle);
        if (b->n == i->n && b->slot == (int64_t)i->cycle)
            in = b->data;
        out = put_out(x, i, 0, 1);
    }
    if (!in || !out)
        return "nothing on the link";
    memcpy(out, in, bytes);
    return NULL;
}

const char *groq_exec_step(struct groq_exec *x, const struct tsp_instr *i)
{
    switch (i->kind) {
    case TSP_U_READ:
        return i->op == TSP_READ ? do_read(x, i) : do_gather(x, i);
    case TSP_U_WRITE:
        return do_write(x, i);
    case TSP_U_LOAD:
        return do_load(x, i);
    case TSP_U_PLANE:
    case TSP_U_EMIT:
        return do_plane(x, i);
    case TSP_U_SXM:
        return do_rotate(x, i);
    case TSP_U_ALU:
        return do_alu(x, i);
    default:
        return do_link(x, i);
    }
}
