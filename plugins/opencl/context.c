/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Contexts and programs, shared by all opens of a device. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "opencl.h"

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

/* The common part, then the kernel once for each number of tokens. No fast-math of any kind: the
 * defaults of OpenCL are exact for the operations used (add, multiply, conversions). */
static enum q35_status build(struct ocl_context *c, struct q35_error *err)
{
    static const char *const parts[2 * VARIANTS + 1] = {
        source_common, "#define NAME matmul_1\n#define TOKENS 1u\n",
        source_kernel, "#undef NAME\n#undef TOKENS\n#define NAME matmul_2\n#define TOKENS 2u\n",
        source_kernel, "#undef NAME\n#undef TOKENS\n#define NAME matmul_4\n#define TOKENS 4u\n",
        source_kernel, "#undef NAME\n#undef TOKENS\n#define NAME matmul_8\n#define TOKENS 8u\n",
        source_kernel, "#undef NAME\n#undef TOKENS\n#define NAME matmul_16\n#define TOKENS 16u\n",
        source_kernel};
    char options[64], log[300];
    cl_int code;

    c->program = clCreateProgramWithSource(c->context, 2 * VARIANTS + 1,
                                           (const char **)(uintptr_t)parts, NULL, &code);
    if (code)
        return ocl_status(err, code, "clCreateProgramWithSource");
    snprintf(options, sizeof(options), "-cl-std=CL1.2 -DSLICES=%uu", c->slices);
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

static enum q35_status create(cl_device_id device, uint32_t slices, struct ocl_context **out,
                              struct q35_error *err)
{
    struct ocl_context *c = calloc(1, sizeof(*c));
    enum q35_status st;
    cl_int code;
    if (!c)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a context");
    c->device = device;
    c->slices = slices;
    c->context = clCreateContext(NULL, 1, &device, NULL, NULL, &code);
    st = code ? ocl_status(err, code, "clCreateContext") : build(c, err);
    if (st) {
        destroy(c);
        return st;
    }
    *out = c;
    return Q35_OK;
}

enum q35_status ocl_context_get(cl_device_id device, uint32_t slices, struct ocl_context **out,
                                struct q35_error *err)
{
    enum q35_status st = Q35_OK;
    struct ocl_context *c;
    pthread_mutex_lock(&lock);
    for (c = contexts; c && (c->retired || c->device != device || c->slices != slices);)
        c = c->next;
    if (!c) {
        st = create(device, slices, &c, err);
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
