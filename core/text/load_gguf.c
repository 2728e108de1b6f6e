/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/gguf.h"
#include "core/text/tokenizer_impl.h"

struct loader {
    struct q35_tokenizer *t;
    const struct q35_gguf *g;
    struct q35_error *err;
};

static bool view_is(struct q35_view v, const char *text)
{
    return v.len == strlen(text) && memcmp(v.data, text, v.len) == 0;
}

static enum q35_status load_tokens(struct loader *l)
{
    const struct q35_view *tokens;
    uint64_t n, n_types = 0, i;
    int32_t *types = NULL;
    enum q35_status s = q35_gguf_strings(l->g, "tokenizer.ggml.tokens", &tokens, &n, l->err);
    if (s)
        return s;
    s = q35_vocab_init(&l->t->vocab, n, l->err);
    if (!s && q35_gguf_has(l->g, "tokenizer.ggml.token_type"))
        s = q35_gguf_i32s(l->g, "tokenizer.ggml.token_type", &types, &n_types, l->err);
    if (!s && types && n_types != n)
        s = q35_fail(l->err, Q35_E_FORMAT, "tokenizer.ggml.token_type has %llu of %llu values",
                     (unsigned long long)n_types, (unsigned long long)n);
    for (i = 0; i < n && !s; i++) {
        int32_t kind = types ? types[i] : Q35_TOKEN_NORMAL;
        uint8_t added =
            kind == Q35_TOKEN_CONTROL || kind == Q35_TOKEN_USER || kind == Q35_TOKEN_UNKNOWN
                ? Q35_TOKEN_ADDED
                : 0;
        if (kind < 0 || kind > Q35_TOKEN_BYTE)
            s = q35_fail(l->err, Q35_E_FORMAT, "tokenizer.ggml.token_type of token %llu is %d",
                         (unsigned long long)i, kind);
        else
            q35_vocab_set(&l->t->vocab, (uint32_t)i, tokens[i].data, tokens[i].len,
                          (uint8_t)(kind ? kind : Q35_TOKEN_UNUSED));
        l->t->vocab.tokens[i].flags = added;
    }
    free(types);
    if (!s && l->t->vocab.pool.failed)
        s = q35_fail(l->err, Q35_E_NOMEM, "no memory for the vocabulary");
    return s;
}

static enum q35_status load_scores(struct loader *l)
{
    float *scores = NULL;
    uint64_t n, i;
    enum q35_status s = q35_gguf_f32s(l->g, "tokenizer.ggml.scores", &scores, &n, l->err);
    if (s)
        return s;
    if (n != l->t->vocab.count)
        s = q35_fail(l->err, Q35_E_FORMAT, "tokenizer.ggml.scores has %llu of %u values",
                     (unsigned long long)n, l->t->vocab.count);
    for (i = 0; i < n && !s; i++) {
        if (isnan(scores[i]))
            s = q35_fail(l->err, Q35_E_FORMAT, "the score of token %llu is not a number",
                         (unsigned long long)i);
        else
            l->t->vocab.tokens[i].score = scores[i];
    }
    free(scores);
    return s;
}

static enum q35_status load_merge_ids(struct loader *l)
{
    const struct q35_vocab *v = &l->t->vocab;
    int32_t *ids = NULL;
    uint64_t n, i;
    enum q35_status s = q35_gguf_i32s(l->g, "q35.tokenizer.merge_ids", &ids, &n, l->err);
    for (i = 0; !s && i + 1 < n; i += 2) {
        uint32_t a = (uint32_t)ids[i], b = (uint32_t)ids[i + 1];
        if (a >= v->count || b >= v->count)
            s = q35_fail(l->err, Q35_E_FORMAT, "q35.tokenizer.merge_ids names token %u of %u",
                         a > b ? a : b, v->count);
        else
            s = q35_bpe_add_merge(&l->t->bpe, v, q35_vocab_text(v, a), v->tokens[a].text_len,
                                  q35_vocab_text(v, b), v->tokens[b].text_len, l->err);
    }
    free(ids);
    return s;
}

