/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/text/pipeline.h"

#include <stdlib.h>
#include <string.h>

struct q35_norm *q35_pipeline_add_norm(struct q35_pipeline *p)
{
    struct q35_norm *n = realloc(p->norms, (p->n_norms + 1) * sizeof(*n));
    if (!n)
        return NULL;
    p->norms = n;
    memset(&n[p->n_norms], 0, sizeof(*n));
    return &n[p->n_norms++];
}

struct q35_pre *q35_pipeline_add_pre(struct q35_pipeline *p)
{
    struct q35_pre *n = realloc(p->pres, (p->n_pres + 1) * sizeof(*n));
    if (!n)
        return NULL;
    p->pres = n;
    memset(&n[p->n_pres], 0, sizeof(*n));
    return &n[p->n_pres++];
}

void q35_pipeline_fini(struct q35_pipeline *p)
{
    size_t i;
    for (i = 0; i < p->n_norms; i++) {
        q35_str_fini(&p->norms[i].from);
        q35_str_fini(&p->norms[i].to);
        q35_regex_destroy(p->norms[i].re);
    }
    for (i = 0; i < p->n_pres; i++) {
        q35_regex_destroy(p->pres[i].re);
        q35_str_fini(&p->pres[i].literal);
    }
    free(p->norms);
    free(p->pres);
    memset(p, 0, sizeof(*p));
}

void q35_words_fini(struct q35_words *w)
{
    q35_str_fini(&w->text);
    q35_str_fini(&w->next_text);
    free(w->spans);
    free(w->next);
    q35_regex_work_fini(&w->regex);
    memset(w, 0, sizeof(*w));
}

/* ---- splitting ---- */

/* Takes alternating matches and gaps of one span and appends words by the behaviour. */
struct cutter {
    struct q35_words *w;
    enum q35_behavior behavior;
    bool invert;
    size_t first;    /* words of this span begin here */
    bool last_match; /* whether the newest word came from a match */
    bool pending;    /* MERGED_WITH_NEXT: a match that waits */
    struct q35_text_span held;
};

static void push(struct q35_words *w, size_t start, size_t end)
{
    if (start >= end)
        return;
    if (w->next_count == w->next_cap) {
        size_t cap = w->next_cap ? w->next_cap * 2 : 64;
        struct q35_text_span *n = realloc(w->next, cap * sizeof(*n));
        if (!n) {
            w->failed = true;
            return;
        }
        w->next = n;
        w->next_cap = cap;
    }
    w->next[w->next_count].start = start;
    w->next[w->next_count++].end = end;
}

static void flush(struct cutter *c)
{
    if (c->pending)
        push(c->w, c->held.start, c->held.end);
    c->pending = false;
}

static void cut_merging_next(struct cutter *c, size_t start, size_t end, bool match)
{
    if (match) {
        flush(c);
        c->held.start = start;
        c->held.end = end;
        c->pending = true;
    } else {
        push(c->w, c->pending ? c->held.start : start, end);
        c->pending = false;
    }
}

static void cut(struct cutter *c, size_t start, size_t end, bool match)
{
    struct q35_words *w = c->w;
    bool have = w->next_count > c->first;
    if (start >= end)
        return;
    match ^= c->invert;
    switch (c->behavior) {
    case Q35_REMOVED:
        if (!match)
            push(w, start, end);
        break;
    case Q35_ISOLATED:
        push(w, start, end);
        break;
    case Q35_CONTIGUOUS:
        if (have && c->last_match == match)
            w->next[w->next_count - 1].end = end;
        else
            push(w, start, end);
        break;
    case Q35_MERGED_WITH_PREVIOUS:
        if (have && match && !c->last_match)
            w->next[w->next_count - 1].end = end;
        else
            push(w, start, end);
        break;
    case Q35_MERGED_WITH_NEXT:
        cut_merging_next(c, start, end, match);
        break;
    }
    c->last_match = match;
}

typedef bool (*char_test)(uint32_t cp);

static void split_chars(struct cutter *c, const char *text, struct q35_text_span s, char_test test)
{
    size_t at = s.start, gap = s.start;
    while (at < s.end) {
        uint32_t cp = 0;
        size_t n = q35_utf8_get(text + at, s.end - at, &cp);
        if (n == 0)
            n = 1;
        if (test(cp)) {
            cut(c, gap, at, false);
            cut(c, at, at + n, true);
            gap = at + n;
        }
        at += n;
    }
    cut(c, gap, s.end, false);
}

static void split_literal(struct cutter *c, const char *text, struct q35_text_span s,
                          const struct q35_str *literal)
{
    size_t gap = s.start;
    while (literal->len && gap < s.end) {
        const char *hit = memmem(text + gap, s.end - gap, literal->data, literal->len);
        size_t at;
        if (!hit)
            break;
        at = (size_t)(hit - text);
        cut(c, gap, at, false);
        cut(c, at, at + literal->len, true);
        gap = at + literal->len;
    }
    cut(c, gap, s.end, false);
}

