/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/quant/encode.h"
#include "q35/arith.h"
#include "tools/q35/bench.h"
#include "tools/q35/ladder.h"

#define RUNG_NS 300000000ull /* spent on a rung */
#define MIN_RUNS 2u
#define MAX_RUNGS 10u
#define ROT_SEED 7u

static const struct cli_option options[] = {
    {0, "rows", "N", "rows and columns of the matrix, a multiple of 128 [8192]"},
    {0, "backend", "BACKEND", "plugin of the vector rungs [cpu_simd]"},
    {'t', "threads", "N", "threads of the last rungs [one for each CPU]"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

struct rung {
    char name[32];
    double bits, seconds, bytes;
    bool packed, same; /* same: logits equal those of the scalar rung bit by bit */
};

struct ladder {
    const char *backend;
    uint32_t n, threads, rung_count;
    uint64_t bytes; /* of the packed blob */
    uint8_t *blob;  /* n x n, trellis, rotated */
    float *x, *norm, *h, *want, *have, *w32;
    int8_t *q, *w8;
    uint8_t *w4;
    int32_t *acc;
    float token_scale;
    double read[2]; /* bytes per second with one and with all threads */
    struct rung rungs[MAX_RUNGS];
};

/* ---- data ----------------------------------------------------------------------------------- */

static void *aligned(uint64_t bytes)
{
    return aligned_alloc(64, (bytes + 63) & ~(uint64_t)63);
}

static void fill_blob(struct ladder *l)
{
    uint64_t at, first = q35_codes_offset(l->n), end = l->bytes - Q35_BLOB_TAIL;
    float *scales = (float *)(void *)(l->blob + Q35_BLOB_TABLES);
    uint32_t i;
    memcpy(l->blob, q35_shipped_tables(Q35_SCHEME_TRELLIS), sizeof(struct q35_tables));
    for (i = 0; i < l->n; i++)
        scales[i] = 1e-5f * (float)(1 + i % 7);
    for (at = first; at < end; at += 8) {
        uint64_t r = q35_mix64(at);
        memcpy(l->blob + at, &r, 8);
    }
    memset(l->blob + end, 0, Q35_BLOB_TAIL);
}

/* The input of every rung: what a HEAD layer makes of x. */
static void fill_input(struct ladder *l)
{
    uint32_t i;
    for (i = 0; i < l->n; i++) {
        l->x[i] = (float)((int)(q35_mix64(i) % 2001) - 1000) * 1e-3f;
        l->norm[i] = 1.0f;
    }
    q35_rms_norm(l->x, l->norm, l->n, 1e-5f, l->h);
    for (i = 0; i < l->n; i++) /* for the formats without rotation */
        l->want[i] = l->h[i];
    q35_rotate(l->h, l->n, q35_rot_block(l->n), ROT_SEED);
    l->token_scale = q35_quantize(l->h, l->n, l->q);
}

static enum q35_status ladder_init(struct ladder *l, struct q35_error *err)
{
    uint64_t n2 = (uint64_t)l->n * l->n, i;
    l->bytes = q35_blob_bytes(Q35_SCHEME_TRELLIS, l->n, l->n);
    l->blob = aligned(l->bytes);
    l->x = aligned(4ull * l->n);
    l->norm = aligned(4ull * l->n);
    l->h = aligned(4ull * l->n);
    l->want = aligned(4ull * l->n);
    l->have = aligned(4ull * l->n);
    l->acc = aligned(4ull * l->n);
    l->q = aligned(l->n);
    l->w32 = aligned(4 * n2);
    l->w8 = aligned(n2);
    l->w4 = aligned(n2 / 2);
    if (!l->blob || !l->x || !l->norm || !l->h || !l->want || !l->have || !l->acc || !l->q ||
        !l->w32 || !l->w8 || !l->w4)
        return q35_fail(err, Q35_E_NOMEM, "no memory for matrices of %u x %u", l->n, l->n);
    fill_blob(l);
    fill_input(l);
    for (i = 0; i < n2; i++) {
        uint64_t r = q35_mix64(i ^ 0x5555);
        l->w32[i] = (float)(int8_t)r * 0.01f;
        l->w8[i] = (int8_t)(r % 255 - 127);
        if (i % 2)
            l->w4[i / 2] = (uint8_t)r;
    }
    return Q35_OK;
}

static void ladder_fini(struct ladder *l)
{
    free(l->blob);
    free(l->x);
    free(l->norm);
    free(l->h);
    free(l->want);
    free(l->have);
    free(l->acc);
    free(l->q);
    free(l->w32);
    free(l->w8);
    free(l->w4);
}

/* ---- rungs in plain C --------------------------------------------------------------------- */

static struct rung *add_rung(struct ladder *l, const char *name, double bits, bool packed)
{
    struct rung *r = &l->rungs[l->rung_count++];
    snprintf(r->name, sizeof(r->name), "%s", name);
    r->bits = bits;
    r->packed = packed;
    r->same = true;
    r->seconds = 1e9;
    r->bytes = (double)l->n * l->n * bits / 8;
    return r;
}

static void keep_best(struct rung *r, uint64_t start)
{
    double took = (double)(q35_now_ns() - start) * 1e-9;
    r->seconds = took < r->seconds ? took : r->seconds;
}

/* Repeats `call` for a while; the best time counts. */
#define TIME(r, call)                                                                              \
    do {                                                                                           \
        uint64_t begin = q35_now_ns();                                                             \
        uint32_t runs = 0;                                                                         \
        while (runs++ < MIN_RUNS || q35_now_ns() - begin < RUNG_NS) {                              \
            uint64_t start = q35_now_ns();                                                         \
            call;                                                                                  \
            keep_best(r, start);                                                                   \
        }                                                                                          \
    } while (0)

static void plain_formats(struct ladder *l)
{
    struct rung *r = add_rung(l, "float32", 32, false);
    TIME(r, ladder_f32(l->w32, l->x, l->n, l->n, l->have));
    r = add_rung(l, "int8", 8, false);
    TIME(r, ladder_i8(l->w8, l->q, l->n, l->n, l->acc));
    r = add_rung(l, "int4", 4, false);
    TIME(r, ladder_i4(l->w4, l->q, l->n, l->n, l->acc));
}

static void packed_in_c(struct ladder *l)
{
    static const struct {
        const char *name;
        ladder_fn fn;
    } list[] = {{"3.5 bits, scalar", ladder_scalar},
                {"3.5 bits, lookup table", ladder_table},
                {"3.5 bits, unrolled + fused", ladder_fused}};
    const struct q35_tables *t = (const struct q35_tables *)(const void *)l->blob;
    const float *scales = (const float *)(const void *)(l->blob + Q35_BLOB_TABLES);
    const uint8_t *codes = l->blob + q35_codes_offset(l->n);
    uint32_t i, k;
    for (i = 0; i < Q35_COUNT(list); i++) {
        struct rung *r = add_rung(l, list[i].name, 3.5, true);
        float *y = i ? l->have : l->want;
        TIME(r, list[i].fn(t, codes, l->q, l->n, l->n, l->acc));
        for (k = 0; k < l->n; k++)
            y[k] = q35_rescale(l->acc[k], scales[k], l->token_scale);
        r->same = memcmp(y, l->want, 4ull * l->n) == 0;
    }
}

/* ---- rungs on the backend: a HEAD layer of one token ---------------------------------------- */

static enum q35_status on_device(struct ladder *l, const char *name, const char *threads,
                                 const char *isa, struct q35_error *err)
{
    struct q35_tensor_desc tensors[2] = {
        {.role = Q35_ROLE_OUT_NORM, .rows = 1, .cols = l->n, .bytes = 4ull * l->n},
        {.role = Q35_ROLE_HEAD,
         .type = Q35_TENSOR_PACKED,
         .rows = l->n,
         .cols = l->n,
         .scheme = Q35_SCHEME_TRELLIS,
         .rot_block = q35_rot_block(l->n),
         .rot_seed = ROT_SEED,
         .bytes = l->bytes}};
    struct q35_layer layer = {.size = sizeof(layer),
                              .kind = Q35_LAYER_HEAD,
                              .tensor_count = 2,
                              .tensor_stride = sizeof(*tensors),
                              .d_model = l->n,
                              .vocab = l->n,
                              .norm_eps = 1e-5f,
                              .tensors = tensors};
    struct q35_token token = {0, 0, 0, Q35_TOKEN_LOGITS};
    const struct bench_options o = {.backend = l->backend, .threads = threads, .isa = isa};
    struct bench_device b = {0};
    struct q35_run run = {.size = sizeof(run),
                          .count = 1,
                          .n_tokens = 1,
                          .token_stride = sizeof(token),
                          .tokens = &token};
    enum q35_status st = bench_open_device(&b, &o, err);
    const struct q35_plugin *api;
    struct rung *r;
    if (st != Q35_OK)
        return st;
    api = &b.device->plugin->api;
    tensors[0].hash = q35_hash_chunk((const uint8_t *)l->norm, 4ull * l->n, 0);
    tensors[1].hash = q35_hash_chunk(l->blob, l->bytes, 0);
    st = q35_call(b.device, weights_begin, &layer, 1, (uint32_t)sizeof(layer), &b.weights, err);
    if (st == Q35_OK)
        st = api->weights_put(b.weights, 0, Q35_ROLE_OUT_NORM, 0, l->norm, tensors[0].bytes,
                              Q35_UNTIL_FREE, err);
    if (st == Q35_OK)
        st = api->weights_put(b.weights, 0, Q35_ROLE_HEAD, 0, l->blob, l->bytes, Q35_UNTIL_FREE,
                              err);
    if (st == Q35_OK)
        st = api->weights_commit(b.weights, err);
    run.weights = b.weights;
    run.in = (struct q35_span){.host = l->x, .bytes = 4ull * l->n};
    run.out = (struct q35_span){.host = l->have, .bytes = 4ull * l->n};
    if (st == Q35_OK) {
        memset(l->have, 0, 4ull * l->n);
        r = add_rung(l, name, 3.5, true);
        TIME(r, {
            run.signal++;
            st = st ? st : q35_call(b.device, run_layers, &run, err);
            st = st ? st : q35_call(b.device, wait, run.signal, ~0ull, err);
        });
        r->same = memcmp(l->have, l->want, 4ull * l->n) == 0;
    }
    bench_close(&b);
    return st;
}

static enum q35_status device_rungs(struct ladder *l, struct q35_error *err)
{
    struct bench_reader *one, *all;
    struct q35_error ignored = Q35_ERROR_INIT;
    char threads[16];
    enum q35_status st = on_device(l, "3.5 bits, SIMD", "1", NULL, err);
    snprintf(threads, sizeof(threads), "%u", l->threads);
    if (st == Q35_OK)
        st = on_device(l, "3.5 bits, SIMD + threads", threads, NULL, err);
    if (st != Q35_OK)
        return st;
    (void)on_device(l, "3.5 bits, AMX + threads", threads, "amx", &ignored); /* if there is one */
    one = bench_reader_over(l->blob, l->bytes, 1);
    all = bench_reader_over(l->blob, l->bytes, l->threads);
    l->read[0] = one ? bench_read_best(one, NULL) : 0;
    l->read[1] = all ? bench_read_best(all, NULL) : 0;
    bench_reader_destroy(one);
    bench_reader_destroy(all);
    return one && all ? Q35_OK : q35_fail(err, Q35_E_NOMEM, "no memory to measure reading");
}

/* ---- report --------------------------------------------------------------------------------- */

static const struct rung *scalar_rung(const struct ladder *l)
{
    return &l->rungs[3];
}

static double fraction(const struct ladder *l, const struct rung *r)
{
    double read = l->read[strstr(r->name, "threads") != NULL];
    return read > 0 ? r->bytes / r->seconds / read : 0;
}

static void print_text(const struct ladder *l)
{
    uint32_t i;
    printf("one vector times a matrix of %u x %u on %s, up to %u threads\n", l->n, l->n,
           cli_cpu_name(), l->threads);
    printf("%-28s %10s %9s %9s %10s\n", "", "ms", "speed-up", "GB/s", "of reading");
    for (i = 0; i < l->rung_count; i++) {
        const struct rung *r = &l->rungs[i];
        printf("%-28s %10.3f %8.2fx %9.2f %9.1f%%%s\n", r->name, 1e3 * r->seconds,
               scalar_rung(l)->seconds / r->seconds, 1e-9 * r->bytes / r->seconds,
               100 * fraction(l, r), r->same ? "" : "  WRONG");
    }
    printf(
        "speed-up over the scalar 3.5-bit rung; reading: %.1f GB/s with 1 thread, %.1f with %u\n",
        1e-9 * l->read[0], 1e-9 * l->read[1], l->threads);
}

static json_t *make_json(const struct ladder *l)
{
    json_t *rows = json_array();
    uint32_t i;
    for (i = 0; i < l->rung_count; i++) {
        const struct rung *r = &l->rungs[i];
        json_array_append_new(rows,
                              json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:b, s:b}", "name", r->name,
                                        "bits", r->bits, "seconds", r->seconds, "speed_up",
                                        scalar_rung(l)->seconds / r->seconds, "bytes_per_second",
                                        r->bytes / r->seconds, "read_fraction", fraction(l, r),
                                        "packed", r->packed, "same_bits", r->same));
    }
    return json_pack("{s:s, s:i, s:i, s:f, s:f, s:o}", "cpu", cli_cpu_name(), "threads",
                     (int)l->threads, "rows", (int)l->n, "read_bandwidth_1", l->read[0],
                     "read_bandwidth", l->read[1], "rungs", rows);
}

