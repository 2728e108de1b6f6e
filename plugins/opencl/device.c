/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* One opened device: its queue and kernels, and the objects that live on it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "opencl.h"

/* ---- objects ------------------------------------------------------------------------------- */

void ocl_object_add(struct q35_device *dev, struct ocl_object *o,
                    void (*release)(struct ocl_object *o))
{
    o->dev = dev;
    o->release = release;
    o->prev = &dev->objects;
    o->next = dev->objects.next;
    o->next->prev = o;
    dev->objects.next = o;
}

void ocl_object_remove(struct ocl_object *o)
{
    if (!o->dead)
        o->release(o);
    o->prev->next = o->next;
    o->next->prev = o->prev;
    free(o);
}

enum q35_status ocl_lost(struct q35_error *err)
{
    ocl_fail(err, Q35_E_DEVICE_LOST, "the device was lost; reset or close it");
    err->radius = Q35_RADIUS_DEVICE_LOST;
    return Q35_E_DEVICE_LOST;
}

enum q35_status ocl_object_check(const struct ocl_object *o, const struct q35_device *dev,
                                 const char *what, struct q35_error *err)
{
    if (!o)
        return ocl_fail(err, Q35_E_INVALID, "%s is NULL", what);
    if (dev && o->dev != dev)
        return ocl_fail(err, Q35_E_INVALID, "%s is of another device", what);
    if (o->dead) {
        ocl_fail(err, Q35_E_DEVICE_LOST, "%s went with a reset", what);
        err->radius = Q35_RADIUS_KV;
        return Q35_E_DEVICE_LOST;
    }
    return o->dev->lost ? ocl_lost(err) : Q35_OK;
}

enum q35_status ocl_mem_create(struct q35_device *dev, cl_mem_flags flags, uint64_t bytes,
                               void *host, cl_mem *out, const char *what, struct q35_error *err)
{
    enum q35_status st = ocl_room(err);
    char text[80];
    cl_int code;
    *out = NULL;
    if (st)
        return st;
    if (bytes > dev->limits.max_alloc)
        return ocl_fail(err, Q35_E_CAPACITY,
                        "%s: %llu bytes, the device allocates at most %llu at once", what,
                        (unsigned long long)bytes, (unsigned long long)dev->limits.max_alloc);
    *out = clCreateBuffer(dev->shared->context, flags, bytes, host, &code);
    if (!code)
        return Q35_OK;
    *out = NULL;
    if (code == CL_OUT_OF_RESOURCES) /* of memory, in this place */
        code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    snprintf(text, sizeof(text), "%llu bytes for %s", (unsigned long long)bytes, what);
    return ocl_status(err, code, text);
}

/* ---- open, close, reset -------------------------------------------------------------------- */

/* Gives back what is on the device; handles of objects stay. */
static void forget(struct q35_device *dev)
{
    struct ocl_object *o;
    uint32_t i;
    for (o = dev->objects.next; o != &dev->objects; o = o->next)
        if (!o->dead) {
            o->release(o);
            o->dead = true;
        }
    ocl_scratch_free(dev);
    for (i = 0; i < K_COUNT; i++)
        if (dev->kernels[i])
            clReleaseKernel(dev->kernels[i]);
    if (dev->queue)
        clReleaseCommandQueue(dev->queue);
    memset(dev->kernels, 0, sizeof(dev->kernels));
    dev->queue = NULL;
    dev->shared = NULL;
}

static enum q35_status equip(struct q35_device *dev, struct q35_error *err)
{
    enum q35_status st =
        ocl_context_get(dev->choice.device, &dev->limits, dev->slices, &dev->shared, err);
    uint32_t i;
    cl_int code;
    if (st)
        return st;
    dev->queue = clCreateCommandQueue(dev->shared->context, dev->choice.device, 0, &code);
    for (i = 0; !code && i < K_COUNT; i++)
        dev->kernels[i] = clCreateKernel(dev->shared->program, ocl_kernel_names[i], &code);
    return ocl_status(err, code, "making a queue and kernels");
}

/* Products with more tokens than a work-group's memory holds are not used. */
static uint32_t token_limit(const struct q35_device *dev, uint32_t wanted)
{
    while (wanted > 1 && 1536 + (uint64_t)wanted * dev->slices * 512 > dev->limits.local_memory)
        wanted /= 2;
    return wanted;
}

static enum q35_status set_up(struct q35_device *dev, const struct ocl_settings *s,
                              struct q35_error *err)
{
    enum q35_status st = ocl_limits_read(dev->choice.device, &dev->limits, err);
    if (st)
        return st;
    if (dev->limits.max_group < 128)
        return ocl_fail(err, Q35_E_UNSUPPORTED, "work-groups of %zu items, 128 are needed",
                        dev->limits.max_group);
    if (dev->limits.local_memory < 16384)
        return ocl_fail(err, Q35_E_UNSUPPORTED, "%llu bytes of local memory, 16384 are needed",
                        (unsigned long long)dev->limits.local_memory);
    dev->slices = ocl_slices(s, &dev->limits);
    dev->tokens = token_limit(dev, s->tokens);
    dev->zero_copy = s->zero_copy < 0 ? dev->limits.unified : s->zero_copy > 0;
    return equip(dev, err);
}

enum q35_status ocl_open(const struct q35_host *host, const struct q35_options *options,
                         uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct ocl_choice choice;
    struct ocl_settings s;
    struct q35_device *dev;
    enum q35_status st;

    *out = NULL;
    st = ocl_room(err);
    if (!st)
        st = ocl_choose_one(options, index, &s, &choice, err);
    if (st)
        return st;
    dev = calloc(1, sizeof(*dev));
    if (!dev)
        return ocl_fail(err, Q35_E_NOMEM, "no memory for a device");
    st = ocl_time_init(&dev->time, err);
    if (st) {
        free(dev);
        return st;
    }
    dev->objects.prev = dev->objects.next = &dev->objects;
    dev->host = host;
    dev->choice = choice;
    ocl_driver_enter();
    st = set_up(dev, &s, err);
    ocl_driver_leave();
    if (st) {
        ocl_close(dev);
        return st;
    }
    *out = dev;
    return Q35_OK;
}

void ocl_close(struct q35_device *dev)
{
    if (!dev)
        return;
    if (dev->shared && dev->lost)
        ocl_context_retire(dev->shared);
    forget(dev);
    while (dev->objects.next != &dev->objects)
        ocl_object_remove(dev->objects.next);
    ocl_time_fini(&dev->time);
    free(dev);
}

enum q35_status ocl_reset(struct q35_device *dev, struct q35_error *err)
{
    enum q35_status st;
    if (dev->shared && dev->lost)
        ocl_context_retire(dev->shared);
    forget(dev);
    dev->lost = true;
    ocl_driver_enter();
    st = equip(dev, err);
    ocl_driver_leave();
    if (st)
        forget(dev);
    dev->lost = st != Q35_OK;
    return st;
}
