/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* cuda.so on the fake driver: what the conformance kit cannot ask for. Faults at every place where
 * one can happen, several GPUs, runs in flight, graphs.
 * Environment: CUDA_SO and FAKE_CUDA, the two shared objects. */

#include "../unit/test.h"

#include <dlfcn.h>

#include "core/plugin/registry.h"
#include "core/verify/session.h"

static struct q35_error err = Q35_ERROR_INIT;
static struct q35_plugin_entry entry;
static int (*fake_set)(const char *key, long long value);
static long long (*fake_get)(const char *key);

static struct q35_kv_pair pairs[2] = {{"driver", NULL}, {"graphs", "true"}};
static struct q35_options options = {sizeof(options), 2, pairs};

enum { SEQUENCES = 4, KV_TOKENS = 512, VOCAB = 100 };

struct fixture {
    struct vfy_dev d;
    struct vfy_model *m;
    struct vfy_oracle *o;
    struct q35_weights *w;
    struct q35_kv *kv;
    struct vfy_rng rng;
};

static enum q35_status open_device(struct fixture *f, uint32_t index)
{
    f->d.api = &entry.api;
    return entry.api.open(&entry.host, &options, index, &f->d.dev, &err);
}

static enum q35_status upload(struct fixture *f)
{
    enum q35_status st = vfy_upload(&f->d, f->m, Q35_DURING_CALL, &f->w, &err);
    return st ? st : vfy_kv(&f->d, f->w, SEQUENCES, KV_TOKENS, &f->kv, &err);
}

static void begin(struct fixture *f, uint32_t index)
{
    struct vfy_shape s = vfy_shape_small();
    memset(f, 0, sizeof(*f));
    f->rng.state = 7;
    f->m = vfy_model_create(&s, 5);
    f->o = f->m ? vfy_oracle_create(f->m, SEQUENCES) : NULL;
    assert_non_null(f->o);
    if (open_device(f, index) || upload(f))
        fail_msg("%s", err.message);
}

static void drop(struct fixture *f)
{
    if (f->kv)
        f->d.api->kv_free(f->kv);
    if (f->w)
        f->d.api->weights_free(f->w);
    f->kv = NULL;
    f->w = NULL;
}

static void end(struct fixture *f)
{
    if (f->d.dev) {
        drop(f);
        f->d.api->close(f->d.dev);
    }
    vfy_oracle_destroy(f->o);
    vfy_model_destroy(f->m);
}

/* n tokens of each of `sequences`, through all layers; compared with the oracle if it succeeds. */
static enum q35_status step(struct fixture *f, uint32_t sequences, uint32_t position, uint32_t n)
{
    struct q35_token t[400];
    static float got[400 * VOCAB], want[400 * VOCAB];
    uint32_t count = f->m->layer_count, i;
    struct vfy_job job = {f->w, f->kv, 0, count, t, n * sequences, NULL, 0, got, sizeof(got)};
    enum q35_status st;
    for (i = 0; i < sequences; i++)
        vfy_tokens(t + i * n, n, i, position, VOCAB, true, &f->rng);
    st = vfy_run(&f->d, &job, &err);
    if (st)
        return st;
    assert_true(vfy_oracle_run(f->o, 0, count, t, n * sequences, NULL, want));
    assert_memory_equal(got, want, sizeof(float) * VOCAB * n * sequences);
    return Q35_OK;
}

/* A prompt and some tokens, enough of them that graphs are captured and replayed. */
static enum q35_status story(struct fixture *f)
{
    enum q35_status st = step(f, 2, 0, 20);
    uint32_t i;
    for (i = 0; i < 4 && !st; i++)
        st = step(f, 2, 20 + i, 1);
    return st;
}

/* ---- finding devices ------------------------------------------------------------------------ */

static void finds_nothing(void **state)
{
    struct q35_kv_pair nowhere = {"driver", "/nowhere/libcuda.so.1"};
    struct q35_kv_pair relative = {"driver", "./libcuda.so.1"};
    struct q35_options o = {sizeof(o), 1, &nowhere};
    uint32_t count = 99;
    (void)state;
    assert_int_equal(entry.api.enumerate(&entry.host, &o, &count, &err), Q35_OK);
    assert_int_equal(count, 0);
    assert_non_null(strstr(err.message, "/nowhere/libcuda.so.1"));
    o.items = &relative;
    assert_int_equal(entry.api.enumerate(&entry.host, &o, &count, &err), Q35_E_CONFIG);
    assert_int_equal(count, 0);
}

