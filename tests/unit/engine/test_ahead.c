/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
/* Guessing ahead: no token, logprob or end ever changes, whatever goes wrong meanwhile. */
#include "client.h"

#include "core/engine/internal.h"

enum { PROMPT = 30, PERIOD = 11 };

/* How a client wants its tokens. */
static const struct wish {
    float temperature, presence, repeat;
    uint32_t top_k, window;
    bool logprobs;
} wishes[] = {
    {.temperature = 0.0f},
    {.temperature = 0.0f, .logprobs = true},
    {.temperature = 0.9f, .logprobs = true},
    {.temperature = 0.5f, .top_k = 20},
    {.temperature = 0.9f, .presence = 0.3f, .repeat = 1.1f, .window = 20, .logprobs = true},
    {.temperature = 0.0f, .presence = 0.2f, .repeat = 1.2f},
};
enum { WISHES = sizeof(wishes) / sizeof(wishes[0]) };

/* One engine, the text that its model says, and how many guesses it may make. */
struct scene {
    bool split;
    uint32_t period; /* of what it says again; 0: it never does */
    uint32_t drafts, sequences, features, kv_tokens;
};

static void start(struct setup *s, const struct scene *scene)
{
    static char lookup[] = "lookup";
    fake_reset();
    fake_features(scene->features);
    atomic_store(&fake_faults.repeat, (int)scene->period);
    memset(s, 0, sizeof(*s));
    s->config.draft = scene->drafts ? lookup : NULL;
    s->config.draft_tokens = scene->drafts;
    s->config.max_sequences = scene->sequences ? scene->sequences : 2;
    s->config.max_batch = 64;
    s->config.max_queue = 8;
    s->config.micro_batch = 4; /* a token and its guesses go over devices in parts */
    s->config.kv_tokens = scene->kv_tokens;
    engine_start_config(s, scene->split);
}

static void ask(struct setup *s, struct client *c, const struct wish *w, const int32_t *prompt,
                uint32_t len, uint32_t max_tokens)
{
    struct q35_error err;
    struct q35_request_params p = {.prompt = prompt,
                                   .prompt_len = len,
                                   .max_tokens = max_tokens,
                                   .event = client_event,
                                   .is_end = client_is_end,
                                   .user = c,
                                   .logprobs = w->logprobs,
                                   .top_logprobs = 2};
    q35_sampling_default(&p.sampling);
    p.sampling.temperature = w->temperature;
    p.sampling.top_k = w->top_k;
    p.sampling.presence_penalty = w->presence;
    p.sampling.repeat_penalty = w->repeat > 0.0f ? w->repeat : 1.0f;
    p.sampling.penalty_window = w->window;
    p.sampling.seed = 7;
    c->engine = s->e;
    assert_int_equal(q35_engine_submit(s->e, &p, &c->request, &err), Q35_OK);
}

static void finish(struct setup *s, struct client *c)
{
    client_wait_end(c);
    q35_request_release(s->e, c->request);
}

/* The whole of one request in an engine of its own. Returns the time that its runs took. */
static uint64_t alone(struct client *c, const struct scene *scene, const struct wish *w,
                      uint32_t max_tokens)
{
    int32_t prompt[PROMPT];
    int token_ns = atomic_load(&fake_faults.token_ns);
    struct setup s;
    uint64_t ns;
    start(&s, scene);
    if (token_ns)
        atomic_store(&fake_faults.token_ns, token_ns);
    fill_prompt(prompt, PROMPT, 2);
    ask(&s, c, w, prompt, PROMPT, max_tokens);
    finish(&s, c);
    ns = fake_now();
    engine_stop(&s);
    return ns;
}

static void assert_same(const struct client *a, const struct client *b)
{
    assert_int_equal(a->finish, b->finish);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->out, b->out, a->n * sizeof(*a->out));
    assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof(*a->logprobs));
}

static void every_wish_gets_the_same_tokens(void **state)
{
    (void)state;
    for (int i = 0; i < WISHES; i++)
        for (int way = 0; way < 8; way++) {
            struct scene scene = {.split = way & 1,
                                  .period = way & 4 ? 0 : PERIOD,
                                  .features = way & 2 ? Q35_FEATURE_GREEDY : 0};
            struct client plain, drafted;
            int runs;
            client_init(&plain);
            client_init(&drafted);
            alone(&plain, &scene, &wishes[i], 300);
            runs = atomic_load(&fake_faults.runs);
            assert_int_equal(plain.drafted, 0);
            scene.drafts = 7;
            alone(&drafted, &scene, &wishes[i], 300);
            assert_same(&plain, &drafted);
            assert_true(drafted.accepted <= drafted.drafted);
            if (scene.period) {
                assert_true(drafted.accepted > 20);
                assert_true(atomic_load(&fake_faults.runs) < runs);
            }
        }
}

