/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../test.h"

#include "builder.h"
#include "core/model/gguf.h"

/* Everything a file can hold: each scalar type, arrays, strings, a nested array, two tensors.
 * Returns where the metadata ends and the padding before the data begins. */
static size_t build_sample(struct q35_str *s, uint32_t version)
{
    static const uint64_t dims_a[2] = {32, 3}, dims_b[1] = {5};
    size_t end;
    put_header(s, version, 2, 17);
    put_key(s, "u8", 0), put_u(s, 200, 1);
    put_key(s, "i8", 1), put_u(s, (uint64_t)-5, 1);
    put_key(s, "u16", 2), put_u(s, 60000, 2);
    put_key(s, "i16", 3), put_u(s, (uint64_t)-300, 2);
    put_key(s, "u32", 4), put_u(s, 4000000000u, 4);
    put_key(s, "i32", 5), put_u(s, (uint64_t)-70000, 4);
    put_key(s, "f32", 6), put_u(s, 0x3fc00000u, 4);
    put_key(s, "bool", 7), put_u(s, 1, 1);
    put_key(s, "string", 8), put_s(s, "hello");
    put_key(s, "u64", 10), put_u(s, 1ull << 40, 8);
    put_key(s, "i64", 11), put_u(s, 7, 8);
    put_key(s, "f64", 12), put_u(s, 0x4004000000000000u, 8);
    put_array(s, "strings", 8, 3), put_s(s, "a"), put_s(s, ""), put_s(s, "ccc");
    put_array(s, "f32s", 6, 2), put_u(s, 0x3f800000u, 4), put_u(s, 0xbf800000u, 4);
    put_array(s, "i8s", 1, 3), put_u(s, 1, 1), put_u(s, 0xff, 1), put_u(s, 3, 1);
    put_array(s, "nested", 9, 2);
    put_u(s, 8, 4), put_u(s, 1, 8), put_s(s, "x");
    put_u(s, 4, 4), put_u(s, 2, 8), put_u(s, 1, 4), put_u(s, 2, 4);
    put_key(s, "general.alignment", 4), put_u(s, 64, 4);
    put_tensor(s, "a", 2, dims_a, 8, 0);
    put_tensor(s, "b", 1, dims_b, 0, 128);
    end = s->len;
    put_align(s, 64);
    put_zeros(s, 128 + 20);
    return end;
}

static enum q35_status open_str(struct q35_gguf **g, const struct q35_str *s, struct q35_error *err)
{
    return q35_gguf_open_memory(g, (const uint8_t *)s->data, s->len, "sample", err);
}

