/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fake.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEQS 16

struct fake_faults fake_faults;

struct q35_device {
    int index;
    bool lost;
    uint64_t done;
    enum q35_status last;
};
struct q35_weights {
    struct q35_device *dev;
};
struct q35_kv {
    int32_t ids[SEQS][FAKE_CONTEXT];
    uint32_t length[SEQS];
    uint32_t pages; /* of 64 positions, over all sequences */
};
struct q35_model {
    struct q35_params params;
    struct q35_layer layers[FAKE_LAYERS];
};

static struct q35_model model;
static struct q35_device devices[2];
static struct q35_device_entry entries[2];
static struct q35_plugin_entry plugin;
static struct q35_registry registry = {&plugin, 1, entries, 2};

int32_t fake_next(const int32_t *history, uint32_t n)
{
    uint64_t h = 1;
    uint32_t i, period = (uint32_t)atomic_load(&fake_faults.repeat);
    for (i = 0; i < n; i++)
        h = q35_mix64(h * 31 + (uint64_t)history[i] + ((uint64_t)i << 32));
    if (period && n >= period && h >> 32 & 7)
        return history[n - period];
    return (int32_t)(h % FAKE_VOCAB);
}

/* ---- stand-ins for core/model and core/plan ---- */

const struct q35_model *fake_model(void)
{
    return &model;
}

const struct q35_params *q35_model_params(const struct q35_model *m)
{
    return &m->params;
}

const struct q35_layer *q35_model_layers(const struct q35_model *m)
{
    return m->layers;
}

const uint8_t *q35_model_data(const struct q35_model *m, uint32_t layer, uint32_t t)
{
    (void)m, (void)layer, (void)t;
    return NULL;
}

const struct q35_plan *fake_plan(bool split)
{
    static struct q35_stage both[] = {{.device = 0, .first = 0, .count = 2},
                                      {.device = 1, .first = 2, .count = 2}};
    static struct q35_stage one[] = {{.device = 0, .first = 0, .count = 4}};
    static struct q35_plan plans[] = {{.stages = one, .stage_count = 1},
                                      {.stages = both, .stage_count = 2}};
    return &plans[split];
}

enum q35_status q35_plan_create(struct q35_plan **out, const struct q35_config *config,
                                const struct q35_model *m, struct q35_registry *r, const bool *lost,
                                struct q35_error *err)
{
    struct q35_plan *p;
    (void)config, (void)m, (void)r;
    *out = NULL;
    if (lost[0] && lost[1])
        return q35_fail(err, Q35_E_CAPACITY, "no device left");
    p = calloc(1, sizeof(*p));
    p->stages = calloc(1, sizeof(*p->stages));
    p->stage_count = 1;
    p->stages[0].device = lost[0] ? 1 : 0;
    p->stages[0].count = FAKE_LAYERS;
    *out = p;
    return Q35_OK;
}

void q35_plan_destroy(struct q35_plan *p)
{
    if (p)
        free(p->stages);
    free(p);
}

enum q35_status q35_device_open(struct q35_device_entry *d, struct q35_error *err)
{
    (void)err;
    d->dev = &devices[d - entries];
    return Q35_OK;
}

void q35_device_close(struct q35_device_entry *d)
{
    d->dev = NULL;
}

/* ---- the plugin ---- */

static enum q35_status weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                     uint32_t n, uint32_t stride, struct q35_weights **out,
                                     struct q35_error *err)
{
    (void)layers, (void)n, (void)stride, (void)err;
    *out = calloc(1, sizeof(**out));
    (*out)->dev = dev;
    atomic_fetch_add(&fake_faults.open_objects, 1);
    return Q35_OK;
}

static enum q35_status weights_commit(struct q35_weights *w, struct q35_error *err)
{
    (void)w, (void)err;
    return Q35_OK;
}

static void weights_free(struct q35_weights *w)
{
    free(w);
    atomic_fetch_sub(&fake_faults.open_objects, 1);
}

static enum q35_status kv_create(struct q35_device *dev, struct q35_weights *w,
                                 const struct q35_kv_spec *spec, struct q35_kv **out,
                                 struct q35_error *err)
{
    (void)dev, (void)w, (void)err;
    atomic_store(&fake_faults.kv_type, (int)spec->type);
    *out = calloc(1, sizeof(**out));
    (*out)->pages = spec->kv_tokens / 64;
    atomic_fetch_add(&fake_faults.open_objects, 1);
    return Q35_OK;
}

static void kv_free(struct q35_kv *kv)
{
    free(kv);
    atomic_fetch_sub(&fake_faults.open_objects, 1);
}

