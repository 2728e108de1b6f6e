/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plan/plan.h"

#include <stdlib.h>

#include <jansson.h>

/* The graph is EMBED, decoders, HEAD; people count decoders from 0. */
static uint32_t layer_total(const struct q35_plan *p)
{
    const struct q35_stage *last = &p->stages[p->stage_count - 1];
    return last->first + last->count;
}

static void describe(struct q35_str *s, const struct q35_plan *p, const struct q35_stage *g)
{
    uint32_t n = layer_total(p), end = g->first + g->count;
    uint32_t a = g->first ? g->first : 1, b = end == n ? n - 1 : end;
    if (g->first == 0)
        q35_str_addf(s, "embedding");
    if (a < b)
        q35_str_addf(s, "%slayers %u-%u", g->first == 0 ? ", " : "", a - 1, b - 2);
    if (end == n)
        q35_str_addf(s, "%shead", a < b || g->first == 0 ? ", " : "");
}

static double mib(uint64_t bytes)
{
    return (double)bytes / 1048576.0;
}

char *q35_plan_text(const struct q35_plan *p, const struct q35_registry *r, bool explain)
{
    struct q35_str s = {0};
    for (uint32_t i = 0; i < p->stage_count; i++) {
        const struct q35_stage *g = &p->stages[i];
        const struct q35_device_entry *d = &r->devices[g->device];
        q35_str_addf(&s, "%s:%u (%s): ", d->plugin->config->name, d->index, d->info.name);
        describe(&s, p, g);
        q35_str_addf(&s, "; weights %.1f MiB", mib(g->need.weight_bytes + g->need.host_bytes));
        if (g->need.host_bytes)
            q35_str_addf(&s, " (%.1f in place)", mib(g->need.host_bytes));
        q35_str_addf(&s, ", KV %.1f MiB, scratch %.1f MiB", mib(g->need.kv_bytes),
                     mib(g->need.scratch_bytes));
        if (g->seconds > 0)
            q35_str_addf(&s, ", %.3f ms a token", g->seconds * 1e3);
        q35_str_addf(&s, "\n");
    }
    q35_str_addf(&s, "%s, %u tokens of KV%s, %u sequences, batches of %u",
                 p->given        ? "ranges given by [schedule]"
                 : p->throughput ? "for throughput"
                                 : "for latency",
                 p->kv_tokens, p->kv_type == Q35_KV_INT8 ? " in int8" : "", p->max_sequences,
                 p->max_batch);
    if (p->seconds > 0)
        q35_str_addf(&s, "; expected %.3f ms a token, busiest device %.3f ms", p->seconds * 1e3,
                     p->bottleneck * 1e3);
    q35_str_addf(&s, "\n");
    if (explain)
        q35_str_addf(&s, "\n%s", p->explanation);
    return s.failed ? (q35_str_fini(&s), NULL) : s.data;
}

static json_t *stage_json(const struct q35_plan *p, const struct q35_registry *r, uint32_t i)
{
    const struct q35_stage *g = &p->stages[i];
    const struct q35_device_entry *d = &r->devices[g->device];
    uint32_t n = layer_total(p), end = g->first + g->count;
    uint32_t a = g->first ? g->first : 1, b = end == n ? n - 1 : end;
    json_t *o = json_pack("{s:s, s:i, s:s, s:b, s:i, s:i, s:b, s:b}", "backend",
                          d->plugin->config->name, "device", (int)d->index, "name", d->info.name,
                          "simulated", d->info.simulated != 0, "first", (int)g->first, "count",
                          (int)g->count, "embedding", g->first == 0, "head", end == n);
    json_t *need = json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "weight_bytes", (json_int_t)g->need.weight_bytes, "host_bytes",
        (json_int_t)g->need.host_bytes, "kv_bytes", (json_int_t)g->need.kv_bytes, "kv_token_bytes",
        (json_int_t)g->need.kv_token_bytes, "scratch_bytes", (json_int_t)g->need.scratch_bytes);
    json_object_set_new(o, "layers",
                        a < b ? json_pack("[i, i]", (int)a - 1, (int)b - 2) : json_null());
    json_object_set_new(o, "memory", need);
    json_object_set_new(o, "seconds", g->seconds > 0 ? json_real(g->seconds) : json_null());
    return o;
}

char *q35_plan_json(const struct q35_plan *p, const struct q35_registry *r)
{
    json_t *stages = json_array(), *o;
    char *text;
    for (uint32_t i = 0; i < p->stage_count; i++)
        json_array_append_new(stages, stage_json(p, r, i));
    o = json_pack("{s:o, s:s, s:b, s:i, s:i, s:i, s:s}", "stages", stages, "objective",
                  p->throughput ? "throughput" : "latency", "given", (int)p->given, "kv_tokens",
                  (int)p->kv_tokens, "max_sequences", (int)p->max_sequences, "max_batch",
                  (int)p->max_batch, "explanation", p->explanation);
    json_object_set_new(o, "kv_type", json_string(p->kv_type == Q35_KV_INT8 ? "int8" : "f16"));
    json_object_set_new(o, "seconds", p->seconds > 0 ? json_real(p->seconds) : json_null());
    json_object_set_new(o, "bottleneck",
                        p->bottleneck > 0 ? json_real(p->bottleneck) : json_null());
    text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    return text;
}
