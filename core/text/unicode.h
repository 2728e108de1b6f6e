/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_UNICODE_H
#define Q35_CORE_TEXT_UNICODE_H

/* UTF-8 and the few character properties tokenizers need. */

#include "core/base/base.h"

/* Length of the well-formed UTF-8 character at p (no overlong forms, no surrogates), 0 if there is
 * none within n bytes. */
size_t q35_utf8_get(const char *p, size_t n, uint32_t *cp);
/* Writes cp, which is a valid scalar value, and returns its length. */
size_t q35_utf8_put(uint32_t cp, char out[4]);
/* Bytes of the longest well-formed prefix of text. */
size_t q35_utf8_prefix(const char *text, size_t len);

bool q35_unicode_space(uint32_t cp);       /* White_Space */
bool q35_unicode_numeric(uint32_t cp);     /* Nd, Nl, No */
bool q35_unicode_punctuation(uint32_t cp); /* ASCII punctuation and symbols, and P* */
bool q35_unicode_word(uint32_t cp);        /* \w: alphabetic, marks, digits, connectors */

enum q35_unicode_form { Q35_NFC, Q35_NFD, Q35_NFKC, Q35_NFKD };
/* Appends the normal form of well-formed UTF-8. */
enum q35_status q35_unicode_normalize(struct q35_str *out, enum q35_unicode_form form,
                                      const char *text, size_t len, struct q35_error *err);

/* The printable character that byte-level BPE writes for a byte, and back (-1: none). */
uint32_t q35_byte_to_char(uint8_t byte);
int q35_char_to_byte(uint32_t cp);

#endif
