/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <unistd.h>

#include "core/model/gguf.h"
#include "core/model/source_internal.h"
#include "fixture.h"
#include "q35/arith.h"

static struct q35_source *open_ok(const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source *s = NULL;
    if (q35_source_open(&s, path, &err) != Q35_OK)
        fail_msg("%s", err.message);
    return s;
}

static void open_fails(const char *path, enum q35_status status, const char *text)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source *s;
    enum q35_status st = q35_source_open(&s, path, &err);
    if (st != status || !strstr(err.message, text))
        fail_msg("status %d, message '%s'; expected %d and '%s'", st, err.message, status, text);
    assert_null(s);
}

/* Every value of a role is that of `name`, from value `skip` on, to within `tolerance`. */
static void check_role(const struct q35_source *s, uint32_t layer, uint32_t role, const char *name,
                       uint64_t skip, float tolerance)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_source_tensor t;
    uint64_t n, i;
    float *x;
    assert_int_equal(q35_source_tensor(s, layer, role, &t), Q35_OK);
    assert_string_equal(t.name, name);
    n = (uint64_t)t.rows * t.cols;
    x = malloc(n * sizeof(*x));
    assert_int_equal(q35_source_rows(&t, 0, t.rows, x, &err), Q35_OK);
    for (i = 0; i < n; i++)
        if (fabsf(x[i] - fixture_value(name, skip + i)) > tolerance)
            fail_msg("%s[%llu] is %g, expected %g", name, (unsigned long long)i, (double)x[i],
                     (double)fixture_value(name, skip + i));
    free(x);
}

static void gguf_of_every_type(void **state)
{
    static const struct {
        uint32_t type;
        float tolerance;
    } types[] = {
        {Q35_GGML_F32, 0}, {Q35_GGML_F16, 5e-4f}, {Q35_GGML_BF16, 8e-3f}, {Q35_GGML_Q8_0, 1.3e-2f}};
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(types); i++) {
        struct fixture f = fixture_llama();
        struct q35_source_tensor t;
        const struct q35_params *p;
        struct q35_source *s;
        f.type = types[i].type;
        fixture_write_gguf(&f, fixture_path("a.gguf"));
        s = open_ok(fixture_path("a.gguf"));
        p = q35_source_params(s);
        assert_string_equal(p->arch, "llama");
        assert_string_equal(p->name, "fixture");
        assert_int_equal(p->n_layers, 2);
        assert_int_equal(p->head_dim, 16);
        assert_int_equal(p->rope_dim, 16);
        assert_int_equal(p->rope_style, Q35_ROPE_PAIRS);
        assert_int_equal(p->vocab, 288);
        assert_int_equal(p->window, 0);
        assert_false(p->tied);
        assert_true(p->attn_scale == 0.25f && p->norm_eps == 1e-5f && p->embed_scale == 1.0f);
        check_role(s, 0, Q35_ROLE_TOKEN_EMBED, "token_embd.weight", 0, types[i].tolerance);
        check_role(s, 0, Q35_ROLE_HEAD, "output.weight", 0, types[i].tolerance);
        check_role(s, 0, Q35_ROLE_OUT_NORM, "output_norm.weight", 0, 0);
        check_role(s, 1, Q35_ROLE_K, "blk.1.attn_k.weight", 0, types[i].tolerance);
        check_role(s, 1, Q35_ROLE_DOWN, "blk.1.ffn_down.weight", 0, types[i].tolerance);
        assert_int_equal(q35_source_tensor(s, 0, Q35_ROLE_Q_BIAS, &t), Q35_E_NOT_FOUND);
        assert_int_equal(q35_source_tensor(s, 2, Q35_ROLE_Q, &t), Q35_E_NOT_FOUND);
        assert_int_equal(q35_source_tensor(s, 0, Q35_ROLE_ROPE_FREQ, &t), Q35_E_NOT_FOUND);
        assert_non_null(q35_source_gguf(s));
        q35_source_close(s);
    }
}