static void says_what_they_are(void **state)
{
    struct q35_device_info a = {.size = sizeof(a)}, b = {.size = sizeof(b)};
    uint32_t count = 0;
    (void)state;
    assert_int_equal(entry.api.enumerate(&entry.host, &options, &count, &err), Q35_OK);
    assert_int_equal(count, 2);
    assert_int_equal(entry.api.device_info(&entry.host, &options, 0, &a, &err), Q35_OK);
    assert_int_equal(entry.api.device_info(&entry.host, &options, 1, &b, &err), Q35_OK);
    assert_string_equal(a.name, "emulated GPU 0 (sm_90)");
    assert_string_equal(b.name, "emulated GPU 1 (sm_75)");
    assert_string_equal(a.id, "GPU-35353535-3535-3535-3535-353535353500");
    assert_string_equal(b.id, "GPU-35353535-3535-3535-3535-353535353501");
    assert_true(a.memory_bandwidth == 16000000000u);
    assert_true(a.memory_total == 1u << 30 && a.memory_free == a.memory_total);
    assert_int_equal(a.simulated, 1);
    assert_int_equal(a.determinism, Q35_CLASS_EXACT);
}

/* ---- faults --------------------------------------------------------------------------------- */

/* A life with the n-th allocation failing. False when there was no n-th. */
static bool life_without_memory(long long n)
{
    struct fixture f;
    struct vfy_shape s = vfy_shape_small();
    enum q35_status st;
    memset(&f, 0, sizeof(f));
    f.rng.state = 7;
    f.m = vfy_model_create(&s, 5);
    f.o = f.m ? vfy_oracle_create(f.m, SEQUENCES) : NULL;
    assert_non_null(f.o);
    fake_set("oom_at", n);
    st = open_device(&f, 0);
    if (!st)
        st = upload(&f);
    if (!st)
        st = story(&f);
    if (st) {
        assert_int_equal(st, Q35_E_CAPACITY);
        assert_int_equal(err.radius, Q35_RADIUS_REQUEST);
        assert_int_equal(err.native_code, 2);
        assert_true(fake_get("oom_at") == 0);
        vfy_oracle_truncate(f.o, 0, 0);
        vfy_oracle_truncate(f.o, 1, 0);
        if (!f.d.dev) /* then again, with memory */
            assert_int_equal(open_device(&f, 0), Q35_OK);
        drop(&f);
        assert_int_equal(upload(&f), Q35_OK);
        assert_int_equal(story(&f), Q35_OK);
    }
    end(&f);
    return fake_get("oom_at") == 0;
}

static void out_of_memory_everywhere(void **state)
{
    long long n = 1;
    (void)state;
    while (life_without_memory(n))
        n++;
    fake_set("oom_at", 0);
    assert_true(n > 10); /* staging, weights, KV, scratch, sums, header, slots ... */
}

static void refused_launch_everywhere(void **state)
{
    struct fixture f;
    long long n;
    (void)state;
    begin(&f, 0);
    for (n = 1;; n++) {
        enum q35_status st;
        f.d.api->kv_truncate(f.kv, 0, 0, &err);
        f.d.api->kv_truncate(f.kv, 1, 0, &err);
        vfy_oracle_truncate(f.o, 0, 0);
        vfy_oracle_truncate(f.o, 1, 0);
        fake_set("launch_fail_at", n);
        st = story(&f);
        if (!st && fake_get("launch_fail_at"))
            break;
        assert_int_equal(st, Q35_E_INTERNAL);
        assert_int_equal(err.radius, Q35_RADIUS_REQUEST);
    }
    fake_set("launch_fail_at", 0);
    assert_true(n > 40);
    assert_int_equal(step(&f, 1, 24, 1), Q35_OK); /* at once, on the same device */
    end(&f);
}

static void lost_everywhere(void **state)
{
    struct fixture f;
    long long n;
    (void)state;
    begin(&f, 0);
    for (n = 1; n < 400; n += 1 + n / 8) {
        struct q35_weights *w = f.w;
        struct q35_kv *kv = f.kv;
        enum q35_status st;
        vfy_oracle_truncate(f.o, 0, 0);
        vfy_oracle_truncate(f.o, 1, 0);
        f.d.api->kv_truncate(f.kv, 0, 0, &err);
        f.d.api->kv_truncate(f.kv, 1, 0, &err);
        fake_set("lost_at", n);
        st = story(&f);
        if (!st)
            break;
        assert_int_equal(st, Q35_E_DEVICE_LOST);
        assert_int_equal(err.radius, Q35_RADIUS_DEVICE_LOST);
        assert_int_equal(err.native_code, 719);
        assert_int_equal(step(&f, 1, 0, 1), Q35_E_DEVICE_LOST); /* and stays lost */
        assert_int_equal(f.d.api->reset(f.d.dev, &err), Q35_OK);
        assert_int_equal(f.d.api->kv_truncate(kv, 0, 0, &err), Q35_E_DEVICE_LOST);
        assert_int_equal(upload(&f), Q35_OK);
        f.d.api->kv_free(kv); /* handles of before */
        f.d.api->weights_free(w);
    }
    fake_set("lost_at", 0);
    assert_true(n > 40);
    end(&f);
}

