/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "core/verify/session.h"

#include <stdio.h>
#include <string.h>

void vfy_enter(const struct vfy_dev *d, const char *slot)
{
    if (d->where)
        snprintf(d->where, VFY_WHERE, "%s", slot);
}

enum q35_status vfy_begin(struct vfy_dev *d, const struct vfy_model *m, struct q35_weights **out,
                          struct q35_error *err)
{
    *out = NULL;
    return VFY_CALL(d, weights_begin, d->dev, m->layers, m->layer_count,
                    (uint32_t)sizeof(struct q35_layer), out, err);
}

enum q35_status vfy_upload(struct vfy_dev *d, const struct vfy_model *m, uint32_t lifetime,
                           struct q35_weights **out, struct q35_error *err)
{
    enum q35_status st = vfy_begin(d, m, out, err);
    uint32_t i, t;
    for (i = 0; !st && i < m->layer_count; i++)
        for (t = 0; !st && t < m->layers[i].tensor_count; t++) {
            const struct q35_tensor_desc *desc = &m->layers[i].tensors[t];
            st = VFY_CALL(d, weights_put, *out, i, desc->role, 0,
                          vfy_tensor(m, i, desc->role)->data, desc->bytes, lifetime, err);
        }
    if (!st)
        st = VFY_CALL(d, weights_commit, *out, err);
    if (st && *out) {
        VFY_CALL(d, weights_free, *out);
        *out = NULL;
    }
    return st;
}

enum q35_status vfy_kv(struct vfy_dev *d, struct q35_weights *w, uint32_t max_sequences,
                       uint32_t kv_tokens, struct q35_kv **out, struct q35_error *err)
{
    struct q35_kv_spec spec = {.size = sizeof(spec),
                               .max_sequences = max_sequences,
                               .kv_tokens = kv_tokens,
                               .type = d->kv_type};
    *out = NULL;
    return VFY_CALL(d, kv_create, d->dev, w, &spec, out, err);
}

struct q35_run vfy_job_run(struct vfy_dev *d, const struct vfy_job *job)
{
    return (struct q35_run){.size = sizeof(struct q35_run),
                            .first = job->first,
                            .count = job->count,
                            .n_tokens = job->n,
                            .token_stride = sizeof(struct q35_token),
                            .flags = job->flags,
                            .weights = job->w,
                            .kv = job->kv,
                            .tokens = job->tokens,
                            .in = {.host = (void *)(uintptr_t)job->in, .bytes = job->in_bytes},
                            .out = {.host = job->out, .bytes = job->out_bytes},
                            .signal = ++d->signal};
}

enum q35_status vfy_submit(struct vfy_dev *d, const struct vfy_job *job, struct q35_error *err)
{
    const struct q35_run run = vfy_job_run(d, job);
    return VFY_CALL(d, run_layers, d->dev, &run, err);
}

enum q35_status vfy_run(struct vfy_dev *d, const struct vfy_job *job, struct q35_error *err)
{
    enum q35_status st = vfy_submit(d, job, err);
    return st ? st : VFY_CALL(d, wait, d->dev, d->signal, VFY_RUN_TIMEOUT_NS, err);
}

void vfy_tokens(struct q35_token *t, uint32_t n, uint32_t sequence, uint32_t position,
                uint32_t vocab, bool logits, struct vfy_rng *r)
{
    uint32_t i;
    for (i = 0; i < n; i++)
        t[i] = (struct q35_token){.id = (int32_t)vfy_below(r, vocab),
                                  .sequence = sequence,
                                  .position = position + i,
                                  .flags = logits ? Q35_TOKEN_LOGITS : 0};
}