static int run(struct cli *cli)
{
    struct ladder l = {.n = 8192};
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t i;
    int rc = CLI_OK;
    if (!cli_u32(cli, "rows", 2048, 32768, &l.n) || !cli_u32(cli, "threads", 1, 1024, &l.threads))
        return CLI_USAGE;
    if (l.n % 128)
        return cli_usage(cli, "--rows must be a multiple of 128");
    l.backend = cli_value(cli, "backend") ? cli_value(cli, "backend") : "cpu_simd";
    if (!l.threads || l.threads > bench_cpus())
        l.threads = bench_cpus();
    if (ladder_init(&l, &err) == Q35_OK) {
        plain_formats(&l);
        packed_in_c(&l);
        device_rungs(&l, &err);
    }
    if (err.status != Q35_OK)
        rc = cli_error(cli, &err);
    else if (cli_flag(cli, "json"))
        rc = cli_print_json(cli, make_json(&l));
    else
        print_text(&l);
    for (i = 0; i < l.rung_count && rc == CLI_OK; i++)
        if (!l.rungs[i].same)
            rc = cli_failf(cli, "%s: the sums differ from the scalar ones", l.rungs[i].name);
    ladder_fini(&l);
    return rc;
}

const struct cli_command cmd_bench_ladder = {
    .name = "bench ladder",
    .synopsis = "",
    .summary = "one matrix-vector product in ever faster ways, all bit-identical",
    .details = "Wider formats come first, in plain C. The 3.5-bit rungs must agree bit by bit, or "
               "the exit status says so. The vector rungs run on the backend through the plugin "
               "interface, normalisation, rotation and quantization of the vector included. The "
               "best of several runs counts; the ceiling is reading the same bytes.",
    .examples = "q35 bench ladder\nq35 bench ladder --json --rows 4096",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
