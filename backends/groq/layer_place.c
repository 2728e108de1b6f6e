/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The memory of layers, and which chips have them. */

#include <string.h>

#include "layer.h"
#include "q35/format.h"

static const struct q35_tensor_desc *tensor(const struct q35_layer *l, uint32_t i)
{
    return (const void *)((const uint8_t *)l->tensors + (size_t)i * l->tensor_stride);
}

enum q35_status groq_cost_key(struct groq_cost_key *key, const struct q35_layer *l, uint32_t tokens,
                              uint32_t context, uint32_t chips, enum groq_weights weights,
                              struct q35_error *err)
{
    uint32_t i;
    memset(key, 0, sizeof(*key));
    if (!l || !Q35_HAS(l, struct q35_layer, tensors) || !l->tensors || !l->d_model)
        return q35_soft_fail(err, Q35_E_INVALID, "a layer without tensors");
    key->kind = l->kind;
    key->d_model = l->d_model;
    key->vocab = l->vocab;
    key->tokens = tokens;
    key->chips = chips;
    key->weights = weights;
    if (l->kind == Q35_LAYER_DECODER) {
        key->n_heads = l->n_heads;
        key->n_kv_heads = l->n_kv_heads;
        key->head_dim = l->head_dim;
        key->d_ffn = l->d_ffn;
        key->window = l->window;
        key->context = l->window && context > l->window ? l->window : context;
    }
    for (i = 0; i < l->tensor_count; i++) {
        const struct q35_tensor_desc *d = tensor(l, i);
        if (d->role >= Q35_ROLE_COUNT)
            return q35_soft_fail(err, Q35_E_UNSUPPORTED, "layer %d: tensor of role %u",
                                 (int)l->index, d->role);
        if (d->type == Q35_TENSOR_PACKED) {
            key->scheme[d->role] = d->scheme;
            key->block[d->role] = d->rot_block;
        } else {
            key->extra |= 1u << d->role;
        }
    }
    return Q35_OK;
}

static void shape_of(const struct groq_cost_key *k, uint32_t role, struct groq_shape *s)
{
    uint32_t q = k->n_heads * k->head_dim, kv = k->n_kv_heads * k->head_dim;
    static const uint8_t bias[Q35_ROLE_COUNT] = {[Q35_ROLE_Q] = Q35_ROLE_Q_BIAS,
                                                 [Q35_ROLE_K] = Q35_ROLE_K_BIAS,
                                                 [Q35_ROLE_V] = Q35_ROLE_V_BIAS,
                                                 [Q35_ROLE_O] = Q35_ROLE_O_BIAS};
    memset(s, 0, sizeof(*s));
    s->scheme = k->scheme[role];
    s->cols = role == Q35_ROLE_O ? q : role == Q35_ROLE_DOWN ? k->d_ffn : k->d_model;
    s->bias = bias[role] && (k->extra >> bias[role] & 1);
    switch (role) {
    case Q35_ROLE_Q:
        s->rows = q;
        break;
    case Q35_ROLE_K:
    case Q35_ROLE_V:
        s->rows = kv;
        break;
    case Q35_ROLE_GATE:
    case Q35_ROLE_UP:
        s->rows = k->d_ffn;
        break;
    case Q35_ROLE_HEAD:
    case Q35_ROLE_TOKEN_EMBED:
        s->rows = k->vocab;
        break;
    default:
        s->rows = k->d_model;
    }
}

uint32_t groq_layer_products(const struct groq_cost_key *k, struct groq_product out[8],
                             const char *names[8])
{
    static const struct {
        const char *name;
        uint8_t roles[3], count;
    } all[] = {{"q, k, v", {Q35_ROLE_Q, Q35_ROLE_K, Q35_ROLE_V}, 3},
               {"o", {Q35_ROLE_O}, 1},
               {"gate, up", {Q35_ROLE_GATE, Q35_ROLE_UP}, 2},
               {"down", {Q35_ROLE_DOWN}, 1},
               {"head", {Q35_ROLE_HEAD}, 1},
               {"embedding", {Q35_ROLE_TOKEN_EMBED}, 1}};
    uint32_t i, r, n = 0;
    for (i = 0; i < sizeof(all) / sizeof(*all); i++)
        for (r = 0; r < all[i].count; r++) {
            uint32_t role = all[i].roles[r];
            struct groq_product *g = n ? &out[n - 1] : NULL;
            if (!k->scheme[role])
                continue;
            if (!r || Q35_SCHEME_WEIGHTS(g->mats[0].scheme) !=
                          Q35_SCHEME_WEIGHTS(k->scheme[role])) { /* codes of another kind */
                g = &out[n];
                names[n++] = all[i].name;
                memset(g, 0, sizeof(*g));
                g->tokens = 1;
                g->chips = k->chips;
                g->weights = (enum groq_weights)k->weights;
            }
            shape_of(k, role, &g->mats[g->n_mats++]);
        }
    return n;
}

