/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/request.h"

#include <string.h>
#include <strings.h>

#include "core/serve/router.h"
#include "core/serve/server.h"

static const char *const header_names[Q35_H_COUNT] = {
    [Q35_H_OTHER] = "",        [Q35_H_AUTHORIZATION] = "authorization",
    [Q35_H_ORIGIN] = "origin", [Q35_H_HOST] = "host",
    [Q35_H_EXPECT] = "expect", [Q35_H_ENCODING] = "content-encoding",
};

const char *q35_request_header(const struct q35_conn *c, enum q35_header h)
{
    if (!c->has_header[h])
        return NULL;
    return c->header[h].data ? c->header[h].data : "";
}

void q35_request_fini(struct q35_conn *c)
{
    int i;
    c->server->body_bytes -= c->body.len;
    q35_str_fini(&c->url);
    q35_str_fini(&c->body);
    q35_str_fini(&c->name);
    for (i = 0; i < Q35_H_COUNT; i++)
        q35_str_fini(&c->header[i]);
    memset(c->has_header, 0, sizeof(c->has_header));
    memset(&c->early, 0, sizeof(c->early));
    c->current = Q35_H_OTHER;
    c->header_count = c->header_bytes = 0;
    c->id = 0;
    c->logged = false;
    c->started = c->in_value = c->complete = c->has_body = c->streaming = c->chunked = false;
    c->allow = c->cors = NULL;
    c->route = NULL;
}

static int count_bytes(struct q35_conn *c, size_t n)
{
    c->header_bytes += (uint32_t)(n > Q35_HEADER_BYTES ? Q35_HEADER_BYTES + 1 : n);
    if (c->header_bytes <= Q35_HEADER_BYTES)
        return 0;
    q35_api_fail(&c->early, 431, "header_too_large", NULL, "the request's header exceeds %d bytes",
                 Q35_HEADER_BYTES);
    return -1;
}

static int on_url(http_parser *p, const char *at, size_t n)
{
    struct q35_conn *c = p->data;
    if (c->url.len + n > Q35_URL_BYTES) {
        q35_api_fail(&c->early, 414, "uri_too_long", NULL, "the URL exceeds %d bytes",
                     Q35_URL_BYTES);
        return -1;
    }
    q35_str_add(&c->url, at, n);
    return count_bytes(c, n);
}

static void next_header(struct q35_conn *c)
{
    int i;
    c->current = Q35_H_OTHER;
    for (i = 1; c->state == Q35_CONN_HEAD && i < Q35_H_COUNT; i++) /* trailers are ignored */
        if (c->name.data && strcasecmp(c->name.data, header_names[i]) == 0)
            c->current = (enum q35_header)i;
}

static int on_field(http_parser *p, const char *at, size_t n)
{
    struct q35_conn *c = p->data;
    if (c->in_value) {
        q35_str_clear(&c->name);
        c->in_value = false;
    }
    if (c->name.len == 0 && ++c->header_count > Q35_HEADERS_MAX) {
        q35_api_fail(&c->early, 431, "header_too_large", NULL, "the request has over %d headers",
                     Q35_HEADERS_MAX);
        return -1;
    }
    q35_str_add(&c->name, at, n);
    return count_bytes(c, n);
}

static int on_value(http_parser *p, const char *at, size_t n)
{
    struct q35_conn *c = p->data;
    if (!c->in_value) {
        next_header(c);
        c->in_value = true;
        if (c->current != Q35_H_OTHER && c->has_header[c->current]) {
            q35_api_fail(&c->early, 400, "bad_header", NULL, "the header %s is sent twice",
                         header_names[c->current]);
            return -1;
        }
        c->has_header[c->current] = true;
    }
    if (c->current != Q35_H_OTHER)
        q35_str_add(&c->header[c->current], at, n);
    return count_bytes(c, n);
}

