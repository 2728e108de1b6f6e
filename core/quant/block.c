/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/quant/feedback.h"
#include "core/quant/refine.h"
#include "core/quant/tables.h"

#define ROWS Q35_TILE_ROWS
#define SAMPLE_TILES 4u /* tiles that the scale search of a trellis looks at, per factor */

static const struct q35_shipped_tables *shipped(uint32_t scheme)
{
    uint32_t i;
    for (i = 0; i < q35_shipped_tables_count; i++)
        if (q35_shipped_tables_all[i].scheme == scheme)
            return &q35_shipped_tables_all[i];
    return NULL;
}

const struct q35_tables *q35_shipped_tables(uint32_t scheme)
{
    const struct q35_shipped_tables *s = shipped(scheme);
    return s ? &s->tables : NULL;
}

static void set_effort(struct q35_search *s, uint32_t effort)
{
    static const uint32_t seams[] = {0, 1, 4}, ways[] = {4, 8, 16};
    uint32_t e = effort > Q35_EFFORT_HIGH ? Q35_EFFORT_HIGH : effort;
    s->seams = seams[e];
    s->ways = ways[e];
}

static struct q35_search *new_search(const struct q35_block_job *j,
                                     const struct q35_encode_params *p, uint32_t weights)
{
    struct q35_search *s = aligned_alloc(64, (sizeof(*s) + 63) / 64 * 64);
    if (!s)
        return NULL;
    q35_search_init_part(s, p->scheme, weights, j->tables, q35_search_kernels_get(p->kernels));
    set_effort(s, p->effort);
    return s;
}

enum q35_status q35_block_job_init(struct q35_block_job *j, const struct q35_encode_params *p,
                                   uint32_t rows, uint32_t cols, struct q35_error *err)
{
    const struct q35_shipped_tables *own = shipped(p->scheme);
    memset(j, 0, sizeof(*j));
    if (!rows || !cols || rows > Q35_MAX_ROWS || cols > Q35_MAX_COLS)
        return q35_fail(err, Q35_E_INVALID, "a matrix of %u x %u cannot be packed", rows, cols);
    if (!own)
        return q35_fail(err, Q35_E_INVALID, "no tables for scheme 0x%x", p->scheme);
    if (!q35_search_kernels_get(p->kernels))
        return q35_fail(err, Q35_E_UNSUPPORTED, "no search kernels \"%s\" here", p->kernels);
    j->tables = p->tables ? p->tables : &own->tables;
    j->rows = rows;
    j->cols = cols;
    j->cols_padded = q35_pad_cols(cols);
    j->rot_block = p->rotate ? q35_rot_block(cols) : 0;
    j->used_cols = j->rot_block ? j->cols_padded : cols;
    j->tile_cols = q35_tile_cols(p->scheme);
    j->tiles = q35_tiles_per_row(p->scheme, cols);
    j->rot_seed = p->rot_seed;
    j->effort = p->effort;
    j->weights = Q35_SCHEME_WEIGHTS(p->scheme);
    j->unit = own->unit;
    j->feedback = p->feedback;
    j->sweeps = p->feedback ? p->sweeps : 0;
    if (p->feedback && (p->feedback->n != j->cols_padded || p->feedback->halves != j->weights))
        return q35_fail(err, Q35_E_INVALID, "feedback of %u columns for a matrix of %u",
                        p->feedback->n, j->cols_padded);
    j->search = new_search(j, p, j->weights);
    if (j->search && q35_block_weights(j, j->tiles - 1) < j->weights)
        j->tail = new_search(j, p, q35_block_weights(j, j->tiles - 1));
    if (!j->search || (q35_block_weights(j, j->tiles - 1) < j->weights && !j->tail)) {
        q35_block_job_fini(j);
        return q35_fail(err, Q35_E_NOMEM, "no memory to encode a matrix");
    }
    return Q35_OK;
}

void q35_block_job_fini(struct q35_block_job *j)
{
    free(j->search);
    free(j->tail);
    j->search = j->tail = NULL;
}

struct q35_block *q35_block_create(const struct q35_block_job *j)
{
    struct q35_block *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->in = malloc(sizeof(float) * ROWS * j->cols);
    k->w = malloc(sizeof(float) * ROWS * j->cols_padded);
    if (j->search->ring)
        k->ring = q35_ring_create(j->search->ways);
    if (j->feedback) {
        k->e = malloc(sizeof(float) * ROWS * j->cols_padded);
        k->q = malloc(sizeof(float) * ROWS * j->cols_padded);
    }
    if (!k->in || !k->w || (j->feedback && (!k->e || !k->q)) || (j->search->ring && !k->ring)) {
        q35_block_destroy(k);
        return NULL;
    }
    return k;
}

