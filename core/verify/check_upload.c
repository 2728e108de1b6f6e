/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Weights: chunks, lifetimes, completeness, hashes. */

#include <stdlib.h>
#include <string.h>

#include "core/verify/kit.h"

struct chunk {
    uint32_t layer, role;
    uint64_t offset, bytes;
};

/* Cuts all tensors into random chunks and shuffles them. */
static struct chunk *cut(struct vfy *v, const struct vfy_model *m, uint32_t *count)
{
    struct chunk *c = NULL;
    uint32_t n = 0, cap = 0, l, t, i;
    for (l = 0; l < m->layer_count; l++)
        for (t = 0; t < m->layers[l].tensor_count; t++) {
            const struct q35_tensor_desc *d = &m->layers[l].tensors[t];
            uint64_t at = 0;
            while (at < d->bytes) {
                uint64_t k = 8 * (uint64_t)(1 + vfy_below(&v->rng, 1500));
                if (n == cap) {
                    cap = cap ? 2 * cap : 256;
                    c = realloc(c, cap * sizeof(*c));
                    if (!c)
                        _Exit(1);
                }
                k = k < d->bytes - at ? k : d->bytes - at;
                c[n++] = (struct chunk){l, d->role, at, k};
                at += k;
            }
        }
    for (i = n - 1; i > 0; i--) {
        uint32_t j = vfy_below(&v->rng, i + 1);
        struct chunk swap = c[i];
        c[i] = c[j];
        c[j] = swap;
    }
    *count = n;
    return c;
}

/* Puts chunks 0 .. n-1 from memory that is gone after each call. */
static bool put_chunks(struct vfy *v, const struct vfy_model *m, struct q35_weights *w,
                       const struct chunk *c, uint32_t n)
{
    uint32_t i;
    for (i = 0; i < n; i++) {
        uint8_t *data = vfy_mem(v, c[i].bytes, "the data of a put (DURING_CALL)");
        memcpy(data, vfy_tensor(m, c[i].layer, c[i].role)->data + c[i].offset, c[i].bytes);
        vfy_mem_protect(v, data, true);
        if (!vfy_ok(v,
                    VFY_CALL(&v->d, weights_put, w, c[i].layer, c[i].role, c[i].offset, data,
                             c[i].bytes, Q35_DURING_CALL, &v->err),
                    VFY_UPLOAD, "a put of a chunk at a multiple of 8"))
            return false;
        vfy_mem_retire(v, data);
    }
    return true;
}

static bool run_uploaded(struct vfy *v, struct vfy_rig *r, enum vfy_rule rule, const char *what)
{
    r->sequences = 1;
    r->kv_tokens = 128;
    if (!vfy_ok(v, vfy_kv(&v->d, r->w, 1, 128, &r->kv, &v->err), VFY_KV, "kv_create") ||
        !vfy_rig_feed(v, r, 0, 0, 9, rule, what))
        return false;
    vfy_rig_close(v, r);
    return true;
}

static bool rig_model(struct vfy *v, struct vfy_rig *r)
{
    struct vfy_shape s = vfy_shape_small();
    s.d_model = 136; /* vectors whose bytes are no multiple of 64, padded columns */
    memset(r, 0, sizeof(*r));
    r->m = vfy_model_create(&s, v->seed + 3);
    r->o = r->m ? vfy_oracle_create(r->m, 1) : NULL;
    if (r->o)
        return true;
    vfy_skip(v, "the kit has no memory");
    return false;
}

bool vfy_check_upload(struct vfy *v)
{
    struct vfy_rig r;
    struct q35_layer *copy;
    struct chunk *c;
    uint32_t n;

    if (!vfy_open(v) || !rig_model(v, &r))
        return false;
    c = cut(v, r.m, &n);
    if (!vfy_ok(v, vfy_begin(&v->d, r.m, &r.w, &v->err), VFY_UPLOAD, "weights_begin") ||
        !put_chunks(v, r.m, r.w, c, n) ||
        !vfy_ok(v, VFY_CALL(&v->d, weights_commit, r.w, &v->err), VFY_UPLOAD,
                "commit after shuffled chunks") ||
        !run_uploaded(v, &r, VFY_LIFETIME, "weights uploaded in shuffled chunks"))
        return false;
    free(c);

    /* Whole tensors kept until free, layers in a wider array of a newer host. */
    if (!rig_model(v, &r))
        return false;
    copy = calloc(r.m->layer_count, sizeof(*copy) + 64);
    for (n = 0; copy && n < r.m->layer_count; n++)
        memcpy((uint8_t *)copy + n * (sizeof(*copy) + 64), &r.m->layers[n], sizeof(*copy));
    if (!vfy_ok(v,
                VFY_CALL(&v->d, weights_begin, v->d.dev, copy, r.m->layer_count, sizeof(*copy) + 64,
                         &r.w, &v->err),
                VFY_STRUCT_SIZE, "weights_begin with a wider stride"))
        return false;
    VFY_CALL(&v->d, weights_free, r.w); /* freed before anything was put */
    free(copy);
    if (!vfy_ok(v, vfy_upload(&v->d, r.m, Q35_UNTIL_FREE, &r.w, &v->err), VFY_UPLOAD,
                "uploading whole tensors until free") ||
        !run_uploaded(v, &r, VFY_UPLOAD, "weights uploaded until free"))
        return false;
    vfy_close(v);
    return true;
}

