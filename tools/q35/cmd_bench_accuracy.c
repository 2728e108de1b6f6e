/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/bench_accuracy.h"
#include "tools/q35/cli.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/model/roles.h"
#include "core/model/source.h"
#include "core/quant/accuracy.h"

static const struct cli_option options[] = {
    {'m', "model", "MODEL", "measure matrices of this float model too: GGUF file or directory"},
    {0, "tensors", "N", "how many matrices of the model, spread over its layers [4]"},
    {0, "rows", "N", "rows of the random matrices [256]"},
    {0, "cols", "N", "columns of the random matrices [4096]"},
    {0, "seed", "S", "seed of the random matrices [1]"},
    {0, "effort", "N", "how hard the encoder looks: 0, 1 or 2 [1]"},
    {0, "unrotated", NULL, "measure the packed schemes without rotation as well"},
    {0, "text", "FILE", "predict this text with the model in every format, instead of matrices"},
    {0, "calibrate", "FILE", "with --text: calibrate on this other text, and without each option"},
    {0, "calibrate-tokens", "N", "tokens of it that are used at most [32768]"},
    {0, "max-tokens", "N", "tokens of --text that are predicted, 0: all [4096]"},
    {0, "only", "PATTERN", "with --text: formats of this name only, as in 'trellis*'"},
    {0, "config", "INI", "with --text: backends of packed models [one backend: cpu_simd]"},
    {0, "backend", "BACKEND", "with --text: backend when there is no configuration [cpu_simd]"},
    {0, "threads", "N", "with --text: threads to convert and to evaluate, 0: all [0]"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

struct bench {
    const struct cli *cli;
    struct q35_encode_params params;
    bool unrotated;
    json_t *rows; /* NULL: text */
};

static void print_row(const struct bench *b, const char *scheme, bool rotate, const char *what,
                      double rmse, double bits, double seconds)
{
    if (b->rows)
        json_array_append_new(b->rows,
                              json_pack("{s:s, s:b, s:s, s:f, s:f, s:f}", "scheme", scheme,
                                        "rotated", rotate, "distribution", what, "relative_rmse",
                                        rmse, "bits_per_weight", bits, "seconds", seconds));
    else
        printf("%-24s %-22s %7.3f%%  %6.3f bits  %6.2f s\n", what, scheme, 100 * rmse, bits,
               seconds);
}

static void bench_grids(const struct bench *b, const char *what, uint32_t rows, uint32_t cols,
                        const float *w)
{
    static const struct {
        enum q35_grid grid;
        const char *name;
    } grids[] = {{Q35_GRID_INT8_ABSMAX, "int8-absmax"},
                 {Q35_GRID_INT4_ABSMAX, "int4-absmax"},
                 {Q35_GRID_UNIFORM4_BEST, "uniform4-best"}};
    uint32_t i;
    for (i = 0; i < Q35_COUNT(grids); i++) {
        uint64_t t = q35_now_ns();
        double e = q35_accuracy_grid(grids[i].grid, rows, cols, w);
        print_row(b, grids[i].name, false, what, e, q35_accuracy_grid_bits(grids[i].grid, cols),
                  (double)(q35_now_ns() - t) * 1e-9);
    }
}

static enum q35_status bench_packed(struct bench *b, const char *what, uint32_t rows, uint32_t cols,
                                    const float *w, struct q35_error *err)
{
    static const struct {
        uint32_t scheme;
        const char *name[2]; /* unrotated, rotated */
    } packed[] = {{Q35_SCHEME_ALT43, {"alt43-unrotated", "alt43"}},
                  {Q35_SCHEME_VQ2, {"vq2-unrotated", "vq2"}},
                  {Q35_SCHEME_TRELLIS, {"trellis-unrotated", "trellis"}},
                  {Q35_SCHEME_TRELLIS2, {"trellis2-unrotated", "trellis2"}},
                  {Q35_SCHEME_TRIPLE, {"triple-unrotated", "triple"}},
                  {Q35_SCHEME_SINGLE, {"single-unrotated", "single"}}};
    uint32_t i, rotate;
    for (i = 0; i < Q35_COUNT(packed); i++)
        for (rotate = b->unrotated ? 0 : 1; rotate < 2; rotate++) {
            double rmse = 0, bits = 0;
            uint64_t t = q35_now_ns();
            enum q35_status st;
            b->params.scheme = packed[i].scheme;
            b->params.rotate = rotate;
            st = q35_accuracy_packed(&b->params, rows, cols, w, &rmse, &bits, err);
            if (st != Q35_OK)
                return st;
            print_row(b, packed[i].name[rotate], rotate, what, rmse, bits,
                      (double)(q35_now_ns() - t) * 1e-9);
        }
    return Q35_OK;
}

static enum q35_status bench_matrix(struct bench *b, const char *what, uint32_t rows, uint32_t cols,
                                    const float *w, struct q35_error *err)
{
    bench_grids(b, what, rows, cols, w);
    return bench_packed(b, what, rows, cols, w, err);
}

static enum q35_status bench_random(struct bench *b, uint32_t rows, uint32_t cols, uint64_t seed,
                                    struct q35_error *err)
{
    float *w = malloc(sizeof(float) * rows * cols);
    enum q35_status st;
    if (!w)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a matrix of %u x %u", rows, cols);
    q35_accuracy_draw(Q35_DIST_GAUSSIAN, seed, (uint64_t)rows * cols, w);
    st = bench_matrix(b, "gaussian", rows, cols, w, err);
    if (st == Q35_OK) {
        q35_accuracy_draw(Q35_DIST_STUDENT_T5, seed, (uint64_t)rows * cols, w);
        st = bench_matrix(b, "student-t5", rows, cols, w, err);
    }
    free(w);
    return st;
}

/* Matrix `which` of the model in order of layers and roles; NOT_FOUND beyond the last. */
static enum q35_status find_matrix(const struct q35_source *s, uint32_t which,
                                   struct q35_source_tensor *out)
{
    uint32_t layer, role, n = 0;
    for (layer = 0; layer < q35_source_params(s)->n_layers; layer++)
        for (role = 0; role < Q35_ROLE_INFO_COUNT; role++) {
            const struct q35_role_info *r = &q35_role_infos[role];
            if (!r->per_layer || r->rows == Q35_DIM_ONE ||
                q35_source_tensor(s, layer, role, out) != Q35_OK)
                continue;
            if (n++ == which)
                return Q35_OK;
        }
    return Q35_E_NOT_FOUND;
}

static enum q35_status bench_tensor(struct bench *b, const struct q35_source_tensor *t,
                                    struct q35_error *err)
{
    enum q35_status st;
    float *w = malloc(sizeof(float) * t->rows * t->cols);
    if (!w)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a matrix of %u x %u", t->rows, t->cols);
    st = q35_source_rows(t, 0, t->rows, w, err);
    if (st == Q35_OK)
        st = bench_matrix(b, t->name, t->rows, t->cols, w, err);
    free(w);
    return st;
}

static enum q35_status bench_model(struct bench *b, const char *path, uint32_t tensors,
                                   struct q35_error *err)
{
    struct q35_source *s = NULL;
    struct q35_source_tensor t;
    uint32_t all = 0, i;
    enum q35_status st = q35_source_open(&s, path, err);
    if (st != Q35_OK)
        return st;
    while (find_matrix(s, all, &t) == Q35_OK)
        all++;
    tensors = tensors < all ? tensors : all;
    for (i = 0; i < tensors && st == Q35_OK; i++) {
        find_matrix(s, (uint32_t)((uint64_t)i * all / tensors), &t);
        st = bench_tensor(b, &t, err);
    }
    q35_source_close(s);
    return st;
}

static void print_text_row(void *ctx, const struct accuracy_row *r)
{
    const struct bench *b = ctx;
    if (b->rows)
        json_array_append_new(b->rows,
                              json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "format",
                                        r->name, "bits_per_weight", r->bits, "perplexity",
                                        r->perplexity, "perplexity_error", r->perplexity_error,
                                        "kl_divergence", r->kl, "kl_error", r->kl_error,
                                        "top1_agreement", r->top1, "convert_seconds", r->seconds));
    else
        printf("%-31s %6.3f bits  perplexity %9.4f +- %.4f  KL %.5f +- %.5f  top-1 %6.2f%%\n",
               r->name, r->bits, r->perplexity, r->perplexity_error, r->kl, r->kl_error,
               100 * r->top1);
    fflush(stdout);
}

static int run_text(struct cli *cli, struct bench *b)
{
    struct accuracy_text t = {
        .model = cli_value(cli, "model"),
        .text = cli_value(cli, "text"),
        .calibrate = cli_value(cli, "calibrate"),
        .only = cli_value(cli, "only"),
        .calibrate_tokens = 32768,
        .effort = b->params.effort,
        .measure = {.config = cli_value(cli, "config"),
                    .backend = cli_value(cli, "backend"),
                    .max_tokens = 4096},
    };
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st;
    if (!t.model)
        return cli_usage(cli, "--text needs --model");
    if (t.measure.config && t.measure.backend)
        return cli_usage(cli, "--backend cannot be used together with --config");
    if (!cli_u32(cli, "calibrate-tokens", 2, 1u << 30, &t.calibrate_tokens) ||
        !cli_u32(cli, "max-tokens", 0, UINT32_MAX, &t.measure.max_tokens) ||
        !cli_u32(cli, "threads", 0, 64, &t.measure.threads))
        return CLI_USAGE;
    st = measure_context(t.model, &t.measure.context, &err);
    if (st == Q35_OK)
        st = accuracy_text(&t, print_text_row, b, &err);
    if (st != Q35_OK) {
        json_decref(b->rows);
        return cli_error(cli, &err);
    }
    return b->rows ? cli_print_json(cli, json_pack("{s:o}", "rows", b->rows)) : CLI_OK;
}

static int run(struct cli *cli)
{
    struct bench b = {.cli = cli, .params = Q35_ENCODE_PARAMS_INIT};
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t rows = 256, cols = 4096, tensors = 4;
    uint64_t seed = 1;
    enum q35_status st;
    if (!cli_u32(cli, "rows", 1, 65536, &rows) || !cli_u32(cli, "cols", 1, 65536, &cols) ||
        !cli_u64(cli, "seed", &seed) || !cli_u32(cli, "tensors", 1, 100000, &tensors) ||
        !cli_u32(cli, "effort", 0, 2, &b.params.effort))
        return CLI_USAGE;
    b.unrotated = cli_flag(cli, "unrotated");
    if (cli_flag(cli, "json"))
        b.rows = json_array();
    if (cli_value(cli, "text"))
        return run_text(cli, &b);
    st = bench_random(&b, rows, cols, seed, &err);
    if (st == Q35_OK && cli_value(cli, "model"))
        st = bench_model(&b, cli_value(cli, "model"), tensors, &err);
    if (st != Q35_OK) {
        json_decref(b.rows);
        return cli_error(cli, &err);
    }
    if (b.rows)
        return cli_print_json(cli, json_pack("{s:o}", "rows", b.rows));
    return CLI_OK;
}

const struct cli_command cmd_bench_accuracy = {
    .name = "bench accuracy",
    .synopsis = "",
    .summary = "weight error and size of every scheme, beside plain integer formats",
    .details = "Relative RMSE is sqrt(sum (w - w')^2 / sum w^2) in unrotated coordinates; bits per "
               "weight count the whole stored tensor: codes, row scales, tables and padding. The "
               "bound for any code of 3.5 bits on Gaussian weights is 8.84%.\n"
               "With --text the model predicts a text in every format: perplexity, mean KL "
               "divergence to the float model in nats a token, and how often both find the same "
               "token likeliest. Packed models run on a backend, with 7 bits for embedding and "
               "head; integer formats round the decoder's matrices alone and are evaluated in "
               "floating point (4 bytes of memory a weight). '-refined' is without tables fitted "
               "to each matrix, "
               "'+calibrate-awq' is calibrated without "
               "activation-aware scales, and so on.",
    .examples =
        "q35 bench accuracy\nq35 bench accuracy --json --unrotated\nq35 bench accuracy "
        "--model llama.gguf --tensors 8\nq35 bench accuracy --model llama.gguf --text evaluate.txt "
        "--calibrate calibrate.txt",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
