/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Loading, the descriptor, devices, open and close. */

#include <dlfcn.h>
#include <malloc.h>
#include <string.h>

#include "core/verify/kit.h"

static bool query_is_pure(struct vfy *v, q35_plugin_query_fn query)
{
    uint32_t fds = vfy_count_fds(), threads = vfy_count_threads(), i;
    const struct q35_plugin *first = query(Q35_ABI_MAJOR, Q35_ABI_MINOR);
    size_t heap = mallinfo2().uordblks;

    EXPECT(v, first, VFY_QUERY_MAJOR, "query(%u, %u), this host's version, returned NULL",
           Q35_ABI_MAJOR, Q35_ABI_MINOR);
    for (i = 0; i < 100; i++)
        EXPECT(v, query(Q35_ABI_MAJOR, Q35_ABI_MINOR) == first, VFY_QUERY_PURE,
               "query returned another descriptor when asked again");
    EXPECT(v, mallinfo2().uordblks <= heap + 4096, VFY_QUERY_PURE, "query allocates memory");
    EXPECT(v, vfy_count_fds() == fds, VFY_QUERY_PURE, "query opens files");
    EXPECT(v, vfy_count_threads() == threads, VFY_QUERY_PURE, "query starts threads");
    return true;
}

static bool query_negotiates(struct vfy *v, q35_plugin_query_fn query)
{
    static const uint32_t minors[] = {0, Q35_ABI_MINOR, Q35_ABI_MINOR + 1, Q35_ABI_MINOR + 1000};
    uint32_t i;
    for (i = 0; i < Q35_COUNT(minors); i++) {
        const struct q35_plugin *d = query(Q35_ABI_MAJOR, minors[i]);
        EXPECT(v, d, VFY_QUERY_MINOR, "query(%u, %u) returned NULL: another minor is no reason",
               Q35_ABI_MAJOR, minors[i]);
        EXPECT(v, d->size >= 16 && d->abi_major == Q35_ABI_MAJOR, VFY_QUERY_MAJOR,
               "query(%u, %u) returned a descriptor of major %u", Q35_ABI_MAJOR, minors[i],
               d->size >= 8 ? d->abi_major : 0);
    }
    EXPECT(v, !query(Q35_ABI_MAJOR + 1, 0), VFY_QUERY_MAJOR,
           "query(%u, 0) should return NULL: that major is not this one", Q35_ABI_MAJOR + 1);
    EXPECT(v, !query(0, 0), VFY_QUERY_MAJOR, "query(0, 0) should return NULL");
    return true;
}

bool vfy_check_load(struct vfy *v)
{
    uint32_t threads = vfy_count_threads();
    q35_plugin_query_fn query;
    void *handle, *symbol;

    vfy_enter(&v->d, "dlopen (constructors)");
    handle = dlopen(v->path, RTLD_NOW | RTLD_LOCAL);
    EXPECT(v, handle, VFY_LOAD, "%s", dlerror());
    EXPECT(v, vfy_count_threads() == threads, VFY_QUERY_PURE, "a constructor starts threads");
    symbol = dlsym(handle, Q35_PLUGIN_SYMBOL);
    EXPECT(v, symbol, VFY_LOAD, "the symbol " Q35_PLUGIN_SYMBOL " is not exported");
    memcpy(&query, &symbol, sizeof(query));
    vfy_enter(&v->d, Q35_PLUGIN_SYMBOL);
    if (!query_is_pure(v, query) || !query_negotiates(v, query))
        return false;
    vfy_enter(&v->d, "dlclose (destructors)");
    dlclose(handle);
    return vfy_load(v);
}

/* ---- the descriptor ------------------------------------------------------------------------ */

static bool text_is(const char *s, size_t limit)
{
    return s && s[0] && strnlen(s, limit) < limit;
}

static bool options_are_fine(struct vfy *v, const struct q35_plugin *p)
{
    static const char *const types[] = {"int", "bool", "string", "size"};
    uint32_t i, t;
    for (i = 0; i < p->option_count; i++) {
        const struct q35_option_spec *o =
            (const void *)((const uint8_t *)p->options + (uint64_t)i * p->option_stride);
        bool known = false;
        EXPECT(v, text_is(o->key, 64) && o->type, VFY_DESCRIPTOR, "option %u has no key or type",
               i);
        for (t = 0; t < Q35_COUNT(types); t++)
            known |= !strcmp(o->type, types[t]);
        known |= !strncmp(o->type, "enum:", 5) && o->type[5];
        EXPECT(v, known, VFY_DESCRIPTOR,
               "option %s: type '%.40s' is none of int, bool, string, "
               "size, enum:a|b",
               o->key, o->type);
        EXPECT(v, text_is(o->help, 1000), VFY_DESCRIPTOR, "option %s has no help", o->key);
    }
    return true;
}

