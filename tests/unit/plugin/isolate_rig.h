/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_ISOLATE_RIG_H
#define TESTS_ISOLATE_RIG_H

/* The plugin mortal.so in this process or in one of its own, and a model on it. */

#include "tests/unit/test.h"

#include "core/plugin/isolate_session.h"
#include "core/verify/session.h"

extern const char *folder; /* of the sample plugins */
extern char trigger[];     /* the file that mortal.so looks for */

struct rig {
    struct q35_config *config;
    struct q35_registry *registry;
    struct q35_device_entry *entry;
    struct vfy_dev dev;
};

void rig_init(struct rig *r, bool isolate, uint32_t hang_seconds);
void rig_fini(struct rig *r);

static inline struct iso_session *worker_of(const struct rig *r)
{
    return session_of(r->dev.dev);
}

/* A model on a device, and room for its results. */
struct load {
    struct vfy_model *m;
    struct q35_weights *w;
    struct q35_kv *kv;
    float out[8][512]; /* [tokens][vocab] */
};

enum q35_status load_init(struct load *l, struct rig *r, uint32_t lifetime, struct q35_error *err);
void load_fini(struct load *l, struct rig *r);
/* n tokens of a sequence from a position through the whole model. */
enum q35_status step(struct load *l, struct rig *r, uint32_t sequence, uint32_t position,
                     uint32_t n, struct q35_error *err);
void must(enum q35_status st, const struct q35_error *err);
/* A short life: prefill, decode, fork, truncate. Returns a hash of all results. */
uint64_t live(struct load *l, struct rig *r);

/* argv[1]: the folder. Runs the tests and removes what they left. */
int rig_main(int argc, char **argv, int (*tests)(void));

#endif
