/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "core/model/gguf.h"
#include "core/model/gguf_write.h"

static char dir[] = "/tmp/q35-gguf-write-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int files_in_dir(void)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;
    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static struct q35_gguf_writer *begin(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w;
    if (q35_gguf_writer_create(&w, path, &err) != Q35_OK)
        fail_msg("%s", err.message);
    return w;
}

static const uint64_t dims[2] = {3, 2};
static const float values[6] = {1, -2, 3, -4, 5, -6};

static void writes_what_the_reader_reads(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w = begin(in_dir("a.gguf"));
    const uint64_t hashes[2] = {0, 0}, real[2] = {0xfedcba9876543210u, 42};
    const uint32_t u32s[2] = {1, 4000000000u};
    const int32_t i32s[2] = {-1, 7};
    const struct q35_gguf_tensor *t;
    const struct q35_view *vs;
    struct q35_view v;
    struct q35_gguf *g;
    uint64_t n, *u64s;
    int32_t *back;
    float f, *f32s;
    uint32_t u;
    bool b;
    (void)state;
    q35_gguf_put_u32(w, "u", 7);
    q35_gguf_put_f32(w, "f", -0.5f);
    q35_gguf_put_bool(w, "b", true);
    q35_gguf_put_string(w, "s", "x\0y", 3);
    q35_gguf_put_f32s(w, "fs", values, 6);
    q35_gguf_put_u32s(w, "us", u32s, 2);
    q35_gguf_put_i32s(w, "is", i32s, 2);
    q35_gguf_put_u64s(w, "hashes", hashes, 2);
    q35_gguf_put_strings_begin(w, "ss", 2);
    q35_gguf_put_strings_item(w, "", 0);
    q35_gguf_put_strings_item(w, "two", 3);
    q35_gguf_put_tensor(w, "one", Q35_GGML_I8, 1, &dims[0], 3);
    q35_gguf_put_tensor(w, "two", Q35_GGML_F32, 2, dims, 24);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_OK);
    assert_int_equal(q35_gguf_write_data(w, 1, 8, values + 2, 16, &err), Q35_OK);
    assert_int_equal(q35_gguf_write_data(w, 0, 0, "abc", 3, &err), Q35_OK);
    assert_int_equal(q35_gguf_write_data(w, 1, 0, values, 8, &err), Q35_OK);
    q35_gguf_patch_u64s(w, "hashes", real, 2);
    assert_int_not_equal(access(in_dir("a.gguf"), F_OK), 0);
    assert_int_equal(q35_gguf_writer_finish(w, &err), Q35_OK);
    q35_gguf_writer_destroy(w);
    assert_int_equal(files_in_dir(), 1);

    assert_int_equal(q35_gguf_open(&g, in_dir("a.gguf"), &err), Q35_OK);
    assert_int_equal(q35_gguf_u32(g, "general.alignment", &u, &err), Q35_OK);
    assert_int_equal(u, 64);
    assert_int_equal(q35_gguf_u32(g, "u", &u, &err), Q35_OK);
    assert_int_equal(u, 7);
    assert_int_equal(q35_gguf_f32(g, "f", &f, &err), Q35_OK);
    assert_true(f == -0.5f);
    assert_int_equal(q35_gguf_bool(g, "b", &b, &err), Q35_OK);
    assert_true(b);
    assert_int_equal(q35_gguf_string(g, "s", &v, &err), Q35_OK);
    assert_int_equal(v.len, 3);
    assert_memory_equal(v.data, "x\0y", 3);
    assert_int_equal(q35_gguf_f32s(g, "fs", &f32s, &n, &err), Q35_OK);
    assert_int_equal(n, 6);
    assert_memory_equal(f32s, values, sizeof(values));
    free(f32s);
    assert_int_equal(q35_gguf_u64s(g, "us", &u64s, &n, &err), Q35_OK);
    assert_true(u64s[1] == 4000000000u);
    free(u64s);
    assert_int_equal(q35_gguf_i32s(g, "is", &back, &n, &err), Q35_OK);
    assert_memory_equal(back, i32s, sizeof(i32s));
    free(back);
    assert_int_equal(q35_gguf_u64s(g, "hashes", &u64s, &n, &err), Q35_OK);
    assert_memory_equal(u64s, real, sizeof(real));
    free(u64s);
    assert_int_equal(q35_gguf_strings(g, "ss", &vs, &n, &err), Q35_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(vs[1].data, "two", 3);
    t = q35_gguf_tensor_find(g, "two");
    assert_memory_equal(t->data, values, sizeof(values));
    assert_int_equal((uintptr_t)t->data % 64, 0);
    assert_memory_equal(q35_gguf_tensor_find(g, "one")->data, "abc", 3);
    q35_gguf_close(g);
    unlink(in_dir("a.gguf"));
}

