/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/serve/job.h"
#include "core/serve/json_out.h"
#include "core/serve/server.h"

/* Server-sent events: "data: {chunk}\n\n" ... "data: [DONE]\n\n". */

static void chunk_begin(struct q35_job *j)
{
    q35_str_clear(&j->scratch);
    q35_str_addf(
        &j->scratch, "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id,
        j->params.chat ? "chat.completion.chunk" : "text_completion", (long long)j->created);
    q35_json_addz(&j->scratch, j->server->model.name);
    q35_job_add_fingerprint(j, &j->scratch);
    q35_str_addz(&j->scratch, ",\"choices\":[");
}

static void chunk_end(struct q35_job *j, bool with_usage)
{
    q35_str_addz(&j->scratch, "]");
    if (with_usage) {
        q35_str_addz(&j->scratch, ",\"usage\":");
        q35_job_add_usage(j, &j->scratch);
    } else if (j->params.include_usage) {
        q35_str_addz(&j->scratch, ",\"usage\":null");
    }
    q35_str_addz(&j->scratch, "}\n\n");
    if (!j->conn)
        return;
    if (j->scratch.failed)
        q35_conn_close(j->conn);
    else
        q35_conn_stream_data(j->conn, j->scratch.data, j->scratch.len);
}

void q35_job_stream_begin(struct q35_job *j)
{
    uint32_t i;
    q35_conn_stream_begin(j->conn);
    for (i = 0; i < j->choice_count; i++) {
        const struct q35_api_prompt *p = &j->params.prompts[j->choices[i].prompt];
        if (!j->params.chat && !j->params.echo)
            continue;
        chunk_begin(j);
        q35_str_addf(&j->scratch, "{\"index\":%u,", i);
        if (j->params.chat) {
            q35_str_addz(&j->scratch, "\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
        } else {
            q35_str_addz(&j->scratch, "\"text\":");
            q35_json_add(&j->scratch, p->text, p->text_len);
        }
        q35_str_addz(&j->scratch, ",\"logprobs\":null,\"finish_reason\":null}");
        chunk_end(j, false);
    }
}

/* text: [sent, shown) of the choice. */
static void chunk(struct q35_job *j, struct q35_choice *c, bool empty_delta, bool last)
{
    uint32_t ready = q35_choice_notes_ready(c);
    chunk_begin(j);
    q35_str_addf(&j->scratch, "{\"index\":%u,", c->index);
    if (j->params.chat && empty_delta) {
        q35_str_addz(&j->scratch, "\"delta\":{}");
    } else {
        q35_str_addz(&j->scratch, j->params.chat ? "\"delta\":{\"content\":" : "\"text\":");
        q35_json_add(&j->scratch, c->text.data ? c->text.data + c->sent : "", c->shown - c->sent);
        if (j->params.chat)
            q35_str_addz(&j->scratch, "}");
    }
    q35_str_addz(&j->scratch, ",\"logprobs\":");
    q35_job_add_logprobs(j, c, c->notes_sent, ready, &j->scratch);
    q35_str_addz(&j->scratch, ",\"finish_reason\":");
    if (last)
        q35_job_add_reason(c, &j->scratch);
    else
        q35_str_addz(&j->scratch, "null");
    q35_str_addz(&j->scratch, "}");
    c->sent = c->shown;
    c->notes_sent = ready;
    chunk_end(j, false);
}

void q35_job_stream_choice(struct q35_job *j, struct q35_choice *c)
{
    bool last = c->reason != Q35_REASON_NONE;
    bool news = c->shown > c->sent || q35_choice_notes_ready(c) > c->notes_sent;
    if (news && (j->params.chat || !last))
        chunk(j, c, false, false);
    if (last)
        chunk(j, c, true, true);
}

void q35_job_stream_end(struct q35_job *j)
{
    struct q35_conn *c;
    if (j->error.status) {
        q35_str_clear(&j->scratch);
        q35_str_addz(&j->scratch, "data: ");
        q35_api_error_json(&j->error, &j->scratch);
        q35_str_addz(&j->scratch, "\n\n");
        if (j->conn && !j->scratch.failed)
            q35_conn_stream_data(j->conn, j->scratch.data, j->scratch.len);
    } else if (j->params.include_usage) {
        chunk_begin(j);
        chunk_end(j, true);
    }
    if (j->conn)
        q35_conn_stream_data(j->conn, "data: [DONE]\n\n", 14);
    c = q35_job_detach(j);
    if (c)
        q35_conn_stream_end(c);
}
