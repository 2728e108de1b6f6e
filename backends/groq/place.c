/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Where weights lie: jobs, their slices and words. */

#include <stdlib.h>
#include <string.h>

#include "q35/format.h"
#include "schedule.h"

/* Arrays are made for so many jobs at least: few small sizes, which allocators would keep. */
#define LEAST 160u
#define MOST_CHIPS 16u /* node_chips */

/* 42 of 44 slices hold codes. Slices 14, 15, 30, 31 look tables up too, so the last set needs a
 * gather set of its own: no slice reads a code and a table at once. */
const uint8_t groq_code_slices[GROQ_CODE_SETS][7] = {
    {0, 1, 2, 3, 4, 5, 6},        {7, 8, 9, 10, 11, 12, 13},    {16, 17, 18, 19, 20, 21, 22},
    {23, 24, 25, 26, 27, 28, 29}, {32, 33, 34, 35, 36, 37, 38}, {39, 40, 41, 14, 15, 30, 31},
};
const uint8_t groq_gather_sets[3][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
    {16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 32, 33},
};

uint32_t groq_gather_set(const struct tsp_program *p, const struct tsp_job *j)
{
    static const uint8_t by_first[] = {1, 1, 0, 0, 0, 2}; /* by code set */
    uint32_t first = p->places[j->places].slice % (p->tsp.mem_slices / 2), i;
    for (i = 0; i < GROQ_CODE_SETS; i++)
        if (groq_code_slices[i][0] == first)
            return by_first[i];
    return 0;
}

static uint32_t byte_slice(uint32_t set, uint32_t m)
{
    return (set * 2 * GROQ_DECODED_WIDTH + m) % 42;
}

uint32_t groq_job_members(const struct tsp_matrix *m)
{
    return m->packed ? 7 : m->halves * GROQ_DECODED_WIDTH;
}

/* Slice of a member of a job: codes in the other hemisphere, int8 in its own. */
static uint32_t job_slice(const struct tsp_program *p, const struct tsp_job *j, uint32_t set,
                          uint32_t member)
{
    uint32_t half = p->tsp.mem_slices / 2;
    return p->matrices[j->matrix].packed
               ? (1u - j->hemisphere) * half + groq_code_slices[set][member]
               : j->hemisphere * half + byte_slice(set, member);
}

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static void matrix_init(struct tsp_matrix *m, const struct tsp *t, const struct groq_shape *s,
                        enum groq_weights weights)
{
    bool triple = Q35_SCHEME_WEIGHTS(s->scheme) == 3;
    m->rows = q35_pad_rows(s->rows);
    /* int8 from triple codes lies as that of pairs does: 128 columns at a time */
    m->tiles = triple ? q35_pad_cols(s->cols) / 128 : q35_tiles_per_row(s->scheme, s->cols);
    m->weights = (uint8_t)(triple ? 2 : Q35_SCHEME_WEIGHTS(s->scheme));
    m->ring = (uint8_t)Q35_SCHEME_RING(s->scheme);
    m->packed = weights == GROQ_WEIGHTS_PACKED && !m->ring && !triple;
    m->halves = m->weights;
    m->parts = m->packed && Q35_SCHEME_HAS_B(s->scheme) ? 2 : 1;
    m->bias = s->bias;
    m->groups = ceil_div(m->tiles, t->plane_size / 64);
    m->blocks = ceil_div(m->rows, t->plane_size);
}

static uint32_t total_blocks(const struct tsp *t, const struct groq_product *g, uint32_t *groups)
{
    uint32_t i, blocks = 0;
    *groups = 1;
    for (i = 0; i < g->n_mats; i++) {
        struct tsp_matrix m = {0};
        matrix_init(&m, t, &g->mats[i], g->weights);
        blocks += m.blocks;
        *groups = m.groups > *groups ? m.groups : *groups;
    }
    return blocks;
}

uint32_t groq_product_tokens(const struct tsp *t, const struct groq_product *g)
{
    uint32_t groups, blocks = total_blocks(t, g, &groups), half = t->slice_words / 2;
    uint32_t n = t->acc_vectors / 4, by_x = (half - 256) / groups;
    uint32_t by_result = half / ceil_div(blocks, 8);
    if (2 * blocks + 256 > half)
        return 0; /* row scales and biases */
    n = by_x < n ? by_x : n;
    n = by_result < n ? by_result : n;
    return n > 256 ? 256 : n;
}

