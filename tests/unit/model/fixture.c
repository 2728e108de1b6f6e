/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/model/gguf.h"
#include "core/model/gguf_write.h"
#include "q35/arith.h"

static char root[] = "/tmp/q35-model-XXXXXX";

int fixture_setup(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int drop(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

int fixture_teardown(void **state)
{
    (void)state;
    return nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
}

const char *fixture_path(const char *name)
{
    static char paths[8][256];
    static int next;
    next = (next + 1) % 8;
    snprintf(paths[next], sizeof(paths[next]), "%s/%s", root, name);
    return paths[next];
}

int fixture_files(void)
{
    DIR *d = opendir(root);
    struct dirent *e;
    int n = 0;
    while ((e = readdir(d)))
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

struct fixture fixture_llama(void)
{
    struct fixture f = {.arch = "llama",
                        .layers = 2,
                        .d = 64,
                        .ffn = 96,
                        .heads = 4,
                        .kv_heads = 2,
                        .head_dim = 16,
                        .vocab = 288,
                        .type = Q35_GGML_F32,
                        .bad_at = 5};
    return f;
}

float fixture_value(const char *name, uint64_t i)
{
    uint64_t h = 7;
    for (; *name; name++)
        h = h * 131 + (uint8_t)*name;
    return (float)((double)(q35_mix64(h + i * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-52 - 1.0);
}

/* ---- the list of tensors ------------------------------------------------------------------ */

struct item {
    char name[96];
    uint32_t type;
    uint64_t rows, cols; /* rows 0: a vector */
    uint64_t bytes;
};

struct list {
    struct item items[256];
    uint32_t count;
};

static uint64_t type_bytes(uint32_t type, uint64_t n)
{
    return type == Q35_GGML_F32 ? 4 * n : type == Q35_GGML_Q8_0 ? n / 32 * 34 : 2 * n;
}

static void add(struct list *l, const struct fixture *f, const char *name, uint64_t rows,
                uint64_t cols)
{
    struct item *t = &l->items[l->count];
    if (f->omit && strcmp(f->omit, name) == 0)
        return;
    assert_true(l->count < Q35_COUNT(l->items));
    snprintf(t->name, sizeof(t->name), "%s", name);
    t->type = rows ? f->type : (uint32_t)Q35_GGML_F32;
    t->rows = rows;
    t->cols = cols +
              (f->reshape && strcmp(f->reshape, name) == 0 ? t->type == Q35_GGML_Q8_0 ? 32 : 1 : 0);
    t->bytes = type_bytes(t->type, (rows ? rows : 1) * t->cols);
    l->count++;
}

static void add_layer(struct list *l, const struct fixture *f, uint32_t layer, bool hf)
{
    uint32_t q = f->heads * f->head_dim, kv = f->kv_heads * f->head_dim;
    char name[96];
#define ADD(gguf_name, hf_name, rows, cols)                                                        \
    do {                                                                                           \
        if (hf)                                                                                    \
            snprintf(name, sizeof(name), "model.layers.%u.%s", layer, hf_name);                    \
        else                                                                                       \
            snprintf(name, sizeof(name), "blk.%u.%s", layer, gguf_name);                           \
        add(l, f, name, rows, cols);                                                               \
    } while (0)
    ADD("attn_norm.weight", "input_layernorm.weight", 0, f->d);
    if (f->fused) {
        ADD("attn_qkv.weight", "self_attn.qkv_proj.weight", q + 2 * kv, f->d);
        ADD("ffn_up.weight", "mlp.gate_up_proj.weight", 2 * f->ffn, f->d);
    } else {
        ADD("attn_q.weight", "self_attn.q_proj.weight", q, f->d);
        ADD("attn_k.weight", "self_attn.k_proj.weight", kv, f->d);
        ADD("attn_v.weight", "self_attn.v_proj.weight", kv, f->d);
        ADD("ffn_gate.weight", "mlp.gate_proj.weight", f->ffn, f->d);
        ADD("ffn_up.weight", "mlp.up_proj.weight", f->ffn, f->d);
    }
    if (f->qkv_bias) {
        ADD("attn_q.bias", "self_attn.q_proj.bias", 0, q);
        ADD("attn_k.bias", "self_attn.k_proj.bias", 0, kv);
        ADD("attn_v.bias", "self_attn.v_proj.bias", 0, kv);
    }
    if (f->qk_norm) {
        ADD("attn_q_norm.weight", "self_attn.q_norm.weight", 0, f->head_dim);
        ADD("attn_k_norm.weight", "self_attn.k_norm.weight", 0, f->head_dim);
    }
    ADD("attn_output.weight", "self_attn.o_proj.weight", f->d, q);
    ADD("ffn_norm.weight", "post_attention_layernorm.weight", 0, f->d);
    ADD("ffn_down.weight", "mlp.down_proj.weight", f->d, f->ffn);
#undef ADD
}

static struct list *list_all(const struct fixture *f, bool hf)
{
    struct list *l = calloc(1, sizeof(*l));
    uint32_t i;
    assert_non_null(l);
    add(l, f, hf ? "model.embed_tokens.weight" : "token_embd.weight", f->vocab, f->d);
    for (i = 0; i < f->layers; i++)
        add_layer(l, f, i, hf);
    add(l, f, hf ? "model.norm.weight" : "output_norm.weight", 0, f->d);
    if (!f->tied)
        add(l, f, hf ? "lm_head.weight" : "output.weight", f->vocab, f->d);
    if (f->rope_divisors)
        add(l, f, "rope_freqs.weight", 0, f->head_dim / 2);
    if (f->extra)
        add(l, f, f->extra, 0, 1);
    return l;
}

/* The bytes of a tensor; free() them. */
static uint8_t *item_data(const struct fixture *f, const struct item *t)
{
    uint64_t n = (t->rows ? t->rows : 1) * t->cols, i, j;
    uint8_t *p = malloc((size_t)t->bytes);
    bool bad = f->bad_value && strcmp(f->bad_value, t->name) == 0;
    assert_non_null(p);
    for (i = 0; i < n; i++) {
        float v = bad && i == f->bad_at ? NAN : fixture_value(t->name, i);
        uint16_t h;
        uint32_t u;
        if (strcmp(t->name, "rope_freqs.weight") == 0)
            v = (float)(i + 1);
        memcpy(&u, &v, 4);
        switch (t->type) {
        case Q35_GGML_F32:
            memcpy(p + 4 * i, &v, 4);
            break;
        case Q35_GGML_BF16:
            h = (uint16_t)(u >> 16);
            memcpy(p + 2 * i, &h, 2);
            break;
        case Q35_GGML_F16:
            h = q35_f32_to_f16(v);
            memcpy(p + 2 * i, &h, 2);
            break;
        default: /* Q8_0 with scale 1/128 throughout: the value in steps of that */
            j = i / 32 * 34;
            h = bad && i == 0 ? 0x7e00u : q35_f32_to_f16(0x1p-7f);
            if (i % 32 == 0)
                memcpy(p + j, &h, 2);
            p[j + 2 + i % 32] = (uint8_t)(int8_t)(v != v ? 1 : rintf(v * 127.0f));
        }
    }
    return p;
}

/* ---- GGUF --------------------------------------------------------------------------------- */

static void put_arch_u32(struct q35_gguf_writer *w, const struct fixture *f, const char *key,
                         uint32_t v)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", f->arch, key);
    q35_gguf_put_u32(w, name, v);
}

/* <unk>, <s>, </s>, the 256 bytes, and letters. */
static void put_tokenizer(struct q35_gguf_writer *w, const struct fixture *f)
{
    float *scores = calloc(f->vocab, sizeof(*scores));
    int32_t *kinds = calloc(f->vocab, sizeof(*kinds));
    char piece[16];
    uint32_t i;
    q35_gguf_put_string(w, "tokenizer.ggml.model", "llama", 5);
    q35_gguf_put_strings_begin(w, "tokenizer.ggml.tokens", f->vocab);
    for (i = 0; i < f->vocab; i++) {
        static const char *const first[] = {"<unk>", "<s>", "</s>"};
        if (i < 3)
            snprintf(piece, sizeof(piece), "%s", first[i]);
        else if (i < 259)
            snprintf(piece, sizeof(piece), "<0x%02X>", i - 3);
        else
            snprintf(piece, sizeof(piece), "%c", 'a' + (int)(i - 259) % 26);
        if (i >= 259 + 26)
            snprintf(piece, sizeof(piece), "tok%u", i);
        kinds[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
        scores[i] = -(float)i;
        q35_gguf_put_strings_item(w, piece, strlen(piece));
    }
    q35_gguf_put_f32s(w, "tokenizer.ggml.scores", scores, f->vocab);
    q35_gguf_put_i32s(w, "tokenizer.ggml.token_type", kinds, f->vocab);
    q35_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    q35_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    q35_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    free(scores);
    free(kinds);
}

static void put_metadata(struct q35_gguf_writer *w, const struct fixture *f)
{
    char key[96];
    q35_gguf_put_string(w, "general.architecture", f->arch, strlen(f->arch));
    q35_gguf_put_string(w, "general.name", "fixture", 7);
    put_arch_u32(w, f, "block_count", f->layers);
    put_arch_u32(w, f, "embedding_length", f->d);
    put_arch_u32(w, f, "feed_forward_length", f->ffn);
    put_arch_u32(w, f, "attention.head_count", f->heads);
    put_arch_u32(w, f, "attention.head_count_kv", f->kv_heads);
    put_arch_u32(w, f, "attention.key_length", f->head_dim);
    put_arch_u32(w, f, "attention.value_length", f->head_dim);
    put_arch_u32(w, f, "context_length", 128);
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", f->arch);
    q35_gguf_put_f32(w, key, 1e-5f);
    if (f->tokenizer)
        put_tokenizer(w, f);
}

/* Items with index i % parts == part, and the metadata in part 0. */
static void write_gguf_part(const struct fixture *f, const struct list *l, const char *path,
                            uint32_t part, uint32_t parts)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *w;
    uint32_t i;
    assert_int_equal(q35_gguf_writer_create(&w, path, &err), Q35_OK);
    if (part == 0)
        put_metadata(w, f);
    if (parts > 1) {
        q35_gguf_put_u32(w, "split.no", part + (f->wrong_part == part + 1));
        q35_gguf_put_u32(w, "split.count", parts);
        q35_gguf_put_u32(w, "split.tensors.count", l->count);
    }
    for (i = part; i < l->count; i += parts) {
        const struct item *t = &l->items[i];
        uint64_t dims[2] = {t->cols, t->rows};
        q35_gguf_put_tensor(w, t->name, t->type, t->rows ? 2 : 1, dims, t->bytes);
    }
    assert_int_equal(q35_gguf_writer_begin_data(w, &err), Q35_OK);
    for (i = part; i < l->count; i += parts) {
        uint8_t *data = item_data(f, &l->items[i]);
        assert_int_equal(q35_gguf_write_data(w, i / parts, 0, data, l->items[i].bytes, &err),
                         Q35_OK);
        free(data);
    }
    assert_int_equal(q35_gguf_writer_finish(w, &err), Q35_OK);
    q35_gguf_writer_destroy(w);
}

void fixture_write_gguf(const struct fixture *f, const char *path)
{
    struct list *l = list_all(f, false);
    char name[512];
    uint32_t i;
    if (!f->parts)
        write_gguf_part(f, l, path, 0, 1);
    for (i = 0; i < f->parts; i++) {
        snprintf(name, sizeof(name), "%s-%05u-of-%05u.gguf", path, i + 1, f->parts);
        write_gguf_part(f, l, name, i, f->parts);
    }
    free(l);
}

/* ---- Hugging Face ------------------------------------------------------------------------- */

static void write_file(const char *dir, const char *name, const void *data, size_t bytes)
{
    char path[512];
    FILE *file;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void write_config(const struct fixture *f, const char *dir)
{
    struct q35_str s = {0};
    q35_str_addf(&s,
                 "{\"model_type\": \"%s\", \"hidden_size\": %u, \"intermediate_size\": %u,\n"
                 "\"num_hidden_layers\": %u, \"num_attention_heads\": %u,\n"
                 "\"num_key_value_heads\": %u, \"head_dim\": %u, \"vocab_size\": %u,\n"
                 "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-05,\n"
                 "\"hidden_act\": \"silu\", \"tie_word_embeddings\": %s%s}\n",
                 f->arch, f->d, f->ffn, f->layers, f->heads, f->kv_heads, f->head_dim, f->vocab,
                 f->tied || f->claim_tied ? "true" : "false", f->config ? f->config : "");
    write_file(dir, "config.json", s.data, s.len);
    q35_str_fini(&s);
}

/* Items with index i % shards == shard. */
static void write_shard(const struct fixture *f, const struct list *l, const char *dir,
                        const char *name, uint32_t shard, uint32_t shards)
{
    struct q35_str head = {0}, body = {0}, file = {0};
    uint32_t i, b;
    char byte;
    q35_str_addz(&head, "{\"__metadata__\": {\"format\": \"pt\"}");
    for (i = shard; i < l->count; i += shards) {
        const struct item *t = &l->items[i];
        uint8_t *data = item_data(f, t);
        const char *type = t->type == Q35_GGML_F32   ? "F32"
                           : t->type == Q35_GGML_F16 ? "F16"
                                                     : "BF16";
        q35_str_addf(&head, ", \"%s\": {\"dtype\": \"%s\", \"shape\": [", t->name, type);
        if (t->rows)
            q35_str_addf(&head, "%llu, ", (unsigned long long)t->rows);
        q35_str_addf(&head, "%llu], \"data_offsets\": [%zu, %zu]}", (unsigned long long)t->cols,
                     body.len, body.len + (size_t)t->bytes);
        q35_str_add(&body, (const char *)data, (size_t)t->bytes);
        free(data);
    }
    q35_str_addz(&head, "}");
    while (head.len % 8)
        q35_str_addz(&head, " ");
    for (b = 0; b < 8; b++) {
        byte = (char)(head.len >> (8 * b));
        q35_str_add(&file, &byte, 1);
    }
    q35_str_add(&file, head.data, head.len);
    q35_str_add(&file, body.data, body.len);
    write_file(dir, name, file.data, file.len);
    q35_str_fini(&head);
    q35_str_fini(&body);
    q35_str_fini(&file);
}

void fixture_write_hf(const struct fixture *f, const char *dir)
{
    struct list *l = list_all(f, true);
    struct q35_str index = {0};
    char name[64];
    uint32_t i;
    assert_int_equal(mkdir(dir, 0777), 0);
    write_config(f, dir);
    if (!f->shards)
        write_shard(f, l, dir, "model.safetensors", 0, 1);
    for (i = 0; i < f->shards; i++) {
        snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", i + 1, f->shards);
        write_shard(f, l, dir, name, i, f->shards);
    }
    q35_str_addz(&index, "{\"metadata\": {}, \"weight_map\": {");
    for (i = 0; f->shards && i < l->count; i++) {
        snprintf(name, sizeof(name), "model-%05u-of-%05u.safetensors", i % f->shards + 1,
                 f->shards);
        q35_str_addf(&index, "%s\"%s\": \"%s\"", i ? ", " : "", l->items[i].name,
                     i == 0 && f->index_shard ? f->index_shard : name);
    }
    q35_str_addz(&index, "}}\n");
    if (f->shards)
        write_file(dir, "model.safetensors.index.json", index.data, index.len);
    q35_str_fini(&index);
    free(l);
}
