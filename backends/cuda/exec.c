/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* The layers as sequences of kernels on scratch, as args.h lists them. */

#include "impl.h"

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum q35_status try_status = (call);                                                       \
        if (try_status)                                                                            \
            return try_status;                                                                     \
    } while (0)

#define SMALL_CHUNK ((uint64_t)2 << 20) /* what the driver carves small allocations from */

/* ---- scratch ------------------------------------------------------------------------------- */

static void widen(uint64_t *to, uint64_t v)
{
    if (v > *to)
        *to = v;
}

static uint64_t row_blocks(const struct q35_tensor_desc *t)
{
    return q35_pad_rows(t->rows) / Q35_TILE_ROWS;
}

static void matrix_add(struct cuda_dims *dims, const struct q35_tensor_desc *t)
{
    widen(&dims->rows, q35_pad_rows(t->rows));
    widen(&dims->weights, (uint64_t)q35_pad_rows(t->rows) * q35_pad_cols(t->cols));
}

void cuda_dims_add(struct cuda_dims *dims, const struct q35_layer *l,
                   const struct q35_tensor_desc *tensors)
{
    uint32_t role;
    soft_dims_add(&dims->w, l, tensors);
    if (l->kind == Q35_LAYER_HEAD) {
        widen(&dims->vocab, l->vocab);
        widen(&dims->blocks, row_blocks(&tensors[Q35_ROLE_HEAD]));
        matrix_add(dims, &tensors[Q35_ROLE_HEAD]);
    }
    if (l->kind != Q35_LAYER_DECODER)
        return;
    for (role = 0; role < Q35_ROLE_COUNT; role++)
        if (tensors[role].bytes && tensors[role].type == Q35_TENSOR_PACKED)
            matrix_add(dims, &tensors[role]);
    widen(&dims->blocks, row_blocks(&tensors[Q35_ROLE_Q]) + row_blocks(&tensors[Q35_ROLE_K]) +
                             row_blocks(&tensors[Q35_ROLE_V]));
    widen(&dims->blocks, row_blocks(&tensors[Q35_ROLE_GATE]) + row_blocks(&tensors[Q35_ROLE_UP]));
    widen(&dims->blocks, row_blocks(&tensors[Q35_ROLE_O]));
    widen(&dims->blocks, row_blocks(&tensors[Q35_ROLE_DOWN]));
    widen(&dims->head_parts, (uint64_t)l->n_heads * (l->head_dim + 2u));
}

/* With base 0 only adds up. */
static uint64_t carve(struct cuda_scratch *s, const struct cuda_dims *dims, uint64_t n, cu_ptr base)
{
    const struct soft_dims *d = &dims->w;
    uint64_t at = 0, few = n < CUDA_LOGITS ? n : CUDA_LOGITS;
#define PART(field, bytes)                                                                         \
    do {                                                                                           \
        s->field = base + at;                                                                      \
        at += ((bytes) + CUDA_ALIGNMENT - 1) & ~(uint64_t)(CUDA_ALIGNMENT - 1);                    \
    } while (0)
    PART(x, 4 * n * d->d_model);
    PART(q, 4 * n * d->q_dim);
    PART(k, 4 * n * d->kv_dim);
    PART(v, 4 * n * d->kv_dim);
    PART(att, 4 * n * d->q_dim);
    PART(gate, 4 * n * d->d_ffn);
    PART(up, 4 * n * d->d_ffn);
    PART(cos_sin, 4 * n * d->rope_dim);
    PART(scales, 4 * n);
    PART(q8, n * d->cols_padded);
    PART(rotate, 4 * q35_cu_rotate_scratch(n, (uint32_t)d->cols_padded));
    PART(logits, 4 * few * dims->vocab);
    PART(ids, 4 * n);
#undef PART
    return at + CUDA_ALIGNMENT;
}

