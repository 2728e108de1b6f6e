/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/fields.h"

#include <math.h>
#include <string.h>

const char *q35_json_kind(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

static bool wrong_type(const char *name, const char *wanted, const json_t *v,
                       struct q35_api_error *e)
{
    return q35_api_fail(e, 400, "invalid_type", name, "'%s' must be %s, not %s", name, wanted,
                        q35_json_kind(v));
}

static bool parse_int(const struct q35_field *f, const json_t *v, int64_t *out,
                      struct q35_api_error *e)
{
    json_int_t n;
    if (!json_is_integer(v))
        return wrong_type(f->name, "an integer", v, e);
    n = json_integer_value(v);
    if ((double)n < f->min || (double)n > f->max)
        return q35_api_fail(e, 400, "invalid_value", f->name,
                            "'%s' must be from %.0f to %.0f, not %lld", f->name, f->min, f->max,
                            (long long)n);
    *out = n;
    return true;
}

static bool parse_real(const struct q35_field *f, const json_t *v, double *out,
                       struct q35_api_error *e)
{
    double n;
    if (!json_is_number(v))
        return wrong_type(f->name, "a number", v, e);
    n = json_number_value(v);
    if (!isfinite(n) || n < f->min || n > f->max)
        return q35_api_fail(e, 400, "invalid_value", f->name, "'%s' must be from %g to %g, not %g",
                            f->name, f->min, f->max, n);
    *out = n;
    return true;
}

static bool is_nothing(const json_t *v)
{
    return json_is_false(v) || (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_object(v) && json_object_size(v) == 0);
}

static bool parse_field(const struct q35_field *f, const json_t *v, void *out,
                        struct q35_api_error *e)
{
    char *at = (char *)out + f->offset;
    switch (f->type) {
    case Q35_FIELD_BOOL:
        if (!json_is_boolean(v))
            return wrong_type(f->name, "a boolean", v, e);
        *(bool *)(void *)at = json_is_true(v);
        return true;
    case Q35_FIELD_INT:
        return parse_int(f, v, (int64_t *)(void *)at, e);
    case Q35_FIELD_REAL:
        return parse_real(f, v, (double *)(void *)at, e);
    case Q35_FIELD_CUSTOM:
        return f->parse(v, f->name, at, e);
    case Q35_FIELD_ABSENT:
        if (!is_nothing(v))
            return q35_api_fail(e, 400, "unsupported_parameter", f->name,
                                "'%s' is not supported by this server", f->name);
        return true;
    }
    return true;
}

bool q35_fields_parse(const json_t *object, const struct q35_field *table, size_t count, void *out,
                      struct q35_api_error *e)
{
    size_t i;
    for (i = 0; i < count; i++) {
        const json_t *v = json_object_get(object, table[i].name);
        if (v && !json_is_null(v) && !parse_field(&table[i], v, out, e))
            return false;
    }
    return true;
}
