/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Opening, closing and resetting a GPU; objects; buffers. */

#include "impl.h"

/* One bit for each cuda_enter of this thread that is open: whether there is something to pop. */
static _Thread_local uint32_t pushed;

void cuda_enter(struct q35_device *dev)
{
    bool ok = dev->ctx && !dev->cu->CtxPushCurrent(dev->ctx);
    pushed = pushed << 1 | ok; /* a failure shows in the calls that follow */
}

void cuda_leave(struct q35_device *dev)
{
    cu_ctx old;
    if (pushed & 1u)
        (void)dev->cu->CtxPopCurrent(&old);
    pushed >>= 1;
}

enum q35_status cuda_check(struct q35_device *dev, cu_result code, const char *what,
                           struct q35_error *err)
{
    if (!code)
        return Q35_OK;
    if (cu_is_sticky(code))
        atomic_store(&dev->lost, true);
    return cu_fail(dev->cu, err, code, what);
}

enum q35_status cuda_lost(struct q35_error *err)
{
    q35_soft_fail(err, Q35_E_DEVICE_LOST, "the GPU is lost, reset it");
    if (err)
        err->radius = Q35_RADIUS_DEVICE_LOST;
    return Q35_E_DEVICE_LOST;
}

enum q35_status cuda_object_check(const struct cuda_object *o, const char *what,
                                  struct q35_error *err)
{
    if (!o)
        return q35_soft_fail(err, Q35_E_INVALID, "%s is NULL", what);
    if (atomic_load(&o->dev->lost))
        return cuda_lost(err);
    if (o->dead) {
        q35_soft_fail(err, Q35_E_DEVICE_LOST, "%s was lost in a reset", what);
        if (err)
            err->radius = Q35_RADIUS_DEVICE_LOST;
        return Q35_E_DEVICE_LOST;
    }
    return Q35_OK;
}

void cuda_object_add(struct q35_device *dev, struct cuda_object *o,
                     void (*release)(struct cuda_object *o))
{
    o->dev = dev;
    o->release = release;
    o->prev = dev->objects.prev;
    o->next = &dev->objects;
    o->prev->next = o;
    o->next->prev = o;
}

/* Runs in flight may still use the contents: first they end. */
static void object_release(struct cuda_object *o)
{
    struct q35_device *dev = o->dev;
    if (o->dead)
        return;
    cuda_drain(dev);
    cuda_enter(dev);
    (void)dev->cu->StreamSynchronize(dev->stream);
    o->release(o);
    cuda_leave(dev);
    o->dead = true;
}

void cuda_object_remove(struct cuda_object *o)
{
    o->prev->next = o->next;
    o->next->prev = o->prev;
    object_release(o);
    free(o);
}

/* ---- the context --------------------------------------------------------------------------- */

static void block_fini(struct q35_device *dev, struct cuda_block *b)
{
    if (b->at)
        (void)dev->cu->MemFree(b->at);
    *b = (struct cuda_block){0};
}

static void event_fini(struct q35_device *dev, cu_event *e)
{
    if (*e)
        (void)dev->cu->EventDestroy(*e);
    *e = NULL;
}

static void context_fini(struct q35_device *dev)
{
    const struct cu *cu = dev->cu;
    uint32_t i;
    if (!dev->ctx)
        return;
    cuda_enter(dev);
    if (dev->stream)
        (void)cu->StreamSynchronize(dev->stream);
    cuda_graphs_destroy(dev);
    cuda_gemm_fini(dev);
    cuda_staging_fini(dev);
    for (i = 0; i < CUDA_SLOTS; i++) {
        struct cuda_slot *s = &dev->time.slots[i];
        if (s->head.data)
            (void)cu->MemFreeHost(s->head.data);
        if (s->result.data)
            (void)cu->MemFreeHost(s->result.data);
        event_fini(dev, &s->done);
        memset(s, 0, sizeof(*s));
    }
    for (i = 0; i < 2; i++)
        event_fini(dev, &dev->pace[i]);
    event_fini(dev, &dev->peer);
    block_fini(dev, &dev->scratch);
    block_fini(dev, &dev->parts);
    block_fini(dev, &dev->sums);
    block_fini(dev, &dev->header);
    cuda_kernels_destroy(dev);
    if (dev->stream)
        (void)cu->StreamDestroy(dev->stream);
    dev->stream = NULL;
    cuda_leave(dev);
    (void)cu->CtxDestroy(dev->ctx);
    dev->ctx = dev->reachable = NULL;
}

