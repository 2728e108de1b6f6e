/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backends/reference/soft.h"
#include "core/plugin/isolate_session.h"
#include "core/verify/session.h"
#include "q35/arith.h"
#include "q35/measure.h"

/* isolate = process: the same bits as in this process, and a worker's end is a lost device. */

#define FOREVER 60000000000u

static const char *folder; /* of the sample plugins */
static char trigger[] = "/tmp/q35-isolate-XXXXXX";

struct rig {
    struct q35_config *config;
    struct q35_registry *registry;
    struct q35_device_entry *entry;
    struct vfy_dev dev;
};

static void rig_init(struct rig *r, bool isolate, uint32_t hang_seconds)
{
    struct q35_error err = Q35_ERROR_INIT;
    char text[2048];
    snprintf(text, sizeof(text),
             "[backend m]\npath = %s/mortal.so\nisolate = %s\nhang_seconds = %u\ntrigger = %s\n",
             folder, isolate ? "process" : "none", hang_seconds, trigger);
    if (q35_config_parse(&r->config, text, "t.ini", &err) != Q35_OK ||
        q35_registry_create(&r->registry, r->config, &err) != Q35_OK)
        fail_msg("%s", err.message);
    r->entry = &r->registry->devices[0];
    if (q35_device_open(r->entry, &err) != Q35_OK)
        fail_msg("%s", err.message);
    r->dev = (struct vfy_dev){.api = &r->entry->plugin->api, .dev = r->entry->dev};
}

static void rig_fini(struct rig *r)
{
    q35_registry_destroy(r->registry);
    q35_config_free(r->config);
}

static struct iso_session *worker_of(const struct rig *r)
{
    return session_of(r->dev.dev);
}

/* A model on a device, and room for its results. */
struct load {
    struct vfy_model *m;
    struct q35_weights *w;
    struct q35_kv *kv;
    float out[8][512]; /* [tokens][vocab] */
};

static enum q35_status load_init(struct load *l, struct rig *r, uint32_t lifetime,
                                 struct q35_error *err)
{
    struct vfy_shape shape = vfy_shape_small();
    enum q35_status st;
    memset(l, 0, sizeof(*l));
    assert_true(shape.vocab <= 512);
    l->m = vfy_model_create(&shape, 7);
    assert_non_null(l->m);
    st = vfy_upload(&r->dev, l->m, lifetime, &l->w, err);
    return st == Q35_OK ? vfy_kv(&r->dev, l->w, 4, 256, &l->kv, err) : st;
}

static void load_fini(struct load *l, struct rig *r)
{
    if (l->kv)
        r->dev.api->kv_free(l->kv);
    if (l->w)
        r->dev.api->weights_free(l->w);
    vfy_model_destroy(l->m);
}

/* n tokens of a sequence from a position through the whole model. */
static enum q35_status step(struct load *l, struct rig *r, uint32_t sequence, uint32_t position,
                            uint32_t n, struct q35_error *err)
{
    struct vfy_rng rng = {sequence * 100 + position};
    struct q35_token tokens[8];
    struct vfy_job job = {.w = l->w,
                          .kv = l->kv,
                          .count = l->m->layer_count,
                          .tokens = tokens,
                          .n = n,
                          .out = &l->out[0][0],
                          .out_bytes = (uint64_t)n * l->m->shape.vocab * 4};
    vfy_tokens(tokens, n, sequence, position, l->m->shape.vocab, true, &rng);
    return vfy_run(&r->dev, &job, err);
}

/* The same in two runs, with the hidden states through the host. */
static enum q35_status step_in_two(struct load *l, struct rig *r, uint32_t sequence, uint32_t n,
                                   struct q35_error *err)
{
    float hidden[8 * 1024];
    struct vfy_rng rng = {sequence};
    struct q35_token tokens[8];
    struct vfy_job job = {.w = l->w,
                          .kv = l->kv,
                          .count = 2,
                          .tokens = tokens,
                          .n = n,
                          .out = hidden,
                          .out_bytes = (uint64_t)n * l->m->shape.d_model * 4};
    enum q35_status st;
    assert_true(n * l->m->shape.d_model <= Q35_COUNT(hidden));
    vfy_tokens(tokens, n, sequence, 0, l->m->shape.vocab, true, &rng);
    st = vfy_run(&r->dev, &job, err);
    if (st != Q35_OK)
        return st;
    job.first = 2;
    job.count = l->m->layer_count - 2;
    job.in = hidden;
    job.in_bytes = job.out_bytes;
    job.out = &l->out[0][0];
    job.out_bytes = (uint64_t)n * l->m->shape.vocab * 4;
    return vfy_run(&r->dev, &job, err);
}

