/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/model/gguf_internal.h"

/* A number of a file in the widest form of its kind. */
struct number {
    enum { NUMBER_UNSIGNED, NUMBER_SIGNED, NUMBER_REAL, NUMBER_NONE } kind;
    uint64_t u; /* UNSIGNED */
    int64_t i;  /* SIGNED: negative */
    double f;   /* REAL */
};

static struct number number_signed(int64_t v)
{
    struct number n = {v < 0 ? NUMBER_SIGNED : NUMBER_UNSIGNED, (uint64_t)v, v, 0};
    return n;
}

/* Bits beyond the type's size are zero. */
static struct number number_decode(uint32_t type, uint64_t bits)
{
    struct number n = {NUMBER_UNSIGNED, bits, 0, 0};
    uint32_t low = (uint32_t)bits;
    float f;
    switch (type) {
    case Q35_GGUF_I8:
        return number_signed((int8_t)(uint8_t)bits);
    case Q35_GGUF_I16:
        return number_signed((int16_t)(uint16_t)bits);
    case Q35_GGUF_I32:
        return number_signed((int32_t)low);
    case Q35_GGUF_I64:
        return number_signed((int64_t)bits);
    case Q35_GGUF_F32:
        memcpy(&f, &low, 4);
        n.kind = NUMBER_REAL;
        n.f = (double)f;
        return n;
    case Q35_GGUF_F64:
        memcpy(&n.f, &bits, 8);
        n.kind = NUMBER_REAL;
        return n;
    case Q35_GGUF_STRING:
    case Q35_GGUF_ARRAY:
        n.kind = NUMBER_NONE;
        return n;
    default:
        return n;
    }
}

static struct number number_at(const struct gguf_key *k, uint64_t i)
{
    uint32_t size = q35_gguf_scalar_bytes(k->item), b;
    const uint8_t *p = k->data + i * size;
    uint64_t bits = 0;
    for (b = 0; b < size; b++)
        bits |= (uint64_t)p[b] << (8 * b);
    return number_decode(k->item, bits);
}

static double number_real(struct number n)
{
    return n.kind == NUMBER_REAL ? n.f : n.kind == NUMBER_SIGNED ? (double)n.i : (double)n.u;
}

static enum q35_status wrong(const struct q35_gguf *g, const char *key, const char *what,
                             struct q35_error *err)
{
    return q35_fail(err, Q35_E_FORMAT, "%s: the metadata key %s is not %s", g->name, key, what);
}

/* The key of a scalar (array false) or an array; anything missing or of the wrong kind fails. */
static enum q35_status find(const struct q35_gguf *g, const char *key, bool array,
                            const struct gguf_key **out, struct q35_error *err)
{
    const struct gguf_key *k = q35_gguf_key_find(g, key);
    if (!k)
        return q35_fail(err, Q35_E_NOT_FOUND, "%s: the metadata key %s is missing", g->name, key);
    if ((k->type == Q35_GGUF_ARRAY) != array)
        return wrong(g, key, array ? "an array" : "a single value", err);
    *out = k;
    return Q35_OK;
}

/* The value of a scalar; NUMBER_NONE if it is no number. */
static enum q35_status find_number(const struct q35_gguf *g, const char *key, struct number *out,
                                   struct q35_error *err)
{
    const struct gguf_key *k = NULL;
    enum q35_status st = find(g, key, false, &k, err);
    if (st == Q35_OK)
        *out = k->type == Q35_GGUF_BOOL ? (struct number){.kind = NUMBER_NONE} : number_at(k, 0);
    return st;
}

/* ---- scalars ------------------------------------------------------------------------------ */

enum q35_status q35_gguf_u32(const struct q35_gguf *g, const char *key, uint32_t *out,
                             struct q35_error *err)
{
    struct number n;
    enum q35_status st = find_number(g, key, &n, err);
    if (st != Q35_OK)
        return st;
    if (n.kind != NUMBER_UNSIGNED || n.u > UINT32_MAX)
        return wrong(g, key, "an unsigned 32-bit number", err);
    *out = (uint32_t)n.u;
    return Q35_OK;
}

enum q35_status q35_gguf_f32(const struct q35_gguf *g, const char *key, float *out,
                             struct q35_error *err)
{
    struct number n;
    enum q35_status st = find_number(g, key, &n, err);
    if (st != Q35_OK)
        return st;
    if (n.kind == NUMBER_NONE)
        return wrong(g, key, "a number", err);
    *out = (float)number_real(n);
    return Q35_OK;
}

enum q35_status q35_gguf_bool(const struct q35_gguf *g, const char *key, bool *out,
                              struct q35_error *err)
{
    const struct gguf_key *k = NULL;
    enum q35_status st = find(g, key, false, &k, err);
    if (st != Q35_OK)
        return st;
    if (k->type != Q35_GGUF_BOOL || k->data[0] > 1)
        return wrong(g, key, "true or false", err);
    *out = k->data[0] == 1;
    return Q35_OK;
}

