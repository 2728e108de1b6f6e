/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_ENGINE_FAKE_H
#define Q35_TESTS_ENGINE_FAKE_H

/* A model and two devices for the engine's tests. The "network" hashes the whole history that its
 * KV holds for a sequence, so any wrong position, truncation, fork or sequence id changes every
 * token that follows. Faults can be ordered. */

#include <stdatomic.h>

#include "core/engine/engine.h"

#define FAKE_VOCAB 97
#define FAKE_LAYERS 4 /* EMBED, two DECODER, HEAD */
#define FAKE_CONTEXT 512

struct fake_faults {
    atomic_int lose_device; /* device index to lose, -1: none */
    atomic_int lose_run;    /* not before this many runs, all devices counted */
    atomic_int overlap;     /* 1: device 1 must meet device 0 at work; then 2, or 3 if it did not */
    atomic_int starts;      /* runs begun on device 0 */
    atomic_int can_reset;   /* a lost device comes back this many times */
    atomic_int resets;      /* number of resets so far */
    atomic_int last_device; /* index of the device of the last run */
    atomic_int bad_token;   /* a run with this token fails with INVALID, -1: none */
    atomic_int hold;        /* runs wait while this is set */
    atomic_int runs;        /* number of runs so far, all devices */
    atomic_int largest;     /* largest batch so far */
    atomic_int greedy_runs; /* runs that gave ids instead of logits */
    atomic_int bad_ids;     /* so many ids lie beyond the vocabulary */
    atomic_int kv_type;     /* of the last KV made */
    atomic_int repeat; /* texts mostly say again what they said so many tokens before; 0: never */
    atomic_int bad_drafts; /* so many runs with two logits of one sequence fail with INVALID */
    atomic_int token_ns;   /* a run takes 1000 ns and this for each token, by fake_now */
    atomic_ullong clock_ns;
    atomic_int open_objects; /* weights and KV objects not freed */
};
extern struct fake_faults fake_faults;

/* The token that follows history[0..n-1]. */
int32_t fake_next(const int32_t *history, uint32_t n);

const struct q35_model *fake_model(void);
struct q35_registry *fake_registry(void);
/* All layers on device 0, or split over both. */
const struct q35_plan *fake_plan(bool split);
uint64_t fake_now(void);
void fake_reset(void);
/* Of both devices; 0 after fake_reset. */
void fake_features(uint32_t features);

#endif