static enum q35_status split_regex(struct cutter *c, const char *text, struct q35_text_span s,
                                   const struct q35_regex *re, struct q35_error *err)
{
    size_t gap = s.start;
    while (gap < s.end) {
        size_t from, to;
        bool found;
        enum q35_status st = q35_regex_find(re, &c->w->regex, text + s.start, s.end - s.start,
                                            gap - s.start, &found, &from, &to, err);
        if (st)
            return st;
        if (!found)
            break;
        cut(c, gap, s.start + from, false);
        cut(c, s.start + from, s.start + to, true);
        gap = s.start + to;
    }
    cut(c, gap, s.end, false);
    return Q35_OK;
}

static void words_swap(struct q35_words *w)
{
    struct q35_text_span *s = w->spans;
    size_t cap = w->cap;
    w->spans = w->next;
    w->cap = w->next_cap;
    w->count = w->next_count;
    w->next = s;
    w->next_cap = cap;
    w->next_count = 0;
}

static enum q35_status split_all(const struct q35_pre *pre, struct q35_words *w,
                                 enum q35_behavior behavior, struct q35_error *err)
{
    size_t i;
    w->next_count = 0;
    for (i = 0; i < w->count; i++) {
        struct cutter c = {.w = w, .behavior = behavior, .invert = pre->invert};
        enum q35_status s = Q35_OK;
        c.first = w->next_count;
        if (pre->type == Q35_PRE_DIGITS)
            split_chars(&c, w->text.data, w->spans[i], q35_unicode_numeric);
        else if (pre->type == Q35_PRE_PUNCTUATION)
            split_chars(&c, w->text.data, w->spans[i], q35_unicode_punctuation);
        else if (pre->type == Q35_PRE_SPACES)
            split_chars(&c, w->text.data, w->spans[i], q35_unicode_space);
        else if (pre->re)
            s = split_regex(&c, w->text.data, w->spans[i], pre->re, err);
        else
            split_literal(&c, w->text.data, w->spans[i], &pre->literal);
        flush(&c);
        if (s)
            return s;
    }
    words_swap(w);
    return Q35_OK;
}

/* ---- steps that rewrite the text ---- */

static void replace_spaces(struct q35_str *out, const char *text, size_t len,
                           const struct q35_str *by)
{
    size_t i, from = 0;
    for (i = 0; i < len; i++)
        if (text[i] == ' ') {
            q35_str_add(out, text + from, i - from);
            q35_str_add(out, by->data, by->len);
            from = i + 1;
        }
    q35_str_add(out, text + from, len - from);
}

static void to_byte_alphabet(struct q35_str *out, const char *text, size_t len)
{
    size_t i;
    for (i = 0; i < len; i++) {
        char c[4];
        q35_str_add(out, c, q35_utf8_put(q35_byte_to_char((uint8_t)text[i]), c));
    }
}

static bool begins_with(const char *text, size_t len, const struct q35_str *with)
{
    return len >= with->len && memcmp(text, with->data, with->len) == 0;
}

enum rewrite { METASPACE, PREFIX_SPACE, BYTE_ALPHABET };

/* Rewrites every span into next_text. */
static void rewrite_all(const struct q35_pre *pre, struct q35_words *w, enum rewrite what,
                        bool at_start)
{
    struct q35_str swap;
    size_t i;
    q35_str_clear(&w->next_text);
    w->next_count = 0;
    for (i = 0; i < w->count; i++) {
        const char *text = w->text.data + w->spans[i].start;
        size_t len = w->spans[i].end - w->spans[i].start, start = w->next_text.len;
        if (what == METASPACE) {
            bool prepend = pre->scheme == Q35_PREPEND_ALWAYS ||
                           (pre->scheme == Q35_PREPEND_FIRST && at_start && w->spans[i].start == 0);
            if (prepend && text[0] != ' ' && !begins_with(text, len, &pre->literal))
                q35_str_add(&w->next_text, pre->literal.data, pre->literal.len);
            replace_spaces(&w->next_text, text, len, &pre->literal);
        } else if (what == PREFIX_SPACE) {
            if (text[0] != ' ')
                q35_str_addz(&w->next_text, " ");
            q35_str_add(&w->next_text, text, len);
        } else {
            to_byte_alphabet(&w->next_text, text, len);
        }
        push(w, start, w->next_text.len);
    }
    swap = w->text;
    w->text = w->next_text;
    w->next_text = swap;
    words_swap(w);
}

