/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Captures and graphs. */

#include "fake.h"

#include <stdlib.h>

FAKE_API cu_result cuStreamBeginCapture_v2(cu_stream s, int mode);
FAKE_API cu_result cuStreamBeginCapture_v2(cu_stream s, int mode)
{
    void (*hook)(void *arg);
    ENTER();
    if (mode != CU_CAPTURE_THREAD_LOCAL)
        fake_die("a capture that forbids other threads their calls, or checks nothing");
    if (!code && fake.no_graphs)
        code = CU_ERROR_NOT_SUPPORTED;
    if (code)
        LEAVE(code);
    if (s->capturing)
        fake_die("captured twice");
    s->capturing = true;
    s->capture_broken = false;
    s->capturer = pthread_self();
    s->captured = NULL;
    s->captured_tail = &s->captured;
    hook = fake.hook_at == -1 ? fake.hook : NULL;
    fake.hook_at = hook ? 0 : fake.hook_at;
    pthread_mutex_unlock(&fake.lock);
    if (hook)
        hook(fake.hook_arg);
    return CU_SUCCESS;
}

FAKE_API cu_result cuStreamEndCapture(cu_stream s, cu_graph *out);
FAKE_API cu_result cuStreamEndCapture(cu_stream s, cu_graph *out)
{
    struct cu_graph_object *g;
    ENTER();
    *out = NULL;
    if (!s->capturing)
        fake_die("ended a capture that was not begun");
    if (!pthread_equal(s->capturer, pthread_self()))
        fake_die("another thread ended a capture");
    s->capturing = false;
    if (!code && s->capture_broken)
        code = CU_ERROR_CAPTURE_INVALIDATED;
    g = code ? NULL : calloc(1, sizeof(*g));
    if (g) {
        g->ctx = ctx;
        g->ops = s->captured;
        ctx->live++;
    } else {
        fake_ops_free(s->captured);
    }
    s->captured = NULL;
    *out = g;
    LEAVE(code ? code : g ? CU_SUCCESS : CU_ERROR_OUT_OF_MEMORY);
}

FAKE_API cu_result cuGraphInstantiateWithFlags(cu_exec *out, cu_graph g, unsigned long long flags);
FAKE_API cu_result cuGraphInstantiateWithFlags(cu_exec *out, cu_graph g, unsigned long long flags)
{
    struct cu_exec_object *e;
    ENTER();
    (void)flags;
    e = code ? NULL : calloc(1, sizeof(*e));
    if (!e)
        LEAVE(code ? code : CU_ERROR_OUT_OF_MEMORY);
    e->ctx = ctx;
    e->ops = g->ops;
    g->ops = NULL;
    ctx->live++;
    *out = e;
    LEAVE(CU_SUCCESS);
}

FAKE_API cu_result cuGraphLaunch(cu_exec e, cu_stream s);
FAKE_API cu_result cuGraphLaunch(cu_exec e, cu_stream s)
{
    const struct fake_op *op;
    ENTER();
    fake.graph_launches++;
    for (op = e->ops; op && !code; op = op->next)
        code = fake_enqueue(s, op);
    LEAVE(code);
}

FAKE_API cu_result cuGraphDestroy(cu_graph g);
FAKE_API cu_result cuGraphDestroy(cu_graph g)
{
    ENTER();
    if (g->ctx != ctx)
        fake_die("destroyed a graph of another context");
    fake_ops_free(g->ops);
    free(g);
    ctx->live--;
    LEAVE(code);
}

FAKE_API cu_result cuGraphExecDestroy(cu_exec e);
FAKE_API cu_result cuGraphExecDestroy(cu_exec e)
{
    ENTER();
    if (e->ctx != ctx)
        fake_die("destroyed a graph of another context");
    fake_ops_free(e->ops);
    free(e);
    ctx->live--;
    LEAVE(code);
}
