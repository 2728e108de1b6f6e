/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/api_params.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/serve/fields.h"
#include "core/serve/json_in.h"

#define AT(field) offsetof(struct q35_api_params, field)
#define INT_LIMIT 2147483647.0

static bool add_stop(struct q35_stops *s, const json_t *v, const char *name,
                     struct q35_api_error *e)
{
    size_t len;
    if (!json_is_string(v))
        return q35_api_fail(e, 400, "invalid_type", name,
                            "'%s' must be a string or an array of strings", name);
    len = json_string_length(v);
    if (len == 0 || len > Q35_STOP_BYTES)
        return q35_api_fail(e, 400, "invalid_value", name,
                            "a stop string must have 1 to %d bytes, not %zu", Q35_STOP_BYTES, len);
    s->text[s->count] = strdup(json_string_value(v));
    if (!s->text[s->count])
        return q35_api_fail(e, 500, NULL, NULL, "out of memory");
    s->len[s->count++] = len;
    return true;
}

static bool parse_stop(const json_t *v, const char *name, void *out, struct q35_api_error *e)
{
    struct q35_stops *s = out;
    size_t i;
    if (!json_is_array(v))
        return add_stop(s, v, name, e);
    if (json_array_size(v) > Q35_STOP_MAX)
        return q35_api_fail(e, 400, "invalid_value", name, "'%s' has more than %d strings", name,
                            Q35_STOP_MAX);
    for (i = 0; i < json_array_size(v); i++)
        if (!add_stop(s, json_array_get(v, i), name, e))
            return false;
    return true;
}

static bool parse_stream_options(const json_t *v, const char *name, void *out,
                                 struct q35_api_error *e)
{
    const json_t *usage;
    if (!json_is_object(v))
        return q35_api_fail(e, 400, "invalid_type", name, "'%s' must be an object, not %s", name,
                            q35_json_kind(v));
    usage = json_object_get(v, "include_usage");
    if (!usage || json_is_null(usage))
        return true;
    if (!json_is_boolean(usage))
        return q35_api_fail(e, 400, "invalid_type", "stream_options.include_usage",
                            "'stream_options.include_usage' must be a boolean, not %s",
                            q35_json_kind(usage));
    *(bool *)out = json_is_true(usage);
    return true;
}

/* Plain text is what comes out; asking for it by name is fine. */
static bool parse_response_format(const json_t *v, const char *name, void *out,
                                  struct q35_api_error *e)
{
    const char *type;
    (void)out;
    if (!json_is_object(v))
        return q35_api_fail(e, 400, "invalid_type", name, "'%s' must be an object, not %s", name,
                            q35_json_kind(v));
    type = json_string_value(json_object_get(v, "type"));
    if (!type)
        return q35_api_fail(e, 400, "invalid_type", "response_format.type",
                            "'response_format.type' must be a string");
    if (strcmp(type, "text") != 0)
        return q35_api_fail(e, 400, "unsupported_parameter", name,
                            "'response_format' other than text is not supported by this server");
    return true;
}

/* Without tools there is nothing to choose. */
static bool parse_tool_choice(const json_t *v, const char *name, void *out, struct q35_api_error *e)
{
    const char *text = json_string_value(v);
    (void)out;
    if (text && (strcmp(text, "none") == 0 || strcmp(text, "auto") == 0))
        return true;
    return q35_api_fail(e, 400, "unsupported_parameter", name,
                        "'%s' other than none or auto is not supported by this server: it has no "
                        "tools",
                        name);
}

/* 0 .. 20 alternatives; the number alone asks for log probabilities. */
static bool parse_logprobs_count(const json_t *v, const char *name, void *out,
                                 struct q35_api_error *e)
{
    if (json_is_false(v))
        return true;
    if (!json_is_integer(v))
        return q35_api_fail(e, 400, "invalid_type", name, "'%s' must be an integer, not %s", name,
                            q35_json_kind(v));
    if (json_integer_value(v) < 0 || json_integer_value(v) > Q35_API_TOP_MAX)
        return q35_api_fail(e, 400, "invalid_value", name, "'%s' must be from 0 to %d, not %lld",
                            name, Q35_API_TOP_MAX, (long long)json_integer_value(v));
    *(int64_t *)out = json_integer_value(v);
    return true;
}

