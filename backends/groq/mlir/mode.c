/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* mode = mlir: every distinct layer is compiled once when weights are uploaded, and run. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../groq.h"
#include "compile.h"

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
    uint8_t *arena; /* of the hungriest program */
    uint64_t arena_bytes;
    int64_t *pages; /* [GROQ_TILE_TOKENS][page_room] */
    uint64_t page_room;
};

static void close_state(void *p)
{
    struct state *s = p;
    uint32_t i;
    for (i = 0; i < s->count; i++)
        groq_object_close(&s->programs[i].object);
    groq_compiler_fini(&s->compiler);
    free(s->programs);
    free(s->arena);
    free(s->pages);
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

/* ---- programs
 * -------------------------------------------------------------------------------------- */

/* What the text does not depend on is made equal: two layers with one key are one program. */
static void make_key(struct groq_layer *l)
{
    uint64_t seeds[Q35_ROLE_COUNT];
    uint32_t i, k;
    l->desc.size = 0;
    l->desc.index = 0;
    l->desc.tensor_count = l->desc.tensor_stride = 0;
    l->desc.tensors = NULL;
    l->desc.window = 0;
    for (i = 0; i < Q35_ROLE_COUNT; i++) {
        seeds[i] = l->tensors[i].rot_seed;
        for (k = 0; seeds[k] != seeds[i]; k++)
            ;
        l->tensors[i].rot_seed = k; /* only which seeds are equal matters */
        l->tensors[i].hash = 0;
    }
}

static const struct program *find(const struct state *s, const struct groq_layer *key)
{
    uint32_t i;
    for (i = 0; i < s->count; i++)
        if (memcmp(&s->programs[i].key, key, sizeof(*key)) == 0)
            return &s->programs[i];
    return NULL;
}

static const char *kind_name(uint32_t kind)
{
    return kind == Q35_LAYER_EMBED ? "embedding" : kind == Q35_LAYER_HEAD ? "head" : "decoder";
}

static void report(const struct state *s, const struct groq_layer *l, double seconds)
{
    char line[160];
    snprintf(line, sizeof(line), "groq: %s layer, d_model %u, ready after %.2f s",
             kind_name(l->desc.kind), l->desc.d_model, seconds);
    if (s->host && s->host->log)
        s->host->log(s->host->ctx, Q35_LOG_DEBUG, line);
}

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static enum q35_status add(struct state *s, const struct groq_layer *l,
                           const struct groq_layer *key, struct q35_error *err)
{
    struct program p = {.key = *key}, *all;
    struct groq_program text;
    char name[64];
    double start = now();
    enum q35_status st;

    if (!groq_mlir_generate(l, NULL, &text))
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for MLIR");
    p.arena_bytes = text.arena_bytes;
    st = groq_compile(&s->compiler, &text, &p.object, err);
    if (!st && s->dump) {
        snprintf(name, sizeof(name), "%s-%016llx", kind_name(l->desc.kind),
                 (unsigned long long)q35_hash_chunk((const uint8_t *)text.text, text.length, 0));
        st = groq_mlir_dump(&s->compiler, &text, s->dump, name, err);
    }
    groq_program_free(&text);
    all = st ? NULL : realloc(s->programs, (s->count + 1) * sizeof(*all));
    if (!st && !all)
        st = q35_soft_fail(err, Q35_E_NOMEM, "no memory for a program");
    if (st) {
        groq_object_close(&p.object);
        return st;
    }
    s->programs = all;
    all[s->count++] = p;
    report(s, l, now() - start);
    return Q35_OK;
}

/* The arena starts as zeros, so that nothing undefined is ever read. */
static enum q35_status grow_arena(struct state *s, uint64_t bytes, struct q35_error *err)
{
    uint8_t *arena;
    if (bytes <= s->arena_bytes)
        return Q35_OK;
    arena = aligned_alloc(64, (bytes + 63) & ~UINT64_C(63));
    if (!arena)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for %llu bytes of scratch",
                             (unsigned long long)bytes);
    memset(arena, 0, bytes);
    free(s->arena);
    s->arena = arena;
    s->arena_bytes = bytes;
    return Q35_OK;
}

