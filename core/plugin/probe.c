/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/plugin/spawn.h"

/* The child announces each stage before it enters it, so that the parent knows where it died. */
enum stage { START, LOAD, ENUMERATE, UNLOAD, DONE, FAILED };

struct message {
    uint32_t magic;
    uint32_t stage;
    struct q35_error err; /* with FAILED */
};
#define MAGIC 0x35335150u

static const char *const doing[] = {"starting",     "loading it", "enumerating devices",
                                    "unloading it", "exiting",    "reporting"};

/* ---- the child -------------------------------------------------------------------------- */

static void report(int fd, enum stage stage, const struct q35_error *err)
{
    struct message m = {.magic = MAGIC, .stage = stage};
    if (err)
        m.err = *err;
    /* below PIPE_BUF, so whole or not at all; a parent that has gone needs no report */
    if (write(fd, &m, sizeof(m)) != (ssize_t)sizeof(m))
        _exit(1);
}

int q35_probe_child(const char *path, const struct q35_options *options, int fd)
{
    struct q35_plugin_entry p = {0};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_device_info *infos;
    uint32_t count;
    char note[488];
    enum q35_status st;
    struct q35_config_backend config = {
        .name = "", .options = (void *)(uintptr_t)options->items, .option_count = options->count};
    report(fd, LOAD, NULL);
    st = q35_plugin_load(&p, path, &err);
    if (st == Q35_OK && p.missing)
        st = q35_fail(&err, Q35_E_PLUGIN, "it has no %s, and nothing works without it", p.missing);
    /* bad options are the parent's to report: it knows their lines */
    if (st == Q35_OK && q35_options_check(&p.api, &config, "", &err) == Q35_OK) {
        p.options = *options;
        report(fd, ENUMERATE, NULL);
        st = q35_plugin_devices(&p, &infos, &count, note, &err);
        free(infos);
    }
    report(fd, UNLOAD, NULL);
    q35_plugin_unload(&p);
    err.status = (int32_t)st;
    report(fd, st == Q35_OK ? DONE : FAILED, &err);
    return 0;
}

/* ---- the parent ------------------------------------------------------------------------- */

struct probe {
    pid_t pid;
    int report, output; /* read ends, non-blocking */
    enum stage stage;
    bool garbled;
    struct q35_error err; /* the child's */
    char text[512];       /* the last it printed */
    size_t text_len;
};

/* A fork of this very process, for want of the worker program. */
static pid_t fork_probe(const char *path, const struct q35_options *options, int report_fd,
                        int output_fd)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(q35_spawn_setup(&report_fd, 1, output_fd)
                  ? q35_probe_child(path, options, Q35_SPAWN_FD)
                  : 1);
    return pid;
}

static bool start(struct probe *p, const char *path, const char *worker,
                  const struct q35_options *options)
{
    char **argv = worker ? q35_worker_argv(worker, "--probe", path, options) : NULL;
    int a[2] = {-1, -1}, b[2] = {-1, -1};
    p->pid = -1;
    if (pipe2(a, O_CLOEXEC) == 0 && pipe2(b, O_CLOEXEC) == 0)
        p->pid = argv ? q35_spawn(argv, &a[1], 1, b[1]) : fork_probe(path, options, a[1], b[1]);
    q35_argv_free(argv);
    if (a[1] >= 0)
        close(a[1]);
    if (b[1] >= 0)
        close(b[1]);
    p->report = a[0];
    p->output = b[0];
    if (p->pid < 0)
        return false;
    fcntl(p->report, F_SETFL, O_NONBLOCK);
    fcntl(p->output, F_SETFL, O_NONBLOCK);
    return true;
}

