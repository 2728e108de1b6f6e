/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/tokenizer_impl.h"

/* tokenizer.json beside vocabulary and merges. Every field that changes tokens is either understood
 * or refused by name. */

struct applier {
    struct q35_tokenizer *t;
    struct q35_error *err;
    const char *patterns[8]; /* Splits so far, to recognise a tokenizer.ggml.pre */
    size_t n_patterns;
    bool odd; /* something no tokenizer.ggml.pre says */
};

static enum q35_status refuse(struct applier *a, const char *part, const char *what)
{
    return q35_fail(a->err, Q35_E_UNSUPPORTED, "tokenizer.json: %s: %s is not understood", part,
                    what ? what : "an entry without a type");
}

static enum q35_status no_memory(struct applier *a)
{
    return q35_fail(a->err, Q35_E_NOMEM, "no memory for a tokenizer");
}

static const char *string_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static bool type_is(const json_t *o, const char *type)
{
    const char *t = string_of(o, "type");
    return t && strcmp(t, type) == 0;
}

static bool flag_of(const json_t *o, const char *key, bool otherwise)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static void copy_string(struct q35_str *out, const json_t *v)
{
    q35_str_add(out, json_string_value(v), json_string_length(v));
}

typedef enum q35_status (*step_fn)(struct applier *a, const json_t *step);

/* One step, or those of a Sequence in turn. */
static enum q35_status each(struct applier *a, const json_t *node, const char *list, step_fn fn,
                            const char *part)
{
    const json_t *steps, *step;
    size_t i;
    if (!node || json_is_null(node))
        return Q35_OK;
    if (!json_is_object(node))
        return refuse(a, part, "a value that is no object");
    if (!type_is(node, "Sequence"))
        return fn(a, node);
    steps = json_object_get(node, list);
    if (!json_is_array(steps))
        return refuse(a, part, "a Sequence without its list");
    json_array_foreach(steps, i, step)
    {
        enum q35_status s =
            type_is(step, "Sequence") ? refuse(a, part, "a Sequence in a Sequence") : fn(a, step);
        if (s)
            return s;
    }
    return Q35_OK;
}

/* {"String": ...} or {"Regex": ...} */
static enum q35_status pattern(struct applier *a, const json_t *p, struct q35_str *literal,
                               struct q35_regex **re, const char *part)
{
    const json_t *v = json_object_get(p, "String");
    if (json_is_string(p))
        v = p;
    if (json_is_string(v)) {
        copy_string(literal, v);
        return Q35_OK;
    }
    v = json_object_get(p, "Regex");
    if (!json_is_string(v))
        return refuse(a, part, "a pattern");
    return q35_regex_create(re, json_string_value(v), json_string_length(v), a->err);
}

/* ---- normalizers ---- */

static enum q35_status normalizer(struct applier *a, const json_t *step)
{
    static const char *const forms[] = {
        [Q35_NFC] = "NFC", [Q35_NFD] = "NFD", [Q35_NFKC] = "NFKC", [Q35_NFKD] = "NFKD"};
    struct q35_norm *n = q35_pipeline_add_norm(&a->t->pipeline);
    size_t i;
    if (!n)
        return no_memory(a);
    for (i = 0; i < Q35_COUNT(forms); i++)
        if (type_is(step, forms[i])) {
            n->type = Q35_NORM_FORM;
            n->form = (enum q35_unicode_form)i;
            return Q35_OK;
        }
    if (type_is(step, "Prepend") && json_is_string(json_object_get(step, "prepend"))) {
        n->type = Q35_NORM_PREPEND;
        copy_string(&n->to, json_object_get(step, "prepend"));
        return n->to.failed ? no_memory(a) : Q35_OK;
    }
    if (type_is(step, "Replace") && json_is_string(json_object_get(step, "content"))) {
        n->type = Q35_NORM_REPLACE;
        copy_string(&n->to, json_object_get(step, "content"));
        return pattern(a, json_object_get(step, "pattern"), &n->from, &n->re, "normalizer Replace");
    }
    if (type_is(step, "Strip")) {
        n->type = Q35_NORM_STRIP;
        n->left = flag_of(step, "strip_left", true);
        n->right = flag_of(step, "strip_right", true);
        return Q35_OK;
    }
    return refuse(a, "normalizer", string_of(step, "type"));
}

