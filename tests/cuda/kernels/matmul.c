/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Uploading and matrix products. */

#include <stdio.h>
#include <string.h>

#include "check.h"

static void test_repack(void)
{
    struct check_matrix m;
    struct q35_cu_repack back;
    struct q35_cu_hash h;
    uint64_t sum = 0, bytes;
    check_matrix_init(&m, Q35_SCHEME_TRELLIS, 80, 256, 0, false);
    bytes = 10 * Q35_TILE_BYTES;
    back = (struct q35_cu_repack){.codes = m.repacked, .tiles = 10, .undo = 1};
    if (!memcmp(m.repacked, m.codes, bytes))
        kit_fail("repack changed nothing");
    check_launch(q35_cu_repack_set(&back), &back, &check_limits);
    kit_same_bytes(m.codes, m.repacked, bytes, "repack there and back");
    h = (struct q35_cu_hash){.data = m.codes, .bytes = 4096, .sum = &sum};
    check_launch(q35_cu_hash_set(&h), &h, &check_limits);
    h = (struct q35_cu_hash){
        .data = m.codes + 4096, .bytes = bytes - 4096 - 3, .first_byte = 4096, .sum = &sum};
    check_launch(q35_cu_hash_set(&h), &h, &check_limits);
    if (sum != q35_hash_chunk(m.codes, bytes - 3, 0))
        kit_fail("the hash in two chunks differs");
    check_matrix_fini(&m);
}

struct product {
    uint32_t n_tokens, n_mats, cols, rows[4], scheme[4];
    bool bias, add, library;
};

/* The product of a.mats[i] as with a library: decode, sums, rescale. */
static void run_library(const struct q35_cu_matmul *a, uint32_t i, const struct q35_cu_limits *lim)
{
    const struct q35_cu_matrix *m = &a->mats[i];
    uint32_t padded = q35_pad_rows(m->rows), stride = padded + 4, t, r, k;
    int8_t *w = kit_alloc((uint64_t)padded * a->cols_padded, 0);
    int32_t *sums = kit_alloc((uint64_t)a->n_tokens * stride * 4, 0);
    struct q35_cu_decode d = {.codes = m->codes,
                              .tables = m->tables,
                              .out = w,
                              .scheme = m->scheme,
                              .blocks = padded / 16u,
                              .cols_padded = a->cols_padded};
    struct q35_cu_rescale s = {.sums = sums,
                               .token_scales = a->token_scales,
                               .scales = m->scales,
                               .bias = m->bias,
                               .y = m->y,
                               .y_stride = m->y_stride,
                               .n_tokens = a->n_tokens,
                               .rows = m->rows,
                               .stride = stride,
                               .add = m->add};
    check_launch(q35_cu_decode_set(&d, lim), &d, lim);
    for (t = 0; t < a->n_tokens; t++)
        for (r = 0; r < padded; r++) {
            const int8_t *x = a->q + (uint64_t)t * a->cols_padded;
            int32_t sum = 0;
            for (k = 0; k < a->cols_padded; k++)
                sum += w[(uint64_t)r * a->cols_padded + k] * x[k];
            sums[(uint64_t)t * stride + r] = sum;
        }
    check_launch(q35_cu_rescale_set(&s), &s, lim);
    kit_free(w);
    kit_free(sums);
}

static void run_device(const struct product *p, struct check_matrix *m, int8_t *q,
                       const float *token_scales, float *const *y, const uint64_t *stride,
                       const struct q35_cu_limits *lim)
{
    struct q35_cu_matmul a = {.q = q,
                              .token_scales = token_scales,
                              .n_tokens = p->n_tokens,
                              .n_mats = p->n_mats,
                              .cols_padded = q35_pad_cols(p->cols)};
    struct q35_cu_launch l;
    uint64_t blocks = 0, words, k;
    bool pair = Q35_SCHEME_WEIGHTS(p->scheme[0]) == 2u;
    uint32_t i;
    for (i = 0; i < p->n_mats; i++) {
        a.mats[i] = (struct q35_cu_matrix){.codes = m[i].repacked,
                                           .tables = &m[i].tables,
                                           .scales = m[i].scales,
                                           .bias = m[i].bias,
                                           .y = y[i],
                                           .y_stride = stride[i],
                                           .scheme = p->scheme[i],
                                           .rows = p->rows[i],
                                           .add = p->add};
        blocks += q35_pad_rows(p->rows[i]) / 16u;
    }
    words = q35_cu_matmul_sums(blocks);
    a.sums = kit_alloc(words * sizeof *a.sums, 0);
    memset(a.sums, 0, words * sizeof *a.sums);
    check_order(q, (uint64_t)p->n_tokens * a.cols_padded, pair);
    l = q35_cu_matmul_set(&a, lim);
    for (i = 0; i < p->n_mats && p->library; i++)
        run_library(&a, i, lim);
    if (!p->library)
        check_launch(l, &a, lim);
    check_unorder(q, (uint64_t)p->n_tokens * a.cols_padded, pair);
    for (k = 0; k < words; k++)
        if (a.sums[k]) {
            kit_fail("the sums are not left zero");
            break;
        }
    kit_free(a.sums);
}

