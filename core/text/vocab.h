/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_VOCAB_H
#define Q35_CORE_TEXT_VOCAB_H

/* The table of tokens, and hash tables from text or pairs of tokens to tokens. */

#include "core/base/base.h"

/* Kinds as in tokenizer.ggml.token_type. */
enum q35_token_kind {
    Q35_TOKEN_NORMAL = 1,
    Q35_TOKEN_UNKNOWN = 2,
    Q35_TOKEN_CONTROL = 3,
    Q35_TOKEN_USER = 4, /* cut out of the text before anything else, shown as it is */
    Q35_TOKEN_UNUSED = 5,
    Q35_TOKEN_BYTE = 6
};

enum q35_vocab_token_flags {
    Q35_TOKEN_END = 1,    /* ends generation */
    Q35_TOKEN_LSTRIP = 2, /* swallows white space on its left */
    Q35_TOKEN_RSTRIP = 4, /* ... on its right */
    Q35_TOKEN_WORD = 8,   /* only between word boundaries */
    Q35_TOKEN_LATE = 16,  /* looked for in normalized text */
    Q35_TOKEN_ADDED = 32  /* takes part in the search for whole tokens */
};

struct q35_vocab_token {
    uint32_t text, text_len;   /* into vocab.pool: as the model's file spells it */
    uint32_t piece, piece_len; /* into vocab.pool: the bytes it stands for */
    float score;
    uint8_t kind;  /* enum q35_token_kind */
    uint8_t flags; /* enum q35_vocab_token_flags */
};

struct q35_vocab {
    struct q35_vocab_token *tokens; /* [count] */
    uint32_t count;
    struct q35_str pool;
    uint32_t *slots; /* open addressing: id + 1, or 0 */
    uint32_t mask;
    uint32_t longest; /* bytes of the longest text */
};

enum q35_status q35_vocab_init(struct q35_vocab *v, uint64_t count, struct q35_error *err);
void q35_vocab_fini(struct q35_vocab *v);
/* Sets the text of token id, once per id. If two tokens have one text the first is found. */
void q35_vocab_set(struct q35_vocab *v, uint32_t id, const char *text, size_t len, uint8_t kind);
/* The token spelled so, -1 if none. */
int32_t q35_vocab_find(const struct q35_vocab *v, const char *text, size_t len);
const char *q35_vocab_text(const struct q35_vocab *v, uint32_t id);

/* uint64 -> uint64, grows by itself. Keys are not UINT64_MAX. */
struct q35_map64 {
    uint64_t *slots; /* [mask + 1][2] */
    uint64_t mask;   /* 0: empty */
    uint64_t used;
    bool failed; /* out of memory; checked once at the end */
};
void q35_map64_put(struct q35_map64 *m, uint64_t key, uint64_t value);
bool q35_map64_get(const struct q35_map64 *m, uint64_t key, uint64_t *value);
void q35_map64_fini(struct q35_map64 *m);

#endif
