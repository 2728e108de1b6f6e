/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_UNICODE_NEW_H
#define Q35_CORE_TEXT_UNICODE_NEW_H

/* Characters that Unicode assigned after version 14, the one Debian's PCRE2 knows, so that \p{L}
 * and its kin mean what they mean to newer libraries. */

#include "core/base/base.h"

/* Appends "\x{a}-\x{b}..." for the general category NAME ("L", "Lo", "N" ...); nothing for others.
 */
void q35_unicode_new_ranges(struct q35_str *out, const char *name, size_t len);

#endif
