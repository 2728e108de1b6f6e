/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/text/tokenizer_impl.h"

#include <string.h>

enum { WIDTH = 512, TERMINAL = 256 };

void q35_added_fini(struct q35_added *a)
{
    q35_map64_fini(&a->edges);
    memset(a, 0, sizeof(*a));
}

void q35_added_put(struct q35_added *a, const char *text, size_t len, int32_t id)
{
    uint64_t node = 0, next;
    size_t i;
    if (len == 0)
        return;
    a->first[(uint8_t)text[0]] = true;
    for (i = 0; i < len; i++) {
        uint64_t edge = node * WIDTH + (uint8_t)text[i];
        if (!q35_map64_get(&a->edges, edge, &next)) {
            next = ++a->nodes;
            q35_map64_put(&a->edges, edge, next);
        }
        node = next;
    }
    if (!q35_map64_get(&a->edges, node * WIDTH + TERMINAL, &next))
        q35_map64_put(&a->edges, node * WIDTH + TERMINAL, (uint64_t)id);
}

static uint32_t char_before(const char *text, size_t at)
{
    size_t start = at;
    uint32_t cp = 0;
    while (start > 0 && at - start < 4) {
        start--;
        if (((uint8_t)text[start] & 0xc0) != 0x80)
            break;
    }
    return q35_utf8_get(text + start, at - start, &cp) == at - start ? cp : 0;
}

static uint32_t char_after(const char *text, size_t len, size_t at)
{
    uint32_t cp = 0;
    return q35_utf8_get(text + at, len - at, &cp) ? cp : 0;
}

/* The longest token beginning exactly at `at`. */
static int32_t longest_at(const struct q35_added *a, const struct q35_vocab *v, const char *text,
                          const uint8_t *trusted, size_t len, size_t at, bool control, size_t *end)
{
    uint64_t node = 0, hit;
    int32_t best = -1;
    size_t i;
    for (i = at; i < len; i++) {
        control &= !trusted || trusted[i];
        if (!q35_map64_get(&a->edges, node * WIDTH + (uint8_t)text[i], &node))
            break;
        if (q35_map64_get(&a->edges, node * WIDTH + TERMINAL, &hit)) {
            uint8_t kind = v->tokens[hit].kind;
            if (control || (kind != Q35_TOKEN_CONTROL && kind != Q35_TOKEN_UNKNOWN)) {
                best = (int32_t)hit;
                *end = i + 1;
            }
        }
    }
    return best;
}

static bool between_words(const char *text, size_t len, size_t start, size_t end)
{
    return !(start > 0 && q35_unicode_word(char_before(text, start))) &&
           !(end < len && q35_unicode_word(char_after(text, len, end)));
}

static bool swallowed(const struct q35_added *a, uint32_t cp)
{
    return q35_unicode_space(cp) && (cp < 0x80 || !a->ascii);
}

struct q35_added_hit q35_added_find(const struct q35_added *a, const struct q35_vocab *v,
                                    const char *text, const uint8_t *trusted, size_t len,
                                    size_t from, bool control)
{
    struct q35_added_hit hit = {.id = -1, .start = len, .end = len};
    size_t at, end = 0;
    for (at = from; at < len; at++) {
        uint8_t flags;
        int32_t id;
        if (!a->first[(uint8_t)text[at]])
            continue;
        id = longest_at(a, v, text, trusted, len, at, control, &end);
        if (id < 0)
            continue;
        flags = v->tokens[id].flags;
        if ((flags & Q35_TOKEN_WORD) && !between_words(text, len, at, end)) {
            at = end - 1;
            continue;
        }
        hit.id = id;
        hit.start = at;
        hit.end = end;
        if (flags & Q35_TOKEN_LSTRIP)
            while (hit.start > from && swallowed(a, char_before(text, hit.start))) {
                do
                    hit.start--;
                while (hit.start > from && ((uint8_t)text[hit.start] & 0xc0) == 0x80);
            }
        if (flags & Q35_TOKEN_RSTRIP)
            while (hit.end < len && swallowed(a, char_after(text, len, hit.end))) {
                uint32_t cp;
                hit.end += q35_utf8_get(text + hit.end, len - hit.end, &cp);
            }
        return hit;
    }
    return hit;
}
