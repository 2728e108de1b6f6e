/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_REGISTRY_H
#define Q35_CORE_REGISTRY_H

/* Loading plugins and opening their devices. Every plugin is first loaded by a child process with
 * a deadline; one that crashes, exits or hangs there is quarantined: reported by name and reason,
 * and never loaded into this process. */

#include "core/base/base.h"
#include "core/config/config.h"
#include "q35/backend.h"

/* A loaded plugin. `api` is the host's own copy of the descriptor, with every slot set: absent ones
 * are stubs that return UNSUPPORTED, or the software device's if the plugin inherits. */
struct q35_plugin_entry {
    const struct q35_config_backend *config;
    char *path;              /* resolved, absolute */
    struct q35_plugin api;
    struct q35_host host;    /* what the plugin was given */
    struct q35_options options;
    enum q35_status status;  /* OK, or why it is left out */
    char reason[488];
    uint32_t device_count;
    char note[488];          /* what enumerate said it looked for, when count is 0 */
    void *handle;            /* dlopen's, NULL if isolated or failed */
    void *worker;            /* isolate = process: the worker's client */
};

/* One device that can be opened. */
struct q35_device_entry {
    struct q35_plugin_entry *plugin;
    uint32_t index; /* of the plugin */
    struct q35_device_info info;
    struct q35_device *dev; /* NULL until opened */
};

struct q35_registry {
    struct q35_plugin_entry *plugins;
    uint32_t plugin_count;
    struct q35_device_entry *devices;
    uint32_t device_count;
};

/* Loads every backend of the configuration. Fails only if one with required = true does, an option
 * is unknown or ill-typed (CONFIG with file and line), or nothing is left. */
enum q35_status q35_registry_create(struct q35_registry **out, const struct q35_config *config,
                                    struct q35_error *err);
void q35_registry_destroy(struct q35_registry *r);

enum q35_status q35_device_open(struct q35_device_entry *d, struct q35_error *err);
void q35_device_close(struct q35_device_entry *d);

/* Loads and negotiates one plugin in this process, without a probe (verify-plugin, tests). */
enum q35_status q35_plugin_load(struct q35_plugin_entry *p, const char *path, struct q35_error *err);
void q35_plugin_unload(struct q35_plugin_entry *p);

/* Calls of a device with less typing: q35_call(d, wait, value, timeout, err). */
#define q35_call(d, slot, ...) ((d)->plugin->api.slot((d)->dev, __VA_ARGS__))

#endif
