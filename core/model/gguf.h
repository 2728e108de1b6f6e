/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_GGUF_H
#define Q35_CORE_GGUF_H

/* Reading GGUF files (versions 2 and 3, little-endian). Everything is checked when the file is
 * opened: an open file's accessors cannot fail for a reason in the file. */

#include "core/base/base.h"

enum q35_gguf_type { /* of metadata values, numbers as in the file */
                     Q35_GGUF_U8 = 0,
                     Q35_GGUF_I8 = 1,
                     Q35_GGUF_U16 = 2,
                     Q35_GGUF_I16 = 3,
                     Q35_GGUF_U32 = 4,
                     Q35_GGUF_I32 = 5,
                     Q35_GGUF_F32 = 6,
                     Q35_GGUF_BOOL = 7,
                     Q35_GGUF_STRING = 8,
                     Q35_GGUF_ARRAY = 9,
                     Q35_GGUF_U64 = 10,
                     Q35_GGUF_I64 = 11,
                     Q35_GGUF_F64 = 12
};

enum q35_ggml_type { /* of tensors, those q35 reads */
                     Q35_GGML_F32 = 0,
                     Q35_GGML_F16 = 1,
                     Q35_GGML_Q4_0 = 2,
                     Q35_GGML_Q4_1 = 3,
                     Q35_GGML_Q5_0 = 6,
                     Q35_GGML_Q5_1 = 7,
                     Q35_GGML_Q8_0 = 8,
                     Q35_GGML_Q4_K = 12,
                     Q35_GGML_Q5_K = 13,
                     Q35_GGML_Q6_K = 14,
                     Q35_GGML_I8 = 24,
                     Q35_GGML_BF16 = 30
};

/* A string inside the mapped file: not zero-terminated. */
struct q35_view {
    const char *data;
    size_t len;
};

struct q35_gguf_tensor {
    struct q35_view name;
    uint32_t type; /* enum q35_ggml_type, or another that q35 cannot read */
    uint32_t n_dims;
    uint64_t dims[4]; /* dims[0] runs fastest: columns */
    const uint8_t *data;
    uint64_t bytes; /* 0 if the type is unknown */
};

struct q35_gguf; /* immutable once open; share it freely between threads */

enum q35_status q35_gguf_open(struct q35_gguf **out, const char *path, struct q35_error *err);
/* The same on memory that stays valid while open; `name` appears in errors. */
enum q35_status q35_gguf_open_memory(struct q35_gguf **out, const uint8_t *data, uint64_t bytes,
                                     const char *name, struct q35_error *err);
void q35_gguf_close(struct q35_gguf *g);

/* "F32", "Q4_K" ... for messages; "unknown" for numbers q35 does not know. */
const char *q35_gguf_tensor_type_name(uint32_t type);

uint64_t q35_gguf_tensor_count(const struct q35_gguf *g);
const struct q35_gguf_tensor *q35_gguf_tensor_at(const struct q35_gguf *g, uint64_t i);
const struct q35_gguf_tensor *q35_gguf_tensor_find(const struct q35_gguf *g, const char *name);

uint64_t q35_gguf_key_count(const struct q35_gguf *g);
struct q35_view q35_gguf_key_at(const struct q35_gguf *g, uint64_t i, uint32_t *type);
bool q35_gguf_has(const struct q35_gguf *g, const char *key);

/* Scalars: NOT_FOUND if absent, FORMAT if of another kind or out of range (any integer type is
 * taken). On failure *out is untouched, so a default may be put there before. */
enum q35_status q35_gguf_u32(const struct q35_gguf *g, const char *key, uint32_t *out,
                             struct q35_error *err);
enum q35_status q35_gguf_f32(const struct q35_gguf *g, const char *key, float *out,
                             struct q35_error *err);
enum q35_status q35_gguf_bool(const struct q35_gguf *g, const char *key, bool *out,
                              struct q35_error *err);
enum q35_status q35_gguf_string(const struct q35_gguf *g, const char *key, struct q35_view *out,
                                struct q35_error *err);

/* Arrays. NULL-safe: *count 0 and NOT_FOUND if absent. Strings are indexed once, at open. */
enum q35_status q35_gguf_strings(const struct q35_gguf *g, const char *key,
                                 const struct q35_view **out, uint64_t *count,
                                 struct q35_error *err);
/* Numeric arrays converted to the asked type into malloc'd memory; free() it. */
enum q35_status q35_gguf_f32s(const struct q35_gguf *g, const char *key, float **out,
                              uint64_t *count, struct q35_error *err);
enum q35_status q35_gguf_i32s(const struct q35_gguf *g, const char *key, int32_t **out,
                              uint64_t *count, struct q35_error *err);
enum q35_status q35_gguf_u64s(const struct q35_gguf *g, const char *key, uint64_t **out,
                              uint64_t *count, struct q35_error *err);

#endif
