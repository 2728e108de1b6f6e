/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A q35 backend of its own: packed matrix products of its own, everything else lent by the host.
 *
 * The rules are in <q35/backend.h>. A plugin needs nothing but the installed headers; it links to
 * no library of q35. Start at q35_plugin_query at the end of this file and read upwards. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <q35/arith.h>
#include <q35/backend.h>

/* ---- errors: whoever detects a failure writes it down once --------------------------------- */

static enum q35_status fail(struct q35_error *err, enum q35_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof(err->message), format, args);
    va_end(args);
    err->status = (int32_t)status;
    err->radius = Q35_RADIUS_REQUEST;
    err->layer = Q35_NO_LAYER;
    return status;
}

/* ---- the device ---------------------------------------------------------------------------- */

/* What `open` makes and every operation gets as `user`. A real device keeps its queue here. */
struct template_device {
    const struct q35_host *host;
    uint32_t tokens_at_once;
    int32_t *sums; /* [tokens_at_once][Q35_TILE_ROWS] */
};

static const char *option(const struct q35_options *options, const char *key, const char *fallback)
{
    uint32_t i;
    for (i = 0; i < options->count; i++)
        if (!strcmp(options->items[i].key, key))
            return options->items[i].value;
    return fallback;
}

/* Counts what is there. Finding nothing is OK with a count of 0; say in err->message what was
 * looked for. */
static enum q35_status enumerate(const struct q35_host *host, const struct q35_options *options,
                                 uint32_t *count, struct q35_error *err)
{
    (void)host;
    (void)options;
    (void)err;
    *count = 1;
    return Q35_OK;
}

static enum q35_status device_info(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device_info *info,
                                   struct q35_error *err)
{
    struct q35_device_info own = {0};
    uint32_t size = info->size;
    (void)host;
    (void)options;
    if (index > 0)
        return fail(err, Q35_E_NOT_FOUND, "there is one device, not device %u", index);
    own.size = size;
    own.determinism = Q35_CLASS_EXACT; /* every bit as arith.h says */
    snprintf(own.name, sizeof(own.name), "template (one CPU core)");
    snprintf(own.id, sizeof(own.id), "template0");
    own.memory_total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    own.memory_free = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    own.max_batch = 256;
    own.max_sequences = 64;
    own.buffer_alignment = 64;
    /* What it does beyond ABI 1.0. matmul below takes codes of three weights; greedy runs and KV in
     * int8 the host does itself, and adds them here. */
    own.features = Q35_FEATURE_TRIPLE;
    /* The host may know fewer fields than this header: fill only what lies inside its size. */
    memcpy(info, &own, size < sizeof(own) ? size : sizeof(own));
    return Q35_OK;
}

static void close_device(struct q35_device *dev)
{
    struct template_device *d = (struct template_device *)dev;
    if (!d)
        return;
    free(d->sums);
    free(d);
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    struct template_device *d;
    *out = NULL;
    if (index > 0)
        return fail(err, Q35_E_NOT_FOUND, "there is one device, not device %u", index);
    d = calloc(1, sizeof(*d));
    if (!d)
        return fail(err, Q35_E_NOMEM, "no memory for a device");
    d->host = host;
    d->tokens_at_once = (uint32_t)atoi(option(options, "tokens_at_once", "16"));
    if (d->tokens_at_once < 1 || d->tokens_at_once > 256) {
        close_device((struct q35_device *)d);
        return fail(err, Q35_E_INVALID, "tokens_at_once is not between 1 and 256");
    }
    d->sums = malloc(sizeof(int32_t) * Q35_TILE_ROWS * d->tokens_at_once);
    if (!d->sums) {
        close_device((struct q35_device *)d);
        return fail(err, Q35_E_NOMEM, "no memory for sums");
    }
    *out = (struct q35_device *)d;
    return Q35_OK;
}

/* ---- the kernel ---------------------------------------------------------------------------- */

/* The code 1 or 2 places before (r, j): above it in the tile, which bites its own tail. With `ring`
 * what stands above the first row is the end of the column to the left. */
static uint32_t before(uint8_t code[16][64], uint32_t ring, uint32_t r, uint32_t j, uint32_t back)
{
    return code[(r + 16 - back) & 15][ring && r < back ? (j + 63) & 63 : j];
}

/* Decodes one tile: 64 columns of w for each weight that a code stands for. This is format.h's
 * q35_decode_row for all rows, with every code unpacked once. */
