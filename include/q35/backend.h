/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_BACKEND_H
#define Q35_BACKEND_H

/* The backend ABI: everything a plugin needs, together with format.h (packed weights) and arith.h
 * (the arithmetic contract). A plugin is a shared object that exports one function,
 *
 *     const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);
 *
 * which returns a constant descriptor, and NULL if it cannot serve that major. The call is pure and
 * cheap: it touches no device, starts no thread, allocates nothing.
 *
 * VERSIONING
 *   Majors must match. Host and plugin then both keep to the smaller minor. Structs only ever grow
 *   at the end, have no padding, and begin with `size`, the offset just past the last field that
 *   their writer knows. A reader uses a field only if it lies inside that size; a longer struct is
 *   never an error. Arrays of structs carry the stride of one element. Enumerators never change
 *   value. A NULL function slot means UNSUPPORTED, unless the plugin inherits (see below).
 *
 * MEMORY
 *   Whoever creates destroys. A host pointer given to the plugin is valid during the call unless
 *   its field says UNTIL_EVENT (until the submit it belongs to has completed) or UNTIL_FREE (until
 *   the object it was given to is freed). The plugin never frees host memory, nor the host its.
 *
 * ERRORS
 *   Calls return enum q35_status. On failure the plugin fills *err (never NULL): message, radius,
 *   native code, layer. A plugin never aborts, exits, throws, writes to stdout, or changes signal
 *   handlers, the locale, the rounding mode or the working directory.
 *
 * THREADS
 *   [any]    may be called from any thread at any time, also together with other calls.
 *   [device] the host makes at most one such call at a time for one device, from any thread.
 *
 * FEATURES
 *   What not every device does is asked only of those that declare it in q35_device_info.features
 *   (enum q35_features). A device that is asked all the same answers UNSUPPORTED. What a plugin of
 *   an earlier minor left out counts as zero: it is never asked.
 *
 * TIME
 *   A device has one timeline: submits carry values that the host makes strictly ascending.
 *   Every submit that returned OK completes exactly once, with a status, in submission order. A
 *   submit that returned an error never completes. Completing inside the submitting call is fine.
 *
 * INHERITING
 *   With Q35_PLUGIN_INHERIT in `flags`, NULL slots from `open` downward are served by the host's
 *   software device, which keeps weights and KV in host memory and runs each layer through a table
 *   of operations; `ops` overrides any of them. So a first backend can be enumerate, device_info
 *   and one `matmul`. See struct q35_ops. */

#include "format.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define Q35_ABI_MAJOR 1u
#define Q35_ABI_MINOR 1u
#define Q35_PLUGIN_SYMBOL "q35_plugin_query"

#if defined(_WIN32)
#define Q35_EXPORT __declspec(dllexport)
#else
#define Q35_EXPORT __attribute__((visibility("default")))
#endif

/* True if `field` lies inside what the writer of *p filled. */
#define Q35_HAS(p, type, field) ((p)->size >= offsetof(type, field) + sizeof((p)->field))

struct q35_device;  /* the plugin's: one opened device */
struct q35_buffer;  /* the plugin's: device memory */
struct q35_weights; /* the plugin's: the weights of a span of layers */
struct q35_kv;      /* the plugin's: the KV cache of a span of layers */

/* ---- a layer is data --------------------------------------------------------------------- */

enum q35_layer_kind {
    Q35_LAYER_EMBED = 1,   /* token ids -> hidden f32[d_model] */
    Q35_LAYER_DECODER = 2, /* hidden -> hidden */
    Q35_LAYER_HEAD = 3     /* hidden of tokens that want logits -> logits f32[vocab] */
};