/* Words that the product takes in a slice. Jobs of small ones lie in few slices, in others for
 * every layer, so that they count with what they take on average. */
static uint64_t words_of(const struct tsp_program *p)
{
    uint64_t all = 0, slices = (uint64_t)(p->tsp.mem_slices - 4) * p->chips;
    uint32_t i;
    if (p->slice_words > p->tsp.slice_words / 16)
        return p->slice_words;
    for (i = 0; i < p->job_count; i++)
        all += (uint64_t)p->jobs[i].members * p->jobs[i].steps;
    all = (all + slices - 1) / slices;
    return all + all / 16;
}

static uint64_t kv_token_bytes(const struct groq_cost_key *k, uint32_t type)
{
    uint64_t values = 2 * (uint64_t)k->n_kv_heads * k->head_dim;
    return type == Q35_KV_INT8 ? values + 2 * sizeof(float) * k->n_kv_heads : 2 * values;
}

enum q35_status groq_layer_words(struct groq_layer_words *out, const struct tsp *t,
                                 const struct groq_cost_key *k, struct groq_kv kv,
                                 struct q35_error *err)
{
    struct groq_product products[8];
    const char *names[8];
    uint32_t n = groq_layer_products(k, products, names), i;
    uint64_t vector = (uint64_t)t->lanes * t->mem_slices * k->chips, results = 0;
    memset(out, 0, sizeof(*out));
    for (i = 0; i < n; i++) {
        struct tsp_program p;
        enum q35_status st = groq_place_product(&p, t, &products[i], err);
        uint64_t words;
        if (st)
            return st;
        words = (p.result_count + 7) / 8;
        results = words > results ? words : results;
        out->weights += words_of(&p) + (p.result_count + 31) / 32; /* and scales, norms */
        tsp_program_free(&p);
    }
    out->work = 256 + results;
    if (k->kind == Q35_LAYER_DECODER)
        out->kv = (kv_token_bytes(k, kv.type) * kv.tokens + vector - 1) / vector;
    return Q35_OK;
}

/* ---- layers over chips --------------------------------------------------------------------------
 */

/* The fewest chips that hold the layer; 0: no node does. */
static enum q35_status fewest(const struct groq_config *c, const struct q35_layer *l,
                              struct groq_kv kv, uint32_t *chips, struct groq_layer_words *w,
                              struct q35_error *err)
{
    uint32_t from = 1, to = c->tsp.node_chips, n;
    if (c->chips_per_layer && l->kind == Q35_LAYER_DECODER)
        from = to = c->chips_per_layer;
    *chips = 0;
    for (n = from; n <= to && !*chips; n++) {
        struct groq_cost_key k;
        enum q35_status st = groq_cost_key(&k, l, 1, 1, n, c->weights, err);
        if (!st)
            st = groq_layer_words(w, &c->tsp, &k, kv, err);
        if (st)
            return st;
        if (w->weights + w->work + w->kv <= c->tsp.slice_words)
            *chips = n;
    }
    return Q35_OK;
}

static enum q35_status too_big(const struct groq_config *c, const struct q35_layer *l,
                               struct groq_kv kv, const struct groq_layer_words *w,
                               struct q35_error *err)
{
    uint32_t n = c->chips_per_layer ? c->chips_per_layer : c->tsp.node_chips;
    double mb = 1e-6 * c->tsp.lanes * c->tsp.mem_slices * n;
    q35_soft_fail(
        err, Q35_E_CAPACITY,
        "layer %d does not fit on %u chip%s of %.1f MB: %.1f MB of weights, %.1f MB of KV "
        "for %llu tokens, %.1f MB of tables and results",
        (int)l->index, n, n == 1 ? "" : "s", 1e-6 * (double)tsp_sram_bytes(&c->tsp),
        mb * (double)w->weights, mb * (double)w->kv, (unsigned long long)kv.tokens,
        mb * (double)w->work);
    if (err)
        err->layer = l->index;
    return Q35_E_CAPACITY;
}

/* One group of chips being filled; and what is left over in those that were. */
struct group {
    uint32_t chips, layers;
    uint64_t words, work;
    uint64_t spare; /* words, times chips */
};

/* Adjacent layers of one shape ask once. */
struct asked {
    struct groq_cost_key key;
    struct groq_layer_words words;
    uint32_t chips;
};

static bool ask_again(const struct asked *a, const struct groq_cost_key *k)
{
    return memcmp(&a->key, k, sizeof(*k)) != 0;
}

