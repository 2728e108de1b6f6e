/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/page_html.h"
#include "core/serve/router.h"

/* GET /: one self-contained document, embedded when building. */
void q35_handle_page(struct q35_conn *c)
{
    q35_conn_reply(c, 200, "text/html; charset=utf-8",
                   "Cache-Control: no-cache\r\n"
                   "Content-Security-Policy: default-src 'none'; script-src 'unsafe-inline'; "
                   "style-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; "
                   "base-uri 'none'; form-action 'none'\r\n",
                   (const char *)q35_page_html, sizeof(q35_page_html));
}