/* ---- pre-tokenizers ---- */

static enum q35_status behavior(struct applier *a, const json_t *step, struct q35_pre *p)
{
    static const char *const names[] = {[Q35_REMOVED] = "Removed",
                                        [Q35_ISOLATED] = "Isolated",
                                        [Q35_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [Q35_MERGED_WITH_NEXT] = "MergedWithNext",
                                        [Q35_CONTIGUOUS] = "Contiguous"};
    const char *name = string_of(step, "behavior");
    size_t i;
    for (i = 0; name && i < Q35_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            p->behavior = (enum q35_behavior)i;
            return Q35_OK;
        }
    return refuse(a, "pre_tokenizer: behavior", name);
}

static enum q35_status pre_split(struct applier *a, const json_t *step, struct q35_pre *p)
{
    const json_t *pat = json_object_get(step, "pattern");
    const char *re = string_of(pat, "Regex");
    enum q35_status s = behavior(a, step, p);
    p->type = Q35_PRE_SPLIT;
    p->invert = flag_of(step, "invert", false);
    if (re && a->n_patterns < Q35_COUNT(a->patterns))
        a->patterns[a->n_patterns++] = re;
    else
        a->odd = true;
    /* Matches and gaps all kept: what is called a match does not matter. */
    if (p->behavior != Q35_ISOLATED && !(p->behavior == Q35_REMOVED && p->invert))
        a->odd = true;
    return s ? s : pattern(a, pat, &p->literal, &p->re, "pre_tokenizer Split");
}

static enum q35_status pre_bytes(struct applier *a, const json_t *step, struct q35_pre *p)
{
    p->type = Q35_PRE_BYTES;
    p->prefix_space = flag_of(step, "add_prefix_space", true);
    a->odd |= p->prefix_space;
    if (!flag_of(step, "use_regex", true))
        return Q35_OK;
    if (a->n_patterns < Q35_COUNT(a->patterns))
        a->patterns[a->n_patterns++] = q35_gpt2_pattern;
    return q35_regex_create(&p->re, q35_gpt2_pattern, strlen(q35_gpt2_pattern), a->err);
}

static enum q35_status pre_metaspace(struct applier *a, const json_t *step, struct q35_pre *p)
{
    static const char *const names[] = {[Q35_PREPEND_ALWAYS] = "always",
                                        [Q35_PREPEND_FIRST] = "first",
                                        [Q35_PREPEND_NEVER] = "never"};
    const char *scheme = string_of(step, "prepend_scheme");
    const json_t *by = json_object_get(step, "replacement");
    size_t i;
    p->type = Q35_PRE_METASPACE;
    p->split = flag_of(step, "split", true);
    p->behavior = Q35_MERGED_WITH_NEXT;
    if (!json_is_string(by) || json_string_length(by) == 0)
        return refuse(a, "pre_tokenizer Metaspace", "its replacement");
    copy_string(&p->literal, by);
    if (!scheme)
        scheme = flag_of(step, "add_prefix_space", true) ? "always" : "never";
    for (i = 0; i < Q35_COUNT(names); i++)
        if (strcmp(names[i], scheme) == 0) {
            p->scheme = (enum q35_prepend_scheme)i;
            return p->literal.failed ? no_memory(a) : Q35_OK;
        }
    return refuse(a, "pre_tokenizer Metaspace: prepend_scheme", scheme);
}

static enum q35_status pre_tokenizer(struct applier *a, const json_t *step)
{
    struct q35_pre *p = q35_pipeline_add_pre(&a->t->pipeline);
    if (!p)
        return no_memory(a);
    if (type_is(step, "Split"))
        return pre_split(a, step, p);
    if (type_is(step, "ByteLevel"))
        return pre_bytes(a, step, p);
    if (type_is(step, "Metaspace"))
        return pre_metaspace(a, step, p);
    if (type_is(step, "Digits")) {
        p->type = Q35_PRE_DIGITS;
        p->behavior = flag_of(step, "individual_digits", false) ? Q35_ISOLATED : Q35_CONTIGUOUS;
        if (p->behavior == Q35_ISOLATED && a->n_patterns < Q35_COUNT(a->patterns))
            a->patterns[a->n_patterns++] = "\\p{N}";
        else
            a->odd = true;
        return Q35_OK;
    }
    a->odd = true;
    if (type_is(step, "Punctuation")) {
        p->type = Q35_PRE_PUNCTUATION;
        p->behavior = Q35_ISOLATED;
        return string_of(step, "behavior") ? behavior(a, step, p) : Q35_OK;
    }
    if (type_is(step, "WhitespaceSplit")) {
        p->type = Q35_PRE_SPACES;
        p->behavior = Q35_REMOVED;
        return Q35_OK;
    }
    return refuse(a, "pre_tokenizer", string_of(step, "type"));
}

/* The byte alphabet is only written out when a later step looks at the text. */
static void settle_bytes(struct applier *a)
{
    struct q35_pipeline *p = &a->t->pipeline;
    const char *name;
    size_t i;
    for (i = 0; i < p->n_pres; i++)
        if (p->pres[i].type == Q35_PRE_BYTES) {
            a->t->decode = Q35_DECODE_BYTE_ALPHABET;
            p->pres[i].map = i + 1 < p->n_pres;
            a->t->bpe.byte_level = !p->pres[i].map;
            a->odd |= p->pres[i].map;
        }
    name = a->odd || !a->t->bpe.byte_level
               ? NULL
               : q35_pre_name(a->patterns, a->n_patterns, a->t->bpe.ignore_merges);
    memcpy(a->t->pre, name ? name : "", name ? strlen(name) + 1 : 1);
}

/* ---- decoders ---- */

static enum q35_status decoder(struct applier *a, const json_t *step)
{
    struct q35_tokenizer *t = a->t;
    const char *scheme = string_of(step, "prepend_scheme");
    const char *from = string_of(json_object_get(step, "pattern"), "String");
    const char *content = string_of(step, "content");
    if (type_is(step, "ByteLevel")) {
        t->decode = Q35_DECODE_BYTE_ALPHABET;
    } else if (type_is(step, "ByteFallback")) {
        t->byte_tokens = true;
    } else if (type_is(step, "Metaspace")) {
        t->decode = Q35_DECODE_SPACES;
        t->strip_space =
            scheme ? strcmp(scheme, "never") != 0 : flag_of(step, "add_prefix_space", true);
    } else if (type_is(step, "Replace") && from && content && strcmp(content, " ") == 0 &&
               strcmp(from, "\xe2\x96\x81") == 0) {
        t->decode = Q35_DECODE_SPACES;
    } else if (type_is(step, "Strip") && content && strcmp(content, " ") == 0 &&
               json_integer_value(json_object_get(step, "start")) == 1 &&
               json_integer_value(json_object_get(step, "stop")) == 0) {
        t->strip_space = true;
    } else if (!type_is(step, "Fuse")) {
        return refuse(a, "decoder", string_of(step, "type"));
    }
    return Q35_OK;
}

/* ---- post-processors ---- */

static enum q35_status template_token(struct applier *a, const json_t *root, const char *name,
                                      struct q35_ids *into)
{
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(root, "special_tokens"), name), "ids");
    const json_t *id;
    size_t i;
    if (!json_is_array(ids))
        return refuse(a, "post_processor TemplateProcessing", name);
    json_array_foreach(ids, i, id)
    {
        json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v >= a->t->vocab.count)
            return q35_fail(a->err, Q35_E_FORMAT, "tokenizer.json: post_processor: bad id of %s",
                            name);
        q35_ids_add(into, (int32_t)v);
    }
    return Q35_OK;
}

