/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TEST_CUDA_HOST_H
#define Q35_TEST_CUDA_HOST_H

/* cuda.so on the fake driver, with a small model and the oracle that says what must come out.
 * Environment: CUDA_SO and FAKE_CUDA, the two shared objects; FAKE_CUBLASLT, a third; PREFILL, the
 * option of that name [kernel]. */

#include "../unit/test.h"

#include <dlfcn.h>

#include "core/plugin/registry.h"
#include "core/verify/session.h"

static struct q35_error err = Q35_ERROR_INIT;
static struct q35_plugin_entry entry;
static int (*fake_set)(const char *key, long long value);
static long long (*fake_get)(const char *key);
static void (*fake_at)(long long n, void (*fn)(void *arg), void *arg);

static struct q35_kv_pair pairs[4] = {
    {"driver", NULL}, {"graphs", "true"}, {"prefill", "kernel"}, {"cublaslt", "none"}};
static struct q35_options options = {sizeof(options), 4, pairs};

enum { SEQUENCES = 20, KV_TOKENS = 512, VOCAB = 100 };

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

static void begin_shape(struct fixture *f, uint32_t index, const struct vfy_shape *s)
{
    memset(f, 0, sizeof(*f));
    f->rng.state = 7;
    f->m = vfy_model_create(s, 5);
    f->o = f->m ? vfy_oracle_create(f->m, SEQUENCES) : NULL;
    assert_non_null(f->o);
    if (open_device(f, index) || upload(f))
        fail_msg("%s", err.message);
}

static void begin(struct fixture *f, uint32_t index)
{
    struct vfy_shape s = vfy_shape_small();
    begin_shape(f, index, &s);
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
__attribute__((unused)) static enum q35_status step(struct fixture *f, uint32_t sequences,
                                                    uint32_t position, uint32_t n)
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

/* Loads both. 0, or 1 with a message. */
static int host_load(void)
{
    const char *so = getenv("CUDA_SO"), *driver = getenv("FAKE_CUDA");
    void *lib = driver ? dlopen(driver, RTLD_NOW) : NULL, *symbol[3];
    if (!so || !lib) {
        fprintf(stderr, "CUDA_SO and FAKE_CUDA must name two shared objects\n");
        return 1;
    }
    symbol[0] = dlsym(lib, "q35_fake_set");
    symbol[1] = dlsym(lib, "q35_fake_get");
    symbol[2] = dlsym(lib, "q35_fake_at");
    memcpy(&fake_at, &symbol[2], sizeof(fake_at));
    memcpy(&fake_set, &symbol[0], sizeof(fake_set));
    memcpy(&fake_get, &symbol[1], sizeof(fake_get));
    pairs[0].value = driver;
    pairs[2].value = getenv("PREFILL") ? getenv("PREFILL") : "kernel";
    pairs[3].value = getenv("FAKE_CUBLASLT") ? getenv("FAKE_CUBLASLT") : "none";
    if (!fake_set || !fake_get || !fake_at || q35_plugin_load(&entry, so, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return 0;
}

#endif
