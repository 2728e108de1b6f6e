/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/chat_impl.h"
#include "core/text/tokenizer_impl.h"

struct q35_chat {
    struct arena arena;
    struct node *body;
};

enum q35_status q35_chat_create(struct q35_chat **out, const char *template_text,
                                struct q35_error *err)
{
    size_t len = strlen(template_text);
    struct q35_chat *c;
    struct tokens tokens = {NULL, 0, 0};
    enum q35_status s;
    *out = NULL;
    if (len > CHAT_MAX_TEMPLATE)
        return q35_fail(err, Q35_E_FORMAT, "a chat template of %zu bytes", len);
    c = calloc(1, sizeof(*c));
    if (!c)
        return q35_fail(err, Q35_E_NOMEM, "no memory for a chat template");
    c->arena.limit = (size_t)512 << 20;
    s = chat_lex(&tokens, template_text, len, err);
    if (!s) {
        struct parser p = {.t = tokens.list, .arena = &c->arena, .err = err};
        s = chat_parse(&p, &c->body);
    }
    free(tokens.list);
    if (s) {
        q35_chat_destroy(c);
        return s;
    }
    *out = c;
    return Q35_OK;
}

void q35_chat_destroy(struct q35_chat *c)
{
    if (c)
        arena_fini(&c->arena);
    free(c);
}

static void put(struct runner *r, struct dict *d, const char *name, struct value v)
{
    struct string key = {name, (const uint8_t *)name, strlen(name)};
    dict_put(&r->arena, d, key, v);
}

static void put_token(struct runner *r, struct dict *d, const char *name,
                      const struct q35_tokenizer *t, int32_t id)
{
    struct q35_piece p = {"", 0};
    if (id >= 0)
        p = q35_tokenizer_piece(t, id, true);
    put(r, d, name, value_string(&r->arena, p.data, p.len, true));
}

/* Templates write '<|' + role + '|>' (Phi, and ours): the roles there are no text of the user's. */
static bool is_role(const char *name)
{
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    size_t i;
    for (i = 0; i < Q35_COUNT(roles); i++)
        if (strcmp(name, roles[i]) == 0)
            return true;
    return false;
}

static struct value messages_value(struct runner *r, const struct q35_chat_message *messages,
                                   size_t count)
{
    struct value list = value_list(&r->arena);
    size_t i;
    for (i = 0; i < count && list.type == V_LIST; i++) {
        const struct q35_chat_message *m = &messages[i];
        struct value d = value_dict(&r->arena);
        if (d.type != V_DICT)
            break;
        put(r, d.dict, "role", value_string(&r->arena, m->role, strlen(m->role), is_role(m->role)));
        put(r, d.dict, "content", value_string(&r->arena, m->content, m->content_len, false));
        list_add(&r->arena, list.list, d);
    }
    return list;
}

static void globals(struct runner *r, struct dict *d, const struct q35_tokenizer *t,
                    const struct q35_chat_message *messages, size_t count, bool generate)
{
    put(r, d, "messages", messages_value(r, messages, count));
    put(r, d, "add_generation_prompt", value_bool(generate));
    put(r, d, "tools", value_none());
    put(r, d, "documents", value_none());
    put_token(r, d, "bos_token", t, t->special[Q35_SPECIAL_BOS]);
    put_token(r, d, "eos_token", t, t->special[Q35_SPECIAL_EOS]);
    put_token(r, d, "unk_token", t, t->special[Q35_SPECIAL_UNK]);
    put_token(r, d, "pad_token", t, t->special[Q35_SPECIAL_PAD]);
}

enum q35_status q35_chat_render(const struct q35_chat *c, const struct q35_tokenizer *t,
                                const struct q35_chat_message *messages, size_t count,
                                bool add_generation_prompt, struct q35_str *text,
                                struct q35_str *trusted, struct q35_error *err)
{
    struct buffer out = {{0}, {0}};
    struct frame top = {.up = NULL};
    struct runner r = {.out = &out, .frame = &top, .err = err};
    size_t i, size = 0;
    for (i = 0; i < count; i++)
        size += messages[i].content_len;
    if (size > (size_t)1 << 30)
        return q35_fail(err, Q35_E_INVALID, "messages of %zu bytes", size);
    r.arena.limit = CHAT_MAX_MEMORY + 64 * size;
    top.vars = value_dict(&r.arena);
    if (top.vars.type == V_DICT) {
        globals(&r, top.vars.dict, t, messages, count, add_generation_prompt);
        chat_run(&r, c->body);
    }
    if (!r.status && (r.arena.failed || out.data.failed || out.trusted.failed))
        r.status = q35_fail(err, Q35_E_NOMEM, "no memory for rendering the chat template");
    arena_fini(&r.arena);
    if (r.status) {
        buffer_fini(&out);
        return r.status;
    }
    *text = out.data;
    *trusted = out.trusted;
    return Q35_OK;
}

enum q35_status q35_chat_encode(const struct q35_chat *c, const struct q35_tokenizer *t,
                                const struct q35_chat_message *messages, size_t count,
                                bool add_generation_prompt, int32_t **ids, size_t *n_ids,
                                struct q35_error *err)
{
    struct q35_str text = {0}, trusted = {0};
    enum q35_status s =
        q35_chat_render(c, t, messages, count, add_generation_prompt, &text, &trusted, err);
    *ids = NULL;
    *n_ids = 0;
    if (!s)
        s = q35_tokenizer_encode_trusted(t, text.data ? text.data : "",
                                         (const uint8_t *)trusted.data, text.len, ids, n_ids, err);
    q35_str_fini(&text);
    q35_str_fini(&trusted);
    return s;
}
