/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/test.h"

#include "core/config/config.h"
#include "core/config/ini.h"
#include "core/config/keys.h"

/* The files of configs/: each loads, and q35d.ini shows every key with its true default. */

static char **files;
static int file_count;

static void all_load(void **state)
{
    (void)state;
    assert_true(file_count >= 4);
    for (int i = 0; i < file_count; i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_config *c;
        if (q35_config_load(&c, files[i], &err) != Q35_OK)
            fail_msg("%s", err.message);
        assert_non_null(c->model_path);
        assert_true(c->backends[0].required);
        q35_config_free(c);
    }
}

struct seen {
    char section[Q35_INI_MAX_SECTION + 1];
    uint32_t keys; /* bit i: key i of the table was there */
};

static enum q35_status on_section(void *user, const char *name, int line, struct q35_error *err)
{
    struct seen *s = user;
    (void)line;
    (void)err;
    snprintf(s->section, sizeof(s->section), "%s", name);
    return Q35_OK;
}

static enum q35_status on_pair(void *user, const char *key, const char *value, int line,
                               struct q35_error *err)
{
    struct seen *s = user;
    uint32_t n;
    const struct q35_key *keys = q35_config_keys(&n);
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(keys[i].section, s->section) == 0 && strcmp(keys[i].name, key) == 0) {
            s->keys |= 1u << i;
            if (keys[i].fallback && strcmp(keys[i].fallback, value) != 0)
                return q35_fail(err, Q35_E_INVALID, "line %d: %s has the default %s", line, key,
                                keys[i].fallback);
            return Q35_OK;
        }
    return strncmp(s->section, "backend", 7) == 0 || strncmp(key, "layers.", 7) == 0
               ? Q35_OK
               : q35_fail(err, Q35_E_INVALID, "line %d: there is no key %s", line, key);
}

/* With the marks of ";key = default" and "#key = example" removed the file must still load. */
static void full_reference(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct seen seen = {.keys = 0};
    struct q35_ini_sink sink = {&seen, on_section, on_pair};
    struct q35_config *c;
    const struct q35_key *keys;
    char *text = NULL;
    size_t bytes;
    uint32_t n;
    (void)state;
    for (int i = 0; i < file_count && !text; i++)
        if (strstr(files[i], "/q35d.ini"))
            assert_int_equal(q35_file_read(files[i], 1u << 20, &text, &bytes, &err), Q35_OK);
    assert_non_null(text);
    for (char *p = text; (p = strchr(p, '\n')); p++)
        if ((p[1] == ';' || p[1] == '#') && p[2] >= 'a' && p[2] <= 'z')
            p[1] = ' ';
    if (q35_ini_parse(text, bytes, "q35d.ini", &sink, &err) != Q35_OK)
        fail_msg("%s", err.message);
    keys = q35_config_keys(&n);
    assert_true(n < 32);
    for (uint32_t i = 0; i < n; i++)
        if (!(seen.keys >> i & 1))
            fail_msg("q35d.ini does not show %s of [%s]", keys[i].name, keys[i].section);
    if (q35_config_parse(&c, text, "q35d.ini", &err) != Q35_OK)
        fail_msg("%s", err.message);
    assert_int_equal(c->range_count, 2);
    q35_config_free(c);
    free(text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_load),
        cmocka_unit_test(full_reference),
    };
    files = argv + 1;
    file_count = argc - 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
