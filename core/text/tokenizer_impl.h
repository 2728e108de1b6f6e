/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_TOKENIZER_IMPL_H
#define Q35_CORE_TEXT_TOKENIZER_IMPL_H

/* What a tokenizer is made of. Inside core/text only. */

#include "core/text/bpe.h"
#include "core/text/pipeline.h"
#include "core/text/tokenizer.h"

/* A trie over bytes that finds whole tokens in text. */
struct q35_added {
    struct q35_map64 edges; /* node * 512 + byte -> node; node * 512 + 256 -> token */
    uint64_t nodes;
    bool first[256]; /* bytes a token may begin with */
    bool ascii;      /* only ASCII white space is swallowed */
};
void q35_added_fini(struct q35_added *a);
void q35_added_put(struct q35_added *a, const char *text, size_t len, int32_t id);

struct q35_added_hit {
    int32_t id;        /* -1: none */
    size_t start, end; /* with the white space it swallows */
};
/* The leftmost, then longest token in text[from..len). control: also control and unknown tokens,
 * but only where every byte is trusted[] (NULL: all are). */
struct q35_added_hit q35_added_find(const struct q35_added *a, const struct q35_vocab *v,
                                    const char *text, const uint8_t *trusted, size_t len,
                                    size_t from, bool control);

enum q35_decode { Q35_DECODE_BYTE_ALPHABET, Q35_DECODE_SPACES, Q35_DECODE_PLAIN };

/* Token ids that metadata names. The order is that of q35_special_keys. */
enum q35_special {
    Q35_SPECIAL_BOS,
    Q35_SPECIAL_EOS,
    Q35_SPECIAL_EOT,
    Q35_SPECIAL_EOM,
    Q35_SPECIAL_UNK,
    Q35_SPECIAL_SEP,
    Q35_SPECIAL_PAD,
    Q35_SPECIAL_MASK,
    Q35_SPECIAL_COUNT
};
extern const char *const q35_special_keys[Q35_SPECIAL_COUNT];

struct q35_tokenizer {
    struct q35_vocab vocab;
    struct q35_bpe bpe;
    struct q35_pipeline pipeline;
    struct q35_added early, late; /* sought in the text as it came; in normalized text */
    struct q35_added chat;        /* early and the control tokens of late: for chat templates */
    bool has_late;

    enum q35_decode decode;
    bool byte_tokens; /* <0xXX> tokens stand for bytes */
    bool strip_space; /* the first piece of a text loses one leading space */

    int32_t special[Q35_SPECIAL_COUNT]; /* -1: none */
    struct q35_ids prefix, suffix;      /* what Q35_ENCODE_BOS adds before and after */
    bool add_bos, add_eos;
    bool space_prefix; /* SentencePiece's dummy prefix */
    char *chat_template;

    /* For writing metadata again. */
    char model[16]; /* tokenizer.ggml.model */
    char pre[64];   /* tokenizer.ggml.pre, "" if there is none */
    char *json;     /* tokenizer.json without vocabulary, NULL from plain GGUF */
};

/* The text of a chat, in which only bytes with trusted[i] != 0 spell control tokens. Adds what the
 * model wants before and after a text unless it stands there already. */
enum q35_status q35_tokenizer_encode_trusted(const struct q35_tokenizer *t, const char *text,
                                             const uint8_t *trusted, size_t len, int32_t **ids,
                                             size_t *count, struct q35_error *err);
/* For tests: what a template makes of messages, and which bytes it wrote itself. */
enum q35_status q35_chat_render(const struct q35_chat *c, const struct q35_tokenizer *t,
                                const struct q35_chat_message *messages, size_t count,
                                bool add_generation_prompt, struct q35_str *text,
                                struct q35_str *trusted, struct q35_error *err);

/* Copies len bytes into a string of its own. */
char *q35_text_dup(const char *text, size_t len);

/* Steps shared by the loaders, in this order. */
struct q35_tokenizer *q35_tokenizer_new(void);
/* Marks tokens that end generation by their names. control_only: only among control tokens. */
void q35_tokenizer_mark_ends(struct q35_tokenizer *t, bool control_only);
/* Pieces, search tries, byte table. */
enum q35_status q35_tokenizer_finish(struct q35_tokenizer *t, struct q35_error *err);

/* Sets up the pipeline of a pre-tokenizer that tokenizer.ggml.pre names. */
enum q35_status q35_pre_setup(struct q35_tokenizer *t, const char *pre, size_t len,
                              struct q35_error *err);
extern const char q35_gpt2_pattern[];
/* The tokenizer.ggml.pre whose patterns these are, NULL if none. patterns[n]: each a Split. */
const char *q35_pre_name(const char *const *patterns, size_t n, bool ignore_merges);

/* The parts of tokenizer.json other than vocabulary and merges, onto a tokenizer that has them. */
struct json_t;
enum q35_status q35_hf_apply(struct q35_tokenizer *t, const struct json_t *root,
                             struct q35_error *err);

#endif
