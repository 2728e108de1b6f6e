/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/model/model_internal.h"
#include "core/model/roles.h"
#include "core/model/source_internal.h"

/* The tables q35.packed.* and q35.hash.*, while a file is opened. */
struct container {
    struct q35_model *m;
    const struct q35_gguf *g;
    const struct q35_view *packed_names, *hash_names;
    uint64_t packed_count, hash_count;
    uint64_t used;                   /* tensors of the file that have a place in the graph */
    uint64_t packed_next, hash_next; /* where the next name is likely to be */
    uint64_t *rows, *cols, *scheme, *rot_block, *rot_seed, *hashes;
    struct q35_error *err;
};

static const struct {
    uint32_t scheme;
    const char *name;
} schemes[] = {
    {Q35_SCHEME_ALT43, "alt43"},     {Q35_SCHEME_VQ2, "vq2"},
    {Q35_SCHEME_TRELLIS, "trellis"}, {Q35_SCHEME_TRELLIS2, "trellis2"},
    {Q35_SCHEME_SINGLE, "single"},   {Q35_SCHEME_TRIPLE, "triple"},
};

const char *q35_scheme_name(uint32_t scheme)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(schemes); i++)
        if (schemes[i].scheme == scheme)
            return schemes[i].name;
    return NULL;
}

uint32_t q35_scheme_find(const char *name)
{
    size_t i;
    for (i = 0; i < Q35_COUNT(schemes); i++)
        if (strcmp(schemes[i].name, name) == 0)
            return schemes[i].scheme;
    return 0;
}

static enum q35_status bad_tensor(const struct container *c, const char *name, const char *what)
{
    return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %s %s", c->m->path, name, what);
}

/* ---- metadata ----------------------------------------------------------------------------- */

static enum q35_status arch_u32(const struct container *c, const char *key, uint32_t *out)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", c->m->params.arch, key);
    return q35_gguf_u32(c->g, name, out, c->err);
}

static enum q35_status read_sizes(const struct container *c)
{
    struct q35_params *p = &c->m->params;
    const struct {
        const char *key;
        uint32_t *out;
    } fields[] = {
        {"block_count", &p->n_layers},
        {"embedding_length", &p->d_model},
        {"feed_forward_length", &p->d_ffn},
        {"attention.head_count", &p->n_heads},
        {"attention.head_count_kv", &p->n_kv_heads},
        {"attention.key_length", &p->head_dim},
        {"rope.dimension_count", &p->rope_dim},
        {"context_length", &p->context},
        {"vocab_size", &p->vocab},
    };
    enum q35_status st = Q35_OK;
    char key[96];
    size_t i;
    for (i = 0; i < Q35_COUNT(fields) && st == Q35_OK; i++)
        st = arch_u32(c, fields[i].key, fields[i].out);
    snprintf(key, sizeof(key), "%s.attention.sliding_window", p->arch);
    if (st == Q35_OK && q35_gguf_has(c->g, key))
        st = q35_gguf_u32(c->g, key, &p->window, c->err);
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", p->arch);
    if (st == Q35_OK)
        st = q35_gguf_f32(c->g, key, &p->norm_eps, c->err);
    if (st == Q35_OK)
        st = q35_gguf_u32(c->g, "q35.rope_style", &p->rope_style, c->err);
    if (st == Q35_OK)
        st = q35_gguf_f32(c->g, "q35.attn_scale", &p->attn_scale, c->err);
    if (st == Q35_OK)
        st = q35_gguf_f32(c->g, "q35.embed_scale", &p->embed_scale, c->err);
    if (st != Q35_OK)
        return st;
    if (p->rope_style > Q35_ROPE_HALVES || !isfinite(p->embed_scale))
        return q35_fail(c->err, Q35_E_FORMAT, "%s: q35.rope_style or q35.embed_scale is unusable",
                        c->m->path);
    return q35_params_check(p, c->m->path, c->err);
}

static enum q35_status read_rope(const struct container *c)
{
    struct q35_params *p = &c->m->params;
    uint64_t n, i;
    enum q35_status st = q35_gguf_f32s(c->g, "q35.rope_freqs", &p->rope_freqs, &n, c->err);
    if (st != Q35_OK)
        return st;
    for (i = 0; i < n && isfinite(p->rope_freqs[i]); i++)
        ;
    if (n != p->rope_dim / 2 || i != n)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: q35.rope_freqs is not %u finite numbers",
                        c->m->path, p->rope_dim / 2);
    return Q35_OK;
}

