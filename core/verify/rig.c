/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Loading, opening, and running the same tokens on the device and on the oracle. */

#include <stdlib.h>
#include <string.h>

#include "core/verify/kit.h"

bool vfy_load(struct vfy *v)
{
    struct q35_error err = Q35_ERROR_INIT;
    enum q35_status st;
    if (v->entry.handle)
        return true;
    vfy_enter(&v->d, "loading");
    st = q35_plugin_load(&v->entry, v->path, &err);
    EXPECT(v, !st, st == Q35_E_VERSION ? VFY_QUERY_MAJOR : VFY_LOAD, "%s", err.message);
    if (v->plugin)
        v->entry.options = *v->plugin;
    v->d.api = &v->entry.api;
    v->sh->abi_major = v->entry.api.abi_major;
    v->sh->abi_minor = v->entry.api.abi_minor;
    snprintf(v->sh->name, sizeof(v->sh->name), "%s", v->entry.api.name);
    snprintf(v->sh->version, sizeof(v->sh->version), "%s", v->entry.api.version);
    return true;
}

bool vfy_open(struct vfy *v)
{
    const struct q35_plugin *api = &v->entry.api;
    uint32_t count = 0;
    if (!vfy_load(v))
        return false;
    if (!vfy_ok(v, VFY_CALL(&v->d, enumerate, &v->entry.host, &v->entry.options, &count, &v->err),
                VFY_ENUMERATE, "enumerate"))
        return false;
    if (v->device >= count) {
        vfy_skip(v, "no device %u: %s", v->device, v->err.message);
        return false;
    }
    v->info = (struct q35_device_info){.size = sizeof(v->info)};
    if (!vfy_ok(v,
                VFY_CALL(&v->d, device_info, &v->entry.host, &v->entry.options, v->device, &v->info,
                         &v->err),
                VFY_DEVICE_INFO, "device_info"))
        return false;
    v->info.name[63] = v->info.id[63] = '\0';
    v->sh->determinism = v->info.determinism;
    memcpy(v->sh->device, v->info.name, sizeof(v->sh->device));
    memcpy(v->sh->device_id, v->info.id, sizeof(v->sh->device_id));
    vfy_enter(&v->d, "open");
    if (!vfy_ok(v, api->open(&v->entry.host, &v->entry.options, v->device, &v->d.dev, &v->err),
                VFY_OPEN, "open"))
        return false;
    EXPECT(v, v->d.dev, VFY_OPEN, "open returned OK and left *out NULL");
    v->d.signal = 0;
    return true;
}

void vfy_close(struct vfy *v)
{
    VFY_CALL(&v->d, close, v->d.dev);
    v->d.dev = NULL;
}

bool vfy_ok(struct vfy *v, enum q35_status st, enum vfy_rule rule, const char *what)
{
    v->err.message[sizeof(v->err.message) - 1] = '\0';
    EXPECT(v, !st, rule, "%s failed: %s (%s)", what, q35_status_text((int)st),
           v->err.message[0] ? v->err.message : "no message");
    return true;
}

bool vfy_refused(struct vfy *v, enum q35_status st, enum q35_status want, enum vfy_rule rule,
                 const char *what)
{
    EXPECT(v, st != Q35_OK, rule, "%s was accepted", what);
    EXPECT(v, !want || st == want, rule, "%s was refused with \"%s\" instead of \"%s\"", what,
           q35_status_text((int)st), q35_status_text((int)want));
    EXPECT(v, memchr(v->err.message, 0, sizeof(v->err.message)), VFY_ERROR_FILLED,
           "%s: the message has no end", what);
    EXPECT(v, v->err.message[0], VFY_ERROR_FILLED, "%s was refused without a message", what);
    EXPECT(v, v->err.radius >= 0 && v->err.radius <= Q35_RADIUS_PLUGIN, VFY_ERROR_FILLED,
           "%s: radius %d does not exist", what, (int)v->err.radius);
    v->err = (struct q35_error)Q35_ERROR_INIT;
    return true;
}

