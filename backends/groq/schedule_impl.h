/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_SCHEDULE_IMPL_H
#define GROQ_SCHEDULE_IMPL_H

/* What the files of the scheduler of products share. */

#include "builder.h"
#include "schedule.h"

/* Streams of a direction. */
enum {
    S_RAW = 0,     /* 7 byte vectors of codes */
    S_EIGHTH = 7,  /* the code made of them */
    S_WEIGHT = 8,  /* 16 rows of weights, 8 for each plane; decoded: 30 from 0 on */
    S_TABLE = 24,  /* 2, inwards */
    S_RESULT = 26, /* 4 */
    S_X = 30,      /* 2 */
    S_LINK = 31,   /* to the links, westwards */
    S_ACC = 0,     /* inwards: 16 of sums, then scales, token scales, biases */
    S_SCALE = 16,
    S_TOKEN = 20,
    S_BIAS = 24
};

/* What one hemisphere of one chip is doing. */
struct lane {
    uint32_t next_base;    /* of the next job's reads */
    uint32_t next_job;     /* index from matrix.first_job on */
    uint32_t phases;       /* parts of jobs so far */
    uint32_t installed[2]; /* when each weight buffer was taken over last */
    uint32_t dotted;       /* when the planes are free again */
    uint32_t sums[2];      /* when the sums of even and odd blocks had been emitted */
    uint32_t blocks;
};

struct sched {
    struct builder b;
    struct tsp_program *p;
    const struct tsp *t;
    struct lane lanes[2 * 16]; /* [chips][2] */
    uint16_t *seg_weights, *seg_store, *seg_scale, *seg_bias;
    uint32_t *block_base;
    uint16_t seg_result;
};

/* schedule.c */

uint32_t groq_half_of(const struct sched *s);
/* Number of a stream: along the hemisphere's outward direction, or inwards. */
uint16_t groq_outward(const struct sched *s, uint32_t hemi, uint32_t id);
uint16_t groq_inward(const struct sched *s, uint32_t hemi, uint32_t id);
/* Way of a unit along the outward or inward direction of a hemisphere. */
int32_t groq_way_out(const struct sched *s, uint32_t hemi, uint32_t kind, uint32_t unit);
int32_t groq_way_in(const struct sched *s, uint32_t hemi, uint32_t kind, uint32_t unit);
/* A read whose data is on slot `slot` of a stream. */
void groq_add_read(struct sched *s, uint32_t chip, uint32_t slice, int32_t slot, int32_t way,
                   uint16_t out, uint16_t segment, uint32_t addr, uint32_t step, uint32_t n,
                   uint32_t stride);
void groq_add_write(struct sched *s, uint32_t chip, uint32_t slice, int32_t slot, int32_t way,
                    uint16_t in, uint16_t segment, uint32_t addr, uint32_t n, uint32_t stride);
void groq_add_alu(struct sched *s, uint32_t chip, uint32_t alu, uint32_t op, int32_t at,
                  uint16_t in0, uint16_t in1, uint32_t imm, uint16_t out, uint32_t n,
                  uint32_t stride);
/* First vector of the sums of a part of the hemisphere's current block. */
uint32_t groq_sums_of(const struct sched *s, const struct lane *l, uint32_t part);

/* schedule_result.c */

/* The results of a block, made and written to memory once its last job is done. Returns when. */
uint32_t groq_result(struct sched *s, const struct tsp_job *j, uint32_t block);
/* Every other chip of the layer gets the block, which is there from cycle `ready` on. */
void groq_exchange(struct sched *s, const struct tsp_job *j, uint32_t block, uint32_t ready);

#endif
