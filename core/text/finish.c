/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/tokenizer_impl.h"

#define BAR "\xef\xbd\x9c" /* full-width vertical line */
#define GAP "\xe2\x96\x81" /* SentencePiece's visible space */

const char *const q35_special_keys[Q35_SPECIAL_COUNT] = {
    [Q35_SPECIAL_BOS] = "tokenizer.ggml.bos_token_id",
    [Q35_SPECIAL_EOS] = "tokenizer.ggml.eos_token_id",
    [Q35_SPECIAL_EOT] = "tokenizer.ggml.eot_token_id",
    [Q35_SPECIAL_EOM] = "tokenizer.ggml.eom_token_id",
    [Q35_SPECIAL_UNK] = "tokenizer.ggml.unknown_token_id",
    [Q35_SPECIAL_SEP] = "tokenizer.ggml.seperator_token_id", /* GGUF's own spelling */
    [Q35_SPECIAL_PAD] = "tokenizer.ggml.padding_token_id",
    [Q35_SPECIAL_MASK] = "tokenizer.ggml.mask_token_id",
};

char *q35_text_dup(const char *text, size_t len)
{
    char *p = malloc(len + 1);
    if (p) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

struct q35_tokenizer *q35_tokenizer_new(void)
{
    struct q35_tokenizer *t = calloc(1, sizeof(*t));
    int i;
    if (!t)
        return NULL;
    for (i = 0; i < Q35_SPECIAL_COUNT; i++)
        t->special[i] = -1;
    t->bpe.unk = -1;
    return t;
}

void q35_tokenizer_destroy(struct q35_tokenizer *t)
{
    if (!t)
        return;
    q35_vocab_fini(&t->vocab);
    q35_bpe_fini(&t->bpe);
    q35_pipeline_fini(&t->pipeline);
    q35_added_fini(&t->early);
    q35_added_fini(&t->late);
    q35_added_fini(&t->chat);
    free(t->prefix.data);
    free(t->suffix.data);
    free(t->chat_template);
    free(t->json);
    free(t);
}

uint32_t q35_tokenizer_vocab(const struct q35_tokenizer *t)
{
    return t->vocab.count;
}

int32_t q35_tokenizer_bos(const struct q35_tokenizer *t)
{
    return t->special[Q35_SPECIAL_BOS];
}

int32_t q35_tokenizer_eos(const struct q35_tokenizer *t)
{
    return t->special[Q35_SPECIAL_EOS];
}

bool q35_tokenizer_is_control(const struct q35_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.count &&
           t->vocab.tokens[id].kind == Q35_TOKEN_CONTROL;
}

bool q35_tokenizer_is_end(const struct q35_tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->vocab.count && (t->vocab.tokens[id].flags & Q35_TOKEN_END);
}

const char *q35_tokenizer_chat_template(const struct q35_tokenizer *t)
{
    return t->chat_template;
}

/* Tokens for filling in the middle are control tokens, whatever the file calls them. */
static void mark_fim(struct q35_tokenizer *t)
{
    static const char *const names[] = {
        "<|fim_prefix|>", "<fim-prefix>",
        "<fim_prefix>",   ("<" BAR "fim" GAP "begin" BAR ">"),
        "<PRE>",          (GAP "<PRE>"),
        "<|fim_suffix|>", "<fim-suffix>",
        "<fim_suffix>",   ("<" BAR "fim" GAP "hole" BAR ">"),
        "<SUF>",          (GAP "<SUF>"),
        "<|fim_middle|>", "<fim-middle>",
        "<fim_middle>",   ("<" BAR "fim" GAP "end" BAR ">"),
        "<MID>",          (GAP "<MID>"),
    };
    size_t i;
    for (i = 0; i < Q35_COUNT(names); i++) {
        int32_t id = q35_vocab_find(&t->vocab, names[i], strlen(names[i]));
        if (id >= 0) {
            t->vocab.tokens[id].kind = Q35_TOKEN_CONTROL;
            t->vocab.tokens[id].flags |= Q35_TOKEN_ADDED;
        }
    }
}

void q35_tokenizer_mark_ends(struct q35_tokenizer *t, bool control_only)
{
    static const char *const names[] = {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        ("<" BAR "end" GAP "of" GAP "sentence" BAR ">"),
        /* Code models: the next file begins. */
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    };
    size_t i;
    for (i = 0; i < Q35_COUNT(names); i++) {
        int32_t id = q35_vocab_find(&t->vocab, names[i], strlen(names[i]));
        if (id < 0 || (control_only && t->vocab.tokens[id].kind != Q35_TOKEN_CONTROL))
            continue;
        t->vocab.tokens[id].kind = Q35_TOKEN_CONTROL;
        t->vocab.tokens[id].flags |= Q35_TOKEN_END | Q35_TOKEN_ADDED;
    }
    if (!control_only)
        mark_fim(t);
    for (i = Q35_SPECIAL_EOS; i <= Q35_SPECIAL_EOM; i++)
        if (t->special[i] >= 0)
            t->vocab.tokens[t->special[i]].flags |= Q35_TOKEN_END;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0x41>" -> 'A' */
static bool byte_name(const char *text, size_t len, char *byte)
{
    int hi, lo;
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return false;
    hi = hex_digit(text[3]);
    lo = hex_digit(text[4]);
    if (hi < 0 || lo < 0)
        return false;
    *byte = (char)(hi << 4 | lo);
    return true;
}

static void add_spaced(struct q35_str *pool, const char *text, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (i + 3 <= len && memcmp(text + i, GAP, 3) == 0) {
            q35_str_add(pool, " ", 1);
            i += 3;
        } else {
            q35_str_add(pool, text + i++, 1);
        }
    }
}

/* False if a character is not of the byte alphabet. */
static bool add_unmapped(struct q35_str *pool, const char *text, size_t len)
{
    size_t before = pool->len, at = 0;
    while (at < len) {
        uint32_t cp = 0;
        size_t n = q35_utf8_get(text + at, len - at, &cp);
        int b = n ? q35_char_to_byte(cp) : -1;
        char c = (char)b;
        if (b < 0) {
            pool->len = before;
            return false;
        }
        q35_str_add(pool, &c, 1);
        at += n;
    }
    return true;
}

/* The bytes of token k behind what the pool holds already. */
static void make_piece(const struct q35_tokenizer *t, struct q35_vocab_token *k,
                       struct q35_str *pool)
{
    char *text = q35_text_dup(pool->data + k->text, k->text_len);
    size_t len = k->text_len, before = pool->len;
    bool plain = k->kind == Q35_TOKEN_NORMAL || k->kind == Q35_TOKEN_UNUSED;
    char byte;
    if (!text) {
        pool->failed = true;
        return;
    }
    if ((k->kind == Q35_TOKEN_BYTE || (t->byte_tokens && plain)) && byte_name(text, len, &byte))
        q35_str_add(pool, &byte, 1);
    else if (t->decode == Q35_DECODE_SPACES && (plain || (k->kind == Q35_TOKEN_USER && t->json)))
        add_spaced(pool, text, len);
    else if (!(t->decode == Q35_DECODE_BYTE_ALPHABET && plain && add_unmapped(pool, text, len)))
        q35_str_add(pool, text, len);
    k->piece = (uint32_t)before;
    k->piece_len = (uint32_t)(pool->len - before);
    if (pool->len > UINT32_MAX)
        pool->failed = true;
    free(text);
}

static enum q35_status add_late(struct q35_tokenizer *t, uint32_t id, struct q35_error *err)
{
    const struct q35_vocab_token *k = &t->vocab.tokens[id];
    struct q35_words w = {0};
    struct q35_str text = {0};
    enum q35_status s = q35_pipeline_normalize(&t->pipeline, &w, q35_vocab_text(&t->vocab, id),
                                               k->text_len, true, &text, err);
    if (!s)
        q35_added_put(&t->late, text.data, text.len, (int32_t)id);
    t->has_late = true;
    q35_str_fini(&text);
    q35_words_fini(&w);
    return s;
}

enum q35_status q35_tokenizer_finish(struct q35_tokenizer *t, struct q35_error *err)
{
    enum q35_status s = Q35_OK;
    uint32_t i;
    q35_bpe_find_bytes(&t->bpe, &t->vocab, t->decode == Q35_DECODE_BYTE_ALPHABET);
    for (i = 0; i < t->vocab.count && !t->vocab.pool.failed && !s; i++) {
        struct q35_vocab_token *k = &t->vocab.tokens[i];
        make_piece(t, k, &t->vocab.pool);
        if (!(k->flags & Q35_TOKEN_ADDED))
            continue;
        if ((k->flags & Q35_TOKEN_LATE) && t->pipeline.n_norms)
            s = add_late(t, i, err);
        else
            q35_added_put(&t->early, q35_vocab_text(&t->vocab, i), k->text_len, (int32_t)i);
        if (k->kind == Q35_TOKEN_CONTROL || !(k->flags & Q35_TOKEN_LATE) || !t->pipeline.n_norms)
            q35_added_put(&t->chat, q35_vocab_text(&t->vocab, i), k->text_len, (int32_t)i);
    }
    if (s)
        return s;
    if (t->vocab.pool.failed || t->early.edges.failed || t->late.edges.failed ||
        t->chat.edges.failed || t->prefix.failed || t->suffix.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a tokenizer");
    return Q35_OK;
}
