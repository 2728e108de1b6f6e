/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/conn.h"

#include <stdlib.h>
#include <string.h>

#include "core/serve/job.h"
#include "core/serve/request.h"
#include "core/serve/server.h"
#include "core/serve/tls.h"

#include <openssl/ssl.h>

#define LINGER_NS 2000000000ull

static void on_closed(uv_handle_t *h)
{
    struct q35_conn *c = h->data;
    struct q35_server *s = c->server;
    q35_request_fini(c);
    q35_str_fini(&c->in);
    q35_str_fini(&c->out);
    q35_str_fini(&c->wire);
    SSL_free(c->tls);
    free(c);
    q35_server_maybe_stop(s);
}

void q35_conn_close(struct q35_conn *c)
{
    struct q35_server *s = c->server;
    if (c->state == Q35_CONN_CLOSED)
        return;
    c->state = Q35_CONN_CLOSED;
    if (c->job)
        q35_job_abandon(c->job);
    c->job = NULL;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->conn_count--;
    q35_server_unmark(s, c);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct q35_conn *c = req->data;
    if (c->state == Q35_CONN_CLOSED)
        return;
    if (status < 0 || c->eof) {
        q35_conn_close(c);
        return;
    }
    /* closing now, with the client still sending, could destroy the answer on its way */
    c->state = Q35_CONN_LINGER;
    c->deadline_ns = q35_now_ns() + LINGER_NS;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct q35_conn *c = h->data;
    (void)suggested;
    *buf = uv_buf_init(c->server->read_buffer, sizeof(c->server->read_buffer));
}

static void read_start(struct q35_conn *c)
{
    if (!c->reading && !c->eof)
        c->reading = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) == 0;
}

static void read_stop(struct q35_conn *c)
{
    uv_read_stop((uv_stream_t *)&c->tcp);
    c->reading = false;
}

void q35_conn_finish(struct q35_conn *c)
{
    if (c->state >= Q35_CONN_CLOSING)
        return;
    q35_conn_flush(c);
    if (c->tls && c->state != Q35_CONN_CLOSED) {
        SSL_shutdown(c->tls); /* the client must see that this end is the answer's */
        q35_conn_flush(c);
    }
    if (c->state == Q35_CONN_CLOSED)
        return;
    c->state = Q35_CONN_CLOSING;
    c->deadline_ns = 0; /* from here the rule for stalled readers applies */
    c->shutdown.data = c;
    read_start(c);
    if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0)
        q35_conn_close(c);
}

void q35_conn_done(struct q35_conn *c)
{
    struct q35_server *s = c->server;
    if (c->state == Q35_CONN_CLOSED)
        return;
    c->job = NULL;
    if (!c->keep_alive || c->eof || s->phase >= Q35_PHASE_DRAINING) {
        q35_conn_finish(c);
        return;
    }
    q35_request_fini(c);
    c->state = Q35_CONN_HEAD; /* the caller pumps */
    c->deadline_ns = q35_now_ns() + s->settings.idle_ns;
}

/* The client has ended its side: whoever sends a request and then hangs up has left. */
static void on_eof(struct q35_conn *c)
{
    c->eof = true;
    read_stop(c);
    if (c->job || c->state == Q35_CONN_LINGER)
        q35_conn_close(c);
    else if (c->state < Q35_CONN_CLOSING)
        q35_conn_finish(c);
}

/* A client that speaks HTTP to a port of HTTPS is told so, in its own tongue. */
static void refuse_plain(struct q35_conn *c)
{
    struct q35_api_error e;
    SSL_free(c->tls);
    c->tls = NULL;
    c->keep_alive = false;
    c->state = Q35_CONN_BUSY;
    q35_api_fail(&e, 400, "https_needed", NULL, "this port speaks HTTPS, not HTTP");
    q35_conn_error(c, &e);
}

static void take_encrypted(struct q35_conn *c, const char *data, size_t n)
{
    const char *why;
    enum q35_tls_result r = q35_tls_read(c->tls, data, n, &c->in, &why);
    if (r == Q35_TLS_OK || r == Q35_TLS_END) {
        q35_conn_pump(c);
        if (r == Q35_TLS_END && c->state != Q35_CONN_CLOSED)
            on_eof(c);
        return;
    }
    c->server->metrics.rejected_tls++;
    q35_log(Q35_LOG_INFO, "TLS: %s", why);
    if (r == Q35_TLS_HTTP)
        refuse_plain(c);
    else if (c->state == Q35_CONN_HEAD)
        q35_conn_finish(c); /* with the alert */
    else
        q35_conn_close(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct q35_conn *c = stream->data;
    if (c->state == Q35_CONN_CLOSED || n == 0)
        return;
    if (n == UV_EOF) {
        on_eof(c);
        return;
    }
    if (n < 0) {
        q35_conn_close(c);
        return;
    }
    if (c->state >= Q35_CONN_CLOSING)
        return;
    if (c->tls) {
        take_encrypted(c, buf->base, (size_t)n);
        return;
    }
    q35_str_add(&c->in, buf->base, (size_t)n);
    if (c->in.failed) {
        q35_conn_close(c);
        return;
    }
    q35_conn_pump(c);
}

/* A client that sends requests but reads no answers gets no further ones. */
static bool output_full(const struct q35_conn *c)
{
    return c->out.len + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp) >
           Q35_PIPELINE_OUT_BYTES;
}

