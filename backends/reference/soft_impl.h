/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_SOFT_IMPL_H
#define Q35_SOFT_IMPL_H

/* What the files of the software device share. Nothing here is for its users. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "q35/arith.h"
#include "soft.h"
#include "soft_layer.h"
#include "soft_pages.h"
#include "soft_parts.h"

/* Bytes up to the end of a field: what the first writer of a struct filled. */
#define SOFT_UP_TO(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

#define SOFT_GREEDY_ROWS 32u /* tokens whose logits a greedy run holds at once */
#define SOFT_KV_TYPES 2u     /* enum q35_kv_type */

/* Head of every object a device owns, so that close and reset find them all. */
struct soft_object {
    struct soft_object *prev, *next;
    struct q35_device *dev;
    void (*release)(struct soft_object *o); /* frees the contents, not the handle */
    bool dead;                              /* a reset took its contents */
};

struct soft_timeline {
    pthread_mutex_t lock;
    pthread_cond_t done;
    uint64_t submitted; /* read and written by the one thread that submits */
    uint64_t completed;
    _Atomic uint64_t cancelled; /* submits up to here end early */
    struct soft_results results;
    bool lock_made, cond_made;
};

/* One allocation, carved for a batch of n tokens. */
struct soft_scratch {
    uint8_t *block;
    uint64_t bytes;
    float *x;                      /* [n][d_model] hidden state */
    float *h;                      /* [n][d_model] normalised, or what is added to x */
    float *q;                      /* [n][q_dim] */
    float *k;                      /* [n][kv_dim] */
    float *v;                      /* [n][kv_dim] */
    float *att;                    /* [n][q_dim] */
    float *gate;                   /* [n][d_ffn] */
    float *up;                     /* [n][d_ffn] */
    float *cos_sin;                /* [n][rope_dim] */
    float *token_scales;           /* [n] */
    int8_t *q8;                    /* [n][widest padded column count] */
    uint32_t *positions;           /* [n] */
    const uint16_t *const **pages; /* [n] */
    float *logits;                 /* [n, SOFT_GREEDY_ROWS at most][vocab] of a greedy run */
};

struct q35_device {
    struct soft_object objects; /* list head */
    struct q35_ops ops;         /* all slots set */
    q35_soft_layer_fn layer;    /* instead of ops, or NULL */
    uint64_t (*hash)(void *user, const uint8_t *data, uint64_t bytes, uint64_t first_byte);
    void *user;
    void (*user_close)(void *user);
    uint32_t (*greedy)(void *user, const float *x, uint32_t n);
    float (*quantize_head)(void *user, const float *x, uint32_t n, int8_t *q);
    enum q35_status (*matmul_then)(void *user, const struct q35_matmul_args *a,
                                   enum q35_soft_then then, float *into, struct q35_error *err);
    uint32_t features; /* enum q35_features */
    uint32_t max_batch, max_sequences;
    uint64_t memory; /* of the machine: more is never tried */
    bool lost;
    struct soft_timeline time;
    struct soft_scratch scratch;
    /* Of an inheriting plugin, called with `user` as their device; else NULL. */
    void (*own_close)(struct q35_device *dev);
    enum q35_status (*own_supports)(struct q35_device *dev, const struct q35_layer *layer,
                                    struct q35_error *err);
    enum q35_status (*own_plan)(struct q35_device *dev, const struct q35_plan_request *request,
                                struct q35_plan_result *result, struct q35_error *err);
};

struct q35_buffer {
    struct soft_object object;
    uint8_t *data;
    uint64_t bytes;
};

struct soft_tensor {
    struct q35_tensor_desc desc; /* bytes 0: the layer has no such tensor */
    const uint8_t *data;
    uint8_t *owned; /* data, if it was copied */
    struct soft_extents arrived;
    uint64_t hash;
};

struct soft_layer {
    struct q35_layer desc; /* tensors: NULL */
    struct soft_tensor tensors[Q35_ROLE_COUNT];
    struct q35_matrix mats[Q35_ROLE_COUNT]; /* of packed tensors, after commit */
    uint32_t prepared;                      /* bit per role: matrix_prepare has run */
    uint32_t kv_index;                      /* number among the DECODER layers */
    uint64_t kv_offset[SOFT_KV_TYPES];      /* of its part of a page, in bytes */
};

