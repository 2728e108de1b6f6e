/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "client.h"

#include <sched.h>

static void one_request_in_chunks(void **state)
{
    struct setup s;
    struct client c;
    struct q35_request *r;
    int32_t prompt[50];
    (void)state;
    engine_start(&s, true, 2, 8);
    client_init(&c);
    fill_prompt(prompt, 50, 1);
    assert_int_equal(client_submit(&s, &c, prompt, 50, 40, &r), Q35_OK);
    client_wait_end(&c);
    assert_int_equal(c.finish, Q35_FINISH_LENGTH);
    client_assert_continues(&c, prompt, 50, 40);
    assert_int_equal(atomic_load(&fake_faults.largest), 8);
    assert_true(c.logprob == c.top_logprob && c.logprob < 0.0f);
    q35_request_release(s.e, r);
    engine_stop(&s);
}

static void many_requests_do_not_disturb_each_other(void **state)
{
    enum { N = 6 };
    struct setup s;
    struct client c[N];
    struct q35_request *r[N];
    int32_t prompt[N][30];
    int i;
    (void)state;
    engine_start(&s, true, 3, 16);
    s.config.max_queue = 100;
    atomic_store(&fake_faults.hold, 1);
    for (i = 0; i < N; i++) {
        client_init(&c[i]);
        fill_prompt(prompt[i], 30, i);
        if (i == 4) /* the queue holds four, and three slots may not be taken yet */
            atomic_store(&fake_faults.hold, 0);
        while (client_submit(&s, &c[i], prompt[i], 5 + 5 * (size_t)i, 20, &r[i]) == Q35_E_BUSY)
            sched_yield();
    }
    for (i = 0; i < N; i++) {
        client_wait_end(&c[i]);
        client_assert_continues(&c[i], prompt[i], 5 + 5 * (uint32_t)i, 20);
        q35_request_release(s.e, r[i]);
    }
    engine_stop(&s);
}

static void a_known_prefix_is_not_computed_again(void **state)
{
    struct setup s;
    struct client a, b, d;
    struct q35_request *r;
    int32_t prompt[100];
    (void)state;
    engine_start(&s, true, 2, 64);
    client_init(&a);
    client_init(&b);
    client_init(&d);
    fill_prompt(prompt, 100, 3);
    assert_int_equal(client_submit(&s, &a, prompt, 80, 10, &r), Q35_OK);
    client_wait_end(&a);
    q35_request_release(s.e, r);
    assert_int_equal(a.cached, 0);
    assert_int_equal(client_submit(&s, &b, prompt, 80, 10, &r), Q35_OK);
    client_wait_end(&b);
    q35_request_release(s.e, r);
    assert_int_equal(b.cached, 79);
    client_assert_continues(&b, prompt, 80, 10);
    assert_int_equal(client_submit(&s, &d, prompt, 60, 10, &r), Q35_OK); /* shorter: truncated */
    client_wait_end(&d);
    q35_request_release(s.e, r);
    assert_int_equal(d.cached, 59);
    client_assert_continues(&d, prompt, 60, 10);
    engine_stop(&s);
}

static void a_running_prefix_is_forked(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *ra, *rb;
    int32_t prompt[100];
    (void)state;
    engine_start(&s, false, 2, 128);
    client_init(&a);
    client_init(&b);
    fill_prompt(prompt, 100, 4);
    assert_int_equal(client_submit(&s, &a, prompt, 90, 300, &ra), Q35_OK);
    client_wait_tokens(&a, 2);
    assert_int_equal(client_submit(&s, &b, prompt, 100, 30, &rb), Q35_OK);
    client_wait_end(&b);
    client_wait_end(&a);
    assert_true(b.cached >= 90);
    client_assert_continues(&b, prompt, 100, 30);
    client_assert_continues(&a, prompt, 90, 300);
    q35_request_release(s.e, ra);
    q35_request_release(s.e, rb);
    engine_stop(&s);
}

static void end_token_and_cancel(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *r;
    int32_t prompt[10], h[20];
    uint32_t i;
    (void)state;
    engine_start(&s, true, 2, 64);
    client_init(&a);
    client_init(&b);
    fill_prompt(prompt, 10, 5);
    memcpy(h, prompt, sizeof(prompt));
    for (i = 10; i < 15; i++)
        h[i] = fake_next(h, i);
    a.end_token = h[14];
    assert_int_equal(client_submit(&s, &a, prompt, 10, 100, &r), Q35_OK);
    client_wait_end(&a);
    q35_request_release(s.e, r);
    assert_int_equal(a.finish, Q35_FINISH_END);
    client_assert_continues(&a, prompt, 10, 4);
    assert_int_equal(client_submit(&s, &b, prompt, 10, 500, &r), Q35_OK);
    client_wait_tokens(&b, 1);
    q35_engine_cancel(s.e, r);
    client_wait_end(&b);
    q35_request_release(s.e, r);
    assert_true(b.finish == Q35_FINISH_CANCELLED || b.n == 500);
    engine_stop(&s);
}

