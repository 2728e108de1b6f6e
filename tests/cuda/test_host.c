/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* What the conformance kit cannot ask of cuda.so: finding GPUs, runs in flight, graphs, several
 * GPUs. */

#include "host.h"

#include <pthread.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "q35/arith.h"

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
    assert_true(a.memory_total == 1u << 30 && a.memory_free == (1u << 30) - (1u << 24));
    assert_int_equal(a.simulated, 1);
    assert_int_equal(a.determinism, Q35_CLASS_EXACT);
}

/* GPUs that have no int8 matrix instructions are not counted, wherever they stand. */
static void old_ones_are_left_out(void **state)
{
    struct q35_device_info a = {.size = sizeof(a)};
    uint32_t count = 99;
    (void)state;
    fake_set("old", 1);
    assert_int_equal(entry.api.enumerate(&entry.host, &options, &count, &err), Q35_OK);
    assert_int_equal(count, 1);
    assert_int_equal(entry.api.device_info(&entry.host, &options, 0, &a, &err), Q35_OK);
    assert_string_equal(a.name, "emulated GPU 1 (sm_75)");
    assert_int_equal(entry.api.device_info(&entry.host, &options, 1, &a, &err), Q35_E_NOT_FOUND);
    fake_set("old", 2);
    assert_int_equal(entry.api.enumerate(&entry.host, &options, &count, &err), Q35_OK);
    assert_int_equal(count, 0);
    assert_non_null(strstr(err.message, "none of 2 GPUs has compute capability 7.5"));
    fake_set("old", 0);
}

/* A GPU on which no context can be made has no memory for us; it does not take the others away. */
static void busy_one(void **state)
{
    struct q35_device_info a = {.size = sizeof(a)}, b = {.size = sizeof(b)};
    struct fixture f;
    (void)state;
    begin(&f, 1);
    fake_set("dead_at", 1);
    assert_int_equal(step(&f, 1, 0, 1), Q35_E_DEVICE_LOST);
    end(&f);
    assert_int_equal(entry.api.device_info(&entry.host, &options, 0, &a, &err), Q35_OK);
    assert_int_equal(entry.api.device_info(&entry.host, &options, 1, &b, &err), Q35_OK);
    assert_true(a.memory_free == (1u << 30) - (1u << 24));
    assert_true(b.memory_total == 1u << 30 && b.memory_free == 1); /* 0: unknown */
    fake_set("dead_at", 0);
}

