/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "backends/reference/soft.h"
#include "core/plan/internal.h"

#include <stdlib.h>
#include <string.h>

#include "q35/measure.h"

/* Assumed where a device neither runs nor tells: a slow desktop's memory. */
#define ASSUMED_BANDWIDTH 10e9
#define TRANSFER_SECONDS 20e-6
#define TRANSFER_BANDWIDTH 8e9
#define MEASURE_NS 60000000u
#define MEASURE_RUNS 5
#define MEASURE_TIMEOUT_NS 30000000000u

double plan_transfer_seconds(const struct q35_layer *layer)
{
    return TRANSFER_SECONDS + 4.0 * layer->d_model / TRANSFER_BANDWIDTH;
}

/* Bytes that one token reads. Of an embedding it reads one row. */
static double bytes_read(const struct q35_layer *layer)
{
    double bytes = 0;
    for (uint32_t t = 0; t < layer->tensor_count; t++) {
        const struct q35_tensor_desc *d = &layer->tensors[t];
        bytes += layer->kind == Q35_LAYER_EMBED && d->rows ? (double)d->bytes / d->rows
                                                           : (double)d->bytes;
    }
    return bytes;
}

/* Everything a timed run needs, so that one place frees it. */
struct trial {
    const struct q35_device_entry *d;
    struct q35_weights *w;
    struct q35_kv *kv;
    float *in, *out; /* [d_model] */
};

static void trial_fini(struct trial *t)
{
    if (t->kv)
        t->d->plugin->api.kv_free(t->kv);
    if (t->w)
        t->d->plugin->api.weights_free(t->w);
    free(t->in);
    free(t->out);
}

static enum q35_status trial_init(struct trial *t, const struct plan_input *in, uint32_t l,
                                  struct q35_error *err)
{
    const struct q35_layer *layer = &in->layers[l];
    const struct q35_kv_spec spec = {(uint32_t)sizeof(spec), 1, 64, q35_config_kv_type(in->config)};
    size_t bytes = ((size_t)layer->d_model * 4 + 63) / 64 * 64;
    enum q35_status st;
    t->in = aligned_alloc(64, bytes);
    t->out = aligned_alloc(64, bytes);
    if (!t->in || !t->out)
        return q35_fail(err, Q35_E_NOMEM, "no memory to measure");
    for (uint32_t i = 0; i < layer->d_model; i++)
        t->in[i] = (float)(i % 17) - 8.0f;
    st = q35_call(t->d, weights_begin, layer, 1, (uint32_t)sizeof(*layer), &t->w, err);
    for (uint32_t i = 0; i < layer->tensor_count && st == Q35_OK; i++) {
        const uint8_t *data = in->data(in->model, l, i);
        if (!data)
            return q35_fail(err, Q35_E_NOT_FOUND, "the model has no data");
        st = t->d->plugin->api.weights_put(t->w, 0, layer->tensors[i].role, 0, data,
                                           layer->tensors[i].bytes, Q35_UNTIL_FREE, err);
    }
    if (st == Q35_OK)
        st = t->d->plugin->api.weights_commit(t->w, err);
    if (st == Q35_OK)
        st = q35_call(t->d, kv_create, t->w, &spec, &t->kv, err);
    return st;
}

static enum q35_status trial_run(struct trial *t, uint32_t d_model, uint64_t signal,
                                 double *seconds, struct q35_error *err)
{
    const struct q35_token token = {0, 0, 0, 0};
    const uint64_t bytes = (uint64_t)d_model * 4;
    struct q35_run run = {.size = (uint32_t)sizeof(run),
                          .count = 1,
                          .n_tokens = 1,
                          .token_stride = (uint32_t)sizeof(token),
                          .weights = t->w,
                          .kv = t->kv,
                          .tokens = &token,
                          .in = {t->in, NULL, 0, bytes},
                          .out = {t->out, NULL, 0, bytes},
                          .signal = signal};
    uint64_t begin = q35_now_ns();
    enum q35_status st = q35_call(t->d, run_layers, &run, err);
    if (st == Q35_OK)
        st = q35_call(t->d, wait, signal, MEASURE_TIMEOUT_NS, err);
    *seconds = (double)(q35_now_ns() - begin) * 1e-9;
    return st;
}

