/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_INI_H
#define Q35_CORE_INI_H

/* inih made strict: every line has a number, nothing is cut, joined or skipped in silence.
 *
 *   # or ; starts a comment line; " ;" ends a value
 *   [section]
 *   key = value        ('=' alone separates; a ':' belongs to the key)
 *
 * Refused, with file and line: NUL and other control bytes, invalid UTF-8, lines above
 * Q35_INI_MAX_LINE bytes, text behind a section's bracket, lines that are none of the above, keys
 * before the first section, empty keys. */

#include "core/base/base.h"

#define Q35_INI_MAX_LINE 4000
#define Q35_INI_MAX_SECTION 49 /* inih cuts longer ones */
#define Q35_INI_MAX_BYTES (1u << 20)

/* Either callback ends the parse by returning other than OK, having filled err. Strings are valid
 * during the call. `name` of a section has its white space trimmed. */
struct q35_ini_sink {
    void *user;
    enum q35_status (*section)(void *user, const char *name, int line, struct q35_error *err);
    enum q35_status (*pair)(void *user, const char *key, const char *value, int line,
                            struct q35_error *err);
};

/* name: of the file, for messages. CONFIG, or what a callback returned. Threads: any, one at a time
 * in a process (inih's settings are global). */
enum q35_status q35_ini_parse(const char *text, size_t bytes, const char *name,
                              const struct q35_ini_sink *sink, struct q35_error *err);

/* Bytes of the UTF-8 sequence at p, of which n > 0 can be read; 0 if it is none. */
size_t q35_utf8_length(const unsigned char *p, size_t n);

#endif
