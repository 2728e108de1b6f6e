/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plan/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The search. Decoder layers are cut into ranges, each on a device of its own; EMBED and HEAD
 * either belong to the first and last range or stand apart on any device. For each way of placing
 * EMBED and HEAD apart (a variant), a table value[s][p] holds the least cost of covering the layers
 * before position p with the multiset s of devices, interchangeable ones counted, not told apart.
 *
 * Latency adds up, so that table is exact. For throughput a first table finds the least largest
 * load T, then a second the least latency among the plans whose loads are at most T. */

#define NONE UINT32_MAX
#define MAX_CELLS (1u << 22) /* of the table */
#define MAX_WORK 4e8

struct class
{                  /* of interchangeable devices */
    uint32_t head; /* a candidate */
    uint32_t count;
    uint32_t stride;       /* of this class in the number of a state */
    struct span_need used; /* by EMBED or HEAD apart */
    double base;           /* their time */
    uint32_t *reach;       /* [n] end of the longest range from a layer that fits */
};

struct table {
    struct planner *p;
    struct class *classes;
    uint32_t class_count;
    uint32_t states;
    bool cut;             /* some classes were left out */
    uint32_t from, to;    /* layers covered by ranges */
    uint32_t embed, head; /* candidates that have them apart, or NONE */
    double transfer;
    double *value;   /* [states][n + 1] */
    uint32_t *trace; /* [states][n + 1]: class << 24 | first layer of the last range */
};

static double span_seconds(const struct candidate *c, uint32_t first, uint32_t end)
{
    return c->seconds[end] - c->seconds[first] + PLAN_STAGE_SECONDS;
}

void plan_evaluate(const struct planner *p, const uint32_t *owner, double *seconds,
                   double *bottleneck)
{
    double *load = calloc(p->count, sizeof(*load));
    *seconds = *bottleneck = 0;
    for (uint32_t a = 0, b; a < p->in.n; a = b) {
        double s;
        for (b = a + 1; b < p->in.n && owner[b] == owner[a]; b++)
            ;
        s = span_seconds(&p->c[owner[a]], a, b);
        *seconds += s + (a ? plan_transfer_seconds(p->in.layers) : 0);
        if (load)
            load[owner[a]] += s;
    }
    for (uint32_t c = 0; load && c < p->count; c++)
        *bottleneck = load[c] > *bottleneck ? load[c] : *bottleneck;
    free(load);
}

/* Longest ranges by two pointers: a part of what fits, fits. */
static void find_reach(struct table *t, struct class *k)
{
    uint32_t b = t->from;
    for (uint32_t a = t->from; a < t->to; a++) {
        b = b < a ? a : b;
        while (b < t->to && plan_fits(t->p, k->head, a, b + 1, k->used))
            b++;
        k->reach[a] = b;
    }
}

static bool apart(struct table *t, struct class *k, uint32_t layer)
{
    struct span_need need = plan_need(t->p, k->head, layer, layer + 1);
    if (!plan_fits(t->p, k->head, layer, layer + 1, k->used))
        return false;
    k->used.own += need.own;
    k->used.host += need.host;
    k->base += span_seconds(&t->p->c[k->head], layer, layer + 1);
    return true;
}

/* Classes of the candidates, those of embed and head on their own. False if EMBED or HEAD do not
 * fit where this variant puts them. */
static bool make_classes(struct table *t)
{
    struct planner *p = t->p;
    uint32_t n = p->in.n;
    t->class_count = 0;
    for (uint32_t c = 0; c < p->count; c++) {
        bool single = c == t->embed || c == t->head;
        struct class *k = NULL;
        for (uint32_t i = 0; i < t->class_count && !single; i++)
            if (p->c[t->classes[i].head].group == p->c[c].group && t->classes[i].head != t->embed &&
                t->classes[i].head != t->head)
                k = &t->classes[i];
        if (p->c[c].excluded)
            continue;
        if (k) {
            k->count++;
            continue;
        }
        k = &t->classes[t->class_count++];
        *k = (struct class){.head = c, .count = 1, .reach = k->reach};
        if ((c == t->embed && !apart(t, k, 0)) || (c == t->head && !apart(t, k, n - 1)))
            return false;
    }
    t->states = 1;
    for (uint32_t i = 0; i < t->class_count; i++) {
        t->classes[i].stride = t->states;
        if ((uint64_t)t->states * (t->classes[i].count + 1) * (n + 1) > MAX_CELLS) {
            if (!t->cut)
                q35_str_addf(&p->log, "not all devices are considered: too many combinations\n");
            t->cut = true;
            t->class_count = i;
            return t->embed == NONE && t->head == NONE;
        }
        t->states *= t->classes[i].count + 1;
        find_reach(t, &t->classes[i]);
    }
    return true;
}