/* A context with all that every run needs. On failure context_fini cleans up. */
static enum q35_status context_init(struct q35_device *dev, struct q35_error *err)
{
    const struct cu *cu = dev->cu;
    enum q35_status st;
    cu_ctx current;
    cu_result code;
    uint32_t i;
    code = cu->CtxCreate(&dev->ctx, CU_CTX_SCHED_AUTO, dev->ordinal);
    if (code) {
        dev->ctx = NULL;
        return cuda_check(dev, code, "creating a context", err);
    }
    code = cu->StreamCreate(&dev->stream, CU_STREAM_NON_BLOCKING);
    if (code)
        dev->stream = NULL;
    for (i = 0; i < CUDA_SLOTS && !code; i++)
        code = cu->EventCreate(&dev->time.slots[i].done, CU_EVENT_DISABLE_TIMING);
    for (i = 0; i < 2 && !code; i++)
        code = cu->EventCreate(&dev->pace[i], CU_EVENT_DISABLE_TIMING);
    if (!code)
        code = cu->EventCreate(&dev->peer, CU_EVENT_DISABLE_TIMING);
    st = cuda_check(dev, code, "creating a stream and its events", err);
    if (!st)
        st = cuda_kernels_create(dev, err);
    if (!st)
        st = cuda_check(dev, cu->StreamSynchronize(dev->stream), "a first synchronisation", err);
    if (!st)
        cuda_gemm_init(dev);
    (void)cu->CtxPopCurrent(&current); /* CtxCreate had pushed it */
    return st;
}

static void read_attributes(struct q35_device *dev)
{
    const struct cu *cu = dev->cu;
    int major = 0, minor = 0, sms = 1, shared = 0;
    size_t total = 0;
    if (!cu->DeviceTotalMem(&total, dev->ordinal))
        dev->memory = total;
    (void)cu->DeviceGetAttribute(&major, CU_ATTR_MAJOR, dev->ordinal);
    (void)cu->DeviceGetAttribute(&minor, CU_ATTR_MINOR, dev->ordinal);
    (void)cu->DeviceGetAttribute(&sms, CU_ATTR_MULTIPROCESSORS, dev->ordinal);
    (void)cu->DeviceGetAttribute(&shared, CU_ATTR_SHARED_OPTIN, dev->ordinal);
    dev->limits.cc = (uint32_t)(10 * major + minor);
    dev->limits.sm_count = (uint32_t)sms;
    dev->limits.shared_per_block = (uint32_t)shared;
}

enum q35_status cuda_device_open(const struct cuda_config *config, struct q35_device **out,
                                 struct q35_error *err)
{
    struct q35_device *dev = calloc(1, sizeof(*dev));
    enum q35_status st;
    *out = NULL;
    if (!dev)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a device");
    if (pthread_mutex_init(&dev->capture_lock, NULL)) {
        free(dev);
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a lock");
    }
    dev->objects.prev = dev->objects.next = &dev->objects;
    dev->host = config->host;
    dev->cu = config->cu;
    dev->ordinal = config->ordinal;
    dev->use_graphs = config->graphs;
    read_attributes(dev);
    cuda_gemm_open(dev, config);
    st = cuda_timeline_init(&dev->time, err);
    if (!st)
        st = context_init(dev, err);
    if (st) {
        cuda_close(dev);
        return st;
    }
    *out = dev;
    return Q35_OK;
}

void cuda_close(struct q35_device *dev)
{
    struct cuda_object *o, *next;
    if (!dev)
        return;
    if (dev->ctx)
        cuda_drain(dev);
    /* KV objects look at their weights when released: newest first. */
    for (o = dev->objects.prev; o && o != &dev->objects; o = next) {
        next = o->prev;
        object_release(o);
        free(o); /* every object begins with its head */
    }
    context_fini(dev);
    cuda_timeline_fini(&dev->time);
    pthread_mutex_destroy(&dev->capture_lock);
    free(dev);
}

