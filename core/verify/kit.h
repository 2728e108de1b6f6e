/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_VERIFY_KIT_H
#define Q35_CORE_VERIFY_KIT_H

/* What the checks share. Everything here happens in a check's child process. */

#include <stdio.h>

#include "core/plugin/registry.h"
#include "core/verify/rules.h"
#include "core/verify/session.h"
#include "core/verify/verify.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { VFY_SANITIZED = 1 };
#else
enum { VFY_SANITIZED = 0 };
#endif

/* In memory shared with the parent, which reads it when the child is gone. */
struct vfy_shared {
    char where[VFY_WHERE]; /* the slot being called */
    uint32_t finished;     /* the check ran to its end */
    uint32_t skipped;
    uint32_t finding_count;
    struct vfy_finding findings[VFY_FINDINGS];
    char note[VFY_TEXT];
    /* of the plugin, filled as soon as known */
    uint32_t abi_major, abi_minor, determinism;
    char name[64], version[64], device[64], device_id[64];
};

/* Host memory with canaries before it and an unmapped page behind it. */
struct vfy_mem {
    struct vfy_mem *next;
    const char *what;
    uint8_t *map;
    size_t map_bytes; /* without the guard page */
    uint8_t *data;
    size_t bytes;
    bool retired;
};

struct vfy {
    struct vfy_shared *sh;
    const char *path;
    uint64_t seed;
    bool quick;
    uint32_t device;
    const struct q35_options *plugin; /* or NULL */
    struct vfy_rng rng;
    struct q35_plugin_entry entry;
    struct q35_device_info info;
    struct vfy_dev d;
    struct q35_error err;
    struct vfy_mem *mems;
    int sentinels[2]; /* descriptors that belong to the host */
};

struct vfy_check {
    const char *name, *about;
    uint32_t seconds; /* deadline */
    bool (*run)(struct vfy *v);
};
extern const struct vfy_check vfy_checks[];
extern const uint32_t vfy_check_count;

/* Notes a finding. */
void vfy_fail(struct vfy *v, enum vfy_rule rule, const char *format, ...) Q35_PRINTF(3, 4);
void vfy_note(struct vfy *v, const char *format, ...) Q35_PRINTF(2, 3);
bool vfy_skip(struct vfy *v, const char *format, ...) Q35_PRINTF(2, 3); /* true */

/* In functions that return bool: false after noting a finding. */
#define EXPECT(v, condition, rule, ...)                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            vfy_fail(v, rule, __VA_ARGS__);                                                        \
            return false;                                                                          \
        }                                                                                          \
    } while (0)

/* A call that must succeed. */
bool vfy_ok(struct vfy *v, enum q35_status st, enum vfy_rule rule, const char *what);
/* A call that must fail, with *err filled; want is one acceptable status or 0 for any. */
bool vfy_refused(struct vfy *v, enum q35_status st, enum q35_status want, enum vfy_rule rule,
                 const char *what);

/* Loads the plugin; opens the device of the check. */
bool vfy_load(struct vfy *v);
bool vfy_open(struct vfy *v);
void vfy_close(struct vfy *v);

/* env.c: what a plugin must leave alone. */
struct vfy_env;
struct vfy_env *vfy_env_take(struct vfy *v);
bool vfy_env_compare(struct vfy *v, const struct vfy_env *before);
uint32_t vfy_count_fds(void);
uint32_t vfy_count_threads(void);
uint64_t vfy_resident_bytes(void);
void vfy_guard_install(struct vfy *v);

/* mem.c: NULL never; without memory the child ends with a finding of its own. */
void *vfy_mem(struct vfy *v, size_t bytes, const char *what);
void vfy_mem_protect(struct vfy *v, void *data, bool read_only);
void vfy_mem_free(struct vfy *v, void *data);
/* Like free, but whoever touches it later is found out: for good, or until so many more of the same
 * `what` have been retired. */
void vfy_mem_retire(struct vfy *v, void *data);
void vfy_mem_retire_few(struct vfy *v, void *data, uint32_t few);
bool vfy_mem_check(struct vfy *v);
const struct vfy_mem *vfy_mem_at(const struct vfy *v, const void *address);

