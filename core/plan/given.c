/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plan/internal.h"

#include <string.h>

/* Explicit ranges of [schedule]. */

static const struct q35_config_range *range_of(const struct q35_config *c, uint32_t decoder)
{
    for (uint32_t i = 0; i < c->range_count; i++)
        if (c->ranges[i].first <= decoder && decoder <= c->ranges[i].last)
            return &c->ranges[i];
    return NULL;
}

static enum q35_status candidate_of(const struct planner *p, const struct q35_config_range *r,
                                    uint32_t *out)
{
    const struct q35_registry *reg = p->in.registry;
    uint32_t known = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct q35_device_entry *d = &reg->devices[p->c[i].device];
        if (strcmp(d->plugin->config->name, r->backend) == 0 && d->index == r->device) {
            *out = i;
            return Q35_OK;
        }
    }
    for (uint32_t i = 0; i < reg->plugin_count; i++) {
        const struct q35_plugin_entry *e = &reg->plugins[i];
        if (e->config && strcmp(e->config->name, r->backend) == 0) {
            if (e->status != Q35_OK)
                return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: backend %s is left out: %s",
                                p->in.config->path, r->line, r->backend, e->reason);
            known = e->device_count;
        }
    }
    for (uint32_t i = 0; i < reg->device_count; i++) {
        const struct q35_device_entry *d = &reg->devices[i];
        if (strcmp(d->plugin->config->name, r->backend) == 0 && d->index == r->device)
            return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: device %s:%u cannot be used: %s",
                            p->in.config->path, r->line, r->backend, r->device,
                            p->left_out[i] ? p->left_out[i] : "");
    }
    if (known == 0)
        return q35_fail(p->err, Q35_E_CONFIG, "%s:%d: backend %s has found no device",
                        p->in.config->path, r->line, r->backend);
    return q35_fail(p->err, Q35_E_CONFIG,
                    "%s:%d: backend %s has %u device%s, there is no number %u", p->in.config->path,
                    r->line, r->backend, known, known == 1 ? "" : "s", r->device);
}

static enum q35_status assign_decoders(struct planner *p, uint32_t decoders, uint32_t shift,
                                       uint32_t *owner)
{
    const struct q35_config *c = p->in.config;
    for (uint32_t i = 0; i < c->range_count; i++) {
        const struct q35_config_range *r = &c->ranges[i];
        uint32_t who = 0;
        enum q35_status st = candidate_of(p, r, &who);
        if (st != Q35_OK)
            return st;
        if (r->last >= decoders)
            return q35_fail(p->err, Q35_E_CONFIG,
                            "%s:%d: layers %u-%u: the model has %u decoder layers, 0-%u", c->path,
                            r->line, r->first, r->last, decoders, decoders - 1);
        for (uint32_t l = r->first; l <= r->last; l++)
            owner[l + shift] = who;
    }
    for (uint32_t l = 0; l < decoders; l++)
        if (!range_of(c, l))
            return q35_fail(p->err, Q35_E_CONFIG,
                            "%s:%d: no range of [schedule] has decoder layer %u of 0-%u", c->path,
                            c->ranges[0].line, l, decoders - 1);
    return Q35_OK;
}

/* EMBED or HEAD: with its neighbour, else on the first device that takes it. */
static enum q35_status assign_end(struct planner *p, uint32_t layer, uint32_t neighbour,
                                  uint32_t *owner)
{
    const struct span_need none = {0, 0};
    owner[layer] = owner[neighbour];
    if (p->c[owner[layer]].supported[layer])
        return Q35_OK;
    for (uint32_t i = 0; i < p->count; i++)
        if (plan_fits(p, i, layer, layer + 1, none)) {
            owner[layer] = i;
            return Q35_OK;
        }
    return q35_fail(p->err, Q35_E_UNSUPPORTED, "no device takes %s",
                    p->c[owner[layer]].unsupported);
}

enum q35_status plan_given(struct planner *p, uint32_t *owner)
{
    uint32_t n = p->in.n, shift = p->in.layers[0].kind == Q35_LAYER_EMBED;
    bool head = p->in.layers[n - 1].kind == Q35_LAYER_HEAD;
    uint32_t decoders = n - shift - head;
    enum q35_status st = assign_decoders(p, decoders, shift, owner);
    if (st == Q35_OK && shift)
        st = assign_end(p, 0, 1, owner);
    if (st == Q35_OK && head)
        st = assign_end(p, n - 1, n - 2, owner);
    return st;
}
