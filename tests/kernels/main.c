/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* test_kernels [--seed N] [--bench] [--isa ID]: every variant of every kernel that this CPU has,
 * against plain C, bit by bit. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu.h"
#include "kit.h"

#if defined(__x86_64__)
void q35_cpu_install_amx_emulated(struct kernels *k);
#endif

/* All tests of one variant; prints the outcome. */
static void test_variant(const char *id, const struct kernels *c, const struct kernels *k)
{
    unsigned before = kit_failures;
    kit_variant = id;
    test_dots(c, k);
    test_floats(c, k);
    test_attention(c, k);
    test_greedy(c, k);
    printf("%-12s %s\n", id, kit_failures == before ? "ok" : "FAILED");
}

/* The AMX kernel with its tile instructions in plain C, where the CPU has all but those. */
static void test_emulated(unsigned features, const struct kernels *c)
{
#if defined(__x86_64__)
    struct kernels k;
    if (!(features & CPU_AVX512VBMI))
        return;
    q35_cpu_kernels_init(&k, features & ~(unsigned)CPU_AMX, q35_cpu_variant_count);
    q35_cpu_install_amx_emulated(&k);
    test_variant("amx, tiles emulated", c, &k);
#else
    (void)features;
    (void)c;
#endif
}

static bool parse(int argc, char **argv, bool *bench, const char **isa)
{
    struct timespec now;
    int i;
    clock_gettime(CLOCK_REALTIME, &now);
    kit_seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            *bench = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            kit_seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--isa") == 0 && i + 1 < argc)
            *isa = argv[++i];
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    unsigned features = q35_cpu_features(), v, tested = 0;
    const char *isa = NULL;
    bool bench = false;
    struct kernels c, k;
    char cpu[64];
    if (!parse(argc, argv, &bench, &isa)) {
        fprintf(stderr, "usage: %s [--seed N] [--bench] [--isa ID]\n", argv[0]);
        return 2;
    }
    q35_cpu_name(cpu, sizeof cpu);
    printf("%s, seed %llu\n", cpu, (unsigned long long)kit_seed);
    q35_cpu_kernels_init(&c, features, 0);
    for (v = 0; v < q35_cpu_variant_count; v++) {
        const struct variant *variant = &q35_cpu_variants[v];
        if (isa && strcmp(isa, variant->id) != 0)
            continue;
        if (variant->need & ~features) {
            printf("%-12s not on this CPU, not tested\n", variant->id);
            continue;
        }
        q35_cpu_kernels_init(&k, features, v);
        test_variant(variant->id, &c, &k);
        tested++;
        if (bench)
            bench_kernels(&k);
    }
    if (!isa)
        test_emulated(features, &c);
    return kit_failures || !tested ? 1 : 0;
}
