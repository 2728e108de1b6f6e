/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/chat_impl.h"

struct lexer {
    const char *p;
    size_t len, at;
    uint32_t line;
    struct tokens *out;
    struct q35_error *err;
};

static enum q35_status add(struct lexer *x, enum token_type type, size_t from, size_t to)
{
    struct tokens *o = x->out;
    struct token *t;
    if (o->count == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 256;
        struct token *n = realloc(o->list, cap * sizeof(*n));
        if (!n)
            return q35_fail(x->err, Q35_E_NOMEM, "no memory for a chat template");
        o->list = n;
        o->cap = cap;
    }
    t = &o->list[o->count++];
    t->type = type;
    t->line = x->line;
    t->text = x->p + from;
    t->len = to - from;
    return Q35_OK;
}

static void count_lines(struct lexer *x, size_t from, size_t to)
{
    for (; from < to; from++)
        x->line += x->p[from] == '\n';
}

static bool space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Text up to the tag at `end`, trimmed as the tag says. */
static enum q35_status text_before(struct lexer *x, size_t end, bool block, char mark)
{
    size_t from = x->at, to = end;
    enum q35_status s = Q35_OK;
    if (mark == '-') {
        while (to > from && space(x->p[to - 1]))
            to--;
    } else if (block && mark != '+') {
        size_t k = to;
        while (k > from && (x->p[k - 1] == ' ' || x->p[k - 1] == '\t'))
            k--;
        if (k == 0 || x->p[k - 1] == '\n')
            to = k;
    }
    if (to > from)
        s = add(x, T_TEXT, from, to);
    count_lines(x, x->at, end);
    x->at = end;
    return s;
}

/* After a tag: "-" eats white space, a block eats one newline. */
static void text_after(struct lexer *x, bool block, bool minus)
{
    size_t from = x->at;
    if (minus) {
        while (x->at < x->len && space(x->p[x->at]))
            x->at++;
    } else if (block && x->at < x->len) {
        if (x->p[x->at] == '\n')
            x->at++;
        else if (x->p[x->at] == '\r' && x->at + 1 < x->len && x->p[x->at + 1] == '\n')
            x->at += 2;
    }
    count_lines(x, from, x->at);
}

static enum q35_status comment(struct lexer *x)
{
    const char *end = memmem(x->p + x->at, x->len - x->at, "#}", 2);
    bool minus;
    if (!end)
        return q35_fail(x->err, Q35_E_FORMAT, "chat template line %u: a comment without an end",
                        x->line);
    minus = end > x->p + x->at + 2 && end[-1] == '-';
    count_lines(x, x->at, (size_t)(end - x->p));
    x->at = (size_t)(end - x->p) + 2;
    text_after(x, true, minus);
    return Q35_OK;
}

static enum q35_status string(struct lexer *x)
{
    char quote = x->p[x->at];
    size_t from = x->at + 1, to = from;
    enum q35_status s;
    while (to < x->len && x->p[to] != quote)
        to += x->p[to] == '\\' && to + 1 < x->len ? 2 : 1;
    if (to >= x->len)
        return q35_fail(x->err, Q35_E_FORMAT, "chat template line %u: a string without an end",
                        x->line);
    s = add(x, T_STRING, from, to);
    count_lines(x, from, to);
    x->at = to + 1;
    return s;
}

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static enum q35_status number(struct lexer *x)
{
    size_t from = x->at;
    enum token_type type = T_INT;
    while (x->at < x->len && isdigit((unsigned char)x->p[x->at]))
        x->at++;
    if (x->at + 1 < x->len && x->p[x->at] == '.' && isdigit((unsigned char)x->p[x->at + 1])) {
        type = T_FLOAT;
        x->at++;
        while (x->at < x->len && isdigit((unsigned char)x->p[x->at]))
            x->at++;
    }
    if (x->at < x->len && name_char(x->p[x->at]))
        return q35_fail(x->err, Q35_E_FORMAT, "chat template line %u: a malformed number", x->line);
    return add(x, type, from, x->at);
}

static enum q35_status operator(struct lexer *x) {
    static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**"}; size_t i, n = 1;
    enum q35_status s;
    for (i = 0; i < Q35_COUNT(two);
         i++) if (x->at + 1 < x->len && memcmp(x->p + x->at, two[i], 2) == 0) n = 2;
    if (n == 1 && !strchr("+-*/%~<>()[]{},:.|=", x->p[x->at])) return q35_fail(
        x->err, Q35_E_UNSUPPORTED, "chat template line %u: the character '%c' is not understood",
        x->line, x->p[x->at]);
    s = add(x, T_OP, x->at, x->at + n);
    x->at += n;
    return s;
}

/* Tokens inside a tag, to its end. */
static enum q35_status inside(struct lexer *x, const char *close, enum token_type end_type)
{
    int open = 0; /* "}}" may close dicts before it closes the tag */
    enum q35_status s;
    while (x->at < x->len) {
        const char *p = x->p + x->at;
        size_t left = x->len - x->at;
        bool marked = left >= 3 && memcmp(p + 1, close, 2) == 0;
        bool minus = marked && p[0] == '-', plus = marked && p[0] == '+';
        if (space(*p)) {
            x->line += *p == '\n';
            x->at++;
            continue;
        }
        if (open == 0 && (minus || plus || (left >= 2 && memcmp(p, close, 2) == 0))) {
            s = add(x, end_type, x->at, x->at);
            x->at += minus || plus ? 3 : 2;
            text_after(x, end_type == T_STMT_END && !plus, minus);
            return s;
        }
        open += *p == '{' ? 1 : *p == '}' ? -1 : 0;
        if (*p == '\'' || *p == '"') {
            s = string(x);
        } else if (isdigit((unsigned char)*p)) {
            s = number(x);
        } else if (isalpha((unsigned char)*p) || *p == '_') {
            size_t from = x->at;
            while (x->at < x->len && name_char(x->p[x->at]))
                x->at++;
            s = add(x, T_NAME, from, x->at);
        } else {
            s = operator(x);
        }
        if (s)
            return s;
    }
    return q35_fail(x->err, Q35_E_FORMAT, "chat template line %u: a tag without an end", x->line);
}

static enum q35_status tag(struct lexer *x, size_t at)
{
    char kind = x->p[at + 1], mark = at + 2 < x->len ? x->p[at + 2] : '\0';
    enum q35_status s = text_before(x, at, kind != '{', mark);
    if (s)
        return s;
    if (kind == '#')
        return comment(x);
    s = add(x, kind == '{' ? T_EXPR_BEGIN : T_STMT_BEGIN, at, at + 2);
    x->at += mark == '-' || mark == '+' ? 3 : 2;
    if (s)
        return s;
    return kind == '{' ? inside(x, "}}", T_EXPR_END) : inside(x, "%}", T_STMT_END);
}

enum q35_status chat_lex(struct tokens *out, const char *text, size_t len, struct q35_error *err)
{
    struct lexer x = {.p = text, .len = len, .line = 1, .out = out, .err = err};
    size_t at = 0;
    enum q35_status s;
    if (len && text[len - 1] == '\n') /* Jinja drops the last newline */
        x.len = len = len - 1;
    while (at + 1 < len) {
        if (text[at] != '{' || !memchr("{%#", text[at + 1], 3)) {
            at++;
            continue;
        }
        s = tag(&x, at);
        if (s)
            return s;
        at = x.at;
    }
    if (x.at < len && (s = add(&x, T_TEXT, x.at, len)))
        return s;
    return add(&x, T_EOF, len, len);
}
