/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/tokenizer_impl.h"

enum { MAX_JSON = 256 << 20, MAX_TEMPLATE = 4 << 20 };

struct loader {
    struct q35_tokenizer *t;
    const char *dir;
    json_t *root;       /* tokenizer.json */
    json_t *config;     /* tokenizer_config.json or NULL */
    json_t *generation; /* generation_config.json or NULL */
    json_t *model;      /* config.json or NULL */
    struct q35_error *err;
};

static enum q35_status read_text(struct loader *l, const char *name, uint64_t limit, char **text,
                                 size_t *len)
{
    char path[4096];
    if (snprintf(path, sizeof(path), "%s/%s", l->dir, name) >= (int)sizeof(path))
        return q35_fail(l->err, Q35_E_INVALID, "the path of %s is too long", name);
    return q35_file_read(path, limit, text, len, l->err);
}

/* *out NULL and OK if the file is not there. tokenizer_config.json likes to hold 1e30 as an
 * integer, hence the flags. */
static enum q35_status read_json(struct loader *l, const char *name, size_t flags, json_t **out)
{
    json_error_t e;
    char *text;
    size_t len;
    enum q35_status s = read_text(l, name, MAX_JSON, &text, &len);
    if (s)
        return s == Q35_E_NOT_FOUND ? Q35_OK : s;
    *out = json_loadb(text, len, JSON_ALLOW_NUL | flags, &e);
    free(text);
    if (!*out || !json_is_object(*out))
        return q35_fail(l->err, Q35_E_FORMAT, "%s/%s:%d: %s", l->dir, name, e.line,
                        *out ? "not an object" : e.text);
    return Q35_OK;
}

/* ---- vocabulary ---- */

static enum q35_status check_id(struct loader *l, const json_t *id, const char *text,
                                uint64_t *count)
{
    json_int_t v = json_integer_value(id);
    if (!json_is_integer(id) || v < 0 || v >= 1 << 24)
        return q35_fail(l->err, Q35_E_FORMAT, "tokenizer.json: the id of token \"%.80s\"",
                        text ? text : "");
    if ((uint64_t)v >= *count)
        *count = (uint64_t)v + 1;
    return Q35_OK;
}

static uint8_t kind_of(const struct loader *l, const char *text)
{
    bool bytes = json_is_true(json_object_get(json_object_get(l->root, "model"), "byte_fallback"));
    return bytes && strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>'
               ? Q35_TOKEN_BYTE
               : Q35_TOKEN_NORMAL;
}

static enum q35_status put_token(struct loader *l, const char *text, size_t len, uint32_t id,
                                 uint8_t kind)
{
    struct q35_vocab *v = &l->t->vocab;
    if (v->tokens[id].kind)
        return q35_fail(l->err, Q35_E_FORMAT, "tokenizer.json: two tokens have id %u", id);
    q35_vocab_set(v, id, text, len, kind);
    return Q35_OK;
}

static enum q35_status fill_vocab(struct loader *l, json_t *vocab, const json_t *added)
{
    struct q35_vocab *v = &l->t->vocab;
    const char *text;
    json_t *id;
    const json_t *entry;
    enum q35_status s;
    size_t i;
    json_object_foreach(vocab, text, id)
    {
        s = put_token(l, text, strlen(text), (uint32_t)json_integer_value(id), kind_of(l, text));
        if (s)
            return s;
    }
    json_array_foreach(added, i, entry)
    {
        const json_t *content = json_object_get(entry, "content");
        const char *c = json_string_value(content);
        size_t len = json_string_length(content);
        if (len && q35_vocab_find(v, c, len) < 0) {
            s = put_token(l, c, len, (uint32_t)json_integer_value(json_object_get(entry, "id")),
                          Q35_TOKEN_USER);
            if (s)
                return s;
        }
    }
    for (i = 0; i < v->count; i++)
        if (!v->tokens[i].kind) {
            char name[32];
            int n = snprintf(name, sizeof(name), "[PAD%zu]", i);
            q35_vocab_set(v, (uint32_t)i, name, (size_t)n, Q35_TOKEN_UNUSED);
        }
    return v->pool.failed ? q35_fail(l->err, Q35_E_NOMEM, "no memory for the vocabulary") : Q35_OK;
}

