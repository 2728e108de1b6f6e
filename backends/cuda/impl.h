/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CUDA_IMPL_H
#define Q35_CUDA_IMPL_H

/* What the host files of cuda.so share.
 *
 * One context and one stream per opened device. Whatever touches the device goes through the
 * stream, so order needs no events; host memory reaches it through pinned staging. A run occupies
 * one of CUDA_SLOTS slots from run_layers until it completes. There is no thread: whoever waits or
 * polls finds out what the device has finished, copies its results to the host's memory and marks
 * it complete (timeline.c). */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "blas.h"
#include "driver.h"
#include "q35/arith.h"
#include "soft.h"
#include "soft_layer.h"
#include "soft_pages.h"
#include "soft_parts.h"

#define CUDA_OLDEST 75 /* compute capability times 10: int8 matrix instructions */
#define CUDA_THEIRS ((uint64_t)512 << 20) /* most memory left to the driver and cuBLASLt */
#define CUDA_MAX_BATCH 2048u
#define CUDA_MAX_SEQUENCES 1024u
#define CUDA_ALIGNMENT 256u
#define CUDA_SLOTS 4u
#define CUDA_STAGES 4u
#define CUDA_GRAPHS 64u
#define CUDA_SHAPES 64u
#define CUDA_STAGE_BYTES ((uint64_t)4 << 20)
#define CUDA_CANCEL_LAYERS 4u  /* of a large batch, between looks at the cancel mark */
#define CUDA_CANCEL_TOKENS 64u /* tokens of a large batch */
#define CUDA_FEATURES (Q35_FEATURE_GREEDY | Q35_FEATURE_KV_INT8 | Q35_FEATURE_TRIPLE)
#define CUDA_KV_TYPES 2u /* enum q35_kv_type */
#define CUDA_LOGITS 256u /* rows of logits on the device at a time */
/* Most memory for attention in parts: a sequence of 128k positions with 64 heads of 128 takes
 * 2,048 pages x 64 x 130 x 4 bytes = 65 MiB; two of them fit. */
#define CUDA_PARTS_BYTES ((uint64_t)144 << 20)

/* Head of every object a device owns, so that close and reset find them all. */
struct cuda_object {
    struct cuda_object *prev, *next;
    struct q35_device *dev;
    void (*release)(struct cuda_object *o); /* frees the contents, not the handle */
    bool dead;                              /* a reset took its contents */
};

/* Pinned host memory that grows. */
struct cuda_pinned {
    void *data;
    uint64_t bytes;
};

/* Device memory that grows. */
struct cuda_block {
    cu_ptr at;
    uint64_t bytes;
};

/* A run on its way. */
struct cuda_slot {
    struct cuda_pinned head;   /* tokens, page tables and hidden states going in */
    struct cuda_pinned result; /* what comes back */
    cu_event done;
    uint64_t value;
    void *out; /* host memory that gets `result`, or NULL */
    uint64_t out_bytes;
    struct q35_error err; /* found while submitting; status 0: none */
    bool recorded;        /* `done` is in the stream */
};

struct cuda_timeline {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t submitted, completed;
    _Atomic uint64_t cancelled; /* submits up to here end early */
    struct cuda_slot slots[CUDA_SLOTS];
    uint32_t head, count; /* slots in flight: head, head + 1 ... */
    bool driving;         /* a thread is waiting for the head */
    struct soft_results results;
    bool lock_made, cond_made;
};

/* Pinned chunks that uploads go through, round robin. */
struct cuda_staging {
    void *data[CUDA_STAGES];
    cu_event done[CUDA_STAGES];
    bool busy[CUDA_STAGES];
    uint32_t next;
};

/* What decides about scratch: maxima over layers. */
struct cuda_dims {
    struct soft_dims w;
    uint64_t vocab;
    uint64_t blocks;     /* row blocks of one product */
    uint64_t head_parts; /* n_heads * (head_dim + 2) */
    uint64_t rows;       /* padded, of one matrix */
    uint64_t weights;    /* padded rows times padded columns of one matrix */
};

