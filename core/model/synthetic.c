/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/model/model_internal.h"
#include "core/model/roles.h"
#include "core/model/source_internal.h"
#include "core/quant/encode.h"

#define ROT_SEED 1u

static const struct {
    const char *name;
    uint32_t layers, d, ffn, heads, kv_heads, head_dim; /* layers 0: after a colon */
} shapes[] = {
    {"llama-1b", 22, 2048, 5632, 32, 4, 64},
    {"llama-7b", 32, 4096, 11008, 32, 32, 128},
    {"llama-70b", 0, 8192, 28672, 64, 8, 128},
};

/* "NAME" or "NAME:N", and "/SCHEME" behind it, to an index of shapes and a number of layers. */
static enum q35_status parse_shape(const char *text, struct q35_params *p, uint32_t *scheme,
                                   struct q35_error *err)
{
    const char *slash = strchr(text, '/');
    size_t whole = slash ? (size_t)(slash - text) : strlen(text);
    const char *colon = memchr(text, ':', whole);
    size_t len = colon ? (size_t)(colon - text) : whole, i;
    unsigned long n = 0;
    char *end = NULL;
    *scheme = slash ? q35_scheme_find(slash + 1) : (uint32_t)Q35_SCHEME_TRELLIS;
    if (!*scheme || !q35_shipped_tables(*scheme))
        return q35_fail(err, Q35_E_INVALID, "shape '%s': no scheme has that name", text);
    for (i = 0; i < Q35_COUNT(shapes); i++)
        if (strlen(shapes[i].name) == len && memcmp(shapes[i].name, text, len) == 0)
            break;
    if (i == Q35_COUNT(shapes))
        return q35_fail(err, Q35_E_INVALID,
                        "unknown shape '%s'; there are llama-1b, llama-7b and llama-70b:N", text);
    if (colon && colon[1] >= '0' && colon[1] <= '9')
        n = strtoul(colon + 1, &end, 10);
    if (colon && (n < 1 || n > 1000 || end != text + whole))
        return q35_fail(err, Q35_E_INVALID, "shape '%s': layers are a number from 1 to 1000", text);
    if (!colon && !shapes[i].layers)
        return q35_fail(err, Q35_E_INVALID, "shape '%s' needs a number of layers: %s:4", text,
                        text);
    snprintf(p->arch, sizeof(p->arch), "llama");
    snprintf(p->name, sizeof(p->name), "%s", text);
    p->n_layers = colon ? (uint32_t)n : shapes[i].layers;
    p->d_model = shapes[i].d;
    p->d_ffn = shapes[i].ffn;
    p->n_heads = shapes[i].heads;
    p->n_kv_heads = shapes[i].kv_heads;
    p->head_dim = p->rope_dim = shapes[i].head_dim;
    return Q35_OK;
}

static enum q35_status make_params(const char *shape, struct q35_params *p, uint32_t *scheme,
                                   struct q35_error *err)
{
    struct q35_rope_scaling r = {.theta = 500000.0f, .factor = 1.0f};
    enum q35_status st = parse_shape(shape, p, scheme, err);
    if (st != Q35_OK)
        return st;
    p->rope_style = Q35_ROPE_HALVES;
    p->vocab = 32000;
    p->context = 131072;
    p->norm_eps = 1e-5f;
    p->attn_scale = (float)(1.0 / sqrt((double)p->head_dim));
    p->embed_scale = 1.0f;
    p->rope_freqs = q35_rope_freqs(&r, p->rope_dim);
    return p->rope_freqs ? Q35_OK : q35_fail(err, Q35_E_NOMEM, "no memory for a model");
}

/* ---- descriptors -------------------------------------------------------------------------- */

