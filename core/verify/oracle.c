/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/verify/model.h"

#include <stdlib.h>
#include <string.h>

#include "q35/arith.h"

/* K and V of one sequence in one layer. */
enum part {
    K, /* [length][kv_dim], binary16 or int8 */
    V,
    K_SCALES, /* [length][n_kv_heads] of int8 */
    V_SCALES,
    PARTS
};
struct cache {
    uint8_t *part[PARTS];
    uint32_t length, cap;
};

struct vfy_oracle {
    const struct vfy_model *m;
    uint32_t max_sequences, kv_type;
    uint64_t width[PARTS]; /* bytes of one position */
    struct cache *caches;  /* [layer_count][max_sequences] */
    float *x, *h, *q, *k, *v, *att, *gate, *up, *rot, *scores;
    int8_t *q8;
    float q_scale; /* of a query head in q8 */
    bool failed;
};

static uint32_t widest(const struct vfy_shape *s)
{
    uint32_t w = s->d_model, q = s->n_heads * s->head_dim;
    w = q > w ? q : w;
    w = s->d_ffn > w ? s->d_ffn : w;
    return q35_pad_cols(w);
}

struct vfy_oracle *vfy_oracle_create(const struct vfy_model *m, uint32_t max_sequences)
{
    struct vfy_oracle *o = calloc(1, sizeof(*o));
    uint64_t w = widest(&m->shape);
    if (!o)
        return NULL;
    o->m = m;
    o->max_sequences = max_sequences;
    vfy_oracle_set_kv(o, Q35_KV_F16);
    o->caches = calloc((size_t)m->layer_count * max_sequences, sizeof(*o->caches));
    o->x = malloc(10 * w * sizeof(float));
    o->q8 = malloc(w);
    if (!o->caches || !o->x || !o->q8) {
        vfy_oracle_destroy(o);
        return NULL;
    }
    o->h = o->x + w;
    o->q = o->h + w;
    o->k = o->q + w;
    o->v = o->k + w;
    o->att = o->v + w;
    o->gate = o->att + w;
    o->up = o->gate + w;
    o->rot = o->up + w;
    o->scores = o->rot + w; /* [head_dim] of one block */
    return o;
}

void vfy_oracle_set_kv(struct vfy_oracle *o, uint32_t kv_type)
{
    uint64_t heads = o->m->shape.n_kv_heads, values = heads * o->m->shape.head_dim;
    bool int8 = kv_type == Q35_KV_INT8;
    o->kv_type = kv_type;
    o->width[K] = o->width[V] = values * (int8 ? sizeof(int8_t) : sizeof(uint16_t));
    o->width[K_SCALES] = o->width[V_SCALES] = int8 ? heads * sizeof(float) : 0;
}

void vfy_oracle_destroy(struct vfy_oracle *o)
{
    uint32_t i, p;
    if (!o)
        return;
    for (i = 0; o->caches && i < o->m->layer_count * o->max_sequences; i++)
        for (p = 0; p < PARTS; p++)
            free(o->caches[i].part[p]);
    free(o->caches);
    free(o->x);
    free(o->q8);
    free(o);
}

static struct cache *cache_of(struct vfy_oracle *o, uint32_t layer, uint32_t sequence)
{
    return &o->caches[layer * o->max_sequences + sequence];
}

static bool cache_room(const struct vfy_oracle *o, struct cache *c, uint32_t length)
{
    uint32_t cap = c->cap ? c->cap : 64, p;
    while (cap < length)
        cap *= 2;
    if (cap == c->cap)
        return true;
    for (p = 0; p < PARTS; p++) {
        uint8_t *grown = realloc(c->part[p], cap * o->width[p] + 1);
        if (!grown)
            return false;
        c->part[p] = grown;
    }
    c->cap = cap;
    return true;
}

