/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* reference.so: one device "cpu0", the software device with the reference operations. */

#include "soft.h"

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    const struct q35_soft_config config = {0};
    (void)host;
    (void)options;
    return q35_soft_device_info(index, "reference (plain C)", q35_soft_features(&config), info,
                                err);
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    const struct q35_soft_config config = {0};
    (void)host;
    (void)options;
    *out = NULL;
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    return q35_soft_open(&config, out, err);
}

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .name = "reference",
    .version = "1.0.0",
    .description = "plain C, the executable specification of the arithmetic",
    .licence = "MIT",
    .enumerate = q35_soft_enumerate,
    .device_info = device_info,
    .open = open_device,
    Q35_SOFT_SLOTS,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor;
    return host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