/* The last position of the context is used, none beyond, and the KV has room for no more. */
static void until_the_context_ends(void **state)
{
    struct scene scene = {.sequences = 1, .period = PERIOD, .kv_tokens = FAKE_CONTEXT};
    struct client plain, drafted;
    (void)state;
    client_init(&plain);
    client_init(&drafted);
    alone(&plain, &scene, &wishes[0], FAKE_CONTEXT - PROMPT);
    scene.drafts = Q35_DRAFT_MAX;
    alone(&drafted, &scene, &wishes[0], FAKE_CONTEXT - PROMPT);
    assert_int_equal(drafted.finish, Q35_FINISH_LENGTH);
    assert_same(&plain, &drafted);
}

/* At a token that had been guessed: the prompt holds it, and goes round. */
static void an_end_token_ends(void **state)
{
    enum { ROUND = 37 };
    const struct scene scene = {.period = ROUND, .drafts = 7};
    int32_t prompt[2 * ROUND], out[ROUND];
    uint32_t ends = 0;
    (void)state;
    for (int32_t i = 0; i < 2 * ROUND; i++)
        prompt[i] = 40 + i % ROUND;
    for (int32_t at = -1; at < ROUND; at++) {
        struct client c;
        struct setup s;
        bool before = false;
        for (int32_t i = 0; i < at; i++)
            before |= out[i] == out[at];
        if (before)
            continue;
        client_init(&c);
        c.end_token = at < 0 ? -1 : out[at];
        start(&s, &scene);
        ask(&s, &c, &wishes[0], prompt, 2 * ROUND, ROUND);
        finish(&s, &c);
        client_assert_continues(&c, prompt, 2 * ROUND, at < 0 ? ROUND : (uint32_t)at);
        assert_int_equal(c.finish, at < 0 ? Q35_FINISH_LENGTH : Q35_FINISH_END);
        if (at < 0)
            memcpy(out, c.out, sizeof(out));
        assert_true(c.accepted <= c.n);
        ends += c.accepted > 1;
        engine_stop(&s);
    }
    assert_true(ends > 10);
}

/* Cancelled from the callback: not one token more, and what stays as a prefix cache is right. */
static void a_cancel_in_the_middle(void **state)
{
    (void)state;
    for (uint32_t at = 60; at < 80; at++) {
        struct scene scene = {.split = at & 1, .period = PERIOD, .drafts = 7};
        int32_t prompt[PROMPT + 80];
        struct q35_engine_stats stats;
        struct client a, b;
        struct setup s;
        start(&s, &scene);
        client_init(&a);
        client_init(&b);
        fill_prompt(prompt, PROMPT, 2);
        a.cancel_at = at;
        ask(&s, &a, &wishes[0], prompt, PROMPT, 300);
        finish(&s, &a);
        q35_engine_stats(s.e, &stats);
        assert_int_equal(stats.accepted_tokens, a.accepted);
        assert_int_equal(a.finish, Q35_FINISH_CANCELLED);
        client_assert_continues(&a, prompt, PROMPT, at);
        assert_true(a.accepted > 0);
        memcpy(prompt + PROMPT, a.out, at * sizeof(*prompt));
        prompt[PROMPT + at - 1] ^= 1; /* another way to go on */
        ask(&s, &b, &wishes[0], prompt, PROMPT + at, 100);
        finish(&s, &b);
        assert_int_equal(b.cached, PROMPT + at - 1);
        client_assert_continues(&b, prompt, PROMPT + at, 100);
        engine_stop(&s);
    }
}

/* A request that ends gives back the pages that only its wrong guesses had reached: another needs
 * them. */
static void pages_of_guesses_are_given_back(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t pages = 2 + i % 5, at = pages * Q35_PAGE - PROMPT - i / 5;
        struct scene scene = {.period = PERIOD, .drafts = 7, .kv_tokens = (pages + 1) * Q35_PAGE};
        int32_t prompt[PROMPT];
        struct client a, b;
        struct setup s;
        start(&s, &scene);
        client_init(&a);
        client_init(&b);
        fill_prompt(prompt, PROMPT, 2);
        a.cancel_at = at;
        ask(&s, &a, &wishes[0], prompt, PROMPT, (pages + 1) * Q35_PAGE - PROMPT);
        finish(&s, &a);
        assert_true(a.drafted > 0);
        fill_prompt(prompt, PROMPT, 3);
        ask(&s, &b, &wishes[0], prompt, PROMPT, Q35_PAGE - PROMPT);
        finish(&s, &b);
        assert_int_equal(b.finish, Q35_FINISH_LENGTH);
        client_assert_continues(&b, prompt, PROMPT, Q35_PAGE - PROMPT);
        engine_stop(&s);
    }
}

static void a_device_lost_in_between(void **state)
{
    (void)state;
    for (int run = 12; run < 60; run += 3) {
        struct scene scene = {.split = true, .period = PERIOD, .drafts = 7};
        int32_t prompt[PROMPT];
        struct client c;
        struct setup s;
        start(&s, &scene);
        client_init(&c);
        fill_prompt(prompt, PROMPT, 2);
        atomic_store(&fake_faults.lose_run, run);
        atomic_store(&fake_faults.lose_device, run & 1);
        ask(&s, &c, &wishes[0], prompt, PROMPT, 300);
        finish(&s, &c);
        assert_int_equal(atomic_load(&fake_faults.lose_device), -1);
        assert_int_equal(c.finish, Q35_FINISH_LENGTH);
        client_assert_continues(&c, prompt, PROMPT, 300);
        assert_true(c.accepted > 20);
        engine_stop(&s);
    }
}

