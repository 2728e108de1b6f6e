/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The timeline, cancelling, threads. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/verify/kit.h"

static bool poll_is(struct vfy *v, uint64_t want, const char *when)
{
    uint64_t got = UINT64_MAX;
    if (!vfy_ok(v, VFY_CALL(&v->d, poll, v->d.dev, &got, &v->err), VFY_TIME_ONCE, "poll"))
        return false;
    EXPECT(v, got == want, VFY_TIME_ONCE, "%s poll gives %llu instead of %llu", when,
           (unsigned long long)got, (unsigned long long)want);
    return true;
}

/* Values that no submit has must not complete. */
static bool future_waits(struct vfy *v, uint64_t beyond)
{
    uint64_t start = q35_now_ns();
    enum q35_status st = VFY_CALL(&v->d, wait, v->d.dev, v->d.signal + beyond, 20000000, &v->err);
    EXPECT(v, st, VFY_TIME_ONCE, "value %llu has completed, but the last submit was %llu",
           (unsigned long long)(v->d.signal + beyond), (unsigned long long)v->d.signal);
    EXPECT(v, q35_now_ns() - start >= 15000000, VFY_WAIT,
           "wait gave up before its 20 ms had passed");
    return vfy_refused(v, st, Q35_E_TIMEOUT, VFY_WAIT, "a wait for a value of the future") &&
           vfy_refused(v, VFY_CALL(&v->d, wait, v->d.dev, v->d.signal + beyond, 0, &v->err),
                       Q35_E_TIMEOUT, VFY_WAIT, "a wait of 0 ns for a value of the future");
}

static bool submit_one(struct vfy *v, struct vfy_rig *r, uint32_t position, bool cancel_first)
{
    struct q35_token t[1];
    float out[100];
    struct vfy_job job = {r->w, r->kv, 0, r->m->layer_count, t, 1, NULL, 0, out, sizeof(out)};
    enum q35_status st;
    vfy_tokens(t, 1, 0, position, r->m->shape.vocab, true, &v->rng);
    if (cancel_first)
        VFY_CALL(&v->d, cancel, v->d.dev, v->d.signal + 1, &v->err);
    st = vfy_run(&v->d, &job, &v->err);
    if (st == Q35_E_CANCELLED && cancel_first)
        return true;
    return vfy_ok(v, st, VFY_TIME_ONCE, "a run of one token");
}

enum { FLYING = 6 };

/* Submits are put in flight together; when the last has completed, so have all before it. */
static bool several_in_flight(struct vfy *v, struct vfy_rig *r)
{
    float got[FLYING][100], want[FLYING][100];
    uint64_t first = v->d.signal + 1;
    struct q35_token t[FLYING];
    uint32_t i;
    memset(got, VFY_UNWRITTEN, sizeof(got));
    vfy_tokens(t, FLYING, r->sequences - 1, 0, r->m->shape.vocab, true, &v->rng);
    for (i = 0; i < FLYING; i++) {
        struct vfy_job job = {r->w, r->kv, 0,      r->m->layer_count, &t[i], 1,
                              NULL, 0,     got[i], sizeof(got[i]),    0};
        if (!vfy_ok(v, vfy_submit(&v->d, &job, &v->err), VFY_TIME_ONCE,
                    "a submit while others are in flight"))
            return false;
        if (!vfy_oracle_run(r->o, 0, r->m->layer_count, &t[i], 1, NULL, want[i]))
            return vfy_skip(v, "the kit has no memory");
    }
    if (!vfy_ok(v, VFY_CALL(&v->d, wait, v->d.dev, v->d.signal, VFY_RUN_TIMEOUT_NS, &v->err),
                VFY_TIME_ONCE, "waiting for the last of several submits") ||
        !poll_is(v, v->d.signal, "after the last of several submits"))
        return false;
    for (i = 0; i < FLYING; i++) /* without waiting for those: they have completed */
        if (!vfy_same(v, &(struct vfy_results){got[i], want[i], 1, 100, &t[i], 1}, false,
                      VFY_TIME_ONCE, "a submit before one that has completed"))
            return false;
    for (i = 0; i < FLYING; i++)
        if (!vfy_ok(v, VFY_CALL(&v->d, wait, v->d.dev, first + i, 0, &v->err), VFY_TIME_ONCE,
                    "a submit before one that has completed"))
            return false;
    return true;
}