/* One more range [a, b) on class k. */
static void extend(struct table *t, uint32_t state, uint32_t a, uint32_t i, bool bottleneck,
                   double cap)
{
    const struct class *k = &t->classes[i];
    const struct candidate *c = &t->p->c[k->head];
    size_t width = t->p->in.n + 1;
    double before = t->value[state * width + a];
    uint32_t next = state + k->stride;
    if (a == t->from && k->head == t->embed)
        return; /* then EMBED is not apart: another variant */
    for (uint32_t b = a + 1; b <= k->reach[a]; b++) {
        double s = span_seconds(c, a, b), load = s + k->base, v;
        if (load > cap)
            break;
        if (b == t->to && k->head == t->head)
            continue;
        v = bottleneck ? fmax(before, load) : before + s + (a > 0 ? t->transfer : 0);
        if (v < t->value[next * width + b]) {
            t->value[next * width + b] = v;
            t->trace[next * width + b] = i << 24 | a;
        }
    }
}

/* Fills the table; the best final state, or NONE. */
static uint32_t fill(struct table *t, bool bottleneck, double cap)
{
    size_t width = t->p->in.n + 1;
    uint32_t best = NONE;
    double start = 0;
    for (size_t i = 0; i < t->states * width; i++)
        t->value[i] = INFINITY;
    for (uint32_t i = 0; i < t->class_count; i++)
        start = bottleneck ? fmax(start, t->classes[i].base) : start + t->classes[i].base;
    if (!bottleneck && t->head != NONE)
        start += t->transfer;
    t->value[t->from] = start;
    for (uint32_t s = 0; s < t->states; s++)
        for (uint32_t i = 0; i < t->class_count; i++) {
            const struct class *k = &t->classes[i];
            if (s / k->stride % (k->count + 1) == k->count)
                continue;
            for (uint32_t a = t->from; a < t->to; a++)
                if (t->value[s * width + a] < INFINITY)
                    extend(t, s, a, i, bottleneck, cap);
        }
    for (uint32_t s = 0; s < t->states; s++)
        if (t->value[s * width + t->to] < INFINITY &&
            (best == NONE || t->value[s * width + t->to] < t->value[best * width + t->to]))
            best = s;
    return best;
}

/* The j-th candidate of the class from its end; classes keep no list. */
static uint32_t member(const struct table *t, const struct class *k, uint32_t j)
{
    const struct planner *p = t->p;
    if (k->head == t->embed || k->head == t->head)
        return k->head;
    for (uint32_t c = 0; c < p->count; c++)
        if (p->c[c].group == p->c[k->head].group && !p->c[c].excluded && c != t->embed &&
            c != t->head && j-- == 0)
            return c;
    return k->head;
}

static void read_back(const struct table *t, uint32_t state, uint32_t *owner)
{
    size_t width = t->p->in.n + 1;
    uint32_t b = t->to;
    if (t->embed != NONE)
        owner[0] = t->embed;
    if (t->head != NONE)
        owner[t->p->in.n - 1] = t->head;
    while (b > t->from) {
        uint32_t trace = t->trace[state * width + b], a = trace & 0xffffff;
        const struct class *k = &t->classes[trace >> 24];
        uint32_t left = state / k->stride % (k->count + 1);
        for (uint32_t l = a; l < b; l++)
            owner[l] = member(t, k, left - 1);
        state -= k->stride;
        b = a;
    }
}

