/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/search.h"

static int16_t saturate(int32_t v)
{
    return (int16_t)(v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v);
}

/* The third weight: 0 where there is none. */
static int16_t third(const struct q35_search *s, const int16_t *x)
{
    return s->third ? x[2] : 0;
}

/* Half of |x|^2 in 1/256 units. */
static int32_t half_norm(const int16_t x[2], int16_t z)
{
    return (x[0] * x[0] + x[1] * x[1] + z * z) >> 1;
}

static int16_t branch(const int16_t t[2], int32_t norm, const int16_t x[2], int32_t half)
{
    return saturate((norm - 2 * (t[0] * x[0] + t[1] * x[1]) + half) >> 7);
}

static void step_c(const struct q35_search *s, const int16_t *x, const int16_t *cost,
                   int16_t *trans, int16_t *next)
{
    int16_t acc[128], low = INT16_MAX, z = third(s, x);
    int32_t half = half_norm(x, z);
    uint32_t p, c;
    for (c = 0; c < 128; c++)
        acc[c] = INT16_MAX;
    for (p = 0; p < 128; p++) {
        trans[p] = INT16_MAX;
        if (cost[p] > s->prune)
            continue;
        trans[p] = saturate(cost[p] + branch(s->b[p], s->b_norm[p] - 2 * s->b2[p][0] * z, x, half));
        for (c = 0; c < 128; c++) {
            int16_t v = saturate(trans[p] + s->cross[p][c]);
            acc[c] = v < acc[c] ? v : acc[c];
        }
    }
    for (c = 0; c < 128; c++) {
        acc[c] = saturate(acc[c] + branch(s->a[c], s->a_norm[c] - 2 * s->a2[c][0] * z, x, half));
        low = acc[c] < low ? acc[c] : low;
    }
    for (c = 0; c < 128; c++)
        next[c] = saturate(acc[c] - low);
}

static uint32_t back_c(const struct q35_search *s, const int16_t *trans, uint32_t code)
{
    int32_t low = INT32_MAX;
    uint32_t p, best = 0;
    for (p = 0; p < 128; p++) {
        int32_t v = trans[p] == INT16_MAX ? INT16_MAX : saturate(trans[p] + s->cross[p][code]);
        if (v < low) {
            low = v;
            best = p;
        }
    }
    return best;
}

static void terms_c(const int16_t *table, const int32_t *norm, const int16_t x[2], int16_t *out)
{
    int32_t half = half_norm(x, 0);
    uint32_t i;
    for (i = 0; i < 128; i++)
        out[i] = branch(table + 2 * i, norm[i], x, half);
}

/* Puts v into the ascending list at at[0], at[128], ... */
static void insert(uint16_t *at, uint32_t ways, uint16_t v)
{
    uint32_t k;
    for (k = 0; k < ways; k++) {
        uint16_t old = at[128 * k];
        at[128 * k] = v < old ? v : old;
        v = v < old ? old : v;
    }
}

static uint32_t ring_c(const struct q35_search *s, const int16_t x[2], const uint16_t *now,
                       uint32_t low, int32_t base, uint16_t *next)
{
    int16_t u[128], v[128], m[128];
    uint32_t p, k, c, least = UINT16_MAX;
    terms_c(s->b[0], s->b_norm, x, u);
    terms_c(s->a[0], s->a_norm, x, v);
    for (c = 0; c < 128 * s->ways; c++)
        next[c] = UINT16_MAX;
    for (p = 0; p < 128; p++) {
        for (k = 0; k < s->ways; k++) {
            uint32_t state = now[128 * k + p], cost = state >> 7 > low ? (state >> 7) - low : 0;
            uint32_t h = (state & 127) ^ p;
            int16_t trans = saturate((int32_t)cost + u[h]);
            if (cost > Q35_RING_PRUNE)
                break;
            for (c = 0; c < 128; c++) {
                int16_t t = saturate(trans + s->cross[h][c]);
                m[c] = k == 0 || t < m[c] ? t : m[c];
            }
        }
        for (c = 0; c < 128 && k; c++) {
            uint16_t t = (uint16_t)saturate(m[c] + saturate(v[c] - (base - Q35_RING_FLOOR)));
            t = t < Q35_RING_TOP ? t : Q35_RING_TOP;
            insert(next + c, s->ways, (uint16_t)(t << 7 | p));
        }
    }
    for (c = 0; c < 128; c++)
        least = next[c] < least ? next[c] : least;
    return least >> 7;
}

static uint32_t nearest_c(const struct q35_search *s, const int16_t x[2])
{
    int32_t low = INT32_MAX;
    uint32_t c, best = 0;
    for (c = 0; c < 128; c++) {
        int32_t v = s->a_norm[c] - 2 * (s->a[c][0] * x[0] + s->a[c][1] * x[1]);
        if (v < low) {
            low = v;
            best = c;
        }
    }
    return best;
}

const struct q35_search_kernels q35_search_kernels_c = {
    .name = "c",
    .step = step_c,
    .back = back_c,
    .terms = terms_c,
    .ring = ring_c,
    .nearest = nearest_c,
};
