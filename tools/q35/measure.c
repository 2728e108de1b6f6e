/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/model/gguf.h"

enum { CHUNK = 128 };

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

void evaluator_close(struct evaluator *e)
{
    if (e->packed)
        session_close(&e->session);
    q35_float_destroy(e->floating);
    q35_source_close(e->source);
    q35_tokenizer_destroy(e->own);
    free(e->logits);
    memset(e, 0, sizeof(*e));
}

static enum q35_status open_packed(struct evaluator *e, const char *path,
                                   const struct measure_options *o, struct q35_error *err)
{
    struct session_options so = {o->config,  o->backend, path,  NULL,
                                 o->context, 1,          CHUNK, o->kv_type};
    enum q35_status s = session_open(&e->session, &so, err);
    if (s)
        return s;
    e->packed = true;
    e->tokenizer = e->session.tokenizer;
    e->vocab = q35_model_params(e->session.model)->vocab;
    e->trained = q35_model_params(e->session.model)->context;
    return Q35_OK;
}

static enum q35_status open_float(struct evaluator *e, const char *path,
                                  const struct measure_options *o, struct q35_error *err)
{
    enum q35_status s = q35_source_open(&e->source, path, err);
    if (s)
        return s;
    e->vocab = q35_source_params(e->source)->vocab;
    e->trained = q35_source_params(e->source)->context;
    s = q35_source_gguf(e->source)
            ? q35_tokenizer_from_gguf(&e->own, q35_source_gguf(e->source), err)
            : q35_tokenizer_from_dir(&e->own, path, err);
    e->tokenizer = e->own;
    return s ? s : q35_float_create(&e->floating, e->source, o->context, o->threads, err);
}

enum q35_status evaluator_open(struct evaluator *e, const char *path,
                               const struct measure_options *o, struct q35_error *err)
{
    enum q35_status s;
    memset(e, 0, sizeof(*e));
    s = is_packed(path) ? open_packed(e, path, o, err) : open_float(e, path, o, err);
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
static enum q35_status measure(struct evaluator *e, struct evaluator *base, const int32_t *ids,
                               size_t n, bool bos, const struct measure_options *o,
                               struct measure *m, struct q35_error *err)
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
        if (o->progress)
            o->progress(scored < n ? scored : n - 1, n);
    }
    if (o->progress)
        o->progress(0, 0);
    m->seconds = (double)(q35_now_ns() - start_ns) * 1e-9;
    free(tokens);
    return s;
}

/* The windows of llama-perplexity: BOS and the text, cut into windows of m->context tokens of which
 * the first becomes BOS and tokens after the middle one are scored. */
static enum q35_status measure_half(struct evaluator *e, struct evaluator *base, const int32_t *ids,
                                    size_t n, bool bos, const struct measure_options *o,
                                    struct measure *m, struct q35_error *err)
{
    int32_t *tokens = malloc(m->context * sizeof(*tokens));
    uint64_t start_ns = q35_now_ns();
    size_t at;
    enum q35_status s = tokens ? Q35_OK : q35_fail(err, Q35_E_NOMEM, "no memory for a window");
    if (!s && n + bos < m->context)
        s = q35_fail(err, Q35_E_INVALID, "the text has %zu tokens, too few for a window of %u", n,
                     m->context);
    m->stride = m->context;
    for (at = 0; !s && at + m->context <= n + bos; at += m->context) {
        size_t from = at < bos ? 0 : at - bos, first = at < bos ? bos : 0;
        memcpy(tokens + first, ids + from, (m->context - first) * sizeof(*tokens));
        if (bos)
            tokens[0] = q35_tokenizer_bos(e->tokenizer);
        s = window(e, base, tokens, m->context, m->context / 2 + 1, m, err);
        if (o->progress)
            o->progress(at + m->context, n + bos);
    }
    if (o->progress)
        o->progress(0, 0);
    m->seconds = (double)(q35_now_ns() - start_ns) * 1e-9;
    free(tokens);
    return s;
}

double measure_deviation(double sum, double squares, uint64_t n)
{
    double mean = sum / (double)n, v = squares / (double)n - mean * mean;
    return n > 1 && v > 0.0 ? sqrt(v / (double)(n - 1)) : 0.0;
}

enum q35_status measure_text(struct evaluator *e, struct evaluator *base, const char *text,
                             size_t len, const struct measure_options *o, struct measure *m,
                             struct q35_error *err)
{
    uint32_t room = o->context - (q35_tokenizer_bos(e->tokenizer) >= 0);
    int32_t *ids = NULL, *bos_ids = NULL;
    size_t n = 0, bos = 0;
    enum q35_status s = q35_tokenizer_encode(e->tokenizer, text, len, 0, &ids, &n, err);
    memset(m, 0, sizeof(*m));
    m->context = o->context;
    m->stride = o->stride && o->stride < room ? o->stride : room ? room : 1;
    if (!s) /* whether the model begins texts with BOS */
        s = q35_tokenizer_encode(e->tokenizer, "", 0, Q35_ENCODE_BOS, &bos_ids, &bos, err);
    if (o->max_tokens && n > o->max_tokens)
        n = o->max_tokens;
    bos = bos && bos_ids[0] == q35_tokenizer_bos(e->tokenizer);
    if (!s && base && base->vocab != e->vocab)
        s = q35_fail(err, Q35_E_INVALID, "vocabularies differ: %u and %u tokens", e->vocab,
                     base->vocab);
    if (!s && n + bos < 2)
        s = q35_fail(err, Q35_E_INVALID, "the text has too few tokens: %zu", n);
    if (!s)
        s = (o->half ? measure_half : measure)(e, base, ids, n, bos, o, m, err);
    free(ids);
    free(bos_ids);
    return s;
}

enum q35_status measure_context(const char *path, uint32_t *context, struct q35_error *err)
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
