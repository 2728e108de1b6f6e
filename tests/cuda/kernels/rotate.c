/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Inputs of matrix products; embeddings; argmax. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct shape {
    uint32_t n, cols, rot_block;
    bool norm, up, rows, single;
    int fill;
};

/* What the kernel must give, by the reference operations. */
static void want(const struct shape *s, const struct q35_cu_rotate *a, int8_t *q, float *scales)
{
    float *h = kit_alloc(s->cols * sizeof(float), 0);
    uint64_t t;
    for (t = 0; t < s->n; t++) {
        uint64_t row = a->rows ? a->rows[t] : t;
        const float *x = a->x + row * a->x_stride;
        memcpy(h, x, s->cols * sizeof(float));
        if (s->norm)
            q35_reference_ops.rms_norm(NULL, 1, s->cols, x, a->norm, a->eps, h, NULL);
        if (s->up)
            q35_reference_ops.swiglu(NULL, s->cols, x, a->up + row * a->x_stride, h, NULL);
        q35_reference_ops.quantize(NULL, 1, s->cols, a->cols_padded, a->rot_block, a->rot_seed, h,
                                   s->cols, q + t * a->cols_padded, scales + t, NULL);
    }
    kit_free(h);
}

static void rotate(const struct shape *s, const struct q35_cu_limits *lim)
{
    uint32_t padded = q35_pad_cols(s->cols), given = s->rows ? 2 * s->n : s->n, i, count;
    uint64_t stride = s->cols + 5u;
    float *x = kit_alloc(given * stride * sizeof(float), 0);
    float *up = kit_alloc(given * stride * sizeof(float), 0);
    float *norm = kit_alloc(s->cols * sizeof(float), 0);
    float *scales = kit_alloc(s->n * sizeof(float), 0);
    float *want_scales = kit_alloc(s->n * sizeof(float), 0);
    uint64_t scratch = q35_cu_rotate_scratch(s->n, padded);
    float *room = kit_alloc(scratch * sizeof(float), 0);
    int8_t *q = kit_alloc((uint64_t)s->n * padded, 0),
           *want_q = kit_alloc((uint64_t)s->n * padded, 0);
    uint32_t *rows = kit_alloc(s->n * sizeof(uint32_t), 0);
    struct q35_cu_launch l[2];
    struct q35_cu_rotate a = {.x = x,
                              .up = s->up ? up : NULL,
                              .norm = s->norm ? norm : NULL,
                              .rows = s->rows ? rows : NULL,
                              .q = q,
                              .scales = scales,
                              .scratch = room,
                              .x_stride = stride,
                              .rot_seed = kit_u64(),
                              .n_tokens = s->n,
                              .cols = s->cols,
                              .cols_padded = padded,
                              .rot_block = s->rot_block,
                              .pair = !s->single,
                              .eps = 1e-5f};
    char what[96];
    kit_fill(x, given * stride, s->fill);
    kit_fill(up, given * stride, 0);
    kit_fill(norm, s->cols, 0);
    for (i = 0; i < s->n; i++)
        rows[i] = kit_below(given);
    want(s, &a, want_q, want_scales);
    count = q35_cu_rotate_set(&a, lim, l);
    for (i = 0; i < count; i++)
        check_launch(l[i], &a, lim);
    check_unorder(q, (uint64_t)s->n * padded, a.pair);
    snprintf(what, sizeof what, "%u columns, block %u, fill %d, %u launches", s->cols, s->rot_block,
             s->fill, count);
    kit_same_floats(want_scales, scales, s->n, what);
    kit_same_bytes(want_q, q, (uint64_t)s->n * padded, what);
    kit_free(x), kit_free(up), kit_free(norm), kit_free(scales), kit_free(want_scales);
    kit_free(room), kit_free(q), kit_free(want_q), kit_free(rows);
}

