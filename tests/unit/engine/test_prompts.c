/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
/* Prompts beside decoding requests: how much of them a run takes along, and whose comes first. */
#include "client.h"

#include <stdatomic.h>

#include "core/engine/internal.h"

#define MS 1000000u

/* ---- the room alone ---- */

/* Runs of a machine: `decode` ns for reading the weights and `token` ns for each prompt token. */
static uint32_t settled(struct q35_prompt_cost *c, double decode, double token, uint32_t most)
{
    uint32_t i, room = 0;
    for (i = 0; i < 50; i++) {
        room = q35_prompt_room(c, most);
        q35_prompt_ran(c, room, true, (uint64_t)(decode + token * room));
    }
    return room;
}

static void a_run_lasts_as_long_as_a_pause_may(void **state)
{
    static const struct {
        double decode, token;
    } machines[] = {{12e6, 1.6e6}, {1e6, 0.2e6}, {60e6, 2e6}, {500e6, 5e6}, {85e6, 0.5e6}};
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(machines); i++) {
        struct q35_prompt_cost c = {0};
        double d = machines[i].decode, t = machines[i].token;
        double pause = 2 * d > Q35_PROMPT_PAUSE_NS ? 2 * d : Q35_PROMPT_PAUSE_NS;
        uint32_t room;
        q35_prompt_ran(&c, 0, true, (uint64_t)d);
        room = settled(&c, d, t, 4096);
        assert_true(d + t * room <= 1.05 * pause);
        assert_true(d + t * room >= 0.9 * pause);
        assert_int_equal(q35_prompt_room(&c, 7), 7);
    }
}

static void slow_machines_still_take_some(void **state)
{
    struct q35_prompt_cost c = {0};
    (void)state;
    q35_prompt_ran(&c, 0, true, 40 * MS);
    assert_int_equal(settled(&c, 40e6, 36e6, 512), Q35_PROMPT_ROOM_MIN);
}

static void prompts_without_end_do_not_shrink(void **state)
{
    struct q35_prompt_cost c = {0};
    (void)state;
    /* no run without prompts ever tells that 1.5 s of each are the weights' */
    assert_true(settled(&c, 1500e6, 5e6, 512) >= Q35_PROMPT_ROOM_FIRST);
}

static void quick_machines_take_all(void **state)
{
    struct q35_prompt_cost c = {0};
    (void)state;
    assert_int_equal(q35_prompt_room(&c, 512), Q35_PROMPT_ROOM_FIRST);
    q35_prompt_ran(&c, 0, true, 5 * MS);
    assert_int_equal(settled(&c, 5e6, 0.02e6, 512), 512);
}

/* ---- in the engine ---- */

static const void *first[8]; /* clients in the order of their first tokens */
static atomic_uint firsts;

/* The very first token holds all further runs, until the test goes on. */
static void ordered_event(void *user, const struct q35_event *ev)
{
    const struct client *c = user;
    if (ev->token >= 0 && c->n == 0) {
        first[atomic_fetch_add(&firsts, 1)] = user;
        if (user == first[0])
            atomic_store(&fake_faults.hold, 1);
    }
    client_event(user, ev);
}

static void ask(struct setup *s, struct client *c, uint32_t len, uint32_t tokens)
{
    struct q35_error err;
    int32_t prompt[FAKE_CONTEXT];
    struct q35_request_params p = {.prompt = prompt,
                                   .prompt_len = len,
                                   .max_tokens = tokens,
                                   .event = ordered_event,
                                   .is_end = client_is_end,
                                   .user = c};
    client_init(c);
    fill_prompt(prompt, len, (int32_t)len);
    q35_sampling_default(&p.sampling);
    p.sampling.temperature = 0.0f;
    assert_int_equal(q35_engine_submit(s->e, &p, &c->request, &err), Q35_OK);
}

static void finish(struct setup *s, struct client *c)
{
    client_wait_end(c);
    q35_request_release(s->e, c->request);
}

static void begin(struct setup *s, uint32_t sequences, int token_ns)
{
    memset(first, 0, sizeof(first));
    engine_start(s, false, sequences, 256);
    atomic_store(&fake_faults.token_ns, token_ns);
    atomic_store(&firsts, 0);
}

static void decoding_goes_on_beside_a_long_prompt(void **state)
{
    struct setup s;
    struct client a, b;
    int runs;
    (void)state;
    begin(&s, 2, 5 * MS);
    ask(&s, &a, 10, 400);
    client_wait_tokens(&a, 1);
    atomic_store(&fake_faults.largest, 0);
    runs = atomic_load(&fake_faults.runs);
    ask(&s, &b, 300, 1);
    atomic_store(&fake_faults.hold, 0);
    finish(&s, &b);
    /* 5 ms a token: about 19 fit into 100 ms */
    assert_in_range(atomic_load(&fake_faults.largest), Q35_PROMPT_ROOM_MIN, 32);
    assert_true(atomic_load(&fake_faults.runs) - runs >= 300 / 32);
    q35_engine_cancel(s.e, a.request);
    finish(&s, &a);
    engine_stop(&s);
}

static void alone_a_prompt_takes_whole_batches(void **state)
{
    struct setup s;
    struct client a;
    (void)state;
    begin(&s, 2, 5 * MS);
    ask(&s, &a, 300, 2);
    client_wait_tokens(&a, 1);
    atomic_store(&fake_faults.hold, 0);
    finish(&s, &a);
    assert_int_equal(atomic_load(&fake_faults.largest), 256);
    engine_stop(&s);
}

/* One request decodes, and prompts of these lengths come all at once. */
static void compete(uint32_t sequences, struct client *c, const uint32_t *lengths, uint32_t count)
{
    struct setup s;
    uint32_t i;
    begin(&s, sequences, 5 * MS);
    s.e->max_queue = count;
    ask(&s, &c[0], 5, 450);
    client_wait_tokens(&c[0], 1);
    for (i = 0; i < count; i++)
        ask(&s, &c[i + 1], lengths[i], 1);
    atomic_store(&fake_faults.hold, 0);
    for (i = 0; i < count; i++)
        finish(&s, &c[i + 1]);
    q35_engine_cancel(s.e, c[0].request);
    finish(&s, &c[0]);
    engine_stop(&s);
    assert_ptr_equal(first[0], &c[0]);
}

static void a_short_prompt_passes_a_long_one(void **state)
{
    static const uint32_t lengths[] = {400, 60, 39};
    struct client c[4];
    (void)state;
    compete(8, c, lengths, 3);
    assert_ptr_equal(first[1], &c[3]);
    assert_ptr_equal(first[2], &c[2]);
    assert_ptr_equal(first[3], &c[1]);
}

static void a_long_prompt_is_not_passed_for_ever(void **state)
{
    static const uint32_t lengths[] = {200, 90, 91, 92, 93};
    struct client c[6];
    (void)state;
    compete(3, c, lengths, 5); /* one after another beside the long one */
    assert_ptr_equal(first[1], &c[2]);
    assert_ptr_equal(first[2], &c[3]);
    assert_ptr_equal(first[3], &c[1]); /* after 181 of at most 200 tokens */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_lasts_as_long_as_a_pause_may),
        cmocka_unit_test(slow_machines_still_take_some),
        cmocka_unit_test(prompts_without_end_do_not_shrink),
        cmocka_unit_test(quick_machines_take_all),
        cmocka_unit_test(decoding_goes_on_beside_a_long_prompt),
        cmocka_unit_test(alone_a_prompt_takes_whole_batches),
        cmocka_unit_test(a_short_prompt_passes_a_long_one),
        cmocka_unit_test(a_long_prompt_is_not_passed_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
