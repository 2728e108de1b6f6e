/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

/* Limits on what a file may claim, beyond "it must fit in the file". */
#define MAX_KEYS (1u << 20)
#define MAX_TENSORS (1u << 20)
#define MAX_KEY_NAME 65535u
#define MAX_TENSOR_NAME 255u
#define MAX_ARRAY_DEPTH 4u
/* The fewest bytes a key, a tensor and an array item can take in a file: what bounds allocation. */
#define MIN_KEY_BYTES 14u
#define MIN_TENSOR_BYTES 33u

struct cursor {
    const struct q35_gguf *g;
    uint64_t at;
    struct q35_error *err;
};

static const struct {
    uint32_t type;
    uint16_t block, bytes; /* values in a block, bytes of a block */
    const char *name;
} tensor_types[] = {
    {Q35_GGML_F32, 1, 4, "F32"},
    {Q35_GGML_F16, 1, 2, "F16"},
    {Q35_GGML_Q4_0, 32, 18, "Q4_0"},
    {Q35_GGML_Q4_1, 32, 20, "Q4_1"},
    {Q35_GGML_Q5_0, 32, 22, "Q5_0"},
    {Q35_GGML_Q5_1, 32, 24, "Q5_1"},
    {Q35_GGML_Q8_0, 32, 34, "Q8_0"},
    {9, 32, 36, "Q8_1"},
    {10, 256, 84, "Q2_K"},
    {11, 256, 110, "Q3_K"},
    {Q35_GGML_Q4_K, 256, 144, "Q4_K"},
    {Q35_GGML_Q5_K, 256, 176, "Q5_K"},
    {Q35_GGML_Q6_K, 256, 210, "Q6_K"},
    {15, 256, 292, "Q8_K"},
    {16, 256, 66, "IQ2_XXS"},
    {17, 256, 74, "IQ2_XS"},
    {18, 256, 98, "IQ3_XXS"},
    {19, 256, 50, "IQ1_S"},
    {20, 32, 18, "IQ4_NL"},
    {21, 256, 110, "IQ3_S"},
    {22, 256, 82, "IQ2_S"},
    {23, 256, 136, "IQ4_XS"},
    {Q35_GGML_I8, 1, 1, "I8"},
    {25, 1, 2, "I16"},
    {26, 1, 4, "I32"},
    {27, 1, 8, "I64"},
    {28, 1, 8, "F64"},
    {29, 256, 56, "IQ1_M"},
    {Q35_GGML_BF16, 1, 2, "BF16"},
    {34, 256, 54, "TQ1_0"},
    {35, 256, 66, "TQ2_0"},
    {39, 32, 17, "MXFP4"},
};

const char *q35_gguf_tensor_type_name(uint32_t type)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(tensor_types); i++)
        if (tensor_types[i].type == type)
            return tensor_types[i].name;
    return "unknown";
}

uint32_t q35_gguf_scalar_bytes(uint32_t type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof(bytes) ? bytes[type] : 0;
}

/* ---- reading ------------------------------------------------------------------------------ */

/*@ predicate inside{L}(struct cursor *c) =
      \valid(c) && \valid_read(c->g) && c->at <= c->g->bytes &&
      \valid_read(c->g->data + (0 .. c->g->bytes - 1)) &&
      \separated(c, c->g, c->err); */

/* Whether `n` more bytes are there; fails naming `what` if not. */
/*@ requires inside(c);
    assigns *c->err;
    ensures inside(c);
    ensures n <= c->g->bytes - c->at ==> \result == Q35_OK;
    ensures n > c->g->bytes - c->at ==> \result == Q35_E_FORMAT; */
static enum q35_status need(struct cursor *c, uint64_t n, const char *what)
{
    if (n <= c->g->bytes - c->at)
        return Q35_OK;
    return q35_fail(c->err, Q35_E_FORMAT,
                    "%s: the file ends inside %s (%llu bytes needed at byte %llu of %llu)",
                    c->g->name, what, (unsigned long long)n, (unsigned long long)c->at,
                    (unsigned long long)c->g->bytes);
}

/*@ requires bytes <= 8 && \valid_read(p + (0 .. bytes - 1));
    assigns \nothing; */
