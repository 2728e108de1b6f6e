/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_METRICS_H
#define Q35_SERVE_METRICS_H

/* Counters and histograms, and their text in the Prometheus exposition format 0.0.4. Only the
 * loop's thread touches them. */

#include "core/engine/engine.h"

#define Q35_HISTOGRAM_MAX 24

struct q35_histogram {
    const double *bounds; /* ascending, seconds */
    uint32_t count;
    uint64_t buckets[Q35_HISTOGRAM_MAX + 1]; /* the last: above all bounds */
    double sum;
};

enum q35_outcome { Q35_DONE_STOP, Q35_DONE_LENGTH, Q35_DONE_CANCELLED, Q35_DONE_ERROR, Q35_DONE_N };

struct q35_metrics {
    struct q35_histogram first_token, inter_token, request;
    uint64_t outcomes[Q35_DONE_N];
    uint64_t rejected_queue, rejected_connections, rejected_memory, rejected_auth, rejected_tls;
    uint64_t stalled;         /* readers dropped */
    uint64_t http_codes[600]; /* answers by status */
    uint64_t prompt_tokens, output_tokens, cached_tokens;
    uint64_t connections_total;
};

void q35_metrics_init(struct q35_metrics *m);
void q35_histogram_add(struct q35_histogram *h, uint64_t ns);
double q35_histogram_mean(const struct q35_histogram *h, double otherwise);

/* What the text is made from, besides the metrics themselves. */
struct q35_metrics_view {
    const char *model;
    uint32_t connections, requests;
    bool ready, draining;
    uint64_t started;                     /* seconds since 1970 */
    const struct q35_engine_stats *stats; /* NULL while loading */
    const struct q35_plan *plan;          /* NULL: no device figures */
    const struct q35_registry *registry;
};
void q35_metrics_text(const struct q35_metrics *m, const struct q35_metrics_view *v,
                      struct q35_str *out);

#endif
