/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/test.h"

#include <unistd.h>

#include "core/config/config.h"

#define B "[backend a]\npath = a.so\n"

static void values(void **state)
{
    static const char text[] = "# comment\n"
                               "[q35d]\n"
                               "  host = 0.0.0.0 ; inline\r\n"
                               "\tport=9\n"
                               "log_level = debug\n"
                               "api_key_file = keys/a b.txt\n"
                               "[model]\n"
                               "path = m.gguf\n"
                               "name = caf\xc3\xa9; not a comment\n"
                               "[backend cpu]\n"
                               "path = cpu_simd.so\n"
                               "required = yes\n"
                               "isolate = process\n"
                               "sha256 = "
                               "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789\n"
                               "threads = 2\n"
                               "bus:id = 3\n" /* refused below; here only to count lines */
                               "[schedule]\n";
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c;
    char copy[sizeof(text)];
    (void)state;
    assert_int_equal(q35_config_parse(&c, text, "dir/x.ini", &err), Q35_E_CONFIG);
    assert_null(c);
    assert_string_equal(err.message, "dir/x.ini:16: 'bus:id' is no name of an option");
    strcpy(copy, text);
    memcpy(strstr(copy, "bus:id"), "bus_id", 6);
    assert_int_equal(q35_config_parse(&c, copy, "dir/x.ini", &err), Q35_OK);
    assert_string_equal(c->path, "dir/x.ini");
    assert_string_equal(c->host, "0.0.0.0");
    assert_int_equal(c->port, 9);
    assert_string_equal(c->log_level, "debug");
    assert_string_equal(c->api_key_file, "dir/keys/a b.txt");
    assert_string_equal(c->model_path, "dir/m.gguf");
    assert_string_equal(c->model_name, "caf\xc3\xa9; not a comment");
    assert_int_equal(c->backend_count, 1);
    assert_string_equal(c->backends[0].name, "cpu");
    assert_string_equal(c->backends[0].path, "cpu_simd.so");
    assert_int_equal(c->backends[0].line, 10);
    assert_true(c->backends[0].required);
    assert_true(c->backends[0].isolate);
    assert_false(c->backends[0].require_certificate);
    assert_string_equal(c->backends[0].sha256,
                        "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789");
    assert_int_equal(c->backends[0].option_count, 2);
    assert_string_equal(c->backends[0].options[0].key, "threads");
    assert_string_equal(c->backends[0].options[0].value, "2");
    assert_int_equal(q35_config_option_line(&c->backends[0], "threads"), 15);
    assert_int_equal(q35_config_option_line(&c->backends[0], "bus_id"), 16);
    assert_int_equal(q35_config_option_line(&c->backends[0], "none"), 10);
    assert_null(q35_config_find(c, "cp"));
    q35_config_free(c);
}

