/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/refine.h"

#include <string.h>

#include "core/quant/tables.h"

#define SAMPLE (1u << 18) /* weights that a round looks at */
#define FEW 16u           /* codes met less often keep what they stand for */

/* Row blocks that are looked at, of `blocks`. */
static uint32_t sample(const struct q35_block_job *j, uint32_t blocks)
{
    uint32_t n = SAMPLE / (Q35_TILE_ROWS * j->cols_padded) + 1;
    return n < blocks ? n : blocks;
}

/* The nearest table entry at which all sums with B stay within what is allowed. */
static int8_t entry(double v, uint32_t most_b)
{
    double top = Q35_W_MAX - (double)(Q35_B_STEP * most_b);
    v = v < -Q35_W_MAX ? -Q35_W_MAX : v > top ? top : v;
    return (int8_t)(int32_t)(v < 0 ? v - 0.5 : v + 0.5);
}

static void update(struct q35_tables *t, const struct q35_refine_sums *sums)
{
    uint32_t most[2] = {0, 0}, c;
    for (c = 0; c < 128; c++) {
        most[0] = t->b[c] >> 4 > (int)most[0] ? t->b[c] >> 4 : most[0];
        most[1] = (t->b[c] & 15) > (int)most[1] ? t->b[c] & 15 : most[1];
    }
    for (c = 0; c < 128; c++) {
        double n = (double)sums->count[c] * Q35_SEARCH_UNIT;
        if (sums->count[c] < FEW)
            continue;
        t->a0[c] = entry(sums->sum[c][0] / n, most[0]);
        t->a1[c] = entry(sums->sum[c][1] / n, most[1]);
    }
}

enum q35_status q35_refine_tables(const struct q35_encode_params *p, struct q35_block_job *j,
                                  q35_rows_fn read, void *read_ctx, struct q35_tables *tables,
                                  struct q35_error *err)
{
    uint32_t blocks = q35_pad_rows(j->rows) / Q35_TILE_ROWS, n = sample(j, blocks), round, i;
    struct q35_search before = *j->search;
    struct q35_block *k;
    enum q35_status st = Q35_OK;
    if (!p->refine || p->tables || Q35_SCHEME_WEIGHTS(p->scheme) != 2 ||
        p->scheme == Q35_SCHEME_ALT43)
        return Q35_OK;
    k = q35_block_create(j);
    if (!k)
        return q35_fail(err, Q35_E_NOMEM, "no memory to encode %u columns", j->cols);
    *tables = *j->tables;
    j->tables = tables;
    for (round = 0; round < p->refine && !st; round++) {
        struct q35_refine_sums sums = {{{0}}, {0}};
        for (i = 0; i < n && !st; i++) {
            st = q35_block_load(j, k, (uint32_t)((uint64_t)i * blocks / n), read, read_ctx, err);
            if (!st)
                q35_block_gather(j, k, &sums);
        }
        update(tables, &sums);
        q35_search_init(j->search, p->scheme, tables, before.kernels);
        j->search->seams = before.seams;
        j->search->ways = before.ways;
    }
    q35_block_destroy(k);
    return st;
}
