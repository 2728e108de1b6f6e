/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "kernels.h"

#include "cpu.h"

/* Oldest first; later entries override. */
const struct variant q35_cpu_variants[] = {
    {"scalar", "plain C", 0, q35_cpu_install_c},
#if defined(__x86_64__)
    {"avx2", "AVX2", CPU_AVX2, q35_cpu_install_avx2},
    {"avxvnni", "AVX-VNNI", CPU_AVXVNNI, q35_cpu_install_avxvnni},
    {"avx512", "AVX-512", CPU_AVX512, q35_cpu_install_avx512},
    {"avx512vnni", "AVX-512 VNNI", CPU_AVX512VNNI, q35_cpu_install_avx512vnni},
    {"avx512vbmi", "AVX-512 VBMI", CPU_AVX512VBMI, q35_cpu_install_avx512vbmi},
    {"amx", "AMX", CPU_AMX, q35_cpu_install_amx},
#elif defined(__aarch64__)
    {"neon", "NEON", CPU_NEON, q35_cpu_install_neon},
    {"dotprod", "NEON with dot products", CPU_DOTPROD, q35_cpu_install_dotprod},
#endif
};
const unsigned q35_cpu_variant_count = sizeof q35_cpu_variants / sizeof *q35_cpu_variants;

void q35_cpu_kernels_init(struct kernels *k, unsigned features, unsigned last)
{
    unsigned i;
    for (i = 0; i < q35_cpu_variant_count && i <= last; i++)
        if ((q35_cpu_variants[i].need & ~features) == 0) {
            q35_cpu_variants[i].install(k);
            k->name = q35_cpu_variants[i].name;
        }
}
