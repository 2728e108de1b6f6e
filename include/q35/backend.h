/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_BACKEND_H
#define Q35_BACKEND_H

/* The backend ABI: everything a plugin needs, together with format.h (packed weights), ops.h (the
 * operations of a layer) and arith.h (the arithmetic contract). A plugin is a shared object that
 * exports one function,
 *
 *     const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);
 *
 * which returns a constant descriptor, and NULL if it cannot serve that major; no minor is a reason
 * for NULL. The call is pure and cheap: it touches no device, starts no thread, allocates nothing.
 *
 * VERSIONING
 *   Majors must match. Host and plugin then both keep to the smaller minor. Structs only ever grow
 *   at the end, have no padding, and begin with `size`, the offset just past the last field that
 *   their writer knows. A reader uses a field only if it lies inside that size; a longer struct is
 *   never an error. Where a plugin fills a struct of the host (results, errors), `size` says how
 * far it may write, and stays as it is. Arrays of structs carry the stride of one element, with
 * which they are walked. Structs with neither never change, nor do values of enumerators.
 *
 * MEMORY
 *   Whoever creates destroys. What a call points to, its structs and all that they point to, is
 *   valid during the call unless its field says UNTIL_EVENT (until the submit it belongs to has
 *   completed) or UNTIL_FREE (until the object it was given to is freed). The plugin never frees
 *   host memory, nor the host its.
 *
 * ERRORS
 *   Calls return enum q35_status. On failure the plugin fills *err (never NULL; see status.h) and
 *   sets *out, if there is one, to NULL. A plugin never aborts, exits, throws, writes to stdout, or
 *   changes signal handlers, the locale, the rounding mode or the working directory.
 *
 * THREADS
 *   [any]    may be called from any thread at any time, also together with other calls.
 *   [device] the host makes at most one such call at a time for one device, from any thread.
 *   A tag holds for the functions below it up to the next one. Nothing is called with a device, or
 *   with what belongs to it, during its `close` and after.
 *
 * FEATURES
 *   What not every device does is asked only of those that declare it in q35_device_info.features
 *   (enum q35_features). A device that is asked all the same answers UNSUPPORTED. What a plugin of
 *   an earlier minor left out counts as zero: it is never asked.
 *
 * TIME
 *   A device has one timeline: submits carry values that the host makes strictly ascending, from 1
 *   on (INVALID if not). Every submit that returned OK completes exactly once, with a status, in
 *   submission order, be it inside the submitting call or later. A submit that returned an error
 * has changed nothing and never completes; the next may use its value. Several may be in flight.
 * Functions that free, `close` and `reset` wait for those that use what they free; the host calls
 * the others on an object (kv_truncate, kv_fork, buffer_read ...) when none that uses it is in
 * flight.
 *
 * INHERITING
 *   With Q35_PLUGIN_INHERIT in `flags` the host's software device serves every slot from `open` to
 *   `reset`; it keeps weights and KV in host memory and calls struct q35_ops (ops.h) for the
 *   arithmetic, where `ops` overrides what the plugin does itself. So a first backend can be
 *   enumerate, device_info and one `matmul`. Of those slots such a plugin may set four, called with
 *   its own device: `open` and `close`, and `supports` and `plan`, asked after the software device
 *   has said yes; *result of `plan` comes filled with the host's needs, to add to. Any other is
 *   refused when the plugin is loaded. */

#include "format.h"
#include "ops.h"
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
 * HEAD:  logits = HEAD * rms_norm(x, OUT_NORM). A tied model lists its embedding as role HEAD.
 * Every norm takes norm_eps. Biases, Q_NORM and K_NORM may be absent, ROPE_FREQ is if rope_dim is
 * 0. Shapes in the comments: packed [rows][cols], f32[values] whatever rows and cols say; q_dim =
 * n_heads * head_dim, kv_dim = n_kv_heads * head_dim. */
