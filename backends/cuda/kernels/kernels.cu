/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* All kernels in one translation unit. */

#include "device.h"

#include "tile.cuh"

#include "rotate.cuh" /* before rope.cuh, which uses its norm */

#include "attn.cuh"
#include "matmul_few.cuh"
#include "matmul_many.cuh"

#include "gemm.cuh" /* after matmul_many.cuh, whose decoder it uses */

#include "misc.cuh"
#include "rope.cuh"