/* x: hidden f32[d_model] of one token. A DECODER layer computes, absent tensors left out:
 *     h = rms_norm(x, ATTN_NORM);  q, k, v = Wq h + bq, Wk h + bk, Wv h + bv
 *     per head: q = rms_norm(q, Q_NORM), k = rms_norm(k, K_NORM); rope(q, k); store k, v
 *     x = x + (Wo attention(q, K, V) + bo)
 *     h = rms_norm(x, FFN_NORM);  x = x + Wdown (silu(Wgate h) * (Wup h))
 * k and v are stored as the type of the KV cache says, enum q35_kv_type; q, k, v are binary32.
 * EMBED: x = row of TOKEN_EMBED (decoded, times its row scale; unrotated if rotated) * embed_scale.
 * HEAD:  logits = HEAD * rms_norm(x, OUT_NORM). A tied model lists its embedding as role HEAD. */
enum q35_role {
    Q35_ROLE_TOKEN_EMBED = 0,
    Q35_ROLE_ATTN_NORM = 1,
    Q35_ROLE_Q = 2,
    Q35_ROLE_K = 3,
    Q35_ROLE_V = 4,
    Q35_ROLE_O = 5,
    Q35_ROLE_Q_BIAS = 6,
    Q35_ROLE_K_BIAS = 7,
    Q35_ROLE_V_BIAS = 8,
    Q35_ROLE_O_BIAS = 9,
    Q35_ROLE_Q_NORM = 10,
    Q35_ROLE_K_NORM = 11,
    Q35_ROLE_FFN_NORM = 12,
    Q35_ROLE_GATE = 13,
    Q35_ROLE_UP = 14,
    Q35_ROLE_DOWN = 15,
    Q35_ROLE_OUT_NORM = 16,
    Q35_ROLE_HEAD = 17,
    Q35_ROLE_ROPE_FREQ = 18, /* f32[rope_dim / 2]: inverse frequency of each pair */
    Q35_ROLE_COUNT = 19
};

enum q35_tensor_type {
    Q35_TENSOR_F32 = 0,   /* rows * cols little-endian binary32 */
    Q35_TENSOR_PACKED = 1 /* a blob of format.h */
};

struct q35_tensor_desc {
    uint32_t role;
    uint32_t type;
    uint32_t rows;
    uint32_t cols;
    uint32_t scheme;    /* enum q35_scheme if packed, else 0 */
    uint32_t rot_block; /* 0: not rotated */
    uint64_t rot_seed;
    uint64_t bytes; /* of the whole tensor data */
    uint64_t hash;  /* q35_hash_chunk over all of it */
};

enum q35_rope_style {
    Q35_ROPE_PAIRS = 0, /* pair i is (2i, 2i+1) */
    Q35_ROPE_HALVES = 1 /* pair i is (i, i + rope_dim/2) */
};

enum q35_activation { Q35_ACT_SILU = 0 };

struct q35_layer {
    uint32_t size;
    uint32_t kind;          /* enum q35_layer_kind */
    int32_t index;          /* position in the model's graph: 0 is EMBED, the last is HEAD */
    uint32_t tensor_count;
    uint32_t tensor_stride; /* bytes from one descriptor to the next */
    uint32_t d_model;
    uint32_t n_heads;
    uint32_t n_kv_heads; /* divides n_heads; head h uses kv head h / (n_heads / n_kv_heads) */
    uint32_t head_dim;
    uint32_t d_ffn;
    uint32_t vocab;
    uint32_t rope_dim; /* leading values of a head that are rotated; 0: none */
    uint32_t rope_style;
    uint32_t activation;
    uint32_t window; /* a token sees this many positions, itself included; 0: all */
    float norm_eps;
    float attn_scale;  /* multiplies q.k */
    float embed_scale; /* EMBED only */
    const struct q35_tensor_desc *tensors; /* UNTIL_FREE of what the layer was given to */
};

/* ---- what the host lends ------------------------------------------------------------------ */

enum q35_log_level { Q35_LOG_ERROR = 0, Q35_LOG_WARN = 1, Q35_LOG_INFO = 2, Q35_LOG_DEBUG = 3 };

struct q35_kv_pair {
    const char *key;
    const char *value;
};

/* The [backend] section of the configuration, in file order. Valid during the call. */
struct q35_options {
    uint32_t size;
    uint32_t count;
    const struct q35_kv_pair *items;
};

struct q35_ops;

