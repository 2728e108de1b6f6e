/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

#include "tools.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "soft.h"

extern char **environ;

/* ---- finding ----------------------------------------------------------------------------- */

/* The plain name is only taken from a folder that was named. */
static const struct {
    const char *versioned, *plain, *package;
} tools[GROQ_TOOL_COUNT] = {
    {"mlir-opt-19", "mlir-opt", "mlir-19-tools"},
    {"mlir-translate-19", "mlir-translate", "mlir-19-tools"},
    {"opt-19", "opt", "llvm-19"},
    {"llc-19", "llc", "llvm-19"},
    {"ld", "ld.lld", "binutils"},
};

char *groq_tool_search(const char *name, const char *dirs)
{
    const char *at = dirs ? dirs : getenv("PATH"), *end;
    struct stat st;
    char *path;
    for (; at && *at; at = *end ? end + 1 : end) {
        end = strchrnul(at, ':');
        if (*at != '/') /* never the working directory */
            continue;
        if (asprintf(&path, "%.*s/%s", (int)(end - at), at, name) < 0)
            return NULL;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

/* The widest level of x86-64 that this machine has; "" lets llc take the least. */
static const char *own_target(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512cd"))
        return "x86-64-v4";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return "x86-64-v3";
    return "x86-64";
#else
    return "";
#endif
}

enum q35_status groq_tools_find(struct groq_tools *t, const char *dirs, const char *cpu,
                                struct q35_error *err)
{
    char missing[200] = "";
    size_t n = 0;
    int i;
    memset(t, 0, sizeof(*t));
    for (i = 0; i < GROQ_TOOL_COUNT; i++) {
        t->path[i] = groq_tool_search(tools[i].versioned, dirs);
        if (!t->path[i] && dirs)
            t->path[i] = groq_tool_search(tools[i].plain, dirs);
        if (!t->path[i] && i == GROQ_TOOL_LD)
            t->path[i] = groq_tool_search(tools[i].versioned, NULL);
        if (!t->path[i] && n < sizeof(missing))
            n += (size_t)snprintf(missing + n, sizeof(missing) - n, "%s%s (package %s)",
                                  n ? ", " : "", tools[i].versioned, tools[i].package);
    }
    snprintf(t->target, sizeof(t->target), "%s", cpu ? cpu : own_target());
    if (!n)
        return Q35_OK;
    groq_tools_free(t);
    return q35_soft_fail(err, Q35_E_UNSUPPORTED,
                         "mode = mlir lacks %s: not found in %s; mode = sim needs none of them",
                         missing, dirs ? dirs : "PATH");
}

void groq_tools_free(struct groq_tools *t)
{
    int i;
    for (i = 0; i < GROQ_TOOL_COUNT; i++)
        free(t->path[i]);
    memset(t, 0, sizeof(*t));
}

/* ---- running ----------------------------------------------------------------------------- */

enum { KEPT = 320 };

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Starts argv with output and errors into fd, all signals at their defaults, in a group of its own.
 * 0 or an errno. */
static int start(char *const *argv, int fd, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    int e;
    if (posix_spawn_file_actions_init(&files))
        return ENOMEM;
    if (posix_spawnattr_init(&attr)) {
        posix_spawn_file_actions_destroy(&files);
        return ENOMEM;
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                        POSIX_SPAWN_SETPGROUP);
    e = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (!e)
        e = posix_spawn_file_actions_adddup2(&files, fd, 1);
    if (!e)
        e = posix_spawn_file_actions_adddup2(&files, fd, 2);
    if (!e)
        e = posix_spawn(pid, argv[0], &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    return e;
}

/* Reads until the tool has closed its output; keeps the beginning. False at the deadline. */
static bool drain(int fd, int64_t deadline, char *kept, size_t room)
{
    char part[512];
    size_t n = 0;
    kept[0] = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline - now_ms();
        ssize_t got;
        if (left <= 0 || poll(&p, 1, (int)left) == 0)
            return false;
        got = read(fd, part, sizeof(part));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return true;
        if ((size_t)got > room - 1 - n)
            got = (ssize_t)(room - 1 - n);
        memcpy(kept + n, part, (size_t)got);
        n += (size_t)got;
        kept[n] = 0;
    }
}

/* A message is one line of printable text. */
static void flatten(char *s)
{
    char *from = s, *to = s;
    for (; *from; from++) {
        unsigned char c = (unsigned char)*from;
        if (c < 32 || c == 127) {
            if (to > s && to[-1] != ' ')
                *to++ = ' ';
        } else {
            *to++ = (char)c;
        }
    }
    while (to > s && to[-1] == ' ')
        to--;
    *to = 0;
}

enum q35_status groq_tool_run(char *const *argv, uint32_t seconds, struct q35_error *err)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    char kept[KEPT];
    int fd[2], e, status = 0;
    bool in_time;
    pid_t pid, got;

    if (pipe2(fd, O_CLOEXEC))
        return q35_soft_fail(err, Q35_E_IO, "%s: no pipe: %s", name, strerror(errno));
    e = start(argv, fd[1], &pid);
    close(fd[1]);
    if (e) {
        close(fd[0]);
        return q35_soft_fail(err, Q35_E_IO, "%s cannot be started: %s", argv[0], strerror(e));
    }
    in_time = drain(fd[0], now_ms() + (int64_t)seconds * 1000, kept, sizeof(kept));
    close(fd[0]);
    if (!in_time)
        kill(-pid, SIGKILL);
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (!in_time)
        return q35_soft_fail(err, Q35_E_TIMEOUT, "%s took more than %u seconds", name, seconds);
    flatten(kept);
    /* A host that ignores SIGCHLD leaves no status: then the caller's look at the file decides. */
    if (got == pid && WIFSIGNALED(status))
        return q35_soft_fail(err, Q35_E_PLUGIN, "%s died of signal %d: %s", name, WTERMSIG(status),
                             kept);
    if (got == pid && WEXITSTATUS(status))
        return q35_soft_fail(err, Q35_E_PLUGIN, "%s exited with %d: %s", name, WEXITSTATUS(status),
                             kept);
    return Q35_OK;
}
