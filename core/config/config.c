/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/ini.h"
#include "core/config/keys.h"

#define MAX_BACKENDS 64
#define MAX_OPTIONS 256
#define MAX_RANGES 256
#define MAX_NAME 31

#define AT(field) offsetof(struct q35_config, field)
static const struct q35_key keys[] = {
    {"q35d", "host", Q35_KEY_STRING, AT(host), 0, 0, NULL, "127.0.0.1"},
    {"q35d", "port", Q35_KEY_U32, AT(port), 0, 65535, NULL, "8035"},
    {"q35d", "api_key_file", Q35_KEY_PATH, AT(api_key_file), 0, 0, NULL, NULL},
    {"q35d", "tls_cert", Q35_KEY_PATH, AT(tls_cert), 0, 0, NULL, NULL},
    {"q35d", "tls_key", Q35_KEY_PATH, AT(tls_key), 0, 0, NULL, NULL},
    {"q35d", "cors_origins", Q35_KEY_STRING, AT(cors_origins), 0, 0, NULL, NULL},
    {"q35d", "max_queue", Q35_KEY_U32, AT(max_queue), 1, 1000000, NULL, "64"},
    {"q35d", "drain_seconds", Q35_KEY_U32, AT(drain_seconds), 0, 86400, NULL, "30"},
    {"q35d", "header_seconds", Q35_KEY_U32, AT(header_seconds), 1, 3600, NULL, "10"},
    {"q35d", "body_seconds", Q35_KEY_U32, AT(body_seconds), 1, 86400, NULL, "60"},
    {"q35d", "idle_seconds", Q35_KEY_U32, AT(idle_seconds), 1, 86400, NULL, "75"},
    {"q35d", "stall_seconds", Q35_KEY_U32, AT(stall_seconds), 1, 86400, NULL, "30"},
    {"q35d", "max_connections", Q35_KEY_U32, AT(max_connections), 1, 1000000, NULL, "4096"},
    {"q35d", "max_body_kib", Q35_KEY_U32, AT(max_body_kib), 1, 1048576, NULL, "8192"},
    {"q35d", "log_level", Q35_KEY_CHOICE, AT(log_level), 0, 0, "error|warning|info|debug", "info"},
    {"model", "path", Q35_KEY_PATH, AT(model_path), 0, 0, NULL, NULL},
    {"model", "name", Q35_KEY_STRING, AT(model_name), 0, 0, NULL, NULL},
    {"model", "context", Q35_KEY_U32, AT(context), 0, 1u << 24, NULL, "0"},
    {"schedule", "plugin_dir", Q35_KEY_STRING, AT(plugin_dir), 0, 0, NULL, NULL},
    {"schedule", "objective", Q35_KEY_CHOICE, AT(objective), 0, 0, "latency|throughput", "latency"},
    {"schedule", "max_batch", Q35_KEY_U32, AT(max_batch), 1, 65536, NULL, "512"},
    {"schedule", "micro_batch", Q35_KEY_U32, AT(micro_batch), 0, 65536, NULL, "64"},
    {"schedule", "max_sequences", Q35_KEY_U32, AT(max_sequences), 1, 65536, NULL, "8"},
    {"schedule", "kv_tokens", Q35_KEY_U32, AT(kv_tokens), 0, 1u << 30, NULL, "0"},
    {"schedule", "kv_type", Q35_KEY_CHOICE, AT(kv_type), 0, 0, "f16|int8", "f16"},
    {"schedule", "draft", Q35_KEY_CHOICE, AT(draft), 0, 0, "none|lookup", "none"},
    {"schedule", "draft_tokens", Q35_KEY_U32, AT(draft_tokens), 1, Q35_DRAFT_MAX, NULL, "7"},
    {"schedule", "probe_seconds", Q35_KEY_U32, AT(probe_seconds), 1, 600, NULL, "10"},
};

