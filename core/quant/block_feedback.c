/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A tile with error feedback: code column after code column, each with the errors of all before it.
 * Notation as in feedback.h. */

#include <string.h>

#include "core/quant/block.h"
#include "core/quant/feedback.h"

#define ROWS Q35_TILE_ROWS

/* Weights of the code column at step s plus sums[d], in search units. */
static void load_column(const struct q35_block_job *j, struct q35_block *k, uint32_t s,
                        float (*sums)[ROWS])
{
    uint32_t halves = j->feedback->halves, c = s / halves % Q35_TILE_CODES, d, r;
    for (d = 0; d < halves; d++) {
        const float *w = k->w + ROWS * (size_t)q35_feedback_column(s + d, halves);
        for (r = 0; r < ROWS; r++)
            k->x[c][r][d] = q35_block_quantize((w[r] + sums[d][r]) * k->inv[r]);
    }
}

/* Sums for step s over the steps before `to`. */
static void sums_ahead(const struct q35_block_job *j, struct q35_block *k, uint32_t s, uint32_t to)
{
    memset(k->ahead, 0, sizeof(k->ahead));
    q35_feedback_sum(j->feedback, s, 0, to, k->e, k->ahead[0]);
    q35_feedback_sum(j->feedback, s, 0, to, k->q, k->ahead[1]);
}

/* Takes in the codes found for the column at step s, whose sums are `sums`. */
static void settle(const struct q35_block_job *j, struct q35_block *k, uint32_t s,
                   float sums[2][2][ROWS], struct q35_fit *f)
{
    const struct q35_feedback *fb = j->feedback;
    uint32_t halves = fb->halves, r, d;
    float inner = halves == 2 ? fb->inner[s / 2] : 0;
    int8_t q[ROWS][2];
    q35_block_decode_column(j, k, s / halves % Q35_TILE_CODES, q);
    for (r = 0; r < ROWS; r++) {
        double first_w = 0, first_q = 0;
        for (d = 0; d < halves; d++) {
            size_t at = (size_t)(s + d) * ROWS + r;
            float w = k->w[ROWS * (size_t)q35_feedback_column(s + d, halves) + r];
            double y, g;
            k->q[at] = (float)q[r][d];
            k->e[at] = w - k->scale[r] * (float)q[r][d];
            /* (e L) and (q L) of this step; what the weights themselves come to is their sum */
            y = (double)k->e[at] + (double)sums[0][d][r] + (double)inner * first_w;
            g = (double)k->q[at] + (double)sums[1][d][r] + (double)inner * first_q;
            first_w = y;
            first_q = g;
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
    uint32_t halves = fb->halves, c, s = t * Q35_TILE_CODES * halves;
    float none[2][ROWS] = {{0}};
    memset(k->x, 0, sizeof(k->x));
    for (c = 0; j->search->ring && c < Q35_TILE_CODES; c++)
        load_column(j, k, s + c * halves, none);
    if (j->search->ring)
        q35_ring_begin(j->search, k->ring, k->x, k->code);
    sums_ahead(j, k, s, s);
    for (c = 0; c < Q35_TILE_CODES; c++, s += halves) {
        float sums[2][2][ROWS];
        memcpy(sums, k->ahead, sizeof(sums));
        load_column(j, k, s, sums[0]);
        if (c + 1 < Q35_TILE_CODES) { /* the next column, but for this one's error */
            sums_ahead(j, k, s + halves, s);
            load_column(j, k, s + halves, k->ahead[0]);
        }
        if (j->search->ring)
            q35_ring_column(j->search, k->ring, k->x, c, k->code);
        else
            q35_search_column(j->search, k->x[c], k->code[c]);
        settle(j, k, s, sums, f);
        if (c + 1 < Q35_TILE_CODES) {
            q35_feedback_sum(fb, s + halves, s, s + halves, k->e, k->ahead[0]);
            q35_feedback_sum(fb, s + halves, s, s + halves, k->q, k->ahead[1]);
        }
    }
}
