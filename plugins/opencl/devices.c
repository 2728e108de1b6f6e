/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Options, and which devices they let through. */

#define CL_TARGET_OPENCL_VERSION 120
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl.h"

/* Drivers and the compilers in them install signal handlers when they start; a plugin must not. */
enum { SIGNALS = 65 }; /* 1 .. 64 */
static struct sigaction before[SIGNALS];
static uint32_t inside;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void ocl_driver_enter(void)
{
    int i;
    pthread_mutex_lock(&lock);
    for (i = 1; i < SIGNALS && !inside; i++)
        sigaction(i, NULL, &before[i]); /* fails for those of the C library: skipped below */
    inside++;
    pthread_mutex_unlock(&lock);
}

void ocl_driver_leave(void)
{
    int i;
    pthread_mutex_lock(&lock);
    inside--;
    for (i = 1; i < SIGNALS && !inside; i++) {
        struct sigaction now;
        if (!sigaction(i, NULL, &now) &&
            (now.sa_handler != before[i].sa_handler || now.sa_flags != before[i].sa_flags))
            sigaction(i, &before[i], NULL);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- options ------------------------------------------------------------------------------- */

/* The last value of a key, or NULL. */
static const char *option(const struct q35_options *options, const char *key)
{
    const char *value = NULL;
    uint32_t i;
    if (!options || !Q35_HAS(options, struct q35_options, items))
        return NULL;
    for (i = 0; i < options->count; i++)
        if (!strcmp(options->items[i].key, key))
            value = options->items[i].value;
    return value && *value ? value : NULL;
}

static enum q35_status read_number(const struct q35_options *options, const char *key, long most,
                                   uint32_t *out, struct q35_error *err)
{
    const char *text = option(options, key);
    char *end;
    long n;
    if (!text)
        return Q35_OK;
    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < 0 || n > most)
        return ocl_fail(err, Q35_E_CONFIG, "%s = %s: not a number from 0 to %ld", key, text, most);
    *out = (uint32_t)n;
    return Q35_OK;
}

static bool one_of(const char *text, const char *const *words)
{
    while (*words && strcmp(text, *words))
        words++;
    return *words != NULL;
}

enum q35_status ocl_settings_read(const struct q35_options *options, struct ocl_settings *s,
                                  struct q35_error *err)
{
    static const char *const types[] = {"auto", "gpu", "accelerator", "cpu", "all", NULL};
    static const char *const copies[] = {"off", "on", "auto", NULL};
    const char *zero_copy = option(options, "zero_copy");
    enum q35_status st;

    memset(s, 0, sizeof(*s));
    s->platform = option(options, "platform");
    s->device = option(options, "device");
    s->type = option(options, "type");
    s->tokens = 16;
    s->zero_copy = -1;
    if (!s->type)
        s->type = "auto";
    if (!one_of(s->type, types))
        return ocl_fail(err, Q35_E_CONFIG, "type = %s: none of auto, gpu, accelerator, cpu and all",
                        s->type);
    if (zero_copy && !one_of(zero_copy, copies))
        return ocl_fail(err, Q35_E_CONFIG, "zero_copy = %s: none of auto, on and off", zero_copy);
    if (zero_copy && strcmp(zero_copy, "auto"))
        s->zero_copy = !strcmp(zero_copy, "on");
    st = read_number(options, "slices", 8, &s->slices, err);
    if (!st)
        st = read_number(options, "tokens_at_once", 16, &s->tokens, err);
    if (!st && !s->tokens)
        st = ocl_fail(err, Q35_E_CONFIG, "tokens_at_once = 0: at least 1");
    return st;
}

/* ---- matching ------------------------------------------------------------------------------ */

/* Whether name contains part, in any case. */
static bool contains(const char *name, const char *part)
{
    size_t n = strlen(part), i;
    for (; *name; name++) {
        for (i = 0; i < n && name[i]; i++)
            if (tolower((unsigned char)name[i]) != tolower((unsigned char)part[i]))
                break;
        if (i == n)
            return true;
    }
    return n == 0;
}

/* A pattern is a number, counted from 0, or a part of the name. */
static bool matches(const char *pattern, uint32_t number, const char *name)
{
    char *end;
    unsigned long n;
    if (!pattern)
        return true;
    n = strtoul(pattern, &end, 10);
    return *end ? contains(name, pattern) : n == number;
}

static void platform_name(cl_platform_id p, char name[128])
{
    name[0] = '\0';
    if (clGetPlatformInfo(p, CL_PLATFORM_NAME, 127, name, NULL))
        snprintf(name, 128, "unnamed");
    name[127] = '\0';
}

static void device_name(cl_device_id d, char name[128])
{
    name[0] = '\0';
    if (clGetDeviceInfo(d, CL_DEVICE_NAME, 127, name, NULL))
        snprintf(name, 128, "unnamed");
    name[127] = '\0';
}

/* Usable: on, with a compiler, little-endian, OpenCL C 1.2 or later. */
static bool usable(cl_device_id d)
{
    cl_bool available = CL_FALSE, compiler = CL_FALSE, little = CL_FALSE;
    char version[256] = "";
    unsigned major = 0, minor = 0;
    clGetDeviceInfo(d, CL_DEVICE_AVAILABLE, sizeof(available), &available, NULL);
    clGetDeviceInfo(d, CL_DEVICE_COMPILER_AVAILABLE, sizeof(compiler), &compiler, NULL);
    clGetDeviceInfo(d, CL_DEVICE_ENDIAN_LITTLE, sizeof(little), &little, NULL);
    clGetDeviceInfo(d, CL_DEVICE_VERSION, sizeof(version) - 1, version, NULL);
    if (sscanf(version, "OpenCL %u.%u", &major, &minor) != 2)
        return false;
    return available && compiler && little && major * 10 + minor >= 12;
}

struct search {
    const struct ocl_settings *s;
    struct ocl_choice *out;
    uint32_t count, platforms, devices;
    char seen[256]; /* names of what was there */
};

static void search_platform(struct search *f, cl_platform_id p)
{
    cl_device_id ids[MAX_DEVICES];
    cl_uint n = 0, i;
    size_t used;
    if (clGetDeviceIDs(p, CL_DEVICE_TYPE_ALL, MAX_DEVICES, ids, &n))
        return;
    for (i = 0; i < n && i < MAX_DEVICES; i++) {
        cl_device_type type = 0;
        char name[128];
        device_name(ids[i], name);
        f->devices++;
        used = strlen(f->seen);
        if (used < sizeof(f->seen))
            snprintf(f->seen + used, sizeof(f->seen) - used, "%s%s", used ? ", " : "", name);
        if (!matches(f->s->device, i, name) || !usable(ids[i]) || f->count >= MAX_DEVICES ||
            clGetDeviceInfo(ids[i], CL_DEVICE_TYPE, sizeof(type), &type, NULL))
            continue;
        f->out[f->count++] = (struct ocl_choice){p, ids[i], type, i};
    }
}

static uint32_t rank(const struct ocl_choice *c)
{
    return c->type & CL_DEVICE_TYPE_GPU ? 0 : c->type & CL_DEVICE_TYPE_CPU ? 2 : 1;
}

/* Orders by rank, otherwise as found, and drops what `type` excludes. "auto" is GPUs and
 * accelerators if there are any: a CPU is better served by its own backend. */
static uint32_t sift(const char *type, struct ocl_choice *c, uint32_t count)
{
    static const char *const ranks[] = {"gpu", "accelerator", "cpu"};
    struct ocl_choice sorted[MAX_DEVICES];
    uint32_t n = 0, r, i;
    for (r = 0; r < 3; r++)
        for (i = 0; i < count; i++)
            if (rank(&c[i]) == r &&
                (!strcmp(type, "all") || !strcmp(type, ranks[r]) ||
                 (!strcmp(type, "auto") && (r < 2 || !n || rank(&sorted[0]) == 2))))
                sorted[n++] = c[i];
    memcpy(c, sorted, n * sizeof(*c));
    return n;
}

enum q35_status ocl_choose(const struct ocl_settings *s, struct ocl_choice *out, uint32_t *count,
                           struct q35_error *err)
{
    cl_platform_id ids[MAX_PLATFORMS];
    struct search f = {.s = s, .out = out};
    cl_uint n = 0, i;
    cl_int code;

    *count = 0;
    ocl_driver_enter();
    code = clGetPlatformIDs(MAX_PLATFORMS, ids, &n);
    if (code) /* the loader says so when no driver is installed */
        n = 0;
    for (i = 0; i < n && i < MAX_PLATFORMS; i++) {
        char name[128];
        platform_name(ids[i], name);
        if (!matches(s->platform, i, name))
            continue;
        f.platforms++;
        search_platform(&f, ids[i]);
    }
    ocl_driver_leave();
    *count = sift(s->type, out, f.count);
    if (!*count)
        ocl_fail(err, Q35_OK,
                 "looked for OpenCL 1.2 devices of type %s%s%s%s%s: %u platforms%s, %u devices%s%s",
                 s->type, s->platform ? ", platform " : "", s->platform ? s->platform : "",
                 s->device ? ", device " : "", s->device ? s->device : "", (unsigned)n,
                 n ? "" : " (no driver in /etc/OpenCL/vendors?)", f.devices, f.seen[0] ? ": " : "",
                 f.seen);
    return Q35_OK;
}

enum q35_status ocl_choose_one(const struct q35_options *options, uint32_t index,
                               struct ocl_settings *s, struct ocl_choice *out,
                               struct q35_error *err)
{
    struct ocl_choice choices[MAX_DEVICES];
    uint32_t count;
    enum q35_status st = ocl_settings_read(options, s, err);
    if (!st)
        st = ocl_choose(s, choices, &count, err);
    if (!st && index >= count)
        st = ocl_fail(err, Q35_E_NOT_FOUND, "device %u of %u", index, count);
    if (!st)
        *out = choices[index];
    return st;
}

/* ---- what a device is ---------------------------------------------------------------------- */

enum q35_status ocl_limits_read(cl_device_id d, struct ocl_limits *out, struct q35_error *err)
{
    cl_bool unified = CL_FALSE;
    cl_int code;
    memset(out, 0, sizeof(*out));
#define ASK(key, field)                                                                            \
    code = clGetDeviceInfo(d, key, sizeof(field), &(field), NULL);                                 \
    if (code)                                                                                      \
    return ocl_status(err, code, "clGetDeviceInfo " #key)
    ASK(CL_DEVICE_TYPE, out->type);
    ASK(CL_DEVICE_GLOBAL_MEM_SIZE, out->memory);
    ASK(CL_DEVICE_MAX_MEM_ALLOC_SIZE, out->max_alloc);
    ASK(CL_DEVICE_LOCAL_MEM_SIZE, out->local_memory);
    ASK(CL_DEVICE_MAX_WORK_GROUP_SIZE, out->max_group);
    ASK(CL_DEVICE_SINGLE_FP_CONFIG, out->fp);
    ASK(CL_DEVICE_HOST_UNIFIED_MEMORY, unified);
#undef ASK
    out->unified = unified;
    return Q35_OK;
}

/* The id of a card stays when the order of drivers changes: its UUID if it has one. */
void ocl_describe(const struct ocl_choice *c, char name[64], char id[64])
{
    enum { DEVICE_UUID = 0x106A }; /* CL_DEVICE_UUID_KHR */
    char platform[128], device[128], extensions[8192] = "";
    uint8_t uuid[16];
    uint32_t i;

    platform_name(c->platform, platform);
    device_name(c->device, device);
    snprintf(name, 64, "%.63s", device);
    clGetDeviceInfo(c->device, CL_DEVICE_EXTENSIONS, sizeof(extensions) - 1, extensions, NULL);
    if (strstr(extensions, "cl_khr_device_uuid") &&
        !clGetDeviceInfo(c->device, DEVICE_UUID, sizeof(uuid), uuid, NULL)) {
        snprintf(id, 64, "opencl-");
        for (i = 0; i < 16; i++)
            snprintf(id + 7 + 2 * i, 64 - 7 - 2 * i, "%02x", uuid[i]);
        return;
    }
    snprintf(id, 64, "opencl:%.24s:%.24s:%u", platform, device, c->number);
}

/* Work-groups of 128 items for each slice of K. GPUs hide latency with many small groups; a CPU
 * runs the items of a group one after the other and wants no more of them than needed. */
uint32_t ocl_slices(const struct ocl_settings *s, const struct ocl_limits *l)
{
    uint32_t slices = s->slices ? s->slices : l->type & CL_DEVICE_TYPE_CPU ? 1 : 2;
    while (slices > 1 && slices * 128 > l->max_group)
        slices--;
    return slices;
}
