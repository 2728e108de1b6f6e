/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

#include "compile.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soft.h"

/* Optimisation on MLIR. Fusion of siblings only: greedy and producer fusion of MLIR 19 double
 * results where a nest accumulates into an argument. Reductions that the vectoriser may reorder
 * are those of integers; the generator writes no other in affine loops. */
#define OPTIMISE                                                                                   \
    "--canonicalize", "--cse", "--affine-loop-fusion=mode=sibling",                                \
        "--affine-loop-invariant-code-motion",                                                     \
        "--affine-super-vectorize=virtual-vector-size=16 test-fastest-varying=0 "                  \
        "vectorize-reductions=true",                                                               \
        "--affine-loop-tile=tile-size=16"
/* ... and down to the LLVM dialect. */
#define LOWER                                                                                      \
    "--lower-affine", "--convert-vector-to-scf", "--convert-scf-to-cf",                            \
        "--expand-strided-metadata", "--lower-affine", "--convert-vector-to-llvm",                 \
        "--convert-math-to-llvm", "--convert-arith-to-llvm", "--finalize-memref-to-llvm",          \
        "--convert-index-to-llvm", "--convert-cf-to-llvm", "--convert-func-to-llvm",               \
        "--reconcile-unrealized-casts"
/* What is left for LLVM: as fast a result as -O2 for a fifth of the time. */
#define LLVM_OPT                                                                                   \
    "-passes=function(early-cse,loop(loop-rotate),loop-mssa(licm),"                                \
    "instcombine<no-verify-fixpoint>,simplifycfg,gvn,loop-unroll)"
#define LLC_OPT "-O2"

#if defined(__x86_64__)
#define TRIPLE "x86_64-pc-linux-gnu"
#elif defined(__aarch64__)
#define TRIPLE "aarch64-unknown-linux-gnu"
#else
#define TRIPLE ""
#endif

/* ---- the cache --------------------------------------------------------------------------- */

/* Ours or root's, and nobody else may write. */
static bool is_private(const struct stat *st)
{
    return (st->st_uid == geteuid() || st->st_uid == 0) && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* mkdir -p; new folders are ours alone. */
static int make_folders(char *path)
{
    char *p;
    for (p = path + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            if (mkdir(path, 0700) && errno != EEXIST) {
                *p = '/';
                return -1;
            }
            *p = '/';
        }
    return mkdir(path, 0700) && errno != EEXIST ? -1 : 0;
}

static enum q35_status open_cache(struct groq_compiler *c, const char *given, struct q35_error *err)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct stat st;
    int n = -1;
    if (given)
        n = *given == '/' ? asprintf(&c->cache, "%s", given) : 0;
    else if (base && *base == '/')
        n = asprintf(&c->cache, "%s/q35/mlir", base);
    else if (home && *home == '/')
        n = asprintf(&c->cache, "%s/.cache/q35/mlir", home);
    else
        return q35_soft_fail(err, Q35_E_CONFIG,
                             "no folder for compiled layers: set mlir_cache, XDG_CACHE_HOME or "
                             "HOME");
    if (n <= 0) {
        c->cache = NULL;
        return n ? q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path")
                 : q35_soft_fail(err, Q35_E_CONFIG, "mlir_cache = %s: not an absolute path", given);
    }
    if (make_folders(c->cache) || stat(c->cache, &st))
        return q35_soft_fail(err, Q35_E_IO, "mlir_cache %s: %s", c->cache, strerror(errno));
    if (!is_private(&st) || !S_ISDIR(st.st_mode))
        return q35_soft_fail(err, Q35_E_CONFIG, "mlir_cache %s: others may write to it", c->cache);
    return Q35_OK;
}

enum q35_status groq_compiler_init(struct groq_compiler *c, const struct q35_options *options,
                                   struct q35_error *err)
{
    const char *timeout = q35_soft_option(options, "mlir_timeout");
    char *end = NULL;
    unsigned long seconds = timeout ? strtoul(timeout, &end, 10) : 120;
    enum q35_status st;
    memset(c, 0, sizeof(*c));
    if (timeout && (end == timeout || *end || !seconds || seconds > 86400))
        return q35_soft_fail(err, Q35_E_CONFIG, "mlir_timeout = %s: not 1 to 86400 seconds",
                             timeout);
    c->seconds = (uint32_t)seconds;
    st = groq_tools_find(&c->tools, q35_soft_option(options, "mlir_tools"),
                         q35_soft_option(options, "mlir_cpu"), err);
    if (!st)
        st = open_cache(c, q35_soft_option(options, "mlir_cache"), err);
    if (st)
        groq_compiler_fini(c);
    return st;
}