#define AT_BACKEND(field) offsetof(struct q35_config_backend, field)
/* isolate is parsed apart: its field is a bool. Keys that are not here belong to the plugin. */
static const struct q35_key backend_keys[] = {
    {"backend", "path", Q35_KEY_STRING, AT_BACKEND(path), 0, 0, NULL, NULL},
    {"backend", "required", Q35_KEY_BOOL, AT_BACKEND(required), 0, 0, NULL, NULL},
    {"backend", "require_certificate", Q35_KEY_BOOL, AT_BACKEND(require_certificate), 0, 0, NULL,
     NULL},
    {"backend", "hang_seconds", Q35_KEY_U32, AT_BACKEND(hang_seconds), 1, 86400, NULL, NULL},
    {"backend", "sha256", Q35_KEY_STRING, AT_BACKEND(sha256), 0, 0, NULL, NULL},
};

const struct q35_key *q35_config_backend_keys(uint32_t *count)
{
    *count = (uint32_t)Q35_COUNT(backend_keys);
    return backend_keys;
}

const struct q35_key *q35_config_keys(uint32_t *count)
{
    *count = (uint32_t)Q35_COUNT(keys);
    return keys;
}

struct loader {
    struct q35_config *c;
    const char *name;    /* of the file */
    char *folder;        /* of the file, "" for the working directory */
    const char *section; /* "q35d", "model", "schedule", "backend" */
    struct q35_config_backend *backend;
    int section_lines[3];
    int key_lines[Q35_COUNT(keys)];
    int backend_key_lines[Q35_COUNT(backend_keys) + 1]; /* the last is isolate */
};

static enum q35_status fail_at(const struct loader *l, int line, struct q35_error *err)
{
    q35_error_prefix(err, "%s:%d", l->name, line);
    return err ? (enum q35_status)err->status : Q35_E_CONFIG;
}

static bool name_ok(const char *s, size_t max, const char *extra)
{
    size_t n = strlen(s);
    if (n == 0 || n > max)
        return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              strchr(extra, *s)))
            return false;
    return true;
}

/* Grows *items by one zeroed element; NULL without memory. */
static void *grow(void *items, uint32_t *count, size_t element)
{
    char *p = realloc(*(void **)items, (*count + (size_t)1) * element);
    if (!p)
        return NULL;
    *(void **)items = p;
    p += *count * element;
    memset(p, 0, element);
    (*count)++;
    return p;
}

static enum q35_status backend_done(struct loader *l, struct q35_error *err)
{
    if (l->backend && !l->backend->path)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: [backend %s] has no path", l->name,
                        l->backend->line, l->backend->name);
    l->backend = NULL;
    return Q35_OK;
}

static enum q35_status backend_begin(struct loader *l, const char *name, int line,
                                     struct q35_error *err)
{
    const struct q35_config_backend *twin = q35_config_find(l->c, name);
    if (!name_ok(name, MAX_NAME, "_-"))
        return q35_fail(err, Q35_E_CONFIG,
                        "%s:%d: a backend's name has 1 to %d letters, digits, _ or -", l->name,
                        line, MAX_NAME);
    if (twin)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: [backend %s] again, first in line %d", l->name,
                        line, name, twin->line);
    if (l->c->backend_count == MAX_BACKENDS)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: more than %d backends", l->name, line,
                        MAX_BACKENDS);
    l->backend = grow(&l->c->backends, &l->c->backend_count, sizeof(*l->backend));
    if (l->backend)
        l->backend->name = strdup(name);
    if (!l->backend || !l->backend->name)
        return q35_fail(err, Q35_E_NOMEM, "%s:%d: no memory", l->name, line);
    l->backend->line = line;
    l->backend->hang_seconds = 300;
    memset(l->backend_key_lines, 0, sizeof(l->backend_key_lines));
    l->section = "backend";
    return Q35_OK;
}

