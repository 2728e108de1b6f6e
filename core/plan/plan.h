/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_PLAN_H
#define Q35_CORE_PLAN_H

/* Which layers run on which device: contiguous ranges of the graph (layer 0 is EMBED, the last is
 * HEAD), each on one device, within the memory the devices' own plan() figures claim.
 *
 * A device runs at most one range of decoder layers; EMBED and HEAD may be apart from it, anywhere.
 * Among all such plans the one with the least cost is found exactly, by dynamic programming over
 * positions in the graph and sets of devices, for
 *   latency     the sum of all stages' times and of the transfers between them
 *   throughput  the largest time of one device; among equals, the least latency
 * Times are those of one token: measured by running one decoder layer on the device, scaled by
 * bytes; or told by the plugin's measure extension; or bytes over the device's bandwidth. They are
 * needed, and found, only when there is a choice. Ranges of [schedule] are taken as they are as
 * long as none of their devices is lost. */

#include "core/base/base.h"
#include "core/config/config.h"
#include "core/model/model.h"
#include "core/plugin/registry.h"

struct q35_stage {
    uint32_t device;       /* index into the registry's devices */
    uint32_t first, count; /* graph layers */
    struct q35_plan_result need;
    double seconds; /* expected for one token; 0 in a plan without choice */
};

struct q35_plan {
    struct q35_stage *stages;
    uint32_t stage_count;
    double seconds;    /* expected for one token, all stages and transfers; 0: not known */
    double bottleneck; /* the busiest device's part of it */
    bool throughput;   /* the objective */
    bool given;        /* ranges come from [schedule] */
    uint32_t kv_tokens, max_sequences, max_batch; /* what the figures are for */
    uint32_t kv_type;                             /* enum q35_kv_type */
    char *explanation; /* lines of text: what was considered and why this was chosen */
};

/* Opens the devices of the plan. lost: devices (registry indices) to leave out, may be NULL.
 * CAPACITY if the model does not fit: the message says by how much and where. UNSUPPORTED if no
 * device takes some layer. CONFIG, with file and line, if ranges of [schedule] do not cover the
 * decoder layers or name a device that is not there. *out: free with q35_plan_destroy. */
enum q35_status q35_plan_create(struct q35_plan **out, const struct q35_config *config,
                                const struct q35_model *model, struct q35_registry *registry,
                                const bool *lost, struct q35_error *err);
void q35_plan_destroy(struct q35_plan *p);
/* Text for people / a JSON document; malloc'd. */
char *q35_plan_text(const struct q35_plan *p, const struct q35_registry *r, bool explain);
char *q35_plan_json(const struct q35_plan *p, const struct q35_registry *r);

#endif