/* The heads x[n_kv_heads][head_dim] of K or V at a position. */
static void cache_store(const struct vfy_oracle *o, struct cache *c, enum part p, uint32_t position,
                        const float *x)
{
    uint32_t heads = o->m->shape.n_kv_heads, d = o->m->shape.head_dim, i;
    uint8_t *to = c->part[p] + position * o->width[p];
    if (o->kv_type == Q35_KV_INT8) {
        uint8_t *scales = c->part[p + K_SCALES] + position * o->width[p + K_SCALES];
        for (i = 0; i < heads; i++)
            ((float *)(void *)scales)[i] =
                q35_quantize(x + (uint64_t)i * d, d, (int8_t *)to + (uint64_t)i * d);
    } else {
        for (i = 0; i < heads * d; i++)
            ((uint16_t *)(void *)to)[i] = q35_f32_to_f16(x[i]);
    }
}

static const float *vec(const struct vfy_model *m, uint32_t layer, uint32_t role)
{
    return (const float *)(const void *)vfy_tensor(m, layer, role)->data;
}

/* y = W x (+ bias), steps 1 to 3 of arith.h. */
static void product(struct vfy_oracle *o, uint32_t layer, uint32_t role, uint32_t bias,
                    const float *x, float *y)
{
    const struct q35_tensor_desc *d = vfy_desc(o->m, layer, role);
    const struct vfy_tensor *t = vfy_tensor(o->m, layer, role);
    const float *scales = (const float *)(const void *)(t->data + Q35_BLOB_TABLES);
    const float *b = bias < Q35_ROLE_COUNT ? vec(o->m, layer, bias) : NULL;
    uint32_t cols = q35_pad_cols(d->cols), r, k;
    float scale;

    memset(o->rot, 0, cols * sizeof(float));
    memcpy(o->rot, x, d->cols * sizeof(float));
    if (d->rot_block)
        q35_rotate(o->rot, cols, d->rot_block, d->rot_seed);
    scale = q35_quantize(o->rot, cols, o->q8);
    for (r = 0; r < d->rows; r++) {
        const int8_t *w = t->w + (uint64_t)r * cols;
        int32_t acc = 0;
        for (k = 0; k < cols; k++)
            acc += w[k] * o->q8[k];
        y[r] = q35_rescale(acc, scales[r], scale);
        if (b)
            y[r] = y[r] + b[r];
    }
}

static void rope_heads(const struct q35_layer *l, const float *freq, uint32_t position,
                       uint32_t heads, float *x)
{
    uint32_t h, i, half = l->rope_dim / 2;
    for (i = 0; i < half; i++) {
        float c, s;
        q35_rope_angle(position, freq[i], &c, &s);
        for (h = 0; h < heads; h++) {
            float *head = x + h * l->head_dim;
            if (l->rope_style == Q35_ROPE_PAIRS)
                q35_rope_pair(head + 2 * i, head + 2 * i + 1, c, s);
            else
                q35_rope_pair(head + i, head + half + i, c, s);
        }
    }
}

/* The score of position j of kv head g for the query head q. */
static float score(struct vfy_oracle *o, const struct q35_layer *l, const struct cache *c,
                   const float *q, uint32_t g, uint64_t j)
{
    uint32_t d = l->head_dim, k;
    const uint8_t *at = c->part[K] + j * o->width[K];
    if (o->kv_type == Q35_KV_INT8) {
        const float *scales = (const float *)(void *)(c->part[K_SCALES] + j * o->width[K_SCALES]);
        int32_t acc = 0;
        for (k = 0; k < d; k++)
            acc += o->q8[k] * ((const int8_t *)at)[g * d + k];
        return ((float)acc * (o->q_scale * scales[g])) * l->attn_scale;
    }
    for (k = 0; k < d; k++) /* o->rot: the key */
        o->rot[k] = q35_f16_to_f32(((const uint16_t *)(const void *)at)[g * d + k]);
    return q35_dot(q, o->rot, d) * l->attn_scale;
}

