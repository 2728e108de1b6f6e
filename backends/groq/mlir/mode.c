/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* mode = mlir: every distinct layer is compiled once when weights are uploaded, and run. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../groq.h"
#include "compile.h"
#include "run.h"

enum { MAX_COMPILERS = 7 }; /* threads beside the calling one */

struct program {
    struct groq_layer key;
    struct groq_object object;
    uint64_t arena_bytes;
};

struct state {
    struct groq_compiler compiler;
    const struct q35_host *host;
    char *dump; /* folder or NULL */
    struct program *programs;
    uint32_t count;
    struct groq_runner runner;
};

static void close_state(void *p)
{
    struct state *s = p;
    uint32_t i;
    for (i = 0; i < s->count; i++)
        groq_object_close(&s->programs[i].object);
    groq_compiler_fini(&s->compiler);
    free(s->programs);
    groq_runner_fini(&s->runner);
    free(s->dump);
    free(s);
}

static enum q35_status available(const struct q35_options *options, struct q35_error *err)
{
    struct groq_tools tools;
    enum q35_status st = groq_tools_find(&tools, q35_soft_option(options, "mlir_tools"), NULL, err);
    if (!st)
        groq_tools_free(&tools);
    return st;
}

static enum q35_status open_state(const struct groq_config *config,
                                  const struct q35_options *options, const struct q35_host *host,
                                  void **out, struct q35_error *err)
{
    struct state *s = calloc(1, sizeof(*s));
    const char *dump = q35_soft_option(options, "dump_mlir");
    enum q35_status st;
    (void)config;
    if (!s)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a device");
    s->host = host;
    st = groq_compiler_init(&s->compiler, options, err);
    if (!st && dump && *dump != '/')
        st = q35_soft_fail(err, Q35_E_CONFIG, "dump_mlir = %s: not an absolute path", dump);
    if (!st && dump && !(s->dump = strdup(dump)))
        st = q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path");
    if (st) {
        close_state(s);
        return st;
    }
    *out = s;
    return Q35_OK;
}

/* ---- programs ---------------------------------------------------------------------------- */

static const struct program *find(const struct state *s, const struct groq_layer *key)
{
    uint32_t i;
    for (i = 0; i < s->count; i++)
        if (memcmp(&s->programs[i].key, key, sizeof(*key)) == 0)
            return &s->programs[i];
    return NULL;
}

