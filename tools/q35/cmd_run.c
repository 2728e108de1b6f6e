/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "tools/q35/cli.h"
#include "tools/q35/session.h"

static const struct cli_option options[] = {
    {'c', "config", "INI", "configuration with backends and schedule [one backend: cpu_simd]"},
    {'m', "model", "FILE", "packed model [the configuration's]"},
    {'b', "backend", "NAME", "backend to use when there is no configuration [cpu_simd]"},
    {'p', "prompt", "TEXT", "the prompt; - reads it from standard input"},
    {0, "chat", NULL, "the prompt is a user's message: apply the model's chat template"},
    {0, "system", "TEXT", "with --chat: a system message before it"},
    {'n', "tokens", "N", "tokens to generate at most [128]"},
    {0, "temp", "T", "temperature, 0 to 2; 0 is greedy [0.8]"},
    {0, "top-k", "K", "keep the K likeliest tokens, 0: all [40]"},
    {0, "top-p", "P", "keep the likeliest tokens that add up to P [0.95]"},
    {0, "min-p", "P", "drop tokens less likely than P times the likeliest [0]"},
    {0, "repeat-penalty", "X", "divide logits of tokens seen before by X [1]"},
    {0, "frequency-penalty", "X", "subtract X times a token's count, -2 to 2 [0]"},
    {0, "presence-penalty", "X", "subtract X from tokens seen before, -2 to 2 [0]"},
    {0, "penalty-window", "N", "tokens the penalties look back, 0: all [64]"},
    {0, "seed", "S", "seed of the sampler [0]"},
    {0, "context", "N", "positions of KV cache [the model's]"},
    {0, "kv-type", "TYPE", "KV cache in f16 or int8 [the configuration's, else f16]"},
    {0, "draft", "HOW",
     "guess tokens ahead: none, or lookup in the text so far [the configuration's, else none]"},
    {0, "ignore-eos", NULL, "go on past the end-of-text token"},
    {0, "json", NULL, "print one JSON document: text, tokens, speeds, plan"},
    {'v', "verbose", NULL, "plan and speeds on standard error"},
};

/* What the engine's thread hands to the main one. */
struct sink {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    const struct q35_tokenizer *tokenizer;
    struct q35_detok detok;
    struct q35_str pending; /* text not yet printed */
    struct q35_str all;
    json_t *ids;
    uint64_t first_ns, last_ns;
    uint32_t tokens, drafted, accepted;
    enum q35_finish finish;
    struct q35_error error;
};

static void on_event(void *user, const struct q35_event *ev)
{
    struct sink *s = user;
    pthread_mutex_lock(&s->mutex);
    s->drafted = ev->drafted_tokens;
    s->accepted = ev->accepted_tokens;
    if (ev->finish != Q35_FINISH_NONE) {
        q35_detok_finish(&s->detok, &s->pending);
        s->finish = ev->finish;
        if (ev->error)
            s->error = *ev->error;
    } else {
        if (!s->tokens++)
            s->first_ns = ev->time_ns;
        s->last_ns = ev->time_ns;
        json_array_append_new(s->ids, json_integer(ev->token));
        q35_detok_push(&s->detok, s->tokenizer, ev->token, &s->pending);
    }
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->mutex);
}

static bool is_end(void *user, int32_t token)
{
    const struct sink *s = user;
    return q35_tokenizer_is_end(s->tokenizer, token);
}