static enum q35_status on_section(void *user, const char *name, int line, struct q35_error *err)
{
    static const char *const fixed[] = {"q35d", "model", "schedule"};
    struct loader *l = user;
    enum q35_status st = backend_done(l, err);
    if (st != Q35_OK)
        return st;
    for (int i = 0; i < 3; i++)
        if (strcmp(name, fixed[i]) == 0) {
            if (l->section_lines[i])
                return q35_fail(err, Q35_E_CONFIG, "%s:%d: [%s] again, first in line %d", l->name,
                                line, name, l->section_lines[i]);
            l->section_lines[i] = line;
            l->section = fixed[i];
            return Q35_OK;
        }
    if (strncmp(name, "backend", 7) == 0 && (name[7] == ' ' || name[7] == '\t'))
        return backend_begin(l, name + 7 + strspn(name + 7, " \t"), line, err);
    if (strcmp(name, "backend") == 0)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: [backend] has no name: [backend NAME]", l->name,
                        line);
    return q35_fail(err, Q35_E_CONFIG,
                    "%s:%d: unknown section [%s]; there are [q35d], [model], [backend NAME] and "
                    "[schedule]",
                    l->name, line, name);
}

static enum q35_status duplicate(const struct loader *l, const char *key, int line, int first,
                                 struct q35_error *err)
{
    return q35_fail(err, Q35_E_CONFIG, "%s:%d: %s again, first in line %d", l->name, line, key,
                    first);
}

static enum q35_status plugin_option(struct loader *l, const char *key, const char *value, int line,
                                     struct q35_error *err)
{
    struct q35_config_backend *b = l->backend;
    struct q35_kv_pair *item;
    uint32_t lines = b->option_count;
    int *slot;
    if (!name_ok(key, 63, "_-."))
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: '%.80s' is no name of an option", l->name, line,
                        key);
    for (uint32_t i = 0; i < b->option_count; i++)
        if (strcmp(b->options[i].key, key) == 0)
            return duplicate(l, key, line, b->option_lines[i], err);
    if (b->option_count == MAX_OPTIONS)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: more than %d options", l->name, line,
                        MAX_OPTIONS);
    slot = grow(&b->option_lines, &lines, sizeof(*slot));
    item = slot ? grow(&b->options, &b->option_count, sizeof(*item)) : NULL;
    if (!item || !(item->key = strdup(key)) || !(item->value = strdup(value)))
        return q35_fail(err, Q35_E_NOMEM, "%s:%d: no memory", l->name, line);
    *slot = line;
    return Q35_OK;
}

static enum q35_status check_sha256(struct loader *l, int line, struct q35_error *err)
{
    char *s = l->backend->sha256;
    if (strlen(s) != 64 || strspn(s, "0123456789abcdefABCDEF") != 64)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: sha256 has 64 hexadecimal digits", l->name,
                        line);
    for (; *s; s++)
        *s = *s >= 'A' && *s <= 'F' ? (char)(*s - 'A' + 'a') : *s;
    return Q35_OK;
}

static enum q35_status backend_pair(struct loader *l, const char *key, const char *value, int line,
                                    struct q35_error *err)
{
    size_t n = Q35_COUNT(backend_keys), i = 0;
    while (i < n && strcmp(backend_keys[i].name, key) != 0)
        i++;
    if (i == n && strcmp(key, "isolate") != 0)
        return plugin_option(l, key, value, line, err);
    if (l->backend_key_lines[i])
        return duplicate(l, key, line, l->backend_key_lines[i], err);
    l->backend_key_lines[i] = line;
    if (i == n) {
        if (!q35_parse_choice("process|none", value))
            return q35_fail(err, Q35_E_CONFIG, "%s:%d: isolate = %.80s: expected process or none",
                            l->name, line, value);
        l->backend->isolate = strcmp(value, "process") == 0;
        return Q35_OK;
    }
    if (q35_key_store(&backend_keys[i], value, l->folder, l->backend, err) != Q35_OK)
        return fail_at(l, line, err);
    return strcmp(key, "sha256") == 0 ? check_sha256(l, line, err) : Q35_OK;
}

