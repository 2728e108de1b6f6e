/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_ENGINE_STEP_H
#define Q35_CORE_ENGINE_STEP_H

#include "core/engine/internal.h"

/* One step of the engine: forms a batch of all running requests and guesses, runs it, samples,
 * tells. Called and returns with the mutex held; releases it while devices and callbacks work.
 * DEVICE_LOST is passed up, any other failure has ended the requests it concerns. */
enum q35_status q35_step(struct q35_engine *e);

/* Mutex held. Ends a request for its submitter and drops the engine's reference. */
void q35_request_end(struct q35_engine *e, struct q35_request *r, enum q35_finish finish,
                     const struct q35_error *error);

#endif
