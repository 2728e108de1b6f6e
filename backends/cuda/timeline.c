/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The timeline. Runs are in flight in submission order; each has an event behind its last transfer.
 * A thread that waits or polls looks at the oldest event and, if the device has passed it,
 * completes that run. One thread does so at a time ("driving"), without holding the lock. */

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "impl.h"

#define SPIN_NS 2000000u /* then naps, so that a long prefill does not burn a core */
#define NAP_NS 50000

enum q35_status cuda_timeline_init(struct cuda_timeline *t, struct q35_error *err)
{
    pthread_condattr_t attr;
    t->lock_made = !pthread_mutex_init(&t->lock, NULL);
    if (!pthread_condattr_init(&attr)) {
        t->cond_made = !pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) &&
                       !pthread_cond_init(&t->changed, &attr);
        pthread_condattr_destroy(&attr);
    }
    if (!t->lock_made || !t->cond_made)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a timeline");
    return Q35_OK;
}

void cuda_timeline_fini(struct cuda_timeline *t)
{
    if (t->cond_made)
        pthread_cond_destroy(&t->changed);
    if (t->lock_made)
        pthread_mutex_destroy(&t->lock);
    t->cond_made = t->lock_made = false;
}

/* Completes the oldest run if the device has passed its event; with `block` waits for that. The
 * lock is held on entry and on return. */
static bool drive(struct q35_device *dev, bool block)
{
    struct cuda_timeline *t = &dev->time;
    struct cuda_slot *s = &t->slots[t->head];
    cu_result code = CU_SUCCESS;
    t->driving = true;
    pthread_mutex_unlock(&t->lock);
    if (s->recorded) {
        cuda_enter(dev);
        code = block ? dev->cu->EventSynchronize(s->done) : dev->cu->EventQuery(s->done);
        cuda_leave(dev);
    }
    if (code && code != CU_ERROR_NOT_READY)
        (void)cuda_check(dev, code, "running layers", &s->err);
    else if (!code && !s->err.status && s->out)
        memcpy(s->out, s->result.data, s->out_bytes);
    pthread_mutex_lock(&t->lock);
    t->driving = false;
    if (code != CU_ERROR_NOT_READY) {
        soft_results_add(&t->results, s->value, &s->err);
        t->completed = s->value;
        t->head = (t->head + 1) % CUDA_SLOTS;
        t->count--;
    }
    pthread_cond_broadcast(&t->changed);
    return code != CU_ERROR_NOT_READY;
}

/* With the lock held: the oldest run has completed when this returns, whoever saw to it. */
static void complete_oldest(struct q35_device *dev)
{
    struct cuda_timeline *t = &dev->time;
    if (t->driving)
        pthread_cond_wait(&t->changed, &t->lock);
    else
        (void)drive(dev, true);
}

struct cuda_slot *cuda_slot_take(struct q35_device *dev)
{
    struct cuda_timeline *t = &dev->time;
    struct cuda_slot *s;
    pthread_mutex_lock(&t->lock);
    while (t->count == CUDA_SLOTS)
        complete_oldest(dev);
    s = &t->slots[(t->head + t->count) % CUDA_SLOTS];
    pthread_mutex_unlock(&t->lock);
    s->err = (struct q35_error)Q35_ERROR_INIT;
    s->out = NULL;
    s->out_bytes = 0;
    s->recorded = false;
    return s;
}

void cuda_slot_submit(struct q35_device *dev, struct cuda_slot *slot, uint64_t value)
{
    struct cuda_timeline *t = &dev->time;
    pthread_mutex_lock(&t->lock);
    slot->value = value;
    t->submitted = value;
    t->count++;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

void cuda_drain(struct q35_device *dev)
{
    struct cuda_timeline *t = &dev->time;
    pthread_mutex_lock(&t->lock);
    while (t->count)
        complete_oldest(dev);
    pthread_mutex_unlock(&t->lock);
}

bool cuda_cancelled(struct q35_device *dev, uint64_t value)
{
    return value <= atomic_load_explicit(&dev->time.cancelled, memory_order_acquire);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Not yet: passes some time without the lock, at most until the deadline. */
static void rest(struct cuda_timeline *t, uint64_t start, uint64_t deadline)
{
    if (!t->count || t->driving) {
        struct timespec until = {(time_t)(deadline / 1000000000u), (long)(deadline % 1000000000u)};
        (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
        return;
    }
    pthread_mutex_unlock(&t->lock);
    if (now_ns() - start < SPIN_NS) {
        sched_yield();
    } else {
        const struct timespec nap = {0, NAP_NS};
        nanosleep(&nap, NULL);
    }
    pthread_mutex_lock(&t->lock);
}

enum q35_status cuda_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                          struct q35_error *err)
{
    const uint64_t longest = (uint64_t)1 << 60; /* 36 years */
    struct cuda_timeline *t = &dev->time;
    uint64_t start = now_ns(), now = start;
    uint64_t deadline = start + (timeout_ns < longest ? timeout_ns : longest);
    enum q35_status st;

    pthread_mutex_lock(&t->lock);
    while (t->completed < value) {
        if (t->count && !t->driving && drive(dev, false))
            continue;
        if (t->completed >= value || now >= deadline)
            break;
        rest(t, start, deadline);
        now = now_ns();
    }
    if (t->completed < value)
        st = q35_soft_fail(err, Q35_E_TIMEOUT, "value %llu has not completed, the last is %llu",
                           (unsigned long long)value, (unsigned long long)t->completed);
    else
        st = soft_results_find(&t->results, value, err);
    pthread_mutex_unlock(&t->lock);
    return st;
}

enum q35_status cuda_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err)
{
    struct cuda_timeline *t = &dev->time;
    (void)err;
    pthread_mutex_lock(&t->lock);
    while (t->count && !t->driving && drive(dev, false))
        ;
    *value = t->completed;
    pthread_mutex_unlock(&t->lock);
    return Q35_OK;
}

enum q35_status cuda_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err)
{
    uint64_t old = atomic_load(&dev->time.cancelled);
    (void)err;
    while (old < value && !atomic_compare_exchange_weak(&dev->time.cancelled, &old, value))
        ;
    return Q35_OK;
}
