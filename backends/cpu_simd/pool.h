/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_POOL_H
#define Q35_CPU_POOL_H

/* A pool of threads for short parallel loops. One caller at a time hands it a loop; each thread,
 * the caller too, goes through its share of the pieces in order and then takes from the others, so
 * a thread that lost its core costs one piece of delay. Waiting spins for some microseconds, then
 * sleeps. */

#include <stdint.h>

#include "places.h"

struct pool;

/* worker: 0 .. pool_threads() - 1, the caller is 0. */
typedef void (*pool_fn)(void *ctx, uint32_t piece, uint32_t worker);

/* As many threads as there are places, the caller included, which has the first. A thread takes
 * from those of its own node first. pin: 1 ties each to its CPU; the caller stays free. The places
 * are copied. NULL if out of memory or threads. */
struct pool *pool_create(const struct places *places, int pin);
/* Joins. NULL is fine. */
void pool_destroy(struct pool *p);
uint32_t pool_threads(const struct pool *p);
/* Runs fn(ctx, i, worker) for i in 0 .. pieces - 1 and returns when all are done. */
void pool_run(struct pool *p, pool_fn fn, void *ctx, uint32_t pieces);

/* The monotonic clock. */
uint64_t pool_now_ns(void);

#endif
