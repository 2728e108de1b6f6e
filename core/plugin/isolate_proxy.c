/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate_session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The slots of an isolated device: each packs its arguments, calls, and unpacks. */

enum q35_status iso_simple_call(struct iso_session *s, const struct iso_request *request,
                                struct q35_error *err)
{
    struct iso_reply reply;
    return iso_call(s, request, &reply, -1, err);
}

/* A call about an object. */
static enum q35_status object_call(struct iso_object *o, struct iso_request *request,
                                   struct q35_error *err)
{
    request->id = live_id(o);
    if (!request->id) {
        q35_fail(err, Q35_E_DEVICE_LOST, "the object went with a worker process that is gone");
        err->radius = Q35_RADIUS_DEVICE_LOST;
        return Q35_E_DEVICE_LOST;
    }
    return iso_simple_call(o->s, request, err);
}

/* A call that makes an object. */
static enum q35_status creating_call(struct iso_session *s, struct iso_request *request,
                                     struct iso_object **out, struct q35_error *err)
{
    struct iso_object *o = calloc(1, sizeof(*o));
    struct iso_reply reply;
    enum q35_status st;
    *out = NULL;
    if (!o)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a handle");
    o->s = s;
    o->generation = s->generation;
    st = iso_call(s, request, &reply, -1, err);
    if (st != Q35_OK) {
        free(o);
        return st;
    }
    o->id = reply.id;
    *out = o;
    return Q35_OK;
}

static void free_call(struct iso_object *o, uint32_t call)
{
    struct iso_request request = {.call = call, .id = live_id(o)};
    struct q35_error err = Q35_ERROR_INIT;
    if (o && request.id)
        (void)iso_simple_call(o->s, &request, &err);
    free(o);
}

enum q35_status iso_send_layers(struct iso_session *s, const struct q35_layer *layers,
                                uint32_t count, uint32_t stride, uint64_t more,
                                struct iso_request *request, struct q35_error *err)
{
    enum q35_status st;
    request->a = count;
    request->bytes = iso_layers_bytes(layers, count, stride);
    if (!q35_add_size(request->bytes, more, &request->bytes))
        request->bytes = UINT64_MAX; /* refused by iso_take */
    st = iso_take(s, request->bytes, &request->offset, err);
    if (st == Q35_OK)
        iso_layers_pack(s->arena + request->offset, layers, count, stride);
    return st;
}

static enum q35_status pack_layers(struct iso_session *s, const struct q35_layer *layers,
                                   uint32_t count, uint32_t stride, struct iso_request *request,
                                   struct q35_error *err)
{
    return iso_send_layers(s, layers, count, stride, 0, request, err);
}

/* ---- the device --------------------------------------------------------------------------- */

static struct iso_plugin *plugin_of(const struct q35_host *host)
{
    const struct q35_plugin_entry *e = host->ctx;
    return e->worker;
}

static enum q35_status proxy_enumerate(const struct q35_host *host,
                                       const struct q35_options *options, uint32_t *count,
                                       struct q35_error *err)
{
    const struct iso_plugin *p = plugin_of(host);
    (void)options;
    *count = p->info_count;
    memcpy(err->message, p->note, sizeof(err->message));
    return Q35_OK;
}

static enum q35_status proxy_device_info(const struct q35_host *host,
                                         const struct q35_options *options, uint32_t index,
                                         struct q35_device_info *info, struct q35_error *err)
{
    const struct iso_plugin *p = plugin_of(host);
    (void)options;
    if (index >= p->info_count)
        return q35_fail(err, Q35_E_NOT_FOUND, "there is no device %u", index);
    *info = p->infos[index];
    return Q35_OK;
}

static enum q35_status open_call(struct iso_session *s, struct q35_error *err)
{
    struct iso_request request = {.call = ISO_OPEN, .a = s->index};
    return iso_simple_call(s, &request, err);
}

static enum q35_status proxy_open(const struct q35_host *host, const struct q35_options *options,
                                  uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct iso_session *s;
    enum q35_status st = iso_session_create(&s, plugin_of(host), index, err);
    (void)options;
    *out = NULL;
    if (st != Q35_OK)
        return st;
    st = open_call(s, err);
    if (st != Q35_OK) {
        iso_session_destroy(s);
        return st;
    }
    *out = (void *)s;
    return Q35_OK;
}

static void proxy_close(struct q35_device *dev)
{
    struct iso_request request = {.call = ISO_CLOSE};
    struct q35_error err = Q35_ERROR_INIT;
    if (!dev)
        return;
    (void)iso_simple_call(session_of(dev), &request, &err); /* a lost one says so at once */
    iso_session_destroy(session_of(dev));
}