/* Runs that fail because of a guess end nobody: tokens are computed without. */
static void guesses_that_fail(void **state)
{
    struct scene scene = {.period = PERIOD};
    struct client plain, drafted;
    struct setup s;
    int32_t prompt[PROMPT];
    (void)state;
    client_init(&plain);
    client_init(&drafted);
    alone(&plain, &scene, &wishes[2], 300);
    scene.drafts = 7;
    start(&s, &scene);
    fill_prompt(prompt, PROMPT, 2);
    atomic_store(&fake_faults.bad_drafts, 5);
    ask(&s, &drafted, &wishes[2], prompt, PROMPT, 300);
    finish(&s, &drafted);
    assert_true(atomic_load(&fake_faults.bad_drafts) <= 0);
    assert_same(&plain, &drafted);
    engine_stop(&s);
}

/* Several at once, one of them begun from the KV of another that is guessing. */
static void requests_together(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        struct scene scene = {.split = way & 1,
                              .period = PERIOD,
                              .sequences = WISHES + 1,
                              .features = way & 2 ? Q35_FEATURE_GREEDY : 0};
        struct client want[WISHES], got[WISHES], fork;
        int32_t prompt[PROMPT + 40];
        struct setup s;
        for (int i = 0; i < WISHES; i++) {
            client_init(&want[i]);
            alone(&want[i], &scene, &wishes[i], 200);
        }
        scene.drafts = Q35_DRAFT_MAX;
        start(&s, &scene);
        fill_prompt(prompt, PROMPT, 2);
        atomic_store(&fake_faults.hold, 1);
        for (int i = 0; i < WISHES; i++) {
            client_init(&got[i]);
            ask(&s, &got[i], &wishes[i], prompt, PROMPT, 200);
        }
        atomic_store(&fake_faults.hold, 0);
        client_wait_tokens(&got[0], 40);
        client_init(&fork);
        memcpy(prompt + PROMPT, want[0].out, 40 * sizeof(*prompt));
        ask(&s, &fork, &wishes[0], prompt, PROMPT + 40, 100);
        for (int i = 0; i < WISHES; i++) {
            finish(&s, &got[i]);
            assert_same(&want[i], &got[i]);
        }
        finish(&s, &fork);
        assert_memory_equal(fork.out, want[0].out + 40, 100 * sizeof(*fork.out));
        engine_stop(&s);
    }
}

/* By the clock of the fake devices: text that repeats itself comes faster where runs of several
 * tokens cost little, and nothing comes more than a fiftieth slower wherever they cost more. */
static void never_much_slower(void **state)
{
    static const int token_ns[] = {1, 100, 1000, 100000};
    (void)state;
    for (size_t i = 0; i < sizeof(token_ns) / sizeof(token_ns[0]); i++)
        for (int repeats = 0; repeats < 2; repeats++) {
            struct scene scene = {.period = repeats ? PERIOD : 0};
            struct client plain, drafted;
            uint64_t without, with;
            client_init(&plain);
            client_init(&drafted);
            atomic_store(&fake_faults.token_ns, token_ns[i]);
            without = alone(&plain, &scene, &wishes[0], 450);
            atomic_store(&fake_faults.token_ns, token_ns[i]);
            scene.drafts = 7;
            with = alone(&drafted, &scene, &wishes[0], 450);
            assert_same(&plain, &drafted);
            assert_true(with * 100 <= without * 102);
            if (repeats && token_ns[i] <= 100)
                assert_true(with * 3 < without * 2);
        }
    atomic_store(&fake_faults.token_ns, 0);
}

/* The counts that the engine tells are those of its requests. */
static void counts(void **state)
{
    struct scene scene = {.period = PERIOD, .drafts = 7};
    struct q35_engine_stats stats;
    int32_t prompt[PROMPT];
    struct client c;
    struct setup s;
    (void)state;
    start(&s, &scene);
    client_init(&c);
    fill_prompt(prompt, PROMPT, 2);
    ask(&s, &c, &wishes[0], prompt, PROMPT, 200);
    finish(&s, &c);
    q35_engine_stats(s.e, &stats);
    assert_int_equal(stats.output_tokens, 200);
    assert_int_equal(stats.drafted_tokens, c.drafted);
    assert_int_equal(stats.accepted_tokens, c.accepted);
    /* each run gives a token and those that were guessed right; the prompt takes one run */
    assert_int_equal((uint32_t)atomic_load(&fake_faults.runs) + c.accepted, 200);
    engine_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wish_gets_the_same_tokens),
        cmocka_unit_test(until_the_context_ends),
        cmocka_unit_test(an_end_token_ends),
        cmocka_unit_test(a_cancel_in_the_middle),
        cmocka_unit_test(pages_of_guesses_are_given_back),
        cmocka_unit_test(a_device_lost_in_between),
        cmocka_unit_test(guesses_that_fail),
        cmocka_unit_test(requests_together),
        cmocka_unit_test(never_much_slower),
        cmocka_unit_test(counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
