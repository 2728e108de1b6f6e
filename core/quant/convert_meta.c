/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/quant/convert_meta.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/gguf.h"
#include "core/model/model.h"
#include "core/text/tokenizer.h"

/* The name GGUF has for an architecture: Mistral is a llama. */
static const char *gguf_arch(const struct q35_params *p)
{
    return strcmp(p->arch, "mistral") == 0 ? "llama" : p->arch;
}

static void put_sizes(struct q35_gguf_writer *w, const struct q35_params *p)
{
    const struct {
        const char *key;
        uint32_t value;
    } fields[] = {
        {"block_count", p->n_layers},
        {"context_length", p->context},
        {"embedding_length", p->d_model},
        {"feed_forward_length", p->d_ffn},
        {"attention.head_count", p->n_heads},
        {"attention.head_count_kv", p->n_kv_heads},
        {"attention.key_length", p->head_dim},
        {"attention.value_length", p->head_dim},
        {"rope.dimension_count", p->rope_dim},
        {"vocab_size", p->vocab},
        {"attention.sliding_window", p->window},
    };
    char key[96];
    size_t i;
    for (i = 0; i < Q35_COUNT(fields) - (p->window ? 0 : 1); i++) {
        snprintf(key, sizeof(key), "%s.%s", gguf_arch(p), fields[i].key);
        q35_gguf_put_u32(w, key, fields[i].value);
    }
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", gguf_arch(p));
    q35_gguf_put_f32(w, key, p->norm_eps);
    q35_gguf_put_u32(w, "q35.rope_style", p->rope_style);
    q35_gguf_put_f32(w, "q35.attn_scale", p->attn_scale);
    q35_gguf_put_f32(w, "q35.embed_scale", p->embed_scale);
    q35_gguf_put_f32s(w, "q35.rope_freqs", p->rope_freqs, p->rope_dim / 2);
}

/* Copies one value of the source if it is of a kind worth copying. */
static void copy_key(const struct q35_gguf *g, const char *key, uint32_t type,
                     struct q35_gguf_writer *w)
{
    const struct q35_view *texts;
    struct q35_view text;
    uint64_t n, i;
    uint32_t u;
    float f;
    bool b;
    if (type == Q35_GGUF_STRING && q35_gguf_string(g, key, &text, NULL) == Q35_OK)
        q35_gguf_put_string(w, key, text.data, text.len);
    else if (type == Q35_GGUF_BOOL && q35_gguf_bool(g, key, &b, NULL) == Q35_OK)
        q35_gguf_put_bool(w, key, b);
    else if (type == Q35_GGUF_F32 && q35_gguf_f32(g, key, &f, NULL) == Q35_OK)
        q35_gguf_put_f32(w, key, f);
    else if (type != Q35_GGUF_F64 && q35_gguf_u32(g, key, &u, NULL) == Q35_OK)
        q35_gguf_put_u32(w, key, u);
    else if (type == Q35_GGUF_ARRAY && q35_gguf_strings(g, key, &texts, &n, NULL) == Q35_OK) {
        q35_gguf_put_strings_begin(w, key, n);
        for (i = 0; i < n; i++)
            q35_gguf_put_strings_item(w, texts[i].data, texts[i].len);
    }
}

/* What the source says of itself under general.* and its architecture, unless it was written
 * already or is about the encoding of its tensors. */
static void copy_keys(const struct q35_gguf *g, const char *arch, struct q35_gguf_writer *w)
{
    static const char *const never[] = {"general.alignment", "general.file_type",
                                        "general.quantization_version"};
    size_t arch_len = strlen(arch), k;
    uint64_t i;
    for (i = 0; i < q35_gguf_key_count(g); i++) {
        uint32_t type;
        struct q35_view v = q35_gguf_key_at(g, i, &type);
        char key[256];
        bool skip = v.len >= sizeof(key);
        snprintf(key, sizeof(key), "%.*s", (int)(v.len < 255 ? v.len : 255), v.data);
        for (k = 0; k < Q35_COUNT(never); k++)
            skip = skip || strcmp(key, never[k]) == 0;
        if (strncmp(key, "general.", 8) != 0 &&
            (strncmp(key, arch, arch_len) != 0 || key[arch_len] != '.'))
            skip = true;
        if (!skip && !q35_gguf_writer_has(w, key))
            copy_key(g, key, type, w);
    }
}

static enum q35_status put_tokenizer(const struct q35_source *s, struct q35_gguf_writer *w,
                                     struct q35_error *err)
{
    const struct q35_gguf *g = q35_source_gguf(s);
    const struct q35_params *p = q35_source_params(s);
    struct q35_tokenizer *t;
    enum q35_status st = g ? q35_tokenizer_from_gguf(&t, g, err)
                           : q35_tokenizer_from_dir(&t, q35_source_path(s), err);
    if (st != Q35_OK)
        return st;
    if (q35_tokenizer_vocab(t) > p->vocab)
        st = q35_fail(err, Q35_E_FORMAT, "%s: the tokenizer has %u tokens, the embedding %u rows",
                      q35_source_path(s), q35_tokenizer_vocab(t), p->vocab);
    else
        st = q35_tokenizer_write(t, w, err);
    q35_tokenizer_destroy(t);
    return st;
}

enum q35_status q35_convert_metadata(const struct q35_source *s, uint32_t scheme,
                                     struct q35_gguf_writer *w, struct q35_error *err)
{
    const struct q35_params *p = q35_source_params(s);
    const char *name = q35_scheme_name(scheme), *arch = gguf_arch(p);
    q35_gguf_put_string(w, "general.architecture", arch, strlen(arch));
    q35_gguf_put_string(w, "general.type", "model", 5);
    if (p->name[0])
        q35_gguf_put_string(w, "general.name", p->name, strlen(p->name));
    q35_gguf_put_u32(w, "q35.version", Q35_FORMAT_VERSION);
    q35_gguf_put_string(w, "q35.scheme", name, strlen(name));
    put_sizes(w, p);
    if (q35_source_gguf(s))
        copy_keys(q35_source_gguf(s), arch, w);
    return put_tokenizer(s, w, err);
}