/* Reads what there is; false at the end of the stream. */
static bool take_reports(struct probe *p)
{
    struct message m;
    ssize_t n;
    while ((n = read(p->report, &m, sizeof(m))) > 0) {
        if (n != (ssize_t)sizeof(m) || m.magic != MAGIC || m.stage > FAILED) {
            p->garbled = true;
            return false;
        }
        p->stage = m.stage;
        p->err = m.err;
        p->err.message[sizeof(p->err.message) - 1] = '\0';
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static bool take_output(struct probe *p)
{
    char part[256];
    ssize_t n;
    while ((n = read(p->output, part, sizeof(part))) > 0) {
        size_t len = (size_t)n, keep = sizeof(p->text) - 1;
        if (p->text_len + len > keep) { /* forget the oldest */
            size_t drop = p->text_len + len - keep;
            drop = drop < p->text_len ? drop : p->text_len;
            memmove(p->text, p->text + drop, p->text_len - drop);
            p->text_len -= drop;
        }
        memcpy(p->text + p->text_len, part, len);
        p->text_len += len;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Until the child is gone or time is up; true if it is gone. Killing the child's whole group also
 * ends what it started. */
static bool attend(struct probe *p, uint32_t seconds, int *wstatus)
{
    uint64_t end = q35_now_ns() + (uint64_t)seconds * 1000000000u;
    bool reports = true, output = true;
    for (;;) {
        uint64_t now = q35_now_ns();
        struct pollfd fds[2] = {{reports ? p->report : -1, POLLIN, 0},
                                {output ? p->output : -1, POLLIN, 0}};
        /* when both streams have ended the child is as good as gone, but it need not be */
        uint64_t left = now < end ? (end - now) / 1000000u + 1 : 0;
        bool gone;
        poll(fds, 2, reports || output ? (int)(left < 100 ? left : 100) : 1);
        gone = waitpid(p->pid, wstatus, WNOHANG) == p->pid;
        reports = reports && take_reports(p);
        output = output && take_output(p);
        if (gone)
            return true;
        if (now >= end || p->garbled)
            return false;
    }
}

static enum q35_status conclude(const struct probe *p, bool gone, int wstatus, uint32_t seconds,
                                struct q35_error *err)
{
    const char *where = doing[p->stage];
    char text[80];
    if (p->garbled)
        return q35_fail(err, Q35_E_PLUGIN, "wrote into the loader's own descriptor while %s",
                        where);
    if (!gone)
        return q35_fail(err, Q35_E_TIMEOUT, "hangs: killed after %u s while %s", seconds, where);
    if (WIFSIGNALED(wstatus)) {
        q35_wait_status_text(wstatus, text, sizeof(text));
        return q35_fail(err, Q35_E_PLUGIN, "crashes while %s: %s", where, text);
    }
    if (p->stage == START)
        return q35_fail(err, Q35_E_INTERNAL, "the probing process could not be started");
    if (p->stage == FAILED)
        return q35_fail(err, (enum q35_status)p->err.status, "%s", p->err.message);
    if (p->stage != DONE)
        return q35_fail(err, Q35_E_PLUGIN, "exits the process with status %d while %s",
                        WEXITSTATUS(wstatus), where);
    return Q35_OK;
}

/* Appends the last line that the child printed. */
static void quote_output(struct probe *p, struct q35_error *err)
{
    char clean[160];
    char *line = p->text;
    size_t n = p->text_len, used = strlen(err->message);
    while (n && (line[n - 1] == '\n' || line[n - 1] == ' '))
        n--;
    line[n] = '\0';
    if (strrchr(line, '\n'))
        line = strrchr(line, '\n') + 1;
    q35_clean_text(clean, sizeof(clean), line);
    if (clean[0])
        snprintf(err->message + used, sizeof(err->message) - used, "; it printed '%s'", clean);
}

enum q35_status q35_plugin_probe(const char *path, const char *worker,
                                 const struct q35_options *options, uint32_t seconds,
                                 struct q35_error *err)
{
    struct probe p = {0};
    enum q35_status st = Q35_E_INTERNAL;
    int wstatus = 0;
    if (!start(&p, path, worker, options)) {
        st = q35_fail_errno(err, Q35_E_INTERNAL, errno, "cannot start a probing process");
    } else {
        bool gone = attend(&p, seconds, &wstatus);
        if (!gone) {
            kill(-p.pid, SIGKILL);
            kill(p.pid, SIGKILL); /* in case it had not made its group yet */
            while (waitpid(p.pid, NULL, 0) < 0 && errno == EINTR)
                ;
        } else {
            kill(-p.pid, SIGKILL); /* what it left behind */
        }
        st = conclude(&p, gone, wstatus, seconds, err);
        if (st != Q35_OK && p.stage != FAILED)
            quote_output(&p, err);
    }
    if (p.report >= 0)
        close(p.report);
    if (p.output >= 0)
        close(p.output);
    return st;
}