/* Batches are rounded up to a power of two, so that growing ones do not reallocate each time. */
static uint64_t rounded_up(uint64_t n)
{
    uint64_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static uint64_t sums_bytes(const struct cuda_dims *dims)
{
    return 4 * q35_cu_matmul_sums(dims->blocks);
}

uint64_t cuda_scratch_bytes(const struct q35_device *dev, const struct cuda_dims *dims,
                            uint32_t n_tokens, uint64_t max_pages)
{
    struct cuda_scratch s;
    uint64_t parts, row, gemm = cuda_gemm_bytes(dev, dims, rounded_up(n_tokens));
    if (__builtin_mul_overflow(4 * dims->head_parts * rounded_up(n_tokens), rounded_up(max_pages),
                               &parts) ||
        parts > CUDA_PARTS_BYTES)
        parts = CUDA_PARTS_BYTES;
    row = sizeof(struct q35_token) + sizeof(struct q35_cu_piece) + 4 + 4 * rounded_up(max_pages);
    return cuda_rounded(carve(&s, dims, rounded_up(n_tokens), 0)) + cuda_rounded(sums_bytes(dims)) +
           (parts ? cuda_rounded(parts) : 0) + (gemm ? cuda_rounded(gemm) : 0) +
           cuda_rounded(2 * n_tokens * row + 8192) + SMALL_CHUNK;
}

enum q35_status cuda_scratch_carve(struct cuda_batch *b, const struct cuda_dims *dims,
                                   struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    uint64_t n = rounded_up(b->n_tokens), sums = sums_bytes(dims), parts;
    uint64_t gemm = cuda_gemm_bytes(dev, dims, n);
    TRY(cuda_block_reserve(dev, &dev->scratch, carve(&b->s, dims, n, 0), "allocating scratch",
                           err));
    if (sums > dev->sums.bytes) {
        TRY(cuda_block_reserve(dev, &dev->sums, sums, "allocating sums", err));
        TRY(cuda_check(dev, dev->cu->MemsetD8Async(dev->sums.at, 0, sums, dev->stream),
                       "clearing sums", err));
    }
    if (gemm)
        TRY(cuda_block_reserve(dev, &dev->gemm.room, gemm, "allocating room for cuBLASLt", err));
    if (b->max_pages > 1 &&
        !__builtin_mul_overflow(4 * dims->head_parts * n, rounded_up(b->max_pages), &parts) &&
        parts <= CUDA_PARTS_BYTES)
        TRY(cuda_block_reserve(dev, &dev->parts, parts, "allocating attention scratch", err));
    carve(&b->s, dims, n, dev->scratch.at);
    return Q35_OK;
}

/* ---- pieces of a layer --------------------------------------------------------------------- */

static const float *vector(const struct cuda_layer *l, uint32_t role)
{
    return cuda_at(l->tensors[role].at);
}

static const void *blob(const struct cuda_tensor *t, uint64_t offset)
{
    return cuda_at(t->at + offset);
}

/* One matrix of a product: from `role`, with its bias, into y[n][rows]. */
struct target {
    uint32_t role, bias, add;
    cu_ptr y;
};
enum { NO_BIAS = Q35_ROLE_COUNT };

static void matrix_set(struct q35_cu_matrix *m, const struct cuda_layer *l, const struct target *to)
{
    const struct cuda_tensor *t = &l->tensors[to->role];
    m->codes = blob(t, q35_codes_offset(t->desc.rows));
    m->tables = blob(t, 0);
    m->scales = blob(t, Q35_BLOB_TABLES);
    m->bias = to->bias == NO_BIAS ? NULL : vector(l, to->bias);
    m->y = cuda_at(to->y);
    m->y_stride = t->desc.rows;
    m->scheme = t->desc.scheme;
    m->rows = t->desc.rows;
    m->add = to->add;
}

static bool same_input(const struct q35_tensor_desc *a, const struct q35_tensor_desc *b)
{
    return a->rot_block == b->rot_block && (!a->rot_block || a->rot_seed == b->rot_seed) &&
           Q35_SCHEME_WEIGHTS(a->scheme) == Q35_SCHEME_WEIGHTS(b->scheme);
}

/* Where a product's input comes from: q35_cu_rotate's fields. */
struct source {
    cu_ptr x, up, rows;
    uint32_t norm; /* role or Q35_ROLE_COUNT */
    uint32_t n;
};

static enum q35_status quantize(struct cuda_batch *b, const struct cuda_layer *l,
                                const struct source *from, const struct q35_tensor_desc *d,
                                struct q35_error *err)
{
    struct q35_cu_rotate a = {.x = cuda_at(from->x),
                              .up = cuda_at(from->up),
                              .rows = cuda_at(from->rows),
                              .q = cuda_at(b->s.q8),
                              .scales = cuda_at(b->s.scales),
                              .scratch = cuda_at(b->s.rotate),
                              .x_stride = d->cols,
                              .rot_seed = d->rot_seed,
                              .n_tokens = from->n,
                              .cols = d->cols,
                              .cols_padded = q35_pad_cols(d->cols),
                              .rot_block = d->rot_block,
                              .pair = Q35_SCHEME_WEIGHTS(d->scheme) == 2,
                              .eps = l->desc.norm_eps};
    struct q35_cu_launch launches[2];
    uint32_t i, n;
    if (from->norm != Q35_ROLE_COUNT)
        a.norm = vector(l, from->norm);
    n = q35_cu_rotate_set(&a, &b->dev->limits, launches);
    for (i = 0; i < n; i++)
        TRY(cuda_launch(b->dev, &launches[i], &a, err));
    return Q35_OK;
}

/* Products of one input. Matrices with the same rotation share one quantization of it. */
static enum q35_status linear(struct cuda_batch *b, const struct cuda_layer *l,
                              const struct source *from, const struct target *to, uint32_t n_mats,
                              struct q35_error *err)
{
    uint32_t first, i;
    for (first = 0; first < n_mats; first += i) {
        const struct q35_tensor_desc *d = &l->tensors[to[first].role].desc;
        struct q35_cu_matmul a = {.q = cuda_at(b->s.q8),
                                  .token_scales = cuda_at(b->s.scales),
                                  .sums = cuda_at(b->dev->sums.at),
                                  .n_tokens = from->n,
                                  .cols_padded = q35_pad_cols(d->cols)};
        struct q35_cu_launch launch;
        TRY(quantize(b, l, from, d, err));
        for (i = 0; first + i < n_mats && same_input(d, &l->tensors[to[first + i].role].desc); i++)
            matrix_set(&a.mats[i], l, &to[first + i]);
        a.n_mats = i;
        launch = q35_cu_matmul_set(&a, &b->dev->limits);
        TRY(cuda_product(b, &a, &launch, err));
    }
    return Q35_OK;
}

/* cos_sin[n][rope_dim] of the batch's positions, kept while layers use the same frequencies. */
static enum q35_status rope_table(struct cuda_batch *b, const struct cuda_layer *l,
                                  struct q35_error *err)
{
    struct q35_cu_rope_table a = {.tokens = cuda_at(b->tokens),
                                  .freq = vector(l, Q35_ROLE_ROPE_FREQ),
                                  .cos_sin = cuda_at(b->s.cos_sin),
                                  .n_tokens = b->n_tokens,
                                  .rope_dim = l->desc.rope_dim};
    const struct cuda_layer *have = b->rope_layer;
    struct q35_cu_launch launch = q35_cu_rope_table_set(&a);
    if (have && have->desc.rope_dim == l->desc.rope_dim &&
        have->tensors[Q35_ROLE_ROPE_FREQ].desc.hash == l->tensors[Q35_ROLE_ROPE_FREQ].desc.hash)
        return Q35_OK;
    b->rope_layer = l;
    return cuda_launch(b->dev, &launch, &a, err);
}

static struct q35_cu_kv kv_of(const struct cuda_batch *b, const struct cuda_layer *l)
{
    const struct q35_kv *kv = b->run->kv;
    return (struct q35_cu_kv){.pool = cuda_at(kv->pool),
                              .table = cuda_at(b->table),
                              .page_bytes = kv->page_bytes,
                              .layer_offset = l->kv_offset[kv->type],
                              .table_stride = b->max_pages,
                              .type = kv->type};
}

static enum q35_status attend(struct cuda_batch *b, const struct cuda_layer *l,
                              struct q35_error *err)
{
    const struct q35_layer *d = &l->desc;
    struct q35_cu_attn a = {.q = cuda_at(b->s.q),
                            .out = cuda_at(b->s.att),
                            .tokens = cuda_at(b->tokens),
                            .pieces = cuda_at(b->pieces),
                            .kv = kv_of(b, l),
                            .n_pieces = b->n_pieces,
                            .n_tokens = b->n_tokens,
                            .n_heads = d->n_heads,
                            .n_kv_heads = d->n_kv_heads,
                            .head_dim = d->head_dim,
                            .window = d->window,
                            .max_pages = b->max_pages,
                            .max_count = b->max_count,
                            .scale = d->attn_scale};
    uint64_t bytes = 4 * q35_cu_attn_parts(b->n_tokens, d->n_heads, b->max_pages, d->head_dim);
    struct q35_cu_launch launches[2];
    uint32_t i, n;
    if (bytes <= b->dev->parts.bytes && q35_cu_attn_wants_parts(&a, &b->dev->limits))
        a.parts = cuda_at(b->dev->parts.at);
    n = q35_cu_attn_set(&a, launches);
    for (i = 0; i < n; i++)
        TRY(cuda_launch(b->dev, &launches[i], &a, err));
    return Q35_OK;
}

/* att[n][q_dim] from x. */
static enum q35_status attention(struct cuda_batch *b, const struct cuda_layer *l,
                                 struct q35_error *err)
{
    const struct q35_layer *d = &l->desc;
    const struct source x = {.x = b->s.x, .norm = Q35_ROLE_ATTN_NORM, .n = b->n_tokens};
    const struct target qkv[3] = {{Q35_ROLE_Q, Q35_ROLE_Q_BIAS, 0, b->s.q},
                                  {Q35_ROLE_K, Q35_ROLE_K_BIAS, 0, b->s.k},
                                  {Q35_ROLE_V, Q35_ROLE_V_BIAS, 0, b->s.v}};
    struct q35_cu_rope_store a = {.q = cuda_at(b->s.q),
                                  .k = cuda_at(b->s.k),
                                  .v = cuda_at(b->s.v),
                                  .q_norm = vector(l, Q35_ROLE_Q_NORM),
                                  .k_norm = vector(l, Q35_ROLE_K_NORM),
                                  .cos_sin = cuda_at(b->s.cos_sin),
                                  .tokens = cuda_at(b->tokens),
                                  .kv = kv_of(b, l),
                                  .n_tokens = b->n_tokens,
                                  .n_heads = d->n_heads,
                                  .n_kv_heads = d->n_kv_heads,
                                  .head_dim = d->head_dim,
                                  .rope_dim = d->rope_dim,
                                  .rope_style = d->rope_style,
                                  .eps = d->norm_eps};
    struct q35_cu_launch launch = q35_cu_rope_store_set(&a);
    TRY(linear(b, l, &x, qkv, 3, err));
    if (d->rope_dim)
        TRY(rope_table(b, l, err));
    TRY(cuda_launch(b->dev, &launch, &a, err));
    return attend(b, l, err);
}

static enum q35_status decoder(struct cuda_batch *b, const struct cuda_layer *l,
                               struct q35_error *err)
{
    const struct source att = {.x = b->s.att, .norm = Q35_ROLE_COUNT, .n = b->n_tokens};
    const struct source x = {.x = b->s.x, .norm = Q35_ROLE_FFN_NORM, .n = b->n_tokens};
    const struct source mlp = {
        .x = b->s.gate, .up = b->s.up, .norm = Q35_ROLE_COUNT, .n = b->n_tokens};
    const struct target o = {Q35_ROLE_O, Q35_ROLE_O_BIAS, 1, b->s.x};
    const struct target gate_up[2] = {{Q35_ROLE_GATE, NO_BIAS, 0, b->s.gate},
                                      {Q35_ROLE_UP, NO_BIAS, 0, b->s.up}};
    const struct target down = {Q35_ROLE_DOWN, NO_BIAS, 1, b->s.x};
    TRY(attention(b, l, err));
    TRY(linear(b, l, &att, &o, 1, err));
    TRY(linear(b, l, &x, gate_up, 2, err));
    return linear(b, l, &mlp, &down, 1, err);
}

static enum q35_status embed(struct cuda_batch *b, const struct cuda_layer *l,
                             struct q35_error *err)
{
    const struct cuda_tensor *t = &l->tensors[Q35_ROLE_TOKEN_EMBED];
    struct q35_cu_embed a = {.codes = blob(t, q35_codes_offset(t->desc.rows)),
                             .tables = blob(t, 0),
                             .scales = blob(t, Q35_BLOB_TABLES),
                             .tokens = cuda_at(b->tokens),
                             .out = cuda_at(b->s.x),
                             .scratch = cuda_at(b->s.rotate),
                             .rot_seed = t->desc.rot_seed,
                             .n_tokens = b->n_tokens,
                             .scheme = t->desc.scheme,
                             .cols = t->desc.cols,
                             .cols_padded = q35_pad_cols(t->desc.cols),
                             .rot_block = t->desc.rot_block,
                             .embed_scale = l->desc.embed_scale};
    struct q35_cu_launch launch = q35_cu_embed_set(&a, &b->dev->limits);
    return cuda_launch(b->dev, &launch, &a, err);
}

enum q35_status cuda_copy_out(struct cuda_batch *b, cu_ptr from, uint64_t offset, uint64_t bytes,
                              struct q35_error *err)
{
    struct q35_device *dev = b->dev;
    if (b->out)
        return cuda_buffer_copy(dev, b->out, b->out_offset + offset, from, bytes, false, err);
    return cuda_check(dev,
                      dev->cu->MemcpyDtoHAsync((uint8_t *)b->slot->result.data + offset, from,
                                               bytes, dev->stream),
                      "copying results", err);
}

static enum q35_status choose(struct cuda_batch *b, const struct cuda_layer *l, uint32_t at,
                              uint32_t n, struct q35_error *err)
{
    struct q35_cu_argmax a = {.logits = cuda_at(b->s.logits),
                              .ids = cuda_at(b->s.ids + 4 * (uint64_t)at),
                              .n = n,
                              .vocab = l->desc.vocab};
    struct q35_cu_launch launch = q35_cu_argmax_set(&a);
    return cuda_launch(b->dev, &launch, &a, err);
}

enum q35_status cuda_copy_head(struct cuda_batch *b, const struct cuda_layer *l,
                               struct q35_error *err)
{
    uint64_t row = 4 * (uint64_t)l->desc.vocab;
    if (!b->n_logits)
        return Q35_OK;
    if (b->greedy)
        return cuda_copy_out(b, b->s.ids, 0, 4 * (uint64_t)b->n_logits, err);
    return cuda_copy_out(b, b->s.logits, 0, row * b->n_logits, err);
}

/* Some rows of logits at a time, each chosen from or on its way out before the next. While
 * capturing there is one round, and the transfer follows the graph. */
static enum q35_status head(struct cuda_batch *b, const struct cuda_layer *l, struct q35_error *err)
{
    const struct target to = {Q35_ROLE_HEAD, NO_BIAS, 0, b->s.logits};
    uint64_t row = 4 * (uint64_t)l->desc.vocab;
    uint32_t at, n;
    for (at = 0; at < b->n_logits; at += n) {
        struct source x = {.x = b->s.x, .rows = b->rows + 4 * at, .norm = Q35_ROLE_OUT_NORM};
        n = b->n_logits - at < CUDA_LOGITS ? b->n_logits - at : CUDA_LOGITS;
        x.n = n;
        TRY(linear(b, l, &x, &to, 1, err));
        if (b->greedy)
            TRY(choose(b, l, at, n, err));
        else if (!b->capturing)
            TRY(cuda_copy_out(b, b->s.logits, row * at, row * n, err));
    }
    return b->greedy && !b->capturing ? cuda_copy_head(b, l, err) : Q35_OK;
}

enum q35_status cuda_exec_layer(struct cuda_batch *b, const struct cuda_layer *l,
                                struct q35_error *err)
{
    switch (l->desc.kind) {
    case Q35_LAYER_EMBED:
        return embed(b, l, err);
    case Q35_LAYER_DECODER:
        return decoder(b, l, err);
    default:
        return head(b, l, err);
    }
}
