/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_SOURCE_H
#define Q35_CORE_SOURCE_H

/* A float model to convert or to measure: a GGUF file (float, or quantized to 4 bits or more) or a
 * Hugging Face directory (config.json, model.safetensors or its sharded index, tokenizer.json). */

#include "core/base/base.h"
#include "core/model/params.h"
#include "q35/backend.h"

struct q35_gguf;
struct q35_source; /* immutable once open */

/* One weight matrix or vector of the source, found by layer and role. */
struct q35_source_tensor {
    uint32_t rows, cols; /* vectors: rows 1 */
    char name[160];      /* as in the source, for messages */
    /* private: where its values are */
    uint32_t dtype;
    const uint8_t *data;
    uint64_t row_bytes;
    uint32_t first_row; /* of a part of a fused tensor: where it begins there */
};

/* path: a file ending in .gguf or a directory. Checks shapes of all tensors against the parameters.
 */
enum q35_status q35_source_open(struct q35_source **out, const char *path, struct q35_error *err);
void q35_source_close(struct q35_source *s);

const struct q35_params *q35_source_params(const struct q35_source *s);
const char *q35_source_path(const struct q35_source *s);
/* The GGUF behind it, NULL for a directory. */
const struct q35_gguf *q35_source_gguf(const struct q35_source *s);

/* The tensor of a role. layer: 0-based decoder layer, ignored for EMBED, OUT_NORM and HEAD roles.
 * NOT_FOUND if the model has none (err untouched). ROPE_FREQ is never found: see params. */
enum q35_status q35_source_tensor(const struct q35_source *s, uint32_t layer, uint32_t role,
                                  struct q35_source_tensor *out);

/* Converts `count` rows from `first` to binary32 at out[count][cols]. FORMAT if a value is NaN or
 * infinite: the message names tensor, row and column. */
enum q35_status q35_source_rows(const struct q35_source_tensor *t, uint32_t first, uint32_t count,
                                float *out, struct q35_error *err);

#endif
