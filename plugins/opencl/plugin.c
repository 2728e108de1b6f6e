/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* opencl.so: whole layers on OpenCL 1.2 devices, weights and KV cache in their memory. */

#include <stdio.h>
#include <string.h>

#include "opencl.h"

static const struct q35_option_spec option_specs[] = {
    {"platform", "string", "number of the OpenCL platform, or a part of its name", ""},
    {"device", "string", "number of the device on its platform, or a part of its name", ""},
    {"type", "enum:auto|gpu|accelerator|cpu|all",
     "kinds of devices; auto takes CPUs only where there is nothing else", "auto"},
    {"slices", "int", "work-items that share a row's sum, in units of 8; 0 chooses by device", "0"},
    {"tokens_at_once", "int", "tokens that share one decoding of a tile, 1 to 16", "16"},
    {"zero_copy", "enum:auto|on|off",
     "use host memory in place; auto does so where the device shares it", "auto"},
};

static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    struct ocl_choice choices[MAX_DEVICES];
    struct ocl_settings s;
    enum q35_status st = ocl_settings_read(options, &s, err);
    (void)host;
    *count = 0;
    if (!st)
        st = ocl_room(err);
    return st ? st : ocl_choose(&s, choices, count, err);
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    const cl_device_fp_config needed = CL_FP_DENORM | CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN |
                                       CL_FP_FMA | CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT;
    struct q35_device_info own = {.max_batch = MAX_BATCH,
                                  .max_sequences = MAX_SEQUENCES,
                                  .buffer_alignment = 64,
                                  .features = Q35_FEATURE_GREEDY | Q35_FEATURE_KV_INT8 |
                                              Q35_FEATURE_TRIPLE};
    struct ocl_choice choice;
    struct ocl_limits limits;
    struct ocl_settings s;
    enum q35_status st = ocl_choose_one(options, index, &s, &choice, err);
    (void)host;
    if (!st)
        st = ocl_limits_read(choice.device, &limits, err);
    if (st)
        return st;
    ocl_describe(&choice, own.name, own.id);
    /* Where the device flushes tiny numbers to zero or rounds a quotient otherwise, a last place
     * may differ. */
    own.determinism = (limits.fp & needed) == needed ? Q35_CLASS_EXACT : Q35_CLASS_CLOSE;
    own.memory_total = limits.memory;
    own.memory_free = limits.memory; /* OpenCL does not tell */
    own.size = info->size;
    memcpy(info, &own, info->size < sizeof(own) ? info->size : sizeof(own));
    return Q35_OK;
}

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .name = "opencl",
    .version = "1.0.0",
    .description = "OpenCL 1.2 devices: AMD, Intel, NVIDIA, PoCL",
    .licence = "MIT",
    .options = option_specs,
    .option_count = sizeof(option_specs) / sizeof(option_specs[0]),
    .option_stride = sizeof(option_specs[0]),
    .enumerate = enumerate,
    .device_info = device_info,
    .open = ocl_open,
    .close = ocl_close,
    .supports = ocl_supports,
    .plan = ocl_plan,
    .buffer_alloc = ocl_buffer_alloc,
    .buffer_free = ocl_buffer_free,
    .buffer_write = ocl_buffer_write,
    .buffer_read = ocl_buffer_read,
    .weights_begin = ocl_weights_begin,
    .weights_put = ocl_weights_put,
    .weights_commit = ocl_weights_commit,
    .weights_free = ocl_weights_free,
    .kv_create = ocl_kv_create,
    .kv_free = ocl_kv_free,
    .kv_truncate = ocl_kv_truncate,
    .kv_fork = ocl_kv_fork,
    .run_layers = ocl_run_layers,
    .wait = ocl_wait,
    .poll = ocl_poll,
    .cancel = ocl_cancel,
    .reset = ocl_reset,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor;
    return host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
