/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_CLI_INTERNAL_H
#define Q35_TOOLS_CLI_INTERNAL_H

#include "tools/q35/cli.h"

#define CLI_MAX_ARGS 64
#define CLI_MAX_OPTIONS 48

struct cli {
    const struct cli_command *command;
    int argc;
    char **argv;
    const char *values[CLI_MAX_OPTIONS];
    const char *args[CLI_MAX_ARGS];
    uint32_t arg_count;
};

/* Every command of the program, and the one whose words begin argv (the longest wins; NULL if there
 * is none). *used: number of its words. */
const struct cli_command *const *cli_commands(uint32_t *count);
const struct cli_command *cli_find(int argc, char *const *argv, int *used);

/* Parses and runs; argv is what follows the command's name. */
int cli_run(const struct cli_command *command, int argc, char **argv);

void cli_print_help(FILE *f, const struct cli_command *command);
void cli_print_overview(FILE *f, const struct cli_command *const *commands, uint32_t count);
void cli_print_man(FILE *f, const struct cli_command *const *commands, uint32_t count);

/* What the last of `words`, those behind "q35" on a command line, may become: lines of a candidate,
 * a tab and what it is; ":files" stands for paths. */
void cli_print_candidates(FILE *f, int n, char *const *words);

#endif
