/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plan/internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/engine/engine.h"

static const char *backend_of(const struct planner *p, uint32_t c)
{
    return p->in.registry->devices[p->c[c].device].plugin->config->name;
}

static uint32_t index_of(const struct planner *p, uint32_t c)
{
    return p->in.registry->devices[p->c[c].device].index;
}

static double gib(uint64_t bytes)
{
    return (double)bytes / 1073741824.0;
}

/* Decoder layers that fit on c from the first one it takes. */
static uint32_t most_layers(struct planner *p, uint32_t c)
{
    const struct span_need none = {0, 0};
    uint32_t a = 0, b;
    while (a < p->in.n && (!p->c[c].supported[a] || p->in.layers[a].kind != Q35_LAYER_DECODER))
        a++;
    for (b = a; b < p->in.n && p->in.layers[b].kind == Q35_LAYER_DECODER &&
                plan_fits(p, c, a, b + 1, none);
         b++)
        ;
    return b - a;
}

static void explain_candidates(struct planner *p, bool costs)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const struct candidate *c = &p->c[i];
        const struct q35_device_info *info = &p->in.registry->devices[c->device].info;
        q35_str_addf(&p->log, "%s:%u (%s): ", backend_of(p, i), index_of(p, i), info->name);
        if (c->limit_own != UINT64_MAX)
            q35_str_addf(&p->log, "%.2f GiB free, ", gib(c->limit_own));
        q35_str_addf(&p->log, "at most %u decoder layers", most_layers(p, i));
        if (costs)
            q35_str_addf(&p->log, ", %.3f ms for all layers of one token (%s%s)",
                         c->seconds[p->in.n] * 1e3, c->source,
                         info->simulated ? ", simulated" : "");
        if (c->unsupported[0])
            q35_str_addf(&p->log, ", does not take %s", c->unsupported);
        q35_str_addf(&p->log, "\n");
    }
}

/* What the whole model needs where it needs least. */
static uint64_t least_need(struct planner *p)
{
    uint64_t least = UINT64_MAX - 1;
    for (uint32_t i = 0; i < p->count; i++) {
        struct span_need need = plan_need(p, i, 0, p->in.n);
        if (need.own < UINT64_MAX - 1 && need.own + need.host < least)
            least = need.own + need.host;
    }
    return least;
}

/* No plan: because of a layer that nobody takes, or of memory. */
static enum q35_status refuse(struct planner *p)
{
    struct q35_str s = {0}, least = {0};
    enum q35_status st;
    for (uint32_t l = 0; l < p->in.n; l++) {
        bool any = false;
        for (uint32_t i = 0; i < p->count; i++)
            any = any || p->c[i].supported[l];
        if (!any)
            return q35_fail(p->err, Q35_E_UNSUPPORTED, "no device takes layer %u (%s:%u: %s)", l,
                            backend_of(p, 0), index_of(p, 0), p->c[0].unsupported);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        const struct candidate *c = &p->c[i];
        struct span_need need = plan_need(p, i, 0, p->in.n);
        uint64_t room = c->limit_own < c->limit_host ? c->limit_own : c->limit_host;
        q35_str_addf(&s, "%s%s:%u has %.3f GiB free", i ? "; " : "", backend_of(p, i),
                     index_of(p, i), room == UINT64_MAX ? 0.0 : gib(room));
        if (need.own < UINT64_MAX - 1)
            q35_str_addf(&s, " of %.3f GiB for all layers", gib(need.own + need.host));
        q35_str_addf(&s, ", room for %u decoder layers", most_layers(p, i));
        if (need.own >= UINT64_MAX - 1) { /* the plugin's own words */
            struct q35_error why = Q35_ERROR_INIT;
            struct q35_plan_result r;
            if (plan_ask(&p->in, &p->in.registry->devices[c->device], 0, p->in.n, &r, &why) !=
                Q35_OK)
                q35_str_addf(&s, " (%s)", why.message);
        }
    }
    if (least_need(p) < UINT64_MAX - 1)
        q35_str_addf(&least, " need %.3f GiB", gib(least_need(p)));
    st = q35_fail(p->err, Q35_E_CAPACITY,
                  "the model does not fit: %u layers with %u tokens of KV (kv_tokens, or context "
                  "times max_sequences)%s; %s",
                  p->in.n, p->in.kv_tokens, least.data ? least.data : "", s.data ? s.data : "");
    q35_str_fini(&least);
    q35_str_fini(&s);
    return st;
}

