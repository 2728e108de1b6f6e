/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/q35d/load.h"

/* Stands in for tools/q35d/load.c. */
struct q35d_loaded {
    struct q35_engine *engine;
};

struct q35d_loaded *q35d_loaded_create(void)
{
    return calloc(1, sizeof(struct q35d_loaded));
}

static enum q35_status wait_for_file(struct q35_error *err)
{
    const char *path = getenv("Q35_FAKE_LOAD");
    char *text = NULL;
    size_t bytes;
    enum q35_status st = Q35_OK;
    if (!path)
        return Q35_OK;
    while (q35_file_read(path, 64, &text, &bytes, err) != Q35_OK)
        usleep(10000);
    if (strncmp(text, "fail", 4) == 0)
        st = q35_fail(err, Q35_E_IO, "loading was told to fail");
    free(text);
    return st;
}

enum q35_status q35d_load(void *user, const struct q35_config *config, struct q35_serve_model *out,
                          struct q35_error *err)
{
    static const char placeholder[] = "";
    struct q35d_loaded *l = user;
    enum q35_status st = wait_for_file(err);
    if (st == Q35_OK)
        st = q35_engine_create(&l->engine, config, NULL, NULL, NULL, err);
    if (st != Q35_OK)
        return st;
    out->engine = l->engine;
    out->tokenizer = (const struct q35_tokenizer *)(const void *)placeholder;
    out->chat = getenv("Q35_FAKE_NO_CHAT") ? NULL : (const void *)placeholder;
    out->context = config->context;
    snprintf(out->name, sizeof(out->name), "%s", config->model_name);
    snprintf(out->fingerprint, sizeof(out->fingerprint), "q35-fake");
    return Q35_OK;
}

enum q35_status q35d_check(struct q35d_loaded *l, const struct q35_config *config,
                           struct q35_error *err)
{
    (void)l;
    (void)config;
    (void)err;
    return Q35_OK;
}

void q35d_loaded_destroy(struct q35d_loaded *l)
{
    if (l)
        q35_engine_destroy(l->engine);
    free(l);
}
