/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/draft.h"

#include <stdlib.h>
#include <string.h>

#include "q35/format.h"

#define MAX_BUCKETS 65536u
#define MATCH_MIN 2u       /* tokens: what the chains are made of */
#define MATCH_MAX 32u      /* longer ones are not compared */
#define TRIES 32u          /* positions of a chain that are looked at */
#define LEARN 0.0625f      /* weight of the newest guess in `hits` */
#define WORTH 1.1          /* least gain in tokens a second */
#define PATIENCE 0.95      /* what a request keeps of its speed beside the guesses of others */
#define COST_DOWN 0.5      /* weight of a run that was faster than those before, */
#define COST_UP 0.125      /* and of one that was slower: the machine does other things, too */
#define FORGET (1.0 / 512) /* of what a run takes more than another, with each of that one */

enum q35_status q35_draft_init(struct q35_draft *d, uint32_t tokens, struct q35_error *err)
{
    uint32_t i;
    memset(d, 0, sizeof(*d));
    for (d->buckets = 64; d->buckets < tokens && d->buckets < MAX_BUCKETS;)
        d->buckets *= 2;
    d->heads = calloc(d->buckets, sizeof(*d->heads));
    d->earlier = malloc(((size_t)tokens + 1) * sizeof(*d->earlier));
    if (!d->heads || !d->earlier) {
        q35_draft_fini(d);
        return q35_fail(err, Q35_E_NOMEM, "no memory for drafts");
    }
    for (i = 0; i <= Q35_DRAFT_LENGTHS; i++)
        d->hits[i] = (float)i / (float)(i + 3);
    return Q35_OK;
}

void q35_draft_fini(struct q35_draft *d)
{
    free(d->heads);
    free(d->earlier);
    memset(d, 0, sizeof(*d));
}

/* Of the guess behind `match` tokens. */
static uint32_t length_of(uint32_t match)
{
    return match < Q35_DRAFT_LENGTHS ? match : Q35_DRAFT_LENGTHS;
}

void q35_draft_push(struct q35_draft *d, const int32_t *tokens, uint32_t n)
{
    uint32_t *head;
    if (!d->heads)
        return;
    if (d->match && d->right <= Q35_DRAFT_MAX) {
        bool hit = d->guess[d->right] == tokens[n - 1];
        float *rate = &d->hits[length_of(d->match + d->right)];
        *rate += ((hit ? 1.0f : 0.0f) - *rate) * LEARN;
        if (hit)
            d->right++;
        else
            d->match = 0;
    }
    if (n < MATCH_MIN)
        return;
    head = &d->heads[q35_mix64((uint64_t)(uint32_t)tokens[n - 2] << 32 | (uint32_t)tokens[n - 1]) &
                     (d->buckets - 1)];
    d->earlier[n] = *head;
    *head = n;
}

/* Equal tokens before positions a < b. */
static uint32_t common(const int32_t *tokens, uint32_t a, uint32_t b)
{
    uint32_t n = 0;
    while (n < MATCH_MAX && n < a && tokens[a - 1 - n] == tokens[b - 1 - n])
        n++;
    return n;
}

void q35_draft_guess(struct q35_draft *d, const int32_t *tokens, uint32_t n)
{
    uint32_t at = 0, p, i;
    d->match = d->right = 0;
    if (!d->heads || n < MATCH_MIN)
        return;
    for (p = d->earlier[n], i = 0; p && i < TRIES && d->match < MATCH_MAX; p = d->earlier[p], i++) {
        uint32_t length = common(tokens, p, n);
        if (length >= MATCH_MIN && length > d->match) {
            d->match = length;
            at = p;
        }
    }
    for (i = 0; d->match && i <= Q35_DRAFT_MAX; i++)
        d->guess[i] = at + i < n ? tokens[at + i] : d->guess[at + i - n]; /* what repeats goes on */
}

/* What every size but n is known to take, times f. */
static void scale_others(struct q35_draft_cost *c, uint32_t n, double f)
{
    uint32_t i;
    for (i = 1; i < Q35_COUNT(c->ns); i++) {
        c->seen[i] *= i == n ? 1.0 : f;
        c->ns[i] *= i == n ? 1.0 : f;
    }
}

