/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What a device declares in its features: KV in int8, greedy runs. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/verify/kit.h"
#include "q35/arith.h"

/* ---- KV in int8 ----------------------------------------------------------------------------- */

/* plan and kv_create of a type that the device does not have. */
static bool type_is_refused(struct vfy *v, uint32_t type)
{
    struct q35_plan_result result = {.size = sizeof(result)};
    struct q35_kv *kv = NULL;
    struct vfy_rig r;
    enum q35_status st;
    char what[64];
    if (!vfy_rig_any(v, &r, 1, 64))
        return false;
    struct q35_plan_request request = {.size = sizeof(request),
                                       .layer_count = r.m->layer_count,
                                       .layer_stride = sizeof(struct q35_layer),
                                       .max_batch = 1,
                                       .max_sequences = 1,
                                       .kv_tokens = 64,
                                       .layers = r.m->layers,
                                       .kv_type = type};
    snprintf(what, sizeof(what), "plan with a KV of type %u", type);
    if (!vfy_refused(v, VFY_CALL(&v->d, plan, v->d.dev, &request, &result, &v->err),
                     Q35_E_UNSUPPORTED, VFY_FEATURES, what))
        return false;
    snprintf(what, sizeof(what), "kv_create with type %u", type);
    v->d.kv_type = type;
    st = vfy_kv(&v->d, r.w, 1, 64, &kv, &v->err);
    v->d.kv_type = Q35_KV_F16;
    if (!vfy_refused(v, st, Q35_E_UNSUPPORTED, VFY_FEATURES, what))
        return false;
    EXPECT(v, !kv, VFY_FEATURES, "%s failed and gave a KV", what);
    vfy_rig_close(v, &r);
    return true;
}

/* Whether the device has the feature. If not, *fine tells if it says so when asked. */
static bool declared(struct vfy *v, uint32_t feature, const char *name, bool *fine)
{
    *fine = false;
    if (!vfy_open(v))
        return false;
    *fine = true;
    if (v->entry.api.abi_minor < 1) {
        if (v->info.features & feature) /* the host's doing, for an inheriting plugin */
            return true;
        vfy_skip(v, "a plugin of ABI 1.%u does not know %s", v->entry.api.abi_minor, name);
        return false;
    }
    return v->info.features & feature;
}

static bool in_int8(struct vfy *v, uint32_t count, bool (*const *checks)(struct vfy *v))
{
    bool fine, has = declared(v, Q35_FEATURE_KV_INT8, "KV_INT8", &fine);
    uint32_t i;
    if (!fine || (!has && v->sh->skipped))
        return fine;
    if (!type_is_refused(v, has ? 2 : Q35_KV_INT8) || !type_is_refused(v, UINT32_MAX))
        return false;
    vfy_close(v);
    if (!has)
        return vfy_skip(v, "the device does not declare KV_INT8, and says so when asked");
    v->d.kv_type = Q35_KV_INT8;
    for (i = 0; i < count; i++)
        if (!checks[i](v))
            return false;
    return true;
}

bool vfy_check_int8_layers(struct vfy *v)
{
    static bool (*const checks[])(struct vfy * v) = {vfy_check_layers, vfy_check_batch};
    return in_int8(v, Q35_COUNT(checks), checks);
}

bool vfy_check_int8_contexts(struct vfy *v)
{
    static bool (*const checks[])(struct vfy * v) = {vfy_check_contexts};
    return in_int8(v, Q35_COUNT(checks), checks);
}

bool vfy_check_int8_kv(struct vfy *v)
{
    static bool (*const checks[])(struct vfy * v) = {vfy_check_plan, vfy_check_kv,
                                                     vfy_check_kv_random, vfy_check_capacity};
    return in_int8(v, Q35_COUNT(checks), checks);
}

/* ---- greedy --------------------------------------------------------------------------------- */

enum { GREEDY_TOKENS = 100, GREEDY_VOCAB = 3000 };

/* The ids of a greedy run are those of the greatest of the device's own logits: the same run gives
 * the same bits. */
