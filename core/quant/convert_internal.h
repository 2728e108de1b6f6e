/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_CORE_QUANT_CONVERT_INTERNAL_H
#define Q35_CORE_QUANT_CONVERT_INTERNAL_H

#include "core/model/gguf.h"
#include "core/model/source.h"
#include "core/quant/calibrate.h"
#include "core/quant/convert.h"
#include "core/quant/journal.h"

/* One tensor of the output. */
struct output {
    char name[Q35_TENSOR_NAME_MAX];
    struct q35_source_tensor from;
    uint32_t scheme; /* 0: stays F32 */
    uint32_t role, layer;
    bool decoder, fixed; /* fixed: its scheme was asked for by name */
    uint64_t bytes;
};

struct convert {
    const struct q35_convert_params *p;
    struct q35_source *source;
    struct q35_calibrate_params calibrate;
    struct q35_calib *calib;     /* or NULL */
    struct q35_journal *journal; /* of calibrated layers, or NULL */
    uint32_t calibrated;         /* layers it has packed */
    uint32_t resumed;            /* those of them that came from the journal */
    struct q35_gguf_writer *writer;
    struct output *outputs;
    uint32_t count;
    uint64_t weights_done, weights_total; /* of packed tensors */
    const struct output *now;
    double error2, weight2;
    uint64_t *hashes;
    struct q35_error *err;
};

/* convert.c */
struct q35_encode_params q35_convert_encode(const struct q35_convert_params *p);

/* convert_layers.c: the decoder layers with the help of a text. */

/* Decides the schemes if p->target_bits says so, and begins. `out` names the journal. */
enum q35_status q35_convert_layers_begin(struct convert *c, const char *out);
/* Packs the layer of output i, the first of its layer, or takes it from the journal. */
enum q35_status q35_convert_layer(struct convert *c, uint32_t i);
/* Tensor o of that layer. *stats are those of a packed one, else left alone. */
enum q35_status q35_convert_layer_tensor(const struct convert *c, const struct output *o,
                                         uint8_t *data, struct q35_encode_stats *stats);

#endif
