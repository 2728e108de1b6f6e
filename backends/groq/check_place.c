/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Where weights lie: every part of every matrix has one place, and no two share a word. */

#include <stdlib.h>

#include "check_impl.h"

struct stretch {
    uint64_t key; /* chip, slice, word */
    uint32_t words, job, member;
};

static uint64_t key_of(uint32_t chip, uint32_t slice, uint32_t addr)
{
    return (uint64_t)chip << 48 | (uint64_t)slice << 32 | addr;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = ((const struct stretch *)a)->key, y = ((const struct stretch *)b)->key;
    return x < y ? -1 : x > y;
}

static bool job_is(struct checker *c, const struct tsp_matrix *m, uint32_t mi, uint32_t block,
                   uint32_t group)
{
    uint32_t at = m->first_job + block * m->groups + group, size = c->t->plane_size;
    const struct tsp_job *j = &c->p->jobs[at];
    uint32_t rows = m->rows - block * size < size ? m->rows - block * size : size;
    uint32_t members = m->packed ? 7 : j->members, width = m->packed ? 8 : members / m->halves;
    if (at >= c->p->job_count || j->matrix != mi || j->row != block * size || j->rows != rows ||
        j->group != group || j->chip >= c->p->chips || j->hemisphere > 1 || j->members != members ||
        !width || j->steps != (rows + width - 1) / width || j->places + members > c->p->place_count)
        return check_fail(c, TSP_BAD_PLACEMENT, "matrix %u, block %u, group %u", mi, block, group);
    return true;
}

/* All stretches, ascending; NULL without memory. */
static struct stretch *collect(const struct checker *c, uint32_t *count)
{
    struct stretch *s = malloc((c->p->place_count + 1) * sizeof(*s));
    uint32_t i, k, n = 0;
    for (i = 0; s && i < c->p->job_count; i++) {
        const struct tsp_job *j = &c->p->jobs[i];
        for (k = 0; k < j->members && n < c->p->place_count; k++) {
            const struct tsp_place *at = &c->p->places[j->places + k];
            s[n++] = (struct stretch){key_of(j->chip, at->slice, at->addr), j->steps, i, k};
        }
    }
    *count = n;
    if (s)
        qsort(s, n, sizeof(*s), by_key);
    return s;
}

static bool keep(struct checker *c, const struct stretch *s, uint32_t n)
{
    uint32_t i, most = 0;
    c->word_keys = malloc((n + 1) * sizeof(*c->word_keys));
    c->word_jobs = malloc((n + 1) * sizeof(*c->word_jobs));
    if (!c->word_keys || !c->word_jobs)
        return check_fail(c, TSP_CHECK_NOMEM, "no memory");
    for (i = 0; i < n; i++) {
        uint32_t end = (uint32_t)s[i].key + s[i].words;
        if ((s[i].key >> 32 & 0xffff) >= c->t->mem_slices)
            return check_fail(c, TSP_BAD_PLACEMENT, "a slice that is not there");
        if (i && s[i].key < s[i - 1].key + s[i - 1].words)
            return check_fail(c, TSP_OVERLAP, "jobs %u and %u", s[i - 1].job, s[i].job);
        most = end > most ? end : most;
        c->word_keys[i] = s[i].key;
        c->word_jobs[i] = s[i].job << 5 | s[i].member;
    }
    c->word_count = n;
    if (most > c->p->slice_words || c->p->slice_words + 256 > c->t->slice_words)
        return check_fail(c, TSP_MEMORY_FULL, "%u words of weights, %u a slice", most,
                          c->t->slice_words);
    return true;
}

bool check_placement(struct checker *c)
{
    const struct tsp_program *p = c->p;
    uint32_t i, b, g, blocks = 0, jobs = 0, n = 0;
    struct stretch *s;
    bool ok;
    for (i = 0; i < p->matrix_count; i++) {
        const struct tsp_matrix *m = &p->matrices[i];
        if (m->first_job != jobs || m->job_count != m->blocks * m->groups || !m->groups ||
            m->groups < (m->tiles + c->t->plane_size / 64 - 1) / (c->t->plane_size / 64) ||
            (uint64_t)m->blocks * c->t->plane_size < m->rows)
            return check_fail(c, TSP_BAD_PLACEMENT, "matrix %u is not all there", i);
        for (b = 0; b < m->blocks; b++)
            for (g = 0; g < m->groups; g++)
                if (!job_is(c, m, i, b, g))
                    return false;
        blocks += m->blocks;
        jobs += m->job_count;
    }
    for (i = 0; i < p->segment_count; i++)
        if (p->segments[i].placed &&
            (uint64_t)p->segments[i].base + p->segments[i].words > c->t->slice_words)
            return check_fail(c, TSP_MEMORY_FULL, "segment %u ends at word %u", i,
                              p->segments[i].base + p->segments[i].words);
    if (jobs != p->job_count || blocks != p->result_count)
        return check_fail(c, TSP_BAD_PLACEMENT, "%u jobs and %u blocks", p->job_count,
                          p->result_count);
    s = collect(c, &n);
    ok = s ? keep(c, s, n) : check_fail(c, TSP_CHECK_NOMEM, "no memory");
    free(s);
    return ok;
}

/* The weights that a READ names. */
bool check_words(const struct checker *c, const struct tsp_instr *i, struct fact *f)
{
    const struct tsp_segment *s = &c->p->segments[i->segment];
    uint64_t key = key_of(i->chip, i->unit, i->addr);
    uint32_t lo = 0, hi = c->word_count, width, member;
    const struct tsp_matrix *m;
    const struct tsp_job *j;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (c->word_keys[mid] <= key)
            lo = mid;
        else
            hi = mid;
    }
    if (!c->word_count || c->word_keys[lo] > key)
        return false;
    j = &c->p->jobs[c->word_jobs[lo] >> 5];
    member = c->word_jobs[lo] & 31;
    m = &c->p->matrices[j->matrix];
    f->step = (uint32_t)(key - c->word_keys[lo]);
    if (key - c->word_keys[lo] + i->n > j->steps || i->step != 1 || s->matrix != j->matrix ||
        (s->kind == TSP_SEG_CODES) != m->packed)
        return false;
    f->matrix = j->matrix;
    f->job = c->word_jobs[lo] >> 5;
    f->kind = m->packed ? F_RAW : F_WEIGHT;
    f->a = (uint8_t)member;
    if (!m->packed) {
        width = j->members / m->halves;
        f->a = 0;
        f->b = (uint8_t)(member / width);
        f->c = (uint8_t)(member % width);
    }
    return true;
}
