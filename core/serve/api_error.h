/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_API_ERROR_H
#define Q35_SERVE_API_ERROR_H

/* The error object of the API: {"error": {message, type, param, code}}. */

#include "core/base/base.h"

struct q35_api_error {
    int status;       /* HTTP; 0: none */
    const char *code; /* static; NULL: null */
    char param[64];   /* "": null */
    char message[600];
    uint32_t retry_after; /* seconds; 0: no header */
};

/* Fills *e; always returns false, so that a check can be `return q35_api_fail(...)`. */
bool q35_api_fail(struct q35_api_error *e, int status, const char *code, const char *param,
                  const char *format, ...) Q35_PRINTF(5, 6);
void q35_api_error_json(const struct q35_api_error *e, struct q35_str *out);
const char *q35_http_reason(int status);

#endif
