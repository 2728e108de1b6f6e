/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The steps of a layer, scheduled and checked, and their cycles. */

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "layer.h"
#include "q35/format.h"

static uint32_t ceil_div(uint64_t a, uint64_t b)
{
    return (uint32_t)((a + b - 1) / b);
}

static void pass(struct groq_work *w, const char *what, uint64_t vectors, uint32_t stride,
                 uint32_t operands, uint32_t ops, bool permute)
{
    if (w->count < GROQ_MAX_PASSES)
        w->passes[w->count++] = (struct groq_pass){
            what, vectors ? (uint32_t)vectors : 1, stride, operands, ops, permute};
}

/* Lanes of 16 in a vector: so many tokens go through a reduction of 16 lanes together. */
static uint32_t together(const struct tsp *t, uint32_t tokens)
{
    return ceil_div(tokens, t->lanes / 16);
}

/* The contract adds in 16 lanes in ascending order: a chain of d / 16 dependent operations. */
static void norm(struct groq_work *w, const struct tsp *t, uint32_t d, uint32_t tokens)
{
    uint32_t n = together(t, tokens), k;
    for (k = 0; k < n; k++)
        pass(w, "squares", ceil_div(d, 16), t->vxm_latency, 1, 1, false);
    for (k = 0; k < 4; k++)
        pass(w, "tree", n, 1, 2, 1, true);
    pass(w, "factor", n, 1, 1, 4, false);
    pass(w, "scale", (uint64_t)ceil_div(d, t->lanes) * tokens, 1, 2, 2, false);
}

/* Signs and butterflies, then the largest value and int8. */
static void quantize(struct groq_work *w, const struct tsp *t, uint32_t cols, uint32_t block,
                     uint32_t tokens)
{
    uint64_t v = (uint64_t)ceil_div(q35_pad_cols(cols), t->lanes) * tokens;
    uint32_t h;
    for (h = 1; h < block; h *= 2)
        pass(w, "butterfly", v, 1, 2, h == 1 ? 3 : 2, true);
    pass(w, "largest", v, 1, 1, 2, false);
    for (h = 1; h < t->lanes; h *= 2)
        pass(w, "largest", tokens, 1, 2, 1, true);
    pass(w, "int8", v, 1, 2, 5, false);
}

static void attention(struct groq_work *w, const struct tsp *t, const struct groq_cost_key *k)
{
    uint64_t pairs = (uint64_t)k->n_heads * k->context * k->tokens;
    uint64_t products = ceil_div(ceil_div(pairs * k->head_dim, t->lanes), (uint64_t)16 * k->chips);
    uint64_t scores = ceil_div(pairs, (uint64_t)t->lanes * k->chips), i;
    uint64_t qkv =
        ceil_div((uint64_t)(k->n_heads + 2 * k->n_kv_heads) * k->head_dim * k->tokens, t->lanes);
    if (k->extra >> Q35_ROLE_Q_NORM & 1)
        pass(w, "head norms", qkv * 2, 1, 2, 8, true);
    pass(w, "rope", qkv, 1, 2, 3, true);
    pass(w, "f16", ceil_div(qkv, k->chips), 1, 1, 1, false);
    pass(w, "q k", products, 1, 2, 16, false);
    for (i = 0; i < 4; i++)
        pass(w, "tree", scores, 1, 2, 1, true);
    pass(w, "exp", scores, 1, 1, 16, false);
    pass(w, "sum", scores, 1, 1, 2, false);
    pass(w, "p v", products, 1, 2, 16, false);
    pass(w, "divide", ceil_div(qkv, k->chips), 1, 2, 4, false);
}

/* ---- steps
 * --------------------------------------------------------------------------------------- */

static enum q35_status take(struct groq_layer_time *out, const char *name, uint32_t times,
                            struct tsp_program *p, struct q35_error *err)
{
    struct groq_step *s = &out->steps[out->step_count];
    struct tsp_verdict v;
    uint32_t i;
    bool legal = tsp_check(p, &v);
    if (legal && out->step_count < GROQ_LAYER_STEPS) {
        memset(s, 0, sizeof(*s));
        s->name = name;
        s->times = times;
        s->cycles = (uint64_t)p->cycles * times;
        s->instrs = p->count;
        for (i = 0; i < p->count; i++)
            s->busy[p->instrs[i].kind] += (uint64_t)p->instrs[i].n * times;
        out->step_count++;
        out->cycles += s->cycles;
    }
    tsp_program_free(p);
    return legal ? Q35_OK
                 : q35_soft_fail(err, Q35_E_INTERNAL, "the schedule of %s is not legal: %s: %.200s",
                                 name, tsp_rule_text(v.rule), v.text);
}

static enum q35_status work(struct groq_layer_time *out, const struct tsp *t, const char *name,
                            struct groq_work *w, uint32_t chips, struct q35_error *err)
{
    struct tsp_program p;
    enum q35_status st;
    if (!w->count)
        return Q35_OK;
    w->chips = chips;
    st = groq_schedule_work(&p, t, w, err);
    w->count = 0;
    return st ? st : take(out, name, 1, &p, err);
}

