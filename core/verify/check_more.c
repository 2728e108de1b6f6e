/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Hosts of a later version, and extensions. */

#include <malloc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/reference/soft.h"
#include "core/verify/kit.h"
#include "q35/measure.h"

/* ---- longer structs ------------------------------------------------------------------------ */

enum { LATER = 48, TOKENS = 9 };

/* The layers of m as a host of a later minor has them: every struct and every stride is longer, and
 * what is new is not zero. One allocation. */
static struct q35_layer *longer_layers(const struct vfy_model *m, uint32_t *stride)
{
    uint32_t tensor_stride = (uint32_t)sizeof(struct q35_tensor_desc) + LATER / 2, i, t;
    uint64_t each = (uint64_t)Q35_ROLE_COUNT * tensor_stride;
    uint8_t *block, *tensors;

    *stride = (uint32_t)sizeof(struct q35_layer) + LATER;
    block = malloc(m->layer_count * (*stride + each));
    if (!block)
        return NULL;
    memset(block, 0xff, m->layer_count * (*stride + each));
    tensors = block + (uint64_t)m->layer_count * *stride;
    for (i = 0; i < m->layer_count; i++) {
        struct q35_layer l = m->layers[i];
        uint8_t *list = tensors + i * each;
        for (t = 0; t < l.tensor_count; t++)
            memcpy(list + (uint64_t)t * tensor_stride, &m->layers[i].tensors[t],
                   sizeof(struct q35_tensor_desc));
        l.size = *stride;
        l.tensor_stride = tensor_stride;
        l.tensors = (const void *)list;
        memcpy(block + (uint64_t)i * *stride, &l, sizeof(l));
    }
    return (struct q35_layer *)(void *)block;
}

static bool longer_upload(struct vfy *v, struct vfy_rig *r, const struct q35_layer *layers,
                          uint32_t stride)
{
    struct {
        struct q35_kv_spec spec;
        uint64_t later[4];
    } kv = {{.size = sizeof(kv), .max_sequences = 2, .kv_tokens = 256}, {~0ull, ~0ull, ~0ull}};
    uint32_t i, t;
    if (!vfy_ok(v,
                VFY_CALL(&v->d, weights_begin, v->d.dev, layers, r->m->layer_count, stride, &r->w,
                         &v->err),
                VFY_STRUCT_SIZE, "weights_begin of longer layers and tensor descriptors"))
        return false;
    for (i = 0; i < r->m->layer_count; i++)
        for (t = 0; t < r->m->layers[i].tensor_count; t++) {
            const struct q35_tensor_desc *d = &r->m->layers[i].tensors[t];
            if (!vfy_ok(v,
                        VFY_CALL(&v->d, weights_put, r->w, i, d->role, 0,
                                 vfy_tensor(r->m, i, d->role)->data, d->bytes, Q35_UNTIL_FREE,
                                 &v->err),
                        VFY_STRUCT_SIZE, "weights_put to longer layers"))
                return false;
        }
    return vfy_ok(v, VFY_CALL(&v->d, weights_commit, r->w, &v->err), VFY_STRUCT_SIZE,
                  "weights_commit of longer layers") &&
           vfy_ok(v, VFY_CALL(&v->d, kv_create, v->d.dev, r->w, &kv.spec, &r->kv, &v->err),
                  VFY_STRUCT_SIZE, "kv_create with a longer spec");
}

/* A run struct and tokens that are longer than this version's. */
static bool longer_run(struct vfy *v, struct vfy_rig *r, uint32_t position)
{
    struct {
        struct q35_token token;
        uint64_t later[2];
    } far[TOKENS];
    struct {
        struct q35_run run;
        uint64_t later[4];
    } longer;
    struct q35_token t[TOKENS];
    float got[TOKENS * 100], want[TOKENS * 100];
    uint32_t i;

    vfy_tokens(t, TOKENS, 1, position, 100, true, &v->rng);
    memset(far, 0xff, sizeof(far));
    memset(&longer, 0xff, sizeof(longer));
    for (i = 0; i < TOKENS; i++)
        far[i].token = t[i];
    longer.run = (struct q35_run){.size = sizeof(longer),
                                  .count = r->m->layer_count,
                                  .n_tokens = TOKENS,
                                  .token_stride = sizeof(far[0]),
                                  .weights = r->w,
                                  .kv = r->kv,
                                  .tokens = &far[0].token,
                                  .out = {.host = got, .bytes = sizeof(got)},
                                  .signal = ++v->d.signal};
    if (!vfy_ok(v, VFY_CALL(&v->d, run_layers, v->d.dev, &longer.run, &v->err), VFY_STRUCT_SIZE,
                "a longer run with longer tokens") ||
        !vfy_ok(v, VFY_CALL(&v->d, wait, v->d.dev, v->d.signal, UINT64_MAX, &v->err),
                VFY_STRUCT_SIZE, "waiting for a longer run"))
        return false;
    if (!vfy_oracle_run(r->o, 0, r->m->layer_count, t, TOKENS, NULL, want))
        return vfy_skip(v, "the kit has no memory");
    return vfy_same(v, &(struct vfy_results){got, want, TOKENS, 100, t, TOKENS}, false,
                    VFY_STRUCT_SIZE, "a longer run with longer tokens");
}

