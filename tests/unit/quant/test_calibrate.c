/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Linear algebra, error feedback and activation-aware scales against plain definitions. */
#include <math.h>

#include "../test.h"
#include "core/quant/calibrate_internal.h"
#include "core/quant/linalg.h"
#include "core/quant/sensitivity.h"
#include "core/quant/smooth.h"

static struct q35_float_pool *pool;

static int setup(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    (void)state;
    return q35_float_pool_create(&pool, 3, &err) ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    q35_float_pool_destroy(pool);
    return 0;
}

/* Inputs of very different sizes that depend on each other: x = a few directions plus noise.
 * h[n][n] += x x^T of `tokens` tokens. */
static void draw_moments(struct test_rng *r, uint32_t n, uint32_t tokens, double *h)
{
    float *x = malloc(sizeof(float) * n), mix[4];
    uint32_t t, i, j;
    memset(h, 0, sizeof(double) * n * n);
    for (t = 0; t < tokens; t++) {
        for (i = 0; i < 4; i++)
            mix[i] = test_rng_f32(r);
        for (i = 0; i < n; i++)
            x[i] = (mix[i % 4] + 0.3f * mix[(i / 4) % 4] + 0.2f * test_rng_f32(r)) *
                   (i % 7 == 0 ? 4.0f : 1.0f);
        for (i = 0; i < n; i++)
            for (j = 0; j < n; j++)
                h[(size_t)i * n + j] += (double)x[i] * (double)x[j];
    }
    free(x);
}

static void test_outer(void **state)
{
    enum { N = 37, COLS = 53, STRIDE = 64 };
    static float a[N][STRIDE], b[N][STRIDE];
    static double lower[COLS][COLS], full[COLS][COLS];
    struct test_rng r = {3};
    uint32_t t, i, j;
    (void)state;
    for (t = 0; t < N; t++)
        for (i = 0; i < COLS; i++) {
            a[t][i] = test_rng_f32(&r);
            b[t][i] = test_rng_f32(&r);
        }
    q35_linalg_outer(pool, N, COLS, STRIDE, a[0], b[0], false, full[0]);
    q35_linalg_outer(pool, N, COLS, STRIDE, a[0], a[0], true, lower[0]);
    q35_linalg_outer(pool, N, COLS, STRIDE, a[0], a[0], true, lower[0]); /* adds */
    for (i = 0; i < COLS; i++)
        for (j = 0; j < COLS; j++) {
            double ab = 0, aa = 0;
            for (t = 0; t < N; t++) {
                ab += (double)a[t][i] * (double)b[t][j];
                aa += 2 * (double)a[t][i] * (double)a[t][j];
            }
            assert_true(fabs(full[i][j] - ab) < 1e-4);
            if (j <= i)
                assert_true(fabs(lower[i][j] - aa) < 1e-4);
        }
}

static void test_cholesky_and_solve(void **state)
{
    enum { N = 150, ROWS = 11 };
    struct test_rng r = {4};
    double *h = malloc(sizeof(double) * N * N), *l = malloc(sizeof(double) * N * N);
    double *x = malloc(sizeof(double) * ROWS * N), *y = malloc(sizeof(double) * ROWS * N);
    uint32_t i, j, k;
    (void)state;
    draw_moments(&r, N, 400, h);
    memcpy(l, h, sizeof(double) * N * N);
    assert_true(q35_linalg_cholesky(pool, N, l));
    for (i = 0; i < N; i++)
        for (j = 0; j <= i; j++) {
            double sum = 0;
            for (k = 0; k <= j; k++)
                sum += l[i * N + k] * l[j * N + k];
            assert_true(fabs(sum - h[i * N + j]) < 1e-9 * h[0]);
        }
    for (i = 0; i < ROWS * N; i++)
        x[i] = y[i] = (double)test_rng_f32(&r);
    assert_true(q35_linalg_solve(pool, N, l, ROWS, y));
    for (i = 0; i < ROWS; i++)
        for (j = 0; j < N; j++) {
            double sum = 0;
            for (k = 0; k < N; k++)
                sum += y[i * N + k] * h[k * N + j];
            assert_true(fabs(sum - x[i * N + j]) < 1e-6);
        }
    h[5 * N + 5] = -1;
    assert_false(q35_linalg_cholesky(pool, N, h));
    free(h);
    free(l);
    free(x);
    free(y);
}

