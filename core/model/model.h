/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_MODEL_H
#define Q35_CORE_MODEL_H

/* A packed model: a .q35.gguf file, mapped, checked, and presented as a graph of layers.
 *
 * Container: GGUF v3, general.alignment 64. Standard general.*, <arch>.* and tokenizer.* keys, and
 *   q35.version        u32     Q35_FORMAT_VERSION
 *   q35.scheme         string  scheme of the decoder layers, for people
 *   q35.packed.names   [string]  tensors that are packed blobs (type I8, one dimension)
 *   q35.packed.rows, .cols, .scheme, .rot_block   [u32], same order
 *   q35.packed.rot_seed  [u64]
 *   q35.hash.names     [string], q35.hash.values [u64]   q35_hash_chunk of every tensor
 *   q35.rope_freqs     [f32]   inverse frequencies, scaling applied, [rope_dim / 2]
 *   q35.rope_style u32, q35.attn_scale f32, q35.embed_scale f32
 * The standard keys it must have: <arch>.block_count, embedding_length, feed_forward_length,
 * attention.head_count, attention.head_count_kv, attention.key_length, rope.dimension_count,
 * context_length, vocab_size, attention.layer_norm_rms_epsilon; attention.sliding_window if any.
 * Tensor names are GGUF's: token_embd.weight, blk.N.attn_q.weight, output_norm.weight ...
 * A tied model has no output.weight. */

#include "core/base/base.h"
#include "core/model/params.h"
#include "q35/backend.h"

/* q35_hash_chunk over whole data, faster. */
uint64_t q35_hash_data(const uint8_t *data, uint64_t bytes);

/* "trellis" for Q35_SCHEME_TRELLIS; NULL for unknown schemes. And back; 0 for unknown names. */
const char *q35_scheme_name(uint32_t scheme);
uint32_t q35_scheme_find(const char *name);

struct q35_gguf;
struct q35_model; /* immutable once open; share it freely */

enum q35_status q35_model_open(struct q35_model **out, const char *path, struct q35_error *err);
/* The same on memory that stays valid while open, 64-byte aligned; `name` appears in errors. */
enum q35_status q35_model_open_memory(struct q35_model **out, const uint8_t *data, uint64_t bytes,
                                      const char *name, struct q35_error *err);
void q35_model_close(struct q35_model *m);

/* Reads all data and compares it with the recorded hashes: HASH names layer and role. Opening does
 * not, as it would read the whole file; backends do when they commit weights. */
enum q35_status q35_model_verify(const struct q35_model *m, struct q35_error *err);

const struct q35_params *q35_model_params(const struct q35_model *m);
const struct q35_gguf *q35_model_gguf(const struct q35_model *m); /* NULL for synthetic models */
const char *q35_model_path(const struct q35_model *m);
const char *q35_model_scheme(const struct q35_model *m);

/* The graph: layer 0 EMBED, 1 .. n_layers DECODER, n_layers + 1 HEAD. */
uint32_t q35_model_layer_count(const struct q35_model *m);
const struct q35_layer *q35_model_layers(const struct q35_model *m);

/* Data of tensor `t` (index into layers[layer].tensors), 64-byte aligned, tensors[t].bytes long,
 * valid until close. NULL for a model without data. */
const uint8_t *q35_model_data(const struct q35_model *m, uint32_t layer, uint32_t t);

/* Bytes of all packed and plain tensors, each counted once; and those one decoded token reads. */
uint64_t q35_model_bytes(const struct q35_model *m);
uint64_t q35_model_bytes_per_token(const struct q35_model *m);

/* A model of a named shape with random codes: "llama-1b", "llama-7b", "llama-70b:N" (N layers), of
 * scheme trellis or with another scheme's name behind it: "llama-1b/triple".
 * with_data false: descriptors alone, for planning. */
enum q35_status q35_model_synthetic(struct q35_model **out, const char *shape, bool with_data,
                                    struct q35_error *err);

#endif
