/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <math.h>

#include "core/engine/sampler.h"

enum { V = 50 };

static struct q35_sampler *make(const struct q35_sampling *s)
{
    struct q35_sampler *out;
    struct q35_error err;
    assert_int_equal(q35_sampler_create(&out, s, V, &err), Q35_OK);
    return out;
}

static void ramp(float *logits)
{
    int i;
    for (i = 0; i < V; i++)
        logits[i] = (float)((i * 37) % V) * 0.1f; /* largest at i with 37 i = 49 mod 50: 27 */
}

static void greedy_takes_the_first_maximum(void **state)
{
    struct q35_sampling s;
    struct q35_sampler *k;
    float logits[V];
    (void)state;
    q35_sampling_default(&s);
    s.temperature = 0.0f;
    k = make(&s);
    ramp(logits);
    assert_int_equal(q35_sampler_next(k, logits), 27);
    logits[3] = logits[27];
    assert_int_equal(q35_sampler_next(k, logits), 3);
    q35_sampler_destroy(k);
}

/* Frequencies of many draws against probabilities computed here, with the filters applied. */
static void draws_follow_the_distribution(void **state)
{
    static const struct {
        uint32_t top_k;
        float top_p, min_p, temperature;
    } cases[] = {{0, 1, 0, 1},       {5, 1, 0, 0.7f},        {0, 0.6f, 0, 1},
                 {0, 1, 0.3f, 1.5f}, {20, 0.8f, 0.1f, 0.9f}, {0, 0.97f, 0, 1.5f}};
    size_t c;
    (void)state;
    for (c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        enum { DRAWS = 40000 };
        struct q35_sampling s;
        struct q35_sampler *k;
        double p[V], sum = 0, run = 0, kept = 0;
        int hits[V] = {0}, order[V], i, n;
        float logits[V];
        q35_sampling_default(&s);
        s.temperature = cases[c].temperature;
        s.top_k = cases[c].top_k;
        s.top_p = cases[c].top_p;
        s.min_p = cases[c].min_p;
        s.seed = 5;
        ramp(logits);
        for (i = 0; i < V; i++)
            order[(V - 1) - (i * 37) % V] = i; /* the ramp is a permutation */
        n = s.top_k ? (int)s.top_k : V;
        for (i = 0; i < V; i++)
            p[i] = 0;
        for (i = 0; i < n; i++)
            sum += p[order[i]] = exp((logits[order[i]] - logits[27]) / s.temperature);
        for (i = 0; i < n; i++) {
            if ((i && run >= s.top_p * sum) || p[order[i]] < s.min_p)
                p[order[i]] = 0 * (run += p[order[i]]);
            else
                run += p[order[i]];
            kept += p[order[i]];
        }
        k = make(&s);
        for (i = 0; i < DRAWS; i++) {
            ramp(logits);
            hits[q35_sampler_next(k, logits)]++;
        }
        for (i = 0; i < V; i++) {
            double want = p[i] / kept, sd = sqrt(want * (1 - want) / DRAWS);
            assert_true(want > 0 || hits[i] == 0);
            assert_true(fabs(hits[i] / (double)DRAWS - want) < 5 * sd + 1e-9);
        }
        q35_sampler_destroy(k);
    }
}

static void penalties_count_the_window(void **state)
{
    struct q35_sampling s;
    struct q35_sampler *k;
    float logits[V];
    int i;
    (void)state;
    q35_sampling_default(&s);
    s.temperature = 0.0f;
    s.frequency_penalty = 0.5f;
    s.presence_penalty = 0.25f;
    s.repeat_penalty = 2.0f;
    s.penalty_window = 3;
    k = make(&s);
    for (i = 0; i < 5; i++)
        q35_sampler_accept(k, 27);
    q35_sampler_accept(k, 1);
    ramp(logits);
    (void)q35_sampler_next(k, logits);
    assert_true(fabsf(logits[27] - (4.9f / 2.0f - 2 * 0.5f - 0.25f)) < 1e-6f);
    assert_true(fabsf(logits[1] - (3.7f / 2.0f - 0.5f - 0.25f)) < 1e-6f);
    assert_true(logits[0] == 0.0f);
    q35_sampler_destroy(k);
}

static void seeds_repeat(void **state)
{
    struct q35_sampling s;
    int32_t first[20];
    int run, i;
    (void)state;
    q35_sampling_default(&s);
    s.seed = 11;
    for (run = 0; run < 2; run++) {
        struct q35_sampler *k = make(&s);
        for (i = 0; i < 20; i++) {
            float logits[V];
            int32_t id;
            ramp(logits);
            id = q35_sampler_next(k, logits);
            if (run == 0)
                first[i] = id;
            assert_int_equal(id, first[i]);
        }
        q35_sampler_destroy(k);
    }
}

static void bad_values_name_their_field(void **state)
{
    struct q35_sampling s;
    struct q35_error err;
    (void)state;
    q35_sampling_default(&s);
    s.top_p = NAN;
    assert_int_equal(q35_sampling_check(&s, &err), Q35_E_INVALID);
    assert_non_null(strstr(err.message, "top_p"));
    q35_sampling_default(&s);
    s.temperature = 2.5f;
    assert_int_equal(q35_sampling_check(&s, &err), Q35_E_INVALID);
    assert_non_null(strstr(err.message, "temperature"));
}

static void logprobs_are_sorted_and_normalised(void **state)
{
    struct q35_logprob chosen, top[5];
    float logits[V];
    double sum = 0;
    int i;
    (void)state;
    ramp(logits);
    for (i = 0; i < V; i++)
        sum += exp(logits[i]);
    q35_logprobs(logits, V, 4, &chosen, top, 5);
    assert_true(fabs(chosen.logprob - log(exp(logits[4]) / sum)) < 1e-5);
    assert_int_equal(top[0].id, 27);
    for (i = 1; i < 5; i++) {
        assert_true(top[i].logprob <= top[i - 1].logprob);
        assert_true(fabs(top[i].logprob - (top[0].logprob - 0.1 * i)) < 1e-5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_maximum),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(penalties_count_the_window),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(bad_values_name_their_field),
        cmocka_unit_test(logprobs_are_sorted_and_normalised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