static void reads_every_type(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t version, u, type;
    (void)state;
    for (version = 2; version <= 3; version++) {
        struct q35_str s = {0};
        struct q35_gguf *g;
        struct q35_view v;
        const struct q35_view *vs;
        const struct q35_gguf_tensor *t;
        uint64_t n, *u64s;
        int32_t *i32s;
        float f, *f32s;
        bool b;
        build_sample(&s, version);
        assert_int_equal(open_str(&g, &s, &err), Q35_OK);
        assert_int_equal(q35_gguf_key_count(g), 17);
        v = q35_gguf_key_at(g, 8, &type);
        assert_memory_equal(v.data, "string", v.len);
        assert_int_equal(type, Q35_GGUF_STRING);
        assert_int_equal(q35_gguf_u32(g, "u8", &u, &err), Q35_OK);
        assert_int_equal(u, 200);
        assert_int_equal(q35_gguf_u32(g, "u16", &u, &err), Q35_OK);
        assert_int_equal(u, 60000);
        assert_int_equal(q35_gguf_u32(g, "u32", &u, &err), Q35_OK);
        assert_int_equal(u, 4000000000u);
        assert_int_equal(q35_gguf_u32(g, "i64", &u, &err), Q35_OK);
        assert_int_equal(u, 7);
        assert_int_equal(q35_gguf_f32(g, "f32", &f, &err), Q35_OK);
        assert_true(f == 1.5f);
        assert_int_equal(q35_gguf_f32(g, "f64", &f, &err), Q35_OK);
        assert_true(f == 2.5f);
        assert_int_equal(q35_gguf_f32(g, "i16", &f, &err), Q35_OK);
        assert_true(f == -300.0f);
        assert_int_equal(q35_gguf_bool(g, "bool", &b, &err), Q35_OK);
        assert_true(b);
        assert_int_equal(q35_gguf_string(g, "string", &v, &err), Q35_OK);
        assert_int_equal(v.len, 5);
        assert_memory_equal(v.data, "hello", 5);
        assert_int_equal(q35_gguf_strings(g, "strings", &vs, &n, &err), Q35_OK);
        assert_int_equal(n, 3);
        assert_int_equal(vs[1].len, 0);
        assert_memory_equal(vs[2].data, "ccc", 3);
        assert_int_equal(q35_gguf_f32s(g, "f32s", &f32s, &n, &err), Q35_OK);
        assert_int_equal(n, 2);
        assert_true(f32s[0] == 1.0f && f32s[1] == -1.0f);
        free(f32s);
        assert_int_equal(q35_gguf_i32s(g, "i8s", &i32s, &n, &err), Q35_OK);
        assert_int_equal(i32s[1], -1);
        free(i32s);
        assert_int_equal(q35_gguf_u64s(g, "i8s", &u64s, &n, &err), Q35_E_FORMAT);
        assert_null(u64s);
        t = q35_gguf_tensor_find(g, "a");
        assert_non_null(t);
        assert_int_equal(t->bytes, 3 * 34);
        assert_int_equal((t->data - (const uint8_t *)s.data) % 64, 0);
        assert_int_equal(q35_gguf_tensor_find(g, "b")->bytes, 20);
        assert_ptr_equal(q35_gguf_tensor_find(g, "b"), q35_gguf_tensor_at(g, 1));
        assert_null(q35_gguf_tensor_find(g, "c"));
        assert_null(q35_gguf_tensor_at(g, 2));
        q35_gguf_close(g);
        q35_str_fini(&s);
    }
}