/* Seconds since the kernel started this process, to its clock tick (10 ms). */
static double seconds_since_exec(void)
{
    char text[1024];
    struct timespec now;
    unsigned long long ticks = 0;
    FILE *f = fopen("/proc/self/stat", "r");
    const char *at = f && fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
    int field;
    if (f)
        fclose(f);
    for (field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, " %llu", &ticks) != 1)
        return 0.0;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec -
           (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static bool read_sampling(struct cli *cli, struct q35_sampling *s, uint32_t *n, uint32_t *context)
{
    q35_sampling_default(s);
    s->temperature = 0.8f;
    s->top_k = 40;
    s->top_p = 0.95f;
    s->penalty_window = 64;
    return cli_f32(cli, "temp", 0.0f, 2.0f, &s->temperature) &&
           cli_u32(cli, "top-k", 0, UINT32_MAX, &s->top_k) &&
           cli_f32(cli, "top-p", 0.0f, 1.0f, &s->top_p) &&
           cli_f32(cli, "min-p", 0.0f, 1.0f, &s->min_p) &&
           cli_f32(cli, "repeat-penalty", 0.01f, 10.0f, &s->repeat_penalty) &&
           cli_f32(cli, "frequency-penalty", -2.0f, 2.0f, &s->frequency_penalty) &&
           cli_f32(cli, "presence-penalty", -2.0f, 2.0f, &s->presence_penalty) &&
           cli_u32(cli, "penalty-window", 0, 1u << 20, &s->penalty_window) &&
           cli_u64(cli, "seed", &s->seed) && cli_u32(cli, "tokens", 1, 1u << 24, n) &&
           cli_u32(cli, "context", 8, 1u << 24, context);
}

static enum q35_status encode(struct cli *cli, const struct session *s, const char *prompt,
                              int32_t **ids, size_t *n, struct q35_error *err)
{
    struct q35_chat_message messages[2];
    const char *template_text = q35_tokenizer_chat_template(s->tokenizer);
    const char *system = cli_value(cli, "system");
    struct q35_chat *chat = NULL;
    enum q35_status st;
    size_t count = 0;
    if (!cli_flag(cli, "chat"))
        return q35_tokenizer_encode(s->tokenizer, prompt, strlen(prompt), Q35_ENCODE_BOS, ids, n,
                                    err);
    if (!template_text)
        return q35_fail(err, Q35_E_UNSUPPORTED, "the model has no chat template");
    st = q35_chat_create(&chat, template_text, err);
    if (st != Q35_OK)
        return st;
    if (system)
        messages[count++] = (struct q35_chat_message){"system", system, strlen(system)};
    messages[count++] = (struct q35_chat_message){"user", prompt, strlen(prompt)};
    st = q35_chat_encode(chat, s->tokenizer, messages, count, true, ids, n, err);
    q35_chat_destroy(chat);
    return st;
}

/* Prints text as it comes; returns when the request has ended. */
static void follow(struct sink *s, bool print)
{
    bool over = false;
    while (!over) {
        struct q35_str text;
        pthread_mutex_lock(&s->mutex);
        while (!s->pending.len && s->finish == Q35_FINISH_NONE)
            pthread_cond_wait(&s->wake, &s->mutex);
        text = s->pending;
        memset(&s->pending, 0, sizeof(s->pending));
        over = s->finish != Q35_FINISH_NONE;
        pthread_mutex_unlock(&s->mutex);
        if (print && text.len) {
            fwrite(text.data, 1, text.len, stdout);
            fflush(stdout);
        }
        q35_str_add(&s->all, text.data ? text.data : "", text.len);
        q35_str_fini(&text);
    }
}

static int report(struct cli *cli, const struct session *s, struct sink *k, size_t prompt_tokens,
                  uint64_t start_ns, double exec_seconds)
{
    double prefill = (double)(k->first_ns - start_ns) * 1e-9;
    double decode = (double)(k->last_ns - k->first_ns) * 1e-9;
    double speed = k->tokens > 1 && decode > 0.0 ? (k->tokens - 1) / decode : 0.0;
    json_error_t ignored;
    char *plan;
    json_t *doc;
    if (cli_flag(cli, "verbose"))
        fprintf(stderr,
                "%zu prompt tokens in %.3f s, %u tokens at %.1f tokens/s, %u of %u guessed ahead "
                "came true\n",
                prompt_tokens, prefill, k->tokens, speed, k->accepted, k->drafted);
    if (!cli_flag(cli, "json")) {
        putchar('\n');
        return fflush(stdout) == EOF ? cli_failf(cli, "cannot write to standard output") : CLI_OK;
    }
    plan = q35_plan_json(s->plan, s->registry);
    doc = json_pack("{s:s%, s:O, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:f, s:o?}", "text",
                    k->all.data ? k->all.data : "", k->all.len, "token_ids", k->ids,
                    "prompt_tokens", (int)prompt_tokens, "tokens", (int)k->tokens, "drafted_tokens",
                    (int)k->drafted, "accepted_tokens", (int)k->accepted, "finish_reason",
                    k->finish == Q35_FINISH_END ? "stop" : "length", "prefill_seconds", prefill,
                    "decode_tokens_per_second", speed, "exec_to_first_token_seconds",
                    exec_seconds > decode ? exec_seconds - decode : 0.0, "plan",
                    plan ? json_loads(plan, 0, &ignored) : NULL);
    free(plan);
    return cli_print_json(cli, doc);
}

static int generate(struct cli *cli, struct session *s, const char *prompt,
                    const struct q35_sampling *sampling, uint32_t n)
{
    struct sink k = {.mutex = PTHREAD_MUTEX_INITIALIZER,
                     .wake = PTHREAD_COND_INITIALIZER,
                     .tokenizer = s->tokenizer,
                     .detok.started = true,
                     .error = Q35_ERROR_INIT};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_request_params p = {.max_tokens = n,
                                   .sampling = *sampling,
                                   .event = on_event,
                                   .is_end = is_end,
                                   .user = &k,
                                   .ignore_end = cli_flag(cli, "ignore-eos")};
    struct q35_request *r = NULL;
    int32_t *ids = NULL;
    uint64_t start = q35_now_ns();
    double exec_seconds;
    int rc;
    enum q35_status st = encode(cli, s, prompt, &ids, &p.prompt_len, &err);
    p.prompt = ids;
    k.ids = json_array();
    if (st == Q35_OK)
        st = q35_engine_submit(s->engine, &p, &r, &err);
    if (st == Q35_OK) {
        follow(&k, !cli_flag(cli, "json"));
        exec_seconds = seconds_since_exec();
        q35_request_release(s->engine, r);
        if (k.finish == Q35_FINISH_ERROR) {
            st = Q35_E_INTERNAL;
            err = k.error;
        }
    }
    rc =
        st != Q35_OK ? cli_error(cli, &err) : report(cli, s, &k, p.prompt_len, start, exec_seconds);
    free(ids);
    json_decref(k.ids);
    q35_str_fini(&k.all);
    q35_str_fini(&k.pending);
    return rc;
}

static char *read_stdin(void)
{
    struct q35_str s = {0};
    char buf[4096];
    size_t n;
    while ((n = fread(buf, 1, sizeof(buf), stdin)) > 0)
        q35_str_add(&s, buf, n);
    if (s.failed || ferror(stdin) || (s.data && memchr(s.data, 0, s.len))) {
        q35_str_fini(&s);
        return NULL;
    }
    return s.data ? s.data : strdup("");
}

static int run(struct cli *cli)
{
    struct session_options o = {
        cli_value(cli, "config"), cli_value(cli, "backend"), cli_value(cli, "model"), NULL, 0, 0, 0,
        cli_value(cli, "kv-type"), cli_value(cli, "draft")};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_sampling sampling;
    struct session s;
    const char *prompt = cli_value(cli, "prompt");
    char *from_stdin = NULL;
    uint32_t n = 128;
    int rc;
    if (!prompt)
        return cli_usage(cli, "a prompt is needed: -p TEXT");
    if (o.config_path && o.backend)
        return cli_usage(cli, "--backend cannot be used together with --config");
    if (!read_sampling(cli, &sampling, &n, &o.context))
        return CLI_USAGE;
    if (!strcmp(prompt, "-")) {
        prompt = from_stdin = read_stdin();
        if (!prompt)
            return cli_failf(cli, "cannot read a prompt from standard input");
    }
    if (!o.config_path)
        o.max_sequences = 1;
    rc = session_open(&s, &o, &err) == Q35_OK ? CLI_OK : cli_error(cli, &err);
    if (rc == CLI_OK) {
        if (cli_flag(cli, "verbose")) {
            char *text = q35_plan_text(s.plan, s.registry, false);
            fputs(text ? text : "", stderr);
            free(text);
        }
        rc = generate(cli, &s, prompt, &sampling, n);
        session_close(&s);
    }
    free(from_stdin);
    return rc;
}

const struct cli_command cmd_run = {
    .name = "run",
    .synopsis = "-m MODEL -p PROMPT",
    .summary = "generate text from a prompt",
    .details = "Prints the generated text, and nothing else, on standard output. With the same "
               "model, prompt, options and seed the text is the same on every EXACT backend.\n"
               "With --draft lookup tokens are guessed where the text repeats itself and checked "
               "several in one run: it comes faster, and is the same to the last bit.",
    .examples = "  q35 run -m model.q35.gguf -p 'Once upon a time' -n 64 --temp 0\n"
                "  q35 run -c mixed.ini -p 'Tell me a story.' --chat --seed 7",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