/* How products of more than Q35_CU_FEW tokens are computed: option `prefill`. */
enum cuda_prefill { CUDA_PREFILL_AUTO, CUDA_PREFILL_KERNEL, CUDA_PREFILL_CUBLASLT };

/* A product of the library: weights [rows][k] times inputs [n][k]. */
struct cuda_gemm_shape {
    uint32_t rows, n, k;
    blas_layout w, x, y; /* NULL: a free entry */
    struct blas_algo algo;
    size_t workspace;
};

/* What was measured of products of one shape and about as many tokens. */
struct cuda_trial {
    uint32_t cols, tokens, rows[4], scheme[4]; /* tokens: rounded up to a power of two; the key */
    uint32_t count;                            /* trials so far, by turns */
    float ms[2];                               /* the better one by the kernel, by the library */
};
#define CUDA_TRIAL_KEY offsetof(struct cuda_trial, count)

/* Products by cuBLASLt, an alternative to matmul_many. Same bits. */
struct cuda_gemm {
    const struct blas *lib; /* NULL: there is none */
    enum cuda_prefill mode;
    bool off;      /* it failed once */
    bool measured; /* a trial took place; whoever wants to know clears it first */
    blas_handle handle;
    blas_matmul matmul;
    blas_preference preference;
    cu_event begin, end;
    struct cuda_block room; /* workspace, decoded weights, sums */
    struct cuda_gemm_shape shapes[CUDA_SHAPES];
    struct cuda_trial trials[CUDA_SHAPES];
    uint32_t next_shape, trial_count;
};

/* A captured run and what it was captured for. */
struct cuda_graph_key {
    const void *weights, *kv;
    uint32_t first, count, n_tokens, n_pieces, n_logits, max_count, max_pages, flags;
};
struct cuda_graph_entry {
    struct cuda_graph_key key;
    cu_exec exec;   /* NULL: seen once, not captured yet */
    bool measuring; /* products were measured when it was last seen */
    uint64_t stamp; /* of its last use; 0: free */
};

struct q35_device {
    struct cuda_object objects; /* list head */
    const struct q35_host *host;
    const struct cu *cu;
    cu_device ordinal;
    cu_ctx ctx;
    cu_stream stream;
    cu_module module;
    cu_func kernels[Q35_CU_KERNEL_COUNT];
    struct q35_cu_limits limits;
    struct cuda_graph_entry graphs[CUDA_GRAPHS];
    uint64_t graph_clock;
    pthread_mutex_t capture_lock; /* held while `stream` captures, and by another device's thread */
                                  /* that puts a mark or a wait into it */
    cu_event peer;                /* orders copies between devices */
    cu_ctx reachable;             /* another device's, whose memory this one may read and write */
    cu_event pace[2];             /* keeps a large batch from running ahead of its cancellation */
    struct cuda_staging staging;
    struct cuda_gemm gemm;
    struct cuda_timeline time;
    struct cuda_block scratch; /* activations of a batch */
    struct cuda_block parts;   /* of attention */
    struct cuda_block sums;    /* of products; zero between launches */
    struct cuda_block header;  /* tokens, pieces, rows and page tables of the run */
    uint64_t memory;           /* of the GPU */
    bool use_graphs;
    _Atomic bool lost;
    struct q35_device *next_open; /* list of plugin.c */
};

struct q35_buffer {
    struct cuda_object object;
    cu_ptr at;
    uint64_t bytes;
};

struct cuda_tensor {
    struct q35_tensor_desc desc; /* bytes 0: the layer has no such tensor */
    cu_ptr at;
    struct soft_extents arrived;
};

struct cuda_layer {
    struct q35_layer desc; /* tensors: NULL */
    struct cuda_tensor tensors[Q35_ROLE_COUNT];
    uint32_t kv_index;                 /* number among the DECODER layers */
    uint64_t kv_offset[CUDA_KV_TYPES]; /* of its part of a page, in bytes */
};

