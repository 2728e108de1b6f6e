/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_PLUGIN_OPENCL_H
#define Q35_PLUGIN_OPENCL_H

/* What the files of the OpenCL backend share. It knows q35 by <q35/...> alone. */

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <q35/backend.h>

enum {
    MAX_PLATFORMS = 16,
    MAX_DEVICES = 64, /* in all */
    MAX_BATCH = 512,
    MAX_SEQUENCES = 256,
    MAX_HEAD_DIM = 1024,
    MOST_TOKENS = 16, /* that share one decoding of a tile */
    PAGE = 64,        /* positions of a page of the KV cache */
    RESULTS = 64      /* submits whose results are kept */
};

enum ocl_kernel {
    K_MATMUL, /* for 1 token, then 2, 4, 8, 16 */
    K_MATMUL_LAST = K_MATMUL + 4,
    K_NORM,
    K_QUANTIZE,
    K_EMBED,
    K_ROPE,
    K_STORE,
    K_STORE8, /* of a KV cache in int8 */
    K_ATTEND,
    K_ATTEND8,
    K_SWIGLU,
    K_GREEDY,
    K_COUNT
};
extern const char *const ocl_kernel_names[K_COUNT];

/* ---- devices.c: what there is -------------------------------------------------------------- */

/* One device that the options let through. */
struct ocl_choice {
    cl_platform_id platform;
    cl_device_id device;
    cl_device_type type;
    uint32_t number; /* among the devices of its platform */
};

/* What OpenCL says of a device; the kernels are chosen by it. */
struct ocl_limits {
    cl_device_type type;
    cl_ulong memory, max_alloc, local_memory;
    size_t max_group;
    cl_device_fp_config fp;
    bool unified;
};

/* The [backend] section. */
struct ocl_settings {
    const char *platform, *device; /* NULL: any */
    const char *type;              /* auto, gpu, accelerator, cpu, all */
    uint32_t slices;               /* 0: by device */
    uint32_t tokens;               /* that share one decoding of a tile */
    int zero_copy;                 /* -1: by device */
};

enum q35_status ocl_settings_read(const struct q35_options *options, struct ocl_settings *s,
                                  struct q35_error *err);
/* The devices that settings let through, in a fixed order: GPUs, accelerators, CPUs. With none, OK
 * and *count 0, and err->message says what was looked for. */
enum q35_status ocl_choose(const struct ocl_settings *s, struct ocl_choice *out, uint32_t *count,
                           struct q35_error *err);
/* Settings, and the device of this number among those they let through. */
enum q35_status ocl_choose_one(const struct q35_options *options, uint32_t index,
                               struct ocl_settings *s, struct ocl_choice *out,
                               struct q35_error *err);
enum q35_status ocl_limits_read(cl_device_id device, struct ocl_limits *out, struct q35_error *err);
void ocl_describe(const struct ocl_choice *c, char name[64], char id[64]);
uint32_t ocl_slices(const struct ocl_settings *s, const struct ocl_limits *l);
/* Around calls that may start a driver: what it does to signal handlers is undone. */
void ocl_driver_enter(void);
void ocl_driver_leave(void);

/* ---- errors.c ------------------------------------------------------------------------------ */

enum q35_status ocl_fail(struct q35_error *err, enum q35_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The status and blast radius of an OpenCL error. what: the call, for the message. */
enum q35_status ocl_status(struct q35_error *err, cl_int code, const char *what);
const char *ocl_error_name(cl_int code);
enum q35_status ocl_room(struct q35_error *err);

/* ---- context.c ----------------------------------------------------------------------------- */

/* A context and its built program. Made once for a device and a work-group shape and kept for the
 * life of the process: drivers are slow to make them and some never give everything back. */
struct ocl_context {
    struct ocl_context *next;
    cl_device_id device;
    uint32_t slices, group;
    cl_context context;
    cl_program program;
    bool retired; /* lost with its device; never used again */
};

enum q35_status ocl_context_get(cl_device_id device, const struct ocl_limits *limits,
                                uint32_t slices, struct ocl_context **out, struct q35_error *err);
void ocl_context_retire(struct ocl_context *c);

/* ---- timeline.c ---------------------------------------------------------------------------- */

struct ocl_time {
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint64_t completed;
    _Atomic uint64_t cancelled; /* submits up to here end early */
    uint64_t values[RESULTS];
    struct q35_error results[RESULTS];
    uint32_t next;
};

enum q35_status ocl_time_init(struct ocl_time *t, struct q35_error *err);
void ocl_time_fini(struct ocl_time *t);
void ocl_time_complete(struct ocl_time *t, uint64_t value, const struct q35_error *result);
enum q35_status ocl_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                         struct q35_error *err);
enum q35_status ocl_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err);
enum q35_status ocl_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err);

/* ---- layer.c: descriptors ------------------------------------------------------------------ */

/* Copies what the writer of *in knows and checks it. tensors[Q35_ROLE_COUNT] by role, bytes 0 where
 * absent. Pure. */
enum q35_status ocl_layer_read(const struct ocl_limits *limits, const struct q35_layer *in,
                               struct q35_layer *out, struct q35_tensor_desc *tensors,
                               struct q35_error *err);
