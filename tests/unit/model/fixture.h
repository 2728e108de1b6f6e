/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_MODEL_FIXTURE_H
#define Q35_TESTS_MODEL_FIXTURE_H

/* Small models written by the test, as GGUF files and as Hugging Face directories, with faults on
 * request. Every weight is a known function of its tensor's name and index. */

#include <stdbool.h>

#include "../test.h"
#include "core/base/base.h"

struct fixture {
    const char *arch; /* GGUF architecture or model_type */
    uint32_t layers, d, ffn, heads, kv_heads, head_dim, vocab;
    uint32_t type; /* enum q35_ggml_type of matrices; norms and biases are F32 */
    bool tied, qkv_bias, qk_norm, fused;
    bool rope_divisors; /* GGUF: rope_freqs.weight */
    bool tokenizer;     /* GGUF: a SentencePiece vocabulary of bytes */
    bool claim_tied;    /* Hugging Face: tied, but lm_head.weight is there too */
    uint32_t
        parts; /* GGUF: 0 is one file, else PATH is a stem and its parts end in -0000N-of-... */
    uint32_t shards;    /* Hugging Face: 0 is one file without an index */
    const char *config; /* Hugging Face: more fields of config.json, with commas before each */
    /* Faults. */
    const char *omit;        /* this tensor is missing */
    const char *reshape;     /* this tensor has one column more */
    const char *extra;       /* a tensor of this name is there too, one value */
    const char *bad_value;   /* this tensor has a NaN */
    uint64_t bad_at;         /* at this index [5] */
    uint32_t wrong_part;     /* GGUF: this part, from 1, claims another number */
    const char *index_shard; /* the index names this file for the first tensor */
};

/* {"llama", 2 layers, d 64, ffn 96, 4/2 heads of 16, vocab 288, F32} */
struct fixture fixture_llama(void);

/* Weight i of a tensor, in [-1, 1). Halves and BF16 files hold its rounding. */
float fixture_value(const char *name, uint64_t i);

/* Both fail the test if the files cannot be written. */
void fixture_write_gguf(const struct fixture *f, const char *path);
/* Makes the directory. */
void fixture_write_hf(const struct fixture *f, const char *dir);

/* A fresh directory for the test's files, and its removal with all that is in it. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
const char *fixture_path(const char *name); /* inside it; valid until the 8th next call */
int fixture_files(void);                    /* entries in it */

#endif
