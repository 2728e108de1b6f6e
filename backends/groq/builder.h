/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_BUILDER_H
#define GROQ_BUILDER_H

/* The scheduler's tool: groups of instructions in fixed distance to each other, placed together at
 * the first moment when every unit, memory bank and stream they need is free. */

#include "program.h"

enum { HEMI_W = 0, HEMI_E = 1, DIR_EAST = 0, DIR_WEST = 1 };
#define BUILDER_GROUP 96

/* Busy cycles of one resource, or taken slots of a stream. */
struct busy {
    uint64_t *bits;
    uint32_t words;
};

struct builder {
    struct tsp t;
    struct tsp_program *p;
    struct busy *busy; /* [chips][per_chip] */
    uint32_t per_chip, first[TSP_U_COUNT], first_bank, first_stream;
    struct tsp_instr group[BUILDER_GROUP]; /* cycle: relative to the base */
    int32_t at[BUILDER_GROUP];
    uint32_t count;
    bool failed; /* no memory, or a group that fits nowhere */
};

bool builder_init(struct builder *b, struct tsp_program *p);
void builder_fini(struct builder *b);

/* Places from west to east, and the way along a direction. */
uint32_t builder_place(const struct tsp *t, uint32_t kind, uint32_t unit);
int32_t builder_way(const struct tsp *t, uint32_t dir, uint32_t kind, uint32_t unit);

/* Adds to the group; `at` is the cycle of issue relative to the base. */
void builder_add(struct builder *b, int32_t at, struct tsp_instr i);
/* Places the group and empties it. Returns its base, at least `earliest`. */
uint32_t builder_commit(struct builder *b, uint32_t earliest);
/* The same for a group whose instructions are all issued equally often: places the first *n issues,
 * at least `least` or all of them. */
uint32_t builder_commit_some(struct builder *b, uint32_t earliest, uint32_t least, uint32_t *n);

/* An instruction with neither streams nor a segment, issued n times, every `stride` cycles. */
struct tsp_instr builder_instr(uint32_t chip, uint32_t kind, uint32_t unit, uint32_t op, uint32_t n,
                               uint32_t stride);

uint16_t builder_segment(struct builder *b, struct tsp_segment s);

#endif