static enum q35_status post_processor(struct applier *a, const json_t *step)
{
    const json_t *single = json_object_get(step, "single"), *item;
    bool after = false;
    size_t i;
    if (type_is(step, "ByteLevel"))
        return Q35_OK; /* moves offsets only */
    if (!type_is(step, "TemplateProcessing") || !json_is_array(single))
        return refuse(a, "post_processor", string_of(step, "type"));
    a->t->prefix.count = a->t->suffix.count = 0;
    json_array_foreach(single, i, item)
    {
        const char *name = string_of(json_object_get(item, "SpecialToken"), "id");
        if (name) {
            enum q35_status s =
                template_token(a, step, name, after ? &a->t->suffix : &a->t->prefix);
            if (s)
                return s;
        } else if (json_object_get(item, "Sequence") && !after) {
            after = true;
        } else {
            return refuse(a, "post_processor", "a TemplateProcessing entry");
        }
    }
    return after ? Q35_OK : refuse(a, "post_processor", "a template without the text");
}

/* ---- model and added tokens ---- */

static bool absent(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return !v || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_real(v) && json_real_value(v) == 0) ||
           (json_is_integer(v) && json_integer_value(v) == 0);
}

static enum q35_status model(struct applier *a, const json_t *m)
{
    static const char *const unsupported[] = {"dropout", "continuing_subword_prefix",
                                              "end_of_word_suffix"};
    const json_t *unk = json_object_get(m, "unk_token");
    struct q35_bpe *b = &a->t->bpe;
    size_t i;
    if (!json_is_object(m) || (string_of(m, "type") && !type_is(m, "BPE")))
        return refuse(a, "model", string_of(m, "type"));
    for (i = 0; i < Q35_COUNT(unsupported); i++)
        if (!absent(m, unsupported[i]))
            return refuse(a, "model", unsupported[i]);
    b->byte_fallback = flag_of(m, "byte_fallback", false);
    b->fuse_unk = flag_of(m, "fuse_unk", false);
    b->ignore_merges = flag_of(m, "ignore_merges", false);
    if (json_is_string(unk) && json_string_length(unk)) {
        b->unk = q35_vocab_find(&a->t->vocab, json_string_value(unk), json_string_length(unk));
        if (b->unk < 0)
            return q35_fail(a->err, Q35_E_FORMAT, "tokenizer.json: unk_token %s is not a token",
                            json_string_value(unk));
    }
    return Q35_OK;
}

