/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Beam search around the ring of a tile's codes. A state is (p, pp), the two codes before; its B
 * term is that of p ^ pp. For each p all its pp are tried together, so states merge as in a Viterbi
 * search; those far above the best are dropped, by a threshold that follows the number of states
 * kept. */

#include <stdlib.h>
#include <string.h>

#include "core/quant/search.h"

#define CODES 1024u
#define AHEAD 8u /* rows of the next column that help to end a column */
#define WARM 24u /* codes before and after the seam that decide the state there */
#define STEPS (CODES + 2 * WARM)
#define ANY 128u /* no code is prescribed */
#define BIN 8u   /* cost units in a bin of the histogram */
#define BINS 128u
#define COLLECT_START 250
#define COLLECT_MAX 1000

/* States found by a step, by their p: pp and cost, p ascending within the next states' pp. */
struct states {
    int16_t cost[128][128];
    uint8_t pp[128][128];
    uint8_t count[128];
    int16_t low; /* the least cost */
};

/* The states a step went on from, for the way back. */
struct trail {
    uint16_t start[129]; /* [p]: first state of p */
};

struct q35_ring {
    struct states pool[2], *now, *next; /* before and after the present step */
    struct trail trail[STEPS];
    uint32_t cap;             /* states of a step at most */
    int16_t collect;          /* states this much above the best are not collected */
    uint8_t *pp;              /* [STEPS][cap] */
    int16_t *trans;           /* [STEPS][cap] */
    uint32_t seam_p, seam_pp; /* column by column: the codes before the tile's first */
    uint32_t at_p, at_pp;     /* and before the next column's first */
};

struct q35_ring *q35_ring_create(uint32_t beam)
{
    struct q35_ring *g = calloc(1, sizeof(*g));
    if (!g)
        return NULL;
    g->now = &g->pool[0];
    g->next = &g->pool[1];
    g->cap = beam + 256; /* the list of a state may run over its end */
    g->pp = malloc((size_t)STEPS * g->cap + 128);
    g->trans = malloc(sizeof(int16_t) * ((size_t)STEPS * g->cap + 128));
    if (!g->pp || !g->trans) {
        q35_ring_destroy(g);
        return NULL;
    }
    return g;
}

void q35_ring_destroy(struct q35_ring *g)
{
    if (!g)
        return;
    free(g->pp);
    free(g->trans);
    free(g);
}