static void too_much_is_refused(void **state)
{
    struct setup s;
    struct client c[8];
    struct q35_request *r[8];
    struct q35_engine_stats stats;
    int32_t prompt[10] = {1, 2, 3};
    int i, ok = 0, busy = 0;
    (void)state;
    engine_start(&s, true, 1, 64);
    client_init(&c[0]);
    assert_int_equal(client_submit(&s, &c[0], prompt, 10, FAKE_CONTEXT, &r[0]), Q35_E_CAPACITY);
    assert_int_equal(client_submit(&s, &c[0], prompt, 0, 1, &r[0]), Q35_E_INVALID);
    prompt[9] = FAKE_VOCAB;
    assert_int_equal(client_submit(&s, &c[0], prompt, 10, 1, &r[0]), Q35_E_INVALID);
    prompt[9] = 0;
    atomic_store(&fake_faults.hold, 1);
    for (i = 0; i < 8; i++) {
        enum q35_status st;
        client_init(&c[i]);
        st = client_submit(&s, &c[i], prompt, 10, 5, &r[i]);
        assert_true(st == Q35_OK || st == Q35_E_BUSY);
        ok += st == Q35_OK;
        busy += st == Q35_E_BUSY;
        if (st == Q35_E_BUSY)
            r[i] = NULL;
    }
    assert_true(ok >= 4 && ok <= 5 && busy >= 3); /* four wait, one may be running already */
    atomic_store(&fake_faults.hold, 0);
    for (i = 0; i < 8; i++)
        if (r[i]) {
            client_wait_end(&c[i]);
            client_assert_continues(&c[i], prompt, 10, 5);
            q35_request_release(s.e, r[i]);
        }
    q35_engine_stats(s.e, &stats);
    assert_int_equal(stats.rejected, busy);
    assert_int_equal(stats.completed, ok);
    assert_int_equal(stats.running + stats.waiting, 0);
    engine_stop(&s);
}

static void a_bad_request_fails_alone(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *ra, *rb;
    int32_t good[10], bad[10], h[13];
    uint32_t i;
    (void)state;
    engine_start(&s, true, 2, 64);
    client_init(&a);
    client_init(&b);
    fill_prompt(good, 10, 6);
    fill_prompt(bad, 10, 7);
    bad[5] = 95; /* fill_prompt() stays below 90 */
    memcpy(h, good, sizeof(good));
    for (i = 10; i < 13; i++)
        assert_int_not_equal(h[i] = fake_next(h, i), 95);
    atomic_store(&fake_faults.bad_token, 95);
    atomic_store(&fake_faults.hold, 1);
    assert_int_equal(client_submit(&s, &a, good, 10, 3, &ra), Q35_OK);
    assert_int_equal(client_submit(&s, &b, bad, 10, 3, &rb), Q35_OK);
    atomic_store(&fake_faults.hold, 0);
    client_wait_end(&a);
    client_wait_end(&b);
    assert_int_equal(a.finish, Q35_FINISH_LENGTH);
    client_assert_continues(&a, good, 10, 3);
    assert_int_equal(b.finish, Q35_FINISH_ERROR);
    assert_string_equal(b.error.message, "token 95 is bad");
    q35_request_release(s.e, ra);
    q35_request_release(s.e, rb);
    engine_stop(&s);
}

