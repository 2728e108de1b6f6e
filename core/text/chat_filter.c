/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/chat_impl.h"
#include "core/text/unicode.h"

/* Filters and tests. The enums follow the tables of names. */

enum filter {
    F_TRIM,
    F_LENGTH,
    F_COUNT,
    F_UPPER,
    F_LOWER,
    F_CAPITALIZE,
    F_TITLE,
    F_DEFAULT,
    F_D,
    F_FIRST,
    F_LAST,
    F_JOIN,
    F_TOJSON,
    F_LIST,
    F_STRING,
    F_INT,
    F_REPLACE,
    F_SAFE,
    F_ITEMS,
    F_REVERSE,
    F_SELECTATTR,
    F_REJECTATTR,
    F_MAP,
    F_ABS,
    F_SELECT,
    F_REJECT
};
static const char *const filter_names[] = {
    "trim",       "length", "count",   "upper",  "lower", "capitalize", "title",
    "default",    "d",      "first",   "last",   "join",  "tojson",     "list",
    "string",     "int",    "replace", "safe",   "items", "reverse",    "selectattr",
    "rejectattr", "map",    "abs",     "select", "reject"};

enum test {
    T_DEFINED,
    T_UNDEFINED,
    T_NONE,
    T_STRING_TEST,
    T_MAPPING,
    T_ITERABLE,
    T_SEQUENCE,
    T_NUMBER,
    T_INTEGER,
    T_FLOAT_TEST,
    T_BOOLEAN,
    T_TRUE,
    T_FALSE,
    T_ODD,
    T_EVEN,
    T_DIVISIBLEBY,
    T_EQ,
    T_EQUALTO,
    T_IN
};
static const char *const test_names[] = {
    "defined", "undefined",   "none",  "string",  "mapping", "iterable", "sequence",
    "number",  "integer",     "float", "boolean", "true",    "false",    "odd",
    "even",    "divisibleby", "eq",    "equalto", "in"};

int chat_filter_number(struct string name)
{
    return chat_name_find(name, filter_names, Q35_COUNT(filter_names));
}

int chat_test_number(struct string name)
{
    return chat_name_find(name, test_names, Q35_COUNT(test_names));
}

/* ---- tests ---- */

static bool compares(struct runner *r, uint32_t line, const struct args *a)
{
    if (a->count == 1)
        return true;
    chat_error(r, line, "a test without its argument");
    return false;
}

static bool number_test(struct runner *r, int test, uint32_t line, const struct value *v,
                        const struct args *a)
{
    int64_t by = 2;
    if (test == T_DIVISIBLEBY) {
        if (!compares(r, line, a))
            return false;
        by = a->positional[0].type == V_INT ? a->positional[0].i : 0;
    }
    if (v->type != V_INT || by == 0) {
        chat_error(r, line, "a number test of %s", value_type_name(v));
        return false;
    }
    return by == -1 || (test == T_ODD ? v->i % by != 0 : v->i % by == 0);
}

bool chat_test(struct runner *r, int test, uint32_t line, const struct value *v,
               const struct args *a)
{
    size_t i;
    switch ((enum test)test) {
    case T_DEFINED:
        return v->type != V_UNDEFINED;
    case T_UNDEFINED:
        return v->type == V_UNDEFINED;
    case T_NONE:
        return v->type == V_NONE;
    case T_STRING_TEST:
        return v->type == V_STRING;
    case T_MAPPING:
        return v->type == V_DICT;
    case T_ITERABLE:
    case T_SEQUENCE:
        return v->type == V_STRING || v->type == V_LIST || v->type == V_DICT;
    case T_NUMBER:
        return value_is_number(v);
    case T_INTEGER:
        return v->type == V_INT;
    case T_FLOAT_TEST:
        return v->type == V_FLOAT;
    case T_BOOLEAN:
        return v->type == V_BOOL;
    case T_TRUE:
        return v->type == V_BOOL && v->b;
    case T_FALSE:
        return v->type == V_BOOL && !v->b;
    case T_ODD:
    case T_EVEN:
    case T_DIVISIBLEBY:
        return number_test(r, test, line, v, a);
    case T_EQ:
    case T_EQUALTO:
        return compares(r, line, a) && value_equal(v, &a->positional[0]);
    case T_IN:
        if (!compares(r, line, a) || a->positional[0].type != V_LIST)
            return false;
        for (i = 0; i < a->positional[0].list->count; i++)
            if (value_equal(v, &a->positional[0].list->items[i]))
                return true;
        return false;
    }
    return false;
}

/* ---- filters ---- */

