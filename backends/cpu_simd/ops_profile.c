/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Where the time goes: the operations once more, with a clock around each. Times are kept by
 * operation, tokens and shape, and are logged when the device closes. */

#include "ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES 64u

struct entry {
    const char *name;
    uint32_t tokens;
    uint64_t rows, cols; /* of all matrices together; cols alone elsewhere */
    uint64_t calls, ns, bytes;
};

struct cpu_profile {
    const struct q35_host *host;
    struct entry entries[MAX_ENTRIES]; /* what does not fit is added to the last one */
    uint32_t count;
};

static void note(struct cpu *c, uint64_t start, const char *name, uint32_t tokens, uint64_t rows,
                 uint64_t cols, uint64_t bytes)
{
    struct cpu_profile *p = c->profile;
    uint64_t ns = pool_now_ns() - start;
    struct entry *e = p->entries, *end = e + p->count;
    while (e < end && (strcmp(e->name, name) != 0 || e->tokens != tokens || e->rows != rows ||
                       e->cols != cols))
        e++;
    if (e == end && p->count < MAX_ENTRIES) {
        *e = (struct entry){.name = name, .tokens = tokens, .rows = rows, .cols = cols};
        p->count++;
    } else if (e == end) {
        e--;
    }
    e->calls++;
    e->ns += ns;
    e->bytes += bytes;
}

static void note_matmul(struct cpu *c, uint64_t start, const char *name,
                        const struct q35_matmul_args *a)
{
    uint64_t rows = 0, bytes = 0;
    uint32_t i;
    for (i = 0; i < a->n_mats; i++) {
        rows += a->mats[i]->rows;
        bytes += q35_blob_bytes(a->mats[i]->scheme, a->mats[i]->rows, a->mats[i]->cols);
    }
    note(c, start, name, a->n_tokens, rows, a->cols_padded, bytes);
}

static enum q35_status matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_matmul(user, a, err);
    note_matmul(user, start, "matmul", a);
    return st;
}

enum q35_status cpu_profile_matmul_then(void *user, const struct q35_matmul_args *a,
                                        enum q35_soft_then then, float *into, struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_matmul_then(user, a, then, into, err);
    note_matmul(user, start, then == Q35_SOFT_ADD ? "matmul and add" : "matmul and swiglu", a);
    return st;
}

static enum q35_status attention(void *user, const struct q35_attn_args *a, struct q35_error *err)
{
    uint64_t start = pool_now_ns(), bytes = 0;
    enum q35_status st = cpu_attention(user, a, err);
    uint32_t i;
    for (i = 0; i < a->n_tokens; i++) {
        uint32_t seen = a->positions[i] + 1;
        bytes +=
            4ull * a->n_kv_heads * a->head_dim * (a->window && seen > a->window ? a->window : seen);
    }
    note(user, start, "attention", a->n_tokens, 0, (uint64_t)a->n_heads * a->head_dim, bytes);
    return st;
}

static enum q35_status rms_norm(void *user, uint32_t n_tokens, uint32_t d, const float *x,
                                const float *w, float eps, float *y, struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_ops.rms_norm(user, n_tokens, d, x, w, eps, y, err);
    note(user, start, "rms_norm", n_tokens, 0, d, 0);
    return st;
}

static enum q35_status quantize(void *user, uint32_t n_tokens, uint32_t cols, uint32_t cols_padded,
                                uint32_t rot_block, uint64_t rot_seed, const float *x,
                                uint64_t x_stride, int8_t *q, float *scales, struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_ops.quantize(user, n_tokens, cols, cols_padded, rot_block, rot_seed, x,
                                          x_stride, q, scales, err);
    note(user, start, "rotate and quantize", n_tokens, 0, cols, 0);
    return st;
}

static enum q35_status rope(void *user, uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim,
                            uint32_t rope_dim, uint32_t rope_style, const float *cos_sin, float *x,
                            struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st =
        cpu_ops.rope(user, n_tokens, n_heads, head_dim, rope_dim, rope_style, cos_sin, x, err);
    note(user, start, "rope", n_tokens, 0, (uint64_t)n_heads * head_dim, 0);
    return st;
}

static enum q35_status swiglu(void *user, uint64_t n, const float *gate, const float *up,
                              float *out, struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_ops.swiglu(user, n, gate, up, out, err);
    note(user, start, "swiglu", 0, 0, n, 0);
    return st;
}

static enum q35_status add(void *user, uint64_t n, float *x, const float *y, struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_ops.add(user, n, x, y, err);
    note(user, start, "add", 0, 0, n, 0);
    return st;
}

static enum q35_status embed(void *user, const struct q35_matrix *m, uint32_t row, float *out,
                             struct q35_error *err)
{
    uint64_t start = pool_now_ns();
    enum q35_status st = cpu_ops.embed(user, m, row, out, err);
    note(user, start, "embed", 0, 0, m->cols, 0);
    return st;
}

const struct q35_ops cpu_profile_ops = {
    .size = sizeof cpu_profile_ops,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .quantize = quantize,
    .rope = rope,
    .attention = attention,
    .swiglu = swiglu,
    .add = add,
    .embed = embed,
};

int cpu_profile_start(struct cpu *c, const struct q35_host *host)
{
    c->profile = calloc(1, sizeof *c->profile);
    if (c->profile)
        c->profile->host = host;
    return c->profile != NULL;
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = ((const struct entry *)a)->ns, y = ((const struct entry *)b)->ns;
    return (x < y) - (x > y);
}

void cpu_profile_end(struct cpu *c)
{
    struct cpu_profile *p = c->profile;
    uint64_t total = 0;
    uint32_t i;
    char line[160], shape[48];
    if (!p)
        return;
    qsort(p->entries, p->count, sizeof *p->entries, by_time);
    for (i = 0; i < p->count; i++)
        total += p->entries[i].ns;
    for (i = 0; i < p->count; i++) {
        const struct entry *e = &p->entries[i];
        double us = 1e-3 * (double)e->ns / (double)e->calls;
        snprintf(shape, sizeof shape, e->rows ? "%llu x %llu" : "%.0llu%llu",
                 (unsigned long long)e->rows, (unsigned long long)e->cols);
        snprintf(line, sizeof line,
                 "%5.1f%%  %-20s %-14s %4u tokens  %8llu calls  %9.2f us %7.1f GB/s",
                 100.0 * (double)e->ns / (double)total, e->name, shape, e->tokens,
                 (unsigned long long)e->calls, us, (double)e->bytes / (double)e->ns);
        p->host->log(p->host->ctx, Q35_LOG_INFO, line);
    }
    free(p);
    c->profile = NULL;
}
