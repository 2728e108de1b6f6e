/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "kit.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CANARY 192u /* bytes on each side */

uint64_t kit_seed;
const char *kit_variant = "";
unsigned kit_failures;
static uint64_t state;
static const char *test_name = "";

void kit_start(const char *test)
{
    test_name = test;
    state = q35_mix64(kit_seed);
    while (*test)
        state = q35_mix64(state + (uint8_t)*test++);
}

uint64_t kit_u64(void)
{
    state += 0x9e3779b97f4a7c15u;
    return q35_mix64(state);
}

uint32_t kit_below(uint32_t n)
{
    return (uint32_t)((kit_u64() >> 32) * n >> 32);
}

float kit_float(void)
{
    float sum = 0.0f;
    int i;
    for (i = 0; i < 4; i++)
        sum += (float)(int32_t)(kit_u64() >> 33) * 0x1p-31f - 0.5f;
    return sum * 1.7f;
}

void kit_fill(float *x, uint64_t n, int fill)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f, 0.0f, 1e-40f, 3e38f, -3e38f};
    uint64_t i;
    for (i = 0; i < n; i++) {
        float r = kit_float();
        switch (fill) {
        case 0:
            x[i] = r;
            break;
        case 1:
            x[i] = 0.0f;
            break;
        case 2:
            x[i] = r < 0 ? -127.0f : 127.0f;
            break;
        case 3:
            x[i] = kit_below(8) ? r : odd[kit_below(8)];
            break;
        case 4:
            x[i] = r * 1e-36f;
            break;
        case 5:
            x[i] = r * 1e36f;
            break;
        default:
            x[i] = i ? (float)kit_below(254) - 126.5f : 127.0f;
            break;
        }
    }
}

struct head {
    size_t bytes;
    uint8_t *block;
};

void *kit_alloc(size_t bytes, size_t shift)
{
    uint8_t *block = NULL, *p;
    struct head h;
    if (posix_memalign((void **)&block, 64, bytes + 2 * CANARY + 64) != 0)
        exit(2);
    memset(block, 0x5a, bytes + 2 * CANARY + 64);
    p = block + CANARY + (shift & 63u);
    h.bytes = bytes;
    h.block = block;
    memcpy(block, &h, sizeof h); /* inside the front canary's first bytes */
    memset(p, 0xc3, bytes);
    return p;
}

void kit_free(void *p)
{
    uint8_t *at = p, *block;
    struct head h;
    size_t i;
    if (!p)
        return;
    block = at - ((uintptr_t)at & 63u) - CANARY;
    memcpy(&h, block, sizeof h);
    for (i = sizeof h; block + i < at; i++)
        if (block[i] != 0x5a) {
            kit_fail("wrote %zu bytes before a buffer", (size_t)(at - (block + i)));
            break;
        }
    for (i = 0; i < CANARY - 64; i++)
        if (at[h.bytes + i] != 0x5a) {
            kit_fail("wrote %zu bytes past a buffer", i + 1);
            break;
        }
    free(h.block);
}

void kit_fail(const char *format, ...)
{
    va_list ap;
    if (++kit_failures > 20)
        return;
    printf("FAIL %s, %s: ", kit_variant, test_name);
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf(" (seed %llu)\n", (unsigned long long)kit_seed);
}

void kit_same_floats(const float *want, const float *have, uint64_t n, const char *what)
{
    uint64_t i;
    for (i = 0; i < n; i++) {
        uint32_t a, b;
        memcpy(&a, &want[i], 4);
        memcpy(&b, &have[i], 4);
        if (a != b && !(isnan(want[i]) && isnan(have[i]))) {
            kit_fail("%s: value %llu of %llu is %a, not %a", what, (unsigned long long)i,
                     (unsigned long long)n, (double)have[i], (double)want[i]);
            return;
        }
    }
}

void kit_same_ints(const int32_t *want, const int32_t *have, uint64_t n, const char *what)
{
    uint64_t i;
    for (i = 0; i < n; i++)
        if (want[i] != have[i]) {
            kit_fail("%s: sum %llu of %llu is %d, not %d", what, (unsigned long long)i,
                     (unsigned long long)n, have[i], want[i]);
            return;
        }
}

void kit_same_bytes(const void *want, const void *have, uint64_t n, const char *what)
{
    if (memcmp(want, have, n) != 0)
        kit_fail("%s: bytes differ", what);
}

void kit_tables(struct q35_tables *t, uint32_t scheme, bool wild)
{
    int8_t *const a[3] = {t->a0, t->a1, t->a2};
    int i, lo = -127, room = 127;
    uint32_t k;
    memset(t, 0, sizeof *t);
    if (Q35_SCHEME_HAS_B(scheme))
        room -= 120;
    for (k = 0; k < 3; k++)
        for (i = 0; i < 128 && k < Q35_SCHEME_WEIGHTS(scheme); i++)
            a[k][i] = (int8_t)(wild ? kit_u64()
                                    : (uint64_t)(lo + (int)kit_below((uint32_t)(room - lo + 1))));
    for (i = 0; i < 128 && Q35_SCHEME_HAS_B(scheme); i++)
        t->b[i] = (uint8_t)kit_u64();
    for (k = 0; k < Q35_SCHEME_WEIGHTS(scheme) && !wild; k++) /* the extremes occur */
        a[k][kit_below(128)] = (int8_t)(k % 2 ? room : lo);
}

static double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double kit_time(void (*fn)(void *), void *ctx)
{
    double best = 1e9, start, took;
    int rep, calls = 1, i;
    fn(ctx);
    for (;;) { /* enough calls for the clock */
        start = thread_seconds();
        for (i = 0; i < calls; i++)
            fn(ctx);
        took = thread_seconds() - start;
        if (took > 2e-4)
            break;
        calls *= 2;
    }
    for (rep = 0; rep < 15; rep++) {
        start = thread_seconds();
        for (i = 0; i < calls; i++)
            fn(ctx);
        took = (thread_seconds() - start) / calls;
        best = took < best ? took : best;
    }
    return best * 1e9;
}
