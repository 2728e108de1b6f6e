/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TOKENIZER_H
#define Q35_CORE_TOKENIZER_H

/* Tokenizers of LLaMA-family models: SentencePiece BPE with byte fallback ("llama") and byte-level
 * BPE with a pre-tokenizer regex ("gpt2"). An unknown pre-tokenizer is refused, never guessed. */

#include "core/base/base.h"

struct q35_gguf;
struct q35_tokenizer; /* immutable once created; share it freely */

/* From tokenizer.ggml.* metadata (source models, packed models). */
enum q35_status q35_tokenizer_from_gguf(struct q35_tokenizer **out, const struct q35_gguf *g,
                                        struct q35_error *err);
/* From a Hugging Face directory: tokenizer.json, tokenizer_config.json, generation_config.json. */
enum q35_status q35_tokenizer_from_dir(struct q35_tokenizer **out, const char *dir,
                                       struct q35_error *err);
void q35_tokenizer_destroy(struct q35_tokenizer *t);

uint32_t q35_tokenizer_vocab(const struct q35_tokenizer *t);

enum q35_encode_flags {
    Q35_ENCODE_BOS = 1,    /* add BOS (and EOS) as the model's files say */
    Q35_ENCODE_SPECIAL = 2 /* text that spells a control token becomes it; never for user text */
};
/* *ids: malloc'd, free() it. text is UTF-8; invalid bytes are encoded byte by byte. [any] */
enum q35_status q35_tokenizer_encode(const struct q35_tokenizer *t, const char *text, size_t len,
                                     uint32_t flags, int32_t **ids, size_t *count,
                                     struct q35_error *err);

/* The raw bytes of a token; control tokens give "" unless `special`. Valid as long as t. */
struct q35_piece {
    const char *data;
    size_t len;
};
struct q35_piece q35_tokenizer_piece(const struct q35_tokenizer *t, int32_t id, bool special);
bool q35_tokenizer_is_control(const struct q35_tokenizer *t, int32_t id);
/* Ends generation: EOS, EOT and the like. */
bool q35_tokenizer_is_end(const struct q35_tokenizer *t, int32_t id);
int32_t q35_tokenizer_bos(const struct q35_tokenizer *t); /* -1: none */
int32_t q35_tokenizer_eos(const struct q35_tokenizer *t);

/* Incremental detokenizing: bytes come out only as whole UTF-8 characters. Zero-initialise. */
struct q35_detok {
    char pending[8];
    uint32_t pending_len;
    /* SentencePiece puts a space before a text, so the first piece pushed loses one. Set this before
     * the first push when the tokens continue a text (completions): then the space is real. */
    bool started;
};
/* Appends to out what token `id` completes. Invalid sequences become U+FFFD. */
void q35_detok_push(struct q35_detok *d, const struct q35_tokenizer *t, int32_t id,
                    struct q35_str *out);
/* The end: whatever is pending becomes U+FFFD. */
void q35_detok_finish(struct q35_detok *d, struct q35_str *out);

/* What convert writes into a packed model: the tokenizer as GGUF metadata, such that
 * q35_tokenizer_from_gguf of the result makes the same tokens. Standard keys, and for what GGUF has
 * no words for: q35.tokenizer.json (tokenizer.json without vocabulary and merges), .prefix_ids and
 * .suffix_ids (what Q35_ENCODE_BOS adds), .end_ids, .rstrip_ids, .merge_ids. */
struct q35_gguf_writer;
enum q35_status q35_tokenizer_write(const struct q35_tokenizer *t, struct q35_gguf_writer *w,
                                    struct q35_error *err);

/* ---- chat templates (Jinja, the subset models use) ---- */

struct q35_chat_message {
    const char *role;
    const char *content;
    size_t content_len;
};

/* The template text of the model, NULL if it has none. */
const char *q35_tokenizer_chat_template(const struct q35_tokenizer *t);

/* Parses once; FORMAT naming line and construct for anything not understood. */
struct q35_chat;
enum q35_status q35_chat_create(struct q35_chat **out, const char *template_text,
                                struct q35_error *err);
void q35_chat_destroy(struct q35_chat *c);
/* Renders and tokenizes. Only text of the template itself may become control tokens, and the roles
 * system, user, assistant and tool as part of it; content and other roles never do. BOS is added where the model wants it and the template has not.
 * tools and documents are none; strftime_now is not defined, so that the same messages give the same
 * prompt on any day. INVALID carries the template's own raise_exception text. [any] */
enum q35_status q35_chat_encode(const struct q35_chat *c, const struct q35_tokenizer *t,
                                const struct q35_chat_message *messages, size_t count,
                                bool add_generation_prompt, int32_t **ids, size_t *n_ids,
                                struct q35_error *err);

#endif
