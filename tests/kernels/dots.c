/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "kit.h"

static const uint32_t schemes[] = {
    Q35_SCHEME_ALT43,         Q35_SCHEME_VQ2,           Q35_SCHEME_TRELLIS,
    Q35_SCHEME_TRELLIS2,      Q35_SCHEME_SINGLE,        Q35_SCHEME_TRIPLE,
    Q35_SCHEME(101, 1, 1, 1), Q35_SCHEME(102, 1, 1, 0), /* shapes that no scheme has */
    Q35_SCHEME(103, 3, 0, 0), Q35_SCHEME(104, 3, 1, 1),
};

static uint8_t *random_codes(uint64_t bytes)
{
    uint8_t *codes = kit_alloc(bytes + Q35_BLOB_TAIL, 0);
    uint64_t i;
    for (i = 0; i < bytes; i++)
        codes[i] = (uint8_t)kit_u64();
    return codes;
}

/* y[token][a->y_stride] from a's sums in plain C. */
static void rescale(const struct kernels *c, const struct dots_args *a, const float *scales,
                    const float *bias, float *y)
{
    uint32_t t;
    for (t = 0; t < a->n_tokens; t++)
        c->rescale(a->acc + (uint64_t)t * a->blocks * 16, scales, a->token_scales[t], bias, a->rows,
                   y + t * a->y_stride);
}

/* What a dots_many that finishes makes of its sums, for each of dots_then. `a` as for plain C, its
 * sums done; `packed` for k. */
static void finishing(const struct kernels *c, const struct kernels *k, struct dots_args a,
                      const void *packed, const char *what)
{
    uint64_t bytes = (uint64_t)a.blocks * a.tiles * Q35_TILE_BYTES, i;
    uint64_t len = a.n_tokens * (a.y_stride = a.blocks * 16 + 3), sums = 16ull * a.blocks;
    float *scales = kit_alloc(8 * sums, 0), *bias = kit_alloc(8 * sums, 0);
    float *start = kit_alloc(4 * len, 4), *want = kit_alloc(4 * len, 4),
          *have = kit_alloc(4 * len, 4);
    float *token_scales = kit_alloc(4 * a.n_tokens, 4), *up = kit_alloc(4 * len, 0);
    int32_t *twice = kit_alloc(8 * sums * a.n_tokens, 0), *plain = a.acc;
    uint8_t *codes = random_codes(bytes);
    struct q35_tables tables;
    char name[128];
    kit_tables(&tables, a.scheme, false);
    kit_fill(scales, 2 * sums, 0);
    kit_fill(bias, 2 * sums, 0);
    kit_fill(start, len, 0);
    kit_fill(token_scales, a.n_tokens, 0);
    a.rows = 16 * a.blocks - kit_below(16);
    a.scales = scales;
    a.token_scales = token_scales;
    a.bias = kit_below(2) ? bias : NULL;
    for (a.then = DOTS_STORE; a.then <= DOTS_SWIGLU; a.then++) {
        memcpy(want, start, 4 * len);
        memcpy(have, start, 4 * len);
        a.acc = plain;
        if (a.then == DOTS_STORE) {
            rescale(c, &a, scales, a.bias, want);
        } else if (a.then == DOTS_ADD) {
            memcpy(up, start, 4 * len);
            rescale(c, &a, scales, a.bias, up);
            for (i = 0; i < len; i++)
                if (i % a.y_stride < a.rows)
                    want[i] = want[i] + up[i];
        } else {
            struct dots_args second = a;
            a.up_tables = second.tables = &tables;
            a.up_codes = second.codes = codes;
            a.up_scales = scales + sums;
            a.up_bias = kit_below(2) ? bias + sums : NULL;
            rescale(c, &a, scales, a.bias, want);
            second.acc = twice;
            c->dots_many(&second);
            memcpy(up, start, 4 * len);
            rescale(c, &second, a.up_scales, a.up_bias, up);
            for (i = 0; i < a.n_tokens; i++)
                c->swiglu(a.rows, want + i * a.y_stride, up + i * a.y_stride,
                          want + i * a.y_stride);
        }
        a.acc = twice;
        a.packed = packed;
        a.y = have;
        k->dots_many(&a);
        snprintf(name, sizeof name, "%s, then %u", what, a.then);
        kit_same_floats(want, have, len, name);
    }
    kit_free(scales);
    kit_free(bias);
    kit_free(start);
    kit_free(want);
    kit_free(have);
    kit_free(token_scales);
    kit_free(up);
    kit_free(twice);
    kit_free(codes);
}

