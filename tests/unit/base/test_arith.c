/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"
#include "q35/arith.h"

static void exp_is_accurate(void **state)
{
    double worst = 0;
    int i;
    (void)state;
    for (i = -87000; i < 88000; i++) {
        float x = (float)i * 0.001f;
        double want = exp((double)x), rel;
        if (x < -87.0f)
            continue;
        rel = fabs((double)q35_exp(x) - want) / want;
        worst = rel > worst ? rel : worst;
    }
    assert_true(worst < 1.2e-7);
    assert_true(q35_exp(0.0f) == 1.0f);
    assert_true(q35_exp(-87.5f) == 0.0f);
    assert_true(q35_exp(NAN) == 0.0f);
    assert_true(q35_exp(1000.0f) == q35_exp(88.0f));
}

static void rope_angles_match_libm(void **state)
{
    struct test_rng rng = {4};
    int i;
    (void)state;
    for (i = 0; i < 20000; i++) {
        uint32_t pos = (uint32_t)(test_rng_u64(&rng) % 1000000);
        float f = fabsf(test_rng_f32(&rng)), c, s;
        double a = (double)pos * (double)f;
        q35_rope_angle(pos, f, &c, &s);
        assert_true(fabs((double)c - cos(a)) < 1.2e-7);
        assert_true(fabs((double)s - sin(a)) < 1.2e-7);
    }
}

/* Every binary16 value survives; every binary32 midpoint rounds to even, its neighbours do not. */
static void half_precision_rounds_to_even(void **state)
{
    uint32_t h;
    (void)state;
    for (h = 0; h < 0x7c00; h++) {
        float a = q35_f16_to_f32((uint16_t)h), b, mid;
        assert_int_equal(q35_f32_to_f16(a), h);
        assert_int_equal(q35_f32_to_f16(-a), h | 0x8000);
        b = h == 0x7bff ? 65536.0f : q35_f16_to_f32((uint16_t)(h + 1));
        mid = a + (b - a) * 0.5f;
        assert_int_equal(q35_f32_to_f16(mid), h & 1 ? h + 1 : h);
        assert_int_equal(q35_f32_to_f16(nextafterf(mid, 0.0f)), h);
        assert_int_equal(q35_f32_to_f16(nextafterf(mid, INFINITY)), h + 1);
    }
    assert_int_equal(q35_f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(q35_f32_to_f16(NAN) & 0x7e00, 0x7e00);
}

static void quantize_rounds_and_clamps(void **state)
{
    float x[6] = {127.0f, 0.5f, 1.5f, -2.5f, -127.0f, NAN};
    int8_t q[6], want[6] = {127, 0, 2, -2, -127, 0};
    float zero[3] = {0.0f, -0.0f, 1e-31f};
    (void)state;
    assert_true(q35_quantize(x, 6, q) == 1.0f);
    assert_memory_equal(q, want, 6);
    assert_true(q35_quantize(zero, 3, q) == 0.0f);
    assert_int_equal(q[0] | q[1] | q[2], 0);
}

/* Rotating weights and activations leaves the product as it was. */
static void rotation_is_orthogonal(void **state)
{
    struct test_rng rng = {5};
    enum { N = 384, BLOCK = 128 };
    float x[N], y[N], z[N];
    double before = 0, after = 0;
    int i;
    (void)state;
    for (i = 0; i < N; i++) {
        x[i] = z[i] = test_rng_f32(&rng);
        y[i] = test_rng_f32(&rng);
        before += (double)x[i] * (double)y[i];
    }
    q35_rotate(x, N, BLOCK, 42);
    q35_rotate(y, N, BLOCK, 42);
    for (i = 0; i < N; i++)
        after += (double)x[i] * (double)y[i] / BLOCK;
    assert_true(fabs(before - after) < 1e-4);
    q35_unrotate(x, N, BLOCK, 42);
    for (i = 0; i < N; i++)
        assert_true(fabsf(x[i] / BLOCK - z[i]) < 1e-5f);
}

static void lanes_and_tree_are_fixed(void **state)
{
    float x[33], ones[33], lane[16] = {0};
    int i;
    (void)state;
    for (i = 0; i < 33; i++) {
        x[i] = i == 0 ? 1e8f : 1.0f;
        ones[i] = 1.0f;
    }
    /* lane 0 gets 1e8 + 1 + 1, and 1e8 absorbs both ones; the others hold 2 each */
    for (i = 0; i < 16; i++)
        lane[i] = i == 0 ? 1e8f : 2.0f;
    assert_true(q35_dot(x, ones, 33) == q35_tree16(lane));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_accurate),
        cmocka_unit_test(rope_angles_match_libm),
        cmocka_unit_test(half_precision_rounds_to_even),
        cmocka_unit_test(quantize_rounds_and_clamps),
        cmocka_unit_test(rotation_is_orthogonal),
        cmocka_unit_test(lanes_and_tree_are_fixed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
