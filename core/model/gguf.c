/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/gguf_internal.h"

#include <stdlib.h>
#include <string.h>

#include "q35/format.h"

/* ---- the index ---------------------------------------------------------------------------- */

/* Seeded, so that a file cannot be made to collide. */
static uint64_t hash_name(uint64_t seed, const char *s, size_t len)
{
    uint64_t h = seed ^ len;
    size_t i;
    for (i = 0; i < len; i += 8) {
        uint64_t w = 0;
        memcpy(&w, s + i, len - i < 8 ? len - i : 8);
        h = q35_mix64(h ^ w) + 0x9e3779b97f4a7c15u;
    }
    return h;
}

bool q35_gguf_index_init(struct gguf_index *x, uint64_t count, const void *salt)
{
    uint64_t n = 8;
    while (n < 2 * count)
        n *= 2;
    x->slots = calloc((size_t)n, sizeof(*x->slots));
    x->mask = n - 1;
    x->seed = q35_mix64((uint64_t)(uintptr_t)salt ^ q35_now_ns());
    return x->slots != NULL;
}

struct q35_view q35_gguf_key_name(const struct q35_gguf *g, uint64_t i)
{
    return g->keys[i].name;
}

struct q35_view q35_gguf_tensor_name(const struct q35_gguf *g, uint64_t i)
{
    return g->tensors[i].name;
}

/* The slot of a name: holds it, or is empty. */
uint32_t *q35_gguf_index_slot(const struct q35_gguf *g, const struct gguf_index *x,
                              q35_gguf_name_fn name, const char *s, size_t len)
{
    uint64_t i = hash_name(x->seed, s, len) & x->mask;
    for (; x->slots[i]; i = (i + 1) & x->mask) {
        struct q35_view v = name(g, x->slots[i] - 1);
        if (v.len == len && memcmp(v.data, s, len) == 0)
            break;
    }
    return &x->slots[i];
}

const struct gguf_key *q35_gguf_key_find(const struct q35_gguf *g, const char *name)
{
    uint32_t i = *q35_gguf_index_slot(g, &g->key_index, q35_gguf_key_name, name, strlen(name));
    return i ? &g->keys[i - 1] : NULL;
}

const struct q35_gguf_tensor *q35_gguf_tensor_find(const struct q35_gguf *g, const char *name)
{
    uint32_t i =
        *q35_gguf_index_slot(g, &g->tensor_index, q35_gguf_tensor_name, name, strlen(name));
    return i ? &g->tensors[i - 1] : NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

static enum q35_status create(struct q35_gguf **out, const char *name, struct q35_error *err)
{
    struct q35_gguf *g = calloc(1, sizeof(*g));
    if (g)
        g->name = strdup(name);
    if (!g || !g->name) {
        free(g);
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", name);
    }
    *out = g;
    return Q35_OK;
}

enum q35_status q35_gguf_open(struct q35_gguf **out, const char *path, struct q35_error *err)
{
    struct q35_gguf *g = NULL;
    enum q35_status st = create(&g, path, err);
    *out = NULL;
    if (st == Q35_OK)
        st = q35_file_map(&g->file, path, err);
    if (st == Q35_OK) {
        g->data = g->file.data;
        g->bytes = g->file.bytes;
        st = q35_gguf_parse(g, err);
    }
    if (st == Q35_OK)
        *out = g;
    else
        q35_gguf_close(g);
    return st;
}

enum q35_status q35_gguf_open_memory(struct q35_gguf **out, const uint8_t *data, uint64_t bytes,
                                     const char *name, struct q35_error *err)
{
    struct q35_gguf *g = NULL;
    enum q35_status st = create(&g, name, err);
    *out = NULL;
    if (st == Q35_OK) {
        g->data = data;
        g->bytes = bytes;
        st = q35_gguf_parse(g, err);
    }
    if (st == Q35_OK)
        *out = g;
    else
        q35_gguf_close(g);
    return st;
}

void q35_gguf_close(struct q35_gguf *g)
{
    uint64_t i;
    if (!g)
        return;
    for (i = 0; i < g->key_count; i++)
        free(g->keys[i].strings);
    free(g->keys);
    free(g->tensors);
    free(g->key_index.slots);
    free(g->tensor_index.slots);
    q35_file_unmap(&g->file);
    free(g->name);
    free(g);
}
