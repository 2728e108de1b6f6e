/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_GGUF_INTERNAL_H
#define Q35_CORE_GGUF_INTERNAL_H

/* Shared by gguf.c (opening), gguf_parse.c, gguf_values.c (accessors) and nobody else. */

#include "core/model/gguf.h"

struct gguf_key {
    struct q35_view name;
    uint32_t type;            /* enum q35_gguf_type */
    uint32_t item;            /* of an array: the type of its items */
    uint64_t count;           /* of an array; 1 otherwise */
    const uint8_t *data;      /* the value, or the first item, in the file */
    struct q35_view *strings; /* [count] of strings and string arrays; owned */
};

/* Open addressing; a slot holds index + 1, 0 is empty. */
struct gguf_index {
    uint32_t *slots;
    uint64_t mask;
    uint64_t seed;
};

struct q35_gguf {
    struct q35_file file; /* empty when opened from memory */
    const uint8_t *data;
    uint64_t bytes;
    char *name;
    uint32_t version;
    uint32_t alignment;
    struct gguf_key *keys;
    uint64_t key_count;
    struct q35_gguf_tensor *tensors;
    uint64_t tensor_count;
    struct gguf_index key_index;
    struct gguf_index tensor_index;
};

/* Reads and checks everything in g->data; on failure close() still frees what there is. */
enum q35_status q35_gguf_parse(struct q35_gguf *g, struct q35_error *err);

/* An empty index for `count` names. */
bool q35_gguf_index_init(struct gguf_index *x, uint64_t count, const void *salt);
typedef struct q35_view (*q35_gguf_name_fn)(const struct q35_gguf *g, uint64_t i);
struct q35_view q35_gguf_key_name(const struct q35_gguf *g, uint64_t i);
struct q35_view q35_gguf_tensor_name(const struct q35_gguf *g, uint64_t i);
/* The slot of a name: holds it, or is empty. */
uint32_t *q35_gguf_index_slot(const struct q35_gguf *g, const struct gguf_index *x,
                              q35_gguf_name_fn name, const char *s, size_t len);

/* Bytes of a scalar of a metadata type; 0 for strings, arrays and unknown types. */
uint32_t q35_gguf_scalar_bytes(uint32_t type);

/* The key, or NULL. */
const struct gguf_key *q35_gguf_key_find(const struct q35_gguf *g, const char *name);

#endif
