/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The float evaluator against a second, simple evaluation in double precision. */
#include <math.h>
#include <unistd.h>

#include "../test.h"
#include "core/graph/float_eval.h"
#include "core/model/gguf_write.h"

enum { LAYERS = 2, D = 24, FFN = 40, HEADS = 4, KV = 2, HD = 6, VOCAB = 37, POSITIONS = 200 };

/* A model in memory, as the test knows it. */
struct weights {
    const char *arch;
    bool halves, biases, head_norms;
    uint32_t window; /* 0: all */
    float embed[VOCAB * D], head[VOCAB * D], out_norm[D];
    struct {
        float attn_norm[D], ffn_norm[D], q[HEADS * HD * D], k[KV * HD * D], v[KV * HD * D];
        float o[D * HEADS * HD], gate[FFN * D], up[FFN * D], down[D * FFN];
        float qb[HEADS * HD], kb[KV * HD], vb[KV * HD], qn[HD], kn[HD];
    } layer[LAYERS];
};

static void fill(struct test_rng *r, float *x, size_t n, float scale, float offset)
{
    size_t i;
    for (i = 0; i < n; i++)
        x[i] = test_rng_f32(r) * scale + offset;
}

struct entry {
    char name[64];
    const float *data;
    uint32_t rows, cols; /* rows 0: a vector */
};

static size_t entries(const struct weights *w, struct entry *e)
{
    size_t n = 0;
    uint32_t l;
#define ADD(rows_, cols_, data_, ...)                                                              \
    do {                                                                                           \
        snprintf(e[n].name, sizeof(e[n].name), __VA_ARGS__);                                       \
        e[n].data = data_;                                                                         \
        e[n].rows = rows_;                                                                         \
        e[n++].cols = cols_;                                                                       \
    } while (0)
    ADD(VOCAB, D, w->embed, "token_embd.weight");
    ADD(VOCAB, D, w->head, "output.weight");
    ADD(0, D, w->out_norm, "output_norm.weight");
    for (l = 0; l < LAYERS; l++) {
        ADD(0, D, w->layer[l].attn_norm, "blk.%u.attn_norm.weight", l);
        ADD(0, D, w->layer[l].ffn_norm, "blk.%u.ffn_norm.weight", l);
        ADD(HEADS * HD, D, w->layer[l].q, "blk.%u.attn_q.weight", l);
        ADD(KV * HD, D, w->layer[l].k, "blk.%u.attn_k.weight", l);
        ADD(KV * HD, D, w->layer[l].v, "blk.%u.attn_v.weight", l);
        ADD(D, HEADS * HD, w->layer[l].o, "blk.%u.attn_output.weight", l);
        ADD(FFN, D, w->layer[l].gate, "blk.%u.ffn_gate.weight", l);
        ADD(FFN, D, w->layer[l].up, "blk.%u.ffn_up.weight", l);
        ADD(D, FFN, w->layer[l].down, "blk.%u.ffn_down.weight", l);
        if (w->biases) {
            ADD(0, HEADS * HD, w->layer[l].qb, "blk.%u.attn_q.bias", l);
            ADD(0, KV * HD, w->layer[l].kb, "blk.%u.attn_k.bias", l);
            ADD(0, KV * HD, w->layer[l].vb, "blk.%u.attn_v.bias", l);
        }
        if (w->head_norms) {
            ADD(0, HD, w->layer[l].qn, "blk.%u.attn_q_norm.weight", l);
            ADD(0, HD, w->layer[l].kn, "blk.%u.attn_k_norm.weight", l);
        }
    }
#undef ADD
    return n;
}

static struct weights *make(const char *arch, bool halves, bool biases, bool head_norms)
{
    struct weights *w = calloc(1, sizeof(*w));
    struct entry e[64];
    struct test_rng r = {11};
    size_t n, i;
    assert_non_null(w);
    w->arch = arch;
    w->halves = halves;
    w->biases = biases;
    w->head_norms = head_norms;
    n = entries(w, e);
    for (i = 0; i < n; i++) {
        bool norm = strstr(e[i].name, "norm") != NULL;
        fill(&r, (float *)(uintptr_t)e[i].data, (size_t)(e[i].rows ? e[i].rows : 1) * e[i].cols,
             norm ? 0.3f : 0.5f, norm ? 1.0f : 0.0f);
    }
    return w;
}

static void put_u32(struct q35_gguf_writer *w, const char *arch, const char *key, uint32_t v)
{
    char name[96];
    snprintf(name, sizeof(name), "%s.%s", arch, key);
    q35_gguf_put_u32(w, name, v);
}