/* clang-format off */
#define SHARED_FIELDS \
    {"n",                  Q35_FIELD_INT,  AT(n), 1, Q35_API_CHOICES_MAX, NULL}, \
    {"max_tokens",         Q35_FIELD_INT,  AT(max_tokens), 1, INT_LIMIT, NULL}, \
    {"temperature",        Q35_FIELD_REAL, AT(temperature), 0, 2, NULL}, \
    {"top_p",              Q35_FIELD_REAL, AT(top_p), 0, 1, NULL}, \
    {"top_k",              Q35_FIELD_INT,  AT(top_k), -1, INT_LIMIT, NULL}, \
    {"min_p",              Q35_FIELD_REAL, AT(min_p), 0, 1, NULL}, \
    {"frequency_penalty",  Q35_FIELD_REAL, AT(frequency_penalty), -2, 2, NULL}, \
    {"presence_penalty",   Q35_FIELD_REAL, AT(presence_penalty), -2, 2, NULL}, \
    {"repetition_penalty", Q35_FIELD_REAL, AT(repeat_penalty), 0.01, 10, NULL}, \
    {"repeat_penalty",     Q35_FIELD_REAL, AT(repeat_penalty), 0.01, 10, NULL}, \
    {"seed",               Q35_FIELD_INT,  AT(seed), -0x1p63, 0x1p63, NULL}, \
    {"stream",             Q35_FIELD_BOOL, AT(stream), 0, 0, NULL}, \
    {"stream_options",     Q35_FIELD_CUSTOM, AT(include_usage), 0, 0, parse_stream_options}, \
    {"stop",               Q35_FIELD_CUSTOM, AT(stops), 0, 0, parse_stop}, \
    {"ignore_eos",         Q35_FIELD_BOOL, AT(ignore_eos), 0, 0, NULL}, \
    {"response_format",    Q35_FIELD_CUSTOM, 0, 0, 0, parse_response_format}, \
    {"logit_bias",         Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    /* what other servers take to restrict the text: ignored, it would come unrestricted */ \
    {"grammar",            Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    {"json_schema",        Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    {"structured_outputs", Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    {"guided_json",        Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    {"guided_regex",       Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    {"guided_choice",      Q35_FIELD_ABSENT, 0, 0, 0, NULL}, \
    {"guided_grammar",     Q35_FIELD_ABSENT, 0, 0, 0, NULL}

static const struct q35_field completion_fields[] = {
    SHARED_FIELDS,
    {"echo",                  Q35_FIELD_BOOL, AT(echo), 0, 0, NULL},
    {"logprobs",              Q35_FIELD_CUSTOM, AT(logprobs_n), 0, 0, parse_logprobs_count},
    {"best_of",               Q35_FIELD_INT,  AT(best_of), 1, Q35_API_CHOICES_MAX, NULL},
    {"suffix",                Q35_FIELD_ABSENT, 0, 0, 0, NULL},
};

static const struct q35_field chat_fields[] = {
    SHARED_FIELDS,
    {"max_completion_tokens", Q35_FIELD_INT,  AT(max_completion_tokens), 1, INT_LIMIT, NULL},
    {"logprobs",              Q35_FIELD_BOOL, AT(logprobs), 0, 0, NULL},
    {"top_logprobs",          Q35_FIELD_INT,  AT(top_logprobs), 0, Q35_API_TOP_MAX, NULL},
    {"tools",                 Q35_FIELD_ABSENT, 0, 0, 0, NULL},
    {"functions",             Q35_FIELD_ABSENT, 0, 0, 0, NULL},
    {"tool_choice",           Q35_FIELD_CUSTOM, 0, 0, 0, parse_tool_choice},
    {"function_call",         Q35_FIELD_CUSTOM, 0, 0, 0, parse_tool_choice},
    {"web_search_options",    Q35_FIELD_ABSENT, 0, 0, 0, NULL},
    {"audio",                 Q35_FIELD_ABSENT, 0, 0, 0, NULL},
};
/* clang-format on */

static void set_defaults(struct q35_api_params *p, bool chat)
{
    memset(p, 0, sizeof(*p));
    p->chat = chat;
    p->n = 1;
    p->temperature = 1;
    p->top_p = 1;
    p->repeat_penalty = 1;
    p->logprobs_n = -1;
    p->top_logprobs = -1;
    if (getrandom(&p->seed, sizeof(p->seed), 0) != (ssize_t)sizeof(p->seed))
        p->seed = (int64_t)q35_now_ns();
}

/* Rules that join several fields. */
static bool check_together(struct q35_api_params *p, struct q35_api_error *e)
{
    if (p->best_of && p->best_of != p->n)
        return q35_api_fail(e, 400, "unsupported_parameter", "best_of",
                            "'best_of' other than 'n' is not supported by this server");
    if (p->max_tokens && p->max_completion_tokens && p->max_tokens != p->max_completion_tokens)
        return q35_api_fail(e, 400, "invalid_value", "max_tokens",
                            "'max_tokens' and 'max_completion_tokens' differ; give one of them");
    if (p->max_completion_tokens)
        p->max_tokens = p->max_completion_tokens;
    if (!p->chat && p->logprobs_n >= 0) {
        p->logprobs = true;
        p->top_logprobs = p->logprobs_n;
    } else if (p->top_logprobs >= 0 && !p->logprobs) {
        return q35_api_fail(e, 400, "invalid_value", "top_logprobs",
                            "'top_logprobs' needs 'logprobs' to be true");
    }
    p->n_top = p->top_logprobs > 0 ? (uint32_t)p->top_logprobs : 0;
    if (p->echo && p->logprobs)
        return q35_api_fail(e, 400, "unsupported_parameter", "echo",
                            "'echo' together with 'logprobs' is not supported by this server");
    if (p->include_usage && !p->stream)
        return q35_api_fail(e, 400, "invalid_value", "stream_options",
                            "'stream_options' needs 'stream' to be true");
    return true;
}

static bool check_sampling(struct q35_api_params *p, struct q35_api_error *e)
{
    struct q35_sampling *s = &p->sampling;
    struct q35_error err = Q35_ERROR_INIT;
    q35_sampling_default(s);
    s->temperature = (float)p->temperature;
    s->top_k = p->top_k > 0 ? (uint32_t)p->top_k : 0;
    s->top_p = (float)p->top_p;
    if (p->top_p <= 0) { /* the smallest nucleus: the likeliest token */
        s->top_p = 1;
        s->top_k = 1;
    }
    s->min_p = (float)p->min_p;
    s->frequency_penalty = (float)p->frequency_penalty;
    s->presence_penalty = (float)p->presence_penalty;
    s->repeat_penalty = (float)p->repeat_penalty;
    s->seed = (uint64_t)p->seed;
    if (q35_sampling_check(s, &err) != Q35_OK)
        return q35_api_fail(e, 400, "invalid_value", NULL, "%s", err.message);
    return true;
}

static bool check_model(const json_t *root, const struct q35_api_limits *limits,
                        struct q35_api_error *e)
{
    const json_t *v = json_object_get(root, "model");
    if (!v || json_is_null(v))
        return true;
    if (!json_is_string(v))
        return q35_api_fail(e, 400, "invalid_type", "model", "'model' must be a string, not %s",
                            q35_json_kind(v));
    if (strcmp(json_string_value(v), limits->model->name) != 0)
        return q35_api_fail(e, 404, "model_not_found", "model",
                            "the model '%.200s' does not exist here; this server has '%s'",
                            json_string_value(v), limits->model->name);
    return true;
}

/* Prompt and output must fit the context; the prompt is never shortened. */
static bool check_context(struct q35_api_params *p, const struct q35_api_limits *limits,
                          struct q35_api_error *e)
{
    uint32_t context = limits->model->context;
    size_t i, longest = 0;
    for (i = 0; i < p->prompt_count; i++)
        if (p->prompts[i].count > longest)
            longest = p->prompts[i].count;
    if (longest >= context)
        return q35_api_fail(e, 400, "context_length_exceeded", p->chat ? "messages" : "prompt",
                            "the prompt has %zu tokens and leaves no room for output in this "
                            "model's context of %u tokens",
                            longest, context);
    if (!p->max_tokens)
        p->max_tokens = p->chat || context - longest < 16 ? (int64_t)(context - longest) : 16;
    if ((uint64_t)p->max_tokens > context - longest)
        return q35_api_fail(e, 400, "context_length_exceeded", "max_tokens",
                            "%zu tokens of prompt and %lld of output exceed this model's context "
                            "of %u tokens",
                            longest, (long long)p->max_tokens, context);
    p->budget = (uint32_t)p->max_tokens;
    return true;
}

static bool check_choices(const struct q35_api_params *p, const struct q35_api_limits *limits,
                          struct q35_api_error *e)
{
    uint64_t most =
        limits->max_queue < Q35_API_CHOICES_MAX ? limits->max_queue : Q35_API_CHOICES_MAX;
    if (p->prompt_count * (uint64_t)p->n > most)
        return q35_api_fail(e, 400, "invalid_value", p->n > 1 ? "n" : "prompt",
                            "%zu prompts times n = %lld are more than the %llu choices that this "
                            "server takes in one request",
                            p->prompt_count, (long long)p->n, (unsigned long long)most);
    return true;
}

/* Log probabilities are kept until the answer is whole: bounded, as everything is. */
static bool check_volume(const struct q35_api_params *p, struct q35_api_error *e)
{
    uint64_t n = (uint64_t)p->prompt_count * (uint64_t)p->n * p->budget * (1 + (uint64_t)p->n_top);
    if (!p->logprobs || n <= Q35_API_LOGPROBS_MAX)
        return true;
    return q35_api_fail(e, 400, "invalid_value", p->chat ? "top_logprobs" : "logprobs",
                        "choices times max_tokens times log probabilities of each are %llu, more "
                        "than the %u that this server takes in one request",
                        (unsigned long long)n, Q35_API_LOGPROBS_MAX);
}

static bool parse_root(struct q35_api_params *p, const json_t *root,
                       const struct q35_api_limits *limits, struct q35_api_error *e)
{
    const struct q35_field *table = p->chat ? chat_fields : completion_fields;
    size_t count = p->chat ? Q35_COUNT(chat_fields) : Q35_COUNT(completion_fields);
    return check_model(root, limits, e) && q35_fields_parse(root, table, count, p, e) &&
           check_together(p, e) && check_sampling(p, e) &&
           (p->chat ? q35_api_messages_parse(p, root, limits, e)
                    : q35_api_prompt_parse(p, root, limits, e)) &&
           check_choices(p, limits, e) && check_context(p, limits, e) && check_volume(p, e);
}

bool q35_api_params_parse(struct q35_api_params *p, bool chat, const char *body, size_t len,
                          const struct q35_api_limits *limits, struct q35_api_error *e)
{
    json_t *root;
    bool ok;
    set_defaults(p, chat);
    root = q35_json_load(body, len, e);
    if (!root)
        return false;
    ok = parse_root(p, root, limits, e);
    json_decref(root);
    return ok;
}

void q35_api_params_fini(struct q35_api_params *p)
{
    size_t i;
    q35_stops_fini(&p->stops);
    for (i = 0; i < p->prompt_count; i++) {
        free(p->prompts[i].ids);
        free(p->prompts[i].text);
    }
    free(p->prompts);
    p->prompts = NULL;
    p->prompt_count = 0;
}
