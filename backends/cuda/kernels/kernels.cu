/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* All kernels in one translation unit. */

#include "device.h"

#include "tile.cuh"

#include "rotate.cuh" /* before those that use its norm and its quantization */

#include "attn_f16.cuh"
#include "attn_int8.cuh"

#include "attn.cuh" /* over either of the two */

#include "attn_merge.cuh"
#include "triple_few.cuh" /* before the products that use it */

#include "matmul_few.cuh"
#include "matmul_many.cuh"

#include "gemm.cuh" /* after matmul_many.cuh, whose decoder it uses */

#include "misc.cuh"
#include "rope.cuh"