/* The outputs' squared error e H e^T of a decoded matrix, relative. */
static double output_error(uint32_t rows, uint32_t cols, const double *h, const float *w,
                           const float *back)
{
    double error = 0, norm = 0;
    uint32_t r, i, j;
    for (r = 0; r < rows; r++)
        for (i = 0; i < cols; i++)
            for (j = 0; j < cols; j++) {
                const float *a = w + (size_t)r * cols, *b = back + (size_t)r * cols;
                double hij = h[(size_t)i * cols + j];
                error += ((double)a[i] - (double)b[i]) * hij * ((double)a[j] - (double)b[j]);
                norm += (double)a[i] * hij * (double)a[j];
            }
    return sqrt(error / norm);
}

enum { ROWS = 32, COLS = 200, TOKENS = 900 };

struct fixture {
    double h[COLS * COLS];
    float w[ROWS * COLS], back[ROWS * COLS];
};

static struct fixture *fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct test_rng r = {5};
    uint32_t i;
    assert_non_null(f);
    draw_moments(&r, COLS, TOKENS, f->h);
    for (i = 0; i < ROWS * COLS; i++)
        f->w[i] = test_rng_f32(&r) + test_rng_f32(&r) + test_rng_f32(&r);
    return f;
}

/* Encodes with or without feedback; *said: the error that the encoder claims. */
static double encoded_error(struct fixture *f, struct q35_encode_params *p, bool feedback,
                            double *said)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_dense_rows dense = {f->w, COLS};
    struct q35_feedback fb = {0};
    struct q35_encode_stats stats;
    uint8_t *blob = aligned_alloc(64, (q35_blob_bytes(p->scheme, ROWS, COLS) + 63) & ~63ull);
    if (feedback)
        assert_int_equal(q35_feedback_init(&fb, pool, COLS, f->h, NULL, 1e-5, p, &err), Q35_OK);
    p->feedback = feedback ? &fb : NULL;
    assert_int_equal(
        q35_encode_matrix(p, ROWS, COLS, q35_dense_rows_read, &dense, blob, &stats, &err), Q35_OK);
    assert_int_equal(q35_decode_matrix(p->scheme, ROWS, COLS, p->rotate ? q35_rot_block(COLS) : 0,
                                       p->rot_seed, blob, f->back, &err),
                     Q35_OK);
    if (said)
        *said = sqrt(stats.output_error2 / stats.output2);
    q35_feedback_fini(&fb);
    free(blob);
    return output_error(ROWS, COLS, f->h, f->w, f->back);
}

static void test_feedback_lowers_the_error(void **state)
{
    static const struct {
        uint32_t scheme;
        bool rotate;
        double gain; /* of the error without feedback is left at most */
    } cases[] = {{Q35_SCHEME_TRELLIS, true, 0.6},  {Q35_SCHEME_TRELLIS, false, 0.7},
                 {Q35_SCHEME_TRELLIS2, true, 0.6}, {Q35_SCHEME_TRELLIS2, false, 0.7},
                 {Q35_SCHEME_VQ2, true, 0.6},      {Q35_SCHEME_SINGLE, true, 0.6},
                 {Q35_SCHEME_ALT43, true, 0.6},    {Q35_SCHEME_TRIPLE, true, 0.6},
                 {Q35_SCHEME_TRIPLE, false, 0.7}};
    struct fixture *f = fixture_new();
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(cases); i++) {
        struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
        double plain, fed, said;
        p.scheme = cases[i].scheme;
        p.rotate = cases[i].rotate;
        p.effort = Q35_EFFORT_FAST;
        plain = encoded_error(f, &p, false, NULL);
        fed = encoded_error(f, &p, true, &said);
        if (fed > cases[i].gain * plain)
            fail_msg("case %zu: %.4f with feedback, %.4f without", i, fed, plain);
        /* the encoder knows what it has done: but for the damping and the padding */
        if (fabs(said - fed) > 0.05 * fed)
            fail_msg("case %zu: the error is %.5f, the encoder says %.5f", i, fed, said);
    }
    free(f);
}

/* Going through the columns again lowers what the outputs err by, and the encoder knows by how
 * much. */