/* Powers of two up to what one program takes, as the simulator cuts batches. */
static enum q35_status product(struct groq_layer_time *out, const struct tsp *t, const char *name,
                               struct groq_product *g, uint32_t tokens, struct q35_error *err)
{
    uint32_t most = groq_product_tokens(t, g), left = tokens, times;
    enum q35_status st = Q35_OK;
    most = most > 64 ? 64 : most;
    if (!most)
        return q35_soft_fail(err, Q35_E_UNSUPPORTED, "%s has too many rows for this chip", name);
    g->tokens = 1;
    while (g->tokens < left && 2 * g->tokens <= most)
        g->tokens *= 2;
    for (; left && !st; left -= times * g->tokens < left ? times * g->tokens : left) {
        struct tsp_program p;
        while (g->tokens > 1 && g->tokens / 2 >= left)
            g->tokens /= 2;
        times = left / g->tokens ? left / g->tokens : 1;
        st = groq_schedule_product(&p, t, g, err);
        if (!st)
            st = take(out, name, times, &p, err);
    }
    return st;
}

/* `floats` values of each token, from each chip to the others; or on to the next layer. */
static enum q35_status transfer(struct groq_layer_time *out, const struct tsp *t, const char *name,
                                const struct groq_cost_key *k, uint32_t floats,
                                struct q35_error *err)
{
    uint64_t vectors = 4 * (uint64_t)ceil_div(floats, (uint64_t)t->lanes * k->chips) * k->tokens;
    struct tsp_program p;
    enum q35_status st = groq_schedule_handover(&p, t, (uint32_t)vectors, err);
    return st ? st : take(out, name, 1, &p, err);
}

uint32_t groq_layer_products(const struct groq_cost_key *k, struct groq_product out[8],
                             const char *names[8]);

/* What goes before a product: the quantization of its input, and what makes that. */
static void before(struct groq_work *w, const struct tsp *t, const struct groq_cost_key *k,
                   const char *name)
{
    uint32_t q = k->n_heads * k->head_dim, n = k->tokens;
    uint64_t v = (uint64_t)ceil_div(k->d_model, t->lanes) * n;
    if (strcmp(name, "q, k, v") == 0 || strcmp(name, "head") == 0 ||
        strcmp(name, "gate, up") == 0) {
        if (name[0] == 'g')
            pass(w, "add", v, 1, 2, 1, false);
        norm(w, t, k->d_model, n);
        quantize(w, t, k->d_model,
                 k->block[name[0] == 'q'   ? Q35_ROLE_Q
                          : name[0] == 'h' ? Q35_ROLE_HEAD
                                           : Q35_ROLE_GATE],
                 n);
    } else if (strcmp(name, "o") == 0) {
        quantize(w, t, q, k->block[Q35_ROLE_O], n);
    } else {
        pass(w, "swiglu", (uint64_t)ceil_div(k->d_ffn, t->lanes) * n, 1, 2, 16, false);
        pass(w, "swiglu", (uint64_t)ceil_div(k->d_ffn, t->lanes) * n, 1, 2, 8, false);
        quantize(w, t, k->d_ffn, k->block[Q35_ROLE_DOWN], n);
    }
}

static enum q35_status embedding(struct groq_layer_time *out, const struct tsp *t,
                                 const struct groq_cost_key *k, struct q35_error *err)
{
    uint64_t v = (uint64_t)ceil_div(q35_pad_cols(k->d_model), t->lanes) * k->tokens;
    struct groq_work w = {.count = 0};
    uint32_t h;
    pass(&w, "row", v, 1, 2, 2, false);
    for (h = 1; h < k->block[Q35_ROLE_TOKEN_EMBED]; h *= 2)
        pass(&w, "butterfly", v, 1, 2, 2, true);
    return work(out, t, "embedding", &w, k->chips, err);
}

static enum q35_status steps(struct groq_layer_time *out, const struct tsp *t,
                             const struct groq_cost_key *k, struct q35_error *err)
{
    struct groq_product products[8];
    const char *names[8];
    uint32_t n = groq_layer_products(k, products, names), i;
    struct groq_work w = {.count = 0};
    enum q35_status st = Q35_OK;
    for (i = 0; i < n && !st; i++) {
        if (i && strcmp(names[i], names[i - 1]) == 0) {
            st = product(out, t, names[i], &products[i], k->tokens, err); /* the same input */
            continue;
        }
        if (strcmp(names[i], "o") == 0) {
            attention(&w, t, k);
            st = work(out, t, "attention", &w, k->chips, err);
            if (!st && k->chips > 1)
                st = transfer(out, t, "exchange", k, k->n_heads * k->head_dim, err);
        }
        before(&w, t, k, names[i]);
        if (!st)
            st = work(out, t, "norm, rotate, quantize", &w, k->chips, err);
        if (!st)
            st = product(out, t, names[i], &products[i], k->tokens, err);
    }
    if (!st && k->kind == Q35_LAYER_DECODER) {
        pass(&w, "add", (uint64_t)ceil_div(k->d_model, t->lanes) * k->tokens, 1, 2, 1, false);
        st = work(out, t, "add", &w, k->chips, err);
    }
    return st;
}

enum q35_status groq_layer_time(struct groq_layer_time *out, const struct tsp *t,
                                const struct groq_cost_key *k, struct q35_error *err)
{
    enum q35_status st;
    uint64_t before_handover;
    memset(out, 0, sizeof(*out));
    out->key = *k;
    st = k->kind == Q35_LAYER_EMBED ? embedding(out, t, k, err) : steps(out, t, k, err);
    before_handover = out->cycles;
    if (!st && k->kind != Q35_LAYER_HEAD)
        st = transfer(out, t, "to the next layer", k, k->d_model, err);
    out->handover = out->cycles - before_handover;
    return st;
}