static void must(enum q35_status st, const struct q35_error *err)
{
    if (st != Q35_OK)
        fail_msg("%s: %s", q35_status_text((int)st), err->message);
}

/* A short life: prefill, decode, fork, truncate. Writes a hash of all results. */
static uint64_t live(struct load *l, struct rig *r)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t hash = 1, bits = 0;
    static const struct {
        uint32_t sequence, position, n;
    } steps[] = {{0, 0, 8}, {0, 8, 1}, {1, 0, 3}, {0, 9, 2}, {2, 5, 1}, {0, 4, 4}};
    for (size_t i = 0; i < Q35_COUNT(steps); i++) {
        if (i == 4)
            must(r->dev.api->kv_fork(l->kv, 0, 2, 5, &err), &err);
        if (i == 5)
            must(r->dev.api->kv_truncate(l->kv, 0, 4, &err), &err);
        must(step(l, r, steps[i].sequence, steps[i].position, steps[i].n, &err), &err);
        for (size_t b = 0; b < (size_t)steps[i].n * l->m->shape.vocab; b++) {
            memcpy(&bits, &l->out[0][0] + b, 4);
            hash = q35_mix64(hash ^ bits);
        }
    }
    must(step_in_two(l, r, 3, 3, &err), &err);
    for (size_t b = 0; b < (size_t)3 * l->m->shape.vocab; b++) {
        memcpy(&bits, &l->out[0][0] + b, 4);
        hash = q35_mix64(hash ^ bits);
    }
    must(r->dev.api->kv_truncate(l->kv, 3, 0, &err), &err);
    return hash;
}

static void same_bits(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t hashes[4];
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct rig r;
        struct load l;
        uint64_t value = 0;
        rig_init(&r, i & 1, 60);
        assert_int_equal(r.registry->device_count, 2);
        assert_string_equal(r.registry->devices[1].info.name, "mortal 1");
        assert_string_equal(r.entry->plugin->api.name, "mortal");
        must(load_init(&l, &r, i & 2 ? Q35_UNTIL_FREE : Q35_DURING_CALL, &err), &err);
        hashes[i] = live(&l, &r);
        assert_int_equal(r.dev.api->poll(r.dev.dev, &value, &err), Q35_OK);
        assert_int_equal(value, r.dev.signal);
        load_fini(&l, &r);
        rig_fini(&r);
    }
    assert_int_equal(hashes[0], hashes[1]);
    assert_int_equal(hashes[0], hashes[2]);
    assert_int_equal(hashes[0], hashes[3]);
}

/* Questions get the same answers, refusals the same words. */
static void same_answers(void **state)
{
    struct q35_plan_result plans[2] = {{.size = sizeof(plans[0])}, {.size = sizeof(plans[0])}};
    struct q35_error errs[2][4] = {{Q35_ERROR_INIT}};
    struct vfy_shape shape = vfy_shape_small();
    struct vfy_model *m = vfy_model_create(&shape, 3);
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct q35_plan_request request = {.size = sizeof(request),
                                           .layer_count = m->layer_count,
                                           .layer_stride = sizeof(struct q35_layer),
                                           .max_batch = 16,
                                           .max_sequences = 2,
                                           .kv_tokens = 128,
                                           .layers = m->layers};
        struct q35_layer odd = m->layers[1];
        struct q35_weights *w;
        struct q35_buffer *b = NULL;
        char data[100], back[100];
        struct rig r;
        rig_init(&r, i, 60);
        must(r.dev.api->plan(r.dev.dev, &request, &plans[i], &errs[i][0]), &errs[i][0]);
        must(r.dev.api->supports(r.dev.dev, &m->layers[1], &errs[i][0]), &errs[i][0]);
        odd.activation = 99;
        assert_int_equal(r.dev.api->supports(r.dev.dev, &odd, &errs[i][1]), Q35_E_UNSUPPORTED);
        /* a commit that lacks data, and a KV of nothing */
        must(vfy_begin(&r.dev, m, &w, &errs[i][0]), &errs[i][0]);
        assert_int_not_equal(r.dev.api->weights_commit(w, &errs[i][2]), Q35_OK);
        r.dev.api->weights_free(w);
        assert_int_equal(r.dev.api->wait(r.dev.dev, 5, 1000, &errs[i][3]), Q35_E_TIMEOUT);
        must(r.dev.api->buffer_alloc(r.dev.dev, 200, &b, &errs[i][0]), &errs[i][0]);
        for (int k = 0; k < 100; k++)
            data[k] = (char)k;
        must(r.dev.api->buffer_write(b, 64, data, 100, &errs[i][0]), &errs[i][0]);
        must(r.dev.api->buffer_read(b, 64, back, 100, &errs[i][0]), &errs[i][0]);
        assert_memory_equal(data, back, 100);
        assert_int_not_equal(r.dev.api->buffer_read(b, 150, back, 100, &errs[i][0]), Q35_OK);
        r.dev.api->buffer_free(b);
        rig_fini(&r);
    }
    assert_memory_equal(&plans[0], &plans[1], sizeof(plans[0]));
    assert_true(plans[0].kv_bytes > 0);
    for (int k = 0; k < 4; k++) {
        assert_string_equal(errs[0][k].message, errs[1][k].message);
        assert_int_equal(errs[0][k].status, errs[1][k].status);
    }
    vfy_model_destroy(m);
}

