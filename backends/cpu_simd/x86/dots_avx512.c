/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for AVX-512 without VBMI or VNNI (Skylake-X). */

#define WIDE
#define SUFFIX avx512
#include "dots_shuffle.h"

#include "avx512.h"

void q35_cpu_install_avx512_dots(struct kernels *k)
{
    install_dots(k);
}
