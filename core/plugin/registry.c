/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plugin/certificate.h"
#include "core/plugin/isolate.h"
#include "core/plugin/search.h"

static enum q35_status certify(struct q35_plugin_entry *p, struct q35_error *err)
{
    struct q35_error own = Q35_ERROR_INIT;
    struct q35_certificate c;
    enum q35_status st = q35_certificate_check(p->path, &c, &own);
    p->certified = st == Q35_OK;
    if (p->certified)
        snprintf(p->certificate, sizeof(p->certificate), "%s, ABI %s, %s", c.determinism,
                 c.host_abi, c.date);
    else if (st != Q35_E_NOT_FOUND)
        snprintf(p->certificate, sizeof(p->certificate), "%.199s", own.message);
    if (p->certified || !p->config->require_certificate)
        return Q35_OK;
    return q35_fail(err, st, "it has no valid certificate (require_certificate = true): %.300s",
                    own.message);
}

/* Everything up to the first instruction of the plugin in this process. */
static enum q35_status admit(struct q35_plugin_entry *p, const struct q35_config *config,
                             const char *worker, struct q35_error *err)
{
    enum q35_status st = q35_plugin_find(&p->path, p->config->path, config->plugin_dir, err);
    if (st == Q35_OK)
        st = q35_file_trusted(p->path, err);
    if (st == Q35_OK && p->config->sha256)
        st = q35_file_sha256_check(p->path, p->config->sha256, err);
    if (st == Q35_OK)
        st = certify(p, err);
    if (st == Q35_OK)
        st = q35_plugin_probe(p->path, worker, &p->options, config->probe_seconds, err);
    return st;
}

static enum q35_status add_devices(struct q35_registry *r, struct q35_plugin_entry *p,
                                   struct q35_error *err)
{
    struct q35_device_info *infos;
    struct q35_device_entry *grown;
    uint32_t n;
    enum q35_status st = q35_plugin_devices(p, &infos, &n, p->note, err);
    if (st != Q35_OK || n == 0)
        return st;
    grown = realloc(r->devices, (r->device_count + (size_t)n) * sizeof(*grown));
    if (!grown) {
        free(infos);
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u devices", n);
    }
    r->devices = grown;
    for (uint32_t i = 0; i < n; i++)
        r->devices[r->device_count++] =
            (struct q35_device_entry){.plugin = p, .index = i, .info = infos[i]};
    p->device_count = n;
    free(infos);
    return Q35_OK;
}

static enum q35_status load_here_or_apart(struct q35_plugin_entry *p,
                                          const struct q35_config *config, const char *worker,
                                          struct q35_error *err)
{
    if (!p->config->isolate)
        return q35_plugin_load(p, p->path, err);
    if (!worker)
        return q35_fail(err, Q35_E_NOT_FOUND,
                        "%s:%d: isolate = process needs the program q35-worker", config->path,
                        p->config->line);
    return q35_isolate_load(p, worker, err);
}

/* CONFIG is an error of the whole configuration; other failures are the plugin's own. */
static enum q35_status load_backend(struct q35_registry *r, struct q35_plugin_entry *p,
                                    const struct q35_config *config, const char *worker,
                                    struct q35_error *err)
{
    enum q35_status st;
    p->options = (struct q35_options){(uint32_t)sizeof(p->options), p->config->option_count,
                                      p->config->options};
    st = admit(p, config, worker, err);
    if (st == Q35_OK)
        st = load_here_or_apart(p, config, worker, err);
    if (st == Q35_OK) {
        st = q35_options_check(&p->api, p->config, config->path, err);
        if (st == Q35_E_CONFIG)
            return st;
    }
    if (st == Q35_OK)
        st = add_devices(r, p, err);
    if (st == Q35_E_CONFIG) /* the plugin itself refused an option */
        q35_error_prefix(err, "%s:%d: [backend %s]", config->path, p->config->line,
                         p->config->name);
    p->status = st;
    if (st != Q35_OK)
        snprintf(p->reason, sizeof(p->reason), "%s", err->message);
    return st;
}

