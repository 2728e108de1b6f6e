/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_STOP_H
#define Q35_SERVE_STOP_H

/* Stop strings in text that grows piece by piece. */

#include "core/base/base.h"

#define Q35_STOP_MAX 4
#define Q35_STOP_BYTES 512

struct q35_stops {
    char *text[Q35_STOP_MAX]; /* owned */
    size_t len[Q35_STOP_MAX]; /* 1 .. Q35_STOP_BYTES */
    uint32_t count;
};

void q35_stops_fini(struct q35_stops *s);

/* text[0 .. len): all of it so far; text[0 .. scanned) held no stop string before. Returns how many
 * bytes may be shown now: up to the first stop string if *found becomes true, otherwise all but the
 * longest end that could still begin one. */
size_t q35_stops_scan(const struct q35_stops *s, const char *text, size_t len, size_t scanned,
                      bool *found);

#endif
