/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <jansson.h>

#include "tools/q35/bench.h"

#define MAX_ROUNDS 99u
#define DECODE_NS 150000000ull /* of decoding in one round */
#define MIN_STEPS 3u

static const struct cli_option options[] = {
    {0, "synthetic", "SHAPE",
     "random weights: llama-1b, llama-7b or llama-70b:LAYERS, /SCHEME for other codes"},
    {'m', "model", "FILE", "a packed model instead"},
    {0, "backend", "BACKEND", "plugin, by name or path [cpu_simd]"},
    {'t', "threads", "N", "threads of the backend [one for each CPU]"},
    {0, "isa", "ID", "instruction set of the backend [auto]"},
    {0, "set", "KEY=VALUE,...", "options of the backend"},
    {0, "prompt", "N", "tokens of the prefill, 0 for none [512]"},
    {'b', "batch", "B", "sequences decoded together [1]"},
    {0, "context", "C", "tokens before the decoded ones [128]"},
    {0, "kv-type", "TYPE", "KV cache in f16 or int8 [f16]", "f16|int8"},
    {0, "rounds", "N", "rounds; medians are reported [9]"},
    {'v', "verbose", NULL, "the times of all operations as well, on standard error"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

struct speed {
    uint32_t threads, prompt, batch, context, rounds, streams, kv_type;
    struct q35_model *model;
    struct bench_device device;
    struct bench_reader *reader;
    double read[MAX_ROUNDS], decode[MAX_ROUNDS], fraction[MAX_ROUNDS], prefill[MAX_ROUNDS];
    double peak[MAX_ROUNDS], prefill_fraction[MAX_ROUNDS];
    double bytes_per_token; /* of a decoded one: its share of the weights, and its KV */
    const char *peak_name;
};

static double seconds_since(uint64_t start)
{
    return (double)(q35_now_ns() - start) * 1e-9;
}

/* Steps of decode for a while, after one that is not counted; tokens per second. */
static enum q35_status decode_round(struct speed *s, double *out, struct q35_error *err)
{
    uint32_t steps = 0;
    uint64_t start = 0;
    enum q35_status st = bench_decode(&s->device, s->batch, s->context, err);
    start = q35_now_ns();
    while (st == Q35_OK && (steps < MIN_STEPS || q35_now_ns() - start < DECODE_NS)) {
        st = bench_decode(&s->device, s->batch, s->context, err);
        steps++;
    }
    *out = steps * (double)s->batch / seconds_since(start);
    return st;
}

static enum q35_status prefill_round(struct speed *s, uint32_t i, struct q35_error *err)
{
    const struct q35_params *p = q35_model_params(s->model);
    double body = (double)p->n_layers *
                  ((double)p->d_model * p->head_dim * (2.0 * p->n_heads + 2.0 * p->n_kv_heads) +
                   3.0 * p->d_model * p->d_ffn);
    uint64_t start = q35_now_ns();
    enum q35_status st = bench_prefill(&s->device, 0, 0, s->prompt, err);
    s->prefill[i] = s->prompt / seconds_since(start);
    s->peak[i] = bench_int8_peak(s->threads, &s->peak_name);
    s->prefill_fraction[i] = s->peak[i] > 0 ? 2.0 * body * s->prefill[i] / s->peak[i] : 0;
    return st;
}

/* Reading and decoding take turns, so that both see the same neighbours: a round is measured by
 * what is read before and after it. */
static enum q35_status measure(struct speed *s, struct q35_error *err)
{
    double weights = (double)q35_model_bytes_per_token(s->model);
    enum q35_status st = Q35_OK;
    uint32_t i;
    s->bytes_per_token =
        weights / s->batch + (double)bench_kv_bytes(s->model, s->kv_type, s->context);
    (void)bench_read_best(s->reader, &s->streams);
    for (i = 0; i < s->rounds && s->prompt && st == Q35_OK; i++)
        st = prefill_round(s, i, err);
    if (st == Q35_OK && s->context)
        st = bench_prefill(&s->device, 0, 0, s->context, err);
    if (st == Q35_OK)
        st = bench_fork(&s->device, s->batch, s->context, err);
    for (i = 0; i < s->rounds && st == Q35_OK; i++) {
        double before = bench_read(s->reader, s->streams);
        st = decode_round(s, &s->decode[i], err);
        s->read[i] = 2 / (1 / before + 1 / bench_read(s->reader, s->streams));
        s->fraction[i] = s->decode[i] * s->bytes_per_token / s->read[i];
    }
    return st;
}

static json_t *report(struct speed *s)
{
    struct rusage use;
    json_t *doc = json_object();
    getrusage(RUSAGE_SELF, &use);
    json_object_set_new(doc, "model", json_string(q35_model_path(s->model)));
    json_object_set_new(doc, "cpu", json_string(cli_cpu_name()));
    json_object_set_new(doc, "device", json_string(s->device.device->info.name));
    json_object_set_new(doc, "threads", json_integer(s->threads));
    json_object_set_new(doc, "batch", json_integer(s->batch));
    json_object_set_new(doc, "context", json_integer(s->context));
    json_object_set_new(doc, "kv_type", json_string(s->kv_type == Q35_KV_INT8 ? "int8" : "f16"));
    json_object_set_new(doc, "bytes_per_token",
                        json_integer((json_int_t)q35_model_bytes_per_token(s->model)));
    json_object_set_new(doc, "kv_bytes_per_token",
                        json_integer((json_int_t)bench_kv_bytes(s->model, s->kv_type, s->context)));
    json_object_set_new(doc, "decode_tokens_per_second",
                        json_real(bench_median(s->decode, s->rounds)));
    json_object_set_new(doc, "read_bandwidth", json_real(bench_median(s->read, s->rounds)));
    json_object_set_new(doc, "read_streams", json_integer(s->streams));
    json_object_set_new(doc, "bandwidth_fraction", json_real(bench_median(s->fraction, s->rounds)));
    if (s->prompt) {
        json_object_set_new(doc, "prompt", json_integer(s->prompt));
        json_object_set_new(doc, "prefill_tokens_per_second",
                            json_real(bench_median(s->prefill, s->rounds)));
        json_object_set_new(doc, "int8_peak", json_real(bench_median(s->peak, s->rounds)));
        json_object_set_new(doc, "int8_peak_instruction", json_string(s->peak_name));
        json_object_set_new(doc, "prefill_fraction",
                            json_real(bench_median(s->prefill_fraction, s->rounds)));
    }
    json_object_set_new(doc, "load_seconds", json_real(s->device.load_seconds));
    json_object_set_new(doc, "weight_bytes", json_integer((json_int_t)q35_model_bytes(s->model)));
    json_object_set_new(doc, "peak_resident_bytes", json_integer((json_int_t)use.ru_maxrss * 1024));
    return doc;
}

static double real_of(const json_t *doc, const char *key)
{
    return json_number_value(json_object_get(doc, key));
}

static void print_text(struct speed *s, const json_t *doc)
{
    printf("%s on %s, %s, %u threads\n", q35_model_path(s->model), cli_cpu_name(),
           s->device.device->info.name, s->threads);
    printf("decode   %9.2f tokens/s  batch %u, context %u%s; %.1f MB for a step\n",
           real_of(doc, "decode_tokens_per_second"), s->batch, s->context,
           s->kv_type == Q35_KV_INT8 ? " in int8" : "", s->bytes_per_token * s->batch * 1e-6);
    printf("         %8.1f%%           of the read bandwidth, %.1f GB/s with %u streams a thread\n",
           100 * real_of(doc, "bandwidth_fraction"), 1e-9 * real_of(doc, "read_bandwidth"),
           s->streams);
    if (s->prompt)
        printf("prefill  %9.2f tokens/s  prompt of %u\n"
               "         %8.1f%%           of the int8 peak, %.2f TOP/s (%s)\n",
               real_of(doc, "prefill_tokens_per_second"), s->prompt,
               100 * real_of(doc, "prefill_fraction"), 1e-12 * real_of(doc, "int8_peak"),
               s->peak_name);
    printf("memory   %9.1f MB resident at most, weights %.1f MB\n",
           1e-6 * real_of(doc, "peak_resident_bytes"), 1e-6 * real_of(doc, "weight_bytes"));
}

static enum q35_status open_all(struct cli *cli, struct speed *s, bool *reported, int *rc,
                                struct q35_error *err)
{
    const char *shape = cli_value(cli, "synthetic"), *backend = cli_value(cli, "backend");
    struct bench_options o = {.backend = backend ? backend : "cpu_simd",
                              .threads = cli_value(cli, "threads"),
                              .isa = cli_value(cli, "isa"),
                              .profile = cli_flag(cli, "verbose"),
                              .set = cli_value(cli, "set"),
                              .sequences = s->batch,
                              .context = (s->prompt > s->context ? s->prompt : s->context) + 1,
                              .kv_type = s->kv_type};
    enum q35_status st = bench_open_device(&s->device, &o, err);
    *reported = st == Q35_OK && bench_has_report(&s->device);
    if (st == Q35_OK)
        st = shape ? q35_model_synthetic(&s->model, shape, !*reported, err)
                   : q35_model_open(&s->model, cli_value(cli, "model"), err);
    if (st != Q35_OK)
        return st;
    if (*reported) {
        *rc = bench_report(cli, &s->device, s->model, s->batch, s->context + 1,
                           cli_flag(cli, "json"));
        return Q35_OK;
    }
    bench_close(&s->device);
    st = bench_open(&s->device, s->model, &o, err);
    if (st != Q35_OK)
        return st;
    s->reader = bench_reader_create(s->model, s->threads);
    return s->reader ? Q35_OK : q35_fail(err, Q35_E_INVALID, "the model is too small to measure");
}

static int run(struct cli *cli)
{
    struct speed s = {.prompt = 512, .batch = 1, .context = 128, .rounds = 9};
    struct q35_error err = Q35_ERROR_INIT;
    const char *kv_type = cli_value(cli, "kv-type");
    int rc = CLI_OK;
    bool reported = false;
    json_t *doc;
    if (!cli_u32(cli, "threads", 1, 1024, &s.threads) ||
        !cli_u32(cli, "prompt", 0, 65536, &s.prompt) || !cli_u32(cli, "batch", 1, 1024, &s.batch) ||
        !cli_u32(cli, "context", 0, 131071, &s.context) ||
        !cli_u32(cli, "rounds", 1, MAX_ROUNDS, &s.rounds))
        return CLI_USAGE;
    s.kv_type = kv_type && kv_type[0] == 'i' ? Q35_KV_INT8 : Q35_KV_F16;
    if (cli_flag(cli, "verbose"))
        q35_log_set_level(Q35_LOG_INFO);
    if (!cli_value(cli, "synthetic") == !cli_value(cli, "model"))
        return cli_usage(cli, "give either --synthetic SHAPE or --model FILE");
    if (!s.threads || s.threads > bench_cpus())
        s.threads = bench_cpus();
    if (open_all(cli, &s, &reported, &rc, &err) != Q35_OK ||
        (!reported && measure(&s, &err) != Q35_OK)) {
        rc = cli_error(cli, &err);
    } else if (!reported) {
        doc = report(&s);
        if (cli_flag(cli, "json")) {
            rc = cli_print_json(cli, doc);
        } else {
            print_text(&s, doc);
            json_decref(doc);
        }
    }
    bench_reader_destroy(s.reader);
    bench_close(&s.device);
    q35_model_close(s.model);
    return rc;
}

const struct cli_command cmd_bench_speed = {
    .name = "bench",
    .synopsis = "--synthetic SHAPE | -m FILE",
    .summary = "speed of decode and prefill beside the machine's own ceilings",
    .details =
        "The ceilings are measured in the same run: reading the same weights with the same "
        "number of threads, 1 to 8 places at a time in each, and int8 multiply-adds on "
        "registers. Reading and decoding take turns; medians over the rounds are printed. A "
        "decoded token reads all weights once (shared by a batch) and its sequence's KV. A "
        "simulator that knows its speed is not timed: its own report is printed, for --batch "
        "and --context, and --synthetic then needs no memory for weights.",
    .examples = "q35 bench --synthetic llama-1b\n"
                "q35 bench --backend groq --set chips=160 --synthetic llama-70b:80\n"
                "q35 bench --json --synthetic llama-70b:4 --threads 1 --prompt 0",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
