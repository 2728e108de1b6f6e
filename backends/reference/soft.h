/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SOFT_H
#define Q35_SOFT_H

/* The software device: the whole ABI in plain C over host memory, with every layer run through a
 * table of operations (struct q35_ops). It is a static library that knows nothing of core/. Three
 * users:
 *
 *   reference.so   the software device with the reference operations
 *   cpu_simd.so    the same with faster operations and its own `user` (a thread pool)
 *   the host       lends it to plugins that set Q35_PLUGIN_INHERIT
 *
 * A plugin built on it writes `open` with q35_soft_open and takes the rest:
 *
 *     static enum q35_status my_open(const struct q35_host *host, const struct q35_options
 * *options, uint32_t index, struct q35_device **out, struct q35_error *err)
 *     {
 *         struct q35_soft_config config = {.ops = &my_ops, .user = pool, .user_close =
 * pool_destroy};
 *         ...
 *         return q35_soft_open(&config, out, err);
 *     }
 *     static const struct q35_plugin plugin = {.size = sizeof(plugin), ..., .enumerate =
 * my_enumerate, .device_info = my_device_info, .open = my_open, Q35_SOFT_SLOTS};
 *
 * How it behaves, beyond backend.h:
 *   - run_layers computes in the calling thread and completes before it returns OK. If an operation
 *     fails in the middle, run_layers returns OK and the submit completes with that status, as on
 * an asynchronous device. What is wrong with the arguments, and CAPACITY, is returned at once.
 *   - cancel(value) sets a mark that is read between layers; submits up to `value` that come later
 *     end CANCELLED as well, so a cancel cannot lose a race against its submit.
 *   - wait for a value that no submit used, or older than the last 64, returns NOT_FOUND once it
 * has passed.
 *   - Weights put UNTIL_FREE are used in place, others are copied.
 *   - KV caches are of either type where the device has it. Pages hold 64 positions of all decoder
 * layers, are counted references shared by fork and
 *     copied when written. The pool has (kv_tokens + 63 * max_sequences) / 64 pages, so kv_tokens
 *     tokens fit however they are spread over the sequences. Lengths are kept per layer: spans of
 *     one weights object may be run in separate submits. A token whose position would leave a gap
 *     is INVALID.
 *   - Nothing is allocated per token: scratch grows to the largest batch seen (a power of two). */

#include <stdbool.h>

#include "q35/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every operation in plain C, straight from arith.h: the executable specification. All slots set.
 * They keep no state and ignore `user`: safe from any thread. Limits: head_dim <= 1024. */
extern const struct q35_ops q35_reference_ops;

#define Q35_SOFT_MAX_BATCH 512u
#define Q35_SOFT_MAX_SEQUENCES 256u
#define Q35_SOFT_MAX_HEAD_DIM 1024u
#define Q35_SOFT_ALIGNMENT 64u

/* One layer over a batch, for a device that computes layers as a whole. Everything is valid during
 * the call. */
struct q35_soft_layer_call {
    const struct q35_layer *layer;                         /* its `tensors` is NULL */
    const struct q35_tensor_desc *tensors[Q35_ROLE_COUNT]; /* NULL if absent */
    const void *data[Q35_ROLE_COUNT];                      /* 64-byte aligned, NULL if absent */
    uint32_t n_tokens;                                     /* of a HEAD: those that want logits */
    uint32_t token_stride;                                 /* bytes */
    const struct q35_token *tokens;                        /* of an EMBED */
    float *x;                  /* [n_tokens][d_model]: out of an EMBED, in of a HEAD, else both */
    float *logits;             /* HEAD: [n_tokens][vocab], out */
    const uint32_t *positions; /* DECODER: [n_tokens] */
    const uint16_t *const *const *pages; /* DECODER: as in q35_attn_args; to be written as well */
    uint32_t kv_type;                    /* DECODER: enum q35_kv_type, what the pages hold */
};
typedef enum q35_status (*q35_soft_layer_fn)(void *user, const struct q35_soft_layer_call *call,
                                             struct q35_error *err);

/* What becomes of a product right away. [device] */
enum q35_soft_then {
    Q35_SOFT_NOTHING,
    Q35_SOFT_ADD,    /* ops->add: into = into + y[0] */
    Q35_SOFT_SWIGLU, /* ops->swiglu: into = silu(y[0]) * y[1] */
};