/* Fills the stages of *plan from owners. */
static enum q35_status make_stages(struct planner *p, const uint32_t *owner, struct q35_plan *plan)
{
    plan->stages = calloc(p->in.n, sizeof(*plan->stages));
    if (!plan->stages)
        return q35_fail(p->err, Q35_E_NOMEM, "no memory for the plan");
    for (uint32_t a = 0, b; a < p->in.n; a = b) {
        struct q35_stage *s = &plan->stages[plan->stage_count++];
        const struct candidate *c = &p->c[owner[a]];
        enum q35_status st;
        for (b = a + 1; b < p->in.n && owner[b] == owner[a]; b++)
            ;
        s->device = c->device;
        s->first = a;
        s->count = b - a;
        s->seconds = c->source ? c->seconds[b] - c->seconds[a] + PLAN_STAGE_SECONDS : 0;
        st = plan_ask(&p->in, &p->in.registry->devices[c->device], a, b, &s->need, p->err);
        if (st != Q35_OK) {
            q35_error_prefix(p->err, "%s:%u, layers %u to %u", backend_of(p, owner[a]),
                             index_of(p, owner[a]), a, b - 1);
            return st;
        }
    }
    return Q35_OK;
}

static bool has_embed(const struct planner *p)
{
    return p->in.layers[0].kind == Q35_LAYER_EMBED;
}

/* Line of the range that decoder layer l of the graph belongs to. */
static int line_of(const struct planner *p, uint32_t l)
{
    const struct q35_config *c = p->in.config;
    uint32_t decoder = l >= has_embed(p) ? l - has_embed(p) : 0;
    for (uint32_t i = 0; i < c->range_count; i++)
        if (c->ranges[i].first <= decoder && decoder <= c->ranges[i].last)
            return c->ranges[i].line;
    return c->ranges[c->range_count - 1].line;
}

/* Given ranges are checked like chosen ones. */
static enum q35_status check_given(struct planner *p, const uint32_t *owner)
{
    for (uint32_t a = 0, b; a < p->in.n; a = b) {
        const struct span_need none = {0, 0};
        const struct candidate *c = &p->c[owner[a]];
        struct span_need need;
        for (b = a + 1; b < p->in.n && owner[b] == owner[a]; b++)
            ;
        for (uint32_t l = a; l < b; l++)
            if (!c->supported[l])
                return q35_fail(p->err, Q35_E_UNSUPPORTED, "%s:%d: %s:%u does not take %s",
                                p->in.config->path, line_of(p, a), backend_of(p, owner[a]),
                                index_of(p, owner[a]), c->unsupported);
        if (plan_fits(p, owner[a], a, b, none))
            continue;
        need = plan_need(p, owner[a], a, b);
        if (need.own >= UINT64_MAX - 1)
            return q35_fail(p->err, Q35_E_CAPACITY,
                            "%s:%d: layers %u to %u of the graph do not fit on %s:%u at all",
                            p->in.config->path, line_of(p, a), a, b - 1, backend_of(p, owner[a]),
                            index_of(p, owner[a]));
        return q35_fail(p->err, Q35_E_CAPACITY,
                        "%s:%d: layers %u to %u of the graph need %.3f GiB on %s:%u, which has "
                        "%.3f GiB free of %.3f GiB",
                        p->in.config->path, line_of(p, a), a, b - 1, gib(need.own + need.host),
                        backend_of(p, owner[a]), index_of(p, owner[a]), gib(c->limit_own),
                        gib(c->limit_host));
    }
    return Q35_OK;
}

/* Bytes that a plan takes of the memory that several plugins' devices with one id share. Returns a
 * candidate of a memory that is asked for too much, or p->count. */
