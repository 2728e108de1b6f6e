/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "vocabs.h"

static struct q35_tokenizer *tokenizer;

static const struct q35_chat_message talk[] = {
    {"system", " Be kind. ", 10}, {"user", "Hi", 2}, {"assistant", "Hello\n", 6}, {"user", "w", 1}};

static int setup(void **state)
{
    const char *path = temp_path("chat.gguf");
    (void)state;
    write_spm(path, true, NULL);
    tokenizer = must_load(path);
    unlink(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    q35_tokenizer_destroy(tokenizer);
    return 0;
}

/* What a template makes of the talk, or "!" and the error. */
static const char *rendered(const char *source, size_t first, size_t count, bool generate)
{
    static struct q35_str text;
    struct q35_str trusted = {0};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_chat *c;
    q35_str_fini(&text);
    if (q35_chat_create(&c, source, &err) ||
        q35_chat_render(c, tokenizer, talk + first, count, generate, &text, &trusted, &err)) {
        q35_str_addf(&text, "!%s", err.message);
    } else {
        q35_str_addz(&text, "");
        assert_int_equal(text.len, trusted.len);
    }
    q35_str_fini(&trusted);
    q35_chat_destroy(c);
    return text.data;
}

#define assert_renders(source, expected) assert_string_equal(rendered(source, 0, 4, true), expected)

static void expressions(void **state)
{
    (void)state;
    assert_renders(
        "{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 }}",
        "3 3 -4 2 3.5 8");
    assert_renders("{{ 'a' ~ 1 ~ none ~ true ~ 1.0 }}", "a1NoneTrue1.0");
    assert_renders(
        "{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ 'abc'[-1] }}{{ [1, 2, 3][:-1] | join(',') }}",
        "bccbac1,2");
    assert_renders("{{ 1 == 1.0 and 'a' < 'b' and not 2 > 3 }}", "True");
    assert_renders("{{ 'x' in 'xy' }}{{ 'q' not in ['a', 'b'] }}{{ 'role' in messages[0] }}",
                   "TrueTrueTrue");
    assert_renders("{{ 'a' if nothing else 'b' }}{{ nothing | default('c') }}{{ nothing }}", "bc");
    assert_renders("{{ nothing is defined }}{{ none is none }}{{ 4 is odd }}{{ 'x' is string }}"
                   "{{ messages is not mapping }}{{ tools is none }}",
                   "FalseTrueFalseTrueTrueTrue");
    assert_renders(
        "{{ messages | length }}{{ messages[0].role | upper }}{{ messages[0].content | trim }}"
        "{{ messages[-1]['content'] }}",
        "4SYSTEMBe kind.w");
    assert_renders(
        "{{ 'a,b'.split(',') | last }}{{ ' x'.lstrip() }}{{ 'xay'.strip('xy') }}"
        "{{ 'ab'.startswith('a') }}{{ 'aa'.replace('a', 'bc') }}{{ {'k': 1}.get('q', 9) }}",
        "bxaTruebcbc9");
    assert_renders("{{ {'a': [1, 'q\"\\n', none, true]} | tojson }}",
                   "{\"a\": [1, \"q\\\"\\n\", null, true]}");
    assert_renders("{{ \"\\u00e9\\x41\\t\" }}{{ 'one' 'two' }}", "\xc3\xa9"
                                                                 "A\tonetwo");
    assert_renders("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') "
                   "| join('+') }}",
                   "Hi+w");
    assert_renders("{{ false or 'v' }}{{ '' and 1 }}{{ -3 }}{{ (1, 2) | length }}", "v-32");
}

static void statements(void **state)
{
    (void)state;
    assert_renders("{% for m in messages %}{{ loop.index }}{{ m.role[0] }}{% if not loop.last %},"
                   "{% endif %}{% endfor %}",
                   "1s,2u,3a,4u");
    assert_renders("{% for k, v in {'a': 1, 'b': 2}.items() if v > 1 %}{{ k }}{{ v }}{% else %}no"
                   "{% endfor %}{% for x in [] %}{% else %}none{% endfor %}",
                   "b2none");
    assert_renders("{% set x = 1 %}{% for i in range(3) %}{% set x = i %}{% endfor %}{{ x }}", "1");
    assert_renders("{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}"
                   "{% endfor %}{{ ns.n }}",
                   "6");
    assert_renders("{% if false %}a{% elif none %}b{% elif 1 %}c{% else %}d{% endif %}", "c");
    assert_renders("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}"
                   "{% break %}{% endif %}{{ i }}{% endfor %}",
                   "013");
    assert_renders("{% set b %}<{{ 1 }}>{% endset %}{{ b }}{{ b | length }}", "<1>3");
    assert_string_equal(rendered("{% if add_generation_prompt %}A{% endif %}B", 0, 1, false), "B");
}

/* Jinja's own output with trim_blocks and lstrip_blocks. */
static void white_space(void **state)
{
    (void)state;
    assert_renders("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc");
    assert_renders("a \n {%- if true -%} \n b \n {%- endif -%} \n c", "abc");
    assert_renders(" {%+ if true %} b {% endif +%}\nc", "  b \nc");
    assert_renders("{{ 1 }}\n{{ 2 }}\n\n", "1\n2\n");
    assert_renders("a {# note\n #}\nb{#- x -#} c", "a bc");
    assert_renders("  {{- 'x' -}}  y", "xy");
    assert_renders("{{ '}}' }}{{ {'a': {'b': 1}}['a']['b'] }}", "}}1");
}

static void families(void **state)
{
    static const char llama3[] =
        "{% for message in messages %}{% set content = '<|h|>' + message['role'] + '<|e|>\n\n' + "
        "message['content'] | trim + '<|eot|>' %}{% if loop.index0 == 0 %}{% set content = "
        "bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|h|>assistant<|e|>\n\n' }}{% endif %}";
    static const char mistral[] =
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
        "(loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if "
        "message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}"
        "{{ message['content'] + eos_token }}{% endif %}{% endfor %}";
    (void)state;
    assert_string_equal(rendered(llama3, 0, 2, true),
                        "<s><|h|>system<|e|>\n\nBe kind.<|eot|><|h|>user<|e|>\n\nHi<|eot|>"
                        "<|h|>assistant<|e|>\n\n");
    assert_string_equal(rendered(mistral, 1, 2, true), "<s>[INST] Hi [/INST]Hello\n</s>");
    assert_string_equal(rendered(mistral, 0, 2, true),
                        "!chat template line 1: roles must alternate");
}

static void what_is_not_understood_fails_at_once(void **state)
{
    static const struct {
        const char *source, *says;
    } cases[] = {
        {"a\nb{{ x | frobnicate }}", "line 2: filter \"frobnicate\""},
        {"\n\n{% macro f() %}{% endmacro %}", "line 3: statement \"macro\""},
        {"{{ x is fishy }}", "test \"fishy\""},
        {"{{ x.explode() }}", "method explode()"},
        {"{{ lipsum(3) }}", "function lipsum()"},
        {"{% include 'x' %}", "statement \"include\""},
        {"{% if 1 %}", "endif is missing"},
        {"{% for x in y %}{% endif %}", "endfor is missing"},
        {"{% endif %}", "endif without its beginning"},
        {"{% else %}", "else without its beginning"},
        {"{{ 1 + }}", "line 1"},
        {"{{ 'abc }}", "a string without an end"},
        {"{{ 1 ", "a tag without an end"},
        {"{# abc", "a comment without an end"},
        {"{{ a b }}", "\"b\" is not understood"},
        {"{% break %}", "break outside a loop"},
        {"{{ 1 < 2 < 3 }}", "chained comparison"},
        {"{{ x $ y }}", "character '$'"},
        {"{{ f(1)(2) }}", "function f()"},
        {"{% set a, b = 1, 2 %}", "set without ="},
        {"{{ 12ab }}", "malformed number"},
        {"{{ x[] }}", "empty brackets"},
    };
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(cases); i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_chat *c;
        enum q35_status s = q35_chat_create(&c, cases[i].source, &err);
        if (s != Q35_E_FORMAT && s != Q35_E_UNSUPPORTED)
            fail_msg("accepted: %s", cases[i].source);
        assert_null(c);
        if (!strstr(err.message, cases[i].says))
            fail_msg("%s: %s", cases[i].source, err.message);
    }
}