enum q35_role {
    Q35_ROLE_TOKEN_EMBED = 0, /* packed [vocab][d_model] */
    Q35_ROLE_ATTN_NORM = 1,   /* f32[d_model] */
    Q35_ROLE_Q = 2,           /* packed [q_dim][d_model] */
    Q35_ROLE_K = 3,           /* packed [kv_dim][d_model] */
    Q35_ROLE_V = 4,           /* packed [kv_dim][d_model] */
    Q35_ROLE_O = 5,           /* packed [d_model][q_dim] */
    Q35_ROLE_Q_BIAS = 6,      /* f32[q_dim] */
    Q35_ROLE_K_BIAS = 7,      /* f32[kv_dim] */
    Q35_ROLE_V_BIAS = 8,      /* f32[kv_dim] */
    Q35_ROLE_O_BIAS = 9,      /* f32[d_model] */
    Q35_ROLE_Q_NORM = 10,     /* f32[head_dim] */
    Q35_ROLE_K_NORM = 11,     /* f32[head_dim] */
    Q35_ROLE_FFN_NORM = 12,   /* f32[d_model] */
    Q35_ROLE_GATE = 13,       /* packed [d_ffn][d_model] */
    Q35_ROLE_UP = 14,         /* packed [d_ffn][d_model] */
    Q35_ROLE_DOWN = 15,       /* packed [d_model][d_ffn] */
    Q35_ROLE_OUT_NORM = 16,   /* f32[d_model] */
    Q35_ROLE_HEAD = 17,       /* packed [vocab][d_model] */
    Q35_ROLE_ROPE_FREQ = 18,  /* f32[rope_dim / 2]: inverse frequency of each pair */
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
    uint32_t scheme;    /* if packed enum q35_scheme, or a later one of other bits; else 0 */
    uint32_t rot_block; /* 0: not rotated; else a power of two that divides the padded cols */
    uint64_t rot_seed;
    uint64_t bytes; /* of the whole tensor data */
    uint64_t hash;  /* q35_hash_chunk over all of it */
};

enum q35_rope_style {
    Q35_ROPE_PAIRS = 0, /* pair i, turned by position * ROPE_FREQ[i], is (2i, 2i+1) */
    Q35_ROPE_HALVES = 1 /* pair i is (i, i + rope_dim/2) */
};

enum q35_activation { Q35_ACT_SILU = 0 };

struct q35_layer {
    uint32_t size;
    uint32_t kind; /* enum q35_layer_kind */
    int32_t index; /* position in the model's graph: 0 is EMBED, the last is HEAD */
    uint32_t tensor_count;
    uint32_t tensor_stride; /* bytes from one descriptor to the next */
    uint32_t d_model;
    uint32_t n_heads;
    uint32_t n_kv_heads; /* divides n_heads; head h uses kv head h / (n_heads / n_kv_heads) */
    uint32_t head_dim;
    uint32_t d_ffn;
    uint32_t vocab;
    uint32_t rope_dim;   /* leading values of a head that are rotated; 0: none */
    uint32_t rope_style; /* enum q35_rope_style */
    uint32_t activation; /* enum q35_activation */
    uint32_t window;     /* a token sees this many positions, itself included; 0: all */
    float norm_eps;
    float attn_scale;                      /* multiplies q.k */
    float embed_scale;                     /* EMBED only */
    const struct q35_tensor_desc *tensors; /* UNTIL_FREE of what the layer was given to */
};

/* ---- what the host lends ------------------------------------------------------------------ */

enum q35_log_level { Q35_LOG_ERROR = 0, Q35_LOG_WARN = 1, Q35_LOG_INFO = 2, Q35_LOG_DEBUG = 3 };

struct q35_kv_pair {
    const char *key;
    const char *value;
};