static void defaults_and_paths(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c;
    (void)state;
    assert_int_equal(q35_config_parse(&c,
                                      B "[backend b]\npath = ../b.so\n[backend c]\npath = /c.so\n"
                                        "[schedule]\nplugin_dir = x:/y::z\n",
                                      "/etc/q.ini", &err),
                     Q35_OK);
    assert_string_equal(c->host, "127.0.0.1");
    assert_int_equal(c->port, 8035);
    assert_int_equal(c->max_batch, 512);
    assert_int_equal(c->max_sequences, 8);
    assert_int_equal(c->probe_seconds, 10);
    assert_string_equal(c->objective, "latency");
    assert_int_equal(q35_config_kv_type(c), Q35_KV_F16);
    assert_int_equal(q35_config_set(c, "kv_type", "int8", &err), Q35_OK);
    assert_int_equal(q35_config_kv_type(c), Q35_KV_INT8);
    assert_int_equal(q35_config_set(c, "kv_type", "int", &err), Q35_E_CONFIG);
    assert_int_equal(q35_config_kv_type(c), Q35_KV_INT8);
    assert_int_equal(q35_config_drafts(c), 0);
    assert_int_equal(q35_config_set(c, "draft", "lookup", &err), Q35_OK);
    assert_int_equal(q35_config_drafts(c), 7);
    assert_int_equal(q35_config_set(c, "draft", "look", &err), Q35_E_CONFIG);
    assert_string_equal(err.message, "draft = look: expected one of none|lookup");
    assert_int_equal(q35_config_set(c, "port", "1", &err), Q35_E_CONFIG);
    assert_null(c->model_path);
    assert_null(c->api_key_file);
    assert_string_equal(c->backends[0].path, "a.so");
    assert_string_equal(c->backends[1].path, "/etc/../b.so");
    assert_string_equal(c->backends[2].path, "/c.so");
    assert_string_equal(c->plugin_dir, "/etc/x:/y:/etc/z");
    assert_false(c->backends[0].required);
    q35_config_free(c);
    assert_int_equal(q35_config_default(&c, "cpu_simd", &err), Q35_OK);
    assert_string_equal(c->backends[0].name, "cpu_simd");
    assert_string_equal(c->backends[0].path, "cpu_simd.so");
    assert_true(c->backends[0].required);
    q35_config_free(c);
    assert_int_equal(q35_config_default(&c, "/no/such/x.so", &err), Q35_E_NOT_FOUND);
    assert_int_equal(q35_config_default(&c, "a\n[q35d]", &err), Q35_E_INVALID);
}

static void ranges(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c;
    (void)state;
    assert_int_equal(q35_config_parse(&c,
                                      "[schedule]\nlayers.a = 0-39\nlayers.a:1 = 40-78\n"
                                      "layers.a:12 = 79\n" B,
                                      "r", &err),
                     Q35_OK);
    assert_int_equal(c->range_count, 3);
    assert_string_equal(c->ranges[0].backend, "a");
    assert_int_equal(c->ranges[0].device, 0);
    assert_int_equal(c->ranges[0].first, 0);
    assert_int_equal(c->ranges[0].last, 39);
    assert_int_equal(c->ranges[1].device, 1);
    assert_int_equal(c->ranges[1].line, 3);
    assert_int_equal(c->ranges[2].device, 12);
    assert_int_equal(c->ranges[2].first, 79);
    assert_int_equal(c->ranges[2].last, 79);
    q35_config_free(c);
}

