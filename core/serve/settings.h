/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_SETTINGS_H
#define Q35_SERVE_SETTINGS_H

/* The server's part of the configuration, in the form it is used; what a reload replaces. */

#include <openssl/types.h>

#include "core/base/base.h"
#include "core/config/config.h"

#define Q35_KEY_DIGEST 32 /* SHA-256: keys are compared by digest, in constant time */

struct q35_settings {
    uint8_t (*keys)[Q35_KEY_DIGEST];
    size_t key_count; /* 0: no keys needed */
    char *origins;    /* the origins' text, cut at separators; owns what origin[] points to */
    const char **origin;
    size_t origin_count;
    bool any_origin; /* "*" */
    SSL_CTX *tls;    /* of new connections; NULL: plain HTTP */
    uint64_t header_ns, body_ns, idle_ns, stall_ns, drain_ns;
    uint64_t body_bytes;
    uint32_t max_connections, max_queue;
    int log_level;
};

/* On failure *s is left empty. */
enum q35_status q35_settings_load(struct q35_settings *s, const struct q35_config *c,
                                  struct q35_error *err);
void q35_settings_fini(struct q35_settings *s);

/* The value of an Authorization header: "Bearer KEY", or "Basic ..." with a key as the password, so
 * that a browser can ask for it. True if no keys are configured. */
bool q35_settings_authorized(const struct q35_settings *s, const char *authorization);
/* May a page of this origin read our answers? */
bool q35_settings_origin_allowed(const struct q35_settings *s, const char *origin);

/* 127.0.0.0/8, ::1 and localhost. */
bool q35_host_is_loopback(const char *host);

/* Names the keys that differ and that a reload cannot apply, "" if there are none. */
void q35_settings_need_restart(const struct q35_config *now, const struct q35_config *next,
                               struct q35_str *names);

#endif