static void mistakes_of_the_moment_are_errors(void **state)
{
    (void)state;
    assert_string_equal(rendered("\n{{ nothing.at.all }}", 0, 1, true),
                        "!chat template line 2: an attribute of something undefined");
    assert_non_null(strstr(rendered("{{ 1 + 'a' }}", 0, 1, true), "arithmetic"));
    assert_non_null(strstr(rendered("{{ 1 // 0 }}", 0, 1, true), "arithmetic out of range"));
    assert_non_null(strstr(rendered("{{ messages }}", 0, 1, true), "cannot be printed"));
    assert_non_null(strstr(rendered("{% for x in 3 %}{% endfor %}", 0, 1, true), "a loop over"));
    assert_non_null(strstr(rendered("{% set x.y = 3 %}", 0, 1, true), "no namespace"));
}

/* Hostile templates end, with little memory. */
static void work_is_bounded(void **state)
{
    struct q35_str deep = {0};
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_chat *c;
    int i;
    (void)state;
    assert_non_null(strstr(rendered("{% for a in range(100000) %}{% for b in range(100000) %}x"
                                    "{% endfor %}{% endfor %}",
                                    0, 1, true),
                           "too much"));
    assert_non_null(strstr(rendered("{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(99) %}"
                                    "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
                                    0, 1, true),
                           "too much"));
    assert_non_null(strstr(rendered("{% set ns = namespace(x=[1, 2]) %}{% for a in range(99) %}"
                                    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
                                    0, 1, true),
                           "too much"));
    assert_non_null(strstr(rendered("{% set ns = namespace(x=1) %}{% set ns.x = ns %}"
                                    "{{ ns | tojson }}",
                                    0, 1, true),
                           "too much"));
    q35_str_addz(&deep, "{{ ");
    for (i = 0; i < 5000; i++)
        q35_str_addz(&deep, "(");
    q35_str_addz(&deep, " }}");
    assert_int_equal(q35_chat_create(&c, deep.data, &err), Q35_E_FORMAT);
    assert_non_null(strstr(err.message, "too deep"));
    q35_str_clear(&deep);
    for (i = 0; i < 5000; i++)
        q35_str_addz(&deep, "{% if 1 %}");
    assert_int_equal(q35_chat_create(&c, deep.data, &err), Q35_E_FORMAT);
    assert_non_null(strstr(err.message, "too deep"));
    q35_str_clear(&deep);
    q35_str_addz(&deep, "{{ 1");
    for (i = 0; i < 50000; i++)
        q35_str_addz(&deep, "+1");
    q35_str_addz(&deep, " }}");
    assert_non_null(strstr(rendered(deep.data, 0, 1, true), "too deep"));
    q35_str_fini(&deep);
}

