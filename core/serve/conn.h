/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_CONN_H
#define Q35_SERVE_CONN_H

/* One HTTP/1.x connection. Requests are answered one after another; bytes of a pipelined one wait,
 * bounded. Everything here runs on the loop's thread. */

#include <http_parser.h>
#include <openssl/types.h>
#include <uv.h>

#include "core/base/base.h"
#include "core/serve/api_error.h"

struct q35_server;
struct q35_job;

enum q35_conn_state {
    Q35_CONN_HEAD,    /* idle, or a request's header is arriving */
    Q35_CONN_BODY,    /* its body is arriving */
    Q35_CONN_BUSY,    /* it is being answered */
    Q35_CONN_CLOSING, /* the last answer is being written */
    Q35_CONN_LINGER,  /* it is written; the rest of what the client sends is thrown away */
    Q35_CONN_CLOSED
};

enum q35_header {
    Q35_H_OTHER,
    Q35_H_AUTHORIZATION,
    Q35_H_ORIGIN,
    Q35_H_HOST,
    Q35_H_EXPECT,
    Q35_H_ENCODING,
    Q35_H_COUNT
};

struct q35_conn {
    struct q35_server *server;
    struct q35_conn *prev, *next, *next_dirty;
    uv_tcp_t tcp;
    uv_shutdown_t shutdown;
    SSL *tls; /* NULL: what the socket carries is HTTP itself */
    http_parser parser;
    enum q35_conn_state state;
    uint64_t deadline_ns; /* for what the state waits for; 0: none */
    /* the request */
    struct q35_str url, body, name;     /* name: of the header being read */
    struct q35_str header[Q35_H_COUNT]; /* values; [Q35_H_OTHER] is not kept */
    bool has_header[Q35_H_COUNT];
    enum q35_header current;
    uint32_t header_count, header_bytes, requests;
    uint64_t id;   /* of the request, in the answer's header and in the log; 0: none yet */
    char peer[48]; /* the client's address */
    bool logged;   /* the request has its line in the log */
    bool started, in_value, keep_alive, complete, has_body;
    struct q35_api_error early; /* status != 0: what the header alone already decided */
    const char *allow;          /* methods, for 405 */
    const char *cors;           /* the allowed Origin, for the answer's header; NULL: none */
    const struct q35_route *route;
    struct q35_job *job; /* answering */
    /* input not parsed yet */
    struct q35_str in;
    size_t in_at;
    bool pumping, reading, eof;
    /* output */
    struct q35_str out, wire; /* wire: out, encrypted */
    bool streaming, chunked, dirty;
    size_t last_queue;
    uint64_t progress_ns; /* when output last moved */
    uint64_t spoken_ns;   /* when a stream was last given something to say */
};

/* Takes the next connection from a listener. */
void q35_conn_accept(struct q35_server *s, uv_stream_t *listener);
/* At once; a job it had is abandoned. */
void q35_conn_close(struct q35_conn *c);
/* Once what is queued has been written. */
void q35_conn_finish(struct q35_conn *c);
/* Timeouts and stalled readers; called a few times a second. */
void q35_conn_check(struct q35_conn *c, uint64_t now);
/* No request has begun on it. */
bool q35_conn_is_idle(const struct q35_conn *c);
/* True if the method is HEAD: no body goes out. */
bool q35_conn_is_head(const struct q35_conn *c);
/* The request is answered: on to the next, or close. */
void q35_conn_done(struct q35_conn *c);
/* Parses what has arrived while it was busy. */
void q35_conn_pump(struct q35_conn *c);

/* ---- the log (access.c) ---- */

/* An answer that is no generation, one that is an error. */
void q35_access_answer(const struct q35_conn *c, int status);
void q35_access_error(struct q35_conn *c, const struct q35_api_error *e);

/* ---- answers (response.c) ---- */

/* A whole answer. extra: further header lines, each with CRLF, or "". */
void q35_conn_reply(struct q35_conn *c, int status, const char *type, const char *extra,
                    const char *body, size_t len);
void q35_conn_reply_str(struct q35_conn *c, const char *type, struct q35_str *body);
void q35_conn_error(struct q35_conn *c, const struct q35_api_error *e);
/* Server-sent events: header, pieces, end. */
void q35_conn_stream_begin(struct q35_conn *c);
void q35_conn_stream_data(struct q35_conn *c, const char *data, size_t len);
/* A comment, so that what lies between sees life during a long prefill. */
void q35_conn_stream_ping(struct q35_conn *c);
void q35_conn_stream_end(struct q35_conn *c);
/* Writes what the calls above have gathered. May close the connection. */
void q35_conn_flush(struct q35_conn *c);

#endif
