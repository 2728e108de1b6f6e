/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_CHECK_H
#define GROQ_CHECK_H

/* Proves that a program is one the chips could run and that it computes what it is for. It shares
 * nothing with the scheduler but program.h: units and streams are counted anew from the
 * instructions, and what every stream carries is followed symbolically, from the words of memory
 * that are there at the start to the results. The first offence is reported. */

#include "program.h"

enum tsp_rule {
    TSP_LEGAL = 0,
    TSP_BAD_UNIT,       /* there is no such chip or unit */
    TSP_BAD_OP,         /* not an instruction of that unit */
    TSP_BAD_REPEAT,     /* issued 0 times, or 0 cycles apart */
    TSP_UNIT_BUSY,      /* a unit is used twice in a cycle */
    TSP_STREAM_TAKEN,   /* two values in one slot of a stream */
    TSP_NO_SUCH_STREAM, /* a stream that does not exist */
    TSP_LATE_OPERAND,   /* an operand does not pass in the cycle of issue */
    TSP_WRONG_OPERAND,  /* something else passes than the instruction is for */
    TSP_BAD_ADDRESS,    /* outside of its segment, or not where such data lie */
    TSP_BANK_CONFLICT,  /* read and write in one bank of a slice in one cycle */
    TSP_UNWRITTEN,      /* read before it was written */
    TSP_MEMORY_FULL,    /* more words than a slice has */
    TSP_OVERLAP,        /* two things in one word of memory */
    TSP_GATHER_RATE,    /* look-ups faster than gather_lanes allows */
    TSP_WRONG_TABLE,    /* a look-up in a table that is not there, or not yet */
    TSP_BUFFER_LOST,    /* weights overwritten before they were installed */
    TSP_NOT_LOADED,     /* installed before every column had arrived */
    TSP_BAD_COLUMN,     /* a column that the plane or the job does not have */
    TSP_SUMS_LOST,      /* sums begun anew before they were emitted, or beyond acc_vectors */
    TSP_SUMS_EARLY,     /* sums emitted before they were complete */
    TSP_BAD_LINK,       /* a link that leads nowhere */
    TSP_NOT_SENT,       /* received what was not sent, or in the wrong cycle */
    TSP_NO_RESULT,      /* a result that is not produced, or not on every chip */
    TSP_BAD_PLACEMENT,  /* a part of a matrix that has no place, or two */
    TSP_BAD_CYCLES,     /* the program takes longer than it says */
    TSP_CHECK_NOMEM,
    TSP_RULE_COUNT
};

struct tsp_verdict {
    enum tsp_rule rule;
    uint32_t instr; /* index, or UINT32_MAX */
    char text[240];
};

/* True if the program is legal. */
bool tsp_check(const struct tsp_program *p, struct tsp_verdict *v);
const char *tsp_rule_text(enum tsp_rule rule);

#endif
