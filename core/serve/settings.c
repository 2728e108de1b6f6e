/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/ssl.h>

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

static void text_differs(const char *a, const char *b, const char *name, struct q35_str *names)
{
    if ((a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0))
        q35_str_addf(names, "%s%s", names->len ? ", " : "", name);
}

static void number_differs(uint32_t a, uint32_t b, const char *name, struct q35_str *names)
{
    if (a != b)
        q35_str_addf(names, "%s%s", names->len ? ", " : "", name);
}

static bool backends_differ(const struct q35_config *a, const struct q35_config *b)
{
    uint32_t i, k;
    if (a->backend_count != b->backend_count)
        return true;
    for (i = 0; i < a->backend_count; i++) {
        const struct q35_config_backend *x = &a->backends[i], *y = &b->backends[i];
        if (strcmp(x->name, y->name) != 0 || strcmp(x->path, y->path) != 0 ||
            x->option_count != y->option_count || x->isolate != y->isolate)
            return true;
        for (k = 0; k < x->option_count; k++)
            if (strcmp(x->options[k].key, y->options[k].key) != 0 ||
                strcmp(x->options[k].value, y->options[k].value) != 0)
                return true;
    }
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

void q35_settings_need_restart(const struct q35_config *now, const struct q35_config *next,
                               struct q35_str *names)
{
    text_differs(now->host, next->host, "host", names);
    number_differs(now->port, next->port, "port", names);
    number_differs(now->max_queue, next->max_queue, "max_queue", names);
    text_differs(now->model_path, next->model_path, "[model] path", names);
    text_differs(now->model_name, next->model_name, "[model] name", names);
    number_differs(now->context, next->context, "[model] context", names);
    text_differs(now->plugin_dir, next->plugin_dir, "[schedule] plugin_dir", names);
    text_differs(now->objective, next->objective, "[schedule] objective", names);
    number_differs(now->max_batch, next->max_batch, "[schedule] max_batch", names);
    number_differs(now->max_sequences, next->max_sequences, "[schedule] max_sequences", names);
    number_differs(now->kv_tokens, next->kv_tokens, "[schedule] kv_tokens", names);
    text_differs(now->kv_type, next->kv_type, "[schedule] kv_type", names);
    text_differs(now->draft, next->draft, "[schedule] draft", names);
    number_differs(now->draft_tokens, next->draft_tokens, "[schedule] draft_tokens", names);
    number_differs(backends_differ(now, next), 0, "[backend ...]", names);
    number_differs(ranges_differ(now, next), 0, "[schedule] layers", names);
}
