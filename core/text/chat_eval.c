/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/text/chat_impl.h"
#include "core/text/unicode.h"

static const struct value undefined = {.type = V_UNDEFINED};

struct value chat_error(struct runner *r, uint32_t line, const char *format, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (!r->status)
        r->status = q35_fail(r->err, Q35_E_INVALID, "chat template line %u: %s", line, text);
    return undefined;
}

/* ---- printing ---- */

bool chat_print(struct runner *r, struct buffer *b, const struct value *v, uint32_t line)
{
    char text[40];
    switch (v->type) {
    case V_UNDEFINED:
        return true;
    case V_STRING:
        buffer_add(b, v->s);
        return true;
    case V_NONE:
        buffer_addz(b, "None");
        return true;
    case V_BOOL:
        buffer_addz(b, v->b ? "True" : "False");
        return true;
    case V_INT:
        snprintf(text, sizeof(text), "%" PRId64, v->i);
        buffer_addz(b, text);
        return true;
    case V_FLOAT:
        snprintf(text, sizeof(text), "%.12g", v->f);
        buffer_addz(b, text);
        if (isfinite(v->f) && !strpbrk(text, ".e"))
            buffer_addz(b, ".0");
        return true;
    default:
        chat_error(r, line, "%s cannot be printed", value_type_name(v));
        return false;
    }
}

static struct value to_string(struct runner *r, struct value v, uint32_t line)
{
    struct buffer b = {{0}, {0}};
    struct value s;
    if (v.type == V_STRING)
        return v;
    chat_print(r, &b, &v, line);
    s = buffer_value(&r->arena, &b);
    buffer_fini(&b);
    return s;
}

/* ---- look-up ---- */

static struct value name(struct runner *r, const struct node *n)
{
    const struct frame *f;
    for (f = r->frame; f; f = f->up) {
        const struct value *v = dict_find(f->vars.dict, n->text.data, n->text.len);
        if (v)
            return *v;
    }
    return undefined;
}

static struct value no_attribute(struct runner *r, const struct node *n, const struct value *of)
{
    if (of->type == V_UNDEFINED)
        return chat_error(r, n->line, "an attribute of something undefined");
    return undefined;
}

static struct value character(struct runner *r, struct string s, int64_t index)
{
    struct value v = {.type = V_STRING};
    size_t at = 0;
    int64_t count = 0;
    uint32_t cp;
    (void)r;
    if (index < 0) {
        while (at < s.len && q35_utf8_get(s.data + at, s.len - at, &cp)) {
            at += q35_utf8_get(s.data + at, s.len - at, &cp);
            count++;
        }
        index += count;
    }
    if (index < 0)
        return undefined;
    for (at = 0; at < s.len; index--) {
        size_t n = q35_utf8_get(s.data + at, s.len - at, &cp);
        n = n ? n : 1;
        if (index == 0) {
            v.s.data = s.data + at;
            v.s.trusted = s.trusted + at;
            v.s.len = n;
            return v;
        }
        at += n;
    }
    return undefined;
}

static struct value item(struct runner *r, const struct node *n, const struct value *of,
                         const struct value *key)
{
    if (of->type == V_DICT && key->type == V_STRING) {
        const struct value *v = dict_find(of->dict, key->s.data, key->s.len);
        return v ? *v : undefined;
    }
    if (of->type == V_LIST && key->type == V_INT) {
        int64_t count = (int64_t)of->list->count, i = key->i < 0 ? key->i + count : key->i;
        return i >= 0 && i < count ? of->list->items[i] : undefined;
    }
    if (of->type == V_STRING && key->type == V_INT)
        return character(r, of->s, key->i);
    return no_attribute(r, n, of);
}

/* Python's slice bounds for a length. */
static int64_t bound(const struct value *v, int64_t otherwise, int64_t length, int64_t low,
                     int64_t high)
{
    int64_t i;
    if (!v || v->type != V_INT)
        return otherwise;
    i = v->i < 0 ? v->i + length : v->i;
    return i < low ? low : i > high ? high : i;
}

