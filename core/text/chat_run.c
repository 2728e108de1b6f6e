/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/text/chat_impl.h"

static void define(struct runner *r, struct frame *f, struct string name, struct value v)
{
    dict_put(&r->arena, f->vars.dict, name, v);
}

static void put(struct runner *r, struct dict *d, const char *name, struct value v)
{
    struct string key = {name, (const uint8_t *)name, strlen(name)};
    dict_put(&r->arena, d, key, v);
}

static void run_set(struct runner *r, const struct node *n, struct value v)
{
    struct frame *f;
    const struct value *space = NULL;
    if (!n->second.data) {
        define(r, r->frame, n->text, v);
        return;
    }
    for (f = r->frame; f && !space; f = f->up)
        space = dict_find(f->vars.dict, n->text.data, n->text.len);
    if (!space || space->type != V_DICT || !space->dict->is_namespace) {
        chat_error(r, n->line, "%.*s is no namespace", (int)n->text.len, n->text.data);
        return;
    }
    dict_put(&r->arena, space->dict, n->second, v);
}

static enum flow run_set_block(struct runner *r, const struct node *n)
{
    struct buffer b = {{0}, {0}}, *outer = r->out;
    enum flow flow;
    r->out = &b;
    flow = chat_run(r, n->list);
    r->out = outer;
    if (!r->status)
        run_set(r, n, buffer_value(&r->arena, &b));
    buffer_fini(&b);
    return flow;
}

static void loop_variable(struct runner *r, struct dict *vars, const struct list *items, size_t i)
{
    struct value loop = value_dict(&r->arena), none = {.type = V_UNDEFINED};
    size_t n = items->count;
    if (loop.type != V_DICT)
        return;
    put(r, loop.dict, "index", value_int((int64_t)i + 1));
    put(r, loop.dict, "index0", value_int((int64_t)i));
    put(r, loop.dict, "revindex", value_int((int64_t)(n - i)));
    put(r, loop.dict, "revindex0", value_int((int64_t)(n - i - 1)));
    put(r, loop.dict, "first", value_bool(i == 0));
    put(r, loop.dict, "last", value_bool(i + 1 == n));
    put(r, loop.dict, "length", value_int((int64_t)n));
    put(r, loop.dict, "previtem", i ? items->items[i - 1] : none);
    put(r, loop.dict, "nextitem", i + 1 < n ? items->items[i + 1] : none);
    put(r, vars, "loop", loop);
}

/* Binds the targets of a loop in a fresh frame. */
static bool bind(struct runner *r, const struct node *n, struct frame *f, const struct value *v)
{
    f->vars = value_dict(&r->arena);
    f->up = r->frame;
    if (f->vars.type != V_DICT)
        return false;
    if (!n->second.data) {
        define(r, f, n->text, *v);
        return true;
    }
    if (v->type != V_LIST || v->list->count != 2) {
        chat_error(r, n->line, "two loop variables for %s", value_type_name(v));
        return false;
    }
    define(r, f, n->text, v->list->items[0]);
    define(r, f, n->second, v->list->items[1]);
    return true;
}

/* What the loop goes over, filtered by its "if". */
static struct value loop_items(struct runner *r, const struct node *n)
{
    struct value v = chat_eval(r, n->a), out, chosen;
    struct frame f, *outer = r->frame;
    size_t i;
    if (v.type == V_DICT)
        v = chat_dict_items(&r->arena, v.dict, 'k');
    if (v.type == V_UNDEFINED)
        v = value_list(&r->arena);
    if (v.type != V_LIST && !r->status)
        return chat_error(r, n->line, "a loop over %s", value_type_name(&v));
    if (!n->b || r->status)
        return v;
    out = value_list(&r->arena);
    for (i = 0; out.type == V_LIST && i < v.list->count && !r->status; i++) {
        if (!bind(r, n, &f, &v.list->items[i]))
            break;
        r->frame = &f;
        chosen = chat_eval(r, n->b);
        r->frame = outer;
        if (value_truth(&chosen))
            list_add(&r->arena, out.list, v.list->items[i]);
    }
    return out;
}

static enum flow run_for(struct runner *r, const struct node *n)
{
    struct value v = loop_items(r, n);
    struct frame f, *outer = r->frame;
    size_t i;
    if (r->status || v.type != V_LIST)
        return FLOW_NEXT;
    for (i = 0; i < v.list->count && !r->status; i++) {
        enum flow flow;
        if (!bind(r, n, &f, &v.list->items[i]))
            break;
        loop_variable(r, f.vars.dict, v.list, i);
        r->frame = &f;
        flow = chat_run(r, n->list);
        r->frame = outer;
        if (flow == FLOW_BREAK)
            break;
    }
    return v.list->count == 0 ? chat_run(r, n->otherwise) : FLOW_NEXT;
}

static enum flow run_if(struct runner *r, const struct node *n)
{
    /* elif is an N_IF alone in the else */
    for (;;) {
        struct value v = chat_eval(r, n->a);
        if (r->status)
            return FLOW_NEXT;
        if (value_truth(&v))
            return chat_run(r, n->list);
        if (!n->otherwise || n->otherwise->type != N_IF || n->otherwise->next)
            return chat_run(r, n->otherwise);
        n = n->otherwise;
    }
}

static enum flow statement(struct runner *r, const struct node *n)
{
    struct value v;
    switch (n->type) {
    case N_TEXT:
        buffer_add(r->out, n->text);
        return FLOW_NEXT;
    case N_OUTPUT:
        v = chat_eval(r, n->a);
        if (!r->status)
            chat_print(r, r->out, &v, n->line);
        return FLOW_NEXT;
    case N_IF:
        return run_if(r, n);
    case N_FOR:
        return run_for(r, n);
    case N_SET:
        v = chat_eval(r, n->a);
        if (!r->status)
            run_set(r, n, v);
        return FLOW_NEXT;
    case N_SET_BLOCK:
        return run_set_block(r, n);
    case N_BREAK:
        return FLOW_BREAK;
    default:
        return FLOW_CONTINUE;
    }
}

enum flow chat_run(struct runner *r, const struct node *body)
{
    enum flow flow = FLOW_NEXT;
    for (; body && !r->status && flow == FLOW_NEXT; body = body->next) {
        if (++r->steps > CHAT_MAX_STEPS)
            chat_error(r, body->line, "too much to compute");
        else
            flow = statement(r, body);
        if (r->out->data.len > r->arena.limit || r->out->data.failed || r->out->trusted.failed)
            chat_error(r, body->line, "too much output");
        if (r->arena.failed)
            chat_error(r, body->line, "too much memory");
    }
    return flow;
}