/* What the [backend] section of the configuration sets of the plugin's own options, in file order;
 * each key once, each value checked against its q35_option_spec. What it leaves out is not there:
 * defaults are the plugin's. (`q35 verify-plugin --options` passes on what it is given.) */
struct q35_options {
    uint32_t size;
    uint32_t count;
    const struct q35_kv_pair *items;
};

/* Lives as long as the plugin is loaded. */
struct q35_host {
    uint32_t size;
    uint32_t abi_major;
    uint32_t abi_minor; /* the negotiated one */
    uint32_t reserved;
    void *ctx;
    /* One line of text, no newline, copied; level: enum q35_log_level. [any] */
    void (*log)(void *ctx, uint32_t level, const char *message);
    /* Every operation in plain C, every slot set; they ignore `user`. [any] */
    const struct q35_ops *reference_ops;
};

/* ---- devices ------------------------------------------------------------------------------ */

enum q35_device_class {
    Q35_CLASS_EXACT = 1, /* bit-identical to arith.h throughout */
    /* Matrix products exact. The rest may differ: over the results of one run the root of the
     * summed squares of the differences from arith.h is at most 0.05 of that of the values. (A last
     * place that differs can move an int8 activation by one, so a tighter bound would be none of
     * the device's own.) Like EXACT, the same run gives the same bits whatever else is in the
     * batch. */
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
    uint32_t determinism;      /* enum q35_device_class */
    char name[64];             /* "NVIDIA H200", "cpu (AVX-512 VBMI)" */
    char id[64];               /* the plugin's only one of this id, stable over restarts: a UUID,
                                  a PCI address, "cpu0" */
    uint64_t memory_total;     /* bytes, not 0 */
    uint64_t memory_free;      /* bytes, at most memory_total */
    uint64_t memory_bandwidth; /* bytes per second; 0: unknown */
    uint32_t max_batch;        /* tokens in one run, at least 1 */
    uint32_t max_sequences;    /* sequences in one KV object, at least 1 */
    uint32_t buffer_alignment; /* of buffers, for people to know: 0, or a power of two up to
                                  65536 */
    uint32_t simulated;        /* 1: a simulator; its speed is not a measurement */
    uint32_t features;         /* enum q35_features, or-ed (ABI 1.1; absent: 0) */
    uint32_t reserved;
};

struct q35_plan_request {
    uint32_t size;
    uint32_t layer_count;
    uint32_t layer_stride;
    uint32_t max_batch; /* tokens in one run */
    uint32_t max_sequences;
    uint32_t kv_tokens; /* over all sequences together */
    const struct q35_layer *layers;
    uint32_t kv_type; /* enum q35_kv_type (ABI 1.1; absent: F16). UNSUPPORTED if not declared */
    uint32_t reserved;
};

/* Bytes that weights_*, kv_create and runs will take in total: exact or above, never below. */
struct q35_plan_result {
    uint32_t size;
    uint32_t reserved;
    uint64_t weight_bytes;   /* the device's own; 0 if UNTIL_FREE host memory is used in place */
    uint64_t host_bytes;     /* weights used in place in host memory */
    uint64_t kv_bytes;       /* for kv_tokens */
    uint64_t kv_token_bytes; /* one more token */
    uint64_t scratch_bytes;  /* of runs of max_batch tokens, and all else */
};

struct q35_kv_spec {
    uint32_t size;
    uint32_t max_sequences; /* sequence ids are 0 .. max_sequences - 1 */
    uint32_t kv_tokens;     /* that fit however they are spread over the sequences */
    uint32_t type;          /* enum q35_kv_type. UNSUPPORTED if not declared */
};

/* Q35_TOKEN_LOGITS: the HEAD layer produces logits for this token. */
enum q35_token_flags { Q35_TOKEN_LOGITS = 1 };

struct q35_token {
    int32_t id;        /* 0 .. vocab - 1; of use to EMBED alone */
    uint32_t sequence; /* 0 .. max_sequences - 1 of the KV */
    uint32_t position; /* from 0 */
    uint32_t flags;    /* enum q35_token_flags, or-ed */
};

