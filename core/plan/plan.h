/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_PLAN_H
#define Q35_CORE_PLAN_H

/* Which layers run on which device: contiguous ranges of the graph (layer 0 is EMBED, the last is
 * HEAD), each on one device, within the memory the devices' own plan() figures claim. */

#include "core/base/base.h"
#include "core/config/config.h"
#include "core/model/model.h"
#include "core/plugin/registry.h"

struct q35_stage {
    uint32_t device; /* index into the registry's devices */
    uint32_t first, count; /* graph layers */
    struct q35_plan_result need;
    double seconds;  /* expected for one token */
};

struct q35_plan {
    struct q35_stage *stages;
    uint32_t stage_count;
    double seconds; /* expected for one token, all stages */
    char *explanation; /* lines of text: what was considered and why this was chosen */
};

/* Opens the devices it considers. lost: devices (registry indices) to leave out, may be NULL.
 * CAPACITY if the model does not fit: the message says by how much and where. */
enum q35_status q35_plan_create(struct q35_plan **out, const struct q35_config *config,
                                const struct q35_model *model, struct q35_registry *registry,
                                const bool *lost, struct q35_error *err);
void q35_plan_destroy(struct q35_plan *p);
/* Text for people / a JSON document; malloc'd. */
char *q35_plan_text(const struct q35_plan *p, const struct q35_registry *r, bool explain);
char *q35_plan_json(const struct q35_plan *p, const struct q35_registry *r);

#endif
