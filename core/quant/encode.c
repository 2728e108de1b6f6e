/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/encode.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/quant/search.h"
#include "core/quant/tables.h"

#define ROWS Q35_TILE_ROWS
#define SAMPLE_CODES 256u /* columns of codes that the scale search looks at, per factor */

/* What all workers share. */
struct job {
    const struct q35_encode_params *p;
    uint32_t rows, cols, cols_padded, blocks, block_size; /* block_size: Hadamard block or 0 */
    uint32_t tile_cols, tiles;                            /* per tile; tiles along K */
    uint32_t used_cols; /* those that count: padding does once rotated */
    bool pair;
    float unit;
    struct q35_search *search;
    q35_rows_fn read;
    void *read_ctx;
    uint8_t *blob;
    double *error2, *weight2; /* [blocks] */
    atomic_uint next;         /* block to take */
    atomic_bool stop;
    pthread_mutex_t lock; /* of what follows */
    uint32_t rows_done;
    enum q35_status status;
    struct q35_error err;
};

/* Buffers of one worker. */
struct work {
    float *in;                    /* [16][cols] as read */
    float *w;                     /* [cols_padded][16]: the block, rotated, rows innermost */
    uint8_t code[16][64];         /* of one tile */
    float inv[ROWS], scale[ROWS]; /* table units per weight, and the inverse */
    double norm2[ROWS];
};

double q35_encode_rmse(const struct q35_encode_stats *s)
{
    return s->weight2 > 0 ? sqrt(s->error2 / s->weight2) : 0;
}

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

/* Reads block b and turns it into w[cols_padded][16]; absent rows and columns are zero. */
static enum q35_status load_block(struct job *j, struct work *k, uint32_t b, struct q35_error *err)
{
    uint32_t first = b * ROWS, n = j->rows - first < ROWS ? j->rows - first : ROWS, r, c;
    enum q35_status st = j->read(j->read_ctx, first, n, k->in, err);
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
    if (j->block_size)
        rotate16(k->w, j->cols_padded, j->block_size, j->p->rot_seed);
    return Q35_OK;
}

/* Column `c` of tile t (and its partner 64 further) in search units. */
static void load_column(const struct job *j, const struct work *k, const float *inv, uint32_t t,
                        uint32_t c, int16_t x[16][2])
{
    uint32_t halves = j->pair ? 2 : 1, r, d;
    for (d = 0; d < halves; d++) {
        const float *w = k->w + ROWS * ((size_t)t * j->tile_cols + c + 64 * d);
        for (r = 0; r < ROWS; r++) {
            float v = w[r] * inv[r];
            v = v > Q35_SEARCH_X_MAX ? Q35_SEARCH_X_MAX : v;
            v = v < -Q35_SEARCH_X_MAX ? -Q35_SEARCH_X_MAX : v;
            x[r][d] = (int16_t)(int32_t)(v < 0 ? v - 0.5f : v + 0.5f);
        }
    }
    for (r = 0; r < ROWS && !j->pair; r++)
        x[r][1] = 0;
}

static void set_scales(struct work *k, const double *sigma, float unit)
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

/* The decoded values q of codes at column c: what the row scales multiply. */
static void decode_column(const struct job *j, const uint8_t code[16], int8_t q[16][2])
{
    const struct q35_tables *t = (const struct q35_tables *)j->blob;
    uint32_t r;
    for (r = 0; r < ROWS; r++) {
        uint32_t b = t->b[code[(r + 15) & 15]];
        q[r][0] = (int8_t)(t->a0[code[r]] + Q35_B_STEP * (int)(b >> 4));
        q[r][1] = (int8_t)(t->a1[code[r]] + Q35_B_STEP * (int)(b & 15));
    }
}

/* Correlations between weights and decoded values, per row. */
struct fit {
    double wq[ROWS];
    int64_t qq[ROWS];
};

static void fit_column(const struct job *j, const struct work *k, uint32_t t, uint32_t c,
                       const uint8_t code[16], struct fit *f)
{
    uint32_t halves = j->pair ? 2 : 1, r, d;
    int8_t q[16][2];
    decode_column(j, code, q);
    for (d = 0; d < halves; d++) {
        uint32_t at = t * j->tile_cols + c + 64 * d;
        const float *w = k->w + ROWS * (size_t)at;
        for (r = 0; r < ROWS && at < j->used_cols; r++) {
            f->wq[r] += (double)w[r] * q[r][d];
            f->qq[r] += q[r][d] * q[r][d];
        }
    }
}

/* Squared error of a row once its scale is the least-squares one. */
static double fitted_error(const struct fit *f, uint32_t r, double norm2)
{
    return f->qq[r] > 0 ? norm2 - f->wq[r] * f->wq[r] / (double)f->qq[r] : norm2;
}

/* Sets sigma[r] to the factor of the row's RMS whose codes, on a sample of columns, correlate best
 * with the weights. */
