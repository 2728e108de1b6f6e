/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/json_out.h"
#include "core/serve/router.h"
#include "core/serve/server.h"

/* GET /q35/status: what the built-in page shows of model, devices, plan and load. */

static void add_devices(const struct q35_registry *r, struct q35_str *out)
{
    uint32_t i;
    for (i = 0; r && i < r->device_count; i++) {
        const struct q35_device_entry *d = &r->devices[i];
        q35_str_addz(out, i ? ",{\"backend\":" : "{\"backend\":");
        q35_json_addz(out, d->plugin && d->plugin->config ? d->plugin->config->name : "");
        q35_str_addz(out, ",\"name\":");
        q35_json_addz(out, d->info.name);
        q35_str_addf(out, ",\"memory_total\":%llu,\"simulated\":%s}",
                     (unsigned long long)d->info.memory_total,
                     d->info.simulated ? "true" : "false");
    }
}

static void add_stages(const struct q35_plan *p, struct q35_str *out)
{
    uint32_t i;
    for (i = 0; p && i < p->stage_count; i++) {
        const struct q35_stage *st = &p->stages[i];
        q35_str_addf(out,
                     "%s{\"device\":%u,\"first\":%u,\"count\":%u,\"weight_bytes\":%llu,"
                     "\"kv_bytes\":%llu}",
                     i ? "," : "", st->device, st->first, st->count,
                     (unsigned long long)(st->need.weight_bytes + st->need.host_bytes),
                     (unsigned long long)st->need.kv_bytes);
    }
}

static void add_load(const struct q35_server *s, struct q35_str *out)
{
    struct q35_engine_stats st = {0};
    if (s->model.engine)
        q35_engine_stats(s->model.engine, &st);
    q35_str_addf(out,
                 "\"load\":{\"running\":%u,\"waiting\":%u,\"kv_used\":%u,\"kv_total\":%u,"
                 "\"kv_type\":\"%s\",\"connections\":%u,\"output_tokens\":%llu}",
                 st.running, st.waiting, st.kv_used, st.kv_total,
                 s->model.plan && s->model.plan->kv_type == Q35_KV_INT8 ? "int8" : "f16",
                 s->conn_count, (unsigned long long)s->metrics.output_tokens);
}

void q35_handle_status(struct q35_conn *c)
{
    static const char *const phases[] = {"loading", "serving", "draining", "stopping"};
    struct q35_server *s = c->server;
    struct q35_str out = {0};
    q35_str_addf(&out, "{\"phase\":\"%s\",\"ready\":%s,\"model\":", phases[s->phase],
                 q35_server_ready(s) ? "true" : "false");
    q35_json_addz(&out, s->model.name);
    q35_str_addf(&out, ",\"context\":%u,\"chat\":%s,", s->model.context,
                 s->model.chat ? "true" : "false");
    add_load(s, &out);
    q35_str_addz(&out, ",\"devices\":[");
    add_devices(s->model.registry, &out);
    q35_str_addz(&out, "],\"stages\":[");
    add_stages(s->model.plan, &out);
    q35_str_addz(&out, "]}");
    q35_conn_reply_str(c, "application/json", &out);
}
