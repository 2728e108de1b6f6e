/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Rotary positions, norms of heads, and the KV cache. */

KERNEL(128, rope_table, q35_cu_rope_table)
{
    uint32_t half = a.rope_dim / 2u;
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x, t = i / half;
    uint32_t p = (uint32_t)(i % half);
    float *to;
    launch_next();
    launch_wait();
    if (t >= a.n_tokens)
        return;
    to = a.cos_sin + t * a.rope_dim;
    q35_rope_angle(a.tokens[t].position, a.freq[p], to + p, to + half + p);
}

/* The layer's part of the page that holds this token's position. */
FN uint8_t *kv_page(const struct q35_cu_kv *kv, const struct q35_token *t)
{
    uint32_t page =
        kv->table[(uint64_t)t->sequence * kv->table_stride + t->position / Q35_ATTN_BLOCK];
    return kv->pool + page * kv->page_bytes + kv->layer_offset;
}

/* One head of K and V, by one warp, to this token's place in its page. */
FN void kv_store(const struct q35_cu_rope_store *a, const struct q35_token *t, uint32_t head,
                 const float *k, const float *v)
{
    uint8_t *page = kv_page(&a->kv, t);
    uint32_t d = a->head_dim, slot = head * Q35_ATTN_BLOCK + t->position % Q35_ATTN_BLOCK, i;
    uint64_t slots = (uint64_t)a->n_kv_heads * Q35_ATTN_BLOCK;
    if (a->kv.type == Q35_KV_INT8) {
        int8_t *to = (int8_t *)page + (uint64_t)slot * d;
        float *scales = (float *)(page + 2u * slots * d) + slot;
        float k_scale = quantize_head(k, d, to), v_scale = quantize_head(v, d, to + slots * d);
        if (lane_id() == 0) {
            scales[0] = k_scale;
            scales[slots] = v_scale;
        }
    } else {
        uint16_t *to = (uint16_t *)page + (uint64_t)slot * d;
        for (i = lane_id(); i < d; i += 32u) {
            to[i] = q35_f32_to_f16(k[i]);
            to[slots * d + i] = q35_f32_to_f16(v[i]);
        }
    }
}

/* The head in x[head_dim], shared memory of one warp: norm, then rope. */
FN void norm_rope(const struct q35_cu_rope_store *a, const float *norm, const float *cs, float *x)
{
    uint32_t lane = lane_id(), half = a->rope_dim / 2u, i;
    if (norm) {
        float f = rms_factor([x](uint32_t k) { return x[k]; }, a->head_dim, a->eps);
        f = __shfl_sync(WARP, f, 0);
        __syncwarp(); /* all have read x; a shuffle does not order that */
        for (i = lane; i < a->head_dim; i += 32u)
            x[i] = (x[i] * f) * norm[i];
        __syncwarp();
    }
    for (i = lane; i < half; i += 32u) {
        uint32_t p0 = a->rope_style == Q35_ROPE_PAIRS ? 2u * i : i;
        uint32_t p1 = a->rope_style == Q35_ROPE_PAIRS ? 2u * i + 1u : i + half;
        q35_rope_pair(x + p0, x + p1, cs[i], cs[half + i]);
    }
    __syncwarp();
}

/* Warp w of block (t, y) has head 4y + w of q, then of k and v. */
KERNEL(128, rope_store, q35_cu_rope_store)
{
    uint32_t lane = lane_id(), warp = threadIdx.x >> 5, head = blockIdx.y * 4u + warp, d, i;
    uint64_t t = blockIdx.x;
    bool is_q = head < a.n_heads, valid = head < a.n_heads + a.n_kv_heads;
    float *x = (float *)dynamic_shared() + warp * a.head_dim, *q;
    const float *from;

    launch_next();
    launch_wait();
    d = a.head_dim;
    if (!valid)
        return;
    if (!is_q)
        head -= a.n_heads;
    q = a.q + (t * a.n_heads + head) * d;
    from = is_q ? q : a.k + (t * a.n_kv_heads + head) * d;
    for (i = lane; i < d; i += 32u)
        x[i] = from[i];
    __syncwarp();
    norm_rope(&a, is_q ? a.q_norm : a.k_norm, a.cos_sin + t * a.rope_dim, x);
    if (is_q) {
        for (i = lane; i < d; i += 32u)
            q[i] = x[i];
    } else {
        kv_store(&a, a.tokens + t, head, x, a.v + (t * a.n_kv_heads + head) * d);
    }
}