static struct value slice(struct runner *r, const struct node *n)
{
    struct value of = chat_eval(r, n->a), from, to, step, out;
    int64_t length, i, end, by;
    from = n->b ? chat_eval(r, n->b) : undefined;
    to = n->c ? chat_eval(r, n->c) : undefined;
    step = n->d ? chat_eval(r, n->d) : value_int(1);
    by = step.type == V_INT ? step.i : 1;
    if (by == 0 || (of.type != V_LIST && of.type != V_STRING))
        return chat_error(r, n->line, "%s cannot be sliced so", value_type_name(&of));
    length = of.type == V_LIST ? (int64_t)of.list->count : 0;
    if (of.type == V_STRING) { /* into characters */
        size_t at = 0;
        struct value chars = value_list(&r->arena);
        while (chars.type == V_LIST && at < of.s.len) {
            uint32_t cp;
            size_t k = q35_utf8_get(of.s.data + at, of.s.len - at, &cp);
            struct value c = of;
            c.s.data += at;
            c.s.trusted += at;
            c.s.len = k ? k : 1;
            list_add(&r->arena, chars.list, c);
            at += c.s.len;
        }
        if (chars.type != V_LIST)
            return undefined;
        out = chars;
        length = (int64_t)chars.list->count;
    } else {
        out = of;
    }
    i = bound(&from, by > 0 ? 0 : length - 1, length, by > 0 ? 0 : -1,
              by > 0 ? length : length - 1);
    end = bound(&to, by > 0 ? length : -1, length, by > 0 ? 0 : -1, by > 0 ? length : length - 1);
    if (of.type == V_LIST) {
        struct value list = value_list(&r->arena);
        for (; list.type == V_LIST && (by > 0 ? i < end : i > end); i += by)
            list_add(&r->arena, list.list, out.list->items[i]);
        return list;
    } else {
        struct buffer b = {{0}, {0}};
        for (; by > 0 ? i < end : i > end; i += by)
            buffer_add(&b, out.list->items[i].s);
        out = buffer_value(&r->arena, &b);
        buffer_fini(&b);
        return out;
    }
}

/* ---- operators ---- */

static bool contains(struct runner *r, const struct node *n, const struct value *what,
                     const struct value *in)
{
    size_t i;
    switch (in->type) {
    case V_STRING:
        if (what->type != V_STRING)
            break;
        return what->s.len == 0 || memmem(in->s.data, in->s.len, what->s.data, what->s.len) != NULL;
    case V_LIST:
        for (i = 0; i < in->list->count; i++)
            if (value_equal(&in->list->items[i], what))
                return true;
        return false;
    case V_DICT:
        return what->type == V_STRING && dict_find(in->dict, what->s.data, what->s.len);
    default:
        break;
    }
    chat_error(r, n->line, "%s in %s", value_type_name(what), value_type_name(in));
    return false;
}

static struct value concat(struct runner *r, const struct string *x, const struct string *y)
{
    struct value v = {.type = V_STRING};
    char *data = arena_alloc(&r->arena, x->len + y->len + 1);
    uint8_t *trusted = arena_alloc(&r->arena, x->len + y->len + 1);
    if (!data || !trusted)
        return value_string(&r->arena, "", 0, true);
    memcpy(data, x->data, x->len);
    memcpy(trusted, x->trusted, x->len);
    memcpy(data + x->len, y->data, y->len);
    memcpy(trusted + x->len, y->trusted, y->len);
    v.s.data = data;
    v.s.trusted = trusted;
    v.s.len = x->len + y->len;
    return v;
}

static struct value integers(struct runner *r, const struct node *n, int64_t x, int64_t y)
{
    int64_t v = 0;
    bool bad = false;
    switch (n->op) {
    case B_ADD:
        bad = __builtin_add_overflow(x, y, &v);
        break;
    case B_SUB:
        bad = __builtin_sub_overflow(x, y, &v);
        break;
    case B_MUL:
        bad = __builtin_mul_overflow(x, y, &v);
        break;
    default: /* Python rounds towards minus infinity */
        bad = y == 0 || (x == INT64_MIN && y == -1);
        if (!bad && n->op == B_FLOORDIV)
            v = x / y - (x % y != 0 && (x < 0) != (y < 0));
        else if (!bad)
            v = x % y + (x % y != 0 && (x < 0) != (y < 0) ? y : 0);
        break;
    }
    return bad ? chat_error(r, n->line, "arithmetic out of range") : value_int(v);
}

