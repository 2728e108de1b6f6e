/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "cpu.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

#define XCR0_AVX 0x06u
#define XCR0_AVX512 0xe6u
#define XCR0_AMX 0x60000u
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA 18

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static int has(uint32_t reg, unsigned bit)
{
    return (int)(reg >> bit) & 1;
}

/* The kernel hands out AMX state only to processes that ask. */
static int amx_granted(void)
{
#if defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 0;
#endif
}

unsigned q35_cpu_features(void)
{
    uint32_t a, b, c, d, b7, c7, d7, a71, unused;
    unsigned f = 0;
    uint64_t x;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 27) /* OSXSAVE */)
        return 0;
    x = xcr0();
    if ((x & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return 0;
    if (has(b7, 5) && has(c, 12) && has(c, 29) && has(c, 28))
        f |= CPU_AVX2;
    else
        return 0;
    if (a >= 1 && __get_cpuid_count(7, 1, &a71, &unused, &c, &d) && has(a71, 4))
        f |= CPU_AVXVNNI;
    if ((x & XCR0_AVX512) != XCR0_AVX512)
        return f;
    if (has(b7, 16) && has(b7, 30) && has(b7, 31) && has(b7, 17))
        f |= CPU_AVX512;
    if ((f & CPU_AVX512) && has(c7, 11))
        f |= CPU_AVX512VNNI;
    if ((f & CPU_AVX512VNNI) && has(c7, 1) && has(c7, 8))
        f |= CPU_AVX512VBMI;
    if ((f & CPU_AVX512VBMI) && has(d7, 24) && has(d7, 25) && (x & XCR0_AMX) == XCR0_AMX &&
        amx_granted())
        f |= CPU_AMX;
    return f;
}

/* One stream that is prefetched fills the memory channels of a Zen core; Intel's server cores need
 * several, measured with up to 45% more. */
unsigned q35_cpu_streams(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx ? 4 : 1;
}

void q35_cpu_name(char *out, size_t size)
{
    uint32_t r[12], i;
    char text[49] = {0};
    for (i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]))
            break;
    if (i == 3)
        memcpy(text, r, 48);
    snprintf(out, size, "%s", i == 3 ? text + strspn(text, " ") : "x86-64");
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#define HWCAP_ASIMDDP_BIT (1ul << 20)

unsigned q35_cpu_features(void)
{
    return CPU_NEON | (getauxval(AT_HWCAP) & HWCAP_ASIMDDP_BIT ? (unsigned)CPU_DOTPROD : 0u);
}

void q35_cpu_name(char *out, size_t size)
{
    snprintf(out, size, "aarch64");
}

#else

unsigned q35_cpu_features(void)
{
    return 0;
}

void q35_cpu_name(char *out, size_t size)
{
    snprintf(out, size, "unknown");
}

#endif

#if !defined(__x86_64__)
unsigned q35_cpu_streams(void)
{
    return 1;
}
#endif

unsigned q35_cpu_count(void)
{
    cpu_set_t set;
    int n = 0;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    if (n < 1)
        n = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1u : (unsigned)n;
}
