/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/base/base.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_WORD = 48 };

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Insertions, deletions, changes and swaps of neighbours that make b of a (optimal string
 * alignment). */
static size_t distance(const char *a, size_t m, const char *b, size_t n)
{
    size_t d[3][MAX_WORD + 1], i, j;
    for (j = 0; j <= n; j++)
        d[0][j] = j;
    for (i = 1; i <= m; i++) {
        size_t *now = d[i % 3];
        const size_t *before = d[(i + 2) % 3], *swap = d[(i + 1) % 3];
        now[0] = i;
        for (j = 1; j <= n; j++) {
            size_t best = before[j - 1] + !same(a[i - 1], b[j - 1]);
            best = before[j] + 1 < best ? before[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]))
                best = swap[j - 2] + 1 < best ? swap[j - 2] + 1 : best;
            now[j] = best;
        }
    }
    return d[m % 3][n];
}

void q35_nearest_try(struct q35_nearest *n, const char *word, const char *known)
{
    size_t a = strlen(word), b = strlen(known), less = a < b ? a : b, more = a < b ? b : a, d;
    const char *shorter = a < b ? word : known, *longer = a < b ? known : word;
    if (!less || more > MAX_WORD)
        return;
    d = distance(word, a, known, b);
    if (less >= 3 &&
        (strncasecmp(longer, shorter, less) == 0 || strcasecmp(longer + more - less, shorter) == 0))
        d = d < 2 ? d : 2;
    else if (d > (less + 1) / 3)
        return;
    if (n->best && d >= n->distance)
        return;
    n->best = known;
    n->distance = d;
}

const char *q35_nearest_text(const struct q35_nearest *n, char out[96])
{
    out[0] = '\0';
    if (n->best)
        snprintf(out, 96, ", did you mean '%.60s'?", n->best);
    return out;
}
