/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */

/* q35-worker: loads plugins in a process of its own. Started by q35 and q35d, never by hand.
 *
 *   q35-worker --probe PLUGIN [KEY=VALUE ...]   tries a plugin and reports on descriptor 3 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plugin/load.h"

#define REPORT_FD 3

static int probe(int argc, char **argv)
{
    struct q35_options options = {.size = (uint32_t)sizeof(options)};
    struct q35_kv_pair *items = calloc((size_t)argc + 1, sizeof(*items));
    int rc;
    if (!items)
        return 1;
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (!equals)
            continue;
        *equals = '\0';
        items[options.count++] = (struct q35_kv_pair){argv[i], equals + 1};
    }
    options.items = items;
    rc = q35_probe_child(argv[0], &options, REPORT_FD);
    free(items);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "--probe") == 0)
        return probe(argc - 2, argv + 2);
    fputs("q35-worker is started by q35 and q35d; it has no use by itself\n", stderr);
    return 2;
}
