/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/api_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/serve/json_out.h"

static const struct {
    int status;
    const char *reason;
    const char *type;
} statuses[] = {
    {200, "OK", ""},
    {204, "No Content", ""},
    {400, "Bad Request", "invalid_request_error"},
    {401, "Unauthorized", "authentication_error"},
    {403, "Forbidden", "permission_error"},
    {404, "Not Found", "invalid_request_error"},
    {405, "Method Not Allowed", "invalid_request_error"},
    {408, "Request Timeout", "invalid_request_error"},
    {413, "Content Too Large", "invalid_request_error"},
    {414, "URI Too Long", "invalid_request_error"},
    {415, "Unsupported Media Type", "invalid_request_error"},
    {417, "Expectation Failed", "invalid_request_error"},
    {429, "Too Many Requests", "rate_limit_error"},
    {431, "Request Header Fields Too Large", "invalid_request_error"},
    {500, "Internal Server Error", "server_error"},
    {501, "Not Implemented", "invalid_request_error"},
    {503, "Service Unavailable", "server_error"},
    {505, "HTTP Version Not Supported", "invalid_request_error"},
};

const char *q35_http_reason(int status)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].reason;
    return "Unknown";
}

static const char *error_type(int status)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(statuses); i++)
        if (statuses[i].status == status)
            return statuses[i].type;
    return "server_error";
}

bool q35_api_fail(struct q35_api_error *e, int status, const char *code, const char *param,
                  const char *format, ...)
{
    va_list ap;
    memset(e, 0, sizeof(*e));
    e->status = status;
    e->code = code;
    if (param)
        snprintf(e->param, sizeof(e->param), "%s", param);
    va_start(ap, format);
    vsnprintf(e->message, sizeof(e->message), format, ap);
    va_end(ap);
    return false;
}

void q35_api_error_json(const struct q35_api_error *e, struct q35_str *out)
{
    q35_str_addz(out, "{\"error\":{\"message\":");
    q35_json_addz(out, e->message);
    q35_str_addf(out, ",\"type\":\"%s\",\"param\":", error_type(e->status));
    if (e->param[0])
        q35_json_addz(out, e->param);
    else
        q35_str_addz(out, "null");
    if (e->code)
        q35_str_addf(out, ",\"code\":\"%s\"}}", e->code);
    else
        q35_str_addz(out, ",\"code\":null}}");
}
