/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_SIM_H
#define GROQ_SIM_H

/* What the files of mode sim share. */

#include <pthread.h>

#include "execute.h"
#include "layer.h"

/* A program for products of one shape. */
struct sim_product {
    struct sim_product *next;
    struct groq_product shape;
    struct tsp_program program;
    struct groq_map *map;
};

struct groq_sim {
    struct groq_config config;
    struct groq_exec *exec;
    struct sim_product *products;
    pthread_mutex_t lock; /* of times, which [any] calls share */
    struct groq_layer_time *times;
    /* Of the layers that were uploaded last, for pace = real: where each lies in time. */
    uint32_t chips_per_layer;
};

/* The time of one layer, scheduled on the first call. *out lives as long as the device. [any] */
enum q35_status groq_sim_layer(struct groq_sim *s, const struct q35_layer *layer, uint32_t tokens,
                               uint32_t context, uint32_t chips, enum groq_weights weights,
                               const struct groq_layer_time **out, struct q35_error *err);
/* Seconds of these layers on chips_per_layer chips each, one after the other. [any] */
enum q35_status groq_sim_seconds(void *state, const struct q35_layer *layers, uint32_t count,
                                 uint32_t stride, uint32_t n_tokens, uint32_t context, double *out,
                                 struct q35_error *err);
enum q35_status groq_sim_plan(void *state, const struct q35_plan_request *request,
                              struct q35_plan_result *result, struct q35_error *err);
/* Called before an upload: the placement that products and times are of. [device] */
enum q35_status groq_sim_layers(void *state, const struct q35_layer *layers, uint32_t count,
                                uint32_t stride, struct q35_error *err);
enum q35_status groq_sim_run(void *state, struct q35_device *dev, const struct q35_run *run,
                             struct q35_error *err);
void groq_sim_times_free(struct groq_sim *s);
/* The text of groq.h's report. [any] */
enum q35_status groq_sim_report(void *state, const struct q35_layer *layers, uint32_t count,
                                uint32_t stride, uint32_t n_tokens, uint32_t context, uint32_t json,
                                char *text, uint64_t size, struct q35_error *err);

#endif