bool vfy_check_longer(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_rig r = {0};
    struct q35_layer *layers;
    uint32_t stride;
    bool fine;

    if (!vfy_open(v))
        return false;
    if (v->info.max_batch < TOKENS || v->info.max_sequences < 2)
        return vfy_skip(v, "the device takes %u tokens of %u sequences", v->info.max_batch,
                        v->info.max_sequences);
    r.m = vfy_model_create(&s, v->seed);
    r.o = r.m ? vfy_oracle_create(r.m, 2) : NULL;
    layers = r.o ? longer_layers(r.m, &stride) : NULL;
    if (!layers)
        return vfy_skip(v, "the kit has no memory");
    fine =
        longer_upload(v, &r, layers, stride) && longer_run(v, &r, 0) && longer_run(v, &r, TOKENS);
    if (!fine)
        return false;
    vfy_rig_close(v, &r);
    free(layers);
    vfy_close(v);
    return true;
}

/* ---- extensions ---------------------------------------------------------------------------- */

static bool unknown_extensions(struct vfy *v)
{
    static const char *const ids[] = {
        "", "q35", "q35.measur", "q35.measure2", "q35.no_such_thing", "Q35.MEASURE"};
    uint32_t i;
    for (i = 0; i < Q35_COUNT(ids); i++)
        EXPECT(v, !VFY_CALL(&v->d, get_extension, ids[i], 1), VFY_EXTENSION,
               "get_extension(\"%s\", 1) is not NULL: there is no such extension", ids[i]);
    EXPECT(v, !VFY_CALL(&v->d, get_extension, Q35_EXT_MEASURE, 0), VFY_EXTENSION,
           "get_extension(\"%s\", 0) is not NULL: there is no version 0", Q35_EXT_MEASURE);
    return true;
}

/* One answer of `seconds`; *out is 0 if the device does not know. */
static bool ask_seconds(struct vfy *v, const struct q35_measure *m, const struct vfy_model *model,
                        uint32_t count, uint32_t tokens, uint32_t context, double *out)
{
    struct q35_device *dev = q35_soft_own(&v->entry.api, v->d.dev);
    double guarded[3] = {-7, -7, -7};
    enum q35_status st;
    vfy_enter(&v->d, "q35.measure seconds");
    st = m->seconds(dev, model->layers, count, (uint32_t)sizeof(struct q35_layer), tokens, context,
                    &guarded[1], &v->err);
    *out = 0;
    if (st == Q35_E_UNSUPPORTED)
        return vfy_refused(v, st, st, VFY_EXTENSION, "seconds in a mode that does not know them");
    if (!vfy_ok(v, st, VFY_EXTENSION, "seconds of layers that supports() takes"))
        return false;
    EXPECT(v, guarded[0] == -7 && guarded[2] == -7, VFY_BOUNDS, "seconds wrote beside *out");
    EXPECT(v, isfinite(guarded[1]) && guarded[1] > 0 && guarded[1] < 1e6, VFY_EXTENSION,
           "%u layers with %u tokens take %g seconds", count, tokens, guarded[1]);
    *out = guarded[1];
    return true;
}

static bool measure_answers(struct vfy *v, const struct q35_measure *m,
                            const struct vfy_model *model)
{
    uint32_t n = model->layer_count, batch = v->info.max_batch < 64 ? v->info.max_batch : 64, i;
    double one, all, many, again, later;
    size_t heap;
    if (!ask_seconds(v, m, model, 1, 1, 1, &one) || !ask_seconds(v, m, model, n, 1, 1, &all))
        return false;
    if (one <= 0 || all <= 0) {
        vfy_note(v, "the device does not know its speed as it is set up");
        return true;
    }
    if (!ask_seconds(v, m, model, n, batch, 1, &many) ||
        !ask_seconds(v, m, model, n, 1, 4096, &later) || !ask_seconds(v, m, model, n, 1, 1, &again))
        return false;
    EXPECT(v, again == all, VFY_EXTENSION, "the same question gives %g and %g seconds", all, again);
    EXPECT(v, all >= one, VFY_EXTENSION, "%u layers take %g seconds, one alone %g", n, all, one);
    EXPECT(v, many >= all, VFY_EXTENSION, "%u tokens take %g seconds, one %g", batch, many, all);
    EXPECT(v, later >= all, VFY_EXTENSION, "a context of 4096 takes %g seconds, of 1 %g", later,
           all);
    heap = mallinfo2().uordblks;
    for (i = 0; i < 100; i++)
        if (!ask_seconds(v, m, model, n, 1, i, &again))
            return false;
    EXPECT(v, mallinfo2().uordblks < heap + 65536, VFY_EXTENSION, "100 questions left %zu bytes",
           mallinfo2().uordblks - heap);
    return true;
}

bool vfy_check_extensions(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    const struct q35_measure *m;
    struct vfy_model *model;
    bool fine;

    if (!vfy_open(v) || !unknown_extensions(v))
        return false;
    m = VFY_CALL(&v->d, get_extension, Q35_EXT_MEASURE, 1);
    EXPECT(v, m == VFY_CALL(&v->d, get_extension, Q35_EXT_MEASURE, 1), VFY_EXTENSION,
           "get_extension gave two tables for %s", Q35_EXT_MEASURE);
    if (!m) {
        vfy_note(v, "the plugin has no extension");
        vfy_close(v);
        return true;
    }
    EXPECT(v, Q35_HAS(m, struct q35_measure, seconds) && m->seconds, VFY_EXTENSION,
           "%s of size %u has no function seconds", Q35_EXT_MEASURE, m->size);
    model = vfy_model_create(&s, v->seed);
    if (!model)
        return vfy_skip(v, "the kit has no memory");
    fine = measure_answers(v, m, model);
    vfy_model_destroy(model);
    if (fine)
        vfy_close(v);
    return fine;
}
