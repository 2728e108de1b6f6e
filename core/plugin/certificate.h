/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_CERTIFICATE_H
#define Q35_CORE_CERTIFICATE_H

/* Certificates of `q35 verify-plugin --certificate`: NAME.cert.json beside NAME.so. One says that
 * this very file, by its SHA-256, passed all checks. It is no signature: who can write the plugin's
 * folder can write one. */

#include "core/base/base.h"

struct q35_certificate {
    char date[40];
    char determinism[16]; /* "exact", "close" */
    char host_abi[16];    /* that it was checked against */
};

/* plugin: absolute path. NOT_FOUND: there is no certificate; FORMAT, HASH, VERSION or PLUGIN: it
 * does not hold, and why. */
enum q35_status q35_certificate_check(const char *plugin, struct q35_certificate *out,
                                      struct q35_error *err);

#endif
