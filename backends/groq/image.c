/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Weights laid out as the slices of the chips hold them. */

#include <stdlib.h>
#include <string.h>

#include "execute.h"

/* Arrays are no smaller, as allocators keep small ones when they are freed. */
#define LEAST 136u

static uint32_t steps_of(const struct tsp_matrix *m, const struct tsp *t, uint32_t block)
{
    uint32_t rows = m->rows - block * t->plane_size;
    uint32_t width = m->packed ? 8 : GROQ_DECODED_WIDTH;
    rows = rows < t->plane_size ? rows : t->plane_size;
    return (rows + width - 1) / width;
}

static const uint8_t *tile_at(const struct q35_matrix *q, uint32_t tiles, uint32_t row, uint32_t k)
{
    return q->codes + ((uint64_t)(row / Q35_TILE_ROWS) * tiles + k) * Q35_TILE_BYTES;
}

/* out[member][step][lanes] of a block and the `n` tiles from tile k0 on: 8 rows in 7 bytes. */
static void pack(const struct groq_image *im, const struct q35_matrix *q, uint32_t row, uint32_t k0,
                 uint32_t n, uint32_t steps, uint8_t *out)
{
    uint32_t i, k, j, b;
    for (i = 0; i < steps; i++)
        for (k = 0; k < n; k++) {
            uint32_t r = row + 8 * i;
            const uint8_t *rows = tile_at(q, im->matrix.tiles, r, k0 + k) +
                                  (uint64_t)(r % Q35_TILE_ROWS) * Q35_ROW_BYTES;
            for (j = 0; j < Q35_TILE_CODES; j++) {
                uint32_t last = q35_code_get(rows + 7 * Q35_ROW_BYTES, j);
                for (b = 0; b < 7; b++)
                    out[((uint64_t)b * steps + i) * im->lanes + 64 * k + j] =
                        (uint8_t)(q35_code_get(rows + b * Q35_ROW_BYTES, j) | (last >> b & 1u)
                                                                                  << 7);
            }
        }
}

/* The same of int8 weights. Their 64 columns at a time are segments of the format's tiles, which
 * are `halves` to a tile, but for triple codes. */
static void unpack(const struct groq_image *im, const struct q35_matrix *q, uint32_t row,
                   uint32_t rows, uint32_t k0, uint32_t n, uint32_t steps, uint8_t *out)
{
    uint32_t halves = im->matrix.halves, parts = Q35_SCHEME_WEIGHTS(q->scheme);
    uint32_t tiles = q35_tiles_per_row(q->scheme, q->cols), r, s, decoded;
    int8_t w[Q35_MAX_TILE_COLS];
    for (r = 0; r < rows; r++) {
        decoded = UINT32_MAX;
        for (s = 0; s < n * halves; s++) { /* segments from k0 on */
            uint32_t from = k0 * halves + s;
            uint32_t member = s % halves * GROQ_DECODED_WIDTH + r % GROQ_DECODED_WIDTH;
            uint64_t step = (uint64_t)member * steps + r / GROQ_DECODED_WIDTH;
            if (from / parts != decoded)
                q35_decode_row(q->scheme, q->tables, tile_at(q, tiles, row + r, from / parts),
                               (row + r) % Q35_TILE_ROWS, w);
            decoded = from / parts;
            memcpy(out + step * im->lanes + 64 * (s / halves), w + 64 * (from % parts), 64);
        }
    }
}

static void fill(struct groq_image *im, const struct tsp *t, const struct q35_matrix *q)
{
    const struct tsp_matrix *m = &im->matrix;
    uint32_t b, g, tiles = t->plane_size / 64;
    for (b = 0; b < m->blocks; b++)
        for (g = 0; g < m->groups; g++) {
            uint32_t row = b * t->plane_size, k0 = g * tiles, steps = steps_of(m, t, b);
            uint32_t rows = m->rows - row < t->plane_size ? m->rows - row : t->plane_size;
            uint32_t n = m->tiles - k0 < tiles ? m->tiles - k0 : tiles;
            uint8_t *out = im->data + im->first[b * m->groups + g];
            if (m->packed)
                pack(im, q, row, k0, n, steps, out);
            else
                unpack(im, q, row, rows, k0, n, steps, out);
        }
}

