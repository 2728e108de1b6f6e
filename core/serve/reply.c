/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/serve/job.h"
#include "core/serve/json_out.h"
#include "core/serve/server.h"

/* The whole answer in one JSON document, and the parts that streams use too. */

#define NO_LOGPROB "-9999.0" /* what clients expect for minus infinity */

void q35_job_add_reason(const struct q35_choice *c, struct q35_str *out)
{
    q35_str_addz(out, c->reason == Q35_REASON_LENGTH ? "\"length\"" : "\"stop\"");
}

void q35_job_usage(const struct q35_job *j, struct q35_usage *u)
{
    size_t i;
    memset(u, 0, sizeof(*u));
    for (i = 0; i < j->params.prompt_count; i++) {
        u->prompt += j->params.prompts[i].count;
        u->cached += j->choices[i * (size_t)j->params.n].cached;
    }
    for (i = 0; i < j->choice_count; i++) {
        u->output += j->choices[i].tokens;
        u->drafted += j->choices[i].drafted;
        u->accepted += j->choices[i].accepted;
    }
}

void q35_job_add_usage(const struct q35_job *j, struct q35_str *out)
{
    struct q35_usage u;
    q35_job_usage(j, &u);
    q35_str_addf(out,
                 "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                 "\"prompt_tokens_details\":{\"cached_tokens\":%llu},"
                 "\"completion_tokens_details\":{\"accepted_prediction_tokens\":%llu,"
                 "\"rejected_prediction_tokens\":%llu}}",
                 (unsigned long long)u.prompt, (unsigned long long)u.output,
                 (unsigned long long)(u.prompt + u.output), (unsigned long long)u.cached,
                 (unsigned long long)u.accepted, (unsigned long long)(u.drafted - u.accepted));
}

void q35_job_add_fingerprint(const struct q35_job *j, struct q35_str *out)
{
    q35_str_addz(out, ",\"system_fingerprint\":");
    if (j->server->model.fingerprint[0])
        q35_json_addz(out, j->server->model.fingerprint);
    else
        q35_str_addz(out, "null");
}

static struct q35_piece piece(const struct q35_job *j, int32_t id)
{
    return q35_tokenizer_piece(j->server->model.tokenizer, id, true);
}

/* "token":...,"logprob":...,"bytes":[...] */
static void add_chat_token(const struct q35_job *j, const struct q35_logprob *lp,
                           struct q35_str *out)
{
    struct q35_piece p = piece(j, lp->id);
    size_t i;
    q35_str_addz(out, "\"token\":");
    q35_json_add(out, p.data, p.len);
    q35_str_addz(out, ",\"logprob\":");
    q35_json_add_real(out, (double)lp->logprob, NO_LOGPROB);
    q35_str_addz(out, ",\"bytes\":[");
    for (i = 0; i < p.len; i++)
        q35_str_addf(out, "%s%u", i ? "," : "", (unsigned)(unsigned char)p.data[i]);
    q35_str_addz(out, "]");
}

static void add_chat_logprobs(const struct q35_job *j, const struct q35_choice *c, uint32_t from,
                              uint32_t to, struct q35_str *out)
{
    uint32_t i, k;
    q35_str_addz(out, "{\"content\":[");
    for (i = from; i < to; i++) {
        const struct q35_token_note *n = &c->notes[i];
        q35_str_addz(out, i > from ? ",{" : "{");
        add_chat_token(j, &n->logprob, out);
        q35_str_addz(out, ",\"top_logprobs\":[");
        for (k = 0; k < n->n_top; k++) {
            q35_str_addz(out, k ? ",{" : "{");
            add_chat_token(j, &c->tops[n->top_at + k], out);
            q35_str_addz(out, "}");
        }
        q35_str_addz(out, "]}");
    }
    q35_str_addz(out, "],\"refusal\":null}");
}

/* A token as a text that differs from other tokens': what is no UTF-8 is spelled in bytes, as
 * "bytes:\xe2\x80". */
static void add_token_text(const struct q35_piece *p, struct q35_str *out)
{
    size_t i = 0, n = 1;
    while (i < p->len && (n = q35_utf8_len(p->data + i, p->len - i)) > 0)
        i += n;
    if (i == p->len) {
        q35_json_add(out, p->data, p->len);
        return;
    }
    q35_str_addz(out, "\"bytes:");
    for (i = 0; i < p->len; i++)
        q35_str_addf(out, "\\\\x%02x", (unsigned)(unsigned char)p->data[i]);
    q35_str_addz(out, "\"");
}

