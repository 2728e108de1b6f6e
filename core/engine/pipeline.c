/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdlib.h>

#include "core/engine/internal.h"

/* With S stages and P parts the devices are all busy in P - S + 1 of P + S - 1 steps. More parts
 * overlap better, but each reads all weights once. */
#define PARTS_PER_STAGE 4u

/* Parts pass through the stages in order, one thread a stage: a stage takes part k when the stage
 * before has finished it. So each device is called by one thread, and the tokens of a sequence
 * reach it in ascending positions. */
struct flow {
    const struct batch *batch;
    uint32_t parts;
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    uint32_t *done; /* [stages] parts finished */
    enum q35_status status;
    struct q35_error *err; /* of the first failure */
};

struct worker {
    struct flow *flow;
    uint32_t stage;
    pthread_t thread;
};

static uint32_t part_start(const struct flow *f, uint32_t part)
{
    return (uint32_t)((uint64_t)f->batch->n * part / f->parts);
}

/* Waits until the stage before has finished `part`; false if some stage failed. */
static bool may_start(struct flow *f, uint32_t stage, uint32_t part)
{
    bool ok;
    pthread_mutex_lock(&f->mutex);
    while (f->status == Q35_OK && stage > 0 && f->done[stage - 1] <= part)
        pthread_cond_wait(&f->moved, &f->mutex);
    ok = f->status == Q35_OK;
    pthread_mutex_unlock(&f->mutex);
    return ok;
}

static void *work(void *arg)
{
    const struct worker *w = arg;
    struct flow *f = w->flow;
    uint32_t part;
    for (part = 0; part < f->parts && may_start(f, w->stage, part); part++) {
        struct q35_error err = Q35_ERROR_INIT;
        uint32_t from = part_start(f, part), n = part_start(f, part + 1) - from;
        enum q35_status st = q35_stage_slice(f->batch, w->stage, from, n, &err);
        pthread_mutex_lock(&f->mutex);
        f->done[w->stage]++;
        /* A lost device outweighs what it may have caused elsewhere. */
        if (st != Q35_OK && (f->status == Q35_OK || st == Q35_E_DEVICE_LOST)) {
            f->status = st;
            *f->err = err;
        }
        pthread_cond_broadcast(&f->moved);
        pthread_mutex_unlock(&f->mutex);
    }
    return NULL;
}

/* Stage 0 runs here, the others on threads of their own. */
static void run_workers(struct flow *f, struct worker *workers, uint32_t stages)
{
    uint32_t started = 1, i;
    while (started < stages &&
           pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
        started++;
    if (started < stages) {
        pthread_mutex_lock(&f->mutex);
        if (f->status == Q35_OK)
            f->status = q35_fail(f->err, Q35_E_NOMEM, "no thread for a stage");
        pthread_cond_broadcast(&f->moved);
        pthread_mutex_unlock(&f->mutex);
    }
    work(&workers[0]);
    for (i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
}

enum q35_status q35_pipeline_run(const struct batch *b, struct q35_error *err)
{
    uint32_t stages = b->stages->count, i;
    struct flow f = {.batch = b, .err = err};
    struct worker *workers = calloc(stages, sizeof(*workers));
    f.done = calloc(stages, sizeof(*f.done));
    f.parts = b->n / b->stages->micro_batch;
    if (f.parts > stages * PARTS_PER_STAGE)
        f.parts = stages * PARTS_PER_STAGE;
    if (!workers || !f.done) {
        free(workers);
        free(f.done);
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u stages", stages);
    }
    for (i = 0; i < stages; i++) {
        workers[i].flow = &f;
        workers[i].stage = i;
    }
    pthread_mutex_init(&f.mutex, NULL);
    pthread_cond_init(&f.moved, NULL);
    run_workers(&f, workers, stages);
    pthread_cond_destroy(&f.moved);
    pthread_mutex_destroy(&f.mutex);
    free(f.done);
    free(workers);
    return f.status;
}