/* Lives as long as the plugin is loaded. */
struct q35_host {
    uint32_t size;
    uint32_t abi_major;
    uint32_t abi_minor; /* the negotiated one */
    uint32_t reserved;
    void *ctx;
    /* [any] One line of text, no newline. */
    void (*log)(void *ctx, uint32_t level, const char *message);
    /* The host's plain C implementation of every operation: every slot is set. [any] */
    const struct q35_ops *reference_ops;
};

/* ---- operations of the software device ---------------------------------------------------- */

/* A packed matrix in host memory, 64-byte aligned, UNTIL_FREE of its weights. */
struct q35_matrix {
    uint32_t size;
    uint32_t scheme;
    uint32_t rows;
    uint32_t cols;
    uint32_t rows_padded;
    uint32_t cols_padded;
    uint32_t rot_block;
    uint32_t reserved;
    uint64_t rot_seed;
    const struct q35_tables *tables;
    const float *scales;  /* [rows_padded] */
    const uint8_t *codes; /* tiles; 64 readable bytes follow the last */
    const float *bias;    /* [rows] or NULL */
    void *user;           /* what ops->matrix_prepare stored, else NULL */
};

/* y_i = W_i x for up to 4 matrices that share their input. */
struct q35_matmul_args {
    uint32_t size;
    uint32_t n_tokens;
    uint32_t n_mats;
    uint32_t cols_padded;
    const int8_t *q;           /* [n_tokens][cols_padded], padding zero */
    const float *token_scales; /* [n_tokens] */
    const struct q35_matrix *mats[4];
    float *y[4];          /* [n_tokens][y_stride[i]]; rows beyond mats[i]->rows are not written */
    uint64_t y_stride[4]; /* in floats */
};

/* How a KV cache holds the heads of keys and values, after rope.
 * F16:  q35_f32_to_f16 of each value.
 * INT8: each head (head_dim values of one position) through q35_quantize: int8 values and one
 *       binary32 scale. Queries are quantized in the same way when they meet the keys. arith.h has
 *       both forms of attention. Needs Q35_FEATURE_KV_INT8. (ABI 1.1) */
enum q35_kv_type { Q35_KV_F16 = 0, Q35_KV_INT8 = 1 };

struct q35_attn_args {
    uint32_t size;
    uint32_t n_tokens;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t window; /* 0: all */
    float scale;
    uint32_t kv_type; /* enum q35_kv_type: what the pages hold */
    const float *q; /* [n_tokens][n_heads * head_dim], rope applied */
    float *out;     /* like q */
    const uint32_t *positions; /* [n_tokens] */
    /* pages[t][b]: address of the page of positions 64b .. 64b+63 of token t's sequence. A page of
     * type F16 is K then V, each binary16 [n_kv_heads][64][head_dim]. A page of type INT8 is K then
     * V, each int8 [n_kv_heads][64][head_dim], then the scales of K and then those of V, each
     * binary32 [n_kv_heads][64]; only its address is cast to uint16_t. */
    const uint16_t *const *const *pages;
};

/* Every slot may be called from the one thread that runs the device [device]; `user` is what `open`
 * returned as device (inheriting plugins), or NULL. A NULL slot is served by the host. Sizes are in
 * elements. All obey arith.h when the device's class is EXACT. */
