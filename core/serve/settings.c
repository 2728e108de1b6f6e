/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/ssl.h>

#include "core/config/keys.h"
#include "core/serve/auth.h"
#include "core/serve/tls.h"

#define SECOND 1000000000ull

static enum q35_status parse_level(const char *name, int *level, struct q35_error *err)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    size_t i;
    for (i = 0; i < Q35_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *level = (int)i;
            return Q35_OK;
        }
    return q35_fail(err, Q35_E_CONFIG, "log_level must be error, warning, info or debug, not '%s'",
                    name);
}

static bool origin_ok(const char *o)
{
    const char *host = strstr(o, "://");
    return strcmp(o, "*") == 0 || (host && host != o && host[3] && !strchr(host + 3, '/'));
}

static enum q35_status parse_origins(struct q35_settings *s, const char *text,
                                     struct q35_error *err)
{
    char *p, *save = NULL;
    size_t most = 1;
    const char *c;
    if (!text || !*text)
        return Q35_OK;
    for (c = text; *c; c++)
        most += *c == ',' || *c == ' ';
    s->origins = strdup(text);
    s->origin = calloc(most, sizeof(*s->origin));
    if (!s->origins || !s->origin)
        return q35_fail(err, Q35_E_NOMEM, "no memory for CORS origins");
    for (p = strtok_r(s->origins, ", \t", &save); p; p = strtok_r(NULL, ", \t", &save)) {
        if (!origin_ok(p))
            return q35_fail(err, Q35_E_CONFIG,
                            "cors_origins: '%s' is not * or scheme://host[:port]", p);
        s->any_origin |= strcmp(p, "*") == 0;
        s->origin[s->origin_count++] = p;
    }
    return Q35_OK;
}

enum q35_status q35_settings_load(struct q35_settings *s, const struct q35_config *c,
                                  struct q35_error *err)
{
    enum q35_status st;
    memset(s, 0, sizeof(*s));
    s->header_ns = c->header_seconds * SECOND;
    s->body_ns = c->body_seconds * SECOND;
    s->idle_ns = c->idle_seconds * SECOND;
    s->stall_ns = c->stall_seconds * SECOND;
    s->drain_ns = c->drain_seconds * SECOND;
    s->body_bytes = (uint64_t)c->max_body_kib << 10;
    s->max_connections = c->max_connections;
    s->max_queue = c->max_queue;
    s->log_level = Q35_LOG_INFO;
    st = c->log_level ? parse_level(c->log_level, &s->log_level, err) : Q35_OK;
    if (st == Q35_OK)
        st = parse_origins(s, c->cors_origins, err);
    if (st == Q35_OK && c->api_key_file)
        st = q35_auth_load(s, c->api_key_file, err);
    if (st == Q35_OK && (c->tls_cert || c->tls_key))
        st = q35_tls_load(&s->tls, c->tls_cert, c->tls_key, err);
    if (st != Q35_OK)
        q35_settings_fini(s);
    return st;
}

void q35_settings_fini(struct q35_settings *s)
{
    SSL_CTX_free(s->tls);
    free(s->keys);
    free(s->origins);
    free(s->origin);
    memset(s, 0, sizeof(*s));
}

bool q35_settings_origin_allowed(const struct q35_settings *s, const char *origin)
{
    size_t i;
    if (s->any_origin)
        return true;
    for (i = 0; i < s->origin_count; i++)
        if (strcasecmp(s->origin[i], origin) == 0)
            return true;
    return false;
}

bool q35_host_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

/* Keys of [q35d] that a reload applies; all others are read at start only. */
static const char *const live[] = {
    "api_key_file",  "tls_cert",        "tls_key",      "cors_origins",
    "drain_seconds", "header_seconds",  "body_seconds", "idle_seconds",
    "stall_seconds", "max_connections", "max_body_kib", "log_level",
};

static bool applies_at_once(const struct q35_key *key)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(live); i++)
        if (strcmp(key->section, "q35d") == 0 && strcmp(key->name, live[i]) == 0)
            return true;
    return false;
}

static bool text_differs(const char *a, const char *b)
{
    return (a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0);
}

static bool key_differs(const struct q35_key *key, const void *a, const void *b)
{
    const char *x = (const char *)a + key->offset, *y = (const char *)b + key->offset;
    if (key->type == Q35_KEY_U32)
        return memcmp(x, y, sizeof(uint32_t)) != 0;
    if (key->type == Q35_KEY_BOOL)
        return memcmp(x, y, sizeof(bool)) != 0;
    return text_differs(*(char *const *)(const void *)x, *(char *const *)(const void *)y);
}

static bool backend_differs(const struct q35_config_backend *x, const struct q35_config_backend *y)
{
    uint32_t k;
    if (text_differs(x->name, y->name) || text_differs(x->path, y->path) ||
        text_differs(x->sha256, y->sha256) || x->required != y->required ||
        x->isolate != y->isolate || x->hang_seconds != y->hang_seconds ||
        x->require_certificate != y->require_certificate || x->option_count != y->option_count)
        return true;
    for (k = 0; k < x->option_count; k++)
        if (text_differs(x->options[k].key, y->options[k].key) ||
            text_differs(x->options[k].value, y->options[k].value))
            return true;
    return false;
}

static bool ranges_differ(const struct q35_config *a, const struct q35_config *b)
{
    uint32_t i;
    if (a->range_count != b->range_count)
        return true;
    for (i = 0; i < a->range_count; i++) {
        const struct q35_config_range *x = &a->ranges[i], *y = &b->ranges[i];
        if (strcmp(x->backend, y->backend) != 0 || x->device != y->device || x->first != y->first ||
            x->last != y->last)
            return true;
    }
    return false;
}

static void add_name(struct q35_str *names, const char *section, const char *name)
{
    q35_str_addf(names, "%s[%s] %s", names->len ? ", " : "", section, name);
}

void q35_settings_need_restart(const struct q35_config *now, const struct q35_config *next,
                               struct q35_str *names)
{
    uint32_t i, count;
    const struct q35_key *keys = q35_config_keys(&count);
    for (i = 0; i < count; i++)
        if (!applies_at_once(&keys[i]) && key_differs(&keys[i], now, next))
            add_name(names, keys[i].section, keys[i].name);
    for (i = 0; i < now->backend_count || i < next->backend_count; i++)
        if (i >= next->backend_count)
            add_name(names, "backend", now->backends[i].name);
        else if (i >= now->backend_count || backend_differs(&now->backends[i], &next->backends[i]))
            add_name(names, "backend", next->backends[i].name);
    if (ranges_differ(now, next))
        add_name(names, "schedule", "layers");
}
