/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* One opened device: its queue and kernels, what it takes and what that needs. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl.h"

static void forget(struct ocl_device *d)
{
    uint32_t i;
    if (d->queue)
        ocl_scratch_free(d);
    for (i = 0; i < VARIANTS; i++)
        if (d->kernels[i])
            clReleaseKernel(d->kernels[i]);
    if (d->queue)
        clReleaseCommandQueue(d->queue);
    memset(d->kernels, 0, sizeof(d->kernels));
    d->queue = NULL;
    d->shared = NULL;
}

static enum q35_status equip(struct ocl_device *d, struct q35_error *err)
{
    static const char *const names[VARIANTS] = {"matmul_1", "matmul_2", "matmul_4", "matmul_8",
                                                "matmul_16"};
    enum q35_status st = ocl_context_get(d->choice.device, d->slices, &d->shared, err);
    uint32_t i;
    cl_int code;
    if (st)
        return st;
    d->queue = clCreateCommandQueue(d->shared->context, d->choice.device, 0, &code);
    if (code)
        return ocl_status(err, code, "clCreateCommandQueue");
    for (i = 0; i < VARIANTS; i++) {
        d->kernels[i] = clCreateKernel(d->shared->program, names[i], &code);
        if (code)
            return ocl_status(err, code, "clCreateKernel");
    }
    return Q35_OK;
}

/* Kernels for more tokens than a work-group's memory holds are not used. */
static uint32_t token_limit(const struct ocl_device *d, uint32_t wanted)
{
    while (wanted > 1 && 1024 + (uint64_t)wanted * d->slices * 512 > d->limits.local_memory)
        wanted /= 2;
    return wanted;
}

enum q35_status ocl_revive(struct ocl_device *d, struct q35_error *err)
{
    enum q35_status st;
    ocl_context_retire(d->shared);
    forget(d);
    st = equip(d, err);
    if (!st)
        d->lost = false;
    return st;
}

void ocl_close(struct q35_device *dev)
{
    struct ocl_device *d = (struct ocl_device *)dev;
    if (!d)
        return;
    if (d->shared && d->lost)
        ocl_context_retire(d->shared);
    forget(d);
    free(d);
}

enum q35_status ocl_open(const struct q35_host *host, const struct q35_options *options,
                         uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct ocl_choice choices[MAX_DEVICES];
    struct ocl_settings s;
    struct ocl_device *d;
    uint32_t count;
    enum q35_status st;

    *out = NULL;
    st = ocl_settings_read(options, &s, err);
    if (!st)
        st = ocl_choose(&s, choices, &count, err);
    if (st)
        return st;
    if (index >= count)
        return ocl_fail(err, Q35_E_NOT_FOUND, "device %u of %u", index, count);
    d = calloc(1, sizeof(*d));
    if (!d)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a device");
    d->host = host;
    d->choice = choices[index];
    ocl_driver_enter();
    st = ocl_limits_read(d->choice.device, &d->limits, err);
    if (!st) {
        d->slices = ocl_slices(&s, &d->limits);
        d->tokens = token_limit(d, s.tokens);
        d->zero_copy = s.zero_copy < 0 ? d->limits.unified : s.zero_copy > 0;
        if (d->limits.max_group < 128)
            st = ocl_fail(err, Q35_E_UNSUPPORTED, "work-groups of %zu items, 128 are needed",
                          d->limits.max_group);
    }
    if (!st)
        st = equip(d, err);
    ocl_driver_leave();
    if (st) {
        ocl_close((struct q35_device *)d);
        return st;
    }
    *out = (struct q35_device *)d;
    return Q35_OK;
}

/* ---- supports, plan ------------------------------------------------------------------------ */

static const struct q35_tensor_desc *tensor(const struct q35_layer *l, uint32_t i)
{
    return (const void *)((const uint8_t *)l->tensors + (uint64_t)i * l->tensor_stride);
}

/* The host has checked shapes and roles; what is left is the device's largest allocation. */
enum q35_status ocl_supports(struct q35_device *dev, const struct q35_layer *layer,
                             struct q35_error *err)
{
    const struct ocl_device *d = (const struct ocl_device *)dev;
    uint32_t i;
    for (i = 0; i < layer->tensor_count; i++) {
        const struct q35_tensor_desc *t = tensor(layer, i);
        if (t->bytes > d->limits.max_alloc)
            return ocl_fail(err, Q35_E_UNSUPPORTED,
                            "a tensor of %llu bytes, the device allocates at most %llu at once",
                            (unsigned long long)t->bytes, (unsigned long long)d->limits.max_alloc);
    }
    return Q35_OK;
}

/* Which roles are multiplied together, in one launch. */
static uint32_t launch_of(uint32_t role)
{
    switch (role) {
    case Q35_ROLE_Q:
    case Q35_ROLE_K:
    case Q35_ROLE_V:
        return 0;
    case Q35_ROLE_GATE:
    case Q35_ROLE_UP:
        return 1;
    case Q35_ROLE_O:
        return 2;
    case Q35_ROLE_DOWN:
        return 3;
    default:
        return 4;
    }
}

static void plan_layer(const struct ocl_device *d, const struct q35_layer *l, uint32_t batch,
                       uint64_t *weights, uint64_t *in_place, uint64_t *scratch)
{
    uint64_t rows[5] = {0}, bytes;
    uint32_t cols[5] = {0}, i;
    for (i = 0; i < l->tensor_count; i++) {
        const struct q35_tensor_desc *t = tensor(l, i);
        uint32_t at = launch_of(t->role);
        if (t->type != Q35_TENSOR_PACKED) {
            *weights += t->bytes; /* biases; norms are the host's */
            continue;
        }
        *(d->zero_copy ? in_place : weights) += ocl_matrix_bytes(t->scheme, t->rows, t->cols);
        rows[at] += t->rows;
        cols[at] = q35_pad_cols(t->cols);
    }
    for (i = 0; i < 5; i++) {
        bytes = rows[i] ? ocl_scratch_bytes(batch, rows[i], cols[i]) : 0;
        *scratch = bytes > *scratch ? bytes : *scratch;
    }
}

/* *result holds what the host needs for its side; this adds the device's. */
enum q35_status ocl_plan(struct q35_device *dev, const struct q35_plan_request *request,
                         struct q35_plan_result *result, struct q35_error *err)
{
    const struct ocl_device *d = (const struct ocl_device *)dev;
    uint64_t weights = 0, in_place = 0, scratch = 0;
    uint32_t i;
    for (i = 0; i < request->layer_count; i++) {
        const struct q35_layer *l =
            (const void *)((const uint8_t *)request->layers + (uint64_t)i * request->layer_stride);
        plan_layer(d, l, request->max_batch, &weights, &in_place, &scratch);
    }
    if (weights + in_place + scratch > d->limits.memory)
        return ocl_fail(err, Q35_E_CAPACITY, "%llu bytes on a device of %llu",
                        (unsigned long long)(weights + in_place + scratch),
                        (unsigned long long)d->limits.memory);
    result->weight_bytes += weights;
    result->scratch_bytes += scratch;
    return Q35_OK;
}
