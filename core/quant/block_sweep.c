/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Coordinate descent on the errors of the outputs e H e^T, a column of codes at a time, from where
 * error feedback ended (after QuantEase, Behdin et al. 2023). Feedback makes good earlier errors in
 * later columns; here earlier columns answer to later ones too.
 *
 * With g = sum of H[s][t] e_t over all other columns and H' the block of H at the columns of a
 * code, the best error is -g / H', so weights w + g / H' are looked for. */

#include <string.h>

#include "core/quant/block.h"
#include "core/quant/feedback.h"

#define ROWS Q35_TILE_ROWS

/* The block of H at step s: h[0] h[1]; h[1] h[2]. */
static void block_of(const struct q35_feedback *fb, uint32_t s, float h[3])
{
    const float *row = fb->h + (size_t)s * fb->n + s;
    h[0] = row[0];
    h[1] = fb->halves == 2 ? row[1] : 0;
    h[2] = fb->halves == 2 ? row[fb->n + 1] : 1;
}

/* What the errors e[2] of a row cost beside the others' g. */
static double cost(const float h[3], const float e[2], const float g[2])
{
    double a = (double)e[0], b = (double)e[1];
    return (double)h[0] * a * a + 2 * (double)h[1] * a * b + (double)h[2] * b * b +
           2 * ((double)g[0] * a + (double)g[1] * b);
}

struct column {
    float w[ROWS][2], e[ROWS][2], g[ROWS][2]; /* e: as it was; g: of the other columns */
    float h[3];
};

/* Loads the column at step s and its target into k->x. */
static void load(const struct q35_block_job *j, struct q35_block *k, uint32_t s, struct column *c)
{
    const struct q35_feedback *fb = j->feedback;
    uint32_t halves = fb->halves, at = s / halves % Q35_TILE_CODES, d, r;
    float sum[2][ROWS] = {{0}}, det;
    q35_feedback_moments(fb, s, 0, fb->n, k->e, sum);
    block_of(fb, s, c->h);
    memset(c->w, 0, sizeof(c->w));
    memset(c->e, 0, sizeof(c->e));
    memset(c->g, 0, sizeof(c->g));
    det = c->h[0] * c->h[2] - c->h[1] * c->h[1];
    for (r = 0; r < ROWS; r++) {
        float t[2];
        for (d = 0; d < halves; d++) {
            c->w[r][d] = k->w[ROWS * (size_t)q35_feedback_column(s + d, halves) + r];
            c->e[r][d] = k->e[(size_t)(s + d) * ROWS + r];
            c->g[r][d] = sum[d][r];
        }
        c->g[r][0] -= c->h[0] * c->e[r][0] + c->h[1] * c->e[r][1];
        if (halves == 2)
            c->g[r][1] -= c->h[1] * c->e[r][0] + c->h[2] * c->e[r][1];
        t[0] = c->w[r][0] + (c->h[2] * c->g[r][0] - c->h[1] * c->g[r][1]) / det;
        t[1] = c->w[r][1] + (c->h[0] * c->g[r][1] - c->h[1] * c->g[r][0]) / det;
        for (d = 0; d < halves; d++)
            k->x[at][r][d] = q35_block_quantize(t[d] * k->inv[r]);
    }
}

/* Takes the codes in k->code[at] if they are better than `old`, which else come back. */
static void settle(const struct q35_block_job *j, struct q35_block *k, uint32_t s,
                   const struct column *c, const uint8_t old[16])
{
    uint32_t halves = j->feedback->halves, at = s / halves % Q35_TILE_CODES, d, r;
    float e[ROWS][2] = {{0}};
    double gain = 0;
    int8_t q[ROWS][2];
    q35_block_decode_column(j, k, at, q);
    for (r = 0; r < ROWS; r++) {
        for (d = 0; d < halves; d++)
            e[r][d] = c->w[r][d] - k->scale[r] * (float)q[r][d];
        gain += cost(c->h, c->e[r], c->g[r]) - cost(c->h, e[r], c->g[r]);
    }
    if (gain <= 0) {
        memcpy(k->code[at], old, ROWS);
        return;
    }
    for (r = 0; r < ROWS; r++)
        for (d = 0; d < halves; d++) {
            k->e[(size_t)(s + d) * ROWS + r] = e[r][d];
            k->q[(size_t)(s + d) * ROWS + r] = (float)q[r][d];
        }
}

/* k->e from k->q with the present scales. */
static void errors(const struct q35_block_job *j, struct q35_block *k)
{
    uint32_t halves = j->feedback->halves, s, r;
    for (s = 0; s < j->feedback->n; s++) {
        const float *w = k->w + ROWS * (size_t)q35_feedback_column(s, halves);
        for (r = 0; r < ROWS; r++)
            k->e[(size_t)s * ROWS + r] = w[r] - k->scale[r] * k->q[(size_t)s * ROWS + r];
    }
}

void q35_block_sweep(const struct q35_block_job *j, struct q35_block *k, uint8_t *tiles)
{
    uint32_t halves = j->feedback->halves, t, c, r;
    errors(j, k);
    for (t = 0; t < j->tiles; t++) {
        uint8_t *tile = tiles + (size_t)t * Q35_TILE_BYTES;
        for (c = 0; c < Q35_TILE_CODES; c++)
            for (r = 0; r < ROWS; r++)
                k->code[c][r] = (uint8_t)q35_code_get(tile + Q35_ROW_BYTES * r, c);
        for (c = 0; c < Q35_TILE_CODES; c++) {
            uint32_t s = (t * Q35_TILE_CODES + c) * halves;
            struct column column;
            uint8_t old[ROWS];
            memcpy(old, k->code[c], ROWS);
            load(j, k, s, &column);
            q35_search_column(j->search, k->x[c], k->code[c]);
            settle(j, k, s, &column, old);
        }
        memset(tile, 0, Q35_TILE_BYTES);
        for (c = 0; c < Q35_TILE_CODES; c++)
            for (r = 0; r < ROWS; r++)
                q35_code_put(tile + Q35_ROW_BYTES * r, c, k->code[c][r]);
    }
}

void q35_block_sweep_fit(const struct q35_block_job *j, const struct q35_block *k,
                         struct q35_fit *f)
{
    const struct q35_feedback *fb = j->feedback;
    uint32_t halves = fb->halves, s, d, r;
    memset(f->wq, 0, sizeof(f->wq));
    memset(f->qq, 0, sizeof(f->qq));
    for (s = 0; s < fb->n; s += halves) {
        float hq[2][ROWS] = {{0}};
        q35_feedback_moments(fb, s, 0, fb->n, k->q, hq);
        for (d = 0; d < halves; d++) {
            const float *w = k->w + ROWS * (size_t)q35_feedback_column(s + d, halves);
            const float *q = k->q + ROWS * (size_t)(s + d);
            for (r = 0; r < ROWS; r++) {
                f->wq[r] += (double)w[r] * (double)hq[d][r];
                f->qq[r] += (double)q[r] * (double)hq[d][r];
            }
        }
    }
}