static void report(const struct state *s, const struct groq_layer *l, double seconds)
{
    char line[160];
    snprintf(line, sizeof(line), "groq: %s layer, d_model %u, ready after %.2f s",
             groq_kind_name(l->desc.kind), l->desc.d_model, seconds);
    if (s->host && s->host->log)
        s->host->log(s->host->ctx, Q35_LOG_DEBUG, line);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* A program on its way. */
struct job {
    struct groq_layer layer, key;
    struct groq_program text;
    struct groq_object object;
    struct q35_error err;
    enum q35_status status;
    double seconds;
};

/* Jobs that threads take one after another. */
struct work {
    const struct groq_compiler *compiler;
    struct job *jobs;
    uint32_t count;
    _Atomic uint32_t next;
};

static void *work_on(void *p)
{
    struct work *w = p;
    uint32_t i;
    while ((i = atomic_fetch_add(&w->next, 1)) < w->count) {
        struct job *j = &w->jobs[i];
        double start = now();
        j->status = groq_compile(w->compiler, &j->text, &j->object, &j->err);
        j->seconds = now() - start;
    }
    return NULL;
}

/* Compiles all jobs, one thread for each processor; this one takes part. */
static void compile_all(struct state *s, struct job *jobs, uint32_t count)
{
    struct work w = {.compiler = &s->compiler, .jobs = jobs, .count = count};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[MAX_COMPILERS];
    uint32_t n = 0;
    while (n < MAX_COMPILERS && n + 1 < count && (long)n + 1 < processors &&
           !pthread_create(&threads[n], NULL, work_on, &w))
        n++;
    work_on(&w);
    while (n)
        pthread_join(threads[--n], NULL);
}

static enum q35_status dump(const struct state *s, const struct job *j, struct q35_error *err)
{
    char name[64];
    if (!s->dump)
        return Q35_OK;
    snprintf(name, sizeof(name), "%s-%016llx", groq_kind_name(j->layer.desc.kind),
             (unsigned long long)q35_hash_chunk((const uint8_t *)j->text.text, j->text.length, 0));
    return groq_mlir_dump(&s->compiler, &j->text, s->dump, name, err);
}

/* Takes over what has been compiled. The first failure is the result. */
static enum q35_status adopt(struct state *s, struct job *jobs, uint32_t count,
                             struct q35_error *err)
{
    struct program *all = realloc(s->programs, (s->count + count) * sizeof(*all));
    enum q35_status st = Q35_OK;
    uint32_t i;
    if (!all)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for programs");
    s->programs = all;
    for (i = 0; i < count; i++) {
        struct job *j = &jobs[i];
        if (!st && j->status) {
            *err = j->err;
            err->layer = j->layer.desc.index;
            st = j->status;
        }
        if (!st)
            st = dump(s, j, err);
        if (st)
            continue;
        all[s->count++] = (struct program){j->key, j->object, j->text.arena_bytes};
        j->object = (struct groq_object){0};
        report(s, &j->layer, j->seconds);
    }
    return st;
}

/* The layers of a span that are new, each shape once. */
static enum q35_status collect(const struct state *s, const struct q35_layer *first, uint32_t count,
                               uint32_t stride, struct job *jobs, uint32_t *n,
                               struct q35_error *err)
{
    uint32_t i, k;
    for (i = 0; i < count; i++) {
        struct job *j = &jobs[*n];
        const void *at = (const uint8_t *)first + (uint64_t)i * stride;
        memset(j, 0, sizeof(*j));
        j->err = (struct q35_error)Q35_ERROR_INIT;
        groq_layer_read(at, &j->layer);
        j->key = j->layer;
        groq_layer_key(&j->key);
        for (k = 0; k < *n && memcmp(&jobs[k].key, &j->key, sizeof(j->key)) != 0; k++)
            ;
        if (k < *n || find(s, &j->key))
            continue;
        if (!groq_mlir_generate(&j->layer, NULL, &j->text))
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for MLIR");
        (*n)++;
    }
    return Q35_OK;
}

static enum q35_status layers(void *state, const struct q35_layer *first, uint32_t count,
                              uint32_t stride, struct q35_error *err)
{
    struct state *s = state;
    struct job *jobs = malloc(count * sizeof(*jobs));
    uint32_t n = 0, i;
    enum q35_status st;
    if (!jobs)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for %u layers", count);
    st = collect(s, first, count, stride, jobs, &n, err);
    if (!st && n) {
        compile_all(s, jobs, n);
        st = adopt(s, jobs, n, err);
    }
    for (i = 0; i < n; i++) {
        groq_object_close(&jobs[i].object);
        groq_program_free(&jobs[i].text);
    }
    free(jobs);
    for (i = 0; !st && i < s->count; i++)
        st = groq_runner_grow(&s->runner, s->programs[i].arena_bytes, err);
    return st;
}

/* Adds the arena. A key that is the last one's needs no new text. */
static enum q35_status plan(void *state, const struct q35_plan_request *request,
                            struct q35_plan_result *result, struct q35_error *err)
{
    struct groq_layer l, key, last = {.desc = {.size = 1}};
    uint64_t most = 0;
    uint32_t i;
    (void)state;
    for (i = 0; i < request->layer_count; i++) {
        const void *at = (const uint8_t *)request->layers + (uint64_t)i * request->layer_stride;
        struct groq_program text;
        groq_layer_read(at, &l);
        key = l;
        groq_layer_key(&key);
        if (memcmp(&key, &last, sizeof(key)) == 0)
            continue;
        last = key;
        if (!groq_mlir_generate(&l, NULL, &text))
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for MLIR");
        most = text.arena_bytes > most ? text.arena_bytes : most;
        groq_program_free(&text);
    }
    result->scratch_bytes += most + GROQ_TILE_TOKENS * sizeof(int64_t) * 2 *
                                        (uint64_t)(request->kv_tokens / Q35_ATTN_BLOCK + 1);
    return Q35_OK;
}

static enum q35_status run_layer(void *user, const struct q35_soft_layer_call *c,
                                 struct q35_error *err)
{
    struct state *s = groq_state(user);
    struct groq_layer key = {.desc = *c->layer};
    const struct program *p;
    uint32_t role;
    for (role = 0; role < Q35_ROLE_COUNT; role++)
        if (c->tensors[role])
            key.tensors[role] = *c->tensors[role];
    groq_layer_key(&key);
    p = find(s, &key);
    if (!p)
        return q35_soft_fail(err, Q35_E_INTERNAL, "the layer has not been compiled");
    return groq_run_layer(&s->runner, p->object.entry, c, err);
}

const struct groq_mode groq_mode_mlir = {
    .name = "mlir",
    .device = "Groq TSP layers as MLIR, run natively",
    .simulated = false,
    .layer = run_layer,
    .available = available,
    .open = open_state,
    .close = close_state,
    .layers = layers,
    .plan = plan,
};
