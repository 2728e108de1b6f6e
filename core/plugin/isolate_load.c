/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate_session.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 1024
#define MAX_SPECS 256

/* The next of the zero-terminated strings in [*at, end); NULL if there is none. */
static const char *next_text(const char **at, const char *end)
{
    const char *s = *at, *zero = memchr(s, '\0', (size_t)(end - s));
    if (!zero)
        return NULL;
    *at = zero + 1;
    return s;
}

/* name, version, description, licence, then four strings of each option. */
static enum q35_status take_texts(struct iso_plugin *p, struct q35_plugin *api, uint64_t bytes,
                                  uint32_t options, struct q35_error *err)
{
    const char *at = p->texts, *end = p->texts + bytes;
    bool ok = (api->name = next_text(&at, end)) && (api->version = next_text(&at, end)) &&
              (api->description = next_text(&at, end)) && (api->licence = next_text(&at, end));
    for (uint32_t i = 0; i < options && ok; i++) {
        struct q35_option_spec *o = &p->specs[i];
        ok = (o->key = next_text(&at, end)) && (o->type = next_text(&at, end)) &&
             (o->help = next_text(&at, end)) && (o->fallback = next_text(&at, end));
    }
    if (!ok)
        return q35_fail(err, Q35_E_PLUGIN, "the worker process described the plugin wrongly");
    api->options = p->specs;
    api->option_count = options;
    api->option_stride = (uint32_t)sizeof(*p->specs);
    return Q35_OK;
}

/* A call that is answered with request->bytes at most. The session ends soon: nothing is given
 * back. */
static enum q35_status ask(struct iso_session *s, struct iso_request *request,
                           struct iso_reply *reply, struct q35_error *err)
{
    enum q35_status st = iso_take(s, request->bytes, &request->offset, err);
    return st == Q35_OK ? iso_call(s, request, reply, -1, err) : st;
}

static enum q35_status describe(struct iso_session *s, struct q35_plugin *api,
                                struct q35_error *err)
{
    struct iso_plugin *p = s->plugin;
    struct iso_request request = {.call = ISO_DESCRIBE, .bytes = ISO_TEXT_BYTES};
    struct iso_reply reply;
    enum q35_status st = ask(s, &request, &reply, err);
    if (st != Q35_OK)
        return st;
    if (reply.x == 0 || reply.x > ISO_TEXT_BYTES || reply.n > MAX_SPECS)
        return q35_fail(err, Q35_E_PLUGIN, "the worker process described the plugin wrongly");
    p->texts = calloc(1, (size_t)reply.x);
    p->specs = calloc(reply.n + (size_t)1, sizeof(*p->specs));
    if (!p->texts || !p->specs)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    memcpy(p->texts, s->arena + request.offset, (size_t)reply.x);
    memset(api, 0, sizeof(*api));
    api->size = (uint32_t)sizeof(*api);
    api->abi_major = Q35_ABI_MAJOR;
    api->abi_minor = (uint32_t)(reply.id >> 32);
    if (api->abi_minor > Q35_ABI_MINOR) /* the worker is of another build */
        api->abi_minor = Q35_ABI_MINOR;
    iso_proxy_fill(api);
    api->get_extension = iso_proxy_extension((uint32_t)reply.id);
    return take_texts(p, api, reply.x, reply.n, err);
}

static enum q35_status enumerate(struct iso_session *s, struct q35_error *err)
{
    struct iso_plugin *p = s->plugin;
    struct iso_request request = {.call = ISO_ENUMERATE,
                                  .bytes = MAX_DEVICES * sizeof(struct q35_device_info)};
    struct iso_reply reply;
    enum q35_status st = ask(s, &request, &reply, err);
    if (st != Q35_OK)
        return st;
    if (reply.n > MAX_DEVICES)
        return q35_fail(err, Q35_E_PLUGIN, "it claims %u devices", reply.n);
    q35_clean_text(p->note, sizeof(p->note), reply.err.message);
    p->infos = calloc(reply.n + (size_t)1, sizeof(*p->infos));
    if (!p->infos)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u devices", reply.n);
    memcpy(p->infos, s->arena + request.offset, reply.n * sizeof(*p->infos));
    p->info_count = reply.n;
    return Q35_OK;
}

enum q35_status q35_isolate_load(struct q35_plugin_entry *e, const char *worker,
                                 struct q35_error *err)
{
    struct iso_plugin *p = calloc(1, sizeof(*p));
    struct q35_config_backend bare;
    struct iso_session *s = NULL;
    enum q35_status st;
    if (!p)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    e->worker = p;
    p->entry = e;
    p->program = strdup(worker);
    p->hang_ns = (uint64_t)e->config->hang_seconds * 1000000000u;
    e->host.size = (uint32_t)sizeof(e->host);
    e->host.ctx = e;
    st = p->program ? iso_session_create(&s, p, 0, err) : q35_fail(err, Q35_E_NOMEM, "no memory");
    if (st == Q35_OK)
        st = describe(s, &e->api, err);
    /* with bad options the plugin is not asked: the caller reports them with their lines */
    bare = *e->config;
    if (st == Q35_OK && q35_options_check(&e->api, &bare, "", NULL) == Q35_OK)
        st = enumerate(s, err);
    iso_session_destroy(s);
    if (st != Q35_OK)
        q35_isolate_unload(e);
    return st;
}

void q35_isolate_unload(struct q35_plugin_entry *e)
{
    struct iso_plugin *p = e->worker;
    if (!p)
        return;
    memset(&e->api, 0, sizeof(e->api));
    free(p->program);
    free(p->texts);
    free(p->specs);
    free(p->infos);
    free(p);
    e->worker = NULL;
}
