/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/serve/job.h"
#include "core/serve/router.h"
#include "core/serve/server.h"

/* One line of the log for each request: who, what, how it ended, how long it took. Never a word of
 * a prompt or an answer. The id is the answer's X-Request-Id and the end of its "id". */

static void add_request(struct q35_str *line, const struct q35_conn *c, int status)
{
    size_t n = c->url.data ? strcspn(c->url.data, "?#") : 0; /* a query may hold secrets */
    q35_str_addf(line, "%016llx %s %s %.*s %d", (unsigned long long)c->id, c->peer,
                 c->started ? http_method_str((enum http_method)c->parser.method) : "-", (int)n,
                 n ? c->url.data : "-", status);
}

static void write_line(int level, struct q35_str *line)
{
    if (line->data && !line->failed)
        q35_log(level, "%s", line->data);
    q35_str_fini(line);
}

void q35_access_answer(const struct q35_conn *c, int status)
{
    struct q35_str line = {0};
    if (c->logged)
        return;
    add_request(&line, c, status);
    write_line(Q35_LOG_DEBUG, &line);
}

void q35_access_error(struct q35_conn *c, const struct q35_api_error *e)
{
    struct q35_str line = {0};
    c->logged = true;
    add_request(&line, c, e->status);
    q35_str_addf(&line, " error=%s%s%s", e->code ? e->code : "none", e->param[0] ? " param=" : "",
                 e->param);
    /* who asks whether we are ready asks often */
    write_line(c->route && c->route->open ? Q35_LOG_DEBUG : Q35_LOG_INFO, &line);
}

static const char *reason(const struct q35_job *j, bool left)
{
    uint32_t i;
    if (left)
        return "left";
    if (j->error.status)
        return j->error.code ? j->error.code : "error";
    for (i = 0; i < j->choice_count; i++)
        if (j->choices[i].reason == Q35_REASON_LENGTH)
            return "length";
    return "stop";
}

void q35_access_job(const struct q35_job *j, bool left)
{
    struct q35_str line = {0};
    struct q35_usage u = {0};
    uint64_t now = q35_now_ns();
    if (!j->conn)
        return;
    if (j->choices) /* otherwise a worker may be parsing it */
        q35_job_usage(j, &u);
    j->conn->logged = true;
    add_request(&line, j->conn, 200);
    q35_str_addf(&line, " finish=%s prompt=%llu cached=%llu output=%llu choices=%u",
                 reason(j, left), (unsigned long long)u.prompt, (unsigned long long)u.cached,
                 (unsigned long long)u.output, j->choice_count);
    if (j->first_ns)
        q35_str_addf(&line, " first=%.3fs", (double)(j->first_ns - j->start_ns) * 1e-9);
    q35_str_addf(&line, " total=%.3fs", (double)(now - j->start_ns) * 1e-9);
    write_line(Q35_LOG_INFO, &line);
}
