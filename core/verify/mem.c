/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Guarded host memory, and the environment a plugin must leave alone. */

#include <dirent.h>
#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/verify/kit.h"

enum { PAGE = 4096, CANARY = 0xA5, FRONT = 256 };

/* Layout: [canary ...][data][canary, less than 64 bytes][unmapped page]; data 64-byte aligned. */
void *vfy_mem(struct vfy *v, size_t bytes, const char *what)
{
    struct vfy_mem *m = calloc(1, sizeof(*m));
    size_t room = (bytes + 63) & ~(size_t)63;
    void *map;

    if (!m)
        _exit(1);
    m->map_bytes = (room + FRONT + PAGE - 1) & ~(size_t)(PAGE - 1);
    map =
        mmap(NULL, m->map_bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) {
        vfy_note(v, "the kit has no memory for %zu bytes", bytes);
        _exit(1);
    }
    m->map = map;
    mprotect(m->map + m->map_bytes, PAGE, PROT_NONE);
    memset(m->map, CANARY, m->map_bytes);
    m->data = m->map + m->map_bytes - room;
    m->bytes = bytes;
    m->what = what;
    m->next = v->mems;
    v->mems = m;
    return m->data;
}

static struct vfy_mem **find(struct vfy *v, const void *data)
{
    struct vfy_mem **at = &v->mems;
    while (*at && (*at)->data != data)
        at = &(*at)->next;
    return at;
}

void vfy_mem_protect(struct vfy *v, void *data, bool read_only)
{
    struct vfy_mem *m = *find(v, data);
    if (m)
        mprotect(m->map, m->map_bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE);
}

void vfy_mem_free(struct vfy *v, void *data)
{
    struct vfy_mem **at = find(v, data), *m = *at;
    if (!m)
        return;
    *at = m->next;
    munmap(m->map, m->map_bytes + PAGE);
    free(m);
}

void vfy_mem_retire(struct vfy *v, void *data)
{
    struct vfy_mem *m = *find(v, data);
    if (!m)
        return;
    madvise(m->map, m->map_bytes, MADV_DONTNEED);
    mprotect(m->map, m->map_bytes, PROT_NONE);
    m->retired = true;
}

void vfy_mem_retire_few(struct vfy *v, void *data, uint32_t few)
{
    const char *what = (*find(v, data))->what;
    struct vfy_mem *m, *next;
    vfy_mem_retire(v, data);
    for (m = v->mems; m; m = next) { /* the newest come first */
        next = m->next;
        if (m->retired && m->what == what && !few--) {
            vfy_mem_free(v, m->data);
            return;
        }
    }
}

bool vfy_mem_check(struct vfy *v)
{
    const struct vfy_mem *m;
    const uint8_t *p;
    for (m = v->mems; m; m = m->next) {
        if (m->retired)
            continue;
        for (p = m->map; p < m->data; p++)
            EXPECT(v, *p == CANARY, VFY_BOUNDS,
                   "wrote %zu bytes before the start of %s (%zu bytes)", (size_t)(m->data - p),
                   m->what, m->bytes);
        for (p = m->data + m->bytes; p < m->map + m->map_bytes; p++)
            EXPECT(v, *p == CANARY, VFY_BOUNDS, "wrote byte %zu of %s, which has %zu",
                   (size_t)(p - m->data), m->what, m->bytes);
    }
    return true;
}

const struct vfy_mem *vfy_mem_at(const struct vfy *v, const void *address)
{
    const struct vfy_mem *m;
    const uint8_t *p = address;
    for (m = v->mems; m; m = m->next)
        if (p >= m->map && p < m->map + m->map_bytes + PAGE)
            return m;
    return NULL;
}

/* ---- faults -------------------------------------------------------------------------------- */

static struct vfy *guarded;

/* Names the buffer if a fault hits one of ours, then lets the signal end the process. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
    const struct vfy_mem *m = vfy_mem_at(guarded, info->si_addr);
    (void)context;
    if (m && m->retired)
        vfy_fail(guarded, VFY_LIFETIME, "%s touched %s after its time was over", guarded->sh->where,
                 m->what);
    else if (m && (uint8_t *)info->si_addr >= m->map + m->map_bytes)
        vfy_fail(guarded, VFY_BOUNDS, "%s touched memory behind %s, which has %zu bytes",
                 guarded->sh->where, m->what, m->bytes);
    else if (m)
        vfy_fail(guarded, VFY_READ_ONLY, "%s wrote to %s, which is input", guarded->sh->where,
                 m->what);
    signal(sig, SIG_DFL);
    raise(sig); /* a fault would come back by itself, a raised signal would not */
}

void vfy_guard_install(struct vfy *v)
{
    static uint8_t stack[65536];
    const stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    guarded = v;
    sigaltstack(&alt, NULL);
    action.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* ---- environment --------------------------------------------------------------------------- */

struct vfy_env {
    char cwd[4096], locale[256];
    int rounding;
    struct sigaction actions[32];
    off_t written; /* to stdout */
    uint32_t threads;
};

static uint32_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    uint32_t n = 0;
    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

uint32_t vfy_count_fds(void)
{
    return count_entries("/proc/self/fd");
}

uint32_t vfy_count_threads(void)
{
    return count_entries("/proc/self/task");
}

uint64_t vfy_resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * PAGE;
}

static off_t stdout_size(void)
{
    struct stat st;
    fflush(stdout);
    return fstat(STDOUT_FILENO, &st) ? -1 : st.st_size;
}

struct vfy_env *vfy_env_take(struct vfy *v)
{
    struct vfy_env *e = calloc(1, sizeof(*e));
    int s;
    (void)v;
    if (!e)
        _exit(1);
    if (!getcwd(e->cwd, sizeof(e->cwd)))
        e->cwd[0] = '\0';
    snprintf(e->locale, sizeof(e->locale), "%s", setlocale(LC_ALL, NULL));
    e->rounding = fegetround();
    for (s = 1; s < 32; s++)
        sigaction(s, NULL, &e->actions[s]);
    e->written = stdout_size();
    return e;
}

bool vfy_env_compare(struct vfy *v, const struct vfy_env *before)
{
    struct vfy_env *now = vfy_env_take(v);
    struct stat st;
    int s;
    EXPECT(v, fstat(v->sentinels[0], &st) == 0 && fstat(v->sentinels[1], &st) == 0, VFY_OWNERSHIP,
           "the plugin closed a file descriptor that belongs to the host");
    EXPECT(v, now->written == before->written, VFY_SIDE_EFFECTS,
           "the plugin wrote to stdout, or closed it");
    EXPECT(v, !strcmp(now->cwd, before->cwd), VFY_SIDE_EFFECTS,
           "the working directory was changed to %.200s", now->cwd);
    EXPECT(v, !strcmp(now->locale, before->locale), VFY_SIDE_EFFECTS,
           "the locale was changed to %.200s", now->locale);
    EXPECT(v, now->rounding == before->rounding, VFY_SIDE_EFFECTS, "the rounding mode was changed");
    for (s = 1; s < 32; s++)
        EXPECT(v, now->actions[s].sa_handler == before->actions[s].sa_handler, VFY_SIDE_EFFECTS,
               "the handler of signal %d (%s) was changed", s, strsignal(s));
    free(now);
    return true;
}
