/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_BPE_H
#define Q35_CORE_TEXT_BPE_H

/* Byte pair encoding of one word. Two flavours: by rank in a list of merges (byte-level models and
 * tokenizer.json) and by the score of the merged token (SentencePiece). O(n log n) by a heap. */

#include "core/text/vocab.h"

struct q35_merge {
    uint32_t left, right;
};

struct q35_bpe {
    bool by_score;
    bool byte_level;    /* symbols are bytes; otherwise characters */
    bool byte_fallback; /* unknown characters become <0xXX> tokens */
    bool fuse_unk;
    bool keep_gaps;           /* bytes without a token are left out only after merging */
    bool ignore_merges;       /* a word that is a token needs no merging */
    int32_t unk;              /* -1: unknown characters are dropped */
    int32_t bytes[256];       /* byte_level: token of each byte, otherwise <0xXX>; -1: none */
    struct q35_merge *merges; /* [n_merges], by rank */
    uint32_t n_merges;
    struct q35_map64 pairs; /* left << 32 | right -> rank << 32 | merged */
};

/* Growing list of token ids. */
struct q35_ids {
    int32_t *data;
    size_t count, cap;
    bool failed;
};
void q35_ids_add(struct q35_ids *ids, int32_t id);

/* Scratch of one thread. Zero-initialise. */
struct q35_bpe_work {
    struct q35_bpe_symbol *symbols;
    size_t n_symbols, cap_symbols;
    struct q35_bpe_pair *heap;
    size_t n_heap, cap_heap;
    struct q35_str text;
    bool failed;
};
void q35_bpe_work_fini(struct q35_bpe_work *w);

void q35_bpe_fini(struct q35_bpe *b);
/* Fills bytes[]. alphabet: bytes are spelled in the byte alphabet, otherwise <0xXX>. */
void q35_bpe_find_bytes(struct q35_bpe *b, const struct q35_vocab *v, bool alphabet);
/* Adds the merge of texts left and right with the next rank. FORMAT if a part or the result is not
 * in the vocabulary. */
enum q35_status q35_bpe_add_merge(struct q35_bpe *b, const struct q35_vocab *v, const char *left,
                                  size_t left_len, const char *right, size_t right_len,
                                  struct q35_error *err);

/* Appends the tokens of a word (well-formed UTF-8). */
enum q35_status q35_bpe_encode(const struct q35_bpe *b, const struct q35_vocab *v,
                               struct q35_bpe_work *w, const char *word, size_t len,
                               struct q35_ids *ids, struct q35_error *err);

#endif
