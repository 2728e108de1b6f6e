/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* The worker's end: one thread for each channel turns requests into calls of the plugin. */

enum kind { NOTHING, BUFFER, WEIGHTS, KV, MAPPING };

struct object {
    enum kind kind;
    void *p;
    struct q35_layer *layers; /* of WEIGHTS, until they are freed */
    uint64_t bytes;           /* of MAPPING */
};

/* One process serves one plugin, so this is all its state. */
static struct q35_plugin_entry plugin;
static struct q35_error load_error;
static struct q35_device *device;
static uint8_t *arena;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the objects */
static struct object *objects;                            /* id - 1 */
static uint64_t object_count;

static uint64_t object_add(enum kind kind, void *p, struct q35_layer *layers, uint64_t bytes)
{
    struct object *grown;
    uint64_t id = 0;
    pthread_mutex_lock(&mutex);
    while (id < object_count && objects[id].kind != NOTHING)
        id++;
    if (id == object_count) {
        grown = realloc(objects, (size_t)(object_count + 1) * sizeof(*objects));
        if (!grown) {
            pthread_mutex_unlock(&mutex);
            return 0;
        }
        objects = grown;
        object_count++;
    }
    objects[id] = (struct object){kind, p, layers, bytes};
    pthread_mutex_unlock(&mutex);
    return id + 1;
}

/* A copy of the object; kind NOTHING if there is none of that kind. */
static struct object object_get(uint64_t id, enum kind kind, bool take)
{
    struct object o = {NOTHING, NULL, NULL, 0};
    pthread_mutex_lock(&mutex);
    if (id > 0 && id <= object_count && objects[id - 1].kind == kind) {
        o = objects[id - 1];
        if (take)
            objects[id - 1].kind = NOTHING;
    }
    pthread_mutex_unlock(&mutex);
    return o;
}

static void *pointer(uint64_t id, enum kind kind)
{
    return object_get(id, kind, false).p;
}

static bool in_arena(uint64_t offset, uint64_t bytes)
{
    return offset <= ISO_ARENA_BYTES && bytes <= ISO_ARENA_BYTES - offset;
}

static enum q35_status bad(struct q35_error *err)
{
    return q35_fail(err, Q35_E_INTERNAL, "the host sent a malformed request");
}

/* ---- the plugin and its device ------------------------------------------------------------ */

static enum q35_status describe(const struct iso_request *q, struct iso_reply *r)
{
    const struct q35_plugin *api = &plugin.api;
    struct q35_str s = {0};
    const char *texts[] = {api->name, api->version, api->description, api->licence};
    for (size_t i = 0; i < Q35_COUNT(texts); i++)
        q35_str_add(&s, texts[i], strlen(texts[i]) + 1);
    for (uint32_t i = 0; i < api->option_count; i++) {
        const void *at = (const char *)api->options + (size_t)i * api->option_stride;
        const struct q35_option_spec *o = at;
        const char *parts[] = {o->key, o->type, o->help, o->fallback};
        for (size_t k = 0; k < Q35_COUNT(parts); k++)
            q35_str_add(&s, parts[k] ? parts[k] : "", parts[k] ? strlen(parts[k]) + 1 : 1);
    }
    r->n = api->option_count;
    r->x = s.len;
    r->id = (uint64_t)api->abi_minor << 32 | iso_measure_has(api);
    if (!s.failed && s.len <= q->bytes)
        memcpy(arena + q->offset, s.data, s.len);
    else
        r->x = 0;
    q35_str_fini(&s);
    return r->x ? Q35_OK : q35_fail(&r->err, Q35_E_PLUGIN, "its texts are too long");
}

static enum q35_status enumerate(const struct iso_request *q, struct iso_reply *r)
{
    struct q35_device_info *infos;
    char note[488];
    enum q35_status st = q35_plugin_devices(&plugin, &infos, &r->n, note, &r->err);
    if (st == Q35_OK && r->n * sizeof(*infos) > q->bytes)
        st = q35_fail(&r->err, Q35_E_PLUGIN, "it claims %u devices", r->n);
    if (st == Q35_OK && r->n)
        memcpy(arena + q->offset, infos, r->n * sizeof(*infos));
    if (st == Q35_OK)
        memcpy(r->err.message, note, sizeof(note));
    free(infos);
    return st;
}