/* Every part of a split file, found from the first. */
static void gguf_in_parts(void **state)
{
    struct fixture f = fixture_llama();
    struct q35_source *s;
    char second[512];
    (void)state;
    f.parts = 3;
    fixture_write_gguf(&f, fixture_path("split"));
    s = open_ok(fixture_path("split-00001-of-00003.gguf"));
    check_role(s, 0, Q35_ROLE_TOKEN_EMBED, "token_embd.weight", 0, 0);
    check_role(s, 1, Q35_ROLE_Q, "blk.1.attn_q.weight", 0, 0);
    check_role(s, 1, Q35_ROLE_K, "blk.1.attn_k.weight", 0, 0);
    check_role(s, 1, Q35_ROLE_V, "blk.1.attn_v.weight", 0, 0);
    q35_source_close(s);
    snprintf(second, sizeof(second), "%s", fixture_path("split-00002-of-00003.gguf"));
    open_fails(second, Q35_E_NOT_FOUND, "general.architecture");
    assert_int_equal(rename(fixture_path("split-00001-of-00003.gguf"), fixture_path("one.gguf")),
                     0);
    open_fails(fixture_path("one.gguf"), Q35_E_INVALID, "named NAME-00001-of-00003.gguf");
    assert_int_equal(rename(fixture_path("one.gguf"), fixture_path("split-00001-of-00003.gguf")),
                     0);
    unlink(second);
    open_fails(fixture_path("split-00001-of-00003.gguf"), Q35_E_NOT_FOUND,
               "split-00002-of-00003.gguf");
    f.wrong_part = 2;
    fixture_write_gguf(&f, fixture_path("wrong"));
    open_fails(fixture_path("wrong-00001-of-00003.gguf"), Q35_E_FORMAT, "split.no is 2, not 1");
}

/* What ggml's own loops (ggml-quants.c, dequantize_row_*) make of a block, in their words. */
static void ggml_block(uint32_t type, const uint8_t *p, float *y)
{
    const uint8_t *q = p, *ql, *qh, *s;
    uint16_t h[2];
    float d, m;
    int i, j, k, l, is = 0;
    memcpy(h, type == Q35_GGML_Q6_K ? p + 208 : p, 2);
    memcpy(h + 1, p + 2, 2);
    d = q35_f16_to_f32(h[0]);
    m = q35_f16_to_f32(h[1]);
    if (type == Q35_GGML_Q6_K) {
        ql = p, qh = p + 128, s = p + 192;
        for (k = 0; k < 2; k++, y += 128, ql += 64, qh += 32, s += 8)
            for (l = 0; l < 32; l++) {
                is = l / 16;
                int q1 = ((ql[l] & 0xF) | (((qh[l] >> 0) & 3) << 4)) - 32;
                int q2 = ((ql[l + 32] & 0xF) | (((qh[l] >> 2) & 3) << 4)) - 32;
                int q3 = ((ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4)) - 32;
                int q4 = ((ql[l + 32] >> 4) | (((qh[l] >> 6) & 3) << 4)) - 32;
                y[l] = d * (float)(int8_t)s[is] * (float)q1;
                y[l + 32] = d * (float)(int8_t)s[is + 2] * (float)q2;
                y[l + 64] = d * (float)(int8_t)s[is + 4] * (float)q3;
                y[l + 96] = d * (float)(int8_t)s[is + 6] * (float)q4;
            }
    } else if (type == Q35_GGML_Q4_K || type == Q35_GGML_Q5_K) {
        bool five = type == Q35_GGML_Q5_K;
        s = p + 4, qh = p + 16, q = p + (five ? 48 : 16);
        for (j = 0, i = 1; j < 256; j += 64, q += 32, is += 2, i <<= 2)
            for (k = 0; k < 2; k++) {
                int n = is + k, sc = n < 4 ? s[n] & 63 : (s[n + 4] & 0xF) | ((s[n - 4] >> 6) << 4);
                int mn = n < 4 ? s[n + 4] & 63 : (s[n + 4] >> 4) | ((s[n] >> 6) << 4);
                for (l = 0; l < 32; l++) {
                    int v = (k ? q[l] >> 4 : q[l] & 0xF) + (five && qh[l] & (i << k) ? 16 : 0);
                    *y++ = d * (float)sc * (float)v - m * (float)mn;
                }
            }
    } else {
        bool five = type == Q35_GGML_Q5_0 || type == Q35_GGML_Q5_1;
        bool min = type == Q35_GGML_Q4_1 || type == Q35_GGML_Q5_1;
        uint32_t high = 0;
        q += min ? 4 : 2;
        if (five)
            memcpy(&high, q, 4), q += 4;
        for (j = 0; j < 16; j++) {
            int a = (q[j] & 0xF) | (int)(((high >> j) << 4) & 0x10);
            int b = (q[j] >> 4) | (int)((high >> (j + 12)) & 0x10);
            y[j] = d * (float)(min ? a : a - (five ? 16 : 8)) + (min ? m : 0);
            y[j + 16] = d * (float)(min ? b : b - (five ? 16 : 8)) + (min ? m : 0);
        }
    }
}

