/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/graph/float_eval.h"
#include "core/model/gguf.h"
#include "core/model/source.h"
#include "tools/q35/cli.h"
#include "tools/q35/session.h"

enum { CHUNK = 128, MAX_TEXT = 1 << 30 };

static const struct cli_option options[] = {
    {'m', "model", "MODEL", "packed model, float GGUF file or Hugging Face directory"},
    {'f', "file", "TEXT", "text to predict"},
    {0, "context", "N", "tokens of a window [512, or what the model was trained for if less]"},
    {0, "stride", "N", "from one window to the next; earlier tokens are context only [--context]"},
    {0, "kl", "BASE", "also the KL divergence from the float model BASE and top-1 agreement"},
    {0, "max-tokens", "N", "only this many tokens of the text, 0: all [0]"},
    {'c', "config", "INI", "backends for a packed model [one backend: cpu_simd]"},
    {'b', "backend", "NAME", "backend when there is no configuration [cpu_simd]"},
    {0, "threads", "N", "threads of a float model, 0: all processors [0]"},
    {0, "json", NULL, "print one JSON document"},
};

/* Either a packed model on its devices or a float model. */
struct evaluator {
    bool packed;
    struct session session;
    struct q35_source *source;
    struct q35_float *floating;
    struct q35_tokenizer *own; /* of a float model */
    const struct q35_tokenizer *tokenizer;
    uint32_t vocab, trained;
    float *logits; /* [CHUNK][vocab] */
};

struct measure {
    uint32_t context, stride, windows;
    uint64_t scored;
    double nll, nll2; /* sums over tokens, squares for the standard error */
    double kl, kl2, kl_most;
    uint64_t agree;
    double seconds;
};

static bool is_packed(const char *path)
{
    struct q35_gguf *g = NULL;
    struct stat st;
    bool packed;
    if (stat(path, &st) != 0 || S_ISDIR(st.st_mode) || q35_gguf_open(&g, path, NULL))
        return false;
    packed = q35_gguf_has(g, "q35.version");
    q35_gguf_close(g);
    return packed;
}

static void evaluator_close(struct evaluator *e)
{
    if (e->packed)
        session_close(&e->session);
    q35_float_destroy(e->floating);
    q35_source_close(e->source);
    q35_tokenizer_destroy(e->own);
    free(e->logits);
    memset(e, 0, sizeof(*e));
}

static enum q35_status open_packed(struct cli *cli, struct evaluator *e, const char *path,
                                   uint32_t context, struct q35_error *err)
{
    struct session_options o = {
        cli_value(cli, "config"), cli_value(cli, "backend"), path, NULL, context, 1, CHUNK};
    enum q35_status s = session_open(&e->session, &o, err);
    if (s)
        return s;
    e->packed = true;
    e->tokenizer = e->session.tokenizer;
    e->vocab = q35_model_params(e->session.model)->vocab;
    e->trained = q35_model_params(e->session.model)->context;
    return Q35_OK;
}

static enum q35_status open_float(struct cli *cli, struct evaluator *e, const char *path,
                                  uint32_t context, struct q35_error *err)
{
    uint32_t threads = 0;
    enum q35_status s = q35_source_open(&e->source, path, err);
    if (!s && !cli_u32(cli, "threads", 0, 64, &threads))
        s = q35_fail(err, Q35_E_INVALID, "--threads is not understood");
    if (s)
        return s;
    e->vocab = q35_source_params(e->source)->vocab;
    e->trained = q35_source_params(e->source)->context;
    s = q35_source_gguf(e->source)
            ? q35_tokenizer_from_gguf(&e->own, q35_source_gguf(e->source), err)
            : q35_tokenizer_from_dir(&e->own, path, err);
    e->tokenizer = e->own;
    return s ? s : q35_float_create(&e->floating, e->source, context, threads, err);
}

static enum q35_status evaluator_open(struct cli *cli, struct evaluator *e, const char *path,
                                      uint32_t context, struct q35_error *err)
{
    enum q35_status s;
    memset(e, 0, sizeof(*e));
    s = is_packed(path) ? open_packed(cli, e, path, context, err)
                        : open_float(cli, e, path, context, err);
    if (!s && !(e->logits = malloc((size_t)CHUNK * e->vocab * sizeof(float))))
        s = q35_fail(err, Q35_E_NOMEM, "no memory for logits");
    if (s)
        evaluator_close(e);
    return s;
}

static enum q35_status evaluate(struct evaluator *e, const int32_t *tokens, uint32_t n,
                                uint32_t start, struct q35_error *err)
{
    return e->packed ? q35_engine_eval(e->session.engine, tokens, n, start, e->logits, err)
                     : q35_float_eval(e->floating, tokens, n, start, e->logits, err);
}

