/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_PROGRAM_H
#define GROQ_PROGRAM_H

/* A program of the simulated chips: what every unit of every chip does in which cycle. It is data;
 * schedule.c makes it, check.c proves it legal, execute.c does what it says.
 *
 * GEOMETRY  A chip is a row of units: plane pair W, SXM W, memory W (outermost slices first), VXM,
 * memory E, SXM E, plane pair E. Slices 0 .. H-1 are W's, H .. 2H-1 E's, each counted from the VXM
 * outwards. Streams flow east (ids 0 .. S-1) and west (ids S .. 2S-1) over the whole row, one place
 * in a cycle. What is put on a stream at place p in cycle t passes place q at t + |q - p|, until
 * something else is put there.
 *
 * INSTRUCTION  Issued `n` times, `stride` cycles apart, from `cycle` on (the published "repeat").
 * It takes its operands from the streams that pass its unit in the cycle of issue. What it puts on
 * streams leaves its unit after the latency of its kind. Wider operands lie on adjacent streams,
 * low byte first: int32 and f32 on four. Ids from 2S on are the outputs of the ALUs, for chaining:
 * 2S + a holds what ALU a finishes in that cycle. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tsp.h"

enum tsp_op {
    TSP_READ = 1, /* MEM: word addr + i*step of segment -> out */
    TSP_GATHER,   /* MEM: each lane its byte of word addr + (its byte of in[0] & imm) -> out */
    TSP_WRITE,    /* MEM: in[0] -> word addr + i*step */
    TSP_LOAD,     /* MXM: in[0] -> column addr + i*step of weight buffer imm */
    TSP_INSTALL,  /* MXM: buffer imm becomes the plane's weights */
    TSP_DOT,      /* MXM: activations in[0] -> sums addr + i; imm: 1 starts them, 0 adds */
    TSP_EMIT,     /* MXM: sums addr + i -> out (int32), mxm_latency after their last DOT */
    TSP_ROTATE,   /* SXM: in[0] (imm bytes wide) one lane up in every 16 -> out */
    TSP_AND,      /* VXM, int32: in[0] & imm -> out; bytes that imm drops are not looked at */
    TSP_MUL,      /* in[0] * imm */
    TSP_SHIFT,    /* in[0] >> imm, logical */
    TSP_OR,       /* in[0] | in[1] -> out; one stream takes the low byte */
    TSP_ADD,      /* in[0] + in[1] */
    TSP_FLOAT,    /* (float)in[0] */
    TSP_FMUL,     /* f32: in[0] * in[1] */
    TSP_FADD,     /* f32: in[0] + in[1] */
    TSP_WORK,     /* one of the other float operations, for its time alone */
    TSP_SEND,     /* C2C: in[0] -> link */
    TSP_RECEIVE,  /* C2C: link -> out */
    TSP_OP_COUNT
};

enum tsp_unit_kind {
    TSP_U_READ = 1, /* read port of a slice; gathers too */
    TSP_U_WRITE,    /* write port of a slice */
    TSP_U_LOAD,     /* one stream's way into the buffers of a plane: plane * 16 + port */
    TSP_U_PLANE,    /* installing and multiplying of a plane */
    TSP_U_EMIT,     /* the output of a plane */
    TSP_U_SXM,      /* hemisphere * 4 + one of four permuters, four streams wide */
    TSP_U_ALU,
    TSP_U_SEND,
    TSP_U_RECEIVE,
    TSP_U_COUNT
};

#define TSP_NO_STREAM UINT16_MAX
#define TSP_NO_SEGMENT UINT16_MAX
#define TSP_MAX_SEGMENTS 72u

struct tsp_instr {
    uint32_t cycle;
    uint16_t chip;
    uint8_t kind;  /* enum tsp_unit_kind */
    uint8_t op;    /* enum tsp_op */
    uint16_t unit; /* number among its kind */
    uint16_t segment;
    uint16_t n;
    uint16_t stride;
    uint16_t in[2];
    uint16_t out;
    uint16_t step;
    uint32_t addr;
    uint32_t imm;
};

/* What a stretch of memory is for. Everything but RESULT and TEMP lies there before the start. */
enum tsp_segment_kind {
    TSP_SEG_CODES = 1, /* packed weights of a matrix, 7 vectors for 8 code vectors */
    TSP_SEG_BYTES,     /* decoded weights of a matrix */
    TSP_SEG_STORE,     /* tables of a matrix, 128 words each: A0 and B0 in one slice, A1 and B1 in
                          another */
    TSP_SEG_TABLE,     /* the tables that are looked up */
    TSP_SEG_X,         /* int8 activations: word t * groups + g, first half, second half */
    TSP_SEG_SCALE,     /* row scales of a matrix: four bytes of word `block` in four slices */
    TSP_SEG_BIAS,      /* like SCALE */
    TSP_SEG_TOKEN,     /* token scales on every lane: four bytes of word t */
    TSP_SEG_RESULT,    /* f32: four bytes of word block * tokens + t */
    TSP_SEG_INPUT,     /* operands of vector work, there before */
    TSP_SEG_TEMP       /* written, then read by vector work */
};

