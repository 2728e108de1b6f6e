/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_SEARCH_H
#define Q35_CORE_SEARCH_H

/* Where plugins and helper programs are found, and which files are trusted.
 *
 * A plugin given with a slash is that file. A bare name ("cuda.so", or "cuda") is looked up, never
 * in the working directory, in
 *   1. plugin_dir of the configuration, if set, and nowhere else; otherwise
 *   2. the folders of the environment's Q35_PLUGIN_PATH (':' between), if set; otherwise
 *   3. the build tree the program runs from (backends/NAME/, plugins/NAME/), then the installed
 *      folder LIBDIR/q35.
 * In a folder D the files D/NAME.so and D/NAME/NAME.so are tried.
 *
 * A file is trusted if nobody but its owner and group can write it, its folder is not writable by
 * all (or is sticky), and it belongs to root, to this process's user or to the owner of the running
 * program. */

#include "core/base/base.h"

/* Resolves `path` as above to an absolute path without links. plugin_dir may be NULL.
 * NOT_FOUND names every place that was looked at. *out: free() it. */
enum q35_status q35_plugin_find(char **out, const char *path, const char *plugin_dir,
                                struct q35_error *err);

/* PLUGIN if the file at an absolute path is not to be trusted, else OK. */
enum q35_status q35_file_trusted(const char *path, struct q35_error *err);

/* HASH unless the file has this SHA-256 (64 lower-case hexadecimal digits). */
enum q35_status q35_file_sha256_check(const char *path, const char *expected,
                                      struct q35_error *err);
/* hex[65]: zero-terminated. */
enum q35_status q35_file_sha256(const char *path, char hex[65], struct q35_error *err);

/* The program that loads plugins in a process of its own: beside the running program, in its build
 * tree, or installed; free() it. NULL if there is none. */
char *q35_worker_find(void);

#endif