static struct q35_source *save(const struct weights *w, const char *path)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_gguf_writer *g;
    struct q35_source *s;
    struct entry e[64];
    char key[96];
    size_t n = entries(w, e), i;
    assert_int_equal(q35_gguf_writer_create(&g, path, &err), Q35_OK);
    q35_gguf_put_string(g, "general.architecture", w->arch, strlen(w->arch));
    put_u32(g, w->arch, "block_count", LAYERS);
    put_u32(g, w->arch, "embedding_length", D);
    put_u32(g, w->arch, "feed_forward_length", FFN);
    put_u32(g, w->arch, "attention.head_count", HEADS);
    put_u32(g, w->arch, "attention.head_count_kv", KV);
    put_u32(g, w->arch, "attention.key_length", HD);
    put_u32(g, w->arch, "attention.value_length", HD);
    put_u32(g, w->arch, "rope.dimension_count", HD);
    put_u32(g, w->arch, "context_length", POSITIONS);
    put_u32(g, w->arch, "vocab_size", VOCAB);
    if (w->window)
        put_u32(g, w->arch, "attention.sliding_window", w->window);
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", w->arch);
    q35_gguf_put_f32(g, key, 1e-5f);
    for (i = 0; i < n; i++) {
        uint64_t dims[2] = {e[i].cols, e[i].rows};
        q35_gguf_put_tensor(g, e[i].name, 0, e[i].rows ? 2 : 1, dims,
                            (uint64_t)(e[i].rows ? e[i].rows : 1) * e[i].cols * 4);
    }
    assert_int_equal(q35_gguf_writer_begin_data(g, &err), Q35_OK);
    for (i = 0; i < n; i++)
        assert_int_equal(q35_gguf_write_data(g, i, 0, e[i].data,
                                             (uint64_t)(e[i].rows ? e[i].rows : 1) * e[i].cols * 4,
                                             &err),
                         Q35_OK);
    if (q35_gguf_writer_finish(g, &err))
        fail_msg("%s", err.message);
    q35_gguf_writer_destroy(g);
    if (q35_source_open(&s, path, &err))
        fail_msg("%s", err.message);
    return s;
}

/* ---- the simple evaluation ---- */

static void multiply(const float *w, const float *bias, uint32_t rows, uint32_t cols,
                     const double *x, double *y)
{
    uint32_t r, k;
    for (r = 0; r < rows; r++) {
        y[r] = bias ? (double)bias[r] : 0.0;
        for (k = 0; k < cols; k++)
            y[r] += (double)w[r * cols + k] * x[k];
    }
}

