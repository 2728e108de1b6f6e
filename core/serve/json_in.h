/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_JSON_IN_H
#define Q35_SERVE_JSON_IN_H

#include <jansson.h>

#include "core/serve/api_error.h"

#define Q35_JSON_DEPTH 32 /* arrays and objects within each other */

/* Parses the body of a request: an object, without duplicate keys, of bounded depth. NULL with *e
 * filled on failure. [any] */
json_t *q35_json_load(const char *text, size_t len, struct q35_api_error *e);

#endif
