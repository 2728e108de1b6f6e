/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/chat_impl.h"

/* Expressions, by recursive descent in Jinja's order of precedence. */

struct node *chat_new_node(struct parser *p, enum node_type type)
{
    struct node *n = arena_alloc(p->arena, sizeof(*n));
    if (!n) {
        q35_fail(p->err, Q35_E_NOMEM, "no memory for a chat template");
        return NULL;
    }
    n->type = type;
    n->line = p->t->line;
    return n;
}

struct node *chat_refuse(struct parser *p, const char *what)
{
    q35_fail(p->err, Q35_E_FORMAT, "chat template line %u: %s \"%.*s\" is not understood",
             p->t->line, what, (int)(p->t->len < 60 ? p->t->len : 60), p->t->text);
    return NULL;
}

bool chat_op(const struct parser *p, const char *op)
{
    return chat_token_is(p->t, T_OP, op);
}

bool chat_take_op(struct parser *p, const char *op)
{
    if (!chat_op(p, op))
        return false;
    p->t++;
    return true;
}

bool chat_word(const struct parser *p, const char *word)
{
    return chat_token_is(p->t, T_NAME, word);
}

bool chat_take_word(struct parser *p, const char *word)
{
    if (!chat_word(p, word))
        return false;
    p->t++;
    return true;
}

struct string chat_copy(struct parser *p, const char *text, size_t len)
{
    struct value v;
    char *copy = arena_alloc(p->arena, len + 1);
    if (copy)
        memcpy(copy, text, len);
    v = value_string(p->arena, copy ? copy : "", copy ? len : 0, true);
    return v.s;
}

static struct node *binary(struct parser *p, int op, struct node *a, struct node *b)
{
    struct node *n = a && b ? chat_new_node(p, N_BINARY) : NULL;
    if (n) {
        n->op = op;
        n->a = a;
        n->b = b;
    }
    return n;
}

/* Elements up to the closing operator; *comma says whether one was seen. */
static bool elements(struct parser *p, struct node *into, const char *close, bool *comma)
{
    struct node **tail = &into->list;
    *comma = false;
    while (!chat_take_op(p, close)) {
        *tail = chat_parse_expr(p);
        if (!*tail)
            return false;
        tail = &(*tail)->next;
        if (chat_take_op(p, close))
            break;
        if (!chat_take_op(p, ",")) {
            chat_refuse(p, "in a list");
            return false;
        }
        *comma = true;
    }
    return true;
}

static struct node *dict_literal(struct parser *p)
{
    struct node *n = chat_new_node(p, N_DICT), **tail;
    if (!n)
        return NULL;
    tail = &n->list;
    while (!chat_take_op(p, "}")) {
        struct node *key = chat_parse_expr(p);
        if (!key)
            return NULL;
        if (!chat_take_op(p, ":"))
            return chat_refuse(p, "in a dict");
        key->next = chat_parse_expr(p);
        if (!key->next)
            return NULL;
        *tail = key;
        tail = &key->next->next;
        if (!chat_take_op(p, ",") && !chat_op(p, "}"))
            return chat_refuse(p, "in a dict");
    }
    return n;
}

static struct node *primary(struct parser *p)
{
    struct node *n;
    bool comma;
    switch (p->t->type) {
    case T_STRING:
        return chat_string_literal(p);
    case T_INT:
    case T_FLOAT:
        return chat_number_literal(p);
    case T_NAME:
        return chat_word_literal(p);
    default:
        break;
    }
    if (chat_op(p, "(") || chat_op(p, "[")) {
        bool round = chat_op(p, "(");
        n = chat_new_node(p, N_LIST);
        p->t++;
        if (!n || !elements(p, n, round ? ")" : "]", &comma))
            return NULL;
        return round && n->list && !comma ? n->list : n;
    }
    if (chat_take_op(p, "{"))
        return dict_literal(p);
    return chat_refuse(p, p->t->type == T_OP ? "the operator" : "the end of an expression");
}

/* ---- calls, attributes, filters, tests ---- */

static bool arguments(struct parser *p, struct node *call)
{
    struct node **tail = &call->list;
    int count = 0;
    while (!chat_take_op(p, ")")) {
        struct string name = {0};
        if (p->t->type == T_NAME && chat_token_is(p->t + 1, T_OP, "=")) {
            name = chat_copy(p, p->t->text, p->t->len);
            p->t += 2;
        }
        *tail = chat_parse_expr(p);
        if (!*tail)
            return false;
        (*tail)->keyword = name;
        tail = &(*tail)->next;
        if (++count > CHAT_MAX_ARGS || (!chat_take_op(p, ",") && !chat_op(p, ")"))) {
            chat_refuse(p, "in a call");
            return false;
        }
    }
    return true;
}

