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

const struct cli_command *const *cli_commands(uint32_t *count)
{
    *count = Q35_COUNT(commands);
    return commands;
}

const struct cli_command *cli_find(int argc, char *const *argv, int *used)
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

static int unknown_command(const char *name)
{
    struct q35_nearest near = {0};
    char hint[96];
    size_t i;
    for (i = 0; i < Q35_COUNT(commands); i++)
        q35_nearest_try(&near, name, commands[i]->name);
    fprintf(stderr, "q35: unknown %s '%s'%s; 'q35 --help' lists the commands\n",
            name[0] == '-' ? "option" : "command", name, q35_nearest_text(&near, hint));
    return CLI_USAGE;
}

static int printed(void)
{
    if (fflush(stdout) != EOF && !ferror(stdout))
        return CLI_OK;
    fputs("q35: cannot write to standard output\n", stderr);
    return CLI_FAILED;
}

static bool is(const char *arg, const char *a, const char *b)
{
    return !strcmp(arg, a) || !strcmp(arg, b);
}

int main(int argc, char **argv)
{
    static char help[] = "--help", *only_help[] = {help};
    const struct cli_command *c;
    bool wants_help = argc > 1 && !strcmp(argv[1], "help");
    int used, first = wants_help ? 2 : 1;
    if (argc < 2) {
        cli_print_overview(stderr, commands, Q35_COUNT(commands));
        return CLI_USAGE;
    }
    if (is(argv[1], "--help", "-h") || (wants_help && argc == 2)) {
        cli_print_overview(stdout, commands, Q35_COUNT(commands));
        return printed();
    }
    if (is(argv[1], "--version", "-V")) {
        puts("q35 " Q35_VERSION);
        return printed();
    }
    if (!strcmp(argv[1], "--print-man")) {
        cli_print_man(stdout, commands, Q35_COUNT(commands));
        return printed();
    }
    if (!strcmp(argv[1], "--complete")) { /* for the scripts of `q35 completion` */
        cli_print_candidates(stdout, argc - 2, argv + 2);
        return printed();
    }
    c = cli_find(argc - first, argv + first, &used);
    if (!c)
        return unknown_command(argv[first]);
    if (wants_help)
        return cli_run(c, 1, only_help);
    return cli_run(c, argc - first - used, argv + first + used);
}
