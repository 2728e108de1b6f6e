/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Search around the ring of a tile's codes. A state is (c, p), the last code and the one before;
 * its B term is that of c ^ p. Of each c the best few p go on: see search.h. */

#include <stdlib.h>
#include <string.h>

#include "core/quant/search.h"

#define CODES 1024u
#define AHEAD 8u /* rows of the next column that help to end a column */
#define WARM 24u /* codes before and after the seam that decide the state there */
#define ANY 128u /* no code is prescribed */
#define HIGH 200 /* costs above this at best are too near the top: the step is done again */
#define LEAST 40 /* about what the best cost should be then */
#define TRIES 64 /* so often at most: by then base is near the greatest int16 */

struct q35_ring {
    uint32_t ways;           /* of the present search */
    uint16_t *states;        /* [CODES + 1][ways][128]: before each step and after the last */
    uint16_t low[CODES + 1]; /* their least costs */
    uint32_t seam_c, seam_p; /* column by column: the codes before the tile's first */
    uint32_t at_c, at_p;     /* and before the next column's first */
};

struct q35_ring *q35_ring_create(uint32_t ways)
{
    struct q35_ring *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->states = malloc(sizeof(*g->states) * (CODES + 1) * 128 * ways);
    if (!g->states) {
        free(g);
        return NULL;
    }
    return g;
}

void q35_ring_destroy(struct q35_ring *g)
{
    if (!g)
        return;
    free(g->states);
    free(g);
}

static int16_t saturate(int32_t v)
{
    return (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
}

/* [ways][128] */
static uint16_t *states(const struct q35_ring *g, uint32_t t)
{
    return g->states + (size_t)t * 128 * g->ways;
}

/* From the states before step t to those after it. only: the code that must be taken, or ANY. */
static void step(const struct q35_search *s, struct q35_ring *g, uint32_t t, const int16_t x[2],
                 uint32_t only)
{
    uint16_t *next = states(g, t + 1);
    uint32_t low, i, c;
    int32_t base = 0;
    for (i = 0; i < TRIES; i++) {
        low = s->kernels->ring(s, x, states(g, t), g->low[t], base, next);
        low = only == ANY ? low : next[only] >> 7;
        if (low < HIGH)
            break;
        base += (int32_t)low - LEAST;
    }
    g->low[t + 1] = (uint16_t)low;
    for (c = 0; c < 128 && only != ANY; c++)
        for (i = 0; i < g->ways && c != only; i++)
            next[128 * i + c] = UINT16_MAX;
}

/* The state before step t on the best way to (c, p): p becomes c. */
static void back(const struct q35_search *s, const struct q35_ring *g, uint32_t t,
                 const int16_t x[2], uint32_t *c, uint32_t *p)
{
    const uint16_t *from = states(g, t) + *p;
    int32_t half = (x[0] * x[0] + x[1] * x[1]) >> 1, least = INT32_MAX;
    uint32_t k, best = 0;
    for (k = 0; k < g->ways; k++) { /* as the kernels do */
        uint32_t state = from[128 * k], pp = state & 127, h = *p ^ pp;
        int32_t cost = (int32_t)(state >> 7) - g->low[t], u;
        if (k && cost > Q35_RING_PRUNE)
            break;
        u = (s->b_norm[h] - 2 * (s->b[h][0] * x[0] + s->b[h][1] * x[1]) + half) >> 7;
        u = saturate((cost > 0 ? cost : 0) + saturate(u));
        u = saturate(u + s->cross[h][*c]);
        if (u < least) {
            least = u;
            best = pp;
        }
    }
    *c = *p;
    *p = best;
}

/* The first state of least cost after t steps. */
static void best_state(const struct q35_ring *g, uint32_t t, uint32_t *c, uint32_t *p)
{
    const uint16_t *first = states(g, t);
    uint32_t i;
    for (*c = 0, i = 1; i < 128; i++)
        if (first[i] >> 7 < first[*c] >> 7)
            *c = i;
    *p = first[*c] & 127;
}

/* A search that begins with one state. */
static void start_at(struct q35_ring *g, uint32_t c, uint32_t p)
{
    memset(states(g, 0), 0xff, sizeof(uint16_t) * 128 * g->ways);
    states(g, 0)[c] = (uint16_t)p;
    g->low[0] = 0;
}

/* The state at the seam, before code 0: from a pass over the codes around it. */
static void find_seam(const struct q35_search *s, struct q35_ring *g, int16_t (*x)[2], uint32_t *c,
                      uint32_t *p)
{
    uint16_t *start;
    uint32_t t, i;
    g->ways = s->ways;
    start = states(g, 0);
    memset(start, 0xff, sizeof(*start) * 128 * g->ways);
    for (i = 0; i < 128; i++) /* a start from some states of all kinds */
        for (t = 0; t < 2; t++)
            start[128 * t + i] = (uint16_t)((29 * i + 61 * t + 11) & 127);
    g->low[0] = 0;
    for (t = 0; t < 2 * WARM; t++)
        step(s, g, t, x[(CODES - WARM + t) % CODES], ANY);
    best_state(g, 2 * WARM, c, p);
    for (t = 2 * WARM; t-- > WARM;)
        back(s, g, t, x[t - WARM], c, p);
}

void q35_search_ring(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                     uint8_t code[64][16])
{
    int16_t(*line)[2] = x[0];
    uint8_t *out = code[0];
    uint32_t c, p, t;
    find_seam(s, g, line, &c, &p);
    start_at(g, c, p);
    for (t = 0; t < CODES; t++) /* the last code is c because the way back begins there */
        step(s, g, t, line[t], t == CODES - 2 ? p : ANY);
    for (t = CODES; t-- > 0;) {
        out[t] = (uint8_t)c;
        back(s, g, t, line[t], &c, &p);
    }
}

void q35_ring_begin(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                    uint8_t code[64][16])
{
    find_seam(s, g, x[0], &g->seam_c, &g->seam_p);
    g->at_c = g->seam_c;
    g->at_p = g->seam_p;
    code[63][15] = (uint8_t)g->seam_c;
    code[63][14] = (uint8_t)g->seam_p;
}

void q35_ring_column(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                     uint32_t j, uint8_t code[64][16])
{
    int16_t(*line)[2] = x[j];
    uint32_t last = j == 63, steps = last ? 16 : 16 + AHEAD, t, c, p;
    start_at(g, g->at_c, g->at_p);
    for (t = 0; t < steps; t++)
        step(s, g, t, line[t], last && t == 14 ? g->seam_p : last && t == 15 ? g->seam_c : ANY);
    best_state(g, steps, &c, &p);
    for (t = steps; t-- > 0;) {
        if (t < 16)
            code[j][t] = (uint8_t)c;
        back(s, g, t, line[t], &c, &p);
    }
    g->at_c = code[j][15];
    g->at_p = code[j][14];
}

void q35_ring_again(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                    uint32_t j, uint8_t code[64][16])
{
    const uint8_t *left = code[(j + 63) & 63];
    uint32_t t, c = code[j][15], p = code[j][14];
    g->ways = s->ways;
    start_at(g, left[15], left[14]);
    for (t = 0; t < 16; t++)
        step(s, g, t, x[j][t], t == 14 ? p : ANY);
    for (t = 16; t-- > 0;) {
        code[j][t] = (uint8_t)c;
        back(s, g, t, x[j][t], &c, &p);
    }
}
