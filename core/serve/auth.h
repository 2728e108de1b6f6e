/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_AUTH_H
#define Q35_SERVE_AUTH_H

#include "core/serve/settings.h"

/* Adds the keys of a file: one a line, # begins a comment line. CONFIG naming file and line, also
 * if it holds none: an empty key file must not open the door. */
enum q35_status q35_auth_load(struct q35_settings *s, const char *path, struct q35_error *err);

#endif