static void a_lost_device_changes_no_token(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *ra, *rb;
    struct q35_engine_stats stats;
    int32_t prompt[40];
    (void)state;
    engine_start(&s, true, 2, 16);
    client_init(&a);
    client_init(&b);
    fill_prompt(prompt, 40, 8);
    atomic_store(&fake_faults.lose_run, 40); /* in mid-sentence: each token is two runs */
    atomic_store(&fake_faults.lose_device, 1);
    assert_int_equal(client_submit(&s, &a, prompt, 40, 200, &ra), Q35_OK);
    assert_int_equal(client_submit(&s, &b, prompt + 7, 20, 200, &rb), Q35_OK);
    client_wait_end(&a);
    client_wait_end(&b);
    client_assert_continues(&a, prompt, 40, 200);
    client_assert_continues(&b, prompt + 7, 20, 200);
    q35_request_release(s.e, ra);
    q35_request_release(s.e, rb);
    assert_int_equal(atomic_load(&fake_faults.lose_device), -1); /* it was lost */
    q35_engine_stats(s.e, &stats);
    assert_true(stats.ready);
    client_init(&a);
    client_init(&b);
    atomic_store(&fake_faults.lose_run, atomic_load(&fake_faults.runs) + 10);
    atomic_store(&fake_faults.lose_device, 0); /* the last one */
    assert_int_equal(client_submit(&s, &a, prompt, 40, 400, &ra), Q35_OK);
    client_wait_end(&a);
    assert_int_equal(a.finish, Q35_FINISH_ERROR);
    q35_request_release(s.e, ra);
    assert_int_equal(client_submit(&s, &b, prompt, 40, 10, &rb), Q35_E_DEVICE_LOST);
    q35_engine_stats(s.e, &stats);
    assert_false(stats.ready);
    engine_stop(&s);
}

static void devices_overlap(void **state)
{
    struct setup s;
    struct client a;
    struct q35_request *ra;
    int32_t prompt[32];
    (void)state;
    engine_start(&s, true, 1, 16);
    client_init(&a);
    fill_prompt(prompt, 32, 8);
    atomic_store(&fake_faults.overlap, 1);
    assert_int_equal(client_submit(&s, &a, prompt, 32, 20, &ra), Q35_OK);
    client_wait_end(&a);
    client_assert_continues(&a, prompt, 32, 20);
    assert_int_equal(atomic_load(&fake_faults.overlap), 2);
    q35_request_release(s.e, ra);
    engine_stop(&s);
}

/* A device that comes back by a reset keeps its layers; the fourth loss is final. */
static void a_lost_device_is_reset_three_times(void **state)
{
    struct setup s;
    struct q35_engine_stats stats;
    struct client a;
    struct q35_request *ra;
    int32_t prompt[40];
    int loss;
    (void)state;
    engine_start(&s, false, 2, 16);
    atomic_store(&fake_faults.can_reset, 100);
    fill_prompt(prompt, 40, 8);
    for (loss = 1; loss <= 4; loss++) {
        client_init(&a);
        atomic_store(&fake_faults.lose_run, atomic_load(&fake_faults.runs) + 20);
        atomic_store(&fake_faults.lose_device, 0);
        assert_int_equal(client_submit(&s, &a, prompt, 40, 100, &ra), Q35_OK);
        client_wait_end(&a);
        client_assert_continues(&a, prompt, 40, 100);
        q35_request_release(s.e, ra);
        assert_int_equal(atomic_load(&fake_faults.resets), loss < 4 ? loss : 3);
        assert_int_equal(atomic_load(&fake_faults.last_device), loss < 4 ? 0 : 1);
    }
    q35_engine_stats(s.e, &stats);
    assert_true(stats.ready);
    engine_stop(&s);
}

static void evaluation_gives_every_position(void **state)
{
    struct setup s;
    struct q35_error err;
    int32_t tokens[40];
    float *logits = calloc(40 * FAKE_VOCAB, 4);
    uint32_t i;
    (void)state;
    engine_start(&s, true, 2, 16);
    fill_prompt(tokens, 40, 9);
    assert_int_equal(q35_engine_eval(s.e, tokens, 40, 0, logits, &err), Q35_OK);
    for (i = 0; i < 40; i++)
        assert_true(logits[i * FAKE_VOCAB + (uint32_t)fake_next(tokens, i + 1)] == 5.0f);
    assert_int_equal(q35_engine_eval(s.e, tokens, 40, FAKE_CONTEXT, logits, &err), Q35_E_CAPACITY);
    free(logits);
    engine_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_request_in_chunks),
        cmocka_unit_test(many_requests_do_not_disturb_each_other),
        cmocka_unit_test(a_known_prefix_is_not_computed_again),
        cmocka_unit_test(a_running_prefix_is_forked),
        cmocka_unit_test(end_token_and_cancel),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(a_bad_request_fails_alone),
        cmocka_unit_test(a_lost_device_changes_no_token),
        cmocka_unit_test(devices_overlap),
        cmocka_unit_test(a_lost_device_is_reset_three_times),
        cmocka_unit_test(evaluation_gives_every_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
