/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Options and constants. */

#include <stdlib.h>
#include <string.h>

#include "groq.h"

static enum q35_status read_int(const struct q35_options *options, const char *key, uint32_t low,
                                uint32_t high, uint32_t *value, struct q35_error *err)
{
    const char *text = q35_soft_option(options, key);
    char *end;
    long long n;
    if (!text)
        return Q35_OK;
    n = strtoll(text, &end, 10);
    if (end == text || *end || n < (long long)low || n > (long long)high)
        return q35_soft_fail(err, Q35_E_CONFIG, "%s = %s: not a number from %u to %u", key, text,
                             low, high);
    *value = (uint32_t)n;
    return Q35_OK;
}

/* The index of the value in a NULL-terminated list, the first if it is not given. */
static enum q35_status read_choice(const struct q35_options *options, const char *key,
                                   const char *const *values, uint32_t *value,
                                   struct q35_error *err)
{
    const char *text = q35_soft_option(options, key);
    uint32_t i;
    *value = 0;
    if (!text)
        return Q35_OK;
    for (i = 0; values[i]; i++)
        if (strcmp(values[i], text) == 0) {
            *value = i;
            return Q35_OK;
        }
    return q35_soft_fail(err, Q35_E_CONFIG, "%s = %s: expected %s or %s", key, text, values[0],
                         values[1]);
}

static enum q35_status check_tsp(const struct tsp *t, struct q35_error *err)
{
    if (t->lanes % 64)
        return q35_soft_fail(err, Q35_E_CONFIG, "lanes = %u: not a multiple of 64", t->lanes);
    if (t->mem_slices % 2)
        return q35_soft_fail(err, Q35_E_CONFIG,
                             "mem_slices = %u: odd, half of them lie in each hemisphere",
                             t->mem_slices);
    if (t->plane_size > t->lanes || t->plane_size % 16)
        return q35_soft_fail(err, Q35_E_CONFIG,
                             "plane_size = %u: not a multiple of 16 up to lanes = %u",
                             t->plane_size, t->lanes);
    if (t->gather_lanes > t->lanes || t->lanes % t->gather_lanes)
        return q35_soft_fail(err, Q35_E_CONFIG, "gather_lanes = %u does not divide lanes = %u",
                             t->gather_lanes, t->lanes);
    if (t->links + 1 < t->node_chips)
        return q35_soft_fail(err, Q35_E_CONFIG, "links = %u: too few for a node of %u chips",
                             t->links, t->node_chips);
    return Q35_OK;
}

enum q35_status groq_config_read(struct groq_config *c, const struct q35_options *options,
                                 struct q35_error *err)
{
    static const char *const paces[] = {"none", "real", NULL};
    static const char *const weights[] = {"packed", "decoded", NULL};
    uint32_t pace, kept;
    enum q35_status st;
    *c = (struct groq_config){.chips = 1};
#define X(field, value, low, high, source, help) c->tsp.field = value;
    TSP_CONSTANTS(X)
#undef X
    st = read_int(options, "chips", 1, 100000, &c->chips, err);
    if (!st)
        st = read_int(options, "chips_per_layer", 0, 1024, &c->chips_per_layer, err);
    if (!st)
        st = read_choice(options, "pace", paces, &pace, err);
    if (!st)
        st = read_choice(options, "weights", weights, &kept, err);
#define X(field, value, low, high, source, help)                                                   \
    if (!st)                                                                                       \
        st = read_int(options, #field, low, high, &c->tsp.field, err);
    TSP_CONSTANTS(X)
#undef X
    if (st)
        return st;
    c->pace = (enum groq_pace)pace;
    c->weights = (enum groq_weights)kept;
    if (c->chips_per_layer > c->chips)
        return q35_soft_fail(err, Q35_E_CONFIG, "chips_per_layer = %u of %u chips",
                             c->chips_per_layer, c->chips);
    if (c->chips_per_layer > c->tsp.node_chips)
        return q35_soft_fail(err, Q35_E_CONFIG, "chips_per_layer = %u: a node has %u",
                             c->chips_per_layer, c->tsp.node_chips);
    return check_tsp(&c->tsp, err);
}
