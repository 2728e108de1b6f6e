/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Contexts and programs, shared by all opens of a device. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "opencl.h"

enum { PARTS = 17 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ocl_context *contexts;

/* The first line that a compiler said, without its newline. */
static void build_log(cl_program program, cl_device_id device, char *out, size_t size)
{
    size_t n = 0;
    char *log;
    out[0] = '\0';
    if (clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) || !n)
        return;
    log = calloc(1, n + 1);
    if (log && !clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, n, log, NULL)) {
        log[strcspn(log, "\n")] = '\0';
        snprintf(out, size, "%s", log);
    }
    free(log);
}

const char *const ocl_kernel_names[K_COUNT] = {
    [K_MATMUL] = "matmul_1",     [K_MATMUL + 1] = "matmul_2",  [K_MATMUL + 2] = "matmul_4",
    [K_MATMUL + 3] = "matmul_8", [K_MATMUL + 4] = "matmul_16", [K_NORM] = "rms_norm",
    [K_QUANTIZE] = "quantize",   [K_EMBED] = "embed",          [K_ROPE] = "rope",
    [K_STORE] = "store",         [K_STORE8] = "store8",        [K_ATTEND] = "attend",
    [K_ATTEND8] = "attend8",     [K_SWIGLU] = "swiglu",        [K_GREEDY] = "greedy",
};

/* The common part, then products once for each number of tokens. No fast-math of any kind;
 * quotients and roots are rounded correctly where the device can. */
static enum q35_status build(struct ocl_context *c, const struct ocl_limits *limits,
                             struct q35_error *err)
{
    static const char *const parts[PARTS] = {
        source_common, source_codes,
        source_cache,  "#define NAME attend\n#define INT8 0\n",
        source_attend, "#undef NAME\n#undef INT8\n#define NAME attend8\n#define INT8 1\n",
        source_attend, "#undef NAME\n#define NAME matmul_1\n#define TOKENS 1u\n",
        source_matmul, "#undef NAME\n#undef TOKENS\n#define NAME matmul_2\n#define TOKENS 2u\n",
        source_matmul, "#undef NAME\n#undef TOKENS\n#define NAME matmul_4\n#define TOKENS 4u\n",
        source_matmul, "#undef NAME\n#undef TOKENS\n#define NAME matmul_8\n#define TOKENS 8u\n",
        source_matmul, "#undef NAME\n#undef TOKENS\n#define NAME matmul_16\n#define TOKENS 16u\n",
        source_matmul};
    char options[160], log[300];
    cl_int code;

    c->program =
        clCreateProgramWithSource(c->context, PARTS, (const char **)(uintptr_t)parts, NULL, &code);
    if (code)
        return ocl_status(err, code, "clCreateProgramWithSource");
    snprintf(
        options, sizeof(options), "-cl-std=CL1.2 -DSLICES=%uu -DGROUP=%uu%s", c->slices, c->group,
        limits->fp & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT ? " -cl-fp32-correctly-rounded-divide-sqrt"
                                                         : "");
    code = clBuildProgram(c->program, 1, &c->device, options, NULL, NULL);
    if (!code)
        return Q35_OK;
    ocl_status(err, code, "clBuildProgram");
    build_log(c->program, c->device, log, sizeof(log));
    if (log[0]) {
        size_t n = strlen(err->message);
        snprintf(err->message + n, sizeof(err->message) - n, ": %s", log);
    }
    return (enum q35_status)err->status;
}

static void destroy(struct ocl_context *c)
{
    if (c->program)
        clReleaseProgram(c->program);
    if (c->context)
        clReleaseContext(c->context);
    free(c);
}

static enum q35_status create(cl_device_id device, const struct ocl_limits *limits, uint32_t slices,
                              struct ocl_context **out, struct q35_error *err)
{
    struct ocl_context *c = calloc(1, sizeof(*c));
    enum q35_status st;
    cl_int code;
    if (!c)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a context");
    c->device = device;
    c->slices = slices;
    c->group = limits->type & CL_DEVICE_TYPE_CPU || limits->max_group < 256 ? 64 : 256;
    c->context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    st = code ? ocl_status(err, code, "clCreateContext") : build(c, limits, err);
    if (st) {
        destroy(c);
        return st;
    }
    *out = c;
    return Q35_OK;
}

enum q35_status ocl_context_get(cl_device_id device, const struct ocl_limits *limits,
                                uint32_t slices, struct ocl_context **out, struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    struct ocl_context *c;
    pthread_mutex_lock(&lock);
    for (c = contexts; c && (c->retired || c->device != device || c->slices != slices);)
        c = c->next;
    if (!c) {
        st = create(device, limits, slices, &c, err);
        if (!st) {
            c->next = contexts;
            contexts = c;
        }
    }
    pthread_mutex_unlock(&lock);
    *out = c;
    return st;
}

void ocl_context_retire(struct ocl_context *c)
{
    pthread_mutex_lock(&lock);
    c->retired = true;
    pthread_mutex_unlock(&lock);
}
