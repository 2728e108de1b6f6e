/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/source_internal.h"

#define MAX_PARTS 1024u

/* Architectures as GGUF names them. "llama" includes Mistral. */
static const struct {
    const char *name;
    uint32_t rope_style;
    bool qkv_bias, qk_norm;
} archs[] = {
    {"llama", Q35_ROPE_PAIRS, false, false},
    {"qwen2", Q35_ROPE_HALVES, true, false},
    {"qwen3", Q35_ROPE_HALVES, false, true},
    {"phi3", Q35_ROPE_HALVES, false, false},
};

/* Keys under the architecture's name. */
static const char *arch_key(const struct q35_source *s, const char *key, char out[128])
{
    snprintf(out, 128, "%s.%s", s->params.arch, key);
    return out;
}

static enum q35_status get_u32(const struct q35_source *s, const char *key, uint32_t *out,
                               struct q35_error *err)
{
    char name[128];
    return q35_gguf_u32(s->gguf, arch_key(s, key, name), out, err);
}

/* Leaves *out alone if the key is absent. */
static enum q35_status maybe_u32(const struct q35_source *s, const char *key, uint32_t *out,
                                 struct q35_error *err)
{
    char name[128];
    arch_key(s, key, name);
    return q35_gguf_has(s->gguf, name) ? q35_gguf_u32(s->gguf, name, out, err) : Q35_OK;
}

static enum q35_status maybe_f32(const struct q35_source *s, const char *key, float *out,
                                 struct q35_error *err)
{
    char name[128];
    arch_key(s, key, name);
    return q35_gguf_has(s->gguf, name) ? q35_gguf_f32(s->gguf, name, out, err) : Q35_OK;
}

static enum q35_status find_arch(struct q35_source *s, struct q35_error *err)
{
    struct q35_params *p = &s->params;
    struct q35_view v;
    size_t i;
    enum q35_status st = q35_gguf_string(s->gguf, "general.architecture", &v, err);
    if (st != Q35_OK)
        return st;
    if (q35_gguf_has(s->gguf, "q35.version"))
        return q35_fail(err, Q35_E_UNSUPPORTED, "%s is packed already", s->path);
    for (i = 0; i < Q35_COUNT(archs); i++)
        if (v.len == strlen(archs[i].name) && memcmp(v.data, archs[i].name, v.len) == 0)
            break;
    if (i == Q35_COUNT(archs))
        return q35_fail(
            err, Q35_E_UNSUPPORTED,
            "%s: the architecture %.*s is not supported (llama, qwen2, qwen3, phi3 are)", s->path,
            (int)(v.len < 64 ? v.len : 64), v.data);
    snprintf(p->arch, sizeof(p->arch), "%s", archs[i].name);
    p->rope_style = archs[i].rope_style;
    s->need_qkv_bias = archs[i].qkv_bias;
    s->need_qk_norm = archs[i].qk_norm;
    if (q35_gguf_string(s->gguf, "general.name", &v, NULL) == Q35_OK)
        snprintf(p->name, sizeof(p->name), "%.*s", (int)(v.len < 120 ? v.len : 120), v.data);
    return Q35_OK;
}

/* Things a file can say that q35 would compute wrongly. */
static enum q35_status check_features(const struct q35_source *s, struct q35_error *err)
{
    uint32_t experts = 0;
    float attn_factor = 1.0f;
    enum q35_status st = maybe_u32(s, "expert_count", &experts, err);
    if (st == Q35_OK && experts)
        return q35_fail(err, Q35_E_UNSUPPORTED, "%s: a mixture of %u experts is not supported",
                        s->path, experts);
    if (st == Q35_OK)
        st = maybe_f32(s, "rope.scaling.attn_factor", &attn_factor, err);
    if (st == Q35_OK && attn_factor != 1.0f)
        return q35_fail(err, Q35_E_UNSUPPORTED, "%s: rope.scaling.attn_factor is not supported",
                        s->path);
    return st;
}