/* One block of n positions from `begin` on: scores s to out[head_dim]. */
static struct q35_attn_state block(const struct vfy_oracle *o, const struct q35_layer *l,
                                   const struct cache *c, uint32_t g, uint32_t begin, uint32_t n,
                                   float *s, float *out)
{
    uint32_t d = l->head_dim, heads = l->n_kv_heads, j, k;
    const uint8_t *v = c->part[V] + begin * o->width[V];
    const float *scales = (const float *)(void *)(c->part[V_SCALES] + begin * o->width[V_SCALES]);
    struct q35_attn_state st;
    if (o->kv_type != Q35_KV_INT8)
        return q35_attn_block(s, begin, n, (const uint16_t *)(const void *)v + g * d, heads * d, d,
                              out);
    st = q35_attn_softmax(s, begin, n);
    memset(out, 0, d * sizeof(*out));
    for (j = 0; j < n; j++)
        for (k = 0; k < d; k++)
            out[k] = fmaf(s[j] * scales[j * heads + g],
                          (float)((const int8_t *)v)[(j * heads + g) * d + k], out[k]);
    return st;
}

/* One query head over positions lo .. hi of a cache. */
static void attend(struct vfy_oracle *o, const struct q35_layer *l, const struct cache *c,
                   uint32_t head, uint32_t lo, uint32_t hi)
{
    uint32_t d = l->head_dim, g = head / (l->n_heads / l->n_kv_heads), begin = lo, j, k;
    const float *q = o->q + head * d;
    float *out = o->att + head * d, *part = o->scores;
    struct q35_attn_state st = {0}, sb;

    if (o->kv_type == Q35_KV_INT8)
        o->q_scale = q35_quantize(q, d, o->q8);
    while (begin <= hi) {
        uint32_t end = (begin / Q35_ATTN_BLOCK + 1) * Q35_ATTN_BLOCK;
        float s[Q35_ATTN_BLOCK] = {0};
        if (end > hi + 1)
            end = hi + 1;
        for (j = begin; j < end; j++)
            s[j - begin] = score(o, l, c, q, g, j);
        sb = block(o, l, c, g, begin, end - begin, s, begin == lo ? out : part);
        if (begin == lo)
            st = sb;
        else
            q35_attn_merge(&st, out, sb, part, d);
        begin = end;
    }
    for (k = 0; k < d; k++)
        out[k] = out[k] * (1.0f / st.l);
}

static void attention(struct vfy_oracle *o, uint32_t layer, const struct q35_token *t)
{
    const struct vfy_model *m = o->m;
    const struct q35_layer *l = &m->layers[layer];
    uint32_t d = l->head_dim, h;
    const float *q_norm = vec(m, layer, Q35_ROLE_Q_NORM), *k_norm = vec(m, layer, Q35_ROLE_K_NORM);
    const float *freq = vec(m, layer, Q35_ROLE_ROPE_FREQ);
    struct cache *c = cache_of(o, layer, t->sequence);
    uint32_t lo = l->window && t->position + 1 > l->window ? t->position + 1 - l->window : 0;

    product(o, layer, Q35_ROLE_Q, Q35_ROLE_Q_BIAS, o->h, o->q);
    product(o, layer, Q35_ROLE_K, Q35_ROLE_K_BIAS, o->h, o->k);
    product(o, layer, Q35_ROLE_V, Q35_ROLE_V_BIAS, o->h, o->v);
    for (h = 0; q_norm && h < l->n_heads; h++)
        q35_rms_norm(o->q + h * d, q_norm, d, l->norm_eps, o->q + h * d);
    for (h = 0; k_norm && h < l->n_kv_heads; h++)
        q35_rms_norm(o->k + h * d, k_norm, d, l->norm_eps, o->k + h * d);
    rope_heads(l, freq, t->position, l->n_heads, o->q);
    rope_heads(l, freq, t->position, l->n_kv_heads, o->k);

    if (t->position > c->length || !cache_room(o, c, t->position + 1)) {
        o->failed = true;
        return;
    }
    cache_store(o, c, K, t->position, o->k);
    cache_store(o, c, V, t->position, o->v);
    c->length = t->position + 1;
    for (h = 0; h < l->n_heads; h++)
        attend(o, l, c, h, lo, t->position);
}