void groq_compiler_fini(struct groq_compiler *c)
{
    groq_tools_free(&c->tools);
    free(c->cache);
    c->cache = NULL;
}

/* ---- the name of an object --------------------------------------------------------------- */

struct digest {
    uint64_t a, b;
};

static void digest_add(struct digest *d, const void *data, uint64_t bytes)
{
    d->a = q35_mix64(d->a * 3 + bytes) + q35_hash_chunk(data, bytes, 0);
    d->b = q35_mix64(d->b * 5 + bytes) + q35_hash_chunk(data, bytes, UINT64_C(1) << 40);
}

static void digest_text(struct digest *d, const char *s)
{
    digest_add(d, s, strlen(s));
}

static const char *const all_passes[] = {OPTIMISE, LOWER, LLVM_OPT, LLC_OPT, TRIPLE};

static char *object_path(const struct groq_compiler *c, const struct groq_program *p)
{
    struct digest d = {1, 2};
    char *path;
    size_t i;
    digest_add(&d, p->text, p->length);
    for (i = 0; i < sizeof(all_passes) / sizeof(*all_passes); i++)
        digest_text(&d, all_passes[i]);
    digest_text(&d, c->tools.target);
    for (i = 0; i < GROQ_TOOL_COUNT; i++) {
        struct stat st = {0};
        int64_t about[3];
        (void)!stat(c->tools.path[i], &st);
        about[0] = (int64_t)st.st_size;
        about[1] = (int64_t)st.st_mtim.tv_sec;
        about[2] = (int64_t)st.st_mtim.tv_nsec;
        digest_text(&d, c->tools.path[i]);
        digest_add(&d, about, sizeof(about));
    }
    return asprintf(&path, "%s/%016llx%016llx.so", c->cache, (unsigned long long)d.a,
                    (unsigned long long)d.b) < 0
               ? NULL
               : path;
}

/* ---- compiling --------------------------------------------------------------------------- */

enum q35_status groq_write_file(const char *path, const char *text, uint64_t length,
                                struct q35_error *err)
{
    FILE *f;
    bool bad;
    char *part;
    if (asprintf(&part, "%s.%ld.part", path, (long)getpid()) < 0)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path");
    f = fopen(part, "we");
    bad = !f || fwrite(text, 1, length, f) != length;
    bad |= f && fclose(f);
    bad = bad || rename(part, path);
    if (bad) {
        q35_soft_fail(err, Q35_E_IO, "%s: %s", path, strerror(errno));
        unlink(part);
    }
    free(part);
    return bad ? Q35_E_IO : Q35_OK;
}

/* Steps of a compilation and the files between them, in a folder of their own. */
enum { STEP_IN, STEP_LOWERED, STEP_LL, STEP_BC, STEP_OBJECT, STEP_SO, STEP_COUNT };
static const char *const step_names[STEP_COUNT] = {"layer.mlir", "lowered.mlir", "layer.ll",
                                                   "layer.bc",   "layer.o",      "layer.so"};

struct workshop {
    char *folder;
    char *file[STEP_COUNT];
};

static void workshop_close(struct workshop *w)
{
    int i;
    for (i = 0; i < STEP_COUNT; i++) {
        if (w->file[i])
            unlink(w->file[i]);
        free(w->file[i]);
    }
    if (w->folder)
        rmdir(w->folder);
    free(w->folder);
}

static enum q35_status workshop_open(struct workshop *w, const char *cache, struct q35_error *err)
{
    int i;
    memset(w, 0, sizeof(*w));
    if (asprintf(&w->folder, "%s/work-XXXXXX", cache) < 0) {
        w->folder = NULL;
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path");
    }
    if (!mkdtemp(w->folder)) {
        q35_soft_fail(err, Q35_E_IO, "mlir_cache %s: %s", cache, strerror(errno));
        free(w->folder);
        w->folder = NULL;
        return Q35_E_IO;
    }
    for (i = 0; i < STEP_COUNT; i++)
        if (asprintf(&w->file[i], "%s/%s", w->folder, step_names[i]) < 0) {
            w->file[i] = NULL;
            return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path");
        }
    return Q35_OK;
}

/* Runs a tool whose last arguments are "input -o output"; the output must appear. */
static enum q35_status step(const struct groq_compiler *c, enum groq_tool_id tool,
                            const char *const *flags, size_t n, const char *in, const char *out,
                            struct q35_error *err)
{
    const char *argv[40];
    struct stat st;
    size_t k = 0, i;
    enum q35_status status;
    argv[k++] = c->tools.path[tool];
    for (i = 0; i < n && k < 36; i++)
        if (*flags[i])
            argv[k++] = flags[i];
    argv[k++] = in;
    argv[k++] = "-o";
    argv[k++] = out;
    argv[k] = NULL;
    status = groq_tool_run((char *const *)(uintptr_t)argv, c->seconds, err);
    if (!status && (stat(out, &st) || !st.st_size))
        status = q35_soft_fail(err, Q35_E_PLUGIN, "%s wrote no output", argv[0]);
    return status;
}

