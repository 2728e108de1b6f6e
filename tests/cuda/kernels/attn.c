/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Rope, the KV cache and attention: sequences in scattered pages. */

#include <stdio.h>
#include <string.h>

#include "check.h"

#define SEQUENCES 3u
#define PAGES 40u /* of a sequence */

struct cache {
    struct q35_cu_kv kv;
    uint32_t heads, head_dim;
    uint32_t table[SEQUENCES * PAGES];
    const uint16_t *addresses[SEQUENCES][PAGES];
    uint64_t bytes;
};

/* Random numbers into a layer's page, values up to `top`. */
static void fill_page(const struct cache *c, uint8_t *page, float top)
{
    uint64_t values = 2ull * c->heads * 64u * c->head_dim, i;
    float *scales = (float *)(void *)(page + values);
    for (i = 0; i < values; i++)
        if (c->kv.type == Q35_KV_INT8)
            ((int8_t *)page)[i] = (int8_t)((int)kit_below(255) - 127);
        else
            ((uint16_t *)(void *)page)[i] = q35_f32_to_f16(kit_float() * top);
    for (i = 0; i < 2ull * c->heads * 64u && c->kv.type == Q35_KV_INT8; i++)
        scales[i] = (kit_float() + 1.5f) * top / 127.0f;
}

/* Pages of two layers, of which the second is meant, in no order; random numbers in all of them. */
static void cache_init(struct cache *c, uint32_t heads, uint32_t head_dim, uint32_t type)
{
    uint64_t layer =
        type == Q35_KV_INT8 ? q35_kv8_page_bytes(heads, head_dim) : 4ull * heads * 64u * head_dim;
    uint32_t s, b;
    c->heads = heads;
    c->head_dim = head_dim;
    c->bytes = SEQUENCES * PAGES * 2ull * layer;
    c->kv = (struct q35_cu_kv){.pool = kit_alloc(c->bytes, 0),
                               .table = c->table,
                               .page_bytes = 2u * layer,
                               .layer_offset = layer,
                               .table_stride = PAGES,
                               .type = type};
    memset(c->kv.pool, 0x7e, c->bytes); /* NaN in either layout */
    for (s = 0; s < SEQUENCES; s++)
        for (b = 0; b < PAGES; b++) {
            uint32_t page = (b * SEQUENCES + s) * 7u % (SEQUENCES * PAGES);
            uint8_t *at = c->kv.pool + page * c->kv.page_bytes + layer;
            fill_page(c, at, 1.0f);
            c->table[s * PAGES + b] = page;
            c->addresses[s][b] = (const uint16_t *)(void *)at;
        }
}

/* ---- rope ----------------------------------------------------------------------------------- */

struct rope_shape {
    uint32_t n_heads, n_kv_heads, head_dim, rope_dim, style;
    bool norms;
};

static void want_rope(const struct rope_shape *s, const struct q35_token *tokens, uint32_t n,
                      const float *cos_sin, const float *q_norm, const float *k_norm, float *q,
                      float *k)
{
    uint32_t d = s->head_dim;
    if (s->norms) {
        q35_reference_ops.rms_norm(NULL, n * s->n_heads, d, q, q_norm, 1e-6f, q, NULL);
        q35_reference_ops.rms_norm(NULL, n * s->n_kv_heads, d, k, k_norm, 1e-6f, k, NULL);
    }
    if (s->rope_dim) {
        q35_reference_ops.rope(NULL, n, s->n_heads, d, s->rope_dim, s->style, cos_sin, q, NULL);
        q35_reference_ops.rope(NULL, n, s->n_kv_heads, d, s->rope_dim, s->style, cos_sin, k, NULL);
    }
    (void)tokens;
}

/* k, v of one token as its page must have them. */
static void want_page(const struct cache *c, uint8_t *page, uint32_t at, const float *k,
                      const float *v)
{
    uint64_t slots = c->heads * 64ull, slot;
    uint32_t d = c->head_dim, h, i;
    for (h = 0; h < c->heads; h++, k += d, v += d) {
        slot = h * 64ull + at;
        if (c->kv.type == Q35_KV_INT8) {
            float *scales = (float *)(void *)(page + 2 * slots * d);
            scales[slot] = q35_quantize(k, d, (int8_t *)page + slot * d);
            scales[slots + slot] = q35_quantize(v, d, (int8_t *)page + (slots + slot) * d);
        }
        for (i = 0; i < d && c->kv.type == Q35_KV_F16; i++) {
            ((uint16_t *)(void *)page)[slot * d + i] = q35_f32_to_f16(k[i]);
            ((uint16_t *)(void *)page)[(slots + slot) * d + i] = q35_f32_to_f16(v[i]);
        }
    }
}

