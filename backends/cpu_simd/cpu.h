/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_CPU_H
#define Q35_CPU_CPU_H

/* What the CPU can do and how many of them this process may use. Threads: any. */

#include <stddef.h>
#include <stdint.h>

/* Each bit includes what the operating system must save (XCR0) and everything the kernels of that
 * variant use beside the instructions that name it. */
enum cpu_feature {
    CPU_AVX2 = 1,    /* AVX2, FMA, F16C */
    CPU_AVXVNNI = 2, /* AVX-VNNI */
    CPU_AVX512 = 4,  /* F, BW, VL, DQ */
    CPU_AVX512VNNI = 8,
    CPU_AVX512VBMI = 16, /* VBMI, VNNI, GFNI */
    CPU_AMX = 32,        /* AMX-TILE, AMX-INT8, granted to this process */
    CPU_NEON = 64,
    CPU_DOTPROD = 128
};

unsigned q35_cpu_features(void);

/* CPUs in this process's affinity mask, at least 1. */
unsigned q35_cpu_count(void);

/* Places of memory that a thread should read in turn to get all of the bandwidth. */
unsigned q35_cpu_streams(void);

/* The CPU's own name, for reports. */
void q35_cpu_name(char *out, size_t size);

#endif
