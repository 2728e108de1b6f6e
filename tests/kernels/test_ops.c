/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The CPU backend's operations against the reference's, bit by bit: pieces, threads, batches of all
 * sizes, several matrices at once, long and short contexts, windows. And the pool itself. */

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu.h"
#include "kit.h"
#include "ops.h"
#include "soft.h"

#define REF(op, ...) q35_reference_ops.op(NULL, __VA_ARGS__, NULL)
#define OURS(op, ...) (cpu_ops.op(cpu, __VA_ARGS__, NULL))

/* ---- the pool -------------------------------------------------------------------------------- */

struct hits {
    _Atomic uint32_t count[300];
    _Atomic uint32_t bad_worker;
    uint32_t threads;
};

static void hit(void *ctx, uint32_t piece, uint32_t worker)
{
    struct hits *h = ctx;
    atomic_fetch_add(&h->count[piece], 1);
    if (worker >= h->threads)
        atomic_fetch_add(&h->bad_worker, 1);
}

/* Sums what it is given: more pieces than one round of the pool takes. */
static void add_piece(void *ctx, uint32_t piece, uint32_t worker)
{
    (void)worker;
    atomic_fetch_add((_Atomic uint64_t *)ctx, piece);
}

static void test_pool(uint32_t threads, int pin)
{
    struct places places;
    struct pool *p = places_init(&places, threads) ? pool_create(&places, pin) : NULL;
    _Atomic uint64_t sum = 0;
    struct hits h;
    uint32_t round, i, n;
    kit_start("pool");
    if (!p) {
        kit_fail("no pool of %u threads", threads);
        return;
    }
    for (round = 0; round < 10000; round++) {
        n = kit_below(round % 10 ? 12 : 300);
        memset(&h, 0, sizeof h);
        h.threads = pool_threads(p);
        pool_run(p, hit, &h, n);
        for (i = 0; i < 300; i++)
            if (h.count[i] != (i < n)) {
                kit_fail("%u threads, round %u: piece %u of %u ran %u times", threads, round, i, n,
                         h.count[i]);
                break;
            }
        if (h.bad_worker)
            kit_fail("a worker's number is too large");
        if (round % 500 == 0) { /* let them fall asleep */
            struct timespec t = {0, 1000000};
            nanosleep(&t, NULL);
        }
    }
    pool_run(p, add_piece, &sum, 200000);
    if (sum != 199999ull * 200000 / 2)
        kit_fail("200000 pieces, some not run once");
    pool_destroy(p);
    places_fini(&places);
}

struct holding {
    uint32_t pieces;
    _Atomic uint32_t done, held;
};

/* All threads but the caller keep their first piece until every piece that nobody keeps is done. */
static void hold(void *ctx, uint32_t piece, uint32_t worker)
{
    struct holding *h = ctx;
    (void)piece;
    if (worker) {
        h->held++;
        while (h->done + h->held < h->pieces)
            sched_yield();
    }
    h->done++;
    if (worker)
        h->held--;
}

/* The caller finishes what others have not begun, on its own node and on another. */
static void test_steal(const char *machine, uint32_t threads)
{
    struct holding h = {.pieces = 40};
    struct places places;
    struct pool *p;
    if (!places_init_synthetic(&places, threads, machine, ~0ull) && !places_init(&places, threads))
        kit_fail("no places");
    p = pool_create(&places, 0);
    if (p)
        pool_run(p, hold, &h, h.pieces);
    if (h.done != h.pieces)
        kit_fail("%u of %u pieces done", h.done, h.pieces);
    pool_destroy(p);
    places_fini(&places);
}

/* ---- matrices -------------------------------------------------------------------------------- */

