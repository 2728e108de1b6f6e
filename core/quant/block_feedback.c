/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A tile with error feedback: code column after code column, each with the errors of all before it.
 * Notation as in feedback.h. */

#include <string.h>

#include "core/quant/block.h"
#include "core/quant/feedback.h"

#define ROWS Q35_TILE_ROWS

/* Weights of code column c, whose first step is s, plus sums[d], in search units. */
static void load_column(const struct q35_block_job *j, struct q35_block *k, uint32_t c, uint32_t s,
                        float (*sums)[ROWS])
{
    uint32_t at, n = q35_feedback_code(j->feedback, s, &at), d, r;
    for (d = 0; d < n; d++) {
        const float *w = k->w + ROWS * (size_t)q35_feedback_column(j->feedback, s + d);
        for (r = 0; r < ROWS; r++)
            *q35_block_x(k, n, c, r, d) = q35_block_quantize((w[r] + sums[d][r]) * k->inv[r]);
    }
}

/* Sums for step s over the steps before `to`. */
static void sums_ahead(const struct q35_block_job *j, struct q35_block *k, uint32_t s, uint32_t to)
{
    memset(k->ahead, 0, sizeof(k->ahead));
    q35_feedback_sum(j->feedback, s, 0, to, k->e, k->ahead[0]);
    q35_feedback_sum(j->feedback, s, 0, to, k->q, k->ahead[1]);
}

/* Takes in the codes found for column c, whose first step is s and whose sums are `sums`. */
static void settle(const struct q35_block_job *j, struct q35_block *k, uint32_t c, uint32_t s,
                   float sums[2][4][ROWS], struct q35_fit *f)
{
    const struct q35_feedback *fb = j->feedback;
    uint32_t place, n = q35_feedback_code(fb, s, &place), r, d, i;
    int8_t q[ROWS][3];
    q35_block_decode_column(j, k, c, q);
    for (r = 0; r < ROWS; r++) {
        double own_w[3], own_q[3];
        for (d = 0; d < n; d++) {
            size_t at = (size_t)(s + d) * ROWS + r;
            float w = k->w[ROWS * (size_t)q35_feedback_column(fb, s + d) + r];
            double y, g;
            k->q[at] = (float)q[r][d];
            k->e[at] = w - k->scale[r] * (float)q[r][d];
            /* (e L) and (q L) of this step; what the weights themselves come to is their sum */
            y = own_w[d] = (double)k->e[at] + (double)sums[0][d][r];
            g = own_q[d] = (double)k->q[at] + (double)sums[1][d][r];
            for (i = 0; i < d; i++) {
                double inner = (double)fb->inner[2 * (size_t)(s + d) + i];
                y += inner * own_w[i];
                g += inner * own_q[i];
            }
            y += (double)k->scale[r] * g;
            f->wq[r] += (double)fb->d[s + d] * y * g;
            f->qq[r] += (double)fb->d[s + d] * g * g;
            f->ww[r] += (double)fb->d[s + d] * y * y;
        }
    }
}

void q35_block_feedback_tile(const struct q35_block_job *j, struct q35_block *k, uint32_t t,
                             struct q35_fit *f)
{
    const struct q35_feedback *fb = j->feedback;
    uint32_t n = q35_block_weights(j, t), c, s = t * Q35_TILE_CODES * fb->halves;
    float none[4][ROWS] = {{0}};
    memset(k->x, 0, sizeof(k->x));
    for (c = 0; j->search->ring && c < Q35_TILE_CODES; c++)
        load_column(j, k, c, s + c * n, none);
    if (j->search->ring)
        q35_ring_begin(j->search, k->ring, k->x, k->code);
    sums_ahead(j, k, s, s);
    for (c = 0; c < Q35_TILE_CODES; c++, s += n) {
        float sums[2][4][ROWS];
        memcpy(sums, k->ahead, sizeof(sums));
        load_column(j, k, c, s, sums[0]);
        if (c + 1 < Q35_TILE_CODES) { /* the next column, but for this one's error */
            sums_ahead(j, k, s + n, s);
            load_column(j, k, c + 1, s + n, k->ahead[0]);
        }
        if (j->search->ring)
            q35_ring_column(j->search, k->ring, k->x, c, k->code);
        else
            q35_block_search_column(j, k, n, c);
        settle(j, k, c, s, sums, f);
        if (c + 1 < Q35_TILE_CODES) {
            q35_feedback_sum(fb, s + n, s, s + n, k->e, k->ahead[0]);
            q35_feedback_sum(fb, s + n, s, s + n, k->q, k->ahead[1]);
        }
    }
}