void q35_block_destroy(struct q35_block *k)
{
    if (!k)
        return;
    free(k->in);
    free(k->w);
    free(k->e);
    free(k->q);
    q35_ring_destroy(k->ring);
    free(k);
}

/* w[cols][16] *= D H: q35_rotate on 16 rows at once, the same operations in the same order. */
static void rotate16(float *w, uint32_t cols, uint32_t block, uint64_t seed)
{
    uint32_t k, h, s, i, r;
    for (k = 0; k < cols; k++)
        if (q35_rot_sign(seed, k))
            for (r = 0; r < ROWS; r++)
                w[ROWS * (size_t)k + r] = -w[ROWS * (size_t)k + r];
    for (h = 1; h < block; h <<= 1)
        for (s = 0; s < cols; s += 2 * h)
            for (i = s; i < s + h; i++) {
                float *restrict a = w + ROWS * (size_t)i, *restrict b = w + ROWS * (size_t)(i + h);
                for (r = 0; r < ROWS; r++) {
                    float u = a[r], v = b[r];
                    a[r] = u + v;
                    b[r] = u - v;
                }
            }
}

/* Row block b as k->w; rows beyond the matrix are zero. */
enum q35_status q35_block_load(const struct q35_block_job *j, struct q35_block *k, uint32_t b,
                               q35_rows_fn read, void *read_ctx, struct q35_error *err)
{
    uint32_t first = b * ROWS, n = j->rows - first < ROWS ? j->rows - first : ROWS, r, c;
    enum q35_status st = read(read_ctx, first, n, k->in, err);
    if (st != Q35_OK)
        return st;
    memset(k->w, 0, sizeof(float) * ROWS * j->cols_padded);
    for (r = 0; r < n; r++)
        for (c = 0; c < j->cols; c++) {
            float v = k->in[(size_t)r * j->cols + c];
            if (!isfinite(v))
                return q35_fail(err, Q35_E_FORMAT, "weight at row %u, column %u is %s", first + r,
                                c, isnan(v) ? "not a number" : "infinite");
            k->w[(size_t)c * ROWS + r] = v;
        }
    if (j->rot_block)
        rotate16(k->w, j->cols_padded, j->rot_block, j->rot_seed);
    return Q35_OK;
}

/* Tile t in search units. */
static void load_tile(const struct q35_block_job *j, struct q35_block *k, uint32_t t)
{
    uint32_t n = q35_block_weights(j, t), c, r, d;
    memset(k->x, 0, sizeof(k->x));
    for (c = 0; c < Q35_TILE_CODES; c++)
        for (d = 0; d < n; d++) {
            const float *w = k->w + ROWS * ((size_t)t * j->tile_cols + c + 64 * d);
            for (r = 0; r < ROWS; r++)
                *q35_block_x(k, n, c, r, d) = q35_block_quantize(w[r] * k->inv[r]);
        }
}

static void set_scales(struct q35_block *k, const double *sigma, float unit)
{
    uint32_t r;
    for (r = 0; r < ROWS; r++) {
        k->scale[r] = (float)(sigma[r] / (double)unit);
        k->inv[r] = 0;
        if (k->scale[r] > 1e-30f) /* below, the row becomes zero */
            k->inv[r] = Q35_SEARCH_UNIT / k->scale[r];
        else
            k->scale[r] = 0;
    }
}

void q35_block_decode_column(const struct q35_block_job *j, const struct q35_block *k, uint32_t c,
                             int8_t q[16][3])
{
    const struct q35_tables *t = j->tables;
    const uint8_t *code = k->code[c], *left = k->code[j->search->ring ? (c + 63) & 63 : c];
    uint32_t r;
    for (r = 0; r < ROWS; r++) {
        uint32_t h = r > 0 ? code[r - 1] : left[15], b;
        if (j->search->ring)
            h ^= r > 1 ? code[r - 2] : left[14 + r];
        b = t->b[h];
        q[r][0] = (int8_t)(t->a0[code[r]] + Q35_B_STEP * (int)(b >> 4));
        q[r][1] = (int8_t)(t->a1[code[r]] + Q35_B_STEP * (int)(b & 15));
        q[r][2] = j->weights < 3 ? 0 : (int8_t)(t->a2[code[r]] + Q35_B_STEP * (int)q35_b_third(b));
    }
}