static struct node *call(struct parser *p, struct node *callee)
{
    struct node *n = chat_new_node(p, callee->type == N_ATTR ? N_METHOD : N_CALL);
    if (!n)
        return NULL;
    n->line = callee->line;
    n->text = callee->text;
    n->a = callee->a;
    n->op = callee->type == N_ATTR   ? chat_method_number(n->text)
            : callee->type == N_NAME ? chat_function_number(n->text)
                                     : -1;
    if (n->op < 0) {
        q35_fail(p->err, Q35_E_FORMAT, "chat template line %u: %s %.*s() is not understood",
                 n->line, callee->type == N_ATTR ? "method" : "function", (int)n->text.len,
                 n->text.data ? n->text.data : "");
        return NULL;
    }
    p->t++;
    return arguments(p, n) ? n : NULL;
}

static struct node *subscript(struct parser *p, struct node *of)
{
    struct node *n = chat_new_node(p, N_ITEM), **part[] = {NULL, NULL, NULL};
    int i = 0;
    if (!n)
        return NULL;
    n->a = of;
    part[0] = &n->b;
    part[1] = &n->c;
    part[2] = &n->d;
    p->t++;
    for (;;) {
        if (!chat_op(p, ":") && !chat_op(p, "]")) {
            *part[i] = chat_parse_expr(p);
            if (!*part[i])
                return NULL;
        }
        if (chat_take_op(p, "]"))
            break;
        if (i == 2 || !chat_take_op(p, ":"))
            return chat_refuse(p, "in brackets");
        n->type = N_SLICE;
        i++;
    }
    return n->type == N_ITEM && !n->b ? chat_refuse(p, "empty brackets before") : n;
}

static struct node *postfix(struct parser *p, struct node *n)
{
    int links = 0;
    while (n) {
        if (++links > CHAT_MAX_DEPTH)
            return chat_refuse(p, "a chain too long at");
        if (chat_op(p, ".")) {
            struct node *attr;
            p->t++;
            if (p->t->type != T_NAME)
                return chat_refuse(p, "an attribute");
            attr = chat_new_node(p, N_ATTR);
            if (!attr)
                return NULL;
            attr->text = chat_copy(p, p->t->text, p->t->len);
            attr->a = n;
            n = attr;
            p->t++;
        } else if (chat_op(p, "[")) {
            n = subscript(p, n);
        } else if (chat_op(p, "(")) {
            n = call(p, n);
        } else {
            break;
        }
    }
    return n;
}

static struct node *filter(struct parser *p, struct node *of)
{
    struct node *n = chat_new_node(p, N_FILTER);
    if (!n)
        return NULL;
    n->a = of;
    n->text = chat_copy(p, p->t->text, p->t->len);
    n->op = p->t->type == T_NAME ? chat_filter_number(n->text) : -1;
    if (n->op < 0)
        return chat_refuse(p, "filter");
    p->t++;
    if (chat_take_op(p, "(") && !arguments(p, n))
        return NULL;
    return n;
}

static struct node *test(struct parser *p, struct node *of)
{
    struct node *n = chat_new_node(p, N_TEST);
    if (!n)
        return NULL;
    n->a = of;
    n->negated = chat_take_word(p, "not");
    n->text = chat_copy(p, p->t->text, p->t->len);
    n->op = p->t->type == T_NAME ? chat_test_number(n->text) : -1;
    if (n->op < 0)
        return chat_refuse(p, "test");
    p->t++;
    if (chat_take_op(p, "("))
        return arguments(p, n) ? n : NULL;
    if (p->t->type == T_STRING || p->t->type == T_INT ||
        (p->t->type == T_NAME && !chat_keyword(p->t))) {
        n->list = primary(p);
        return n->list ? n : NULL;
    }
    return n;
}

static struct node *filters(struct parser *p, struct node *n)
{
    int links = 0;
    while (n) {
        if (++links > CHAT_MAX_DEPTH)
            return chat_refuse(p, "a chain too long at");
        if (chat_take_op(p, "|"))
            n = filter(p, n);
        else if (chat_take_word(p, "is"))
            n = test(p, n);
        else if (chat_op(p, ".") || chat_op(p, "[") || chat_op(p, "("))
            n = postfix(p, n);
        else
            break;
    }
    return n;
}

