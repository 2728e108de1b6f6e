/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/router.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/serve/request.h"
#include "core/serve/server.h"

static void handle_preflight(struct q35_conn *c);

static const struct q35_route routes[] = {
    {"GET", "/health", true, q35_handle_health},
    {"GET", "/ready", true, q35_handle_ready},
    {"GET", "/metrics", false, q35_handle_metrics},
    {"GET", "/v1/models", false, q35_handle_models},
    {"GET", "/v1/models/*", false, q35_handle_model},
    {"POST", "/v1/completions", false, q35_handle_completions},
    {"POST", "/v1/chat/completions", false, q35_handle_chat},
    {"GET", "/q35/status", false, q35_handle_status},
    {"GET", "/", false, q35_handle_page},
};
static const struct q35_route preflight = {"OPTIONS", "*", true, handle_preflight};

/* The path within what was asked for, which may be a whole URL (RFC 9112, 3.2.2). */
static const char *path_of(const struct q35_conn *c)
{
    const char *url = c->url.data ? c->url.data : "", *host = url;
    if (strncasecmp(url, "http://", 7) == 0)
        host = url + 7;
    else if (strncasecmp(url, "https://", 8) == 0)
        host = url + 8;
    return host == url ? url : host + strcspn(host, "/?#");
}

static size_t path_len(const struct q35_conn *c)
{
    return strcspn(path_of(c), "?#");
}

static bool path_matches(const struct q35_conn *c, const char *pattern)
{
    size_t n = path_len(c), m = strlen(pattern);
    if (m > 1 && pattern[m - 1] == '*')
        return n >= m && memcmp(path_of(c), pattern, m - 1) == 0;
    return n == m && memcmp(path_of(c), pattern, m) == 0;
}

bool q35_conn_is_head(const struct q35_conn *c)
{
    return c->complete && c->parser.method == HTTP_HEAD;
}

static bool method_matches(const struct q35_conn *c, const char *method)
{
    const char *m = http_method_str((enum http_method)c->parser.method);
    return strcmp(m, method) == 0 || (strcmp(m, "HEAD") == 0 && strcmp(method, "GET") == 0);
}

static void find_route(struct q35_conn *c)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(routes); i++) {
        if (!path_matches(c, routes[i].path))
            continue;
        c->allow = routes[i].method;
        if (method_matches(c, routes[i].method))
            c->route = &routes[i];
    }
}

/* An address or localhost, with or without a port. */
static bool is_literal_host(const char *host)
{
    size_t n = strcspn(host, ":");
    return host[0] == '[' || strspn(host, "0123456789.") >= n ||
           (n == 9 && strncasecmp(host, "localhost", 9) == 0);
}

/* "http://HOST" where HOST is what the request was sent to: our own page. A name proves nothing if
 * nobody needs a key, its owner may have pointed it at this machine. */
static bool same_origin(const struct q35_conn *c, const char *origin)
{
    const char *host = strstr(origin, "://");
    const char *ours = q35_request_header(c, Q35_H_HOST);
    return host && ours && strcasecmp(host + 3, ours) == 0 &&
           (c->server->settings.key_count || is_literal_host(ours));
}

/* A page of another site must not use us through somebody's browser. */
static bool admit_origin(struct q35_conn *c)
{
    const char *origin = q35_request_header(c, Q35_H_ORIGIN);
    if (!origin)
        return true;
    if (q35_settings_origin_allowed(&c->server->settings, origin)) {
        c->cors = origin;
        return true;
    }
    if (c->parser.method == HTTP_GET || c->parser.method == HTTP_HEAD || same_origin(c, origin))
        return true;
    return q35_api_fail(&c->early, 403, "origin_not_allowed", NULL,
                        "this origin is not in cors_origins");
}

bool q35_router_admit(struct q35_conn *c)
{
    struct q35_server *s = c->server;
    find_route(c);
    if (!admit_origin(c))
        return false;
    if (c->parser.method == HTTP_OPTIONS && c->cors) {
        c->route = &preflight;
        return true;
    }
    if (!(c->route && c->route->open) &&
        !q35_settings_authorized(&s->settings, q35_request_header(c, Q35_H_AUTHORIZATION))) {
        s->metrics.rejected_auth++;
        return q35_api_fail(&c->early, 401, "invalid_api_key", NULL,
                            "a valid API key is needed: Authorization: Bearer KEY");
    }
    if (c->route)
        return true;
    if (c->allow)
        return q35_api_fail(&c->early, 405, "method_not_allowed", NULL,
                            "%s is not allowed here, only %s",
                            http_method_str((enum http_method)c->parser.method), c->allow);
    return q35_api_fail(&c->early, 404, "unknown_url", NULL,
                        "nothing here: %.*s; this server has /v1/chat/completions, "
                        "/v1/completions and /v1/models",
                        (int)(path_len(c) < 200 ? path_len(c) : 200), path_of(c));
}

void q35_router_dispatch(struct q35_conn *c)
{
    c->route->handle(c);
}

static void handle_preflight(struct q35_conn *c)
{
    q35_conn_reply(c, 204, NULL,
                   "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
                   "Access-Control-Allow-Headers: Authorization, Content-Type, *\r\n"
                   "Access-Control-Max-Age: 600\r\n",
                   "", 0);
}

bool q35_router_tail(const struct q35_conn *c, struct q35_str *out)
{
    size_t i, n = path_len(c);
    for (i = strlen(c->route->path) - 1; i < n; i++) {
        const char *p = path_of(c) + i;
        char hex[3] = {0}, byte;
        if (*p != '%') {
            q35_str_add(out, p, 1);
            continue;
        }
        if (n - i < 3 || !isxdigit((unsigned char)p[1]) || !isxdigit((unsigned char)p[2]))
            return false;
        memcpy(hex, p + 1, 2);
        byte = (char)strtoul(hex, NULL, 16);
        if (!byte)
            return false;
        q35_str_add(out, &byte, 1);
        i += 2;
    }
    return !out->failed;
}
