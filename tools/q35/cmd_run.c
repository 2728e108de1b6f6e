/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "tools/q35/conversation.h"

enum { TOKENS = 128, CONTEXT = 8192 };

static const struct cli_option options[] = {
    {'c', "config", "INI", "configuration with backends and schedule [one backend: cpu_simd]"},
    {'m', "model", "FILE", "packed model [the configuration's]"},
    {'b', "backend", "BACKEND", "backend to use when there is no configuration [cpu_simd]"},
    {'p', "prompt", "TEXT", "the prompt; - reads it from standard input"},
    {0, "chat", NULL,
     "the prompt is a user's message: apply the model's chat template; without -p a conversation"},
    {0, "system", "TEXT", "with --chat: a system message before it"},
    {'n', "tokens", "N", "tokens to generate at most [128; in a conversation what fits]"},
    {0, "temp", "T", "temperature, 0 to 2; 0 is greedy [0.8]"},
    {0, "top-k", "K", "keep the K likeliest tokens, 0: all [40]"},
    {0, "top-p", "P", "keep the likeliest tokens that add up to P [0.95]"},
    {0, "min-p", "P", "drop tokens less likely than P times the likeliest [0]"},
    {0, "repeat-penalty", "X", "divide logits of tokens seen before by X [1]"},
    {0, "frequency-penalty", "X", "subtract X times a token's count, -2 to 2 [0]"},
    {0, "presence-penalty", "X", "subtract X from tokens seen before, -2 to 2 [0]"},
    {0, "penalty-window", "N", "tokens the penalties look back, 0: all [64]"},
    {0, "seed", "S", "seed of the sampler [0]"},
    {0, "context", "N", "positions of KV cache [the configuration's, else the model's up to 8192]"},
    {0, "kv-type", "TYPE", "KV cache in f16 or int8 [the configuration's, else f16]", "f16|int8"},
    {0, "draft", "HOW",
     "guess tokens ahead: none, or lookup in the text so far [the configuration's, else none]",
     "none|lookup"},
    {0, "ignore-eos", NULL, "go on past the end-of-text token"},
    {0, "json", NULL, "print one JSON document: text, tokens, speeds, plan"},
    {'v', "verbose", NULL, "plan and speeds on standard error"},
};

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
    const char *system = cli_value(cli, "system");
    size_t count = 0;
    if (!cli_flag(cli, "chat"))
        return q35_tokenizer_encode(s->tokenizer, prompt, strlen(prompt), Q35_ENCODE_BOS, ids, n,
                                    err);
    if (system)
        messages[count++] = (struct q35_chat_message){"system", system, strlen(system)};
    messages[count++] = (struct q35_chat_message){"user", prompt, strlen(prompt)};
    return conversation_encode(s, messages, count, ids, n, err);
}

static int report(struct cli *cli, const struct session *s, const struct answer *a,
                  double exec_seconds)
{
    double decode = (double)(a->last_ns - a->first_ns) * 1e-9;
    json_t *ids = json_array();
    json_error_t ignored;
    uint32_t i;
    char *plan;
    json_t *doc;
    if (cli_flag(cli, "verbose"))
        answer_tell(a, stderr);
    if (!cli_flag(cli, "json")) {
        putchar('\n');
        json_decref(ids);
        return CLI_OK;
    }
    for (i = 0; i < a->tokens; i++)
        json_array_append_new(ids, json_integer(a->ids[i]));
    plan = q35_plan_json(s->plan, s->registry);
    doc = json_pack("{s:s%, s:o, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:f, s:o?}", "text",
                    a->text.data ? a->text.data : "", a->text.len, "token_ids", ids,
                    "prompt_tokens", (int)a->prompt_tokens, "tokens", (int)a->tokens,
                    "drafted_tokens", (int)a->drafted, "accepted_tokens", (int)a->accepted,
                    "finish_reason", a->finish == Q35_FINISH_END ? "stop" : "length",
                    "prefill_seconds", answer_prefill(a), "decode_tokens_per_second",
                    answer_speed(a), "exec_to_first_token_seconds",
                    exec_seconds > decode ? exec_seconds - decode : 0.0, "plan",
                    plan ? json_loads(plan, 0, &ignored) : NULL);
    free(plan);
    return cli_print_json(cli, doc);
}