/* Seconds of one decoder layer for one token: the best of a few runs at position 0. */
static enum q35_status measure(const struct plan_input *in, const struct q35_device_entry *d,
                               uint32_t l, double *best, struct q35_error *err)
{
    struct trial t = {.d = d};
    uint64_t signal = 0, begin;
    enum q35_status st = trial_init(&t, in, l, err);
    if (st == Q35_OK)
        st = q35_call(d, poll, &signal, err);
    begin = q35_now_ns();
    for (int i = 0; i < MEASURE_RUNS && st == Q35_OK; i++) {
        double seconds;
        st = trial_run(&t, in->layers[l].d_model, ++signal, &seconds, err);
        *best = i == 0 || seconds < *best ? seconds : *best;
        if (i > 0 && q35_now_ns() - begin > MEASURE_NS)
            break;
    }
    trial_fini(&t);
    return st;
}

/* The first decoder layer that the device takes; n if there is none. */
static uint32_t sample_layer(const struct planner *p, const struct candidate *c)
{
    for (uint32_t l = 0; l < p->in.n; l++)
        if (p->in.layers[l].kind == Q35_LAYER_DECODER && c->supported[l])
            return l;
    return p->in.n;
}

static bool told(const struct planner *p, struct candidate *c, const struct q35_device_entry *d)
{
    const struct q35_measure *m = d->plugin->api.get_extension(Q35_EXT_MEASURE, 1);
    if (!m || !Q35_HAS(m, struct q35_measure, seconds) || !m->seconds)
        return false;
    for (uint32_t l = 0; l < p->in.n; l++) {
        struct q35_error err = Q35_ERROR_INIT;
        double s = 0;
        if (c->supported[l] &&
            m->seconds(q35_soft_own(&d->plugin->api, d->dev), &p->in.layers[l], 1,
                       (uint32_t)sizeof(*p->in.layers), 1, 1, &s, &err) != Q35_OK)
            return false;
        c->seconds[l + 1] = c->seconds[l] + (s > 0 && s < 1e9 ? s : 0);
    }
    c->source = "told by the plugin";
    return true;
}

static void by_bandwidth(const struct planner *p, struct candidate *c, double bandwidth)
{
    for (uint32_t l = 0; l < p->in.n; l++)
        c->seconds[l + 1] = c->seconds[l] + bytes_read(&p->in.layers[l]) / bandwidth;
}

static void candidate_cost(struct planner *p, struct candidate *c)
{
    struct q35_device_entry *d = &p->in.registry->devices[c->device];
    struct q35_error err = Q35_ERROR_INIT;
    uint32_t l = sample_layer(p, c);
    double seconds = 0, bytes = l < p->in.n ? bytes_read(&p->in.layers[l]) : 0;
    if (told(p, c, d))
        return;
    if (d->speed_layer_bytes == bytes && bytes > 0) { /* measured before, with such a layer */
        c->source = "measured";
    } else if (p->in.data && bytes > 0 && !d->info.simulated &&
               measure(&p->in, d, l, &seconds, &err) == Q35_OK && seconds > 0) {
        d->speed = bytes / seconds;
        d->speed_layer_bytes = bytes;
        c->source = "measured";
    } else {
        if (err.message[0])
            q35_str_addf(&p->log, "%s:%u cannot be measured: %s\n", d->plugin->config->name,
                         d->index, err.message);
        c->source = d->info.memory_bandwidth ? "from its memory bandwidth" : "assumed";
        by_bandwidth(
            p, c, d->info.memory_bandwidth ? (double)d->info.memory_bandwidth : ASSUMED_BANDWIDTH);
        return;
    }
    by_bandwidth(p, c, d->speed);
}

enum q35_status plan_costs(struct planner *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        struct candidate *c = &p->c[i], *head = &p->c[c->group];
        if (head == c) {
            candidate_cost(p, c);
        } else { /* one of its kind has been measured */
            memcpy(c->seconds, head->seconds, (p->in.n + 1) * sizeof(*c->seconds));
            c->source = head->source;
        }
    }
    return Q35_OK;
}
