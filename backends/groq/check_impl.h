/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_CHECK_IMPL_H
#define GROQ_CHECK_IMPL_H

/* What the files of the checker share. */

#include "check.h"

/* What a vector is. Of vector i of a burst `step` counts on: step + i. */
enum fact_kind {
    F_NONE,
    F_RAW,    /* codes: matrix, job, a: byte 0 .. 6, step */
    F_MASKED, /* matrix, job, a: 0 of bytes 0-3, 1 of bytes 4-6 */
    F_SPREAD, /* the same, multiplied */
    F_BITS,   /* the same, shifted down */
    F_EIGHTH, /* the eighth code */
    F_STORED, /* words of a table: matrix, a: part, b: half */
    F_WEIGHT, /* matrix, job, a: part, b: half, c: row in its step, step */
    F_X,      /* a: half, b: group, step: token */
    F_SUM,    /* matrix, block, a: set of (part, plane), b: byte, c: rotated; step: token */
    F_FLOAT,  /* complete sums as f32 */
    F_SCALE,  /* matrix, block, b: byte; not counting */
    F_TOKEN,  /* b: byte, step */
    F_BOTH,   /* row scale times token scale: matrix, block, step */
    F_BIAS,   /* like F_SCALE */
    F_PLAIN,  /* result without its bias: matrix, block, step */
    F_RESULT, /* matrix, block, b: byte, step */
    F_WORK    /* data of vector work */
};

struct fact {
    uint8_t kind, a, b, c;
    uint16_t matrix;
    uint32_t job; /* or block, or group */
    uint32_t step;
};

/* What an instruction put somewhere. */
struct trace {
    uint64_t key; /* chip, stream, slot */
    struct fact fact;
    uint32_t n, stride, source; /* way of the unit along the stream */
    uint32_t width;             /* ALU outputs carry whole words: 4 */
};

/* Columns of one buffer of a plane, or what is installed. */
struct held {
    uint32_t job, part, half, count, end; /* end: cycle of the last arrival */
    bool used;                            /* something is there that has not been installed */
    bool mixed;
    uint8_t *column; /* [plane_size] 1: has arrived */
};

/* A stretch of a plane's sums. */
struct sums {
    uint32_t addr, n, matrix, block, part, groups, last_group,
        last; /* last: cycle of the last DOT */
    uint32_t emitted;
    bool live;
};

#define CHECK_SUMS 16u

struct check_plane {
    struct held buffer[2], installed;
    struct sums sums[CHECK_SUMS];
};

struct check_table {
    uint16_t matrix;
    uint8_t half, filled;
    uint32_t ready, used; /* cycles: last write, last look-up */
};

/* A write of results or work. */
struct stored {
    uint32_t slice, chip, segment, addr, n, cycle, stride;
    struct fact fact;
};

struct checker {
    const struct tsp_program *p;
    const struct tsp *t;
    struct tsp_verdict *v;
    uint32_t at;          /* instruction */
    uint32_t *order;      /* instructions by cycle */
    struct trace *traces; /* hash table */
    uint32_t trace_mask, trace_count;
    struct check_plane *planes;
    struct check_table *tables; /* [chips][slices][2] */
    struct stored *stored;
    uint32_t stored_count, stored_cap;
    uint32_t *last_stored; /* [chips][slices] index + 1 of the newest */
    uint32_t *prev_stored; /* [stored_cap] */
    uint32_t *sent;        /* [chips][links] first cycle in which the link is free */
    uint64_t *word_keys;   /* placement: (chip, slice, addr) ascending */
    uint32_t *word_jobs;   /* job << 5 | member */
    uint32_t word_count;
};

bool check_fail(struct checker *c, enum tsp_rule rule, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* check.c */
uint32_t check_way(const struct tsp *t, bool west, const struct tsp_instr *i);
/* check_flow.c: one instruction's operands and what it makes of them. */
bool check_flow(struct checker *c, const struct tsp_instr *i);
/* The output: bytes of one fact on adjacent streams, or a whole word in a chain. */
bool check_put(struct checker *c, const struct tsp_instr *i, struct fact f, uint32_t width);
/* What passes the unit on a stream, all through the burst. */
bool check_get(struct checker *c, const struct tsp_instr *i, uint32_t stream, struct fact *f);
bool check_wrong(struct checker *c, const char *what);
/* check_memory.c: the same for instructions of slices; the results at the end. */
bool check_read(struct checker *c, const struct tsp_instr *i);
bool check_gather(struct checker *c, const struct tsp_instr *i);
bool check_write(struct checker *c, const struct tsp_instr *i);
bool check_results(struct checker *c);
/* check_place.c: where weights lie, and finding them. */
bool check_placement(struct checker *c);
bool check_words(const struct checker *c, const struct tsp_instr *i, struct fact *f);

#endif
