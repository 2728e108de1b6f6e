/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "soft.h"

/* One for each path that was ever asked for: real systems have one, tests two. */
struct loaded {
    struct loaded *next;
    void *lib;
    struct cu cu;
    struct q35_error err; /* why it cannot be used; status 0: it can */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct loaded *list;

/* When cuda.so is unloaded the tables go; the driver itself stays. */
__attribute__((destructor)) static void forget(void)
{
    while (list) {
        struct loaded *next = list->next;
        free(list);
        list = next;
    }
}

int cu_is_sticky(cu_result code)
{
    switch (code) {
    case 4:  /* deinitialised */
    case 46: /* device unavailable */
    case CU_ERROR_INVALID_CONTEXT:
    case CU_ERROR_ECC_UNCORRECTABLE:
    case CU_ERROR_NVLINK_UNCORRECTABLE:
    case 226: /* contained */
    case CU_ERROR_ILLEGAL_ADDRESS:
    case 702: /* launch timeout */
    case 709: /* context is destroyed */
    case 710: /* device-side assert */
    case CU_ERROR_LAUNCH_FAILED:
    case 721: /* tensor memory leak */
    case 810: /* the MPS server has ended this client */
    case 911: /* external device */
    case CU_ERROR_UNKNOWN:
        return 1;
    default:
        return code >= 714 && code <= 718; /* stack, instruction, alignment, address space, PC */
    }
}

/* Kernels that this driver cannot load: of a newer compiler, or PTX and nothing to compile it. */
static int cu_is_image(cu_result code)
{
    return code == CU_ERROR_INVALID_IMAGE || code == 218 /* PTX */ || (code >= 221 && code <= 223);
}

enum q35_status cu_fail(const struct cu *cu, struct q35_error *err, cu_result code,
                        const char *what)
{
    const char *name = NULL, *text = NULL;
    enum q35_status st = Q35_E_INTERNAL;
    if (cu_is_sticky(code))
        st = Q35_E_DEVICE_LOST;
    else if (code == CU_ERROR_OUT_OF_MEMORY)
        st = Q35_E_CAPACITY;
    else if (code == CU_ERROR_NO_BINARY_FOR_GPU || code == CU_ERROR_NOT_SUPPORTED ||
             cu_is_image(code))
        st = Q35_E_UNSUPPORTED;
    if (cu->GetErrorName(code, &name) || !name)
        name = "unknown code";
    if (cu->GetErrorString(code, &text) || !text)
        text = "no description";
    q35_soft_fail(err, st, "%s: %s (%s)", what, name, text);
    if (err) {
        err->native_code = code;
        if (st == Q35_E_DEVICE_LOST)
            err->radius = Q35_RADIUS_DEVICE_LOST;
    }
    return st;
}

enum q35_status cu_symbols(void *lib, const char *path, const struct cu_symbol *wanted, size_t n,
                           void *table, struct q35_error *err)
{
    size_t i;
    for (i = 0; i < n; i++) {
        void *symbol = dlsym(lib, wanted[i].name);
        if (!symbol)
            return q35_soft_fail(err, Q35_E_VERSION, "%s has no %s: too old", path, wanted[i].name);
        memcpy((char *)table + wanted[i].at, &symbol, sizeof(symbol));
    }
    return Q35_OK;
}

static enum q35_status find_functions(struct loaded *l, struct q35_error *err)
{
    static const struct cu_symbol wanted[] = {
#define CU_WANTED(member, name, params) {#name, offsetof(struct cu, member)},
        CU_FUNCTIONS(CU_WANTED)
#undef CU_WANTED
    };
    l->cu.emulated = dlsym(l->lib, CU_EMULATED) != NULL;
    return cu_symbols(l->lib, l->cu.path, wanted, sizeof(wanted) / sizeof(*wanted), &l->cu, err);
}

static enum q35_status start(struct loaded *l, struct q35_error *err)
{
    enum q35_status st;
    cu_result code;
    l->lib = dlopen(l->cu.path, RTLD_NOW | RTLD_LOCAL);
    if (!l->lib)
        return q35_soft_fail(err, Q35_E_NOT_FOUND,
                             "looked for NVIDIA's driver library and found none: %s", dlerror());
    st = find_functions(l, err);
    if (st) {
        dlclose(l->lib);
        return st;
    }
    l->cu.pid = getpid();
    code = l->cu.Init(0); /* from here on the driver stays: it cannot be unloaded */
    if (code == CU_ERROR_NO_DEVICE)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "%s is there, but no GPU", l->cu.path);
    if (!code)
        code = l->cu.DriverGetVersion(&l->cu.version);
    if (!code)
        code = l->cu.DeviceGetCount(&l->cu.device_count);
    if (code) {
        cu_fail(&l->cu, err, code, "starting the driver");
        return Q35_E_DEVICE_LOST;
    }
    if (l->cu.device_count <= 0)
        return q35_soft_fail(err, Q35_E_NOT_FOUND, "%s is there, but no GPU", l->cu.path);
    return Q35_OK;
}

/* Keeps failures too, unless trying again may help: dlopen fails without descriptors or memory. */
static struct loaded *load(const char *path, struct q35_error *err)
{
    struct loaded *l = calloc(1, sizeof(*l));
    if (!l) {
        q35_soft_fail(err, Q35_E_NOMEM, "no memory for the driver's entry points");
        return NULL;
    }
    snprintf(l->cu.path, sizeof(l->cu.path), "%s", path);
    l->err = (struct q35_error)Q35_ERROR_INIT;
    l->err.status = (int32_t)start(l, &l->err);
    if (l->err.status) {
        uint32_t size = err->size;
        *err = l->err;
        err->size = size;
        free(l);
        return NULL;
    }
    l->next = list;
    list = l;
    return l;
}

enum q35_status cu_open(const struct cu **out, const char *path, struct q35_error *err)
{
    struct loaded *l;
    struct q35_error own = Q35_ERROR_INIT;
    *out = NULL;
    if (strlen(path) >= sizeof(l->cu.path) || (strchr(path, '/') && path[0] != '/'))
        return q35_soft_fail(err, Q35_E_CONFIG, "driver = %.200s: not an absolute path", path);
    pthread_mutex_lock(&lock);
    for (l = list; l && strcmp(l->cu.path, path); l = l->next)
        ;
    if (!l)
        l = load(path, &own);
    else if (l->cu.pid != getpid()) {
        l = NULL;
        own.status = (int32_t)q35_soft_fail(&own, Q35_E_NOT_FOUND,
                                            "%s was started before this process was forked", path);
    }
    pthread_mutex_unlock(&lock);
    if (!l) {
        uint32_t size = err ? err->size : 0;
        if (err) { /* the host's struct may be shorter */
            memcpy(err, &own, size < sizeof(own) ? size : sizeof(own));
            err->size = size;
        }
        return (enum q35_status)own.status;
    }
    *out = &l->cu;
    return Q35_OK;
}
