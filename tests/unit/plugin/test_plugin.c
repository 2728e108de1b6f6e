/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/plugin/load.h"
#include "core/plugin/registry.h"
#include "core/plugin/search.h"

static const char *folder; /* of the sample plugins */

static struct q35_config *config_of(const char *format, ...)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *c;
    char text[4096];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (q35_config_parse(&c, text, "t.ini", &err) != Q35_OK)
        fail_msg("%s", err.message);
    return c;
}

/* Each fault: the status, and what the reason must say. */
static const struct {
    const char *name;
    enum q35_status status;
    const char *reason;
} faults[] = {
    {"no_symbol", Q35_E_PLUGIN, "does not export q35_plugin_query"},
    {"major", Q35_E_VERSION, "its ABI is 2.x, this host's is 1."},
    {"null", Q35_E_VERSION, "does not serve ABI 1."},
    {"crash_query", Q35_E_PLUGIN, "crashes while loading it: signal 6"},
    {"short", Q35_E_PLUGIN, "its descriptor has "},
    {"name", Q35_E_PLUGIN, "its name 'Garbage?name' is not made of"},
    {"spec", Q35_E_PLUGIN, "its table of 5 options is malformed"},
    {"crash", Q35_E_PLUGIN, "crashes while loading it: signal 11"},
    {"exit", Q35_E_PLUGIN, "exits the process with status 3 while loading it"},
    {"scribble", Q35_E_PLUGIN, "wrote into the loader's own descriptor while loading it"},
    {"hang", Q35_E_TIMEOUT, "hangs: killed after 1 s while loading it"},
    {"hang_unload", Q35_E_TIMEOUT, "hangs: killed after 1 s while unloading it"},
    {"crash_enumerate", Q35_E_PLUGIN, "crashes while enumerating devices: signal 11"},
    {"many", Q35_E_PLUGIN, "it claims 1073741824 devices"},
    {"incomplete", Q35_E_PLUGIN, "it has no supports, and nothing works without it"},
    {"class", Q35_E_PLUGIN, "device 0: determinism class 77 does not exist"},
    {"missing", Q35_E_NOT_FOUND, "/sample_missing.so"},
};

/* All faulty plugins in one configuration, a good one last: each is named, the good one works. */
static void quarantine(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_registry *r;
    struct q35_config *c;
    struct q35_str ini = {0};
    (void)state;
    for (size_t i = 0; i < Q35_COUNT(faults); i++)
        q35_str_addf(&ini, "[backend b%zu]\npath = sample_%s.so\n", i, faults[i].name);
    q35_str_addf(&ini,
                 "[backend good]\npath = sample_none\n[schedule]\nprobe_seconds = 1\n"
                 "plugin_dir = %s\n",
                 folder);
    c = config_of("%s", ini.data);
    q35_str_fini(&ini);
    q35_log_set_level(Q35_LOG_ERROR);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_OK);
    assert_int_equal(r->plugin_count, Q35_COUNT(faults) + 1);
    for (size_t i = 0; i < Q35_COUNT(faults); i++)
        if (r->plugins[i].status != faults[i].status || r->plugins[i].handle ||
            !strstr(r->plugins[i].reason, faults[i].reason))
            fail_msg("sample_%s: status %d, '%s'", faults[i].name, r->plugins[i].status,
                     r->plugins[i].reason);
    assert_non_null(strstr(r->plugins[7].reason, "; it printed 'fall over'"));
    assert_int_equal(r->device_count, 2);
    assert_ptr_equal(q35_registry_find(r, "good", 1), &r->devices[1]);
    assert_null(q35_registry_find(r, "good", 2));
    assert_null(q35_registry_find(r, "b1", 0));
    assert_int_equal(strlen(r->devices[1].info.name), 63);
    assert_string_equal(r->devices[1].info.id, "sample?1");
    q35_registry_destroy(r);
    q35_config_free(c);
}

static void required_fails(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_registry *r;
    struct q35_config *c;
    (void)state;
    c = config_of("[backend good]\npath = sample_none.so\n[backend bad]\npath = sample_null.so\n"
                  "required = true\n[schedule]\nplugin_dir = %s\n",
                  folder);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_E_VERSION);
    assert_null(r);
    assert_string_equal(err.message, "t.ini:3: required [backend bad]: it does not serve ABI 1.1");
    assert_int_equal(q35_registry_scan(&r, c, &err), Q35_OK);
    assert_int_equal(r->plugins[1].status, Q35_E_VERSION);
    q35_registry_destroy(r);
    q35_config_free(c);
}

