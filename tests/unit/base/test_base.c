/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"
#include "core/base/base.h"

static void fail_fills_the_record(void **state)
{
    struct q35_error err = {0};
    (void)state;
    assert_int_equal(q35_fail(&err, Q35_E_IO, "file %s", "x"), Q35_E_IO);
    assert_string_equal(err.message, "file x");
    assert_int_equal(err.status, Q35_E_IO);
    assert_int_equal(err.layer, Q35_NO_LAYER);
    q35_error_prefix(&err, "%s:%d", "a.ini", 3);
    assert_string_equal(err.message, "a.ini:3: file x");
    assert_int_equal(q35_fail(NULL, Q35_E_IO, "nobody listens"), Q35_E_IO);
}

static void long_messages_are_cut(void **state)
{
    struct q35_error err;
    char big[2000];
    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    q35_fail(&err, Q35_E_IO, "%s", big);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    q35_fail_errno(&err, Q35_E_IO, 2, "%s", big);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_int_equal(err.native_code, 2);
}

static void sizes_are_checked(void **state)
{
    uint64_t v;
    (void)state;
    assert_true(q35_mul_size(1u << 31, 1u << 31, &v));
    assert_true(v == (uint64_t)1 << 62);
    assert_false(q35_mul_size((uint64_t)1 << 33, (uint64_t)1 << 31, &v));
    assert_false(q35_add_size(UINT64_MAX, 1, &v));
}

static void strings_grow(void **state)
{
    struct q35_str s = {0};
    int i;
    (void)state;
    for (i = 0; i < 1000; i++)
        q35_str_addf(&s, "%d,", i);
    assert_int_equal(s.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_memory_equal(s.data + s.len - 4, "999,", 5);
    q35_str_clear(&s);
    assert_string_equal(s.data, "");
    assert_false(s.failed);
    q35_str_fini(&s);
}

static void files_say_what_is_wrong(void **state)
{
    struct q35_file f;
    struct q35_error err;
    char *text;
    size_t n;
    (void)state;
    assert_int_equal(q35_file_map(&f, "/nonexistent/q35", &err), Q35_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nonexistent/q35"));
    assert_int_equal(q35_file_map(&f, "/", &err), Q35_E_IO);
    assert_int_equal(q35_file_read("/proc/self/exe", 16, &text, &n, &err), Q35_E_FORMAT);
    assert_null(text);
}

static void near_words(void **state)
{
    static const char *const known[] = {"port",    "host", "path", "max_queue", "context",
                                        "threads", "temp", "json", NULL};
    static const struct {
        const char *word, *best;
    } cases[] = {{"prot", "port"},
                 {"Port", "port"},
                 {"max_que", "max_queue"},
                 {"maxqueue", "max_queue"},
                 {"thread", "threads"},
                 {"temperature", "temp"},
                 {"context_length", "context"},
                 {"xyz", NULL},
                 {"", NULL},
                 {"pa", NULL},
                 {"unrelated", NULL}};
    (void)state;
    for (size_t i = 0; i < Q35_COUNT(cases); i++) {
        struct q35_nearest n = {0};
        char text[96], want[96] = "";
        for (size_t k = 0; known[k]; k++)
            q35_nearest_try(&n, cases[i].word, known[k]);
        if (cases[i].best)
            snprintf(want, sizeof(want), ", did you mean '%s'?", cases[i].best);
        assert_string_equal(q35_nearest_text(&n, text), want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_the_record),   cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(sizes_are_checked),       cmocka_unit_test(strings_grow),
        cmocka_unit_test(files_say_what_is_wrong), cmocka_unit_test(near_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
