/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* plan, buffers, running out of things, reset. */

#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/verify/kit.h"

enum { MIB = 1 << 20 };

static bool plan_of(struct vfy *v, const struct vfy_model *m, uint32_t batch, uint32_t sequences,
                    uint32_t kv_tokens, struct q35_plan_result *out)
{
    struct q35_plan_request r = {.size = sizeof(r),
                                 .layer_count = m->layer_count,
                                 .layer_stride = sizeof(struct q35_layer),
                                 .max_batch = batch,
                                 .max_sequences = sequences,
                                 .kv_tokens = kv_tokens,
                                 .layers = m->layers,
                                 .kv_type = v->d.kv_type};
    memset(out, 0, sizeof(*out));
    out->size = sizeof(*out);
    return vfy_ok(v, VFY_CALL(&v->d, plan, v->d.dev, &r, out, &v->err), VFY_PLAN,
                  "plan of a model that supports() takes");
}

static uint64_t total(const struct q35_plan_result *p)
{
    return p->weight_bytes + p->host_bytes + p->kv_bytes + p->scratch_bytes;
}

/* Codes cannot shrink, nor can the keys and values of an EXACT device. */
static bool plan_is_plausible(struct vfy *v, const struct vfy_model *m,
                              const struct q35_plan_result *p, uint32_t kv_tokens)
{
    uint64_t weights = 0, kv = 0;
    uint32_t i, t;
    for (i = 0; i < m->layer_count; i++) {
        for (t = 0; t < m->layers[i].tensor_count; t++)
            weights += m->layers[i].tensors[t].bytes;
        if (m->layers[i].kind == Q35_LAYER_DECODER)
            kv += v->d.kv_type == Q35_KV_INT8
                      ? 2ull * m->layers[i].n_kv_heads * (m->layers[i].head_dim + sizeof(float))
                      : 4ull * m->layers[i].n_kv_heads * m->layers[i].head_dim;
    }
    if (v->info.determinism != Q35_CLASS_EXACT)
        kv /= 4;
    EXPECT(v, p->weight_bytes + p->host_bytes >= weights * 9 / 10, VFY_PLAN,
           "plan claims %llu bytes for weights of %llu",
           (unsigned long long)(p->weight_bytes + p->host_bytes), (unsigned long long)weights);
    EXPECT(v, p->kv_bytes >= kv * kv_tokens, VFY_PLAN,
           "plan claims %llu bytes of KV for %u tokens of %llu", (unsigned long long)p->kv_bytes,
           kv_tokens, (unsigned long long)kv);
    EXPECT(v, p->kv_token_bytes >= kv && p->kv_token_bytes <= p->kv_bytes, VFY_PLAN,
           "plan claims %llu bytes for one more token of %llu",
           (unsigned long long)p->kv_token_bytes, (unsigned long long)kv);
    return true;
}

/* What a struct that ends earlier may receive. */
static bool plan_short(struct vfy *v, const struct vfy_model *m)
{
    struct q35_plan_request r = {.size = sizeof(r) + 16,
                                 .layer_count = m->layer_count,
                                 .layer_stride = sizeof(struct q35_layer),
                                 .max_batch = 4,
                                 .max_sequences = 1,
                                 .kv_tokens = 64,
                                 .layers = m->layers};
    struct {
        struct q35_plan_request request;
        uint64_t later[2];
    } longer = {r, {~0ull, ~0ull}};
    struct q35_plan_result p;
    memset(&p, 0x5A, sizeof(p));
    p.size = offsetof(struct q35_plan_result, kv_token_bytes);
    if (!vfy_ok(v, VFY_CALL(&v->d, plan, v->d.dev, &longer.request, &p, &v->err), VFY_STRUCT_SIZE,
                "plan with a longer request and a shorter result"))
        return false;
    EXPECT(v, p.kv_token_bytes == 0x5A5A5A5A5A5A5A5Aull && p.scratch_bytes == p.kv_token_bytes,
           VFY_STRUCT_SIZE, "plan wrote beyond the size of its result");
    return true;
}

/* Makes what was planned and compares the growth of this process; a device with memory of its own
 * stays below by nature. */