/* Each refused, with this message. */
static const struct {
    const char *text, *message;
} bad[] = {
    {B "[q35d]\nport = 70000\n", "t:4: port = 70000: expected a whole number from 0 to 65535"},
    {B "[q35d]\nport = -1\n", "t:4: port = -1: expected"},
    {B "[q35d]\nport = 18446744073709551617\n", "t:4: port = "},
    {B "[q35d]\nport = 1 2\n", "t:4: port = 1 2"},
    {B "[model]\npath = \"a b\"\n", "t:4: path = \"a b\": quotes are not needed"},
    {B "isa = 'c'\n", "t:3: isa = 'c': quotes are not needed"},
    {B "[q35d]\nport =\n", "t:4: port has no value"},
    {B "[q35d]\nport = ; nothing\n", "t:4: port has no value"},
    {B "[q35d]\nprot = 1\n", "t:4: unknown key 'prot' in [q35d], did you mean 'port'?"},
    {B "[q35d]\npath = 1\n", "t:4: unknown key 'path' in [q35d]; it belongs to [model]"},
    {B "[q35d]\nmax_batch = 1\n",
     "t:4: unknown key 'max_batch' in [q35d]; it belongs to [schedule]"},
    {B "[q35d]\nport = 1\nhost = x\nport = 1\n", "t:6: port again, first in line 4"},
    {B "[q35d]\nlog_level = loud\n", "t:4: log_level = loud: expected one of error|"},
    {B "[q35d]\nlog_level = error|info\n", "t:4: log_level = error|info: expected one of"},
    {B "[q35d]\n[model]\n[q35d]\n", "t:5: [q35d] again, first in line 3"},
    {B "[Q35D]\n", "t:3: unknown section [Q35D]"},
    {B "[]\n", "t:3: a section's name"},
    {B "[q35d\n", "t:3: '[' without ']'"},
    {B "[q35d] x\n", "t:3: text behind"},
    {B "[backend]\n", "t:3: [backend] has no name"},
    {B "[backendb]\n", "t:3: unknown section [backendb]"},
    {"[backend a/../b]\npath = x\n", "t:1: a backend's name"},
    {"[backend "
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\npath = x\n",
     "t:1: a backend's name"},
    {"[backend aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n",
     "t:1: a section's name has 1 to 49 bytes"},
    {B "[backend a]\npath = b\n", "t:3: [backend a] again, first in line 1"},
    {"[backend a]\n[backend b]\npath=x\n", "t:1: [backend a] has no path"},
    {"[backend a]\nx=1\n", "t:1: [backend a] has no path"},
    {B "path = c\n", "t:3: path again, first in line 2"},
    {B "x = 1\nx = 2\n", "t:4: x again, first in line 3"},
    {B "required = maybe\n", "t:3: required = maybe: expected true or false"},
    {B "isolate = thread\n", "t:3: isolate = thread: expected process or none"},
    {B "isolate = none\nisolate = none\n", "t:4: isolate again, first in line 3"},
    {B "sha256 = 12\n", "t:3: sha256 has 64"},
    {B "n\xc3\xa9 = 1\n", "t:3: 'n\xc3\xa9' is no name of an option"},
    {"x = 1\n" B, "t:1: a key before the first [section]"},
    {B "just words\n", "t:3: expected 'key = value' or '[section]'"},
    {B "key: value\n", "t:3: expected 'key = value'"},
    {B "= 4\n", "t:3: expected 'key = value'"},
    {B "  continued\n", "t:3: expected 'key = value'"},
    {B "a ;b = 1\n", "t:3: a comment inside the key"},
    {B "x = \x01\n", "t:3: control byte 0x01 in column 5"},
    {B "x = a\rb\n", "t:3: control byte 0x0d in column 6"},
    {B "x = \xff\n", "t:3: invalid UTF-8 in column 5"},
    {B "x = \xc0\xaf\n", "t:3: invalid UTF-8 in column 5"},
    {B "x = \xed\xa0\x80\n", "t:3: invalid UTF-8 in column 5"},
    {B "x = \xe2\x82", "t:3: invalid UTF-8 in column 5"},
    {B "[schedule]\nlayers = 1-2\n",
     "t:4: unknown key 'layers' in [schedule], did you mean 'layers.NAME'?"},
    {B "[schedule]\nlayers.b = 1-2\n", "t:4: layers.b: there is no [backend b]"},
    {B "[schedule]\nlayers.a = 2-1\n", "t:4: layers.a = 2-1: expected FIRST-LAST"},
    {B "[schedule]\nlayers.a = 1-\n", "t:4: layers.a = 1-: expected FIRST-LAST"},
    {B "[schedule]\nlayers.a = 1=2\n", "t:4: layers.a = 1=2: expected FIRST-LAST"},
    {B "[schedule]\nlayers.a:x = 1\n", "t:4: layers.a:x: expected layers.NAME"},
    {B "[schedule]\nlayers.a:1:2 = 1\n", "t:4: layers.a:1:2: expected layers.NAME"},
    {B "[schedule]\nlayers. = 1\n", "t:4: layers.: expected layers.NAME"},
    {B "[schedule]\nlayers.a = 0-5\nlayers.a:1 = 5-7\n", "t:5: layers 5-7 overlap those of line 4"},
    {B "[schedule]\nlayers.a = 0-5\nlayers.a:0 = 6\n", "t:5: layers.a:0 again, first in line 4"},
    {B "[schedule]\nmax_batch = 1\nkv_type = f8\n", "t:5: kv_type = f8: expected one of f16|int8"},
    {B "[schedule]\ndraft = yes\n", "t:4: draft = yes: expected one of none|lookup"},
    {B "[schedule]\ndraft_tokens = 17\n",
     "t:4: draft_tokens = 17: expected a whole number from 1 to 16"},
    {B "[schedule]\ndraft_tokens = 0\n", "t:4: draft_tokens = 0: expected"},
    {B "[schedule]\nplugin_dir = ::\n", "t: plugin_dir names no folder"},
    {"[q35d]\n", "t:1: there is no [backend NAME] section"},
    {"", "t:1: there is no [backend NAME] section"},
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < Q35_COUNT(bad); i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_config *c = (void *)&err;
        enum q35_status st = q35_config_parse(&c, bad[i].text, "t", &err);
        if (st != Q35_E_CONFIG || c ||
            strncmp(err.message, bad[i].message, strlen(bad[i].message)) != 0)
            fail_msg("case %zu: status %d, '%s' instead of '%s'", i, st, err.message,
                     bad[i].message);
    }
}

