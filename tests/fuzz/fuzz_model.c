/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <sys/mman.h>

#include "core/model/gguf.h"
#include "core/model/model.h"
#include "core/model/source.h"
#include "core/model/source_internal.h"

/* libFuzzer target for everything that reads model files. The first byte chooses the reader; the
 * rest is the file. */

static const char *const fuzz_files[8] = {"config.json", "model.safetensors",
                                          "model.safetensors.index.json"};

/* Every accessor on every key and tensor; sums keep the reads alive. */
static uint64_t walk_gguf(const struct q35_gguf *g)
{
    uint64_t n = q35_gguf_key_count(g), i, k, sum = 0;
    for (i = 0; i < n; i++) {
        uint32_t type, u = 0;
        uint64_t count, *u64s;
        const struct q35_view *texts;
        struct q35_view v = q35_gguf_key_at(g, i, &type);
        char *key = strndup(v.data, v.len);
        int32_t *i32s;
        float f = 0, *f32s;
        bool b = false;
        sum += q35_gguf_has(g, key) + type;
        sum += q35_gguf_u32(g, key, &u, NULL) + u + q35_gguf_f32(g, key, &f, NULL);
        sum += q35_gguf_bool(g, key, &b, NULL) + b;
        if (q35_gguf_string(g, key, &v, NULL) == Q35_OK && v.len)
            sum += (uint8_t)v.data[v.len - 1];
        if (q35_gguf_strings(g, key, &texts, &count, NULL) == Q35_OK)
            for (k = 0; k < count; k++)
                sum += texts[k].len ? (uint8_t)texts[k].data[texts[k].len - 1] : 0;
        if (q35_gguf_f32s(g, key, &f32s, &count, NULL) == Q35_OK)
            free(f32s);
        if (q35_gguf_i32s(g, key, &i32s, &count, NULL) == Q35_OK)
            free(i32s);
        if (q35_gguf_u64s(g, key, &u64s, &count, NULL) == Q35_OK)
            free(u64s);
        free(key);
    }
    for (i = 0; i < q35_gguf_tensor_count(g); i++) {
        const struct q35_gguf_tensor *t = q35_gguf_tensor_at(g, i);
        if (t->bytes)
            sum += t->data[0] + t->data[t->bytes - 1];
    }
    return sum;
}

static uint64_t walk_source(const struct q35_source *s)
{
    uint32_t layer, role, r;
    uint64_t sum = 0;
    for (layer = 0; layer < q35_source_params(s)->n_layers; layer++)
        for (role = 0; role < Q35_ROLE_COUNT; role++) {
            struct q35_source_tensor t;
            float *row;
            if (q35_source_tensor(s, layer, role, &t) != Q35_OK)
                continue;
            row = malloc(4 * (size_t)t.cols);
            for (r = 0; row && r < t.rows; r++)
                sum += q35_source_rows(&t, r, 1, row, NULL);
            free(row);
        }
    return sum;
}

static uint64_t walk_model(const struct q35_model *m)
{
    uint32_t i, t;
    uint64_t sum = q35_model_bytes(m) + q35_model_bytes_per_token(m);
    int8_t w[Q35_MAX_TILE_COLS];
    for (i = 0; i < q35_model_layer_count(m); i++)
        for (t = 0; t < q35_model_layers(m)[i].tensor_count; t++) {
            const struct q35_tensor_desc *d = &q35_model_layers(m)[i].tensors[t];
            const uint8_t *p = q35_model_data(m, i, t);
            if (d->type != Q35_TENSOR_PACKED)
                continue;
            q35_decode_row(d->scheme, (const struct q35_tables *)p, p + q35_codes_offset(d->rows),
                           15, w);
            sum += (uint8_t)w[0] + (uint64_t)q35_model_verify(m, NULL);
        }
    return sum;
}

static void open_gguf(const uint8_t *data, size_t size)
{
    struct q35_gguf *g;
    volatile uint64_t sink = 0;
    if (q35_gguf_open_memory(&g, data, size, "fuzz", NULL) == Q35_OK) {
        sink = walk_gguf(g);
        q35_gguf_close(g);
    }
    (void)sink;
}

static void open_model(const uint8_t *data, size_t size)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint8_t *copy = aligned_alloc(64, (size + 64) & ~(size_t)63);
    struct q35_model *m;
    if (!copy)
        return;
    memcpy(copy, data, size);
    if (q35_model_open_memory(&m, copy, size, "fuzz", &err) == Q35_OK) {
        (void)walk_model(m);
        q35_model_close(m);
    }
    free(copy);
}

static void open_safetensors(const uint8_t *data, size_t size)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source s;
    uint64_t i;
    memset(&s, 0, sizeof(s));
    if (q35_safetensors_parse(&s, data, size, "fuzz", &err) == Q35_OK)
        (void)q35_source_sort(&s, &err);
    for (i = 0; i < s.raw_count; i++)
        free(s.raw[i].name);
    free(s.raw);
}

static void open_source(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source *s;
    if (q35_source_open(&s, path, &err) == Q35_OK) {
        (void)walk_source(s);
        q35_source_close(s);
    }
}

/* A GGUF source from a file without a place in a directory. */
static void open_source_gguf(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    open_source(path);
    close(fd);
}

/* A directory whose config.json, or shard index, is the input. */
static void open_source_dir(const uint8_t *data, size_t size, bool index)
{
    static const char config[] =
        "{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":8,"
        "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"vocab_size\":8,"
        "\"max_position_embeddings\":8}";
    static const char file[] = "\x02\0\0\0\0\0\0\0{}";
    char path[128];
    if (!fuzz_dir[0])
        fuzz_write(fuzz_path(path, "model.safetensors"), file, sizeof(file) - 1);
    fuzz_path(path, "model.safetensors.index.json");
    if (index)
        fuzz_write(path, data, size);
    else
        unlink(path);
    fuzz_path(path, "config.json");
    if (index)
        fuzz_write(path, config, sizeof(config) - 1);
    else
        fuzz_write(path, data, size);
    open_source(fuzz_folder());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    switch (data[0]) {
    case 'g':
        open_gguf(data + 1, size - 1);
        break;
    case 'm':
        open_model(data + 1, size - 1);
        break;
    case 't':
        open_safetensors(data + 1, size - 1);
        break;
    case 's':
        open_source_gguf(data + 1, size - 1);
        break;
    case 'c':
    case 'i':
        open_source_dir(data + 1, size - 1, data[0] == 'i');
        break;
    default:
        break;
    }
    return 0;
}
