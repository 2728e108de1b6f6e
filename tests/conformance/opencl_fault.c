/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Stands before the OpenCL loader (LD_PRELOAD) and makes calls fail: FAULT_LAUNCH=N the N-th kernel
 * launch, as after a fault on the device; FAULT_BUFFER=N the N-th buffer, for want of memory. With
 * FAULT_STAYS=1 all later ones fail as well. */

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* Whether this call, the n-th of its kind, is to fail. */
static int fails(const char *name, _Atomic unsigned long *n)
{
    const char *at = getenv(name);
    unsigned long this_one = atomic_fetch_add(n, 1) + 1, wanted = at ? strtoul(at, NULL, 10) : 0;
    return wanted && (this_one == wanted || (this_one > wanted && getenv("FAULT_STAYS")));
}

static void *real(const char *name)
{
    static void *loader;
    if (!loader)
        loader = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
    return loader ? dlsym(loader, name) : NULL;
}

EXPORT cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims,
                                     const size_t *offset, const size_t *global,
                                     const size_t *local, cl_uint waits, const cl_event *list,
                                     cl_event *event)
{
    static _Atomic unsigned long count;
    cl_int (*next)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *,
                   const size_t *, cl_uint, const cl_event *, cl_event *);
    void *symbol = real("clEnqueueNDRangeKernel");
    if (!symbol || fails("FAULT_LAUNCH", &count))
        return CL_OUT_OF_RESOURCES;
    memcpy(&next, &symbol, sizeof(next));
    return next(queue, kernel, dims, offset, global, local, waits, list, event);
}

EXPORT cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t bytes, void *host,
                             cl_int *code)
{
    static _Atomic unsigned long count;
    cl_mem (*next)(cl_context, cl_mem_flags, size_t, void *, cl_int *);
    void *symbol = real("clCreateBuffer");
    if (!symbol || fails("FAULT_BUFFER", &count)) {
        if (code)
            *code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        return NULL;
    }
    memcpy(&next, &symbol, sizeof(next));
    return next(context, flags, bytes, host, code);
}
