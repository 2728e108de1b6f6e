/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "backends/reference/soft.h"
#include "core/plugin/isolate_session.h"

#include <stdlib.h>
#include <string.h>

#include "q35/measure.h"

/* Both ends of the extension "q35.measure". A request's bytes are x bytes of layers, then the room
 * for a report's text. */

/* ---- the host's --------------------------------------------------------------------------- */

static enum q35_status proxy_seconds(struct q35_device *dev, const struct q35_layer *layers,
                                     uint32_t count, uint32_t stride, uint32_t n_tokens,
                                     uint32_t context, double *out, struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_request request = {.call = ISO_MEASURE, .b = n_tokens, .c = context};
    struct iso_reply reply;
    enum q35_status st = iso_send_layers(s, layers, count, stride, 0, &request, err);
    if (st != Q35_OK)
        return st;
    request.x = request.bytes;
    st = iso_call(s, &request, &reply, -1, err);
    iso_give(s, request.offset);
    if (st == Q35_OK)
        *out = reply.seconds;
    return st;
}

static enum q35_status proxy_report(struct q35_device *dev, const struct q35_layer *layers,
                                    uint32_t count, uint32_t stride, uint32_t n_tokens,
                                    uint32_t context, uint32_t json, char *text, uint64_t size,
                                    struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_request request = {.call = ISO_REPORT, .b = n_tokens, .c = context, .y = json};
    struct iso_reply reply;
    const char *end, *sent;
    enum q35_status st = iso_send_layers(s, layers, count, stride, size, &request, err);
    if (st != Q35_OK)
        return st;
    request.x = request.bytes - size;
    sent = (const char *)s->arena + request.offset + request.x;
    st = iso_call(s, &request, &reply, -1, err);
    end = st == Q35_OK ? memchr(sent, '\0', (size_t)size) : NULL;
    if (end) {
        memcpy(text, sent, (size_t)(end - sent));
        text[end - sent] = '\0';
    } else if (st == Q35_OK) {
        st = q35_fail(err, Q35_E_PLUGIN, "the worker process sent a report without an end");
    }
    iso_give(s, request.offset);
    return st;
}

static const void *none(const char *id, uint32_t version)
{
    (void)id;
    (void)version;
    return NULL;
}

static const void *with_seconds(const char *id, uint32_t version)
{
    static const struct q35_measure measure = {(uint32_t)sizeof(measure), 0, proxy_seconds, NULL};
    return version == 1 && strcmp(id, Q35_EXT_MEASURE) == 0 ? &measure : NULL;
}

/* Without seconds the worker answers UNSUPPORTED when asked for them. */
static const void *with_report(const char *id, uint32_t version)
{
    static const struct q35_measure measure = {(uint32_t)sizeof(measure), 0, proxy_seconds,
                                               proxy_report};
    return version == 1 && strcmp(id, Q35_EXT_MEASURE) == 0 ? &measure : NULL;
}

const void *(*iso_proxy_extension(uint32_t has))(const char *id, uint32_t version)
{
    return has & ISO_HAS_REPORT ? with_report : has & ISO_HAS_SECONDS ? with_seconds : none;
}

/* ---- the worker's ------------------------------------------------------------------------- */

static const struct q35_measure *measure_of(const struct q35_plugin *api)
{
    return api->get_extension(Q35_EXT_MEASURE, 1);
}

uint32_t iso_measure_has(const struct q35_plugin *api)
{
    const struct q35_measure *m = measure_of(api);
    uint32_t has = 0;
    if (m && Q35_HAS(m, struct q35_measure, seconds) && m->seconds)
        has |= ISO_HAS_SECONDS;
    if (m && Q35_HAS(m, struct q35_measure, report) && m->report)
        has |= ISO_HAS_REPORT;
    return has;
}

enum q35_status iso_measure_serve(const struct q35_plugin *api, struct q35_device *device,
                                  const struct iso_request *q, uint8_t *data, struct iso_reply *r)
{
    uint32_t need = q->call == ISO_REPORT ? ISO_HAS_REPORT : ISO_HAS_SECONDS;
    const struct q35_measure *m = measure_of(api);
    struct q35_device *own = q35_soft_own(api, device);
    struct q35_layer *layers;
    enum q35_status st;
    if (!(iso_measure_has(api) & need))
        return q35_fail(&r->err, Q35_E_UNSUPPORTED, "the plugin has no such " Q35_EXT_MEASURE);
    layers = q->x <= q->bytes ? iso_layers_unpack(data, q->x, q->a) : NULL;
    if (!layers)
        st = q35_fail(&r->err, Q35_E_INTERNAL, "the host sent a malformed request");
    else if (q->call == ISO_REPORT)
        st = m->report(own, layers, q->a, (uint32_t)sizeof(*layers), q->b, q->c, (uint32_t)q->y,
                       (char *)data + q->x, q->bytes - q->x, &r->err);
    else
        st = m->seconds(own, layers, q->a, (uint32_t)sizeof(*layers), q->b, q->c, &r->seconds,
                        &r->err);
    free(layers);
    return st;
}