/* layers.NAME[:DEVICE] = FIRST-LAST or a single layer */
static enum q35_status range_pair(struct loader *l, const char *key, const char *value, int line,
                                  struct q35_error *err)
{
    struct q35_config_range *r;
    char name[MAX_NAME + 16], text[32];
    char *colon, *dash;
    if (l->c->range_count == MAX_RANGES)
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: more than %d ranges", l->name, line, MAX_RANGES);
    if (strlen(key + 7) >= sizeof(name) || strlen(value) >= sizeof(text))
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: expected layers.NAME:DEVICE = FIRST-LAST",
                        l->name, line);
    r = grow(&l->c->ranges, &l->c->range_count, sizeof(*r));
    if (!r)
        return q35_fail(err, Q35_E_NOMEM, "%s:%d: no memory", l->name, line);
    r->line = line;
    strcpy(name, key + 7);
    strcpy(text, value);
    colon = strchr(name, ':');
    if (colon)
        *colon++ = '\0';
    if (!name_ok(name, MAX_NAME, "_-") || (colon && !q35_parse_u32(colon, 0, 4095, &r->device)))
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: %s: expected layers.NAME or layers.NAME:DEVICE",
                        l->name, line, key);
    r->backend = strdup(name);
    if (!r->backend)
        return q35_fail(err, Q35_E_NOMEM, "%s:%d: no memory", l->name, line);
    dash = strchr(text, '-');
    if (dash)
        *dash++ = '\0';
    if (!q35_parse_u32(text, 0, 1u << 20, &r->first) ||
        !q35_parse_u32(dash ? dash : text, r->first, 1u << 20, &r->last))
        return q35_fail(err, Q35_E_CONFIG, "%s:%d: %s = %s: expected FIRST-LAST, first <= last",
                        l->name, line, key, value);
    for (uint32_t i = 0; i + 1 < l->c->range_count; i++) {
        const struct q35_config_range *o = &l->c->ranges[i];
        r = &l->c->ranges[l->c->range_count - 1];
        if (strcmp(o->backend, r->backend) == 0 && o->device == r->device)
            return duplicate(l, key, line, o->line, err);
        if (o->first <= r->last && r->first <= o->last)
            return q35_fail(err, Q35_E_CONFIG, "%s:%d: layers %u-%u overlap those of line %d",
                            l->name, line, r->first, r->last, o->line);
    }
    return Q35_OK;
}

/* Perhaps it is misspelled, perhaps it belongs to another section. */
static enum q35_status unknown_key(const struct loader *l, const char *key, int line,
                                   struct q35_error *err)
{
    struct q35_nearest near = {0};
    char hint[96] = "";
    for (size_t i = 0; i < Q35_COUNT(keys); i++) {
        if (strcmp(keys[i].section, l->section) == 0)
            q35_nearest_try(&near, key, keys[i].name);
        else if (strcmp(keys[i].name, key) == 0)
            snprintf(hint, sizeof(hint), "; it belongs to [%s]", keys[i].section);
    }
    if (strcmp(l->section, "schedule") == 0)
        q35_nearest_try(&near, key, "layers.NAME");
    if (!hint[0])
        q35_nearest_text(&near, hint);
    return q35_fail(err, Q35_E_CONFIG, "%s:%d: unknown key '%.80s' in [%s]%s", l->name, line, key,
                    l->section, hint);
}

static enum q35_status on_pair(void *user, const char *key, const char *value, int line,
                               struct q35_error *err)
{
    struct loader *l = user;
    size_t n = strlen(value);
    if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0])
        return q35_fail(err, Q35_E_CONFIG,
                        "%s:%d: %s = %s: quotes are not needed and not taken away", l->name, line,
                        key, value);
    if (l->backend)
        return backend_pair(l, key, value, line, err);
    if (strcmp(l->section, "schedule") == 0 && strncmp(key, "layers.", 7) == 0)
        return range_pair(l, key, value, line, err);
    for (size_t i = 0; i < Q35_COUNT(keys); i++)
        if (strcmp(keys[i].section, l->section) == 0 && strcmp(keys[i].name, key) == 0) {
            if (l->key_lines[i])
                return duplicate(l, key, line, l->key_lines[i], err);
            l->key_lines[i] = line;
            if (q35_key_store(&keys[i], value, l->folder, l->c, err) != Q35_OK)
                return fail_at(l, line, err);
            return Q35_OK;
        }
    return unknown_key(l, key, line, err);
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == path ? strdup("/") : strndup(path, slash ? (size_t)(slash - path) : 0);
}

