/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_REQUEST_H
#define Q35_SERVE_REQUEST_H

/* Reading one HTTP request, with its limits. */

#include "core/serve/conn.h"

/* Parses bytes of the current request; when it is whole, or refused, it is answered or handed to
 * its route. Returns how many bytes were used. */
size_t q35_request_feed(struct q35_conn *c, const char *data, size_t len);
/* Forgets the request, frees its memory. */
void q35_request_fini(struct q35_conn *c);
/* The value of a header, NULL if it was not sent. */
const char *q35_request_header(const struct q35_conn *c, enum q35_header h);

#endif
