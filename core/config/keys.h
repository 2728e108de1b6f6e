/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_CONFIG_KEYS_H
#define Q35_CORE_CONFIG_KEYS_H

/* The keys of the fixed sections as a table, and parsing of single values. */

#include "core/base/base.h"

enum q35_key_type { Q35_KEY_STRING, Q35_KEY_PATH, Q35_KEY_U32, Q35_KEY_BOOL, Q35_KEY_CHOICE };

/* One key. offset: of a char * (STRING, PATH, CHOICE), uint32_t (U32) or bool (BOOL). */
struct q35_key {
    const char *section;
    const char *name;
    enum q35_key_type type;
    size_t offset;
    uint32_t min, max;    /* U32 */
    const char *choices;  /* CHOICE: "a|b|c" */
    const char *fallback; /* as text; NULL: nothing */
};

/* All keys of [q35d], [model] and [schedule] but for layers.NAME. */
const struct q35_key *q35_config_keys(uint32_t *count);

/* Those of [backend NAME] that are not the plugin's own. */
const struct q35_key *q35_config_backend_keys(uint32_t *count);

/* Stores `value` at base + key->offset. folder: of the INI, "" for the working directory. The
 * message of a failure has no file and line yet. CONFIG or NOMEM. */
enum q35_status q35_key_store(const struct q35_key *key, const char *value, const char *folder,
                              void *base, struct q35_error *err);

/* A decimal number without sign or blanks, min .. max. */
bool q35_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out);
/* true, false, yes, no, on, off, 1, 0 */
bool q35_parse_bool(const char *text, bool *out);
/* True if `value` is one of "a|b|c". */
bool q35_parse_choice(const char *choices, const char *value);
/* Absolute paths as they are, others behind folder; malloc'd, NULL without memory. */
char *q35_path_join(const char *folder, const char *path);

#endif
