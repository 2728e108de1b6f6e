/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_GGUF_WRITE_H
#define Q35_CORE_GGUF_WRITE_H

/* Writing a GGUF v3 file. All metadata and tensor declarations first, then tensor data in order.
 * The file is written beside its final name and appears there only when finish succeeds. */

#include "core/base/base.h"

struct q35_gguf_writer;

enum q35_status q35_gguf_writer_create(struct q35_gguf_writer **out, const char *path,
                                       struct q35_error *err);
/* Drops the unfinished file. NULL is fine. */
void q35_gguf_writer_destroy(struct q35_gguf_writer *w);

/* Metadata. Failures are remembered and reported by q35_gguf_writer_begin_data. */
void q35_gguf_put_u32(struct q35_gguf_writer *w, const char *key, uint32_t v);
void q35_gguf_put_f32(struct q35_gguf_writer *w, const char *key, float v);
void q35_gguf_put_bool(struct q35_gguf_writer *w, const char *key, bool v);
void q35_gguf_put_string(struct q35_gguf_writer *w, const char *key, const char *v, size_t len);
void q35_gguf_put_f32s(struct q35_gguf_writer *w, const char *key, const float *v, uint64_t n);
void q35_gguf_put_i32s(struct q35_gguf_writer *w, const char *key, const int32_t *v, uint64_t n);
void q35_gguf_put_u32s(struct q35_gguf_writer *w, const char *key, const uint32_t *v, uint64_t n);
void q35_gguf_put_u64s(struct q35_gguf_writer *w, const char *key, const uint64_t *v, uint64_t n);
/* Strings one by one: begin with their number, then each. */
void q35_gguf_put_strings_begin(struct q35_gguf_writer *w, const char *key, uint64_t n);
void q35_gguf_put_strings_item(struct q35_gguf_writer *w, const char *v, size_t len);

/* Whether a key was put already. */
bool q35_gguf_writer_has(const struct q35_gguf_writer *w, const char *key);

/* Declares a tensor; type is enum q35_ggml_type, dims fastest first. */
void q35_gguf_put_tensor(struct q35_gguf_writer *w, const char *name, uint32_t type,
                         uint32_t n_dims, const uint64_t *dims, uint64_t bytes);

/* Values of a declared u64 array may be replaced until finish (hashes are known last). */
void q35_gguf_patch_u64s(struct q35_gguf_writer *w, const char *key, const uint64_t *v, uint64_t n);

enum q35_status q35_gguf_writer_begin_data(struct q35_gguf_writer *w, struct q35_error *err);
/* Data of tensor i at an offset inside it; any order, any thread (one caller at a time). */
enum q35_status q35_gguf_write_data(struct q35_gguf_writer *w, uint64_t tensor, uint64_t offset,
                                    const void *data, uint64_t bytes, struct q35_error *err);
/* Bytes of the whole file, known once the data has begun. */
uint64_t q35_gguf_writer_bytes(const struct q35_gguf_writer *w);
/* fsync, rename, fsync of the directory. */
enum q35_status q35_gguf_writer_finish(struct q35_gguf_writer *w, struct q35_error *err);

#endif
