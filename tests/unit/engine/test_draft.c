/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
/* What is guessed, and how much of it is worth a run. */
#include "../test.h"

#include "core/engine/draft.h"

static void learn(struct q35_draft *d, const int32_t *tokens, uint32_t n)
{
    struct q35_error err;
    assert_int_equal(q35_draft_init(d, 1000, &err), Q35_OK);
    for (uint32_t i = 1; i <= n; i++)
        q35_draft_push(d, tokens, i);
    q35_draft_guess(d, tokens, n);
}

static void assert_guess(const int32_t *tokens, uint32_t n, uint32_t match, const int32_t *want,
                         uint32_t n_want)
{
    struct q35_draft d;
    learn(&d, tokens, n);
    assert_int_equal(d.match, match);
    for (uint32_t i = 0; match && i < n_want; i++)
        assert_int_equal(d.guess[i], want[i]);
    q35_draft_fini(&d);
}

#define GUESS(match, tokens, ...)                                                                  \
    do {                                                                                           \
        static const int32_t want[] = {__VA_ARGS__};                                               \
        assert_guess(tokens, (uint32_t)Q35_COUNT(tokens), match, want, (uint32_t)Q35_COUNT(want)); \
    } while (0)

static void what_followed_before(void **state)
{
    static const int32_t fresh[] = {1, 2, 3, 4, 5, 6, 3}, one[] = {5};
    static const int32_t again[] = {1, 2, 3, 4, 5, 9, 2, 3};
    static const int32_t longest[] = {7, 1, 2, 8, 6, 1, 2, 9, 7, 1, 2};
    static const int32_t latest[] = {3, 1, 2, 8, 5, 1, 2, 9, 6, 1, 2};
    static const int32_t same[] = {4, 4, 4, 4};
    (void)state;
    GUESS(0, fresh, 0);
    GUESS(0, one, 0);
    GUESS(2, again, 4, 5, 9, 2, 3, 4, 5, 9, 2, 3, 4); /* round and round */
    GUESS(3, longest, 8, 6, 1);
    GUESS(2, latest, 9, 6, 1);
    GUESS(3, same, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4);
}

/* Chains are long and buckets are shared here: what is found is still a true match. */
static void many_tokens(void **state)
{
    static const uint32_t vocab[] = {7, 100}; /* 49 pairs, and more pairs than buckets */
    (void)state;
    for (int v = 0; v < 2; v++) {
        int32_t tokens[1000];
        struct q35_draft d;
        struct q35_error err;
        assert_int_equal(q35_draft_init(&d, 1000, &err), Q35_OK);
        for (uint32_t n = 1; n <= 1000; n++) {
            uint32_t at = n - 1, found = 0;
            tokens[n - 1] = (int32_t)(q35_mix64(n) % vocab[v]);
            q35_draft_push(&d, tokens, n);
            q35_draft_guess(&d, tokens, n);
            assert_true(d.match >= 2 || (d.match == 0 && (n < 400 || v)));
            for (; d.match && at >= d.match; at--)
                found |= !memcmp(tokens + at - d.match, tokens + n - d.match, 4 * d.match) &&
                         tokens[at] == d.guess[0];
            assert_true(found || !d.match);
        }
        q35_draft_fini(&d);
    }
}

/* Rates follow what comes, by the length of the match, whether or not a run took the guesses. */
static void rates(void **state)
{
    struct q35_draft d;
    int32_t tokens[1000];
    float before[Q35_DRAFT_LENGTHS + 1];
    uint32_t n;
    (void)state;
    for (n = 0; n < 12; n++)
        tokens[n] = (int32_t)n % 6;
    learn(&d, tokens, n);
    assert_int_equal(d.match, 6);
    memcpy(before, d.hits, sizeof(before));
    tokens[n++] = 0; /* as guessed, behind 6 and then 7 */
    q35_draft_push(&d, tokens, n);
    tokens[n++] = 50;
    q35_draft_push(&d, tokens, n);
    assert_true(d.hits[6] > before[6] && d.hits[7] < before[7]);
    tokens[n++] = 51; /* no guess any more */
    memcpy(before, d.hits, sizeof(before));
    q35_draft_push(&d, tokens, n);
    assert_memory_equal(d.hits, before, sizeof(before));
    q35_draft_fini(&d);
}

/* A draft with guesses that come true with this rate. */
static void likely(struct q35_draft *d, float rate)
{
    memset(d, 0, sizeof(*d));
    d->match = rate > 0.0f ? 2 : 0;
    for (uint32_t i = 0; i <= Q35_DRAFT_LENGTHS; i++)
        d->hits[i] = rate;
}