static void fit_tile(const struct q35_block_job *j, const struct q35_block *k, uint32_t t,
                     struct q35_fit *f)
{
    uint32_t n = q35_block_weights(j, t), c, r, d;
    for (c = 0; c < Q35_TILE_CODES; c++) {
        int8_t q[16][3];
        q35_block_decode_column(j, k, c, q);
        for (d = 0; d < n; d++) {
            uint32_t at = t * j->tile_cols + c + 64 * d;
            const float *w = k->w + ROWS * (size_t)at;
            for (r = 0; r < ROWS && at < j->used_cols; r++) {
                f->wq[r] += (double)w[r] * q[r][d];
                f->qq[r] += q[r][d] * q[r][d];
            }
        }
    }
}

void q35_block_search_column(const struct q35_block_job *j, struct q35_block *k, uint32_t n,
                             uint32_t c)
{
    const struct q35_search *s = n < j->weights ? j->tail : j->search;
    if (n > 2)
        q35_search_triple(s, k->x3[c], k->code[c]);
    else
        q35_search_column(s, k->x[c], k->code[c]);
}

static void encode_tile(const struct q35_block_job *j, struct q35_block *k, uint32_t t,
                        struct q35_fit *f)
{
    uint32_t c;
    if (j->feedback) {
        q35_block_feedback_tile(j, k, t, f);
        return;
    }
    load_tile(j, k, t);
    for (c = 0; c < Q35_TILE_CODES && !j->search->ring; c++)
        q35_block_search_column(j, k, q35_block_weights(j, t), c);
    if (j->search->ring)
        q35_search_ring(j->search, k->ring, k->x, k->code);
    fit_tile(j, k, t, f);
}

/* Squared error of a row once its scale is the least-squares one. */
static double fitted_error(const struct q35_fit *f, uint32_t r, double norm2)
{
    return f->qq[r] > 0 ? norm2 - f->wq[r] * f->wq[r] / f->qq[r] : norm2;
}

/* Sets sigma[r] to the factor of the row's RMS whose codes, on a sample of tiles, correlate best
 * with the weights. */
static void search_sigma(const struct q35_block_job *j, struct q35_block *k, double *sigma)
{
    static const double factor[] = {1.0, 0.94, 1.06, 0.88, 0.80, 1.13};
    uint32_t n = j->search->memory && j->tiles > SAMPLE_TILES ? SAMPLE_TILES : j->tiles;
    double rms[ROWS], best[ROWS];
    uint32_t f, r, i;
    memcpy(rms, sigma, sizeof(rms));
    for (f = 0; f < Q35_COUNT(factor); f++) {
        struct q35_fit fit = {{0}, {0}, {0}};
        double trial[ROWS];
        for (r = 0; r < ROWS; r++)
            trial[r] = rms[r] * factor[f];
        set_scales(k, trial, j->unit);
        for (i = 0; i < n; i++)
            encode_tile(j, k, i * j->tiles / n, &fit);
        for (r = 0; r < ROWS; r++) {
            double e = fitted_error(&fit, r, 0);
            if (f == 0 || e < best[r]) {
                best[r] = e;
                sigma[r] = trial[r];
            }
        }
    }
}

/* Encodes all tiles with the present scales. */
static void encode_tiles(const struct q35_block_job *j, struct q35_block *k, uint8_t *tile,
                         struct q35_fit *f)
{
    uint32_t t, c, r;
    memset(f, 0, sizeof(*f));
    memset(tile, 0, (size_t)j->tiles * Q35_TILE_BYTES);
    for (t = 0; t < j->tiles; t++, tile += Q35_TILE_BYTES) {
        encode_tile(j, k, t, f);
        for (c = 0; c < Q35_TILE_CODES; c++)
            for (r = 0; r < ROWS; r++)
                q35_code_put(tile + Q35_ROW_BYTES * r, c, k->code[c][r]);
    }
}

static void row_norms(const struct q35_block_job *j, struct q35_block *k)
{
    uint32_t c, r;
    memset(k->norm2, 0, sizeof(k->norm2));
    for (c = 0; c < j->cols_padded; c++)
        for (r = 0; r < ROWS; r++) {
            double v = (double)k->w[(size_t)c * ROWS + r];
            k->norm2[r] += v * v;
        }
}

