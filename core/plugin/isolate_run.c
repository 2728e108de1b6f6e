/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/plugin/isolate_session.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_SLICE_NS 1000000000u

/* ---- running ------------------------------------------------------------------------------ */

static uint64_t align64(uint64_t n)
{
    return (n + 63) / 64 * 64;
}

/* Where the parts of a submit lie in its slot. */
struct layout {
    uint64_t tokens, in, out, total;
};

static struct layout lay_out(const struct q35_run *run)
{
    struct layout l;
    l.tokens = sizeof(struct iso_run);
    l.in = align64(l.tokens + (uint64_t)run->n_tokens * sizeof(struct q35_token));
    l.out = align64(l.in + (run->in.host ? run->in.bytes : 0));
    l.total = l.out + (run->out.host ? run->out.bytes : 0);
    return l;
}

static struct iso_span pack_span(const struct q35_span *span, uint64_t offset)
{
    struct iso_span out = {0, offset, span->bytes};
    if (!span->host) {
        out.buffer = live_id(object_of(span->buffer));
        out.offset = span->offset;
        out.bytes = out.buffer ? span->bytes : 0;
    }
    return out;
}

static void pack_run(struct iso_session *s, const struct q35_run *run, struct layout l,
                     uint64_t slot)
{
    struct iso_run packed = {
        .first = run->first,
        .count = run->count,
        .n_tokens = run->n_tokens,
        .flags = run->flags,
        .weights = live_id(object_of(run->weights)),
        .kv = live_id(object_of(run->kv)),
        .signal = run->signal,
        .in = pack_span(&run->in, slot + l.in),
        .out = pack_span(&run->out, slot + l.out),
    };
    memcpy(s->arena + slot, &packed, sizeof(packed));
    for (uint32_t i = 0; i < run->n_tokens; i++)
        memcpy(s->arena + slot + l.tokens + i * sizeof(struct q35_token),
               (const char *)run->tokens + (size_t)i * run->token_stride, sizeof(struct q35_token));
    if (run->in.host)
        memcpy(s->arena + slot + l.in, run->in.host, (size_t)run->in.bytes);
}

enum q35_status iso_proxy_run_layers(struct q35_device *dev, const struct q35_run *run,
                                     struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_pending *p = calloc(1, sizeof(*p)), **at;
    struct iso_request request = {.call = ISO_RUN_LAYERS};
    struct iso_reply reply;
    struct layout l = lay_out(run);
    enum q35_status st = p ? iso_take(s, l.total, &request.offset, err)
                           : q35_fail(err, Q35_E_NOMEM, "no memory for a submit");
    if (st != Q35_OK) {
        free(p);
        return st;
    }
    pack_run(s, run, l, request.offset);
    request.bytes = l.total;
    *p = (struct iso_pending){.signal = run->signal,
                              .since_ns = q35_now_ns(),
                              .out = run->out.host,
                              .out_offset = request.offset + l.out,
                              .out_bytes = run->out.host ? run->out.bytes : 0,
                              .slot = request.offset};
    st = iso_call(s, &request, &reply, -1, err);
    if (st != Q35_OK) { /* this submit never completes */
        iso_give(s, request.offset);
        free(p);
        return st;
    }
    pthread_mutex_lock(&s->mutex);
    for (at = &s->pending; *at; at = &(*at)->next)
        ;
    *at = p;
    if (reply.n)
        s->done[run->signal % ISO_DONE] =
            (struct iso_done){run->signal, (enum q35_status)reply.x, reply.err};
    pthread_mutex_unlock(&s->mutex);
    if (reply.n)
        iso_complete(s, run->signal);
    return Q35_OK;
}

/* True if the submit is known to have ended, and how. */
static bool known(struct iso_session *s, uint64_t value, enum q35_status *st, struct q35_error *err)
{
    const struct iso_done *d = &s->done[value % ISO_DONE];
    bool found;
    pthread_mutex_lock(&s->mutex);
    found = !s->lost && d->signal == value && value;
    if (found) {
        *st = d->status;
        if (*st != Q35_OK)
            *err = d->err;
    }
    pthread_mutex_unlock(&s->mutex);
    return found;
}

enum q35_status iso_proxy_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                               struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    uint64_t begin = q35_now_ns();
    enum q35_status st;
    if (known(s, value, &st, err))
        return st;
    for (;;) {
        uint64_t spent = q35_now_ns() - begin;
        uint64_t left = spent < timeout_ns ? timeout_ns - spent : 0;
        struct iso_request request = {.call = ISO_WAIT, .x = value};
        request.y = left < WAIT_SLICE_NS ? left : WAIT_SLICE_NS;
        st = iso_simple_call(s, &request, err);
        if (st != Q35_E_TIMEOUT) {
            if (st != Q35_E_NOT_FOUND && st != Q35_E_DEVICE_LOST)
                iso_complete(s, value);
            return st;
        }
        if (iso_oldest_ns(s, value) > s->plugin->hang_ns)
            return iso_lose(s, err, "the worker process of %s hangs: a submit took %llu s",
                            s->plugin->entry->config->name,
                            (unsigned long long)(s->plugin->hang_ns / 1000000000u));
        if (left <= WAIT_SLICE_NS)
            return st;
    }
}

enum q35_status iso_proxy_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err)
{
    struct iso_session *s = session_of(dev);
    struct iso_request request = {.call = ISO_POLL};
    struct iso_reply reply;
    enum q35_status st = iso_call(s, &request, &reply, -1, err);
    if (st != Q35_OK)
        return st;
    iso_complete(s, reply.x);
    *value = reply.x;
    return Q35_OK;
}

enum q35_status iso_proxy_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err)
{
    struct iso_request request = {.call = ISO_CANCEL, .x = value};
    return iso_simple_call(session_of(dev), &request, err);
}
