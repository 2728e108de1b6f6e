/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/metrics.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const double first_bounds[] = {0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                      1,     2.5,  5,    7.5,  10,   20,   40,  80,   160};
static const double inter_bounds[] = {0.001, 0.0025, 0.005, 0.01,  0.015, 0.02, 0.025,
                                      0.03,  0.04,   0.05,  0.075, 0.1,   0.15, 0.2,
                                      0.3,   0.5,    0.75,  1,     2.5};
static const double request_bounds[] = {0.05, 0.1, 0.25, 0.5, 0.75, 1,  1.5, 2,   2.5, 5,  10,
                                        15,   20,  30,   40,  50,   60, 120, 240, 480, 960};

static void histogram_init(struct q35_histogram *h, const double *bounds, uint32_t count)
{
    h->bounds = bounds;
    h->count = count;
}

void q35_metrics_init(struct q35_metrics *m)
{
    memset(m, 0, sizeof(*m));
    histogram_init(&m->first_token, first_bounds, Q35_COUNT(first_bounds));
    histogram_init(&m->inter_token, inter_bounds, Q35_COUNT(inter_bounds));
    histogram_init(&m->request, request_bounds, Q35_COUNT(request_bounds));
}

void q35_histogram_add(struct q35_histogram *h, uint64_t ns)
{
    double v = (double)ns * 1e-9;
    uint32_t i = 0;
    while (i < h->count && v > h->bounds[i])
        i++;
    h->buckets[i]++;
    h->sum += v;
}

static uint64_t histogram_total(const struct q35_histogram *h)
{
    uint64_t n = 0;
    uint32_t i;
    for (i = 0; i <= h->count; i++)
        n += h->buckets[i];
    return n;
}

double q35_histogram_mean(const struct q35_histogram *h, double otherwise)
{
    uint64_t n = histogram_total(h);
    return n ? h->sum / (double)n : otherwise;
}

