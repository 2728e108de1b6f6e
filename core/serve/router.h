/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SERVE_ROUTER_H
#define Q35_SERVE_ROUTER_H

#include "core/serve/conn.h"

struct q35_route {
    const char *method;
    const char *path; /* ends in * : anything may follow */
    bool open;        /* needs no API key */
    void (*handle)(struct q35_conn *c);
};

/* After the header: route, API key, origin. False with c->early set if the request is refused. */
bool q35_router_admit(struct q35_conn *c);
/* Answers, or starts to. */
void q35_router_dispatch(struct q35_conn *c);

/* The part of the path that a route's * stands for, percent-decoded into out. */
bool q35_router_tail(const struct q35_conn *c, struct q35_str *out);

/* Handlers, one file per group. */
void q35_handle_health(struct q35_conn *c); /* handlers.c */
void q35_handle_ready(struct q35_conn *c);
void q35_handle_metrics(struct q35_conn *c);
void q35_handle_models(struct q35_conn *c);
void q35_handle_model(struct q35_conn *c);
void q35_handle_status(struct q35_conn *c);      /* status.c */
void q35_handle_page(struct q35_conn *c);        /* page.c */
void q35_handle_completions(struct q35_conn *c); /* job.c */
void q35_handle_chat(struct q35_conn *c);

#endif