static int once(struct cli *cli, struct session *s, const char *prompt,
                const struct generate_options *given)
{
    struct generate_options o = *given;
    uint32_t context = q35_engine_context(s->config, s->model);
    struct q35_error err = Q35_ERROR_INIT;
    struct answer a = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    int rc;
    enum q35_status st = encode(cli, s, prompt, &ids, &n, &err);
    if (!o.tokens) /* as many as by default, or as still fit */
        o.tokens = n < context && context - n < TOKENS ? context - (uint32_t)n : TOKENS;
    if (st == Q35_OK)
        st = generate(s, ids, n, &o, &a, &err);
    rc = st != Q35_OK ? cli_error(cli, &err) : report(cli, s, &a, seconds_since_exec());
    answer_fini(&a);
    free(ids);
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
    struct session_options o = {.config_path = cli_value(cli, "config"),
                                .backend = cli_value(cli, "backend"),
                                .model_path = cli_value(cli, "model"),
                                .kv_type = cli_value(cli, "kv-type"),
                                .draft = cli_value(cli, "draft")};
    struct q35_error err = Q35_ERROR_INIT;
    struct generate_options g = {.ignore_end = cli_flag(cli, "ignore-eos"),
                                 .starts_text = cli_flag(cli, "chat"),
                                 .out = cli_flag(cli, "json") ? NULL : stdout};
    struct session s;
    const char *prompt = cli_value(cli, "prompt");
    char *from_stdin = NULL;
    int rc;
    if (!prompt && !cli_flag(cli, "chat"))
        return cli_usage(cli, "a prompt is needed: -p TEXT; or --chat for a conversation");
    if (!prompt && cli_flag(cli, "json"))
        return cli_usage(cli, "--json is for one prompt: -p TEXT");
    if (cli_value(cli, "system") && !cli_flag(cli, "chat"))
        return cli_usage(cli, "--system needs --chat");
    if (o.config_path && o.backend)
        return cli_usage(cli, "--backend cannot be used together with --config");
    if (!read_sampling(cli, &g.sampling, &g.tokens, &o.context))
        return CLI_USAGE;
    if (prompt && !strcmp(prompt, "-")) {
        prompt = from_stdin = read_stdin();
        if (!prompt)
            return cli_failf(cli, "cannot read a prompt from standard input");
    }
    if (!o.config_path) {
        o.max_sequences = 1;
        o.context_most = CONTEXT; /* models of 131072 positions would need 10 GB for them */
    }
    rc = session_open(&s, &o, &err) == Q35_OK ? CLI_OK : cli_error(cli, &err);
    if (rc == CLI_OK) {
        if (cli_flag(cli, "verbose")) {
            char *text = q35_plan_text(s.plan, s.registry, false);
            fputs(text ? text : "", stderr);
            free(text);
        }
        rc = prompt ? once(cli, &s, prompt, &g)
                    : conversation_run(cli, &s, cli_value(cli, "system"), &g);
        session_close(&s);
    }
    free(from_stdin);
    return rc;
}

const struct cli_command cmd_run = {
    .name = "run",
    .synopsis = "-m MODEL -p PROMPT | -m MODEL --chat",
    .summary = "generate text from a prompt, or talk with a model",
    .details = "Prints the generated text, and nothing else, on standard output. With the same "
               "model, prompt, options and seed the text is the same on every EXACT backend.\n"
               "With --draft lookup tokens are guessed where the text repeats itself and checked "
               "several in one run: it comes faster, and is the same to the last bit.\n"
               "--chat without -p is a conversation: every line of standard input is a message, "
               "and the model sees all that was said before. Ctrl-C stops an answer, Ctrl-D or "
               "/exit ends the conversation, /clear begins another.",
    .examples = "q35 run -m model.q35.gguf -p 'Once upon a time' -n 64 --temp 0\n"
                "q35 run -m model.q35.gguf --chat\n"
                "q35 run -c mixed.ini -p 'Tell me a story.' --chat --seed 7",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