bool vfy_rig_open(struct vfy *v, struct vfy_rig *r, const struct vfy_shape *shape, uint64_t seed,
                  uint32_t sequences, uint32_t kv_tokens, bool *supported)
{
    memset(r, 0, sizeof(*r));
    r->m = vfy_model_create(shape, seed);
    return vfy_rig_adopt(v, r, sequences, kv_tokens, supported);
}

bool vfy_rig_adopt(struct vfy *v, struct vfy_rig *r, uint32_t sequences, uint32_t kv_tokens,
                   bool *supported)
{
    uint32_t i;
    *supported = false;
    if (sequences > v->info.max_sequences)
        sequences = v->info.max_sequences;
    r->o = r->m ? vfy_oracle_create(r->m, sequences) : NULL;
    if (!r->o)
        return vfy_skip(v, "the kit has no memory for a model");
    vfy_oracle_set_kv(r->o, v->d.kv_type);
    for (i = 0; i < r->m->layer_count; i++) {
        enum q35_status st = VFY_CALL(&v->d, supports, v->d.dev, &r->m->layers[i], &v->err);
        if (st == Q35_E_UNSUPPORTED) {
            vfy_rig_close(v, r);
            return true;
        }
        if (!vfy_ok(v, st, VFY_SUPPORTS, "supports of a well-formed layer"))
            return false;
    }
    *supported = true;
    r->sequences = sequences;
    r->kv_tokens = kv_tokens;
    if (!vfy_ok(v, vfy_upload(&v->d, r->m, Q35_UNTIL_FREE, &r->w, &v->err), VFY_UPLOAD,
                "uploading a model that supports() took"))
        return false;
    if (!r->m->shape.decoders)
        return true;
    return vfy_ok(v, vfy_kv(&v->d, r->w, sequences, kv_tokens, &r->kv, &v->err), VFY_KV,
                  "kv_create");
}

void vfy_rig_close(struct vfy *v, struct vfy_rig *r)
{
    if (r->kv)
        VFY_CALL(&v->d, kv_free, r->kv);
    if (r->w)
        VFY_CALL(&v->d, weights_free, r->w);
    vfy_oracle_destroy(r->o);
    vfy_model_destroy(r->m);
    memset(r, 0, sizeof(*r));
}

bool vfy_rig_any(struct vfy *v, struct vfy_rig *r, uint32_t sequences, uint32_t kv_tokens)
{
    struct vfy_shape s = vfy_shape_small();
    bool supported;
    if (!vfy_rig_open(v, r, &s, v->seed, sequences, kv_tokens, &supported))
        return false;
    EXPECT(v, supported, VFY_SUPPORTS, "the device refuses the smallest LLaMA model of the kit: %s",
           v->err.message);
    return true;
}

uint64_t vfy_out_values(const struct vfy_rig *r, uint32_t first, uint32_t count,
                        const struct q35_token *t, uint32_t n)
{
    uint64_t logits = 0, i;
    if (r->m->layers[first + count - 1].kind != Q35_LAYER_HEAD)
        return (uint64_t)n * r->m->shape.d_model;
    for (i = 0; i < n; i++)
        logits += t[i].flags & Q35_TOKEN_LOGITS;
    return logits * r->m->shape.vocab;
}

/* What a run was lent is kept out of reach for so many more runs. */
enum { FEW = 6 };

