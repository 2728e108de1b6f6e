/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_GROQ_TRIAL_H
#define TESTS_GROQ_TRIAL_H

/* Products scheduled for the simulated chips, and executed beside the reference. */

#include "tests/unit/test.h"

#include "check.h"
#include "sim.h"

extern struct tsp chip;

/* Sets `chip` to the configuration's defaults. */
bool trial_chip(void);

/* Two matrices of one input: rows x cols with biases, and 100 x cols without. */
struct groq_product shape(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t tokens,
                          uint32_t chips, enum groq_weights weights);
/* Fails the test if there is no schedule. */
void schedule(struct tsp_program *p, const struct groq_product *g);

/* One product of a program and of the reference, over random weights and activations. */
struct trial {
    struct q35_matrix m[2];
    struct groq_image *images[2];
    struct q35_matmul_args a;
    int8_t *q;
    float *scales, *got[2], *want[2];
};

void trial_init(struct trial *x, const struct groq_product *g);
void trial_fini(struct trial *x);
/* Executes; true if every bit is the reference's. */
bool is_exact(struct trial *x, const struct groq_product *g, struct tsp_program *p,
              enum q35_status *st);

#endif