static bool same_choice(struct vfy *v, struct vfy_rig *r, const struct q35_token *t, uint32_t n,
                        const float *in, const char *what)
{
    uint32_t count = r->m->layer_count, vocab = r->m->shape.vocab, i;
    uint64_t values = vfy_out_values(r, 0, count, t, n), wanted = values / vocab;
    float *logits = malloc((values + 1) * sizeof(float));
    uint32_t ids[GREEDY_TOKENS];
    enum q35_status st;
    bool fine;
    if (!logits)
        return vfy_skip(v, "the kit has no memory");
    fine = vfy_rig_device(v, r, 0, count, t, n, in, logits, &st) &&
           vfy_ok(v, st, VFY_GREEDY, what) &&
           vfy_rig_flags(v, r, 0, count, t, n, in, Q35_RUN_GREEDY, ids, &st) &&
           vfy_ok(v, st, VFY_GREEDY, what);
    for (i = 0; fine && i < wanted; i++) {
        uint32_t want = q35_greedy(logits + (uint64_t)i * vocab, vocab);
        if (ids[i] == want)
            continue;
        vfy_fail(v, VFY_GREEDY, "%s: token %u of %u: id %u instead of %u (logits %.9g and %.9g)",
                 what, i, (uint32_t)wanted, ids[i], want,
                 (double)(ids[i] < vocab ? logits[(uint64_t)i * vocab + ids[i]] : NAN),
                 (double)logits[(uint64_t)i * vocab + want]);
        fine = false;
    }
    free(logits);
    return fine;
}

enum craft { PLAIN, TIES, SOME_NAN, ALL_NAN, SIGNED_ZEROS, CRAFTS };
static const char *const craft_names[] = {"random", "equal rows", "rows of NaN", "only NaN",
                                          "zeros of both signs"};

/* Row `from` of a HEAD of single codes becomes a copy of row `to`'s. */
static void copy_row(uint8_t *codes, uint32_t tiles, uint32_t from, uint32_t to)
{
    uint32_t k;
    for (k = 0; k < tiles; k++) {
        uint64_t a = ((uint64_t)(from / Q35_TILE_ROWS) * tiles + k) * Q35_TILE_BYTES;
        uint64_t b = ((uint64_t)(to / Q35_TILE_ROWS) * tiles + k) * Q35_TILE_BYTES;
        memcpy(codes + b + to % Q35_TILE_ROWS * Q35_ROW_BYTES,
               codes + a + from % Q35_TILE_ROWS * Q35_ROW_BYTES, Q35_ROW_BYTES);
    }
}

/* Scales and codes of the HEAD so that the greatest logit is as the craft says. */
static void craft_head(struct vfy *v, struct vfy_model *m, enum craft craft)
{
    const struct q35_tensor_desc *d = vfy_desc(m, 0, Q35_ROLE_HEAD);
    uint8_t *data = vfy_tensor(m, 0, Q35_ROLE_HEAD)->data;
    float *scales = (float *)(void *)(data + Q35_BLOB_TABLES);
    uint32_t rows = d->rows, tiles = q35_pad_cols(d->cols) / q35_tile_cols(d->scheme), i;
    uint8_t *codes = data + Q35_BLOB_TABLES + q35_pad_rows(rows) * sizeof(float);
    for (i = 0; i < rows; i++) {
        if (craft == TIES) { /* a few different rows, each many times */
            scales[i] = scales[i % 7 % rows];
            copy_row(codes, tiles, i % 7 % rows, i);
        } else if (craft == SIGNED_ZEROS) {
            scales[i] = vfy_below(&v->rng, 2) ? 1.0f : -1.0f;
        } else if (craft == ALL_NAN || (craft == SOME_NAN && vfy_below(&v->rng, 3) == 0)) {
            scales[i] = NAN;
        }
    }
    if (craft == SOME_NAN)
        scales[0] = scales[rows - 1] = NAN;
    if (craft == SIGNED_ZEROS)
        scales[0] = -1.0f; /* the zero that a comparison of bits would not choose */
    vfy_model_refresh(m, 0, Q35_ROLE_HEAD);
}

