/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/text/tokenizer_impl.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

struct q35_piece q35_tokenizer_piece(const struct q35_tokenizer *t, int32_t id, bool special)
{
    struct q35_piece p = {"", 0};
    const struct q35_vocab_token *k;
    if (id < 0 || (uint32_t)id >= t->vocab.count)
        return p;
    k = &t->vocab.tokens[id];
    if (!special && (k->kind == Q35_TOKEN_CONTROL || k->kind == Q35_TOKEN_UNKNOWN))
        return p;
    if (k->kind == Q35_TOKEN_UNUSED)
        return p;
    p.data = t->vocab.pool.data + k->piece;
    p.len = k->piece_len;
    return p;
}

/* Bytes a character of this first byte has; 0: no character begins so. */
static size_t length_by_first(uint8_t b)
{
    if (b < 0x80)
        return 1;
    if (b < 0xc2 || b > 0xf4)
        return 0;
    return b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

/* Whether n < needed bytes may still become a character. */
static bool may_continue(const char *p, size_t n)
{
    const uint8_t *s = (const uint8_t *)p;
    size_t need = length_by_first(s[0]), i;
    if (need <= n)
        return false;
    for (i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return false;
    if (n >= 2) {
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
            return false;
    }
    return true;
}

static void push_byte(struct q35_detok *d, char byte, struct q35_str *out)
{
    d->pending[d->pending_len++] = byte;
    while (d->pending_len) {
        uint32_t cp;
        size_t n = q35_utf8_get(d->pending, d->pending_len, &cp);
        if (n == 0 && may_continue(d->pending, d->pending_len))
            return;
        if (n) {
            q35_str_add(out, d->pending, n);
        } else {
            /* One U+FFFD for the longest beginning of a character, as Unicode recommends. */
            n = 1;
            while (n + 1 < d->pending_len && may_continue(d->pending, n + 1))
                n++;
            q35_str_addz(out, replacement);
        }
        d->pending_len -= (uint32_t)n;
        memmove(d->pending, d->pending + n, d->pending_len);
    }
}

void q35_detok_push(struct q35_detok *d, const struct q35_tokenizer *t, int32_t id,
                    struct q35_str *out)
{
    struct q35_piece p = q35_tokenizer_piece(t, id, false);
    size_t i = 0;
    if (p.len == 0)
        return;
    if (!d->started && t->strip_space && p.data[0] == ' ')
        i = 1;
    d->started = true;
    for (; i < p.len; i++)
        push_byte(d, p.data[i], out);
}

void q35_detok_finish(struct q35_detok *d, struct q35_str *out)
{
    if (d->pending_len)
        q35_str_addz(out, replacement);
    d->pending_len = 0;
}
