/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/text/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/unicode_new.h"

enum { MAX_PATTERN = 1 << 16, JIT_STACK_FIRST = 1 << 15, JIT_STACK_MOST = 1 << 23 };

/* White_Space; PCRE2's own \s has U+180E as well. */
#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"

struct q35_regex {
    pcre2_code *code;
    bool jit;
};

struct rewriter {
    const char *p;
    size_t len, at;
    bool in_class;
    struct q35_str out;
    struct q35_error *err;
};

static enum q35_status refuse(struct rewriter *r, const char *what)
{
    return q35_fail(r->err, Q35_E_UNSUPPORTED, "regex %.*s: %s at byte %zu is not understood",
                    (int)(r->len < 200 ? r->len : 200), r->p, what, r->at);
}

/* \p{NAME}: the property, and what Unicode gave it after PCRE2's tables were made. */
static enum q35_status rewrite_property(struct rewriter *r)
{
    const char *open = r->p + r->at, *close;
    bool negated = open[1] == 'P';
    struct q35_str ranges = {0};
    if (r->at + 2 >= r->len || open[2] != '{')
        return refuse(r, "a property without braces");
    close = memchr(open, '}', r->len - r->at);
    if (!close)
        return refuse(r, "an open property");
    q35_unicode_new_ranges(&ranges, open + 3, (size_t)(close - open - 3));
    r->at += (size_t)(close - open) + 1;
    if (ranges.len == 0 || (negated && r->in_class)) {
        q35_str_add(&r->out, open, (size_t)(close - open) + 1);
    } else {
        q35_str_addz(&r->out, r->in_class ? "" : negated ? "[^" : "[");
        q35_str_addz(&r->out, "\\p");
        q35_str_add(&r->out, open + 2, (size_t)(close - open) - 1);
        q35_str_add(&r->out, ranges.data, ranges.len);
        q35_str_addz(&r->out, r->in_class ? "" : "]");
    }
    r->out.failed |= ranges.failed;
    q35_str_fini(&ranges);
    return Q35_OK;
}

static enum q35_status rewrite_escape(struct rewriter *r)
{
    char c;
    if (r->at + 1 >= r->len)
        return refuse(r, "a lone backslash");
    c = r->p[r->at + 1];
    if (c == 'p' || c == 'P')
        return rewrite_property(r);
    if (c == 's')
        q35_str_addz(&r->out, r->in_class ? SPACES : "[" SPACES "]");
    else if (c == 'S' && !r->in_class)
        q35_str_addz(&r->out, "[^" SPACES "]");
    else if ((c >= '0' && c <= '9') || (c != 'd' && c != 'D' && c != 'r' && c != 'n' && c != 't' &&
                                        c != 'x' && ((c | 32) >= 'a' && (c | 32) <= 'z')))
        return refuse(r, "an escape");
    else if (c == 'x' && (r->at + 2 >= r->len || r->p[r->at + 2] != '{'))
        return refuse(r, "\\x without braces");
    else
        q35_str_add(&r->out, r->p + r->at, 2);
    r->at += 2;
    return Q35_OK;
}

/* "{1,3}+" is a repeated group to Oniguruma and possessive to PCRE2. */
static bool possessive_count(const struct rewriter *r)
{
    size_t i = r->at;
    if (r->p[i] != '{')
        return false;
    for (i++; i < r->len && ((r->p[i] >= '0' && r->p[i] <= '9') || r->p[i] == ','); i++)
        ;
    return i + 1 < r->len && r->p[i] == '}' && r->p[i + 1] == '+';
}

static enum q35_status rewrite(struct rewriter *r)
{
    while (r->at < r->len) {
        char c = r->p[r->at];
        if (c == '\\') {
            enum q35_status s = rewrite_escape(r);
            if (s)
                return s;
            continue;
        }
        if (c == '\0')
            return refuse(r, "a zero byte");
        if (r->in_class && c == '[')
            return refuse(r, "a class in a class");
        if (r->in_class && c == '&' && r->at + 1 < r->len && r->p[r->at + 1] == '&')
            return refuse(r, "&&");
        if (!r->in_class && possessive_count(r))
            return refuse(r, "a possessive count");
        if (c == '[') {
            r->in_class = true;
            q35_str_add(&r->out, &c, 1);
            if (r->at + 1 < r->len && r->p[r->at + 1] == '^') {
                q35_str_addz(&r->out, "^");
                r->at++;
            }
            if (r->at + 1 < r->len && r->p[r->at + 1] == ']')
                return refuse(r, "] first in a class");
            r->at++;
            continue;
        }
        if (c == ']')
            r->in_class = false;
        q35_str_add(&r->out, &c, 1);
        r->at++;
    }
    return r->in_class ? refuse(r, "an open class") : Q35_OK;
}

