/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "core/model/gguf_write.h"
#include "core/text/tokenizer_impl.h"

static void write_tokens(const struct q35_tokenizer *t, struct q35_gguf_writer *w, int32_t *kinds,
                         float *scores)
{
    const struct q35_vocab *v = &t->vocab;
    uint32_t i;
    q35_gguf_put_strings_begin(w, "tokenizer.ggml.tokens", v->count);
    for (i = 0; i < v->count; i++) {
        q35_gguf_put_strings_item(w, q35_vocab_text(v, i), v->tokens[i].text_len);
        kinds[i] = v->tokens[i].kind;
        scores[i] = v->tokens[i].score;
    }
    q35_gguf_put_i32s(w, "tokenizer.ggml.token_type", kinds, v->count);
    if (t->bpe.by_score)
        q35_gguf_put_f32s(w, "tokenizer.ggml.scores", scores, v->count);
}

/* "a b" cannot say where a part with a space in it ends; then the ids are written as well. */
static bool write_merge_ids(const struct q35_tokenizer *t, struct q35_gguf_writer *w)
{
    uint64_t n = t->bpe.n_merges, i;
    int32_t *ids = malloc((size_t)n * 2 * sizeof(*ids));
    if (!ids)
        return false;
    for (i = 0; i < n; i++) {
        ids[2 * i] = (int32_t)t->bpe.merges[i].left;
        ids[2 * i + 1] = (int32_t)t->bpe.merges[i].right;
    }
    q35_gguf_put_i32s(w, "q35.tokenizer.merge_ids", ids, 2 * n);
    free(ids);
    return true;
}

static bool write_merges(const struct q35_tokenizer *t, struct q35_gguf_writer *w)
{
    const struct q35_vocab *v = &t->vocab;
    struct q35_str line = {0};
    bool ok, spaces = false;
    uint32_t i;
    q35_gguf_put_strings_begin(w, "tokenizer.ggml.merges", t->bpe.n_merges);
    for (i = 0; i < t->bpe.n_merges; i++) {
        const struct q35_merge *m = &t->bpe.merges[i];
        q35_str_clear(&line);
        q35_str_add(&line, q35_vocab_text(v, m->left), v->tokens[m->left].text_len);
        spaces |= memchr(line.data, ' ', line.len) != NULL;
        q35_str_addz(&line, " ");
        q35_str_add(&line, q35_vocab_text(v, m->right), v->tokens[m->right].text_len);
        spaces |= memchr(q35_vocab_text(v, m->right), ' ', v->tokens[m->right].text_len) != NULL;
        q35_gguf_put_strings_item(w, line.data ? line.data : "", line.len);
    }
    ok = !line.failed && (!spaces || write_merge_ids(t, w));
    q35_str_fini(&line);
    return ok;
}

/* The tokens that carry a flag. */
static void write_flagged(const struct q35_tokenizer *t, struct q35_gguf_writer *w, const char *key,
                          uint8_t flag, int32_t *ids)
{
    uint64_t n = 0;
    uint32_t i;
    for (i = 0; i < t->vocab.count; i++)
        if (t->vocab.tokens[i].flags & flag)
            ids[n++] = (int32_t)i;
    q35_gguf_put_i32s(w, key, ids, n);
}

static void write_ids(const struct q35_tokenizer *t, struct q35_gguf_writer *w)
{
    int i;
    for (i = 0; i < Q35_SPECIAL_COUNT; i++)
        if (t->special[i] >= 0)
            q35_gguf_put_u32(w, q35_special_keys[i], (uint32_t)t->special[i]);
    q35_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", t->add_bos);
    q35_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", t->add_eos);
    if (t->chat_template)
        q35_gguf_put_string(w, "tokenizer.chat_template", t->chat_template,
                            strlen(t->chat_template));
}

enum q35_status q35_tokenizer_write(const struct q35_tokenizer *t, struct q35_gguf_writer *w,
                                    struct q35_error *err)
{
    /* A name no other program takes for a pre-tokenizer it knows. */
    const char *pre = t->pre[0] ? t->pre : t->json ? "q35-json" : NULL;
    int32_t *ids = calloc(t->vocab.count, sizeof(*ids));
    float *scores = calloc(t->vocab.count, sizeof(*scores));
    bool ok = ids && scores;
    if (ok) {
        q35_gguf_put_string(w, "tokenizer.ggml.model", t->model, strlen(t->model));
        if (pre)
            q35_gguf_put_string(w, "tokenizer.ggml.pre", pre, strlen(pre));
        write_tokens(t, w, ids, scores);
        if (!t->bpe.by_score)
            ok = write_merges(t, w);
        else
            q35_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", t->space_prefix);
        write_ids(t, w);
        write_flagged(t, w, "q35.tokenizer.end_ids", Q35_TOKEN_END, ids);
        write_flagged(t, w, "q35.tokenizer.rstrip_ids", Q35_TOKEN_RSTRIP, ids);
    }
    if (ok && t->json) {
        q35_gguf_put_string(w, "q35.tokenizer.json", t->json, strlen(t->json));
        q35_gguf_put_i32s(w, "q35.tokenizer.prefix_ids", t->prefix.data, t->prefix.count);
        q35_gguf_put_i32s(w, "q35.tokenizer.suffix_ids", t->suffix.data, t->suffix.count);
    }
    free(ids);
    free(scores);
    return ok ? Q35_OK : q35_fail(err, Q35_E_NOMEM, "no memory for the tokenizer's metadata");
}