/* Each wrong use is reported once, at begin_data or finish, and leaves no file. */
static void wrong_use_is_reported(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w = begin(in_dir("b.gguf"));
    (void)state;
    q35_gguf_put_u32(w, "k", 1);
    q35_gguf_put_u32(w, "k", 2);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_E_INVALID);
    assert_non_null(strstr(err.message, "k is written twice"));
    q35_gguf_writer_destroy(w);

    w = begin(in_dir("b.gguf"));
    q35_gguf_put_strings_begin(w, "ss", 2);
    q35_gguf_put_strings_item(w, "a", 1);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_E_INVALID);
    q35_gguf_writer_destroy(w);

    w = begin(in_dir("b.gguf"));
    q35_gguf_put_strings_item(w, "a", 1);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_E_INVALID);
    q35_gguf_writer_destroy(w);

    w = begin(in_dir("b.gguf"));
    q35_gguf_put_tensor(w, "t", Q35_GGML_F32, 2, dims, 24);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_OK);
    assert_int_equal(q35_gguf_write_data(w, 0, 16, values, 12, &err), Q35_E_INVALID);
    assert_int_equal(q35_gguf_write_data(w, 1, 0, values, 4, &err), Q35_E_INVALID);
    assert_int_equal(q35_gguf_write_data(w, 0, 0, values, 20, &err), Q35_OK);
    assert_int_equal(q35_gguf_writer_finish(w, &err), Q35_E_INVALID);
    assert_non_null(strstr(err.message, "20 of 24 bytes"));
    q35_gguf_writer_destroy(w);
    assert_int_equal(files_in_dir(), 0);
    q35_gguf_writer_destroy(NULL);

    assert_int_equal(q35_gguf_writer_create(&w, "/nonexistent/x.gguf", &err), Q35_E_IO);
    assert_null(w);
    assert_int_equal(q35_gguf_writer_create(&w, dir, &err), Q35_E_INVALID);
}

/* An old file under the same name stays as it was until the new one is whole. */
static void the_old_file_survives_failure(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w;
    char text[8] = {0};
    FILE *f = fopen(in_dir("c.gguf"), "w");
    (void)state;
    fputs("old", f);
    fclose(f);
    w = begin(in_dir("c.gguf"));
    q35_gguf_put_tensor(w, "t", Q35_GGML_F32, 2, dims, 24);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_OK);
    q35_gguf_writer_destroy(w);
    assert_int_equal(files_in_dir(), 1);
    f = fopen(in_dir("c.gguf"), "r");
    assert_int_equal(fread(text, 1, sizeof(text), f), 3);
    fclose(f);
    assert_string_equal(text, "old");
    unlink(in_dir("c.gguf"));
}

/* No room: a limit on file size stands in for a full disk. */
static void a_full_disk_leaves_nothing(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w = begin(in_dir("d.gguf"));
    const uint64_t large[1] = {1u << 20};
    struct rlimit old, small;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4096;
    q35_gguf_put_tensor(w, "t", Q35_GGML_I8, 1, large, large[0]);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_E_IO);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_non_null(strstr(err.message, "d.gguf"));
    q35_gguf_writer_destroy(w);
    assert_int_equal(files_in_dir(), 0);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_the_reader_reads),
        cmocka_unit_test(wrong_use_is_reported),
        cmocka_unit_test(the_old_file_survives_failure),
        cmocka_unit_test(a_full_disk_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