static void search_sigma(const struct job *j, struct work *k, double *sigma)
{
    static const double factor[] = {1.0, 0.94, 1.06, 0.88, 0.80, 1.13};
    uint32_t codes = j->tiles * Q35_TILE_CODES;
    uint32_t n = j->search->memory && codes > SAMPLE_CODES ? SAMPLE_CODES : codes;
    double rms[ROWS], best[ROWS];
    uint32_t f, r, i;
    memcpy(rms, sigma, sizeof(rms));
    for (f = 0; f < Q35_COUNT(factor); f++) {
        struct fit fit = {{0}, {0}};
        double trial[ROWS];
        for (r = 0; r < ROWS; r++)
            trial[r] = rms[r] * factor[f];
        set_scales(k, trial, j->unit);
        for (i = 0; i < n; i++) {
            uint32_t at = (uint32_t)((uint64_t)i * codes / n);
            uint8_t code[16];
            int16_t x[16][2];
            load_column(j, k, k->inv, at / Q35_TILE_CODES, at % Q35_TILE_CODES, x);
            q35_search_column(j->search, x, code);
            fit_column(j, k, at / Q35_TILE_CODES, at % Q35_TILE_CODES, code, &fit);
        }
        for (r = 0; r < ROWS; r++) {
            double e = fitted_error(&fit, r, 0);
            if (f == 0 || e < best[r]) {
                best[r] = e;
                sigma[r] = trial[r];
            }
        }
    }
}

/* Encodes all tiles of block b with the present scales into the blob and refits the scales. */
static void encode_tiles(const struct job *j, struct work *k, uint32_t b, struct fit *f)
{
    uint8_t *tile = j->blob + q35_codes_offset(j->rows) + (uint64_t)b * j->tiles * Q35_TILE_BYTES;
    uint32_t t, c, r;
    memset(f, 0, sizeof(*f));
    memset(tile, 0, (size_t)j->tiles * Q35_TILE_BYTES);
    for (t = 0; t < j->tiles; t++, tile += Q35_TILE_BYTES)
        for (c = 0; c < Q35_TILE_CODES; c++) {
            uint8_t code[16];
            int16_t x[16][2];
            load_column(j, k, k->inv, t, c, x);
            q35_search_column(j->search, x, code);
            fit_column(j, k, t, c, code, f);
            for (r = 0; r < ROWS; r++)
                q35_code_put(tile + Q35_ROW_BYTES * r, c, code[r]);
        }
}

static void row_norms(const struct job *j, struct work *k)
{
    uint32_t c, r;
    memset(k->norm2, 0, sizeof(k->norm2));
    for (c = 0; c < j->cols_padded; c++)
        for (r = 0; r < ROWS; r++) {
            double v = (double)k->w[(size_t)c * ROWS + r];
            k->norm2[r] += v * v;
        }
}

static enum q35_status encode_block(struct job *j, struct work *k, uint32_t b,
                                    struct q35_error *err)
{
    uint8_t *scales = j->blob + Q35_BLOB_TABLES + 4 * (uint64_t)b * ROWS;
    uint32_t rounds = j->p->effort >= Q35_EFFORT_HIGH ? 2 : 1, i, r;
    double sigma[ROWS], error[ROWS];
    struct fit f;
    enum q35_status st = load_block(j, k, b, err);
    if (st != Q35_OK)
        return st;
    row_norms(j, k);
    for (r = 0; r < ROWS; r++)
        sigma[r] = sqrt(k->norm2[r] / j->used_cols);
    /* Rotated rows are Gaussian, as the tables expect: a search would only fit the sample. */
    if (j->p->effort >= Q35_EFFORT_DEFAULT && !j->block_size)
        search_sigma(j, k, sigma);
    for (i = 0; i < rounds; i++) {
        set_scales(k, sigma, j->unit);
        encode_tiles(j, k, b, &f);
        for (r = 0; r < ROWS; r++) {
            if (f.qq[r] > 0 && k->scale[r] > 0 && f.wq[r] > 0)
                sigma[r] = f.wq[r] / (double)f.qq[r] * (double)j->unit;
            else
                sigma[r] = 0;
            error[r] = fitted_error(&f, r, k->norm2[r]);
        }
    }
    for (r = 0; r < ROWS; r++) {
        float s = (float)(sigma[r] / (double)j->unit);
        if (j->block_size)
            s /= (float)j->block_size;
        memcpy(scales + 4 * r, &s, 4);
        /* The Hadamard blocks multiply squares by their size. */
        j->error2[b] += error[r] / (j->block_size ? j->block_size : 1);
        j->weight2[b] += k->norm2[r] / (j->block_size ? j->block_size : 1);
    }
    return Q35_OK;
}

static void report(struct job *j, enum q35_status st, const struct q35_error *err)
{
    pthread_mutex_lock(&j->lock);
    if (st != Q35_OK) {
        if (j->status == Q35_OK) {
            j->status = st;
            j->err = *err;
        }
        atomic_store(&j->stop, true);
    } else {
        j->rows_done += ROWS;
        if (j->p->progress)
            j->p->progress(j->p->progress_ctx, j->rows_done);
    }
    pthread_mutex_unlock(&j->lock);
}