/* ln sum exp of logits, and the first maximum. */
static double normalizer(const float *logits, uint32_t n, uint32_t *best)
{
    double sum = 0.0;
    float top = logits[0];
    uint32_t i;
    *best = 0;
    for (i = 1; i < n; i++)
        if (logits[i] > top) {
            top = logits[i];
            *best = i;
        }
    for (i = 0; i < n; i++)
        sum += exp((double)(logits[i] - top));
    return (double)top + log(sum);
}

static void score(struct measure *m, const float *logits, const float *base, uint32_t vocab,
                  int32_t next)
{
    uint32_t best, base_best, i;
    double z = normalizer(logits, vocab, &best), nll = z - (double)logits[next];
    m->nll += nll;
    m->nll2 += nll * nll;
    m->scored++;
    if (base) {
        double bz = normalizer(base, vocab, &base_best), kl = 0.0;
        for (i = 0; i < vocab; i++) {
            double lp = (double)base[i] - bz;
            kl += exp(lp) * (lp - ((double)logits[i] - z));
        }
        m->kl += kl;
        m->kl2 += kl * kl;
        m->kl_most = kl > m->kl_most ? kl : m->kl_most;
        m->agree += best == base_best;
    }
}

/* Scores tokens[from .. n) of a window given those before. */
static enum q35_status window(struct evaluator *e, struct evaluator *base, const int32_t *tokens,
                              uint32_t n, uint32_t from, struct measure *m, struct q35_error *err)
{
    uint32_t at, i, some;
    for (at = 0; at + 1 < n; at += some) {
        enum q35_status s;
        some = n - 1 - at < CHUNK ? n - 1 - at : CHUNK;
        s = evaluate(e, tokens + at, some, at, err);
        if (!s && base)
            s = evaluate(base, tokens + at, some, at, err);
        if (s)
            return s;
        for (i = 0; i < some; i++)
            if (at + i + 1 >= from)
                score(m, e->logits + (size_t)i * e->vocab,
                      base ? base->logits + (size_t)i * e->vocab : NULL, e->vocab,
                      tokens[at + i + 1]);
    }
    m->windows++;
    return Q35_OK;
}

/* Windows of m->context tokens, the first of each BOS where the model has it. Every window scores
 * what the one before did not. */
static enum q35_status measure(struct cli *cli, struct evaluator *e, struct evaluator *base,
                               const int32_t *ids, size_t n, bool bos, struct measure *m,
                               struct q35_error *err)
{
    int32_t *tokens = malloc(m->context * sizeof(*tokens));
    uint32_t room = m->context - bos;
    uint64_t start_ns = q35_now_ns();
    size_t at, scored = bos ? 0 : 1; /* ids before this are done (or have nothing before them) */
    enum q35_status s = tokens ? Q35_OK : q35_fail(err, Q35_E_NOMEM, "no memory for a window");
    for (at = 0; !s && scored < n; at += m->stride) {
        uint32_t some = n - at < room ? (uint32_t)(n - at) : room;
        size_t first = scored > at ? scored - at : bos ? 0 : 1;
        if (bos)
            tokens[0] = q35_tokenizer_bos(e->tokenizer);
        memcpy(tokens + bos, ids + at, some * sizeof(*tokens));
        s = window(e, base, tokens, some + bos, (uint32_t)first + bos, m, err);
        scored = at + some;
        if (!cli_flag(cli, "json"))
            cli_progress("perplexity", scored < n ? scored : n - 1, n);
    }
    cli_progress("perplexity", 0, 0);
    m->seconds = (double)(q35_now_ns() - start_ns) * 1e-9;
    free(tokens);
    return s;
}

static double deviation(double sum, double squares, uint64_t n)
{
    double mean = sum / (double)n, v = squares / (double)n - mean * mean;
    return n > 1 && v > 0.0 ? sqrt(v / (double)(n - 1)) : 0.0;
}

static int report(struct cli *cli, const struct evaluator *e, const struct measure *m)
{
    double n = (double)m->scored, mean = m->nll / n, ppl = exp(mean);
    double error = ppl * deviation(m->nll, m->nll2, m->scored);
    const char *scheme = e->packed ? q35_model_scheme(e->session.model) : "float";
    const char *base = cli_value(cli, "kl");
    json_t *doc;
    if (!cli_flag(cli, "json")) {
        printf("perplexity %.4f +- %.4f  (%s, %llu tokens, %u windows of %u, stride %u, %.1f s)\n",
               ppl, error, scheme, (unsigned long long)m->scored, m->windows, m->context, m->stride,
               m->seconds);
        if (base)
            printf("KL divergence %.6f +- %.6f nats, largest %.3f; top-1 agreement %.2f%%\n",
                   m->kl / n, deviation(m->kl, m->kl2, m->scored), m->kl_most,
                   100.0 * (double)m->agree / n);
        return fflush(stdout) == EOF ? cli_failf(cli, "cannot write to standard output") : CLI_OK;
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
        json_object_set_new(doc, "kl_error", json_real(deviation(m->kl, m->kl2, m->scored)));
        json_object_set_new(doc, "kl_max", json_real(m->kl_most));
        json_object_set_new(doc, "top1_agreement", json_real((double)m->agree / n));
    }
    return cli_print_json(cli, doc);
}

