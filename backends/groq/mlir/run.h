/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_GROQ_MLIR_RUN_H
#define Q35_GROQ_MLIR_RUN_H

/* Running compiled layers over a batch, GROQ_TILE_TOKENS tokens at a time. */

#include "gen.h"
#include "soft.h"

/* Memory of one device for all its programs; zero at first. */
struct groq_runner {
    uint8_t *arena; /* of the hungriest program */
    uint64_t arena_bytes;
    int64_t *pages; /* [GROQ_TILE_TOKENS][page_room] */
    uint64_t page_room;
};

/* Makes the arena at least `bytes` long. */
enum q35_status groq_runner_grow(struct groq_runner *r, uint64_t bytes, struct q35_error *err);
void groq_runner_fini(struct groq_runner *r);

/* entry: of the object of a program of this very layer, whose arena fits. Not two at a time. */
enum q35_status groq_run_layer(struct groq_runner *r, void *entry,
                               const struct q35_soft_layer_call *call, struct q35_error *err);

#endif
