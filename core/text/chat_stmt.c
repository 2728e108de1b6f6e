/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/text/chat_impl.h"

static bool body(struct parser *p, struct node **out);

/* Whether the next tag is {% word ... */
static bool tag_is(const struct parser *p, const char *word)
{
    return p->t->type == T_STMT_BEGIN && chat_token_is(p->t + 1, T_NAME, word);
}

static bool end_tag(struct parser *p)
{
    if (p->t->type != T_STMT_END)
        return chat_refuse(p, "in a tag") != NULL;
    p->t++;
    return true;
}

/* {% word %} */
static bool expect_tag(struct parser *p, const char *word)
{
    if (!tag_is(p, word)) {
        q35_fail(p->err, Q35_E_FORMAT, "chat template line %u: %s is missing", p->t->line, word);
        return false;
    }
    p->t += 2;
    return end_tag(p);
}

/* Behind "if" or "elif": condition, body, and what follows. Nested in the else of the one before,
 * so without recursion for long chains. */
static struct node *if_statement(struct parser *p)
{
    struct node *first = NULL, **place = &first;
    do {
        struct node *n = chat_new_node(p, N_IF);
        if (!n)
            return NULL;
        n->a = chat_parse_expr(p);
        if (!n->a || !end_tag(p) || !body(p, &n->list))
            return NULL;
        *place = n;
        place = &n->otherwise;
        if (!tag_is(p, "elif"))
            break;
        p->t += 2;
    } while (true);
    if (tag_is(p, "else")) {
        p->t += 2;
        if (!end_tag(p) || !body(p, place))
            return NULL;
    }
    return expect_tag(p, "endif") ? first : NULL;
}

static struct node *for_statement(struct parser *p)
{
    struct node *n = chat_new_node(p, N_FOR);
    bool bracket;
    if (!n)
        return NULL;
    bracket = chat_take_op(p, "(");
    if (p->t->type != T_NAME || chat_keyword(p->t))
        return chat_refuse(p, "loop variable");
    n->text = chat_copy(p, p->t->text, p->t->len);
    p->t++;
    if (chat_take_op(p, ",")) {
        if (p->t->type != T_NAME)
            return chat_refuse(p, "loop variable");
        n->second = chat_copy(p, p->t->text, p->t->len);
        p->t++;
    }
    if (bracket && !chat_take_op(p, ")"))
        return chat_refuse(p, "loop variable");
    if (!chat_take_word(p, "in"))
        return chat_refuse(p, "for without in before");
    n->a = chat_parse_plain(p);
    if (n->a && chat_take_word(p, "if")) {
        n->b = chat_parse_expr(p);
        if (!n->b)
            return NULL;
    }
    p->loops++;
    if (!n->a || !end_tag(p) || !body(p, &n->list))
        return NULL;
    p->loops--;
    if (tag_is(p, "else")) {
        p->t += 2;
        if (!end_tag(p) || !body(p, &n->otherwise))
            return NULL;
    }
    return expect_tag(p, "endfor") ? n : NULL;
}

static struct node *set_statement(struct parser *p)
{
    struct node *n = chat_new_node(p, N_SET);
    if (!n)
        return NULL;
    if (p->t->type != T_NAME || chat_keyword(p->t))
        return chat_refuse(p, "set");
    n->text = chat_copy(p, p->t->text, p->t->len);
    p->t++;
    if (chat_take_op(p, ".")) { /* namespace.name */
        if (p->t->type != T_NAME)
            return chat_refuse(p, "set");
        n->second = chat_copy(p, p->t->text, p->t->len);
        p->t++;
    }
    if (p->t->type == T_STMT_END && !n->second.data) {
        n->type = N_SET_BLOCK;
        p->t++;
        return body(p, &n->list) && expect_tag(p, "endset") ? n : NULL;
    }
    if (!chat_take_op(p, "="))
        return chat_refuse(p, "set without = before");
    n->a = chat_parse_expr(p);
    return n->a && end_tag(p) ? n : NULL;
}

static struct node *jump(struct parser *p, enum node_type type)
{
    struct node *n = chat_new_node(p, type);
    if (p->loops == 0) {
        q35_fail(p->err, Q35_E_FORMAT, "chat template line %u: %s outside a loop", p->t->line,
                 type == N_BREAK ? "break" : "continue");
        return NULL;
    }
    return n && end_tag(p) ? n : NULL;
}

/* transformers' {% generation %}: marks text for training, otherwise transparent. */
static struct node *generation(struct parser *p)
{
    struct node *n = chat_new_node(p, N_IF);
    if (!n)
        return NULL;
    n->a = chat_new_node(p, N_LITERAL);
    if (!n->a)
        return NULL;
    n->a->literal = value_bool(true);
    return end_tag(p) && body(p, &n->list) && expect_tag(p, "endgeneration") ? n : NULL;
}

static struct node *statement(struct parser *p)
{
    struct node *n;
    if (p->t->type == T_TEXT) {
        n = chat_new_node(p, N_TEXT);
        if (n)
            n->text = chat_copy(p, p->t->text, p->t->len);
        p->t++;
        return n;
    }
    if (p->t->type == T_EXPR_BEGIN) {
        n = chat_new_node(p, N_OUTPUT);
        p->t++;
        if (!n || !(n->a = chat_parse_expr(p)))
            return NULL;
        if (p->t->type != T_EXPR_END)
            return chat_refuse(p, "in an expression");
        p->t++;
        return n;
    }
    p->t++; /* {% */
    if (chat_take_word(p, "if"))
        return if_statement(p);
    if (chat_take_word(p, "for"))
        return for_statement(p);
    if (chat_take_word(p, "set"))
        return set_statement(p);
    if (chat_take_word(p, "break"))
        return jump(p, N_BREAK);
    if (chat_take_word(p, "continue"))
        return jump(p, N_CONTINUE);
    if (chat_take_word(p, "generation"))
        return generation(p);
    return chat_refuse(p, "statement");
}

static bool ends_body(const struct parser *p)
{
    static const char *const words[] = {"elif",   "else",   "endif",
                                        "endfor", "endset", "endgeneration"};
    size_t i;
    if (p->t->type == T_EOF)
        return true;
    for (i = 0; i < Q35_COUNT(words); i++)
        if (tag_is(p, words[i]))
            return true;
    return false;
}

/* Statements up to a tag that ends or divides the block around. */
static bool body(struct parser *p, struct node **out)
{
    struct node **tail = out;
    *out = NULL;
    if (++p->depth > CHAT_MAX_DEPTH)
        return chat_refuse(p, "nesting too deep at") != NULL;
    while (!ends_body(p)) {
        *tail = statement(p);
        if (!*tail)
            return false;
        tail = &(*tail)->next;
    }
    p->depth--;
    return true;
}

enum q35_status chat_parse(struct parser *p, struct node **out)
{
    if (!body(p, out)) {
        *out = NULL;
        return p->arena->failed ? Q35_E_NOMEM : Q35_E_FORMAT;
    }
    if (p->t->type != T_EOF)
        return q35_fail(p->err, Q35_E_FORMAT, "chat template line %u: %.*s without its beginning",
                        p->t->line, (int)p->t[1].len, p->t[1].text);
    if (p->arena->failed)
        return q35_fail(p->err, Q35_E_NOMEM, "no memory for a chat template");
    return Q35_OK;
}
