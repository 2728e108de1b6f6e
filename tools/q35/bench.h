/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_BENCH_H
#define Q35_TOOLS_BENCH_H

/* What the speed benchmarks share: a model on one device, driven through the plugin ABI, and the
 * ceilings of the machine, measured beside it. */

#include "core/model/model.h"
#include "core/plugin/registry.h"

/* ---- a model on a device ------------------------------------------------------------------- */

struct bench_options {
    const char *backend; /* name of a plugin or path */
    const char *threads; /* options of the backend; NULL: not set */
    const char *isa;
    bool profile;    /* the backend's option of that name */
    const char *set; /* "KEY=VALUE,..." for the backend */
    uint32_t sequences;
    uint32_t context; /* positions of each */
    uint32_t kv_type; /* enum q35_kv_type */
};

/* Zeroed: closed. */
struct bench_device {
    struct q35_config *config;
    struct q35_registry *registry;
    struct q35_device_entry *device;
    const struct q35_model *model;
    struct q35_weights *weights;
    struct q35_kv *kv;
    struct q35_token *tokens; /* [2048] */
    float *logits;            /* [sequences][vocab] */
    uint32_t sequences;
    uint64_t signal;
    double load_seconds; /* to upload and check the weights */
};

enum q35_status bench_open(struct bench_device *b, const struct q35_model *model,
                           const struct bench_options *options, struct q35_error *err);
/* The device alone, without a model: for layers of one's own. */
enum q35_status bench_open_device(struct bench_device *b, const struct bench_options *options,
                                  struct q35_error *err);
/* A simulator that knows its own speed (q35/measure.h). */
bool bench_has_report(const struct bench_device *b);
/* Prints its report; returns the exit status. The model needs no data. */
struct cli;
int bench_report(struct cli *cli, const struct bench_device *b, const struct q35_model *model,
                 uint32_t batch, uint32_t context, bool json);
/* Tolerates a half-open one. Does not close the model. */
void bench_close(struct bench_device *b);
/* Feeds n made-up tokens to a sequence from position `start` on, in chunks of up to 2048; logits
 * for the last one alone. */
enum q35_status bench_prefill(struct bench_device *b, uint32_t sequence, uint32_t start, uint32_t n,
                              struct q35_error *err);
/* One token for each of the first n sequences, at `position`, with logits. */
enum q35_status bench_decode(struct bench_device *b, uint32_t n, uint32_t position,
                             struct q35_error *err);
/* Sequences 1 .. n - 1 become copies of sequence 0. */
enum q35_status bench_fork(struct bench_device *b, uint32_t n, uint32_t length,
                           struct q35_error *err);
/* Bytes of KV that one token at `position` reads. */
uint64_t bench_kv_bytes(const struct q35_model *model, uint32_t kv_type, uint32_t position);

/* ---- ceilings ------------------------------------------------------------------------------- */

struct bench_reader; /* threads that read the data of a model */

/* NULL if out of memory or the model has no data. */
struct bench_reader *bench_reader_create(const struct q35_model *model, uint32_t threads);
/* The same over one stretch of memory. */
struct bench_reader *bench_reader_over(const uint8_t *data, uint64_t bytes, uint32_t threads);
void bench_reader_destroy(struct bench_reader *r);
/* Reads all of it once, `streams` (1, 2, 4 or 8) places at a time in each thread; bytes per second.
 */
double bench_read(struct bench_reader *r, uint32_t streams);

/* The best of some passes with each number of streams; *streams (may be NULL): which that was. */
double bench_read_best(struct bench_reader *r, uint32_t *streams);

/* int8 multiply-adds times 2, per second, that `threads` threads do on registers with the widest
 * vectors of this CPU; 0 if it is not known for this CPU. `what` names the instruction. */
double bench_int8_peak(uint32_t threads, const char **what);

/* CPUs that this process may use. */
uint32_t bench_cpus(void);

int bench_compare(const void *a, const void *b); /* doubles, for qsort */
double bench_median(double *values, uint32_t n); /* sorts */

#endif
