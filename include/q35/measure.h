/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_MEASURE_H
#define Q35_MEASURE_H

/* The extension "q35.measure", version 1: a device that knows its own speed, such as a simulator,
 * tells it; the host's planner then asks instead of timing a run.
 *
 *     const struct q35_measure *m = plugin->get_extension(Q35_EXT_MEASURE, 1);
 *
 * dev is what the plugin's own `open` returned, also of a plugin that inherits. */

#include "backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define Q35_EXT_MEASURE "q35.measure"

struct q35_measure {
    uint32_t size;
    uint32_t reserved;
    /* Seconds that one run of these layers over n_tokens tokens takes, each of a sequence of its
     * own that is `context` positions long, KV in binary16: above 0, and not less for more layers,
     * tokens or positions. UNSUPPORTED if this device does not know. Leaves nothing allocated.
     * [any] */
    enum q35_status (*seconds)(struct q35_device *dev, const struct q35_layer *layers,
                               uint32_t layer_count, uint32_t layer_stride, uint32_t n_tokens,
                               uint32_t context, double *out, struct q35_error *err);
    /* What the device knows of its own speed on these layers, for people (json 0) or as one JSON
     * object (json 1): UTF-8 with a final zero byte in text[size]. CAPACITY if size is too small or
     * the layers do not fit on the device. May be NULL, and is absent from older plugins. [any] */
    enum q35_status (*report)(struct q35_device *dev, const struct q35_layer *layers,
                              uint32_t layer_count, uint32_t layer_stride, uint32_t n_tokens,
                              uint32_t context, uint32_t json, char *text, uint64_t size,
                              struct q35_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