/* A device's own account of its speed arrives as it is told. */
static void same_measures(void **state)
{
    struct vfy_shape shape = vfy_shape_small();
    struct vfy_model *m = vfy_model_create(&shape, 3);
    const uint32_t stride = sizeof(struct q35_layer);
    char text[2][2][96] = {{""}};
    double seconds[2] = {0, 1};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct q35_error err = Q35_ERROR_INIT;
        const struct q35_measure *x;
        struct q35_device *dev;
        struct rig r;
        rig_init(&r, i, 60);
        dev = q35_soft_own(r.dev.api, r.dev.dev);
        assert_null(r.dev.api->get_extension("q35.other", 1));
        assert_null(r.dev.api->get_extension(Q35_EXT_MEASURE, 2));
        x = r.dev.api->get_extension(Q35_EXT_MEASURE, 1);
        assert_non_null(x);
        must(x->seconds(dev, m->layers, m->layer_count, stride, 3, 500, &seconds[i], &err), &err);
        for (uint32_t json = 0; json < 2; json++)
            must(x->report(dev, m->layers, m->layer_count, stride, 3, 500, json, text[i][json],
                           sizeof(text[i][json]), &err),
                 &err);
        assert_int_equal(
            x->report(dev, m->layers, m->layer_count, stride, 3, 500, 1, text[i][1], 16, &err),
            Q35_E_CAPACITY);
        assert_non_null(strstr(err.message, "a report takes"));
        assert_int_equal(
            x->report(dev, m->layers, 1, stride, 3, 500, 1, text[i][1], i ? UINT64_MAX : 16, &err),
            Q35_E_CAPACITY); /* beyond the arena */
        must(x->report(dev, m->layers, m->layer_count, stride, 3, 500, 1, text[i][1],
                       sizeof(text[i][1]), &err),
             &err);
        rig_fini(&r);
    }
    assert_true(seconds[0] == seconds[1]);
    assert_string_equal(text[0][0], text[1][0]);
    assert_string_equal(text[0][1], text[1][1]);
    assert_non_null(strstr(text[1][0], " 3 500 4711\n"));
    vfy_model_destroy(m);
}

/* A plugin without the extension has none in a process of its own either. */
static void no_measures(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_registry *registry;
    struct q35_config *config;
    char text[1024];
    (void)state;
    snprintf(text, sizeof(text), "[backend s]\npath = %s/sample_none.so\nisolate = process\n",
             folder);
    must(q35_config_parse(&config, text, "t.ini", &err), &err);
    must(q35_registry_create(&registry, config, &err), &err);
    assert_true(registry->device_count > 0);
    assert_null(registry->devices[0].plugin->api.get_extension(Q35_EXT_MEASURE, 1));
    q35_registry_destroy(registry);
    q35_config_free(config);
}

