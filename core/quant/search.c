/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

#include <string.h>

#define ROWS 16u
#define HALF 8u /* a free pass starts half a tile before the seam and ends half a tile after it */

static const struct q35_search_kernels *supported(const struct q35_search_kernels *k)
{
#if defined(__x86_64__)
    if (k == &q35_search_kernels_avx2 &&
        !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")))
        return NULL;
    if (k == &q35_search_kernels_avx512 &&
        !(__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("bmi")))
        return NULL;
#endif
    return k;
}

const struct q35_search_kernels *q35_search_kernels_get(const char *name)
{
    static const struct q35_search_kernels *const all[] = {
        &q35_search_kernels_c,
#if defined(__x86_64__)
        &q35_search_kernels_avx2,
        &q35_search_kernels_avx512, /* later ones are preferred */
#endif
    };
    const struct q35_search_kernels *best = NULL;
    size_t i;
    for (i = 0; i < Q35_COUNT(all); i++)
        if ((!name || !strcmp(name, all[i]->name)) && supported(all[i]))
            best = all[i];
    return best;
}

void q35_search_init_fine(struct q35_search *s, int16_t a[128][3], int16_t b[128][3], bool third,
                          const struct q35_search_kernels *kernels)
{
    uint32_t p, c, d, n = third ? 3 : 2;
    memset(s, 0, sizeof(*s));
    s->kernels = kernels ? kernels : q35_search_kernels_get(NULL);
    s->memory = b != NULL;
    s->third = third;
    s->prune = 1000;
    s->ways = 8;
    for (c = 0; c < 128; c++)
        for (d = 0; d < n; d++) {
            int16_t va = a[c][d], vb = b ? b[c][d] : 0;
            *(d < 2 ? &s->a[c][d] : &s->a2[c][0]) = va;
            *(d < 2 ? &s->b[c][d] : &s->b2[c][0]) = vb;
            s->a_norm[c] += va * va;
            s->b_norm[c] += vb * vb;
        }
    for (p = 0; p < 128; p++)
        for (c = 0; c < 128; c++) {
            int32_t v = s->a[c][0] * s->b[p][0] + s->a[c][1] * s->b[p][1];
            v = (v + s->a2[c][0] * s->b2[p][0]) >> 6;
            s->cross[p][c] = (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
        }
}

void q35_search_init_part(struct q35_search *s, uint32_t scheme, uint32_t weights,
                          const struct q35_tables *t, const struct q35_search_kernels *kernels)
{
    int16_t a[128][3] = {{0}}, b[128][3] = {{0}};
    const int8_t *const ta[3] = {t->a0, t->a1, t->a2};
    bool memory = Q35_SCHEME_HAS_B(scheme);
    uint32_t i, d;
    /* A constant moves freely between A and B; with B around zero the costs stay small. */
    for (d = 0; d < weights; d++) {
        int32_t sum = 0, mean, step = Q35_B_STEP * Q35_SEARCH_UNIT;
        for (i = 0; i < 128; i++)
            sum += q35_search_nibble(t->b[i], d);
        mean = memory ? sum * step / 128 : 0;
        for (i = 0; i < 128; i++) {
            a[i][d] = (int16_t)(ta[d][i] * Q35_SEARCH_UNIT + mean);
            b[i][d] = (int16_t)(q35_search_nibble(t->b[i], d) * step - mean);
        }
    }
    q35_search_init_fine(s, a, memory ? b : NULL, weights > 2, kernels);
    s->ring = Q35_SCHEME_RING(scheme);
}

void q35_search_init(struct q35_search *s, uint32_t scheme, const struct q35_tables *t,
                     const struct q35_search_kernels *kernels)
{
    q35_search_init_part(s, scheme, Q35_SCHEME_WEIGHTS(scheme), t, kernels);
}

int64_t q35_search_error(const struct q35_search *s, int16_t x[16][2], const uint8_t code[16])
{
    int64_t sum = 0;
    uint32_t r;
    for (r = 0; r < ROWS; r++) {
        const int16_t *a = s->a[code[r]], *b = s->b[code[(r + 15) & 15]];
        int64_t e0 = x[r][0] - a[0] - b[0], e1 = x[r][1] - a[1] - b[1];
        sum += e0 * e0 + e1 * e1;
    }
    return sum;
}

static uint32_t first_least(const int16_t *cost)
{
    uint32_t i, best = 0;
    for (i = 1; i < 128; i++)
        if (cost[i] < cost[best])
            best = i;
    return best;
}

/* The numbers of 16 rows, `width` apart. */
struct rows {
    const int16_t *x;
    uint32_t width;
};

static const int16_t *row(const struct rows *x, uint32_t r)
{
    return x->x + (size_t)(r & 15) * x->width;
}

/* A pass free at both ends over 16 rows, the seam in its middle: returns the code of the row above
 * `seam`. */
static uint32_t free_pass(const struct q35_search *s, const struct rows *x, uint32_t seam)
{
    int16_t trans[ROWS][128], cost[128] = {0};
    uint32_t i, code;
    for (i = 0; i < ROWS; i++)
        s->kernels->step(s, row(x, seam + HALF + i), cost, trans[i], cost);
    code = first_least(cost);
    for (i = ROWS - 1; i >= HALF; i--)
        code = s->kernels->back(s, trans[i], code);
    return code;
}

/* A pass that starts and ends with `code` in the row above `seam`. */
static void held_pass(const struct q35_search *s, const struct rows *x, uint32_t seam,
                      uint32_t code, uint8_t out[16])
{
    int16_t trans[ROWS][128], cost[128];
    uint32_t i;
    for (i = 0; i < 128; i++)
        cost[i] = INT16_MAX;
    cost[code] = 0;
    for (i = 0; i < ROWS; i++)
        s->kernels->step(s, row(x, seam + i), cost, trans[i], cost);
    for (i = ROWS; i-- > 0;) {
        out[(seam + i) & 15] = (uint8_t)code;
        code = s->kernels->back(s, trans[i], code);
    }
}

static void trellis(const struct q35_search *s, const struct rows *x, uint8_t code[16])
{
    uint32_t k;
    held_pass(s, x, 0, free_pass(s, x, 0), code);
    /* Held at a code of the path just found, elsewhere, a pass cannot do worse. */
    for (k = 0; k < s->seams; k++) {
        uint32_t seam = k & 1 ? 0 : HALF;
        held_pass(s, x, seam, code[(seam + 15) & 15], code);
    }
}

void q35_search_column(const struct q35_search *s, int16_t x[16][2], uint8_t code[16])
{
    const struct rows rows = {x[0], 2};
    uint32_t r;
    if (s->memory)
        trellis(s, &rows, code);
    for (r = 0; r < ROWS && !s->memory; r++)
        code[r] = (uint8_t)s->kernels->nearest(s, x[r]);
}

void q35_search_triple(const struct q35_search *s, int16_t x[16][4], uint8_t code[16])
{
    const struct rows rows = {x[0], 4};
    trellis(s, &rows, code);
}

void q35_search_tile(const struct q35_search *s, struct q35_ring *ring, int16_t x[64][16][2],
                     uint8_t code[64][16])
{
    uint32_t j;
    if (s->ring) {
        q35_search_ring(s, ring, x, code);
        return;
    }
    for (j = 0; j < Q35_TILE_CODES; j++)
        q35_search_column(s, x[j], code[j]);
}
