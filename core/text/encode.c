/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/tokenizer_impl.h"

struct encoder {
    const struct q35_tokenizer *t;
    struct q35_error *err;
    bool control;           /* text may become control tokens */
    const uint8_t *trusted; /* a chat: of each byte, whether it may; else NULL */
    bool at_start;          /* nothing of the input came before */
    bool first;             /* ... or only a whole token right before */
    struct q35_words words;
    struct q35_bpe_work work;
    struct q35_str normal;
    struct q35_ids ids;
};

static enum q35_status encode_words(struct encoder *e, const char *text, size_t len)
{
    const struct q35_tokenizer *t = e->t;
    size_t i;
    enum q35_status s = q35_pipeline_words(&t->pipeline, &e->words, text, len, e->at_start, e->err);
    for (i = 0; i < e->words.count && !s; i++) {
        const struct q35_text_span *w = &e->words.spans[i];
        s = q35_bpe_encode(&t->bpe, &t->vocab, &e->work, e->words.text.data + w->start,
                           w->end - w->start, &e->ids, e->err);
    }
    return s;
}

/* Text between whole tokens, well-formed UTF-8. */
static enum q35_status encode_plain(struct encoder *e, const char *text, size_t len)
{
    const struct q35_tokenizer *t = e->t;
    size_t at = 0;
    enum q35_status s;
    if (len == 0)
        return Q35_OK;
    q35_str_clear(&e->normal);
    s = q35_pipeline_normalize(&t->pipeline, &e->words, text, len, e->first, &e->normal, e->err);
    if (s)
        return s;
    while (at < e->normal.len) {
        struct q35_added_hit hit = {.id = -1, .start = e->normal.len, .end = e->normal.len};
        if (t->has_late)
            hit = q35_added_find(&t->late, &t->vocab, e->normal.data, NULL, e->normal.len, at,
                                 e->control && !e->trusted);
        if (hit.start > at) {
            s = encode_words(e, e->normal.data + at, hit.start - at);
            if (s)
                return s;
        }
        e->at_start = false;
        if (hit.id >= 0)
            q35_ids_add(&e->ids, hit.id);
        at = hit.end;
    }
    e->first = false;
    return Q35_OK;
}

static enum q35_status encode_valid(struct encoder *e, const char *text, const uint8_t *trusted,
                                    size_t len)
{
    const struct q35_tokenizer *t = e->t;
    const struct q35_added *early = trusted ? &t->chat : &t->early;
    size_t at = 0;
    while (at < len) {
        struct q35_added_hit hit =
            q35_added_find(early, &t->vocab, text, trusted, len, at, e->control);
        enum q35_status s = encode_plain(e, text + at, hit.start - at);
        if (s)
            return s;
        e->at_start = false;
        if (hit.id >= 0) {
            q35_ids_add(&e->ids, hit.id);
            e->first = true;
        }
        at = hit.end;
    }
    return Q35_OK;
}

static void encode_bad_byte(struct encoder *e, uint8_t byte)
{
    int32_t id = e->t->bpe.bytes[byte];
    if (id < 0 && !e->t->bpe.byte_level)
        id = e->t->bpe.unk;
    if (id >= 0)
        q35_ids_add(&e->ids, id);
    e->at_start = false;
    e->first = false;
}

static enum q35_status encode_text(struct encoder *e, const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t n = q35_utf8_prefix(text + at, len - at);
        enum q35_status s = encode_valid(e, text + at, e->trusted ? e->trusted + at : NULL, n);
        if (s)
            return s;
        at += n;
        if (at < len)
            encode_bad_byte(e, (uint8_t)text[at++]);
    }
    return Q35_OK;
}

/* Ends an encoding: hands the ids over or frees them. */
static enum q35_status finish(struct encoder *e, enum q35_status s, size_t len, int32_t **ids,
                              size_t *count)
{
    q35_words_fini(&e->words);
    q35_bpe_work_fini(&e->work);
    q35_str_fini(&e->normal);
    if (!s && e->ids.count == 0) { /* never NULL, so that callers need no special case */
        q35_ids_add(&e->ids, 0);
        e->ids.count = 0;
    }
    if (!s && e->ids.failed)
        s = q35_fail(e->err, Q35_E_NOMEM, "no memory for the tokens of %zu bytes", len);
    if (s) {
        free(e->ids.data);
        return s;
    }
    *ids = e->ids.data;
    *count = e->ids.count;
    return Q35_OK;
}

static void add_all(struct encoder *e, const struct q35_ids *ids)
{
    size_t i;
    for (i = 0; i < ids->count; i++)
        q35_ids_add(&e->ids, ids->data[i]);
}

enum q35_status q35_tokenizer_encode(const struct q35_tokenizer *t, const char *text, size_t len,
                                     uint32_t flags, int32_t **ids, size_t *count,
                                     struct q35_error *err)
{
    struct encoder e = {.t = t, .err = err, .at_start = true, .first = true};
    enum q35_status s;
    *ids = NULL;
    *count = 0;
    e.control = (flags & Q35_ENCODE_SPECIAL) != 0;
    if (flags & Q35_ENCODE_BOS)
        add_all(&e, &t->prefix);
    s = encode_text(&e, text, len);
    if (flags & Q35_ENCODE_BOS)
        add_all(&e, &t->suffix);
    return finish(&e, s, len, ids, count);
}

enum q35_status q35_tokenizer_encode_trusted(const struct q35_tokenizer *t, const char *text,
                                             const uint8_t *trusted, size_t len, int32_t **ids,
                                             size_t *count, struct q35_error *err)
{
    struct encoder e = {.t = t, .err = err, .at_start = true, .first = true};
    const struct q35_ids *p = &t->prefix;
    enum q35_status s;
    size_t i;
    *ids = NULL;
    *count = 0;
    e.control = true;
    e.trusted = trusted;
    s = encode_text(&e, text, len);
    if (!s && !e.ids.failed && p->count &&
        (e.ids.count < p->count || memcmp(e.ids.data, p->data, p->count * sizeof(*p->data)) != 0)) {
        size_t n = e.ids.count;
        add_all(&e, p); /* at the end, for room; then in front */
        if (!e.ids.failed) {
            memmove(e.ids.data + p->count, e.ids.data, n * sizeof(*e.ids.data));
            for (i = 0; i < p->count; i++)
                e.ids.data[i] = p->data[i];
        }
    }
    return finish(&e, s, len, ids, count);
}
