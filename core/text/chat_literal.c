/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/text/chat_impl.h"
#include "core/text/unicode.h"

bool chat_token_is(const struct token *t, enum token_type type, const char *text)
{
    return t->type == type && t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

bool chat_keyword(const struct token *t)
{
    static const char *const words[] = {"and", "or", "not", "if", "else", "in", "is"};
    size_t i;
    for (i = 0; i < Q35_COUNT(words); i++)
        if (chat_token_is(t, T_NAME, words[i]))
            return true;
    return false;
}

/* \xHH and \uHHHH; *at stands behind the letter. */
static uint32_t hex_escape(const char *s, size_t len, size_t *at, size_t digits)
{
    uint32_t v = 0;
    for (; digits && *at < len; digits--, (*at)++) {
        char c = (char)(s[*at] | 32);
        if (c >= '0' && c <= '9')
            v = v * 16 + (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v * 16 + (uint32_t)(c - 'a' + 10);
        else
            break;
    }
    return digits || (v >= 0xd800 && v <= 0xdfff) ? 0xfffd : v;
}

struct node *chat_string_literal(struct parser *p)
{
    static const char from[] = "nrtbfav0", to[] = "\n\r\t\b\f\a\v";
    struct node *n = chat_new_node(p, N_LITERAL);
    struct q35_str s = {0};
    /* Neighbouring strings are one. */
    for (; n && p->t->type == T_STRING; p->t++) {
        const char *x = p->t->text;
        size_t i = 0, len = p->t->len;
        while (i < len) {
            const char *hit;
            char c = x[i++];
            if (c != '\\' || i == len) {
                q35_str_add(&s, &c, 1);
                continue;
            }
            c = x[i++];
            hit = strchr(from, c);
            if (c == 'x' || c == 'u') {
                char utf8[4];
                q35_str_add(&s, utf8, q35_utf8_put(hex_escape(x, len, &i, c == 'x' ? 2 : 4), utf8));
            } else if (c == '\n') {
                continue;
            } else if (hit && c) {
                q35_str_add(&s, &to[hit - from], 1);
            } else {
                if (c != '\\' && c != '\'' && c != '"')
                    q35_str_add(&s, "\\", 1);
                q35_str_add(&s, &c, 1);
            }
        }
    }
    if (n) {
        n->literal.type = V_STRING;
        n->literal.s = chat_copy(p, s.data ? s.data : "", s.len);
    }
    p->arena->failed |= s.failed;
    q35_str_fini(&s);
    return n;
}

struct node *chat_number_literal(struct parser *p)
{
    struct node *n = chat_new_node(p, N_LITERAL);
    char text[32];
    if (!n)
        return NULL;
    if (p->t->len >= sizeof(text))
        return chat_refuse(p, "number");
    memcpy(text, p->t->text, p->t->len);
    text[p->t->len] = '\0';
    if (p->t->type == T_INT) {
        n->literal = value_int(strtoll(text, NULL, 10));
    } else {
        n->literal.type = V_FLOAT;
        n->literal.f = strtod(text, NULL);
    }
    p->t++;
    return n;
}

struct node *chat_word_literal(struct parser *p)
{
    static const struct {
        const char *name;
        enum value_type type;
        bool b;
    } words[] = {{"true", V_BOOL, true},   {"True", V_BOOL, true},  {"false", V_BOOL, false},
                 {"False", V_BOOL, false}, {"none", V_NONE, false}, {"None", V_NONE, false}};
    struct node *n = chat_new_node(p, N_NAME);
    size_t i;
    if (!n)
        return NULL;
    if (chat_keyword(p->t))
        return chat_refuse(p, "the word");
    for (i = 0; i < Q35_COUNT(words); i++)
        if (chat_word(p, words[i].name)) {
            n->type = N_LITERAL;
            n->literal = words[i].type == V_BOOL ? value_bool(words[i].b) : value_none();
        }
    n->text = chat_copy(p, p->t->text, p->t->len);
    p->t++;
    return n;
}
