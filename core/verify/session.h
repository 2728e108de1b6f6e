/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_VERIFY_SESSION_H
#define Q35_CORE_VERIFY_SESSION_H

/* Driving one device through a descriptor: upload, KV, runs. Used by the kit and by tests. */

#include "core/verify/model.h"

enum { VFY_WHERE = 64 };
#define VFY_RUN_TIMEOUT_NS 120000000000u

struct vfy_dev {
    const struct q35_plugin *api; /* every slot set */
    struct q35_device *dev;
    uint64_t signal;  /* the last one used */
    uint32_t kv_type; /* of the caches that vfy_kv makes */
    char *where;      /* [VFY_WHERE] receives the slot being called, or NULL */
};

void vfy_enter(const struct vfy_dev *d, const char *slot);
/* Calls api->slot, leaving a note of it for whoever finds the process dead. */
#define VFY_CALL(d, slot, ...) (vfy_enter(d, #slot), (d)->api->slot(__VA_ARGS__))

/* begin, one whole put a tensor, commit. *out NULL on failure. UNTIL_FREE needs m to outlive it. */
enum q35_status vfy_upload(struct vfy_dev *d, const struct vfy_model *m, uint32_t lifetime,
                           struct q35_weights **out, struct q35_error *err);
enum q35_status vfy_begin(struct vfy_dev *d, const struct vfy_model *m, struct q35_weights **out,
                          struct q35_error *err);
enum q35_status vfy_kv(struct vfy_dev *d, struct q35_weights *w, uint32_t max_sequences,
                       uint32_t kv_tokens, struct q35_kv **out, struct q35_error *err);

/* What a run needs beside tokens. */
struct vfy_job {
    struct q35_weights *w;
    struct q35_kv *kv;
    uint32_t first, count;
    const struct q35_token *tokens;
    uint32_t n;
    const float *in;
    uint64_t in_bytes;
    void *out;
    uint64_t out_bytes;
    uint32_t flags; /* enum q35_run_flags */
};
/* The run of a job, with the next signal; d->signal is that signal. */
struct q35_run vfy_job_run(struct vfy_dev *d, const struct vfy_job *job);
/* Submits it. */
enum q35_status vfy_submit(struct vfy_dev *d, const struct vfy_job *job, struct q35_error *err);
/* Submits and waits; the submit's status. */
enum q35_status vfy_run(struct vfy_dev *d, const struct vfy_job *job, struct q35_error *err);

/* n tokens of one sequence from `position` on, with random ids; LOGITS on all if logits. */
void vfy_tokens(struct q35_token *t, uint32_t n, uint32_t sequence, uint32_t position,
                uint32_t vocab, bool logits, struct vfy_rng *r);

#endif
