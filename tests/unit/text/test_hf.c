/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <sys/stat.h>

#include "vocabs.h"

/* A directory with one tokenizer.json and tokenizer_config.json. */
static const char *directory(const char *json, const char *config)
{
    static char dir[256];
    const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    const char *const texts[] = {json, config};
    size_t i;
    snprintf(dir, sizeof(dir), "%s", temp_path("hf"));
    mkdir(dir, 0700);
    for (i = 0; i < 2; i++) {
        char path[300];
        FILE *f;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
        if (!texts[i])
            continue;
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
    }
    return dir;
}

static void remove_directory(const char *dir)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/tokenizer_config.json", dir);
    unlink(path);
    rmdir(dir);
}

static struct q35_tokenizer *from(const char *json, const char *config)
{
    struct q35_error err = Q35_ERROR_INIT;
    const char *dir = directory(json, config);
    struct q35_tokenizer *t;
    if (q35_tokenizer_from_dir(&t, dir, &err))
        fail_msg("%s", err.message);
    remove_directory(dir);
    return t;
}

#define VOCAB                                                                                      \
    "\"<unk>\":0,\"a\":1,\"b\":2,\"c\":3,\"\xe2\x96\x81\":4,\"ab\":5,\"\xe2\x96\x81"               \
    "ab\":6,"                                                                                      \
    "\"abc\":7,\"<0xC3>\":8,\"<0xA9>\":9,\"1\":10,\"12\":11,\"\xc4\xa0\":12,\"\xc4\xa0"            \
    "a\":13,"                                                                                      \
    "\"<0x21>\":14,\"2\":15,\"<0xZ!>\":16"
#define MERGES "\"a b\",[\"ab\",\"c\"],\"1 2\""
#define ADDED                                                                                      \
    "{\"id\":20,\"content\":\"<s>\",\"special\":true,\"normalized\":false},"                       \
    "{\"id\":21,\"content\":\"</s>\",\"special\":true,\"normalized\":false},"                      \
    "{\"id\":22,\"content\":\"<t>\",\"special\":false,\"normalized\":false,\"rstrip\":true,"       \
    "\"lstrip\":true}"
#define JSON(norm, pre, post, dec, model)                                                          \
    "{\"added_tokens\":[" ADDED "],\"normalizer\":" norm ",\"pre_tokenizer\":" pre                 \
    ",\"post_processor\":" post ",\"decoder\":" dec ",\"model\":{\"type\":\"BPE\"," model          \
    "\"vocab\":{" VOCAB "},\"merges\":[" MERGES "]}}"
#define SPM_NORM                                                                                   \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\xe2\x96\x81\"}," \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\xe2\x96\x81\"}]}"
#define SPM_DEC                                                                                    \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"          \
    "\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"        \
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}"
#define TEMPLATE                                                                                   \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"            \
    "{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}],\"special_tokens\":"      \
    "{\"<s>\":{\"ids\":[20]},\"</s>\":{\"ids\":[21]}}}"
#define FALLBACK "\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"fuse_unk\":true,"
#define LLAMA2 JSON(SPM_NORM, "null", TEMPLATE, SPM_DEC, FALLBACK)

static void sentencepiece_by_merges(void **state)
{
    struct q35_tokenizer *t = from(LLAMA2, "{\"bos_token\":\"<s>\",\"eos_token\":{\"content\":"
                                           "\"</s>\"},\"model_max_length\":1e30}");
    (void)state;
    assert_tokens(t, "ab abc", 0, SPACE "|ab|" SPACE "|abc");
    assert_tokens(t, "\xc3\xa9", 0, SPACE "|<0xC3>|<0xA9>");
    assert_tokens(t, "zzza", 0, SPACE "|<unk>|a");
    assert_tokens(t, "a", Q35_ENCODE_BOS, "<s>|" SPACE "|a|</s>");
    assert_tokens(t, "a <t> b", 0, SPACE "|a|<t>|" SPACE "|b");
    assert_tokens(t, "a<s>", Q35_ENCODE_SPECIAL, SPACE "|a|<s>");
    assert_int_equal(q35_tokenizer_bos(t), 20);
    assert_int_equal(q35_tokenizer_eos(t), 21);
    assert_true(q35_tokenizer_is_end(t, 21));
    assert_int_equal(q35_tokenizer_vocab(t), 23); /* ids 17 .. 19 have no names */
    assert_int_equal(q35_tokenizer_piece(t, 17, false).len, 0);
    assert_memory_equal(q35_tokenizer_piece(t, 14, false).data, "!", 1);
    assert_memory_equal(q35_tokenizer_piece(t, 16, false).data, "<0xZ!>", 6); /* not a byte's */
    q35_tokenizer_destroy(t);
}

#define SPLIT(re, behavior)                                                                        \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" re "\"},\"behavior\":\"" behavior              \
    "\",\"invert\":false}"
#define BYTES                                                                                      \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":"      \
    "false}"