/* out: out_bytes of results. */
static bool run_guarded(struct vfy *v, struct vfy_rig *r, uint32_t first, uint32_t count,
                        const struct q35_token *t, uint32_t n, const float *in, uint32_t flags,
                        void *out, uint64_t out_bytes, enum q35_status *status)
{
    uint64_t in_bytes = in ? 4 * (uint64_t)n * r->m->shape.d_model : 0;
    struct q35_run *run = vfy_mem(v, sizeof(*run), "the struct q35_run (DURING_CALL)");
    void *tokens = vfy_mem(v, n * sizeof(*t), "the tokens of a run (UNTIL_EVENT)");
    void *from = vfy_mem(v, in_bytes, "the input of a run (UNTIL_EVENT)");
    void *to = vfy_mem(v, out_bytes, "the output of a run (UNTIL_EVENT)");
    struct vfy_job job = {r->w,     r->kv, first,     count, tokens, n, in ? from : NULL,
                          in_bytes, to,    out_bytes, flags};
    bool fine;

    memcpy(tokens, t, n * sizeof(*t));
    if (in)
        memcpy(from, in, in_bytes);
    memset(to, VFY_UNWRITTEN, out_bytes);
    *run = vfy_job_run(&v->d, &job);
    vfy_mem_protect(v, run, true);
    vfy_mem_protect(v, tokens, true);
    vfy_mem_protect(v, from, true);
    *status = VFY_CALL(&v->d, run_layers, v->d.dev, run, &v->err);
    vfy_mem_retire_few(v, run, FEW);
    if (!*status)
        *status = VFY_CALL(&v->d, wait, v->d.dev, v->d.signal, VFY_RUN_TIMEOUT_NS, &v->err);
    fine = vfy_mem_check(v);
    memcpy(out, to, out_bytes);
    vfy_mem_retire_few(v, tokens, FEW);
    vfy_mem_retire_few(v, from, FEW);
    vfy_mem_retire_few(v, to, FEW);
    return fine;
}

bool vfy_rig_device(struct vfy *v, struct vfy_rig *r, uint32_t first, uint32_t count,
                    const struct q35_token *t, uint32_t n, const float *in, float *out,
                    enum q35_status *status)
{
    return run_guarded(v, r, first, count, t, n, in, 0, out,
                       4 * vfy_out_values(r, first, count, t, n), status);
}

bool vfy_rig_flags(struct vfy *v, struct vfy_rig *r, uint32_t first, uint32_t count,
                   const struct q35_token *t, uint32_t n, const float *in, uint32_t flags,
                   void *out, enum q35_status *status)
{
    uint64_t values = vfy_out_values(r, first, count, t, n);
    if (r->m->layers[first + count - 1].kind == Q35_LAYER_HEAD && (flags & Q35_RUN_GREEDY))
        values /= r->m->shape.vocab;
    return run_guarded(v, r, first, count, t, n, in, flags, out, 4 * values, status);
}

bool vfy_rig_step(struct vfy *v, struct vfy_rig *r, const struct q35_token *t, uint32_t n,
                  enum vfy_rule rule, const char *what)
{
    uint32_t count = r->m->layer_count;
    uint64_t values = vfy_out_values(r, 0, count, t, n);
    float *got = malloc((values + 1) * sizeof(float)), *want = malloc((values + 1) * sizeof(float));
    uint32_t width = r->m->shape.head ? r->m->shape.vocab : r->m->shape.d_model;
    const struct vfy_results results = {got, want, (uint32_t)(values / width), width, t, n};
    enum q35_status st;
    bool fine;

    if (!got || !want)
        return vfy_skip(v, "the kit has no memory");
    fine = vfy_rig_device(v, r, 0, count, t, n, NULL, got, &st) && vfy_ok(v, st, rule, what);
    if (fine && !vfy_oracle_run(r->o, 0, count, t, n, NULL, want))
        fine = vfy_skip(v, "the kit has no memory for its oracle");
    fine = fine && vfy_same(v, &results, false, rule, what);
    free(got);
    free(want);
    return fine;
}

bool vfy_rig_feed(struct vfy *v, struct vfy_rig *r, uint32_t sequence, uint32_t position,
                  uint32_t n, enum vfy_rule rule, const char *what)
{
    struct q35_token t[VFY_MAX_TOKENS];
    uint32_t done = 0;
    while (done < n) {
        uint32_t k = n - done < v->info.max_batch ? n - done : v->info.max_batch;
        k = k < VFY_MAX_TOKENS ? k : VFY_MAX_TOKENS;
        vfy_tokens(t, k, sequence, position + done, r->m->shape.vocab, true, &v->rng);
        if (!vfy_rig_step(v, r, t, k, rule, what))
            return false;
        done += k;
    }
    return true;
}