struct tsp_segment {
    uint8_t kind;
    uint8_t placed; /* 1: base is a word address; 0: the linker puts it where the layer lies */
    uint16_t matrix;
    uint32_t base;
    uint32_t words; /* in each slice, at most */
};

/* One matrix of a program, as the chips have it. */
struct tsp_matrix {
    uint32_t rows, tiles; /* rows padded to 16; tiles along K */
    uint8_t weights;      /* of a code: 2 or 1 */
    uint8_t halves;       /* planes that one code vector feeds: 2 or 1 */
    uint8_t parts;        /* 1: A; 2: A and B */
    uint8_t packed;       /* 1: CODES, 0: BYTES */
    uint8_t bias, ring;   /* ring: see format.h */
    uint32_t groups;      /* of tiles: what the lanes take at once */
    uint32_t blocks;      /* of rows: what a plane takes */
    uint32_t first_job;   /* of its jobs */
    uint32_t job_count;
};

/* The product of one block of rows and one group of columns. */
struct tsp_job {
    uint16_t matrix, chip;
    uint8_t hemisphere, lanes_tiles; /* 0 W, 1 E; tiles in this group */
    uint16_t steps;                  /* issues: 8 rows each if packed, else `width` */
    uint32_t row, rows;
    uint32_t group;
    uint32_t places;  /* first of its entries in program.places */
    uint32_t members; /* and how many: 7 bytes of codes, or rows and halves of int8 */
};

/* `steps` words from a word of a slice on. */
struct tsp_place {
    uint32_t slice, addr;
};

struct tsp_program {
    struct tsp tsp;
    uint32_t chips, tokens;
    uint32_t cycles; /* until the last result has been written */
    struct tsp_instr *instrs;
    uint32_t count, cap;
    struct tsp_segment segments[TSP_MAX_SEGMENTS];
    uint32_t segment_count;
    struct tsp_matrix matrices[4];
    uint32_t matrix_count;
    struct tsp_job *jobs;
    uint32_t job_count;
    struct tsp_place *places; /* of jobs, `members` each */
    uint32_t place_count;
    struct tsp_place *results; /* [blocks of all matrices] four slices, `tokens` words each */
    uint32_t result_count;
    uint32_t slice_words; /* words that the matrices take in the fullest slice */
    uint16_t seg_x, seg_token, seg_table;
};

/* Latency from issue to output; 0 for what puts nothing on a stream. */
static inline uint32_t tsp_latency(const struct tsp *t, uint32_t op)
{
    switch (op) {
    case TSP_READ:
    case TSP_GATHER:
        return t->mem_latency;
    case TSP_ROTATE:
        return t->sxm_latency;
    case TSP_EMIT:
    case TSP_RECEIVE:
        return 1;
    case TSP_AND:
    case TSP_MUL:
    case TSP_SHIFT:
    case TSP_OR:
    case TSP_ADD:
    case TSP_FLOAT:
    case TSP_FMUL:
    case TSP_FADD:
    case TSP_WORK:
        return t->vxm_latency;
    default:
        return 0;
    }
}

/* Byte streams that an instruction drives; 0 for none and for chained outputs. */
static inline uint32_t tsp_out_streams(const struct tsp *t, const struct tsp_instr *i)
{
    if (i->out >= 2 * t->streams)
        return 0;
    switch (i->op) {
    case TSP_EMIT:
    case TSP_ADD:
    case TSP_FLOAT:
    case TSP_FMUL:
    case TSP_FADD:
    case TSP_WORK:
        return 4;
    case TSP_ROTATE:
        return i->imm;
    default:
        return 1;
    }
}

/* How many of each unit a chip has. */
static inline uint32_t tsp_unit_count(const struct tsp *t, uint32_t kind)
{
    switch (kind) {
    case TSP_U_READ:
    case TSP_U_WRITE:
        return t->mem_slices;
    case TSP_U_LOAD:
        return t->planes * 16;
    case TSP_U_PLANE:
    case TSP_U_EMIT:
        return t->planes;
    case TSP_U_SXM:
        return 8;
    case TSP_U_ALU:
        return t->vxm_alus;
    case TSP_U_SEND:
    case TSP_U_RECEIVE:
        return t->links;
    default:
        return 0;
    }
}

const char *tsp_op_name(uint32_t op);
const char *tsp_unit_name(uint32_t kind);
void tsp_program_free(struct tsp_program *p);

#endif
