/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Devices, contexts, modules, launches, faults. */

#include "fake.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu.h"

struct fake fake = {.lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
                    .devices = 2,
                    .memory = 1ll << 30,
                    .random = 1,
                    .matmul_us = 1000,
                    .gemm_us = 500};

/* Tells cuda.so that no code is needed. */
FAKE_API extern const int q35_emulated_driver;
FAKE_API const int q35_emulated_driver = 1;

static _Thread_local cu_ctx stack[FAKE_STACK];
static _Thread_local unsigned depth;

void fake_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "fake_driver: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

bool fake_strikes(long long *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

void fake_check_context(cu_ctx ctx, const char *what)
{
    struct cu_ctx_object *c;
    for (c = fake.contexts; c && c != ctx; c = c->next)
        ;
    if (!c)
        fake_die("%s: a context that does not exist", what);
}

static bool fake_started(void)
{
    return fake.started && fake.pid == getpid();
}

cu_ctx fake_current(cu_result *code)
{
    cu_ctx ctx = depth ? stack[depth - 1] : NULL;
    *code = !fake_started() ? CU_ERROR_NOT_INITIALIZED : !ctx ? CU_ERROR_INVALID_CONTEXT : 0;
    if (ctx) {
        fake_check_context(ctx, "a call");
        if (!*code)
            *code = ctx->sticky;
    }
    return ctx;
}

/* ---- settings ------------------------------------------------------------------------------- */

static long long *setting(const char *key)
{
    static const struct {
        const char *key;
        long long *at;
    } keys[] = {{"devices", &fake.devices},
                {"memory", &fake.memory},
                {"oom_at", &fake.oom_at},
                {"launch_fail_at", &fake.launch_fail_at},
                {"lost_at", &fake.lost_at},
                {"dead_at", &fake.dead_at},
                {"no_graphs", &fake.no_graphs},
                {"capture_fail_at", &fake.capture_fail_at},
                {"old", &fake.old},
                {"graph_launches", &fake.graph_launches},
                {"peer_copies", &fake.peer_copies},
                {"gemm_fail_at", &fake.gemm_fail_at},
                {"gemms", &fake.gemms},
                {"gemm_us", &fake.gemm_us},
                {"matmul_us", &fake.matmul_us}};
    size_t i;
    for (i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        if (!strcmp(keys[i].key, key))
            return keys[i].at;
    return NULL;
}

FAKE_API int q35_fake_set(const char *key, long long value);
FAKE_API int q35_fake_set(const char *key, long long value)
{
    long long *at = setting(key);
    if (!at)
        return -1;
    pthread_mutex_lock(&fake.lock);
    *at = value;
    if (at == &fake.dead_at && !value) /* and back to life */
        memset(fake.dead, 0, sizeof(fake.dead));
    pthread_mutex_unlock(&fake.lock);
    return 0;
}

FAKE_API long long q35_fake_get(const char *key);
FAKE_API long long q35_fake_get(const char *key)
{
    const long long *at = setting(key);
    return at ? *at : -1;
}

void q35_fake_at(long long n, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&fake.lock);
    fake.hook_at = n;
    fake.hook = fn;
    fake.hook_arg = arg;
    pthread_mutex_unlock(&fake.lock);
}

static void read_environment(void)
{
    const char *text = getenv("Q35_FAKE_CUDA");
    while (text && *text) {
        char key[32];
        long long value;
        int used = 0;
        if (sscanf(text, "%31[a-z_]=%lld%n", key, &value, &used) != 2 || q35_fake_set(key, value))
            fake_die("Q35_FAKE_CUDA: cannot read '%s'", text);
        text += used;
        text += *text == ',';
    }
}

/* ---- the driver and its devices ------------------------------------------------------------- */

#define ENTRY(name, params)                                                                        \
    FAKE_API cu_result name params;                                                                \
    FAKE_API cu_result name params

static cu_result known(cu_device dev)
{
    if (!fake_started())
        return CU_ERROR_NOT_INITIALIZED;
    return dev >= 0 && dev < fake.devices ? CU_SUCCESS : CU_ERROR_INVALID_DEVICE;
}

ENTRY(cuInit, (unsigned flags))
{
    pthread_mutex_lock(&fake.lock);
    if (!fake.started && !flags)
        read_environment();
    if (fake.devices > FAKE_DEVICES)
        fake_die("at most %d devices", FAKE_DEVICES);
    if (!fake.started)
        fake.pid = getpid(); /* a process that is forked from this one cannot use the driver */
    fake.started = true;
    pthread_mutex_unlock(&fake.lock);
    return flags ? CU_ERROR_INVALID_VALUE : fake.devices ? CU_SUCCESS : CU_ERROR_NO_DEVICE;
}

ENTRY(cuDriverGetVersion, (int *version))
{
    *version = 12000;
    return CU_SUCCESS;
}

ENTRY(cuGetErrorName, (cu_result code, const char **text))
{
    static _Thread_local char name[32];
    snprintf(name, sizeof(name), "CUDA_ERROR_%d", code);
    *text = name;
    return CU_SUCCESS;
}

ENTRY(cuGetErrorString, (cu_result code, const char **text))
{
    *text = code == CU_ERROR_OUT_OF_MEMORY ? "out of memory" : "an emulated error";
    return CU_SUCCESS;
}

ENTRY(cuDeviceGetCount, (int *count))
{
    *count = (int)fake.devices;
    return fake_started() ? CU_SUCCESS : CU_ERROR_NOT_INITIALIZED;
}

ENTRY(cuDeviceGet, (cu_device * out, int ordinal))
{
    *out = ordinal;
    return known(ordinal);
}

ENTRY(cuDeviceGetName, (char *out, int room, cu_device dev))
{
    snprintf(out, (size_t)room, "emulated GPU %d", dev);
    return known(dev);
}

ENTRY(cuDeviceGetUuid, (uint8_t uuid[16], cu_device dev))
{
    memset(uuid, 0x35, 16);
    uuid[15] = (uint8_t)dev;
    return known(dev);
}

ENTRY(cuDeviceTotalMem_v2, (size_t * bytes, cu_device dev))
{
    *bytes = (size_t)fake.memory;
    return known(dev);
}

/* Odd devices are of the smallest kind that is supported, even ones of a large kind. */
static int shared_optin(cu_device dev)
{
    return dev % 2 ? 64 << 10 : 227 << 10;
}

ENTRY(cuDeviceGetAttribute, (int *out, int attribute, cu_device dev))
{
    bool small = dev % 2;
    switch (attribute) {
    case CU_ATTR_MULTIPROCESSORS:
        *out = small ? 2 : 4;
        break;
    case CU_ATTR_CLOCK_KHZ:
    case CU_ATTR_MEMORY_CLOCK_KHZ:
        *out = 1000000;
        break;
    case CU_ATTR_BUS_WIDTH_BITS:
        *out = 64;
        break;
    case CU_ATTR_MAJOR:
        *out = dev < fake.old ? 6 : small ? 7 : 9;
        break;
    case CU_ATTR_MINOR:
        *out = dev < fake.old ? 1 : small ? 5 : 0;
        break;
    case CU_ATTR_SHARED_OPTIN:
        *out = shared_optin(dev);
        break;
    default:
        return CU_ERROR_INVALID_VALUE;
    }
    return known(dev);
}

ENTRY(cuDeviceCanAccessPeer, (int *can, cu_device dev, cu_device peer))
{
    *can = 1;
    return known(dev) ? known(dev) : known(peer);
}

/* ---- contexts ------------------------------------------------------------------------------- */

static cu_result context_create(cu_ctx *out, cu_device dev, bool primary)
{
    struct cu_ctx_object *c;
    if (known(dev))
        return known(dev);
    if (fake.dead[dev])
        return 46; /* unavailable */
    c = calloc(1, sizeof(*c));
    if (!c)
        return CU_ERROR_OUT_OF_MEMORY;
    c->device = dev;
    c->primary = primary;
    c->next = fake.contexts;
    fake.contexts = c;
    *out = c;
    return CU_SUCCESS;
}

static void context_destroy(cu_ctx ctx)
{
    struct cu_ctx_object **p;
    fake_check_context(ctx, "destroying");
    if (ctx->live)
        fake_die("a context is destroyed with %llu objects in it", (unsigned long long)ctx->live);
    for (p = &fake.contexts; *p != ctx; p = &(*p)->next)
        ;
    *p = ctx->next;
    free(ctx);
}

static cu_result push(cu_ctx ctx)
{
    if (!ctx)
        return CU_ERROR_INVALID_CONTEXT;
    fake_check_context(ctx, "making current");
    if (depth == FAKE_STACK)
        fake_die("contexts are pushed and not popped");
    stack[depth++] = ctx;
    return CU_SUCCESS;
}

ENTRY(cuCtxCreate_v2, (cu_ctx * out, unsigned flags, cu_device dev))
{
    cu_result code;
    (void)flags;
    pthread_mutex_lock(&fake.lock);
    code = context_create(out, dev, false);
    if (!code)
        code = push(*out);
    pthread_mutex_unlock(&fake.lock);
    return code;
}

ENTRY(cuCtxDestroy_v2, (cu_ctx ctx))
{
    unsigned i;
    pthread_mutex_lock(&fake.lock);
    for (i = 0; i < depth; i++)
        if (stack[i] == ctx)
            fake_die("a context is destroyed while it is current");
    context_destroy(ctx);
    pthread_mutex_unlock(&fake.lock);
    return CU_SUCCESS;
}

ENTRY(cuCtxPushCurrent_v2, (cu_ctx ctx))
{
    cu_result code;
    pthread_mutex_lock(&fake.lock);
    code = push(ctx);
    pthread_mutex_unlock(&fake.lock);
    return code;
}

ENTRY(cuCtxPopCurrent_v2, (cu_ctx * out))
{
    if (!depth)
        fake_die("popped a context where none is");
    *out = stack[--depth];
    return CU_SUCCESS;
}

/* Each thread's for itself, as long as it is needed: enough for asking about memory. */
ENTRY(cuDevicePrimaryCtxRetain, (cu_ctx * out, cu_device dev))
{
    cu_result code;
    pthread_mutex_lock(&fake.lock);
    code = context_create(out, dev, true);
    pthread_mutex_unlock(&fake.lock);
    return code;
}

ENTRY(cuDevicePrimaryCtxRelease_v2, (cu_device dev))
{
    struct cu_ctx_object *c;
    pthread_mutex_lock(&fake.lock);
    for (c = fake.contexts; c && (!c->primary || c->device != dev); c = c->next)
        ;
    if (!c)
        fake_die("released a primary context that was not retained");
    context_destroy(c);
    pthread_mutex_unlock(&fake.lock);
    return CU_SUCCESS;
}

ENTRY(cuCtxEnablePeerAccess, (cu_ctx peer, unsigned flags))
{
    (void)flags;
    fake_check_context(peer, "peer access");
    return CU_SUCCESS;
}

/* ---- modules and launches ------------------------------------------------------------------- */

ENTRY(cuModuleLoadData, (cu_module * out, const void *image))
{
    struct cu_module_object *m;
    cu_result code;
    cu_ctx ctx;
    (void)image;
    pthread_mutex_lock(&fake.lock);
    ctx = fake_current(&code);
    m = code ? MAP_FAILED
             : mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m != MAP_FAILED) {
        m->ctx = ctx;
        ctx->live++;
        *out = m;
    }
    pthread_mutex_unlock(&fake.lock);
    return code ? code : m != MAP_FAILED ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY;
}

