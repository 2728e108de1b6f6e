/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_FEEDBACK_H
#define Q35_CORE_QUANT_FEEDBACK_H

/* Error feedback across columns (LDLQ: Chee et al. 2023; the same as GPTQ, Frantar et al. 2022).
 *
 * The error of a row e = w - q of the weights costs e H e^T, with H the second moments of the
 * inputs. Columns are quantized in the order in which the format's searches go through them: tile
 * by tile, code column by code column, the two columns of a pair together. Step s of this order is
 * column q35_feedback_column(). With H = L D L^T in reversed order
 *
 *     e H e^T = sum over s of D_s (e_s + sum over t < s of F[s][t] e_t)^2
 *
 * so step s rounds w_s + sum F[s][t] e_t instead of w_s. For pairs the factor is one of 2 x 2
 * blocks: F takes nothing from the other column of the pair, and the cost of a pair is
 * D_0 y_0^2 + D_1 (y_1 + inner y_0)^2. For triples likewise, of 3 x 3 blocks, but that the last
 * tile may have one or two columns a code instead of three. */

#include "core/graph/float_matmul.h"
#include "core/quant/encode.h"

struct q35_feedback {
    uint32_t n;      /* padded columns: steps */
    uint32_t halves; /* columns quantized together: 1, 2 or 3 */
    float *f;        /* [n][n], row s: t < the first step of the same code */
    float *d;        /* [n] */
    float *inner;    /* [n][2]: for step s, of the steps of the same code before it */
    float *h;        /* [n][n]: the moments by steps, damped, of mean diagonal 1 */
};

/* The steps of the code that step s belongs to; *at: its place among them. */
static inline uint32_t q35_feedback_code(const struct q35_feedback *fb, uint32_t s, uint32_t *at)
{
    uint32_t whole = fb->n / (64 * fb->halves) * (64 * fb->halves);
    uint32_t halves = s < whole ? fb->halves : (fb->n - whole) / 64;
    *at = (s < whole ? s : s - whole) % halves;
    return halves;
}

/* The column of step s. */
static inline uint32_t q35_feedback_column(const struct q35_feedback *fb, uint32_t s)
{
    uint32_t whole = fb->n / (64 * fb->halves) * (64 * fb->halves);
    uint32_t at, halves = q35_feedback_code(fb, s, &at), from = s < whole ? 0 : whole;
    uint32_t code = (s - from) / halves;
    return from + code / 64 * 64 * halves + code % 64 + 64 * at;
}

/* From h[cols][cols], symmetric, the moments of unrotated inputs; scale[cols] (may be NULL): what
 * the columns of the matrix have been multiplied by. damp: of the mean diagonal, is added to the
 * diagonal. Rotation and scheme as in the parameters for the encoder. */
enum q35_status q35_feedback_init(struct q35_feedback *fb, struct q35_float_pool *pool,
                                  uint32_t cols, const double *h, const float *scale, double damp,
                                  const struct q35_encode_params *p, struct q35_error *err);
void q35_feedback_fini(struct q35_feedback *fb);

/* Sums of 16 rows at once for the columns of the code whose first step is s: out[d][r] = sum over t
 * in [from, to) of f[s + d][t] * e[t][r], added to out. Rows of out beyond the code's columns are
 * scratch. */
void q35_feedback_sum(const struct q35_feedback *fb, uint32_t s, uint32_t from, uint32_t to,
                      const float *e, float out[4][16]);

/* The same with rows of h in place of f. */
void q35_feedback_moments(const struct q35_feedback *fb, uint32_t s, uint32_t from, uint32_t to,
                          const float *e, float out[4][16]);

/* The trace of D over that of H: what feedback leaves of the error. From the moments alone, for the
 * choice of scales: see smooth.h. Negative if H is not positive definite or memory is short. */
double q35_feedback_gain(const struct q35_feedback *fb);

#endif
