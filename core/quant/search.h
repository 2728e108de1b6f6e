/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_SEARCH_H
#define Q35_CORE_QUANT_SEARCH_H

/* Finds the codes of a tile: the nearest code for schemes without memory, a tail-biting Viterbi
 * search down each column for the trellis, a list search around the ring of the tile's 1024 codes
 * for the trellis with a memory of two codes.
 *
 * Everything is integer, so every CPU finds the same codes. Weights are given in 1/16 of a table
 * unit. With B[h] the term that the codes before decide, the cost of a path is twice its squared
 * error in table units, less a constant per code, in saturating int16:
 *
 *     2 |x - A[c] - B[h]|^2 = u[h] + cross[h][c] + v[c]
 *     u[h] = 2|x - B[h]|^2 - |x|^2,  v[c] = 2|x - A[c]|^2 - |x|^2,  cross[h][c] = 4 A[c].B[h]
 *
 * A state is the code before (memory of one) or the two codes before. States that cost more than
 * `prune` above the best are not followed further.
 *
 * Of the states of a ring those with the same last code c are kept together, the best `ways` of
 * them, as numbers cost << 7 | p with p the code before c. So the best of many are found with
 * minima and maxima alone. A cost is one above the best state, plus a constant per step. */

#include <stdint.h>

#include "core/base/base.h"
#include "q35/format.h"

#define Q35_SEARCH_UNIT 16 /* steps in one table unit */
#define Q35_RING_TOP 511u  /* costs of a ring's states have 9 bits */
#define Q35_RING_PRUNE 300 /* states above do not go on */
#define Q35_RING_FLOOR 4   /* what rounding may take from a cost: added, so that none is negative */
#define Q35_RING_WAYS 16u  /* at most */
#define Q35_SEARCH_X_MAX (127 * Q35_SEARCH_UNIT) /* |x| is clamped to this */

struct q35_search;

/* What a CPU does fast. All variants give the same results. */
struct q35_search_kernels {
    const char *name;
    /* One trellis step for the pair x, or x[3] if s->third. cost[128]: of each state, the least
     * being 0. trans[128]: cost + u, or INT16_MAX where pruned. next[128]: costs after this row,
     * the least being 0. */
    void (*step)(const struct q35_search *s, const int16_t *x, const int16_t *cost, int16_t *trans,
                 int16_t *next);
    /* The lowest state p that minimises trans[p] + cross[p][code]. */
    uint32_t (*back)(const struct q35_search *s, const int16_t *trans, uint32_t code);
    /* table: [128][2]. out[i] = (norm[i] - 2 table[i].x + |x|^2 / 2) >> 7 in saturating int16: u or
     * v. */
    void (*terms)(const int16_t *table, const int32_t *norm, const int16_t x[2], int16_t *out);
    /* One step along a ring for the pair x, from now[ways][128] to next[ways][128], each [.][c]
     * ascending. low: the cost of now's best. base: what to take from all costs, which end at
     * Q35_RING_TOP. Returns the least cost. */
    uint32_t (*ring)(const struct q35_search *s, const int16_t x[2], const uint16_t *now,
                     uint32_t low, int32_t base, uint16_t *next);
    /* The lowest code nearest to x. */
    uint32_t (*nearest)(const struct q35_search *s, const int16_t x[2]);
};

/* Tables in the form the search wants; immutable after init. 64-byte aligned. */
struct q35_search {
    int16_t cross[128][128]; /* [p][c] */
    int16_t a[128][2];       /* A in 1/16 units, with the offset of B taken out */
    int16_t b[128][2];
    int16_t a2[128][2]; /* of a code's third weight, each before a zero */
    int16_t b2[128][2];
    int32_t a_norm[128]; /* |A|^2 in 1/256 units */
    int32_t b_norm[128];
    const struct q35_search_kernels *kernels;
    int16_t prune;
    bool memory;    /* has a B term */
    bool third;     /* codes of three weights */
    bool ring;      /* B is indexed by p ^ pp along the ring of a tile */
    uint32_t seams; /* tail-biting: how many further seams are tried */
    uint32_t ways;  /* ring: states kept of each code, 4, 8, 12 or 16 */
};

/* Buffers of the ring search: one per thread. */
struct q35_ring;

/* Kernels by name, "c", "avx2" or "avx512"; NULL gives the best this CPU has. NULL result: unknown
 * or not supported here. */
const struct q35_search_kernels *q35_search_kernels_get(const char *name);

/* What a byte of B adds to weight d of a code, in units of Q35_B_STEP. */
static inline int32_t q35_search_nibble(uint32_t b, uint32_t d)
{
    return (int32_t)(d == 0 ? b >> 4 : d == 1 ? b & 15u : q35_b_third(b));
}

/* s must be 64-byte aligned. */
void q35_search_init(struct q35_search *s, uint32_t scheme, const struct q35_tables *t,
                     const struct q35_search_kernels *kernels);

/* For a tile whose codes stand for `weights` weights inside the matrix, less than the scheme's: the
 * others do not count. */
void q35_search_init_part(struct q35_search *s, uint32_t scheme, uint32_t weights,
                          const struct q35_tables *t, const struct q35_search_kernels *kernels);

/* From tables in 1/16 units that need not be on the int8 grid, for training. b may be NULL. third:
 * codes of three weights. */
void q35_search_init_fine(struct q35_search *s, int16_t a[128][3], int16_t b[128][3], bool third,
                          const struct q35_search_kernels *kernels);

/* For searches with at most so many ways; NULL when memory is short. Release with
 * q35_ring_destroy(). */
struct q35_ring *q35_ring_create(uint32_t ways);
void q35_ring_destroy(struct q35_ring *ring);

/* A whole tile of pairs or singles. x[j][r]: column j, row r. ring: needed if s->ring. */
void q35_search_tile(const struct q35_search *s, struct q35_ring *ring, int16_t x[64][16][2],
                     uint8_t code[64][16]);
void q35_search_ring(const struct q35_search *s, struct q35_ring *ring, int16_t x[64][16][2],
                     uint8_t code[64][16]);

/* The ring column by column, for feedback between columns: begin with what is known of all of x,
 * which decides the codes before column 0 (put into code[63][14] and [15]); then each column in
 * turn, from x[j] and, to end it well, the first rows of x[j + 1] as far as they are known. */
void q35_ring_begin(const struct q35_search *s, struct q35_ring *ring, int16_t x[64][16][2],
                    uint8_t code[64][16]);
void q35_ring_column(const struct q35_search *s, struct q35_ring *ring, int16_t x[64][16][2],
                     uint32_t j, uint8_t code[64][16]);

/* Column j once more, from x[j], the codes of all others and its own last two as they are. */
void q35_ring_again(const struct q35_search *s, struct q35_ring *ring, int16_t x[64][16][2],
                    uint32_t j, uint8_t code[64][16]);

/* x[16][2]: the column pair down the rows (second value 0 for single schemes). code[16]: out. Not
 * for rings. */
void q35_search_column(const struct q35_search *s, int16_t x[16][2], uint8_t code[16]);

/* The same for three columns, if s->third. x[.][3] is not looked at. */
void q35_search_triple(const struct q35_search *s, int16_t x[16][4], uint8_t code[16]);

/* Squared error of codes in 1/256 units. */
int64_t q35_search_error(const struct q35_search *s, int16_t x[16][2], const uint8_t code[16]);

extern const struct q35_search_kernels q35_search_kernels_c;
#if defined(__x86_64__)
extern const struct q35_search_kernels q35_search_kernels_avx2;
extern const struct q35_search_kernels q35_search_kernels_avx512;
#endif

#endif