static enum q35_status layers(void *state, const struct q35_layer *first, uint32_t count,
                              uint32_t stride, struct q35_error *err)
{
    struct state *s = state;
    uint32_t i;
    for (i = 0; i < count; i++) {
        const void *at = (const uint8_t *)first + (uint64_t)i * stride;
        const struct q35_layer *layer = at;
        struct groq_layer l, key;
        enum q35_status st = Q35_OK;
        groq_layer_read(layer, &l);
        key = l;
        make_key(&key);
        if (!find(s, &key))
            st = add(s, &l, &key, err);
        if (!st)
            st = grow_arena(s, find(s, &key)->arena_bytes, err);
        if (st) {
            err->layer = layer->index;
            return st;
        }
    }
    return Q35_OK;
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
        make_key(&key);
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

/* ---- calls
 * ----------------------------------------------------------------------------------------- */

/* MLIR's descriptors of memrefs of rank 1 and 2. */
struct memref1 {
    void *base, *data;
    int64_t offset, size, stride;
};
struct memref2 {
    void *base, *data;
    int64_t offset, size[2], stride[2];
};

static struct memref1 ref1(const void *data, uint64_t n)
{
    void *p = (void *)(uintptr_t)data;
    return (struct memref1){p, p, 0, (int64_t)n, 1};
}

static struct memref2 ref2(void *data, uint64_t rows, uint64_t cols)
{
    return (struct memref2){data, data, 0, {(int64_t)rows, (int64_t)cols}, {(int64_t)cols, 1}};
}

typedef void (*embed_fn)(struct memref1 *ids, struct memref1 *arena, struct memref1 *numbers,
                         struct memref1 *weights, struct memref2 *out);
typedef void (*head_fn)(struct memref2 *x, struct memref1 *arena, struct memref1 *numbers,
                        struct memref1 *norm, struct memref1 *weights, struct memref2 *logits);
typedef struct memref1 *m1;
typedef void (*decoder_fn)(struct memref2 *x, m1 positions, struct memref2 *pages, m1 pool,
                           m1 arena, m1 numbers, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1, m1,
                           m1, m1, m1);

/* One call of a layer over up to GROQ_TILE_TOKENS tokens. */
struct part {
    struct state *s;
    const struct q35_soft_layer_call *c;
    const struct program *p;
    struct memref1 arena, numbers, roles[Q35_ROLE_COUNT];
};

static void run_embed(struct part *p, uint32_t first, uint32_t n)
{
    const struct q35_soft_layer_call *c = p->c;
    int32_t list[GROQ_TILE_TOKENS];
    struct memref1 ids = ref1(list, n);
    struct memref2 out = ref2(c->x + (uint64_t)first * c->layer->d_model, n, c->layer->d_model);
    uint32_t i;
    for (i = 0; i < n; i++) {
        const void *at = (const uint8_t *)c->tokens + (uint64_t)(first + i) * c->token_stride;
        list[i] = ((const struct q35_token *)at)->id;
    }
    ((embed_fn)(uintptr_t)p->p->object.entry)(&ids, &p->arena, &p->numbers,
                                              &p->roles[Q35_ROLE_TOKEN_EMBED], &out);
}

static void run_head(struct part *p, uint32_t first, uint32_t n)
{
    const struct q35_layer *l = p->c->layer;
    struct memref2 x = ref2(p->c->x + (uint64_t)first * l->d_model, n, l->d_model);
    struct memref2 logits = ref2(p->c->logits + (uint64_t)first * l->vocab, n, l->vocab);
    ((head_fn)(uintptr_t)p->p->object.entry)(&x, &p->arena, &p->numbers,
                                             &p->roles[Q35_ROLE_OUT_NORM], &p->roles[Q35_ROLE_HEAD],
                                             &logits);
}

/* Where the pages of n tokens lie, relative to one of them, in values. */
static enum q35_status point(struct part *p, uint32_t first, uint32_t n, struct memref2 *pages,
                             struct memref1 *pool, struct q35_error *err)
{
    const struct q35_soft_layer_call *c = p->c;
    const uint16_t *base = c->pages[first][c->positions[first] / Q35_ATTN_BLOCK];
    uint32_t window = c->layer->window, i, b;
    uint64_t blocks = 0;
    for (i = first; i < first + n; i++)
        if (c->positions[i] / Q35_ATTN_BLOCK >= blocks)
            blocks = c->positions[i] / Q35_ATTN_BLOCK + 1;
    if (blocks > p->s->page_room) {
        int64_t *more = malloc(2 * blocks * GROQ_TILE_TOKENS * sizeof(*more));
        if (!more)
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a table of pages");
        free(p->s->pages);
        p->s->pages = more;
        p->s->page_room = 2 * blocks;
    }
    *pages = ref2(p->s->pages, n, p->s->page_room);
    *pool = ref1(base, INT64_MAX / 4);
    for (i = 0; i < n; i++) {
        uint32_t hi = c->positions[first + i];
        uint32_t lo = window && hi + 1 > window ? hi + 1 - window : 0;
        for (b = lo / Q35_ATTN_BLOCK; b <= hi / Q35_ATTN_BLOCK; b++)
            p->s->pages[i * p->s->page_room + b] =
                ((intptr_t)c->pages[first + i][b] - (intptr_t)base) / (intptr_t)sizeof(*base);
    }
    return Q35_OK;
}

static enum q35_status run_decoder(struct part *p, uint32_t first, uint32_t n,
                                   struct q35_error *err)
{
    const struct q35_soft_layer_call *c = p->c;
    struct memref2 x = ref2(c->x + (uint64_t)first * c->layer->d_model, n, c->layer->d_model);
    struct memref1 positions = ref1(c->positions + first, n), pool, *r = p->roles;
    struct memref2 pages;
    enum q35_status st = point(p, first, n, &pages, &pool, err);
    if (st)
        return st;
    ((decoder_fn)(uintptr_t)p->p->object.entry)(
        &x, &positions, &pages, &pool, &p->arena, &p->numbers, &r[Q35_ROLE_ATTN_NORM],
        &r[Q35_ROLE_Q], &r[Q35_ROLE_K], &r[Q35_ROLE_V], &r[Q35_ROLE_O], &r[Q35_ROLE_Q_BIAS],
        &r[Q35_ROLE_K_BIAS], &r[Q35_ROLE_V_BIAS], &r[Q35_ROLE_O_BIAS], &r[Q35_ROLE_Q_NORM],
        &r[Q35_ROLE_K_NORM], &r[Q35_ROLE_FFN_NORM], &r[Q35_ROLE_GATE], &r[Q35_ROLE_UP],
        &r[Q35_ROLE_DOWN], &r[Q35_ROLE_ROPE_FREQ]);
    return Q35_OK;
}

static enum q35_status run_layer(void *user, const struct q35_soft_layer_call *c,
                                 struct q35_error *err)
{
    struct state *s = groq_state(user);
    struct part p = {.s = s, .c = c};
    struct groq_layer key = {.desc = *c->layer};
    int64_t numbers[GROQ_MLIR_NUMBERS] = {0};
    enum q35_status st = Q35_OK;
    uint32_t role, first, n;

    for (role = 0; role < Q35_ROLE_COUNT; role++) {
        const struct q35_tensor_desc *t = c->tensors[role];
        p.roles[role] = ref1(s->arena, 0);
        if (!t)
            continue;
        key.tensors[role] = *t;
        numbers[role] = (int64_t)t->rot_seed;
        p.roles[role] = ref1(c->data[role], t->type == Q35_TENSOR_F32 ? t->bytes / 4 : t->bytes);
    }
    numbers[Q35_ROLE_COUNT] = c->layer->window;
    make_key(&key);
    p.p = find(s, &key);
    if (!p.p)
        return q35_soft_fail(err, Q35_E_INTERNAL, "the layer has not been compiled");
    p.arena = ref1(s->arena, p.p->arena_bytes);
    p.numbers = ref1(numbers, GROQ_MLIR_NUMBERS);
    for (first = 0; !st && first < c->n_tokens; first += n) {
        n = c->n_tokens - first < GROQ_TILE_TOKENS ? c->n_tokens - first : GROQ_TILE_TOKENS;
        if (c->layer->kind == Q35_LAYER_EMBED)
            run_embed(&p, first, n);
        else if (c->layer->kind == Q35_LAYER_HEAD)
            run_head(&p, first, n);
        else
            st = run_decoder(&p, first, n, err);
    }
    return st;
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
