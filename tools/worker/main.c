/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* q35-worker: loads plugins in a process of its own. Started by q35 and q35d, never by hand.
 *
 *   q35-worker --probe PLUGIN [KEY=VALUE ...]   tries a plugin and reports on descriptor 3
 *   q35-worker --serve PLUGIN [KEY=VALUE ...]   serves it: see core/plugin/isolate.h */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plugin/isolate.h"
#include "core/plugin/spawn.h"

/* KEY=VALUE arguments; items are NULL without memory. */
static struct q35_options take_options(int argc, char **argv)
{
    struct q35_options options = {.size = (uint32_t)sizeof(options)};
    struct q35_kv_pair *items = calloc((size_t)argc + 1, sizeof(*items));
    for (int i = 0; items && i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (!equals)
            continue;
        *equals = '\0';
        items[options.count++] = (struct q35_kv_pair){argv[i], equals + 1};
    }
    options.items = items;
    return options;
}

int main(int argc, char **argv)
{
    bool probe = argc >= 3 && strcmp(argv[1], "--probe") == 0;
    bool serve = argc >= 3 && strcmp(argv[1], "--serve") == 0;
    struct q35_options options;
    int rc;
    if (!probe && !serve) {
        fputs("q35-worker is started by q35 and q35d; it has no use by itself\n", stderr);
        return 2;
    }
    options = take_options(argc - 3, argv + 3);
    if (!options.items)
        return 1;
    rc = probe ? q35_probe_child(argv[2], &options, Q35_SPAWN_FD)
               : q35_isolate_serve(argv[2], &options);
    free((void *)(uintptr_t)options.items);
    return rc;
}