static enum q35_status load_sizes(struct q35_source *s, struct q35_error *err)
{
    struct q35_params *p = &s->params;
    uint32_t value_length;
    char key[128];
    enum q35_status st = get_u32(s, "block_count", &p->n_layers, err);
    if (st == Q35_OK)
        st = get_u32(s, "embedding_length", &p->d_model, err);
    if (st == Q35_OK)
        st = get_u32(s, "feed_forward_length", &p->d_ffn, err);
    if (st == Q35_OK)
        st = get_u32(s, "attention.head_count", &p->n_heads, err);
    p->n_kv_heads = p->n_heads;
    if (st == Q35_OK)
        st = maybe_u32(s, "attention.head_count_kv", &p->n_kv_heads, err);
    if (st == Q35_OK)
        st = get_u32(s, "context_length", &p->context, err);
    if (st == Q35_OK)
        st = q35_gguf_f32(s->gguf, arch_key(s, "attention.layer_norm_rms_epsilon", key),
                          &p->norm_eps, err);
    p->head_dim = p->n_heads ? p->d_model / p->n_heads : 0;
    if (st == Q35_OK)
        st = maybe_u32(s, "attention.key_length", &p->head_dim, err);
    value_length = p->head_dim;
    if (st == Q35_OK)
        st = maybe_u32(s, "attention.value_length", &value_length, err);
    if (st == Q35_OK && value_length != p->head_dim)
        return q35_fail(err, Q35_E_UNSUPPORTED, "%s: keys of %u values and values of %u", s->path,
                        p->head_dim, value_length);
    p->rope_dim = p->head_dim;
    if (st == Q35_OK)
        st = maybe_u32(s, "rope.dimension_count", &p->rope_dim, err);
    if (st == Q35_OK)
        st = maybe_u32(s, "attention.sliding_window", &p->window, err);
    p->attn_scale = (float)(1.0 / sqrt((double)p->head_dim));
    if (st == Q35_OK)
        st = maybe_f32(s, "attention.scale", &p->attn_scale, err);
    p->embed_scale = 1.0f;
    return st;
}

/* The vocabulary is what the embedding has rows for; the tokenizer may not have more tokens. */
static enum q35_status load_vocab(struct q35_source *s, struct q35_error *err)
{
    const struct raw_tensor *e = q35_source_find(s, "token_embd.weight");
    const struct q35_view *tokens;
    uint64_t n;
    if (!e)
        return q35_fail(err, Q35_E_FORMAT, "%s: tensor token_embd.weight is missing%s", s->path,
                        s->raw_count ? "" : " (the file has no tensors at all)");
    s->params.vocab = e->n_dims == 2 && e->dims[0] <= UINT32_MAX ? (uint32_t)e->dims[0] : 0;
    s->params.tied = q35_source_find(s, "output.weight") == NULL;
    if (q35_gguf_strings(s->gguf, "tokenizer.ggml.tokens", &tokens, &n, NULL) == Q35_OK &&
        n > s->params.vocab)
        return q35_fail(err, Q35_E_FORMAT, "%s: %llu tokens but an embedding of %u rows", s->path,
                        (unsigned long long)n, s->params.vocab);
    return Q35_OK;
}

/* Llama 3 keeps its scaling as a tensor of divisors, one for each frequency. */
static enum q35_status apply_divisors(struct q35_source *s, struct q35_error *err)
{
    struct raw_tensor *t = q35_source_find(s, "rope_freqs.weight");
    uint32_t i, n = s->params.rope_dim / 2;
    if (!t)
        return Q35_OK;
    t->used = true;
    if (t->dtype != Q35_GGML_F32 || t->n_dims != 1 || t->dims[0] != n)
        return q35_fail(err, Q35_E_FORMAT, "%s: tensor rope_freqs.weight is not F32 [%u]", s->path,
                        n);
    for (i = 0; i < n; i++) {
        float d;
        memcpy(&d, t->data + 4 * (size_t)i, 4);
        if (!isfinite(d) || !(d > 0))
            return q35_fail(err, Q35_E_FORMAT,
                            "%s: tensor rope_freqs.weight has an unusable divisor at column %u",
                            s->path, i);
        s->params.rope_freqs[i] = s->params.rope_freqs[i] / d;
    }
    return Q35_OK;
}

static enum q35_status load_rope(struct q35_source *s, struct q35_error *err)
{
    struct q35_rope_scaling r = {.theta = 10000.0f, .factor = 1.0f};
    struct q35_view type = {"none", 4};
    char key[128];
    enum q35_status st = maybe_f32(s, "rope.freq_base", &r.theta, err);
    if (st == Q35_OK)
        st = maybe_f32(s, "rope.scale_linear", &r.factor, err); /* before there were types */
    if (st != Q35_OK)
        return st;
    if (q35_gguf_has(s->gguf, arch_key(s, "rope.scaling.type", key)))
        st = q35_gguf_string(s->gguf, key, &type, err);
    if (st != Q35_OK)
        return st;
    if (type.len == 6 && memcmp(type.data, "linear", 6) == 0)
        st = maybe_f32(s, "rope.scaling.factor", &r.factor, err);
    else if (type.len != 4 || memcmp(type.data, "none", 4) != 0)
        return q35_fail(err, Q35_E_UNSUPPORTED, "%s: the rope scaling %.*s is not supported",
                        s->path, (int)(type.len < 64 ? type.len : 64), type.data);
    if (st != Q35_OK)
        return st;
    if (!isfinite(r.theta) || !(r.theta > 0) || !isfinite(r.factor) || !(r.factor > 0))
        return q35_fail(err, Q35_E_FORMAT, "%s: the rope base or factor is not above zero",
                        s->path);
    s->params.rope_freqs = q35_rope_freqs(&r, s->params.rope_dim);
    if (!s->params.rope_freqs)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    return apply_divisors(s, err);
}