/* Adds up the errors of the codes in k->q with final scales: of weights, not of outputs. */
static void weight_errors(const struct q35_block_job *j, const struct q35_block *k,
                          const float scale[16], double error[16])
{
    uint32_t s, r;
    memset(error, 0, sizeof(*error) * ROWS);
    for (s = 0; s < j->cols_padded; s++) {
        uint32_t at = q35_feedback_column(j->feedback, s);
        for (r = 0; r < ROWS && at < j->used_cols; r++) {
            double e = (double)k->w[(size_t)at * ROWS + r] -
                       (double)scale[r] * (double)k->q[(size_t)s * ROWS + r];
            error[r] += e * e;
        }
    }
}

/* The scales that fit best to the codes just found. */
static void refit(const struct q35_block_job *j, const struct q35_block *k, const struct q35_fit *f,
                  double *sigma)
{
    uint32_t r;
    for (r = 0; r < ROWS; r++) {
        sigma[r] = 0;
        if (f->qq[r] > 0 && k->scale[r] > 0 && f->wq[r] > 0)
            sigma[r] = f->wq[r] / f->qq[r] * (double)j->unit;
    }
}

static void first_sigma(const struct q35_block_job *j, struct q35_block *k, double sigma[16])
{
    uint32_t r;
    row_norms(j, k);
    for (r = 0; r < ROWS; r++)
        sigma[r] = sqrt(k->norm2[r] / j->used_cols);
    /* Rotated rows are Gaussian, as the tables expect: a search would only fit the sample. */
    if (j->effort >= Q35_EFFORT_DEFAULT && !j->rot_block && !j->feedback)
        search_sigma(j, k, sigma);
}

void q35_block_gather(const struct q35_block_job *j, struct q35_block *k,
                      struct q35_refine_sums *sums)
{
    double sigma[ROWS];
    struct q35_fit f = {{0}, {0}, {0}};
    uint32_t t, c, r, d;
    first_sigma(j, k, sigma);
    set_scales(k, sigma, j->unit);
    for (t = 0; t < j->tiles; t++) {
        encode_tile(j, k, t, &f);
        for (c = 0; c < Q35_TILE_CODES; c++) {
            int8_t q[16][3];
            q35_block_decode_column(j, k, c, q);
            for (r = 0; r < ROWS; r++) {
                uint32_t code = k->code[c][r];
                if (!(k->scale[r] > 0))
                    continue;
                sums->count[code]++;
                for (d = 0; d < 2; d++) /* the present A plus what is missing */
                    sums->sum[code][d] +=
                        k->x[c][r][d] +
                        Q35_SEARCH_UNIT * ((d ? j->tables->a1 : j->tables->a0)[code] - q[r][d]);
            }
        }
    }
}

void q35_block_encode(const struct q35_block_job *j, struct q35_block *k, uint8_t *tiles,
                      float scales[16], struct q35_block_sums *sums)
{
    uint32_t rounds = j->effort >= Q35_EFFORT_HIGH ? 2 : 1, i, r;
    double sigma[ROWS], error[ROWS];
    float final[ROWS];
    struct q35_fit f;
    first_sigma(j, k, sigma);
    for (i = 0; i < rounds; i++) {
        set_scales(k, sigma, j->unit);
        encode_tiles(j, k, tiles, &f);
        refit(j, k, &f, sigma);
    }
    for (i = 0; i < j->sweeps; i++) {
        set_scales(k, sigma, j->unit);
        q35_block_sweep(j, k, tiles);
        q35_block_sweep_fit(j, k, &f);
        refit(j, k, &f, sigma);
    }
    for (r = 0; r < ROWS; r++) {
        final[r] = (float)(sigma[r] / (double)j->unit);
        error[r] = fitted_error(&f, r, k->norm2[r]);
    }
    if (j->feedback)
        weight_errors(j, k, final, error);
    for (r = 0; r < ROWS; r++) {
        uint32_t block = j->rot_block ? j->rot_block : 1; /* what Hadamard blocks multiply by */
        scales[r] = final[r] / (float)block;
        sums->error2 += error[r] / block;
        sums->norm2 += k->norm2[r] / block;
        if (j->feedback) {
            sums->output2 += f.ww[r] / block;
            sums->output_error2 += fitted_error(&f, r, f.ww[r]) / block;
        }
    }
}
