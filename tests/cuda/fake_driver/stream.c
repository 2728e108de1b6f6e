/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Streams: queues that run as late as the rules allow. Events, transfers, kernels, graphs. */

#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu.h"

void fake_ops_free(struct fake_op *ops)
{
    while (ops) {
        struct fake_op *next = ops->next;
        free(ops);
        ops = next;
    }
}

void fake_check_capture(const char *what)
{
    const struct cu_stream_object *s;
    for (s = fake.streams; s; s = s->next)
        if (s->capturing && pthread_equal(s->capturer, pthread_self()))
            fake_die("%s while this thread captures", what);
}

cu_result fake_enqueue(cu_stream s, const struct fake_op *op)
{
    struct fake_op *own;
    cu_result code;
    cu_ctx ctx = fake_current(&code);
    if (code)
        return code;
    if (!s)
        fake_die("work on the default stream, which waits for everything");
    if (s->ctx != ctx)
        fake_die("a stream of another context");
    if (s->capturing && !pthread_equal(s->capturer, pthread_self()))
        fake_die("work of another thread gets into a capture");
    own = malloc(sizeof(*own));
    if (!own)
        return CU_ERROR_OUT_OF_MEMORY;
    *own = *op;
    own->next = NULL;
    if (s->capturing) {
        *s->captured_tail = own;
        s->captured_tail = &own->next;
    } else {
        *s->tail = own;
        s->tail = &own->next;
    }
    return CU_SUCCESS;
}

bool fake_in_use(cu_ctx ctx, const struct fake_memory *m)
{
    const struct cu_stream_object *s;
    const struct fake_op *op;
    for (s = fake.streams; s; s = s->next)
        for (op = s->head; op; op = op->next) {
            const uint8_t *to = op->to, *from = op->from, *end = m->data + m->bytes;
            if ((op->kind == OP_KERNEL || op->kind == OP_CALL) && !m->pinned && s->ctx == ctx)
                return true;
            if ((op->kind == OP_COPY || op->kind == OP_SET) && to >= m->data && to < end)
                return true;
            if (op->kind == OP_COPY && from >= m->data && from < end)
                return true;
        }
    return false;
}

static void run_kernel(cu_ctx ctx, struct fake_op *op)
{
    void *params[1] = {op->args};
    bool dead = fake_strikes(&fake.dead_at);
    if (dead)
        fake.dead[ctx->device] = true;
    if (fake_strikes(&fake.lost_at) || dead) {
        ctx->sticky = CU_ERROR_LAUNCH_FAILED;
        return;
    }
    if (strstr(op->func->name, "matmul") || strstr(op->func->name, "triple"))
        fake.now_us += fake.matmul_us;
    emu_capability(ctx->device % 2 ? 75u : 90u);
    if (emu_launch(op->func->name, op->grid, op->block, op->shared, params)) {
        fprintf(stderr, "fake_driver: %s: %s\n", op->func->name, emu_error());
        ctx->sticky = CU_ERROR_ILLEGAL_ADDRESS;
    }
    if (fake_strikes(&fake.hook_at))
        fake.hook(fake.hook_arg);
}

static void run_call(cu_ctx ctx, const struct fake_op *op)
{
    fake.now_us += fake.gemm_us;
    fake.gemms++;
    if (op->call(op->args))
        ctx->sticky = CU_ERROR_ILLEGAL_ADDRESS;
}

/* One operation; the queue behind a wait stays until the event is reached. */
static void run_one(cu_stream s)
{
    struct fake_op *op = s->head;
    if (op->kind == OP_WAIT && op->event && op->event->reached < op->event_count) {
        (void)fake_run(op->event->stream, 1);
        if (op->event->reached < op->event_count && !op->event->ctx->sticky)
            return;
    }
    s->head = op->next;
    if (!s->head)
        s->tail = &s->head;
    if (op->kind == OP_COPY)
        memmove(op->to, op->from, op->bytes);
    else if (op->kind == OP_SET)
        memset(op->to, op->value, op->bytes);
    else if (op->kind == OP_KERNEL)
        run_kernel(s->ctx, op);
    else if (op->kind == OP_CALL)
        run_call(s->ctx, op);
    else if (op->kind == OP_RECORD && op->event) {
        op->event->reached = op->event_count;
        op->event->us = fake.now_us;
    }
    free(op);
}

