/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/plugin/spawn.h"

#define DEATH_NS 300000000u /* a dying worker's sockets close a little before it can be reaped */
#define STOP_NS 5000000000u

static const char *const call_names[] = {
#define ISO_NAME(name) #name,
    ISO_CALLS(ISO_NAME)
#undef ISO_NAME
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void forget(struct iso_session *s)
{
    memset(s->done, 0, sizeof(s->done));
    while (s->slots) {
        struct iso_slot *next = s->slots->next;
        free(s->slots);
        s->slots = next;
    }
    while (s->pending) {
        struct iso_pending *next = s->pending->next;
        free(s->pending);
        s->pending = next;
    }
    while (s->maps) {
        struct iso_map *next = s->maps->next;
        free(s->maps);
        s->maps = next;
    }
}

enum q35_status iso_session_create(struct iso_session **out, struct iso_plugin *plugin,
                                   uint32_t index, struct q35_error *err)
{
    struct iso_session *s = calloc(1, sizeof(*s));
    enum q35_status st;
    *out = NULL;
    if (!s)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a worker");
    s->plugin = plugin;
    s->index = index;
    s->life = s->arena_fd = -1;
    for (int i = 0; i < ISO_CHANNELS; i++)
        s->channels[i] = -1;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->freed, NULL);
    st = iso_session_start(s, err);
    if (st != Q35_OK) {
        iso_session_destroy(s);
        return st;
    }
    *out = s;
    return Q35_OK;
}

/* Waits up to limit_ns for the process to end; false if it has not. */
static bool reap(pid_t pid, uint64_t limit_ns, int *wstatus)
{
    uint64_t end = q35_now_ns() + limit_ns;
    for (;;) {
        pid_t got = waitpid(pid, wstatus, WNOHANG);
        if (got == pid || (got < 0 && errno == ECHILD))
            return true;
        if (q35_now_ns() >= end)
            return false;
        poll(NULL, 0, 1);
    }
}

static void kill_worker(struct iso_session *s)
{
    int wstatus;
    if (s->pid <= 0)
        return;
    kill(-s->pid, SIGKILL);
    kill(s->pid, SIGKILL);
    reap(s->pid, STOP_NS, &wstatus);
    s->pid = 0;
}

/* Ends of the worker's sockets in fds[ISO_FDS], ours in the session. */
static bool make_channels(struct iso_session *s, int *fds)
{
    int pair[2];
    for (int i = -1; i < ISO_CHANNELS; i++) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
            return false;
        *(i < 0 ? &s->life : &s->channels[i]) = pair[0];
        fds[i + 1] = pair[1];
    }
    fds[ISO_FDS - 1] = fcntl(s->arena_fd, F_DUPFD_CLOEXEC, 0);
    return fds[ISO_FDS - 1] >= 0;
}

static bool make_arena(struct iso_session *s)
{
    void *p;
    if (s->arena)
        return true;
    s->arena_fd = memfd_create("q35-arena", MFD_CLOEXEC);
    if (s->arena_fd < 0 || ftruncate(s->arena_fd, (off_t)ISO_ARENA_BYTES) != 0)
        return false;
    p = mmap(NULL, ISO_ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->arena_fd,
             0);
    s->arena = p == MAP_FAILED ? NULL : p;
    return s->arena != NULL;
}

enum q35_status iso_session_start(struct iso_session *s, struct q35_error *err)
{
    const struct q35_plugin_entry *e = s->plugin->entry;
    char **argv = q35_worker_argv(s->plugin->program, "--serve", e->path, &e->options);
    int fds[ISO_FDS];
    bool ok;
    for (int i = 0; i < ISO_FDS; i++)
        fds[i] = -1;
    forget(s);
    ok = argv && make_arena(s) && make_channels(s, fds);
    s->pid = ok ? q35_spawn(argv, fds, ISO_FDS, -1) : -1;
    if (s->pid < 0) {
        ok = false;
        q35_fail_errno(err, Q35_E_INTERNAL, errno, "cannot start a worker process");
        s->pid = 0;
    }
    q35_argv_free(argv);
    for (int i = 0; i < ISO_FDS; i++)
        close_fd(&fds[i]);
    s->generation++;
    s->lost = !ok;
    memset(s->busy, 0, sizeof(s->busy));
    if (!ok)
        snprintf(s->message, sizeof(s->message), "the worker process could not be started");
    return ok ? Q35_OK : Q35_E_INTERNAL;
}

void iso_session_stop(struct iso_session *s)
{
    int wstatus;
    close_fd(&s->life);
    for (int i = 0; i < ISO_CHANNELS; i++)
        close_fd(&s->channels[i]);
    /* no socket: it leaves by itself, unless it hangs */
    if (s->pid > 0 && reap(s->pid, STOP_NS, &wstatus))
        s->pid = 0;
    kill_worker(s);
}

void iso_session_destroy(struct iso_session *s)
{
    if (!s)
        return;
    iso_session_stop(s);
    forget(s);
    if (s->arena)
        munmap(s->arena, ISO_ARENA_BYTES);
    close_fd(&s->arena_fd);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->freed);
    free(s);
}

