/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* Decoding steps as graphs. Kernels read tokens, positions and page tables from memory and their
 * launches depend on the key below alone, so a step that was captured once is replayed as it is.
 * A shape is captured the second time it is seen: the first may never come back. While it is being
 * measured how its products are best computed it is not captured. */

#include "impl.h"

void cuda_graphs_destroy(struct q35_device *dev)
{
    uint32_t i;
    for (i = 0; i < CUDA_GRAPHS; i++)
        if (dev->graphs[i].exec)
            (void)dev->cu->GraphExecDestroy(dev->graphs[i].exec);
    memset(dev->graphs, 0, sizeof(dev->graphs));
}

static struct cuda_graph_key key_of(const struct cuda_batch *b)
{
    return (struct cuda_graph_key){.weights = b->run->weights,
                                   .kv = b->run->kv,
                                   .first = b->run->first,
                                   .count = b->run->count,
                                   .n_tokens = b->n_tokens,
                                   .n_pieces = b->n_pieces,
                                   .n_logits = b->n_logits,
                                   .max_count = b->max_count,
                                   .max_pages = b->max_pages,
                                   .flags = b->run->flags};
}

/* The entry of this key; else the one that was not used for longest, emptied, and *fresh is true.
 */
static struct cuda_graph_entry *find(struct q35_device *dev, const struct cuda_graph_key *key,
                                     bool *fresh)
{
    struct cuda_graph_entry *oldest = &dev->graphs[0];
    uint32_t i;
    *fresh = false;
    for (i = 0; i < CUDA_GRAPHS; i++) {
        struct cuda_graph_entry *e = &dev->graphs[i];
        if (e->stamp && !memcmp(&e->key, key, sizeof(*key)))
            return e;
        if (e->stamp < oldest->stamp)
            oldest = e;
    }
    if (oldest->exec) {
        cuda_drain(dev); /* it may be running */
        (void)dev->cu->GraphExecDestroy(oldest->exec);
    }
    *oldest = (struct cuda_graph_entry){.key = *key};
    *fresh = true;
    return oldest;
}

static enum q35_status all_layers(struct cuda_batch *b, struct q35_error *err)
{
    const struct cuda_layer *l = b->run->weights->layers + b->run->first;
    enum q35_status st = Q35_OK;
    uint32_t i;
    for (i = 0; i < b->run->count && !st; i++) {
        st = cuda_exec_layer(b, &l[i], err);
        if (st)
            err->layer = l[i].desc.index;
    }
    return st;
}

/* What the stream captures of the layers; *graph is NULL if that fails. */
static cu_result capture_layers(struct cuda_batch *b, cu_graph *graph, enum q35_status *st,
                                struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    cu_result code;
    pthread_mutex_lock(&dev->capture_lock);
    code = dev->cu->StreamBeginCapture(dev->stream, CU_CAPTURE_THREAD_LOCAL);
    if (!code) {
        b->capturing = true;
        *st = all_layers(b, err);
        b->capturing = false;
        b->rope_layer = NULL;
        code = dev->cu->StreamEndCapture(dev->stream, graph);
    }
    pthread_mutex_unlock(&dev->capture_lock);
    return code;
}

/* *out stays NULL, and graphs are given up, if this driver cannot capture what we do. */
static enum q35_status capture(struct cuda_batch *b, cu_exec *out, struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    const struct cu *cu = dev->cu;
    cu_graph graph = NULL;
    enum q35_status st = Q35_OK;
    cu_result code = capture_layers(b, &graph, &st, err);
    *out = NULL;
    if (st && err->native_code >= CU_ERROR_CAPTURE_UNSUPPORTED &&
        err->native_code <= CU_ERROR_CAPTURE_WRONG_THREAD) {
        st = Q35_OK; /* the launch may well be possible outside of a capture */
        code = err->native_code;
        *err = (struct q35_error)Q35_ERROR_INIT;
    }
    if (!code && !st)
        code = cu->GraphInstantiate(out, graph, 0);
    if (graph)
        (void)cu->GraphDestroy(graph);
    if (code) {
        *out = NULL;
        dev->use_graphs = false;
        if (!st && cu_is_sticky(code))
            st = cuda_check(dev, code, "capturing", err);
    }
    return st;
}

static enum q35_status replay(struct cuda_batch *b, cu_exec exec, struct q35_error *err)
{
    const struct cuda_layer *last = &b->run->weights->layers[b->run->first + b->run->count - 1];
    enum q35_status st =
        cuda_check(b->dev, b->dev->cu->GraphLaunch(exec, b->dev->stream), "launching a graph", err);
    return st || last->desc.kind != Q35_LAYER_HEAD ? st : cuda_copy_head(b, last, err);
}

enum q35_status cuda_graph_run(struct cuda_batch *b, struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    const struct cuda_graph_key key = key_of(b);
    bool fresh;
    struct cuda_graph_entry *e = find(dev, &key, &fresh);
    enum q35_status st = Q35_OK;
    e->stamp = ++dev->graph_clock;
    if (!e->exec && !fresh && !e->measuring)
        st = capture(b, &e->exec, err);
    if (st)
        return st;
    if (e->exec)
        return replay(b, e->exec, err);
    dev->gemm.measured = false;
    st = all_layers(b, err);
    e->measuring = dev->gemm.measured;
    return st;
}
