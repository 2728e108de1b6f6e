/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/model/roles.h"
#include "core/model/source_internal.h"

/* ---- raw tensors -------------------------------------------------------------------------- */

struct raw_tensor *q35_source_add(struct q35_source *s, const char *name, size_t len)
{
    struct raw_tensor *t;
    if (s->raw_count == s->raw_cap) {
        uint64_t cap = s->raw_cap ? 2 * s->raw_cap : 256;
        t = cap <= SOURCE_MAX_TENSORS ? realloc(s->raw, (size_t)cap * sizeof(*t)) : NULL;
        if (!t)
            return NULL;
        s->raw = t;
        s->raw_cap = cap;
    }
    t = &s->raw[s->raw_count];
    memset(t, 0, sizeof(*t));
    t->name = strndup(name, len);
    if (!t->name)
        return NULL;
    s->raw_count++;
    return t;
}

static int raw_order(const void *a, const void *b)
{
    return strcmp(((const struct raw_tensor *)a)->name, ((const struct raw_tensor *)b)->name);
}

enum q35_status q35_source_sort(struct q35_source *s, struct q35_error *err)
{
    uint64_t i;
    if (s->raw_count)
        qsort(s->raw, (size_t)s->raw_count, sizeof(*s->raw), raw_order);
    for (i = 1; i < s->raw_count; i++)
        if (strcmp(s->raw[i - 1].name, s->raw[i].name) == 0)
            return q35_fail(err, Q35_E_FORMAT, "%s: the tensor %s occurs twice", s->path,
                            s->raw[i].name);
    return Q35_OK;
}

struct raw_tensor *q35_source_find(struct q35_source *s, const char *name)
{
    struct raw_tensor key = {0};
    key.name = (char *)(uintptr_t)name;
    return s->raw_count ? bsearch(&key, s->raw, (size_t)s->raw_count, sizeof(key), raw_order)
                        : NULL;
}

/* ---- parameters --------------------------------------------------------------------------- */

enum q35_status q35_params_check(const struct q35_params *p, const char *path,
                                 struct q35_error *err)
{
    const struct {
        const char *name;
        uint32_t value, max;
    } limits[] = {
        {"number of layers", p->n_layers, 4096},
        {"hidden size", p->d_model, Q35_MAX_COLS},
        {"feed-forward size", p->d_ffn, Q35_MAX_COLS},
        {"number of heads", p->n_heads, 65536},
        {"number of key-value heads", p->n_kv_heads, 65536},
        {"head size", p->head_dim, 65536},
        {"vocabulary size", p->vocab, Q35_MAX_ROWS},
        {"context length", p->context, 1u << 30},
    };
    size_t i;
    for (i = 0; i < Q35_COUNT(limits); i++)
        if (limits[i].value == 0 || limits[i].value > limits[i].max)
            return q35_fail(err, Q35_E_FORMAT, "%s: the %s is %u, not 1 to %u", path,
                            limits[i].name, limits[i].value, limits[i].max);
    if (p->n_heads % p->n_kv_heads)
        return q35_fail(err, Q35_E_FORMAT, "%s: %u heads cannot share %u key-value heads", path,
                        p->n_heads, p->n_kv_heads);
    if ((uint64_t)p->n_heads * p->head_dim > Q35_MAX_COLS)
        return q35_fail(err, Q35_E_FORMAT, "%s: %u heads of %u values are more than %u", path,
                        p->n_heads, p->head_dim, Q35_MAX_COLS);
    if (p->rope_dim > p->head_dim || p->rope_dim % 2)
        return q35_fail(err, Q35_E_FORMAT, "%s: %u rotated values of a head of %u", path,
                        p->rope_dim, p->head_dim);
    if (!isfinite(p->norm_eps) || !(p->norm_eps >= 0) || !isfinite(p->attn_scale))
        return q35_fail(err, Q35_E_FORMAT,
                        "%s: the norm epsilon or attention scale is not a "
                        "usable number",
                        path);
    return Q35_OK;
}

/* ---- roles -------------------------------------------------------------------------------- */

/* One tensor that holds several roles, row after row (Phi-3). */
struct fusion {
    const char *gguf, *hf;
    uint32_t count;
    uint32_t roles[3];
};

