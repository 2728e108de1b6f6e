/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_DRAFT_H
#define Q35_CORE_DRAFT_H

/* Drafts: guesses at a request's next tokens, found where its own tokens repeat themselves, and how
 * many of them are worth a place in a run. Decode is bound by reading the weights, so a run over a
 * token and its guesses takes little longer than over the token alone.
 *
 * A guess never changes a token: the request's sampler chooses at every position as ever, and a
 * guess is right if it is what was chosen. All of this belongs to the engine's thread, once a
 * request has been submitted. */

#include "core/base/base.h"
#include "core/config/config.h"

#define Q35_DRAFT_LENGTHS 8u /* lengths of a match that are told apart; the last is "or more" */

struct q35_draft {
    /* Positions that the same two tokens precede, as chains from the latest down. A position is the
     * number of tokens before it; 0 ends a chain. */
    uint32_t *heads;   /* [buckets], NULL: no drafts */
    uint32_t *earlier; /* [tokens + 1] */
    uint32_t buckets;
    /* How often of late the guess behind a match of so many tokens was right. */
    float hits[Q35_DRAFT_LENGTHS + 1];
    int32_t guess[Q35_DRAFT_MAX + 1]; /* one more than a run takes: it is compared as well */
    uint32_t match;                   /* tokens that matched, 0: there are no guesses */
    uint32_t right;                   /* guesses that have come true */
    uint32_t take;                    /* guesses in this step's run */
};

/* tokens: as many as the request may ever have. NOMEM. */
enum q35_status q35_draft_init(struct q35_draft *d, uint32_t tokens, struct q35_error *err);
/* A zeroed draft is fine, here and below: it never guesses. */
void q35_draft_fini(struct q35_draft *d);
/* tokens[n - 1] is new: compares it with the guess and takes it in. */
void q35_draft_push(struct q35_draft *d, const int32_t *tokens, uint32_t n);
/* Guesses what follows tokens[0 .. n-1], all of them pushed. */
void q35_draft_guess(struct q35_draft *d, const int32_t *tokens, uint32_t n);

/* What runs cost, by their tokens. */
struct q35_draft_cost {
    double seen[Q35_DRAFT_MAX + 2]; /* 0: not yet */
    double ns[Q35_DRAFT_MAX + 2];   /* the same, lower the longer ago it was: it is tried again */
};
/* A run of n tokens, `guesses` of them guessed, took so long. */
void q35_draft_ran(struct q35_draft_cost *c, uint32_t n, uint32_t guesses, uint64_t ns);

/* Sets `take` of `count` requests that are about to decode a token each: at most most[i], and at
 * most `room` together. Takes what brings the most tokens in a second as far as is known, but keeps
 * no request waiting for the guesses of another. count + room <= Q35_DRAFT_MAX + 1. */
void q35_draft_share(const struct q35_draft_cost *c, struct q35_draft *const *d,
                     const uint32_t *most, uint32_t count, uint32_t room);

#endif
