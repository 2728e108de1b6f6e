/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Device memory for hidden states. */

#include <stdlib.h>

#include "opencl.h"

static void buffer_release(struct ocl_object *o)
{
    struct q35_buffer *b = (struct q35_buffer *)(void *)o;
    if (b->mem)
        clReleaseMemObject(b->mem);
    b->mem = NULL;
}

enum q35_status ocl_buffer_alloc(struct q35_device *dev, uint64_t bytes, struct q35_buffer **out,
                                 struct q35_error *err)
{
    struct q35_buffer *b;
    enum q35_status st;
    *out = NULL;
    if (dev->lost)
        return ocl_lost(err);
    if (!bytes)
        return ocl_fail(err, Q35_E_INVALID, "a buffer of no bytes");
    b = calloc(1, sizeof(*b));
    if (!b)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a buffer");
    st = ocl_mem_create(dev, CL_MEM_READ_WRITE, bytes, NULL, &b->mem, "a buffer", err);
    if (st) {
        free(b);
        return st;
    }
    b->bytes = bytes;
    ocl_object_add(dev, &b->object, buffer_release);
    *out = b;
    return Q35_OK;
}

void ocl_buffer_free(struct q35_buffer *buffer)
{
    if (buffer)
        ocl_object_remove(&buffer->object);
}

static enum q35_status check(const struct q35_buffer *b, uint64_t offset, const void *data,
                             uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = ocl_object_check(b ? &b->object : NULL, NULL, "buffer", err);
    if (!st && (offset > b->bytes || bytes > b->bytes - offset))
        st = ocl_fail(err, Q35_E_INVALID, "bytes %llu + %llu of a buffer of %llu",
                      (unsigned long long)offset, (unsigned long long)bytes,
                      (unsigned long long)b->bytes);
    if (!st && bytes && !data)
        st = ocl_fail(err, Q35_E_INVALID, "data is NULL");
    return st;
}

enum q35_status ocl_buffer_write(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                 uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = check(buffer, offset, data, bytes, err);
    if (st || !bytes)
        return st;
    return ocl_status(err,
                      clEnqueueWriteBuffer(buffer->object.dev->queue, buffer->mem, CL_TRUE, offset,
                                           bytes, data, 0, NULL, NULL),
                      "writing a buffer");
}

enum q35_status ocl_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = check(buffer, offset, data, bytes, err);
    if (st || !bytes)
        return st;
    return ocl_status(err,
                      clEnqueueReadBuffer(buffer->object.dev->queue, buffer->mem, CL_TRUE, offset,
                                          bytes, data, 0, NULL, NULL),
                      "reading a buffer");
}