/* All that is in flight ends when the device goes, in order and once. */
static void lost_in_flight(void **state)
{
    struct fixture f;
    struct q35_token t[3];
    float out[3][VOCAB];
    uint64_t last = 0, i;
    (void)state;
    begin(&f, 0);
    fake_set("lost_at", 1000);
    assert_int_equal(step(&f, 1, 0, 1), Q35_OK);
    fake_set("lost_at", (1000 - fake_get("lost_at")) * 3 / 2); /* in the middle of the second */
    for (i = 0; i < 3; i++) {
        struct vfy_job job = {f.w, f.kv, 0, 4, &t[i], 1, NULL, 0, out[i], sizeof(out[i])};
        vfy_tokens(&t[i], 1, 0, 1 + (uint32_t)i, VOCAB, true, &f.rng);
        if (vfy_submit(&f.d, &job, &err))
            fail_msg("run %d: %s", (int)i, err.message);
    }
    assert_int_equal(f.d.api->wait(f.d.dev, 4, UINT64_MAX, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(f.d.api->wait(f.d.dev, 2, 0, &err), Q35_OK);
    assert_int_equal(f.d.api->wait(f.d.dev, 3, 0, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(f.d.api->poll(f.d.dev, &last, &err), Q35_OK);
    assert_true(last == 4);
    end(&f);
}

static void dead_for_good(void **state)
{
    struct fixture f, other;
    (void)state;
    begin(&f, 0);
    begin(&other, 1);
    fake_set("dead_at", 50);
    assert_int_equal(story(&f), Q35_E_DEVICE_LOST);
    assert_int_equal(f.d.api->reset(f.d.dev, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(err.radius, Q35_RADIUS_PLUGIN);
    assert_int_equal(f.d.api->reset(f.d.dev, &err), Q35_E_DEVICE_LOST);
    assert_int_equal(story(&other), Q35_OK); /* the other GPU is none the worse */
    end(&f);
    end(&other);
    fake_set("dead_at", 0);
}

/* ---- in flight ------------------------------------------------------------------------------ */

/* More runs than there are slots, nobody waiting; then results in any order. */
static void many_in_flight(void **state)
{
    enum { RUNS = 11 };
    struct fixture f;
    struct q35_token t[RUNS];
    static float out[RUNS][VOCAB], want[VOCAB];
    uint32_t i;
    (void)state;
    begin(&f, 0);
    for (i = 0; i < RUNS; i++) {
        struct vfy_job job = {f.w, f.kv, 0, 4, &t[i], 1, NULL, 0, out[i], sizeof(out[i])};
        vfy_tokens(&t[i], 1, 0, i, VOCAB, true, &f.rng);
        assert_int_equal(vfy_submit(&f.d, &job, &err), Q35_OK);
    }
    for (i = 0; i < RUNS; i++)
        assert_int_equal(f.d.api->wait(f.d.dev, (i * 7) % RUNS + 1, UINT64_MAX, &err), Q35_OK);
    for (i = 0; i < RUNS; i++) {
        assert_true(vfy_oracle_run(f.o, 0, 4, &t[i], 1, NULL, want));
        assert_memory_equal(out[i], want, sizeof(want));
    }
    end(&f);
}

static void cancelled_in_advance(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 0);
    f.d.api->cancel(f.d.dev, 2, &err);
    assert_int_equal(step(&f, 1, 0, 5), Q35_E_CANCELLED);
    assert_int_equal(step(&f, 1, 0, 5), Q35_E_CANCELLED);
    assert_int_equal(step(&f, 1, 0, 5), Q35_OK);
    end(&f);
}

static void more_logits_than_fit(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 0);
    assert_int_equal(step(&f, 1, 0, 300), Q35_OK);
    end(&f);
}

/* ---- graphs --------------------------------------------------------------------------------- */

static void graphs_are_replayed(void **state)
{
    struct fixture f;
    uint32_t i;
    (void)state;
    begin(&f, 0);
    fake_set("graph_launches", 0);
    for (i = 0; i < 140; i++) /* over the borders of pages: 1, 2, 4 of them */
        assert_int_equal(step(&f, 1, i, 1), Q35_OK);
    assert_true(fake_get("graph_launches") == 140 - 3);
    assert_int_equal(f.d.api->kv_fork(f.kv, 0, 1, 130, &err), Q35_OK);
    assert_true(vfy_oracle_fork(f.o, 0, 1, 130));
    for (i = 130; i < 134; i++)
        assert_int_equal(step(&f, 2, i, 1), Q35_OK);
    end(&f);
    fake_set("no_graphs", 1);
    begin(&f, 0);
    fake_set("graph_launches", 0);
    for (i = 0; i < 5; i++)
        assert_int_equal(step(&f, 1, i, 1), Q35_OK);
    assert_true(fake_get("graph_launches") == 0);
    end(&f);
    fake_set("no_graphs", 0);
}

/* ---- several GPUs --------------------------------------------------------------------------- */

static void submit_span(struct fixture *f, uint32_t first, uint32_t count,
                        const struct q35_token *t, uint32_t n, struct q35_span in,
                        struct q35_span out)
{
    struct q35_run run = {.size = sizeof(run),
                          .first = first,
                          .count = count,
                          .n_tokens = n,
                          .token_stride = sizeof(*t),
                          .weights = f->w,
                          .kv = f->kv,
                          .tokens = t,
                          .in = in,
                          .out = out,
                          .signal = ++f->d.signal};
    if (f->d.api->run_layers(f->d.dev, &run, &err))
        fail_msg("%s", err.message);
}

/* Hidden states go from GPU to GPU and back, and the host waits only for the last. */
static void through_two_gpus(void **state)
{
    enum { N = 5, WIDTH = 128 };
    struct fixture a, b;
    struct q35_buffer *buffer[2];
    struct q35_token t[N];
    float got[N * VOCAB], want[N * VOCAB];
    uint64_t bytes = sizeof(float) * N * WIDTH;
    uint32_t round;
    (void)state;
    begin(&a, 0);
    begin(&b, 1);
    assert_int_equal(a.d.api->buffer_alloc(a.d.dev, bytes, &buffer[0], &err), Q35_OK);
    assert_int_equal(b.d.api->buffer_alloc(b.d.dev, bytes, &buffer[1], &err), Q35_OK);
    fake_set("peer_copies", 0);
    for (round = 0; round < 3; round++) {
        struct q35_span none = {0}, logits = {.host = got, .bytes = sizeof(got)};
        struct q35_span span[2] = {{.buffer = buffer[0], .bytes = bytes},
                                   {.buffer = buffer[1], .bytes = bytes}};
        vfy_tokens(t, N, 0, round * N, VOCAB, true, &a.rng);
        submit_span(&a, 0, 2, t, N, none, span[0]);    /* stays on the first GPU */
        submit_span(&b, 2, 1, t, N, span[0], span[1]); /* fetched by the second */
        submit_span(&a, 3, 1, t, N, span[1], logits);  /* and fetched back */
        assert_int_equal(a.d.api->wait(a.d.dev, a.d.signal, UINT64_MAX, &err), Q35_OK);
        assert_true(vfy_oracle_run(a.o, 0, 4, t, N, NULL, want));
        assert_memory_equal(got, want, sizeof(want));
    }
    assert_true(fake_get("peer_copies") == 6);
    a.d.api->buffer_free(buffer[0]);
    b.d.api->buffer_free(buffer[1]);
    end(&a);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_nothing),
        cmocka_unit_test(says_what_they_are),
        cmocka_unit_test(many_in_flight),
        cmocka_unit_test(cancelled_in_advance),
        cmocka_unit_test(more_logits_than_fit),
        cmocka_unit_test(graphs_are_replayed),
        cmocka_unit_test(through_two_gpus),
        cmocka_unit_test(out_of_memory_everywhere),
        cmocka_unit_test(refused_launch_everywhere),
        cmocka_unit_test(lost_everywhere),
        cmocka_unit_test(lost_in_flight),
        cmocka_unit_test(dead_for_good),
    };
    const char *so = getenv("CUDA_SO"), *driver = getenv("FAKE_CUDA");
    void *lib = driver ? dlopen(driver, RTLD_NOW) : NULL, *symbol[2];
    int failed;
    if (!so || !lib) {
        fprintf(stderr, "CUDA_SO and FAKE_CUDA must name two shared objects\n");
        return 1;
    }
    symbol[0] = dlsym(lib, "q35_fake_set");
    symbol[1] = dlsym(lib, "q35_fake_get");
    memcpy(&fake_set, &symbol[0], sizeof(fake_set));
    memcpy(&fake_get, &symbol[1], sizeof(fake_get));
    pairs[0].value = driver;
    if (!fake_set || !fake_get || q35_plugin_load(&entry, so, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    q35_plugin_unload(&entry);
    return failed;
}