static enum q35_status set_defaults(struct q35_config *c, struct q35_error *err)
{
    for (size_t i = 0; i < Q35_COUNT(keys); i++) {
        enum q35_status st = Q35_OK;
        if (keys[i].fallback)
            st = q35_key_store(&keys[i], keys[i].fallback, "", c, err);
        if (st != Q35_OK)
            return st;
    }
    return Q35_OK;
}

/* Folders of plugin_dir and paths of plugins, relative to the INI's folder. */
static enum q35_status resolve_paths(struct loader *l, struct q35_error *err)
{
    struct q35_str s = {0};
    char *rest = l->c->plugin_dir, *part;
    for (uint32_t i = 0; i < l->c->backend_count; i++) {
        struct q35_config_backend *b = &l->c->backends[i];
        char *joined;
        if (!strchr(b->path, '/'))
            continue;
        joined = q35_path_join(l->folder, b->path);
        if (!joined)
            return q35_fail(err, Q35_E_NOMEM, "%s:%d: no memory", l->name, b->line);
        free(b->path);
        b->path = joined;
    }
    if (!rest)
        return Q35_OK;
    while ((part = strsep(&rest, ":")) != NULL) {
        char *joined = *part ? q35_path_join(l->folder, part) : NULL;
        if (joined)
            q35_str_addf(&s, "%s%s", s.len ? ":" : "", joined);
        free(joined);
    }
    if (s.failed || !s.data) {
        q35_str_fini(&s);
        return q35_fail(err, Q35_E_CONFIG, "%s: plugin_dir names no folder", l->name);
    }
    free(l->c->plugin_dir);
    l->c->plugin_dir = s.data;
    return Q35_OK;
}

static enum q35_status check_whole(struct loader *l, struct q35_error *err)
{
    enum q35_status st = backend_done(l, err);
    if (st != Q35_OK)
        return st;
    if (l->c->backend_count == 0)
        return q35_fail(err, Q35_E_CONFIG, "%s:1: there is no [backend NAME] section", l->name);
    for (uint32_t i = 0; i < l->c->range_count; i++)
        if (!q35_config_find(l->c, l->c->ranges[i].backend))
            return q35_fail(err, Q35_E_CONFIG, "%s:%d: layers.%s: there is no [backend %s]",
                            l->name, l->c->ranges[i].line, l->c->ranges[i].backend,
                            l->c->ranges[i].backend);
    return resolve_paths(l, err);
}

static enum q35_status parse(struct q35_config **out, const char *text, size_t bytes,
                             const char *name, struct q35_error *err)
{
    struct q35_error own = Q35_ERROR_INIT;
    struct loader l = {.name = name, .section = ""};
    struct q35_ini_sink sink = {&l, on_section, on_pair};
    enum q35_status st;
    err = err ? err : &own;
    *out = NULL;
    l.c = calloc(1, sizeof(*l.c));
    l.folder = folder_of(name);
    if (l.c)
        l.c->path = strdup(name);
    if (!l.c || !l.c->path || !l.folder)
        st = q35_fail(err, Q35_E_NOMEM, "%s: no memory", name);
    else
        st = set_defaults(l.c, err);
    if (st == Q35_OK)
        st = q35_ini_parse(text, bytes, name, &sink, err);
    if (st == Q35_OK)
        st = check_whole(&l, err);
    free(l.folder);
    if (st != Q35_OK)
        q35_config_free(l.c);
    else
        *out = l.c;
    return st;
}

enum q35_status q35_config_parse(struct q35_config **out, const char *text, const char *name,
                                 struct q35_error *err)
{
    return parse(out, text, strlen(text), name, err);
}

enum q35_status q35_config_load(struct q35_config **out, const char *path, struct q35_error *err)
{
    char *text;
    size_t bytes;
    enum q35_status st;
    *out = NULL;
    st = q35_file_read(path, Q35_INI_MAX_BYTES, &text, &bytes, err);
    if (st == Q35_E_FORMAT) { /* empty or too long */
        if (err)
            err->status = Q35_E_CONFIG;
        return Q35_E_CONFIG;
    }
    if (st != Q35_OK)
        return st;
    st = parse(out, text, bytes, path, err);
    free(text);
    return st;
}
