/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/serve/job.h"

static bool grow(void **list, uint32_t *cap, uint32_t need, size_t size)
{
    uint32_t n = *cap ? *cap : 32;
    void *p;
    while (n < need)
        n *= 2;
    if (n == *cap)
        return true;
    p = realloc(*list, n * size);
    if (!p)
        return false;
    *list = p;
    *cap = n;
    return true;
}

/* Characters in whole UTF-8 text. */
static uint64_t count_chars(const char *text, size_t len)
{
    uint64_t n = 0;
    size_t i;
    for (i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static bool note_token(struct q35_choice *c, const struct q35_queued *ev, size_t text_start)
{
    struct q35_token_note *n;
    if (!grow((void **)&c->notes, &c->note_cap, c->note_count + 1, sizeof(*c->notes)) ||
        !grow((void **)&c->tops, &c->top_cap, c->top_count + ev->n_top, sizeof(*c->tops)))
        return false;
    n = &c->notes[c->note_count++];
    n->text_start = text_start;
    n->text_end = c->text.len;
    n->char_start = c->chars;
    n->logprob = ev->logprob;
    n->top_at = c->top_count;
    n->n_top = ev->n_top;
    if (ev->n_top)
        memcpy(c->tops + c->top_count, ev->top, ev->n_top * sizeof(*c->tops));
    c->top_count += ev->n_top;
    return true;
}

/* Looks for stop strings in what was added after `scanned`. */
static void scan(struct q35_choice *c, size_t scanned)
{
    bool found;
    size_t shown =
        q35_stops_scan(&c->job->params.stops, c->text.data, c->text.len, scanned, &found);
    if (shown > c->shown)
        c->shown = shown;
    if (!found)
        return;
    c->reason = Q35_REASON_STOP;
    c->shown = shown; /* what a stop string begins with was held back, so nothing is unsaid */
    c->text.len = shown;
    c->text.data[shown] = '\0';
    while (c->note_count && c->notes[c->note_count - 1].text_start >= shown &&
           c->note_count > c->notes_sent)
        c->note_count--;
}

bool q35_choice_token(struct q35_choice *c, const struct q35_tokenizer *t,
                      const struct q35_queued *ev)
{
    size_t before = c->text.len;
    c->tokens++;
    q35_detok_push(&c->detok, t, ev->token, &c->text);
    if (c->text.failed)
        return false;
    if (ev->has_logprob && !note_token(c, ev, before))
        return false;
    if (c->text.len > before) {
        c->chars += count_chars(c->text.data + before, c->text.len - before);
        scan(c, before);
    }
    return true;
}

void q35_choice_flush(struct q35_choice *c)
{
    size_t before = c->text.len;
    q35_detok_finish(&c->detok, &c->text);
    if (c->text.len > before && !c->text.failed)
        scan(c, before);
    c->shown = c->text.len;
}

uint32_t q35_choice_notes_ready(const struct q35_choice *c)
{
    uint32_t n = c->notes_sent;
    while (n < c->note_count && c->notes[n].text_end <= c->shown)
        n++;
    return c->reason != Q35_REASON_NONE ? c->note_count : n;
}

void q35_choice_fini(struct q35_choice *c)
{
    q35_str_fini(&c->text);
    free(c->notes);
    free(c->tops);
}