static void nothing_left(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_registry *r;
    struct q35_config *c = config_of("[backend a]\npath = sample_none.so\ndevices = 0\n"
                                     "[backend b]\npath = sample_null.so\n[schedule]\n"
                                     "plugin_dir = %s\n",
                                     folder);
    (void)state;
    q35_log_set_level(-1);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_E_NOT_FOUND);
    assert_string_equal(err.message, "no device is left (a: looked for?nothing; "
                                     "b: it does not serve ABI 1.1)");
    q35_config_free(c);
}

static const struct {
    const char *line, *message;
} options[] = {
    {"devices = 3\nfast = yes\nroom = 16GiB\nmode = quick\nlabel = anything at all", NULL},
    {"devices = -3x", "t.ini:4: [backend a]: devices = -3x: expected a whole number"},
    {"devices =", "t.ini:4: [backend a]: devices = : expected a whole number"},
    {"fast = 2", "t.ini:4: [backend a]: fast = 2: expected true or false"},
    {"room = 3 apples", "t.ini:4: [backend a]: room = 3 apples: expected a size"},
    {"label = x\nmode = slo", "t.ini:5: [backend a]: mode = slo: expected slow|quick"},
    {"unknown = 1", "t.ini:4: [backend a]: unknown option 'unknown'; plugin sample has devices, "},
    {"devices = 7", "t.ini:2: [backend a]: seven devices are not to be had"},
};

static void option_checks(void **state)
{
    (void)state;
    for (size_t i = 0; i < Q35_COUNT(options); i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_registry *r;
        struct q35_config *c = config_of("\n[backend a]\npath = sample_none.so\n%s\n"
                                         "[schedule]\nplugin_dir = %s\n",
                                         options[i].line, folder);
        enum q35_status st = q35_registry_create(&r, c, &err);
        if (st != (options[i].message ? Q35_E_CONFIG : Q35_OK))
            fail_msg("%s: status %d, %s", options[i].line, st, err.message);
        if (options[i].message &&
            strncmp(err.message, options[i].message, strlen(options[i].message)) != 0)
            fail_msg("'%s' instead of '%s'", err.message, options[i].message);
        if (st == Q35_OK)
            assert_int_equal(r->device_count, 3);
        q35_registry_destroy(r);
        q35_config_free(c);
    }
}

/* What a plugin leaves out is refused with words, not called. */
static void stubs(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_buffer *buffer = (void *)&err;
    struct q35_plugin_entry p = {0};
    char path[4096];
    (void)state;
    snprintf(path, sizeof(path), "%s/sample_incomplete.so", folder);
    assert_int_equal(q35_plugin_load(&p, path, &err), Q35_OK);
    assert_string_equal(p.missing, "supports");
    assert_int_equal(p.api.wait(NULL, 1, 0, &err), Q35_E_UNSUPPORTED);
    assert_string_equal(err.message, "the plugin has no wait");
    assert_int_equal(p.api.buffer_alloc(NULL, 8, &buffer, &err), Q35_E_UNSUPPORTED);
    assert_null(buffer);
    p.api.weights_free(NULL);
    assert_null(p.api.get_extension("x", 1));
    q35_plugin_unload(&p);
}

static void open_and_close(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_registry *r;
    struct q35_config *c = config_of("[backend a]\npath = %s/sample_none.so\n", folder);
    struct q35_device_entry *d;
    (void)state;
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_OK);
    d = &r->devices[0];
    assert_int_equal(q35_device_open(d, &err), Q35_OK);
    assert_int_equal(q35_device_open(d, &err), Q35_OK);
    assert_int_equal(q35_device_open(&r->devices[1], &err), Q35_E_BUSY);
    assert_string_equal(err.message, "a:1: taken");
    assert_null(r->devices[1].dev);
    q35_device_close(d);
    assert_null(d->dev);
    assert_int_equal(q35_device_open(d, &err), Q35_OK); /* left open: destroy closes it */
    q35_registry_destroy(r);
    q35_config_free(c);
}

static void versions(void **state)
{
    static const char *const names[] = {"older", "newer"};
    struct q35_error err = Q35_ERROR_INIT;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct q35_plugin_entry p = {0};
        struct q35_device *dev;
        char path[4096];
        uint32_t count;
        snprintf(path, sizeof(path), "%s/sample_%s.so", folder, names[i]);
        assert_int_equal(q35_plugin_load(&p, path, &err), Q35_OK);
        assert_int_equal(p.api.size, sizeof(p.api));
        assert_int_equal(p.api.abi_minor, Q35_ABI_MINOR);
        assert_int_equal(p.host.abi_minor, Q35_ABI_MINOR);
        assert_non_null(p.host.log);
        assert_int_equal(p.api.enumerate(&p.host, &p.options, &count, &err), Q35_OK);
        assert_int_equal(count, 2);
        /* close is cut in two in the older one: then it is not called */
        assert_int_equal(p.api.open(&p.host, &p.options, 0, &dev, &err), Q35_OK);
        p.api.close(dev);
        assert_null(p.missing);
        q35_plugin_unload(&p);
        assert_null(p.handle);
    }
}