static uint64_t load_le(const uint8_t *p, uint32_t bytes)
{
    uint64_t v = 0;
    uint32_t i;
    /*@ loop invariant 0 <= i <= bytes;
        loop assigns i, v;
        loop variant bytes - i; */
    for (i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/*@ requires inside(c) && \valid(out) && \separated(out, c, c->g, c->err);
    assigns *out, c->at, *c->err;
    ensures inside(c);
    ensures c->at == \old(c->at) + (\result == Q35_OK ? 4 : 0); */
static enum q35_status get_u32(struct cursor *c, uint32_t *out, const char *what)
{
    enum q35_status st = need(c, 4, what);
    if (st == Q35_OK) {
        *out = (uint32_t)load_le(c->g->data + c->at, 4);
        c->at += 4;
    }
    return st;
}

/*@ requires inside(c) && \valid(out) && \separated(out, c, c->g, c->err);
    assigns *out, c->at, *c->err;
    ensures inside(c);
    ensures c->at == \old(c->at) + (\result == Q35_OK ? 8 : 0); */
static enum q35_status get_u64(struct cursor *c, uint64_t *out, const char *what)
{
    enum q35_status st = need(c, 8, what);
    if (st == Q35_OK) {
        *out = load_le(c->g->data + c->at, 8);
        c->at += 8;
    }
    return st;
}

/*@ requires inside(c) && \valid(out) && \separated(out, c, c->g, c->err);
    assigns *out, c->at, *c->err;
    ensures inside(c);
    ensures \result == Q35_OK ==> out->len + 8 == c->at - \old(c->at); */
static enum q35_status get_string(struct cursor *c, struct q35_view *out, const char *what)
{
    uint64_t len;
    enum q35_status st = get_u64(c, &len, what);
    if (st == Q35_OK)
        st = need(c, len, what);
    if (st != Q35_OK)
        return st;
    out->data = (const char *)c->g->data + c->at;
    out->len = (size_t)len;
    c->at += len;
    return Q35_OK;
}

/* A name: bounded, not empty, without zero bytes. */
static enum q35_status get_name(struct cursor *c, struct q35_view *out, uint32_t limit,
                                const char *what)
{
    uint64_t at = c->at;
    enum q35_status st = get_string(c, out, what);
    if (st != Q35_OK)
        return st;
    if (out->len == 0 || out->len > limit || memchr(out->data, 0, out->len))
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: %s at byte %llu is empty, longer than %u bytes or has a zero byte",
                        c->g->name, what, (unsigned long long)at, limit);
    return Q35_OK;
}

/* ---- metadata ----------------------------------------------------------------------------- */

/* Steps over a value inside a nested array, which nothing asks for but a file may hold. */
static enum q35_status skip_items(struct cursor *c, uint32_t item, uint64_t count, uint32_t depth)
{
    uint32_t size = q35_gguf_scalar_bytes(item);
    enum q35_status st = Q35_OK;
    uint64_t i, bytes;
    if (size) {
        if (!q35_mul_size(size, count, &bytes))
            bytes = UINT64_MAX;
        st = need(c, bytes, "an array");
        if (st == Q35_OK)
            c->at += bytes;
        return st;
    }
    if (item != Q35_GGUF_STRING && item != Q35_GGUF_ARRAY)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: an array of unknown type %u at byte %llu",
                        c->g->name, item, (unsigned long long)c->at);
    if (item == Q35_GGUF_ARRAY && depth >= MAX_ARRAY_DEPTH)
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: arrays are nested more than %u deep at byte %llu", c->g->name,
                        MAX_ARRAY_DEPTH, (unsigned long long)c->at);
    for (i = 0; i < count && st == Q35_OK; i++) {
        struct q35_view s;
        uint32_t inner;
        uint64_t n;
        if (item == Q35_GGUF_STRING) {
            st = get_string(c, &s, "a string of an array");
            continue;
        }
        st = get_u32(c, &inner, "an array");
        if (st == Q35_OK)
            st = get_u64(c, &n, "an array");
        if (st == Q35_OK)
            st = skip_items(c, inner, n, depth + 1);
    }
    return st;
}