struct q35_weights {
    struct cuda_object object;
    struct cuda_layer *layers;
    uint32_t layer_count;
    uint32_t decoder_count;
    uint64_t page_bytes[CUDA_KV_TYPES]; /* of one KV page over all layers */
    struct cuda_dims dims;
    cu_ptr block;
    uint64_t bytes;
    bool committed;
};

struct q35_kv {
    struct cuda_object object;
    struct q35_weights *weights;
    struct soft_pages pages;
    uint32_t type; /* enum q35_kv_type */
    uint64_t page_bytes;
    cu_ptr pool; /* [page_count][page_bytes] */
    uint64_t pool_bytes;
};

/* A device address as the kernels' structs hold it. */
static inline void *cuda_at(cu_ptr at)
{
    return (void *)(uintptr_t)at;
}

/* ---- device.c ------------------------------------------------------------------------------ */

/* Makes the context current in this thread; cuda_leave undoes it. */
void cuda_enter(struct q35_device *dev);
void cuda_leave(struct q35_device *dev);
/* OK, or *err from the code; a sticky one marks the device lost. */
enum q35_status cuda_check(struct q35_device *dev, cu_result code, const char *what,
                           struct q35_error *err);
enum q35_status cuda_lost(struct q35_error *err);
enum q35_status cuda_object_check(const struct cuda_object *o, const char *what,
                                  struct q35_error *err);
void cuda_object_add(struct q35_device *dev, struct cuda_object *o,
                     void (*release)(struct cuda_object *o));
void cuda_object_remove(struct cuda_object *o);

/* What `open` was asked for. */
struct cuda_config {
    const struct q35_host *host;
    const struct cu *cu;
    cu_device ordinal;
    bool graphs;
    enum cuda_prefill prefill;
    const char *cublaslt; /* a library, or NULL: the newest there is */
};
enum q35_status cuda_device_open(const struct cuda_config *config, struct q35_device **out,
                                 struct q35_error *err);
void cuda_close(struct q35_device *dev);
enum q35_status cuda_reset(struct q35_device *dev, struct q35_error *err);
/* Grow to at least `bytes`; contents are lost, and the stream is drained first. */
enum q35_status cuda_pinned_reserve(struct q35_device *dev, struct cuda_pinned *p, uint64_t bytes,
                                    struct q35_error *err);
enum q35_status cuda_block_reserve(struct q35_device *dev, struct cuda_block *b, uint64_t bytes,
                                   const char *what, struct q35_error *err);
enum q35_status cuda_buffer_alloc(struct q35_device *dev, uint64_t bytes, struct q35_buffer **out,
                                  struct q35_error *err);
void cuda_buffer_free(struct q35_buffer *buffer);
enum q35_status cuda_buffer_write(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                  uint64_t bytes, struct q35_error *err);
enum q35_status cuda_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                 uint64_t bytes, struct q35_error *err);

/* Enqueues a copy between a buffer, perhaps of another GPU, and `at` on dev, after all that either
 * device has been given so far and before all that follows. Context current. */
enum q35_status cuda_buffer_copy(struct q35_device *dev, struct q35_buffer *buffer, uint64_t offset,
                                 cu_ptr at, uint64_t bytes, bool from_buffer,
                                 struct q35_error *err);

/* ---- staging.c: with the context current ---------------------------------------------------- */

/* To the device through pinned chunks; returns when `data` has been read. */
enum q35_status cuda_upload(struct q35_device *dev, cu_ptr to, const void *data, uint64_t bytes,
                            struct q35_error *err);
/* From the device; returns when `data` is filled. */
enum q35_status cuda_download(struct q35_device *dev, void *data, cu_ptr from, uint64_t bytes,
                              struct q35_error *err);
void cuda_staging_fini(struct q35_device *dev);

/* ---- timeline.c ----------------------------------------------------------------------------- */

