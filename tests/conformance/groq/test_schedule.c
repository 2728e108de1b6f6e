/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Schedules of the simulated chips: legal, the same each time, exact when executed. */

#include "tests/conformance/groq/trial.h"

#include <string.h>

#include "core/base/base.h"

static void must_be_legal(struct tsp_program *p, const char *what)
{
    struct tsp_verdict v;
    if (!tsp_check(p, &v))
        fail_msg("%s: %s: %s", what, tsp_rule_text(v.rule), v.text);
    tsp_program_free(p);
}

static const uint32_t schemes[] = {Q35_SCHEME_ALT43,    Q35_SCHEME_VQ2,    Q35_SCHEME_TRELLIS,
                                   Q35_SCHEME_TRELLIS2, Q35_SCHEME_SINGLE, Q35_SCHEME_TRIPLE};

static void all_legal(void **state)
{
    static const uint32_t tokens[] = {1, 3, 16, 64};
    uint32_t s, w, c, t, slow;
    (void)state;
    for (s = 0; s < Q35_COUNT(schemes); s++)
        for (w = 0; w < 2; w++)
            for (c = 1; c <= 3; c++)
                for (t = 0; t < 4; t++)
                    for (slow = 0; slow < 2; slow++) {
                        struct groq_product g = shape(schemes[s], 700, 600 + 700 * s, tokens[t], c,
                                                      (enum groq_weights)w);
                        struct tsp_program p;
                        chip.gather_lanes = slow ? 20 : 320;
                        schedule(&p, &g);
                        must_be_legal(&p, "a product");
                    }
    chip.gather_lanes = 320;
}

static void other_work_is_legal(void **state)
{
    struct groq_work w = {.passes = {{"a", 26, 1, 1, 3, false},
                                     {"b", 26, 4, 2, 1, false},
                                     {"c", 5000, 1, 2, 16, true}},
                          .count = 3,
                          .chips = 2};
    struct q35_error err = Q35_ERROR_INIT;
    struct tsp_program p;
    (void)state;
    assert_int_equal(groq_schedule_work(&p, &chip, &w, &err), Q35_OK);
    must_be_legal(&p, "vector work");
    assert_int_equal(groq_schedule_handover(&p, &chip, 52, &err), Q35_OK);
    assert_true(p.cycles > chip.hop_cycles + 52 * chip.link_vector_cycles);
    must_be_legal(&p, "a handover");
}

static void same_each_time(void **state)
{
    struct groq_product g = shape(Q35_SCHEME_TRELLIS, 1000, 3000, 4, 2, GROQ_WEIGHTS_PACKED);
    struct tsp_program a, b;
    (void)state;
    schedule(&a, &g);
    schedule(&b, &g);
    assert_int_equal(a.cycles, b.cycles);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.instrs, b.instrs, a.count * sizeof(*a.instrs));
    tsp_program_free(&a);
    tsp_program_free(&b);
}

static void executes_exactly(void **state)
{
    uint32_t s, w, c;
    (void)state;
    for (s = 0; s < Q35_COUNT(schemes); s++)
        for (w = 0; w < 2; w++)
            for (c = 1; c <= 3; c++) {
                struct groq_product g = shape(schemes[s], 330 + 170 * c, 500 + 400 * s, 1 + 3 * c,
                                              c, (enum groq_weights)w);
                struct tsp_program p;
                struct trial x;
                enum q35_status st;
                schedule(&p, &g);
                trial_init(&x, &g);
                if (!is_exact(&x, &g, &p, &st))
                    fail_msg("scheme %x, weights %u, %u chips: status %d", schemes[s], w, c, st);
                trial_fini(&x);
                tsp_program_free(&p);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_legal),
        cmocka_unit_test(other_work_is_legal),
        cmocka_unit_test(same_each_time),
        cmocka_unit_test(executes_exactly),
    };
    return trial_chip() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