static enum q35_status load_merges(struct loader *l)
{
    const struct q35_view *m;
    uint64_t n, i;
    enum q35_status s;
    if (q35_gguf_has(l->g, "q35.tokenizer.merge_ids"))
        return load_merge_ids(l);
    s = q35_gguf_strings(l->g, "tokenizer.ggml.merges", &m, &n, l->err);
    for (i = 0; !s && i < n; i++) {
        const char *gap = m[i].len > 1 ? memchr(m[i].data + 1, ' ', m[i].len - 1) : NULL;
        size_t left = gap ? (size_t)(gap - m[i].data) : 0;
        if (!gap)
            return q35_fail(l->err, Q35_E_FORMAT, "merge %llu is not two parts with a space",
                            (unsigned long long)i);
        s = q35_bpe_add_merge(&l->t->bpe, &l->t->vocab, m[i].data, left, gap + 1,
                              m[i].len - left - 1, l->err);
    }
    return s;
}

/* Ids out of range mean "none", as -1 is written there. */
static void load_special(struct loader *l)
{
    int i;
    for (i = 0; i < Q35_SPECIAL_COUNT; i++) {
        uint32_t id;
        if (q35_gguf_u32(l->g, q35_special_keys[i], &id, NULL) == Q35_OK && id < l->t->vocab.count)
            l->t->special[i] = (int32_t)id;
    }
    if (l->t->special[Q35_SPECIAL_UNK] >= 0 && !l->t->json)
        l->t->bpe.unk = l->t->special[Q35_SPECIAL_UNK];
}

static enum q35_status setup_spm(struct loader *l)
{
    struct q35_tokenizer *t = l->t;
    struct q35_norm *n;
    enum q35_status s = load_scores(l);
    if (s)
        return s;
    t->bpe.by_score = true;
    t->decode = Q35_DECODE_SPACES;
    t->byte_tokens = true;
    t->space_prefix = true;
    t->add_bos = true;
    t->special[Q35_SPECIAL_BOS] = t->vocab.count > 1 ? 1 : -1;
    t->special[Q35_SPECIAL_EOS] = t->vocab.count > 2 ? 2 : -1;
    t->special[Q35_SPECIAL_UNK] = t->bpe.unk = 0;
    s = q35_gguf_bool(l->g, "tokenizer.ggml.add_space_prefix", &t->space_prefix, l->err);
    if (s && s != Q35_E_NOT_FOUND)
        return s;
    if (t->space_prefix) {
        n = q35_pipeline_add_norm(&t->pipeline);
        if (!n)
            return q35_fail(l->err, Q35_E_NOMEM, "no memory for a tokenizer");
        n->type = Q35_NORM_PREPEND;
        q35_str_addz(&n->to, " ");
    }
    n = q35_pipeline_add_norm(&t->pipeline);
    if (!n)
        return q35_fail(l->err, Q35_E_NOMEM, "no memory for a tokenizer");
    n->type = Q35_NORM_REPLACE;
    q35_str_addz(&n->from, " ");
    q35_str_addz(&n->to, "\xe2\x96\x81");
    t->strip_space = t->space_prefix;
    return Q35_OK;
}

static enum q35_status setup_bpe(struct loader *l)
{
    struct q35_view pre;
    enum q35_status s = q35_gguf_string(l->g, "tokenizer.ggml.pre", &pre, l->err);
    if (s == Q35_E_NOT_FOUND)
        return q35_fail(l->err, Q35_E_UNSUPPORTED,
                        "tokenizer.ggml.pre is missing: the pre-tokenizer is not known");
    if (!s)
        s = q35_pre_setup(l->t, pre.data, pre.len, l->err);
    if (s)
        return s;
    l->t->bpe.byte_level = true;
    l->t->bpe.keep_gaps = true;
    l->t->decode = Q35_DECODE_BYTE_ALPHABET;
    return load_merges(l);
}