/* Words of one job in its slices, taken from the cursors of the slices [chips][mem_slices]. */
static void place_job(struct tsp_program *p, struct tsp_job *j, uint32_t set, uint32_t *cursors)
{
    uint32_t k;
    j->members = groq_job_members(&p->matrices[j->matrix]);
    j->places = p->place_count;
    for (k = 0; k < j->members; k++) {
        uint32_t slice = job_slice(p, j, set, k);
        uint32_t *c = &cursors[j->chip * p->tsp.mem_slices + slice];
        p->places[p->place_count++] = (struct tsp_place){slice, *c};
        *c += j->steps;
        p->slice_words = *c > p->slice_words ? *c : p->slice_words;
    }
}

static void place_matrix(struct tsp_program *p, uint32_t mi, uint32_t *block_base,
                         uint32_t *ordinals, uint32_t *cursors)
{
    struct tsp_matrix *m = &p->matrices[mi];
    const struct tsp *t = &p->tsp;
    uint32_t b, g, tiles = t->plane_size / 64;
    m->first_job = p->job_count;
    for (b = 0; b < m->blocks; b++) {
        uint32_t at = *block_base + b, hemi = 1 - at / p->chips % 2;
        p->results[at].slice = hemi * (t->mem_slices / 2) + 4 * (at % 8);
        p->results[at].addr = at / 8 * p->tokens;
    }
    for (b = 0; b < m->blocks; b++)
        for (g = 0; g < m->groups; g++) {
            struct tsp_job *j = &p->jobs[p->job_count++];
            uint32_t dealt = *block_base + b;
            j->matrix = (uint16_t)mi;
            j->chip = (uint16_t)(dealt % p->chips);
            j->hemisphere = (uint8_t)(1 - dealt / p->chips % 2);
            j->row = b * t->plane_size;
            j->rows = m->rows - j->row < t->plane_size ? m->rows - j->row : t->plane_size;
            j->group = g;
            j->lanes_tiles = (uint8_t)(m->tiles - g * tiles < tiles ? m->tiles - g * tiles : tiles);
            j->steps = (uint16_t)ceil_div(j->rows, m->packed ? 8 : GROQ_DECODED_WIDTH);
            place_job(p, j,
                      ordinals[2 * j->chip + j->hemisphere]++ % (m->packed ? GROQ_CODE_SETS : 7),
                      cursors);
        }
    m->job_count = p->job_count - m->first_job;
    *block_base += m->blocks;
}

enum q35_status groq_place_product(struct tsp_program *p, const struct tsp *t,
                                   const struct groq_product *g, struct q35_error *err)
{
    uint32_t i, jobs = 0, base = 0, groups, ordinals[2 * MOST_CHIPS] = {0}, *cursors;
    memset(p, 0, sizeof(*p));
    p->tsp = *t;
    p->chips = g->chips;
    p->tokens = g->tokens;
    p->matrix_count = g->n_mats;
    if (!groq_product_tokens(t, g))
        return q35_soft_fail(err, Q35_E_UNSUPPORTED,
                             "%u blocks of rows are more than this chip's "
                             "slices take results of",
                             total_blocks(t, g, &groups));
    for (i = 0; i < g->n_mats; i++) {
        matrix_init(&p->matrices[i], t, &g->mats[i], g->weights);
        jobs += p->matrices[i].blocks * p->matrices[i].groups;
    }
    jobs = jobs < LEAST ? LEAST : jobs;
    p->jobs = calloc(jobs, sizeof(*p->jobs));
    p->places = calloc((size_t)jobs * 2 * GROQ_DECODED_WIDTH, sizeof(*p->places));
    p->result_count = total_blocks(t, g, &groups);
    p->results = calloc(p->result_count < LEAST ? LEAST : p->result_count, sizeof(*p->results));
    cursors = calloc((size_t)MOST_CHIPS * t->mem_slices, sizeof(*cursors));
    for (i = 0; p->jobs && p->places && p->results && cursors && i < g->n_mats; i++)
        place_matrix(p, i, &base, ordinals, cursors);
    free(cursors);
    if (i < g->n_mats) {
        tsp_program_free(p);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a schedule");
    }
    return Q35_OK;
}

void tsp_program_free(struct tsp_program *p)
{
    free(p->instrs);
    free(p->jobs);
    free(p->places);
    free(p->results);
    memset(p, 0, sizeof(*p));
}
