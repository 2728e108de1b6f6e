/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "core/model/gguf.h"
#include "core/text/tokenizer_impl.h"

/* libFuzzer target for what text passes through: chat templates, tokenizer.json and the
 * tokenizers of GGUF files. The first byte chooses; the rest is the file. Whatever is accepted must
 * then work. */

static const char *const fuzz_files[8] = {"tokenizer.json"};
static const char sample[] = "Hello w\xc3\xb6rld 123 <s>\xff\xfe  \t\n abab</s> \xe2\x96\x81z";

/* Every id that comes out is a token; pieces and detokenizing take all of them. */
static void use_ids(const struct q35_tokenizer *t, const int32_t *ids, size_t count)
{
    struct q35_detok d = {0};
    struct q35_str out = {0};
    for (size_t i = 0; i < count; i++) {
        check(ids[i] >= 0 && (uint32_t)ids[i] < q35_tokenizer_vocab(t));
        q35_detok_push(&d, t, ids[i], &out);
    }
    q35_detok_finish(&d, &out);
    q35_str_fini(&out);
}

static void use_chat(const struct q35_tokenizer *t, const char *template_text)
{
    static const struct q35_chat_message messages[] = {
        {"system", "Be brief.", 9}, {"user", sample, sizeof(sample) - 1}, {"assistant", "", 0}};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_chat *c;
    int32_t *ids;
    size_t count;
    if (q35_chat_create(&c, template_text, &err) != Q35_OK) {
        check(!c && err.message[0]);
        return;
    }
    for (int generate = 0; generate < 2; generate++) {
        enum q35_status st =
            q35_chat_encode(c, t, messages, Q35_COUNT(messages), generate, &ids, &count, &err);
        if (st == Q35_OK)
            use_ids(t, ids, count);
        else
            check(err.message[0]);
        free(ids);
    }
    q35_chat_destroy(c);
}

static void use_tokenizer(const struct q35_tokenizer *t)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t n = q35_tokenizer_vocab(t);
    for (uint32_t flags = 0; flags < 4; flags++) {
        int32_t *ids = NULL;
        size_t count = 0;
        if (q35_tokenizer_encode(t, sample, sizeof(sample) - 1, flags, &ids, &count, &err) ==
            Q35_OK)
            use_ids(t, ids, count);
        free(ids);
    }
    for (uint32_t i = 0; i < n && i < 1000; i++)
        check(q35_tokenizer_piece(t, (int32_t)i, true).data != NULL);
    check(q35_tokenizer_bos(t) < (int32_t)n && q35_tokenizer_eos(t) < (int32_t)n);
    if (q35_tokenizer_chat_template(t))
        use_chat(t, q35_tokenizer_chat_template(t));
}

static struct q35_tokenizer *from_json(const void *data, size_t size)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t;
    char path[128];
    fuzz_write(fuzz_path(path, "tokenizer.json"), data, size);
    if (q35_tokenizer_from_dir(&t, fuzz_folder(), &err) != Q35_OK)
        check(!t && err.message[0]);
    return t;
}

static void open_json(const uint8_t *data, size_t size)
{
    struct q35_tokenizer *t = from_json(data, size);
    if (t)
        use_tokenizer(t);
    q35_tokenizer_destroy(t);
}

static void open_gguf(const uint8_t *data, size_t size)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t;
    struct q35_gguf *g;
    if (q35_gguf_open_memory(&g, data, size, "fuzz", &err) != Q35_OK)
        return;
    if (q35_tokenizer_from_gguf(&t, g, &err) == Q35_OK)
        use_tokenizer(t);
    else
        check(!t && err.message[0]);
    q35_tokenizer_destroy(t);
    q35_gguf_close(g);
}

static void open_template(const uint8_t *data, size_t size)
{
    static struct q35_tokenizer *t;
    char *text = malloc(size + 1);
    if (!t)
        check((t = from_json(FUZZ_TOKENIZER, sizeof(FUZZ_TOKENIZER) - 1)) != NULL);
    check(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    use_chat(t, text);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] == 'j')
        open_json(data + 1, size - 1);
    else if (data[0] == 'g')
        open_gguf(data + 1, size - 1);
    else if (data[0] == 't')
        open_template(data + 1, size - 1);
    return 0;
}