static void place_one(struct groq_placement *out, struct group *g, const struct asked *a,
                      const struct tsp *t)
{
    uint64_t own = a->words.weights + a->words.kv;
    uint64_t work = a->words.work > g->work ? a->words.work : g->work;
    if (g->chips != a->chips || g->words + own + work > t->slice_words) {
        out->chips += a->chips;
        *g = (struct group){a->chips, 0, 0, a->words.work,
                            g->spare + g->chips * (t->slice_words - g->words - g->work)};
        work = a->words.work;
    }
    g->words += own;
    g->work = work;
    g->layers++;
    if (g->layers > out->most_layers && a->key.kind == Q35_LAYER_DECODER)
        out->most_layers = g->layers;
    out->bytes += a->words.weights * t->lanes * t->mem_slices * a->chips;
}

/* EMBED and HEAD have no KV and are met once: without chips of their own their blocks of rows lie
 * in what the decoder layers left over, a quarter of it given up to uneven parts. */
static bool place_in_spare(struct groq_placement *out, struct group *g, const struct groq_config *c,
                           const struct q35_layer *l, struct q35_error *err)
{
    struct groq_layer_words w;
    struct groq_cost_key k;
    uint64_t open = g->chips * (c->tsp.slice_words - g->words - g->work), need, rest;
    if (groq_cost_key(&k, l, 1, 1, 1, c->weights, err) ||
        groq_layer_words(&w, &c->tsp, &k, (struct groq_kv){0}, err))
        return false;
    need = w.weights + w.weights / 4;
    if (need > g->spare + open)
        return false;
    rest = need > g->spare ? need - g->spare : 0; /* in the last chips, which are not full */
    g->spare -= need - rest;
    if (rest)
        g->words += (rest + g->chips - 1) / g->chips;
    out->bytes += w.weights * c->tsp.lanes * c->tsp.mem_slices;
    return true;
}

/* Decoder layers first, then the ends of the model. */
static enum q35_status place_pass(struct groq_placement *out, const struct groq_config *c,
                                  const struct q35_layer *layers, uint32_t count, uint32_t stride,
                                  struct groq_kv kv, struct group *g, bool ends,
                                  struct q35_error *err)
{
    struct asked a = {0};
    uint32_t i;
    for (i = 0; i < count; i++) {
        const struct q35_layer *l = (const void *)((const uint8_t *)layers + (size_t)i * stride);
        struct groq_cost_key k;
        enum q35_status st = groq_cost_key(&k, l, 1, 1, 1, c->weights, err);
        if (st)
            return st;
        if (l->kind == Q35_LAYER_EMBED) { /* the host looks rows up */
            out->host_bytes += ends ? tensor(l, 0)->bytes : 0;
            continue;
        }
        if ((l->kind == Q35_LAYER_DECODER) == ends)
            continue;
        if (!a.chips || ask_again(&a, &k)) {
            a.key = k;
            st = fewest(c, l, kv, &a.chips, &a.words, err);
            if (!st && !a.chips)
                return too_big(c, l, kv, &a.words, err);
        }
        if (st)
            return st;
        if (!ends && a.chips > out->chips_per_layer)
            out->chips_per_layer = a.chips;
        if (ends && out->chips + a.chips > c->chips && place_in_spare(out, g, c, l, err)) {
            out->spare = true;
            out->end_chips = c->tsp.node_chips < c->chips ? c->tsp.node_chips : c->chips;
            continue;
        }
        if (ends && a.chips > out->end_chips)
            out->end_chips = a.chips;
        place_one(out, g, &a, &c->tsp);
    }
    return Q35_OK;
}

enum q35_status groq_place_layers(struct groq_placement *out, const struct groq_config *c,
                                  const struct q35_layer *layers, uint32_t count, uint32_t stride,
                                  struct groq_kv kv, struct q35_error *err)
{
    struct group g = {0};
    enum q35_status st;
    memset(out, 0, sizeof(*out));
    st = place_pass(out, c, layers, count, stride, kv, &g, false, err);
    if (!st)
        st = place_pass(out, c, layers, count, stride, kv, &g, true, err);
    if (!st && out->chips > c->chips)
        return q35_soft_fail(
            err, Q35_E_CAPACITY,
            "%u layers, decoders on %u chip%s each, need %u chips of %.1f MB: %.1f MB of weights "
            "with their padding, and KV for %llu tokens; chips = %u have %.1f MB",
            count, out->chips_per_layer, out->chips_per_layer == 1 ? "" : "s", out->chips,
            1e-6 * (double)tsp_sram_bytes(&c->tsp), 1e-6 * (double)out->bytes,
            (unsigned long long)kv.tokens, c->chips,
            1e-6 * (double)tsp_sram_bytes(&c->tsp) * c->chips);
    return st;
}