static uint8_t *random_matrix(struct q35_matrix *m, uint32_t scheme, uint32_t rows, uint32_t cols,
                              const float *bias)
{
    uint64_t bytes = q35_blob_bytes(scheme, rows, cols), i, codes = q35_codes_offset(rows);
    uint8_t *blob = kit_alloc(bytes, 0);
    float *scales = (float *)(void *)(blob + Q35_BLOB_TABLES);
    *m = (struct q35_matrix){.size = sizeof *m,
                             .scheme = scheme,
                             .rows = rows,
                             .cols = cols,
                             .rows_padded = q35_pad_rows(rows),
                             .cols_padded = q35_pad_cols(cols),
                             .rot_block = q35_rot_block(cols),
                             .rot_seed = kit_u64(),
                             .tables = (const struct q35_tables *)(const void *)blob,
                             .scales = scales,
                             .codes = blob + codes,
                             .bias = bias};
    kit_tables((struct q35_tables *)(void *)blob, scheme, false);
    for (i = 0; i < q35_pad_rows(rows); i++)
        scales[i] = 0.01f * kit_float();
    for (i = codes; i < bytes; i++)
        blob[i] = (uint8_t)kit_u64();
    return blob;
}

/* quantize and matmul of n tokens with three matrices that share their input. */
static void test_matmul(struct cpu *cpu, uint32_t n, uint32_t cols)
{
    static const uint32_t rows[3] = {200, 16, 33};
    static const uint32_t schemes[3] = {Q35_SCHEME_TRELLIS, Q35_SCHEME_SINGLE, Q35_SCHEME_TRIPLE};
    uint32_t padded = q35_pad_cols(cols), i;
    struct q35_matrix m[3];
    uint8_t *blob[3];
    float *x = kit_alloc(4ull * n * cols, 4), *bias = kit_alloc(4 * 200, 0);
    int8_t *qw = kit_alloc((uint64_t)n * padded, 0), *qh = kit_alloc((uint64_t)n * padded, 0);
    float *sw = kit_alloc(4ull * n, 0), *sh = kit_alloc(4ull * n, 0);
    struct q35_matmul_args a = {.size = sizeof a,
                                .n_tokens = n,
                                .n_mats = 3,
                                .cols_padded = padded,
                                .q = qw,
                                .token_scales = sw};
    float *want[3], *have[3];
    kit_start("matmul");
    kit_fill(x, (uint64_t)n * cols, 0);
    kit_fill(bias, 200, 0);
    for (i = 0; i < 3; i++) {
        blob[i] = random_matrix(&m[i], schemes[i], rows[i], cols, i == 0 ? bias : NULL);
        a.mats[i] = &m[i];
        a.y_stride[i] = rows[i] + i;
        want[i] = kit_alloc(4ull * n * a.y_stride[i], 0);
        have[i] = kit_alloc(4ull * n * a.y_stride[i], 0);
    }
    if (REF(quantize, n, cols, padded, m[0].rot_block, m[0].rot_seed, x, cols, qw, sw) ||
        OURS(quantize, n, cols, padded, m[0].rot_block, m[0].rot_seed, x, cols, qh, sh))
        kit_fail("quantize refused");
    kit_same_bytes(qw, qh, (uint64_t)n * padded, "quantized tokens");
    kit_same_floats(sw, sh, n, "token scales");
    for (i = 0; i < 3; i++)
        a.y[i] = want[i];
    if (q35_reference_ops.matmul(NULL, &a, NULL))
        kit_fail("the reference refused");
    for (i = 0; i < 3; i++)
        a.y[i] = have[i];
    if (cpu_ops.matmul(cpu, &a, NULL))
        kit_fail("matmul refused");
    for (i = 0; i < 3; i++) {
        kit_same_bytes(want[i], have[i], 4ull * n * a.y_stride[i], "products");
        kit_free(want[i]);
        kit_free(have[i]);
    }
    for (i = 0; i < 20; i++) {
        float *e = kit_alloc(4ull * cols, 0), *f = kit_alloc(4ull * cols, 0);
        uint32_t row = kit_below(rows[i % 3]);
        if (REF(embed, &m[i % 3], row, e) || OURS(embed, &m[i % 3], row, f))
            kit_fail("embed refused");
        kit_same_floats(e, f, cols, "embedding");
        kit_free(e);
        kit_free(f);
    }
    for (i = 0; i < 3; i++)
        kit_free(blob[i]);
    kit_free(x);
    kit_free(bias);
    kit_free(qw);
    kit_free(qh);
    kit_free(sw);
    kit_free(sh);
}