/* A model, its oracle, its weights and KV on the device. */
struct vfy_rig {
    struct vfy_model *m;
    struct vfy_oracle *o;
    struct q35_weights *w;
    struct q35_kv *kv;
    uint32_t sequences, kv_tokens;
};
enum { VFY_MAX_TOKENS = 1024 };
enum { VFY_UNWRITTEN = 0xEE }; /* bytes of an output before its run */
/* supported: false if the device refuses the shape as UNSUPPORTED (then nothing was made). */
bool vfy_rig_open(struct vfy *v, struct vfy_rig *r, const struct vfy_shape *shape, uint64_t seed,
                  uint32_t sequences, uint32_t kv_tokens, bool *supported);
/* The same with r->m made by the caller (may be NULL: no memory). */
bool vfy_rig_adopt(struct vfy *v, struct vfy_rig *r, uint32_t sequences, uint32_t kv_tokens,
                   bool *supported);
void vfy_rig_close(struct vfy *v, struct vfy_rig *r);
/* A shape near the small one that the device takes, for checks that need any model at all. */
bool vfy_rig_any(struct vfy *v, struct vfy_rig *r, uint32_t sequences, uint32_t kv_tokens);

/* Runs layers on the device alone, inside guarded memory; out gets the result. */
bool vfy_rig_device(struct vfy *v, struct vfy_rig *r, uint32_t first, uint32_t count,
                    const struct q35_token *t, uint32_t n, const float *in, float *out,
                    enum q35_status *status);
/* The same with enum q35_run_flags; out: uint32_t[tokens with LOGITS] of a greedy HEAD. */
bool vfy_rig_flags(struct vfy *v, struct vfy_rig *r, uint32_t first, uint32_t count,
                   const struct q35_token *t, uint32_t n, const float *in, uint32_t flags,
                   void *out, enum q35_status *status);
/* Runs layers on device and oracle and compares under `rule`. what: for the finding. */
bool vfy_rig_step(struct vfy *v, struct vfy_rig *r, const struct q35_token *t, uint32_t n,
                  enum vfy_rule rule, const char *what);
/* n new tokens of one sequence from `position` on, all with logits, through all layers. */
bool vfy_rig_feed(struct vfy *v, struct vfy_rig *r, uint32_t sequence, uint32_t position,
                  uint32_t n, enum vfy_rule rule, const char *what);
uint64_t vfy_out_values(const struct vfy_rig *r, uint32_t first, uint32_t count,
                        const struct q35_token *t, uint32_t n);

/* What a run gave and what it should have: a row of each of its tokens, or of each with LOGITS. */
struct vfy_results {
    const float *got, *want; /* [rows][width] */
    uint32_t rows, width;
    const struct q35_token *tokens; /* [n_tokens], or NULL: a row is the token of its number */
    uint32_t n_tokens;
};
/* got against want in the device's class; exact forces bit equality. The finding says which values
 * differ, in whose rows, and what they have in common. */
bool vfy_same(struct vfy *v, const struct vfy_results *r, bool exact, enum vfy_rule rule,
              const char *what);

/* The checks. */
bool vfy_check_load(struct vfy *v);
bool vfy_check_descriptor(struct vfy *v);
bool vfy_check_devices(struct vfy *v);
bool vfy_check_open(struct vfy *v);
bool vfy_check_supports(struct vfy *v);
bool vfy_check_plan(struct vfy *v);
bool vfy_check_buffers(struct vfy *v);
bool vfy_check_upload(struct vfy *v);
bool vfy_check_upload_errors(struct vfy *v);
bool vfy_check_decode(struct vfy *v);
bool vfy_check_products(struct vfy *v);
bool vfy_check_layers(struct vfy *v);
bool vfy_check_contexts(struct vfy *v);
bool vfy_check_batch(struct vfy *v);
bool vfy_check_kv(struct vfy *v);
bool vfy_check_kv_random(struct vfy *v);
bool vfy_check_capacity(struct vfy *v);
bool vfy_check_int8_layers(struct vfy *v);
bool vfy_check_int8_contexts(struct vfy *v);
bool vfy_check_int8_kv(struct vfy *v);
bool vfy_check_greedy(struct vfy *v);
bool vfy_check_timeline(struct vfy *v);
bool vfy_check_cancel(struct vfy *v);
bool vfy_check_threads(struct vfy *v);
bool vfy_check_invalid(struct vfy *v);
bool vfy_check_starved(struct vfy *v);
bool vfy_check_reset(struct vfy *v);
bool vfy_check_leaks(struct vfy *v);
bool vfy_check_longer(struct vfy *v);
bool vfy_check_extensions(struct vfy *v);

#endif
