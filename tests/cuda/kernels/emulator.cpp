/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The emulator notices what would go wrong on a device. */

#include <string.h>

#include "../emu.h"
#include "emu_device.h"

extern "C" {
void kit_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_emulator(void);
}

static void leaves_barrier(const void *)
{
    if (threadIdx.x != 3)
        __syncthreads();
}

static void parts_at_barriers(const void *)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

static void shuffles_without_lane(const void *)
{
    if (emu_lane() != 5)
        (void)__shfl_sync(0xffffffffu, 1.0f, 0);
}

static void reads_absent_lane(const void *)
{
    if (emu_lane() < 16)
        (void)__shfl_sync(0x0000ffffu, 1.0f, 20);
}

static void good(const void *p)
{
    static int32_t sum;
    int32_t *out = (int32_t *)p;
    if (threadIdx.x == 0)
        sum = 0;
    __syncthreads();
    atomicAdd(&sum, (int32_t)__shfl_xor_sync(0xffffffffu, threadIdx.x, 1));
    __syncthreads();
    out[threadIdx.x] = sum;
}

static void copies_without_wait(const void *p)
{
    static uint4 to;
    to = make_uint4(1, 1, 1, 1);
    copy16(&to, p, true);
    copy_commit();
    ((uint32_t *)p)[4] = to.x;
    copy_wait<0>();
    ((uint32_t *)p)[5] = to.x;
}

static void expect(void (*body)(const void *), const char *part, const char *what)
{
    if (!emu_run_block(body, NULL, 64, 0))
        kit_fail("%s is not noticed", what);
    else if (!strstr(emu_error(), part))
        kit_fail("%s: unexpected message \"%s\"", what, emu_error());
}

void test_emulator(void)
{
    int32_t out[64];
    alignas(16) uint32_t copy[8] = {7, 7, 7, 7, 0, 0, 0, 0};
    void *params[1] = {out};
    const uint32_t one[3] = {1, 1, 1};
    uint32_t i;

    expect(leaves_barrier, "deadlock", "a thread that leaves others at a barrier");
    expect(parts_at_barriers, "waits at the barrier", "a barrier in two branches");
    expect(shuffles_without_lane, "deadlock", "a shuffle that a lane does not reach");
    expect(reads_absent_lane, "takes no part", "a shuffle from a lane outside its mask");
    if (emu_run_block(good, out, 64, 1))
        kit_fail("a good kernel fails: %s", emu_error());
    for (i = 0; i < 64; i++)
        if (out[i] != 63 * 64 / 2)
            kit_fail("a sum over a block is %d", out[i]);
    if (emu_run_block(copies_without_wait, copy, 1, 0) || copy[4] != 1 || copy[5] != 7)
        kit_fail("an asynchronous copy arrives before it is waited for, or not at all");
    if (!emu_launch("q35_cu_none", one, one, 0, params) || !strstr(emu_error(), "no such kernel"))
        kit_fail("a launch of no kernel");
}
