/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
/* What the engine makes of the features that devices declare. */
#include "client.h"

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
                                   .event = client_event,
                                   .is_end = client_is_end,
                                   .user = c,
                                   .logprobs = wish == LOGPROBS,
                                   .top_logprobs = 1};
    fill_prompt(prompt, 30, seed);
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
            engine_start_with(&s, round & 2, 2, 16, features, NULL);
            r = wish_for(&s, &c, (enum wish)wish, 3);
            client_wait_end(&c);
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
            engine_stop(&s);
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
            engine_start(&s, false, 1, 16);
            r[i] = wish_for(&s, &alone[i], mixed ? (enum wish)i : GREEDY, 5 + i);
            client_wait_end(&alone[i]);
            q35_request_release(s.e, r[i]);
            engine_stop(&s);
        }
        engine_start_with(&s, true, WISHES, 64, Q35_FEATURE_GREEDY, NULL);
        atomic_store(&fake_faults.hold, 1);
        for (int i = 0; i < WISHES; i++)
            r[i] = wish_for(&s, &together[i], mixed ? (enum wish)i : GREEDY, 5 + i);
        atomic_store(&fake_faults.hold, 0);
        for (int i = 0; i < WISHES; i++) {
            client_wait_end(&together[i]);
            assert_memory_equal(together[i].out, alone[i].out, 40 * sizeof(int32_t));
            q35_request_release(s.e, r[i]);
        }
        engine_stop(&s);
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
        engine_start(&s, false, 1, 16);
        r = wish_for(&s, &plain, GREEDY, 9);
        client_wait_end(&plain);
        q35_request_release(s.e, r);
        engine_stop(&s);
        engine_start_with(&s, true, 1, 16, Q35_FEATURE_GREEDY, NULL);
        atomic_store(&fake_faults.can_reset, 100);
        atomic_store(&fake_faults.bad_ids, bad);
        r = wish_for(&s, &c, GREEDY, 9);
        client_wait_end(&c);
        assert_int_equal(c.finish, bad == 1 ? Q35_FINISH_LENGTH : Q35_FINISH_ERROR);
        assert_int_equal(atomic_load(&fake_faults.resets), bad == 1 ? 1 : 6);
        if (bad == 1)
            assert_memory_equal(c.out, plain.out, sizeof(c.out));
        q35_request_release(s.e, r);
        engine_stop(&s);
    }
}

static void the_kv_has_the_type_of_the_configuration(void **state)
{
    struct setup s;
    (void)state;
    engine_start_with(&s, true, 2, 16, Q35_FEATURE_KV_INT8, "int8");
    assert_int_equal(atomic_load(&fake_faults.kv_type), Q35_KV_INT8);
    engine_stop(&s);
    engine_start_with(&s, true, 2, 16, Q35_FEATURE_KV_INT8, "f16");
    assert_int_equal(atomic_load(&fake_faults.kv_type), Q35_KV_F16);
    engine_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_tokens_from_the_device),
        cmocka_unit_test(batches_of_wishes),
        cmocka_unit_test(impossible_ids_lose_the_device),
        cmocka_unit_test(the_kv_has_the_type_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
