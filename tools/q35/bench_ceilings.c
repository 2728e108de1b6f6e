/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define BLOCK (64u << 10)
#define MAX_STREAMS 8u
#define PEAK_NS 60000000ull

int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), bench_compare);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

uint32_t bench_cpus(void)
{
    cpu_set_t set;
    int n = 0;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    return n < 1 ? 1 : (uint32_t)n;
}

/* Runs fn(ctx) on `threads` threads, the caller among them. */
static void on_threads(uint32_t threads, void *(*fn)(void *), void *ctx)
{
    pthread_t *handle = calloc(threads, sizeof(*handle));
    uint32_t started = 0;
    while (handle && started + 1 < threads && pthread_create(&handle[started], NULL, fn, ctx) == 0)
        started++;
    fn(ctx);
    while (started)
        pthread_join(handle[--started], NULL);
    free(handle);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct bench_reader {
    const uint8_t **blocks; /* of BLOCK bytes each, through all tensors */
    uint32_t count, threads, streams;
    atomic_uint next;
    atomic_ullong sink;
};

typedef uint64_t word2 __attribute__((vector_size(16), may_alias));

/* One block from each of n places, 256 bytes at a time in turn. */
static word2 read_blocks(const uint8_t *const *from, const uint32_t n)
{
    word2 a = {0}, b = {0}, c = {0}, d = {0};
    uint32_t at, s, i;
    for (at = 0; at < BLOCK; at += 256)
        for (s = 0; s < n; s++) {
            const word2 *p = (const word2 *)(const void *)(from[s] + at);
            for (i = 0; i < 16; i += 4) {
                a ^= p[i];
                b ^= p[i + 1];
                c ^= p[i + 2];
                d ^= p[i + 3];
            }
        }
    return (a ^ b) ^ (c ^ d);
}

static void *read_worker(void *arg)
{
    struct bench_reader *r = arg;
    uint32_t per = r->count / r->streams, i, s;
    word2 sum = {0};
    while ((i = atomic_fetch_add(&r->next, 1)) < per) {
        const uint8_t *from[MAX_STREAMS];
        for (s = 0; s < r->streams; s++)
            from[s] = r->blocks[(uint64_t)s * per + i];
        switch (r->streams) {
        case 1:
            sum ^= read_blocks(from, 1);
            break;
        case 2:
            sum ^= read_blocks(from, 2);
            break;
        case 4:
            sum ^= read_blocks(from, 4);
            break;
        default:
            sum ^= read_blocks(from, 8);
            break;
        }
    }
    atomic_fetch_add(&r->sink, sum[0] ^ sum[1]);
    return NULL;
}

/* Room for `bytes`, no blocks yet. */
static struct bench_reader *reader_alloc(uint64_t bytes, uint32_t threads)
{
    struct bench_reader *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->threads = threads;
    r->streams = 1;
    r->blocks = calloc(bytes / BLOCK + 1, sizeof(*r->blocks));
    if (r->blocks)
        return r;
    free(r);
    return NULL;
}

static void add_blocks(struct bench_reader *r, const uint8_t *data, uint64_t bytes)
{
    uint64_t at;
    for (at = 0; data && at + BLOCK <= bytes; at += BLOCK)
        r->blocks[r->count++] = data + at;
}

static struct bench_reader *checked(struct bench_reader *r)
{
    if (!r || r->count >= MAX_STREAMS)
        return r;
    bench_reader_destroy(r);
    return NULL;
}

struct bench_reader *bench_reader_over(const uint8_t *data, uint64_t bytes, uint32_t threads)
{
    struct bench_reader *r = reader_alloc(bytes, threads);
    if (r)
        add_blocks(r, data, bytes);
    return checked(r);
}

struct bench_reader *bench_reader_create(const struct q35_model *model, uint32_t threads)
{
    const struct q35_layer *layers = q35_model_layers(model);
    uint32_t n = q35_model_layer_count(model), i, t;
    struct bench_reader *r = reader_alloc(q35_model_bytes(model), threads);
    for (i = 1; r && i < n; i++) /* all that a token reads */
        for (t = 0; t < layers[i].tensor_count; t++)
            add_blocks(r, q35_model_data(model, i, t), layers[i].tensors[t].bytes);
    return checked(r);
}

void bench_reader_destroy(struct bench_reader *r)
{
    if (!r)
        return;
    free(r->blocks);
    free(r);
}

double bench_read(struct bench_reader *r, uint32_t streams)
{
    uint64_t start = q35_now_ns();
    r->streams = streams;
    atomic_store(&r->next, 0);
    on_threads(r->threads, read_worker, r);
    return (double)(r->count / streams * streams) * BLOCK / ((double)(q35_now_ns() - start) * 1e-9);
}

double bench_read_best(struct bench_reader *r, uint32_t *out)
{
    double best = 0;
    uint32_t streams, i;
    for (streams = 1; streams <= MAX_STREAMS; streams *= 2)
        for (i = 0; i < 3; i++) {
            double got = bench_read(r, streams);
            if (got > best) {
                best = got;
                if (out)
                    *out = streams;
            }
        }
    return best;
}

/* ---- multiplying ------------------------------------------------------------------------------
 */

struct peak {
    double (*loop)(uint64_t steps); /* operations done */
    atomic_ullong operations;
};

#if defined(__x86_64__)
/* Enough sums that their latency (5 cycles at most, two instructions a cycle) does not bind. */
#define TEN(m, insn)                                                                               \
    m(insn, 0) m(insn, 1) m(insn, 2) m(insn, 3) m(insn, 4) m(insn, 5) m(insn, 6) m(insn, 7)        \
        m(insn, 8) m(insn, 9)
#define FOURTEEN(m, insn) TEN(m, insn) m(insn, 10) m(insn, 11) m(insn, 12) m(insn, 13)
#define UPPER_TEN(m, insn)                                                                         \
    m(insn, 16) m(insn, 17) m(insn, 18) m(insn, 19) m(insn, 20) m(insn, 21) m(insn, 22)            \
        m(insn, 23) m(insn, 24) m(insn, 25)
#define LINE(insn, i) insn " %%" R "14, %%" R "15, %%" R #i "\n\t"
#define CLOBBER                                                                                    \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13"

#define R "zmm"
static double loop_avx512(uint64_t steps)
{
    uint64_t i;
    for (i = 0; i < steps; i++) /* the compiler does not use the upper ones here */
        __asm__ volatile(FOURTEEN(LINE, "vpdpbusd") UPPER_TEN(LINE, "vpdpbusd")::: CLOBBER);
    return 24.0 * 64 * 2 * (double)steps;
}
#undef R
#define R "ymm"
static double loop_avxvnni(uint64_t steps)
{
    uint64_t i;
    for (i = 0; i < steps; i++)
        __asm__ volatile(FOURTEEN(LINE, "%{vex%} vpdpbusd")::: CLOBBER);
    return 14.0 * 32 * 2 * (double)steps;
}

/* vpmaddubsw, vpmaddwd, vpaddd: what a CPU without VNNI needs for 32 products */
static double loop_avx2(uint64_t steps)
{
    uint64_t i;
    for (i = 0; i < steps; i++)
        __asm__ volatile(TEN(LINE, "vpmaddubsw") TEN(LINE, "vpmaddwd") TEN(LINE, "vpaddd")::
                             : CLOBBER);
    return 10.0 * 32 * 2 * (double)steps;
}
#undef R

/* By cpuid: clang 14's __builtin_cpu_supports does not know the name. */
static bool has_avxvnni(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 16);
}

