/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/text/chat_impl.h"
#include "core/text/unicode.h"

/* Operations on strings that filters and methods share. Origins of bytes are kept throughout. */

static bool strips(const struct string *chars, const char *p, size_t n, uint32_t cp)
{
    if (!chars)
        return q35_unicode_space(cp) || (cp >= 0x1c && cp <= 0x1f);
    return chars->len && memmem(chars->data, chars->len, p, n) != NULL;
}

struct value chat_strip(struct arena *a, struct string s, const struct string *chars, int side)
{
    struct value v = {.type = V_STRING};
    uint32_t cp;
    (void)a;
    while ((side & 1) && s.len) {
        size_t n = q35_utf8_get(s.data, s.len, &cp);
        if (n == 0 || !strips(chars, s.data, n, cp))
            break;
        s.data += n;
        s.trusted += n;
        s.len -= n;
    }
    while ((side & 2) && s.len) {
        size_t at = s.len - 1, n;
        while (at > 0 && s.len - at < 4 && ((uint8_t)s.data[at] & 0xc0) == 0x80)
            at--;
        n = q35_utf8_get(s.data + at, s.len - at, &cp);
        if (n != s.len - at || !strips(chars, s.data + at, n, cp))
            break;
        s.len = at;
    }
    v.s = s;
    return v;
}

struct value chat_replace(struct runner *r, struct string s, struct string from, struct string to)
{
    struct buffer b = {{0}, {0}};
    struct value v;
    while (from.len && s.len) {
        const char *hit = memmem(s.data, s.len, from.data, from.len);
        struct string before = s;
        size_t skip;
        if (!hit)
            break;
        before.len = (size_t)(hit - s.data);
        buffer_add(&b, before);
        buffer_add(&b, to);
        skip = before.len + from.len;
        s.data += skip;
        s.trusted += skip;
        s.len -= skip;
        if (b.data.len > r->arena.limit)
            break;
    }
    buffer_add(&b, s);
    v = buffer_value(&r->arena, &b);
    buffer_fini(&b);
    return v;
}

/* how: 'u'pper, 'l'ower, 't'itle, 'c'apitalize; ASCII letters only. */
struct value chat_recase(struct arena *a, struct string s, char how)
{
    struct value v = {.type = V_STRING};
    char *data = arena_alloc(a, s.len + 1);
    bool start = true;
    size_t i;
    v.s = s;
    for (i = 0; data && i < s.len; i++) {
        char c = s.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool up = how == 'u' || ((how == 't' || how == 'c') && start);
        if (letter)
            c = (char)(up ? c & ~32 : c | 32);
        start = how == 'c' ? false : !letter && (uint8_t)c < 0x80;
        data[i] = c;
    }
    if (data)
        v.s.data = data;
    return v;
}

/* what: 'k'eys, 'v'alues, 'i'tems */
struct value chat_dict_items(struct arena *a, const struct dict *d, char what)
{
    struct value out = value_list(a);
    size_t i;
    for (i = 0; out.type == V_LIST && i < d->count; i++) {
        struct value key = {.type = V_STRING}, pair;
        key.s = d->keys[i];
        if (what == 'i') {
            pair = value_list(a);
            if (pair.type != V_LIST)
                break;
            list_add(a, pair.list, key);
            list_add(a, pair.list, d->values[i]);
            list_add(a, out.list, pair);
        } else {
            list_add(a, out.list, what == 'k' ? key : d->values[i]);
        }
    }
    return out;
}

/* ---- JSON, spaced as Python's json.dumps ---- */

static void json_string(struct buffer *b, struct string s)
{
    static const char special[] = "\"\\\n\r\t\b\f", names[] = "\"\\nrtbf";
    size_t i;
    buffer_addz(b, "\"");
    for (i = 0; i < s.len; i++) {
        struct string one = {s.data + i, s.trusted + i, 1};
        unsigned char c = (unsigned char)s.data[i];
        char text[8];
        const char *hit = c ? strchr(special, c) : NULL;
        if (hit) {
            text[0] = '\\';
            text[1] = names[hit - special];
            text[2] = '\0';
            buffer_addz(b, text);
        } else if (c < 0x20) {
            snprintf(text, sizeof(text), "\\u%04x", c);
            buffer_addz(b, text);
        } else {
            buffer_add(b, one);
        }
    }
    buffer_addz(b, "\"");
}

static void json_break(struct buffer *b, int indent, int depth)
{
    int i;
    if (indent < 0)
        return;
    buffer_addz(b, "\n");
    for (i = 0; i < indent * depth; i++)
        buffer_addz(b, " ");
}

static bool json_list(struct runner *r, struct buffer *b, const struct value *v, int indent,
                      int depth, uint32_t line)
{
    bool dict = v->type == V_DICT;
    size_t n = dict ? v->dict->count : v->list->count, i;
    buffer_addz(b, dict ? "{" : "[");
    for (i = 0; i < n; i++) {
        if (i)
            buffer_addz(b, indent < 0 ? ", " : ",");
        json_break(b, indent, depth + 1);
        if (dict) {
            json_string(b, v->dict->keys[i]);
            buffer_addz(b, ": ");
        }
        if (!chat_tojson(r, b, dict ? &v->dict->values[i] : &v->list->items[i], indent, depth + 1,
                         line))
            return false;
    }
    if (n)
        json_break(b, indent, depth);
    buffer_addz(b, dict ? "}" : "]");
    return true;
}

bool chat_tojson(struct runner *r, struct buffer *b, const struct value *v, int indent, int depth,
                 uint32_t line)
{
    if (depth > CHAT_MAX_DEPTH || ++r->steps > CHAT_MAX_STEPS || b->data.len > r->arena.limit) {
        chat_error(r, line, "tojson of too much");
        return false;
    }
    switch (v->type) {
    case V_STRING:
        json_string(b, v->s);
        return true;
    case V_NONE:
        buffer_addz(b, "null");
        return true;
    case V_BOOL:
        buffer_addz(b, v->b ? "true" : "false");
        return true;
    case V_INT:
    case V_FLOAT:
        return chat_print(r, b, v, line);
    case V_UNDEFINED:
        chat_error(r, line, "tojson of something undefined");
        return false;
    default:
        return json_list(r, b, v, indent, depth, line);
    }
}