static uint32_t overfull(struct planner *p, const uint32_t *owner)
{
    const struct q35_device_entry *devices = p->in.registry->devices;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct q35_device_info *info = &devices[p->c[i].device].info;
        uint64_t own = 0, all = 0;
        bool shared = false;
        for (uint32_t a = 0, b; a < p->in.n; a = b) {
            const struct q35_device_info *o = &devices[p->c[owner[a]].device].info;
            struct span_need need;
            for (b = a + 1; b < p->in.n && owner[b] == owner[a]; b++)
                ;
            if (!info->id[0] || strcmp(o->id, info->id) != 0 ||
                o->memory_total != info->memory_total)
                continue;
            shared = shared || owner[a] != i;
            need = plan_need(p, owner[a], a, b);
            own += need.own;
            all += need.own + need.host;
        }
        if (shared && (own > p->c[i].limit_own || all > p->c[i].limit_host))
            return i;
    }
    return p->count;
}

/* Leaves the fastest device of a shared memory; false if nothing changed. */
static bool exclude_slower(struct planner *p, uint32_t of)
{
    const struct q35_device_entry *devices = p->in.registry->devices;
    const struct q35_device_info *info = &devices[p->c[of].device].info;
    uint32_t best = of;
    bool changed = false;
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < p->count; i++) {
            if (p->c[i].excluded || strcmp(devices[p->c[i].device].info.id, info->id) != 0)
                continue;
            if (pass == 0 && p->c[i].seconds[p->in.n] < p->c[best].seconds[p->in.n])
                best = i;
            if (pass == 1 && i != best)
                p->c[i].excluded = changed = true;
        }
    if (changed)
        q35_str_addf(&p->log, "%s:%u alone is used of the devices that share its memory\n",
                     backend_of(p, best), index_of(p, best));
    return changed;
}

static enum q35_status choose(struct planner *p, struct q35_plan *plan, uint32_t *owner)
{
    struct choice best = {.owner = owner};
    const struct span_need none = {0, 0};
    enum q35_status st;
    if (p->count == 1) { /* nothing to choose: no need to measure */
        explain_candidates(p, false);
        for (uint32_t l = 0; l < p->in.n; l++)
            owner[l] = 0;
        return plan_fits(p, 0, 0, p->in.n, none) ? Q35_OK : refuse(p);
    }
    st = plan_costs(p);
    if (st != Q35_OK)
        return st;
    explain_candidates(p, true);
    do {
        if (!plan_search(p, plan->throughput, &best))
            return refuse(p);
    } while (overfull(p, owner) < p->count && exclude_slower(p, overfull(p, owner)));
    if (overfull(p, owner) < p->count)
        return refuse(p);
    plan->seconds = best.seconds;
    plan->bottleneck = best.bottleneck;
    return Q35_OK;
}

/* What each device alone would do, for comparison. */
static void explain_alternatives(struct planner *p, const struct q35_plan *plan)
{
    uint32_t *alone = calloc(p->in.n, sizeof(*alone));
    const struct span_need none = {0, 0};
    for (uint32_t i = 0; alone && i < p->count; i++) {
        double seconds, bottleneck;
        if (p->c[i].group != i)
            continue;
        for (uint32_t l = 0; l < p->in.n; l++)
            alone[l] = i;
        q35_str_addf(&p->log, "all layers on %s:%u: ", backend_of(p, i), index_of(p, i));
        plan_evaluate(p, alone, &seconds, &bottleneck);
        if (plan_fits(p, i, 0, p->in.n, none))
            q35_str_addf(&p->log, "%.3f ms a token\n", seconds * 1e3);
        else
            q35_str_addf(&p->log, "not possible\n");
    }
    q35_str_addf(&p->log, "chosen for %s: %u stages, %.3f ms a token, busiest device %.3f ms\n",
                 plan->throughput ? "throughput" : "latency", plan->stage_count,
                 plan->seconds * 1e3, plan->bottleneck * 1e3);
    free(alone);
}

static bool given_device_lost(const struct plan_input *in)
{
    for (uint32_t i = 0; in->lost && i < in->config->range_count; i++) {
        const struct q35_config_range *r = &in->config->ranges[i];
        const struct q35_device_entry *d = q35_registry_find(in->registry, r->backend, r->device);
        if (d && in->lost[d - in->registry->devices])
            return true;
    }
    return false;
}

