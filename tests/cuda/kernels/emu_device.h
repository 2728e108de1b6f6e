/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_CUDA_EMU_DEVICE_H
#define Q35_TEST_CUDA_EMU_DEVICE_H

/* The CUDA that the kernels use, for a C++ compiler: every thread is a fibre that runs until it
 * must wait for others. Included by backends/cuda/kernels/device.h. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "emu_fibre.h"

#define __global__
#define __device__
#define __shared__ static EMU_SHARED_SECTION
#define __forceinline__ inline
#define __launch_bounds__(...)
#define Q35_CU_BOUND(threads, name) enum { bound_of_##name = threads };
#define __restrict__
#define FN static inline __attribute__((unused))
#define Q35_CU_PARAM const
#define __ldg(p) (*(p))

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
FN uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return uint4{x, y, z, w};
}

#define threadIdx (emu_self->thread)
#define blockIdx (emu_grid.block)
#define blockDim (emu_grid.block_dim)
#define gridDim (emu_grid.grid_dim)

#define __syncthreads() emu_barrier(__FILE__, __LINE__)
#define __syncwarp() emu_warp_sync(__FILE__, __LINE__)
#define __threadfence() ((void)0)
#define launch_wait() ((void)0)
#define launch_next() ((void)0)

FN uint8_t *dynamic_shared(void)
{
    return emu_grid.shared;
}

/* ---- warps ---------------------------------------------------------------------------------- */

#define __shfl_sync(mask, v, lane) emu_shuffle(v, mask, (uint32_t)(lane)&31u, __FILE__, __LINE__)
#define __shfl_xor_sync(mask, v, d)                                                                \
    emu_shuffle(v, mask, (emu_self->thread.x ^ (uint32_t)(d)) & 31u, __FILE__, __LINE__)
#define __shfl_up_sync(mask, v, d)                                                                 \
    emu_shuffle(v, mask, emu_lane() < (d) ? emu_lane() : emu_lane() - (d), __FILE__, __LINE__)
#define __shfl_down_sync(mask, v, d)                                                               \
    emu_shuffle(v, mask, emu_lane() + (d) > 31u ? emu_lane() : emu_lane() + (d), __FILE__, __LINE__)

FN uint32_t emu_lane(void)
{
    return emu_self->thread.x & 31u;
}

template <class T> T emu_shuffle(T v, uint32_t mask, uint32_t from, const char *file, int line)
{
    uint64_t slot = 0;
    memcpy(&slot, &v, sizeof v);
    emu_warp_exchange(&slot, 1, mask, file, line);
    if (!(mask >> from & 1u))
        emu_die("%s:%d: a shuffle reads lane %u, which takes no part", file, line, from);
    memcpy(&v, &emu_warp_slots(from)[0], sizeof v);
    emu_warp_done(mask, file, line);
    return v;
}

#define mma(c, a, b0, b1) emu_mma(c, a, b0, b1, __FILE__, __LINE__)
FN void emu_mma(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1, const char *file,
                int line)
{
    uint64_t slots[3] = {a[0] | (uint64_t)a[1] << 32, a[2] | (uint64_t)a[3] << 32,
                         b0 | (uint64_t)b1 << 32};
    uint32_t lane = emu_lane(), g = lane / 4u, t = lane % 4u, i, k;
    emu_warp_exchange(slots, 3, 0xffffffffu, file, line);
    for (i = 0; i < 4; i++) {
        uint32_t row = g + 8u * (i / 2u), col = 2u * t + i % 2u;
        for (k = 0; k < 32; k++) {
            const uint64_t *ra = emu_warp_slots((row % 8u) * 4u + k % 16u / 4u);
            const uint64_t *cb = emu_warp_slots(col * 4u + k % 16u / 4u);
            uint32_t word_a = (uint32_t)(ra[k / 16u] >> (row / 8u * 32u));
            uint32_t word_b = (uint32_t)(cb[2] >> (k / 16u * 32u));
            int8_t x = (int8_t)(word_a >> (k % 4u * 8u)), y = (int8_t)(word_b >> (k % 4u * 8u));
            c[i] = (int32_t)((uint32_t)c[i] + (uint32_t)(x * y));
        }
    }
    emu_warp_done(0xffffffffu, file, line);
}

FN uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t select)
{
    uint64_t both = a | (uint64_t)b << 32;
    uint32_t i, v = 0;
    for (i = 0; i < 4; i++) {
        uint32_t s = select >> (4 * i) & 15u, byte = (uint32_t)(both >> (8 * (s & 7u))) & 255u;
        if (s & 8u)
            byte = byte & 128u ? 255u : 0u;
        v |= byte << (8 * i);
    }
    return v;
}

FN int32_t dot4(uint32_t a, uint32_t b, int32_t sum)
{
    uint32_t i;
    for (i = 0; i < 4; i++)
        sum += (int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
    return sum;
}

FN uint32_t __funnelshift_l(uint32_t lo, uint32_t hi, uint32_t n)
{
    return (uint32_t)(((uint64_t)hi << 32 | lo) << (n & 31u) >> 32);
}

FN uint32_t __funnelshift_r(uint32_t lo, uint32_t hi, uint32_t n)
{
    return (uint32_t)(((uint64_t)hi << 32 | lo) >> (n & 31u));
}

/* ---- memory --------------------------------------------------------------------------------- */

template <class T> EMU_UNCHECKED T atomicAdd(T *p, T v)
{
    T old = *p;
    emu_race_atomic(p, sizeof(T));
    *p = old + v;
    return old;
}

template <class T> T load_stream(const T *p)
{
    if ((uintptr_t)p % sizeof(T))
        emu_die("a misaligned load of %zu bytes", sizeof(T));
    return *p;
}

/* Reads both ends, so that a line outside of memory shows. */
FN void prefetch_line(const void *p)
{
    static volatile uint8_t sink;
    sink = *(const uint8_t *)p;
    sink = ((const uint8_t *)p)[127];
    (void)sink;
}

FN uint32_t shared_slack(void)
{
    return emu_grid.slack;
}

typedef uintptr_t shared_at;
FN shared_at shared_address(const void *p)
{
    return (uintptr_t)p;
}

FN uint32_t load_shared(shared_at at)
{
    return *(const uint32_t *)at;
}

FN int32_t load_shared_sum(const int32_t *p)
{
    return *p;
}

/* Copies happen when they are waited for, so that a missing wait shows. */
FN void copy16(void *to, const void *from, bool valid)
{
    emu_copy_later(to, valid ? from : NULL);
}

FN void copy_commit(void)
{
    emu_copy_commit();
}

template <int n> FN void copy_wait(void)
{
    emu_copy_wait(n);
}

/* Not arith.h's function, as on the device. */
FN float half_to_float(uint16_t h)
{
    _Float16 f;
    memcpy(&f, &h, 2);
    return (float)f;
}

#endif