/* What ABI 1.1 added comes through: features, the KV's type, greedy runs and what is refused. */
static void kv_types_and_greedy(void **state)
{
    uint32_t ids[2][8];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct q35_plan_result half = {.size = sizeof(half)}, whole = half;
        struct q35_plan_request request = {.size = sizeof(request),
                                           .layer_stride = sizeof(struct q35_layer),
                                           .max_batch = 16,
                                           .max_sequences = 4,
                                           .kv_tokens = 256};
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_token tokens[8];
        struct q35_kv *none;
        struct vfy_job job;
        struct load l;
        struct rig r;
        rig_init(&r, i, 60);
        assert_int_equal(r.registry->devices[1].info.features,
                         Q35_FEATURE_GREEDY | Q35_FEATURE_KV_INT8 | Q35_FEATURE_TRIPLE);
        r.dev.kv_type = Q35_KV_INT8;
        must(load_init(&l, &r, Q35_DURING_CALL, &err), &err);
        request.layer_count = l.m->layer_count;
        request.layers = l.m->layers;
        must(r.dev.api->plan(r.dev.dev, &request, &whole, &err), &err);
        request.kv_type = Q35_KV_INT8;
        must(r.dev.api->plan(r.dev.dev, &request, &half, &err), &err);
        assert_int_equal(half.kv_token_bytes * 2 * l.m->shape.head_dim,
                         whole.kv_token_bytes * (l.m->shape.head_dim + 4));
        must(step(&l, &r, 0, 0, 8, &err), &err); /* logits: who is the greatest */
        vfy_tokens(tokens, 8, 0, 0, l.m->shape.vocab, true, &(struct vfy_rng){0});
        job = (struct vfy_job){.w = l.w,
                               .kv = l.kv,
                               .count = l.m->layer_count,
                               .tokens = tokens,
                               .n = 8,
                               .out = ids[i],
                               .out_bytes = sizeof(ids[i]),
                               .flags = Q35_RUN_GREEDY};
        must(vfy_run(&r.dev, &job, &err), &err);
        for (int k = 0; k < 8; k++)
            assert_int_equal(ids[i][k],
                             q35_greedy(&l.out[0][0] + k * l.m->shape.vocab, l.m->shape.vocab));
        job.flags = 64;
        assert_int_equal(vfy_submit(&r.dev, &job, &err), Q35_E_UNSUPPORTED);
        r.dev.kv_type = 9;
        assert_int_equal(vfy_kv(&r.dev, l.w, 1, 64, &none, &err), Q35_E_UNSUPPORTED);
        load_fini(&l, &r);
        rig_fini(&r);
    }
    assert_memory_equal(ids[0], ids[1], sizeof(ids[0]));
}

/* A tensor inside a mapped file is not copied: the worker maps the file. */
static void maps_files(void **state)
{
    char path[] = "/tmp/q35-weights-XXXXXX", maps[64], line[512];
    struct q35_error err = Q35_ERROR_INIT;
    struct vfy_shape shape = vfy_shape_small();
    struct vfy_model *m = vfy_model_create(&shape, 5);
    const struct q35_tensor_desc *d = vfy_desc(m, 1, Q35_ROLE_Q);
    struct iso_map map = {0};
    struct q35_weights *w;
    struct q35_file f;
    struct rig r;
    uint64_t delta;
    bool seen = false;
    FILE *out;
    int fd = mkstemp(path);
    (void)state;
    out = fdopen(fd, "wb");
    assert_non_null(out);
    assert_int_equal(fseek(out, 8192 + 64, SEEK_SET), 0);
    assert_int_equal(fwrite(vfy_tensor(m, 1, Q35_ROLE_Q)->data, 1, d->bytes, out), d->bytes);
    assert_int_equal(fclose(out), 0);
    must(q35_file_map(&f, path, &err), &err);
    fd = iso_mapped_file(f.data + 8192 + 64, d->bytes, &map, &delta);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(delta, 8192 + 64);
    assert_int_equal(map.offset, 0);
    assert_int_equal(iso_mapped_file(&map, 8, &map, &delta), -1); /* the stack is no file */
    assert_int_equal(iso_mapped_file(f.data, f.bytes + (1u << 20), &map, &delta), -1);
    rig_init(&r, true, 60);
    must(vfy_begin(&r.dev, m, &w, &err), &err);
    must(r.dev.api->weights_put(w, 1, Q35_ROLE_Q, 0, f.data + 8192 + 64, d->bytes, Q35_UNTIL_FREE,
                                &err),
         &err);
    snprintf(maps, sizeof(maps), "/proc/%d/maps", (int)worker_of(&r)->pid);
    out = fopen(maps, "r");
    assert_non_null(out);
    while (fgets(line, sizeof(line), out))
        seen = seen || strstr(line, path);
    fclose(out);
    assert_true(seen);
    r.dev.api->weights_free(w);
    rig_fini(&r);
    q35_file_unmap(&f);
    unlink(path);
    vfy_model_destroy(m);
}

