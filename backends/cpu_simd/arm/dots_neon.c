/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Packed dot products for every AArch64 CPU. */

#define SUFFIX neon
#include "dots_table.h"

#include "neon.h"

void q35_cpu_install_neon_dots(struct kernels *k)
{
    install_dots(k);
}