static enum q35_status read_params(const struct container *c)
{
    struct q35_params *p = &c->m->params;
    struct q35_view v;
    uint32_t version = 0;
    enum q35_status st;
    if (!q35_gguf_has(c->g, "q35.version"))
        return q35_fail(c->err, Q35_E_FORMAT, "%s is not a packed model; make one with q35 convert",
                        c->m->path);
    st = q35_gguf_u32(c->g, "q35.version", &version, c->err);
    if (st == Q35_OK && version != Q35_FORMAT_VERSION)
        return q35_fail(c->err, Q35_E_VERSION, "%s has format version %u; this q35 reads %u",
                        c->m->path, version, Q35_FORMAT_VERSION);
    if (st == Q35_OK)
        st = q35_gguf_string(c->g, "q35.scheme", &v, c->err);
    if (st != Q35_OK)
        return st;
    snprintf(c->m->scheme, sizeof(c->m->scheme), "%.*s", (int)(v.len < 63 ? v.len : 63), v.data);
    st = q35_gguf_string(c->g, "general.architecture", &v, c->err);
    if (st != Q35_OK)
        return st;
    if (v.len == 0 || v.len >= sizeof(p->arch))
        return q35_fail(c->err, Q35_E_FORMAT, "%s: general.architecture is unusable", c->m->path);
    snprintf(p->arch, sizeof(p->arch), "%.*s", (int)v.len, v.data);
    if (q35_gguf_string(c->g, "general.name", &v, NULL) == Q35_OK)
        snprintf(p->name, sizeof(p->name), "%.*s", (int)(v.len < 120 ? v.len : 120), v.data);
    st = read_sizes(c);
    return st == Q35_OK ? read_rope(c) : st;
}

static enum q35_status read_column(const struct container *c, const char *key, uint64_t expected,
                                   uint64_t **out)
{
    uint64_t n;
    enum q35_status st = q35_gguf_u64s(c->g, key, out, &n, c->err);
    if (st == Q35_OK && n != expected)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: %s has %llu entries, not %llu", c->m->path, key,
                        (unsigned long long)n, (unsigned long long)expected);
    return st;
}

static enum q35_status read_tables(struct container *c)
{
    enum q35_status st =
        q35_gguf_strings(c->g, "q35.packed.names", &c->packed_names, &c->packed_count, c->err);
    if (st == Q35_OK)
        st = read_column(c, "q35.packed.rows", c->packed_count, &c->rows);
    if (st == Q35_OK)
        st = read_column(c, "q35.packed.cols", c->packed_count, &c->cols);
    if (st == Q35_OK)
        st = read_column(c, "q35.packed.scheme", c->packed_count, &c->scheme);
    if (st == Q35_OK)
        st = read_column(c, "q35.packed.rot_block", c->packed_count, &c->rot_block);
    if (st == Q35_OK)
        st = read_column(c, "q35.packed.rot_seed", c->packed_count, &c->rot_seed);
    if (st == Q35_OK)
        st = q35_gguf_strings(c->g, "q35.hash.names", &c->hash_names, &c->hash_count, c->err);
    if (st == Q35_OK)
        st = read_column(c, "q35.hash.values", c->hash_count, &c->hashes);
    if (st == Q35_OK && (c->packed_count > q35_gguf_tensor_count(c->g) ||
                         c->hash_count > q35_gguf_tensor_count(c->g)))
        return q35_fail(c->err, Q35_E_FORMAT, "%s: q35.packed or q35.hash names too many tensors",
                        c->m->path);
    return st;
}

/* Index of a name, `n` if it is not there. Looks from *next on and leaves it behind what was found:
 * names in the order of the graph are found at once. */
static uint64_t name_index(const struct q35_view *names, uint64_t n, const char *name,
                           uint64_t *next)
{
    size_t len = strlen(name);
    uint64_t i, k;
    for (k = 0; k < n; k++) {
        i = (*next + k) % n;
        if (names[i].len == len && memcmp(names[i].data, name, len) == 0) {
            *next = i + 1;
            return i;
        }
    }
    return n;
}

/* ---- tensors ------------------------------------------------------------------------------ */

/* Every sum of table entries that a decoder can form must lie in [-127, 127], and terms that the
 * scheme does not have must be zero. */
static const char *check_tables(uint32_t scheme, const struct q35_tables *t)
{
    uint32_t weights = Q35_SCHEME_WEIGHTS(scheme), i, k;
    for (k = 0; k < weights; k++) {
        const int8_t *const a[3] = {t->a0, t->a1, t->a2};
        int low[2] = {127, 15}, high[2] = {-128, 0}, n;
        for (i = 0; i < Q35_TABLE_LEN; i++) {
            const int b[3] = {t->b[i] >> 4, t->b[i] & 15, (int)q35_b_third(t->b[i])};
            const int v[2] = {a[k][i], b[k]};
            for (n = 0; n < 2; n++) {
                low[n] = v[n] < low[n] ? v[n] : low[n];
                high[n] = v[n] > high[n] ? v[n] : high[n];
            }
        }
        if (high[0] + Q35_B_STEP * high[1] > Q35_W_MAX || low[0] + Q35_B_STEP * low[1] < -Q35_W_MAX)
            return "has tables whose sums leave [-127, 127]";
    }
    for (i = 0; i < Q35_TABLE_LEN; i++)
        if ((!Q35_SCHEME_HAS_B(scheme) && t->b[i]) || (weights < 3 && t->a2[i]))
            return "has table entries that its scheme does not use";
    return NULL;
}

