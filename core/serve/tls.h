/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_TLS_H
#define Q35_SERVE_TLS_H

/* TLS between a connection's socket and its HTTP: bytes in, bytes out. It never touches a socket,
 * so deadlines, limits and back pressure are the connection's own. */

#include <openssl/types.h>

#include "core/base/base.h"

/* From PEM files: the certificate with its chain, and its key, not encrypted. Connections share it
 * and hold a reference, so it may be freed while they live. CONFIG naming key and file. */
enum q35_status q35_tls_load(SSL_CTX **out, const char *cert, const char *key,
                             struct q35_error *err);

/* A server's side of one connection; NULL without memory. Release with SSL_free. */
SSL *q35_tls_create(SSL_CTX *ctx);

enum q35_tls_result {
    Q35_TLS_OK,
    Q35_TLS_END,   /* the peer has said that it is done */
    Q35_TLS_HTTP,  /* the peer speaks HTTP without TLS */
    Q35_TLS_FAILED /* *why says what; an alert may wait for q35_tls_write */
};
/* Takes what the socket gave and appends to *plain what it held. */
enum q35_tls_result q35_tls_read(SSL *tls, const char *data, size_t n, struct q35_str *plain,
                                 const char **why);
/* Encrypts *plain, which becomes empty, and appends to *wire all that is to be sent, of handshakes
 * and alerts too. False without memory. */
bool q35_tls_write(SSL *tls, struct q35_str *plain, struct q35_str *wire);

#endif