static enum q35_status kv_truncate(struct q35_kv *kv, uint32_t seq, uint32_t len,
                                   struct q35_error *err)
{
    (void)err;
    if (len < kv->length[seq])
        kv->length[seq] = len;
    return Q35_OK;
}

static enum q35_status kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t len,
                               struct q35_error *err)
{
    (void)err;
    memcpy(kv->ids[dst], kv->ids[src], len * sizeof(int32_t));
    kv->length[dst] = len;
    return Q35_OK;
}

/* Whether position t->position of its sequence finds a page. */
static bool has_page(const struct q35_kv *kv, const struct q35_token *t)
{
    uint32_t i, pages = t->position / 64 + 1;
    for (i = 0; i < SEQS; i++)
        pages += i == t->sequence ? 0 : (kv->length[i] + 63) / 64;
    return pages <= kv->pages;
}

static bool refuse_draft(const struct q35_run *run)
{
    const struct q35_token *t = run->tokens;
    uint32_t i;
    for (i = 1; i < run->n_tokens; i++)
        if (t[i - 1].flags && t[i - 1].sequence == t[i].sequence)
            return atomic_fetch_sub(&fake_faults.bad_drafts, 1) > 0;
    return false;
}

/* The hidden state carries the token id in its first value; the head wants the whole history. */
static enum q35_status compute(const struct q35_run *run, bool head, struct q35_error *err)
{
    const struct q35_token *t = run->tokens;
    float *out = run->out.host;
    uint32_t i, rows = 0;
    if (run->flags && !(entries[0].info.features & Q35_FEATURE_GREEDY))
        return q35_fail(err, Q35_E_UNSUPPORTED, "never declared");
    if (refuse_draft(run))
        return q35_fail(err, Q35_E_INVALID, "a bad guess");
    if (head && run->flags & Q35_RUN_GREEDY)
        atomic_fetch_add(&fake_faults.greedy_runs, 1);
    for (i = 0; i < run->n_tokens; i++, t++) {
        struct q35_kv *kv = run->kv;
        if (t->id == atomic_load(&fake_faults.bad_token))
            return q35_fail(err, Q35_E_INVALID, "token %d is bad", t->id);
        if (run->in.host && ((float *)run->in.host)[i * 8] != (float)t->id)
            return q35_fail(err, Q35_E_INTERNAL, "hidden state of another token");
        if (t->position > kv->length[t->sequence])
            return q35_fail(err, Q35_E_INVALID, "a gap before position %u", t->position);
        if (!has_page(kv, t))
            return q35_fail(err, Q35_E_CAPACITY, "no page for position %u", t->position);
        kv->ids[t->sequence][t->position] = t->id;
        kv->length[t->sequence] = t->position + 1;
        if (!head) {
            out[i * 8] = (float)t->id;
        } else if (t->flags & Q35_TOKEN_LOGITS && run->flags & Q35_RUN_GREEDY) {
            uint32_t id = (uint32_t)fake_next(kv->ids[t->sequence], t->position + 1);
            bool bad = atomic_fetch_sub(&fake_faults.bad_ids, 1) > 0;
            ((uint32_t *)run->out.host)[rows++] = bad ? FAKE_VOCAB + id : id;
        } else if (t->flags & Q35_TOKEN_LOGITS) {
            memset(out + rows * FAKE_VOCAB, 0, FAKE_VOCAB * 4);
            out[rows * FAKE_VOCAB + (uint32_t)fake_next(kv->ids[t->sequence], t->position + 1)] = 5;
            rows++;
        }
    }
    return Q35_OK;
}

/* Device 0 starts its second part while device 1 works on the first: a run that takes the devices
 * in turn waits here in vain, and is told so after a while. */
static void meet(int index)
{
    int turns = 0, want = 1;
    if (index == 0) {
        atomic_fetch_add(&fake_faults.starts, 1);
        if (atomic_load(&fake_faults.overlap))
            usleep(500); /* whoever does not wait for device 0 reads what is not there yet */
    } else if (atomic_load(&fake_faults.overlap) == 1) {
        while (atomic_load(&fake_faults.starts) < 2 && turns++ < 5000)
            usleep(1000);
        atomic_compare_exchange_strong(&fake_faults.overlap, &want, turns < 5000 ? 2 : 3);
    }
}