static enum q35_status plan(const struct iso_request *q, struct iso_reply *r)
{
    struct q35_layer *layers = iso_layers_unpack(arena + q->offset, q->bytes, q->a);
    struct q35_plan_request request = {.size = (uint32_t)sizeof(request),
                                       .layer_count = q->a,
                                       .layer_stride = (uint32_t)sizeof(*layers),
                                       .max_batch = q->b,
                                       .max_sequences = q->c,
                                       .kv_tokens = (uint32_t)q->x,
                                       .layers = layers,
                                       .kv_type = (uint32_t)q->y};
    enum q35_status st = bad(&r->err);
    r->plan.size = (uint32_t)sizeof(r->plan);
    if (layers)
        st = plugin.api.plan(device, &request, &r->plan, &r->err);
    free(layers);
    return st;
}

static enum q35_status supports(const struct iso_request *q, struct iso_reply *r)
{
    struct q35_layer *layers = iso_layers_unpack(arena + q->offset, q->bytes, 1);
    enum q35_status st = layers ? plugin.api.supports(device, layers, &r->err) : bad(&r->err);
    free(layers);
    return st;
}

static enum q35_status open_device(const struct iso_request *q, struct iso_reply *r)
{
    enum q35_status st = plugin.api.open(&plugin.host, &plugin.options, q->a, &device, &r->err);
    if (st == Q35_OK && !device)
        st = q35_fail(&r->err, Q35_E_PLUGIN, "open returned no device");
    return st;
}

static enum q35_status close_device(void)
{
    if (device)
        plugin.api.close(device);
    device = NULL;
    return Q35_OK;
}

/* ---- its objects -------------------------------------------------------------------------- */

/* Remembers what a call made. */
static enum q35_status added(enum q35_status st, enum kind kind, void *p, struct q35_layer *layers,
                             struct iso_reply *r)
{
    if (st == Q35_OK && !p)
        st = q35_fail(&r->err, Q35_E_PLUGIN, "the plugin returned no object");
    if (st == Q35_OK && !(r->id = object_add(kind, p, layers, 0)))
        st = q35_fail(&r->err, Q35_E_NOMEM, "no memory in the worker");
    if (st != Q35_OK)
        free(layers);
    return st;
}

static enum q35_status buffer_alloc(const struct iso_request *q, struct iso_reply *r)
{
    struct q35_buffer *b = NULL;
    enum q35_status st = plugin.api.buffer_alloc(device, q->bytes, &b, &r->err);
    return added(st, BUFFER, b, NULL, r);
}

static enum q35_status map_file(const struct iso_request *q, struct iso_reply *r, int fd)
{
    void *p =
        fd < 0 ? MAP_FAILED : mmap(NULL, (size_t)q->bytes, PROT_READ, MAP_SHARED, fd, (off_t)q->x);
    if (p == MAP_FAILED)
        return q35_fail_errno(&r->err, Q35_E_IO, errno, "the worker cannot map the model");
    r->id = object_add(MAPPING, p, NULL, q->bytes);
    return r->id ? Q35_OK : q35_fail(&r->err, Q35_E_NOMEM, "no memory in the worker");
}

static enum q35_status weights_begin(const struct iso_request *q, struct iso_reply *r)
{
    struct q35_layer *layers = iso_layers_unpack(arena + q->offset, q->bytes, q->a);
    struct q35_weights *w = NULL;
    enum q35_status st = layers ? plugin.api.weights_begin(device, layers, q->a,
                                                           (uint32_t)sizeof(*layers), &w, &r->err)
                                : bad(&r->err);
    return added(st, WEIGHTS, w, layers, r);
}

static enum q35_status weights_put(const struct iso_request *q, struct iso_reply *r)
{
    struct q35_weights *w = pointer(q->id, WEIGHTS);
    const uint8_t *data = arena + q->offset;
    if (q->c) {
        struct object map = object_get(q->y, MAPPING, false);
        if (!map.p || q->offset > map.bytes || q->bytes > map.bytes - q->offset)
            return bad(&r->err);
        data = (const uint8_t *)map.p + q->offset;
    }
    return w ? plugin.api.weights_put(w, q->a, q->b, q->x, data, q->bytes,
                                      q->c ? Q35_UNTIL_FREE : Q35_DURING_CALL, &r->err)
             : bad(&r->err);
}

