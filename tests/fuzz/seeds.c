/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/model/gguf.h"
#include "core/model/model.h"
#include "core/quant/convert.h"
#include "fixture.h"

/* Writes what fuzz_model starts from into a directory: one small valid file for each reader. */

static void write_seed(const char *dir, const char *name, char kind, const char *data, size_t size)
{
    char path[512];
    FILE *f;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "wb");
    assert_non_null(f);
    fputc(kind, f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void copy_seed(const char *dir, const char *name, char kind, const char *from)
{
    struct q35_error err = Q35_ERROR_INIT;
    char *data;
    size_t size;
    assert_int_equal(q35_file_read(from, 1u << 24, &data, &size, &err), Q35_OK);
    write_seed(dir, name, kind, data, size);
    free(data);
}

int main(int argc, char **argv)
{
    struct fixture f = fixture_llama();
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    static const char index[] = "{\"weight_map\": {\"lm_head.weight\": \"model.safetensors\"}}";
    if (argc != 2 || fixture_setup(NULL) != 0)
        return 2;
    f.layers = f.heads = f.kv_heads = 1;
    f.d = f.head_dim = 4;
    f.ffn = 2;
    f.vocab = 4;
    f.rope_divisors = true;
    f.config =
        ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": "
        "1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}";
    fixture_write_gguf(&f, fixture_path("in.gguf"));
    copy_seed(argv[1], "gguf", 'g', fixture_path("in.gguf"));
    copy_seed(argv[1], "source", 's', fixture_path("in.gguf"));
    f.rope_divisors = false;
    fixture_write_hf(&f, fixture_path("hf"));
    copy_seed(argv[1], "config", 'c', fixture_path("hf/config.json"));
    copy_seed(argv[1], "safetensors", 't', fixture_path("hf/model.safetensors"));
    write_seed(argv[1], "index", 'i', index, sizeof(index) - 1);
    f.tied = f.tokenizer = true;
    fixture_write_gguf(&f, fixture_path("tok.gguf"));
    if (q35_convert(fixture_path("tok.gguf"), fixture_path("out.gguf"), &p, NULL, &err) != Q35_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    copy_seed(argv[1], "model", 'm', fixture_path("out.gguf"));
    p.tensor_types = "*=triple";
    if (q35_convert(fixture_path("tok.gguf"), fixture_path("out.gguf"), &p, NULL, &err) != Q35_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    copy_seed(argv[1], "triple", 'm', fixture_path("out.gguf"));
    return fixture_teardown(NULL);
}