static bool plan_holds(struct vfy *v, const struct vfy_shape *s, uint32_t batch, uint32_t kv_tokens)
{
    struct q35_plan_result p;
    struct vfy_model *m = vfy_model_create(s, v->seed);
    struct vfy_rig r = {.m = m};
    struct vfy_oracle *o = m ? vfy_oracle_create(m, 1) : NULL;
    uint64_t before, after, spare = 24 * MIB, at = 0;
    struct q35_token t[VFY_MAX_TOKENS];
    float *out = malloc(VFY_MAX_TOKENS * sizeof(float) * s->d_model);
    enum q35_status st = Q35_OK;

    if (!m || !o || !out)
        return vfy_skip(v, "the kit has no memory");
    if (!plan_of(v, m, batch, 1, kv_tokens, &p) || !plan_is_plausible(v, m, &p, kv_tokens))
        return false;
    before = vfy_resident_bytes();
    if (!vfy_ok(v, vfy_upload(&v->d, m, Q35_UNTIL_FREE, &r.w, &v->err), VFY_PLAN,
                "uploading what plan took") ||
        !vfy_ok(v, vfy_kv(&v->d, r.w, 1, kv_tokens, &r.kv, &v->err), VFY_PLAN,
                "kv_create of what plan took"))
        return false;
    for (; at < kv_tokens && !st; at += batch) { /* touch all of it, through the cheapest layer */
        uint32_t n = kv_tokens - at < batch ? (uint32_t)(kv_tokens - at) : batch;
        vfy_tokens(t, n, 0, (uint32_t)at, s->vocab, false, &v->rng);
        if (!vfy_rig_device(v, &r, 0, m->layer_count, t, n, NULL, out, &st) ||
            !vfy_ok(v, st, VFY_PLAN, "filling the KV that plan took"))
            return false;
    }
    after = vfy_resident_bytes();
    EXPECT(v, after <= before + total(&p) + spare, VFY_PLAN,
           "plan claims %llu bytes altogether, the process grew by %llu",
           (unsigned long long)total(&p), (unsigned long long)(after - before));
    r.o = o;
    vfy_rig_close(v, &r);
    free(out);
    return true;
}

bool vfy_check_plan(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_model *m = vfy_model_create(&s, v->seed);
    struct q35_plan_result a, b;
    size_t heap;
    uint32_t i, batch;

    if (!m)
        return vfy_skip(v, "the kit has no memory");
    if (!vfy_open(v))
        return false;
    batch = v->info.max_batch < 64 ? v->info.max_batch : 64;
    if (!plan_of(v, m, 1, 1, 64, &a) || !plan_of(v, m, batch, 1, 4096, &b) ||
        !plan_is_plausible(v, m, &b, 4096))
        return false;
    EXPECT(v, b.kv_bytes > a.kv_bytes && b.scratch_bytes >= a.scratch_bytes, VFY_PLAN,
           "64 times the tokens do not need more memory");
    heap = mallinfo2().uordblks;
    for (i = 0; i < 200; i++)
        if (!plan_of(v, m, batch, 1, 64 + i, &a))
            return false;
    EXPECT(v, mallinfo2().uordblks < heap + 65536, VFY_PLAN_PURE, "200 plans left %zu bytes",
           mallinfo2().uordblks - heap);
    if (!plan_short(v, m))
        return false;
    vfy_model_destroy(m);
    s.n_kv_heads = 4; /* 1 KiB a token and layer: KV of 48 MiB, most of what is measured */
    s.head_dim = 64;
    s.d_ffn = 128;
    s.window = 64;
    s.decoders = 6;
    if (!plan_holds(v, &s, batch, v->quick ? 2048 : 8192))
        return false;
    vfy_close(v);
    return true;
}

/* ---- buffers ------------------------------------------------------------------------------- */

static bool buffer_bounds(struct vfy *v, struct q35_buffer *b, uint64_t bytes)
{
    uint8_t x[64] = {0};
    return vfy_refused(v, VFY_CALL(&v->d, buffer_write, b, bytes - 8, x, 16, &v->err), 0,
                       VFY_BUFFERS, "a write beyond a buffer") &&
           vfy_refused(v, VFY_CALL(&v->d, buffer_read, b, bytes, x, 1, &v->err), 0, VFY_BUFFERS,
                       "a read beyond a buffer") &&
           vfy_refused(v, VFY_CALL(&v->d, buffer_write, b, UINT64_MAX - 8, x, 16, &v->err), 0,
                       VFY_BUFFERS, "a write whose end overflows") &&
           vfy_ok(v, VFY_CALL(&v->d, buffer_write, b, 8, x, 0, &v->err), VFY_BUFFERS,
                  "a write of no bytes");
}