enum q35_status cuda_timeline_init(struct cuda_timeline *t, struct q35_error *err);
void cuda_timeline_fini(struct cuda_timeline *t);
/* A free slot, waiting for the oldest run if all are taken; not yet in flight. Context current. */
struct cuda_slot *cuda_slot_take(struct q35_device *dev);
/* Puts the slot of cuda_slot_take in flight with its value. */
void cuda_slot_submit(struct q35_device *dev, struct cuda_slot *slot, uint64_t value);
/* Waits until nothing is in flight. */
void cuda_drain(struct q35_device *dev);
bool cuda_cancelled(struct q35_device *dev, uint64_t value);
enum q35_status cuda_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                          struct q35_error *err);
enum q35_status cuda_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err);
enum q35_status cuda_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err);

/* ---- weights.c ------------------------------------------------------------------------------ */

/* Where a tensor goes that must not lie below `at`: codes at a multiple of CUDA_ALIGNMENT. *end:
 * the first byte behind it. */
uint64_t cuda_place(uint64_t at, const struct q35_tensor_desc *t, uint64_t *end);
#define CUDA_WEIGHTS_TAIL 256u         /* readable behind the last tensor */
uint64_t cuda_rounded(uint64_t bytes); /* to what the driver hands out */
enum q35_status cuda_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                   uint32_t layer_count, uint32_t layer_stride,
                                   struct q35_weights **out, struct q35_error *err);
enum q35_status cuda_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                 uint64_t offset, const void *data, uint64_t bytes,
                                 uint32_t lifetime, struct q35_error *err);
enum q35_status cuda_weights_commit(struct q35_weights *w, struct q35_error *err);
void cuda_weights_free(struct q35_weights *w);

/* ---- kv.c ----------------------------------------------------------------------------------- */

/* Bytes of the pool on the device; 0 on overflow. */
uint64_t cuda_kv_pool_bytes(uint64_t pages, uint64_t page_bytes);
enum q35_status cuda_kv_create(struct q35_device *dev, struct q35_weights *w,
                               const struct q35_kv_spec *spec, struct q35_kv **out,
                               struct q35_error *err);
void cuda_kv_free(struct q35_kv *kv);
enum q35_status cuda_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                 struct q35_error *err);
enum q35_status cuda_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                             struct q35_error *err);
/* Groups the run's tokens by sequence and checks positions against what its layers hold. */
enum q35_status cuda_kv_admit(struct q35_kv *kv, const struct q35_run *run, struct q35_error *err);
/* Makes every page that the admitted run writes present and unshared, enqueuing copies of shared
 * ones, or changes nothing (CAPACITY). Context current. */
enum q35_status cuda_kv_reserve(struct q35_kv *kv, struct q35_error *err);

static inline const struct q35_token *cuda_token(const struct q35_run *r, uint32_t i)
{
    const uint8_t *at = (const uint8_t *)r->tokens + (uint64_t)i * r->token_stride;
    return (const struct q35_token *)(const void *)at;
}

/* ---- launch.c: with the context current ----------------------------------------------------- */

/* Kernels of the module by number. */
enum q35_status cuda_kernels_create(struct q35_device *dev, struct q35_error *err);
void cuda_kernels_destroy(struct q35_device *dev);
bool cuda_has_kernels(void); /* the build had a CUDA compiler */
/* args: the kernel's struct, copied by the call. */
enum q35_status cuda_launch(struct q35_device *dev, const struct q35_cu_launch *l, const void *args,
                            struct q35_error *err);

/* ---- gemm.c: with the context current ------------------------------------------------------- */

/* Opens the library if it is wanted and there; says in the log if it is not. */
void cuda_gemm_open(struct q35_device *dev, const struct cuda_config *config);
/* What belongs to the context: made if the library is open, gone before the context. */
void cuda_gemm_init(struct q35_device *dev);
void cuda_gemm_fini(struct q35_device *dev);
/* Bytes of gemm.room for batches of n tokens; 0 if the library is not used for them. */
uint64_t cuda_gemm_bytes(const struct q35_device *dev, const struct cuda_dims *dims, uint64_t n);