struct q35_ops {
    uint32_t size;
    uint32_t reserved;
    /* A matrix was committed: convert or upload it if you like and set m->user. */
    enum q35_status (*matrix_prepare)(void *user, struct q35_matrix *m, struct q35_error *err);
    void (*matrix_release)(void *user, struct q35_matrix *m);
    enum q35_status (*matmul)(void *user, const struct q35_matmul_args *a, struct q35_error *err);
    /* x[n_tokens][d] -> y[n_tokens][d], weight w[d]; y may be x. */
    enum q35_status (*rms_norm)(void *user, uint32_t n_tokens, uint32_t d, const float *x,
                                const float *w, float eps, float *y, struct q35_error *err);
    /* x[n_tokens][x_stride] -> q[n_tokens][cols_padded], scales[n_tokens]: pad with zeros, rotate
     * if rot_block > 0, quantize. */
    enum q35_status (*quantize)(void *user, uint32_t n_tokens, uint32_t cols, uint32_t cols_padded,
                                uint32_t rot_block, uint64_t rot_seed, const float *x,
                                uint64_t x_stride, int8_t *q, float *scales, struct q35_error *err);
    /* In place on x[n_tokens][n_heads * head_dim]; cos_sin[n_tokens][rope_dim]: cos then sin. */
    enum q35_status (*rope)(void *user, uint32_t n_tokens, uint32_t n_heads, uint32_t head_dim,
                            uint32_t rope_dim, uint32_t rope_style, const float *cos_sin, float *x,
                            struct q35_error *err);
    enum q35_status (*attention)(void *user, const struct q35_attn_args *a, struct q35_error *err);
    /* out[i] = silu(gate[i]) * up[i]; n = n_tokens * d_ffn */
    enum q35_status (*swiglu)(void *user, uint64_t n, const float *gate, const float *up, float *out,
                              struct q35_error *err);
    /* x[i] = x[i] + y[i] */
    enum q35_status (*add)(void *user, uint64_t n, float *x, const float *y, struct q35_error *err);
    /* One decoded row of m times its scale, unrotated: out[cols]. */
    enum q35_status (*embed)(void *user, const struct q35_matrix *m, uint32_t row, float *out,
                             struct q35_error *err);
};

/* ---- devices ------------------------------------------------------------------------------ */

enum q35_device_class {
    Q35_CLASS_EXACT = 1, /* bit-identical to arith.h throughout */
    /* Matrix products exact. The rest may differ: over the results of one run the root of the summed
     * squares of the differences from arith.h is at most 0.05 of that of the values. (A last place
     * that differs can move an int8 activation by one, so a tighter bound would be none of the
     * device's own.) Like EXACT, the same run gives the same bits whatever else is in the batch. */
    Q35_CLASS_CLOSE = 2
};

/* What a device does beyond ABI 1.0. A plugin that inherits the software device declares what its
 * own operations do; what it leaves to the host the host declares for it: GREEDY always, KV_INT8
 * unless `attention` is overridden. */
enum q35_features {
    Q35_FEATURE_GREEDY = 1,  /* runs with Q35_RUN_GREEDY */
    Q35_FEATURE_KV_INT8 = 2, /* KV caches of type Q35_KV_INT8 */
    Q35_FEATURE_TRIPLE = 4   /* tensors of scheme 6.3.1.0, three weights a code (format.h) */
};

struct q35_device_info {
    uint32_t size;
    uint32_t determinism;        /* enum q35_device_class */
    char name[64];               /* "NVIDIA H200", "cpu (AVX-512 VBMI)" */
    char id[64];                 /* stable over restarts: a UUID, a PCI address, "cpu0" */
    uint64_t memory_total;       /* bytes */
    uint64_t memory_free;
    uint64_t memory_bandwidth;   /* bytes per second; 0: unknown */
    uint32_t max_batch;          /* tokens in one run */
    uint32_t max_sequences;      /* sequences in one KV object */
    uint32_t buffer_alignment;   /* of buffers and of weights_put data */
    uint32_t simulated;          /* 1: a simulator; its speed is not a measurement */
    uint32_t features;           /* enum q35_features, or-ed (ABI 1.1; absent: 0) */
    uint32_t reserved;
};

struct q35_plan_request {
    uint32_t size;
    uint32_t layer_count;
    uint32_t layer_stride;
    uint32_t max_batch;     /* tokens in one run */
    uint32_t max_sequences;
    uint32_t kv_tokens;     /* over all sequences together */
    const struct q35_layer *layers;
    uint32_t kv_type; /* enum q35_kv_type (ABI 1.1; absent: F16). UNSUPPORTED if not declared */
    uint32_t reserved;
};

/* What alloc, weights_* and kv_create will take in total: exact or above, never below. */
struct q35_plan_result {
    uint32_t size;
    uint32_t reserved;
    uint64_t weight_bytes;   /* the device's own; 0 if UNTIL_FREE host memory is used in place */
    uint64_t host_bytes;     /* weights used in place in host memory */
    uint64_t kv_bytes;       /* for kv_tokens */
    uint64_t kv_token_bytes; /* one more token */
    uint64_t scratch_bytes;
};

