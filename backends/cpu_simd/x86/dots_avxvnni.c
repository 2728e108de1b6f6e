/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for AVX2 and AVX-VNNI. */

#define VNNI
#define SUFFIX avxvnni
#include "dots_shuffle.h"

void q35_cpu_install_avxvnni(struct kernels *k)
{
    install_dots(k);
}
