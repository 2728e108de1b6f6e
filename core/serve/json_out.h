/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_JSON_OUT_H
#define Q35_SERVE_JSON_OUT_H

/* Writing JSON straight into a growing string: a streamed token builds no tree and, once its
 * buffer has grown, allocates nothing. */

#include "core/base/base.h"

/* A quoted string. Bytes that are not UTF-8 become U+FFFD, so the result always parses. */
void q35_json_add(struct q35_str *out, const char *data, size_t len);
void q35_json_addz(struct q35_str *out, const char *text);
/* A number; NaN and infinities, which JSON lacks, become `otherwise`. */
void q35_json_add_real(struct q35_str *out, double v, const char *otherwise);

/* Length of the valid UTF-8 character at data, 0 if there is none. */
size_t q35_utf8_len(const char *data, size_t len);

#endif
