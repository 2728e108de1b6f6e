/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#ifndef Q35_TOOLS_CLI_H
#define Q35_TOOLS_CLI_H

/* One table per subcommand gives parsing, --help, the man page and shell completion. A new
 * subcommand is a file cmd_<name>.c with a `const struct cli_command`, listed in commands.h. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/base.h"

struct cli_option {
    char letter;      /* 0: none */
    const char *name; /* long name without dashes */
    const char *arg; /* metavariable, NULL for a flag; FILE, INI, MODEL and BACKEND are completed */
    const char *help;   /* one line; may end in the default in brackets */
    const char *values; /* "a|b|c": no other value is taken; NULL: the command checks */
};

struct cli;

struct cli_command {
    const char *name;     /* "convert", or two words: "bench accuracy" */
    const char *synopsis; /* positional part: "IN -o OUT" */
    const char *summary;  /* one line */
    const char *details;  /* for --help and the man page, a paragraph a line; may be NULL */
    const char *examples; /* one command a line, may be NULL */
    const struct cli_option *options; /* --help is added to every command */
    uint32_t option_count;
    uint32_t min_args, max_args; /* positional arguments */
    int (*run)(struct cli *cli);
};

/* Exit statuses. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* Positional argument i, NULL beyond the end. */
const char *cli_arg(const struct cli *cli, uint32_t i);
uint32_t cli_arg_count(const struct cli *cli);
/* Value of an option, NULL if it was not given. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
/* Numbers with range; on a bad one prints why and returns false (the command returns CLI_USAGE).
 * *out keeps its value when the option was not given. */
bool cli_u32(const struct cli *cli, const char *name, uint32_t min, uint32_t max, uint32_t *out);
bool cli_u64(const struct cli *cli, const char *name, uint64_t *out);
bool cli_f32(const struct cli *cli, const char *name, float min, float max, float *out);

/* "q35 convert: message" on stderr; returns CLI_FAILED. */
int cli_error(const struct cli *cli, const struct q35_error *err);
int cli_failf(const struct cli *cli, const char *format, ...) Q35_PRINTF(2, 3);
int cli_usage(const struct cli *cli, const char *format, ...) Q35_PRINTF(2, 3);

/* Prints a jansson document with a newline to stdout and drops the reference; CLI_OK, or CLI_FAILED
 * if it could not be written. */
struct json_t;
int cli_print_json(const struct cli *cli, struct json_t *doc);

/* Progress on a terminal only; total 0 ends the line. label at most 40 characters. */
void cli_progress(const char *label, uint64_t done, uint64_t total);

/* Model name of this CPU, "unknown CPU" if the system does not tell. */
const char *cli_cpu_name(void);

#endif