enum q35_status q35_gguf_string(const struct q35_gguf *g, const char *key, struct q35_view *out,
                                struct q35_error *err)
{
    const struct gguf_key *k = NULL;
    enum q35_status st = find(g, key, false, &k, err);
    if (st != Q35_OK)
        return st;
    if (k->type != Q35_GGUF_STRING)
        return wrong(g, key, "a string", err);
    *out = k->strings[0];
    return Q35_OK;
}

/* ---- arrays ------------------------------------------------------------------------------- */

enum q35_status q35_gguf_strings(const struct q35_gguf *g, const char *key,
                                 const struct q35_view **out, uint64_t *count,
                                 struct q35_error *err)
{
    const struct gguf_key *k = NULL;
    enum q35_status st;
    *out = NULL;
    *count = 0;
    st = find(g, key, true, &k, err);
    if (st != Q35_OK)
        return st;
    if (k->item != Q35_GGUF_STRING)
        return wrong(g, key, "an array of strings", err);
    *out = k->strings;
    *count = k->count;
    return Q35_OK;
}

enum target { TO_F32, TO_I32, TO_U64 };

static const struct {
    uint32_t bytes;
    const char *what;
} targets[] = {
    {sizeof(float), "an array of numbers"},
    {sizeof(int32_t), "an array of 32-bit integers"},
    {sizeof(uint64_t), "an array of unsigned integers"},
};

/* Stores n as item i of the array `to`; false if it does not fit. */
static bool number_store(struct number n, enum target t, void *to, uint64_t i)
{
    switch (t) {
    case TO_F32:
        ((float *)to)[i] = (float)number_real(n);
        return true;
    case TO_I32:
        if (n.kind == NUMBER_REAL || (n.kind == NUMBER_UNSIGNED && n.u > INT32_MAX) ||
            (n.kind == NUMBER_SIGNED && n.i < INT32_MIN))
            return false;
        ((int32_t *)to)[i] = n.kind == NUMBER_SIGNED ? (int32_t)n.i : (int32_t)n.u;
        return true;
    default:
        if (n.kind != NUMBER_UNSIGNED)
            return false;
        ((uint64_t *)to)[i] = n.u;
        return true;
    }
}

static enum q35_status numbers(const struct q35_gguf *g, const char *key, enum target t, void **out,
                               uint64_t *count, struct q35_error *err)
{
    const struct gguf_key *k = NULL;
    enum q35_status st;
    uint64_t i;
    void *p;
    *out = NULL;
    *count = 0;
    st = find(g, key, true, &k, err);
    if (st != Q35_OK)
        return st;
    if (!q35_gguf_scalar_bytes(k->item))
        return wrong(g, key, targets[t].what, err);
    /* count is at most the bytes of the file, so this does not overflow */
    p = malloc((size_t)(k->count ? k->count : 1) * targets[t].bytes);
    if (!p)
        return q35_fail(err, Q35_E_NOMEM, "%s: no memory for %s", g->name, key);
    for (i = 0; i < k->count; i++)
        if (!number_store(number_at(k, i), t, p, i)) {
            free(p);
            return wrong(g, key, targets[t].what, err);
        }
    *out = p;
    *count = k->count;
    return Q35_OK;
}

enum q35_status q35_gguf_f32s(const struct q35_gguf *g, const char *key, float **out,
                              uint64_t *count, struct q35_error *err)
{
    void *p;
    enum q35_status st = numbers(g, key, TO_F32, &p, count, err);
    *out = p;
    return st;
}

enum q35_status q35_gguf_i32s(const struct q35_gguf *g, const char *key, int32_t **out,
                              uint64_t *count, struct q35_error *err)
{
    void *p;
    enum q35_status st = numbers(g, key, TO_I32, &p, count, err);
    *out = p;
    return st;
}

enum q35_status q35_gguf_u64s(const struct q35_gguf *g, const char *key, uint64_t **out,
                              uint64_t *count, struct q35_error *err)
{
    void *p;
    enum q35_status st = numbers(g, key, TO_U64, &p, count, err);
    *out = p;
    return st;
}

/* ---- listing ------------------------------------------------------------------------------ */

uint64_t q35_gguf_tensor_count(const struct q35_gguf *g)
{
    return g->tensor_count;
}

const struct q35_gguf_tensor *q35_gguf_tensor_at(const struct q35_gguf *g, uint64_t i)
{
    return i < g->tensor_count ? &g->tensors[i] : NULL;
}

uint64_t q35_gguf_key_count(const struct q35_gguf *g)
{
    return g->key_count;
}

struct q35_view q35_gguf_key_at(const struct q35_gguf *g, uint64_t i, uint32_t *type)
{
    *type = g->keys[i].type;
    return g->keys[i].name;
}

bool q35_gguf_has(const struct q35_gguf *g, const char *key)
{
    return q35_gguf_key_find(g, key) != NULL;
}
