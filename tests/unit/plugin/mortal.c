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

#include "q35/measure.h"

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
    if (*out)
        memcpy(*out, &(unsigned){4711}, sizeof(unsigned));
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

static uint32_t tensors(const struct q35_layer *layers, uint32_t count, uint32_t stride)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct q35_layer *l = (const void *)((const char *)layers + (size_t)i * stride);
        for (uint32_t t = 0; t < l->tensor_count; t++)
            n += ((const struct q35_tensor_desc *)(const void *)((const char *)l->tensors +
                                                                 (size_t)t * l->tensor_stride))
                     ->role;
    }
    return n;
}

static enum q35_status seconds(struct q35_device *dev, const struct q35_layer *layers,
                               uint32_t count, uint32_t stride, uint32_t n_tokens, uint32_t context,
                               double *out, struct q35_error *err)
{
    (void)dev;
    (void)err;
    *out = 1e-6 * n_tokens * count + 1e-9 * (context + tensors(layers, count, stride));
    return Q35_OK;
}

/* What it was asked, and that the device is the one that it opened. */
static enum q35_status report(struct q35_device *dev, const struct q35_layer *layers,
                              uint32_t count, uint32_t stride, uint32_t n_tokens, uint32_t context,
                              uint32_t json, char *text, uint64_t size, struct q35_error *err)
{
    int n =
        snprintf(text, (size_t)size,
                 json ? "{\"asked\": [%u, %u, %u, %u], \"own\": %u}" : "%u %u %u %u %u\n", count,
                 tensors(layers, count, stride), n_tokens, context, *(unsigned *)(void *)dev);
    if (n >= 0 && (uint64_t)n < size)
        return Q35_OK;
    snprintf(err->message, sizeof(err->message), "a report takes %d bytes", n);
    return Q35_E_CAPACITY;
}

static const void *get_extension(const char *id, uint32_t version)
{
    static const struct q35_measure measure = {sizeof(measure), 0, seconds, report};
    return version == 1 && strcmp(id, Q35_EXT_MEASURE) == 0 ? &measure : NULL;
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
    .get_extension = get_extension,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t major, uint32_t minor)
{
    (void)minor;
    return major == Q35_ABI_MAJOR ? &plugin : NULL;
}
