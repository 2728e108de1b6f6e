/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Sample plugins for the loader's test: one source, one shared object for each fault (FAULT_x). */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "q35/backend.h"

static enum q35_status fail(struct q35_error *err, enum q35_status status, const char *text)
{
    err->status = (int32_t)status;
    strncpy(err->message, text, sizeof(err->message) - 1);
    return status;
}

static const char *option(const struct q35_options *o, const char *key)
{
    for (uint32_t i = 0; i < o->count; i++)
        if (strcmp(o->items[i].key, key) == 0)
            return o->items[i].value;
    return NULL;
}

static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    const char *n = option(options, "devices");
    host->log(host->ctx, Q35_LOG_DEBUG, "enumerating");
    *count = n ? (uint32_t)atoi(n) : 2;
#ifdef FAULT_CRASH_ENUMERATE
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
    raise(SIGSEGV);
#endif
#ifdef FAULT_MANY
    *count = 1u << 30;
#endif
    if (*count == 0)
        fail(err, Q35_OK, "looked for\nnothing");
    if (*count == 7)
        return fail(err, Q35_E_CONFIG, "seven devices are not to be had");
    return *count == 9 ? fail(err, Q35_E_NOT_FOUND, "no driver") : Q35_OK;
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    (void)host;
    (void)options;
    (void)err;
    info->determinism = Q35_CLASS_EXACT;
#ifdef FAULT_CLASS
    info->determinism = 77;
#endif
    memset(info->name, 'n', sizeof(info->name)); /* not terminated: the host must cope */
    snprintf(info->id, sizeof(info->id), "sample\x01%u", index);
    info->max_batch = 4;
    info->max_sequences = 2;
    info->buffer_alignment = 64;
    return Q35_OK;
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    (void)host;
    (void)options;
    if (index == 1)
        return fail(err, Q35_E_BUSY, "taken");
#ifdef FAULT_OLDER /* has no close to free it */
    static char handle[8];
    *out = (void *)handle;
#else
    *out = malloc(8);
#endif
    return Q35_OK;
}

static void close_device(struct q35_device *dev)
{
    free(dev);
}

static const struct q35_option_spec specs[] = {
    {"devices", "int", "how many", "2"}, {"fast", "bool", "", "false"},
    {"room", "size", "", "1G"},          {"mode", "enum:slow|quick", "", "slow"},
    {"label", "string", "", ""},
};

/* What a newer header might have. */
struct longer {
    struct q35_plugin p;
    void *more[4];
};

static struct longer plugin = {
    .p =
        {
            .size = sizeof(struct q35_plugin),
            .abi_major = Q35_ABI_MAJOR,
            .abi_minor = Q35_ABI_MINOR,
            .flags = Q35_PLUGIN_INHERIT,
            .name = "sample",
            .version = "1",
            .options = specs,
            .option_count = sizeof(specs) / sizeof(specs[0]),
            .option_stride = sizeof(specs[0]),
            .enumerate = enumerate,
            .device_info = device_info,
            .open = open_device,
            .close = close_device,
        },
};

#ifdef FAULT_NO_SYMBOL
#define q35_plugin_query another_name
#endif
Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t major, uint32_t minor)
{
    (void)minor;
#if defined(FAULT_MAJOR)
    plugin.p.abi_major = major + 1;
#elif defined(FAULT_NULL)
    return NULL;
#elif defined(FAULT_CRASH_QUERY)
    abort();
#elif defined(FAULT_SHORT)
    plugin.p.size = offsetof(struct q35_plugin, enumerate);
#elif defined(FAULT_NAME)
    plugin.p.name = "Garbage\x01name";
#elif defined(FAULT_SPEC)
    plugin.p.option_stride = 4;
#elif defined(FAULT_INCOMPLETE)
    plugin.p.flags = 0;
#elif defined(FAULT_NEWER) /* no fault: a plugin of the future */
    plugin.p.size = sizeof(plugin);
    plugin.p.abi_minor = 99;
    memset(plugin.more, 0xff, sizeof(plugin.more));
#elif defined(FAULT_OLDER) /* no fault: cut in the middle of `close`, which then is absent */
    plugin.p.size = offsetof(struct q35_plugin, close) + 4;
    memset(&plugin.p.supports, 0xff, 64);
#endif
    return major == Q35_ABI_MAJOR ? &plugin.p : NULL;
}

__attribute__((constructor)) static void on_load(void)
{
#if defined(FAULT_CRASH)
    fputs("about to\nfall over\n", stderr);
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
    raise(SIGSEGV);
#elif defined(FAULT_EXIT)
    _exit(3);
#elif defined(FAULT_HANG)
    for (;;)
        pause();
#elif defined(FAULT_SCRIBBLE)
    if (write(3, "nonsense", 8) != 8)
        _exit(4);
#endif
}

__attribute__((destructor)) static void on_unload(void)
{
#if defined(FAULT_HANG_UNLOAD)
    for (;;)
        pause();
#endif
}
