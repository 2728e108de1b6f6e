/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <stdlib.h>

#include <jansson.h>

#include "core/plugin/registry.h"
#include "core/plugin/search.h"
#include "tools/q35/session.h"

static const struct cli_option options[] = {
    {'c', "config", "INI", "configuration whose backends to load"},
    {'b', "backend", "BACKEND", "load this backend alone: a name or the path of a plugin"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

static const char *class_name(uint32_t determinism)
{
    return determinism == Q35_CLASS_EXACT ? "exact" : "close";
}

static const struct {
    uint32_t bit;
    const char *name;
} features[] = {{Q35_FEATURE_GREEDY, "greedy"},
                {Q35_FEATURE_KV_INT8, "kv int8"},
                {Q35_FEATURE_TRIPLE, "triple codes"}};

static void print_gib(const char *label, uint64_t bytes)
{
    if (bytes)
        printf(", %.1f GiB%s", (double)bytes / 1073741824.0, label);
}

static void print_plugin(const struct q35_registry *r, const struct q35_plugin_entry *p)
{
    const char *path = p->path ? p->path : p->config->path;
    if (p->status != Q35_OK) {
        printf("%s: left out: %s\n    %s\n", p->config->name, p->reason, path);
        return;
    }
    printf("%s: plugin %s %s, ABI %u.%u%s%s%s\n    %s\n", p->config->name, p->api.name,
           p->api.version, p->api.abi_major, p->api.abi_minor,
           p->config->isolate ? ", isolated" : "", p->api.description[0] ? ", " : "",
           p->api.description, path);
    if (p->certificate[0])
        printf("    %s: %s\n", p->certified ? "certified" : "certificate does not hold",
               p->certificate);
    if (p->device_count == 0)
        printf("    no device: %s\n", p->note[0] ? p->note : "the plugin does not say why");
    for (uint32_t i = 0; i < r->device_count; i++) {
        const struct q35_device_info *d = &r->devices[i].info;
        if (r->devices[i].plugin != p)
            continue;
        printf("    %s:%u  %s (%s), %s", p->config->name, r->devices[i].index, d->name, d->id,
               class_name(d->determinism));
        print_gib("", d->memory_total);
        print_gib(" free", d->memory_free);
        if (d->memory_bandwidth)
            printf(", %.1f GB/s", (double)d->memory_bandwidth / 1e9);
        for (size_t f = 0; f < Q35_COUNT(features); f++)
            if (d->features & features[f].bit)
                printf(", %s", features[f].name);
        puts(d->simulated ? ", simulated" : "");
    }
}

static json_t *device_json(const struct q35_device_entry *e)
{
    const struct q35_device_info *d = &e->info;
    json_t *has = json_array();
    for (size_t f = 0; f < Q35_COUNT(features); f++)
        if (d->features & features[f].bit)
            json_array_append_new(has, json_string(features[f].name));
    return json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:b, s:o}", "index",
                     (int)e->index, "name", d->name, "id", d->id, "class",
                     class_name(d->determinism), "memory_total", (json_int_t)d->memory_total,
                     "memory_free", (json_int_t)d->memory_free, "memory_bandwidth",
                     (json_int_t)d->memory_bandwidth, "max_batch", (int)d->max_batch,
                     "max_sequences", (int)d->max_sequences, "buffer_alignment",
                     (int)d->buffer_alignment, "simulated", d->simulated != 0, "features", has);
}

static json_t *plugin_json(const struct q35_registry *r, const struct q35_plugin_entry *p)
{
    bool ok = p->status == Q35_OK;
    json_t *devices = json_array();
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:b, s:b}", "backend", p->config->name, "path",
                  p->path ? p->path : p->config->path, "status", q35_status_text((int)p->status),
                  "loaded", ok, "isolated", p->config->isolate);
    if (ok) {
        json_object_set_new(o, "plugin", json_string(p->api.name));
        json_object_set_new(o, "version", json_string(p->api.version));
        json_object_set_new(o, "description", json_string(p->api.description));
        json_object_set_new(o, "licence", json_string(p->api.licence));
        json_object_set_new(o, "abi", json_sprintf("%u.%u", p->api.abi_major, p->api.abi_minor));
        json_object_set_new(o, "note", json_string(p->note));
    } else {
        json_object_set_new(o, "reason", json_string(p->reason));
    }
    json_object_set_new(o, "certified", json_boolean(p->certified));
    json_object_set_new(o, "certificate", json_string(p->certificate));
    for (uint32_t i = 0; i < r->device_count; i++)
        if (r->devices[i].plugin == p)
            json_array_append_new(devices, device_json(&r->devices[i]));
    json_object_set_new(o, "devices", devices);
    return o;
}

static int print_all(struct cli *cli, const struct q35_registry *r)
{
    json_t *list;
    if (!cli_flag(cli, "json")) {
        for (uint32_t i = 0; i < r->plugin_count; i++)
            print_plugin(r, &r->plugins[i]);
        return CLI_OK;
    }
    list = json_array();
    for (uint32_t i = 0; i < r->plugin_count; i++)
        json_array_append_new(list, plugin_json(r, &r->plugins[i]));
    return cli_print_json(cli, json_pack("{s:o}", "backends", list));
}

/* Fails if a required backend is left out or no device is there, after showing everything. */
static int verdict(struct cli *cli, const struct q35_registry *r)
{
    for (uint32_t i = 0; i < r->plugin_count; i++)
        if (r->plugins[i].status != Q35_OK && r->plugins[i].config->required)
            return cli_failf(cli, "required backend %s: %s", r->plugins[i].config->name,
                             r->plugins[i].reason);
    return r->device_count ? CLI_OK : cli_failf(cli, "there is no device");
}

/* A configuration with those of q35's own plugins that were built. */
static enum q35_status first_party(struct q35_config **out, struct q35_error *err)
{
    struct q35_str text = {0};
    enum q35_status st;
    for (const char *const *name = session_backends; *name; name++) {
        char *file;
        if (q35_plugin_find(&file, *name, NULL, NULL) == Q35_OK)
            q35_str_addf(&text, "[backend %s]\npath = %s\n", *name, file);
        free(file);
    }
    st = q35_config_parse(out, text.data ? text.data : "", "<default>", err);
    q35_str_fini(&text);
    return st;
}

static int run(struct cli *cli)
{
    const char *path = cli_value(cli, "config"), *backend = cli_value(cli, "backend");
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_config *config = NULL;
    struct q35_registry *r = NULL;
    enum q35_status st;
    int rc;
    if (path && backend)
        return cli_usage(cli, "--config and --backend exclude each other");
    if (path)
        st = q35_config_load(&config, path, &err);
    else if (backend)
        st = q35_config_default(&config, backend, &err);
    else
        st = first_party(&config, &err);
    if (st == Q35_OK)
        st = q35_registry_scan(&r, config, &err);
    if (st != Q35_OK) {
        rc = cli_error(cli, &err);
    } else {
        rc = print_all(cli, r);
        rc = rc == CLI_OK ? verdict(cli, r) : rc;
    }
    q35_registry_destroy(r);
    q35_config_free(config);
    return rc;
}

const struct cli_command cmd_devices = {
    .name = "devices",
    .synopsis = "[-c INI | -b BACKEND]",
    .summary = "show backends, their devices, and why a backend is left out",
    .details = "Every plugin is first tried in a process of its own; one that crashes, exits or "
               "hangs there is left out and named with the reason. Without -c or -b the plugins "
               "that come with q35 are tried.",
    .examples = "q35 devices\nq35 devices -c q35d.ini --json\nq35 devices -b ./my_plugin.so",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