/* Strings are indexed here, once. Each takes 8 bytes of the file at least and 16 of memory. */
static enum q35_status read_strings(struct cursor *c, struct gguf_key *k, const char *what)
{
    uint64_t i;
    enum q35_status st;
    if (k->count > (c->g->bytes - c->at) / 8)
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: %.*s claims %llu strings, more than fit the file", c->g->name,
                        (int)k->name.len, k->name.data, (unsigned long long)k->count);
    k->strings = malloc((size_t)(k->count ? k->count : 1) * sizeof(*k->strings));
    if (!k->strings)
        return q35_fail(c->err, Q35_E_NOMEM, "%s: no memory for %llu strings", c->g->name,
                        (unsigned long long)k->count);
    for (i = 0; i < k->count; i++) {
        st = get_string(c, &k->strings[i], what);
        if (st != Q35_OK)
            return st;
    }
    return Q35_OK;
}

static enum q35_status read_value(struct cursor *c, struct gguf_key *k)
{
    uint32_t size = q35_gguf_scalar_bytes(k->type);
    enum q35_status st;
    k->count = 1;
    k->item = k->type;
    k->data = c->g->data + c->at;
    if (size) {
        st = need(c, size, "a metadata value");
        if (st == Q35_OK)
            c->at += size;
        return st;
    }
    if (k->type == Q35_GGUF_STRING)
        return read_strings(c, k, "a metadata string");
    if (k->type != Q35_GGUF_ARRAY)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: %.*s has the unknown metadata type %u",
                        c->g->name, (int)k->name.len, k->name.data, k->type);
    st = get_u32(c, &k->item, "an array");
    if (st == Q35_OK)
        st = get_u64(c, &k->count, "an array");
    if (st != Q35_OK)
        return st;
    k->data = c->g->data + c->at;
    if (k->item == Q35_GGUF_STRING)
        return read_strings(c, k, "a string of an array");
    return skip_items(c, k->item, k->count, 1);
}

static enum q35_status read_keys(struct cursor *c, struct q35_gguf *g)
{
    uint64_t n = g->key_count, i;
    enum q35_status st = Q35_OK;
    g->key_count = 0;
    if (n > MAX_KEYS || n > (g->bytes - c->at) / MIN_KEY_BYTES + 1)
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: claims %llu metadata keys, more than fit the file", g->name,
                        (unsigned long long)n);
    g->keys = calloc((size_t)(n ? n : 1), sizeof(*g->keys));
    if (!g->keys || !q35_gguf_index_init(&g->key_index, n, g))
        return q35_fail(c->err, Q35_E_NOMEM, "%s: no memory for %llu metadata keys", g->name,
                        (unsigned long long)n);
    for (i = 0; i < n && st == Q35_OK; i++) {
        struct gguf_key *k = &g->keys[i];
        uint32_t *slot;
        st = get_name(c, &k->name, MAX_KEY_NAME, "a metadata key");
        if (st == Q35_OK)
            st = get_u32(c, &k->type, "a metadata type");
        if (st != Q35_OK)
            break;
        slot = q35_gguf_index_slot(g, &g->key_index, q35_gguf_key_name, k->name.data, k->name.len);
        if (*slot)
            return q35_fail(c->err, Q35_E_FORMAT, "%s: the metadata key %.*s occurs twice", g->name,
                            (int)k->name.len, k->name.data);
        *slot = (uint32_t)i + 1;
        g->key_count = i + 1; /* from here on close() frees it */
        st = read_value(c, k);
    }
    return st;
}

/* ---- tensors ------------------------------------------------------------------------------ */

/* *n = the product of the dimensions. False, with *d naming the one at fault, if a dimension is 0
 * or the product so large that the size in bytes might not fit 64 bits. */
/*@ requires \valid_read(t) && t->n_dims <= 4 && \valid(n) && \valid(d) && \separated(n, d, t);
    assigns *n, *d;
    ensures \result ==> *n <= INT64_MAX / 16 &&
      \forall integer k; 0 <= k < t->n_dims ==> t->dims[k] >= 1; */
static bool count_values(const struct q35_gguf_tensor *t, uint64_t *n, uint32_t *d)
{
    *n = 1;
    /*@ loop invariant 0 <= *d <= t->n_dims && *n <= INT64_MAX / 16;
        loop invariant \forall integer k; 0 <= k < *d ==> t->dims[k] >= 1;
        loop assigns *d, *n;
        loop variant t->n_dims - *d; */
    for (*d = 0; *d < t->n_dims; ++*d)
        if (t->dims[*d] == 0 || !q35_mul_size(*n, t->dims[*d], n) || *n > (uint64_t)INT64_MAX / 16)
            return false;
    return true;
}

