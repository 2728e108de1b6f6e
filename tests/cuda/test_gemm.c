/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Products of many tokens by a fake cuBLASLt: chosen by name or by measurement, refused, absent. */

#include "host.h"

static char logged[1000];

static void keep_log(void *ctx, uint32_t level, const char *message)
{
    size_t n = strlen(logged);
    (void)ctx;
    (void)level;
    snprintf(logged + n, sizeof(logged) - n, "%s\n", message);
}

/* A fixture with that choice of `prefill`; cublaslt: the library or a name that is nowhere. */
static void begin_with(struct fixture *f, const char *prefill, const char *cublaslt)
{
    pairs[2].value = prefill;
    pairs[3].value = cublaslt;
    entry.host.log = keep_log;
    logged[0] = '\0';
    fake_set("gemms", 0);
    begin(f, 0);
}

static const char *library(void)
{
    return getenv("FAKE_CUBLASLT");
}

/* The small model has 2 decoder layers of 4 products and a head. */
static void by_name(void **state)
{
    struct fixture f;
    long long after_open;
    (void)state;
    begin_with(&f, "cublaslt", library());
    after_open = fake_get("gemms");
    assert_true(after_open == 1); /* it has proven itself */
    assert_int_equal(step(&f, 1, 0, 16), Q35_OK);
    assert_true(fake_get("gemms") == after_open); /* few tokens stay with the kernel */
    assert_int_equal(step(&f, 1, 16, 17), Q35_OK);
    assert_true(fake_get("gemms") > after_open + 8);
    assert_int_equal(step(&f, 1, 33, 40), Q35_OK);
    end(&f);
    begin_with(&f, "kernel", library());
    assert_int_equal(step(&f, 1, 0, 40), Q35_OK);
    assert_true(fake_get("gemms") == 0);
    end(&f);
}

/* The products of a prefill of n tokens that the library computes. */
static long long gemms_of(struct fixture *f, uint32_t position, uint32_t n)
{
    long long before = fake_get("gemms");
    assert_int_equal(step(f, 1, position, n), Q35_OK);
    return fake_get("gemms") - before;
}

/* Both take turns until all shapes are decided; then the faster one stays, also for prompts of
 * about that length. */
static void by_measurement(void **state)
{
    struct fixture f;
    uint32_t slow, i;
    (void)state;
    for (slow = 0; slow < 2; slow++) {
        fake_set("gemm_us", slow ? 1001 : 300); /* QKV are one launch, or three */
        begin_with(&f, "auto", library());
        for (i = 0; i < 7; i++)
            (void)gemms_of(&f, 25 * i, 32 - i % 3);
        assert_non_null(strstr(logged, "ms by the kernel"));
        if (slow)
            assert_true(gemms_of(&f, 100, 30) == 0);
        else
            assert_true(gemms_of(&f, 100, 30) >= 9);
        (void)gemms_of(&f, 130, 33); /* a new length is measured anew */
        (void)gemms_of(&f, 130, 33);
        assert_true(gemms_of(&f, 130, 33) > 0);
        end(&f);
    }
}

/* A step of decoding of many sequences is captured once it is known how. */
static void in_graphs(void **state)
{
    struct fixture f;
    long long before, each;
    uint32_t i;
    (void)state;
    fake_set("gemm_us", 300);
    begin_with(&f, "auto", library());
    fake_set("graph_launches", 0);
    for (i = 0; i < 10; i++)
        assert_int_equal(step(&f, 20, i, 1), Q35_OK);
    before = fake_get("gemms");
    assert_int_equal(step(&f, 20, 10, 1), Q35_OK);
    each = fake_get("gemms") - before;
    assert_true(each >= 9);
    assert_true(fake_get("graph_launches") >= 2 && fake_get("graph_launches") <= 9);
    end(&f);
}

/* A refusal fails one run; from then on the kernel computes everything. */
static void refused(void **state)
{
    struct fixture f;
    long long n;
    (void)state;
    for (n = 2; n < 12; n += 3) {
        fake_set("gemm_fail_at", n);
        begin_with(&f, "cublaslt", library());
        assert_int_equal(step(&f, 1, 0, 20), Q35_E_INTERNAL);
        assert_int_equal(err.radius, Q35_RADIUS_REQUEST);
        assert_int_equal(err.native_code, 13);
        assert_non_null(strstr(err.message, "cuBLASLt"));
        assert_non_null(strstr(logged, "cuBLASLt is not used any more"));
        assert_true(gemms_of(&f, 0, 20) == 0);
        end(&f);
    }
    fake_set("gemm_fail_at", 1); /* when it is to prove itself */
    begin_with(&f, "cublaslt", library());
    assert_non_null(strstr(logged, "cuBLASLt is not used any more"));
    assert_true(gemms_of(&f, 0, 20) == 0);
    end(&f);
}

static void absent(void **state)
{
    struct fixture f;
    struct q35_device *dev;
    char *line;
    (void)state;
    begin_with(&f, "cublaslt", "libnowhere-cublasLt.so");
    line = strstr(logged, "no cuBLASLt");
    assert_non_null(line);
    assert_null(strstr(line + 1, "no cuBLASLt"));
    assert_non_null(strstr(line, "libnowhere"));
    assert_int_equal(step(&f, 1, 0, 40), Q35_OK);
    end(&f);
    pairs[3].value = "./libcublasLt.so";
    assert_int_equal(entry.api.open(&entry.host, &options, 0, &dev, &err), Q35_E_CONFIG);
    pairs[2].value = "fast";
    assert_int_equal(entry.api.open(&entry.host, &options, 0, &dev, &err), Q35_E_CONFIG);
    assert_non_null(strstr(err.message, "prefill = fast"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name), cmocka_unit_test(by_measurement), cmocka_unit_test(in_graphs),
        cmocka_unit_test(refused), cmocka_unit_test(absent),
    };
    int failed;
    if (host_load())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    q35_plugin_unload(&entry);
    return failed;
}