static enum q35_status load_vocab(struct loader *l)
{
    json_t *vocab = json_object_get(json_object_get(l->root, "model"), "vocab"), *id;
    const json_t *added = json_object_get(l->root, "added_tokens"), *entry;
    uint64_t count = 0, named;
    const char *text;
    enum q35_status s;
    size_t i;
    if (!json_is_object(vocab))
        return q35_fail(
            l->err, Q35_E_UNSUPPORTED,
            "tokenizer.json: model.vocab is not a table of tokens (model type %s)",
            json_string_value(json_object_get(json_object_get(l->root, "model"), "type")));
    json_object_foreach(vocab, text, id)
    {
        s = check_id(l, id, text, &count);
        if (s)
            return s;
    }
    json_array_foreach(added, i, entry)
    {
        s = check_id(l, json_object_get(entry, "id"),
                     json_string_value(json_object_get(entry, "content")), &count);
        if (s)
            return s;
    }
    named = json_object_size(vocab) + json_array_size(added);
    if (count > 2 * named + 65536)
        return q35_fail(l->err, Q35_E_FORMAT, "tokenizer.json: ids up to %llu for %llu tokens",
                        (unsigned long long)count - 1, (unsigned long long)named);
    s = q35_vocab_init(&l->t->vocab, count, l->err);
    return s ? s : fill_vocab(l, vocab, added);
}

static enum q35_status load_merges(struct loader *l)
{
    const json_t *merges = json_object_get(json_object_get(l->root, "model"), "merges"), *m;
    size_t i;
    if (!json_is_array(merges))
        return q35_fail(l->err, Q35_E_FORMAT, "tokenizer.json: model.merges is not a list");
    json_array_foreach(merges, i, m)
    {
        const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
        const char *text = json_string_value(m), *gap;
        enum q35_status s;
        if (json_is_array(m) && json_array_size(m) == 2 && json_is_string(a) && json_is_string(b)) {
            s = q35_bpe_add_merge(&l->t->bpe, &l->t->vocab, json_string_value(a),
                                  json_string_length(a), json_string_value(b),
                                  json_string_length(b), l->err);
        } else {
            gap = text ? memchr(text, ' ', json_string_length(m)) : NULL;
            if (!gap || strchr(gap + 1, ' '))
                return q35_fail(l->err, Q35_E_FORMAT, "tokenizer.json: merge %zu is not a pair", i);
            s = q35_bpe_add_merge(&l->t->bpe, &l->t->vocab, text, (size_t)(gap - text), gap + 1,
                                  json_string_length(m) - (size_t)(gap - text) - 1, l->err);
        }
        if (s)
            return s;
    }
    return Q35_OK;
}

/* ---- tokenizer_config.json and its neighbours ---- */

/* "bos_token": "<s>" or {"content": "<s>"} */
static int32_t named_token(const struct loader *l, const char *key)
{
    const json_t *v = json_object_get(l->config, key);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    return json_is_string(v)
               ? q35_vocab_find(&l->t->vocab, json_string_value(v), json_string_length(v))
               : -1;
}

static int32_t valid_id(const struct loader *l, const json_t *v)
{
    json_int_t id = json_integer_value(v);
    return json_is_integer(v) && id >= 0 && id < l->t->vocab.count ? (int32_t)id : -1;
}

static void load_special(struct loader *l)
{
    static const struct {
        enum q35_special which;
        const char *name, *id;
    } keys[] = {{Q35_SPECIAL_BOS, "bos_token", "bos_token_id"},
                {Q35_SPECIAL_EOS, "eos_token", "eos_token_id"},
                {Q35_SPECIAL_PAD, "pad_token", "pad_token_id"},
                {Q35_SPECIAL_UNK, "unk_token", NULL},
                {Q35_SPECIAL_SEP, "sep_token", NULL},
                {Q35_SPECIAL_MASK, "mask_token", NULL}};
    const json_t *from[] = {l->generation, l->model};
    size_t i, k, j;
    for (i = 0; i < Q35_COUNT(keys); i++) {
        int32_t *id = &l->t->special[keys[i].which];
        *id = named_token(l, keys[i].name);
        for (k = 0; k < Q35_COUNT(from) && *id < 0 && keys[i].id; k++) {
            const json_t *v = json_object_get(from[k], keys[i].id);
            *id = valid_id(l, json_is_array(v) ? json_array_get(v, 0) : v);
        }
    }
    q35_tokenizer_mark_ends(l->t, true);
    for (k = 0; k < Q35_COUNT(from); k++) {
        const json_t *v = json_object_get(from[k], "eos_token_id"), *e;
        int32_t id = valid_id(l, v);
        if (id >= 0)
            l->t->vocab.tokens[id].flags |= Q35_TOKEN_END;
        json_array_foreach(v, j, e) if ((id = valid_id(l, e)) >= 0) l->t->vocab.tokens[id].flags |=
            Q35_TOKEN_END;
    }
}

