/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* OpenCL's errors as q35's. */

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "opencl.h"

static void fill(struct q35_error *err, enum q35_status status, enum q35_radius radius)
{
    err->status = (int32_t)status;
    err->radius = (int32_t)radius;
    err->layer = Q35_NO_LAYER;
    err->native_code = 0;
}

enum q35_status ocl_fail(struct q35_error *err, enum q35_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    fill(err, status, Q35_RADIUS_REQUEST);
    return status;
}

/* A driver that works in this process may abort when it gets no memory, so it is asked for nothing
 * unless there is some to be had. */
enum q35_status ocl_room(struct q35_error *err)
{
    const size_t wanted = (size_t)32 << 20;
    void *p = mmap(NULL, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return ocl_fail(err, Q35_E_NOMEM, "not enough memory for the OpenCL driver to work with");
    munmap(p, wanted);
    return Q35_OK;
}

/* X(code, what becomes of it, how far it reaches). OUT_OF_RESOURCES is what NVIDIA reports after a
 * fault on the device, and what everybody reports for a launch that cannot work. */
#define ERRORS(X)                                                                                  \
    X(CL_DEVICE_NOT_FOUND, E_NOT_FOUND, REQUEST)                                                   \
    X(CL_DEVICE_NOT_AVAILABLE, E_DEVICE_LOST, DEVICE_LOST)                                         \
    X(CL_COMPILER_NOT_AVAILABLE, E_UNSUPPORTED, REQUEST)                                           \
    X(CL_MEM_OBJECT_ALLOCATION_FAILURE, E_NOMEM, REQUEST)                                          \
    X(CL_OUT_OF_RESOURCES, E_DEVICE_LOST, DEVICE_LOST)                                             \
    X(CL_OUT_OF_HOST_MEMORY, E_NOMEM, REQUEST)                                                     \
    X(CL_BUILD_PROGRAM_FAILURE, E_PLUGIN, REQUEST)                                                 \
    X(CL_MAP_FAILURE, E_NOMEM, REQUEST)                                                            \
    X(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, E_DEVICE_LOST, DEVICE_LOST)                    \
    X(CL_INVALID_BUFFER_SIZE, E_CAPACITY, REQUEST)                                                 \
    X(CL_INVALID_WORK_GROUP_SIZE, E_UNSUPPORTED, REQUEST)                                          \
    X(CL_INVALID_VALUE, E_PLUGIN, REQUEST)                                                         \
    X(CL_INVALID_CONTEXT, E_DEVICE_LOST, DEVICE_LOST)                                              \
    X(CL_INVALID_COMMAND_QUEUE, E_DEVICE_LOST, DEVICE_LOST)                                        \
    X(CL_INVALID_KERNEL_ARGS, E_PLUGIN, REQUEST)

const char *ocl_error_name(cl_int code)
{
    switch (code) {
#define NAME(code, status, radius)                                                                 \
    case code:                                                                                     \
        return #code;
        ERRORS(NAME)
#undef NAME
    default:
        return "an error without a name";
    }
}

enum q35_status ocl_status(struct q35_error *err, cl_int code, const char *what)
{
    enum q35_status status = Q35_E_PLUGIN;
    enum q35_radius radius = Q35_RADIUS_REQUEST;
    switch (code) {
    case CL_SUCCESS:
        return Q35_OK;
#define MAP(code, st, reach)                                                                       \
    case code:                                                                                     \
        status = Q35_##st;                                                                         \
        radius = Q35_RADIUS_##reach;                                                               \
        break;
        ERRORS(MAP)
#undef MAP
    default:
        break;
    }
    snprintf(err->message, sizeof(err->message), "OpenCL: %s: %s (%d)", what, ocl_error_name(code),
             (int)code);
    fill(err, status, radius);
    err->native_code = code;
    return status;
}