static const struct fusion fusions[] = {
    {"attn_qkv.weight", "self_attn.qkv_proj.weight", 3, {Q35_ROLE_Q, Q35_ROLE_K, Q35_ROLE_V}},
    {"attn_qkv.bias",
     "self_attn.qkv_proj.bias",
     3,
     {Q35_ROLE_Q_BIAS, Q35_ROLE_K_BIAS, Q35_ROLE_V_BIAS}},
    {"ffn_up.weight", "mlp.gate_up_proj.weight", 2, {Q35_ROLE_GATE, Q35_ROLE_UP}},
};

static bool role_required(const struct q35_source *s, uint32_t role)
{
    switch (role) {
    case Q35_ROLE_Q_BIAS:
    case Q35_ROLE_K_BIAS:
    case Q35_ROLE_V_BIAS:
        return s->need_qkv_bias;
    case Q35_ROLE_Q_NORM:
    case Q35_ROLE_K_NORM:
        return s->need_qk_norm;
    default:
        return role != Q35_ROLE_O_BIAS;
    }
}

/* ---- resolving ---------------------------------------------------------------------------- */

/* Whether t is a matrix of rows x cols, or a vector if rows is 1; reports what it is instead. */
static enum q35_status check_shape(const struct q35_source *s, const struct raw_tensor *t,
                                   uint32_t rows, uint32_t cols, struct q35_error *err)
{
    char shape[128] = "";
    size_t n = 0;
    uint32_t d;
    if (t->n_dims == 2 && t->dims[0] == rows && t->dims[1] == cols && rows > 1)
        return Q35_OK;
    if (t->n_dims == 1 && t->dims[0] == cols && rows == 1)
        return Q35_OK;
    for (d = 0; d < t->n_dims && d < 4; d++)
        n += (size_t)snprintf(shape + n, sizeof(shape) - n, "%s%llu", d ? ", " : "",
                              (unsigned long long)t->dims[d]);
    if (rows == 1)
        return q35_fail(err, Q35_E_FORMAT, "%s: tensor %s has shape [%s], expected [%u]", s->path,
                        t->name, shape, cols);
    return q35_fail(err, Q35_E_FORMAT, "%s: tensor %s has shape [%s], expected [%u, %u]", s->path,
                    t->name, shape, rows, cols);
}

/* Rows first .. first+rows-1 of t. */
static enum q35_status take(const struct q35_source *s, struct raw_tensor *t, uint32_t first,
                            uint32_t rows, uint32_t cols, struct q35_source_tensor *out,
                            struct q35_error *err)
{
    uint64_t total = t->n_dims == 1 ? 1 : t->dims[0];
    bool part_of_vector = t->n_dims == 1 && t->dims[0] != cols;
    if (t->dtype == SOURCE_UNREADABLE)
        return q35_fail(err, Q35_E_UNSUPPORTED,
                        "%s: tensor %s has type %s; q35 reads F32, F16, BF16%s", s->path, t->name,
                        t->type_name,
                        s->hf ? "" : ", Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0");
    if (part_of_vector && q35_block_reader(t->dtype))
        return q35_fail(err, Q35_E_UNSUPPORTED, "%s: tensor %s is fused and %s", s->path, t->name,
                        t->type_name);
    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "%s", t->name);
    out->rows = rows;
    out->cols = cols;
    out->dtype = t->dtype;
    out->first_row = first;
    out->row_bytes = part_of_vector ? t->bytes / t->dims[0] * cols : t->bytes / total;
    out->data = t->data + (part_of_vector ? t->bytes / t->dims[0] : out->row_bytes) * first;
    t->used = true;
    return Q35_OK;
}

static void layer_name(const struct q35_source *s, uint32_t layer, const char *gguf, const char *hf,
                       char *out, size_t size)
{
    if (s->hf)
        snprintf(out, size, "model.layers.%u.%s", layer, hf);
    else
        snprintf(out, size, "blk.%u.%s", layer, gguf);
}

/* If the layer has the fused tensor, takes its parts. GGUF calls Phi-3's gate and up together
 * "ffn_up": it is the fused one when there is no gate. */
