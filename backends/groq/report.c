/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The performance report: every figure follows from checked schedules and is simulated. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

/* Text growing in the caller's memory. */
struct text {
    char *at;
    uint64_t left;
    bool full;
};

static void add(struct text *t, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

static void add(struct text *t, const char *format, ...)
{
    va_list args;
    int n;
    va_start(args, format);
    n = vsnprintf(t->at, t->left, format, args);
    va_end(args);
    if (n < 0 || (uint64_t)n >= t->left) {
        t->full = true;
        return;
    }
    t->at += n;
    t->left -= (uint64_t)n;
}

/* One way to lay the model out, and what it gives. */
struct option {
    enum groq_weights weights;
    uint32_t chips_per_layer, chips, tokens;
    uint64_t layer_cycles;    /* of one decoder layer, with the way to the next */
    uint64_t token_cycles;    /* of one pass through all layers */
    uint64_t stage_cycles;    /* of the slowest stage */
    double single, aggregate; /* tokens per second: of one sequence, and of the full pipeline */
    bool fits;
};

struct report {
    struct groq_sim *s;
    const struct q35_layer *layers;
    uint32_t count, stride, context;
    struct q35_error *err;
};

static const struct q35_layer *layer_at(const struct report *r, uint32_t i)
{
    return (const void *)((const uint8_t *)r->layers + (size_t)i * r->stride);
}

static enum q35_status evaluate(const struct report *r, struct option *o)
{
    struct groq_config c = r->s->config;
    struct q35_error ignored = Q35_ERROR_INIT;
    struct groq_placement p;
    uint64_t own, stage = 0, end = 0, ends = 0;
    enum q35_status st;
    uint32_t i;
    c.weights = o->weights;
    c.chips_per_layer = o->chips_per_layer;
    c.chips = o->chips ? o->chips : 1000000;
    st = groq_place_layers(&p, &c, r->layers, r->count, r->stride, (struct groq_kv){0}, &ignored);
    o->fits = !st;
    if (st)
        return Q35_OK;
    o->chips = p.chips;
    o->chips_per_layer = p.chips_per_layer ? p.chips_per_layer : 1;
    for (i = 0; i < r->count && !st; i++) {
        const struct groq_layer_time *t = NULL;
        const struct q35_layer *l = layer_at(r, i);
        bool decoder = l->kind == Q35_LAYER_DECODER;
        st = groq_sim_layer(r->s, l, o->tokens, r->context,
                            decoder || !p.end_chips ? o->chips_per_layer : p.end_chips, o->weights,
                            &t, r->err);
        if (st)
            break;
        o->token_cycles += t->cycles;
        /* A chip sends on while it computes for the next batch. */
        own = t->cycles - t->handover;
        if (decoder) {
            o->layer_cycles = t->cycles;
            own *= p.most_layers;
            stage = own > stage ? own : stage;
        } else if (p.spare) {
            ends += own;
        } else {
            end = own > end ? own : end;
        }
    }
    stage += ends;
    o->stage_cycles = end > stage ? end : stage;
    if (!st) {
        double hz = 1e6 * c.tsp.clock_mhz;
        o->single = hz / (double)o->token_cycles;
        o->aggregate = hz * o->tokens / (double)o->stage_cycles;
    }
    return st;
}

/* ---- the configured placement
 * ------------------------------------------------------------------------ */

static const char *const kind_names[TSP_U_COUNT] = {
    "",       "memory_read", "memory_write", "plane_load", "plane", "plane_output",
    "switch", "alu",         "link_out",     "link_in"};

/* The kind of unit that is busiest over the layer's products; *share of all its cycles. */
static uint32_t busiest(const struct tsp *t, const struct groq_layer_time *l, uint32_t chips,
                        double *share)
{
    uint32_t k, i, best = 0;
    *share = 0;
    for (k = 1; k < TSP_U_COUNT; k++) {
        uint64_t busy = 0;
        double of;
        for (i = 0; i < l->step_count; i++)
            busy += l->steps[i].busy[k];
        of = (double)busy / ((double)l->cycles * chips * tsp_unit_count(t, k));
        if (of > *share) {
            *share = of;
            best = k;
        }
    }
    return best;
}

static void steps_text(struct text *out, const struct tsp *t, const struct groq_layer_time *l,
                       uint32_t chips)
{
    uint32_t i, k;
    double share;
    add(out, "  %-26s %10s %7s   share of unit-cycles in use\n", "step", "cycles", "us");
    for (i = 0; i < l->step_count; i++) {
        const struct groq_step *s = &l->steps[i];
        add(out, "  %-26s %10llu %7.2f  ", s->name, (unsigned long long)s->cycles,
            (double)s->cycles / t->clock_mhz);
        for (k = 1; k < TSP_U_COUNT; k++) {
            double of =
                100.0 * (double)s->busy[k] / ((double)s->cycles * chips * tsp_unit_count(t, k));
            if (of >= 5)
                add(out, " %s %.0f%%", tsp_unit_name(k), of);
        }
        add(out, "\n");
    }
    k = busiest(t, l, chips, &share);
    add(out, "  %-26s %10llu %7.2f   busiest: %s, %.0f%% of all cycles\n", "together",
        (unsigned long long)l->cycles, (double)l->cycles / t->clock_mhz, tsp_unit_name(k),
        100 * share);
}

static void steps_json(struct text *out, const struct tsp *t, const struct groq_layer_time *l,
                       uint32_t chips)
{
    uint32_t i, k;
    double share;
    add(out, "\"steps\": [");
    for (i = 0; i < l->step_count; i++) {
        const struct groq_step *s = &l->steps[i];
        add(out, "%s{\"name\": \"%s\", \"cycles\": %llu, \"instructions\": %llu, \"in_use\": {",
            i ? ", " : "", s->name, (unsigned long long)s->cycles, (unsigned long long)s->instrs);
        for (k = 1; k < TSP_U_COUNT; k++)
            add(out, "%s\"%s\": %.4f", k > 1 ? ", " : "", kind_names[k],
                (double)s->busy[k] / ((double)s->cycles * chips * tsp_unit_count(t, k)));
        add(out, "}}");
    }
    k = busiest(t, l, chips, &share);
    add(out, "], \"busiest\": \"%s\", \"busiest_share\": %.4f", kind_names[k], share);
}

/* ---- anchors
 * ------------------------------------------------------------------------------------------- */

/* Weights of a decoder layer. */
static uint64_t weights_of(const struct q35_layer *l)
{
    uint64_t n = 0;
    uint32_t i;
    for (i = 0; i < l->tensor_count; i++) {
        const struct q35_tensor_desc *d =
            (const void *)((const uint8_t *)l->tensors + (size_t)i * l->tensor_stride);
        if (d->type == Q35_TENSOR_PACKED)
            n += (uint64_t)d->rows * d->cols;
    }
    return n;
}

struct anchors {
    uint64_t weights, layers;
    double loads, layer_us, single; /* 40 cycles a load of all planes */
};

static struct anchors anchors_of(const struct report *r, const struct q35_layer *l, uint32_t chips)
{
    const struct tsp *t = &r->s->config.tsp;
    struct anchors a = {.weights = weights_of(l)};
    uint32_t i;
    for (i = 0; i < r->count; i++)
        a.layers += layer_at(r, i)->kind == Q35_LAYER_DECODER;
    a.loads = (double)a.weights / ((double)t->planes * t->plane_size * t->plane_size * chips);
    a.layer_us = a.loads * 40 / t->clock_mhz;
    a.single = 1e6 / (a.layer_us * (double)a.layers);
    return a;
}

static void anchors_text(struct text *out, const struct report *r, const struct anchors *a,
                         const struct option *o)
{
    const struct tsp *t = &r->s->config.tsp;
    double us = (double)o->layer_cycles / t->clock_mhz;
    add(out,
        "Anchor 1: all planes take %u weights in about 40 cycles [1], so %llu weights of a layer "
        "on\n"
        "%u chips are %.1f loads = %.1f us, and %llu layers %.0f tokens/s for one sequence.\n"
        "The schedule takes %.1f us a layer, %.2f times that, for these reasons:\n"
        "  decoding feeds 16 rows a cycle to the two planes of a hemisphere, half of what they "
        "take;\n"
        "  a trellis needs a second set of look-ups, which doubles the loads of packed weights;\n"
        "  loads overlap, so that int8 weights take %u instead of 40 cycles each;\n"
        "  norms, rotations, attention, links and imbalance of blocks come on top.\n",
        t->planes * t->plane_size * t->plane_size, (unsigned long long)a->weights,
        o->chips_per_layer, a->loads, a->layer_us, (unsigned long long)a->layers, a->single, us,
        us / a->layer_us, (t->plane_size + GROQ_DECODED_WIDTH - 1) / GROQ_DECODED_WIDTH);
    add(out,
        "Anchor 2: with a token in every stage at once the chips together give a batch of %u each\n"
        "%.1f us, %.0f tokens/s (10,000 were once projected for the whole).\n",
        o->tokens, (double)o->stage_cycles / t->clock_mhz, o->aggregate);
}

/* ---- the search
 * ------------------------------------------------------------------------------------------ */

#define MAX_OPTIONS 40u

static enum q35_status search(const struct report *r, struct option *o, uint32_t *count)
{
    static const uint32_t batches[] = {1, 8, 32}, spreads[] = {1, 2, 3, 4, 6, 8};
    uint32_t w, c, b, n = 0;
    *count = 0;
    for (w = 0; w < 2; w++)
        for (c = 0; c < 6 && spreads[c] <= r->s->config.tsp.node_chips; c++)
            for (b = 0; b < 3; b++) {
                struct option try = {.weights = (enum groq_weights)w,
                                     .chips_per_layer = spreads[c],
                                     .tokens = batches[b]};
                enum q35_status st = evaluate(r, &try);
                if (st)
                    return st;
                if (try.fits && n < MAX_OPTIONS)
                    o[n++] = try;
            }
    *count = n;
    return Q35_OK;
}

static const struct option *best(const struct option *o, uint32_t n, bool aggregate)
{
    const struct option *b = NULL;
    uint32_t i;
    for (i = 0; i < n; i++)
        if (aggregate ? !b || o[i].aggregate > b->aggregate
                      : o[i].tokens == 1 && (!b || o[i].single > b->single))
            b = &o[i];
    return b;
}

static void option_text(struct text *out, const struct option *o, const char *mark)
{
    add(out, "  %-8s %10u %7u %6u %10llu %12.1f %14.0f%s\n",
        o->weights == GROQ_WEIGHTS_PACKED ? "packed" : "decoded", o->chips_per_layer, o->chips,
        o->tokens, (unsigned long long)o->layer_cycles, o->single, o->aggregate, mark);
}

static void option_json(struct text *out, const struct option *o)
{
    add(out,
        "{\"weights\": \"%s\", \"chips_per_layer\": %u, \"chips\": %u, \"batch\": %u, "
        "\"layer_cycles\": %llu, \"token_cycles\": %llu, \"stage_cycles\": %llu, "
        "\"single_stream_tokens_per_second\": %.2f, \"aggregate_tokens_per_second\": %.1f}",
        o->weights == GROQ_WEIGHTS_PACKED ? "packed" : "decoded", o->chips_per_layer, o->chips,
        o->tokens, (unsigned long long)o->layer_cycles, (unsigned long long)o->token_cycles,
        (unsigned long long)o->stage_cycles, o->single, o->aggregate);
}

static void write_text(struct text *out, const struct report *r, const struct option *own,
                       const struct groq_layer_time *l, const struct anchors *a,
                       const struct option *all, uint32_t n)
{
    const struct option *fast = best(all, n, false), *much = best(all, n, true);
    uint32_t i;
    add(out,
        "Simulated: %u chips at %u MHz, %u to a layer, weights %s, batch %u, context %u.\n"
        "Every figure follows from a checked schedule; no chip was measured.\n\n"
        "One decoder layer:\n",
        own->chips, r->s->config.tsp.clock_mhz, own->chips_per_layer,
        own->weights == GROQ_WEIGHTS_PACKED ? "packed" : "decoded", own->tokens, r->context);
    steps_text(out, &r->s->config.tsp, l, own->chips_per_layer);
    add(out,
        "\nAll %u layers: %.3f ms a batch, %.1f tokens/s for one sequence (simulated);\n"
        "pipelined over all chips %.0f tokens/s (simulated).\n\n",
        r->count, (double)own->token_cycles / r->s->config.tsp.clock_mhz * 1e-3, own->single,
        own->aggregate);
    anchors_text(out, r, a, own);
    add(out, "\nPlacements (all simulated):\n  %-8s %10s %7s %6s %10s %12s %14s\n", "weights",
        "chips/layer", "chips", "batch", "cycles", "one seq/s", "aggregate/s");
    for (i = 0; i < n; i++)
        option_text(out, &all[i],
                    &all[i] == fast   ? "  best for one sequence"
                    : &all[i] == much ? "  best aggregate"
                                      : "");
}

static void write_json(struct text *out, const struct report *r, const struct option *own,
                       const struct groq_layer_time *l, const struct anchors *a,
                       const struct option *all, uint32_t n)
{
    const struct tsp *t = &r->s->config.tsp;
    uint32_t i;
    add(out,
        "{\"simulated\": true, \"clock_mhz\": %u, \"context\": %u, \"configured\": ", t->clock_mhz,
        r->context);
    option_json(out, own);
    add(out, ", \"layer\": {\"cycles\": %llu, ", (unsigned long long)l->cycles);
    steps_json(out, t, l, own->chips_per_layer);
    add(out,
        "}, \"anchors\": {\"layer_weights\": %llu, \"plane_loads\": %.2f, \"layer_us\": %.2f, "
        "\"single_stream_tokens_per_second\": %.1f, \"aggregate_tokens_per_second\": 10000}, "
        "\"best_single_stream\": ",
        (unsigned long long)a->weights, a->loads, a->layer_us, a->single);
    option_json(out, best(all, n, false));
    add(out, ", \"best_aggregate\": ");
    option_json(out, best(all, n, true));
    add(out, ", \"placements\": [");
    for (i = 0; i < n; i++) {
        add(out, "%s", i ? ", " : "");
        option_json(out, &all[i]);
    }
    add(out, "]}");
}

enum q35_status groq_sim_report(void *state, const struct q35_layer *layers, uint32_t count,
                                uint32_t stride, uint32_t n_tokens, uint32_t context, uint32_t json,
                                char *text, uint64_t size, struct q35_error *err)
{
    struct report r = {state, layers, count, stride, context, err};
    struct text out = {text, size, false};
    struct option all[MAX_OPTIONS], own = {.weights = r.s->config.weights,
                                           .chips_per_layer = r.s->config.chips_per_layer,
                                           .chips = r.s->config.chips,
                                           .tokens = n_tokens};
    const struct q35_layer *decoder = NULL;
    const struct groq_layer_time *l = NULL;
    struct groq_placement p;
    struct anchors a;
    uint32_t i, n = 0;
    enum q35_status st;
    for (i = 0; i < count && !decoder; i++)
        if (layer_at(&r, i)->kind == Q35_LAYER_DECODER)
            decoder = layer_at(&r, i);
    if (!decoder || !n_tokens || n_tokens > Q35_SOFT_MAX_BATCH)
        return q35_soft_fail(err, Q35_E_INVALID,
                             "a report needs a decoder layer and 1 to %u tokens",
                             Q35_SOFT_MAX_BATCH);
    st = groq_place_layers(&p, &r.s->config, layers, count, stride, (struct groq_kv){0}, err);
    if (!st)
        st = evaluate(&r, &own);
    if (!st)
        st = groq_sim_layer(r.s, decoder, n_tokens, context, own.chips_per_layer, own.weights, &l,
                            err);
    if (!st)
        st = search(&r, all, &n);
    if (st)
        return st;
    a = anchors_of(&r, decoder, own.chips_per_layer);
    (json ? write_json : write_text)(&out, &r, &own, l, &a, all, n);
    return out.full ? q35_soft_fail(err, Q35_E_CAPACITY, "the report is longer than %llu bytes",
                                    (unsigned long long)size)
                    : Q35_OK;
}