cu_result fake_run(cu_stream s, uint64_t n)
{
    for (; n && s->head && !s->ctx->sticky; n--)
        run_one(s);
    return s->ctx->sticky;
}

cu_result fake_run_to(cu_event e)
{
    uint64_t goal = e->recorded;
    while (e->reached < goal && !e->ctx->sticky) {
        if (!e->stream->head)
            fake_die("an event that its stream has lost");
        run_one(e->stream);
    }
    return e->ctx->sticky;
}

/* ---- entry points --------------------------------------------------------------------------- */

FAKE_API cu_result cuStreamCreate(cu_stream *out, unsigned flags);
FAKE_API cu_result cuStreamCreate(cu_stream *out, unsigned flags)
{
    struct cu_stream_object *s;
    ENTER();
    if (code)
        LEAVE(code);
    if (flags != CU_STREAM_NON_BLOCKING)
        fake_die("a stream that waits for the default stream");
    s = calloc(1, sizeof(*s));
    if (!s)
        LEAVE(CU_ERROR_OUT_OF_MEMORY);
    s->ctx = ctx;
    s->tail = &s->head;
    s->next = fake.streams;
    fake.streams = s;
    ctx->live++;
    *out = s;
    LEAVE(CU_SUCCESS);
}

FAKE_API cu_result cuStreamDestroy_v2(cu_stream s);
FAKE_API cu_result cuStreamDestroy_v2(cu_stream s)
{
    struct cu_stream_object **p;
    ENTER();
    if (s->ctx != ctx)
        fake_die("destroyed a stream of another context");
    if (s->head && !code)
        fake_die("destroyed a stream with work in it");
    for (p = &fake.streams; *p != s; p = &(*p)->next)
        ;
    *p = s->next;
    fake_ops_free(s->head);
    fake_ops_free(s->captured);
    free(s);
    ctx->live--;
    LEAVE(code);
}

FAKE_API cu_result cuStreamSynchronize(cu_stream s);
FAKE_API cu_result cuStreamSynchronize(cu_stream s)
{
    ENTER();
    if (code)
        LEAVE(code);
    fake_check_capture("synchronised a stream");
    if (s->ctx != ctx || s->capturing)
        fake_die("synchronised a stream of another context, or one that captures");
    while (s->head && !code)
        code = fake_run(s, 1);
    LEAVE(s->ctx->sticky);
}

FAKE_API cu_result cuCtxSynchronize(void);
FAKE_API cu_result cuCtxSynchronize(void)
{
    struct cu_stream_object *s;
    ENTER();
    for (s = fake.streams; s && !code; s = s->next)
        while (s->ctx == ctx && s->head && !code)
            code = fake_run(s, 1);
    LEAVE(code);
}

FAKE_API cu_result cuEventCreate(cu_event *out, unsigned flags);
FAKE_API cu_result cuEventCreate(cu_event *out, unsigned flags)
{
    struct cu_event_object *e;
    ENTER();
    if (code)
        LEAVE(code);
    e = calloc(1, sizeof(*e));
    if (!e)
        LEAVE(CU_ERROR_OUT_OF_MEMORY);
    e->ctx = ctx;
    e->untimed = flags & CU_EVENT_DISABLE_TIMING;
    ctx->live++;
    *out = e;
    LEAVE(CU_SUCCESS);
}

