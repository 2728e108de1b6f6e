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

void q35_search_init_fine(struct q35_search *s, int16_t a[128][2], int16_t b[128][2],
                          const struct q35_search_kernels *kernels)
{
    uint32_t p, c;
    memset(s, 0, sizeof(*s));
    s->kernels = kernels ? kernels : q35_search_kernels_get(NULL);
    s->memory = b != NULL;
    s->prune = 1000;
    s->ways = 8;
    memcpy(s->a, a, sizeof(s->a));
    if (b)
        memcpy(s->b, b, sizeof(s->b));
    for (c = 0; c < 128; c++) {
        s->a_norm[c] = s->a[c][0] * s->a[c][0] + s->a[c][1] * s->a[c][1];
        s->b_norm[c] = s->b[c][0] * s->b[c][0] + s->b[c][1] * s->b[c][1];
    }
    for (p = 0; p < 128; p++)
        for (c = 0; c < 128; c++) {
            int32_t v = (s->a[c][0] * s->b[p][0] + s->a[c][1] * s->b[p][1]) >> 6;
            s->cross[p][c] = (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
        }
}

void q35_search_init(struct q35_search *s, uint32_t scheme, const struct q35_tables *t,
                     const struct q35_search_kernels *kernels)
{
    int16_t a[128][2], b[128][2];
    bool memory = Q35_SCHEME_HAS_B(scheme);
    int32_t sum[2] = {0, 0}, mean[2];
    uint32_t i;
    /* A constant moves freely between A and B; with B around zero the costs stay small. */
    for (i = 0; i < 128; i++) {
        sum[0] += t->b[i] >> 4;
        sum[1] += t->b[i] & 15;
    }
    mean[0] = memory ? sum[0] * Q35_B_STEP * Q35_SEARCH_UNIT / 128 : 0;
    mean[1] = memory ? sum[1] * Q35_B_STEP * Q35_SEARCH_UNIT / 128 : 0;
    for (i = 0; i < 128; i++) {
        a[i][0] = (int16_t)(t->a0[i] * Q35_SEARCH_UNIT + mean[0]);
        a[i][1] = (int16_t)(t->a1[i] * Q35_SEARCH_UNIT + mean[1]);
        b[i][0] = (int16_t)((t->b[i] >> 4) * Q35_B_STEP * Q35_SEARCH_UNIT - mean[0]);
        b[i][1] = (int16_t)((t->b[i] & 15) * Q35_B_STEP * Q35_SEARCH_UNIT - mean[1]);
    }
    q35_search_init_fine(s, a, memory ? b : NULL, kernels);
    s->ring = Q35_SCHEME_RING(scheme);
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

/* A pass free at both ends over 16 rows, the seam in its middle: returns the code of the row above
 * `seam`. */
static uint32_t free_pass(const struct q35_search *s, int16_t x[16][2], uint32_t seam)
{
    int16_t trans[ROWS][128], cost[128] = {0};
    uint32_t i, code;
    for (i = 0; i < ROWS; i++)
        s->kernels->step(s, x[(seam + HALF + i) & 15], cost, trans[i], cost);
    code = first_least(cost);
    for (i = ROWS - 1; i >= HALF; i--)
        code = s->kernels->back(s, trans[i], code);
    return code;
}

/* A pass that starts and ends with `code` in the row above `seam`. */
static void held_pass(const struct q35_search *s, int16_t x[16][2], uint32_t seam, uint32_t code,
                      uint8_t out[16])
{
    int16_t trans[ROWS][128], cost[128];
    uint32_t i;
    for (i = 0; i < 128; i++)
        cost[i] = INT16_MAX;
    cost[code] = 0;
    for (i = 0; i < ROWS; i++)
        s->kernels->step(s, x[(seam + i) & 15], cost, trans[i], cost);
    for (i = ROWS; i-- > 0;) {
        out[(seam + i) & 15] = (uint8_t)code;
        code = s->kernels->back(s, trans[i], code);
    }
}

void q35_search_column(const struct q35_search *s, int16_t x[16][2], uint8_t code[16])
{
    uint32_t r, k;
    if (!s->memory) {
        for (r = 0; r < ROWS; r++)
            code[r] = (uint8_t)s->kernels->nearest(s, x[r]);
        return;
    }
    held_pass(s, x, 0, free_pass(s, x, 0), code);
    /* Held at a code of the path just found, elsewhere, a pass cannot do worse. */
    for (k = 0; k < s->seams; k++) {
        uint32_t seam = k & 1 ? 0 : HALF;
        held_pass(s, x, seam, code[(seam + 15) & 15], code);
    }
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
