/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/tls.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "q35/backend.h"

/* The first of OpenSSL's queued errors, which says the cause; empties the queue. */
static const char *take_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return text ? text : "unknown error";
}

/* Nobody is there to type a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *user)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)user;
    return -1;
}

/* HTTP/1.1 is what we speak; a client that offers only others is let in without a choice. */
static int choose_protocol(SSL *tls, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *user)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)tls;
    (void)user;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours) - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static enum q35_status check_file(const char *name, const char *path, bool secret,
                                  struct q35_error *err)
{
    struct stat info;
    if (access(path, R_OK) != 0)
        return q35_fail_errno(err, Q35_E_CONFIG, errno, "%s: %s", name, path);
    if (secret && stat(path, &info) == 0 && (info.st_mode & S_IROTH))
        q35_log(Q35_LOG_WARN, "%s can be read by everybody on this machine", path);
    return Q35_OK;
}

static void warn_if_expired(const SSL_CTX *ctx, const char *path)
{
    const X509 *cert = SSL_CTX_get0_certificate(ctx);
    if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        q35_log(Q35_LOG_WARN, "tls_cert: %s has expired", path);
}

static enum q35_status load_files(SSL_CTX *ctx, const char *cert, const char *key,
                                  struct q35_error *err)
{
    enum q35_status st = check_file("tls_cert", cert, false, err);
    if (st == Q35_OK)
        st = check_file("tls_key", key, true, err);
    if (st != Q35_OK)
        return st;
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return q35_fail(err, Q35_E_CONFIG, "tls_cert: %s: %s", cert, take_reason());
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return q35_fail(err, Q35_E_CONFIG, "tls_key: %s: %s", key, take_reason());
    warn_if_expired(ctx, cert);
    return Q35_OK;
}

enum q35_status q35_tls_load(SSL_CTX **out, const char *cert, const char *key,
                             struct q35_error *err)
{
    SSL_CTX *ctx = NULL;
    enum q35_status st;
    *out = NULL;
    if (!cert || !key)
        return q35_fail(err, Q35_E_CONFIG, "tls_cert and tls_key need each other; %s is missing",
                        cert ? "tls_key" : "tls_cert");
    ERR_clear_error();
    ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return q35_fail(err, Q35_E_NOMEM, "no memory for TLS");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets need no memory of ours */
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    st = load_files(ctx, cert, key, err);
    if (st == Q35_OK)
        *out = ctx;
    else
        SSL_CTX_free(ctx);
    return st;
}

SSL *q35_tls_create(SSL_CTX *ctx)
{
    SSL *tls = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!tls || !in || !out) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(tls);
        return NULL;
    }
    SSL_set_bio(tls, in, out);
    SSL_set_accept_state(tls);
    return tls;
}

enum q35_tls_result q35_tls_read(SSL *tls, const char *data, size_t n, struct q35_str *plain,
                                 const char **why)
{
    char buf[16384]; /* a TLS record's most */
    size_t got;
    int reason;
    *why = "out of memory";
    ERR_clear_error();
    if (BIO_write(SSL_get_rbio(tls), data, (int)n) != (int)n)
        return Q35_TLS_FAILED;
    while (SSL_read_ex(tls, buf, sizeof(buf), &got) == 1)
        q35_str_add(plain, buf, got);
    if (plain->failed)
        return Q35_TLS_FAILED;
    switch (SSL_get_error(tls, 0)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return Q35_TLS_OK;
    case SSL_ERROR_ZERO_RETURN:
        return Q35_TLS_END;
    default:
        reason = ERR_GET_REASON(ERR_peek_error());
        *why = take_reason();
        return reason == SSL_R_HTTP_REQUEST ? Q35_TLS_HTTP : Q35_TLS_FAILED;
    }
}

bool q35_tls_write(SSL *tls, struct q35_str *plain, struct q35_str *wire)
{
    BIO *out = SSL_get_wbio(tls);
    char *data;
    size_t sent;
    long n;
    ERR_clear_error();
    if (plain->failed || (plain->len && SSL_write_ex(tls, plain->data, plain->len, &sent) != 1)) {
        ERR_clear_error();
        return false;
    }
    q35_str_clear(plain);
    n = BIO_get_mem_data(out, &data);
    if (n > 0)
        q35_str_add(wire, data, (size_t)n);
    (void)BIO_reset(out);
    return !wire->failed;
}