void test_rotate(void)
{
    uint32_t block;
    int fill;
    for (fill = 0; fill < KIT_FILLS; fill++)
        rotate(
            &(struct shape){.n = 2, .cols = 300, .rot_block = 128, .norm = fill % 2, .fill = fill},
            &check_limits);
    for (block = 1; block <= 1024; block *= 2)
        rotate(&(struct shape){.n = 1, .cols = 1020, .rot_block = block}, &check_limits);
    rotate(&(struct shape){.n = 2, .cols = 640, .norm = true, .rows = true, .single = true},
           &check_limits);
    rotate(&(struct shape){.n = 3, .cols = 900, .rot_block = 1024, .up = true}, &check_limits);
    /* Several chunks, the last one shorter; then chunks that do not fit. */
    rotate(&(struct shape){.n = 2, .cols = 10230, .rot_block = 2048, .up = true}, &check_limits);
    rotate(&(struct shape){.n = 1, .cols = 12288, .rot_block = 4096, .norm = true}, &check_limits);
    rotate(&(struct shape){.n = 1, .cols = 16384, .rot_block = 16384, .single = true},
           &check_small_limits);
}

static void embed(uint32_t scheme, uint32_t cols, uint32_t rot_block,
                  const struct q35_cu_limits *lim)
{
    struct q35_token tokens[3] = {{.id = 44}, {.id = 0}, {.id = 31}};
    struct check_matrix m;
    float *out = kit_alloc(3 * cols * sizeof(float), 0), *row = kit_alloc(cols * sizeof(float), 0);
    uint64_t scratch = q35_cu_embed_scratch(3, q35_pad_cols(cols));
    float *room = kit_alloc(scratch * sizeof(float), 0);
    struct q35_cu_embed a;
    uint32_t t, i;
    check_matrix_init(&m, scheme, 45, cols, rot_block, false);
    a = (struct q35_cu_embed){.codes = m.repacked,
                              .tables = &m.tables,
                              .scales = m.scales,
                              .tokens = tokens,
                              .out = out,
                              .scratch = room,
                              .rot_seed = m.ref.rot_seed,
                              .n_tokens = 3,
                              .scheme = scheme,
                              .cols = cols,
                              .cols_padded = q35_pad_cols(cols),
                              .rot_block = rot_block,
                              .embed_scale = 1.5f};
    check_launch(q35_cu_embed_set(&a, lim), &a, lim);
    for (t = 0; t < 3; t++) {
        q35_reference_ops.embed(NULL, &m.ref, (uint32_t)tokens[t].id, row, NULL);
        for (i = 0; i < cols; i++)
            row[i] = row[i] * 1.5f;
        kit_same_floats(row, out + (uint64_t)t * cols, cols, "embedding");
    }
    check_matrix_fini(&m);
    kit_free(out), kit_free(row), kit_free(room);
}

void test_embed(void)
{
    uint32_t s;
    for (s = 0; s < CHECK_SCHEMES; s++) {
        embed(check_schemes[s], 300, s % 2 ? 0 : 128, &check_limits);
        embed(check_schemes[s], 250, 256, &check_limits);
    }
    embed(Q35_SCHEME_TRELLIS2, 9200, 256, &check_limits);
    embed(Q35_SCHEME_SINGLE, 16300, 16384, &check_small_limits);
}

void test_small(void)
{
    static const uint32_t sizes[] = {1, 31, 513, 5000};
    uint32_t s, i, k;
    for (s = 0; s < 4; s++) {
        uint32_t n = sizes[s], ids[4], want_id[4];
        float *x = kit_alloc(4ull * n * sizeof(float), 0);
        struct q35_cu_argmax a = {.logits = x, .ids = ids, .n = 4, .vocab = n};
        kit_fill(x, 4ull * n, 0);
        for (k = 0; k < n; k++) {
            x[n + k] = floorf(x[n + k]); /* equals */
            x[2 * n + k] = k % 3 ? x[2 * n + k] : NAN;
            x[3 * n + k] = -INFINITY;
        }
        for (i = 0; i < 4; i++) {
            uint32_t best = 0;
            float top = -INFINITY;
            for (k = 0; k < n; k++)
                if (x[i * n + k] > top) {
                    top = x[i * n + k];
                    best = k;
                }
            want_id[i] = best;
        }
        check_launch(q35_cu_argmax_set(&a), &a, &check_limits);
        for (i = 0; i < 4; i++)
            if (ids[i] != want_id[i])
                kit_fail("argmax of %u is %u, not %u (row %u)", n, ids[i], want_id[i], i);
        kit_free(x);
    }
}
