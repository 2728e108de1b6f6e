/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_TEXT_CHAT_IMPL_H
#define Q35_CORE_TEXT_CHAT_IMPL_H

/* An interpreter for the part of Jinja that chat templates use. Lexer, parser and evaluator share
 * this header; the rules are Jinja's with trim_blocks and lstrip_blocks, as transformers sets them.
 */

#include "core/text/tokenizer.h"

enum {
    CHAT_MAX_TEMPLATE = 1 << 20,
    CHAT_MAX_DEPTH = 100,       /* nesting of expressions, and of statements */
    CHAT_MAX_STEPS = 2000000,   /* nodes evaluated in one rendering */
    CHAT_MAX_MEMORY = 64 << 20, /* of one rendering, beyond 64 times the messages */
    CHAT_MAX_ARGS = 8
};

/* ---- memory that is freed as a whole ---- */

struct arena {
    struct arena_block *blocks;
    size_t used, limit;
    bool failed; /* out of memory or beyond the limit */
};
/* Zeroed; NULL (and failed) when there is no more. */
void *arena_alloc(struct arena *a, size_t bytes);
void arena_fini(struct arena *a);

/* ---- tokens ---- */

enum token_type {
    T_EOF,
    T_TEXT,
    T_EXPR_BEGIN,
    T_EXPR_END,
    T_STMT_BEGIN,
    T_STMT_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_OP
};

struct token {
    enum token_type type;
    uint32_t line;
    const char *text; /* T_STRING: without quotes, escapes as written; T_OP: the operator */
    size_t len;
};

struct tokens {
    struct token *list;
    size_t count, cap;
};
enum q35_status chat_lex(struct tokens *out, const char *text, size_t len, struct q35_error *err);

/* ---- values ---- */

enum value_type { V_UNDEFINED, V_NONE, V_BOOL, V_INT, V_FLOAT, V_STRING, V_LIST, V_DICT };

/* Bytes, and for each whether the template wrote it: only such bytes may spell control tokens. */
struct string {
    const char *data;
    const uint8_t *trusted;
    size_t len;
};

struct value {
    enum value_type type;
    union {
        bool b;
        int64_t i;
        double f;
        struct string s;
        struct list *list;
        struct dict *dict;
    };
};

struct list {
    struct value *items;
    size_t count, cap;
};

struct dict {
    struct string *keys;
    struct value *values;
    size_t count, cap;
    bool is_namespace;
};

struct value value_none(void);
struct value value_bool(bool b);
struct value value_int(int64_t i);
/* data is borrowed; all its bytes have one origin. */
struct value value_string(struct arena *a, const char *data, size_t len, bool trusted);
struct value value_list(struct arena *a);
struct value value_dict(struct arena *a);
void list_add(struct arena *a, struct list *l, struct value v);
void dict_put(struct arena *a, struct dict *d, struct string key, struct value v);
const struct value *dict_find(const struct dict *d, const char *key, size_t len);
bool value_truth(const struct value *v);
bool value_equal(const struct value *a, const struct value *b);
/* -1, 0, 1; 2: not comparable. */
int value_compare(const struct value *a, const struct value *b);
const char *value_type_name(const struct value *v);
bool value_is_number(const struct value *v);
double value_number(const struct value *v);

/* A string that grows, with origins. */
struct buffer {
    struct q35_str data, trusted;
};
void buffer_add(struct buffer *b, struct string s);
void buffer_addz(struct buffer *b, const char *text); /* the template's */
void buffer_fini(struct buffer *b);
/* Copies into the arena. */
struct value buffer_value(struct arena *a, const struct buffer *b);

/* ---- syntax tree ---- */

enum node_type {
    /* expressions */
    N_LITERAL,
    N_NAME,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_METHOD,
    N_FILTER,
    N_TEST,
    N_NOT,
    N_NEG,
    N_BINARY,
    N_COND,
    N_LIST,
    N_DICT,
    /* statements */
    N_TEXT,
    N_OUTPUT,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_BREAK,
    N_CONTINUE
};

enum binary_op {
    B_OR,
    B_AND,
    B_EQ,
    B_NE,
    B_LT,
    B_LE,
    B_GT,
    B_GE,
    B_IN,
    B_NOT_IN,
    B_ADD,
    B_SUB,
    B_CONCAT,
    B_MUL,
    B_DIV,
    B_FLOORDIV,
    B_MOD,
    B_POW
};