ENTRY(cuModuleUnload, (cu_module m))
{
    cu_result code;
    cu_ctx ctx;
    pthread_mutex_lock(&fake.lock);
    ctx = fake_current(&code);
    if (m->ctx != ctx)
        fake_die("unloaded a module of another context");
    memset(m, 0, sizeof(*m)); /* and never unmapped: a function of it may be used by mistake */
    ctx->live--;
    pthread_mutex_unlock(&fake.lock);
    return code;
}

ENTRY(cuModuleGetFunction, (cu_func * out, cu_module m, const char *name))
{
    struct cu_func_object *f = m->functions;
    if (!emu_args(name))
        return CU_ERROR_NOT_FOUND;
    pthread_mutex_lock(&fake.lock);
    while (f < m->functions + FAKE_FUNCTIONS - 1 && f->name[0] && strcmp(f->name, name))
        f++;
    if (!f->name[0])
        f->max_shared = 48 << 10;
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->ctx = m->ctx;
    *out = f;
    pthread_mutex_unlock(&fake.lock);
    return CU_SUCCESS;
}

ENTRY(cuFuncSetAttribute, (cu_func f, int attribute, int value))
{
    cu_result code;
    cu_ctx ctx;
    pthread_mutex_lock(&fake.lock);
    ctx = fake_current(&code);
    if (!code &&
        (attribute != CU_FUNC_MAX_DYNAMIC_SHARED || value < 0 || value > shared_optin(ctx->device)))
        code = CU_ERROR_INVALID_VALUE;
    if (!code && f->ctx != ctx)
        fake_die("a kernel of another context, or of a module that was unloaded");
    if (!code)
        f->max_shared = value;
    pthread_mutex_unlock(&fake.lock);
    return code;
}

