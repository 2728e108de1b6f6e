/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/text/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/unicode.h"

struct q35_bpe_symbol {
    int32_t id;          /* -1: not a token (by score only) */
    uint32_t start, len; /* bytes of the word; len 0: merged into another */
    int32_t prev, next;
};

struct q35_bpe_pair {
    uint64_t key; /* rank or reversed score, then position: the smallest goes first */
    int32_t left, right;
    uint32_t len; /* of both together: tells a stale entry */
    int32_t id;
};

void q35_ids_add(struct q35_ids *ids, int32_t id)
{
    if (ids->count == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        int32_t *data = realloc(ids->data, cap * sizeof(*data));
        if (!data) {
            ids->failed = true;
            return;
        }
        ids->data = data;
        ids->cap = cap;
    }
    ids->data[ids->count++] = id;
}

void q35_bpe_work_fini(struct q35_bpe_work *w)
{
    free(w->symbols);
    free(w->heap);
    q35_str_fini(&w->text);
    memset(w, 0, sizeof(*w));
}

void q35_bpe_fini(struct q35_bpe *b)
{
    free(b->merges);
    q35_map64_fini(&b->pairs);
    memset(b, 0, sizeof(*b));
}

void q35_bpe_find_bytes(struct q35_bpe *b, const struct q35_vocab *v, bool alphabet)
{
    int i;
    for (i = 0; i < 256; i++) {
        char name[8];
        if (alphabet) {
            size_t n = q35_utf8_put(q35_byte_to_char((uint8_t)i), name);
            b->bytes[i] = q35_vocab_find(v, name, n);
        } else {
            snprintf(name, sizeof(name), "<0x%02X>", (unsigned)i);
            b->bytes[i] = q35_vocab_find(v, name, 6);
        }
    }
}