static void normalize(const double *x, const float *w, uint32_t n, double *y)
{
    double sum = 0;
    uint32_t i;
    for (i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (i = 0; i < n; i++)
        y[i] = x[i] / sqrt(sum / n + 1e-5) * (double)w[i];
}

static void rotate(const struct weights *w, double *x, uint32_t position)
{
    uint32_t i;
    for (i = 0; i < HD / 2; i++) {
        uint32_t a = w->halves ? i : 2 * i, b = w->halves ? i + HD / 2 : 2 * i + 1;
        double angle = position * pow(10000.0, -2.0 * i / HD), u = x[a], v = x[b];
        x[a] = u * cos(angle) - v * sin(angle);
        x[b] = u * sin(angle) + v * cos(angle);
    }
}

static double k_cache[LAYERS][POSITIONS][KV * HD], v_cache[LAYERS][POSITIONS][KV * HD];

static void attend(const struct weights *w, const double *q, uint32_t l, uint32_t position,
                   double *out)
{
    uint32_t from = w->window && position + 1 > w->window ? position + 1 - w->window : 0, h, j, i;
    for (h = 0; h < HEADS; h++) {
        double p[POSITIONS], total = 0;
        const uint32_t kv = h / (HEADS / KV) * HD;
        for (j = from; j <= position; j++) {
            p[j] = 0;
            for (i = 0; i < HD; i++)
                p[j] += q[h * HD + i] * k_cache[l][j][kv + i];
            p[j] = exp(p[j] / sqrt(HD));
            total += p[j];
        }
        for (i = 0; i < HD; i++) {
            out[h * HD + i] = 0;
            for (j = from; j <= position; j++)
                out[h * HD + i] += p[j] / total * v_cache[l][j][kv + i];
        }
    }
}

static void simple(const struct weights *w, int32_t token, uint32_t position, double *logits)
{
    double x[D], h[D], q[HEADS * HD], o[HEADS * HD], g[FFN], u[FFN];
    uint32_t l, i;
    for (i = 0; i < D; i++)
        x[i] = (double)w->embed[token * D + (int32_t)i];
    for (l = 0; l < LAYERS; l++) {
        double *k = k_cache[l][position], *v = v_cache[l][position];
        normalize(x, w->layer[l].attn_norm, D, h);
        multiply(w->layer[l].q, w->biases ? w->layer[l].qb : NULL, HEADS * HD, D, h, q);
        multiply(w->layer[l].k, w->biases ? w->layer[l].kb : NULL, KV * HD, D, h, k);
        multiply(w->layer[l].v, w->biases ? w->layer[l].vb : NULL, KV * HD, D, h, v);
        for (i = 0; i < HEADS; i++) {
            if (w->head_norms)
                normalize(q + i * HD, w->layer[l].qn, HD, q + i * HD);
            rotate(w, q + i * HD, position);
        }
        for (i = 0; i < KV; i++) {
            if (w->head_norms)
                normalize(k + i * HD, w->layer[l].kn, HD, k + i * HD);
            rotate(w, k + i * HD, position);
        }
        attend(w, q, l, position, o);
        multiply(w->layer[l].o, NULL, D, HEADS * HD, o, h);
        for (i = 0; i < D; i++)
            x[i] += h[i];
        normalize(x, w->layer[l].ffn_norm, D, h);
        multiply(w->layer[l].gate, NULL, FFN, D, h, g);
        multiply(w->layer[l].up, NULL, FFN, D, h, u);
        for (i = 0; i < FFN; i++)
            g[i] = g[i] / (1 + exp(-g[i])) * u[i];
        multiply(w->layer[l].down, NULL, D, FFN, g, h);
        for (i = 0; i < D; i++)
            x[i] += h[i];
    }
    normalize(x, w->out_norm, D, h);
    multiply(w->head, NULL, VOCAB, D, h, logits);
}

/* ---- tests ---- */

static const char *temp_path(void)
{
    static char path[256];
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/q35-float-%ld.gguf", dir ? dir : "/tmp", (long)getpid());
    return path;
}

static void tokens_of(int32_t *t)
{
    struct test_rng r = {3};
    uint32_t i;
    for (i = 0; i < POSITIONS; i++)
        t[i] = (int32_t)(test_rng_u64(&r) % VOCAB);
}

static void agrees_with_the_simple_one(void **state)
{
    static const struct {
        const char *arch;
        bool halves, biases, norms;
        uint32_t window;
    } kinds[] = {{"llama", false, false, false, 0},
                 {"llama", false, false, false, 5},
                 {"qwen2", true, true, false, 0},
                 {"qwen3", true, false, true, 0}};
    static float logits[POSITIONS * VOCAB];
    int32_t tokens[POSITIONS];
    size_t i;
    (void)state;
    tokens_of(tokens);
    for (i = 0; i < Q35_COUNT(kinds); i++) {
        struct weights *w = make(kinds[i].arch, kinds[i].halves, kinds[i].biases, kinds[i].norms);
        struct q35_source *s;
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_float *f;
        uint32_t t, k;
        w->window = kinds[i].window;
        s = save(w, temp_path());
        assert_int_equal(q35_float_create(&f, s, POSITIONS, 2, &err), Q35_OK);
        assert_int_equal(q35_float_eval(f, tokens, POSITIONS, 0, logits, &err), Q35_OK);
        for (t = 0; t < POSITIONS; t++) {
            double expected[VOCAB];
            simple(w, tokens[t], t, expected);
            for (k = 0; k < VOCAB; k++)
                if (fabs(expected[k] - (double)logits[t * VOCAB + k]) > 2e-4)
                    fail_msg("%s: token %u, logit %u: %f, not %f", kinds[i].arch, t, k,
                             (double)logits[t * VOCAB + k], expected[k]);
        }
        q35_float_destroy(f);
        q35_source_close(s);
        free(w);
    }
    unlink(temp_path());
}

static void cuts_and_threads_change_nothing(void **state)
{
    static float whole[POSITIONS * VOCAB], parts[POSITIONS * VOCAB];
    struct weights *w = make("llama", false, false, false);
    struct q35_source *s = save(w, temp_path());
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_float *a, *b;
    int32_t tokens[POSITIONS];
    uint32_t at = 0, step = 1;
    (void)state;
    tokens_of(tokens);
    assert_int_equal(q35_float_create(&a, s, POSITIONS, 1, &err), Q35_OK);
    assert_int_equal(q35_float_create(&b, s, POSITIONS, 3, &err), Q35_OK);
    assert_int_equal(q35_float_eval(a, tokens, POSITIONS, 0, whole, &err), Q35_OK);
    assert_int_equal(q35_float_eval(b, tokens + 50, 60, 0, NULL, &err), Q35_OK); /* overwritten */
    for (; at < POSITIONS; at += step, step += 3) {
        uint32_t n = POSITIONS - at < step ? POSITIONS - at : step;
        assert_int_equal(q35_float_eval(b, tokens + at, n, at, parts + at * VOCAB, &err), Q35_OK);
    }
    assert_memory_equal(whole, parts, sizeof(whole));
    q35_float_destroy(a);
    q35_float_destroy(b);
    q35_source_close(s);
    free(w);
    unlink(temp_path());
}

struct seen {
    uint32_t calls, layer[64], role[64], cols[64], n[64];
    float first[64];
};

static void hook(void *user, uint32_t layer, uint32_t role, uint32_t n, uint32_t cols,
                 const float *x)
{
    struct seen *s = user;
    s->layer[s->calls] = layer;
    s->role[s->calls] = role;
    s->cols[s->calls] = cols;
    s->n[s->calls] = n;
    s->first[s->calls++] = x[0];
}

static void the_hook_sees_every_input(void **state)
{
    static const uint32_t roles[] = {Q35_ROLE_Q, Q35_ROLE_O, Q35_ROLE_GATE, Q35_ROLE_DOWN};
    static const uint32_t cols[] = {D, HEADS * HD, D, FFN};
    struct weights *w = make("llama", false, false, false);
    struct q35_source *s = save(w, temp_path());
    struct q35_error err = Q35_ERROR_INIT;
    struct seen seen = {0}, layers = {0};
    struct q35_float *f;
    float logits[3 * VOCAB], x[3 * D];
    int32_t tokens[3] = {5, 1, 30};
    double first[D], h[D];
    uint32_t i;
    (void)state;
    assert_int_equal(q35_float_create(&f, s, 8, 1, &err), Q35_OK);
    q35_float_set_hook(f, hook, &seen);
    assert_int_equal(q35_float_eval(f, tokens, 3, 0, logits, &err), Q35_OK);
    assert_int_equal(seen.calls, 4 * LAYERS + 1);
    for (i = 0; i < seen.calls; i++) {
        assert_int_equal(seen.layer[i], i / 4);
        assert_int_equal(seen.role[i], i < 4 * LAYERS ? roles[i % 4] : Q35_ROLE_HEAD);
        assert_int_equal(seen.cols[i], i < 4 * LAYERS ? cols[i % 4] : D);
        assert_int_equal(seen.n[i], 3);
    }
    for (i = 0; i < D; i++)
        first[i] = (double)w->embed[5 * D + i];
    normalize(first, w->layer[0].attn_norm, D, h);
    assert_true(fabs(h[0] - (double)seen.first[0]) < 1e-5);
    /* The same by layers. */
    q35_float_set_hook(f, hook, &layers);
    assert_int_equal(q35_float_embed(f, tokens, 3, x, &err), Q35_OK);
    for (i = 0; i < LAYERS; i++)
        assert_int_equal(q35_float_layer(f, i, 3, 0, x, &err), Q35_OK);
    assert_int_equal(layers.calls, 4 * LAYERS);
    assert_memory_equal(layers.first, seen.first, 4 * LAYERS * sizeof(float));
    q35_float_destroy(f);
    q35_source_close(s);
    free(w);
    unlink(temp_path());
}

static void bad_requests_are_refused(void **state)
{
    struct weights *w = make("llama", false, false, false);
    struct q35_source *s = save(w, temp_path());
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_float *f;
    int32_t tokens[9] = {0};
    (void)state;
    assert_int_equal(q35_float_create(&f, s, 0, 1, &err), Q35_E_INVALID);
    assert_int_equal(q35_float_create(&f, s, 8, 1, &err), Q35_OK);
    assert_int_equal(q35_float_eval(f, tokens, 9, 0, NULL, &err), Q35_E_CAPACITY);
    q35_float_destroy(f);
    assert_int_equal(q35_float_create(&f, s, 8, 1, &err), Q35_OK);
    assert_int_equal(q35_float_eval(f, tokens, 1, 3, NULL, &err), Q35_E_INVALID); /* a gap */
    tokens[0] = VOCAB;
    assert_int_equal(q35_float_eval(f, tokens, 1, 0, NULL, &err), Q35_E_INVALID);
    assert_non_null(strstr(err.message, "37"));
    tokens[0] = -1;
    assert_int_equal(q35_float_eval(f, tokens, 1, 0, NULL, &err), Q35_E_INVALID);
    q35_float_destroy(f);
    q35_source_close(s);
    free(w);
    unlink(temp_path());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_simple_one),
        cmocka_unit_test(cuts_and_threads_change_nothing),
        cmocka_unit_test(the_hook_sees_every_input),
        cmocka_unit_test(bad_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