/* An operation that names the event, or NULL. */
static struct fake_op *event_queued(cu_event e)
{
    struct cu_stream_object *s;
    struct fake_op *op;
    for (s = fake.streams; s; s = s->next)
        for (op = s->head; op; op = op->next)
            if (op->event == e)
                return op;
    return NULL;
}

FAKE_API cu_result cuEventDestroy_v2(cu_event e);
FAKE_API cu_result cuEventDestroy_v2(cu_event e)
{
    struct fake_op *op;
    ENTER();
    if (e->ctx != ctx)
        fake_die("destroyed an event of another context");
    while ((op = event_queued(e)) != NULL) {
        if (!code) /* the real driver would wait; we have no need to rely on it */
            fake_die("destroyed an event that is still queued");
        op->event = NULL; /* of a lost context: it never runs */
    }
    free(e);
    ctx->live--;
    LEAVE(code);
}

FAKE_API cu_result cuEventRecord(cu_event e, cu_stream s);
FAKE_API cu_result cuEventRecord(cu_event e, cu_stream s)
{
    struct fake_op op = {.kind = OP_RECORD, .event = e};
    ENTER();
    if (code)
        LEAVE(code);
    if (e->ctx != ctx || s->capturing)
        fake_die("recorded an event of another context, or while capturing");
    op.event_count = e->recorded + 1;
    code = fake_enqueue(s, &op);
    if (!code) {
        e->recorded++;
        e->stream = s;
    }
    LEAVE(code);
}

/* Asking makes time pass: some of the work before the event gets done. */
FAKE_API cu_result cuEventQuery(cu_event e);
FAKE_API cu_result cuEventQuery(cu_event e)
{
    uint64_t n;
    ENTER();
    if (code)
        LEAVE(code);
    if (e->reached < e->recorded) {
        fake.random = fake.random * 6364136223846793005u + 1442695040888963407u;
        for (n = 1 + (fake.random >> 58); n && !code && e->reached < e->recorded; n--)
            code = fake_run(e->stream, 1);
    }
    LEAVE(code ? code : e->reached < e->recorded ? CU_ERROR_NOT_READY : CU_SUCCESS);
}

FAKE_API cu_result cuEventSynchronize(cu_event e);
FAKE_API cu_result cuEventSynchronize(cu_event e)
{
    ENTER();
    fake_check_capture("waited for an event");
    LEAVE(code ? code : fake_run_to(e));
}

FAKE_API cu_result cuEventElapsedTime(float *ms, cu_event from, cu_event to);
FAKE_API cu_result cuEventElapsedTime(float *ms, cu_event from, cu_event to)
{
    ENTER();
    if (code)
        LEAVE(code);
    if (from->untimed || to->untimed)
        fake_die("asked for the time of an event without");
    if (!from->recorded || from->reached < from->recorded || to->reached < to->recorded)
        LEAVE(CU_ERROR_NOT_READY);
    *ms = (float)(to->us - from->us) / 1000.0f;
    LEAVE(CU_SUCCESS);
}

FAKE_API cu_result cuStreamWaitEvent(cu_stream s, cu_event e, unsigned flags);
FAKE_API cu_result cuStreamWaitEvent(cu_stream s, cu_event e, unsigned flags)
{
    struct fake_op op = {.kind = OP_WAIT, .event = e, .event_count = e->recorded};
    ENTER();
    (void)flags;
    if (s->capturing)
        fake_die("an event of outside is waited for in a capture");
    LEAVE(code ? code : fake_enqueue(s, &op));
}

static cu_result copy(void *to, const void *from, size_t bytes, cu_stream s)
{
    struct fake_op op = {.kind = OP_COPY, .to = to, .from = from, .bytes = bytes};
    return fake_enqueue(s, &op);
}

