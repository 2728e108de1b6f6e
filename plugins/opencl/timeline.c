/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Values ascend, every submit completes once, the last 64 results are kept. */

#include <errno.h>
#include <string.h>
#include <time.h>

#include "opencl.h"

enum q35_status ocl_time_init(struct ocl_time *t, struct q35_error *err)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a timeline");
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = pthread_cond_init(&t->done, &attr);
    pthread_condattr_destroy(&attr);
    if (!rc) {
        rc = pthread_mutex_init(&t->lock, NULL);
        if (rc)
            pthread_cond_destroy(&t->done);
    }
    return rc ? ocl_fail(err, Q35_E_NOMEM, "no memory for a timeline") : Q35_OK;
}

void ocl_time_fini(struct ocl_time *t)
{
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->done);
}

void ocl_time_complete(struct ocl_time *t, uint64_t value, const struct q35_error *result)
{
    pthread_mutex_lock(&t->lock);
    t->values[t->next] = value;
    t->results[t->next] = *result;
    t->next = (t->next + 1) % RESULTS;
    t->completed = value;
    pthread_cond_broadcast(&t->done);
    pthread_mutex_unlock(&t->lock);
}

static enum q35_status result_of(const struct ocl_time *t, uint64_t value, struct q35_error *err)
{
    uint32_t i, size = err->size;
    for (i = 0; i < RESULTS; i++) {
        const struct q35_error *r = &t->results[i];
        if (t->values[i] != value || !value)
            continue;
        if (r->status) { /* the host's struct may be shorter or longer */
            memcpy(err, r, size < sizeof(*r) ? size : sizeof(*r));
            err->size = size;
        }
        return (enum q35_status)r->status;
    }
    return ocl_fail(err, Q35_E_NOT_FOUND, "no submit with value %llu, or too long ago",
                    (unsigned long long)value);
}

enum q35_status ocl_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                         struct q35_error *err)
{
    const uint64_t longest = (uint64_t)1 << 60; /* 36 years */
    struct ocl_time *t = &dev->time;
    struct timespec until;
    enum q35_status st;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    timeout_ns = (timeout_ns < longest ? timeout_ns : longest) + (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(timeout_ns / 1000000000u);
    until.tv_nsec = (long)(timeout_ns % 1000000000u);
    pthread_mutex_lock(&t->lock);
    while (t->completed < value && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&t->done, &t->lock, &until);
    st = t->completed < value
             ? ocl_fail(err, Q35_E_TIMEOUT, "value %llu has not completed, the last is %llu",
                        (unsigned long long)value, (unsigned long long)t->completed)
             : result_of(t, value, err);
    pthread_mutex_unlock(&t->lock);
    return st;
}

enum q35_status ocl_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err)
{
    (void)err;
    pthread_mutex_lock(&dev->time.lock);
    *value = dev->time.completed;
    pthread_mutex_unlock(&dev->time.lock);
    return Q35_OK;
}

/* A cancel that comes before its submit holds for it as well: it cannot lose the race. */
enum q35_status ocl_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err)
{
    uint64_t old = atomic_load(&dev->time.cancelled);
    (void)err;
    while (old < value && !atomic_compare_exchange_weak(&dev->time.cancelled, &old, value))
        ;
    return Q35_OK;
}
