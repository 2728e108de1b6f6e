/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/spawn.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_FDS 16
#define PARKED 64 /* descriptors are moved out of the way before they get their numbers */

static void default_signals(void)
{
    struct sigaction sa;
    sigset_t all;
    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = SIG_DFL;
    for (int i = 1; i < NSIG; i++) /* a handler of ours would take a crash for its own */
        sigaction(i, &sa, NULL);
    sigfillset(&all);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
}

bool q35_spawn_setup(const int *fds, int n, int output)
{
    struct rlimit no_core = {0, 0};
    int parked[MAX_FDS];
    int null = open("/dev/null", O_RDONLY);
    default_signals();
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    for (int i = 0; i < n; i++)
        if ((parked[i] = fcntl(fds[i], F_DUPFD, PARKED)) < 0)
            return false;
    if (null < 0 || dup2(null, 0) < 0 || dup2(output < 0 ? 2 : output, 1) < 0 || dup2(1, 2) < 0)
        return false;
    for (int i = 0; i < n; i++)
        if (dup2(parked[i], Q35_SPAWN_FD + i) < 0)
            return false;
    return true;
}

pid_t q35_spawn(char *const *argv, const int *fds, int n, int output)
{
    pid_t pid = n <= MAX_FDS ? fork() : -1;
    if (pid == 0) {
        if (q35_spawn_setup(fds, n, output)) {
            close_range(Q35_SPAWN_FD + (unsigned)n, ~0u, 0);
            execv(argv[0], argv);
        }
        _exit(127);
    }
    return pid;
}

char **q35_worker_argv(const char *worker, const char *mode, const char *path,
                       const struct q35_options *options)
{
    uint32_t n = options ? options->count : 0;
    char **argv = calloc(n + (size_t)4, sizeof(*argv));
    bool ok = argv != NULL;
    if (!ok)
        return NULL;
    ok = (argv[0] = strdup(worker)) && (argv[1] = strdup(mode)) && (argv[2] = strdup(path));
    for (uint32_t i = 0; i < n && ok; i++)
        if (asprintf(&argv[3 + i], "%s=%s", options->items[i].key, options->items[i].value) < 0) {
            argv[3 + i] = NULL;
            ok = false;
        }
    if (ok)
        return argv;
    q35_argv_free(argv);
    return NULL;
}

void q35_argv_free(char **argv)
{
    for (char **p = argv; p && *p; p++)
        free(*p);
    free(argv);
}

void q35_wait_status_text(int wstatus, char *out, size_t room)
{
    if (WIFSIGNALED(wstatus))
        snprintf(out, room, "signal %d (%s)", WTERMSIG(wstatus), strsignal(WTERMSIG(wstatus)));
    else
        snprintf(out, room, "exit status %d", WEXITSTATUS(wstatus));
}
