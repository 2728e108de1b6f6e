/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdatomic.h>
#include <unistd.h>

#include "core/model/gguf.h"
#include "core/model/model.h"
#include "core/model/roles.h"
#include "core/model/source.h"
#include "core/quant/convert.h"
#include "core/text/tokenizer.h"
#include "fixture.h"

static struct fixture with_tokenizer(void)
{
    struct fixture f = fixture_llama();
    f.tokenizer = true;
    return f;
}

static void convert_ok(const char *in, const char *out, const struct q35_convert_params *p,
                       struct q35_convert_stats *stats)
{
    struct q35_error err = Q35_ERROR_INIT;
    if (q35_convert(in, out, p, stats, &err) != Q35_OK)
        fail_msg("%s", err.message);
}

static struct q35_model *open_ok(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_model *m = NULL;
    if (q35_model_open(&m, path, &err) != Q35_OK)
        fail_msg("%s", err.message);
    return m;
}

/* The tensor of a role in a graph layer; NULL if there is none. */
static const struct q35_tensor_desc *find(const struct q35_model *m, uint32_t layer, uint32_t role,
                                          const uint8_t **data)
{
    const struct q35_layer *l = &q35_model_layers(m)[layer];
    uint32_t t;
    for (t = 0; t < l->tensor_count; t++)
        if (l->tensors[t].role == role) {
            *data = q35_model_data(m, layer, t);
            return &l->tensors[t];
        }
    return NULL;
}

/* Relative error of a packed tensor against the fixture's values. */
static double packed_error(const struct q35_model *m, uint32_t layer, uint32_t role,
                           const char *name)
{
    struct q35_error err = Q35_ERROR_INIT;
    const uint8_t *data;
    const struct q35_tensor_desc *d = find(m, layer, role, &data);
    uint64_t n = (uint64_t)d->rows * d->cols, i;
    double e2 = 0, w2 = 0;
    float *w = malloc(n * sizeof(*w));
    assert_int_equal(d->type, Q35_TENSOR_PACKED);
    assert_int_equal((uintptr_t)data % 64, 0);
    assert_int_equal(
        q35_decode_matrix(d->scheme, d->rows, d->cols, d->rot_block, d->rot_seed, data, w, &err),
        Q35_OK);
    for (i = 0; i < n; i++) {
        double v = (double)fixture_value(name, i);
        e2 += ((double)w[i] - v) * ((double)w[i] - v);
        w2 += v * v;
    }
    free(w);
    return sqrt(e2 / w2);
}

static void converts_and_opens(void **state)
{
    static const struct {
        uint32_t scheme;
        double error;
    } schemes[] = {{Q35_SCHEME_TRELLIS, 0.12},
                   {Q35_SCHEME_VQ2, 0.14},
                   {Q35_SCHEME_ALT43, 0.17},
                   {Q35_SCHEME_TRIPLE, 0.12}}; /* 128 columns: pairs */
    struct fixture f = with_tokenizer();
    struct q35_error err = Q35_ERROR_INIT;
    size_t i;
    (void)state;
    fixture_write_gguf(&f, fixture_path("in.gguf"));
    for (i = 0; i < Q35_COUNT(schemes); i++) {
        struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
        struct q35_convert_stats stats;
        const struct q35_params *params;
        const struct q35_tensor_desc *d;
        const struct q35_layer *l;
        struct q35_tokenizer *t;
        struct q35_model *m;
        const uint8_t *data;
        float v;
        p.scheme = schemes[i].scheme;
        p.threads = 2;
        convert_ok(fixture_path("in.gguf"), fixture_path("out.q35.gguf"), &p, &stats);
        m = open_ok(fixture_path("out.q35.gguf"));
        params = q35_model_params(m);
        assert_string_equal(q35_model_scheme(m), q35_scheme_name(schemes[i].scheme));
        assert_string_equal(params->name, "fixture");
        assert_int_equal(params->rope_style, Q35_ROPE_PAIRS);
        assert_true(params->attn_scale == 0.25f && params->norm_eps == 1e-5f);
        assert_int_equal(q35_model_layer_count(m), 4);
        l = q35_model_layers(m);
        assert_int_equal(l[0].kind, Q35_LAYER_EMBED);
        assert_int_equal(l[1].kind, Q35_LAYER_DECODER);
        assert_int_equal(l[3].kind, Q35_LAYER_HEAD);
        assert_int_equal(l[3].index, 3);
        assert_int_equal(l[0].tensor_count, 1);
        assert_int_equal(l[1].tensor_count, 10); /* nine, and rope frequencies */
        assert_int_equal(l[3].tensor_count, 2);
        assert_true(packed_error(m, 0, Q35_ROLE_TOKEN_EMBED, "token_embd.weight") < 0.015);
        assert_true(packed_error(m, 3, Q35_ROLE_HEAD, "output.weight") < 0.015);
        assert_true(packed_error(m, 2, Q35_ROLE_K, "blk.1.attn_k.weight") < schemes[i].error);
        assert_true(packed_error(m, 1, Q35_ROLE_DOWN, "blk.0.ffn_down.weight") < schemes[i].error);
        assert_true(stats.rmse > 0 && stats.rmse < schemes[i].error);
        assert_int_equal(stats.weights,
                         2 * 288 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64));
        d = find(m, 2, Q35_ROLE_FFN_NORM, &data);
        memcpy(&v, data + 4 * 17, 4);
        assert_true(v == fixture_value("blk.1.ffn_norm.weight", 17));
        d = find(m, 2, Q35_ROLE_ROPE_FREQ, &data);
        assert_int_equal(d->cols, 8);
        memcpy(&v, data, 4);
        assert_true(v == 1.0f);
        d = find(m, 2, Q35_ROLE_Q, &data);
        assert_true(d->hash == q35_hash_chunk(data, d->bytes, 0));
        assert_int_equal(q35_model_verify(m, &err), Q35_OK);
        assert_int_equal(q35_tokenizer_from_gguf(&t, q35_model_gguf(m), &err), Q35_OK);
        assert_int_equal(q35_tokenizer_vocab(t), 288);
        q35_tokenizer_destroy(t);
        q35_model_close(m);
    }
}