static void test_sweeps_lower_it_further(void **state)
{
    static const struct {
        uint32_t scheme;
        bool rotate;
        double gain[2]; /* of the error of one sweep less is left at most */
    } cases[] = {
        {Q35_SCHEME_TRELLIS, true, {0.95, 0.9995}}, {Q35_SCHEME_TRELLIS, false, {0.95, 0.9995}},
        {Q35_SCHEME_TRELLIS2, true, {0.97, 1.001}}, {Q35_SCHEME_TRELLIS2, false, {0.97, 1.001}},
        {Q35_SCHEME_VQ2, true, {0.95, 0.9995}},     {Q35_SCHEME_SINGLE, true, {0.95, 0.9995}},
        {Q35_SCHEME_ALT43, true, {0.95, 0.9995}},   {Q35_SCHEME_TRIPLE, true, {0.9995, 1}}};
    struct fixture *f = fixture_new();
    size_t i, n;
    (void)state;
    for (i = 0; i < Q35_COUNT(cases); i++) {
        struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
        double before, now, said;
        p.scheme = cases[i].scheme;
        p.rotate = cases[i].rotate;
        before = encoded_error(f, &p, true, NULL);
        for (n = 0; n < 2; n++, before = now) {
            p.sweeps = (uint32_t)n + 1;
            now = encoded_error(f, &p, true, &said);
            if (now > cases[i].gain[n] * before)
                fail_msg("case %zu: %.5f after %zu sweeps, %.5f before", i, now, n + 1, before);
            if (fabs(said - now) > 0.05 * now)
                fail_msg("case %zu: the error is %.5f, the encoder says %.5f", i, now, said);
        }
    }
    free(f);
}

static void test_feedback_is_refused(void **state)
{
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    struct fixture *f = fixture_new();
    struct q35_feedback fb;
    struct q35_dense_rows dense = {f->w, COLS / 2};
    (void)state;
    assert_int_equal(q35_feedback_init(&fb, pool, COLS, f->h, NULL, 0.01, &p, &err), Q35_OK);
    p.feedback = &fb;
    assert_int_equal(q35_encode_matrix(&p, ROWS, COLS / 2, q35_dense_rows_read, &dense,
                                       (uint8_t *)f->back, NULL, &err),
                     Q35_E_INVALID);
    p.scheme = Q35_SCHEME_SINGLE;
    dense.cols = COLS;
    assert_int_equal(q35_encode_matrix(&p, ROWS, COLS, q35_dense_rows_read, &dense,
                                       (uint8_t *)f->back, NULL, &err),
                     Q35_E_INVALID);
    q35_feedback_fini(&fb);
    f->h[0] = -1e9; /* not the moments of anything */
    assert_int_equal(q35_feedback_init(&fb, pool, COLS, f->h, NULL, 0.01, &p, &err), Q35_E_INVALID);
    free(f);
}

static void test_scales(void **state)
{
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    struct fixture *f = fixture_new();
    double norm2[COLS];
    float scale[COLS];
    uint32_t tie[COLS], i, big = 0;
    struct q35_smooth s = {COLS, f->h, norm2, NULL, false, 0.01, &p};
    (void)state;
    for (i = 0; i < COLS; i++) {
        norm2[i] = 1;
        tie[i] = i / 10 * 10;
    }
    assert_int_equal(q35_smooth_search(&s, pool, scale, &err), Q35_OK);
    for (i = 0; i < COLS; i++) /* columns with large inputs get large scales */
        big += (i % 7 == 0) == (scale[i] > 1.3f);
    assert_true(big > COLS * 9 / 10);
    s.tie = tie;
    assert_int_equal(q35_smooth_search(&s, pool, scale, &err), Q35_OK);
    for (i = 0; i < COLS; i++)
        assert_true(scale[i] == scale[tie[i]]);
    free(f);
}