struct q35_soft_config {
    const struct q35_ops *ops; /* NULL: reference; NULL slots (or a shorter table): reference */
    q35_soft_layer_fn layer;   /* NULL: layers are computed by ops. [device] */
    void *user;                /* first argument of every operation, also of borrowed ones */
    void (*user_close)(void *user); /* called by close, and by q35_soft_open when it fails */
    uint32_t max_batch;             /* 0: Q35_SOFT_MAX_BATCH */
    uint32_t max_sequences;         /* 0: Q35_SOFT_MAX_SEQUENCES */
    /* q35_hash_chunk, only faster; NULL: one thread in plain C. [device] */
    uint64_t (*hash)(void *user, const uint8_t *data, uint64_t bytes, uint64_t first_byte);
    /* q35_greedy and q35_quantize of a head, only faster; NULL: plain C. [device] */
    uint32_t (*greedy)(void *user, const float *x, uint32_t n);
    float (*quantize_head)(void *user, const float *x, uint32_t n, int8_t *q);
    /* ops->matmul and the operation that `then` (not NOTHING) names in one, only faster; into is as
     * y[0] is and may be y[0]; what y holds after it does not matter. NULL: one after the other.
     * [device] */
    enum q35_status (*matmul_then)(void *user, const struct q35_matmul_args *a,
                                   enum q35_soft_then then, float *into, struct q35_error *err);
    uint32_t features; /* enum q35_features that ops or layer have, beyond q35_soft_features */
};

/* What the device of a config offers, for device_info: config->features, GREEDY (the software
 * device takes the greatest of the logits itself), and where the reference's operations work, which
 * have them: KV_INT8 without `layer` and `attention` in ops, TRIPLE without `layer`,
 * `matrix_prepare`, `matmul` and `embed`. */
uint32_t q35_soft_features(const struct q35_soft_config *config);

/* Opens a software device. *out is the ABI's device, freed by q35_soft_close; NULL on failure. */
enum q35_status q35_soft_open(const struct q35_soft_config *config, struct q35_device **out,
                              struct q35_error *err);

/* What `open` was given as user. */
void *q35_soft_user(struct q35_device *dev);

/* Fills *err (may be NULL) with radius REQUEST and returns status. */
enum q35_status q35_soft_fail(struct q35_error *err, enum q35_status status, const char *format,
                              ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* Bytes of RAM and what is available now, for device_info. Zero if unknown. */
void q35_soft_memory(uint64_t *total, uint64_t *available);

/* The slot `enumerate` of a plugin with one device. */
enum q35_status q35_soft_enumerate(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t *count, struct q35_error *err);
/* Its `device_info`, but for name and features: the software device's limits, class EXACT, id
 * "cpu0", this machine's memory. NOT_FOUND if index is not 0. */
enum q35_status q35_soft_device_info(uint32_t index, const char *name, uint32_t features,
                                     struct q35_device_info *info, struct q35_error *err);

/* The value of a key in options (may be NULL), the last one if repeated; NULL if absent. */
const char *q35_soft_option(const struct q35_options *options, const char *key);

/* ---- the slots of struct q35_plugin, `close` and below ------------------------------------- */

void q35_soft_close(struct q35_device *dev);
enum q35_status q35_soft_supports(struct q35_device *dev, const struct q35_layer *layer,
                                  struct q35_error *err);
enum q35_status q35_soft_plan(struct q35_device *dev, const struct q35_plan_request *request,
                              struct q35_plan_result *result, struct q35_error *err);
enum q35_status q35_soft_buffer_alloc(struct q35_device *dev, uint64_t bytes,
                                      struct q35_buffer **out, struct q35_error *err);
void q35_soft_buffer_free(struct q35_buffer *buffer);
enum q35_status q35_soft_buffer_write(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                      uint64_t bytes, struct q35_error *err);
enum q35_status q35_soft_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                     uint64_t bytes, struct q35_error *err);
enum q35_status q35_soft_weights_begin(struct q35_device *dev, const struct q35_layer *layers,
                                       uint32_t layer_count, uint32_t layer_stride,
                                       struct q35_weights **out, struct q35_error *err);
