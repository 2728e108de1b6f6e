/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The timeline: values ascend, every submit completes once, the last 64 results are kept. */

#include <errno.h>
#include <time.h>

#include "soft_impl.h"

enum q35_status soft_timeline_init(struct soft_timeline *t, struct q35_error *err)
{
    pthread_condattr_t attr;
    t->lock_made = !pthread_mutex_init(&t->lock, NULL);
    if (!pthread_condattr_init(&attr)) {
        t->cond_made = !pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) &&
                       !pthread_cond_init(&t->done, &attr);
        pthread_condattr_destroy(&attr);
    }
    if (!t->lock_made || !t->cond_made)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a timeline");
    return Q35_OK;
}

void soft_timeline_fini(struct soft_timeline *t)
{
    if (t->cond_made)
        pthread_cond_destroy(&t->done);
    if (t->lock_made)
        pthread_mutex_destroy(&t->lock);
    t->cond_made = t->lock_made = false;
}

enum q35_status soft_timeline_check(struct soft_timeline *t, uint64_t value, struct q35_error *err)
{
    if (value <= t->submitted)
        return q35_soft_fail(err, Q35_E_INVALID, "signal %llu does not ascend, the last was %llu",
                             (unsigned long long)value, (unsigned long long)t->submitted);
    return Q35_OK;
}

void soft_timeline_complete(struct soft_timeline *t, uint64_t value, const struct q35_error *err)
{
    pthread_mutex_lock(&t->lock);
    soft_results_add(&t->results, value, err);
    t->submitted = t->completed = value;
    pthread_cond_broadcast(&t->done);
    pthread_mutex_unlock(&t->lock);
}

bool soft_timeline_cancelled(struct soft_timeline *t, uint64_t value)
{
    return value <= atomic_load_explicit(&t->cancelled, memory_order_acquire);
}

/* Now plus ns, saturating. */
static struct timespec deadline(uint64_t ns)
{
    struct timespec ts;
    const uint64_t longest = (uint64_t)1 << 60; /* 36 years */
    if (ns > longest)
        ns = longest;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ns += (uint64_t)ts.tv_nsec;
    ts.tv_sec += (time_t)(ns / 1000000000u);
    ts.tv_nsec = (long)(ns % 1000000000u);
    return ts;
}

enum q35_status q35_soft_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                              struct q35_error *err)
{
    struct soft_timeline *t = &dev->time;
    struct timespec until = deadline(timeout_ns);
    enum q35_status st;
    int rc = 0;

    pthread_mutex_lock(&t->lock);
    while (t->completed < value && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&t->done, &t->lock, &until);
    if (t->completed < value)
        st = q35_soft_fail(err, Q35_E_TIMEOUT, "value %llu has not completed, the last is %llu",
                           (unsigned long long)value, (unsigned long long)t->completed);
    else
        st = soft_results_find(&t->results, value, err);
    pthread_mutex_unlock(&t->lock);
    return st;
}

enum q35_status q35_soft_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err)
{
    (void)err;
    pthread_mutex_lock(&dev->time.lock);
    *value = dev->time.completed;
    pthread_mutex_unlock(&dev->time.lock);
    return Q35_OK;
}

enum q35_status q35_soft_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err)
{
    uint64_t old = atomic_load(&dev->time.cancelled);
    (void)err;
    while (old < value && !atomic_compare_exchange_weak(&dev->time.cancelled, &old, value))
        ;
    return Q35_OK;
}