struct q35_kv_spec {
    uint32_t size;
    uint32_t max_sequences; /* sequence ids are 0 .. max_sequences - 1 */
    uint32_t kv_tokens;     /* rounded up to a whole page per sequence in use */
    uint32_t type;          /* enum q35_kv_type. UNSUPPORTED if not declared */
};

/* Q35_TOKEN_LOGITS: the HEAD layer produces logits for this token. */
enum q35_token_flags { Q35_TOKEN_LOGITS = 1 };

struct q35_token {
    int32_t id;
    uint32_t sequence;
    uint32_t position;
    uint32_t flags;
};

/* Host memory or a place in a device buffer. */
struct q35_span {
    void *host; /* NULL if buffer is used; UNTIL_EVENT */
    struct q35_buffer *buffer;
    uint64_t offset; /* bytes into buffer */
    uint64_t bytes;
};

/* Q35_RUN_GREEDY: HEAD gives the id of the greatest logit of each token instead of its logits:
 * q35_greedy of arith.h, also on a device of class CLOSE (of the logits that it has). Without effect
 * on a span that does not end with HEAD. Needs Q35_FEATURE_GREEDY; flags that a device does not know
 * are UNSUPPORTED. (ABI 1.1) */
enum q35_run_flags { Q35_RUN_GREEDY = 1 };

/* Runs layers first .. first+count-1 of `weights` over a batch.
 * Tokens of one sequence come in ascending, adjacent positions; a token attends to positions up to
 * its own. Writing position p discards what the KV held from p on: so a failed or cancelled run is
 * retried by submitting it again, and nothing else makes a token permanent.
 * in:  f32[n_tokens][d_model]; unused if the first layer is EMBED.
 * out: f32[n_tokens][d_model]; after HEAD f32[number of tokens with LOGITS][vocab], batch order;
 *      after HEAD with Q35_RUN_GREEDY uint32[number of tokens with LOGITS], batch order. */
struct q35_run {
    uint32_t size;
    uint32_t first; /* index inside `weights`, not in the model */
    uint32_t count;
    uint32_t n_tokens;
    uint32_t token_stride;
    uint32_t flags; /* enum q35_run_flags, or-ed */
    struct q35_weights *weights;
    struct q35_kv *kv;              /* may be NULL if no layer is a DECODER */
    const struct q35_token *tokens; /* UNTIL_EVENT */
    struct q35_span in;
    struct q35_span out;
    uint64_t signal; /* timeline value that this submit completes */
};

enum q35_lifetime { Q35_DURING_CALL = 0, Q35_UNTIL_FREE = 1 };

/* One option of the [backend] section, so that the host can check a configuration. */
struct q35_option_spec {
    const char *key;
    const char *type; /* "int", "bool", "string", "size", "enum:a|b|c" */
    const char *help;
    const char *fallback; /* default as text */
};

enum q35_plugin_flags { Q35_PLUGIN_INHERIT = 1 };

/* The descriptor. Constant, valid as long as the plugin is loaded. */
struct q35_plugin {
    uint32_t size;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t flags;
    const char *name;    /* "cuda": lower case, [a-z0-9_] */
    const char *version; /* of the plugin */
    const char *description;
    const char *licence; /* SPDX */
    const struct q35_option_spec *options;
    uint32_t option_count;
    uint32_t option_stride;
    const struct q35_ops *ops; /* inheriting plugins only */

    /* Counts devices. Finding none is OK with count 0, and err->message says what was looked for.
     * [any] */
    enum q35_status (*enumerate)(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err);
    /* Fills *info (its size set by the caller). [any] */
    enum q35_status (*device_info)(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err);
    /* Opens device `index`. *out: NULL on failure. [any] */
    enum q35_status (*open)(const struct q35_host *host, const struct q35_options *options,
                            uint32_t index, struct q35_device **out, struct q35_error *err);
    /* Frees everything the device still holds. NULL is fine. [device] */
    void (*close)(struct q35_device *dev);