static void add_role(struct q35_model *m, uint32_t layer, uint32_t role, uint32_t scheme)
{
    const struct q35_role_info *r = &q35_role_infos[role];
    struct q35_tensor_desc d = {.role = role};
    bool end = role == Q35_ROLE_TOKEN_EMBED || role == Q35_ROLE_HEAD;
    d.rows = q35_dim_size(&m->params, r->rows);
    d.cols = q35_dim_size(&m->params, r->cols);
    d.bytes = 4ull * d.cols;
    if (r->rows != Q35_DIM_ONE) {
        d.type = Q35_TENSOR_PACKED;
        d.scheme = end ? (uint32_t)Q35_SCHEME_SINGLE : scheme;
        d.rot_block = q35_rot_block(d.cols);
        d.rot_seed = ROT_SEED;
        d.bytes = q35_blob_bytes(d.scheme, d.rows, d.cols);
    }
    q35_model_add(m, layer, &d, NULL);
}

static void add_roles(struct q35_model *m, uint32_t scheme)
{
    uint32_t n = m->params.n_layers, i, role;
    add_role(m, 0, Q35_ROLE_TOKEN_EMBED, scheme);
    for (i = 1; i <= n; i++)
        for (role = 0; role < Q35_ROLE_INFO_COUNT; role++)
            if (q35_role_infos[role].per_layer && !q35_role_infos[role].optional)
                add_role(m, i, role, scheme);
    add_role(m, n + 1, Q35_ROLE_OUT_NORM, scheme);
    add_role(m, n + 1, Q35_ROLE_HEAD, scheme);
}

/* ---- data --------------------------------------------------------------------------------- */

/* Root mean square of what random codes decode to. */
static float table_rms(uint32_t scheme, const struct q35_tables *t)
{
    double sum2 = 0, mean_b = 0, square_b = 0, mean_a = 0, square_a = 0;
    uint32_t i, k, n = Q35_SCHEME_WEIGHTS(scheme);
    for (k = 0; k < n; k++) {
        mean_a = square_a = mean_b = square_b = 0;
        for (i = 0; i < Q35_TABLE_LEN; i++) {
            double a = k == 2 ? t->a2[i] : k ? t->a1[i] : t->a0[i];
            double b = 8.0 * (k == 2 ? q35_b_third(t->b[i])
                              : k    ? t->b[i] & 15u
                                     : (uint32_t)t->b[i] >> 4);
            mean_a += a / 128;
            square_a += a * a / 128;
            mean_b += b / 128;
            square_b += b * b / 128;
        }
        sum2 += square_a + square_b + 2 * mean_a * mean_b;
    }
    return (float)sqrt(sum2 / n);
}

/* A row scale that keeps activations near 1: outputs of a matrix have the size of its inputs, those
 * that are added to the hidden state are smaller as there are more of them. */
static float row_scale(const struct q35_model *m, const struct q35_tensor_desc *d, float rms)
{
    double s = 1.0 / ((double)rms * sqrt((double)d->cols) * sqrt((double)d->rot_block));
    if (d->role == Q35_ROLE_TOKEN_EMBED)
        s *= sqrt((double)d->cols); /* rows are read as they are: values of size 1 */
    if (d->role == Q35_ROLE_O || d->role == Q35_ROLE_DOWN)
        s /= sqrt(2.0 * m->params.n_layers);
    return (float)s;
}

static void fill_packed(const struct q35_model *m, const struct q35_tensor_desc *d, uint64_t seed,
                        uint8_t *out)
{
    const struct q35_tables *t = q35_shipped_tables(d->scheme);
    uint64_t at = q35_codes_offset(d->rows), end = d->bytes - Q35_BLOB_TAIL;
    float s = row_scale(m, d, table_rms(d->scheme, t));
    uint32_t i;
    memcpy(out, t->a0, 128);
    memcpy(out + 128, t->a1, 128);
    memcpy(out + 256, t->b, 128);
    memcpy(out + 384, t->a2, 128);
    for (i = 0; i < q35_pad_rows(d->rows); i++)
        memcpy(out + Q35_BLOB_TABLES + 4 * (size_t)i, &s, 4);
    for (; at < end; at += 8) { /* tiles are a multiple of 8 bytes */
        uint64_t r = q35_mix64(seed + at);
        memcpy(out + at, &r, 8);
    }
    memset(out + end, 0, Q35_BLOB_TAIL);
}

