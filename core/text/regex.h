/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_REGEX_H
#define Q35_CORE_TEXT_REGEX_H

/* Pre-tokenizer patterns through PCRE2. They are written for Oniguruma; constructs that PCRE2
 * understands differently are either rewritten (\s, \p{L} ...) or refused by name. */

#include "core/base/base.h"

struct q35_regex; /* immutable: share it freely */

/* FORMAT for a malformed pattern, UNSUPPORTED for one whose meaning would differ. */
enum q35_status q35_regex_create(struct q35_regex **out, const char *pattern, size_t len,
                                 struct q35_error *err);
void q35_regex_destroy(struct q35_regex *re);

/* Where matching keeps its state: one per thread. Zero-initialise. */
struct q35_regex_work {
    void *match;
    void *context;
    void *stack;
};
void q35_regex_work_fini(struct q35_regex_work *w);

/* The first non-empty match at or after `from` in well-formed UTF-8; *found says whether. */
enum q35_status q35_regex_find(const struct q35_regex *re, struct q35_regex_work *w,
                               const char *text, size_t len, size_t from, bool *found,
                               size_t *start, size_t *end, struct q35_error *err);

#endif