/* The Llama classes of transformers go by these flags, not by tokenizer.json. */
static enum q35_status load_affixes(struct loader *l)
{
    struct q35_tokenizer *t = l->t;
    const char *cls = json_string_value(json_object_get(l->config, "tokenizer_class"));
    const json_t *bos = json_object_get(l->config, "add_bos_token");
    const json_t *eos = json_object_get(l->config, "add_eos_token");
    bool llama = cls && (strncmp(cls, "Llama", 5) == 0 || strncmp(cls, "CodeLlama", 9) == 0 ||
                         strncmp(cls, "Gemma", 5) == 0);
    if (llama && json_is_boolean(bos)) {
        t->prefix.count = 0;
        if (json_is_true(bos) && t->special[Q35_SPECIAL_BOS] < 0)
            return q35_fail(l->err, Q35_E_FORMAT,
                            "tokenizer_config.json: add_bos_token without a bos_token");
        if (json_is_true(bos))
            q35_ids_add(&t->prefix, t->special[Q35_SPECIAL_BOS]);
    }
    if (llama && json_is_boolean(eos)) {
        t->suffix.count = 0;
        if (json_is_true(eos) && t->special[Q35_SPECIAL_EOS] < 0)
            return q35_fail(l->err, Q35_E_FORMAT,
                            "tokenizer_config.json: add_eos_token without an eos_token");
        if (json_is_true(eos))
            q35_ids_add(&t->suffix, t->special[Q35_SPECIAL_EOS]);
    }
    t->add_bos = t->prefix.count > 0;
    t->add_eos = t->suffix.count > 0;
    return Q35_OK;
}

static enum q35_status load_template(struct loader *l)
{
    const json_t *v = json_object_get(l->config, "chat_template"), *e;
    size_t len, i;
    enum q35_status s =
        read_text(l, "chat_template.jinja", MAX_TEMPLATE, &l->t->chat_template, &len);
    if (s != Q35_E_NOT_FOUND)
        return s;
    json_array_foreach(v, i, e)
    {
        const char *name = json_string_value(json_object_get(e, "name"));
        if (name && strcmp(name, "default") == 0) {
            v = json_object_get(e, "template");
            break;
        }
    }
    if (!json_is_string(v))
        return Q35_OK;
    l->t->chat_template = q35_text_dup(json_string_value(v), json_string_length(v));
    return l->t->chat_template ? Q35_OK : q35_fail(l->err, Q35_E_NOMEM, "no memory");
}

/* tokenizer.json without its two big tables, for packed models. */
static enum q35_status keep_json(struct loader *l)
{
    json_t *m = json_object_get(l->root, "model");
    json_object_del(m, "vocab");
    json_object_del(m, "merges");
    l->t->json = json_dumps(l->root, JSON_COMPACT);
    return l->t->json ? Q35_OK : q35_fail(l->err, Q35_E_NOMEM, "no memory for a tokenizer");
}

static enum q35_status load(struct loader *l)
{
    enum q35_status s = read_json(l, "tokenizer.json", 0, &l->root);
    if (!s && !l->root)
        s = q35_fail(l->err, Q35_E_NOT_FOUND, "%s has no tokenizer.json", l->dir);
    if (!s)
        s = read_json(l, "tokenizer_config.json", JSON_DECODE_INT_AS_REAL, &l->config);
    if (!s)
        s = read_json(l, "generation_config.json", 0, &l->generation);
    if (!s)
        s = read_json(l, "config.json", 0, &l->model);
    if (!s)
        s = load_vocab(l);
    if (!s)
        s = load_merges(l);
    if (!s)
        s = q35_hf_apply(l->t, l->root, l->err);
    if (s)
        return s;
    load_special(l);
    s = load_affixes(l);
    if (!s)
        s = load_template(l);
    if (!s)
        s = keep_json(l);
    strcpy(l->t->model, l->t->decode == Q35_DECODE_BYTE_ALPHABET ? "gpt2" : "llama");
    return s ? s : q35_tokenizer_finish(l->t, l->err);
}

enum q35_status q35_tokenizer_from_dir(struct q35_tokenizer **out, const char *dir,
                                       struct q35_error *err)
{
    struct loader l = {.t = q35_tokenizer_new(), .dir = dir, .err = err};
    enum q35_status s;
    *out = NULL;
    if (!l.t)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a tokenizer");
    s = load(&l);
    json_decref(l.root);
    json_decref(l.config);
    json_decref(l.generation);
    json_decref(l.model);
    if (s) {
        q35_tokenizer_destroy(l.t);
        return s;
    }
    *out = l.t;
    return Q35_OK;
}
