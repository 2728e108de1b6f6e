/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_BUILDER_H
#define Q35_TESTS_BUILDER_H

/* GGUF files put together byte by byte, so that a test can also build wrong ones. */

#include <stdint.h>
#include <string.h>

#include "core/base/base.h"

static inline void put_u(struct q35_str *s, uint64_t v, unsigned bytes)
{
    char b[8];
    unsigned i;
    for (i = 0; i < 8; i++)
        b[i] = (char)(v >> (8 * i));
    q35_str_add(s, b, bytes);
}

static inline void put_s(struct q35_str *s, const char *text)
{
    put_u(s, strlen(text), 8);
    q35_str_addz(s, text);
}

static inline void put_header(struct q35_str *s, uint32_t version, uint64_t tensors, uint64_t keys)
{
    q35_str_addz(s, "GGUF");
    put_u(s, version, 4);
    put_u(s, tensors, 8);
    put_u(s, keys, 8);
}

static inline void put_key(struct q35_str *s, const char *key, uint32_t type)
{
    put_s(s, key);
    put_u(s, type, 4);
}

static inline void put_array(struct q35_str *s, const char *key, uint32_t item, uint64_t count)
{
    put_key(s, key, 9);
    put_u(s, item, 4);
    put_u(s, count, 8);
}

static inline void put_tensor(struct q35_str *s, const char *name, uint32_t n_dims,
                              const uint64_t *dims, uint32_t type, uint64_t offset)
{
    uint32_t d;
    put_s(s, name);
    put_u(s, n_dims, 4);
    for (d = 0; d < n_dims; d++)
        put_u(s, dims[d], 8);
    put_u(s, type, 4);
    put_u(s, offset, 8);
}

static inline void put_zeros(struct q35_str *s, uint64_t n)
{
    for (; n; n--)
        q35_str_add(s, "", 1);
}

static inline void put_align(struct q35_str *s, uint64_t align)
{
    put_zeros(s, (align - s->len % align) % align);
}

#endif
