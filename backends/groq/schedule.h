/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_SCHEDULE_H
#define GROQ_SCHEDULE_H

/* The scheduler: from shapes to programs. Deterministic: the same shapes give the same program.
 *
 * PRODUCTS  y = W x for up to 4 matrices that share x. Rows are cut in blocks of plane_size, dealt
 * to the chips in turn and then to their hemispheres; K is cut in groups of plane_size / 64 tiles.
 * A block times a group is a job. Two planes of a hemisphere share a job: one takes the first
 * weights of its codes (columns j of each tile), the other the second (columns j + 64).
 *
 * PACKED  A job's codes lie across the VXM, in 7 slices of the other hemisphere: 8 rows in 7 bytes
 * a lane, byte i holding row i's code in its low 7 bits and bit i of row 7's code on top. 7 vectors
 * are read each cycle; 7 ALUs put the eighth code together; 16 slices of the plane's own hemisphere
 * look the codes up in the tables of the matrix (A0 and A1, 8 each) and their bytes become rows of
 * the two planes. For `trellis` the same codes go through B0 and B1 as a job of their own: its sums
 * belong one row further down in every 16, so they are rotated by the SXM when the block is done,
 * and added. 24 of 32 streams are in use, and 14 of 16 ALUs when both hemispheres decode.
 *
 * DECODED  int8 weights are read from 30 slices of the plane's own hemisphere: 15 rows a cycle.
 * `trellis2` is always kept decoded: its index needs another 8 operations for 8 codes.
 *
 * VECTOR WORK  norms, rotation, attention: passes of read, up to 16 chained operations, write. */

#include "groq.h"
#include "program.h"

struct groq_shape {
    uint32_t scheme, rows, cols;
    bool bias;
};

struct groq_product {
    struct groq_shape mats[4];
    uint32_t n_mats;
    uint32_t tokens; /* at most groq_product_tokens() */
    uint32_t chips;
    enum groq_weights weights;
};

/* The most tokens of one program for these matrices; 0: the shape is beyond this chip. */
uint32_t groq_product_tokens(const struct tsp *t, const struct groq_product *g);
/* Jobs and memory alone, without instructions: for planning. */
enum q35_status groq_place_product(struct tsp_program *p, const struct tsp *t,
                                   const struct groq_product *g, struct q35_error *err);
/* The program. *p: free with tsp_program_free. CAPACITY if it cannot be placed. */
enum q35_status groq_schedule_product(struct tsp_program *p, const struct tsp *t,
                                      const struct groq_product *g, struct q35_error *err);

/* One pass of vector work over memory: `vectors` issues, `stride` apart, on `chips` chips alike. */
struct groq_pass {
    const char *what;
    uint32_t vectors;
    uint32_t stride;
    uint32_t operands; /* 1 or 2, four streams each */
    uint32_t ops;      /* chained ALU operations, 1 .. vxm_alus */
    bool permute;      /* the first operand passes an SXM first */
};

#define GROQ_MAX_PASSES 64u

struct groq_work {
    struct groq_pass passes[GROQ_MAX_PASSES];
    uint32_t count;
    uint32_t chips;
};

enum q35_status groq_schedule_work(struct tsp_program *p, const struct tsp *t,
                                   const struct groq_work *w, struct q35_error *err);
/* `vectors` byte vectors from each chip of a layer to its successor of the next layer. */
enum q35_status groq_schedule_handover(struct tsp_program *p, const struct tsp *t, uint32_t vectors,
                                       struct q35_error *err);

/* By cycle, as execute.c takes them. */
void groq_program_sort(struct tsp_program *p);

/* ---- which slices (counted from the VXM outwards, in one hemisphere) ------------------------- */

#define GROQ_CODE_SETS 6u
#define GROQ_DECODED_WIDTH 15u
extern const uint8_t groq_code_slices[GROQ_CODE_SETS][7];
extern const uint8_t groq_gather_sets[3][16];
/* Which of them looks up the codes of a job. */
uint32_t groq_gather_set(const struct tsp_program *p, const struct tsp_job *j);
enum {
    GROQ_SCALE_SLICE = 36, /* .. 39: row scales */
    GROQ_BIAS_SLICE = 28,  /* .. 31 */
    GROQ_TOKEN_SLICE = 32, /* .. 35: token scales */
    GROQ_X_SLICE = 42      /* and 43: activations; tables A0 and A1, 128 words on B0 and B1 */
};
uint32_t groq_job_members(const struct tsp_matrix *m);

#endif