static int16_t saturate(int32_t v)
{
    return (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
}

/* Adds the states (c, p) of one p that survive so far. */
static void keep(struct states *next, uint32_t p, const int16_t *cost, const uint32_t mask[4])
{
    uint32_t k;
    for (k = 0; k < 4; k += 2) {
        uint64_t bits = mask[k] | (uint64_t)mask[k + 1] << 32;
        for (; bits; bits &= bits - 1) {
            uint32_t c = 32 * k + (uint32_t)__builtin_ctzll(bits), n = next->count[c]++;
            next->cost[c][n] = cost[c];
            next->pp[c][n] = (uint8_t)p;
        }
    }
}

/* The cost above g->now->low up to which states go on: at most `beam` of them, at least the best.
 * Also decides how far above the best the next step collects: further than this one needed. */
static int32_t threshold(struct q35_ring *g, uint32_t beam)
{
    uint32_t bins[BINS] = {0}, p, i, sum = 0;
    int32_t limit;
    for (p = 0; p < 128; p++)
        for (i = 0; i < g->now->count[p]; i++) {
            uint32_t b = (uint32_t)(g->now->cost[p][i] - g->now->low) / BIN;
            bins[b < BINS ? b : BINS - 1]++;
        }
    for (i = 0; i < BINS; i++) {
        sum += bins[i];
        if (sum > beam)
            break;
    }
    limit = (int32_t)(i * BIN) - (i > 0);
    if (i == BINS) { /* all go on: there were too few */
        i = (uint32_t)g->collect + (uint32_t)g->collect / 8;
        g->collect = (int16_t)(i < COLLECT_MAX ? i : COLLECT_MAX);
        return INT16_MAX;
    }
    g->collect = (int16_t)(limit + limit / 8 + 16);
    return limit;
}

/* Lists the states of p in g->now up to `limit` as transitions; returns their number. */
static uint32_t list_states(const struct q35_ring *g, uint32_t p, int32_t limit, const int16_t *u,
                            uint32_t room, uint8_t *pp, int16_t *trans, uint8_t *h)
{
    const int16_t *from = g->now->cost[p];
    const uint8_t *from_pp = g->now->pp[p];
    uint32_t i, n = 0, count = g->now->count[p];
    int32_t low = g->now->low;
    for (i = 0; i < count; i++) { /* without branches: they would be unpredictable */
        int32_t cost = from[i] - low;
        uint32_t k = p ^ from_pp[i];
        pp[n] = from_pp[i];
        h[n] = (uint8_t)k;
        trans[n] = saturate(cost + u[k]);
        n += cost <= limit;
    }
    return n < room ? n : room;
}

/* One step: from g->now by code x to g->next. only: the code that must be taken, or ANY. */
static void step(const struct q35_search *s, struct q35_ring *g, uint32_t t, const int16_t x[2],
                 uint32_t only)
{
    uint8_t *pp = g->pp + (size_t)t * g->cap, h[128];
    int16_t *trans = g->trans + (size_t)t * g->cap;
    int16_t u[128], v[128], cost[128], low = INT16_MAX;
    int32_t limit = threshold(g, s->beam);
    uint32_t p, n = 0, mask[4];
    s->kernels->terms(s->b[0], s->b_norm, x, u);
    s->kernels->terms(s->a[0], s->a_norm, x, v);
    memset(g->next->count, 0, sizeof(g->next->count));
    for (p = 0; p < 128; p++) {
        uint32_t room = g->cap - n, k;
        g->trail[t].start[p] = (uint16_t)n;
        k = list_states(g, p, limit, u, room, pp + n, trans + n, h);
        if (!k)
            continue;
        if (only == ANY) {
            s->kernels->expand(s, h, trans + n, k, v, &low, g->collect, cost, mask);
        } else {
            int16_t unused = INT16_MAX;
            s->kernels->expand(s, h, trans + n, k, v, &unused, g->collect, cost, mask);
            memset(mask, 0, sizeof(mask));
            mask[only / 32] = 1u << only % 32;
            low = cost[only] < low ? cost[only] : low;
        }
        n += k;
        keep(g->next, p, cost, mask);
    }
    g->trail[t].start[128] = (uint16_t)n;
    g->next->low = low;
}

static void swap(struct q35_ring *g)
{
    struct states *t = g->now;
    g->now = g->next;
    g->next = t;
}

/* The state before step t on the best way to (c, p): p becomes c. */
static void back(const struct q35_search *s, const struct q35_ring *g, uint32_t t, uint32_t *c,
                 uint32_t *p)
{
    const uint8_t *pp = g->pp + (size_t)t * g->cap;
    const int16_t *trans = g->trans + (size_t)t * g->cap;
    uint32_t i = g->trail[t].start[*p], end = g->trail[t].start[*p + 1], best = i;
    int32_t low = INT32_MAX;
    for (; i < end; i++) {
        int32_t cost = saturate(trans[i] + s->cross[*p ^ pp[i]][*c]);
        if (cost < low) {
            low = cost;
            best = i;
        }
    }
    *c = *p;
    *p = pp[best];
}

/* The first state of least cost. */
static void best_state(const struct q35_ring *g, uint32_t *p, uint32_t *pp)
{
    uint32_t i, t;
    *p = *pp = 0;
    for (i = 128; i-- > 0;)
        for (t = g->now->count[i]; t-- > 0;)
            if (g->now->cost[i][t] == g->now->low) {
                *p = i;
                *pp = g->now->pp[i][t];
            }
}

/* A search that begins with one state. */
static void start_at(struct q35_ring *g, uint32_t p, uint32_t pp)
{
    memset(g->now->count, 0, sizeof(g->now->count));
    g->now->count[p] = 1;
    g->now->pp[p][0] = (uint8_t)pp;
    g->now->cost[p][0] = g->now->low = 0;
    g->collect = COLLECT_START;
}

/* The state at the seam, before code 0: from a pass over the codes around it. */
static void find_seam(const struct q35_search *s, struct q35_ring *g, int16_t (*x)[2], uint32_t *p,
                      uint32_t *pp)
{
    uint32_t t, c, i;
    for (i = 0; i < 128; i++) { /* a start from some states of all kinds */
        g->now->count[i] = 2;
        for (t = 0; t < 2; t++) {
            g->now->pp[i][t] = (uint8_t)((29 * i + 61 * t + 11) & 127);
            g->now->cost[i][t] = 0;
        }
    }
    g->now->low = 0;
    g->collect = COLLECT_START;
    for (t = 0; t < 2 * WARM; t++) {
        step(s, g, t, x[(CODES - WARM + t) % CODES], ANY);
        swap(g);
    }
    best_state(g, &c, p);
    for (t = 2 * WARM; t-- > WARM;)
        back(s, g, t, &c, p);
    *pp = *p;
    *p = c;
}

void q35_search_ring(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                     uint8_t code[64][16])
{
    int16_t(*line)[2] = x[0];
    uint8_t *out = code[0];
    uint32_t p, pp, t, c;
    find_seam(s, g, line, &p, &pp);
    start_at(g, p, pp);
    for (t = 0; t < CODES; t++) {
        step(s, g, t, line[t], t == CODES - 2 ? pp : t == CODES - 1 ? p : ANY);
        swap(g);
    }
    c = p;
    p = pp;
    for (t = CODES; t-- > 0;) {
        out[t] = (uint8_t)c;
        back(s, g, t, &c, &p);
    }
}

void q35_ring_begin(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                    uint8_t code[64][16])
{
    find_seam(s, g, x[0], &g->seam_p, &g->seam_pp);
    g->at_p = g->seam_p;
    g->at_pp = g->seam_pp;
    code[63][15] = (uint8_t)g->seam_p;
    code[63][14] = (uint8_t)g->seam_pp;
}

void q35_ring_column(const struct q35_search *s, struct q35_ring *g, int16_t x[64][16][2],
                     uint32_t j, uint8_t code[64][16])
{
    int16_t(*line)[2] = x[j];
    uint32_t last = j == 63, steps = last ? 16 : 16 + AHEAD, t, c, p;
    start_at(g, g->at_p, g->at_pp);
    for (t = 0; t < steps; t++) {
        step(s, g, t, line[t], last && t == 14 ? g->seam_pp : last && t == 15 ? g->seam_p : ANY);
        swap(g);
    }
    best_state(g, &c, &p);
    for (t = steps; t-- > 0;) {
        if (t < 16)
            code[j][t] = (uint8_t)c;
        back(s, g, t, &c, &p);
    }
    g->at_p = code[j][15];
    g->at_pp = code[j][14];
}