static struct value arithmetic(struct runner *r, const struct node *n, const struct value *x,
                               const struct value *y)
{
    struct value v = {.type = V_FLOAT};
    double a, b;
    if (x->type == V_INT && y->type == V_INT && n->op != B_DIV && n->op != B_POW)
        return integers(r, n, x->i, y->i);
    if (!value_is_number(x) || !value_is_number(y))
        return chat_error(r, n->line, "arithmetic with %s and %s", value_type_name(x),
                          value_type_name(y));
    a = value_number(x);
    b = value_number(y);
    if (b == 0 && (n->op == B_DIV || n->op == B_FLOORDIV || n->op == B_MOD))
        return chat_error(r, n->line, "division by zero");
    v.f = n->op == B_ADD        ? a + b
          : n->op == B_SUB      ? a - b
          : n->op == B_MUL      ? a * b
          : n->op == B_DIV      ? a / b
          : n->op == B_FLOORDIV ? floor(a / b)
          : n->op == B_MOD      ? a - b * floor(a / b)
                                : pow(a, b);
    if (x->type == V_INT && y->type == V_INT && n->op == B_POW && fabs(v.f) < 9e15)
        return value_int((int64_t)v.f);
    return v;
}

static struct value add(struct runner *r, const struct node *n, const struct value *x,
                        const struct value *y)
{
    struct value v;
    size_t i;
    if (x->type == V_STRING && y->type == V_STRING)
        return concat(r, &x->s, &y->s);
    if (x->type != V_LIST || y->type != V_LIST)
        return arithmetic(r, n, x, y);
    v = value_list(&r->arena);
    for (i = 0; v.type == V_LIST && i < x->list->count; i++)
        list_add(&r->arena, v.list, x->list->items[i]);
    for (i = 0; v.type == V_LIST && i < y->list->count; i++)
        list_add(&r->arena, v.list, y->list->items[i]);
    return v;
}

static struct value repeat(struct runner *r, const struct node *n, const struct value *s,
                           const struct value *times)
{
    struct value v = value_string(&r->arena, "", 0, true);
    int64_t i;
    if (times->i > 10000)
        return chat_error(r, n->line, "a string repeated %" PRId64 " times", times->i);
    for (i = 0; i < times->i; i++)
        v = concat(r, &v.s, &s->s);
    return v;
}

static struct value ordered(struct runner *r, const struct node *n, const struct value *x,
                            const struct value *y)
{
    int c = value_compare(x, y);
    if (c == 2)
        return chat_error(r, n->line, "%s compared with %s", value_type_name(x),
                          value_type_name(y));
    return value_bool(n->op == B_LT   ? c < 0
                      : n->op == B_LE ? c <= 0
                      : n->op == B_GT ? c > 0
                                      : c >= 0);
}

static struct value binary(struct runner *r, const struct node *n)
{
    struct value x = chat_eval(r, n->a), y;
    if (n->op == B_OR || n->op == B_AND)
        return value_truth(&x) == (n->op == B_OR) ? x : chat_eval(r, n->b);
    y = chat_eval(r, n->b);
    switch (n->op) {
    case B_EQ:
    case B_NE:
        return value_bool(value_equal(&x, &y) == (n->op == B_EQ));
    case B_LT:
    case B_LE:
    case B_GT:
    case B_GE:
        return ordered(r, n, &x, &y);
    case B_IN:
    case B_NOT_IN:
        return value_bool(contains(r, n, &x, &y) == (n->op == B_IN));
    case B_CONCAT:
        x = to_string(r, x, n->line);
        y = to_string(r, y, n->line);
        return concat(r, &x.s, &y.s);
    case B_ADD:
        return add(r, n, &x, &y);
    case B_MUL:
        if (x.type == V_STRING && y.type == V_INT)
            return repeat(r, n, &x, &y);
        return arithmetic(r, n, &x, &y);
    default:
        return arithmetic(r, n, &x, &y);
    }
}

