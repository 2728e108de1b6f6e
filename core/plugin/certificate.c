/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/certificate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/plugin/load.h"
#include "core/plugin/search.h"

#define MAX_BYTES (1u << 20)

static enum q35_status read_json(const char *path, json_t **out, struct q35_error *err)
{
    json_error_t why;
    char *text;
    size_t bytes;
    enum q35_status st = q35_file_trusted(path, err);
    if (st == Q35_OK)
        st = q35_file_read(path, MAX_BYTES, &text, &bytes, err);
    if (st != Q35_OK)
        return st;
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    free(text);
    return *out ? Q35_OK : q35_fail(err, Q35_E_FORMAT, "%s:%d: %s", path, why.line, why.text);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static enum q35_status check(const json_t *o, const char *path, const char *plugin,
                             struct q35_error *err)
{
    const char *abi = text_of(o, "abi");
    char hex[65];
    enum q35_status st;
    if (json_integer_value(json_object_get(o, "q35_certificate")) != 1)
        return q35_fail(err, Q35_E_FORMAT, "%s is no certificate of version 1", path);
    if (!json_is_true(json_object_get(o, "passed")))
        return q35_fail(err, Q35_E_PLUGIN, "%s says that the plugin did not pass", path);
    if (strtoul(abi, NULL, 10) != Q35_ABI_MAJOR)
        return q35_fail(err, Q35_E_VERSION, "%s is for ABI '%.15s'", path, abi);
    st = q35_file_sha256(plugin, hex, err);
    if (st == Q35_OK && strcmp(hex, text_of(o, "sha256")) != 0)
        st =
            q35_fail(err, Q35_E_HASH, "%s is for another file: the plugin has changed since", path);
    return st;
}

enum q35_status q35_certificate_check(const char *plugin, struct q35_certificate *out,
                                      struct q35_error *err)
{
    char path[PATH_MAX];
    size_t n = strlen(plugin);
    json_t *o = NULL;
    enum q35_status st;
    memset(out, 0, sizeof(*out));
    if (n > 3 && strcmp(plugin + n - 3, ".so") == 0)
        n -= 3;
    if (snprintf(path, sizeof(path), "%.*s.cert.json", (int)n, plugin) >= (int)sizeof(path))
        return q35_fail(err, Q35_E_NOT_FOUND, "the plugin's path is too long");
    st = read_json(path, &o, err);
    if (st == Q35_OK)
        st = check(o, path, plugin, err);
    if (st == Q35_OK) {
        q35_clean_text(out->date, sizeof(out->date), text_of(o, "date"));
        q35_clean_text(out->determinism, sizeof(out->determinism), text_of(o, "class"));
        q35_clean_text(out->host_abi, sizeof(out->host_abi), text_of(o, "abi"));
    }
    json_decref(o);
    return st;
}
