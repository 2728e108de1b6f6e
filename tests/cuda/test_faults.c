/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Faults of the driver at every place where one can happen: a status, never a crash, and the device
 * goes on as its blast radius says. */

#include "host.h"

/* A prompt and some tokens, enough of them that graphs are captured and replayed. */
static enum q35_status story(struct fixture *f)
{
    enum q35_status st = step(f, 2, 0, 20);
    uint32_t i;
    for (i = 0; i < 4 && !st; i++)
        st = step(f, 2, 20 + i, 1);
    return st;
}

/* A life with the n-th allocation failing. False when there was no n-th. */
static bool life_without_memory(long long n)
{
    struct fixture f;
    struct vfy_shape s = vfy_shape_small();
    enum q35_status st;
    memset(&f, 0, sizeof(f));
    f.rng.state = 7;
    f.m = vfy_model_create(&s, 5);
    f.o = f.m ? vfy_oracle_create(f.m, SEQUENCES) : NULL;
    assert_non_null(f.o);
    fake_set("oom_at", n);
    st = open_device(&f, 0);
    if (!st)
        st = upload(&f);
    if (!st)
        st = story(&f);
    if (st) {
        assert_int_equal(st, Q35_E_CAPACITY);
        assert_int_equal(err.radius, Q35_RADIUS_REQUEST);
        assert_int_equal(err.native_code, 2);
        assert_true(fake_get("oom_at") == 0);
        vfy_oracle_truncate(f.o, 0, 0);
        vfy_oracle_truncate(f.o, 1, 0);
        if (!f.d.dev) /* then again, with memory */
            assert_int_equal(open_device(&f, 0), Q35_OK);
        drop(&f);
        assert_int_equal(upload(&f), Q35_OK);
        assert_int_equal(story(&f), Q35_OK);
    }
    end(&f);
    return fake_get("oom_at") == 0;
}

static void out_of_memory_everywhere(void **state)
{
    long long n = 1;
    (void)state;
    while (life_without_memory(n))
        n++;
    fake_set("oom_at", 0);
    assert_true(n > 10); /* staging, weights, KV, scratch, sums, header, slots ... */
}

static void refused_launch_everywhere(void **state)
{
    struct fixture f;
    long long n;
    (void)state;
    begin(&f, 0);
    for (n = 1;; n++) {
        enum q35_status st;
        f.d.api->kv_truncate(f.kv, 0, 0, &err);
        f.d.api->kv_truncate(f.kv, 1, 0, &err);
        vfy_oracle_truncate(f.o, 0, 0);
        vfy_oracle_truncate(f.o, 1, 0);
        fake_set("launch_fail_at", n);
        st = story(&f);
        if (!st && fake_get("launch_fail_at"))
            break;
        assert_int_equal(st, Q35_E_INTERNAL);
        assert_int_equal(err.radius, Q35_RADIUS_REQUEST);
    }
    fake_set("launch_fail_at", 0);
    assert_true(n > 40);
    assert_int_equal(step(&f, 1, 24, 1), Q35_OK); /* at once, on the same device */
    end(&f);
}

static void lost_everywhere(void **state)
{
    struct fixture f;
    long long n;
    (void)state;
    begin(&f, 0);
    for (n = 1; n < 400; n += 1 + n / 8) {
        struct q35_weights *w = f.w;
        struct q35_kv *kv = f.kv;
        enum q35_status st;
        vfy_oracle_truncate(f.o, 0, 0);
        vfy_oracle_truncate(f.o, 1, 0);
        f.d.api->kv_truncate(f.kv, 0, 0, &err);
        f.d.api->kv_truncate(f.kv, 1, 0, &err);
        fake_set("lost_at", n);
        st = story(&f);
        if (!st)
            break;
        assert_int_equal(st, Q35_E_DEVICE_LOST);
        assert_int_equal(err.radius, Q35_RADIUS_DEVICE_LOST);
        assert_int_equal(err.native_code, 719);
        assert_int_equal(step(&f, 1, 0, 1), Q35_E_DEVICE_LOST); /* and stays lost */
        assert_int_equal(f.d.api->reset(f.d.dev, &err), Q35_OK);
        assert_int_equal(f.d.api->kv_truncate(kv, 0, 0, &err), Q35_E_DEVICE_LOST);
        assert_int_equal(upload(&f), Q35_OK);
        f.d.api->kv_free(kv); /* handles of before */
        f.d.api->weights_free(w);
    }
    fake_set("lost_at", 0);
    assert_true(n > 40);
    end(&f);
}

/* All that is in flight ends when the device goes, in order and once. */
static void lost_in_flight(void **state)
{
    struct fixture f;
    struct q35_token t[3];
    float out[3][VOCAB];
    uint64_t last = 0, i;
    (void)state;
    begin(&f, 0);
    fake_set("lost_at", 1000);
    assert_int_equal(step(&f, 1, 0, 1), Q35_OK);
    fake_set("lost_at", (1000 - fake_get("lost_at")) * 3 / 2); /* in the middle of the second */
    for (i = 0; i < 3; i++) {
        struct vfy_job job = {f.w, f.kv, 0, 4, &t[i], 1, NULL, 0, out[i], sizeof(out[i])};
        vfy_tokens(&t[i], 1, 0, 1 + (uint32_t)i, VOCAB, true, &f.rng);
        if (vfy_submit(&f.d, &job, &err))
            fail_msg("run %d: %s", (int)i, err.message);
    }
    assert_int_equal(f.d.api->wait(f.d.dev, 4, UINT64_MAX, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(f.d.api->wait(f.d.dev, 2, 0, &err), Q35_OK);
    assert_int_equal(f.d.api->wait(f.d.dev, 3, 0, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(f.d.api->poll(f.d.dev, &last, &err), Q35_OK);
    assert_true(last == 4);
    end(&f);
}

static void dead_for_good(void **state)
{
    struct fixture f, other;
    (void)state;
    begin(&f, 0);
    begin(&other, 1);
    fake_set("dead_at", 50);
    assert_int_equal(story(&f), Q35_E_DEVICE_LOST);
    assert_int_equal(f.d.api->reset(f.d.dev, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(err.radius, Q35_RADIUS_PLUGIN);
    assert_int_equal(f.d.api->reset(f.d.dev, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(story(&other), Q35_OK); /* the other GPU is none the worse */
    end(&f);
    end(&other);
    fake_set("dead_at", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(out_of_memory_everywhere),
        cmocka_unit_test(refused_launch_everywhere),
        cmocka_unit_test(lost_everywhere),
        cmocka_unit_test(lost_in_flight),
        cmocka_unit_test(dead_for_good),
    };
    int failed;
    if (host_load())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    q35_plugin_unload(&entry);
    return failed;
}