/* The file as bytes: what text in memory cannot hold. */
static enum q35_status load_bytes(const char *data, size_t n, struct q35_error *err)
{
    char path[] = "/tmp/q35-config-XXXXXX";
    struct q35_config *c;
    enum q35_status st;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), n);
    close(fd);
    st = q35_config_load(&c, path, err);
    q35_config_free(c);
    unlink(path);
    return st;
}

static void files(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c;
    char *big = malloc(2u << 20);
    (void)state;
    assert_int_equal(load_bytes("\xef\xbb\xbf" B, 3 + strlen(B), &err), Q35_OK);
    assert_int_equal(load_bytes(B "x = \0y\n", strlen(B) + 7, &err), Q35_E_CONFIG);
    assert_non_null(strstr(err.message, ":3: control byte 0x00"));
    assert_int_equal(load_bytes("", 0, &err), Q35_E_CONFIG);
    memset(big, 'x', 2u << 20);
    assert_int_equal(load_bytes(big, 2u << 20, &err), Q35_E_CONFIG);
    memcpy(big, B "x = ", strlen(B) + 4);
    big[strlen(B) + 4000] = '\n';
    assert_int_equal(load_bytes(big, strlen(B) + 4001, &err), Q35_OK);
    assert_int_equal(load_bytes(big, strlen(B) + 4000, &err), Q35_OK);
    big[strlen(B) + 4000] = 'x';
    assert_int_equal(load_bytes(big, strlen(B) + 4001, &err), Q35_E_CONFIG);
    assert_non_null(strstr(err.message, ":3: line has 4001 bytes, at most 4000"));
    free(big);
    assert_int_equal(q35_config_load(&c, "/no/such.ini", &err), Q35_E_NOT_FOUND);
    assert_int_equal(q35_config_load(&c, "/tmp", &err), Q35_E_IO);
}

/* Every prefix and every byte changed: refused or read, never a crash (run under sanitizers). */
static void mutations(void **state)
{
    static const char text[] = "[q35d]\nport=1 ; c\n[model]\npath=m\n" B
                               "required=1\nk = v\n[schedule]\nlayers.a:0 = 0-1\n";
    static const char bytes[] = "\0\n\t []=:;#-.\x80\xff\xe2"
                                "9a";
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c;
    size_t ok = 0;
    (void)state;
    for (size_t n = 0; n < sizeof(text); n++) {
        char copy[sizeof(text)];
        memcpy(copy, text, n);
        copy[n] = '\0';
        ok += q35_config_parse(&c, copy, "t", &err) == Q35_OK;
        q35_config_free(c);
        for (size_t b = 0; n + 1 < sizeof(text) && b < sizeof(bytes) - 1; b++) {
            memcpy(copy, text, sizeof(text));
            copy[n] = bytes[b];
            ok += q35_config_parse(&c, copy, "t", &err) == Q35_OK;
            q35_config_free(c);
        }
    }
    assert_true(ok > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values), cmocka_unit_test(defaults_and_paths),
        cmocka_unit_test(ranges), cmocka_unit_test(refusals),
        cmocka_unit_test(files),  cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
