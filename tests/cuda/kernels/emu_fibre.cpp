/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Threads as fibres: each runs until it waits for its block or its warp. When none can run, those
 * that wait say where. */

#include "emu_fibre.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "../emu.h"

#define MAX_THREADS 1024u
#define STACK_BYTES (128u << 10)
#define MAX_COPIES 64u

enum state { READY, AT_BARRIER, AT_WARP, FINISHED };

struct copy {
    void *to;
    const void *from;
};

struct fibre {
    struct emu_fibre pub; /* first */
    enum state state;
    const char *file; /* where it waits */
    int line;
    uint32_t mask;
    uint64_t words[3];
    struct copy copies[MAX_COPIES]; /* in order; groups end at `ends` */
    uint32_t ends[8], copy_count, group_count;
    void *sp;
    ucontext_t context;
};

struct emu_fibre *emu_self;
struct emu_grid emu_grid = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, NULL, 1};

static struct fibre *fibres;
static uint8_t *stacks;
static uint32_t thread_count;
static void (*kernel)(const void *);
static const void *kernel_args;
static char message[512];
static int dead;

/* ---- switching ------------------------------------------------------------------------------ */

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define FAST_SWITCH
extern "C" void emu_switch(void **from, void *to);
__asm__(".text\n.type emu_switch, @function\nemu_switch:\n"
        "push %rbx\npush %rbp\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbp\npop %rbx\nret\n");
static void *main_sp;
#else
static ucontext_t main_context;
#endif

static struct fibre *self(void)
{
    return (struct fibre *)emu_self;
}

static void to_scheduler(void)
{
#ifdef FAST_SWITCH
    emu_switch(&self()->sp, main_sp);
#else
    swapcontext(&self()->context, &main_context);
#endif
}

static void to_fibre(struct fibre *f)
{
    emu_self = &f->pub;
#ifdef FAST_SWITCH
    emu_switch(&main_sp, f->sp);
#else
    swapcontext(&main_context, &f->context);
#endif
}

static void entry(void)
{
    kernel(kernel_args);
    self()->state = FINISHED;
    for (;;)
        to_scheduler();
}

static void prepare(struct fibre *f, uint32_t i)
{
    uint8_t *stack = stacks + (size_t)i * STACK_BYTES;
#ifdef FAST_SWITCH
    void **top = (void **)(void *)(stack + STACK_BYTES);
    *--top = NULL; /* entry never returns; keeps the stack aligned as after a call */
    *--top = (void *)entry;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    f->sp = top;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    f->context.uc_link = NULL;
    makecontext(&f->context, entry, 0);
#endif
    f->pub.thread.x = i;
    f->state = READY;
    f->copy_count = f->group_count = 0;
}

/* ---- waiting -------------------------------------------------------------------------------- */

const char *emu_error(void)
{
    return message;
}

static void die(const char *format, va_list ap)
{
    if (!dead)
        vsnprintf(message, sizeof message, format, ap);
    dead = 1;
}

void emu_die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    die(format, ap);
    va_end(ap);
    for (;;)
        to_scheduler();
}

void emu_complain(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    die(format, ap);
    va_end(ap);
}

static void wait_at(enum state state, const char *file, int line)
{
    self()->state = state;
    self()->file = file;
    self()->line = line;
    to_scheduler();
}

void emu_barrier(const char *file, int line)
{
    struct fibre *last = self();
    uint32_t i;
    for (i = 0; i < thread_count; i++) {
        if (&fibres[i] != last && fibres[i].state != AT_BARRIER) {
            wait_at(AT_BARRIER, file, line);
            return;
        }
    }
    for (i = 0; i < thread_count; i++) {
        struct fibre *f = &fibres[i];
        if (f != last && (f->line != line || strcmp(f->file, file) != 0))
            emu_die("thread %u waits at the barrier of %s:%d, thread %u at %s:%d", i, f->file,
                    f->line, last->pub.thread.x, file, line);
        f->state = READY;
    }
    emu_race_barrier();
    wait_at(READY, file, line); /* so that a reversed order stays one */
}

static struct fibre *warp_of(const struct fibre *f)
{
    return &fibres[f->pub.thread.x & ~31u];
}