static void add_top_map(const struct q35_job *j, const struct q35_choice *c,
                        const struct q35_token_note *n, struct q35_str *out)
{
    uint32_t k;
    q35_str_addz(out, "{");
    for (k = 0; k < n->n_top; k++) {
        const struct q35_logprob *lp = &c->tops[n->top_at + k];
        struct q35_piece p = piece(j, lp->id);
        q35_str_addz(out, k ? "," : "");
        add_token_text(&p, out);
        q35_str_addz(out, ":");
        q35_json_add_real(out, (double)lp->logprob, NO_LOGPROB);
    }
    q35_str_addz(out, "}");
}

/* Four parallel arrays. */
static void add_completion_logprobs(const struct q35_job *j, const struct q35_choice *c,
                                    uint32_t from, uint32_t to, struct q35_str *out)
{
    uint32_t i;
    q35_str_addz(out, "{\"tokens\":[");
    for (i = from; i < to; i++) {
        struct q35_piece p = piece(j, c->notes[i].logprob.id);
        q35_str_addz(out, i > from ? "," : "");
        add_token_text(&p, out);
    }
    q35_str_addz(out, "],\"token_logprobs\":[");
    for (i = from; i < to; i++) {
        q35_str_addz(out, i > from ? "," : "");
        q35_json_add_real(out, (double)c->notes[i].logprob.logprob, NO_LOGPROB);
    }
    q35_str_addz(out, "],\"text_offset\":[");
    for (i = from; i < to; i++)
        q35_str_addf(out, "%s%llu", i > from ? "," : "",
                     (unsigned long long)c->notes[i].char_start);
    q35_str_addz(out, "],\"top_logprobs\":");
    if (!j->params.n_top) {
        q35_str_addz(out, "null}");
        return;
    }
    for (i = from; i < to; i++) {
        q35_str_addz(out, i > from ? "," : "[");
        add_top_map(j, c, &c->notes[i], out);
    }
    q35_str_addz(out, from < to ? "]}" : "[]}");
}

void q35_job_add_logprobs(const struct q35_job *j, const struct q35_choice *c, uint32_t from,
                          uint32_t to, struct q35_str *out)
{
    if (!j->params.logprobs)
        q35_str_addz(out, "null");
    else if (j->params.chat)
        add_chat_logprobs(j, c, from, to, out);
    else
        add_completion_logprobs(j, c, from, to, out);
}

/* The prompt, if it is to be echoed, and the output, as one JSON string. */
static void add_text(const struct q35_job *j, const struct q35_choice *c, struct q35_str *out)
{
    const struct q35_api_prompt *p = &j->params.prompts[c->prompt];
    struct q35_str both = {0};
    if (p->text) {
        q35_str_add(&both, p->text, p->text_len);
        q35_str_add(&both, c->text.data, c->shown);
        q35_json_add(out, both.data ? both.data : "", both.len);
        out->failed |= both.failed;
        q35_str_fini(&both);
    } else {
        q35_json_add(out, c->text.data ? c->text.data : "", c->shown);
    }
}

static void add_choice(const struct q35_job *j, const struct q35_choice *c, struct q35_str *out)
{
    q35_str_addf(out, "{\"index\":%u,", c->index);
    if (j->params.chat)
        q35_str_addz(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    else
        q35_str_addz(out, "\"text\":");
    add_text(j, c, out);
    q35_str_addz(out, j->params.chat ? ",\"refusal\":null},\"logprobs\":" : ",\"logprobs\":");
    q35_job_add_logprobs(j, c, 0, c->note_count, out);
    q35_str_addz(out, ",\"finish_reason\":");
    q35_job_add_reason(c, out);
    q35_str_addz(out, "}");
}

void q35_job_reply(struct q35_job *j)
{
    struct q35_str *out = &j->reply;
    uint32_t i;
    q35_str_addf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id,
                 j->params.chat ? "chat.completion" : "text_completion", (long long)j->created);
    q35_json_addz(out, j->server->model.name);
    q35_job_add_fingerprint(j, out);
    q35_str_addz(out, ",\"choices\":[");
    for (i = 0; i < j->choice_count; i++) {
        q35_str_addz(out, i ? "," : "");
        add_choice(j, &j->choices[i], out);
    }
    q35_str_addz(out, "],\"usage\":");
    q35_job_add_usage(j, out);
    q35_str_addz(out, "}");
}

size_t q35_job_reply_size(const struct q35_job *j)
{
    size_t n = 512;
    uint32_t i;
    for (i = 0; i < j->choice_count; i++) {
        const struct q35_choice *c = &j->choices[i];
        n += 128 + c->shown + j->params.prompts[c->prompt].text_len;
        n += (c->note_count + (size_t)c->top_count) * 64;
    }
    return n;
}
