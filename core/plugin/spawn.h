/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_SPAWN_H
#define Q35_CORE_SPAWN_H

/* Starting a child process from a process that may have threads. */

#include "core/base/base.h"
#include "q35/backend.h"

#include <sys/types.h>

#define Q35_SPAWN_FD 3 /* the first descriptor that a child is given */

/* Replaces the calling child's descriptors: input is /dev/null, output and errors go to `output`
 * (or both to the standard error if it is -1), fds[i] becomes 3 + i. Signals are set to their
 * defaults and the process leads a group of its own. Only async-signal-safe calls; false on error.
 * Used after fork. */
bool q35_spawn_setup(const int *fds, int n, int output);

/* Runs argv[0] in such a child. -1 and errno if it cannot be started; a program that is not there
 * exits with status 127. [any] */
pid_t q35_spawn(char *const *argv, const int *fds, int n, int output);

/* {worker, mode, path, "key=value" ..., NULL}; free with q35_argv_free. NULL without memory. */
char **q35_worker_argv(const char *worker, const char *mode, const char *path,
                       const struct q35_options *options);
void q35_argv_free(char **argv);

/* "signal 11 (Segmentation fault)" or "exit status 3" of a waitpid status. */
void q35_wait_status_text(int wstatus, char *out, size_t room);

#endif