/* Waits until all lanes of mask stand at the same place. True in the last one to come. */
static bool meet(uint32_t mask, const char *file, int line)
{
    struct fibre *last = self(), *warp = warp_of(last);
    uint32_t lane = last->pub.thread.x & 31u, base = last->pub.thread.x & ~31u, i;
    if (!(mask >> lane & 1u))
        emu_die("%s:%d: lane %u is not in its own mask %08x", file, line, lane, mask);
    last->mask = mask;
    for (i = 0; i < 32; i++) {
        if (!(mask >> i & 1u) || i == lane)
            continue;
        if (base + i >= thread_count)
            emu_die("%s:%d: mask %08x names lanes that do not exist", file, line, mask);
        if (warp[i].state != AT_WARP) {
            wait_at(AT_WARP, file, line);
            return false;
        }
    }
    for (i = 0; i < 32; i++) {
        struct fibre *f = &warp[i];
        if (!(mask >> i & 1u) || i == lane)
            continue;
        if (f->mask != mask || f->line != line || strcmp(f->file, file) != 0)
            emu_die("lane %u waits at %s:%d with mask %08x, lane %u at %s:%d with mask %08x", i,
                    f->file, f->line, f->mask, lane, file, line, mask);
        f->state = READY;
    }
    return true;
}

/* Only this orders what lanes do in memory: a shuffle does not. */
void emu_warp_sync(const char *file, int line)
{
    if (meet(0xffffffffu, file, line))
        emu_race_warp_sync(self()->pub.thread.x / 32u);
}

void emu_warp_exchange(const uint64_t *words, uint32_t n, uint32_t mask, const char *file, int line)
{
    memcpy(self()->words, words, n * sizeof *words);
    meet(mask, file, line);
}

const uint64_t *emu_warp_slots(uint32_t lane)
{
    return warp_of(self())[lane].words;
}

void emu_warp_done(uint32_t mask, const char *file, int line)
{
    meet(mask, file, -line);
}

/* ---- asynchronous copies -------------------------------------------------------------------- */

void emu_copy_later(void *to, const void *from)
{
    struct fibre *f = self();
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
        emu_die("an asynchronous copy is misaligned");
    if (f->copy_count == MAX_COPIES)
        emu_die("more than %u asynchronous copies under way", MAX_COPIES);
    emu_race_write(to, 16); /* from now on */
    f->copies[f->copy_count].to = to;
    f->copies[f->copy_count++].from = from;
}

void emu_copy_commit(void)
{
    struct fibre *f = self();
    if (f->group_count == 8)
        emu_die("more than 8 groups of asynchronous copies under way");
    f->ends[f->group_count++] = f->copy_count;
}

void emu_copy_wait(uint32_t groups)
{
    struct fibre *f = self();
    uint32_t done, end, i;
    if (f->group_count <= groups)
        return;
    done = f->group_count - groups;
    end = f->ends[done - 1];
    for (i = 0; i < end; i++) {
        emu_race_write(f->copies[i].to, 16); /* until now */
        if (f->copies[i].from)
            memcpy(f->copies[i].to, f->copies[i].from, 16);
        else
            memset(f->copies[i].to, 0, 16);
    }
    memmove(f->copies, f->copies + end, (f->copy_count - end) * sizeof *f->copies);
    for (i = done; i < f->group_count; i++)
        f->ends[i - done] = f->ends[i] - end;
    f->copy_count -= end;
    f->group_count -= done;
}

/* ---- the scheduler -------------------------------------------------------------------------- */

static int make_fibres(void)
{
    void *p;
    if (fibres)
        return 0;
    p = mmap(NULL, (size_t)MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -1;
    stacks = (uint8_t *)p;
    fibres = (struct fibre *)calloc(MAX_THREADS, sizeof *fibres);
    return fibres ? 0 : -1;
}

static void stuck(void)
{
    uint32_t i, left = 0;
    const struct fibre *w = NULL;
    for (i = 0; i < thread_count; i++) {
        left += fibres[i].state == FINISHED;
        if (!w && fibres[i].state != FINISHED)
            w = &fibres[i];
    }
    emu_complain(
        "deadlock in block (%u, %u, %u): thread %u waits at %s:%d (%s), %u of %u threads have "
        "ended",
        emu_grid.block.x, emu_grid.block.y, emu_grid.block.z, w->pub.thread.x, w->file,
        w->line < 0 ? -w->line : w->line, w->state == AT_BARRIER ? "barrier" : "warp", left,
        thread_count);
}

int emu_run_block(void (*body)(const void *), const void *args, uint32_t threads, int backwards)
{
    uint32_t i, left = threads;
    if (make_fibres() || threads > MAX_THREADS) {
        emu_complain("no memory for %u threads", threads);
        return -1;
    }
    kernel = body;
    kernel_args = args;
    thread_count = threads;
    dead = 0;
    for (i = 0; i < threads; i++)
        prepare(&fibres[i], i);
    while (left && !dead) {
        uint32_t ran = 0;
        left = 0;
        for (i = 0; i < threads && !dead; i++) {
            struct fibre *f = &fibres[backwards ? threads - 1 - i : i];
            if (f->state == READY) {
                to_fibre(f);
                ran++;
            }
            left += f->state != FINISHED;
        }
        if (left && !ran && !dead)
            stuck();
    }
    emu_self = NULL;
    i = (uint32_t)dead;
    dead = 0;
    return i ? -1 : 0;
}