/* Host memory or a place in a device buffer, aligned to 4 bytes. */
struct q35_span {
    void *host; /* NULL if buffer is used; UNTIL_EVENT */
    struct q35_buffer *buffer;
    uint64_t offset; /* bytes into buffer */
    uint64_t bytes;  /* there; INVALID if the run needs more */
};

/* Q35_RUN_GREEDY: HEAD gives the id of the greatest logit of each token instead of its logits:
 * q35_greedy of arith.h, also on a device of class CLOSE (of the logits that it has). Without
 * effect on a span that does not end with HEAD. Needs Q35_FEATURE_GREEDY; flags that a device does
 * not know are UNSUPPORTED. (ABI 1.1) */
enum q35_run_flags { Q35_RUN_GREEDY = 1 };

/* Runs layers first .. first+count-1 of `weights` over a batch.
 * Tokens of one sequence come in ascending, adjacent positions, others perhaps between them; the
 * first is at most as far as the KV holds that sequence in these layers (INVALID if there is a
 * gap). A token attends to positions up to its own. Writing position p discards what the KV held
 * from p on: so a failed or cancelled run is retried by submitting it again, and nothing else makes
 * a token permanent. in:  f32[n_tokens][d_model]; unused if the first layer is EMBED. out:
 * f32[n_tokens][d_model]; after HEAD f32[number of tokens with LOGITS][vocab], batch order; after
 * HEAD with Q35_RUN_GREEDY uint32[number of tokens with LOGITS], batch order. */
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
    /* "int": a whole number; "bool": true, false, yes, no, on, off, 1 or 0; "size": 4096, 64K,
     * 2GiB, 1TB, all of 1024; "enum:a|b|c"; "string" */
    const char *type;
    const char *help;
    const char *fallback; /* default as text, for people to read */
};

enum q35_plugin_flags { Q35_PLUGIN_INHERIT = 1 };

/* The descriptor. Constant, valid as long as the plugin is loaded. A slot may be NULL, which means
 * UNSUPPORTED, only if it is one of buffer_*, reset and get_extension, or if the plugin inherits.
 */
struct q35_plugin {
    uint32_t size;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t flags;      /* enum q35_plugin_flags, or-ed */
    const char *name;    /* "cuda": 1 to 31 of a-z, 0-9 and _ */
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
    /* Fills *info, as far as its size reaches; NOT_FOUND from `count` on. [any] */
    enum q35_status (*device_info)(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err);
    /* Opens device `index`. What is open already may be opened again, or refused. [any] */
    enum q35_status (*open)(const struct q35_host *host, const struct q35_options *options,
                            uint32_t index, struct q35_device **out, struct q35_error *err);
    /* Frees everything the device still holds. NULL is fine. [device] */
    void (*close)(struct q35_device *dev);

    /* OK, or UNSUPPORTED and why; INVALID for a layer that is malformed. [any] */
    enum q35_status (*supports)(struct q35_device *dev, const struct q35_layer *layer,
                                struct q35_error *err);
    /* Needs of a span of layers; allocates nothing. CAPACITY if it could never fit. [any] */
    enum q35_status (*plan)(struct q35_device *dev, const struct q35_plan_request *request,
                            struct q35_plan_result *result, struct q35_error *err);

    /* Device memory for hidden states that stay on the device. Freeing NULL is fine, here and
     * below. [device] */
    enum q35_status (*buffer_alloc)(struct q35_device *dev, uint64_t bytes, struct q35_buffer **out,
                                    struct q35_error *err);
    void (*buffer_free)(struct q35_buffer *buffer);
    enum q35_status (*buffer_write)(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                    uint64_t bytes, struct q35_error *err);
    enum q35_status (*buffer_read)(struct q35_buffer *buffer, uint64_t offset, void *data,
                                   uint64_t bytes, struct q35_error *err);