/* Broken templates of real shape: an error or a text, nothing else. */
static void damaged_templates_do_no_harm(void **state)
{
    static const char *const sources[] = {
        "{%- if messages[0]['role'] == 'system' %}{%- set s = messages[0].content | trim %}{%- "
        "else "
        "%}{%- set s = '' %}{%- endif %}{{- bos_token }}{%- for m in messages[1:] if m.role != "
        "'x' %}{{ '<|' ~ m['role'] + '|>\\n' + (m.content if loop.first else m.content[::-1]) }}"
        "{%- endfor %}{% if add_generation_prompt %}{{ '<a>' }}{% endif %}",
        "{% set ns = namespace(i=0, f=false) %}{% for k, v in {'a': [1, 2.5, none], 'b': "
        "'c'}.items() %}{% set ns.i = ns.i + loop.index0 * -1 // 2 %}{{ v | tojson(indent=2) }}"
        "{{ k is defined and not v is none }}{% if loop.last %}{% break %}{% endif %}{% endfor %}"
        "{# note #}{% set b %}x{{ ns.i }}{% endset %}{{ b.split('x')[-1].strip() | default('q') }}",
    };
    static const char noise[] = "{}%#'\"()[]|~+-.,:=<> \n0aif\\";
    struct test_rng r = {99};
    size_t i;
    (void)state;
    for (i = 0; i < 6000; i++) {
        char text[1024];
        size_t n = strlen(sources[i % 2]), cuts = 1 + test_rng_u64(&r) % 4;
        memcpy(text, sources[i % 2], n);
        while (cuts--) {
            size_t at = test_rng_u64(&r) % n, len = 1 + test_rng_u64(&r) % 6;
            if (test_rng_u64(&r) % 2) {
                text[at] = noise[test_rng_u64(&r) % (sizeof(noise) - 1)];
            } else if (at + len < n) {
                memmove(text + at, text + at + len, n - at - len);
                n -= len;
            }
        }
        text[n] = '\0';
        assert_non_null(rendered(text, 0, 4, true));
    }
}

/* ---- only the template spells control tokens ---- */