/* What the header alone decides, before a byte of the body is taken. */
static void judge_header(struct q35_conn *c)
{
    const struct q35_settings *s = &c->server->settings;
    const char *expect = q35_request_header(c, Q35_H_EXPECT);
    const char *encoding = q35_request_header(c, Q35_H_ENCODING);
    if (c->parser.http_major != 1 || c->parser.http_minor > 1) {
        c->keep_alive = false;
        q35_api_fail(&c->early, 505, "http_version", NULL, "this server speaks HTTP/1.0 and 1.1");
        return;
    }
    if (c->parser.http_minor == 1 && !c->has_header[Q35_H_HOST]) {
        c->keep_alive = false;
        q35_api_fail(&c->early, 400, "bad_header", NULL, "the Host header is missing");
        return;
    }
    if (!q35_router_admit(c))
        return;
    if ((c->parser.flags & F_CONTENTLENGTH) && c->parser.content_length > s->body_bytes)
        q35_api_fail(&c->early, 413, "body_too_large", NULL, "the body exceeds %llu bytes",
                     (unsigned long long)s->body_bytes);
    else if (encoding && strcasecmp(encoding, "identity") != 0)
        q35_api_fail(&c->early, 415, "content_encoding", NULL,
                     "bodies with a Content-Encoding are not supported");
    else if (expect && strcasecmp(expect, "100-continue") != 0)
        q35_api_fail(&c->early, 417, "expectation", NULL, "the Expect header is not understood");
    else if (expect && c->has_body && c->parser.http_minor == 1)
        q35_str_addz(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
}

static int on_headers_complete(http_parser *p)
{
    struct q35_conn *c = p->data;
    c->keep_alive = http_should_keep_alive(p) && !p->upgrade;
    c->has_body = (p->flags & F_CHUNKED) || ((p->flags & F_CONTENTLENGTH) && p->content_length > 0);
    judge_header(c);
    if (c->early.status && c->has_body)
        return -1; /* refused without reading the body */
    c->state = Q35_CONN_BODY;
    c->deadline_ns = q35_now_ns() + c->server->settings.body_ns;
    return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
    struct q35_conn *c = p->data;
    struct q35_server *s = c->server;
    uint64_t most = s->settings.body_bytes;
    if (c->body.len + n > most) {
        q35_api_fail(&c->early, 413, "body_too_large", NULL, "the body exceeds %llu bytes",
                     (unsigned long long)most);
        return -1;
    }
    if (s->body_bytes + n > most * Q35_BODY_TOTAL_FACTOR) {
        s->metrics.rejected_memory++;
        q35_api_fail(&c->early, 503, "overloaded", NULL, "too much request data; try again");
        c->early.retry_after = 1;
        return -1;
    }
    q35_str_add(&c->body, at, n);
    if (c->body.failed)
        return -1;
    s->body_bytes += n;
    return 0;
}

static int on_complete(http_parser *p)
{
    struct q35_conn *c = p->data;
    c->complete = true;
    http_parser_pause(p, 1);
    return 0;
}

static const http_parser_settings callbacks = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

static void begin(struct q35_conn *c)
{
    c->started = true;
    if (c->requests++) /* the first one's time runs since the connection was accepted */
        c->deadline_ns = q35_now_ns() + c->server->settings.header_ns;
    c->keep_alive = true;
    c->id = q35_server_next_id(c->server);
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
}

/* The parser gave up, or one of our limits made it. */
static void refuse(struct q35_conn *c)
{
    enum http_errno code = HTTP_PARSER_ERRNO(&c->parser);
    if (!c->early.status) {
        if (code == HPE_HEADER_OVERFLOW)
            q35_api_fail(&c->early, 431, "header_too_large", NULL,
                         "the request's header exceeds %d bytes", Q35_HEADER_BYTES);
        else
            q35_api_fail(&c->early, 400, "bad_request", NULL, "not a valid HTTP request: %s",
                         http_errno_description(code));
    }
    c->keep_alive = false;
    c->state = Q35_CONN_BUSY;
    q35_conn_error(c, &c->early);
}

size_t q35_request_feed(struct q35_conn *c, const char *data, size_t len)
{
    size_t used;
    if (!c->started)
        begin(c);
    used = http_parser_execute(&c->parser, &callbacks, data, len);
    if (c->complete) {
        c->state = Q35_CONN_BUSY;
        c->deadline_ns = 0;
        if (c->early.status)
            q35_conn_error(c, &c->early);
        else
            q35_router_dispatch(c);
        return used;
    }
    if (HTTP_PARSER_ERRNO(&c->parser) != HPE_OK) {
        refuse(c);
        return len;
    }
    return used;
}