static struct value length(struct runner *r, const struct node *n, const struct value *v)
{
    size_t at = 0;
    int64_t count = 0;
    if (v->type == V_LIST)
        return value_int((int64_t)v->list->count);
    if (v->type == V_DICT)
        return value_int((int64_t)v->dict->count);
    if (v->type != V_STRING)
        return chat_error(r, n->line, "the length of %s", value_type_name(v));
    while (at < v->s.len) {
        uint32_t cp;
        size_t k = q35_utf8_get(v->s.data + at, v->s.len - at, &cp);
        at += k ? k : 1;
        count++;
    }
    return value_int(count);
}

static struct value join(struct runner *r, const struct node *n, const struct value *v,
                         const struct args *a)
{
    const struct value *by = args_get(a, 0, "d");
    struct buffer b = {{0}, {0}};
    struct value out;
    size_t i;
    if (v->type != V_LIST)
        return chat_error(r, n->line, "join of %s", value_type_name(v));
    for (i = 0; i < v->list->count && !r->status; i++) {
        if (i && by && by->type == V_STRING)
            buffer_add(&b, by->s);
        chat_print(r, &b, &v->list->items[i], n->line);
    }
    out = buffer_value(&r->arena, &b);
    buffer_fini(&b);
    return out;
}

static struct value tojson(struct runner *r, const struct node *n, const struct value *v,
                           const struct args *a)
{
    const struct value *indent = args_get(a, 0, "indent");
    struct buffer b = {{0}, {0}};
    struct value out;
    int by =
        indent && indent->type == V_INT && indent->i >= 0 && indent->i <= 16 ? (int)indent->i : -1;
    chat_tojson(r, &b, v, by, 0, n->line);
    out = buffer_value(&r->arena, &b);
    buffer_fini(&b);
    return out;
}

/* A list of what iterating over v gives. */
static struct value as_list(struct runner *r, const struct node *n, const struct value *v)
{
    struct value out;
    size_t at = 0;
    if (v->type == V_LIST)
        return *v;
    if (v->type == V_DICT)
        return chat_dict_items(&r->arena, v->dict, 'k');
    if (v->type != V_STRING)
        return chat_error(r, n->line, "%s is no list", value_type_name(v));
    out = value_list(&r->arena);
    while (out.type == V_LIST && at < v->s.len) {
        uint32_t cp;
        size_t k = q35_utf8_get(v->s.data + at, v->s.len - at, &cp);
        struct value c = *v;
        c.s.data += at;
        c.s.trusted += at;
        c.s.len = k ? k : 1;
        list_add(&r->arena, out.list, c);
        at += c.s.len;
    }
    return out;
}

static struct value end_of(struct runner *r, const struct node *n, const struct value *v)
{
    struct value l = as_list(r, n, v), none = {.type = V_UNDEFINED};
    if (l.type != V_LIST || l.list->count == 0)
        return none;
    return l.list->items[n->op == F_FIRST ? 0 : l.list->count - 1];
}

static struct value reverse(struct runner *r, const struct node *n, const struct value *v)
{
    struct value l = as_list(r, n, v), out = value_list(&r->arena);
    size_t i;
    if (l.type != V_LIST || out.type != V_LIST)
        return out;
    for (i = l.list->count; i > 0; i--)
        list_add(&r->arena, out.list, l.list->items[i - 1]);
    return out;
}

/* messages | selectattr("role", "equalto", "user"), map(attribute="content") */
static struct value by_attribute(struct runner *r, const struct node *n, const struct value *v,
                                 const struct args *a)
{
    const struct value *name = n->op == F_MAP ? args_get(a, 8, "attribute") : args_get(a, 0, "");
    const struct value *test = args_get(a, 1, "");
    struct value l = as_list(r, n, v), out = value_list(&r->arena);
    struct args rest = {.count = 0};
    int number = test && test->type == V_STRING ? chat_test_number(test->s) : -1;
    size_t i;
    if (!name || name->type != V_STRING || (test && n->op != F_MAP && number < 0))
        return chat_error(r, n->line, "arguments of %s", filter_names[n->op]);
    if (a->count > 2)
        rest.positional[rest.count++] = a->positional[2];
    for (i = 0; l.type == V_LIST && out.type == V_LIST && i < l.list->count; i++) {
        const struct value *e = &l.list->items[i], *at = NULL;
        struct value none = {.type = V_UNDEFINED};
        bool yes;
        if (e->type == V_DICT)
            at = dict_find(e->dict, name->s.data, name->s.len);
        at = at ? at : &none;
        if (n->op == F_MAP) {
            list_add(&r->arena, out.list, *at);
            continue;
        }
        yes = number >= 0 ? chat_test(r, number, n->line, at, &rest) : value_truth(at);
        if (yes == (n->op == F_SELECTATTR))
            list_add(&r->arena, out.list, *e);
    }
    return out;
}

