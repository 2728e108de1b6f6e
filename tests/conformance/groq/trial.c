/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/conformance/groq/trial.h"

#include <stdlib.h>
#include <string.h>

struct tsp chip;

bool trial_chip(void)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct groq_config c;
    if (groq_config_read(&c, NULL, &err))
        return false;
    chip = c.tsp;
    return true;
}

struct groq_product shape(uint32_t scheme, uint32_t rows, uint32_t cols, uint32_t tokens,
                          uint32_t chips, enum groq_weights weights)
{
    struct groq_product g;
    memset(&g, 0, sizeof(g));
    g.mats[0] = (struct groq_shape){scheme, rows, cols, true};
    g.mats[1] = (struct groq_shape){scheme, 100, cols, false};
    g.n_mats = 2;
    g.tokens = tokens;
    g.chips = chips;
    g.weights = weights;
    return g;
}

void schedule(struct tsp_program *p, const struct groq_product *g)
{
    struct q35_error err = Q35_ERROR_INIT;
    if (groq_schedule_product(p, &chip, g, &err))
        fail_msg("%s", err.message);
}

static uint64_t seed = 1;

static uint32_t below(uint32_t n)
{
    seed += 0x9e3779b97f4a7c15u;
    return (uint32_t)((q35_mix64(seed) >> 32) * n >> 32);
}

/* A matrix of random codes under tables whose sums stay within an int8. */
static void make_matrix(struct q35_matrix *m, const struct groq_shape *s)
{
    uint64_t bytes = q35_blob_bytes(s->scheme, s->rows, s->cols), i;
    uint8_t *blob = aligned_alloc(64, (bytes + 63) / 64 * 64);
    float *scales = (float *)(void *)(blob + Q35_BLOB_TABLES), *bias;
    assert_non_null(blob);
    for (i = 0; i < bytes; i++)
        blob[i] = (uint8_t)below(256);
    for (i = 0; i < 128; i++) {
        bool b = Q35_SCHEME_HAS_B(s->scheme);
        ((int8_t *)blob)[i] = (int8_t)((int)below(b ? 135 : 255) - 127);
        ((int8_t *)blob)[128 + i] = (int8_t)((int)below(b ? 135 : 255) - 127);
        ((int8_t *)blob)[384 + i] = (int8_t)((int)below(b ? 135 : 255) - 127);
        if (!b)
            blob[256 + i] = 0;
    }
    bias = malloc(s->rows * sizeof(*bias));
    assert_non_null(bias);
    for (i = 0; i < q35_pad_rows(s->rows); i++)
        scales[i] = 0.001f * (float)(1 + below(1000));
    for (i = 0; i < s->rows; i++)
        bias[i] = 0.01f * (float)below(1000);
    *m = (struct q35_matrix){.size = sizeof(*m),
                             .scheme = s->scheme,
                             .rows = s->rows,
                             .cols = s->cols,
                             .rows_padded = q35_pad_rows(s->rows),
                             .cols_padded = q35_pad_cols(s->cols),
                             .tables = (const struct q35_tables *)(const void *)blob,
                             .scales = scales,
                             .codes = blob + q35_codes_offset(s->rows),
                             .bias = s->bias ? bias : NULL};
    if (!s->bias)
        free(bias);
}

void trial_init(struct trial *x, const struct groq_product *g)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t i, t, cols = q35_pad_cols(g->mats[0].cols);
    memset(x, 0, sizeof(*x));
    x->q = malloc((size_t)g->tokens * cols);
    x->scales = malloc(g->tokens * sizeof(float));
    assert_true(x->q && x->scales);
    x->a = (struct q35_matmul_args){.size = sizeof(x->a),
                                    .n_tokens = g->tokens,
                                    .n_mats = g->n_mats,
                                    .cols_padded = cols,
                                    .q = x->q,
                                    .token_scales = x->scales};
    for (t = 0; t < g->tokens; t++) {
        x->scales[t] = 0.01f * (float)(1 + below(100));
        for (i = 0; i < cols; i++)
            x->q[(size_t)t * cols + i] =
                i < g->mats[0].cols ? (int8_t)((int)below(255) - 127) : (int8_t)0;
    }
    for (i = 0; i < g->n_mats; i++) {
        make_matrix(&x->m[i], &g->mats[i]);
        if (groq_image_create(&x->images[i], &chip, g->weights, &x->m[i], &err))
            fail_msg("%s", err.message);
        x->got[i] = calloc(g->tokens, g->mats[i].rows * sizeof(float));
        x->want[i] = calloc(g->tokens, g->mats[i].rows * sizeof(float));
        assert_true(x->got[i] && x->want[i]);
        x->a.mats[i] = &x->m[i];
        x->a.y_stride[i] = g->mats[i].rows;
        x->a.y[i] = x->want[i];
    }
    assert_int_equal(q35_reference_ops.matmul(NULL, &x->a, &err), Q35_OK);
    for (i = 0; i < g->n_mats; i++)
        x->a.y[i] = x->got[i];
}

void trial_fini(struct trial *x)
{
    uint32_t i;
    for (i = 0; i < x->a.n_mats; i++) {
        groq_image_destroy(x->images[i]);
        free((void *)(uintptr_t)x->m[i].tables);
        free((void *)(uintptr_t)x->m[i].bias);
        free(x->got[i]);
        free(x->want[i]);
    }
    free(x->q);
    free(x->scales);
}

bool is_exact(struct trial *x, const struct groq_product *g, struct tsp_program *p,
              enum q35_status *st)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct groq_exec *e = groq_exec_create();
    struct groq_map *map = groq_map_create(p);
    bool same = true;
    uint32_t i;
    assert_true(e && map);
    *st = groq_execute(e, p, map, (const struct groq_image *const *)x->images, &x->a, 0, &err);
    for (i = 0; i < g->n_mats && !*st; i++)
        same = same &&
               !memcmp(x->got[i], x->want[i], (size_t)g->tokens * g->mats[i].rows * sizeof(float));
    groq_map_destroy(map);
    groq_exec_destroy(e);
    return same && !*st;
}