static void quantized_blocks(void **state)
{
    static const uint32_t types[] = {Q35_GGML_Q4_0, Q35_GGML_Q4_1, Q35_GGML_Q5_0, Q35_GGML_Q5_1,
                                     Q35_GGML_Q4_K, Q35_GGML_Q5_K, Q35_GGML_Q6_K};
    size_t i, k, n;
    (void)state;
    for (i = 0; i < Q35_COUNT(types); i++) {
        const struct q35_block_reader *r = q35_block_reader(types[i]);
        assert_non_null(r);
        for (n = 0; n < 50; n++) {
            uint8_t block[256];
            float got[256], want[256];
            uint16_t scale = q35_f32_to_f16(0.01f * (float)(n + 1));
            for (k = 0; k < r->bytes; k++)
                block[k] = (uint8_t)(int)(fixture_value("block", (n * 8 + i) * 256 + k) * 1e6f);
            memcpy(block + (types[i] == Q35_GGML_Q6_K ? 208 : 0), &scale, 2);
            if (types[i] != Q35_GGML_Q6_K && types[i] != Q35_GGML_Q4_0 && types[i] != Q35_GGML_Q5_0)
                memcpy(block + 2, &scale, 2);
            r->read(block, got);
            ggml_block(types[i], block, want);
            for (k = 0; k < r->values; k++)
                if (got[k] != want[k])
                    fail_msg("%s: value %zu is %g, not %g", q35_gguf_tensor_type_name(types[i]), k,
                             (double)got[k], (double)want[k]);
        }
    }
    assert_null(q35_block_reader(10)); /* Q2_K */
    assert_null(q35_block_reader(Q35_GGML_F32));
}

static void directories_single_and_sharded(void **state)
{
    static const uint32_t types[] = {Q35_GGML_F32, Q35_GGML_F16, Q35_GGML_BF16};
    static const float tolerance[] = {0, 5e-4f, 8e-3f};
    char name[32];
    uint32_t i;
    (void)state;
    for (i = 0; i < 3; i++) {
        struct fixture f = fixture_llama();
        struct q35_source *s;
        f.type = types[i];
        f.shards = i * 2;
        snprintf(name, sizeof(name), "hf-%u", i);
        fixture_write_hf(&f, fixture_path(name));
        s = open_ok(fixture_path(name));
        assert_int_equal(q35_source_params(s)->rope_style, Q35_ROPE_HALVES);
        assert_string_equal(q35_source_params(s)->name, name);
        check_role(s, 0, Q35_ROLE_TOKEN_EMBED, "model.embed_tokens.weight", 0, tolerance[i]);
        check_role(s, 1, Q35_ROLE_UP, "model.layers.1.mlp.up_proj.weight", 0, tolerance[i]);
        check_role(s, 1, Q35_ROLE_FFN_NORM, "model.layers.1.post_attention_layernorm.weight", 0, 0);
        assert_null(q35_source_gguf(s));
        q35_source_close(s);
    }
}

