/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_SERVER_H
#define Q35_SERVE_SERVER_H

/* The server's own state, shared by the files of this module. */

#include <uv.h>

#include "core/serve/conn.h"
#include "core/serve/events.h"
#include "core/serve/metrics.h"
#include "core/serve/serve.h"
#include "core/serve/settings.h"

#define Q35_LISTENERS 8
#define Q35_READ_BYTES 65536          /* one buffer for all connections */
#define Q35_PIPELINE_BYTES 65536      /* input kept while a request is being answered */
#define Q35_PIPELINE_OUT_BYTES 262144 /* unsent answers beyond which no request is begun */
#define Q35_HEADER_BYTES 32768
#define Q35_HEADERS_MAX 100
#define Q35_URL_BYTES 4096
#define Q35_BODY_TOTAL_FACTOR 16 /* bodies of all connections together, in largest bodies */
#define Q35_STREAM_BYTES                                                                           \
    (1u << 20)                /* unsent output of a stream; a reader this far behind is cut        \
                               */
#define Q35_INLINE_BYTES 8192 /* longer bodies are parsed and tokenized by a worker */

#define Q35_INLINE_REPLY_BYTES 262144 /* longer answers are written by a worker */

enum q35_phase {
    Q35_PHASE_LOADING,
    Q35_PHASE_SERVING,
    Q35_PHASE_DRAINING, /* requests in progress go on */
    Q35_PHASE_STOPPING  /* nothing goes on */
};

struct q35_server {
    uv_loop_t loop;
    bool has_loop;
    uv_tcp_t listeners[Q35_LISTENERS];
    uint32_t listener_count;
    uv_signal_t signals[3];
    uv_timer_t sweep;
    uv_async_t async;
    uv_work_t load_work;
    bool handles_open, loading;
    char *config_path;
    struct q35_config *config; /* as started with */
    struct q35_settings settings;
    q35_serve_load_fn load;
    void *load_user;
    struct q35_serve_model loaded; /* the loading thread's, with its status, until it is done */
    enum q35_status load_status;
    struct q35_error load_error;
    struct q35_serve_model model; /* engine NULL until loaded */
    enum q35_status status;       /* what run will return */
    struct q35_error error;
    enum q35_phase phase;
    uint64_t phase_deadline_ns;
    uint64_t hang_ns;     /* a device at work for longer than that hangs */
    uint64_t watchdog_ns; /* how often systemd wants a sign of life; 0: never */
    uint64_t watchdog_due;
    bool abandoned;  /* the engine has not ended its requests */
    int64_t started; /* seconds since 1970 */
    struct q35_events events;
    struct q35_metrics metrics;
    struct q35_conn *conns, *dirty;
    uint32_t conn_count;
    struct q35_job *jobs;
    uint32_t job_count;
    uint64_t body_bytes, next_id;
    char read_buffer[Q35_READ_BYTES];
};

/* A device can serve and nobody asked us to stop. */
bool q35_server_ready(struct q35_server *s);
/* A device has been at work on one batch for longer than hang_seconds, in our own process. */
bool q35_server_hangs(struct q35_server *s);
/* Ends the loop if nothing is left to wait for. */
void q35_server_maybe_stop(struct q35_server *s);
/* Of requests: never the same twice, and not 0. */
uint64_t q35_server_next_id(struct q35_server *s);
/* SIGHUP. */
void q35_server_reload(struct q35_server *s);
/* Opens the sockets: those systemd passed, or the configured address. */
enum q35_status q35_server_listen(struct q35_server *s, struct q35_error *err);
/* Flushes connections that gathered output since the last call. */
void q35_server_flush(struct q35_server *s);
void q35_server_mark_dirty(struct q35_server *s, struct q35_conn *c);
void q35_server_unmark(struct q35_server *s, struct q35_conn *c);

/* Tells systemd, if it listens: "READY=1" and the like. */
void q35_notify(const char *state);
/* Standard error goes to its journal. */
bool q35_notify_journal(void);
/* How often it wants "WATCHDOG=1", halved to be on time; 0: never. */
uint64_t q35_notify_watchdog_ns(void);

#endif
