/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/load.h"

#include <stdlib.h>
#include <string.h>

#include "backends/reference/soft.h"
#include "core/config/ini.h"

#define MAX_DEVICES 1024
#define MAX_OPTIONS 256

/* A descriptor must reach past device_info to be of any use. */
#define MIN_SIZE (offsetof(struct q35_plugin, device_info) + sizeof(void *))

void q35_clean_text(char *out, size_t room, const char *text)
{
    size_t n = 0, end = text ? strnlen(text, room - 1) : 0;
    while (n < end) {
        const unsigned char *at = (const unsigned char *)text + n;
        size_t len = q35_utf8_length(at, end - n);
        if (len == 0 || *at < 0x20 || *at == 0x7f) {
            out[n++] = '?';
            continue;
        }
        memmove(out + n, at, len);
        n += len;
    }
    out[n] = '\0';
}

static void host_log(void *ctx, uint32_t level, const char *message)
{
    const struct q35_plugin_entry *p = ctx;
    char text[600];
    q35_clean_text(text, sizeof(text), message);
    q35_log(level > Q35_LOG_DEBUG ? Q35_LOG_DEBUG : (int)level, "[%s] %s",
            p->config     ? p->config->name
            : p->api.name ? p->api.name
                          : "plugin",
            text);
}

static bool name_ok(const char *s)
{
    size_t n = s ? strnlen(s, 32) : 0;
    return n > 0 && n < 32 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* The host's own copy: what the plugin filled, zero beyond. Reads d only inside its size. */
static enum q35_status copy_descriptor(struct q35_plugin *api, const struct q35_plugin *d,
                                       struct q35_error *err)
{
    size_t n = d->size;
    memset(api, 0, sizeof(*api));
    if (n < 8 || (n >= 8 && d->abi_major != Q35_ABI_MAJOR))
        return q35_fail(err, Q35_E_VERSION, "its ABI is %u.x, this host's is %u.%u",
                        n < 8 ? 0 : d->abi_major, Q35_ABI_MAJOR, Q35_ABI_MINOR);
    if (n < MIN_SIZE)
        return q35_fail(err, Q35_E_PLUGIN, "its descriptor has %zu bytes, at least %zu are needed",
                        n, MIN_SIZE);
    n = n < sizeof(*api) ? n : sizeof(*api);
    memcpy(api, d, n & ~(size_t)7); /* a pointer that is cut in two is not there */
    api->size = (uint32_t)sizeof(*api);
    return Q35_OK;
}

static enum q35_status check_fields(const struct q35_plugin *api, struct q35_error *err)
{
    char shown[40];
    if (!name_ok(api->name)) {
        q35_clean_text(shown, sizeof(shown), api->name);
        return q35_fail(err, Q35_E_PLUGIN,
                        "its name '%s' is not made of 1 to 31 of the characters a-z, 0-9 and _",
                        shown);
    }
    if (api->option_count > MAX_OPTIONS || (api->option_count && !api->options) ||
        (api->option_count &&
         api->option_stride < offsetof(struct q35_option_spec, fallback) + sizeof(char *)))
        return q35_fail(err, Q35_E_PLUGIN, "its table of %u options is malformed",
                        api->option_count);
    if (!api->enumerate || !api->device_info)
        return q35_fail(err, Q35_E_PLUGIN, "it has no %s",
                        api->enumerate ? "device_info" : "enumerate");
    return Q35_OK;
}

enum q35_status q35_plugin_adopt(struct q35_plugin_entry *p, q35_plugin_query_fn query,
                                 struct q35_error *err)
{
    const struct q35_plugin *d = query(Q35_ABI_MAJOR, Q35_ABI_MINOR);
    enum q35_status st;
    if (!d)
        return q35_fail(err, Q35_E_VERSION, "it does not serve ABI %u.%u", Q35_ABI_MAJOR,
                        Q35_ABI_MINOR);
    st = copy_descriptor(&p->api, d, err);
    if (st == Q35_OK)
        st = check_fields(&p->api, err);
    if (st != Q35_OK)
        return st;
    if (p->api.abi_minor > Q35_ABI_MINOR)
        p->api.abi_minor = Q35_ABI_MINOR;
    p->host.size = (uint32_t)sizeof(p->host);
    p->host.abi_major = Q35_ABI_MAJOR;
    p->host.abi_minor = p->api.abi_minor;
    p->host.ctx = p;
    p->host.log = host_log;
    p->host.reference_ops = &q35_reference_ops;
    st = q35_soft_lend(&p->api, &p->host, err);
    if (st != Q35_OK)
        return st;
    p->missing = q35_stubs_missing(&p->api);
    q35_stubs_fill(&p->api);
    p->api.version = p->api.version ? p->api.version : "";
    p->api.description = p->api.description ? p->api.description : "";
    p->api.licence = p->api.licence ? p->api.licence : "";
    return Q35_OK;
}

static enum q35_status check_info(const struct q35_plugin_entry *p, struct q35_device_info *info,
                                  uint32_t index, struct q35_error *err)
{
    char clean[64];
    if (p->api.abi_minor < 1 && !(p->api.flags & Q35_PLUGIN_INHERIT)) /* it knows none */
        info->features = 0;
    info->name[63] = info->id[63] = '\0';
    q35_clean_text(clean, sizeof(clean), info->name);
    memcpy(info->name, clean, sizeof(clean));
    q35_clean_text(clean, sizeof(clean), info->id);
    memcpy(info->id, clean, sizeof(clean));
    info->size = (uint32_t)sizeof(*info);
    if (info->determinism != Q35_CLASS_EXACT && info->determinism != Q35_CLASS_CLOSE)
        return q35_fail(err, Q35_E_PLUGIN, "device %u: determinism class %u does not exist", index,
                        info->determinism);
    if (info->max_batch == 0 || info->max_sequences == 0)
        return q35_fail(err, Q35_E_PLUGIN, "device %u: max_batch %u, max_sequences %u", index,
                        info->max_batch, info->max_sequences);
    if (info->buffer_alignment & (info->buffer_alignment - 1))
        return q35_fail(err, Q35_E_PLUGIN, "device %u: buffer_alignment %u is no power of two",
                        index, info->buffer_alignment);
    return Q35_OK;
}

enum q35_status q35_plugin_devices(struct q35_plugin_entry *p, struct q35_device_info **infos,
                                   uint32_t *count, char note[488], struct q35_error *err)
{
    struct q35_device_info *list;
    enum q35_status st;
    uint32_t n = 0;
    *infos = NULL;
    *count = 0;
    note[0] = err->message[0] = '\0';
    st = p->api.enumerate(&p->host, &p->options, &n, err);
    if (st != Q35_OK)
        return st;
    if (n > MAX_DEVICES)
        return q35_fail(err, Q35_E_PLUGIN, "it claims %u devices", n);
    if (n == 0) {
        q35_clean_text(note, 488, err->message);
        return Q35_OK;
    }
    list = calloc(n, sizeof(*list));
    if (!list)
        return q35_fail(err, Q35_E_NOMEM, "no memory for %u devices", n);
    for (uint32_t i = 0; i < n && st == Q35_OK; i++) {
        list[i].size = (uint32_t)sizeof(*list);
        st = p->api.device_info(&p->host, &p->options, i, &list[i], err);
        if (st == Q35_OK)
            st = check_info(p, &list[i], i, err);
    }
    if (st != Q35_OK) {
        free(list);
        return st;
    }
    *infos = list;
    *count = n;
    return Q35_OK;
}