bool vfy_check_timeline(struct vfy *v)
{
    struct vfy_rig r;
    uint64_t values[90];
    uint32_t i, n = Q35_COUNT(values), round;
    struct q35_token t[1];
    float out[100];
    struct vfy_job job;

    if (!vfy_open(v) || !vfy_rig_any(v, &r, 2, 256) || !poll_is(v, 0, "before any submit"))
        return false;
    if (!future_waits(v, 1))
        return false;
    for (i = 0; i < n; i++) {
        v->d.signal += vfy_below(&v->rng, 5) * 1000; /* ascending, not adjacent */
        if (!submit_one(v, &r, i, false) || !poll_is(v, v->d.signal, "after a completed submit"))
            return false;
        values[i] = v->d.signal;
    }
    if (!future_waits(v, 1) || !future_waits(v, 1000000))
        return false;
    for (round = 0; round < 2; round++)
        for (i = n - 64; i < n; i++) {
            uint32_t k = round ? i : n - 64 + (i * 37) % 64;
            if (!vfy_ok(v, VFY_CALL(&v->d, wait, v->d.dev, values[k], 0, &v->err), VFY_TIME_KEEP,
                        "asking again for one of the last 64 results"))
                return false;
        }
    /* In between values were left out, and the first ones are long ago. */
    for (i = n - 64; i < n; i++)
        if (values[i] > values[i - 1] + 1 &&
            !vfy_refused(v, VFY_CALL(&v->d, wait, v->d.dev, values[i] - 1, 0, &v->err),
                         Q35_E_NOT_FOUND, VFY_WAIT, "waiting for a value that no submit had"))
            return false;
    if (!several_in_flight(v, &r))
        return false;
    if (r.sequences < 2) /* they were written over the others */
        n = FLYING;
    /* Values that do not ascend are refused and change nothing. */
    vfy_tokens(t, 1, 0, n, r.m->shape.vocab, true, &v->rng);
    job = (struct vfy_job){r.w, r.kv, 0, r.m->layer_count, t, 1, NULL, 0, out, sizeof(out)};
    for (i = 0; i < 3; i++) {
        uint64_t last = v->d.signal;
        v->d.signal = i == 0 ? last - 1 : i == 1 ? values[3] - 1 : UINT64_MAX; /* then 0 */
        if (!vfy_refused(v, vfy_submit(&v->d, &job, &v->err), 0, VFY_TIME_ASCENDING,
                         "a submit whose value does not ascend"))
            return false;
        v->d.signal = last;
        if (!poll_is(v, last, "after a refused submit"))
            return false;
    }
    if (!submit_one(v, &r, n, false))
        return false;
    vfy_rig_close(v, &r);
    vfy_close(v);
    return true;
}

/* ---- cancel -------------------------------------------------------------------------------- */

struct canceller {
    struct vfy *v;
    uint64_t value;
    uint64_t at; /* when cancel was called */
    uint32_t after_us;
};

/* What became of the runs that were cancelled. */
struct cancels {
    uint32_t early;
    uint64_t run_ns, latency_ns; /* the last run; the longest from cancel to an early end */
};

static void *cancel_later(void *user)
{
    struct canceller *c = user;
    const struct timespec ts = {0, (long)c->after_us * 1000};
    struct q35_error err = Q35_ERROR_INIT;
    nanosleep(&ts, NULL);
    c->at = q35_now_ns();
    c->v->entry.api.cancel(c->v->d.dev, c->value, &err);
    return NULL;
}

