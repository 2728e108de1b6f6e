/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "execute_impl.h"

#include <stdlib.h>
#include <string.h>

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

/* ---- words of memory ------------------------------------------------------------------------- */

static void constant(struct groq_exec *x, uint32_t value)
{
    memset(x->constant, (int)(value & 255u), x->lanes);
}

static void row_bytes(struct groq_exec *x, uint32_t matrix, uint32_t block, uint32_t byte,
                      const float *values)
{
    uint32_t l, size = x->p->tsp.plane_size, rows = x->a->mats[matrix]->rows;
    for (l = 0; l < x->lanes; l++) {
        uint32_t r = block * size + l;
        x->constant[l] =
            l < size && r < rows ? (uint8_t)(groq_bits_of(values[r]) >> (8 * byte)) : (uint8_t)0;
    }
}

/* One word of memory that is neither weights nor a table. */
const uint8_t *groq_exec_word(struct groq_exec *x, const struct tsp_instr *i, uint32_t addr)
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
                        ? groq_bits_of(x->a->token_scales[x->first + addr]) >> (8 * (t & 3))
                        : 0);
        return t < 4 ? x->constant : NULL;
    case TSP_SEG_RESULT:
        return x->results +
               (((size_t)i->chip * x->p->tsp.mem_slices + i->unit) * x->words + addr) * x->lanes;
    default:
        return NULL;
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
            y[r] = groq_float_of(from[l] | (uint32_t)from[next + l] << 8 |
                                 (uint32_t)from[2 * next + l] << 16 |
                                 (uint32_t)from[3 * next + l] << 24);
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
        const char *wrong = groq_exec_step(x, in);
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
