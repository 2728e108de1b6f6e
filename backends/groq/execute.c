/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "execute.h"

#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "q35/arith.h"

/* Bursts that a stream remembers, by slot. What is under way on one began within the fewer cycles
 * that it takes to pass the chip; on a link, within hop_cycles, and no two closer than a vector. */
#define KEPT 64u

/* What one instruction put on a stream: n vectors, in slots stride apart. */
struct burst {
    int64_t slot;
    uint32_t n, stride;
    uint8_t *data; /* [n][width * lanes] */
    uint64_t room;
};

struct lane_fifo {
    struct burst kept[KEPT];
};

struct plane {
    int8_t *weights[3]; /* [size][lanes]: two buffers, then what is installed */
    uint32_t *sums;     /* [acc_vectors][size] */
};

struct groq_exec {
    struct lane_fifo *streams; /* [chips][2 * streams + alus + links] */
    uint32_t stream_count, per_chip;
    struct plane *planes; /* [chips][planes] */
    uint32_t plane_count;
    uint8_t *tables;   /* [chips][slices][256]: all lanes of a word hold the same */
    uint8_t *results;  /* [chips][slices][words][lanes] */
    uint8_t *x;        /* [2][tokens * groups][lanes] */
    uint8_t *constant; /* one vector */
    uint32_t lanes, words;
    const struct tsp_program *p;
    const struct groq_map *map;
    const struct groq_image *const *images;
    const struct q35_matmul_args *a;
    uint32_t first;
    uint32_t chips; /* what the arrays were made for */
    uint64_t made[4];
};

struct groq_exec *groq_exec_create(void)
{
    return calloc(1, sizeof(struct groq_exec));
}

static void release(struct groq_exec *x)
{
    uint32_t i, k;
    for (i = 0; x->streams && i < x->stream_count; i++)
        for (k = 0; k < KEPT; k++)
            free(x->streams[i].kept[k].data);
    for (i = 0; x->planes && i < x->plane_count; i++) {
        for (k = 0; k < 3; k++)
            free(x->planes[i].weights[k]);
        free(x->planes[i].sums);
    }
    free(x->streams);
    free(x->planes);
    free(x->tables);
    free(x->results);
    free(x->x);
    free(x->constant);
    memset(x, 0, sizeof(*x));
}

void groq_exec_destroy(struct groq_exec *x)
{
    if (x)
        release(x);
    free(x);
}

static bool make_planes(struct groq_exec *x, const struct tsp *t)
{
    uint32_t i, k;
    x->planes = calloc(x->plane_count + 64, sizeof(*x->planes));
    for (i = 0; x->planes && i < x->plane_count; i++) {
        for (k = 0; k < 3; k++)
            if (!(x->planes[i].weights[k] = calloc(t->plane_size, x->lanes)))
                return false;
        x->planes[i].sums = calloc((size_t)t->acc_vectors * t->plane_size, sizeof(uint32_t));
        if (!x->planes[i].sums)
            return false;
    }
    return x->planes != NULL;
}

static uint32_t result_words(const struct tsp_program *p)
{
    uint32_t i, blocks = 0;
    for (i = 0; i < p->matrix_count; i++)
        blocks += p->matrices[i].blocks;
    return (blocks + 7) / 8 * p->tokens;
}

/* Memories for this program; kept if the last one was as large. */
static bool prepare(struct groq_exec *x, const struct tsp_program *p,
                    const struct groq_image *const *images)
{
    const struct tsp *t = &p->tsp;
    uint32_t i, lanes = 64, words = result_words(p);
    uint64_t x_words = (uint64_t)p->tokens * p->matrices[0].groups;
    for (i = 0; i < p->matrix_count; i++) {
        uint32_t rows = p->matrices[i].rows < t->plane_size ? p->matrices[i].rows : t->plane_size;
        lanes = images[i]->lanes > lanes ? images[i]->lanes : lanes;
        lanes = rows > lanes ? rows : lanes;
    }
    if (!x->streams || x->chips != p->chips || x->lanes < lanes || x->made[0] < words ||
        x->made[1] < x_words) {
        release(x);
        x->chips = p->chips;
        x->lanes = lanes;
        x->made[0] = words;
        x->made[1] = x_words;
        x->per_chip = 2 * t->streams + t->vxm_alus + t->links;
        x->stream_count = x->per_chip * p->chips;
        x->plane_count = p->chips * t->planes;
        x->streams = calloc(x->stream_count, sizeof(*x->streams));
        x->tables = calloc((size_t)p->chips * t->mem_slices, 256);
        x->results = calloc((size_t)p->chips * t->mem_slices * words, lanes);
        x->x = calloc(2 * x_words, lanes);
        x->constant = calloc(1, 2048); /* lanes are at most 1024 */
        if (!make_planes(x, t) || !x->streams || !x->tables || !x->results || !x->x ||
            !x->constant) {
            release(x);
            return false;
        }
    }
    for (i = 0; i < x->stream_count; i++) {
        uint32_t k;
        for (k = 0; k < KEPT; k++)
            x->streams[i].kept[k].n = 0;
    }
    x->words = (uint32_t)x->made[0];
    return true;
}

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

static void constant(struct groq_exec *x, uint32_t value)
{
    memset(x->constant, (int)(value & 255u), x->lanes);
}

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static void row_bytes(struct groq_exec *x, uint32_t matrix, uint32_t block, uint32_t byte,
                      const float *values)
{
    uint32_t l, size = x->p->tsp.plane_size, rows = x->a->mats[matrix]->rows;
    for (l = 0; l < x->lanes; l++) {
        uint32_t r = block * size + l;
        x->constant[l] =
            l < size && r < rows ? (uint8_t)(bits_of(values[r]) >> (8 * byte)) : (uint8_t)0;
    }
}