static void head(struct q35_str *out, const char *name, const char *type, const char *help)
{
    q35_str_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void histogram_text(struct q35_str *out, const struct q35_histogram *h, const char *name,
                           const char *help)
{
    uint64_t n = 0;
    uint32_t i;
    head(out, name, "histogram", help);
    for (i = 0; i < h->count; i++) {
        n += h->buckets[i];
        q35_str_addf(out, "%s_bucket{le=\"%g\"} %llu\n", name, h->bounds[i], (unsigned long long)n);
    }
    n += h->buckets[h->count];
    q35_str_addf(out, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.9g\n%s_count %llu\n", name,
                 (unsigned long long)n, name, h->sum, name, (unsigned long long)n);
}

static void one(struct q35_str *out, const char *name, const char *type, const char *help,
                uint64_t v)
{
    head(out, name, type, help);
    q35_str_addf(out, "%s %llu\n", name, (unsigned long long)v);
}

/* A label's value: backslash, quote and line feed escaped. */
static void label(struct q35_str *out, const char *text)
{
    for (; *text; text++)
        if (*text == '\\' || *text == '"')
            q35_str_addf(out, "\\%c", *text);
        else if (*text == '\n')
            q35_str_addz(out, "\\n");
        else
            q35_str_add(out, text, 1);
}

static void counters_text(const struct q35_metrics *m, struct q35_str *out)
{
    static const char *const outcomes[] = {"stop", "length", "cancelled", "error"};
    static const char *const reasons[] = {"queue_full", "connections", "memory", "unauthorized",
                                          "tls"};
    const uint64_t rejected[] = {m->rejected_queue, m->rejected_connections, m->rejected_memory,
                                 m->rejected_auth, m->rejected_tls};
    size_t i;
    head(out, "q35_choices_total", "counter", "Generations ended, by how.");
    for (i = 0; i < Q35_DONE_N; i++)
        q35_str_addf(out, "q35_choices_total{finish=\"%s\"} %llu\n", outcomes[i],
                     (unsigned long long)m->outcomes[i]);
    head(out, "q35_rejected_total", "counter", "Requests and connections turned away, by reason.");
    for (i = 0; i < Q35_COUNT(reasons); i++)
        q35_str_addf(out, "q35_rejected_total{reason=\"%s\"} %llu\n", reasons[i],
                     (unsigned long long)rejected[i]);
    head(out, "q35_http_responses_total", "counter", "Answers by HTTP status.");
    for (i = 0; i < Q35_COUNT(m->http_codes); i++)
        if (m->http_codes[i])
            q35_str_addf(out, "q35_http_responses_total{code=\"%zu\"} %llu\n", i,
                         (unsigned long long)m->http_codes[i]);
    one(out, "q35_prompt_tokens_total", "counter", "Prompt tokens of accepted requests.",
        m->prompt_tokens);
    one(out, "q35_prompt_tokens_cached_total", "counter",
        "Prompt tokens whose KV was found in the prefix cache.", m->cached_tokens);
    one(out, "q35_output_tokens_total", "counter", "Tokens generated.", m->output_tokens);
    one(out, "q35_stalled_readers_total", "counter", "Connections dropped for not reading.",
        m->stalled);
    one(out, "q35_connections_total", "counter", "Connections accepted.", m->connections_total);
}

static void device_labels(struct q35_str *out, const char *name, uint32_t i,
                          const struct q35_device_entry *d)
{
    q35_str_addf(out, "%s{device=\"%u\",backend=\"", name, i);
    label(out, d->plugin && d->plugin->config ? d->plugin->config->name : "");
    q35_str_addz(out, "\",name=\"");
    label(out, d->info.name);
    q35_str_addz(out, "\"} ");
}

static uint32_t device_layers(const struct q35_plan *plan, uint32_t device, uint64_t *bytes)
{
    uint32_t i, layers = 0;
    *bytes = 0;
    for (i = 0; plan && i < plan->stage_count; i++)
        if (plan->stages[i].device == device) {
            const struct q35_plan_result *need = &plan->stages[i].need;
            layers += plan->stages[i].count;
            *bytes += need->weight_bytes + need->host_bytes + need->kv_bytes + need->scratch_bytes;
        }
    return layers;
}

static void devices_text(const struct q35_metrics_view *v, struct q35_str *out)
{
    static const struct {
        const char *name, *help;
    } gauges[] = {
        {"q35_device_memory_bytes", "Memory of the device; 0: unknown."},
        {"q35_device_planned_bytes", "Weights, KV and scratch that the plan puts on the device."},
        {"q35_device_layers", "Layers of the model on the device, embedding and head included."},
    };
    uint32_t g, i;
    for (g = 0; g < Q35_COUNT(gauges); g++) {
        head(out, gauges[g].name, "gauge", gauges[g].help);
        for (i = 0; i < v->registry->device_count; i++) {
            const struct q35_device_entry *d = &v->registry->devices[i];
            uint64_t bytes;
            uint64_t layers = device_layers(v->plan, i, &bytes);
            device_labels(out, gauges[g].name, i, d);
            q35_str_addf(out, "%llu\n",
                         (unsigned long long)(g == 0   ? d->info.memory_total
                                              : g == 1 ? bytes
                                                       : layers));
        }
    }
}

static void engine_text(const struct q35_engine_stats *s, struct q35_str *out)
{
    one(out, "q35_requests_running", "gauge", "Generations that hold a sequence.", s->running);
    one(out, "q35_requests_waiting", "gauge", "Generations that wait for one.", s->waiting);
    one(out, "q35_kv_tokens_used", "gauge", "KV cache in use, in tokens.", s->kv_used);
    one(out, "q35_kv_tokens_capacity", "gauge", "KV cache there is, in tokens.", s->kv_total);
    one(out, "q35_engine_device_tokens_total", "counter",
        "Tokens chosen greedily by the device, without logits coming back.", s->device_tokens);
    one(out, "q35_engine_drafted_tokens_total", "counter", "Tokens guessed ahead.",
        s->drafted_tokens);
    one(out, "q35_engine_accepted_tokens_total", "counter", "Of these: came true.",
        s->accepted_tokens);
    one(out, "q35_engine_rejected_total", "counter", "Generations the engine's queue refused.",
        s->rejected);
    one(out, "q35_engine_failed_total", "counter", "Generations that failed.", s->failed);
    one(out, "q35_engine_cancelled_total", "counter", "Generations cancelled.", s->cancelled);
    one(out, "q35_engine_completed_total", "counter", "Generations completed.", s->completed);
}

/* The names that Prometheus' own client libraries give these. */
static void process_text(struct q35_str *out)
{
    unsigned long long pages = 0, resident = 0;
    struct rusage u = {0};
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %llu", &pages, &resident) == 2)
        one(out, "process_resident_memory_bytes", "gauge", "Memory of this process, resident.",
            resident * (unsigned long long)sysconf(_SC_PAGESIZE));
    if (f)
        fclose(f);
    getrusage(RUSAGE_SELF, &u);
    head(out, "process_cpu_seconds_total", "counter", "CPU time of this process.");
    q35_str_addf(out, "process_cpu_seconds_total %.3f\n",
                 (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                     (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6);
}

void q35_metrics_text(const struct q35_metrics *m, const struct q35_metrics_view *v,
                      struct q35_str *out)
{
    one(out, "q35_ready", "gauge", "1 if requests can be served.", v->ready);
    one(out, "q35_draining", "gauge", "1 while shutting down.", v->draining);
    one(out, "q35_connections", "gauge", "Open connections.", v->connections);
    one(out, "q35_requests", "gauge", "API requests in progress.", v->requests);
    head(out, "q35_model_info", "gauge", "The model served.");
    q35_str_addz(out, "q35_model_info{model=\"");
    label(out, v->model);
    q35_str_addz(out, "\"} 1\n");
    if (v->stats)
        engine_text(v->stats, out);
    histogram_text(out, &m->first_token, "q35_time_to_first_token_seconds",
                   "From the whole request read to its first token.");
    histogram_text(out, &m->inter_token, "q35_inter_token_seconds",
                   "Between two tokens of one generation.");
    histogram_text(out, &m->request, "q35_request_seconds",
                   "From the whole request read to its last token.");
    counters_text(m, out);
    one(out, "process_start_time_seconds", "gauge", "When this process began, since 1970.",
        v->started);
    process_text(out);
    if (v->registry)
        devices_text(v, out);
}
