/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_PLUGIN_OPENCL_H
#define Q35_PLUGIN_OPENCL_H

/* What the files of the OpenCL backend share. It knows q35 by <q35/...> alone. */

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <q35/backend.h>

enum {
    MAX_PLATFORMS = 16,
    MAX_DEVICES = 64, /* in all */
    VARIANTS = 5      /* kernels for 1, 2, 4, 8, 16 tokens */
};

/* One device that the options let through. */
struct ocl_choice {
    cl_platform_id platform;
    cl_device_id device;
    cl_device_type type;
    uint32_t number; /* among the devices of its platform */
};

/* What OpenCL says of a device; the kernels are chosen by it. */
struct ocl_limits {
    cl_device_type type;
    cl_ulong memory, max_alloc, local_memory;
    size_t max_group;
    cl_device_fp_config fp;
    bool unified;
};

/* The [backend] section. */
struct ocl_settings {
    const char *platform, *device; /* NULL: any */
    const char *type;              /* auto, gpu, accelerator, cpu, all */
    uint32_t slices;               /* 0: by device */
    uint32_t tokens;               /* tokens that share one decoding of a tile */
    int zero_copy;                 /* -1: by device */
};

/* A context and its built program. Made once for a device and a work-group shape and kept for the
 * life of the process: drivers are slow to make them and some never give everything back. */
struct ocl_context {
    struct ocl_context *next;
    cl_device_id device;
    uint32_t slices;
    cl_context context;
    cl_program program;
    bool retired; /* lost with its device; never used again */
};

/* Memory that travels in one direction. */
struct ocl_staged {
    cl_mem device, pinned;
    void *host; /* of pinned, or of device while it is mapped */
    uint64_t bytes;
};

/* What open makes, and every operation gets as `user`. */
struct ocl_device {
    const struct q35_host *host;
    struct ocl_choice choice;
    struct ocl_limits limits;
    uint32_t slices, tokens;
    bool zero_copy, lost;
    struct ocl_context *shared;
    cl_command_queue queue;
    cl_kernel kernels[VARIANTS];
    /* Grown to the largest product seen, never beyond what plan said. in: int8 activations, then
     * their scales; out: f32 results. Where the device has memory of its own, the host's side of
     * both is pinned memory that stays mapped. */
    struct ocl_staged in, out;
};

/* errors.c */
enum q35_status ocl_fail(struct q35_error *err, enum q35_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The status and blast radius of an OpenCL error. what: the call, for the message. */
enum q35_status ocl_status(struct q35_error *err, cl_int code, const char *what);
const char *ocl_error_name(cl_int code);

/* devices.c */
enum q35_status ocl_settings_read(const struct q35_options *options, struct ocl_settings *s,
                                  struct q35_error *err);
/* The devices that settings let through, in a fixed order: GPUs, accelerators, CPUs. With none, OK
 * and *count 0, and err->message says what was looked for. */
enum q35_status ocl_choose(const struct ocl_settings *s, struct ocl_choice *out, uint32_t *count,
                           struct q35_error *err);
enum q35_status ocl_limits_read(cl_device_id device, struct ocl_limits *out, struct q35_error *err);
void ocl_describe(const struct ocl_choice *c, char name[64], char id[64]);
uint32_t ocl_slices(const struct ocl_settings *s, const struct ocl_limits *l);

/* context.c */
enum q35_status ocl_context_get(cl_device_id device, uint32_t slices, struct ocl_context **out,
                                struct q35_error *err);
void ocl_context_retire(struct ocl_context *c);

/* device.c */
enum q35_status ocl_open(const struct q35_host *host, const struct q35_options *options,
                         uint32_t index, struct q35_device **out, struct q35_error *err);
void ocl_close(struct q35_device *dev);
enum q35_status ocl_supports(struct q35_device *dev, const struct q35_layer *layer,
                             struct q35_error *err);
enum q35_status ocl_plan(struct q35_device *dev, const struct q35_plan_request *request,
                         struct q35_plan_result *result, struct q35_error *err);
/* A lost device gets a new context, queue and kernels. */
enum q35_status ocl_revive(struct ocl_device *d, struct q35_error *err);

/* matmul.c */
enum q35_status ocl_matrix_prepare(void *user, struct q35_matrix *m, struct q35_error *err);
void ocl_matrix_release(void *user, struct q35_matrix *m);
enum q35_status ocl_matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err);
/* Bytes on the device, and of both sides of the staging memory, for the largest product of n tokens
 * with matrices of that many rows in all. */
uint64_t ocl_matrix_bytes(uint32_t scheme, uint32_t rows, uint32_t cols);
uint64_t ocl_scratch_bytes(uint32_t n_tokens, uint64_t rows, uint32_t cols_padded);
void ocl_scratch_free(struct ocl_device *d);

/* Around calls that may start a driver: what it does to signal handlers is undone. */
void ocl_driver_enter(void);
void ocl_driver_leave(void);

#endif
