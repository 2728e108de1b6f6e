/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Lending the software device to inheriting plugins. */

#include "soft_impl.h"

/* One inheriting plugin, found by the address of its host struct. */
struct lent {
    struct lent *next;
    const struct q35_host *host;
    struct q35_plugin own; /* the plugin's slots as it wrote them */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct lent *lents;

static struct lent *find(const struct q35_host *host)
{
    struct lent *l;
    pthread_mutex_lock(&lock);
    for (l = lents; l && l->host != host; l = l->next)
        ;
    pthread_mutex_unlock(&lock);
    return l;
}

/* What the plugin itself says of device `index`. */
static enum q35_status own_info(const struct lent *l, const struct q35_host *host,
                                const struct q35_options *options, uint32_t index,
                                struct q35_device_info *info, struct q35_error *err)
{
    enum q35_status st = l->own.device_info(host, options, index, info, err);
    if (!st && l->own.abi_minor < 1 && Q35_HAS(info, struct q35_device_info, features))
        info->features = 0; /* it knows none */
    return st;
}

static enum q35_status lent_device_info(const struct q35_host *host,
                                        const struct q35_options *options, uint32_t index,
                                        struct q35_device_info *info, struct q35_error *err)
{
    struct lent *l = find(host);
    struct q35_soft_config config = {0};
    uint32_t size = info->size;
    enum q35_status st;
    if (!l)
        return q35_soft_fail(err, Q35_E_INVALID, "device_info with a host that lends nothing");
    st = own_info(l, host, options, index, info, err);
    info->size = size;
    if (st || !Q35_HAS(info, struct q35_device_info, features))
        return st;
    config.ops = l->own.ops;
    config.features = info->features;
    info->features = q35_soft_features(&config);
    return Q35_OK;
}

static enum q35_status lent_open(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct lent *l = find(host);
    struct q35_device_info info = {.size = sizeof(info)};
    struct q35_soft_config config = {0};
    struct q35_device *own = NULL;
    enum q35_status st;

    *out = NULL;
    if (!l)
        return q35_soft_fail(err, Q35_E_INVALID, "open with a host that lends nothing");
    st = own_info(l, host, options, index, &info, err);
    if (st)
        return st;
    if (l->own.open) {
        st = l->own.open(host, options, index, &own, err);
        if (st)
            return st;
    }
    config.ops = l->own.ops;
    config.user = own;
    config.max_batch = info.max_batch;
    config.max_sequences = info.max_sequences;
    config.features = info.features;
    st = q35_soft_open(&config, out, err);
    if (st) {
        if (l->own.close && own)
            l->own.close(own);
        return st;
    }
    (*out)->own_close = l->own.open ? l->own.close : NULL;
    (*out)->own_supports = l->own.supports;
    (*out)->own_plan = l->own.plan;
    return Q35_OK;
}

/* The name of a slot that an inheriting plugin cannot provide, or NULL. */
static const char *foreign_slot(const struct q35_plugin *p)
{
#define REFUSE(slot)                                                                               \
    if (p->slot)                                                                                   \
    return #slot
    REFUSE(buffer_alloc);
    REFUSE(buffer_free);
    REFUSE(buffer_write);
    REFUSE(buffer_read);
    REFUSE(weights_begin);
    REFUSE(weights_put);
    REFUSE(weights_commit);
    REFUSE(weights_free);
    REFUSE(kv_create);
    REFUSE(kv_free);
    REFUSE(kv_truncate);
    REFUSE(kv_fork);
    REFUSE(run_layers);
    REFUSE(wait);
    REFUSE(poll);
    REFUSE(cancel);
    REFUSE(reset);
#undef REFUSE
    return NULL;
}

static void fill(struct q35_plugin *api)
{
    const struct q35_plugin slots = {Q35_SOFT_SLOTS};
    api->device_info = lent_device_info;
    api->open = lent_open;
    api->close = slots.close;
    api->supports = slots.supports;
    api->plan = slots.plan;
    api->buffer_alloc = slots.buffer_alloc;
    api->buffer_free = slots.buffer_free;
    api->buffer_write = slots.buffer_write;
    api->buffer_read = slots.buffer_read;
    api->weights_begin = slots.weights_begin;
    api->weights_put = slots.weights_put;
    api->weights_commit = slots.weights_commit;
    api->weights_free = slots.weights_free;
    api->kv_create = slots.kv_create;
    api->kv_free = slots.kv_free;
    api->kv_truncate = slots.kv_truncate;
    api->kv_fork = slots.kv_fork;
    api->run_layers = slots.run_layers;
    api->wait = slots.wait;
    api->poll = slots.poll;
    api->cancel = slots.cancel;
    api->reset = slots.reset;
}

enum q35_status q35_soft_lend(struct q35_plugin *api, const struct q35_host *host,
                              struct q35_error *err)
{
    const char *slot;
    struct lent *l;

    if (!(api->flags & Q35_PLUGIN_INHERIT))
        return Q35_OK;
    slot = foreign_slot(api);
    if (slot)
        return q35_soft_fail(err, Q35_E_PLUGIN,
                             "an inheriting plugin provides %s, which works on the host's objects",
                             slot);
    if (!api->device_info)
        return q35_soft_fail(err, Q35_E_PLUGIN, "the plugin has no device_info");
    if (find(host))
        return q35_soft_fail(err, Q35_E_INVALID, "this host lends to a plugin already");
    l = calloc(1, sizeof(*l));
    if (!l)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory to lend the software device");
    l->host = host;
    l->own = *api;
    fill(api);
    pthread_mutex_lock(&lock);
    l->next = lents;
    lents = l;
    pthread_mutex_unlock(&lock);
    return Q35_OK;
}

struct q35_device *q35_soft_own(const struct q35_plugin *api, struct q35_device *dev)
{
    return api->open == lent_open ? (struct q35_device *)dev->user : dev;
}

void q35_soft_unlend(const struct q35_host *host)
{
    struct lent **at, *l;
    pthread_mutex_lock(&lock);
    for (at = &lents; *at && (*at)->host != host; at = &(*at)->next)
        ;
    l = *at;
    if (l)
        *at = l->next;
    pthread_mutex_unlock(&lock);
    free(l);
}
