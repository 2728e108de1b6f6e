/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "vocabs.h"

static void sentencepiece_merges_by_score(void **state)
{
    const char *path = temp_path("spm.gguf");
    struct q35_tokenizer *t;
    (void)state;
    write_spm(path, true, NULL);
    t = must_load(path);
    assert_tokens(t, "hello world!", 0, SPACE "hello|" SPACE "world|!");
    assert_tokens(t, "hello", Q35_ENCODE_BOS, "<s>|" SPACE "hello");
    assert_tokens(t, "", Q35_ENCODE_BOS, "<s>");
    assert_tokens(t, "", 0, "");
    /* "he" (better score) goes before "el" would; what no token spells becomes bytes */
    assert_tokens(t, "heq", 0, SPACE "|he|<0x71>");
    assert_tokens(t, "\xc3\xa9\xc3\xa8", 0, SPACE "|\xc3\xa9|<0xC3>|<0xA8>");
    assert_tokens(t, "\n", 0, SPACE "|<0x0A>");
    q35_tokenizer_destroy(t);
    write_spm(path, false, NULL);
    t = must_load(path);
    assert_tokens(t, "hello world", 0, "hello|" SPACE "world");
    q35_tokenizer_destroy(t);
    unlink(path);
}

static void text_never_becomes_a_control_token(void **state)
{
    const char *path = temp_path("spm.gguf");
    struct q35_tokenizer *t;
    (void)state;
    write_spm(path, true, NULL);
    t = must_load(path);
    /* "<" + "s" + ">" could merge to "<s>" by way of the tokens "<s" and "s>" */
    assert_tokens(t, "<s>", 0, SPACE "|<s|>");
    assert_tokens(t, "<s>", Q35_ENCODE_SPECIAL, "<s>");
    assert_tokens(t, "hello<s>hello", Q35_ENCODE_SPECIAL, SPACE "hello|<s>|" SPACE "hello");
    assert_tokens(t, "hello<user>hello", 0, SPACE "hello|<user>|" SPACE "hello");
    assert_tokens(t, "<|im_end|>", Q35_ENCODE_SPECIAL, "<|im_end|>");
    assert_null(strstr(shown(t, "<|im_end|>", 10, 0), "im_end"));
    assert_true(q35_tokenizer_is_control(t, 1));
    assert_false(q35_tokenizer_is_control(t, 259));
    assert_true(q35_tokenizer_is_end(t, 2));
    assert_true(q35_tokenizer_is_end(t, (int32_t)q35_tokenizer_vocab(t) - 2));
    assert_false(q35_tokenizer_is_end(t, 1));
    assert_false(q35_tokenizer_is_end(t, -1));
    q35_tokenizer_destroy(t);
    unlink(path);
}

static void byte_level_merges_by_rank(void **state)
{
    const char *path = temp_path("bpe.gguf");
    struct q35_tokenizer *t;
    (void)state;
    write_bpe(path, "gpt-2");
    t = must_load(path);
    assert_tokens(t, "hello world", 0, "hello|\xc4\xa0world");
    assert_tokens(t, "hello  world", 0, "hello|\xc4\xa0|\xc4\xa0world");
    assert_tokens(t, "hello   world", 0, "hello|\xc4\xa0\xc4\xa0|\xc4\xa0world");
    assert_tokens(t, "it's", 0, "i|t|'s");
    assert_tokens(t, "1234", 0, "123|4");
    assert_tokens(t, "\xc3\xa9", 0, "\xc3\x83\xc2\xa9");
    assert_tokens(t, "<tool>hello<|eot_id|>", Q35_ENCODE_SPECIAL, "<tool>|hello|<|eot_id|>");
    assert_tokens(t, "hello", Q35_ENCODE_BOS, "hello");
    q35_tokenizer_destroy(t);
    write_bpe(path, "llama-bpe");
    t = must_load(path);
    assert_tokens(t, "hello", Q35_ENCODE_BOS, "<|begin_of_text|>|hello");
    assert_true(q35_tokenizer_is_end(t, q35_tokenizer_eos(t)));
    q35_tokenizer_destroy(t);
    write_bpe(path, "qwen2");
    t = must_load(path);
    assert_tokens(t, "123", 0, "1|2|3"); /* digits stand alone */
    q35_tokenizer_destroy(t);
    unlink(path);
}