#define SEQUENCE(a, b) "{\"type\":\"Sequence\",\"pretokenizers\":[" a "," b "]}"

static void splits_behave(void **state)
{
    static const struct {
        const char *pre, *text, *expected;
    } cases[] = {
        {SEQUENCE(SPLIT("b", "Isolated"), BYTES), "abcab", "a|b|c|a|b"},
        {SEQUENCE(SPLIT("b", "Removed"), BYTES), "abcab", "a|c|a"},
        {SEQUENCE(SPLIT("b", "MergedWithPrevious"), BYTES), "abcab", "ab|c|ab"},
        {SEQUENCE("{\"type\":\"Split\",\"pattern\":{\"String\":\"ab\"},\"behavior\":\"Removed\","
                  "\"invert\":true}",
                  BYTES),
         "abcab", "ab|ab"},
        {SEQUENCE(SPLIT("c", "MergedWithNext"), BYTES), "abcab", "ab|c|ab"},
        {SEQUENCE(SPLIT("[ab]", "Contiguous"), BYTES), "abcab", "ab|c|ab"},
        {SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}", BYTES), "1212", "1|2|1|2"},
        {SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":false}", BYTES), "ab12ab",
         "ab|12|ab"},
        {"{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}", "ab ab",
         "\xc4\xa0|ab|\xc4\xa0|ab"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(cases); i++) {
        char json[4096];
        struct q35_tokenizer *t;
        /* "b" and "2" are tokens here as "c" is; "c" stays a letter of its own */
        snprintf(json, sizeof(json),
                 "{\"added_tokens\":[],\"pre_tokenizer\":%s,\"decoder\":{\"type\":\"ByteLevel\"},"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"1\":4,"
                 "\"2\":5,\"12\":6,\"\xc4\xa0\":7},\"merges\":[\"a b\",\"1 2\"]}}",
                 cases[i].pre);
        t = from(json, NULL);
        if (strcmp(shown(t, cases[i].text, strlen(cases[i].text), 0), cases[i].expected) != 0)
            fail_msg("%s: %s", cases[i].pre, shown(t, cases[i].text, strlen(cases[i].text), 0));
        q35_tokenizer_destroy(t);
    }
}

static void metaspace_and_normal_forms(void **state)
{
    struct q35_tokenizer *t;
    (void)state;
    t = from(JSON("null",
                  "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":"
                  "\"first\",\"split\":true}",
                  "null", "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\"}", FALLBACK),
             NULL);
    assert_tokens(t, "ab<t>ab ab", 0, SPACE "|ab|<t>|ab|" SPACE "|ab");
    q35_tokenizer_destroy(t);
    t = from(JSON("{\"type\":\"NFC\"}", "null", "null", "null", FALLBACK), NULL);
    assert_tokens(t, "e\xcc\x81", 0, "<0xC3>|<0xA9>"); /* e and acute become one */
    q35_tokenizer_destroy(t);
    t = from(JSON("{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", "null", "null",
                  "null", FALLBACK),
             NULL);
    assert_tokens(t, "  a ", 0, "a");
    q35_tokenizer_destroy(t);
}

static void what_is_not_understood_is_refused(void **state)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {JSON("{\"type\":\"BertNormalizer\"}", "null", "null", "null", FALLBACK), "BertNormalizer"},
        {JSON("null", "{\"type\":\"UnicodeScripts\"}", "null", "null", FALLBACK), "UnicodeScripts"},
        {JSON("null", "null", "{\"type\":\"BertProcessing\"}", "null", FALLBACK), "BertProcessing"},
        {JSON("null", "null", "null", "{\"type\":\"WordPiece\"}", FALLBACK), "WordPiece"},
        {JSON("null", "null", "null", "null", "\"dropout\":0.5,"), "dropout"},
        {JSON("null", "null", "null", "null", "\"end_of_word_suffix\":\"</w>\","),
         "end_of_word_suffix"},
        {JSON("null", SPLIT("\\\\w+", "Isolated"), "null", "null", FALLBACK), "\\w+"},
        {JSON("null", SPLIT("[a-z&&[^b]]", "Isolated"), "null", "null", FALLBACK),
         "not understood"},
        {JSON("null", SPLIT("a{1,3}+", "Isolated"), "null", "null", FALLBACK), "possessive"},
        {JSON("null", SPLIT("(", "Isolated"), "null", "null", FALLBACK), "regex"},
        {JSON("null", SPLIT("a", "Sideways"), "null", "null", FALLBACK), "Sideways"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]]}}", "Unigram"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":-1},\"merges\":[]}}", "id of token \"a\""},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "two tokens have id 0"},
        {"{\"model\":{\"vocab\":{\"a\":0,\"b\":9000000},\"merges\":[]}}", "ids up to"},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}}", "vocabulary of 0"},
        {"[1]", "not an object"},
        {"{", "tokenizer.json:1"},
    };
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t;
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(cases); i++) {
        const char *dir = directory(cases[i].json, NULL);
        if (q35_tokenizer_from_dir(&t, dir, &err) == Q35_OK)
            fail_msg("accepted: %s", cases[i].json);
        assert_null(t);
        if (!strstr(err.message, cases[i].says))
            fail_msg("%s", err.message);
        remove_directory(dir);
    }
    assert_int_equal(q35_tokenizer_from_dir(&t, "/nonexistent", &err), Q35_E_NOT_FOUND);
}