static void pick(struct peak *p, const char **what)
{
    if (__builtin_cpu_supports("avx512vnni")) {
        p->loop = loop_avx512;
        *what = "vpdpbusd, 512 bits";
    } else if (has_avxvnni()) {
        p->loop = loop_avxvnni;
        *what = "vpdpbusd, 256 bits";
    } else if (__builtin_cpu_supports("avx2")) {
        p->loop = loop_avx2;
        *what = "vpmaddubsw, 256 bits";
    }
}
#else
static void pick(struct peak *p, const char **what)
{
    (void)p;
    (void)what;
}
#endif

static void *peak_worker(void *arg)
{
    struct peak *p = arg;
    uint64_t start = q35_now_ns();
    double done = 0;
    while (q35_now_ns() - start < PEAK_NS)
        done += p->loop(10000);
    atomic_fetch_add(&p->operations, (unsigned long long)done);
    return NULL;
}

double bench_int8_peak(uint32_t threads, const char **what)
{
    struct peak p = {0};
    uint64_t start;
    *what = "unknown";
    pick(&p, what);
    if (!p.loop)
        return 0;
    start = q35_now_ns();
    on_threads(threads, peak_worker, &p);
    return (double)p.operations / ((double)(q35_now_ns() - start) * 1e-9);
}
