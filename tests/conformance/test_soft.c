/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The software device against the oracle: layers, ragged batches, KV semantics, upload checks. */

#include "../unit/test.h"

#include "core/verify/session.h"
#include "soft.h"

static const struct q35_plugin api = {.size = sizeof(api), Q35_SOFT_SLOTS};
static struct q35_error err = Q35_ERROR_INIT;

struct fixture {
    struct vfy_dev d;
    struct vfy_model *m;
    struct vfy_oracle *o;
    struct q35_weights *w;
    struct q35_kv *kv;
    struct vfy_rng rng;
};

enum { SEQUENCES = 8, KV_TOKENS = 1024 };

static void begin(struct fixture *f, const struct vfy_shape *shape, uint64_t seed)
{
    struct q35_soft_config config = {0};
    memset(f, 0, sizeof(*f));
    f->d.api = &api;
    f->rng.state = seed * 31;
    assert_int_equal(q35_soft_open(&config, &f->d.dev, &err), Q35_OK);
    f->m = vfy_model_create(shape, seed);
    assert_non_null(f->m);
    f->o = vfy_oracle_create(f->m, SEQUENCES);
    assert_non_null(f->o);
    if (vfy_upload(&f->d, f->m, Q35_UNTIL_FREE, &f->w, &err))
        fail_msg("%s", err.message);
    assert_int_equal(vfy_kv(&f->d, f->w, SEQUENCES, KV_TOKENS, &f->kv, &err), Q35_OK);
}

static void end(struct fixture *f)
{
    api.kv_free(f->kv);
    api.weights_free(f->w);
    api.close(f->d.dev);
    vfy_oracle_destroy(f->o);
    vfy_model_destroy(f->m);
}

/* Runs all layers over tokens on both and compares every logit, bit for bit. */
static void step(struct fixture *f, const struct q35_token *tokens, uint32_t n)
{
    uint64_t bytes = (uint64_t)n * f->m->shape.vocab * sizeof(float);
    float *got = calloc(1, bytes), *want = calloc(1, bytes);
    struct vfy_job job = {.w = f->w,
                          .kv = f->kv,
                          .count = f->m->layer_count,
                          .tokens = tokens,
                          .n = n,
                          .out = got,
                          .out_bytes = bytes};
    if (vfy_run(&f->d, &job, &err))
        fail_msg("%s", err.message);
    assert_true(vfy_oracle_run(f->o, 0, f->m->layer_count, tokens, n, NULL, want));
    assert_memory_equal(got, want, bytes);
    free(got);
    free(want);
}

static void feed(struct fixture *f, uint32_t sequence, uint32_t position, uint32_t n)
{
    struct q35_token t[512];
    vfy_tokens(t, n, sequence, position, f->m->shape.vocab, true, &f->rng);
    step(f, t, n);
}

static void test_shapes(void **state)
{
    static const uint32_t schemes[] = {Q35_SCHEME_ALT43, Q35_SCHEME_VQ2, Q35_SCHEME_TRELLIS,
                                       Q35_SCHEME_TRELLIS2, Q35_SCHEME_SINGLE};
    uint32_t i;
    (void)state;
    for (i = 0; i < 10; i++) {
        struct vfy_shape s = vfy_shape_small();
        struct fixture f;
        s.scheme = schemes[i % 5];
        s.embed_scheme = schemes[(i + 4) % 5];
        s.rotate = i & 1;
        s.mixed_rotation = i == 3;
        s.biases = i & 2;
        s.qk_norm = i & 4;
        s.rope_style = i / 2 % 2;
        s.window = i == 6 ? 70 : 0;
        s.d_model = i == 5 ? 200 : 128; /* not a multiple of 128: padding */
        s.rope_dim = i == 7 ? 0 : i == 8 ? 16 : 32;
        s.embed_scale = i == 2 ? 11.3f : 1.0f;
        begin(&f, &s, 100 + i);
        feed(&f, 0, 0, 75);
        feed(&f, 0, 75, 1);
        feed(&f, 1, 0, 3);
        end(&f);
    }
}

static void test_ragged(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    struct q35_token t[64];
    uint32_t len[SEQUENCES] = {0}, round, i, n;
    (void)state;
    begin(&f, &s, 7);
    for (round = 0; round < 20; round++) {
        n = 0;
        for (i = 0; i < SEQUENCES; i++) { /* 0 .. 7 tokens each, one sequence after another */
            uint32_t k = vfy_below(&f.rng, 8);
            vfy_tokens(t + n, k, i, len[i], s.vocab, true, &f.rng);
            len[i] += k;
            n += k;
        }
        if (n)
            step(&f, t, n);
    }
    for (i = 0; i < 16; i++) { /* two sequences interleaved token by token */
        vfy_tokens(t + i, 1, i % 2, len[i % 2], s.vocab, i % 3 != 0, &f.rng);
        len[i % 2]++;
        t[i].flags = Q35_TOKEN_LOGITS;
    }
    step(&f, t, 16);
    end(&f);
}

