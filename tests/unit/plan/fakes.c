/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/plan/fakes.h"

#include <stdio.h>
#include <string.h>

struct fake fakes[MAX_FAKES];

/* A device handle is the address of its fake. */
static struct fake *fake_of(struct q35_device *dev)
{
    return (struct fake *)(void *)dev;
}

static enum q35_status fake_open(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct fake *f = (struct fake *)host->ctx + index;
    (void)options;
    if (f->broken)
        return q35_fail(err, Q35_E_IO, "it is broken");
    f->opens++;
    *out = (void *)f;
    return Q35_OK;
}

static void fake_close(struct q35_device *dev)
{
    fake_of(dev)->closes++;
}

static enum q35_status fake_supports(struct q35_device *dev, const struct q35_layer *layer,
                                     struct q35_error *err)
{
    if (layer->index < 64 && (fake_of(dev)->refuse >> layer->index & 1))
        return q35_fail(err, Q35_E_UNSUPPORTED, "not this one");
    return Q35_OK;
}

static enum q35_status fake_plan(struct q35_device *dev, const struct q35_plan_request *r,
                                 struct q35_plan_result *out, struct q35_error *err)
{
    const struct fake *f = fake_of(dev);
    (void)err;
    for (uint32_t i = 0; i < r->layer_count; i++) {
        const struct q35_layer *l =
            (const void *)((const char *)r->layers + (size_t)i * r->layer_stride);
        if (f->in_place)
            out->host_bytes += l->tensors[0].bytes;
        else
            out->weight_bytes += l->tensors[0].bytes;
        if (l->kind == Q35_LAYER_DECODER)
            out->kv_bytes += r->kv_type == Q35_KV_INT8 ? f->kv / 2 : f->kv;
    }
    out->scratch_bytes = f->scratch;
    return Q35_OK;
}

void world_init(struct world *w, uint32_t n, const uint64_t *bytes)
{
    static char path[] = "t.ini", latency[] = "latency";
    memset(w, 0, sizeof(*w));
    memset(fakes, 0, sizeof(fakes));
    w->config.path = path;
    w->config.objective = latency;
    w->config.max_batch = 16;
    w->config.max_sequences = 2;
    w->config.backends = w->backends;
    w->config.ranges = w->ranges;
    w->registry.plugins = w->plugins;
    w->registry.devices = w->devices;
    for (uint32_t l = 0; l < n; l++) {
        w->tensors[l] = (struct q35_tensor_desc){.rows = 1, .cols = 1, .bytes = bytes[l]};
        w->layers[l] = (struct q35_layer){.size = (uint32_t)sizeof(struct q35_layer),
                                          .kind = l == 0       ? Q35_LAYER_EMBED
                                                  : l == n - 1 ? Q35_LAYER_HEAD
                                                               : Q35_LAYER_DECODER,
                                          .index = (int32_t)l,
                                          .tensor_count = 1,
                                          .tensor_stride = (uint32_t)sizeof(struct q35_tensor_desc),
                                          .d_model = 64,
                                          .tensors = &w->tensors[l]};
    }
    w->in = (struct plan_input){.config = &w->config,
                                .layers = w->layers,
                                .n = n,
                                .kv_tokens = 64,
                                .registry = &w->registry};
}

void world_device(struct world *w, bool like, uint64_t memory, uint64_t bandwidth)
{
    uint32_t i = w->registry.device_count++;
    struct q35_device_entry *d = &w->devices[i];
    struct q35_plugin_entry *p;
    if (!like) {
        uint32_t k = w->registry.plugin_count++;
        p = &w->plugins[k];
        snprintf(w->names[k], sizeof(w->names[k]), "%c", 'a' + (int)k);
        w->backends[k].name = w->names[k];
        p->config = &w->backends[k];
        p->api = (struct q35_plugin){.size = (uint32_t)sizeof(p->api),
                                     .open = fake_open,
                                     .close = fake_close,
                                     .supports = fake_supports,
                                     .plan = fake_plan};
        q35_stubs_fill(&p->api);
        p->host.ctx = &fakes[i];
        w->config.backend_count = w->registry.plugin_count;
    }
    p = &w->plugins[w->registry.plugin_count - 1];
    d->plugin = p;
    d->index = p->device_count++;
    snprintf(d->info.name, sizeof(d->info.name), "fake %s", p->config->name);
    snprintf(d->info.id, sizeof(d->info.id), "id%u", i);
    d->info.memory_total = d->info.memory_free = memory;
    d->info.memory_bandwidth = bandwidth;
    d->info.max_batch = 8;
    d->info.max_sequences = 4;
}

void world_range(struct world *w, const char *name, uint32_t device, uint32_t first, uint32_t last)
{
    struct q35_config_range *r = &w->ranges[w->config.range_count];
    for (uint32_t k = 0; k < MAX_FAKES; k++)
        if (strcmp(w->names[k], name) == 0)
            r->backend = w->names[k];
    r->device = device;
    r->first = first;
    r->last = last;
    r->line = 10 + (int)w->config.range_count++;
}