/* A product and what follows it, in one or one after the other; `other` is the second matrix's
 * scheme, plain: the first one's tables have no B, so that they are of another kind. */
static void test_then(struct cpu *cpu, uint32_t n, uint32_t rows, uint32_t other, bool plain)
{
    const uint32_t cols = 256;
    uint64_t len = (uint64_t)n * rows;
    struct q35_matrix m[2];
    float *bias = kit_alloc(4ull * rows, 0), *scales = kit_alloc(4ull * n, 0);
    float *want[2] = {kit_alloc(4 * len, 0), kit_alloc(4 * len, 0)}, *into = kit_alloc(4 * len, 0);
    float *have[2] = {kit_alloc(4 * len, 0), kit_alloc(4 * len, 0)};
    int8_t *q = kit_alloc((uint64_t)n * cols, 0);
    struct q35_matmul_args a = {.size = sizeof a,
                                .n_tokens = n,
                                .cols_padded = cols,
                                .q = q,
                                .token_scales = scales,
                                .mats = {&m[0], &m[1]},
                                .y_stride = {rows, rows}};
    uint8_t *blob[2];
    uint64_t i;
    kit_start("product and more");
    kit_fill(bias, rows, 0);
    kit_fill(scales, n, 0);
    kit_fill(into, len, 0);
    blob[0] = random_matrix(&m[0], Q35_SCHEME_TRELLIS, rows, cols, NULL);
    blob[1] = random_matrix(&m[1], other, rows, cols, bias);
    if (plain)
        memset(blob[0] + offsetof(struct q35_tables, b), 0, 128);
    for (i = 0; i < (uint64_t)n * cols; i++)
        q[i] = (int8_t)((int)kit_below(255) - 127);
    for (i = 0; i < 2; i++)
        a.y[i] = want[i];
    a.n_mats = 2;
    if (REF(matmul, &a) || REF(swiglu, len, want[0], want[1], want[0]))
        kit_fail("the reference refused");
    for (i = 0; i < 2; i++)
        a.y[i] = have[i];
    if (cpu_matmul_then(cpu, &a, Q35_SOFT_SWIGLU, have[0], NULL))
        kit_fail("matmul and swiglu refused");
    kit_same_floats(want[0], have[0], len, "product and swiglu");
    a.n_mats = 1;
    a.y[0] = want[1];
    memcpy(want[0], into, 4 * len);
    if (REF(matmul, &a) || REF(add, len, want[0], want[1]))
        kit_fail("the reference refused");
    a.y[0] = have[1];
    if (cpu_matmul_then(cpu, &a, Q35_SOFT_ADD, into, NULL))
        kit_fail("matmul and add refused");
    kit_same_floats(want[0], into, len, "product and add");
    for (i = 0; i < 2; i++) {
        kit_free(blob[i]);
        kit_free(want[i]);
        kit_free(have[i]);
    }
    kit_free(bias);
    kit_free(scales);
    kit_free(into);
    kit_free(q);
}

/* ---- attention ------------------------------------------------------------------------------- */

