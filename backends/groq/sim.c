/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* mode = sim. */

#include "groq.h"

const struct groq_mode groq_mode_sim = {
    .name = "sim",
    .device = "Groq TSP (simulated)",
    .simulated = true,
};