static void pull(char letter)
{
    FILE *f = fopen(trigger, "w");
    assert_non_null(f);
    fputc(letter, f);
    fclose(f);
}

/* Each way to end: what is said, that everything after says the same, and that reset heals. */
static void lost_and_reset(void **state)
{
    static const struct {
        char letter;
        const char *message;
    } ends[] = {{'c', "the worker process of m died in RUN_LAYERS: signal 11"},
                {'e', "the worker process of m died in RUN_LAYERS: exit status 7"},
                {'h', "the worker process of m hangs: no answer to RUN_LAYERS within 2 s"}};
    struct rig r;
    struct load first, l;
    uint64_t want;
    (void)state;
    rig_init(&r, true, 2);
    for (size_t i = 0; i < Q35_COUNT(ends); i++) {
        struct q35_error err = Q35_ERROR_INIT;
        struct q35_kv *kv = (void *)&err;
        uint64_t value;
        must(load_init(&first, &r, Q35_UNTIL_FREE, &err), &err);
        want = live(&first, &r);
        pull(ends[i].letter);
        assert_int_equal(step(&first, &r, 3, 0, 1, &err), Q35_E_DEVICE_LOST);
        if (strncmp(err.message, ends[i].message, strlen(ends[i].message)) != 0)
            fail_msg("'%s' instead of '%s'", err.message, ends[i].message);
        assert_int_equal(err.radius, Q35_RADIUS_DEVICE_LOST);
        assert_int_equal(worker_of(&r)->pid, 0);
        assert_int_equal(r.dev.api->poll(r.dev.dev, &value, &err), Q35_E_DEVICE_LOST);
        assert_int_equal(r.dev.api->wait(r.dev.dev, 1, FOREVER, &err), Q35_E_DEVICE_LOST);
        assert_non_null(strstr(err.message, "the worker process of m"));
        assert_int_equal(vfy_kv(&r.dev, first.w, 1, 64, &kv, &err), Q35_E_DEVICE_LOST);
        assert_null(kv);
        must(r.dev.api->reset(r.dev.dev, &err), &err);
        assert_true(worker_of(&r)->pid > 0);
        /* what the first worker had is gone, its handles are still to be freed */
        assert_int_equal(r.dev.api->kv_truncate(first.kv, 0, 0, &err), Q35_E_DEVICE_LOST);
        r.dev.signal = 0;
        must(load_init(&l, &r, Q35_UNTIL_FREE, &err), &err);
        assert_int_equal(live(&l, &r), want);
        load_fini(&l, &r);
        load_fini(&first, &r);
    }
    rig_fini(&r);
}

static void killed_from_outside(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct rig r;
    (void)state;
    rig_init(&r, true, 60);
    assert_int_equal(kill(worker_of(&r)->pid, SIGKILL), 0);
    assert_int_equal(r.dev.api->wait(r.dev.dev, 9, FOREVER, &err), Q35_E_DEVICE_LOST);
    assert_non_null(strstr(err.message, "died in WAIT: signal 9"));
    rig_fini(&r);
}

static void *waiter(void *arg)
{
    struct rig *r = arg;
    struct q35_error err = Q35_ERROR_INIT;
    return (void *)(intptr_t)r->dev.api->wait(r->dev.dev, 1u << 30, FOREVER, &err);
}

/* More waiters than channels keep nobody out, and the worker's end frees them all. */
static void many_waiters(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    pthread_t threads[2 * ISO_CHANNELS];
    struct rig r;
    struct load l;
    pid_t pid;
    (void)state;
    rig_init(&r, true, 60);
    pid = worker_of(&r)->pid;
    must(load_init(&l, &r, Q35_DURING_CALL, &err), &err);
    for (int i = 0; i < 2 * ISO_CHANNELS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, waiter, &r), 0);
    for (int i = 0; i < 20; i++) {
        uint64_t value;
        must(step(&l, &r, 0, (uint32_t)i, 1, &err), &err);
        must(r.dev.api->poll(r.dev.dev, &value, &err), &err);
        assert_int_equal(value, r.dev.signal);
        must(r.dev.api->cancel(r.dev.dev, value, &err), &err);
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    for (int i = 0; i < 2 * ISO_CHANNELS; i++) {
        void *st;
        assert_int_equal(pthread_join(threads[i], &st), 0);
        assert_int_equal((intptr_t)st, Q35_E_DEVICE_LOST);
    }
    load_fini(&l, &r);
    rig_fini(&r);
}

