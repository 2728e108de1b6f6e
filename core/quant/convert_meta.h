/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_CONVERT_META_H
#define Q35_CORE_CONVERT_META_H

#include "core/model/gguf_write.h"
#include "core/model/source.h"

/* Everything of a packed model's metadata but the q35.packed.* and q35.hash.* tables: sizes under
 * standard and q35.* keys, the tokenizer, and what else a GGUF source says about itself. */
enum q35_status q35_convert_metadata(const struct q35_source *s, uint32_t scheme,
                                     struct q35_gguf_writer *w, struct q35_error *err);

#endif
