/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_CUDA_FAKE_H
#define Q35_TEST_CUDA_FAKE_H

/* A libcuda.so.1 without a GPU, for the tests of backends/cuda: the same cuda.so runs on it as on
 * the real driver. Kernels are emulated by name (tests/cuda/emu.h).
 *
 * It is as strict as it can be. Whatever is enqueued runs later, when somebody synchronises, or bit
 * by bit when somebody queries an event, so a missing synchronisation gives wrong results. Every
 * allocation ends at an unmapped page and begins as NaN. Misuse ends the process with a message:
 * copies out of bounds or of host memory that is not pinned, freeing what queued work may use,
 * handles of another context, and whatever a context that is destroyed in good health still holds.
 *
 * Faults are injected by the environment, Q35_FAKE_CUDA="key=n,key=n", or by q35_fake_set:
 *     devices         GPUs there are [2]
 *     memory          bytes of each [1 GiB]
 *     oom_at          the n-th allocation from now on (of device or pinned memory) fails
 *     launch_fail_at  the n-th launch from now on is refused, harmlessly
 *     lost_at         the n-th kernel to run from now on takes its context with it
 *     dead_at         the same, and no context can be made on that GPU any more
 *     no_graphs       1: capturing is refused
 *     capture_fail_at the n-th launch into a capture from now on is refused and spoils it
 *     old             so many GPUs, the first ones, are of compute capability 6.1
 *     gemm_fail_at    the n-th product by the fake cuBLASLt from now on is refused
 * Faults strike once; 0 calls one off. q35_fake_get tells what is left, and also counts
 * `graph_launches`, `peer_copies` and `gemms`.
 *
 * Time passes by what runs, whatever the clock says: a kernel matmul_* or triple_* takes
 * `matmul_us` microseconds [1000], a product by cuBLASLt `gemm_us` [500], all else none. */

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "driver.h"

#define FAKE_API __attribute__((visibility("default")))
#define FAKE_DEVICES 8
#define FAKE_STACK 16
#define FAKE_ARGS 1024
#define FAKE_FUNCTIONS 64

/* Calls fn(arg) when the n-th kernel from now on has run, in whatever thread sees to that; with
 * n = -1 when the next capture has begun, and other threads may call the driver meanwhile. */
FAKE_API void q35_fake_at(long long n, void (*fn)(void *arg), void *arg);

struct cu_ctx_object {
    struct cu_ctx_object *next;
    int device;
    bool primary;
    cu_result sticky;
    uint64_t live; /* allocations, streams, events, modules, graphs */
};

enum fake_kind { OP_COPY, OP_SET, OP_KERNEL, OP_CALL, OP_RECORD, OP_WAIT };

/* Work that is not a kernel of the plugin; 0 if it can be done. */
typedef int (*fake_call)(const void *args);

struct fake_op {
    struct fake_op *next;
    enum fake_kind kind;
    void *to;
    const void *from;
    size_t bytes;
    unsigned char value;
    cu_event event;
    uint64_t event_count; /* OP_RECORD, OP_WAIT: which recording */
    cu_func func;
    fake_call call;
    uint32_t grid[3], block[3];
    size_t shared;
    uint8_t args[FAKE_ARGS]; /* [bytes] of a kernel; in here, so that all are of one size */
};

struct cu_stream_object {
    struct cu_stream_object *next;
    cu_ctx ctx;
    struct fake_op *head, **tail;
    bool capturing, capture_broken;
    pthread_t capturer;
    struct fake_op *captured, **captured_tail;
};

struct cu_event_object {
    cu_ctx ctx;
    cu_stream stream; /* of the last recording */
    uint64_t recorded, reached;
    long long us; /* when it was reached */
    bool untimed;
};

struct cu_func_object {
    cu_ctx ctx; /* NULL: its module is gone */
    char name[64];
    int max_shared;
};

struct cu_module_object {
    cu_ctx ctx;
    struct cu_func_object functions[FAKE_FUNCTIONS];
};

struct cu_graph_object {
    cu_ctx ctx;
    struct fake_op *ops;
};

struct cu_exec_object {
    cu_ctx ctx;
    struct fake_op *ops;
};

/* Settings and counters of faults. */
struct fake {
    pthread_mutex_t lock; /* recursive; around every entry point */
    bool started;
    long long devices, memory, oom_at, launch_fail_at, lost_at, dead_at, no_graphs;
    long long capture_fail_at, old;
    int pid; /* of the process that called cuInit */
    long long graph_launches, peer_copies;
    long long gemm_fail_at, gemms, gemm_us, matmul_us;
    long long now_us;
    long long hook_at;
    void (*hook)(void *arg);
    void *hook_arg;
    bool dead[FAKE_DEVICES];
    uint64_t used[FAKE_DEVICES];
    struct cu_ctx_object *contexts;
    struct cu_stream_object *streams;
    uint64_t random;
};
extern struct fake fake;

/* ---- for the fake cuBLASLt ------------------------------------------------------------------- */

/* Enqueues a call with a copy of its arguments, up to FAKE_ARGS bytes. False: gemm_fail_at. */
FAKE_API bool q35_fake_enqueue(cu_stream s, fake_call call, const void *args, size_t bytes);
/* Ends the process unless the range is device memory. */
FAKE_API void q35_fake_range(const void *at, size_t bytes, const char *what);

/* Says what was done wrong and ends the process. */
void fake_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* Counts a fault down; true when it strikes. */
bool fake_strikes(long long *countdown);

/* The calling thread's context; *code is set if there is none or it is lost. */
cu_ctx fake_current(cu_result *code);
void fake_check_context(cu_ctx ctx, const char *what);

/* ---- memory.c ------------------------------------------------------------------------------- */

/* What an address range lies in. */
struct fake_memory {
    struct fake_memory *next;
    cu_ctx ctx;
    bool pinned;
    uint8_t *data;
    size_t bytes;
    void *map;
    size_t map_bytes;
};
/* NULL unless [at, at + bytes) lies in one allocation. */
struct fake_memory *fake_memory_at(const void *at, size_t bytes);
/* Ends the process unless the range is device memory (of ctx, if not NULL) or pinned. */
void fake_check_range(const void *at, size_t bytes, bool pinned, cu_ctx ctx, const char *what);

/* ---- stream.c ------------------------------------------------------------------------------- */

/* Ends the process if the calling thread captures: `what` is not allowed then. */
void fake_check_capture(const char *what);
/* Around an entry point that needs a context. */
#define ENTER()                                                                                    \
    cu_result code;                                                                                \
    cu_ctx ctx;                                                                                    \
    pthread_mutex_lock(&fake.lock);                                                                \
    ctx = fake_current(&code);                                                                     \
    (void)ctx
#define LEAVE(result)                                                                              \
    do {                                                                                           \
        cu_result left = (result);                                                                 \
        pthread_mutex_unlock(&fake.lock);                                                          \
        return left;                                                                               \
    } while (0)

/* Enqueues a copy of *op. */
cu_result fake_enqueue(cu_stream s, const struct fake_op *op);
void fake_ops_free(struct fake_op *ops);
/* Runs all of a stream; at most n operations. Returns the context's sticky code. */
cu_result fake_run(cu_stream s, uint64_t n);
/* Runs whatever the event waits for. */
cu_result fake_run_to(cu_event e);
/* Whether queued work of a context may touch the memory. */
bool fake_in_use(cu_ctx ctx, const struct fake_memory *m);

#endif