static void unknown_pre_tokenizers_are_refused(void **state)
{
    const char *path = temp_path("bpe.gguf");
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t;
    (void)state;
    write_bpe(path, "never-heard-of");
    assert_int_equal(load_gguf(&t, path, &err), Q35_E_UNSUPPORTED);
    assert_null(t);
    assert_non_null(strstr(err.message, "never-heard-of"));
    write_bpe(path, NULL);
    assert_int_equal(load_gguf(&t, path, &err), Q35_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "tokenizer.ggml.pre"));
    unlink(path);
}

static void all_known_pre_tokenizers_compile(void **state)
{
    static const char *const names[] = {
        "llama-bpe", "qwen2",        "qwen35",         "gpt-2",       "starcoder", "falcon",
        "default",   "deepseek-llm", "deepseek-coder", "deepseek-v3", "tekken",    "gpt-4o",
        "bloom",     "viking",       "seed-coder",     "smollm",      "refact",    "command-r"};
    const char *path = temp_path("bpe.gguf");
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(names); i++) {
        struct q35_tokenizer *t;
        write_bpe(path, names[i]);
        t = must_load(path);
        assert_tokens(t, "hello hello", 0, "hello|\xc4\xa0|hello");
        q35_tokenizer_destroy(t);
    }
    unlink(path);
}

/* Random bytes, mostly well-formed, to one buffer. */
static size_t random_text(struct test_rng *r, char *out, size_t room, bool valid)
{
    static const char *const parts[] = {"hello",
                                        " world",
                                        "  ",
                                        "\n",
                                        "12345",
                                        "it's",
                                        "<s>",
                                        "<tool>",
                                        "\xe6\x97\xa5\xe6\x9c\xac",
                                        "\xf0\x9f\xa6\x99"};
    size_t n = 0, words = test_rng_u64(r) % 12;
    while (words-- && n + 16 < room) {
        uint64_t k = test_rng_u64(r) % 14;
        if (k < Q35_COUNT(parts)) {
            memcpy(out + n, parts[k], strlen(parts[k]));
            n += strlen(parts[k]);
        } else if (k < 13 || valid) {
            uint32_t cp = (uint32_t)(test_rng_u64(r) % 0x110000);
            n += q35_utf8_put(cp >= 0xd800 && cp < 0xe000 ? 'x' : cp, out + n);
        } else {
            out[n++] = (char)(0x80 | test_rng_u64(r));
        }
    }
    return n;
}

static void round_trip(const struct q35_tokenizer *t, const char *text, size_t len)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_detok d = {{0}, 0, false};
    struct q35_str out = {0};
    int32_t *ids;
    size_t n, i;
    assert_int_equal(q35_tokenizer_encode(t, text, len, 0, &ids, &n, &err), Q35_OK);
    for (i = 0; i < n; i++) {
        q35_detok_push(&d, t, ids[i], &out);
        /* Never half a character, at no moment. */
        assert_int_equal(q35_utf8_prefix(out.data ? out.data : "", out.len), out.len);
    }
    q35_detok_finish(&d, &out);
    if (q35_utf8_prefix(text, len) == len) {
        assert_int_equal(out.len, len);
        if (len)
            assert_memory_equal(out.data, text, len);
    }
    assert_int_equal(q35_utf8_prefix(out.data ? out.data : "", out.len), out.len);
    q35_str_fini(&out);
    free(ids);
}

static void texts_come_back(void **state)
{
    const char *spm = temp_path("spm.gguf"), *bpe = temp_path("bpe.gguf");
    struct q35_tokenizer *a, *b, *c;
    struct test_rng r = {35};
    int i;
    (void)state;
    write_spm(spm, true, NULL);
    a = must_load(spm);
    write_bpe(bpe, "llama-bpe");
    b = must_load(bpe);
    write_bpe(bpe, "deepseek-llm");
    c = must_load(bpe);
    for (i = 0; i < 3000; i++) {
        char text[256];
        size_t n = random_text(&r, text, sizeof(text), i % 2 == 0);
        round_trip(a, text, n);
        round_trip(b, text, n);
        round_trip(c, text, n);
    }
    q35_tokenizer_destroy(a);
    q35_tokenizer_destroy(b);
    q35_tokenizer_destroy(c);
    unlink(spm);
    unlink(bpe);
}