enum q35_status groq_image_create(struct groq_image **out, const struct tsp *t,
                                  enum groq_weights weights, const struct q35_matrix *q,
                                  struct q35_error *err)
{
    struct groq_product g = {.mats = {{q->scheme, q->rows, q->cols, false}},
                             .n_mats = 1,
                             .tokens = 1,
                             .chips = 1,
                             .weights = weights};
    struct groq_image *im = calloc(1, sizeof(*im) + 8 * LEAST);
    struct tsp_program p;
    uint64_t bytes = 0;
    uint32_t i;
    enum q35_status st;
    *out = NULL;
    if (!im)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a matrix");
    st = groq_place_product(&p, t, &g, err);
    if (st) {
        free(im);
        return st;
    }
    im->matrix = p.matrices[0];
    im->lanes = 64 * (im->matrix.groups > 1 ? t->plane_size / 64 : im->matrix.tiles);
    im->first = malloc((p.job_count + LEAST) * sizeof(*im->first));
    for (i = 0; im->first && i < p.job_count; i++) {
        im->first[i] = bytes;
        bytes += (uint64_t)groq_job_members(&im->matrix) * p.jobs[i].steps * im->lanes;
    }
    tsp_program_free(&p);
    im->data = calloc(1, bytes < 8 * LEAST ? 8 * LEAST : bytes);
    if (!im->first || !im->data) {
        groq_image_destroy(im);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a matrix of %llu bytes",
                             (unsigned long long)bytes);
    }
    fill(im, t, q);
    *out = im;
    return Q35_OK;
}

void groq_image_destroy(struct groq_image *im)
{
    if (!im)
        return;
    free(im->data);
    free(im->first);
    free(im);
}

/* ---- the words of jobs ----------------------------------------------------------------------- */

struct word_run {
    uint64_t key; /* chip, slice, address of the first word */
    uint32_t job, member;
};

struct groq_map {
    struct word_run *runs; /* [count], ascending */
    uint32_t count;
};

static uint64_t key_of(uint32_t chip, uint32_t slice, uint32_t addr)
{
    return (uint64_t)chip << 48 | (uint64_t)slice << 32 | addr;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const struct word_run *)a)->key, y = ((const struct word_run *)b)->key;
    return x < y ? -1 : x > y;
}

struct groq_map *groq_map_create(const struct tsp_program *p)
{
    struct groq_map *m = calloc(1, sizeof(*m) + 8 * LEAST);
    uint32_t i, k;
    if (m)
        m->runs = malloc((p->place_count + LEAST) * sizeof(*m->runs));
    if (!m || !m->runs) {
        free(m);
        return NULL;
    }
    for (i = 0; i < p->job_count; i++) {
        const struct tsp_job *j = &p->jobs[i];
        for (k = 0; k < j->members; k++) {
            const struct tsp_place *at = &p->places[j->places + k];
            m->runs[m->count++] = (struct word_run){key_of(j->chip, at->slice, at->addr), i, k};
        }
    }
    qsort(m->runs, m->count, sizeof(*m->runs), compare);
    return m;
}

void groq_map_destroy(struct groq_map *m)
{
    if (m)
        free(m->runs);
    free(m);
}

/* n words from a slice of weights; NULL if they are not all one job's. */
const uint8_t *groq_map_find(const struct groq_map *m, const struct tsp_program *p,
                             const struct groq_image *const *images, const struct tsp_instr *i,
                             uint32_t *lanes)
{
    uint64_t key = key_of(i->chip, i->unit, i->addr);
    uint32_t lo = 0, hi = m->count;
    const struct word_run *r;
    const struct tsp_job *j;
    const struct groq_image *im;
    uint32_t at;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (m->runs[mid].key <= key)
            lo = mid;
        else
            hi = mid;
    }
    r = &m->runs[lo];
    if (!m->count || r->key > key)
        return NULL;
    j = &p->jobs[r->job];
    at = (uint32_t)(key - r->key);
    if (key - r->key >= j->steps || at + i->n > j->steps || i->step != 1 ||
        p->segments[i->segment].matrix != j->matrix)
        return NULL;
    im = images[j->matrix];
    *lanes = im->lanes;
    return im->data + im->first[r->job - p->matrices[j->matrix].first_job] +
           ((uint64_t)r->member * j->steps + at) * im->lanes;
}