const char *ocl_role_name(uint32_t role);

/* Widths that decide about scratch: maxima over layers. */
struct ocl_dims {
    uint64_t d_model, q_dim, kv_dim, d_ffn, rope_dim, cols_padded, vocab;
};
void ocl_dims_add(struct ocl_dims *dims, const struct q35_layer *l,
                  const struct q35_tensor_desc *tensors);
/* Bytes of one page in one decoder layer, of an enum q35_kv_type. */
uint64_t ocl_page_bytes(const struct q35_layer *l, uint32_t type);

/* ---- device.c ------------------------------------------------------------------------------ */

/* Device memory for one batch. */
enum ocl_part {
    P_X,    /* f32 [n][d_model] hidden state */
    P_H,    /* f32 [n][d_model] normalised */
    P_Q,    /* f32 [n][q_dim] */
    P_K,    /* f32 [n][kv_dim] */
    P_V,    /* f32 [n][kv_dim] */
    P_ATT,  /* f32 [n][q_dim] */
    P_GATE, /* f32 [n][d_ffn] */
    P_UP,   /* f32 [n][d_ffn] */
    P_ROT,  /* f32 [n][cols_padded] */
    P_Q8,   /* int8 [n rounded up][cols_padded], then f32 [n] scales */
    P_ROPE, /* f32 [n][rope_dim] cos, then sin */
    P_META, /* uint [5][n]: ids, positions, pages to write, rows of the table, tokens with LOGITS */
    P_OUT,  /* f32 [n, 16 at most][vocab]: logits */
    P_BEST, /* uint [n]: greedy choices */
    P_COUNT
};

/* Head of every object a device owns, so that close and reset find them all. */
struct ocl_object {
    struct ocl_object *prev, *next;
    struct q35_device *dev;
    void (*release)(struct ocl_object *o); /* frees the contents, not the handle */
    bool dead;                             /* a reset took its contents */
};

struct q35_device {
    struct ocl_object objects; /* list head */
    const struct q35_host *host;
    struct ocl_choice choice;
    struct ocl_limits limits;
    uint32_t slices, tokens;
    bool zero_copy, lost;
    struct ocl_context *shared;
    cl_command_queue queue;
    cl_kernel kernels[K_COUNT];
    struct ocl_time time;
    cl_mem parts[P_COUNT];
    uint64_t part_bytes[P_COUNT];
    float *rope;          /* [n][rope_dim] as uploaded, of the positions of this run */
    const float *rope_of; /* the frequencies it was made from in this run, or NULL */
    uint32_t rope_dim;
    uint64_t rope_bytes;
    uint32_t *meta; /* as P_META */
    uint64_t meta_bytes;
};

void ocl_object_add(struct q35_device *dev, struct ocl_object *o,
                    void (*release)(struct ocl_object *o));
void ocl_object_remove(struct ocl_object *o);
/* INVALID for NULL, DEVICE_LOST for what a reset took, INVALID for another device's. */
enum q35_status ocl_object_check(const struct ocl_object *o, const struct q35_device *dev,
                                 const char *what, struct q35_error *err);
enum q35_status ocl_lost(struct q35_error *err);
enum q35_status ocl_mem_create(struct q35_device *dev, cl_mem_flags flags, uint64_t bytes,
                               void *host, cl_mem *out, const char *what, struct q35_error *err);

enum q35_status ocl_open(const struct q35_host *host, const struct q35_options *options,
                         uint32_t index, struct q35_device **out, struct q35_error *err);
void ocl_close(struct q35_device *dev);
enum q35_status ocl_reset(struct q35_device *dev, struct q35_error *err);

/* ---- scratch.c ----------------------------------------------------------------------------- */

uint64_t ocl_scratch_bytes(const struct ocl_dims *dims, uint32_t n);
enum q35_status ocl_scratch_reserve(struct q35_device *dev, const struct ocl_dims *dims, uint32_t n,
                                    struct q35_error *err);
void ocl_scratch_free(struct q35_device *dev);
/* The float of P_Q8 at which the scales of n tokens begin. */
uint32_t ocl_scales_at(uint64_t cols_padded, uint32_t n);
enum q35_status ocl_supports(struct q35_device *dev, const struct q35_layer *layer,
                             struct q35_error *err);
enum q35_status ocl_plan(struct q35_device *dev, const struct q35_plan_request *request,
                         struct q35_plan_result *result, struct q35_error *err);

/* ---- buffers.c ----------------------------------------------------------------------------- */

struct q35_buffer {
    struct ocl_object object;
    cl_mem mem;
    uint64_t bytes;
};

enum q35_status ocl_buffer_alloc(struct q35_device *dev, uint64_t bytes, struct q35_buffer **out,
                                 struct q35_error *err);
void ocl_buffer_free(struct q35_buffer *buffer);
enum q35_status ocl_buffer_write(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                 uint64_t bytes, struct q35_error *err);
enum q35_status ocl_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                uint64_t bytes, struct q35_error *err);

/* ---- weights.c ----------------------------------------------------------------------------- */