/* Slots that a plugin without INHERIT cannot leave out. */
static const char *missing_slot(const struct q35_plugin *p)
{
#define NEED(slot)                                                                                 \
    if (!Q35_HAS(p, struct q35_plugin, slot) || !p->slot)                                          \
    return #slot
    NEED(enumerate);
    NEED(device_info);
    if (p->flags & Q35_PLUGIN_INHERIT)
        return NULL;
    NEED(open);
    NEED(close);
    NEED(supports);
    NEED(plan);
    NEED(weights_begin);
    NEED(weights_put);
    NEED(weights_commit);
    NEED(weights_free);
    NEED(kv_create);
    NEED(kv_free);
    NEED(kv_truncate);
    NEED(kv_fork);
    NEED(run_layers);
    NEED(wait);
    NEED(poll);
    NEED(cancel);
#undef NEED
    return NULL;
}

bool vfy_check_descriptor(struct vfy *v)
{
    const struct q35_plugin *p;
    q35_plugin_query_fn query;
    const char *slot;
    void *symbol;

    if (!vfy_load(v))
        return false;
    symbol = dlsym(v->entry.handle, Q35_PLUGIN_SYMBOL);
    EXPECT(v, symbol, VFY_LOAD, "the symbol " Q35_PLUGIN_SYMBOL " is not exported");
    memcpy(&query, &symbol, sizeof(query));
    p = query(Q35_ABI_MAJOR, Q35_ABI_MINOR); /* as the plugin wrote it */
    EXPECT(v, text_is(p->version, 64), VFY_DESCRIPTOR, "version is missing");
    EXPECT(v, text_is(p->description, 1000), VFY_DESCRIPTOR, "description is missing");
    EXPECT(v, text_is(p->licence, 200), VFY_DESCRIPTOR, "licence is missing");
    EXPECT(v, !(p->flags & ~(uint32_t)Q35_PLUGIN_INHERIT), VFY_DESCRIPTOR, "unknown flags %#x",
           p->flags);
    EXPECT(v, !p->ops || p->flags & Q35_PLUGIN_INHERIT, VFY_DESCRIPTOR,
           "ops are for inheriting plugins only");
    slot = missing_slot(p);
    EXPECT(v, !slot, VFY_DESCRIPTOR, "%s is missing, and nothing works without it", slot);
    return options_are_fine(v, p);
}

/* ---- devices ------------------------------------------------------------------------------- */

static bool info_is_fine(struct vfy *v, const struct q35_device_info *i, uint32_t n)
{
    EXPECT(v, memchr(i->name, 0, sizeof(i->name)) && i->name[0], VFY_DEVICE_INFO,
           "device %u: name is empty or has no end", n);
    EXPECT(v, memchr(i->id, 0, sizeof(i->id)) && i->id[0], VFY_DEVICE_INFO,
           "device %u: id is empty or has no end", n);
    EXPECT(v, i->determinism == Q35_CLASS_EXACT || i->determinism == Q35_CLASS_CLOSE,
           VFY_DEVICE_INFO, "device %u: determinism class %u does not exist", n, i->determinism);
    EXPECT(v, i->memory_total && i->memory_free <= i->memory_total, VFY_DEVICE_INFO,
           "device %u: %llu bytes free of %llu", n, (unsigned long long)i->memory_free,
           (unsigned long long)i->memory_total);
    EXPECT(v, i->max_batch && i->max_sequences, VFY_DEVICE_INFO,
           "device %u: max_batch %u, max_sequences %u", n, i->max_batch, i->max_sequences);
    EXPECT(v, !(i->buffer_alignment & (i->buffer_alignment - 1)) && i->buffer_alignment <= 65536,
           VFY_DEVICE_INFO, "device %u: buffer_alignment %u", n, i->buffer_alignment);
    EXPECT(v, i->simulated <= 1, VFY_DEVICE_INFO, "device %u: simulated %u", n, i->simulated);
    return true;
}

