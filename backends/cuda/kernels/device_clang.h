/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_DEVICE_CLANG_H
#define Q35_CUDA_DEVICE_CLANG_H

/* What nvcc brings along and clang without a CUDA toolkit does not. Device code only. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...) __attribute__((launch_bounds(__VA_ARGS__)))
#define memcpy __builtin_memcpy

#define Q35_DEVICE_BUILTIN static __device__ __forceinline__

struct q35_thread_index {
    __device__ __forceinline__ unsigned x_(void) const
    {
        return __nvvm_read_ptx_sreg_tid_x();
    }
    __declspec(property(get = x_)) unsigned x;
};
struct q35_block_size {
    __device__ __forceinline__ unsigned x_(void) const
    {
        return __nvvm_read_ptx_sreg_ntid_x();
    }
    __declspec(property(get = x_)) unsigned x;
};
struct q35_block_index {
    __device__ __forceinline__ unsigned x_(void) const
    {
        return __nvvm_read_ptx_sreg_ctaid_x();
    }
    __device__ __forceinline__ unsigned y_(void) const
    {
        return __nvvm_read_ptx_sreg_ctaid_y();
    }
    __device__ __forceinline__ unsigned z_(void) const
    {
        return __nvvm_read_ptx_sreg_ctaid_z();
    }
    __declspec(property(get = x_)) unsigned x;
    __declspec(property(get = y_)) unsigned y;
    __declspec(property(get = z_)) unsigned z;
};
struct q35_grid_size {
    __device__ __forceinline__ unsigned x_(void) const
    {
        return __nvvm_read_ptx_sreg_nctaid_x();
    }
    __device__ __forceinline__ unsigned y_(void) const
    {
        return __nvvm_read_ptx_sreg_nctaid_y();
    }
    __declspec(property(get = x_)) unsigned x;
    __declspec(property(get = y_)) unsigned y;
};
#define threadIdx (q35_thread_index())
#define blockDim (q35_block_size())
#define blockIdx (q35_block_index())
#define gridDim (q35_grid_size())

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

Q35_DEVICE_BUILTIN uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return uint4{x, y, z, w};
}

Q35_DEVICE_BUILTIN void __syncwarp(void)
{
    __nvvm_bar_warp_sync(0xffffffffu);
}

Q35_DEVICE_BUILTIN void __threadfence(void)
{
    __nvvm_membar_gl();
}

Q35_DEVICE_BUILTIN int __shfl_sync(unsigned mask, int v, int lane)
{
    return __nvvm_shfl_sync_idx_i32(mask, v, lane, 31);
}

Q35_DEVICE_BUILTIN unsigned __shfl_sync(unsigned mask, unsigned v, int lane)
{
    return (unsigned)__nvvm_shfl_sync_idx_i32(mask, (int)v, lane, 31);
}

Q35_DEVICE_BUILTIN float __shfl_sync(unsigned mask, float v, int lane)
{
    return __nvvm_shfl_sync_idx_f32(mask, v, lane, 31);
}

Q35_DEVICE_BUILTIN float __shfl_xor_sync(unsigned mask, float v, int distance)
{
    return __nvvm_shfl_sync_bfly_f32(mask, v, distance, 31);
}

Q35_DEVICE_BUILTIN unsigned __shfl_xor_sync(unsigned mask, unsigned v, int distance)
{
    return (unsigned)__nvvm_shfl_sync_bfly_i32(mask, (int)v, distance, 31);
}

Q35_DEVICE_BUILTIN float __shfl_up_sync(unsigned mask, float v, unsigned distance)
{
    return __nvvm_shfl_sync_up_f32(mask, v, (int)distance, 0);
}

Q35_DEVICE_BUILTIN float __shfl_down_sync(unsigned mask, float v, unsigned distance)
{
    return __nvvm_shfl_sync_down_f32(mask, v, (int)distance, 31);
}

Q35_DEVICE_BUILTIN unsigned __byte_perm(unsigned a, unsigned b, unsigned select)
{
    return __nvvm_prmt(a, b, select);
}

Q35_DEVICE_BUILTIN unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n)
{
    unsigned v;
    asm("shf.l.wrap.b32 %0, %1, %2, %3;" : "=r"(v) : "r"(lo), "r"(hi), "r"(n));
    return v;
}

Q35_DEVICE_BUILTIN unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n)
{
    unsigned v;
    asm("shf.r.wrap.b32 %0, %1, %2, %3;" : "=r"(v) : "r"(lo), "r"(hi), "r"(n));
    return v;
}

Q35_DEVICE_BUILTIN size_t __cvta_generic_to_shared(const void *p)
{
    return (size_t)(__attribute__((address_space(3))) const void *)p;
}

Q35_DEVICE_BUILTIN int atomicAdd(int *p, int v)
{
    return __nvvm_atom_add_gen_i(p, v);
}

Q35_DEVICE_BUILTIN unsigned long long atomicAdd(unsigned long long *p, unsigned long long v)
{
    return (unsigned long long)__nvvm_atom_add_gen_ll((long long *)p, (long long)v);
}

Q35_DEVICE_BUILTIN float __fmaf_rn(float a, float b, float c)
{
    return __nvvm_fma_rn_f(a, b, c);
}

Q35_DEVICE_BUILTIN double __fma_rn(double a, double b, double c)
{
    return __nvvm_fma_rn_d(a, b, c);
}

Q35_DEVICE_BUILTIN float __fsqrt_rn(float a)
{
    return __nvvm_sqrt_rn_f(a);
}

Q35_DEVICE_BUILTIN float __fdiv_rn(float a, float b)
{
    return __nvvm_div_rn_f(a, b);
}

#endif