static enum q35_status check_blob(const struct container *c, const char *name,
                                  const struct q35_tensor_desc *d, const uint8_t *data)
{
    struct q35_tables t;
    const char *wrong;
    uint32_t i;
    float s;
    memcpy(t.a0, data, 128);
    memcpy(t.a1, data + 128, 128);
    memcpy(t.b, data + 256, 128);
    memcpy(t.a2, data + 384, 128);
    wrong = check_tables(d->scheme, &t);
    if (wrong)
        return bad_tensor(c, name, wrong);
    for (i = 0; i < q35_pad_rows(d->rows); i++) {
        memcpy(&s, data + Q35_BLOB_TABLES + 4 * (size_t)i, 4);
        if (!isfinite(s))
            return q35_fail(c->err, Q35_E_FORMAT,
                            "%s: tensor %s: the scale of row %u is not finite", c->m->path, name,
                            i);
    }
    return Q35_OK;
}

/* Fills scheme, sizes and rotation of a packed tensor from the tables. */
static enum q35_status read_packed(struct container *c, const char *name,
                                   const struct q35_gguf_tensor *t, struct q35_tensor_desc *d)
{
    uint64_t i = name_index(c->packed_names, c->packed_count, name, &c->packed_next);
    if (i == c->packed_count)
        return bad_tensor(c, name, "is missing in q35.packed.names");
    if (c->scheme[i] > UINT32_MAX || !q35_scheme_name((uint32_t)c->scheme[i]))
        return q35_fail(c->err, Q35_E_UNSUPPORTED, "%s: tensor %s has the unknown scheme %llu",
                        c->m->path, name, (unsigned long long)c->scheme[i]);
    if (c->rows[i] != d->rows || c->cols[i] != d->cols)
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: tensor %s has shape [%llu, %llu], expected [%u, %u]", c->m->path, name,
                        (unsigned long long)c->rows[i], (unsigned long long)c->cols[i], d->rows,
                        d->cols);
    if (c->rot_block[i] != 0 && c->rot_block[i] != q35_rot_block(d->cols))
        return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %s has rotation blocks of %llu, not %u",
                        c->m->path, name, (unsigned long long)c->rot_block[i],
                        q35_rot_block(d->cols));
    d->type = Q35_TENSOR_PACKED;
    d->scheme = (uint32_t)c->scheme[i];
    d->rot_block = (uint32_t)c->rot_block[i];
    d->rot_seed = c->rot_seed[i];
    d->bytes = q35_blob_bytes(d->scheme, d->rows, d->cols);
    if (t->type != Q35_GGML_I8 || t->n_dims != 1 || t->bytes != d->bytes)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %s is not %llu bytes of type I8",
                        c->m->path, name, (unsigned long long)d->bytes);
    return check_blob(c, name, d, t->data);
}

static enum q35_status read_vector(const struct container *c, const char *name,
                                   const struct q35_gguf_tensor *t, struct q35_tensor_desc *d)
{
    uint32_t i;
    d->type = Q35_TENSOR_F32;
    d->bytes = 4ull * d->cols;
    if (t->type != Q35_GGML_F32 || t->n_dims != 1 || t->dims[0] != d->cols)
        return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %s is not F32 [%u]", c->m->path, name,
                        d->cols);
    for (i = 0; i < d->cols; i++) {
        float v;
        memcpy(&v, t->data + 4 * (size_t)i, 4);
        if (!isfinite(v))
            return q35_fail(c->err, Q35_E_FORMAT, "%s: tensor %s is not finite at column %u",
                            c->m->path, name, i);
    }
    return Q35_OK;
}