/* Hosts whose struct ends earlier: nothing beyond their size may be written. */
static bool short_info(struct vfy *v, uint32_t n, const struct q35_device_info *full)
{
    static const uint32_t sizes[] = {offsetof(struct q35_device_info, memory_total),
                                     offsetof(struct q35_device_info, max_sequences),
                                     sizeof(struct q35_device_info) + 64};
    uint32_t i, b;
    for (i = 0; i < Q35_COUNT(sizes); i++) {
        union {
            struct q35_device_info info;
            uint8_t bytes[sizeof(struct q35_device_info) + 128];
        } u;
        memset(&u, 0x5A, sizeof(u));
        u.info.size = sizes[i];
        if (!vfy_ok(v,
                    VFY_CALL(&v->d, device_info, &v->entry.host, &v->entry.options, n, &u.info,
                             &v->err),
                    VFY_STRUCT_SIZE, "device_info for a host with a struct of another size"))
            return false;
        EXPECT(v, u.info.size == sizes[i], VFY_STRUCT_SIZE,
               "device_info changed the host's size from %u to %u", sizes[i], u.info.size);
        for (b = sizes[i]; b < sizeof(u); b++)
            EXPECT(v, u.bytes[b] == 0x5A, VFY_STRUCT_SIZE,
                   "device_info wrote byte %u of a struct whose size is %u", b, sizes[i]);
        EXPECT(v, !memcmp(u.info.id, full->id, sizeof(full->id)), VFY_STRUCT_SIZE,
               "device_info for a struct of size %u leaves out id", sizes[i]);
    }
    return true;
}

bool vfy_check_devices(struct vfy *v)
{
    const struct q35_plugin *api = &v->entry.api;
    struct q35_device_info infos[16] = {{0}};
    struct q35_options newer = {.size = sizeof(newer) + 32};
    uint32_t count = 777, again = 777, i, j;

    if (!vfy_load(v) ||
        !vfy_ok(v, VFY_CALL(&v->d, enumerate, &v->entry.host, &newer, &count, &v->err),
                VFY_ENUMERATE, "enumerate for a newer host"))
        return false;
    EXPECT(v, count <= 1024, VFY_ENUMERATE, "enumerate counts %u devices", count);
    EXPECT(v, count || v->err.message[0], VFY_ENUMERATE,
           "enumerate found nothing and does not say what it looked for");
    if (!count)
        return vfy_skip(v, "no device: %.300s", v->err.message);
    if (!vfy_ok(v, api->enumerate(&v->entry.host, &v->entry.options, &again, &v->err),
                VFY_ENUMERATE, "enumerate"))
        return false;
    EXPECT(v, again == count, VFY_ENUMERATE, "enumerate counts %u devices, then %u", count, again);
    for (i = 0; i < count && i < Q35_COUNT(infos); i++) {
        infos[i].size = sizeof(infos[i]);
        if (!vfy_ok(v,
                    VFY_CALL(&v->d, device_info, &v->entry.host, &v->entry.options, i, &infos[i],
                             &v->err),
                    VFY_DEVICE_INFO, "device_info") ||
            !info_is_fine(v, &infos[i], i) || !short_info(v, i, &infos[i]))
            return false;
        for (j = 0; j < i; j++)
            EXPECT(v, strcmp(infos[i].id, infos[j].id), VFY_DEVICE_INFO,
                   "devices %u and %u have the same id %s", j, i, infos[i].id);
    }
    infos[0].size = sizeof(infos[0]);
    return vfy_refused(
        v, api->device_info(&v->entry.host, &v->entry.options, count, &infos[0], &v->err), 0,
        VFY_DEVICE_INFO, "device_info of a device that does not exist");
}