static enum q35_status resolve_fusion(struct q35_source *s, uint32_t layer, const struct fusion *f,
                                      struct q35_error *err)
{
    struct q35_source_tensor *slots = s->layers + (size_t)layer * Q35_ROLE_COUNT;
    const struct q35_role_info *first_role = &q35_role_infos[f->roles[0]];
    uint32_t i, first = 0, total = 0, cols;
    bool vector = first_role->rows == Q35_DIM_ONE;
    enum q35_status st;
    struct raw_tensor *t;
    char name[160];
    layer_name(s, layer, first_role->gguf, first_role->hf, name, sizeof(name));
    if (q35_source_find(s, name))
        return Q35_OK;
    layer_name(s, layer, f->gguf, f->hf, name, sizeof(name));
    t = q35_source_find(s, name);
    if (!t)
        return Q35_OK;
    for (i = 0; i < f->count; i++) {
        const struct q35_role_info *r = &q35_role_infos[f->roles[i]];
        total += q35_dim_size(&s->params, vector ? r->cols : r->rows);
    }
    cols = q35_dim_size(&s->params, first_role->cols);
    st = vector ? check_shape(s, t, 1, total, err) : check_shape(s, t, total, cols, err);
    for (i = 0; i < f->count && st == Q35_OK; i++) {
        const struct q35_role_info *r = &q35_role_infos[f->roles[i]];
        uint32_t n = q35_dim_size(&s->params, vector ? r->cols : r->rows);
        st = take(s, t, first, vector ? 1 : n, vector ? n : cols, &slots[r->role], err);
        first += n;
    }
    return st;
}

static enum q35_status resolve_layer(struct q35_source *s, uint32_t layer, struct q35_error *err)
{
    struct q35_source_tensor *slots = s->layers + (size_t)layer * Q35_ROLE_COUNT;
    enum q35_status st = Q35_OK;
    char name[160];
    size_t i;
    for (i = 0; i < Q35_COUNT(fusions) && st == Q35_OK; i++)
        st = resolve_fusion(s, layer, &fusions[i], err);
    for (i = 0; i < Q35_ROLE_INFO_COUNT && st == Q35_OK; i++) {
        const struct q35_role_info *r = &q35_role_infos[i];
        uint32_t rows = q35_dim_size(&s->params, r->rows), cols = q35_dim_size(&s->params, r->cols);
        struct raw_tensor *t;
        if (!r->per_layer || slots[r->role].data)
            continue;
        layer_name(s, layer, r->gguf, r->hf, name, sizeof(name));
        t = q35_source_find(s, name);
        if (!t && !role_required(s, r->role))
            continue;
        if (!t && r->rows == Q35_DIM_ONE)
            return q35_fail(err, Q35_E_FORMAT, "%s: tensor %s of shape [%u] is missing", s->path,
                            name, cols);
        if (!t)
            return q35_fail(err, Q35_E_FORMAT, "%s: tensor %s of shape [%u, %u] is missing",
                            s->path, name, rows, cols);
        st = check_shape(s, t, rows, cols, err);
        if (st == Q35_OK)
            st = take(s, t, 0, rows, cols, &slots[r->role], err);
    }
    return st;
}

static enum q35_status resolve_global(struct q35_source *s, const char *name, uint32_t rows,
                                      struct q35_source_tensor *out, struct q35_error *err)
{
    struct raw_tensor *t = q35_source_find(s, name);
    enum q35_status st;
    if (!t)
        return q35_fail(err, Q35_E_FORMAT, "%s: tensor %s is missing", s->path, name);
    st = check_shape(s, t, rows, s->params.d_model, err);
    return st == Q35_OK ? take(s, t, 0, rows, s->params.d_model, out, err) : st;
}