/* ---- what must be refused ------------------------------------------------------------------ */

/* Everything put except chunk `skip`; commit must fail. */
static bool commit_without(struct vfy *v, struct vfy_rig *r, const struct chunk *c, uint32_t n)
{
    if (!vfy_ok(v, vfy_begin(&v->d, r->m, &r->w, &v->err), VFY_UPLOAD, "weights_begin") ||
        !put_chunks(v, r->m, r->w, c, n - 1) ||
        !vfy_refused(v, VFY_CALL(&v->d, weights_commit, r->w, &v->err), 0, VFY_UPLOAD_COMPLETE,
                     "a commit with bytes missing"))
        return false;
    VFY_CALL(&v->d, weights_free, r->w);
    r->w = NULL;
    return true;
}

/* One bit of one tensor wrong; the finding of commit must point at it. */
static bool commit_flipped(struct vfy *v, struct vfy_rig *r, uint32_t layer, uint32_t role)
{
    uint8_t *data = vfy_tensor(r->m, layer, role)->data;
    uint64_t at = vfy_below(&v->rng, (uint32_t)vfy_desc(r->m, layer, role)->bytes);
    enum q35_status st;

    data[at] ^= (uint8_t)(1u << vfy_below(&v->rng, 8));
    v->err.layer = Q35_NO_LAYER;
    st = vfy_upload(&v->d, r->m, Q35_DURING_CALL, &r->w, &v->err);
    EXPECT(v, st, VFY_UPLOAD_HASH, "a wrong byte %llu of layer %u, role %u was committed",
           (unsigned long long)at, layer, role);
    EXPECT(v, v->err.layer == (int32_t)layer, VFY_UPLOAD_HASH,
           "the error of a wrong byte in layer %u names layer %d", layer, (int)v->err.layer);
    if (!vfy_refused(v, st, Q35_E_HASH, VFY_UPLOAD_HASH, "a commit with a wrong byte"))
        return false;
    /* Undone by decoding the same seed again would be slow: flip back by trying the bits. */
    for (uint32_t b = 0; b < 8; b++) {
        data[at] ^= (uint8_t)(1u << b);
        if (q35_hash_chunk(data, vfy_desc(r->m, layer, role)->bytes, 0) ==
            vfy_desc(r->m, layer, role)->hash)
            return true;
        data[at] ^= (uint8_t)(1u << b);
    }
    return vfy_skip(v, "the kit could not restore its own data");
}

static bool bad_puts(struct vfy *v, struct vfy_rig *r)
{
    const struct q35_tensor_desc *d = vfy_desc(r->m, 1, Q35_ROLE_GATE);
    const uint8_t *data = vfy_tensor(r->m, 1, Q35_ROLE_GATE)->data;
    struct q35_weights *w;
    enum q35_status st;
#define PUT(layer, role, offset, bytes)                                                            \
    VFY_CALL(&v->d, weights_put, w, layer, role, offset, data, bytes, Q35_DURING_CALL, &v->err)

    if (!vfy_ok(v, vfy_begin(&v->d, r->m, &w, &v->err), VFY_UPLOAD, "weights_begin") ||
        !vfy_refused(v, PUT(1, Q35_ROLE_GATE, d->bytes - 64, 128), 0, VFY_UPLOAD,
                     "a put beyond the end of a tensor") ||
        !vfy_refused(v, PUT(1, Q35_ROLE_GATE, UINT64_MAX - 7, 16), 0, VFY_UPLOAD,
                     "a put whose end overflows") ||
        !vfy_refused(v, PUT(99, Q35_ROLE_GATE, 0, 64), 0, VFY_UPLOAD,
                     "a put to a layer not there") ||
        !vfy_refused(v, PUT(1, Q35_ROLE_HEAD, 0, 64), 0, VFY_UPLOAD, "a put of a role not there") ||
        !vfy_refused(v, PUT(1, 1000, 0, 64), 0, VFY_UPLOAD, "a put of role 1000") ||
        !vfy_ok(v, PUT(1, Q35_ROLE_GATE, 0, 64), VFY_UPLOAD, "a put of 64 bytes"))
        return false;
    /* Every byte once: refused at the second put or, at the latest, by commit. */
    st = PUT(1, Q35_ROLE_GATE, 0, 64);
    if (!st)
        st = VFY_CALL(&v->d, weights_commit, w, &v->err);
    if (!vfy_refused(v, st, 0, VFY_UPLOAD_COMPLETE, "a byte put twice"))
        return false;
#undef PUT
    VFY_CALL(&v->d, weights_free, w);
    return true;
}

