/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_FIELDS_H
#define Q35_SERVE_FIELDS_H

/* Request fields as a table: name, type, range, where the value goes. */

#include <jansson.h>

#include "core/serve/api_error.h"

enum q35_field_type {
    Q35_FIELD_BOOL,   /* bool */
    Q35_FIELD_INT,    /* int64_t, min .. max */
    Q35_FIELD_REAL,   /* double, min .. max; integers are fine */
    Q35_FIELD_CUSTOM, /* parse() does it all */
    Q35_FIELD_ABSENT  /* known, but not offered: anything but null, false, "", [] and {} is refused
                       */
};

struct q35_field {
    const char *name;
    enum q35_field_type type;
    size_t offset; /* in the struct filled */
    double min, max;
    bool (*parse)(const json_t *v, const char *name, void *out, struct q35_api_error *e);
};

/* Fills *out from the object's fields; null means not given. Fields that the table lacks are
 * ignored, as the clients of this API expect. False with *e (400, param) on the first bad one. */
bool q35_fields_parse(const json_t *object, const struct q35_field *table, size_t count, void *out,
                      struct q35_api_error *e);

/* "a string", "an array" ... for messages. */
const char *q35_json_kind(const json_t *v);

#endif
