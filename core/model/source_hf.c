/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/source_internal.h"

#define CONFIG_LIMIT (1u << 20)

struct type {
    const char *name;
    bool qkv_bias, qk_norm;
    bool slides; /* knows sliding_window; the others ignore the field */
    /* What transformers' classes take when config.json does not say; 0: none, or by the heads. */
    float norm_eps;
    uint32_t kv_heads, head_dim, window;
};

static const struct type types[] = {
    {"llama", false, false, false, 1e-6f, 0, 0, 0},
    {"mistral", false, false, true, 1e-6f, 8, 0, 4096},
    {"qwen2", true, false, true, 1e-6f, 32, 0, 0},
    {"qwen3", false, true, true, 1e-6f, 32, 128, 0},
    {"phi3", false, false, true, 1e-5f, 0, 0, 0},
};

/* config.json while it is read. */
struct config {
    struct q35_source *s;
    json_t *root;
    const struct type *type;
    json_t *rope; /* rope_parameters, as newer files call it, or rope_scaling, or NULL */
    const char *rope_name;
    struct q35_error *err;
};

static enum q35_status bad_field(const struct config *c, const char *key, const char *want)
{
    return q35_fail(c->err, Q35_E_FORMAT, "%s/config.json: %s is not %s", c->s->path, key, want);
}