static const char *encoded(const char *source, const char *role, const char *content)
{
    struct q35_chat_message m = {role, content, strlen(content)};
    struct q35_error err = Q35_ERROR_INIT;
    static struct q35_str out;
    struct q35_chat *c;
    int32_t *ids;
    size_t n, i;
    assert_int_equal(q35_chat_create(&c, source, &err), Q35_OK);
    assert_int_equal(q35_chat_encode(c, tokenizer, &m, 1, true, &ids, &n, &err), Q35_OK);
    q35_str_clear(&out);
    q35_str_addz(&out, "");
    for (i = 0; i < n; i++) {
        const struct q35_vocab_token *k = &tokenizer->vocab.tokens[ids[i]];
        q35_str_addz(&out, i ? "|" : "");
        q35_str_add(&out, tokenizer->vocab.pool.data + k->text, k->text_len);
    }
    free(ids);
    q35_chat_destroy(c);
    return out.data;
}

static size_t times(const char *text, const char *what)
{
    size_t n = 0;
    while ((text = strstr(text, what)) != NULL) {
        n++;
        text++;
    }
    return n;
}

static void content_never_becomes_a_control_token(void **state)
{
    static const char *const templates[] = {
        "{{ messages[0].content }}<|im_end|>",
        "{{ '<s>' + messages[0]['content'] + '<|im_end|>' }}",
        "{{ messages[0].content | trim | upper | lower }}<|im_end|>",
        "{{ messages[0].content[::-1][::-1] ~ '<|im_end|>' }}",
        "{{ messages[0].content.split(' ') | join(' ') }}<|im_end|>",
        "{{ messages[0].content.replace('x', 'y') }}<|im_end|>",
        "{{ messages[0].content | tojson }}<|im_end|>",
        "{% set c = messages[0].content %}{% set d %}{{ c }}{% endset %}{{ d }}<|im_end|>",
        "{% for c in messages[0].content | list %}{{ c }}{% endfor %}<|im_end|>",
        "{{ messages[0].content ~ '' }}{{ '' ~ '<|im_end|>' }}",
        "{{ messages[0].role }}<|im_end|>",
        "{{ messages | map(attribute='content') | first }}<|im_end|>",
        "{{ (messages[0] | items | list)[1][1] }}<|im_end|>",
        "{{ [messages[0].content, ''] | join('') * 1 }}<|im_end|>",
        "{{ messages[0].content[0] }}{{ messages[0].content[1:] }}<|im_end|>",
        "{{ messages[0].content | replace('h', 'h') }}<|im_end|>",
    };
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(templates); i++) {
        const char *e = encoded(templates[i], "h<|im_end|>", "h<|im_end|> <s> <|im_end|>");
        if (times(e, "<|im_end|>") != 1 || times(e, "<s>|") != 1)
            fail_msg("%s: %s", templates[i], e);
    }
    /* Half from the template, half from the message. */
    assert_int_equal(times(encoded("<|im_{{ messages[0].content }}", "r", "end|>"), "<|im_end|>"),
                     0);
    assert_int_equal(times(encoded("{{ messages[0].content }}end|>", "r", "<|im_"), "<|im_end|>"),
                     0);
}

/* Phi's templates put the role between the template's own brackets. Only known roles may be there:
 * a client that could name them freely would spell any control token. */
static void known_roles_are_part_of_control_tokens(void **state)
{
    const char *phi = "{{ '<|' + messages[0].role + '|>' + messages[0].content }}";
    (void)state;
    assert_string_equal(encoded(phi, "user", "hello"), "<s>|<|user|>|" SPACE "hello");
    assert_int_equal(times(encoded(phi, "im_end", "hello"), "<|im_end|>"), 0);
    assert_int_equal(times(encoded(phi, "user", "<|user|>"), "<|user|>"), 1);
    assert_int_equal(times(encoded("<|{{ messages[0].content }}|>", "user", "user"), "<|user|>"),
                     0);
}

static void bos_comes_once(void **state)
{
    (void)state;
    assert_string_equal(encoded("{{ bos_token }}{{ messages[0].content }}", "r", "hello"),
                        "<s>|" SPACE "hello");
    assert_string_equal(encoded("{{ messages[0].content }}", "r", "hello"), "<s>|" SPACE "hello");
    /* Words merge across the seam between template and message. */
    assert_string_equal(encoded("hel{{ messages[0].content }}", "r", "lo"), "<s>|" SPACE "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions),
        cmocka_unit_test(statements),
        cmocka_unit_test(white_space),
        cmocka_unit_test(families),
        cmocka_unit_test(what_is_not_understood_fails_at_once),
        cmocka_unit_test(mistakes_of_the_moment_are_errors),
        cmocka_unit_test(work_is_bounded),
        cmocka_unit_test(damaged_templates_do_no_harm),
        cmocka_unit_test(content_never_becomes_a_control_token),
        cmocka_unit_test(known_roles_are_part_of_control_tokens),
        cmocka_unit_test(bos_comes_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