static enum q35_status add_tensors(struct q35_source *s, const struct q35_gguf *g,
                                   struct q35_error *err)
{
    uint64_t n = q35_gguf_tensor_count(g), i;
    uint32_t d;
    for (i = 0; i < n; i++) {
        const struct q35_gguf_tensor *t = q35_gguf_tensor_at(g, i);
        struct raw_tensor *r = q35_source_add(s, t->name.data, t->name.len);
        if (!r)
            return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
        r->type_name = q35_gguf_tensor_type_name(t->type);
        r->dtype = t->type;
        if (t->type != Q35_GGML_F32 && t->type != Q35_GGML_F16 && t->type != Q35_GGML_BF16 &&
            !q35_block_reader(t->type))
            r->dtype = SOURCE_UNREADABLE;
        r->n_dims = t->n_dims;
        for (d = 0; d < t->n_dims; d++)
            r->dims[d] = t->dims[t->n_dims - 1 - d];
        r->data = t->data;
        r->bytes = t->bytes;
    }
    return Q35_OK;
}

/* Part k (from 0) of a split model: NAME-00002-of-00003.gguf lies beside NAME-00001-of-00003.gguf.
 */
static enum q35_status open_part(struct q35_source *s, size_t stem, uint32_t k, uint32_t count,
                                 struct q35_error *err)
{
    struct q35_str path = {0};
    uint32_t number = UINT32_MAX;
    enum q35_status st;
    q35_str_addf(&path, "%.*s-%05u-of-%05u.gguf", (int)stem, s->path, k + 1, count);
    if (path.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    st = q35_gguf_open(&s->parts[k - 1], path.data, err);
    if (st == Q35_OK) {
        s->part_count = k;
        st = q35_gguf_u32(s->parts[k - 1], "split.no", &number, err);
    }
    if (st == Q35_OK && number != k)
        st = q35_fail(err, Q35_E_FORMAT, "%s: split.no is %u, not %u", path.data, number, k);
    q35_str_fini(&path);
    return st == Q35_OK ? add_tensors(s, s->parts[k - 1], err) : st;
}

/* Models above some size come in parts, made by gguf-split. */
static enum q35_status load_parts(struct q35_source *s, struct q35_error *err)
{
    uint32_t count = 1, number = 0, claimed, k;
    size_t len = strlen(s->path);
    char end[32];
    enum q35_status st = Q35_OK;
    (void)q35_gguf_u32(s->gguf, "split.count", &count, NULL);
    (void)q35_gguf_u32(s->gguf, "split.no", &number, NULL);
    if (count <= 1)
        return Q35_OK;
    snprintf(end, sizeof(end), "-00001-of-%05u.gguf", count);
    if (number != 0 || count > MAX_PARTS || len <= strlen(end) ||
        strcmp(s->path + len - strlen(end), end) != 0)
        return q35_fail(err, Q35_E_INVALID,
                        "%s is part %u of %u: give the first one, named NAME%s, with the others "
                        "beside it",
                        s->path, number + 1, count, end);
    s->parts = calloc(count - 1, sizeof(*s->parts));
    if (!s->parts)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    for (k = 1; k < count && st == Q35_OK; k++)
        st = open_part(s, len - strlen(end), k, count, err);
    if (st == Q35_OK && q35_gguf_u32(s->gguf, "split.tensors.count", &claimed, NULL) == Q35_OK &&
        claimed != s->raw_count)
        return q35_fail(err, Q35_E_FORMAT, "%s: %llu tensors in %u parts, not %u", s->path,
                        (unsigned long long)s->raw_count, count, claimed);
    return st;
}

enum q35_status q35_source_load_gguf(struct q35_source *s, struct q35_error *err)
{
    enum q35_status st = q35_gguf_open(&s->gguf, s->path, err);
    if (st == Q35_OK)
        st = find_arch(s, err);
    if (st == Q35_OK)
        st = check_features(s, err);
    if (st == Q35_OK)
        st = load_sizes(s, err);
    if (st == Q35_OK)
        st = add_tensors(s, s->gguf, err);
    if (st == Q35_OK)
        st = load_parts(s, err);
    if (st == Q35_OK)
        st = q35_source_sort(s, err);
    if (st == Q35_OK)
        st = load_vocab(s, err);
    if (st == Q35_OK)
        st = q35_params_check(&s->params, s->path, err);
    if (st == Q35_OK)
        st = load_rope(s, err);
    return st;
}