static enum q35_status lost(const struct iso_session *s, struct q35_error *err)
{
    q35_fail(err, Q35_E_DEVICE_LOST, "%s", s->message);
    if (err)
        err->radius = Q35_RADIUS_DEVICE_LOST;
    return Q35_E_DEVICE_LOST;
}

enum q35_status iso_lose(struct iso_session *s, struct q35_error *err, const char *format, ...)
{
    va_list ap;
    enum q35_status st;
    pthread_mutex_lock(&s->mutex);
    if (!s->lost) {
        s->lost = true;
        va_start(ap, format);
        vsnprintf(s->message, sizeof(s->message), format, ap);
        va_end(ap);
        kill_worker(s);
        pthread_cond_broadcast(&s->freed);
    }
    st = lost(s, err);
    pthread_mutex_unlock(&s->mutex);
    return st;
}

/* The worker closed a socket: find out what became of it. */
static enum q35_status died(struct iso_session *s, const char *call, struct q35_error *err)
{
    char how[80] = "it closed its connection";
    enum q35_status st;
    int wstatus = 0;
    pthread_mutex_lock(&s->mutex);
    if (!s->lost) {
        s->lost = true;
        if (s->pid > 0 && reap(s->pid, DEATH_NS, &wstatus)) {
            kill(-s->pid, SIGKILL); /* what it left behind */
            s->pid = 0;
            q35_wait_status_text(wstatus, how, sizeof(how));
        }
        snprintf(s->message, sizeof(s->message), "the worker process of %s died in %s: %s",
                 s->plugin->entry->config->name, call, how);
        kill_worker(s);
        pthread_cond_broadcast(&s->freed);
    }
    st = lost(s, err);
    pthread_mutex_unlock(&s->mutex);
    return st;
}

static int take_channel(struct iso_session *s, bool waiting)
{
    int got = -1, n = waiting ? ISO_WAIT_CHANNELS : ISO_CHANNELS;
    pthread_mutex_lock(&s->mutex);
    while (!s->lost && got < 0) {
        for (int i = n - 1; i >= 0 && got < 0; i--)
            if (!s->busy[i])
                got = i;
        if (got < 0)
            pthread_cond_wait(&s->freed, &s->mutex);
    }
    if (got >= 0)
        s->busy[got] = true;
    pthread_mutex_unlock(&s->mutex);
    return got;
}

static void release_channel(struct iso_session *s, int channel)
{
    pthread_mutex_lock(&s->mutex);
    s->busy[channel] = false;
    pthread_cond_broadcast(&s->freed);
    pthread_mutex_unlock(&s->mutex);
}

static bool send_request(int socket, const struct iso_request *request, int fd)
{
    struct iovec io = {(void *)(uintptr_t)request, sizeof(*request)};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd >= 0) {
        struct cmsghdr *c;
        m.msg_control = control.room;
        m.msg_controllen = sizeof(control.room);
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(int));
    }
    return sendmsg(socket, &m, MSG_NOSIGNAL) == (ssize_t)sizeof(*request);
}

/* 1: answered, 0: gone, -1: out of time. */
static int receive_reply(int socket, struct iso_reply *reply, uint64_t limit_ns)
{
    uint64_t end = q35_now_ns() + limit_ns;
    for (;;) {
        uint64_t now = q35_now_ns();
        struct pollfd p = {socket, POLLIN, 0};
        ssize_t n;
        if (now >= end)
            return -1;
        if (poll(&p, 1, (int)((end - now) / 1000000u % 3600000u) + 1) <= 0)
            continue;
        n = recv(socket, reply, sizeof(*reply), 0);
        if (n < 0 && errno == EINTR)
            continue;
        return n == (ssize_t)sizeof(*reply);
    }
}

enum q35_status iso_call(struct iso_session *s, const struct iso_request *request,
                         struct iso_reply *reply, int fd, struct q35_error *err)
{
    const char *name = call_names[request->call];
    uint64_t limit = s->plugin->hang_ns;
    int channel = take_channel(s, request->call == ISO_WAIT), got;
    if (channel < 0)
        return lost(s, err);
    if (request->call == ISO_WAIT)
        limit += request->y;
    got = send_request(s->channels[channel], request, fd)
              ? receive_reply(s->channels[channel], reply, limit)
              : 0;
    if (got == 0) {
        died(s, name, err);
    } else if (got < 0) {
        iso_lose(s, err, "the worker process of %s hangs: no answer to %s within %llu s",
                 s->plugin->entry->config->name, name, (unsigned long long)(limit / 1000000000u));
    }
    release_channel(s, channel);
    if (got <= 0)
        return Q35_E_DEVICE_LOST;
    q35_clean_text(reply->err.message, sizeof(reply->err.message), reply->err.message);
    if (err && (reply->status != Q35_OK || reply->err.message[0])) {
        *err = reply->err;
        err->size = (uint32_t)sizeof(*err);
        err->status = reply->status; /* a worker may contradict itself */
    }
    return (enum q35_status)reply->status;
}
