/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A working plugin that inherits everything, until it finds the file that its option `trigger`
 * names: then it removes the file and crashes, exits or hangs, as the file's first letter says. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "q35/backend.h"

static const struct q35_ops *reference;
static char trigger[512];
static long after = -1;

static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    (void)options;
    (void)err;
    puts("a plugin must not write to stdout; isolated, it cannot");
    reference = host->reference_ops;
    *count = 2;
    return Q35_OK;
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    (void)host;
    (void)options;
    (void)err;
    info->determinism = Q35_CLASS_EXACT;
    snprintf(info->name, sizeof(info->name), "mortal %u", index);
    info->memory_total = info->memory_free = 1u << 30;
    info->max_batch = 64;
    info->max_sequences = 16;
    info->buffer_alignment = 64;
    return Q35_OK;
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    (void)index;
    (void)err;
    reference = host->reference_ops;
    for (uint32_t i = 0; i < options->count; i++)
        if (strcmp(options->items[i].key, "after") == 0)
            after = atol(options->items[i].value);
        else
            snprintf(trigger, sizeof(trigger), "%s", options->items[i].value);
    *out = calloc(1, 8);
    return *out ? Q35_OK : Q35_E_NOMEM;
}

static void close_device(struct q35_device *dev)
{
    free(dev);
}

static void maybe_die(void)
{
    char letter = 0;
    int fd = trigger[0] ? open(trigger, O_RDONLY) : -1;
    if (fd < 0 && (after < 0 || after-- > 0))
        return;
    if (read(fd, &letter, 1) != 1)
        letter = 'c';
    close(fd);
    unlink(trigger);
    if (letter == 'e')
        _exit(7);
    if (letter == 'h')
        for (;;)
            pause();
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
    raise(SIGSEGV);
}

static enum q35_status swiglu(void *user, uint64_t n, const float *gate, const float *up,
                              float *out, struct q35_error *err)
{
    maybe_die();
    return reference->swiglu(user, n, gate, up, out, err);
}

static const struct q35_ops ops = {.size = sizeof(ops), .swiglu = swiglu};
static const struct q35_option_spec specs[] = {{"trigger", "string", "a file", ""},
                                               {"after", "int", "layers", "-1"}};
static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .flags = Q35_PLUGIN_INHERIT,
    .name = "mortal",
    .version = "2",
    .options = specs,
    .option_count = 2,
    .option_stride = sizeof(specs[0]),
    .ops = &ops,
    .enumerate = enumerate,
    .device_info = device_info,
    .open = open_device,
    .close = close_device,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t major, uint32_t minor)
{
    (void)minor;
    return major == Q35_ABI_MAJOR ? &plugin : NULL;
}