void q35_draft_ran(struct q35_draft_cost *c, uint32_t n, uint32_t guesses, uint64_t ns)
{
    double t = (double)ns;
    uint32_t i;
    if (n == 0 || n >= Q35_COUNT(c->ns))
        return;
    if (c->seen[n] > 0.0) {
        t = c->seen[n] + (t - c->seen[n]) * (t < c->seen[n] ? COST_DOWN : COST_UP);
        /* The machine has other things to do, or the context grows: that concerns all sizes. */
        if (!guesses)
            scale_others(c, n, t / c->seen[n]);
    }
    /* More tokens never take less time: the slower figure of two was disturbed. */
    for (i = n + 1; i < Q35_COUNT(c->ns); i++)
        if (c->seen[i] > 0.0 && c->seen[i] < t)
            t = c->seen[i];
    c->seen[n] = c->ns[n] = t;
    for (i = 1; i < n; i++)
        if (c->seen[i] > t)
            c->seen[i] = c->ns[i] = t;
    for (i = n + 1; i < Q35_COUNT(c->ns); i++)
        c->ns[i] -= c->ns[i] > t ? (c->ns[i] - t) * FORGET : 0.0;
}

/* Of a run of n tokens: on the line between the sizes next to it that were seen, or that through
 * the two largest. Of one size alone nothing follows, so a single token more is taken to be free:
 * it has to be tried. 0: nothing as small was seen. */
static double cost_of(const struct q35_draft_cost *c, uint32_t n)
{
    uint32_t low = n, high = n;
    while (low > 0 && c->seen[low] <= 0.0)
        low--;
    while (high < Q35_COUNT(c->ns) && c->seen[high] <= 0.0)
        high++;
    if (low == 0 || low == n)
        return low ? c->ns[low] : 0.0;
    if (high == Q35_COUNT(c->ns)) {
        high = low--;
        while (low > 0 && c->seen[low] <= 0.0)
            low--;
        if (low == 0)
            return c->ns[high] * (n - high);
    }
    return c->ns[low] + (c->ns[high] - c->ns[low]) * (n - low) / (high - low);
}

/* The one whose next guess is the likeliest to count; count: nobody has another. *chance: that it
 * does. */
static uint32_t likeliest(struct q35_draft *const *d, const uint32_t *most, uint32_t count,
                          const double *sure, double *chance)
{
    uint32_t i, best = count;
    *chance = 0.0;
    for (i = 0; i < count; i++) {
        double p = sure[i] * (double)d[i]->hits[length_of(d[i]->match + d[i]->take)];
        if (d[i]->match && d[i]->take < most[i] && p > *chance) {
            *chance = p;
            best = i;
        }
    }
    return best;
}

void q35_draft_share(const struct q35_draft_cost *c, struct q35_draft *const *d,
                     const uint32_t *most, uint32_t count, uint32_t room)
{
    double sure[Q35_DRAFT_MAX + 1], tokens[Q35_DRAFT_MAX + 1]; /* [count] */
    double plain = cost_of(c, count), all = count, best = plain > 0.0 ? WORTH * all / plain : 0.0;
    uint32_t order[Q35_DRAFT_MAX], i, n, keep = 0;
    for (i = 0; i < count; i++) {
        d[i]->take = 0;
        sure[i] = tokens[i] = 1.0;
    }
    for (n = 0; n < room && plain > 0.0; n++) {
        double chance, cost = cost_of(c, count + n + 1), least;
        uint32_t who = likeliest(d, most, count, sure, &chance);
        if (who == count)
            break;
        order[n] = who;
        d[who]->take++;
        sure[who] = chance;
        tokens[who] += chance;
        all += chance;
        for (i = 1, least = tokens[0]; i < count; i++)
            least = tokens[i] < least ? tokens[i] : least;
        if (all / cost > best && least * plain >= PATIENCE * cost) {
            best = all / cost;
            keep = n + 1;
        }
    }
    for (i = keep; i < n; i++)
        d[order[i]]->take--;
}
