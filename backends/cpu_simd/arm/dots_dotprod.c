/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for AArch64 CPUs with the dot-product instructions (ARMv8.2 and later). */

#define DOTPROD
#define SUFFIX dotprod
#include "dots_table.h"

void q35_cpu_install_dotprod(struct kernels *k)
{
    install_dots(k);
    q35_cpu_install_dotprod_attn8(k);
}