enum q35_status cuda_reset(struct q35_device *dev, struct q35_error *err)
{
    struct cuda_object *o;
    enum q35_status st;
    if (dev->ctx)
        cuda_drain(dev);
    for (o = dev->objects.prev; o != &dev->objects; o = o->prev)
        object_release(o);
    context_fini(dev);
    st = context_init(dev, err);
    if (st) {
        context_fini(dev);
        atomic_store(&dev->lost, true);
        if (st == Q35_E_DEVICE_LOST && err)
            err->radius = Q35_RADIUS_PLUGIN; /* the driver wants a new process */
        return st;
    }
    atomic_store(&dev->lost, false);
    return Q35_OK;
}

/* ---- memory that grows --------------------------------------------------------------------- */

static uint64_t grown(uint64_t bytes)
{
    uint64_t n = 4096;
    while (n < bytes)
        n *= 2;
    return n;
}

enum q35_status cuda_pinned_reserve(struct q35_device *dev, struct cuda_pinned *p, uint64_t bytes,
                                    struct q35_error *err)
{
    cu_result code;
    if (bytes <= p->bytes)
        return Q35_OK;
    bytes = grown(bytes);
    if (p->data)
        (void)dev->cu->MemFreeHost(p->data);
    *p = (struct cuda_pinned){0};
    code = dev->cu->MemHostAlloc(&p->data, bytes, 0);
    if (code) {
        p->data = NULL;
        return cuda_check(dev, code, "pinning host memory", err);
    }
    p->bytes = bytes;
    return Q35_OK;
}

enum q35_status cuda_block_reserve(struct q35_device *dev, struct cuda_block *b, uint64_t bytes,
                                   const char *what, struct q35_error *err)
{
    cu_result code;
    if (bytes <= b->bytes)
        return Q35_OK;
    if (b->at) {
        cuda_drain(dev);
        cuda_graphs_destroy(dev); /* they know its address */
        (void)dev->cu->StreamSynchronize(dev->stream);
        (void)dev->cu->MemFree(b->at);
    }
    *b = (struct cuda_block){0};
    code = dev->cu->MemAlloc(&b->at, bytes);
    if (code) {
        b->at = 0;
        return cuda_check(dev, code, what, err);
    }
    b->bytes = bytes;
    return Q35_OK;
}

/* ---- buffers ------------------------------------------------------------------------------- */

static void buffer_release(struct cuda_object *o)
{
    struct q35_buffer *b = (struct q35_buffer *)(void *)o;
    if (b->at)
        (void)o->dev->cu->MemFree(b->at);
    b->at = 0;
}

enum q35_status cuda_buffer_alloc(struct q35_device *dev, uint64_t bytes, struct q35_buffer **out,
                                  struct q35_error *err)
{
    struct q35_buffer *b;
    enum q35_status st;
    *out = NULL;
    if (atomic_load(&dev->lost))
        return cuda_lost(err);
    if (!bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "a buffer of 0 bytes");
    if (bytes > dev->memory)
        return q35_soft_fail(err, Q35_E_CAPACITY, "a buffer of %llu bytes exceeds this GPU",
                             (unsigned long long)bytes);
    b = calloc(1, sizeof(*b));
    if (!b)
        return q35_soft_fail(err, Q35_E_NOMEM, "no memory for a buffer");
    cuda_enter(dev);
    st = cuda_check(dev, dev->cu->MemAlloc(&b->at, (bytes + 255) & ~(uint64_t)255),
                    "allocating a buffer", err);
    cuda_leave(dev);
    if (st) {
        free(b);
        return st;
    }
    b->bytes = bytes;
    cuda_object_add(dev, &b->object, buffer_release);
    *out = b;
    return Q35_OK;
}

void cuda_buffer_free(struct q35_buffer *buffer)
{
    if (buffer)
        cuda_object_remove(&buffer->object);
}