static void test_kv(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    (void)state;
    begin(&f, &s, 8);
    feed(&f, 0, 0, 100);
    assert_int_equal(api.kv_fork(f.kv, 0, 1, 90, &err), Q35_OK);
    assert_true(vfy_oracle_fork(f.o, 0, 1, 90));
    feed(&f, 1, 90, 5); /* copies the shared page */
    feed(&f, 0, 100, 5);
    feed(&f, 1, 95, 60);
    assert_int_equal(api.kv_truncate(f.kv, 0, 64, &err), Q35_OK);
    vfy_oracle_truncate(f.o, 0, 64);
    feed(&f, 0, 64, 3);
    feed(&f, 0, 10, 3); /* rewriting discards what follows */
    feed(&f, 0, 13, 1);
    assert_int_equal(api.kv_fork(f.kv, 1, 0, 155, &err), Q35_OK); /* over a used one */
    assert_true(vfy_oracle_fork(f.o, 1, 0, 155));
    feed(&f, 0, 130, 2);
    feed(&f, 1, 155, 2);
    assert_int_equal(api.kv_fork(f.kv, 2, 3, 1, &err), Q35_E_INVALID); /* more than it holds */
    assert_int_equal(api.kv_fork(f.kv, 1, 1, 1, &err), Q35_E_INVALID);
    assert_int_equal(api.kv_fork(f.kv, 1, SEQUENCES, 1, &err), Q35_E_INVALID);
    assert_int_equal(api.kv_truncate(f.kv, SEQUENCES, 0, &err), Q35_E_INVALID);
    end(&f);
}

/* Spans of one weights object in separate submits, the second trailing the first. */
static void test_spans(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    struct q35_token t[80];
    float hidden[80 * 128], got[80 * 100], want[80 * 100];
    struct vfy_job a, b;
    (void)state;
    begin(&f, &s, 9);
    vfy_tokens(t, 80, 0, 0, s.vocab, true, &f.rng);
    a = (struct vfy_job){f.w, f.kv, 0, 2, t, 40, NULL, 0, hidden, sizeof(hidden)};
    assert_int_equal(vfy_run(&f.d, &a, &err), Q35_OK);
    a.tokens = t + 40;
    a.out = hidden + 40 * 128;
    a.out_bytes = sizeof(hidden) / 2;
    assert_int_equal(vfy_run(&f.d, &a, &err), Q35_OK);
    b = (struct vfy_job){f.w, f.kv, 2, 2, t, 40, hidden, sizeof(hidden) / 2, got, sizeof(got) / 2};
    assert_int_equal(vfy_run(&f.d, &b, &err), Q35_OK);
    b = (struct vfy_job){f.w,
                         f.kv,
                         2,
                         2,
                         t + 40,
                         40,
                         hidden + 40 * 128,
                         sizeof(hidden) / 2,
                         got + 40 * 100,
                         sizeof(got) / 2};
    assert_int_equal(vfy_run(&f.d, &b, &err), Q35_OK);
    assert_true(vfy_oracle_run(f.o, 0, 4, t, 80, NULL, want));
    assert_memory_equal(got, want, sizeof(got));
    end(&f);
}

static uint32_t fill_until_full(struct fixture *f, uint32_t sequence, uint32_t from, uint32_t limit)
{
    struct q35_token t[64];
    float *out = malloc(64 * 100 * sizeof(float));
    struct vfy_job job = {f->w, f->kv, 0, 4, t, 64, NULL, 0, out, 64 * 100 * sizeof(float)};
    uint32_t n = from;
    for (; n < limit; n += 64) {
        enum q35_status st;
        vfy_tokens(t, 64, sequence, n, 100, false, &f->rng);
        st = vfy_run(&f->d, &job, &err);
        if (st == Q35_E_CAPACITY)
            break;
        assert_int_equal(st, Q35_OK);
    }
    free(out);
    return n;
}

