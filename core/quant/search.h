/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_SEARCH_H
#define Q35_CORE_QUANT_SEARCH_H

/* Finds the 16 codes of one tile column: the nearest code for schemes without memory, a tail-biting
 * Viterbi search for the trellis.
 *
 * Everything is integer, so every CPU finds the same codes. Weights are given in 1/16 of a table
 * unit. A trellis state is the code of the row above; the cost of a path is twice its squared error
 * in table units, less a constant per row, in saturating int16:
 *
 *     2 |x - A[c] - B[p]|^2 = u[p] + cross[p][c] + v[c]
 *     u[p] = 2|x - B[p]|^2 - |x|^2,  v[c] = 2|x - A[c]|^2 - |x|^2,  cross[p][c] = 4 A[c].B[p]
 *
 * States whose cost is more than Q35_SEARCH_PRUNE above the best are not followed further. */

#include <stdint.h>

#include "core/base/base.h"
#include "q35/format.h"

#define Q35_SEARCH_UNIT 16                       /* steps in one table unit */
#define Q35_SEARCH_X_MAX (127 * Q35_SEARCH_UNIT) /* |x| is clamped to this */

struct q35_search;

/* What a CPU does fast. All variants give the same results. */
struct q35_search_kernels {
    const char *name;
    /* One trellis step for the pair x. cost[128]: of each state, the least being 0. trans[128]:
     * cost + u, or INT16_MAX where pruned. next[128]: costs after this row, the least being 0. */
    void (*step)(const struct q35_search *s, const int16_t x[2], const int16_t *cost,
                 int16_t *trans, int16_t *next);
    /* The lowest state p that minimises trans[p] + cross[p][code]. */
    uint32_t (*back)(const struct q35_search *s, const int16_t *trans, uint32_t code);
    /* The lowest code nearest to x. */
    uint32_t (*nearest)(const struct q35_search *s, const int16_t x[2]);
};

/* Tables in the form the search wants; immutable after init. 64-byte aligned. */
struct q35_search {
    int16_t cross[128][128]; /* [p][c] */
    int16_t a[128][2];       /* A in 1/16 units, with the offset of B taken out */
    int16_t b[128][2];
    int32_t a_norm[128]; /* |A|^2 in 1/256 units */
    int32_t b_norm[128];
    const struct q35_search_kernels *kernels;
    int16_t prune;
    bool memory;    /* has a B term */
    uint32_t seams; /* tail-biting: how many further seams are tried */
};

/* Kernels by name, "c", "avx2" or "avx512"; NULL gives the best this CPU has. NULL result: unknown
 * or not supported here. */
const struct q35_search_kernels *q35_search_kernels_get(const char *name);

/* s must be 64-byte aligned. */
void q35_search_init(struct q35_search *s, uint32_t scheme, const struct q35_tables *t,
                     const struct q35_search_kernels *kernels);

/* From tables in 1/16 units that need not be on the int8 grid, for training. b may be NULL. */
void q35_search_init_fine(struct q35_search *s, int16_t a[128][2], int16_t b[128][2],
                          const struct q35_search_kernels *kernels);

/* x[16][2]: the column pair down the rows (second value 0 for single schemes). code[16]: out. */
void q35_search_column(const struct q35_search *s, int16_t x[16][2], uint8_t code[16]);

/* Squared error of codes in 1/256 units. */
int64_t q35_search_error(const struct q35_search *s, int16_t x[16][2], const uint8_t code[16]);

extern const struct q35_search_kernels q35_search_kernels_c;
#if defined(__x86_64__)
extern const struct q35_search_kernels q35_search_kernels_avx2;
extern const struct q35_search_kernels q35_search_kernels_avx512;
#endif

#endif
