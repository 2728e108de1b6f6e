/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/serve/api_params.h"
#include "core/serve/fields.h"

/* The prompts of /v1/completions: a string, strings, token ids, or arrays of token ids. */

static bool no_memory(struct q35_api_error *e)
{
    return q35_api_fail(e, 500, NULL, NULL, "out of memory");
}

static bool keep_text(struct q35_api_prompt *out, const char *text, size_t len,
                      struct q35_api_error *e)
{
    out->text = malloc(len + 1);
    if (!out->text)
        return no_memory(e);
    memcpy(out->text, text, len);
    out->text[len] = '\0';
    out->text_len = len;
    return true;
}

static bool from_text(struct q35_api_params *p, const json_t *v, struct q35_api_prompt *out,
                      const struct q35_api_limits *limits, struct q35_api_error *e)
{
    struct q35_error err = Q35_ERROR_INIT;
    const char *text = json_string_value(v);
    size_t len = json_string_length(v);
    if (q35_tokenizer_encode(limits->model->tokenizer, text, len, Q35_ENCODE_BOS, &out->ids,
                             &out->count, &err) != Q35_OK)
        return q35_api_fail(e, err.status == Q35_E_NOMEM ? 500 : 400, NULL, "prompt", "%s",
                            err.message);
    if (out->count == 0)
        return q35_api_fail(e, 400, "invalid_value", "prompt", "the prompt is empty");
    return !p->echo || keep_text(out, text, len, e);
}

static bool echo_ids(struct q35_api_prompt *out, const struct q35_tokenizer *t,
                     struct q35_api_error *e)
{
    struct q35_detok d = {0};
    struct q35_str s = {0};
    size_t i;
    bool ok;
    for (i = 0; i < out->count; i++)
        q35_detok_push(&d, t, out->ids[i], &s);
    q35_detok_finish(&d, &s);
    ok = !s.failed ? keep_text(out, s.data ? s.data : "", s.len, e) : no_memory(e);
    q35_str_fini(&s);
    return ok;
}

static bool from_ids(struct q35_api_params *p, const json_t *v, struct q35_api_prompt *out,
                     const struct q35_api_limits *limits, struct q35_api_error *e)
{
    const struct q35_tokenizer *t = limits->model->tokenizer;
    size_t i, count = json_array_size(v);
    if (count == 0)
        return q35_api_fail(e, 400, "invalid_value", "prompt", "the prompt is empty");
    out->ids = malloc(count * sizeof(*out->ids));
    if (!out->ids)
        return no_memory(e);
    out->count = count;
    for (i = 0; i < count; i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id))
            return q35_api_fail(e, 400, "invalid_type", "prompt",
                                "token %zu of the prompt must be an integer, not %s", i,
                                q35_json_kind(id));
        if (json_integer_value(id) < 0 || json_integer_value(id) >= q35_tokenizer_vocab(t))
            return q35_api_fail(e, 400, "invalid_value", "prompt",
                                "token %zu of the prompt must be from 0 to %u, not %lld", i,
                                q35_tokenizer_vocab(t) - 1, (long long)json_integer_value(id));
        out->ids[i] = (int32_t)json_integer_value(id);
    }
    return !p->echo || echo_ids(out, t, e);
}

static bool from_any(struct q35_api_params *p, const json_t *v, struct q35_api_prompt *out,
                     const struct q35_api_limits *limits, struct q35_api_error *e)
{
    if (json_is_string(v))
        return from_text(p, v, out, limits, e);
    if (json_is_array(v))
        return from_ids(p, v, out, limits, e);
    return q35_api_fail(e, 400, "invalid_type", "prompt",
                        "'prompt' must be a string, an array of strings, an array of token ids or "
                        "an array of such arrays, not hold %s",
                        q35_json_kind(v));
}

bool q35_api_prompt_parse(struct q35_api_params *p, const json_t *root,
                          const struct q35_api_limits *limits, struct q35_api_error *e)
{
    const json_t *v = json_object_get(root, "prompt"), *first;
    size_t i, count;
    bool many;
    if (!v || json_is_null(v))
        return q35_api_fail(e, 400, "missing_required_parameter", "prompt", "'prompt' is missing");
    first = json_array_get(v, 0);
    if (json_is_array(v) && !first)
        return q35_api_fail(e, 400, "invalid_value", "prompt", "the prompt is empty");
    many = json_is_string(first) || json_is_array(first);
    count = many ? json_array_size(v) : 1;
    if (count > Q35_API_CHOICES_MAX)
        return q35_api_fail(e, 400, "invalid_value", "prompt",
                            "'prompt' holds %zu prompts, more than %d", count, Q35_API_CHOICES_MAX);
    p->prompts = calloc(count, sizeof(*p->prompts));
    if (!p->prompts)
        return no_memory(e);
    p->prompt_count = count;
    for (i = 0; i < count; i++)
        if (!from_any(p, many ? json_array_get(v, i) : v, &p->prompts[i], limits, e))
            return false;
    return true;
}