/* Bytes of n values. Every row of tensor_types keeps to the second condition: tests/proofs/wp.py */
/*@ requires n <= INT64_MAX / 16 && 1 <= block && bytes <= 9 * block;
    assigns \nothing;
    ensures \result == n / block * bytes && \result <= INT64_MAX; */
static uint64_t value_bytes(uint64_t n, uint32_t block, uint32_t bytes)
{
    //@ assert n / block * bytes <= n / block * (9 * block) && n / block * block <= n;
    return n / block * bytes;
}

/* Bytes of the whole tensor, 0 for an unknown type. */
static enum q35_status tensor_bytes(struct cursor *c, struct q35_gguf_tensor *t)
{
    uint64_t n;
    uint32_t d;
    size_t i;
    if (!count_values(t, &n, &d))
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: tensor %.*s has an impossible size (dimension "
                        "%u is %llu)",
                        c->g->name, (int)t->name.len, t->name.data, d,
                        (unsigned long long)t->dims[d]);
    for (i = 0; i < Q35_COUNT(tensor_types); i++)
        if (tensor_types[i].type == t->type)
            break;
    if (i == Q35_COUNT(tensor_types))
        return Q35_OK;
    if (t->dims[0] % tensor_types[i].block)
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: tensor %.*s of type %s has rows of %llu values, "
                        "not a multiple of %u",
                        c->g->name, (int)t->name.len, t->name.data, tensor_types[i].name,
                        (unsigned long long)t->dims[0], tensor_types[i].block);
    t->bytes = value_bytes(n, tensor_types[i].block, tensor_types[i].bytes);
    return Q35_OK;
}

/* Reads a declaration. t->data gets the offset for now, as the data's start is not known yet. */
static enum q35_status read_tensor(struct cursor *c, struct q35_gguf_tensor *t, uint64_t *offset)
{
    uint32_t d;
    enum q35_status st = get_name(c, &t->name, MAX_TENSOR_NAME, "a tensor name");
    if (st == Q35_OK)
        st = get_u32(c, &t->n_dims, "a tensor declaration");
    if (st != Q35_OK)
        return st;
    if (t->n_dims == 0 || t->n_dims > 4)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %.*s has %u dimensions, not 1 to 4",
                        c->g->name, (int)t->name.len, t->name.data, t->n_dims);
    for (d = 0; d < 4; d++)
        t->dims[d] = 1;
    for (d = 0; d < t->n_dims && st == Q35_OK; d++)
        st = get_u64(c, &t->dims[d], "a tensor declaration");
    if (st == Q35_OK)
        st = get_u32(c, &t->type, "a tensor declaration");
    if (st == Q35_OK)
        st = get_u64(c, offset, "a tensor declaration");
    if (st == Q35_OK)
        st = tensor_bytes(c, t);
    if (st == Q35_OK && *offset % c->g->alignment)
        st = q35_fail(c->err, Q35_E_FORMAT,
                      "%s: tensor %.*s starts at offset %llu, not a multiple of the alignment %u",
                      c->g->name, (int)t->name.len, t->name.data, (unsigned long long)*offset,
                      c->g->alignment);
    return st;
}

struct extent {
    uint64_t offset, bytes, tensor;
};

static int extent_order(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Gives tensors their data: inside the file, and none over another. */
static enum q35_status place_tensors(struct cursor *c, struct q35_gguf *g, struct extent *e)
{
    uint64_t start = c->at + (g->alignment - c->at % g->alignment) % g->alignment;
    uint64_t room = start < g->bytes ? g->bytes - start : 0, end = 0, i;
    for (i = 0; i < g->tensor_count; i++) {
        struct q35_gguf_tensor *t = &g->tensors[i];
        if (e[i].offset > room || t->bytes > room - e[i].offset)
            return q35_fail(
                c->err, Q35_E_FORMAT,
                "%s: tensor %.*s (%llu bytes at offset %llu) lies outside the file, whose "
                "data has %llu bytes",
                g->name, (int)t->name.len, t->name.data, (unsigned long long)t->bytes,
                (unsigned long long)e[i].offset, (unsigned long long)room);
        t->data = g->data + start + e[i].offset;
        e[i].bytes = t->bytes;
        e[i].tensor = i;
    }
    qsort(e, (size_t)g->tensor_count, sizeof(*e), extent_order);
    for (i = 0; i < g->tensor_count; i++) {
        const struct q35_gguf_tensor *t = &g->tensors[e[i].tensor];
        if (e[i].offset < end)
            return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %.*s overlaps another tensor",
                            g->name, (int)t->name.len, t->name.data);
        end = e[i].offset + e[i].bytes;
    }
    return Q35_OK;
}

