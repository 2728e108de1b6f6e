/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/encode.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/quant/block.h"
#include "core/quant/refine.h"

#define ROWS Q35_TILE_ROWS

/* What the workers share. */
struct work {
    struct q35_block_job job;
    const struct q35_encode_params *p;
    uint32_t blocks;
    q35_rows_fn read;
    void *read_ctx;
    uint8_t *blob;
    struct q35_block_sums *sums; /* [blocks] */
    atomic_uint next;            /* block to take */
    atomic_bool stop;
    pthread_mutex_t lock; /* of what follows */
    uint32_t rows_done;
    enum q35_status status;
    struct q35_error err;
};

double q35_encode_rmse(const struct q35_encode_stats *s)
{
    return s->weight2 > 0 ? sqrt(s->error2 / s->weight2) : 0;
}

static enum q35_status encode_block(struct work *w, struct q35_block *k, uint32_t b,
                                    struct q35_error *err)
{
    uint8_t *tiles =
        w->blob + q35_codes_offset(w->job.rows) + (uint64_t)b * w->job.tiles * Q35_TILE_BYTES;
    float scales[ROWS];
    enum q35_status st = q35_block_load(&w->job, k, b, w->read, w->read_ctx, err);
    if (st != Q35_OK)
        return st;
    q35_block_encode(&w->job, k, tiles, scales, &w->sums[b]);
    memcpy(w->blob + Q35_BLOB_TABLES + sizeof(scales) * (uint64_t)b, scales, sizeof(scales));
    return Q35_OK;
}

static void report(struct work *w, enum q35_status st, const struct q35_error *err)
{
    pthread_mutex_lock(&w->lock);
    if (st != Q35_OK) {
        if (w->status == Q35_OK) {
            w->status = st;
            w->err = *err;
        }
        atomic_store(&w->stop, true);
    } else {
        w->rows_done += ROWS;
        if (w->p->progress)
            w->p->progress(w->p->progress_ctx, w->rows_done);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *worker(void *arg)
{
    struct work *w = arg;
    struct q35_block *k = q35_block_create(&w->job);
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st = Q35_OK;
    if (!k) {
        st = q35_fail(&err, Q35_E_NOMEM, "no memory to encode %u columns", w->job.cols);
        report(w, st, &err);
    }
    while (st == Q35_OK && !atomic_load(&w->stop)) {
        uint32_t b = atomic_fetch_add(&w->next, 1);
        if (b >= w->blocks)
            break;
        st = encode_block(w, k, b, &err);
        report(w, st, &err);
    }
    q35_block_destroy(k);
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

static void run(struct work *w)
{
    pthread_t thread[256];
    uint32_t n = thread_count(w->p->threads, w->blocks), started = 0, i;
    while (started + 1 < n && !pthread_create(&thread[started], NULL, worker, w))
        started++; /* fewer threads give the same result */
    worker(w);
    for (i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
}

enum q35_status q35_encode_matrix(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                                  q35_rows_fn read, void *read_ctx, uint8_t *blob,
                                  struct q35_encode_stats *stats, struct q35_error *err)
{
    struct work w = {.p = p,
                     .read = read,
                     .read_ctx = read_ctx,
                     .blob = blob,
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    enum q35_status st = q35_block_job_init(&w.job, p, rows, cols, err);
    struct q35_tables refined;
    uint32_t b;
    if (st != Q35_OK)
        return st;
    w.blocks = q35_pad_rows(rows) / ROWS;
    w.sums = calloc(w.blocks, sizeof(*w.sums));
    if (!w.sums) {
        q35_block_job_fini(&w.job);
        return q35_fail(err, Q35_E_NOMEM, "no memory to encode a matrix");
    }
    st = q35_refine_tables(p, &w.job, read, read_ctx, &refined, err);
    if (st != Q35_OK) {
        q35_block_job_fini(&w.job);
        free(w.sums);
        return st;
    }
    memcpy(blob, w.job.tables, sizeof(*w.job.tables));
    memset(blob + q35_blob_bytes(p->scheme, rows, cols) - Q35_BLOB_TAIL, 0, Q35_BLOB_TAIL);
    run(&w);
    if (stats) {
        memset(stats, 0, sizeof(*stats));
        for (b = 0; b < w.blocks; b++) { /* in this order whoever computed them */
            stats->error2 += w.sums[b].error2;
            stats->weight2 += w.sums[b].norm2;
            stats->output_error2 += w.sums[b].output_error2;
            stats->output2 += w.sums[b].output2;
        }
    }
    q35_block_job_fini(&w.job);
    free(w.sums);
    pthread_mutex_destroy(&w.lock);
    if (w.status != Q35_OK && err)
        *err = w.err;
    return w.status;
}

enum q35_status q35_dense_rows_read(void *ctx, uint32_t first, uint32_t count, float *out,
                                    struct q35_error *err)
{
    const struct q35_dense_rows *d = ctx;
    (void)err;
    memcpy(out, d->data + (size_t)first * d->cols, sizeof(float) * count * d->cols);
    return Q35_OK;
}