/* The head of a tied model is the embedding, under whichever name it was kept. */
static void tied_models(void **state)
{
    struct fixture f = fixture_llama();
    struct q35_source *s;
    (void)state;
    f.tied = true;
    fixture_write_gguf(&f, fixture_path("tied.gguf"));
    s = open_ok(fixture_path("tied.gguf"));
    assert_true(q35_source_params(s)->tied);
    check_role(s, 0, Q35_ROLE_HEAD, "token_embd.weight", 0, 0);
    q35_source_close(s);
    f.tied = false;
    f.omit = "model.embed_tokens.weight";
    fixture_write_hf(&f, fixture_path("untied"));
    open_fails(fixture_path("untied"), Q35_E_FORMAT, "model.embed_tokens.weight is missing");
    f.claim_tied = true;
    fixture_write_hf(&f, fixture_path("tied-head"));
    s = open_ok(fixture_path("tied-head"));
    check_role(s, 0, Q35_ROLE_TOKEN_EMBED, "lm_head.weight", 0, 0);
    check_role(s, 0, Q35_ROLE_HEAD, "lm_head.weight", 0, 0);
    q35_source_close(s);
    f.omit = NULL;
    fixture_write_hf(&f, fixture_path("tied-both"));
    s = open_ok(fixture_path("tied-both"));
    check_role(s, 0, Q35_ROLE_HEAD, "model.embed_tokens.weight", 0, 0);
    q35_source_close(s);
}

static void every_architecture(void **state)
{
    struct fixture f = fixture_llama();
    struct q35_source *s;
    (void)state;
    f.arch = "qwen2";
    f.qkv_bias = true;
    fixture_write_gguf(&f, fixture_path("qwen2.gguf"));
    s = open_ok(fixture_path("qwen2.gguf"));
    assert_int_equal(q35_source_params(s)->rope_style, Q35_ROPE_HALVES);
    check_role(s, 1, Q35_ROLE_V_BIAS, "blk.1.attn_v.bias", 0, 0);
    q35_source_close(s);
    f.omit = "blk.1.attn_k.bias";
    fixture_write_gguf(&f, fixture_path("qwen2.gguf"));
    open_fails(fixture_path("qwen2.gguf"), Q35_E_FORMAT,
               "blk.1.attn_k.bias of shape [32] is missing");

    f = fixture_llama();
    f.arch = "qwen3";
    f.qk_norm = true;
    f.heads = 8; /* heads * head_dim is not d */
    fixture_write_hf(&f, fixture_path("qwen3"));
    s = open_ok(fixture_path("qwen3"));
    check_role(s, 0, Q35_ROLE_K_NORM, "model.layers.0.self_attn.k_norm.weight", 0, 0);
    check_role(s, 0, Q35_ROLE_O, "model.layers.0.self_attn.o_proj.weight", 0, 0);
    q35_source_close(s);

    f = fixture_llama();
    f.arch = "mistral";
    f.config = ", \"sliding_window\": 32";
    fixture_write_hf(&f, fixture_path("mistral"));
    s = open_ok(fixture_path("mistral"));
    assert_int_equal(q35_source_params(s)->window, 32);
    q35_source_close(s);
    f.config = NULL; /* what the class has when the file is silent */
    fixture_write_hf(&f, fixture_path("mistral-silent"));
    s = open_ok(fixture_path("mistral-silent"));
    assert_int_equal(q35_source_params(s)->window, 4096);
    q35_source_close(s);
    f.arch = "llama"; /* knows no windows */
    f.config = ", \"sliding_window\": 32";
    fixture_write_hf(&f, fixture_path("llama-window"));
    s = open_ok(fixture_path("llama-window"));
    assert_int_equal(q35_source_params(s)->window, 0);
    q35_source_close(s);
    f.arch = "mistral";
    f.config = ", \"sliding_window\": null";
    fixture_write_hf(&f, fixture_path("mistral2"));
    s = open_ok(fixture_path("mistral2"));
    assert_int_equal(q35_source_params(s)->window, 0);
    q35_source_close(s);
}

/* Parts of a fused tensor begin where the one before ends. */
static void phi3_is_split(void **state)
{
    struct fixture f = fixture_llama();
    uint32_t hf;
    (void)state;
    f.arch = "phi3";
    f.fused = true;
    fixture_write_gguf(&f, fixture_path("phi3.gguf"));
    fixture_write_hf(&f, fixture_path("phi3"));
    for (hf = 0; hf < 2; hf++) {
        struct q35_source *s = open_ok(fixture_path(hf ? "phi3" : "phi3.gguf"));
        const char *qkv = hf ? "model.layers.1.self_attn.qkv_proj.weight" : "blk.1.attn_qkv.weight";
        const char *up = hf ? "model.layers.1.mlp.gate_up_proj.weight" : "blk.1.ffn_up.weight";
        check_role(s, 1, Q35_ROLE_Q, qkv, 0, 0);
        check_role(s, 1, Q35_ROLE_K, qkv, 64 * 64, 0);
        check_role(s, 1, Q35_ROLE_V, qkv, 96 * 64, 0);
        check_role(s, 1, Q35_ROLE_GATE, up, 0, 0);
        check_role(s, 1, Q35_ROLE_UP, up, 96 * 64, 0);
        q35_source_close(s);
    }
}

