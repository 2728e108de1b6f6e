/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Arguments that must be refused. */

#include <string.h>

#include "core/verify/kit.h"

struct attempt {
    struct q35_run run;
    struct q35_token t[4];
    const char *what;
};

static void attempt_init(struct vfy *v, struct vfy_rig *r, struct attempt *a, float *out)
{
    memset(a, 0, sizeof(*a));
    vfy_tokens(a->t, 4, 0, 5, r->m->shape.vocab, true, &v->rng);
    a->run = (struct q35_run){.size = sizeof(a->run),
                              .first = 0,
                              .count = r->m->layer_count,
                              .n_tokens = 4,
                              .token_stride = sizeof(a->t[0]),
                              .weights = r->w,
                              .kv = r->kv,
                              .tokens = a->t,
                              .out = {.host = out, .bytes = 4 * 100 * sizeof(float)},
                              .signal = v->d.signal + 1};
}

static bool attempt_spoil(struct vfy *v, struct vfy_rig *r, uint32_t i, struct attempt *a)
{
    switch (i) {
    case 0:
        a->what = "a run of no tokens";
        a->run.n_tokens = 0;
        return true;
    case 1:
        a->what = "a run of no layers";
        a->run.count = 0;
        return true;
    case 2:
        a->what = "a run beyond the last layer";
        a->run.first = 1;
        return true;
    case 3:
        a->what = "a run of 2^32 - 1 layers";
        a->run.first = 2;
        a->run.count = UINT32_MAX;
        return true;
    case 4:
        a->what = "tokens NULL";
        a->run.tokens = NULL;
        return true;
    case 5:
        a->what = "weights NULL";
        a->run.weights = NULL;
        return true;
    case 6:
        a->what = "decoders without a KV cache";
        a->run.kv = NULL;
        return true;
    case 7:
        a->what = "an output that is NULL";
        a->run.out.host = NULL;
        return true;
    case 8:
        a->what = "an output 4 bytes too small";
        a->run.out.bytes -= 4;
        return true;
    case 9:
        a->what = "a token id beyond the vocabulary";
        a->t[2].id = 100;
        return true;
    case 10:
        a->what = "a negative token id";
        a->t[3].id = -1;
        return true;
    case 11:
        a->what = "a sequence beyond the KV cache";
        a->t[0].sequence = a->t[1].sequence = a->t[2].sequence = a->t[3].sequence = r->sequences;
        return true;
    case 12:
        a->what = "sequence 2^32 - 1";
        a->t[3].sequence = UINT32_MAX;
        return true;
    case 13:
        a->what = "a position far beyond the KV cache";
        for (uint32_t k = 0; k < 4; k++)
            a->t[k].position = 4000000000u + k;
        return true;
    case 14:
        a->what = "more tokens than max_batch";
        a->run.n_tokens = v->info.max_batch + 1;
        return true;
    case 15:
        a->what = "an input that is NULL";
        a->run.first = 1;
        a->run.count = 3;
        return true;
    case 16:
        a->what = "a position that leaves a gap behind what the KV holds";
        for (uint32_t k = 0; k < 4; k++)
            a->t[k].position++;
        return true;
    case 17:
        a->what = "positions of one sequence that are not adjacent";
        a->t[3].position++;
        return true;
    default:
        return false;
    }
}

