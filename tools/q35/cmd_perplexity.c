/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/q35/cli.h"
#include "tools/q35/measure.h"

enum { MAX_TEXT = 1 << 30 };

static const struct cli_option options[] = {
    {'m', "model", "MODEL", "packed model, float GGUF file or Hugging Face directory"},
    {'f', "file", "FILE", "text to predict"},
    {0, "context", "N", "tokens of a window [512, or what the model was trained for if less]"},
    {0, "stride", "N", "from one window to the next; earlier tokens are context only [--context]"},
    {0, "half", NULL,
     "score the second half of each window only, whole windows only, as llama-perplexity does"},
    {0, "kl", "MODEL", "also the KL divergence from this float model and top-1 agreement"},
    {0, "ids", "FILE", "write the text's token ids to FILE, one a line, and do nothing else"},
    {0, "max-tokens", "N", "only this many tokens of the text, 0: all [0]"},
    {'c', "config", "INI", "backends for a packed model [one backend: cpu_simd]"},
    {'b', "backend", "BACKEND", "backend when there is no configuration [cpu_simd]"},
    {0, "kv-type", "TYPE", "KV cache of a packed model in f16 or int8 [f16]", "f16|int8"},
    {0, "threads", "N", "threads of a float model, 0: all processors [0]"},
    {0, "json", NULL, "print one JSON document"},
};

static int report(struct cli *cli, const struct evaluator *e, const struct measure *m)
{
    double n = (double)m->scored, mean = m->nll / n, ppl = exp(mean);
    double error = ppl * measure_deviation(m->nll, m->nll2, m->scored);
    const char *scheme = e->packed ? q35_model_scheme(e->session.model) : "float";
    const char *base = cli_value(cli, "kl");
    json_t *doc;
    if (!cli_flag(cli, "json")) {
        printf("perplexity %.4f +- %.4f  (%s, %llu tokens, %u windows of %u, stride %u, %.1f s)\n",
               ppl, error, scheme, (unsigned long long)m->scored, m->windows, m->context, m->stride,
               m->seconds);
        if (base)
            printf("KL divergence %.6f +- %.6f nats, largest %.3f; top-1 agreement %.2f%%\n",
                   m->kl / n, measure_deviation(m->kl, m->kl2, m->scored), m->kl_most,
                   100.0 * (double)m->agree / n);
        return CLI_OK;
    }
    doc = json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:I, s:i, s:i, s:i, s:f, s:f}", "model",
                    cli_value(cli, "model"), "scheme", scheme, "text", cli_value(cli, "file"),
                    "perplexity", ppl, "perplexity_error", error, "nll", mean, "tokens",
                    (json_int_t)m->scored, "windows", (int)m->windows, "context", (int)m->context,
                    "stride", (int)m->stride, "seconds", m->seconds, "tokens_per_second",
                    m->seconds > 0 ? n / m->seconds : 0.0);
    if (doc && base) {
        json_object_set_new(doc, "base", json_string(base));
        json_object_set_new(doc, "kl_divergence", json_real(m->kl / n));
        json_object_set_new(doc, "kl_error",
                            json_real(measure_deviation(m->kl, m->kl2, m->scored)));
        json_object_set_new(doc, "kl_max", json_real(m->kl_most));
        json_object_set_new(doc, "top1_agreement", json_real((double)m->agree / n));
    }
    return cli_print_json(cli, doc);
}

/* The ids of the text's first `most` tokens (0: all), without BOS. */
static enum q35_status write_ids(const struct evaluator *e, const char *text, size_t len,
                                 uint32_t most, const char *path, struct q35_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0, i;
    FILE *f;
    bool failed;
    enum q35_status s = q35_tokenizer_encode(e->tokenizer, text, len, 0, &ids, &n, err);
    if (s)
        return s;
    f = fopen(path, "w");
    for (i = 0; f && i < n && (!most || i < most); i++)
        fprintf(f, "%d\n", ids[i]);
    failed = !f || ferror(f);
    failed |= f && fclose(f) == EOF;
    free(ids);
    return failed ? q35_fail_errno(err, Q35_E_IO, errno, "cannot write %s", path) : Q35_OK;
}

static void on_progress(uint64_t done, uint64_t total)
{
    cli_progress("perplexity", done, total);
}

static int run(struct cli *cli)
{
    const char *path = cli_value(cli, "model"), *file = cli_value(cli, "file");
    const char *base_path = cli_value(cli, "kl"), *ids = cli_value(cli, "ids");
    struct measure_options o = {cli_value(cli, "config"), cli_value(cli, "backend"),
                                cli_value(cli, "kv-type")};
    struct q35_error err = Q35_ERROR_INIT;
    struct evaluator e = {0}, base = {0};
    struct measure m;
    char *text = NULL;
    size_t len;
    enum q35_status s;
    int rc;
    if (!path || !file)
        return cli_usage(cli, "a model and a text are needed: -m MODEL -f FILE");
    if (o.config && o.backend)
        return cli_usage(cli, "--backend cannot be used together with --config");
    if (measure_context(path, &o.context, &err))
        return cli_error(cli, &err);
    if (!cli_u32(cli, "context", 2, 1u << 20, &o.context) ||
        !cli_u32(cli, "stride", 1, o.context, &o.stride) ||
        !cli_u32(cli, "threads", 0, 64, &o.threads) ||
        !cli_u32(cli, "max-tokens", 0, UINT32_MAX, &o.max_tokens))
        return CLI_USAGE;
    o.half = cli_flag(cli, "half");
    if (o.half && cli_value(cli, "stride"))
        return cli_usage(cli, "--half has no --stride");
    o.progress = cli_flag(cli, "json") ? NULL : on_progress;
    if (q35_file_read(file, MAX_TEXT, &text, &len, &err))
        return cli_error(cli, &err);
    s = evaluator_open(&e, path, &o, &err);
    if (ids) {
        s = s ? s : write_ids(&e, text, len, o.max_tokens, ids, &err);
        evaluator_close(&e);
        free(text);
        return s ? cli_error(cli, &err) : CLI_OK;
    }
    if (!s && base_path)
        s = evaluator_open(&base, base_path, &o, &err);
    if (!s)
        s = measure_text(&e, base_path ? &base : NULL, text, len, &o, &m, &err);
    rc = s ? cli_error(cli, &err) : report(cli, &e, &m);
    evaluator_close(&e);
    evaluator_close(&base);
    free(text);
    return rc;
}

const struct cli_command cmd_perplexity = {
    .name = "perplexity",
    .synopsis = "-m MODEL -f FILE",
    .summary = "how well a model predicts a text",
    .details =
        "Cuts the text's tokens into windows and prints exp of the mean negative log "
        "likelihood. A packed model runs on its backends; a float GGUF file or Hugging Face "
        "directory is evaluated in binary32 without quantizing anything. The windows are the "
        "same for both, so the figures compare.",
    .examples = "  q35 perplexity -m model-dir -f text.txt\n"
                "  q35 perplexity -m model.q35.gguf -f text.txt --kl model-dir --json",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