static enum q35_status read_tensors(struct cursor *c, struct q35_gguf *g)
{
    uint64_t n = g->tensor_count, i;
    enum q35_status st = Q35_OK;
    struct extent *e;
    g->tensor_count = 0;
    if (n > MAX_TENSORS || n > (g->bytes - c->at) / MIN_TENSOR_BYTES)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: claims %llu tensors, more than fit the file",
                        g->name, (unsigned long long)n);
    g->tensors = calloc((size_t)(n ? n : 1), sizeof(*g->tensors));
    e = calloc((size_t)(n ? n : 1), sizeof(*e));
    if (!g->tensors || !e || !q35_gguf_index_init(&g->tensor_index, n, e))
        st = q35_fail(c->err, Q35_E_NOMEM, "%s: no memory for %llu tensors", g->name,
                      (unsigned long long)n);
    for (i = 0; i < n && st == Q35_OK; i++) {
        struct q35_gguf_tensor *t = &g->tensors[i];
        uint32_t *slot;
        st = read_tensor(c, t, &e[i].offset);
        if (st != Q35_OK)
            break;
        slot = q35_gguf_index_slot(g, &g->tensor_index, q35_gguf_tensor_name, t->name.data,
                                   t->name.len);
        if (*slot)
            st = q35_fail(c->err, Q35_E_FORMAT, "%s: the tensor %.*s occurs twice", g->name,
                          (int)t->name.len, t->name.data);
        *slot = (uint32_t)i + 1;
        g->tensor_count = i + 1;
    }
    if (st == Q35_OK)
        st = place_tensors(c, g, e);
    free(e);
    return st;
}

/* ---- the whole file -------------------------------------------------------------------------- */

static enum q35_status read_header(struct cursor *c, struct q35_gguf *g)
{
    enum q35_status st = need(c, 24, "the header");
    if (g->bytes < 4 || memcmp(g->data, "GGUF", 4) != 0)
        return q35_fail(c->err, Q35_E_FORMAT, "%s is not a GGUF file", g->name);
    if (st != Q35_OK)
        return st;
    c->at = 4;
    st = get_u32(c, &g->version, "the header");
    if (st == Q35_OK && (g->version & 0xffffu) == 0)
        return q35_fail(c->err, Q35_E_UNSUPPORTED, "%s is a big-endian GGUF file", g->name);
    if (st == Q35_OK && (g->version < 2 || g->version > 3))
        return q35_fail(c->err, Q35_E_VERSION, "%s has GGUF version %u; q35 reads 2 and 3", g->name,
                        g->version);
    if (st == Q35_OK)
        st = get_u64(c, &g->tensor_count, "the header");
    if (st == Q35_OK)
        st = get_u64(c, &g->key_count, "the header");
    return st;
}

static enum q35_status read_alignment(struct cursor *c, struct q35_gguf *g)
{
    const struct gguf_key *k = q35_gguf_key_find(g, "general.alignment");
    g->alignment = 32;
    if (!k)
        return Q35_OK;
    if (k->type == Q35_GGUF_U32)
        g->alignment = (uint32_t)load_le(k->data, 4);
    if (k->type != Q35_GGUF_U32 || g->alignment == 0 || (g->alignment & (g->alignment - 1)))
        return q35_fail(c->err, Q35_E_FORMAT, "%s: general.alignment is not a power of two",
                        g->name);
    return Q35_OK;
}

enum q35_status q35_gguf_parse(struct q35_gguf *g, struct q35_error *err)
{
    struct cursor c = {g, 0, err};
    enum q35_status st = read_header(&c, g);
    if (st != Q35_OK) {
        g->key_count = g->tensor_count = 0;
        return st;
    }
    st = read_keys(&c, g);
    if (st == Q35_OK)
        st = read_alignment(&c, g);
    if (st == Q35_OK)
        st = read_tensors(&c, g);
    return st;
}