/* Without the worker program the probe forks. */
static void probe_by_fork(void **state)
{
    struct q35_options none = {.size = sizeof(none)};
    struct q35_error err = Q35_ERROR_INIT;
    char path[4096];
    (void)state;
    snprintf(path, sizeof(path), "%s/sample_none.so", folder);
    assert_int_equal(q35_plugin_probe(path, NULL, &none, 10, &err), Q35_OK);
    assert_int_equal(q35_plugin_probe(path, "/no/such/worker", &none, 10, &err), Q35_E_INTERNAL);
    snprintf(path, sizeof(path), "%s/sample_crash.so", folder);
    assert_int_equal(q35_plugin_probe(path, NULL, &none, 10, &err), Q35_E_PLUGIN);
    assert_non_null(strstr(err.message, "signal 11"));
    snprintf(path, sizeof(path), "%s/sample_hang.so", folder);
    assert_int_equal(q35_plugin_probe(path, NULL, &none, 1, &err), Q35_E_TIMEOUT);
}

static void worker_is_found(void **state)
{
    char *worker = q35_worker_find();
    (void)state;
    assert_non_null(worker);
    assert_non_null(strstr(worker, "/tools/worker/q35-worker"));
    free(worker);
}

static void copy_file(const char *from, const char *to)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_file f;
    FILE *out = fopen(to, "wb");
    assert_non_null(out);
    assert_int_equal(q35_file_map(&f, from, &err), Q35_OK);
    assert_int_equal(fwrite(f.data, 1, f.bytes, out), f.bytes);
    q35_file_unmap(&f);
    assert_int_equal(fclose(out), 0);
}

static void trust_and_hash(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    char dir[] = "/tmp/q35-plugin-XXXXXX", source[4096], path[64], hex[65];
    struct q35_registry *r;
    struct q35_config *c;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(source, sizeof(source), "%s/sample_none.so", folder);
    snprintf(path, sizeof(path), "%s/p.so", dir);
    copy_file(source, path);
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(q35_file_trusted(path, &err), Q35_OK);
    assert_int_equal(chmod(path, 0757), 0);
    assert_int_equal(q35_file_trusted(path, &err), Q35_E_PLUGIN);
    assert_non_null(strstr(err.message, "p.so can be written by everybody"));
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(q35_file_trusted(path, &err), Q35_E_PLUGIN);
    assert_non_null(strstr(err.message, "the folder of"));
    assert_int_equal(chmod(dir, 01777), 0);
    assert_int_equal(q35_file_trusted(path, &err), Q35_OK);
    assert_int_equal(q35_file_trusted(dir, &err), Q35_E_PLUGIN);
    assert_int_equal(q35_file_sha256(path, hex, &err), Q35_OK);
    c = config_of("[backend a]\npath = %s\nsha256 = %s\n", path, hex);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_OK);
    q35_registry_destroy(r);
    q35_config_free(c);
    hex[5] = hex[5] == '0' ? '1' : '0';
    c = config_of("[backend a]\npath = %s\nsha256 = %s\nrequired = 1\n", path, hex);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_E_HASH);
    assert_non_null(strstr(err.message, "has SHA-256"));
    q35_config_free(c);
    unlink(path);
    rmdir(dir);
}

