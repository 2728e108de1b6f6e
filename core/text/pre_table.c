/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/text/tokenizer_impl.h"

/* The patterns that tokenizer.ggml.pre names, as the models' own tokenizer.json files have them.
 * Each pattern splits what those before it left, into matches and the gaps between them. */

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3(digits)                                                                             \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| "                                     \
                 "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(after)                                                                               \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" after "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER   \
    "*" after
#define CJK "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define DEEPSEEK_CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
#define DEEPSEEK_LETTERS                                                                           \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}"         \
    "-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}"         \
    "\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"         \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-"           \
    "\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-"                 \
    "\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-"                 \
    "\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-"         \
    "\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}"         \
    "-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-"                \
    "\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-"         \
    "\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"          \
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}"         \
    "\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}"         \
    "-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-"                \
    "\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-"                 \
    "\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-"          \
    "\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

const char q35_gpt2_pattern[] = GPT2;

static const char *const p_llama3[] = {LLAMA3("\\p{N}{1,3}"), NULL};
static const char *const p_qwen2[] = {LLAMA3("\\p{N}"), NULL};
static const char *const p_qwen35[] = {
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+"
                 "[\\r\\n]*|" SPACES,
    NULL};
static const char *const p_gpt2[] = {GPT2, NULL};
static const char *const p_starcoder[] = {"\\p{N}", GPT2, NULL};
static const char *const p_falcon[] = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]", NULL};
static const char *const p_default[] = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+",
                                        "[0-9][0-9][0-9]", NULL};
static const char *const p_deepseek_llm[] = {
    "[\\r\\n]",
    "\\s?[" DEEPSEEK_LETTERS "]+",
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "\\s+$",
    DEEPSEEK_CJK,
    "\\p{N}+",
    NULL};
static const char *const p_deepseek_coder[] = {"[\\r\\n]",   "\\s?\\p{L}+", "\\s?\\p{P}+",
                                               DEEPSEEK_CJK, "\\p{N}",      NULL};
static const char *const p_deepseek_v3[] = {
    "\\p{N}{1,3}", CJK,
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES,
    NULL};
static const char *const p_tekken[] = {CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES,
                                       NULL};
static const char *const p_gpt4o[] = {
    CASED(CONTRACTIONS "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES, NULL};
static const char *const p_bloom[] = {BLOOM, NULL};
static const char *const p_viking[] = {BLOOM, "\\p{N}", NULL};
static const char *const p_seed_coder[] = {
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES,
    NULL};

static const struct pre {
    const char *name;
    const char *const *patterns;
    bool ignore_merges, add_bos;
} known[] = {
    {"llama-bpe", p_llama3, true, true},
    {"llama3", p_llama3, true, true},
    {"llama-v3", p_llama3, true, true},
    {"falcon3", p_llama3, true, true},
    {"falcon-h1", p_llama3, true, true},
    {"pixtral", p_llama3, true, true},
    {"midm-2.0", p_llama3, true, true},
    {"lfm2", p_llama3, true, true},
    {"dbrx", p_llama3, false, false},
    {"smaug-bpe", p_llama3, false, false},
    {"glm4", p_llama3, false, false},
    {"chatglm-bpe", p_llama3, false, false},
    {"qwen2", p_qwen2, false, false},
    {"deepseek-r1-qwen", p_qwen2, false, false},
    {"stablelm2", p_qwen2, false, false},
    {"megrez", p_qwen2, false, false},
    {"hunyuan", p_qwen2, false, false},
    {"grok-2", p_qwen2, false, false},
    {"solar-open", p_qwen2, false, false},
    {"qwen35", p_qwen35, false, false},
    {"gpt-2", p_gpt2, false, false},
    {"phi-2", p_gpt2, false, false},
    {"mpt", p_gpt2, false, false},
    {"olmo", p_gpt2, false, false},
    {"jais", p_gpt2, false, false},
    {"gigachat", p_gpt2, false, false},
    {"exaone4", p_gpt2, false, false},
    {"trillion", p_gpt2, false, false},
    {"granite-docling", p_gpt2, false, false},
    {"starcoder", p_starcoder, false, false},
    {"refact", p_starcoder, false, false},
    {"command-r", p_starcoder, false, false},
    {"smollm", p_starcoder, false, false},
    {"codeshell", p_starcoder, false, false},
    {"exaone", p_starcoder, false, false},
    {"minerva-7b", p_starcoder, false, false},
    {"falcon", p_falcon, false, false},
    {"default", p_default, false, false},
    {"deepseek-llm", p_deepseek_llm, false, false},
    {"deepseek-coder", p_deepseek_coder, false, false},
    {"deepseek-v3", p_deepseek_v3, false, false},
    {"hunyuan-dense", p_deepseek_v3, false, false},
    {"tekken", p_tekken, true, true},
    {"gpt-4o", p_gpt4o, false, false},
    {"llama4", p_gpt4o, false, false},
    {"poro-chat", p_bloom, false, false},
    {"bloom", p_bloom, false, false},
    {"gpt3-finnish", p_bloom, false, false},
    {"viking", p_viking, false, false},
    {"seed-coder", p_seed_coder, false, false},
};

enum q35_status q35_pre_setup(struct q35_tokenizer *t, const char *pre, size_t len,
                              struct q35_error *err)
{
    struct q35_pre *op;
    size_t i, k;
    for (i = 0; i < Q35_COUNT(known); i++)
        if (strlen(known[i].name) == len && memcmp(known[i].name, pre, len) == 0)
            break;
    if (i == Q35_COUNT(known))
        return q35_fail(err, Q35_E_UNSUPPORTED,
                        "tokenizer.ggml.pre is \"%.*s\", a pre-tokenizer q35 does not know",
                        (int)(len < 64 ? len : 64), pre);
    for (k = 0; known[i].patterns[k]; k++) {
        const char *p = known[i].patterns[k];
        enum q35_status s;
        op = q35_pipeline_add_pre(&t->pipeline);
        if (!op)
            return q35_fail(err, Q35_E_NOMEM, "no memory for a pre-tokenizer");
        op->type = Q35_PRE_SPLIT;
        op->behavior = Q35_ISOLATED;
        s = q35_regex_create(&op->re, p, strlen(p), err);
        if (s)
            return s;
    }
    memcpy(t->pre, known[i].name, strlen(known[i].name) + 1);
    t->bpe.ignore_merges = known[i].ignore_merges;
    t->add_bos = known[i].add_bos;
    return Q35_OK;
}

const char *q35_pre_name(const char *const *patterns, size_t n, bool ignore_merges)
{
    size_t i, k;
    for (i = 0; i < Q35_COUNT(known); i++) {
        if (known[i].ignore_merges != ignore_merges)
            continue;
        for (k = 0; k < n && known[i].patterns[k]; k++)
            if (strcmp(known[i].patterns[k], patterns[k]) != 0)
                break;
        if (k == n && !known[i].patterns[k])
            return known[i].name;
    }
    return NULL;
}
