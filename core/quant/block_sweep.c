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

/* The columns of a code, as many as it has: those that are missing have no errors. */
struct column {
    float w[ROWS][3], e[ROWS][3], g[ROWS][3]; /* e: as it was; g: of the other columns */
    double h[3][3], inverse[3][3];            /* the block of H at the columns */
    uint32_t n;
};

static void load_h(const struct q35_feedback *fb, uint32_t s, struct column *c)
{
    double det = 0;
    uint32_t a, b;
    for (a = 0; a < 3; a++)
        for (b = 0; b < 3; b++)
            c->h[a][b] = a < c->n && b < c->n ? (double)fb->h[(size_t)(s + a) * fb->n + s + b]
                                              : (double)(a == b);
    for (a = 0; a < 3; a++) /* cofactors, of a symmetric matrix */
        for (b = 0; b < 3; b++) {
            uint32_t a1 = (a + 1) % 3, a2 = (a + 2) % 3, b1 = (b + 1) % 3, b2 = (b + 2) % 3;
            c->inverse[a][b] = c->h[a1][b1] * c->h[a2][b2] - c->h[a1][b2] * c->h[a2][b1];
        }
    for (a = 0; a < 3; a++)
        det += c->h[0][a] * c->inverse[0][a];
    for (a = 0; a < 9; a++)
        c->inverse[a / 3][a % 3] /= det;
}

/* What the errors e of a row cost beside the others' g. */
static double cost(const struct column *c, const float e[3], const float g[3])
{
    double sum = 0;
    uint32_t a, b;
    for (a = 0; a < c->n; a++) {
        sum += 2 * (double)g[a] * (double)e[a];
        for (b = 0; b < c->n; b++)
            sum += c->h[a][b] * (double)e[a] * (double)e[b];
    }
    return sum;
}

/* Loads code column `at`, whose first step is s, and its target into k->x. */
static void load(const struct q35_block_job *j, struct q35_block *k, uint32_t at, uint32_t s,
                 struct column *c)
{
    const struct q35_feedback *fb = j->feedback;
    float sum[4][ROWS] = {{0}};
    uint32_t place, d, i, r;
    c->n = q35_feedback_code(fb, s, &place);
    q35_feedback_moments(fb, s, 0, fb->n, k->e, sum);
    load_h(fb, s, c);
    for (r = 0; r < ROWS; r++) {
        for (d = 0; d < c->n; d++) {
            c->w[r][d] = k->w[ROWS * (size_t)q35_feedback_column(fb, s + d) + r];
            c->e[r][d] = k->e[(size_t)(s + d) * ROWS + r];
        }
        for (d = 0; d < c->n; d++) {
            double g = (double)sum[d][r];
            for (i = 0; i < c->n; i++)
                g -= c->h[d][i] * (double)c->e[r][i];
            c->g[r][d] = (float)g;
        }
        for (d = 0; d < c->n; d++) {
            double t = (double)c->w[r][d];
            for (i = 0; i < c->n; i++)
                t += c->inverse[d][i] * (double)c->g[r][i];
            *q35_block_x(k, c->n, at, r, d) = q35_block_quantize((float)t * k->inv[r]);
        }
    }
}

/* Takes the codes in k->code[at] if they are better than `old`, which else come back. */
static void settle(const struct q35_block_job *j, struct q35_block *k, uint32_t at, uint32_t s,
                   const struct column *c, const uint8_t old[16])
{
    float e[ROWS][3] = {{0}};
    double gain = 0;
    int8_t q[ROWS][3];
    uint32_t d, r;
    q35_block_decode_column(j, k, at, q);
    for (r = 0; r < ROWS; r++) {
        for (d = 0; d < c->n; d++)
            e[r][d] = c->w[r][d] - k->scale[r] * (float)q[r][d];
        gain += cost(c, c->e[r], c->g[r]) - cost(c, e[r], c->g[r]);
    }
    if (gain <= 0) {
        memcpy(k->code[at], old, ROWS);
        return;
    }
    for (r = 0; r < ROWS; r++)
        for (d = 0; d < c->n; d++) {
            k->e[(size_t)(s + d) * ROWS + r] = e[r][d];
            k->q[(size_t)(s + d) * ROWS + r] = (float)q[r][d];
        }
}

/* k->e from k->q with the present scales. */
static void errors(const struct q35_block_job *j, struct q35_block *k)
{
    uint32_t s, r;
    for (s = 0; s < j->feedback->n; s++) {
        const float *w = k->w + ROWS * (size_t)q35_feedback_column(j->feedback, s);
        for (r = 0; r < ROWS; r++)
            k->e[(size_t)s * ROWS + r] = w[r] - k->scale[r] * k->q[(size_t)s * ROWS + r];
    }
}

void q35_block_sweep(const struct q35_block_job *j, struct q35_block *k, uint8_t *tiles)
{
    uint32_t t, c, r, s = 0;
    errors(j, k);
    memset(k->x, 0, sizeof(k->x));
    for (t = 0; t < j->tiles; t++) {
        uint8_t *tile = tiles + (size_t)t * Q35_TILE_BYTES;
        for (c = 0; c < Q35_TILE_CODES; c++)
            for (r = 0; r < ROWS; r++)
                k->code[c][r] = (uint8_t)q35_code_get(tile + Q35_ROW_BYTES * r, c);
        for (c = 0; c < Q35_TILE_CODES; c++) {
            struct column column;
            uint8_t old[ROWS];
            memcpy(old, k->code[c], ROWS);
            load(j, k, c, s, &column);
            if (j->search->ring)
                q35_ring_again(j->search, k->ring, k->x, c, k->code);
            else
                q35_block_search_column(j, k, column.n, c);
            settle(j, k, c, s, &column, old);
            s += column.n;
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
    uint32_t s, n, place, d, r;
    memset(f->wq, 0, sizeof(f->wq));
    memset(f->qq, 0, sizeof(f->qq));
    for (s = 0; s < fb->n; s += n) {
        float hq[4][ROWS] = {{0}};
        n = q35_feedback_code(fb, s, &place);
        q35_feedback_moments(fb, s, 0, fb->n, k->q, hq);
        for (d = 0; d < n; d++) {
            const float *w = k->w + ROWS * (size_t)q35_feedback_column(fb, s + d);
            const float *q = k->q + ROWS * (size_t)(s + d);
            for (r = 0; r < ROWS; r++) {
                f->wq[r] += (double)w[r] * (double)hq[d][r];
                f->qq[r] += (double)q[r] * (double)hq[d][r];
            }
        }
    }
}