/* A certificate holds for one file, and only then does require_certificate let it in. */
static void certificates(void **state)
{
    static const struct {
        const char *json;
        enum q35_status status;
        const char *message;
    } cases[] = {
        {NULL, Q35_E_NOT_FOUND, "it has no valid certificate (require_certificate = true): cannot"},
        {"{", Q35_E_FORMAT, "p.cert.json:1: "},
        {"{\"q35_certificate\": 2}", Q35_E_FORMAT, "is no certificate of version 1"},
        {"{\"q35_certificate\": 1, \"passed\": false}", Q35_E_PLUGIN, "did not pass"},
        {"{\"q35_certificate\": 1, \"passed\": true, \"abi\": \"9.0\"}", Q35_E_VERSION,
         "is for ABI '9.0'"},
        {"{\"q35_certificate\": 1, \"passed\": true, \"abi\": \"1.0\", \"sha256\": \"00\"}",
         Q35_E_HASH, "is for another file"},
        {"{\"q35_certificate\": 1, \"passed\": true, \"abi\": \"1.0\", \"class\": \"exact\", "
         "\"date\": \"2026-01-02\", \"sha256\": \"%s\"}",
         Q35_OK, "exact, ABI 1.0, 2026-01-02"},
    };
    char dir[] = "/tmp/q35-plugin-XXXXXX", source[4096], path[64], cert[64], hex[65];
    struct q35_error err = Q35_ERROR_INIT;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(source, sizeof(source), "%s/sample_none.so", folder);
    snprintf(path, sizeof(path), "%s/p.so", dir);
    snprintf(cert, sizeof(cert), "%s/p.cert.json", dir);
    copy_file(source, path);
    assert_int_equal(q35_file_sha256(path, hex, &err), Q35_OK);
    for (size_t i = 0; i < Q35_COUNT(cases); i++) {
        struct q35_registry *r;
        struct q35_config *c =
            config_of("[backend a]\npath = %s\nrequire_certificate = true\n", path);
        if (cases[i].json) {
            FILE *f = fopen(cert, "w");
            assert_non_null(f);
            if (cases[i].status == Q35_OK)
                fprintf(f, cases[Q35_COUNT(cases) - 1].json, hex);
            else
                fputs(cases[i].json, f);
            fclose(f);
        }
        assert_int_equal(q35_registry_scan(&r, c, &err), Q35_OK);
        assert_int_equal(r->plugins[0].status, cases[i].status);
        assert_int_equal(r->plugins[0].certified, cases[i].status == Q35_OK);
        if (!strstr(i ? r->plugins[0].certificate : r->plugins[0].reason, cases[i].message))
            fail_msg("case %zu: '%s', '%s'", i, r->plugins[0].certificate, r->plugins[0].reason);
        q35_registry_destroy(r);
        q35_config_free(c);
    }
    unlink(cert);
    unlink(path);
    rmdir(dir);
}

static void texts(void **state)
{
    char out[8], same[] = "a\x80z";
    (void)state;
    q35_clean_text(out, sizeof(out), NULL);
    assert_string_equal(out, "");
    q35_clean_text(out, sizeof(out), "\xc3\xa9\n\x7f\xff");
    assert_string_equal(out, "\xc3\xa9???");
    q35_clean_text(out, sizeof(out), "abcdef\xc3\xa9"); /* cut in the middle of a letter */
    assert_string_equal(out, "abcdef?");
    q35_clean_text(same, sizeof(same), same);
    assert_string_equal(same, "a?z");
}

static void searching(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    char *found, cwd[4096];
    (void)state;
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    assert_int_equal(chdir(folder), 0);
    assert_int_equal(q35_plugin_find(&found, "sample_none.so", NULL, &err), Q35_E_NOT_FOUND);
    assert_int_equal(q35_plugin_find(&found, "sample_none.so", ".", &err), Q35_E_NOT_FOUND);
    assert_int_equal(q35_plugin_find(&found, "", folder, &err), Q35_E_INVALID);
    assert_int_equal(q35_plugin_find(&found, "sample_none", folder, &err), Q35_OK);
    free(found);
    setenv("Q35_PLUGIN_PATH", "/nowhere:", 1);
    assert_int_equal(q35_plugin_find(&found, "sample_none", NULL, &err), Q35_E_NOT_FOUND);
    assert_string_equal(err.message, "no such file: /nowhere/sample_none.so");
    setenv("Q35_PLUGIN_PATH", folder, 1);
    assert_int_equal(q35_plugin_find(&found, "sample_none", NULL, &err), Q35_OK);
    assert_non_null(strstr(found, "/sample_none.so"));
    free(found);
    assert_int_equal(q35_plugin_find(&found, "sample_none", "/nowhere", &err), Q35_E_NOT_FOUND);
    unsetenv("Q35_PLUGIN_PATH");
    assert_int_equal(chdir(cwd), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quarantine),      cmocka_unit_test(required_fails),
        cmocka_unit_test(nothing_left),    cmocka_unit_test(option_checks),
        cmocka_unit_test(open_and_close),  cmocka_unit_test(stubs),
        cmocka_unit_test(versions),        cmocka_unit_test(probe_by_fork),
        cmocka_unit_test(worker_is_found), cmocka_unit_test(trust_and_hash),
        cmocka_unit_test(certificates),    cmocka_unit_test(texts),
        cmocka_unit_test(searching),
    };
    folder = argc > 1 ? argv[1] : ".";
    unsetenv("Q35_PLUGIN_PATH");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
