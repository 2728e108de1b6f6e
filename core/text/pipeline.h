/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_PIPELINE_H
#define Q35_CORE_TEXT_PIPELINE_H

/* What happens to text before BPE: normalizers change it, pre-tokenizers cut it into words. Terms
 * and exact behaviour are those of Hugging Face's tokenizers library; the few steps a GGUF file can
 * ask for are expressed by them too. */

#include "core/text/regex.h"
#include "core/text/unicode.h"

enum q35_norm_type { Q35_NORM_FORM, Q35_NORM_PREPEND, Q35_NORM_REPLACE, Q35_NORM_STRIP };

struct q35_norm {
    enum q35_norm_type type;
    enum q35_unicode_form form;
    struct q35_str from, to; /* REPLACE: literal; PREPEND: to */
    struct q35_regex *re;    /* REPLACE: instead of `from` */
    bool left, right;        /* STRIP */
};

enum q35_pre_type {
    Q35_PRE_SPLIT, /* at matches of a regex or a literal */
    Q35_PRE_BYTES, /* to the byte alphabet */
    Q35_PRE_DIGITS,
    Q35_PRE_PUNCTUATION,
    Q35_PRE_SPACES,
    Q35_PRE_METASPACE
};

enum q35_behavior {
    Q35_REMOVED,
    Q35_ISOLATED,
    Q35_MERGED_WITH_PREVIOUS,
    Q35_MERGED_WITH_NEXT,
    Q35_CONTIGUOUS
};

enum q35_prepend_scheme { Q35_PREPEND_ALWAYS, Q35_PREPEND_FIRST, Q35_PREPEND_NEVER };

struct q35_pre {
    enum q35_pre_type type;
    enum q35_behavior behavior;
    bool invert;
    struct q35_regex *re;           /* SPLIT */
    struct q35_str literal;         /* SPLIT without re; METASPACE: the replacement */
    bool prefix_space;              /* BYTES: each piece begins with a space */
    bool map;                       /* BYTES: rewrite the text (a later step looks at it) */
    enum q35_prepend_scheme scheme; /* METASPACE */
    bool split;                     /* METASPACE */
};

struct q35_pipeline {
    struct q35_norm *norms;
    size_t n_norms;
    struct q35_pre *pres;
    size_t n_pres;
};

struct q35_text_span {
    size_t start, end;
};

/* Words and the scratch for finding them. Zero-initialise. */
struct q35_words {
    struct q35_str text; /* what the spans point into */
    struct q35_text_span *spans;
    size_t count, cap;
    struct q35_str next_text;
    struct q35_text_span *next;
    size_t next_count, next_cap;
    struct q35_regex_work regex;
    bool failed;
};
void q35_words_fini(struct q35_words *w);

/* Zeroed new last element, NULL without memory. */
struct q35_norm *q35_pipeline_add_norm(struct q35_pipeline *p);
struct q35_pre *q35_pipeline_add_pre(struct q35_pipeline *p);
void q35_pipeline_fini(struct q35_pipeline *p);

/* Appends the normal form of text to out. first: it begins at the start or after a whole token. */
enum q35_status q35_pipeline_normalize(const struct q35_pipeline *p, struct q35_words *w,
                                       const char *text, size_t len, bool first,
                                       struct q35_str *out, struct q35_error *err);
/* Cuts text into w->spans of w->text. at_start: it begins where the whole input does. */
enum q35_status q35_pipeline_words(const struct q35_pipeline *p, struct q35_words *w,
                                   const char *text, size_t len, bool at_start,
                                   struct q35_error *err);

#endif
