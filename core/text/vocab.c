/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "q35/format.h"

enum { MAX_TOKENS = 1 << 24 };

static uint64_t hash_text(const char *text, size_t len)
{
    uint64_t h = len * 0x9e3779b97f4a7c15u;
    while (len >= 8) {
        uint64_t w;
        memcpy(&w, text, 8);
        h = q35_mix64(h ^ w);
        text += 8;
        len -= 8;
    }
    if (len) {
        uint64_t w = 0;
        memcpy(&w, text, len);
        h = q35_mix64(h ^ w);
    }
    return h;
}

enum q35_status q35_vocab_init(struct q35_vocab *v, uint64_t count, struct q35_error *err)
{
    uint32_t slots = 16;
    memset(v, 0, sizeof(*v));
    if (count == 0 || count > MAX_TOKENS)
        return q35_fail(err, Q35_E_FORMAT, "a vocabulary of %llu tokens",
                        (unsigned long long)count);
    while (slots < count * 2)
        slots *= 2;
    v->tokens = calloc((size_t)count, sizeof(*v->tokens));
    v->slots = calloc(slots, sizeof(*v->slots));
    if (!v->tokens || !v->slots) {
        q35_vocab_fini(v);
        return q35_fail(err, Q35_E_NOMEM, "no memory for a vocabulary of %llu tokens",
                        (unsigned long long)count);
    }
    v->count = (uint32_t)count;
    v->mask = slots - 1;
    return Q35_OK;
}

void q35_vocab_fini(struct q35_vocab *v)
{
    free(v->tokens);
    free(v->slots);
    q35_str_fini(&v->pool);
    memset(v, 0, sizeof(*v));
}

const char *q35_vocab_text(const struct q35_vocab *v, uint32_t id)
{
    return v->pool.data + v->tokens[id].text;
}

void q35_vocab_set(struct q35_vocab *v, uint32_t id, const char *text, size_t len, uint8_t kind)
{
    struct q35_vocab_token *t = &v->tokens[id];
    uint32_t slot = (uint32_t)hash_text(text, len) & v->mask;
    t->kind = kind;
    t->text = (uint32_t)v->pool.len;
    t->text_len = (uint32_t)len;
    q35_str_add(&v->pool, text, len);
    if (v->pool.len > UINT32_MAX)
        v->pool.failed = true;
    if (v->pool.failed || len == 0)
        return;
    if (len > v->longest)
        v->longest = (uint32_t)len;
    while (v->slots[slot]) {
        const struct q35_vocab_token *o = &v->tokens[v->slots[slot] - 1];
        if (o->text_len == len && memcmp(v->pool.data + o->text, text, len) == 0)
            return;
        slot = (slot + 1) & v->mask;
    }
    v->slots[slot] = id + 1;
}

int32_t q35_vocab_find(const struct q35_vocab *v, const char *text, size_t len)
{
    uint32_t slot;
    if (len > v->longest)
        return -1;
    slot = (uint32_t)hash_text(text, len) & v->mask;
    while (v->slots[slot]) {
        const struct q35_vocab_token *o = &v->tokens[v->slots[slot] - 1];
        if (o->text_len == len && memcmp(v->pool.data + o->text, text, len) == 0)
            return (int32_t)(v->slots[slot] - 1);
        slot = (slot + 1) & v->mask;
    }
    return -1;
}

static bool map64_grow(struct q35_map64 *m)
{
    uint64_t cap = m->mask ? (m->mask + 1) * 2 : 64, i;
    uint64_t *old = m->slots, old_cap = m->mask ? m->mask + 1 : 0;
    uint64_t *slots = malloc(cap * 2 * sizeof(*slots));
    if (!slots) {
        m->failed = true;
        return false;
    }
    memset(slots, 0xff, cap * 2 * sizeof(*slots));
    m->slots = slots;
    m->mask = cap - 1;
    m->used = 0;
    for (i = 0; i < old_cap; i++)
        if (old[2 * i] != UINT64_MAX)
            q35_map64_put(m, old[2 * i], old[2 * i + 1]);
    free(old);
    return true;
}

void q35_map64_put(struct q35_map64 *m, uint64_t key, uint64_t value)
{
    uint64_t slot;
    if (m->failed || ((!m->mask || m->used * 3 >= m->mask * 2) && !map64_grow(m)))
        return;
    slot = q35_mix64(key) & m->mask;
    while (m->slots[2 * slot] != UINT64_MAX && m->slots[2 * slot] != key)
        slot = (slot + 1) & m->mask;
    if (m->slots[2 * slot] == UINT64_MAX)
        m->used++;
    m->slots[2 * slot] = key;
    m->slots[2 * slot + 1] = value;
}

bool q35_map64_get(const struct q35_map64 *m, uint64_t key, uint64_t *value)
{
    uint64_t slot;
    if (!m->mask)
        return false;
    slot = q35_mix64(key) & m->mask;
    while (m->slots[2 * slot] != UINT64_MAX) {
        if (m->slots[2 * slot] == key) {
            *value = m->slots[2 * slot + 1];
            return true;
        }
        slot = (slot + 1) & m->mask;
    }
    return false;
}

void q35_map64_fini(struct q35_map64 *m)
{
    free(m->slots);
    memset(m, 0, sizeof(*m));
}
