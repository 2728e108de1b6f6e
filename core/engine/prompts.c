/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/engine/prompts.h"

static double mix(double old, double now)
{
    return old > 0 ? 0.5 * (old + now) : now;
}

void q35_prompt_ran(struct q35_prompt_cost *c, uint32_t prompt_tokens, bool decoding, uint64_t ns)
{
    double t = (double)ns, added;
    if (!prompt_tokens) {
        c->decode_ns = mix(c->decode_ns, t);
        return;
    }
    if (decoding && c->decode_ns <= 0) /* a guess, until a run has no prompts */
        c->decode_ns = t / 2;
    added = t - c->decode_ns > t / 16 ? t - c->decode_ns : t / 16;
    c->token_ns = mix(c->token_ns, added / prompt_tokens);
}

uint32_t q35_prompt_room(const struct q35_prompt_cost *c, uint32_t most)
{
    double pause = Q35_PROMPT_PAUSE_NS > 2 * c->decode_ns ? Q35_PROMPT_PAUSE_NS : 2 * c->decode_ns;
    double room = c->token_ns > 0 ? (pause - c->decode_ns) / c->token_ns : Q35_PROMPT_ROOM_FIRST;
    if (room < Q35_PROMPT_ROOM_MIN)
        room = Q35_PROMPT_ROOM_MIN;
    return room < most ? (uint32_t)room : most;
}
