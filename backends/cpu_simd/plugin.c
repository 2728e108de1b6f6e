/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* cpu_simd.so: one device, the software device with vector kernels and a pool of threads. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "ops.h"
#include "soft.h"

#define MAX_THREADS 1024

static const struct q35_option_spec option_specs[] = {
    {"threads", "int",
     "threads that compute: at most, and for 0 as many as, CPUs this process may use", "0"},
    {"pin", "enum:auto|none|cores",
     "whether each thread stays on one CPU, cores before their second CPUs; auto: where there are "
     "several NUMA nodes",
     "auto"},
    {"isa", "enum:auto|scalar|avx2|avxvnni|avx512|avx512vnni|avx512vbmi|amx|neon|dotprod",
     "newest instruction set to use", "auto"},
    {"profile", "enum:off|on", "log the times of all operations when the device closes", "off"},
};

/* What cpu_ops do beyond ABI 1.0. */
#define OWN_FEATURES (Q35_FEATURE_KV_INT8 | Q35_FEATURE_TRIPLE)

/* The last variant to install: the newest that the CPU has, or the one asked for. */
static enum q35_status pick_variant(const struct q35_options *options, unsigned features,
                                    unsigned *variant, struct q35_error *err)
{
    const char *isa = q35_soft_option(options, "isa");
    unsigned i;
    for (i = 0; i < q35_cpu_variant_count; i++) {
        const struct variant *v = &q35_cpu_variants[i];
        if (!isa || strcmp(isa, "auto") == 0) {
            if ((v->need & ~features) == 0)
                *variant = i;
        } else if (strcmp(isa, v->id) == 0) {
            *variant = i;
            if (v->need & ~features)
                return q35_soft_fail(err, Q35_E_UNSUPPORTED, "isa = %s: this CPU has no %s", isa,
                                     v->name);
            return Q35_OK;
        }
    }
    if (isa && strcmp(isa, "auto") != 0)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "isa = %s: not for this architecture", isa);
    return Q35_OK;
}

static enum q35_status read_threads(const struct q35_options *options, uint32_t *threads,
                                    struct q35_error *err)
{
    const char *text = q35_soft_option(options, "threads");
    char *end;
    long n;
    *threads = 0;
    if (!text)
        return Q35_OK;
    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < 0 || n > MAX_THREADS)
        return q35_soft_fail(err, Q35_E_CONFIG, "threads = %s: not a number from 0 to %d", text,
                             MAX_THREADS);
    *threads = (uint32_t)n;
    return Q35_OK;
}

static bool read_pin(const char *text, enum cpu_pin *pin)
{
    if (!text || strcmp(text, "auto") == 0)
        *pin = CPU_PIN_AUTO;
    else if (strcmp(text, "none") == 0)
        *pin = CPU_PIN_NONE;
    else if (strcmp(text, "cores") == 0)
        *pin = CPU_PIN_CORES;
    else
        return false;
    return true;
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    const struct q35_soft_config config = {.ops = &cpu_ops, .features = OWN_FEATURES};
    char name[64];
    unsigned variant = 0;
    enum q35_status st = pick_variant(options, q35_cpu_features(), &variant, err);
    (void)host;
    if (st)
        return st;
    snprintf(name, sizeof name, "cpu (%s)", q35_cpu_variants[variant].name);
    return q35_soft_device_info(index, name, q35_soft_features(&config), info, err);
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct q35_soft_config config = {.ops = &cpu_ops,
                                     .user_close = cpu_destroy,
                                     .hash = cpu_hash,
                                     .greedy = cpu_greedy,
                                     .quantize_head = cpu_quantize_head,
                                     .matmul_then = cpu_matmul_then,
                                     .features = OWN_FEATURES};
    unsigned features = q35_cpu_features(), variant = 0;
    const char *pin = q35_soft_option(options, "pin");
    const char *profile = q35_soft_option(options, "profile");
    enum cpu_pin how;
    uint32_t threads;
    enum q35_status st;
    (void)host;
    *out = NULL;
    if (index)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "device %u of 1", index);
    st = pick_variant(options, features, &variant, err);
    if (!st)
        st = read_threads(options, &threads, err);
    if (st)
        return st;
    if (!read_pin(pin, &how))
        return q35_soft_fail(err, Q35_E_CONFIG, "pin = %s: neither auto nor none nor cores", pin);
    config.user = cpu_create(features, variant, threads, how);
    if (!config.user)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory or threads for the CPU device");
    if (profile && strcmp(profile, "off") != 0 && strcmp(profile, "on") != 0) {
        cpu_destroy(config.user);
        return q35_soft_fail(err, Q35_E_CONFIG, "profile = %s: neither off nor on", profile);
    }
    if (profile && strcmp(profile, "on") == 0) {
        config.ops = &cpu_profile_ops;
        config.matmul_then = cpu_profile_matmul_then;
        if (!cpu_profile_start(config.user, host)) {
            cpu_destroy(config.user);
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for times");
        }
    }
    return q35_soft_open(&config, out, err);
}

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .name = "cpu_simd",
    .version = "1.0.0",
    .description = "x86-64 and AArch64 vector kernels, chosen at run time",
    .licence = "MIT",
    .options = option_specs,
    .option_count = sizeof option_specs / sizeof *option_specs,
    .option_stride = sizeof *option_specs,
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