enum q35_status q35_soft_weights_put(struct q35_weights *w, uint32_t layer, uint32_t role,
                                     uint64_t offset, const void *data, uint64_t bytes,
                                     uint32_t lifetime, struct q35_error *err);
enum q35_status q35_soft_weights_commit(struct q35_weights *w, struct q35_error *err);
void q35_soft_weights_free(struct q35_weights *w);
/* Layer i of w as it was given to weights_begin, its descriptors copied to `tensors`. False: there
 * is no such layer. [device] */
bool q35_soft_layer_of(struct q35_weights *w, uint32_t i, struct q35_layer *out,
                       struct q35_tensor_desc tensors[Q35_ROLE_COUNT]);
enum q35_status q35_soft_kv_create(struct q35_device *dev, struct q35_weights *w,
                                   const struct q35_kv_spec *spec, struct q35_kv **out,
                                   struct q35_error *err);
void q35_soft_kv_free(struct q35_kv *kv);
enum q35_status q35_soft_kv_truncate(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                     struct q35_error *err);
enum q35_status q35_soft_kv_fork(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                                 struct q35_error *err);
enum q35_status q35_soft_run_layers(struct q35_device *dev, const struct q35_run *run,
                                    struct q35_error *err);
enum q35_status q35_soft_wait(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                              struct q35_error *err);
enum q35_status q35_soft_poll(struct q35_device *dev, uint64_t *value, struct q35_error *err);
enum q35_status q35_soft_cancel(struct q35_device *dev, uint64_t value, struct q35_error *err);
enum q35_status q35_soft_reset(struct q35_device *dev, struct q35_error *err);

/* Designated initialisers for a constant descriptor. */
#define Q35_SOFT_SLOTS                                                                             \
    .close = q35_soft_close, .supports = q35_soft_supports, .plan = q35_soft_plan,                 \
    .buffer_alloc = q35_soft_buffer_alloc, .buffer_free = q35_soft_buffer_free,                    \
    .buffer_write = q35_soft_buffer_write, .buffer_read = q35_soft_buffer_read,                    \
    .weights_begin = q35_soft_weights_begin, .weights_put = q35_soft_weights_put,                  \
    .weights_commit = q35_soft_weights_commit, .weights_free = q35_soft_weights_free,              \
    .kv_create = q35_soft_kv_create, .kv_free = q35_soft_kv_free,                                  \
    .kv_truncate = q35_soft_kv_truncate, .kv_fork = q35_soft_kv_fork,                              \
    .run_layers = q35_soft_run_layers, .wait = q35_soft_wait, .poll = q35_soft_poll,               \
    .cancel = q35_soft_cancel, .reset = q35_soft_reset

/* ---- lending to Q35_PLUGIN_INHERIT (the host's loader) -------------------------------------- */

/* Completes the host's own copy of an inheriting plugin's descriptor: every slot from `open` down
 * is the software device's. The plugin's own open, close, supports and plan are called from inside
 * with the plugin's own device, which is also the `user` of its operations; its plan finds *result
 * filled with the software device's needs and may add. Any other slot that the plugin sets itself
 * is PLUGIN: it could not know the device it is given.
 *
 * api:  the host's copy, fields beyond the plugin's size zeroed; changed in place.
 * host: what the host will pass to api->open; its address identifies the plugin, so it must stay
 *       in place until q35_soft_unlend(host).
 * device_info is wrapped: the device has the plugin's features and q35_soft_features of its table
 * of operations, also where the plugin is of ABI 1.0, since those are the host's doing.
 * Without Q35_PLUGIN_INHERIT in api->flags nothing happens and the result is OK. [any] */
enum q35_status q35_soft_lend(struct q35_plugin *api, const struct q35_host *host,
                              struct q35_error *err);
/* The device as the plugin of `api` knows it: where the software device was lent, what the plugin's
 * own open returned, else dev itself. For functions of extensions. [any] */
struct q35_device *q35_soft_own(const struct q35_plugin *api, struct q35_device *dev);
/* After the last close. Unknown hosts are fine. [any] */
void q35_soft_unlend(const struct q35_host *host);

#ifdef __cplusplus
}
#endif
#endif