static double loads_apart(const struct table *t)
{
    double most = 0;
    for (uint32_t i = 0; i < t->class_count; i++)
        most = fmax(most, t->classes[i].base);
    return most;
}

/* One variant, one table; improves *cost and, if owner is given, the assignment. */
static void try_variant(struct table *t, uint32_t embed, uint32_t head, bool bottleneck, double cap,
                        double *cost, uint32_t *owner)
{
    size_t width = t->p->in.n + 1;
    uint32_t s;
    t->embed = embed;
    t->head = head;
    t->from = embed != NONE;
    t->to = t->p->in.n - (head != NONE);
    if (!make_classes(t) || loads_apart(t) > cap)
        return;
    s = fill(t, bottleneck, cap);
    if (s != NONE && t->value[s * width + t->to] < *cost) {
        *cost = t->value[s * width + t->to];
        if (owner)
            read_back(t, s, owner);
    }
}

/* Is c worth a variant of its own: the first of its group, or the second when the first is taken.
 */
static bool distinct(const struct planner *p, uint32_t c, uint32_t taken)
{
    uint32_t before = 0;
    if (p->c[c].excluded)
        return false;
    for (uint32_t i = 0; i < c; i++)
        before += p->c[i].group == p->c[c].group && !p->c[i].excluded && i != taken;
    return before == 0;
}

static void all_variants(struct table *t, bool bottleneck, double cap, double *cost,
                         uint32_t *owner)
{
    const struct planner *p = t->p;
    uint32_t n = p->in.n, last = n - 1;
    bool has_embed = p->in.layers[0].kind == Q35_LAYER_EMBED && n > 1;
    bool has_head = p->in.layers[last].kind == Q35_LAYER_HEAD && n > 1;
    double work;
    try_variant(t, NONE, NONE, bottleneck, cap, cost, owner);
    work = (double)t->states * t->class_count * n * n;
    if (n < 3)
        return;
    for (uint32_t e = 0; e <= p->count; e++) {
        bool none = e == p->count;
        if (!none && (!has_embed || !distinct(p, e, NONE)))
            continue;
        for (uint32_t h = 0; h <= p->count; h++) {
            bool no_head = h == p->count;
            if ((none && no_head) || (!no_head && (!has_head || !distinct(p, h, none ? NONE : e))))
                continue;
            /* with very many devices only: both on one */
            if (work * p->count * p->count > MAX_WORK && e != h)
                continue;
            try_variant(t, none ? NONE : e, no_head ? NONE : h, bottleneck, cap, cost, owner);
        }
    }
}

static bool table_init(struct table *t, struct planner *p)
{
    memset(t, 0, sizeof(*t));
    t->p = p;
    t->transfer = plan_transfer_seconds(p->in.layers);
    t->classes = calloc(p->count, sizeof(*t->classes));
    t->value = malloc(MAX_CELLS * sizeof(*t->value));
    t->trace = malloc(MAX_CELLS * sizeof(*t->trace));
    for (uint32_t i = 0; t->classes && i < p->count; i++) {
        t->classes[i].reach = calloc(p->in.n, sizeof(uint32_t));
        if (!t->classes[i].reach)
            return false;
    }
    return t->classes && t->value && t->trace;
}

static void table_fini(struct table *t)
{
    for (uint32_t i = 0; t->classes && i < t->p->count; i++)
        free(t->classes[i].reach);
    free(t->classes);
    free(t->value);
    free(t->trace);
}

bool plan_search(struct planner *p, bool throughput, struct choice *best)
{
    struct table t;
    double cap = INFINITY, cost = INFINITY;
    if (table_init(&t, p)) {
        if (throughput) {
            all_variants(&t, true, INFINITY, &cost, NULL);
            cap = cost * (1 + 1e-9);
            cost = INFINITY;
        }
        all_variants(&t, false, cap, &cost, best->owner);
        if (cost < INFINITY)
            plan_evaluate(p, best->owner, &best->seconds, &best->bottleneck);
        best->cost = throughput ? best->bottleneck : best->seconds;
    }
    table_fini(&t);
    return cost < INFINITY;
}