/* [lo, hi) has arrived. Sorted, disjoint, not adjacent. */
struct ocl_extent {
    uint64_t lo, hi;
};

struct ocl_tensor {
    struct q35_tensor_desc desc; /* bytes 0: the layer has no such tensor */
    cl_mem mem;
    float *copy; /* on the host: ROPE_FREQ alone */
    struct ocl_extent *extents;
    uint32_t extent_count, extent_cap;
    uint64_t hash;
};

struct ocl_layer {
    struct q35_layer desc; /* tensors: NULL */
    struct ocl_tensor tensors[Q35_ROLE_COUNT];
    uint32_t kv_index; /* number among the DECODER layers */
};

struct q35_weights {
    struct ocl_object object;
    struct ocl_layer *layers;
    uint32_t layer_count, decoder_count;
    struct ocl_dims dims;
    bool committed;
};

enum q35_status ocl_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                  uint32_t layer_count, uint32_t layer_stride,
                                  struct q35_weights **out, struct q35_error *err);
enum q35_status ocl_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                uint64_t offset, const void *data, uint64_t bytes,
                                uint32_t lifetime, struct q35_error *err);
enum q35_status ocl_weights_commit(struct q35_weights *w, struct q35_error *err);
void ocl_weights_free(struct q35_weights *w);

/* ---- kv.c ---------------------------------------------------------------------------------- */

/* One sequence in the current run. */
struct ocl_row {
    uint32_t start, end; /* positions */
    uint32_t count;      /* tokens; 0: not in the run */
    uint32_t number;     /* its row of the table on the device */
};

struct q35_kv {
    struct ocl_object object;
    struct q35_weights *weights;
    uint32_t max_sequences, page_count, decoders, type;
    cl_mem *pools;        /* [decoder_count] pages of one layer */
    uint8_t *block;       /* everything below */
    uint32_t *table;      /* [max_sequences][page_count] page of a block, from 1, or 0 */
    uint32_t *blocks;     /* [max_sequences] blocks with a page */
    uint32_t *refs;       /* [page_count + 1] */
    uint32_t *free;       /* [page_count] pages that nobody has */
    uint32_t *lengths;    /* [max_sequences][decoder_count] */
    struct ocl_row *rows; /* [max_sequences] */
    uint32_t *active;     /* [max_sequences] sequences of the run */
    uint32_t *saved;      /* refs, free, active rows of table and blocks as before the run */
    uint32_t *sent;       /* [active][width] the table of this run */
    cl_mem device_table;
    uint32_t free_count, active_count, width;
    uint32_t run_first, run_end; /* decoder layers of the run, by kv_index */
};

uint64_t ocl_kv_pages(uint32_t kv_tokens, uint32_t max_sequences);
/* Bytes beside the pages, on host and device; 0 on overflow. */
uint64_t ocl_kv_tables(uint64_t pages, uint32_t max_sequences, uint32_t decoders);
enum q35_status ocl_kv_create(struct q35_device *dev, struct q35_weights *w,
                              const struct q35_kv_spec *spec, struct q35_kv **out,
                              struct q35_error *err);
void ocl_kv_free(struct q35_kv *kv);
enum q35_status ocl_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                struct q35_error *err);
enum q35_status ocl_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                            struct q35_error *err);
/* Groups the batch by sequence and checks positions against what those layers hold. */
enum q35_status ocl_kv_admit(struct q35_kv *kv, const struct q35_run *run, struct q35_error *err);
/* Makes every page that the admitted batch writes present and unshared, or changes nothing. */
enum q35_status ocl_kv_reserve(struct q35_kv *kv, struct q35_error *err);
/* Pages to write and rows of the table of every token, and the table itself to the device. */
cl_int ocl_kv_send(struct q35_kv *kv, const struct q35_run *run, uint32_t *pages, uint32_t *rows);
/* This layer now holds the run's positions. */
void ocl_kv_written(struct q35_kv *kv, uint32_t kv_index);

/* ---- run.c, exec.c ------------------------------------------------------------------------- */

static inline const struct q35_token *ocl_token(const struct q35_run *run, uint32_t i)
{
    return (const void *)((const uint8_t *)run->tokens + (uint64_t)i * run->token_stride);
}

/* One batch on its way through the layers. The first error sticks; later launches do nothing. */
struct ocl_batch {
    struct q35_device *dev;
    struct q35_kv *kv;
    uint32_t n, n_logits;
    bool greedy;
    cl_int code;
    const char *what;
};

enum q35_status ocl_run_layers(struct q35_device *dev, const struct q35_run *run,
                               struct q35_error *err);
void ocl_exec_embed(struct ocl_batch *b, const struct ocl_layer *l);
void ocl_exec_decoder(struct ocl_batch *b, const struct ocl_layer *l);
/* Logits of the tokens [first, first + count) among those with LOGITS, to P_OUT. */
void ocl_exec_head(struct ocl_batch *b, const struct ocl_layer *l, uint32_t first, uint32_t count);
/* The greedy choice of each row of P_OUT, to P_BEST from `first` on. */
void ocl_exec_greedy(struct ocl_batch *b, const struct ocl_layer *l, uint32_t first,
                     uint32_t count);

#endif