static void wrong_kinds_are_refused(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_str s = {0};
    struct q35_gguf *g;
    struct q35_view v;
    const struct q35_view *vs;
    uint32_t u = 77;
    uint64_t n = 5;
    float f = 7, *f32s;
    bool b;
    (void)state;
    build_sample(&s, 3);
    assert_int_equal(open_str(&g, &s, &err), Q35_OK);
    assert_int_equal(q35_gguf_u32(g, "absent", &u, &err), Q35_E_NOT_FOUND);
    assert_int_equal(q35_gguf_u32(g, "i8", &u, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_u32(g, "u64", &u, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_u32(g, "f32", &u, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_u32(g, "bool", &u, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_u32(g, "string", &u, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_u32(g, "f32s", &u, &err), Q35_E_FORMAT);
    assert_int_equal(u, 77);
    assert_int_equal(q35_gguf_f32(g, "string", &f, &err), Q35_E_FORMAT);
    assert_true(f == 7.0f);
    assert_int_equal(q35_gguf_bool(g, "u8", &b, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_string(g, "strings", &v, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_strings(g, "string", &vs, &n, &err), Q35_E_FORMAT);
    assert_int_equal(n, 0);
    assert_int_equal(q35_gguf_strings(g, "f32s", &vs, &n, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_f32s(g, "strings", &f32s, &n, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_f32s(g, "nested", &f32s, &n, &err), Q35_E_FORMAT);
    assert_int_equal(q35_gguf_f32s(g, "absent", &f32s, &n, &err), Q35_E_NOT_FOUND);
    assert_true(strstr(err.message, "absent") != NULL);
    q35_gguf_close(g);
    q35_str_fini(&s);
}

/* Every truncation fails, without reading past the end (each copy is exactly as long as it says).
 */
static void truncation_at_every_byte(void **state)
{
    struct q35_str s = {0};
    size_t n;
    (void)state;
    build_sample(&s, 3);
    for (n = 0; n < s.len; n++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_gguf *g;
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, s.data, n);
        assert_int_equal(q35_gguf_open_memory(&g, cut, n, "cut", &err), Q35_E_FORMAT);
        assert_null(g);
        assert_true(strstr(err.message, "cut") != NULL);
        free(cut);
    }
    q35_str_fini(&s);
}

/* Every byte of the metadata replaced by values that hurt: opens or fails, never crashes. */
static void mutation_of_every_byte(void **state)
{
    static const uint8_t values[] = {0x00, 0x01, 0x09, 0x7f, 0x80, 0xff};
    struct q35_str s = {0};
    size_t end = build_sample(&s, 3), i, k;
    (void)state;
    for (i = 0; i < end; i++)
        for (k = 0; k < sizeof(values); k++) {
            struct q35_error err = Q35_ERROR_INIT;
            struct q35_gguf *g;
            uint8_t *copy = malloc(s.len);
            memcpy(copy, s.data, s.len);
            copy[i] = values[k];
            if (q35_gguf_open_memory(&g, copy, s.len, "mutant", &err) != Q35_OK)
                assert_true(err.message[0] != '\0');
            q35_gguf_close(g);
            free(copy);
        }
    q35_str_fini(&s);
}

static void expect_failure(struct q35_str *s, enum q35_status status, const char *text)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf *g;
    assert_int_equal(open_str(&g, s, &err), status);
    if (!strstr(err.message, text))
        fail_msg("'%s' does not mention '%s'", err.message, text);
    q35_str_fini(s);
}

static void lies_are_named(void **state)
{
    static const uint64_t huge[5] = {1ull << 40, 1ull << 40, 2, 2, 2}, one[1] = {1}, none[1] = {0};
    static const uint64_t odd[1] = {33}, sixteen[1] = {16};
    struct q35_str s = {0};
    int i;
    (void)state;
    q35_str_addz(&s, "GGML and then something longer");
    expect_failure(&s, Q35_E_FORMAT, "not a GGUF file");
    put_header(&s, 1, 0, 0);
    expect_failure(&s, Q35_E_VERSION, "version 1");
    put_header(&s, 4, 0, 0);
    expect_failure(&s, Q35_E_VERSION, "version 4");
    put_header(&s, 3u << 24, 0, 0);
    expect_failure(&s, Q35_E_UNSUPPORTED, "big-endian");
    put_header(&s, 3, 0, 1ull << 60);
    expect_failure(&s, Q35_E_FORMAT, "metadata keys");
    put_header(&s, 3, 1ull << 60, 0);
    expect_failure(&s, Q35_E_FORMAT, "tensors");
    put_header(&s, 3, 0, 1), put_array(&s, "a", 8, 1ull << 61);
    expect_failure(&s, Q35_E_FORMAT, "strings");
    put_header(&s, 3, 0, 1), put_array(&s, "a", 12, 1ull << 61);
    expect_failure(&s, Q35_E_FORMAT, "an array");
    put_header(&s, 3, 0, 1), put_array(&s, "a", 13, 1), put_u(&s, 0, 8);
    expect_failure(&s, Q35_E_FORMAT, "unknown type 13");
    put_header(&s, 3, 0, 1), put_key(&s, "a", 99), put_u(&s, 0, 8);
    expect_failure(&s, Q35_E_FORMAT, "unknown metadata type 99");
    put_header(&s, 3, 0, 1), put_array(&s, "deep", 9, 1);
    for (i = 0; i < 100; i++)
        put_u(&s, 9, 4), put_u(&s, 1, 8);
    expect_failure(&s, Q35_E_FORMAT, "nested");
    put_header(&s, 3, 0, 2), put_key(&s, "k", 0), put_u(&s, 1, 1);
    put_key(&s, "k", 0), put_u(&s, 1, 1);
    expect_failure(&s, Q35_E_FORMAT, "k occurs twice");
    put_header(&s, 3, 0, 1), put_key(&s, "", 0), put_u(&s, 1, 1);
    expect_failure(&s, Q35_E_FORMAT, "is empty");
    for (i = 0; i < 3; i++) {
        static const uint32_t bad[] = {0, 24, 0xffffffffu};
        put_header(&s, 3, 0, 1), put_key(&s, "general.alignment", 4), put_u(&s, bad[i], 4);
        expect_failure(&s, Q35_E_FORMAT, "power of two");
    }
    put_header(&s, 3, 2, 0), put_tensor(&s, "w", 1, one, 0, 0), put_tensor(&s, "w", 1, one, 0, 32);
    put_zeros(&s, 128);
    expect_failure(&s, Q35_E_FORMAT, "w occurs twice");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 4, huge, 0, 0), put_zeros(&s, 64);
    expect_failure(&s, Q35_E_FORMAT, "impossible size");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 1, none, 0, 0), put_zeros(&s, 64);
    expect_failure(&s, Q35_E_FORMAT, "impossible size");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 0, one, 0, 0), put_zeros(&s, 64);
    expect_failure(&s, Q35_E_FORMAT, "0 dimensions");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 5, huge, 0, 0), put_zeros(&s, 64);
    expect_failure(&s, Q35_E_FORMAT, "5 dimensions");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 1, odd, 8, 0), put_zeros(&s, 128);
    expect_failure(&s, Q35_E_FORMAT, "multiple of 32");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 1, one, 0, 16), put_zeros(&s, 128);
    expect_failure(&s, Q35_E_FORMAT, "alignment");
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 1, one, 0, 1ull << 60), put_zeros(&s, 128);
    expect_failure(&s, Q35_E_FORMAT, "outside the file");
    put_header(&s, 3, 2, 0);
    put_tensor(&s, "v", 1, sixteen, 0, 0), put_tensor(&s, "w", 1, one, 0, 32), put_zeros(&s, 256);
    expect_failure(&s, Q35_E_FORMAT, "w overlaps");
}