static enum q35_status run_pre(const struct q35_pre *pre, struct q35_words *w, bool at_start,
                               struct q35_error *err)
{
    enum q35_status s = Q35_OK;
    switch (pre->type) {
    case Q35_PRE_BYTES:
        if (pre->prefix_space)
            rewrite_all(pre, w, PREFIX_SPACE, at_start);
        if (pre->re)
            s = split_all(pre, w, Q35_ISOLATED, err);
        if (!s && pre->map)
            rewrite_all(pre, w, BYTE_ALPHABET, at_start);
        return s;
    case Q35_PRE_METASPACE:
        rewrite_all(pre, w, METASPACE, at_start);
        return pre->split ? split_all(pre, w, Q35_MERGED_WITH_NEXT, err) : Q35_OK;
    default:
        return split_all(pre, w, pre->behavior, err);
    }
}

enum q35_status q35_pipeline_words(const struct q35_pipeline *p, struct q35_words *w,
                                   const char *text, size_t len, bool at_start,
                                   struct q35_error *err)
{
    size_t i;
    w->count = 0;
    w->next_count = 0;
    q35_str_clear(&w->text);
    q35_str_add(&w->text, text, len);
    push(w, 0, len);
    words_swap(w);
    for (i = 0; i < p->n_pres && !w->failed && !w->text.failed; i++) {
        enum q35_status s = run_pre(&p->pres[i], w, at_start, err);
        if (s)
            return s;
    }
    if (w->failed || w->text.failed || w->next_text.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory for splitting %zu bytes of text", len);
    return Q35_OK;
}

/* ---- normalizers ---- */

static enum q35_status replace_regex(const struct q35_norm *n, struct q35_words *w,
                                     const char *text, size_t len, struct q35_str *out,
                                     struct q35_error *err)
{
    size_t at = 0;
    while (at < len) {
        size_t from, to;
        bool found;
        enum q35_status s =
            q35_regex_find(n->re, &w->regex, text, len, at, &found, &from, &to, err);
        if (s)
            return s;
        if (!found)
            break;
        q35_str_add(out, text + at, from - at);
        q35_str_add(out, n->to.data, n->to.len);
        at = to;
    }
    q35_str_add(out, text + at, len - at);
    return Q35_OK;
}

static void replace_literal(const struct q35_norm *n, const char *text, size_t len,
                            struct q35_str *out)
{
    size_t at = 0;
    while (n->from.len && at < len) {
        const char *hit = memmem(text + at, len - at, n->from.data, n->from.len);
        if (!hit)
            break;
        q35_str_add(out, text + at, (size_t)(hit - text) - at);
        q35_str_add(out, n->to.data, n->to.len);
        at = (size_t)(hit - text) + n->from.len;
    }
    q35_str_add(out, text + at, len - at);
}

static void strip(const struct q35_norm *n, const char *text, size_t len, struct q35_str *out)
{
    size_t start = 0, end = 0, at = 0, c;
    bool seen = false;
    uint32_t cp;
    while (at < len && (c = q35_utf8_get(text + at, len - at, &cp)) > 0) {
        if (!q35_unicode_space(cp)) {
            if (!seen)
                start = at;
            seen = true;
            end = at + c;
        }
        at += c;
    }
    if (!seen)
        start = end = n->left || n->right ? 0 : len;
    if (!n->left)
        start = 0;
    if (!n->right && seen)
        end = len;
    q35_str_add(out, text + start, end - start);
}

static enum q35_status run_norm(const struct q35_norm *n, struct q35_words *w, const char *text,
                                size_t len, bool first, struct q35_str *out, struct q35_error *err)
{
    switch (n->type) {
    case Q35_NORM_FORM:
        return q35_unicode_normalize(out, n->form, text, len, err);
    case Q35_NORM_PREPEND:
        if (first && len)
            q35_str_add(out, n->to.data, n->to.len);
        q35_str_add(out, text, len);
        return Q35_OK;
    case Q35_NORM_REPLACE:
        if (n->re)
            return replace_regex(n, w, text, len, out, err);
        replace_literal(n, text, len, out);
        return Q35_OK;
    case Q35_NORM_STRIP:
        strip(n, text, len, out);
        return Q35_OK;
    }
    return Q35_OK;
}

enum q35_status q35_pipeline_normalize(const struct q35_pipeline *p, struct q35_words *w,
                                       const char *text, size_t len, bool first,
                                       struct q35_str *out, struct q35_error *err)
{
    struct q35_str from = {0}, to = {0};
    enum q35_status s = Q35_OK;
    size_t i;
    q35_str_add(&from, text, len);
    for (i = 0; i < p->n_norms && !s; i++) {
        struct q35_str swap = from;
        q35_str_clear(&to);
        s = run_norm(&p->norms[i], w, from.data, from.len, first, &to, err);
        from = to;
        to = swap;
    }
    q35_str_add(out, from.data, from.len);
    if (!s && (from.failed || to.failed || out->failed))
        s = q35_fail(err, Q35_E_NOMEM, "no memory for normalizing %zu bytes of text", len);
    q35_str_fini(&from);
    q35_str_fini(&to);
    return s;
}
