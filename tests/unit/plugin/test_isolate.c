/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* isolate = process: the same bits and answers as in this process. */

#include "tests/unit/plugin/isolate_rig.h"

#include <unistd.h>

#include "backends/reference/soft.h"
#include "q35/arith.h"
#include "q35/measure.h"

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

static int tests(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(arena_pieces), cmocka_unit_test(same_bits),
        cmocka_unit_test(same_answers), cmocka_unit_test(same_measures),
        cmocka_unit_test(no_measures),  cmocka_unit_test(kv_types_and_greedy),
        cmocka_unit_test(maps_files),   cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}

int main(int argc, char **argv)
{
    return rig_main(argc, argv, tests);
}