static enum q35_status run_layers(struct q35_device *dev, const struct q35_run *run,
                                  struct q35_error *err)
{
    /* All layers in one span, or the second of two spans: then the head is in it. */
    bool head = run->count == FAKE_LAYERS || run->in.host;
    while (atomic_load(&fake_faults.hold))
        sched_yield();
    meet(dev->index);
    atomic_fetch_add(&fake_faults.runs, 1);
    atomic_fetch_add(&fake_faults.clock_ns,
                     1000 + (unsigned long long)atomic_load(&fake_faults.token_ns) * run->n_tokens);
    if ((int)run->n_tokens > atomic_load(&fake_faults.largest))
        atomic_store(&fake_faults.largest, (int)run->n_tokens);
    if (atomic_load(&fake_faults.lose_device) == dev->index &&
        atomic_load(&fake_faults.runs) >= atomic_load(&fake_faults.lose_run)) {
        dev->lost = true;
        atomic_store(&fake_faults.lose_device, -1);
    }
    if (dev->lost)
        return q35_fail(err, Q35_E_DEVICE_LOST, "device %d is lost", dev->index);
    atomic_store(&fake_faults.last_device, dev->index);
    dev->last = compute(run, head, err);
    dev->done = run->signal;
    return Q35_OK;
}

static enum q35_status wait_for(struct q35_device *dev, uint64_t value, uint64_t timeout,
                                struct q35_error *err)
{
    (void)timeout;
    if (value != dev->done)
        return q35_fail(err, Q35_E_INTERNAL, "value %llu was never submitted",
                        (unsigned long long)value);
    return dev->last;
}

static enum q35_status poll_value(struct q35_device *dev, uint64_t *value, struct q35_error *err)
{
    (void)err;
    *value = dev->done;
    return Q35_OK;
}

static enum q35_status reset_device(struct q35_device *dev, struct q35_error *err)
{
    if (atomic_load(&fake_faults.resets) >= atomic_load(&fake_faults.can_reset))
        return q35_fail(err, Q35_E_DEVICE_LOST, "device %d is gone for good", dev->index);
    atomic_fetch_add(&fake_faults.resets, 1);
    dev->lost = false;
    return Q35_OK;
}

uint64_t fake_now(void)
{
    return atomic_load(&fake_faults.clock_ns);
}

struct q35_registry *fake_registry(void)
{
    return &registry;
}

void fake_features(uint32_t features)
{
    entries[0].info.features = entries[1].info.features = features;
}

void fake_reset(void)
{
    static const uint32_t kinds[] = {Q35_LAYER_EMBED, Q35_LAYER_DECODER, Q35_LAYER_DECODER,
                                     Q35_LAYER_HEAD};
    int i;
    memset(&model, 0, sizeof(model));
    model.params.d_model = 8;
    model.params.vocab = FAKE_VOCAB;
    model.params.context = FAKE_CONTEXT;
    model.params.n_layers = 2;
    for (i = 0; i < FAKE_LAYERS; i++)
        model.layers[i].kind = kinds[i];
    memset(devices, 0, sizeof(devices));
    devices[1].index = 1;
    for (i = 0; i < 2; i++) {
        memset(&entries[i], 0, sizeof(entries[i]));
        entries[i].plugin = &plugin;
        entries[i].index = (uint32_t)i;
        snprintf(entries[i].info.name, sizeof(entries[i].info.name), "fake %d", i);
    }
    plugin.api.weights_begin = weights_begin;
    plugin.api.weights_commit = weights_commit;
    plugin.api.weights_free = weights_free;
    plugin.api.kv_create = kv_create;
    plugin.api.kv_free = kv_free;
    plugin.api.kv_truncate = kv_truncate;
    plugin.api.kv_fork = kv_fork;
    plugin.api.run_layers = run_layers;
    plugin.api.wait = wait_for;
    plugin.api.poll = poll_value;
    plugin.api.reset = reset_device;
    atomic_store(&fake_faults.lose_device, -1);
    atomic_store(&fake_faults.lose_run, 0);
    atomic_store(&fake_faults.overlap, 0);
    atomic_store(&fake_faults.starts, 0);
    atomic_store(&fake_faults.can_reset, 0);
    atomic_store(&fake_faults.resets, 0);
    atomic_store(&fake_faults.bad_token, -1);
    atomic_store(&fake_faults.hold, 0);
    atomic_store(&fake_faults.runs, 0);
    atomic_store(&fake_faults.largest, 0);
    atomic_store(&fake_faults.greedy_runs, 0);
    atomic_store(&fake_faults.bad_ids, 0);
    atomic_store(&fake_faults.kv_type, -1);
    atomic_store(&fake_faults.repeat, 0);
    atomic_store(&fake_faults.bad_drafts, 0);
    atomic_store(&fake_faults.token_ns, 10);
    atomic_store(&fake_faults.clock_ns, 0);
}
