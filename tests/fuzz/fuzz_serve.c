/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "core/serve/api_params.h"
#include "core/serve/request.h"
#include "core/serve/router.h"
#include "core/serve/server.h"

/* libFuzzer target for what a client sends: the HTTP parser with its limits, the router, and the
 * bodies of generation requests up to their tokens. Sockets, jobs and answers are stood in for. An
 * "h", a byte that says how the rest is cut into pieces, its lowest bit whether keys are needed,
 * then what is sent. */

static const char *const fuzz_files[8] = {"tokenizer.json"};

static struct q35_server server;

static void answered(struct q35_conn *c)
{
    if (!c->keep_alive) {
        c->state = Q35_CONN_CLOSING;
        return;
    }
    q35_request_fini(c);
    c->state = Q35_CONN_HEAD;
}

uint64_t q35_server_next_id(struct q35_server *s)
{
    return ++s->next_id;
}

void q35_conn_error(struct q35_conn *c, const struct q35_api_error *e)
{
    struct q35_str out = {0};
    check(e->status >= 400 && e->status < 600 &&
          strcmp(q35_http_reason(e->status), "Unknown") != 0);
    q35_api_error_json(e, &out);
    check(out.len > 0 && e->message[0]);
    q35_str_fini(&out);
    if (c->has_body && !c->complete) /* what is left of the body is not read */
        c->keep_alive = false;
    answered(c);
}

void q35_conn_reply(struct q35_conn *c, int status, const char *type, const char *extra,
                    const char *body, size_t len)
{
    check(status >= 200 && (len == 0 || (type && body)) && extra);
    answered(c);
}

static void handled(struct q35_conn *c)
{
    q35_conn_reply(c, 204, NULL, "", "", 0);
}

void q35_handle_health(struct q35_conn *c)
{
    handled(c);
}

void q35_handle_ready(struct q35_conn *c)
{
    handled(c);
}

void q35_handle_metrics(struct q35_conn *c)
{
    handled(c);
}

void q35_handle_models(struct q35_conn *c)
{
    handled(c);
}

void q35_handle_model(struct q35_conn *c)
{
    struct q35_str name = {0};
    (void)q35_router_tail(c, &name);
    q35_str_fini(&name);
    handled(c);
}

void q35_handle_status(struct q35_conn *c)
{
    handled(c);
}

void q35_handle_page(struct q35_conn *c)
{
    handled(c);
}

static void generate(struct q35_conn *c, bool chat)
{
    const struct q35_api_limits limits = {&server.model, 16};
    struct q35_api_error e = {0};
    struct q35_api_params p;
    bool ok = q35_api_params_parse(&p, chat, c->body.data, c->body.len, &limits, &e);
    check(ok == (e.status == 0));
    for (size_t i = 0; ok && i < p.prompt_count; i++) {
        check(p.prompts[i].count > 0 && p.prompts[i].count + p.budget <= server.model.context);
        for (size_t k = 0; k < p.prompts[i].count; k++)
            check((uint32_t)p.prompts[i].ids[k] < q35_tokenizer_vocab(server.model.tokenizer));
    }
    check(!ok || (p.prompt_count * (uint64_t)p.n <= 16 && p.stops.count <= 4));
    q35_api_params_fini(&p);
    if (ok)
        handled(c);
    else
        q35_conn_error(c, &e);
}

void q35_handle_completions(struct q35_conn *c)
{
    generate(c, false);
}

void q35_handle_chat(struct q35_conn *c)
{
    generate(c, true);
}

static const struct q35_tokenizer *tokenizer(void)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_tokenizer *t;
    char path[128];
    fuzz_write(fuzz_path(path, "tokenizer.json"), FUZZ_TOKENIZER, sizeof(FUZZ_TOKENIZER) - 1);
    check(q35_tokenizer_from_dir(&t, fuzz_folder(), &err) == Q35_OK);
    return t;
}

static void start(void)
{
    static uint8_t key[1][Q35_KEY_DIGEST];
    static const char *origin = "https://example.org";
    static struct q35_chat *chat;
    struct q35_error err = Q35_ERROR_INIT;
    check(q35_chat_create(&chat,
                          "{% for m in messages %}<s>{{ m.role }} {{ m['content'] | trim }}"
                          "{% endfor %}",
                          &err) == Q35_OK);
    server.settings.keys = key;
    server.settings.origin = &origin;
    server.settings.origin_count = 1;
    server.settings.body_bytes = 16384;
    server.model.tokenizer = tokenizer();
    server.model.chat = chat;
    server.model.context = 256;
    strcpy(server.model.name, "m");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool begun;
    struct q35_conn c = {.server = &server};
    size_t at = 2, piece;
    if (!begun)
        start();
    begun = true;
    if (size < 3 || data[0] != 'h')
        return 0;
    server.settings.key_count = data[1] & 1;
    piece = data[1] / 2 ? data[1] / 2 : size;
    while (at < size && c.state <= Q35_CONN_BODY) {
        size_t n = piece < size - at ? piece : size - at;
        size_t used = q35_request_feed(&c, (const char *)data + at, n);
        check(used <= n && (used > 0 || c.state == Q35_CONN_CLOSING));
        at += used;
    }
    q35_request_fini(&c);
    q35_str_fini(&c.out);
    check(server.body_bytes == 0);
    return 0;
}
