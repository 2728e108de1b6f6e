/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* groq-codegen: a model's layers as MLIR, for tools/deploy-groq. Writes each distinct layer to
 * DIR/NAME.mlir and, as far as tools are there, its optimised form and a native object, then a list
 * of all as JSON to standard output. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "backends/groq/mlir/compile.h"
#include "core/model/model.h"

static const char usage[] =
    "usage: groq-codegen (MODEL | --synthetic SHAPE) -o DIR [--tools DIRS] [--cache DIR]\n"
    "\n"
    "Writes the MLIR of every distinct layer of a packed model to DIR, optimises it with\n"
    "mlir-opt and compiles it for this machine, if the tools are there, and prints a list as\n"
    "JSON. --synthetic takes llama-1b, llama-7b or llama-70b:LAYERS and needs no weights.\n";

struct codegen {
    const char *model, *shape, *out, *tools, *cache;
    struct groq_compiler compiler;
    bool has_compiler;
    struct q35_model *m;
    json_t *programs;
};

/* The layers that share one program, as "1-80". */
struct group {
    struct groq_layer key;
    uint32_t first, last;
};

static enum q35_status emit(struct codegen *c, const struct group *group, struct q35_error *err)
{
    struct groq_layer layer;
    struct groq_program p;
    struct groq_object object = {0};
    char name[64], span[32];
    enum q35_status st = Q35_OK;
    json_t *o;

    groq_layer_read(&q35_model_layers(c->m)[group->first], &layer);
    if (!groq_mlir_generate(&layer, NULL, &p))
        return q35_fail(err, Q35_E_NOMEM, "no memory for MLIR");
    snprintf(span, sizeof(span), "%u-%u", group->first, group->last);
    snprintf(name, sizeof(name), "%s-%016llx", groq_kind_name(layer.desc.kind),
             (unsigned long long)q35_hash_chunk((const uint8_t *)p.text, p.length, 0));
    st = groq_mlir_dump(c->has_compiler ? &c->compiler : NULL, &p, c->out, name, err);
    if (!st && c->has_compiler)
        st = groq_compile(&c->compiler, &p, &object, err);
    o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "name", name, "kind",
                  groq_kind_name(layer.desc.kind), "layers", span, "tile_bytes",
                  (json_int_t)p.tile_bytes, "arena_bytes", (json_int_t)p.arena_bytes, "native",
                  object.entry != NULL);
    if (!st && (!o || json_array_append_new(c->programs, o)))
        st = q35_fail(err, Q35_E_NOMEM, "no memory");
    else if (st)
        json_decref(o);
    groq_object_close(&object);
    groq_program_free(&p);
    return st;
}

/* Adjacent layers with the same program are one group; so are those that come back later. */
static enum q35_status generate(struct codegen *c, struct q35_error *err)
{
    uint32_t count = q35_model_layer_count(c->m), groups = 0, i, k;
    struct group *all = calloc(count, sizeof(*all));
    enum q35_status st = Q35_OK;
    if (!all)
        return q35_fail(err, Q35_E_NOMEM, "no memory");
    for (i = 0; i < count; i++) {
        struct groq_layer key;
        groq_layer_read(&q35_model_layers(c->m)[i], &key);
        groq_layer_key(&key);
        for (k = 0; k < groups && memcmp(&all[k].key, &key, sizeof(key)) != 0; k++)
            ;
        if (k == groups)
            all[groups++] = (struct group){key, i, i};
        all[k].last = i;
    }
    for (i = 0; !st && i < groups; i++)
        st = emit(c, &all[i], err);
    free(all);
    return st;
}

static bool parse(struct codegen *c, int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++) {
        const char **to = !strcmp(argv[i], "--synthetic") ? &c->shape
                          : !strcmp(argv[i], "-o")        ? &c->out
                          : !strcmp(argv[i], "--tools")   ? &c->tools
                          : !strcmp(argv[i], "--cache")   ? &c->cache
                                                          : NULL;
        if (to && ++i < argc)
            *to = argv[i];
        else if (!to && argv[i][0] != '-' && !c->model)
            c->model = argv[i];
        else
            return false;
    }
    return c->out && !c->model != !c->shape;
}

static enum q35_status run(struct codegen *c, const char **missing, struct q35_error *err)
{
    static struct q35_error why = Q35_ERROR_INIT;
    struct q35_kv_pair items[2] = {{0}};
    struct q35_options options = {.size = sizeof(options), .items = items};
    enum q35_status st;

    if (c->tools)
        items[options.count++] = (struct q35_kv_pair){"mlir_tools", c->tools};
    if (c->cache)
        items[options.count++] = (struct q35_kv_pair){"mlir_cache", c->cache};
    st = groq_compiler_init(&c->compiler, &options, &why);
    c->has_compiler = st == Q35_OK;
    if (st == Q35_E_UNSUPPORTED)
        *missing = why.message;
    else if (st)
        return q35_fail(err, st, "%s", why.message);
    if (mkdir(c->out, 0777) && errno != EEXIST)
        return q35_fail_errno(err, Q35_E_IO, errno, "%s", c->out);
    st = c->shape ? q35_model_synthetic(&c->m, c->shape, false, err)
                  : q35_model_open(&c->m, c->model, err);
    return st ? st : generate(c, err);
}

int main(int argc, char **argv)
{
    struct codegen c = {.programs = json_array()};
    struct q35_error err = Q35_ERROR_INIT;
    const char *missing = NULL;
    enum q35_status st;
    json_t *doc;
    if (argc == 2 && !strcmp(argv[1], "--help")) {
        fputs(usage, stdout);
        return 0;
    }
    if (!parse(&c, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    st = run(&c, &missing, &err);
    if (st)
        fprintf(stderr, "groq-codegen: %s\n", err.message);
    doc = json_pack("{s:i, s:s?, s:O}", "tile_limit", (int)GROQ_TILE_BYTES, "missing", missing,
                    "programs", c.programs);
    if (!st && (!doc || json_dumpf(doc, stdout, JSON_INDENT(2)) || putchar('\n') == EOF))
        st = Q35_E_IO;
    json_decref(doc);
    json_decref(c.programs);
    if (c.has_compiler)
        groq_compiler_fini(&c.compiler);
    q35_model_close(c.m);
    return st ? 1 : 0;
}
