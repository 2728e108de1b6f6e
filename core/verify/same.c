/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Comparing results, and saying of those that differ what helps to find the line. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/verify/kit.h"

/* What the values that differ have in common. */
struct difference {
    uint64_t wrong, first; /* how many, and the first of them */
    uint32_t rows;         /* that have any */
    uint32_t tile_rows;    /* bit per row of a tile: value number mod 16 */
    uint32_t distance;     /* the longest, in units of the last place */
    uint64_t unwritten;    /* still as before the run */
    double power, error;   /* squares, summed */
};

/* Floats in order, so that neighbours differ by 1. */
static int64_t place(float f)
{
    int32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) : bits;
}

static bool unwritten(float f)
{
    uint8_t bytes[sizeof(f)];
    uint32_t i;
    memcpy(bytes, &f, sizeof(f));
    for (i = 0; i < sizeof(f) && bytes[i] == VFY_UNWRITTEN; i++)
        ;
    return i == sizeof(f);
}

static struct difference compare(const struct vfy_results *r)
{
    struct difference d = {0};
    uint64_t i, k;
    for (i = 0; i < r->rows; i++) {
        uint64_t before = d.wrong;
        for (k = 0; k < r->width; k++) {
            uint64_t at = i * r->width + k, apart;
            double off = (double)r->got[at] - (double)r->want[at];
            d.power += (double)r->want[at] * (double)r->want[at];
            d.error += off * off;
            if (!memcmp(&r->got[at], &r->want[at], sizeof(float)))
                continue;
            if (!d.wrong++)
                d.first = at;
            apart = (uint64_t)llabs(place(r->got[at]) - place(r->want[at]));
            d.distance = apart > d.distance ? (uint32_t)apart : d.distance;
            d.tile_rows |= 1u << k % Q35_TILE_ROWS;
            d.unwritten += unwritten(r->got[at]);
        }
        d.rows += d.wrong > before;
    }
    return d;
}

/* The token that a row of results belongs to, or NULL. */
static const struct q35_token *token_of(const struct vfy_results *r, uint64_t row)
{
    uint32_t i;
    if (r->rows == r->n_tokens)
        return &r->tokens[row];
    for (i = 0; i < r->n_tokens; i++)
        if (r->tokens[i].flags & Q35_TOKEN_LOGITS && !row--)
            return &r->tokens[i];
    return NULL;
}

/* "value 3 of sequence 0 at position 93" */
static void name_value(char *out, size_t room, const struct vfy_results *r, uint64_t at)
{
    const struct q35_token *t = r->width ? token_of(r, at / r->width) : NULL;
    int n = snprintf(out, room, "value %llu", (unsigned long long)(at % r->width));
    if (t)
        snprintf(out + n, room - (size_t)n, " of sequence %u at position %u", t->sequence,
                 t->position);
    else if (r->rows > 1)
        snprintf(out + n, room - (size_t)n, " of token %llu", (unsigned long long)(at / r->width));
}

/* What they have in common, if it says something. */
static void name_pattern(char *out, size_t room, const struct vfy_results *r,
                         const struct difference *d)
{
    uint32_t i, n = 0, bits = (uint32_t)__builtin_popcount(d->tile_rows);
    size_t at = 0;
#define ADD(...) at += (size_t)snprintf(out + at, at < room ? room - at : 0, __VA_ARGS__)
    ADD("%llu of %llu differ", (unsigned long long)d->wrong,
        (unsigned long long)r->rows * r->width);
    if (r->rows > 1)
        ADD(", of %u of %u tokens", d->rows, r->rows);
    if (r->width > Q35_TILE_ROWS && d->wrong > 1 && bits <= 4) {
        ADD(", all at values");
        for (i = 0; i < Q35_TILE_ROWS; i++)
            if (d->tile_rows >> i & 1u)
                ADD("%s %u", n++ ? "," : "", i);
        ADD(" mod 16");
    }
    if (d->unwritten == d->wrong)
        ADD(": they were not written");
    else if (d->distance <= 8)
        ADD(", by %u in the last place at most: another order of operations, or a fused "
            "multiply-add",
            d->distance);
#undef ADD
}

bool vfy_same(struct vfy *v, const struct vfy_results *r, bool exact, enum vfy_rule rule,
              const char *what)
{
    const struct difference d = compare(r);
    char value[80], pattern[200];
    if (!d.wrong)
        return true;
    name_value(value, sizeof(value), r, d.first);
    name_pattern(pattern, sizeof(pattern), r, &d);
    if (exact || v->info.determinism == Q35_CLASS_EXACT)
        EXPECT(v, false, rule, "%s: %s is %.9g instead of %.9g; %s", what, value,
               (double)r->got[d.first], (double)r->want[d.first], pattern);
    EXPECT(v, d.error <= 2.5e-3 * d.power, rule, /* also false for NaN */
           "%s: relative error %.3g above 0.05; %s is %.9g instead of %.9g; %s", what,
           sqrt(d.error / (d.power > 0 ? d.power : 1)), value, (double)r->got[d.first],
           (double)r->want[d.first], pattern);
    return true;
}
