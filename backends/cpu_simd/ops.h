/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_OPS_H
#define Q35_CPU_OPS_H

/* The operations of the CPU backend: kernels cut into pieces for a pool of threads. */

#include "kernels.h"
#include "pool.h"
#include "soft.h"

/* What a thread lends to its kernels. */
struct worker {
    void *scratch; /* SCRATCH_BYTES */
    int32_t *acc;  /* [DOTS_MANY][16 * blocks of a piece] */
    float *row;    /* [row_len], one padded row of activations */
};

/* Query heads in int8, one behind the other. */
struct queries8 {
    int8_t *values; /* [heads][stride], zeros behind head_dim */
    float *scales;  /* [heads] */
    int32_t *sums;  /* [heads] */
    uint32_t stride;
    uint64_t bytes; /* of the one allocation at `values` */
};

/* Attention of few items: how far each is, and results of pages that wait for earlier ones. */
struct attn_parts {
    struct attn_merged *merged; /* [items], the start of one allocation of `bytes` */
    float *pages;               /* [items][pages][heads of an item](state, then values) */
    _Atomic uint32_t *ready;    /* [items][parts] */
    uint64_t bytes;
};

/* The `user` of the operations. One thread at a time. */
struct cpu {
    struct kernels k;
    struct places places;
    struct pool *pool;
    struct worker *workers; /* [pool_threads] */
    uint32_t streams;       /* of dots_args */
    uint32_t row_len;
    int32_t *q_sums; /* [DOTS_MANY] */
    void *packed;    /* activations in the order of k.pack_q */
    uint64_t packed_bytes;
    struct attn_parts parts;
    struct queries8 q8;          /* of a batch, for keys in int8 */
    struct cpu_profile *profile; /* NULL: times are not taken */
};

/* variant: index into q35_cpu_variants, the last one to install. threads: 0 for one on each CPU;
 * more than there are CPUs are not started, they could only take turns. NULL if out of memory. */
enum cpu_pin { CPU_PIN_NONE, CPU_PIN_CORES, CPU_PIN_AUTO /* where there are several nodes */ };
struct cpu *cpu_create(unsigned features, unsigned variant, uint32_t threads, enum cpu_pin pin);
void cpu_destroy(void *cpu); /* NULL is fine */

/* The hash of the software device's uploads, on all threads. */
uint64_t cpu_hash(void *cpu, const uint8_t *data, uint64_t bytes, uint64_t first_byte);
/* Its choice of the greatest logit, and its quantization of a key's or value's head. */
uint32_t cpu_greedy(void *cpu, const float *x, uint32_t n);
float cpu_quantize_head(void *cpu, const float *x, uint32_t n, int8_t *q);

extern const struct q35_ops cpu_ops;

/* cpu_ops that take times; between start (false if out of memory) and end, which logs them. */
extern const struct q35_ops cpu_profile_ops;
int cpu_profile_start(struct cpu *c, const struct q35_host *host);
void cpu_profile_end(struct cpu *c);

/* Used by ops.c. */
enum q35_status cpu_attention(void *user, const struct q35_attn_args *a, struct q35_error *err);
enum q35_status cpu_matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err);

/* q35_soft_config's matmul_then. */
enum q35_status cpu_matmul_then(void *user, const struct q35_matmul_args *a,
                                enum q35_soft_then then, float *into, struct q35_error *err);
/* The same with times. */
enum q35_status cpu_profile_matmul_then(void *user, const struct q35_matmul_args *a,
                                        enum q35_soft_then then, float *into,
                                        struct q35_error *err);

#endif
