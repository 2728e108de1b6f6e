/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "kit.h"

struct bench {
    const struct kernels *k;
    struct dots_args dots;
    struct attn_args attn, attn8;
    float *x, *y, *w;
    int8_t *q;
    uint32_t n;
};

static void run_few(void *p)
{
    struct bench *b = p;
    b->k->dots_few(&b->dots);
}

static void run_many(void *p)
{
    struct bench *b = p;
    b->k->dots_many(&b->dots);
}

static void run_rotate(void *p)
{
    struct bench *b = p;
    b->k->signs(b->x, b->n, b->n, 1, b->y);
    b->k->hadamard(b->y, b->n, b->n);
}

static void run_quantize(void *p)
{
    struct bench *b = p;
    b->k->quantize(b->x, b->n, b->q);
}

static void run_norm(void *p)
{
    struct bench *b = p;
    b->k->rms_norm(b->x, b->w, b->n, 1e-5f, b->y);
}

static void run_swiglu(void *p)
{
    struct bench *b = p;
    b->k->swiglu(b->n, b->x, b->w, b->y);
}

static void run_attn(void *p)
{
    struct bench *b = p;
    b->k->attn_block(&b->attn);
}

static void run_attn8(void *p)
{
    struct bench *b = p;
    b->k->attn8_block(&b->attn8);
}

static void report(const char *what, double ns, double bytes, double ops)
{
    printf("  %-34s %10.0f ns", what, ns);
    if (bytes > 0)
        printf("  %6.1f GB/s", bytes / ns);
    if (ops > 0)
        printf("  %7.1f Gop/s", ops / ns);
    printf("\n");
}

static void bench_dots(struct bench *b)
{
    static const struct {
        const char *name;
        uint32_t scheme;
    } list[] = {{"pairs", Q35_SCHEME_VQ2},
                {"trellis", Q35_SCHEME_TRELLIS},
                {"trellis2", Q35_SCHEME_TRELLIS2},
                {"triple", Q35_SCHEME_TRIPLE},
                {"single", Q35_SCHEME_SINGLE}};
    static const uint32_t tokens[] = {1, 2, 4, 8, 16, 32, 64, 512};
    struct q35_tables tables;
    char what[64];
    uint32_t s, i, t, cols = 2048;
    for (s = 0; s < sizeof list / sizeof *list; s++)
        for (i = 0; i < sizeof tokens / sizeof *tokens; i++) {
            struct dots_args *a = &b->dots;
            double ns, weights;
            kit_tables(&tables, list[s].scheme, false);
            a->scheme = list[s].scheme;
            a->tiles = q35_tiles_per_row(a->scheme, cols);
            a->cols = cols;
            a->blocks = 4;
            a->n_tokens = tokens[i];
            a->tables = &tables;
            a->q_stride = cols;
            a->packed = NULL;
            a->streams = q35_cpu_streams();
            a->rows = 16 * a->blocks;
            a->scales = a->token_scales = b->x;
            a->y_stride = a->rows;
            if (b->k->pack_q && tokens[i] > DOTS_FEW) {
                for (t = 0; t < tokens[i]; t += 48)
                    b->k->pack_q(b->q, tokens[i], cols, t, 48, b->y);
                a->packed = b->y;
            } else if (b->k->pack_few && tokens[i] > 1 && tokens[i] <= DOTS_FEW) {
                b->k->pack_few(b->q, cols, tokens[i], cols, b->y);
                a->packed = b->y;
            }
            ns = kit_time(tokens[i] > DOTS_FEW ? run_many : run_few, b);
            weights = 16.0 * a->blocks * cols;
            snprintf(what, sizeof what, "%s, %u tokens", list[s].name, tokens[i]);
            report(what, ns, (double)a->blocks * a->tiles * Q35_TILE_BYTES,
                   2 * weights * tokens[i]);
        }
}

void bench_kernels(const struct kernels *k)
{
    enum { COLS = 2048, TOKENS = DOTS_MANY };
    struct bench b = {.k = k, .n = COLS};
    struct q35_attn_state state[ATTN_GROUP];
    uint8_t *codes = kit_alloc(4u * 32 * Q35_TILE_BYTES + 64, 0);
    uint16_t *kv = kit_alloc(4u * 64 * 128, 0);
    int32_t *sums = kit_alloc(4u * TOKENS, 0);
    uint32_t i;
    kit_start("bench");
    b.x = kit_alloc(4u * COLS, 0);
    b.w = kit_alloc(4u * COLS, 0);
    b.y = kit_alloc(4u * COLS * TOKENS, 0);
    b.q = kit_alloc((uint64_t)COLS * TOKENS, 0);
    kit_fill(b.x, COLS, 0);
    kit_fill(b.w, COLS, 0);
    for (i = 0; i < 4u * 32 * Q35_TILE_BYTES; i++)
        codes[i] = (uint8_t)kit_u64();
    for (i = 0; i < COLS * TOKENS; i++)
        b.q[i] = (int8_t)((int)kit_below(255) - 127);
    for (i = 0; i < 2u * 64 * 128; i++)
        kv[i] = q35_f32_to_f16(kit_float());
    memset(sums, 0, 4u * TOKENS);
    b.dots = (struct dots_args){.codes = codes,
                                .q = b.q,
                                .q_sums = sums,
                                .acc = kit_alloc(4u * 64 * TOKENS, 0),
                                .y = kit_alloc(4u * 64 * TOKENS, 0),
                                .scratch = kit_alloc(SCRATCH_BYTES, 0)};
    bench_dots(&b);
    report("rotate 2048", kit_time(run_rotate, &b), 0, COLS * 11.0);
    report("quantize 2048", kit_time(run_quantize, &b), 4.0 * COLS, 0);
    report("rms_norm 2048", kit_time(run_norm, &b), 4.0 * COLS, 0);
    report("swiglu 2048", kit_time(run_swiglu, &b), 12.0 * COLS, 0);
    for (i = 1; i <= 8; i *= 8) {
        char what[40];
        b.attn = (struct attn_args){.group = i,
                                    .head_dim = 64,
                                    .n = 64,
                                    .scale = 0.125f,
                                    .q = b.x,
                                    .k = kv,
                                    .v = kv + 64 * 64,
                                    .state = state,
                                    .o = b.y,
                                    .scratch = b.dots.scratch};
        snprintf(what, sizeof what, "attention page, %u heads of 64", i);
        report(what, kit_time(run_attn, &b), 4.0 * 64 * 64, 4.0 * 64 * 64 * i);
        b.attn8 = (struct attn_args){.group = i,
                                     .head_dim = 64,
                                     .n = 64,
                                     .scale = 0.125f,
                                     .q_stride = 64,
                                     .q8 = b.q,
                                     .q_scales = b.w,
                                     .q_sums = sums,
                                     .k = (const int8_t *)kv,
                                     .v = (const int8_t *)kv + 64 * 64,
                                     .k_scales = b.w,
                                     .v_scales = b.w + 64,
                                     .state = state,
                                     .o = b.y,
                                     .scratch = b.dots.scratch};
        snprintf(what, sizeof what, "attention page, %u heads of 64, int8", i);
        report(what, kit_time(run_attn8, &b), 2.0 * 64 * 68, 4.0 * 64 * 64 * i);
    }
    kit_free(b.dots.acc);
    kit_free(b.dots.y);
    kit_free(b.dots.scratch);
    kit_free(codes);
    kit_free(kv);
    kit_free(sums);
    kit_free(b.x);
    kit_free(b.w);
    kit_free(b.y);
    kit_free(b.q);
}
