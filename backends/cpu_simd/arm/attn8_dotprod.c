/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "attn_neon.h"

#define NAME(op) op##_dotprod

static inline int32x4_t mla16(int32x4_t sum, int8x16_t k, int8x16_t q)
{
    return vdotq_s32(sum, k, q);
}

#include "attn8_neon.h"

void q35_cpu_install_dotprod_attn8(struct kernels *k)
{
    k->attn8_block = attn8_block_dotprod;
}
