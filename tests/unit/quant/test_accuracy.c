/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <math.h>

#include "core/quant/accuracy.h"

#define ROWS 64u
#define COLS 4096u

static float *draw(enum q35_distribution d)
{
    float *w = malloc(sizeof(float) * ROWS * COLS);
    assert_non_null(w);
    q35_accuracy_draw(d, 5, (uint64_t)ROWS * COLS, w);
    return w;
}

static void drawn_moments(void **state)
{
    float *g = draw(Q35_DIST_GAUSSIAN), *t = draw(Q35_DIST_STUDENT_T5);
    double g2 = 0, g4 = 0, t2 = 0;
    size_t i, n = (size_t)ROWS * COLS;
    (void)state;
    for (i = 0; i < n; i++) {
        double a = (double)g[i] * (double)g[i];
        g2 += a;
        g4 += a * a;
        t2 += (double)t[i] * (double)t[i];
    }
    assert_true(fabs(g2 / (double)n - 1) < 0.02);
    assert_true(fabs(g4 / (double)n - 3) < 0.15);
    assert_true(fabs(t2 / (double)n - 5.0 / 3) < 0.1);
    free(g);
    free(t);
}

static void grids_on_known_rows(void **state)
{
    static const float w[2][4] = {{127, 63, -1, 0}, {7, -3, 1, 0.5f}};
    static const float levels[1][4] = {{0.5f, -1.5f, 7.5f, -7.5f}};
    (void)state;
    assert_true(q35_accuracy_grid(Q35_GRID_INT8_ABSMAX, 1, 4, w[0]) < 1e-12);
    /* 0.5 rounds half to even: an error of 0.5 */
    assert_true(fabs(q35_accuracy_grid(Q35_GRID_INT4_ABSMAX, 1, 4, w[1]) - 0.5 / sqrt(59.25)) <
                1e-9);
    assert_true(q35_accuracy_grid(Q35_GRID_UNIFORM4_BEST, 1, 4, levels[0]) < 1e-12);
    assert_true(fabs(q35_accuracy_grid_bits(Q35_GRID_INT4_ABSMAX, 64) - 4.5) < 1e-12);
}

/* The figures the project states, on 262,144 weights. */
static void ladder_on_gaussian_and_student(void **state)
{
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    float *g = draw(Q35_DIST_GAUSSIAN), *t = draw(Q35_DIST_STUDENT_T5);
    double eg = 0, et = 0, bits = 0;
    (void)state;
    assert_int_equal(q35_accuracy_packed(&p, ROWS, COLS, g, &eg, &bits, NULL), Q35_OK);
    assert_true(eg <= 0.102);
    assert_true(bits <= 3.5 + 0.02 + 0.02); /* 64 rows do not dilute the tables much */
    assert_int_equal(q35_accuracy_packed(&p, ROWS, COLS, t, &et, &bits, NULL), Q35_OK);
    assert_true(fabs(et - eg) <= 0.003);
    assert_true(eg < q35_accuracy_grid(Q35_GRID_UNIFORM4_BEST, ROWS, COLS, g));
    p.scheme = Q35_SCHEME_ALT43;
    assert_int_equal(q35_accuracy_packed(&p, ROWS, COLS, g, &eg, &bits, NULL), Q35_OK);
    assert_true(eg <= 0.149);
    assert_true(eg < q35_accuracy_grid(Q35_GRID_INT4_ABSMAX, ROWS, COLS, g));
    free(g);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawn_moments),
        cmocka_unit_test(grids_on_known_rows),
        cmocka_unit_test(ladder_on_gaussian_and_student),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