static void test_capacity(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    uint32_t pages = (KV_TOKENS + 63 * SEQUENCES) / 64, n;
    (void)state;
    begin(&f, &s, 10);
    feed(&f, 0, 0, 70);
    n = fill_until_full(&f, 1, 0, 100000);
    assert_int_equal(n, (pages - 2) * 64);
    feed(&f, 0, 70, 1); /* the failed submit changed nothing */
    /* Discarding and rewriting inside the same submit needs no page beyond those given back. */
    assert_int_equal(fill_until_full(&f, 1, 0, n), n);
    assert_int_equal(api.kv_truncate(f.kv, 1, 0, &err), Q35_OK);
    assert_int_equal(api.kv_fork(f.kv, 0, 1, 71, &err), Q35_OK); /* shared: costs nothing */
    assert_true(vfy_oracle_fork(f.o, 0, 1, 71));
    assert_int_equal(fill_until_full(&f, 2, 0, 100000), (pages - 2) * 64);
    {
        struct q35_token t[2]; /* one copy of the shared page would be needed: refused */
        float out[200];
        struct vfy_job job = {f.w, f.kv, 0, 4, t, 1, NULL, 0, out, sizeof(out)};
        vfy_tokens(t, 1, 1, 71, 100, true, &f.rng);
        assert_int_equal(vfy_run(&f.d, &job, &err), Q35_E_CAPACITY);
    }
    assert_int_equal(api.kv_truncate(f.kv, 2, 64, &err), Q35_OK);
    feed(&f, 1, 71, 2);
    feed(&f, 0, 71, 2);
    end(&f);
}

static void test_cancel(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    struct q35_token t[4];
    float out[400];
    struct vfy_job job;
    uint64_t last;
    (void)state;
    begin(&f, &s, 11);
    feed(&f, 0, 0, 5);
    vfy_tokens(t, 4, 0, 5, s.vocab, true, &f.rng);
    job = (struct vfy_job){f.w, f.kv, 0, 4, t, 4, NULL, 0, out, sizeof(out)};
    assert_int_equal(api.cancel(f.d.dev, f.d.signal + 1, &err), Q35_OK);
    assert_int_equal(vfy_submit(&f.d, &job, &err), Q35_OK);
    assert_int_equal(api.wait(f.d.dev, f.d.signal, 0, &err), Q35_E_CANCELLED);
    assert_int_equal(api.wait(f.d.dev, f.d.signal, 0, &err), Q35_E_CANCELLED); /* kept */
    assert_int_equal(api.poll(f.d.dev, &last, &err), Q35_OK);
    assert_int_equal(last, f.d.signal);
    step(&f, t, 4); /* the retry */
    assert_int_equal(api.wait(f.d.dev, f.d.signal + 1, 1000, &err), Q35_E_TIMEOUT);
    f.d.signal--; /* a signal used twice */
    assert_int_equal(vfy_submit(&f.d, &job, &err), Q35_E_INVALID);
    end(&f);
}

static void test_upload(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    struct q35_weights *w;
    const struct q35_tensor_desc *q;
    const uint8_t *data;
    (void)state;
    begin(&f, &s, 12);
    q = vfy_desc(f.m, 1, Q35_ROLE_Q);
    data = vfy_tensor(f.m, 1, Q35_ROLE_Q)->data;

    ((struct q35_tensor_desc *)(uintptr_t)q)->hash ^= 1;
    assert_int_equal(vfy_upload(&f.d, f.m, Q35_DURING_CALL, &w, &err), Q35_E_HASH);
    assert_int_equal(err.layer, 1);
    assert_non_null(strstr(err.message, "tensor Q:"));
    ((struct q35_tensor_desc *)(uintptr_t)q)->hash ^= 1;

    assert_int_equal(vfy_begin(&f.d, f.m, &w, &err), Q35_OK);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, 64, data + 64, 64, 0, &err), Q35_OK);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, 8, data + 8, 64, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, 120, data, 16, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, 4, data, 8, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, 0, data, 12, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, q->bytes, data, 8, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_HEAD, 0, data, 8, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 9, Q35_ROLE_Q, 0, data, 8, 0, &err), Q35_E_INVALID);
    assert_int_equal(api.weights_put(w, 1, Q35_ROLE_Q, 0, data, 64, 0, &err), Q35_OK);
    assert_int_equal(api.weights_commit(w, &err), Q35_E_INVALID);
    assert_non_null(strstr(err.message, "missing"));
    api.weights_free(w);

    f.m->layers[1].tensor_count--; /* ROPE_FREQ */
    assert_int_equal(vfy_begin(&f.d, f.m, &w, &err), Q35_E_INVALID);
    assert_null(w);
    assert_non_null(strstr(err.message, "ROPE_FREQ: is missing"));
    f.m->layers[1].tensor_count++;
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),   cmocka_unit_test(test_ragged),
        cmocka_unit_test(test_kv),       cmocka_unit_test(test_spans),
        cmocka_unit_test(test_capacity), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_upload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
