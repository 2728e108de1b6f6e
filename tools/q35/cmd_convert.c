/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <jansson.h>
#include <signal.h>
#include <string.h>

#include "core/model/model.h"
#include "core/quant/convert.h"

static const struct cli_option options[] = {
    {'o', "output", "FILE", "the packed model to write, NAME.q35.gguf (required)"},
    {'s', "scheme", "NAME",
     "trellis, trellis2 (less error, slower to find), vq2, alt43 or triple (2.33 bits) [trellis]",
     "trellis|trellis2|vq2|alt43|triple"},
    {0, "no-rotate", NULL, "do not rotate rows before quantizing"},
    {0, "seed", "S", "seed of the rotation's signs [1]"},
    {0, "effort", "N", "how hard the search looks: 0, 1 or 2 [1]"},
    {0, "tensor-type", "LIST",
     "PATTERN=SCHEME,... for tensors by GGUF name, first match; 'single' is 7 bits, 'triple' 2.33"},
    {0, "calibrate", "FILE", "pack with the help of this text, layer by layer"},
    {0, "calibrate-tokens", "N", "tokens of the text that are used at most [32768]"},
    {0, "no-feedback", NULL, "calibrating: do not feed errors into later columns"},
    {0, "no-awq", NULL, "calibrating: no activation-aware scales"},
    {0, "no-propagate", NULL, "calibrating: inputs as in the float model, not the packed one"},
    {0, "correct", "X", "calibrating: how far weights make up for changed inputs, 0 to 1 [1]"},
    {0, "damp", "X", "calibrating: added to the inputs' moments, of their mean [0.01]"},
    {0, "refine-tables", "N",
     "rounds of fitting each matrix' tables to its weights [2; calibrating 0]"},
    {0, "sweeps", "N", "calibrating: how often all columns are gone through again [2]"},
    {0, "target-bits", "B",
     "calibrating: 7, 3.5 or 2.33 bits a matrix, at most B on average in the decoder layers"},
    {0, "resume", NULL,
     "calibrating: keep what is done in OUT.layers, and go on from it when started again"},
    {'t', "threads", "N", "worker threads [all]"},
    {'v', "verbose", NULL, "print the error of every tensor"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

struct job {
    json_t *tensors; /* NULL: text */
    bool verbose;
};

static atomic_bool cancel;

/* The first signal asks the conversion to stop, the next one ends the process. SIGPIPE, when nobody
 * reads what -v prints any more, only asks: dying of it would leave a part of the output behind. */
static void on_signal(int number)
{
    (void)number;
    atomic_store(&cancel, true);
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    size_t i;
    sigemptyset(&a.sa_mask);
    for (i = 0; i < Q35_COUNT(numbers); i++)
        sigaction(numbers[i], &a, NULL);
    a.sa_flags = 0;
    sigaction(SIGPIPE, &a, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a limit on file size is an error of write(), not the end */
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    (void)ctx;
    cli_progress("converting", done, total);
}

static void on_tensor(void *ctx, const char *name, uint32_t scheme, double rmse, double output_rmse)
{
    struct job *j = ctx;
    if (j->tensors)
        json_array_append_new(j->tensors, json_pack("{s:s, s:s, s:f, s:f}", "name", name, "scheme",
                                                    q35_scheme_name(scheme), "relative_rmse", rmse,
                                                    "output_rmse", output_rmse));
    if (!j->verbose || j->tensors)
        return;
    cli_progress("", 0, 0);
    printf("%-28s %-8s %7.3f%%", name, q35_scheme_name(scheme), 100 * rmse);
    if (output_rmse > 0)
        printf("  outputs %7.3f%%", 100 * output_rmse);
    printf("\n");
}

static double bits(uint64_t bytes, uint64_t weights)
{
    return weights ? 8.0 * (double)bytes / (double)weights : 0;
}

static int report(const struct cli *cli, struct job *j, const char *out,
                  const struct q35_convert_stats *s, double seconds)
{
    if (j->tensors)
        return cli_print_json(
            cli, json_pack("{s:s, s:I, s:I, s:f, s:f, s:f, s:i, s:f, s:O}", "output", out, "bytes",
                           (json_int_t)s->file_bytes, "weights", (json_int_t)s->weights,
                           "bits_per_weight", bits(s->packed_bytes, s->weights),
                           "decoder_bits_per_weight", bits(s->decoder_bytes, s->decoder_weights),
                           "relative_rmse", s->rmse, "resumed_layers", (int)s->resumed, "seconds",
                           seconds, "tensors", j->tensors));
    if (s->resumed)
        printf("%u layers were packed by an earlier start\n", s->resumed);
    printf("%s: %.2f MB, %.3f bits a weight (%.3f in the decoder layers), relative error %.2f%%, "
           "%.1f s\n",
           out, (double)s->file_bytes * 1e-6, bits(s->packed_bytes, s->weights),
           bits(s->decoder_bytes, s->decoder_weights), 100 * s->rmse, seconds);
    return CLI_OK;
}

/* An option that would be ignored is a mistake. */
static bool calibrates_or_complains(const struct cli *cli)
{
    static const char *const names[] = {"calibrate-tokens", "no-feedback", "no-awq", "no-propagate",
                                        "correct",          "damp",        "sweeps", "target-bits"};
    size_t i;
    for (i = 0; i < Q35_COUNT(names) && !cli_flag(cli, "calibrate"); i++)
        if (cli_flag(cli, names[i])) {
            cli_usage(cli, "--%s needs --calibrate FILE", names[i]);
            return false;
        }
    return true;
}

static int run(struct cli *cli)
{
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    const char *out = cli_value(cli, "output"), *scheme = cli_value(cli, "scheme");
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_convert_stats stats;
    struct job j = {NULL, cli_flag(cli, "verbose")};
    uint64_t start = q35_now_ns();
    enum q35_status st;
    int rc;
    if (!out)
        return cli_usage(cli, "-o FILE is missing");
    if (!calibrates_or_complains(cli))
        return CLI_USAGE;
    if (scheme)
        p.scheme = q35_scheme_find(scheme);
    if (!cli_u64(cli, "seed", &p.rot_seed) || !cli_u32(cli, "effort", 0, 2, &p.effort) ||
        !cli_u32(cli, "threads", 1, 1024, &p.threads) ||
        !cli_u32(cli, "calibrate-tokens", 2, 1u << 30, &p.calibrate_tokens) ||
        !cli_f32(cli, "correct", 0, 1, &p.correct) || !cli_f32(cli, "damp", 1e-6f, 10, &p.damp) ||
        !cli_u32(cli, "sweeps", 0, 100, &p.sweeps) ||
        !cli_u32(cli, "refine-tables", 0, 100, &p.refine) ||
        !cli_f32(cli, "target-bits", 2.34f, 32, &p.target_bits))
        return CLI_USAGE;
    p.rotate = !cli_flag(cli, "no-rotate");
    p.calibrate = cli_value(cli, "calibrate");
    p.feedback = !cli_flag(cli, "no-feedback");
    p.awq = !cli_flag(cli, "no-awq");
    p.propagate = !cli_flag(cli, "no-propagate");
    p.tensor_types = cli_value(cli, "tensor-type");
    p.resume = cli_flag(cli, "resume");
    p.progress = on_progress;
    p.tensor = on_tensor;
    p.ctx = &j;
    p.cancel = &cancel;
    if (cli_flag(cli, "json"))
        j.tensors = json_array();
    else if (j.verbose)
        setvbuf(stdout, NULL, _IOLBF, 0); /* for `| tee` */
    catch_signals();
    st = q35_convert(cli_arg(cli, 0), out, &p, &stats, &err);
    cli_progress("", 0, 0);
    rc = st == Q35_OK ? report(cli, &j, out, &stats, (double)(q35_now_ns() - start) * 1e-9)
                      : cli_error(cli, &err);
    json_decref(j.tensors);
    return rc;
}

const struct cli_command cmd_convert = {
    .name = "convert",
    .synopsis = "IN -o OUT.q35.gguf",
    .summary = "pack a model into 3.5 bits per weight",
    .details =
        "IN is a GGUF file (F32, F16, BF16; Q8_0 and other formats of 4 bits or more work too, "
        "but what they lost stays lost) or a Hugging Face directory (config.json, "
        "safetensors, tokenizer.json) of a llama, mistral, qwen2, qwen3 or phi3 model. Matrices of "
        "the decoder layers are packed by the scheme, the embedding and the output head with 7 "
        "bits a weight; norms and biases stay as they are. "
        "The same input and options give the same file at any number of threads. Packing a billion "
        "weights takes minutes of two cores with trellis and some three times as long with "
        "trellis2; memory beyond the mapped input is the largest packed tensor and a few megabytes "
        "a thread. "
        "OUT is written beside its name and renamed when it is whole: a full disk, a signal or a "
        "crash leaves no damaged OUT, and the command is simply started again.\n"
        "With --calibrate the text's tokens go through the float model and, layer by layer, "
        "through the packed one. Each matrix is rounded so that its outputs, not its weights, err "
        "least: "
        "errors of one column are fed into later ones (--no-feedback leaves that out), all "
        "columns are gone through again knowing the errors of all others (--sweeps), they are "
        "scaled "
        "by how large their inputs are (--no-awq), and inputs are those of the packed layers "
        "before (--no-propagate), whose errors the weights make up for (--correct). Use a text "
        "like "
        "those the model is for, of at least 10,000 tokens; more is better up to some 100,000. It "
        "takes about as long as evaluating the float model on the text five times, and memory for "
        "one layer: its weights as floats, 36 bytes times the square of the widest input, and 8 "
        "bytes times d_model for each token. That may be hours: with --resume each finished layer "
        "is "
        "also kept in OUT.layers, and after an interruption the same command goes on from there "
        "and "
        "writes the same OUT.\n"
        "With --target-bits B each matrix of the decoder layers gets codes of one, two or three "
        "weights: 7, 3.5 or 2.33 bits. How far each rate moves the hidden states on the text is "
        "measured matrix by matrix, and the bits go where they save most of it. B bounds what is "
        "stored for these matrices, divided by their weights: codes, row scales, tables and the "
        "padding of narrow matrices; the embedding and the output head do not count. "
        "2.33 bits come to 2.41 at 4096 columns and 2.36 at 8192; up to 128 they save nothing.",
    .examples = "q35 convert llama.gguf -o llama.q35.gguf\n"
                "q35 convert ./Qwen2.5-0.5B -o qwen.q35.gguf --scheme vq2\n"
                "q35 convert llama.gguf -o llama.q35.gguf --tensor-type 'blk.0.*=single'\n"
                "q35 convert llama.gguf -o llama.q35.gguf --calibrate text.txt --scheme trellis2\n"
                "q35 convert llama.gguf -o llama.q35.gguf --calibrate text.txt --target-bits 4",
    .options = options,
    .option_count = Q35_COUNT(options),
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
