/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_DRIVER_H
#define Q35_CUDA_DRIVER_H

/* The part of NVIDIA's driver API that the plugin uses: libcuda.so.1, opened at run time. Types and
 * numbers are written down here, so that neither CUDA's headers nor a driver are needed to build.
 * The entry points are looked up under the names that libcuda has exported without change since
 * version 11; nothing newer is needed. */

#include <stddef.h>
#include <stdint.h>

#include "q35/backend.h"

typedef int cu_result;
typedef int cu_device;
typedef uint64_t cu_ptr; /* an address on a device; no host pointer, so never dereferenced */
typedef struct cu_ctx_object *cu_ctx;
typedef struct cu_stream_object *cu_stream;
typedef struct cu_event_object *cu_event;
typedef struct cu_module_object *cu_module;
typedef struct cu_func_object *cu_func;
typedef struct cu_graph_object *cu_graph;
typedef struct cu_exec_object *cu_exec;

enum {
    CU_SUCCESS = 0,
    CU_ERROR_INVALID_VALUE = 1,
    CU_ERROR_OUT_OF_MEMORY = 2,
    CU_ERROR_NOT_INITIALIZED = 3,
    CU_ERROR_NO_DEVICE = 100,
    CU_ERROR_INVALID_DEVICE = 101,
    CU_ERROR_INVALID_IMAGE = 200,
    CU_ERROR_INVALID_CONTEXT = 201,
    CU_ERROR_NO_BINARY_FOR_GPU = 209,
    CU_ERROR_ECC_UNCORRECTABLE = 214,
    CU_ERROR_NVLINK_UNCORRECTABLE = 220,
    CU_ERROR_INVALID_HANDLE = 400,
    CU_ERROR_NOT_FOUND = 500,
    CU_ERROR_NOT_READY = 600,
    CU_ERROR_ILLEGAL_ADDRESS = 700,
    CU_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CU_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
    CU_ERROR_LAUNCH_FAILED = 719,
    CU_ERROR_NOT_SUPPORTED = 801,
    CU_ERROR_CAPTURE_UNSUPPORTED = 900, /* and on to CAPTURE_WRONG_THREAD */
    CU_ERROR_CAPTURE_INVALIDATED = 901,
    CU_ERROR_CAPTURE_WRONG_THREAD = 908,
    CU_ERROR_UNKNOWN = 999
};

enum {
    CU_ATTR_CLOCK_KHZ = 13,
    CU_ATTR_MULTIPROCESSORS = 16,
    CU_ATTR_MEMORY_CLOCK_KHZ = 36,
    CU_ATTR_BUS_WIDTH_BITS = 37,
    CU_ATTR_MAJOR = 75,
    CU_ATTR_MINOR = 76,
    CU_ATTR_SHARED_OPTIN = 97 /* bytes of shared memory one block may ask for */
};

enum {
    CU_STREAM_NON_BLOCKING = 1,
    CU_EVENT_DISABLE_TIMING = 2,
    CU_CTX_SCHED_AUTO = 0,
    CU_CAPTURE_THREAD_LOCAL = 1,
    CU_FUNC_MAX_DYNAMIC_SHARED = 8
};