/* ---- everything else ---- */

const struct value *args_get(const struct args *a, size_t i, const char *name)
{
    size_t k;
    if (i < a->count)
        return &a->positional[i];
    for (k = 0; k < a->named_count; k++)
        if (a->names[k].len == strlen(name) && memcmp(a->names[k].data, name, strlen(name)) == 0)
            return &a->named[k];
    return NULL;
}

static void arguments(struct runner *r, const struct node *list, struct args *out)
{
    memset(out, 0, sizeof(*out));
    for (; list; list = list->next) {
        struct value v = chat_eval(r, list);
        if (list->keyword.data) {
            out->names[out->named_count] = list->keyword;
            out->named[out->named_count++] = v;
        } else {
            out->positional[out->count++] = v;
        }
    }
}

static struct value collection(struct runner *r, const struct node *n)
{
    struct value v = n->type == N_LIST ? value_list(&r->arena) : value_dict(&r->arena);
    const struct node *e;
    for (e = n->list; e && v.type == V_LIST; e = e->next)
        list_add(&r->arena, v.list, chat_eval(r, e));
    for (e = n->list; e && v.type == V_DICT; e = e->next->next) {
        struct value key = chat_eval(r, e);
        if (key.type != V_STRING)
            return chat_error(r, n->line, "%s as the key of a dict", value_type_name(&key));
        dict_put(&r->arena, v.dict, key.s, chat_eval(r, e->next));
    }
    return v;
}

static struct value negative(struct runner *r, const struct node *n)
{
    struct value v = chat_eval(r, n->a);
    if (v.type == V_FLOAT)
        v.f = -v.f;
    else if (v.type == V_INT && v.i != INT64_MIN)
        v.i = -v.i;
    else
        return chat_error(r, n->line, "minus %s", value_type_name(&v));
    return v;
}

static struct value conditional(struct runner *r, const struct node *n)
{
    struct value v = chat_eval(r, n->a);
    if (value_truth(&v))
        return chat_eval(r, n->b);
    return n->c ? chat_eval(r, n->c) : undefined;
}

/* Those with arguments or an operand that is looked at first. */
static struct value applied(struct runner *r, const struct node *n)
{
    struct args args;
    struct value v = n->a ? chat_eval(r, n->a) : undefined, key;
    if (n->type == N_ATTR) {
        key.type = V_STRING;
        key.s = n->text;
        return v.type == V_DICT ? item(r, n, &v, &key) : no_attribute(r, n, &v);
    }
    if (n->type == N_ITEM) {
        key = chat_eval(r, n->b);
        return item(r, n, &v, &key);
    }
    arguments(r, n->list, &args);
    if (r->status)
        return undefined;
    if (n->type == N_CALL)
        return chat_call(r, n, &args);
    if (n->type == N_METHOD)
        return chat_method(r, n, v, &args);
    if (n->type == N_FILTER)
        return chat_filter(r, n, v, &args);
    return value_bool(chat_test(r, n->op, n->line, &v, &args) != n->negated);
}

static struct value eval(struct runner *r, const struct node *n)
{
    struct value v;
    switch (n->type) {
    case N_LITERAL:
        return n->literal;
    case N_NAME:
        return name(r, n);
    case N_SLICE:
        return slice(r, n);
    case N_NOT:
        v = chat_eval(r, n->a);
        return value_bool(!value_truth(&v));
    case N_NEG:
        return negative(r, n);
    case N_BINARY:
        return binary(r, n);
    case N_COND:
        return conditional(r, n);
    case N_LIST:
    case N_DICT:
        return collection(r, n);
    default:
        return applied(r, n);
    }
}

struct value chat_eval(struct runner *r, const struct node *n)
{
    struct value v;
    if (r->status)
        return undefined;
    if (++r->steps > CHAT_MAX_STEPS)
        return chat_error(r, n->line, "too much to compute");
    if (++r->depth > 5 * CHAT_MAX_DEPTH)
        return chat_error(r, n->line, "an expression too deep");
    v = eval(r, n);
    r->depth--;
    if (r->arena.failed && !r->status)
        return chat_error(r, n->line, "too much memory");
    return r->status ? undefined : v;
}
