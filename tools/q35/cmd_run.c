/* SPDX-FileCopyrightText: 2026 The q35 authors
 * SPDX-License-Identifier: MIT */
#include "tools/q35/cli.h"

static const struct cli_option options[] = {
    {'m', "model", "FILE", "packed model"},
    {0, "json", NULL, "print one JSON document instead of text"},
};

static int run(struct cli *cli)
{
    return cli_failf(cli, "needs the engine, which is not built yet");
}

const struct cli_command cmd_run = {
    .name = "run",
    .synopsis = "-m MODEL -p PROMPT",
    .summary = "generate text from a prompt",
    .options = options,
    .option_count = Q35_COUNT(options),
    .run = run,
};