/* list | select("string"), list | reject("equalto", "x"); without a test: the true ones */
static struct value by_element(struct runner *r, const struct node *n, const struct value *v,
                               const struct args *a)
{
    const struct value *test = args_get(a, 0, "");
    struct value l = as_list(r, n, v), out = value_list(&r->arena);
    struct args rest = {.count = 0};
    int number = test && test->type == V_STRING ? chat_test_number(test->s) : -1;
    size_t i;
    if (test && number < 0)
        return chat_error(r, n->line, "arguments of %s", filter_names[n->op]);
    if (a->count > 1)
        rest.positional[rest.count++] = a->positional[1];
    for (i = 0; l.type == V_LIST && out.type == V_LIST && i < l.list->count; i++) {
        const struct value *e = &l.list->items[i];
        bool yes = test ? chat_test(r, number, n->line, e, &rest) : value_truth(e);
        if (yes == (n->op == F_SELECT))
            list_add(&r->arena, out.list, *e);
    }
    return out;
}

static struct value to_int(const struct value *v)
{
    char text[32] = "";
    if (v->type == V_FLOAT && v->f > -9e18 && v->f < 9e18)
        return value_int((int64_t)v->f);
    if (v->type == V_STRING && v->s.len < sizeof(text)) {
        memcpy(text, v->s.data, v->s.len);
        return value_int(strtoll(text, NULL, 10));
    }
    return value_int(v->type == V_INT ? v->i : v->type == V_BOOL && v->b);
}

static struct value on_string(struct runner *r, const struct node *n, struct string s,
                              const struct args *a)
{
    const struct value *from = args_get(a, 0, "chars"), *to = args_get(a, 1, "new");
    switch (n->op) {
    case F_TRIM:
        return chat_strip(&r->arena, s, from && from->type == V_STRING ? &from->s : NULL, 3);
    case F_UPPER:
        return chat_recase(&r->arena, s, 'u');
    case F_LOWER:
        return chat_recase(&r->arena, s, 'l');
    case F_CAPITALIZE:
        return chat_recase(&r->arena, s, 'c');
    case F_TITLE:
        return chat_recase(&r->arena, s, 't');
    default:
        if (!from || !to || from->type != V_STRING || to->type != V_STRING)
            return chat_error(r, n->line, "arguments of replace");
        return chat_replace(r, s, from->s, to->s);
    }
}

static struct value as_string(struct runner *r, const struct node *n, const struct value *v)
{
    struct buffer b = {{0}, {0}};
    struct value s;
    if (v->type == V_STRING)
        return *v;
    chat_print(r, &b, v, n->line);
    s = buffer_value(&r->arena, &b);
    buffer_fini(&b);
    return s;
}

struct value chat_filter(struct runner *r, const struct node *n, struct value v,
                         const struct args *a)
{
    const struct value *other, *also;
    struct value s;
    switch ((enum filter)n->op) {
    case F_TRIM:
    case F_UPPER:
    case F_LOWER:
    case F_CAPITALIZE:
    case F_TITLE:
    case F_REPLACE:
        s = as_string(r, n, &v);
        return on_string(r, n, s.s, a);
    case F_STRING:
    case F_SAFE:
        return as_string(r, n, &v);
    case F_LENGTH:
    case F_COUNT:
        return length(r, n, &v);
    case F_DEFAULT:
    case F_D:
        other = args_get(a, 0, "default_value");
        also = args_get(a, 1, "boolean");
        if (v.type == V_UNDEFINED || (also && value_truth(also) && !value_truth(&v)))
            return other ? *other : value_string(&r->arena, "", 0, true);
        return v;
    case F_FIRST:
    case F_LAST:
        return end_of(r, n, &v);
    case F_JOIN:
        return join(r, n, &v, a);
    case F_TOJSON:
        return tojson(r, n, &v, a);
    case F_LIST:
        return as_list(r, n, &v);
    case F_INT:
        return to_int(&v);
    case F_ITEMS:
        if (v.type != V_DICT)
            return chat_error(r, n->line, "items of %s", value_type_name(&v));
        return chat_dict_items(&r->arena, v.dict, 'i');
    case F_REVERSE:
        return reverse(r, n, &v);
    case F_SELECTATTR:
    case F_REJECTATTR:
    case F_MAP:
        return by_attribute(r, n, &v, a);
    case F_SELECT:
    case F_REJECT:
        return by_element(r, n, &v, a);
    case F_ABS:
        if (v.type == V_INT && v.i != INT64_MIN)
            return value_int(v.i < 0 ? -v.i : v.i);
        return chat_error(r, n->line, "abs of %s", value_type_name(&v));
    }
    return v;
}
