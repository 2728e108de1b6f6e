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

static void greedy_is_the_first_maximum_and_never_nan(void **state)
{
    static const struct {
        float x[5];
        uint32_t want;
    } cases[] = {{{1, 3, 2, 3, 0}, 1},
                 {{NAN, -5, -4, NAN, -4}, 2},
                 {{NAN, -INFINITY, -INFINITY, NAN, NAN}, 1},
                 {{NAN, NAN, NAN, NAN, NAN}, 0},
                 {{-0.0f, 0, 0, 0, 0}, 0},
                 {{7, NAN, NAN, NAN, NAN}, 0},
                 {{0, 1, INFINITY, NAN, INFINITY}, 2}};
    size_t i;
    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(q35_greedy(cases[i].x, 5), cases[i].want);
    assert_int_equal(q35_greedy(cases[0].x, 1), 0);
}

/* A block of keys and values in int8 against sums in binary64 over what the int8 stands for. */
static void int8_attention_is_what_it_says(void **state)
{
    enum { D = 64, N = 50, FIRST = 9 };
    struct test_rng rng = {8};
    float x[D], s[N], o[D], k_scales[N], v_scales[N], q_scale, scale = 0.125f;
    int8_t q[D], k[N][D], v[N][D];
    double score[N], top = -1e9, sum = 0;
    struct q35_attn_state st;
    int j, d;
    (void)state;
    for (d = 0; d < D; d++)
        x[d] = test_rng_f32(&rng) * 3;
    q_scale = q35_quantize(x, D, q);
    for (j = 0; j < N; j++) {
        int32_t acc = 0;
        for (d = 0; d < D; d++)
            x[d] = test_rng_f32(&rng) * 4;
        k_scales[j] = q35_quantize(x, D, k[j]);
        for (d = 0; d < D; d++)
            x[d] = test_rng_f32(&rng) * (float)(j + 1);
        v_scales[j] = q35_quantize(x, D, v[j]);
        score[j] = 0;
        for (d = 0; d < D; d++) {
            acc += q[d] * k[j][d];
            score[j] += (double)q[d] * (double)q_scale * (double)k[j][d] * (double)k_scales[j];
        }
        score[j] *= (double)scale;
        top = score[j] > top ? score[j] : top;
        s[j] = q35_attn_score8(acc, q_scale, k_scales[j], scale);
        assert_true(fabs((double)s[j] - score[j]) < 1e-5 * (1 + fabs(score[j])));
    }
    st = q35_attn_block8(s, FIRST, N, v[0], D, v_scales, D, o);
    for (j = 0; j < N; j++)
        sum += exp(score[j] - top);
    assert_true(fabs((double)st.l - sum) < 1e-4 * sum);
    for (d = 0; d < D; d++) {
        double want = 0;
        for (j = 0; j < N; j++)
            want += exp(score[j] - top) * (double)v[j][d] * (double)v_scales[j];
        assert_true(fabs((double)o[d] - want) < 1e-3);
    }
    assert_int_equal(q35_kv8_page_bytes(3, 40), 2 * 3 * 64 * 40 + 2 * 3 * 64 * 4);
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
        cmocka_unit_test(greedy_is_the_first_maximum_and_never_nan),
        cmocka_unit_test(int8_attention_is_what_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