static char *slurp(const char *path, size_t *bytes)
{
    struct q35_error err = Q35_ERROR_INIT;
    char *text;
    assert_int_equal(q35_file_read(path, 1u << 24, &text, bytes, &err), Q35_OK);
    return text;
}

static void same_bytes_at_any_thread_count(void **state)
{
    struct fixture f = with_tokenizer();
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    size_t n[2];
    char *a, *b;
    (void)state;
    fixture_write_gguf(&f, fixture_path("in.gguf"));
    p.threads = 1;
    convert_ok(fixture_path("in.gguf"), fixture_path("one.gguf"), &p, NULL);
    p.threads = 3;
    convert_ok(fixture_path("in.gguf"), fixture_path("three.gguf"), &p, NULL);
    a = slurp(fixture_path("one.gguf"), &n[0]);
    b = slurp(fixture_path("three.gguf"), &n[1]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(a, b, n[0]);
    free(b);
    p.rot_seed = 2;
    convert_ok(fixture_path("in.gguf"), fixture_path("three.gguf"), &p, NULL);
    b = slurp(fixture_path("three.gguf"), &n[1]);
    assert_int_not_equal(memcmp(a, b, n[0]), 0);
    free(a);
    free(b);
}

static void options_reach_the_file(void **state)
{
    struct fixture f = with_tokenizer();
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    const uint8_t *data;
    struct q35_model *m;
    (void)state;
    f.arch = "qwen2";
    f.qkv_bias = f.tied = true;
    fixture_write_gguf(&f, fixture_path("in.gguf"));
    p.rotate = false;
    p.tensor_types = "blk.0.attn_*=vq2,*.ffn_down.weight=single";
    convert_ok(fixture_path("in.gguf"), fixture_path("opt.gguf"), &p, NULL);
    m = open_ok(fixture_path("opt.gguf"));
    assert_string_equal(q35_model_params(m)->arch, "qwen2");
    assert_true(q35_model_params(m)->tied);
    assert_int_equal(find(m, 1, Q35_ROLE_Q, &data)->scheme, Q35_SCHEME_VQ2);
    assert_int_equal(find(m, 1, Q35_ROLE_Q, &data)->rot_block, 0);
    assert_int_equal(find(m, 2, Q35_ROLE_Q, &data)->scheme, Q35_SCHEME_TRELLIS);
    assert_int_equal(find(m, 2, Q35_ROLE_DOWN, &data)->scheme, Q35_SCHEME_SINGLE);
    assert_int_equal(find(m, 2, Q35_ROLE_V_BIAS, &data)->cols, 32);
    assert_non_null(find(m, 3, Q35_ROLE_HEAD, &data));
    assert_ptr_equal(data, q35_model_data(m, 0, 0)); /* tied: one blob */
    assert_true(packed_error(m, 2, Q35_ROLE_DOWN, "blk.1.ffn_down.weight") < 0.015);
    q35_model_close(m);
    p.tensor_types = "blk.0.*=q4_0";
    assert_int_equal(q35_convert(fixture_path("in.gguf"), fixture_path("no.gguf"), &p, NULL, &err),
                     Q35_E_INVALID);
    assert_non_null(strstr(err.message, "blk.0.*=q4_0"));
    assert_int_not_equal(access(fixture_path("no.gguf"), F_OK), 0);
}

/* Counts of bytes that a person can check by hand. */
static void sizes_are_true(void **state)
{
    struct fixture f = with_tokenizer();
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    struct q35_convert_stats stats;
    uint64_t pair64 = 512 + 4 * 64 + 4 * 896 + 64;                  /* [64][64 -> 128] */
    uint64_t pair32 = 512 + 4 * 32 + 2 * 896 + 64;                  /* [32][64 -> 128] */
    uint64_t pair96 = 512 + 4 * 96 + 6 * 896 + 64;                  /* [96][64 -> 128] */
    uint64_t single = 512 + 4 * 288 + 18 * 2 * 896 + 64;            /* [288][64 -> 128], 7 bits */
    uint64_t layer = 2 * pair64 + 2 * pair32 + 2 * pair96 + pair64; /* down: [64][96 -> 128] */
    struct q35_model *m;
    (void)state;
    fixture_write_gguf(&f, fixture_path("in.gguf"));
    convert_ok(fixture_path("in.gguf"), fixture_path("out.q35.gguf"), &p, &stats);
    assert_int_equal(stats.decoder_bytes, 2 * layer);
    assert_int_equal(stats.packed_bytes, 2 * layer + 2 * single);
    m = open_ok(fixture_path("out.q35.gguf"));
    /* with five norms of 64 and 8 frequencies */
    assert_int_equal(q35_model_bytes(m), 2 * layer + 2 * single + 5 * 256 + 32);
    assert_int_equal(q35_model_bytes_per_token(m),
                     2 * layer + single + 5 * 256 + 2 * 32 + (2 * 56 + 4));
    q35_model_close(m);
}

static void stop_in_the_middle(void *ctx, uint64_t done, uint64_t total)
{
    if (done > total / 2)
        atomic_store((atomic_bool *)ctx, true);
}

static void failures_leave_nothing(void **state)
{
    struct fixture f = with_tokenizer();
    struct q35_convert_params p = Q35_CONVERT_PARAMS_INIT;
    struct q35_error err = Q35_ERROR_INIT;
    atomic_bool cancel = false;
    size_t before, after;
    char *a, *b;
    int files;
    (void)state;
    f.bad_value = "blk.1.ffn_up.weight";
    fixture_write_gguf(&f, fixture_path("nan.gguf"));
    files = fixture_files();
    assert_int_equal(q35_convert(fixture_path("nan.gguf"), fixture_path("x.gguf"), &p, NULL, &err),
                     Q35_E_FORMAT);
    assert_non_null(strstr(err.message, "blk.1.ffn_up.weight is not finite at row 0, column 5"));
    assert_int_equal(fixture_files(), files);
    f.bad_value = NULL;
    fixture_write_gguf(&f, fixture_path("nan.gguf"));
    p.cancel = &cancel;
    p.ctx = &cancel;
    p.progress = stop_in_the_middle;
    assert_int_equal(q35_convert(fixture_path("nan.gguf"), fixture_path("x.gguf"), &p, NULL, &err),
                     Q35_E_CANCELLED);
    assert_int_equal(fixture_files(), files);
    a = slurp(fixture_path("nan.gguf"), &before);
    p.cancel = NULL;
    p.progress = NULL;
    assert_int_equal(
        q35_convert(fixture_path("nan.gguf"), fixture_path("nan.gguf"), &p, NULL, &err),
        Q35_E_INVALID);
    assert_non_null(strstr(err.message, "is the input"));
    b = slurp(fixture_path("nan.gguf"), &after);
    assert_int_equal(before, after);
    assert_memory_equal(a, b, before);
    free(a);
    free(b);
    f.tokenizer = false;
    fixture_write_gguf(&f, fixture_path("nan.gguf"));
    assert_int_not_equal(
        q35_convert(fixture_path("nan.gguf"), fixture_path("x.gguf"), &p, NULL, &err), Q35_OK);
    assert_non_null(strstr(err.message, "tokenizer"));
    assert_int_equal(fixture_files(), files);
}

/* ---- synthetic ---------------------------------------------------------------------------- */

static void synthetic_shapes(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    const struct q35_params *p;
    struct q35_model *m;
    const uint8_t *data;
    (void)state;
    assert_int_equal(q35_model_synthetic(&m, "llama-1b", false, &err), Q35_OK);
    p = q35_model_params(m);
    assert_int_equal(p->n_layers, 22);
    assert_int_equal(p->d_model, 2048);
    assert_int_equal(p->d_ffn, 5632);
    assert_int_equal(p->n_kv_heads, 4);
    assert_int_equal(p->vocab, 32000);
    assert_null(q35_model_data(m, 1, 1));
    assert_null(q35_model_gguf(m));
    q35_model_close(m);
    assert_int_equal(q35_model_synthetic(&m, "llama-7b", false, &err), Q35_OK);
    assert_int_equal(q35_model_params(m)->d_ffn, 11008);
    assert_int_equal(q35_model_params(m)->n_layers, 32);
    q35_model_close(m);
    /* 855,638,016 weights of a 70B layer at 3.5 bits, with a scale a row and tables */
    assert_int_equal(q35_model_synthetic(&m, "llama-70b:80", false, &err), Q35_OK);
    assert_int_equal(q35_model_layer_count(m), 82);
    assert_int_equal(find(m, 80, Q35_ROLE_DOWN, &data)->bytes,
                     512 + 4 * 8192 + 8192ull * 28672 * 7 / 16 + 64);
    q35_model_close(m);
    /* three weights a code: 28,672 columns are 149.3 tiles of 192 */
    assert_int_equal(q35_model_synthetic(&m, "llama-70b:1/triple", false, &err), Q35_OK);
    assert_int_equal(find(m, 1, Q35_ROLE_DOWN, &data)->bytes,
                     512 + 4 * 8192 + 512ull * 150 * 896 + 64);
    assert_int_equal(find(m, 0, Q35_ROLE_TOKEN_EMBED, &data)->scheme, Q35_SCHEME_SINGLE);
    q35_model_close(m);
    assert_int_equal(q35_model_synthetic(&m, "llama-1b/none", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "llama-1b/", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "llama-70b:4x/vq2", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "llama-70b", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "llama-70b:0", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "llama-70b:x", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "llama-70b:4x", false, &err), Q35_E_INVALID);
    assert_int_equal(q35_model_synthetic(&m, "gpt", false, &err), Q35_E_INVALID);
    assert_null(m);
}

static void synthetic_data(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    const struct q35_tensor_desc *d;
    struct q35_model *m;
    const uint8_t *data;
    double sum2 = 0;
    float *w;
    uint32_t i;
    (void)state;
    assert_int_equal(q35_model_synthetic(&m, "llama-1b:1", true, &err), Q35_OK);
    assert_int_equal(q35_model_verify(m, &err), Q35_OK);
    d = find(m, 1, Q35_ROLE_K, &data);
    assert_int_equal(d->scheme, Q35_SCHEME_TRELLIS);
    assert_true(d->hash == q35_hash_chunk(data, d->bytes, 0));
    w = malloc(sizeof(*w) * d->rows * d->cols);
    assert_int_equal(
        q35_decode_matrix(d->scheme, d->rows, d->cols, d->rot_block, d->rot_seed, data, w, &err),
        Q35_OK);
    for (i = 0; i < d->rows * d->cols; i++)
        sum2 += (double)w[i] * (double)w[i];
    /* rows of norm 1 over the inputs: outputs as large as inputs */
    assert_true(fabs(sum2 / d->rows - 1) < 0.05);
    free(w);
    q35_model_close(m);
}

static void roles_are_in_order(void **state)
{
    uint32_t i;
    char name[Q35_TENSOR_NAME_MAX];
    (void)state;
    for (i = 0; i < Q35_ROLE_INFO_COUNT; i++)
        assert_int_equal(q35_role_infos[i].role, i);
    assert_string_equal(q35_role_name(Q35_ROLE_UP, 7, name), "blk.7.ffn_up.weight");
    assert_string_equal(q35_role_name(Q35_ROLE_OUT_NORM, 7, name), "output_norm.weight");
}

static void hashes_agree(void **state)
{
    uint8_t data[100];
    uint64_t n;
    (void)state;
    for (n = 0; n < sizeof(data); n++)
        data[n] = (uint8_t)(n * 37 + 1);
    for (n = 0; n <= sizeof(data); n++)
        assert_true(q35_hash_data(data, n) == q35_hash_chunk(data, n, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts_and_opens),     cmocka_unit_test(same_bytes_at_any_thread_count),
        cmocka_unit_test(options_reach_the_file), cmocka_unit_test(sizes_are_true),
        cmocka_unit_test(failures_leave_nothing), cmocka_unit_test(synthetic_shapes),
        cmocka_unit_test(synthetic_data),         cmocka_unit_test(roles_are_in_order),
        cmocka_unit_test(hashes_agree),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