/* Phi-3's special tokens swallow the white space after them, which plain GGUF cannot say. */
static void mark_phi3(struct loader *l)
{
    static const char *const kept[] = {"<unk>", "<s>", "<|endoftext|>"};
    struct q35_vocab *v = &l->t->vocab;
    struct q35_view name;
    char low[256];
    size_t i;
    if (q35_gguf_string(l->g, "general.name", &name, NULL) || name.len >= sizeof(low))
        return;
    for (i = 0; i < name.len; i++)
        low[i] = (char)tolower((unsigned char)name.data[i]);
    low[name.len] = '\0';
    if (!strstr(low, "phi-3") && !strstr(low, "phi3"))
        return;
    for (i = 0; i < v->count; i++)
        if (v->tokens[i].flags & Q35_TOKEN_ADDED)
            v->tokens[i].flags |= Q35_TOKEN_RSTRIP;
    for (i = 0; i < Q35_COUNT(kept); i++) {
        int32_t id = q35_vocab_find(v, kept[i], strlen(kept[i]));
        if (id >= 0)
            v->tokens[id].flags &= (uint8_t)~Q35_TOKEN_RSTRIP;
    }
}

/* Keys of packed models that standard GGUF has no place for. */
static enum q35_status load_flags(struct loader *l, const char *key, uint8_t flag)
{
    int32_t *ids = NULL;
    uint64_t n, i;
    enum q35_status s;
    if (!q35_gguf_has(l->g, key))
        return Q35_OK;
    for (i = 0; i < l->t->vocab.count; i++)
        l->t->vocab.tokens[i].flags &= (uint8_t)~flag;
    s = q35_gguf_i32s(l->g, key, &ids, &n, l->err);
    for (i = 0; !s && i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= l->t->vocab.count)
            s = q35_fail(l->err, Q35_E_FORMAT, "%s holds token %d of %u", key, ids[i],
                         l->t->vocab.count);
        else
            l->t->vocab.tokens[ids[i]].flags |= flag;
    }
    free(ids);
    return s;
}

static enum q35_status load_ends(struct loader *l)
{
    struct q35_tokenizer *t = l->t;
    enum q35_status s;
    q35_tokenizer_mark_ends(t, t->json != NULL);
    if (!t->json)
        mark_phi3(l);
    t->early.ascii = t->chat.ascii = !t->json;
    s = load_flags(l, "q35.tokenizer.end_ids", Q35_TOKEN_END);
    if (!s)
        s = load_flags(l, "q35.tokenizer.rstrip_ids", Q35_TOKEN_RSTRIP);
    return s;
}

/* What a tokenizer.json and its configuration add around a text. */
static enum q35_status load_affix(struct loader *l, const char *key, struct q35_ids *ids)
{
    int32_t *list = NULL;
    uint64_t n, i;
    enum q35_status s;
    if (!q35_gguf_has(l->g, key))
        return Q35_OK;
    ids->count = 0;
    s = q35_gguf_i32s(l->g, key, &list, &n, l->err);
    for (i = 0; !s && i < n; i++) {
        if (list[i] < 0 || (uint32_t)list[i] >= l->t->vocab.count)
            s = q35_fail(l->err, Q35_E_FORMAT, "%s holds token %d of %u", key, list[i],
                         l->t->vocab.count);
        else
            q35_ids_add(ids, list[i]);
    }
    free(list);
    return s;
}

