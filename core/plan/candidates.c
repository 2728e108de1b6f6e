/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plan/internal.h"
#include "core/model/roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_ASKED UINT64_MAX
#define NEVER (UINT64_MAX - 1)

enum q35_status plan_ask(const struct plan_input *in, const struct q35_device_entry *d,
                         uint32_t first, uint32_t end, struct q35_plan_result *result,
                         struct q35_error *err)
{
    uint32_t batch = in->config->max_batch;
    bool int8 = d->info.features & Q35_FEATURE_KV_INT8;
    struct q35_plan_request r = {
        .size = (uint32_t)sizeof(r),
        .layer_count = end - first,
        .layer_stride = (uint32_t)sizeof(*in->layers),
        .max_batch = batch < d->info.max_batch ? batch : d->info.max_batch,
        .max_sequences = in->config->max_sequences,
        .kv_tokens = in->kv_tokens,
        .layers = in->layers + first,
        .kv_type = int8 ? q35_config_kv_type(in->config) : Q35_KV_F16,
    };
    memset(result, 0, sizeof(*result));
    result->size = (uint32_t)sizeof(*result);
    return q35_call(d, plan, &r, result, err);
}

static uint64_t sum3(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t s;
    if (!q35_add_size(a, b, &s) || !q35_add_size(s, c, &s) || s > NEVER)
        return NEVER;
    return s;
}

struct span_need plan_need(struct planner *p, uint32_t c, uint32_t first, uint32_t end)
{
    struct candidate *cand = &p->c[c];
    struct span_need *need = &cand->needs[(size_t)first * (p->in.n + 1) + end];
    if (need->own == NOT_ASKED) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_plan_result r;
        const struct q35_device_entry *d = &p->in.registry->devices[cand->device];
        need->own = NEVER;
        if (plan_ask(&p->in, d, first, end, &r, &err) == Q35_OK) {
            need->own = sum3(r.weight_bytes, r.kv_bytes, r.scratch_bytes);
            need->host = r.host_bytes;
        }
    }
    return *need;
}

bool plan_fits(struct planner *p, uint32_t c, uint32_t first, uint32_t end, struct span_need used)
{
    const struct candidate *cand = &p->c[c];
    struct span_need need = plan_need(p, c, first, end);
    uint64_t own = sum3(need.own, used.own, 0), all = sum3(own, need.host, used.host);
    for (uint32_t l = first; l < end; l++)
        if (!cand->supported[l])
            return false;
    return need.own < NEVER && own <= cand->limit_own && all <= cand->limit_host;
}

static void left_out(struct planner *p, const struct q35_device_entry *d, const char *reason)
{
    p->left_out[d - p->in.registry->devices] = strdup(reason); /* NULL only shortens a message */
    q35_str_addf(&p->log, "%s:%u (%s) is left out: %s\n", d->plugin->config->name, d->index,
                 d->info.name, reason);
}

/* UNSUPPORTED for a layer with tensors of three weights a code on a device that does not say that
 * it has them: plugins older than they are need not know better. */
static enum q35_status lacks_triple(const struct q35_device_entry *d, const struct q35_layer *l,
                                    struct q35_error *err)
{
    char name[Q35_TENSOR_NAME_MAX];
    uint32_t t;
    if (d->info.features & Q35_FEATURE_TRIPLE)
        return Q35_OK;
    for (t = 0; t < l->tensor_count; t++)
        if (l->tensors[t].type == Q35_TENSOR_PACKED &&
            Q35_SCHEME_WEIGHTS(l->tensors[t].scheme) == 3)
            return q35_fail(err, Q35_E_UNSUPPORTED,
                            "tensor %s has three weights a code, which this device does not decode",
                            q35_role_name(l->tensors[t].role, (uint32_t)l->index - 1, name));
    return Q35_OK;
}

/* Whether the device can keep the layer's KV as the configuration wants it. */
static bool has_kv(const struct planner *p, const struct q35_device_entry *d,
                   const struct q35_layer *layer, struct q35_error *err)
{
    if (layer->kind != Q35_LAYER_DECODER || q35_config_kv_type(p->in.config) == Q35_KV_F16 ||
        d->info.features & Q35_FEATURE_KV_INT8)
        return true;
    q35_fail(err, Q35_E_UNSUPPORTED, "%s offers no KV cache in int8 (kv_type = int8)",
             d->info.name);
    return false;
}

/* Which layers the device takes. */
static void ask_support(struct planner *p, struct candidate *c, const struct q35_device_entry *d)
{
    for (uint32_t l = 0; l < p->in.n; l++) {
        struct q35_error err = Q35_ERROR_INIT;
        c->supported[l] = has_kv(p, d, &p->in.layers[l], &err) &&
                          lacks_triple(d, &p->in.layers[l], &err) == Q35_OK &&
                          q35_call(d, supports, &p->in.layers[l], &err) == Q35_OK;
        if (!c->supported[l] && !c->unsupported[0])
            snprintf(c->unsupported, sizeof(c->unsupported), "layer %u: %.160s", l,
                     err.message[0] ? err.message : q35_status_text(err.status));
    }
}

