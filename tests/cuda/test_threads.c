/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Functions tagged [any] from other threads while runs are submitted, on two GPUs at once. What
 * this is for is ThreadSanitizer. */

#include "host.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RUNS = 30, WATCHERS = 2 };

struct scene {
    struct fixture f;
    uint32_t index;
    _Atomic uint64_t submitted;
    _Atomic bool failed;
    struct q35_token t[RUNS][20];
    float out[RUNS][20 * VOCAB];
};

static uint32_t tokens_of(uint32_t run)
{
    return run % 7 ? 1 + run % 3 : 20; /* steps of decoding, some of them graphs, and prompts */
}

/* Waits for every value that was submitted and polls; nothing may get lost or be early. */
static void *watch(void *arg)
{
    struct scene *s = arg;
    struct q35_error own = Q35_ERROR_INIT;
    const struct vfy_dev *d = &s->f.d;
    uint64_t value = 0, at = 0;
    while (value < RUNS) {
        if (value < atomic_load(&s->submitted)) {
            value++;
            if (d->api->wait(d->dev, value, UINT64_MAX, &own))
                atomic_store(&s->failed, true);
        }
        if (d->api->poll(d->dev, &at, &own) || at < value)
            atomic_store(&s->failed, true);
        if (d->api->wait(d->dev, RUNS + 1, 0, &own) != Q35_E_TIMEOUT)
            atomic_store(&s->failed, true);
    }
    return NULL;
}

/* What a planner asks, and cancels of what is over. */
static void *ask(void *arg)
{
    struct scene *s = arg;
    struct q35_error own = Q35_ERROR_INIT;
    const struct vfy_dev *d = &s->f.d;
    struct q35_device_info info;
    while (atomic_load(&s->submitted) < RUNS) {
        info = (struct q35_device_info){.size = sizeof(info)};
        if (entry.api.device_info(&entry.host, &options, s->index, &info, &own) ||
            d->api->supports(d->dev, &s->f.m->layers[1], &own) || d->api->cancel(d->dev, 0, &own))
            atomic_store(&s->failed, true);
    }
    return NULL;
}

static void *submit_all(void *arg)
{
    struct scene *s = arg;
    struct q35_error own = Q35_ERROR_INIT;
    uint32_t i, position = 0;
    for (i = 0; i < RUNS; i++) {
        uint32_t n = tokens_of(i);
        struct vfy_job job = {.w = s->f.w,
                              .kv = s->f.kv,
                              .count = 4,
                              .tokens = s->t[i],
                              .n = n,
                              .out = s->out[i],
                              .out_bytes = sizeof(float) * VOCAB * n};
        vfy_tokens(s->t[i], n, 0, position, VOCAB, true, &s->f.rng);
        position += n;
        if (vfy_submit(&s->f.d, &job, &own))
            atomic_store(&s->failed, true);
        atomic_store(&s->submitted, i + 1);
    }
    return NULL;
}

static void check(struct scene *s)
{
    static float want[20 * VOCAB];
    uint32_t i;
    assert_false(s->failed);
    for (i = 0; i < RUNS; i++) {
        uint32_t n = tokens_of(i);
        assert_true(vfy_oracle_run(s->f.o, 0, 4, s->t[i], n, NULL, want));
        assert_memory_equal(s->out[i], want, sizeof(float) * VOCAB * n);
    }
}

static void many_threads(void **state)
{
    static struct scene scenes[2];
    pthread_t threads[2][WATCHERS + 2];
    uint32_t i, k;
    (void)state;
    for (i = 0; i < 2; i++) {
        scenes[i].index = i;
        begin(&scenes[i].f, i);
    }
    for (i = 0; i < 2; i++)
        for (k = 0; k < WATCHERS + 2; k++)
            assert_int_equal(pthread_create(&threads[i][k], NULL,
                                            k == 0   ? submit_all
                                            : k == 1 ? ask
                                                     : watch,
                                            &scenes[i]),
                             0);
    for (i = 0; i < 2; i++)
        for (k = 0; k < WATCHERS + 2; k++)
            pthread_join(threads[i][k], NULL);
    for (i = 0; i < 2; i++) {
        check(&scenes[i]);
        end(&scenes[i].f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_threads)};
    int failed;
    if (host_load())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    q35_plugin_unload(&entry);
    return failed;
}
