/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_FLOAT_MATMUL_H
#define Q35_CORE_FLOAT_MATMUL_H

/* Threads, and products of float matrices whose rows come from a source file. */

#include "core/base/base.h"
#include "core/model/source.h"

struct q35_float_pool;

/* threads 0: as many as processors (64 at most). */
enum q35_status q35_float_pool_create(struct q35_float_pool **out, uint32_t threads,
                                      struct q35_error *err);
void q35_float_pool_destroy(struct q35_float_pool *p);
uint32_t q35_float_pool_threads(const struct q35_float_pool *p);

/* Calls work(user, thread, item) for every item < count, on all threads; returns when all are done.
 */
typedef void (*q35_float_work)(void *user, uint32_t thread, uint32_t item);
void q35_float_pool_run(struct q35_float_pool *p, uint32_t count, q35_float_work work, void *user);

/* y[n][rows] = x[n][cols] * W^T (+ bias[rows], may be NULL). Each element is the sum of 16 partial
 * sums over ascending columns, added up in a fixed tree: the same on every CPU. */
enum q35_status q35_float_matmul(struct q35_float_pool *p, const struct q35_source_tensor *w,
                                 const float *bias, uint32_t n, const float *x, float *y,
                                 struct q35_error *err);

#endif