static void rope(const struct rope_shape *s, uint32_t type)
{
    struct q35_token tokens[4] = {{0, 0, 0, 0}, {0, 2, 64, 0}, {0, 2, 65, 0}, {0, 1, 2559, 0}};
    uint32_t n = 4, d = s->head_dim, half = s->rope_dim / 2, i, t;
    uint64_t nq = (uint64_t)n * s->n_heads * d, nk = (uint64_t)n * s->n_kv_heads * d;
    float *q = kit_alloc(nq * 4, 0), *k = kit_alloc(nk * 4, 0), *v = kit_alloc(nk * 4, 0);
    float *wq = kit_alloc(nq * 4, 0), *wk = kit_alloc(nk * 4, 0), norms[2][256], freq[128];
    float table[4 * 256], want_table[4 * 256];
    struct q35_cu_rope_table ta = {
        .tokens = tokens, .freq = freq, .cos_sin = table, .n_tokens = n, .rope_dim = s->rope_dim};
    struct cache c;
    uint8_t *before;
    struct q35_cu_rope_store a;

    cache_init(&c, s->n_kv_heads, d, type);
    kit_fill(q, nq, 0), kit_fill(k, nk, 0), kit_fill(v, nk, 0);
    kit_fill(norms[0], 256, 0), kit_fill(norms[1], 256, 0);
    memcpy(wq, q, nq * 4), memcpy(wk, k, nk * 4);
    for (i = 0; i < half; i++)
        freq[i] = 1.0f / (float)(1u + i * i);
    for (t = 0; t < n; t++)
        for (i = 0; i < half; i++)
            q35_rope_angle(tokens[t].position, freq[i], want_table + t * s->rope_dim + i,
                           want_table + t * s->rope_dim + half + i);
    if (half) {
        check_launch(q35_cu_rope_table_set(&ta), &ta, &check_limits);
        kit_same_floats(want_table, table, n * s->rope_dim, "rope table");
    }
    want_rope(s, tokens, n, want_table, norms[0], norms[1], wq, wk);
    before = kit_alloc(c.bytes, 0);
    memcpy(before, c.kv.pool, c.bytes);
    for (t = 0; t < n; t++) {
        const uint8_t *page =
            (const void *)c.addresses[tokens[t].sequence][tokens[t].position / 64];
        uint64_t at = (uint64_t)t * s->n_kv_heads * d;
        want_page(&c, before + (page - c.kv.pool), tokens[t].position % 64, wk + at, v + at);
    }
    a = (struct q35_cu_rope_store){.q = q,
                                   .k = k,
                                   .v = v,
                                   .q_norm = s->norms ? norms[0] : NULL,
                                   .k_norm = s->norms ? norms[1] : NULL,
                                   .cos_sin = table,
                                   .tokens = tokens,
                                   .kv = c.kv,
                                   .n_tokens = n,
                                   .n_heads = s->n_heads,
                                   .n_kv_heads = s->n_kv_heads,
                                   .head_dim = d,
                                   .rope_dim = s->rope_dim,
                                   .rope_style = s->style,
                                   .eps = 1e-6f};
    check_launch(q35_cu_rope_store_set(&a), &a, &check_limits);
    kit_same_floats(wq, q, nq, "q after rope");
    kit_same_bytes(before, c.kv.pool, c.bytes,
                   type == Q35_KV_INT8 ? "the KV cache in int8" : "the KV cache");
    kit_free(q), kit_free(k), kit_free(v), kit_free(wq), kit_free(wk), kit_free(before);
    kit_free(c.kv.pool);
}

void test_rope(void)
{
    uint32_t type;
    for (type = 0; type < 2; type++) {
        rope(&(struct rope_shape){4, 2, 16, 16, Q35_ROPE_PAIRS, false}, type);
        rope(&(struct rope_shape){3, 1, 20, 12, Q35_ROPE_HALVES, true}, type);
        rope(&(struct rope_shape){8, 2, 128, 128, Q35_ROPE_HALVES, true}, type);
        rope(&(struct rope_shape){2, 2, 256, 64, Q35_ROPE_PAIRS, true}, type);
        rope(&(struct rope_shape){5, 5, 64, 0, Q35_ROPE_PAIRS, false}, type);
    }
}

/* ---- attention ------------------------------------------------------------------------------ */

struct attn_shape {
    uint32_t n_heads, n_kv_heads, head_dim, window;
    bool
        nan; /* some keys are; the largest score stands where the warp holds it beside such a one */
    bool far; /* one token at position 2,300 and one at 2,047, so that more than 32 pages are merged
               */
};

/* A piece of 16 tokens over a page's border, one of 3, single tokens short and long. */
static const struct q35_cu_piece pieces[] = {{0, 16}, {16, 3}, {19, 1}, {20, 1}};
static const struct {
    uint32_t sequence, position;
} starts[] = {{1, 120}, {0, 0}, {2, 63}, {2, 300}};

static const struct q35_cu_piece far_pieces[] = {{0, 1}, {1, 1}};

static uint32_t make_tokens(struct q35_token *tokens, bool far)
{
    uint32_t n = 0, i, k;
    if (far) {
        tokens[0] = (struct q35_token){.sequence = 2, .position = 2300};
        tokens[1] = (struct q35_token){.sequence = 0, .position = 2047};
        return 2;
    }
    for (i = 0; i < sizeof pieces / sizeof *pieces; i++)
        for (k = 0; k < pieces[i].count; k++)
            tokens[n++] = (struct q35_token){.sequence = starts[i].sequence,
                                             .position = starts[i].position + k};
    return n;
}