static bool buffer_contents(struct vfy *v, struct q35_buffer *b, uint64_t bytes)
{
    uint8_t *data = vfy_mem(v, bytes, "data of buffer_write");
    uint8_t *back = vfy_mem(v, bytes, "data of buffer_read");
    uint64_t i, at = 0;
    for (i = 0; i < bytes; i++)
        data[i] = (uint8_t)vfy_u64(&v->rng);
    while (at < bytes) {
        uint64_t n = 1 + vfy_below(&v->rng, 3000);
        n = n < bytes - at ? n : bytes - at;
        if (!vfy_ok(v, VFY_CALL(&v->d, buffer_write, b, at, data + at, n, &v->err), VFY_BUFFERS,
                    "buffer_write"))
            return false;
        at += n;
    }
    if (!vfy_ok(v, VFY_CALL(&v->d, buffer_read, b, 0, back, bytes, &v->err), VFY_BUFFERS,
                "buffer_read") ||
        !vfy_mem_check(v))
        return false;
    EXPECT(v, !memcmp(data, back, bytes), VFY_BUFFERS, "a buffer returned other bytes");
    vfy_mem_free(v, data);
    vfy_mem_free(v, back);
    return true;
}

/* Embedding into a buffer, the decoders from and to buffers, the head from a buffer. */
static bool buffer_runs(struct vfy *v)
{
    struct vfy_rig r;
    struct q35_token t[5];
    struct q35_buffer *b[2];
    float want[5 * 128], got[5 * 128];
    struct q35_run run = {
        .size = sizeof(run), .token_stride = sizeof(t[0]), .n_tokens = 5, .tokens = t};
    uint64_t room = 4096, at[2] = {64, 1024};
    uint32_t i;

    if (!vfy_rig_any(v, &r, 2, 256))
        return false;
    vfy_tokens(t, 5, 1, 0, r.m->shape.vocab, true, &v->rng);
    for (i = 0; i < 2; i++)
        if (!vfy_ok(v, VFY_CALL(&v->d, buffer_alloc, v->d.dev, room, &b[i], &v->err), VFY_BUFFERS,
                    "buffer_alloc"))
            return false;
    run.weights = r.w;
    run.kv = r.kv;
    for (i = 0; i < 3; i++) {
        run.first = i;
        run.count = 1;
        run.in = (struct q35_span){
            .buffer = b[(i + 1) % 2], .offset = at[(i + 1) % 2], .bytes = sizeof(got)};
        run.out = (struct q35_span){.buffer = b[i % 2], .offset = at[i % 2], .bytes = sizeof(got)};
        run.signal = ++v->d.signal;
        if (!vfy_ok(v, VFY_CALL(&v->d, run_layers, v->d.dev, &run, &v->err), VFY_BUFFERS,
                    "a run from buffer to buffer"))
            return false;
    }
    if (!vfy_ok(v, VFY_CALL(&v->d, wait, v->d.dev, run.signal, UINT64_MAX, &v->err), VFY_BUFFERS,
                "waiting for runs from buffer to buffer") ||
        !vfy_ok(v, VFY_CALL(&v->d, buffer_read, b[0], at[0], got, sizeof(got), &v->err),
                VFY_BUFFERS, "buffer_read of a result"))
        return false;
    vfy_oracle_run(r.o, 0, 3, t, 5, NULL, want);
    if (!vfy_same(v, &(struct vfy_results){got, want, 5, 128, t, 5}, false, VFY_BUFFERS,
                  "hidden states through buffers"))
        return false;
    run.out.offset = room - 16;
    run.signal = ++v->d.signal;
    if (!vfy_refused(v, VFY_CALL(&v->d, run_layers, v->d.dev, &run, &v->err), 0, VFY_BUFFERS,
                     "a run whose output does not fit its buffer"))
        return false;
    VFY_CALL(&v->d, buffer_free, b[0]);
    VFY_CALL(&v->d, buffer_free, b[1]);
    vfy_rig_close(v, &r);
    return true;
}

bool vfy_check_buffers(struct vfy *v)
{
    struct q35_buffer *b = (struct q35_buffer *)v;
    enum q35_status st;
    if (!vfy_open(v))
        return false;
    st = VFY_CALL(&v->d, buffer_alloc, v->d.dev, 10000, &b, &v->err);
    if (st == Q35_E_UNSUPPORTED)
        return vfy_skip(v, "the plugin has no buffers");
    if (!vfy_ok(v, st, VFY_BUFFERS, "buffer_alloc of 10000 bytes") ||
        !buffer_contents(v, b, 10000) || !buffer_bounds(v, b, 10000))
        return false;
    VFY_CALL(&v->d, buffer_free, b);
    st = VFY_CALL(&v->d, buffer_alloc, v->d.dev, (uint64_t)1 << 60, &b, &v->err);
    if (!vfy_refused(v, st, 0, VFY_BUFFERS, "a buffer of 2^60 bytes"))
        return false;
    EXPECT(v, !b, VFY_BUFFERS, "a failed buffer_alloc leaves *out other than NULL");
    if (!buffer_runs(v))
        return false;
    vfy_close(v);
    return true;
}

