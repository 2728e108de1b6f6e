/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/text/chat_impl.h"

/* Functions, and methods of strings and dicts. */

enum function { FN_RAISE, FN_NAMESPACE, FN_RANGE, FN_DICT, FN_STRFTIME };
static const char *const function_names[] = {"raise_exception", "namespace", "range", "dict",
                                             "strftime_now"};

enum method {
    M_STRIP,
    M_LSTRIP,
    M_RSTRIP,
    M_SPLIT,
    M_STARTSWITH,
    M_ENDSWITH,
    M_REPLACE,
    M_UPPER,
    M_LOWER,
    M_TITLE,
    M_CAPITALIZE,
    M_ITEMS,
    M_KEYS,
    M_VALUES,
    M_GET
};
static const char *const method_names[] = {
    "strip", "lstrip", "rstrip",     "split", "startswith", "endswith", "replace", "upper",
    "lower", "title",  "capitalize", "items", "keys",       "values",   "get"};

int chat_name_find(struct string name, const char *const *names, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (strlen(names[i]) == name.len && memcmp(names[i], name.data, name.len) == 0)
            return (int)i;
    return -1;
}

int chat_function_number(struct string name)
{
    return chat_name_find(name, function_names, Q35_COUNT(function_names));
}

int chat_method_number(struct string name)
{
    return chat_name_find(name, method_names, Q35_COUNT(method_names));
}

/* ---- functions ---- */

static struct value range(struct runner *r, const struct node *n, const struct args *a)
{
    struct value out = value_list(&r->arena);
    int64_t from = 0, to = 0, step = 1;
    size_t i;
    for (i = 0; i < a->count; i++)
        if (a->positional[i].type != V_INT)
            return chat_error(r, n->line, "range of %s", value_type_name(&a->positional[i]));
    if (a->count == 1)
        to = a->positional[0].i;
    if (a->count >= 2) {
        from = a->positional[0].i;
        to = a->positional[1].i;
    }
    if (a->count == 3)
        step = a->positional[2].i;
    if (step == 0 || a->count == 0 || a->count > 3 || from < -1000000 || from > 1000000 ||
        to < -1000000 || to > 1000000 || step < -1000000 || step > 1000000)
        return chat_error(r, n->line, "arguments of range");
    for (; out.type == V_LIST && (step > 0 ? from < to : from > to); from += step)
        list_add(&r->arena, out.list, value_int(from));
    return out;
}

struct value chat_call(struct runner *r, const struct node *n, const struct args *a)
{
    struct value v;
    size_t i;
    switch ((enum function)n->op) {
    case FN_RAISE:
        if (a->count && a->positional[0].type == V_STRING)
            return chat_error(r, n->line, "%.*s", (int)a->positional[0].s.len,
                              a->positional[0].s.data);
        return chat_error(r, n->line, "the template refuses these messages");
    case FN_NAMESPACE:
    case FN_DICT:
        v = value_dict(&r->arena);
        if (v.type != V_DICT)
            return v;
        for (i = 0; i < a->named_count; i++)
            dict_put(&r->arena, v.dict, a->names[i], a->named[i]);
        v.dict->is_namespace = n->op == FN_NAMESPACE;
        return v;
    case FN_RANGE:
        return range(r, n, a);
    case FN_STRFTIME: /* the same messages give the same prompt on any day */
        return chat_error(r, n->line, "strftime_now is not defined");
    }
    return value_none();
}

/* ---- methods ---- */

