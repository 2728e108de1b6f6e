/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_KERNELS_KIT_H
#define Q35_TEST_KERNELS_KIT_H

/* The kit of the kernel test: numbers that depend on the seed and the test's name alone, buffers
 * with canaries at any misalignment, comparison bit by bit. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

extern uint64_t kit_seed;
extern const char *kit_variant; /* under test, for messages */
extern unsigned kit_failures;

/* Restarts the numbers, so that every variant sees the same ones. */
void kit_start(const char *test);
uint64_t kit_u64(void);
uint32_t kit_below(uint32_t n);
float kit_float(void); /* about normal, mean 0 */

/* Fills: 0 random, 1 zeros, 2 extremes, 3 a mix with NaN and infinities, 4 tiny, 5 huge, 6 halves
 * (ties in rounding). */
#define KIT_FILLS 7
void kit_fill(float *x, uint64_t n, int fill);

/* `bytes` of memory, `shift` bytes past a 64-byte boundary, with canaries on both sides. */
void *kit_alloc(size_t bytes, size_t shift);
/* Checks the canaries and frees. */
void kit_free(void *p);

void kit_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* NaN equals NaN, everything else compares by its bits. */
void kit_same_floats(const float *want, const float *have, uint64_t n, const char *what);
void kit_same_ints(const int32_t *want, const int32_t *have, uint64_t n, const char *what);
void kit_same_bytes(const void *want, const void *have, uint64_t n, const char *what);

/* A test compares k with plain C; a bench prints a line. */
void test_dots(const struct kernels *c, const struct kernels *k);
void test_floats(const struct kernels *c, const struct kernels *k);
void test_attention(const struct kernels *c, const struct kernels *k);
void test_greedy(const struct kernels *c, const struct kernels *k);
void bench_kernels(const struct kernels *k);
/* Best nanoseconds for one call of fn(ctx), by the thread's own clock. */
double kit_time(void (*fn)(void *), void *ctx);

/* Tables of a scheme, all sums inside [-127, 127]; wild: any bytes. */
void kit_tables(struct q35_tables *t, uint32_t scheme, bool wild);

#endif
