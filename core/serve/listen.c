/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/serve/server.h"

#define BACKLOG 1024
#define FIRST_PASSED_FD 3 /* SD_LISTEN_FDS_START */

static void on_connection(uv_stream_t *listener, int status)
{
    struct q35_server *s = listener->data;
    if (status < 0)
        q35_log(Q35_LOG_WARN, "cannot accept a connection: %s", uv_strerror(status));
    else
        q35_conn_accept(s, listener);
}

static void log_address(const uv_tcp_t *t)
{
    struct sockaddr_storage addr;
    int len = (int)sizeof(addr), port;
    const struct q35_server *s = t->data;
    const char *scheme = s->settings.tls ? "https" : "http";
    char host[64] = "?";
    if (uv_tcp_getsockname(t, (struct sockaddr *)&addr, &len) != 0)
        return;
    if (addr.ss_family == AF_INET6) {
        uv_ip6_name((struct sockaddr_in6 *)&addr, host, sizeof(host));
        port = ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
        q35_log(Q35_LOG_INFO, "listening on %s://[%s]:%d", scheme, host, port);
    } else {
        uv_ip4_name((struct sockaddr_in *)&addr, host, sizeof(host));
        port = ntohs(((struct sockaddr_in *)&addr)->sin_port);
        q35_log(Q35_LOG_INFO, "listening on %s://%s:%d", scheme, host, port);
    }
}

static enum q35_status add_listener(struct q35_server *s, const struct sockaddr *addr, int fd,
                                    const char *what, struct q35_error *err)
{
    uv_tcp_t *t = &s->listeners[s->listener_count];
    int rc = uv_tcp_init(&s->loop, t);
    if (rc != 0)
        return q35_fail(err, Q35_E_IO, "%s: %s", what, uv_strerror(rc));
    t->data = s;
    s->listener_count++; /* closed with the others from here on */
    rc = addr ? uv_tcp_bind(t, addr, 0) : uv_tcp_open(t, fd);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)t, BACKLOG, on_connection);
    if (rc != 0)
        return q35_fail(err, Q35_E_IO, "cannot listen on %s: %s", what, uv_strerror(rc));
    log_address(t);
    return Q35_OK;
}

/* Sockets that the service manager opened for us: sd_listen_fds(3). */
static enum q35_status listen_passed(struct q35_server *s, int count, struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    int i;
    if (count > Q35_LISTENERS)
        return q35_fail(err, Q35_E_INVALID, "LISTEN_FDS: at most %d sockets are taken",
                        Q35_LISTENERS);
    for (i = 0; i < count && st == Q35_OK; i++) {
        char what[32];
        snprintf(what, sizeof(what), "passed socket %d", FIRST_PASSED_FD + i);
        fcntl(FIRST_PASSED_FD + i, F_SETFD, FD_CLOEXEC);
        st = add_listener(s, NULL, FIRST_PASSED_FD + i, what, err);
    }
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    return st;
}

static int passed_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    if (!pid || !fds || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    return (int)strtol(fds, NULL, 10);
}

enum q35_status q35_server_listen(struct q35_server *s, struct q35_error *err)
{
    const char *host = s->config->host;
    struct sockaddr_storage addr;
    char what[160];
    int passed = passed_count();
    if (passed > 0)
        return listen_passed(s, passed, err);
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    snprintf(what, sizeof(what), "%.100s port %u", s->config->host, s->config->port);
    if (uv_ip4_addr(host, (int)s->config->port, (struct sockaddr_in *)&addr) != 0 &&
        uv_ip6_addr(host, (int)s->config->port, (struct sockaddr_in6 *)&addr) != 0)
        return q35_fail(err, Q35_E_CONFIG, "host: '%s' is not an IP address or localhost", host);
    return add_listener(s, (const struct sockaddr *)&addr, -1, what, err);
}
