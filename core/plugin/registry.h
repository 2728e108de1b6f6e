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
    char *path; /* resolved, absolute */
    struct q35_plugin api;
    const char *missing;  /* a slot that the plugin lacks and nothing works without, or NULL */
    struct q35_host host; /* what the plugin was given */
    struct q35_options options;
    enum q35_status status; /* OK, or why it is left out */
    char reason[488];
    uint32_t device_count;
    char note[488];        /* what enumerate said it looked for, when count is 0 */
    bool certified;        /* a certificate is there and holds */
    char certificate[200]; /* what it says, or why it does not hold; "" if there is none */
    void *handle;          /* dlopen's, NULL if isolated or failed */
    void *worker;          /* isolate = process: the worker's client */
};

/* One device that can be opened. */
struct q35_device_entry {
    struct q35_plugin_entry *plugin;
    uint32_t index; /* of the plugin */
    struct q35_device_info info;
    struct q35_device *dev;   /* NULL until opened */
    double speed;             /* bytes of weights per second at one token, as the planner found */
    double speed_layer_bytes; /* with a layer of so many bytes; 0: not measured yet */
};

struct q35_registry {
    struct q35_plugin_entry *plugins; /* one for each backend of the configuration, same order */
    uint32_t plugin_count;
    struct q35_device_entry *devices;
    uint32_t device_count;
};

/* Loads every backend of the configuration, which must outlive the registry. One that cannot be
 * loaded is logged as a warning and left out. Fails only if one with required = true is left out,
 * an option is unknown or ill-typed (CONFIG with file and line), or no device is left (NOT_FOUND).
 * *out: release with q35_registry_destroy; NULL on failure. */
enum q35_status q35_registry_create(struct q35_registry **out, const struct q35_config *config,
                                    struct q35_error *err);
/* The same, but what cannot be loaded never fails: every entry has its status and reason, and
 * nothing is logged (q35 devices). Fails with NOMEM and with CONFIG alone. */
enum q35_status q35_registry_scan(struct q35_registry **out, const struct q35_config *config,
                                  struct q35_error *err);
/* Closes what is open and unloads. NULL is fine. */
void q35_registry_destroy(struct q35_registry *r);
/* The device `index` of a backend, or NULL. */
struct q35_device_entry *q35_registry_find(struct q35_registry *r, const char *backend,
                                           uint32_t index);

/* Does nothing if the device is open. The message of a failure begins with the backend's name. */
enum q35_status q35_device_open(struct q35_device_entry *d, struct q35_error *err);
void q35_device_close(struct q35_device_entry *d);

/* Loads and negotiates one plugin in this process, without a probe (verify-plugin, tests). p:
 * zeroed by the caller, must stay in place while loaded. On failure nothing needs to be unloaded.
 */
enum q35_status q35_plugin_load(struct q35_plugin_entry *p, const char *path,
                                struct q35_error *err);
void q35_plugin_unload(struct q35_plugin_entry *p);

/* Calls of a device with less typing: q35_call(d, wait, value, timeout, err). */
#define q35_call(d, slot, ...) ((d)->plugin->api.slot((d)->dev, __VA_ARGS__))

#endif