static void half_characters_wait(void **state)
{
    const char *path = temp_path("spm.gguf");
    struct q35_detok d = {{0}, 0, true};
    struct q35_str out = {0};
    struct q35_tokenizer *t;
    (void)state;
    write_spm(path, true, NULL);
    t = must_load(path);
    q35_detok_push(&d, t, 3 + 0xf0, &out);
    q35_detok_push(&d, t, 3 + 0x9f, &out);
    q35_detok_push(&d, t, 3 + 0xa6, &out);
    assert_int_equal(out.len, 0);
    q35_detok_push(&d, t, 3 + 0x99, &out);
    assert_string_equal(out.data, "\xf0\x9f\xa6\x99");
    q35_str_clear(&out);
    q35_detok_push(&d, t, 3 + 0xe2, &out); /* broken off by a plain character */
    q35_detok_push(&d, t, 3 + 0x82, &out);
    q35_detok_push(&d, t, 3 + 'A', &out);
    assert_string_equal(out.data, "\xef\xbf\xbd"
                                  "A");
    q35_str_clear(&out);
    q35_detok_push(&d, t, 3 + 0xff, &out);
    assert_string_equal(out.data, "\xef\xbf\xbd");
    q35_str_clear(&out);
    q35_detok_push(&d, t, 3 + 0xc3, &out);
    q35_detok_push(&d, t, 1, &out); /* control tokens show nothing */
    q35_detok_finish(&d, &out);
    assert_string_equal(out.data, "\xef\xbf\xbd");
    q35_str_fini(&out);
    q35_tokenizer_destroy(t);
    unlink(path);
}

static void same_tokens(const struct q35_tokenizer *a, const struct q35_tokenizer *b)
{
    struct test_rng r = {7};
    uint32_t i;
    assert_int_equal(q35_tokenizer_vocab(a), q35_tokenizer_vocab(b));
    for (i = 0; i < q35_tokenizer_vocab(a); i++) {
        struct q35_piece p = q35_tokenizer_piece(a, (int32_t)i, true);
        struct q35_piece q = q35_tokenizer_piece(b, (int32_t)i, true);
        assert_int_equal(p.len, q.len);
        assert_memory_equal(p.data, q.data, p.len);
        assert_int_equal(q35_tokenizer_is_end(a, (int32_t)i), q35_tokenizer_is_end(b, (int32_t)i));
        assert_int_equal(q35_tokenizer_is_control(a, (int32_t)i),
                         q35_tokenizer_is_control(b, (int32_t)i));
    }
    assert_int_equal(q35_tokenizer_bos(a), q35_tokenizer_bos(b));
    assert_int_equal(q35_tokenizer_eos(a), q35_tokenizer_eos(b));
    for (i = 0; i < 500; i++) {
        char text[256], first[4096];
        size_t n = random_text(&r, text, sizeof(text), false);
        snprintf(first, sizeof(first), "%s", shown(a, text, n, i % 4));
        assert_string_equal(first, shown(b, text, n, i % 4));
    }
}

static void packed_models_tokenize_alike(void **state)
{
    const char *path = temp_path("in.gguf"), *packed = temp_path("out.gguf");
    struct q35_tokenizer *a, *b;
    int i;
    (void)state;
    for (i = 0; i < 4; i++) {
        if (i < 2)
            write_spm(path, i == 0, "{{ bos_token }}x");
        else
            write_bpe(path, i == 2 ? "llama-bpe" : "falcon");
        a = must_load(path);
        b = repack(a, packed);
        same_tokens(a, b);
        if (i < 2)
            assert_string_equal(q35_tokenizer_chat_template(b), "{{ bos_token }}x");
        q35_tokenizer_destroy(a);
        q35_tokenizer_destroy(b);
    }
    unlink(path);
    unlink(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece_merges_by_score),
        cmocka_unit_test(text_never_becomes_a_control_token),
        cmocka_unit_test(byte_level_merges_by_rank),
        cmocka_unit_test(unknown_pre_tokenizers_are_refused),
        cmocka_unit_test(all_known_pre_tokenizers_compile),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(half_characters_wait),
        cmocka_unit_test(packed_models_tokenize_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
