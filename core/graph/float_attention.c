/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/graph/float_attention.h"

#include <string.h>

#include "core/graph/variants.h"
#include "q35/arith.h"

enum { LANES = 16 }; /* values in a vector */

static uint32_t q_dim(const struct q35_params *p)
{
    return p->n_heads * p->head_dim;
}

static uint32_t kv_dim(const struct q35_params *p)
{
    return p->n_kv_heads * p->head_dim;
}

static void rope_table(const struct q35_float_attention *a)
{
    uint32_t half = a->p->rope_dim / 2, t, i;
    for (t = 0; t < a->n; t++)
        for (i = 0; i < half; i++) {
            float *c = a->cos_sin + (size_t)t * a->p->rope_dim;
            q35_rope_angle(a->start + t, a->p->rope_freqs[i], &c[i], &c[half + i]);
        }
}

/* In place on x[n][heads][head_dim]. */
static void rope(const struct q35_float_attention *a, uint32_t heads, float *x)
{
    const struct q35_params *p = a->p;
    uint32_t half = p->rope_dim / 2, t, h, i;
    for (t = 0; t < a->n; t++) {
        const float *c = a->cos_sin + (size_t)t * p->rope_dim;
        for (h = 0; h < heads; h++) {
            float *v = x + ((size_t)t * heads + h) * p->head_dim;
            for (i = 0; i < half; i++) {
                bool pairs = p->rope_style == Q35_ROPE_PAIRS;
                q35_rope_pair(&v[pairs ? 2 * i : i], &v[pairs ? 2 * i + 1 : i + half], c[i],
                              c[half + i]);
            }
        }
    }
}

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

/* 16 partial sums over ascending i, added up in a fixed tree. */
BODY float head_dot(const float *x, const float *y, uint32_t d)
{
    lanes a = {0};
    float s[LANES], rest = 0.0f;
    uint32_t i;
    int h, k;
    for (i = 0; i + LANES <= d; i += LANES)
        a += *(const lanes *)(x + i) * *(const lanes *)(y + i);
    for (; i < d; i++)
        rest += x[i] * y[i];
    memcpy(s, &a, sizeof(s));
    for (h = LANES / 2; h; h /= 2)
        for (k = 0; k < h; k++)
            s[k] += s[k + h];
    return s[0] + rest;
}

/* out[d] = sum over j in [from, last] of p[j] v[j] / total; v[j] at j * stride */
BODY void head_mix(const float *p, const float *v, size_t stride, uint32_t from, uint32_t last,
                   float total, uint32_t d, float *out)
{
    uint32_t i, j;
    for (i = 0; i + LANES <= d; i += LANES) {
        lanes a = {0};
        for (j = from; j <= last; j++)
            a += p[j] * *(const lanes *)(v + j * stride + i);
        *(lanes *)(out + i) = a / total;
    }
    for (; i < d; i++) {
        float a = 0.0f;
        for (j = from; j <= last; j++)
            a += p[j] * v[j * stride + i];
        out[i] = a / total;
    }
}

BODY void attend_head_body(const struct q35_float_attention *a, uint32_t thread, uint32_t item)
{
    const struct q35_params *p = a->p;
    uint32_t t = item / p->n_heads, head = item % p->n_heads, d = p->head_dim;
    uint32_t kv = head / (p->n_heads / p->n_kv_heads), last = a->start + t, j;
    uint32_t from = p->window && last + 1 > p->window ? last + 1 - p->window : 0;
    const float *q = a->q + (size_t)t * q_dim(p) + (size_t)head * d;
    float *scores = a->scores + (size_t)thread * a->max_context;
    float top = -3.4e38f, total = 0.0f;
    for (j = from; j <= last; j++) {
        const float *k = a->keys + (size_t)j * kv_dim(p) + (size_t)kv * d;
        scores[j] = head_dot(q, k, d) * p->attn_scale;
        top = scores[j] > top ? scores[j] : top;
    }
    for (j = from; j <= last; j++)
        scores[j] = q35_exp(scores[j] - top);
    for (j = from; j <= last; j++)
        total += scores[j];
    head_mix(scores, a->values + (size_t)kv * d, kv_dim(p), from, last, total, d,
             a->out + (size_t)t * q_dim(p) + (size_t)head * d);
}
VARIANTS(attend_head, (const struct q35_float_attention *a, uint32_t thread, uint32_t item),
         (a, thread, item))

static void attend(void *user, uint32_t thread, uint32_t item)
{
    attend_head(user, thread, item);
}

void q35_float_attend(struct q35_float_pool *pool, const struct q35_float_attention *a)
{
    rope_table(a);
    rope(a, a->p->n_heads, a->q);
    rope(a, a->p->n_kv_heads, a->keys + (size_t)a->start * kv_dim(a->p));
    q35_float_pool_run(pool, a->n * a->p->n_heads, attend, (void *)(uintptr_t)a);
}
