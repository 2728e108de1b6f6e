/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/serve/api_params.h"
#include "core/serve/fields.h"

/* The messages of /v1/chat/completions. */

#define MESSAGES_MAX 4096

/* Roles clients send, and what templates call them. */
static const struct {
    const char *role, *as;
} roles[] = {
    {"system", "system"},       {"developer", "system"}, {"user", "user"},
    {"assistant", "assistant"}, {"tool", "tool"},
};

static bool bad(struct q35_api_error *e, const char *code, size_t i, const char *field,
                const char *what)
{
    char param[64];
    snprintf(param, sizeof(param), "messages[%zu]%s", i, field);
    return q35_api_fail(e, 400, code, param, "'%s' %s", param, what);
}

static bool parse_role(const json_t *m, size_t i, struct q35_chat_message *out,
                       struct q35_api_error *e)
{
    const json_t *v = json_object_get(m, "role");
    size_t k;
    if (!v)
        return bad(e, "missing_required_parameter", i, ".role", "is missing");
    if (!json_is_string(v))
        return bad(e, "invalid_type", i, ".role", "must be a string");
    for (k = 0; k < Q35_COUNT(roles); k++)
        if (strcmp(json_string_value(v), roles[k].role) == 0) {
            out->role = roles[k].as;
            return true;
        }
    return bad(e, "invalid_value", i, ".role",
               "must be system, developer, user, assistant or tool");
}

/* Parts of type text, joined by line feeds. */
static bool join_parts(const json_t *parts, size_t i, struct q35_str *out, struct q35_api_error *e)
{
    size_t k;
    for (k = 0; k < json_array_size(parts); k++) {
        const json_t *part = json_array_get(parts, k), *text;
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!type)
            return bad(e, "invalid_type", i, ".content", "must hold objects with a string 'type'");
        if (strcmp(type, "text") != 0)
            return bad(e, "unsupported_parameter", i, ".content",
                       "holds a part other than text, which this server does not support");
        text = json_object_get(part, "text");
        if (!json_is_string(text))
            return bad(e, "invalid_type", i, ".content", "has a text part without a string 'text'");
        if (k)
            q35_str_add(out, "\n", 1);
        q35_str_add(out, json_string_value(text), json_string_length(text));
    }
    return out->failed ? q35_api_fail(e, 500, NULL, NULL, "out of memory") : true;
}

/* *joined: the memory of a content given in parts; the caller's either way. */
static bool parse_message(const json_t *m, size_t i, struct q35_chat_message *out,
                          struct q35_str *joined, struct q35_api_error *e)
{
    const json_t *v;
    if (!json_is_object(m))
        return bad(e, "invalid_type", i, "", "must be an object");
    if (!parse_role(m, i, out, e))
        return false;
    if (json_array_size(json_object_get(m, "tool_calls")) ||
        json_is_object(json_object_get(m, "function_call")))
        return bad(e, "unsupported_parameter", i, "",
                   "calls a tool, which this server does not support");
    v = json_object_get(m, "content");
    if (!v || json_is_null(v))
        return bad(e, "missing_required_parameter", i, ".content", "is missing");
    if (json_is_string(v)) {
        out->content = json_string_value(v);
        out->content_len = json_string_length(v);
        return true;
    }
    if (!json_is_array(v))
        return bad(e, "invalid_type", i, ".content", "must be a string or an array of text parts");
    if (!join_parts(v, i, joined, e))
        return false;
    out->content = joined->data ? joined->data : "";
    out->content_len = joined->len;
    return true;
}

static bool encode(struct q35_api_params *p, const struct q35_chat_message *messages, size_t count,
                   const struct q35_api_limits *limits, struct q35_api_error *e)
{
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st;
    p->prompts = calloc(1, sizeof(*p->prompts));
    if (!p->prompts)
        return q35_api_fail(e, 500, NULL, NULL, "out of memory");
    p->prompt_count = 1;
    st = q35_chat_encode(limits->model->chat, limits->model->tokenizer, messages, count, true,
                         &p->prompts[0].ids, &p->prompts[0].count, &err);
    if (st != Q35_OK)
        return q35_api_fail(e, st == Q35_E_INVALID ? 400 : 500, NULL, "messages", "%s",
                            err.message);
    if (p->prompts[0].count == 0)
        return q35_api_fail(e, 400, "invalid_value", "messages", "the messages make no tokens");
    return true;
}

bool q35_api_messages_parse(struct q35_api_params *p, const json_t *root,
                            const struct q35_api_limits *limits, struct q35_api_error *e)
{
    const json_t *v = json_object_get(root, "messages");
    struct q35_chat_message *messages;
    struct q35_str *joined;
    size_t i, count = json_array_size(v);
    bool ok;
    if (!v || json_is_null(v))
        return q35_api_fail(e, 400, "missing_required_parameter", "messages",
                            "'messages' is missing");
    if (!json_is_array(v))
        return q35_api_fail(e, 400, "invalid_type", "messages",
                            "'messages' must be an array, not %s", q35_json_kind(v));
    if (count == 0 || count > MESSAGES_MAX)
        return q35_api_fail(e, 400, "invalid_value", "messages",
                            "'messages' must have 1 to %d entries, not %zu", MESSAGES_MAX, count);
    if (!limits->model->chat)
        return q35_api_fail(e, 400, "unsupported_model", "model",
                            "this model has no chat template; use /v1/completions");
    messages = calloc(count, sizeof(*messages));
    joined = calloc(count, sizeof(*joined));
    ok = messages && joined ? true : q35_api_fail(e, 500, NULL, NULL, "out of memory");
    for (i = 0; ok && i < count; i++)
        ok = parse_message(json_array_get(v, i), i, &messages[i], &joined[i], e);
    if (ok)
        ok = encode(p, messages, count, limits, e);
    for (i = 0; joined && i < count; i++)
        q35_str_fini(&joined[i]);
    free(joined);
    free(messages);
    return ok;
}
