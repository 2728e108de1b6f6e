/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tests/unit/plugin/isolate_rig.h"

#include <unistd.h>

const char *folder;
char trigger[] = "/tmp/q35-isolate-XXXXXX";

void rig_init(struct rig *r, bool isolate, uint32_t hang_seconds)
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

void rig_fini(struct rig *r)
{
    q35_registry_destroy(r->registry);
    q35_config_free(r->config);
}

enum q35_status load_init(struct load *l, struct rig *r, uint32_t lifetime, struct q35_error *err)
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

void load_fini(struct load *l, struct rig *r)
{
    if (l->kv)
        r->dev.api->kv_free(l->kv);
    if (l->w)
        r->dev.api->weights_free(l->w);
    vfy_model_destroy(l->m);
}

enum q35_status step(struct load *l, struct rig *r, uint32_t sequence, uint32_t position,
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

void must(enum q35_status st, const struct q35_error *err)
{
    if (st != Q35_OK)
        fail_msg("%s: %s", q35_status_text((int)st), err->message);
}

uint64_t live(struct load *l, struct rig *r)
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

int rig_main(int argc, char **argv, int (*tests)(void))
{
    int rc, fd = mkstemp(trigger);
    if (fd < 0)
        return 1;
    close(fd);
    unlink(trigger);
    folder = argc > 1 ? argv[1] : ".";
    rc = tests();
    unlink(trigger);
    return rc;
}