static enum q35_status added_tokens(struct applier *a, const json_t *list)
{
    const json_t *entry;
    size_t i;
    if (list && !json_is_null(list) && !json_is_array(list))
        return refuse(a, "added_tokens", "a value that is no list");
    json_array_foreach(list, i, entry)
    {
        const json_t *text = json_object_get(entry, "content");
        int32_t id = json_is_string(text) ? q35_vocab_find(&a->t->vocab, json_string_value(text),
                                                           json_string_length(text))
                                          : -1;
        struct q35_vocab_token *k;
        if (json_is_string(text) && json_string_length(text) == 0)
            continue;
        if (id < 0)
            return q35_fail(a->err, Q35_E_FORMAT,
                            "tokenizer.json: added token %zu is not in the vocabulary", i);
        k = &a->t->vocab.tokens[id];
        k->kind = flag_of(entry, "special", false) ? Q35_TOKEN_CONTROL : Q35_TOKEN_USER;
        k->flags = Q35_TOKEN_ADDED;
        k->flags |= flag_of(entry, "lstrip", false) ? Q35_TOKEN_LSTRIP : 0;
        k->flags |= flag_of(entry, "rstrip", false) ? Q35_TOKEN_RSTRIP : 0;
        k->flags |= flag_of(entry, "single_word", false) ? Q35_TOKEN_WORD : 0;
        k->flags |= flag_of(entry, "normalized", true) ? Q35_TOKEN_LATE : 0;
    }
    return Q35_OK;
}

enum q35_status q35_hf_apply(struct q35_tokenizer *t, const struct json_t *root,
                             struct q35_error *err)
{
    struct applier a = {.t = t, .err = err};
    enum q35_status s = model(&a, json_object_get(root, "model"));
    t->decode = Q35_DECODE_PLAIN;
    if (!s)
        s = each(&a, json_object_get(root, "normalizer"), "normalizers", normalizer, "normalizer");
    if (!s)
        s = each(&a, json_object_get(root, "pre_tokenizer"), "pretokenizers", pre_tokenizer,
                 "pre_tokenizer");
    if (s)
        return s;
    settle_bytes(&a);
    s = each(&a, json_object_get(root, "decoder"), "decoders", decoder, "decoder");
    if (!s)
        s = each(&a, json_object_get(root, "post_processor"), "processors", post_processor,
                 "post_processor");
    return s ? s : added_tokens(&a, json_object_get(root, "added_tokens"));
}
