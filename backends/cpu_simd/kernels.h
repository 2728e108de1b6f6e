/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CPU_KERNELS_H
#define Q35_CPU_KERNELS_H

/* The kernels of the CPU backend: one table of function pointers, filled in plain C first and then
 * overridden by each instruction set that the CPU has, oldest first. Every variant gives bit for
 * bit what q35/arith.h and q35/format.h give. All are single-threaded, pure and allocate nothing;
 * ops.c cuts operations into pieces for the threads. Threads: any. */

#include <stdbool.h>
#include <string.h>

#include "q35/arith.h"
#include "q35/backend.h"

#define DOTS_FEW 8u                /* most tokens of dots_few */
#define DOTS_STREAMS 4u            /* most row blocks that dots_few walks at once */
#define DOTS_MANY 512u             /* most tokens of dots_many */
#define SCRATCH_BYTES (384u << 10) /* what a thread lends to a kernel, 64-byte aligned */
#define ATTN_GROUP 16u             /* most query heads of attn_block */
#define ATTN_HEAD_DIM 256u         /* largest head_dim of attn_block */

/* Dot products of adjacent row blocks of one matrix with the tokens of a batch. */
struct dots_args {
    uint32_t scheme;
    uint32_t tiles;   /* along K */
    uint32_t cols;    /* a multiple of 128; a code's second or third column may lie past them */
    uint32_t blocks;  /* row blocks: up to DOTS_STREAMS (few), any (many) */
    uint32_t streams; /* 1: dots_few reads blocks one after the other, else all in turn */
    uint32_t n_tokens;
    const struct q35_tables *tables;
    const uint8_t *codes;  /* of the first row block; 64 readable bytes follow the last */
    const int8_t *q;       /* [n_tokens][q_stride] */
    uint64_t q_stride;     /* cols_padded */
    const int32_t *q_sums; /* [n_tokens]: sum over k of q */
    const void *packed;    /* q in the order of pack_q or pack_few, if the table has it */
    int32_t *acc;          /* out: [n_tokens][blocks * 16] */
    void *scratch;         /* SCRATCH_BYTES */
    /* What the sums are to become; only a dots_many that finishes reads what follows. */
    uint32_t then;             /* enum dots_then */
    uint32_t rows;             /* of the row blocks; 1 .. blocks * 16 */
    const float *scales;       /* [rows] */
    const float *token_scales; /* [n_tokens] */
    const float *bias;         /* [rows] or NULL */
    float *y;                  /* [n_tokens][y_stride], `rows` of each */
    uint64_t y_stride;
    /* DOTS_SWIGLU: the second matrix, of the same scheme, kind and shape */
    const struct q35_tables *up_tables;
    const uint8_t *up_codes;
    const float *up_scales;
    const float *up_bias;
};

/* y = v, y = y + v or y = silu(v) * w, where v, w = q35_rescale(a sum) (+ bias); w is of `up`. */
enum dots_then { DOTS_STORE, DOTS_ADD, DOTS_SWIGLU };

/* What the decoding of a matrix looks back at: 0 nothing, 1 the code above, 2 a ring of codes. The
 * tables rule, not the scheme's number. */
static inline int tables_kind(uint32_t scheme, const struct q35_tables *tables)
{
    uint64_t word, any = 0;
    uint32_t i;
    for (i = 0; i < 128; i += 8) {
        memcpy(&word, tables->b + i, 8);
        any |= word;
    }
    return !any ? 0 : Q35_SCHEME_RING(scheme) ? 2 : 1;
}

static inline int dots_kind(const struct dots_args *a)
{
    return tables_kind(a->scheme, a->tables);
}

/* Attention of `group` query heads that share a KV head, over one page (64 positions). Keys and
 * values are binary16 (attn_block) or int8 with a scale for each position (attn8_block). */
struct attn_args {
    uint32_t group;    /* 1 .. ATTN_GROUP */
    uint32_t head_dim; /* up to ATTN_HEAD_DIM */
    uint32_t first;    /* positions first .. first + n - 1 of the page; n >= 1 */
    uint32_t n;
    float scale;
    uint32_t q_stride;            /* int8: head_dim rounded up to 64; zeros behind head_dim */
    const float *q;               /* binary16: [group][head_dim] */
    const void *k;                /* [64][head_dim] */
    const void *v;                /* [64][head_dim] */
    const void *next_k;           /* the keys that will be asked for next, or NULL: to prefetch */
    struct q35_attn_state *state; /* out: [group] */
    float *o;                     /* out: [group][head_dim] */
    void *scratch;                /* SCRATCH_BYTES */
    const int8_t *q8;             /* from here on int8: [group][q_stride] */
    const float *q_scales;        /* [group] */
    const int32_t *q_sums;        /* [group]: sum of q8 */
    const float *k_scales;        /* [64] */
    const float *v_scales;        /* [64] */
    const float *next_k_scales;   /* NULL only if next_k is */
};

