/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What survives of a journal: all whole records, whatever happened to the end of the file. */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test.h"
#include "core/quant/journal.h"

static char path[64];

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "/tmp/q35-journal-%ld", (long)getpid());
    unlink(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static struct q35_journal *opened(uint64_t key)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_journal *j;
    enum q35_status st = q35_journal_open(&j, path, key, &err);
    if (st)
        fail_msg("%s", err.message);
    return j;
}

static void append(struct q35_journal *j, const char *text)
{
    struct q35_error err = Q35_ERROR_INIT;
    assert_int_equal(q35_journal_append(j, text, strlen(text), &err), Q35_OK);
}

/* The next record is text, or with NULL there is none. */
static void expect(struct q35_journal *j, const char *text)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t bytes;
    uint8_t *data;
    assert_int_equal(q35_journal_read(j, &data, &bytes, &err), Q35_OK);
    if (!text) {
        assert_null(data);
        return;
    }
    assert_non_null(data);
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(data, text, bytes);
    free(data);
}

static void write_three(void)
{
    struct q35_journal *j = opened(7);
    expect(j, NULL);
    append(j, "one");
    append(j, "");
    append(j, "the third");
    assert_int_equal(q35_journal_count(j), 3);
    q35_journal_close(j);
}

static void test_goes_on(void **state)
{
    struct q35_journal *j;
    (void)state;
    write_three();
    j = opened(7);
    expect(j, "one");
    expect(j, "");
    expect(j, "the third");
    expect(j, NULL);
    append(j, "fourth");
    q35_journal_close(j);
    j = opened(7);
    expect(j, "one");
    expect(j, "");
    expect(j, "the third");
    expect(j, "fourth");
    expect(j, NULL);
    q35_journal_remove(j);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* However many bytes are missing, the records before are whole, and a new one takes the place of
 * the torn one. */
static void test_torn(void **state)
{
    off_t size;
    struct stat s;
    (void)state;
    write_three();
    assert_int_equal(stat(path, &s), 0);
    for (size = s.st_size - 1; size > s.st_size - 9 - 16; size--) {
        struct q35_journal *j;
        assert_int_equal(truncate(path, size), 0);
        j = opened(7);
        expect(j, "one");
        expect(j, "");
        expect(j, NULL);
        append(j, "the third");
        q35_journal_close(j);
        assert_int_equal(stat(path, &s), 0);
        j = opened(7);
        expect(j, "one");
        expect(j, "");
        expect(j, "the third");
        expect(j, NULL);
        q35_journal_close(j);
    }
}

/* A changed byte ends what is believed. */
static void test_changed(void **state)
{
    struct q35_journal *j;
    FILE *f;
    (void)state;
    write_three();
    f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -2, SEEK_END), 0);
    assert_int_equal(fputc('X', f), 'X');
    fclose(f);
    j = opened(7);
    expect(j, "one");
    expect(j, "");
    expect(j, NULL);
    q35_journal_close(j);
}

static void refused(uint64_t key, enum q35_status status, const char *text)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_journal *j;
    assert_int_equal(q35_journal_open(&j, path, key, &err), status);
    assert_null(j);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, text));
}

static void test_refused(void **state)
{
    struct q35_journal *j;
    FILE *f;
    (void)state;
    write_three();
    refused(8, Q35_E_INVALID, "another model");
    j = opened(7);
    refused(7, Q35_E_BUSY, "in use");
    expect(j, "one");
    q35_journal_close(j);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs("somebody's notes, not to be lost", f) >= 0);
    fclose(f);
    refused(7, Q35_E_INVALID, "not what");
    f = fopen(path, "rb");
    assert_int_equal(fgetc(f), 's');
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