/* One shape for all. a, b, c, d: children by type; list: bodies, elements, arguments. */
struct node {
    enum node_type type;
    uint32_t line;
    int op;               /* BINARY: enum binary_op; CALL, METHOD, FILTER, TEST: its number */
    bool negated;         /* TEST */
    struct string text;   /* NAME, ATTR, SET (attribute), keyword, TEXT */
    struct string second; /* FOR: the second target */
    struct value literal;
    struct node *a, *b, *c, *d;
    struct node *list;      /* first of a chain by next */
    struct node *otherwise; /* IF, FOR: else */
    struct node *next;
    struct string keyword; /* of an argument; data NULL: positional */
};

/* Numbers of known names, -1: unknown. */
/* Index of name in names, or -1. */
int chat_name_find(struct string name, const char *const *names, size_t count);
int chat_function_number(struct string name);
int chat_method_number(struct string name);
int chat_filter_number(struct string name);
int chat_test_number(struct string name);

struct parser {
    const struct token *t; /* the next token */
    struct arena *arena;
    struct q35_error *err;
    int depth;
    int loops; /* loops around the place */
};
/* NULL on failure, with *err filled. */
struct node *chat_parse_expr(struct parser *p);
struct node *chat_parse_plain(struct parser *p); /* without "a if b else c" */
struct node *chat_string_literal(struct parser *p);
struct node *chat_number_literal(struct parser *p);
struct node *chat_word_literal(struct parser *p); /* a name, or true, none ... */
bool chat_token_is(const struct token *t, enum token_type type, const char *text);
bool chat_keyword(const struct token *t);
struct node *chat_new_node(struct parser *p, enum node_type type);
struct node *chat_refuse(struct parser *p, const char *what);
bool chat_op(const struct parser *p, const char *op);
bool chat_take_op(struct parser *p, const char *op);
bool chat_word(const struct parser *p, const char *word);
bool chat_take_word(struct parser *p, const char *word);
struct string chat_copy(struct parser *p, const char *text, size_t len);
/* Statements to the end of the template. *out NULL for an empty one. */
enum q35_status chat_parse(struct parser *p, struct node **out);

/* ---- evaluation ---- */

struct frame {
    struct value vars; /* dict */
    struct frame *up;
};

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

struct runner {
    struct arena arena;
    struct frame *frame;
    struct buffer *out;
    struct q35_error *err;
    uint64_t steps;
    int depth;
    enum q35_status status; /* the first failure */
};
/* Records a failure at a line once and gives undefined. */
struct value chat_error(struct runner *r, uint32_t line, const char *format, ...) Q35_PRINTF(3, 4);
struct value chat_eval(struct runner *r, const struct node *n);
enum flow chat_run(struct runner *r, const struct node *body);
/* False with an error for lists and the like. */
bool chat_print(struct runner *r, struct buffer *b, const struct value *v, uint32_t line);

struct args {
    struct value positional[CHAT_MAX_ARGS];
    size_t count;
    struct string names[CHAT_MAX_ARGS];
    struct value named[CHAT_MAX_ARGS];
    size_t named_count;
};
/* Argument i or the named one, NULL if not given. */
const struct value *args_get(const struct args *a, size_t i, const char *name);
struct value chat_filter(struct runner *r, const struct node *n, struct value v,
                         const struct args *a);
bool chat_test(struct runner *r, int test, uint32_t line, const struct value *v,
               const struct args *a);
struct value chat_method(struct runner *r, const struct node *n, struct value self,
                         const struct args *a);
struct value chat_call(struct runner *r, const struct node *n, const struct args *a);
/* Shared by filters and methods. chars NULL: white space; side 1 left, 2 right, 3 both. */
struct value chat_strip(struct arena *a, struct string s, const struct string *chars, int side);
struct value chat_replace(struct runner *r, struct string s, struct string from, struct string to);
struct value chat_recase(struct arena *a, struct string s, char how);
struct value chat_dict_items(struct arena *a, const struct dict *d, char what);
bool chat_tojson(struct runner *r, struct buffer *b, const struct value *v, int indent, int depth,
                 uint32_t line);

#endif
