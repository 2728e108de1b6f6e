/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TESTS_PLAN_FAKES_H
#define Q35_TESTS_PLAN_FAKES_H

/* A registry of devices that exist on paper only, and a graph of layers for them. */

#include "core/plan/internal.h"
#include "core/plugin/load.h"

#define MAX_FAKES 8
#define MAX_LAYERS 96

struct fake {
    uint64_t scratch; /* bytes of any span */
    uint64_t kv;      /* bytes of a decoder layer */
    uint64_t refuse;  /* bit l: layer with index l is not supported */
    bool in_place;    /* weights stay in host memory */
    bool broken;      /* cannot be opened */
    int opens, closes;
};

struct world {
    struct q35_config config;
    struct q35_config_backend backends[MAX_FAKES];
    struct q35_config_range ranges[MAX_FAKES];
    struct q35_plugin_entry plugins[MAX_FAKES];
    struct q35_device_entry devices[MAX_FAKES];
    struct q35_registry registry;
    struct q35_tensor_desc tensors[MAX_LAYERS];
    struct q35_layer layers[MAX_LAYERS];
    struct plan_input in;
    char names[MAX_FAKES][8];
};

extern struct fake fakes[MAX_FAKES]; /* by index of the device in its plugin */

/* n layers: EMBED, n - 2 decoders, HEAD; bytes[l] of each. */
void world_init(struct world *w, uint32_t n, const uint64_t *bytes);
/* One more device, of a plugin of its own named "a", "b" ...; or, with `like`, of the last one's.
 */
void world_device(struct world *w, bool like, uint64_t memory, uint64_t bandwidth);
/* [schedule] layers.NAME:DEVICE = first-last, in line 10, 11 ... */
void world_range(struct world *w, const char *name, uint32_t device, uint32_t first, uint32_t last);

#endif