    /* Upload. begin -> put (any order, any chunks at multiples of 8 bytes, every byte once) ->
     * commit (checks completeness and every tensor's hash; HASH or INVALID names layer and role).
     * `layer` counts from 0 inside these weights; data: `bytes` of its tensor from `offset` on.
     * Layers and their tensor descriptors are UNTIL_FREE. data is of enum q35_lifetime: UNTIL_FREE
     * may be kept instead of copied; such a put covers a whole tensor and is 64-byte aligned.
     * Before commit succeeds weights cannot be run. [device] */
    enum q35_status (*weights_begin)(struct q35_device *dev, const struct q35_layer *layers,
                                     uint32_t layer_count, uint32_t layer_stride,
                                     struct q35_weights **out, struct q35_error *err);
    enum q35_status (*weights_put)(struct q35_weights *w, uint32_t layer, uint32_t role,
                                   uint64_t offset, const void *data, uint64_t bytes,
                                   uint32_t lifetime, struct q35_error *err);
    enum q35_status (*weights_commit)(struct q35_weights *w, struct q35_error *err);
    void (*weights_free)(struct q35_weights *w);

    /* A KV cache for the DECODER layers of w, freed before w. The plugin owns the storage, the host
     * the sequence ids and their lengths. CAPACITY if it does not fit. [device] */
    enum q35_status (*kv_create)(struct q35_device *dev, struct q35_weights *w,
                                 const struct q35_kv_spec *spec, struct q35_kv **out,
                                 struct q35_error *err);
    void (*kv_free)(struct q35_kv *kv);
    /* Keeps positions 0 .. length-1 of a sequence, all if it holds fewer; 0 forgets it. */
    enum q35_status (*kv_truncate)(struct q35_kv *kv, uint32_t sequence, uint32_t length,
                                   struct q35_error *err);
    /* dst becomes a copy of src's first `length` positions, whatever it was; storage may be shared
     * until written. INVALID if src holds fewer, or is dst. */
    enum q35_status (*kv_fork)(struct q35_kv *kv, uint32_t src, uint32_t dst, uint32_t length,
                               struct q35_error *err);

    /* Submits. CAPACITY if the KV is full. [device] */
    enum q35_status (*run_layers)(struct q35_device *dev, const struct q35_run *run,
                                  struct q35_error *err);
    /* Waits until `value` or a greater one has completed and returns the status of `value`'s
     * submit; TIMEOUT after timeout_ns (0: at once, UINT64_MAX: never). Results of the last 64
     * submits are kept; NOT_FOUND for an older value, and for one that no submit had. [any] */
    enum q35_status (*wait)(struct q35_device *dev, uint64_t value, uint64_t timeout_ns,
                            struct q35_error *err);
    /* The last completed value, 0 before any. [any] */
    enum q35_status (*poll)(struct q35_device *dev, uint64_t *value, struct q35_error *err);
    /* Asks submits up to `value`, perhaps still to come, to end early, with CANCELLED; they
     * complete all the same, and may also end as if not asked. [any] */
    enum q35_status (*cancel)(struct q35_device *dev, uint64_t value, struct q35_error *err);
    /* After DEVICE_LOST: makes the device usable again, all its objects gone but their handles
     * still to be freed. Its timeline goes on or starts anew: the host polls. [device] */
    enum q35_status (*reset)(struct q35_device *dev, struct q35_error *err);

    /* A constant table of functions, or NULL if id or version is unknown; measure.h has what there
     * is. [any] */
    const void *(*get_extension)(const char *id, uint32_t version);
};

typedef const struct q35_plugin *(*q35_plugin_query_fn)(uint32_t host_major, uint32_t host_minor);
/* What a plugin exports, declared here so that C++ gives it the right name. */
Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);

#ifdef __cplusplus
}
#endif
#endif
