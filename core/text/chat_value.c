/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/chat_impl.h"

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    max_align_t data[];
};

void *arena_alloc(struct arena *a, size_t bytes)
{
    struct arena_block *b = a->blocks;
    size_t need = (bytes + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    void *p;
    if (a->failed || need < bytes || need > a->limit - a->used) {
        a->failed = true;
        return NULL;
    }
    if (!b || need > b->cap - b->used) {
        size_t cap = need > 16384 ? need : 16384;
        b = calloc(1, sizeof(*b) + cap);
        if (!b) {
            a->failed = true;
            return NULL;
        }
        b->cap = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    p = (char *)b->data + b->used;
    b->used += need;
    a->used += need;
    return p;
}

void arena_fini(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    memset(a, 0, sizeof(*a));
}

struct value value_none(void)
{
    struct value v = {.type = V_NONE};
    return v;
}

struct value value_bool(bool b)
{
    struct value v = {.type = V_BOOL};
    v.b = b;
    return v;
}

struct value value_int(int64_t i)
{
    struct value v = {.type = V_INT};
    v.i = i;
    return v;
}

struct value value_string(struct arena *a, const char *data, size_t len, bool trusted)
{
    struct value v = {.type = V_STRING};
    uint8_t *t = arena_alloc(a, len + 1);
    v.s.data = data;
    v.s.len = t ? len : 0;
    if (t)
        memset(t, trusted, len);
    v.s.trusted = t;
    return v;
}

struct value value_list(struct arena *a)
{
    struct value v = {.type = V_LIST};
    v.list = arena_alloc(a, sizeof(*v.list));
    if (!v.list)
        v.type = V_UNDEFINED;
    return v;
}

struct value value_dict(struct arena *a)
{
    struct value v = {.type = V_DICT};
    v.dict = arena_alloc(a, sizeof(*v.dict));
    if (!v.dict)
        v.type = V_UNDEFINED;
    return v;
}

/* Room for one more: a bigger copy in the arena. */
static void *grow(struct arena *a, void *old, size_t count, size_t *cap, size_t size)
{
    size_t next = *cap ? *cap * 2 : 8;
    void *p;
    if (count < *cap)
        return old;
    p = arena_alloc(a, next * size);
    if (!p)
        return NULL;
    if (count)
        memcpy(p, old, count * size);
    *cap = next;
    return p;
}

void list_add(struct arena *a, struct list *l, struct value v)
{
    struct value *items = l ? grow(a, l->items, l->count, &l->cap, sizeof(v)) : NULL;
    if (!items)
        return;
    l->items = items;
    l->items[l->count++] = v;
}

static size_t dict_index(const struct dict *d, const char *key, size_t len)
{
    size_t i;
    for (i = 0; i < d->count; i++)
        if (d->keys[i].len == len && memcmp(d->keys[i].data, key, len) == 0)
            break;
    return i;
}

void dict_put(struct arena *a, struct dict *d, struct string key, struct value v)
{
    size_t i = d ? dict_index(d, key.data, key.len) : 0, cap;
    struct string *keys;
    struct value *values;
    if (!d)
        return;
    if (i == d->count) {
        cap = d->cap;
        keys = grow(a, d->keys, d->count, &cap, sizeof(*keys));
        values = grow(a, d->values, d->count, &d->cap, sizeof(*values));
        if (!keys || !values)
            return;
        d->keys = keys;
        d->values = values;
        d->keys[d->count++] = key;
    }
    d->values[i] = v;
}

const struct value *dict_find(const struct dict *d, const char *key, size_t len)
{
    size_t i = dict_index(d, key, len);
    return i < d->count ? &d->values[i] : NULL;
}

bool value_is_number(const struct value *v)
{
    return v->type == V_INT || v->type == V_FLOAT || v->type == V_BOOL;
}

double value_number(const struct value *v)
{
    return v->type == V_INT ? (double)v->i : v->type == V_FLOAT ? v->f : v->b;
}

bool value_truth(const struct value *v)
{
    switch (v->type) {
    case V_BOOL:
        return v->b;
    case V_INT:
        return v->i != 0;
    case V_FLOAT:
        return v->f != 0;
    case V_STRING:
        return v->s.len > 0;
    case V_LIST:
        return v->list->count > 0;
    case V_DICT:
        return v->dict->count > 0 || v->dict->is_namespace;
    default:
        return false;
    }
}

/* Shared parts make a small value look huge: past a budget values count as different. */
struct look {
    int depth, budget;
};

static bool lists_equal(const struct list *a, const struct list *b, struct look *k);

static bool dicts_equal(const struct dict *a, const struct dict *b, struct look *k);

static bool equal(const struct value *a, const struct value *b, struct look *k)
{
    bool same;
    if (--k->budget < 0)
        return false;
    if (value_is_number(a) && value_is_number(b)) {
        if (a->type == V_INT && b->type == V_INT)
            return a->i == b->i;
        return value_number(a) == value_number(b);
    }
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case V_STRING:
        return a->s.len == b->s.len && memcmp(a->s.data, b->s.data, a->s.len) == 0;
    case V_LIST:
    case V_DICT:
        if (++k->depth > CHAT_MAX_DEPTH)
            return false;
        same =
            a->type == V_LIST ? lists_equal(a->list, b->list, k) : dicts_equal(a->dict, b->dict, k);
        k->depth--;
        return same;
    default:
        return true;
    }
}

static bool lists_equal(const struct list *a, const struct list *b, struct look *k)
{
    size_t i;
    if (a->count != b->count)
        return false;
    for (i = 0; i < a->count; i++)
        if (!equal(&a->items[i], &b->items[i], k))
            return false;
    return true;
}

static bool dicts_equal(const struct dict *a, const struct dict *b, struct look *k)
{
    size_t i;
    if (a->is_namespace || b->is_namespace)
        return a == b;
    if (a->count != b->count)
        return false;
    for (i = 0; i < a->count; i++) {
        const struct value *o = dict_find(b, a->keys[i].data, a->keys[i].len);
        if (!o || !equal(&a->values[i], o, k))
            return false;
    }
    return true;
}

bool value_equal(const struct value *a, const struct value *b)
{
    struct look k = {.depth = 0, .budget = 100000};
    return equal(a, b, &k);
}

int value_compare(const struct value *a, const struct value *b)
{
    if (value_is_number(a) && value_is_number(b)) {
        double x = value_number(a), y = value_number(b);
        return x < y ? -1 : x > y;
    }
    if (a->type == V_STRING && b->type == V_STRING) {
        size_t n = a->s.len < b->s.len ? a->s.len : b->s.len;
        int c = memcmp(a->s.data, b->s.data, n);
        if (c == 0)
            return a->s.len < b->s.len ? -1 : a->s.len > b->s.len;
        return c < 0 ? -1 : 1;
    }
    return 2;
}

const char *value_type_name(const struct value *v)
{
    static const char *const names[] = {"undefined", "none",     "a boolean", "an integer",
                                        "a float",   "a string", "a list",    "a dict"};
    return names[v->type];
}

void buffer_add(struct buffer *b, struct string s)
{
    q35_str_add(&b->data, s.data, s.len);
    q35_str_add(&b->trusted, (const char *)s.trusted, s.len);
}

void buffer_addz(struct buffer *b, const char *text)
{
    static const char ones[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    size_t n = strlen(text);
    q35_str_add(&b->data, text, n);
    while (n) {
        size_t k = n < sizeof(ones) ? n : sizeof(ones);
        q35_str_add(&b->trusted, ones, k);
        n -= k;
    }
}

void buffer_fini(struct buffer *b)
{
    q35_str_fini(&b->data);
    q35_str_fini(&b->trusted);
}

struct value buffer_value(struct arena *a, const struct buffer *b)
{
    struct value v = {.type = V_STRING};
    size_t n = b->data.failed || b->trusted.failed ? 0 : b->data.len;
    char *data = arena_alloc(a, n + 1);
    uint8_t *trusted = arena_alloc(a, n + 1);
    a->failed |= b->data.failed || b->trusted.failed;
    v.s.data = data ? data : "";
    v.s.trusted = trusted;
    v.s.len = data && trusted ? n : 0;
    if (v.s.len) {
        memcpy(data, b->data.data, n);
        memcpy(trusted, b->trusted.data, n);
    }
    return v;
}
