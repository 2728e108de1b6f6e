/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <math.h>

#include "core/quant/encode.h"
#include "q35/arith.h"

static const uint32_t schemes[] = {Q35_SCHEME_ALT43,    Q35_SCHEME_VQ2,    Q35_SCHEME_TRELLIS,
                                   Q35_SCHEME_TRELLIS2, Q35_SCHEME_SINGLE, Q35_SCHEME_TRIPLE};

static float gaussian(struct test_rng *r)
{
    double u = ((double)(test_rng_u64(r) >> 11) + 0.5) * 0x1p-53;
    double v = (double)(test_rng_u64(r) >> 11) * 0x1p-53;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static float *gaussian_matrix(uint32_t rows, uint32_t cols, uint64_t seed)
{
    struct test_rng r = {seed};
    float *w = malloc(sizeof(float) * rows * cols);
    size_t i;
    assert_non_null(w);
    for (i = 0; i < (size_t)rows * cols; i++)
        w[i] = 0.02f * gaussian(&r);
    return w;
}

/* A blob filled with rubbish first, so that a byte left unwritten shows. */
static uint8_t *encode(const struct q35_encode_params *p, uint32_t rows, uint32_t cols,
                       const float *w, int fill, struct q35_encode_stats *stats)
{
    uint64_t n = q35_blob_bytes(p->scheme, rows, cols);
    struct q35_dense_rows d = {w, cols};
    struct q35_error err = Q35_ERROR_INIT;
    uint8_t *blob = malloc(n);
    assert_non_null(blob);
    memset(blob, fill, n);
    if (q35_encode_matrix(p, rows, cols, q35_dense_rows_read, &d, blob, stats, &err) != Q35_OK)
        fail_msg("%s", err.message);
    return blob;
}

/* Relative RMSE between a matrix and a decoded blob. */
static double rmse(const struct q35_encode_params *p, uint32_t rows, uint32_t cols, const float *w,
                   const uint8_t *blob)
{
    float *out = malloc(sizeof(float) * rows * cols);
    struct q35_error err = Q35_ERROR_INIT;
    double e = 0, n = 0;
    size_t i;
    assert_non_null(out);
    assert_int_equal(q35_decode_matrix(p->scheme, rows, cols, p->rotate ? q35_rot_block(cols) : 0,
                                       p->rot_seed, blob, out, &err),
                     Q35_OK);
    for (i = 0; i < (size_t)rows * cols; i++) {
        e += ((double)w[i] - (double)out[i]) * ((double)w[i] - (double)out[i]);
        n += (double)w[i] * (double)w[i];
    }
    free(out);
    return n > 0 ? sqrt(e / n) : sqrt(e);
}

static void gaussian_error_is_as_promised(void **state)
{
    static const double most[] = {0.149, 0.1245, 0.1025, 0.0985, 0.0145, 0.229};
    uint32_t rows = 64, cols = 1152, i; /* whole tiles of all schemes */
    float *w = gaussian_matrix(rows, cols, 21);
    (void)state;
    for (i = 0; i < Q35_COUNT(schemes); i++) {
        struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
        struct q35_encode_stats stats;
        double e;
        p.scheme = schemes[i];
        uint8_t *blob = encode(&p, rows, cols, w, 0, &stats);
        e = rmse(&p, rows, cols, w, blob);
        if (e > most[i])
            fail_msg("scheme %u: %.3f%%, at most %.3f%%", schemes[i] & 255, 100 * e, 100 * most[i]);
        assert_true(e > 0.6 * most[i]); /* less would contradict the rate-distortion bound */
        assert_true(fabs(q35_encode_rmse(&stats) - e) < 1e-3 * e);
        free(blob);
    }
    free(w);
}

static void same_bytes_at_any_thread_count_and_cpu(void **state)
{
    static const struct {
        uint32_t threads;
        const char *kernels;
    } variant[] = {{3, NULL}, {2, "c"}, {1, "avx2"}, {1, "avx512"}};
    uint32_t rows = 34, cols = 200, i, k; /* tiles of all schemes that are not whole */
    float *w = gaussian_matrix(rows, cols, 22);
    (void)state;
    for (i = 0; i < Q35_COUNT(schemes); i++) {
        struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
        uint64_t n = q35_blob_bytes(schemes[i], rows, cols);
        uint8_t *one, *other;
        p.scheme = schemes[i];
        p.threads = 1;
        p.refine = 1;
        one = encode(&p, rows, cols, w, 0, NULL);
        for (k = 0; k < 4; k++) {
            struct q35_dense_rows d = {w, cols};
            p.threads = variant[k].threads;
            p.kernels = variant[k].kernels;
            other = malloc(n);
            assert_non_null(other);
            memset(other, 0xa5, n);
            enum q35_status st =
                q35_encode_matrix(&p, rows, cols, q35_dense_rows_read, &d, other, NULL, NULL);
            if (st != Q35_E_UNSUPPORTED) {
                assert_int_equal(st, Q35_OK);
                assert_memory_equal(one, other, n);
            }
            free(other);
        }
        free(one);
    }
    free(w);
}

/* y = W x by the contract's own steps: rotated activations against stored rows and scales. */
static void products_with_rotated_activations(void **state)
{
    uint32_t rows = 20, cols = 192, padded = 256, block = q35_rot_block(cols), r, c;
    float *w = gaussian_matrix(rows, cols, 23);
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    struct test_rng rng = {24};
    float x[256] = {0}, rot[256], scale;
    double error = 0, norm = 0;
    (void)state;
    p.scheme = Q35_SCHEME_SINGLE;
    p.rot_seed = 77;
    uint8_t *blob = encode(&p, rows, cols, w, 0, NULL);
    for (c = 0; c < cols; c++)
        x[c] = gaussian(&rng);
    memcpy(rot, x, sizeof(x));
    q35_rotate(rot, padded, block, p.rot_seed);
    for (r = 0; r < rows; r++) {
        const uint8_t *tile = blob + q35_codes_offset(rows) + (r / 16) * (padded / 64) * 896;
        double y = 0, want = 0;
        for (c = 0; c < padded / 64; c++) {
            int8_t q[Q35_MAX_TILE_COLS];
            uint32_t i;
            q35_decode_row(p.scheme, (const struct q35_tables *)blob, tile + c * 896, r % 16, q);
            for (i = 0; i < 64; i++)
                y += (double)q[i] * (double)rot[c * 64 + i];
        }
        memcpy(&scale, blob + 512 + 4 * r, 4);
        y *= (double)scale;
        for (c = 0; c < cols; c++)
            want += (double)w[r * cols + c] * (double)x[c];
        error += (y - want) * (y - want);
        norm += want * want;
    }
    assert_true(sqrt(error / norm) < 0.02);
    free(blob);
    free(w);
}

static void rotation_tames_outliers(void **state)
{
    uint32_t rows = 32, cols = 512, i;
    float *w = gaussian_matrix(rows, cols, 25);
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    double with, without;
    (void)state;
    for (i = 0; i < rows * cols; i += 97)
        w[i] *= 12;
    uint8_t *blob = encode(&p, rows, cols, w, 0, NULL);
    with = rmse(&p, rows, cols, w, blob);
    free(blob);
    p.rotate = false;
    blob = encode(&p, rows, cols, w, 0, NULL);
    without = rmse(&p, rows, cols, w, blob);
    free(blob);
    free(w);
    assert_true(with < 0.108);
    assert_true(without > 1.3 * with);
}

static void odd_shapes_and_values(void **state)
{
    static const uint32_t shape[][2] = {{1, 1}, {1, 129}, {17, 127}, {33, 640}, {16, 128}};
    uint32_t i, s, rotate;
    (void)state;
    for (i = 0; i < 5; i++)
        for (s = 0; s < Q35_COUNT(schemes); s++)
            for (rotate = 0; rotate < 2; rotate++) {
                uint32_t rows = shape[i][0], cols = shape[i][1];
                uint64_t n = q35_blob_bytes(schemes[s], rows, cols);
                float *w = gaussian_matrix(rows, cols, 26);
                struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
                p.scheme = schemes[s];
                p.rotate = rotate;
                uint8_t *blob = encode(&p, rows, cols, w, 0x00, NULL);
                uint8_t *again = encode(&p, rows, cols, w, 0xff, NULL);
                assert_memory_equal(blob, again, n);
                double e = rmse(&p, rows, cols, w, blob);
                if (e > (cols > 1 ? 0.23 : 0.3))
                    fail_msg("scheme %u, %u x %u, rotate %u: %.3f", p.scheme & 255, rows, cols,
                             rotate, e);
                free(blob);
                free(again);
                free(w);
            }
}

static void zero_and_extreme_rows(void **state)
{
    uint32_t rows = 18, cols = 256, c, r;
    float *w = gaussian_matrix(rows, cols, 27), *out = malloc(sizeof(float) * rows * cols);
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    (void)state;
    for (c = 0; c < cols; c++) {
        w[3 * cols + c] = 0;
        w[4 * cols + c] *= 1e30f;
        w[5 * cols + c] *= 1e-25f;
    }
    uint8_t *blob = encode(&p, rows, cols, w, 0, NULL);
    assert_int_equal(
        q35_decode_matrix(p.scheme, rows, cols, q35_rot_block(cols), p.rot_seed, blob, out, NULL),
        Q35_OK);
    for (r = 0; r < rows; r++) {
        double e = 0, n = 0;
        for (c = 0; c < cols; c++) {
            double a = (double)w[r * cols + c], b = (double)out[r * cols + c];
            assert_true(isfinite(b));
            e += (a - b) * (a - b);
            n += a * a;
        }
        assert_true(r == 3 ? e == 0 : sqrt(e / n) < 0.13);
    }
    free(blob);
    free(out);
    free(w);
}

static enum q35_status failing_read(void *ctx, uint32_t first, uint32_t count, float *out,
                                    struct q35_error *err)
{
    enum q35_status st = q35_dense_rows_read(ctx, first, count, out, err);
    return first >= 32 ? q35_fail(err, Q35_E_IO, "row %u is gone", first) : st;
}

static void errors_name_their_place(void **state)
{
    uint32_t rows = 64, cols = 200;
    float *w = gaussian_matrix(rows, cols, 28);
    struct q35_dense_rows d = {w, cols};
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    uint8_t *blob = malloc(q35_blob_bytes(p.scheme, rows, cols));
    (void)state;
    p.threads = 2;
    assert_int_equal(q35_encode_matrix(&p, rows, cols, failing_read, &d, blob, NULL, &err),
                     Q35_E_IO);
    assert_non_null(strstr(err.message, "is gone"));
    w[37 * cols + 11] = NAN;
    assert_int_equal(q35_encode_matrix(&p, rows, cols, q35_dense_rows_read, &d, blob, NULL, &err),
                     Q35_E_FORMAT);
    assert_non_null(strstr(err.message, "row 37, column 11 is not a number"));
    w[37 * cols + 11] = INFINITY;
    assert_int_equal(q35_encode_matrix(&p, rows, cols, q35_dense_rows_read, &d, blob, NULL, &err),
                     Q35_E_FORMAT);
    assert_non_null(strstr(err.message, "infinite"));
    p.scheme = 0x123;
    assert_int_equal(q35_encode_matrix(&p, rows, cols, q35_dense_rows_read, &d, blob, NULL, &err),
                     Q35_E_INVALID);
    p.scheme = Q35_SCHEME_TRELLIS;
    assert_int_equal(q35_encode_matrix(&p, 0, cols, q35_dense_rows_read, &d, blob, NULL, &err),
                     Q35_E_INVALID);
    assert_int_equal(
        q35_encode_matrix(&p, rows, Q35_MAX_COLS + 1, q35_dense_rows_read, &d, blob, NULL, &err),
        Q35_E_INVALID);
    free(blob);
    free(w);
}

struct count {
    uint32_t calls, last;
};

static void count_progress(void *ctx, uint32_t rows_done)
{
    struct count *c = ctx;
    assert_true(rows_done > c->last);
    c->last = rows_done;
    c->calls++;
}

static void progress_reaches_the_end(void **state)
{
    uint32_t rows = 50, cols = 128;
    float *w = gaussian_matrix(rows, cols, 29);
    struct count count = {0, 0};
    struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
    (void)state;
    p.progress = count_progress;
    p.progress_ctx = &count;
    free(encode(&p, rows, cols, w, 0, NULL));
    assert_int_equal(count.calls, 4);
    assert_int_equal(count.last, 64);
    free(w);
}

static void keeps_range(const struct q35_tables *t)
{
    uint32_t c, p;
    for (c = 0; c < 128; c++)
        for (p = 0; p < 128; p++) {
            assert_true(abs(t->a0[c] + 8 * (t->b[p] >> 4)) <= 127);
            assert_true(abs(t->a1[c] + 8 * (t->b[p] & 15)) <= 127);
        }
}

/* Tables follow weights that are far from Gaussian, within what the format allows, and only where
 * asked to. */
static void tables_follow_the_weights(void **state)
{
    static const uint32_t some[] = {Q35_SCHEME_VQ2, Q35_SCHEME_TRELLIS, Q35_SCHEME_TRELLIS2,
                                    Q35_SCHEME_ALT43, Q35_SCHEME_SINGLE};
    uint32_t rows = 64, cols = 256, i, k;
    float *w = gaussian_matrix(rows, cols, 24);
    (void)state;
    for (i = 0; i < rows * cols; i++) /* heavy in the middle and at the ends */
        w[i] = w[i] * w[i] * w[i] + (i % 64 < 2 ? 3 * w[i] : 0);
    for (i = 0; i < Q35_COUNT(some); i++) {
        const struct q35_tables *shipped = q35_shipped_tables(some[i]);
        double e[2];
        for (k = 0; k < 2; k++) {
            struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
            struct q35_encode_stats stats;
            uint8_t *blob;
            p.scheme = some[i];
            p.rotate = false;
            p.refine = 3 * k;
            blob = encode(&p, rows, cols, w, 0, &stats);
            e[k] = rmse(&p, rows, cols, w, blob);
            assert_true(fabs(q35_encode_rmse(&stats) - e[k]) < 1e-3 * e[k]);
            assert_int_equal(!memcmp(blob, shipped, sizeof(*shipped)), k == 0 || i >= 3);
            assert_memory_equal(blob + 256, shipped->b, 256); /* B and C stay */
            keeps_range((const struct q35_tables *)(const void *)blob);
            free(blob);
        }
        if (i < 3 && e[1] > 0.98 * e[0])
            fail_msg("scheme %u: %.3f%%, with shipped tables %.3f%%", some[i] & 255, 100 * e[1],
                     100 * e[0]);
    }
    free(w);
}

/* For Gaussian weights the shipped tables are the best already: fitting them changes little, and
 * the search goes on as hard as before. */
static void tables_stay_for_gaussian_weights(void **state)
{
    static const uint32_t some[] = {Q35_SCHEME_VQ2, Q35_SCHEME_TRELLIS, Q35_SCHEME_TRELLIS2};
    uint32_t rows = 32, cols = 2048, i, k;
    float *w = gaussian_matrix(rows, cols, 25);
    (void)state;
    for (i = 0; i < Q35_COUNT(some); i++) {
        double e[2];
        for (k = 0; k < 2; k++) {
            struct q35_encode_params p = Q35_ENCODE_PARAMS_INIT;
            uint8_t *blob;
            p.scheme = some[i];
            p.effort = Q35_EFFORT_HIGH;
            p.refine = k;
            blob = encode(&p, rows, cols, w, 0, NULL);
            e[k] = rmse(&p, rows, cols, w, blob);
            free(blob);
        }
        if (e[1] > 1.003 * e[0])
            fail_msg("scheme %u: %.3f%%, with shipped tables %.3f%%", some[i] & 255, 100 * e[1],
                     100 * e[0]);
    }
    free(w);
}

/* What the format demands of shipped tables: every possible sum fits. */
static void shipped_tables_keep_their_range(void **state)
{
    uint32_t s, c, p;
    (void)state;
    for (s = 0; s < Q35_COUNT(schemes); s++) {
        const struct q35_tables *t = q35_shipped_tables(schemes[s]);
        int low[3] = {999, 999, 999}, high[3] = {-999, -999, -999}, d;
        assert_non_null(t);
        for (c = 0; c < 128; c++)
            for (p = 0; p < 128; p++) {
                int n0 = t->b[p] / 16, n1 = t->b[p] % 16;
                int v[3] = {t->a0[c] + 8 * n0, t->a1[c] + 8 * n1, t->a2[c] + 8 * (n0 ^ n1)};
                for (d = 0; d < (int)Q35_SCHEME_WEIGHTS(schemes[s]); d++) {
                    low[d] = v[d] < low[d] ? v[d] : low[d];
                    high[d] = v[d] > high[d] ? v[d] : high[d];
                }
            }
        for (d = 0; d < (int)Q35_SCHEME_WEIGHTS(schemes[s]); d++) {
            assert_in_range(-low[d], 0, 127);
            assert_in_range(high[d], 0, 127);
        }
    }
    for (c = 0; c < 128; c++) { /* alt43 is separable */
        const struct q35_tables *t = q35_shipped_tables(Q35_SCHEME_ALT43);
        assert_int_equal(t->a0[c], t->a0[c & 0x78]);
        assert_int_equal(t->a1[c], t->a1[c & 7]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gaussian_error_is_as_promised),
        cmocka_unit_test(same_bytes_at_any_thread_count_and_cpu),
        cmocka_unit_test(products_with_rotated_activations),
        cmocka_unit_test(rotation_tames_outliers),
        cmocka_unit_test(odd_shapes_and_values),
        cmocka_unit_test(zero_and_extreme_rows),
        cmocka_unit_test(errors_name_their_place),
        cmocka_unit_test(progress_reaches_the_end),
        cmocka_unit_test(tables_follow_the_weights),
        cmocka_unit_test(tables_stay_for_gaussian_weights),
        cmocka_unit_test(shipped_tables_keep_their_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
