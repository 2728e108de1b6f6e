/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Device memory and pinned memory: mapped so that both end at a page that faults. */

#include "fake.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, ALIGN = 256, SLACK = 0xA5, FRESH = 0xFF };

static struct fake_memory *all;

struct fake_memory *fake_memory_at(const void *at, size_t bytes)
{
    const uint8_t *p = at;
    struct fake_memory *m;
    for (m = all; m; m = m->next)
        if (p >= m->data && p <= m->data + m->bytes && bytes <= (size_t)(m->data + m->bytes - p))
            return m;
    return NULL;
}

void fake_check_range(const void *at, size_t bytes, bool pinned, cu_ctx ctx, const char *what)
{
    struct fake_memory *m = fake_memory_at(at, bytes);
    if (!m)
        fake_die("%s: %zu bytes at %p are not inside an allocation", what, bytes, at);
    if (m->pinned != pinned)
        fake_die("%s: memory of the %s where the other kind belongs", what,
                 m->pinned ? "host" : "device");
    if (!pinned && ctx && m->ctx != ctx)
        fake_die("%s: memory of another context", what);
}

static cu_result allocate(void **out, size_t bytes, bool pinned)
{
    cu_result code;
    cu_ctx ctx = fake_current(&code);
    struct fake_memory *m;
    size_t room = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);

    if (code)
        return code;
    fake_check_capture("allocated memory");
    if (!bytes)
        return CU_ERROR_INVALID_VALUE;
    if (fake_strikes(&fake.oom_at) || room > (uint64_t)fake.memory ||
        (!pinned && fake.used[ctx->device] + room > (uint64_t)fake.memory))
        return CU_ERROR_OUT_OF_MEMORY;
    m = calloc(1, sizeof(*m));
    if (!m)
        return CU_ERROR_OUT_OF_MEMORY;
    m->map_bytes = ((room + PAGE - 1) & ~(size_t)(PAGE - 1)) + PAGE;
    m->map = mmap(NULL, m->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m->map == MAP_FAILED) {
        free(m);
        return CU_ERROR_OUT_OF_MEMORY;
    }
    mprotect((uint8_t *)m->map + m->map_bytes - PAGE, PAGE, PROT_NONE);
    m->data = (uint8_t *)m->map + m->map_bytes - PAGE - room;
    m->bytes = bytes;
    m->ctx = ctx;
    m->pinned = pinned;
    memset(m->data, FRESH, bytes);
    memset(m->data + bytes, SLACK, room - bytes);
    if (!pinned)
        fake.used[ctx->device] += room;
    ctx->live++;
    m->next = all;
    all = m;
    *out = m->data;
    return CU_SUCCESS;
}

static void check_slack(const struct fake_memory *m)
{
    const uint8_t *p = m->data + m->bytes, *end = (uint8_t *)m->map + m->map_bytes - PAGE;
    for (; p < end; p++)
        if (*p != SLACK)
            fake_die("something wrote byte %zu of an allocation of %zu", (size_t)(p - m->data),
                     m->bytes);
}

static cu_result release(void *at, bool pinned)
{
    cu_result code;
    cu_ctx ctx = fake_current(&code);
    struct fake_memory **p, *m;
    if (code == CU_ERROR_INVALID_CONTEXT)
        return code;
    fake_check_capture("freed memory");
    for (p = &all; *p && ((*p)->data != at || (*p)->pinned != pinned); p = &(*p)->next)
        ;
    m = *p;
    if (!m)
        fake_die("freed %p, which is no allocation", at);
    if (m->ctx != ctx)
        fake_die("freed memory of another context");
    if (!code && fake_in_use(ctx, m))
        fake_die("freed memory that queued work may use");
    if (!code)
        check_slack(m);
    if (!pinned)
        fake.used[ctx->device] -= (m->bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    *p = m->next;
    ctx->live--;
    munmap(m->map, m->map_bytes);
    free(m);
    return code;
}

#define LOCKED(call)                                                                               \
    do {                                                                                           \
        cu_result locked_code;                                                                     \
        pthread_mutex_lock(&fake.lock);                                                            \
        locked_code = (call);                                                                      \
        pthread_mutex_unlock(&fake.lock);                                                          \
        return locked_code;                                                                        \
    } while (0)

FAKE_API cu_result cuMemAlloc_v2(cu_ptr *out, size_t bytes);
FAKE_API cu_result cuMemAlloc_v2(cu_ptr *out, size_t bytes)
{
    void *at = NULL;
    cu_result code;
    pthread_mutex_lock(&fake.lock);
    code = allocate(&at, bytes, false);
    pthread_mutex_unlock(&fake.lock);
    *out = (cu_ptr)(uintptr_t)at;
    return code;
}

FAKE_API cu_result cuMemFree_v2(cu_ptr at);
FAKE_API cu_result cuMemFree_v2(cu_ptr at)
{
    LOCKED(release((void *)(uintptr_t)at, false));
}

FAKE_API cu_result cuMemHostAlloc(void **out, size_t bytes, unsigned flags);
FAKE_API cu_result cuMemHostAlloc(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    LOCKED(allocate(out, bytes, true));
}

FAKE_API cu_result cuMemFreeHost(void *at);
FAKE_API cu_result cuMemFreeHost(void *at)
{
    LOCKED(release(at, true));
}

FAKE_API cu_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total);
FAKE_API cu_result cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    cu_result code;
    cu_ctx ctx;
    pthread_mutex_lock(&fake.lock);
    ctx = fake_current(&code);
    if (!code) {
        *total = (size_t)fake.memory;
        *free_bytes = (size_t)fake.memory - fake.used[ctx->device];
    }
    pthread_mutex_unlock(&fake.lock);
    return code;
}