static enum q35_status add(struct planner *p, uint32_t device)
{
    struct q35_device_entry *d = &p->in.registry->devices[device];
    struct candidate *c = &p->c[p->count];
    size_t n = p->in.n, cells = n * (n + 1);
    if (d->info.max_sequences < p->in.config->max_sequences) {
        char text[80];
        snprintf(text, sizeof(text), "it takes %u sequences, max_sequences is %u",
                 d->info.max_sequences, p->in.config->max_sequences);
        left_out(p, d, text);
        return Q35_OK;
    }
    if (q35_device_open(d, p->err) != Q35_OK) {
        left_out(p, d, p->err->message);
        return Q35_OK;
    }
    c->device = device;
    c->limit_own = d->info.memory_free ? d->info.memory_free : UINT64_MAX;
    c->limit_host = d->info.memory_total ? d->info.memory_total : UINT64_MAX;
    c->supported = calloc(n, sizeof(*c->supported));
    c->needs = malloc(cells * sizeof(*c->needs));
    c->seconds = calloc(n + 1, sizeof(*c->seconds));
    p->count++; /* so that a failure frees the halves */
    if (!c->supported || !c->needs || !c->seconds)
        return q35_fail(p->err, Q35_E_NOMEM, "no memory for the plan");
    for (size_t i = 0; i < cells; i++)
        c->needs[i] = (struct span_need){NOT_ASKED, 0};
    ask_support(p, c, d);
    return Q35_OK;
}

static bool alike(const struct candidate *a, const struct q35_device_entry *da,
                  const struct candidate *b, const struct q35_device_entry *db, uint32_t n)
{
    uint64_t small = a->limit_own < b->limit_own ? a->limit_own : b->limit_own;
    uint64_t large = a->limit_own < b->limit_own ? b->limit_own : a->limit_own;
    return da->plugin == db->plugin && strcmp(da->info.name, db->info.name) == 0 &&
           da->info.memory_total == db->info.memory_total &&
           da->info.memory_bandwidth == db->info.memory_bandwidth && large - small <= large / 50 &&
           memcmp(a->supported, b->supported, n * sizeof(*a->supported)) == 0;
}

/* Devices of a group share the smallest limit and the measured times, so that a search need not
 * tell them apart. */
static void make_groups(struct planner *p)
{
    const struct q35_device_entry *devices = p->in.registry->devices;
    for (uint32_t i = 0; i < p->count; i++) {
        struct candidate *c = &p->c[i];
        c->group = i;
        for (uint32_t j = 0; j < i; j++)
            if (p->c[j].group == j &&
                alike(&p->c[j], &devices[p->c[j].device], c, &devices[c->device], p->in.n)) {
                c->group = j;
                if (c->limit_own < p->c[j].limit_own)
                    p->c[j].limit_own = c->limit_own;
                break;
            }
    }
    for (uint32_t i = 0; i < p->count; i++)
        p->c[i].limit_own = p->c[p->c[i].group].limit_own;
}

enum q35_status plan_candidates(struct planner *p)
{
    const struct q35_registry *r = p->in.registry;
    p->c = calloc(r->device_count ? r->device_count : 1, sizeof(*p->c));
    p->left_out = calloc(r->device_count + (size_t)1, sizeof(*p->left_out));
    if (!p->c || !p->left_out)
        return q35_fail(p->err, Q35_E_NOMEM, "no memory for the plan");
    for (uint32_t i = 0; i < r->device_count; i++) {
        enum q35_status st = Q35_OK;
        if (p->in.lost && p->in.lost[i])
            left_out(p, &r->devices[i], "it is lost");
        else
            st = add(p, i);
        if (st != Q35_OK)
            return st;
    }
    if (p->count == 0)
        return q35_fail(p->err, Q35_E_NOT_FOUND, "no device can be used: %.*s",
                        p->log.len ? (int)p->log.len - 1 : 13, /* without the last newline */
                        p->log.len ? p->log.data : "there is none");
    make_groups(p);
    return Q35_OK;
}

void plan_candidates_free(struct planner *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        free(p->c[i].supported);
        free(p->c[i].needs);
        free(p->c[i].seconds);
    }
    for (uint32_t i = 0; p->left_out && i < p->in.registry->device_count; i++)
        free(p->left_out[i]);
    free(p->left_out);
    free(p->c);
    p->left_out = NULL;
    p->c = NULL;
    p->count = 0;
}
