/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <pthread.h>
#include <sched.h>

#include "fake.h"

struct client {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int32_t out[FAKE_CONTEXT];
    uint32_t n, cached;
    int32_t end_token;
    enum q35_finish finish;
    float logprob, top_logprob;
    struct q35_error error;
};

static void on_event(void *user, const struct q35_event *ev)
{
    struct client *c = user;
    pthread_mutex_lock(&c->mutex);
    if (ev->finish != Q35_FINISH_NONE) {
        c->finish = ev->finish;
        if (ev->error)
            c->error = *ev->error;
    } else {
        c->out[c->n++] = ev->token;
        c->cached = ev->cached_tokens;
        if (ev->logprob) {
            c->logprob = ev->logprob->logprob;
            c->top_logprob = ev->top[0].logprob;
        }
    }
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

static bool is_end(void *user, int32_t token)
{
    return token == ((struct client *)user)->end_token;
}

static void client_init(struct client *c)
{
    memset(c, 0, sizeof(*c));
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->wake, NULL);
    c->end_token = -1;
}

static void wait_end(struct client *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->finish == Q35_FINISH_NONE)
        pthread_cond_wait(&c->wake, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

static void wait_tokens(struct client *c, uint32_t n)
{
    pthread_mutex_lock(&c->mutex);
    while (c->n < n && c->finish == Q35_FINISH_NONE)
        pthread_cond_wait(&c->wake, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

struct setup {
    struct q35_config config;
    struct q35_engine *e;
};

static void start_with(struct setup *s, bool split, uint32_t sequences, uint32_t max_batch,
                       uint32_t features, const char *kv_type)
{
    struct q35_error err;
    fake_reset();
    fake_features(features);
    memset(s, 0, sizeof(*s));
    s->config.kv_type = (char *)(uintptr_t)kv_type;
    s->config.max_sequences = sequences;
    s->config.max_batch = max_batch;
    s->config.max_queue = sequences > 4 ? sequences : 4;
    s->config.micro_batch =
        max_batch >= 16 ? 4 : 0; /* chunks of prompts go over devices in parts */
    assert_int_equal(
        q35_engine_create(&s->e, &s->config, fake_model(), fake_registry(), fake_plan(split), &err),
        Q35_OK);
}

static void start(struct setup *s, bool split, uint32_t sequences, uint32_t max_batch)
{
    start_with(s, split, sequences, max_batch, 0, NULL);
}

static void stop(struct setup *s)
{
    q35_engine_destroy(s->e);
    assert_int_equal(atomic_load(&fake_faults.open_objects), 0);
}

static enum q35_status submit(struct setup *s, struct client *c, const int32_t *prompt, size_t len,
                              uint32_t max_tokens, struct q35_request **r)
{
    struct q35_error err;
    struct q35_request_params p = {.prompt = prompt,
                                   .prompt_len = len,
                                   .max_tokens = max_tokens,
                                   .event = on_event,
                                   .is_end = is_end,
                                   .user = c,
                                   .logprobs = true,
                                   .top_logprobs = 3};
    q35_sampling_default(&p.sampling);
    p.sampling.temperature = 0.0f;
    return q35_engine_submit(s->e, &p, r, &err);
}

/* What the fake network says, computed here from the whole history. */
static void assert_continues(const struct client *c, const int32_t *prompt, uint32_t len,
                             uint32_t want)
{
    int32_t h[FAKE_CONTEXT];
    uint32_t i;
    assert_int_equal(c->n, want);
    memcpy(h, prompt, len * sizeof(*h));
    for (i = 0; i < want; i++) {
        h[len + i] = fake_next(h, len + i);
        assert_int_equal(c->out[i], h[len + i]);
    }
}

static void fill(int32_t *prompt, uint32_t n, int32_t seed)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        prompt[i] = (int32_t)((uint32_t)seed * 7 + i * i) % 90;
}

static void one_request_in_chunks(void **state)
{
    struct setup s;
    struct client c;
    struct q35_request *r;
    int32_t prompt[50];
    (void)state;
    start(&s, true, 2, 8);
    client_init(&c);
    fill(prompt, 50, 1);
    assert_int_equal(submit(&s, &c, prompt, 50, 40, &r), Q35_OK);
    wait_end(&c);
    assert_int_equal(c.finish, Q35_FINISH_LENGTH);
    assert_continues(&c, prompt, 50, 40);
    assert_int_equal(atomic_load(&fake_faults.largest), 8);
    assert_true(c.logprob == c.top_logprob && c.logprob < 0.0f);
    q35_request_release(s.e, r);
    stop(&s);
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
    start(&s, true, 3, 16);
    s.config.max_queue = 100;
    atomic_store(&fake_faults.hold, 1);
    for (i = 0; i < N; i++) {
        client_init(&c[i]);
        fill(prompt[i], 30, i);
        if (i == 4) /* the queue holds four, and three slots may not be taken yet */
            atomic_store(&fake_faults.hold, 0);
        while (submit(&s, &c[i], prompt[i], 5 + 5 * (size_t)i, 20, &r[i]) == Q35_E_BUSY)
            sched_yield();
    }
    for (i = 0; i < N; i++) {
        wait_end(&c[i]);
        assert_continues(&c[i], prompt[i], 5 + 5 * (uint32_t)i, 20);
        q35_request_release(s.e, r[i]);
    }
    stop(&s);
}

static void a_known_prefix_is_not_computed_again(void **state)
{
    struct setup s;
    struct client a, b, d;
    struct q35_request *r;
    int32_t prompt[100];
    (void)state;
    start(&s, true, 2, 64);
    client_init(&a);
    client_init(&b);
    client_init(&d);
    fill(prompt, 100, 3);
    assert_int_equal(submit(&s, &a, prompt, 80, 10, &r), Q35_OK);
    wait_end(&a);
    q35_request_release(s.e, r);
    assert_int_equal(a.cached, 0);
    assert_int_equal(submit(&s, &b, prompt, 80, 10, &r), Q35_OK);
    wait_end(&b);
    q35_request_release(s.e, r);
    assert_int_equal(b.cached, 79);
    assert_continues(&b, prompt, 80, 10);
    assert_int_equal(submit(&s, &d, prompt, 60, 10, &r), Q35_OK); /* shorter: truncated */
    wait_end(&d);
    q35_request_release(s.e, r);
    assert_int_equal(d.cached, 59);
    assert_continues(&d, prompt, 60, 10);
    stop(&s);
}

static void a_running_prefix_is_forked(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *ra, *rb;
    int32_t prompt[100];
    (void)state;
    start(&s, false, 2, 128);
    client_init(&a);
    client_init(&b);
    fill(prompt, 100, 4);
    assert_int_equal(submit(&s, &a, prompt, 90, 300, &ra), Q35_OK);
    wait_tokens(&a, 2);
    assert_int_equal(submit(&s, &b, prompt, 100, 30, &rb), Q35_OK);
    wait_end(&b);
    wait_end(&a);
    assert_true(b.cached >= 90);
    assert_continues(&b, prompt, 100, 30);
    assert_continues(&a, prompt, 90, 300);
    q35_request_release(s.e, ra);
    q35_request_release(s.e, rb);
    stop(&s);
}

static void end_token_and_cancel(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *r;
    int32_t prompt[10], h[20];
    uint32_t i;
    (void)state;
    start(&s, true, 2, 64);
    client_init(&a);
    client_init(&b);
    fill(prompt, 10, 5);
    memcpy(h, prompt, sizeof(prompt));
    for (i = 10; i < 15; i++)
        h[i] = fake_next(h, i);
    a.end_token = h[14];
    assert_int_equal(submit(&s, &a, prompt, 10, 100, &r), Q35_OK);
    wait_end(&a);
    q35_request_release(s.e, r);
    assert_int_equal(a.finish, Q35_FINISH_END);
    assert_continues(&a, prompt, 10, 4);
    assert_int_equal(submit(&s, &b, prompt, 10, 500, &r), Q35_OK);
    wait_tokens(&b, 1);
    q35_engine_cancel(s.e, r);
    wait_end(&b);
    q35_request_release(s.e, r);
    assert_true(b.finish == Q35_FINISH_CANCELLED || b.n == 500);
    stop(&s);
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
    start(&s, true, 1, 64);
    client_init(&c[0]);
    assert_int_equal(submit(&s, &c[0], prompt, 10, FAKE_CONTEXT, &r[0]), Q35_E_CAPACITY);
    assert_int_equal(submit(&s, &c[0], prompt, 0, 1, &r[0]), Q35_E_INVALID);
    prompt[9] = FAKE_VOCAB;
    assert_int_equal(submit(&s, &c[0], prompt, 10, 1, &r[0]), Q35_E_INVALID);
    prompt[9] = 0;
    atomic_store(&fake_faults.hold, 1);
    for (i = 0; i < 8; i++) {
        enum q35_status st;
        client_init(&c[i]);
        st = submit(&s, &c[i], prompt, 10, 5, &r[i]);
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
            wait_end(&c[i]);
            assert_continues(&c[i], prompt, 10, 5);
            q35_request_release(s.e, r[i]);
        }
    q35_engine_stats(s.e, &stats);
    assert_int_equal(stats.rejected, busy);
    assert_int_equal(stats.completed, ok);
    assert_int_equal(stats.running + stats.waiting, 0);
    stop(&s);
}

static void a_bad_request_fails_alone(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *ra, *rb;
    int32_t good[10], bad[10], h[13];
    uint32_t i;
    (void)state;
    start(&s, true, 2, 64);
    client_init(&a);
    client_init(&b);
    fill(good, 10, 6);
    fill(bad, 10, 7);
    bad[5] = 95; /* fill() stays below 90 */
    memcpy(h, good, sizeof(good));
    for (i = 10; i < 13; i++)
        assert_int_not_equal(h[i] = fake_next(h, i), 95);
    atomic_store(&fake_faults.bad_token, 95);
    atomic_store(&fake_faults.hold, 1);
    assert_int_equal(submit(&s, &a, good, 10, 3, &ra), Q35_OK);
    assert_int_equal(submit(&s, &b, bad, 10, 3, &rb), Q35_OK);
    atomic_store(&fake_faults.hold, 0);
    wait_end(&a);
    wait_end(&b);
    assert_int_equal(a.finish, Q35_FINISH_LENGTH);
    assert_continues(&a, good, 10, 3);
    assert_int_equal(b.finish, Q35_FINISH_ERROR);
    assert_string_equal(b.error.message, "token 95 is bad");
    q35_request_release(s.e, ra);
    q35_request_release(s.e, rb);
    stop(&s);
}

static void a_lost_device_changes_no_token(void **state)
{
    struct setup s;
    struct client a, b;
    struct q35_request *ra, *rb;
    struct q35_engine_stats stats;
    int32_t prompt[40];
    (void)state;
    start(&s, true, 2, 16);
    client_init(&a);
    client_init(&b);
    fill(prompt, 40, 8);
    atomic_store(&fake_faults.lose_run, 40); /* in mid-sentence: each token is two runs */
    atomic_store(&fake_faults.lose_device, 1);
    assert_int_equal(submit(&s, &a, prompt, 40, 200, &ra), Q35_OK);
    assert_int_equal(submit(&s, &b, prompt + 7, 20, 200, &rb), Q35_OK);
    wait_end(&a);
    wait_end(&b);
    assert_continues(&a, prompt, 40, 200);
    assert_continues(&b, prompt + 7, 20, 200);
    q35_request_release(s.e, ra);
    q35_request_release(s.e, rb);
    assert_int_equal(atomic_load(&fake_faults.lose_device), -1); /* it was lost */
    q35_engine_stats(s.e, &stats);
    assert_true(stats.ready);
    client_init(&a);
    client_init(&b);
    atomic_store(&fake_faults.lose_run, atomic_load(&fake_faults.runs) + 10);
    atomic_store(&fake_faults.lose_device, 0); /* the last one */
    assert_int_equal(submit(&s, &a, prompt, 40, 400, &ra), Q35_OK);
    wait_end(&a);
    assert_int_equal(a.finish, Q35_FINISH_ERROR);
    q35_request_release(s.e, ra);
    assert_int_equal(submit(&s, &b, prompt, 40, 10, &rb), Q35_E_DEVICE_LOST);
    q35_engine_stats(s.e, &stats);
    assert_false(stats.ready);
    stop(&s);
}

static void devices_overlap(void **state)
{
    struct setup s;
    struct client a;
    struct q35_request *ra;
    int32_t prompt[32];
    (void)state;
    start(&s, true, 1, 16);
    client_init(&a);
    fill(prompt, 32, 8);
    atomic_store(&fake_faults.overlap, 1);
    assert_int_equal(submit(&s, &a, prompt, 32, 20, &ra), Q35_OK);
    wait_end(&a);
    assert_continues(&a, prompt, 32, 20);
    assert_int_equal(atomic_load(&fake_faults.overlap), 2);
    q35_request_release(s.e, ra);
    stop(&s);
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
    start(&s, false, 2, 16);
    atomic_store(&fake_faults.can_reset, 100);
    fill(prompt, 40, 8);
    for (loss = 1; loss <= 4; loss++) {
        client_init(&a);
        atomic_store(&fake_faults.lose_run, atomic_load(&fake_faults.runs) + 20);
        atomic_store(&fake_faults.lose_device, 0);
        assert_int_equal(submit(&s, &a, prompt, 40, 100, &ra), Q35_OK);
        wait_end(&a);
        assert_continues(&a, prompt, 40, 100);
        q35_request_release(s.e, ra);
        assert_int_equal(atomic_load(&fake_faults.resets), loss < 4 ? loss : 3);
        assert_int_equal(atomic_load(&fake_faults.last_device), loss < 4 ? 0 : 1);
    }
    q35_engine_stats(s.e, &stats);
    assert_true(stats.ready);
    stop(&s);
}

/* How a client wants its tokens. */
enum wish { GREEDY, TOP_ONE, WARM, PENALTY, LOGPROBS, WISHES };

static struct q35_request *wish_for(struct setup *s, struct client *c, enum wish wish, int32_t seed)
{
    struct q35_request *r;
    struct q35_error err;
    int32_t prompt[30];
    struct q35_request_params p = {.prompt = prompt,
                                   .prompt_len = 30,
                                   .max_tokens = 40,
                                   .event = on_event,
                                   .is_end = is_end,
                                   .user = c,
                                   .logprobs = wish == LOGPROBS,
                                   .top_logprobs = 1};
    fill(prompt, 30, seed);
    client_init(c);
    q35_sampling_default(&p.sampling);
    p.sampling.temperature = wish == TOP_ONE || wish == WARM ? 0.5f : 0.0f;
    p.sampling.top_k = wish == TOP_ONE ? 1 : 0;
    p.sampling.presence_penalty = wish == PENALTY ? 0.01f : 0.0f;
    assert_int_equal(q35_engine_submit(s->e, &p, &r, &err), Q35_OK);
    return r;
}

/* Tokens chosen by the device are those that the sampler takes; it is asked only for what needs
 * nothing else, and only if it offers that. */
static void greedy_tokens_from_the_device(void **state)
{
    (void)state;
    for (int wish = 0; wish < WISHES; wish++) {
        int32_t want[40];
        for (int round = 0; round < 4; round++) { /* features, or not; one device, or two */
            uint32_t features = round & 1 ? Q35_FEATURE_GREEDY : 0;
            bool chosen = features && (wish == GREEDY || wish == TOP_ONE);
            struct q35_engine_stats stats;
            struct q35_request *r;
            struct client c;
            struct setup s;
            start_with(&s, round & 2, 2, 16, features, NULL);
            r = wish_for(&s, &c, (enum wish)wish, 3);
            wait_end(&c);
            q35_engine_stats(s.e, &stats);
            assert_int_equal(c.finish, Q35_FINISH_LENGTH);
            assert_int_equal(c.n, 40);
            if (round == 0)
                memcpy(want, c.out, sizeof(want));
            assert_memory_equal(c.out, want, sizeof(want));
            assert_true(chosen ? atomic_load(&fake_faults.greedy_runs) >= 40
                               : atomic_load(&fake_faults.greedy_runs) == 0);
            assert_int_equal(stats.device_tokens, chosen ? 40 : 0);
            q35_request_release(s.e, r);
            stop(&s);
        }
    }
}

/* A batch in which one request needs logits brings logits for all of them; one of greedy requests
 * alone brings each its own id. */
static void batches_of_wishes(void **state)
{
    struct client alone[WISHES], together[WISHES];
    struct q35_request *r[WISHES];
    struct setup s;
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        for (int i = 0; i < WISHES; i++) {
            start(&s, false, 1, 16);
            r[i] = wish_for(&s, &alone[i], mixed ? (enum wish)i : GREEDY, 5 + i);
            wait_end(&alone[i]);
            q35_request_release(s.e, r[i]);
            stop(&s);
        }
        start_with(&s, true, WISHES, 64, Q35_FEATURE_GREEDY, NULL);
        atomic_store(&fake_faults.hold, 1);
        for (int i = 0; i < WISHES; i++)
            r[i] = wish_for(&s, &together[i], mixed ? (enum wish)i : GREEDY, 5 + i);
        atomic_store(&fake_faults.hold, 0);
        for (int i = 0; i < WISHES; i++) {
            wait_end(&together[i]);
            assert_memory_equal(together[i].out, alone[i].out, 40 * sizeof(int32_t));
            q35_request_release(s.e, r[i]);
        }
        stop(&s);
    }
}

/* An id beyond the vocabulary is used by nobody: the device is reset, and the text stays. */
static void impossible_ids_lose_the_device(void **state)
{
    (void)state;
    for (int bad = 1; bad < 9; bad += 7) { /* once, or again and again */
        struct q35_request *r;
        struct client c, plain;
        struct setup s;
        start(&s, false, 1, 16);
        r = wish_for(&s, &plain, GREEDY, 9);
        wait_end(&plain);
        q35_request_release(s.e, r);
        stop(&s);
        start_with(&s, true, 1, 16, Q35_FEATURE_GREEDY, NULL);
        atomic_store(&fake_faults.can_reset, 100);
        atomic_store(&fake_faults.bad_ids, bad);
        r = wish_for(&s, &c, GREEDY, 9);
        wait_end(&c);
        assert_int_equal(c.finish, bad == 1 ? Q35_FINISH_LENGTH : Q35_FINISH_ERROR);
        assert_int_equal(atomic_load(&fake_faults.resets), bad == 1 ? 1 : 6);
        if (bad == 1)
            assert_memory_equal(c.out, plain.out, sizeof(c.out));
        q35_request_release(s.e, r);
        stop(&s);
    }
}

static void the_kv_has_the_type_of_the_configuration(void **state)
{
    struct setup s;
    (void)state;
    start_with(&s, true, 2, 16, Q35_FEATURE_KV_INT8, "int8");
    assert_int_equal(atomic_load(&fake_faults.kv_type), Q35_KV_INT8);
    stop(&s);
    start_with(&s, true, 2, 16, Q35_FEATURE_KV_INT8, "f16");
    assert_int_equal(atomic_load(&fake_faults.kv_type), Q35_KV_F16);
    stop(&s);
}

static void evaluation_gives_every_position(void **state)
{
    struct setup s;
    struct q35_error err;
    int32_t tokens[40];
    float *logits = calloc(40 * FAKE_VOCAB, 4);
    uint32_t i;
    (void)state;
    start(&s, true, 2, 16);
    fill(tokens, 40, 9);
    assert_int_equal(q35_engine_eval(s.e, tokens, 40, 0, logits, &err), Q35_OK);
    for (i = 0; i < 40; i++)
        assert_true(logits[i * FAKE_VOCAB + (uint32_t)fake_next(tokens, i + 1)] == 5.0f);
    assert_int_equal(q35_engine_eval(s.e, tokens, 40, FAKE_CONTEXT, logits, &err), Q35_E_CAPACITY);
    free(logits);
    stop(&s);
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
        cmocka_unit_test(greedy_tokens_from_the_device),
        cmocka_unit_test(batches_of_wishes),
        cmocka_unit_test(impossible_ids_lose_the_device),
        cmocka_unit_test(the_kv_has_the_type_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
