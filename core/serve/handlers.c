/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/serve/json_out.h"
#include "core/serve/router.h"
#include "core/serve/server.h"

/* The small routes. None of them waits for anything. */

void q35_handle_health(struct q35_conn *c)
{
    static const char body[] = "{\"status\":\"ok\"}";
    q35_conn_reply(c, 200, "application/json", "Cache-Control: no-store\r\n", body,
                   sizeof(body) - 1);
}

void q35_handle_ready(struct q35_conn *c)
{
    static const char body[] = "{\"status\":\"ready\"}";
    struct q35_server *s = c->server;
    struct q35_api_error e;
    if (q35_server_ready(s)) {
        q35_conn_reply(c, 200, "application/json", "Cache-Control: no-store\r\n", body,
                       sizeof(body) - 1);
        return;
    }
    if (s->phase == Q35_PHASE_LOADING)
        q35_api_fail(&e, 503, "loading", NULL, "the model is being loaded");
    else if (s->phase == Q35_PHASE_SERVING && q35_server_hangs(s))
        q35_api_fail(&e, 503, "device_hangs", NULL, "a device does not return");
    else if (s->phase == Q35_PHASE_SERVING)
        q35_api_fail(&e, 503, "no_device", NULL, "no device can serve");
    else
        q35_api_fail(&e, 503, "shutting_down", NULL, "the server is shutting down");
    q35_conn_error(c, &e);
}

void q35_handle_metrics(struct q35_conn *c)
{
    struct q35_server *s = c->server;
    struct q35_engine_stats stats;
    struct q35_str out = {0};
    struct q35_metrics_view v = {
        .model = s->model.name,
        .connections = s->conn_count,
        .requests = s->job_count,
        .ready = q35_server_ready(s),
        .started = (uint64_t)s->started,
        .draining = s->phase >= Q35_PHASE_DRAINING,
    };
    if (s->model.engine) {
        q35_engine_stats(s->model.engine, &stats);
        v.stats = &stats;
        v.plan = s->model.plan;
        v.registry = s->model.registry;
    }
    q35_metrics_text(&s->metrics, &v, &out);
    q35_conn_reply_str(c, "text/plain; version=0.0.4; charset=utf-8", &out);
}

static void add_model(const struct q35_server *s, struct q35_str *out)
{
    q35_str_addz(out, "{\"id\":");
    q35_json_addz(out, s->model.name);
    q35_str_addf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"q35\"",
                 (long long)s->started);
    q35_str_addf(out, ",\"max_model_len\":%u}", s->model.context);
}

void q35_handle_models(struct q35_conn *c)
{
    struct q35_str out = {0};
    q35_str_addz(&out, "{\"object\":\"list\",\"data\":[");
    if (c->server->model.engine)
        add_model(c->server, &out);
    q35_str_addz(&out, "]}");
    q35_conn_reply_str(c, "application/json", &out);
}

void q35_handle_model(struct q35_conn *c)
{
    struct q35_server *s = c->server;
    struct q35_str id = {0}, out = {0};
    struct q35_api_error e;
    bool ok = q35_router_tail(c, &id) && id.data;
    if (ok && s->model.engine && strcmp(id.data, s->model.name) == 0) {
        add_model(s, &out);
        q35_conn_reply_str(c, "application/json", &out);
    } else {
        q35_api_fail(&e, 404, "model_not_found", "model", "the model '%.200s' does not exist here",
                     ok ? id.data : "");
        q35_conn_error(c, &e);
    }
    q35_str_fini(&id);
}