/* HEAD alone, a vocabulary of `rows`. */
static bool greedy_head(struct vfy *v, uint32_t rows, enum craft craft)
{
    static const uint32_t sizes[] = {1, 2, 31, 64, GREEDY_TOKENS};
    struct vfy_shape s = vfy_shape_small();
    struct q35_token t[GREEDY_TOKENS];
    float x[GREEDY_TOKENS * 64];
    struct vfy_rig r = {0};
    bool supported, fine = true;
    char what[96];
    uint32_t i, k;
    s.decoders = 0;
    s.embed = false;
    s.d_model = 64;
    s.vocab = rows;
    s.embed_scheme = Q35_SCHEME_SINGLE;
    r.m = vfy_model_create(&s, v->seed + rows + craft);
    if (r.m)
        craft_head(v, r.m, craft);
    if (!vfy_rig_adopt(v, &r, 1, 64, &supported) || !supported)
        return supported;
    snprintf(what, sizeof(what), "greedy over %u, %s", rows, craft_names[craft]);
    for (i = 0; i < GREEDY_TOKENS * 64; i++)
        x[i] = craft == SIGNED_ZEROS ? 0.0f : vfy_f32(&v->rng);
    for (i = 0; fine && i < Q35_COUNT(sizes); i++) {
        uint32_t n = sizes[i] < v->info.max_batch ? sizes[i] : v->info.max_batch;
        vfy_tokens(t, n, 0, 0, rows, true, &v->rng);
        for (k = 0; k + 1 < n && i % 2; k++) /* some want nothing */
            t[k].flags = vfy_below(&v->rng, 3) ? Q35_TOKEN_LOGITS : 0;
        fine = same_choice(v, &r, t, n, x, what);
    }
    vfy_rig_close(v, &r);
    return fine;
}

/* Through all layers; without HEAD the flag changes nothing; unknown flags are refused. */
static bool greedy_model(struct vfy *v)
{
    struct q35_token t[40];
    float with[40 * 128], without[40 * 128];
    struct vfy_rig r;
    enum q35_status st;
    uint32_t i, n = v->info.max_batch < 40 ? v->info.max_batch : 40, count;
    if (!vfy_rig_any(v, &r, 2, 256))
        return false;
    count = r.m->layer_count - 1;
    for (i = 0; i < 3; i++) {
        vfy_tokens(t, n, 0, i * n, r.m->shape.vocab, i == 1, &v->rng);
        t[n - 1].flags = i ? Q35_TOKEN_LOGITS : 0; /* none at first */
        if (!same_choice(v, &r, t, n, NULL, "a greedy run through all layers"))
            return false;
    }
    vfy_tokens(t, n, 0, 3 * n, r.m->shape.vocab, true, &v->rng);
    if (!vfy_rig_device(v, &r, 0, count, t, n, NULL, without, &st) ||
        !vfy_ok(v, st, VFY_GREEDY, "a run without HEAD") ||
        !vfy_rig_flags(v, &r, 0, count, t, n, NULL, Q35_RUN_GREEDY, with, &st) ||
        !vfy_ok(v, st, VFY_GREEDY, "a greedy run without HEAD") ||
        !vfy_same(v, &(struct vfy_results){with, without, n, r.m->shape.d_model, t, n}, true,
                  VFY_GREEDY, "a run without HEAD, greedy or not"))
        return false;
    vfy_rig_close(v, &r);
    return true;
}

static bool flags_are_refused(struct vfy *v, uint32_t flags)
{
    struct q35_token t[1];
    struct vfy_rig r;
    enum q35_status st;
    float out[128];
    char what[48];
    if (!vfy_rig_any(v, &r, 1, 64))
        return false;
    vfy_tokens(t, 1, 0, 0, r.m->shape.vocab, true, &v->rng);
    snprintf(what, sizeof(what), "a run with flags %#x", flags);
    if (!vfy_rig_flags(v, &r, 0, r.m->layer_count, t, 1, NULL, flags, out, &st))
        return false;
    if (!vfy_refused(v, st, Q35_E_UNSUPPORTED, VFY_FEATURES, what))
        return false;
    v->d.signal--; /* a refused submit uses up no value */
    if (!vfy_rig_feed(v, &r, 0, 0, 1, VFY_FEATURES, "a run after one with refused flags"))
        return false;
    vfy_rig_close(v, &r);
    return true;
}

bool vfy_check_greedy(struct vfy *v)
{
    static const uint32_t rows[] = {1, 17, 300, GREEDY_VOCAB};
    bool fine, has = declared(v, Q35_FEATURE_GREEDY, "GREEDY", &fine);
    uint32_t i, craft;
    if (!fine || (!has && v->sh->skipped))
        return fine;
    if (!flags_are_refused(v, has ? 2 : Q35_RUN_GREEDY) || !flags_are_refused(v, 0x80000000u))
        return false;
    for (i = 0; has && i < Q35_COUNT(rows); i++)
        for (craft = 0; craft < CRAFTS; craft++)
            if (!greedy_head(v, rows[i], craft))
                return false;
    if (has && !greedy_model(v))
        return false;
    vfy_close(v);
    return has || vfy_skip(v, "the device does not declare GREEDY, and says so when asked");
}