static uint32_t takes(const struct q35_draft_cost *c, float rate, uint32_t most, uint32_t room)
{
    struct q35_draft d, *list[] = {&d};
    likely(&d, rate);
    q35_draft_share(c, list, &most, 1, room);
    return d.take;
}

static void worth_the_cost(void **state)
{
    struct q35_draft_cost none = {{0}, {0}}, flat = none, steep = none, step = none, first = none;
    (void)state;
    for (uint32_t n = 1; n <= Q35_DRAFT_MAX + 1; n++) {
        q35_draft_ran(&flat, n, 1, 1000);
        q35_draft_ran(&steep, n, 1, 1000 * n);
        q35_draft_ran(&step, n, 1, n <= 4 ? 1000 : 2000);
    }
    q35_draft_ran(&first, 1, 0, 1000);
    assert_int_equal(takes(&none, 0.9f, 100, 7), 0);  /* not before a plain run was seen */
    assert_int_equal(takes(&first, 0.5f, 100, 7), 1); /* it has to be tried */
    q35_draft_ran(&first, 2, 1, 1010);
    assert_int_equal(takes(&first, 0.5f, 100, 7), 5); /* by what two took, .5^6 is not worth it */
    assert_int_equal(takes(&flat, 0.5f, 100, 7), 7);
    assert_int_equal(takes(&flat, 0.5f, 100, 16), 16);
    assert_int_equal(takes(&flat, 0.5f, 3, 7), 3);
    assert_int_equal(takes(&flat, 0.02f, 100, 7), 0);
    assert_int_equal(takes(&flat, 0.0f, 100, 7), 0);
    assert_int_equal(takes(&steep, 0.99f, 100, 7), 0);
    assert_int_equal(takes(&step, 0.6f, 100, 7), 3);
    assert_int_equal(takes(&step, 0.95f, 100, 7), 3);
    assert_int_equal(takes(&step, 0.95f, 100, 16), 16);
}

/* Room goes to the likelier guesses, and nobody waits for those of others. */
static void shared_room(void **state)
{
    const uint32_t most[] = {100, 100, 100};
    struct q35_draft a, b, c, *list[] = {&a, &b, &c};
    struct q35_draft_cost cost = {{0}, {0}};
    (void)state;
    q35_draft_ran(&cost, 3, 0, 1000);
    q35_draft_ran(&cost, 4, 1, 1040);
    q35_draft_ran(&cost, 8, 1, 1600);
    likely(&a, 0.0f);
    likely(&b, 0.9f);
    likely(&c, 0.0f);
    q35_draft_share(&cost, list, most, 3, 5);
    assert_int_equal(a.take + c.take, 0);
    assert_int_equal(b.take, 1);
    likely(&a, 0.8f);
    likely(&b, 0.7f);
    likely(&c, 0.9f);
    q35_draft_share(&cost, list, most, 3, 5);
    assert_int_equal(a.take, 1);
    assert_int_equal(b.take, 1);
    assert_int_equal(c.take, 3);
    q35_draft_ran(&cost, 4, 1, 100000);
    likely(&a, 0.0f);
    q35_draft_share(&cost, list, most, 3, 5);
    assert_int_equal(a.take + b.take + c.take, 0);
}

/* Runs that were disturbed do not last. */
static void costs(void **state)
{
    struct q35_draft_cost c = {{0}, {0}};
    uint32_t i;
    (void)state;
    q35_draft_ran(&c, 1, 0, 9000); /* the first is slow */
    q35_draft_ran(&c, 2, 1, 1100);
    assert_true(c.ns[1] <= 1100); /* fewer tokens take no more */
    for (i = 0; i < 10; i++)
        q35_draft_ran(&c, 1, 0, 1000);
    assert_true(c.ns[1] < 1001);
    q35_draft_ran(&c, 2, 1, 100000);
    assert_true(c.ns[2] > 10000);
    assert_int_equal(takes(&c, 0.9f, 1, 1), 0);
    for (i = 0; i < 2000; i++)
        q35_draft_ran(&c, 1, 0, 1000);
    assert_int_equal(takes(&c, 0.9f, 1, 1), 1); /* it is tried again */
    for (i = 0; i < 100; i++)
        q35_draft_ran(&c, 1, 0, 3000); /* all is slower now */
    assert_true(c.ns[1] > 2900 && c.ns[2] > c.ns[1]);
    assert_int_equal(takes(&c, 0.9f, 1, 1), 1);
    q35_draft_ran(&c, 0, 0, 5);
    q35_draft_ran(&c, Q35_DRAFT_MAX + 2, 1, 5); /* of no interest */
    assert_true(c.ns[1] > 900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_before),
        cmocka_unit_test(many_tokens),
        cmocka_unit_test(rates),
        cmocka_unit_test(worth_the_cost),
        cmocka_unit_test(shared_room),
        cmocka_unit_test(costs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
