/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_EXECUTE_H
#define GROQ_EXECUTE_H

/* Executes programs of products: moves bytes as the instructions say, on streams, through tables,
 * planes and links, and takes the results from the memory of the first chip. Nothing is known here
 * of what a product is: a wrong program gives wrong results, or an error when an operand is not
 * where an instruction expects it. */

#include "schedule.h"

/* A matrix as it lies in the slices: by job, slice of the job, issue, lane. */
struct groq_image {
    struct tsp_matrix matrix;
    uint32_t lanes;  /* of 64 for each tile of a group */
    uint8_t *data;   /* [job][member][step][lanes] */
    uint64_t *first; /* [job] offsets into data */
};

enum q35_status groq_image_create(struct groq_image **out, const struct tsp *t,
                                  enum groq_weights weights, const struct q35_matrix *m,
                                  struct q35_error *err);
void groq_image_destroy(struct groq_image *i);

/* Where the words of a program's jobs are in its images; made once for a program. */
struct groq_map;
struct groq_map *groq_map_create(const struct tsp_program *p);
void groq_map_destroy(struct groq_map *m);
/* The words that a READ of weights names, *lanes wide each; NULL if they are not those of one job.
 */
const uint8_t *groq_map_find(const struct groq_map *m, const struct tsp_program *p,
                             const struct groq_image *const *images, const struct tsp_instr *i,
                             uint32_t *lanes);

struct groq_exec; /* memories, streams and planes; reused from run to run */
struct groq_exec *groq_exec_create(void);
void groq_exec_destroy(struct groq_exec *x);

/* y of tokens first .. first + p->tokens - 1 of the arguments; tokens beyond a->n_tokens are
 * computed from zeros and dropped. images: of a->mats. INTERNAL, with cycle and unit, if the
 * program is wrong. */
enum q35_status groq_execute(struct groq_exec *x, const struct tsp_program *p,
                             const struct groq_map *map, const struct groq_image *const *images,
                             const struct q35_matmul_args *a, uint32_t first,
                             struct q35_error *err);

#endif