    /* OK, or UNSUPPORTED and why. [any] */
    enum q35_status (*supports)(struct q35_device *dev, const struct q35_layer *layer,
                                struct q35_error *err);
    /* Exact needs of a span of layers; allocates nothing. CAPACITY if it could never fit. [any] */
    enum q35_status (*plan)(struct q35_device *dev, const struct q35_plan_request *request,
                            struct q35_plan_result *result, struct q35_error *err);

    /* Device memory for hidden states that stay on the device. [device] */
    enum q35_status (*buffer_alloc)(struct q35_device *dev, uint64_t bytes, struct q35_buffer **out,
                                    struct q35_error *err);
    void (*buffer_free)(struct q35_buffer *buffer);
    enum q35_status (*buffer_write)(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                    uint64_t bytes, struct q35_error *err);
    enum q35_status (*buffer_read)(struct q35_buffer *buffer, uint64_t offset, void *data,
                                   uint64_t bytes, struct q35_error *err);

    /* Upload. begin -> put (any order, any chunks at multiples of 8 bytes, every byte once) ->
     * commit (checks completeness and every tensor's hash; HASH or INVALID names layer and role).
     * Layers and their tensor descriptors are UNTIL_FREE. With lifetime UNTIL_FREE the plugin may
     * keep the pointer instead of copying; such a put covers a whole tensor and is 64-byte aligned.
     * Before commit succeeds weights cannot be run. [device] */
    enum q35_status (*weights_begin)(struct q35_device *dev, const struct q35_layer *layers,
                                     uint32_t layer_count, uint32_t layer_stride,
                                     struct q35_weights **out, struct q35_error *err);
    enum q35_status (*weights_put)(struct q35_weights *w, uint32_t layer, uint32_t role,
                                   uint64_t offset, const void *data, uint64_t bytes,
                                   uint32_t lifetime, struct q35_error *err);
    enum q35_status (*weights_commit)(struct q35_weights *w, struct q35_error *err);
    void (*weights_free)(struct q35_weights *w);

    /* A KV cache for the DECODER layers of w. The plugin owns the storage, the host the sequence
     * ids and their lengths. [device] */
    enum q35_status (*kv_create)(struct q35_device *dev, struct q35_weights *w,
                                 const struct q35_kv_spec *spec, struct q35_kv **out,
                                 struct q35_error *err);
    void (*kv_free)(struct q35_kv *kv);
    /* Keeps positions 0 .. length-1 of a sequence; 0 forgets it. */
    enum q35_status (*kv_truncate)(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                   struct q35_error *err);
    /* dst becomes a copy of src's first `length` positions; storage may be shared until written. */
    enum q35_status (*kv_fork)(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                               struct q35_error *err);

    /* Submits. CAPACITY if the KV is full: then nothing has changed. [device] */
    enum q35_status (*run_layers)(struct q35_device *dev, const struct q35_run *run,
                                  struct q35_error *err);
    /* Waits until `value` has completed and returns that submit's status; TIMEOUT after timeout_ns.
     * Results of the last 64 submits are kept. [any] */
    enum q35_status (*wait)(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                            struct q35_error *err);
    /* The last completed value. [any] */
    enum q35_status (*poll)(struct q35_device *dev, uint64_t *value, struct q35_error *err);
    /* Asks submits up to `value` to end early, with CANCELLED; they still complete. [any] */
    enum q35_status (*cancel)(struct q35_device *dev, uint64_t value, struct q35_error *err);
    /* After DEVICE_LOST: makes the device usable again, all its objects gone but their handles
     * still to be freed. [device] */
    enum q35_status (*reset)(struct q35_device *dev, struct q35_error *err);

    /* A constant table of functions, or NULL. Known ids are listed with their structs in this
     * header's companions. [any] */
    const void *(*get_extension)(const char *id, uint32_t version);
};

typedef const struct q35_plugin *(*q35_plugin_query_fn)(uint32_t host_major, uint32_t host_minor);

#ifdef __cplusplus
}
#endif
#endif