static enum q35_status decide(struct planner *p, struct q35_plan *plan, uint32_t *owner)
{
    bool lost = given_device_lost(&p->in);
    enum q35_status st;
    plan->given = p->in.config->range_count && !lost;
    if (lost)
        q35_str_addf(&p->log, "a device of [schedule] is lost: its ranges are not used\n");
    if (!plan->given)
        return choose(p, plan, owner);
    q35_str_addf(&p->log, "ranges are given by [schedule]\n");
    explain_candidates(p, false);
    st = plan_given(p, owner);
    if (st == Q35_OK)
        st = check_given(p, owner);
    if (st == Q35_OK && overfull(p, owner) < p->count)
        st = refuse(p);
    return st;
}

/* Devices that were opened for the question and are not in the answer. */
static void close_unused(struct planner *p, const bool *was_open, const struct q35_plan *plan)
{
    for (uint32_t i = 0; i < p->in.registry->device_count; i++) {
        bool used = was_open[i];
        for (uint32_t s = 0; plan && s < plan->stage_count; s++)
            used = used || plan->stages[s].device == i;
        if (!used)
            q35_device_close(&p->in.registry->devices[i]);
    }
}

enum q35_status plan_make(struct q35_plan **out, const struct plan_input *in, struct q35_error *err)
{
    struct q35_error own = Q35_ERROR_INIT;
    struct planner p = {.in = *in, .err = err ? err : &own};
    struct q35_plan *plan = calloc(1, sizeof(*plan));
    uint32_t *owner = calloc(in->n, sizeof(*owner));
    bool *was_open = calloc(in->registry->device_count + 1, sizeof(*was_open));
    enum q35_status st = Q35_OK;
    *out = NULL;
    if (!plan || !owner || !was_open)
        st = q35_fail(p.err, Q35_E_NOMEM, "no memory for the plan");
    for (uint32_t i = 0; was_open && i < in->registry->device_count; i++)
        was_open[i] = in->registry->devices[i].dev != NULL;
    if (st == Q35_OK) {
        plan->throughput = strcmp(in->config->objective, "throughput") == 0;
        plan->kv_tokens = in->kv_tokens;
        plan->kv_type = q35_config_kv_type(in->config);
        plan->max_sequences = in->config->max_sequences;
        plan->max_batch = in->config->max_batch;
        st = plan_candidates(&p);
    }
    if (st == Q35_OK)
        st = decide(&p, plan, owner);
    if (st == Q35_OK)
        st = make_stages(&p, owner, plan);
    if (st == Q35_OK && plan->seconds > 0)
        explain_alternatives(&p, plan);
    if (was_open)
        close_unused(&p, was_open, st == Q35_OK ? plan : NULL);
    if (st == Q35_OK) {
        plan->explanation = p.log.data ? p.log.data : calloc(1, 1);
        p.log.data = NULL;
        *out = plan;
    } else {
        q35_plan_destroy(plan);
    }
    plan_candidates_free(&p);
    q35_str_fini(&p.log);
    free(owner);
    free(was_open);
    return st;
}

static const uint8_t *model_data(const void *model, uint32_t layer, uint32_t tensor)
{
    return q35_model_data(model, layer, tensor);
}

enum q35_status q35_plan_create(struct q35_plan **out, const struct q35_config *config,
                                const struct q35_model *model, struct q35_registry *registry,
                                const bool *lost, struct q35_error *err)
{
    struct plan_input in = {
        .config = config,
        .layers = q35_model_layers(model),
        .n = q35_model_layer_count(model),
        .kv_tokens = q35_engine_kv_tokens(config, model),
        .registry = registry,
        .lost = lost,
        .data = q35_model_data(model, 0, 0) ? model_data : NULL,
        .model = model,
    };
    return plan_make(out, &in, err);
}

void q35_plan_destroy(struct q35_plan *p)
{
    if (!p)
        return;
    free(p->stages);
    free(p->explanation);
    free(p);
}