/* One call of dots_few or dots_many with fresh data. */
static void one(const struct kernels *c, const struct kernels *k, uint32_t scheme, uint32_t cols,
                uint32_t blocks, uint32_t n, int kind, size_t shift)
{
    uint32_t tiles = q35_tiles_per_row(scheme, cols), i;
    uint64_t code_bytes = (uint64_t)blocks * tiles * Q35_TILE_BYTES,
             sums = (uint64_t)n * blocks * 16;
    uint8_t *codes = random_codes(code_bytes), *packed = NULL;
    int8_t *q = kit_alloc((uint64_t)n * cols, shift);
    int32_t *want = kit_alloc(4 * sums, 4 * shift), *have = kit_alloc(4 * sums, 4 * shift);
    int32_t *q_sums = kit_alloc(4 * n, 0);
    void *scratch = kit_alloc(SCRATCH_BYTES, 0);
    struct q35_tables t;
    struct dots_args a = {.scheme = scheme,
                          .tiles = tiles,
                          .cols = cols,
                          .blocks = blocks,
                          .streams = shift % 2 ? DOTS_STREAMS : 1,
                          .n_tokens = n,
                          .tables = &t,
                          .codes = codes,
                          .q = q,
                          .q_stride = cols,
                          .q_sums = q_sums,
                          .scratch = scratch,
                          .acc = want};
    char what[96];
    kit_tables(&t, scheme, kind == 2);
    for (i = 0; i < n * cols; i++)
        q[i] = (int8_t)(kind == 1 ? (kit_below(2) ? 127 : -127) : (int)kit_below(255) - 127);
    for (i = 0; i < n; i++) {
        q_sums[i] = c->sum_q(q + (uint64_t)i * cols, cols);
        if (q_sums[i] != k->sum_q(q + (uint64_t)i * cols, cols))
            kit_fail("sum_q of %u columns", cols);
    }
    (n <= DOTS_FEW ? c->dots_few : c->dots_many)(&a);
    a.acc = have;
    if (k->pack_q && n > DOTS_FEW) {
        packed = kit_alloc(k->pack_bytes(n, cols), 0);
        for (i = 0; i < n; i += 48)
            k->pack_q(q, n, cols, i, 48, packed);
        a.packed = packed;
    } else if (k->pack_few && n > 1 && n <= DOTS_FEW) {
        packed = kit_alloc((uint64_t)DOTS_FEW * (cols + 128), 0);
        k->pack_few(q, cols, n, cols, packed);
        a.packed = packed;
    }
    snprintf(what, sizeof what, "scheme %#x, %u columns, %u blocks, %u tokens, kind %d", scheme,
             cols, blocks, n, kind);
    if (n > DOTS_FEW && k->many_finishes) {
        a.acc = want;
        finishing(c, k, a, packed, what);
    } else {
        (n <= DOTS_FEW ? k->dots_few : k->dots_many)(&a);
        kit_same_ints(want, have, sums, what);
    }
    kit_free(codes);
    kit_free(q);
    kit_free(want);
    kit_free(have);
    kit_free(q_sums);
    kit_free(scratch);
    kit_free(packed);
}

void test_dots(const struct kernels *c, const struct kernels *k)
{
    static const uint32_t units[] = {1, 2, 3, 4, 7, 8, 9, 17, 33}; /* of 128 columns */
    static const uint32_t many[] = {9, 12, 15, 16, 17, 31, 33, 49, 50, 62, 70, 97};
    uint32_t s, i, n;
    kit_start("dots");
    for (s = 0; s < sizeof schemes / sizeof *schemes; s++) {
        for (n = 1; n <= DOTS_FEW; n++)
            for (i = 0; i < sizeof units / sizeof *units; i++)
                one(c, k, schemes[s], 128 * units[i], 1 + (i + n) % DOTS_STREAMS, n,
                    (int)(n + i) % 3, i);
        for (n = 0; n < sizeof many / sizeof *many; n++)
            one(c, k, schemes[s], 128 * units[(n + s) % 9], 1 + n % 3, many[n], (int)n % 3, n);
    }
    one(c, k, Q35_SCHEME_TRELLIS, 384, 1, DOTS_MANY, 0, 0);
    one(c, k, Q35_SCHEME_TRELLIS, 133120, 1, 2, 1, 0); /* all extremes */
    one(c, k, Q35_SCHEME_TRELLIS, 133120, 1, 9, 1, 0);
    one(c, k, Q35_SCHEME_TRIPLE, 133120, 1, 9, 1, 0);
}