static enum q35_status weights_free(const struct iso_request *q)
{
    struct object o = object_get(q->id, WEIGHTS, true);
    if (o.p)
        plugin.api.weights_free(o.p);
    free(o.layers);
    return Q35_OK;
}

static enum q35_status kv_create(const struct iso_request *q, struct iso_reply *r)
{
    const struct q35_kv_spec spec = {(uint32_t)sizeof(spec), q->a, q->b, q->c};
    struct q35_weights *w = pointer(q->id, WEIGHTS);
    struct q35_kv *kv = NULL;
    enum q35_status st = w ? plugin.api.kv_create(device, w, &spec, &kv, &r->err) : bad(&r->err);
    return added(st, KV, kv, NULL, r);
}

/* ---- running ------------------------------------------------------------------------------ */

static bool unpack_span(struct q35_span *out, const struct iso_span *in)
{
    memset(out, 0, sizeof(*out));
    if (in->bytes == 0)
        return true;
    out->bytes = in->bytes;
    if (in->buffer) {
        out->buffer = pointer(in->buffer, BUFFER);
        out->offset = in->offset;
        return out->buffer != NULL;
    }
    out->host = arena + in->offset;
    return in_arena(in->offset, in->bytes);
}

/* A device that computes inside run_layers is done by now: the answer then says how it ended, and
 * spares the host another call. */
static void tell_if_done(uint64_t signal, struct iso_reply *r)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t value = 0;
    enum q35_status st;
    if (plugin.api.poll(device, &value, &err) != Q35_OK || value < signal)
        return;
    st = plugin.api.wait(device, signal, 0, &err);
    if (st == Q35_E_TIMEOUT || st == Q35_E_NOT_FOUND)
        return;
    r->n = 1;
    r->x = (uint64_t)st;
    r->err = err;
}

static enum q35_status run_layers(const struct iso_request *q, struct iso_reply *r)
{
    enum q35_status st;
    struct iso_run packed;
    struct q35_run run = {.size = (uint32_t)sizeof(run)};
    if (q->bytes < sizeof(packed))
        return bad(&r->err);
    memcpy(&packed, arena + q->offset, sizeof(packed));
    run.first = packed.first;
    run.count = packed.count;
    run.n_tokens = packed.n_tokens;
    run.token_stride = (uint32_t)sizeof(struct q35_token);
    run.flags = packed.flags;
    run.weights = pointer(packed.weights, WEIGHTS);
    run.kv = pointer(packed.kv, KV);
    run.tokens = (const void *)(arena + q->offset + sizeof(packed));
    run.signal = packed.signal;
    if (!run.weights || (packed.kv && !run.kv) || !unpack_span(&run.in, &packed.in) ||
        !unpack_span(&run.out, &packed.out))
        return bad(&r->err);
    st = plugin.api.run_layers(device, &run, &r->err);
    if (st == Q35_OK)
        tell_if_done(run.signal, r);
    return st;
}

/* ---- dispatch ----------------------------------------------------------------------------- */

static enum q35_status object_request(const struct iso_request *q, struct iso_reply *r)
{
    void *b = pointer(q->id, BUFFER), *kv = pointer(q->id, KV), *w = pointer(q->id, WEIGHTS);
    switch (q->call) {
    case ISO_BUFFER_WRITE:
        return b ? plugin.api.buffer_write(b, q->x, arena + q->offset, q->bytes, &r->err)
                 : bad(&r->err);
    case ISO_BUFFER_READ:
        return b ? plugin.api.buffer_read(b, q->x, arena + q->offset, q->bytes, &r->err)
                 : bad(&r->err);
    case ISO_BUFFER_FREE:
        if ((b = object_get(q->id, BUFFER, true).p))
            plugin.api.buffer_free(b);
        return Q35_OK;
    case ISO_WEIGHTS_COMMIT:
        return w ? plugin.api.weights_commit(w, &r->err) : bad(&r->err);
    case ISO_KV_FREE:
        if ((kv = object_get(q->id, KV, true).p))
            plugin.api.kv_free(kv);
        return Q35_OK;
    case ISO_KV_TRUNCATE:
        return kv ? plugin.api.kv_truncate(kv, q->a, q->b, &r->err) : bad(&r->err);
    case ISO_KV_FORK:
        return kv ? plugin.api.kv_fork(kv, q->a, q->b, q->c, &r->err) : bad(&r->err);
    default:
        return bad(&r->err);
    }
}

