/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soft.h"

struct loaded {
    struct loaded *next;
    struct blas blas;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loaded *list;

__attribute__((destructor)) static void forget(void)
{
    while (list) {
        struct loaded *next = list->next;
        free(list);
        list = next;
    }
}

static struct loaded *load(const char *path, struct q35_error *err)
{
    static const struct cu_symbol wanted[] = {
#define BLAS_WANTED(member, name, params) {#name, offsetof(struct blas, member)},
        BLAS_FUNCTIONS(BLAS_WANTED)
#undef BLAS_WANTED
    };
    struct loaded *l;
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        q35_soft_fail(err, Q35_E_NOT_FOUND, "%s", dlerror());
        return NULL;
    }
    l = calloc(1, sizeof(*l));
    if (!l) {
        q35_soft_fail(err, Q35_E_NOMEM, "no memory for entry points");
        dlclose(lib);
        return NULL;
    }
    snprintf(l->blas.path, sizeof(l->blas.path), "%s", path);
    if (cu_symbols(lib, path, wanted, sizeof(wanted) / sizeof(*wanted), &l->blas, err)) {
        free(l);
        dlclose(lib);
        return NULL;
    }
    l->next = list;
    list = l;
    return l;
}

static const struct blas *open_one(const char *path, struct q35_error *err)
{
    struct loaded *l;
    pthread_mutex_lock(&lock);
    for (l = list; l && strcmp(l->blas.path, path); l = l->next)
        ;
    if (!l)
        l = load(path, err);
    pthread_mutex_unlock(&lock);
    return l ? &l->blas : NULL;
}

const struct blas *blas_open(const char *path, int driver, struct q35_error *err)
{
    const struct blas *b = NULL;
    char name[32];
    int newest = driver / 1000 < 13 ? driver / 1000 : 13, major;
    if (path)
        return open_one(path, err);
    for (major = newest; major >= 11 && !b; major--) {
        snprintf(name, sizeof(name), "libcublasLt.so.%d", major);
        b = open_one(name, err);
    }
    if (!b)
        q35_soft_fail(err, Q35_E_NOT_FOUND, "looked for libcublasLt.so.%d%s", newest,
                      newest > 11 ? " and down to .11" : "");
    return b;
}