static int measured(struct cli *cli, struct evaluator *e, struct evaluator *base, const char *text,
                    size_t len, struct measure *m)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t most = 0;
    int32_t *ids = NULL, *bos_ids = NULL;
    size_t n = 0, bos = 0;
    enum q35_status s = q35_tokenizer_encode(e->tokenizer, text, len, 0, &ids, &n, &err);
    if (!s) /* whether the model begins texts with BOS */
        s = q35_tokenizer_encode(e->tokenizer, "", 0, Q35_ENCODE_BOS, &bos_ids, &bos, &err);
    if (!s && !cli_u32(cli, "max-tokens", 0, UINT32_MAX, &most))
        s = q35_fail(&err, Q35_E_INVALID, "--max-tokens is not understood");
    if (most && n > most)
        n = most;
    bos = bos && bos_ids[0] == q35_tokenizer_bos(e->tokenizer);
    if (!s && base && base->vocab != e->vocab)
        s = q35_fail(&err, Q35_E_INVALID, "vocabularies differ: %u and %u tokens", e->vocab,
                     base->vocab);
    if (!s && n + bos < 2)
        s = q35_fail(&err, Q35_E_INVALID, "the text has too few tokens: %zu", n);
    if (!s)
        s = measure(cli, e, base, ids, n, bos, m, &err);
    free(ids);
    free(bos_ids);
    return s ? cli_error(cli, &err) : report(cli, e, m);
}

/* The window: asked for, or 512, or what the model was trained for. */
static enum q35_status trained_context(const char *path, uint32_t *context, struct q35_error *err)
{
    enum q35_status s;
    uint32_t trained = 0;
    if (is_packed(path)) {
        struct q35_model *model = NULL;
        s = q35_model_open(&model, path, err);
        if (!s)
            trained = q35_model_params(model)->context;
        q35_model_close(model);
    } else {
        struct q35_source *source = NULL;
        s = q35_source_open(&source, path, err);
        if (!s)
            trained = q35_source_params(source)->context;
        q35_source_close(source);
    }
    *context = trained && trained < 512 ? trained : 512;
    return s;
}

static int run(struct cli *cli)
{
    const char *path = cli_value(cli, "model"), *file = cli_value(cli, "file");
    const char *base_path = cli_value(cli, "kl");
    struct q35_error err = Q35_ERROR_INIT;
    struct evaluator e, base;
    struct measure m = {0};
    char *text = NULL;
    size_t len;
    int rc;
    if (!path || !file)
        return cli_usage(cli, "a model and a text are needed: -m MODEL -f TEXT");
    if (cli_value(cli, "config") && cli_value(cli, "backend"))
        return cli_usage(cli, "--backend cannot be used together with --config");
    if (trained_context(path, &m.context, &err))
        return cli_error(cli, &err);
    if (!cli_u32(cli, "context", 2, 1u << 20, &m.context))
        return CLI_USAGE;
    m.stride = 0;
    if (!cli_u32(cli, "stride", 1, m.context, &m.stride))
        return CLI_USAGE;
    if (q35_file_read(file, MAX_TEXT, &text, &len, &err))
        return cli_error(cli, &err);
    memset(&base, 0, sizeof(base));
    rc = evaluator_open(cli, &e, path, m.context, &err) ? cli_error(cli, &err) : CLI_OK;
    if (rc == CLI_OK && base_path && evaluator_open(cli, &base, base_path, m.context, &err))
        rc = cli_error(cli, &err);
    if (rc == CLI_OK) {
        uint32_t room = m.context - (q35_tokenizer_bos(e.tokenizer) >= 0);
        m.stride = m.stride && m.stride < room ? m.stride : room ? room : 1;
        rc = measured(cli, &e, base_path ? &base : NULL, text, len, &m);
    }
    evaluator_close(&e);
    evaluator_close(&base);
    free(text);
    return rc;
}

const struct cli_command cmd_perplexity = {
    .name = "perplexity",
    .synopsis = "-m MODEL -f TEXT",
    .summary = "how well a model predicts a text",
    .details =
        "Cuts the text's tokens into windows and prints exp of the mean negative log\n"
        "likelihood. A packed model runs on its backends; a float GGUF file or Hugging Face\n"
        "directory is evaluated in binary32 without quantizing anything. The windows are the\n"
        "same for both, so the figures compare.",
    .examples = "  q35 perplexity -m model-dir -f text.txt\n"
                "  q35 perplexity -m model.q35.gguf -f text.txt --kl model-dir --json",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