static void product(const struct product *p, const struct q35_cu_limits *lim)
{
    struct check_matrix m[4];
    uint32_t padded = q35_pad_cols(p->cols), i, t, r;
    uint64_t n = p->n_tokens, k, stride[4];
    int8_t *q = kit_alloc(n * padded, 0);
    float *scales = kit_alloc(n * sizeof(float), 0), *want[4], *have[4];
    struct q35_matmul_args a = {.size = sizeof a,
                                .n_tokens = p->n_tokens,
                                .n_mats = p->n_mats,
                                .cols_padded = padded,
                                .q = q,
                                .token_scales = scales};
    char what[160];
    for (k = 0; k < n * padded; k++)
        q[k] = (int8_t)((int)kit_below(255) - 127);
    kit_fill(scales, n, 0);
    for (i = 0; i < p->n_mats; i++) {
        check_matrix_init(&m[i], p->scheme[i], p->rows[i], p->cols, 0, p->bias);
        stride[i] = p->rows[i] + 3u * i;
        want[i] = kit_alloc(n * stride[i] * sizeof(float), 0);
        have[i] = kit_alloc(n * stride[i] * sizeof(float), 0);
        memset(want[i], 0, n * stride[i] * sizeof(float));
        kit_fill(have[i], n * stride[i], 0);
        a.mats[i] = &m[i].ref;
        a.y[i] = want[i];
        a.y_stride[i] = stride[i];
    }
    q35_reference_ops.matmul(NULL, &a, NULL);
    for (i = 0; i < p->n_mats; i++)
        for (t = 0; t < n; t++)
            for (r = 0; r < stride[i]; r++) {
                float before = have[i][t * stride[i] + r], *w = &want[i][t * stride[i] + r];
                *w = r >= p->rows[i] ? before : p->add ? before + *w : *w;
            }
    run_device(p, m, q, scales, have, stride, lim);
    for (i = 0; i < p->n_mats; i++) {
        snprintf(what, sizeof what, "scheme %x, %u tokens, %u x %u, matrix %u of %u%s",
                 p->scheme[i], p->n_tokens, p->rows[i], p->cols, i + 1, p->n_mats,
                 p->library ? ", by a library" : "");
        kit_same_floats(want[i], have[i], n * stride[i], what);
        check_matrix_fini(&m[i]);
        kit_free(want[i]);
        kit_free(have[i]);
    }
    kit_free(q);
    kit_free(scales);
}

void test_matmul(void)
{
    static const uint32_t counts[] = {1, 3, 8, 11, 16, 17, 70};
    uint32_t s, i;
    test_repack();
    for (s = 0; s < CHECK_SCHEMES; s++) {
        uint32_t scheme = check_schemes[s];
        for (i = 0; i < sizeof counts / sizeof *counts; i++) {
            struct product p = {.n_tokens = counts[i],
                                .n_mats = 1,
                                .cols = i % 2 ? 250 : 384,
                                .rows = {37},
                                .scheme = {scheme},
                                .add = i % 3 == 0,
                                .bias = i % 2 == 0};
            product(&p, i % 2 ? &check_limits : &check_small_limits);
        }
        product(&(struct product){5, 1, 250, {37}, {scheme}, s % 2, s % 3 == 0, .library = true},
                s % 2 ? &check_limits : &check_small_limits);
    }
    /* More tiles than warps, rows beyond a block of threads. */
    product(&(struct product){2, 1, 1500, {530}, {Q35_SCHEME_TRELLIS}, true, true, .library = true},
            &check_small_limits);
    /* Last tiles of which one or two segments of three count, alone and behind others. */
    for (i = 0; i < 12; i++) {
        static const uint32_t tokens[] = {2, 9, 40}, cols[] = {100, 256, 500, 640};
        product(
            &(struct product){tokens[i % 3], 1, cols[i / 3], {50}, {Q35_SCHEME_TRIPLE}, true, true},
            i % 2 ? &check_one_limits : &check_small_limits);
        product(&(struct product){3, 1, cols[i / 3], {20}, {Q35_SCHEME_TRIPLE}, .library = true},
                &check_limits);
    }
    /* Several matrices; spans that begin and end inside row blocks. */
    product(&(struct product){2,
                              3,
                              600,
                              {150, 40, 17},
                              {Q35_SCHEME_TRELLIS, Q35_SCHEME_TRELLIS2, Q35_SCHEME_ALT43},
                              true,
                              false},
            &check_small_limits);
    product(&(struct product){9,
                              4,
                              1500,
                              {33, 64, 16, 1},
                              {Q35_SCHEME_VQ2, Q35_SCHEME_TRELLIS2, Q35_SCHEME_TRELLIS,
                               Q35_SCHEME_ALT43},
                              true,
                              true},
            &check_small_limits);
    product(
        &(struct product){
            130, 2, 256, {260, 100}, {Q35_SCHEME_TRELLIS2, Q35_SCHEME_VQ2}, false, true},
        &check_limits);
    product(&(struct product){260, 1, 250, {40}, {Q35_SCHEME_TRELLIS}, true, false},
            &check_one_limits);
    product(
        &(struct product){
            130, 2, 130, {130, 10}, {Q35_SCHEME_SINGLE, Q35_SCHEME_SINGLE}, false, true},
        &check_one_limits);
    /* So few columns that a span has as many row blocks as it may. */
    product(&(struct product){1, 1, 100, {2000}, {Q35_SCHEME_TRELLIS}, false, false},
            &check_small_limits);
}
