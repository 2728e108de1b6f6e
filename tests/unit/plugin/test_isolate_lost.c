/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* isolate = process: a worker's end is a lost device, and it does not outlive its host. */

#include "tests/unit/plugin/isolate_rig.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOREVER 60000000000u

static void pull(char letter)
{
    FILE *f = fopen(trigger, "w");
    assert_non_null(f);
    fputc(letter, f);
    fclose(f);
}

/* Each way to end: what is said, that everything after says the same, and that reset heals. */
static void lost_and_reset(void **state)
{
    static const struct {
        char letter;
        const char *message;
    } ends[] = {{'c', "the worker process of m died in RUN_LAYERS: signal 11"},
                {'e', "the worker process of m died in RUN_LAYERS: exit status 7"},
                {'h', "the worker process of m hangs: no answer to RUN_LAYERS within 2 s"}};
    struct rig r;
    struct load first, l;
    uint64_t want;
    (void)state;
    rig_init(&r, true, 60);
    for (size_t i = 0; i < Q35_COUNT(ends); i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_kv *kv = (void *)&err;
        uint64_t value;
        must(load_init(&first, &r, Q35_UNTIL_FREE, &err), &err);
        want = live(&first, &r);
        pull(ends[i].letter);
        if (ends[i].letter == 'h') /* what does not hang may be slow on a busy machine */
            worker_of(&r)->plugin->hang_ns = 2000000000u;
        assert_int_equal(step(&first, &r, 3, 0, 1, &err), Q35_E_DEVICE_LOST);
        if (strncmp(err.message, ends[i].message, strlen(ends[i].message)) != 0)
            fail_msg("'%s' instead of '%s'", err.message, ends[i].message);
        assert_int_equal(err.radius, Q35_RADIUS_DEVICE_LOST);
        worker_of(&r)->plugin->hang_ns = FOREVER;
        assert_int_equal(worker_of(&r)->pid, 0);
        assert_int_equal(r.dev.api->poll(r.dev.dev, &value, &err), Q35_E_DEVICE_LOST);
        assert_int_equal(r.dev.api->wait(r.dev.dev, 1, FOREVER, &err), Q35_E_DEVICE_LOST);
        assert_non_null(strstr(err.message, "the worker process of m"));
        assert_int_equal(vfy_kv(&r.dev, first.w, 1, 64, &kv, &err), Q35_E_DEVICE_LOST);
        assert_null(kv);
        must(r.dev.api->reset(r.dev.dev, &err), &err);
        assert_true(worker_of(&r)->pid > 0);
        /* what the first worker had is gone, its handles are still to be freed */
        assert_int_equal(r.dev.api->kv_truncate(first.kv, 0, 0, &err), Q35_E_DEVICE_LOST);
        r.dev.signal = 0;
        must(load_init(&l, &r, Q35_UNTIL_FREE, &err), &err);
        assert_int_equal(live(&l, &r), want);
        load_fini(&l, &r);
        load_fini(&first, &r);
    }
    rig_fini(&r);
}

static void killed_from_outside(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct rig r;
    (void)state;
    rig_init(&r, true, 60);
    assert_int_equal(kill(worker_of(&r)->pid, SIGKILL), 0);
    assert_int_equal(r.dev.api->wait(r.dev.dev, 9, FOREVER, &err), Q35_E_DEVICE_LOST);
    assert_non_null(strstr(err.message, "died in WAIT: signal 9"));
    rig_fini(&r);
}

static void *waiter(void *arg)
{
    struct rig *r = arg;
    struct q35_error err = Q35_ERROR_INIT;
    return (void *)(intptr_t)r->dev.api->wait(r->dev.dev, 1u << 30, FOREVER, &err);
}

/* More waiters than channels keep nobody out, and the worker's end frees them all. */
static void many_waiters(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    pthread_t threads[2 * ISO_CHANNELS];
    struct rig r;
    struct load l;
    pid_t pid;
    (void)state;
    rig_init(&r, true, 60);
    pid = worker_of(&r)->pid;
    must(load_init(&l, &r, Q35_DURING_CALL, &err), &err);
    for (int i = 0; i < 2 * ISO_CHANNELS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, waiter, &r), 0);
    for (int i = 0; i < 20; i++) {
        uint64_t value;
        must(step(&l, &r, 0, (uint32_t)i, 1, &err), &err);
        must(r.dev.api->poll(r.dev.dev, &value, &err), &err);
        assert_int_equal(value, r.dev.signal);
        must(r.dev.api->cancel(r.dev.dev, value, &err), &err);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    for (int i = 0; i < 2 * ISO_CHANNELS; i++) {
        void *st;
        assert_int_equal(pthread_join(threads[i], &st), 0);
        assert_int_equal((intptr_t)st, Q35_E_DEVICE_LOST);
    }
    load_fini(&l, &r);
    rig_fini(&r);
}

/* A worker does not outlive its host, whatever becomes of that. */
static void ends_with_the_host(void **state)
{
    int pipes[2];
    pid_t host, worker = 0;
    bool gone = false;
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    host = fork();
    if (host == 0) {
        struct rig r;
        rig_init(&r, true, 60);
        worker = worker_of(&r)->pid;
        if (write(pipes[1], &worker, sizeof(worker)) != sizeof(worker))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(pipes[0], &worker, sizeof(worker)), sizeof(worker));
    assert_int_equal(waitpid(host, NULL, 0), host);
    for (int i = 0; i < 500 && !gone; i++) {
        char path[64], text[256] = "";
        FILE *f;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)worker);
        f = fopen(path, "r");
        if (f && fgets(text, sizeof(text), f) && strstr(text, ") Z"))
            text[0] = '\0'; /* dead, and nobody has asked yet */
        if (f)
            fclose(f);
        gone = !text[0];
        usleep(10000);
    }
    assert_true(gone);
    close(pipes[0]);
    close(pipes[1]);
}

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(lost_and_reset),
        cmocka_unit_test(killed_from_outside),
        cmocka_unit_test(many_waiters),
        cmocka_unit_test(ends_with_the_host),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, tests);
}