static void rope_scalings(void **state)
{
    struct fixture f = fixture_llama();
    struct q35_source *s;
    const float *w;
    uint32_t i;
    (void)state;
    fixture_write_gguf(&f, fixture_path("rope.gguf"));
    s = open_ok(fixture_path("rope.gguf"));
    w = q35_source_params(s)->rope_freqs;
    for (i = 0; i < 8; i++)
        assert_true(fabs((double)w[i] / pow(10000.0, -(double)i / 8) - 1) < 1e-6);
    q35_source_close(s);

    f.rope_divisors = true; /* 1, 2, 3 ... */
    fixture_write_gguf(&f, fixture_path("rope.gguf"));
    s = open_ok(fixture_path("rope.gguf"));
    w = q35_source_params(s)->rope_freqs;
    for (i = 0; i < 8; i++)
        assert_true(fabs((double)w[i] * (i + 1) / pow(10000.0, -(double)i / 8) - 1) < 1e-6);
    q35_source_close(s);

    f.rope_divisors = false;
    f.config =
        ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}";
    fixture_write_hf(&f, fixture_path("rope-linear"));
    s = open_ok(fixture_path("rope-linear"));
    w = q35_source_params(s)->rope_freqs;
    assert_true(w[0] == 0.25f);
    assert_true(fabs((double)w[7] * 4 / pow(500000.0, -7.0 / 8) - 1) < 1e-6);
    q35_source_close(s);

    /* With theta 10000, factor 8, 1 and 4, and 64 positions: wavelengths below 16 are kept, those
     * above 64 divided by 8, and 2 pi sqrt(10) = 19.87 and 62.83 lie between. */
    f.config =
        ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": "
        "1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}";
    fixture_write_hf(&f, fixture_path("rope-llama3"));
    s = open_ok(fixture_path("rope-llama3"));
    w = q35_source_params(s)->rope_freqs;
    assert_true(w[0] == 1.0f);
    assert_true(fabs((double)w[1] - 0.2443) < 5e-4); /* smooth 0.7402: 0.316228 (0.2598/8+0.7402) */
    assert_true(fabs((double)w[2] - 0.0130) < 5e-4); /* smooth 0.00620 */
    assert_true(fabs((double)w[3] * 8 / 0.0316228 - 1) < 1e-5);
    q35_source_close(s);

    f.config = ", \"rope_theta\": 7, \"rope_parameters\": {\"rope_type\": \"default\", "
               "\"rope_theta\": 500000.0, \"partial_rotary_factor\": 0.5}";
    fixture_write_hf(&f, fixture_path("rope-parameters"));
    s = open_ok(fixture_path("rope-parameters"));
    assert_int_equal(q35_source_params(s)->rope_dim, 8);
    assert_true(fabs((double)q35_source_params(s)->rope_freqs[3] / pow(500000.0, -0.75) - 1) <
                1e-6);
    q35_source_close(s);

    f.config = ", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0}";
    fixture_write_hf(&f, fixture_path("rope-yarn"));
    open_fails(fixture_path("rope-yarn"), Q35_E_UNSUPPORTED, "yarn");
}

