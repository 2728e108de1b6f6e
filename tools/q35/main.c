/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "tools/q35/cli_internal.h"
#include "tools/q35/commands.h"

#include "q35_version.h"

#define DECLARE(name) extern const struct cli_command cmd_##name;
Q35_COMMANDS(DECLARE)
#undef DECLARE

#define ENTRY(name) &cmd_##name,
static const struct cli_command *const commands[] = {Q35_COMMANDS(ENTRY)};
#undef ENTRY

/* The command whose words begin argv; the longest wins. *used: number of words. */
static const struct cli_command *find(int argc, char **argv, int *used)
{
    const struct cli_command *best = NULL;
    char two[64];
    size_t i;
    *used = 0;
    for (i = 0; i < Q35_COUNT(commands); i++) {
        if (argc > 1)
            snprintf(two, sizeof(two), "%s %s", argv[0], argv[1]);
        if (argc > 1 && !strcmp(commands[i]->name, two)) {
            *used = 2;
            return commands[i];
        }
        if (!strcmp(commands[i]->name, argv[0])) {
            best = commands[i];
            *used = 1;
        }
    }
    return best;
}

int main(int argc, char **argv)
{
    const struct cli_command *c;
    int used;
    if (argc < 2) {
        cli_print_overview(stderr, commands, Q35_COUNT(commands));
        return CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        cli_print_overview(stdout, commands, Q35_COUNT(commands));
        return CLI_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        puts("q35 " Q35_VERSION);
        return CLI_OK;
    }
    if (!strcmp(argv[1], "--print-man")) {
        cli_print_man(stdout, commands, Q35_COUNT(commands));
        return CLI_OK;
    }
    if (!strcmp(argv[1], "--print-completion")) {
        cli_print_completion(stdout, commands, Q35_COUNT(commands));
        return CLI_OK;
    }
    c = find(argc - 1, argv + 1, &used);
    if (!c) {
        fprintf(stderr, "q35: unknown command '%s'; 'q35 --help' lists them\n", argv[1]);
        return CLI_USAGE;
    }
    return cli_run(c, argc - 1 - used, argv + 1 + used);
}