static void decode_tile(const struct q35_matrix *m, const uint8_t *tile, int8_t w[16][192])
{
    const struct q35_tables *t = m->tables;
    uint32_t weights = Q35_SCHEME_WEIGHTS(m->scheme), ring = Q35_SCHEME_RING(m->scheme), r, j;
    uint8_t code[16][64];

    for (r = 0; r < 16; r++)
        for (j = 0; j < 64; j += 8) { /* 8 codes in 7 bytes */
            const uint8_t *group = tile + Q35_ROW_BYTES * r + j / 8 * 7;
            uint64_t bits = 0;
            uint32_t b;
            for (b = 0; b < 7; b++)
                bits |= (uint64_t)group[b] << (8 * b);
            for (b = 0; b < 8; b++)
                code[r][j + b] = (uint8_t)(bits >> (7 * b) & 127);
        }
    for (r = 0; r < 16; r++)
        for (j = 0; j < 64; j++) {
            uint32_t c = code[r][j], h = before(code, ring, r, j, 1), b;
            if (ring)
                h ^= before(code, ring, r, j, 2);
            b = t->b[h];
            w[r][j] = (int8_t)(t->a0[c] + Q35_B_STEP * (int)(b >> 4));
            if (weights > 1)
                w[r][j + 64] = (int8_t)(t->a1[c] + Q35_B_STEP * (int)(b & 15));
            if (weights > 2) /* Q35_FEATURE_TRIPLE */
                w[r][j + 128] = (int8_t)(t->a2[c] + Q35_B_STEP * (int)q35_b_third(b));
        }
}

/* 16 rows of m times n tokens. tiles: the first tile of these rows. */
static void multiply_block(const struct q35_matrix *m, const uint8_t *tiles, const int8_t *q,
                           uint32_t n, int32_t *sums)
{
    uint32_t count = q35_tiles_per_row(m->scheme, m->cols_padded), k, t, r, j;
    int8_t w[16][192];

    memset(sums, 0, sizeof(*sums) * Q35_TILE_ROWS * n);
    for (k = 0; k < count; k++, tiles += Q35_TILE_BYTES) {
        uint32_t used = q35_tile_used(m->scheme, m->cols_padded, k);
        decode_tile(m, tiles, w);
        for (t = 0; t < n; t++) {
            const int8_t *x = q + (uint64_t)t * m->cols_padded + k * q35_tile_cols(m->scheme);
            for (r = 0; r < 16; r++) {
                int32_t sum = 0;
                for (j = 0; j < used; j++)
                    sum += w[r][j] * x[j];
                sums[t * Q35_TILE_ROWS + r] += sum;
            }
        }
    }
}

/* y = W x for up to 4 matrices that share x. The integer sums are exact in any order; the two
 * float products and the bias must come in this order, see arith.h. */
static enum q35_status matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    struct template_device *d = user;
    uint32_t i, first, block, t, r;
    (void)err;

    for (i = 0; i < a->n_mats; i++) {
        const struct q35_matrix *m = a->mats[i];
        uint64_t block_bytes = (uint64_t)q35_tiles_per_row(m->scheme, m->cols) * Q35_TILE_BYTES;
        for (first = 0; first < a->n_tokens; first += d->tokens_at_once) {
            uint32_t left = a->n_tokens - first;
            uint32_t n = left < d->tokens_at_once ? left : d->tokens_at_once;
            for (block = 0; block < m->rows_padded / Q35_TILE_ROWS; block++) {
                multiply_block(m, m->codes + block * block_bytes,
                               a->q + (uint64_t)first * a->cols_padded, n, d->sums);
                for (t = 0; t < n; t++) {
                    float *y = a->y[i] + (first + t) * a->y_stride[i];
                    for (r = 0; r < Q35_TILE_ROWS; r++) {
                        uint32_t row = block * Q35_TILE_ROWS + r;
                        if (row >= m->rows) /* padding rows have no place in y */
                            break;
                        y[row] = q35_rescale(d->sums[t * Q35_TILE_ROWS + r], m->scales[row],
                                             a->token_scales[first + t]);
                        if (m->bias)
                            y[row] += m->bias[row];
                    }
                }
            }
        }
    }
    return Q35_OK;
}

/* ---- the descriptor ------------------------------------------------------------------------ */

/* Operations left NULL are the host's. */
static const struct q35_ops ops = {
    .size = sizeof(ops),
    .matmul = matmul,
};

static const struct q35_option_spec option_specs[] = {
    {"tokens_at_once", "int", "tokens that share one decoding of a tile, 1 to 256", "16"},
};

/* Slots left NULL from `open` down are the host's, because of Q35_PLUGIN_INHERIT. */
static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .flags = Q35_PLUGIN_INHERIT,
    .name = "template",
    .version = "0.1.0",
    .description = "packed matrix products on one CPU core",
    .licence = "MIT",
    .options = option_specs,
    .option_count = sizeof(option_specs) / sizeof(option_specs[0]),
    .option_stride = sizeof(option_specs[0]),
    .ops = &ops,
    .enumerate = enumerate,
    .device_info = device_info,
    .open = open_device,
    .close = close_device,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor; /* every minor of the same major is served */
    return host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