/* ---- scarcity ------------------------------------------------------------------------------ */

/* Opens, uploads and runs; whatever fails must fail with a status. */
static void try_all(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_model *m = vfy_model_create(&s, v->seed);
    struct q35_weights *w = NULL;
    struct q35_kv *kv = NULL;
    struct q35_token t[16];
    float out[16 * 100];

    v->d.dev = NULL;
    v->d.signal = 0;
    vfy_enter(&v->d, "open");
    if (m && !v->entry.api.open(&v->entry.host, &v->entry.options, v->device, &v->d.dev, &v->err)) {
        if (!vfy_upload(&v->d, m, Q35_DURING_CALL, &w, &v->err) &&
            !vfy_kv(&v->d, w, 4, 1024, &kv, &v->err)) {
            struct vfy_job job = {w, kv, 0, 4, t, 16, NULL, 0, out, sizeof(out)};
            vfy_tokens(t, 16, 0, 0, 100, true, &v->rng);
            if (vfy_run(&v->d, &job, &v->err))
                vfy_enter(&v->d, "a failed run");
        }
        if (kv)
            VFY_CALL(&v->d, kv_free, kv);
        if (w)
            VFY_CALL(&v->d, weights_free, w);
        VFY_CALL(&v->d, close, v->d.dev);
    }
    vfy_model_destroy(m);
}

static bool enormous(struct vfy *v)
{
    struct vfy_rig r;
    struct q35_kv *kv = (struct q35_kv *)v;
    enum q35_status st;
    if (!vfy_rig_any(v, &r, 2, 256))
        return false;
    st = vfy_kv(&v->d, r.w, 2, UINT32_MAX, &kv, &v->err);
    if (st) {
        EXPECT(v, !kv, VFY_KV, "a failed kv_create leaves *out other than NULL");
        if (!vfy_refused(v, st, 0, VFY_KV, "a KV cache of 2^32 tokens"))
            return false;
    } else {
        VFY_CALL(&v->d, kv_free, kv);
    }
    if (!vfy_rig_feed(v, &r, 0, 0, 3, VFY_KV,
                      "a run after a KV cache of 2^32 tokens was asked for"))
        return false;
    vfy_rig_close(v, &r);
    return true;
}

bool vfy_check_starved(struct vfy *v)
{
    struct rlimit old, tight;
    uint64_t step;
    uint32_t i;

    if (!vfy_open(v) || !enormous(v))
        return false;
    vfy_close(v);
    try_all(v);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = vfy_count_fds() - 3; /* what is open stays open, nothing new opens */
    setrlimit(RLIMIT_NOFILE, &tight);
    try_all(v);
    setrlimit(RLIMIT_NOFILE, &old);
    if (VFY_SANITIZED) { /* which ends the process when it gets no memory itself */
        vfy_note(v, "memory is not withheld under a sanitizer");
        return true;
    }
    getrlimit(RLIMIT_AS, &old);
    for (i = 0; i < 24; i++) { /* from almost nothing to plenty */
        step = (uint64_t)1 << (12 + i / 2);
        tight = old;
        tight.rlim_cur = 0;
        {
            unsigned long long pages = 0;
            FILE *f = fopen("/proc/self/statm", "re");
            if (f && fscanf(f, "%llu", &pages) == 1)
                tight.rlim_cur = pages * 4096 + step + (i % 2 ? step / 2 : 0);
            if (f)
                fclose(f);
        }
        setrlimit(RLIMIT_AS, &tight);
        try_all(v);
        setrlimit(RLIMIT_AS, &old);
    }
    if (!vfy_open(v))
        return false;
    vfy_close(v);
    return true;
}

bool vfy_check_reset(struct vfy *v)
{
    struct vfy_rig r, after;
    enum q35_status st;
    if (!vfy_open(v) || !vfy_rig_any(v, &r, 2, 256) ||
        !vfy_rig_feed(v, &r, 0, 0, 10, VFY_RESET, "a run before reset"))
        return false;
    st = VFY_CALL(&v->d, reset, v->d.dev, &v->err);
    if (st == Q35_E_UNSUPPORTED)
        return vfy_skip(v, "the plugin has no reset");
    if (!vfy_ok(v, st, VFY_RESET, "reset") || !vfy_rig_any(v, &after, 2, 256) ||
        !vfy_rig_feed(v, &after, 0, 0, 10, VFY_RESET, "a run after reset"))
        return false;
    vfy_rig_close(v, &r); /* handles of before */
    if (!vfy_rig_feed(v, &after, 0, 10, 3, VFY_RESET, "a run after freeing old handles"))
        return false;
    vfy_rig_close(v, &after);
    vfy_close(v);
    return true;
}