static void decoder(struct vfy_oracle *o, uint32_t layer, const struct q35_token *t)
{
    const struct vfy_model *m = o->m;
    const struct q35_layer *l = &m->layers[layer];
    uint32_t i;

    q35_rms_norm(o->x, vec(m, layer, Q35_ROLE_ATTN_NORM), l->d_model, l->norm_eps, o->h);
    attention(o, layer, t);
    product(o, layer, Q35_ROLE_O, Q35_ROLE_O_BIAS, o->att, o->h);
    for (i = 0; i < l->d_model; i++)
        o->x[i] = o->x[i] + o->h[i];
    q35_rms_norm(o->x, vec(m, layer, Q35_ROLE_FFN_NORM), l->d_model, l->norm_eps, o->h);
    product(o, layer, Q35_ROLE_GATE, Q35_ROLE_COUNT, o->h, o->gate);
    product(o, layer, Q35_ROLE_UP, Q35_ROLE_COUNT, o->h, o->up);
    for (i = 0; i < l->d_ffn; i++)
        o->gate[i] = q35_silu(o->gate[i]) * o->up[i];
    product(o, layer, Q35_ROLE_DOWN, Q35_ROLE_COUNT, o->gate, o->h);
    for (i = 0; i < l->d_model; i++)
        o->x[i] = o->x[i] + o->h[i];
}

static void embed(struct vfy_oracle *o, uint32_t layer, const struct q35_token *t)
{
    const struct q35_layer *l = &o->m->layers[layer];
    const struct q35_tensor_desc *d = vfy_desc(o->m, layer, Q35_ROLE_TOKEN_EMBED);
    const struct vfy_tensor *e = vfy_tensor(o->m, layer, Q35_ROLE_TOKEN_EMBED);
    const float *scales = (const float *)(const void *)(e->data + Q35_BLOB_TABLES);
    uint32_t cols = q35_pad_cols(d->cols), k;
    for (k = 0; k < cols; k++)
        o->rot[k] = (float)e->w[(uint64_t)t->id * cols + k] * scales[t->id];
    if (d->rot_block)
        q35_unrotate(o->rot, cols, d->rot_block, d->rot_seed);
    for (k = 0; k < l->d_model; k++)
        o->x[k] = o->rot[k] * l->embed_scale;
}

bool vfy_oracle_run(struct vfy_oracle *o, uint32_t first, uint32_t count,
                    const struct q35_token *tokens, uint32_t n, const float *in, float *out)
{
    uint32_t d = o->m->shape.d_model, i, l;
    for (i = 0; i < n; i++) {
        bool to_head = false;
        if (in)
            memcpy(o->x, in + (uint64_t)i * d, d * sizeof(float));
        for (l = first; l < first + count; l++) {
            const struct q35_layer *layer = &o->m->layers[l];
            if (layer->kind == Q35_LAYER_EMBED)
                embed(o, l, &tokens[i]);
            else if (layer->kind == Q35_LAYER_DECODER)
                decoder(o, l, &tokens[i]);
            to_head = layer->kind == Q35_LAYER_HEAD;
        }
        if (to_head && tokens[i].flags & Q35_TOKEN_LOGITS) {
            q35_rms_norm(o->x, vec(o->m, l - 1, Q35_ROLE_OUT_NORM), d, o->m->layers[l - 1].norm_eps,
                         o->h);
            product(o, l - 1, Q35_ROLE_HEAD, Q35_ROLE_COUNT, o->h, out);
            out += o->m->shape.vocab;
        } else if (!to_head) {
            memcpy(out, o->x, d * sizeof(float));
            out += d;
        }
    }
    return !o->failed;
}

bool vfy_oracle_fork(struct vfy_oracle *o, uint32_t src, uint32_t dst, uint32_t length)
{
    uint32_t l, p;
    for (l = 0; l < o->m->layer_count; l++) {
        struct cache *a = cache_of(o, l, src), *b = cache_of(o, l, dst);
        if (o->m->layers[l].kind != Q35_LAYER_DECODER)
            continue;
        if (a->length < length || !cache_room(o, b, length))
            return false;
        for (p = 0; p < PARTS && length; p++)
            memcpy(b->part[p], a->part[p], length * o->width[p]);
        b->length = length;
    }
    return true;
}

void vfy_oracle_truncate(struct vfy_oracle *o, uint32_t sequence, uint32_t length)
{
    uint32_t l;
    for (l = 0; l < o->m->layer_count; l++)
        if (cache_of(o, l, sequence)->length > length)
            cache_of(o, l, sequence)->length = length;
}
