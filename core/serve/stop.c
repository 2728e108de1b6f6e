/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/stop.h"

#include <stdlib.h>
#include <string.h>

void q35_stops_fini(struct q35_stops *s)
{
    uint32_t i;
    for (i = 0; i < s->count; i++)
        free(s->text[i]);
    memset(s, 0, sizeof(*s));
}

static size_t find_first(const struct q35_stops *s, const char *text, size_t len, size_t scanned)
{
    size_t best = SIZE_MAX;
    uint32_t i;
    for (i = 0; i < s->count; i++) {
        /* an occurrence that is new ends after `scanned` */
        size_t from = scanned >= s->len[i] ? scanned - s->len[i] + 1 : 0;
        const char *hit;
        if (from >= len)
            continue;
        hit = memmem(text + from, len - from, s->text[i], s->len[i]);
        if (hit && (size_t)(hit - text) < best)
            best = (size_t)(hit - text);
    }
    return best;
}

/* Length of the longest end of text that is a beginning of `stop`. */
static size_t partial(const char *stop, size_t stop_len, const char *text, size_t len)
{
    size_t n = stop_len - 1 < len ? stop_len - 1 : len;
    for (; n > 0; n--)
        if (memcmp(text + len - n, stop, n) == 0)
            return n;
    return 0;
}

size_t q35_stops_scan(const struct q35_stops *s, const char *text, size_t len, size_t scanned,
                      bool *found)
{
    size_t at, held = 0;
    uint32_t i;
    *found = false;
    if (s->count == 0 || len == 0)
        return len;
    at = find_first(s, text, len, scanned);
    if (at != SIZE_MAX) {
        *found = true;
        return at;
    }
    for (i = 0; i < s->count; i++) {
        size_t n = partial(s->text[i], s->len[i], text, len);
        if (n > held)
            held = n;
    }
    return len - held;
}