static void grow(struct cache *c)
{
    uint32_t s, b;
    for (s = 0; s < SEQUENCES; s++)
        for (b = 0; b < PAGES; b++)
            fill_page(c, c->kv.pool + ((const uint8_t *)c->addresses[s][b] - c->kv.pool),
                      0.2f + 0.05f * (float)b);
}

/* Keys 1 .. 31 of every page, of which all heads are NaN. */
static void put_nan(struct cache *c)
{
    uint32_t s, b, h, j;
    for (s = 0; s < SEQUENCES; s++)
        for (b = 0; b < PAGES; b++)
            for (h = 0; h < c->heads; h++)
                for (j = 1; j < 32; j++) {
                    uint8_t *page = c->kv.pool + ((const uint8_t *)c->addresses[s][b] - c->kv.pool);
                    uint64_t slot = h * 64u + j;
                    float *scales = (float *)(void *)(page + 2ull * c->heads * 64u * c->head_dim);
                    if (c->kv.type == Q35_KV_INT8)
                        scales[slot] = NAN;
                    else
                        ((uint16_t *)(void *)page)[slot * c->head_dim] = 0x7e00;
                }
}

static void attn(const struct attn_shape *s, uint32_t type)
{
    struct q35_token tokens[32];
    uint32_t positions[32], n = make_tokens(tokens, s->far), i, parts, launches;
    uint32_t max_pages = s->far ? 37 : 5;
    const uint16_t *const *pages[32];
    uint64_t values = (uint64_t)n * s->n_heads * s->head_dim, room;
    float *q = kit_alloc(values * 4, 0), *have = kit_alloc(values * 4, 0);
    float *want = kit_alloc(values * 4, 0), *part;
    struct cache c;
    struct q35_attn_args r;
    struct q35_cu_launch l[2];
    char what[96];

    cache_init(&c, s->n_kv_heads, s->head_dim, type);
    if (s->far) /* later pages have larger scores: every merge changes the maximum */
        grow(&c);
    if (s->nan)
        put_nan(&c);
    kit_fill(q, values, 0);
    for (i = 0; i < n; i++) {
        positions[i] = tokens[i].position;
        pages[i] = c.addresses[tokens[i].sequence];
    }
    r = (struct q35_attn_args){.size = sizeof r,
                               .n_tokens = n,
                               .n_heads = s->n_heads,
                               .n_kv_heads = s->n_kv_heads,
                               .head_dim = s->head_dim,
                               .window = s->window,
                               .scale = 0.37f,
                               .kv_type = type,
                               .q = q,
                               .out = want,
                               .positions = positions,
                               .pages = pages};
    q35_reference_ops.attention(NULL, &r, NULL);
    room = q35_cu_attn_parts(n, s->n_heads, max_pages, s->head_dim);
    part = kit_alloc(room * 4, 0);
    for (parts = 0; parts < 2; parts++) {
        struct q35_cu_attn a = {.q = q,
                                .out = have,
                                .tokens = tokens,
                                .pieces = s->far ? far_pieces : pieces,
                                .parts = parts ? part : NULL,
                                .kv = c.kv,
                                .n_pieces = s->far ? 2 : sizeof pieces / sizeof *pieces,
                                .n_tokens = n,
                                .n_heads = s->n_heads,
                                .n_kv_heads = s->n_kv_heads,
                                .head_dim = s->head_dim,
                                .window = s->window,
                                .max_pages = max_pages,
                                .max_count = 16,
                                .scale = 0.37f};
        memset(have, 0xee, values * 4);
        launches = q35_cu_attn_set(&a, l);
        for (i = 0; i < launches; i++)
            check_launch(l[i], &a, &check_limits);
        snprintf(what, sizeof what, "attention, %u/%u heads of %u, window %u, %s%s", s->n_heads,
                 s->n_kv_heads, s->head_dim, s->window, parts ? "in parts" : "in one",
                 type == Q35_KV_INT8 ? ", int8" : "");
        kit_same_floats(want, have, values, what);
    }
    kit_free(q), kit_free(have), kit_free(want), kit_free(part), kit_free(c.kv.pool);
}

void test_attn(void)
{
    uint32_t type;
    for (type = 0; type < 2; type++) {
        attn(&(struct attn_shape){2, 1, 16, 0, false}, type);
        attn(&(struct attn_shape){3, 1, 20, 70, false}, type);
        attn(&(struct attn_shape){2, 2, 64, 1, false}, type);
        attn(&(struct attn_shape){8, 1, 80, 0, false}, type);
        attn(&(struct attn_shape){6, 2, 128, 64, false}, type);
        attn(&(struct attn_shape){1, 1, 256, 0, false}, type);
        attn(&(struct attn_shape){1, 1, 140, 100, false}, type);
        attn(&(struct attn_shape){1, 1, 7, 0, false}, type);
        attn(&(struct attn_shape){2, 1, 64, 0, .nan = true}, type);
        attn(&(struct attn_shape){2, 1, 32, 0, .far = true}, type);
        attn(&(struct attn_shape){1, 1, 16, 2200, .far = true}, type);
    }
}