/* Tied Hugging Face models may keep the shared matrix under either name. */
static enum q35_status resolve_ends(struct q35_source *s, struct q35_error *err)
{
    const char *embed = s->hf ? "model.embed_tokens.weight" : "token_embd.weight";
    const char *head = s->hf ? "lm_head.weight" : "output.weight";
    struct raw_tensor *other;
    enum q35_status st;
    if (s->params.tied && !q35_source_find(s, embed) && q35_source_find(s, head))
        embed = head;
    st = resolve_global(s, embed, s->params.vocab, &s->embed, err);
    if (st == Q35_OK)
        st = resolve_global(s, s->hf ? "model.norm.weight" : "output_norm.weight", 1, &s->out_norm,
                            err);
    if (st == Q35_OK && !s->params.tied)
        st = resolve_global(s, head, s->params.vocab, &s->head, err);
    other = q35_source_find(s, head);
    if (other && s->params.tied)
        other->used = true;
    return st;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A tensor nothing asked for means a model that q35 would compute wrongly. */
static enum q35_status check_all_used(const struct q35_source *s, struct q35_error *err)
{
    uint64_t i;
    for (i = 0; i < s->raw_count; i++) {
        const char *name = s->raw[i].name;
        if (!s->raw[i].used && !ends_with(name, "rotary_emb.inv_freq"))
            return q35_fail(err, Q35_E_UNSUPPORTED,
                            "%s: tensor %s has no place in a %s model of %u layers as q35 knows it",
                            s->path, name, s->params.arch, s->params.n_layers);
    }
    return Q35_OK;
}

static enum q35_status resolve(struct q35_source *s, struct q35_error *err)
{
    enum q35_status st = q35_params_check(&s->params, s->path, err);
    uint32_t i;
    if (st == Q35_OK)
        st = resolve_ends(s, err);
    if (st != Q35_OK)
        return st;
    /* every layer has six tensors or more, so a claim cannot ask for more memory than the file */
    if (s->params.n_layers > s->raw_count / 6)
        return q35_fail(err, Q35_E_FORMAT, "%s: %u layers are claimed but there are %llu tensors",
                        s->path, s->params.n_layers, (unsigned long long)s->raw_count);
    s->layers = calloc((size_t)s->params.n_layers * Q35_ROLE_COUNT, sizeof(*s->layers));
    if (!s->layers)
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", s->path);
    for (i = 0; i < s->params.n_layers && st == Q35_OK; i++)
        st = resolve_layer(s, i, err);
    return st == Q35_OK ? check_all_used(s, err) : st;
}

/* ---- the public part ---------------------------------------------------------------------- */

enum q35_status q35_source_open(struct q35_source **out, const char *path, struct q35_error *err)
{
    struct q35_source *s = calloc(1, sizeof(*s));
    enum q35_status st;
    struct stat info;
    *out = NULL;
    if (!s || !(s->path = strdup(path))) {
        free(s);
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", path);
    }
    s->hf = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    st = s->hf ? q35_source_load_hf(s, err) : q35_source_load_gguf(s, err);
    if (st == Q35_OK)
        st = resolve(s, err);
    if (st == Q35_OK)
        *out = s;
    else
        q35_source_close(s);
    return st;
}

void q35_source_close(struct q35_source *s)
{
    uint64_t i;
    if (!s)
        return;
    for (i = 0; i < s->raw_count; i++)
        free(s->raw[i].name);
    free(s->raw);
    for (i = 0; i < s->file_count; i++)
        q35_file_unmap(&s->files[i]);
    free(s->files);
    for (i = 0; i < s->part_count; i++)
        q35_gguf_close(s->parts[i]);
    free(s->parts);
    q35_gguf_close(s->gguf);
    free(s->layers);
    free(s->params.rope_freqs);
    free(s->path);
    free(s);
}

const struct q35_params *q35_source_params(const struct q35_source *s)
{
    return &s->params;
}

const char *q35_source_path(const struct q35_source *s)
{
    return s->path;
}

const struct q35_gguf *q35_source_gguf(const struct q35_source *s)
{
    return s->gguf;
}

enum q35_status q35_source_tensor(const struct q35_source *s, uint32_t layer, uint32_t role,
                                  struct q35_source_tensor *out)
{
    const struct q35_source_tensor *t = NULL;
    if (role == Q35_ROLE_TOKEN_EMBED)
        t = &s->embed;
    else if (role == Q35_ROLE_OUT_NORM)
        t = &s->out_norm;
    else if (role == Q35_ROLE_HEAD)
        t = s->params.tied ? &s->embed : &s->head;
    else if (role < Q35_ROLE_COUNT && layer < s->params.n_layers)
        t = &s->layers[(size_t)layer * Q35_ROLE_COUNT + role];
    if (!t || !t->data)
        return Q35_E_NOT_FOUND;
    *out = *t;
    return Q35_OK;
}
