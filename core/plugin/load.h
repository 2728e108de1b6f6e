/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_LOAD_H
#define Q35_CORE_LOAD_H

/* The steps of loading, for registry.c, probe.c and the worker program. */

#include "core/plugin/registry.h"

/* Negotiates with a plugin whose query function is at hand and fills p->api and p->host: major and
 * minor, size, name, options, inherited slots, stubs. p->path and p->host must stay in place.
 * VERSION or PLUGIN. */
enum q35_status q35_plugin_adopt(struct q35_plugin_entry *p, q35_plugin_query_fn query,
                                 struct q35_error *err);

/* Sets every slot of *api that is NULL to a function that returns UNSUPPORTED with a message, or
 * does nothing. */
void q35_stubs_fill(struct q35_plugin *api);
/* The first slot that is NULL and that the engine cannot do without, or NULL. */
const char *q35_stubs_missing(const struct q35_plugin *api);

/* Checks the [backend] section's options against the plugin's specs. file: of the configuration,
 * for messages. CONFIG with file and line, PLUGIN if a spec itself is wrong. */
enum q35_status q35_options_check(const struct q35_plugin *api,
                                  const struct q35_config_backend *config, const char *file,
                                  struct q35_error *err);

/* enumerate and device_info, with their answers checked. infos: [*count], malloc'd, free() it; note
 * is what enumerate said of a count of 0. Sizes below 488 for note are INVALID. */
enum q35_status q35_plugin_devices(struct q35_plugin_entry *p, struct q35_device_info **infos,
                                   uint32_t *count, char note[488], struct q35_error *err);

/* Copies text of a plugin, cut to room - 1 bytes, with '?' for control bytes and bytes that are no
 * UTF-8. text may be NULL, or out itself. */
void q35_clean_text(char *out, size_t room, const char *text);

/* ---- the probe --------------------------------------------------------------------------- */

/* Loads, negotiates, enumerates and unloads the plugin in a child process that is killed after
 * `seconds`. worker: program from q35_worker_find(), NULL: the child is a fork of this process.
 * options: of the [backend] section, never NULL. OK, or what went wrong: TIMEOUT if it hangs,
 * PLUGIN if it crashes or exits, or the child's own finding. [any] */
enum q35_status q35_plugin_probe(const char *path, const char *worker,
                                 const struct q35_options *options, uint32_t seconds,
                                 struct q35_error *err);
/* The child's part: reports on descriptor fd; returns the exit status. It runs after fork in a
 * process that may have had threads, if there is no worker program: a lock they held then makes it
 * hang, which the deadline ends. */
int q35_probe_child(const char *path, const struct q35_options *options, int fd);

#endif
