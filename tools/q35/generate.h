/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_GENERATE_H
#define Q35_TOOLS_GENERATE_H

/* One answer of a model, for q35 run: a prompt's ids to text. */

#include <stdatomic.h>
#include <stdio.h>

#include "tools/q35/session.h"

struct answer {
    struct q35_str text;
    int32_t *ids;            /* [tokens] */
    uint32_t tokens, cached; /* cached: prompt tokens found in the prefix cache */
    uint32_t drafted, accepted;
    size_t prompt_tokens;
    enum q35_finish finish;
    uint64_t start_ns, first_ns, last_ns;
};

struct generate_options {
    struct q35_sampling sampling;
    uint32_t tokens; /* at most */
    bool ignore_end;
    bool starts_text;  /* the first token begins a text: it loses the space SentencePiece adds */
    FILE *out;         /* text goes there as it comes; NULL: nowhere */
    atomic_bool *stop; /* or NULL: once true, the answer ends with FINISH_CANCELLED */
};

/* Fills *out (zeroed by this) and returns when the request has ended; free it with answer_fini. */
enum q35_status generate(struct session *s, const int32_t *ids, size_t n,
                         const struct generate_options *o, struct answer *out,
                         struct q35_error *err);
void answer_fini(struct answer *a);

/* Seconds until the first token, and tokens a second after it (0 if there is but one). */
double answer_prefill(const struct answer *a);
double answer_speed(const struct answer *a);
/* A line about it, for -v. */
void answer_tell(const struct answer *a, FILE *f);

#endif
