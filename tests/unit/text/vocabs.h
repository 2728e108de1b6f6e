/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_UNIT_TEXT_VOCABS_H
#define Q35_TESTS_UNIT_TEXT_VOCABS_H

/* Small vocabularies made by the tests themselves. */

#include <unistd.h>

#include "../test.h"
#include "core/model/gguf.h"
#include "core/model/gguf_write.h"
#include "core/text/tokenizer_impl.h"

#define SPACE "\xe2\x96\x81" /* SentencePiece's visible space */

static const char *const spm_words[] = {
    SPACE,     "h",        "e",   "l",     "o",           "w",  "r",   "d",     "!",
    "he",      "ll",       "llo", "hello", SPACE "hello", "or", "wor", "world", SPACE "world",
    SPACE "w", "\xc3\xa9", "<",   "s",     ">",           "<s", "s>",  "ld"};

/* A temporary path of this process. */
static inline const char *temp_path(const char *name)
{
    static char path[4][256];
    static unsigned next;
    const char *dir = getenv("TMPDIR");
    char *p = path[next++ % 4];
    snprintf(p, 256, "%s/q35-text-%ld-%s", dir ? dir : "/tmp", (long)getpid(), name);
    return p;
}

/* SentencePiece: 3 special, 256 bytes, then words; the score falls with the index. */
static inline void write_spm(const char *path, bool prefix, const char *chat_template)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w;
    uint32_t n = 3 + 256 + Q35_COUNT(spm_words) + 3, i;
    int32_t kinds[3 + 256 + Q35_COUNT(spm_words) + 3];
    float scores[3 + 256 + Q35_COUNT(spm_words) + 3];
    assert_int_equal(q35_gguf_writer_create(&w, path, &err), Q35_OK);
    q35_gguf_put_string(w, "tokenizer.ggml.model", "llama", 5);
    q35_gguf_put_strings_begin(w, "tokenizer.ggml.tokens", n);
    for (i = 0; i < n; i++) {
        char name[16];
        const char *text = name;
        kinds[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
        /* Longer words are better, as a trained vocabulary has it in effect. */
        scores[i] = 0;
        if (i < 3) {
            text = i == 0 ? "<unk>" : i == 1 ? "<s>" : "</s>";
        } else if (i < 259) {
            snprintf(name, sizeof(name), "<0x%02X>", i - 3);
        } else if (i < n - 3) {
            text = spm_words[i - 259];
            scores[i] = -(float)i;
        } else {
            kinds[i] = i == n - 3 ? 4 : 3;
            text = i == n - 3 ? "<user>" : i == n - 2 ? "<|im_end|>" : "<|user|>";
        }
        q35_gguf_put_strings_item(w, text, strlen(text));
    }
    q35_gguf_put_f32s(w, "tokenizer.ggml.scores", scores, n);
    q35_gguf_put_i32s(w, "tokenizer.ggml.token_type", kinds, n);
    q35_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", prefix);
    if (chat_template)
        q35_gguf_put_string(w, "tokenizer.chat_template", chat_template, strlen(chat_template));
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_OK);
    assert_int_equal(q35_gguf_writer_finish(w, &err), Q35_OK);
    q35_gguf_writer_destroy(w);
}

static const char *const bpe_merges[] = {"h e",
                                         "l l",
                                         "he ll",
                                         "hell o",
                                         "\xc4\xa0 w",
                                         "o r",
                                         "\xc4\xa0w or",
                                         "l d",
                                         "\xc4\xa0wor ld",
                                         "1 2",
                                         "12 3",
                                         "\xc4\xa0 \xc4\xa0",
                                         "' s",
                                         "\xc3\x83 \xc2\xa9"};

