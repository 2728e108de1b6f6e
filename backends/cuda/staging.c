/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Transfers between ordinary host memory and the GPU, through a few pinned chunks: while one is
 * being filled the others are on their way. */

#include "impl.h"

/* The next chunk, once the device has done with it. */
static enum q35_status chunk_take(struct q35_device *dev, uint32_t *out, struct q35_error *err)
{
    struct cuda_staging *g = &dev->staging;
    uint32_t i = g->next;
    enum q35_status st = Q35_OK;
    if (!g->data[i])
        st = cuda_check(dev, dev->cu->MemHostAlloc(&g->data[i], CUDA_STAGE_BYTES, 0),
                        "pinning memory to stage transfers", err);
    if (!st && !g->done[i])
        st = cuda_check(dev, dev->cu->EventCreate(&g->done[i], CU_EVENT_DISABLE_TIMING),
                        "creating an event", err);
    if (!st && g->busy[i])
        st = cuda_check(dev, dev->cu->EventSynchronize(g->done[i]), "a transfer to the GPU", err);
    if (st)
        return st;
    g->busy[i] = false;
    g->next = (i + 1) % CUDA_STAGES;
    *out = i;
    return Q35_OK;
}

enum q35_status cuda_upload(struct q35_device *dev, cu_ptr to, const void *data, uint64_t bytes,
                            struct q35_error *err)
{
    const uint8_t *from = data;
    while (bytes) {
        uint64_t n = bytes < CUDA_STAGE_BYTES ? bytes : CUDA_STAGE_BYTES;
        uint32_t i;
        enum q35_status st = chunk_take(dev, &i, err);
        if (st)
            return st;
        memcpy(dev->staging.data[i], from, n);
        st = cuda_check(dev, dev->cu->MemcpyHtoDAsync(to, dev->staging.data[i], n, dev->stream),
                        "a transfer to the GPU", err);
        if (!st)
            st = cuda_check(dev, dev->cu->EventRecord(dev->staging.done[i], dev->stream),
                            "a transfer to the GPU", err);
        if (st)
            return st;
        dev->staging.busy[i] = true;
        to += n;
        from += n;
        bytes -= n;
    }
    return Q35_OK;
}

enum q35_status cuda_download(struct q35_device *dev, void *data, cu_ptr from, uint64_t bytes,
                              struct q35_error *err)
{
    uint8_t *to = data;
    while (bytes) {
        uint64_t n = bytes < CUDA_STAGE_BYTES ? bytes : CUDA_STAGE_BYTES;
        uint32_t i;
        enum q35_status st = chunk_take(dev, &i, err);
        if (!st)
            st = cuda_check(dev,
                            dev->cu->MemcpyDtoHAsync(dev->staging.data[i], from, n, dev->stream),
                            "a transfer from the GPU", err);
        if (!st)
            st = cuda_check(dev, dev->cu->StreamSynchronize(dev->stream), "a transfer from the GPU",
                            err);
        if (st)
            return st;
        memcpy(to, dev->staging.data[i], n);
        to += n;
        from += n;
        bytes -= n;
    }
    return Q35_OK;
}

void cuda_staging_fini(struct q35_device *dev)
{
    uint32_t i;
    for (i = 0; i < CUDA_STAGES; i++) {
        if (dev->staging.data[i])
            (void)dev->cu->MemFreeHost(dev->staging.data[i]);
        if (dev->staging.done[i])
            (void)dev->cu->EventDestroy(dev->staging.done[i]);
    }
    memset(&dev->staging, 0, sizeof(dev->staging));
}
