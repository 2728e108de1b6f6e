/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_DEVICE_H
#define Q35_CUDA_DEVICE_H

/* The few things that kernels need beyond C, for three compilers: nvcc, clang without a CUDA
 * toolkit, and any C++ compiler with the emulator of tests/cuda (Q35_CU_EMULATED). */

#if defined(Q35_CU_EMULATED)
#include "emu_device.h"
#elif defined(__clang__)
#include "device_clang.h"
#else
#include <stdint.h>
#include <string.h>
#endif

#ifndef Q35_CU_EMULATED
#define Q35_FN static __device__ __attribute__((unused)) __forceinline__
#define Q35_FMAF(a, b, c) __fmaf_rn(a, b, c)
#define Q35_FMA(a, b, c) __fma_rn(a, b, c)
#define Q35_RINTF(a) q35_rintf(a)
#define Q35_RINT(a) q35_rint(a)
#define Q35_SQRTF(a) __fsqrt_rn(a)
#define Q35_DIVF(a, b) __fdiv_rn(a, b)
#define Q35_FABSF(a) __builtin_fabsf(a)

static __device__ __forceinline__ float q35_rintf(float x)
{
    float y;
    asm("cvt.rni.f32.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

static __device__ __forceinline__ double q35_rint(double x)
{
    double y;
    asm("cvt.rni.f64.f64 %0, %1;" : "=d"(y) : "d"(x));
    return y;
}
#endif

#define Q35_CU_DEVICE
#include "backends/cuda/args.h"
#include "q35/arith.h"

/* blocks: so many blocks of threads a multiprocessor should hold at once. */
#define KERNEL2(threads, blocks, name, type)                                                       \
    Q35_CU_BOUND(threads, name)                                                                    \
    extern "C" __global__ void __launch_bounds__(threads, blocks)                                  \
        q35_cu_##name(Q35_CU_PARAM struct type a)
#define KERNEL(threads, name, type)                                                                \
    Q35_CU_BOUND(threads, name)                                                                    \
    extern "C" __global__ void __launch_bounds__(threads) q35_cu_##name(Q35_CU_PARAM struct type a)

#ifndef Q35_CU_EMULATED

#define FN static __device__ __forceinline__
#define Q35_CU_BOUND(threads, name) /* for the emulator to check */

#ifdef __clang__
#define Q35_CU_PARAM const
#else
#define Q35_CU_PARAM const __grid_constant__
#endif

extern __shared__ uint4 q35_shared_words[];
FN uint8_t *dynamic_shared(void)
{
    return (uint8_t *)q35_shared_words;
}

/* Waits for the launch before this one, where launches may overlap. What a kernel reads before must
 * be constant. */
FN void launch_wait(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Lets the next launch begin, up to its launch_wait. */
FN void launch_next(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Streaming loads of weights: read once, not kept near the core. */
FN uint4 load_stream(const uint4 *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

FN uint2 load_stream(const uint2 *p)
{
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "l"(p));
    return v;
}

FN uint32_t load_stream(const uint32_t *p)
{
    uint32_t v;
    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

/* A line of 128 bytes on its way into the L2 cache; takes no register until it is loaded. */
FN void prefetch_line(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* 1 if dynamic shared memory does not begin at address 0 even when there is no other. */
FN uint32_t shared_slack(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return 1u;
#else
    return 0u;
#endif
}

/* A word of shared memory by its address there. */
typedef uint32_t shared_at;
FN shared_at shared_address(const void *p)
{
    return (shared_at)__cvta_generic_to_shared(p);
}

FN uint32_t load_shared(shared_at at)
{
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at));
    return v;
}

/* Past the L1 cache: sums that other blocks have added to. */
FN int32_t load_shared_sum(const int32_t *p)
{
    int32_t v;
    asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

/* 16 bytes from global to shared memory, or zeros; complete after copy_wait. */
FN void copy16(void *to, const void *from, bool valid)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to), n = valid ? 16u : 0u;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(n)
                 : "memory");
#else
    *(uint4 *)to = valid ? *(const uint4 *)from : make_uint4(0, 0, 0, 0);
#endif
}

FN void copy_commit(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Until all groups but the last `n` of this thread have arrived. */
template <int n> FN void copy_wait(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

/* c[16][8] += a[16][32] b[32][8] over a warp, int8 in, int32 out. With g = lane / 4, t = lane % 4:
 * a0: row g, columns 4t .. 4t+3; a1: row g+8; a2, a3: the same at columns 16 + 4t;
 * b0: rows 4t .. 4t+3 of column g; b1: rows 16 + 4t ..; c0, c1: row g, columns 2t, 2t+1; c2, c3:
 * row g+8. */
FN void mma(int32_t c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
#define Q35_MMA8(x, y, a, b)                                                                       \
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"           \
        : "+r"(x), "+r"(y)                                                                         \
        : "r"(a), "r"(b))
    Q35_MMA8(c[0], c[1], a[0], b0);
    Q35_MMA8(c[0], c[1], a[2], b1);
    Q35_MMA8(c[2], c[3], a[1], b0);
    Q35_MMA8(c[2], c[3], a[3], b1);
#endif
}

/* sum + the four products of bytes of a and b. */
FN int32_t dot4(uint32_t a, uint32_t b, int32_t sum)
{
    asm("dp4a.s32.s32 %0, %1, %2, %0;" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

FN float half_to_float(uint16_t h)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
#endif

#define WARP 0xffffffffu

FN uint32_t lane_id(void)
{
    return threadIdx.x & 31u;
}

FN float warp_max(float x)
{
    uint32_t d;
#pragma unroll
    for (d = 16; d; d >>= 1) {
        float y = __shfl_xor_sync(WARP, x, (int)d);
        x = y > x ? y : x;
    }
    return x;
}

/* q35_tree16 of lanes 0 .. 15; the sum is right in lane 0 only. */
FN float warp_tree16(float x)
{
    uint32_t d;
#pragma unroll
    for (d = 8; d; d >>= 1)
        x = x + __shfl_down_sync(WARP, x, d);
    return x;
}

#endif
