/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The parts of one token and head, in order. 32 pages at a time: lane i works out the factors of
 * page i, then all go through the 32 pages, each thread for its values. */
KERNEL(128, attn_merge, q35_cu_attn)
{
    uint32_t lane = lane_id(), d = a.head_dim, at[2], b, end, i, k;
    float o[2] = {0.0f, 0.0f}, m = 0.0f, l = 0.0f, inv;
    attn_row row;
    const float *parts;
    bool begun = false;

    launch_next();
    launch_wait();
    row.hi = a.tokens[blockIdx.x].position;
    row.lo = a.window && row.hi + 1u > a.window ? row.hi + 1u - a.window : 0u;
    end = row.hi / 64u;
    at[0] = threadIdx.x;
    at[1] = threadIdx.x + 128u;
    for (b = row.lo / 64u; b <= end; b += 32u) {
        uint32_t n = end - b + 1u < 32u ? end - b + 1u : 32u;
        float mb = -INFINITY, lb = 0.0f, top, before, fa, fc;
        parts = attn_part(&a, blockIdx.x, blockIdx.y, b);
        if (lane < n) {
            mb = parts[(uint64_t)lane * (d + 2u)];
            lb = parts[(uint64_t)lane * (d + 2u) + 1u];
        }
        if (!begun)
            m = __shfl_sync(WARP, mb, 0); /* the first page is taken as it is */
        top = mb == mb ? mb : -INFINITY;
#pragma unroll
        for (k = 1; k < 32u; k *= 2u) {
            float y = __shfl_up_sync(WARP, top, k);
            top = lane >= k && y > top ? y : top;
        }
        top = top > m || m != m ? (m == m ? top : m) : m;
        before = __shfl_up_sync(WARP, top, 1u);
        before = lane ? before : m;
        fa = q35_exp(before - top);
        fc = q35_exp(mb - top);
        for (i = 0; i < n; i++) {
            float ai = __shfl_sync(WARP, fa, (int)i), ci = __shfl_sync(WARP, fc, (int)i);
            float li = __shfl_sync(WARP, lb, (int)i);
            const float *v = parts + (uint64_t)i * (d + 2u) + 2u;
            l = begun ? Q35_FMAF(li, ci, l * ai) : li;
#pragma unroll
            for (k = 0; k < 2; k++)
                if (at[k] < d)
                    o[k] = begun ? Q35_FMAF(v[at[k]], ci, o[k] * ai) : v[at[k]];
            begun = true;
        }
        m = __shfl_sync(WARP, top, (int)(n - 1u));
    }
    inv = Q35_DIVF(1.0f, l);
    for (k = 0; k < 2; k++)
        if (at[k] < d)
            a.out[((uint64_t)blockIdx.x * a.n_heads + blockIdx.y) * d + at[k]] = o[k] * inv;
}