static void test_attend(struct cpu *cpu, uint32_t n, uint32_t last, uint32_t heads,
                        uint32_t kv_heads, uint32_t dim, uint32_t window, uint32_t kv_type)
{
    uint32_t pages = last / 64 + 1, i;
    uint64_t half = (uint64_t)kv_heads * 64 * dim, k;
    uint64_t page = kv_type == Q35_KV_INT8 ? q35_kv8_page_bytes(kv_heads, dim) / 2 : 2 * half;
    uint64_t values = (uint64_t)n * heads * dim, j;
    uint16_t *kv = kit_alloc(2 * page * pages, 0);
    const uint16_t **list = kit_alloc(sizeof *list * pages, 0);
    const uint16_t *const **of_token = kit_alloc(sizeof *of_token * n, 0);
    uint32_t *positions = kit_alloc(4ull * n, 0);
    float *q = kit_alloc(4 * values, 0), *want = kit_alloc(4 * values, 0);
    float *have = kit_alloc(4 * values, 0);
    struct q35_attn_args a = {.size = sizeof a,
                              .n_tokens = n,
                              .n_heads = heads,
                              .n_kv_heads = kv_heads,
                              .head_dim = dim,
                              .window = window,
                              .scale = 0.2f,
                              .kv_type = kv_type,
                              .q = q,
                              .out = want,
                              .positions = positions,
                              .pages = of_token};
    kit_start("attention of the device");
    kit_fill(q, values, 0);
    for (j = 0; j < page * pages; j++)
        kv[j] = q35_f32_to_f16(kit_float());
    for (i = 0; i < pages; i++) {
        float *scales = (float *)(void *)((int8_t *)(kv + page * i) + 2 * half);
        list[i] = kv + page * i;
        for (k = 0; kv_type == Q35_KV_INT8 && k < 128ull * kv_heads; k++)
            scales[k] = 0.01f * kit_float();
    }
    for (i = 0; i < n; i++) {
        positions[i] = last - (n - 1 - i);
        of_token[i] = list;
    }
    if (q35_reference_ops.attention(NULL, &a, NULL))
        kit_fail("the reference refused");
    a.out = have;
    for (i = 0; i < (pages > 32 ? 60 : 1); i++) { /* threads meet in another place each time */
        memset(have, 0, 4 * values);
        if (cpu_ops.attention(cpu, &a, NULL))
            kit_fail("attention refused");
        kit_same_floats(want, have, values, "attention");
    }
    kit_free(kv);
    kit_free(list);
    kit_free(of_token);
    kit_free(positions);
    kit_free(q);
    kit_free(want);
    kit_free(have);
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* Over the end of a piece, at the start of a tensor and inside one. */
static void test_hash(struct cpu *cpu)
{
    uint64_t n = 600000 + kit_below(9), first = 8 * kit_below(2) * kit_below(1000000), i;
    uint8_t *data = kit_alloc(n, 0);
    for (i = 0; i < n; i++)
        data[i] = (uint8_t)kit_u64();
    if (cpu_hash(cpu, data, n, first) != q35_hash_chunk(data, n, first))
        kit_fail("hash");
    kit_free(data);
}

static void test_rest(struct cpu *cpu, uint32_t n, uint32_t d)
{
    uint64_t len = (uint64_t)n * d;
    float *x = kit_alloc(4 * len, 0), *y = kit_alloc(4 * len, 0), *w = kit_alloc(4ull * d, 0);
    float *want = kit_alloc(4 * len, 0), *have = kit_alloc(4 * len, 0);
    float *cs = kit_alloc(4 * 64ull * n, 0);
    kit_start("norm, rope, swiglu, add");
    kit_fill(x, len, 0);
    kit_fill(y, len, 0);
    kit_fill(w, d, 0);
    kit_fill(cs, 64ull * n, 0);
    if (REF(rms_norm, n, d, x, w, 1e-5f, want) || OURS(rms_norm, n, d, x, w, 1e-5f, have))
        kit_fail("rms_norm refused");
    kit_same_floats(want, have, len, "rms_norm");
    if (REF(rope, n, d / 64, 64, 64, 1, cs, want) || OURS(rope, n, d / 64, 64, 64, 1, cs, have))
        kit_fail("rope refused");
    kit_same_floats(want, have, len, "rope");
    if (REF(add, len, want, y) || OURS(add, len, have, y))
        kit_fail("add refused");
    kit_same_floats(want, have, len, "add");
    if (REF(swiglu, len, x, y, want) || OURS(swiglu, len, x, y, have))
        kit_fail("swiglu refused");
    kit_same_floats(want, have, len, "swiglu");
    kit_free(x);
    kit_free(y);
    kit_free(w);
    kit_free(want);
    kit_free(have);
    kit_free(cs);
}

static void test_device(unsigned features, unsigned variant, uint32_t threads)
{
    static const uint32_t tokens[] = {1, 2, 5, 8, 9, 14, 15, 40};
    struct cpu *cpu =
        cpu_create(features, variant, threads, threads == 2 ? CPU_PIN_CORES : CPU_PIN_AUTO);
    uint32_t i, type;
    if (!cpu) {
        kit_fail("no device");
        return;
    }
    for (i = 0; i < sizeof tokens / sizeof *tokens; i++)
        test_matmul(cpu, tokens[i], i % 2 ? 200 : 256);
    test_matmul(cpu, DOTS_MANY + 5, 128);
    for (i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        test_then(cpu, tokens[i], 200, Q35_SCHEME_TRELLIS, false);
        test_then(cpu, tokens[i], 33, Q35_SCHEME_TRELLIS, true);
        test_then(cpu, tokens[i], 48, Q35_SCHEME_TRIPLE, false);
    }
    test_then(cpu, DOTS_MANY + 5, 40, Q35_SCHEME_TRELLIS,
              false); /* the last turn is of few tokens */
    test_then(cpu, DOTS_MANY + 15, 40, Q35_SCHEME_TRELLIS, false);
    for (type = Q35_KV_F16; type <= Q35_KV_INT8; type++) {
        test_attend(cpu, 1, 0, 4, 2, 64, 0, type);
        test_attend(cpu, 1, 63, 4, 2, 64, 0, type);
        test_attend(cpu, 1, 1000, 3, 1, 64, 0, type); /* split over pages */
        test_attend(cpu, 1, 4095, 4, 1, 32, 0, type);
        test_attend(cpu, 2, 1300, 40, 1, 32, 0, type); /* more heads than a kernel takes */
        test_attend(cpu, 3, 900, 2, 2, 128, 700, type);
        test_attend(cpu, 20, 130, 8, 2, 64, 0, type);
        test_attend(cpu, 20, 130, 8, 2, 40, 9, type);
        test_attend(cpu, 1, 5, 2, 1, 300, 0, type); /* a head too wide for the kernels */
    }
    test_hash(cpu);
    test_rest(cpu, 1, 64);
    test_rest(cpu, 70, 1024);
    cpu_destroy(cpu);
}

static void print_places(void)
{
    struct places p;
    if (places_init(&p, q35_cpu_count()))
        printf("%u threads on %u nodes\n", p.threads, p.nodes);
    places_fini(&p);
}

int main(int argc, char **argv)
{
    unsigned features = q35_cpu_features(), v;
    kit_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    printf("seed %llu (the first argument sets it)\n", (unsigned long long)kit_seed);
    kit_variant = "threads";
    print_places();
    test_pool(1, 0);
    test_pool(2, 1);
    test_pool(7, 0);
    test_steal("node:1 core:4 pu:1", 4);
    test_steal("node:2 core:1 pu:1", 2);
    test_steal("node:3 core:2 pu:1", 6);
    for (v = 0; v < q35_cpu_variant_count; v++) {
        if (q35_cpu_variants[v].need & ~features)
            continue;
        kit_variant = q35_cpu_variants[v].id;
        test_device(features, v, 1);
        test_device(features, v, 2);
        test_device(features, v, 0);
    }
    printf("%s\n", kit_failures ? "FAILED" : "ok");
    return kit_failures != 0;
}