/* Damaged files are refused or understood; nothing else happens. */
static void damaged_files_do_no_harm(void **state)
{
    static const char *const sources[] = {
        LLAMA2,
        JSON("{\"type\":\"NFC\"}", SEQUENCE(SPLIT("b| ", "MergedWithNext"), BYTES), TEMPLATE,
             "{\"type\":\"ByteLevel\"}", ""),
    };
    static const char noise[] = "{}[]\",:0-9\\ntnull.";
    struct test_rng r = {5};
    size_t i, understood = 0;
    (void)state;
    for (i = 0; i < 1500; i++) {
        char text[4096];
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_tokenizer *t;
        size_t n = strlen(sources[i % 2]), at = test_rng_u64(&r) % n, len = test_rng_u64(&r) % 9;
        const char *dir;
        memcpy(text, sources[i % 2], n + 1);
        if (i % 3 == 0)
            text[at] = noise[test_rng_u64(&r) % (sizeof(noise) - 1)];
        else if (i % 3 == 1 && at + len < n)
            memmove(text + at, text + at + len, n - at - len + 1);
        else
            text[at] = (char)('0' + test_rng_u64(&r) % 10);
        dir = directory(text, NULL);
        if (q35_tokenizer_from_dir(&t, dir, &err) == Q35_OK) {
            understood++;
            assert_non_null(shown(t, "ab <s> \xc3\xa9 12", 12, 3));
        } else {
            assert_true(err.message[0] != '\0');
        }
        q35_tokenizer_destroy(t);
        remove_directory(dir);
    }
    assert_in_range(understood, 1, 1499);
}

static void packed_models_keep_every_step(void **state)
{
    static const char *const jsons[] = {
        LLAMA2,
        JSON("{\"type\":\"NFC\"}", SEQUENCE(SPLIT("b| ", "MergedWithNext"), BYTES), TEMPLATE,
             "{\"type\":\"ByteLevel\"}", ""),
        JSON("null",
             "{\"type\":\"Metaspace\",\"replacement\":\"\xe2\x96\x81\",\"prepend_scheme\":"
             "\"always\","
             "\"split\":false}",
             "null", SPM_DEC, FALLBACK),
    };
    static const char *const texts[] = {
        "ab abc <t>  c", "e\xcc\x81 b\xc3\xa9 z", "<s>a</s>", "", "12 12!", "zz b  a"};
    static const char config[] =
        "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"tokenizer_class\":\"LlamaTokenizer\","
        "\"add_bos_token\":true,\"add_eos_token\":false,\"chat_template\":[{\"name\":\"tool_use\","
        "\"template\":\"T\"},{\"name\":\"default\",\"template\":\"D\"}]}";
    const char *packed = temp_path("packed.gguf");
    size_t i, k;
    (void)state;
    for (i = 0; i < Q35_COUNT(jsons); i++) {
        struct q35_tokenizer *a = from(jsons[i], config), *b = repack(a, packed), *c;
        uint32_t flags;
        c = repack(b, packed); /* and again */
        for (k = 0; k < Q35_COUNT(texts); k++)
            for (flags = 0; flags < 4; flags++) {
                char first[512];
                snprintf(first, sizeof(first), "%s", shown(a, texts[k], strlen(texts[k]), flags));
                assert_tokens(b, texts[k], flags, first);
                assert_tokens(c, texts[k], flags, first);
            }
        assert_tokens(c, "", Q35_ENCODE_BOS, "<s>"); /* the configuration rules here */
        assert_string_equal(q35_tokenizer_chat_template(c), "D");
        for (k = 0; k < q35_tokenizer_vocab(a); k++) {
            struct q35_piece p = q35_tokenizer_piece(a, (int32_t)k, true);
            struct q35_piece q = q35_tokenizer_piece(c, (int32_t)k, true);
            assert_int_equal(p.len, q.len);
            assert_memory_equal(p.data, q.data, p.len);
            assert_int_equal(q35_tokenizer_is_end(a, (int32_t)k),
                             q35_tokenizer_is_end(c, (int32_t)k));
        }
        q35_tokenizer_destroy(a);
        q35_tokenizer_destroy(b);
        q35_tokenizer_destroy(c);
    }
    unlink(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentencepiece_by_merges),
        cmocka_unit_test(splits_behave),
        cmocka_unit_test(metaspace_and_normal_forms),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(packed_models_keep_every_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
