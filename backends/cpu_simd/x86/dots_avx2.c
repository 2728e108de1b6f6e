/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for AVX2. */

#define SUFFIX avx2
#include "dots_shuffle.h"

#include "avx2.h"

void q35_cpu_install_avx2_dots(struct kernels *k)
{
    install_dots(k);
}
