/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* A plugin as its author wrote it against ABI 1.0, kept with the headers of then. It is never
 * changed: whatever the ABI grows to, this file must build with the headers beside it, load, and
 * pass the kit. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <q35/backend.h>

struct old_device {
    uint64_t products;
};

static enum q35_status refuse(struct q35_error *err, enum q35_status status, const char *why)
{
    err->status = (int32_t)status;
    err->radius = Q35_RADIUS_REQUEST;
    err->layer = Q35_NO_LAYER;
    err->native_code = 0;
    snprintf(err->message, sizeof(err->message), "%s", why);
    return status;
}

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
    struct q35_device_info own = {.size = info->size,
                                  .determinism = Q35_CLASS_EXACT,
                                  .name = "old",
                                  .id = "old0",
                                  .memory_total = 1u << 30,
                                  .memory_free = 1u << 30,
                                  .max_batch = 64,
                                  .max_sequences = 8,
                                  .buffer_alignment = 64};
    (void)host;
    (void)options;
    if (index)
        return refuse(err, Q35_E_NOT_FOUND, "there is one device");
    memcpy(info, &own, info->size < sizeof(own) ? info->size : sizeof(own));
    return Q35_OK;
}

static enum q35_status open_device(const struct q35_host *host, const struct q35_options *options,
                                   uint32_t index, struct q35_device **out, struct q35_error *err)
{
    *out = NULL;
    (void)options;
    if (index)
        return refuse(err, Q35_E_NOT_FOUND, "there is one device");
    if (host->abi_major != Q35_ABI_MAJOR || host->abi_minor > Q35_ABI_MINOR)
        return refuse(err, Q35_E_VERSION, "the host did not negotiate the smaller minor");
    *out = calloc(1, sizeof(struct old_device));
    return *out ? Q35_OK : refuse(err, Q35_E_NOMEM, "no memory for a device");
}

static void close_device(struct q35_device *dev)
{
    free(dev);
}

/* y = m x for all tokens, row by row. */
static void multiply(const struct q35_matrix *m, const struct q35_matmul_args *a, float *y,
                     uint64_t y_stride)
{
    uint32_t width = q35_tile_cols(m->scheme), tiles = m->cols_padded / width, row, k, j, t;
    int32_t sums[64];
    int8_t w[128];
    for (row = 0; row < m->rows; row++) {
        const uint8_t *tile = m->codes + (uint64_t)(row / Q35_TILE_ROWS) * tiles * Q35_TILE_BYTES;
        memset(sums, 0, sizeof(sums));
        for (k = 0; k < tiles; k++, tile += Q35_TILE_BYTES) {
            q35_decode_row(m->scheme, m->tables, tile, row % Q35_TILE_ROWS, w);
            for (t = 0; t < a->n_tokens; t++) {
                const int8_t *q = a->q + (uint64_t)t * a->cols_padded + (uint64_t)k * width;
                for (j = 0; j < width; j++)
                    sums[t] += w[j] * q[j];
            }
        }
        for (t = 0; t < a->n_tokens; t++) {
            float v = (float)sums[t] * (m->scales[row] * a->token_scales[t]);
            y[t * y_stride + row] = m->bias ? v + m->bias[row] : v;
        }
    }
}

/* Never more than the 64 tokens of device_info. */
static enum q35_status matmul(void *user, const struct q35_matmul_args *a, struct q35_error *err)
{
    struct old_device *d = user;
    uint32_t i;
    (void)err;
    for (i = 0; i < a->n_mats; i++)
        multiply(a->mats[i], a, a->y[i], a->y_stride[i]);
    d->products += a->n_mats;
    return Q35_OK;
}

static const struct q35_ops ops = {.size = sizeof(ops), .matmul = matmul};

static const struct q35_plugin plugin = {
    .size = sizeof(plugin),
    .abi_major = Q35_ABI_MAJOR,
    .abi_minor = Q35_ABI_MINOR,
    .flags = Q35_PLUGIN_INHERIT,
    .name = "old",
    .version = "1.0.0",
    .description = "built against ABI 1.0",
    .licence = "MIT",
    .ops = &ops,
    .enumerate = enumerate,
    .device_info = device_info,
    .open = open_device,
    .close = close_device,
};

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor);

Q35_EXPORT const struct q35_plugin *q35_plugin_query(uint32_t host_major, uint32_t host_minor)
{
    (void)host_minor;
    return host_major == Q35_ABI_MAJOR ? &plugin : NULL;
}