/* One word of memory that is neither weights nor a table. */
static const uint8_t *word(struct groq_exec *x, const struct tsp_instr *i, uint32_t addr)
{
    const struct tsp_segment *s = &x->p->segments[i->segment];
    uint32_t local = i->unit % (x->p->tsp.mem_slices / 2), t;
    const struct q35_matrix *m = x->a->mats[s->matrix];
    if (addr >= s->words)
        return NULL;
    switch (s->kind) {
    case TSP_SEG_STORE:
        t = local - GROQ_X_SLICE + 2 * (addr / 128);
        addr %= 128;
        constant(x, t == 0   ? (uint32_t)m->tables->a0[addr]
                    : t == 1 ? (uint32_t)m->tables->a1[addr]
                    : t == 2 ? 8u * (m->tables->b[addr] >> 4)
                             : 8u * (m->tables->b[addr] & 15u));
        return local >= GROQ_X_SLICE ? x->constant : NULL;
    case TSP_SEG_X:
        t = local - GROQ_X_SLICE;
        return t < 2 ? x->x + ((uint64_t)t * x->made[1] + addr) * x->lanes : NULL;
    case TSP_SEG_SCALE:
    case TSP_SEG_BIAS:
        t = local - (s->kind == TSP_SEG_SCALE ? GROQ_SCALE_SLICE : GROQ_BIAS_SLICE);
        if (t < 4)
            row_bytes(x, s->matrix, addr, t, s->kind == TSP_SEG_SCALE ? m->scales : m->bias);
        return t < 4 ? x->constant : NULL;
    case TSP_SEG_TOKEN:
        t = local - GROQ_TOKEN_SLICE;
        constant(x, x->first + addr < x->a->n_tokens
                        ? bits_of(x->a->token_scales[x->first + addr]) >> (8 * (t & 3))
                        : 0);
        return t < 4 ? x->constant : NULL;
    case TSP_SEG_RESULT:
        return x->results +
               (((size_t)i->chip * x->p->tsp.mem_slices + i->unit) * x->words + addr) * x->lanes;
    default:
        return NULL;
    }
}

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
        from = word(x, i, i->addr + k * i->step);
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

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
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
            a[l] = bits_of((float)(int32_t)a[l]);
        break;
    case TSP_FMUL:
        for (l = 0; l < lanes; l++)
            a[l] = bits_of(float_of(a[l]) * float_of(b[l]));
        break;
    default:
        for (l = 0; l < lanes; l++)
            a[l] = bits_of(float_of(a[l]) + float_of(b[l]));
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

static const char *step(struct groq_exec *x, const struct tsp_instr *i)
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

/* ---- in and out --------------------------------------------------------------------------------
 */

/* x: word t * groups + g of half h: lane 64 k + j is column 64 * weights * tile + 64 h + j. */
static void set_x(struct groq_exec *x)
{
    const struct tsp_matrix *m = &x->p->matrices[0];
    uint32_t t, tile, h, per = x->p->tsp.plane_size / 64;
    memset(x->x, 0, 2 * x->made[1] * x->lanes);
    for (t = 0; t < x->p->tokens && x->first + t < x->a->n_tokens; t++)
        for (tile = 0; tile < m->tiles; tile++)
            for (h = 0; h < m->weights; h++) {
                uint64_t w = h * x->made[1] + (uint64_t)t * m->groups + tile / per;
                memcpy(x->x + w * x->lanes + 64 * (tile % per),
                       x->a->q + (uint64_t)(x->first + t) * x->a->cols_padded +
                           64u * m->weights * tile + 64 * h,
                       64);
            }
}

/* Rows of a block from the memory of chip 0. */
static void get_block(struct groq_exec *x, uint32_t mi, uint32_t block, uint32_t all)
{
    const struct tsp_job *j =
        &x->p->jobs[x->p->matrices[mi].first_job + block * x->p->matrices[mi].groups];
    uint32_t rows = x->a->mats[mi]->rows, k, l, r;
    const struct tsp_place *at = &x->p->results[all];
    for (k = 0; k < x->p->tokens && x->first + k < x->a->n_tokens; k++) {
        float *y = x->a->y[mi] + (uint64_t)(x->first + k) * x->a->y_stride[mi];
        const uint8_t *from = x->results + ((size_t)at->slice * x->words + at->addr + k) * x->lanes;
        size_t next = (size_t)x->words * x->lanes;
        for (l = 0; l < j->rows && (r = j->row + l) < rows; l++)
            y[r] =
                float_of(from[l] | (uint32_t)from[next + l] << 8 |
                         (uint32_t)from[2 * next + l] << 16 | (uint32_t)from[3 * next + l] << 24);
    }
}

enum q35_status groq_execute(struct groq_exec *x, const struct tsp_program *p,
                             const struct groq_map *map, const struct groq_image *const *images,
                             const struct q35_matmul_args *a, uint32_t first, struct q35_error *err)
{
    uint32_t i, b, all = 0;
    if (!prepare(x, p, images))
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory to simulate a product");
    x->p = p;
    x->map = map;
    x->images = images;
    x->a = a;
    x->first = first;
    set_x(x);
    for (i = 0; i < p->count; i++) {
        const struct tsp_instr *in = &p->instrs[i];
        const char *wrong = step(x, in);
        if (wrong)
            return q35_soft_fail(err, Q35_E_INTERNAL, "cycle %u, chip %u, %s %u, %s: %s", in->cycle,
                                 in->chip, tsp_unit_name(in->kind), in->unit, tsp_op_name(in->op),
                                 wrong);
    }
    for (i = 0; i < p->matrix_count; i++)
        for (b = 0; b < p->matrices[i].blocks; b++)
            get_block(x, i, b, all++);
    return Q35_OK;
}