static void gguf_faults(void **state)
{
    static const struct {
        const char *omit, *reshape, *extra, *text;
        enum q35_status status;
    } faults[] = {
        {"blk.1.attn_q.weight", NULL, NULL, "blk.1.attn_q.weight of shape [64, 64] is missing",
         Q35_E_FORMAT},
        {"output_norm.weight", NULL, NULL, "output_norm.weight is missing", Q35_E_FORMAT},
        {"token_embd.weight", NULL, NULL, "token_embd.weight is missing", Q35_E_FORMAT},
        {NULL, "blk.0.ffn_down.weight", NULL, "has shape [64, 97], expected [64, 96]",
         Q35_E_FORMAT},
        {NULL, "blk.0.ffn_norm.weight", NULL, "has shape [65], expected [64]", Q35_E_FORMAT},
        {NULL, "token_embd.weight", NULL, "has shape [288, 65], expected [288, 64]", Q35_E_FORMAT},
        {NULL, NULL, "blk.0.ffn_gate_inp.weight", "blk.0.ffn_gate_inp.weight has no place",
         Q35_E_UNSUPPORTED},
        {NULL, NULL, "blk.2.attn_norm.weight", "has no place", Q35_E_UNSUPPORTED},
        {NULL, NULL, "blk.0.ffn_up.bias", "has no place", Q35_E_UNSUPPORTED},
    };
    struct fixture f;
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(faults); i++) {
        f = fixture_llama();
        f.omit = faults[i].omit;
        f.reshape = faults[i].reshape;
        f.extra = faults[i].extra;
        fixture_write_gguf(&f, fixture_path("fault.gguf"));
        open_fails(fixture_path("fault.gguf"), faults[i].status, faults[i].text);
    }
    f = fixture_llama();
    f.arch = "gemma2";
    fixture_write_gguf(&f, fixture_path("fault.gguf"));
    open_fails(fixture_path("fault.gguf"), Q35_E_UNSUPPORTED, "gemma2");
    f = fixture_llama();
    f.kv_heads = 3;
    fixture_write_gguf(&f, fixture_path("fault.gguf"));
    open_fails(fixture_path("fault.gguf"), Q35_E_FORMAT, "4 heads cannot share 3");
    f = fixture_llama();
    f.layers = 0;
    fixture_write_gguf(&f, fixture_path("fault.gguf"));
    open_fails(fixture_path("fault.gguf"), Q35_E_FORMAT, "number of layers is 0");
    open_fails(fixture_path("absent.gguf"), Q35_E_NOT_FOUND, "absent.gguf");
}

static void bad_values_are_named(void **state)
{
    static const uint32_t types[] = {Q35_GGML_F32, Q35_GGML_F16, Q35_GGML_BF16, Q35_GGML_Q8_0};
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(types); i++) {
        struct fixture f = fixture_llama();
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_source_tensor t;
        struct q35_source *s;
        float x[2 * 64];
        f.type = types[i];
        f.bad_value = "blk.0.attn_v.weight";
        fixture_write_gguf(&f, fixture_path("nan.gguf"));
        s = open_ok(fixture_path("nan.gguf"));
        assert_int_equal(q35_source_tensor(s, 0, Q35_ROLE_V, &t), Q35_OK);
        assert_int_equal(q35_source_rows(&t, 1, 2, x, &err), Q35_OK);
        assert_int_equal(q35_source_rows(&t, 0, 2, x, &err), Q35_E_FORMAT);
        /* a block of Q8_0 is spoilt from its first value on */
        assert_non_null(
            strstr(err.message, types[i] == Q35_GGML_Q8_0
                                    ? "blk.0.attn_v.weight is not finite at row 0, column 0"
                                    : "blk.0.attn_v.weight is not finite at row 0, column 5"));
        assert_int_equal(q35_source_rows(&t, 31, 2, x, &err), Q35_E_INVALID);
        q35_source_close(s);
    }
}