/* A worker does not outlive its host, whatever becomes of that. */
static void ends_with_the_host(void **state)
{
    int pipes[2];
    pid_t host, worker = 0;
    bool gone = false;
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    host = fork();
    if (host == 0) {
        struct rig r;
        rig_init(&r, true, 60);
        worker = worker_of(&r)->pid;
        if (write(pipes[1], &worker, sizeof(worker)) != sizeof(worker))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(pipes[0], &worker, sizeof(worker)), sizeof(worker));
    assert_int_equal(waitpid(host, NULL, 0), host);
    for (int i = 0; i < 500 && !gone; i++) {
        char path[64], text[256] = "";
        FILE *f;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)worker);
        f = fopen(path, "r");
        if (f && fgets(text, sizeof(text), f) && strstr(text, ") Z"))
            text[0] = '\0'; /* dead, and nobody has asked yet */
        if (f)
            fclose(f);
        gone = !text[0];
        usleep(10000);
    }
    assert_true(gone);
    close(pipes[0]);
    close(pipes[1]);
}

/* Bad options are found with their lines although the plugin is elsewhere; so is a missing file. */
static void refusals(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    struct q35_registry *r;
    struct q35_config *c;
    char text[1024];
    (void)state;
    snprintf(text, sizeof(text), "[backend m]\npath = %s/mortal.so\nisolate = process\nx = 1\n",
             folder);
    assert_int_equal(q35_config_parse(&c, text, "t.ini", &err), Q35_OK);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_E_CONFIG);
    assert_string_equal(
        err.message, "t.ini:4: [backend m]: unknown option 'x'; plugin mortal has trigger, after");
    q35_config_free(c);
    snprintf(text, sizeof(text),
             "[backend m]\npath = %s/sample_crash.so\nisolate = process\nrequired = 1\n", folder);
    assert_int_equal(q35_config_parse(&c, text, "t.ini", &err), Q35_OK);
    assert_int_equal(q35_registry_create(&r, c, &err), Q35_E_PLUGIN);
    assert_non_null(strstr(err.message, "required [backend m]: crashes while loading it"));
    q35_config_free(c);
}

static void arena_pieces(void **state)
{
    struct q35_error err = Q35_ERROR_INIT;
    uint64_t at[4], huge;
    struct iso_session s = {.slots = NULL};
    (void)state;
    pthread_mutex_init(&s.mutex, NULL);
    assert_int_equal(iso_take(&s, 100, &at[0], &err), Q35_OK);
    assert_int_equal(iso_take(&s, 1, &at[1], &err), Q35_OK);
    assert_int_equal(iso_take(&s, 64, &at[2], &err), Q35_OK);
    assert_int_equal(at[1] - at[0], 128);
    assert_int_equal(at[2] - at[1], 64);
    iso_give(&s, at[1]);
    assert_int_equal(iso_take(&s, 65, &at[3], &err), Q35_OK);
    assert_int_equal(at[3], at[2] + 64);
    assert_int_equal(iso_take(&s, 60, &at[1], &err), Q35_OK);
    assert_int_equal(at[1], 128);
    assert_int_equal(iso_take(&s, ISO_ARENA_BYTES, &huge, &err), Q35_E_CAPACITY);
    assert_int_equal(iso_take(&s, UINT64_MAX, &huge, &err), Q35_E_CAPACITY);
    for (int i = 0; i < 4; i++)
        iso_give(&s, at[i]);
    assert_null(s.slots);
    assert_int_equal(iso_take(&s, ISO_ARENA_BYTES, &huge, &err), Q35_OK);
    iso_give(&s, huge);
    pthread_mutex_destroy(&s.mutex);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_pieces),   cmocka_unit_test(same_bits),
        cmocka_unit_test(same_answers),   cmocka_unit_test(maps_files),
        cmocka_unit_test(same_measures),  cmocka_unit_test(no_measures),
        cmocka_unit_test(lost_and_reset), cmocka_unit_test(killed_from_outside),
        cmocka_unit_test(many_waiters),   cmocka_unit_test(ends_with_the_host),
        cmocka_unit_test(refusals),       cmocka_unit_test(kv_types_and_greedy),
    };
    int rc, fd = mkstemp(trigger);
    close(fd);
    unlink(trigger);
    folder = argc > 1 ? argv[1] : ".";
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(trigger);
    return rc;
}