/* Adds the tensor of a role to a graph layer. `as` is the role it gets there. */
static enum q35_status add_tensor(struct container *c, uint32_t role, uint32_t as, uint32_t layer)
{
    const struct q35_role_info *r = &q35_role_infos[role];
    struct q35_tensor_desc d = {.role = as};
    const struct q35_gguf_tensor *t;
    char name[Q35_TENSOR_NAME_MAX];
    enum q35_status st;
    uint64_t h;
    q35_role_name(role, layer - 1, name);
    t = q35_gguf_tensor_find(c->g, name);
    if (!t && r->optional)
        return Q35_OK;
    if (!t)
        return bad_tensor(c, name, "is missing");
    d.rows = q35_dim_size(&c->m->params, r->rows);
    d.cols = q35_dim_size(&c->m->params, r->cols);
    st = r->rows == Q35_DIM_ONE ? read_vector(c, name, t, &d) : read_packed(c, name, t, &d);
    if (st != Q35_OK)
        return st;
    if ((uintptr_t)t->data % Q35_BLOB_ALIGN)
        return bad_tensor(c, name, "is not aligned to 64 bytes");
    h = name_index(c->hash_names, c->hash_count, name, &c->hash_next);
    if (h == c->hash_count)
        return bad_tensor(c, name, "has no hash");
    d.hash = c->hashes[h];
    c->used += as == role || as != Q35_ROLE_HEAD; /* a tied embedding counts once */
    q35_model_add(c->m, layer, &d, t->data);
    return Q35_OK;
}

static enum q35_status build(struct container *c)
{
    struct q35_model *m = c->m;
    uint32_t n = m->params.n_layers, i, role;
    enum q35_status st;
    /* each layer has nine tensors or more: a claim of layers cannot ask for more memory than that
     */
    if (n > q35_gguf_tensor_count(c->g) / 9)
        return q35_fail(c->err, Q35_E_FORMAT,
                        "%s: %u layers are claimed but there are %llu tensors", m->path, n,
                        (unsigned long long)q35_gguf_tensor_count(c->g));
    m->params.tied = q35_gguf_tensor_find(c->g, "output.weight") == NULL;
    st = q35_model_graph(m, c->err);
    if (st == Q35_OK)
        st = add_tensor(c, Q35_ROLE_TOKEN_EMBED, Q35_ROLE_TOKEN_EMBED, 0);
    for (i = 1; i <= n && st == Q35_OK; i++)
        for (role = 0; role < Q35_ROLE_INFO_COUNT && st == Q35_OK; role++)
            if (q35_role_infos[role].per_layer)
                st = add_tensor(c, role, role, i);
    if (st == Q35_OK)
        st = add_tensor(c, Q35_ROLE_OUT_NORM, Q35_ROLE_OUT_NORM, n + 1);
    if (st == Q35_OK)
        st = add_tensor(c, m->params.tied ? Q35_ROLE_TOKEN_EMBED : Q35_ROLE_HEAD, Q35_ROLE_HEAD,
                        n + 1);
    if (st == Q35_OK && c->used != q35_gguf_tensor_count(c->g))
        return q35_fail(c->err, Q35_E_FORMAT, "%s: %llu of %llu tensors have no place in %u layers",
                        m->path, (unsigned long long)(q35_gguf_tensor_count(c->g) - c->used),
                        (unsigned long long)q35_gguf_tensor_count(c->g), n);
    return st;
}

/* ---- opening ------------------------------------------------------------------------------ */

static enum q35_status open_gguf(struct q35_model *m, struct q35_error *err)
{
    struct container c = {.m = m, .g = m->gguf, .err = err};
    enum q35_status st = read_params(&c);
    if (st == Q35_OK)
        st = read_tables(&c);
    if (st == Q35_OK)
        st = build(&c);
    free(c.rows);
    free(c.cols);
    free(c.scheme);
    free(c.rot_block);
    free(c.rot_seed);
    free(c.hashes);
    return st;
}

/* Takes gguf over, also when it fails. */
static enum q35_status open_with(struct q35_model **out, struct q35_gguf *gguf, const char *name,
                                 struct q35_error *err)
{
    struct q35_model *m = calloc(1, sizeof(*m));
    enum q35_status st;
    if (!m || !(m->path = strdup(name))) {
        free(m);
        q35_gguf_close(gguf);
        return q35_fail(err, Q35_E_NOMEM, "no memory to open %s", name);
    }
    m->gguf = gguf;
    st = open_gguf(m, err);
    if (st == Q35_OK)
        *out = m;
    else
        q35_model_close(m);
    return st;
}

enum q35_status q35_model_open(struct q35_model **out, const char *path, struct q35_error *err)
{
    struct q35_gguf *g;
    struct stat info;
    enum q35_status st;
    *out = NULL;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return q35_fail(err, Q35_E_INVALID,
                        "%s is a directory, not a packed model; make one with q35 convert", path);
    st = q35_gguf_open(&g, path, err);
    return st == Q35_OK ? open_with(out, g, path, err) : st;
}

enum q35_status q35_model_open_memory(struct q35_model **out, const uint8_t *data, uint64_t bytes,
                                      const char *name, struct q35_error *err)
{
    struct q35_gguf *g;
    enum q35_status st = q35_gguf_open_memory(&g, data, bytes, name, err);
    *out = NULL;
    return st == Q35_OK ? open_with(out, g, name, err) : st;
}
