/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_CUDA_CHECK_H
#define Q35_TEST_CUDA_CHECK_H

/* The kernels, launched by the rules of backends/cuda/launch.h in the emulator, against the
 * reference operations, bit for bit. */

#include "backends/cuda/args.h"
#include "kit.h"
#include "soft.h"

extern const struct q35_cu_limits check_limits;       /* an ordinary device */
extern const struct q35_cu_limits check_one_limits;   /* one processor: the widest kernels */
extern const struct q35_cu_limits check_small_limits; /* little shared memory, few processors */

/* Runs one launch; a failure of the emulator is a failure of the test. */
void check_launch(struct q35_cu_launch l, const void *args, const struct q35_cu_limits *lim);

/* A packed matrix of random codes, for the reference and for the device. */
struct check_matrix {
    struct q35_matrix ref;
    struct q35_tables tables;
    float *scales;
    float *bias;
    uint8_t *codes; /* as in a file */
    uint8_t *repacked;
};
void check_matrix_init(struct check_matrix *m, uint32_t scheme, uint32_t rows, uint32_t cols,
                       uint32_t rot_block, bool bias);
void check_matrix_fini(struct check_matrix *m);

/* q in the kernels' order -> as the reference has it. */
void check_unorder(int8_t *q, uint64_t n, bool pair);
void check_order(int8_t *q, uint64_t n, bool pair);

#define CHECK_SCHEMES 10
extern const uint32_t check_schemes[CHECK_SCHEMES];

void test_matmul(void);
void test_rotate(void);
void test_embed(void);
void test_small(void);
void test_rope(void);
void test_attn(void);
void test_emulator(void);

#endif