/* A prefill that is cancelled at some moment, then retried; both ends must be right. */
static bool cancel_round(struct vfy *v, struct vfy_rig *r, uint32_t position, uint32_t n,
                         uint32_t after_us, struct cancels *seen)
{
    struct q35_token t[128];
    float *out = malloc((uint64_t)n * 100 * sizeof(float));
    struct vfy_job job = {
        r->w, r->kv, 0, r->m->layer_count, t, n, NULL, 0, out, (uint64_t)n * 100 * sizeof(float)};
    struct canceller c = {v, v->d.signal + 1, 0, after_us};
    pthread_t thread;
    enum q35_status st, again;
    uint64_t start = q35_now_ns(), end;

    if (!out)
        return vfy_skip(v, "the kit has no memory");
    vfy_tokens(t, n, 0, position, r->m->shape.vocab, true, &v->rng);
    if (pthread_create(&thread, NULL, cancel_later, &c))
        return vfy_skip(v, "the kit has no thread");
    st = vfy_run(&v->d, &job, &v->err);
    end = q35_now_ns();
    seen->run_ns = end - start;
    pthread_join(thread, NULL);
    EXPECT(v, st == Q35_OK || st == Q35_E_CANCELLED, VFY_CANCEL,
           "a cancelled run ended with \"%s\": %s", q35_status_text((int)st), v->err.message);
    if (st == Q35_E_CANCELLED) {
        uint64_t took = end > c.at ? end - c.at : 0;
        seen->early++;
        seen->latency_ns = took > seen->latency_ns ? took : seen->latency_ns;
    }
    again = VFY_CALL(&v->d, wait, v->d.dev, v->d.signal, 0, &v->err);
    EXPECT(v, again == st, VFY_TIME_KEEP, "a run's result was \"%s\" and is now \"%s\"",
           q35_status_text((int)st), q35_status_text((int)again));
    v->err = (struct q35_error)Q35_ERROR_INIT;
    free(out);
    return vfy_rig_step(v, r, t, n, VFY_KV_REWRITE, "the retry of a cancelled run");
}

bool vfy_check_cancel(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_rig r;
    uint32_t i, n, rounds = v->quick ? 6 : 16, position = 0;
    struct cancels seen = {0};
    uint64_t full;
    bool supported = false;

    s.decoders = 8;
    if (!vfy_open(v) || !vfy_rig_open(v, &r, &s, v->seed, 2, 4096, &supported) || !supported)
        return supported;
    n = v->info.max_batch < 48 ? v->info.max_batch : 48;
    VFY_CALL(&v->d, cancel, v->d.dev, 0, &v->err); /* nothing to cancel: harmless */
    if (!vfy_rig_feed(v, &r, 0, 0, 5, VFY_CANCEL, "a run after cancel(0)"))
        return false;
    VFY_CALL(&v->d, cancel, v->d.dev, v->d.signal, &v->err); /* has completed */
    if (!vfy_rig_feed(v, &r, 0, 4, 1, VFY_CANCEL, "a run after the cancel of an earlier one"))
        return false;
    position = 5;
    if (!cancel_round(v, &r, position, n, 500000, &seen)) /* far too late */
        return false;
    full = seen.run_ns;
    position += n;
    for (i = 0; i < rounds; i++) {
        uint32_t after = (uint32_t)(full / 1000 * i / rounds);
        if (!cancel_round(v, &r, position, n, after < 400000 ? after : 400000, &seen))
            return false;
        position += n;
        if (position + n > 3800) {
            VFY_CALL(&v->d, kv_truncate, r.kv, 0, 0, &v->err);
            vfy_oracle_truncate(r.o, 0, 0);
            position = 0;
        }
    }
    vfy_note(v, "%u of %u runs ended early, within %.1f ms; a full one takes %.1f ms", seen.early,
             rounds + 1, (double)seen.latency_ns * 1e-6, (double)full * 1e-6);
    vfy_rig_close(v, &r);
    vfy_close(v);
    return true;
}

/* ---- threads ------------------------------------------------------------------------------- */

