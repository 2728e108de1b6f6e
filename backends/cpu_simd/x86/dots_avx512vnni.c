/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for AVX-512 VNNI without VBMI (Cascade Lake). */

#define WIDE
#define VNNI
#define SUFFIX avx512vnni
#include "dots_shuffle.h"

void q35_cpu_install_avx512vnni(struct kernels *k)
{
    install_dots(k);
    q35_cpu_install_avx512vnni_attn(k);
}