static enum q35_status dispatch(const struct iso_request *q, struct iso_reply *r, int fd)
{
    if (load_error.status != Q35_OK) {
        r->err = load_error;
        return (enum q35_status)load_error.status;
    }
    if (!device && q->call > ISO_OPEN && q->call != ISO_CLOSE)
        return q35_fail(&r->err, Q35_E_INVALID, "the device is not open");
    switch (q->call) {
    case ISO_DESCRIBE:
        return describe(q, r);
    case ISO_ENUMERATE:
        return enumerate(q, r);
    case ISO_OPEN:
        return open_device(q, r);
    case ISO_CLOSE:
        return close_device();
    case ISO_SUPPORTS:
        return supports(q, r);
    case ISO_PLAN:
        return plan(q, r);
    case ISO_MEASURE:
    case ISO_REPORT:
        return iso_measure_serve(&plugin.api, device, q, arena + q->offset, r);
    case ISO_BUFFER_ALLOC:
        return buffer_alloc(q, r);
    case ISO_MAP_FILE:
        return map_file(q, r, fd);
    case ISO_WEIGHTS_BEGIN:
        return weights_begin(q, r);
    case ISO_WEIGHTS_PUT:
        return weights_put(q, r);
    case ISO_WEIGHTS_FREE:
        return weights_free(q);
    case ISO_KV_CREATE:
        return kv_create(q, r);
    case ISO_RUN_LAYERS:
        return run_layers(q, r);
    case ISO_WAIT:
        return plugin.api.wait(device, q->x, q->y, &r->err);
    case ISO_POLL:
        return plugin.api.poll(device, &r->x, &r->err);
    case ISO_CANCEL:
        return plugin.api.cancel(device, q->x, &r->err);
    default:
        return object_request(q, r);
    }
}

/* True with a whole request; *fd: passed along, or -1. */
static bool receive(int socket, struct iso_request *q, int *fd)
{
    struct iovec io = {q, sizeof(*q)};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr m = {.msg_iov = &io,
                       .msg_iovlen = 1,
                       .msg_control = control.room,
                       .msg_controllen = sizeof(control.room)};
    struct cmsghdr *c;
    ssize_t n;
    *fd = -1;
    do
        n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*q))
        return false;
    c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(fd, CMSG_DATA(c), sizeof(int));
    return true;
}

/* The host is trusted; this is checked because a mistake there would be hard to find. */
static bool uses_arena(const struct iso_request *q)
{
    return q->call != ISO_BUFFER_ALLOC && q->call != ISO_MAP_FILE &&
           !(q->call == ISO_WEIGHTS_PUT && q->c);
}

/* The host orders its calls; passing through one lock before and after each makes that order
 * visible between our threads. */
static void fence(void)
{
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
}

static void *channel_thread(void *arg)
{
    int socket = ISO_FD_CHANNEL + (int)(intptr_t)arg, fd;
    struct iso_request q;
    while (receive(socket, &q, &fd)) {
        struct iso_reply r = {.err = Q35_ERROR_INIT};
        fence();
        r.status =
            !uses_arena(&q) || in_arena(q.offset, q.bytes) ? dispatch(&q, &r, fd) : bad(&r.err);
        fence();
        if (fd >= 0)
            close(fd);
        if (send(socket, &r, sizeof(r), MSG_NOSIGNAL) != (ssize_t)sizeof(r))
            break;
    }
    return NULL;
}

int q35_isolate_serve(const char *path, const struct q35_options *options)
{
    pthread_t thread;
    char byte;
    void *p = mmap(NULL, ISO_ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                   ISO_FD_ARENA, 0);
    if (p == MAP_FAILED)
        return 1;
    arena = p;
    for (int fd = ISO_FD_LIFE; fd < ISO_FD_LIFE + ISO_FDS; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    load_error = (struct q35_error)Q35_ERROR_INIT;
    if (q35_plugin_load(&plugin, path, &load_error) == Q35_OK)
        plugin.options = *options;
    for (intptr_t i = 0; i < ISO_CHANNELS; i++)
        if (pthread_create(&thread, NULL, channel_thread, (void *)i) != 0 ||
            pthread_detach(thread) != 0)
            return 1;
    while (recv(ISO_FD_LIFE, &byte, 1, 0) < 0 && errno == EINTR)
        ;
    _exit(0); /* channel threads may be in the plugin: no destructors */
}