static struct value split(struct runner *r, const struct node *n, struct string s,
                          const struct args *a)
{
    const struct value *by = args_get(a, 0, "sep"), *most = args_get(a, 1, "maxsplit");
    struct value out = value_list(&r->arena), part = {.type = V_STRING};
    int64_t left = most && most->type == V_INT && most->i >= 0 ? most->i : INT64_MAX;
    if (!by || by->type != V_STRING || by->s.len == 0)
        return chat_error(r, n->line, "split without a separator");
    while (out.type == V_LIST && left-- > 0) {
        const char *hit = s.len ? memmem(s.data, s.len, by->s.data, by->s.len) : NULL;
        size_t skip;
        if (!hit)
            break;
        part.s = s;
        part.s.len = (size_t)(hit - s.data);
        list_add(&r->arena, out.list, part);
        skip = part.s.len + by->s.len;
        s.data += skip;
        s.trusted += skip;
        s.len -= skip;
        if (r->arena.failed)
            break;
    }
    part.s = s;
    if (out.type == V_LIST)
        list_add(&r->arena, out.list, part);
    return out;
}

/* One string, or a list of them to choose from. */
static bool affix(const struct string *s, const struct value *with, bool front)
{
    size_t i;
    if (with->type == V_LIST) {
        for (i = 0; i < with->list->count; i++)
            if (with->list->items[i].type == V_STRING && affix(s, &with->list->items[i], front))
                return true;
        return false;
    }
    return with->type == V_STRING && s->len >= with->s.len &&
           memcmp(front ? s->data : s->data + s->len - with->s.len, with->s.data, with->s.len) == 0;
}

static struct value of_string(struct runner *r, const struct node *n, struct string s,
                              const struct args *a)
{
    const struct value *x = args_get(a, 0, ""), *y = args_get(a, 1, "");
    const struct string *chars = x && x->type == V_STRING ? &x->s : NULL;
    switch ((enum method)n->op) {
    case M_STRIP:
        return chat_strip(&r->arena, s, chars, 3);
    case M_LSTRIP:
        return chat_strip(&r->arena, s, chars, 1);
    case M_RSTRIP:
        return chat_strip(&r->arena, s, chars, 2);
    case M_SPLIT:
        return split(r, n, s, a);
    case M_STARTSWITH:
    case M_ENDSWITH:
        if (!x)
            return chat_error(r, n->line, "%s without an argument", method_names[n->op]);
        return value_bool(affix(&s, x, n->op == M_STARTSWITH));
    case M_REPLACE:
        if (!chars || !y || y->type != V_STRING)
            return chat_error(r, n->line, "arguments of replace");
        return chat_replace(r, s, *chars, y->s);
    case M_UPPER:
        return chat_recase(&r->arena, s, 'u');
    case M_LOWER:
        return chat_recase(&r->arena, s, 'l');
    case M_TITLE:
        return chat_recase(&r->arena, s, 't');
    case M_CAPITALIZE:
        return chat_recase(&r->arena, s, 'c');
    default:
        return chat_error(r, n->line, "%s of a string", method_names[n->op]);
    }
}

static struct value of_dict(struct runner *r, const struct node *n, const struct dict *d,
                            const struct args *a)
{
    const struct value *key = args_get(a, 0, "key"), *otherwise = args_get(a, 1, "default"), *v;
    switch ((enum method)n->op) {
    case M_ITEMS:
        return chat_dict_items(&r->arena, d, 'i');
    case M_KEYS:
        return chat_dict_items(&r->arena, d, 'k');
    case M_VALUES:
        return chat_dict_items(&r->arena, d, 'v');
    case M_GET:
        if (!key || key->type != V_STRING)
            return chat_error(r, n->line, "get without a key");
        v = dict_find(d, key->s.data, key->s.len);
        return v ? *v : otherwise ? *otherwise : value_none();
    default:
        return chat_error(r, n->line, "%s of a dict", method_names[n->op]);
    }
}

struct value chat_method(struct runner *r, const struct node *n, struct value self,
                         const struct args *a)
{
    if (self.type == V_STRING)
        return of_string(r, n, self.s, a);
    if (self.type == V_DICT)
        return of_dict(r, n, self.dict, a);
    return chat_error(r, n->line, "%s of %s", method_names[n->op], value_type_name(&self));
}