static enum q35_status compile(struct q35_regex *re, const struct rewriter *r)
{
    /* Multiline: "$" means the end of any line to Oniguruma. */
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    pcre2_compile_context *cc = pcre2_compile_context_create(NULL);
    int code = 0;
    PCRE2_SIZE at = 0;
    if (!cc || r->out.failed) {
        pcre2_compile_context_free(cc);
        return q35_fail(r->err, Q35_E_NOMEM, "no memory for a regex");
    }
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    re->code = pcre2_compile((PCRE2_SPTR)(r->out.data ? r->out.data : ""), r->out.len, options,
                             &code, &at, cc);
    pcre2_compile_context_free(cc);
    if (!re->code) {
        char text[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text));
        return q35_fail(r->err, Q35_E_FORMAT, "regex %.*s: %s", (int)(r->len < 200 ? r->len : 200),
                        r->p, text);
    }
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0;
    return Q35_OK;
}

enum q35_status q35_regex_create(struct q35_regex **out, const char *pattern, size_t len,
                                 struct q35_error *err)
{
    struct rewriter r = {.p = pattern, .len = len, .err = err};
    struct q35_regex *re;
    enum q35_status s;
    *out = NULL;
    if (len > MAX_PATTERN)
        return q35_fail(err, Q35_E_FORMAT, "a regex of %zu bytes", len);
    re = calloc(1, sizeof(*re));
    if (!re)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a regex");
    s = rewrite(&r);
    if (!s)
        s = compile(re, &r);
    q35_str_fini(&r.out);
    if (s) {
        q35_regex_destroy(re);
        return s;
    }
    *out = re;
    return Q35_OK;
}

void q35_regex_destroy(struct q35_regex *re)
{
    if (re)
        pcre2_code_free(re->code);
    free(re);
}

void q35_regex_work_fini(struct q35_regex_work *w)
{
    pcre2_match_data_free(w->match);
    pcre2_match_context_free(w->context);
    pcre2_jit_stack_free(w->stack);
    memset(w, 0, sizeof(*w));
}

static bool work_init(struct q35_regex_work *w)
{
    if (w->match)
        return true;
    w->match = pcre2_match_data_create(1, NULL);
    w->context = pcre2_match_context_create(NULL);
    if (!w->match || !w->context)
        return false;
    w->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, NULL);
    if (w->stack)
        pcre2_jit_stack_assign(w->context, NULL, w->stack);
    return true;
}

enum q35_status q35_regex_find(const struct q35_regex *re, struct q35_regex_work *w,
                               const char *text, size_t len, size_t from, bool *found,
                               size_t *start, size_t *end, struct q35_error *err)
{
    const uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    const PCRE2_SIZE *ov;
    int n;
    *found = false;
    if (!work_init(w))
        return q35_fail(err, Q35_E_NOMEM, "no memory for matching");
    n = pcre2_match(re->code, (PCRE2_SPTR)text, len, from, options, w->match, w->context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(re->code, (PCRE2_SPTR)text, len, from, options | PCRE2_NO_JIT, w->match,
                        w->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return Q35_OK;
    if (n < 0) {
        char message[128] = "";
        pcre2_get_error_message(n, (PCRE2_UCHAR *)message, sizeof(message));
        return q35_fail(err, n == PCRE2_ERROR_NOMEMORY ? Q35_E_NOMEM : Q35_E_INVALID,
                        "the pre-tokenizer cannot split this text: %s", message);
    }
    ov = pcre2_get_ovector_pointer(w->match);
    *start = ov[0];
    *end = ov[1];
    *found = true;
    return Q35_OK;
}
