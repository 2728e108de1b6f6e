/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_EXECUTE_IMPL_H
#define GROQ_EXECUTE_IMPL_H

/* What the files of the executor share. */

#include <string.h>

#include "execute.h"

/* Bursts that a stream remembers, by slot. What is under way on one began within the fewer cycles
 * that it takes to pass the chip; on a link, within hop_cycles, and no two closer than a vector. */
#define KEPT 64u

/* What one instruction put on a stream: n vectors, in slots stride apart. */
struct burst {
    int64_t slot;
    uint32_t n, stride;
    uint8_t *data; /* [n][width * lanes] */
    uint64_t room;
};

struct lane_fifo {
    struct burst kept[KEPT];
};

struct plane {
    int8_t *weights[3]; /* [size][lanes]: two buffers, then what is installed */
    uint32_t *sums;     /* [acc_vectors][size] */
};

struct groq_exec {
    struct lane_fifo *streams; /* [chips][2 * streams + alus + links] */
    uint32_t stream_count, per_chip;
    struct plane *planes; /* [chips][planes] */
    uint32_t plane_count;
    uint8_t *tables;   /* [chips][slices][256]: all lanes of a word hold the same */
    uint8_t *results;  /* [chips][slices][words][lanes] */
    uint8_t *x;        /* [2][tokens * groups][lanes] */
    uint8_t *constant; /* one vector */
    uint32_t lanes, words;
    const struct tsp_program *p;
    const struct groq_map *map;
    const struct groq_image *const *images;
    const struct q35_matmul_args *a;
    uint32_t first;
    uint32_t chips; /* what the arrays were made for */
    uint64_t made[4];
};

static inline uint32_t groq_bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static inline float groq_float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* execute.c: one word of memory that is neither weights nor a table; NULL: nothing lies there. */
const uint8_t *groq_exec_word(struct groq_exec *x, const struct tsp_instr *i, uint32_t addr);
/* execute_units.c: does one instruction. NULL, or what is wrong with it. */
const char *groq_exec_step(struct groq_exec *x, const struct tsp_instr *i);

#endif
