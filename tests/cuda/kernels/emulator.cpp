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

/* What compiled kernels do with shared memory, by hand: this file is not compiled for it. */
static uint32_t words[64];

static void reads_without_barrier(const void *)
{
    emu_race_write(&words[threadIdx.x], 4);
    emu_race_read(&words[threadIdx.x ^ 32u], 4);
}

static void writes_what_others_read(const void *)
{
    emu_race_read(&words[5], 4);
    (void)__shfl_sync(0xffffffffu, 1.0f, 0); /* orders nothing */
    if (threadIdx.x == 5)
        emu_race_write(&words[5], 4);
}

static void copies_over_what_others_read(const void *p)
{
    emu_race_read(&words[threadIdx.x & 3u], 4);
    if (threadIdx.x == 0)
        copy16(words, p, false);
}

static void adds_what_others_read(const void *)
{
    emu_race_atomic(&words[0], 4);
    emu_race_read(&words[0], 4);
}

static void orderly(const void *)
{
    uint32_t i = threadIdx.x;
    emu_race_write(&words[i], 4);
    __syncwarp();
    emu_race_read(&words[i ^ 1u], 4);
    __syncwarp();
    emu_race_write(&words[i ^ 3u], 4);
    __syncthreads();
    emu_race_atomic(&words[7], 4);
    __syncthreads();
    emu_race_read(&words[7], 4);
    emu_race_read(&words[i ^ 32u], 4);
    __syncthreads();
    emu_race_write(&words[i], 4);
}

static void race(void (*body)(const void *), bool found, const char *what)
{
    int backwards, failed;
    for (backwards = 0; backwards < 2; backwards++) {
        emu_race_begin(words, sizeof words, NULL, 0);
        failed = emu_run_block(body, NULL, 64, backwards);
        if (!failed == found)
            kit_fail("%s: %s", what, failed ? emu_error() : "not noticed");
        else if (found && !strstr(emu_error(), "a race"))
            kit_fail("%s: unexpected message \"%s\"", what, emu_error());
    }
    emu_race_begin(NULL, 0, NULL, 0);
}

static void test_races(void)
{
    race(reads_without_barrier, true, "a read of what another warp writes");
    race(writes_what_others_read, true, "a write over what the warp reads");
    race(copies_over_what_others_read, true, "a copy over what others read");
    race(adds_what_others_read, true, "a read among atomics");
    race(orderly, false, "accesses with barriers between them");
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
    test_races();
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
