/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Launches by name. The kernels themselves are compiled here. */

#include "../emu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define Q35_CU_EMULATED
#include "backends/cuda/kernels/kernels.cu"

#define CANARY 1024u
#define MAX_SHARED (227u << 10)

typedef void (*body_fn)(const void *);

#define BODY(name, args)                                                                           \
    static void body_##name(const void *p)                                                         \
    {                                                                                              \
        q35_cu_##name(*(const struct args *)p);                                                    \
    }
Q35_CU_KERNELS(BODY)

static const struct kernel {
    const char *name;
    body_fn body;
    uint32_t bound; /* most threads, by its __launch_bounds__ */
    size_t args;
} kernels[] = {
#define ENTRY(name, args) {"q35_cu_" #name, body_##name, bound_of_##name, sizeof(struct args)},
    Q35_CU_KERNELS(ENTRY)};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void emu_capability(uint32_t cc)
{
    emu_grid.slack = cc >= 80u;
}

static const struct kernel *find(const char *name)
{
    for (const auto &k : kernels)
        if (!strcmp(k.name, name))
            return &k;
    return NULL;
}

size_t emu_args(const char *name)
{
    const struct kernel *k = find(name);
    return k ? k->args : 0;
}

/* All static shared memory of all kernels, by the linker. */
extern "C" uint8_t __start_q35_emu_shared[], __stop_q35_emu_shared[];

static size_t fixed_bytes(void)
{
    return (size_t)(__stop_q35_emu_shared - __start_q35_emu_shared);
}

/* Threads, and blocks of them, take turns in descending order. */
static int backwards(void)
{
    const char *order = getenv("EMU_BACKWARDS");
    return order && *order == '1';
}

/* Fills shared memory so that nothing works by the zeros of a fresh page; checks its borders. */
static int run_block(body_fn body, const void *args, uint32_t threads, uint8_t *shared,
                     size_t bytes)
{
    size_t i;
    memset(shared - CANARY, 0xcb, bytes + 2 * CANARY);
    memset(__start_q35_emu_shared, 0xcb, fixed_bytes());
    emu_grid.shared = shared;
    emu_race_begin(shared, bytes, __start_q35_emu_shared, fixed_bytes());
    if (emu_run_block(body, args, threads, backwards()))
        return -1;
    for (i = 0; i < CANARY; i++)
        if (shared[-1 - (ptrdiff_t)i] != 0xcb || shared[bytes + i] != 0xcb)
            return 1;
    return 0;
}

static int fail(const char *name, const char *what)
{
    emu_complain("%s: %s", name, what);
    return -1;
}

static int run(const char *name, body_fn body, const uint32_t grid[3], uint32_t threads,
               size_t bytes, const void *args)
{
    uint8_t *memory = (uint8_t *)aligned_alloc(16384, (bytes + 32768 + 16383) & ~(size_t)16383);
    size_t begin = emu_grid.slack ? CANARY : 16384;
    int st = 0, last = backwards();
    if (!memory)
        return fail(name, "no memory");
    emu_grid.grid_dim = {grid[0], grid[1], grid[2]};
    emu_grid.block_dim = {threads, 1, 1};
    for (uint32_t z = 0; z < grid[2] && !st; z++)
        for (uint32_t y = 0; y < grid[1] && !st; y++)
            for (uint32_t x = 0; x < grid[0] && !st; x++) {
                emu_grid.block = {last ? grid[0] - 1 - x : x, y, z};
                st = run_block(body, args, threads, memory + begin, bytes);
            }
    free(memory);
    if (st > 0)
        return fail(name, "wrote outside of its dynamic shared memory");
    return st;
}

int emu_launch(const char *name, const uint32_t grid[3], const uint32_t block[3], size_t shared,
               void **params)
{
    const struct kernel *k = find(name);
    int st;
    if (!k)
        return fail(name, "no such kernel");
    if (!grid[0] || !grid[1] || !grid[2] || grid[1] > 65535u || grid[2] > 65535u)
        return fail(name, "bad grid");
    if (!block[0] || block[0] > k->bound || block[1] != 1u || block[2] != 1u)
        return fail(name, "bad block of threads, or more of them than its launch bounds");
    if (shared > MAX_SHARED)
        return fail(name, "too much shared memory");
    pthread_mutex_lock(&lock);
    st = run(name, k->body, grid, block[0], shared, params[0]);
    pthread_mutex_unlock(&lock);
    return st;
}
