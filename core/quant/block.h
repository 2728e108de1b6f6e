/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_BLOCK_H
#define Q35_CORE_QUANT_BLOCK_H

/* One row block of 16 rows, from binary32 to tiles and scales: the inside of the encoder. */

#include "core/quant/encode.h"
#include "core/quant/search.h"

/* What all blocks of a matrix share; immutable while they are encoded. */
struct q35_block_job {
    const struct q35_tables *tables;
    struct q35_search *search;
    struct q35_search *tail; /* for a last tile that stands out of the matrix, else NULL */
    uint32_t rows, cols;
    uint32_t cols_padded, rot_block; /* rot_block: 0 without rotation */
    uint32_t used_cols;              /* columns that count: padding does once rotated */
    uint32_t tile_cols, tiles;       /* columns of a tile; tiles along K */
    uint64_t rot_seed;
    uint32_t effort;
    uint32_t weights;                    /* that a code stands for */
    float unit;                          /* table units per standard deviation */
    const struct q35_feedback *feedback; /* or NULL */
    uint32_t sweeps;
};

/* Squared errors and norms of a block's rows, in units of the original matrix. */
struct q35_block_sums {
    double error2, norm2;
    double output_error2, output2; /* with feedback */
};

/* Buffers of one thread. */
struct q35_block {
    float *in;                /* [16][cols] as read */
    float *w;                 /* [cols_padded][16]: rotated, rows innermost */
    int16_t x[64][16][2];     /* a tile in search units, or */
    int16_t x3[64][16][4];    /* one of three weights a code */
    uint8_t code[64][16];     /* its codes */
    float inv[16], scale[16]; /* search units per weight; weight per table unit */
    double norm2[16];         /* of the rows of w */
    struct q35_ring *ring;
    /* With feedback, by steps: */
    float *e, *q; /* [cols_padded][16]: errors and decoded values (weight and table units) */
    float ahead[2][4][16]; /* sums over e and q for the code column that comes next: [e, q][d][r] */
};

/* Fills a job for p's scheme. *search is allocated: release with q35_block_job_fini(). */
enum q35_status q35_block_job_init(struct q35_block_job *j, const struct q35_encode_params *p,
                                   uint32_t rows, uint32_t cols, struct q35_error *err);
void q35_block_job_fini(struct q35_block_job *j);

/* NULL when memory is short. */
struct q35_block *q35_block_create(const struct q35_block_job *j);
void q35_block_destroy(struct q35_block *k);

/* Reads row block b into k->w and rotates it; absent rows and columns are zero. */
enum q35_status q35_block_load(const struct q35_block_job *j, struct q35_block *k, uint32_t b,
                               q35_rows_fn read, void *read_ctx, struct q35_error *err);

/* Encodes the loaded block: tiles [tiles][896] and 16 scales, as stored. Adds to *sums. */
void q35_block_encode(const struct q35_block_job *j, struct q35_block *k, uint8_t *tiles,
                      float scales[16], struct q35_block_sums *sums);

/* Encodes the loaded block and adds up what its codes stood for: refine.h. */
struct q35_refine_sums;
void q35_block_gather(const struct q35_block_job *j, struct q35_block *k,
                      struct q35_refine_sums *sums);

/* ---- shared with block_feedback.c ---- */

/* Correlations between weights and decoded values, per row: of the values themselves or, with
 * feedback, of what they do to the outputs. */
struct q35_fit {
    double wq[16], qq[16], ww[16];
};

/* v in search units. */
static inline int16_t q35_block_quantize(float v)
{
    v = v > Q35_SEARCH_X_MAX ? Q35_SEARCH_X_MAX : v;
    v = v < -Q35_SEARCH_X_MAX ? -Q35_SEARCH_X_MAX : v;
    return (int16_t)(int32_t)(v < 0 ? v - 0.5f : v + 0.5f);
}

/* Weights that a code of tile t stands for inside the matrix: fewer in the last tile of triples. */
static inline uint32_t q35_block_weights(const struct q35_block_job *j, uint32_t t)
{
    uint32_t left = (j->cols_padded - t * j->tile_cols) / Q35_TILE_CODES;
    return left < j->weights ? left : j->weights;
}

/* Where weight d of row r of code column c of the present tile goes to, n weights a code. */
static inline int16_t *q35_block_x(struct q35_block *k, uint32_t n, uint32_t c, uint32_t r,
                                   uint32_t d)
{
    return n > 2 ? &k->x3[c][r][d] : &k->x[c][r][d];
}

/* The codes of column c of the present tile, n weights a code. Not for rings. */
void q35_block_search_column(const struct q35_block_job *j, struct q35_block *k, uint32_t n,
                             uint32_t c);

/* The decoded values q of column c of the tile in k->code: what the row scales multiply. */
void q35_block_decode_column(const struct q35_block_job *j, const struct q35_block *k, uint32_t c,
                             int8_t q[16][3]);

/* Encodes tile t into k->code with the present scales, feeding errors forward. Tiles in ascending
 * order. */
void q35_block_feedback_tile(const struct q35_block_job *j, struct q35_block *k, uint32_t t,
                             struct q35_fit *f);

/* Goes through all columns once more, each rounded anew with the errors of all others as they are;
 * k->e and k->q hold the present state, tiles the codes. Changes what lowers the errors of the
 * outputs. */
void q35_block_sweep(const struct q35_block_job *j, struct q35_block *k, uint8_t *tiles);

/* The correlations of the present k->q with the weights, but for f->ww. */
void q35_block_sweep_fit(const struct q35_block_job *j, const struct q35_block *k,
                         struct q35_fit *f);

#endif