static bool bad_kv_calls(struct vfy *v, struct vfy_rig *r)
{
    struct q35_kv *kv = NULL;
    enum q35_status st;
    if (!vfy_refused(v, VFY_CALL(&v->d, kv_fork, r->kv, 0, r->sequences, 1, &v->err), 0,
                     VFY_INVALID, "a fork to a sequence not there") ||
        !vfy_refused(v, VFY_CALL(&v->d, kv_fork, r->kv, UINT32_MAX, 0, 1, &v->err), 0, VFY_INVALID,
                     "a fork of sequence 2^32 - 1") ||
        !vfy_refused(v, VFY_CALL(&v->d, kv_fork, r->kv, 0, 1, 6, &v->err), 0, VFY_INVALID,
                     "a fork of more positions than are held") ||
        !vfy_refused(v, VFY_CALL(&v->d, kv_truncate, r->kv, r->sequences, 0, &v->err), 0,
                     VFY_INVALID, "truncating a sequence not there"))
        return false;
    st = vfy_kv(&v->d, r->w, 0, 64, &kv, &v->err);
    if (!vfy_refused(v, st, 0, VFY_INVALID, "a KV cache of no sequences"))
        return false;
    st = vfy_kv(&v->d, r->w, v->info.max_sequences + 1, 64, &kv, &v->err);
    return vfy_refused(v, st, 0, VFY_INVALID, "more sequences than max_sequences");
}

static bool bad_uploads(struct vfy *v, struct vfy_rig *r)
{
    struct q35_weights *w = (struct q35_weights *)v;
    enum q35_status st = VFY_CALL(&v->d, weights_begin, v->d.dev, r->m->layers, 0,
                                  sizeof(struct q35_layer), &w, &v->err);
    if (!vfy_refused(v, st, 0, VFY_INVALID, "weights of no layers"))
        return false;
    EXPECT(v, !w, VFY_INVALID, "a failed weights_begin leaves *out other than NULL");
    VFY_CALL(&v->d, weights_free, NULL);
    VFY_CALL(&v->d, kv_free, NULL);
    VFY_CALL(&v->d, buffer_free, NULL);
    return true;
}

bool vfy_check_invalid(struct vfy *v)
{
    struct vfy_rig r;
    struct attempt a;
    uint64_t last = 0, before;
    uint32_t i;
    float *out;

    if (!vfy_open(v) || !vfy_rig_any(v, &r, 2, 256) ||
        !vfy_rig_feed(v, &r, 0, 0, 5, VFY_CLASS, "5 tokens"))
        return false;
    before = v->d.signal;
    out = vfy_mem(v, 400 * sizeof(float), "the output of a run that is refused");
    for (i = 0;; i++) {
        enum q35_status st;
        attempt_init(v, &r, &a, out);
        if (!attempt_spoil(v, &r, i, &a))
            break;
        st = VFY_CALL(&v->d, run_layers, v->d.dev, &a.run, &v->err);
        if (!st) { /* an asynchronous device may find out later */
            v->d.signal = a.run.signal;
            st = VFY_CALL(&v->d, wait, v->d.dev, a.run.signal, VFY_RUN_TIMEOUT_NS, &v->err);
            before = v->d.signal;
        }
        if (!vfy_refused(v, st, 0, VFY_INVALID, a.what) || !vfy_mem_check(v))
            return false;
        if (!vfy_ok(v, VFY_CALL(&v->d, poll, v->d.dev, &last, &v->err), VFY_TIME_ERROR, "poll"))
            return false;
        EXPECT(v, last == before, VFY_TIME_ERROR, "%s was refused and has completed as %llu",
               a.what, (unsigned long long)last);
    }
    if (!bad_kv_calls(v, &r) || !bad_uploads(v, &r) ||
        !vfy_rig_feed(v, &r, 0, 5, 5, VFY_INVALID, "a good run after refused ones"))
        return false;
    /* What was cut off is gone: it can be neither forked nor gone on from. */
    vfy_oracle_truncate(r.o, 0, 3);
    if (!vfy_ok(v, VFY_CALL(&v->d, kv_truncate, r.kv, 0, 3, &v->err), VFY_KV_TRUNCATE,
                "kv_truncate") ||
        !vfy_refused(v, VFY_CALL(&v->d, kv_fork, r.kv, 0, 1, 4, &v->err), 0, VFY_KV_TRUNCATE,
                     "a fork of 4 positions of a sequence truncated to 3") ||
        !vfy_rig_feed(v, &r, 0, 3, 2, VFY_KV_TRUNCATE, "a sequence after truncation"))
        return false;
    vfy_rig_close(v, &r);
    vfy_close(v);
    return true;
}