struct kernels {
    const char *name; /* "AVX-512 VBMI": of the last variant that was installed */
    void (*dots_few)(const struct dots_args *a);
    void (*dots_many)(const struct dots_args *a);
    uint32_t few_most;  /* tokens up to which dots_few, DOTS_FEW at a time, is the faster one */
    bool many_finishes; /* dots_many makes y of its sums, and leaves anything in acc */
    /* Bytes of `packed` for n tokens, and the packing of tokens first .. first + count - 1 (first a
     * multiple of 48). Both NULL if the variant reads q as it is. */
    uint64_t (*pack_bytes)(uint32_t n_tokens, uint32_t cols_padded);
    void (*pack_q)(const int8_t *q, uint32_t n_tokens, uint32_t cols_padded, uint32_t first,
                   uint32_t count, void *packed);
    /* The same for 2 to DOTS_FEW tokens and dots_few: at most DOTS_FEW * (cols_padded + 128) bytes,
     * cols in steps of 64. NULL if dots_few reads q as it is. */
    void (*pack_few)(const int8_t *q, uint64_t q_stride, uint32_t n_tokens, uint32_t cols,
                     void *packed);
    uint32_t many_blocks; /* row blocks that dots_many does best together, 1 .. DOTS_STREAMS */
    /* q35_hash_chunk */
    uint64_t (*hash)(const uint8_t *data, uint64_t bytes, uint64_t first_byte);
    int32_t (*sum_q)(const int8_t *q, uint32_t n); /* n: a multiple of 128 */
    /* y[i] = q35_rescale(acc[i], scales[i], token_scale) (+ bias[i] unless NULL) */
    void (*rescale)(const int32_t *acc, const float *scales, float token_scale, const float *bias,
                    uint32_t n, float *y);
    /* Hadamard butterflies of q35_rotate, without the signs; n % 128 == 0 */
    void (*hadamard)(float *x, uint32_t n, uint32_t block);
    /* out[k] = sign(k) x[k], with zeros for x from n to padded; out may be x; padded % 128 == 0 */
    void (*signs)(const float *x, uint32_t n, uint32_t padded, uint64_t seed, float *out);
    float (*quantize)(const float *x, uint32_t n, int8_t *q); /* n % 32 == 0 */
    uint32_t (*greedy)(const float *x, uint32_t n);           /* q35_greedy */
    /* y may be x, also below */
    void (*rms_norm)(const float *x, const float *w, uint32_t n, float eps, float *y);
    /* One token: cos_sin[rope_dim] holds cosines, then sines. */
    void (*rope)(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim, uint32_t style,
                 const float *cos_sin);
    void (*swiglu)(uint64_t n, const float *gate, const float *up, float *out);
    void (*add)(uint64_t n, float *x, const float *y);
    void (*attn_block)(const struct attn_args *a);
    void (*attn8_block)(const struct attn_args *a);
    /* q35_attn_merge of `group` heads: st, sb [group], o, ob [group][head_dim] */
    void (*attn_merge)(struct q35_attn_state *st, float *o, const struct q35_attn_state *sb,
                       const float *ob, uint32_t group, uint32_t head_dim);
};

/* The variants of this architecture, plain C first. */
struct variant {
    const char *id;   /* value of the option `isa` */
    const char *name; /* for people */
    unsigned need;    /* enum cpu_feature bits */
    void (*install)(struct kernels *k);
};
extern const struct variant q35_cpu_variants[];
extern const unsigned q35_cpu_variant_count;

/* Fills *k with plain C and every variant up to and including `last` that `features` allow. */
void q35_cpu_kernels_init(struct kernels *k, unsigned features, unsigned last);

void q35_cpu_install_c(struct kernels *k);
void q35_cpu_install_avx2(struct kernels *k);
void q35_cpu_install_avxvnni(struct kernels *k);
void q35_cpu_install_avx512(struct kernels *k);
void q35_cpu_install_avx512vnni(struct kernels *k);
void q35_cpu_install_avx512vnni_attn(struct kernels *k); /* a part of it */
void q35_cpu_install_avx512vbmi(struct kernels *k);
void q35_cpu_install_amx(struct kernels *k);
void q35_cpu_install_neon(struct kernels *k);
void q35_cpu_install_dotprod(struct kernels *k);
void q35_cpu_install_dotprod_attn8(struct kernels *k); /* a part of it */

#endif