struct q35_weights {
    struct soft_object object;
    struct soft_layer *layers;
    uint32_t layer_count;
    uint32_t decoder_count;
    uint64_t page_bytes[SOFT_KV_TYPES]; /* of one KV page over all layers */
    struct soft_dims dims;
    bool committed;
};

struct q35_kv {
    struct soft_object object;
    struct q35_weights *weights;
    struct soft_pages pages;
    uint32_t type; /* enum q35_kv_type */
    uint64_t page_bytes;
    uint8_t *pool; /* [page_count][page_bytes] */
    uint64_t pool_bytes;
    void *map; /* holds the pool */
    uint64_t map_bytes;
    const uint16_t **addresses; /* [max_sequences][page_count] for one layer */
};

/* soft_device.c */
void soft_object_add(struct q35_device *dev, struct soft_object *o,
                     void (*release)(struct soft_object *o));
void soft_object_remove(struct soft_object *o);
enum q35_status soft_object_check(const struct soft_object *o, const char *what,
                                  struct q35_error *err);
enum q35_status soft_lost(struct q35_error *err);
/* OK, or UNSUPPORTED if the device has no KV cache of that type. */
enum q35_status soft_kv_type_check(const struct q35_device *dev, uint32_t type,
                                   struct q35_error *err);

/* soft_timeline.c */
enum q35_status soft_timeline_init(struct soft_timeline *t, struct q35_error *err);
void soft_timeline_fini(struct soft_timeline *t);
enum q35_status soft_timeline_check(struct soft_timeline *t, uint64_t value, struct q35_error *err);
void soft_timeline_complete(struct soft_timeline *t, uint64_t value, const struct q35_error *err);
bool soft_timeline_cancelled(struct soft_timeline *t, uint64_t value);

/* soft_exec.c */
uint64_t soft_scratch_bytes(const struct soft_dims *dims, uint32_t n_tokens);
enum q35_status soft_scratch_carve(struct soft_scratch *s, const struct soft_dims *dims,
                                   uint32_t n_tokens, struct q35_error *err);

/* One batch on its way through the layers. */
struct soft_batch {
    struct q35_device *dev;
    struct soft_scratch *s;
    struct q35_kv *kv;
    const uint8_t *tokens; /* struct q35_token, token_stride apart */
    uint32_t token_stride;
    uint32_t n_tokens;
    uint32_t n_logits;
    float *logits;          /* [n_logits][vocab], or */
    uint32_t *ids;          /* [n_logits] of a greedy run, else NULL */
    const float *rope_freq; /* frequencies that scratch.cos_sin was made from, or NULL */
    uint32_t rope_dim;
};
static inline const struct q35_token *soft_token(const struct soft_batch *b, uint32_t i)
{
    return (const struct q35_token *)(const void *)(b->tokens + (uint64_t)i * b->token_stride);
}
enum q35_status soft_exec_layer(struct soft_batch *b, const struct soft_layer *l,
                                struct q35_error *err);

/* soft_kv.c */
/* Bytes beside the pool; 0 on overflow. */
uint64_t soft_kv_tables_bytes(uint64_t pages, uint32_t max_sequences, uint32_t decoders);
/* Groups the batch by sequence and checks positions against what those layers hold. */
enum q35_status soft_kv_admit(struct q35_kv *kv, const struct soft_batch *b, uint32_t first,
                              uint32_t count, struct q35_error *err);
/* Makes every page that the admitted batch writes present and unshared, or changes nothing. */
enum q35_status soft_kv_reserve(struct q35_kv *kv, struct q35_error *err);
/* Points s->pages at this layer's pages, which hold the batch's positions from now on. */
void soft_kv_point(const struct soft_batch *b, const struct soft_layer *l);
/* The same, and stores k, v [n][kv_dim]. */
void soft_kv_store(const struct soft_batch *b, const struct soft_layer *l);

#endif