/* X(member, exported name, parameters) */
#define CU_FUNCTIONS(X)                                                                            \
    X(Init, cuInit, (unsigned flags))                                                              \
    X(DriverGetVersion, cuDriverGetVersion, (int *version))                                        \
    X(GetErrorName, cuGetErrorName, (cu_result code, const char **text))                           \
    X(GetErrorString, cuGetErrorString, (cu_result code, const char **text))                       \
    X(DeviceGetCount, cuDeviceGetCount, (int *count))                                              \
    X(DeviceGet, cuDeviceGet, (cu_device * out, int ordinal))                                      \
    X(DeviceGetName, cuDeviceGetName, (char *out, int room, cu_device dev))                        \
    X(DeviceGetUuid, cuDeviceGetUuid, (uint8_t uuid[16], cu_device dev))                           \
    X(DeviceTotalMem, cuDeviceTotalMem_v2, (size_t * bytes, cu_device dev))                        \
    X(DeviceGetAttribute, cuDeviceGetAttribute, (int *out, int attribute, cu_device dev))          \
    X(DevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (cu_ctx * out, cu_device dev))             \
    X(DevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (cu_device dev))                      \
    X(DeviceCanAccessPeer, cuDeviceCanAccessPeer, (int *can, cu_device dev, cu_device peer))       \
    X(CtxCreate, cuCtxCreate_v2, (cu_ctx * out, unsigned flags, cu_device dev))                    \
    X(CtxDestroy, cuCtxDestroy_v2, (cu_ctx ctx))                                                   \
    X(CtxPushCurrent, cuCtxPushCurrent_v2, (cu_ctx ctx))                                           \
    X(CtxPopCurrent, cuCtxPopCurrent_v2, (cu_ctx * out))                                           \
    X(CtxSynchronize, cuCtxSynchronize, (void))                                                    \
    X(CtxEnablePeerAccess, cuCtxEnablePeerAccess, (cu_ctx peer, unsigned flags))                   \
    X(MemGetInfo, cuMemGetInfo_v2, (size_t * free_bytes, size_t * total))                          \
    X(MemAlloc, cuMemAlloc_v2, (cu_ptr * out, size_t bytes))                                       \
    X(MemFree, cuMemFree_v2, (cu_ptr at))                                                          \
    X(MemHostAlloc, cuMemHostAlloc, (void **out, size_t bytes, unsigned flags))                    \
    X(MemFreeHost, cuMemFreeHost, (void *at))                                                      \
    X(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2,                                                       \
      (cu_ptr to, const void *from, size_t bytes, cu_stream s))                                    \
    X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *to, cu_ptr from, size_t bytes, cu_stream s))   \
    X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (cu_ptr to, cu_ptr from, size_t bytes, cu_stream s))  \
    X(MemcpyPeerAsync, cuMemcpyPeerAsync,                                                          \
      (cu_ptr to, cu_ctx to_ctx, cu_ptr from, cu_ctx from_ctx, size_t bytes, cu_stream s))         \
    X(MemsetD8Async, cuMemsetD8Async, (cu_ptr at, unsigned char value, size_t n, cu_stream s))     \
    X(StreamCreate, cuStreamCreate, (cu_stream * out, unsigned flags))                             \
    X(StreamDestroy, cuStreamDestroy_v2, (cu_stream s))                                            \
    X(StreamSynchronize, cuStreamSynchronize, (cu_stream s))                                       \
    X(StreamWaitEvent, cuStreamWaitEvent, (cu_stream s, cu_event e, unsigned flags))               \
    X(StreamBeginCapture, cuStreamBeginCapture_v2, (cu_stream s, int mode))                        \
    X(StreamEndCapture, cuStreamEndCapture, (cu_stream s, cu_graph * out))                         \
    X(EventCreate, cuEventCreate, (cu_event * out, unsigned flags))                                \
    X(EventDestroy, cuEventDestroy_v2, (cu_event e))                                               \
    X(EventRecord, cuEventRecord, (cu_event e, cu_stream s))                                       \
    X(EventQuery, cuEventQuery, (cu_event e))                                                      \
    X(EventSynchronize, cuEventSynchronize, (cu_event e))                                          \
    X(EventElapsedTime, cuEventElapsedTime, (float *ms, cu_event from, cu_event to))               \
    X(ModuleLoadData, cuModuleLoadData, (cu_module * out, const void *image))                      \
    X(ModuleUnload, cuModuleUnload, (cu_module m))                                                 \
    X(ModuleGetFunction, cuModuleGetFunction, (cu_func * out, cu_module m, const char *name))      \
    X(FuncSetAttribute, cuFuncSetAttribute, (cu_func f, int attribute, int value))                 \
    X(LaunchKernel, cuLaunchKernel,                                                                \
      (cu_func f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,    \
       unsigned shared, cu_stream s, void **params, void **extra))                                 \
    X(GraphInstantiate, cuGraphInstantiateWithFlags,                                               \
      (cu_exec * out, cu_graph g, unsigned long long flags))                                       \
    X(GraphLaunch, cuGraphLaunch, (cu_exec e, cu_stream s))                                        \
    X(GraphDestroy, cuGraphDestroy, (cu_graph g))                                                  \
    X(GraphExecDestroy, cuGraphExecDestroy, (cu_exec e))

/* The table. Filled once and kept as long as the process lives: the driver cannot be unloaded. */
struct cu {
#define CU_MEMBER(member, name, params) cu_result(*member) params;
    CU_FUNCTIONS(CU_MEMBER)
#undef CU_MEMBER
    char path[512];   /* what was opened */
    int version;      /* 12040 is 12.4 */
    int device_count; /* all, whatever their age */
    int pid;          /* of the process that initialised it: the driver does not survive a fork */
    int emulated;     /* it exports CU_EMULATED: kernels run elsewhere, no code is needed */
};

/* A stand-in for the driver that runs kernels by name says so with this symbol (tests/cuda). */
#define CU_EMULATED "q35_emulated_driver"

/* An entry point by its exported name, and where in a table of functions it belongs. */
struct cu_symbol {
    const char *name;
    size_t at;
};
/* Fills the table with all of them; VERSION if the library at `path` lacks one. */
enum q35_status cu_symbols(void *lib, const char *path, const struct cu_symbol *wanted, size_t n,
                           void *table, struct q35_error *err);

/* Opens the driver at `path` (a bare name is searched where the system searches, otherwise an
 * absolute path) and initialises it, once for each path. *out: valid for the rest of the process,
 * NULL if there is no driver or no GPU; then the status says which: NOT_FOUND with what was looked
 * for, VERSION if an entry point is missing, DEVICE_LOST if the driver does not start. [any] */
enum q35_status cu_open(const struct cu **out, const char *path, struct q35_error *err);

/* True if the context, and all memory on the device, is gone with this code. */
int cu_is_sticky(cu_result code);

/* Fills *err from a driver code: "what: NAME, text". Returns CAPACITY for device memory,
 * DEVICE_LOST (with that radius) for sticky codes, UNSUPPORTED if the GPU has no code, INTERNAL
 * otherwise. */
enum q35_status cu_fail(const struct cu *cu, struct q35_error *err, cu_result code,
                        const char *what);

#endif