/* A field that is absent or null counts as absent. */
static json_t *field(json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

/* *out keeps its value if absent and not required. All numbers were read as reals, because such
 * files like to hold integers of 1e30. */
static enum q35_status get_u32(const struct config *c, const char *key, bool required,
                               uint32_t *out)
{
    json_t *v = field(c->root, key);
    double d = json_number_value(v);
    if (!v && !required)
        return Q35_OK;
    if (!v)
        return q35_fail(c->err, Q35_E_FORMAT, "%s/config.json: %s is missing", c->s->path, key);
    if (!json_is_number(v) || !(d >= 0 && d <= (double)UINT32_MAX) || d != floor(d))
        return bad_field(c, key, "an unsigned 32-bit number");
    *out = (uint32_t)d;
    return Q35_OK;
}

static enum q35_status get_f32(const struct config *c, json_t *object, const char *key,
                               bool required, float *out)
{
    json_t *v = field(object, key);
    if (!v && !required)
        return Q35_OK;
    if (!v)
        return q35_fail(c->err, Q35_E_FORMAT, "%s/config.json: %s is missing", c->s->path, key);
    if (!json_is_number(v) || !isfinite((float)json_number_value(v)))
        return bad_field(c, key, "a number");
    *out = (float)json_number_value(v);
    return Q35_OK;
}

static enum q35_status get_bool(const struct config *c, const char *key, bool *out)
{
    json_t *v = field(c->root, key);
    if (!v)
        return Q35_OK;
    if (!json_is_boolean(v))
        return bad_field(c, key, "true or false");
    *out = json_is_true(v);
    return Q35_OK;
}

static const char *get_text(json_t *object, const char *key)
{
    return json_string_value(field(object, key));
}

/* ---- parts -------------------------------------------------------------------------------- */

static enum q35_status find_type(struct config *c)
{
    struct q35_params *p = &c->s->params;
    const char *type = get_text(c->root, "model_type"), *act = get_text(c->root, "hidden_act");
    const char *slash = strrchr(c->s->path, '/');
    size_t i;
    if (!type)
        return bad_field(c, "model_type", "a string");
    for (i = 0; i < Q35_COUNT(types); i++)
        if (strcmp(type, types[i].name) == 0)
            break;
    if (i == Q35_COUNT(types))
        return q35_fail(c->err, Q35_E_UNSUPPORTED,
                        "%s/config.json: the model type %.64s is not supported (llama, mistral, "
                        "qwen2, qwen3, phi3 are)",
                        c->s->path, type);
    if (act && strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return q35_fail(c->err, Q35_E_UNSUPPORTED,
                        "%s/config.json: the activation %.64s is not supported", c->s->path, act);
    if (field(c->root, "quantization_config"))
        return q35_fail(c->err, Q35_E_UNSUPPORTED,
                        "%s/config.json: the model is quantized already (quantization_config)",
                        c->s->path);
    snprintf(p->arch, sizeof(p->arch), "%s", type);
    snprintf(p->name, sizeof(p->name), "%.120s", slash && slash[1] ? slash + 1 : c->s->path);
    p->rope_style = Q35_ROPE_HALVES;
    c->type = &types[i];
    p->norm_eps = types[i].norm_eps;
    c->s->need_qkv_bias = types[i].qkv_bias;
    c->s->need_qk_norm = types[i].qk_norm;
    return Q35_OK;
}

static enum q35_status load_sizes(const struct config *c)
{
    struct q35_params *p = &c->s->params;
    float part = 1.0f;
    enum q35_status st = get_u32(c, "num_hidden_layers", true, &p->n_layers);
    if (st == Q35_OK)
        st = get_u32(c, "hidden_size", true, &p->d_model);
    if (st == Q35_OK)
        st = get_u32(c, "intermediate_size", true, &p->d_ffn);
    if (st == Q35_OK)
        st = get_u32(c, "num_attention_heads", true, &p->n_heads);
    p->n_kv_heads = c->type->kv_heads ? c->type->kv_heads : p->n_heads;
    if (st == Q35_OK)
        st = get_u32(c, "num_key_value_heads", false, &p->n_kv_heads);
    if (st == Q35_OK)
        st = get_u32(c, "vocab_size", true, &p->vocab);
    if (st == Q35_OK)
        st = get_u32(c, "max_position_embeddings", true, &p->context);
    p->head_dim = c->type->head_dim ? c->type->head_dim : p->n_heads ? p->d_model / p->n_heads : 0;
    if (st == Q35_OK)
        st = get_u32(c, "head_dim", false, &p->head_dim);
    if (st == Q35_OK)
        st = get_f32(c, c->root, "rms_norm_eps", false, &p->norm_eps);
    if (st == Q35_OK)
        st = get_f32(c, c->root, "partial_rotary_factor", false, &part);
    if (st == Q35_OK && c->rope)
        st = get_f32(c, c->rope, "partial_rotary_factor", false, &part);
    if (st == Q35_OK)
        st = get_bool(c, "tie_word_embeddings", &p->tied);
    if (st == Q35_OK && !(part > 0 && part <= 1))
        return bad_field(c, "partial_rotary_factor", "above 0 and at most 1");
    p->rope_dim = (uint32_t)((double)p->head_dim * (double)part);
    p->attn_scale = (float)(1.0 / sqrt((double)p->head_dim));
    p->embed_scale = 1.0f;
    return st;
}

/* All layers slide, or none: layers that differ are refused. */
static enum q35_status load_window(const struct config *c)
{
    struct q35_params *p = &c->s->params;
    json_t *layer_types = field(c->root, "layer_types"), *v;
    bool qwen = strncmp(p->arch, "qwen", 4) == 0, use = c->type->slides && !qwen;
    uint32_t window = c->type->window, full = 0, sliding_from = 28; /* Qwen's default */
    size_t i, sliding = 0;
    enum q35_status st = get_u32(c, "sliding_window", false, &window);
    if (json_is_null(json_object_get(c->root, "sliding_window")))
        window = 0;
    if (st == Q35_OK && qwen)
        st = get_bool(c, "use_sliding_window", &use);
    if (st == Q35_OK && qwen)
        st = get_u32(c, "max_window_layers", false, &sliding_from);
    if (st != Q35_OK || !use || window == 0)
        return st;
    sliding_from = qwen ? sliding_from : 0;
    if (layer_types && !json_is_array(layer_types))
        return bad_field(c, "layer_types", "an array");
    if (layer_types) {
        json_array_foreach(layer_types, i, v)
        {
            const char *t = json_string_value(v);
            sliding += t && strcmp(t, "sliding_attention") == 0;
        }
        full = (uint32_t)(json_array_size(layer_types) - sliding);
    } else {
        full = sliding_from < p->n_layers ? sliding_from : p->n_layers;
        sliding = p->n_layers - full;
    }
    if (full && sliding)
        return q35_fail(c->err, Q35_E_UNSUPPORTED,
                        "%s/config.json: a sliding window in some layers only is not supported",
                        c->s->path);
    p->window = sliding ? window : 0;
    return Q35_OK;
}

static enum q35_status load_llama3(const struct config *c, json_t *o, struct q35_rope_scaling *r)
{
    enum q35_status st = get_f32(c, o, "factor", true, &r->factor);
    r->llama3 = true;
    if (st == Q35_OK)
        st = get_f32(c, o, "low_freq_factor", true, &r->low);
    if (st == Q35_OK)
        st = get_f32(c, o, "high_freq_factor", true, &r->high);
    if (st == Q35_OK)
        st = get_f32(c, o, "original_max_position_embeddings", true, &r->original);
    if (st == Q35_OK && !(r->low > 0 && r->high > r->low && r->original > 0))
        return bad_field(c, c->rope_name, "usable llama3 scaling");
    return st;
}

static enum q35_status find_rope(struct config *c)
{
    c->rope_name = field(c->root, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    c->rope = field(c->root, c->rope_name);
    return c->rope && !json_is_object(c->rope) ? bad_field(c, c->rope_name, "an object") : Q35_OK;
}

static enum q35_status load_rope(const struct config *c)
{
    struct q35_rope_scaling r = {.theta = 10000.0f, .factor = 1.0f};
    json_t *o = c->rope;
    const char *type;
    enum q35_status st = get_f32(c, c->root, "rope_theta", false, &r.theta);
    if (st == Q35_OK && o)
        st = get_f32(c, o, "rope_theta", false, &r.theta);
    if (st != Q35_OK)
        return st;
    type = o ? get_text(o, "rope_type") : "default";
    if (!type)
        type = get_text(o, "type");
    if (!type)
        return bad_field(c, c->rope_name, "of a type that is named");
    if (strcmp(type, "linear") == 0)
        st = get_f32(c, o, "factor", true, &r.factor);
    else if (strcmp(type, "llama3") == 0)
        st = load_llama3(c, o, &r);
    else if (strcmp(type, "default") != 0)
        return q35_fail(c->err, Q35_E_UNSUPPORTED,
                        "%s/config.json: the %s type %.64s is not supported (default, linear and "
                        "llama3 are)",
                        c->s->path, c->rope_name, type);
    if (st == Q35_OK && (!(r.theta > 0) || !(r.factor > 0)))
        return bad_field(c, "rope_theta or factor", "above zero");
    if (st != Q35_OK)
        return st;
    c->s->params.rope_freqs = q35_rope_freqs(&r, c->s->params.rope_dim);
    return c->s->params.rope_freqs
               ? Q35_OK
               : q35_fail(c->err, Q35_E_NOMEM, "no memory to open %s", c->s->path);
}

enum q35_status q35_source_load_hf(struct q35_source *s, struct q35_error *err)
{
    struct config c = {.s = s, .err = err};
    struct q35_str path = {0};
    json_error_t why;
    char *text = NULL;
    size_t bytes;
    enum q35_status st;
    q35_str_addf(&path, "%s/config.json", s->path);
    if (path.failed)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    st = q35_file_read(path.data, CONFIG_LIMIT, &text, &bytes, err);
    if (st == Q35_OK) {
        c.root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
        if (!json_is_object(c.root))
            st = q35_fail(err, Q35_E_FORMAT, "%s:%d: %s", path.data, c.root ? 1 : why.line,
                          c.root ? "not an object" : why.text);
    }
    if (st == Q35_OK)
        st = find_type(&c);
    if (st == Q35_OK)
        st = find_rope(&c);
    if (st == Q35_OK)
        st = load_sizes(&c);
    if (st == Q35_OK)
        st = load_window(&c);
    if (st == Q35_OK)
        st = q35_params_check(&s->params, s->path, err);
    if (st == Q35_OK)
        st = load_rope(&c);
    if (st == Q35_OK)
        st = q35_safetensors_load(s, err);
    json_decref(c.root);
    free(text);
    q35_str_fini(&path);
    return st;
}