enum q35_status q35_bpe_add_merge(struct q35_bpe *b, const struct q35_vocab *v, const char *left,
                                  size_t left_len, const char *right, size_t right_len,
                                  struct q35_error *err)
{
    struct q35_str both = {0};
    int32_t l = q35_vocab_find(v, left, left_len), r = q35_vocab_find(v, right, right_len), m;
    uint64_t key, old;
    q35_str_add(&both, left, left_len);
    q35_str_add(&both, right, right_len);
    if (both.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory for merges");
    m = q35_vocab_find(v, both.data, both.len);
    q35_str_fini(&both);
    if (l < 0 || r < 0 || m < 0)
        return q35_fail(err, Q35_E_FORMAT,
                        "merge %u, \"%.*s\" with \"%.*s\": a part or the result is not a token",
                        b->n_merges, (int)(left_len < 80 ? left_len : 80), left,
                        (int)(right_len < 80 ? right_len : 80), right);
    if ((b->n_merges & (b->n_merges - 1)) == 0) {
        size_t cap = b->n_merges ? (size_t)b->n_merges * 2 : 64;
        struct q35_merge *p =
            b->n_merges && b->n_merges < 64 ? b->merges : realloc(b->merges, cap * sizeof(*p));
        if (!p)
            return q35_fail(err, Q35_E_NOMEM, "no memory for merges");
        b->merges = p;
    }
    b->merges[b->n_merges].left = (uint32_t)l;
    b->merges[b->n_merges].right = (uint32_t)r;
    key = (uint64_t)(uint32_t)l << 32 | (uint32_t)r;
    if (!q35_map64_get(&b->pairs, key, &old))
        q35_map64_put(&b->pairs, key, (uint64_t)b->n_merges << 32 | (uint32_t)m);
    b->n_merges++;
    if (b->pairs.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory for merges");
    return Q35_OK;
}

/* ---- the heap ---- */

static void heap_push(struct q35_bpe_work *w, struct q35_bpe_pair p)
{
    size_t i;
    if (w->n_heap == w->cap_heap) {
        size_t cap = w->cap_heap ? w->cap_heap * 2 : 64;
        struct q35_bpe_pair *h = realloc(w->heap, cap * sizeof(*h));
        if (!h) {
            w->failed = true;
            return;
        }
        w->heap = h;
        w->cap_heap = cap;
    }
    for (i = w->n_heap++; i > 0 && p.key < w->heap[(i - 1) / 2].key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = p;
}

static struct q35_bpe_pair heap_pop(struct q35_bpe_work *w)
{
    struct q35_bpe_pair top = w->heap[0], last = w->heap[--w->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->n_heap)
            break;
        if (child + 1 < w->n_heap && w->heap[child + 1].key < w->heap[child].key)
            child++;
        if (last.key <= w->heap[child].key)
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

/* ---- symbols ---- */

static void symbol_add(struct q35_bpe_work *w, int32_t id, size_t start, size_t len)
{
    struct q35_bpe_symbol *s;
    if (w->n_symbols == w->cap_symbols) {
        size_t cap = w->cap_symbols ? w->cap_symbols * 2 : 64;
        struct q35_bpe_symbol *n = realloc(w->symbols, cap * sizeof(*n));
        if (!n) {
            w->failed = true;
            return;
        }
        w->symbols = n;
        w->cap_symbols = cap;
    }
    s = &w->symbols[w->n_symbols];
    s->id = id;
    s->start = (uint32_t)start;
    s->len = (uint32_t)len;
    s->prev = (int32_t)w->n_symbols - 1;
    s->next = (int32_t)w->n_symbols + 1;
    w->n_symbols++;
}

/* A token that text may turn into: whole tokens are found before, and bytes are not spelled out. */
static int32_t find_plain(const struct q35_vocab *v, const char *text, size_t len)
{
    int32_t id = q35_vocab_find(v, text, len);
    if (id >= 0) {
        uint8_t kind = v->tokens[id].kind;
        if (kind == Q35_TOKEN_CONTROL || kind == Q35_TOKEN_UNKNOWN || kind == Q35_TOKEN_BYTE)
            return -1;
    }
    return id;
}

static bool add_byte_tokens(const struct q35_bpe *b, struct q35_bpe_work *w, const char *word,
                            size_t at, size_t len)
{
    size_t i;
    for (i = 0; i < len; i++)
        if (b->bytes[(uint8_t)word[at + i]] < 0)
            return false;
    for (i = 0; i < len; i++)
        symbol_add(w, b->bytes[(uint8_t)word[at + i]], at + i, 1);
    return true;
}

/* Characters to tokens in the order of the tokenizers library: a run of unknown characters waits
 * until a known one (not a byte token) follows. */
static void symbols_of_chars(const struct q35_bpe *b, const struct q35_vocab *v,
                             struct q35_bpe_work *w, const char *word, size_t len)
{
    size_t at = 0, unk_at = 0, unk_len = 0;
    while (at < len) {
        uint32_t cp;
        size_t n = q35_utf8_get(word + at, len - at, &cp);
        int32_t id;
        if (n == 0)
            n = 1;
        id = find_plain(v, word + at, n);
        if (id >= 0) {
            if (unk_len)
                symbol_add(w, b->unk, unk_at, unk_len);
            unk_len = 0;
            symbol_add(w, id, at, n);
        } else if (!(b->byte_fallback && add_byte_tokens(b, w, word, at, n)) && b->unk >= 0) {
            if (unk_len && !b->fuse_unk) {
                symbol_add(w, b->unk, unk_at, unk_len);
                unk_len = 0;
            }
            if (!unk_len)
                unk_at = at;
            unk_len += n;
        }
        at += n;
    }
    if (unk_len)
        symbol_add(w, b->unk, unk_at, unk_len);
}

static void symbols_init(const struct q35_bpe *b, const struct q35_vocab *v, struct q35_bpe_work *w,
                         const char *word, size_t len)
{
    size_t at = 0;
    w->n_symbols = 0;
    w->n_heap = 0;
    if (b->byte_level) {
        for (at = 0; at < len; at++)
            if (b->keep_gaps || b->bytes[(uint8_t)word[at]] >= 0)
                symbol_add(w, b->bytes[(uint8_t)word[at]], at, 1);
    } else if (b->by_score) {
        while (at < len) {
            uint32_t cp;
            size_t n = q35_utf8_get(word + at, len - at, &cp);
            if (n == 0)
                n = 1;
            symbol_add(w, find_plain(v, word + at, n), at, n);
            at += n;
        }
    } else {
        symbols_of_chars(b, v, w, word, len);
    }
    if (w->n_symbols && !w->failed)
        w->symbols[w->n_symbols - 1].next = -1;
}

/* Floats to integers so that a higher score gives a smaller number. */
static uint32_t score_order(float score)
{
    float plus = score + 0.0f; /* -0 becomes 0 */
    uint32_t bits;
    memcpy(&bits, &plus, sizeof(bits));
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static void consider(const struct q35_bpe *b, const struct q35_vocab *v, struct q35_bpe_work *w,
                     const char *word, int32_t left, int32_t right)
{
    struct q35_bpe_pair p;
    const struct q35_bpe_symbol *l, *r;
    if (left < 0 || right < 0)
        return;
    l = &w->symbols[left];
    r = &w->symbols[right];
    p.left = left;
    p.right = right;
    p.len = l->len + r->len;
    if (b->by_score) {
        p.id = find_plain(v, word + l->start, p.len);
        if (p.id < 0)
            return;
        p.key = (uint64_t)score_order(v->tokens[p.id].score) << 32 | (uint32_t)left;
    } else {
        uint64_t hit;
        if (!q35_map64_get(&b->pairs, (uint64_t)(uint32_t)l->id << 32 | (uint32_t)r->id, &hit))
            return;
        p.id = (int32_t)(uint32_t)hit;
        if (v->tokens[p.id].kind == Q35_TOKEN_CONTROL)
            return; /* plain text never becomes one */
        p.key = (hit >> 32) << 32 | (uint32_t)left;
    }
    heap_push(w, p);
}

static void merge_all(const struct q35_bpe *b, const struct q35_vocab *v, struct q35_bpe_work *w,
                      const char *word)
{
    size_t i;
    for (i = 1; i < w->n_symbols && !w->failed; i++)
        consider(b, v, w, word, (int32_t)i - 1, (int32_t)i);
    while (w->n_heap && !w->failed) {
        struct q35_bpe_pair p = heap_pop(w);
        struct q35_bpe_symbol *l = &w->symbols[p.left], *r = &w->symbols[p.right];
        if (l->len == 0 || r->len == 0 || l->len + r->len != p.len)
            continue;
        l->id = p.id;
        l->len = p.len;
        r->len = 0;
        l->next = r->next;
        if (r->next >= 0)
            w->symbols[r->next].prev = p.left;
        consider(b, v, w, word, l->prev, p.left);
        consider(b, v, w, word, p.left, l->next);
    }
}

/* What no token spells: bytes, else the unknown token. A byte-level model that lacks a byte leaves
 * it out, as the libraries do. */
static void emit_unknown(const struct q35_bpe *b, const char *text, size_t len, struct q35_ids *ids)
{
    size_t i;
    for (i = 0; i < len; i++) {
        int32_t id = b->bytes[(uint8_t)text[i]];
        if (id < 0 && !b->byte_level)
            id = b->unk;
        if (id >= 0)
            q35_ids_add(ids, id);
    }
}

static bool whole_word(const struct q35_bpe *b, const struct q35_vocab *v, struct q35_bpe_work *w,
                       const char *word, size_t len, struct q35_ids *ids)
{
    int32_t id;
    size_t i;
    if (b->byte_level) {
        if (len > v->longest)
            return false;
        q35_str_clear(&w->text);
        for (i = 0; i < len; i++) {
            char c[4];
            q35_str_add(&w->text, c, q35_utf8_put(q35_byte_to_char((uint8_t)word[i]), c));
        }
        id = w->text.failed ? -1 : find_plain(v, w->text.data, w->text.len);
    } else {
        id = find_plain(v, word, len);
    }
    if (id >= 0)
        q35_ids_add(ids, id);
    return id >= 0;
}

enum q35_status q35_bpe_encode(const struct q35_bpe *b, const struct q35_vocab *v,
                               struct q35_bpe_work *w, const char *word, size_t len,
                               struct q35_ids *ids, struct q35_error *err)
{
    int32_t i;
    if (len == 0)
        return Q35_OK;
    if (len > INT32_MAX)
        return q35_fail(err, Q35_E_INVALID, "a word of %zu bytes", len);
    if (b->ignore_merges && whole_word(b, v, w, word, len, ids))
        return Q35_OK;
    symbols_init(b, v, w, word, len);
    if (!w->failed)
        merge_all(b, v, w, word);
    for (i = w->n_symbols ? 0 : -1; i >= 0 && !w->failed; i = w->symbols[i].next) {
        const struct q35_bpe_symbol *s = &w->symbols[i];
        if (s->id >= 0)
            q35_ids_add(ids, s->id);
        else
            emit_unknown(b, word + s->start, s->len, ids);
    }
    if (w->failed || w->text.failed || ids->failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory for the tokens of %zu bytes", len);
    return Q35_OK;
}
