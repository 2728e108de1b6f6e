/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/serve/conn.h"
#include "core/serve/server.h"
#include "core/serve/tls.h"

/* Output that the socket did not take at once; owns its text. */
struct pending_write {
    uv_write_t req;
    struct q35_conn *conn;
    char *data;
};

static void on_written(uv_write_t *req, int status)
{
    struct pending_write *w = req->data;
    struct q35_conn *c = w->conn;
    free(w->data);
    free(w);
    if (c->state == Q35_CONN_CLOSED)
        return;
    c->progress_ns = q35_now_ns();
    if (status < 0)
        q35_conn_close(c);
    else if (c->in.len && c->state < Q35_CONN_BUSY)
        q35_conn_pump(c); /* it had to wait for room in the output */
}

/* Hands `out` from `done` on to libuv. */
static void queue_write(struct q35_conn *c, struct q35_str *out, size_t done)
{
    struct pending_write *w = malloc(sizeof(*w));
    uv_buf_t buf;
    if (!w) {
        q35_conn_close(c);
        return;
    }
    buf = uv_buf_init(out->data + done, (unsigned)(out->len - done));
    w->data = out->data;
    w->conn = c;
    w->req.data = w;
    memset(out, 0, sizeof(*out));
    if (uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp) == 0)
        c->progress_ns = q35_now_ns();
    if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0) {
        free(w->data);
        free(w);
        q35_conn_close(c);
    }
}

void q35_conn_flush(struct q35_conn *c)
{
    uv_stream_t *stream = (uv_stream_t *)&c->tcp;
    struct q35_str *out = c->tls ? &c->wire : &c->out;
    size_t done = 0;
    if (c->state == Q35_CONN_CLOSED)
        return;
    if ((c->tls && !q35_tls_write(c->tls, &c->out, &c->wire)) || out->failed ||
        out->len > UINT32_MAX) {
        q35_conn_close(c);
        return;
    }
    if (out->len == 0)
        return;
    if (uv_stream_get_write_queue_size(stream) == 0) {
        uv_buf_t buf = uv_buf_init(out->data, (unsigned)out->len);
        int n = uv_try_write(stream, &buf, 1);
        if (n < 0 && n != UV_EAGAIN) {
            q35_conn_close(c);
            return;
        }
        done = n > 0 ? (size_t)n : 0;
    }
    if (done == out->len)
        q35_str_clear(out); /* a stream keeps its buffers */
    else
        queue_write(c, out, done);
    if (!c->streaming) {
        q35_str_fini(&c->out);
        q35_str_fini(&c->wire);
    }
}

/* RFC 9110, 5.6.7; the locale is never set, so names are English. */
static void add_date(struct q35_conn *c)
{
    char text[64];
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm) && strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm))
        q35_str_addf(&c->out, "Date: %s\r\n", text);
}

static void add_head(struct q35_conn *c, int status, const char *type, const char *extra)
{
    bool keep = c->keep_alive && c->server->phase < Q35_PHASE_DRAINING;
    c->keep_alive = keep;
    if (!c->id)
        c->id = q35_server_next_id(c->server);
    if (status < (int)Q35_COUNT(c->server->metrics.http_codes))
        c->server->metrics.http_codes[status]++;
    q35_str_addf(&c->out, "HTTP/1.1 %d %s\r\nServer: q35d\r\nConnection: %s\r\n", status,
                 q35_http_reason(status), keep ? "keep-alive" : "close");
    add_date(c);
    q35_str_addf(&c->out, "X-Request-Id: %016llx\r\n", (unsigned long long)c->id);
    if (type)
        q35_str_addf(&c->out, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", type);
    if (c->cors)
        q35_str_addf(&c->out,
                     "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n"
                     "Access-Control-Expose-Headers: X-Request-Id, Retry-After\r\n",
                     c->cors);
    q35_str_addz(&c->out, extra);
}

void q35_conn_reply(struct q35_conn *c, int status, const char *type, const char *extra,
                    const char *body, size_t len)
{
    if (c->state == Q35_CONN_CLOSED)
        return;
    add_head(c, status, type, extra);
    q35_access_answer(c, status);
    if (status != 204)
        q35_str_addf(&c->out, "Content-Length: %zu\r\n", len);
    q35_str_addz(&c->out, "\r\n");
    if (!q35_conn_is_head(c))
        q35_str_add(&c->out, body, len);
    q35_conn_done(c);
    q35_conn_pump(c);
}

void q35_conn_reply_str(struct q35_conn *c, const char *type, struct q35_str *body)
{
    struct q35_api_error e;
    if (!body->failed) {
        q35_conn_reply(c, 200, type, "", body->data ? body->data : "", body->len);
    } else {
        q35_api_fail(&e, 500, NULL, NULL, "out of memory");
        q35_conn_error(c, &e);
    }
    q35_str_fini(body);
}

void q35_conn_error(struct q35_conn *c, const struct q35_api_error *e)
{
    struct q35_str body = {0}, extra = {0};
    if (!c->id)
        c->id = q35_server_next_id(c->server);
    q35_access_error(c, e);
    q35_api_error_json(e, &body);
    if (e->retry_after)
        q35_str_addf(&extra, "Retry-After: %u\r\n", e->retry_after);
    if (e->status == 401) /* the page is for browsers, which ask for a Basic password */
        q35_str_addf(&extra, "WWW-Authenticate: %s realm=\"q35\"\r\n",
                     c->url.data && strcmp(c->url.data, "/") == 0 ? "Basic" : "Bearer");
    if (e->status == 405)
        q35_str_addf(&extra, "Allow: %s%s\r\n", c->allow,
                     strcmp(c->allow, "GET") == 0 ? ", HEAD" : "");
    if (body.failed || extra.failed)
        q35_conn_close(c);
    else
        q35_conn_reply(c, e->status, "application/json", extra.data ? extra.data : "", body.data,
                       body.len);
    q35_str_fini(&body);
    q35_str_fini(&extra);
}

void q35_conn_stream_ping(struct q35_conn *c)
{
    q35_conn_stream_data(c, ": still here\n\n", 14);
    q35_conn_flush(c);
}

void q35_conn_stream_begin(struct q35_conn *c)
{
    c->streaming = true;
    c->chunked = c->parser.http_minor >= 1;
    if (!c->chunked)
        c->keep_alive = false;
    c->deadline_ns = 0;
    c->spoken_ns = q35_now_ns();
    add_head(c, 200, "text/event-stream", "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n");
    q35_str_addz(&c->out, c->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    q35_server_mark_dirty(c->server, c);
}

void q35_conn_stream_data(struct q35_conn *c, const char *data, size_t len)
{
    size_t unsent;
    if (c->state == Q35_CONN_CLOSED || len == 0)
        return;
    unsent = c->out.len + uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    if (unsent > Q35_STREAM_BYTES) {
        c->server->metrics.stalled++;
        q35_log(Q35_LOG_INFO, "dropped a client that does not read its stream");
        q35_conn_close(c);
        return;
    }
    c->spoken_ns = q35_now_ns();
    if (c->chunked)
        q35_str_addf(&c->out, "%zx\r\n", len);
    q35_str_add(&c->out, data, len);
    if (c->chunked)
        q35_str_add(&c->out, "\r\n", 2);
    q35_server_mark_dirty(c->server, c);
}

void q35_conn_stream_end(struct q35_conn *c)
{
    if (c->state == Q35_CONN_CLOSED)
        return;
    if (c->chunked)
        q35_str_addz(&c->out, "0\r\n\r\n");
    c->streaming = false;
    q35_conn_flush(c);
    q35_conn_done(c);
    q35_conn_pump(c);
}