static enum q35_status proxy_supports(struct q35_device *dev, const struct q35_layer *layer,
                                      struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_request request = {.call = ISO_SUPPORTS};
    enum q35_status st = pack_layers(s, layer, 1, layer->size, &request, err);
    if (st != Q35_OK)
        return st;
    st = iso_simple_call(s, &request, err);
    iso_give(s, request.offset);
    return st;
}

static enum q35_status proxy_plan(struct q35_device *dev, const struct q35_plan_request *r,
                                  struct q35_plan_result *result, struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_request request = {
        .call = ISO_PLAN, .b = r->max_batch, .c = r->max_sequences, .x = r->kv_tokens};
    struct iso_reply reply;
    uint32_t size = result->size;
    enum q35_status st = pack_layers(s, r->layers, r->layer_count, r->layer_stride, &request, err);
    if (st != Q35_OK)
        return st;
    request.y = Q35_HAS(r, struct q35_plan_request, kv_type) ? r->kv_type : Q35_KV_F16;
    st = iso_call(s, &request, &reply, -1, err);
    iso_give(s, request.offset);
    if (st == Q35_OK) {
        *result = reply.plan;
        result->size = size;
    }
    return st;
}

/* ---- buffers ------------------------------------------------------------------------------ */

static enum q35_status proxy_buffer_alloc(struct q35_device *dev, uint64_t bytes,
                                          struct q35_buffer **out, struct q35_error *err)
{
    struct iso_request request = {.call = ISO_BUFFER_ALLOC, .bytes = bytes};
    struct iso_object *o;
    enum q35_status st = creating_call(session_of(dev), &request, &o, err);
    *out = (void *)o;
    return st;
}

static void proxy_buffer_free(struct q35_buffer *buffer)
{
    free_call(object_of(buffer), ISO_BUFFER_FREE);
}

/* Through the arena in chunks; in: host to buffer. */
static enum q35_status buffer_copy(struct iso_object *o, uint64_t offset, char *data,
                                   uint64_t bytes, bool in, struct q35_error *err)
{
    struct iso_request request = {.call = in ? ISO_BUFFER_WRITE : ISO_BUFFER_READ};
    uint64_t done = 0, part = bytes < ISO_CHUNK ? bytes : ISO_CHUNK;
    enum q35_status st = iso_take(o->s, part, &request.offset, err);
    if (st != Q35_OK)
        return st;
    do {
        request.bytes = bytes - done < part ? bytes - done : part;
        request.x = offset + done;
        if (in)
            memcpy(o->s->arena + request.offset, data + done, (size_t)request.bytes);
        st = object_call(o, &request, err);
        if (!in && st == Q35_OK)
            memcpy(data + done, o->s->arena + request.offset, (size_t)request.bytes);
        done += request.bytes;
    } while (st == Q35_OK && done < bytes);
    iso_give(o->s, request.offset);
    return st;
}

static enum q35_status proxy_buffer_write(struct q35_buffer *buffer, uint64_t offset,
                                          const void *data, uint64_t bytes, struct q35_error *err)
{
    return buffer_copy(object_of(buffer), offset, (char *)(uintptr_t)data, bytes, true, err);
}

static enum q35_status proxy_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                         uint64_t bytes, struct q35_error *err)
{
    return buffer_copy(object_of(buffer), offset, data, bytes, false, err);
}

/* ---- weights ------------------------------------------------------------------------------ */

static enum q35_status proxy_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                           uint32_t count, uint32_t stride,
                                           struct q35_weights **out, struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_request request = {.call = ISO_WEIGHTS_BEGIN};
    struct iso_object *o = NULL;
    enum q35_status st = pack_layers(s, layers, count, stride, &request, err);
    *out = NULL;
    if (st != Q35_OK)
        return st;
    st = creating_call(s, &request, &o, err);
    iso_give(s, request.offset);
    *out = (void *)o;
    return st;
}

/* The worker's number for the mapped file that holds [data, data + bytes), 0: there is none. */
static uint64_t map_of(struct iso_session *s, const void *data, uint64_t bytes, uint64_t *delta,
                       struct q35_error *err)
{
    struct iso_map map, *m;
    struct iso_reply reply;
    int fd = iso_mapped_file(data, bytes, &map, delta);
    if (fd < 0)
        return 0;
    pthread_mutex_lock(&s->mutex);
    for (m = s->maps; m; m = m->next)
        if (m->dev == map.dev && m->ino == map.ino && m->offset == map.offset &&
            m->bytes == map.bytes)
            map.id = m->id;
    pthread_mutex_unlock(&s->mutex);
    if (!map.id && (m = malloc(sizeof(*m)))) {
        struct iso_request request = {.call = ISO_MAP_FILE, .x = map.offset, .bytes = map.bytes};
        *m = map;
        if (iso_call(s, &request, &reply, fd, err) == Q35_OK && reply.id) {
            map.id = m->id = reply.id;
            pthread_mutex_lock(&s->mutex);
            m->next = s->maps;
            s->maps = m;
            pthread_mutex_unlock(&s->mutex);
        } else {
            free(m);
        }
    }
    close(fd);
    return map.id;
}