struct prober {
    struct vfy *v;
    const struct vfy_model *m;
    atomic_bool stop;
    _Atomic uint64_t submitted; /* the highest value that may complete */
    char finding[VFY_TEXT];     /* of this thread; reported when joined */
};

static void probe_finding(struct prober *p, const char *text, unsigned long long value)
{
    if (!p->finding[0])
        snprintf(p->finding, sizeof(p->finding), "%s (%llu)", text, value);
}

static void *probe(void *user)
{
    struct prober *p = user;
    const struct q35_plugin *api = &p->v->entry.api;
    struct q35_device *dev = p->v->d.dev;
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t last = 0, now = 0, turn = 0;
    while (!atomic_load(&p->stop)) {
        uint64_t limit;
        if (api->poll(dev, &now, &err))
            probe_finding(p, "poll failed during a run", now);
        limit = atomic_load(&p->submitted);
        if (now < last)
            probe_finding(p, "poll went backwards", now);
        if (now > limit)
            probe_finding(p, "poll is ahead of every submit", now);
        last = now;
        if (now && api->wait(dev, now, 0, &err))
            probe_finding(p, "wait for a value that poll gave failed during a run", now);
        if (api->wait(dev, limit + 1000000, 1000, &err) != Q35_E_TIMEOUT)
            probe_finding(p, "wait for a value of the future did not time out", limit + 1000000);
        if (turn % 4 == 0) {
            struct q35_device_info info = {.size = sizeof(info)};
            struct q35_plan_result plan = {.size = sizeof(plan)};
            struct q35_plan_request request = {.size = sizeof(request),
                                               .layer_count = p->m->layer_count,
                                               .layer_stride = sizeof(struct q35_layer),
                                               .max_batch = 1,
                                               .max_sequences = 1,
                                               .kv_tokens = 64,
                                               .layers = p->m->layers};
            uint32_t count = 0;
            if (api->supports(dev, &p->m->layers[turn / 4 % p->m->layer_count], &err))
                probe_finding(p, "supports failed during a run", turn);
            if (api->plan(dev, &request, &plan, &err))
                probe_finding(p, "plan failed during a run", turn);
            if (api->enumerate(&p->v->entry.host, &p->v->entry.options, &count, &err) ||
                api->device_info(&p->v->entry.host, &p->v->entry.options, p->v->device, &info,
                                 &err))
                probe_finding(p, "enumerate or device_info failed during a run", turn);
        }
        turn++;
    }
    return NULL;
}

bool vfy_check_threads(struct vfy *v)
{
    struct prober probers[2];
    pthread_t threads[2];
    struct vfy_rig r;
    uint32_t i, rounds = v->quick ? 30 : 100;
    bool fine = true;

    if (!vfy_open(v) || !vfy_rig_any(v, &r, 2, 2048) ||
        !vfy_rig_feed(v, &r, 0, 0, 4, VFY_THREADS, "a run"))
        return false;
    for (i = 0; i < 2; i++) {
        memset(&probers[i], 0, sizeof(probers[i]));
        probers[i].v = v;
        probers[i].m = r.m;
        atomic_store(&probers[i].submitted, v->d.signal + 1);
        if (pthread_create(&threads[i], NULL, probe, &probers[i]))
            return vfy_skip(v, "the kit has no threads");
    }
    for (i = 0; fine && i < rounds; i++) {
        atomic_store(&probers[0].submitted, v->d.signal + 1);
        atomic_store(&probers[1].submitted, v->d.signal + 1);
        fine = vfy_rig_feed(v, &r, 0, 4 + 10 * i, 10, VFY_THREADS,
                            "a run while other threads poll and wait");
    }
    for (i = 0; i < 2; i++)
        atomic_store(&probers[i].stop, true);
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        if (fine)
            EXPECT(v, !probers[i].finding[0], VFY_THREADS, "%s", probers[i].finding);
    }
    if (!fine)
        return false;
    vfy_rig_close(v, &r);
    vfy_close(v);
    return true;
}