/* ---- exec.c --------------------------------------------------------------------------------- */

/* Scratch for a batch, carved from dev->scratch: addresses of f32 unless said otherwise. */
struct cuda_scratch {
    cu_ptr x;       /* [n][d_model] hidden state */
    cu_ptr q;       /* [n][q_dim] */
    cu_ptr k;       /* [n][kv_dim] */
    cu_ptr v;       /* [n][kv_dim] */
    cu_ptr att;     /* [n][q_dim] */
    cu_ptr gate;    /* [n][d_ffn] */
    cu_ptr up;      /* [n][d_ffn] */
    cu_ptr cos_sin; /* [n][rope_dim] */
    cu_ptr scales;  /* [n] of tokens */
    cu_ptr q8;      /* int8 [n][cols_padded] */
    cu_ptr rotate;  /* q35_cu_rotate_scratch */
    cu_ptr logits;  /* [min(n, CUDA_LOGITS)][vocab] */
    cu_ptr ids;     /* uint32 [n] greedy choices */
};

/* One run on its way through the layers. */
struct cuda_batch {
    struct q35_device *dev;
    const struct q35_run *run;
    struct cuda_slot *slot;
    uint32_t n_tokens, n_logits, n_pieces, max_count;
    uint32_t max_pages;                 /* of any token, perhaps rounded up */
    cu_ptr tokens, pieces, rows, table; /* in dev->header; table [active][max_pages] */
    uint32_t active;                    /* sequences */
    struct q35_buffer *out;             /* where results go; NULL: slot->result */
    uint64_t out_offset;
    bool greedy; /* results of a HEAD are ids */
    bool capturing;
    struct cuda_scratch s;
    const struct cuda_layer *rope_layer; /* whose frequencies cos_sin is made of, or NULL */
};

void cuda_dims_add(struct cuda_dims *dims, const struct q35_layer *l,
                   const struct q35_tensor_desc *tensors);
/* Bytes of scratch, sums and parts for batches up to n_tokens over pages up to max_pages. */
uint64_t cuda_scratch_bytes(const struct q35_device *dev, const struct cuda_dims *dims,
                            uint32_t n_tokens, uint64_t max_pages);
enum q35_status cuda_scratch_carve(struct cuda_batch *b, const struct cuda_dims *dims,
                                   struct q35_error *err);
enum q35_status cuda_exec_layer(struct cuda_batch *b, const struct cuda_layer *l,
                                struct q35_error *err);
/* Enqueues what a HEAD has left in scratch, if it all fits there: logits of up to CUDA_LOGITS
 * tokens, or ids. */
enum q35_status cuda_copy_head(struct cuda_batch *b, const struct cuda_layer *l,
                               struct q35_error *err);
/* Enqueues results: `bytes` of them, from there on, to where the run wants them. */
enum q35_status cuda_copy_out(struct cuda_batch *b, cu_ptr from, uint64_t offset, uint64_t bytes,
                              struct q35_error *err);

/* The product of a, whose launch as a kernel is `own`: by that kernel or by the library. */
enum q35_status cuda_product(struct cuda_batch *b, const struct q35_cu_matmul *a,
                             const struct q35_cu_launch *own, struct q35_error *err);

/* ---- run.c, graph.c -------------------------------------------------------------------------- */

enum q35_status cuda_supports(struct q35_device *dev, const struct q35_layer *layer,
                              struct q35_error *err);
enum q35_status cuda_plan(struct q35_device *dev, const struct q35_plan_request *request,
                          struct q35_plan_result *result, struct q35_error *err);
enum q35_status cuda_run_layers(struct q35_device *dev, const struct q35_run *run,
                                struct q35_error *err);
/* The layers of a decoding step, replayed if such a step was seen before. */
enum q35_status cuda_graph_run(struct cuda_batch *b, struct q35_error *err);
/* Context current. */
void cuda_graphs_destroy(struct q35_device *dev);

#endif