bool vfy_check_open(struct vfy *v)
{
    const struct q35_plugin *api = &v->entry.api;
    struct q35_device *second = (struct q35_device *)v, *first;
    enum q35_status st;

    if (!vfy_open(v))
        return false;
    first = v->d.dev;
    VFY_CALL(&v->d, close, NULL);
    vfy_enter(&v->d, "open");
    st = api->open(&v->entry.host, &v->entry.options, 100000, &second, &v->err);
    EXPECT(v, st, VFY_OPEN, "open of device 100000 was accepted");
    EXPECT(v, !second, VFY_OPEN, "a failed open leaves *out other than NULL");
    if (!vfy_refused(v, st, 0, VFY_OPEN, "open of device 100000"))
        return false;
    /* A second handle, if the device can be opened twice. */
    st = api->open(&v->entry.host, &v->entry.options, v->device, &second, &v->err);
    if (!st) {
        EXPECT(v, second && second != first, VFY_OPEN, "two opens gave the same device");
        VFY_CALL(&v->d, close, second);
    } else if (!vfy_refused(v, st, 0, VFY_OPEN, "a second open")) {
        return false;
    }
    v->d.dev = first;
    vfy_close(v);
    vfy_enter(&v->d, "open");
    if (!vfy_ok(v, api->open(&v->entry.host, &v->entry.options, v->device, &v->d.dev, &v->err),
                VFY_OPEN, "open after close"))
        return false;
    vfy_close(v);
    return true;
}

/* ---- supports ------------------------------------------------------------------------------ */

/* A layer changed in one number must be refused, at the latest by weights_begin. */
static bool refuses(struct vfy *v, const struct q35_layer *l, size_t field, uint32_t value,
                    const char *what)
{
    struct q35_layer changed = *l;
    struct q35_weights *w = NULL;
    enum q35_status st;
    memcpy((uint8_t *)&changed + field, &value, sizeof(value));
    st = VFY_CALL(&v->d, supports, v->d.dev, &changed, &v->err);
    if (!st)
        st = VFY_CALL(&v->d, weights_begin, v->d.dev, &changed, 1, sizeof(changed), &w, &v->err);
    return vfy_refused(v, st, 0, VFY_SUPPORTS, what);
}

/* A layer that lacks one of its tensors; the small model has none that could be left out. */
static bool refuses_gaps(struct vfy *v, const struct q35_layer *l)
{
    struct q35_tensor_desc tensors[Q35_ROLE_COUNT];
    struct q35_layer changed = *l;
    uint32_t i, t;
    changed.tensors = tensors;
    changed.tensor_count = l->tensor_count - 1;
    for (i = 0; i < l->tensor_count; i++) {
        char what[64];
        for (t = 0; t < changed.tensor_count; t++)
            tensors[t] = l->tensors[t < i ? t : t + 1];
        snprintf(what, sizeof(what), "a layer of kind %u without role %u", l->kind,
                 l->tensors[i].role);
        if (!refuses(v, &changed, offsetof(struct q35_layer, kind), l->kind, what))
            return false;
    }
    return true;
}

bool vfy_check_supports(struct vfy *v)
{
    struct vfy_shape s = vfy_shape_small();
    struct {
        struct q35_layer layer;
        uint64_t later[4];
    } longer;
    struct vfy_model *m = vfy_model_create(&s, v->seed);
    struct q35_layer *l;
    uint32_t i;

    if (!m)
        return vfy_skip(v, "the kit has no memory");
    if (!vfy_open(v))
        return false;
    for (i = 0; i < m->layer_count; i++)
        if (!vfy_ok(v, VFY_CALL(&v->d, supports, v->d.dev, &m->layers[i], &v->err), VFY_SUPPORTS,
                    "supports of a layer of the smallest model"))
            return false;
    l = &m->layers[1];
    longer.layer = *l;
    memset(longer.later, 0xff, sizeof(longer.later));
    longer.layer.size = sizeof(longer);
    if (!vfy_ok(v, VFY_CALL(&v->d, supports, v->d.dev, &longer.layer, &v->err), VFY_STRUCT_SIZE,
                "supports of a layer struct that a newer host has made longer"))
        return false;
#define FIELD(name) offsetof(struct q35_layer, name)
    if (!refuses(v, l, FIELD(kind), 99, "a layer of unknown kind") ||
        !refuses(v, l, FIELD(activation), 99, "an unknown activation") ||
        !refuses(v, l, FIELD(rope_style), 99, "an unknown rope style") ||
        !refuses(v, l, FIELD(n_kv_heads), 3, "4 heads on 3 kv heads") ||
        !refuses(v, l, FIELD(d_model), 256, "tensors that do not fit d_model") ||
        !refuses(v, l, FIELD(tensor_count), 0, "a decoder without tensors"))
        return false;
#undef FIELD
    for (i = 0; i < m->layer_count; i++)
        if (!refuses_gaps(v, &m->layers[i]))
            return false;
    vfy_close(v);
    vfy_model_destroy(m);
    return true;
}
