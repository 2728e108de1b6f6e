/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_CUDA_EMU_H
#define Q35_TEST_CUDA_EMU_H

/* Runs the CUDA kernels of backends/cuda/kernels on the CPU, thread by thread: for tests of their
 * logic on small shapes, and below the fake libcuda.so.1. Device memory is host memory. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the arguments of the kernel of this name ("q35_cu_rotate"); 0 if there is none. */
size_t emu_args(const char *name);

/* Runs one launch to its end. params[0] points at the kernel's struct of arguments, as for
 * cuLaunchKernel. shared: dynamic shared memory in bytes.
 * Returns 0; or -1 if the kernel is unknown, the launch impossible, a barrier was not reached by
 * all threads, or shared memory was written out of bounds: then emu_error() tells. Threads: one
 * launch at a time is run, others wait. */
int emu_launch(const char *name, const uint32_t grid[3], const uint32_t block[3], size_t shared,
               void **params);

/* Which compute capability is emulated, as 10 * major + minor; 90 at first. Only where shared
 * memory begins depends on it. */
void emu_capability(uint32_t cc);

/* What the last failed launch of this thread died of. */
const char *emu_error(void);

#ifdef __cplusplus
}
#endif
#endif
