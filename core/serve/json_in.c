/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/json_in.h"

#include <string.h>

/* The last object key seen while scanning, to name the field of a value that is no JSON. */
struct scan {
    const char *key;
    size_t key_len;
};

static bool starts(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(end - p) >= n && memcmp(p, word, n) == 0;
}

/* Past the string whose opening quote is at p; remembers it if a colon follows. */
static const char *skip_string(const char *p, const char *end, struct scan *s)
{
    const char *start = ++p, *q;
    while (p < end && *p != '"')
        p += *p == '\\' ? 2 : 1;
    if (p >= end)
        return end;
    for (q = p + 1; q < end && strchr(" \t\r\n", *q) && *q; q++)
        ;
    if (q < end && *q == ':') {
        s->key = start;
        s->key_len = (size_t)(p - start);
    }
    return p + 1;
}

/* jansson recurses once per level and has its own, much higher limit. NaN and Infinity, which many
 * writers of JSON emit, deserve the name of their field. */
static bool prescan(const char *text, size_t len, struct q35_api_error *e)
{
    const char *p = text, *end = text + len;
    struct scan s = {NULL, 0};
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end, &s);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        if (depth > Q35_JSON_DEPTH)
            return q35_api_fail(e, 400, "invalid_json", NULL,
                                "the JSON body is nested deeper than %d levels", Q35_JSON_DEPTH);
        if (starts(p, end, "NaN") || starts(p, end, "Infinity")) {
            char name[sizeof(e->param)] = "";
            size_t n = s.key_len < sizeof(name) - 1 ? s.key_len : sizeof(name) - 1;
            if (s.key)
                memcpy(name, s.key, n);
            return q35_api_fail(e, 400, "invalid_json", name,
                                "NaN and Infinity are not JSON; a finite number is needed");
        }
        p++;
    }
    return true;
}

json_t *q35_json_load(const char *text, size_t len, struct q35_api_error *e)
{
    json_error_t je;
    json_t *root;
    if (len == 0) {
        q35_api_fail(e, 400, "invalid_json", NULL, "the request has no body; JSON is needed");
        return NULL;
    }
    if (!prescan(text, len, e))
        return NULL;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!root) {
        q35_api_fail(e, 400, "invalid_json", NULL,
                     "the body is not valid JSON: %s (line %d, column %d)", je.text, je.line,
                     je.column);
        return NULL;
    }
    if (!json_is_object(root)) {
        json_decref(root);
        q35_api_fail(e, 400, "invalid_json", NULL, "the body must be a JSON object");
        return NULL;
    }
    return root;
}
