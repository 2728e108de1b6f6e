/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_PLAN_INTERNAL_H
#define Q35_CORE_PLAN_INTERNAL_H

#include "core/plan/plan.h"

/* What a plan is for. The layers need not belong to a q35_model: tests make their own. */
struct plan_input {
    const struct q35_config *config;
    const struct q35_layer
        *layers; /* [n]; decoders between an optional EMBED and an optional HEAD */
    uint32_t n;
    uint32_t kv_tokens;
    struct q35_registry *registry;
    const bool *lost; /* [device_count] or NULL */
    /* Data of a tensor for measuring, NULL: there is none. */
    const uint8_t *(*data)(const void *model, uint32_t layer, uint32_t tensor);
    const void *model;
};

/* Memory of a span of layers: own is the device's, host is used in place in host memory. */
struct span_need {
    uint64_t own, host;
};

/* A device that can be used, with what is known of it. */
struct candidate {
    uint32_t device; /* of the registry */
    bool excluded;
    uint32_t group;          /* interchangeable devices share one */
    uint64_t limit_own;      /* UINT64_MAX: none */
    uint64_t limit_host;     /* for own + host */
    bool *supported;         /* [n] */
    char unsupported[200];   /* of the first layer that is not */
    struct span_need *needs; /* [n][n + 1] by first and end; own is UINT64_MAX: not asked yet */
    double *seconds;         /* [n + 1] of layers 0 .. i-1 */
    const char *source;      /* of the times: "measured" ... */
};

struct planner {
    struct plan_input in;
    struct candidate *c;
    uint32_t count;
    char **left_out;    /* [device_count] why a device is no candidate, or NULL */
    struct q35_str log; /* the explanation */
    struct q35_error *err;
};

/* Time to hand d_model floats from one stage to the next. */
double plan_transfer_seconds(const struct q35_layer *layer);
/* Time that a stage takes apart from its layers. */
#define PLAN_STAGE_SECONDS 5e-6

/* candidates.c: opens devices and asks them. Devices that fail are left out and explained. */
enum q35_status plan_candidates(struct planner *p);
void plan_candidates_free(struct planner *p);
/* The plugin's answer for layers first .. end-1; a span that fits nowhere has own UINT64_MAX - 1.
 */
struct span_need plan_need(struct planner *p, uint32_t c, uint32_t first, uint32_t end);
enum q35_status plan_ask(const struct plan_input *in, const struct q35_device_entry *d,
                         uint32_t first, uint32_t end, struct q35_plan_result *result,
                         struct q35_error *err);
/* True if the span and `used`, which the device holds already, fit. */
bool plan_fits(struct planner *p, uint32_t c, uint32_t first, uint32_t end, struct span_need used);

/* cost.c: fills c->seconds of all candidates. */
enum q35_status plan_costs(struct planner *p);

/* search.c */
struct choice {
    uint32_t *owner; /* [n] candidate of each layer */
    double cost;     /* of the objective */
    double seconds, bottleneck;
};
/* The best plan over the candidates that are not excluded; false: there is none. */
bool plan_search(struct planner *p, bool throughput, struct choice *best);
/* Cost of a complete assignment, by definition; for both objectives. */
void plan_evaluate(const struct planner *p, const uint32_t *owner, double *seconds,
                   double *bottleneck);

/* given.c: ranges of [schedule] into owner[n]. */
enum q35_status plan_given(struct planner *p, uint32_t *owner);

/* The whole planner. */
enum q35_status plan_make(struct q35_plan **out, const struct plan_input *in,
                          struct q35_error *err);

#endif