/* The corrected weights do with the changed inputs nearly what the weights did with the old. */
static void test_correction(void **state)
{
    enum { N = 60, T = 500 };
    static float x[T][64], y[T][64], out[2][N];
    struct q35_error err = Q35_ERROR_INIT;
    struct test_rng r = {6};
    struct q35_moments m;
    float w[2][N], *p;
    double before = 0, after = 0;
    uint32_t t, i, j;
    (void)state;
    for (t = 0; t < T; t++)
        for (i = 0; i < N; i++) {
            x[t][i] = test_rng_f32(&r);
            y[t][i] = 0.9f * x[t][i] + (i ? 0.2f * x[t][i - 1] : 0) + 0.02f * test_rng_f32(&r);
        }
    assert_int_equal(q35_moments_init(&m, N, true, &err), Q35_OK);
    for (t = 0; t < T; t += 100) {
        q35_linalg_outer(pool, 100, N, 64, y[t], y[t], false, m.h);
        q35_linalg_outer(pool, 100, N, 64, x[t], y[t], false, m.c);
    }
    assert_int_equal(q35_moments_correction(&m, pool, 1e-4, 1, &p, &err), Q35_OK);
    for (i = 0; i < 2 * N; i++)
        w[i / N][i % N] = test_rng_f32(&r);
    for (i = 0; i < 2; i++)
        for (j = 0; j < N; j++) {
            out[i][j] = w[i][j];
            for (t = 0; t < N; t++)
                out[i][j] += w[i][t] * p[t * 64 + j];
        }
    for (t = 0; t < T; t++)
        for (i = 0; i < 2; i++) {
            double want = 0, old = 0, new = 0;
            for (j = 0; j < N; j++) {
                want += (double)w[i][j] * (double)x[t][j];
                old += (double)w[i][j] * (double)y[t][j];
                new += (double)out[i][j] * (double)y[t][j];
            }
            before += (old - want) * (old - want);
            after += (new - want) * (new - want);
        }
    assert_true(after < 0.02 * before);
    free(p);
    q35_moments_fini(&m);
}

static uint64_t budget_bytes(const struct q35_budget_item *items, uint32_t n, double *cost)
{
    uint64_t bytes = 0;
    uint32_t i;
    for (*cost = 0, i = 0; i < n; i++)
        if (items[i].n) {
            assert_true(items[i].chosen < items[i].n);
            bytes += items[i].option[items[i].chosen].bytes;
            *cost += items[i].option[items[i].chosen].cost;
        }
    return bytes;
}

/* Against every choice there is. */
static void test_budget(void **state)
{
    struct q35_budget_item items[] = {
        {2, {{0.1, 100}, {0, 200}}, 9},
        {3, {{0.5, 100}, {0, 300}, {0.9, 60}}, 9},
        {2, {{0, 100}, {0.3, 50}}, 9},
        {2, {{9, 100}, {9, 100}}, 9}, /* nothing to gain */
        {0, {{0, 0}}, 9},             /* takes no part */
        {1, {{1, 40}}, 9},
        {3, {{0.5, 5}, {0.2, 5}, {0.6, 1}}, 9},
    };
    struct q35_error err = Q35_ERROR_INIT;
    const uint32_t n = Q35_COUNT(items), few = 100 + 60 + 50 + 100 + 40 + 1;
    uint64_t budget;
    double cost, before = 1e9;
    (void)state;
    assert_int_equal(q35_budget_spend(items, n, few - 1, &err), Q35_E_INVALID);
    for (budget = few; budget < few + 400; budget += 3) {
        double least = 1e9;
        uint32_t choice, i, c;
        assert_int_equal(q35_budget_spend(items, n, budget, &err), Q35_OK);
        assert_true(budget_bytes(items, n, &cost) <= budget);
        for (choice = 0; choice < 2187; choice++) {
            double sum = 0;
            uint64_t bytes = 0;
            for (i = 0, c = choice; i < n; i++, c /= 3) {
                if (c % 3 >= items[i].n && items[i].n)
                    break;
                sum += items[i].n ? items[i].option[c % 3].cost : 0;
                bytes += items[i].n ? items[i].option[c % 3].bytes : 0;
            }
            if (i == n && bytes <= budget && sum < least)
                least = sum;
        }
        assert_true(fabs(cost - least) < 1e-9 && cost <= before);
        before = cost;
    }
    assert_int_equal(q35_budget_spend(items, n, 1u << 30, &err), Q35_OK); /* in coarse units */
    assert_true(budget_bytes(items, n, &cost) == 100 + 200 + 300 + 100 + 40 + 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outer),
        cmocka_unit_test(test_cholesky_and_solve),
        cmocka_unit_test(test_feedback_lowers_the_error),
        cmocka_unit_test(test_sweeps_lower_it_further),
        cmocka_unit_test(test_feedback_is_refused),
        cmocka_unit_test(test_scales),
        cmocka_unit_test(test_correction),
        cmocka_unit_test(test_budget),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
