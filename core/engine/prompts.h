/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_PROMPTS_H
#define Q35_CORE_PROMPTS_H

/* How many tokens of prompts a run may take along while other requests decode. Those wait for the
 * whole run, so it should not take longer than a reader notices: 100 ms, or twice as long as
 * decoding alone where that is slow. Belongs to the engine's thread. */

#include "core/base/base.h"

#define Q35_PROMPT_PAUSE_NS 100e6
#define Q35_PROMPT_ROOM_MIN 16u
#define Q35_PROMPT_ROOM_FIRST 64u /* as long as nothing is known */

/* What runs cost of late. */
struct q35_prompt_cost {
    double decode_ns; /* a run without prompts; 0: none yet */
    double token_ns;  /* what one token of a prompt adds */
};

/* A run took so long; prompt_tokens of it belonged to prompts, and `decoding` others decoded. */
void q35_prompt_ran(struct q35_prompt_cost *c, uint32_t prompt_tokens, bool decoding, uint64_t ns);
/* 1 .. most; most is not 0. */
uint32_t q35_prompt_room(const struct q35_prompt_cost *c, uint32_t most);

#endif