static enum q35_status buffer_range(const struct q35_buffer *b, uint64_t offset, uint64_t bytes,
                                    const void *host, struct q35_error *err)
{
    enum q35_status st = cuda_object_check(b ? &b->object : NULL, "buffer", err);
    if (st)
        return st;
    if (!host && bytes)
        return q35_soft_fail(err, Q35_E_INVALID, "buffer transfer with data NULL");
    if (offset > b->bytes || bytes > b->bytes - offset)
        return q35_soft_fail(err, Q35_E_INVALID, "bytes %llu + %llu of a buffer of %llu",
                             (unsigned long long)offset, (unsigned long long)bytes,
                             (unsigned long long)b->bytes);
    return Q35_OK;
}

enum q35_status cuda_buffer_write(struct q35_buffer *buffer, uint64_t offset, const void *data,
                                  uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = buffer_range(buffer, offset, bytes, data, err);
    if (st || !bytes)
        return st;
    cuda_enter(buffer->object.dev);
    st = cuda_upload(buffer->object.dev, buffer->at + offset, data, bytes, err);
    cuda_leave(buffer->object.dev);
    return st;
}

enum q35_status cuda_buffer_read(struct q35_buffer *buffer, uint64_t offset, void *data,
                                 uint64_t bytes, struct q35_error *err)
{
    enum q35_status st = buffer_range(buffer, offset, bytes, data, err);
    if (st || !bytes)
        return st;
    cuda_enter(buffer->object.dev);
    st = cuda_download(buffer->object.dev, data, buffer->at + offset, bytes, err);
    cuda_leave(buffer->object.dev);
    return st;
}

/* Work of one device so far, before work of the other from now on. Neither stream may be capturing
 * then: what another thread enqueues would become part of the graph. */
static enum q35_status order(struct q35_device *first, struct q35_device *then,
                             struct q35_error *err)
{
    const struct cu *cu = first->cu;
    enum q35_status st;
    cuda_enter(first);
    pthread_mutex_lock(&first->capture_lock);
    st = cuda_check(first, cu->EventRecord(first->peer, first->stream), "marking a stream", err);
    pthread_mutex_unlock(&first->capture_lock);
    cuda_leave(first);
    if (st)
        return st;
    cuda_enter(then);
    pthread_mutex_lock(&then->capture_lock);
    st = cuda_check(then, cu->StreamWaitEvent(then->stream, first->peer, 0),
                    "waiting for another GPU", err);
    pthread_mutex_unlock(&then->capture_lock);
    cuda_leave(then);
    return st;
}

/* Lets copies take the direct way where the GPUs are linked. Without it the driver goes through the
 * host's memory, so a refusal does not matter. */
static void reach(struct q35_device *dev, const struct q35_device *other)
{
    int can = 0;
    if (dev->reachable == other->ctx)
        return;
    dev->reachable = other->ctx;
    if (dev->cu->DeviceCanAccessPeer(&can, dev->ordinal, other->ordinal) || !can)
        return;
    cuda_enter(dev);
    (void)dev->cu->CtxEnablePeerAccess(other->ctx, 0);
    cuda_leave(dev);
}

enum q35_status cuda_buffer_copy(struct q35_device *dev, struct q35_buffer *buffer, uint64_t offset,
                                 cu_ptr at, uint64_t bytes, bool from_buffer, struct q35_error *err)
{
    struct q35_device *other = buffer->object.dev;
    cu_ptr place = buffer->at + offset;
    cu_ptr to = from_buffer ? at : place, from = from_buffer ? place : at;
    enum q35_status st;
    if (other == dev)
        return cuda_check(dev, dev->cu->MemcpyDtoDAsync(to, from, bytes, dev->stream),
                          "copying hidden states", err);
    reach(dev, other);
    reach(other, dev);
    st = order(other, dev, err);
    if (!st)
        st = cuda_check(dev,
                        dev->cu->MemcpyPeerAsync(to, from_buffer ? dev->ctx : other->ctx, from,
                                                 from_buffer ? other->ctx : dev->ctx, bytes,
                                                 dev->stream),
                        "copying between GPUs", err);
    return st ? st : order(dev, other, err);
}
