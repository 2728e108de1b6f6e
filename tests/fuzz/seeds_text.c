/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "../unit/text/vocabs.h"
#include "fuzz.h"

/* Writes what fuzz_text and fuzz_serve start from into a directory; each knows its own by their
 * first byte. */

static const char *const fuzz_files[8];
static void gguf(const char *name)
{
    struct q35_error err = Q35_ERROR_INIT;
    char *data;
    size_t size;
    check(q35_file_read(temp_path("seed"), 1u << 24, &data, &size, &err) == Q35_OK);
    fuzz_seed(name, 'g', data, size);
    free(data);
    unlink(temp_path("seed"));
}

static void text_seeds(void)
{
    write_spm(temp_path("seed"), true, "{{ messages[0].content }}");
    gguf("spm");
    write_bpe(temp_path("seed"), "llama-bpe");
    gguf("bpe");
    fuzz_seed_text("json", 'j', FUZZ_TOKENIZER);
    fuzz_seed_text(
        "json-split", 'j',
        "{\"added_tokens\":[{\"id\":5,\"content\":\"<s>\",\"special\":true,\"lstrip\":true}],"
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"a\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"b\"}]},"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\""
        ":{\"Regex\":\"\\\\p{N}{1,3}|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
        "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]},"
        "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
        "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[5]}}},"
        "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
        "\"b\":1,\"ab\":2,\"<0x0A>\":3},\"byte_fallback\":true,\"merges\":[[\"a\",\"b\"]]}}");
    fuzz_seed_text(
        "chatml", 't',
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim "
        "}}{% endfor %}{% if add_generation_prompt %}{{ 'x' }}{% endif %}");
    fuzz_seed_text(
        "roles", 't',
        "{%- set ns = namespace(n=0) -%}{%- for m in messages if m.role != 'system' -%}"
        "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles') }}"
        "{%- elif not loop.last and m.content is string -%}{%- set ns.n = ns.n + 1 -%}"
        "{{ bos_token ~ m.content[1:-1].strip().split(' ')[0] | upper ~ ns.n }}"
        "{%- else -%}{{ [1, 2.5, none] | tojson }}{{ {'a': 1}.items() | list | length }}"
        "{%- break -%}{%- endif -%}{%- endfor -%}");
}

#define POST(path, body) "POST " path " HTTP/1.1\r\nHost: a\r\n" body
#define CHUNK(size, text) size "\r\n" text "\r\n"

static void serve_seeds(void)
{
    static const char chat[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"ab\"}]}],"
        "\"temperature\":0.5,\"stop\":[\"a\"],\"logprobs\":true,\"top_logprobs\":2,\"stream\":true,"
        "\"stream_options\":{\"include_usage\":true}}";
    char text[1024];
    fuzz_seed_text(
        "get", 'h',
        "\x10GET /health HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\n\r\n"
        "GET /v1/models/%61b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    fuzz_seed_text(
        "preflight", 'h',
        "\x40OPTIONS /v1/completions HTTP/1.1\r\nHost: a\r\nOrigin: https://example.org\r\n"
        "\r\n");
    fuzz_seed_text("key", 'h',
                   "\x41GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dTprZXk=\r\n\r\n");
    fuzz_seed_text("chunks", 'h',
                   "\x20" POST("/v1/completions",
                               "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
                               "\r\n") CHUNK("d", "{\"prompt\":[1,")
                       CHUNK("15", "2],\"n\":2,\"echo\":true}") "0\r\n\r\n");
    snprintf(text, sizeof(text),
             "\xfe" POST("/v1/chat/completions", "Content-Length: %zu\r\n\r\n%s"), strlen(chat),
             chat);
    fuzz_seed_text("chat", 'h', text);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    fuzz_seeds_to(argv[1]);
    text_seeds();
    serve_seeds();
    return 0;
}
