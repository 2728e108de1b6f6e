/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_SIM_H
#define GROQ_SIM_H

/* What the files of mode sim share. */

#include <pthread.h>

#include "execute.h"

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
    pthread_mutex_t lock; /* of what [any] calls share */
};

/* Chips that a product runs on. */
uint32_t groq_sim_chips(const struct groq_sim *s, const struct q35_matrix *const *mats, uint32_t n);

#endif