static enum q35_status load_affixes(struct loader *l)
{
    struct q35_tokenizer *t = l->t;
    enum q35_status s = q35_gguf_bool(l->g, "tokenizer.ggml.add_bos_token", &t->add_bos, l->err);
    if (!s || s == Q35_E_NOT_FOUND)
        s = q35_gguf_bool(l->g, "tokenizer.ggml.add_eos_token", &t->add_eos, l->err);
    if (s && s != Q35_E_NOT_FOUND)
        return s;
    if (t->json)
        return load_affix(l, "q35.tokenizer.prefix_ids", &t->prefix) ||
                       load_affix(l, "q35.tokenizer.suffix_ids", &t->suffix)
                   ? Q35_E_FORMAT
                   : Q35_OK;
    if (t->add_bos && t->special[Q35_SPECIAL_BOS] < 0)
        return q35_fail(l->err, Q35_E_FORMAT, "the model wants a BOS token but names none");
    if (t->add_eos && t->special[Q35_SPECIAL_EOS] < 0)
        return q35_fail(l->err, Q35_E_FORMAT, "the model wants an EOS token but names none");
    if (t->add_bos)
        q35_ids_add(&t->prefix, t->special[Q35_SPECIAL_BOS]);
    if (t->add_eos)
        q35_ids_add(&t->suffix, t->special[Q35_SPECIAL_EOS]);
    return Q35_OK;
}

static enum q35_status load_template(struct loader *l)
{
    struct q35_view v;
    enum q35_status s = q35_gguf_string(l->g, "tokenizer.chat_template", &v, l->err);
    if (s == Q35_E_NOT_FOUND)
        return Q35_OK;
    if (s)
        return s;
    l->t->chat_template = q35_text_dup(v.data, v.len);
    return l->t->chat_template ? Q35_OK : q35_fail(l->err, Q35_E_NOMEM, "no memory");
}

/* A packed model made from a tokenizer.json. */
static enum q35_status setup_json(struct loader *l, struct q35_view text)
{
    json_error_t e;
    json_t *root = json_loadb(text.data, text.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);
    enum q35_status s;
    if (!root)
        return q35_fail(l->err, Q35_E_FORMAT, "q35.tokenizer.json: %s", e.text);
    s = load_merges(l);
    if (!s)
        s = q35_hf_apply(l->t, root, l->err);
    json_decref(root);
    if (!s && q35_gguf_has(l->g, "tokenizer.ggml.scores"))
        s = load_scores(l);
    if (s)
        return s;
    l->t->json = q35_text_dup(text.data, text.len);
    return l->t->json ? Q35_OK : q35_fail(l->err, Q35_E_NOMEM, "no memory for a tokenizer");
}

static enum q35_status load(struct loader *l)
{
    struct q35_view model, text;
    enum q35_status s = q35_gguf_string(l->g, "tokenizer.ggml.model", &model, l->err);
    if (s == Q35_E_NOT_FOUND)
        return q35_fail(l->err, Q35_E_NOT_FOUND, "the file has no tokenizer.ggml.model");
    if (!s)
        s = load_tokens(l);
    if (s)
        return s;
    if (model.len < sizeof(l->t->model))
        memcpy(l->t->model, model.data, model.len);
    if (q35_gguf_has(l->g, "q35.tokenizer.json"))
        s = q35_gguf_string(l->g, "q35.tokenizer.json", &text, l->err);
    else
        text.data = NULL;
    if (!s && text.data)
        s = setup_json(l, text);
    else if (!s && view_is(model, "llama"))
        s = setup_spm(l);
    else if (!s && view_is(model, "gpt2"))
        s = setup_bpe(l);
    else if (!s)
        s = q35_fail(l->err, Q35_E_UNSUPPORTED,
                     "tokenizer.ggml.model is \"%.*s\", which q35 does not know",
                     (int)(model.len < 64 ? model.len : 64), model.data);
    if (s)
        return s;
    load_special(l);
    s = load_affixes(l);
    if (!s)
        s = load_ends(l);
    if (!s)
        s = load_template(l);
    return s ? s : q35_tokenizer_finish(l->t, l->err);
}

enum q35_status q35_tokenizer_from_gguf(struct q35_tokenizer **out, const struct q35_gguf *g,
                                        struct q35_error *err)
{
    struct loader l = {.t = q35_tokenizer_new(), .g = g, .err = err};
    enum q35_status s;
    *out = NULL;
    if (!l.t)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a tokenizer");
    s = load(&l);
    if (s) {
        q35_tokenizer_destroy(l.t);
        return s;
    }
    *out = l.t;
    return Q35_OK;
}