/* ---- operators ---- */

static struct node *unary(struct parser *p)
{
    struct node *n;
    if (++p->depth > CHAT_MAX_DEPTH)
        return chat_refuse(p, "nesting too deep at");
    if (chat_take_op(p, "-")) {
        n = chat_new_node(p, N_NEG);
        if (n && !(n->a = unary(p)))
            n = NULL;
    } else if (chat_take_op(p, "+")) {
        n = unary(p);
    } else {
        n = filters(p, postfix(p, primary(p)));
    }
    p->depth--;
    if (n && chat_take_op(p, "**"))
        n = binary(p, B_POW, n, unary(p));
    return n;
}

struct level {
    const char *op;
    int code;
};

static int which(struct parser *p, const struct level *ops)
{
    for (; ops->op; ops++)
        if (chat_take_op(p, ops->op))
            return ops->code;
    return -1;
}

static struct node *product(struct parser *p)
{
    static const struct level ops[] = {
        {"*", B_MUL}, {"//", B_FLOORDIV}, {"/", B_DIV}, {"%", B_MOD}, {NULL, 0}};
    struct node *n = unary(p);
    int op;
    while (n && (op = which(p, ops)) >= 0)
        n = binary(p, op, n, unary(p));
    return n;
}

static struct node *concat(struct parser *p)
{
    struct node *n = product(p);
    while (n && chat_take_op(p, "~"))
        n = binary(p, B_CONCAT, n, product(p));
    return n;
}

static struct node *sum(struct parser *p)
{
    static const struct level ops[] = {{"+", B_ADD}, {"-", B_SUB}, {NULL, 0}};
    struct node *n = concat(p);
    int op;
    while (n && (op = which(p, ops)) >= 0)
        n = binary(p, op, n, concat(p));
    return n;
}

static struct node *comparison(struct parser *p)
{
    static const struct level ops[] = {{"==", B_EQ}, {"!=", B_NE}, {"<=", B_LE}, {">=", B_GE},
                                       {"<", B_LT},  {">", B_GT},  {NULL, 0}};
    struct node *n = sum(p);
    bool seen = false;
    while (n) {
        int op = which(p, ops);
        if (op < 0 && chat_take_word(p, "in"))
            op = B_IN;
        if (op < 0 && chat_word(p, "not") && chat_token_is(p->t + 1, T_NAME, "in")) {
            p->t += 2;
            op = B_NOT_IN;
        }
        if (op < 0)
            break;
        if (seen) /* a < b < c means something else */
            return chat_refuse(p, "a chained comparison before");
        seen = true;
        n = binary(p, op, n, sum(p));
    }
    return n;
}

static struct node *negation(struct parser *p)
{
    struct node *n;
    if (!chat_take_word(p, "not"))
        return comparison(p);
    if (++p->depth > CHAT_MAX_DEPTH)
        return chat_refuse(p, "nesting too deep at");
    n = chat_new_node(p, N_NOT);
    if (n && !(n->a = negation(p)))
        n = NULL;
    p->depth--;
    return n;
}

static struct node *conjunction(struct parser *p)
{
    struct node *n = negation(p);
    while (n && chat_take_word(p, "and"))
        n = binary(p, B_AND, n, negation(p));
    return n;
}

struct node *chat_parse_plain(struct parser *p)
{
    struct node *n = conjunction(p);
    while (n && chat_take_word(p, "or"))
        n = binary(p, B_OR, n, conjunction(p));
    return n;
}

struct node *chat_parse_expr(struct parser *p)
{
    struct node *n, *cond;
    if (++p->depth > CHAT_MAX_DEPTH)
        return chat_refuse(p, "nesting too deep at");
    n = chat_parse_plain(p);
    while (n && chat_take_word(p, "if")) {
        cond = chat_new_node(p, N_COND);
        if (!cond)
            return NULL;
        cond->b = n;
        cond->a = chat_parse_plain(p);
        if (!cond->a)
            return NULL;
        if (chat_take_word(p, "else")) {
            cond->c = chat_parse_expr(p);
            if (!cond->c)
                return NULL;
        }
        n = cond;
    }
    p->depth--;
    return n;
}
