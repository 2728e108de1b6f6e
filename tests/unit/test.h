/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_UNIT_TEST_H
#define Q35_TESTS_UNIT_TEST_H

/* cmocka with the headers it needs, and a small generator for reproducible inputs. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "q35/format.h"

struct test_rng {
    uint64_t state;
};

static inline uint64_t test_rng_u64(struct test_rng *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return q35_mix64(r->state);
}

/* Uniform in [-1, 1). */
static inline float test_rng_f32(struct test_rng *r)
{
    return (float)((double)(test_rng_u64(r) >> 11) * 0x1p-52 - 1.0);
}

#endif
