/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/config/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool q35_parse_u32(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;
    if (!*text)
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        v = v * 10 + (uint64_t)(*p - '0');
        if (v > UINT32_MAX)
            return false;
    }
    if (v < min || v > max)
        return false;
    *out = (uint32_t)v;
    return true;
}

bool q35_parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < Q35_COUNT(words); i++)
        if (strcmp(text, words[i]) == 0) {
            *out = i & 1;
            return true;
        }
    return false;
}

bool q35_parse_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    if (n == 0 || strchr(value, '|'))
        return false;
    for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, value, n) == 0 && (p[n] == '|' || p[n] == '\0'))
            return true;
    return false;
}

char *q35_path_join(const char *folder, const char *path)
{
    char *out = NULL;
    if (*path == '/' || !*folder)
        return strdup(path);
    return asprintf(&out, "%s/%s", folder, path) < 0 ? NULL : out;
}

static enum q35_status store_text(char **slot, char *text, struct q35_error *err)
{
    if (!text)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    free(*slot);
    *slot = text;
    return Q35_OK;
}

enum q35_status q35_key_store(const struct q35_key *key, const char *value, const char *folder,
                              void *base, struct q35_error *err)
{
    void *slot = (char *)base + key->offset;
    if (!*value)
        return q35_fail(err, Q35_E_CONFIG, "%s has no value", key->name);
    switch (key->type) {
    case Q35_KEY_U32:
        if (!q35_parse_u32(value, key->min, key->max, slot))
            return q35_fail(err, Q35_E_CONFIG, "%s = %s: expected a whole number from %u to %u",
                            key->name, value, key->min, key->max);
        return Q35_OK;
    case Q35_KEY_BOOL:
        if (!q35_parse_bool(value, slot))
            return q35_fail(err, Q35_E_CONFIG, "%s = %s: expected true or false", key->name, value);
        return Q35_OK;
    case Q35_KEY_CHOICE:
        if (!q35_parse_choice(key->choices, value))
            return q35_fail(err, Q35_E_CONFIG, "%s = %s: expected one of %s", key->name, value,
                            key->choices);
        return store_text(slot, strdup(value), err);
    case Q35_KEY_PATH:
        return store_text(slot, q35_path_join(folder, value), err);
    case Q35_KEY_STRING:
        return store_text(slot, strdup(value), err);
    }
    return q35_fail(err, Q35_E_INTERNAL, "%s: unknown kind of key", key->name);
}