#define STEP(tool, flags, from, to)                                                                \
    step(c, tool, flags, sizeof(flags) / sizeof(*flags), w->file[from], w->file[to], err)

static enum q35_status build(const struct groq_compiler *c, const struct groq_program *p,
                             const struct workshop *w, struct q35_error *err)
{
    char mcpu[40] = "";
    const char *const lower[] = {OPTIMISE, LOWER};
    const char *const translate[] = {"--mlir-to-llvmir"};
    const char *const opt[] = {LLVM_OPT, *TRIPLE ? "-mtriple=" TRIPLE : "", mcpu};
    const char *const llc[] = {LLC_OPT,
                               "--fp-contract=off",
                               "-relocation-model=pic",
                               "-filetype=obj",
                               *TRIPLE ? "-mtriple=" TRIPLE : "",
                               mcpu};
    const char *const ld[] = {"-shared", "-z", "noexecstack"};
    enum q35_status st;
    if (*c->tools.target)
        snprintf(mcpu, sizeof(mcpu), "-mcpu=%s", c->tools.target);
    st = groq_write_file(w->file[STEP_IN], p->text, p->length, err);
    if (!st)
        st = STEP(GROQ_TOOL_MLIR_OPT, lower, STEP_IN, STEP_LOWERED);
    if (!st)
        st = STEP(GROQ_TOOL_MLIR_TRANSLATE, translate, STEP_LOWERED, STEP_LL);
    if (!st)
        st = STEP(GROQ_TOOL_OPT, opt, STEP_LL, STEP_BC);
    if (!st)
        st = STEP(GROQ_TOOL_LLC, llc, STEP_BC, STEP_OBJECT);
    if (!st)
        st = STEP(GROQ_TOOL_LD, ld, STEP_OBJECT, STEP_SO);
    return st;
}

static enum q35_status compile(const struct groq_compiler *c, const struct groq_program *p,
                               const char *path, struct q35_error *err)
{
    struct workshop w;
    enum q35_status st = workshop_open(&w, c->cache, err);
    if (!st)
        st = build(c, p, &w, err);
    if (!st && (chmod(w.file[STEP_SO], 0500) || rename(w.file[STEP_SO], path)))
        st = q35_soft_fail(err, Q35_E_IO, "%s: %s", path, strerror(errno));
    workshop_close(&w);
    return st;
}

/* ---- loading ----------------------------------------------------------------------------- */

static bool load(const char *path, struct groq_object *out)
{
    struct stat st;
    if (stat(path, &st) || !S_ISREG(st.st_mode) || !is_private(&st))
        return false;
    out->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!out->handle)
        return false;
    out->entry = dlsym(out->handle, "_mlir_ciface_" GROQ_MLIR_ENTRY);
    if (!out->entry)
        groq_object_close(out);
    return out->entry != NULL;
}

enum q35_status groq_compile(const struct groq_compiler *c, const struct groq_program *p,
                             struct groq_object *out, struct q35_error *err)
{
    char *path = object_path(c, p);
    enum q35_status st = Q35_OK;
    memset(out, 0, sizeof(*out));
    if (!path)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path");
    if (!load(path, out)) { /* absent, or left damaged by a crash of the machine */
        st = compile(c, p, path, err);
        if (!st && !load(path, out)) {
            const char *why = dlerror();
            st = q35_soft_fail(err, Q35_E_IO, "%s cannot be loaded: %s", path,
                               why ? why : "not a private file");
        }
    }
    free(path);
    return st;
}

void groq_object_close(struct groq_object *o)
{
    if (o->handle)
        dlclose(o->handle);
    memset(o, 0, sizeof(*o));
}

/* ---- for a vendor's compiler ------------------------------------------------------------- */

enum q35_status groq_mlir_dump(const struct groq_compiler *c, const struct groq_program *p,
                               const char *dir, const char *name, struct q35_error *err)
{
    const char *const optimise[] = {OPTIMISE};
    char *in = NULL, *out = NULL;
    enum q35_status st;
    if (asprintf(&in, "%s/%s.mlir", dir, name) < 0 ||
        asprintf(&out, "%s/%s.opt.mlir", dir, name) < 0) {
        free(in);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a path");
    }
    st = groq_write_file(in, p->text, p->length, err);
    if (!st && c)
        st = step(c, GROQ_TOOL_MLIR_OPT, optimise, sizeof(optimise) / sizeof(*optimise), in, out,
                  err);
    free(in);
    free(out);
    return st;
}