/* A vocabulary alone: no tensors, no data, no padding. */
static void tensors_are_optional(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_str s = {0};
    struct q35_gguf *g;
    (void)state;
    put_header(&s, 3, 0, 1), put_key(&s, "a", 7), put_u(&s, 2, 1);
    assert_int_equal(open_str(&g, &s, &err), Q35_OK);
    assert_int_equal(q35_gguf_tensor_count(g), 0);
    assert_null(q35_gguf_tensor_find(g, "x"));
    assert_int_equal(q35_gguf_bool(g, "a", &(bool){false}, &err), Q35_E_FORMAT);
    q35_gguf_close(g);
    q35_str_fini(&s);
    q35_gguf_close(NULL);
}

/* An unknown tensor type is no reason to refuse a file, only to refuse reading that tensor. */
static void unknown_tensor_types_are_kept(void **state)
{
    static const uint64_t dims[1] = {7};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_str s = {0};
    struct q35_gguf *g;
    (void)state;
    put_header(&s, 3, 1, 0), put_tensor(&s, "w", 1, dims, 4711, 0), put_zeros(&s, 64);
    assert_int_equal(open_str(&g, &s, &err), Q35_OK);
    assert_int_equal(q35_gguf_tensor_at(g, 0)->bytes, 0);
    assert_string_equal(q35_gguf_tensor_type_name(4711), "unknown");
    assert_string_equal(q35_gguf_tensor_type_name(12), "Q4_K");
    q35_gguf_close(g);
    q35_str_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),
        cmocka_unit_test(wrong_kinds_are_refused),
        cmocka_unit_test(truncation_at_every_byte),
        cmocka_unit_test(mutation_of_every_byte),
        cmocka_unit_test(lies_are_named),
        cmocka_unit_test(tensors_are_optional),
        cmocka_unit_test(unknown_tensor_types_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
