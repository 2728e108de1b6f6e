/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/config/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/keys.h"

enum q35_status q35_config_set(struct q35_config *c, const char *key, const char *value,
                               struct q35_error *err)
{
    uint32_t n;
    const struct q35_key *keys = q35_config_keys(&n);
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(keys[i].section, "schedule") && !strcmp(keys[i].name, key))
            return q35_key_store(&keys[i], value, "", c, err);
    return q35_fail(err, Q35_E_CONFIG, "unknown key '%s' in [schedule]", key);
}

enum q35_status q35_config_default(struct q35_config **out, const char *backend,
                                   struct q35_error *err)
{
    const char *slash = strrchr(backend, '/'), *base = slash ? slash + 1 : backend;
    size_t n = strlen(base), i;
    char name[32] = "";
    char *path = slash ? realpath(backend, NULL) : NULL, *text = NULL;
    enum q35_status st;
    *out = NULL;
    if (n > 3 && strcmp(base + n - 3, ".so") == 0)
        n -= 3;
    if (slash && !path)
        return q35_fail(err, Q35_E_NOT_FOUND, "there is no plugin %s", backend);
    for (i = 0; i < n && i < sizeof(name) - 1; i++) /* a section's name has no dots */
        name[i] = isalnum((unsigned char)base[i]) || strchr("_-", base[i]) ? base[i] : '_';
    if (!n || strpbrk(backend, "\n\r;") ||
        asprintf(&text, "[backend %s]\npath = %s%s\nrequired = true\n", name, path ? path : base,
                 path || base[n] ? "" : ".so") < 0)
        st = q35_fail(err, Q35_E_INVALID, "bad name of a backend");
    else
        st = q35_config_parse(out, text, "<default>", err);
    free(text);
    free(path);
    return st;
}

void q35_config_free(struct q35_config *c)
{
    uint32_t n;
    const struct q35_key *keys = q35_config_keys(&n);
    if (!c)
        return;
    for (uint32_t i = 0; i < c->backend_count; i++) {
        struct q35_config_backend *b = &c->backends[i];
        for (uint32_t j = 0; j < b->option_count; j++) {
            free((char *)(uintptr_t)b->options[j].key);
            free((char *)(uintptr_t)b->options[j].value);
        }
        free(b->options);
        free(b->option_lines);
        free(b->name);
        free(b->path);
        free(b->sha256);
    }
    for (uint32_t i = 0; i < c->range_count; i++)
        free(c->ranges[i].backend);
    for (uint32_t i = 0; i < n; i++)
        if (keys[i].type != Q35_KEY_U32 && keys[i].type != Q35_KEY_BOOL)
            free(*(char **)((char *)c + keys[i].offset));
    free(c->backends);
    free(c->ranges);
    free(c->path);
    free(c);
}

const struct q35_config_backend *q35_config_find(const struct q35_config *c, const char *name)
{
    for (uint32_t i = 0; i < c->backend_count; i++)
        if (strcmp(c->backends[i].name, name) == 0)
            return &c->backends[i];
    return NULL;
}

int q35_config_option_line(const struct q35_config_backend *b, const char *key)
{
    for (uint32_t i = 0; i < b->option_count; i++)
        if (strcmp(b->options[i].key, key) == 0)
            return b->option_lines[i];
    return b->line;
}