/* The driver of the parent is of no use to a child, and says nothing good about it. */
static void not_after_a_fork(void **state)
{
    uint32_t count = 99;
    int status = 0;
    pid_t pid;
    (void)state;
    assert_int_equal(entry.api.enumerate(&entry.host, &options, &count, &err), Q35_OK);
    assert_int_equal(count, 2);
    pid = fork();
    if (pid == 0) {
        enum q35_status st = entry.api.enumerate(&entry.host, &options, &count, &err);
        _exit(st || count || !strstr(err.message, "before this process was forked"));
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    assert_int_equal(status, 0);
}

/* Attention over the widest heads does not fit the shared memory of the smallest GPUs. */
static void wide_heads(void **state)
{
    struct vfy_shape s = vfy_shape_small();
    struct vfy_model *m;
    struct fixture f;
    uint32_t i;
    (void)state;
    s.head_dim = s.rope_dim = 256;
    m = vfy_model_create(&s, 5);
    assert_non_null(m);
    for (i = 0; i < 2; i++) {
        begin(&f, i);
        assert_int_equal(f.d.api->supports(f.d.dev, &m->layers[1], &err),
                         i ? Q35_E_UNSUPPORTED : Q35_OK);
        end(&f);
    }
    vfy_model_destroy(m);
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

static void cancel_now(void *arg)
{
    struct fixture *f = arg;
    f->d.api->cancel(f->d.dev, f->d.signal, &err);
}

/* A cancel while the GPU is at the first layers of a long prefill: most layers are never enqueued,
 * and the run can be submitted again. */
static void cancelled_in_the_middle(void **state)
{
    enum { LAYERS = 40 };
    struct vfy_shape s = vfy_shape_small();
    struct fixture f;
    long long kernels;
    (void)state;
    s.decoders = LAYERS;
    begin_shape(&f, 0, &s);
    assert_int_equal(step(&f, 1, 0, 70), Q35_OK);
    fake_at(60, cancel_now, &f);  /* of 12 a layer */
    fake_set("lost_at", 1000000); /* counts kernels */
    assert_int_equal(step(&f, 1, 70, 70), Q35_E_CANCELLED);
    kernels = 1000000 - fake_get("lost_at");
    fake_set("lost_at", 0);
    assert_true(kernels >= 60 && kernels < 12 * LAYERS / 2);
    assert_true(err.layer > 4 && err.layer < LAYERS / 2);
    assert_int_equal(step(&f, 1, 70, 70), Q35_OK);
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

/* ---- greedy tokens -------------------------------------------------------------------------- */

/* n tokens of a sequence, all of which want ids; compared with the oracle's logits. */
static void greedy_step(struct fixture *f, uint32_t position, uint32_t n)
{
    static float want[400 * VOCAB];
    struct q35_token t[400];
    uint32_t ids[400], i;
    struct vfy_job job = {.w = f->w,
                          .kv = f->kv,
                          .count = 4,
                          .tokens = t,
                          .n = n,
                          .out = (float *)(void *)ids,
                          .out_bytes = 4 * (uint64_t)n,
                          .flags = Q35_RUN_GREEDY};
    vfy_tokens(t, n, 0, position, VOCAB, true, &f->rng);
    assert_int_equal(vfy_run(&f->d, &job, &err), Q35_OK);
    assert_true(vfy_oracle_run(f->o, 0, 4, t, n, NULL, want));
    for (i = 0; i < n; i++)
        assert_int_equal(ids[i], q35_greedy(want + i * VOCAB, VOCAB));
}

/* More tokens than logits fit; graphs of either kind side by side. */
static void greedy(void **state)
{
    struct fixture f;
    uint32_t i;
    (void)state;
    begin(&f, 0);
    greedy_step(&f, 0, 300);
    fake_set("graph_launches", 0);
    for (i = 0; i < 8; i++)
        if (i % 2)
            assert_int_equal(step(&f, 1, 300 + i, 1), Q35_OK);
        else
            greedy_step(&f, 300 + i, 1);
    assert_true(fake_get("graph_launches") == 8 - 2);
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

/* A launch that cannot be captured is made without a graph, and so are all that follow. */
static void spoilt_capture(void **state)
{
    struct fixture f;
    uint32_t i;
    (void)state;
    begin(&f, 0);
    fake_set("graph_launches", 0);
    fake_set("capture_fail_at", 20);
    for (i = 0; i < 5; i++)
        assert_int_equal(step(&f, 1, i, 1), Q35_OK);
    assert_true(fake_get("capture_fail_at") == 0);
    assert_true(fake_get("graph_launches") == 0);
    end(&f);
}

/* Two sequences of which one, the other, both or none want logits: shapes of their own. */
static void logits_of_some(void **state)
{
    struct fixture f;
    struct q35_token t[2];
    float got[2 * VOCAB], want[2 * VOCAB];
    uint32_t i;
    (void)state;
    begin(&f, 0);
    for (i = 0; i < 24; i++) {
        uint32_t wanted = i % 4, n = (wanted & 1u) + (wanted >> 1);
        struct vfy_job job = {f.w, f.kv, 0, 4, t, 2, NULL, 0, got, sizeof(got)};
        vfy_tokens(t, 1, 0, i, VOCAB, wanted & 1u, &f.rng);
        vfy_tokens(t + 1, 1, 1, i, VOCAB, wanted >> 1, &f.rng);
        memset(got, 0, sizeof(got));
        memset(want, 0, sizeof(want));
        assert_int_equal(vfy_run(&f.d, &job, &err), Q35_OK);
        assert_true(vfy_oracle_run(f.o, 0, 4, t, 2, NULL, want));
        assert_memory_equal(got, want, sizeof(float) * VOCAB * n);
        assert_true(n == 2 || got[n * VOCAB] == 0.0f);
    }
    end(&f);
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

/* A buffer is written anew while the other GPU has yet to fetch what it held. */
static void fetched_before_overwritten(void **state)
{
    enum { N = 3, WIDTH = 128 };
    struct fixture a, b;
    struct q35_buffer *buffer;
    struct q35_token t[2][N];
    float got[2][N * VOCAB], want[N * VOCAB];
    uint64_t bytes = sizeof(float) * N * WIDTH;
    struct q35_span none = {0}, span = {.bytes = bytes};
    uint32_t i;
    (void)state;
    begin(&a, 0);
    begin(&b, 1);
    assert_int_equal(a.d.api->buffer_alloc(a.d.dev, bytes, &buffer, &err), Q35_OK);
    span.buffer = buffer;
    for (i = 0; i < 2; i++) {
        struct q35_span logits = {.host = got[i], .bytes = sizeof(got[i])};
        vfy_tokens(t[i], N, 0, i * N, VOCAB, true, &a.rng);
        submit_span(&a, 0, 1, t[i], N, none, span);
        submit_span(&b, 1, 3, t[i], N, span, logits);
    }
    assert_int_equal(a.d.api->wait(a.d.dev, a.d.signal, UINT64_MAX, &err), Q35_OK);
    assert_int_equal(b.d.api->wait(b.d.dev, b.d.signal, UINT64_MAX, &err), Q35_OK);
    for (i = 0; i < 2; i++) {
        assert_true(vfy_oracle_run(a.o, 0, 4, t[i], N, NULL, want));
        assert_memory_equal(got[i], want, sizeof(want));
    }
    a.d.api->buffer_free(buffer);
    end(&a);
    end(&b);
}

/* A run on the second GPU that fetches its input from the first one. */
struct fetch {
    struct fixture *f;
    struct q35_span in;
    struct q35_token t[2];
    float got[2 * VOCAB];
    pthread_t thread;
    bool started;
};

static void *fetch(void *arg)
{
    struct fetch *a = arg;
    struct q35_span out = {.host = a->got, .bytes = sizeof(a->got)};
    submit_span(a->f, 1, 3, a->t, 2, a->in, out);
    return NULL;
}

/* Gives the other thread time to do what it must not do yet. */
static void start_fetch(void *arg)
{
    const struct timespec nap = {0, 20000000};
    struct fetch *a = arg;
    a->started = !pthread_create(&a->thread, NULL, fetch, a);
    nanosleep(&nap, NULL);
}

/* While the first GPU's stream captures, nothing of another thread gets into it. */
static void fetched_during_a_capture(void **state)
{
    enum { N = 2, WIDTH = 128 };
    struct fixture a, b;
    struct q35_buffer *buffer;
    struct q35_span none = {0}, span = {.bytes = sizeof(float) * N * WIDTH};
    struct fetch other = {.f = &b};
    float want[N * VOCAB];
    (void)state;
    begin(&a, 0);
    begin(&b, 1);
    assert_int_equal(a.d.api->buffer_alloc(a.d.dev, span.bytes, &buffer, &err), Q35_OK);
    span.buffer = buffer;
    vfy_tokens(other.t, N, 3, 0, VOCAB, true, &a.rng);
    submit_span(&a, 0, 1, other.t, N, none, span);
    other.in = span;
    assert_int_equal(step(&a, 1, 0, 1), Q35_OK);
    fake_at(-1, start_fetch, &other);
    assert_int_equal(step(&a, 1, 1, 1), Q35_OK); /* is captured */
    assert_true(other.started && !pthread_join(other.thread, NULL));
    assert_int_equal(b.d.api->wait(b.d.dev, b.d.signal, UINT64_MAX, &err), Q35_OK);
    assert_true(vfy_oracle_run(b.o, 0, 4, other.t, N, NULL, want));
    assert_memory_equal(other.got, want, sizeof(want));
    a.d.api->buffer_free(buffer);
    end(&a);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_one),
        cmocka_unit_test(old_ones_are_left_out),
        cmocka_unit_test(not_after_a_fork),
        cmocka_unit_test(spoilt_capture),
        cmocka_unit_test(fetched_during_a_capture),
        cmocka_unit_test(finds_nothing),
        cmocka_unit_test(says_what_they_are),
        cmocka_unit_test(wide_heads),
        cmocka_unit_test(many_in_flight),
        cmocka_unit_test(cancelled_in_advance),
        cmocka_unit_test(cancelled_in_the_middle),
        cmocka_unit_test(more_logits_than_fit),
        cmocka_unit_test(greedy),
        cmocka_unit_test(graphs_are_replayed),
        cmocka_unit_test(logits_of_some),
        cmocka_unit_test(through_two_gpus),
        cmocka_unit_test(fetched_before_overwritten),
    };
    int failed;
    if (host_load())
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    q35_plugin_unload(&entry);
    return failed;
}