enum q35_status q35_registry_scan(struct q35_registry **out, const struct q35_config *config,
                                  struct q35_error *err)
{
    struct q35_error own = Q35_ERROR_INIT;
    struct q35_registry *r = calloc(1, sizeof(*r));
    char *worker = q35_worker_find();
    enum q35_status st = Q35_OK;
    err = err ? err : &own;
    *out = NULL;
    if (r)
        r->plugins = calloc(config->backend_count, sizeof(*r->plugins));
    if (!r || !r->plugins) {
        st = q35_fail(err, Q35_E_NOMEM, "no memory for the registry");
        goto fail;
    }
    for (uint32_t i = 0; i < config->backend_count; i++) {
        struct q35_plugin_entry *p = &r->plugins[r->plugin_count++];
        p->config = &config->backends[i];
        st = load_backend(r, p, config, worker, err);
        if (st == Q35_E_CONFIG || st == Q35_E_NOMEM)
            goto fail;
    }
    free(worker);
    *out = r;
    return Q35_OK;
fail:
    free(worker);
    q35_registry_destroy(r);
    return st;
}

/* One line for each backend that gave no device. */
static enum q35_status nothing_left(const struct q35_registry *r, struct q35_error *err)
{
    struct q35_str s = {0};
    enum q35_status st;
    for (uint32_t i = 0; i < r->plugin_count; i++) {
        const struct q35_plugin_entry *p = &r->plugins[i];
        q35_str_addf(&s, "%s%s: %s", i ? "; " : "", p->config->name,
                     p->status != Q35_OK ? p->reason
                     : p->note[0]        ? p->note
                                         : "found no device");
    }
    st = q35_fail(err, Q35_E_NOT_FOUND, "no device is left (%s)", s.data ? s.data : "");
    q35_str_fini(&s);
    return st;
}

enum q35_status q35_registry_create(struct q35_registry **out, const struct q35_config *config,
                                    struct q35_error *err)
{
    enum q35_status st = q35_registry_scan(out, config, err);
    if (st != Q35_OK)
        return st;
    for (uint32_t i = 0; i < (*out)->plugin_count && st == Q35_OK; i++) {
        const struct q35_plugin_entry *p = &(*out)->plugins[i];
        const struct q35_config_backend *b = p->config;
        if (p->status != Q35_OK && b->required)
            st = q35_fail(err, p->status, "%s:%d: required [backend %s]: %s", config->path, b->line,
                          b->name, p->reason);
        else if (p->status != Q35_OK)
            q35_log(Q35_LOG_WARN, "%s:%d: [backend %s] is left out: %s", config->path, b->line,
                    b->name, p->reason);
        else if (p->device_count == 0)
            q35_log(Q35_LOG_WARN, "[backend %s] found no device: %s", b->name, p->note);
    }
    if (st == Q35_OK && (*out)->device_count == 0)
        st = nothing_left(*out, err);
    if (st != Q35_OK) {
        q35_registry_destroy(*out);
        *out = NULL;
    }
    return st;
}

void q35_registry_destroy(struct q35_registry *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->device_count; i++)
        q35_device_close(&r->devices[i]);
    for (uint32_t i = 0; i < r->plugin_count; i++)
        q35_plugin_unload(&r->plugins[i]);
    free(r->devices);
    free(r->plugins);
    free(r);
}

struct q35_device_entry *q35_registry_find(struct q35_registry *r, const char *backend,
                                           uint32_t index)
{
    for (uint32_t i = 0; i < r->device_count; i++)
        if (r->devices[i].index == index &&
            strcmp(r->devices[i].plugin->config->name, backend) == 0)
            return &r->devices[i];
    return NULL;
}

enum q35_status q35_device_open(struct q35_device_entry *d, struct q35_error *err)
{
    struct q35_plugin_entry *p = d->plugin;
    enum q35_status st;
    if (d->dev)
        return Q35_OK;
    st = p->api.open(&p->host, &p->options, d->index, &d->dev, err);
    if (st == Q35_OK && !d->dev)
        st = q35_fail(err, Q35_E_PLUGIN, "open returned no device");
    if (st != Q35_OK) {
        d->dev = NULL;
        q35_error_prefix(err, "%s:%u", p->config ? p->config->name : p->api.name, d->index);
    }
    return st;
}

void q35_device_close(struct q35_device_entry *d)
{
    if (d->dev)
        d->plugin->api.close(d->dev);
    d->dev = NULL;
}