FAKE_API cu_result cuMemcpyHtoDAsync_v2(cu_ptr to, const void *from, size_t bytes, cu_stream s);
FAKE_API cu_result cuMemcpyHtoDAsync_v2(cu_ptr to, const void *from, size_t bytes, cu_stream s)
{
    ENTER();
    if (code)
        LEAVE(code);
    fake_check_range((void *)(uintptr_t)to, bytes, false, ctx, "copy to the device");
    fake_check_range(from, bytes, true, ctx, "copy from the host");
    LEAVE(copy((void *)(uintptr_t)to, from, bytes, s));
}

FAKE_API cu_result cuMemcpyDtoHAsync_v2(void *to, cu_ptr from, size_t bytes, cu_stream s);
FAKE_API cu_result cuMemcpyDtoHAsync_v2(void *to, cu_ptr from, size_t bytes, cu_stream s)
{
    ENTER();
    if (code)
        LEAVE(code);
    fake_check_range((void *)(uintptr_t)from, bytes, false, ctx, "copy from the device");
    fake_check_range(to, bytes, true, ctx, "copy to the host");
    LEAVE(copy(to, (void *)(uintptr_t)from, bytes, s));
}

FAKE_API cu_result cuMemcpyDtoDAsync_v2(cu_ptr to, cu_ptr from, size_t bytes, cu_stream s);
FAKE_API cu_result cuMemcpyDtoDAsync_v2(cu_ptr to, cu_ptr from, size_t bytes, cu_stream s)
{
    ENTER();
    if (code)
        LEAVE(code);
    fake_check_range((void *)(uintptr_t)to, bytes, false, ctx, "copy on the device");
    fake_check_range((void *)(uintptr_t)from, bytes, false, ctx, "copy on the device");
    LEAVE(copy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, s));
}

FAKE_API cu_result cuMemcpyPeerAsync(cu_ptr to, cu_ctx to_ctx, cu_ptr from, cu_ctx from_ctx,
                                     size_t bytes, cu_stream s);
FAKE_API cu_result cuMemcpyPeerAsync(cu_ptr to, cu_ctx to_ctx, cu_ptr from, cu_ctx from_ctx,
                                     size_t bytes, cu_stream s)
{
    ENTER();
    if (code)
        LEAVE(code);
    fake.peer_copies++;
    fake_check_context(to_ctx, "copy to another device");
    fake_check_context(from_ctx, "copy from another device");
    fake_check_range((void *)(uintptr_t)to, bytes, false, to_ctx, "copy to another device");
    fake_check_range((void *)(uintptr_t)from, bytes, false, from_ctx, "copy from another device");
    LEAVE(copy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, s));
}

FAKE_API cu_result cuMemsetD8Async(cu_ptr at, unsigned char value, size_t n, cu_stream s);
FAKE_API cu_result cuMemsetD8Async(cu_ptr at, unsigned char value, size_t n, cu_stream s)
{
    struct fake_op op = {.kind = OP_SET, .to = (void *)(uintptr_t)at, .value = value, .bytes = n};
    ENTER();
    if (code)
        LEAVE(code);
    fake_check_range((void *)(uintptr_t)at, n, false, ctx, "filling memory");
    LEAVE(fake_enqueue(s, &op));
}

/* ---- for the fake cuBLASLt ------------------------------------------------------------------ */

bool q35_fake_enqueue(cu_stream s, fake_call call, const void *args, size_t bytes)
{
    struct fake_op op = {.kind = OP_CALL, .call = call, .bytes = bytes};
    bool done = false;
    if (bytes > FAKE_ARGS)
        fake_die("arguments of %zu bytes", bytes);
    memcpy(op.args, args, bytes);
    pthread_mutex_lock(&fake.lock);
    if (!fake_strikes(&fake.gemm_fail_at))
        done = !fake_enqueue(s, &op);
    pthread_mutex_unlock(&fake.lock);
    return done;
}

void q35_fake_range(const void *at, size_t bytes, const char *what)
{
    pthread_mutex_lock(&fake.lock);
    fake_check_range(at, bytes, false, NULL, what);
    pthread_mutex_unlock(&fake.lock);
}
