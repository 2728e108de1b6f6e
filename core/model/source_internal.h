/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_SOURCE_INTERNAL_H
#define Q35_CORE_SOURCE_INTERNAL_H

/* How source.c sees the two kinds of input: a list of raw tensors and the parameters. */

#include "core/model/gguf.h"
#include "core/model/source.h"

#define SOURCE_MAX_TENSORS (1u << 20)
#define SOURCE_UNREADABLE UINT32_MAX /* dtype of a tensor whose values q35 cannot read */

struct raw_tensor {
    char *name;            /* owned */
    const char *type_name; /* as the file calls it, for messages; borrowed */
    uint32_t dtype;        /* enum q35_ggml_type, or SOURCE_UNREADABLE */
    uint32_t n_dims;
    uint64_t dims[4]; /* rows first */
    const uint8_t *data;
    uint64_t bytes;
    bool used; /* some role has it */
};

struct q35_source {
    char *path;
    struct q35_params params;
    bool hf; /* a Hugging Face directory: its tensor names */
    bool need_qkv_bias, need_qk_norm;
    struct q35_gguf *gguf;   /* or NULL; of a split model the first part, which has the metadata */
    struct q35_gguf **parts; /* the further ones */
    uint32_t part_count;
    struct q35_file *files; /* mapped shards */
    uint32_t file_count;
    struct raw_tensor *raw; /* ascending by name once loaded */
    uint64_t raw_count, raw_cap;
    struct q35_source_tensor *layers; /* [n_layers][Q35_ROLE_COUNT]; data NULL: absent */
    struct q35_source_tensor embed, out_norm, head;
};

/* Adds a tensor; the name is copied. NULL without memory. */
struct raw_tensor *q35_source_add(struct q35_source *s, const char *name, size_t len);
/* Sorts what was added; FORMAT if a name occurs twice. */
enum q35_status q35_source_sort(struct q35_source *s, struct q35_error *err);
struct raw_tensor *q35_source_find(struct q35_source *s, const char *name);

/* Fill params, raw tensors and flags from the input. */
enum q35_status q35_source_load_gguf(struct q35_source *s, struct q35_error *err);
enum q35_status q35_source_load_hf(struct q35_source *s, struct q35_error *err);

/* Adds all tensors of one safetensors file in memory; `name` is for messages. */
enum q35_status q35_safetensors_parse(struct q35_source *s, const uint8_t *data, uint64_t bytes,
                                      const char *name, struct q35_error *err);
/* Maps model.safetensors or all shards of model.safetensors.index.json in s->path. */
enum q35_status q35_safetensors_load(struct q35_source *s, struct q35_error *err);

/* One block of a quantized type: `values` values in `bytes` bytes. */
struct q35_block_reader {
    uint32_t type, values, bytes;
    void (*read)(const uint8_t *block, float *out);
};
/* NULL if it is none that q35 reads. */
const struct q35_block_reader *q35_block_reader(uint32_t type);

/* Parameters common to both: ranges and divisibility. */
enum q35_status q35_params_check(const struct q35_params *p, const char *path,
                                 struct q35_error *err);

/* ---- rope.c ---- */

struct q35_rope_scaling {
    float theta;
    float factor; /* linear and llama3; 1: none */
    bool llama3;
    float low, high; /* llama3: low_freq_factor, high_freq_factor */
    float original;  /* llama3: original_max_position_embeddings */
};
/* *out: malloc'd inverse frequencies [rope_dim / 2], NULL without memory. */
float *q35_rope_freqs(const struct q35_rope_scaling *r, uint32_t rope_dim);

#endif
