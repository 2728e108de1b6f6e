/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_VERIFY_SHA256_H
#define Q35_CORE_VERIFY_SHA256_H

#include "core/base/base.h"

/* SHA-256 of a file in lower-case hexadecimal. */
enum q35_status vfy_sha256(const char *path, char out[65], struct q35_error *err);

#endif
