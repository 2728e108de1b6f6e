/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef GROQ_LAYER_H
#define GROQ_LAYER_H

/* A whole layer on its chips: its steps one after the other, each a program of its own that is
 * scheduled and checked; and the memory it takes. */

#include "schedule.h"

/* What the time of a layer depends on. Zeroed before it is filled: compared byte by byte. */
struct groq_cost_key {
    uint32_t kind, d_model, n_heads, n_kv_heads, head_dim, d_ffn, vocab, window;
    uint32_t scheme[Q35_ROLE_COUNT]; /* of packed tensors, else 0 */
    uint32_t block[Q35_ROLE_COUNT];  /* of their rotation */
    uint32_t extra;                  /* bit per role: biases and norms that are there */
    uint32_t tokens, context, chips, weights;
};

#define GROQ_LAYER_STEPS 24u

struct groq_step {
    const char *name;
    uint32_t times; /* programs alike, one after the other: chunks of tokens */
    uint64_t cycles;
    uint64_t busy[TSP_U_COUNT]; /* issues of each kind of unit, over all chips */
    uint64_t instrs;
};

struct groq_layer_time {
    struct groq_layer_time *next;
    struct groq_cost_key key;
    uint64_t cycles;   /* of the steps together */
    uint64_t handover; /* cycles to pass the hidden states to the next layer's chips */
    uint32_t step_count;
    struct groq_step steps[GROQ_LAYER_STEPS];
};

enum q35_status groq_cost_key(struct groq_cost_key *key, const struct q35_layer *layer,
                              uint32_t tokens, uint32_t context, uint32_t chips,
                              enum groq_weights weights, struct q35_error *err);
/* Schedules and checks every step. INTERNAL, with the rule, if a schedule were not legal. */
enum q35_status groq_layer_time(struct groq_layer_time *out, const struct tsp *t,
                                const struct groq_cost_key *key, struct q35_error *err);

/* What a KV cache is to hold. */
struct groq_kv {
    uint64_t tokens;
    uint32_t type; /* enum q35_kv_type */
};

/* Memory of a layer spread over `chips`, in words of every slice. */
struct groq_layer_words {
    uint64_t weights; /* codes or int8, scales */
    uint64_t work;    /* tables and results, shared by the layers of a chip */
    uint64_t kv;      /* of the KV cache */
};
enum q35_status groq_layer_words(struct groq_layer_words *out, const struct tsp *t,
                                 const struct groq_cost_key *key, struct groq_kv kv,
                                 struct q35_error *err);

/* Layers over chips: each on `chips` adjacent ones, small ones together. */
struct groq_placement {
    uint32_t chips_per_layer; /* of decoder layers */
    uint32_t chips;           /* in use */
    uint64_t bytes;           /* of weights, with their padding */
    uint32_t most_layers;     /* decoder layers that share the same chips */
    uint32_t end_chips;       /* that compute HEAD */
    bool spare;               /* it lies in what the decoder layers left over */
    uint64_t host_bytes;      /* of the embedding, whose rows the host looks up */
};
/* CAPACITY, with the numbers, if they do not fit. per_layer 0: as few as each layer fits on. */
enum q35_status groq_place_layers(struct groq_placement *out, const struct groq_config *c,
                                  const struct q35_layer *layers, uint32_t count, uint32_t stride,
                                  struct groq_kv kv, struct q35_error *err);

#endif
