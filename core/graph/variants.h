/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_GRAPH_VARIANTS_H
#define Q35_CORE_GRAPH_VARIANTS_H

/* Compiles one body for several instruction sets and calls the best of them. The body does element
 * by element what it says (products are not contracted into sums), so all variants give the same
 * results.
 *
 *     BODY void sum_body(const float *x, float *y) { ... }
 *     VARIANTS(sum, (const float *x, float *y), (x, y))     defines static void sum(x, y) */

#define BODY static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define VARIANTS(name, params, args)                                                               \
    __attribute__((target("avx512f,fma"), flatten)) static void name##_avx512 params               \
    {                                                                                              \
        name##_body args;                                                                          \
    }                                                                                              \
    __attribute__((target("avx2,fma"), flatten)) static void name##_avx2 params                    \
    {                                                                                              \
        name##_body args;                                                                          \
    }                                                                                              \
    static void name params                                                                        \
    {                                                                                              \
        if (__builtin_cpu_supports("avx512f"))                                                     \
            name##_avx512 args;                                                                    \
        else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))                  \
            name##_avx2 args;                                                                      \
        else                                                                                       \
            name##_body args;                                                                      \
    }
#else
#define VARIANTS(name, params, args)                                                               \
    static void name params                                                                        \
    {                                                                                              \
        name##_body args;                                                                          \
    }
#endif

#endif