ENTRY(cuLaunchKernel, (cu_func f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                       unsigned bz, unsigned shared, cu_stream s, void **params, void **extra))
{
    struct fake_op op = {.kind = OP_KERNEL,
                         .func = f,
                         .grid = {gx, gy, gz},
                         .block = {bx, by, bz},
                         .shared = shared};
    cu_result code;
    cu_ctx ctx;
    if (!params || extra)
        fake_die("a launch without arguments, or with two kinds of them");
    if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || bx * by * bz > 1024)
        return CU_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&fake.lock);
    ctx = fake_current(&code);
    if (!code && f->ctx != ctx)
        fake_die("launched a kernel of another context, or of a module that was unloaded");
    op.bytes = code ? 0 : emu_args(f->name);
    if (op.bytes > FAKE_ARGS)
        fake_die("arguments of %zu bytes", op.bytes);
    memcpy(op.args, params[0], op.bytes);
    if (!code && shared > (unsigned)f->max_shared)
        code = CU_ERROR_INVALID_VALUE;
    if (!code && s && s->capturing && fake_strikes(&fake.capture_fail_at)) {
        s->capture_broken = true;
        code = CU_ERROR_CAPTURE_UNSUPPORTED;
    }
    if (!code)
        code = fake_strikes(&fake.launch_fail_at) ? CU_ERROR_LAUNCH_OUT_OF_RESOURCES
                                                  : fake_enqueue(s, &op);
    pthread_mutex_unlock(&fake.lock);
    return code;
}