/* Byte-level: 256 bytes, the merged words, two special tokens, one of the user's. */
static inline void write_bpe(const char *path, const char *pre)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w;
    uint32_t n = 256 + Q35_COUNT(bpe_merges) + 3, i;
    int32_t kinds[256 + Q35_COUNT(bpe_merges) + 3];
    assert_int_equal(q35_gguf_writer_create(&w, path, &err), Q35_OK);
    q35_gguf_put_string(w, "tokenizer.ggml.model", "gpt2", 4);
    if (pre)
        q35_gguf_put_string(w, "tokenizer.ggml.pre", pre, strlen(pre));
    q35_gguf_put_strings_begin(w, "tokenizer.ggml.tokens", n);
    for (i = 0; i < n; i++) {
        char text[64];
        size_t len;
        kinds[i] = i < n - 3 ? 1 : i < n - 1 ? 3 : 4;
        if (i < 256) {
            len = q35_utf8_put(q35_byte_to_char((uint8_t)i), text);
        } else if (i < n - 3) {
            const char *m = bpe_merges[i - 256], *gap = strchr(m, ' ');
            len = (size_t)snprintf(text, sizeof(text), "%.*s%s", (int)(gap - m), m, gap + 1);
        } else {
            len = (size_t)snprintf(text, sizeof(text), "%s",
                                   i == n - 3   ? "<|begin_of_text|>"
                                   : i == n - 2 ? "<|eot_id|>"
                                                : "<tool>");
        }
        q35_gguf_put_strings_item(w, text, len);
    }
    q35_gguf_put_i32s(w, "tokenizer.ggml.token_type", kinds, n);
    q35_gguf_put_strings_begin(w, "tokenizer.ggml.merges", Q35_COUNT(bpe_merges));
    for (i = 0; i < Q35_COUNT(bpe_merges); i++)
        q35_gguf_put_strings_item(w, bpe_merges[i], strlen(bpe_merges[i]));
    q35_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", n - 3);
    q35_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", n - 2);
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_OK);
    assert_int_equal(q35_gguf_writer_finish(w, &err), Q35_OK);
    q35_gguf_writer_destroy(w);
}

static inline enum q35_status load_gguf(struct q35_tokenizer **t, const char *path,
                                        struct q35_error *err)
{
    struct q35_gguf *g = NULL;
    enum q35_status s = q35_gguf_open(&g, path, err);
    *t = NULL;
    if (!s)
        s = q35_tokenizer_from_gguf(t, g, err);
    q35_gguf_close(g);
    return s;
}

static inline struct q35_tokenizer *must_load(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t;
    if (load_gguf(&t, path, &err))
        fail_msg("%s", err.message);
    return t;
}

/* Writes the tokenizer into a packed model and reads it back. */
static inline struct q35_tokenizer *repack(const struct q35_tokenizer *t, const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w;
    assert_int_equal(q35_gguf_writer_create(&w, path, &err), Q35_OK);
    assert_int_equal(q35_tokenizer_write(t, w, &err), Q35_OK);
    if (q35_gguf_writer_begin_data(w, &err) || q35_gguf_writer_finish(w, &err))
        fail_msg("%s", err.message);
    q35_gguf_writer_destroy(w);
    return must_load(path);
}

/* The tokens of a text, shown: pieces in their file's spelling, parted by '|'. */
static inline const char *shown(const struct q35_tokenizer *t, const char *text, size_t len,
                                uint32_t flags)
{
    static struct q35_str out;
    struct q35_error err = Q35_ERROR_INIT;
    int32_t *ids;
    size_t n, i;
    if (q35_tokenizer_encode(t, text, len, flags, &ids, &n, &err))
        fail_msg("%s", err.message);
    q35_str_clear(&out);
    q35_str_addz(&out, "");
    for (i = 0; i < n; i++) {
        const struct q35_vocab_token *k = &t->vocab.tokens[ids[i]];
        if (i)
            q35_str_addz(&out, "|");
        q35_str_add(&out, t->vocab.pool.data + k->text, k->text_len);
    }
    free(ids);
    return out.data;
}

#define assert_tokens(t, text, flags, expected)                                                    \
    assert_string_equal(shown(t, text, strlen(text), flags), expected)

#endif