static void *worker(void *arg)
{
    struct job *j = arg;
    struct work *k = calloc(1, sizeof(*k));
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st = Q35_OK;
    if (k) {
        k->in = malloc(sizeof(float) * ROWS * j->cols);
        k->w = malloc(sizeof(float) * ROWS * j->cols_padded);
    }
    if (!k || !k->in || !k->w)
        report(j, q35_fail(&err, Q35_E_NOMEM, "no memory to encode %u columns", j->cols), &err);
    while (st == Q35_OK && !atomic_load(&j->stop)) {
        uint32_t b = atomic_fetch_add(&j->next, 1);
        if (b >= j->blocks)
            break;
        st = encode_block(j, k, b, &err);
        report(j, st, &err);
    }
    if (k) {
        free(k->in);
        free(k->w);
    }
    free(k);
    return NULL;
}

static uint32_t thread_count(uint32_t wanted, uint32_t blocks)
{
    cpu_set_t set;
    uint32_t n = wanted;
    if (!n)
        n = sched_getaffinity(0, sizeof(set), &set) ? 1 : (uint32_t)CPU_COUNT(&set);
    n = n > 256 ? 256 : n;
    return n > blocks ? blocks : n;
}

static void run(struct job *j)
{
    pthread_t thread[256];
    uint32_t n = thread_count(j->p->threads, j->blocks), started = 0, i;
    while (started + 1 < n && !pthread_create(&thread[started], NULL, worker, j))
        started++; /* fewer threads give the same result */
    worker(j);
    for (i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
}

static enum q35_status check(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                             struct q35_error *err)
{
    if (!rows || !cols || rows > Q35_MAX_ROWS || cols > Q35_MAX_COLS)
        return q35_fail(err, Q35_E_INVALID, "a matrix of %u x %u cannot be packed", rows, cols);
    if (!shipped(p->scheme))
        return q35_fail(err, Q35_E_INVALID, "no tables for scheme 0x%x", p->scheme);
    if (!q35_search_kernels_get(p->kernels))
        return q35_fail(err, Q35_E_UNSUPPORTED, "no search kernels \"%s\" here", p->kernels);
    return Q35_OK;
}

enum q35_status q35_encode_matrix(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                                  q35_rows_fn read, void *read_ctx, uint8_t *blob,
                                  struct q35_encode_stats *stats, struct q35_error *err)
{
    struct job j = {.p = p,
                    .rows = rows,
                    .cols = cols,
                    .read = read,
                    .read_ctx = read_ctx,
                    .blob = blob,
                    .lock = PTHREAD_MUTEX_INITIALIZER};
    const struct q35_tables *t;
    enum q35_status st = check(p, rows, cols, err);
    uint32_t b;
    if (st != Q35_OK)
        return st;
    j.cols_padded = q35_pad_cols(cols);
    j.blocks = q35_pad_rows(rows) / ROWS;
    j.block_size = p->rotate ? q35_rot_block(cols) : 0;
    j.used_cols = j.block_size ? j.cols_padded : cols;
    j.tile_cols = q35_tile_cols(p->scheme);
    j.tiles = q35_tiles_per_row(p->scheme, cols);
    j.pair = Q35_SCHEME_WEIGHTS(p->scheme) == 2;
    j.unit = shipped(p->scheme)->unit;
    t = p->tables ? p->tables : &shipped(p->scheme)->tables;
    j.search = aligned_alloc(64, (sizeof(*j.search) + 63) / 64 * 64);
    j.error2 = calloc(2 * (size_t)j.blocks, sizeof(double));
    if (!j.search || !j.error2) {
        free(j.search);
        free(j.error2);
        return q35_fail(err, Q35_E_NOMEM, "no memory to encode a matrix");
    }
    j.weight2 = j.error2 + j.blocks;
    q35_search_init(j.search, p->scheme, t, q35_search_kernels_get(p->kernels));
    j.search->seams = p->effort >= Q35_EFFORT_HIGH ? 4 : p->effort >= Q35_EFFORT_DEFAULT ? 1 : 0;
    memcpy(blob, t, sizeof(*t));
    memset(blob + q35_blob_bytes(p->scheme, rows, cols) - Q35_BLOB_TAIL, 0, Q35_BLOB_TAIL);
    run(&j);
    if (stats) {
        memset(stats, 0, sizeof(*stats));
        for (b = 0; b < j.blocks; b++) { /* in this order whoever computed them */
            stats->error2 += j.error2[b];
            stats->weight2 += j.weight2[b];
        }
    }
    free(j.search);
    free(j.error2);
    pthread_mutex_destroy(&j.lock);
    if (j.status != Q35_OK && err)
        *err = j.err;
    return j.status;
}

enum q35_status q35_dense_rows_read(void *ctx, uint32_t first, uint32_t count, float *out,
                                    struct q35_error *err)
{
    const struct q35_dense_rows *d = ctx;
    (void)err;
    memcpy(out, d->data + (size_t)first * d->cols, sizeof(float) * count * d->cols);
    return Q35_OK;
}