static void directory_faults(void **state)
{
    static const struct {
        const char *config, *shard, *text;
        enum q35_status status;
    } faults[] = {
        {", \"quantization_config\": {}", NULL, "quantized already", Q35_E_UNSUPPORTED},
        {", \"rope_scaling\": 3", NULL, "rope_scaling is not an object", Q35_E_FORMAT},
        {", \"rope_scaling\": {\"rope_type\": \"llama3\"}", NULL, "factor is missing",
         Q35_E_FORMAT},
        {", \"rope_theta\": \"x\"", NULL, "rope_theta is not a number", Q35_E_FORMAT},
        {", \"sliding_window\": -1", NULL, "sliding_window", Q35_E_FORMAT},
        {", \"partial_rotary_factor\": 1.5", NULL, "partial_rotary_factor", Q35_E_FORMAT},
        {", \"model_type\": \"llama\"", NULL, "config.json:", Q35_E_FORMAT}, /* duplicate */
        {NULL, "../a.safetensors", "'../a.safetensors', which is not", Q35_E_FORMAT},
        {NULL, "/etc/passwd", "which is not", Q35_E_FORMAT},
        {NULL, "sub/a.safetensors", "which is not", Q35_E_FORMAT},
        {NULL, "..safetensors", "which is not", Q35_E_FORMAT},
        {NULL, "model.safetensors.index.json", "which is not", Q35_E_FORMAT},
        {NULL, "absent.safetensors", "absent.safetensors", Q35_E_NOT_FOUND},
        {NULL, "loop.safetensors", "loop.safetensors", Q35_E_IO},
        {NULL, "model-00002-of-00002.safetensors", "where it is not", Q35_E_FORMAT},
    };
    char name[32], path[320];
    size_t i;
    (void)state;
    for (i = 0; i < Q35_COUNT(faults); i++) {
        struct fixture f = fixture_llama();
        f.config = faults[i].config;
        f.index_shard = faults[i].shard;
        f.shards = 2;
        snprintf(name, sizeof(name), "fault-%zu", i);
        fixture_write_hf(&f, fixture_path(name));
        snprintf(path, sizeof(path), "%s/loop.safetensors", fixture_path(name));
        assert_int_equal(symlink("loop.safetensors", path), 0);
        open_fails(fixture_path(name), faults[i].status, faults[i].text);
    }
}

/* A safetensors file with the given header text and four bytes of data. */
static void write_safetensors(const char *dir, const char *header, uint64_t claimed)
{
    char path[320];
    uint8_t len[8];
    FILE *f;
    int i;
    snprintf(path, sizeof(path), "%s/model.safetensors", dir);
    f = fopen(path, "wb");
    assert_non_null(f);
    for (i = 0; i < 8; i++)
        len[i] = (uint8_t)(claimed >> (8 * i));
    fwrite(len, 1, 8, f);
    fwrite(header, 1, strlen(header), f);
    fwrite("abcd", 1, 4, f);
    fclose(f);
}

static void safetensors_faults(void **state)
{
    static const struct {
        const char *header, *text;
    } faults[] = {
        {"", "the header"},
        {"[]", "not an object"},
        {"{\"a\": 3}", "no dtype"},
        {"{\"a\": {\"dtype\": \"Q4\", \"shape\": [1], \"data_offsets\": [0, 4]}}", "unknown dtype"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1,1,1,1,1], \"data_offsets\": [0, 4]}}",
         "4 dim"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}", "impossible"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [4611686018427387905], \"data_offsets\": [0, "
         "4]}}",
         "impossible"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0]}}", "data_offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 0]}}", "data_offsets"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}", "outside"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 4]}}", "do not fit"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]},"
         " \"b\": {\"dtype\": \"F16\", \"shape\": [1], \"data_offsets\": [2, 4]}}",
         "overlaps"},
        {"{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]},"
         " \"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}",
         "duplicate"},
    };
    struct fixture f = fixture_llama();
    const char *dir = fixture_path("st");
    size_t i;
    (void)state;
    fixture_write_hf(&f, dir);
    for (i = 0; i < Q35_COUNT(faults); i++) {
        write_safetensors(dir, faults[i].header, strlen(faults[i].header));
        open_fails(dir, Q35_E_FORMAT, faults[i].text);
    }
    write_safetensors(dir, "{}", 7);
    open_fails(dir, Q35_E_FORMAT, "header of 7 bytes");
    write_safetensors(dir, "{}", UINT64_MAX);
    open_fails(dir, Q35_E_FORMAT, "header of");
    write_safetensors(dir, "{}", 2);
    open_fails(dir, Q35_E_FORMAT, "model.embed_tokens.weight is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_of_every_type), cmocka_unit_test(gguf_in_parts),
        cmocka_unit_test(quantized_blocks),   cmocka_unit_test(directories_single_and_sharded),
        cmocka_unit_test(tied_models),        cmocka_unit_test(every_architecture),
        cmocka_unit_test(phi3_is_split),      cmocka_unit_test(rope_scalings),
        cmocka_unit_test(gguf_faults),        cmocka_unit_test(bad_values_are_named),
        cmocka_unit_test(directory_faults),   cmocka_unit_test(safetensors_faults),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