struct fill {
    struct q35_model *m;
    uint32_t count; /* of slots in m->descs */
    atomic_uint next;
};

static void *fill_worker(void *arg)
{
    struct fill *f = arg;
    uint32_t i, k;
    while ((i = atomic_fetch_add(&f->next, 1)) < f->count) {
        struct q35_tensor_desc *d = &f->m->descs[i];
        uint8_t *out = (uint8_t *)(uintptr_t)f->m->data[i];
        const float one = 1.0f;
        if (!d->bytes || d->role == Q35_ROLE_ROPE_FREQ)
            continue;
        if (d->type == Q35_TENSOR_PACKED)
            fill_packed(f->m, d, q35_mix64(i + 1), out);
        else
            for (k = 0; k < d->cols; k++)
                memcpy(out + 4 * (size_t)k, &one, 4);
        d->hash = q35_hash_data(out, d->bytes);
    }
    return NULL;
}

/* Memory is touched first by the threads that fill it. */
static void fill_all(struct q35_model *m)
{
    struct fill f = {.m = m, .count = (m->params.n_layers + 2) * MODEL_LAYER_TENSORS};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN), i, started = 0;
    pthread_t threads[16];
    atomic_init(&f.next, 0);
    for (i = 0; i < cpus - 1 && i < 16; i++)
        if (pthread_create(&threads[started], NULL, fill_worker, &f) == 0)
            started++;
    fill_worker(&f);
    while (started)
        pthread_join(threads[--started], NULL);
}

static enum q35_status make_data(struct q35_model *m, struct q35_error *err)
{
    uint32_t count = (m->params.n_layers + 2) * MODEL_LAYER_TENSORS, i;
    uint64_t bytes = 0, at = 0;
    if (!q35_shipped_tables(Q35_SCHEME_SINGLE))
        return q35_fail(err, Q35_E_INTERNAL, "tables for synthetic weights are missing");
    for (i = 0; i < count; i++)
        bytes += (m->descs[i].bytes + 63) & ~63ull;
    m->arena = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->arena == MAP_FAILED) {
        m->arena = NULL;
        return q35_fail(err, Q35_E_NOMEM, "no memory for %llu bytes of weights",
                        (unsigned long long)bytes);
    }
    m->arena_bytes = bytes;
    (void)madvise(m->arena, (size_t)bytes, MADV_HUGEPAGE);
    for (i = 0; i < count; i++)
        if (m->descs[i].bytes && m->descs[i].role != Q35_ROLE_ROPE_FREQ) {
            m->data[i] = (uint8_t *)m->arena + at;
            at += (m->descs[i].bytes + 63) & ~63ull;
        }
    fill_all(m);
    return Q35_OK;
}

enum q35_status q35_model_synthetic(struct q35_model **out, const char *shape, bool with_data,
                                    struct q35_error *err)
{
    struct q35_model *m = calloc(1, sizeof(*m));
    uint32_t scheme;
    enum q35_status st;
    *out = NULL;
    if (!m || !(m->path = strdup(shape))) {
        free(m);
        return q35_fail(err, Q35_E_NOMEM, "no memory for a model");
    }
    st = make_params(shape, &m->params, &scheme, err);
    if (st == Q35_OK)
        st = q35_model_graph(m, err);
    if (st == Q35_OK) {
        snprintf(m->scheme, sizeof(m->scheme), "%s", q35_scheme_name(scheme));
        add_roles(m, scheme);
        st = with_data ? make_data(m, err) : Q35_OK;
    }
    if (st == Q35_OK)
        *out = m;
    else
        q35_model_close(m);
    return st;
}