/* One step of parsing; false if there is nothing more to do now. */
static bool pump_once(struct q35_conn *c)
{
    if (c->state > Q35_CONN_BODY || c->in_at == c->in.len)
        return false;
    if (output_full(c)) {
        q35_conn_flush(c);
        if (c->state == Q35_CONN_CLOSED || output_full(c))
            return false;
    }
    c->in_at += q35_request_feed(c, c->in.data + c->in_at, c->in.len - c->in_at);
    return true;
}

static void keep_rest(struct q35_conn *c)
{
    size_t rest = c->in.len - c->in_at;
    if (rest == 0) {
        q35_str_fini(&c->in); /* idle connections hold no memory */
        c->in_at = 0;
        read_start(c);
        return;
    }
    memmove(c->in.data, c->in.data + c->in_at, rest);
    c->in.len = rest;
    c->in_at = 0;
    if (rest > Q35_PIPELINE_BYTES)
        read_stop(c);
}

void q35_conn_pump(struct q35_conn *c)
{
    if (c->pumping || c->state == Q35_CONN_CLOSED)
        return;
    c->pumping = true; /* answering at once comes back here: loop, don't recurse */
    while (pump_once(c))
        ;
    c->pumping = false;
    if (c->state == Q35_CONN_CLOSED)
        return;
    keep_rest(c);
    q35_conn_flush(c);
}

bool q35_conn_is_idle(const struct q35_conn *c)
{
    return c->state == Q35_CONN_HEAD && !c->started;
}

static void check_stall(struct q35_conn *c, uint64_t now)
{
    size_t queue = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    if (queue == 0 || queue < c->last_queue)
        c->progress_ns = now;
    c->last_queue = queue;
    if (queue && now - c->progress_ns > c->server->settings.stall_ns) {
        c->server->metrics.stalled++;
        q35_log(Q35_LOG_INFO, "dropped a client that does not read");
        q35_conn_close(c);
    }
}

void q35_conn_check(struct q35_conn *c, uint64_t now)
{
    struct q35_api_error e;
    check_stall(c, now);
    if (c->state == Q35_CONN_BUSY && c->streaming &&
        now - c->spoken_ns > c->server->settings.stall_ns / 2)
        q35_conn_stream_ping(c);
    if (c->state == Q35_CONN_CLOSED || !c->deadline_ns || now < c->deadline_ns)
        return;
    if (c->state == Q35_CONN_LINGER || !c->started) {
        q35_conn_close(c);
        return;
    }
    if (c->state > Q35_CONN_BODY)
        return;
    c->keep_alive = false;
    q35_api_fail(&e, 408, "request_timeout", NULL, "the request took too long to arrive");
    q35_conn_error(c, &e);
}

/* Room for a newcomer: an idle connection gives way, the one that waits longest. */
static bool make_room(struct q35_server *s)
{
    struct q35_conn *c, *oldest = NULL;
    if (s->conn_count < s->settings.max_connections)
        return true;
    for (c = s->conns; c; c = c->next)
        if (q35_conn_is_idle(c) && (!oldest || c->deadline_ns < oldest->deadline_ns))
            oldest = c;
    if (oldest)
        q35_conn_close(oldest);
    return oldest != NULL;
}

static void note_peer(struct q35_conn *c)
{
    struct sockaddr_storage addr;
    int len = (int)sizeof(addr);
    strcpy(c->peer, "-");
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&addr, &len) != 0)
        return;
    if (addr.ss_family == AF_INET6)
        uv_ip6_name((struct sockaddr_in6 *)&addr, c->peer, sizeof(c->peer));
    else
        uv_ip4_name((struct sockaddr_in *)&addr, c->peer, sizeof(c->peer));
}

void q35_conn_accept(struct q35_server *s, uv_stream_t *listener)
{
    struct q35_conn *c = calloc(1, sizeof(*c));
    bool room = make_room(s);
    if (!c)
        return;
    c->server = s;
    if (uv_tcp_init(&s->loop, &c->tcp) != 0) {
        free(c);
        return;
    }
    c->tcp.data = c;
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->conn_count++;
    s->metrics.connections_total++;
    if (s->settings.tls)
        c->tls = q35_tls_create(s->settings.tls);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 || (s->settings.tls && !c->tls)) {
        q35_conn_close(c);
        return;
    }
    note_peer(c);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, 60);
    c->progress_ns = q35_now_ns();
    c->deadline_ns = c->progress_ns + s->settings.header_ns;
    if (!room) {
        struct q35_api_error e;
        s->metrics.rejected_connections++;
        if (c->tls) { /* it would have to be shaken hands with first */
            q35_conn_close(c);
            return;
        }
        q35_api_fail(&e, 503, "too_many_connections", NULL, "too many connections; try again");
        e.retry_after = 1;
        c->state = Q35_CONN_BUSY;
        q35_conn_error(c, &e);
        q35_conn_flush(c);
        return;
    }
    read_start(c);
}