/* Double puts that replace a missing chunk: the number of bytes is right, the bytes are not. */
static bool double_for_missing(struct vfy *v, struct vfy_rig *r)
{
    uint32_t i;
    enum q35_status st = Q35_OK;
    const struct q35_tensor_desc *d = vfy_desc(r->m, 1, Q35_ROLE_DOWN);
    uint8_t *data = vfy_tensor(r->m, 1, Q35_ROLE_DOWN)->data;

    if (!vfy_ok(v, vfy_begin(&v->d, r->m, &r->w, &v->err), VFY_UPLOAD, "weights_begin"))
        return false;
    for (i = 0; i < r->m->layer_count; i++)
        for (uint32_t t = 0; !st && t < r->m->layers[i].tensor_count; t++) {
            const struct q35_tensor_desc *e = &r->m->layers[i].tensors[t];
            if (e != d)
                st = VFY_CALL(&v->d, weights_put, r->w, i, e->role, 0,
                              vfy_tensor(r->m, i, e->role)->data, e->bytes, Q35_DURING_CALL,
                              &v->err);
        }
    for (i = 0; !st && i < 2; i++)
        st = VFY_CALL(&v->d, weights_put, r->w, 1, Q35_ROLE_DOWN, 0, data, d->bytes / 16 * 8,
                      Q35_DURING_CALL, &v->err);
    if (!st)
        st = VFY_CALL(&v->d, weights_commit, r->w, &v->err);
    if (!vfy_refused(v, st, 0, VFY_UPLOAD_COMPLETE, "half of a tensor put twice"))
        return false;
    VFY_CALL(&v->d, weights_free, r->w);
    r->w = NULL;
    return true;
}

static bool uncommitted(struct vfy *v, struct vfy_rig *r)
{
    struct q35_token t[1];
    float out[100];
    struct vfy_job job = {.tokens = t, .n = 1, .count = 1, .out = out, .out_bytes = sizeof(out)};
    struct q35_weights *w;
    struct q35_kv *kv = NULL;

    vfy_tokens(t, 1, 0, 0, 100, true, &v->rng);
    if (!vfy_ok(v, vfy_begin(&v->d, r->m, &w, &v->err), VFY_UPLOAD, "weights_begin"))
        return false;
    if (vfy_kv(&v->d, w, 1, 64, &kv, &v->err)) /* may be refused before commit */
        kv = NULL;
    job.w = w;
    job.kv = kv;
    if (!vfy_refused(v, vfy_run(&v->d, &job, &v->err), 0, VFY_UNCOMMITTED,
                     "a run of weights that were not committed"))
        return false;
    if (kv)
        VFY_CALL(&v->d, kv_free, kv);
    VFY_CALL(&v->d, weights_free, w);
    return true;
}

bool vfy_check_upload_errors(struct vfy *v)
{
    static const uint32_t roles[] = {Q35_ROLE_Q,    Q35_ROLE_ATTN_NORM, Q35_ROLE_DOWN,
                                     Q35_ROLE_V,    Q35_ROLE_FFN_NORM,  Q35_ROLE_UP,
                                     Q35_ROLE_GATE, Q35_ROLE_ROPE_FREQ};
    struct vfy_rig r;
    struct chunk *c;
    uint32_t n, i;

    if (!vfy_open(v) || !rig_model(v, &r))
        return false;
    c = cut(v, r.m, &n);
    for (i = 0; i < 3; i++) {
        struct chunk swap = c[n - 1];
        c[n - 1] = c[i];
        c[i] = swap;
        if (!commit_without(v, &r, c, n))
            return false;
    }
    free(c);
    for (i = 0; i < Q35_COUNT(roles); i++)
        if (!commit_flipped(v, &r, 1 + i % 2, roles[i]))
            return false;
    if (!bad_puts(v, &r) || !double_for_missing(v, &r) || !uncommitted(v, &r))
        return false;
    /* After all that the device still works. */
    if (!vfy_ok(v, vfy_upload(&v->d, r.m, Q35_DURING_CALL, &r.w, &v->err), VFY_UPLOAD,
                "an upload after failed ones") ||
        !run_uploaded(v, &r, VFY_UPLOAD, "weights uploaded after failures"))
        return false;
    vfy_close(v);
    return true;
}