static enum q35_status put_copied(struct iso_object *o, struct iso_request *request,
                                  uint64_t offset, const void *data, uint64_t bytes,
                                  struct q35_error *err)
{
    uint64_t done = 0, part = bytes < ISO_CHUNK ? bytes : ISO_CHUNK;
    enum q35_status st = iso_take(o->s, part, &request->offset, err);
    if (st != Q35_OK)
        return st;
    do {
        request->bytes = bytes - done < part ? bytes - done : part;
        request->x = offset + done;
        memcpy(o->s->arena + request->offset, (const char *)data + done, (size_t)request->bytes);
        st = object_call(o, request, err);
        done += request->bytes;
    } while (st == Q35_OK && done < bytes);
    iso_give(o->s, request->offset);
    return st;
}

static enum q35_status proxy_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                         uint64_t offset, const void *data, uint64_t bytes,
                                         uint32_t lifetime, struct q35_error *err)
{
    struct iso_object *o = object_of(w);
    struct iso_request request = {.call = ISO_WEIGHTS_PUT, .a = layer, .b = role};
    uint64_t delta = 0, map = 0;
    if (lifetime == Q35_UNTIL_FREE && live_id(o))
        map = map_of(o->s, data, bytes, &delta, err);
    if (!map)
        return put_copied(o, &request, offset, data, bytes, err);
    request.c = 1; /* in a mapped file */
    request.x = offset;
    request.y = map;
    request.offset = delta;
    request.bytes = bytes;
    return object_call(o, &request, err);
}

static enum q35_status proxy_weights_commit(struct q35_weights *w, struct q35_error *err)
{
    struct iso_request request = {.call = ISO_WEIGHTS_COMMIT};
    return object_call(object_of(w), &request, err);
}

static void proxy_weights_free(struct q35_weights *w)
{
    free_call(object_of(w), ISO_WEIGHTS_FREE);
}

/* ---- KV ----------------------------------------------------------------------------------- */

static enum q35_status proxy_kv_create(struct q35_device *dev, struct q35_weights *w,
                                       const struct q35_kv_spec *spec, struct q35_kv **out,
                                       struct q35_error *err)
{
    struct iso_request request = {.call = ISO_KV_CREATE,
                                  .a = spec->max_sequences,
                                  .b = spec->kv_tokens,
                                  .c = spec->type,
                                  .id = live_id(object_of(w))};
    struct iso_object *o;
    enum q35_status st = creating_call(session_of(dev), &request, &o, err);
    *out = (void *)o;
    return st;
}

static void proxy_kv_free(struct q35_kv *kv)
{
    free_call(object_of(kv), ISO_KV_FREE);
}

static enum q35_status proxy_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                         struct q35_error *err)
{
    struct iso_request request = {.call = ISO_KV_TRUNCATE, .a = sequence, .b = length};
    return object_call(object_of(kv), &request, err);
}

static enum q35_status proxy_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                                     struct q35_error *err)
{
    struct iso_request request = {.call = ISO_KV_FORK, .a = src, .b = dst, .c = length};
    return object_call(object_of(kv), &request, err);
}

/* A new worker is the surest reset there is. */
static enum q35_status proxy_reset(struct q35_device *dev, struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    enum q35_status st;
    iso_session_stop(s);
    st = iso_session_start(s, err);
    return st == Q35_OK ? open_call(s, err) : st;
}

void iso_proxy_fill(struct q35_plugin *api)
{
    api->enumerate = proxy_enumerate;
    api->device_info = proxy_device_info;
    api->open = proxy_open;
    api->close = proxy_close;
    api->supports = proxy_supports;
    api->plan = proxy_plan;
    api->buffer_alloc = proxy_buffer_alloc;
    api->buffer_free = proxy_buffer_free;
    api->buffer_write = proxy_buffer_write;
    api->buffer_read = proxy_buffer_read;
    api->weights_begin = proxy_weights_begin;
    api->weights_put = proxy_weights_put;
    api->weights_commit = proxy_weights_commit;
    api->weights_free = proxy_weights_free;
    api->kv_create = proxy_kv_create;
    api->kv_free = proxy_kv_free;
    api->kv_truncate = proxy_kv_truncate;
    api->kv_fork = proxy_kv_fork;
    api->run_layers = iso_proxy_run_layers;
    api->wait = iso_proxy_wait;
    api->poll = iso_proxy_poll;
    api->cancel = iso_proxy_cancel;
    api->reset = proxy_reset;
}
